"""What runs of the user's own say about engine and hardware, as two factors of the scenario."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from cpi_model.catalog import Catalog
from cpi_model.coefficients import Coefficients, coefficients
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies.runs import CORRECTIONS as CORRECTIONS
from cpi_model.studies.runs import Run, read_run
from cpi_model.studies.validate import Prediction, predict
from cpi_model.units import Array

LEAST_RUNS = 3
"""Fewer may be an accident."""
ROUNDS = 3
"""Factors are exact after one round unless a limit of the datasheet is in the way."""
CLOSE = 1e-4
"""A factor that would change by no more than this share is found."""
STEP, FIRST = CORRECTIONS
MEASURES = {
    "tpot": "time per token", "ttft": "time to first token", "requests_per_s": "throughput",
    "latency": "latency",
}  # fmt: skip
"""What errors are stated of: the field of a run and of its prediction, and its name."""


@dataclass(frozen=True)
class Improvement:
    """Median of |measured/predicted - 1| of the same runs, without and with the correction."""

    measure: str
    runs: int
    before: float
    after: float


@dataclass(frozen=True)
class Correction:
    """Two factors, or why there are none."""

    changes: dict[str, float]
    """Fields of the scenario; empty where nothing is proposed."""
    runs: int
    """Runs on the chip and engine of the scenario, with a model of its class."""
    improvements: tuple[Improvement, ...] = ()
    reason: str = ""


def propose(
    rows: Iterable[Mapping[str, str]],
    scenario: Scenario,
    facts: Catalog,
    fitted: Coefficients | None = None,
) -> Correction:
    """The factors that bring the estimates of runs to what was measured, in the median.

    First the time per token (throughput or latency where no run states it), then with that the
    time to first token, each predicted again with the factor before the next is read off.
    """
    fitted = fitted or coefficients()
    runs = [run for row in rows if isinstance(run := read_run(row, facts), Run)]
    runs = [run for run in runs if _is_like(run, scenario, facts)]
    if len(runs) < LEAST_RUNS:
        return Correction({}, len(runs), reason=_too_few(len(runs), scenario, facts))

    @cache
    def predicted(step: float, first: float) -> list[Prediction]:
        return predict(_with(runs, {STEP: step, FIRST: first}), fitted)

    factors = {STEP: 1.0, FIRST: 1.0}
    for field, times in ((STEP, _step_times), (FIRST, _first_times)):
        for _ in range(ROUNDS):
            found = _known(times(runs, predicted(*factors.values())))
            if len(found) < LEAST_RUNS or abs(change := float(np.median(found)) - 1.0) < CLOSE:
                break
            factors[field] *= 1.0 + change
            low, high = FIELDS[field].minimum or 0.0, FIELDS[field].maximum or math.inf
            if not low <= factors[field] <= high:
                return Correction({}, len(runs), reason=_too_far(field, factors[field], low, high))
    # As many digits as such a factor is worth.
    factors = {field: float(f"{factor:.3g}") for field, factor in factors.items()}
    before, after = predicted(1.0, 1.0), predicted(*factors.values())
    return Correction(factors, len(runs), tuple(_improvements(runs, before, after)))


def corrected(rows: Iterable[Mapping[str, str]], scenario: Scenario) -> list[Mapping[str, str]]:
    """Rows that are estimated with the correction of a scenario, where it is for their hardware."""
    factors = {name: f"{getattr(scenario, name):.9g}" for name in CORRECTIONS}
    here = {"hardware": scenario.accelerator, "engine": scenario.engine}
    return [
        {**row, **factors} if all(row.get(name) == id for name, id in here.items()) else row
        for row in rows
    ]


def _is_like(run: Run, scenario: Scenario, facts: Catalog) -> bool:
    """Whether a run is on the scenario's chip and engine, with a model of its class."""
    model = facts.models.get(scenario.model)
    return (
        model is not None
        and run.choice.model.model_class == model.model_class
        and run.scenario.accelerator == scenario.accelerator
        and run.scenario.engine == scenario.engine
    )


def _too_few(count: int, scenario: Scenario, facts: Catalog) -> str:
    chip, engine = facts.accelerators.get(scenario.accelerator), facts.engines.get(scenario.engine)
    where = (
        f"{chip.name if chip else scenario.accelerator} with "
        f"{engine.name if engine else scenario.engine}"
    )
    return (
        f"A correction takes {LEAST_RUNS} runs on {where} with a model of the scenario's class; "
        f"here {'is' if count == 1 else 'are'} {count}."
    )


def _too_far(field: str, factor: float, low: float, high: float) -> str:
    return (
        f"The runs ask for a factor of {factor:,.2f} ({FIELDS[field].title.lower()}); more than "
        f"{low:g} to {high:g} is no correction. Check hardware, precision and parallelism."
    )


def _with(runs: list[Run], factors: Mapping[str, float]) -> list[Run]:
    return [replace(run, scenario=run.scenario.model_copy(update=dict(factors))) for run in runs]


def _column(things: Iterable[Run] | Iterable[Prediction], name: str) -> Array:
    return np.array([getattr(thing, name) for thing in things], dtype=float)


def _ratio(runs: list[Run], predicted: list[Prediction], measure: str) -> Array:
    """Measured over predicted; NaN where one is not known."""
    measured, expected = _column(runs, measure), _column(predicted, measure)
    known = (measured > 0) & (expected > 0)
    return np.where(known, measured / np.where(known, expected, 1.0), np.nan)


def _step_times(runs: list[Run], predicted: list[Prediction]) -> Array:
    """Measured over predicted time of a step, by the measure of each run that is nearest to it."""
    found = _ratio(runs, predicted, "tpot")
    for other in (
        1.0 / _ratio(runs, predicted, "requests_per_s"),
        1.0 / _ratio(runs, predicted, "output_tokens_per_s"),
        _ratio(runs, predicted, "latency"),
    ):
        found = np.where(np.isnan(found), other, found)
    return found


def _first_times(runs: list[Run], predicted: list[Prediction]) -> Array:
    """Measured over predicted time to first token, of models that write tokens."""
    return _ratio(runs, predicted, "ttft")


def _known(ratios: Array) -> Array:
    return ratios[np.isfinite(ratios)]


def _improvements(
    runs: list[Run], plain: list[Prediction], corrected: list[Prediction]
) -> Iterable[Improvement]:
    for measure, name in MEASURES.items():
        before, after = (_known(_ratio(runs, found, measure)) for found in (plain, corrected))
        if len(before):
            yield Improvement(
                name, len(before), float(np.median(np.abs(before - 1.0))),
                float(np.median(np.abs(after - 1.0))),
            )  # fmt: skip
