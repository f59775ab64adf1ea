"""Figures and tables for people and other programs: numbers as text, tables as CSV."""

from cpi_model.export.tables import FORMULA_STARTS, cell, csv
from cpi_model.export.text import (
    SIGNS,
    SMALLEST_WRITTEN_OUT,
    UNKNOWN,
    amount,
    between,
    change,
    digits,
    duration,
    large,
    money,
    money_between,
    percent,
    setting,
    size,
)

__all__ = [
    "FORMULA_STARTS", "SIGNS", "SMALLEST_WRITTEN_OUT", "UNKNOWN", "amount", "between", "cell",
    "change", "csv", "digits", "duration", "large", "money", "money_between", "percent", "setting",
    "size",
]  # fmt: skip
