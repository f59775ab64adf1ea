"""Tables for spreadsheets, in which nothing that somebody wrote is run as a formula."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes a spreadsheet take a cell for a formula."""


def cell(value: object) -> object:
    """A cell that no spreadsheet runs: text that looks like a formula gets a quote in front.

    >>> cell("=1+1"), cell("plain"), cell(-3)
    ("'=1+1", 'plain', -3)
    """
    if not isinstance(value, str):
        return value
    marked = "'" + value if value.lstrip(" \u00a0").startswith(FORMULA_STARTS) else value
    # A bare carriage return would begin a new row: it is not put into quotes.
    return marked.replace("\r\n", "\n").replace("\r", "\n")


def csv(frame: pd.DataFrame) -> bytes:
    """A table as CSV in UTF-8, headings included, in which nothing is a formula."""
    safe = frame.rename(columns=cell)
    text = safe.select_dtypes(exclude=["number", "bool"]).columns
    for column in text:
        safe[column] = safe[column].map(cell)
    # The mark at the front tells a spreadsheet that this is UTF-8.
    return safe.to_csv(index=False).encode("utf-8-sig")
