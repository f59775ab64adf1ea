"""What makes a model cheaper: each lever alone, all in a row, and what is left of its quality.

A lever is a group of scenario fields that differ from the model before compression. All figures
come from the one model; devices are as many as the scenario has, or twice as many until the
weights fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from cpi_model.catalog import Catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate
from cpi_model.formulas import distillation
from cpi_model.inputs import (
    Choice,
    ImpossibleChoice,
    choose,
    engine_serves,
    training_cost,
)
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.schema import Scheme
from cpi_model.studies import evidence, service
from cpi_model.studies.evidence import Range
from cpi_model.units import DAY, MONTH, Array

if TYPE_CHECKING:
    from cpi_model.studies.evidence import Speedups

MOST_TOGETHER = 10
"""Levers of which every subset is estimated."""


@dataclass(frozen=True)
class Lever:
    """Fields that belong together, and what they are called."""

    id: str
    title: str
    fields: tuple[str, ...]


LEVERS = (
    Lever("student", "Student", (
        "student", "student_ratio", "training_requests", "training_epochs",
        "training_utilisation", "training_usd_per_device_hour", "teacher_usd_per_request",
        "training_months",
    )),
    Lever("pruning", "Smaller layers", ("kept_depth", "kept_width")),
    Lever("engine", "Engine", ("engine",)),
    Lever("scheme", "Precision", ("scheme",)),
    Lever("zeros", "Zero weights", ("sparsity", "zero_share")),
    Lever("cache", "Cache precision", ("kv_precision",)),
    Lever("draft", "Draft", ("draft_model", "draft_tokens", "acceptance")),
    Lever("exits", "Early exits", ("exit_share", "exit_depth")),
    Lever("prefix", "Cached input", ("cached_input_share",)),
    Lever("cascade", "Cascade", ("cascade_model", "escalated_share")),
    Lever("answers", "Cached answers", ("answer_hit_share", "lookup_ms", "lookup_usd_per_million")),
)  # fmt: skip
"""In the order in which they are applied: the model, how it is stored, how it is run, who is asked.

The order decides how much of a saving that several share is shown as whose; :func:`shapley` takes
the mean over all orders.
"""
SWITCHES = {lever.id: lever.fields[:1] for lever in LEVERS} | {
    "pruning": ("kept_depth", "kept_width"),
}
"""Fields that turn a lever on."""


@dataclass(frozen=True)
class State:
    """The deployment with some of the levers."""

    scenario: Scenario
    """With the devices that were needed."""
    choice: Choice | None
    estimate: Estimate | None
    """None where it cannot be."""
    problem: str = ""

    @property
    def feasible(self) -> bool:
        """Whether it works."""
        return self.estimate is not None and bool(self.estimate.feasible)

    @property
    def cost(self) -> float:
        """Of an inference, on the basis that the scenario shows; NaN where it cannot be. [USD]"""
        if self.estimate is None or not self.feasible:
            return math.nan
        marginal = self.scenario.cost_basis == "marginal"
        estimate = self.estimate
        return float(
            estimate.marginal_cost_per_inference if marginal else estimate.cost_per_inference
        )

    @property
    def devices(self) -> float:
        """In a replica."""
        return math.nan if self.choice is None else self.choice.devices_per_replica


@dataclass(frozen=True)
class Step:
    """One lever more."""

    lever: Lever
    state: State
    """With this lever and all before it."""
    change: float
    """Of the cost of an inference. [USD]"""
    alone: float
    """The same with this lever only. [USD]"""


@dataclass(frozen=True)
class Bridge:
    """From the model before compression to the scenario, lever by lever."""

    before: State
    steps: tuple[Step, ...]
    after: State
    left_out: tuple[str, ...]
    """Why a lever had to wait for a later one."""


@dataclass(frozen=True)
class Kept:
    """What is left of the quality: of the parts that were measured or are stated."""

    known: Range
    unknown: tuple[str, ...]
    """Parts of which nobody measured what they cost."""

    def passes(self, floor: float) -> bool | None:
        """Whether the middle of what was measured is enough; None where too little is known."""
        if self.known.median < floor:
            return False
        return None if self.unknown else True


# States ------------------------------------------------------------------------------------------


def active(scenario: Scenario, catalog: Catalog) -> list[Lever]:
    """Levers that are pulled, in order."""
    start = service.before(scenario, catalog).model_copy(update={"cached_input_share": 0.0})
    tokens = _has_tokens(scenario, catalog)
    only_tokens = {"cache", "draft", "prefix"}
    return [
        lever for lever in LEVERS
        if (tokens or lever.id not in only_tokens)
        and any(getattr(scenario, name) != getattr(start, name) for name in SWITCHES[lever.id])
    ]  # fmt: skip


def _has_tokens(scenario: Scenario, catalog: Catalog) -> bool:
    model = catalog.models.get(scenario.model)
    return model is None or model.transformer is not None


def with_levers(scenario: Scenario, levers: Iterable[Lever], catalog: Catalog) -> Scenario:
    """The model before compression with some of the scenario's levers."""
    start = service.before(scenario, catalog)
    changes = {"cached_input_share": 0.0} | {
        name: getattr(scenario, name) for lever in levers for name in lever.fields
    }
    return start.model_copy(update=changes)


def state(scenario: Scenario, catalog: Catalog) -> State:
    """Estimate a scenario on its devices, or on twice as many until its weights fit.

    A number of replicas that is fixed would not do for every lever, so there are always enough.
    """
    if scenario.scaling == "fixed":
        scenario = scenario.model_copy(update={"scaling": "peak"})
    devices = scenario.tensor_parallel
    problem = ""
    while True:
        tried = scenario.model_copy(update={"tensor_parallel": devices})
        try:
            choice = choose(tried, catalog)
            whole = service.resolve(tried, choice, catalog, coefficients())
        except ImpossibleChoice as impossible:
            return State(tried, None, None, problem or str(impossible))
        estimate = service.estimate(whole)
        if estimate.feasible or not int(estimate.obstacles) & service.MEMORY:
            reason = "" if estimate.feasible else "A request is too long for the model."
            return State(tried, choice, estimate, reason)
        problem = "The weights do not fit on this hardware."
        devices *= 2
        shape, chip = choice.model.transformer, choice.accelerator
        if shape is None or chip.kind == "cpu" or devices > chip.fast_domain_devices:
            return State(tried, choice, estimate, problem)
        if shape.attention.heads % devices:
            return State(tried, choice, estimate, problem)


def bridge(scenario: Scenario, catalog: Catalog) -> Bridge:
    """Cost from the model before compression to the scenario, each lever added to those before."""
    levers = active(scenario, catalog)
    before = state(with_levers(scenario, (), catalog), catalog)
    now, steps, left_out = before, [], []
    for count, lever in enumerate(levers, start=1):
        following = state(with_levers(scenario, levers[:count], catalog), catalog)
        alone = state(with_levers(scenario, (lever,), catalog), catalog)
        if not following.feasible:
            left_out.append(f"{lever.title}: {following.problem}")
            following = replace(following, estimate=now.estimate, choice=now.choice)
        change = following.cost - now.cost
        steps.append(Step(lever, following, change, alone.cost - before.cost))
        now = following
    return Bridge(before, tuple(steps), now, tuple(left_out))


def shapley(scenario: Scenario, catalog: Catalog) -> dict[str, float]:
    """Change of the cost of an inference by lever, as the mean over all orders of the levers.

    A combination that cannot be costs what the largest part of it costs that can. [USD]

    Raises
    ------
    ValueError
        If more than :data:`MOST_TOGETHER` levers are pulled, or none of them works.

    References
    ----------
    .. [1] L. S. Shapley, "A Value for n-Person Games", 1953.
    """
    levers = active(scenario, catalog)
    if len(levers) > MOST_TOGETHER:
        raise ValueError(f"{len(levers)} levers are too many: at most {MOST_TOGETHER}.")
    costs: dict[frozenset[str], float] = {}
    for size in range(len(levers) + 1):
        for chosen in combinations(levers, size):
            names = frozenset(lever.id for lever in chosen)
            cost = state(with_levers(scenario, chosen, catalog), catalog).cost
            if math.isnan(cost):
                parts = (costs[names - {name}] for name in names)
                cost = next((each for each in parts if not math.isnan(each)), math.nan)
            costs[names] = cost
    count = len(levers)
    return {
        lever.id: sum(
            math.factorial(len(names)) * math.factorial(count - len(names) - 1)
            / math.factorial(count) * (costs[names | {lever.id}] - cost)
            for names, cost in costs.items() if lever.id not in names
        )
        for lever in levers
    }  # fmt: skip


# Quality -----------------------------------------------------------------------------------------


def kept(scenario: Scenario, catalog: Catalog) -> Kept:
    """Quality that is left with all levers of a scenario, as if their losses were independent."""
    parts: list[Range] = []
    unknown: list[str] = []
    for title, found in _parts(scenario, catalog):
        if found is None:
            unknown.append(title)
        else:
            parts.append(found)
    known = evidence.product(parts) or evidence.REFERENCE_RANGE
    return Kept(known, tuple(unknown))


def _parts(scenario: Scenario, catalog: Catalog) -> Iterator[tuple[str, Range | None]]:
    """What each lever leaves of the quality; None where it is not known."""
    choice = choose(scenario, catalog)
    model = choice.model
    if choice.teacher is not None:
        own = scenario.student_quality
        yield "the student", (
            _stated(own, "as you state it") if own is not None
            else evidence.quality("distillation", model).retained
        )  # fmt: skip
    if scenario.kept_depth * scenario.kept_width < 1.0:
        yield "smaller layers", evidence.quality("structured", model).retained
    if scenario.sparsity == "two_of_four":
        yield "two of four weights zero", evidence.quality("2:4", model).retained
    elif scenario.sparsity == "unstructured" and scenario.zero_share:
        found = evidence.quality("unstructured", model, sparsity_share=scenario.zero_share)
        yield "zero weights", found.retained
    yield choice.scheme.name, evidence.quality(choice.scheme.id, model).retained
    if scenario.kv_precision != "bf16" and model.transformer is not None:
        yield f"a KV cache in {scenario.kv_precision}", None
    if scenario.exit_share:
        yield "early exits", _mixed(scenario.exit_share, scenario.exit_quality)
    if scenario.cascade_model != "none":
        yield "the cascade", _mixed(1.0 - scenario.escalated_share, scenario.small_quality)
    if scenario.answer_hit_share:
        yield "cached answers", _mixed(scenario.answer_hit_share, scenario.hit_quality)


def _stated(share: float, level: str) -> Range:
    return Range(share, share, share, 0, level, ())


def _mixed(share: float, quality: float) -> Range:
    """A share of the requests at another quality than the rest."""
    return _stated(1.0 - share + share * quality, "as assumed in the scenario")


# Precisions --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Precision:
    """One way to store and multiply the weights, all else as in the scenario."""

    scheme: Scheme
    state: State
    engine: str
    kept: Kept | None
    speedup: float
    """Throughput of a device over that in the precision before."""
    measured: Speedups | None

    @property
    def measured_quality(self) -> bool:
        """Whether anybody measured what it does to quality."""
        return self.kept is not None and self.scheme.name not in self.kept.unknown


def precisions(scenario: Scenario, catalog: Catalog) -> list[Precision]:
    """Every scheme that an engine has for this model and chip, the cheapest first.

    With the scenario's engine, or else with the first that has the scheme.
    """
    plain = state(
        scenario.model_copy(
            update={"scheme": service.before(scenario, catalog).scheme, "sparsity": "none"}
        ),
        catalog,
    )
    found = []
    for scheme in catalog.schemes.values():
        engine = _engine_for(scheme, scenario, catalog)
        if engine is None:
            continue
        changed = scenario.model_copy(update={"scheme": scheme.id, "engine": engine})
        now = state(changed, catalog)
        if now.choice is None or not now.feasible:
            continue
        choice = now.choice
        found.append(
            Precision(
                scheme, now, engine, kept(now.scenario, catalog), _speedup(now, plain),
                evidence.speedups(
                    scheme.id, choice.model.model_class, choice.accelerator,
                    float(scenario.concurrency), plain.scenario.scheme,
                ),
            )
        )  # fmt: skip
    return sorted(found, key=lambda each: each.state.cost)


def _speedup(now: State, plain: State) -> float:
    """Throughput of a device over that of another state."""
    if now.estimate is None or plain.estimate is None or not (now.feasible and plain.feasible):
        return math.nan
    here = float(now.estimate.throughput) / now.devices
    return here / (float(plain.estimate.throughput) / plain.devices)


def _engine_for(scheme: Scheme, scenario: Scenario, catalog: Catalog) -> str | None:
    """The scenario's engine if it has a scheme, or the first that does; None where none does."""
    try:
        model = choose(scenario, catalog).model
    except ImpossibleChoice:
        return None
    chip = catalog.accelerators[scenario.accelerator]
    shape = model.transformer
    if scheme.experts_only and not (shape and shape.experts):
        return None
    own = catalog.engines[scenario.engine]
    for engine in (own, *catalog.engines.values()):
        if not engine_serves(engine, model, chip, scheme):
            return engine.id
    return None


# Distillation ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BreakEven:
    """When a student has paid for its training."""

    data: float
    """Answers of the teacher. [USD]"""
    training: float
    """[USD]"""
    before: float
    """Cost of an inference of the teacher. [USD]"""
    after: float
    """Of the student, without its training. [USD]"""
    inferences: float
    """Infinite where the student is not cheaper."""
    seconds: float
    """At the load of the scenario."""
    times: Array
    """From now on. [s]"""
    teacher: Array
    """Spent until then. [USD]"""
    student: Array

    @property
    def cost(self) -> float:
        """Paid before the student serves. [USD]"""
        return self.data + self.training

    def day(self, today: date) -> date | None:
        """The day on which it is paid back; None where that is never, or too far away."""
        days = self.seconds / DAY
        return today + timedelta(days=days) if days < 100 * 365 else None


CURVE_POINTS = 61


def break_even(scenario: Scenario, catalog: Catalog) -> BreakEven | None:
    """Cost of a student against its teacher, both with all other levers; None without a student.

    Fully loaded, whatever the scenario shows.
    """
    if scenario.student == "none":
        return None
    loaded = scenario.model_copy(update={"cost_basis": "loaded"})
    student = state(loaded, catalog)
    teacher = state(loaded.model_copy(update={"student": "none"}), catalog)
    if not (student.feasible and teacher.feasible) or student.choice is None:
        return None
    fitted = coefficients()
    price = service.training_price(student.scenario, student.choice, catalog, fitted)
    own = training_cost(student.scenario, student.choice, fitted)
    rate = scenario.requests_per_s * scenario.success_share
    # The training is in the cost per inference, spread over its months.
    spread = price / (scenario.training_months * MONTH) / rate
    after = student.cost - spread
    inferences = float(distillation.break_even_inferences(price, teacher.cost, max(after, 0.0)))
    last = max(scenario.training_months * MONTH, min(1.5 * inferences / rate, 10 * 12 * MONTH))
    times = np.linspace(0.0, last, CURVE_POINTS)
    return BreakEven(
        data=price - own, training=own, before=teacher.cost, after=after, inferences=inferences,
        seconds=inferences / rate, times=times, teacher=times * rate * teacher.cost,
        student=price + times * rate * after,
    )  # fmt: skip


def without(scenario: Scenario, lever: Lever, catalog: Catalog) -> dict[str, object]:
    """Fields to change to take a lever back."""
    start = with_levers(scenario, (), catalog)
    return {
        name: getattr(start, name) for name in lever.fields
        if getattr(scenario, name) != getattr(start, name)
    }  # fmt: skip


assert all(name in FIELDS for lever in LEVERS for name in lever.fields)
