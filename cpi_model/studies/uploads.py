"""Measurements of others as rows of measured runs: reports of benchmark tools, and tables.

Read are tables with the columns of :mod:`cpi_model.studies.validate` and the JSON that ``vllm bench
serve``, AIPerf (GenAI-Perf) and guidellm write. Those reports do not say on what was measured; that
is taken from a scenario. Files are hostile: sizes are bounded before anything is parsed, nothing is
unpacked, every number that is used is checked, and a file that cannot be used as a whole is refused
in one sentence.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cpi_model.catalog import Catalog
from cpi_model.links import shown
from cpi_model.scenario import Scenario
from cpi_model.schema import Model
from cpi_model.studies.runs import CORRECTIONS, MOST_IN_FLIGHT
from cpi_model.studies.validate import UnusableTable, rows_of
from cpi_model.units import MB, MICROSECOND, MILLISECOND, TERA

LARGEST_FILE = 20 * int(MB)
MOST_ROWS = 20_000
MOST_VALUES = 3_000_000
"""Values of a JSON file: twenty megabytes of empty lists would fill half a gigabyte of memory."""
LARGEST_NUMBER = TERA
LONGEST = 60
"""Characters of an id."""
PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")
"""How gzip, zip, bzip2, xz, Zstandard and 7-Zip files begin."""

NUMBERS = (
    "accelerators", "tensor_parallel", "pipeline_parallel", "data_parallel", "expert_parallel",
    "moe_tensor_parallel", "concurrency", "batch_size", "input_tokens", "output_tokens",
    "requests_per_s", "output_tokens_per_s", "ttft_ms", "tpot_ms", "latency_mean_ms",
    "latency_p50_ms", "cost_per_1m_inferences_usd", *CORRECTIONS,
)  # fmt: skip
"""Columns of a table that hold numbers."""
FROM_SCENARIO = {
    "hardware": ("hardware", "accelerator"),
    "engine": ("engine", "engine"),
    "weight_precision": ("precision", "scheme"),
    "kv_precision": ("cache precision", "kv_precision"),
    "tensor_parallel": ("tensor parallel", "tensor_parallel"),
    "pipeline_parallel": ("pipeline parallel", "pipeline_parallel"),
    "data_parallel": ("data parallel", "data_parallel"),
    "expert_parallel": ("expert parallel", "expert_parallel"),
}
"""Columns that no report fills: what people call them, and the field of the scenario.

``vllm bench serve --metadata hardware=h100-sxm`` puts such a column into its report.
"""
SECONDS = {"ms": MILLISECOND, "s": 1.0, "sec": 1.0, "us": MICROSECOND, "µs": MICROSECOND,
           "ns": MICROSECOND * MILLISECOND}  # fmt: skip
"""Units of time in reports of AIPerf."""
DECORATION = {
    "meta", "instruct", "chat", "hf", "it", "fp8", "fp4", "nvfp4", "mxfp4", "awq", "gptq", "int4",
    "int8", "bf16", "fp16", "w8a8", "w4a16", "quantized", "dynamic", "kv", "kvcache", "block",
}  # fmt: skip
"""Words in the name of a model that say how it was trained on or stored."""


@dataclass(frozen=True)
class Upload:
    """What was read from a file."""

    name: str
    rows: list[dict[str, str]]
    notes: tuple[str, ...]
    """Sentences: what was taken from the scenario, what was computed."""


@dataclass(frozen=True)
class _Reading:
    """One run of a report, before what it lacks is filled in; NaN where it says nothing."""

    model: str
    input_tokens: float
    output_tokens: float
    requests_per_s: float
    output_tokens_per_s: float = math.nan
    ttft_ms: float = math.nan
    tpot_ms: float = math.nan
    latency_ms: float = math.nan
    in_flight: float = math.nan
    """Requests kept in flight, where the tool kept their number."""
    given: Mapping[str, str] = field(default_factory=dict)
    """Columns that the report fills."""

    @property
    def latency(self) -> float:
        """Mean of a whole request, from its parts where it is not given. [ms]"""
        if not math.isnan(self.latency_ms):
            return self.latency_ms
        return self.ttft_ms + max(self.output_tokens - 1.0, 0.0) * self.tpot_ms


def read(name: str, content: bytes, scenario: Scenario, facts: Catalog) -> Upload:
    """Rows of measured runs of a file, whatever it is.

    Raises
    ------
    UnusableTable
        If the file is too large, packed, no text, neither a table nor a known report, or has a
        number that cannot be; the message names it and what is allowed.
    """
    name = shown(name).strip("'")
    hint = "; reports of benchmarks are small when they leave out the single requests"
    text = text_of(name, content, LARGEST_FILE, "CSV and JSON are read", hint)
    if text.lstrip()[:1] in ("{", "["):
        return _reports(name, text, scenario, facts)
    return Upload(name, _table(name, text), ())


def text_of(name: str, content: bytes, largest: int, read: str, hint: str = "") -> str:
    """Text of a file that is neither too large nor packed.

    Raises
    ------
    UnusableTable
        If it is; `read` says what could be, `hint` how to make it smaller.
    """
    if len(content) > largest:
        raise UnusableTable(
            f"{name} has {len(content) / MB:,.1f} MB, at most {largest / MB:,.0f} are read{hint}."
        )
    if content.startswith(PACKED):
        raise UnusableTable(f"{name} is packed; unpack it first, {read}.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnusableTable(f"{name} is no text in UTF-8; {read}.") from None


def content_of(path: Path, largest: int) -> bytes:
    """Bytes of a file on this machine, no more than one above what may be read.

    Raises
    ------
    UnusableTable
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(largest + 1)
    except OSError as problem:
        raise UnusableTable(f"{path} cannot be read: {problem.strerror}.") from None


def read_file(path: Path, scenario: Scenario, facts: Catalog) -> Upload:
    """The same for a file on this machine, of which no more is read than may be.

    Raises
    ------
    UnusableTable
        If it cannot be read or used.
    """
    return read(path.name, content_of(path, LARGEST_FILE), scenario, facts)


# Tables ------------------------------------------------------------------------------------------


def _table(name: str, text: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for number, row in enumerate(rows_of(io.StringIO(text, newline=""), name), start=2):
        if len(rows) == MOST_ROWS:
            raise UnusableTable(f"{name} has more than {MOST_ROWS:,} rows, which is the most.")
        for column in NUMBERS:
            if (cell := row.get(column, "").strip()) and not _is_number(cell):
                raise UnusableTable(
                    f"{name}, line {number}: {column} is {shown(cell)}, allowed is a number from "
                    f"0 to {LARGEST_NUMBER:,.0f}, or nothing."
                )
        rows.append(row)
    if not rows:
        raise UnusableTable(f"{name} has no rows below its header.")
    return rows


def _is_number(cell: str) -> bool:
    try:
        return 0.0 <= float(cell) <= LARGEST_NUMBER
    except ValueError:
        return False


# Reports -----------------------------------------------------------------------------------------


class _Report(BaseModel):
    """What is used of a report; the rest is passed over."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


Number = Annotated[float, Field(ge=0, le=LARGEST_NUMBER, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=LARGEST_NUMBER, allow_inf_nan=False)]


class _VllmServe(_Report):
    """JSON of ``vllm bench serve``, before that ``benchmark_serving.py``."""

    model_id: str = ""
    completed: Positive
    num_prompts: Number | None = None
    max_concurrency: Number | None = None
    request_rate: float | str | None = None
    total_input_tokens: Positive
    total_output_tokens: Number
    request_throughput: Positive
    output_throughput: Number | None = None
    mean_ttft_ms: Number | None = None
    mean_tpot_ms: Number | None = None
    mean_e2el_ms: Number | None = None


class _Statistic(_Report):
    """One measure of AIPerf."""

    unit: str = ""
    avg: Number | None = None


class _AiPerf(_Report):
    """``profile_export_aiperf.json``, as GenAI-Perf wrote it."""

    request_throughput: _Statistic
    request_latency: _Statistic
    time_to_first_token: _Statistic | None = None
    inter_token_latency: _Statistic | None = None
    output_token_throughput: _Statistic | None = None
    input_sequence_length: _Statistic
    output_sequence_length: _Statistic
    input_config: dict[str, Any] | None = None


class _Distribution(_Report):
    """One measure of guidellm."""

    mean: Number | None = None
    count: Number | None = None


class _ByOutcome(_Report):
    successful: _Distribution


class _GuideMetrics(_Report):
    requests_per_second: _ByOutcome
    request_concurrency: _ByOutcome
    request_latency: _ByOutcome
    prompt_token_count: _ByOutcome
    output_token_count: _ByOutcome
    output_tokens_per_second: _ByOutcome | None = None
    time_to_first_token_ms: _ByOutcome | None = None
    inter_token_latency_ms: _ByOutcome | None = None


class _GuideBenchmark(_Report):
    metrics: _GuideMetrics
    config: dict[str, Any] | None = None


class _GuideReport(_Report):
    """JSON of guidellm; a sweep has one benchmark for each load."""

    args: dict[str, Any] | None = None
    benchmarks: list[_GuideBenchmark] = Field(min_length=1)


def _reports(name: str, text: str, scenario: Scenario, facts: Catalog) -> Upload:
    documents = _documents(name, text)
    readings = [reading for document in documents for reading in _readings(name, document)]
    done = [reading for reading in readings if reading.requests_per_s > 0]
    if not done:
        raise UnusableTable(f"{name} has no run in which a request was answered.")
    if len(done) > MOST_ROWS:
        raise UnusableTable(f"{name} has more than {MOST_ROWS:,} runs, which is the most.")
    notes = []
    if len(done) < len(readings):
        left_out = len(readings) - len(done)
        notes.append(f"{name}: {left_out} of {len(readings)} runs answered no request.")
    rows = [
        _row(f"{name} {number}" if len(done) > 1 else name, reading, scenario, facts)
        for number, reading in enumerate(done, start=1)
    ]
    return Upload(name, rows, (*notes, *_notes(name, done, scenario, facts)))


def _documents(name: str, text: str) -> list[Any]:
    """JSON, or JSON by the line as ``--append-result`` writes it."""
    if text.count("[") + text.count("{") + text.count(",") > MOST_VALUES:
        raise UnusableTable(
            f"{name} has more than {MOST_VALUES:,} values, which is the most; reports of "
            "benchmarks are small when they leave out the single requests."
        )
    try:
        try:
            document = json.loads(text)
        except json.JSONDecodeError as problem:
            if problem.msg != "Extra data":
                raise
            document = [json.loads(line) for line in text.splitlines() if line.strip()]
    except json.JSONDecodeError as problem:
        raise UnusableTable(f"{name} is not JSON: line {problem.lineno} cannot be read.") from None
    except RecursionError:
        raise UnusableTable(f"{name} is nested too deeply for a report.") from None
    except ValueError:  # digits without end
        raise UnusableTable(f"{name} has a number that is too long to be read.") from None
    return document if isinstance(document, list) else [document]


def _readings(name: str, document: Any) -> Iterator[_Reading]:
    """Runs of one report, by what only its tool writes."""
    if not isinstance(document, dict):
        raise UnusableTable(f"{name} holds {shown(document)} where a report was expected.")
    try:
        if "benchmarks" in document:
            yield from _of_guidellm(_GuideReport.model_validate(document))
        elif isinstance(document.get("request_throughput"), dict):
            yield _of_aiperf(name, _AiPerf.model_validate(document))
        elif "total_input_tokens" in document:
            yield _of_vllm(_VllmServe.model_validate(document), document)
        else:
            raise UnusableTable(
                f"{name} is of no kind that is known here: JSON of vllm bench serve, AIPerf, "
                "GenAI-Perf or guidellm, or a CSV table of runs."
            )
    except ValidationError as problem:
        raise UnusableTable(_complaint(name, problem)) from None


def _complaint(name: str, problem: ValidationError) -> str:
    """What is wrong first, where, and what is allowed."""
    first = problem.errors()[0]
    where = shown(".".join(str(part) for part in first["loc"])).strip("'")
    if first["type"] == "missing":
        return f"{name} has no {where}, without which nothing can be compared."
    expected = first["msg"][0].lower() + first["msg"][1:]
    return f"{name}: {where} is {shown(first['input'])}, but the {expected}."


def _of_vllm(report: _VllmServe, document: Mapping[str, Any]) -> _Reading:
    cap = _known(report.max_concurrency)
    # All requests of a run that is shorter than its cap are in flight at once.
    kept = min(cap, _known(report.num_prompts) or cap) if cap else math.nan
    # With a finite rate the cap is seldom reached.
    paced = isinstance(report.request_rate, float) and math.isfinite(report.request_rate)
    return _Reading(
        model=report.model_id,
        input_tokens=report.total_input_tokens / report.completed,
        output_tokens=report.total_output_tokens / report.completed,
        requests_per_s=report.request_throughput,
        output_tokens_per_s=_known(report.output_throughput),
        # Without streaming these are written as 0.
        ttft_ms=_known(report.mean_ttft_ms),
        tpot_ms=_known(report.mean_tpot_ms),
        latency_ms=_known(report.mean_e2el_ms),
        in_flight=math.nan if paced else kept,
        given={
            column: str(document[column])
            for column in (*FROM_SCENARIO, "accelerators")
            if isinstance(value := document.get(column), str | int) and len(str(value)) <= LONGEST
        },
    )


def _known(value: float | None) -> float:
    """A figure; NaN where it is missing or 0, which stands for missing."""
    return value if value else math.nan


def _of_aiperf(name: str, report: _AiPerf) -> _Reading:
    def time(measure: str, statistic: _Statistic | None) -> float:
        if statistic is None or not statistic.avg:
            return math.nan
        if statistic.unit not in SECONDS:
            raise UnusableTable(
                f"{name}: the unit of {measure} is {shown(statistic.unit)}, allowed is one of "
                f"{', '.join(SECONDS)}."
            )
        return statistic.avg * SECONDS[statistic.unit] / MILLISECOND

    settings = report.input_config or {}
    kept = _first(settings, ("loadgen", "concurrency"), ("concurrency",),
                  ("perf_analyzer", "stimulus", "concurrency"))  # fmt: skip
    model = _first(settings, ("endpoint", "model_names"), ("model_names",), ("model",))
    tokens = report.output_token_throughput
    return _Reading(
        model=str(model[0] if isinstance(model, list) and model else model or ""),
        input_tokens=_known(report.input_sequence_length.avg),
        output_tokens=_known(report.output_sequence_length.avg),
        requests_per_s=report.request_throughput.avg or 0.0,
        output_tokens_per_s=_known(tokens.avg if tokens else None),
        ttft_ms=time("time_to_first_token", report.time_to_first_token),
        tpot_ms=time("inter_token_latency", report.inter_token_latency),
        latency_ms=time("request_latency", report.request_latency),
        in_flight=float(kept) if _is_count(kept) else math.nan,
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_NUMBER


def _first(settings: Mapping[str, Any], *paths: tuple[str, ...]) -> Any:
    """The first of several places that is filled."""
    for path in paths:
        found: Any = settings
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            return found
    return None


def _of_guidellm(report: _GuideReport) -> Iterator[_Reading]:
    for benchmark in report.benchmarks:
        found = benchmark.metrics
        model = _first(report.args or {}, ("model",)) or _first(
            benchmark.config or {}, ("backend", "model")
        )

        def mean(measure: _ByOutcome | None) -> float:
            return _known(measure.successful.mean if measure else None)

        requests = mean(found.requests_per_second)
        yield _Reading(
            model=model if isinstance(model, str) else "",
            input_tokens=mean(found.prompt_token_count),
            output_tokens=mean(found.output_token_count),
            requests_per_s=0.0 if math.isnan(requests) else requests,
            output_tokens_per_s=mean(found.output_tokens_per_second),
            ttft_ms=mean(found.time_to_first_token_ms),
            # Its time per output token counts the first token too.
            tpot_ms=mean(found.inter_token_latency_ms),
            latency_ms=mean(found.request_latency) / MILLISECOND,
            in_flight=mean(found.request_concurrency),
        )


# What reports do not say -------------------------------------------------------------------------


def known_model(name: str, facts: Catalog) -> Model | None:
    """The model of the catalog that a path or a name on a hub means.

    >>> from cpi_model.catalog import catalog
    >>> known_model("meta-llama/Llama-3.1-8B-Instruct", catalog()).id
    'llama-3.1-8b'
    """
    wanted = _words(name)
    if not wanted:
        return None
    for model in facts.models.values():
        if wanted in (_words(model.id), _words(model.name), *map(_words, model.also)):
            return model
    return None


def _words(name: str) -> tuple[str, ...]:
    """Words of a name that tell one model from another."""
    last = name.rstrip("/").rpartition("/")[2].lower()
    words = [word for word in re.split(r"[^a-z0-9.]+", last) if word not in DECORATION | {""}]
    return tuple(word for word in words if not re.fullmatch(r"\d{4}", word))  # month of a release


def _row(id: str, reading: _Reading, scenario: Scenario, facts: Catalog) -> dict[str, str]:
    """A row of a table of runs."""
    model = known_model(reading.model, facts) or facts.models.get(scenario.model)
    if model is None or model.transformer is None:
        raise UnusableTable(
            f"{id} names no language model of the catalog, and the scenario's model is none; "
            "choose the model in the scenario first."
        )
    if math.isnan(reading.input_tokens) or math.isnan(reading.output_tokens):
        raise UnusableTable(f"{id} does not say how many tokens went in and came out.")
    row = {
        "id": id, "model_class": model.model_class, "model": model.id,
        "scenario": "closed-loop", "lengths": "mean",
    } | {
        column: reading.given.get(column, str(getattr(scenario, name)))
        for column, (_, name) in FROM_SCENARIO.items()
    }  # fmt: skip
    devices = math.prod(
        int(row[f"{kind}_parallel"]) if row[f"{kind}_parallel"].isdecimal() else 1
        for kind in ("tensor", "pipeline", "data")
    )
    row["accelerators"] = reading.given.get("accelerators", str(devices))
    numbers = {
        "concurrency": _in_flight(reading, scenario),
        "input_tokens": reading.input_tokens,
        "output_tokens": reading.output_tokens,
        "requests_per_s": reading.requests_per_s,
        "output_tokens_per_s": reading.output_tokens_per_s,
        "ttft_ms": reading.ttft_ms,
        "tpot_ms": reading.tpot_ms,
        "latency_mean_ms": reading.latency_ms,
    }
    for column in NUMBERS:
        if (cell := row.get(column, "")) and not _is_number(cell):
            raise UnusableTable(
                f"{id}: {column} is {shown(cell)}, allowed is a number from 0 to "
                f"{LARGEST_NUMBER:,.0f}."
            )
    return row | {
        column: "" if math.isnan(value) else f"{value:.9g}" for column, value in numbers.items()
    }


def _by_little(reading: _Reading) -> bool:
    """Whether the requests in flight have to be computed, and can be."""
    return math.isnan(reading.in_flight) and not math.isnan(reading.latency)


def _in_flight(reading: _Reading, scenario: Scenario) -> float:
    """Requests in flight: kept by the tool, by Little's law, or those of the scenario."""
    if not math.isnan(reading.in_flight):
        found = reading.in_flight
    elif _by_little(reading):
        found = reading.requests_per_s * reading.latency * MILLISECOND
    else:
        found = float(scenario.concurrency)
    return float(round(min(max(found, 1.0), MOST_IN_FLIGHT)))


def _notes(
    name: str, readings: Iterable[_Reading], scenario: Scenario, facts: Catalog
) -> Iterator[str]:
    readings = list(readings)
    lacking = [
        (what, str(getattr(scenario, of)))
        for column, (what, of) in FROM_SCENARIO.items()
        if any(column not in reading.given for reading in readings)
    ]
    strange = {reading.model for reading in readings if known_model(reading.model, facts) is None}
    if strange:
        lacking.insert(0, ("model", scenario.model))
    if any(math.isnan(each.in_flight) and not _by_little(each) for each in readings):
        lacking.append(("concurrency", str(scenario.concurrency)))
    if lacking:
        listed = ", ".join(f"{what} {value}" for what, value in lacking)
        yield f"{name} does not say on what it was measured; the scenario did: {listed}."
    if names := sorted(each for each in strange if each):
        yield f"{name} names a model that is not in the catalog: {shown(names[0])}."
    if any(map(_by_little, readings)):
        yield (
            f"{name}: requests in flight are requests a second times mean latency (Little's law)."
        )
