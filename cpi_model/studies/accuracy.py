"""How far estimates are from measured runs, where nobody measured, and whether ranks hold.

``python -m cpi_model.studies.accuracy`` writes ``docs/accuracy.md`` and the table of errors in
``README.md`` anew, from the coefficients and the measured runs that come with the package.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import spearmanr

from cpi_model.catalog import Catalog, offers
from cpi_model.coefficients import Coefficients, coefficients
from cpi_model.studies.runs import Run, mode, read_run
from cpi_model.studies.validate import Prediction, predict
from cpi_model.units import HOUR

Measure = Literal["throughput", "tpot", "ttft", "latency", "cost"]
MEASURES: tuple[Measure, ...] = ("throughput", "tpot", "ttft", "latency", "cost")
Group = Literal[
    "model_class", "scenario", "hardware", "generation", "engine", "scheme", "model"
]  # fmt: skip
LEAST_HARDWARE = 3
"""Kinds of hardware without which a rank says nothing."""


@dataclass(frozen=True)
class Compared:
    """One measured figure beside its estimate, in SI units; cost in USD per million inferences."""

    id: str
    source: str
    model: str
    model_class: str
    hardware: str
    generation: str
    engine: str
    scheme: str
    scenario: str
    measure: Measure
    measured: float
    predicted: float
    ratio: float
    """Measured over predicted."""
    inside: bool | None
    """Whether it lies between the 10th and 90th percentile of left-out runs; None if unknown."""


@dataclass(frozen=True)
class GroupError:
    """Errors of one measure in one group of runs: |measured/predicted - 1|."""

    group: str
    measure: Measure
    rows: int
    median: float
    mean: float
    p90: float
    inside: float
    """Share between the 10th and 90th percentile of left-out runs; NaN where no row has them."""


@dataclass(frozen=True)
class Unmeasured:
    """Ids of the catalog of which no run was in the fit."""

    accelerators: tuple[str, ...]
    """Of a generation of which other chips were measured."""
    generations: tuple[str, ...]
    """Chips of which no run of their whole generation was in the fit."""
    engines: tuple[str, ...]
    models: tuple[str, ...]
    schemes: tuple[str, ...]


@dataclass(frozen=True)
class Ranks:
    """Hardware under one load, cheapest measured first."""

    model: str
    scenario: str
    load: str
    hardware: tuple[str, ...]
    correlation: float
    """Spearman's, of measured and predicted cost per inference."""


@dataclass(frozen=True)
class RankCorrelation:
    """How well estimates put hardware in order of cost."""

    groups: tuple[Ranks, ...]
    median: float
    """Of all groups; NaN without any."""
    mean: float
    unpriced: tuple[str, ...]
    """Hardware left out, because the catalog has no price of it."""


# --- comparing --------------------------------------------------------------------------------


def _answered(
    rows: Iterable[Mapping[str, str]], facts: Catalog, fitted: Coefficients
) -> list[tuple[Mapping[str, str], Run, Prediction]]:
    """Rows that have a prediction, as runs, with it."""
    read = [(row, read_run(row, facts)) for row in rows]
    runs = [(row, run) for row, run in read if isinstance(run, Run)]
    predictions = predict([run for _, run in runs], fitted)
    return [
        (row, run, prediction)
        for (row, run), prediction in zip(runs, predictions, strict=True)
        if not prediction.reason
    ]


def _figures(run: Run, prediction: Prediction) -> dict[Measure, tuple[float, float]]:
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


def band(run: Run, measure: Measure, fitted: Coefficients) -> tuple[float, float] | None:
    """10th and 90th percentile of measured over predicted, of left-out runs like this one."""
    choice, kind = run.choice, mode(run)
    model, chip, engine = choice.model, choice.accelerator, choice.engine.id
    scheme, arithmetic = choice.scheme.id, choice.arithmetic
    if kind == "closed":
        name, pairing = fitted.serving_pairing(model, chip, arithmetic, engine, scheme)
    elif model.transformer is not None:
        name = f"{model.model_class}-{kind}"
        pairing = fitted.mode_pairing(model, chip, engine, scheme, kind)
    else:
        name = f"{model.model_class}-{kind}"
        pairing = fitted.sample_pairing(model, chip, arithmetic, engine, scheme, kind)
    # A cost is the price over the throughput.
    spread = fitted.spread(name, "throughput" if measure == "cost" else measure, pairing)
    if spread is None:
        return None
    if measure == "cost":
        return 1.0 / spread.p90_ratio, 1.0 / spread.p10_ratio
    return spread.p10_ratio, spread.p90_ratio


def compare(
    rows: Iterable[Mapping[str, str]], facts: Catalog, fitted: Coefficients | None = None
) -> list[Compared]:
    """Every measured figure that has an estimate beside it.

    Rows without an estimate are counted, with the reason, by
    :func:`cpi_model.studies.validate.validate`.
    """
    fitted = fitted or coefficients()
    found = []
    for row, run, prediction in _answered(rows, facts, fitted):
        choice = run.choice
        for measure, (measured, predicted) in _figures(run, prediction).items():
            if not (measured > 0 and predicted > 0):
                continue
            ratio = measured / predicted
            limits = band(run, measure, fitted)
            found.append(
                Compared(
                    id=run.id, source=row.get("source") or "", model=choice.model.id,
                    model_class=choice.model.model_class, hardware=choice.accelerator.id,
                    generation=choice.accelerator.generation, engine=choice.engine.id,
                    scheme=choice.scheme.id, scenario=run.loop, measure=measure,
                    measured=measured, predicted=predicted, ratio=ratio,
                    inside=None if limits is None else limits[0] <= ratio <= limits[1],
                )
            )  # fmt: skip
    return found


def errors(compared: Iterable[Compared], by: Group) -> list[GroupError]:
    """Errors by group and measure, groups in the order of their names."""
    groups: dict[tuple[str, Measure], list[Compared]] = {}
    for each in compared:
        groups.setdefault((getattr(each, by), each.measure), []).append(each)
    found = []
    for (group, measure), rows in groups.items():
        error = np.abs(np.array([row.ratio for row in rows]) - 1.0)
        known = [row.inside for row in rows if row.inside is not None]
        found.append(
            GroupError(
                group, measure, len(rows), float(np.median(error)), float(np.mean(error)),
                float(np.percentile(error, 90)), float(np.mean(known)) if known else math.nan,
            )
        )  # fmt: skip
    return sorted(found, key=lambda each: (each.group, MEASURES.index(each.measure)))


# --- what nobody measured ---------------------------------------------------------------------


def never_measured(facts: Catalog, fitted: Coefficients | None = None) -> Unmeasured:
    """What the catalog offers without any run of it in the fit."""
    fitted = fitted or coefficients()
    # model/chip/engine/scheme, and the same with a kind of run behind it.
    named = [
        name.split("/")[:4]
        for table, parts in ((fitted.pairings, 4), (fitted.modes, 5))
        for name, pairing in table.items()
        if name.count("/") == parts - 1 and pairing.rows
    ]
    families, chips, engines, schemes = ({each[k] for each in named} for k in range(4))
    generations = {facts.accelerators[id].generation for id in chips if id in facts.accelerators}
    generations |= {name for name, chip in fitted.chips.items() if chip.rows}
    others = [chip for id, chip in facts.accelerators.items() if id not in chips]
    return Unmeasured(
        accelerators=tuple(chip.id for chip in others if chip.generation in generations),
        generations=tuple(chip.id for chip in others if chip.generation not in generations),
        engines=tuple(id for id in facts.engines if id not in engines),
        models=tuple(
            id for id, model in facts.models.items()
            if (model.architecture_of or id) not in families
        ),
        schemes=tuple(id for id in facts.schemes if id not in schemes),
    )  # fmt: skip


# --- ranks ------------------------------------------------------------------------------------


def _load(run: Run) -> str:
    """What has to be alike for hardware to be compared."""
    scenario, sample = run.scenario, run.choice.model.sample
    words = []
    if sample is None or sample.reference_tokens:
        words.append(f"{scenario.input_tokens} tokens in")
    if sample is None:
        words.append(f"{scenario.output_tokens} out")
    kind = mode(run)
    if kind in ("closed", "served"):
        words.append(f"{scenario.concurrency} in flight")
    elif kind == "static" and not math.isnan(run.batch):
        words.append(f"batch {run.batch:g}")
    return ", ".join(words)


def rank_correlation(
    rows: Iterable[Mapping[str, str]], facts: Catalog, fitted: Coefficients | None = None
) -> RankCorrelation:
    """Whether hardware under one load comes in the right order of cost per inference.

    Of each kind of hardware the cheapest run counts, whatever its engine and precision: measured
    throughput at the cheapest on-demand price of the catalog against predicted throughput at the
    same price. Only groups with at least three kinds of hardware are ranked.
    """
    fitted = fitted or coefficients()
    prices: dict[str, float] = {}
    costs: dict[tuple[str, str, str], dict[str, tuple[list[float], list[float]]]] = {}
    for _, run, prediction in _answered(rows, facts, fitted):
        measured, predicted = _figures(run, prediction)["throughput"]
        if not (measured > 0 and predicted > 0):
            continue
        chip = run.choice.accelerator.id
        if chip not in prices:
            found = offers(facts, chip, "on_demand")
            prices[chip] = found[0].usd_per_device_hour if found else math.nan
        usd_per_s = prices[chip] / HOUR * run.choice.devices_per_replica * run.replicas
        if math.isnan(usd_per_s):
            continue
        group = costs.setdefault((run.choice.model.id, run.loop, _load(run)), {})
        both = group.setdefault(chip, ([], []))
        both[0].append(usd_per_s / measured)
        both[1].append(usd_per_s / predicted)
    ranked = []
    for (model, scenario, load), group in sorted(costs.items()):
        if len(group) < LEAST_HARDWARE:
            continue
        best = {chip: (min(both[0]), min(both[1])) for chip, both in group.items()}
        order = sorted(best, key=lambda chip: best[chip][0])
        first, second = np.array([best[chip] for chip in order]).T
        found_rank = float(spearmanr(first, second).statistic)
        ranked.append(Ranks(model, scenario, load, tuple(order), found_rank))
    values = [each.correlation for each in ranked] or [math.nan]
    return RankCorrelation(
        tuple(ranked), float(np.median(values)), float(np.mean(values)),
        tuple(sorted(chip for chip, price in prices.items() if math.isnan(price))),
    )  # fmt: skip
