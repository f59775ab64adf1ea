"""What the user chose: one frozen, versioned object, the whole state of the app.

Every assumption of the model is a field here, with title, help, unit, range, default and the
source of that default. Nothing that moves a figure is hidden in code. ``FIELDS`` describes the
fields for pages, links and the terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, get_args

import annotated_types
from pydantic import BaseModel, ConfigDict, Field

VERSION = 1

Group = Literal[
    "workload", "model", "compression", "serving", "hardware", "price", "scaling", "overheads",
    "display",
]  # fmt: skip
GROUPS: tuple[Group, ...] = get_args(Group)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./\-]*$", max_length=60)]
Names = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_./\-]*(,[A-Za-z0-9][A-Za-z0-9_./\-]*)*$", max_length=150
    ),
]
"""Several names with commas between them."""


def _field(
    group: Group,
    key: str,
    default: Any,
    title: str,
    help: str,
    *,
    unit: str = "",
    ge: float | None = None,
    le: float | None = None,
    step: float | None = None,
    log: bool = False,
    several: bool = False,
    source: str = "",
    as_of: str = "",
) -> Any:
    """A scenario field with everything that a page, a link and a reviewer need to know.

    `key` is the short name in links, for ever. `log` asks for a logarithmic slider, `several`
    for a list with commas. `source` and `as_of` say where the default comes from; a choice of the
    user has none.
    """
    return Field(
        default,
        title=title,
        description=help,
        ge=ge,
        le=le,
        json_schema_extra={
            "group": group, "key": key, "unit": unit, "step": step, "log": log,
            "several": several, "source": source, "as_of": as_of,
        },
    )  # fmt: skip


ASSUMED = "assumption of this project"
ASSUMED_ON = "2026-11-24"


class Scenario(BaseModel):
    """Everything that decides cost and latency of one deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # workload
    requests_per_s: float = _field(
        "workload", "rps", 10.0, "Requests per second",
        "Average over the month, failed requests included.",
        unit="1/s", ge=0.0001, le=1e6, log=True,
    )  # fmt: skip
    peak_to_mean: float = _field(
        "workload", "peak", 2.0, "Peak to average",
        "Busiest traffic that must be served, divided by the average. The Scaling page uses the "
        "traffic over time instead.",
        unit="×", ge=1, le=50, step=0.1,
        source="Azure LLM 2024 week, busiest ten minutes over mean: 1.74 for conversation, 3.16 "
        "for code",
        as_of="2024-05-19",
    )  # fmt: skip
    input_tokens: int = _field(
        "workload", "in", 1000, "Input tokens",
        "Tokens of one request that the model reads: prompt, context, documents. For encoders the "
        "length of the text.",
        unit="tokens", ge=1, le=1_000_000, log=True,
    )  # fmt: skip
    output_tokens: int = _field(
        "workload", "out", 250, "Output tokens",
        "Tokens that the model writes in answer to one request. Only language models use it.",
        unit="tokens", ge=1, le=131_072, log=True,
    )  # fmt: skip
    cached_input_share: float = _field(
        "workload", "hit", 0.0, "Cached input",
        "Share of the input tokens whose keys and values are still in memory from an earlier "
        "request (prefix cache).",
        unit="share", ge=0, le=0.99, step=0.01,
    )  # fmt: skip
    arrival_cv: float = _field(
        "workload", "burst", 1.0, "Burstiness of arrivals",
        "Standard deviation of the time between two requests over its mean: 1 for independent "
        "users (Poisson), more where requests come in bursts. It decides how long requests queue: "
        "the percentiles of the Batching page.",
        unit="CV", ge=0, le=10, step=0.1,
        source="Azure LLM 2023 trace: 1.09 for conversation within an hour", as_of="2023-11-16",
    )  # fmt: skip
    output_cv: float = _field(
        "workload", "ocv", 0.77, "Spread of output lengths",
        "Standard deviation of the output tokens of a request over their mean. Static and dynamic "
        "batches run until the longest answer is done. Only language models use it.",
        unit="CV", ge=0, le=5, step=0.01,
        source="Azure LLM 2023 trace: 0.77 for conversation, 2.15 for code", as_of="2023-11-16",
    )  # fmt: skip
    success_share: float = _field(
        "workload", "ok", 0.995, "Successful requests",
        "Share of requests that end well. Only these divide the cost; failed ones cost the same.",
        unit="share", ge=0.01, le=1, step=0.001, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    items_per_request: int = _field(
        "workload", "items", 1, "Items per request",
        "Rows, images, texts or user-item pairs scored in one request. Language models take 1.",
        unit="items", ge=1, le=100_000, log=True,
    )  # fmt: skip
    work_scale: float = _field(
        "workload", "scale", 1.0, "Work per item",
        "Work of one item relative to the model's own input: 2 is twice the denoising steps, "
        "pixels or seconds of audio.",
        unit="×", ge=0.01, le=100, step=0.1, log=True,
    )  # fmt: skip
    slo_ttft_ms: float = _field(
        "workload", "sttft", 1000.0, "Limit: time to first token",
        "A request is good when its first token comes within this time. Language models only.",
        unit="ms", ge=1, le=600_000, log=True,
        source="MLPerf Inference llama-2-70b interactive asks 450 ms, server 2,000 ms",
        as_of="2025-09-09",
    )  # fmt: skip
    slo_tpot_ms: float = _field(
        "workload", "stpot", 50.0, "Limit: time per output token",
        "A request is good when its further tokens come at least this fast. Language models only.",
        unit="ms", ge=0.5, le=10_000, log=True,
        source="MLPerf Inference llama-2-70b interactive asks 40 ms, server 200 ms",
        as_of="2025-09-09",
    )  # fmt: skip
    slo_latency_ms: float = _field(
        "workload", "slo", 30_000.0, "Limit: whole request",
        "A request is good when it is answered in full within this time.",
        unit="ms", ge=0.1, le=3_600_000, log=True, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    slo_share: float = _field(
        "workload", "sshare", 0.95, "Requests that must be in time",
        "Share of the requests that must meet every limit above for a configuration to be offered "
        "by the search for hardware: 95 % asks of each 95th percentile to stay below its limit.",
        unit="share", ge=0, le=1, step=0.01, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    traffic: Name = _field(
        "workload", "tr", "shape", "Traffic over time",
        "Where its ups and downs come from: a recorded trace, or shape for the figures below. The "
        "average stays that of requests per second. Only the Scaling page uses it.",
    )  # fmt: skip
    daily_swing: float = _field(
        "workload", "ds", 0.19, "Daily swing",
        "Height of the wave of a day over the average: 0 is flat, 1 is silent once a day.",
        unit="×", ge=0, le=1, step=0.05,
        source="Azure LLM 2024 week, first harmonic of the day: 0.19 for conversation, 0.87 for "
        "code", as_of="2024-05-19",
    )  # fmt: skip
    peak_hour: float = _field(
        "workload", "ph", 14.0, "Hour of the peak", "Time of the day in UTC.",
        unit="h", ge=0, le=24, step=0.5,
        source="Azure LLM 2024 week: 13.8 for conversation, 18.7 for code", as_of="2024-05-19",
    )  # fmt: skip
    weekend_to_weekday: float = _field(
        "workload", "ww", 0.57, "Weekend to weekday",
        "Traffic of a day at the weekend over that of a working day.",
        unit="×", ge=0, le=5, step=0.05,
        source="Azure LLM 2024 week: 0.57 for conversation, 0.32 for code", as_of="2024-05-19",
    )  # fmt: skip
    minute_cv: float = _field(
        "workload", "mcv", 0.21, "Unrest of minutes",
        "Standard deviation of the traffic of a minute over its expectation, beyond independent "
        "users: what neither the hour nor the day explains.",
        unit="CV", ge=0, le=3, step=0.05,
        source="Azure LLM 2023 trace: conversation within an hour", as_of="2023-11-16",
    )  # fmt: skip
    burst_minutes: float = _field(
        "workload", "bm", 8.0, "Length of unrest",
        "Time after which a busy minute is nearly forgotten: its correlation falls to 1/e.",
        unit="min", ge=1, le=1440, step=1,
        source="Azure LLM 2023 trace: conversation within an hour", as_of="2023-11-16",
    )  # fmt: skip
    spikes_per_week: float = _field(
        "workload", "spw", 0.0, "Spikes", "Sudden spikes at random times.",
        unit="per week", ge=0, le=100, step=1,
    )  # fmt: skip
    spike_height: float = _field(
        "workload", "sph", 4.0, "Height of a spike", "Traffic in a spike over that without it.",
        unit="×", ge=1, le=100, step=0.5,
        source="Azure LLM 2023 trace, busiest minute of code over its hour: 3.8",
        as_of="2023-11-16",
    )  # fmt: skip
    spike_minutes: float = _field(
        "workload", "spm", 15.0, "Length of a spike", "From its sudden begin to its sudden end.",
        unit="min", ge=1, le=1440, step=1, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    traffic_seed: int = _field(
        "workload", "seed", 1, "Seed",
        "Another number gives other random minutes and spikes of the same kind.",
        ge=0, le=1_000_000, step=1,
    )  # fmt: skip
    monthly_growth: float = _field(
        "workload", "gm", 0.0, "Growth a month", "Expected; negative where traffic shrinks.",
        unit="share", ge=-0.5, le=1, step=0.01,
    )  # fmt: skip
    monthly_growth_low: float = _field(
        "workload", "gl", 0.0, "Least growth a month", "Lower end of the range.",
        unit="share", ge=-0.5, le=1, step=0.01,
    )  # fmt: skip
    monthly_growth_high: float = _field(
        "workload", "gh", 0.0, "Most growth a month", "Upper end of the range.",
        unit="share", ge=-0.5, le=1, step=0.01,
    )  # fmt: skip

    # model
    model: Name = _field(
        "model", "m", "llama-3.1-8b", "Model", "What is served. The Catalog page lists them all.",
    )  # fmt: skip
    live_versions: int = _field(
        "model", "live", 1, "Live versions",
        "Versions of the model kept running at once. Each needs its own minimum of replicas.",
        unit="versions", ge=1, le=100,
    )  # fmt: skip
    old_traffic_share: float | None = _field(
        "model", "oldsh", None, "Traffic of older versions",
        "Share of the requests that live versions other than the newest answer, in equal parts. "
        "Each version then has whole replicas of its own. Empty: versions together have no more "
        "replicas than the load and one for each of them need.",
        unit="share", ge=0, le=1, step=0.01,
    )  # fmt: skip
    old_min_replicas: int | None = _field(
        "model", "oldmin", None, "Minimum replicas of an older version",
        "Kept running for each live version but the newest, traffic or not. Empty: as many as for "
        "the newest.",
        unit="replicas", ge=0, le=10_000,
    )  # fmt: skip
    stored_versions: int = _field(
        "model", "kept", 3, "Stored versions",
        "Versions of the weights kept in storage, the live ones included.",
        unit="versions", ge=1, le=1000, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip

    # compression
    scheme: Name = _field(
        "compression", "q", "bf16", "Precision",
        "How weights are stored and multiplied. Fewer bits need less memory and time, and can "
        "cost quality.",
    )  # fmt: skip
    kv_precision: Literal["bf16", "fp8", "int8", "fp4"] = _field(
        "compression", "kv", "bf16", "KV cache precision",
        "How the keys and values of running requests are stored. Language models only.",
    )  # fmt: skip
    sparsity: Literal["none", "unstructured", "two_of_four"] = _field(
        "compression", "sp", "none", "Zero weights",
        "Weights set to zero (pruning). Unstructured: anywhere; saves storage, and memory and "
        "time only where the engine has sparse kernels. Two of four: in a pattern that some GPUs "
        "skip.",
    )  # fmt: skip
    zero_share: float = _field(
        "compression", "spz", 0.5, "Share of zero weights",
        "How many weights are zero. Counts only with unstructured zeros; two of four are half.",
        unit="share", ge=0, le=0.99, step=0.01,
        source="Wanda and SparseGPT, at 50 % of Llama 2", as_of="2023-10-06",
    )  # fmt: skip
    kept_depth: float = _field(
        "compression", "pd", 1.0, "Layers kept",
        "Share of the layers that is left after pruning whole layers.",
        unit="share", ge=0.1, le=1, step=0.01,
    )  # fmt: skip
    kept_width: float = _field(
        "compression", "pw", 1.0, "Width kept",
        "Share of the attention heads and of the width between layers that is left after pruning.",
        unit="share", ge=0.1, le=1, step=0.01,
    )  # fmt: skip
    student: Name = _field(
        "compression", "st", "none", "Student",
        "A smaller model that is trained on answers of the model above and serves in its place "
        "(distillation). ratio: one of the same design, smaller.",
    )  # fmt: skip
    student_ratio: float = _field(
        "compression", "str", 0.5, "Size of the student",
        "Parameters of the student over those of the teacher; layers and width shrink alike. "
        "Counts only with a student by ratio.",
        unit="share", ge=0.05, le=1, step=0.05,
        source="DistilBERT: 66 of 110 million parameters, and half of the layers",
        as_of="2019-10-02",
    )  # fmt: skip
    training_requests: float = _field(
        "compression", "trn", 1e6, "Training requests",
        "Requests like those served that the teacher answers once, to make the training data.",
        unit="requests", ge=1, le=1e12, log=True, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    training_epochs: float = _field(
        "compression", "tre", 2.0, "Training passes",
        "Times that the student is trained on all of the data.",
        unit="×", ge=0.1, le=100, step=0.5, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    training_utilisation: float = _field(
        "compression", "tru", 0.4, "Utilisation in training",
        "Share of the 16-bit peak that training reaches.",
        unit="share", ge=0.01, le=1, step=0.01,
        source="Llama 3 405B: 38 to 43 % of the BF16 peak on up to 16,384 H100", as_of="2024-07-31",
    )  # fmt: skip
    training_usd_per_device_hour: float | None = _field(
        "compression", "trp", None, "Price in training",
        "Of one device while the student is trained. Empty: as when serving.",
        unit="USD/h", ge=0.00001, le=10_000,
    )  # fmt: skip
    teacher_usd_per_request: float | None = _field(
        "compression", "trt", None, "Price of the teacher's answers",
        "For one request of the training data, if they are bought. Empty: our estimate of the "
        "model above on this hardware.",
        unit="USD", ge=0, le=1000,
    )  # fmt: skip
    training_months: float = _field(
        "compression", "tra", 12.0, "Months of use",
        "Time over which the cost of the training is spread.",
        unit="months", ge=0.1, le=120, step=1, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    draft_model: Name = _field(
        "compression", "dm", "none", "Draft",
        "Speculative decoding: what proposes tokens for the model to check, several in a step. A "
        "small model, ngram (text found in the prompt) or head (one more layer of the model, as "
        "EAGLE and MTP).",
    )  # fmt: skip
    draft_tokens: int = _field(
        "compression", "dk", 4, "Draft length",
        "Tokens proposed before each step; counts only with a draft.",
        unit="tokens", ge=1, le=32,
        source="Leviathan et al., table 2: best at 3 to 7", as_of="2023-05-18",
    )  # fmt: skip
    acceptance: float = _field(
        "compression", "da", 0.7, "Accepted tokens",
        "Share of proposed tokens that the model accepts; counts only with a draft.",
        unit="share", ge=0, le=1, step=0.01,
        source="Leviathan et al., table 3: 0.53 to 0.82 with small drafts of T5",
        as_of="2023-05-18",
    )  # fmt: skip
    exit_share: float = _field(
        "compression", "xs", 0.0, "Early exits",
        "Share of tokens (of samples, for models without tokens) that are sure enough to skip the "
        "last layers.",
        unit="share", ge=0, le=1, step=0.01,
    )  # fmt: skip
    exit_depth: float = _field(
        "compression", "xd", 0.5, "Place of the exit",
        "Share of the layers before the exit; counts only with early exits.",
        unit="share", ge=0.05, le=1, step=0.05, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    cascade_model: Name = _field(
        "compression", "cm", "none", "First model of a cascade",
        "A small model that answers every request first, on devices of its own; what it is not "
        "sure of goes on to the model above.",
    )  # fmt: skip
    escalated_share: float = _field(
        "compression", "ce", 0.3, "Passed on",
        "Share of requests that go on to the large model; counts only with a cascade.",
        unit="share", ge=0.001, le=1, step=0.01, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    answer_hit_share: float = _field(
        "compression", "sh", 0.0, "Answers from a cache",
        "Share of requests that are close enough to an earlier one to get its answer (semantic "
        "cache).",
        unit="share", ge=0, le=0.99, step=0.01,
    )  # fmt: skip
    lookup_ms: float = _field(
        "compression", "sl", 20.0, "Time to look up",
        "To embed a request and search the cache of answers; counts only with such a cache.",
        unit="ms", ge=0.01, le=60_000, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    lookup_usd_per_million: float = _field(
        "compression", "slp", 20.0, "Price to look up",
        "To embed a million requests and search the cache of answers.",
        unit="USD", ge=0, le=1_000_000, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    quality_floor: float = _field(
        "compression", "qf", 0.99, "Quality that must be kept",
        "Share of the quality before compression that a choice must retain to be offered.",
        unit="share", ge=0, le=1, step=0.005,
        source="MLPerf Inference: closed division asks 99 % of the reference accuracy",
        as_of="2025-09-09",
    )  # fmt: skip
    small_quality: float = _field(
        "compression", "cq", 0.95, "Quality of what stays small",
        "Quality of answers that the first model of a cascade keeps, over those of the large one.",
        unit="share", ge=0, le=1, step=0.005, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    exit_quality: float = _field(
        "compression", "xq", 0.99, "Quality of early exits",
        "Quality of tokens that leave early, over those of all layers.",
        unit="share", ge=0, le=1, step=0.005, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    hit_quality: float = _field(
        "compression", "sq", 0.97, "Quality of cached answers",
        "Quality of answers taken from the cache, over fresh ones.",
        unit="share", ge=0, le=1, step=0.005, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    student_quality: float | None = _field(
        "compression", "stq", None, "Quality of the student",
        "Over that of the teacher, if you know it. Empty: what published students retain.",
        unit="share", ge=0, le=1.2, step=0.005,
    )  # fmt: skip
    compared_scheme: Name = _field(
        "compression", "bq", "native", "Precision before",
        "Compression is compared with the model in this precision; native: the one it comes in.",
    )  # fmt: skip
    compared_engine: Name = _field(
        "compression", "be", "same", "Engine before",
        "Compression is compared with the model on this engine; same: the one that is chosen.",
    )  # fmt: skip

    # serving
    engine: Name = _field(
        "serving", "e", "vllm", "Engine", "Software that runs the model.",
    )  # fmt: skip
    concurrency: int = _field(
        "serving", "c", 32, "Concurrency",
        "Requests that one replica works on together (for models without tokens: the batch). More "
        "share one read of the weights, and each waits longer.",
        unit="requests", ge=1, le=8192, log=True,
    )  # fmt: skip
    tensor_parallel: int = _field(
        "serving", "tp", 1, "Tensor parallel",
        "Devices that share every layer of one replica.", unit="devices", ge=1, le=128, log=True,
    )  # fmt: skip
    pipeline_parallel: int = _field(
        "serving", "pp", 1, "Pipeline parallel",
        "Groups of devices that each hold a part of the layers.",
        unit="stages", ge=1, le=64, log=True,
    )  # fmt: skip
    data_parallel: int = _field(
        "serving", "dp", 1, "Attention data parallel",
        "Copies of the attention layers inside one replica; experts are spread over all of them.",
        unit="copies", ge=1, le=128, log=True,
    )  # fmt: skip
    expert_parallel: int = _field(
        "serving", "ep", 1, "Expert parallel",
        "Groups over which whole experts are spread. The rest of the devices split each expert.",
        unit="groups", ge=1, le=512, log=True,
    )  # fmt: skip
    memory_share: float = _field(
        "serving", "mem", 0.9, "Memory for the engine",
        "Share of a device's memory that the engine may use for weights, cache and working space.",
        unit="share", ge=0.1, le=1, step=0.01,
        source="default of vLLM's gpu-memory-utilization", as_of="2026-11-23",
    )  # fmt: skip
    batching: Literal["continuous", "dynamic", "static", "disaggregated"] = _field(
        "serving", "bat", "continuous", "Batching",
        "Continuous: requests join and leave at every step; without tokens, a batch starts when it "
        "is full or the longest wait is over. Dynamic: language models too work on one batch until "
        "its longest answer is done. Static: a batch is collected in full before it starts. "
        "Disaggregated: prompts are read on replicas of their own.",
    )  # fmt: skip
    prefill_chunk_tokens: int | None = _field(
        "serving", "chunk", None, "Prompt tokens per step",
        "Long prompts are read in chunks of at most so many tokens, so that the answers of others "
        "pause for a chunk and not for a whole prompt. Each chunk reads the weights again. Empty: "
        "as the engine does it, which is in the fitted coefficients.",
        unit="tokens", ge=16, le=131_072,
    )  # fmt: skip
    prefill_replicas: float | None = _field(
        "serving", "pre", None, "Prefill replicas per replica",
        "Replicas that only read prompts, for each that writes answers; same devices and "
        "parallelism. Counts with disaggregated batching. Empty: the share at which a request is "
        "cheapest.",
        unit="replicas", ge=0.01, le=64,
    )  # fmt: skip
    batch_wait_ms: float = _field(
        "serving", "wait", 5.0, "Longest wait for a batch",
        "How long a request may wait for others before its batch starts. Models without tokens, "
        "and dynamic batches of language models.",
        unit="ms", ge=0, le=10_000, step=1, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    step_time_correction: float = _field(
        "serving", "kt", 1.0, "Correction: time per token",
        "Multiplies the time of a step, in which prompts are read and tokens written (for models "
        "without tokens: of a batch). Take it from runs of your own: the Trust page proposes it.",
        unit="×", ge=0.2, le=5, log=True,
        source="no correction: the coefficients as they are fitted", as_of=ASSUMED_ON,
    )  # fmt: skip
    first_token_correction: float = _field(
        "serving", "kf", 1.0, "Correction: time to first token",
        "Multiplies the time to the first token: waiting and the own prompt, after the correction "
        "above. Take it from runs of your own: the Trust page proposes it. Language models only.",
        unit="×", ge=0.2, le=5, log=True,
        source="no correction: the coefficients as they are fitted", as_of=ASSUMED_ON,
    )  # fmt: skip

    # hardware
    accelerator: Name = _field(
        "hardware", "hw", "h100-sxm", "Hardware", "Chip that runs the model.",
    )  # fmt: skip
    instance: Name = _field(
        "hardware", "i", "auto", "Instance",
        "Instance type as cloud/type, or auto: the cheapest offer with this chip.",
    )  # fmt: skip
    cloud: Names = _field(
        "hardware", "cl", "any", "Clouds",
        "Where auto looks for an offer: one cloud, several, or any.", several=True,
    )  # fmt: skip
    region: Names = _field(
        "hardware", "reg", "any", "Regions",
        "Where auto looks for an offer: one region, several, or any.", several=True,
    )  # fmt: skip
    max_devices: int | None = _field(
        "hardware", "maxd", None, "Most devices",
        "Devices in production at the peak, spare replicas included; a CPU instance counts as one. "
        "The search for hardware offers nothing larger. Empty: no limit.",
        unit="devices", ge=1, le=1_000_000,
    )  # fmt: skip
    max_carbon_g: float | None = _field(
        "hardware", "maxco2", None, "Most carbon per inference",
        "The search for hardware offers nothing above it, and no hardware whose power is not "
        "known. Empty: no limit.",
        unit="g", ge=1e-9, le=1e6,
    )  # fmt: skip

    # price
    purchase: Literal["on_demand", "spot", "reserved_1y", "reserved_3y"] = _field(
        "price", "buy", "on_demand", "Purchase option",
        "On demand, spot (can be taken away), or committed for one or three years.",
    )  # fmt: skip
    device_price_usd_per_hour: float | None = _field(
        "price", "price", None, "Own price per device",
        "Replaces the catalog's price, host included. Empty: the catalog's.",
        unit="USD/h", ge=0.00001, le=10_000,
    )  # fmt: skip
    purchases: Literal["any", "no_spot", "same"] = _field(
        "price", "buys", "any", "Purchase options searched",
        "any: the search for hardware takes the cheapest price that is known, spot and commitments "
        "included. no_spot: what cannot be taken away. same: only the option above.",
    )  # fmt: skip
    max_usd_per_month: float | None = _field(
        "price", "maxusd", None, "Budget",
        "Of the whole deployment, fully loaded. The search for hardware offers nothing above it. "
        "Empty: no limit.",
        unit="USD/month", ge=0.01, le=1e12,
    )  # fmt: skip
    cheapest_by: Literal["inference", "good_inference"] = _field(
        "price", "by", "inference", "Cheapest by",
        "What the search for hardware makes cheap, fully loaded: a successful inference, or one "
        "that meets every limit as well.",
    )  # fmt: skip
    discount_share: float = _field(
        "price", "disc", 0.0, "Discount",
        "Negotiated reduction of the price above.", unit="share", ge=0, le=0.95, step=0.01,
    )  # fmt: skip
    spot_overhead_share: float = _field(
        "price", "spotx", 0.05, "Spot overhead",
        "Extra capacity bought to ride out interruptions; counts only with spot.",
        unit="share", ge=0, le=2, step=0.01, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    unused_commitment_share: float = _field(
        "price", "unused", 0.0, "Unused commitment",
        "Share of the committed hours that nothing runs on; counts only with 1 and 3 years.",
        unit="share", ge=0, le=0.9, step=0.01,
    )  # fmt: skip
    spot_interruptions_per_month: float | None = _field(
        "price", "si", None, "Spot interruptions",
        "Times a month that a spot instance is taken away. With the two times below it replaces "
        "the spot overhead above. Empty: the spot overhead stands.",
        unit="per month", ge=0, le=200,
    )  # fmt: skip
    spot_restart_minutes: float = _field(
        "price", "sr", 10.0, "Spot restart",
        "Time until the replacement of a spot instance answers: booting, image, weights.",
        unit="min", ge=0, le=60, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    spot_lost_minutes: float = _field(
        "price", "sk", 1.0, "Work lost by an interruption",
        "Work since the last checkpoint, or the requests in flight, that is done a second time.",
        unit="min", ge=0, le=60, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    spot_fallback_share: float = _field(
        "price", "sf", 0.0, "Spot fallback",
        "Share of the capacity that runs on demand because no spot is to be had; counts only with "
        "spot.",
        unit="share", ge=0, le=1, step=0.01,
    )  # fmt: skip
    spot_limit_share: float = _field(
        "price", "sm", 0.5, "Most on spot",
        "In the best mix: largest share of the uncommitted capacity that may be spot, so that "
        "losing all of it at once leaves the rest.",
        unit="share", ge=0, le=1, step=0.05, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    quiet_to_mean: float = _field(
        "price", "qt", 0.4, "Quiet hours to average",
        "Traffic in the quietest hour over the average. With peak to average it gives the curve "
        "that commitments are fitted to. The Scaling page uses the traffic over time instead.",
        unit="×", ge=0, le=0.99, step=0.01,
        source="Azure LLM 2024 week, lowest ten minutes over mean: 0.44 for conversation, 0.08 for "
        "code",
        as_of="2024-05-19",
    )  # fmt: skip
    device_purchase_usd: float | None = _field(
        "price", "op", None, "Purchase price",
        "Of one device, to own it. Empty: the street price of the catalog, where it has one.",
        unit="USD", ge=1, le=10_000_000,
    )  # fmt: skip
    owned_years: float = _field(
        "price", "oy", 4.0, "Years of use",
        "Life over which what is owned loses its value, in equal parts.",
        unit="years", ge=0.5, le=15, step=0.5,
        source="SemiAnalysis TCO model: 4 years; Amazon 5, Microsoft and Google 6",
        as_of="2025-10-01",
    )  # fmt: skip
    resale_share: float = _field(
        "price", "ov", 0.1, "Resale value",
        "Part of the purchase price that is got back at the end.",
        unit="share", ge=0, le=1, step=0.01, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    server_price_share: float = _field(
        "price", "ow", 0.3, "Server and network",
        "What the server around a device and its network cost, over the price of the device.",
        unit="×", ge=0, le=5, step=0.05,
        source="server with 8 H100 at 310,000 to 317,000 USD, network cards included, over 8 "
        "devices of 30,000 USD (quote of a system builder)",
        as_of="2024-08-22",
    )  # fmt: skip
    server_power_share: float = _field(
        "price", "oh", 0.8, "Power of the server",
        "Power of the server around a device over the board power of the device.",
        unit="×", ge=0, le=5, step=0.05,
        source="DGX H100: 10.2 kW with 8 devices of 700 W", as_of="2023-03-01",
    )  # fmt: skip
    electricity_usd_per_kwh: float = _field(
        "price", "ot", 0.0872, "Electricity", "Price of electricity where hardware is owned.",
        unit="USD/kWh", ge=0, le=2, step=0.01,
        source="EIA table 5.6.A, US East North Central, industrial", as_of="2025-04-01",
    )  # fmt: skip
    space_usd_per_kw_month: float = _field(
        "price", "oc", 184.06, "Space", "Colocation by the power set aside, without electricity.",
        unit="USD/kW/month", ge=0, le=5000, step=1,
        source="CBRE North America, 250 to 500 kW, second half of 2024", as_of="2024-12-01",
    )  # fmt: skip
    staff_usd_per_device_year: float = _field(
        "price", "os", 1000.0, "Staff", "People who look after owned devices.",
        unit="USD/device/year", ge=0, le=1_000_000, step=100, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    failures_per_year: float = _field(
        "price", "of", 0.06, "Failures",
        "Share of owned devices that fail and are replaced in a year.",
        unit="share a year", ge=0, le=1, step=0.01,
        source="Llama 3 paper, table 5: 148 faulty GPUs of 16,384 in 54 days", as_of="2024-07-31",
    )  # fmt: skip
    serverless_usd_per_hour: float | None = _field(
        "price", "vp", None, "Serverless price",
        "Of one device, for the time that it is billed. Empty: AWS Fargate for CPU instances that "
        "it has, else unknown.",
        unit="USD/h", ge=0.0001, le=10_000,
    )  # fmt: skip
    serverless_cold_s: float = _field(
        "price", "vc", 30.0, "Cold start",
        "Time until a new serverless replica answers; it is billed.",
        unit="s", ge=0, le=3600, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    serverless_idle_s: float = _field(
        "price", "vi", 60.0, "Kept after a request",
        "Time that a serverless replica is kept, and billed, after its last request.",
        unit="s", ge=0, le=86_400, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    serverless_minimum_s: float = _field(
        "price", "vm", 60.0, "Least time billed", "Shortest time that serverless bills.",
        unit="s", ge=0, le=86_400, source="AWS Fargate: one minute", as_of="2026-11-25",
    )  # fmt: skip
    api_input_usd_per_mtok: float | None = _field(
        "price", "ai", None, "API price, input",
        "Own price of a hosted model per million input tokens. Empty: the catalog's.",
        unit="USD/M tokens", ge=0, le=10_000,
    )  # fmt: skip
    api_output_usd_per_mtok: float | None = _field(
        "price", "ao", None, "API price, output",
        "Own price of a hosted model per million output tokens. Empty: the catalog's.",
        unit="USD/M tokens", ge=0, le=10_000,
    )  # fmt: skip
    api_batch_share: float = _field(
        "price", "ab", 0.0, "Requests that can wait",
        "Share that a hosted model answers as a batch, at its batch discount where it has one.",
        unit="share", ge=0, le=1, step=0.05,
    )  # fmt: skip
    edge_devices: int | None = _field(
        "price", "en", None, "Edge devices",
        "Size of the fleet where devices at the users answer. Empty: as many as the peak needs.",
        unit="devices", ge=1, le=100_000_000,
    )  # fmt: skip
    edge_update_gb_per_month: float = _field(
        "price", "eu", 5.0, "Edge updates", "New models and software sent to each edge device.",
        unit="GB/month", ge=0, le=10_000, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    edge_cloud_share: float = _field(
        "price", "es", 0.1, "Stays in the cloud",
        "Share of the requests that edge devices pass on to the cloud.",
        unit="share", ge=0, le=1, step=0.01, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    memory_price_share: float | None = _field(
        "price", "msh", None, "Memory's share of the price",
        "Part of an instance's price that is shown as memory. Empty: the rule of the methodology "
        "(accelerated instance 2 % RAM + a quarter of the accelerator's 95 % for its memory; CPU "
        "instance 40 %). Moves cost between two components, never the total.",
        unit="share", ge=0, le=1, step=0.01,
        source="RAM: Datadog container cost allocation (95/3/2 and 60/40); HBM: assumption",
        as_of="2024-09-01",
    )  # fmt: skip

    # scaling
    scaling: Literal["peak", "follow", "fixed"] = _field(
        "scaling", "sc", "peak", "Replicas",
        "peak: always enough for the peak. follow: autoscaled with the traffic. fixed: a number.",
    )  # fmt: skip
    fixed_replicas: int = _field(
        "scaling", "n", 1, "Fixed replicas", "Used when replicas are fixed.",
        unit="replicas", ge=1, le=100_000, log=True,
    )  # fmt: skip
    min_replicas: int = _field(
        "scaling", "min", 1, "Minimum replicas",
        "Kept running for each live version, traffic or not.",
        unit="replicas", ge=0, le=10_000,
    )  # fmt: skip
    spare_replicas: int = _field(
        "scaling", "spare", 0, "Spare replicas",
        "Replicas beyond the need, to survive the loss of one (N+1).",
        unit="replicas", ge=0, le=1000,
    )  # fmt: skip
    target_utilisation: float = _field(
        "scaling", "util", 0.7, "Target utilisation",
        "Load that a replica may carry at the peak, as a share of its capacity.",
        unit="share", ge=0.05, le=1, step=0.01,
        source="Knative's default target, 70 % of capacity", as_of="2026-11-23",
    )  # fmt: skip
    scaling_lag_share: float = _field(
        "scaling", "lag", 0.15, "Autoscaling lag",
        "Replica-hours beyond the need because scaling reacts late; counts only with follow.",
        unit="share", ge=0, le=5, step=0.01, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    policy: Literal[
        "none", "hpa", "keda", "kpa", "tracking", "schedule", "predictive", "serverless"
    ] = _field(
        "scaling", "pol", "none", "Autoscaler",
        "What moves the number of replicas in a simulation of traffic: the Kubernetes HPA, KEDA, "
        "Knative (kpa), target tracking of a cloud, a weekly schedule, a forecast, or serverless. "
        "none: a fixed number.",
    )  # fmt: skip
    policy_target: float = _field(
        "scaling", "ptg", 0.7, "Target of the autoscaler",
        "Requests in flight at each replica that it aims at, over those that a replica holds.",
        unit="share", ge=0.01, le=1, step=0.01,
        source="Knative's default target, 70 % of the concurrency", as_of="2026-11-23",
    )  # fmt: skip
    max_replicas: int = _field(
        "scaling", "max", 100, "Maximum replicas",
        "What an autoscaler never exceeds. Only the simulation of traffic uses it.",
        unit="replicas", ge=1, le=10_000,
        source="KEDA's default maxReplicaCount", as_of="2025-03-01",
    )  # fmt: skip
    stabilisation_s: float = _field(
        "scaling", "pst", 300.0, "Stabilisation",
        "HPA and KEDA remove no replica that was wanted within this time.",
        unit="s", ge=0, le=3600, step=15,
        source="Kubernetes: default of downscale stabilisation", as_of="2025-04-23",
    )  # fmt: skip
    policy_tolerance: float = _field(
        "scaling", "ptl", 0.1, "Tolerance",
        "Deviation from the target at which HPA and KEDA do nothing; target tracking removes "
        "nothing down to it.",
        unit="share", ge=0, le=0.9, step=0.01,
        source="Kubernetes: default tolerance of the HPA", as_of="2025-04-23",
    )  # fmt: skip
    cooldown_s: float = _field(
        "scaling", "pcd", 300.0, "Cooldown",
        "Time without requests until KEDA goes to zero, and after a removal until target tracking "
        "removes again.",
        unit="s", ge=0, le=86_400, step=30,
        source="KEDA's default cooldownPeriod; SageMaker's default ScaleInCooldown",
        as_of="2025-03-01",
    )  # fmt: skip
    scale_out_cooldown_s: float = _field(
        "scaling", "pco", 300.0, "Cooldown of additions",
        "Time for which target tracking counts what it has just added as part of what is needed.",
        unit="s", ge=0, le=86_400, step=30,
        source="SageMaker's default ScaleOutCooldown", as_of="2025-03-01",
    )  # fmt: skip
    forecast_headroom_share: float = _field(
        "scaling", "phr", 0.2, "Headroom of the forecast",
        "Capacity beyond what a forecast expects.",
        unit="share", ge=0, le=5, step=0.05, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    schedule_hours: float = _field(
        "scaling", "psh", 1.0, "Steps of the schedule",
        "Times of the week that a schedule tells apart; it plans for the busiest moment of each.",
        unit="h", ge=0.25, le=24, step=0.25, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    node_start_s: float = _field(
        "scaling", "cns", 90.0, "Start of a machine",
        "From asking for an instance until it takes containers; paid. Not needed where an "
        "instance has a place left.",
        unit="s", ge=0, le=3600, step=10, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    image_gb_per_s: float = _field(
        "scaling", "cip", 0.1, "Image pull",
        "Speed at which the container image is fetched and unpacked.",
        unit="GB/s", ge=0.001, le=100, log=True,
        source="70B on a fresh node: image 60 to 180 s; 12 GB at 0.1 GB/s are 120 s",
        as_of="2026-06-01",
    )  # fmt: skip
    weights_gb_per_s: float = _field(
        "scaling", "cwl", 1.0, "Loading of weights",
        "Speed at which weights come from storage into the memory of the devices.",
        unit="GB/s", ge=0.001, le=1000, log=True,
        source="A10G server: safetensors from a gp3 disk 48 s, streamed 14 s, from io2 7.5 s",
        as_of="2025-09-16",
    )  # fmt: skip
    engine_start_s: float = _field(
        "scaling", "ces", 60.0, "Start of the engine",
        "Process, libraries, memory set aside and graphs recorded. With the other defaults an 8B "
        "model takes 286 s on a new machine; SageMaker states 525 s, and 258 s with the image "
        "kept.",
        unit="s", ge=0, le=3600, step=5, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    queue_limit: int = _field(
        "scaling", "pql", 1000, "Longest queue",
        "Requests that may wait for each replica that is there or starting; more are refused.",
        unit="requests", ge=0, le=100_000, log=True, source=ASSUMED, as_of="2026-11-25",
    )  # fmt: skip
    queue_timeout_s: float = _field(
        "scaling", "pto", 60.0, "Longest wait",
        "A request that waits longer for a replica is given up. It costs, and does not succeed.",
        unit="s", ge=1, le=3600, step=5,
        source="AWS ALB: default idle timeout", as_of="2026-01-01",
    )  # fmt: skip
    nonproduction_share: float = _field(
        "scaling", "nonprod", 0.0, "Test and staging",
        "Capacity outside production, relative to production.",
        unit="share", ge=0, le=10, step=0.05,
    )  # fmt: skip

    # overheads
    storage_usd_per_gb_month: float = _field(
        "overheads", "stor", 0.08, "Disk price", "Disk of the instances, for weights and images.",
        unit="USD/GB/month", ge=0, le=10, source="AWS EBS gp3, us-east-1", as_of="2025-01-01",
    )  # fmt: skip
    object_storage_usd_per_gb_month: float = _field(
        "overheads", "obj", 0.023, "Object storage price", "For the stored versions of weights.",
        unit="USD/GB/month", ge=0, le=10, source="AWS S3 standard, us-east-1", as_of="2025-01-01",
    )  # fmt: skip
    image_gb: float = _field(
        "overheads", "img", 12.0, "Container image", "Engine and libraries on each replica's disk.",
        unit="GB", ge=0, le=1000, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    log_kb_per_request: float = _field(
        "overheads", "log", 2.0, "Logs", "Logs and traces written for one request.",
        unit="kB", ge=0, le=100_000, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    log_usd_per_gb: float = _field(
        "overheads", "logp", 0.5, "Log price", "Taking in logs, per GB.",
        unit="USD/GB", ge=0, le=100, source="AWS CloudWatch Logs ingestion, us-east-1",
        as_of="2026-01-01",
    )  # fmt: skip
    request_kb: float = _field(
        "overheads", "reqkb", 6.0, "Request size", "Bytes that one request brings in.",
        unit="kB", ge=0, le=1e6, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    response_kb: float = _field(
        "overheads", "reskb", 3.0, "Response size", "Bytes that one answer takes out.",
        unit="kB", ge=0, le=1e6, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    egress_share: float = _field(
        "overheads", "egsh", 1.0, "Responses that leave the cloud",
        "Share of the answers that go to the internet and are billed as egress.",
        unit="share", ge=0, le=1, step=0.05, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    egress_usd_per_gb: float = _field(
        "overheads", "eg", 0.09, "Egress price", "Traffic to the internet.",
        unit="USD/GB", ge=0, le=10, source="AWS egress, first 10 TB a month, us-east-1",
        as_of="2025-01-01",
    )  # fmt: skip
    cross_zone_share: float = _field(
        "overheads", "xzsh", 0.5, "Cross-zone traffic",
        "Share of requests and answers that cross a zone inside the region.",
        unit="share", ge=0, le=1, step=0.05, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    cross_zone_usd_per_gb: float = _field(
        "overheads", "xz", 0.02, "Cross-zone price", "Both directions together.",
        unit="USD/GB", ge=0, le=10, source="AWS, 0.01 USD in each direction", as_of="2025-01-01",
    )  # fmt: skip
    load_balancer_usd_per_hour: float = _field(
        "overheads", "lb", 0.0225, "Load balancer", "One load balancer in front of the service.",
        unit="USD/h", ge=0, le=1000, source="AWS ALB, us-east-1", as_of="2025-01-01",
    )  # fmt: skip
    load_balancer_usd_per_gb: float = _field(
        "overheads", "lbgb", 0.008, "Load balancer traffic", "Per GB through the load balancer.",
        unit="USD/GB", ge=0, le=10, source="AWS ALB, one LCU-hour serves 1 GB",
        as_of="2025-01-01",
    )  # fmt: skip
    control_plane_usd_per_hour: float = _field(
        "overheads", "cp", 0.1, "Control plane", "Managed Kubernetes or the like, this service's "
        "share.",
        unit="USD/h", ge=0, le=1000, source="AWS EKS control plane", as_of="2026-01-01",
    )  # fmt: skip
    monitoring_usd_per_instance_month: float = _field(
        "overheads", "mon", 15.0, "Monitoring", "Monitoring of one instance.",
        unit="USD/month", ge=0, le=10_000, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    agent_share: float = _field(
        "overheads", "agent", 0.03, "Node agents",
        "Share of each instance's price that goes to agents: networking, logging, security.",
        unit="share", ge=0, le=0.5, step=0.01, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    platform_share: float = _field(
        "overheads", "plat", 0.05, "Platform overhead",
        "Platform team, licences and support, as a rate on compute and memory.",
        unit="share", ge=0, le=5, step=0.01, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip
    on_call_usd_per_month: float = _field(
        "overheads", "oncall", 0.0, "On-call", "People on call for this service.",
        unit="USD/month", ge=0, le=10_000_000,
    )  # fmt: skip
    pue: float = _field(
        "overheads", "pue", 1.2, "PUE",
        "Power of the whole data centre over the power of its computers. Counts for energy and "
        "carbon, not for rented prices.",
        unit="×", ge=1, le=3, step=0.01, source="ecologits 0.11.3, OpenAI as modelled",
        as_of="2026-09-01",
    )  # fmt: skip
    grid_g_co2_per_kwh: float = _field(
        "overheads", "grid", 400.0, "Grid carbon", "Carbon of the electricity used.",
        unit="g/kWh", ge=0, le=2000, source=ASSUMED, as_of=ASSUMED_ON,
    )  # fmt: skip

    # display
    currency: Literal["USD", "EUR", "GBP", "CHF", "JPY", "CNY", "INR"] = _field(
        "display", "cur", "USD", "Currency", "Money is computed in USD and shown in this currency.",
    )  # fmt: skip
    currency_per_usd: float = _field(
        "display", "fx", 1.0, "Exchange rate", "Units of the currency for one USD.",
        unit="per USD", ge=0.0001, le=100_000,
    )  # fmt: skip
    period: Literal["day", "month", "year"] = _field(
        "display", "per", "month", "Period", "Period of the totals.",
    )  # fmt: skip
    cost_basis: Literal["loaded", "marginal"] = _field(
        "display", "basis", "loaded", "Cost basis",
        "Fully loaded: idle time and overheads included. Marginal: one more request, on capacity "
        "that is full.",
    )  # fmt: skip
    swing: float = _field(
        "display", "swing", 0.2, "How far each field moves",
        "For what moves the cost most: each number goes down and up by this share of itself, a "
        "share by half as many points (20 %: 10 points), a whole number by one at least, devices "
        "that work together to half and double. Always within the limits of the field.",
        unit="share", ge=0.01, le=0.9, step=0.01,
        source="assumption of this project: the same for all, so that fields can be compared",
        as_of="2026-11-25",
    )  # fmt: skip

    @property
    def clouds(self) -> frozenset[str] | None:
        """Clouds that auto looks in; None for all."""
        return _named(self.cloud)

    @property
    def regions(self) -> frozenset[str] | None:
        """Regions that auto looks in; None for all."""
        return _named(self.region)


def _named(names: str) -> frozenset[str] | None:
    found = frozenset(names.split(","))
    return None if "any" in found else found


@dataclass(frozen=True)
class FieldInfo:
    """What a page, a link or a reviewer needs to know of one field."""

    name: str
    key: str
    group: Group
    title: str
    help: str
    unit: str
    default: Any
    kind: Literal["int", "float", "choice", "text"]
    minimum: float | None
    maximum: float | None
    step: float | None
    log: bool
    several: bool
    choices: tuple[str, ...]
    optional: bool
    source: str
    as_of: date | None


def _describe(name: str) -> FieldInfo:
    info = Scenario.model_fields[name]
    extra = info.json_schema_extra
    assert isinstance(extra, dict)
    annotation: Any = info.annotation
    optional = type(None) in get_args(annotation)
    inner = get_args(annotation)[0] if optional else annotation
    choices = get_args(inner) if inner not in (int, float, str) else ()
    kind: Any = {int: "int", float: "float", str: "text"}.get(inner, "choice")
    limits = {type(item): item for item in info.metadata}
    for argument in get_args(annotation):
        for item in getattr(argument, "__metadata__", ()):
            limits.setdefault(type(item), item)
    ge, le = limits.get(annotated_types.Ge), limits.get(annotated_types.Le)
    as_of = str(extra["as_of"])
    return FieldInfo(
        name=name, key=str(extra["key"]), group=extra["group"],  # type: ignore[arg-type]
        title=str(info.title), help=str(info.description), unit=str(extra["unit"]),
        default=info.default, kind=kind,
        minimum=None if ge is None else float(ge.ge),
        maximum=None if le is None else float(le.le),
        step=extra["step"],  # type: ignore[arg-type]
        log=bool(extra["log"]), several=bool(extra["several"]), choices=choices, optional=optional,
        source=str(extra["source"]), as_of=date.fromisoformat(as_of) if as_of else None,
    )  # fmt: skip


FIELDS: dict[str, FieldInfo] = {name: _describe(name) for name in Scenario.model_fields}
KEYS: dict[str, str] = {info.key: name for name, info in FIELDS.items()}
assert len(KEYS) == len(FIELDS), "two fields share a key"


def shown_as(scenario: Scenario, viewer: Scenario) -> Scenario:
    """A scenario with what somebody chose about the display in another one."""
    return scenario.model_copy(
        update={
            name: getattr(viewer, name) for name, info in FIELDS.items() if info.group == "display"
        }
    )
