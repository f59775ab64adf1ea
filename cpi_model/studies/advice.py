"""The next best change: what a person could change in one step, and what each would save.

Every step is the scenario with a few fields changed. All are estimated in one call of the model;
what breaks a limit, or keeps too little of the quality, is not offered.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpi_model import links
from cpi_model.catalog import Catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate
from cpi_model.inputs import (
    Choice,
    ImpossibleChoice,
    age,
    choose,
    engine_runs_on,
    engine_serves,
    usual_engines,
)
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.schema import Accelerator, Engine
from cpi_model.studies import bands, compression, service, sweep
from cpi_model.studies.answer import Answer, figures, known
from cpi_model.studies.compression import Kept
from cpi_model.studies.optimise import (
    CONCURRENCIES,
    ENOUGH_RUNS,
    LIMITED,
    PURCHASES,
    TIE,
    WAYS,
    compared,
)
from cpi_model.studies.service import Service
from cpi_model.units import GB, MONTH, Array

WORTH_IT = 0.01
"""A smaller saving, over the cost, is not worth a change."""
EVEN = 0.5
MOST_OF_A_KIND = 3
MOST_SHOWN = 12
HIGHEST_TARGET = 0.8
"""Target utilisation up to which an advice goes: more leaves little room for bursts."""
NARROW_CACHE = "fp8"
"""What engines store the cache in where half of it is wanted."""


@dataclass(frozen=True)
class Step:
    """One change that a person could make."""

    kind: str
    """Field that it is about."""
    text: str
    """The new in place of the old: reads on after a colon, and as the label of a button."""
    changes: dict[str, Any]
    caveat: str = ""
    """What figures do not show, as the end of a sentence."""


@dataclass(frozen=True)
class Advice:
    """A step, and what it comes to."""

    step: Step
    scenario: Scenario
    """After the step."""
    estimate: Estimate
    kept: Kept
    """What is left of the quality."""
    new_unknown: tuple[str, ...]
    """What nobody measured the quality of, and the step brings in."""
    cost: float
    """Of an inference, on the basis that the scenario shows. [USD]"""
    saved: float
    """Of that, negative where it costs more. [USD]"""
    saved_share: float
    saved_rate: float
    """Of the whole bill, fully loaded. [USD/s]"""
    where: str
    """Instance and region, where they are others than those of the scenario."""
    probability: float
    """That it really saves, from the likely errors; NaN where none are known."""

    @property
    def doubtful(self) -> bool:
        """Whether it rather costs than saves, though the estimate saves."""
        return self.probability < EVEN


@dataclass(frozen=True)
class Advised:
    """Steps from a scenario that works."""

    scenario: Scenario
    estimate: Estimate
    kept: Kept
    cost: float
    """Of an inference, on the basis that the scenario shows. [USD]"""
    devices_per_replica: float
    broken: tuple[str, ...]
    """Limits that the scenario does not keep; then steps are those that keep all."""
    ranked: tuple[Advice, ...]
    """Most saved first; then those that with the likely errors rather cost than save."""
    unmeasured: tuple[Advice, ...]
    """Those that would save too, and of which nobody measured what they cost in quality."""
    tried: int

    @property
    def best(self) -> Advice | None:
        """The next best change; None where nothing is worth one."""
        first = self.ranked[0] if self.ranked else None
        return None if first is None or (not self.broken and first.doubtful) else first


def advise(result: Answer, catalog: Catalog) -> Advised | None:
    """Steps from a scenario, most saved first; None where the scenario cannot work.

    Where the scenario breaks a limit, the cheapest steps after which it breaks none.
    """
    choice, whole, before = result.choice, result.service, result.estimate
    if choice is None or whole is None or before is None or not before.feasible:
        return None
    scenario = result.scenario
    now = _Looked(Step("", "", {}), scenario, choice, whole)
    possible = (_looked_up(step, scenario, choice, catalog) for step in steps(result, catalog))
    tried = [now, *(each for each in possible if each is not None)]
    together = service.together([each.whole for each in tried])
    estimate = service.estimate(together)
    cost = _costs(scenario, estimate)
    within = _within(scenario, tried, estimate)
    broken = tuple(_broken(scenario, before, choice))
    kept = compression.kept(scenario, choice)
    # Where a limit is broken, the cheapest that keeps all is wanted, though it may cost more.
    worth = np.full(len(tried), True) if broken else (
        (cost <= cost[0] * (1.0 - WORTH_IT))
        # A cheaper further request is no advice where the whole bill rises for it.
        & (np.asarray(estimate.cost_rate) <= before.cost_rate * (1.0 + TIE))
    )  # fmt: skip
    offered = [place for place in np.argsort(cost, kind="stable") if place
               and within[place] and worth[place]]  # fmt: skip
    quality = {
        at: left
        for at in offered
        if (left := _quality(tried[at], now, kept, scenario.quality_floor)) is not None
    }
    measured = _few(tried, [at for at, (_, unknown) in quality.items() if not unknown])
    others = _few(tried, [at for at, (_, unknown) in quality.items() if unknown])
    chances = _chances(scenario, [tried[at] for at in (0, *measured, *others)])

    def advice(place: int, probability: float) -> Advice:
        left, unknown = quality[place]
        each = sweep.row(estimate, place)
        saved = float(cost[0] - cost[place])
        return Advice(
            step=tried[place].step, scenario=tried[place].scenario, estimate=each, kept=left,
            new_unknown=unknown, cost=float(cost[place]), saved=saved,
            saved_share=saved / float(cost[0]),
            saved_rate=float(before.cost_rate - each.cost_rate),
            where=_where(tried[place].choice, choice),
            probability=probability,
        )  # fmt: skip

    found = [
        advice(at, float(chance)) for at, chance in zip([*measured, *others], chances, strict=True)
    ]
    ranked = found[: len(measured)]
    if not broken:
        ranked.sort(key=lambda each: each.doubtful)
    return Advised(
        scenario=scenario, estimate=before, kept=kept, cost=float(cost[0]),
        devices_per_replica=choice.devices_per_replica, broken=broken,
        ranked=tuple(ranked), unmeasured=tuple(found[len(measured) :]),
        tried=len(tried) - 1,
    )  # fmt: skip


# Steps --------------------------------------------------------------------------------------------


def steps(result: Answer, catalog: Catalog) -> Iterator[Step]:
    """Single changes to a scenario that its model, chip and engine allow.

    Whether each works, saves and keeps the limits is not asked here.
    """
    scenario, choice, estimate = result.scenario, result.choice, result.estimate
    if choice is None or estimate is None:
        return
    yield from _precisions(scenario, choice, catalog)
    yield from _engines(scenario, choice, catalog)
    yield from _chips(scenario, choice, estimate, catalog)
    yield from _prices(scenario, choice)
    yield from _at_a_time(scenario, choice)
    yield from _replicas(scenario, estimate)


def _precisions(scenario: Scenario, choice: Choice, catalog: Catalog) -> Iterator[Step]:
    shape = choice.model.transformer
    for scheme in catalog.schemes.values():
        if scheme.id == choice.scheme.id or (
            scheme.experts_only and not (shape and shape.experts)
        ):  # fmt: skip
            continue
        if not engine_serves(choice.engine, choice.model, choice.accelerator, scheme):
            text = f"{_short(scheme.name)} instead of {_short(choice.scheme.name)}"
            yield Step("scheme", text, {"scheme": scheme.id})
    if shape is None:
        return
    if scenario.kv_precision == "bf16":
        text = f"a KV cache in {NARROW_CACHE} instead of bf16"
        yield Step("kv_precision", text, {"kv_precision": NARROW_CACHE})
    if scenario.draft_model != "none":
        yield Step("draft_model", "no draft instead of one", {"draft_model": "none"})


def _short(name: str) -> str:
    """A name without what stands in brackets."""
    return name.partition(" (")[0]


def _engines(scenario: Scenario, choice: Choice, catalog: Catalog) -> Iterator[Step]:
    for engine in catalog.engines.values():
        if engine.id == choice.engine.id or not _well_known(engine, choice):
            continue
        if not engine_serves(engine, choice.model, choice.accelerator, choice.scheme):
            yield Step(
                "engine", f"{engine.name} instead of {choice.engine.name}", {"engine": engine.id}
            )


def _well_known(engine: Engine, choice: Choice) -> bool:
    """Whether enough runs of an engine were measured that it does not win on a guess."""
    return choice.model.transformer is None or coefficients().engine(engine.id).rows >= ENOUGH_RUNS


def _chips(
    scenario: Scenario, choice: Choice, estimate: Estimate, catalog: Catalog
) -> Iterator[Step]:
    """Other chips, each with the fewest devices that may hold the weights, and with twice as many.

    The precision stays; where the engine does not run there, another one that does.
    """
    weights = float(estimate.weight_memory) * choice.devices_per_replica
    anywhere: dict[str, Any] = {"instance": "auto", "device_price_usd_per_hour": None}
    for chip in catalog.accelerators.values():
        engine = _engine_on(chip, choice, catalog)
        if chip.id == choice.accelerator.id or engine is None:
            continue
        other = engine.id != choice.engine.id
        name = f"{chip.name} with {engine.name}" if other else chip.name
        old = choice.accelerator.name + (f" with {choice.engine.name}" if other else "")
        for devices in _devices(chip, choice, weights, scenario.memory_share):
            many = choice.devices_per_replica
            changes = {
                "accelerator": chip.id, "engine": engine.id, "tensor_parallel": devices,
                "pipeline_parallel": 1, "data_parallel": 1, "expert_parallel": 1, **anywhere,
            }  # fmt: skip
            text = f"{name} instead of {old}"
            if devices > 1 or many > 1:
                text = f"{devices} × {name} instead of {many:g} × {old}"
            yield Step("accelerator", text, changes)
    if scenario.tensor_parallel > 1 or choice.accelerator.fast_domain_devices > 1:
        fewest = _devices(choice.accelerator, choice, weights, scenario.memory_share)
        for devices in fewest:
            if devices != scenario.tensor_parallel:
                text = f"tensor parallel over {devices} instead of {scenario.tensor_parallel}"
                yield Step("tensor_parallel", text, {"tensor_parallel": devices})


def _engine_on(chip: Accelerator, choice: Choice, catalog: Catalog) -> Engine | None:
    """The engine of the scenario if it runs on a chip, or the one that is usual there.

    For language models that is the one of which most runs were measured.
    """
    if engine_runs_on(choice.engine, chip):
        lack = engine_serves(choice.engine, choice.model, chip, choice.scheme)
        return None if lack else choice.engine
    others = [
        engine for engine in usual_engines(chip, catalog)
        if _well_known(engine, choice)
        and not engine_serves(engine, choice.model, chip, choice.scheme)
    ]  # fmt: skip
    if choice.model.transformer is None:
        return others[0] if others else None
    return max(others, key=lambda engine: coefficients().engine(engine.id).rows, default=None)


def _devices(
    chip: Accelerator, choice: Choice, weights: float, memory_share: float
) -> Sequence[int]:
    """Devices of a replica worth trying: the fewest that may hold the weights, and twice those."""
    shape = choice.model.transformer
    if shape is None or chip.kind == "cpu" or not chip.memory_gb:
        return (1,)
    room = chip.memory_gb * GB * memory_share
    ways = (
        count for count in WAYS
        if count <= chip.fast_domain_devices and shape.attention.heads % count == 0
        and weights / count < 1.1 * room
    )  # fmt: skip
    return tuple(islice(ways, 2))


COMMITTED = {
    "on_demand": "on demand", "spot": "spot", "reserved_1y": "a 1-year commitment",
    "reserved_3y": "a 3-year commitment",
}  # fmt: skip
BINDS = {
    "spot": "it can be taken away at any time", "reserved_1y": "it binds for 1 year",
    "reserved_3y": "it binds for 3 years",
}  # fmt: skip


def _prices(scenario: Scenario, choice: Choice) -> Iterator[Step]:
    """Other ways to buy the same, and the cheapest offer with the same chip."""
    if scenario.device_price_usd_per_hour is not None:
        return
    for purchase in PURCHASES.get(scenario.purchases, ()):
        if purchase != scenario.purchase:
            text = f"{COMMITTED[purchase]} instead of {COMMITTED[scenario.purchase]}"
            yield Step("purchase", text, {"purchase": purchase}, BINDS.get(purchase, ""))
    if scenario.instance != "auto":
        text = f"the cheapest offer of {choice.accelerator.name} instead of {scenario.instance}"
        yield Step("instance", text, {"instance": "auto"})


def _at_a_time(scenario: Scenario, choice: Choice) -> Iterator[Step]:
    """More or fewer requests together, and how they are put together."""
    now = scenario.concurrency
    for count in CONCURRENCIES:
        if count != now:
            requests = "request" if count == 1 else "requests"
            text = f"{count:,} {requests} at a time instead of {now:,}"
            yield Step("concurrency", text, {"concurrency": count})
    if choice.model.transformer is None:
        if scenario.batching == "static":
            text = "dynamic batching instead of static batching"
            yield Step("batching", text, {"batching": "dynamic"})
        return
    for way in ("continuous", "disaggregated"):
        if way != scenario.batching:
            text = f"{BATCHING[way]} instead of {BATCHING[scenario.batching]}"
            yield Step("batching", text, {"batching": way})


BATCHING = {
    "continuous": "continuous batching", "disaggregated": "prefill and decode apart",
    "static": "static batching", "dynamic": "dynamic batching",
}  # fmt: skip


def _replicas(scenario: Scenario, estimate: Estimate) -> Iterator[Step]:
    """Fewer machines for the same traffic."""
    fixed = scenario.scaling == "fixed"
    now = {
        "peak": "machines for the peak", "follow": "machines that follow the traffic",
        "fixed": f"a fixed number of replicas ({scenario.fixed_replicas:,})",
    }  # fmt: skip
    for way in ("follow", "peak"):
        if way != scenario.scaling and not (way == "peak" and scenario.scaling == "follow"):
            yield Step(
                "scaling", f"{now[way]} instead of {now[scenario.scaling]}", {"scaling": way}
            )
    if fixed:
        needed = float(estimate.utilisation) * scenario.fixed_replicas * scenario.peak_to_mean
        fewest = max(math.ceil(needed * (1.0 + TIE)), scenario.live_versions, 1)
        if fewest < scenario.fixed_replicas:
            replicas = "fixed replica" if fewest == 1 else "fixed replicas"
            text = f"{fewest:,} {replicas} instead of {scenario.fixed_replicas:,}"
            yield Step(
                "fixed_replicas", text, {"fixed_replicas": fewest},
                "it leaves nothing for a busier peak",
            )  # fmt: skip
    elif scenario.target_utilisation < HIGHEST_TARGET:
        text = (
            f"a target utilisation of {HIGHEST_TARGET:.0%} instead of "
            f"{scenario.target_utilisation:.0%}"
        ).replace("%", " %")
        yield Step(
            "target_utilisation", text, {"target_utilisation": HIGHEST_TARGET},
            "it leaves less room for bursts",
        )  # fmt: skip
    if not fixed and scenario.min_replicas > 1:
        text = f"at least 1 replica of each version instead of {scenario.min_replicas:,}"
        yield Step(
            "min_replicas", text, {"min_replicas": 1}, "the loss of one is felt until it is back"
        )
    if scenario.live_versions > 1:
        text = f"1 live version instead of {scenario.live_versions:,}"
        yield Step("live_versions", text, {"live_versions": 1})


# What each comes to -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Looked:
    """A step, looked up."""

    step: Step
    scenario: Scenario
    choice: Choice
    whole: Service


def _looked_up(step: Step, scenario: Scenario, now: Choice, catalog: Catalog) -> _Looked | None:
    """The scenario after a step; None where its names do not go together."""
    changed = scenario.model_copy(update=step.changes)
    try:
        choice = choose(changed, catalog)
        whole = service.resolve(changed, choice, catalog, coefficients())
    except ImpossibleChoice:
        return None
    if older := _older(choice, now):
        caveat = "; ".join(part for part in (step.caveat, older) if part)
        step = replace(step, caveat=caveat)
    return _Looked(step, changed, choice, whole)


def _older(choice: Choice, now: Choice) -> str:
    """How old a price is, where it is old and older than that of the scenario."""
    if choice.price is None or (
        now.price is not None and choice.price.valid_from >= now.price.valid_from
    ):
        return ""
    old = age(choice.price.valid_from)
    return f"its price is {old}" if old else ""


def _where(choice: Choice, now: Choice) -> str:
    price, before = choice.price, now.price
    if price is None or (
        before is not None and (price.instance, price.region) == (before.instance, before.region)
    ):
        return ""
    return f"{price.instance} in {price.region}"


def _costs(scenario: Scenario, estimate: Estimate) -> Array:
    """Cost of an inference on the basis that a scenario shows. [USD]"""
    if scenario.cost_basis == "marginal":
        return np.asarray(estimate.marginal_cost_per_inference)
    return np.asarray(estimate.cost_per_inference)


def _within(scenario: Scenario, tried: Sequence[_Looked], estimate: Estimate) -> NDArray[np.bool_]:
    """Whether each of many keeps all limits, and really runs as many requests as it says."""
    devices = np.array([each.choice.devices_per_replica for each in tried])
    counts = np.array([each.scenario.concurrency for each in tried])
    asked = np.array([each.step.kind == "concurrency" for each in tried])
    held = np.greater_equal(estimate.running, counts) | ~asked
    kept = [~broken for _, broken in _limits(scenario, estimate, devices)]
    within: NDArray[np.bool_] = np.logical_and.reduce([estimate.feasible, held, *kept])
    return within


def _limits(
    scenario: Scenario, estimate: Estimate, devices: Array | float
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each limit that is set, and whether it is broken; what is not known breaks it."""
    good = np.asarray(estimate.good_share)
    yield "slo_share", ~np.greater_equal(good, scenario.slo_share * (1.0 - TIE))
    for name in LIMITED:
        limit = getattr(scenario, name)
        if limit is not None:
            yield name, ~np.less_equal(compared(name, estimate, devices), limit * (1.0 + TIE))


def _broken(scenario: Scenario, estimate: Estimate, choice: Choice) -> Iterator[str]:
    for name, broken in _limits(scenario, estimate, choice.devices_per_replica):
        if broken:
            yield name


def _quality(
    each: _Looked, now: _Looked, kept: Kept, floor: float
) -> tuple[Kept, tuple[str, ...]] | None:
    """What a step leaves of the quality and what of it nobody measured; None where too little.

    Where too little is left already, as much as now is enough.
    """
    if each.step.kind not in ("scheme", "kv_precision"):
        return kept, ()
    after = compression.kept(each.scenario, each.choice)
    if after.known.median < min(floor, kept.known.median):
        return None
    unknown = [name for name in after.unknown if name not in kept.unknown]
    scheme = each.choice.scheme
    if scheme.id != now.choice.scheme.id and not after.measured(scheme):
        unknown.append(scheme.name)
    return after, tuple(dict.fromkeys(unknown))


def _few(tried: Sequence[_Looked], places: Sequence[int]) -> list[int]:
    """The best of each kind, cheapest first; of the same hardware or field only one."""
    kinds: Counter[str] = Counter()
    seen: set[object] = set()
    found: list[int] = []
    for place in places:
        step = tried[place].step
        one = step.kind in ("concurrency", "tensor_parallel")
        same = step.kind if one else (step.kind, step.changes[step.kind])
        if same in seen or kinds[step.kind] == MOST_OF_A_KIND or len(found) == MOST_SHOWN:
            continue
        seen.add(same)
        kinds[step.kind] += 1
        found.append(place)
    return found


def _chances(scenario: Scenario, tried: Sequence[_Looked]) -> Array:
    """Share of drawn worlds in which each step after the first, the scenario, is cheaper than it.

    Every time of a replica is multiplied by a factor (:func:`bands.worlds`).
    """
    if len(tried) == 1:
        return np.empty(0)
    firsts = [each.whole.first_choice for each in tried if each.whole.first_choice is not None]
    drawn_times = bands.worlds([*(each.choice for each in tried), *firsts], coefficients())
    if drawn_times is None:
        return np.full(len(tried) - 1, math.nan)
    whole = service.together([each.whole for each in tried])
    drawn = replace(whole, model=bands.in_all_cases(whole.model, drawn_times[: len(tried)]))
    if whole.first is not None:
        drawn = replace(
            drawn,
            first=bands.in_all_cases(whole.first, drawn_times[len(tried) :]),
            passed_on=np.asarray(whole.passed_on)[:, np.newaxis],
        )
    costs = _costs(scenario, service.estimate(drawn))
    chances: Array = np.mean(costs[1:] < costs[0], axis=1)
    return chances


# As JSON -----------------------------------------------------------------------------------------


def summary(found: Advised) -> dict[str, Any]:
    """Steps as plain values for JSON; an unknown figure is null, money is in USD."""
    return {
        "basis": found.scenario.cost_basis,
        "cost_per_inference_usd": known(found.cost),
        "broken_limits": list(found.broken),
        "tried": found.tried,
        "ranked": [_document(each) for each in found.ranked],
        "quality_not_measured": [_document(each) for each in found.unmeasured],
        "link": "?" + links.encode(found.scenario),
    }


def _document(each: Advice) -> dict[str, Any]:
    return {
        "kind": each.step.kind,
        "text": each.step.text,
        "caveat": each.step.caveat or None,
        "where": each.where or None,
        "changes": each.step.changes,
        "saved_usd": known(each.saved),
        "saved_share": known(each.saved_share),
        "saved_monthly_usd": known(each.saved_rate * MONTH),
        "probability": known(each.probability),
        "quality_kept": known(each.kept.known.median),
        "quality_not_measured": list(each.new_unknown),
        **figures(each.estimate),
        "link": "?" + links.encode(each.scenario),
    }


assert all(name in FIELDS for name in LIMITED)
