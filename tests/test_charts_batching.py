"""Charts of the Batching page: Plotly takes them, and they show the figures of the study."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.charts import DARK, LIGHT, Figure, Palette
from cpi_model.charts.base import ticks
from cpi_model.scenario import Scenario
from cpi_model.studies import batching
from cpi_model.studies.answer import answer
from cpi_model.studies.batching import Curve, Delays
from tests.test_batching_study import SCENARIOS, asked

PALETTES = {"light": LIGHT, "dark": DARK}
MILLION = 1e6


@cache
def curve(name: str) -> Curve:
    found = batching.curve(asked(name))
    assert found is not None
    return found


@cache
def waits(name: str) -> Delays:
    return batching.delays(asked(name), batching.rates(asked(name))["peak"])


def figures(name: str, palette: Palette) -> dict[str, Figure]:
    scenario = SCENARIOS[name]
    found = {
        "curve": charts.throughput_latency(curve(name), palette),
        "limits": charts.limit_costs(batching.limit_costs(asked(name)), scenario, palette),
    }
    if batching.waits_for_a_batch(asked(name)):
        wait = scenario.batch_wait_ms / 1000
        found["delays"] = charts.delays(waits(name), wait, scenario, palette)
    return found


def trace(figure: Figure, name: str) -> dict[str, Any]:
    (found,) = (each for each in figure["data"] if each.get("name") == name)
    return found


@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_plotly_takes_every_figure(name: str, theme: str) -> None:
    for figure in figures(name, PALETTES[theme]).values():
        go.Figure(figure)
        # No NaN reaches the browser, which could not read it.
        json.dumps(figure, allow_nan=False)
        assert all(axis["automargin"] is False for axis in axes(figure).values())


def axes(figure: Figure) -> dict[str, Any]:
    return {
        name: axis for name, axis in figure["layout"].items() if name.startswith(("xaxis", "yaxis"))
    }


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_axis_says_its_unit(name: str) -> None:
    words = ("second", "requests/s", "per million", "ms", "multiple")
    for figure in figures(name, LIGHT).values():
        for axis in axes(figure).values():
            if "anchor" in axis or axis.get("title", {}).get("text"):
                assert any(word in axis["title"]["text"] for word in words)
            assert len(axis["tickvals"]) >= 2, axis


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_curve_shows_the_sweep(name: str) -> None:
    found = curve(name)
    drawn = trace(charts.throughput_latency(found, LIGHT), "Requests per second")
    known = np.isfinite(np.asarray(found.sweep.estimate.throughput))
    shown = [value for value in drawn["y"] if value is not None]
    expected = np.asarray(found.sweep.estimate.throughput)[known]
    assert shown == pytest.approx(list(expected), rel=1e-4)
    assert drawn["customdata"] == list(found.sweep.values)


@pytest.mark.parametrize("name", SCENARIOS)
def test_named_points_stand_on_the_curve(name: str) -> None:
    found = curve(name)
    figure = charts.throughput_latency(found, LIGHT)
    words = [each for each in figure["data"] if each.get("mode") == "markers+text"]
    text = " ".join(word for each in words for word in each["text"])
    assert f"<b>{found.chosen.concurrency:,}</b>" in text
    assert found.knee is not None and f"<b>{found.knee.concurrency:,}</b>" in text
    low, high = figure["layout"]["xaxis"]["range"]
    upper = words[0]
    for x, symbol in zip(upper["x"], upper["marker"]["symbol"], strict=True):
        if symbol == "diamond":
            assert low <= math.log10(x) <= high


def test_costs_are_in_the_currency_of_the_scenario() -> None:
    euro = Scenario(currency="EUR", currency_per_usd=0.5)
    result = answer(euro, catalog())
    found = batching.curve(result)
    assert found is not None
    for_dollars = trace(charts.throughput_latency(curve("llm"), LIGHT), "Fully loaded cost")
    for_euros = trace(charts.throughput_latency(found, LIGHT), "Fully loaded cost")
    assert for_euros["y"] == pytest.approx([0.5 * y for y in for_dollars["y"]], rel=1e-3)


@pytest.mark.parametrize("name", ["encoder", "trees", "dynamic"])
def test_longer_waits_are_drawn_from_left_to_right(name: str) -> None:
    drawn = trace(figures(name, LIGHT)["delays"], "Latency, p95")
    assert drawn["x"] == sorted(drawn["x"]) and drawn["x"][0] > 0
    assert drawn["y"] == pytest.approx(
        [1000 * p95 for p95, wait in zip(waits(name).p95, waits(name).waits, strict=True) if wait],
        rel=1e-4,
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_pictures_are_described_without_gaps(name: str) -> None:
    spoken = [
        charts.describe_curve(curve(name)),
        charts.describe_limit_costs(batching.limit_costs(asked(name)), SCENARIOS[name]),
    ]
    if batching.waits_for_a_batch(asked(name)):
        spoken.append(charts.describe_delays(waits(name)))
    for text in spoken:
        assert text.endswith(".")
        assert "nan" not in text and "unknown" not in text


@pytest.mark.parametrize(
    ("low", "high"),
    [(1.0, 10.0), (0.97, 1.03), (2.1, 2.13), (3.0, 4000.0), (1e-9, 1e9), (1.8, 2.1)],
)
def test_short_axes_have_ticks_too(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 7
    assert all(low * (1 - 1e-9) <= tick <= high * (1 + 1e-9) for tick in found)
    assert found == sorted(found)
