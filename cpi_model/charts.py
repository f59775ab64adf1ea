"""Tables to Plotly figures. Nothing is computed here but where things stand on the screen.

A figure is drawn anew with every move of a slider, so it is a plain dictionary with fixed margins,
ticks set by hand, few points and few traces. Words stand in the picture as points of a trace:
legends and annotations, which Plotly measures one by one, cost several times as much. Figures that
stand above each other are drawn as one (:func:`stack`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cpi_model.evaluate import Estimate
from cpi_model.export import SIGNS, digits, duration, large, money, percent, size
from cpi_model.scenario import Scenario
from cpi_model.studies.answer import COMPONENTS
from cpi_model.studies.options import CLASSES
from cpi_model.studies.sweep import Sweep
from cpi_model.units import GB, MILLION, MILLISECOND, PERCENT, Numeric

if TYPE_CHECKING:
    from cpi_model.studies.accuracy import Compared, GroupError

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
    words: tuple[str, ...]
    """Colour of the names of the three lines: theirs, dark enough to be read."""


# As in .streamlit/config.toml; a test compares them.
LIGHT = Palette(
    paper="#FFFFFF", ink="#1B2430", quiet="#56616F", grid="#E3E8EE", warning="#B3261E",
    series=(
        "#0072B2", "#D98F00", "#009E73", "#CC79A7", "#C2500A",
        "#332288", "#46A6E0", "#A5A53A", "#882255", "#6B7280",
    ),
    on_series=("#FFFFFF", "#1B2430", "#1B2430", "#1B2430", "#FFFFFF"),
    words=("#0072B2", "#00704F", "#B34A08"),
)  # fmt: skip
DARK = Palette(
    paper="#0F141B", ink="#E8EDF3", quiet="#A7B2C0", grid="#2A3441", warning="#FF8A80",
    series=(
        "#56B4E9", "#F5B941", "#1E9E78", "#F0A6CF", "#E5602D",
        "#9B8CF2", "#1C64A8", "#D8DB7A", "#A8327A", "#8E98A6",
    ),
    on_series=("#0F141B", "#0F141B", "#0F141B", "#0F141B", "#0F141B"),
    words=("#56B4E9", "#2DBE93", "#F07A4B"),
)  # fmt: skip

FONT = '"Source Sans", "Source Sans Pro", sans-serif'
INSIDE = 0.2
"""Share of a bar's axis that a name inside it needs."""


def _layout(palette: Palette, height: int, **more: Any) -> dict[str, Any]:
    """What all figures have in common."""
    return {
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": palette.ink},
        "showlegend": False,
        "dragmode": False,
        # Streamlit draws a new figure twice with the same data; this tells Plotly so.
        "datarevision": 1,
        "hoverlabel": {"namelength": -1},
        **more,
    }


def _axis(palette: Palette, **more: Any) -> dict[str, Any]:
    """An axis that neither measures its labels nor moves."""
    return {
        "automargin": False,
        "tickangle": 0,  # a free angle is found by measuring every label
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


def _log_axis(palette: Palette, low: float, high: float, **more: Any) -> dict[str, Any]:
    ticks = _ticks(low, high)
    return _axis(
        palette,
        type="log",
        range=[math.log10(low), math.log10(high)],
        tickvals=ticks,
        ticktext=[digits(tick) for tick in ticks],
        **more,
    )


def _column(values: Numeric, scale: float) -> Column:
    """A column of an estimate for a line; what is unknown is a gap."""
    numbers = np.atleast_1d(np.asarray(values, dtype=float)) * scale
    return [float(f"{number:.5g}") if math.isfinite(number) else None for number in numbers]


def _known(*columns: Sequence[float | None]) -> list[float]:
    return [value for column in columns for value in column if value is not None and value > 0]


def _words(points: Sequence[_Word], axes: tuple[str, str] = ("x", "y")) -> dict[str, Any]:
    """Words and marks in a picture, as one trace."""
    return {
        "type": "scatter", "mode": "markers+text", "hoverinfo": "skip", "cliponaxis": False,
        "xaxis": axes[0], "yaxis": axes[1],
        "x": [point.x for point in points], "y": [point.y for point in points],
        "text": [point.text for point in points],
        "textposition": [point.position for point in points],
        "textfont": {
            "size": 12, "color": [point.colour for point in points],
        },
        "marker": {
            "color": [point.colour for point in points],
            "size": [point.mark for point in points],
            "symbol": [point.symbol for point in points],
            "opacity": 1, "line": {"width": 0},
        },
    }  # fmt: skip


@dataclass(frozen=True)
class _Word:
    """A word, a mark or both at a point of a picture."""

    x: float
    y: float
    text: str
    colour: str
    position: str = "middle right"
    mark: float = 0.0
    """Size of the mark, 0 for none. [px]"""
    symbol: str = "square"


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
        words.append(_Word(
            high * (0.02 + 0.5 * column), 3.45 - 0.55 * row,
            f"  {name.capitalize()} {share_text(shares[0])}", palette.ink, mark=11.0,
        ))  # fmt: skip
    names = _words(words)
    names["marker"]["color"] = list(palette.series[: len(COMPONENTS)])
    ends = _words(
        [
            _Word(total, 1 - row, f" <b>{sign}{large(total)}</b>", palette.ink)
            for row, total in enumerate(totals)
        ]
    )
    ticks = _steps(high, 4)
    layout = _layout(
        palette,
        height=206,
        barmode="stack",
        margin={"l": 84, "r": 8, "t": 4, "b": 46},
        xaxis=_axis(
            palette,
            range=[0, high],
            tickvals=ticks,
            ticktext=[large(tick) for tick in ticks],
            title={"text": f"{scenario.currency} per million inferences"},
            showgrid=False, ticks="outside", tickcolor=palette.grid,
        ),
        yaxis=_axis(
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
LINE_HEIGHT = 15
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
        marks = [_Word(at, y, "", palette.ink, mark=9, symbol="diamond") for y in panel.chosen]
        traces.append(_words([*more, *_names(panel, counts, palette), *marks], ("x", panel.axis)))
    octaves = [2**power for power in range(14) if counts[0] <= 2**power <= counts[-1]]
    octaves = octaves[:: 2 if len(octaves) > 8 else 1]
    layout = _layout(
        palette,
        height=CURVES_HEIGHT,
        margin=CURVES_MARGIN,
        shapes=shapes,
        xaxis=_axis(
            palette, type="log", range=[math.log10(counts[0]), math.log10(counts[-1])],
            anchor="y2", tickvals=octaves, ticktext=[f"{value:,}" for value in octaves],
            title={"text": "Concurrency: requests in one replica at a time"},
        ),
        **{
            f"yaxis{panel.axis[1:]}": _log_axis(
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
    values = _known(*lines.values(), *ranges) or [1.0]
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
        axis, domain, title, lines, likely, seen, _known(*chosen.values()), colours, low, high
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


def _names(panel: _Panel, counts: list[int], palette: Palette) -> list[_Word]:
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
            crowded = last - height < 10 + LINE_HEIGHT or (x == counts[-1] and name in passed)
            place = min(height - 10, last - LINE_HEIGHT) if crowded else height + 10
            place = max(place, math.log10(panel.low) * panel.decade + 8)
            last = place if crowded else height
            words.append(_Word(
                x, 10.0 ** (place / panel.decade), text, words_of[name], position
            ))  # fmt: skip
    return words


def _choice_mark(at: int, palette: Palette) -> dict[str, Any]:
    """A line through both panels at the chosen concurrency."""
    return {
        "type": "line", "x0": at, "x1": at, "xref": "x", "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": palette.ink, "width": 1.2}, "layer": "below",
    }  # fmt: skip


def _choice_word(at: int, counts: list[int], top: _Panel, palette: Palette) -> _Word:
    """The chosen concurrency on its line, where the names of the lines leave room."""
    share = math.log(at / counts[0]) / math.log(counts[-1] / counts[0])
    left, right = share < 0.25, share > 0.9
    pixels, edge = (9, top.low) if left else (-9, top.high)
    return _Word(
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


def _full_memory_word(room: float, last: int, top: _Panel, palette: Palette) -> _Word:
    """What the shade means, at the foot of the upper panel."""
    below = top.low * 10.0 ** (9 / top.decade)
    text = f"memory holds {math.floor(room):,}, the others wait"
    return _Word(last, below, text, palette.quiet, "middle left")


def _likely(
    sweep: Sweep, figures: Mapping[str, str], scale: float
) -> dict[str, tuple[Column, Column]]:
    """Ends of the ranges of lines, as far as a range is known and wide enough to be seen."""
    found = {}
    for name, figure in figures.items():
        low, high = sweep.likely[figure]
        with np.errstate(invalid="ignore"):
            if np.any(high > low * SEEN):
                found[name] = (_column(low, scale), _column(high, scale))
    return found


SEEN = 1.01
"""A range narrower than this factor everywhere is a line."""


def _cost_lines(found: Estimate, scenario: Scenario) -> dict[str, Column]:
    rate = scenario.currency_per_usd * MILLION
    return {
        "Fully loaded": _column(found.cost_per_inference, rate),
        "Marginal": _column(found.marginal_cost_per_inference, rate),
    }


P95, FIRST, NEXT, MEAN = "p95 of a request", "mean first token", "mean next token", "mean"


COSTS = {"Fully loaded": "cost_per_inference", "Marginal": "marginal_cost_per_inference"}
TIMES = {P95: "latency_p95", FIRST: "ttft", NEXT: "tpot"}
WHOLE_TIMES = {P95: "latency_p95", MEAN: "latency_mean"}
"""Figures of the estimate by the names of their lines."""


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
    inside = _words(
        [
            _Word(start + 0.5 * amount / GB, 0, name, colour, "middle center")
            for start, (name, amount), colour in zip(
                starts, parts.items(), palette.on_series, strict=False
            )
            if amount / high > INSIDE
        ]
        + [
            _Word(
                usable / GB,
                0.85,
                f" usable {size(usable)} ",
                mark,
                "middle left" if usable / high > 0.4 else "middle right",
            )
        ]
    )
    ticks = _steps(high / GB, 6)
    layout = _layout(
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
        xaxis=_axis(
            palette, range=[0, high / GB], tickvals=ticks,
            ticktext=[digits(tick) for tick in ticks], title={"text": "Memory of one device, GB"},
            showgrid=False, ticks="outside", tickcolor=palette.grid,
        ),
        yaxis=_axis(
            palette, range=[-0.6, 1.2], showgrid=False, showline=False, showticklabels=False
        ),
    )  # fmt: skip
    return {"data": [bars, inside], "layout": layout}


def stack(figures: Sequence[Figure], gap: int = 10) -> Figure:
    """Several figures above each other as one, which the browser draws in one go.

    Each keeps its height; margins at the sides are the widest of all. Axes are renumbered, and
    what refers to the height of a figure then refers to its part of the whole.
    """
    layouts = [figure["layout"] for figure in figures]
    height = sum(layout["height"] for layout in layouts) + gap * (len(figures) - 1)
    first, last = layouts[0]["margin"], layouts[-1]["margin"]
    plotted = height - first["t"] - last["b"]
    traces: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    above = -first["t"]
    for figure, layout in zip(figures, layouts, strict=True):
        margin = layout["margin"]
        top = 1 - (above + margin["t"]) / plotted
        bottom = 1 - (above + layout["height"] - margin["b"]) / plotted
        above += layout["height"] + gap
        # Rounding must not lead out of the picture.
        low, high = max(bottom, 0.0), min(top, 1.0)
        names = {
            letter: {
                name.replace("axis", ""): letter + _number(len(_of(letter, axes)) + place)
                for place, name in enumerate(_of(letter, layout))
            }
            for letter in "xy"
        }
        for letter, renamed in names.items():
            for name, new in renamed.items():
                axis = dict(layout[f"{letter}axis{name[1:]}"])
                other = names["y" if letter == "x" else "x"]
                axis["anchor"] = other[axis.get("anchor", next(iter(other)))]
                if letter == "y":
                    start, end = axis.get("domain", (0.0, 1.0))
                    axis["domain"] = [low + start * (high - low), low + end * (high - low)]
                axes[f"{letter}axis{new[1:]}"] = axis
        for trace in figure["data"]:
            new_axes = {
                f"{letter}axis": names[letter][trace.get(f"{letter}axis", letter)]
                for letter in "xy"
            }
            traces.append(trace | new_axes)
        for shape in layout.get("shapes", ()):
            moved = shape | {"xref": names["x"][shape["xref"]]}
            if shape["yref"] == "paper":
                moved |= {side: low + shape[side] * (high - low) for side in ("y0", "y1")}
            else:
                moved["yref"] = names["y"][shape["yref"]]
            shapes.append(moved)
    margin = {
        "l": max(layout["margin"]["l"] for layout in layouts),
        "r": max(layout["margin"]["r"] for layout in layouts),
        "t": first["t"],
        "b": last["b"],
    }
    common = {
        name: value
        for name, value in layouts[0].items()
        if not name.startswith(("xaxis", "yaxis")) and name != "shapes"
    }
    layout = common | axes | {"height": height, "margin": margin, "shapes": shapes}
    return {"data": traces, "layout": layout}


def _of(letter: str, layout: Mapping[str, Any]) -> list[str]:
    """Names of the axes of a layout along x or y."""
    return [name for name in layout if name.startswith(f"{letter}axis")]


def _number(count: int) -> str:
    """What Plotly puts behind the letter of an axis: nothing, 2, 3, ..."""
    return str(count + 1) if count else ""


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


# Trust -------------------------------------------------------------------------------------------

MANY_POINTS = 1000
"""From here on a browser is quicker with its graphics card than with a drawing of each point."""
AXES = {
    "throughput": "per second",
    "tpot": "ms per token",
    "ttft": "ms to first token",
    "latency": "ms per request",
    "cost": "USD per million",
}
"""What stands on both axes, by measure."""
FEW_POINTS = 100
"""Points of the reader that are marked one by one; more would hide each other."""
SCATTER_HEIGHT = 470
SCATTER_MARGIN = {"l": 62, "r": 14, "t": 8, "b": 46}
MOST_BARS = 16
LONGEST_NAME = 24
HALF_AND_TWICE = (0.5, 2.0)


def predicted_against_measured(
    points: Sequence[Compared], own: Sequence[Compared], names: Mapping[str, str],
    palette: Palette = LIGHT,
) -> Figure:  # fmt: skip
    """Measured above estimated for the figures of one measure; those of the reader stand out.

    `names` has the names of classes, models, chips and engines by their ids.
    """
    everything = [*points, *own]
    measure = everything[0].measure if everything else "throughput"
    scale = 1 / MILLISECOND if measure in ("tpot", "ttft", "latency") else 1.0
    values = [scale * value for point in everything for value in (point.measured, point.predicted)]
    low, high = (min(values) / 1.6, max(values) * 1.6) if values else (1.0, 10.0)
    kind = "scattergl" if len(everything) > MANY_POINTS else "scatter"
    classes = [name for name in CLASSES if any(point.model_class == name for point in points)]
    colours = dict(zip(CLASSES, palette.series, strict=False))
    traces = [_equal_lines(low, high, palette)]
    groups: list[tuple[str, list[Compared], dict[str, Any]]] = [
        (names.get(group, group), [point for point in points if point.model_class == group],
         {"color": colours[group], "size": 6, "opacity": 0.65, "line": {"width": 0}})
        for group in classes
    ]  # fmt: skip
    if own:
        few = len(own) <= FEW_POINTS
        mark = {
            "color": palette.warning, "size": 12 if few else 6, "symbol": "diamond",
            "line": {"width": 1.5 if few else 0, "color": palette.ink},
        }  # fmt: skip
        groups.append(("Yours", list(own), mark))
    for name, group, marker in groups:
        traces.append({
            "type": kind, "mode": "markers", "name": name, "marker": marker,
            "x": [float(f"{scale * point.predicted:.4g}") for point in group],
            "y": [float(f"{scale * point.measured:.4g}") for point in group],
            "hovertext": [_hover(point, names) for point in group], "hoverinfo": "text",
        })  # fmt: skip
    plotted = SCATTER_HEIGHT - SCATTER_MARGIN["t"] - SCATTER_MARGIN["b"]
    line = (high / low) ** (LINE_HEIGHT * 1.2 / plotted)
    legend = [
        _Word(
            low * (high / low) ** 0.03,
            high / line ** (place + 0.8),
            f" {name}",
            palette.ink,
            mark=9.0,
            symbol=marker.get("symbol", "circle"),
        )
        for place, (name, _, marker) in enumerate(groups)
    ]
    words = _words(legend)
    words["marker"]["color"] = [marker["color"] for _, _, marker in groups]
    titles = {"xaxis": f"Estimated, {AXES[measure]}", "yaxis": f"Measured, {AXES[measure]}"}
    axes = {
        axis: _log_axis(palette, low, high, title={"text": text}) for axis, text in titles.items()
    }
    layout = _layout(
        palette, height=SCATTER_HEIGHT, margin=SCATTER_MARGIN, hovermode="closest", **axes
    )
    return {"data": [*traces, words], "layout": layout}


def _equal_lines(low: float, high: float, palette: Palette) -> dict[str, Any]:
    """Where measured is estimated, half of it and twice of it, as one line with gaps."""
    ends = [(low, low, high, high)]
    for factor in HALF_AND_TWICE:
        start, end = low / min(factor, 1.0), high / max(factor, 1.0)
        ends.append((start, start * factor, end, end * factor))
    return {
        "type": "scatter", "mode": "lines", "name": "Equal, half and twice", "hoverinfo": "skip",
        "x": [x for start, _, end, _ in ends for x in (start, end, None)],
        "y": [y for _, start, _, end in ends for y in (start, end, None)],
        "line": {"color": palette.quiet, "width": 1},
    }  # fmt: skip


def _hover(point: Compared, names: Mapping[str, str]) -> str:
    """What a point is; texts of files are escaped, for Plotly takes some HTML."""
    texts = [
        f"{names.get(point.model, point.model)}, {point.scheme}",
        f"{names.get(point.hardware, point.hardware)}, {names.get(point.engine, point.engine)}",
        point.scenario.replace("-", " "),
        f"measured {measured_text(point.measure, point.measured)}, "
        f"estimated {measured_text(point.measure, point.predicted)}",
        _short(point.source or point.id, 60),
    ]
    return "<br>".join(escape(text) for text in texts)


def measured_text(measure: str, value: float) -> str:
    """A measured figure in the unit that reads best.

    >>> measured_text("tpot", 0.0123), measured_text("throughput", 1234.5)
    ('12.3 ms', '1,230/s')
    """
    if measure == "throughput":
        return f"{large(value)}/s"
    return f"${large(value)}" if measure == "cost" else duration(value)


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def errors_by_group(
    found: Sequence[GroupError], names: Mapping[str, str], palette: Palette = LIGHT
) -> Figure:
    """Median error of each group as a bar, with a mark within which nine of ten lie."""
    shown = sorted(found, key=lambda each: -each.rows)[:MOST_BARS]
    percents = {each.group: (each.median / PERCENT, each.p90 / PERCENT) for each in shown}
    # One group that is far off must not flatten the others.
    high = min(max([1.15 * p90 for _, p90 in percents.values()] or [1.0]), 200.0)
    places = list(range(len(shown) - 1, -1, -1))
    bars = {
        "type": "bar", "orientation": "h", "name": "Median error", "width": 0.62,
        "y": places, "x": [float(f"{min(median, high):.4g}") for median, _ in percents.values()],
        "marker": {"color": palette.series[0]},
        "hovertext": [
            f"{escape(names.get(each.group, each.group))}: half within {percent(each.median)}, "
            f"nine of ten within {percent(each.p90)}, {each.rows:,} runs"
            for each in shown
        ],
        "hoverinfo": "text",
    }  # fmt: skip
    marks = [
        _Word(min(p90, 0.985 * high), place, "", palette.ink, mark=9.0,
              symbol="triangle-right" if p90 > 0.985 * high else "diamond")
        for place, (_, p90) in zip(places, percents.values(), strict=True)
    ]  # fmt: skip
    ticks = _steps(high)
    layout = _layout(
        palette,
        height=24 * max(len(shown), 1) + 52,
        margin={"l": 160, "r": 20, "t": 4, "b": 46},
        xaxis=_axis(
            palette, range=[0, high], tickvals=ticks, ticktext=[f"{tick:g}%" for tick in ticks],
            title={"text": "error: bar half of the runs, ◆ nine of ten"},
        ),
        yaxis=_axis(
            palette, range=[-0.6, len(shown) - 0.4], tickvals=places,
            ticktext=[escape(_short(names.get(each.group, each.group), LONGEST_NAME))
                      for each in shown],
            showgrid=False, showline=False,
        ),
    )  # fmt: skip
    return {"data": [bars, _words(marks)], "layout": layout}


def describe_scatter(points: Sequence[Compared], own: Sequence[Compared]) -> str:
    """The scatter in words."""
    near = sum(HALF_AND_TWICE[0] <= point.ratio <= HALF_AND_TWICE[1] for point in points)
    yours = f" {len(own):,} of yours." if own else ""
    return (
        f"Measured against estimated, {len(points):,} figures; {near:,} of them lie between half "
        f"and twice the estimate.{yours}"
    )


def describe_errors(found: Sequence[GroupError], names: Mapping[str, str]) -> str:
    """The errors in words."""
    parts = [
        f"{names.get(each.group, each.group)} {percent(each.median)}"
        for each in sorted(found, key=lambda each: -each.rows)[:MOST_BARS]
    ]
    return f"Median error by group: {', '.join(parts)}."
