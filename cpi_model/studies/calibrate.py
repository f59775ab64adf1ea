"""Fit the coefficients on measured runs: ``python -m cpi_model.studies.calibrate POINTS...``.

Reads files with one measured run a row, builds the same :class:`~cpi_model.inputs.Inputs` that
the app uses, and moves the coefficients until :func:`cpi_model.evaluate.performance` agrees with
the measurements: least squares on the logarithm of the error, robust against outliers, with weak
priors that decide where the data do not. Writes ``data/coefficients/``, but for assumptions.
"""

from __future__ import annotations

import csv
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
from scipy.sparse import csr_array
from scipy.special import expit, logit

from cpi_model.catalog import catalog, data_folder
from cpi_model.coefficients import (
    FACTORS,
    Coefficients,
    ModeNames,
    Pairing,
    coefficients,
    mode_names,
    pairing_names,
)
from cpi_model.evaluate import Performance, performance
from cpi_model.inputs import (
    FIRST_OF_COPIES,
    FIRST_OF_PAIRING,
    UNQUANTISED_BYTES,
    Inputs,
    expert_arithmetic,
)
from cpi_model.studies.runs import BATCHES, LIMITED, Run, mode, read_runs, residual_kind, stack
from cpi_model.studies.validate import (
    UnusableTable,
    at_their_best,
    figures,
    predict,
    read_table,
    static_times,
)
from cpi_model.units import MICROSECOND, MILLISECOND, Array

PARTS = ("known", "unseen", "elsewhere")
"""What is left out: single rows, groups of (model, chip, engine), whole generations of chips."""
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
    on_cpu: float | None = None
    """Prior on CPUs, where it is another."""


KINDS = (
    Kind("compute_efficiency", "chips", "format", 0.6, 0.5, True),
    # Vector units and tiles of CPUs are busy with a few rows.
    Kind("half_tokens", "chips", "generation", 60.0, 0.5, on_cpu=8.0),
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
    Kind("ttft_copies", "general", "all", 0.7, 0.7),
    Kind("layer_overhead_us", "engines", "engine", 20.0, 0.6),
    Kind("step_overhead_us", "engines", "engine", 1500.0, 0.7),
    Kind("sequence_overhead_us", "engines", "engine", 8.0, 0.7),
    Kind("prefill_interference", "engines", "engine", 1.0, 0.1),
    Kind("ttft_prefill", "engines", "engine", 1.0, 0.2),
    Kind("ttft_burst", "engines", "engine", 0.05, 0.2),
    Kind("ttft_queue", "engines", "engine", 0.1, 0.6),
    Kind("ttft_step", "engines", "engine", 4.0, 0.8),
    Kind("ttft_start_ms", "engines", "engine", 10.0, 0.7),
    Kind("host_us", "engines", "engine", 1500.0, 0.7),
    Kind("fixed", "pairings", "family", 1.0, 0.12),
    Kind("fixed", "pairings", "family_engine", 1.0, 0.12),
    Kind("fixed", "pairings", "pairing", 1.0, 0.25),
    Kind("fixed", "pairings", "pairing_scheme", 1.0, 0.25),
    Kind("sequence", "pairings", "family", 1.0, 0.12),
    Kind("sequence", "pairings", "family_engine", 1.0, 0.12),
    Kind("sequence", "pairings", "pairing", 1.0, 0.25),
    Kind("sequence", "pairings", "pairing_scheme", 1.0, 0.25),
    Kind("prompt", "pairings", "pairing", 1.0, 0.2),
    Kind("prompt", "pairings", "pairing_scheme", 1.0, 0.2),
    Kind("ttft_step", "pairings", "family_engine", 1.0, 0.4),
    Kind("ttft_step", "pairings", "pairing", 1.0, 1.0),
    Kind("ttft_step", "pairings", "pairing_scheme", 1.0, 1.0),
    Kind("ttft_start", "pairings", "pairing", 1.0, 1.5),
    Kind("ttft_start", "pairings", "pairing_scheme", 1.0, 1.0),
    Kind("ttft_prefill", "pairings", "pairing", 1.0, 0.6),
    Kind("ttft_prefill", "pairings", "pairing_scheme", 1.0, 0.4),
    Kind("ttft_burst", "pairings", "pairing", 1.0, 0.6),
    *(
        Kind(name, "modes", level, 1.0, 0.3)
        for name in ("fixed", "sequence", "prompt", "first")
        for level in ("engine", "chip", "family", "software", "pairing", "pairing_software")
    ),
)
SAMPLE_KINDS = tuple(
    Kind(name, "modes", level, 1.0, sd)
    for name in ("fixed", "sequence", "streams")
    for level, sd in (
        ("whole", 1.0), ("generation", 0.6), ("engine", 0.5), ("chip", 0.3), ("family", 0.4),
        ("software", 0.4), ("pairing", 0.3), ("pairing_software", 0.3),
    )
)  # fmt: skip
LIMITED_KINDS = tuple(
    Kind("reached", "modes", level, 1.0, sd)
    for level, sd in (
        ("whole", 0.5), ("generation", 0.2), ("engine", 0.2), ("family", 0.4), ("pairing", 0.3),
    )
)  # fmt: skip
WIDE = ("whole", "generation", "engine", "chip", "family", "software")
"""Levels of other runs than closed loops that are fitted first."""
FIRST_TOKEN = {
    "ttft_prefill", "ttft_burst", "ttft_queue", "ttft_step", "ttft_start_ms", "ttft_copies",
    "host_us",
}  # fmt: skip
"""What moves the time to first token alone, or nearly."""
OUTSIDE = ("streams", "reached", "first")
"""What acts on a prediction, not on what it is made from."""
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
        for level, part in (("pairing", 2), ("pairing_scheme", 3)):
            texts = np.array([name[part] for name in names])
            self.levels[f"pairings.{level}"] = np.where(self.closed, texts, NOBODY)
        others = [
            mode_names(
                run.choice.model, run.choice.accelerator, run.choice.arithmetic,
                run.choice.engine.id, run.choice.scheme.id, kind, run.software,
            )
            for run, kind in zip(runs, modes, strict=True)
        ]  # fmt: skip
        for level in (field.name for field in fields(ModeNames)):
            texts = np.array([getattr(name, level) for name in others])
            self.levels[f"modes.{level}"] = np.where(self.closed, NOBODY, texts)
        self.owners: list[Array] = []
        self.index: list[NDArray[np.intp]] = []
        self.first: list[int] = []
        size = 0
        for kind in self.kinds:
            own = f"{kind.table}.{kind.level}"
            texts = self.levels[own if own in self.levels else kind.level]
            owners, index = np.unique(texts, return_inverse=True)
            self.owners.append(owners)
            self.index.append(index)
            self.first.append(size)
            size += len(owners)
        self.size = size
        of_cpus = np.unique([
            run.choice.accelerator.generation
            for run in runs if run.choice.accelerator.kind == "cpu"
        ])  # fmt: skip
        self.priors = [
            np.where(np.isin(owners, of_cpus), kind.on_cpu or kind.prior, kind.prior)
            for kind, owners in zip(kinds, self.owners, strict=True)
        ]
        counts = [len(owners) for owners in self.owners]
        self.sd = np.repeat([kind.sd for kind in self.kinds], counts)
        self.real = np.concatenate([owners != NOBODY for owners in self.owners])
        self.in_closed = np.concatenate([
            np.bincount(index[self.closed], minlength=len(owners)) > 0
            for owners, index in zip(self.owners, self.index, strict=True)
        ])  # fmt: skip
        narrow = self.levels["modes.pairing_software"], self.levels["modes.pairing"]
        names_of = np.char.add(
            self.levels["pairings.pairing_scheme"].astype(str),
            np.where(narrow[0] != NOBODY, *narrow).astype(str),
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
        for kind, owners, index, first, priors in zip(
            self.kinds, self.owners, self.index, self.first, self.priors, strict=True
        ):
            counts = np.bincount(index, minlength=len(owners))
            values = self.outward(kind, free[first : first + len(owners)], priors)
            for owner, value, count in zip(owners, values, counts, strict=True):
                if owner != NOBODY:
                    yield kind, str(owner), float(value), int(count)

    def outward(self, kind: Kind, free: Array, priors: Array) -> Array:
        """From free numbers of the optimiser (0 at the prior) to coefficients."""
        free = np.clip(free, -FARTHEST, FARTHEST)
        if kind.is_share:
            outcome: Array = expit(logit(priors) + free)
            return outcome
        return priors * np.exp(free)

    def outside(self, name: str, free: Array, rows: NDArray[np.intp]) -> Array:
        """Product of the coefficients of a name that act on what was predicted."""
        product = np.ones(len(rows))
        for kind, index, first, priors in zip(
            self.kinds, self.index, self.first, self.priors, strict=True
        ):
            if kind.name == name:
                own = index[rows]
                product = product * self.outward(kind, free[first + own], priors[own])
        return product

    def inputs(self, basis: Inputs, free: Array, rows: NDArray[np.intp]) -> Inputs:
        """Inputs with the coefficients that the optimiser is trying."""
        values: dict[str, Array] = {}
        for kind, index, first, priors in zip(
            self.kinds, self.index, self.first, self.priors, strict=True
        ):
            own = index[rows]
            column = self.outward(kind, free[first + own], priors[own])
            unit = next((UNITS[end] for end in UNITS if kind.name.endswith(end)), 1.0)
            name = f"pair_{kind.name}" if kind.table in ("pairings", "modes") else kind.name
            name = name.removesuffix("_us").removesuffix("_ms")
            values[name] = values.get(name, 1.0) * column * unit
        for name in OUTSIDE:
            values.pop(f"pair_{name}", None)
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
        together = np.greater(basis.data_parallel, 1.0) & np.greater(basis.experts, 0.0)
        copies = 1.0 + values.pop("ttft_copies") * together
        for name in FIRST_OF_PAIRING:
            values[name] *= values.pop(f"pair_{name}")
        for name in FIRST_OF_COPIES:
            values[name] *= copies
        values["prefill_waited"] = values["ttft_queue"]
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
    latency: Array
    """Of samples."""

    @classmethod
    def of(cls, runs: list[Run]) -> Measured:
        """Columns of runs."""
        requests = np.array([
            run.requests_per_s if run.choice.model.transformer or run.requests_per_s > 0
            else run.replicas * float(run.scenario.concurrency) / run.latency
            for run in runs
        ])  # fmt: skip
        outputs = np.array([run.nominal_output for run in runs])
        tokens = np.array([run.output_tokens_per_s for run in runs])
        return cls(
            np.array([run.ttft for run in runs]), np.array([run.tpot for run in runs]),
            np.where(np.isnan(requests), tokens / outputs, requests), outputs,
            np.array([float(run.scenario.concurrency) for run in runs]),
            np.array([run.replicas for run in runs]), np.array([mode(run) for run in runs]),
            np.array([
                run.latency if run.choice.model.sample else math.nan for run in runs
            ]),
        )  # fmt: skip

    def errors(self, x: Inputs, speed: Performance, rows: NDArray[np.intp]) -> dict[str, Array]:
        """ln(predicted/measured) of TTFT, TPOT and throughput."""
        modes, in_flight = self.modes[rows], self.concurrency[rows]
        ttft, tpot = np.asarray(speed.ttft), np.asarray(speed.tpot)
        first, each, whole = static_times(x, speed)
        static = np.isin(modes, BATCHES)
        ttft, tpot = np.where(static, first, ttft), np.where(static, each, tpot)
        throughput = in_flight / (ttft + (self.outputs[rows] - 1.0) * tpot)
        samples = np.asarray(x.is_llm) == 0
        waited = np.where(samples & ~static, np.asarray(speed.latency_mean), whole)
        throughput = np.where(samples, in_flight / waited, throughput)
        throughput = np.where(modes == "served", self.copies[rows] * throughput, throughput)
        throughput = np.where(static, self.copies[rows] * in_flight / whole, throughput)
        offline = modes == "offline"
        throughput = np.where(offline, self.copies[rows] * speed.throughput, throughput)
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "ttft": np.where(offline, np.nan, np.log(ttft / self.ttft[rows])),
                "tpot": np.where(offline, np.nan, np.log(tpot / self.tpot[rows])),
                "throughput": np.log(throughput / self.throughput[rows]),
                "latency": np.where(
                    samples & ~offline, np.log(waited / self.latency[rows]), np.nan
                ),
            }


FARTHEST = 5.0
"""Farthest that a coefficient may go from its prior (ln)."""
PRIOR_WEIGHT = 0.3
"""Weight of the priors against one run: its noise (ln), and more because the runs of one group err
together."""
WEIGHTS = {"ttft": 0.35, "tpot": 1.0, "throughput": 0.7}
SAMPLE_WEIGHTS = {"throughput": 1.0, "latency": 0.7}
ENGINE_LIFT, PAIRING_LIFT = 0.2, 0.05
"""Times to first token are skewed, and the mean is asked for, which lies above the middle by half
the variance (ln): of unlike pairings for an engine, of like runs for a pairing."""


def _robust(errors: Array, scale: float) -> Array:
    """Errors whose squares are Cauchy's loss: those far beyond the scale hardly pull any more."""
    squashed: Array = np.sign(errors) * scale * np.sqrt(np.log1p((errors / scale) ** 2))
    return squashed


class Fit:
    """Fits on parts of the runs of language models, for the result and for cross-validation."""

    def __init__(
        self, runs: list[Run], start: Coefficients, kinds: tuple[Kind, ...] = KINDS,
        scale: float = 0.15, weights: Mapping[str, float] = WEIGHTS,
    ) -> None:  # fmt: skip
        self.scale, self.weights = scale, weights
        self.design = Design(runs, kinds)
        self.measured = Measured.of(runs)
        self.basis = stack(runs, start)

    def predict(self, free: Array, rows: NDArray[np.intp]) -> dict[str, Array]:
        """Errors on some rows."""
        return self._errors(self._rows_of(rows), free, rows)

    def _rows_of(self, rows: NDArray[np.intp]) -> Any:
        return Inputs(**{
            field.name: getattr(self.basis, field.name)[rows] for field in fields(Inputs)
        })  # fmt: skip

    def _errors(self, basis: Any, free: Array, rows: NDArray[np.intp]) -> dict[str, Array]:
        x = self.design.inputs(basis, free, rows)
        found = self.measured.errors(x, performance(x), rows)
        found["latency"] = found["latency"] + np.log(self.design.outside("streams", free, rows))
        found["ttft"] = found["ttft"] + np.log(self.design.outside("first", free, rows))
        return found

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
        new = new | design.where(lambda kind: kind.table == "modes" and kind.level in WIDE)
        free = self._move(free, rows, new, self.weights, 0.25, self.scale, 30)
        own = design.where(lambda kind: kind.table == "modes" and kind.level not in WIDE)
        return self._move(free, rows, own, self.weights, 0.125, 0.4, 20)

    def closed_loops(self, rows: NDArray[np.intp]) -> Array:
        """The general coefficients, then pairings, then the first token."""
        design = self.design
        free = np.zeros(design.size)
        if not len(rows):
            return free
        general = design.where(lambda kind: kind.table not in ("pairings", "modes"))
        free = self._move(free, rows, general, WEIGHTS, 0.4, 0.15, 30)
        # Models and engines at large: an odd collection of runs must not move them.
        wide = design.where(
            lambda kind: kind.table == "pairings" and kind.level in ("family", "family_engine")
        )
        free = self._move(free, rows, wide, WEIGHTS, 0.125, 0.12, 15)
        first = design.where(lambda kind: kind.name in FIRST_TOKEN and kind.table != "pairings")
        free = self._move(free, rows, first, {"ttft": 1.0}, 0.125, 0.6, 20, ENGINE_LIFT)
        # What is odd is so for its own pairing, where runs agree on it.
        own = ("pairing", "pairing_scheme")
        narrow = design.where(
            lambda kind: kind.table == "pairings" and kind.level in own
            and kind.name not in FIRST_OF_PAIRING
        )  # fmt: skip
        free = self._move(free, rows, narrow, WEIGHTS, 0.125, 0.6, 25)
        first = design.where(
            lambda kind: kind.table == "pairings" and kind.level in own
            and kind.name in FIRST_OF_PAIRING
        )  # fmt: skip
        return self._move(free, rows, first, {"ttft": 1.0}, 0.125, 0.3, 20, PAIRING_LIFT)

    def _move(
        self, free: Array, rows: NDArray[np.intp], moving: Array, weights: Mapping[str, float],
        evenness: float, scale: float, steps: int, lift: float = 0.0,
    ) -> Array:  # fmt: skip
        """Least squares over the coefficients that move, robust against outliers.

        Every run counts less where many others share its pairing (to the power of `evenness`).
        """
        design = self.design
        basis = self._rows_of(rows)
        each = np.sqrt(design.group_size[rows] ** -evenness)
        each = each / math.sqrt(float(np.mean(each**2)))
        place = np.cumsum(moving) - 1
        prior = PRIOR_WEIGHT / design.sd[moving]

        def whole(part: Array) -> Array:
            everything = free.copy()
            everything[moving] = part
            return everything

        def measured(part: Array) -> Array:
            found = self._errors(basis, whole(part), rows)
            return np.concatenate([
                each * weight * np.nan_to_num(found[name] - lift, posinf=0.0, neginf=0.0)
                for name, weight in weights.items()
            ])  # fmt: skip

        def residuals(part: Array) -> Array:
            return np.concatenate([_robust(measured(part), scale), prior * part])

        def slopes(part: Array) -> csr_array:
            # All owners of a kind are moved at once: each run has one of them.
            base, step = _robust(measured(part), scale), 1e-5
            own = len(base) + np.arange(len(part))
            lines, columns, values = [own], [np.arange(len(part))], [prior]
            for first, index, owners in zip(design.first, design.index, design.owners, strict=True):
                here = slice(first, first + len(owners))
                if not moving[here].any():
                    continue
                trial = part.copy()
                trial[place[here][moving[here]]] += step
                change = (_robust(measured(trial), scale) - base) / step
                acts = np.tile(moving[first + index[rows]], len(weights)) & (change != 0.0)
                lines.append(np.flatnonzero(acts))
                columns.append(np.tile(place[first + index[rows]], len(weights))[acts])
                values.append(change[acts])
            where = np.concatenate(lines), np.concatenate(columns)
            shape = (len(base) + len(part), len(part))
            return csr_array((np.concatenate(values), where), shape=shape)

        # Of the library's methods the one that never stops without a step on these problems.
        solution = least_squares(
            residuals, free[moving], jac=slopes, max_nfev=steps, method="dogbox", tr_solver="lsmr"
        )
        return whole(solution.x)

    def folds(self, part: str, closed: bool) -> NDArray[np.intp]:
        """Parts for what is asked: other rows known, nothing of the group, or of its chips."""
        if part != "elsewhere":
            return self.fold_of(part == "unseen", closed)
        chips = np.array([
            run.choice.accelerator.generation for run, is_closed in
            zip(self.design.runs, self.design.closed, strict=True) if is_closed == closed
        ])  # fmt: skip
        generation: NDArray[np.intp] = np.unique(chips, return_inverse=True)[1]
        return generation

    def fold_of(self, groups: bool, closed: bool, seed: int = 0) -> NDArray[np.intp]:
        """Part of the cross-validation of each run of closed loops, or of all others.

        By single rows, or by whole (model, chip, engine) groups.
        """
        random = np.random.default_rng(seed)
        part = np.flatnonzero(self.design.closed == closed)
        if not groups:
            return random.integers(0, ROW_FOLDS, len(part))
        names = np.array([_group(self.design.runs[index]) for index in part])
        kinds, of = np.unique(names, return_inverse=True)
        order = random.permutation(len(kinds))
        order = order[np.argsort(-np.bincount(of)[order], kind="stable")]
        load, fold = np.zeros(GROUP_FOLDS), np.zeros(len(kinds), dtype=np.intp)
        for kind in order:
            fold[kind] = int(np.argmin(load))
            load[fold[kind]] += (of == kind).sum()
        whole: NDArray[np.intp] = fold[of]
        return whole

    def cross_validate(
        self, fold: NDArray[np.intp], closed: bool = True
    ) -> tuple[dict[str, Array], dict[int, Array]]:
        """Errors on rows that were left out, and the coefficients of each part.

        Of closed loops alone, or of all others with the closed loops in the fit.
        """
        part = np.flatnonzero(self.design.closed == closed)
        found = {name: np.zeros(len(part)) for name in self.weights}
        frees = {}
        for number in np.unique(fold):
            out, rest = np.flatnonzero(fold == number), part[fold != number]
            free = self.closed_loops(rest) if closed else self.others(self.steady, rest)
            errors = self.predict(free, part[out])
            for name, column in found.items():
                column[out] = errors[name]
            frees[int(number)] = free
        return found, frees


class Shares(Fit):
    """Fits what a limit leaves of the best throughput, on predictions without it."""

    def __init__(self, runs: list[Run], without: Array) -> None:
        self.scale, self.weights = 0.3, {"throughput": 1.0}
        self.design = Design(runs, LIMITED_KINDS)
        self.without = without
        """ln(predicted/measured) of each run."""

    def _rows_of(self, rows: NDArray[np.intp]) -> Any:
        return self.without[rows]

    def _errors(self, basis: Any, free: Array, rows: NDArray[np.intp]) -> dict[str, Array]:
        return {"throughput": basis + np.log(self.design.outside("reached", free, rows))}


def _group(run: Run) -> str:
    return f"{run.choice.model.id}/{run.choice.accelerator.id}/{run.choice.engine.id}"


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


def _runs_of(runs: list[Run], start: Coefficients, language: bool) -> list[Run]:
    """Runs that the fit uses, the offline ones at their best."""
    fixed, best = [], []
    for run in runs:
        kind = mode(run)
        if (run.choice.model.transformer is not None) != language:
            continue
        if kind == "offline" and (language or run.requests_per_s > 0):
            best.append(run)
        elif kind in ("closed", "served"):
            fixed.append(run)
        elif (
            kind in BATCHES and not math.isnan(run.batch)
            and (language or run.requests_per_s > 0 or run.latency > 0)
        ):  # fmt: skip
            fixed.append(run)
    return fixed + at_their_best(best, start)


def _named(fitted: Fit, closed: bool, part: str, errors: Mapping[str, Array]) -> dict[str, Array]:
    """Errors by class and kind of run, measure and part."""
    runs = np.flatnonzero(fitted.design.closed == closed)
    kinds = np.array([residual_kind(fitted.design.runs[index]) for index in runs])
    return {
        f"{kind}/{name}/{part}": error[kinds == kind]
        for kind in np.unique(kinds)
        for name, error in errors.items()
        if np.isfinite(error[kinds == kind]).any()
    }


def fit(paths: list[Path], folder: Path) -> dict[str, dict[str, float]]:
    """Fit everything on files of measured runs and write the result; returns the residuals."""
    facts, start = catalog(), coefficients()
    runs, left_out = read_runs((row for path in paths for row in read_table(path)), facts)
    for reason, count in sorted(left_out.items()):
        print(f"left out {count:5d} runs: {reason}", file=sys.stderr)
    # Without factors of an earlier fit, so that the outcome does not depend on it.
    blank = start.model_copy(update={"modes": {}, "pairings": {}})
    language = Fit(_runs_of(runs, blank, True), blank)
    samples = Fit(_runs_of(runs, blank, False), blank, SAMPLE_KINDS, 0.4, SAMPLE_WEIGHTS)
    frees = {
        fitted: fitted.run(np.arange(len(fitted.design.runs))) for fitted in (language, samples)
    }
    document = _document(blank, frees)
    errors: dict[str, Array] = {}
    limited = [run for run in runs if mode(run) in LIMITED.values() and mode(run) != "offline"]
    shares = Shares(limited, _without_limits(limited, document))
    unseen = np.full(len(limited), np.nan)
    for fitted, closed in ((language, True), (language, False), (samples, False)):
        if not (fitted.design.closed == closed).any():
            continue
        if closed:
            all_closed = np.flatnonzero(fitted.design.closed)
            final = fitted.predict(frees[fitted], all_closed)
            errors |= {f"llm/{name}": error for name, error in final.items() if name in WEIGHTS}
        for part in PARTS:
            fold = fitted.folds(part, closed)
            found, each = fitted.cross_validate(fold, closed)
            errors |= _named(fitted, closed, part, found)
            if part == "unseen" and not closed and limited:
                _predict_unseen(fitted, fold, each, blank, limited, unseen)
    if limited:
        free = shares.run(np.arange(len(limited)))
        _add(document, shares.design, free)
        errors |= _of_shares(shares, unseen)
    document["residuals"] = {name: _spread(-error) for name, error in errors.items()}
    document["fitted_on"] = date.today()
    closed_runs = int(language.design.closed.sum())
    document["description"] = (
        f"{closed_runs} closed-loop and {len(language.design.runs) - closed_runs} other "
        f"runs of language models, {len(samples.design.runs)} runs of "
        f"other models, and {len(limited)} runs within limits"
    )
    Coefficients.model_validate(document)
    _write(_rounded(document), folder)
    return dict(document["residuals"])


def _write(document: dict[str, Any], folder: Path) -> None:
    """The files that :func:`cpi_model.coefficients.load` reads."""
    for name in FACTORS:
        rows = document.pop(name)
        columns = [
            field for field in Pairing.model_fields if any(field in row for row in rows.values())
        ]
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["name", *columns], lineterminator="\n")
            writer.writeheader()
            writer.writerows({"name": owner} | row for owner, row in rows.items())
    heading = "# Written by `make fit`.\n"
    (folder / "fitted.toml").write_text(heading + tomli_w.dumps(document), encoding="utf-8")


def _without_limits(runs: list[Run], document: dict[str, Any]) -> Array:
    """ln(predicted/measured) of throughput, of runs within limits, before what these leave."""
    now = Coefficients.model_validate(document | {"residuals": {}})
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.array([
            math.log(predicted / measured) if predicted > 0 and measured > 0 else math.nan
            for measured, predicted in (
                figures(run, found)["throughput"]
                for found, run in zip(predict(runs, now), runs, strict=True)
            )
        ])  # fmt: skip


def _predict_unseen(
    fitted: Fit, fold: NDArray[np.intp], each: Mapping[int, Array], start: Coefficients,
    limited: list[Run], unseen: Array,
) -> None:  # fmt: skip
    """The same for groups whose other runs were left out as well, into `unseen`."""
    others = np.flatnonzero(~fitted.design.closed)
    part_of = {
        _group(fitted.design.runs[index]): int(number)
        for index, number in zip(others, fold, strict=True)
    }
    for number, free in each.items():
        rows = [i for i, run in enumerate(limited) if part_of.get(_group(run)) == number]
        if rows:
            document = _document(start, {fitted: free})
            unseen[rows] = _without_limits([limited[i] for i in rows], document)


def _of_shares(shares: Shares, unseen: Array) -> dict[str, Array]:
    """Errors of throughput within limits, on runs that were left out."""
    found: dict[str, Array] = {}
    for part in ("known", "unseen"):
        fold = shares.fold_of(part == "unseen", closed=False)
        errors = shares.cross_validate(fold, closed=False)[0]["throughput"]
        if part == "unseen":
            # What the groups' other runs told is taken away as well, where they had some.
            errors = np.where(np.isfinite(unseen), errors - shares.without + unseen, errors)
        found |= _named(shares, False, part, {"throughput": errors})
    return found


def _document(start: Coefficients, frees: Mapping[Fit, Array]) -> dict[str, Any]:
    """The coefficients after fits, as they are written."""
    document: dict[str, Any] = start.model_dump(exclude={"residuals", "pairings", "modes"})
    document["pairings"], document["modes"] = {}, {}
    for fitted, free in frees.items():
        _add(document, fitted.design, free)
    return document


def _add(document: dict[str, Any], design: Design, free: Array) -> None:
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


ELSEWHERE = ("assumptions", "compression")
"""Tables of coefficients that stand in files of their own."""


def _rounded(value: Any) -> Any:
    """Numbers with the digits that a fit can tell."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items() if key not in ELSEWHERE}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main(arguments: list[str]) -> int:
    """Fit on the files named and say how good it is."""
    if not arguments:
        print("usage: python -m cpi_model.studies.calibrate POINTS.csv ...", file=sys.stderr)
        return 2
    folder = data_folder() / "coefficients"
    try:
        residuals = fit([Path(argument) for argument in arguments], folder)
    except UnusableTable as problem:
        print(problem, file=sys.stderr)
        return 2
    for name, spread in residuals.items():
        print(
            f"{name:28s} {spread['rows']:5.0f} runs   median error {spread['median_error']:6.1%}"
            f"   90th percentile {spread['p90_error']:6.1%}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
