"""Drafts, early exits, cascades and caches of answers: against papers, chance and bookkeeping."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpi_model.catalog import catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate, evaluate
from cpi_model.formulas import adaptive
from cpi_model.inputs import ImpossibleChoice, Inputs, choose, resolve
from cpi_model.scenario import Scenario
from cpi_model.studies import evidence, service
from cpi_model.studies.answer import Answer, answer
from cpi_model.studies.service import Service

FACTS = catalog()
CHAT: dict[str, Any] = {
    "model": "llama-3.1-70b", "scheme": "fp8", "tensor_parallel": 2, "requests_per_s": 500.0,
    "input_tokens": 1200, "output_tokens": 300, "cost_basis": "marginal",
}  # fmt: skip
shares = st.floats(0.0, 1.0)


def ask(**changes: Any) -> Answer:
    found = answer(Scenario(**(CHAT | changes)), FACTS)
    assert found.feasible, found.reasons
    return found


def estimate(**changes: Any) -> Estimate:
    found = ask(**changes).estimate
    assert found is not None
    return found


# Formulas ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("draft", "acceptance"), [(1, 0.3), (4, 0.8), (7, 0.62), (12, 0.95)])
def test_a_step_yields_what_throwing_coins_yields(draft: int, acceptance: float) -> None:
    """Tokens are accepted one after another until the first refusal, and one more is written."""
    coins = np.random.default_rng(7).random((200_000, draft)) < acceptance
    accepted = np.cumprod(coins, axis=1).sum(axis=1)
    found = float(adaptive.tokens_per_step(float(draft), acceptance))
    assert found == pytest.approx(accepted.mean() + 1.0, rel=0.01)


@pytest.mark.parametrize(("tokens", "share"), [(1, 0.3), (4, 0.5), (64, 0.9), (16, 0.97)])
def test_what_stays_behind_an_exit_is_what_chance_leaves(tokens: int, share: float) -> None:
    left = np.random.default_rng(3).binomial(tokens, 1.0 - share, 400_000)
    chance, stayed = adaptive.staying(float(tokens), share)
    assert float(chance) == pytest.approx((left > 0).mean(), abs=0.003)
    assert float(stayed) == pytest.approx(left[left > 0].mean(), rel=0.01)


def test_a_quantile_of_two_kinds_of_requests_is_that_of_a_sample() -> None:
    generator = np.random.default_rng(11)
    quick = generator.lognormal(math.log(1.0) - 0.5 * 0.2**2, 0.2, 700_000)
    slow = generator.lognormal(math.log(6.0) - 0.5 * 0.4**2, 0.4, 300_000)
    found = adaptive.mixture_quantile((0.7, 0.3), (1.0, 6.0), (0.2, 0.4), 0.95)
    assert float(found) == pytest.approx(np.quantile(np.r_[quick, slow], 0.95), rel=0.01)


# Speculative decoding ----------------------------------------------------------------------------


def test_a_measured_draft_speeds_up_as_estimated() -> None:
    """Llama 2 70B with a draft of 7B, both in 4 bits, one request at a time on A100."""
    (row,) = (each for each in evidence.evidence() if each.technique == "speculative-decoding")
    assert (row.hardware, row.batch) == ("a100-sxm-80gb", 1)
    plain: dict[str, Any] = {
        "model": "llama-2-70b", "scheme": "int4-g32", "accelerator": "a100-sxm-80gb",
        "engine": "pytorch-compile", "concurrency": 1, "input_tokens": 128, "output_tokens": 256,
        "tensor_parallel": 1,
    }  # fmt: skip
    before = estimate(**plain)
    low, high = (
        before.tpot / estimate(
            **plain, draft_model="llama-2-7b", draft_tokens=5, acceptance=each
        ).tpot
        for each in (0.6, 0.8)
    )  # fmt: skip
    assert low < row.value < high


@given(draft=st.integers(1, 16), acceptance=shares)
def test_a_draft_never_writes_more_than_it_proposes(draft: int, acceptance: float) -> None:
    x = resolve(Scenario(**CHAT), FACTS)
    plain = evaluate(x)
    # A draft that costs nothing: text found in the prompt.
    drafted = evaluate(replace(x, draft_tokens=float(draft), acceptance=acceptance))
    assert drafted.decode_step_time >= plain.decode_step_time * (1.0 - 1e-9)
    assert drafted.tpot >= plain.tpot / (draft + 1.0)


def test_a_draft_needs_memory_and_helps_most_when_few_wait() -> None:
    plain, drafted = estimate(), estimate(draft_model="llama-3.1-8b")
    assert drafted.weight_memory > plain.weight_memory
    assert drafted.max_concurrency < plain.max_concurrency
    gains = [
        estimate(concurrency=count).tpot
        / estimate(concurrency=count, draft_model="llama-3.2-1b", acceptance=0.8).tpot
        for count in (1, 16, 128)
    ]
    assert gains[0] > gains[1] > gains[2]
    assert gains[0] > 2.0


def test_parts_of_a_step_with_a_draft_sum_to_it() -> None:
    found = estimate(draft_model="head", exit_share=0.2)
    parts = (
        found.step_compute + found.step_weights + found.step_cache + found.step_network
        + found.step_overhead + found.step_draft
    )  # fmt: skip
    assert parts == pytest.approx(found.decode_step_time, rel=1e-9)


# Early exits -------------------------------------------------------------------------------------


@given(share=shares, depth=st.floats(0.05, 1.0), count=st.sampled_from((1.0, 8.0, 200.0)))
def test_an_exit_never_costs_time_and_never_saves_more_than_it_skips(
    share: float, depth: float, count: float
) -> None:
    x = replace(resolve(Scenario(**CHAT), FACTS), concurrency=count)
    plain = evaluate(x)
    found = evaluate(replace(x, exit_share=share, exit_depth=depth))
    assert found.decode_step_time <= plain.decode_step_time * (1.0 + 1e-9)
    left = depth + (1.0 - depth) * (1.0 - share)
    floor = left * (plain.decode_step_time - plain.step_overhead)
    assert found.decode_step_time >= floor * (1.0 - 1e-9)


def test_an_exit_saves_little_in_a_large_batch() -> None:
    saved = [
        1.0 - estimate(concurrency=count, exit_share=0.5).decode_step_time
        / estimate(concurrency=count).decode_step_time
        for count in (1, 64)
    ]  # fmt: skip
    assert saved[0] > 0.2
    assert saved[1] < 0.08


def test_samples_that_leave_early_save_their_share() -> None:
    scenario = Scenario(
        model="bert-large", engine="tensorrt", accelerator="l4", input_tokens=128, concurrency=64
    )
    x = resolve(scenario, FACTS)
    all_leave = evaluate(replace(x, exit_share=1.0, exit_depth=0.5))
    half = evaluate(replace(x, sample_flops=0.5 * x.sample_flops, half_flops=0.5 * x.half_flops,
                            sample_weight_bytes=0.5 * x.sample_weight_bytes,
                            sample_activation_bytes=0.5 * x.sample_activation_bytes))  # fmt: skip
    assert all_leave.throughput == pytest.approx(half.throughput, rel=0.05)


# Cached answers ----------------------------------------------------------------------------------


@given(share=st.floats(0.0, 0.99))
def test_what_a_cache_answers_does_not_reach_the_model(share: float) -> None:
    x = replace(resolve(Scenario(**CHAT), FACTS), lookup_price=0.0, lookup_time=0.02)
    found = evaluate(replace(x, answer_hit_share=share))
    fewer = evaluate(replace(x, requests_per_s=x.requests_per_s * (1.0 - share)))
    assert found.replicas == pytest.approx(fewer.replicas)
    assert found.utilisation == pytest.approx(fewer.utilisation)
    assert found.compute_cost == pytest.approx(fewer.compute_cost * (1.0 - share))
    lookup = 0.02 if share else 0.0
    assert found.latency_mean == pytest.approx(lookup + (1.0 - share) * fewer.latency_mean)


def test_looking_up_is_paid_for_every_request() -> None:
    x = resolve(Scenario(**CHAT), FACTS)
    free = evaluate(replace(x, answer_hit_share=0.2, lookup_price=0.0))
    paid = evaluate(replace(x, answer_hit_share=0.2, lookup_price=1e-4))
    assert paid.cost_per_inference - free.cost_per_inference == pytest.approx(
        1e-4 / x.success_share
    )


def test_the_p95_of_mostly_cached_answers_is_that_of_the_rest_or_a_lookup() -> None:
    x = replace(resolve(Scenario(**CHAT), FACTS), lookup_time=0.02, lookup_price=0.0)
    generator = np.random.default_rng(5)
    for share in (0.3, 0.9, 0.97):
        found = evaluate(replace(x, answer_hit_share=share))
        plain = evaluate(x)
        sd = float(x.latency_log_sd)
        own = generator.lognormal(math.log(plain.latency_mean) - 0.5 * sd**2, sd, 1_000_000)
        times = 0.02 + np.where(generator.random(own.size) < share, 0.0, own)
        assert found.latency_p95 == pytest.approx(np.quantile(times, 0.95), rel=0.01)


# Cascades ----------------------------------------------------------------------------------------


def parts_of(found: Answer) -> tuple[tuple[Inputs, Estimate], tuple[Inputs, Estimate]]:
    assert found.service is not None
    return service.deployments(found.service)


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_a_cascade_costs_the_small_model_and_a_share_of_the_large(share: float) -> None:
    both = ask(cascade_model="llama-3.1-8b", escalated_share=share)
    (_, small), (_, large) = parts_of(both)
    whole = both.estimate
    assert whole is not None
    assert whole.cost_per_inference == pytest.approx(
        small.cost_per_inference + share * large.cost_per_inference
    )
    assert whole.cost_rate == pytest.approx(small.cost_rate + large.cost_rate)
    assert whole.latency_mean == pytest.approx(small.latency_mean + share * large.latency_mean)
    components = sum(
        getattr(whole, f"{name}_cost")
        for name in ("compute", "memory", "storage", "network", "orchestration")
    )
    assert components == pytest.approx(whole.cost_per_inference, rel=1e-9)


def test_the_large_model_of_a_cascade_gets_what_is_passed_on() -> None:
    alone = ask(requests_per_s=CHAT["requests_per_s"] * 0.25)
    both = ask(cascade_model="llama-3.1-8b", escalated_share=0.25)
    _, (_, large) = parts_of(both)
    assert alone.estimate is not None
    assert large.replicas == alone.estimate.replicas
    assert large.compute_cost == pytest.approx(alone.estimate.compute_cost)


def test_the_p95_of_a_cascade_is_that_of_a_sample() -> None:
    both = ask(cascade_model="llama-3.1-8b", escalated_share=0.2, answer_hit_share=0.1)
    (small_x, small), (large_x, large) = parts_of(both)
    generator, size = np.random.default_rng(2), 1_000_000
    reached = 1.0 - float(small_x.answer_hit_share)
    lookup = float(small_x.lookup_time)

    def times(mean: float, sd: float) -> Any:
        return generator.lognormal(math.log(mean) - 0.5 * sd**2, sd, size)

    first = times((float(small.latency_mean) - lookup) / reached, float(small_x.latency_log_sd))
    second = times(float(large.latency_mean), float(large_x.latency_log_sd))
    passed, cached = generator.random(size) < 0.2, generator.random(size) > reached
    whole = lookup + np.where(cached, 0.0, first + np.where(passed, second, 0.0))
    assert both.estimate is not None
    assert both.estimate.latency_p95 == pytest.approx(np.quantile(whole, 0.95), rel=0.02)


def test_services_come_out_the_same_one_by_one_and_together() -> None:
    scenarios = [
        Scenario(**(CHAT | {"cascade_model": small, "escalated_share": share}))
        for small in ("llama-3.1-8b", "llama-3.2-1b") for share in (0.1, 0.5)
    ]  # fmt: skip
    services = [
        service.resolve(each, choose(each, FACTS), FACTS, coefficients()) for each in scenarios
    ]
    together = service.estimate(service.together(services))
    for place, alone in enumerate(map(service.estimate, services)):
        assert together.cost_per_inference[place] == pytest.approx(  # type: ignore[index]
            alone.cost_per_inference, rel=1e-12
        )
        assert together.latency_p95[place] == pytest.approx(  # type: ignore[index]
            alone.latency_p95, rel=1e-9
        )


def test_one_model_alone_is_the_model_itself() -> None:
    x = resolve(Scenario(**CHAT, cached_input_share=0.2), FACTS)
    assert service.estimate(Service(x)) == evaluate(x)


@pytest.mark.parametrize(
    ("changes", "field", "word"),
    [
        ({"cascade_model": "resnet50-v1.5"}, "cascade_model", "class vision"),
        ({"cascade_model": "bert-base"}, "cascade_model", "class encoder"),
        ({"student": "bert-large"}, "student", "cannot stand in"),
        ({"draft_model": "mixtral-8x7b-v0.1"}, "draft_model", "dense"),
        ({"draft_model": "qwen2.5-72b"}, "draft_model", "not smaller"),
        ({"draft_model": "no-such-model"}, "draft_model", "no model"),
        ({"student": "no-such-model"}, "student", "no model"),
        ({"cascade_model": "no-such-model"}, "cascade_model", "no model"),
    ],
)
def test_what_cannot_be_says_so_and_names_what_works(
    changes: dict[str, Any], field: str, word: str
) -> None:
    scenario = Scenario(**(CHAT | changes))
    with pytest.raises(ImpossibleChoice) as refused:
        service.resolve(scenario, choose(scenario, FACTS), FACTS, coefficients())
    (problem,) = refused.value.problems
    assert problem.field == field
    assert word in problem.reason
    found = answer(scenario, FACTS)
    assert not found.feasible
    if problem.changes:
        better = scenario.model_copy(update=problem.changes)
        assert answer(better, FACTS).feasible
