"""What the cost is made of, now and after the next best change, in type for a projector."""

from __future__ import annotations

from typing import Any

from cpi_model.charts import base
from cpi_model.charts.base import LIGHT, Figure, Palette
from cpi_model.charts.whatif import share_text
from cpi_model.evaluate import Estimate
from cpi_model.export import SIGNS, large, money, percent
from cpi_model.studies.advice import Advised
from cpi_model.studies.answer import COMPONENTS
from cpi_model.units import MILLION

TYPE = 16
"""Size of all words. [px]"""
HEIGHT = 320
ONE_BAR_LESS = 70
"""What a figure without a second bar is lower. [px]"""


def now_and_next(found: Advised, palette: Palette = LIGHT) -> Figure:
    """Five components of the cost, now above after the next best change."""
    scenario = found.scenario
    rate, sign = scenario.currency_per_usd * MILLION, SIGNS[scenario.currency]
    rows = _rows(found)
    totals = [sum(parts.values()) * rate for parts in rows.values()]
    high = 1.3 * max(totals)
    places = list(range(len(rows) - 1, -1, -1))
    bars: list[dict[str, Any]] = []
    names = []
    for index, name in enumerate(COMPONENTS):
        values = [parts[name] * rate for parts in rows.values()]
        bars.append({
            "type": "bar", "orientation": "h", "name": name.capitalize(), "y": places,
            "x": [float(f"{value:.6g}") for value in values], "width": 0.62,
            "marker": {"color": palette.series[index]}, "hoverinfo": "text",
            "hovertext": [
                f"{name.capitalize()}: {sign}{large(value)} per million ({percent(value / total)})"
                for value, total in zip(values, totals, strict=True)
            ],
        })  # fmt: skip
        column, row = divmod(index, 3)
        names.append(base.Word(
            high * (0.01 + 0.5 * column), len(rows) + 1.1 - 0.5 * row,
            f" {name.capitalize()} {share_text(values[0] / totals[0])}", palette.ink, mark=13.0,
        ))  # fmt: skip
    legend = base.words(names)
    legend["marker"]["color"] = list(palette.series[: len(COMPONENTS)])
    ends = base.words([
        base.Word(total, place, f" <b>{sign}{large(total)}</b>", palette.ink)
        for total, place in zip(totals, places, strict=True)
    ])  # fmt: skip
    for trace in (legend, ends):
        trace["textfont"]["size"] = TYPE
    ticks = base.steps(high, 4)
    layout = base.layout(
        palette,
        height=HEIGHT - (0 if len(rows) > 1 else ONE_BAR_LESS),
        barmode="stack",
        margin={"l": 62, "r": 8, "t": 4, "b": 54},
        xaxis=base.axis(
            palette, range=[0, high], tickvals=ticks, ticktext=[large(tick) for tick in ticks],
            title={
                "text": f"{scenario.currency} per million, {_basis(found)}",
                "font": {"size": TYPE - 1, "color": palette.quiet},
            },
            tickfont={"size": TYPE - 1, "color": palette.quiet}, showgrid=False, ticks="outside",
            tickcolor=palette.grid,
        ),
        yaxis=base.axis(
            palette, range=[-0.5, len(rows) + 1.4], tickvals=places, ticktext=list(rows),
            tickfont={"size": TYPE, "color": palette.ink}, showgrid=False, showline=False,
        ),
    )  # fmt: skip
    return {"data": [*bars, legend, ends], "layout": layout}


def _basis(found: Advised) -> str:
    return "marginal" if found.scenario.cost_basis == "marginal" else "fully loaded"


def _rows(found: Advised) -> dict[str, dict[str, float]]:
    """Components of each bar. [USD]"""
    marginal = found.scenario.cost_basis == "marginal"

    def parts(estimate: Estimate) -> dict[str, float]:
        basis = "marginal_" if marginal else ""
        return {name: float(getattr(estimate, f"{basis}{name}_cost")) for name in COMPONENTS}

    rows = {"Now": parts(found.estimate)}
    if found.best is not None:
        rows["Then"] = parts(found.best.estimate)
    return rows


def describe_now_and_next(found: Advised) -> str:
    """The bars in words."""
    words = []
    for name, parts in _rows(found).items():
        total = sum(parts.values())
        shares = ", ".join(f"{part} {percent(cost / total)}" for part, cost in parts.items())
        words.append(f"{name} {money(total * MILLION, found.scenario)}, of which {shares}")
    change = f" Then: after the change to {found.best.step.text}." if found.best else ""
    return f"Bars of cost per million inferences, {_basis(found)}: {'; '.join(words)}.{change}"
