"""Everything that serves one scenario: its model, and what stands before or behind it.

Most scenarios are one deployment. A cascade is two: a small model that answers first, and the
large one for what it passes on. A student carries the cost of its training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from cpi_model.catalog import Catalog
from cpi_model.coefficients import Coefficients
from cpi_model.evaluate import OBSTACLES, Estimate, cascade, evaluate
from cpi_model.inputs import (
    Choice,
    ImpossibleChoice,
    Inputs,
    Problem,
    choose,
    numbers,
    training_cost,
)
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.units import MONTH, Numeric

ONCE = (
    "answer_hit_share", "lookup_price", "load_balancer_price", "control_plane_price",
    "on_call_price", "request_bytes", "response_bytes", "log_bytes",
)  # fmt: skip
"""What a service pays once, however many models work on a request."""
ALONE = (
    "sparsity", "kept_depth", "kept_width", "student", "draft_model", "exit_share",
    "cascade_model", "tensor_parallel", "pipeline_parallel", "data_parallel", "expert_parallel",
    "instance", "step_time_correction", "first_token_correction",
)  # fmt: skip
"""Fields that the first model of a cascade does not share with the second."""
COMPARED = ("compared_scheme", "compared_engine", "quality_floor")
"""What compression is compared with, and judged by."""
MEMORY = OBSTACLES["weights_do_not_fit"] | OBSTACLES["no_memory_for_one_request"]
LEAST_TIME = 1e-6
"""What is left of a limit that the first model has used up. [s]"""


@dataclass(frozen=True)
class Service:
    """The numbers of a scenario."""

    model: Inputs
    """Of what the scenario names."""
    first: Inputs | None = None
    """Of the small model of a cascade."""
    passed_on: Numeric = 0.0
    """Share of the requests of the small model that go on."""
    first_choice: Choice | None = None


def resolve(
    scenario: Scenario, choice: Choice, catalog: Catalog, fitted: Coefficients
) -> Service:  # fmt: skip
    """Numbers of a scenario whose names have been looked up.

    Raises
    ------
    ImpossibleChoice
        If the first model of a cascade or the teacher of a student cannot be served here.
    """
    model = numbers(scenario, choice, fitted)
    if choice.teacher is not None:
        trained = training_price(scenario, choice, catalog, fitted)
        model = replace(model, training_price=trained / (scenario.training_months * MONTH))
    if scenario.cascade_model == "none":
        return Service(model)
    first, first_choice = _first(scenario, choice, catalog, fitted)
    return Service(model, first, scenario.escalated_share, first_choice)


def training_price(
    scenario: Scenario, choice: Choice, catalog: Catalog, fitted: Coefficients
) -> float:
    """What a student costs before it serves: answers of its teacher, and the training. [USD]"""
    each = scenario.teacher_usd_per_request
    if each is None:
        each = _teacher_price(scenario, catalog, fitted)
    return each * scenario.training_requests + training_cost(scenario, choice, fitted)


def _teacher_price(scenario: Scenario, catalog: Catalog, fitted: Coefficients) -> float:
    """One more request of a full replica of the teacher, in the precision before compression."""
    teacher = before(scenario, catalog)
    inputs, bits, _ = _fewest_devices(teacher, catalog, fitted)
    if bits:
        name = catalog.models[scenario.model].name
        raise ImpossibleChoice((Problem(
            f"{name} does not fit on this hardware to write the training data.",
            "teacher_usd_per_request", {"student": "none"}, "do without a student",
        ),))  # fmt: skip
    return float(evaluate(inputs).marginal_cost_per_inference)


def before(scenario: Scenario, catalog: Catalog) -> Scenario:
    """The same model and workload without any compression."""
    without = {
        name: info.default for name, info in FIELDS.items()
        if info.group == "compression" and name not in COMPARED
    }  # fmt: skip
    engine, scheme = scenario.compared_engine, scenario.compared_scheme
    if engine == "same":
        engine = scenario.engine
    if scheme == "native":
        scheme = _native(scenario.model, engine, catalog)
    return scenario.model_copy(update=without | {"scheme": scheme, "engine": engine})


def _native(model: str, engine: str, catalog: Catalog) -> str:
    """Precision that a model comes in, or the nearest that the engine has."""
    known = catalog.engines[engine].schemes if engine in catalog.engines else ()
    native = catalog.models[model].native_precision if model in catalog.models else "bf16"
    return next((scheme for scheme in (native, "bf16", "fp32") if scheme in known), native)


def _first(
    scenario: Scenario, choice: Choice, catalog: Catalog, fitted: Coefficients
) -> tuple[Inputs, Choice]:
    """The small model of a cascade: same chip and engine, on as few devices as hold it."""
    if scenario.cascade_model not in catalog.models:
        raise _no_cascade(f"There is no model '{scenario.cascade_model}' in the catalog.")
    small = catalog.models[scenario.cascade_model]
    if small.model_class != choice.model.model_class:
        raise _no_cascade(
            f"{small.name} cannot answer first: it is of class {small.model_class}, "
            f"{choice.model.name} of {choice.model.model_class}."
        )
    alone = {name: FIELDS[name].default for name in ALONE} | {"model": small.id}
    if scenario.scaling == "fixed":
        alone["scaling"] = "peak"
    try:
        found = _fewest_devices(scenario.model_copy(update=alone), catalog, fitted)
    except ImpossibleChoice as impossible:
        raise _no_cascade(f"{small.name} cannot answer first: {impossible}") from None
    inputs, bits, alone_choice = found
    if bits & MEMORY:
        raise _no_cascade(f"{small.name} cannot answer first: it does not fit on this hardware.")
    if bits:
        raise _no_cascade(f"{small.name} cannot answer first: requests are too long for it.")
    return inputs, alone_choice


def _no_cascade(reason: str) -> ImpossibleChoice:
    remedy = "do without the cascade"
    return ImpossibleChoice((Problem(reason, "cascade_model", {"cascade_model": "none"}, remedy),))


def _fewest_devices(
    scenario: Scenario, catalog: Catalog, fitted: Coefficients
) -> tuple[Inputs, int, Choice]:
    """Numbers on the scenario's devices, or on twice as many until the weights fit.

    With them the bits of what still stands in the way, and the choice that they are of.
    """
    while True:
        choice = choose(scenario, catalog)
        inputs = numbers(scenario, choice, fitted)
        bits = int(evaluate(inputs).obstacles)
        more = twice_the_devices(scenario, choice) if bits & MEMORY else None
        if more is None:
            return inputs, bits, choice
        scenario = scenario.model_copy(update={"tensor_parallel": more})


def twice_the_devices(scenario: Scenario, choice: Choice) -> int | None:
    """Twice the devices of a replica, where the model and the fast link allow them."""
    shape, chip = choice.model.transformer, choice.accelerator
    devices = 2 * scenario.tensor_parallel
    if shape is None or chip.kind == "cpu" or devices > chip.fast_domain_devices:
        return None
    return devices if shape.attention.heads % devices == 0 else None


def estimate(service: Service) -> Estimate:
    """Cost, speed and memory of everything that serves a scenario."""
    if service.first is None:
        return evaluate(service.model)
    (small, first), (large, second) = deployments(service)
    return cascade(first, second, large, small, service.passed_on)


def deployments(service: Service) -> tuple[tuple[Inputs, Estimate], tuple[Inputs, Estimate]]:
    """Both models of a cascade, each with what reaches it and with its own estimate."""
    small, x = service.first, service.model
    if small is None:
        raise ValueError("service has one model, must have two")
    first = evaluate(small)
    reached = 1.0 - small.answer_hit_share
    used = np.nan_to_num(first.latency_mean / reached)
    changed: dict[str, Numeric] = {
        "requests_per_s": small.requests_per_s * reached * service.passed_on,
        "slo_ttft": np.maximum(x.slo_ttft - used, LEAST_TIME),
        "slo_latency": np.maximum(x.slo_latency - used, LEAST_TIME),
    }
    large = replace(x, **changed, **dict.fromkeys(ONCE, 0.0))
    return (small, first), (large, evaluate(large))


def changed(service: Service, **numbers: Any) -> Service:
    """The same service with other numbers in all of its models."""
    first = None if service.first is None else replace(service.first, **numbers)
    return replace(service, model=replace(service.model, **numbers), first=first)


def alike(services: Sequence[Service]) -> Iterator[list[int]]:
    """Places of those with one model, then of those with two: what :func:`together` takes."""
    for two in (False, True):
        places = [at for at, each in enumerate(services) if (each.first is not None) == two]
        if places:
            yield places


def together(services: Sequence[Service]) -> Service:
    """Many services as one of arrays: all of them with one model, or all with two."""
    firsts = [service.first for service in services if service.first is not None]
    return Service(
        model=stack([service.model for service in services]),
        first=stack(firsts) if firsts else None,
        passed_on=np.array([service.passed_on for service in services], dtype=float),
        first_choice=services[0].first_choice,
    )


def stack(columns: Sequence[Inputs]) -> Inputs:
    """Many inputs as one of arrays; a field that is the same in all stays one number."""
    stacked: dict[str, Any] = {}
    for field in fields(Inputs):
        values = [getattr(column, field.name) for column in columns]
        same = all(value == values[0] for value in values)
        stacked[field.name] = values[0] if same else np.array(values, dtype=float)
    if not any(isinstance(value, np.ndarray) for value in stacked.values()):
        stacked["requests_per_s"] = np.full(len(columns), float(stacked["requests_per_s"]))
    return Inputs(**stacked)
