"""Fit the coefficients on measured runs: ``python -m cpi_model.studies.calibrate POINTS...``.

Reads files with one measured run a row, builds the same :class:`~cpi_model.inputs.Inputs` that
the app uses, and moves the coefficients until :func:`cpi_model.evaluate.performance` agrees with
the measurements: least squares on the logarithm of the error, robust against outliers, with weak
priors that decide where the data do not. Writes ``data/coefficients/fitted.toml``.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from scipy.optimize import least_squares

from cpi_model.catalog import Catalog, catalog, data_folder
from cpi_model.coefficients import Coefficients, coefficients
from cpi_model.evaluate import Performance, performance
from cpi_model.inputs import Choice, Inputs, arithmetic_on, numbers
from cpi_model.scenario import Scenario
from cpi_model.units import MICROSECOND, MILLISECOND, Array

SCHEMES = {
    "fp32": "fp32", "tf32": "bf16", "fp16": "bf16", "bf16": "bf16", "fp8": "fp8", "int8": "int8",
    "int4": "int4-awq", "nvfp4": "nvfp4", "fp4": "nvfp4", "mxfp4": "mxfp4",
}  # fmt: skip
"""Our scheme for a published precision."""
DRAWN_LENGTH = 0.9
"""Closed-loop runs draw each length evenly from 0.8 to 1.0 of the nominal one."""
MLPERF_ITEMS = {"dlrm-v2": 270}
"""User-item pairs in one MLPerf sample (100 to 700, mean about 270)."""
MLPERF_TOKENS = {"bert-large": 180}
"""Mean SQuAD length, an assumption: inputs are padded to 384 and engines drop the padding."""
PRIOR_SD = 0.7
"""Spread of the priors, in units of the transformed coefficients: a factor of two either way."""


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


def _number(row: Mapping[str, str], name: str) -> float:
    text = (row.get(name) or "").strip()
    return float(text) if text else math.nan


def read_runs(paths: Iterable[Path], facts: Catalog) -> tuple[list[Run], dict[str, int]]:
    """Runs that can be predicted, and for the others how many were left out for which reason."""
    runs: list[Run] = []
    left_out: dict[str, int] = {}
    for path in paths:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                run = read_run(row, facts)
                if isinstance(run, str):
                    left_out[run] = left_out.get(run, 0) + 1
                else:
                    runs.append(run)
    return runs, left_out


def read_run(row: Mapping[str, str], facts: Catalog) -> Run | str:
    """One row of a table of measured runs, or why it cannot be predicted."""
    model = facts.models.get(row["model"])
    if model is None:
        return "model not in the catalog"
    accelerator = facts.accelerators.get(row["hardware"])
    if accelerator is None:
        return "hardware not in the catalog"
    scheme_id = SCHEMES.get(row.get("weight_precision", "") or "bf16")
    if scheme_id is None:
        return "precision not known"
    if model.id.startswith("gpt-oss"):
        scheme_id = "mxfp4-experts"
    scheme = facts.schemes[scheme_id]
    engine = facts.engines.get(row.get("engine", ""), next(iter(facts.engines.values())))
    arithmetic = arithmetic_on(accelerator, scheme.arithmetic)
    if arithmetic is None or accelerator.memory_bandwidth_gb_per_s is None:
        return "speed of the hardware not known"
    if accelerator.memory_gb is None and accelerator.kind != "cpu":
        return "memory of the hardware not known"
    loop = row["scenario"]
    drawn = DRAWN_LENGTH if loop == "closed-loop" else 1.0
    parallel: dict[str, Any] = {
        name: max(int(value), 1)
        for name in ("tensor_parallel", "pipeline_parallel", "data_parallel", "expert_parallel")
        if not math.isnan(value := _number(row, name))
    }
    in_flight = _number(row, "concurrency")
    if math.isnan(in_flight):
        in_flight = _number(row, "batch_size")
    tokens_in, tokens_out = _number(row, "input_tokens"), _number(row, "output_tokens")
    reference = model.sample.reference_tokens if model.sample else 0
    if row["id"].startswith("mlperf"):
        tokens_in = MLPERF_TOKENS.get(model.id, tokens_in)
    scenario = Scenario(
        model=model.id,
        accelerator=accelerator.id,
        scheme=scheme_id,
        kv_precision=_kv_precision(row, scheme_id, engine.id),
        engine=engine.id,
        concurrency=int(min(max(in_flight if not math.isnan(in_flight) else 256, 1), 8192)),
        input_tokens=max(
            round(drawn * tokens_in) if not math.isnan(tokens_in) else reference or 512, 1
        ),
        output_tokens=max(round(drawn * tokens_out) if not math.isnan(tokens_out) else 1, 1),
        items_per_request=MLPERF_ITEMS.get(model.id, 1),
        device_price_usd_per_hour=1.0,
        **parallel,
    )
    devices = float(scenario.tensor_parallel * scenario.pipeline_parallel * scenario.data_parallel)
    if model.model_class != "llm":
        devices = 1.0
    choice = Choice(
        model=model, accelerator=accelerator, scheme=scheme, engine=engine, instance=None,
        price=None, arithmetic=arithmetic, devices_per_replica=devices, notes=(),
    )  # fmt: skip
    return Run(
        id=row["id"], scenario=scenario, choice=choice, loop=loop, nominal_output=tokens_out,
        accelerators=_number(row, "accelerators"),
        ttft=_number(row, "ttft_ms") * MILLISECOND,
        tpot=_number(row, "tpot_ms") * MILLISECOND,
        requests_per_s=_number(row, "requests_per_s"),
    )  # fmt: skip


def _kv_precision(row: Mapping[str, str], scheme: str, engine: str) -> Any:
    published = {"fp8": "fp8", "int8": "int8", "bf16": "bf16", "fp16": "bf16"}.get(
        row.get("kv_precision", "")
    )
    if published:
        return published
    # TensorRT-LLM keeps an 8-bit cache with 8- and 4-bit weights unless told otherwise.
    return "fp8" if engine == "tensorrt-llm" and scheme in ("fp8", "nvfp4") else "bf16"


def stack(runs: list[Run], fitted: Coefficients) -> Inputs:
    """Inputs of all runs as arrays."""
    columns = [numbers(run.scenario, run.choice, fitted) for run in runs]
    return Inputs(**{
        field.name: np.array([getattr(column, field.name) for column in columns])
        for field in fields(Inputs)
    })  # fmt: skip


@dataclass(frozen=True)
class Coefficient:
    """One number to fit: where it acts, its prior, and whether it is a share."""

    table: str
    """``chips`` or ``engines``."""
    owner: str
    name: str
    prior: float
    is_share: bool
    rows: Array
    """1 for each run that it acts on."""

    def outward(self, value: float) -> float:
        """From the free number of the optimiser to the coefficient."""
        return 1.0 / (1.0 + math.exp(-value)) if self.is_share else math.exp(value)

    def inward(self) -> float:
        """The prior as a free number."""
        return math.log(self.prior / (1.0 - self.prior)) if self.is_share else math.log(self.prior)


CHIP_PRIORS = {
    "half_tokens": (60.0, False), "attention_efficiency": (0.4, True),
    "memory_efficiency": (0.75, True), "cache_efficiency": (0.6, True),
    "link_efficiency": (0.6, True), "collective_latency_us": (8.0, False),
    "launch_factor": (1.0, False),
}  # fmt: skip
ENGINE_PRIORS = {
    "layer_overhead_us": (15.0, False), "step_overhead_us": (1500.0, False),
    "sequence_overhead_us": (8.0, False), "prefill_interference": (0.9, False),
    "ttft_prefill": (1.2, False), "ttft_queue": (0.1, False), "ttft_step": (1.0, False),
}  # fmt: skip
COMPUTE_PRIOR = 0.6


def _coefficients_of(runs: list[Run]) -> list[Coefficient]:
    generations = np.array([run.choice.accelerator.generation for run in runs])
    precisions = np.array([run.choice.arithmetic for run in runs])
    engines = np.array([run.choice.engine.id for run in runs])
    found = []
    for generation in sorted(set(generations)):
        on_chip = generations == generation
        for name, (prior, is_share) in CHIP_PRIORS.items():
            found.append(Coefficient("chips", generation, name, prior, is_share, on_chip * 1.0))
        for precision in sorted(set(precisions[on_chip])):
            rows = (on_chip & (precisions == precision)) * 1.0
            name = f"compute_efficiency.{precision}"
            found.append(Coefficient("chips", generation, name, COMPUTE_PRIOR, True, rows))
    for engine in sorted(set(engines)):
        for name, (prior, is_share) in ENGINE_PRIORS.items():
            rows = (engines == engine) * 1.0
            found.append(Coefficient("engines", engine, name, prior, is_share, rows))
    return found


def _with(inputs: Inputs, chosen: list[Coefficient], free: Array) -> Inputs:
    """Inputs with the coefficients that the optimiser is trying."""
    values: dict[str, Array] = {}
    for coefficient, number in zip(chosen, free, strict=True):
        name = coefficient.name.split(".")[0]
        column = values.setdefault(name, np.zeros(len(coefficient.rows)))
        column += coefficient.rows * coefficient.outward(float(number))
    launch = values.pop("launch_factor")
    for name in ("layer_overhead", "step_overhead", "sequence_overhead"):
        values[name] = values.pop(f"{name}_us") * MICROSECOND * launch
    values["collective_latency"] = values.pop("collective_latency_us") * MICROSECOND
    return replace(inputs, **values)


def errors(runs: list[Run], speed: Performance) -> dict[str, Array]:
    """ln(predicted/measured) of TTFT, TPOT and throughput of closed-loop runs."""
    outputs = np.array([run.nominal_output for run in runs])
    concurrency = np.array([float(run.scenario.concurrency) for run in runs])
    ttft, tpot = np.asarray(speed.ttft), np.asarray(speed.tpot)
    throughput = concurrency / (ttft + (outputs - 1.0) * tpot)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "ttft": np.log(ttft / np.array([run.ttft for run in runs])),
            "tpot": np.log(tpot / np.array([run.tpot for run in runs])),
            "throughput": np.log(throughput / np.array([run.requests_per_s for run in runs])),
        }


def fit_language_models(
    runs: list[Run], start: Coefficients
) -> tuple[list[Coefficient], Array, dict[str, Array]]:
    """Coefficients of chips and engines from closed-loop runs of language models."""
    inputs, chosen = stack(runs, start), _coefficients_of(runs)
    centre = np.array([coefficient.inward() for coefficient in chosen])
    weights = {"ttft": 0.35, "tpot": 1.0, "throughput": 0.7}

    def residuals(free: Array) -> Array:
        found = errors(runs, performance(_with(inputs, chosen, free)))
        parts = [weight * np.nan_to_num(found[name]) for name, weight in weights.items()]
        return np.concatenate([*parts, (free - centre) / PRIOR_SD])

    solution = least_squares(residuals, centre, loss="soft_l1", f_scale=0.15, max_nfev=60)
    final = errors(runs, performance(_with(inputs, chosen, solution.x)))
    return chosen, solution.x, final


def fit_samples(
    runs: list[Run], start: Coefficients
) -> tuple[dict[str, dict[str, float]], dict[str, float], dict[str, Array]]:
    """Efficiency of each class of models, and a factor by generation and number format.

    Offline runs at the largest batch, so only the efficiency shows: an alternating median of the
    logarithm of measured over predicted, classes first, then chips.
    """
    classes = np.array([run.choice.model.model_class for run in runs])
    chips = np.array([
        f"{run.choice.accelerator.generation}/{run.choice.arithmetic}" for run in runs
    ])  # fmt: skip
    measured = np.array([run.requests_per_s / run.accelerators for run in runs])
    inputs = stack(runs, start)
    efficiency = np.asarray(inputs.compute_efficiency)
    class_factor = dict.fromkeys(sorted(set(classes)), 0.0)
    chip_factor = dict.fromkeys(sorted(set(chips)), 0.0)
    ratio = np.zeros(len(runs))
    for _ in range(12):
        log_factor = np.array([
            class_factor[c] + chip_factor[h] for c, h in zip(classes, chips, strict=True)
        ])  # fmt: skip
        trial = replace(inputs, compute_efficiency=np.minimum(efficiency * np.exp(log_factor), 1.0))
        speed = performance(trial)
        ratio = np.log(measured / np.asarray(speed.throughput))
        for name in class_factor:
            class_factor[name] += float(np.median(ratio[classes == name]))
            log_factor[classes == name] += float(np.median(ratio[classes == name]))
            ratio[classes == name] -= float(np.median(ratio[classes == name]))
        for name in chip_factor:
            rows = chips == name
            # Shrunk towards 1: three runs count as much as the prior.
            shrink = rows.sum() / (rows.sum() + 3.0)
            chip_factor[name] += 0.5 * shrink * float(np.median(ratio[rows]))
    summary = {
        name: {
            "compute_efficiency": min(
                start.sample(name).compute_efficiency * math.exp(class_factor[name]), 1.0
            ),
            "rows": float((classes == name).sum()),
        }
        for name in class_factor
    }
    factors = {name: math.exp(value) for name, value in chip_factor.items()}
    return summary, factors, {name: ratio[classes == name] for name in class_factor}


def _spread(log_ratio: Array) -> dict[str, float]:
    """Residuals of ln(measured/predicted) as they stand in the file."""
    ratio = np.exp(log_ratio[np.isfinite(log_ratio)])
    p10, p90 = np.percentile(ratio, [10, 90])
    return {
        "rows": len(ratio),
        "median_error": float(np.median(np.abs(ratio - 1.0))),
        "p90_error": float(np.percentile(np.abs(ratio - 1.0), 90)),
        "p10_ratio": float(p10),
        "p90_ratio": float(p90),
    }


def fit(paths: list[Path], target: Path) -> dict[str, dict[str, float]]:
    """Fit everything on files of measured runs and write the result; returns the residuals."""
    facts, start = catalog(), coefficients()
    runs, left_out = read_runs(paths, facts)
    for reason, count in sorted(left_out.items()):
        print(f"left out {count:5d} runs: {reason}", file=sys.stderr)
    language = [run for run in runs if run.loop == "closed-loop" and run.choice.model.transformer]
    chosen, free, final = fit_language_models(language, start)
    samples = [
        run for run in runs
        if run.loop == "offline" and run.choice.model.sample and run.requests_per_s > 0
    ]  # fmt: skip
    classes, factors, sample_errors = fit_samples(samples, start)
    document = _document(start, chosen, free, classes, factors, language)
    residuals = {f"llm/{name}": _spread(-error) for name, error in final.items()}
    residuals |= {f"{name}/throughput": _spread(error) for name, error in sample_errors.items()}
    document["residuals"] = residuals
    document["fitted_on"] = date.today()
    document["description"] = (
        f"{len(language)} closed-loop runs of language models and {len(samples)} offline runs of "
        "other models"
    )
    Coefficients.model_validate(document)
    heading = "# Written by `make fit`.\n"
    target.write_text(heading + tomli_w.dumps(_rounded(document)), encoding="utf-8")
    return residuals


def _document(
    start: Coefficients, chosen: list[Coefficient], free: Array,
    classes: dict[str, dict[str, float]], factors: dict[str, float], runs: list[Run],
) -> dict[str, Any]:  # fmt: skip
    """The coefficients after a fit, as they are written."""
    document: dict[str, Any] = start.model_dump(exclude={"residuals"})
    for coefficient, number in zip(chosen, free, strict=True):
        table = document[coefficient.table].setdefault(
            coefficient.owner, dict(document[coefficient.table]["default"])
        )
        value = coefficient.outward(float(number))
        table["rows"] = max(int(coefficient.rows.sum()), table.get("rows", 0))
        if "." in coefficient.name:
            name, key = coefficient.name.split(".")
            table[name] = dict(table[name]) | {key: value}
        else:
            table[coefficient.name] = value
    for name, fitted in classes.items():
        document["samples"][name] = document["samples"].get(
            name, dict(document["samples"]["default"])
        ) | {
            "compute_efficiency": fitted["compute_efficiency"],
            "rows": int(fitted["rows"]),
        }
    document["sample_chips"] |= factors
    return document


def _rounded(value: Any) -> Any:
    """Numbers with the digits that a fit can tell."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items() if key != "assumptions"}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main(arguments: list[str]) -> int:
    """Fit on the files named and say how good it is."""
    if not arguments:
        print("usage: python -m cpi_model.studies.calibrate POINTS.csv ...", file=sys.stderr)
        return 2
    target = data_folder() / "coefficients" / "fitted.toml"
    residuals = fit([Path(argument) for argument in arguments], target)
    for name, spread in residuals.items():
        print(
            f"{name:28s} {spread['rows']:5.0f} runs   median error {spread['median_error']:6.1%}"
            f"   90th percentile {spread['p90_error']:6.1%}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
