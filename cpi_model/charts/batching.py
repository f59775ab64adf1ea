"""Throughput, latency and cost over the requests that run together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cpi_model.charts import base
from cpi_model.charts.base import LIGHT, Column, Figure, Palette
from cpi_model.evaluate import Estimate
from cpi_model.export import digits, duration, large, money
from cpi_model.scenario import Scenario
from cpi_model.studies.batching import ENOUGH, Curve, Delays, LimitCost, Place
from cpi_model.units import MILLION, MILLISECOND, Array

HEIGHT = 460
MARGIN = {"l": 62, "r": 14, "t": 12, "b": 46}
UPPER, LOWER = (0.46, 1.0), (0.0, 0.38)
LABELLED = (1, 4, 16, 64, 256, 1024, 4096)
"""Concurrencies that are written along the curve."""
NEAR = 1.35
"""Marks nearer than this factor of latency keep the numbers along the curve away."""


def throughput_latency(curve: Curve, palette: Palette = LIGHT) -> Figure:
    """Throughput above, cost below, over the latency that each concurrency brings."""
    scenario, found = curve.sweep.scenario, curve.sweep.estimate
    counts = [int(value) for value in curve.sweep.values]
    latency = base.column(found.latency_p95, 1 / MILLISECOND)
    rate = scenario.currency_per_usd * MILLION
    whole = base.column(found.throughput, 1.0)
    costs = {
        "Fully loaded": base.column(found.cost_per_inference, rate),
        "Marginal": base.column(found.marginal_cost_per_inference, rate),
    }
    places = _places(curve)
    limit = scenario.slo_latency_ms
    times = base.known(latency)
    low, high = min(times), max(times)
    in_sight = low <= limit <= 3 * high
    spread = max(max(high, limit if in_sight else high) / low, 1.5)
    low, high = low / spread**0.05, low * spread**1.05
    high_cost = base.known(*costs.values())
    cheapest, dearest = min(high_cost), max(high_cost)
    room = max(dearest / cheapest, 1.5) ** 0.12
    top = 1.18 * max(base.known(whole, base.column(curve.sweep.likely["throughput"][1], 1.0)))
    traces = [
        *_band(latency, curve.sweep.likely["throughput"], palette),
        _line("Requests per second", latency, whole, counts, "y", palette.series[0], "solid"),
        *(
            _line(f"{name} cost", latency, values, counts, "y2", colour, dash)
            for (name, values), colour, dash in zip(
                costs.items(), (palette.series[0], palette.series[2]), ("solid", "dash"),
                strict=True,
            )
        ),
    ]  # fmt: skip
    words, shapes = _marks(places, latency, whole, counts, palette), []
    if in_sight:
        shapes.append({
            "type": "line", "x0": limit, "x1": limit, "xref": "x", "y0": 0, "y1": 1,
            "yref": "paper", "layer": "below",
            "line": {"color": palette.quiet, "width": 1.2, "dash": "longdashdot"},
        })  # fmt: skip
        words.append(base.Word(
            limit, 0.03 * top, f"limit {duration(limit * MILLISECOND)} ", palette.quiet,
            "middle left",
        ))  # fmt: skip
    traces.append(base.words(words))
    traces.append(base.words(_below(places, costs, latency, rate, palette), ("x", "y2")))
    layout = base.layout(
        palette,
        height=HEIGHT,
        margin=MARGIN,
        shapes=shapes,
        xaxis=base.log_axis(
            palette, low, high, base.COARSE, anchor="y2",
            title={"text": "Latency of a request, p95, milliseconds"},
        ),
        yaxis=base.axis(
            palette, domain=list(UPPER), range=[0, top], tickvals=base.steps(top, 5),
            ticktext=[large(tick) for tick in base.steps(top, 5)],
            title={"text": "requests/s of a replica"},
        ),
        yaxis2=base.log_axis(
            palette, cheapest / room, dearest * room**1.6, domain=list(LOWER),
            title={"text": f"{scenario.currency} per million"},
        ),
    )  # fmt: skip
    return {"data": traces, "layout": layout}


def _places(curve: Curve) -> dict[int, tuple[str, Estimate]]:
    """Points with a name, by their concurrency; one that is several things has all names."""
    found: dict[int, tuple[str, Estimate]] = {}
    named: list[tuple[str, Place | None]] = [
        ("chosen", curve.chosen), ("knee", curve.knee),
        ("most in limits", curve.within[ENOUGH[0]]),
    ]  # fmt: skip
    for name, place in named:
        if place is not None and math.isfinite(float(place.estimate.throughput)):
            others = f"{found[place.concurrency][0]}, " if place.concurrency in found else ""
            found[place.concurrency] = (others + name, place.estimate)
    return found


def _line(
    name: str, x: Column, y: Column, counts: Sequence[int], axis: str, colour: str, dash: str
) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "yaxis": axis,
        "line": {"color": colour, "width": 2.5, "dash": dash}, "customdata": list(counts),
        "hovertemplate": f"{name}: %{{y:,.3~r}}<br>p95 %{{x:,.3~r}} ms"
        "<extra>%{customdata} requests</extra>",
    }  # fmt: skip


def _band(latency: Column, likely: tuple[Array, Array], palette: Palette) -> list[dict[str, Any]]:
    """The likely range of throughput as an area; nothing where it is not known."""
    ends = [
        (x, low, high)
        for x, low, high in zip(
            latency, base.column(likely[0], 1.0), base.column(likely[1], 1.0), strict=True
        )
        if x is not None and low is not None and high is not None
    ][::2]
    if not ends:
        return []
    red, green, blue = (int(palette.quiet[at : at + 2], 16) for at in (1, 3, 5))
    return [{
        "type": "scatter", "mode": "lines", "name": "Likely range", "hoverinfo": "skip",
        "x": [x for x, _, _ in ends] + [x for x, _, _ in reversed(ends)],
        "y": [high for _, _, high in ends] + [low for _, low, _ in reversed(ends)],
        "fill": "toself", "line": {"width": 0}, "fillcolor": f"rgba({red},{green},{blue},0.25)",
    }]  # fmt: skip


EDGE = 0.16
"""Share of the axis that a name needs to its left."""
SYMBOLS = ("diamond", "circle", "square")


def _marks(
    places: Mapping[int, tuple[str, Estimate]], latency: Column, throughput: Column,
    counts: Sequence[int], palette: Palette,
) -> list[base.Word]:  # fmt: skip
    """Named points, and small numbers along the curve where none is near."""
    words, taken = [], []
    for order, (count, (name, estimate)) in enumerate(sorted(places.items())):
        at = float(estimate.latency_p95) / MILLISECOND
        taken.append(at)
        words.append(base.Word(
            at, float(estimate.throughput), f"<b>{count:,}</b> {name}", palette.ink,
            # Names above and below the curve by turns, so that neighbours do not meet.
            "bottom right" if order % 2 else "top left", 10, SYMBOLS[order],
        ))  # fmt: skip
    # A name at the left edge would be cut off there.
    first, last = min(base.known(latency)), max(base.known(latency))
    edge = first * (last / first) ** EDGE
    words = [
        base.Word(w.x, w.y, w.text, w.colour, "bottom right", w.mark, w.symbol)
        if w.x < edge else w
        for w in words
    ]  # fmt: skip
    for count, x, y in zip(counts, latency, throughput, strict=True):
        if count in LABELLED and x is not None and y is not None:
            near = any(1 / NEAR < x / other < NEAR for other in taken)
            text = "" if near else f"{count:,}"
            words.append(base.Word(x, y, text, palette.quiet, "bottom right", 5, "circle"))
    return words


def _below(
    places: Mapping[int, tuple[str, Estimate]], costs: Mapping[str, Column], latency: Column,
    rate: float, palette: Palette,
) -> list[base.Word]:  # fmt: skip
    """The same points on the line of the cost, and the names of the lines at their right ends."""
    words = [
        base.Word(
            float(estimate.latency_p95) / MILLISECOND, float(estimate.cost_per_inference) * rate,
            "", palette.ink, mark=8, symbol=SYMBOLS[order],
        )
        for order, (_, (_, estimate)) in enumerate(sorted(places.items()))
    ]  # fmt: skip
    for name, values, colour in zip(
        costs, costs.values(), (palette.words[0], palette.words[1]), strict=True
    ):
        last = [(x, y) for x, y in zip(latency, values, strict=True) if x and y][-1]
        words.append(base.Word(*last, name, colour, "top left"))
    return words


def describe_curve(curve: Curve) -> str:
    """The picture in words."""
    scenario = curve.sweep.scenario
    parts = [
        f"{count:,} requests at a time ({name}): {digits(float(e.throughput))} requests a second, "
        f"p95 {duration(float(e.latency_p95))}, "
        f"{money(float(e.cost_per_inference) * MILLION, scenario)} per million"
        for count, (name, e) in sorted(_places(curve).items())
    ]
    return f"Throughput of a replica and cost against latency. {'; '.join(parts)}."


# What the limits cost -----------------------------------------------------------------------------

COST_HEIGHT = 300
COST_MARGIN = {"l": 62, "r": 14, "t": 12, "b": 46}
DASHES = ("solid", "dash", "dot")


def limit_costs(found: Sequence[LimitCost], scenario: Scenario, palette: Palette = LIGHT) -> Figure:
    """The cheapest that keeps all limits, by how tight each of them is."""
    rate = scenario.currency_per_usd * MILLION
    lines = {each.words: base.column(each.costs, rate) for each in found}
    known = base.known(*lines.values()) or [1.0]
    low, high = min(known), max(known)
    room = max(high / low, 1.5) ** 0.15
    traces: list[dict[str, Any]] = []
    words = []
    for order, each in enumerate(found):
        relative = [float(f"{limit / each.limit:.4g}") for limit in each.limits]
        traces.append({
            "type": "scatter", "mode": "lines", "name": each.words, "x": relative,
            "y": lines[each.words],
            "line": {"color": palette.series[2 * order], "width": 2.5, "dash": DASHES[order]},
            "customdata": [duration(float(limit)) for limit in each.limits],
            "hovertemplate": f"{each.words} %{{customdata}}: %{{y:,.3~r}}<extra></extra>",
        })  # fmt: skip
        kept = [(x, y) for x, y in zip(relative, lines[each.words], strict=True) if y is not None]
        if kept:
            x, y = kept[0]
            words.append(base.Word(
                x, y, f"{each.words} ", palette.words[order],
                "top right" if x < 0.5 else "top center",
            ))  # fmt: skip
    words.append(base.Word(1.0, low / room**0.7, " your limits", palette.ink, "middle right"))
    traces.append(base.words(_apart(words, low, high, room)))
    layout = base.layout(
        palette,
        height=COST_HEIGHT,
        margin=COST_MARGIN,
        shapes=[{
            "type": "line", "x0": 1, "x1": 1, "xref": "x", "y0": 0, "y1": 1, "yref": "paper",
            "layer": "below", "line": {"color": palette.ink, "width": 1.2},
        }],
        xaxis=base.log_axis(
            palette, 0.09, 11.0, base.COARSE, title={"text": "Limit, as a multiple of yours"},
        ),
        yaxis=base.log_axis(
            palette, low / room, high * room**1.5,
            title={"text": f"least {scenario.currency} per million"},
        ),
    )  # fmt: skip
    return {"data": traces, "layout": layout}


def _apart(words: Sequence[base.Word], low: float, high: float, room: float) -> list[base.Word]:
    """Names of lines that begin at the same height, one above the other."""
    pixels = COST_HEIGHT - COST_MARGIN["t"] - COST_MARGIN["b"]
    decade = pixels / math.log10(high * room**1.5 / (low / room))
    placed: list[base.Word] = []
    for word in words:
        y = word.y
        while any(
            abs(math.log10(y / other.y)) * decade < base.LINE_HEIGHT
            and abs(math.log10(word.x / other.x)) < 0.7
            for other in placed
        ):
            y *= 10.0 ** (base.LINE_HEIGHT / decade)
        placed.append(base.Word(word.x, y, word.text, word.colour, word.position))
    return placed


def describe_limit_costs(found: Sequence[LimitCost], scenario: Scenario) -> str:
    """The picture in words."""
    parts = [
        f"{each.words} {duration(each.limit)}: "
        + (
            f"from {money(each.now * MILLION, scenario)} per million"
            if math.isfinite(each.now) else "cannot be kept"
        )
        for each in found
    ]  # fmt: skip
    return f"Least cost that keeps the limits, as each becomes tighter. {'; '.join(parts)}."


# Waiting for a batch ------------------------------------------------------------------------------


def delays(found: Delays, chosen: float, scenario: Scenario, palette: Palette = LIGHT) -> Figure:
    """Latency above, cost of the device's time below, over the longest wait for a batch."""
    shown = found.waits > 0.0
    waits = base.column(found.waits[shown], 1 / MILLISECOND)
    times = {
        "p95": base.column(found.p95[shown], 1 / MILLISECOND),
        "median": base.column(found.p50[shown], 1 / MILLISECOND),
    }
    cost = base.column(found.cost[shown], scenario.currency_per_usd * MILLION)
    batch = base.column(found.batch[shown], 1.0)
    known, dear = base.known(*times.values()) or [1.0], base.known(cost) or [1.0]
    room, more = max(max(known) / min(known), 1.5) ** 0.15, max(max(dear) / min(dear), 1.5) ** 0.2
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "name": f"Latency, {name}", "x": waits,
            "y": values, "line": {"color": palette.series[colour], "width": 2.5, "dash": dash},
            "hovertemplate": f"{name}: %{{y:,.3~r}} ms<extra>wait of %{{x:,.3~r}} ms</extra>",
        }
        for (name, values), colour, dash in zip(times.items(), (0, 2), DASHES, strict=False)
    ]  # fmt: skip
    traces.append({
        "type": "scatter", "mode": "lines", "name": "Cost of device time", "x": waits, "y": cost,
        "yaxis": "y2", "line": {"color": palette.series[4], "width": 2.5},
        "customdata": batch,
        "hovertemplate": "%{y:,.3~r} per million<extra>batches of %{customdata:.3~r}</extra>",
    })  # fmt: skip
    words = [
        base.Word(waits[0] or 1.0, values[0], name, colour, place)
        for (name, values), colour, place in zip(
            times.items(), palette.words, ("top right", "bottom right"), strict=False
        )
        if values[0] is not None
    ]  # fmt: skip
    traces.append(base.words(words))
    at = chosen / MILLISECOND
    low, high = waits[0] or 1.0, waits[-1] or 1.0
    marked = low <= at <= high
    shapes = [{
        "type": "line", "x0": at, "x1": at, "xref": "x", "y0": 0, "y1": 1, "yref": "paper",
        "layer": "below", "line": {"color": palette.ink, "width": 1.2},
    }] if marked else []  # fmt: skip
    if marked:
        left = math.log(at / low) < 0.75 * math.log(high / low)
        traces.append(base.words([base.Word(
            at, max(dear) * more**0.6, f" <b>{duration(chosen)}</b> chosen ", palette.ink,
            "middle right" if left else "middle left",
        )], ("x", "y2")))  # fmt: skip
    layout = base.layout(
        palette,
        height=380,
        margin=MARGIN,
        shapes=shapes,
        xaxis=base.log_axis(
            palette, low, high, base.COARSE, anchor="y2",
            title={"text": "Longest wait for a batch, milliseconds"},
        ),
        yaxis=base.log_axis(
            palette, min(known) / room, max(known) * room, domain=list(UPPER),
            title={"text": "latency, ms"},
        ),
        yaxis2=base.log_axis(
            palette, min(dear) / more, max(dear) * more, domain=list(LOWER),
            title={"text": f"{scenario.currency} per million"},
        ),
    )  # fmt: skip
    return {"data": traces, "layout": layout}


def describe_delays(found: Delays) -> str:
    """The picture in words."""
    first, last = 0, len(found.waits) - 1
    parts = [
        f"waiting at most {duration(float(found.waits[at]))}: batches of "
        f"{digits(float(found.batch[at]))}, p95 {duration(float(found.p95[at]))}"
        for at in (first, last)
    ]
    return f"Latency and cost of device time against the wait for a batch. {'; '.join(parts)}."
