"""Numbers as text that a person can read at any size."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from cpi_model.scenario import FieldInfo, Scenario
from cpi_model.units import GB, KILO, MEGA, MICROSECOND, MILLION, MILLISECOND, PERCENT

UNKNOWN = "unknown"
SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "CHF": "CHF ", "JPY": "¥", "CNY": "CN¥", "INR": "₹"}
SMALLEST_WRITTEN_OUT = 1e-9
NO_CHANGE = 5e-6
"""A smaller share of change is none."""


def digits(value: float, significant: int = 3) -> str:
    """A number to a few digits, without exponent where a person can read it.

    >>> [digits(value) for value in (1234.5, 12.0, 95.9, 0.000212991, 6e-12, float("nan"))]
    ['1,230', '12', '95.9', '0.000213', '6e-12', 'unknown']
    """
    if math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞"
    rounded = Decimal(f"{value:.{significant}g}")
    if 0 < abs(rounded) < SMALLEST_WRITTEN_OUT:
        return f"{float(rounded):g}"
    text = f"{rounded:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def large(value: float) -> str:
    """A number to three digits, in millions and billions where it is that large.

    >>> large(4755.9), large(1.2345e6), large(57.1e9)
    ('4,760', '1.23 M', '57.1 B')
    """
    for size, letter in ((1000 * MILLION, "B"), (MILLION, "M")):
        if math.isfinite(value) and abs(value) >= size:
            return f"{digits(value / size)} {letter}"
    return digits(value)


def money(usd: float, scenario: Scenario) -> str:
    """An amount in the currency of a scenario.

    >>> money(0.000212991, Scenario()), money(4755.9, Scenario(currency="EUR", currency_per_usd=2))
    ('$0.000213', '€9,510')
    """
    if not math.isfinite(usd):
        return UNKNOWN
    sign = "−" if usd < 0 else ""
    return sign + SIGNS[scenario.currency] + large(abs(usd) * scenario.currency_per_usd)


def duration(seconds: float) -> str:
    """A time in the unit that reads best.

    >>> duration(0.01282), duration(4.886), duration(35e-6)
    ('12.8 ms', '4.89 s', '35 µs')
    """
    if not math.isfinite(seconds):
        return UNKNOWN
    for unit, name in ((1.0, "s"), (MILLISECOND, "ms"), (MICROSECOND, "µs")):
        if seconds >= unit or unit == MICROSECOND:
            return f"{digits(seconds / unit)} {name}"
    return UNKNOWN


def size(amount: float) -> str:
    """Bytes in the unit that reads best.

    >>> size(16.06e9), size(1.5e6)
    ('16.1 GB', '1.5 MB')
    """
    for unit, name in ((GB, "GB"), (MEGA, "MB"), (KILO, "kB")):
        if amount >= unit or not math.isfinite(amount):
            return f"{digits(amount / unit)} {name}"
    return f"{digits(amount)} B"


def percent(share: float) -> str:
    """A share as a percentage.

    >>> percent(0.34807), percent(0.99974)
    ('34.8 %', '99.97 %')
    """
    if math.isnan(share):
        return UNKNOWN
    # Close to all, what is missing counts, not what is there.
    return f"{digits(share / PERCENT, 4 if 0.99 < share < 1 else 3)} %"


def setting(info: FieldInfo, value: object) -> str:
    """Value of a scenario's field, with its unit.

    >>> from cpi_model.scenario import FIELDS
    >>> setting(FIELDS["input_tokens"], 1200), setting(FIELDS["memory_share"], 0.9)
    ('1,200 tokens', '90 %')
    >>> setting(FIELDS["requests_per_s"], 8.0), setting(FIELDS["tensor_parallel"], 1)
    ('8/s', '1 device')
    >>> setting(FIELDS["max_devices"], None), setting(FIELDS["model"], "llama-3.1-8b")
    ('empty', 'llama-3.1-8b')
    """
    if value is None:
        return "empty"
    if not isinstance(value, (int, float)):
        return str(value)
    number, unit = digits(value, 9), info.unit
    if unit == "share":
        return f"{digits(value / PERCENT, 9)} %"
    if unit == "1/s":
        return f"{number}/s"
    if value == 1 and len(unit) > len("ms") and "/" not in unit:
        unit = unit.replace("copies", "copy").removesuffix("s")
    return f"{number} {unit}".rstrip()


def change(share: float) -> str:
    """A change as a share of what was before.

    >>> change(0.125), change(-0.1), change(1e-9), change(float("nan"))
    ('+12.5 %', '−10 %', 'no change', 'unknown')
    """
    if math.isnan(share):
        return UNKNOWN
    text = digits(abs(share) / PERCENT)
    if abs(share) < NO_CHANGE:
        return "no change"
    return f"{'−' if share < 0 else '+'}{text} %"


def amount(kind: str, value: float, scenario: Scenario) -> str:
    """A figure by its kind: money, duration, share, rate or number.

    >>> amount("money", 0.000212991, Scenario()), amount("rate", 10.3, Scenario())
    ('$0.000213', '10.3/s')
    """
    texts: dict[str, Callable[[float], str]] = {
        "money": lambda usd: money(usd, scenario), "duration": duration, "share": percent,
        "rate": lambda per_second: f"{large(per_second)}/s", "number": large,
    }  # fmt: skip
    return UNKNOWN if math.isnan(value) else texts[kind](value)


def between(low: float, high: float, text: Callable[[float], str]) -> str:
    """A range in short form: rounded outward to two digits, sign and unit once.

    >>> between(0.1234, 0.1766, duration), between(0.89, 1.26, duration), between(3, 3, digits)
    ('120–180 ms', '890 ms–1.3 s', '3')
    """
    if math.isfinite(low) and math.isfinite(high) and low != high:
        low, high = _rounded(low, ROUND_FLOOR), _rounded(high, ROUND_CEILING)
    first, last = text(low), text(high)
    if first == last:
        return first
    sign = re.match(r"\D*", last)[0]  # type: ignore[index]
    unit = re.search(r"\D*$", last)[0]  # type: ignore[index]
    if sign and first.startswith(sign):
        last = last.removeprefix(sign)
    if unit and first.endswith(unit):
        first = first.removesuffix(unit)
    return f"{first}–{last}"


def money_between(low: float, high: float, scenario: Scenario) -> str:
    """A range of amounts in USD, in the currency of a scenario.

    >>> money_between(0.000182, 0.000241, Scenario())
    '$0.00018–0.00025'
    >>> money_between(52.7, 97.1, Scenario(currency="CHF", currency_per_usd=0.9))
    'CHF 47–88'
    """
    rate = scenario.currency_per_usd
    return between(low * rate, high * rate, lambda amount: money(amount / rate, scenario))


def _rounded(value: float, direction: str) -> float:
    """Two significant digits, down or up."""
    exact = Decimal(f"{value:.6g}")
    return float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - 1), direction))
