"""Checks on arguments: errors that name the argument, the value and what is allowed."""

from __future__ import annotations

import numpy as np

from cpi_model.units import Numeric


def _offender(value: Numeric, allowed: np.ndarray) -> float:
    """First value that breaks the rule, for the message."""
    return float(np.asarray(value)[~np.asarray(allowed)].flat[0])


def positive(**arguments: Numeric) -> None:
    """Refuse an argument that is not greater than zero; NaN counts as not positive.

    >>> positive(bandwidth=0.0)
    Traceback (most recent call last):
    ...
    ValueError: bandwidth is 0.0, must be greater than 0
    """
    for name, value in arguments.items():
        if isinstance(value, (float, int)):
            if not value > 0:
                raise ValueError(f"{name} is {value}, must be greater than 0")
        elif not (allowed := np.asarray(value) > 0).all():
            raise ValueError(f"{name} is {_offender(value, allowed)}, must be greater than 0")


def not_negative(**arguments: Numeric) -> None:
    """Refuse an argument below zero; NaN counts as negative.

    >>> not_negative(tokens=-1.0)
    Traceback (most recent call last):
    ...
    ValueError: tokens is -1.0, must be 0 or more
    """
    for name, value in arguments.items():
        if isinstance(value, (float, int)):
            if not value >= 0:
                raise ValueError(f"{name} is {value}, must be 0 or more")
        elif not (allowed := np.asarray(value) >= 0).all():
            raise ValueError(f"{name} is {_offender(value, allowed)}, must be 0 or more")


def share(**arguments: Numeric) -> None:
    """Refuse an argument outside 0 to 1, both included.

    >>> share(utilisation=1.2)
    Traceback (most recent call last):
    ...
    ValueError: utilisation is 1.2, must be from 0 to 1
    """
    for name, value in arguments.items():
        if isinstance(value, (float, int)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, must be from 0 to 1")
        elif not (allowed := (np.asarray(value) >= 0) & (np.asarray(value) <= 1)).all():
            raise ValueError(f"{name} is {_offender(value, allowed)}, must be from 0 to 1")


def at_least(minimum: float, **arguments: Numeric) -> None:
    """Refuse an argument below a minimum; NaN counts as below.

    >>> at_least(1, tensor_parallel=0.5)
    Traceback (most recent call last):
    ...
    ValueError: tensor_parallel is 0.5, must be at least 1
    """
    for name, value in arguments.items():
        if isinstance(value, (float, int)):
            if not value >= minimum:
                raise ValueError(f"{name} is {value}, must be at least {minimum}")
        elif not (allowed := np.asarray(value) >= minimum).all():
            raise ValueError(f"{name} is {_offender(value, allowed)}, must be at least {minimum}")


def not_negative_if_known(**arguments: Numeric) -> None:
    """Refuse an argument below zero; NaN passes, since an unknown figure stays unknown.

    >>> not_negative_if_known(price=float("nan"))
    >>> not_negative_if_known(price=-1.0)
    Traceback (most recent call last):
    ...
    ValueError: price is -1.0, must be 0 or more
    """
    for name, value in arguments.items():
        if isinstance(value, (float, int)):
            if value < 0:
                raise ValueError(f"{name} is {value}, must be 0 or more")
        elif (refused := np.asarray(value) < 0).any():
            raise ValueError(f"{name} is {_offender(value, ~refused)}, must be 0 or more")
