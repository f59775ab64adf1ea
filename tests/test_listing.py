"""Catalog tables: everything that is known is there, each row with its source and age."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpi_model.catalog import catalog
from cpi_model.studies import listing

FACTS = catalog()
TODAY = date.today()
FRAMES = {name: listing.table(name, FACTS, TODAY) for name in listing.TABLES}
THINGS: dict[str, Any] = {
    "Hardware": list(FACTS.accelerators.values()),
    "Prices": list(FACTS.instance_prices),
    "Models": list(FACTS.models.values()),
    "Hosted APIs": list(FACTS.api_prices),
    "Services": list(FACTS.service_prices),
    "Energy": list(FACTS.energy_facts),
    "Traffic": list(FACTS.traffic.values()),
}


def read_on(frame: pd.DataFrame) -> str:
    (column,) = {"Oldest figure read on", "Valid from"} & set(frame)
    return column


@pytest.mark.parametrize("name", listing.TABLES)
def test_every_thing_has_a_row(name: str) -> None:
    assert len(FRAMES[name]) == len(THINGS[name]) > 0
    assert not FRAMES[name].duplicated().any()


@pytest.mark.parametrize("name", listing.TABLES)
def test_every_row_has_a_source_a_date_and_an_age(name: str) -> None:
    frame = FRAMES[name]
    assert all(isinstance(source, str) and source.strip() for source in frame["Source"])
    for day, age in zip(frame[read_on(frame)], frame[listing.AGE], strict=True):
        assert isinstance(day, date)
        assert day + timedelta(days=int(age)) == TODAY
        assert age >= 0


def test_the_age_is_that_of_the_oldest_figure_that_somebody_published() -> None:
    for name in ("Hardware", "Models"):
        for thing, row in zip(THINGS[name], FRAMES[name].to_dict("records"), strict=True):
            assert row["Id"] == thing.id
            published = [s.accessed for s in thing.sources if s.kind != "assumption"]
            oldest = min(published or [s.accessed for s in thing.sources])
            assert row["Oldest figure read on"] == oldest
            assert all(source.title in row["Source"] for source in thing.sources)


@pytest.mark.parametrize("name", ["Prices", "Hosted APIs", "Services", "Energy"])
def test_dated_rows_keep_their_own_date(name: str) -> None:
    for thing, row in zip(THINGS[name], FRAMES[name].to_dict("records"), strict=True):
        assert (row["Source"], row["Valid from"]) == (thing.source, thing.valid_from)


def test_a_day_later_everything_is_a_day_older() -> None:
    for name, frame in FRAMES.items():
        later = listing.table(name, FACTS, TODAY + timedelta(days=1))
        assert list(later[listing.AGE]) == [age + 1 for age in frame[listing.AGE]]
        assert later.drop(columns=listing.AGE).equals(frame.drop(columns=listing.AGE))


# Figures ------------------------------------------------------------------------------------------


def test_hardware_is_that_of_the_datasheet() -> None:
    """NVIDIA's H100 SXM: 80 GB at 3.35 TB/s, 989 bf16 and 1,979 fp8 TFLOP/s dense, 700 W."""
    frame = FRAMES["Hardware"].set_index("Id")
    row = frame.loc["h100-sxm"]
    assert (row["Memory, GB"], row["Bandwidth, GB/s"], row["Power, W"]) == (80, 3350, 700)
    assert row["bf16, TFLOP/s"] == pytest.approx(989, abs=1)
    assert row["fp8, TFLOP/s"] == pytest.approx(1979, abs=1)


def test_hardware_names_the_lowest_price_for_rent() -> None:
    for row in FRAMES["Hardware"].to_dict("records"):
        newest: dict[tuple[str, str], tuple[date, float]] = {}
        for price in FACTS.instance_prices:
            instance = FACTS.instances[price.instance]
            if (
                instance.accelerator != row["Id"]
                or price.purchase != "on_demand"
                or instance.tenure != "rent"
            ):
                continue
            each = price.usd_per_hour / instance.accelerator_count
            place = (price.instance, price.region)
            if place not in newest or price.valid_from > newest[place][0]:
                newest[place] = (price.valid_from, each)
        shown = row["On demand from, USD/h"]
        if newest:
            assert shown == pytest.approx(min(each for _, each in newest.values()))
        else:
            assert pd.isna(shown)


def test_prices_are_per_instance_and_per_device() -> None:
    frame = FRAMES["Prices"]
    whole = frame["Per device, USD/h"] * frame["Devices"]
    assert list(whole) == pytest.approx(list(frame["Price, USD/h"]))
    assert set(frame["Instance"]) <= set(FACTS.instances)
    assert set(frame["Hardware"]) <= set(FACTS.accelerators)


def test_models_have_the_parameters_that_their_makers_state() -> None:
    frame = FRAMES["Models"].set_index("Id")
    for row in frame.to_dict("records"):
        shown, published = row["Parameters, billion"], row["Published, billion"]
        assert shown == pytest.approx(published, rel=0.05)
    # 46.7 billion in all, 12.9 for one token (Mistral AI, "Mixtral of experts").
    mixtral = frame.loc["mixtral-8x7b-v0.1"]
    assert mixtral["Parameters, billion"] == pytest.approx(46.7, rel=0.005)
    assert mixtral["Used per token, billion"] == pytest.approx(12.9, rel=0.02)
    assert mixtral["Experts"] == 8


# Search -------------------------------------------------------------------------------------------


def texts(frame: pd.DataFrame) -> list[str]:
    """Everything written in a row that is no number, each row in lower case."""
    return [
        " ".join(
            str(value) for value in row if not isinstance(value, bool | int | float)
        ).casefold()
        for row in frame.itertuples(index=False)
    ]


@pytest.mark.parametrize("name", listing.TABLES)
@pytest.mark.parametrize("search", ["aws", "us-east", "nvidia h1", "llama meta", "2026-", "e a"])
def test_a_search_keeps_the_rows_with_all_words(name: str, search: str) -> None:
    frame = FRAMES[name]
    found = listing.matching(frame, search)
    wanted = [all(word in text for word in search.split()) for text in texts(frame)]
    assert list(found.index) == list(frame[wanted].index)
    assert list(found.columns) == list(frame.columns)
    for other in (search.upper(), f"  {chr(32).join(search.title().split()[::-1])}\t"):
        assert listing.matching(frame, other).equals(found)


SMALL = pd.DataFrame({
    "Name": ["A100 (80 GB)", "a.c", "abc", "C++ [x]", "Straße", None, "$5 | 50%"],
    "Maker": ["NVIDIA", "x", "y", None, "z", "only", "\\d"],
    "Year": [2020, 2021, 2022, 2023, 2024, 2025, 2026],
    "Flag": [True, False] * 3 + [True],
    "Day": [date(2026, 1, day) for day in range(1, 8)],
})  # fmt: skip


@pytest.mark.parametrize(
    ("search", "rows"),
    [
        ("a.c", [1]), (".*", []), ("c++", [3]), ("[x]", [3]), ("(80", [0]), ("^a", []),
        ("\\d", [6]), ("$5", [6]), ("|", [6]), ("50%", [6]), ("(", [0]), ("*", []), ("[", [3]),
        ("nvidia a100", [0]), ("A100 nvidia", [0]), ("STRASSE", [4]), ("only", [5]),
        ("", [0, 1, 2, 3, 4, 5, 6]), ("   ", [0, 1, 2, 3, 4, 5, 6]), ("nothing", []),
        # Numbers and flags are no words, and what is not known has none.
        ("2023", []), ("true", []), ("none", []), ("nan", []), ("2026-01-03", [2]),
    ],
)  # fmt: skip
def test_words_are_taken_as_they_are_written(search: str, rows: list[int]) -> None:
    assert list(listing.matching(SMALL, search).index) == rows


@given(st.text(max_size=20))
def test_any_search_gives_a_part_of_the_table(search: str) -> None:
    found = listing.matching(SMALL, search)
    assert set(found.index) <= set(SMALL.index)
    assert list(found.columns) == list(SMALL.columns)


@given(st.lists(st.sampled_from(["a", "nvidia", "(", "x", "80", "."]), max_size=4))
def test_more_words_never_find_more(search: list[str]) -> None:
    fewer = listing.matching(SMALL, " ".join(search[1:]))
    assert set(listing.matching(SMALL, " ".join(search)).index) <= set(fewer.index)
