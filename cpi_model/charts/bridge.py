"""From one cost to another, change by change."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cpi_model.charts import base
from cpi_model.charts.base import LIGHT, Figure, Palette
from cpi_model.export import SIGNS, large, money
from cpi_model.scenario import Scenario
from cpi_model.units import MILLION

ROW = 27
"""Height of a bar with its name. [px]"""
LONGEST_NAME = 34
NARROW, LETTER = 116, 6.2
"""Least room for the names, and of one letter. [px]"""


def steps(
    start: tuple[str, float], changes: Sequence[tuple[str, float]], end: tuple[str, float],
    scenario: Scenario, palette: Palette = LIGHT,
) -> Figure:  # fmt: skip
    """Bars from the cost at the start, by what each change adds to it, to the cost at the end.

    Costs of an inference in USD, with what they are called. Names may be somebody's own.
    """
    rate = scenario.currency_per_usd * MILLION
    sign = SIGNS[scenario.currency]
    whole, bases = {0, len(changes) + 1}, [0.0]
    level = start[1] * rate
    for _, change in changes:
        bases.append(level)
        level += change * rate
    bases.append(0.0)
    rows = [start, *changes, end]
    names = [escape(_short(name)) for name, _ in rows]
    values = [usd * rate for _, usd in rows]
    high = 1.32 * max(b + max(v, 0.0) for b, v in zip(bases, values, strict=True))
    places = list(range(len(rows) - 1, -1, -1))
    colours = [
        palette.series[0 if row in whole else 2 if value <= 0 else 4]
        for row, value in enumerate(values)
    ]
    texts = [
        f"{'−' if value < 0 else '' if row in whole else '+'}{sign}{large(abs(value))}"
        for row, value in enumerate(values)
    ]
    bars = {
        "type": "bar", "orientation": "h", "name": "Cost", "width": 0.66, "y": places,
        "base": bases, "x": [float(f"{value:.6g}") for value in values],
        "marker": {"color": colours}, "hoverinfo": "text",
        "hovertext": [
            f"{escape(name)}: {text} per million"
            for (name, _), text in zip(rows, texts, strict=True)
        ],
    }  # fmt: skip
    ends = [
        base.Word(
            max(low, low + value), place, f" <b>{text}</b>" if row in whole else f" {text}",
            palette.ink,
        )
        for row, (place, text, value, low) in enumerate(
            zip(places, texts, values, bases, strict=True)
        )
    ]  # fmt: skip
    ticks = base.steps(high, 4)
    room = max(NARROW, round(LETTER * max(len(_short(name)) for name, _ in rows)) + 12)
    layout = base.layout(
        palette,
        height=ROW * len(rows) + 56,
        margin={"l": room, "r": 8, "t": 4, "b": 46},
        xaxis=base.axis(
            palette, range=[0, high], tickvals=ticks, ticktext=[large(tick) for tick in ticks],
            title={"text": f"{scenario.currency} per million inferences, {basis_text(scenario)}"},
        ),
        yaxis=base.axis(
            palette, range=[-0.6, len(rows) - 0.4], tickvals=places, ticktext=names,
            showgrid=False, showline=False,
        ),
    )  # fmt: skip
    return {"data": [bars, base.words(ends)], "layout": layout}


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def describe_steps(
    start: tuple[str, float], changes: Sequence[tuple[str, float]], end: tuple[str, float],
    scenario: Scenario,
) -> str:  # fmt: skip
    """The bars in words."""
    first, *parts, last = (
        f"{name} {money(usd * MILLION, scenario)}" for name, usd in (start, *changes, end)
    )
    return f"Cost per million inferences: {first}; changes: {', '.join(parts) or 'none'}; {last}."


def basis_text(scenario: Scenario) -> str:
    """Basis of the cost, in words."""
    return "fully loaded" if scenario.cost_basis == "loaded" else "marginal"
