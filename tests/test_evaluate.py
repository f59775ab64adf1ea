"""Laws and worked examples that the whole model must obey."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpi_model.catalog import catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import (
    BESIDE_SPEED,
    OBSTACLES,
    SPEED,
    Estimate,
    evaluate,
    performance,
)
from cpi_model.formulas import transformer
from cpi_model.inputs import Inputs, parameters, resolve
from cpi_model.links import decode
from cpi_model.scenario import Scenario
from cpi_model.studies.service import stack

MODELS = {
    "llama-3.1-8b": ("vllm", "h100-sxm", 1),
    "llama-3.1-70b": ("vllm", "h100-sxm", 4),
    "deepseek-r1": ("sglang", "h200-sxm", 8),
    "gpt-oss-120b": ("vllm", "b200-sxm", 1),
    "qwen3.5-397b-a17b": ("vllm", "b200-sxm", 8),
}
OTHERS = {
    "bert-large": ("tensorrt", "l4"),
    "resnet50-v1.5": ("onnxruntime", "xeon-platinum-8488c"),
    "sdxl-1.0": ("tensorrt", "h100-sxm"),
    "dlrm-v2": ("torchrec", "h100-sxm"),
    "whisper-large-v3": ("tensorrt-llm", "h100-sxm"),
}


def llm(model: str = "llama-3.1-8b", **changes: object) -> Scenario:
    engine, chip, devices = MODELS[model]
    scheme = {"deepseek-r1": "fp8", "gpt-oss-120b": "mxfp4-experts", "qwen3.5-397b-a17b": "fp8"}
    basis = {
        "model": model, "engine": engine, "accelerator": chip, "tensor_parallel": devices,
        "scheme": scheme.get(model, "bf16"),
    }  # fmt: skip
    return Scenario.model_validate(basis | changes)


def numbers(scenario: Scenario) -> Inputs:
    return resolve(scenario, catalog())


def components(estimate: Estimate) -> float:
    return (
        estimate.compute_cost + estimate.memory_cost + estimate.storage_cost
        + estimate.network_cost + estimate.orchestration_cost
    )  # fmt: skip


def test_textbook_case_is_exact() -> None:
    """The metric's worked example: 500 USD a day for 1,000,000 requests is 0.0005 USD."""
    scenario = llm(
        requests_per_s=1_000_000 / 86_400, scaling="fixed", fixed_replicas=1, peak_to_mean=1.0,
        input_tokens=10, output_tokens=2, concurrency=256,
        success_share=1.0, instance="aws/p5.4xlarge", device_price_usd_per_hour=500 / 24,
        storage_usd_per_gb_month=0, object_storage_usd_per_gb_month=0, log_usd_per_gb=0,
        egress_usd_per_gb=0, cross_zone_usd_per_gb=0, load_balancer_usd_per_hour=0,
        load_balancer_usd_per_gb=0, control_plane_usd_per_hour=0,
        monitoring_usd_per_instance_month=0, agent_share=0, platform_share=0,
    )  # fmt: skip
    estimate = evaluate(numbers(scenario))
    assert estimate.feasible
    assert estimate.cost_per_inference == pytest.approx(0.0005, rel=1e-14)


@pytest.mark.parametrize("model", MODELS)
def test_components_sum_to_the_total(model: str) -> None:
    estimate = evaluate(numbers(llm(model)))
    assert estimate.feasible
    assert components(estimate) == pytest.approx(estimate.cost_per_inference, rel=1e-12)
    per_request = 1000 * estimate.input_token_cost + 250 * estimate.output_token_cost
    assert per_request == pytest.approx(estimate.cost_per_inference, rel=1e-9)


@pytest.mark.parametrize("model", OTHERS)
def test_other_models_have_cost_and_latency(model: str) -> None:
    engine, chip = OTHERS[model]
    scenario = Scenario(
        model=model, engine=engine, accelerator=chip, concurrency=8, requests_per_s=1,
        input_tokens=384,
    )  # fmt: skip
    estimate = evaluate(numbers(scenario))
    assert estimate.feasible
    assert np.isnan(estimate.tpot)
    assert 0 < estimate.latency_mean < estimate.latency_p95
    assert components(estimate) == pytest.approx(estimate.cost_per_inference, rel=1e-12)
    parts = (
        estimate.step_compute + estimate.step_weights + estimate.step_cache
        + estimate.step_network + estimate.step_overhead
    )  # fmt: skip
    assert parts == pytest.approx(estimate.decode_step_time, rel=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_never_faster_than_the_datasheet(model: str) -> None:
    """A decode step reads every dense weight once and cannot beat the bandwidth that has."""
    x = numbers(llm(model, concurrency=1, output_tokens=100))
    estimate = evaluate(x)
    floor = x.dense_bytes / (x.tensor_parallel * x.memory_bandwidth)
    assert estimate.tpot > floor
    flops = 2 * x.dense_params * x.input_tokens / (x.tensor_parallel * x.peak_flops)
    assert estimate.prefill_time > flops


def test_one_at_a_time_equals_all_at_once() -> None:
    scenarios = [
        llm(model, concurrency=n, output_tokens=out, cached_input_share=hit)
        for model in MODELS for n in (1, 7, 64) for out in (1, 300) for hit in (0.0, 0.5)
    ] + [
        Scenario(model=model, engine=engine, accelerator=chip, concurrency=n)
        for model, (engine, chip) in OTHERS.items() for n in (1, 16)
    ]  # fmt: skip
    each = [numbers(scenario) for scenario in scenarios]
    together = evaluate(stack(each))
    for index, one in enumerate(each):
        alone = evaluate(one)
        for field in fields(Estimate):
            np.testing.assert_allclose(
                getattr(together, field.name)[index], getattr(alone, field.name), rtol=1e-12,
                err_msg=f"{field.name} of {scenarios[index].model}",
            )  # fmt: skip


def test_arrays_of_any_shape_broadcast() -> None:
    x = numbers(llm())
    grid = replace(
        x, concurrency=np.array([1.0, 8.0, 64.0])[:, None], input_tokens=np.array([100.0, 5000.0])
    )
    estimate = evaluate(grid)
    assert estimate.tpot.shape == (3, 2)
    alone = evaluate(replace(x, concurrency=8.0, input_tokens=5000.0))
    assert estimate.tpot[1, 1] == pytest.approx(alone.tpot, rel=1e-12)


def test_blocks_leave_no_seam() -> None:
    x = numbers(llm())
    many = np.resize(np.arange(1.0, 257.0), 20_001)
    estimate = evaluate(replace(x, concurrency=many))
    np.testing.assert_array_equal(estimate.tpot[:256], estimate.tpot[256:512])
    assert np.isfinite(estimate.tpot).all()


@pytest.mark.parametrize("model", MODELS)
def test_more_requests_together(model: str) -> None:
    """Throughput rises and tokens slow down with concurrency until memory ends."""
    x = numbers(llm(model))
    estimate = evaluate(replace(x, concurrency=np.arange(1.0, 513.0)))
    assert (np.diff(estimate.tpot) >= -1e-15).all()
    running = np.diff(estimate.running) > 0
    assert (np.diff(estimate.throughput)[running] > 0).all()
    assert (estimate.running <= estimate.max_concurrency).all()


factor = st.floats(min_value=1.0, max_value=8.0)


@settings(deadline=None, max_examples=60)
@given(model=st.sampled_from(list(MODELS)), factor=factor, n=st.integers(1, 300))
def test_better_hardware_is_never_slower(model: str, factor: float, n: int) -> None:
    x = replace(numbers(llm(model)), concurrency=float(n))
    plain = evaluate(x)
    for name in ("memory_bandwidth", "peak_flops", "attention_peak_flops", "link_bandwidth"):
        better = evaluate(replace(x, **{name: getattr(x, name) * factor}))
        assert better.tpot <= plain.tpot * (1 + 1e-12)
        assert better.latency_mean <= plain.latency_mean * (1 + 1e-12)
        # In a closed loop those that decode faster are back sooner, waiting for prompts.
        assert better.ttft <= plain.ttft * 1.05


@settings(deadline=None, max_examples=60)
@given(model=st.sampled_from(list(MODELS)), factor=factor)
def test_price_and_failures_scale_cost(model: str, factor: float) -> None:
    x = replace(numbers(llm(model)), monitoring_price=0.0)
    plain = evaluate(x)
    dearer = evaluate(replace(x, instance_price=x.instance_price * factor))
    assert dearer.compute_cost == pytest.approx(plain.compute_cost * factor, rel=1e-12)
    assert dearer.storage_cost == pytest.approx(plain.storage_cost, rel=1e-12)
    halved = evaluate(replace(x, success_share=x.success_share / 2))
    assert halved.cost_per_inference == pytest.approx(2 * plain.cost_per_inference, rel=1e-12)


def test_cached_input_costs_less() -> None:
    x = numbers(llm(input_tokens=4000, cached_input_share=0.75))
    estimate = evaluate(x)
    assert estimate.cached_token_cost < 0.2 * estimate.input_token_cost
    none = evaluate(replace(x, cached_input_share=0.0))
    assert estimate.ttft < none.ttft
    assert estimate.throughput > none.throughput


def test_narrower_weights_need_less_memory() -> None:
    chain = [
        evaluate(numbers(llm(scheme=scheme))).weight_memory
        for scheme in ("bf16", "fp8", "int4-awq")
    ]
    assert chain[0] > chain[1] > chain[2]
    assert chain[0] == pytest.approx(2 * 8.03e9, rel=0.01)


def test_what_does_not_fit_is_refused_with_its_reason() -> None:
    estimate = evaluate(numbers(llm("llama-3.1-70b").model_copy(update={"tensor_parallel": 1})))
    assert not estimate.feasible
    assert int(estimate.obstacles) & OBSTACLES["weights_do_not_fit"]
    assert np.isnan(estimate.cost_per_inference)
    overloaded = evaluate(numbers(llm(scaling="fixed", fixed_replicas=1, requests_per_s=10_000.0)))
    assert int(overloaded.obstacles) == OBSTACLES["load_above_capacity"]


def test_marginal_cost_is_below_fully_loaded() -> None:
    estimate = evaluate(numbers(llm(requests_per_s=3.0)))
    assert estimate.marginal_cost_per_inference < estimate.cost_per_inference
    assert estimate.cost_per_good_inference >= estimate.cost_per_inference


def test_good_share_is_the_log_normal_share_below_the_limit() -> None:
    """At a limit equal to the estimated 95th percentile, 95 % are good."""
    x = replace(numbers(llm()), slo_ttft=1e9, slo_tpot=1e9)
    p95 = evaluate(x).latency_p95
    assert evaluate(replace(x, slo_latency=p95)).good_share == pytest.approx(0.95, abs=1e-9)


def test_following_the_traffic_costs_no_more_than_standing_for_the_peak() -> None:
    base = llm(requests_per_s=500.0, peak_to_mean=4.0)
    peak = evaluate(numbers(base))
    follow = evaluate(numbers(base.model_copy(update={"scaling": "follow"})))
    assert follow.replicas < peak.replicas
    assert follow.cost_per_inference < peak.cost_per_inference
    assert peak.replicas == peak.peak_replicas


def test_coefficients_are_within_physics() -> None:
    for chip in coefficients().chips.values():
        assert all(0 < value <= 1 for value in chip.compute_efficiency.values())
        assert 0 < chip.memory_efficiency <= 1


# What an expert would try in order to break it ---------------------------------------------------


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm"])
@pytest.mark.parametrize("input_tokens", [200, 2000, 8000])
def test_prompts_are_not_read_faster_than_the_chip_can_multiply(
    engine: str, input_tokens: int
) -> None:
    # Short answers, where only the prompts count: 2 FLOPs a parameter and token.
    outputs = np.array([1.0, 2.0, 4.0, 16.0, 128.0])
    scenario = llm(input_tokens=input_tokens, concurrency=256).model_copy(update={"engine": engine})
    found = evaluate(replace(numbers(scenario), output_tokens=outputs))
    model = catalog().models["llama-3.1-8b"]
    work = 2 * parameters(model).active * input_tokens
    peak = catalog().accelerators["h100-sxm"].dense_tflops["bf16"] * 1e12
    assert (np.asarray(found.throughput) * work < peak).all()
    assert (np.asarray(found.throughput) * np.asarray(found.prefill_time) <= 1 + 1e-9).all()


def test_experts_in_groups_wait_for_the_busiest() -> None:
    one, eight = (
        evaluate(numbers(llm("deepseek-r1", concurrency=256, expert_parallel=groups)))
        for groups in (1, 8)
    )
    assert eight.prefill_time > one.prefill_time
    assert eight.throughput < one.throughput


def test_the_busiest_group_is_as_busy_as_in_a_simulation() -> None:
    random = np.random.default_rng(1)
    for tokens, chosen, groups in ((1000, 8, 8), (4000, 4, 16), (256, 8, 8)):
        loads = random.multinomial(tokens * chosen, np.full(groups, 1 / groups), size=2000)
        simulated = loads.max(axis=1).mean() / loads.mean()
        bound = float(transformer.busiest_group_load(tokens, chosen, groups))
        # The theorem bounds the busiest from above; at these sizes it is a few percent over.
        assert simulated <= bound <= 1.1 * simulated


@pytest.mark.parametrize("chip", ["gaudi3", "tpu-v6e", "inferentia2"])
def test_narrow_numbers_are_never_slower_where_the_peak_is_the_same(chip: str) -> None:
    accelerator = catalog().accelerators[chip]
    engine = next(
        e for e in catalog().engines.values()
        if e.id != "openvino" and "llm" in e.model_classes and "fp8" in e.schemes
        and accelerator.kind in e.kinds and (not e.vendors or accelerator.vendor in e.vendors)
    )  # fmt: skip
    wide, narrow = (
        evaluate(
            numbers(
                Scenario(
                    accelerator=chip, engine=engine.id, scheme=scheme, concurrency=256,
                    device_price_usd_per_hour=1.0,
                )
            )
        )
        for scheme in ("bf16", "fp8")
    )  # fmt: skip
    if wide.feasible and narrow.feasible:
        assert narrow.throughput >= wide.throughput
    assert narrow.feasible


def test_texts_longer_than_the_encoder_accepts_are_refused() -> None:
    # BERT paper, sec. A.2: sequences of at most 512 tokens.
    encoder = Scenario(model="bert-large", engine="tensorrt", accelerator="l4", input_tokens=512)
    assert evaluate(numbers(encoder)).feasible
    longer = evaluate(numbers(encoder.model_copy(update={"input_tokens": 513})))
    assert int(longer.obstacles) == OBSTACLES["context_too_long"]


def test_cached_input_is_cheaper_but_not_for_nothing() -> None:
    found = evaluate(numbers(llm(input_tokens=8000, cached_input_share=0.9)))
    # Hosted models ask a tenth to a half for cached input; here it is what the device spends.
    assert 0.001 < found.cached_token_cost / found.input_token_cost < 0.5


# Corrections -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_corrections_multiply_the_times_that_they_name(model: str) -> None:
    """All of a step is one time, and so is all that comes before the first token."""
    plain = evaluate(numbers(llm(model)))
    slower = evaluate(numbers(llm(model, step_time_correction=1.3)))
    assert slower.tpot == pytest.approx(1.3 * plain.tpot)
    assert slower.prefill_time == pytest.approx(1.3 * plain.prefill_time)
    later = evaluate(numbers(llm(model, first_token_correction=1.4)))
    assert later.tpot == plain.tpot
    assert later.ttft == pytest.approx(1.4 * plain.ttft)


@pytest.mark.parametrize("name", OTHERS)
def test_a_batch_is_corrected_whole(name: str) -> None:
    engine, chip = OTHERS[name]
    scenario = Scenario(
        model=name, engine=engine, accelerator=chip, scheme="bf16" if chip != "l4" else "int8",
        input_tokens=384,
    )  # fmt: skip
    plain = evaluate(numbers(scenario))
    slower = evaluate(numbers(scenario.model_copy(update={"step_time_correction": 2.0})))
    assert slower.decode_step_time == pytest.approx(2 * plain.decode_step_time)
    assert slower.throughput == pytest.approx(plain.throughput / 2)


def test_no_correction_is_faster_than_the_datasheet() -> None:
    """Llama 3.1 8B in 16 bits on one H100: 3.35 TB/s and 989 TFLOP/s.

    A step reads all weights but the input embedding, 7.5 billion of 2 bytes, and a prompt of 1,000
    tokens multiplies each of them.
    """
    scenario = llm(
        concurrency=1, input_tokens=1000, step_time_correction=0.2, first_token_correction=0.2
    )
    found = evaluate(numbers(scenario))
    assert found.decode_step_time >= 7.5e9 * 2 / 3.35e12
    assert found.prefill_time >= 1000 * 2 * 7.5e9 / 989e12
    assert found.ttft >= 1000 * 2 * 7.5e9 / 989e12
    batch = Scenario(
        model="resnet50-v1.5", engine="tensorrt", accelerator="h100-sxm", scheme="int8",
        concurrency=256, step_time_correction=0.2,
    )  # fmt: skip
    # He et al. 2015: 3.8 billion multiply-adds an image; 1,979 TOPS in int8.
    assert evaluate(numbers(batch)).throughput <= 1979e12 / (2 * 3.8e9)


@pytest.mark.parametrize("instance", ["aws/p5.48xlarge", "auto"])
def test_a_deployment_that_follows_the_traffic_never_costs_less_for_more(instance: str) -> None:
    """Whole instances of eight are paid while one of their places is taken."""
    scenario = Scenario(instance=instance, scaling="follow", min_replicas=0, scaling_lag_share=0.0)
    x = resolve(scenario, catalog())
    rates = np.geomspace(0.5, 5000.0, 400)
    found = evaluate(replace(x, requests_per_s=rates))
    bill = np.asarray(found.cost_rate)
    assert (np.diff(bill) >= -1e-9 * bill[1:]).all()
    places = x.devices_per_instance / x.devices_per_replica
    instances, replicas = np.asarray(found.instances), np.asarray(found.replicas)
    assert (instances >= replicas / places * (1.0 - 1e-9)).all()
    assert (instances <= np.ceil(np.asarray(found.peak_replicas) / places) + 1e-9).all()
    assert (instances[replicas >= 1.0] >= 1.0).all()


def test_cached_input_is_part_of_the_work_of_a_batch() -> None:
    """The prompts of so short answers share passes: what each pays for its own part is positive."""
    scenario, problems = decode(
        "v=1&in=182&out=1&hit=0.9&m=tinyllama-1.1b&q=fp32&e=jetstream&c=147&hw=a10&price=1&bat=static"
    )
    found = performance(numbers(scenario))
    assert problems == [] and found.obstacles == 0
    assert found.input_work > 0 and found.cached_work > 0
    # Reading and writing together last as long as the batch, of which each has its part.
    assert found.input_work + found.output_work < 1 / found.throughput


SERVED = [
    llm(),
    llm("deepseek-r1", batching="disaggregated"),
    llm("llama-3.1-70b", draft_model="llama-3.2-1b", answer_hit_share=0.2),
    llm(batching="static"),
    *(
        Scenario(model=model, engine=engine, accelerator=chip)
        for model, (engine, chip) in OTHERS.items()
    ),
]


@pytest.mark.parametrize("scenario", SERVED, ids=lambda each: f"{each.model} {each.batching}")
def test_speed_does_not_depend_on_load_prices_and_limits(scenario: Scenario) -> None:
    x = numbers(scenario)
    blind = replace(x, **dict.fromkeys(BESIDE_SPEED, np.nan))
    for field in fields(performance(x)):
        known, found = getattr(performance(x), field.name), getattr(performance(blind), field.name)
        assert found == pytest.approx(known, nan_ok=True), field.name


@pytest.mark.parametrize("scenario", SERVED, ids=lambda each: f"{each.model} {each.batching}")
def test_an_estimate_on_known_speed_is_the_same(scenario: Scenario) -> None:
    x = replace(numbers(scenario), requests_per_s=np.array([0.1, 3.0, 900.0]))
    speed = performance(
        replace(x, requests_per_s=np.ones(3), concurrency=np.full(3, x.concurrency))
    )
    wanted = frozenset(("cost_per_inference", "good_share", "latency_p95", "input_token_cost"))
    partly = replace(speed, **{
        field.name: np.empty(0) for field in fields(speed) if field.name not in SPEED
    })  # fmt: skip
    whole, found = evaluate(x), evaluate(x, wanted, partly)
    for name in wanted:
        assert getattr(found, name) == pytest.approx(getattr(whole, name), nan_ok=True), name


def test_each_version_has_whole_replicas_of_its_own() -> None:
    """Counted one by one: each version carries its own peak and has its own minimum."""
    several = Scenario(
        live_versions=4, old_traffic_share=0.3, old_min_replicas=2, min_replicas=3,
        spare_replicas=1, requests_per_s=200.0,
    )  # fmt: skip
    inputs = resolve(several, catalog())
    estimate = evaluate(inputs)
    room = float(estimate.throughput) * several.target_utilisation
    peak = several.requests_per_s * several.peak_to_mean
    loads = [0.7 * peak, *[0.1 * peak] * 3]
    counted = [
        max(math.ceil(load / room), least, 1)
        for load, least in zip(loads, (3, 2, 2, 2), strict=True)
    ]
    assert estimate.replicas == sum(counted) + 1
    following = evaluate(replace(inputs, replicas_follow=1.0))
    means = [load / several.peak_to_mean / room * 1.15 for load in loads]
    expected = sum(max(mean, least) for mean, least in zip(means, (3, 2, 2, 2), strict=True)) + 1
    assert following.replicas == pytest.approx(expected)


@pytest.mark.parametrize("scaling", ["peak", "follow"])
def test_versions_of_their_own_never_need_fewer_replicas(scaling: str) -> None:
    base = resolve(Scenario(live_versions=3, scaling=scaling, requests_per_s=90.0), catalog())  # type: ignore[arg-type]
    shares = np.concatenate([[-1.0], np.linspace(0.0, 1.0, 41)])
    replicas = np.asarray(evaluate(replace(base, old_traffic_share=shares)).replicas)
    assert (replicas[1:] >= replicas[0] * (1 - 1e-12)).all()


def test_the_prompts_of_a_batch_are_read_in_one_pass() -> None:
    """Short ones are bound by the weights, read once; many are bound by arithmetic, as many each.

    Published for Llama 2 7B in 16 bits on one H100, 128 tokens each: 9.1, 11.5 and 16.4 ms for 1, 2
    and 4 prompts, and 93.2, 183.8 and 367.6 ms for 32, 64 and 128.
    """
    batch = llm(batching="static", input_tokens=128, output_tokens=256, output_cv=0.0)
    counts = np.array([1.0, 2.0, 4.0, 32.0, 64.0, 128.0])
    first = np.asarray(performance(replace(numbers(batch), concurrency=counts)).ttft)
    growth = first[1:] / first[:-1]
    published = [11.5 / 9.1, 16.4 / 11.5, 93.2 / 16.4, 183.8 / 93.2, 367.6 / 183.8]
    assert growth == pytest.approx(published, rel=0.3)
    assert growth[0] < 1.7 and growth[-1] > 1.8


@pytest.mark.parametrize("chip", ["xeon-platinum-8380", "xeon-8592", "epyc-9654"])
def test_a_cpu_writes_one_answer_at_the_pace_of_its_memory(chip: str) -> None:
    """Published per-token times of language models on CPUs are the weights over the bandwidth."""
    scenario = llm(
        accelerator=chip, engine="openvino", scheme="bf16", concurrency=1, input_tokens=128,
        output_tokens=128, device_price_usd_per_hour=1.0,
    )  # fmt: skip
    x = numbers(scenario)
    step = performance(x)
    assert step.step_weights > step.step_compute
    read = (x.dense_bytes + x.embedding_bytes) / x.memory_bandwidth
    assert read < step.decode_step_time < 2.0 * read
