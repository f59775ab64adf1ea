"""A scenario answered: the estimate, why it is what it is, and what to change if it cannot be."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from typing import Any

import numpy as np
from pydantic import ValidationError

from cpi_model import links
from cpi_model.catalog import Catalog, nearest, offers
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import OBSTACLES, Estimate, evaluate, performance
from cpi_model.inputs import (
    ALTERNATIVES,
    Choice,
    ImpossibleChoice,
    Inputs,
    choose,
    engine_serves,
    numbers,
)
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.schema import Accelerator, Scheme
from cpi_model.studies import bands, service
from cpi_model.studies.service import MEMORY, Service, stack
from cpi_model.units import DAY, GB, HOUR, MILLION, MILLISECOND, MONTH, WATT_HOUR, YEAR

MOST_SUGGESTIONS = 3
ENOUGH_SUGGESTIONS = 2
"""With these of few changes, more changes at once are not tried."""
MOST_CHANGED = 3
"""Kinds of choices that one suggestion changes together."""
MOST_TRIED = 150
"""Combinations of the same kinds that are tried: a bound on the time of an answer."""
MOST_REPAIRS = 5
REPLICAS = OBSTACLES["load_above_capacity"] | OBSTACLES["fewer_replicas_than_versions"]


@dataclass(frozen=True)
class Suggestion:
    """A change that was tried and works."""

    text: str
    changes: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a scenario comes to."""

    scenario: Scenario
    choice: Choice | None
    service: Service | None
    """The numbers of all that serves it."""
    estimate: Estimate | None
    """None where the scenario names what does not exist or go together."""
    reasons: tuple[str, ...]
    """Why it cannot work, one sentence each; empty where it can."""
    suggestions: tuple[Suggestion, ...]
    """The nearest that works, each tried; at most three."""

    @property
    def inputs(self) -> Inputs | None:
        """Numbers of the model that the scenario names."""
        return None if self.service is None else self.service.model

    @property
    def parts(self) -> tuple[tuple[Inputs, Estimate], ...]:
        """Numbers and estimate of each deployment: the named model, the first of a cascade."""
        if self.service is None or self.estimate is None:
            return ()
        if self.service.first is None:
            return ((self.service.model, self.estimate),)
        small, large = service.deployments(self.service)
        return large, small

    @property
    def feasible(self) -> bool:
        """Whether the deployment works."""
        return self.estimate is not None and bool(self.estimate.feasible)

    @property
    def notes(self) -> tuple[str, ...]:
        """Decisions on the way that a reader should know."""
        notes = () if self.choice is None else self.choice.notes
        if self.choice is not None and self.choice.teacher is not None:
            notes += (f"A student of {self.choice.teacher.name}: its training is in the cost.",)
        if self.service is not None and self.service.first_choice is not None:
            first = self.service.first_choice
            notes += (
                f"{first.model.name} answers first, on {first.devices_per_replica:g} × "
                f"{first.accelerator.name} a replica. Cost and times are of both models, the "
                "throughput and memory of a replica of the large one.",
            )
        if self.estimate is not None and self.feasible:
            running = float(self.estimate.running)
            if running < self.scenario.concurrency:
                notes += (
                    f"Memory lets {running:,.0f} of {self.scenario.concurrency:,} requests run at "
                    "a time; the others wait.",
                )
            if reading := float(self.estimate.prefill_replicas):
                notes += (
                    f"{_counted(reading, 'further replica')} for reading prompts alone, whose cost "
                    "is included.",
                )
        return notes


def answer(scenario: Scenario, catalog: Catalog) -> Answer:
    """Estimate a scenario; where it cannot work, say why and find the nearest that does."""
    try:
        choice = choose(scenario, catalog)
        whole = service.resolve(scenario, choice, catalog, coefficients())
    except ImpossibleChoice as impossible:
        reasons = tuple(problem.reason for problem in impossible.problems)
        return Answer(scenario, None, None, None, reasons, _nearest(scenario, catalog))
    estimate = service.estimate(whole)
    if estimate.feasible:
        return Answer(scenario, choice, whole, estimate, (), ())
    reasons = tuple(_reasons(scenario, choice, whole.model, estimate))
    return Answer(scenario, choice, whole, estimate, reasons, _nearest(scenario, catalog))


def unknown_names(scenario: Scenario, catalog: Catalog) -> list[str]:
    """A sentence for each name in a scenario that the catalog does not have.

    Such a scenario is a slip of the pen. One that names what exists and cannot work is a question
    that :func:`answer` answers.
    """
    known: dict[str, Iterable[str]] = {
        "model": catalog.models,
        "student": (*ALTERNATIVES["student"], *catalog.models),
        "draft_model": (*ALTERNATIVES["draft_model"], *catalog.models),
        "cascade_model": (*ALTERNATIVES["cascade_model"], *catalog.models),
        "compared_scheme": (*ALTERNATIVES["compared_scheme"], *catalog.schemes),
        "compared_engine": (*ALTERNATIVES["compared_engine"], *catalog.engines),
        "traffic": (*ALTERNATIVES["traffic"], *catalog.traffic),
        "scheme": catalog.schemes,
        "engine": catalog.engines,
        "accelerator": catalog.accelerators,
        "instance": ("auto", *catalog.instances),
        "cloud": ("any", *{instance.cloud for instance in catalog.instances.values()}),
        "region": ("any", *{price.region for price in catalog.instance_prices}),
    }
    sentences = []
    for field, names in known.items():
        values = getattr(scenario, field).split(",") if FIELDS[field].several else (
            getattr(scenario, field),
        )  # fmt: skip
        for value in values:
            if value in names:
                continue
            near = nearest(value, sorted(names))
            hint = f"; did you mean {' or '.join(near)}?" if near else "."
            sentences.append(f"There is no {field} '{value}' in the catalog{hint}")
    return sentences


# Why not ------------------------------------------------------------------------------------------


def _digits(value: float) -> str:
    """Three significant digits, for a sentence.

    >>> _digits(1342.0), _digits(0.07512)
    ('1,340', '0.0751')
    """
    return f"{float(f'{value:.3g}'):,g}"


def _counted(count: float, what: str) -> str:
    return f"{count:,.0f} {what}" if count == 1 else f"{count:,.0f} {what}s"


def _reasons(
    scenario: Scenario, choice: Choice, inputs: Inputs, estimate: Estimate
) -> Iterator[str]:
    """A sentence with numbers for each obstacle."""
    bits, name = int(estimate.obstacles), choice.accelerator.name
    devices = choice.devices_per_replica
    weights, usable = float(estimate.weight_memory) / GB, float(estimate.usable_memory) / GB
    room = (
        f"the {_digits(usable)} GB that {name} lets the engine use "
        f"({scenario.memory_share:.0%} of {_digits(float(inputs.memory_capacity) / GB)} GB)"
    )
    each = f"Weights of {_digits(weights)} GB"
    if devices > 1:
        each += f" on each of {devices:.0f} devices"
    if bits & OBSTACLES["weights_do_not_fit"]:
        workspace = float(inputs.workspace_bytes) / GB
        extra = f" and {_digits(workspace)} GB of working space" if workspace else ""
        yield f"{each}{extra} do not fit in {room}."
    if bits & OBSTACLES["no_memory_for_one_request"]:
        yield f"{each} leave no room for even one request of this size in {room}."
    if bits & OBSTACLES["context_too_long"]:
        written = scenario.output_tokens if choice.model.transformer else 0
        yield (
            f"{scenario.input_tokens + written:,} tokens are more than the "
            f"{float(inputs.max_context):,.0f} that {choice.model.name} accepts."
        )
    if bits & OBSTACLES["load_above_capacity"]:
        capacity = float(performance(inputs).throughput) * scenario.fixed_replicas
        peak = scenario.requests_per_s * scenario.peak_to_mean
        serve = "serves" if scenario.fixed_replicas == 1 else "serve"
        yield (
            f"{_counted(scenario.fixed_replicas, 'replica')} {serve} at most {_digits(capacity)} "
            f"requests/s, and the peak is {_digits(peak)}."
        )

    if bits & OBSTACLES["fewer_replicas_than_versions"]:
        yield (
            f"{_counted(scenario.live_versions, 'live version')} cannot run on "
            f"{_counted(scenario.fixed_replicas, 'replica')}: each needs one."
        )


# What would work ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Option:
    """Changes that may work; each step is the end of a sentence, and the fields it sets."""

    steps: tuple[tuple[str, dict[str, Any]], ...] = ()

    @property
    def changes(self) -> dict[str, Any]:
        """Fields that differ after all steps."""
        return {name: value for _, fields in self.steps for name, value in fields.items()}

    def then(self, text: str, changes: dict[str, Any]) -> Option:
        """One step more; it replaces earlier ones of which nothing is left."""
        kept = tuple(step for step in self.steps if not step[1].keys() <= changes.keys())
        return Option((*kept, (text, changes)))

    def joined(self, others: Iterable[Option]) -> Option:
        """This one and then others."""
        whole = self
        for other in others:
            for text, changes in other.steps:
                whole = whole.then(text, changes)
        return whole

    def suggestion(self, scenario: Scenario) -> Suggestion:
        """The option as a sentence and what it changes, once it has been found to work."""
        text = " and ".join(text for text, _ in self.steps)
        changes = {n: value for n, value in self.changes.items() if getattr(scenario, n) != value}
        return Suggestion(text[:1].upper() + text[1:], changes)


def _option(text: str, changes: dict[str, Any]) -> Option:
    return Option(((text, changes),))


@dataclass(frozen=True)
class _Tried:
    """A scenario after changes, looked up."""

    option: Option
    scenario: Scenario
    choice: Choice
    service: Service

    @property
    def inputs(self) -> Inputs:
        """Numbers of the model that the scenario names."""
        return self.service.model


def _looked_up(scenario: Scenario, option: Option, catalog: Catalog) -> _Tried | None:
    """A scenario with changes, and with the remedies that it takes for its names to go together.

    None where a problem has no remedy.
    """
    for _ in range(MOST_REPAIRS):
        try:
            changed = Scenario.model_validate(scenario.model_dump() | option.changes)
            choice = choose(changed, catalog)
            whole = service.resolve(changed, choice, catalog, coefficients())
            return _Tried(option, changed, choice, whole)
        except ValidationError:
            return None
        except ImpossibleChoice as impossible:
            for problem in impossible.problems:
                # A remedy that undoes a change that is being tried would go round in circles.
                if not problem.changes or problem.changes.keys() & option.changes.keys():
                    return None
                option = option.then(problem.remedy, problem.changes)
    return None


def _nearest(scenario: Scenario, catalog: Catalog) -> tuple[Suggestion, ...]:
    """The smallest changes that make a scenario work: first of one kind, then of several."""
    start = _looked_up(scenario, Option(), catalog)
    if start is None:
        chips = (_looked_up(scenario, _on(chip), catalog) for chip in _alike(scenario, catalog))
        start = next((chip for chip in chips if chip is not None), None)
    suggestions = () if start is None else _around(scenario, start, catalog)
    if not suggestions:
        # Nothing near works: begin again on the chip that scenarios begin with.
        usual = catalog.accelerators[Scenario().accelerator]
        if start := _looked_up(scenario, _on(usual), catalog):
            suggestions = _around(scenario, start, catalog)
    return suggestions


def _around(scenario: Scenario, start: _Tried, catalog: Catalog) -> tuple[Suggestion, ...]:
    """What works near a start, itself included."""
    start = _short_enough(start, catalog)
    if itself := _first_that_works([start]):
        suggestions = [itself.suggestion(scenario)]
        if "fixed_replicas" in itself.changes:
            suggestions.append(start.option.then(*PEAK).suggestion(scenario))
        return tuple(suggestions)
    bits = int(evaluate(start.inputs).obstacles)
    kinds = [some for kind in KINDS if (some := list(kind(start, bits, catalog)))]
    working: list[Option] = []
    for size in range(1, MOST_CHANGED + 1):
        for together in combinations(kinds, size):
            ranked = sorted(
                product(*(enumerate(options) for options in together)),
                key=lambda combination: sum(rank for rank, _ in combination),
            )
            options = (
                start.option.joined(option for _, option in combination) for combination in ranked
            )
            # What works without a further change is not made better by it.
            fresh = (
                option
                for option in options
                if not any(other.changes.items() <= option.changes.items() for other in working)
            )
            tried = (_looked_up(scenario, option, catalog) for option in islice(fresh, MOST_TRIED))
            if found := _first_that_works([each for each in tried if each is not None]):
                working.append(found)
            if len(working) == MOST_SUGGESTIONS:
                break
        if len(working) >= ENOUGH_SUGGESTIONS:
            break
    return tuple(option.suggestion(scenario) for option in working)


def _first_that_works(tried: Sequence[_Tried]) -> Option | None:
    """The first option that is feasible, given enough replicas where their number is fixed."""
    if not tried:
        return None
    obstacles = np.atleast_1d(evaluate(stack([each.inputs for each in tried])).obstacles)
    for each, bits in zip(tried, obstacles, strict=True):
        if bits == 0:
            return each.option
        if not int(bits) & ~REPLICAS and (option := _enough_replicas(each)):
            return option
    return None


def _enough_replicas(tried: _Tried) -> Option | None:
    """The change, with as many replicas as the peak needs; None where that is too many."""
    scenario = tried.scenario
    peak = scenario.requests_per_s * scenario.peak_to_mean
    needed = max(
        math.ceil(peak / float(performance(tried.inputs).throughput)), scenario.live_versions
    )
    changes = {"fixed_replicas": needed}
    try:
        changed = Scenario.model_validate(scenario.model_dump() | changes)
    except ValidationError:
        return tried.option.then(*PEAK)
    if not evaluate(numbers(changed, tried.choice, coefficients())).feasible:
        return None
    return tried.option.then(f"run {_counted(needed, 'replica')}", changes)


PEAK = ("keep as many replicas as the peak needs", {"scaling": "peak"})


def _short_enough(start: _Tried, catalog: Catalog) -> _Tried:
    """The same with no more tokens than the model accepts."""
    most = float(start.inputs.max_context)
    given, written = start.scenario.input_tokens, start.scenario.output_tokens
    if start.choice.model.transformer is None:
        written = 0
    if given + written <= most:
        return start
    if most - written >= most / 2:
        cut = {"input_tokens": int(most) - written}
        text = f"cut the input to {cut['input_tokens']:,} tokens"
    else:
        cut = {
            "input_tokens": max(1, int(given * most / (given + written))),
            "output_tokens": max(1, int(written * most / (given + written))),
        }
        text = (
            f"cut input and output to {cut['input_tokens']:,} and {cut['output_tokens']:,} tokens"
        )
    return _looked_up(start.scenario, start.option.then(text, cut), catalog) or start


def _narrower_cache(start: _Tried, bits: int, catalog: Catalog) -> Iterator[Option]:
    no_room = bits & OBSTACLES["no_memory_for_one_request"]
    if no_room and start.choice.model.transformer and start.scenario.kv_precision == "bf16":
        yield _option("store the KV cache in fp8", {"kv_precision": "fp8"})


def _smaller_requests(start: _Tried, bits: int, catalog: Catalog) -> Iterator[Option]:
    """Nine tenths of what is in a request, of that again nine tenths, ... in round figures."""
    if not bits & OBSTACLES["no_memory_for_one_request"]:
        return
    field = "input_tokens" if start.choice.model.transformer else "items_per_request"
    what = "input tokens" if start.choice.model.transformer else "items in a request"
    size = getattr(start.scenario, field)
    while (size := int(float(f"{0.9 * size:.2g}"))) >= 1:
        yield _option(f"take at most {size:,} {what}", {field: size})


def _narrower(start: _Tried, bits: int, catalog: Catalog) -> Iterator[Option]:
    """Schemes of fewer bits that the engine has."""
    if not bits & MEMORY:
        return
    choice = start.choice
    shape = choice.model.transformer
    known = Counter(scheme for engine in catalog.engines.values() for scheme in engine.schemes)

    def preference(scheme: Scheme) -> tuple[float, float, bool, int]:
        """Most bits first; then what the chip multiplies fastest, floats, what is widespread."""
        speed = choice.accelerator.dense_tflops.get(scheme.arithmetic, 0.0)
        whole = not scheme.arithmetic.startswith("fp")
        return -round(scheme.weight_bits), -speed, whole, -known[scheme.id]

    for scheme in sorted(catalog.schemes.values(), key=preference):
        if scheme.weight_bits >= choice.scheme.weight_bits:
            continue
        if scheme.experts_only and not (shape and shape.experts):
            continue
        if not engine_serves(choice.engine, choice.model, choice.accelerator, scheme):
            yield _option(f"use {scheme.name}", {"scheme": scheme.id})


def _more_devices(start: _Tried, bits: int, catalog: Catalog) -> Iterator[Option]:
    """Twice as many devices in tensor parallel, four times, ..., then stages of a pipeline."""
    shape, chip = start.choice.model.transformer, start.choice.accelerator
    if not bits & MEMORY or shape is None or chip.kind == "cpu":
        return
    devices = widest = start.scenario.tensor_parallel
    while (devices := devices * 2) <= chip.fast_domain_devices:
        if shape.attention.heads % devices == 0:
            widest = devices
            yield _option(
                f"spread it over {devices} devices (tensor parallel)",
                {"tensor_parallel": devices},
            )
    stages = start.scenario.pipeline_parallel
    while (stages := stages * 2) <= 16:
        text = (
            f"spread it over {widest * stages} devices (tensor parallel {widest}, {stages} stages)"
        )
        yield _option(text, {"tensor_parallel": widest, "pipeline_parallel": stages})


def _bigger_instance(start: _Tried, bits: int, catalog: Catalog) -> Iterator[Option]:
    """Instances of a CPU with more memory; of other chips the memory does not grow with them."""
    choice, scenario = start.choice, start.scenario
    if not bits & MEMORY or choice.accelerator.kind != "cpu" or choice.instance is None:
        return
    now = choice.instance.memory_gb or 0.0
    found = offers(catalog, choice.accelerator.id, scenario.purchase)
    sizes = {o.instance.memory_gb: o.instance for o in found if (o.instance.memory_gb or 0) > now}
    for size, instance in sorted(sizes.items(), key=lambda item: item[0] or 0.0):
        changes = {"instance": instance.id, "cloud": "any", "region": "any"}
        yield _option(f"use {instance.id} with {size:,.0f} GB", changes)


def _bigger_chip(start: _Tried, bits: int, catalog: Catalog) -> Iterator[Option]:
    """Chips with more memory: of the same kind, then GPUs; of each size the first that is sold."""
    if not bits & MEMORY:
        return
    chip = start.choice.accelerator
    now = float(start.inputs.memory_capacity) / GB
    for kind in dict.fromkeys((chip.kind, "gpu")):
        bigger = [
            other for other in catalog.accelerators.values()
            if other.kind == kind and (other.memory_gb or 0.0) > now
        ]  # fmt: skip
        sizes: set[float | None] = set()
        for other in sorted(bigger, key=lambda other: other.memory_gb or 0.0):
            if other.memory_gb in sizes or not offers(catalog, other.id, start.scenario.purchase):
                continue
            sizes.add(other.memory_gb)
            yield _on(other)


def _on(chip: Accelerator) -> Option:
    size = f" ({chip.memory_gb:,.0f} GB)" if chip.memory_gb else ""
    changes = {"accelerator": chip.id, "instance": "auto", "cloud": "any", "region": "any"}
    return _option(f"use {chip.name}{size}", changes)


def _alike(scenario: Scenario, catalog: Catalog) -> Iterator[Accelerator]:
    """Other chips, those most like the one in the scenario first."""
    usual = catalog.accelerators[Scenario().accelerator]
    chip = catalog.accelerators.get(scenario.accelerator, usual)

    def difference(other: Accelerator) -> tuple[bool, float, bool, str]:
        here, there = chip.memory_gb or 100.0, other.memory_gb or 100.0
        # At the same size the chip that most scenarios begin with.
        return other.kind != chip.kind, abs(math.log(there / here)), other is not usual, other.id

    named = scenario.accelerator
    others = (other for other in catalog.accelerators.values() if other.id != named)
    return iter(sorted(others, key=difference))


Kind = Callable[[_Tried, int, Catalog], Iterator[Option]]
KINDS: tuple[Kind, ...] = (
    _narrower_cache, _smaller_requests, _narrower, _more_devices, _bigger_instance, _bigger_chip,
)  # fmt: skip
"""Kinds of changes, the gentlest first."""


# As JSON -----------------------------------------------------------------------------------------


def known(value: object) -> float | None:
    """A number for JSON, which has no NaN and no infinity."""
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else None


def summary(result: Answer) -> dict[str, Any]:
    """An answer as plain values for JSON; an unknown figure is null, money is in USD."""
    return figures(result.estimate) | {
        "bands": _bands(result),
        "feasible": result.feasible,
        "reasons": list(result.reasons),
        "suggestions": [
            {"text": suggestion.text, "changes": suggestion.changes}
            for suggestion in result.suggestions
        ],
        "notes": list(result.notes),
        "price": _price(result.scenario, result.choice, result.inputs),
        "link": "?" + links.encode(result.scenario),
    }


RANGES: dict[str, tuple[str, float]] = {
    "cost_per_inference_usd": ("cost_per_inference", 1.0),
    "cost_per_1m_inferences_usd": ("cost_per_inference", 1 / MILLION),
    "marginal_cost_per_inference_usd": ("marginal_cost_per_inference", 1.0),
    "cost_per_good_inference_usd": ("cost_per_good_inference", 1.0),
    "cost_per_million_input_tokens_usd": ("input_token_cost", 1 / MILLION),
    "cost_per_million_cached_input_tokens_usd": ("cached_token_cost", 1 / MILLION),
    "cost_per_million_output_tokens_usd": ("output_token_cost", 1 / MILLION),
    "monthly_cost_usd": ("cost_rate", 1 / MONTH),
    "throughput_per_s": ("throughput", 1.0),
    "output_tokens_per_s": ("output_tokens_per_s", 1.0),
    "ttft_ms": ("ttft", MILLISECOND),
    "tpot_ms": ("tpot", MILLISECOND),
    "latency_mean_ms": ("latency_mean", MILLISECOND),
    "latency_p95_ms": ("latency_p95", MILLISECOND),
    "good_share": ("good_share", 1.0),
    "utilisation": ("utilisation", 1.0),
    "replicas": ("replicas", 1.0),
}
"""Names in JSON of the figures that have a range, those of the estimate, and their units."""


def _bands(result: Answer) -> dict[str, dict[str, Any] | None]:
    """Likely ranges by the names of their figures; null where unknown."""
    found = bands.of(result)

    def document(name: str, unit: float) -> dict[str, Any] | None:
        if (band := found[name]) is None:
            return None
        return {
            "low": known(band.low / unit), "high": known(band.high / unit), "rows": band.rows,
            "pairing_measured": band.measured,
        }  # fmt: skip

    return {shown: document(*figure) for shown, figure in RANGES.items()}


COMPONENTS = ("compute", "memory", "storage", "network", "orchestration")


def figures(estimate: Estimate | None) -> dict[str, Any]:
    """Figures of one estimate by their names in JSON; without one, the names with null."""

    def number(name: str, unit: float = 1.0) -> float | None:
        return None if estimate is None else known(float(getattr(estimate, name)) / unit)

    cost, cost_rate = number("cost_per_inference"), number("cost_rate")
    per_second = cost_rate / cost if cost and cost_rate is not None else None

    def total(name: str, period: float) -> float | None:
        """Cost of a period, or a part of it."""
        part = number(name)
        if part == 0.0:
            return 0.0
        return None if part is None or per_second is None else part * per_second * period

    return {
        "cost_per_inference_usd": number("cost_per_inference"),
        "cost_per_1k_inferences_usd": number("cost_per_inference", 1 / 1000),
        "cost_per_1m_inferences_usd": number("cost_per_inference", 1 / MILLION),
        "components_usd": {name: number(f"{name}_cost") for name in COMPONENTS},
        "marginal_cost_per_inference_usd": number("marginal_cost_per_inference"),
        "marginal_components_usd": {name: number(f"marginal_{name}_cost") for name in COMPONENTS},
        "cost_per_good_inference_usd": number("cost_per_good_inference"),
        "cost_per_million_input_tokens_usd": number("input_token_cost", 1 / MILLION),
        "cost_per_million_cached_input_tokens_usd": number("cached_token_cost", 1 / MILLION),
        "cost_per_million_output_tokens_usd": number("output_token_cost", 1 / MILLION),
        "daily_cost_usd": total("cost_per_inference", DAY),
        "monthly_cost_usd": total("cost_per_inference", MONTH),
        "yearly_cost_usd": total("cost_per_inference", YEAR),
        "components_monthly_usd": {name: total(f"{name}_cost", MONTH) for name in COMPONENTS},
        "throughput_per_s": number("throughput"),
        "output_tokens_per_s": number("output_tokens_per_s"),
        "ttft_ms": number("ttft", MILLISECOND),
        "tpot_ms": number("tpot", MILLISECOND),
        "latency_mean_ms": number("latency_mean", MILLISECOND),
        "latency_p95_ms": number("latency_p95", MILLISECOND),
        "good_share": number("good_share"),
        "utilisation": number("utilisation"),
        "longest_gap_ms": number("longest_gap", MILLISECOND),
        "replicas": number("replicas"),
        "prefill_replicas": number("prefill_replicas"),
        "instances": number("instances"),
        "concurrency_running": number("running"),
        "concurrency_that_fits": number("max_concurrency"),
        "memory_gb": {
            "weights": number("weight_memory", GB),
            "kv_cache": number("cache_memory", GB),
            "workspace": number("workspace_memory", GB),
            "usable": number("usable_memory", GB),
        },
        "energy_wh": number("energy", WATT_HOUR),
        "carbon_g": number("carbon"),
    }


def _price(
    scenario: Scenario, choice: Choice | None, inputs: Inputs | None
) -> dict[str, Any] | None:
    """Where the price comes from: of one instance, before discounts and the like."""
    if choice is None or inputs is None:
        return None
    price = choice.price
    instance = None if choice.instance is None else choice.instance.id
    effective = known(float(inputs.instance_price) * HOUR)
    if price is None:
        own = scenario.device_price_usd_per_hour
        devices = (
            choice.instance.accelerator_count if choice.instance else choice.devices_per_replica
        )
        return {
            "instance": instance, "region": None, "purchase": scenario.purchase,
            "usd_per_hour": None if own is None else own * devices,
            "effective_usd_per_hour": effective, "valid_from": None,
            "source": "entered by the user",
        }  # fmt: skip
    return {
        "instance": instance, "region": price.region, "purchase": price.purchase,
        "usd_per_hour": price.usd_per_hour, "effective_usd_per_hour": effective,
        "valid_from": price.valid_from.isoformat(), "source": price.source,
    }  # fmt: skip
