"""Likely ranges: an estimate, if systems are as much faster or slower as measured runs were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cpi_model.coefficients import Coefficients, Pairing, Residuals, coefficients
from cpi_model.evaluate import Estimate
from cpi_model.inputs import Choice, Inputs
from cpi_model.studies import service
from cpi_model.studies.service import Service
from cpi_model.units import Array

if TYPE_CHECKING:
    from cpi_model.studies.answer import Answer

MEASURES = ("throughput", "ttft", "tpot")
"""What was measured of runs. Each has two cases: slow, fast."""
MOVES_WITH: dict[str, str] = {
    "throughput": "throughput",
    "output_tokens_per_s": "throughput",
    "ttft": "ttft",
    "tpot": "tpot",
    "latency_mean": "throughput",
    "latency_p95": "throughput",
    "decode_step_time": "throughput",
    "replicas": "throughput",
    "utilisation": "throughput",
    "good_share": "throughput",
    "cost_per_inference": "throughput",
    "marginal_cost_per_inference": "throughput",
    "cost_per_good_inference": "throughput",
    "cost_rate": "throughput",
    "input_token_cost": "throughput",
    "cached_token_cost": "throughput",
    "output_token_cost": "throughput",
}
"""Figures of the estimate that have a range, and the measure whose spread is theirs.

In a closed loop latency is requests in flight over throughput (Little's law), so its spread is
that of throughput; the same holds for the time of a batch.
"""
TIMES = ("fixed_factor", "sequence_factor", "prompt_factor", "ttft_start", "host_time")
"""Inputs to which every time of a replica is proportional, together."""
EASED = 1.0 - 1e-9
"""So that rounding does not tip a load that is at capacity."""

DRAWS = 1000
SEED = 20_261_125
SHARED_ERROR = 0.5
"""Correlation of ln(measured/estimated) between two pairings of model, chip, engine and precision.

An assumption: lengths and load are wrong on all of them alike, and each has an error of its own.
"""
P_90 = 1.2815515655446004
"""90th percentile of the standard normal distribution."""


@dataclass(frozen=True)
class Band:
    """Likely range of one figure: eight of ten measured runs lie inside."""

    low: float
    high: float
    rows: int
    """Measured runs behind it."""
    measured: bool
    """Whether this very model, chip and engine was among them."""


def serving(choice: Choice, fitted: Coefficients) -> tuple[str, Pairing]:
    """Kind of the runs that a choice is compared with, and what is known of its pairing."""
    return fitted.serving_pairing(
        choice.model, choice.accelerator, choice.arithmetic, choice.engine.id, choice.scheme.id
    )


def spreads(choice: Choice, fitted: Coefficients) -> dict[str, Residuals | None]:
    """Spread of measured over estimated by measure; None where no such run was measured.

    Without a token loop there is one time, that of a batch, and so one spread.
    """
    kind, pair = serving(choice, fitted)
    found = {measure: fitted.spread(kind, measure, pair) for measure in MEASURES}
    if choice.model.transformer is None:
        found["ttft"] = found["throughput"]
    return found


def slowness(choice: Choice, fitted: Coefficients) -> Array:
    """Times over those estimated: as estimated, then slow and fast for each measure.

    NaN where no such run was measured.
    """
    found = spreads(choice, fitted)
    cases = [1.0]
    for measure in MEASURES:
        spread = found[measure]
        if spread is None:
            cases += [math.nan, math.nan]
        elif measure == "throughput" or choice.model.transformer is None:
            cases += [1.0 / spread.p10_ratio, 1.0 / spread.p90_ratio]
        else:
            cases += [spread.p90_ratio, spread.p10_ratio]
    return np.array(cases)


def in_all_cases(inputs: Inputs, slower: Array) -> Inputs:
    """The inputs with one axis more, the last: one element for each case.

    Every time of a replica is multiplied; what the datasheet allows still bounds the fast cases.
    A fixed number of replicas is taken to keep up where it is estimated to.
    """
    widened: dict[str, Any] = {
        field.name: value[..., np.newaxis]
        for field in fields(Inputs)
        if isinstance(value := getattr(inputs, field.name), np.ndarray)
    }
    wide = replace(inputs, **widened)
    factor = np.where(np.isnan(slower), 1.0, slower)
    changed: dict[str, Any] = {name: getattr(wide, name) * factor for name in TIMES}
    # The peak decides whether a fixed number keeps up, and nothing else of it.
    fixed = np.greater(wide.fixed_replicas, 0.0)
    eased = wide.peak_to_mean / np.maximum(factor, 1.0) * np.where(factor > 1.0, EASED, 1.0)
    changed["peak_to_mean"] = np.where(fixed, eased, wide.peak_to_mean)
    return replace(wide, **changed)


def cases_of(whole: Service, slower: Array, fitted: Coefficients) -> Estimate:
    """Estimates of a service in all cases: one axis more, the last.

    The models of a cascade are slow together and fast together, each by what was measured of it.
    """
    first, passed_on = whole.first, whole.passed_on
    if first is not None and whole.first_choice is not None:
        first = in_all_cases(first, slowness(whole.first_choice, fitted))
    if isinstance(passed_on, np.ndarray):
        passed_on = passed_on[..., np.newaxis]
    model = in_all_cases(whole.model, slower)
    return service.estimate(replace(whole, model=model, first=first, passed_on=passed_on))


def worlds(choices: Sequence[Choice], fitted: Coefficients) -> Array | None:
    """Times over those estimated in drawn worlds, one row a choice; None where none is known.

    Log-normal, with the 10th and 90th percentile of measured runs. One pairing of model, chip,
    engine and precision has one error, whatever else differs; the logarithms of two pairings have
    a correlation of :data:`SHARED_ERROR`. A pairing that nobody measured has the widest spread of
    the others. Always the same worlds.
    """
    ends = np.array([
        [math.nan, math.nan] if (spread := spreads(choice, fitted)["throughput"]) is None
        else [-math.log(spread.p90_ratio), -math.log(spread.p10_ratio)]
        for choice in choices
    ]).reshape(-1, 2)  # fmt: skip
    deviation = (ends[:, 1] - ends[:, 0]) / (2.0 * P_90)
    if not np.isfinite(deviation).any():
        return None
    deviation = np.where(np.isnan(deviation), np.nanmax(deviation), deviation)
    middle = np.nan_to_num(ends.mean(axis=1))
    pairings = [
        (choice.model.id, choice.accelerator.id, choice.engine.id, choice.scheme.id)
        for choice in choices
    ]
    # By name, so that the order in which choices are asked for plays no part.
    places = {pairing: place for place, pairing in enumerate(sorted(set(pairings)))}
    generator = np.random.default_rng(SEED)
    shared, own = generator.standard_normal(DRAWS), generator.standard_normal((len(places), DRAWS))
    own = own[[places[pairing] for pairing in pairings]]
    normal = math.sqrt(SHARED_ERROR) * shared + math.sqrt(1.0 - SHARED_ERROR) * own
    factor: Array = np.exp(middle[:, np.newaxis] + deviation[:, np.newaxis] * normal)
    return factor


def as_estimated(cases: Estimate) -> Estimate:
    """The first case of all: the estimate itself."""
    first: dict[str, Any] = {
        field.name: getattr(cases, field.name)[..., 0] for field in fields(Estimate)
    }
    return Estimate(**first)


def ends(cases: Estimate, slower: Array) -> dict[str, tuple[Array, Array]]:
    """Low and high end of every figure that has a range; NaN where it is not known.

    The estimate lies between them, also where whole replicas on whole instances make a slower
    replica the cheaper one.
    """
    found = {}
    for name, measure in MOVES_WITH.items():
        place = 1 + 2 * MEASURES.index(measure)
        three = np.asarray(getattr(cases, name))[..., [0, place, place + 1]]
        unknown = np.where(np.isnan(slower[..., place]), np.nan, 0.0)
        found[name] = (three.min(axis=-1) + unknown, three.max(axis=-1) + unknown)
    return found


def of(answer: Answer) -> dict[str, Band | None]:
    """Likely range of every figure that can have one; None where it is not known."""
    choice, whole = answer.choice, answer.service
    if choice is None or whole is None or not answer.feasible:
        return dict.fromkeys(MOVES_WITH)
    fitted = coefficients()
    slower, found = slowness(choice, fitted), spreads(choice, fitted)
    measured = serving(choice, fitted)[1].rows_here > 0
    bands: dict[str, Band | None] = {}
    for name, (low, high) in ends(cases_of(whole, slower, fitted), slower).items():
        spread = found[MOVES_WITH[name]]
        # What this class of models does not have, such as tokens, is 0 or NaN.
        if spread is None or not high > 0.0:
            bands[name] = None
        else:
            bands[name] = Band(float(low), float(high), spread.rows, measured)
    return bands
