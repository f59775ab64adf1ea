"""What moves the cost most, as bars around the cost of the scenario."""

from __future__ import annotations

import math
from typing import Any

from cpi_model.charts import base
from cpi_model.charts.base import LIGHT, Figure, Palette
from cpi_model.export import SIGNS, change, digits, large, money, setting
from cpi_model.scenario import Scenario
from cpi_model.studies.sensitivity import Bar, End, Tornado
from cpi_model.units import MILLION

ROW = 38
"""Height of a field with its two bars. [px]"""
LONGEST_NAME = 26
HALF, WIDTH = 0.16, 0.3
"""Where the two bars of a field stand beside its middle, and how thick they are, in rows."""
NAMES = {-1: "Down", 1: "Up"}


def tornado(found: Tornado, scenario: Scenario, palette: Palette = LIGHT) -> Figure:
    """Cost of an inference with each field a step down and a step up, the strongest on top."""
    rate = scenario.currency_per_usd * MILLION
    sign, bars = SIGNS[scenario.currency], found.strongest
    middle = found.cost * rate
    ends = [
        (row, side, bar, end)
        for row, bar in zip(range(len(bars) - 1, -1, -1), bars, strict=True)
        for side, end in ((-1, bar.low), (1, bar.high))
        if end is not None and not end.reason
    ]
    costs = [middle, *(end.cost * rate for *_, end in ends)]
    room = 0.3 * (max(costs) - min(costs) or middle)
    low, high = max(min(costs) - room, 0.0), max(costs) + room
    colours = {-1: palette.series[0], 1: palette.series[4]}
    traces: list[dict[str, Any]] = []
    for side in NAMES:
        here = [(row, bar, end) for row, which, bar, end in ends if which == side]
        traces.append({
            "type": "bar", "orientation": "h", "name": NAMES[side], "width": WIDTH,
            "y": [row - side * HALF for row, _, _ in here],
            "base": [float(f"{middle:.6g}")] * len(here),
            "x": [float(f"{end.cost * rate - middle:.6g}") for _, _, end in here],
            "marker": {"color": colours[side]}, "hoverinfo": "text",
            "hovertext": [
                f"{bar.title} {setting(bar.info, end.value)}: {sign}{large(end.cost * rate)} per "
                f"million ({change(end.cost / found.cost - 1.0)})"
                for _, bar, end in here
            ],
        })  # fmt: skip
    words = [
        base.Word(
            end.cost * rate, row - side * HALF, f" {_short(bar, end)} ", palette.ink,
            "middle left" if end.cost < found.cost else "middle right",
        )
        for row, side, bar, end in ends
    ]  # fmt: skip
    line = {
        "type": "line", "x0": middle, "x1": middle, "xref": "x", "y0": -0.6,
        "y1": len(bars) - 0.4, "yref": "y", "line": {"color": palette.ink, "width": 1.2},
    }  # fmt: skip
    step = base.round_step((high - low) / 5)
    ticks = [step * count for count in range(math.ceil(low / step), math.floor(high / step) + 1)]
    layout = base.layout(
        palette,
        height=ROW * max(len(bars), 1) + 56,
        barmode="overlay",
        shapes=[line],
        margin={"l": 168, "r": 8, "t": 4, "b": 46},
        xaxis=base.axis(
            palette, range=[low, high], tickvals=ticks, ticktext=[large(tick) for tick in ticks],
            title={"text": f"{scenario.currency} per million inferences"},
        ),
        yaxis=base.axis(
            palette, range=[-0.6, len(bars) - 0.4], tickvals=list(range(len(bars))),
            ticktext=[_name(bar.title) for bar in reversed(bars)], showgrid=False, showline=False,
        ),
    )  # fmt: skip
    return {"data": [*traces, base.words(words)], "layout": layout}


def _name(title: str) -> str:
    return title if len(title) <= LONGEST_NAME else title[: LONGEST_NAME - 1] + "…"


def _short(bar: Bar, end: End) -> str:
    """Value at an end without its unit, but for percentages."""
    return setting(bar.info, end.value) if bar.info.unit == "share" else digits(end.value, 9)


def describe_tornado(found: Tornado, scenario: Scenario) -> str:
    """The bars in words."""
    parts = []
    for bar in found.strongest:
        ends = [
            f"{setting(bar.info, end.value)} {money(end.cost * MILLION, scenario)}"
            for end in (bar.low, bar.high) if end is not None and not end.reason
        ]  # fmt: skip
        parts.append(f"{bar.title}: {', '.join(ends)}")
    return (
        f"Cost per million inferences {money(found.cost * MILLION, scenario)}, and with one field "
        f"changed: {'; '.join(parts) or 'nothing moves it'}."
    )
