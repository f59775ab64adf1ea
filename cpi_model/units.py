"""Multipliers and type aliases: the only place with powers of ten.

Inside the package every quantity is in an SI base unit (seconds, bytes, FLOP, joules, watts)
or in USD. A value in another unit has the unit in its name (``memory_gb``, ``ttft_ms``) and is
converted with these multipliers where it enters or leaves: ``memory_gb * GB``.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Numeric: TypeAlias = float | Array
"""A number or an array of numbers; arrays broadcast against each other."""
Flag: TypeAlias = bool | npt.NDArray[np.bool_]
Places: TypeAlias = npt.NDArray[np.intp]
"""Positions in arrays."""

KILO = 1e3
MEGA = 1e6
GIGA = 1e9
TERA = 1e12

KB = KILO
MB = MEGA
GB = GIGA
"""1 GB is 1e9 bytes, never 2**30."""
GIB = 2.0**30
"""What makers of memory mean by a GB of capacity (never of bandwidth)."""

TFLOPS = TERA
BILLION = GIGA
MILLION = MEGA

MILLISECOND = 1e-3
PICOSECOND = 1e-12
MICROSECOND = 1e-6
MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR
YEAR = 365 * DAY
MONTH = YEAR / 12
"""A billing month is 730 hours."""

WATT_HOUR = HOUR
KILOWATT_HOUR = KILO * HOUR
GRAM = 1.0
PERCENT = 0.01
BITS_PER_BYTE = 8.0
