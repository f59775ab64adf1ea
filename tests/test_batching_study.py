"""Where to run: the knee, what keeps the limits, what they cost, and percentiles under load."""

from __future__ import annotations

import json
import math
from functools import cache

import numpy as np
import pytest
from typer.testing import CliRunner

from cpi_model.__main__ import app
from cpi_model.catalog import catalog
from cpi_model.evaluate import Estimate
from cpi_model.scenario import Scenario
from cpi_model.studies import batching
from cpi_model.studies.answer import Answer, answer

FACTS = catalog()
SCENARIOS = {
    "llm": Scenario(),
    "apart": Scenario(batching="disaggregated", requests_per_s=50.0),
    "dynamic": Scenario(batching="dynamic", slo_ttft_ms=20_000, slo_latency_ms=60_000),
    "encoder": Scenario(
        model="bert-large", engine="tensorrt", accelerator="l4", requests_per_s=2000.0,
        input_tokens=128, concurrency=16, slo_latency_ms=100.0,
    ),
    "trees": Scenario(
        model="gbt-fraud-500x8", engine="treelite", scheme="fp32", accelerator="graviton4",
        requests_per_s=500.0, concurrency=8, slo_latency_ms=50.0,
    ),
    "cascade": Scenario(
        model="llama-3.1-70b", scheme="fp8", tensor_parallel=2, cascade_model="llama-3.1-8b",
        slo_ttft_ms=30_000.0,
    ),
}  # fmt: skip


@cache
def asked(name: str) -> Answer:
    found = answer(SCENARIOS[name], FACTS)
    assert found.feasible, found.reasons
    return found


def at(scenario: Scenario, **changes: object) -> Estimate:
    found = answer(Scenario.model_validate(scenario.model_dump() | changes), FACTS).estimate
    assert found is not None
    return found


# The curve ----------------------------------------------------------------------------------------


def test_the_knee_of_a_queue_is_where_kleinrock_found_it() -> None:
    """M/M/1: throughput over time in the system is greatest at half of the capacity."""
    load = np.linspace(0.01, 0.99, 99)
    power = batching.power(load, 1.0 / (1.0 - load))
    assert load[np.argmax(power)] == pytest.approx(0.5)


@pytest.mark.parametrize("name", SCENARIOS)
def test_points_of_the_curve_are_estimates(name: str) -> None:
    curve = batching.curve(asked(name))
    assert curve is not None and curve.knee is not None
    for place in (curve.chosen, curve.knee, *curve.within.values()):
        if place is not None:
            alone = at(SCENARIOS[name], concurrency=place.concurrency)
            assert place.estimate.throughput == pytest.approx(alone.throughput)
            assert place.estimate.cost_per_inference == pytest.approx(alone.cost_per_inference)


@pytest.mark.parametrize("name", SCENARIOS)
def test_one_request_more_breaks_a_limit(name: str) -> None:
    curve = batching.curve(asked(name))
    assert curve is not None
    for share, place in curve.within.items():
        if place is None:
            assert at(SCENARIOS[name], concurrency=1).good_share < share
            continue
        assert place.estimate.good_share >= share
        if place.concurrency < batching.MOST:
            more = at(SCENARIOS[name], concurrency=place.concurrency + 1)
            assert more.good_share < share or more.running < place.concurrency + 1
    strict, loose = curve.within[0.99], curve.within[0.95]
    if strict is not None and loose is not None:
        assert strict.concurrency <= loose.concurrency


def test_what_ends_the_range_is_named() -> None:
    curves = {
        "time to first token": Scenario(slo_ttft_ms=200.0),
        "time per token": Scenario(slo_tpot_ms=15.0),
        "latency": Scenario(slo_latency_ms=5000.0),
        "memory": Scenario(slo_ttft_ms=6e5, slo_tpot_ms=1e4, slo_latency_ms=3.6e6),
        "range": SCENARIOS["trees"].model_copy(update={"slo_latency_ms": 3.6e6}),
    }
    for expected, scenario in curves.items():
        curve = batching.curve(answer(scenario, FACTS))
        assert curve is not None
        assert curve.held_by == expected


def test_nothing_is_drawn_of_what_cannot_be() -> None:
    unknown = answer(Scenario(model="no-such-model"), FACTS)
    assert batching.curve(unknown) is None
    assert batching.limit_costs(unknown) == [] and batching.modes(unknown, FACTS) == []
    too_large = answer(Scenario(model="llama-3.1-70b"), FACTS)
    curve = batching.curve(too_large)
    assert curve is not None and curve.knee is None
    assert not any(curve.within.values())
    assert batching.rates(too_large) == {}


# What the limits cost -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_looser_limit_never_costs_more(name: str) -> None:
    found = batching.limit_costs(asked(name))
    assert {each.name for each in found} >= {"slo_latency"}
    for each in found:
        kept = each.costs[~np.isnan(each.costs)]
        assert np.all(np.diff(kept) <= 1e-15)
        # What is out of reach is at the tight end.
        assert not np.isnan(each.costs[np.flatnonzero(~np.isnan(each.costs))[:1][0] :]).any()
        assert not each.extra < 0.0
        at_the_limit = each.costs[np.argmin(np.abs(each.limits - each.limit))]
        assert each.now == at_the_limit or math.isnan(each.now)


def test_the_least_cost_is_that_of_the_best_concurrency() -> None:
    scenario = Scenario(requests_per_s=100.0)
    counts = range(1, 400, 3)
    by_hand = [at(scenario, concurrency=count) for count in counts]
    least = min(
        e.cost_per_inference for e, count in zip(by_hand, counts, strict=True)
        if e.good_share >= 0.95 and e.running >= count
    )  # fmt: skip
    for each in batching.limit_costs(answer(scenario, FACTS)):
        assert each.now == pytest.approx(least, rel=0.02)


def test_a_tight_limit_has_its_price() -> None:
    """Under a limit that decides, each step tighter costs something."""
    scenario = Scenario(requests_per_s=1000.0, slo_tpot_ms=14.0)
    (pace,) = (
        each for each in batching.limit_costs(answer(scenario, FACTS)) if each.name == "slo_tpot"
    )
    assert pace.extra > 0.0
    assert pace.free_from > pace.limit


# Under load ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_all_replicas_together_get_the_load(name: str) -> None:
    inputs, estimate = asked(name).parts[0]
    rates = batching.rates(asked(name))
    served = rates["average"] * float(estimate.replicas)
    assert served == pytest.approx(float(inputs.requests_per_s))
    peak = rates["peak"] * float(estimate.peak_replicas)
    assert peak == pytest.approx(float(inputs.requests_per_s) * float(inputs.peak_to_mean))


@pytest.mark.parametrize("name", ["llm", "apart", "cascade"])
def test_closed_form_and_simulation_agree(name: str) -> None:
    rate = batching.rates(asked(name))["peak"]
    formula = batching.in_closed_form(asked(name), rate)
    drawn = batching.simulated(asked(name), rate)
    assert formula is not None and formula.method == "closed form"
    assert drawn.method == "simulation" and drawn.served.requests > 100_000
    for figure in ("latency", "tpot"):
        one, other = getattr(formula.served, figure), getattr(drawn.served, figure)
        assert one.mean.value == pytest.approx(other.mean.value, rel=0.05), figure
        assert one.p95.value == pytest.approx(other.p95.value, rel=0.10), figure


def test_bursts_have_no_formula_and_longer_waits() -> None:
    rate = batching.rates(asked("llm"))["peak"]
    bursty = answer(Scenario(arrival_cv=4.0), FACTS)
    assert batching.in_closed_form(bursty, rate) is None
    calm, wild = batching.simulated(asked("llm"), rate), batching.simulated(bursty, rate)
    assert wild.served.latency.p99.value > calm.served.latency.p99.value
    assert wild.served.ttft.p95.value > calm.served.ttft.p95.value


def test_longer_answers_of_some_make_the_slowest_slower() -> None:
    rate = batching.rates(asked("llm"))["peak"]
    equal = batching.simulated(answer(Scenario(output_cv=0.0), FACTS), rate)
    unequal = batching.simulated(asked("llm"), rate)
    assert unequal.served.latency.p99.value > 1.5 * equal.served.latency.p99.value


def test_the_same_seed_gives_the_same_figures() -> None:
    rate = batching.rates(asked("encoder"))["peak"]
    one, other = (batching.simulated(asked("encoder"), rate) for _ in range(2))
    assert one == other


def test_waiting_longer_fills_larger_batches() -> None:
    found = batching.delays(asked("encoder"), batching.rates(asked("encoder"))["peak"])
    assert found.waits[0] == 0.0 and SCENARIOS["encoder"].batch_wait_ms / 1000 in found.waits
    assert np.all(np.diff(found.batch) >= -0.02 * found.batch[1:])
    assert np.all(np.diff(found.busy) <= 0.01)
    assert found.batch[-1] > 1.5 * found.batch[0]
    assert found.p50[-1] > found.p50[0]
    # Requests in a batch: arrivals times the working time of a batch over the share that works.
    assert np.all(found.p95 >= found.p50)
    assert np.all(np.diff(found.cost) <= 0.02 * found.cost[1:])


def test_only_dynamic_batches_wait() -> None:
    waits = {name for name in SCENARIOS if batching.waits_for_a_batch(asked(name))}
    assert waits == {"dynamic", "encoder", "trees"}


# Ways ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_ways_are_those_of_the_scenario_and_one_is_chosen(name: str) -> None:
    found = batching.modes(asked(name), FACTS)
    assert len(found) == (5 if asked(name).parts[0][0].is_llm else 2)
    assert [mode.name for mode in found if mode.chosen]
    for mode in found:
        changed = SCENARIOS[name].model_copy(update=dict(mode.changes))
        assert mode.result.estimate is not None
        assert mode.result.estimate.throughput == pytest.approx(at(changed).throughput, nan_ok=True)


def test_chunks_of_the_scenario_are_the_ones_compared() -> None:
    scenario = Scenario(prefill_chunk_tokens=256)
    found = batching.modes(answer(scenario, FACTS), FACTS)
    (chosen,) = (mode for mode in found if mode.chosen)
    assert "256" in chosen.name and chosen.changes["prefill_chunk_tokens"] == 256


# From the terminal --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llm", "encoder"])
def test_the_command_says_the_same(name: str) -> None:
    from cpi_model import links

    link = links.encode(SCENARIOS[name])
    done = CliRunner().invoke(app, ["batch", "--link", link, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    curve = batching.curve(asked(name))
    assert curve is not None and curve.knee is not None
    assert document["knee"]["concurrency"] == curve.knee.concurrency
    within = curve.within[0.95]
    assert within is not None
    assert document["within_limits"]["p95"]["concurrency"] == within.concurrency
    assert document["held_by"] == curve.held_by
    simulated = document["under_load"]["peak"]["simulation"]
    drawn = batching.simulated(asked(name), batching.rates(asked(name))["peak"])
    assert simulated["latency_ms"]["p95"] == pytest.approx(drawn.served.latency.p95.value * 1000)
    shown = CliRunner().invoke(app, ["batch", "--link", link])
    assert shown.exit_code == 0 and "knee" in shown.output


def test_the_command_explains_what_cannot_be() -> None:
    done = CliRunner().invoke(app, ["batch", "--set", "model=llama-3.1-70b"])
    assert done.exit_code == 0 and "This cannot work" in done.output
    as_json = CliRunner().invoke(app, ["batch", "--set", "model=llama-3.1-70b", "--json"])
    assert json.loads(as_json.output)["feasible"] is False
