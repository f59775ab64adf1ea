"""From choices to plain numbers: ids become figures in base units.

:func:`choose` looks up what a scenario names and says what cannot be; :func:`resolve` turns it
into :class:`Inputs`, the only thing that :func:`cpi_model.evaluate.evaluate` sees.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import product

from cpi_model.catalog import Catalog, Offer, offers, price_on
from cpi_model.coefficients import Coefficients, Expansion, Pairing, coefficients
from cpi_model.formulas import (
    distillation,
    ownership,
    pricing,
    pruning,
    quantization,
    transformer,
)
from cpi_model.scenario import Scenario
from cpi_model.schema import (
    Accelerator,
    Attention,
    Engine,
    Instance,
    InstancePrice,
    Model,
    Precision,
    Scheme,
    Transformer,
)
from cpi_model.units import (
    BILLION,
    BITS_PER_BYTE,
    GB,
    GIB,
    GIGA,
    HOUR,
    KB,
    KILOWATT_HOUR,
    MB,
    MICROSECOND,
    MILLION,
    MILLISECOND,
    MINUTE,
    MONTH,
    TFLOPS,
    Numeric,
)

WIDER: dict[Precision, Precision] = {
    "fp4": "fp8",
    "int4": "int8",
    "fp8": "bf16",
    "int8": "bf16",
    "bf16": "tf32",
    "tf32": "fp32",
}
"""Next wider number format."""
FALLBACK: tuple[Precision, ...] = ("bf16", "tf32", "fp32")
"""What weights are expanded to where a chip lacks their format, as engines do it."""

KV_BITS: dict[str, float] = {"bf16": 16, "fp8": 8, "int8": 8, "fp4": 4}
SERVER_DEVICES = 16
"""Fast links of at most so many devices end at the server; longer ones join racks and pods."""
OLD_PRICE_DAYS = 90
"""A price older than this shows its age beside what depends on it."""
UNQUANTISED_BYTES = 2.0
"""Embeddings, output head and norms stay in 16 bits."""


@dataclass(frozen=True)
class Problem:
    """Why a choice cannot work, and the nearest that does."""

    reason: str
    """One sentence for people."""
    field: str
    """Scenario field that is to blame."""
    changes: dict[str, object]
    """Scenario fields to change to get the nearest choice that works; may be empty."""
    remedy: str
    """What the changes do, in words: ``use fp8``."""


class ImpossibleChoice(ValueError):
    """The scenario names things that do not exist or do not go together."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__(" ".join(problem.reason for problem in problems))


@dataclass(frozen=True)
class Choice:
    """The things that a scenario names, with what was decided on the way."""

    model: Model
    accelerator: Accelerator
    scheme: Scheme
    engine: Engine
    instance: Instance | None
    """None where the price per device is the user's own."""
    price: InstancePrice | None
    arithmetic: Precision
    """Number format of the matrix multiplications after fallback."""
    devices_per_replica: float
    notes: tuple[str, ...]
    """Decisions that a reader should know: fallbacks, assumed dates, other regions."""
    teacher: Model | None = None
    """What the served model was trained to imitate; None where it is what the scenario names."""
    draft: Model | None = None
    """Small model that proposes tokens; None without one, and for drafts that are no model."""
    skips_zeros: bool = False
    """Whether engine and chip leave out the weights that are zero."""
    fallback: InstancePrice | None = None
    """What the instance costs on demand, where spot falls back to it."""


@dataclass(frozen=True)
class Parameters:
    """Parameters of a model."""

    total: float
    active: float
    """Used for one token; equal to the total for dense models."""
    dense: float
    experts: float
    embedding: float


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that :func:`cpi_model.evaluate.evaluate` needs, as plain numbers.

    The waist of the house: catalogs and choices end here, arithmetic starts here. Every field is
    in the unit beside it and may be an array; arrays broadcast against each other, so
    ``evaluate(replace(inputs, concurrency=np.arange(1.0, 257.0)))`` is a sweep.
    """

    # what is served
    is_llm: Numeric  # 1 for language models, 0 for models evaluated by the sample
    requests_per_s: Numeric  # 1/s, average of arrivals
    peak_to_mean: Numeric  # 1
    success_share: Numeric  # 1
    input_tokens: Numeric  # 1
    output_tokens: Numeric  # 1
    cached_input_share: Numeric  # 1
    arrival_cv: Numeric  # 1, of the times between arrivals
    output_cv: Numeric  # 1, of the output tokens
    items_per_request: Numeric  # 1, samples in one request
    slo_ttft: Numeric  # s
    slo_tpot: Numeric  # s
    slo_latency: Numeric  # s
    max_context: Numeric  # 1, tokens the model accepts

    # language model
    layers: Numeric  # 1
    hidden: Numeric  # 1, width of the residual stream
    dense_params: Numeric  # 1, read for every token: attention, dense blocks, output head
    expert_params: Numeric  # 1, all routed experts together
    embedding_params: Numeric  # 1, stored and not multiplied
    experts: Numeric  # 1, routed experts in a layer; 0 for dense models
    experts_per_token: Numeric  # 1
    kv_elements: Numeric  # 1, cached per token in layers with full attention
    window_kv_elements: Numeric  # 1, cached per token in layers with a sliding window
    window_tokens: Numeric  # 1
    state_elements: Numeric  # 1, per sequence, of linear attention
    kv_heads: Numeric  # 1, most ways in which a cache can be split (1 for a latent cache)
    prefill_flops_per_pair: Numeric  # FLOP per query-key pair, full attention layers together
    decode_flops_per_pair: Numeric  # FLOP, the same when decoding (differs for latent attention)
    window_flops_per_pair: Numeric  # FLOP, windowed layers together
    # model evaluated by the sample
    sample_flops: Numeric  # FLOP per sample
    sample_passes: Numeric  # 1, sequential passes over the weights per sample
    sample_weight_bytes: Numeric  # B read in a pass
    sample_activation_bytes: Numeric  # B written and read per sample
    sample_resident_bytes: Numeric  # B of memory held per sample
    sample_gather_bytes: Numeric  # B per sample at random addresses
    batch_wait: Numeric  # s, longest wait for a batch to fill

    # less work for a token or a request; zeros where there is none of it
    draft_tokens: Numeric  # 1, tokens proposed before each step
    acceptance: Numeric  # 1, share of them that is accepted
    draft_layers: Numeric  # 1
    draft_params: Numeric  # 1, multiplied for each proposed token
    draft_bytes: Numeric  # B read for each proposed token, and held
    draft_kv_elements: Numeric  # 1, cached per token
    draft_flops_per_pair: Numeric  # FLOP per query-key pair
    exit_share: Numeric  # 1, share of tokens or samples that skip the layers behind the exit
    exit_depth: Numeric  # 1, share of the layers before it
    answer_hit_share: Numeric  # 1, share of requests answered from a cache
    lookup_time: Numeric  # s per request
    lookup_price: Numeric  # USD per request
    # cost of the training of a student, spread over its use
    training_price: Numeric  # USD/s

    # storage of numbers
    stored_share: Numeric  # 1, bytes in storage over bytes in memory
    dense_bytes: Numeric  # B, all dense parameters as stored
    expert_bytes: Numeric  # B, all routed experts as stored
    embedding_bytes: Numeric  # B
    kv_bytes_per_element: Numeric  # B

    # one device
    peak_flops: Numeric  # FLOP/s dense, in the arithmetic that is really used
    expert_peak_flops: Numeric  # FLOP/s, the same for the experts
    attention_peak_flops: Numeric  # FLOP/s, in 16 bits
    memory_bandwidth: Numeric  # B/s
    memory_capacity: Numeric  # B
    link_bandwidth: Numeric  # B/s, one direction, inside the fast domain
    slow_link_bandwidth: Numeric  # B/s, outside it
    fast_domain: Numeric  # 1, devices inside
    peak_power: Numeric  # W
    idle_power: Numeric  # W

    # serving
    tensor_parallel: Numeric  # 1
    pipeline_parallel: Numeric  # 1
    data_parallel: Numeric  # 1
    expert_parallel: Numeric  # 1
    concurrency: Numeric  # 1, requests in flight per replica
    memory_share: Numeric  # 1
    devices_per_replica: Numeric  # 1, a share of a socket on CPU instances
    whole_batches: Numeric  # 1 where requests join only between batches of a language model
    full_batches: Numeric  # 1 where a batch does not start before it is full
    disaggregated: Numeric  # 1 where prompts are read on replicas of their own
    prefill_replicas: Numeric  # 1, of those for each other one; 0 for the cheapest share
    prefill_chunk: Numeric  # 1, prompt tokens of one pass; infinite as the engine does it

    # fitted coefficients (data/coefficients)
    exponent: Numeric  # 1, of the smooth maximum between arithmetic and memory time
    compute_efficiency: Numeric  # 1, of the peak, when saturated
    half_tokens: Numeric  # 1, tokens at which half of that is reached
    scheme_work: Numeric  # 1, arithmetic time in the scheme over what that efficiency says
    expansion_time: Numeric  # s per weight, expanding it before it is multiplied
    expert_efficiency: Numeric  # 1, of the peak, multiplications of experts, when saturated
    expert_half_tokens: Numeric  # 1, tokens of one expert at which half of that is reached
    half_flops: Numeric  # FLOP of a pass of samples at which half of that is reached
    attention_efficiency: Numeric  # 1, of the 16-bit peak, reading prompts
    decode_attention_efficiency: Numeric  # 1, of the 16-bit peak, decoding
    memory_efficiency: Numeric  # 1, of the bandwidth, reading weights
    expert_memory_efficiency: Numeric  # 1, of the bandwidth, reading weights of experts
    activation_bytes_per_token: Numeric  # B moved between the layers' operations, on each device
    cache_efficiency: Numeric  # 1, of the bandwidth, reading keys and values
    gather_efficiency: Numeric  # 1, of the bandwidth, at random addresses
    link_efficiency: Numeric  # 1, of the link bandwidth
    collective_latency: Numeric  # s per collective
    slow_link_efficiency: Numeric  # 1, of the bandwidth between servers
    slow_collective_latency: Numeric  # s per collective between servers
    layer_overhead: Numeric  # s per layer and step
    step_overhead: Numeric  # s per step, or batch
    sequence_overhead: Numeric  # s per running sequence and step
    prefill_interference: Numeric  # 1, share of other prompts' time that delays decoding
    prefill_waited: Numeric  # 1, share of that which was waited for before the first token
    ttft_prefill: Numeric  # 1, multiple of the prompt's own time in time to first token
    ttft_burst: Numeric  # 1, share of the other prompts' time waited for, at any load
    ttft_queue: Numeric  # 1, the same that comes with the prompts' share of the time
    ttft_step: Numeric  # 1, decode steps waited for
    ttft_start: Numeric  # s before a prompt is begun: receiving, tokenising
    host_time: Numeric  # s of the host per request, one after another
    output_reserve: Numeric  # 1, share of the output for which cache is set aside at the start
    # what was measured for this pairing of model, chip and engine, over the general coefficients
    fixed_factor: Numeric  # 1, on the time of a step that does not grow with the requests
    sequence_factor: Numeric  # 1, on the time of a step that grows with them
    prompt_factor: Numeric  # 1, on the time of a prompt
    workspace_bytes: Numeric  # B per device that is neither weights nor cache
    ttft_log_sd: Numeric  # 1, spread of the time to first token (log-normal)
    latency_log_sd: Numeric  # 1, spread of the latency (log-normal)

    # price
    instance_price: Numeric  # USD/s of one instance, after all price options
    devices_per_instance: Numeric  # 1
    memory_price_share: Numeric  # 1, of the instance price
    # capacity
    replicas_follow: Numeric  # 1 where replicas follow the traffic, 0 where they stay
    fixed_replicas: Numeric  # 1, 0 where the number follows from the load
    min_replicas: Numeric  # 1, of the newest version
    spare_replicas: Numeric  # 1
    target_utilisation: Numeric  # 1
    scaling_lag_share: Numeric  # 1
    counted_replicas: Numeric  # 1, mean that was paid for; -1 where it follows from the load
    counted_instances: Numeric  # 1, the same of instances
    nonproduction_share: Numeric  # 1
    live_versions: Numeric  # 1
    old_traffic_share: Numeric  # 1, of versions but the newest; below 0 where all share replicas
    old_min_replicas: Numeric  # 1, of each of them
    # overheads
    stored_versions: Numeric  # 1
    storage_price: Numeric  # USD/(B s), disk
    object_storage_price: Numeric  # USD/(B s)
    image_bytes: Numeric  # B per replica
    log_bytes: Numeric  # B per request
    log_price: Numeric  # USD/B
    request_bytes: Numeric  # B per request
    response_bytes: Numeric  # B per request
    egress_share: Numeric  # 1
    egress_price: Numeric  # USD/B
    cross_zone_share: Numeric  # 1
    cross_zone_price: Numeric  # USD/B
    load_balancer_price: Numeric  # USD/s
    load_balancer_byte_price: Numeric  # USD/B
    control_plane_price: Numeric  # USD/s
    monitoring_price: Numeric  # USD/s per instance
    agent_share: Numeric  # 1, of the instance price
    platform_share: Numeric  # 1, of compute and memory
    on_call_price: Numeric  # USD/s
    pue: Numeric  # 1
    carbon_intensity: Numeric  # g/J


def parameters(model: Model) -> Parameters:
    """Parameter counts from the architecture, or as published where it cannot be written.

    ``active`` leaves out the input embedding, of which a token reads one row (as the gpt-oss card
    does; some cards count it). A tied embedding is stored once and active as the output head.
    """
    shape = model.transformer
    if shape is None:
        total = model.params_b * BILLION
        return Parameters(total=total, active=total, dense=total, experts=0.0, embedding=0.0)
    matrix = float(shape.vocabulary * shape.hidden)
    embedding = 0.0 if shape.tied_embeddings else matrix
    dense = _attention_params(shape) + matrix
    dense += shape.dense_layers * float(
        transformer.feed_forward_params(
            float(shape.hidden), float(shape.dense_intermediate), float(shape.gated)
        )
    )
    expert = float(
        transformer.feed_forward_params(
            float(shape.hidden), float(shape.expert_intermediate), float(shape.gated)
        )
    )
    shared = float(
        transformer.feed_forward_params(
            float(shape.hidden), float(shape.shared_intermediate), float(shape.gated)
        )
    )
    router = shape.hidden * shape.experts
    dense += shape.moe_layers * (shape.shared_experts * shared + router)
    experts = shape.moe_layers * shape.experts * expert
    active = dense + shape.moe_layers * shape.experts_per_token * expert
    total = dense + embedding + experts
    if model.params_from == "published":
        # The parts keep the proportions of the architecture as far as it is known.
        published = model.params_b * BILLION
        published_active = (model.active_params_b or model.params_b) * BILLION
        if shape.experts:
            idle_share = 1.0 - shape.experts_per_token / shape.experts
            experts = (published - published_active) / idle_share
        dense = published - experts - embedding
        active, total = published_active, published
    return Parameters(total=total, active=active, dense=dense, experts=experts, embedding=embedding)


def _window(a: Attention) -> tuple[float, float]:
    """Key-value heads and their width in layers with a sliding window."""
    return float(a.window_kv_heads or a.kv_heads), float(a.window_head_dim or a.head_dim)


def _attention_params(shape: Transformer) -> float:
    """Parameters of all attention layers of a model."""
    a, hidden = shape.attention, float(shape.hidden)
    if a.kv_lora_rank:
        each = transformer.latent_attention_params(
            hidden, float(a.heads), float(a.q_lora_rank), float(a.kv_lora_rank),
            float(a.qk_nope_dim), float(a.qk_rope_dim), float(a.v_dim),
        )  # fmt: skip
    else:
        each = transformer.attention_params(
            hidden, float(a.heads), float(a.kv_heads), float(a.head_dim), float(a.output_gate)
        )
    total = a.layers * float(each)
    if a.window_layers:
        total += a.window_layers * float(
            transformer.attention_params(hidden, float(a.heads), *_window(a))
        )
    if a.linear_layers:
        total += a.linear_layers * float(
            transformer.linear_attention_params(
                hidden,
                float(a.linear_key_heads),
                float(a.linear_value_heads),
                float(a.linear_key_dim),
                float(a.linear_value_dim),
            )
        )
    return total


def _unknown(field: str, value: str, known: Iterable[str], what: str) -> Problem:
    near = difflib.get_close_matches(value, list(known), n=1, cutoff=0.3)
    return Problem(
        reason=f"There is no {what} '{value}' in the catalog.",
        field=field,
        changes={field: near[0]} if near else {},
        remedy=f"use {near[0]}" if near else "pick one from the catalog",
    )


def arithmetic_on(accelerator: Accelerator, wanted: Precision) -> Precision | None:
    """Number format that a chip really multiplies in when asked for one; None when unknown."""
    known = accelerator.dense_tflops
    wider = FALLBACK[FALLBACK.index(wanted) :] if wanted in FALLBACK else FALLBACK
    return next((each for each in (wanted, *wider) if each in known), None)


def multiplied_in(accelerator: Accelerator, scheme: Scheme) -> Precision | None:
    """Number format that a chip multiplies the weights of a scheme in; None when unknown.

    Software for CPUs without 16-bit arithmetic rounds activations to 8 bits and multiplies packed
    weights as integers (llama.cpp's Q8_K dot products, OpenVINO's dynamic quantization): expanding
    them to 32 bits would be slower.
    """
    known = accelerator.dense_tflops
    packed = accelerator.kind == "cpu" and scheme.weight_only and "bf16" not in known
    if packed and "int8" in known:
        return "int8"
    return arithmetic_on(accelerator, scheme.arithmetic)


def engine_runs_on(engine: Engine, accelerator: Accelerator) -> bool:
    """Whether an engine supports a chip at all."""
    vendors = (engine.gpu_vendors if accelerator.kind == "gpu" else ()) or engine.vendors
    return accelerator.kind in engine.kinds and (not vendors or accelerator.vendor in vendors)


def engine_serves(engine: Engine, model: Model, accelerator: Accelerator, scheme: Scheme) -> str:
    """Empty when an engine can run this, else what it lacks."""
    if model.model_class not in engine.model_classes:
        return f"{engine.name} does not serve models of class {model.model_class}"
    if not engine_runs_on(engine, accelerator):
        return f"{engine.name} does not run on {accelerator.name}"
    if scheme.id not in engine.schemes:
        return f"{engine.name} does not support {scheme.name}"
    return ""


def usual_engines(accelerator: Accelerator, catalog: Catalog) -> list[Engine]:
    """All engines: those made for such chips come first, then those of few makers."""

    def unusual(engine: Engine) -> tuple[int, int]:
        kinds = list(engine.kinds)
        made_for = kinds.index(accelerator.kind) if accelerator.kind in kinds else len(kinds)
        return made_for, len(engine.vendors) or len(catalog.accelerators)

    return sorted(catalog.engines.values(), key=unusual)


def _engine_problems(
    model: Model, accelerator: Accelerator, scheme: Scheme, engine: Engine, catalog: Catalog
) -> list[Problem]:
    lack = engine_serves(engine, model, accelerator, scheme)
    if not lack:
        return []

    engines = usual_engines(accelerator, catalog)
    for other in engines:
        if not engine_serves(other, model, accelerator, scheme):
            return [Problem(lack + ".", "engine", {"engine": other.id}, f"use {other.name}")]
    for other in engines:
        for narrower in other.schemes:
            if not engine_serves(other, model, accelerator, catalog.schemes[narrower]):
                changes: dict[str, object] = {"engine": other.id, "scheme": narrower}
                remedy = f"use {other.name} with {catalog.schemes[narrower].name}"
                return [Problem(lack + ".", "engine", changes, remedy)]
    return [Problem(lack + ".", "engine", {}, "pick another model or hardware")]


def parallel_problems(scenario: Scenario, model: Model) -> list[Problem]:
    """Ways of splitting a model over devices that its heads, layers or experts do not allow."""
    shape = model.transformer
    if shape is None:
        return []
    problems = []
    tp, pp, dp = scenario.tensor_parallel, scenario.pipeline_parallel, scenario.data_parallel
    asked = tp * dp
    if shape.attention.heads % tp:
        fits = [n for n in range(1, tp) if shape.attention.heads % n == 0]
        asked = fits[-1] * dp  # what follows must go with the remedy
        problems.append(Problem(
            f"{model.name} has {shape.attention.heads} attention heads, which {tp} devices cannot "
            "share evenly.", "tensor_parallel", {"tensor_parallel": fits[-1]},
            f"use {fits[-1]} device{'' if fits[-1] == 1 else 's'} in tensor parallel",
        ))  # fmt: skip
    layers = _layers(shape)
    if pp > layers:
        problems.append(Problem(
            f"{model.name} has {layers} layers, fewer than {pp} pipeline stages.",
            "pipeline_parallel", {"pipeline_parallel": 1}, "use 1 pipeline stage",
        ))  # fmt: skip
    ep = scenario.expert_parallel
    if ep > 1 and shape.experts == 0:
        problems.append(Problem(
            f"{model.name} has no experts to spread over {ep} groups.", "expert_parallel",
            {"expert_parallel": 1}, "set expert parallel to 1",
        ))  # fmt: skip
    elif shape.experts and (asked % ep or ep > shape.experts):
        fits = [n for n in range(1, ep + 1) if asked % n == 0 and n <= shape.experts]
        problems.append(Problem(
            f"Expert parallel {ep} must divide the {asked} devices of a stage and be at most "
            f"{shape.experts}.", "expert_parallel", {"expert_parallel": fits[-1]},
            f"set expert parallel to {fits[-1]}",
        ))  # fmt: skip
    return problems


def _layers(shape: Transformer) -> int:
    a = shape.attention
    return max(a.layers + a.window_layers + a.linear_layers, shape.dense_layers + shape.moe_layers)


def chip_problems(accelerator: Accelerator, scheme: Scheme) -> list[Problem]:
    """What is not published of a chip and without which nothing can be estimated."""
    missing = []
    if accelerator.memory_bandwidth_gb_per_s is None:
        missing.append("memory bandwidth")
    if multiplied_in(accelerator, scheme) is None:
        missing.append(f"{scheme.arithmetic} speed")
    if accelerator.memory_gb is None and accelerator.kind != "cpu":
        missing.append("memory size")
    if not missing:
        return []
    return [Problem(
        f"The {' and '.join(missing)} of {accelerator.name} is not published, so nothing can be "
        "estimated on it.", "accelerator", {"accelerator": "h100-sxm"}, "use another chip",
    )]  # fmt: skip


def fast_domain(accelerator: Accelerator, instance: Instance | None) -> int:
    """Devices that the fast link joins: those of one instance, unless it joins whole racks.

    A share of an owned cluster is part of a node, whatever the share.
    """
    most = accelerator.fast_domain_devices
    if instance is None or instance.tenure == "owned" or most > SERVER_DEVICES:
        return most
    return min(most, max(int(instance.accelerator_count), 1))


def slow_link(
    accelerator: Accelerator, instance: Instance | None, fitted: Coefficients
) -> float:  # fmt: skip
    """Network between servers for each device, one direction. [B/s]

    A share of the instance's network where it is published, and never more than the fast link.
    """
    assumed = fitted.assumptions
    speeds = [
        assumed.slow_link_gb_per_s * GB,
        (accelerator.link_gb_per_s or assumed.unknown_link_gb_per_s) * GB,
    ]
    if instance is not None and instance.network_gbit_per_s:
        share = instance.network_gbit_per_s / instance.accelerator_count
        speeds.append(share * GIGA / BITS_PER_BYTE)
    return min(speeds)


def _joined(found: list[Offer], accelerator: Accelerator, devices: float) -> list[Offer]:
    """Offers in which the devices of a replica reach each other over the fast link.

    Where there is none, those that join the most: the rest of the replica goes over the network.
    """
    if devices <= 1:
        return found
    most = max((fast_domain(accelerator, offer.instance) for offer in found), default=0)
    needed = min(devices, most)
    return [offer for offer in found if fast_domain(accelerator, offer.instance) >= needed]


def _purchase(
    scenario: Scenario, accelerator: Accelerator, catalog: Catalog, devices: float
) -> tuple[Instance | None, InstancePrice | None, list[str], list[Problem]]:
    """Instance and price that a scenario ends up with."""
    own = scenario.device_price_usd_per_hour is not None
    if scenario.instance != "auto":
        instance = catalog.instances.get(scenario.instance)
        if instance is None:
            problem = _unknown("instance", scenario.instance, catalog.instances, "instance")
            return None, None, [], [problem]
        if instance.accelerator != accelerator.id:
            return None, None, [], [Problem(
                f"{instance.id} has {instance.accelerator}, not {accelerator.id}.", "instance",
                {"instance": "auto"}, "let the cheapest instance with this chip be chosen",
            )]  # fmt: skip
        price = price_on(catalog, instance.id, scenario.purchase, scenario.regions)
        if own:
            return instance, None, [], []
        if price is None:
            return None, None, [], _price_problems(scenario, accelerator, catalog)
        return instance, price, [], []
    found = offers(catalog, accelerator.id, scenario.purchase, scenario.clouds, scenario.regions)
    found = _joined(found, accelerator, devices)
    if not found:
        if own:
            return None, None, [], []
        return None, None, [], _price_problems(scenario, accelerator, catalog)
    offer = found[0]
    if own:
        return offer.instance, None, [], []
    where = "any cloud" if scenario.clouds is None else " or ".join(sorted(scenario.clouds))
    note = (
        f"Cheapest of {len(found)} {scenario.purchase.replace('_', ' ')} offers with "
        f"{_enough(devices)}{accelerator.name} on {where}: {offer.instance.id} in "
        f"{offer.price.region}."
    )
    return offer.instance, offer.price, [note], []


def _enough(devices: float) -> str:
    return f"{devices:.0f} joined " if devices > 1 else ""


def _price_problems(
    scenario: Scenario, accelerator: Accelerator, catalog: Catalog
) -> list[Problem]:
    """No price is known: say so, and name the nearest that is."""
    option = scenario.purchase.replace("_", " ")
    reason = f"No {option} price of {accelerator.name} is in the catalog"
    if scenario.instance != "auto":
        reason += f" for {scenario.instance}"
    elif scenario.cloud != "any" or scenario.region != "any":
        reason += f" for cloud {scenario.cloud}, region {scenario.region}"
    for purchase in (scenario.purchase, "on_demand", "spot", "reserved_1y", "reserved_3y"):
        if offers(catalog, accelerator.id, purchase):
            changes: dict[str, object] = {
                "purchase": purchase, "instance": "auto", "cloud": "any", "region": "any",
            }  # fmt: skip
            return [Problem(
                reason + ".", "purchase", changes,
                f"use the cheapest {purchase.replace('_', ' ')} offer of any cloud",
            )]  # fmt: skip
    return [Problem(
        reason + "; enter your own price per device.", "device_price_usd_per_hour", {},
        "enter your own price per device",
    )]  # fmt: skip


def _asked_devices(scenario: Scenario) -> int:
    return scenario.tensor_parallel * scenario.pipeline_parallel * scenario.data_parallel


def choose(scenario: Scenario, catalog: Catalog) -> Choice:
    """Look up everything that a scenario names.

    Raises
    ------
    ImpossibleChoice
        If an id is unknown or two choices do not go together; each problem has a remedy.
    """
    named: list[tuple[str, str, Mapping[str, object]]] = [
        ("model", scenario.model, catalog.models),
        ("accelerator", scenario.accelerator, catalog.accelerators),
        ("scheme", scenario.scheme, catalog.schemes),
        ("engine", scenario.engine, catalog.engines),
    ]
    for field in ("student", "draft_model"):
        if getattr(scenario, field) not in ALTERNATIVES[field]:
            named.append((field, getattr(scenario, field), catalog.models))
    what = {
        "accelerator": "hardware", "scheme": "precision", "student": "model",
        "draft_model": "model",
    }  # fmt: skip
    unknown = [
        _unknown(field, value, known, what.get(field, field))
        for field, value, known in named
        if value not in known
    ]
    if unknown:
        raise ImpossibleChoice(tuple(unknown))
    named_model = catalog.models[scenario.model]
    accelerator = catalog.accelerators[scenario.accelerator]
    scheme, engine = catalog.schemes[scenario.scheme], catalog.engines[scenario.engine]
    model = _served(scenario, named_model, catalog)
    draft = catalog.models.get(scenario.draft_model) if model.transformer else None
    problems = _smaller_model_problems(scenario, named_model, model, draft)
    problems += chip_problems(accelerator, scheme)
    problems += _engine_problems(model, accelerator, scheme, engine, catalog)
    if accelerator.kind != "cpu":  # where parallelism over devices plays no part
        problems += parallel_problems(scenario, model)
    devices = 1.0
    if model.model_class == "llm" and accelerator.kind != "cpu":
        devices = float(_asked_devices(scenario))
    instance, price, notes, price_problems = _purchase(scenario, accelerator, catalog, devices)
    problems += price_problems
    fallback = None
    if falls_back(scenario) and not problems:
        fallback = fallback_price(instance, scenario, catalog)
        problems += [_fallback_problem(instance)] if fallback is None else []
    if problems:
        raise ImpossibleChoice(tuple(problems))
    if price is not None and (old := age(price.valid_from)):
        notes.append(
            f"The {scenario.purchase.replace('_', ' ')} price of {price.instance} is {old}, of "
            f"{price.valid_from.isoformat()}."
        )
    arithmetic = multiplied_in(accelerator, scheme)
    assert arithmetic is not None  # chip_problems has refused it
    if arithmetic != scheme.arithmetic:
        notes.append(
            f"{accelerator.name} does not multiply in {scheme.arithmetic}: weights are stored as "
            f"{scheme.name} and multiplied in {arithmetic}."
        )
    if devices > 1 and devices > (joined := fast_domain(accelerator, instance)):
        notes.append(
            f"{devices:.0f} devices reach beyond the {joined} that "
            f"{accelerator.link or 'the fast link'} joins"
            f"{f' in {instance.id}' if instance else ''}; the rest goes over the network."
        )
    elif devices == 1 and _asked_devices(scenario) > 1:
        notes.append("Parallelism over devices plays no part for this model and hardware.")
    dense = sparsity_lack(scenario.sparsity, engine, accelerator)
    if dense:
        notes.append(f"{dense}: zero weights save storage, but neither memory nor time.")
    return Choice(
        model=model, accelerator=accelerator, scheme=scheme, engine=engine, instance=instance,
        price=price, arithmetic=arithmetic, devices_per_replica=devices, notes=tuple(notes),
        teacher=None if scenario.student == "none" else named_model, draft=draft,
        skips_zeros=scenario.sparsity != "none" and not dense, fallback=fallback,
    )  # fmt: skip


def choices(scenario: Scenario, catalog: Catalog) -> Iterator[Choice]:
    """Every chip, precision and engine that can serve a scenario's model, one device a replica.

    Chip by chip, in the order of the catalog; the instance is left open.

    Raises
    ------
    ImpossibleChoice
        If the scenario's model does not exist, or its student or draft does not go with it.
    """
    for name in (scenario.model, scenario.student, scenario.draft_model):
        if name not in catalog.models and name not in ("none", "ratio", "ngram", "head"):
            raise ImpossibleChoice((_unknown("model", name, catalog.models, "model"),))
    named = catalog.models[scenario.model]
    model = _served(scenario, named, catalog)
    draft = catalog.models.get(scenario.draft_model) if model.transformer else None
    if problems := _smaller_model_problems(scenario, named, model, draft):
        raise ImpossibleChoice(tuple(problems))
    for chip, scheme in product(catalog.accelerators.values(), catalog.schemes.values()):
        arithmetic = multiplied_in(chip, scheme)
        if arithmetic is None or chip_problems(chip, scheme):
            continue
        for engine in catalog.engines.values():
            if engine_serves(engine, model, chip, scheme):
                continue
            lack = sparsity_lack(scenario.sparsity, engine, chip)
            yield Choice(
                model=model, accelerator=chip, scheme=scheme, engine=engine, instance=None,
                price=None, arithmetic=arithmetic, devices_per_replica=1.0, notes=(),
                teacher=None if scenario.student == "none" else named, draft=draft,
                skips_zeros=scenario.sparsity != "none" and not lack,
            )  # fmt: skip


def age(valid_from: date) -> str:
    """How old a price is, in words; empty while it need not be said."""
    days = (date.today() - valid_from).days
    return f"{days} days old" if days > OLD_PRICE_DAYS else ""


def fallback_price(
    instance: Instance | None, scenario: Scenario, catalog: Catalog
) -> InstancePrice | None:
    """What an instance costs on demand when no spot is to be had; None where nobody knows."""
    if instance is None:
        return None
    return price_on(catalog, instance.id, "on_demand", scenario.regions)


def falls_back(scenario: Scenario) -> bool:
    """Whether part of the capacity runs on demand in place of spot."""
    return scenario.purchase == "spot" and scenario.spot_fallback_share > 0.0


def _fallback_problem(instance: Instance | None) -> Problem:
    name = "this hardware" if instance is None else instance.id
    return Problem(
        f"No on demand price of {name} is in the catalog, to which spot could fall back.",
        "spot_fallback_share", {"spot_fallback_share": 0.0}, "do without a fallback",
    )  # fmt: skip


def sparsity_lack(sparsity: str, engine: Engine, accelerator: Accelerator) -> str:
    """Why zero weights are multiplied like all others; empty where they are not, or are none."""
    if sparsity == "none":
        return ""
    if sparsity not in engine.sparsity:
        return f"{engine.name} does not skip such zeros"
    if sparsity == "two_of_four" and not accelerator.sparse_2_4:
        return f"{accelerator.name} does not skip two of four"
    if sparsity == "unstructured" and accelerator.kind != "cpu":
        return f"{accelerator.name} does not skip zeros anywhere"
    return ""


ALTERNATIVES: dict[str, tuple[str, ...]] = {
    "student": ("none", "ratio"),
    "draft_model": ("none", "ngram", "head"),
    "cascade_model": ("none",),
    "compared_scheme": ("native",),
    "compared_engine": ("same",),
    "traffic": ("shape",),
}
"""What fields that name something of the catalog may be instead."""
NARROWEST = 64
"""Widths are multiples of it, so that multiplications stay efficient."""


def _served(scenario: Scenario, named: Model, catalog: Catalog) -> Model:
    """The model that answers: the one that is named, or its student, after pruning."""
    model, depth, width = named, scenario.kept_depth, scenario.kept_width
    if scenario.student == "ratio":
        # Parameters grow with depth times width.
        each = math.sqrt(scenario.student_ratio)
        depth, width = depth * each, width * each
    elif scenario.student != "none":
        model = catalog.models[scenario.student]
    return model if depth == width == 1.0 else shrunk(model, depth, width)


def shrunk(model: Model, depth: float, width: float) -> Model:
    """A model with a share of its layers, and of the heads and widths inside of them.

    The residual stream keeps its width. What was measured for the model counts for the smaller
    one as well.
    """
    shape, sample = model.transformer, model.sample
    if shape is None:
        assert sample is not None
        share = depth * width
        step = sample.step_params_b
        sample = sample.model_copy(
            update={
                "gflop": sample.gflop * share,
                "attention_gflop": sample.attention_gflop * share,
                "activation_mb": sample.activation_mb * share,
                "step_params_b": None if step is None else step * share,
            }
        )
        left = model.model_copy(update={"sample": sample, "params_b": model.params_b * share})
    else:
        left = model.model_copy(update={"transformer": _shrunk_layers(shape, depth, width)})
        scale = parameters(left.model_copy(update={"params_from": "architecture"})).total
        scale /= parameters(model.model_copy(update={"params_from": "architecture"})).total
        active = model.active_params_b
        left = left.model_copy(
            update={
                "params_b": model.params_b * scale,
                "active_params_b": None if active is None else active * scale,
            }
        )
    name = f"{model.name}, {left.params_b / model.params_b:.0%} of it"
    return left.model_copy(update={"name": name})


def _shrunk_layers(shape: Transformer, depth: float, width: float) -> Transformer:
    def layers(count: int) -> int:
        return max(1, round(count * depth)) if count else 0

    def wide(size: int) -> int:
        return max(NARROWEST, round(size * width / NARROWEST) * NARROWEST) if size else 0

    a = shape.attention
    groups = a.heads // a.kv_heads
    kv_heads = max(1, round(a.kv_heads * width))
    attention = a.model_copy(
        update={
            "layers": layers(a.layers), "window_layers": layers(a.window_layers),
            "linear_layers": layers(a.linear_layers), "kv_heads": kv_heads,
            "heads": kv_heads * groups,
            "window_kv_heads": max(1, round(a.window_kv_heads * width)) if a.window_kv_heads else 0,
        }
    )  # fmt: skip
    return shape.model_copy(
        update={
            "attention": attention,
            "dense_layers": layers(shape.dense_layers),
            "dense_intermediate": wide(shape.dense_intermediate),
            "moe_layers": layers(shape.moe_layers),
            "expert_intermediate": wide(shape.expert_intermediate),
            "shared_intermediate": wide(shape.shared_intermediate),
        }
    )


def _smaller_model_problems(
    scenario: Scenario, named: Model, served: Model, draft: Model | None
) -> list[Problem]:
    """A student of another kind, or a draft that cannot write for the model."""
    problems = []
    if served.model_class != named.model_class:
        problems.append(Problem(
            f"{served.name} cannot stand in for {named.name}: one is of class "
            f"{served.model_class}, the other {named.model_class}.", "student",
            {"student": "ratio"}, "use a student of the same design",
        ))  # fmt: skip
    if draft is None:
        return problems
    if draft.transformer is None or draft.transformer.experts:
        problems.append(Problem(
            f"{draft.name} cannot propose tokens: a draft is a dense language model.",
            "draft_model", {"draft_model": "head"}, "use one more layer of the model as draft",
        ))  # fmt: skip
    elif parameters(draft).active >= parameters(served).active:
        problems.append(Problem(
            f"{draft.name} is no draft for {served.name}: it is not smaller.", "draft_model",
            {"draft_model": "head"}, "use one more layer of the model as draft",
        ))  # fmt: skip
    return problems


@dataclass(frozen=True)
class _Stored:
    """Bytes of a model as stored in a scheme."""

    dense: float
    experts: float
    embedding: float

    @property
    def whole(self) -> float:
        """All parts together."""
        return self.dense + self.experts + self.embedding


def _stored(
    model: Model, scheme: Scheme, counts: Parameters, fewer: Callable[[float], float] | None = None
) -> _Stored:
    """Bytes of the parts of a model: quantised share at the scheme's bits, the rest at 16.

    `fewer` is what leaving out zeros makes of the bytes of a weight in a multiplied layer.
    """
    packed = float(
        quantization.stored_bytes_per_weight(
            scheme.weight_bits, float(scheme.group_size), scheme.scale_bits, scheme.zero_point_bits
        )
    )
    plain = max(packed, UNQUANTISED_BYTES) if scheme.weight_bits > 16 else UNQUANTISED_BYTES
    share, shape = scheme.quantised_share, model.transformer
    head = float(shape.vocabulary * shape.hidden) if shape else 0.0
    dense_share = 0.0 if scheme.experts_only else share
    each = (packed, plain) if fewer is None else (fewer(packed), fewer(plain))
    return _Stored(
        dense=float(quantization.weight_bytes(counts.dense - head, dense_share, *each))
        + head * plain,
        experts=float(quantization.weight_bytes(counts.experts, share, *each)),
        embedding=counts.embedding * plain,
    )


def _without_zeros(scenario: Scenario) -> Callable[[float], float] | None:
    """Bytes of a weight when zeros are left out; None where none are zero."""
    if scenario.sparsity == "two_of_four":
        return lambda size: float(pruning.two_of_four_bytes_per_weight(size))
    if scenario.sparsity == "unstructured":
        zeros = scenario.zero_share
        # Where a bitmap costs more than it saves, the zeros are stored.
        return lambda size: min(size, float(pruning.bitmap_bytes_per_weight(size, zeros)))
    return None


def resolve(scenario: Scenario, catalog: Catalog, fitted: Coefficients | None = None) -> Inputs:
    """Turn a scenario into numbers in base units.

    Raises
    ------
    ImpossibleChoice
        If the scenario names things that do not exist or do not go together.
    """
    return numbers(scenario, choose(scenario, catalog), fitted or coefficients())


def numbers(scenario: Scenario, choice: Choice, fitted: Coefficients) -> Inputs:
    """Numbers of a scenario whose names have been looked up."""
    return Inputs(
        **_workload(scenario, choice.model),
        **_language_model(choice.model),
        **served(scenario, choice, fitted),
        **device(scenario, choice, fitted),
        **_serving(scenario, choice),
        **price_paid(scenario, choice, fitted),
        **capacity(scenario),
        **_overheads(scenario),
    )


def served(scenario: Scenario, choice: Choice, fitted: Coefficients) -> dict[str, float]:
    """Numbers that depend on model, chip, precision and engine, and not on the instance."""
    return {
        **_sample_model(scenario, choice, fitted.assumptions.resident_activation_share),
        **_less_work(scenario, choice),
        **_storage(scenario, choice),
        **_corrected(
            _sparse(_fitted(scenario, choice, fitted), scenario, choice, fitted), scenario
        ),
    }


def _workload(scenario: Scenario, model: Model) -> dict[str, float]:
    shape = model.transformer
    return {
        "is_llm": float(shape is not None),
        "requests_per_s": scenario.requests_per_s,
        "peak_to_mean": scenario.peak_to_mean,
        "success_share": scenario.success_share,
        "input_tokens": float(scenario.input_tokens),
        "output_tokens": float(scenario.output_tokens),
        "cached_input_share": scenario.cached_input_share,
        "arrival_cv": scenario.arrival_cv,
        "output_cv": scenario.output_cv,
        "items_per_request": float(scenario.items_per_request),
        "slo_ttft": scenario.slo_ttft_ms * MILLISECOND,
        "slo_tpot": scenario.slo_tpot_ms * MILLISECOND,
        "slo_latency": scenario.slo_latency_ms * MILLISECOND,
        "max_context": _max_context(model),
    }


def _max_context(model: Model) -> float:
    if model.transformer is not None:
        return float(model.transformer.max_context_tokens)
    longest = model.sample.max_tokens if model.sample else 0
    return float(longest) if longest else math.inf


def _language_model(model: Model) -> dict[str, float]:
    counts, shape = parameters(model), model.transformer
    if shape is None:
        names = (
            "layers", "hidden", "dense_params", "expert_params", "embedding_params", "experts",
            "experts_per_token", "kv_elements", "window_kv_elements", "window_tokens",
            "state_elements", "kv_heads", "prefill_flops_per_pair", "decode_flops_per_pair",
            "window_flops_per_pair",
        )  # fmt: skip
        return dict.fromkeys(names, 0.0) | {"kv_heads": 1.0}
    a = shape.attention
    full, windowed, heads = float(a.layers), float(a.window_layers), float(a.heads)
    kv_heads, head_dim = float(a.kv_heads), float(a.head_dim)
    if a.kv_lora_rank:
        latent, rope = float(a.kv_lora_rank), float(a.qk_rope_dim)
        kv = transformer.latent_kv_elements_per_token(full, latent, rope)
        # Prefill expands the latent to per-head keys and values; decoding multiplies with the
        # latent itself ("absorbed"), which reads little and computes more.
        prefill = transformer.attention_flops_per_pair(
            full, heads, float(a.qk_nope_dim) + rope, float(a.v_dim)
        )
        decode = transformer.attention_flops_per_pair(full, heads, latent + rope, latent)
        ways = 1.0
    else:
        kv = transformer.kv_elements_per_token(full, kv_heads, head_dim)
        prefill = decode = transformer.attention_flops_per_pair(full, heads, head_dim, head_dim)
        ways = kv_heads
    return {
        "layers": float(_layers(shape)),
        "hidden": float(shape.hidden),
        "dense_params": counts.dense,
        "expert_params": counts.experts,
        "embedding_params": counts.embedding,
        "experts": float(shape.experts),
        "experts_per_token": float(shape.experts_per_token),
        "kv_elements": float(kv),
        "window_kv_elements": float(transformer.kv_elements_per_token(windowed, *_window(a))),
        "window_tokens": float(a.window_tokens),
        "state_elements": float(
            transformer.state_elements(
                float(a.linear_layers),
                float(a.linear_value_heads),
                float(a.linear_key_dim),
                float(a.linear_value_dim),
            )
        ),
        "kv_heads": ways,
        "prefill_flops_per_pair": float(prefill),
        "decode_flops_per_pair": float(decode),
        "window_flops_per_pair": float(
            transformer.attention_flops_per_pair(windowed, heads, *_window(a)[1:] * 2)
        ),
    }


def _sample_model(scenario: Scenario, choice: Choice, resident_share: float) -> dict[str, float]:
    model, scheme = choice.model, choice.scheme
    sample = model.sample
    wait = {"batch_wait": scenario.batch_wait_ms * MILLISECOND}
    if sample is None:
        names = (
            "sample_flops", "sample_passes", "sample_weight_bytes", "sample_activation_bytes",
            "sample_resident_bytes", "sample_gather_bytes",
        )  # fmt: skip
        return dict.fromkeys(names, 0.0) | {"sample_passes": 1.0} | wait
    activation_bytes = sample.activation_mb * MB * min(scheme.activation_bits, 16.0) / 16.0
    scale = scenario.work_scale
    linear, quadratic = sample.gflop - sample.attention_gflop, sample.attention_gflop
    length = scenario.input_tokens / sample.reference_tokens if sample.reference_tokens else 1.0
    step_params = sample.step_params_b if sample.step_params_b is not None else model.params_b
    counts = parameters(model)
    stored = _in_memory(scenario, choice)
    # Denoising and decoding repeat the passes; pixels, seconds and rows grow the batch instead.
    passes = sample.sequential_steps * (scale if sample.sequential_steps > 1 else 1.0)
    return {
        "sample_flops": (linear * length + quadratic * length**2) * GIGA * scale,
        "sample_passes": max(passes, 1.0),
        "sample_weight_bytes": step_params * BILLION * stored.dense / counts.dense,
        "sample_activation_bytes": activation_bytes * length * scale,
        "sample_resident_bytes": activation_bytes * length * resident_share
        / sample.sequential_steps,
        "sample_gather_bytes": sample.gather_kb * KB * scale,
    } | wait  # fmt: skip


NO_DRAFT = {
    "draft_tokens": 0.0, "acceptance": 0.0, "draft_layers": 0.0, "draft_params": 0.0,
    "draft_bytes": 0.0, "draft_kv_elements": 0.0, "draft_flops_per_pair": 0.0,
}  # fmt: skip


def _less_work(scenario: Scenario, choice: Choice) -> dict[str, float]:
    """Drafts, early exits, answers from a cache; what a student's training costs comes later."""
    return _draft(scenario, choice) | {
        "exit_share": scenario.exit_share,
        "exit_depth": scenario.exit_depth,
        "answer_hit_share": scenario.answer_hit_share,
        "lookup_time": scenario.lookup_ms * MILLISECOND,
        "lookup_price": scenario.lookup_usd_per_million / MILLION if scenario.answer_hit_share
        else 0.0,
        "training_price": 0.0,
    }  # fmt: skip


def _draft(scenario: Scenario, choice: Choice) -> dict[str, float]:
    """What proposes tokens, as a dense model of its own."""
    shape = choice.model.transformer
    if shape is None or scenario.draft_model == "none":
        return NO_DRAFT
    proposed = {
        "draft_tokens": float(scenario.draft_tokens), "acceptance": scenario.acceptance,
    }  # fmt: skip
    if choice.draft is not None:
        small, numbers = parameters(choice.draft), _language_model(choice.draft)
        return proposed | {
            "draft_layers": numbers["layers"],
            "draft_params": small.active,
            "draft_bytes": _stored(choice.draft, choice.scheme, small).whole,
            "draft_kv_elements": numbers["kv_elements"] + numbers["window_kv_elements"],
            "draft_flops_per_pair": numbers["decode_flops_per_pair"]
            + numbers["window_flops_per_pair"],
        }
    if scenario.draft_model == "ngram":
        return NO_DRAFT | proposed
    # One more layer of the model, with its output head.
    counts, layers = parameters(choice.model), float(_layers(shape))
    own, head = _language_model(choice.model), float(shape.vocabulary * shape.hidden)
    layer = (counts.active - head) / layers
    return proposed | {
        "draft_layers": 1.0,
        "draft_params": layer + head,
        "draft_bytes": (layer + head) * UNQUANTISED_BYTES,
        "draft_kv_elements": (own["kv_elements"] + own["window_kv_elements"]) / layers,
        "draft_flops_per_pair": own["decode_flops_per_pair"] / layers,
    }


def training_cost(scenario: Scenario, choice: Choice, fitted: Coefficients) -> float:
    """Cost of training a student, without its data. [USD]"""
    if choice.teacher is None:
        return 0.0
    chip, requests = choice.accelerator, scenario.training_requests * scenario.training_epochs
    if choice.model.transformer is not None:
        tokens = requests * (scenario.input_tokens + scenario.output_tokens)
        flops = distillation.training_flops(parameters(choice.model).active, tokens)
    else:
        # The backward pass takes twice the arithmetic of the forward pass.
        one = _sample_model(scenario, choice, 0.0)["sample_flops"] * scenario.items_per_request
        flops = 3.0 * one * requests
    precision = arithmetic_on(chip, "bf16") or choice.arithmetic
    own = scenario.training_usd_per_device_hour
    price = own / HOUR if own is not None else _device_price(scenario, choice, fitted)
    return float(
        distillation.training_cost(
            flops, chip.dense_tflops[precision] * TFLOPS * _socket_share(choice),
            scenario.training_utilisation, price,
        )
    )  # fmt: skip


def _device_price(scenario: Scenario, choice: Choice, fitted: Coefficients) -> float:
    """Price of one device of an instance. [USD/s]"""
    price = price_paid(scenario, choice, fitted)
    return price["instance_price"] / price["devices_per_instance"]


def _in_memory(scenario: Scenario, choice: Choice) -> _Stored:
    """Bytes of the parts of a model where they are multiplied."""
    fewer = _without_zeros(scenario) if choice.skips_zeros else None
    return _stored(choice.model, choice.scheme, parameters(choice.model), fewer)


def _storage(scenario: Scenario, choice: Choice) -> dict[str, float]:
    stored, counts = _in_memory(scenario, choice), parameters(choice.model)
    at_rest = _stored(choice.model, choice.scheme, counts, _without_zeros(scenario))
    return {
        "stored_share": at_rest.whole / stored.whole,
        "dense_bytes": stored.dense,
        "expert_bytes": stored.experts,
        "embedding_bytes": stored.embedding,
        "kv_bytes_per_element": KV_BITS[scenario.kv_precision] / BITS_PER_BYTE,
    }


def device(scenario: Scenario, choice: Choice, fitted: Coefficients) -> dict[str, float]:
    """Numbers of one device; of a CPU, the share of sockets that its instance is."""
    chip, assumed = choice.accelerator, fitted.assumptions
    # The datasheet's peak with two of four weights left out.
    skipped = 1.0 / pruning.KEPT_OF_2_4 if _two_of_four(scenario, choice) else 1.0
    # Attention works in 16 bits; a chip without published 16-bit speed uses what it has.
    wide = arithmetic_on(chip, "bf16") or choice.arithmetic
    assert chip.memory_bandwidth_gb_per_s is not None  # choose() has refused it
    share = _socket_share(choice)
    if chip.kind == "cpu":
        instance_gb = choice.instance.memory_gb if choice.instance else None
        memory_gb = instance_gb or chip.memory_gb or assumed.cpu_memory_gb
    else:
        assert chip.memory_gb is not None
        memory_gb = chip.memory_gb
    peak_power = math.nan if chip.tdp_w is None else chip.tdp_w * share
    idle_power = (
        peak_power * assumed.idle_power_share if chip.idle_w is None else chip.idle_w * share
    )
    link = chip.link_gb_per_s or assumed.unknown_link_gb_per_s
    return {
        "peak_flops": chip.dense_tflops[choice.arithmetic] * TFLOPS * share * skipped,
        "expert_peak_flops": chip.dense_tflops[expert_arithmetic(choice)]
        * TFLOPS
        * share
        * skipped,
        "attention_peak_flops": chip.dense_tflops[wide] * TFLOPS * share,
        "memory_bandwidth": chip.memory_bandwidth_gb_per_s * GB * share,
        # Chips of memory come in powers of two: a card of 80 GB holds 80 GiB.
        "memory_capacity": memory_gb * GIB,
        "link_bandwidth": link * GB,
        "slow_link_bandwidth": slow_link(chip, choice.instance, fitted),
        "fast_domain": float(fast_domain(chip, choice.instance)),
        "peak_power": peak_power,
        "idle_power": idle_power,
    }


def _two_of_four(scenario: Scenario, choice: Choice) -> bool:
    return choice.skips_zeros and scenario.sparsity == "two_of_four"


def _sparse(
    values: dict[str, float], scenario: Scenario, choice: Choice, fitted: Coefficients
) -> dict[str, float]:
    """Fitted coefficients of dense multiplications, for sparse ones: less of a higher peak."""
    if not _two_of_four(scenario, choice):
        return values
    gain = fitted.assumptions.two_of_four_speedup
    # What a multiplication needs to get going takes as long as before.
    changed = {
        "compute_efficiency": gain * pruning.KEPT_OF_2_4,
        "expert_efficiency": gain * pruning.KEPT_OF_2_4,
        "half_flops": gain, "half_tokens": gain, "expert_half_tokens": gain,
    }  # fmt: skip
    return values | {name: values[name] * factor for name, factor in changed.items()}


def _socket_share(choice: Choice) -> float:
    """Sockets that a CPU replica has: the instance it fills. One device of anything else."""
    if choice.accelerator.kind != "cpu" or choice.instance is None:
        return 1.0
    return choice.instance.accelerator_count


def _serving(scenario: Scenario, choice: Choice) -> dict[str, float]:
    alone = choice.devices_per_replica == 1.0
    return {
        "tensor_parallel": 1.0 if alone else float(scenario.tensor_parallel),
        "pipeline_parallel": 1.0 if alone else float(scenario.pipeline_parallel),
        "data_parallel": 1.0 if alone else float(scenario.data_parallel),
        "expert_parallel": 1.0 if alone else float(scenario.expert_parallel),
        "concurrency": float(scenario.concurrency),
        "memory_share": scenario.memory_share,
        "devices_per_replica": choice.devices_per_replica,
        **_mode(scenario, choice.model),
    }


def _mode(scenario: Scenario, model: Model) -> dict[str, float]:
    """How requests share a replica. Without a token loop there are no steps at which to join."""
    tokens, way = model.transformer is not None, scenario.batching
    share, chunk = scenario.prefill_replicas, scenario.prefill_chunk_tokens
    in_batches = tokens and way in ("dynamic", "static")
    # One long pass reads all prompts of a whole batch.
    return {
        "whole_batches": float(in_batches),
        "full_batches": float(way == "static"),
        "disaggregated": float(tokens and way == "disaggregated"),
        "prefill_replicas": share or 0.0,
        "prefill_chunk": math.inf if chunk is None or in_batches else float(chunk),
    }


def expert_arithmetic(choice: Choice) -> Precision:
    """Number format in which experts are multiplied.

    Blackwell multiplies 4-bit experts with 8-bit activations where the rest is in 16 bits.
    """
    known, scheme = choice.accelerator.dense_tflops, choice.scheme
    if scheme.experts_only and scheme.weight_bits <= 4 and "fp4" in known and "fp8" in known:
        return "fp8"
    return choice.arithmetic


ARITHMETIC_BITS: dict[Precision, float] = {
    "fp32": 32, "tf32": 32, "bf16": 16, "fp8": 8, "int8": 8, "fp4": 4, "int4": 4,
}  # fmt: skip
"""Bits of one number in a format."""


TENSOR_OVER_VECTOR = 16.0
"""Peak of 16-bit over 32-bit arithmetic, of chips whose maker publishes no 32-bit peak."""


def vector_flops(accelerator: Accelerator) -> float:
    """Peak of the units that expand weights. [FLOP/s]"""
    known = accelerator.dense_tflops
    wide = known.get("bf16") or max(known.values())
    return known.get("fp32", wide / TENSOR_OVER_VECTOR) * TFLOPS


def expands_weights(choice: Choice) -> bool:
    """Whether weights are expanded to a wider format before they are multiplied.

    Integer units take packed integers as they are. Where only experts are packed, their own
    efficiency was measured with the expansion in it.
    """
    scheme, arithmetic = choice.scheme, choice.arithmetic
    wide = min(ARITHMETIC_BITS[arithmetic], ARITHMETIC_BITS["bf16"])
    packed = scheme.weight_bits < wide and not scheme.experts_only
    return packed and arithmetic not in ("int8", "int4")


def _fitted(scenario: Scenario, choice: Choice, fitted: Coefficients) -> dict[str, float]:
    chip, engine = fitted.chip(choice.accelerator), fitted.engine(choice.engine.id)
    general = fitted.general
    _, pair = fitted.serving_pairing(
        choice.model, choice.accelerator, choice.arithmetic, choice.engine.id, choice.scheme.id
    )
    shape = choice.model.transformer
    # Copies that exchange tokens of experts begin their prompts together.
    together = scenario.data_parallel > 1 and shape is not None and shape.experts > 0
    longer = 1.0 + general.ttft_copies * together
    first = {
        "ttft_prefill": engine.ttft_prefill,
        "ttft_burst": engine.ttft_burst,
        "ttft_queue": engine.ttft_queue,
        "ttft_step": engine.ttft_step,
        "ttft_start": engine.ttft_start_ms * MILLISECOND,
    }
    first |= {name: first[name] * getattr(pair, name) for name in FIRST_OF_PAIRING}
    first |= {name: first[name] * longer for name in FIRST_OF_COPIES}
    common = first | {
        "exponent": fitted.exponent,
        "attention_efficiency": chip.attention_efficiency,
        "decode_attention_efficiency": chip.decode_attention_efficiency,
        "cache_efficiency": chip.cache_efficiency,
        "link_efficiency": chip.link_efficiency,
        "collective_latency": chip.collective_latency_us * MICROSECOND,
        "slow_link_efficiency": general.slow_link_efficiency,
        "slow_collective_latency": general.slow_collective_latency_us * MICROSECOND,
        "sequence_overhead": engine.sequence_overhead_us * MICROSECOND,
        "prefill_interference": engine.prefill_interference,
        "prefill_waited": engine.ttft_queue,
        "host_time": engine.host_us * MICROSECOND,
        "output_reserve": engine.output_reserve,
        "fixed_factor": pair.fixed,
        "sequence_factor": pair.sequence,
        "prompt_factor": pair.prompt,
        "ttft_log_sd": fitted.assumptions.ttft_log_sd,
    }
    if shape is not None:
        experts = expert_arithmetic(choice)
        expansion = Expansion()
        if expands_weights(choice):
            expansion = fitted.compression.expansion_on(choice.accelerator)
        more = (
            general.expert_layer_overhead * bool(shape.experts)
            + general.latent_layer_overhead * bool(shape.attention.kv_lora_rank)
            + general.linear_layer_overhead * bool(shape.attention.linear_layers)
        )
        passes = general.activation_passes + (
            general.expert_activation_passes * shape.experts_per_token
        )
        return common | {
            "compute_efficiency": _efficiency(chip.compute_efficiency, choice, choice.arithmetic),
            "half_tokens": chip.half_tokens,
            "scheme_work": expansion.work,
            "expansion_time": expansion.flops_per_weight / vector_flops(choice.accelerator),
            "expert_efficiency": _efficiency(chip.expert_efficiency, choice, experts),
            "expert_half_tokens": chip.expert_half_tokens,
            "half_flops": 0.0,
            "memory_efficiency": chip.memory_efficiency,
            "expert_memory_efficiency": chip.expert_memory_efficiency,
            "gather_efficiency": chip.memory_efficiency,
            "activation_bytes_per_token": passes * _layers(shape) * shape.hidden
            * UNQUANTISED_BYTES,
            "layer_overhead": engine.layer_overhead_us * (1.0 + more) * MICROSECOND,
            "step_overhead": engine.step_overhead_us * MICROSECOND,
            "workspace_bytes": fitted.assumptions.workspace_gb * GB
            if choice.accelerator.kind != "cpu" else 0.0,
            "latency_log_sd": fitted.assumptions.latency_log_sd,
        }  # fmt: skip
    sample = fitted.sample(choice.model.model_class)
    peak = choice.accelerator.dense_tflops[choice.arithmetic]
    return (
        common
        | _no_slower_than_wider(pair, choice, fitted)
        | {
            "compute_efficiency": sample.compute_efficiency,
            "half_tokens": 0.0,
            "scheme_work": fitted.compression.narrow_work(choice.accelerator, choice.arithmetic),
            "expansion_time": 0.0,
            "expert_efficiency": 1.0,
            "expert_half_tokens": 0.0,
            "half_flops": sample.half_gflop * GIGA * peak / 100.0,
            "memory_efficiency": sample.memory_efficiency,
            "expert_memory_efficiency": 1.0,
            "gather_efficiency": sample.gather_efficiency,
            "activation_bytes_per_token": 0.0,
            "layer_overhead": sample.pass_overhead_us * MICROSECOND,
            "step_overhead": sample.batch_overhead_us * MICROSECOND,
            "workspace_bytes": 0.0,
            "latency_log_sd": sample.latency_log_sd,
        }
    )


def _no_slower_than_wider(pair: Pairing, choice: Choice, fitted: Coefficients) -> dict[str, float]:
    """Factors on the time of a batch: with borrowed ones, a wider format is never quicker.

    What was measured in one format, often with other software, says little of another. But narrow
    numbers can always be multiplied in the wider format.
    """
    chip, engine = choice.accelerator, choice.engine.id
    fixed, sequence = pair.fixed, pair.sequence

    peak, precision = chip.dense_tflops[choice.arithmetic], choice.arithmetic
    while not pair.rows_here and (wider := WIDER.get(precision)) is not None:
        precision = wider
        if precision in chip.dense_tflops:
            _, other = fitted.serving_pairing(choice.model, chip, precision, engine, precision)
            fixed = min(fixed, other.fixed)
            sequence = min(sequence, other.sequence * peak / chip.dense_tflops[precision])
    return {"fixed_factor": fixed, "sequence_factor": sequence}


STEP_TIMES = ("fixed_factor", "sequence_factor", "prompt_factor")
"""Factors that multiply all of a step's time."""
FIRST_TOKEN_TIMES = ("ttft_prefill", "ttft_burst", "ttft_queue", "ttft_step", "ttft_start")
"""Factors and times of which every term of the time to first token has one."""
FIRST_OF_PAIRING = ("ttft_prefill", "ttft_burst", "ttft_step", "ttft_start")
"""Those for which a pairing has a factor, by the name of the factor."""
FIRST_OF_COPIES = ("ttft_prefill", "ttft_burst", "ttft_step")
"""Those that are longer where copies of the attention layers begin prompts together."""


def _corrected(values: dict[str, float], scenario: Scenario) -> dict[str, float]:
    """Fitted coefficients times what the user's own runs say."""
    step, first = scenario.step_time_correction, scenario.first_token_correction
    return (
        values
        | {name: values[name] * step for name in STEP_TIMES}
        | {name: values[name] * first for name in FIRST_TOKEN_TIMES}
    )


def _efficiency(known: Mapping[Precision, float], choice: Choice, arithmetic: Precision) -> float:
    """Share of the peak in the arithmetic used: at least the speed of the next wider one.

    Narrow numbers can always be multiplied in a wider format, so a coefficient that is borrowed
    must not make them slower.
    """
    peaks = choice.accelerator.dense_tflops
    usual = known.get("bf16") or min(known.values())
    best, precision = 0.0, arithmetic
    peak = peaks[precision]
    while (wider := WIDER.get(precision)) is not None:
        best = max(best, peaks.get(precision, 0.0) * known.get(precision, usual))
        precision = wider
    return min(max(best, peak * known.get(arithmetic, usual)) / peak, 1.0)


def price_paid(scenario: Scenario, choice: Choice, fitted: Coefficients) -> dict[str, float]:
    """Price of the instance after all price options, and what it has for that."""
    devices = choice.instance.accelerator_count if choice.instance else choice.devices_per_replica
    if scenario.device_price_usd_per_hour is not None:
        hourly = scenario.device_price_usd_per_hour * devices
    else:
        assert choice.price is not None  # choose() has refused it
        hourly = choice.price.usd_per_hour
    spot = scenario.purchase == "spot"
    committed = scenario.purchase in ("reserved_1y", "reserved_3y")
    hourly = float(
        pricing.effective_price(
            hourly,
            scenario.discount_share,
            _spot_overhead(scenario) if spot else 0.0,
            scenario.unused_commitment_share if committed else 0.0,
        )
    )
    if falls_back(scenario):
        assert choice.fallback is not None  # choose() has refused it
        instead = pricing.effective_price(
            choice.fallback.usd_per_hour, scenario.discount_share, 0.0, 0.0
        )
        hourly = float(ownership.price_with_fallback(hourly, instead, scenario.spot_fallback_share))
    return {
        "instance_price": hourly / HOUR,
        # A CPU instance is one replica, so it counts as one device.
        "devices_per_instance": 1.0 if choice.accelerator.kind == "cpu" else devices,
        "memory_price_share": _memory_share(scenario, choice, fitted),
    }


def _spot_overhead(scenario: Scenario) -> float:
    """Capacity beyond what works, as it is stated or from how often spot is taken away."""
    if scenario.spot_interruptions_per_month is None:
        return scenario.spot_overhead_share
    return float(
        ownership.spot_overhead(
            scenario.spot_interruptions_per_month / MONTH,
            scenario.spot_restart_minutes * MINUTE,
            scenario.spot_lost_minutes * MINUTE,
        )
    )


def _memory_share(scenario: Scenario, choice: Choice, fitted: Coefficients) -> float:
    """Part of an instance's price that is shown as memory."""
    if scenario.memory_price_share is not None:
        return scenario.memory_price_share
    assumed = fitted.assumptions
    if choice.accelerator.kind == "cpu":
        return assumed.ram_share_cpu
    return assumed.ram_share_accelerated + assumed.accelerator_share * assumed.device_memory_share


def capacity(scenario: Scenario) -> dict[str, float]:
    """How many replicas there are, by the names of the inputs."""
    older, least = scenario.old_traffic_share, scenario.old_min_replicas
    return {
        "replicas_follow": float(scenario.scaling == "follow"),
        "fixed_replicas": float(scenario.fixed_replicas) if scenario.scaling == "fixed" else 0.0,
        "min_replicas": float(scenario.min_replicas),
        "spare_replicas": float(scenario.spare_replicas),
        "target_utilisation": scenario.target_utilisation,
        "scaling_lag_share": scenario.scaling_lag_share,
        "counted_replicas": -1.0,
        "counted_instances": -1.0,
        "nonproduction_share": scenario.nonproduction_share,
        "live_versions": float(scenario.live_versions),
        "old_traffic_share": -1.0 if older is None else older,
        "old_min_replicas": float(scenario.min_replicas if least is None else least),
        "stored_versions": float(max(scenario.stored_versions, scenario.live_versions)),
    }


def _overheads(scenario: Scenario) -> dict[str, float]:
    return {
        "storage_price": scenario.storage_usd_per_gb_month / GB / MONTH,
        "object_storage_price": scenario.object_storage_usd_per_gb_month / GB / MONTH,
        "image_bytes": scenario.image_gb * GB,
        "log_bytes": scenario.log_kb_per_request * KB,
        "log_price": scenario.log_usd_per_gb / GB,
        "request_bytes": scenario.request_kb * KB,
        "response_bytes": scenario.response_kb * KB,
        "egress_share": scenario.egress_share,
        "egress_price": scenario.egress_usd_per_gb / GB,
        "cross_zone_share": scenario.cross_zone_share,
        "cross_zone_price": scenario.cross_zone_usd_per_gb / GB,
        "load_balancer_price": scenario.load_balancer_usd_per_hour / HOUR,
        "load_balancer_byte_price": scenario.load_balancer_usd_per_gb / GB,
        "control_plane_price": scenario.control_plane_usd_per_hour / HOUR,
        "monitoring_price": scenario.monitoring_usd_per_instance_month / MONTH,
        "agent_share": scenario.agent_share,
        "platform_share": scenario.platform_share,
        "on_call_price": scenario.on_call_usd_per_month / MONTH,
        "pue": scenario.pue,
        "carbon_intensity": scenario.grid_g_co2_per_kwh / KILOWATT_HOUR,
    }
