"""What all figures have in common: colours, axes, words, and one figure out of several.

A figure is drawn anew with every move of a slider, so it is a plain dictionary with fixed margins,
ticks set by hand, few points and few traces. Words stand in the picture as points of a trace:
legends and annotations, which Plotly measures one by one, cost several times as much. Figures that
stand above each other are drawn as one (:func:`stack`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from cpi_model.export import digits
from cpi_model.units import Numeric

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
    paper="#FFFFFF", ink="#0E131A", quiet="#56616F", grid="#E3E8EE", warning="#B3261E",
    series=(
        "#0072B2", "#D98F00", "#009E73", "#CC79A7", "#C2500A",
        "#332288", "#46A6E0", "#A5A53A", "#882255", "#6B7280",
    ),
    on_series=("#FFFFFF", "#0E131A", "#0E131A", "#0E131A", "#FFFFFF"),
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


def faint(colour: str) -> str:
    """A colour that lets through what is behind it."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.35)"


FONT = '"Source Sans", "Source Sans Pro", sans-serif'
LINE_HEIGHT = 15
"""Of a line of words. [px]"""


def layout(palette: Palette, height: int, **more: Any) -> dict[str, Any]:
    """What all figures have in common."""
    return {
        "height": height,
        # Where the reader switches to the other theme, it stays readable until it is drawn again.
        "paper_bgcolor": palette.paper,
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": palette.ink},
        "showlegend": False,
        "dragmode": False,
        # Streamlit draws a new figure twice with the same data; this tells Plotly so.
        "datarevision": 1,
        "hoverlabel": {"namelength": -1},
        **more,
    }


def axis(palette: Palette, **more: Any) -> dict[str, Any]:
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


def cut(text: str, longest: int) -> str:
    """A text that is not longer than there is room for."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


COARSE = ((1, 2, 5), (1, 3), (1,))
FINE = (
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), *COARSE,
)  # fmt: skip
"""Round numbers of a power of ten, the most first."""
MOST_TICKS = 6


def ticks(low: float, high: float, rounds: Sequence[Sequence[float]] = FINE) -> list[float]:
    """Round numbers on a logarithmic axis: as many in each power of ten as there is room for."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits_of in rounds:
        found = [d * 10.0**p for p in powers for d in digits_of if low <= d * 10.0**p <= high]
        if len(found) <= MOST_TICKS:
            break
    if len(found) < 2:
        # So narrow that it is nearly linear.
        step = steps(high - low, 4)[1]
        first, last = math.ceil(low / step), math.floor(high / step + 1e-9)
        return [step * count for count in range(first, last + 1)]
    return found[:: math.ceil(len(found) / MOST_TICKS)]


def steps(high: float, most: int = 5) -> list[float]:
    """Round numbers from zero on a linear axis."""
    step = round_step(high / most)
    return [step * count for count in range(int(high / step + 1e-9) + 1)]


def round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is no smaller than this."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(s * power for s in (1, 2, 5, 10) if s * power >= least * (1 - 1e-9))


def log_axis(
    palette: Palette, low: float, high: float, rounds: Sequence[Sequence[float]] = FINE,
    **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """An axis by powers of ten; `rounds` are coarse where labels stand beside each other."""
    marks = ticks(low, high, rounds)
    return axis(
        palette,
        type="log",
        range=[math.log10(low), math.log10(high)],
        tickvals=marks,
        ticktext=[digits(mark) for mark in marks],
        **more,
    )


def column(values: Numeric, scale: float) -> Column:
    """A column of an estimate for a line; what is unknown is a gap."""
    numbers = np.atleast_1d(np.asarray(values, dtype=float)) * scale
    return [float(f"{number:.5g}") if math.isfinite(number) else None for number in numbers]


def known(*columns: Sequence[float | None]) -> list[float]:
    return [value for column in columns for value in column if value is not None and value > 0]


def words(points: Sequence[Word], axes: tuple[str, str] = ("x", "y")) -> dict[str, Any]:
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
class Word:
    """A word, a mark or both at a point of a picture."""

    x: float
    y: float
    text: str
    colour: str
    position: str = "middle right"
    mark: float = 0.0
    """Size of the mark, 0 for none. [px]"""
    symbol: str = "square"


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
