"""Predicted against measured effects of quantization, and the coefficients that come from them.

``python -m cpi_model.studies.effects`` fits ``data/coefficients/compression.toml`` again on the
evidence. Both sides of a measured ratio are estimated by :func:`cpi_model.evaluate.performance`,
and compared group by group: a technique over a baseline, for a class of models on a chip.
"""

from __future__ import annotations

import math
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any, Literal, TypeAlias

import numpy as np
import tomli_w
from scipy.optimize import least_squares

from cpi_model.catalog import Catalog, CatalogError, catalog, data_folder
from cpi_model.coefficients import Coefficients, coefficients
from cpi_model.evaluate import performance
from cpi_model.inputs import Inputs, expands_weights, vector_flops
from cpi_model.schema import Evidence
from cpi_model.studies.evidence import FOLDER, chip_of, evidence
from cpi_model.studies.runs import (
    Run,
    in_batches,
    read_run,
    renamed,
    stack,
    stack_as_served,
)
from cpi_model.studies.validate import static_times
from cpi_model.units import Array

TOLERANCE = 0.2
"""A group is met where its predicted median is within this share of the measured one."""
PROMPT_TOKENS, ANSWER_TOKENS = 128, 128
"""Lengths where a source gives the speed of decoding one request and none."""
SATURATED = 1024
"""Samples in flight where a source gives the best throughput and no batch."""
SPEEDS = ("speedup", "speedup_per_device", "ttft_speedup")

Way = Literal["whole", "decoding", "first"]
Key: TypeAlias = tuple[str, str, str, str]
"""Technique, baseline, class of models and chip of a group."""


@dataclass(frozen=True)
class Pair:
    """A measured speedup and the two runs whose ratio it is."""

    row: Evidence
    key: Key
    way: Way
    """What was measured: whole batches, decoding alone, or first tokens."""
    compressed: Run
    baseline: Run
    devices: float
    """Devices of the baseline over those of the compressed side, where speed is per device."""


@dataclass(frozen=True)
class Group:
    """Measured and predicted speedups of one technique, for a class of models on a chip."""

    technique: str
    baseline: str
    model_class: str
    hardware: str
    rows: int
    measured: float
    """Median."""
    measured_least: float
    measured_most: float
    predicted: float
    predicted_least: float
    predicted_most: float
    note: str
    """Why the prediction leaves the measured range; empty where it does not."""

    @property
    def key(self) -> Key:
        """What names the group."""
        return self.technique, self.baseline, self.model_class, self.hardware

    @property
    def error(self) -> float:
        """Predicted over measured median, less 1."""
        return self.predicted / self.measured - 1.0

    @property
    def met(self) -> bool:
        """Whether the predicted median is within the tolerance."""
        return abs(self.error) <= TOLERANCE

    @property
    def inside(self) -> bool:
        """Whether the predicted median is within the measured range."""
        return self.measured_least <= self.predicted <= self.measured_most


@dataclass(frozen=True)
class Comparison:
    """All groups that can be compared, and why other rows cannot."""

    groups: list[Group]
    left_out: dict[str, int]
    """Rows by reason."""

    @property
    def share_met(self) -> float:
        """Share of the groups whose predicted median is within the tolerance."""
        return sum(group.met for group in self.groups) / max(len(self.groups), 1)


# Pairs of runs -----------------------------------------------------------------------------------


def read_pairs(rows: Iterable[Evidence], facts: Catalog) -> tuple[list[Pair], dict[str, int]]:
    """Rows that can be predicted, and how many others were left out for which reason."""
    pairs: list[Pair] = []
    left_out: dict[str, int] = {}
    for row in rows:
        found = read_pair(row, facts)
        if isinstance(found, Pair):
            pairs.append(found)
        else:
            left_out[found] = left_out.get(found, 0) + 1
    return pairs, left_out


def read_pair(row: Evidence, facts: Catalog) -> Pair | str:
    """The two runs of a measured speedup, or why it cannot be predicted."""
    if row.measure not in SPEEDS:
        return "not a speed"
    if row.scheme is None or row.technique not in (*facts.schemes, "int4"):
        return "not quantization alone"
    model = facts.models.get(row.model) or renamed(row.model, facts)
    if model is None:
        return "model not in the catalog"
    chip = chip_of(row, facts)
    if chip is None:
        return "hardware not in the catalog"
    if row.baseline_scheme is None:
        return "baseline not stated"
    tokens = model.transformer is not None
    if tokens and row.output_tokens == 1:
        return "a language model that reads once and writes nothing"
    if tokens and (row.batch is None or (row.input_tokens is None and row.batch > 1)):
        return "lengths or batch not stated"
    way: Way = "first" if row.measure == "ttft_speedup" else "whole"
    if way == "whole" and tokens and row.output_tokens is None:
        way = "decoding"
    key = (row.technique, row.baseline_scheme, model.model_class, chip.id)
    compressed, baseline = (
        _run(row, model.id, chip.id, scheme, engine, devices, tokens, facts)
        for scheme, engine, devices in (
            (row.scheme, row.engine, row.devices),
            (row.baseline_scheme, row.baseline_engine, row.baseline_devices or row.devices),
        )
    )
    if isinstance(compressed, str):
        return compressed
    if isinstance(baseline, str):
        return baseline
    per_device = row.measure == "speedup_per_device"
    devices = (row.baseline_devices or 1) / (row.devices or 1) if per_device else 1.0
    return Pair(row, key, way, compressed, baseline, devices)


def _run(
    row: Evidence, model: str, chip: str, scheme: str, engine: str, devices: int | None,
    tokens: bool, facts: Catalog,
) -> Run | str:  # fmt: skip
    """One side of a row, as a row of a table of measured runs."""
    batch = "" if row.batch is None else str(row.batch * (row.processes or 1))
    lengths = {
        "input_tokens": str(row.input_tokens or PROMPT_TOKENS),
        "output_tokens": str(row.output_tokens or ANSWER_TOKENS),
        "tensor_parallel": str(devices or 1),
    } if tokens else {"input_tokens": str(row.input_tokens or "")}  # fmt: skip
    return read_run(
        lengths
        | {
            "id": row.id, "model": model, "hardware": chip, "weight_precision": scheme,
            "engine": engine, "batch_size": batch,
            "scenario": "static-batch" if batch else "offline",
        },
        facts,
    )  # fmt: skip


# Predictions -------------------------------------------------------------------------------------


class Sides:
    """Inputs of both sides of some pairs, ready to be evaluated with other coefficients."""

    def __init__(self, pairs: Sequence[Pair], fitted: Coefficients) -> None:
        self.pairs = list(pairs)
        self.ways = np.array([pair.way for pair in self.pairs])
        self.devices = np.array([pair.devices for pair in self.pairs])
        self.measured = np.array([pair.row.value for pair in self.pairs])
        self.runs = [pair.compressed for pair in self.pairs], [p.baseline for p in self.pairs]
        self.inputs = tuple(_inputs(runs, fitted) for runs in self.runs)

    def speedups(self, changes: Sequence[Mapping[str, Array]] = ({}, {})) -> Array:
        """Predicted speedup of each pair, with some inputs of the two sides changed."""
        times = []
        for inputs, change in zip(self.inputs, changes, strict=True):
            x = replace(inputs, **change)
            ttft, tpot, whole = static_times(x, performance(x))
            decoding = np.where(self.ways == "decoding", tpot, whole)
            times.append(np.where(self.ways == "first", ttft, decoding))
        compressed, baseline = times
        predicted: Array = baseline / compressed * self.devices
        return predicted


def _inputs(runs: list[Run], fitted: Coefficients) -> Inputs:
    """Language models as the app estimates them, others as runs of their kind."""
    served, stacked = stack_as_served(runs, fitted), stack(runs, fitted)
    tokens = np.asarray(served.is_llm) == 1
    merged = {
        field.name: np.where(tokens, getattr(served, field.name), getattr(stacked, field.name))
        for field in fields(Inputs)
    } | {"scheme_work": served.scheme_work}
    batch = [SATURATED if math.isnan(run.batch) else run.batch for run in runs]
    x = Inputs(**merged | {"concurrency": np.array(batch, dtype=float)})
    return in_batches(x, np.ones(len(runs), dtype=bool))


def compare(
    rows: Sequence[Evidence] | None = None,
    facts: Catalog | None = None,
    fitted: Coefficients | None = None,
) -> Comparison:
    """Predict every measured speedup of quantization that states enough, group by group."""
    facts = facts or catalog()
    pairs, left_out = read_pairs(evidence() if rows is None else rows, facts)
    sides = Sides(pairs, fitted or coefficients())
    return Comparison(_groups(sides, sides.speedups(), explanations()), left_out)


def _groups(sides: Sides, predicted: Array, known: Mapping[Key, str]) -> list[Group]:
    found = []
    for key in sorted({pair.key for pair in sides.pairs}):
        here = np.array([pair.key == key for pair in sides.pairs])
        measured, estimate = sides.measured[here], predicted[here]
        group = Group(
            *key, int(here.sum()), float(np.median(measured)), float(measured.min()),
            float(measured.max()), float(np.median(estimate)), float(estimate.min()),
            float(estimate.max()), "",
        )  # fmt: skip
        found.append(replace(group, note="" if group.inside else _why(group, key, known)))
    return found


def _why(group: Group, key: Key, known: Mapping[Key, str]) -> str:
    """Why a prediction leaves the measured range."""
    if key in known:
        return known[key]
    if not group.met:
        return ""
    if group.rows == 1:
        return f"A single measured row; the prediction is within {TOLERANCE:.0%} of it."
    span = group.measured_most / group.measured_least - 1.0
    return (
        f"{group.rows} measured rows span {span:.0%}; the prediction is within {TOLERANCE:.0%} of "
        "their median."
    )


EXPLANATIONS = f"{FOLDER}/explanations.toml"


def explanations() -> dict[Key, str]:
    """What is known about groups whose prediction leaves the measured range.

    Raises
    ------
    CatalogError
        If the file is missing or an entry lacks a key.
    """
    path = data_folder() / EXPLANATIONS
    try:
        with path.open("rb") as file:
            entries = tomllib.load(file)["group"]
        return {
            (each["technique"], each["baseline"], each["model_class"], each["hardware"]): str(
                each["why"]
            )
            for each in entries
        }
    except FileNotFoundError:
        raise CatalogError(f"{EXPLANATIONS}: file is missing") from None
    except (KeyError, tomllib.TOMLDecodeError) as error:
        raise CatalogError(f"{EXPLANATIONS}: {error}") from None


# The fit -----------------------------------------------------------------------------------------

NOISE = 0.1
"""Spread of a group around its prediction, of the logarithm."""
OUTLIER = 0.3
"""Errors far beyond this (ln) hardly pull any more: a kernel that is broken, not slow."""
PRIOR = {"work": 0.0, "flops_per_weight": math.log(8.0), "narrow": 0.0}
"""Logarithm of each coefficient before anything was measured: no effect on large multiplications,
and eight operations to unpack a weight."""
PRIOR_SD = {"work": 0.5, "flops_per_weight": 1.5, "narrow": 0.5}
"""Spread around it; chips of a generation have the same around their kind."""
NARROW = ("bf16", "int8")
"""Formats that samples are multiplied in on CPUs, beside fp32."""


@dataclass(frozen=True)
class Fitted:
    """Coefficients of a fit, and how well they predict groups that were and were not in it."""

    document: dict[str, Any]
    in_sample: Comparison
    left_out: list[Group]
    """Each group as predicted by a fit on all others."""


class Fit:
    """Least squares on the logarithm of the error, robust, every group with the same weight.

    A coefficient is the sum of what belongs to the kind of chip and to its generation.
    """

    def __init__(self, pairs: Sequence[Pair], fitted: Coefficients) -> None:
        self.sides = Sides(pairs, fitted)
        self.keys = [pair.key for pair in self.sides.pairs]
        owners = [[_owners(run) for run in runs] for runs in self.sides.runs]
        self.names = sorted({name for side in owners for names in side for name in names})
        self.acts = {
            name: [np.array([name in names for names in side]) for side in owners]
            for name in self.names
        }
        # Of a generation the difference to its kind.
        self.prior = np.array([
            PRIOR[name.rpartition("/")[2]] if name.count("/") == 2 else 0.0 for name in self.names
        ])  # fmt: skip
        self.slowness = [
            np.array([1.0 / vector_flops(run.choice.accelerator) for run in runs])
            for runs in self.sides.runs
        ]

    def changes(self, free: Array) -> list[dict[str, Array]]:
        """Inputs of the two sides under trial coefficients."""
        found = []
        for side in (0, 1):
            work, flops = np.zeros(len(self.keys)), np.zeros(len(self.keys))
            for name, value in zip(self.names, free, strict=True):
                part = flops if name.endswith("/flops_per_weight") else work
                part += self.acts[name][side] * value
            expanding = self._expanding(side)
            # Expanding weights never makes arithmetic faster.
            work = np.exp(np.where(expanding, np.maximum(work, 0.0), work))
            time = np.where(expanding, np.exp(flops) * self.slowness[side], 0.0)
            found.append({"scheme_work": work, "expansion_time": time})
        return found

    def _expanding(self, side: int) -> Array:
        each = [self.acts[name][side] for name in self.names if name.startswith("expansion/")]
        expanding: Array = np.any(each, axis=0)
        return expanding

    def run(self, without: Key | None = None) -> Array:
        """Coefficients from all groups, or from all but one."""
        use = np.array([key != without for key in self.keys])
        counts = Counter(self.keys)
        weight = np.array([1.0 / math.sqrt(counts[key]) for key in self.keys])[use]
        sd = np.array([PRIOR_SD[name.rpartition("/")[2]] for name in self.names])

        def errors(free: Array) -> Array:
            logs = np.log(self.sides.speedups(self.changes(free)) / self.sides.measured)[use]
            # Squares of these are Cauchy's loss.
            robust = np.sign(logs) * OUTLIER * np.sqrt(np.log1p((logs / OUTLIER) ** 2))
            return np.concatenate([robust / NOISE * weight, (free - self.prior) / sd])

        found: Array = least_squares(
            errors, self.prior + 0.5 * sd, x_scale=sd, diff_step=[1e-3] * len(sd)
        ).x
        return found

    def document(self, free: Array) -> dict[str, Any]:
        """The coefficients as they are written: of kinds, and of generations that have their own.

        Generations of which nothing was measured are those of their kind.
        """
        value = dict(zip(self.names, free, strict=True))
        expansion: dict[str, dict[str, Any]] = {}
        for name in self.names:
            owner, _, part = name.rpartition("/")
            kind, _, generation = owner.removeprefix("expansion/").partition("/")
            if not owner.startswith("expansion/"):
                continue
            total = value[name] + value.get(f"expansion/{kind}/{part}", 0.0) * bool(generation)
            figure = math.exp(max(total, 0.0) if part == "work" else total)
            rows = int((self.acts[name][0] | self.acts[name][1]).sum())
            expansion.setdefault(generation or kind, {"rows": rows})[part] = _rounded(figure)
        narrow = {
            name.split("/")[1].replace(":", "/"): {
                "rows": int((self.acts[name][0] | self.acts[name][1]).sum()),
                "work": _rounded(math.exp(value[name])),
            }
            for name in self.names
            if name.startswith("narrow/")
        }
        return {
            "fitted_on": date.today(),
            "description": f"{len(self.keys)} measured speedups of quantization in "
            f"{len(set(self.keys))} groups",
            "expansion": expansion, "narrow": narrow,
        }  # fmt: skip


def _rounded(figure: float) -> float:
    return float(f"{figure:.4g}")


def _owners(run: Run) -> tuple[str, ...]:
    """Names of the coefficients that act on a run."""
    choice = run.choice
    generation, cpu = choice.accelerator.generation, choice.accelerator.kind == "cpu"
    if choice.model.transformer is not None:
        if not expands_weights(choice):
            return ()
        kind = "cpu" if cpu else "gpu"
        return tuple(
            f"expansion/{owner}/{part}"
            for owner in (kind, f"{kind}/{generation}") for part in ("work", "flops_per_weight")
        )  # fmt: skip
    if cpu and choice.arithmetic in NARROW:
        return (f"narrow/{generation}:{choice.arithmetic}/narrow",)
    return ()


def fit(rows: Sequence[Evidence] | None = None, facts: Catalog | None = None) -> Fitted:
    """Fit the coefficients of compression, on everything and with each group left out."""
    facts = facts or catalog()
    pairs, reasons = read_pairs(evidence() if rows is None else rows, facts)
    design, known = Fit(pairs, coefficients()), explanations()

    def groups(free: Array) -> list[Group]:
        return _groups(design.sides, design.sides.speedups(design.changes(free)), known)

    free = design.run()
    left_out = []
    for key in sorted(set(design.keys)):
        without = groups(design.run(without=key))
        left_out.append(next(group for group in without if group.key == key))
    comparison = Comparison(groups(free), reasons)
    shares = {
        "met_share": _rounded(comparison.share_met),
        "met_left_out_share": _rounded(Comparison(left_out, {}).share_met),
    }
    return Fitted(design.document(free) | shares, comparison, left_out)


def main() -> int:
    """Fit, write the file and say how good it is."""
    document = fit().document
    target = data_folder() / "coefficients" / "compression.toml"
    heading = "# Written by `python -m cpi_model.studies.effects`.\n"
    # Figures before tables, as TOML wants them.
    flat = {name: value for name, value in document.items() if not isinstance(value, dict)}
    target.write_text(heading + tomli_w.dumps({"compression": flat | document}), encoding="utf-8")
    print(
        f"{document['description']}; within {TOLERANCE:.0%}: {document['met_share']:.0%}, and "
        f"{document['met_left_out_share']:.0%} where each was left out of the fit."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
