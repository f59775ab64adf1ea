"""Fit the coefficients on measured runs: ``python -m cpi_model.studies.calibrate POINTS...``.

Reads files with one measured run a row, builds the same :class:`~cpi_model.inputs.Inputs` that
the app uses, and moves the coefficients until :func:`cpi_model.evaluate.performance` agrees with
the measurements: least squares on the logarithm of the error, robust against outliers, with weak
priors that decide where the data do not. Writes ``data/coefficients/fitted.toml``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import expit

from cpi_model.catalog import catalog, data_folder
from cpi_model.coefficients import Coefficients, coefficients, pairing_names
from cpi_model.evaluate import Performance, performance
from cpi_model.inputs import UNQUANTISED_BYTES, Inputs, expert_arithmetic
from cpi_model.studies.runs import Run, mode, read_runs, stack
from cpi_model.studies.validate import at_their_best, static_times
from cpi_model.units import MICROSECOND, MILLISECOND, Array

ROW_FOLDS = 5
GROUP_FOLDS = 12
"""Parts of the cross-validation by rows, and by whole (model, chip, engine) groups."""


@dataclass(frozen=True)
class Kind:
    """A coefficient to fit: where it is kept, where it acts, its prior and how far it may go."""

    name: str
    """As in the file."""
    table: str
    level: str
    """What has a value of its own: every chip generation, engine, pairing, or all runs alike."""
    prior: float
    sd: float
    """Spread of the prior, of the logarithm (of the odds, for shares)."""
    is_share: bool = False


KINDS = (
    Kind("compute_efficiency", "chips", "format", 0.6, 0.5, True),
    Kind("half_tokens", "chips", "generation", 60.0, 0.5),
    Kind("expert_efficiency", "chips", "expert_format", 0.4, 0.7, True),
    Kind("expert_half_tokens", "chips", "generation", 30.0, 0.7),
    Kind("attention_efficiency", "chips", "generation", 0.3, 0.7, True),
    Kind("decode_attention_efficiency", "chips", "generation", 0.4, 0.7, True),
    Kind("memory_efficiency", "chips", "generation", 0.75, 0.4, True),
    Kind("expert_memory_efficiency", "chips", "generation", 0.65, 0.5, True),
    Kind("cache_efficiency", "chips", "generation", 0.6, 0.5, True),
    Kind("link_efficiency", "chips", "generation", 0.5, 0.6, True),
    Kind("collective_latency_us", "chips", "generation", 8.0, 0.6),
    Kind("activation_passes", "general", "all", 15.0, 0.7),
    Kind("expert_activation_passes", "general", "all", 2.0, 0.7),
    Kind("slow_link_efficiency", "general", "all", 0.5, 0.6, True),
    Kind("slow_collective_latency_us", "general", "all", 25.0, 0.6),
    Kind("expert_layer_overhead", "general", "all", 0.5, 0.7),
    Kind("latent_layer_overhead", "general", "all", 0.5, 0.7),
    Kind("linear_layer_overhead", "general", "all", 0.5, 0.7),
    Kind("layer_overhead_us", "engines", "engine", 20.0, 0.6),
    Kind("step_overhead_us", "engines", "engine", 1500.0, 0.7),
    Kind("sequence_overhead_us", "engines", "engine", 8.0, 0.7),
    Kind("prefill_interference", "engines", "engine", 1.0, 0.25),
    Kind("ttft_prefill", "engines", "engine", 1.0, 0.2),
    Kind("ttft_burst", "engines", "engine", 0.05, 0.2),
    Kind("ttft_queue", "engines", "engine", 0.1, 0.6),
    Kind("ttft_step", "engines", "engine", 4.0, 0.8),
    Kind("ttft_start_ms", "engines", "engine", 10.0, 0.7),
    Kind("host_us", "engines", "engine", 1500.0, 0.7),
    Kind("fixed", "pairings", "family", 1.0, 0.2),
    Kind("fixed", "pairings", "family_engine", 1.0, 0.2),
    Kind("fixed", "pairings", "pairing", 1.0, 0.25),
    Kind("fixed", "pairings", "pairing_scheme", 1.0, 0.25),
    Kind("sequence", "pairings", "family", 1.0, 0.2),
    Kind("sequence", "pairings", "family_engine", 1.0, 0.2),
    Kind("sequence", "pairings", "pairing", 1.0, 0.25),
    Kind("sequence", "pairings", "pairing_scheme", 1.0, 0.25),
    Kind("prompt", "pairings", "pairing", 1.0, 0.2),
    Kind("prompt", "pairings", "pairing_scheme", 1.0, 0.2),
    Kind("fixed", "modes", "engine_mode", 1.0, 0.3),
    Kind("fixed", "modes", "pairing_mode", 1.0, 0.3),
    Kind("sequence", "modes", "engine_mode", 1.0, 0.3),
    Kind("sequence", "modes", "pairing_mode", 1.0, 0.3),
    Kind("prompt", "modes", "engine_mode", 1.0, 0.3),
    Kind("prompt", "modes", "pairing_mode", 1.0, 0.3),
    Kind("ttft_step", "pairings", "pairing", 1.0, 0.6),
    Kind("ttft_step", "pairings", "pairing_scheme", 1.0, 0.6),
)
SAMPLE_KINDS = (
    Kind("fixed", "modes", "class_mode", 1.0, 0.7),
    Kind("fixed", "modes", "pairing_mode", 1.0, 0.5),
    Kind("sequence", "modes", "class_mode", 1.0, 0.7),
    Kind("sequence", "modes", "pairing_mode", 1.0, 0.5),
)
FIRST_TOKEN = {"ttft_prefill", "ttft_burst", "ttft_queue", "ttft_step", "ttft_start_ms", "host_us"}
"""What moves the time to first token alone, or nearly."""
UNITS = {"_us": MICROSECOND, "_ms": MILLISECOND}


NOBODY = ""
"""Owner of a coefficient for runs on which it does not act; it stays at its prior."""


class Design:
    """Coefficients to fit on runs of language models, and on which runs each of them acts."""

    def __init__(self, runs: list[Run], kinds: tuple[Kind, ...]) -> None:
        self.runs, self.kinds = runs, kinds
        names = [
            pairing_names(
                run.choice.model, run.choice.accelerator, run.choice.engine.id,
                run.choice.scheme.id,
            )
            for run in runs
        ]  # fmt: skip
        generation = [run.choice.accelerator.generation for run in runs]
        self.levels = {
            "all": np.array(["all"] * len(runs)),
            "generation": np.array(generation),
            "format": np.array([
                f"{chip}.{run.choice.arithmetic}"
                for chip, run in zip(generation, runs, strict=True)
            ]),
            "expert_format": np.array([
                f"{chip}.{expert_arithmetic(run.choice)}"
                for chip, run in zip(generation, runs, strict=True)
            ]),
            "engine": np.array([run.choice.engine.id for run in runs]),
            "family": np.array([name[0] for name in names]),
            "family_engine": np.array([name[1] for name in names]),
        }  # fmt: skip
        modes = [mode(run) for run in runs]
        self.closed = np.array([kind == "closed" for kind in modes])
        for level, closed, texts in (
            ("pairing", True, [name[2] for name in names]),
            ("pairing_scheme", True, [name[3] for name in names]),
            ("engine_mode", False, [
                f"{run.choice.engine.id}/{kind}" for run, kind in zip(runs, modes, strict=True)
            ]),
            ("class_mode", False, [
                f"{run.choice.model.model_class}/{chip}/{run.choice.arithmetic}/{kind}"
                for run, chip, kind in zip(runs, generation, modes, strict=True)
            ]),
            ("pairing_mode", False, [
                f"{name[3]}/{kind}" for name, kind in zip(names, modes, strict=True)
            ]),
        ):  # fmt: skip
            self.levels[level] = np.where(self.closed == closed, np.array(texts), NOBODY)
        self.owners: list[Array] = []
        self.index: list[NDArray[np.intp]] = []
        self.first: list[int] = []
        size = 0
        for kind in self.kinds:
            owners, index = np.unique(self.levels[kind.level], return_inverse=True)
            self.owners.append(owners)
            self.index.append(index)
            self.first.append(size)
            size += len(owners)
        self.size = size
        counts = [len(owners) for owners in self.owners]
        self.sd = np.repeat([kind.sd for kind in self.kinds], counts)
        self.real = np.concatenate([owners != NOBODY for owners in self.owners])
        self.in_closed = np.concatenate([
            np.bincount(index[self.closed], minlength=len(owners)) > 0
            for owners, index in zip(self.owners, self.index, strict=True)
        ])  # fmt: skip
        names_of = np.char.add(
            self.levels["pairing_scheme"].astype(str), self.levels["pairing_mode"].astype(str)
        )
        groups, of = np.unique(names_of, return_inverse=True)
        self.group_size = np.bincount(of, minlength=len(groups))[of].astype(float)
        shapes = [run.choice.model.transformer for run in runs]
        self.has = {
            "expert_layer_overhead": np.array([bool(s and s.experts) for s in shapes]),
            "latent_layer_overhead": np.array(
                [bool(s and s.attention.kv_lora_rank) for s in shapes]
            ),
            "linear_layer_overhead": np.array(
                [bool(s and s.attention.linear_layers) for s in shapes]
            ),
        }

    def where(self, chosen: Callable[[Kind], bool]) -> Array:
        """True for the numbers of the kinds that are chosen."""
        flags = [chosen(kind) for kind in self.kinds]
        chosen_ones: Array = np.repeat(flags, [len(owners) for owners in self.owners]) & self.real
        return chosen_ones

    def coefficients(self, free: Array) -> Iterator[tuple[Kind, str, float, int]]:
        """Each coefficient with its kind, its owner and the number of runs that it acts on."""
        for kind, owners, index, first in zip(
            self.kinds, self.owners, self.index, self.first, strict=True
        ):
            counts = np.bincount(index, minlength=len(owners))
            values = self.outward(kind, free[first : first + len(owners)])
            for owner, value, count in zip(owners, values, counts, strict=True):
                if owner != NOBODY:
                    yield kind, str(owner), float(value), int(count)

    def outward(self, kind: Kind, free: Array) -> Array:
        """From free numbers of the optimiser (0 at the prior) to coefficients."""
        free = np.clip(free, -FARTHEST, FARTHEST)
        if kind.is_share:
            outcome: Array = expit(math.log(kind.prior / (1.0 - kind.prior)) + free)
            return outcome
        return kind.prior * np.exp(free)

    def inputs(self, basis: Inputs, free: Array, rows: NDArray[np.intp]) -> Inputs:
        """Inputs with the coefficients that the optimiser is trying."""
        values: dict[str, Array] = {}
        for kind, index, first in zip(self.kinds, self.index, self.first, strict=True):
            column = self.outward(kind, free[first + index[rows]])
            unit = next((UNITS[end] for end in UNITS if kind.name.endswith(end)), 1.0)
            name = f"pair_{kind.name}" if kind.table in ("pairings", "modes") else kind.name
            name = name.removesuffix("_us").removesuffix("_ms")
            values[name] = values.get(name, 1.0) * column * unit
        values["fixed_factor"] = values.pop("pair_fixed")
        values["sequence_factor"] = values.pop("pair_sequence")
        if "layer_overhead" not in values:
            return replace(basis, **values)
        more = sum(values.pop(name) * flags[rows] for name, flags in self.has.items())
        passes = values.pop("activation_passes")
        passes = passes + values.pop("expert_activation_passes") * basis.experts_per_token
        values["activation_bytes_per_token"] = (
            passes * basis.layers * basis.hidden * UNQUANTISED_BYTES
        )
        values["layer_overhead"] *= 1.0 + more
        values["host_time"] = values.pop("host")
        values["ttft_step"] *= values.pop("pair_ttft_step")
        values["prompt_factor"] = values.pop("pair_prompt")
        return replace(basis, **values)


@dataclass(frozen=True)
class Measured:
    """What the runs show, and how a prediction compares."""

    ttft: Array
    tpot: Array
    throughput: Array
    outputs: Array
    concurrency: Array
    copies: Array
    modes: NDArray[np.str_]

    @classmethod
    def of(cls, runs: list[Run]) -> Measured:
        """Columns of runs."""
        requests = np.array([
            run.requests_per_s if run.choice.model.transformer or run.requests_per_s > 0
            else run.replicas * run.batch / run.latency
            for run in runs
        ])  # fmt: skip
        outputs = np.array([run.nominal_output for run in runs])
        tokens = np.array([run.output_tokens_per_s for run in runs])
        return cls(
            np.array([run.ttft for run in runs]), np.array([run.tpot for run in runs]),
            np.where(np.isnan(requests), tokens / outputs, requests), outputs,
            np.array([float(run.scenario.concurrency) for run in runs]),
            np.array([run.replicas for run in runs]), np.array([mode(run) for run in runs]),
        )  # fmt: skip

    def errors(self, x: Inputs, speed: Performance, rows: NDArray[np.intp]) -> dict[str, Array]:
        """ln(predicted/measured) of TTFT, TPOT and throughput."""
        modes, in_flight = self.modes[rows], self.concurrency[rows]
        ttft, tpot = np.asarray(speed.ttft), np.asarray(speed.tpot)
        first, each, whole = static_times(x, speed)
        static = modes == "static"
        ttft, tpot = np.where(static, first, ttft), np.where(static, each, tpot)
        throughput = in_flight / (ttft + (self.outputs[rows] - 1.0) * tpot)
        throughput = np.where(modes == "served", self.copies[rows] * throughput, throughput)
        throughput = np.where(static, self.copies[rows] * in_flight / whole, throughput)
        offline = modes == "offline"
        throughput = np.where(offline, self.copies[rows] * speed.throughput, throughput)
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "ttft": np.where(offline, np.nan, np.log(ttft / self.ttft[rows])),
                "tpot": np.where(offline, np.nan, np.log(tpot / self.tpot[rows])),
                "throughput": np.log(throughput / self.throughput[rows]),
            }


FARTHEST = 5.0
"""Farthest that a coefficient may go from its prior (ln)."""
PRIOR_WEIGHT = 0.3
"""Weight of the priors against one run: its noise (ln), and more because the runs of one group err
together."""
WEIGHTS = {"ttft": 0.35, "tpot": 1.0, "throughput": 0.7}
ENGINE_LIFT, PAIRING_LIFT = 0.15, 0.08
"""Times to first token are skewed, and the mean is asked for, which lies above the middle by half
the variance (ln): of unlike pairings for an engine, of like runs for a pairing."""


def _robust(errors: Array, scale: float) -> Array:
    """Errors whose squares are Cauchy's loss: those far beyond the scale hardly pull any more."""
    squashed: Array = np.sign(errors) * scale * np.sqrt(np.log1p((errors / scale) ** 2))
    return squashed


def _rows_of(inputs: Inputs, rows: NDArray[np.intp]) -> Inputs:
    return Inputs(**{
        field.name: getattr(inputs, field.name)[rows] for field in fields(Inputs)
    })  # fmt: skip


class Fit:
    """Fits on parts of the runs of language models, for the result and for cross-validation."""

    def __init__(
        self, runs: list[Run], start: Coefficients, kinds: tuple[Kind, ...] = KINDS
    ) -> None:
        self.design = Design(runs, kinds)
        self.measured = Measured.of(runs)
        self.basis = stack(runs, start)

    def predict(self, free: Array, rows: NDArray[np.intp]) -> dict[str, Array]:
        """Errors on some rows."""
        x = self.design.inputs(_rows_of(self.basis, rows), free, rows)
        return self.measured.errors(x, performance(x), rows)

    def run(self, rows: NDArray[np.intp]) -> Array:
        """Coefficients from some rows: steady serving, then the rest on top of it."""
        closed = self.design.closed[rows]
        free = self.closed_loops(rows[closed])
        return self.others(free, rows[~closed]) if not closed.all() else free

    @cached_property
    def steady(self) -> Array:
        """Coefficients from all closed loops, on top of which the others are cross-validated."""
        return self.closed_loops(np.flatnonzero(self.design.closed))

    def others(self, free: Array, rows: NDArray[np.intp]) -> Array:
        """Static batches and offline maxima.

        Chips and engines that no closed loop has seen get coefficients of their own; the rest is
        kept in factors of other software.
        """
        design = self.design
        new = design.where(lambda kind: kind.table in ("chips", "engines", "pairings"))
        new = new & ~design.in_closed
        new = new | design.where(lambda kind: kind.level in ("engine_mode", "class_mode"))
        free = self._move(free, rows, new, WEIGHTS, 0.25, 0.15, 30)
        own = design.where(lambda kind: kind.level == "pairing_mode")
        return self._move(free, rows, own, WEIGHTS, 0.125, 0.4, 20)

    def closed_loops(self, rows: NDArray[np.intp]) -> Array:
        """The general coefficients, then pairings, then the first token."""
        design = self.design
        free = np.zeros(design.size)
        if not len(rows):
            return free
        general = design.where(lambda kind: kind.table not in ("pairings", "modes"))
        free = self._move(free, rows, general, WEIGHTS, 0.25, 0.15, 30)
        # Models and engines at large: an odd collection of runs must not move them.
        wide = design.where(lambda kind: kind.level in ("family", "family_engine"))
        free = self._move(free, rows, wide, WEIGHTS, 0.125, 0.12, 15)
        first = design.where(lambda kind: kind.name in FIRST_TOKEN and kind.table == "engines")
        free = self._move(free, rows, first, {"ttft": 1.0}, 0.125, 0.3, 20, ENGINE_LIFT)
        # What is odd is so for its own pairing, where runs agree on it.
        own = ("pairing", "pairing_scheme")
        narrow = design.where(lambda kind: kind.level in own and kind.name != "ttft_step")
        free = self._move(free, rows, narrow, WEIGHTS, 0.125, 0.6, 25)
        first = design.where(lambda kind: kind.level in own and kind.name == "ttft_step")
        return self._move(free, rows, first, {"ttft": 1.0}, 0.125, 0.3, 20, PAIRING_LIFT)

    def _move(
        self, free: Array, rows: NDArray[np.intp], moving: Array, weights: Mapping[str, float],
        evenness: float, scale: float, steps: int, lift: float = 0.0,
    ) -> Array:  # fmt: skip
        """Least squares over the coefficients that move, robust against outliers.

        Every run counts less where many others share its pairing (to the power of `evenness`).
        """
        design, count = self.design, len(rows)
        basis = _rows_of(self.basis, rows)
        each = np.sqrt(design.group_size[rows] ** -evenness)
        each = each / math.sqrt(float(np.mean(each**2)))
        place = np.cumsum(moving) - 1
        prior = PRIOR_WEIGHT / design.sd[moving]

        def whole(part: Array) -> Array:
            everything = free.copy()
            everything[moving] = part
            return everything

        def measured(part: Array) -> Array:
            x = design.inputs(basis, whole(part), rows)
            found = self.measured.errors(x, performance(x), rows)
            return np.concatenate([
                each * weight * np.nan_to_num(found[name] - lift, posinf=0.0, neginf=0.0)
                for name, weight in weights.items()
            ])  # fmt: skip

        def residuals(part: Array) -> Array:
            return np.concatenate([_robust(measured(part), scale), prior * part])

        def slopes(part: Array) -> Array:
            # All owners of a kind are moved at once: each run has one of them.
            base, step = _robust(measured(part), scale), 1e-5
            outcome = np.zeros((len(base) + len(part), len(part)))
            for first, index, owners in zip(design.first, design.index, design.owners, strict=True):
                here = slice(first, first + len(owners))
                if not moving[here].any():
                    continue
                trial = part.copy()
                trial[place[here][moving[here]]] += step
                change = (_robust(measured(trial), scale) - base) / step
                acts = moving[first + index[rows]]
                columns = place[first + index[rows]][acts]
                for block in range(len(weights)):
                    lines = (block * count + np.arange(count))[acts]
                    outcome[lines, columns] = change[lines]
            outcome[len(base) + np.arange(len(part)), np.arange(len(part))] = prior
            return outcome

        # Of the library's methods the one that never stops without a step on these problems.
        solution = least_squares(
            residuals, free[moving], jac=slopes, max_nfev=steps, method="dogbox", tr_solver="lsmr"
        )
        return whole(solution.x)

    def cross_validate(self, groups: bool, seed: int = 0, closed: bool = True) -> dict[str, Array]:
        """Errors on rows that were left out: single rows, or whole (model, chip, engine) groups.

        Of closed loops alone, or of all others with the closed loops in the fit.
        """
        design = self.design
        random = np.random.default_rng(seed)
        part = np.flatnonzero(design.closed == closed)
        count = len(part)
        if groups:
            names = np.array([
                f"{run.choice.model.id}/{run.choice.accelerator.id}/{run.choice.engine.id}"
                for run in (design.runs[index] for index in part)
            ])  # fmt: skip
            kinds, of = np.unique(names, return_inverse=True)
            order = random.permutation(len(kinds))
            order = order[np.argsort(-np.bincount(of)[order], kind="stable")]
            load, fold_of = np.zeros(GROUP_FOLDS), np.zeros(len(kinds), dtype=int)
            for kind in order:
                fold_of[kind] = int(np.argmin(load))
                load[fold_of[kind]] += (of == kind).sum()
            fold = fold_of[of]
        else:
            fold = random.integers(0, ROW_FOLDS, count)
        found = {name: np.zeros(count) for name in WEIGHTS}
        for number in np.unique(fold):
            out, rest = np.flatnonzero(fold == number), part[fold != number]
            free = self.closed_loops(rest) if closed else self.others(self.steady, rest)
            errors = self.predict(free, part[out])
            for name, column in found.items():
                column[out] = errors[name]
        return found


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


def _language_runs(runs: list[Run], start: Coefficients) -> list[Run]:
    """Runs of language models that the fit uses, the offline ones at their best."""
    language = [
        run for run in runs
        if run.choice.model.transformer and mode(run) != "none"
        and run.loop not in ("server", "interactive")
        and not (mode(run) == "static" and math.isnan(run.batch))
    ]  # fmt: skip
    offline = [run for run in language if mode(run) == "offline"]
    return [run for run in language if mode(run) != "offline"] + at_their_best(offline, start)


def _named(fitted: Fit, closed: bool, part: str, errors: Mapping[str, Array]) -> dict[str, Array]:
    """Errors by name; of other runs by their mode."""
    if closed:
        return {f"llm/{name}/{part}": error for name, error in errors.items()}
    modes = fitted.measured.modes[~fitted.design.closed]
    return {
        f"llm-{which}/{name}/{part}": error[modes == which]
        for which in np.unique(modes)
        for name, error in errors.items()
        if np.isfinite(error[modes == which]).any()
    }


def fit(paths: list[Path], target: Path) -> dict[str, dict[str, float]]:
    """Fit everything on files of measured runs and write the result; returns the residuals."""
    facts, start = catalog(), coefficients()
    runs, left_out = read_runs(paths, facts)
    for reason, count in sorted(left_out.items()):
        print(f"left out {count:5d} runs: {reason}", file=sys.stderr)
    language = _language_runs(runs, start)
    everything = np.arange(len(language))
    fitted = Fit(language, start)
    free = fitted.run(everything)
    final = fitted.predict(free, np.flatnonzero(fitted.design.closed))
    left_out_errors: dict[str, Array] = {}
    for closed in (True, False):
        if not (fitted.design.closed == closed).any():
            continue
        for part, groups in (("known", False), ("unseen", True)):
            left_out_errors |= _named(
                fitted, closed, part, fitted.cross_validate(groups, closed=closed)
            )
    samples = [
        run for run in runs
        if mode(run) == "offline" and run.loop == "offline"
        and run.choice.model.sample and run.requests_per_s > 0
    ]  # fmt: skip
    # Without factors of an earlier fit, so that the outcome does not depend on it.
    blank = start.model_copy(update={"modes": {}, "pairings": {}})
    classes, factors, sample_errors = fit_samples(samples, blank)
    document = _document(start, fitted.design, free, classes, factors)
    now = Coefficients.model_validate(document | {"residuals": {}})
    batches, batch_errors = _fit_batches(runs, samples, now)
    document["modes"] |= batches
    left_out_errors |= batch_errors
    residuals = {f"llm/{name}": _spread(-error) for name, error in final.items()}
    residuals |= {name: _spread(-error) for name, error in left_out_errors.items()}
    residuals |= {f"{name}/throughput": _spread(error) for name, error in sample_errors.items()}
    document["residuals"] = residuals
    document["fitted_on"] = date.today()
    closed_runs = int(fitted.design.closed.sum())
    document["description"] = (
        f"{closed_runs} closed-loop and {len(language) - closed_runs} other "
        f"runs of language models, and {len(samples)} offline runs of "
        "other models"
    )
    Coefficients.model_validate(document)
    heading = "# Written by `make fit`.\n"
    target.write_text(heading + tomli_w.dumps(_rounded(document)), encoding="utf-8")
    return residuals


def _fit_batches(
    runs: list[Run], offline: list[Run], start: Coefficients
) -> tuple[dict[str, dict[str, float]], dict[str, Array]]:
    """Factors of models evaluated by the sample, by kind of run, and the errors left out."""
    batches = [
        run for run in runs
        if run.choice.model.sample and (run.requests_per_s > 0 or run.latency > 0)
        and mode(run) == "static" and not math.isnan(run.batch)
    ] + at_their_best(offline, start)  # fmt: skip
    if not batches:
        return {}, {}
    fitted = Fit(batches, start, SAMPLE_KINDS)
    free = fitted.run(np.arange(len(batches)))
    table: dict[str, dict[str, float]] = {}
    for kind, owner, value, count in fitted.design.coefficients(free):
        table.setdefault(owner, {"rows": count})[kind.name] = value
    classes = np.array([run.choice.model.model_class for run in batches])
    modes = fitted.measured.modes
    errors = {}
    for part, groups in (("known", False), ("unseen", True)):
        found = fitted.cross_validate(groups, closed=False)["throughput"]
        for which in np.unique(modes):
            for name in np.unique(classes):
                rows = np.flatnonzero((modes == which) & (classes == name))
                if np.isfinite(found[rows]).any():
                    errors[f"{name}-{which}/throughput/{part}"] = found[rows]
    return table, errors


def _document(
    start: Coefficients, design: Design, free: Array,
    classes: dict[str, dict[str, float]], factors: dict[str, float],
) -> dict[str, Any]:  # fmt: skip
    """The coefficients after a fit, as they are written."""
    document: dict[str, Any] = start.model_dump(exclude={"residuals", "pairings", "modes"})
    document["pairings"], document["modes"] = {}, {}
    for kind, owner, value, count in design.coefficients(free):
        if kind.table == "general":
            document["general"][kind.name] = value
            continue
        name, _, number_format = owner.partition(".")
        if kind.table in ("pairings", "modes") or "format" not in kind.level:
            name, number_format = owner, ""
        default = dict(document[kind.table].get("default", {}))
        table = document[kind.table].setdefault(name, default)
        table["rows"] = max(count, table.get("rows", 0))
        if number_format:
            table[kind.name] = dict(table[kind.name]) | {number_format: value}
        else:
            table[kind.name] = value
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
