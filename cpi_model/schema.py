"""The shape of everything under ``data/``: one model for each kind of file.

Units are in the keys. Unknown keys are refused. Every number names a source, every source names
the fields that it covers, and loading fails when the two do not agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$", max_length=60)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
# Bounded, because a number in a date's place would pass as seconds since 1970.
Day = Annotated[date, Field(ge=date(2006, 1, 1), le=date(2099, 12, 31))]

Precision = Literal["fp32", "tf32", "bf16", "fp8", "int8", "fp4", "int4"]
"""Number formats that arithmetic units work in; bf16 stands for bf16 and fp16."""
ModelClass = Literal["llm", "encoder", "vision", "diffusion", "speech", "recommender", "trees"]
Purchase = Literal["on_demand", "spot", "reserved_1y", "reserved_3y"]
SourceKind = Literal["datasheet", "paper", "measurement", "quote", "repository", "assumption"]


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(Strict):
    """Where a group of numbers comes from."""

    title: str = Field(min_length=1)
    accessed: Day
    kind: SourceKind
    covers: tuple[str, ...] = Field(min_length=1)
    note: str = ""


def _numbers(record: BaseModel, prefix: str = "") -> Iterator[str]:
    """Dotted names of every number that a file states; a default is not a statement."""
    for name in type(record).model_fields:
        value = getattr(record, name)
        if name == "sources" or name not in record.model_fields_set:
            continue
        if isinstance(value, BaseModel):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, dict):
            yield from (f"{prefix}{name}.{key}" for key, item in value.items() if _is_number(item))
        elif _is_number(value):
            yield prefix + name


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class Sourced(Strict):
    """A record in which every number must be covered by exactly the sources it names.

    ``covers`` lists field names; a table's name (``dense_tflops``) covers all that is in it.
    """

    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _every_number_has_a_source(self) -> Sourced:
        numbers = set(_numbers(self))
        covered: set[str] = set()
        for source in self.sources:
            for name in source.covers:
                matched = {n for n in numbers if n == name or n.startswith(name + ".")}
                if not matched:
                    raise ValueError(
                        f"source '{source.title}' covers '{name}', which has no number"
                    )
                covered |= matched
        if missing := sorted(numbers - covered):
            raise ValueError(f"no source covers {', '.join(missing)}")
        return self

    def source_of(self, field: str) -> Source | None:
        """Source of one field, by its dotted name."""
        for source in self.sources:
            if any(field == name or field.startswith(name + ".") for name in source.covers):
                return source
        return None


class Accelerator(Sourced):
    """A GPU, TPU, ASIC, CPU or edge part; figures are per device (per socket for a CPU)."""

    id: Id
    name: str
    vendor: str
    kind: Literal["gpu", "tpu", "asic", "cpu", "edge"]
    generation: Id
    """Chips of one generation share fitted coefficients (``hopper``, ``cdna3``, ``trainium``)."""
    year: int = Field(ge=2010, le=2035)
    memory_gb: Positive | None = None
    """Memory of the device; empty for CPUs, whose memory comes with the instance."""
    memory_bandwidth_gb_per_s: Positive | None = None
    link_gb_per_s: Positive | None = None
    """Bandwidth to peers of the fast domain, one direction, per device."""
    link: str = ""
    fast_domain_devices: Count = 1
    """Devices that reach each other over ``link``."""
    threads: Count | None = None
    """Hardware threads of a CPU socket: turns an instance's vCPUs into a share of the socket."""
    tdp_w: Positive | None = None
    idle_w: NotNegative | None = None
    street_price_usd: Positive | None = None
    dense_tflops: dict[Precision, Positive] = {}
    """Peak without structured sparsity, by number format."""
    sparse_2_4: bool = False
    conflicts: str = ""
    """Where sources disagree, and which value was taken."""


class Attention(Strict):
    """Shape of the attention layers of a language model."""

    layers: int = Field(ge=0)
    """Layers with full attention over the whole context."""
    heads: Count
    kv_heads: Count
    head_dim: Count
    window_layers: int = Field(ge=0, default=0)
    """Further layers with attention over a sliding window only."""
    window_tokens: int = Field(ge=0, default=0)
    window_kv_heads: int = Field(ge=0, default=0)
    """Key-value heads of layers with a window; 0 for as many as ``kv_heads``."""
    window_head_dim: int = Field(ge=0, default=0)
    """Width of a head of layers with a window; 0 for ``head_dim``."""
    output_gate: bool = False
    """Full-attention layers multiply their output by a gate with a projection of its own."""
    linear_layers: int = Field(ge=0, default=0)
    """Further layers with linear attention or a state space: constant memory per sequence."""
    linear_key_heads: int = Field(ge=0, default=0)
    linear_value_heads: int = Field(ge=0, default=0)
    linear_key_dim: int = Field(ge=0, default=0)
    linear_value_dim: int = Field(ge=0, default=0)
    q_lora_rank: int = Field(ge=0, default=0)
    kv_lora_rank: int = Field(ge=0, default=0)
    """Latent size of multi-head latent attention; 0 where keys and values are stored plainly."""
    qk_nope_dim: int = Field(ge=0, default=0)
    qk_rope_dim: int = Field(ge=0, default=0)
    v_dim: int = Field(ge=0, default=0)

    @model_validator(mode="after")
    def _parts_fit(self) -> Attention:
        if self.layers + self.window_layers + self.linear_layers == 0:
            raise ValueError("one of layers, window_layers and linear_layers must be 1 or more")
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads is {self.kv_heads}, must divide heads ({self.heads})")
        if (self.window_layers > 0) != (self.window_tokens > 0):
            raise ValueError("window_layers and window_tokens must be given together")
        linear = (
            self.linear_key_heads, self.linear_value_heads,
            self.linear_key_dim, self.linear_value_dim,
        )  # fmt: skip
        if any((size > 0) != (self.linear_layers > 0) for size in linear):
            raise ValueError("linear_layers and the four linear sizes must be given together")
        latent = (self.qk_nope_dim, self.qk_rope_dim, self.v_dim)
        if any((size > 0) != (self.kv_lora_rank > 0) for size in latent):
            raise ValueError(
                "kv_lora_rank, qk_nope_dim, qk_rope_dim and v_dim must be given together"
            )
        return self


class Transformer(Strict):
    """Architecture of a decoder-only language model."""

    hidden: Count
    vocabulary: Count
    tied_embeddings: bool
    attention: Attention
    dense_layers: int = Field(ge=0)
    """Layers with a dense feed-forward block."""
    dense_intermediate: int = Field(ge=0)
    gated: bool = True
    """Three matrices in a feed-forward block (SwiGLU) instead of two."""
    moe_layers: int = Field(ge=0, default=0)
    experts: int = Field(ge=0, default=0)
    experts_per_token: int = Field(ge=0, default=0)
    expert_intermediate: int = Field(ge=0, default=0)
    shared_experts: int = Field(ge=0, default=0)
    shared_intermediate: int = Field(ge=0, default=0)
    """Width of one shared expert."""
    max_context_tokens: Count

    @model_validator(mode="after")
    def _parts_fit(self) -> Transformer:
        if self.dense_layers + self.moe_layers == 0:
            raise ValueError("one of dense_layers and moe_layers must be 1 or more")
        if (self.dense_layers > 0) != (self.dense_intermediate > 0):
            raise ValueError("dense_layers and dense_intermediate must be given together")
        sizes = (self.experts, self.experts_per_token, self.expert_intermediate)
        if any((size > 0) != (self.moe_layers > 0) for size in sizes):
            raise ValueError(
                "moe_layers, experts, experts_per_token and expert_intermediate must be given "
                "together"
            )
        if self.experts_per_token > self.experts:
            raise ValueError(
                f"experts_per_token is {self.experts_per_token}, must be at most experts "
                f"({self.experts})"
            )
        if (self.shared_experts > 0) != (self.shared_intermediate > 0):
            raise ValueError("shared_experts and shared_intermediate must be given together")
        return self


class Sample(Strict):
    """What one sample of a model without a token-by-token loop costs.

    A sample is an image, a sequence of ``reference_tokens`` tokens, a user-item pair, 30 seconds
    of audio, one row of a table.
    """

    unit: str
    """Name of one sample, for people: ``image``, ``sequence``, ``row``."""
    gflop: NotNegative
    """FLOPs of one sample at the reference size, all sequential steps included."""
    attention_gflop: NotNegative = 0.0
    """Part of ``gflop`` that grows with the square of the tokens."""
    reference_tokens: int = Field(ge=0, default=0)
    """Tokens that ``gflop`` stands for (encoders); 0 where length plays no part."""
    max_tokens: int = Field(ge=0, default=0)
    """Longest text that the model accepts; 0 where length plays no part."""
    sequential_steps: Count = 1
    """Passes over the weights in one sample: denoising steps, decoded tokens."""
    step_params_b: NotNegative | None = None
    """Parameters read in each sequential step, if not all of them."""
    activation_mb: NotNegative = 0.0
    """Activations written and read again per sample, at 2 bytes each."""
    gather_kb: NotNegative = 0.0
    """Bytes fetched at random addresses per sample: embedding rows, tree nodes."""
    gflop_by_width: dict[str, Positive] = {}
    """``gflop`` of square images of other widths, by the width in pixels."""


class Model(Sourced):
    """A model that can be served."""

    id: Id
    name: str
    maker: str
    model_class: ModelClass
    released: Day | None = None
    native_precision: Precision = "bf16"
    params_b: Positive
    """Published total, in billions."""
    active_params_b: Positive | None = None
    """Published parameters used per token, in billions, for mixtures of experts."""
    params_from: Literal["architecture", "published"] = "architecture"
    """``published`` where the architecture cannot be written in this schema (a note says why)."""
    architecture_of: Id | None = None
    """Another model with the same layers: what was measured for one holds for the other."""
    also: tuple[str, ...] = ()
    """Names in published tables of this model or of one with the same layers."""
    transformer: Transformer | None = None
    sample: Sample | None = None
    quality: dict[str, float] = {}
    note: str = ""

    @model_validator(mode="after")
    def _one_shape(self) -> Model:
        if (self.model_class == "llm") != (self.transformer is not None):
            raise ValueError("a model of class llm needs [transformer], every other needs [sample]")
        if (self.transformer is None) == (self.sample is None):
            raise ValueError("give exactly one of [transformer] and [sample]")
        if self.params_from == "published" and not self.note:
            raise ValueError("params_from is 'published', must come with a note that says why")
        return self


class ModelRow(Strict):
    """A model of a published benchmark, as a row of ``models/measured.csv``.

    Language models by their layers, others by the work of one sample; one source for all figures
    but the activations, which nobody publishes.
    """

    id: Id
    name: str
    maker: str
    model_class: ModelClass
    params_b: Positive
    layers: int = Field(ge=0, default=0)
    hidden: int = Field(ge=0, default=0)
    heads: int = Field(ge=0, default=0)
    kv_heads: int = Field(ge=0, default=0)
    head_dim: int = Field(ge=0, default=0)
    intermediate: int = Field(ge=0, default=0)
    gated: bool = False
    vocabulary: int = Field(ge=0, default=0)
    tied_embeddings: bool = False
    attention_layers: int = Field(ge=0, default=0)
    """Where they are more than ``layers``: attention of a decoder to its encoder."""
    experts: int = Field(ge=0, default=0)
    experts_per_token: int = Field(ge=0, default=0)
    expert_intermediate: int = Field(ge=0, default=0)
    shared_intermediate: int = Field(ge=0, default=0)
    max_context_tokens: int = Field(ge=0, default=0)
    gflop: NotNegative = 0.0
    attention_gflop: NotNegative = 0.0
    reference_tokens: int = Field(ge=0, default=0)
    max_tokens: int = Field(ge=0, default=0)
    activation_mb: NotNegative = 0.0
    gflop_by_width: str = ""
    """``width:gflop`` pairs with semicolons between."""
    also: str = ""
    """Other names, with semicolons between."""
    source: str = Field(min_length=1)
    accessed: Day
    source_kind: SourceKind
    note: str = ""

    def model(self) -> Model:
        """The same as an entry of the catalog."""
        if self.model_class == "llm":
            shape: dict[str, object] = {"transformer": self._transformer()}
            covers = ["params_b", "transformer"]
        else:
            shape = {"sample": self._sample()}
            covers = ["params_b", *(f"sample.{name}" for name in self._sample() if name in KNOWN)]
        sources = [
            {
                "title": self.source, "accessed": self.accessed, "kind": self.source_kind,
                "covers": covers, "note": self.note,
            }
        ]  # fmt: skip
        if self.model_class != "llm":
            sources.append(
                {
                    "title": "rule of thumb from the work of a sample", "accessed": self.accessed,
                    "kind": "assumption", "covers": ["sample.activation_mb"],
                }
            )  # fmt: skip
        return Model.model_validate(
            {
                "id": self.id, "name": self.name, "maker": self.maker,
                "model_class": self.model_class, "params_b": self.params_b,
                "also": tuple(filter(None, self.also.split(";"))), "sources": sources,
                "note": self.note,
            } | shape
        )  # fmt: skip

    def _transformer(self) -> dict[str, object]:
        experts = {
            "moe_layers": self.layers, "experts": self.experts,
            "experts_per_token": self.experts_per_token,
            "expert_intermediate": self.expert_intermediate,
        }  # fmt: skip
        shared = {"shared_experts": 1, "shared_intermediate": self.shared_intermediate}
        whole = {
            "hidden": self.hidden, "vocabulary": self.vocabulary,
            "tied_embeddings": self.tied_embeddings, "gated": self.gated,
            "max_context_tokens": self.max_context_tokens,
            "dense_layers": 0 if self.experts else self.layers,
            "dense_intermediate": self.intermediate,
            "attention": {
                "layers": self.attention_layers or self.layers, "heads": self.heads,
                "kv_heads": self.kv_heads, "head_dim": self.head_dim,
            },
        }  # fmt: skip
        return (
            whole | (experts if self.experts else {}) | (shared if self.shared_intermediate else {})
        )

    def _sample(self) -> dict[str, object]:
        text = {
            "attention_gflop": self.attention_gflop, "reference_tokens": self.reference_tokens,
            "max_tokens": self.max_tokens,
        } if self.reference_tokens else {}  # fmt: skip
        widths = dict(pair.split(":") for pair in filter(None, self.gflop_by_width.split(";")))
        return {
            "unit": "sequence" if self.model_class == "encoder" else "image",
            "gflop": self.gflop, "activation_mb": self.activation_mb,
        } | text | ({"gflop_by_width": widths} if widths else {})  # fmt: skip


KNOWN = {"gflop", "attention_gflop", "reference_tokens", "max_tokens", "gflop_by_width"}
"""Figures of a sample that a row of models states by its source."""


class Scheme(Sourced):
    """A way to store and multiply weights: bf16, fp8, int4 weight-only, ..."""

    id: Id
    name: str
    weight_bits: Positive
    """Bits of one weight in a quantised layer, without scales."""
    group_size: int = Field(ge=0)
    """Weights that share a scale; 0 for one scale per channel (negligible)."""
    scale_bits: NotNegative = 0.0
    zero_point_bits: NotNegative = 0.0
    activation_bits: Positive
    arithmetic: Precision
    """Number format of the matrix multiplication; falls back along ``fallback``."""
    weight_only: bool = False
    """Weights are expanded to ``arithmetic`` before the multiplication."""
    experts_only: bool = False
    """Only expert weights are quantised; the rest stays at 16 bits (gpt-oss in mxfp4)."""
    quantised_share: Share = 1.0
    """Share of the linear weights that is quantised; embeddings and output head never are."""
    note: str = ""

    @model_validator(mode="after")
    def _scales_belong_to_groups(self) -> Scheme:
        if self.group_size == 0 and self.scale_bits + self.zero_point_bits > 0:
            raise ValueError("group_size is 0, must be 1 or more where scales have a size")
        return self


class Engine(Sourced):
    """Software that runs the model."""

    id: Id
    name: str
    model_classes: tuple[ModelClass, ...] = Field(min_length=1)
    kinds: tuple[Literal["gpu", "tpu", "asic", "cpu", "edge"], ...] = Field(min_length=1)
    vendors: tuple[str, ...] = ()
    """Vendors whose chips it supports; empty for all."""
    gpu_vendors: tuple[str, ...] = ()
    """Vendors whose GPUs it supports, where that is fewer; empty for the same."""
    schemes: tuple[Id, ...] = Field(min_length=1)
    sparsity: tuple[Literal["unstructured", "two_of_four"], ...] = ()
    """Patterns of zero weights that its kernels leave out."""
    start_s: NotNegative
    """Time from process start to ready, without loading weights."""
    note: str = ""


class Instance(Strict):
    """An instance type that can be rented, or a share of an owned cluster."""

    id: str = Field(pattern=r"^[a-z0-9\-]+/[A-Za-z0-9_.\-]+$")
    """``cloud/type``."""
    cloud: Id
    instance_type: str
    accelerator: Id
    accelerator_count: Positive
    """Devices; for a CPU instance the share of a socket (or several) that its vCPUs are."""
    vcpus: Positive | None
    memory_gb: Positive | None
    network_gbit_per_s: Positive | None
    tenure: Literal["rent", "owned"] = "rent"
    """``owned``: a total cost of ownership per device-hour, not an offer."""
    source: str = Field(min_length=1)
    accessed: Day
    note: str = ""


class InstancePrice(Strict):
    """What an instance cost from a day on; a new price is a new row."""

    instance: str
    region: str
    purchase: Purchase
    usd_per_hour: Positive
    valid_from: Day
    source: str = Field(min_length=1)
    kind: SourceKind
    note: str = ""


class ApiPrice(Strict):
    """What a hosted model costs per million tokens."""

    provider: str
    api_model: str
    model: Id | None
    """Model of our catalog that it serves, where known."""
    input_usd_per_mtok: NotNegative
    cached_input_usd_per_mtok: NotNegative | None
    output_usd_per_mtok: NotNegative
    batch_discount_share: Share | None
    valid_from: Day
    source: str = Field(min_length=1)
    note: str = ""

    @model_validator(mode="after")
    def _cached_input_is_a_discount(self) -> ApiPrice:
        cached = self.cached_input_usd_per_mtok
        if cached is not None and cached > self.input_usd_per_mtok:
            raise ValueError(f"cached input costs {cached}, more than input")
        return self


class ServicePrice(Strict):
    """Storage, network, control plane, load balancer, logging: what surrounds the instances."""

    cloud: str
    category: str
    item: str
    region: str
    value: NotNegative
    unit: str = Field(min_length=1)
    valid_from: Day
    source: str = Field(min_length=1)
    kind: SourceKind
    note: str = ""


class EnergyFact(Strict):
    """Grid carbon, PUE, electricity and colocation prices, power of parts, useful lives."""

    category: str
    place: str
    metric: str
    value: NotNegative
    unit: str = Field(min_length=1)
    valid_from: Day
    source: str = Field(min_length=1)
    kind: SourceKind
    note: str = ""


class TrafficTotals(Strict):
    """Sums of the columns of a trace: a damaged file is found; a column not named is empty."""

    requests: Positive
    input_tokens: Positive | None = None
    output_tokens: Positive | None = None
    least_per_minute: Positive | None = None
    most_per_minute: Positive | None = None


class Traffic(Sourced):
    """A recorded series of requests; its steps are the rows of the ``.csv`` beside it."""

    id: Id
    name: str = Field(min_length=1)
    character: str = Field(min_length=1)
    """What it is an example of, for people."""
    licence: str = Field(min_length=1)
    attribution: str = Field(min_length=1)
    changes: str = Field(min_length=1)
    """What was done to the published figures."""
    start: datetime | None = None
    """Beginning of the first step in UTC; empty where it was not published."""
    step_s: Positive
    published_requests: Count | None = None
    """Printed by the source, where the steps are not exact."""
    partial_steps: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Steps in which the recording began or ended: their requests count, their rate is unknown."""
    totals: TrafficTotals

    @model_validator(mode="after")
    def _start_is_utc(self) -> Traffic:
        if self.start is not None and self.start.tzinfo is not None:
            raise ValueError("start must be written without a time zone; it is UTC")
        return self


class TrafficRow(Strict):
    """One step of a trace."""

    step: Annotated[int, Field(ge=0)]
    requests: NotNegative | None
    """Empty where nothing was recorded."""
    input_tokens: NotNegative | None
    output_tokens: NotNegative | None
    least_per_minute: NotNegative | None
    """Requests of the quietest minute within the step."""
    most_per_minute: NotNegative | None


MeasuredScenario = Literal[
    "closed-loop", "static-batch", "offline", "server", "interactive", "singlestream",
    "multistream", "realtime-min-latency",
]  # fmt: skip
"""How a measured run was loaded; the names that published tables use."""
MEASURED = (
    "ttft_ms", "tpot_ms", "latency_mean_ms", "requests_per_s", "output_tokens_per_s",
    "cost_per_1m_inferences_usd",
)  # fmt: skip
"""Fields of a measured run that were measured; all others say of what."""


class Measurement(Strict):
    """One published measured run, in the columns that a table of measured runs has.

    Empty is not stated. Throughput is of the whole system.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]*$", max_length=120)
    source: str = Field(min_length=1)
    measured_on: Day
    """Day of the run or of its publication; that of collection where ``notes`` says so."""
    model: Id
    model_class: ModelClass
    hardware: Id
    accelerators: Count | None
    """Devices of the whole system; sockets for CPUs."""
    engine: str = Field(min_length=1)
    """An engine of the catalog, or the published name of some release."""
    weight_precision: str | None
    kv_precision: Literal["bf16", "fp16", "fp8", "int8"] | None
    tensor_parallel: Count | None
    pipeline_parallel: Count | None
    data_parallel: Count | None
    expert_parallel: Count | None
    moe_tensor_parallel: Count | None
    scenario: MeasuredScenario
    concurrency: Count | None
    """Requests in flight over the whole system."""
    batch_size: Count | None
    """Of a static batch; elsewhere the largest that the engine was configured for."""
    input_tokens: NotNegative | None
    """Nominal or mean length of a prompt; 0 where generation began with nothing."""
    output_tokens: Positive | None
    ttft_ms: Positive | None
    """Mean time to first token."""
    tpot_ms: Positive | None
    """Mean time per output token after the first."""
    latency_mean_ms: Positive | None
    requests_per_s: Positive | None
    output_tokens_per_s: Positive | None
    cost_per_1m_inferences_usd: Positive | None
    """As published; the hourly price behind it is in ``notes``."""
    notes: str = ""

    @model_validator(mode="after")
    def _something_was_measured(self) -> Measurement:
        if all(getattr(self, name) is None for name in MEASURED):
            raise ValueError(f"one of {', '.join(MEASURED)} must be given")
        return self


EFFECTS: dict[str, str] = {
    "speedup": "throughput over the baseline's, or the baseline's latency over it",
    "speedup_per_device": "the same, each divided by its devices",
    "ttft_speedup": "the baseline's time to first token over it",
    "memory_ratio": "memory in use over the baseline's",
    "size_ratio": "stored size over the baseline's",
    "params_ratio": "parameters over those of the teacher",
    "quality_retained": "score over the baseline's, where more is better",
    "perplexity_ratio": "perplexity over the baseline's, where less is better",
    "loss_ratio": "loss, perplexity or distance over the baseline's, where less is better",
    "cached_share": "input tokens found in a cache over all of them",
}
"""What a row of evidence may measure, and what its value means."""
TECHNIQUES: dict[str, str] = {
    "int4": "4-bit weights, by which method or in which groups is not stated",
    "int4-int8": "4-bit weights and 8-bit integer activations",
    "gguf-k": "other k-quants of llama.cpp than those with a scheme of their own",
    "gguf-iq": "quants of llama.cpp with an importance matrix",
    "2:4": "two of every four weights are zero, in a pattern that tensor cores skip",
    "4:8": "four of every eight weights are zero",
    "unstructured": "weights anywhere are zero",
    "structured": "whole channels, or blocks of weights, are zero or gone",
    "distillation": "a smaller student trained on the answers of a teacher",
    "compiler": "the same precision, compiled or with fused operators",
    "runtime": "other software, and often another precision with it",
    "prefix-caching": "keys and values of earlier prompts used again",
    "speculative-decoding": "a small model drafts, the large one checks",
}
"""Techniques that are no scheme of the catalog; a scheme's id is a technique as well."""
SPARSE = ("2:4", "4:8", "unstructured", "structured")
"""Those that set weights to zero."""
Effect = Literal[
    "speedup", "speedup_per_device", "ttft_speedup", "memory_ratio", "size_ratio", "params_ratio",
    "quality_retained", "perplexity_ratio", "loss_ratio", "cached_share",
]  # fmt: skip
GREATEST_RETAINED = 1.5
"""A score further above that of its baseline is another task's, not the effect of compression."""


class Evidence(Strict):
    """One measured effect of compression: something with a technique over the same without.

    Empty is not stated. A name that is no id of the catalog is the published one.
    """

    id: Id
    technique: str = Field(pattern=r"^[a-z0-9][a-z0-9:.\-]*$")
    """A scheme of the catalog, or one of :data:`TECHNIQUES`."""
    variant: str = ""
    """How: ``ptq static``, ``wanda, no fine-tuning``, ``teacher bert-base``."""
    measure: Effect
    value: Positive
    metric: str = ""
    """Of quality: ``MMLU``, ``wikitext ppl``."""
    scheme: Id | None
    """Stored and multiplied as, with the technique."""
    baseline_scheme: Id | None
    model: str = Field(min_length=1)
    """Of a distillation: the student."""
    model_class: ModelClass
    params_b: Positive | None
    hardware: str = ""
    devices: Count | None
    """Devices of the compressed side; 1 where empty."""
    baseline_devices: Count | None
    processes: Count | None
    """Copies side by side on one socket, each with a part of its cores and ``batch`` samples."""
    engine: str = ""
    baseline_engine: str = ""
    batch: Count | None
    input_tokens: Count | None
    output_tokens: Count | None
    sparsity_share: Share | None
    """Weights that are zero."""
    source: str = Field(min_length=1)
    accessed: Day
    """Day of the source, or that of collection where ``note`` says so."""
    note: str = ""

    @model_validator(mode="after")
    def _hangs_together(self) -> Evidence:
        if self.measure == "quality_retained" and self.value > GREATEST_RETAINED:
            raise ValueError(
                f"value is {self.value}, must be a share of the baseline's score (at most "
                f"{GREATEST_RETAINED}): 0.97, not 97"
            )
        quality = self.measure in ("quality_retained", "perplexity_ratio", "loss_ratio")
        if quality and not self.metric:
            raise ValueError(f"metric must be given with {self.measure}")
        if self.measure == "speedup_per_device" and self.baseline_devices is None and self.devices:
            raise ValueError("baseline_devices must be given with devices of speedup_per_device")
        if self.processes is not None and self.batch is None:
            raise ValueError("batch must be given with processes")
        if self.technique in SPARSE and self.sparsity_share is None:
            raise ValueError(f"sparsity_share must be given with {self.technique}")
        return self
