"""The Batching page: it says what the study says, and its buttons change the scenario."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from cpi_model import links
from cpi_model.catalog import catalog
from cpi_model.export import money
from cpi_model.scenario import Scenario
from cpi_model.studies import batching
from cpi_model.studies.answer import answer
from tests.test_batching_study import SCENARIOS
from tests.test_pages import app, figures, scenario, slide, texts

PAGE = "pages/4_Batching.py"


def shown(given: Scenario) -> AppTest:
    return app(links.encode(given), PAGE)


def button(opened: AppTest, label: str) -> None:
    next(each for each in opened.button if each.label == label).click().run()
    assert not opened.exception


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_page_says_what_the_study_says(name: str) -> None:
    given = SCENARIOS[name]
    opened = shown(given)
    result = answer(given, catalog())
    assert result.estimate is not None
    cost = money(float(result.estimate.cost_per_inference), given)
    assert figures(opened)["Cost per inference"] == cost
    curve = batching.curve(result)
    assert curve is not None and curve.knee is not None
    said = texts(opened)
    assert f"**Knee: {curve.knee.concurrency:,}**" in said
    within = curve.within[0.95]
    if within is not None:
        assert f"**p95 in limits, at most: {within.concurrency:,}**" in said
    assert "requests drawn at random" in said
    charts = 2 + batching.waits_for_a_batch(result)
    assert len(opened.get("plotly_chart")) == charts
    (modes,) = opened.dataframe
    assert len(modes.value) == (2 if name in ("encoder", "trees") else 5)


def test_the_knee_is_one_click_away() -> None:
    opened = shown(Scenario())
    curve = batching.curve(answer(Scenario(), catalog()))
    assert curve is not None and curve.knee is not None
    button(opened, f"Use {curve.knee.concurrency:,}")
    assert scenario(opened) == Scenario(concurrency=curve.knee.concurrency)
    assert opened.query_params["c"] == str(curve.knee.concurrency)
    assert f"**Chosen: {curve.knee.concurrency:,}**" in texts(opened)


def test_a_slider_moves_everything() -> None:
    opened = shown(Scenario())
    before = texts(opened)
    slide(opened, "concurrency", 64)
    assert "**Chosen: 64**" in texts(opened)
    assert texts(opened) != before
    assert "requests drawn at random" in texts(opened)


def test_what_cannot_work_explains_itself() -> None:
    opened = shown(Scenario(model="llama-3.1-70b"))
    assert "This cannot work as it stands" in texts(opened)
    assert "**Knee" not in texts(opened) and not opened.dataframe
    button(opened, "Use FP8 weights and activations")
    assert "**Knee" in texts(opened)


def test_limits_that_nothing_keeps_are_said_to_be_out_of_reach() -> None:
    opened = shown(Scenario(slo_latency_ms=10.0))
    said = texts(opened)
    assert "not even one: fewer than 95% meet the limits" in said
    assert "cannot be kept" in said


def test_more_than_a_replica_keeps_up_with_is_said() -> None:
    """Average load within the capacity, and a peak that is above it."""
    given = Scenario(
        scaling="fixed", fixed_replicas=1, requests_per_s=3.0, peak_to_mean=1.15,
        batching="dynamic",
    )  # fmt: skip
    result = answer(given, catalog())
    assert result.feasible
    rate = batching.rates(result)["peak"]
    served = batching.simulated(result, rate).served
    opened = shown(given)
    assert ("the queue grows without end" in texts(opened)) == (not served.keeps_up)


@pytest.mark.parametrize("way", ["static", "dynamic", "disaggregated"])
def test_the_way_of_batching_is_in_the_sidebar_and_in_the_link(way: str) -> None:
    opened = shown(Scenario())
    assert opened.get("expander")
    given = shown(Scenario(batching=way))
    assert given.query_params["bat"] == way
    chosen = [row for row in given.dataframe[0].value["Way"] if "(chosen)" in row]
    assert len(chosen) == 1
