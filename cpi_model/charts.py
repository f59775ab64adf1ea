"""Tables to Plotly figures. Nothing is computed here but where things stand on the screen.

A figure is redrawn with every move of a slider, so it is a plain dictionary with fixed margins,
ticks set by hand and few points: automatic margins and ticks are most of what a chart costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from cpi_model.evaluate import Estimate
from cpi_model.export import SIGNS, digits, duration, large, money, percent, size
from cpi_model.scenario import Scenario
from cpi_model.studies.sweep import Sweep
from cpi_model.units import GB, MILLION, MILLISECOND, Numeric

Figure: TypeAlias = dict[str, Any]
Column: TypeAlias = list[float | None]


@dataclass(frozen=True)
class Palette:
    """Colours of one theme; `series` begins with the five cost components."""

    paper: str
    ink: str
    quiet: str
    grid: str
    warning: str
    series: tuple[str, ...]
    on_series: tuple[str, ...]
    """Colour of text on each of the first five."""


# As in .streamlit/config.toml; a test compares them.
LIGHT = Palette(
    paper="#FFFFFF", ink="#1B2430", quiet="#56616F", grid="#E3E8EE", warning="#B3261E",
    series=(
        "#0072B2", "#D98F00", "#009E73", "#CC79A7", "#C2500A",
        "#332288", "#46A6E0", "#A5A53A", "#882255", "#6B7280",
    ),
    on_series=("#FFFFFF", "#1B2430", "#1B2430", "#1B2430", "#FFFFFF"),
)  # fmt: skip
DARK = Palette(
    paper="#0F141B", ink="#E8EDF3", quiet="#A7B2C0", grid="#2A3441", warning="#FF8A80",
    series=(
        "#56B4E9", "#F5B941", "#1E9E78", "#F0A6CF", "#E5602D",
        "#9B8CF2", "#1C64A8", "#D8DB7A", "#A8327A", "#8E98A6",
    ),
    on_series=("#0F141B", "#0F141B", "#0F141B", "#0F141B", "#0F141B"),
)  # fmt: skip

COMPONENTS = ("compute", "memory", "storage", "network", "orchestration")
FONT = '"Source Sans", "Source Sans Pro", sans-serif'
WIDE_ENOUGH = 0.13
"""Share of a bar's axis that a percentage inside it needs; a name needs more."""


def _layout(palette: Palette, height: int, **more: Any) -> dict[str, Any]:
    """What all figures have in common."""
    return {
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": palette.ink},
        "showlegend": False,
        "dragmode": False,
        "hoverlabel": {"namelength": -1},
        **more,
    }


def _axis(palette: Palette, **more: Any) -> dict[str, Any]:
    """An axis that neither measures its labels nor moves."""
    return {
        "automargin": False,
        "fixedrange": True,
        "ticklabeloverflow": "allow",
        "gridcolor": palette.grid,
        "linecolor": palette.grid,
        "tickfont": {"color": palette.quiet, "size": 12},
        "zeroline": False,
        **more,
        "title": {"font": {"size": 12, "color": palette.quiet}, **more.get("title", {})},
    }


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis: powers of ten, with 2 and 5 while they are few."""
    for steps in ((1, 2, 5), (1, 3), (1,)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]
        if len(ticks) <= 6:
            return ticks
    return ticks[:: math.ceil(len(ticks) / 6)]


def _steps(high: float, most: int = 5) -> list[float]:
    """Round numbers from zero on a linear axis."""
    rough = high / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * (1 - 1e-9))
    return [step * count for count in range(int(high / step + 1e-9) + 1)]


def _log_axis(
    palette: Palette, low: float, high: float, text: Mapping[float, str] | None = None, **more: Any
) -> dict[str, Any]:
    ticks = _ticks(low, high)
    return _axis(
        palette,
        type="log",
        range=[math.log10(low), math.log10(high)],
        tickvals=ticks,
        ticktext=[(text or {}).get(tick, digits(tick)) for tick in ticks],
        **more,
    )


def _column(values: Numeric, scale: float) -> Column:
    """A column of an estimate for a line; what is unknown is a gap."""
    numbers = np.atleast_1d(np.asarray(values, dtype=float)) * scale
    return [float(f"{number:.5g}") if math.isfinite(number) else None for number in numbers]


def _known(*columns: Sequence[float | None]) -> list[float]:
    return [value for column in columns for value in column if value is not None and value > 0]


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
    high = 1.22 * max(totals)
    sign = SIGNS[scenario.currency]
    traces = []
    for index, name in enumerate(COMPONENTS):
        shares = [value / total for value, total in zip(amounts[name], totals, strict=True)]
        wide = [value / high > WIDE_ENOUGH for value in amounts[name]]
        traces.append({
            "type": "bar", "orientation": "h", "name": f"{name.capitalize()} {shares[0]:.0%}",
            "y": [1, 0], "x": [float(f"{value:.6g}") for value in amounts[name]], "width": 0.56,
            "marker": {"color": palette.series[index]},
            "text": [f"{share:.0%}" if fits else "" for share, fits
                     in zip(shares, wide, strict=True)],
            "textposition": "inside", "insidetextanchor": "middle", "textangle": 0,
            "textfont": {"color": palette.on_series[index], "size": 12},
            "constraintext": "none",
            "hovertext": [
                f"{name.capitalize()}: {sign}{large(value)} per million ({percent(share)})"
                for value, share in zip(amounts[name], shares, strict=True)
            ],
            "hoverinfo": "text",
        })  # fmt: skip
    ends = [
        {
            "x": total, "y": 1 - row, "text": f"<b>{sign}{large(total)}</b>", "showarrow": False,
            "xanchor": "left", "xshift": 4, "font": {"color": palette.ink, "size": 13},
        }
        for row, total in enumerate(totals)
    ]  # fmt: skip
    ticks = _steps(high)
    layout = _layout(
        palette,
        height=236,
        barmode="stack",
        margin={"l": 88, "r": 12, "t": 44, "b": 44},
        showlegend=True,
        legend={
            "orientation": "h", "x": 0, "xref": "container", "y": 1.0, "yref": "container",
            "yanchor": "top", "traceorder": "normal", "itemclick": False,
            "itemdoubleclick": False, "font": {"size": 12},
        },
        annotations=ends,
        xaxis=_axis(
            palette,
            range=[0, high],
            tickvals=ticks,
            ticktext=[large(tick) for tick in ticks],
            title={"text": f"{scenario.currency} per million inferences", "standoff": 6},
        ),
        yaxis=_axis(
            palette, range=[-0.5, 1.5], tickvals=[1, 0], ticktext=["Fully loaded", "Marginal"],
            showgrid=False,
        ),
    )  # fmt: skip
    return {"data": traces, "layout": layout}


@dataclass(frozen=True)
class _Panel:
    """Lines over one logarithmic axis of their own."""

    axis: str
    domain: tuple[float, float]
    title: str
    lines: dict[str, Column]
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
CURVES_MARGIN = {"l": 62, "r": 14, "t": 24, "b": 44}
LINE_HEIGHT = 15
DASHES = ("solid", "dash", "dot")
IN_SIGHT = 30
"""A limit further than this factor from every line is left out: it would flatten them all."""


def against_concurrency(sweep: Sweep, chosen: Estimate, palette: Palette = LIGHT) -> Figure:
    """Cost above, latency below, over one axis of concurrency; the choice and limits marked."""
    scenario, found = sweep.scenario, sweep.estimate
    counts = [int(value) for value in sweep.values]
    tokens = bool(np.any(np.isfinite(np.atleast_1d(found.tpot))))
    panels = (
        _panel(
            "y", (0.56, 1.0), f"{scenario.currency} per million inferences",
            _cost_lines(found, scenario), _cost_lines(chosen, scenario), {}, palette,
        ),
        _panel(
            "y2", (0.0, 0.47), "milliseconds", _time_lines(found, tokens),
            _time_lines(chosen, tokens), _limits(scenario, tokens), palette,
        ),
    )  # fmt: skip
    traces, notes = [], []
    for panel in panels:
        traces += _traces(panel, counts, scenario.concurrency, palette)
        notes += _names(panel, counts, palette)
    shapes = _choice_mark(scenario.concurrency, counts, notes, palette)
    shapes += _full_memory(found, counts, notes, palette)
    octaves = [2**power for power in range(14) if counts[0] <= 2**power <= counts[-1]]
    octaves = octaves[:: 2 if len(octaves) > 8 else 1]
    layout = _layout(
        palette,
        height=CURVES_HEIGHT,
        margin=CURVES_MARGIN,
        shapes=shapes,
        annotations=notes,
        xaxis=_axis(
            palette, type="log", range=[math.log10(counts[0]), math.log10(counts[-1])],
            anchor="y2", tickvals=octaves, ticktext=[f"{value:,}" for value in octaves],
            title={"text": "Concurrency: requests in one replica at a time", "standoff": 6},
        ),
        **{
            f"yaxis{panel.axis[1:]}": _log_axis(
                palette, panel.low, panel.high, domain=list(panel.domain),
                title={"text": panel.title, "standoff": 4},
            )
            for panel in panels
        },
    )  # fmt: skip
    return {"data": traces, "layout": layout}


def _panel(
    axis: str, domain: tuple[float, float], title: str, lines: dict[str, Column],
    chosen: dict[str, Column], limits: dict[str, float], palette: Palette,
) -> _Panel:  # fmt: skip
    """A panel whose axis has room for the lines, their names and the limits in sight."""
    values = _known(*lines.values()) or [1.0]
    seen = {
        name: limit
        for name, limit in limits.items()
        if min(values) / IN_SIGHT <= limit <= max(values) * IN_SIGHT
    }
    ends = [*values, *seen.values()]
    colours = dict(zip(lines, (palette.series[n] for n in (0, 2, 4)), strict=False))
    low, high = min(ends) / 1.6, max(ends) * 2
    return _Panel(
        axis, domain, title, lines, seen, _known(*chosen.values()), colours, low, high
    )  # fmt: skip


def _traces(panel: _Panel, counts: list[int], at: int, palette: Palette) -> list[dict[str, Any]]:
    """Lines, limits, and the choice on each line."""
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "name": name, "x": counts, "y": values,
            "yaxis": panel.axis,
            "line": {"color": panel.colours[name], "width": 2.5, "dash": dash},
            "hovertemplate": f"{name}: %{{y:,.3~r}}<extra>%{{x}} requests</extra>",
        }
        for (name, values), dash in zip(panel.lines.items(), DASHES, strict=False)
    ]  # fmt: skip
    traces += [
        {
            "type": "scatter", "mode": "lines", "x": [counts[0], counts[-1]], "y": [limit, limit],
            "yaxis": panel.axis, "hoverinfo": "skip",
            "line": {"color": panel.colours[name], "width": 1.2, "dash": "longdashdot"},
        }
        for name, limit in panel.limits.items()
    ]  # fmt: skip
    traces.append({
        "type": "scatter", "mode": "markers", "x": [at] * len(panel.chosen), "y": panel.chosen,
        "yaxis": panel.axis, "hoverinfo": "skip",
        "marker": {"color": palette.ink, "size": 9, "symbol": "diamond"},
    })  # fmt: skip
    return traces


def _names(panel: _Panel, counts: list[int], palette: Palette) -> list[dict[str, Any]]:
    """Names at the right end of the lines and limits at the left, none on top of another."""
    ends = {name: last for name, values in panel.lines.items() if (last := _last(counts, values))}
    right = [(name, x, y, name) for name, (x, y) in ends.items()]
    left = [
        (f"limit {duration(limit * MILLISECOND)}", counts[0], limit, name)
        for name, limit in panel.limits.items()
    ]
    notes = []
    for labels, anchor in ((right, "right"), (left, "left")):
        above = math.inf
        for text, x, y, name in sorted(labels, key=lambda label: -label[2]):
            height = math.log10(y) * panel.decade
            place = min(height + 10, above - LINE_HEIGHT)
            above = place
            # Annotations on a logarithmic axis stand at the logarithm.
            notes.append({
                "x": math.log10(x), "y": math.log10(y), "yref": panel.axis, "text": text,
                "showarrow": False, "xanchor": anchor, "yshift": place - height,
                "bgcolor": palette.paper, "borderpad": 0,
                "font": {"color": panel.colours[name], "size": 12},
            })  # fmt: skip
    return notes


def _choice_mark(
    at: int, counts: list[int], notes: list[dict[str, Any]], palette: Palette
) -> list[dict[str, Any]]:
    """A line through both panels at the chosen concurrency."""
    share = math.log(at / counts[0]) / math.log(counts[-1] / counts[0])
    notes.append({
        "x": math.log10(at), "y": 1, "yref": "paper", "yanchor": "bottom",
        "xanchor": "left" if share < 0.1 else "right" if share > 0.9 else "center",
        "text": f"<b>{at:,}</b> chosen", "showarrow": False,
        "font": {"color": palette.ink, "size": 13},
    })  # fmt: skip
    return [{
        "type": "line", "x0": at, "x1": at, "xref": "x", "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": palette.ink, "width": 1.2}, "layer": "below",
    }]  # fmt: skip


def _full_memory(
    found: Estimate, counts: list[int], notes: list[dict[str, Any]], palette: Palette
) -> list[dict[str, Any]]:
    """A shade over the counts of which memory holds a part only."""
    room = float(np.max(np.atleast_1d(found.max_concurrency)))
    if not counts[0] <= room < counts[-1]:
        return []
    notes.append({
        "x": math.log10(counts[-1]), "xanchor": "right", "y": 0.515, "yref": "paper",
        "text": f"memory holds {math.floor(room):,}, the others wait", "showarrow": False,
        "font": {"color": palette.quiet, "size": 12},
    })  # fmt: skip
    return [{
        "type": "rect", "x0": room, "x1": counts[-1], "xref": "x", "y0": 0, "y1": 1,
        "yref": "paper", "line": {"width": 0}, "fillcolor": palette.quiet, "opacity": 0.15,
        "layer": "below",
    }]  # fmt: skip


def _cost_lines(found: Estimate, scenario: Scenario) -> dict[str, Column]:
    rate = scenario.currency_per_usd * MILLION
    return {
        "Fully loaded": _column(found.cost_per_inference, rate),
        "Marginal": _column(found.marginal_cost_per_inference, rate),
    }


P95, FIRST, NEXT, MEAN = "p95 of a request", "mean first token", "mean next token", "mean"


def _time_lines(found: Estimate, tokens: bool) -> dict[str, Column]:
    scale = 1 / MILLISECOND
    whole = {P95: _column(found.latency_p95, scale)}
    if not tokens:
        return whole | {MEAN: _column(found.latency_mean, scale)}
    return whole | {FIRST: _column(found.ttft, scale), NEXT: _column(found.tpot, scale)}


def _limits(scenario: Scenario, tokens: bool) -> dict[str, float]:
    """Limits of the scenario beside the line that each is for. [ms]"""
    whole = {P95: scenario.slo_latency_ms}
    return whole | ({FIRST: scenario.slo_ttft_ms, NEXT: scenario.slo_tpot_ms} if tokens else {})


def _last(counts: Sequence[int], values: Sequence[float | None]) -> tuple[int, float] | None:
    """Right end of a line."""
    known = [(n, v) for n, v in zip(counts, values, strict=True) if v is not None and v > 0]
    return known[-1] if known else None


def memory(estimate: Estimate, capacity: float, palette: Palette = LIGHT) -> Figure:
    """What fills the memory of one device, against what the engine may use."""
    parts = {
        "Weights": float(estimate.weight_memory),
        "Cache": float(estimate.cache_memory),
        "Working space": float(estimate.workspace_memory),
    }
    usable = float(estimate.usable_memory)
    filled = sum(parts.values())
    over = filled > usable
    high = 1.04 * max(capacity, filled)
    traces = []
    for index, (name, amount) in enumerate(parts.items()):
        traces.append({
            "type": "bar", "orientation": "h", "y": [0], "x": [amount / GB], "name": name,
            "width": 0.7, "marker": {"color": palette.series[index]},
            "text": [name if amount / high > 0.16 else ""], "textposition": "inside",
            "insidetextanchor": "middle", "textangle": 0, "constraintext": "none",
            "textfont": {"color": palette.on_series[index], "size": 12},
            "hovertext": [f"{name}: {size(amount)}"], "hoverinfo": "text",
        })  # fmt: skip
    mark = palette.warning if over else palette.ink
    ticks = _steps(high / GB, 6)
    layout = _layout(
        palette,
        height=112,
        barmode="stack",
        margin={"l": 8, "r": 12, "t": 24, "b": 40},
        shapes=[
            {
                "type": "rect", "x0": 0, "x1": capacity / GB, "y0": -0.35, "y1": 0.35,
                "line": {"color": palette.quiet, "width": 1}, "layer": "below",
            },
            {
                "type": "line", "x0": usable / GB, "x1": usable / GB, "y0": -0.5, "y1": 0.5,
                "line": {"color": mark, "width": 2},
            },
        ],
        annotations=[
            {
                "x": usable / GB, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "right",
                "text": f"usable {size(usable)}", "showarrow": False,
                "font": {"color": mark, "size": 12},
            }
        ],
        xaxis=_axis(
            palette, range=[0, high / GB], tickvals=ticks,
            ticktext=[digits(tick) for tick in ticks],
            title={"text": "GB on one device", "standoff": 6},
        ),
        yaxis=_axis(palette, range=[-0.5, 0.5], showgrid=False, showticklabels=False),
    )  # fmt: skip
    return {"data": traces, "layout": layout}


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
    return (
        f"Cost and latency against concurrency from {sweep.values[0]:,} to {sweep.values[-1]:,}: "
        f"cost per million inferences from "
        f"{_range(found.cost_per_inference, lambda usd: money(usd * MILLION, sweep.scenario))}, "
        f"p95 latency from {_range(found.latency_p95, duration)}."
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
