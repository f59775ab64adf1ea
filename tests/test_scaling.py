"""Replicas that follow the traffic: theory that knows the answer, laws, and two ways to count."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import optimize

from cpi_model.catalog import catalog
from cpi_model.evaluate import evaluate
from cpi_model.formulas import queueing
from cpi_model.scenario import Scenario
from cpi_model.studies import scaling_events, traffic
from cpi_model.studies.answer import answer
from cpi_model.studies.replica import Profile
from cpi_model.studies.traffic import (
    POLICIES,
    Demand,
    Fleet,
    NotSimulated,
    Policy,
    Run,
    cheapest,
    fleet,
    pareto,
    search,
    simulate,
    to_zero,
)
from cpi_model.units import DAY, HOUR, MONTH, Array

FACTS = catalog()
# 1.9 requests a second at a replica: traffic of 2 to 5 a second takes a few of them.
LARGE = {"model": "llama-3.1-70b", "tensor_parallel": 4, "output_tokens": 500}
REACTIVE: tuple[Policy, ...] = ("hpa", "keda", "kpa", "tracking")


@cache
def of(**choices: object) -> Fleet:
    return fleet(answer(Scenario(**choices), FACTS), FACTS)  # type: ignore[arg-type]


@cache
def week() -> Demand:
    return daily(3.5, 7.0, 5.0 / 3.5, 2.0 / 3.5)


@cache
def run(policy: Policy, exact: bool = False, days: float = 2.0, **choices: object) -> Run:
    demand = daily(3.5, days, 5.0 / 3.5, 2.0 / 3.5)
    return simulate(of(**(LARGE | choices)), demand, policy, exact=exact, points=100)


def daily(mean: float, days: float, peak_to_mean: float, quiet_to_mean: float) -> Demand:
    """A wave a day, random around its rates."""

    def rates(tick: float) -> Array:
        time = (np.arange(math.ceil(days * DAY / tick)) + 0.5) * tick
        wave = 0.5 - 0.5 * np.cos(2.0 * np.pi * time / DAY)
        # A power of the wave has its peak and its trough and, the right one, its mean.
        height, above = peak_to_mean - quiet_to_mean, 1.0 - quiet_to_mean
        power = optimize.brentq(
            lambda p: height * float(np.mean(np.sin(np.pi * np.arange(0.5, 500) / 500) ** (2 * p)))
            - above, 0.01, 50.0,
        )  # fmt: skip
        found: Array = mean * (quiet_to_mean + height * wave**power)
        return found

    return Demand(rates)


def even(rate: float, days: float) -> Demand:
    return Demand(lambda tick: np.full(math.ceil(days * DAY / tick), rate))


def one_second(slots: int) -> Profile:
    """Slots that do not disturb each other, with a mean of a second."""
    return Profile(
        slots, np.arange(1.0, slots + 1.0), np.zeros(slots), np.full(slots, 0.01), 0.0, 100.0
    )


# Theory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("replicas", "slots"), [(1, 8), (8, 1), (2, 4)])
def test_slots_that_do_not_disturb_each_other_are_erlang_c(
    replicas: int, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M/M/8 at load 0.8, in one replica or in several behind one queue."""

    def exponential(demand: Demand, part: int, count: int, _: Fleet) -> Array:
        return np.random.default_rng((demand.seed, 1, part)).standard_exponential(count)

    monkeypatch.setattr(traffic, "_sizes", exponential)
    servers = replace(
        of(scaling="fixed", fixed_replicas=replicas, queue_timeout_s=3600.0),
        replica=one_second(slots),
    )
    rate, days = 6.4, 3.0
    found = simulate(servers, even(rate, days), "static", exact=True)
    wait = float(queueing.multi_server_wait(rate, 1.0, 8.0))
    assert wait == pytest.approx(0.28603, abs=5e-6)
    assert found.in_flight == pytest.approx(rate * (1.0 + wait), rel=0.02)
    # Of those who wait, for longer than a second: C exp(-(c - a) t).
    long = float(queueing.erlang_c(rate, 8.0)) * math.exp(-(8.0 - rate))
    assert found.waited == pytest.approx(long, rel=0.06)
    assert found.utilisation == pytest.approx(0.8, rel=0.01)


def test_alone_and_without_a_queue_the_fluid_is_the_load_over_the_rate() -> None:
    servers = replace(of(scaling="fixed", fixed_replicas=2), replica=one_second(8))
    found = simulate(servers, even(4.0, 1.0), "static")
    assert found.in_flight == pytest.approx(4.0, rel=0.02)
    assert found.utilisation == pytest.approx(0.25, rel=0.02)
    assert found.latency.mean == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("policy", ["hpa", "static"])
def test_little(policy: Policy) -> None:
    """Requests there are the rate times the time for which each is there."""
    found = run(policy, exact=True)
    rate = found.served / found.seconds
    assert found.in_flight == pytest.approx(rate * found.latency.mean, rel=0.01)


# One against the other ----------------------------------------------------------------------------


def test_the_fluid_counts_the_replicas_that_requests_do() -> None:
    """Random traffic of a week, 2 to 5 requests a second, under the HPA."""
    servers = of(**LARGE)
    quick, whole = (simulate(servers, week(), "hpa", exact=exact) for exact in (False, True))
    assert quick.billed_hours == pytest.approx(whole.billed_hours, rel=0.05)
    assert quick.cost_per_inference == pytest.approx(whole.cost_per_inference, rel=0.05)
    assert quick.latency.p95 == pytest.approx(whole.latency.p95, rel=0.1)


@pytest.mark.parametrize("policy", ["keda", "kpa", "schedule", "predictive"])
def test_so_it_does_under_others(policy: Policy) -> None:
    quick, whole = run(policy), run(policy, exact=True)
    assert quick.billed_hours == pytest.approx(whole.billed_hours, rel=0.08)
    assert quick.latency.mean == pytest.approx(whole.latency.mean, rel=0.08)


@pytest.mark.parametrize("exact", [False, True])
def test_compiled_loops_do_what_is_written(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "exact" if exact else "fluid"
    quiet = {"queue_timeout_s": 30.0, "queue_limit": 2, "max_replicas": 2}
    demand, servers = even(8.0, 0.02), of(**(LARGE | quiet))
    for policy in REACTIVE:
        compiled = simulate(servers, demand, policy, exact=exact)
        with monkeypatch.context() as patched:
            patched.setattr(scaling_events, name, getattr(scaling_events, name).py_func)
            plain = simulate(servers, demand, policy, exact=exact)
        assert compiled.refused + compiled.timed_out > 0
        for figure in ("served", "refused", "timed_out", "billed_hours", "in_flight", "missed"):
            expected = getattr(plain, figure)
            assert getattr(compiled, figure) == pytest.approx(expected, rel=1e-9), figure


# Laws ---------------------------------------------------------------------------------------------


def check(found: Run) -> None:
    accounted = found.served + found.refused + found.timed_out + found.left
    if found.method == "exact":
        assert found.arrived == accounted  # to the last one
    assert accounted == pytest.approx(found.arrived, abs=1e-6 * found.arrived)
    parts = found.ready_hours + found.starting_hours + found.draining_hours
    assert found.billed_hours == pytest.approx(parts, rel=1e-9)
    assert found.billed_hours >= found.ready_hours
    assert found.over_hours - found.under_hours == pytest.approx(
        found.ready_hours - found.needed_hours, abs=1e-6
    )
    for split in (found.parts, found.components):
        assert sum(split.values()) == pytest.approx(found.cost_per_inference, rel=1e-9)
        assert all(value >= -1e-15 for value in split.values())
    assert found.cost_per_good >= found.cost_per_inference
    assert 0.0 <= found.missed <= 1.0 and found.missed >= found.dropped - 1e-9
    assert found.utilisation <= 1.0 + 1e-6
    p50, p95, p99 = found.latency[1:]
    assert p50 <= p95 <= p99


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("policy", [each for each in POLICIES if each != "serverless"])
def test_nothing_is_lost(policy: Policy, exact: bool) -> None:
    check(run(policy, exact))
    # Too few replicas, a short queue and little patience.
    found = run(policy, exact, 0.5, max_replicas=1, queue_limit=20, queue_timeout_s=20.0)
    check(found)
    assert found.dropped > 0.0 and found.parts["drops"] > 0.0
    # Requests that cold starts keep waiting.
    check(run(policy, exact, 0.5, min_replicas=0, queue_timeout_s=600.0))


@pytest.mark.parametrize("burstiness", [0.0, 0.5, 1.0, 3.0])
def test_bursts_change_no_mean(burstiness: float) -> None:
    demand = replace(daily(5.0, 1.0, 1.5, 0.5), burstiness=burstiness, _known={})
    expected = 5.0 * DAY
    requests, work = demand.drawn(15.0, 0.7)
    times = np.concatenate([part for _, _, part in traffic._arrivals(demand, 15.0)])
    spread = 6.0 * max(burstiness, 0.05) * math.sqrt(expected)
    assert requests.sum() == pytest.approx(expected, abs=spread)
    assert len(times) == pytest.approx(expected, abs=spread)
    assert work.sum() == pytest.approx(requests.sum(), abs=6.0 * 0.7 * math.sqrt(expected))
    assert (np.diff(times) >= 0.0).all()
    # Where the rate hardly changes the counts vary as much as they should.
    if burstiness:
        counts = np.diff(np.searchsorted(times, np.arange(0.0, DAY, 15.0)))
        found = np.var(counts - np.convolve(counts, np.ones(40) / 40, "same")) / counts.mean()
        assert found == pytest.approx(burstiness**2, rel=0.3)


def test_same_seed_same_result() -> None:
    servers, demand = of(**LARGE), daily(3.5, 1.0, 1.4, 0.6)
    for exact in (False, True):
        first, again, other = (
            simulate(servers, replace(demand, seed=seed, _known={}), "hpa", exact=exact)
            for seed in (1, 1, 2)
        )
        assert first == again
        assert first != other


def test_parts_of_a_simulation_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing in more or fewer parts moves no replica by more than chance does."""
    demand, servers = daily(3.5, 1.0, 1.4, 0.6), of(**LARGE)
    whole = simulate(servers, demand, "hpa", exact=True)
    monkeypatch.setattr(traffic, "AT_A_TIME", 5_000)
    heard: list[float] = []
    parts = simulate(servers, demand, "hpa", exact=True, progress=heard.append)
    assert parts.billed_hours == pytest.approx(whole.billed_hours, rel=0.03)
    assert heard == sorted(heard) and len(heard) > 10 and heard[-1] == pytest.approx(1.0)
    check(parts)


@pytest.mark.parametrize("policy", ["hpa", "keda", "kpa", "static"])
@pytest.mark.parametrize("exact", [False, True])
def test_no_traffic(policy: Policy, exact: bool) -> None:
    for least in (0, 2):
        servers = of(min_replicas=least)
        found = simulate(servers, even(0.0, 0.5), policy, exact=exact)
        on = max(least, 1) if policy == "hpa" else least
        assert found.ready_hours == pytest.approx(12.0 * on, abs=0.05)
        assert found.served == found.arrived == found.dropped == 0.0
        assert math.isinf(found.cost_per_inference) and found.monthly > 0.0


def test_a_replica_comes_for_the_first_request_and_goes_after_the_last() -> None:
    """One burst: KEDA polls each 30 s, and turns off after the cooldown."""

    def burst(tick: float) -> Array:
        rates = np.zeros(round(0.5 * DAY / tick))
        rates[round(HOUR / tick) : round(2 * HOUR / tick)] = 0.05
        return rates

    servers = of(min_replicas=0, queue_timeout_s=600.0)
    for exact in (False, True):
        found = simulate(servers, Demand(burst), "keda", exact=exact)
        assert found.cold_starts == 1.0
        # An hour, less the cold start, and the cooldown after it; requests come every 20 s.
        expected = (HOUR - servers.node_cold + 300.0) / HOUR
        assert found.ready_hours == pytest.approx(expected, abs=0.04)
        assert found.starting_hours * HOUR == pytest.approx(servers.node_cold, abs=15.0)
        assert found.waited > 0.05 and found.dropped == 0.0


# Money --------------------------------------------------------------------------------------------


def test_a_fixed_number_costs_what_the_estimate_says() -> None:
    scenario = Scenario(
        **LARGE, scaling="fixed", fixed_replicas=4, requests_per_s=3.5,  # type: ignore[arg-type]
    )  # fmt: skip
    result = answer(scenario, FACTS)
    found, estimate = simulate(fleet(result, FACTS), even(3.5, 3.0), "static"), result.estimate
    assert estimate is not None
    assert found.cost_per_inference == pytest.approx(estimate.cost_per_inference, rel=0.01)
    assert found.monthly == pytest.approx(float(estimate.cost_rate) * MONTH, rel=1e-3)
    for name, part in found.components.items():
        assert part == pytest.approx(getattr(estimate, f"{name}_cost"), rel=0.01)


def test_counted_replicas_take_the_place_of_those_that_the_load_asks_for() -> None:
    x = of(**LARGE).inputs
    fixed = evaluate(replace(x, fixed_replicas=3.0, requests_per_s=1.0, peak_to_mean=1.0))
    counted = replace(x, counted_replicas=3.0, counted_instances=fixed.instances)
    assert evaluate(replace(counted, requests_per_s=1.0)).cost_per_inference == pytest.approx(
        fixed.cost_per_inference
    )


def test_spare_replicas_and_drops_are_paid_for() -> None:
    found, spare = run("hpa"), run("hpa", spare_replicas=1)
    assert spare.billed_hours == pytest.approx(found.billed_hours + 48.0, rel=0.01)
    assert spare.parts["spare"] > 0.0 == found.parts["spare"]


def test_a_cache_of_answers_takes_load_off() -> None:
    found = run("hpa", answer_hit_share=0.5)
    assert found.arrived == pytest.approx(0.5 * run("hpa").arrived, rel=0.01)
    assert found.billed_hours < run("hpa").billed_hours


def test_serverless_needs_a_price_and_pays_by_the_second() -> None:
    with pytest.raises(NotSimulated, match="price"):
        run("serverless")
    found = run("serverless", serverless_usd_per_hour=3.0)
    assert found.cost_per_inference > 0.0 and found.method == "formula"
    # Hardly any traffic: an hour without requests costs nothing.
    servers = of(serverless_usd_per_hour=3.0)
    seldom = simulate(servers, even(1.0 / 3600.0, 1.0), "serverless")
    held = 60.0 + 30.0 + servers.replica.latency[0]  # kept, cold start, the request
    assert seldom.billed_hours == pytest.approx(24.0 * held / 3600.0, rel=0.05)


# Questions ----------------------------------------------------------------------------------------


def test_search_tries_everything_and_finds_the_cheapest() -> None:
    servers, demand = of(**LARGE, serverless_usd_per_hour=3.0), daily(3.5, 2.0, 1.5, 0.5)
    runs = search(servers, demand, targets=(0.5, 0.8))
    assert {each.policy for each in runs} == set(POLICIES)
    assert len(runs) == 2 * (len(POLICIES) - 1) + 1
    for each in runs:
        alone = simulate(servers, demand, each.policy, each.target)
        assert alone.cost_per_inference == pytest.approx(each.cost_per_inference, rel=1e-12)
    best = cheapest(runs, 0.95)
    assert best is not None and best.missed <= 0.05
    marks = pareto(runs)
    assert marks[runs.index(min(runs, key=lambda each: each.cost_per_inference))]
    for each, kept in zip(runs, marks, strict=True):
        beaten = any(
            other.cost_per_inference < each.cost_per_inference and other.missed < each.missed
            for other in runs
        )
        assert not (kept and beaten)
    assert cheapest(runs, 1.1) is None


def test_going_to_zero_saves_where_there_is_hardly_any_traffic() -> None:
    found = to_zero(of(queue_timeout_s=600.0), daily(1.0, 2.0, 1.8, 0.3), (1e-4, 1e-3, 1e-2, 1.0))
    assert found.to_zero[0] < 0.5 * found.always_on[0]
    assert found.to_zero[-1] == pytest.approx(found.always_on[-1], rel=0.01)
    assert 1e-3 < found.break_even <= 1.0


def test_minutes_that_differ_cost_more_and_serve_worse() -> None:
    scenario = Scenario(**LARGE, requests_per_s=3.5)  # type: ignore[arg-type]
    three = traffic.three_shapes(scenario, 7.0)
    means = [float(each.at(15.0).mean()) for each in three.values()]
    assert means == pytest.approx([3.5] * 3, rel=0.01)
    found = [simulate(of(**LARGE), each, "hpa") for each in three.values()]
    assert found[2].billed_hours > found[1].billed_hours
    assert found[2].missed >= found[1].missed >= 0.0


@pytest.mark.parametrize("points", [7, 500])
def test_a_series_has_the_totals(points: int) -> None:
    for exact in (False, True):
        found = simulate(of(**LARGE), daily(3.5, 1.0, 1.5, 0.5), "hpa", exact=exact, points=points)
        series = found.series
        assert series is not None and len(series.ready) == points
        assert series.step * points == pytest.approx(DAY)
        assert series.billed.mean() * 24.0 == pytest.approx(found.billed_hours, rel=0.03)
        assert series.demand.mean() * DAY == pytest.approx(found.arrived, rel=0.03)
        assert (series.billed >= series.ready - 1e-9).all()


# Every class of models, and what cannot be --------------------------------------------------------


@pytest.mark.parametrize(
    "choices",
    [
        {"model": "resnet50-v1.5", "engine": "onnxruntime"},
        {"model": "dlrm-v2", "engine": "torchrec"},
        {"batching": "static"},
        {"batching": "dynamic"},
        {"batching": "disaggregated"},
        {"output_cv": 0.0},
        {"output_tokens": 1},
    ],
)
def test_every_kind_of_replica(choices: dict[str, object]) -> None:
    servers = of(**choices)
    demand = daily(min(2.5 * servers.capacity, 20.0), 0.02, 1.5, 0.5)
    for exact in (False, True):
        found = simulate(servers, demand, "hpa", exact=exact)
        check(found)
        assert found.served > 0.0


def test_what_cannot_be_simulated_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotSimulated, match="deployment that works"):
        of(model="llama-3.1-405b")
    with pytest.raises(NotSimulated, match="cascade"):
        of(cascade_model="llama-3.2-1b")
    monkeypatch.setattr(traffic, "MOST_PLACES", 1000)
    with pytest.raises(NotSimulated, match="too many"):
        simulate(of(), even(1.0, 0.1), "hpa", exact=True)
    for rates in (np.array([]), np.array([1.0, np.nan]), np.array([-1.0])):
        with pytest.raises(NotSimulated, match="rate"):
            simulate(of(), Demand(lambda tick, rates=rates: rates), "hpa")  # type: ignore[misc]


def test_a_hundred_days_are_followed() -> None:
    """The clock stays exact, and what is there at the end is little."""
    found = simulate(of(), daily(0.05, 100.0, 1.8, 0.3), "hpa", exact=True)
    assert found.seconds == 100.0 * DAY
    assert found.left < 10
