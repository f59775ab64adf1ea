"""Figures of what each way to pay costs: against volume, against time, and what to commit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cpi_model.charts import base
from cpi_model.charts.base import LIGHT, Figure, Palette
from cpi_model.export import digits, large, money, percent
from cpi_model.scenario import Scenario
from cpi_model.studies.buying import TITLES, Buying, Cash, Mix
from cpi_model.units import MONTH

VOLUMES_HEIGHT = 430
NAMES = 100
"""Room at the right for the names of the lines. [px]"""
SHOWN_DECADES = 2.0
"""Volumes are drawn so far below and above that of the scenario."""
COLOURS = {
    "on_demand": 0, "spot": 1, "reserved_1y": 6, "reserved_3y": 5, "mix": 2, "owned": 4,
    "serverless": 7, "api": 3, "edge": 9,
}  # fmt: skip
DASHES = {
    "on_demand": "solid", "spot": "dash", "reserved_1y": "dot", "reserved_3y": "dashdot",
    "mix": "solid", "owned": "solid", "serverless": "dash", "api": "solid", "edge": "dot",
}  # fmt: skip
WIDTHS = {"mix": 3.5}
FAR = 1.6
"""Lines that end higher than so many times the dearest of owned and on demand leave the picture."""


def volumes(found: Buying, scenario: Scenario, palette: Palette = LIGHT) -> Figure:
    """Monthly cost of every way against the requests a month; marks where the cheapest changes."""
    rate = scenario.currency_per_usd
    months = found.volumes * MONTH
    here = scenario.requests_per_s * MONTH
    shown = np.abs(np.log10(found.volumes / scenario.requests_per_s)) <= SHOWN_DECADES + 1e-9
    traces, ends, every = [], [], []
    for way in found.ways:
        monthly = way.costs * found.volumes * scenario.success_share * MONTH * rate
        y = base.column(monthly[shown], 1.0)
        if not base.known(y):
            continue
        every += base.known(y)
        traces.append(_line(
            way.id, base.column(months[shown], 1.0), y, palette,
            f"{way.title}: %{{y:,.3~s}} {scenario.currency} a month<extra>%{{x:,.3~s}} requests a "
            "month</extra>",
        ))  # fmt: skip
        if y[-1] is not None:
            ends.append((way.id, math.log10(y[-1])))
    low, high = 0.7 * min(every), 1.5 * max(every)
    left, right = float(months[shown][0]), float(months[shown][-1])
    decades = math.log10(high / low)
    margin = {"l": 58, "r": NAMES, "t": 22, "b": 46}
    words = _names(
        ends, math.log10(low), math.log10(high),
        decades / (VOLUMES_HEIGHT - margin["t"] - margin["b"]), right, palette, power=True,
    )  # fmt: skip
    for each in found.cheapest:
        at = each.requests_per_s * MONTH
        if not left <= at <= right:
            continue
        cost = _between(found, each.above, each.requests_per_s, scenario) * rate
        words.append(base.Word(
            at, cost, large(at), palette.ink, "bottom center", mark=10.0, symbol="diamond",
        ))  # fmt: skip
    words.append(base.Word(here, high, "now", palette.quiet, "top center"))
    layout = base.layout(
        palette, height=VOLUMES_HEIGHT, margin=margin,
        xaxis=_power_axis(palette, left, right, "requests a month"),
        yaxis=_power_axis(palette, low, high, f"{scenario.currency} a month"),
        shapes=[_upright(here, palette)],
    )  # fmt: skip
    return {"data": [*traces, base.words(words)], "layout": layout}


def _between(found: Buying, id: str, requests_per_s: float, scenario: Scenario) -> float:
    """USD a month of a way at a volume between two that were worked out."""
    way = found.way(id)
    usable = np.isfinite(way.costs)
    costs = np.exp(np.interp(
        math.log(requests_per_s), np.log(found.volumes[usable]), np.log(way.costs[usable])
    ))  # fmt: skip
    return float(costs) * requests_per_s * scenario.success_share * MONTH


def _power_axis(palette: Palette, low: float, high: float, title: str) -> dict[str, Any]:
    marks = base.ticks(low, high)
    return base.axis(
        palette, type="log", range=[math.log10(low), math.log10(high)], tickvals=marks,
        ticktext=[large(mark) for mark in marks], title={"text": title},
    )  # fmt: skip


def _line(
    id: str, x: base.Column, y: base.Column, palette: Palette, hover: str
) -> dict[str, Any]:  # fmt: skip
    return {
        "type": "scatter", "mode": "lines", "name": TITLES[id], "x": x, "y": y,
        "line": {
            "color": palette.series[COLOURS[id]], "width": WIDTHS.get(id, 2), "dash": DASHES[id],
        },
        "hovertemplate": hover,
    }  # fmt: skip


def _names(
    ends: Sequence[tuple[str, float]], low: float, high: float, pixel: float, right: float,
    palette: Palette, power: bool = False,
) -> list[base.Word]:  # fmt: skip
    """Names beside the ends of lines, moved apart so that none covers another."""
    step = base.LINE_HEIGHT * pixel
    ranked = sorted(ends, key=lambda pair: pair[1])
    places: list[float] = []
    for _, end in ranked:
        places.append(max(end, places[-1] + step if places else low))
    # What was pushed out at the top goes down again, and takes those below along.
    limit = high
    for index in reversed(range(len(places))):
        places[index] = limit = min(places[index], limit)
        limit -= step
    words: list[base.Word] = []
    for (id, _), place in zip(ranked, places, strict=True):
        y = 10.0**place if power else place
        words.append(base.Word(right, y, f"  {TITLES[id]}", palette.ink))
        words.append(base.Word(right, y, "", palette.series[COLOURS[id]], mark=8.0))
    return words


def _upright(at: float, palette: Palette) -> dict[str, Any]:
    return {
        "type": "line", "xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1,
        "line": {"color": palette.quiet, "width": 1, "dash": "dot"}, "layer": "below",
    }  # fmt: skip


def load_duration(mix: Mix, palette: Palette = LIGHT) -> Figure:
    """Instances needed over the share of the time, with the part that is committed."""
    count = len(mix.need)
    edges = [round(100.0 * place / count, 2) for place in range(count + 1)]
    need = [float(f"{each:.5g}") for each in [*mix.need, mix.need[-1]]]
    committed = mix.committed if mix.commitment else 0.0
    used = [min(each, committed) for each in need]
    high = 1.12 * max(*need, committed)
    common = {"type": "scatter", "mode": "lines", "x": edges}
    above, below = palette.series[1], palette.series[2]
    # From back to front: what is paid and not used, what is needed, what is committed of that.
    traces: list[dict[str, Any]] = []
    words = []
    if committed:
        traces.append(common | {
            "name": "Paid and not used", "y": [committed] * len(edges), "hoverinfo": "skip",
            "fill": "tozeroy", "fillcolor": palette.grid,
            "line": {"color": palette.grid, "width": 0},
        })  # fmt: skip
    traces.append(common | {
        "name": "By the hour", "y": need, "fill": "tozeroy", "fillcolor": above,
        "line": {"color": above, "width": 0, "shape": "hv"},
        "hovertemplate": "%{y} needed<extra>%{x} % of the time or more</extra>",
    })  # fmt: skip
    if committed:
        traces.append(common | {
            "name": "Committed and used", "y": used, "fill": "tozeroy", "fillcolor": below,
            "line": {"color": below, "width": 0, "shape": "hv"}, "hoverinfo": "skip",
        })  # fmt: skip
        traces.append(common | {
            "name": "Committed", "y": [committed] * len(edges), "hoverinfo": "skip",
            "line": {"color": palette.ink, "width": 2, "dash": "dash"},
        })  # fmt: skip
        words.append(base.Word(
            1.0, committed, f"committed: {digits(committed)}", palette.on_series[2], "bottom right",
        ))  # fmt: skip
    ticks = base.steps(high)
    layout = base.layout(
        palette, height=300, margin={"l": 50, "r": 14, "t": 12, "b": 46},
        xaxis=base.axis(
            palette, range=[0, 100], tickvals=[0, 25, 50, 75, 100],
            ticktext=["0 %", "25 %", "50 %", "75 %", "100 %"],
            title={"text": "share of the time, busiest first"},
        ),
        yaxis=base.axis(
            palette, range=[0, high], tickvals=ticks, ticktext=[digits(tick) for tick in ticks],
            title={"text": "instances needed"},
        ),
    )  # fmt: skip
    return {"data": [*traces, base.words(words)], "layout": layout}


def cash(found: Cash, scenario: Scenario, palette: Palette = LIGHT) -> Figure:
    """Money paid until the end of each month, by way."""
    rate = scenario.currency_per_usd
    months = base.column(found.months, 1.0)
    paid = {id: column * rate for id, column in found.paid.items()}
    most = max(float(paid[id][-1]) for id in ("owned", "on_demand") if id in paid)
    high = 1.06 * max(float(column[-1]) for column in paid.values() if column[-1] <= FAR * most)
    margin = {"l": 58, "r": NAMES, "t": 8, "b": 46}
    height = 340
    traces, ends = [], []
    for id, column in paid.items():
        traces.append(_line(
            id, months, base.column(column, 1.0), palette,
            f"{TITLES[id]}: %{{y:,.3~s}} {scenario.currency}<extra>after %{{x}} months</extra>",
        ))  # fmt: skip
        if column[-1] <= high:
            ends.append((id, float(column[-1])))
    words = _names(
        ends,
        0.0,
        high,
        high / (height - margin["t"] - margin["b"]),
        float(found.months[-1]),
        palette,
    )
    ticks = base.steps(high)
    across = [0.0, 6.0, 12.0, 18.0, 24.0, 30.0, 36.0]
    layout = base.layout(
        palette, height=height, margin=margin,
        xaxis=base.axis(
            palette, range=[0, float(found.months[-1])], tickvals=across,
            ticktext=[digits(each) for each in across], title={"text": "months from now"},
        ),
        yaxis=base.axis(
            palette, range=[0, high], tickvals=ticks, ticktext=[large(tick) for tick in ticks],
            title={"text": f"{scenario.currency} paid until then"},
        ),
    )  # fmt: skip
    return {"data": [*traces, base.words(words)], "layout": layout}


def describe_volumes(found: Buying, scenario: Scenario) -> str:
    """The ways and their monthly cost in words."""
    parts = [f"{way.title} {money(way.monthly, scenario)}" for way in found.ways if way.known]
    marks = [
        f"from {large(each.requests_per_s * MONTH)} requests a month on {TITLES[each.above]} "
        f"instead of {TITLES[each.below]}"
        for each in found.cheapest
    ]
    return (
        f"Monthly cost at the volume of the scenario: {', '.join(parts)}. Cheapest: "
        f"{'; '.join(marks) or 'the same at all volumes'}."
    )


def describe_load_duration(mix: Mix) -> str:
    """The load-duration curve in words."""
    return (
        f"From {digits(float(mix.need[0]))} instances in the busiest hours to "
        f"{digits(float(mix.need[-1]))} in the quietest; {digits(mix.committed)} are committed, "
        f"of which {percent(mix.unused_share)} is not used."
    )


def describe_cash(found: Cash, scenario: Scenario) -> str:
    """Payments in words."""
    parts = [
        f"{TITLES[id]} {money(float(column[-1]), scenario)}" for id, column in found.paid.items()
    ]
    return f"Paid after {digits(float(found.months[-1]))} months: {', '.join(parts)}."
