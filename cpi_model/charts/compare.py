"""Scenarios beside each other: cost against latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from cpi_model.charts import base
from cpi_model.charts.base import COARSE, LIGHT, Figure, Palette
from cpi_model.charts.waterfall import basis_text
from cpi_model.export import SIGNS, duration, large, money
from cpi_model.scenario import Scenario
from cpi_model.studies.compare import Compared, cost_figure
from cpi_model.units import MILLION, MILLISECOND

HEIGHT = 340
COLOURS = (0, 4, 2, 3)
"""Places in the palette, by the place of the scenario."""
ROOM = 1.35
"""Around the outermost points, as a factor."""


def beside(found: Sequence[Compared], scenario: Scenario, palette: Palette = LIGHT) -> Figure:
    """Cost of an inference against the 95th percentile of latency, with the likely ranges."""
    rate = scenario.currency_per_usd * MILLION
    shown = [(place, each) for place, each in enumerate(found) if each.answer.feasible]
    traces, words, seen = [], [], list[tuple[float, float]]()
    for place, each in shown:
        colour = palette.series[COLOURS[place % len(COLOURS)]]
        cost, time = each.cost * rate, _latency(each) / MILLISECOND
        costs = _ends(each, cost_figure(scenario).id, rate, cost)
        times = _ends(each, "latency_p95", 1 / MILLISECOND, time)
        traces.append({
            "type": "scatter", "mode": "lines", "name": each.letter, "hoverinfo": "skip",
            "x": [times[0], times[1], None, time, time], "y": [cost, cost, None, *costs],
            "line": {"color": colour, "width": 2},
        })  # fmt: skip
        sign = SIGNS[scenario.currency]
        traces.append({
            "type": "scatter", "mode": "markers", "name": each.letter, "x": [time], "y": [cost],
            "marker": {"color": colour, "size": 11}, "hoverinfo": "text",
            "hovertext": [
                f"{escape(each.label)}: {sign}{large(cost)} per million, p95 "
                f"{duration(time * MILLISECOND)}"
            ],
        })  # fmt: skip
        words.append(
            base.Word(time, cost, f"  <b>{each.letter}</b>", palette.ink, "top right")
        )  # fmt: skip
        seen += [(times[0], costs[0]), (times[1], costs[1])]
    across, up = zip(*seen, strict=True) if seen else ((1.0, 10.0), (1.0, 10.0))
    layout = base.layout(
        palette,
        height=HEIGHT,
        margin={"l": 62, "r": 14, "t": 8, "b": 46},
        xaxis=base.log_axis(
            palette, min(across) / ROOM, max(across) * ROOM, COARSE,
            title={"text": "latency of a request, 95th percentile, milliseconds"},
        ),
        yaxis=base.log_axis(
            palette, min(up) / ROOM, max(up) * ROOM,
            title={"text": f"{scenario.currency} per million, {basis_text(scenario)}"},
        ),
    )  # fmt: skip
    return {"data": [*traces, base.words(words)], "layout": layout}


def _latency(each: Compared) -> float:
    return math.nan if each.answer.estimate is None else float(each.answer.estimate.latency_p95)


def _ends(each: Compared, figure: str, scale: float, middle: float) -> tuple[float, float]:
    """Ends of the likely range, or the figure itself where none is known."""
    band = each.likely[figure]
    return (middle, middle) if band is None else (band.low * scale, band.high * scale)


def describe_beside(found: Sequence[Compared], scenario: Scenario) -> str:
    """The points in words."""
    parts = [
        f"{each.label} {money(each.cost * MILLION, scenario)} at {duration(_latency(each))}"
        for each in found if each.answer.feasible
    ]  # fmt: skip
    return f"Cost per million inferences and p95 latency: {'; '.join(parts) or 'none works'}."
