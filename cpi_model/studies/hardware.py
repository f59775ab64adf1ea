"""What lies behind a short list of hardware: rooflines, the load, and two of them term by term."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from cpi_model.catalog import Catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate, evaluate, prompts_together
from cpi_model.formulas import transformer
from cpi_model.inputs import Inputs, numbers
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies.optimise import Configuration, Search, search
from cpi_model.studies.service import stack
from cpi_model.units import GB, GIB, HOUR, MILLION, MILLISECOND, TFLOPS, Array

SEARCHED_LOADS = 7
"""Loads at which the best configurations are looked for."""
LOAD_RANGE = (0.01, 100.0)
"""From and to, of the scenario's own load."""
LOAD_POINTS = 61
LOAD_LINES = 6
"""Pieces of hardware that get a line: those that are cheapest somewhere come first."""


def inputs_of(scenario: Scenario, each: Configuration) -> Inputs:
    """Numbers of a configuration."""
    return numbers(scenario.model_copy(update=each.changes), each.choice, coefficients())


# Rooflines ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """What a device does while it reads prompts, or writes answers, or works on a batch."""

    phase: str
    intensity: float
    """FLOP done for each byte read. [1/B]"""
    flops: float
    """FLOP/s of one device."""


@dataclass(frozen=True)
class Roofline:
    """What one device could do, and what it does."""

    name: str
    peak: float
    """FLOP/s in the format of the multiplications."""
    bandwidth: float
    """B/s"""
    points: tuple[Point, ...]


def rooflines(scenario: Scenario, found: Sequence[Configuration]) -> list[Roofline]:
    """Datasheet limits of some configurations and where their work lies below them.

    Bytes are those of weights, and when decoding of the cache; what layers write and read between
    multiplications is left out.
    """
    lines = []
    for each in found:
        x = inputs_of(scenario, each)
        points = _token_points(x, each.estimate) if x.is_llm else _sample_points(x, each.estimate)
        lines.append(
            Roofline(
                each.choice.accelerator.name, float(x.peak_flops), float(x.memory_bandwidth),
                points,
            )
        )  # fmt: skip
    return lines


def _token_points(x: Inputs, estimate: Estimate) -> tuple[Point, ...]:
    devices = float(x.tensor_parallel * x.pipeline_parallel * x.data_parallel)
    routed = float(x.experts_per_token) / max(float(x.experts), 1.0)
    active = float(x.dense_params + x.expert_params * routed)

    def weights(tokens: float) -> float:
        read = transformer.expert_share_read(tokens, x.experts, x.experts_per_token)
        return float((x.dense_bytes * x.data_parallel + x.expert_bytes * read) / devices)

    running, prompt = float(estimate.running), float(x.input_tokens * (1 - x.cached_input_share))
    together = float(prompts_together(x, max(running / float(x.data_parallel), 1.0)))
    points = []
    for phase, tokens, bytes_read, time in (
        ("prefill", prompt * together, weights(prompt * together),
         float(estimate.prefill_time) * together),
        ("decode", running, weights(running) + float(estimate.cache_memory),
         float(estimate.decode_step_time)),
    ):  # fmt: skip
        flops = float(transformer.linear_flops(active, max(tokens, 1.0))) / devices
        points.append(Point(phase, flops / bytes_read, flops / time))
    return tuple(points)


def _sample_points(x: Inputs, estimate: Estimate) -> tuple[Point, ...]:
    samples = float(estimate.running * x.items_per_request)
    flops = samples * float(x.sample_flops)
    moved = float(x.sample_passes * x.sample_weight_bytes) + samples * float(
        x.sample_activation_bytes + x.sample_gather_bytes
    )
    return (Point("batch", flops / moved, flops / float(estimate.decode_step_time)),)


# Cost against load --------------------------------------------------------------------------------


@dataclass(frozen=True)
class AgainstLoad:
    """Least cost of hardware at each load."""

    loads: Array
    """Requests per second."""
    costs: dict[str, Array]
    """By hardware: USD per successful inference; NaN where nothing meets the limits."""
    cheapest: tuple[str, ...]
    """Hardware at each load."""
    crossovers: tuple[tuple[float, str, str], ...]
    """Load from which another is the cheapest: load, before, after."""


def against_load(
    scenario: Scenario, catalog: Catalog, progress: Callable[[float], object] | None = None
) -> AgainstLoad:
    """Cost of the best hardware from little to much traffic.

    The best configurations of all hardware are looked for at some loads; every one of them is then
    estimated at all loads, and of each piece of hardware the cheapest counts.
    """
    info = FIELDS["requests_per_s"]
    low, high = (
        float(np.clip(scenario.requests_per_s * end, info.minimum, info.maximum))
        for end in LOAD_RANGE
    )
    searched = sorted({*np.geomspace(low, high, SEARCHED_LOADS), scenario.requests_per_s})
    loads = np.geomspace(low, high, LOAD_POINTS)
    found: dict[tuple[object, ...], tuple[str, Inputs]] = {}
    for done, load in enumerate(searched):
        there = scenario.model_copy(update={"requests_per_s": float(load)})
        for each in search(there, catalog).ranked:
            key = tuple(each.changes.values())
            found.setdefault(key, (each.choice.accelerator.id, inputs_of(there, each)))
        if progress is not None:
            progress((done + 1) / len(searched))
    if not found:
        return AgainstLoad(loads, {}, (), ())
    chips = np.array([chip for chip, _ in found.values()])
    columns = stack([inputs for _, inputs in found.values()])
    wide = {
        name: value[:, np.newaxis] for name in Inputs.__dataclass_fields__
        if isinstance(value := getattr(columns, name), np.ndarray)
    }  # fmt: skip
    inputs = replace(columns, **(wide | {"requests_per_s": loads[np.newaxis, :]}))
    wanted = frozenset(("cost_per_inference", "good_share"))
    estimate = evaluate(inputs, wanted)
    whole = np.broadcast_to(estimate.cost_per_inference, (len(chips), len(loads)))
    good = np.broadcast_to(estimate.good_share, whole.shape)
    cost = np.where(good >= scenario.slo_share * (1 - 1e-9), whole, np.inf)
    by_chip = {chip: cost[chips == chip].min(axis=0) for chip in dict.fromkeys(chips.tolist())}
    table = np.array(list(by_chip.values()))
    winners = [list(by_chip)[place] for place in np.argmin(table, axis=0)]
    crossovers = tuple(
        (math.sqrt(loads[place - 1] * loads[place]), before, after)
        for place, (before, after) in enumerate(pairwise(winners), start=1)
        if before != after
    )
    here = int(np.argmin(np.abs(np.log(loads / scenario.requests_per_s))))
    often = sorted(by_chip, key=lambda chip: (-winners.count(chip), by_chip[chip][here]))
    return AgainstLoad(
        loads,
        {chip: np.where(np.isinf(by_chip[chip]), np.nan, by_chip[chip])
         for chip in often[:LOAD_LINES]},
        tuple(winners), crossovers,
    )  # fmt: skip


# Two of them, term by term ------------------------------------------------------------------------


@dataclass(frozen=True)
class Term:
    """One figure of two configurations."""

    group: str
    name: str
    unit: str
    first: float
    second: float

    @property
    def ratio(self) -> float:
        """Second over first."""
        return self.second / self.first if self.first else math.nan


def factors(scenario: Scenario, first: Configuration, second: Configuration) -> tuple[Term, ...]:
    """Terms whose ratios multiply to that of the costs.

    Cost = price of a replica's devices x (instances that are paid / devices that are used)
    / requests of a replica / utilisation / successes, and overheads on top.
    """
    values = []
    for each in (first, second):
        x, estimate = inputs_of(scenario, each), each.estimate
        device = float(x.instance_price / x.devices_per_instance)
        replica = device * each.choice.devices_per_replica
        rent = float(estimate.instances * x.instance_price)
        used = float(estimate.replicas) * replica
        load = float(estimate.replicas * estimate.throughput)
        total = float(estimate.cost_rate)
        values.append((
            device * HOUR, each.choice.devices_per_replica,
            1.0 / (float(estimate.throughput) * HOUR) * MILLION,
            load / float(x.requests_per_s * x.success_share),
            rent / used, total / rent,
            each.cost * MILLION,
        ))  # fmt: skip
    names = (
        ("Price of a device", "USD/h"), ("Devices of a replica", ""),
        ("Replica hours for a million requests, full", "h"),
        ("Capacity paid for over what is asked", "×"), ("Instances over devices used", "×"),
        ("Everything over the rent of instances", "×"), ("Cost per million inferences", "USD"),
    )  # fmt: skip
    return tuple(
        Term("why", name, unit, float(one), float(other))
        for (name, unit), one, other in zip(names, *values, strict=True)
    )


def terms(scenario: Scenario, first: Configuration, second: Configuration) -> tuple[Term, ...]:
    """Datasheets, times and memory of two configurations."""
    columns: list[list[tuple[str, str, str, float]]] = []
    for each in (first, second):
        x, e = inputs_of(scenario, each), each.estimate
        tokens = bool(x.is_llm)
        rows = [
            ("device", "Peak in the format used", "TFLOP/s", float(x.peak_flops) / TFLOPS),
            ("device", "Memory bandwidth", "GB/s", float(x.memory_bandwidth) / GB),
            ("device", "Memory", "GiB", float(x.memory_capacity) / GIB),
            ("replica", "Requests at a time", "", float(e.running)),
            ("replica", "Room for requests", "", float(e.max_concurrency)),
            ("replica", "Reading a prompt", "ms", float(e.prefill_time) / MILLISECOND),
            ("replica", "A step" if tokens else "A batch", "ms",
             float(e.decode_step_time) / MILLISECOND),
            ("replica", "· reading weights", "ms", float(e.step_weights) / MILLISECOND),
            ("replica", "· arithmetic", "ms", float(e.step_compute) / MILLISECOND),
            ("replica", "· cache", "ms", float(e.step_cache) / MILLISECOND),
            ("replica", "· network", "ms", float(e.step_network) / MILLISECOND),
            ("replica", "· overhead", "ms", float(e.step_overhead) / MILLISECOND),
            ("replica", "Throughput", "requests/s", float(e.throughput)),
            ("replica", "Weights on a device", "GB", float(e.weight_memory) / GB),
            ("deployment", "Replicas at the peak", "", float(e.peak_replicas)),
            ("deployment", "Utilisation", "%", float(e.utilisation) * 100.0),
            ("deployment", "Latency, 95th percentile", "ms",
             float(e.latency_p95) / MILLISECOND),
        ]  # fmt: skip
        columns.append(rows)
    return tuple(
        Term(group, name, unit, one, other)
        for (group, name, unit, one), (*_, other) in zip(*columns, strict=True)
        if max(abs(one), abs(other)) > 0.0
    )


def short_list(found: Search, most: int) -> tuple[Configuration, ...]:
    """The cheapest, and the cheapest of each kind of hardware that is not among them."""
    first = list(found.ranked[:most])
    kinds = {each.choice.accelerator.kind for each in first}
    for each in found.ranked[most:]:
        if each.choice.accelerator.kind not in kinds:
            kinds.add(each.choice.accelerator.kind)
            first.append(each)
    return tuple(first)
