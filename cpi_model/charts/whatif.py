"""Cost, latency and memory of one scenario."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cpi_model.charts import base
from cpi_model.charts.base import LIGHT, Column, Figure, Palette
from cpi_model.evaluate import Estimate
from cpi_model.export import SIGNS, digits, duration, large, money, percent, size
from cpi_model.scenario import Scenario
from cpi_model.studies.answer import COMPONENTS
from cpi_model.studies.sweep import Sweep
from cpi_model.units import GB, MILLION, MILLISECOND, Numeric

INSIDE = 0.2
"""Share of a bar's axis that a name inside it needs."""


def cost_breakdown(estimate: Estimate, scenario: Scenario, palette: Palette = LIGHT) -> Figure:
    """Five components of the cost, fully loaded above marginal."""
    rate = scenario.currency_per_usd * MILLION
    bases = ("", "marginal_")
    amounts = {
        name: [float(getattr(estimate, f"{basis}{name}_cost")) * rate for basis in bases]
        for name in COMPONENTS
    }
    totals = [
        float(estimate.cost_per_inference) * rate,
        float(estimate.marginal_cost_per_inference) * rate,
    ]
    high = 1.3 * max(totals)
    sign = SIGNS[scenario.currency]
    traces, words = [], []
    for index, (name, values) in enumerate(amounts.items()):
        shares = [value / total for value, total in zip(values, totals, strict=True)]
        traces.append({
            "type": "bar", "orientation": "h", "name": name.capitalize(),
            "y": [1, 0], "x": [float(f"{value:.6g}") for value in values], "width": 0.6,
            "marker": {"color": palette.series[index]},
            "hovertext": [
                f"{name.capitalize()}: {sign}{large(value)} per million ({percent(share)})"
                for value, share in zip(values, shares, strict=True)
            ],
            "hoverinfo": "text",
        })  # fmt: skip
        column, row = divmod(index, 3)
        words.append(base.Word(
            high * (0.02 + 0.5 * column), 3.45 - 0.55 * row,
            f"  {name.capitalize()} {share_text(shares[0])}", palette.ink, mark=11.0,
        ))  # fmt: skip
    names = base.words(words)
    names["marker"]["color"] = list(palette.series[: len(COMPONENTS)])
    ends = base.words(
        [
            base.Word(total, 1 - row, f" <b>{sign}{large(total)}</b>", palette.ink)
            for row, total in enumerate(totals)
        ]
    )
    ticks = base.steps(high, 4)
    layout = base.layout(
        palette,
        height=206,
        barmode="stack",
        margin={"l": 84, "r": 8, "t": 4, "b": 46},
        xaxis=base.axis(
            palette,
            range=[0, high],
            tickvals=ticks,
            ticktext=[large(tick) for tick in ticks],
            title={"text": f"{scenario.currency} per million inferences"},
            showgrid=False, ticks="outside", tickcolor=palette.grid,
        ),
        yaxis=base.axis(
            palette, range=[-0.5, 3.8], tickvals=[1, 0], ticktext=["Fully loaded", "Marginal"],
            showgrid=False, showline=False,
        ),
    )  # fmt: skip
    return {"data": [*traces, names, ends], "layout": layout}


def share_text(share: float) -> str:
    """A share without digits after the point, and no zero for what is there.

    >>> share_text(0.657), share_text(0.004), share_text(0.0)
    ('66%', '<1%', '0%')
    """
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


@dataclass(frozen=True)
class _Panel:
    """Lines over one logarithmic axis of their own."""

    axis: str
    domain: tuple[float, float]
    title: str
    lines: dict[str, Column]
    likely: dict[str, tuple[Column, Column]]
    """Low and high end of the range of a line, by its name; where it is known."""
    limits: dict[str, float]
    """Limits by the name of the line that they are for; those in sight only."""
    chosen: list[float]
    colours: dict[str, str]
    low: float
    high: float

    @property
    def decade(self) -> float:
        """Pixels of a factor of ten."""
        plotted = CURVES_HEIGHT - CURVES_MARGIN["t"] - CURVES_MARGIN["b"]
        share = self.domain[1] - self.domain[0]
        return plotted * share / math.log10(self.high / self.low)


CURVES_HEIGHT = 480
CURVES_MARGIN = {"l": 62, "r": 14, "t": 24, "b": 46}
DASHES = ("solid", "dash", "dot")
IN_SIGHT = 30
"""A limit further than this factor from every line is left out: it would flatten them all."""


def against_concurrency(sweep: Sweep, chosen: Estimate, palette: Palette = LIGHT) -> Figure:
    """Cost above, latency below, over one axis of concurrency; the choice and limits marked."""
    scenario, found = sweep.scenario, sweep.estimate
    counts = [int(value) for value in sweep.values]
    tokens = bool(np.any(np.isfinite(np.atleast_1d(found.tpot))))
    cost, time = (
        _panel(
            "y", (0.56, 1.0), f"{scenario.currency} per million inferences",
            _cost_lines(found, scenario),
            _likely(sweep, COSTS, scenario.currency_per_usd * MILLION),
            _cost_lines(chosen, scenario), {}, palette,
        ),
        _panel(
            "y2", (0.0, 0.47), "milliseconds", _time_lines(found, tokens),
            _likely(sweep, TIMES if tokens else WHOLE_TIMES, 1 / MILLISECOND),
            _time_lines(chosen, tokens), _limits(scenario, tokens), palette,
        ),
    )  # fmt: skip
    at = scenario.concurrency
    traces, shapes, words = (
        [],
        [_choice_mark(at, palette)],
        [_choice_word(at, counts, cost, palette)],
    )
    if counts[0] <= (room := float(np.max(np.atleast_1d(found.max_concurrency)))) < counts[-1]:
        shapes.append(_full_memory(room, counts[-1], palette))
        words.append(_full_memory_word(room, counts[-1], cost, palette))
    for panel, more in ((cost, words), (time, [])):
        traces += _traces(panel, counts, palette)
        marks = [base.Word(at, y, "", palette.ink, mark=9, symbol="diamond") for y in panel.chosen]
        traces.append(
            base.words([*more, *_names(panel, counts, palette), *marks], ("x", panel.axis))
        )
    octaves = [2**power for power in range(14) if counts[0] <= 2**power <= counts[-1]]
    octaves = octaves[:: 2 if len(octaves) > 8 else 1]
    layout = base.layout(
        palette,
        height=CURVES_HEIGHT,
        margin=CURVES_MARGIN,
        shapes=shapes,
        xaxis=base.axis(
            palette, type="log", range=[math.log10(counts[0]), math.log10(counts[-1])],
            anchor="y2", tickvals=octaves, ticktext=[f"{value:,}" for value in octaves],
            title={"text": "Concurrency: requests in one replica at a time"},
        ),
        **{
            f"yaxis{panel.axis[1:]}": base.log_axis(
                palette, panel.low, panel.high, domain=list(panel.domain),
                title={"text": panel.title},
            )
            for panel in (cost, time)
        },
    )  # fmt: skip
    return {"data": traces, "layout": layout}


def _panel(
    axis: str, domain: tuple[float, float], title: str, lines: dict[str, Column],
    likely: dict[str, tuple[Column, Column]], chosen: dict[str, Column],
    limits: dict[str, float], palette: Palette,
) -> _Panel:  # fmt: skip
    """A panel whose axis has room for the lines, their names and the limits in sight."""
    ranges = [end for pair in likely.values() for end in pair]
    values = base.known(*lines.values(), *ranges) or [1.0]
    seen = {
        name: limit
        for name, limit in limits.items()
        if min(values) / IN_SIGHT <= limit <= max(values) * IN_SIGHT
    }
    ends = [*values, *seen.values()]
    colours = dict(zip(lines, (palette.series[n] for n in (0, 2, 4)), strict=False))
    # Only what is inside of an axis is drawn: names stand above or below their lines.
    spread = math.log10(max(ends) / min(ends)) + 0.3
    low, high = min(ends) / 10 ** (0.14 * spread), max(ends) * 10 ** (0.14 * spread)
    return _Panel(
        axis, domain, title, lines, likely, seen, base.known(*chosen.values()), colours, low, high
    )  # fmt: skip


def _traces(panel: _Panel, counts: list[int], palette: Palette) -> list[dict[str, Any]]:
    """The likely ranges under the lines as one trace, and all limits as another with gaps."""
    traces: list[dict[str, Any]] = [_shade(panel, counts, palette)] if panel.likely else []
    traces += [
        {
            "type": "scatter", "mode": "lines", "name": name, "x": counts, "y": values,
            "yaxis": panel.axis,
            "line": {"color": panel.colours[name], "width": 2.5, "dash": dash},
            "hovertemplate": f"{name}: %{{y:,.3~r}}<extra>%{{x}} requests</extra>",
        }
        for (name, values), dash in zip(panel.lines.items(), DASHES, strict=False)
    ]  # fmt: skip
    if panel.limits:
        traces.append({
            "type": "scatter", "mode": "lines", "name": "Limits", "hoverinfo": "skip",
            "x": [counts[0], counts[-1], None] * len(panel.limits),
            "y": [y for limit in panel.limits.values() for y in (limit, limit, None)],
            "yaxis": panel.axis,
            "line": {"color": palette.quiet, "width": 1.2, "dash": "longdashdot"},
        })  # fmt: skip
    return traces


def _shade(panel: _Panel, counts: list[int], palette: Palette) -> dict[str, Any]:
    """The areas between the ends of all ranges: along the high end, and back along the low one.

    A trace for each line would cost the browser more than the lines themselves; every other point
    is enough for an area.
    """
    x: list[float | None] = []
    y: list[float | None] = []
    for pair in panel.likely.values():
        ends = [
            (count, low, high)
            for count, low, high in zip(counts, *pair, strict=True)
            if low is not None and high is not None
        ]
        few = ends[:-1:2] + ends[-1:]
        x += [None] * bool(x) + [at for at, _, _ in few] + [at for at, _, _ in reversed(few)]
        y += [None] * bool(y) + [high for _, _, high in few] + [low for _, low, _ in reversed(few)]
    red, green, blue = (int(palette.quiet[at : at + 2], 16) for at in (1, 3, 5))
    return {
        "type": "scatter", "mode": "lines", "name": LIKELY, "hoverinfo": "skip",
        "x": x, "y": y, "yaxis": panel.axis, "fill": "toself", "line": {"width": 0},
        "fillcolor": f"rgba({red},{green},{blue},0.25)",
    }  # fmt: skip


LIKELY = "Likely ranges"


def _names(panel: _Panel, counts: list[int], palette: Palette) -> list[base.Word]:
    """Names at the left end of the lines and limits at the right, none on top of another."""
    starts = {name: first for name, values in panel.lines.items() if (first := _first(values))}
    left = [(name, counts[0], y, name) for name, y in starts.items()]
    right = [
        (f"limit {duration(limit * MILLISECOND)}", counts[-1], limit, name)
        for name, limit in panel.limits.items()
    ]
    words_of = dict(zip(panel.lines, palette.words, strict=False))
    passed = {name for name, limit in panel.limits.items() if _end(panel.lines[name]) > limit}
    words = []
    for labels, position in ((left, "middle right"), (right, "middle left")):
        last = math.inf
        for text, x, y, name in sorted(labels, key=lambda label: -label[2]):
            height = math.log10(y) * panel.decade
            # Above its line, or below where another name or line is in the way.
            crowded = last - height < 10 + base.LINE_HEIGHT or (x == counts[-1] and name in passed)
            place = min(height - 10, last - base.LINE_HEIGHT) if crowded else height + 10
            place = max(place, math.log10(panel.low) * panel.decade + 8)
            last = place if crowded else height
            words.append(base.Word(
                x, 10.0 ** (place / panel.decade), text, words_of[name], position
            ))  # fmt: skip
    return words


def _choice_mark(at: int, palette: Palette) -> dict[str, Any]:
    """A line through both panels at the chosen concurrency."""
    return {
        "type": "line", "x0": at, "x1": at, "xref": "x", "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": palette.ink, "width": 1.2}, "layer": "below",
    }  # fmt: skip


def _choice_word(at: int, counts: list[int], top: _Panel, palette: Palette) -> base.Word:
    """The chosen concurrency on its line, where the names of the lines leave room."""
    share = math.log(at / counts[0]) / math.log(counts[-1] / counts[0])
    left, right = share < 0.25, share > 0.9
    pixels, edge = (9, top.low) if left else (-9, top.high)
    return base.Word(
        at, edge * 10.0 ** (pixels / top.decade), f"<b>{at:,}</b> chosen", palette.ink,
        "middle right" if left else "middle left" if right else "middle center",
    )  # fmt: skip


def _full_memory(room: float, last: int, palette: Palette) -> dict[str, Any]:
    """A shade over the counts of which memory holds a part only."""
    return {
        "type": "rect", "x0": room, "x1": last, "xref": "x", "y0": 0, "y1": 1,
        "yref": "paper", "line": {"width": 0}, "fillcolor": palette.quiet, "opacity": 0.15,
        "layer": "below",
    }  # fmt: skip


def _full_memory_word(room: float, last: int, top: _Panel, palette: Palette) -> base.Word:
    """What the shade means, at the foot of the upper panel."""
    below = top.low * 10.0 ** (9 / top.decade)
    text = f"memory holds {math.floor(room):,}, the others wait"
    return base.Word(last, below, text, palette.quiet, "middle left")


def _likely(
    sweep: Sweep, figures: Mapping[str, str], scale: float
) -> dict[str, tuple[Column, Column]]:
    """Ends of the ranges of lines, as far as a range is known and wide enough to be seen."""
    found = {}
    for name, figure in figures.items():
        low, high = sweep.likely[figure]
        with np.errstate(invalid="ignore"):
            if np.any(high > low * SEEN):
                found[name] = (base.column(low, scale), base.column(high, scale))
    return found


SEEN = 1.01
"""A range narrower than this factor everywhere is a line."""


def _cost_lines(found: Estimate, scenario: Scenario) -> dict[str, Column]:
    rate = scenario.currency_per_usd * MILLION
    return {
        "Fully loaded": base.column(found.cost_per_inference, rate),
        "Marginal": base.column(found.marginal_cost_per_inference, rate),
    }


P95, FIRST, NEXT, MEAN = "p95 of a request", "mean first token", "mean next token", "mean"


COSTS = {"Fully loaded": "cost_per_inference", "Marginal": "marginal_cost_per_inference"}
TIMES = {P95: "latency_p95", FIRST: "ttft", NEXT: "tpot"}
WHOLE_TIMES = {P95: "latency_p95", MEAN: "latency_mean"}
"""Figures of the estimate by the names of their lines."""


def _time_lines(found: Estimate, tokens: bool) -> dict[str, Column]:
    scale = 1 / MILLISECOND
    whole = {P95: base.column(found.latency_p95, scale)}
    if not tokens:
        return whole | {MEAN: base.column(found.latency_mean, scale)}
    return whole | {FIRST: base.column(found.ttft, scale), NEXT: base.column(found.tpot, scale)}


def _limits(scenario: Scenario, tokens: bool) -> dict[str, float]:
    """Limits of the scenario beside the line that each is for. [ms]"""
    whole = {P95: scenario.slo_latency_ms}
    return whole | ({FIRST: scenario.slo_ttft_ms, NEXT: scenario.slo_tpot_ms} if tokens else {})


def _first(values: Sequence[float | None]) -> float | None:
    """Left end of a line."""
    return next((value for value in values if value is not None and value > 0), None)


def _end(values: Sequence[float | None]) -> float:
    """Right end of a line."""
    return next((value for value in reversed(values) if value is not None), 0.0)


def memory(estimate: Estimate, capacity: float, palette: Palette = LIGHT) -> Figure:
    """What fills the memory of one device, against what the engine may use."""
    parts = {
        "Weights": float(estimate.weight_memory),
        "Cache": float(estimate.cache_memory),
        "Working space": float(estimate.workspace_memory),
    }
    usable, filled = float(estimate.usable_memory), sum(parts.values())
    high = 1.04 * max(capacity, filled)
    mark = palette.warning if filled > usable else palette.ink
    starts = [sum(list(parts.values())[:index]) / GB for index in range(len(parts))]
    bars = {
        "type": "bar", "orientation": "h", "name": "Memory",
        "y": [0] * (len(parts) + 1), "base": [0, *starts],
        "x": [capacity / GB, *(amount / GB for amount in parts.values())], "width": 0.9,
        "marker": {
            "color": ["rgba(0,0,0,0)", *palette.series[: len(parts)]],
            "line": {"color": palette.quiet, "width": [1, *([0] * len(parts))]},
        },
        "hovertext": [
            f"Device: {size(capacity)}", *(f"{name}: {size(part)}" for name, part in parts.items())
        ],
        "hoverinfo": "text",
    }  # fmt: skip
    inside = base.words(
        [
            base.Word(start + 0.5 * amount / GB, 0, name, colour, "middle center")
            for start, (name, amount), colour in zip(
                starts, parts.items(), palette.on_series, strict=False
            )
            if amount / high > INSIDE
        ]
        + [
            base.Word(
                usable / GB,
                0.85,
                f" usable {size(usable)} ",
                mark,
                "middle left" if usable / high > 0.4 else "middle right",
            )
        ]
    )
    ticks = base.steps(high / GB, 6)
    layout = base.layout(
        palette,
        height=104,
        barmode="overlay",
        margin={"l": 8, "r": 12, "t": 4, "b": 46},
        shapes=[
            {
                "type": "line", "x0": usable / GB, "x1": usable / GB, "y0": -0.6, "y1": 1.1,
                "xref": "x", "yref": "y", "line": {"color": mark, "width": 2},
            },
        ],
        xaxis=base.axis(
            palette, range=[0, high / GB], tickvals=ticks,
            ticktext=[digits(tick) for tick in ticks], title={"text": "Memory of one device, GB"},
            showgrid=False, ticks="outside", tickcolor=palette.grid,
        ),
        yaxis=base.axis(
            palette, range=[-0.6, 1.2], showgrid=False, showline=False, showticklabels=False
        ),
    )  # fmt: skip
    return {"data": [bars, inside], "layout": layout}


def describe_breakdown(estimate: Estimate, scenario: Scenario) -> str:
    """The breakdown in words, for those who cannot see it."""
    total = float(estimate.cost_per_inference)
    parts = ", ".join(
        f"{name} {percent(float(getattr(estimate, f'{name}_cost')) / total)}" for name in COMPONENTS
    )
    return (
        f"Bars of cost per million inferences: fully loaded {money(total * MILLION, scenario)}, of "
        f"which {parts}; marginal "
        f"{money(float(estimate.marginal_cost_per_inference) * MILLION, scenario)}."
    )


def describe_curves(sweep: Sweep) -> str:
    """The curves in words."""
    found = sweep.estimate
    known = any(np.isfinite(low).any() for low, _ in sweep.likely.values())
    shades = " Their likely ranges are shaded." if known else ""
    return (
        f"Cost and latency against concurrency from {sweep.values[0]:,} to {sweep.values[-1]:,}: "
        f"cost per million inferences from "
        f"{_range(found.cost_per_inference, lambda usd: money(usd * MILLION, sweep.scenario))}, "
        f"p95 latency from {_range(found.latency_p95, duration)}.{shades}"
    )


def describe_memory(estimate: Estimate) -> str:
    """What fills the memory, in words."""
    return (
        f"Memory of one device: weights {size(float(estimate.weight_memory))}, cache "
        f"{size(float(estimate.cache_memory))}, working space "
        f"{size(float(estimate.workspace_memory))}, of {size(float(estimate.usable_memory))} "
        "that the engine may use."
    )


def _range(values: Numeric, text: Any) -> str:
    numbers = np.atleast_1d(np.asarray(values, dtype=float))
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return "unknown"
    return f"{text(float(numbers[0]))} to {text(float(numbers[-1]))}"
