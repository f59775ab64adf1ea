"""The whole model in reading order: Inputs in, Estimate out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from scipy.special import ndtr, ndtri

from cpi_model.formulas import (
    adaptive,
    batching,
    collectives,
    energy,
    pricing,
    roofline,
    transformer,
)
from cpi_model.inputs import Inputs
from cpi_model.units import Flag, Numeric

OBSTACLES: dict[str, int] = {
    "weights_do_not_fit": 1,
    "no_memory_for_one_request": 2,
    "context_too_long": 4,
    "load_above_capacity": 8,
    "fewer_replicas_than_versions": 16,
}
"""Bits of ``Estimate.obstacles``."""

BLOCK = 16384
"""Configurations evaluated together: small enough for the intermediate arrays to stay in cache."""
P_95 = 0.95
LEAST_REPLICAS = 1e-200
"""Replicas that share a load where there are none."""
ROUNDING = 1e-9
"""Share by which rounding may exceed a whole number."""
ACTIVATION_BYTES = 2.0
"""Activations cross links in 16 bits."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a deployment costs and how fast it is; every field has the shape of the inputs.

    Where a configuration cannot work, ``feasible`` is False, ``obstacles`` has a bit for each
    reason (:data:`OBSTACLES`) and the figures are NaN.
    """

    feasible: Flag
    obstacles: Numeric  # sum of the bits of OBSTACLES
    # one replica, full
    throughput: Numeric  # requests/s
    output_tokens_per_s: Numeric  # 1/s
    ttft: Numeric  # s, mean time to first token; the whole latency where there are no tokens
    tpot: Numeric  # s, mean time per output token after the first; NaN where there are none
    latency_mean: Numeric  # s
    latency_p95: Numeric  # s
    running: Numeric  # requests really in flight: concurrency, or what memory allows
    max_concurrency: Numeric  # requests that memory allows
    prefill_time: Numeric  # s to read one prompt
    decode_step_time: Numeric  # s of one decode step
    longest_gap: Numeric  # s between two tokens while a prompt, or a chunk of it, is read; or NaN
    # where the step's time goes, for explanations: parts sum to decode_step_time (or batch time)
    step_compute: Numeric  # s, arithmetic at the fitted efficiency
    step_weights: Numeric  # s, reading weights
    step_cache: Numeric  # s, attention over the cache
    step_network: Numeric  # s, collectives
    step_overhead: Numeric  # s, launches and scheduling
    step_draft: Numeric  # s, proposing tokens
    # memory of one device
    weight_memory: Numeric  # B
    cache_memory: Numeric  # B, at `running` requests
    workspace_memory: Numeric  # B
    usable_memory: Numeric  # B
    # the deployment
    replicas: Numeric  # mean number of production replicas paid for
    prefill_replicas: Numeric  # those beside them that only read prompts, for each; 0 for none
    peak_replicas: Numeric  # largest number
    instances: Numeric  # instances paid for, production and not
    utilisation: Numeric  # load over capacity of the production replicas
    good_share: Numeric  # share of the successful requests that meet every limit
    energy: Numeric  # J per successful inference
    carbon: Numeric  # g per successful inference
    # USD per successful inference, fully loaded
    compute_cost: Numeric
    memory_cost: Numeric
    storage_cost: Numeric
    network_cost: Numeric
    orchestration_cost: Numeric
    cost_per_inference: Numeric
    # the same for one more request on a full replica
    marginal_compute_cost: Numeric
    marginal_memory_cost: Numeric
    marginal_storage_cost: Numeric
    marginal_network_cost: Numeric
    marginal_orchestration_cost: Numeric
    marginal_cost_per_inference: Numeric
    cost_per_good_inference: Numeric  # USD, infinite when none is good
    cost_rate: Numeric  # USD/s of the whole deployment
    input_token_cost: Numeric  # USD per uncached input token
    cached_token_cost: Numeric  # USD per cached input token; NaN where none is cached
    output_token_cost: Numeric  # USD per output token


@dataclass(frozen=True, slots=True)
class Performance:
    """One full replica: the fields of :class:`Estimate` that do not depend on load or price."""

    obstacles: Numeric
    throughput: Numeric
    output_tokens_per_s: Numeric
    ttft: Numeric
    tpot: Numeric
    latency_mean: Numeric
    latency_log_sd: Numeric
    running: Numeric
    max_concurrency: Numeric
    prefill_time: Numeric
    decode_step_time: Numeric
    longest_gap: Numeric
    step_compute: Numeric
    step_weights: Numeric
    step_cache: Numeric
    step_network: Numeric
    step_overhead: Numeric
    step_draft: Numeric
    weight_memory: Numeric
    cache_memory: Numeric
    workspace_memory: Numeric
    usable_memory: Numeric
    input_work: Numeric  # s of replica time per request, reading uncached input
    cached_work: Numeric  # s, reading cached input
    output_work: Numeric  # s, writing output
    prefill_replicas: Numeric  # that only read prompts, for each that writes answers


BESIDE_SPEED = frozenset((
    "agent_share", "answer_hit_share", "arrival_cv", "carbon_intensity", "control_plane_price",
    "cross_zone_price", "cross_zone_share", "devices_per_instance", "devices_per_replica",
    "egress_price", "egress_share", "embedding_params", "fixed_replicas", "idle_power",
    "image_bytes", "instance_price", "live_versions", "load_balancer_byte_price",
    "load_balancer_price", "log_bytes", "log_price", "lookup_price", "lookup_time",
    "memory_price_share", "min_replicas", "monitoring_price", "nonproduction_share",
    "object_storage_price", "old_min_replicas", "old_traffic_share", "on_call_price", "peak_power",
    "peak_to_mean", "platform_share", "pue", "replicas_follow", "request_bytes", "requests_per_s",
    "response_bytes", "scaling_lag_share",
    "slo_latency", "slo_tpot", "slo_ttft", "spare_replicas", "storage_price", "stored_share",
    "stored_versions", "success_share", "training_price", "ttft_log_sd",
))  # fmt: skip
"""Fields of the inputs on which :func:`performance` does not depend: load, prices, limits."""
SPEED = frozenset((
    "obstacles", "throughput", "ttft", "tpot", "latency_mean", "latency_log_sd", "running",
    "weight_memory", "input_work", "cached_work", "output_work", "prefill_replicas",
))  # fmt: skip
"""Fields of a performance that costs and waiting follow from."""
ALWAYS_KNOWN = frozenset((
    "feasible", "obstacles", "max_concurrency", "weight_memory", "cache_memory",
    "workspace_memory", "usable_memory",
))  # fmt: skip
"""Fields of an estimate that are known of what cannot work too; the others are then NaN."""


def evaluate(
    inputs: Inputs, only: frozenset[str] | None = None, speed: Performance | None = None
) -> Estimate:
    """Estimate cost, speed and memory of one configuration or of arrays of them.

    Every field of `inputs` may be an array; all broadcast against each other and every field of
    the result has the broadcast shape. One configuration gives plain numbers.

    Of very many configurations most fields are not worth the memory: with `only`, arrays of those
    that it does not name stay empty. Their `speed`, with at least the fields of :data:`SPEED`, may
    be known from inputs that differ in :data:`BESIDE_SPEED` alone.

    Raises
    ------
    ValueError
        If a figure is outside what its formula allows; the message names the argument.
    """
    names = [field.name for field in fields(Estimate)] if only is None else only
    unsure = [name for name in names if name not in ALWAYS_KNOWN]

    def block(x: Inputs, rows: slice) -> Estimate:
        found = _evaluate(x, _performance(x) if speed is None else _rows(speed, rows))
        blank = np.where(found.feasible, 0.0, np.nan)
        return replace(found, **{name: getattr(found, name) + blank for name in unsure})

    return _in_blocks(inputs, block, Estimate, only)


def performance(inputs: Inputs, only: frozenset[str] | None = None) -> Performance:
    """Speed and memory of one full replica, without load and prices; `only` as in evaluate."""
    return _in_blocks(inputs, lambda x, _: _performance(x), Performance, only)


def _rows(speed: Performance, rows: slice) -> Performance:
    """Some rows of what is known; a field that was left empty is not."""
    columns = {field.name: getattr(speed, field.name) for field in fields(speed)}
    return Performance(**{
        name: column[rows] if np.size(column) else np.nan for name, column in columns.items()
    })  # fmt: skip


Result = TypeVar("Result", Estimate, Performance)


def _in_blocks(
    inputs: Inputs,
    function: Callable[[Inputs, slice], Result],
    result: type[Result],
    only: frozenset[str] | None = None,
) -> Result:
    """Apply a function to blocks of the inputs along their first axis."""
    values = {field.name: getattr(inputs, field.name) for field in fields(inputs)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    shape = np.broadcast_shapes(*(array.shape for array in arrays.values())) if arrays else ()
    size = int(np.prod(shape))
    names = [field.name for field in fields(result)]
    if not shape:
        outcome = function(inputs, slice(None))
        alone: dict[str, Any] = {name: float(getattr(outcome, name)) for name in names}
        if "feasible" in alone:
            alone["feasible"] = bool(alone["feasible"])
        return result(**alone)
    rows = max(1, BLOCK * shape[0] // max(size, 1))
    kept = names if only is None else [name for name in names if name in only]
    collected: dict[str, Any] = dict.fromkeys(names, np.empty(0)) | {
        name: np.empty(shape, dtype=bool if name == "feasible" else float) for name in kept
    }
    for start in range(0, shape[0], rows):
        stop = min(start + rows, shape[0])
        block = {
            name: value[start:stop]
            if value.ndim == len(shape) and value.shape[0] > 1 else value
            for name, value in arrays.items()
        }  # fmt: skip
        outcome = function(Inputs(**(values | block)), slice(start, stop))
        for name in kept:
            collected[name][start:stop] = getattr(outcome, name)
    return result(**collected)


def _performance(inputs: Inputs) -> Performance:
    """Language models and models evaluated by the sample, each by its own part of the model."""
    is_llm = inputs.is_llm
    if not isinstance(is_llm, np.ndarray):
        return _language_model(inputs) if is_llm else _sample_model(inputs)
    if is_llm.all():
        return _language_model(inputs)
    if not is_llm.any():
        return _sample_model(inputs)
    values = {field.name: getattr(inputs, field.name) for field in fields(inputs)}
    shape = np.broadcast_shapes(*(np.shape(value) for value in values.values()))
    where = np.broadcast_to(is_llm != 0, shape)
    parts = []
    # Places instead of a mask: numbers are taken and put back more quickly by them.
    for mask, function in ((where, _language_model), (~where, _sample_model)):
        places = np.flatnonzero(mask)
        chosen = {
            name: np.broadcast_to(value, shape).take(places)
            if isinstance(value, np.ndarray) else value
            for name, value in values.items()
        }  # fmt: skip
        parts.append((places, function(Inputs(**chosen))))
    merged = {}
    for field in fields(Performance):
        column = np.empty(int(np.prod(shape)))
        for places, part in parts:
            column[places] = getattr(part, field.name)
        merged[field.name] = column.reshape(shape)
    return Performance(**merged)


def _language_model(x: Inputs) -> Performance:
    """Continuous batching of a language model on one replica of tp x pp x dp devices."""
    stages, copies = x.pipeline_parallel, x.data_parallel
    shards = x.tensor_parallel * copies
    new_tokens = x.input_tokens * (1.0 - x.cached_input_share)
    cached_tokens = x.input_tokens - new_tokens
    decoded = np.maximum(x.output_tokens - 1.0, 0.0)

    # Memory of one device: weights, workspace, and the cache of as many requests as fit.
    weight_memory = (x.dense_bytes + x.embedding_bytes + x.draft_bytes) / (
        x.tensor_parallel * stages
    ) + x.expert_bytes / (shards * stages)
    usable = x.memory_capacity * x.memory_share
    free = usable - weight_memory - x.workspace_bytes
    cache_ways = stages * np.minimum(x.tensor_parallel, x.kv_heads)
    element = x.kv_bytes_per_element / cache_ways
    state = x.state_elements * ACTIVATION_BYTES / (stages * x.tensor_parallel)
    drafted = x.draft_kv_elements * ACTIVATION_BYTES / cache_ways

    def cache_of(tokens: Numeric) -> Numeric:
        return _cache_bytes(x, tokens, element) + state + tokens * drafted

    longest = x.input_tokens + x.output_tokens
    held_cache = cache_of(x.input_tokens + x.output_reserve * x.output_tokens)
    max_concurrency = np.where(
        free >= cache_of(longest), batching.sequences_that_fit(free, held_cache, copies), 0.0
    )
    written, in_batches = x.output_tokens, bool(np.any(x.whole_batches))
    if in_batches:
        # A whole batch keeps all of its places until the longest answer is done.
        room = _batch_room(x, free, max_concurrency, cache_of)
        max_concurrency = np.where(np.equal(x.whole_batches, 1.0), room, max_concurrency)
        written = _longest(x, np.minimum(x.concurrency, max_concurrency))
        reserve = np.maximum(x.output_reserve, x.whole_batches)
        held_cache = cache_of(x.input_tokens + reserve * written)
    running = np.maximum(np.minimum(x.concurrency, max_concurrency), 1.0)

    step = _decode_step(x, running, shards, written)
    decode_step = step.time
    fixed, moving = x.fixed_factor * step.slower, x.sequence_factor * step.slower
    # A step in which drafts are checked yields several tokens of each request.
    yielded = adaptive.tokens_per_step(x.draft_tokens, x.acceptance)
    token_time = decode_step / yielded

    # Reading prompts. Copies read one each at the same time; those of a whole batch, or of several
    # requests that start with the same step, go through the layers together.
    beside = np.maximum(running / copies, 1.0)
    outputs = np.maximum(x.output_tokens, 1.0)
    together = prompts_together(x, beside)
    length = np.maximum(new_tokens, 1.0) * together
    every_copy = np.maximum(new_tokens * copies, 1.0) * together
    passes: Numeric = 1.0
    each, each_on_every_copy = length, every_copy
    if _in_chunks(x):
        passes = batching.prompt_passes(length, x.prefill_chunk)
        each, each_on_every_copy = length / passes, every_copy / passes
    prompt = _pass(x, each, each_on_every_copy, shards)
    overhead = x.layers * x.layer_overhead + x.step_overhead
    attention = (
        transformer.causal_pairs(new_tokens, cached_tokens) * x.prefill_flops_per_pair
        + transformer.windowed_pairs(new_tokens, cached_tokens, x.window_tokens)
        * x.window_flops_per_pair
    ) / (x.tensor_parallel * x.attention_peak_flops)
    # A draft reads the prompt as well.
    drafting = transformer.linear_flops(x.draft_params, length) / (
        x.tensor_parallel * x.attention_peak_flops
    )
    whole = np.maximum(
        x.prompt_factor * (
            passes * (prompt.linear + prompt.network + overhead) + drafting / x.compute_efficiency
            + together * (attention / x.attention_efficiency + _read_again(x, new_tokens, element))
        ),
        passes * prompt.least_compute + drafting + together * attention,
    )  # fmt: skip
    # Each waits for the whole pass, and the replica is occupied with it once.
    occupied = whole / (stages * together)

    # Everything together.
    share = batching.prompt_share(occupied, token_time, beside, decoded)
    # Prompts that a request has waited for do not delay its tokens once more.
    tpot = batching.time_per_output_token(
        token_time, occupied, beside, outputs,
        x.prefill_interference * (1.0 - x.prefill_waited * share),
    )  # fmt: skip
    # Those whose prompts are in the same pass are not ahead.
    ttft = batching.time_to_first_token(
        whole, occupied + x.host_time, decode_step, beside - together + 1.0,
        x.ttft_prefill, x.ttft_burst + x.ttft_queue * share,
        # Each chunk of an own prompt shares its step with what the others write.
        x.ttft_step + (passes - 1.0) * np.greater(beside, 1.0) if _in_chunks(x) else x.ttft_step,
    ) + x.ttft_start  # fmt: skip
    # Whatever was fitted or corrected, no answer begins before its prompt can have been read.
    ttft = np.maximum(ttft, passes * prompt.least_compute + attention)
    service = batching.prompt_bound_time(ttft + decoded * tpot, occupied, beside)
    ttft = service - decoded * tpot
    throughput = batching.closed_loop_throughput(running, service)
    latency, gap = service, decode_step + occupied * together / passes
    input_work, output_work = occupied / copies, outputs * token_time / running
    prefill_replicas: Numeric = 0.0
    if in_batches:
        apart = np.equal(x.whole_batches, 1.0)
        batch_time = whole + np.maximum(written - 1.0, 0.0) * token_time
        throughput = np.where(apart, running / batch_time, throughput)
        ttft, tpot = np.where(apart, whole, ttft), np.where(apart, token_time, tpot)
        # Answers are handed back together, when the longest is done.
        latency = np.where(apart, batch_time, latency)
        gap = np.where(apart, decode_step, gap)
        input_work = np.where(apart, whole / running, input_work)
        output_work = np.where(apart, (batch_time - whole) / running, output_work)
    if np.any(x.disaggregated):
        apart = np.equal(x.disaggregated, 1.0)
        pools = _pools(x, running, whole / together, occupied, token_time, decoded, element)
        throughput = np.where(apart, pools.throughput, throughput)
        ttft, tpot = np.where(apart, pools.ttft, ttft), np.where(apart, pools.tpot, tpot)
        latency = np.where(apart, running / pools.throughput, latency)
        gap = np.where(apart, decode_step, gap)
        # Each pool is paid for as long as a request takes of it.
        input_work = np.where(apart, pools.prefill_replicas / pools.throughput, input_work)
        output_work = np.where(apart, 1.0 / pools.throughput, output_work)
        prefill_replicas = np.where(apart, pools.prefill_replicas, prefill_replicas)
    # Requests that memory keeps out wait until one that runs is done.
    waiting = np.maximum(x.concurrency - running, 0.0) / throughput
    ttft = ttft + waiting

    # Cached tokens pay for being read and for the attention of the new tokens over them.
    over_cached = (
        x.prompt_factor * new_tokens * cached_tokens * x.prefill_flops_per_pair
        / (x.tensor_parallel * x.attention_peak_flops * x.attention_efficiency * stages * copies)
    )  # fmt: skip
    cached_work = over_cached + _cache_bytes(x, cached_tokens, element) / (
        x.memory_bandwidth * x.cache_efficiency * copies
    )
    obstacles = _memory_obstacles(free, max_concurrency) + np.where(
        longest > x.max_context, OBSTACLES["context_too_long"], 0.0
    )
    return Performance(
        obstacles=obstacles,
        throughput=throughput,
        output_tokens_per_s=throughput * x.output_tokens,
        ttft=ttft,
        tpot=tpot,
        latency_mean=latency + waiting,
        latency_log_sd=x.latency_log_sd,
        running=running,
        max_concurrency=max_concurrency,
        prefill_time=whole / together,
        decode_step_time=decode_step,
        longest_gap=gap,
        step_compute=fixed * np.maximum(step.linear - step.weights, 0.0),
        step_weights=fixed * np.minimum(step.weights, step.linear),
        step_cache=moving * step.cache,
        step_network=fixed * step.network,
        step_overhead=fixed * step.overhead + moving * step.sequences,
        step_draft=fixed * step.draft,
        weight_memory=weight_memory,
        cache_memory=running / copies * held_cache,
        workspace_memory=x.workspace_bytes,
        usable_memory=usable,
        input_work=input_work - over_cached,
        cached_work=cached_work,
        output_work=output_work,
        prefill_replicas=prefill_replicas,
    )


def prompts_together(x: Inputs, beside: Numeric) -> Numeric:
    """Prompts in one pass: all of a whole batch, else those that start with the same step."""
    starting = np.maximum(beside / np.maximum(x.output_tokens, 1.0), 1.0)
    if not np.any(x.whole_batches):
        return starting
    together: Numeric = np.where(np.equal(x.whole_batches, 1.0), beside, starting)
    return together


def _longest(x: Inputs, count: Numeric) -> Numeric:
    """Tokens until the last answer of a batch is done; of one answer where there are none.

    No answer is longer than the model's context.
    """
    outputs = x.output_tokens
    if np.any(x.output_cv):
        outputs = batching.longest_of(outputs, x.output_cv, np.clip(count, 1.0, MOST_LENGTHS))
    most = np.maximum(x.max_context - x.input_tokens, x.output_tokens)
    tokens: Numeric = np.where(
        np.equal(x.whole_batches, 1.0), np.minimum(outputs, most), x.output_tokens
    )
    return tokens


MOST_LENGTHS = 1e6
"""Answers of which the longest is looked for, where memory has room for any number."""


def _batch_room(
    x: Inputs, free: Numeric, most: Numeric, cache_of: Callable[[Numeric], Numeric]
) -> Numeric:
    """Requests of the largest batch that fits at the length of its longest answer.

    More requests have a longer longest answer, so what fits beside many is less than what fits
    beside few: the answer lies between, and in the middle it is nearly met.
    """

    def beside(count: Numeric) -> Numeric:
        held = cache_of(x.input_tokens + _longest(x, count))
        return batching.sequences_that_fit(free, held, x.data_parallel)

    fewest = np.minimum(beside(most), most)
    middle = np.sqrt(fewest * np.minimum(beside(fewest), most))
    # Rounded down to what fits for certain; one request has no other that is longer.
    room = np.floor(np.minimum(middle, beside(middle)))
    fits: Numeric = np.where(np.isfinite(most), np.maximum(room, np.minimum(most, 1.0)), most)
    return fits


def _in_chunks(x: Inputs) -> bool:
    return bool(np.any(np.isfinite(x.prefill_chunk)))


def _read_again(x: Inputs, new_tokens: Numeric, element: Numeric) -> Numeric:
    """Time in which the chunks of a prompt read keys and values of the chunks before them. [s]"""
    if not _in_chunks(x):
        return 0.0
    again = batching.prompt_passes(new_tokens, x.prefill_chunk) - 1.0
    before = _cache_bytes(x, x.input_tokens - 0.5 * new_tokens, element)
    return again * before * x.pipeline_parallel / (x.memory_bandwidth * x.cache_efficiency)


@dataclass(frozen=True, slots=True)
class _Pools:
    """Prompts read and answers written on replicas of their own."""

    prefill_replicas: Numeric  # for each that writes answers
    throughput: Numeric  # requests/s of one that writes answers
    ttft: Numeric  # s
    tpot: Numeric  # s


PREFILL_BUSY = (0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
"""Shares of their time in which prefill replicas would read prompts, were there no queue: those
among which the cheapest number is looked for."""


def _pools(
    x: Inputs, running: Numeric, prompt_time: Numeric, occupied: Numeric, token_time: Numeric,
    decoded: Numeric, element: Numeric,
) -> _Pools:  # fmt: skip
    devices = x.tensor_parallel * x.pipeline_parallel * x.data_parallel
    near = np.less_equal(2.0 * devices, x.fast_domain)
    link = np.where(
        near, x.link_bandwidth * x.link_efficiency, x.slow_link_bandwidth * x.slow_link_efficiency
    )
    start = np.where(near, x.collective_latency, x.slow_collective_latency)
    # What was read of a prompt goes from the devices of one replica to those of another.
    cache = _cache_bytes(x, x.input_tokens, element)
    hand_over = collectives.point_to_point_time(cache, 2.0, link, start) * np.greater(decoded, 0.0)
    others = hand_over + decoded * token_time
    own = prompt_time + x.host_time + x.ttft_start
    demand = occupied / x.data_parallel

    def served(replicas: Numeric) -> Numeric:
        return batching.disaggregated_throughput(running, own, demand / replicas, others)

    kept_busy = running / (own + others) * demand
    best, chosen = served(kept_busy / PREFILL_BUSY[0]), kept_busy / PREFILL_BUSY[0]
    for busy in PREFILL_BUSY[1:]:
        replicas = kept_busy / busy
        found = served(replicas)
        cheaper = found / (1.0 + replicas) > best / (1.0 + chosen)
        best, chosen = np.where(cheaper, found, best), np.where(cheaper, replicas, chosen)
    given = np.greater(x.prefill_replicas, 0.0)
    replicas = np.where(given, x.prefill_replicas, chosen)
    throughput = served(replicas)
    return _Pools(
        prefill_replicas=replicas,
        throughput=throughput,
        ttft=running / throughput - others,
        tpot=token_time + hand_over / np.maximum(decoded, 1.0),
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """One decode step of a replica, before what was measured for the pairing. [s]"""

    linear: Numeric
    weights: Numeric
    network: Numeric
    cache: Numeric
    overhead: Numeric
    sequences: Numeric
    draft: Numeric
    time: Numeric  # with the factors of the pairing, and never below the datasheet's limit
    slower: Numeric  # how much that limit adds to every part


def _decode_step(x: Inputs, running: Numeric, shards: Numeric, written: Numeric) -> _Step:
    """Every running request gets its next token, or checks those that a draft proposes.

    Through all layers, the stages of a pipeline one after another.
    """
    stages, copies = x.pipeline_parallel, x.data_parallel
    sequences = np.maximum(running / (copies * stages), 1.0)
    checked = 1.0 + x.draft_tokens
    # Tokens that one micro-batch carries: on one copy of the attention layers, and on all.
    tokens = sequences * checked
    all_tokens = np.maximum(running / stages, 1.0) * checked
    context = batching.mean_context(x.input_tokens, written)
    element = x.kv_bytes_per_element / np.minimum(x.tensor_parallel, x.kv_heads)
    state = x.state_elements * ACTIVATION_BYTES / x.tensor_parallel
    read = _cache_bytes(x, context, element) + 2.0 * state
    overhead = x.layers * x.layer_overhead
    step = _pass(x, tokens, all_tokens, shards)
    stayed: Numeric = 1.0
    if np.any(x.exit_share):
        # Behind the exit, the layers are run for the tokens that stay, if any does.
        before, behind = x.exit_depth, 1.0 - x.exit_depth
        chance, left = adaptive.staying(tokens, x.exit_share)
        deep = _pass(x, left, np.maximum(all_tokens * (1.0 - x.exit_share), left), shards)
        step = _Pass(*(
            before * getattr(step, part.name) + behind * chance * getattr(deep, part.name)
            for part in fields(_Pass)
        ))  # fmt: skip
        stayed = before + behind * (1.0 - x.exit_share)
        overhead = overhead * (before + behind * chance)
    overhead = overhead + x.step_overhead
    pairs = transformer.context_read(context, x.window_tokens)
    cache_read = stayed * sequences * read / x.memory_bandwidth
    cache_flops = (
        stayed * tokens * (context * x.decode_flops_per_pair + pairs * x.window_flops_per_pair)
    )
    cache_compute = cache_flops / (x.tensor_parallel * x.attention_peak_flops)
    cache = roofline.p_norm(
        cache_read / x.cache_efficiency, cache_compute / x.decode_attention_efficiency, x.exponent
    )
    scheduling = x.sequence_overhead * running / copies
    draft: Numeric = 0.0
    least_draft: Numeric = 0.0
    if np.any(x.draft_tokens):
        draft, least_draft = _draft(x, sequences, context)
    time = x.fixed_factor * (step.linear + step.network + overhead + draft) + (
        x.sequence_factor * (cache + scheduling)
    )
    # Whatever was fitted, the datasheet is the limit.
    floor = least_draft + np.maximum(
        step.least_compute + cache_compute, step.least_read + cache_read
    )
    slower = np.maximum(floor / time, 1.0)
    return _Step(
        linear=step.linear, weights=step.weights, network=step.network, cache=cache,
        overhead=overhead, sequences=scheduling, draft=draft, time=time * slower, slower=slower,
    )  # fmt: skip


def _draft(x: Inputs, sequences: Numeric, context: Numeric) -> tuple[Numeric, Numeric]:
    """Time to propose tokens one after another, and the least that the datasheet allows. [s]

    A dense model multiplied in 16 bits on the same devices, split as the model is; its layers are
    launched as the model's are, and scheduling is done once for all.
    """
    ways = x.tensor_parallel
    compute = transformer.linear_flops(x.draft_params, sequences) / (ways * x.attention_peak_flops)
    weights = x.draft_bytes / (ways * x.memory_bandwidth)
    cached = sequences * context * x.draft_kv_elements * ACTIVATION_BYTES
    read = cached / (np.minimum(ways, x.kv_heads) * x.memory_bandwidth)
    pairs = sequences * context * x.draft_flops_per_pair / (ways * x.attention_peak_flops)
    linear = roofline.p_norm(
        compute * (1.0 + x.half_tokens / sequences) / x.compute_efficiency,
        weights / x.memory_efficiency, x.exponent,
    )  # fmt: skip
    attention = roofline.p_norm(
        read / x.cache_efficiency, pairs / x.decode_attention_efficiency, x.exponent
    )
    each = linear + attention + x.draft_layers * x.layer_overhead
    return x.draft_tokens * each, x.draft_tokens * np.maximum(compute + pairs, weights + read)


@dataclass(frozen=True, slots=True)
class _Pass:
    """Parts of one pass of tokens through all layers, without attention. [s]"""

    linear: Numeric  # multiplications, with what they read and write
    weights: Numeric  # reading weights alone, at the fitted efficiency
    network: Numeric
    least_compute: Numeric  # arithmetic at the datasheet's peak
    least_read: Numeric  # reading weights at the datasheet's bandwidth


def _pass(x: Inputs, tokens: Numeric, all_tokens: Numeric, shards: Numeric) -> _Pass:
    """Linear layers and collectives for `tokens` on each copy, `all_tokens` over all copies."""
    # An expert sees only the tokens that are routed to it.
    routed = np.where(
        np.greater(x.experts, 0.0), x.experts_per_token / np.maximum(x.experts, 1.0), 0.0
    )
    dense = transformer.linear_flops(x.dense_params, tokens) / (x.tensor_parallel * x.peak_flops)
    expert = transformer.linear_flops(x.expert_params * routed, all_tokens) / (
        shards * x.expert_peak_flops
    )
    busiest = transformer.busiest_group_load(all_tokens, x.experts_per_token, x.expert_parallel)
    dense_compute = dense * (x.scheme_work + x.half_tokens / tokens) / x.compute_efficiency
    dense_compute = dense_compute + x.dense_params * x.expansion_time / x.tensor_parallel
    # More tokens in the busiest group; what each expert needs to get going stays the same.
    started = x.expert_half_tokens / np.maximum(all_tokens * routed, 1.0)
    expert_compute = expert * (busiest + started) / x.expert_efficiency
    expert_read = transformer.expert_share_read(all_tokens, x.experts, x.experts_per_token)
    dense_read = x.dense_bytes / (x.tensor_parallel * x.memory_bandwidth)
    experts_read = x.expert_bytes * expert_read / (shards * x.memory_bandwidth)
    dense_weights = dense_read / x.memory_efficiency
    expert_weights = experts_read / x.expert_memory_efficiency
    activations = tokens * x.activation_bytes_per_token / x.memory_bandwidth
    linear = (
        roofline.p_norm(dense_compute, dense_weights, x.exponent)
        + roofline.p_norm(expert_compute, expert_weights, x.exponent)
        + activations
    )

    message = tokens * x.hidden * ACTIVATION_BYTES
    near = np.less_equal(shards * x.pipeline_parallel, x.fast_domain)
    link = np.where(
        near, x.link_bandwidth * x.link_efficiency, x.slow_link_bandwidth * x.slow_link_efficiency
    )
    start = np.where(near, x.collective_latency, x.slow_collective_latency)
    inside = np.less_equal(shards, x.fast_domain)
    inside_link = np.where(inside, x.link_bandwidth * x.link_efficiency, link)
    inside_start = np.where(inside, x.collective_latency, start)
    reduce = collectives.ring_all_reduce_time(message, x.tensor_parallel, inside_link, inside_start)
    # Copies of a dense model have nothing to say to each other.
    exchange = collectives.all_to_all_time(
        message * np.minimum(x.experts_per_token, x.data_parallel), x.data_parallel, inside_link,
        inside_start * np.greater(x.experts, 0.0),
    )  # fmt: skip
    hand_over = collectives.point_to_point_time(message, x.pipeline_parallel, link, start)
    return _Pass(
        linear=linear,
        weights=dense_weights + expert_weights,
        network=2.0 * x.layers * (reduce + exchange) + hand_over,
        least_compute=dense + expert,
        least_read=dense_read + experts_read,
    )


def _memory_obstacles(free: Numeric, max_concurrency: Numeric) -> Numeric:
    """Bits for weights that do not fit, and for weights that leave no room for a request."""
    none_runs = np.where(max_concurrency < 1.0, OBSTACLES["no_memory_for_one_request"], 0.0)
    bits: Numeric = np.where(free <= 0.0, OBSTACLES["weights_do_not_fit"], none_runs)
    return bits


def _cache_bytes(x: Inputs, context: Numeric, element: Numeric) -> Numeric:
    """Keys and values of one sequence of a given length on one device of a stage."""
    windowed = transformer.context_read(context, x.window_tokens)
    cached: Numeric = (context * x.kv_elements + windowed * x.window_kv_elements) * element
    return cached


def _sample_model(x: Inputs) -> Performance:
    """A batch of samples of a model without a token-by-token loop, on one device."""
    weight_memory = x.dense_bytes + x.expert_bytes + x.embedding_bytes
    usable = x.memory_capacity * x.memory_share
    free = usable - weight_memory
    per_request = x.items_per_request * x.sample_resident_bytes
    max_concurrency = batching.sequences_that_fit(free, per_request, 1.0)
    running = np.maximum(np.minimum(x.concurrency, max_concurrency), 1.0)
    samples = running * x.items_per_request

    # Behind an early exit, the layers are run for the samples that stay, if any does.
    chance, _ = adaptive.staying(samples, x.exit_share)
    behind = 1.0 - x.exit_depth
    passes = x.sample_passes * (x.exit_depth + behind * chance)
    done = samples * (x.exit_depth + behind * (1.0 - x.exit_share))
    # Small batches leave most of a wide chip idle: half the speed is reached at half_flops a pass.
    work = done * x.sample_flops + x.half_flops * passes
    compute = work * x.scheme_work / (x.peak_flops * x.compute_efficiency)
    traffic = passes * x.sample_weight_bytes + done * x.sample_activation_bytes
    memory = traffic / (x.memory_bandwidth * x.memory_efficiency)
    linear = roofline.p_norm(compute, memory, x.exponent)
    gather = samples * x.sample_gather_bytes / (x.memory_bandwidth * x.gather_efficiency)
    overhead = x.step_overhead + passes * x.layer_overhead
    fixed, moving = x.fixed_factor, x.sequence_factor
    batch_time = moving * (linear + gather) + fixed * overhead
    # Whatever was fitted, the datasheet is the limit.
    floor = np.maximum(done * x.sample_flops / x.peak_flops, traffic / x.memory_bandwidth)
    slower = np.maximum(floor / batch_time, 1.0)
    batch_time = batch_time * slower
    fixed, moving = fixed * slower, moving * slower

    throughput = running / batch_time
    # A request waits for its batch to fill, and for the batch before it when the replica is busy.
    filling = np.where(np.greater(running, 1.0), 0.5 * x.batch_wait, 0.0)
    filling = filling * np.equal(x.full_batches, 0.0)  # else by the load: see _waiting
    latency = filling + (1.0 + 0.5 * x.target_utilisation) * batch_time
    latency = latency + np.maximum(x.concurrency - running, 0.0) / throughput
    obstacles = _memory_obstacles(free, max_concurrency) + np.where(
        x.input_tokens > x.max_context, OBSTACLES["context_too_long"], 0.0
    )
    nothing = np.zeros_like(batch_time)
    return Performance(
        obstacles=obstacles,
        throughput=throughput,
        output_tokens_per_s=nothing,
        ttft=latency,
        tpot=nothing + np.nan,
        latency_mean=latency,
        latency_log_sd=x.latency_log_sd,
        running=running,
        max_concurrency=max_concurrency,
        prefill_time=nothing,
        decode_step_time=batch_time,
        longest_gap=nothing + np.nan,
        step_compute=moving * np.maximum(linear - memory, 0.0),
        step_weights=moving * np.minimum(memory, linear),
        step_cache=moving * gather,
        step_network=nothing,
        step_overhead=fixed * overhead,
        step_draft=nothing,
        weight_memory=weight_memory,
        cache_memory=nothing,
        workspace_memory=running * per_request,
        usable_memory=usable,
        input_work=batch_time / running,
        cached_work=nothing,
        output_work=nothing,
        prefill_replicas=0.0,
    )


def _evaluate(x: Inputs, speed: Performance) -> Estimate:
    """Load, capacity and money around the speed of one replica."""
    capacity = speed.throughput
    # What a cache of answers lets through.
    let_through = 1.0 - x.answer_hit_share
    load = x.requests_per_s * let_through

    # Replicas: whole ones for the peak, or as many as the traffic needs from hour to hour.
    peak_load = load * x.peak_to_mean
    floor = floor_replicas(x)
    needed = pricing.replicas_for_load(peak_load, capacity, x.target_utilisation)
    needed = np.maximum(np.maximum(needed, floor), x.live_versions)
    busy = load / (capacity * x.target_utilisation) * (1.0 + x.scaling_lag_share)
    following = np.maximum(busy, floor)
    apart = np.greater_equal(x.old_traffic_share, 0.0)
    if np.any(apart):
        whole_ones, moving_ones = _by_version(x, peak_load, busy, capacity)
        needed = np.where(apart, whole_ones, needed)
        following = np.where(apart, moving_ones, following)
    at_peak = needed + x.spare_replicas
    following = following + x.spare_replicas
    fixed = np.greater(x.fixed_replicas, 0.0)
    peak_replicas = np.where(fixed, x.fixed_replicas, at_peak)
    replicas = np.where(
        np.equal(x.replicas_follow, 1.0), np.minimum(following, at_peak), peak_replicas
    )
    # What a simulation has counted takes the place of what the load asks for.
    counted = np.greater_equal(x.counted_replicas, 0.0)
    replicas = np.where(counted, x.counted_replicas, replicas)
    shared_by = np.maximum(replicas, LEAST_REPLICAS)
    utilisation = load / (shared_by * capacity)
    overloaded = fixed & (peak_load > x.fixed_replicas * capacity)
    obstacles = speed.obstacles + np.where(overloaded, OBSTACLES["load_above_capacity"], 0.0)
    too_few = fixed & np.less(x.fixed_replicas, x.live_versions)
    obstacles = obstacles + np.where(too_few, OBSTACLES["fewer_replicas_than_versions"], 0.0)
    feasible = obstacles == 0

    # Instances: packed whole at the peak; following the traffic, whole ones come and go.
    # Replicas that only read prompts are whole ones too, at least one of each version.
    pools: Numeric = 1.0
    if np.any(x.disaggregated):
        reading = np.ceil(peak_replicas * speed.prefill_replicas * (1.0 - ROUNDING))
        reading = np.maximum(reading, x.live_versions * x.disaggregated)
        pools = pools + reading / peak_replicas
    whole = pricing.instances_for_replicas(
        peak_replicas * pools, x.devices_per_replica, x.devices_per_instance
    )
    in_production = whole * replicas / peak_replicas
    if np.any(x.replicas_follow):
        moving = np.equal(x.replicas_follow, 1.0) & (replicas < peak_replicas * (1.0 - ROUNDING))
        followed = pricing.instances_following(
            replicas * pools, whole, x.devices_per_replica, x.devices_per_instance
        )
        in_production = np.where(moving, followed, whole)
    in_production = np.where(counted, x.counted_instances, in_production)
    instances = in_production * (1.0 + x.nonproduction_share)

    # Cost of the deployment in USD per second.
    rent = instances * x.instance_price
    agents = rent * x.agent_share
    memory_rate = (rent - agents) * x.memory_price_share
    compute_rate = rent - agents - memory_rate + x.training_price
    weights = speed.weight_memory * x.devices_per_replica
    stored = (x.dense_bytes + x.expert_bytes + x.embedding_bytes) * x.stored_share + x.draft_bytes
    moved = x.request_bytes + x.response_bytes
    network_each = (
        x.response_bytes * x.egress_share * x.egress_price
        + moved * x.cross_zone_share * x.cross_zone_price
        + moved * x.load_balancer_byte_price
    )
    log_each = x.log_bytes * x.log_price
    disks = replicas * pools * (1.0 + x.nonproduction_share) * (weights + x.image_bytes)
    storage_rate = (
        disks * x.storage_price
        + stored * x.stored_versions * x.object_storage_price
        + x.requests_per_s * log_each
    )
    network_rate = x.load_balancer_price + x.requests_per_s * network_each
    orchestration_rate = (
        agents
        + rent * x.platform_share
        + x.control_plane_price
        + instances * x.monitoring_price
        + x.on_call_price
        + x.requests_per_s * x.lookup_price
    )

    # Per successful inference.
    successes = x.requests_per_s * x.success_share
    compute_cost = pricing.cost_per_inference(compute_rate, successes)
    memory_cost = pricing.cost_per_inference(memory_rate, successes)
    storage_cost = pricing.cost_per_inference(storage_rate, successes)
    network_cost = pricing.cost_per_inference(network_rate, successes)
    orchestration_cost = pricing.cost_per_inference(orchestration_rate, successes)
    cost = compute_cost + memory_cost + storage_cost + network_cost + orchestration_cost

    # One more request on a replica that is full.
    full = capacity * x.success_share / let_through
    devices_each = x.devices_per_replica * (1.0 + speed.prefill_replicas)
    rent_each = x.instance_price * devices_each / (x.devices_per_instance * full)
    agents_each = rent_each * x.agent_share
    marginal_memory = (rent_each - agents_each) * x.memory_price_share
    marginal_compute = rent_each - agents_each - marginal_memory
    marginal_orchestration = (
        agents_each + rent_each * x.platform_share + x.lookup_price / x.success_share
    )
    marginal_network = network_each / x.success_share
    marginal_storage = log_each / x.success_share
    marginal = (
        marginal_compute + marginal_memory + marginal_storage + marginal_network
        + marginal_orchestration
    )  # fmt: skip

    # Requests of whole batches wait for the others, and for the batch before.
    waiting = _waiting(x, speed, x.requests_per_s * let_through / shared_by, utilisation)
    ttft, latency = speed.ttft + waiting, speed.latency_mean + waiting

    # Requests that meet the limits, from the spread of measured times; a cache answers at once.
    tokens = np.equal(x.is_llm, 1.0)
    lookup = np.where(np.greater(x.answer_hit_share, 0.0), x.lookup_time, 0.0)
    margin = margin_below(latency + lookup, speed.latency_log_sd, x.slo_latency)
    if np.any(tokens):
        first = margin_below(ttft + lookup, x.ttft_log_sd, x.slo_ttft)
        pace = margin_below(speed.tpot, speed.latency_log_sd, x.slo_tpot)
        margin = np.where(tokens, np.minimum(np.minimum(first, pace), margin), margin)
    good = ndtr(margin)
    at_once = np.where(tokens, np.minimum(x.slo_ttft, x.slo_latency), x.slo_latency) >= lookup
    good = let_through * good + x.answer_hit_share * at_once
    # Hits are the quickest, so a quantile of all is a higher one of the rest, or the lookup.
    rank = (P_95 - x.answer_hit_share) / let_through
    beyond = batching.log_normal_quantile(
        latency, speed.latency_log_sd, ndtri(np.maximum(rank, np.finfo(float).tiny))
    )
    latency_p95 = lookup + np.where(rank > 0.0, beyond, 0.0)

    power = energy.device_power(np.minimum(utilisation, 1.0), x.idle_power, x.peak_power, 1.0)
    devices = replicas * pools * x.devices_per_replica * (1.0 + x.nonproduction_share)
    joules = energy.energy_per_inference(power * devices, x.pue, successes)

    # Input, cached input and output by the time that each takes of a replica.
    work = speed.input_work + speed.cached_work + speed.output_work
    new_tokens = x.input_tokens * (1.0 - x.cached_input_share)
    cached_tokens = x.input_tokens - new_tokens
    each_second = np.where(tokens, cost / work, np.nan)
    input_token_cost = pricing.token_price(each_second * speed.input_work, new_tokens)
    cached_token_cost = pricing.token_price(each_second * speed.cached_work, cached_tokens)
    output_token_cost = pricing.token_price(each_second * speed.output_work, x.output_tokens)
    cost_per_good = pricing.cost_per_inference(cost, good)

    return Estimate(
        feasible=feasible,
        obstacles=obstacles,
        throughput=capacity,
        output_tokens_per_s=speed.output_tokens_per_s,
        ttft=lookup + let_through * ttft,
        tpot=speed.tpot,
        latency_mean=lookup + let_through * latency,
        latency_p95=latency_p95,
        running=speed.running,
        max_concurrency=speed.max_concurrency,
        prefill_time=speed.prefill_time,
        decode_step_time=speed.decode_step_time,
        longest_gap=speed.longest_gap,
        step_compute=speed.step_compute,
        step_weights=speed.step_weights,
        step_cache=speed.step_cache,
        step_network=speed.step_network,
        step_overhead=speed.step_overhead,
        step_draft=speed.step_draft,
        weight_memory=speed.weight_memory,
        cache_memory=speed.cache_memory,
        workspace_memory=speed.workspace_memory,
        usable_memory=speed.usable_memory,
        replicas=replicas,
        prefill_replicas=replicas * (pools - 1.0),
        peak_replicas=peak_replicas,
        instances=instances,
        utilisation=utilisation,
        good_share=good,
        energy=joules,
        carbon=energy.carbon_per_inference(joules, x.carbon_intensity),
        compute_cost=compute_cost,
        memory_cost=memory_cost,
        storage_cost=storage_cost,
        network_cost=network_cost,
        orchestration_cost=orchestration_cost,
        cost_per_inference=cost,
        marginal_compute_cost=marginal_compute,
        marginal_memory_cost=marginal_memory,
        marginal_storage_cost=marginal_storage,
        marginal_network_cost=marginal_network,
        marginal_orchestration_cost=marginal_orchestration,
        marginal_cost_per_inference=marginal,
        cost_per_good_inference=cost_per_good,
        cost_rate=cost * successes,
        input_token_cost=input_token_cost,
        cached_token_cost=cached_token_cost,
        output_token_cost=output_token_cost,
    )


def floor_replicas(x: Inputs) -> Numeric:
    """Replicas of all live versions that are kept whatever the traffic."""
    return x.min_replicas + (x.live_versions - 1.0) * x.old_min_replicas


def _by_version(
    x: Inputs, peak_load: Numeric, busy: Numeric, capacity: Numeric
) -> tuple[Numeric, Numeric]:
    """Replicas at the peak and following the traffic, where each version has its own.

    `busy` are those that follow the traffic of all versions.
    """
    others = x.live_versions - 1.0
    newest, other = pricing.load_by_version(
        1.0, x.live_versions, np.maximum(x.old_traffic_share, 0.0)
    )
    first, rest = (
        pricing.replicas_for_load(share * peak_load, capacity, x.target_utilisation)
        for share in (newest, other)
    )
    at_peak = np.maximum(np.maximum(first, x.min_replicas), 1.0)
    at_peak = at_peak + others * np.maximum(np.maximum(rest, x.old_min_replicas), 1.0)
    following = np.maximum(newest * busy, x.min_replicas)
    return at_peak, following + others * np.maximum(other * busy, x.old_min_replicas)


def _waiting(x: Inputs, speed: Performance, arrivals: Numeric, utilisation: Numeric) -> Numeric:
    """Mean wait at a replica for a batch to fill and for the one before it, by the load. [s]

    Dynamic batches of models without tokens have it in the speed of a full replica.
    """
    if not (np.any(x.whole_batches) or np.any(x.full_batches)):
        return 0.0
    filling = batching.filling_wait(speed.running, arrivals)
    full = np.equal(x.full_batches, 1.0)
    at_most = np.minimum(filling, 0.5 * x.batch_wait)
    before = 0.5 * np.minimum(utilisation, 1.0) * speed.running / speed.throughput
    waiting: Numeric = np.where(full, filling, x.whole_batches * (at_most + before))
    return waiting


def share_below(mean: Numeric, log_sd: Numeric, limit: Numeric) -> Numeric:
    """Share of log-normal times with a given mean that stay below a limit."""
    share: Numeric = ndtr(margin_below(mean, log_sd, limit))
    return share


def margin_below(mean: Numeric, log_sd: Numeric, limit: Numeric) -> Numeric:
    """Standard deviations from the median of log-normal times up to a limit."""
    with np.errstate(invalid="ignore"):
        margin: Numeric = np.log(limit / mean) / log_sd + 0.5 * log_sd
    return margin


PER_INFERENCE = tuple(
    field.name for field in fields(Estimate)
    if field.name.endswith("_cost") or field.name in (
        "cost_per_inference", "marginal_cost_per_inference", "energy", "carbon",
    )
)  # fmt: skip
"""Figures of one request that add up over the models that work on it."""
SHARP = 1e-3
"""Spread of a time that is always the same: a lookup."""


def cascade(
    first: Estimate, second: Estimate, x: Inputs, small: Inputs, share: Numeric
) -> Estimate:
    """Two deployments as one: every request goes to the first, a share of them on to the second.

    Parameters
    ----------
    first : Estimate
        The small model under the whole load, with what the service pays only once.
    second : Estimate
        The large model under the load that is passed on.
    x : Inputs
        Of the large model.
    small : Inputs
        Of the small model, with the cache of answers that stands before it.
    share : numeric
        Requests passed on, of those that reach the small model. [1]

    Returns
    -------
    estimate : Estimate
        Costs and replicas are those of both together; throughput, steps and memory of a replica
        are the large model's.

    Notes
    -----
    What is passed on waits for the whole answer of the small model before the large one begins.
    """
    answered = small.answer_hit_share
    lookup = np.where(np.greater(answered, 0.0), small.lookup_time, 0.0)
    reached = 1.0 - answered
    passed = share * reached
    # A request at the small model, without those that a cache answers at once.
    kept = (first.latency_mean - lookup) / reached
    begun = (first.ttft - lookup) / reached
    whole = kept + second.latency_mean
    feasible = np.logical_and(first.feasible, second.feasible)
    # Spreads of independent times add in squares.
    wide = np.hypot(small.latency_log_sd * kept, x.latency_log_sd * second.latency_mean) / whole
    p95 = adaptive.mixture_quantile(
        (answered, reached - passed, passed),
        tuple(np.where(feasible, time, 1.0) for time in (
            np.maximum(lookup, np.finfo(float).tiny), kept + lookup, whole + lookup,
        )),
        (SHARP, small.latency_log_sd, np.where(feasible, wide, 1.0)),
        P_95,
    )  # fmt: skip
    figures: dict[str, Any] = {
        name: getattr(first, name) + passed * getattr(second, name) for name in PER_INFERENCE
    }
    good = (1.0 - passed) * first.good_share + passed * second.good_share
    instances = first.instances + second.instances
    busy = first.utilisation * first.instances + second.utilisation * second.instances
    return replace(
        second,
        **figures,
        feasible=feasible,
        obstacles=np.maximum(first.obstacles, second.obstacles),
        ttft=first.ttft + passed * (kept - begun + second.ttft),
        tpot=(1.0 - share) * first.tpot + share * second.tpot,
        latency_mean=first.latency_mean + passed * second.latency_mean,
        latency_p95=np.where(feasible, p95, np.nan),
        replicas=first.replicas + second.replicas,
        prefill_replicas=first.prefill_replicas + second.prefill_replicas,
        peak_replicas=first.peak_replicas + second.peak_replicas,
        instances=instances,
        utilisation=busy / instances,
        good_share=good,
        cost_per_good_inference=pricing.cost_per_inference(figures["cost_per_inference"], good),
        cost_rate=first.cost_rate + second.cost_rate,
    )
