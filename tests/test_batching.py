"""Ways of batching: against the papers that they cite, against second methods, and as laws."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpi_model.catalog import catalog
from cpi_model.evaluate import Estimate, evaluate, performance
from cpi_model.formulas import batching
from cpi_model.inputs import resolve
from cpi_model.scenario import Scenario

FACTS = catalog()
LARGE = Scenario(
    model="llama-3.1-70b", scheme="fp8", tensor_parallel=2, kv_precision="fp8",
    input_tokens=4000, output_tokens=300, concurrency=48, requests_per_s=40.0,
)  # fmt: skip
SMALL = Scenario(requests_per_s=100.0)
ENCODER = Scenario(model="bert-large", engine="onnxruntime", input_tokens=384, concurrency=16)


def found(base: Scenario, **changes: object) -> Estimate:
    estimate = evaluate(resolve(Scenario.model_validate(base.model_dump() | changes), FACTS))
    assert estimate.feasible
    return estimate


# Formulas -----------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(1, 200), st.floats(0.0, 3.0))
def test_the_longest_of_several_is_that_of_drawn_ones(count: int, cv: float) -> None:
    sigma = np.sqrt(np.log1p(cv**2))
    z = np.random.default_rng(7).standard_normal((20_000, count))
    drawn = np.exp(sigma * z - 0.5 * sigma**2).max(axis=1)
    error = 5 * drawn.std() / np.sqrt(len(drawn)) + 1e-6
    assert batching.longest_of(1.0, cv, count) == pytest.approx(drawn.mean(), abs=error)


@pytest.mark.parametrize("demand", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("running", [1, 2, 8, 64])
def test_pools_are_near_exact_mean_value_analysis(demand: float, running: int) -> None:
    """One queue and a delay, by the recursion over the number of requests (Reiser, Lavenberg)."""
    delay, queue, throughput = 2.0, 0.0, 0.0
    for count in range(1, running + 1):
        time = demand * (1.0 + queue)
        throughput = count / (time + delay)
        queue = throughput * time
    ours = batching.disaggregated_throughput(running, demand, demand, delay)
    # Schweitzer's approximation is known to stay within a few percent.
    assert ours == pytest.approx(throughput, rel=0.07)


def test_static_batches_with_equal_answers_lose_nothing_to_the_longest() -> None:
    assert batching.longest_of(250.0, 0.0, 64.0) == pytest.approx(250.0, rel=1e-5)


# Chunks of prompts --------------------------------------------------------------------------------


def test_chunks_of_512_cost_as_much_as_was_measured() -> None:
    """Sarathi-Serve, section 5.4 (Yi-34B on two A100): at most a quarter longer with chunks of 512,
    hardly anything with 2048. A dense model of that size on such chips."""
    base = Scenario(
        model="qwen2.5-32b", accelerator="a100-sxm-80gb", tensor_parallel=2, input_tokens=8192,
        output_tokens=100, concurrency=1, device_price_usd_per_hour=2.0,
    )  # fmt: skip
    whole = found(base).prefill_time
    assert 1.0 < found(base, prefill_chunk_tokens=512).prefill_time / whole < 1.35
    assert 1.0 < found(base, prefill_chunk_tokens=2048).prefill_time / whole < 1.10


@pytest.mark.parametrize("base", [SMALL, LARGE])
def test_smaller_chunks_add_work_and_shorten_the_pause(base: Scenario) -> None:
    chunks = [None, 4096, 2048, 1024, 512, 256, 128, 64]
    all_of_them = [found(base, prefill_chunk_tokens=chunk) for chunk in chunks]
    for more, less in pairwise(all_of_them):
        assert less.prefill_time >= more.prefill_time
        assert less.throughput <= more.throughput
        assert less.marginal_cost_per_inference >= more.marginal_cost_per_inference
        assert less.longest_gap <= more.longest_gap * (1 + 1e-9)
        assert less.ttft >= more.ttft
        assert less.decode_step_time == more.decode_step_time
    assert all_of_them[-1].longest_gap < 0.6 * all_of_them[0].longest_gap


def test_a_chunk_longer_than_the_prompt_changes_nothing() -> None:
    assert repr(found(SMALL, prefill_chunk_tokens=1000)) == repr(found(SMALL))
    assert repr(found(SMALL, prefill_chunk_tokens=999)) != repr(found(SMALL))


# Prefill and decode apart -------------------------------------------------------------------------


@pytest.mark.parametrize("base", [SMALL, LARGE])
def test_both_pools_are_paid_for(base: Scenario) -> None:
    apart = found(base, batching="disaggregated", prefill_replicas=0.5)
    devices = base.tensor_parallel
    all_replicas = apart.replicas + apart.prefill_replicas
    assert apart.prefill_replicas == pytest.approx(np.ceil(0.5 * apart.peak_replicas))
    instance = resolve(base, FACTS).devices_per_instance
    assert apart.instances >= all_replicas * devices / instance
    more = found(base, batching="disaggregated", prefill_replicas=2.0)
    assert more.throughput >= apart.throughput
    assert more.instances > apart.instances or more.replicas < apart.replicas


@pytest.mark.parametrize("base", [SMALL, LARGE])
def test_neither_pool_does_more_than_it_can(base: Scenario) -> None:
    for share in (0.05, 0.2, 1.0, 8.0):
        scenario = base.model_copy(update={"batching": "disaggregated", "prefill_replicas": share})
        speed = performance(resolve(scenario, FACTS))
        assert speed.throughput * speed.prefill_time <= share * (1 + 1e-9)
        decoding = (base.output_tokens - 1) * speed.decode_step_time
        assert speed.throughput <= speed.running / decoding * (1 + 1e-9)
        assert speed.tpot >= speed.decode_step_time
        assert speed.ttft >= speed.prefill_time
        assert speed.throughput * speed.latency_mean == pytest.approx(speed.running)


def test_the_share_that_is_found_is_the_cheapest_of_many() -> None:
    for base in (SMALL, LARGE):
        itself = found(base, batching="disaggregated").marginal_cost_per_inference
        others = [
            found(base, batching="disaggregated", prefill_replicas=float(share))
            .marginal_cost_per_inference
            for share in np.geomspace(0.05, 4.0, 30)
        ]  # fmt: skip
        assert itself <= min(others) * 1.02


def test_answers_do_not_pause_for_prompts_of_others() -> None:
    together, apart = found(LARGE), found(LARGE, batching="disaggregated")
    assert apart.tpot < together.tpot
    assert apart.longest_gap == apart.decode_step_time < together.longest_gap


def test_longer_prompts_take_longer_to_hand_over() -> None:
    given = [
        found(LARGE, batching="disaggregated", input_tokens=count, concurrency=1)
        for count in (1000, 10_000)
    ]
    extra = [(each.tpot - each.decode_step_time) * 299 for each in given]
    # 80 layers, 8 heads of 128, keys and values of one byte: 163,840 B a token over two devices,
    # and the link inside a server, 450 GB/s at the very best.
    for count, time in zip((1000, 10_000), extra, strict=True):
        assert time >= count * 163_840 / 2 / 450e9
    assert extra[1] > 5 * extra[0]


# Whole batches ------------------------------------------------------------------------------------


def test_batches_wait_for_the_longest_answer() -> None:
    """Orca's case for joining at every step: the more unequal the answers, the more is lost."""
    equal, unequal, wild = (
        found(LARGE, batching="dynamic", output_cv=cv) for cv in (0.0, 0.77, 2.15)
    )
    assert equal.throughput > unequal.throughput > wild.throughput
    assert found(LARGE).throughput > unequal.throughput
    for each in (equal, unequal, wild):
        speed_of_tokens = each.running / each.decode_step_time
        assert each.output_tokens_per_s < speed_of_tokens


def test_static_batches_wait_until_they_are_full() -> None:
    for base in (SMALL, ENCODER):
        static, other = found(base, batching="static"), found(base, batching="dynamic")
        assert static.throughput == other.throughput
        arrivals = base.requests_per_s / static.replicas
        waiting = (
            static.latency_mean
            - performance(
                resolve(base.model_copy(update={"batching": "static"}), FACTS)
            ).latency_mean
        )
        assert waiting == pytest.approx((static.running - 1) / (2 * arrivals))


def test_less_traffic_makes_static_batches_slower_and_no_others() -> None:
    few, many = Scenario(requests_per_s=0.5), Scenario(requests_per_s=1.0)
    assert found(few, batching="static").latency_mean > found(many, batching="static").latency_mean
    assert found(few).latency_mean == found(many).latency_mean


def test_a_batch_of_one_is_served_alone_either_way() -> None:
    alone = Scenario(concurrency=1, requests_per_s=0.1)
    static = found(alone, batching="static")
    # One prompt, then one token after another; no stream of others to wait for.
    expected = static.prefill_time + 249 * static.decode_step_time
    assert static.latency_mean == pytest.approx(expected, rel=1e-6)


def test_ways_can_be_mixed_in_one_table() -> None:
    """Arrays of modes give what each gives alone."""
    from cpi_model.studies.service import stack

    ways = [
        Scenario(), Scenario(batching="static"), Scenario(batching="dynamic"),
        Scenario(batching="disaggregated"), Scenario(prefill_chunk_tokens=256),
        ENCODER.model_copy(update={"batching": "static"}),
    ]  # fmt: skip
    inputs = [resolve(each, FACTS) for each in ways]
    table = evaluate(stack(inputs))
    for index, each in enumerate(inputs):
        alone = evaluate(each)
        for name in ("throughput", "ttft", "latency_p95", "cost_per_inference", "good_share"):
            assert getattr(table, name)[index] == pytest.approx(getattr(alone, name)), name


def test_batches_have_the_room_that_their_longest_answer_leaves() -> None:
    inputs = resolve(Scenario(batching="dynamic"), FACTS)
    counts = np.unique(np.geomspace(1, 4096, 60).round())
    found = performance(replace(inputs, concurrency=counts))
    # What fits does not depend on what is asked for, and more of it is hardly ever slower: the
    # longest of many answers is a little longer.
    assert len(set(found.max_concurrency)) == 1
    assert np.all(np.diff(found.throughput) >= -0.01 * found.throughput[1:])
    used = found.cache_memory + found.weight_memory + found.workspace_memory
    assert np.all(used <= found.usable_memory)
    # Answers of equal length leave more room, and those that join at every step still more.
    equal = performance(replace(inputs, output_cv=0.0))
    steps = performance(resolve(Scenario(), FACTS))
    assert found.max_concurrency[0] < equal.max_concurrency <= steps.max_concurrency


def test_no_answer_is_longer_than_the_context() -> None:
    """A wide spread of lengths does not make a batch impossible."""
    near_the_end = Scenario(
        batching="static", input_tokens=126_000, output_tokens=2000, output_cv=5.0, concurrency=2,
        tensor_parallel=2,
    )  # fmt: skip
    assert found(near_the_end).feasible
