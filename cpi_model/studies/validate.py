"""Predictions for measured runs, and how far off they are."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cpi_model.catalog import Catalog
from cpi_model.coefficients import Coefficients, Pairing, coefficients
from cpi_model.evaluate import Performance, performance
from cpi_model.formulas import batching
from cpi_model.inputs import Inputs
from cpi_model.studies.bands import serving
from cpi_model.studies.runs import (
    BATCHES,
    LIMITED,
    Run,
    mode,
    pairing_of,
    read_run,
    residual_kind,
    stack,
)
from cpi_model.units import HOUR, MILLION, MILLISECOND, Array

NEEDED = ("model", "hardware", "scenario")
"""Columns without which no row can be predicted."""
PREDICTED = (
    "predicted_requests_per_s", "predicted_output_tokens_per_s", "predicted_ttft_ms",
    "predicted_tpot_ms", "predicted_latency_mean_ms", "predicted_cost_per_1m_inferences_usd",
)  # fmt: skip
LIMITS_MS: dict[str, tuple[float, float, float]] = {
    "llama-2-70b": (2000, 200, math.inf), "llama-3.1-405b": (6000, 175, math.inf),
    "llama-3.1-8b": (2000, 100, math.inf), "mixtral-8x7b-v0.1": (2000, 200, math.inf),
    "deepseek-r1": (2000, 80, math.inf), "gpt-j-6b": (math.inf, math.inf, 20_000),
    "resnet50-v1.5": (math.inf, math.inf, 15), "retinanet-resnext50": (math.inf, math.inf, 100),
    "bert-large": (math.inf, math.inf, 130), "dlrm-v2": (math.inf, math.inf, 60),
    "sdxl-1.0": (math.inf, math.inf, 20_000),
}  # fmt: skip
"""99th percentiles that MLPerf allows in its server scenario: first token, per token, whole."""
INTERACTIVE_MS: dict[str, tuple[float, float, float]] = {
    "llama-2-70b": (450, 40, math.inf), "llama-3.1-405b": (4500, 80, math.inf),
    "llama-3.1-8b": (500, 30, math.inf),
}  # fmt: skip
Z_99 = 2.3263478740408408
"""99th percentile of the standard normal distribution."""
GRID = np.unique(np.round(2.0 ** np.arange(0.0, 12.25, 0.25)))
"""Requests in flight among which the best, or the most within a limit, is looked for."""
DEVICES = (1, 2, 4, 8, 16)
WAYS = tuple((devices, 1) for devices in DEVICES) + tuple((1, devices) for devices in DEVICES[1:])
"""Tensor parallelism, and copies of the attention, that are tried where a row names none."""


@dataclass(frozen=True)
class Prediction:
    """What the model says about one row; NaN where it says nothing."""

    id: str
    model_class: str
    scenario: str
    requests_per_s: float = math.nan
    output_tokens_per_s: float = math.nan
    ttft: float = math.nan
    tpot: float = math.nan
    latency: float = math.nan
    cost_per_million: float = math.nan
    reason: str = ""
    """Why there is no prediction; empty where there is one."""


@dataclass(frozen=True)
class Summary:
    """Errors of the rows of one class and scenario: |measured/predicted - 1|."""

    model_class: str
    scenario: str
    measure: str
    rows: int
    answered: int
    median: float
    mean: float
    p90: float


@dataclass(frozen=True)
class Validation:
    """All predictions of a table, the errors, and why rows have none."""

    predictions: list[Prediction]
    summaries: list[Summary]
    reasons: dict[str, int]
    inside: dict[str, float]
    """Share of the runs inside P10 to P90 of left-out runs, by kind of run and measure."""


class UnusableTable(ValueError):
    """A file that is no table of measured runs; the message says what is missing."""


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a table of measured runs.

    Raises
    ------
    UnusableTable
        If the file cannot be read, is no CSV or lacks a column that every row needs.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(rows_of(file, path.name))
    except OSError as problem:
        raise UnusableTable(f"{path} cannot be read: {problem.strerror}.") from None


def rows_of(lines: Iterable[str], name: str) -> Iterator[dict[str, str]]:
    """Rows of the lines of a table of measured runs, one after another.

    Raises
    ------
    UnusableTable
        If they are no CSV or lack a column that every row needs.
    """
    try:
        reader = csv.DictReader(lines)
        header = reader.fieldnames or []
        if missing := [name for name in NEEDED if name not in header]:
            raise UnusableTable(
                f"{name} has no column {', '.join(missing)}; a table of measured runs "
                f"needs {', '.join(NEEDED)}."
            )
        for row in reader:
            yield {name: row[name] or "" for name in header}
    except (UnicodeDecodeError, csv.Error):
        raise UnusableTable(f"{name} is not a CSV file in UTF-8.") from None


def validate(
    rows: Iterable[Mapping[str, str]], facts: Catalog, fitted: Coefficients | None = None
) -> Validation:
    """Predict every row that can be predicted and compare with what was measured."""
    table = list(rows)
    fitted = fitted or coefficients()
    read = [read_run(row, facts) for row in table]
    runs = [run for run in read if isinstance(run, Run)]
    predicted = iter(predict(runs, fitted))
    predictions = [
        next(predicted) if isinstance(run, Run) else Prediction(
            row.get("id") or "", row.get("model_class") or "unknown",
            row.get("scenario") or "unknown", reason=run,
        )
        for row, run in zip(table, read, strict=True)
    ]  # fmt: skip
    reasons: dict[str, int] = {}
    for prediction in predictions:
        if prediction.reason:
            reasons[prediction.reason] = reasons.get(prediction.reason, 0) + 1
    counts: dict[tuple[str, str], int] = {}
    for prediction in predictions:
        key = (prediction.model_class, prediction.scenario)
        counts[key] = counts.get(key, 0) + 1
    pairs = [
        (prediction, run)
        for prediction, run in zip(predictions, read, strict=True)
        if isinstance(run, Run) and not prediction.reason
    ]
    return Validation(predictions, _summaries(pairs, counts), reasons, _inside(pairs, fitted))


Measure = Literal["throughput", "tpot", "ttft", "latency", "cost"]
MEASURES: tuple[Measure, ...] = ("throughput", "tpot", "ttft", "latency", "cost")


def figures(run: Run, prediction: Prediction) -> dict[Measure, tuple[float, float]]:
    """Measured and predicted. Tokens count as throughput where requests are not given."""
    measured, predicted = run.requests_per_s, prediction.requests_per_s
    if math.isnan(measured):
        measured, predicted = run.output_tokens_per_s, prediction.output_tokens_per_s
    return {
        "throughput": (measured, predicted),
        "tpot": (run.tpot, prediction.tpot),
        "ttft": (run.ttft, prediction.ttft),
        "latency": (run.latency, prediction.latency),
        "cost": (run.cost_per_million, prediction.cost_per_million),
    }


def _ratios(run: Run, prediction: Prediction) -> dict[Measure, float]:
    """Measured over predicted, where both are known."""
    return {
        measure: measured / predicted
        for measure, (measured, predicted) in figures(run, prediction).items()
        if predicted > 0 and measured > 0
    }


def _summaries(
    pairs: list[tuple[Prediction, Run]], counts: Mapping[tuple[str, str], int]
) -> list[Summary]:
    found = []
    for (model_class, scenario), rows in sorted(counts.items()):
        here = [(p, r) for p, r in pairs if (p.model_class, p.scenario) == (model_class, scenario)]
        known = [_ratios(run, prediction) for prediction, run in here]
        for measure in MEASURES:
            ratios = np.array([each[measure] for each in known if measure in each])
            if len(ratios):
                errors = np.abs(ratios - 1.0)
                found.append(
                    Summary(
                        model_class, scenario, measure, rows, len(here),
                        float(np.median(errors)), float(np.mean(errors)),
                        float(np.percentile(errors, 90)),
                    )
                )  # fmt: skip
        if not here:
            found.append(
                Summary(model_class, scenario, "none", rows, 0, math.nan, math.nan, math.nan)
            )
    return found


def band(run: Run, measure: str, fitted: Coefficients) -> tuple[float, float] | None:
    """10th and 90th percentile of measured over predicted, of left-out runs like this one."""
    kind, steady = residual_kind(run), mode(run) == "closed"
    pairing = serving(run.choice, fitted)[1] if steady else pairing_of(run, fitted)
    # A cost is the price over the throughput, and time the load over it where it is not known.
    spread = None if measure == "cost" else fitted.spread(kind, measure, pairing)
    if spread is not None:
        return spread.p10_ratio, spread.p90_ratio
    spread = fitted.spread(kind, "throughput", pairing)
    if spread is None or measure not in ("cost", "latency"):
        return None
    return 1.0 / spread.p90_ratio, 1.0 / spread.p10_ratio


def _inside(pairs: list[tuple[Prediction, Run]], fitted: Coefficients) -> dict[str, float]:
    """Share of the runs that lie in their band, by kind of run and measure."""
    inside: dict[str, list[bool]] = {}
    for prediction, run in pairs:
        for measure, ratio in _ratios(run, prediction).items():
            if (limits := band(run, measure, fitted)) is not None:
                found = inside.setdefault(f"{residual_kind(run)}/{measure}", [])
                found.append(limits[0] <= ratio <= limits[1])
    return {name: float(np.mean(found)) for name, found in sorted(inside.items())}


def predict(runs: list[Run], fitted: Coefficients) -> list[Prediction]:
    """Predictions of runs, in their order."""
    found: dict[int, Prediction] = {}
    ways = {
        "closed": _closed_loop, "served": _closed_loop, "none": _no_way,
    } | dict.fromkeys(BATCHES, _static_batch) | dict.fromkeys(LIMITED.values(), _best)  # fmt: skip
    chosen: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        chosen.setdefault(mode(run), []).append(index)
    for way, indices in chosen.items():
        some = [runs[index] for index in indices]
        for index, prediction in zip(indices, ways[way](some, fitted), strict=True):
            found[index] = prediction
    return [found[index] for index in range(len(runs))]


def _no_way(runs: list[Run], fitted: Coefficients) -> list[Prediction]:
    del fitted
    return [
        Prediction(
            run.id, run.choice.model.model_class, run.loop,
            reason=f"no prediction for the scenario {run.loop}",
        )
        for run in runs
    ]  # fmt: skip


def _cost(run: Run, requests_per_s: float) -> float:
    """USD per million inferences at the price behind the published cost."""
    if not requests_per_s > 0:
        return math.nan
    return run.price / HOUR / requests_per_s * MILLION


def _of(run: Run, speed: Mapping[str, float]) -> Prediction:
    requests = speed["requests_per_s"]
    if not math.isfinite(requests):
        return Prediction(
            run.id, run.choice.model.model_class, run.loop, reason="does not fit in memory"
        )
    tokens = run.choice.model.model_class == "llm"
    return Prediction(
        run.id, run.choice.model.model_class, run.loop,
        requests_per_s=requests,
        output_tokens_per_s=requests * run.nominal_output if tokens else math.nan,
        ttft=speed["ttft"] if tokens else math.nan,
        tpot=speed["tpot"] if tokens else math.nan,
        latency=speed["latency"],
        cost_per_million=_cost(run, requests),
    )  # fmt: skip


def _answers(
    runs: list[Run], requests_per_s: Array, ttft: Array, tpot: Array, latency: Array
) -> list[Prediction]:
    columns = {"requests_per_s": requests_per_s, "ttft": ttft, "tpot": tpot, "latency": latency}
    return [
        _of(run, {name: float(column[index]) for name, column in columns.items()})
        for index, run in enumerate(runs)
    ]


def _columns(speed: Performance) -> dict[str, Array]:
    return {field.name: np.asarray(getattr(speed, field.name)) for field in fields(speed)}


def _closed_loop(runs: list[Run], fitted: Coefficients) -> list[Prediction]:
    """That many requests in flight, over all copies of the model."""
    x = stack(runs, fitted)
    copies = np.array([run.replicas for run in runs])
    x = replace(x, concurrency=np.maximum(x.concurrency / copies, 1.0))
    speed = _columns(performance(x))
    nominal = np.array([run.nominal_output for run in runs])
    tokens = np.asarray(x.is_llm) == 1
    whole = np.where(
        tokens & ~np.isnan(nominal),
        speed["ttft"] + (nominal - 1.0) * np.nan_to_num(speed["tpot"]),
        speed["latency_mean"],
    )
    requests = copies * np.asarray(x.concurrency) / whole
    first, streams = _outside(runs, fitted)
    return _answers(runs, requests, speed["ttft"] * first, speed["tpot"], whole * streams)


def _outside(runs: list[Run], fitted: Coefficients) -> tuple[Array, Array]:
    """Factors on first tokens and on latencies that other software is known for."""
    pairs = [
        Pairing() if mode(run) == "closed" else pairing_of(run, fitted) for run in runs
    ]  # fmt: skip
    return np.array([pair.first for pair in pairs]), np.array([pair.streams for pair in pairs])


def static_times(x: Inputs, speed: Performance) -> tuple[Array, Array, Array]:
    """First token, each further token and the whole of one batch, of inputs in batches. [s]"""
    beside = np.maximum(np.asarray(x.concurrency) / np.asarray(x.data_parallel), 1.0)
    decoded = np.maximum(np.asarray(x.output_tokens) - 1.0, 0.0)
    tokens = np.asarray(x.is_llm) == 1
    step = np.asarray(speed.decode_step_time)
    # The prompts of a batch are one long pass, of which each takes its part.
    ttft = np.where(tokens, beside * np.asarray(speed.prefill_time), step)
    return ttft, np.where(tokens, step, np.nan), np.where(tokens, ttft + decoded * step, step)


def _static_batch(runs: list[Run], fitted: Coefficients) -> list[Prediction]:
    """One batch from its first to its last token; no request waits for another batch."""
    x = stack(runs, fitted)
    batch = np.array([
        run.batch if not math.isnan(run.batch) else float(run.scenario.concurrency)
        for run in runs
    ])  # fmt: skip
    x = replace(x, concurrency=batch)
    ttft, tpot, latency = static_times(x, performance(x))
    copies = np.array([run.replicas for run in runs])
    requests = copies * batch / latency
    first, streams = _outside(runs, fitted)
    return _answers(runs, requests, ttft * first, tpot, latency * streams)


def _best(runs: list[Run], fitted: Coefficients) -> list[Prediction]:
    """The most throughput that memory and the limits of the scenario allow."""
    found = []
    for run, speed in zip(runs, _search(runs, fitted), strict=True):
        share = 1.0 if mode(run) == "offline" else pairing_of(run, fitted).reached
        requests = min(speed["requests_per_s"] * share, run.offered)
        found.append(_of(run, speed | {"requests_per_s": requests}))
    return found


def at_their_best(runs: list[Run], fitted: Coefficients) -> list[Run]:
    """The same runs with the devices and the requests in flight of the most throughput."""
    outcome = []
    for run, best in zip(runs, _search(runs, fitted), strict=True):
        if math.isfinite(best["requests_per_s"]):
            used = _on(run, (int(best["tensor_parallel"]), int(best["data_parallel"])))
            change = {"concurrency": int(best["in_flight"])}
            outcome.append(replace(used, scenario=used.scenario.model_copy(update=change)))
        else:
            outcome.append(run)
    return outcome


def _search(runs: list[Run], fitted: Coefficients) -> list[dict[str, float]]:
    nothing = ("requests_per_s", "ttft", "tpot", "latency")
    found: list[dict[str, float]] = [dict.fromkeys(nothing, math.nan) for _ in runs]
    for way in WAYS:
        tried = [(i, _on(run, way)) for i, run in enumerate(runs) if _may_use(run, way)]
        if tried:
            _try(tried, found, fitted)
    return found


def _may_use(run: Run, way: tuple[int, int]) -> bool:
    """Whether a run may have used its devices in such a way for each copy of the model.

    Latent attention with experts may be copied rather than split: every part of it would hold all
    of the cache.
    """
    tensor, copies = way
    shape = run.choice.model.transformer
    if shape is None or run.tensor_parallel_given:
        return way == (1, 1)
    latent = shape.experts > 0 and shape.attention.kv_lora_rank > 0
    return tensor * copies <= max(run.accelerators, 1.0) and (copies == 1 or latent)


def _on(run: Run, way: tuple[int, int]) -> Run:
    if run.choice.model.model_class != "llm" or run.tensor_parallel_given:
        return run
    tensor, attention = way
    devices = tensor * attention
    scenario = run.scenario.model_copy(update={
        "tensor_parallel": tensor, "data_parallel": attention, "expert_parallel": attention,
    })  # fmt: skip
    choice = replace(run.choice, devices_per_replica=float(devices))
    copies = max(math.floor(run.accelerators / devices), 1.0)
    return replace(run, scenario=scenario, choice=choice, replicas=copies)


def _try(tried: list[tuple[int, Run]], found: list[dict[str, float]], fitted: Coefficients) -> None:
    """Keep what beats the best so far."""
    runs = [run for _, run in tried]
    x = stack(runs, fitted)
    wide = Inputs(**{
        field.name: getattr(x, field.name)[:, None] for field in fields(Inputs)
    })  # fmt: skip
    wide = replace(wide, concurrency=GRID[None, :])
    speed = _columns(performance(wide))
    full = speed["running"] < GRID[None, :]
    first, each, whole = (np.array([_limits(run)[k] for run in runs])[:, None] for k in range(3))
    sd_first, sd = np.asarray(wide.ttft_log_sd), np.asarray(wide.latency_log_sd)
    ttft = batching.log_normal_quantile(_open_loop_ttft(wide, speed), sd_first, Z_99)
    tpot = batching.log_normal_quantile(np.nan_to_num(speed["tpot"]), sd, Z_99)
    latency = batching.log_normal_quantile(speed["latency_mean"], sd, Z_99)
    allowed = (ttft <= first) & (tpot <= each) & (latency <= whole) & ~full
    allowed &= speed["obstacles"] == 0
    unlimited = np.isinf(first) & np.isinf(each) & np.isinf(whole)
    # Where even one request is too slow for a limit, one request is what there is.
    allowed[:, 0] |= ~allowed.any(axis=1) & ~unlimited[:, 0]
    # At an offered load no more run at a time than it takes to keep up.
    offered = np.array([run.offered / run.replicas for run in runs])[:, None]
    throughput = np.where(allowed, np.minimum(speed["throughput"], offered), -np.inf)
    best = np.argmax(throughput, axis=1)
    for row, (index, run) in enumerate(tried):
        column = best[row]
        requests = float(throughput[row, column]) * run.replicas
        if math.isfinite(requests) and not requests <= found[index]["requests_per_s"]:
            found[index] = {
                "in_flight": float(GRID[column]),
                "tensor_parallel": float(run.scenario.tensor_parallel),
                "data_parallel": float(run.scenario.data_parallel),
                "requests_per_s": requests,
                "ttft": float(speed["ttft"][row, column]),
                "tpot": float(speed["tpot"][row, column]),
                "latency": float(speed["latency_mean"][row, column]),
            }


def _open_loop_ttft(x: Inputs, speed: Mapping[str, Array]) -> Array:
    """Mean time to first token where requests arrive at random: the wait of an M/D/1 queue.

    A closed loop begins with all its requests at once and has streaming intervals; these do not.
    """
    prompt = speed["prefill_time"]
    busy = np.minimum(
        speed["throughput"] * prompt / (np.asarray(x.pipeline_parallel) * x.data_parallel), 0.99
    )
    tokens = np.asarray(x.is_llm) == 1
    waiting = prompt * (0.5 * busy / (1.0 - busy))
    return np.where(tokens, prompt + waiting + speed["decode_step_time"], speed["ttft"])


def _limits(run: Run) -> tuple[float, float, float]:
    """99th percentiles of first token, token and whole request that a run had to keep. [s]"""
    table = {"server": LIMITS_MS, "interactive": INTERACTIVE_MS}.get(run.loop, {})
    first, each, whole = table.get(run.choice.model.id, (math.inf, math.inf, math.inf))
    return first * MILLISECOND, each * MILLISECOND, whole * MILLISECOND


def records(predictions: Iterable[Prediction]) -> list[dict[str, Any]]:
    """Rows of the file of predictions: milliseconds, blank where there is none."""

    def cell(value: float, scale: float = 1.0) -> str:
        return f"{value / scale:.6g}" if math.isfinite(value) else ""

    return [
        {
            "id": each.id,
            "predicted_requests_per_s": cell(each.requests_per_s),
            "predicted_output_tokens_per_s": cell(each.output_tokens_per_s),
            "predicted_ttft_ms": cell(each.ttft, MILLISECOND),
            "predicted_tpot_ms": cell(each.tpot, MILLISECOND),
            "predicted_latency_mean_ms": cell(each.latency, MILLISECOND),
            "predicted_cost_per_1m_inferences_usd": cell(each.cost_per_million),
            "reason": each.reason,
        }
        for each in predictions
    ]


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """The file of predictions.

    Raises
    ------
    UnusableTable
        If the file cannot be written.
    """
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["id", *PREDICTED, "reason"])
            writer.writeheader()
            writer.writerows(records(predictions))
    except OSError as problem:
        raise UnusableTable(f"{path} cannot be written: {problem.strerror}.") from None
