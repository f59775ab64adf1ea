"""Figures of replicas that follow traffic: over time, by policy, and what the money went for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cpi_model.charts import base
from cpi_model.charts.base import LIGHT, Figure, Palette
from cpi_model.charts.whatif import share_text
from cpi_model.export import digits, large, money, percent
from cpi_model.scenario import Scenario
from cpi_model.studies.scaling import GrowingCost, Window
from cpi_model.studies.traces import Trace
from cpi_model.studies.traffic import POLICIES, TITLES, Policy, Run, ToZero
from cpi_model.units import DAY, HOUR, MILLION, MILLISECOND, PERCENT, Array

PANEL = 150
"""Height of a panel over time. [px]"""
MOST_BINS = 400
"""Longer series are drawn from the least to the most in each of so many bins."""
MONDAY = 1_704_067_200.0
"""The first of January 2024, which dates of the axis count from; only weekdays are shown. [s]"""
PARTS = {
    "work": "Work", "headroom": "Idle, needed", "over_provisioning": "Idle, too many",
    "cold_starts": "Cold starts", "draining": "Finishing", "spare": "Spare",
    "drops": "Dropped requests", "rest": "Not replicas",
}  # fmt: skip
PART_COLOURS = {
    "work": 2, "headroom": 6, "over_provisioning": 1, "cold_starts": 4, "draining": 3, "spare": 7,
    "drops": 8, "rest": 9,
}  # fmt: skip
LEAST_MISSED = 1e-4
"""Smaller shares beyond the limits stand at the edge of the picture."""
NAMES = 104
"""Room for names at the right. [px]"""
BAR = 34
"""Height of a bar with its gap. [px]"""


# Over time ----------------------------------------------------------------------------------------


def over_time(window: Window, trace: Trace, palette: Palette = LIGHT) -> Figure:
    """Demand, replicas and the queue over one axis of time that can be zoomed."""
    found = window.series
    waits = bool(found.waiting.max() > 0.0)
    tall = (0.36, 0.44, 0.2) if waits else (0.4, 0.6)
    names = ("y", "y2", "y3")[: len(tall)]
    domains, top = [], 1.0
    for share in tall:
        domains.append([max(top - share + 0.05, 0.0), top])
        top -= share
    colour = palette.series
    begin = _begin(trace) + window.begin
    highs = {
        "y": 1.25 * max(float(found.demand.max()), 1e-9),
        "y2": 1.25 * max(float(found.billed.max()), float(found.needed.max()), 1.0),
        "y3": 1.3 * max(float(found.waiting.max()), 1.0),
    }
    traces = [
        *_lines("Requests/s", found.demand, found.step, begin, "y", colour[0], band=True),
        *_lines("Paid for", found.billed, found.step, begin, "y2", colour[1], width=1.2),
        *_lines("Ready", found.ready, found.step, begin, "y2", colour[2], band=True),
        *_lines("Needed", found.needed, found.step, begin, "y2", palette.ink, "dot", 1.4),
    ]
    legend: list[tuple[str, list[tuple[str, str]]]] = [
        ("y", [("Requests/s", colour[0])]),
        ("y2", [("Needed", palette.ink), ("Ready", colour[2]), ("Paid for", colour[1])]),
    ]
    if waits:
        traces += _lines(
            "Waiting", found.waiting, found.step, begin, "y3", palette.warning, most=True
        )
        legend.append(("y3", [("Requests waiting", palette.warning)]))
    for name, entries in legend:
        traces.append(base.words(
            [
                base.Word(0.01 + 0.3 * place, 0.92 * highs[name], f" {text}", palette.ink,
                          mark=9.0)
                for place, (text, _) in enumerate(entries)
            ],
            ("x2", name),
        ))  # fmt: skip
        traces[-1]["marker"]["color"] = [shade for _, shade in entries]
    titles = {"y": "requests/s", "y2": "replicas", "y3": "queue"}
    end = begin + found.step * len(found.demand)
    layout = base.layout(
        palette, height=round(PANEL * (len(tall) + 0.3)), dragmode="zoom",
        margin={"l": 58, "r": 10, "t": 6, "b": 30},
        xaxis=base.axis(
            palette, type="date", fixedrange=False, anchor=names[-1], nticks=6,
            range=[begin / MILLISECOND, end / MILLISECOND], tickformatstops=_formats(trace),
        ),
        # Names of the lines stay where they are when time is zoomed.
        xaxis2=base.axis(palette, overlaying="x", range=[0, 1], visible=False, anchor="y"),
        **{
            f"yaxis{name[1:]}": base.axis(
                palette, domain=domain, range=[0, highs[name]],
                tickvals=base.steps(highs[name], 3),
                ticktext=[large(mark) for mark in base.steps(highs[name], 3)],
                title={"text": titles[name]},
            )
            for name, domain in zip(names, domains, strict=True)
        },
    )  # fmt: skip
    return {"data": traces, "layout": layout}


def _begin(trace: Trace) -> float:
    """Date of the axis at which a trace begins. [s]"""
    if trace.start_weekday is None or trace.length < DAY:
        return MONDAY
    return MONDAY + trace.start_weekday * DAY + (trace.start_hour or 0.0) * HOUR


def _formats(trace: Trace) -> list[dict[str, Any]]:
    """Weekdays where they are known, numbers of days where not; hours when zoomed."""
    known = trace.start_weekday is not None and trace.length >= DAY
    day = "%a" if known else "day %-j"
    whole = DAY / MILLISECOND
    return [
        {"dtickrange": [None, whole - 1], "value": f"{day} %H:%M"},
        {"dtickrange": [whole, None], "value": day},
    ]


def _lines(
    name: str, values: Array, step: float, begin: float, axis: str, colour: str,
    dash: str = "solid", width: float = 1.8, band: bool = False, most: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """A line; of a long series the mean or the most of bins, and the range of each where asked."""
    count = max(math.ceil(len(values) / MOST_BINS), 1)
    starts = np.arange(0, len(values), count)
    sizes = np.diff(np.append(starts, len(values)))
    common = {"type": "scatter", "mode": "lines", "name": name, "xaxis": "x", "yaxis": axis}
    each = count * step / MILLISECOND
    first = begin / MILLISECOND
    traces = []
    if band and count > 1:
        ends = np.stack([np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)])
        traces.append(common | {
            "name": f"{name}, range", "hoverinfo": "skip", "y": base.column(ends.T.ravel(), 1.0),
            "x0": first, "dx": each / 2,
            "line": {"color": base.faint(colour), "width": 1.5},
        })  # fmt: skip
    line = np.maximum.reduceat(values, starts) if most else np.add.reduceat(values, starts) / sizes
    traces.append(common | {
        "y": base.column(line, 1.0), "x0": first, "dx": each,
        "line": {"color": colour, "width": width, "dash": dash, "shape": "hv"},
        "hovertemplate": f"{name}: %{{y:,.3~s}}<extra></extra>",
    })  # fmt: skip
    return traces


def describe_over_time(window: Window) -> str:
    """Demand and replicas over time in words."""
    found = window.series
    return (
        f"Demand from {digits(float(found.demand.min()))} to {digits(float(found.demand.max()))} "
        f"requests per second; {digits(float(found.needed.mean()))} replicas needed on average, "
        f"{digits(float(found.ready.mean()))} ready, {digits(float(found.billed.mean()))} paid "
        f"for; at most {large(float(found.waiting.max()))} requests waiting at a time."
    )


# Policies -----------------------------------------------------------------------------------------


def policies(
    runs: Sequence[Run], best: Sequence[bool], chosen: tuple[Policy, float], scenario: Scenario,
    palette: Palette = LIGHT,
) -> Figure:  # fmt: skip
    """Cost against requests beyond the limits, of every policy at every target."""
    rate = scenario.currency_per_usd * MILLION
    costs = [run.cost_per_inference * rate for run in runs]
    shown = [place for place, cost in enumerate(costs) if math.isfinite(cost)]
    missed = [_seen(run) / PERCENT for run in runs]
    finite = [costs[place] for place in shown] or [1.0]
    low, high = min(finite) / 1.1, max(finite) * 1.25
    left, right = 0.8 * LEAST_MISSED / PERCENT, 125.0
    colours = dict(zip(POLICIES, palette.series, strict=False))
    front = sorted((place for place in shown if best[place]), key=lambda place: costs[place])
    points = {
        "type": "scatter", "mode": "markers", "name": "Policies",
        "x": [float(f"{missed[place]:.4g}") for place in shown],
        "y": [float(f"{costs[place]:.5g}") for place in shown],
        "customdata": shown,
        "marker": {
            "color": [colours[runs[place].policy] for place in shown],
            "size": [13 if best[place] else 8 for place in shown],
            "opacity": [1.0 if best[place] else 0.65 for place in shown],
            "symbol": ["diamond" if best[place] else "circle" for place in shown],
            "line": {"width": [1.2 if best[place] else 0 for place in shown], "color": palette.ink},
        },
        "hovertext": [_run_text(runs[place], scenario) for place in shown], "hoverinfo": "text",
    }  # fmt: skip
    line = {
        "type": "scatter", "mode": "lines", "name": "Front", "hoverinfo": "skip",
        "x": [missed[place] for place in front], "y": [costs[place] for place in front],
        "line": {"color": palette.quiet, "width": 1, "dash": "dot", "shape": "hv"},
    }  # fmt: skip
    words = [
        base.Word(missed[place], costs[place], "", palette.ink, mark=17.0, symbol="circle-open")
        for place in shown
        if runs[place].policy == chosen[0]
        and (chosen[0] == "serverless" or math.isclose(runs[place].target, chosen[1]))
    ]
    allowed = (1.0 - scenario.slo_share) / PERCENT
    shapes = []
    if left < allowed < right:
        shapes.append({
            "type": "line", "x0": allowed, "x1": allowed, "xref": "x", "y0": 0, "y1": 1,
            "yref": "paper", "layer": "below",
            "line": {"color": palette.quiet, "width": 1.2, "dash": "longdashdot"},
        })  # fmt: skip
        words.append(base.Word(
            allowed, high / (high / low) ** 0.03, f"allowed {digits(allowed)} % ", palette.quiet,
            "middle left",
        ))  # fmt: skip
    there = list(dict.fromkeys(runs[place].policy for place in shown))
    names = base.words(
        [
            base.Word(1.0, 0.95 - 0.085 * place, f"  {TITLES[policy]}", palette.ink, mark=9.0)
            for place, policy in enumerate(there)
        ],
        ("x2", "y2"),
    )
    names["marker"]["color"] = [colours[policy] for policy in there]
    marks = [mark for mark in (0.01, 0.1, 1.0, 10.0, 100.0) if left <= mark <= right]
    layout = base.layout(
        palette, height=340, margin={"l": 58, "r": NAMES, "t": 8, "b": 46}, shapes=shapes,
        xaxis=base.axis(
            palette, type="log", range=[math.log10(left), math.log10(right)], tickvals=marks,
            ticktext=["≤0.01" if mark == marks[0] else digits(mark) for mark in marks],
            title={"text": "requests beyond the limits, %"},
        ),
        yaxis=base.log_axis(
            palette, low, high, title={"text": f"{scenario.currency} per million"},
        ),
        xaxis2=base.axis(palette, overlaying="x", range=[0, 1], visible=False, anchor="y2"),
        yaxis2=base.axis(palette, overlaying="y", range=[0, 1], visible=False, anchor="x2"),
    )  # fmt: skip
    return {"data": [line, points, base.words(words), names], "layout": layout}


def _seen(run: Run) -> float:
    return max(run.missed, LEAST_MISSED)


def _run_text(run: Run, scenario: Scenario) -> str:
    at = "" if run.policy == "serverless" else f" at {percent(run.target)}"
    return (
        f"{TITLES[run.policy]}{at}<br>{money(run.cost_per_inference * MILLION, scenario)} per "
        f"million<br>{percent(run.missed)} beyond the limits<br>"
        f"{digits(run.billed_hours)} replica-hours"
    )


def describe_policies(runs: Sequence[Run], best: Sequence[bool], scenario: Scenario) -> str:
    """The front of policies in words."""
    front = sorted(
        (run for run, mark in zip(runs, best, strict=True) if mark),
        key=lambda run: run.cost_per_inference,
    )
    texts = [
        f"{TITLES[run.policy]} at {percent(run.target)}: "
        f"{money(run.cost_per_inference * MILLION, scenario)} per million, {percent(run.missed)} "
        "beyond the limits"
        for run in front
    ]
    return f"{len(runs)} policies and targets. Not beaten by any other: {'; '.join(texts)}."


# What the money went for --------------------------------------------------------------------------


def paid_for(rows: Mapping[str, Run], scenario: Scenario, palette: Palette = LIGHT) -> Figure:
    """A bar a run of what its cost is made of, the first at the top."""
    rate = scenario.currency_per_usd * MILLION
    known = {name: run for name, run in rows.items() if math.isfinite(run.cost_per_inference)}
    count = len(known)
    totals = [run.cost_per_inference * rate for run in known.values()]
    high = 1.22 * max(totals, default=1.0)
    places = [float(count - 1 - place) for place in range(count)]
    parts = [
        part for part in PARTS if any(run.parts[part] > 0.0 for run in known.values())
    ]  # fmt: skip
    traces, words = [], []
    per_row, legend_rows = 2, math.ceil(len(parts) / 2)
    for index, part in enumerate(parts):
        values = [max(run.parts[part], 0.0) * rate for run in known.values()]
        colour = palette.series[PART_COLOURS[part]]
        traces.append({
            "type": "bar", "orientation": "h", "name": PARTS[part], "y": places,
            "x": [float(f"{value:.5g}") for value in values], "width": 0.62,
            "marker": {"color": colour},
            "hovertext": [
                f"{PARTS[part]}: {money(run.parts[part] * MILLION, scenario)} per million "
                f"({percent(run.parts[part] / run.cost_per_inference)})"
                for run in known.values()
            ],
            "hoverinfo": "text",
        })  # fmt: skip
        row, column = divmod(index, per_row)
        share = "" if count > 1 else f" {share_text(values[0] / totals[0])}"
        words.append(base.Word(
            high * (0.01 + 0.5 * column), count - 0.15 + 0.62 * (legend_rows - 1 - row),
            f" {PARTS[part]}{share}", palette.ink, mark=10.0,
        ))  # fmt: skip
    legend = base.words(words)
    legend["marker"]["color"] = [palette.series[PART_COLOURS[part]] for part in parts]
    ends = base.words([
        base.Word(total, place, f" <b>{large(total)}</b>", palette.ink)
        for total, place in zip(totals, places, strict=True)
    ])  # fmt: skip
    marks = base.steps(high, 4)
    top = count - 0.15 + 0.62 * legend_rows - 0.2
    layout = base.layout(
        palette, height=round(50 + BAR * (top + 0.5)), barmode="stack",
        margin={"l": 10 if count == 1 else 92, "r": 8, "t": 2, "b": 46},
        xaxis=base.axis(
            palette, range=[0, high], tickvals=marks, ticktext=[large(mark) for mark in marks],
            title={"text": f"{scenario.currency} per million inferences"}, showgrid=False,
            ticks="outside", tickcolor=palette.grid,
        ),
        yaxis=base.axis(
            palette, range=[-0.5, top], tickvals=places,
            ticktext=list(known) if count > 1 else [""], showgrid=False, showline=False,
        ),
    )  # fmt: skip
    return {"data": [*traces, legend, ends], "layout": layout}


def describe_paid_for(rows: Mapping[str, Run], scenario: Scenario) -> str:
    """What costs are made of, in words."""
    texts = []
    for name, run in rows.items():
        if not math.isfinite(run.cost_per_inference):
            continue
        parts = ", ".join(
            f"{PARTS[part].lower()} {percent(run.parts[part] / run.cost_per_inference)}"
            for part in PARTS if run.parts[part] > 0.0
        )  # fmt: skip
        cost = money(run.cost_per_inference * MILLION, scenario)
        texts.append(f"{name}: {cost} per million, of which {parts}.")
    return " ".join(texts)


# Zero and growth ----------------------------------------------------------------------------------


def zero_against_on(found: ToZero, scenario: Scenario, palette: Palette = LIGHT) -> Figure:
    """Cost with and without a replica that stays, against the mean rate."""
    rate = scenario.currency_per_usd
    lines = {
        "One always on": (found.always_on, palette.series[0], "solid"),
        "Goes to zero": (found.to_zero, palette.series[4], "dash"),
    }
    x = base.column(found.rates, 1.0)
    traces: list[dict[str, Any]] = []
    every: list[float] = []
    for name, (costs, colour, dash) in lines.items():
        y = base.column(costs, rate)
        every += base.known(y)
        traces.append({
            "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y,
            "line": {"color": colour, "width": 2.5, "dash": dash},
            "hovertemplate": f"{name}: %{{y:,.3~g}} {scenario.currency} each"
            "<extra>%{x:.3~g} requests/s</extra>",
        })  # fmt: skip
    low, high = min(every) / 1.6, max(every) * 1.6
    left, right = float(found.rates[0]), float(found.rates[-1])
    # At the foot, where no line is: cost falls as traffic rises.
    words = [
        base.Word(
            left * (right / left) ** 0.02,
            low * (high / low) ** place,
            f" {name}",
            palette.ink,
            mark=9.0,
        )
        for name, place in zip(lines, (0.16, 0.07), strict=True)
    ]
    colours = [colour for _, colour, _ in lines.values()]
    if left < found.break_even <= right:
        cost = float(np.interp(found.break_even, found.rates, found.always_on)) * rate
        words.append(base.Word(
            found.break_even, cost, f"  from {digits(found.break_even)}/s the same", palette.ink,
            "top right" if found.break_even < math.sqrt(left * right) else "top center",
            mark=11.0, symbol="diamond",
        ))  # fmt: skip
        colours.append(palette.ink)
    now = scenario.requests_per_s
    shapes = []
    if left < now < right:
        shapes.append({
            "type": "line", "x0": now, "x1": now, "xref": "x", "y0": 0, "y1": 1, "yref": "paper",
            "line": {"color": palette.quiet, "width": 1, "dash": "dot"}, "layer": "below",
        })  # fmt: skip
        words.append(base.Word(now, high / 1.3, "now ", palette.quiet, "middle left"))
        colours.append(palette.quiet)
    named = base.words(words)
    named["marker"]["color"] = colours
    layout = base.layout(
        palette, height=320, margin={"l": 66, "r": 14, "t": 8, "b": 46}, shapes=shapes,
        xaxis=base.log_axis(
            palette, left, right, base.COARSE, title={"text": "requests per second, average"}
        ),
        yaxis=base.log_axis(
            palette, low, high, base.COARSE, title={"text": f"{scenario.currency} per inference"}
        ),
    )  # fmt: skip
    return {"data": [*traces, named], "layout": layout}


def describe_zero(found: ToZero) -> str:
    """Going to zero against staying on, in words."""
    lowest = f"At {digits(float(found.rates[0]))} requests per second"
    saved = 1.0 - float(found.to_zero[0] / found.always_on[0])
    if not saved > 0.0:
        return f"{lowest}, or more, going to zero saves nothing for each request that succeeds."
    crossing = (
        f"From {digits(found.break_even)} requests per second on both cost the same."
        if math.isfinite(found.break_even)
        else "It is cheaper at every rate in the picture."
    )
    return f"{lowest} going to zero saves {percent(saved)}. {crossing}"


def growing_cost(found: GrowingCost, scenario: Scenario, palette: Palette = LIGHT) -> Figure:
    """Cost of a month as traffic grows, with the range of the growth."""
    rate = scenario.currency_per_usd
    x = base.column(found.months, 1.0)
    colour = palette.series[0]
    common = {"type": "scatter", "mode": "lines", "x": x}
    high = 1.1 * float(found.high.max()) * rate
    marks, last = base.steps(high), float(found.months[-1])
    traces = [
        common | {
            "name": "Low", "y": base.column(found.low, rate), "hoverinfo": "skip",
            "line": {"color": colour, "width": 0},
        },
        common | {
            "name": "High", "y": base.column(found.high, rate), "hoverinfo": "skip",
            "line": {"color": colour, "width": 0}, "fill": "tonexty",
            "fillcolor": base.faint(colour),
        },
        common | {
            "name": "Expected", "y": base.column(found.expected, rate),
            "line": {"color": colour, "width": 2.5},
            "hovertemplate": f"%{{y:,.3~s}} {scenario.currency} a month<extra>in %{{x}} months"
            "</extra>",
        },
    ]  # fmt: skip
    layout = base.layout(
        palette, height=260, margin={"l": 62, "r": 14, "t": 12, "b": 46},
        xaxis=base.axis(
            palette, range=[0, last], tickvals=x, ticktext=[digits(month) for month in
            found.months.tolist()], title={"text": "months from now"},
        ),
        yaxis=base.axis(
            palette, range=[0, high], tickvals=marks, ticktext=[large(mark) for mark in marks],
            title={"text": f"{scenario.currency} a month"},
        ),
    )  # fmt: skip
    return {"data": traces, "layout": layout}


def describe_growing(found: GrowingCost, scenario: Scenario) -> str:
    """The growing cost in words."""
    return (
        f"{money(float(found.expected[0]), scenario)} a month now, "
        f"{money(float(found.expected[-1]), scenario)} in {digits(float(found.months[-1]))} "
        f"months, between {money(float(found.low[-1]), scenario)} and "
        f"{money(float(found.high[-1]), scenario)}."
    )
