"""Physics that no estimate may break: random scenarios of the whole catalog, fitted as shipped.

Bounds are computed here from the figures of the catalog: parameters, bits, peaks and bandwidths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cpi_model import links
from cpi_model.catalog import catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate, Performance, evaluate, performance
from cpi_model.inputs import Choice, Inputs, choose, engine_runs_on, numbers, parameters
from cpi_model.scenario import Scenario
from cpi_model.schema import Scheme

FACTS = catalog()
CLOSE = 1 + 1e-9
"""Rounding is no physics."""
BYTES = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5}
USABLE = [chip for chip in FACTS.accelerators.values() if chip.memory_bandwidth_gb_per_s]
LANGUAGE = [model.id for model in FACTS.models.values() if model.transformer]
OTHERS = [model.id for model in FACTS.models.values() if model.sample]


@dataclass(frozen=True)
class Case:
    """A scenario that works, and what it comes to."""

    scenario: Scenario
    choice: Choice
    inputs: Inputs
    speed: Performance

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What Hypothesis shows of an example: a link."""
        printer.text(links.encode(self.scenario))

    @property
    def devices(self) -> float:
        """Devices of a replica; a share of a socket where it is rented by the vCPU."""
        instance = self.choice.instance
        if self.choice.accelerator.kind == "cpu" and instance is not None:
            return instance.accelerator_count
        return self.choice.devices_per_replica

    @property
    def bandwidth(self) -> float:
        """Of all devices together, as printed. [B/s]"""
        printed = self.choice.accelerator.memory_bandwidth_gb_per_s
        assert printed is not None
        return printed * 1e9 * self.devices

    @property
    def peak(self) -> float:
        """The highest that the chip prints for any format in use, all devices. [FLOP/s]"""
        printed = self.choice.accelerator.dense_tflops
        used = {self.choice.arithmetic}
        if self.choice.scheme.experts_only:
            used.add("fp8")
        return max(printed.get(name, 0.0) for name in used) * 1e12 * self.devices


@cache
def where_it_runs(model: str) -> dict[str, list[str]]:
    """Chips by engine."""
    engines = [
        engine for engine in FACTS.engines.values()
        if FACTS.models[model].model_class in engine.model_classes
    ]  # fmt: skip
    chips = {e.id: [chip.id for chip in USABLE if engine_runs_on(e, chip)] for e in engines}
    return {engine: found for engine, found in chips.items() if found}


@st.composite
def cases(draw: st.DrawFn, models: list[str]) -> Case:
    """Any model on any chip that an engine runs it on, at any length, load and parallelism."""
    model = FACTS.models[draw(st.sampled_from(models))]
    chips_of = where_it_runs(model.id)
    engine = FACTS.engines[draw(st.sampled_from(sorted(chips_of)))]
    chip = FACTS.accelerators[draw(st.sampled_from(chips_of[engine.id]))]
    scheme = FACTS.schemes[draw(st.sampled_from(engine.schemes))]
    shape, sample = model.transformer, model.sample
    changes: dict[str, Any] = {
        "model": model.id, "engine": engine.id, "accelerator": chip.id, "scheme": scheme.id,
        "device_price_usd_per_hour": 1.0, "concurrency": draw(st.integers(1, 1024)),
        "kv_precision": draw(st.sampled_from(sorted(BYTES))),
    }  # fmt: skip
    if shape is not None:
        most = min(shape.max_context_tokens, 60_000)
        given = draw(st.integers(1, most - 1))
        changes |= {
            "input_tokens": given,
            "output_tokens": draw(st.integers(1, min(most - given, 4000))),
            "cached_input_share": draw(st.sampled_from([0.0, 0.0, 0.5, 0.9])),
        }
        # Enough devices for the weights, in ways that divide the heads.
        weights = parameters(model).total * max(scheme.weight_bits, 4.0) / 8
        needed = weights / (0.7 * (chip.memory_gb or 256.0) * 1e9)
        ways = [n for n in range(1, 65) if shape.attention.heads % n == 0]
        enough = [n for n in ways if n >= needed] or ways[-1:]
        tensor = draw(st.sampled_from(enough[:3]))
        copies = draw(st.sampled_from([1, 1, 1, 2, 4]))
        experts = [n for n in (1, 2, 4, 8) if (tensor * copies) % n == 0 and n <= shape.experts]
        changes |= {
            "tensor_parallel": tensor,
            "pipeline_parallel": min(64, draw(
                st.sampled_from([max(1, math.ceil(needed / tensor)), 2])
            )),
            "data_parallel": copies,
            "expert_parallel": draw(st.sampled_from(experts or [1])),
        }  # fmt: skip
    elif sample is not None:
        changes |= {
            "items_per_request": draw(st.sampled_from([1, 1, 4, 64])),
            "input_tokens": sample.reference_tokens or 1,
        }
    scenario = Scenario(**changes)
    try:
        choice = choose(scenario, FACTS)
    except ValueError:
        assume(False)
    inputs = numbers(scenario, choice, coefficients())
    speed = performance(inputs)
    assume(speed.obstacles == 0)
    return Case(scenario, choice, inputs, speed)


language = cases(LANGUAGE)
samples = cases(OTHERS)
anything = st.one_of(language, language, samples)
some = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def at(case: Case, **changes: Any) -> Performance:
    return performance(replace(case.inputs, **changes))


def never_falls(values: Any, slack: float = 1e-9) -> bool:
    """Each of an array is at least what any before it was."""
    best = np.maximum.accumulate(np.asarray(values))
    return bool((values >= best * (1 - slack)).all())


DIP = 0.15
"""Where prompts take nearly all the time, one after another, there is nothing to gain from more
requests. The prompts of requests that arrive together when a run begins then count a little both
before the first token and between tokens, so that throughput may fall by as much: 5 % in most
cases, up to 13 % among 6,000 drawn at random."""


def prompts_share(x: Inputs, found: Performance) -> Any:
    """Share of a replica's time that goes to prompts in a closed loop."""
    beside = np.maximum(found.running / x.data_parallel, 1.0)
    prompts = beside * found.prefill_time / x.pipeline_parallel
    return prompts / (prompts + np.maximum(x.output_tokens - 1, 0) * found.decode_step_time)


def host_keeps_up(x: Inputs, found: Performance) -> Any:
    """Whether reading a prompt takes longer than what the host does for a request.

    The first token waits for both, and the share of the time that prompts take knows the device
    only: a slow host and prompts of a few tokens break the laws of waiting by some percent.
    """
    return np.greater_equal(found.prefill_time, x.host_time * x.is_llm * x.pipeline_parallel)


# The datasheet ------------------------------------------------------------------------------------


@some
@given(language)
def test_no_token_comes_faster_than_memory_can_be_read(case: Case) -> None:
    """Every step reads the weights in use once, and each sequence's keys and values.

    At the least: spread evenly over all devices, experts of one token only, no scales.
    """
    shape, scheme = case.choice.model.transformer, case.choice.scheme
    assert shape is not None
    counts = parameters(case.choice.model)
    experts = counts.active - counts.dense if shape.experts else 0.0
    head = float(shape.vocabulary * shape.hidden)
    plain = 2.0
    packed = min(plain, scheme.weight_bits / 8)
    body = (counts.active - experts - head) * (plain if scheme.experts_only else packed)
    weights = body + experts * packed + head * plain
    a = shape.attention
    context = case.scenario.input_tokens + case.scenario.output_tokens / 2
    each = a.kv_lora_rank + a.qk_rope_dim if a.kv_lora_rank else 2 * a.kv_heads * a.head_dim
    windowed = 2 * (a.window_kv_heads or a.kv_heads) * (a.window_head_dim or a.head_dim)
    elements = a.layers * each * context
    elements += a.window_layers * windowed * min(context, a.window_tokens)
    cache = elements * BYTES[case.scenario.kv_precision] * case.speed.running
    assert case.speed.decode_step_time * CLOSE >= (weights + cache) / case.bandwidth
    assert case.speed.tpot * CLOSE >= case.speed.decode_step_time


@some
@given(language)
def test_no_token_is_computed_faster_than_the_peak(case: Case) -> None:
    """Two operations for each parameter in use and token that is read or written."""
    shape, scenario = case.choice.model.transformer, case.scenario
    assert shape is not None
    used = parameters(case.choice.model).active - shape.vocabulary * shape.hidden
    read = scenario.input_tokens * (1 - scenario.cached_input_share)
    assert case.speed.prefill_time * CLOSE >= 2 * used * read / case.peak
    work = 2 * used * (read + scenario.output_tokens - 1)
    assert case.speed.throughput * work <= case.peak * CLOSE


@some
@given(samples)
def test_no_sample_is_faster_than_the_datasheet(case: Case) -> None:
    sample, scheme = case.choice.model.sample, case.choice.scheme
    assert sample is not None
    count = case.speed.running * case.scenario.items_per_request
    assert case.speed.decode_step_time * CLOSE >= count * sample.gflop * 1e9 / case.peak
    params = case.choice.model.params_b if sample.step_params_b is None else sample.step_params_b
    weights = params * 1e9 * min(2.0, scheme.weight_bits / 8) * sample.sequential_steps
    assert case.speed.decode_step_time * CLOSE >= weights / case.bandwidth
    assert case.speed.throughput * sample.gflop * 1e9 <= case.peak * CLOSE


# Better hardware ----------------------------------------------------------------------------------

HARDWARE = (
    "memory_bandwidth", "peak_flops", "expert_peak_flops", "attention_peak_flops",
    "link_bandwidth", "slow_link_bandwidth",
)  # fmt: skip


@some
@given(anything, st.sampled_from(HARDWARE), st.floats(1.0, 8.0))
def test_better_hardware_is_never_slower(case: Case, what: str, factor: float) -> None:
    better = {what: getattr(case.inputs, what) * factor}
    fast, slow = at(case, **better), case.speed
    assert fast.decode_step_time <= slow.decode_step_time * CLOSE
    assert fast.prefill_time <= slow.prefill_time * CLOSE
    assert not fast.tpot > slow.tpot * CLOSE
    if host_keeps_up(case.inputs, fast):
        assert fast.throughput >= slow.throughput / CLOSE
        assert fast.latency_mean <= slow.latency_mean * CLOSE
    # Quicker decoding brings the next prompts sooner: under load a first token may wait for more
    # of them. Alone it never does.
    alone = at(case, concurrency=1.0, **better)
    assert alone.ttft <= at(case, concurrency=1.0).ttft * CLOSE


@some
@given(anything, st.floats(1.0, 8.0))
def test_more_memory_never_serves_less(case: Case, factor: float) -> None:
    more = at(case, memory_capacity=case.inputs.memory_capacity * factor)
    assert more.running >= case.speed.running
    slack = DIP if prompts_share(case.inputs, more) > 0.5 else 1e-9
    assert more.throughput >= case.speed.throughput * (1 - slack)
    if case.inputs.is_llm:
        # A larger batch of samples answers all of its requests later.
        assert more.latency_mean <= case.speed.latency_mean / (1 - slack)


PERFECT_LINK = {
    "link_bandwidth": math.inf, "slow_link_bandwidth": math.inf, "collective_latency": 0.0,
    "slow_collective_latency": 0.0,
}  # fmt: skip


@some
@given(language, st.sampled_from(["tensor_parallel", "data_parallel", "pipeline_parallel"]))
def test_more_devices_have_no_more_work_each(case: Case, way: str) -> None:
    """What they say to each other aside: for little work that may outweigh what they save."""
    same = {"concurrency": case.speed.running}
    more = same | {way: 2 * getattr(case.inputs, way)}
    few, many = at(case, **same), at(case, **more)
    work = [
        each.step_compute + each.step_weights + each.step_cache for each in (few, many)
    ]  # fmt: skip
    assert work[1] <= work[0] * CLOSE
    assert many.weight_memory <= few.weight_memory
    assert many.max_concurrency >= few.max_concurrency
    # Over a link that costs nothing they are never slower.
    few, many = at(case, **same, **PERFECT_LINK), at(case, **more, **PERFECT_LINK)
    assert many.throughput >= few.throughput * (1 - 1e-3)
    assert many.tpot <= few.tpot * CLOSE


@some
@given(language)
def test_copies_of_a_dense_model_are_replicas_of_their_own(case: Case) -> None:
    shape = case.choice.model.transformer
    assert shape is not None
    assume(shape.experts == 0)
    # On one server: beyond it the two would share slower links.
    inside = {"fast_domain": 1e6}
    one = at(case, data_parallel=1.0, **inside)
    count = one.running
    one = at(case, data_parallel=1.0, concurrency=count, **inside)
    two = at(case, data_parallel=2.0, concurrency=2 * count, **inside)
    assert math.isclose(two.throughput, 2 * one.throughput, rel_tol=1e-9)
    assert math.isclose(two.latency_mean, one.latency_mean, rel_tol=1e-9)


# More work ----------------------------------------------------------------------------------------


@some
@given(language)
def test_a_prompt_is_waited_for_once(case: Case) -> None:
    """While a request is served, each of the others is replaced by one whose prompt is read."""
    x = replace(
        case.inputs, prefill_interference=1.0, prefill_waited=1.0, ttft_queue=1.0,
        ttft_prefill=1.0, ttft_burst=0.0,
        ttft_step=0.0, ttft_start=0.0, host_time=0.0, data_parallel=1.0, pipeline_parallel=1.0,
    )  # fmt: skip
    found = performance(x)
    assume(found.obstacles == 0 and found.running >= x.concurrency > 1)
    # Prompts that begin with one step are read together, so that each takes longer.
    together = max(found.running / float(x.output_tokens), 1.0)
    prompts = (found.running - 1.0 + together) * found.prefill_time
    decoding = (float(x.output_tokens) - 1.0) * found.decode_step_time
    assert found.latency_mean <= (prompts + decoding) * CLOSE


MANY = np.unique(np.round(np.geomspace(1, 2048, 40)))


@some
@given(anything)
def test_more_requests_together(case: Case) -> None:
    """Each waits longer, all together are served faster, until memory ends."""
    x, found = case.inputs, at(case, concurrency=MANY)
    room = found.max_concurrency >= MANY
    if x.is_llm:
        assert never_falls(found.tpot)
        assert never_falls(found.ttft)
        assert never_falls(found.throughput, DIP)
        assert never_falls(found.throughput[(prompts_share(x, found) < 0.5) & room])
    else:
        assert never_falls(found.throughput)
    assert never_falls(found.latency_mean)
    assert np.all(found.running <= np.maximum(found.max_concurrency, 1.0))
    # Little's law, waiting included.
    if x.is_llm:
        inside = found.throughput * found.latency_mean
        np.testing.assert_allclose(inside, np.maximum(MANY, 1.0), rtol=1e-9)


@some
@given(language)
def test_longer_prompts_take_longer(case: Case) -> None:
    x = case.inputs
    lengths = np.unique(np.round(np.geomspace(1, min(x.max_context - x.output_tokens, 1e5), 40)))
    alone = at(case, input_tokens=lengths, concurrency=1.0)
    for figure in ("prefill_time", "decode_step_time", "tpot", "ttft", "latency_mean"):
        assert never_falls(getattr(alone, figure)), figure
    loaded = at(case, input_tokens=lengths)
    together = loaded.running == loaded.running[0]
    for figure in ("prefill_time", "decode_step_time", "tpot"):
        assert never_falls(getattr(loaded, figure)[together]), figure
    assert never_falls(1 / loaded.throughput[host_keeps_up(x, loaded)])
    # Longer contexts slow decoding, so that the prompts of others come more seldom: while the time
    # of prompts hardly grows, a first token may come a little sooner under load.
    whole = at(case, input_tokens=lengths, cached_input_share=0.0)
    assert never_falls(whole.ttft[host_keeps_up(x, whole)], 0.05)


@some
@given(language)
def test_longer_answers_take_longer(case: Case) -> None:
    x = case.inputs
    lengths = np.unique(np.round(np.geomspace(1, min(x.max_context - x.input_tokens, 1e4), 30)))
    found = at(case, output_tokens=lengths, concurrency=1.0)
    assert never_falls(found.decode_step_time)
    assert never_falls(found.latency_mean)


# Fewer bits ---------------------------------------------------------------------------------------


@some
@given(language, st.sampled_from(sorted(FACTS.schemes)), st.sampled_from(sorted(FACTS.schemes)))
def test_fewer_bits_need_no_more_memory(case: Case, one: str, other: str) -> None:
    """With scales and zero points counted, as the files state them."""
    schemes = [FACTS.schemes[name] for name in (one, other)]
    assume(len({(scheme.experts_only, scheme.quantised_share) for scheme in schemes}) == 1)

    def bits(scheme: Scheme) -> float:
        scales = scheme.scale_bits + scheme.zero_point_bits
        return scheme.weight_bits + (scales / scheme.group_size if scheme.group_size else 0.0)

    narrow, wide = sorted(schemes, key=bits)
    found = []
    for scheme in (narrow, wide):
        choice = replace(case.choice, scheme=scheme)
        found.append(performance(numbers(case.scenario, choice, coefficients())))
    assert found[0].weight_memory <= found[1].weight_memory * CLOSE
    assert found[0].max_concurrency >= found[1].max_concurrency


@some
@given(language)
def test_a_narrower_cache_holds_no_fewer_requests(case: Case) -> None:
    found = [
        performance(
            numbers(
                case.scenario.model_copy(update={"kv_precision": precision}), case.choice,
                coefficients(),
            )
        )
        for precision in sorted(BYTES, key=lambda name: BYTES[name])
    ]  # fmt: skip
    held = [each.max_concurrency for each in found]
    assert held == sorted(held, reverse=True)
    steps = [each.decode_step_time for each in found]
    if len({each.running for each in found}) == 1:
        assert never_falls(steps)


# The whole ----------------------------------------------------------------------------------------

MAY_BE_UNKNOWN = {"tpot", "longest_gap", "energy", "carbon", "input_token_cost",
                  "cached_token_cost", "output_token_cost", "cost_per_good_inference"}  # fmt: skip
MAY_BE_INFINITE = {"max_concurrency", "cost_per_good_inference"}


@some
@given(anything)
def test_parts_make_the_whole_and_all_is_finite(case: Case) -> None:
    found = evaluate(case.inputs)
    assert found.feasible
    step = (
        found.step_compute + found.step_weights + found.step_cache + found.step_network
        + found.step_overhead
    )  # fmt: skip
    assert math.isclose(step, found.decode_step_time, rel_tol=1e-9)
    for basis, total in (("", found.cost_per_inference),
                         ("marginal_", found.marginal_cost_per_inference)):  # fmt: skip
        parts = [
            getattr(found, f"{basis}{name}_cost")
            for name in ("compute", "memory", "storage", "network", "orchestration")
        ]
        assert all(part >= 0 for part in parts)
        assert math.isclose(sum(parts), total, rel_tol=1e-9)
    for field in fields(Estimate):
        value = float(getattr(found, field.name))
        if math.isnan(value):
            assert field.name in MAY_BE_UNKNOWN, field.name
        else:
            assert value >= 0, field.name
            assert math.isfinite(value) or field.name in MAY_BE_INFINITE, field.name
    for name in ("throughput", "latency_mean", "ttft", "decode_step_time", "cost_per_inference",
                 "running", "weight_memory"):  # fmt: skip
        assert getattr(found, name) > 0
    if case.inputs.is_llm:
        assert found.tpot > 0
        spent = found.input_token_cost * case.scenario.input_tokens * (
            1 - case.scenario.cached_input_share
        ) + found.output_token_cost * case.scenario.output_tokens  # fmt: skip
        if case.scenario.cached_input_share:
            spent += found.cached_token_cost * (
                case.scenario.input_tokens * case.scenario.cached_input_share
            )
        assert math.isclose(spent, found.cost_per_inference, rel_tol=1e-9)
    memory = found.weight_memory + found.cache_memory + found.workspace_memory
    assert memory <= found.usable_memory * CLOSE


# Ways of batching ---------------------------------------------------------------------------------

WAYS: dict[str, dict[str, float]] = {
    "chunks": {"prefill_chunk": 256.0},
    "apart": {"disaggregated": 1.0},
    "few that read": {"disaggregated": 1.0, "prefill_replicas": 0.1},
    "apart in chunks": {"disaggregated": 1.0, "prefill_chunk": 512.0},
    "dynamic": {"whole_batches": 1.0},
    "static": {"whole_batches": 1.0, "full_batches": 1.0},
}
"""Changes of the inputs."""


@some
@given(language, st.sampled_from(sorted(WAYS)))
def test_no_way_of_batching_breaks_the_datasheet(case: Case, way: str) -> None:
    shape, scenario = case.choice.model.transformer, case.scenario
    assert shape is not None
    found = at(case, **WAYS[way])
    assume(found.obstacles == 0)
    used = parameters(case.choice.model).active - shape.vocabulary * shape.hidden
    read = scenario.input_tokens * (1 - scenario.cached_input_share)
    work = 2 * used * (read + scenario.output_tokens - 1)
    # Replicas that only read prompts bring their own peak.
    assert found.throughput * work <= case.peak * (1 + found.prefill_replicas) * CLOSE
    assert found.tpot * CLOSE >= found.decode_step_time
    assert found.longest_gap * CLOSE >= found.decode_step_time
    assert found.ttft * CLOSE >= 2 * used * read / case.peak
    assert found.cache_memory + found.weight_memory + found.workspace_memory <= (
        found.usable_memory * CLOSE
    )
    # Little's law: what is in flight is what was asked for.
    inside = found.throughput * found.latency_mean
    assert math.isclose(inside, max(case.inputs.concurrency, 1.0), rel_tol=1e-6)


@some
@given(language, st.sampled_from(sorted(WAYS)))
def test_every_way_of_batching_is_paid_in_parts(case: Case, way: str) -> None:
    changed = replace(case.inputs, **WAYS[way])
    found = evaluate(changed)
    assume(found.feasible)
    parts = (
        found.compute_cost + found.memory_cost + found.storage_cost + found.network_cost
        + found.orchestration_cost
    )  # fmt: skip
    assert math.isclose(parts, found.cost_per_inference, rel_tol=1e-9)
    # Whole replicas of both pools.
    devices = (found.peak_replicas + found.prefill_replicas) * case.inputs.devices_per_replica
    assert found.instances * case.inputs.devices_per_instance * CLOSE >= devices
    spent = found.input_token_cost * case.scenario.input_tokens * (
        1 - case.scenario.cached_input_share
    ) + found.output_token_cost * case.scenario.output_tokens  # fmt: skip
    if case.scenario.cached_input_share:
        spent += found.cached_token_cost * (
            case.scenario.input_tokens * case.scenario.cached_input_share
        )
    assert math.isclose(spent, found.cost_per_inference, rel_tol=1e-9)
    assert found.input_token_cost >= 0 and found.output_token_cost >= 0


@some
@given(language, st.integers(16, 4096))
def test_chunks_never_make_the_work_less(case: Case, tokens: int) -> None:
    chunked = at(case, prefill_chunk=float(tokens))
    assert chunked.prefill_time * CLOSE >= case.speed.prefill_time
    assert chunked.throughput <= case.speed.throughput * CLOSE
    assert chunked.longest_gap <= case.speed.longest_gap * CLOSE
