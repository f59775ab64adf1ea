"""Where on the throughput-latency curve to run: the knee, the limits, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cpi_model import links
from cpi_model.catalog import Catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate
from cpi_model.inputs import Inputs
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import bands, replica, service
from cpi_model.studies.answer import Answer, answer, known
from cpi_model.studies.replica import Load, Served
from cpi_model.studies.service import Service
from cpi_model.studies.sweep import Sweep, at
from cpi_model.units import MILLISECOND, Array

ENOUGH = (0.95, 0.99)
"""Shares of the requests that must meet all limits: the 95th and 99th percentile within them."""
POINTS = 48
"""Of a curve, fewer where they fall on the same whole number."""
CLOSER = 65
"""Points between two of them where the last that fits is looked for."""
USUAL_END = 512
MOST = int(FIELDS["concurrency"].maximum or 1)
CHUNK_TOKENS = 512
"""Prompt tokens of a step where chunks are compared and none are chosen: the chunk that
Sarathi-Serve uses under a strict limit."""
TIGHTER = {"slo_ttft": 0.1, "slo_tpot": 0.001, "slo_latency": 0.1}
"""How much tighter a limit is made to see what it costs. [s]"""
TIGHTEST_STEP = 0.5
"""Most of a limit that is taken away at once."""
FACTORS = np.geomspace(0.1, 10.0, 17)
"""Limits over those of the scenario for which the cheapest is looked for."""
THOROUGH, QUICK = 200_000, 20_000
"""Requests of a simulation, and of each one of a row of them."""
SEED = 1


@dataclass(frozen=True)
class Place:
    """One point of the curve."""

    concurrency: int
    estimate: Estimate


@dataclass(frozen=True)
class Curve:
    """Estimates over concurrency, and the points of it that have a name."""

    sweep: Sweep
    chosen: Place
    knee: Place | None
    """Most throughput for the latency: the maximum of their quotient; None where nothing works."""
    within: Mapping[float, Place | None]
    """Largest concurrency at which that share of the requests meets all limits and memory holds
    all of them; None where there is none."""
    held_by: str
    """What ends the first of these: a limit in words, ``memory`` or ``range``."""

    @property
    def throughput(self) -> Array:
        """Requests of a replica. [1/s]"""
        return np.asarray(self.sweep.estimate.throughput)


LIMIT_NAMES = {
    "slo_ttft": "time to first token", "slo_tpot": "time per token", "slo_latency": "latency",
}  # fmt: skip


def curve(result: Answer) -> Curve | None:
    """The throughput-latency curve of a scenario; None where its names do not go together."""
    whole, choice, scenario = result.service, result.choice, result.scenario
    if whole is None or choice is None or result.estimate is None:
        return None
    counts = _grid(scenario.concurrency)
    fitted = coefficients()
    slower = bands.slowness(choice, fitted)
    cases = bands.cases_of(service.changed(whole, concurrency=counts), slower, fitted)
    found, likely = bands.as_estimated(cases), bands.ends(cases, slower)
    swept = Sweep(scenario, "concurrency", tuple(int(c) for c in counts), found, {}, likely)
    within = {share: _largest(whole, counts, found, share) for share in ENOUGH}
    return Curve(
        sweep=swept,
        chosen=Place(scenario.concurrency, result.estimate),
        knee=_knee(swept),
        within=within,
        held_by=_held_by(whole, within[ENOUGH[0]]),
    )


def _grid(concurrency: int) -> Array:
    """Whole numbers, each a little larger than the one before, the chosen one among them."""
    last = USUAL_END
    while last < min(2 * concurrency, MOST):
        last *= 2
    steps = np.geomspace(1.0, last, POINTS).round()
    return np.unique(np.append(steps, float(concurrency)))


def power(throughput: Array, latency: Array) -> Array:
    """Kleinrock's power of points of a curve: throughput over latency, greatest at its knee."""
    quotient: Array = throughput / latency
    return quotient


def _knee(found: Sweep) -> Place | None:
    estimate = found.estimate
    of_each = power(np.asarray(estimate.throughput), np.asarray(estimate.latency_mean))
    if not np.isfinite(of_each).any():
        return None
    index = int(np.nanargmax(of_each))
    return Place(int(found.values[index]), at(found, index))


def _enough(found: Estimate, counts: Array, share: float) -> NDArray[np.bool_]:
    """Whether that share of the requests meets all limits and none is kept out by memory."""
    good, running = np.asarray(found.good_share), np.asarray(found.running)
    return (good >= share) & (running >= counts)


def _largest(whole: Service, counts: Array, found: Estimate, share: float) -> Place | None:
    """The largest count that fits, to the last request: between two points it is looked for."""
    fits = np.flatnonzero(_enough(found, counts, share))
    if not len(fits):
        return None
    low = counts[fits[-1]]
    high = counts[fits[-1] + 1] if fits[-1] + 1 < len(counts) else float(MOST)
    while True:
        between = np.unique(np.linspace(low, high, CLOSER).round())
        closer = service.estimate(service.changed(whole, concurrency=between))
        place = int(np.flatnonzero(_enough(closer, between, share))[-1])
        if place + 1 == len(between) or between[place + 1] - between[place] <= 1.0:
            break
        low, high = between[place], between[place + 1]
    found_there = Sweep(Scenario(), "concurrency", tuple(between), closer, {}, {})
    return Place(int(between[place]), at(found_there, place))


def _held_by(whole: Service, largest: Place | None) -> str:
    """What stands in the way of one request more."""
    count = 1.0 if largest is None else largest.concurrency + 1.0
    if count > MOST:
        return "range"
    one_more = service.estimate(service.changed(whole, concurrency=count))
    if not one_more.feasible or float(one_more.running) < count:
        return "memory"
    for name, words in LIMIT_NAMES.items():
        free = {other: math.inf for other in LIMIT_NAMES if other != name}
        freed = service.estimate(service.changed(whole, concurrency=count, **free))
        if float(freed.good_share) < ENOUGH[0]:
            return words
    return "range"


# What the limits cost ----------------------------------------------------------------------------


@dataclass(frozen=True)
class LimitCost:
    """The cheapest that keeps all limits, by how tight one of them is."""

    name: str
    """Field of the inputs."""
    words: str
    limit: float
    """Of the scenario. [s]"""
    limits: Array
    """Tighter and looser ones, rising. [s]"""
    costs: Array
    """Least cost of an inference over all concurrencies; NaN where none keeps the limits. [USD]"""
    now: float
    """The same at the limit of the scenario. [USD]"""
    tighter: float
    """By how much the limit is made tighter. [s]"""
    extra: float
    """What that costs; NaN where it cannot be kept. [USD]"""
    free_from: float
    """Limit from which on making it looser saves nothing more; NaN where none is kept. [s]"""


def limit_costs(result: Answer) -> list[LimitCost]:
    """What each limit costs, the others as they are; in the cost basis of the scenario."""
    whole, scenario = result.service, result.scenario
    if whole is None or not result.feasible:
        return []
    tokens = bool(whole.model.is_llm)
    counts = _grid(scenario.concurrency)
    found = []
    for name, words in LIMIT_NAMES.items():
        if not tokens and name != "slo_latency":
            continue
        limit = float(getattr(whole.model, name))
        tighter = min(TIGHTER[name], TIGHTEST_STEP * limit)
        limits = np.unique(np.concatenate([limit * FACTORS, [limit, limit - tighter]]))
        costs = _cheapest(service.changed(whole, **{name: limits[:, None]}), counts, scenario)
        now = float(costs[np.searchsorted(limits, limit)])
        then = float(costs[np.searchsorted(limits, limit - tighter)])
        found.append(
            LimitCost(
                name, words, limit, limits, costs, now, tighter, then - now,
                _free_from(limits, costs),
            )
        )  # fmt: skip
    return found


def _cheapest(whole: Service, counts: Array, scenario: Scenario) -> Array:
    """Least cost over the counts that keep the limits, for each row of limits."""
    estimate = service.estimate(service.changed(whole, concurrency=counts[None, :]))
    marginal = scenario.cost_basis == "marginal"
    name = "marginal_cost_per_inference" if marginal else "cost_per_inference"
    cost = np.where(_enough(estimate, counts, ENOUGH[0]), getattr(estimate, name), np.inf)
    least = cost.min(axis=1)
    kept: Array = np.where(np.isfinite(least), least, np.nan)
    return kept


def _free_from(limits: Array, costs: Array) -> float:
    if np.isnan(costs).all():
        return math.nan
    return float(limits[np.flatnonzero(costs <= np.nanmin(costs) * (1.0 + 1e-9))[0]])


# Ways of batching side by side --------------------------------------------------------------------


@dataclass(frozen=True)
class Mode:
    """One way of batching, everything else as in the scenario."""

    name: str
    changes: Mapping[str, Any]
    chosen: bool
    """Whether the scenario runs in it."""
    result: Answer


def modes(result: Answer, catalog: Catalog) -> list[Mode]:
    """All ways of batching that this model can run in, everything else the same."""
    scenario, choice = result.scenario, result.choice
    if choice is None:
        return []
    tokens = choice.model.transformer is not None
    own = scenario.prefill_chunk_tokens
    chunked = own or CHUNK_TOKENS
    ways: dict[str, dict[str, Any]] = {
        "Continuous": {"batching": "continuous", "prefill_chunk_tokens": None},
        f"Prompts in chunks of {chunked:,}": {
            "batching": "continuous", "prefill_chunk_tokens": chunked,
        },
        "Prefill and decode apart": {"batching": "disaggregated"},
        "Dynamic": {"batching": "dynamic"},
        "Static": {"batching": "static"},
    }  # fmt: skip
    if not tokens:
        ways = {"Dynamic": {"batching": "continuous"}, "Static": {"batching": "static"}}
    found = []
    for name, changes in ways.items():
        changed = scenario.model_copy(update=changes)
        same = _way(changed, tokens) == _way(scenario, tokens)
        found.append(Mode(name, changes, same, answer(changed, catalog)))
    return found


def most_within(result: Answer) -> Place | None:
    """The largest concurrency at which 95 % of the requests meet all limits, if any does."""
    whole = result.service
    if whole is None or not result.feasible:
        return None
    counts = _grid(1)
    found = service.estimate(service.changed(whole, concurrency=counts))
    return _largest(whole, counts, found, ENOUGH[0])


def _way(scenario: Scenario, tokens: bool) -> tuple[str, int | None]:
    if not tokens:
        return ("static" if scenario.batching == "static" else "dynamic"), None
    chunked = scenario.batching in ("continuous",)
    return scenario.batching, scenario.prefill_chunk_tokens if chunked else None


# Percentiles under load ---------------------------------------------------------------------------

Method = Literal["closed form", "simulation"]


@dataclass(frozen=True)
class UnderLoad:
    """What requests see of a replica at one load."""

    method: Method
    requests_per_s: float
    """At one replica."""
    served: Served


def rates(result: Answer) -> dict[str, float]:
    """Requests a second at one replica, on average and at the peak; empty where none works."""
    if not result.feasible:
        return {}
    inputs, estimate = result.parts[0]
    reach = float(inputs.requests_per_s) * (1.0 - float(inputs.answer_hit_share))
    return {
        "average": reach / float(estimate.replicas),
        "peak": reach * float(inputs.peak_to_mean) / float(estimate.peak_replicas),
    }


def in_closed_form(result: Answer, requests_per_s: float) -> UnderLoad | None:
    """Percentiles that follow from a formula, at once.

    None where there is no formula: requests that come in bursts, and whole batches.
    """
    if _batching(result) != "continuous" or result.scenario.arrival_cv != 1.0:
        return None
    found = replica.closed_form(
        _replica(result), _load(result, requests_per_s), prefill_servers=_prefill(result)
    )
    return UnderLoad("closed form", requests_per_s, found)


def simulated(result: Answer, requests_per_s: float, requests: int = THOROUGH) -> UnderLoad:
    """Percentiles of a replica that works off random requests one by one."""
    found = replica.simulate(
        _replica(result), _load(result, requests_per_s), batching=_batching(result),
        prefill_servers=_prefill(result), requests=requests, seed=SEED,
    )  # fmt: skip
    return UnderLoad("simulation", requests_per_s, found)


def profile(result: Answer) -> replica.Profile:
    """The replica of a scenario that works, by the number of requests in it."""
    return replica.profile(
        _replica(result), batching=_batching(result), prefill_servers=_prefill(result),
        output_cv=result.scenario.output_cv,
    )  # fmt: skip


def _batching(result: Answer) -> replica.Batching:
    way = result.scenario.batching
    if way == "static":
        return "static"
    tokens = bool(result.parts[0][0].is_llm)
    return "dynamic" if way == "dynamic" or not tokens else "continuous"


def _replica(result: Answer) -> Inputs:
    """One replica alone: how requests come to it is the simulation's own business."""
    inputs = result.parts[0][0]
    return replace(inputs, whole_batches=0.0, full_batches=0.0, disaggregated=0.0)


def _prefill(result: Answer) -> int:
    """Whole prefill replicas beside one that decodes."""
    estimate = result.parts[0][1]
    return math.ceil(float(estimate.prefill_replicas) / float(estimate.replicas))


def _load(result: Answer, requests_per_s: float) -> Load:
    scenario = result.scenario
    return Load(requests_per_s, scenario.arrival_cv, scenario.output_cv)


# How long to wait for a batch ---------------------------------------------------------------------


@dataclass(frozen=True)
class Delays:
    """What a longer wait for a batch brings, at one load."""

    requests_per_s: float
    """At one replica."""
    waits: Array
    """Longest wait for a batch, rising. [s]"""
    batch: Array
    """Mean requests of a batch. [1]"""
    busy: Array
    """Share of the time in which the device works. [1]"""
    p50: Array
    """Latency. [s]"""
    p95: Array
    cost: Array
    """Of the device's working time for one successful inference, its idle time left out. [USD]"""


def waits_for_a_batch(result: Answer) -> bool:
    """Whether a longest wait plays a part: dynamic batches."""
    return result.feasible and _batching(result) == "dynamic"


def delays(result: Answer, requests_per_s: float) -> Delays:
    """The same load with shorter and longer waits for a batch, each simulated."""
    inputs, estimate = _replica(result), result.parts[0][1]
    lasting = float(estimate.running) / float(estimate.throughput)
    chosen = float(inputs.batch_wait)
    most = max(4.0 * lasting, 2.0 * chosen, 2.0 / requests_per_s)
    waits = np.unique(np.append(np.geomspace(most / 1000.0, most, 9), [0.0, chosen]))
    load = _load(result, requests_per_s)
    found = [
        replica.simulate(
            replace(inputs, batch_wait=float(wait)), load, batching="dynamic", requests=QUICK,
            seed=SEED,
        )
        for wait in waits
    ]  # fmt: skip
    busy = np.array([each.utilisation.value for each in found])
    running = np.array([each.running.value for each in found])
    price = inputs.instance_price * inputs.devices_per_replica / inputs.devices_per_instance
    return Delays(
        requests_per_s=requests_per_s,
        waits=waits,
        batch=running / busy,
        busy=busy,
        p50=np.array([each.latency.p50.value for each in found]),
        p95=np.array([each.latency.p95.value for each in found]),
        cost=price * busy / requests_per_s / inputs.success_share,
    )


# As JSON -----------------------------------------------------------------------------------------


def summary(result: Answer, catalog: Catalog) -> dict[str, Any]:
    """All of the above as plain values for JSON; an unknown figure is null, money is in USD."""
    found = curve(result)
    if found is None or not result.feasible:
        return {
            "feasible": False, "reasons": list(result.reasons),
            "link": "?" + links.encode(result.scenario),
        }  # fmt: skip
    at_load = rates(result)
    return {
        "feasible": True,
        "chosen": _place(found.chosen),
        "knee": _place(found.knee),
        "within_limits": {f"p{share * 100:.0f}": _place(p) for share, p in found.within.items()},
        "held_by": found.held_by,
        "limits": [
            {
                "limit": each.words, "limit_ms": each.limit / MILLISECOND,
                "least_cost_per_inference_usd": known(each.now),
                "tighter_ms": each.tighter / MILLISECOND,
                "tighter_costs_usd": known(each.extra),
                "decides_below_ms": _milliseconds(each.free_from),
            }
            for each in limit_costs(result)
        ],
        "under_load": {
            name: {
                "simulation": _under_load(simulated(result, rate)),
                "closed_form": None if (formula := in_closed_form(result, rate)) is None
                else _under_load(formula),
            }
            for name, rate in at_load.items()
        },
        "modes": [
            {
                "mode": mode.name, "chosen": mode.chosen, "changes": dict(mode.changes),
                "within_limits": _place(most_within(mode.result)),
            }
            | (_figures(mode.result.estimate) if mode.result.feasible and mode.result.estimate
               else {"reasons": list(mode.result.reasons)})
            for mode in modes(result, catalog)
        ],
        "link": "?" + links.encode(result.scenario),
    }  # fmt: skip


def _milliseconds(seconds: float) -> float | None:
    return known(seconds / MILLISECOND)


def _figures(estimate: Estimate) -> dict[str, float | None]:
    return {
        "throughput_per_s": known(float(estimate.throughput)),
        "ttft_ms": _milliseconds(float(estimate.ttft)),
        "tpot_ms": _milliseconds(float(estimate.tpot)),
        "longest_gap_ms": _milliseconds(float(estimate.longest_gap)),
        "latency_mean_ms": _milliseconds(float(estimate.latency_mean)),
        "latency_p95_ms": _milliseconds(float(estimate.latency_p95)),
        "cost_per_inference_usd": known(float(estimate.cost_per_inference)),
        "marginal_cost_per_inference_usd": known(float(estimate.marginal_cost_per_inference)),
        "good_share": known(float(estimate.good_share)),
        "replicas": known(float(estimate.replicas)),
        "prefill_replicas": known(float(estimate.prefill_replicas)),
    }


def _place(place: Place | None) -> dict[str, float | None] | None:
    if place is None:
        return None
    return {"concurrency": float(place.concurrency)} | _figures(place.estimate)


def _under_load(found: UnderLoad) -> dict[str, Any]:
    served = found.served
    spreads = {
        "wait": served.wait, "ttft": served.ttft, "tpot": served.tpot, "latency": served.latency,
    }  # fmt: skip
    return {
        "requests_per_s": found.requests_per_s,
        "capacity_per_s": served.capacity,
        "keeps_up": served.keeps_up,
        "utilisation": known(served.utilisation.value),
        "within_limits": known(served.within_limits.value),
        "requests": served.requests,
    } | {
        f"{name}_ms": {
            figure: _milliseconds(getattr(spread, figure).value)
            for figure in ("mean", "p50", "p95", "p99")
        }
        for name, spread in spreads.items()
    }
