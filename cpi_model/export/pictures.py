"""Charts of a report as SVG, for pages that are printed: Vega-Lite, drawn without a browser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cpi_model.charts.base import LIGHT, ticks
from cpi_model.export.report import Report, Scene, bars
from cpi_model.export.text import SIGNS, large
from cpi_model.studies.answer import COMPONENTS
from cpi_model.units import MILLION

Spec = dict[str, Any]
WIDTH = 330
"""Of a picture without its axes. [px]"""
HEIGHT = 150
LABEL = 150
"""Of the name of a bar, at most. [px]"""
ROW = 34
"""Of one bar. [px]"""
AROUND = 1.3
"""Factor between what a curve reaches and the end of its axis."""


def svg(spec: Spec) -> str:
    """A picture of a specification."""
    import vl_convert

    return vl_convert.vegalite_to_svg(spec)


def of(report: Report, font: str) -> list[tuple[str, Spec]]:
    """Headings and specifications of the charts of a report; none where nothing works."""
    currency, found = report.first.scenario.currency, []
    if amounts := bars(report):
        heading = f"Where the money goes, {currency} per million inferences"
        found.append((heading, breakdown(amounts, SIGNS[currency], font)))
    if len(report.scenes) == 1 and report.first.curve is not None:
        heading = f"{currency} per million inferences, against requests in flight on a replica"
        found.append((heading, curve(report.first, font)))
    return found


def breakdown(amounts: Mapping[str, Mapping[str, float]], sign: str, font: str) -> Spec:
    """Components of the cost as one bar each, with the sum behind it."""
    rows = [
        {"bar": name, "part": part.capitalize(), "order": order, "amount": amount}
        for name, bar in amounts.items()
        for order, (part, amount) in enumerate(bar.items())
    ]
    sums = {name: sum(bar.values()) for name, bar in amounts.items()}
    totals = [
        {"bar": name, "amount": total, "text": f"{sign}{large(total)}"}
        for name, total in sums.items()
    ]
    place = {
        "field": "bar", "type": "nominal", "sort": None, "title": None,
        "axis": {"labelLimit": LABEL, "domain": False, "ticks": False},
    }  # fmt: skip
    length = {
        "field": "amount", "type": "quantitative", "title": None, "axis": None,
        # Room for the amount behind the longest bar.
        "scale": {"domain": [0, 1.25 * max(sums.values())], "nice": False},
    }  # fmt: skip
    return _spec(font, {
        "height": ROW * len(totals),
        "layer": [
            {
                "data": {"values": rows}, "mark": {"type": "bar", "size": ROW - 12},
                "encoding": {
                    "y": place, "x": length, "order": {"field": "order"},
                    "color": {
                        "field": "part", "type": "nominal", "sort": None, "title": None,
                        "scale": {
                            "domain": [part.capitalize() for part in COMPONENTS],
                            "range": list(LIGHT.series[: len(COMPONENTS)]),
                        },
                        "legend": {"orient": "bottom", "columns": 3, "symbolType": "square"},
                    },
                },
            },
            {
                "data": {"values": totals},
                "mark": {"type": "text", "align": "left", "dx": 5, "fontWeight": "bold"},
                "encoding": {"y": place, "x": length, "text": {"field": "text"}},
            },
        ],
    })  # fmt: skip


def curve(scene: Scene, font: str) -> Spec:
    """Cost against the requests in flight, with its likely range and the choice."""
    assert scene.curve is not None
    scenario, found = scene.scenario, scene.curve
    rate = scenario.currency_per_usd * MILLION
    cost = np.asarray(found.estimate.cost_per_inference) * rate
    low, high = (np.asarray(end) * rate for end in found.likely["cost_per_inference"])
    rows = [
        {"at": int(at), "cost": _known(each), "low": _known(start), "high": _known(end)}
        for at, each, start, end in zip(found.values, cost, low, high, strict=True)
        if math.isfinite(each)
    ]  # fmt: skip
    doubling = [2**power for power in range(0, 14, 2) if 2**power <= found.values[-1]]
    x = {
        "field": "at", "type": "quantitative", "title": None,
        "scale": {"type": "log", "domain": [found.values[0], found.values[-1]], "nice": False},
        "axis": {"values": doubling, "grid": False, "format": ",d"},
    }  # fmt: skip
    ends = [each for row in rows for each in (row["cost"], row["low"], row["high"]) if each]
    least, most = min(ends) / AROUND, max(ends) * AROUND
    y = {
        "type": "quantitative", "title": None,
        "scale": {"type": "log", "domain": [least, most], "nice": False},
        "axis": {"values": ticks(least, most), "format": ",.3~r"},
    }  # fmt: skip
    chosen = [{
        "at": scenario.concurrency, "cost": float(scene.estimate.cost_per_inference) * rate,
        "text": f"{scenario.concurrency:,} chosen",
    }]  # fmt: skip
    # Costs fall along the axis: there is room above the curve, but for its very end.
    crowded = scenario.concurrency > found.values[-1] / 8
    return _spec(font, {
        "height": HEIGHT,
        "data": {"values": rows},
        "layer": [
            {
                "mark": {"type": "area", "color": LIGHT.series[0], "opacity": 0.18},
                "encoding": {"x": x, "y": {"field": "low", **y}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "line", "color": LIGHT.series[0], "strokeWidth": 2},
                "encoding": {"x": x, "y": {"field": "cost", **y}},
            },
            {
                "data": {"values": chosen},
                "mark": {"type": "point", "filled": True, "size": 60, "color": LIGHT.ink,
                         "shape": "diamond", "opacity": 1},
                "encoding": {"x": x, "y": {"field": "cost", **y}},
            },
            {
                "data": {"values": chosen},
                "mark": {"type": "text", "dx": 2, "dy": -12, "fontWeight": "bold",
                         "align": "right" if crowded else "left"},
                "encoding": {"x": x, "y": {"field": "cost", **y}, "text": {"field": "text"}},
            },
        ],
    })  # fmt: skip


def _spec(font: str, body: Spec) -> Spec:
    """What all pictures have in common."""
    return {
        "width": WIDTH,
        "background": None,
        "config": {
            "font": font,
            "view": {"stroke": None},
            "axis": {
                "labelFontSize": 11,
                "labelColor": LIGHT.quiet,
                "gridColor": LIGHT.grid,
                "domainColor": LIGHT.grid,
                "tickColor": LIGHT.grid,
            },
            "axisY": {"labelFontSize": 11, "labelColor": LIGHT.ink},
            "text": {"fontSize": 11, "color": LIGHT.ink},
            "legend": {"labelFontSize": 11, "labelColor": LIGHT.ink, "symbolSize": 90},
        },
        **body,
    }


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
