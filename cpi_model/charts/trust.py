"""Estimates beside measured runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from cpi_model.charts import base
from cpi_model.charts.base import LIGHT, Figure, Palette
from cpi_model.export import duration, large, percent
from cpi_model.studies.options import CLASSES
from cpi_model.units import MILLISECOND, PERCENT

if TYPE_CHECKING:
    from cpi_model.studies.accuracy import Compared, GroupError

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
    line = (high / low) ** (base.LINE_HEIGHT * 1.2 / plotted)
    legend = [
        base.Word(
            low * (high / low) ** 0.03,
            high / line ** (place + 0.8),
            f" {name}",
            palette.ink,
            mark=9.0,
            symbol=marker.get("symbol", "circle"),
        )
        for place, (name, _, marker) in enumerate(groups)
    ]
    words = base.words(legend)
    words["marker"]["color"] = [marker["color"] for _, _, marker in groups]
    titles = {"xaxis": f"Estimated, {AXES[measure]}", "yaxis": f"Measured, {AXES[measure]}"}
    axes = {
        axis: base.log_axis(palette, low, high, base.COARSE, title={"text": text})
        for axis, text in titles.items()
    }
    layout = base.layout(
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
        base.cut(point.source or point.id, 60),
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
        base.Word(min(p90, 0.985 * high), place, "", palette.ink, mark=9.0,
              symbol="triangle-right" if p90 > 0.985 * high else "diamond")
        for place, (_, p90) in zip(places, percents.values(), strict=True)
    ]  # fmt: skip
    ticks = base.steps(high)
    layout = base.layout(
        palette,
        height=24 * max(len(shown), 1) + 52,
        margin={"l": 160, "r": 20, "t": 4, "b": 46},
        xaxis=base.axis(
            palette, range=[0, high], tickvals=ticks, ticktext=[f"{tick:g}%" for tick in ticks],
            title={"text": "error: bar half of the runs, ◆ nine of ten"},
        ),
        yaxis=base.axis(
            palette, range=[-0.6, len(shown) - 0.4], tickvals=places,
            ticktext=[escape(base.cut(names.get(each.group, each.group), LONGEST_NAME))
                      for each in shown],
            showgrid=False, showline=False,
        ),
    )  # fmt: skip
    return {"data": [bars, base.words(marks)], "layout": layout}


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
