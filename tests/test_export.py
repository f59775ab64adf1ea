"""Export: tables that no spreadsheet runs, and numbers that a person can read at any size."""

from __future__ import annotations

import csv
import io
import math
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpi_model import export
from cpi_model.scenario import FIELDS, Scenario

DANGEROUS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0", " =1", "   +1"]
"""How OWASP says that formulas begin ("CSV Injection"), and with spaces that are trimmed."""
HARMLESS = ["", "plain", "a=1", "1-2", "x+y", "mail@example.org", "'=1", "NVIDIA H100", "₂", "−1"]


def read_back(data: bytes, **how: Any) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(data), encoding="utf-8-sig", **how)


# Tables -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*DANGEROUS, "\n=1", "＝1"])
def test_what_looks_like_a_formula_gets_a_quote(text: str) -> None:
    assert export.cell(text) == "'" + text


@pytest.mark.parametrize("text", DANGEROUS)
def test_what_looks_like_a_formula_is_text_in_a_file(text: str) -> None:
    back = read_back(export.csv(pd.DataFrame({"a": [text, "b"]})), dtype=str)
    assert list(back["a"]) == ["'" + text, "b"]


@pytest.mark.parametrize("text", DANGEROUS)
def test_headings_are_no_formulas_either(text: str) -> None:
    back = read_back(export.csv(pd.DataFrame({text: [1]})))
    assert list(back.columns) == ["'" + text]


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_stays(text: str) -> None:
    assert export.cell(text) == text
    back = read_back(export.csv(pd.DataFrame({"a": [text]})), dtype=str, keep_default_na=False)
    assert back["a"][0] == text


@pytest.mark.parametrize("value", [-3, -3.5, 0, 1e300, True, None])
def test_what_is_no_text_stays(value: object) -> None:
    assert export.cell(value) is value


@given(
    st.lists(
        st.tuples(
            st.floats(allow_infinity=False, allow_nan=False),
            st.integers(-(2**53), 2**53),
            st.text(
                st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"),
                max_size=12,
            ),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_tables_come_back(rows: list[tuple[float, int, str]]) -> None:
    frame = pd.DataFrame(rows, columns=["share", "count", "-name"])
    back = read_back(export.csv(frame), dtype={"'-name": str}, keep_default_na=False)
    assert list(back.columns) == ["share", "count", "'-name"]
    assert list(back["share"]) == [row[0] for row in rows]
    assert list(back["count"]) == [row[1] for row in rows]
    for shown, (_, _, text) in zip(back["'-name"], rows, strict=True):
        assert shown in (text, "'" + text)
        # Spreadsheets trim spaces.
        assert not shown.lstrip(" ").startswith(("=", "+", "-", "@", "\t"))


def test_numbers_stay_numbers_wherever_they_stand() -> None:
    frame = pd.DataFrame({
        "float": [-1.5, 2.0, math.nan],
        "int": [-1, 0, 1],
        "flag": [True, False, True],
        "mixed": [-7, "=7", None],
        "kind": pd.Categorical(["=a", "b", "=a"]),
    })  # fmt: skip
    lines = export.csv(frame).decode("utf-8-sig").splitlines()
    assert lines == [
        "float,int,flag,mixed,kind",
        "-1.5,-1,True,-7,'=a",
        "2.0,0,False,'=7,b",
        ",1,True,,'=a",
    ]


def test_a_spreadsheet_sees_that_it_is_utf_8() -> None:
    data = export.csv(pd.DataFrame({"€": ['é, "quoted"\nand broken']}))
    assert data.startswith(b"\xef\xbb\xbf")
    assert read_back(data)["€"][0] == 'é, "quoted"\nand broken'


def test_the_table_itself_is_left_alone() -> None:
    frame = pd.DataFrame({"=a": ["=1"]})
    export.csv(frame)
    assert list(frame.columns) == ["=a"] and frame["=a"][0] == "=1"


def test_an_empty_table_keeps_its_headings() -> None:
    assert export.csv(pd.DataFrame({"=a": [], "b": []})).decode("utf-8-sig") == "'=a,b\n"


# Numbers ------------------------------------------------------------------------------------------


def plain(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


@given(st.floats(1e-8, 1e15))
def test_digits_are_within_half_of_the_third(value: float) -> None:
    for signed in (value, -value):
        text = export.digits(signed)
        assert plain(text) == pytest.approx(signed, rel=5.001e-3)
        assert "e" not in text
        kept = Decimal(text.replace(",", "")).normalize().as_tuple().digits
        assert len(kept) <= 3


@given(st.floats(1e-8, 1e15))
def test_digits_come_as_many_as_asked_for(value: float) -> None:
    assert plain(export.digits(value, 6)) == pytest.approx(value, rel=5.001e-6)


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.nan, "unknown"), (math.inf, "∞"), (0.0, "0"), (-1.0, "-1"), (1e-12, "1e-12")],
)
def test_digits_at_the_limits(value: float, text: str) -> None:
    assert export.digits(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "unknown"), (math.inf, "∞"), (0.0, "0"), (999_000.0, "999,000"),
        (1e6, "1 M"), (-2.5e6, "-2.5 M"), (1e9, "1 B"), (-2.5e9, "-2.5 B"), (1e12, "1,000 B"),
    ],
)  # fmt: skip
def test_large_numbers_have_a_letter(value: float, text: str) -> None:
    assert export.large(value) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (math.nan, "unknown"), (math.inf, "unknown"), (-math.inf, "unknown"), (0.0, "$0"),
        (-0.0, "$0"), (-1.5, "−$1.5"), (2e6, "$2 M"), (3e-10, "$3e-10"),
    ],
)  # fmt: skip
def test_money_at_the_limits(usd: float, text: str) -> None:
    assert export.money(usd, Scenario()) == text


def test_money_is_shown_in_every_currency() -> None:
    assert set(export.SIGNS) == set(FIELDS["currency"].choices)
    for currency, sign in export.SIGNS.items():
        scenario = Scenario(currency=currency, currency_per_usd=80.0)
        assert export.money(2.0, scenario) == f"{sign}160"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (math.nan, "unknown"), (math.inf, "unknown"), (0.0, "0 µs"), (1.0, "1 s"),
        (0.001, "1 ms"), (1e-6, "1 µs"), (5e-8, "0.05 µs"), (3600.0, "3,600 s"),
    ],
)  # fmt: skip
def test_durations_at_the_limits(seconds: float, text: str) -> None:
    assert export.duration(seconds) == text


@given(st.floats(1e-9, 1e7))
def test_durations_say_the_time(seconds: float) -> None:
    number, unit = export.duration(seconds).split()
    unit_seconds = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}[unit]
    assert plain(number) * unit_seconds == pytest.approx(seconds, rel=5.001e-3)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0.0, "0 B"), (1.0, "1 B"), (1e3, "1 kB"), (1e6, "1 MB"), (1e9, "1 GB"), (8e10, "80 GB")],
)
def test_sizes_at_the_limits(amount: float, text: str) -> None:
    assert export.size(amount) == text
    assert export.UNKNOWN in export.size(math.nan)
    assert "∞" in export.size(math.inf)


@given(st.floats(1e-3, 1e15))
def test_sizes_say_the_bytes(amount: float) -> None:
    number, unit = export.size(amount).split()
    bytes_each = {"GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1.0}[unit]
    assert plain(number) * bytes_each == pytest.approx(amount, rel=5.001e-3)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (math.nan, "unknown"), (0.0, "0 %"), (1.0, "100 %"), (-0.25, "-25 %"), (12.5, "1,250 %"),
        (0.9996, "99.96 %"), (0.99, "99 %"), (1e-7, "0.00001 %"), (math.inf, "∞ %"),
    ],
)  # fmt: skip
def test_percentages_at_the_limits(share: float, text: str) -> None:
    assert export.percent(share) == text


def test_a_bare_carriage_return_begins_no_row() -> None:
    frame = pd.DataFrame({"a\r=head": ["ok\r=1+1", "\r=2"]})
    rows = list(csv.reader(io.StringIO(export.csv(frame).decode("utf-8-sig"), newline="")))
    assert rows == [["a\n=head"], ["ok\n=1+1"], ["'\n=2"]]
