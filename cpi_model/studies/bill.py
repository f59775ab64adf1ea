"""The monthly bill of a scenario, taken apart by what each part of it moves with.

Every part is linear in the price of an instance, the number of instances and the requests, as long
as the others stay. So the model is asked again with one of them free of charge, and what is missing
then is what moves with it: no formula is written a second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cpi_model.evaluate import Estimate
from cpi_model.inputs import Inputs
from cpi_model.studies import service
from cpi_model.studies.answer import COMPONENTS, Answer
from cpi_model.studies.service import Service
from cpi_model.units import HOUR, MONTH

PER_REQUEST = ("request_bytes", "response_bytes", "log_bytes", "lookup_price")
"""Without them a request costs nothing beside the instances."""
PER_INSTANCE = ("monitoring_price", "storage_price")
"""What is paid for each instance beside its price."""


@dataclass(frozen=True)
class Deployment:
    """Instances of one model, and what a month of them costs by component."""

    model: str
    instance: str
    """Id of the instance; empty where the price is the user's own."""
    instances: float
    usd_per_hour: float
    """Of one instance, after discounts and the like."""
    load_at_peak: float
    """Busiest load over what its replicas can serve."""
    rent_share: Mapping[str, float]
    """By component, of each USD of rent; a rate for agents and the platform makes it over 1."""
    usd_per_instance_month: Mapping[str, float]


@dataclass(frozen=True)
class Bill:
    """A month, by component and by what it moves with. [USD]"""

    requests_per_s: float
    success_share: float
    deployments: tuple[Deployment, ...]
    """One, or the large and the small model of a cascade."""
    usd_per_request: Mapping[str, float]
    fixed_usd: Mapping[str, float]
    total_usd: float

    def month(self) -> dict[str, float]:
        """Components of a month, put together again. [USD]"""
        requests = self.requests_per_s * MONTH
        return {
            name: self.fixed_usd[name]
            + requests * self.usd_per_request[name]
            + sum(
                each.instances
                * (
                    each.usd_per_hour * MONTH / HOUR * each.rent_share[name]
                    + each.usd_per_instance_month[name]
                )
                for each in self.deployments
            )
            for name in COMPONENTS
        }


def of(answer: Answer) -> Bill | None:
    """The bill of a scenario; None where it cannot work."""
    whole, estimate = answer.service, answer.estimate
    if whole is None or estimate is None or not answer.feasible:
        return None
    parts = answer.parts
    cases = [whole, service.changed(whole, **dict.fromkeys(PER_REQUEST, 0.0))]
    for place, (inputs, _) in enumerate(parts):
        # A price of nothing would not show what rent is spread over.
        rented = float(inputs.instance_price) or 1.0 / HOUR
        cases += [
            _changed(whole, place, instance_price=rented),
            _changed(whole, place, instance_price=0.0),
            _changed(whole, place, **dict.fromkeys(PER_INSTANCE, 0.0)),
        ]
    found = service.estimate(service.together(cases))
    # Every request reaches the first model of a cascade.
    reached = parts[-1][0]
    requests, share = float(reached.requests_per_s), float(reached.success_share)
    months = [
        {name: float(getattr(found, f"{name}_cost")[case]) * requests * share * MONTH
         for name in COMPONENTS}
        for case in range(len(cases))
    ]  # fmt: skip
    as_it_is, idle = months[:2]
    fixed = dict(idle)
    deployments = []
    for place, (inputs, its) in enumerate(parts):
        rented_month, free, bare = months[2 + 3 * place : 5 + 3 * place]
        count, price = float(its.instances), float(inputs.instance_price)
        rent = count * (price or 1.0 / HOUR) * MONTH
        rent_share = {
            name: _clean((rented_month[name] - free[name]) / rent, 1.0) for name in COMPONENTS
        }
        each = {
            name: _clean((as_it_is[name] - bare[name]) / count, as_it_is[name] / count)
            for name in COMPONENTS
        }
        for name in COMPONENTS:
            fixed[name] -= count * (price * MONTH * rent_share[name] + each[name])
        deployments.append(Deployment(
            *_named(answer, place), instances=count, usd_per_hour=price * HOUR,
            load_at_peak=_load_at_peak(inputs, its), rent_share=rent_share,
            usd_per_instance_month=each,
        ))  # fmt: skip
    return Bill(
        requests_per_s=requests,
        success_share=share,
        deployments=tuple(deployments),
        usd_per_request={
            name: _clean(
                (as_it_is[name] - idle[name]) / (requests * MONTH),
                as_it_is[name] / (requests * MONTH),
            )
            for name in COMPONENTS
        },
        fixed_usd={name: _clean(fixed[name], as_it_is[name]) for name in COMPONENTS},
        total_usd=float(estimate.cost_rate) * MONTH,
    )


DIGITS = 12
"""Significant digits of a part: the rest is what differences of large figures leave behind."""


def _clean(part: float, whole: float) -> float:
    """A difference without its rounding; zero where nothing else is left of it."""
    return 0.0 if abs(part) <= abs(whole) * 10.0**-DIGITS else float(f"{part:.{DIGITS}g}")


def _changed(whole: Service, place: int, **numbers: Any) -> Service:
    """With other numbers of one deployment: 0 is the named model, 1 the first of a cascade."""
    if place == 0:
        return replace(whole, model=replace(whole.model, **numbers))
    assert whole.first is not None
    return replace(whole, first=replace(whole.first, **numbers))


def _named(answer: Answer, place: int) -> tuple[str, str]:
    """Model and instance of a deployment."""
    assert answer.choice is not None and answer.service is not None
    choice = answer.choice
    if place == 1 and answer.service.first_choice is not None:
        choice = answer.service.first_choice
    return choice.model.name, "" if choice.instance is None else choice.instance.id


def _load_at_peak(inputs: Inputs, estimate: Estimate) -> float:
    load = float(inputs.requests_per_s) * (1.0 - float(inputs.answer_hit_share))
    capacity = float(estimate.peak_replicas) * float(estimate.throughput)
    return load * float(inputs.peak_to_mean) / capacity
