"""Measured runs as scenarios: what a table of runs says, in the terms of this package."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cpi_model.catalog import Catalog
from cpi_model.coefficients import Coefficients, Pairing
from cpi_model.inputs import (
    FIRST_OF_PAIRING,
    Choice,
    Inputs,
    engine_runs_on,
    multiplied_in,
    numbers,
)
from cpi_model.scenario import Scenario
from cpi_model.schema import Accelerator, Engine, Model
from cpi_model.studies.bands import serving
from cpi_model.units import MILLISECOND

SCHEMES = {
    "fp32": "fp32", "tf32": "bf16", "fp16": "bf16", "bf16": "bf16", "fp8": "fp8", "int8": "int8",
    "int4": "int4-awq", "nvfp4": "nvfp4", "fp4": "nvfp4", "mxfp4": "mxfp4", "f16": "bf16",
    "matmult-bf16": "bf16", "fp32, bf16": "bf16", "q4_k_m": "int4-awq", "int8 2:4": "int8",
    "fp16 2:4": "bf16",
}  # fmt: skip
"""Our scheme for a published precision."""
DRAWN_LENGTH = 0.9
"""Closed-loop runs draw each length evenly from 0.8 to 1.0 of the nominal one."""
MLPERF_ITEMS = {"dlrm-v2": 270}
"""User-item pairs in one MLPerf sample (100 to 700, mean about 270)."""
MLPERF_TOKENS = {"bert-large": 180}
"""Mean SQuAD length, an assumption: inputs are padded to 384 and engines drop the padding."""
MLPERF_ANSWER = {"gpt-j-6b": (778, 69), "deepseek-r1": (800, 3700), "llama-2-70b": (294, 290)}
"""Input and output tokens of MLPerf's requests where a table leaves them out: the mean input is
second-hand; the output is what tokens per second are defined by, or tokens over requests of the
rounds that state both."""
MLPERF_CAREFUL = "dlrm-v2-99.9/"
"""A benchmark whose accuracy takes wider arithmetic than its 8-bit weights; as sources name it."""
BEAMS = {"gpt-j-6b": 4}
"""Width of the beam search that MLPerf prescribes: as many tokens are computed for one kept."""
MEMORY_SHARE = 0.92
"""Share of a device's memory that measured engines use."""
LEAST_ROOM = 0.03
"""Share of a device's memory that is left for the cache where weights nearly fill it."""
ENGINES = (
    ("tensorrt-llm", "tensorrt-llm"), ("nim", "tensorrt-llm"), ("vllm", "vllm"),
    ("sglang", "sglang"), ("fastertransformer", "tensorrt-llm"), ("tensorrt", "tensorrt"),
    ("tf-trt", "tensorrt"), ("fastertransformer", "tensorrt"), ("onnx", "onnxruntime"),
    ("openvino", "openvino"), ("torch.compile", "pytorch-compile"), ("torch", "pytorch-eager"),
    ("neuron", "neuron"), ("llama.cpp", "llama-cpp"),
)  # fmt: skip
"""Our engine for a word in a published name; the first that serves the model counts."""
USUAL_ENGINES = {"llm": "vllm"}
"""What stands for software that we do not have, where it serves the model on the chip."""
USUAL_ENGINE = "pytorch-eager"
"""The same for models of other classes."""
ONE_TOKEN_ENGINE = "tensorrt-llm"
"""The engine whose benchmark of static batches (gptSessionBenchmark) fills every prompt with the
padding token."""
MOST_IN_FLIGHT = 8192
CORRECTIONS = ("step_time_correction", "first_token_correction")
"""Columns of a table that are fields of the scenario; empty is no correction."""


@dataclass(frozen=True)
class Run:
    """One measured run, with what the model needs to predict it."""

    id: str
    scenario: Scenario
    choice: Choice
    loop: str
    nominal_output: float
    accelerators: float
    ttft: float
    tpot: float
    requests_per_s: float
    output_tokens_per_s: float
    latency: float
    """Mean, or the median where no mean is given. [s]"""
    cost_per_million: float
    """USD, as published."""
    price: float
    """USD per hour of the system, as published; NaN where it is not."""
    batch: float
    """Of a static batch, or the largest of the engine; NaN where not given."""
    replicas: float
    """Copies of the model in the system."""
    tensor_parallel_given: bool
    engine_given: bool
    """Whether the engine is one of the catalog, not a published name of some release."""
    software: str
    """The published name without its release, or the engine's id."""
    offered: float
    """Requests a second that arrive whether others are done or not; infinite where not given."""


def _number(row: Mapping[str, str], name: str) -> float:
    text = (row.get(name) or "").strip()
    try:
        value = float(text) if text else math.nan
    except ValueError:
        raise UnreadableRow(f"{name} is not a number") from None
    if value < 0 or math.isinf(value):
        raise UnreadableRow(f"{name} is negative or infinite")
    return value


class UnreadableRow(ValueError):
    """A row with a cell that cannot be read."""


def read_runs(
    rows: Iterable[Mapping[str, str]], facts: Catalog
) -> tuple[list[Run], dict[str, int]]:
    """Runs that can be predicted, and for the others how many were left out for which reason."""
    runs: list[Run] = []
    left_out: dict[str, int] = {}
    for row in rows:
        run = read_run(row, facts)
        if isinstance(run, str):
            left_out[run] = left_out.get(run, 0) + 1
        else:
            runs.append(run)
    return runs, left_out


def read_run(row: Mapping[str, str], facts: Catalog) -> Run | str:
    """One row of a table of measured runs, or why it cannot be predicted."""
    try:
        return _read_run(row, facts)
    except UnreadableRow as problem:
        return str(problem)
    except ValidationError as problem:
        fields = ", ".join(str(error["loc"][0]) for error in problem.errors() if error["loc"])
        return f"outside what the model takes: {fields}"


def _read_run(row: Mapping[str, str], facts: Catalog) -> Run | str:
    model = facts.models.get(row.get("model") or "") or renamed(row.get("model") or "", facts)
    if model is None:
        return "model not in the catalog"
    accelerator = facts.accelerators.get(row.get("hardware") or "")
    if accelerator is None:
        return "hardware not in the catalog"
    published = (row.get("weight_precision") or "bf16").lower().strip("? ")
    # Some tables put a chip's precision behind the model's: Matmult-BF16 or fp32:int8.
    published = published if published in SCHEMES else published.rsplit(":", 1)[-1].strip()
    scheme_id = published if published in facts.schemes else SCHEMES.get(published)
    if scheme_id is None:
        return "precision not known"
    # The compiler of these chips multiplies 32-bit models in 16 bits unless told otherwise.
    if scheme_id == "fp32" and accelerator.vendor == "AWS":
        scheme_id = "bf16"
    if model.id.startswith("gpt-oss"):
        scheme_id = "mxfp4-experts"
    scheme = facts.schemes[scheme_id]
    engine = _engine(row.get("engine") or "", model, accelerator, facts)
    arithmetic = multiplied_in(accelerator, scheme)
    if arithmetic is None or accelerator.memory_bandwidth_gb_per_s is None:
        return "speed of the hardware not known"
    if accelerator.memory_gb is None and accelerator.kind != "cpu":
        return "memory of the hardware not known"
    loop = row.get("scenario") or "offline"
    exact = (row.get("engine") or "") in facts.engines
    nominal = (row.get("lengths") or "nominal") == "nominal"
    drawn = DRAWN_LENGTH if loop == "closed-loop" and exact and nominal else 1.0
    parallel = _parallel(row, accelerator)
    in_flight, batch = _number(row, "concurrency"), _number(row, "batch_size")
    if math.isnan(in_flight):
        in_flight = batch
    if not math.isnan(together := TOGETHER.get(loop, math.nan)):
        in_flight = batch = together
    tokens_in, tokens_out = _number(row, "input_tokens"), _number(row, "output_tokens")
    reference = model.sample.reference_tokens if model.sample else 0
    # Engines that drop the padding are published with the padded length.
    if unpadded := re.search(r"effective mean length is seq/(\d)", row.get("notes") or ""):
        tokens_in /= int(unpadded[1])
    id, beams = row.get("id") or "", 1
    if id.startswith("mlperf"):
        beams = BEAMS.get(model.id, 1)
        tokens_in = MLPERF_TOKENS.get(model.id, tokens_in)
        if math.isnan(tokens_out) and model.id in MLPERF_ANSWER:
            tokens_in, tokens_out = MLPERF_ANSWER[model.id]
    scenario = Scenario(
        model=model.id,
        accelerator=accelerator.id,
        scheme=scheme_id,
        kv_precision=_kv_precision(row, scheme_id, engine.id, accelerator),
        engine=engine.id,
        concurrency=int(
            min(max(in_flight if not math.isnan(in_flight) else 256, 1), MOST_IN_FLIGHT)
        ),
        input_tokens=max(
            round(drawn * tokens_in) if not math.isnan(tokens_in) else reference or 512, 1
        ),
        output_tokens=max(
            round(drawn * tokens_out * beams) if not math.isnan(tokens_out) else 1, 1
        ),
        items_per_request=MLPERF_ITEMS.get(model.id, 1),
        work_scale=_work_scale(row, model),
        device_price_usd_per_hour=1.0,
        **parallel,
        **_corrections(row),
    )
    devices = float(scenario.tensor_parallel * scenario.pipeline_parallel * scenario.data_parallel)
    if model.model_class != "llm":
        devices = 1.0
    accelerators = _number(row, "accelerators")
    ways = _number(row, "tensor_parallel")
    # Double counted devices are no copies of the model.
    counted_twice = ways > scenario.tensor_parallel or (
        _number(row, "data_parallel") > scenario.data_parallel
    )
    alone = math.isnan(accelerators) or counted_twice
    mean, middle = _number(row, "latency_mean_ms"), _number(row, "latency_p50_ms")
    choice = Choice(
        model=model, accelerator=accelerator, scheme=scheme, engine=engine, instance=None,
        price=None, arithmetic=arithmetic, devices_per_replica=devices, notes=(),
    )  # fmt: skip
    return Run(
        id=id, scenario=scenario, choice=choice, loop=loop,
        nominal_output=tokens_out,
        accelerators=accelerators,
        ttft=_number(row, "ttft_ms") * MILLISECOND,
        tpot=_number(row, "tpot_ms") * MILLISECOND,
        requests_per_s=_number(row, "requests_per_s"),
        output_tokens_per_s=_number(row, "output_tokens_per_s"),
        latency=(middle if math.isnan(mean) else mean) * MILLISECOND,
        cost_per_million=_number(row, "cost_per_1m_inferences_usd"),
        price=_published_price(row.get("notes") or ""),
        batch=batch,
        replicas=1.0 if alone else max(math.floor(accelerators / devices), 1.0),
        tensor_parallel_given=not math.isnan(ways) or scenario.data_parallel > 1,
        engine_given=exact,
        software=_software(row, engine, scenario),
        offered=_offered(row),
    )  # fmt: skip


def renamed(name: str, facts: Catalog) -> Model | None:
    """A model of the catalog that a published table calls otherwise."""
    return next((model for model in facts.models.values() if name in model.also), None)


def _engine(name: str, model: Model, accelerator: Accelerator, facts: Catalog) -> Engine:
    """The engine of a published name, else a usual one that serves such models on such chips."""
    if name in facts.engines:
        return facts.engines[name]
    lower = name.lower()
    serve = [
        engine for engine in facts.engines.values() if model.model_class in engine.model_classes
    ]
    for word, id in ENGINES:
        if word in lower and (found := facts.engines.get(id)) in serve and found:
            return found
    run = [engine for engine in serve if engine_runs_on(engine, accelerator)] or serve
    usual = USUAL_ENGINES.get(model.model_class, USUAL_ENGINE)
    return next((engine for engine in run if engine.id == usual), run[0])


def _software(row: Mapping[str, str], engine: Engine, scenario: Scenario) -> str:
    """A published name without its release.

    Pruned weights and a stricter accuracy run on other kernels, and copies of the attention and
    pipelines are scheduled by other code, so they count as software of their own.
    """
    name = (row.get("engine") or "").lower()
    words = re.sub(r"\bv?\d+(\.[\dx]+)+\S*", "", name).replace("/", " ")
    pruned = "2:4" in (row.get("weight_precision") or "") and "2:4" not in words
    name = " ".join((f"{words} 2:4" if pruned else words).split())
    name = engine.id if name in {engine.name.lower(), ""} else name
    careful = " careful" if MLPERF_CAREFUL in (row.get("source") or "") else ""
    copies = " data parallel" if scenario.data_parallel > 1 else ""
    return name + careful + copies + (" pipeline" if scenario.pipeline_parallel > 1 else "")


def _offered(row: Mapping[str, str]) -> float:
    """Requests a second of an open loop, from its notes."""
    found = re.search(r"(?:request_rate |QPS=)([0-9.]+)", row.get("notes") or "")
    return float(found[1]) if found else math.inf


def _work_scale(row: Mapping[str, str], model: Model) -> float:
    """Work of an image of the published size over that of the size in the catalog."""
    found = re.search(r"(?:image|resolution) (\d+)x(\d+)", row.get("notes") or "")
    sample = model.sample
    if not found or sample is None or not sample.gflop_by_width:
        return 1.0
    widths = {int(width): work for width, work in sample.gflop_by_width.items()}
    area = int(found[1]) * int(found[2])
    nearest = min(widths, key=lambda width: abs(math.log(width * width / area)))
    scale = widths[nearest] / sample.gflop * area / nearest**2
    return min(max(scale, 0.01), 100.0)


def _published_price(notes: str) -> float:
    """USD per hour behind a published cost: ``*0.228/3600`` or ``price 23.92 USD/h``."""
    found = re.search(r"\*\s*([0-9.]+)\s*/\s*3600|price ([0-9.]+) USD/h", notes)
    return float(found[1] or found[2]) if found else math.nan


def _parallel(row: Mapping[str, str], accelerator: Accelerator) -> dict[str, Any]:
    """How the devices of a run share the work.

    Tensor and expert parallelism of one model share the same devices. Some collections count
    them twice: tensor x expert ways as that many devices, with the very figures of the run on as
    many devices as there are tensor ways. Those runs are read as what they repeat.
    """
    ways = {
        name: max(int(value), 1) if not math.isnan(value := _number(row, name)) else 1
        for name in (
            "tensor_parallel", "pipeline_parallel", "data_parallel", "expert_parallel",
            "moe_tensor_parallel",
        )
    }  # fmt: skip
    tensor, data, experts = (
        ways["tensor_parallel"], ways["data_parallel"], ways["expert_parallel"]
    )  # fmt: skip
    split = ways.pop("moe_tensor_parallel")
    if noted := re.search(r"\bDEP(\d+)", row.get("notes") or ""):
        return ways | {"data_parallel": int(noted[1]), "expert_parallel": int(noted[1])}
    if row.get("lengths") == "mean":  # a report of the user's own, not of a collection
        return ways
    beyond = tensor * data > accelerator.fast_domain_devices
    if split == experts > 1 and split * experts == tensor * data and (beyond or data > 1):
        if data > 1:
            ways["data_parallel"] = data // experts
        else:
            ways["tensor_parallel"] = tensor // experts
    elif data == tensor > 1 and experts == tensor * data:
        ways["data_parallel"], ways["expert_parallel"] = 1, tensor
    return ways


def _corrections(row: Mapping[str, str]) -> dict[str, Any]:
    return {name: value for name in CORRECTIONS if not math.isnan(value := _number(row, name))}


def _kv_precision(
    row: Mapping[str, str], scheme: str, engine: str, accelerator: Accelerator
) -> Any:
    published = {
        "fp8": "fp8", "int8": "int8", "bf16": "bf16", "fp16": "bf16", "fp4": "fp4",
    }.get(row.get("kv_precision") or "")  # fmt: skip
    if published:
        return published
    # With 8- and 4-bit weights TensorRT-LLM keeps an 8-bit cache unless told otherwise, and runs
    # on chips with 4-bit arithmetic are published with one.
    narrow = scheme in ("fp8", "nvfp4")
    eight = engine == "tensorrt-llm" or "fp4" in accelerator.dense_tflops
    return "fp8" if narrow and eight else "bf16"


def mode(run: Run) -> str:
    """What kind of run it is: ``closed`` loop, ``static`` batch, ``single`` stream, or the
    ``offline`` best.

    Closed loops on a release that the table names in its own way (older ones, servers around an
    engine) are ``served``: the same load on other software. Runs at the most load within a limit
    (``server``, ``interactive``) or at an offered load (``open``) approach the best.
    """
    if run.loop == "closed-loop":
        return "closed" if run.engine_given else "served"
    if run.loop in TOGETHER:
        return "single"
    # Tables of samples state the batch at which their best was reached.
    stated = run.loop == "offline" and not run.id.startswith("mlperf") and run.batch > 0
    if run.loop == "static-batch" or stated:
        return "static"
    return LIMITED.get(run.loop, "none")


def residual_kind(run: Run) -> str:
    """Name of the residuals that go with a run: its class, and its mode but for steady serving."""
    kind, of = mode(run), run.choice.model.model_class
    return of if kind == "closed" and of == "llm" else f"{of}-{kind}"


TOGETHER = {"singlestream": 1.0, "multistream": 8.0, "realtime-min-latency": math.nan}
"""Samples that arrive together in runs for the shortest time; NaN where the row gives them."""
BATCHES = ("static", "single")
"""Modes in which one batch is done from its first to its last token."""
LIMITED = {
    "offline": "offline", "server": "server", "interactive": "interactive", "open-loop": "open",
    "server-max": "open",
}  # fmt: skip
"""Kinds of runs for which the load is looked for."""


def pairing_of(run: Run, fitted: Coefficients, kind: str | None = None) -> Pairing:
    """What was measured for runs like this one, or of another kind."""
    choice = run.choice
    return fitted.mode_pairing(
        choice.model, choice.accelerator, choice.arithmetic, choice.engine.id, choice.scheme.id,
        kind or mode(run), run.software,
    )  # fmt: skip


def stack(runs: list[Run], fitted: Coefficients) -> Inputs:
    """Inputs of all runs as arrays, with what is known of runs of their kind."""
    x = _with_modes(_stacked(runs, fitted), runs, fitted)
    x = in_batches(x, np.array([mode(run) in BATCHES for run in runs]))
    return _with_same_experts(_with_room(x), runs)


def in_batches(x: Inputs, chosen: NDArray[np.bool_]) -> Inputs:
    """Inputs with some runs of language models in whole batches; answers are all of one length."""
    whole = chosen & np.equal(x.is_llm, 1.0)
    return replace(
        x, whole_batches=np.where(whole, 1.0, x.whole_batches),
        output_cv=np.zeros_like(np.asarray(x.output_cv)),
    )  # fmt: skip


def stack_as_served(runs: list[Run], fitted: Coefficients) -> Inputs:
    """Inputs of all runs as arrays, as the app would estimate them: without their kind."""
    return _with_room(_stacked(runs, fitted))


def _stacked(runs: list[Run], fitted: Coefficients) -> Inputs:
    columns = [numbers(run.scenario, run.choice, fitted) for run in runs]
    return Inputs(**{
        field.name: np.array([getattr(column, field.name) for column in columns])
        for field in fields(Inputs)
    })  # fmt: skip


def _with_modes(x: Inputs, runs: list[Run], fitted: Coefficients) -> Inputs:
    """Factors of static batches and offline maxima, which other software reaches."""
    fixed, sequence = np.array(x.fixed_factor), np.array(x.sequence_factor)
    prompt = np.array(x.prompt_factor)
    work, expansion = np.array(x.scheme_work), np.array(x.expansion_time)
    first = {name: np.array(getattr(x, name)) for name in FIRST_OF_PAIRING}
    for index, run in enumerate(runs):
        if (kind := mode(run)) == "closed":
            continue
        # What a limit costs comes on top of what the best is like.
        pair = pairing_of(run, fitted, "offline" if kind in LIMITED.values() else kind)
        correction = run.scenario.step_time_correction
        fixed[index], sequence[index] = pair.fixed * correction, pair.sequence * correction
        prompt[index] = pair.prompt * correction
        # Factors of other kinds of run are by number format and scheme: it is in them already.
        work[index], expansion[index] = 1.0, 0.0
        # Inputs describe a steady load unless told otherwise.
        steady = serving(run.choice, fitted)[1]
        for name, column in first.items():
            column[index] *= getattr(pair, name) / getattr(steady, name)
    factors = {"fixed_factor": fixed, "sequence_factor": sequence, "prompt_factor": prompt}
    return replace(x, scheme_work=work, expansion_time=expansion, **factors, **first)


def all_tokens_alike(run: Run) -> bool:
    """Whether a run repeats one token in all prompts, as TensorRT-LLM's static benchmark does."""
    return run.loop == "static-batch" and run.choice.engine.id == ONE_TOKEN_ENGINE


def _with_same_experts(x: Inputs, runs: list[Run]) -> Inputs:
    """Tokens that are all alike choose the same experts; the others are never read."""
    alike = np.array([all_tokens_alike(run) for run in runs]) & np.greater(x.experts, 0.0)
    chosen = np.where(alike, x.experts_per_token / np.maximum(x.experts, 1.0), 1.0)
    return replace(
        x, experts=x.experts * chosen, expert_params=x.expert_params * chosen,
        expert_bytes=x.expert_bytes * chosen,
    )  # fmt: skip


def _with_room(x: Inputs) -> Inputs:
    """What ran did fit: where the usual share leaves no room beside the weights, a little more."""
    devices = x.tensor_parallel * x.pipeline_parallel
    weights = (x.dense_bytes + x.embedding_bytes) / devices + x.expert_bytes / (
        devices * x.data_parallel
    )
    needed = (weights + x.workspace_bytes) / x.memory_capacity + LEAST_ROOM
    return replace(x, memory_share=np.maximum(np.maximum(x.memory_share, MEMORY_SHARE), needed))
