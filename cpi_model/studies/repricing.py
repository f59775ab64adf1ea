"""What a saved scenario comes to today, what moved since, and why.

With the figures of a day the numbers are kept that they were computed from. Today those are
exchanged for the present ones group by group, through today's formulas, so that what moved is split
into formulas, fitted coefficients, facts about models and hardware, and prices, without a rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any

import numpy as np

from cpi_model import __version__, links
from cpi_model.catalog import Catalog
from cpi_model.inputs import Inputs
from cpi_model.library import Priced, Revision
from cpi_model.scenario import Scenario
from cpi_model.studies import service
from cpi_model.studies.answer import Answer, answer, figures, known, summary
from cpi_model.studies.service import Service
from cpi_model.units import MILLION, PERCENT

HEADLINE: dict[str, str] = {
    "cost_per_1m_inferences_usd": "Cost per million inferences",
    "marginal_cost_per_inference_usd": "Marginal cost per inference",
    "cost_per_million_output_tokens_usd": "Cost per million output tokens",
    "monthly_cost_usd": "Cost per month",
    "latency_p95_ms": "Latency, p95",
    "ttft_ms": "Time to first token",
    "tpot_ms": "Time per output token",
    "throughput_per_s": "Throughput of a replica",
    "utilisation": "Utilisation",
    "replicas": "Replicas",
    "instances": "Instances",
    "energy_wh": "Energy per inference",
    "carbon_g": "Carbon per inference",
}
"""Figures that are kept and compared, by their names in JSON."""
COST = "cost_per_1m_inferences_usd"
SPEED = "throughput_per_s"
UNMOVED = 1e-6
"""Relative differences that come from another processor, not from another fact."""

_NAMES = tuple(field.name for field in fields(Inputs))
COEFFICIENTS = frozenset(_NAMES[_NAMES.index("exponent") : _NAMES.index("instance_price")])
PRICES = frozenset(
    {name for name in _NAMES if name.endswith("_price")}
    | {"devices_per_instance", "memory_price_share"}
)
"""The cheapest instance is bought, so which one that is counts as price."""
GROUPS: dict[str, frozenset[str]] = {
    "coefficients": COEFFICIENTS,
    "facts": frozenset(_NAMES) - COEFFICIENTS - PRICES,
    "prices": PRICES,
}


@dataclass(frozen=True)
class Moved:
    """One figure then and now; NaN where it was or is not known."""

    figure: str
    title: str
    then: float
    now: float

    @property
    def change(self) -> float:
        """Relative to then; NaN where one of them is unknown, or then was nothing."""
        if self.then == self.now:
            return 0.0
        return self.now / self.then - 1.0 if self.then else math.nan


@dataclass(frozen=True)
class Cause:
    """What one group of changes did, after those before it, as a share of what was before."""

    id: str
    """``formulas``, or one of :data:`GROUPS`."""
    cost: float
    speed: float


@dataclass(frozen=True)
class Repriced:
    """A saved scenario today."""

    revision: Revision
    scenario: Scenario
    problems: tuple[str, ...]
    """Parts of its link that can no longer be read."""
    answer: Answer
    moved: tuple[Moved, ...]
    causes: tuple[Cause, ...]
    """Empty where it could not be then, or cannot be now."""
    price: Mapping[str, Any] | None
    """Of one instance today, as :attr:`Priced.price` was then."""

    def of(self, figure: str) -> Moved:
        """One of the figures."""
        return next(moved for moved in self.moved if moved.figure == figure)


def priced(result: Answer, catalog: Catalog) -> Priced:
    """A scenario with what it comes to today, to be kept."""
    document = summary(result)
    kept = {name: document[name] for name in HEADLINE}
    return Priced(
        link=links.encode(result.scenario),
        figures=kept | {
            "feasible": result.feasible, "reasons": document["reasons"],
            "likely_cost_per_1m_inferences_usd": document["bands"][COST],
        },
        numbers={} if result.service is None else _numbers(result.service),
        price=document["price"],
        catalog_date=_newest(catalog),
        version=__version__,
    )  # fmt: skip


def _newest(catalog: Catalog) -> date:
    """Day of the newest price."""
    days = [price.valid_from for price in catalog.instance_prices]
    days += [price.valid_from for price in catalog.api_prices]
    days += [price.valid_from for price in catalog.service_prices]
    return max(days)


def reprice(revision: Revision, catalog: Catalog) -> Repriced:
    """A saved scenario on today's prices, coefficients and formulas."""
    scenario, problems = links.decode(revision.priced.link)
    result = answer(scenario, catalog)
    then, now = revision.priced.figures, figures(result.estimate if result.feasible else None)
    moved = tuple(
        Moved(name, title, _figure(then.get(name)), _figure(now[name]))
        for name, title in HEADLINE.items()
    )
    return Repriced(
        revision, scenario, tuple(problems), result, moved, _causes(revision.priced, result),
        summary(result)["price"],
    )  # fmt: skip


def _figure(value: object) -> float:
    """A figure of JSON, where unknown is null."""
    if value is None or isinstance(value, bool):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _numbers(whole: Service) -> dict[str, Any]:
    def plain(inputs: Inputs) -> dict[str, float]:
        return {name: float(getattr(inputs, name)) for name in _NAMES}

    return {
        "model": plain(whole.model), "first": None if whole.first is None else plain(whole.first),
        "passed_on": float(whole.passed_on),
    }  # fmt: skip


def _restored(numbers: Mapping[str, Any], now: Service) -> Service | None:
    """The numbers of then; a field that did not exist then stands at what it is now."""

    def inputs(part: object, today: Inputs) -> Inputs:
        given = part if isinstance(part, Mapping) else {}
        values = {name: _figure(given[name]) for name in _NAMES if name in given}
        return replace(today, **values)

    if not isinstance(numbers.get("model"), Mapping):
        return None
    first = None if now.first is None else inputs(numbers.get("first"), now.first)
    passed_on = _figure(numbers.get("passed_on", now.passed_on))
    return replace(now, model=inputs(numbers["model"], now.model), first=first, passed_on=passed_on)


def _causes(saved: Priced, result: Answer) -> tuple[Cause, ...]:
    """What moved cost and speed: today's formulas, and then one group of numbers after another."""
    if result.service is None or not result.feasible or not saved.figures.get("feasible"):
        return ()
    step = _restored(saved.numbers, result.service)
    if step is None:
        return ()
    steps = [step]
    for names in GROUPS.values():
        step = _exchanged(step, result.service, names)
        steps.append(step)
    try:
        estimate = service.estimate(service.together(steps))
    except ValueError:  # numbers that today's formulas refuse
        return ()

    def along(figure: str, scale: float, then: object) -> list[float]:
        values = np.broadcast_to(np.asarray(getattr(estimate, figure)) * scale, len(steps))
        return [_figure(then), *map(float, values)]

    cost = along("cost_per_inference", MILLION, saved.figures.get(COST))
    speed = along("throughput", 1.0, saved.figures.get(SPEED))
    if not all(map(math.isfinite, (*cost, *speed))):
        return ()
    return tuple(
        Cause(id, _relative(cost, index), _relative(speed, index))
        for index, id in enumerate(("formulas", *GROUPS))
    )


def _exchanged(step: Service, today: Service, names: frozenset[str]) -> Service:
    """The same with some numbers of today."""

    def inputs(old: Inputs, new: Inputs) -> Inputs:
        return replace(old, **{name: getattr(new, name) for name in names})

    first = None if step.first is None or today.first is None else inputs(step.first, today.first)
    return replace(step, model=inputs(step.model, today.model), first=first)


def _relative(values: list[float], index: int) -> float:
    before, after = values[index], values[index + 1]
    change = after / before - 1.0 if before else math.nan
    return 0.0 if abs(change) < UNMOVED else change


# In words -----------------------------------------------------------------------------------------

WHY = {
    "formulas": "formulas (version {version}, saved with {then})",
    "coefficients": "coefficients fitted anew",
    "facts": "what is known of the model, the hardware and its instance",
    "prices": "prices since then",
}


def why(found: Repriced) -> str:
    """What moved the cost and the speed, in a sentence or two; empty where it cannot be said.

    Shares follow each other: each is of what stands after the ones before it.
    """
    saved = found.revision.priced
    if not found.answer.feasible:
        then = "" if saved.figures.get("feasible") else " It could not then either."
        return "Today this cannot work: " + " ".join(found.answer.reasons) + then
    if not saved.figures.get("feasible"):
        return "When it was saved this could not work; today it does."
    if not found.causes:
        return "What it was computed from cannot be used any more: the reasons are not known."
    words = {
        id: text.format(version=__version__, then=saved.version) for id, text in WHY.items()
    }  # fmt: skip
    parts = []
    for name, moved, of in (("cost", found.of(COST), "cost"), ("speed", found.of(SPEED), "speed")):
        causes = [
            f"{signed(getattr(cause, of))} by {words[cause.id]}"
            for cause in found.causes
            if getattr(cause, of)
        ]
        if causes and abs(moved.change) >= UNMOVED:
            parts.append(f"The {name} moved by {signed(moved.change)}: {', '.join(causes)}.")
        elif causes:
            parts.append(f"The {name} is the same, for changes cancel: {', '.join(causes)}.")
    if not parts:
        return "Nothing moved: prices, coefficients and formulas say the same."
    if any(cause.id == "prices" and cause.cost for cause in found.causes):
        parts.append(price_sentence(saved.price, found.price))
    return " ".join(part for part in parts if part)


def signed(share: float) -> str:
    """A change in per cent, with its sign and as many digits as it needs.

    >>> signed(0.1234), signed(-0.00012), signed(2.5), signed(0.0)
    ('+12.3 %', '−0.012 %', '+250 %', '0 %')
    """
    if not share:
        return "0 %"
    sign = "+" if share > 0 else "−"
    percent = float(f"{abs(share) / PERCENT:.3g}")
    return f"{sign}{percent:,.10f}".rstrip("0").rstrip(".") + " %"


def price_sentence(then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    """The instance and its price then and now, where they differ."""

    def told(price: Mapping[str, Any] | None) -> str:
        if not price or known(_figure(price.get("usd_per_hour"))) is None:
            return "no known price"
        of = f", of {price['valid_from']}" if price.get("valid_from") else ", entered by hand"
        where = " in ".join(str(price[key]) for key in ("instance", "region") if price.get(key))
        hourly = f"{float(price['usd_per_hour']):,.4g} USD/h"
        return f"{where} at {hourly}{of}" if where else f"{hourly}{of}"

    before, after = told(then), told(now)
    return "" if before == after else f"Then {before}; now {after}."
