"""Traffic over time: recorded traces, a shape made of a few figures, and files of the user.

Each becomes a :class:`Trace`: requests per second in steps of one length. The trace gives the
shape, the scenario the level: :meth:`Trace.rates` scales it to a mean, repeats it to a length and
cuts it into ticks without losing a request.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from cpi_model import checks
from cpi_model.catalog import Catalog, traffic_rows
from cpi_model.formulas.traffic import (
    daily_factor,
    gamma_factor,
    grown,
    index_of_dispersion,
    weekly_factor,
)
from cpi_model.inputs import ALTERNATIVES
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.schema import Traffic
from cpi_model.units import DAY, HOUR, MINUTE, MONTH, Array

WEEK = 7 * DAY
SHAPE = ALTERNATIVES["traffic"][0]
"""Choice of the scenario for traffic that is made of its own figures."""
PRESETS = {
    "steady": "azure-2023-conv",
    "bursty": "azure-2023-code",
    "weekly": "azure-2024-code",
    "irregular": "servegen-m-large",
}
"""Examples of four characters, by the trace that shows each."""
MOST_TICKS = 20_000_000
REACTION = 10 * MINUTE
"""Traffic that lasts so long must be served: more replicas take minutes to start."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Requests per second in steps of one length."""

    name: str
    step: float
    """Length of each step. [s]"""
    requests_per_s: Array
    """Mean of each step; NaN where it is not known. [1/s]"""
    start_weekday: int | None = None
    """Day on which it begins in UTC, 0 for Monday; None where that is not known."""
    start_hour: float | None = None
    """Hours since midnight in UTC at which it begins."""
    source: str = ""
    input_tokens: float = math.nan
    """Mean of a request, where it was recorded. [1]"""
    output_tokens: float = math.nan

    def __post_init__(self) -> None:
        checks.positive(step=self.step)
        checks.not_negative_if_known(requests_per_s=self.requests_per_s)
        if not np.nansum(self.requests_per_s) > 0:
            raise ValueError(f"{self.name} has no request")

    @property
    def length(self) -> float:
        """Of the whole trace. [s]"""
        return self.step * len(self.requests_per_s)

    @property
    def gaps(self) -> int:
        """Steps that are not known."""
        return int(np.isnan(self.requests_per_s).sum())

    @property
    def mean(self) -> float:
        """Mean of the known steps. [1/s]"""
        return float(np.nanmean(self.requests_per_s))

    @property
    def filled(self) -> Array:
        """Gaps bridged by a straight line, from the end to the beginning as well. [1/s]"""
        known = ~np.isnan(self.requests_per_s)
        if known.all():
            return self.requests_per_s
        steps = np.arange(len(known))
        return np.interp(steps, steps[known], self.requests_per_s[known], period=len(known))

    def rates(self, tick: float, length: float | None = None, mean: float | None = None) -> Array:
        """Requests per second in each tick.

        The trace is repeated to the length that is asked for. Within a step the rate is a line
        whose slope is limited by the neighbours (van Leer's limiter): every step keeps its
        requests, and no tick is above or below the steps around it.

        Parameters
        ----------
        tick : float
            Length of each tick. [s]
        length : float, optional
            Of the result, rounded up to whole ticks; the trace once without it. [s]
        mean : float, optional
            Mean of the whole trace, gaps bridged; as recorded without it. [1/s]

        Returns
        -------
        rates : array
            Shape (ticks,). [1/s]

        Raises
        ------
        ValueError
            If an argument is not positive or there are more than :data:`MOST_TICKS` ticks.
        """
        length = self.length if length is None else length
        checks.positive(tick=tick, length=length)
        if length / tick > MOST_TICKS:
            raise ValueError(f"length is {length:g} s, must be at most {MOST_TICKS:,} ticks")
        rates = self.filled
        if mean is not None:
            checks.positive(mean=mean)
            rates = rates * (mean / rates.mean())
        edges: Array = tick * np.arange(math.ceil(length / tick - 1e-9) + 1, dtype=np.float64)
        return np.asarray(np.diff(_requests_until(edges, rates, self.step)) / tick)

    def windows(self, width: float) -> Array:
        """Mean of whole windows, gaps bridged; of the steps themselves where they are longer."""
        count = max(round(width / self.step), 1)
        whole = len(self.requests_per_s) // count
        if whole == 0:
            return self.filled
        return np.asarray(self.filled[: whole * count].reshape(whole, count).mean(axis=1))

    def scaled(self, mean: float) -> Trace:
        """The same with another mean, gaps bridged. [1/s]"""
        return replace(self, requests_per_s=self.requests_per_s * (mean / self.filled.mean()))

    def from_monday(self) -> Trace:
        """The same beginning on Monday at midnight, where it has whole weeks and a known start."""
        if self.start_weekday is None or self.start_hour is None:
            return self
        late = (self.start_weekday * DAY + self.start_hour * HOUR) / self.step
        if self.length % WEEK or late % 1:
            return self
        turned = np.roll(self.requests_per_s, round(late))
        return replace(self, requests_per_s=turned, start_weekday=0, start_hour=0.0)


def _requests_until(times: Array, rates: Array, step: float) -> Array:
    """Requests from the beginning to each time, of steps that repeat for ever."""
    before, after = rates - np.roll(rates, 1), np.roll(rates, -1) - rates
    least = np.minimum(2.0 * np.minimum(np.abs(before), np.abs(after)), np.abs(before + after) / 2)
    slopes = np.where(before * after > 0.0, np.sign(before) * least, 0.0) / step
    at_edge = np.concatenate([[0.0], np.cumsum(rates)]) * step
    rounds, within = np.divmod(times, step * len(rates))
    index = np.minimum((within / step).astype(np.intp), len(rates) - 1)
    passed = within - index * step
    of_step = rates[index] * passed + slopes[index] / 2.0 * passed * (passed - step)
    return np.asarray(rounds * at_edge[-1] + at_edge[index] + of_step)


# Statistics --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statistics:
    """What a trace is like. NaN is not known or plays no part."""

    steps: int
    step_s: float
    gaps: int
    requests: float
    """Of the known steps."""
    mean: float
    """[1/s]"""
    peak: float
    """Of the busiest step. [1/s]"""
    peak_to_mean: float
    mean_to_peak: float
    """Best utilisation of a fleet that is sized for the busiest step."""
    mean_to_p95: float
    """The same, sized for the 95th percentile of the steps."""
    lowest_to_mean: float
    """The quietest step over the mean."""
    cv: float
    """Standard deviation of the steps over their mean."""
    dispersion: float
    """Variance over mean of the requests of a step; 1 for independent users."""
    weekend_to_weekday: float
    daily_swing: float
    """Height of the daily wave over the mean."""
    peak_hour: float
    """Hour of the top of that wave, in UTC."""
    input_tokens: float
    output_tokens: float


def statistics(trace: Trace) -> Statistics:
    """Figures of a trace, of the steps that are known."""
    known = trace.requests_per_s[~np.isnan(trace.requests_per_s)]
    mean, peak = float(known.mean()), float(known.max())
    several = len(known) > 1
    swing, hour = _daily_wave(trace)
    return Statistics(
        steps=len(trace.requests_per_s), step_s=trace.step, gaps=trace.gaps,
        requests=float(known.sum() * trace.step), mean=mean, peak=peak,
        peak_to_mean=peak / mean, mean_to_peak=mean / peak,
        mean_to_p95=_over(mean, float(np.quantile(known, 0.95))),
        lowest_to_mean=float(known.min()) / mean,
        cv=float(known.std(ddof=1)) / mean if several else math.nan,
        dispersion=float(index_of_dispersion(known * trace.step)) if several else math.nan,
        weekend_to_weekday=_weekend(trace), daily_swing=swing, peak_hour=hour,
        input_tokens=trace.input_tokens, output_tokens=trace.output_tokens,
    )  # fmt: skip


def _over(value: float, divisor: float) -> float:
    return value / divisor if divisor > 0 else math.nan


def _times(trace: Trace) -> Array:
    """Middle of each step, from the first midnight on where the hour is known. [s]"""
    begin = (trace.start_hour or 0.0) * HOUR
    return np.asarray(begin + trace.step * (np.arange(len(trace.requests_per_s)) + 0.5))


def _daily_wave(trace: Trace) -> tuple[float, float]:
    """Height and hour of the first harmonic of the day; NaN without a whole day."""
    whole = int(trace.length // DAY * DAY / trace.step)
    if not whole or trace.step > DAY / 4:
        return math.nan, math.nan
    values, angle = trace.filled[:whole], 2 * np.pi * _times(trace)[:whole] / DAY
    values = values / values.mean()
    along, across = 2 * (values * np.cos(angle)).mean(), 2 * (values * np.sin(angle)).mean()
    hour = math.nan
    if trace.start_hour is not None:
        hour = float(np.arctan2(across, along) / (2 * np.pi) * 24 % 24)
    return float(np.hypot(along, across)), hour


def _weekend(trace: Trace) -> float:
    if trace.start_weekday is None or trace.length < WEEK:
        return math.nan
    weekday = (trace.start_weekday + _times(trace) // DAY) % 7
    free = weekday >= 5
    known = np.isfinite(trace.requests_per_s)
    if not (known & free).any() or not (known & ~free).any():
        return math.nan  # nothing but gaps
    rates = trace.requests_per_s
    return _over(float(rates[known & free].mean()), float(rates[known & ~free].mean()))


def implied(trace: Trace) -> dict[str, float]:
    """Peak and quiet hours over the mean that a trace implies, as fields of the scenario.

    The peak is that of ten minutes, the quiet time that of an hour (of ten minutes where the trace
    has less than a day).
    """
    mean = float(trace.filled.mean())
    quiet = trace.windows(HOUR if trace.length >= DAY else REACTION)
    found = {
        "peak_to_mean": float(trace.windows(REACTION).max()) / mean,
        "quiet_to_mean": float(quiet.min()) / mean,
    }
    return {name: _within(name, round(value, 2)) for name, value in found.items()}


def _within(name: str, value: float) -> float:
    info = FIELDS[name]
    assert info.minimum is not None and info.maximum is not None
    return min(max(value, info.minimum), info.maximum)


# Where traces come from --------------------------------------------------------------------------


@lru_cache(maxsize=32)
def recorded(known: Traffic) -> Trace:
    """A trace of the catalog."""
    rows = traffic_rows(known)
    requests = np.array([math.nan if row.requests is None else row.requests for row in rows])
    requests[list(known.partial_steps)] = math.nan
    total = known.totals.requests
    return Trace(
        name=known.name, step=known.step_s, requests_per_s=requests / known.step_s,
        start_weekday=None if known.start is None else known.start.weekday(),
        start_hour=None if known.start is None else known.start.hour + known.start.minute / 60,
        source=known.attribution,
        input_tokens=(known.totals.input_tokens or math.nan) / total,
        output_tokens=(known.totals.output_tokens or math.nan) / total,
    )  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Traffic of days, weekends, bursts and spikes; the mean is 1."""

    daily_swing: float
    peak_hour: float
    """In UTC."""
    weekend_to_weekday: float
    monthly_growth: float
    minute_cv: float
    burst_minutes: float
    """Time in which the correlation of the minutes falls to 1/e."""
    spikes_per_week: float
    spike_height: float
    """Traffic in a spike over that without it."""
    spike_minutes: float
    seed: int

    def trace(self, weeks: int = 1, name: str = "Shape of the scenario") -> Trace:
        """Minutes of some weeks from Monday on; the same seed gives the same minutes."""
        minutes = round(weeks * WEEK / MINUTE)
        times: Array = MINUTE * (np.arange(minutes, dtype=np.float64) + 0.5)
        random = np.random.default_rng(self.seed)
        rate = np.asarray(
            daily_factor(times % DAY, self.daily_swing, self.peak_hour * HOUR)
            * weekly_factor(times // DAY % 7, self.weekend_to_weekday)
            * grown(1.0, times / MONTH, self.monthly_growth)
        )
        # Everything is drawn whatever the figures are, so that a slider changes only its own part.
        normal, places = random.standard_normal(minutes), random.random(weeks * MOST_SPIKES)
        rate = rate * gamma_factor(_correlated(normal, self.burst_minutes), self.minute_cv)
        rate = np.where(self._in_spike(minutes, places), rate * self.spike_height, rate)
        return Trace(name, MINUTE, rate / rate.mean(), 0, 0.0, "figures of the scenario")

    def _in_spike(self, minutes: int, places: Array) -> npt.NDArray[np.bool_]:
        count = round(self.spikes_per_week * minutes * MINUTE / WEEK)
        begins = (places[:count] * minutes).astype(int)
        inside = np.zeros(minutes, dtype=np.bool_)
        for begin in begins:
            inside[np.arange(begin, begin + max(round(self.spike_minutes), 1)) % minutes] = True
        return inside


MOST_SPIKES = 100
"""In a week."""


def _correlated(normal: Array, minutes: float) -> Array:
    """A first-order autoregressive series of standard normal numbers, a minute apart."""
    kept = math.exp(-1.0 / minutes)
    fresh = math.sqrt(1.0 - kept**2) * normal
    fresh[0] = normal[0]
    return np.asarray(lfilter([1.0], [1.0, -kept], fresh))


def shape(scenario: Scenario) -> Shape:
    """Figures of the scenario that traffic is made of."""
    return Shape(
        daily_swing=scenario.daily_swing, peak_hour=scenario.peak_hour,
        weekend_to_weekday=scenario.weekend_to_weekday, monthly_growth=scenario.monthly_growth,
        minute_cv=scenario.minute_cv, burst_minutes=scenario.burst_minutes,
        spikes_per_week=scenario.spikes_per_week, spike_height=scenario.spike_height,
        spike_minutes=scenario.spike_minutes, seed=scenario.traffic_seed,
    )  # fmt: skip


def of(scenario: Scenario, facts: Catalog, weeks: int = 1) -> Trace:
    """The traffic that a scenario chooses; its level is left to :meth:`Trace.rates`.

    Raises
    ------
    UnknownId
        If the catalog has no trace of that id.
    """
    if scenario.traffic == SHAPE:
        return shape(scenario).trace(weeks)
    return recorded(facts.trace(scenario.traffic))


# Growth ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Growth:
    """Mean traffic month by month, from now on."""

    months: Array
    low: Array
    """[1/s]"""
    expected: Array
    high: Array


def growth(scenario: Scenario, months: int = 12) -> Growth:
    """Mean traffic of a scenario at the beginning of each month; the first is today's."""
    ahead = np.arange(months + 1.0)
    shares = (
        scenario.monthly_growth_low, scenario.monthly_growth, scenario.monthly_growth_high,
    )  # fmt: skip
    lines = grown(scenario.requests_per_s, ahead, np.array(shares)[:, None])
    low, expected, high = np.asarray(lines)
    # An expectation outside its own range widens it.
    return Growth(ahead, np.minimum(low, expected), expected, np.maximum(high, expected))


# For programs ------------------------------------------------------------------------------------


def document(trace: Trace) -> dict[str, Any]:
    """Figures of a trace; None is not known."""
    figures = {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(statistics(trace)).items()
    }
    return {
        "name": trace.name, "source": trace.source, "start_weekday": trace.start_weekday,
        "start_hour": trace.start_hour, "statistics": figures, "implied": implied(trace),
    }  # fmt: skip
