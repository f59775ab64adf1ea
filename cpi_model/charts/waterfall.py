"""From one amount to another, change by change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def waterfall(
    start: tuple[str, float],
    changes: Sequence[tuple[str, float]],
    end: tuple[str, float],
    title: str,
    amount: Callable[[float], str],
    palette: Palette,
    hover: Sequence[str] = (),
) -> Figure:
    """Bars from a start to an end; `amount` writes a figure, `hover` says more of each bar.

    Names may be somebody's own.
    """
    level, bases = start[1], [0.0]
    for _, change in changes:
        bases.append(level)
        level += change
    bases.append(0.0)
    short = [base.cut(name, LONGEST_NAME) for name, _ in (start, *changes, end)]
    names = [escape(name) for name in short]
    values = [start[1], *(change for _, change in changes), end[1]]
    high = 1.32 * max(low + max(value, 0.0) for low, value in zip(bases, values, strict=True))
    places = list(range(len(names) - 1, -1, -1))
    whole, less, more = palette.series[0], palette.series[2], palette.series[4]
    colours = [whole, *(less if change <= 0 else more for _, change in changes), whole]
    signed = [
        amount(values[0]),
        *(("−" if change < 0 else "+") + amount(abs(change)) for _, change in changes),
        amount(values[-1]),
    ]
    bars = {
        "type": "bar", "orientation": "h", "name": "Cost", "width": 0.66, "y": places,
        "base": bases, "x": [float(f"{value:.6g}") for value in values],
        "marker": {"color": colours}, "hoverinfo": "text",
        "hovertext": list(hover) or [
            f"{name}: {text}" for name, text in zip(names, signed, strict=True)
        ],
    }  # fmt: skip
    bold = (0, len(names) - 1)
    ends = [
        base.Word(
            max(low, low + value), place, f" <b>{text}</b>" if at in bold else f" {text}",
            palette.ink,
        )
        for at, (place, value, low, text) in enumerate(
            zip(places, values, bases, signed, strict=True)
        )
    ]  # fmt: skip
    ticks = base.steps(high, 4)
    longest = max(map(len, short))
    layout = base.layout(
        palette,
        height=ROW * len(names) + 56,
        margin={"l": max(NARROW, round(LETTER * longest) + 12), "r": 8, "t": 4, "b": 46},
        xaxis=base.axis(
            palette, range=[0, high], tickvals=ticks, ticktext=[large(tick) for tick in ticks],
            title={"text": title},
        ),
        yaxis=base.axis(
            palette, range=[-0.6, len(names) - 0.4], tickvals=places, ticktext=names,
            showgrid=False, showline=False,
        ),
    )  # fmt: skip
    return {"data": [bars, base.words(ends)], "layout": layout}


def steps(
    start: tuple[str, float], changes: Sequence[tuple[str, float]], end: tuple[str, float],
    scenario: Scenario, palette: Palette = LIGHT,
) -> Figure:  # fmt: skip
    """Bars from the cost of an inference at the start, by what each change adds, to the end.

    In USD, with what each is called.
    """
    rate, sign = scenario.currency_per_usd * MILLION, SIGNS[scenario.currency]
    title = f"{scenario.currency} per million inferences, {basis_text(scenario)}"
    return waterfall(
        (start[0], start[1] * rate), [(name, usd * rate) for name, usd in changes],
        (end[0], end[1] * rate), title, lambda value: f"{sign}{large(value)}", palette,
    )  # fmt: skip


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
