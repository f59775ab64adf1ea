"""What moves the cost of an inference most: every numeric field a step down and a step up.

All fields move by one rule, so that they can be compared (:func:`neighbours`); how far is a field
of the scenario. The others stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cpi_model.catalog import Catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate
from cpi_model.inputs import Choice, ImpossibleChoice, choose
from cpi_model.scenario import FIELDS, FieldInfo, Scenario
from cpi_model.studies import service, sweep
from cpi_model.studies.answer import known
from cpi_model.studies.options import DOUBLING, plays_a_part
from cpi_model.studies.service import Service
from cpi_model.units import Array

MOST_SHOWN = 10
POINTS = 0.5
"""Points that a share moves, over the share by which a number moves.

At a share of one half both are the same step.
"""
PRICE = "device_price_usd_per_hour"
OFF_AT_ONE = {"pipeline_parallel", "data_parallel", "expert_parallel"}
"""Ways to use more devices that stay off where they are: tensor parallel speaks for all."""
NO_CHANGE = 1e-9
"""A smaller change of the cost, over the cost, is rounding."""


@dataclass(frozen=True)
class End:
    """A field at one of its neighbours."""

    value: float
    cost: float
    """Of an inference; NaN where it cannot be. [USD]"""
    reason: str = ""
    """Why it cannot be."""


@dataclass(frozen=True)
class Bar:
    """One field: what it is, and the cost of an inference a step below and above."""

    info: FieldInfo
    title: str
    value: float
    low: End | None
    """None where the field is at its limit already."""
    high: End | None
    span: float
    """Between the dearest and the cheapest of the three, this scenario included. [USD]"""


@dataclass(frozen=True)
class Tornado:
    """Every numeric field that can move the cost, the strongest first."""

    cost: float
    """Of an inference, on the basis that the scenario shows. [USD]"""
    bars: tuple[Bar, ...]

    @property
    def strongest(self) -> tuple[Bar, ...]:
        """Those that are shown."""
        return tuple(bar for bar in self.bars[:MOST_SHOWN] if bar.span > NO_CHANGE * self.cost)

    @property
    def impossible(self) -> list[tuple[Bar, End]]:
        """Neighbours that cannot be."""
        return [
            (bar, end) for bar in self.bars for end in (bar.low, bar.high) if end and end.reason
        ]


def neighbours(info: FieldInfo, value: float, swing: float) -> tuple[float, float]:
    """A step below and a step above a value, within the limits of its field.

    >>> neighbours(FIELDS["input_tokens"], 1000, 0.2)
    (800, 1200)
    >>> neighbours(FIELDS["target_utilisation"], 0.7, 0.2)
    (0.6, 0.8)
    >>> neighbours(FIELDS["tensor_parallel"], 1, 0.2), neighbours(FIELDS["min_replicas"], 1, 0.2)
    ((1, 2), (0, 2))
    """
    if info.unit in DOUBLING:
        low, high = value / 2, value * 2
    elif info.unit == "share":
        low, high = value - POINTS * swing, value + POINTS * swing
    else:
        low, high = value * (1.0 - swing), value * (1.0 + swing)
        if info.kind == "int":
            low, high = min(low, value - 1), max(high, value + 1)
    low = max(low, -math.inf if info.minimum is None else info.minimum)
    high = min(high, math.inf if info.maximum is None else info.maximum)
    if info.kind == "int":
        return round(low), round(high)
    # Twelve digits rid a step such as 0.7 + 0.1 of its binary tail.
    return float(f"{low:.12g}"), float(f"{high:.12g}")


def tornado(scenario: Scenario, catalog: Catalog) -> Tornado:
    """Move every numeric field of a scenario that works, in one call of the model.

    Raises
    ------
    ImpossibleChoice
        If the scenario names what does not exist or go together.
    ValueError
        If the scenario cannot work; the message is a sentence.
    """
    choice = choose(scenario, catalog)
    base = service.resolve(scenario, choice, catalog, coefficients())
    services, refused = [base], dict[tuple[str, float], str]()
    places: dict[tuple[str, float], int] = {}
    # Most fields become one number of the inputs: only the others are looked up again.
    numbers: dict[str, dict[int, float]] = {}
    fields = list(_moved(scenario, choice, catalog))
    for info, value, ends in fields:
        for end in ends:
            if end == value:
                continue
            place = len(services)
            if (one := sweep.direct(info.name, scenario)) is not None:
                name, unit = one
                numbers.setdefault(name, {})[place] = end * unit
                services.append(base)
            else:
                try:
                    services.append(_looked_up(scenario, info, value, end, catalog))
                except ImpossibleChoice as impossible:
                    refused[info.name, end] = str(impossible)
                    continue
            places[info.name, end] = place
    whole = service.together(services)
    columns = {}
    for name, changed in numbers.items():
        columns[name] = np.full(len(services), getattr(whole.model, name), dtype=float)
        columns[name][list(changed)] = list(changed.values())
    estimate = service.estimate(service.changed(whole, **columns))
    costs, bits = _costs(scenario, estimate), np.asarray(estimate.obstacles)
    if bits[0]:
        raise ValueError(f"This cannot work: {sweep.obstacles_in_words(int(bits[0]))}.")

    def at(info: FieldInfo, value: float, end: float) -> End | None:
        if end == value:
            return None
        if reason := refused.get((info.name, end)):
            return End(end, math.nan, reason)
        place = places[info.name, end]
        if words := sweep.obstacles_in_words(int(bits[place])):
            return End(end, math.nan, f"{words[0].upper()}{words[1:]}.")
        return End(end, float(costs[place]))

    cost, bars = float(costs[0]), []
    for info, value, (low, high) in fields:
        below, above = at(info, value, low), at(info, value, high)
        three = [cost, *(end.cost for end in (below, above) if end and not end.reason)]
        title = PRICE_TITLE if info.name == PRICE else info.title
        bars.append(Bar(info, title, value, below, above, max(three) - min(three)))
    bars.sort(key=lambda bar: -bar.span)
    return Tornado(cost, tuple(bars))


PRICE_TITLE = "Price per device"


def _moved(
    scenario: Scenario, choice: Choice, catalog: Catalog
) -> Iterator[tuple[FieldInfo, float, tuple[float, float]]]:
    """Numeric fields that play a part in the cost, their values and neighbours."""
    for name, info in FIELDS.items():
        numeric = info.kind in ("int", "float") and info.group != "display"
        if not numeric or not plays_a_part(name, scenario, catalog):
            continue
        value = getattr(scenario, name)
        if name == PRICE and value is None and choice.price is not None:
            count = choice.instance.accelerator_count if choice.instance else 1.0
            value = choice.price.usd_per_hour / count
        # What is empty is found by the model and follows the others.
        if value is None or (name in OFF_AT_ONE and value == 1):
            continue
        ends = neighbours(info, value, scenario.swing)
        if ends != (value, value):
            yield info, value, ends


def _looked_up(
    scenario: Scenario, info: FieldInfo, value: float, end: float, catalog: Catalog
) -> Service:
    """Numbers of a scenario with another value of one field."""
    if info.name == PRICE and getattr(scenario, PRICE) is None:
        # All prices of the chip move together, so that the same offer stays the cheapest.
        catalog = _priced(scenario.accelerator, end / value, catalog)
    else:
        scenario = scenario.model_copy(update={info.name: end})
    return service.resolve(scenario, choose(scenario, catalog), catalog, coefficients())


def _priced(accelerator: str, factor: float, catalog: Catalog) -> Catalog:
    """The catalog with every price of the instances of a chip multiplied."""
    prices = {
        instance.id: tuple(
            price.model_copy(update={"usd_per_hour": factor * price.usd_per_hour})
            for price in catalog.prices_of.get(instance.id, ())
        )
        for instance in catalog.instances_of.get(accelerator, ())
    }
    return replace(catalog, prices_of={**catalog.prices_of, **prices})


def _costs(scenario: Scenario, estimate: Estimate) -> Array:
    """Cost of an inference on the basis that a scenario shows. [USD]"""
    if scenario.cost_basis == "marginal":
        return np.asarray(estimate.marginal_cost_per_inference)
    return np.asarray(estimate.cost_per_inference)


def summary(found: Tornado, scenario: Scenario) -> dict[str, object]:
    """The sensitivity as plain values for JSON, money in USD."""

    def end(which: End | None) -> dict[str, object] | None:
        if which is None:
            return None
        change = known(which.cost / found.cost - 1.0)
        return {
            "value": which.value, "cost_per_inference_usd": known(which.cost),
            "change_share": change, "reason": which.reason or None,
        }  # fmt: skip

    return {
        "basis": scenario.cost_basis,
        "swing": scenario.swing,
        "cost_per_inference_usd": found.cost,
        "fields": [
            {
                "field": bar.info.name, "title": bar.title, "unit": bar.info.unit,
                "value": bar.value, "low": end(bar.low), "high": end(bar.high),
                "span_usd": bar.span,
            }
            for bar in found.bars
        ],
    }  # fmt: skip
