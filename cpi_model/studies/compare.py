"""Scenarios beside each other: what differs, what it comes to, why, and how sure that is.

What the viewer chose about the display, the basis of cost included, holds for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from cpi_model import links
from cpi_model.catalog import Catalog
from cpi_model.coefficients import coefficients
from cpi_model.inputs import ImpossibleChoice, choose
from cpi_model.links import Named
from cpi_model.scenario import FIELDS, FieldInfo, Scenario, shown_as
from cpi_model.studies import attribution, bands, service, sweep
from cpi_model.studies.answer import Answer, answer, known, summary
from cpi_model.studies.attribution import Costs, Part
from cpi_model.studies.bands import Band
from cpi_model.studies.compression import LEVERS
from cpi_model.studies.options import plays_a_part
from cpi_model.units import GB, MILLION, MONTH, WATT_HOUR, Array


@dataclass(frozen=True)
class Group:
    """Fields that make sense together only, and what a change of several is called."""

    title: str
    fields: tuple[str, ...]


GROUPS = (
    Group("Hardware", (
        "accelerator", "instance", "cloud", "region", "tensor_parallel", "pipeline_parallel",
        "data_parallel", "expert_parallel",
    )),
    *(Group(lever.title, lever.fields) for lever in LEVERS if len(lever.fields) > 1),
    Group("Batching", ("batching", "batch_wait_ms", "prefill_chunk_tokens", "prefill_replicas")),
    Group("Replicas", (
        "scaling", "fixed_replicas", "min_replicas", "spare_replicas", "scaling_lag_share",
    )),
    Group("Purchase option", (
        "purchase", "spot_overhead_share", "spot_interruptions_per_month", "spot_restart_minutes",
        "spot_lost_minutes", "spot_fallback_share", "unused_commitment_share",
    )),
)  # fmt: skip
"""Every other field stands alone."""

Kind = Literal["money", "duration", "share", "rate", "number"]


@dataclass(frozen=True)
class Figure:
    """A figure of the estimate that scenarios are compared by."""

    id: str
    title: str
    kind: Kind
    scale: float = 1.0


FIGURES = (
    Figure("cost_per_inference", "Cost per inference", "money"),
    Figure("marginal_cost_per_inference", "Marginal cost per inference", "money"),
    Figure("cost_per_inference", "Per million inferences", "money", MILLION),
    Figure("cost_per_good_inference", "Per million within limits", "money", MILLION),
    Figure("output_token_cost", "Per million output tokens", "money", MILLION),
    Figure("cost_rate", "Cost per month", "money", MONTH),
    Figure("latency_p95", "Latency, p95", "duration"),
    Figure("latency_mean", "Latency, mean", "duration"),
    Figure("ttft", "Time to first token", "duration"),
    Figure("tpot", "Time per token", "duration"),
    Figure("good_share", "Within limits", "share"),
    Figure("throughput", "Throughput of a replica", "rate"),
    Figure("utilisation", "Utilisation", "share"),
    Figure("replicas", "Replicas", "number"),
    Figure("instances", "Instances", "number"),
    Figure("weight_memory", "Weights on a device, GB", "number", 1 / GB),
    Figure("energy", "Energy per inference, Wh", "number", 1 / WATT_HOUR),
    Figure("carbon", "Carbon per inference, g", "number"),
)


@dataclass(frozen=True)
class Compared:
    """One of the scenarios, answered."""

    letter: str
    name: str
    answer: Answer
    likely: Mapping[str, Band | None]

    @property
    def label(self) -> str:
        """Letter and name, in a few words."""
        return f"{self.letter} · {self.name}" if self.name else self.letter

    @property
    def scenario(self) -> Scenario:
        """With the display of the viewer."""
        return self.answer.scenario

    def figure(self, figure: Figure) -> float:
        """NaN where the scenario cannot work or has no such figure."""
        if not self.answer.feasible:
            return math.nan
        return float(getattr(self.answer.estimate, figure.id)) * figure.scale

    @property
    def cost(self) -> float:
        """Of an inference, on the basis that is shown. [USD]"""
        return self.figure(cost_figure(self.scenario))


def cost_figure(scenario: Scenario) -> Figure:
    """Cost of an inference on the basis that a scenario shows."""
    return FIGURES[1 if scenario.cost_basis == "marginal" else 0]


@dataclass(frozen=True)
class Difference:
    """A field that is not the same in all."""

    info: FieldInfo
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Bridge:
    """From the cost of one scenario to that of another, change by change."""

    start: float
    """Cost of an inference. [USD]"""
    parts: tuple[Part, ...]
    """Named by the titles of what changes, in the order in which it is changed."""
    end: float

    @property
    def moving(self) -> tuple[Part, ...]:
        """Parts that move the cost."""
        return tuple(part for part in self.parts if not self._still(part))

    @property
    def still(self) -> tuple[str, ...]:
        """Titles of changes that do not."""
        return tuple(name for part in self.parts if self._still(part) for name in part.names)

    def _still(self, part: Part) -> bool:
        return abs(part.change) <= STILL * max(self.start, self.end)


STILL = 1e-12
"""A change of this share of the cost is rounding."""


# Answers -----------------------------------------------------------------------------------------


def answered(
    named: Mapping[str, Named], viewer: Scenario, catalog: Catalog
) -> tuple[Compared, ...]:  # fmt: skip
    """Every scenario by itself: one that cannot work says why and spoils no other."""
    found = []
    for letter, each in named.items():
        result = answer(shown_as(each.scenario, viewer), catalog)
        found.append(Compared(letter, each.name, result, bands.of(result)))
    return tuple(found)


def differences(
    scenarios: Sequence[Scenario], catalog: Catalog
) -> tuple[list[Difference], list[Difference]]:
    """Fields that differ: those that play a part in any of the scenarios, and the others."""
    matter: list[Difference] = []
    idle: list[Difference] = []
    for name, info in FIELDS.items():
        values = tuple(getattr(scenario, name) for scenario in scenarios)
        if info.group == "display" or all(value == values[0] for value in values):
            continue
        counts = any(plays_a_part(name, scenario, catalog) for scenario in scenarios)
        (matter if counts else idle).append(Difference(info, values))
    return matter, idle


# Why ---------------------------------------------------------------------------------------------


def changes(first: Scenario, second: Scenario) -> dict[str, tuple[str, ...]]:
    """Fields that differ by what their change is called, in the order of the sidebar."""
    groups = {name: group for group in GROUPS for name in group.fields}
    found: dict[str, list[str]] = {}
    for name, info in FIELDS.items():
        if info.group != "display" and getattr(first, name) != getattr(second, name):
            group = groups.get(name)
            found.setdefault(group.title if group else info.title, []).append(name)
    return {
        FIELDS[names[0]].title if len(names) == 1 else title: tuple(names)
        for title, names in found.items()
    }


def bridge(first: Scenario, second: Scenario, catalog: Catalog) -> Bridge:
    """What each change does to the cost of an inference, on the way from one to the other.

    Both on the basis of the second. Changes are made in the order of the sidebar; those that are
    possible together only are one part.

    Raises
    ------
    ValueError
        If either scenario cannot work.
    """
    named, costs = _ways(first, second, catalog)
    start, end = costs([frozenset(), frozenset(named)])
    if math.isnan(start) or math.isnan(end):
        raise ValueError("A scenario that cannot work has no cost to explain.")
    return Bridge(start, attribution.in_order(list(named), costs), end)


def fair(found: Bridge, first: Scenario, second: Scenario, catalog: Catalog) -> Bridge:
    """The same with each part as the mean over all orders of the parts (Shapley value).

    Raises
    ------
    ValueError
        If there are more parts than :data:`~cpi_model.studies.attribution.MOST_TOGETHER`.
    """
    _, costs = _ways(first, second, catalog)
    moved = {str(place): part for place, part in enumerate(found.parts)}

    def of_parts(subsets: Sequence[frozenset[str]]) -> list[float]:
        return list(costs([
            frozenset(name for place in subset for name in moved[place].names)
            for subset in subsets
        ]))  # fmt: skip

    shares = attribution.shapley(list(moved), of_parts)
    return replace(
        found,
        parts=tuple(replace(part, change=shares[place]) for place, part in moved.items()),
    )


def _ways(
    first: Scenario, second: Scenario, catalog: Catalog
) -> tuple[dict[str, tuple[str, ...]], Costs]:
    """Changes by name, and the function that tells the cost with some of them."""
    first = shown_as(first, second)
    named = changes(first, second)

    def costs(subsets: Sequence[frozenset[str]]) -> list[float]:
        scenarios = [
            first.model_copy(
                update={field: getattr(second, field) for name in subset for field in named[name]}
            )
            for subset in subsets
        ]  # fmt: skip
        return _costs(scenarios, catalog)

    return named, costs


def _costs(scenarios: Sequence[Scenario], catalog: Catalog) -> list[float]:
    """Cost of an inference of each; NaN where it cannot work. [USD]"""
    found = [math.nan] * len(scenarios)
    services: dict[int, service.Service] = {}
    for place, scenario in enumerate(scenarios):
        try:
            choice = choose(scenario, catalog)
            services[place] = service.resolve(scenario, choice, catalog, coefficients())
        except ImpossibleChoice:
            continue
    figure = cost_figure(scenarios[0])
    for place, estimate in zip(services, sweep.each(list(services.values())), strict=True):
        if estimate.feasible:
            found[place] = float(getattr(estimate, figure.id))
    return found


# How sure ----------------------------------------------------------------------------------------


def cheaper(first: Compared, second: Compared) -> float:
    """Probability that the second really costs less per inference than the first.

    The share of drawn worlds (:func:`bands.worlds`) in which it does; a tie counts half. NaN where
    either cannot work or nothing like them was measured.
    """
    one, other = _drawn(first, second)
    if one is None or other is None:
        return math.nan
    tied = np.isclose(one, other, rtol=TIED, atol=0.0)
    return float(np.mean(np.where(tied, 0.5, other < one)))


TIED = 1e-9


def _drawn(first: Compared, second: Compared) -> tuple[Array | None, Array | None]:
    """Cost of both in the same drawn worlds."""
    models = [
        choice
        for each in (first, second)
        if each.answer.feasible and each.answer.choice and each.answer.service
        for choice in (each.answer.choice, each.answer.service.first_choice)
        if choice is not None
    ]
    if not (first.answer.feasible and second.answer.feasible):
        return None, None
    worlds = bands.worlds(models, coefficients())
    if worlds is None:
        return None, None
    rows = iter(worlds)
    costs = []
    for each in (first, second):
        whole = each.answer.service
        assert whole is not None  # what works has one
        model = bands.in_all_cases(whole.model, next(rows))
        small = None if whole.first is None else bands.in_all_cases(whole.first, next(rows))
        estimate = service.estimate(replace(whole, model=model, first=small))
        costs.append(np.asarray(getattr(estimate, cost_figure(each.scenario).id)))
    return costs[0], costs[1]


# For programs ------------------------------------------------------------------------------------


def document(found: Sequence[Compared], catalog: Catalog, evenly: bool = False) -> dict[str, Any]:
    """The comparison as plain values for JSON, money in USD; each against the first."""
    first = found[0]
    matter, idle = differences([each.scenario for each in found], catalog)
    against = []
    for each in found[1:]:
        row: dict[str, Any] = {"letter": each.letter, "probability_cheaper": known(
            cheaper(first, each)
        ), "change_share": known(each.cost / first.cost - 1.0), "bridge": None}  # fmt: skip
        if first.answer.feasible and each.answer.feasible:
            way = bridge(first.scenario, each.scenario, catalog)
            if evenly:
                way = fair(way, first.scenario, each.scenario, catalog)
            row["bridge"] = {
                "start_usd": way.start, "end_usd": way.end,
                "parts": [
                    {"changes": list(part.names), "change_usd": part.change} for part in way.parts
                ],
            }  # fmt: skip
        against.append(row)
    return {
        "basis": first.scenario.cost_basis,
        "scenarios": [
            {"letter": each.letter, "name": each.name} | summary(each.answer) for each in found
        ],
        "differences": {
            each.info.name: dict(zip((c.letter for c in found), each.values, strict=True))
            for each in matter
        },
        "differences_without_a_part": [each.info.name for each in idle],
        "shared_evenly": evenly,
        "against_first": against,
        "link": "?" + links.encode(
            first.scenario,
            {each.letter: Named(each.name, shown_as(each.scenario, Scenario())) for each in found},
        ),
    }  # fmt: skip
