"""What makes a model cheaper: each lever alone, all in a row, and what is left of its quality.

A lever is a group of scenario fields that differ from the model before compression. All figures
come from the one model; devices are as many as the scenario has, or twice as many until the
weights fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from cpi_model.catalog import Catalog, catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate
from cpi_model.formulas import distillation
from cpi_model.inputs import (
    Choice,
    ImpossibleChoice,
    choose,
    engine_serves,
    parameters,
    sparsity_lack,
    training_cost,
)
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.schema import Evidence, Model, Scheme
from cpi_model.studies import attribution, evidence, service, sweep
from cpi_model.studies.answer import known
from cpi_model.studies.evidence import Range
from cpi_model.studies.service import Service
from cpi_model.units import DAY, MILLISECOND, MONTH, Array

if TYPE_CHECKING:
    from cpi_model.studies.evidence import Speedups


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
ONLY_TOKENS = {"cache", "draft", "prefix"}
"""Levers of language models."""
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
    """All known parts together, as if their losses had nothing to do with each other."""
    parts: tuple[tuple[str, Range], ...]
    """What each lever leaves, where it is known."""
    unknown: tuple[str, ...]
    """Levers of which nobody measured what they cost."""

    def passes(self, floor: float) -> bool | None:
        """Whether the middle of what was measured is enough; None where too little is known."""
        if self.known.median < floor:
            return False
        return None if self.unknown else True

    def measured(self, scheme: Scheme) -> bool:
        """Whether what a precision leaves was measured on models of this class."""
        return any(
            title == scheme.name and part.level != evidence.OTHERS for title, part in self.parts
        )


# States ------------------------------------------------------------------------------------------


def active(scenario: Scenario, catalog: Catalog) -> list[Lever]:
    """Levers that are pulled, in order."""
    start = with_levers(scenario, (), catalog)
    tokens = _has_tokens(scenario, catalog)
    return [
        lever for lever in LEVERS
        if (tokens or lever.id not in ONLY_TOKENS)
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
    """Estimate one scenario; see :func:`states`."""
    return states([scenario], catalog)[0]


def states(scenarios: Sequence[Scenario], catalog: Catalog) -> list[State]:
    """Estimate scenarios on their devices, each on twice as many until its weights fit.

    All in a few calls, however many they are. A number of replicas that is fixed would not do for
    every lever, so there are always enough.
    """
    found: dict[int, State] = {}
    waiting = dict(enumerate(scenarios))
    while waiting:
        looked_up: dict[int, tuple[Scenario, Choice, Service]] = {}
        for index, scenario in waiting.items():
            tried = scenario
            if scenario.scaling == "fixed":
                tried = scenario.model_copy(update={"scaling": "peak"})
            try:
                choice = choose(tried, catalog)
                whole = service.resolve(tried, choice, catalog, coefficients())
                looked_up[index] = tried, choice, whole
            except ImpossibleChoice as impossible:
                found[index] = State(tried, None, None, str(impossible))
        waiting = {}
        places = list(looked_up)
        estimates = sweep.each([whole for _, _, whole in looked_up.values()])
        for index, estimate in zip(places, estimates, strict=True):
            tried, choice, _ = looked_up[index]
            bits = int(estimate.obstacles)
            if bits & service.MEMORY and (devices := service.twice_the_devices(tried, choice)):
                waiting[index] = tried.model_copy(update={"tensor_parallel": devices})
                continue
            reason = "" if estimate.feasible else (
                "The weights do not fit on this hardware." if bits & service.MEMORY
                else "A request is too long for the model."
            )  # fmt: skip
            found[index] = State(tried, choice, estimate, reason)
    return [found[index] for index in range(len(scenarios))]


def bridge(scenario: Scenario, catalog: Catalog) -> Bridge:
    """Cost from the model before compression to the scenario, each lever added to those before."""
    levers = active(scenario, catalog)
    chosen = [levers[:count] for count in range(len(levers) + 1)]
    chosen += [[lever] for lever in levers]
    before, *rest = states([with_levers(scenario, each, catalog) for each in chosen], catalog)
    now, steps, left_out = before, [], []
    for lever, following, alone in zip(
        levers, rest[: len(levers)], rest[len(levers) :], strict=True
    ):
        if not following.feasible:
            left_out.append(f"{lever.title}: {following.problem}")
            following = replace(following, estimate=now.estimate, choice=now.choice)
        change = following.cost - now.cost
        steps.append(Step(lever, following, change, alone.cost - before.cost))
        now = following
    return Bridge(before, tuple(steps), now, tuple(left_out))


def shapley(scenario: Scenario, catalog: Catalog) -> dict[str, float]:
    """Change of the cost of an inference by lever, as the mean over all orders of the levers. [USD]

    Raises
    ------
    ValueError
        If more than :data:`~cpi_model.studies.attribution.MOST_TOGETHER` levers are pulled.
    """
    levers = active(scenario, catalog)

    def costs(subsets: Sequence[frozenset[str]]) -> list[float]:
        chosen = [[lever for lever in levers if lever.id in subset] for subset in subsets]
        return [
            state.cost
            for state in states([with_levers(scenario, each, catalog) for each in chosen], catalog)
        ]

    return attribution.shapley([lever.id for lever in levers], costs)


# Quality -----------------------------------------------------------------------------------------


def kept(scenario: Scenario, choice: Choice) -> Kept:
    """Quality that is left with all levers of a scenario that has been looked up."""
    found = list(_parts(scenario, choice))
    parts = tuple((title, each) for title, each in found if each is not None)
    whole = evidence.product([each for _, each in parts]) or evidence.REFERENCE_RANGE
    return Kept(whole, parts, tuple(title for title, each in found if each is None))


def _parts(scenario: Scenario, choice: Choice) -> Iterator[tuple[str, Range | None]]:
    """What each lever leaves of the quality; None where it is not known."""
    model = choice.model
    if choice.teacher is not None:
        own = scenario.student_quality
        yield "Student", (
            _stated(own, "as you state it") if own is not None
            else _retained("distillation", model)
        )  # fmt: skip
    if scenario.kept_depth * scenario.kept_width < 1.0:
        yield "Smaller layers", _retained("structured", model)
    if scenario.sparsity == "two_of_four":
        yield "Two of four weights zero", _retained("2:4", model)
    elif scenario.sparsity == "unstructured" and scenario.zero_share:
        yield "Zero weights", _retained("unstructured", model, scenario.zero_share)
    yield choice.scheme.name, _retained(choice.scheme.id, model)
    if scenario.kv_precision != "bf16" and model.transformer is not None:
        yield f"KV cache in {scenario.kv_precision}", None
    if scenario.exit_share:
        yield "Early exits", _mixed(scenario.exit_share, scenario.exit_quality)
    if scenario.cascade_model != "none":
        yield "Cascade", _mixed(1.0 - scenario.escalated_share, scenario.small_quality)
    if scenario.answer_hit_share:
        yield "Cached answers", _mixed(scenario.answer_hit_share, scenario.hit_quality)


@cache
def _about(technique: str) -> tuple[Evidence, ...]:
    """Rows of evidence on a technique or on one that is like it: a few of very many."""
    names = {technique, *evidence.relatives(technique, catalog())}
    return tuple(row for row in evidence.evidence() if row.technique in names)


def _retained(technique: str, model: Model, zeros: float | None = None) -> Range | None:
    """What was measured to be left of the quality."""
    rows = _about(technique)
    return evidence.quality(technique, model, rows, sparsity_share=zeros).retained


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
    offered = [
        (scheme, engine) for scheme in catalog.schemes.values()
        if (engine := _engine_for(scheme, scenario, catalog)) is not None
    ]  # fmt: skip
    before = {"scheme": service.before(scenario, catalog).scheme, "sparsity": "none"}
    changes = [before, *({"scheme": scheme.id, "engine": engine} for scheme, engine in offered)]
    plain, *rest = states([scenario.model_copy(update=each) for each in changes], catalog)
    found = []
    for (scheme, engine), now in zip(offered, rest, strict=True):
        choice = now.choice
        if choice is None or not now.feasible:
            continue
        measured = evidence.speedups(
            scheme.id, choice.model.model_class, choice.accelerator,
            float(scenario.concurrency), plain.scenario.scheme, _about(scheme.id),
        )  # fmt: skip
        left = kept(now.scenario, choice)
        found.append(Precision(scheme, now, engine, left, _speedup(now, plain), measured))
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


# Pulling levers ----------------------------------------------------------------------------------

USUAL_SCHEMES = ("fp8", "int8", "int4-awq", "gguf-q4-k-m", "bf16")
SMALL = 0.2
"""The first model of a cascade has at most such a share of the parameters."""


def applies(lever: Lever, scenario: Scenario, catalog: Catalog) -> bool:
    """Whether a lever can be pulled for this model on this hardware."""
    pulled = any(lever.id == each.id for each in active(scenario, catalog))
    return pulled or bool(usual(lever, scenario, catalog))


def usual(lever: Lever, scenario: Scenario, catalog: Catalog) -> dict[str, object]:
    """Fields to change to pull a lever, with settings that work here; empty where none do."""
    if lever.id in ONLY_TOKENS and not _has_tokens(scenario, catalog):
        return {}
    settings: dict[str, dict[str, object]] = {
        "student": {"student": "ratio"},
        "pruning": {"kept_depth": 0.8, "kept_width": 0.8},
        "cache": {"kv_precision": "fp8"},
        "draft": {"draft_model": "head"},
        "exits": {"exit_share": 0.3},
        "prefix": {"cached_input_share": 0.5},
        "answers": {"answer_hit_share": 0.2},
    }
    if lever.id in settings:
        return settings[lever.id]
    try:
        choice = choose(scenario, catalog)
    except ImpossibleChoice:
        return {}
    model, chip, engine = choice.model, choice.accelerator, choice.engine
    if lever.id == "zeros":
        for pattern in ("two_of_four", "unstructured"):
            if not sparsity_lack(pattern, engine, chip):
                return {"sparsity": pattern}
        return {"sparsity": "unstructured"}
    if lever.id == "scheme":
        plain = service.before(scenario, catalog).scheme
        for id in USUAL_SCHEMES:
            narrower = catalog.schemes[id].weight_bits < catalog.schemes[plain].weight_bits
            if narrower and not engine_serves(engine, model, chip, catalog.schemes[id]):
                return {"scheme": id}
        return {}
    if lever.id == "engine":
        plain_scheme = catalog.schemes[service.before(scenario, catalog).scheme]
        others = (catalog.engines["pytorch-eager"], *catalog.engines.values())
        for other in others:
            if other.id != engine.id and not engine_serves(other, model, chip, plain_scheme):
                return {"compared_engine": other.id}
        return {}
    size = parameters(model).active
    smaller = [
        other for other in catalog.models.values()
        if other.model_class == model.model_class and parameters(other).active < size
        and not (other.transformer and other.transformer.experts)
    ]  # fmt: skip
    smaller.sort(key=lambda other: parameters(other).active)
    small = [other for other in smaller if parameters(other).active <= SMALL * size]
    best = small[-1:] or smaller[:1]
    return {"cascade_model": best[0].id} if best else {}


def without(scenario: Scenario, lever: Lever, catalog: Catalog) -> dict[str, object]:
    """Fields to change to take a lever back."""
    if lever.id == "engine":
        return {"compared_engine": "same"}
    start = with_levers(scenario, (), catalog)
    return {
        name: getattr(start, name) for name in lever.fields
        if getattr(scenario, name) != getattr(start, name)
    }  # fmt: skip


# Tables ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One state of the bridge in figures; NaN where it has none."""

    id: str
    lever: str
    cost: float
    """Of an inference. [USD]"""
    change: float
    """Of the cost, over that before compression. [1]"""
    alone: float
    """The same with this lever only. [1]"""
    ttft: float
    tpot: float
    latency_p95: float
    throughput: float
    devices: float


def table(found: Bridge) -> list[Row]:
    """The bridge as rows: before compression, each lever added, and so the scenario at the end."""
    start = found.before.cost
    rows = [_row("before", "Before", found.before, math.nan, math.nan)]
    rows += [
        _row(step.lever.id, step.lever.title, step.state, step.change / start, step.alone / start)
        for step in found.steps
    ]
    return rows


def _row(id: str, title: str, now: State, change: float, alone: float) -> Row:
    estimate = now.estimate if now.feasible else None

    def figure(name: str) -> float:
        return math.nan if estimate is None else float(getattr(estimate, name))

    return Row(
        id, title, now.cost, change, alone, ttft=figure("ttft"), tpot=figure("tpot"),
        latency_p95=figure("latency_p95"), throughput=figure("throughput"), devices=now.devices,
    )  # fmt: skip


def summary(scenario: Scenario, catalog: Catalog) -> dict[str, object]:
    """Everything about the compression of a scenario as plain values for JSON, money in USD."""
    found = bridge(scenario, catalog)
    left = kept(scenario, choose(scenario, catalog))
    paid = break_even(scenario, catalog)
    return {
        "basis": scenario.cost_basis,
        "levers": [
            {
                "lever": row.id, "cost_per_inference_usd": known(row.cost),
                "change_share": known(row.change), "change_alone_share": known(row.alone),
                "ttft_ms": known(row.ttft / MILLISECOND),
                "tpot_ms": known(row.tpot / MILLISECOND),
                "latency_p95_ms": known(row.latency_p95 / MILLISECOND),
                "throughput_per_s": known(row.throughput), "devices": known(row.devices),
            }
            for row in table(found)
        ],
        "left_out": list(found.left_out),
        "quality": _quality_summary(left, scenario.quality_floor),
        "precisions": [
            {
                "scheme": each.scheme.id, "engine": each.engine,
                "devices": known(each.state.devices),
                "cost_per_inference_usd": known(each.state.cost),
                "speedup": known(each.speedup),
                "measured_speedup": None if each.measured is None else {
                    "low": each.measured.spread.low, "median": each.measured.spread.median,
                    "high": each.measured.spread.high, "rows": each.measured.spread.rows,
                    "which": each.measured.spread.level,
                },
                "quality": None if each.kept is None
                else _quality_summary(each.kept, scenario.quality_floor),
            }
            for each in precisions(scenario, catalog)
        ],
        "distillation": None if paid is None else {
            "data_usd": known(paid.data), "training_usd": known(paid.training),
            "before_usd": known(paid.before), "after_usd": known(paid.after),
            "break_even_inferences": known(paid.inferences),
            "break_even_days": known(paid.seconds / DAY),
        },
    }  # fmt: skip


def _quality_summary(left: Kept, floor: float) -> dict[str, object]:
    return {
        "low": left.known.low, "median": left.known.median, "high": left.known.high,
        "rows": left.known.rows, "which": left.known.level, "sources": list(left.known.sources),
        "not_measured": list(left.unknown), "enough": left.passes(floor),
    }  # fmt: skip


assert all(name in FIELDS for lever in LEVERS for name in lever.fields)
