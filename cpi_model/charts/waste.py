"""Figures of what is paid for nothing: of a scenario, and of a fleet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cpi_model.charts import base
from cpi_model.charts.base import LIGHT, Figure, Palette
from cpi_model.charts.waterfall import ROW, waterfall
from cpi_model.export import SIGNS, large, money, percent
from cpi_model.scenario import Scenario
from cpi_model.studies.fleet import Costs
from cpi_model.studies.waste import Bridge
from cpi_model.units import MILLION

MOST_GROUPS = 12
LONGEST_NAME = 22
"""Characters of a name beside a bar."""


def waste(found: Bridge, scenario: Scenario, palette: Palette = LIGHT) -> Figure:
    """A month's cost from what the load needs to what is paid, by kind of waste."""
    rate, sign = scenario.currency_per_usd, SIGNS[scenario.currency]
    needed, paid = found.perfect * found.per_month, found.real * found.per_month
    # Towards what is paid: the kind that is switched off last comes first.
    parts = found.parts[::-1]
    rows = [("Needed", needed, found.perfect), ("Paid", paid, found.real)]
    rows[1:1] = [(part.kind.title, part.monthly, part.each) for part in parts]
    return waterfall(
        ("Needed", needed * rate), [(part.kind.title, part.monthly * rate) for part in parts],
        ("Paid", paid * rate), f"{scenario.currency} a month, fully loaded",
        lambda value: f"{sign}{large(value)}", palette,
        [
            f"{title}: {money(monthly, scenario)} a month<br>"
            f"{money(each * MILLION, scenario)} per million inferences"
            for title, monthly, each in rows
        ],
    )  # fmt: skip


def describe_waste(found: Bridge, scenario: Scenario) -> str:
    """The bridge in words."""
    parts = ", ".join(
        f"{part.kind.title} {money(part.monthly, scenario)}" for part in found.parts[::-1]
    )
    return (
        f"Of {money(found.real * found.per_month, scenario)} a month the load needs "
        f"{money(found.perfect * found.per_month, scenario)}. Waste: {parts or 'none'}."
    )


def short(name: str) -> str:
    """A name of somebody's table, to stand beside a bar: nothing in it is markup."""
    text = "".join(c if c.isprintable() else " " for c in name) or "(none)"
    return escape(base.cut(text, LONGEST_NAME))


def fleet(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], scenario: Scenario,
    palette: Palette = LIGHT,
) -> Figure:  # fmt: skip
    """Cost of the dearest groups of a fleet: worked, idle, nobody's; with that of an inference."""
    rate = scenario.currency_per_usd
    shown = list(zip(rows, names, strict=True))[:MOST_GROUPS]
    places = list(range(len(shown) - 1, -1, -1))
    totals = [float(row["cost"]) * rate for row, _ in shown]
    idle = [float(row["idle"]) * rate for row, _ in shown]
    high = 1.6 * max([*totals, 1e-9])
    texts = [
        f"{short(name)}: {money(float(row['cost']), scenario)}, of which "
        f"{money(float(row['idle']), scenario)} idle"
        for row, name in shown
    ]
    worked = [total - part for total, part in zip(totals, idle, strict=True)]
    traces: list[dict[str, Any]] = [
        {
            "type": "bar", "orientation": "h", "name": name, "width": 0.66, "y": places,
            "x": [float(f"{value:.6g}") for value in values],
            "marker": {"color": colour}, "hoverinfo": "text", "hovertext": texts,
        }
        for name, values, colour in (
            ("Worked", worked, palette.series[0]), ("Idle", idle, palette.series[1]),
        )
    ]  # fmt: skip
    ends = [
        base.Word(total, place, f" {_each(row, scenario)}", palette.ink)
        for place, (row, _), total in zip(places, shown, totals, strict=True)
    ]
    ticks = base.steps(high, 4)
    layout = base.layout(
        palette,
        height=ROW * max(len(shown), 1) + 56,
        barmode="stack",
        margin={"l": 156, "r": 8, "t": 4, "b": 46},
        xaxis=base.axis(
            palette, range=[0, high], tickvals=ticks, ticktext=[large(tick) for tick in ticks],
            title={"text": f"{scenario.currency}; blue worked, yellow idle"},
        ),
        yaxis=base.axis(
            palette, range=[-0.6, max(len(shown), 1) - 0.4], tickvals=places,
            ticktext=[short(name) for _, name in shown], showgrid=False, showline=False,
        ),
    )  # fmt: skip
    return {"data": [*traces, base.words(ends)], "layout": layout}


def _each(row: Mapping[str, Any], scenario: Scenario) -> str:
    each = float(row["each"])
    if math.isnan(each):
        return "unknown" if row["partial"] or row["requests"] != 0 else "no requests"
    return money(each * MILLION, scenario)


def describe_fleet(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], found: Costs, scenario: Scenario
) -> str:
    """The dearest groups in words."""
    parts = ", ".join(
        f"{short(name)} {money(float(row['cost']), scenario)}"
        for row, name in list(zip(rows, names, strict=True))[:MOST_GROUPS]
    )
    idle = float(found.idle / found.total) if found.total else 0.0
    return f"Cost by group: {parts}. {percent(idle)} of all cost is idle."
