"""What traffic does to the bill of one scenario: the questions that are asked of the simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from cpi_model.coefficients import coefficients
from cpi_model.scenario import Scenario
from cpi_model.studies import bands, options, traces, traffic
from cpi_model.studies.answer import Answer
from cpi_model.studies.traces import Trace
from cpi_model.studies.traffic import Demand, Fleet, NotSimulated, Run, Series, ToZero
from cpi_model.units import DAY, HOUR, MINUTE, MONTH, Array

LEAST_WEEKS, MOST_WEEKS = 1, 4
POINT = 5 * MINUTE
"""Step of the series that a run is drawn by. [s]"""
FIGURES = (
    "cost_per_inference", "monthly", "billed_hours", "utilisation", "missed", "dropped",
)  # fmt: skip
"""Figures of a run that have a likely range; the 95th percentile of latency is another."""
NOTABLE = 0.1
"""Deviation from the estimate that is explained."""
FEW = 0.01
"""Smaller shares of requests or hours explain nothing."""
MONTHS = np.array([0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0])
"""From now, at which growing traffic is simulated."""
RATES = 19
"""Mean rates at which going to zero is simulated."""
LEAST_RATE = 1e-5
"""About one request a day. [1/s]"""


def days(trace: Trace) -> float:
    """Whole weeks that hold a trace, at most four.

    >>> days(Trace("an hour", 60.0, np.ones(60))), days(Trace("ten days", 86_400.0, np.ones(10)))
    (7.0, 14.0)
    """
    weeks = math.ceil(trace.length / traces.WEEK - 1e-9)
    return 7.0 * min(max(weeks, LEAST_WEEKS), MOST_WEEKS)


def demand(scenario: Scenario, trace: Trace) -> Demand:
    """A trace at the mean rate and with the burstiness of a scenario."""
    return traffic.demand_of(
        trace, scenario.requests_per_s, days(trace), scenario.arrival_cv, scenario.traffic_seed
    )


def points(requests: Demand) -> int:
    """Points of a series of :data:`POINT` each."""
    return round(len(requests.at(traffic.TICK)) * traffic.TICK / POINT)


@dataclass(frozen=True)
class Simulated:
    """The policy of a scenario under its traffic, at likely speeds."""

    run: Run
    likely: Mapping[str, tuple[float, float]]
    """Low and high end of figures: slow and fast replicas, P10 to P90 of measured runs; empty where
    none was measured."""


def simulated(fleet: Fleet, requests: Demand) -> Simulated:
    """The fluid run of a scenario's own policy, and what it is if replicas are slower or faster.

    Raises
    ------
    NotSimulated
        If the traffic has no rates, or serverless no price.
    """
    run = traffic.simulate(fleet, requests, points=points(requests))
    others = [traffic.simulate(each, requests) for each in _speeds(fleet)]
    found = {}
    if others:
        for name in (*FIGURES, "p95"):
            values = [
                each.latency.p95 if name == "p95" else float(getattr(each, name))
                for each in (run, *others)
            ]
            found[name] = min(values), max(values)
    return Simulated(run, found)


def _speeds(fleet: Fleet) -> list[Fleet]:
    """The same replicas as slow and as fast as measured ones were, where any were."""
    choice, whole = fleet.result.choice, fleet.result.service
    assert choice is not None and whole is not None
    ends = bands.slowness(choice, coefficients())[1:3]
    if np.isnan(ends).any():
        return []
    found = []
    for factor in ends.tolist():
        times: dict[str, Any] = {
            name: getattr(fleet.inputs, name) * factor for name in bands.TIMES
        }  # fmt: skip
        slower = replace(whole, model=replace(fleet.inputs, **times))
        try:
            found.append(traffic.fleet(replace(fleet.result, service=slower), fleet.catalog))
        except NotSimulated:  # so slow or so fast a replica does not work
            return []
    return found


# Taking over --------------------------------------------------------------------------------------


def changes(run: Run, scenario: Scenario) -> dict[str, Any]:
    """Fields that make a run of a search the scenario's own."""
    if run.policy == "serverless":
        return {"policy": "serverless"}
    if run.policy != "static":
        return {"policy": run.policy, "policy_target": run.target}
    # A number that is set by hand would not follow the target.
    sized = {"scaling": "peak"} if scenario.scaling == "fixed" else {}
    return {"policy": "none", "policy_target": run.target} | sized


def searched(
    fleet: Fleet, requests: Demand, tell: Callable[[float], None] = lambda share: None
) -> tuple[Run, ...]:
    """Every policy at every target; `tell` hears what share is done.

    What the scenario's own policy and target are plays no part.
    """
    runs: list[Run] = []
    for number, policy in enumerate(traffic.POLICIES):
        tell(number / len(traffic.POLICIES))
        runs += traffic.search(fleet, requests, (policy,))
    return tuple(runs)


def any_policy(scenario: Scenario) -> Scenario:
    """What a search depends on: all but the policy and its target."""
    plain = Scenario()
    names = ("policy", "policy_target")
    return scenario.model_copy(update={name: getattr(plain, name) for name in names})


def of_trace(scenario: Scenario) -> Scenario:
    """What the shape of the requests depends on, and nothing else."""
    names = options.TRAFFIC - {"monthly_growth_low", "monthly_growth_high"}
    return Scenario().model_copy(update={name: getattr(scenario, name) for name in names})


def of_traffic(scenario: Scenario) -> Scenario:
    """What the requests depend on, and nothing else."""
    return of_trace(scenario).model_copy(
        update={name: getattr(scenario, name) for name in ("requests_per_s", "arrival_cv")}
    )


# Against the estimate -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """Why the bill of a simulation is not that of the estimate."""

    estimated: float
    """USD a month."""
    simulated: float
    replicas_estimated: float
    replicas_simulated: float
    """Paid for, on average."""
    peak_assumed: float
    """Peak over mean that the estimate assumes."""
    peak_of_traffic: float
    """The same of ten minutes of this traffic."""
    starting: float
    """Share of the hours paid for in which replicas start."""
    over: float
    """The same in which more are ready than needed."""
    dropped: float

    @property
    def dearer(self) -> bool:
        """Whether the simulation costs more."""
        return self.simulated > self.estimated

    @property
    def peak_explains(self) -> bool:
        """Whether the peaks are as different as the bills, in the same direction."""
        ratio = self.peak_of_traffic / self.peak_assumed
        return ratio > 1.0 + NOTABLE if self.dearer else ratio < 1.0 - NOTABLE


def difference(result: Answer, run: Run, trace: Trace) -> Difference | None:
    """Estimate and simulation compared, where they are more than a tenth apart."""
    estimate, scenario = result.estimate, result.scenario
    if estimate is None or not result.feasible:
        return None
    estimated = float(estimate.cost_rate) * MONTH
    if abs(run.monthly / estimated - 1.0) <= NOTABLE:
        return None
    hours, billed = run.seconds / HOUR, max(run.billed_hours, 1e-12)
    return Difference(
        estimated, run.monthly, float(estimate.replicas), run.billed_hours / hours,
        scenario.peak_to_mean, traces.implied(trace)["peak_to_mean"],
        run.starting_hours / billed, run.over_hours / billed, run.dropped,
    )  # fmt: skip


# Bursts -------------------------------------------------------------------------------------------


def shapes(fleet: Fleet) -> dict[str, Run]:
    """The scenario's policy under the same mean three ways: even, in days and weeks, in bursts."""
    kinds = traffic.three_shapes(fleet.scenario, 7.0 * LEAST_WEEKS)
    return {name: traffic.simulate(fleet, requests) for name, requests in kinds.items()}


# Zero and growth ----------------------------------------------------------------------------------


def to_zero(fleet: Fleet, requests: Demand) -> ToZero:
    """Going to zero against a replica that stays, from a request a day to some replicas full."""
    highest = max(2.0 * fleet.capacity, 10.0 * LEAST_RATE)
    policy: Literal["keda", "kpa"] = "kpa" if fleet.scenario.policy == "kpa" else "keda"
    return traffic.to_zero(
        fleet, requests, np.geomspace(LEAST_RATE, highest, RATES).tolist(), policy
    )


@dataclass(frozen=True)
class GrowingCost:
    """Cost of a month, month by month as the traffic grows. [USD]"""

    months: Array
    low: Array
    expected: Array
    high: Array
    dropped: float
    """Share of requests dropped in the last month, at the expected growth."""


def growing(
    fleet: Fleet, requests: Demand, tell: Callable[[float], None] = lambda share: None
) -> GrowingCost:
    """What the policy of a scenario costs as its traffic grows, at the least and the most too."""
    ahead = traces.growth(fleet.scenario, int(MONTHS[-1]))
    mean = fleet.scenario.requests_per_s
    runs: dict[float, Run] = {}

    def run(rate: float) -> Run:
        if rate not in runs:
            tell(0.0)
            runs[rate] = traffic.simulate(fleet, traffic.scaled_to(requests, rate / mean))
        return runs[rate]

    def line(rates: Array) -> Array:
        return np.array([run(float(rate)).monthly for rate in rates[MONTHS.astype(int)]])

    lines = [line(each) for each in (ahead.low, ahead.expected, ahead.high)]
    last = run(float(ahead.expected[int(MONTHS[-1])]))
    # Whole replicas and late starts may make more traffic a little cheaper.
    return GrowingCost(
        MONTHS, np.minimum(lines[0], lines[1]), lines[1], np.maximum(lines[1], lines[2]),
        last.dropped,
    )  # fmt: skip


# Over time ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """A part of a series."""

    begin: float
    """Since the series began. [s]"""
    series: Series


def day_of(series: Series, day: int | None) -> Window:
    """One day of a series, counted from 0; all of it without a number."""
    if day is None:
        return Window(0.0, series)
    each = round(DAY / series.step)
    part = slice(day * each, (day + 1) * each)
    columns: dict[str, Any] = {
        name: getattr(series, name)[part]
        for name in (
            "demand", "ready", "billed", "needed", "waiting", "in_flight", "dropped",
            "utilisation",
        )
    }  # fmt: skip
    return Window(day * DAY, replace(series, **columns))
