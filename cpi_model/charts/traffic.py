"""Figures of traffic over time and of its growth."""

from __future__ import annotations

from typing import Any

import numpy as np

from cpi_model.charts import base
from cpi_model.charts.base import LIGHT, Figure, Palette
from cpi_model.export import digits, large
from cpi_model.studies.traces import Growth, Trace
from cpi_model.units import DAY, HOUR, MINUTE, Array

HEIGHT = 300
MOST_POINTS = 2000
"""Of all lines together; longer series are drawn from the least to the most in each bin."""
BINS = MOST_POINTS // 3
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
UNITS = ((2 * DAY, DAY, "days"), (2 * HOUR, HOUR, "hours"), (0.0, MINUTE, "minutes"))
"""From so long on, time is shown in these."""
MOST_WEEKDAYS = 8
"""More names do not fit on a small screen."""


def demand(trace: Trace, palette: Palette = LIGHT) -> Figure:
    """Requests per second over time; gaps are left open."""
    values, length = trace.requests_per_s, trace.length
    colour = palette.series[0]
    _, unit, name = next(each for each in UNITS if length >= each[0])
    hover = f"%{{y:,.3~s}} requests/s<extra>%{{x:.2~f}} {name}</extra>"
    x, y = _steps(values, trace.step)
    if len(x) <= MOST_POINTS:
        lines = [_line(
            "Requests", base.column(x, 1 / unit), base.column(y, 1.0), colour, 1.5,
            hovertemplate=hover,
        )]  # fmt: skip
        lines[0]["line"]["shape"] = "hv"
    else:
        middles, least, mean, most = _envelope(values, trace.step)
        band = np.stack([least, most], axis=1).ravel()
        lines = [
            _line(
                "Range", base.column(np.repeat(middles, 2), 1 / unit), base.column(band, 1.0),
                base.faint(colour), 1.5, hoverinfo="skip",
            ),
            _line(
                "Mean", base.column(middles, 1 / unit), base.column(mean, 1.0), colour, 1.5,
                hovertemplate=hover,
            ),
        ]  # fmt: skip
    high = 1.08 * float(np.nanmax(values))
    marks = base.steps(high)
    places, texts = _time_marks(trace, unit)
    layout = base.layout(
        palette, height=HEIGHT, margin={"l": 62, "r": 14, "t": 12, "b": 46},
        xaxis=base.axis(
            palette, range=[0, length / unit], tickvals=places, ticktext=texts,
            title={"text": "day of the week, UTC" if texts[0] in WEEKDAYS else name},
        ),
        yaxis=base.axis(
            palette, range=[0, high], tickvals=marks, ticktext=[large(mark) for mark in marks],
            title={"text": "requests per second"},
        ),
    )  # fmt: skip
    return {"data": lines, "layout": layout}


def _line(
    name: str, x: base.Column, y: base.Column, colour: str, width: float, **more: Any
) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "connectgaps": False,
        "line": {"color": colour, "width": width}, **more,
    }  # fmt: skip


def _steps(values: Array, step: float) -> tuple[Array, Array]:
    """Points of a line that is as high as each step from its beginning to its end."""
    edges = step * np.arange(len(values) + 1, dtype=np.float64)
    heights = np.append(values, values[-1])
    # A step before a gap ends where the gap begins.
    ends = np.flatnonzero(~np.isnan(values[:-1]) & np.isnan(values[1:])) + 1
    return np.insert(edges, ends, edges[ends]), np.insert(heights, ends, values[ends - 1])


def _envelope(values: Array, step: float) -> tuple[Array, Array, Array, Array]:
    """Middle of each bin, and the least, the mean and the most in it."""
    edges = np.linspace(0, len(values), BINS + 1).astype(int)
    begins, counts = edges[:-1], np.diff(edges)
    # fmin and fmax pass over gaps; the mean of a bin with a gap is left open.
    least, most = np.fmin.reduceat(values, begins), np.fmax.reduceat(values, begins)
    return (
        step * (edges[:-1] + edges[1:]) / 2, least, np.add.reduceat(values, begins) / counts, most,
    )  # fmt: skip


def _time_marks(trace: Trace, unit: float) -> tuple[list[float], list[str]]:
    """Marks of the axis of time: weekdays where they are known and fit."""
    days = trace.length / DAY
    if trace.start_weekday is not None and unit == DAY and days <= MOST_WEEKDAYS:
        first = -(trace.start_hour or 0.0) / 24 % 1
        places = [first + day for day in range(int(np.ceil(days - first)))]
        skipped = 1 if first > 0 else 0
        return places, [
            WEEKDAYS[(trace.start_weekday + skipped + day) % 7] for day in range(len(places))
        ]
    places = base.steps(trace.length / unit, 7)
    return places, [digits(place) for place in places]


def describe_demand(trace: Trace) -> str:
    """Traffic over time in words."""
    peak, mean = float(np.nanmax(trace.requests_per_s)), trace.mean
    gaps = f" {trace.gaps:,} steps are missing." if trace.gaps else ""
    return (
        f"{trace.name}: {digits(mean)} requests per second on average, at most {digits(peak)}, "
        f"which is {digits(peak / mean)} times as many, at least "
        f"{digits(float(np.nanmin(trace.requests_per_s)))}.{gaps}"
    )


def growth(found: Growth, palette: Palette = LIGHT) -> Figure:
    """Mean traffic month by month, with its range."""
    x = base.column(found.months, 1.0)
    colour = palette.series[0]
    lines = [
        _line("Low", x, base.column(found.low, 1.0), colour, 0, hoverinfo="skip"),
        _line("High", x, base.column(found.high, 1.0), colour, 0, hoverinfo="skip")
        | {"fill": "tonexty", "fillcolor": base.faint(colour)},
        _line(
            "Expected", x, base.column(found.expected, 1.0), colour, 2,
            hovertemplate="%{y:,.3~s} requests/s<extra>in %{x} months</extra>",
        ),
    ]  # fmt: skip
    high = 1.08 * float(found.high.max())
    marks = base.steps(high)
    places = base.steps(float(found.months[-1]), 6)
    layout = base.layout(
        palette, height=HEIGHT, margin={"l": 62, "r": 14, "t": 12, "b": 46},
        xaxis=base.axis(
            palette, range=[0, float(found.months[-1])], tickvals=places,
            ticktext=[digits(place) for place in places], title={"text": "months from now"},
        ),
        yaxis=base.axis(
            palette, range=[0, high], tickvals=marks, ticktext=[large(mark) for mark in marks],
            title={"text": "requests per second, average"},
        ),
    )  # fmt: skip
    return {"data": lines, "layout": layout}


def describe_growth(found: Growth) -> str:
    """Growth in words."""
    last = digits(float(found.months[-1]))
    return (
        f"From {digits(float(found.expected[0]))} requests per second now to "
        f"{digits(float(found.expected[-1]))} in {last} months, between "
        f"{digits(float(found.low[-1]))} and {digits(float(found.high[-1]))}."
    )
