"""Figures of what compression saves, and what it costs in quality."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cpi_model.charts import base
from cpi_model.charts.base import LIGHT, Figure, Palette
from cpi_model.charts.waterfall import ROW, basis_text, describe_steps, steps
from cpi_model.export import digits, large, money, percent
from cpi_model.scenario import Scenario
from cpi_model.studies.compression import BreakEven, Bridge, Precision
from cpi_model.units import MILLION, MONTH, PERCENT

QUALITY_HEIGHT = 380


def bridge(
    found: Bridge, fair: Mapping[str, float] | None, scenario: Scenario, palette: Palette = LIGHT
) -> Figure:
    """Cost before compression, what each lever changes, and what is left.

    `fair` are the changes by lever as means over all orders, drawn in their place.
    """
    changes = [
        (step.lever.title, step.change if fair is None else fair[step.lever.id])
        for step in found.steps
    ]
    return steps(
        ("Before", found.before.cost), changes, ("With all", found.after.cost), scenario, palette
    )


def quality_against_cost(
    found: Sequence[Precision], scenario: Scenario, palette: Palette = LIGHT
) -> Figure:
    """Each precision by its cost and by what is left of the quality, with the range of that.

    What falls below the floor is grey; what was never measured has no place and is left out.
    """
    rate = scenario.currency_per_usd * MILLION
    shown = [each for each in found if each.kept is not None and each.measured_quality]
    costs = [each.state.cost * rate for each in shown]
    ends = [
        (each.kept.known.low / PERCENT, each.kept.known.median / PERCENT,
         each.kept.known.high / PERCENT)
        for each in shown if each.kept is not None
    ]  # fmt: skip
    floor = scenario.quality_floor / PERCENT
    low = min([floor, *(low for low, _, _ in ends)], default=floor)
    high = max([100.0, floor, *(high for _, _, high in ends)])
    room = max(0.06 * (high - low), 0.3)
    first, last = (min(costs) / 1.25, max(costs) * 1.6) if costs else (1.0, 10.0)
    groups: dict[str, list[int]] = {"kept": [], "open": [], "below": []}
    for place, each in enumerate(shown):
        assert each.kept is not None
        passes = each.kept.passes(scenario.quality_floor)
        groups["kept" if passes else "open" if passes is None else "below"].append(place)
    looks = {
        "kept": ("Keeps enough", palette.series[2], "circle"),
        "open": ("Keeps enough, in part not measured", palette.series[0], "circle-open"),
        "below": ("Below the floor", palette.quiet, "circle"),
    }
    traces: list[dict[str, Any]] = []
    for group, places in groups.items():
        name, colour, symbol = looks[group]
        traces.append({
            "type": "scatter", "mode": "markers", "name": name, "hoverinfo": "text",
            "x": [float(f"{costs[place]:.5g}") for place in places],
            "y": [float(f"{ends[place][1]:.5g}") for place in places],
            "error_y": {
                "type": "data", "symmetric": False, "color": colour, "thickness": 1, "width": 3,
                "array": [float(f"{ends[place][2] - ends[place][1]:.4g}") for place in places],
                "arrayminus": [float(f"{ends[place][1] - ends[place][0]:.4g}") for place in places],
            },
            "marker": {"color": colour, "size": 10, "symbol": symbol, "line": {"width": 2}
                       if group == "open" else {"width": 0}},
            "opacity": 0.55 if group == "below" else 1.0,
            "hovertext": [_precision_text(shown[place], scenario) for place in places],
        })  # fmt: skip
    marks = [
        base.Word(
            costs[place], ends[place][1], f"  {escape(_short_name(shown[place]))}",
            palette.ink, "middle right" if costs[place] ** 2 < first * last else "middle left",
        )
        for place in _best(shown, costs, scenario)
    ]  # fmt: skip
    for place, each in enumerate(shown):
        if each.scheme.id == scenario.scheme:
            marks.append(base.Word(
                costs[place], ends[place][1], "", palette.ink, mark=17.0, symbol="diamond-open"
            ))  # fmt: skip
    ticks = _nice(low - room, high + room)
    layout = base.layout(
        palette,
        height=QUALITY_HEIGHT,
        margin={"l": 62, "r": 14, "t": 8, "b": 46},
        hovermode="closest",
        shapes=[{
            "type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": floor, "y1": floor,
            "yref": "y", "line": {"color": palette.warning, "width": 1.2, "dash": "dash"},
        }],
        xaxis=base.log_axis(
            palette, first, last,
            title={"text": f"{scenario.currency} per million inferences, {basis_text(scenario)}"},
        ),
        yaxis=base.axis(
            palette, range=[low - room, high + room], tickvals=ticks,
            ticktext=[f"{tick:g}%" for tick in ticks], title={"text": "quality kept"},
        ),
    )  # fmt: skip
    return {"data": [*traces, base.words(marks)], "layout": layout}


def _nice(low: float, high: float) -> list[float]:
    """Round numbers between two, at most seven."""
    step = base.round_step((high - low) / 6)
    first = math.ceil(low / step)
    return [round(step * count, 6) for count in range(first, int(high / step) + 1)]


def _best(
    shown: Sequence[Precision], costs: Sequence[float], scenario: Scenario
) -> list[int]:  # fmt: skip
    """Place of the cheapest that keeps enough, or may do so; none where nothing does."""
    enough = [
        place for place, each in enumerate(shown)
        if each.kept is not None and each.kept.passes(scenario.quality_floor) is not False
    ]  # fmt: skip
    return sorted(enough, key=costs.__getitem__)[:1]


def _short_name(each: Precision) -> str:
    """The name of a scheme without what goes without saying."""
    name = each.scheme.name.split(" (")[0]
    for words in (" weights and activations", " weights by", ", 16-bit arithmetic"):
        name = name.replace(words, "")
    return name


def _precision_text(each: Precision, scenario: Scenario) -> str:
    """What a point is."""
    assert each.kept is not None
    known = each.kept.known
    lines = [
        each.scheme.name,
        f"{money(each.state.cost * MILLION, scenario)} per million, "
        f"{digits(each.state.devices)} devices a replica",
        f"quality kept {percent(known.median)} ({percent(known.low)} to {percent(known.high)})",
    ]
    if each.kept.unknown:
        lines.append(f"not measured: {', '.join(each.kept.unknown)}")
    return "<br>".join(escape(line) for line in lines)


def speedups(found: Sequence[Precision], palette: Palette = LIGHT) -> Figure:
    """Estimated speed of each precision beside the range of what was measured."""
    shown = [each for each in found if each.measured is not None and each.speedup > 0]
    shown.sort(key=lambda each: -each.speedup)
    places = list(range(len(shown) - 1, -1, -1))
    ranges = [each.measured.spread for each in shown if each.measured is not None]
    high = 1.15 * max([1.0, *(r.high for r in ranges), *(each.speedup for each in shown)])
    bars = {
        "type": "bar", "orientation": "h", "name": "Measured, P10 to P90", "width": 0.4,
        "y": places, "base": [r.low for r in ranges],
        "x": [float(f"{max(r.high - r.low, 0.004 * high):.4g}") for r in ranges],
        "marker": {"color": palette.series[6]}, "hoverinfo": "text",
        "hovertext": [
            f"{escape(each.scheme.name)}: measured {digits(r.low)} to {digits(r.high)}, median "
            f"{digits(r.median)}, {r.rows} runs {escape(r.level)}"
            for each, r in zip(shown, ranges, strict=True)
        ],
    }  # fmt: skip
    marks = [
        base.Word(each.speedup, place, "", palette.ink, mark=11.0, symbol="diamond")
        for place, each in zip(places, shown, strict=True)
    ] + [
        base.Word(r.median, place, "", palette.ink, mark=12.0, symbol="line-ns-open")
        for place, r in zip(places, ranges, strict=True)
    ]  # fmt: skip
    words = base.words(marks)
    words["marker"]["line"] = {"width": 2}
    ticks = base.steps(high)
    layout = base.layout(
        palette,
        height=ROW * max(len(shown), 1) + 56,
        margin={"l": 150, "r": 14, "t": 4, "b": 46},
        xaxis=base.axis(
            palette, range=[0, high], tickvals=ticks, ticktext=[f"{tick:g}×" for tick in ticks],
            title={"text": "speed of a device over that before: ◆ estimated, bar measured"},
        ),
        yaxis=base.axis(
            palette, range=[-0.6, len(shown) - 0.4], tickvals=places,
            ticktext=[escape(_short_name(each)) for each in shown], showgrid=False, showline=False,
        ),
    )  # fmt: skip
    return {"data": [bars, words], "layout": layout}


def break_even(found: BreakEven, scenario: Scenario, palette: Palette = LIGHT) -> Figure:
    """Money spent from now on with the teacher, and with the student and its training."""
    rate = scenario.currency_per_usd
    months = [float(f"{time / MONTH:.4g}") for time in found.times]
    lines = {"Teacher": found.teacher * rate, "Student": found.student * rate}
    high = 1.12 * max(float(values.max()) for values in lines.values())
    traces = [
        {
            "type": "scatter", "mode": "lines", "name": name, "x": months,
            "y": [float(f"{value:.5g}") for value in values],
            "line": {"color": palette.series[place], "width": 2.5, "dash": dash},
            "hovertemplate": f"{name}: %{{y:,.3~s}} {scenario.currency}<extra>%{{x}} months"
            "</extra>",
        }
        for (name, values), place, dash in zip(
            lines.items(), (0, 2), ("solid", "dash"), strict=True
        )
    ]  # fmt: skip
    at = 0.72 * months[-1]
    words = [
        base.Word(at, float(values[int(0.72 * (len(values) - 1))]) + 0.05 * high, name, colour,
                  "middle left")
        for (name, values), colour in zip(lines.items(), palette.words, strict=False)
    ]  # fmt: skip
    if found.seconds / MONTH < months[-1]:
        month = found.seconds / MONTH
        words.append(base.Word(
            month, found.inferences * found.before * rate, "  paid back", palette.ink,
            mark=11.0, symbol="diamond",
        ))  # fmt: skip
    ticks, across = base.steps(high), base.steps(months[-1], 6)
    layout = base.layout(
        palette,
        height=300,
        margin={"l": 62, "r": 14, "t": 8, "b": 46},
        xaxis=base.axis(
            palette, range=[0, months[-1]], tickvals=across,
            ticktext=[digits(tick) for tick in across], title={"text": "months from now"},
        ),
        yaxis=base.axis(
            palette, range=[0, high], tickvals=ticks, ticktext=[large(tick) for tick in ticks],
            title={"text": f"{scenario.currency} spent"},
        ),
    )  # fmt: skip
    return {"data": [*traces, base.words(words)], "layout": layout}


def describe_bridge(found: Bridge, scenario: Scenario) -> str:
    """The bridge in words."""
    changes = [(step.lever.title, step.change) for step in found.steps]
    return describe_steps(
        ("Before", found.before.cost), changes, ("With all", found.after.cost), scenario
    )


def describe_qualities(found: Sequence[Precision], scenario: Scenario) -> str:
    """Cost and quality of the precisions, in words."""
    parts = [
        f"{each.scheme.name} {money(each.state.cost * MILLION, scenario)} and "
        f"{percent(each.kept.known.median)}"
        for each in found if each.kept is not None and each.measured_quality
    ]  # fmt: skip
    return f"Cost per million inferences and quality kept: {'; '.join(parts)}."


def describe_speedups(found: Sequence[Precision]) -> str:
    """Estimated and measured speedups, in words."""
    parts = [
        f"{each.scheme.name} estimated {digits(each.speedup)}, measured "
        f"{digits(each.measured.spread.median)}"
        for each in found if each.measured is not None
    ]  # fmt: skip
    return f"Speed over that before: {'; '.join(parts) or 'nothing like it was measured'}."


def describe_break_even(found: BreakEven, scenario: Scenario) -> str:
    """The break-even in words."""
    if not math.isfinite(found.inferences):
        return "The student never pays for its training: its answers are not cheaper."
    return (
        f"The student costs {money(found.cost, scenario)} before it serves and has paid for itself "
        f"after {large(found.inferences)} inferences."
    )
