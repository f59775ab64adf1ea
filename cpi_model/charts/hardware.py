"""Charts of the Hardware page: ranking, cost against latency, rooflines, cost against load."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from cpi_model.charts import base
from cpi_model.charts.base import LIGHT, Figure, Palette
from cpi_model.evaluate import Estimate
from cpi_model.export import SIGNS, digits, duration, large, money, percent
from cpi_model.scenario import Scenario
from cpi_model.studies.hardware import AgainstLoad, Roofline
from cpi_model.studies.optimise import Configuration
from cpi_model.units import MILLION, TERA

ROW = 25
"""Height of a bar with its name. [px]"""
NAMES = 156
"""Width of the names. [px]"""
KINDS = ("gpu", "tpu", "cpu", "asic", "edge")
"""Kinds of hardware, in the order of their colours."""
KIND_WORDS = {"gpu": "GPU", "tpu": "TPU", "cpu": "CPU", "asic": "ASIC", "edge": "edge"}
LONGEST_NAME = 24
MOST_TIMES = 8.0
"""Bars are cut at so many times the cheapest."""
SCATTER_HEIGHT = 380


def _colour(each: Configuration, palette: Palette) -> str:
    return palette.series[KINDS.index(each.choice.accelerator.kind)]


def short_name(name: str) -> str:
    """A chip's name without its maker, where that is the usual one."""
    short = name.removeprefix("NVIDIA ").removeprefix("Intel ").removeprefix("Google ")
    return short if len(short) <= LONGEST_NAME else short[: LONGEST_NAME - 1] + "…"


def configuration_text(each: Configuration, scenario: Scenario) -> str:
    """A configuration in a few lines."""
    choice, changes = each.choice, each.changes
    split = " × ".join(
        f"{changes[name]} {word}"
        for name, word in (
            ("tensor_parallel", "tensor"), ("pipeline_parallel", "pipeline"),
            ("data_parallel", "data"),
        )
        if changes[name] > 1
    )  # fmt: skip
    where = changes["instance"] if choice.instance else "own price"
    lines = [
        f"<b>{escape(choice.accelerator.name)}</b>, {escape(choice.scheme.name)}",
        f"{escape(choice.engine.name)}, {changes['concurrency']} at a time"
        + (f", {split} parallel" if split else ""),
        f"{escape(where)}, {changes['purchase'].replace('_', ' ')}",
        f"{money(each.cost * MILLION, scenario)} per million"
        + (
            ""
            if math.isnan(each.low)
            else f" ({money(each.low * MILLION, scenario)} to "
            f"{money(each.high * MILLION, scenario)})"
        ),
        f"p95 {duration(float(each.estimate.latency_p95))}, {digits(each.devices)} devices, "
        f"utilisation {percent(float(each.estimate.utilisation))}",
        f"limited by {escape(each.limited_by.removeprefix('limit: '))}",
    ]
    return "<br>".join(lines)


def ranking(
    found: Sequence[Configuration], scenario: Scenario, palette: Palette = LIGHT
) -> Figure:  # fmt: skip
    """Cost of the best configuration of each piece of hardware, with its likely range."""
    rate = scenario.currency_per_usd * MILLION
    sign = SIGNS[scenario.currency]
    places = list(range(len(found) - 1, -1, -1))
    costs = [each.cost * rate for each in found]
    ends = [
        (cost, cost) if math.isnan(each.low) else (each.low * rate, each.high * rate)
        for each, cost in zip(found, costs, strict=True)
    ]
    # What is many times dearer is cut, so that the first ones can still be told apart.
    high = min(1.3 * max(costs, default=1.0), MOST_TIMES * min(costs, default=1.0))
    bars = {
        "type": "bar", "orientation": "h", "name": "Cost", "width": 0.62, "y": places,
        "x": [float(f"{min(cost, high):.5g}") for cost in costs],
        "marker": {"color": [_colour(each, palette) for each in found]},
        "hoverinfo": "text",
        "hovertext": [configuration_text(each, scenario) for each in found],
        "error_x": {
            "type": "data", "symmetric": False, "color": palette.ink, "thickness": 1.2, "width": 4,
            "array": [
                float(f"{max(min(last, high) - cost, 0.0):.4g}")
                for (_, last), cost in zip(ends, costs, strict=True)
            ],
            "arrayminus": [
                float(f"{cost - first if cost < high else 0.0:.4g}")
                for (first, _), cost in zip(ends, costs, strict=True)
            ],
        },
    }  # fmt: skip
    words = [
        _cost_word(each, place, cost, last, high, sign, palette)
        for each, place, cost, (_, last) in zip(found, places, costs, ends, strict=True)
    ]
    ticks = base.steps(high, 4)
    layout = base.layout(
        palette,
        height=ROW * max(len(found), 1) + 54,
        margin={"l": NAMES, "r": 12, "t": 4, "b": 46},
        xaxis=base.axis(
            palette, range=[0, high], tickvals=ticks, ticktext=[large(tick) for tick in ticks],
            title={"text": f"{scenario.currency} per million inferences, fully loaded"},
        ),
        yaxis=base.axis(
            palette, range=[-0.6, len(found) - 0.4], tickvals=places,
            ticktext=[escape(short_name(each.choice.accelerator.name)) for each in found],
            showgrid=False, showline=False,
        ),
    )  # fmt: skip
    return {"data": [bars, base.words(words)], "layout": layout}


def _cost_word(
    each: Configuration, place: float, cost: float, last: float, high: float, sign: str,
    palette: Palette,
) -> base.Word:  # fmt: skip
    """The cost of a bar: behind its range where there is room, else in the bar."""
    text = f"{sign}{large(cost)}"
    end = max(cost, last)
    if end < 0.84 * high:
        return base.Word(end, place, f" {text}", palette.ink)
    kind = KINDS.index(each.choice.accelerator.kind)
    return base.Word(0, place, f" {text}{' ▸' if cost > high else ''}", palette.on_series[kind])


def cost_against_latency(
    found: Sequence[Configuration],
    front: Sequence[Configuration],
    now: Estimate | None,
    scenario: Scenario,
    palette: Palette = LIGHT,
) -> Figure:
    """The best of each piece of hardware, the front that nothing beats, and the scenario.

    Points carry their place in `found` followed by `front`, for whoever picks one.
    """
    rate = scenario.currency_per_usd * MILLION
    everything = [*found, *front]
    times = [float(each.estimate.latency_p95) for each in everything]
    costs = [each.cost * rate for each in everything]
    here = None
    if now is not None and math.isfinite(float(now.cost_per_inference)):
        here = (float(now.latency_p95), float(now.cost_per_inference) * rate)
    seen_times = [*times, *([here[0]] if here else [])] or [1.0]
    seen_costs = [*costs, *([here[1]] if here else [])] or [1.0]
    count = len(found)
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines+markers", "name": "Nothing is cheaper and faster",
            "x": [float(f"{time:.5g}") for time in times[count:]],
            "y": [float(f"{cost:.5g}") for cost in costs[count:]],
            "line": {"color": palette.quiet, "width": 1.5, "shape": "hv"},
            "marker": {"color": [_colour(each, palette) for each in front], "size": 9,
                       "symbol": "diamond", "line": {"width": 1, "color": palette.ink}},
            "hoverinfo": "text", "customdata": list(range(count, len(everything))),
            "hovertext": [configuration_text(each, scenario) for each in front],
        },
        {
            "type": "scatter", "mode": "markers", "name": "Best of each",
            "x": [float(f"{time:.5g}") for time in times[:count]],
            "y": [float(f"{cost:.5g}") for cost in costs[:count]],
            "marker": {"color": [_colour(each, palette) for each in found], "size": 10},
            "hoverinfo": "text", "customdata": list(range(count)),
            "hovertext": [configuration_text(each, scenario) for each in found],
        },
    ]  # fmt: skip
    first, last = min(seen_times) / 1.35, max(seen_times) * 1.6
    marks = []
    for each in found[:1]:
        time, cost = float(each.estimate.latency_p95), each.cost * rate
        left = time**2 < first * last
        name = escape(short_name(each.choice.accelerator.name))
        marks.append(base.Word(
            time, cost, f"  {name}" if left else f"{name}  ", palette.ink,
            "bottom right" if left else "bottom left",
        ))  # fmt: skip
    if here:
        marks.append(base.Word(
            here[0], here[1], "now", palette.ink, "top center", mark=15.0, symbol="x-thin-open"
        ))  # fmt: skip
    words = base.words(marks)
    words["marker"]["line"] = {"width": 2}
    marked = base.ticks(first, last)
    layout = base.layout(
        palette,
        height=SCATTER_HEIGHT,
        margin={"l": 62, "r": 14, "t": 8, "b": 46},
        hovermode="closest",
        clickmode="event+select",
        xaxis=base.axis(
            palette, type="log", range=[math.log10(first), math.log10(last)], tickvals=marked,
            ticktext=[duration(mark) for mark in marked], title={"text": "latency, p95"},
        ),
        yaxis=base.log_axis(
            palette, min(seen_costs) / 1.5, max(seen_costs) * 1.6,
            title={"text": f"{scenario.currency} per million"},
        ),
    )  # fmt: skip
    return {"data": [*traces, words], "layout": layout}


ROOF_POINTS = 24
PHASES = {"prefill": "circle", "decode": "diamond", "batch": "square"}


def roofline(found: Sequence[Roofline], palette: Palette = LIGHT) -> Figure:
    """What a device of each could do at each intensity, and what it does on this workload."""
    points = [point for line in found for point in line.points]
    low = min([0.5 * point.intensity for point in points], default=1.0)
    high = max(
        [2.0 * point.intensity for point in points]
        + [3.0 * line.peak / line.bandwidth for line in found],
        default=1000.0,
    )
    across = np.geomspace(low, high, ROOF_POINTS)
    traces, marks = [], []
    for place, line in enumerate(found):
        colour = palette.series[place % len(palette.series)]
        ridge = line.peak / line.bandwidth
        bends = np.unique(np.append(across, ridge))
        roof = np.minimum(bends * line.bandwidth, line.peak) / TERA
        traces.append({
            "type": "scatter", "mode": "lines", "name": escape(short_name(line.name)),
            "x": [float(f"{value:.4g}") for value in bends],
            "y": [float(f"{value:.4g}") for value in roof],
            "line": {"color": colour, "width": 2}, "hoverinfo": "name",
        })  # fmt: skip
        traces.append({
            "type": "scatter", "mode": "markers", "name": escape(short_name(line.name)),
            "x": [float(f"{point.intensity:.4g}") for point in line.points],
            "y": [float(f"{point.flops / TERA:.4g}") for point in line.points],
            "marker": {"color": colour, "size": 11,
                       "symbol": [PHASES[point.phase] for point in line.points],
                       "line": {"width": 1, "color": palette.ink}},
            "hoverinfo": "text",
            "hovertext": [
                f"{escape(line.name)}, {point.phase}: {digits(point.flops / TERA)} TFLOP/s at "
                f"{digits(point.intensity)} FLOP/B; could do "
                f"{digits(min(point.intensity * line.bandwidth, line.peak) / TERA)}"
                for point in line.points
            ],
        })  # fmt: skip
    lows = [point.flops for point in points] + [low * line.bandwidth for line in found]
    floor = min(lows, default=TERA) / TERA / 1.5
    top = max([line.peak for line in found], default=TERA) / TERA * 1.8
    # Names stand in the empty corner below the roofs.
    for place, line in enumerate(found):
        level = floor * (top / floor) ** (0.05 + 0.065 * (len(found) - 1 - place))
        marks.append(base.Word(
            high / 1.1, level, f"{escape(short_name(line.name))} ━",
            _readable(palette, place), "middle left",
        ))  # fmt: skip
    layout = base.layout(
        palette,
        height=SCATTER_HEIGHT,
        margin={"l": 62, "r": 14, "t": 8, "b": 46},
        hovermode="closest",
        xaxis=base.log_axis(palette, low, high, title={"text": "FLOP for each byte read"}),
        yaxis=base.log_axis(palette, floor, top, title={"text": "TFLOP/s of a device"}),
    )
    return {"data": [*traces, base.words(marks)], "layout": layout}


def _readable(palette: Palette, place: int) -> str:
    return palette.words[place // 2] if place in (0, 2, 4) else palette.ink


def cost_against_load(
    found: AgainstLoad, names: Mapping[str, str], scenario: Scenario, palette: Palette = LIGHT
) -> Figure:
    """Least cost of each piece of hardware at each load, and where the cheapest changes."""
    rate = scenario.currency_per_usd * MILLION
    traces: list[dict[str, Any]] = []
    marks = []
    columns = {chip: base.column(cost, rate) for chip, cost in found.costs.items()}
    known = base.known(*columns.values()) or [1.0]
    loads = [float(f"{load:.4g}") for load in found.loads]
    low, high = min(known) / 1.4, max(known) * 1.5
    for place, (chip, values) in enumerate(columns.items()):
        colour, name = palette.series[place], escape(short_name(names[chip]))
        traces.append({
            "type": "scatter", "mode": "lines", "name": name, "x": loads, "y": values,
            "line": {"color": colour, "width": 2}, "connectgaps": False,
            "hovertemplate": f"{name}: %{{y:,.3~s}}<extra>%{{x:,.3~s}} requests/s</extra>",
        })  # fmt: skip
        # Names stand in the empty corner above the falling lines.
        level = high / (high / low) ** (0.04 + 0.065 * place)
        marks.append(base.Word(
            loads[-1] / 1.1, level, f"{name} ━", _readable(palette, place), "middle left"
        ))  # fmt: skip
    shapes = [
        {
            "type": "line",
            "x0": load,
            "x1": load,
            "xref": "x",
            "y0": 0,
            "y1": 1,
            "yref": "paper",
            "line": {"color": palette.grid, "width": 1, "dash": "dot"},
        }
        for load, _, _ in found.crossovers
    ]
    shapes.append({
        "type": "line", "x0": scenario.requests_per_s, "x1": scenario.requests_per_s, "xref": "x",
        "y0": 0, "y1": 1, "yref": "paper", "line": {"color": palette.quiet, "width": 1.2},
    })  # fmt: skip
    layout = base.layout(
        palette,
        height=SCATTER_HEIGHT,
        margin={"l": 62, "r": 14, "t": 8, "b": 46},
        hovermode="closest",
        shapes=shapes,
        xaxis=base.log_axis(
            palette, loads[0], loads[-1], title={"text": "requests per second, average"}
        ),
        yaxis=base.log_axis(
            palette, low, high, title={"text": f"{scenario.currency} per million"}
        ),
    )  # fmt: skip
    return {"data": [*traces, base.words(marks)], "layout": layout}


# In words -----------------------------------------------------------------------------------------


def describe_ranking(found: Sequence[Configuration], scenario: Scenario) -> str:
    """The ranking in words."""
    parts = [
        f"{each.choice.accelerator.name} {money(each.cost * MILLION, scenario)}" for each in found
    ]
    return f"Cost per million inferences, cheapest first: {'; '.join(parts) or 'none'}."


def describe_front(front: Sequence[Configuration], scenario: Scenario) -> str:
    """The front in words."""
    parts = [
        f"{each.choice.accelerator.name} {duration(float(each.estimate.latency_p95))} and "
        f"{money(each.cost * MILLION, scenario)}"
        for each in front
    ]
    return f"95th percentile of latency and cost that nothing beats: {'; '.join(parts) or 'none'}."


def describe_roofline(found: Sequence[Roofline]) -> str:
    """The rooflines in words."""
    parts = [
        f"{line.name} {point.phase} {digits(point.flops / TERA)} of "
        f"{digits(min(point.intensity * line.bandwidth, line.peak) / TERA)} TFLOP/s"
        for line in found
        for point in line.points
    ]
    return f"Reached and possible on each device: {'; '.join(parts)}."


def describe_load(found: AgainstLoad, names: Mapping[str, str]) -> str:
    """Where the cheapest changes, in words."""
    parts = [
        f"from {digits(load)} requests a second {names[after]} instead of {names[before]}"
        for load, before, after in found.crossovers
    ]
    return f"Cheapest hardware by load: {'; '.join(parts) or 'the same at every load'}."
