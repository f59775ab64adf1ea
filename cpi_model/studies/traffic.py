"""Replicas that follow the traffic: what an autoscaler costs, and what requests see of it.

A scenario's replica is that of :mod:`cpi_model.studies.replica`, its traffic a series of rates. The
*fluid* follows means at the autoscaler's own pace and answers at once, for planning; the *exact*
simulation works off request by request, for percentiles that limits are judged by. Either counts
replicas, and ``evaluate`` prices what was counted.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from scipy.special import ndtr

from cpi_model.catalog import Catalog
from cpi_model.evaluate import evaluate, floor_replicas
from cpi_model.formulas import autoscaling, batching, ownership, pricing, queueing
from cpi_model.inputs import Inputs, capacity
from cpi_model.scenario import Scenario
from cpi_model.studies import buying, traces
from cpi_model.studies.answer import Answer, known
from cpi_model.studies.batching import profile
from cpi_model.studies.replica import Profile
from cpi_model.studies.traces import Trace
from cpi_model.units import DAY, GB, HOUR, MILLISECOND, MONTH, Array

Policy = Literal["static", "hpa", "keda", "kpa", "tracking", "schedule", "predictive", "serverless"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
TITLES: dict[Policy, str] = {
    "static": "Fixed number", "hpa": "Kubernetes HPA", "keda": "KEDA", "kpa": "Knative",
    "tracking": "Target tracking", "schedule": "Schedule", "predictive": "Forecast",
    "serverless": "Serverless",
}  # fmt: skip
TICK, KNATIVE_TICK = 15.0, 2.0
"""Time between two looks of the HPA, and of Knative's autoscaler. [s]"""
TRACKING_TICKS = 4
"""Clouds track a target by metrics of a minute."""
TARGETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Targets of a search."""
SEED = 20_261_125
MOST_TICKS = 20_000_000
MOST_PLACES = 30_000_000
"""Replicas times requests in each, of the exact simulation."""
LOADS = 128
"""Loads of a replica that are told apart, in equal parts up to its capacity."""
FINER = 2048
"""Points of the table of requests in a replica by what came."""
BINS, LEAST_TIME, MOST_TIME = 4096, 1e-4, 1e5
"""Of the times of requests, equal in their logarithm. [s]"""
POINTS = 512
"""Times at which a distribution of the fluid is known."""
AT_A_TIME = 500_000
"""Requests that are drawn together."""
QUANTILES = (0.50, 0.95, 0.99)
NEGLIGIBLE = 1e-4
"""Share of requests that is as good as none."""
LENGTHS = 1
"""Sets the seed of lengths apart from that of arrivals; a 0 would not."""
ENDING_ROOM = 8
"""Replicas that may still finish requests beside the most that are allowed."""


class NotSimulated(ValueError):
    """A scenario whose traffic cannot be simulated; the message is for people."""


# What is simulated --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Demand:
    """Traffic over time, random around its rates; same seed, same requests."""

    rates: Callable[[float], Array]
    """Requests per second in each tick of a length [s]: ``Trace.rates``."""
    burstiness: float = 1.0
    """Standard deviation of the times between arrivals over their mean, within a tick."""
    seed: int = SEED
    _known: dict[Any, Any] = field(default_factory=dict, repr=False)

    def at(self, tick: float) -> Array:
        """Requests per second in each tick. [1/s]"""
        if tick not in self._known:
            rates = np.asarray(self.rates(tick), dtype=float)
            if rates.ndim != 1 or not len(rates) or not (rates >= 0.0).all():
                raise NotSimulated("The traffic has a time without a rate of 0 or more.")
            if len(rates) > MOST_TICKS:
                raise NotSimulated(f"The traffic has more than {MOST_TICKS:,} steps of {tick:g} s.")
            self._known[tick] = rates
        return self._known[tick]  # type: ignore[no-any-return]

    def drawn(self, tick: float, length_cv: float) -> tuple[Array, Array]:
        """Requests of each tick, and their work in that of mean requests."""
        key = (tick, length_cv)
        if key not in self._known:
            rng = np.random.default_rng(self.seed)
            requests = _counts(self.at(tick) * tick, self.burstiness, rng)
            work = requests
            if length_cv > 0.0:
                spread = length_cv**2
                shape = np.maximum(requests / spread, np.finfo(float).tiny)
                work = np.where(requests > 0.0, rng.standard_gamma(shape) * spread, 0.0)
            self._known[key] = requests, work
        return self._known[key]  # type: ignore[no-any-return]


def _counts(mean: Array, burstiness: float, rng: np.random.Generator) -> Array:
    """Arrivals of ticks: their variance is the mean times the square of the burstiness."""
    spread = burstiness**2
    if spread > 1.0:
        mean = mean.copy()
        some = mean > 0.0
        mean[some] = rng.standard_gamma(mean[some] / (spread - 1.0)) * (spread - 1.0)
        return rng.poisson(mean).astype(float)
    if spread == 1.0:
        return rng.poisson(mean).astype(float)
    certain = 1.0 - spread
    tries = np.floor(mean / certain + rng.random(len(mean))).astype(np.int64)
    return rng.binomial(tries, certain).astype(float)


def demand_of(
    trace: Trace, mean: float, days: float, burstiness: float = 1.0, seed: int = SEED
) -> Demand:
    """Traffic of the shape of a trace at a mean rate, repeated to so many days."""
    return Demand(lambda tick: trace.rates(tick, days * DAY, mean), burstiness, seed)


def demand(scenario: Scenario, catalog: Catalog, days: float) -> Demand:
    """The traffic that a scenario chooses, at its mean.

    Raises
    ------
    UnknownId
        If the catalog has no trace of that id.
    """
    trace = traces.of(scenario, catalog, math.ceil(days / 7.0))
    return demand_of(
        trace, scenario.requests_per_s, days, scenario.arrival_cv, scenario.traffic_seed
    )


class _States(NamedTuple):
    """A replica under random traffic, at loads in equal parts up to its capacity."""

    loads: Array  # 1/s, from 0 to the capacity
    running: Array  # requests in the replica at these
    met: Array  # shares of requests that meet 1, 2, ... of them, at the middle of each part
    good: Array  # share within all limits, of those that meet 1, 2, ...
    times: Array  # s
    below: Array  # share whose latency is below each of the times, of those that meet 1, 2, ...


@dataclass(frozen=True, eq=False)
class Fleet:
    """Replicas of a scenario that works, ready to be simulated."""

    result: Answer
    catalog: Catalog
    inputs: Inputs
    replica: Profile

    @property
    def scenario(self) -> Scenario:
        return self.result.scenario

    @property
    def capacity(self) -> float:
        """Requests per second of a full replica."""
        return float(self.replica.rates[-1])

    @cached_property
    def pools(self) -> float:
        """Replicas paid for with each that writes answers, those that read prompts included."""
        found = self.result.parts[0][1]
        return 1.0 + float(found.prefill_replicas) / float(found.replicas)

    @cached_property
    def cold(self) -> float:
        """Time of a cold start where an instance has a place. [s]"""
        return self._cold(0.0, 0.0)

    @cached_property
    def node_cold(self) -> float:
        """Time of a cold start on a new instance. [s]"""
        return self._cold(self.scenario.node_start_s, float(self.inputs.image_bytes))

    def _cold(self, node: float, image: float) -> float:
        weights = float(self.result.parts[0][1].weight_memory) * self.inputs.devices_per_replica
        scenario = self.scenario
        return float(
            autoscaling.cold_start_time(
                node, image, scenario.image_gb_per_s * GB, float(weights),
                scenario.weights_gb_per_s * GB, scenario.engine_start_s,
            )
        )  # fmt: skip

    def instances(self, replicas: Array) -> Array:
        """Whole instances that hold so many replicas and the spare ones."""
        x = self.inputs
        return np.asarray(
            pricing.instances_for_replicas(
                (replicas + x.spare_replicas) * self.pools, x.devices_per_replica,
                x.devices_per_instance,
            )
        )  # fmt: skip

    @cached_property
    def states(self) -> _States:
        """What a replica is like at each load."""
        one, x = self.replica, self.inputs
        part = self.capacity / LOADS
        loads = part * np.arange(LOADS + 1.0)
        running = np.asarray(queueing.mean_running(loads[1:-1], one.rates))
        middle: Array = part * (np.arange(LOADS, dtype=float) + 0.5)
        met = np.asarray(queueing.pace_weights(middle, one.rates))
        shown = one.start + one.first
        times = np.geomspace(LEAST_TIME, MOST_TIME, POINTS)
        below = self.below(shown[:, None], one.pace[:, None], times)
        good = self.below(shown, one.pace, np.asarray(x.slo_latency))
        if x.is_llm:
            good = good * (shown <= x.slo_ttft) * (one.pace <= x.slo_tpot)
        running = np.concatenate([[0.0], running, [float(one.slots)]])
        return _States(loads, running, met, good, times, below)

    def below(self, shown: Array, pace: Array, limit: Array) -> Array:
        """Share of requests whose last token is there in time, by that of the first."""
        steps, cv = self.replica.steps, self.scenario.output_cv
        if steps == 0.0 or cv == 0.0:
            return np.asarray(shown + steps * pace <= limit, dtype=float)
        log_sd = math.sqrt(math.log1p(cv**2))
        left = np.maximum(limit - shown, 1e-300) / (steps * pace)
        found: Array = ndtr(np.log(left) / log_sd + 0.5 * log_sd)
        return found

    @cached_property
    def needed_rate(self) -> float:
        """Most requests per second of a replica with which enough of them are within the limits.

        Where no load is small enough for that, what the target utilisation allows.
        """
        enough = self.states.met @ self.states.good >= self.scenario.slo_share
        if not enough[0]:
            return self.capacity * self.scenario.target_utilisation
        last = LOADS if enough.all() else int(np.argmin(enough))
        return self.capacity * last / LOADS

    def rate_at(self, target: float) -> float:
        """Requests per second of a replica that holds this share of what it can."""
        states = self.states
        return float(np.interp(target * self.replica.slots, states.running, states.loads))

    def tokens_share(self, target: float) -> float:
        """Share of a mean request's work that grows with its length, at a target."""
        one = self.replica
        at = min(max(round(target * one.slots), 1), one.slots) - 1
        return float(min(one.steps * one.pace[at] / one.latency[at], 1.0))

    def drain(self, target: float) -> float:
        """Time until a replica that is taken out has finished its requests, at a target. [s]"""
        one = self.replica
        held = max(target * one.slots, 1.0)
        at = min(max(round(held), 1), one.slots) - 1
        cv = self.scenario.output_cv if one.steps else 0.0
        return float(one.latency[at] * batching.longest_of(1.0, cv, held))


def fleet(result: Answer, catalog: Catalog) -> Fleet:
    """Replicas of a scenario, with all that does not depend on the traffic.

    Raises
    ------
    NotSimulated
        If the scenario does not work, or has two models in a row.
    """
    if result.service is None:
        raise _impossible(result.reasons)
    if result.service.first is not None:
        raise NotSimulated("Traffic is not simulated for two models in a row (a cascade).")
    # How many replicas there are is the simulation's business.
    x = replace(result.service.model, replicas_follow=0.0, fixed_replicas=0.0)
    alone = replace(result, service=replace(result.service, model=x), estimate=evaluate(x))
    if not alone.feasible:
        raise _impossible(result.reasons)
    return Fleet(alone, catalog, x, profile(alone))


def _impossible(reasons: Sequence[str]) -> NotSimulated:
    return NotSimulated(f"Traffic needs a deployment that works. {' '.join(reasons)}".strip())


# What comes out -----------------------------------------------------------------------------------


class Times(NamedTuple):
    """A time over requests. [s]"""

    mean: float
    p50: float
    p95: float
    p99: float


UNKNOWN = Times(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Series:
    """What happened, at equal steps."""

    step: float
    """[s]"""
    demand: Array
    """Requests that reached the replicas. [1/s]"""
    ready: Array
    billed: Array
    needed: Array
    waiting: Array
    """Most requests that waited at a time."""
    in_flight: Array
    dropped: Array
    """Requests refused or given up; the fluid does not tell when. [1/s]"""
    utilisation: Array
    """Work done over what the ready replicas could do."""


@dataclass(frozen=True)
class Run:
    """What a policy came to. Hours are those of replicas, over the whole time."""

    policy: Policy
    target: float
    method: Literal["fluid", "exact", "formula"]
    seconds: float
    arrived: float
    """Requests that reached the replicas."""
    served: float
    refused: float
    timed_out: float
    left: float
    """Still there at the end."""
    billed_hours: float
    """From the start of the machine to the last answer, spare ones included."""
    ready_hours: float
    starting_hours: float
    draining_hours: float
    needed_hours: float
    over_hours: float
    under_hours: float
    busy_hours: float
    """Of full replicas that would do the same work."""
    instance_hours: float
    in_flight: float
    """Mean number of requests that ran or waited."""
    cold_starts: float
    latency: Times
    ttft: Times
    """The whole latency where there are no tokens."""
    waited: float
    """Share of requests that waited for longer than a second for a replica."""
    missed: float
    """Share of all requests that were dropped or beyond a limit."""
    cost_per_inference: float
    """USD per successful inference, everything that ``evaluate`` counts included; infinite without
    requests, and then no parts are known."""
    cost_per_good: float
    """USD per inference within all limits."""
    monthly: float
    """USD a month at this rate of traffic."""
    components: Mapping[str, float]
    """USD per successful inference by component; they sum to the cost."""
    parts: Mapping[str, float]
    """The same by what it was paid for: work, headroom, over_provisioning, cold_starts, draining,
    spare, rest (what does not depend on replicas) and drops."""
    series: Series | None = None
    events: int = 0

    @property
    def dropped(self) -> float:
        """Share of requests that were refused or given up."""
        return _share(self.refused + self.timed_out, self.arrived)

    @property
    def utilisation(self) -> float:
        """Work done over what ready replicas could do."""
        return _share(self.busy_hours, self.ready_hours)

    @property
    def idle(self) -> float:
        """USD per successful inference of replicas that were ready and not at work."""
        return self.parts["headroom"] + self.parts["over_provisioning"]


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else 0.0


class _Counted(NamedTuple):
    """A run before it is priced."""

    policy: Policy
    target: float
    method: Literal["fluid", "exact", "formula"]
    totals: dict[str, float]
    latency: Times
    ttft: Times
    good: float  # share within limits, of those that were served
    series: Series | None
    instance_price: float


# Running ------------------------------------------------------------------------------------------


def simulate(
    fleet: Fleet,
    demand: Demand,
    policy: Policy | None = None,
    target: float | None = None,
    *,
    exact: bool = False,
    points: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Run:
    """One policy at one target, those of the scenario unless said otherwise.

    With `exact` every request is worked off, and `progress` hears what share is done. With `points`
    there is a series of so many steps.

    Raises
    ------
    NotSimulated
        If the traffic has no rates, or more replicas than can be followed request by request.
    """
    chosen = policy or policy_of(fleet.scenario)
    aimed = fleet.scenario.policy_target if target is None else target
    if chosen == "serverless":
        counted = _serverless(fleet, demand)
    elif exact:
        counted = _exact(fleet, demand, chosen, aimed, points, progress)
    else:
        counted = _fluid(fleet, demand, chosen, aimed, points, sized=target is not None)
    return _priced(fleet, [counted])[0]


def policy_of(scenario: Scenario) -> Policy:
    """The autoscaler of a scenario; a fixed number where it has none."""
    return "static" if scenario.policy == "none" else scenario.policy


def search(
    fleet: Fleet,
    demand: Demand,
    policies: Iterable[Policy] = POLICIES,
    targets: Sequence[float] = TARGETS,
) -> tuple[Run, ...]:
    """Every policy at every target, in the fluid; serverless where it has a price."""
    chosen = tuple(policies)
    pairs: list[tuple[Policy, float]] = [
        (policy, target) for policy in chosen if policy != "serverless" for target in targets
    ]
    if "serverless" in chosen and serverless_price(fleet) is not None:
        pairs.append(("serverless", fleet.scenario.policy_target))

    def run(pair: tuple[Policy, float]) -> _Counted:
        if pair[0] == "serverless":
            return _serverless(fleet, demand)
        return _fluid(fleet, demand, *pair, 0, True)

    # Compiled loops run beside each other.
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        return tuple(_priced(fleet, list(workers.map(run, pairs))))


def cheapest(runs: Sequence[Run], slo_share: float) -> Run | None:
    """The cheapest run with enough requests within all limits, if any has."""
    enough = [run for run in runs if run.missed <= 1.0 - slo_share]
    return min(enough, key=lambda run: run.cost_per_inference, default=None)


def pareto(runs: Sequence[Run]) -> list[bool]:
    """Which runs no other beats in cost and in requests beyond the limits at once.

    Shares beyond the limits that differ by less than :data:`NEGLIGIBLE` are the same.
    """
    figures = [(run.cost_per_inference, round(run.missed / NEGLIGIBLE)) for run in runs]
    return [
        not any(
            cost <= own[0] and missed <= own[1] and (cost, missed) != own
            for cost, missed in figures
        )
        for own in figures
    ]


def _rules(fleet: Fleet, policy: Policy, target: float) -> Any:
    from cpi_model.studies import scaling_events as events

    codes = {"hpa": events.HPA, "keda": events.KEDA, "kpa": events.KPA}
    scenario = fleet.scenario
    least = float(floor_replicas(replace(fleet.inputs, **capacity(scenario))))
    if policy in ("hpa", "tracking"):
        least = max(least, 1.0)  # none of them goes to zero
    return events.Rules(
        policy=codes.get(policy, events.TRACKING if policy == "tracking" else events.PLANNED),
        target=target * fleet.replica.slots,
        tolerance=scenario.policy_tolerance,
        least=least,
        most=max(float(scenario.max_replicas), least),
        window=scenario.stabilisation_s,
        out_cooldown=scenario.scale_out_cooldown_s,
        in_cooldown=scenario.cooldown_s,
        every=TRACKING_TICKS if policy == "tracking" else 1,
    )


def _settings(fleet: Fleet, policy: Policy, target: float) -> Any:
    from cpi_model.studies import scaling_events as events

    return events.Fleet(
        tick=KNATIVE_TICK if policy == "kpa" else TICK,
        node_cold=fleet.node_cold,
        cold=fleet.cold,
        drain=fleet.drain(target),
        slots=float(fleet.replica.slots),
        full_rate=fleet.capacity,
        queue_limit=float(fleet.scenario.queue_limit),
        timeout=fleet.scenario.queue_timeout_s,
    )


def _reaching(fleet: Fleet, demand: Demand) -> Demand:
    """What a cache of answers lets through."""
    through = 1.0 - float(fleet.inputs.answer_hit_share)
    if through == 1.0:
        return demand
    if "reaching" not in demand._known:
        demand._known["reaching"] = replace(
            demand, rates=lambda tick: demand.at(tick) * through, _known={}
        )
    return demand._known["reaching"]  # type: ignore[no-any-return]


def _plans(
    fleet: Fleet, demand: Demand, policy: Policy, target: float, tick: float, sized: bool
) -> tuple[Array, Array]:
    """Replicas that each tick needs within its limits, and those that a plan has for it."""
    scenario, rates = fleet.scenario, demand.at(tick)
    key = ("needed", tick, fleet.needed_rate)
    if key not in demand._known:
        demand._known[key] = pricing.replicas_for_load(rates, fleet.needed_rate, 1.0)
    needed = demand._known[key]
    planned = np.zeros(1)
    if policy == "static" and scenario.scaling == "fixed" and not sized:
        planned = np.full(len(rates), float(scenario.fixed_replicas))
    elif policy in ("static", "schedule", "predictive"):
        if policy == "static":
            expected = np.full(len(rates), rates.max())
        elif policy == "schedule":
            expected = autoscaling.weekly_plan(rates, tick, scenario.schedule_hours * HOUR)
            # Replicas are asked for so early that they answer in time.
            early = min(math.ceil(fleet.node_cold / tick), len(rates) - 1)
            expected = np.maximum(expected, np.roll(expected, -early))
        else:
            long = len(rates) * tick >= 2.0 * autoscaling.WEEK
            expected = autoscaling.seasonal_forecast(
                rates, tick, autoscaling.WEEK if long else DAY, fleet.node_cold,
                scenario.forecast_headroom_share,
            )  # fmt: skip
        planned = np.asarray(
            pricing.replicas_for_load(expected, fleet.rate_at(target), 1.0), dtype=float
        )
    if len(planned) < len(rates):
        planned = np.broadcast_to(planned, rates.shape).copy()
    return needed, planned


def _fluid(
    fleet: Fleet, demand: Demand, policy: Policy, target: float, points: int, sized: bool
) -> _Counted:
    from cpi_model.studies import scaling_events as events

    rules, settings = _rules(fleet, policy, target), _settings(fleet, policy, target)
    tick, traffic = settings.tick, _reaching(fleet, demand)
    rates = traffic.at(tick)
    length_cv = fleet.tokens_share(target) * fleet.scenario.output_cv
    requests, work = traffic.drawn(tick, length_cv if fleet.replica.steps else 0.0)
    needed, planned = _plans(fleet, traffic, policy, target, tick, sized)
    states = fleet.states
    came = states.running + tick * states.loads
    full = came[-1]
    inverse = np.interp(np.linspace(0.0, full, FINER + 1), came, states.running)
    totals, by_load = np.zeros(len(events.TOTALS)), np.zeros(LOADS)
    by_wait = np.zeros(int(settings.timeout / tick) + 2)
    series = np.zeros((min(points, len(rates)), len(events.SERIES)))
    events.fluid(
        requests, work, needed, planned, settings, rules, events.memory(tick, rules.window),
        inverse, full / FINER, fleet.instances(np.arange(2.0 * rules.most + 3.0)), totals, by_load,
        by_wait, series,
    )  # fmt: skip
    named = dict(zip(events.TOTALS, totals.tolist(), strict=True))
    latency, ttft, good = _distribution(fleet, by_load, by_wait, tick)
    return _Counted(
        policy, target, "fluid", named, latency, ttft, good,
        _chart(fleet, series, len(rates) * tick, tick, len(rates)), math.nan,
    )  # fmt: skip


def _distribution(
    fleet: Fleet, by_load: Array, by_wait: Array, tick: float
) -> tuple[Times, Times, float]:
    """Latency, first token and the share within limits, of requests by load and by wait."""
    one, states, x = fleet.replica, fleet.states, fleet.inputs
    whole = by_load.sum() + by_wait.sum()
    if whole <= 0.0:
        return UNKNOWN, UNKNOWN, 1.0
    met = by_load @ states.met
    shown, weights = one.start + one.first, met
    rest = one.steps * one.pace
    below, good = met @ states.below, float(met @ states.good)
    ages = np.flatnonzero(by_wait)
    if len(ages):
        # Whoever waits meets a full replica.
        late = ages * tick + shown[-1]
        pace, each = one.pace[-1:], by_wait[ages]
        below = below + each @ fleet.below(late[:, None], pace, states.times)
        within = fleet.below(late, pace, np.asarray(x.slo_latency))
        if x.is_llm:
            within = within * (late <= x.slo_ttft) * (pace <= x.slo_tpot)
        good += float(each @ within)
        shown, weights = np.append(shown, late), np.append(weights, each)
        rest = np.append(rest, np.full(len(late), rest[-1]))
    mean = float(weights @ (shown + rest) / whole)
    latency = Times(mean, *np.interp(QUANTILES, below / whole, states.times).tolist())
    if not x.is_llm:
        return latency, latency, good / whole
    first = np.quantile(shown, QUANTILES, weights=weights, method="inverted_cdf")
    return latency, Times(float(weights @ shown / whole), *first.tolist()), good / whole


def _exact(
    fleet: Fleet,
    demand: Demand,
    policy: Policy,
    target: float,
    points: int,
    progress: Callable[[float], None] | None,
) -> _Counted:
    from cpi_model.studies import scaling_events as events

    rules, settings = _rules(fleet, policy, target), _settings(fleet, policy, target)
    tick, traffic, one = settings.tick, _reaching(fleet, demand), fleet.replica
    rates = traffic.at(tick)
    needed, planned = _plans(fleet, traffic, policy, target, tick, False)
    most = int(rules.most) + max(ENDING_ROOM, int(rules.most) // 4)
    if most * one.slots > MOST_PLACES:
        raise NotSimulated(
            f"{int(rules.most):,} replicas of {one.slots:,} requests are too many to follow one by "
            "one: lower the maximum."
        )
    begin = int(min(max(needed[0], rules.least), rules.most))
    replicas = events.replicas(most, one.slots, begin)
    room = int(min(fleet.scenario.queue_limit * rules.most, MOST_PLACES)) + 1
    queue = events.Waiting(np.empty(room), np.empty(room))
    clock, counts = np.zeros(8), np.zeros(9, dtype=np.int64)
    clock[[events.NEXT_TICK, events.NEXT_READY, events.LAST_READY]] = tick, np.inf, -np.inf
    counts[events.N_READY] = begin
    totals = np.zeros(len(events.TOTALS))
    by_latency, by_first = np.zeros(BINS), np.zeros(BINS)
    per_bin = math.log(MOST_TIME / LEAST_TIME) / BINS
    series = np.zeros((min(points, len(rates)), len(events.SERIES)))
    number = np.arange(one.slots + 1.0)
    speed = np.append(0.0, one.rates) / np.maximum(number, 1.0)
    first = np.append(0.0, one.start + one.first)
    x, remembered = fleet.inputs, events.memory(tick, rules.window)
    limits = np.array([x.slo_ttft, x.slo_tpot, x.slo_latency])
    if not x.is_llm:
        limits[:2] = np.inf
    instances = fleet.instances(np.arange(most + 2.0))
    for done, until, arrivals in _arrivals(traffic, tick):
        events.exact(
            arrivals, _sizes(traffic, done, len(arrivals), fleet), until, settings, rules,
            remembered, needed, planned, speed, first, one.start, fleet.tokens_share(target),
            one.steps, limits, instances, replicas, queue, clock, counts, totals, by_latency,
            by_first, LEAST_TIME, per_bin, series,
        )  # fmt: skip
        if progress is not None:
            progress(until / (len(rates) * tick))
    totals[events.IN_FLIGHT] += clock[events.AREA]
    named = dict(zip(events.TOTALS, totals.tolist(), strict=True))
    return _Counted(
        policy, target, "exact", named, _binned(by_latency, per_bin), _binned(by_first, per_bin),
        _share(named["good"], named["served"]) if named["served"] else 1.0,
        _chart(fleet, series, len(rates) * tick, tick, len(rates)), math.nan,
    )  # fmt: skip


def _arrivals(demand: Demand, tick: float) -> Iterable[tuple[int, float, Array]]:
    """Times of arrival in parts, each with its number and its end.

    Times between arrivals are gamma distributed (exponential at burstiness 1) at a rate of one; the
    clock then runs as fast as the traffic.
    """
    rates = demand.at(tick)
    rng = np.random.default_rng(demand.seed)
    mean = max(float(rates.mean()), 1e-9)
    ticks = min(max(int(min(DAY, AT_A_TIME / mean) / tick), 1), len(rates))
    due = 0.0  # expected arrivals until the next one
    before = 0.0
    for done, begin in enumerate(range(0, len(rates), ticks)):
        expected = np.append(0.0, np.cumsum(rates[begin : begin + ticks] * tick)) + before
        until = expected[-1]
        parts = []
        if begin == 0:
            due = float(_between(demand.burstiness, 1, rng)[0])
        while due < until:
            count = int(1.05 * (until - due) + 5.0 * math.sqrt(until - due) + 16.0)
            gaps = _between(demand.burstiness, count, rng)
            marks = due + np.append(0.0, np.cumsum(gaps))
            inside = min(int(np.searchsorted(marks, until)), count)
            parts.append(marks[:inside])
            # The mark behind the last one that counts is the next to come.
            due = float(marks[inside])
        marks = np.concatenate(parts) if parts else np.empty(0)
        times = tick * np.arange(begin, begin + len(expected))
        yield done, float(times[-1]), np.interp(marks, expected, times)
        before = until


def _between(burstiness: float, count: int, rng: np.random.Generator) -> Array:
    if burstiness == 1.0:
        return rng.standard_exponential(count)
    if burstiness == 0.0:
        return np.ones(count)
    shape = burstiness**-2.0
    gaps: Array = rng.standard_gamma(shape, count) / shape
    return gaps


def _sizes(demand: Demand, part: int, count: int, fleet: Fleet) -> Array:
    """Lengths of answers over their mean."""
    cv = fleet.scenario.output_cv
    if fleet.replica.steps == 0.0 or cv == 0.0:
        return np.ones(count)
    rng = np.random.default_rng((demand.seed, LENGTHS, part))
    log_sd = math.sqrt(math.log1p(cv**2))
    sizes: Array = rng.lognormal(-0.5 * log_sd**2, log_sd, count)
    return sizes


def _binned(counts: Array, per_bin: float) -> Times:
    """Percentiles of times in bins of equal width in the logarithm."""
    whole = counts.sum()
    if whole == 0.0:
        return UNKNOWN
    times = LEAST_TIME * np.exp((np.arange(len(counts)) + 0.5) * per_bin)
    places = np.searchsorted(np.cumsum(counts), np.array(QUANTILES) * whole)
    return Times(float(counts @ times / whole), *times[places].tolist())


def _chart(fleet: Fleet, sums: Array, seconds: float, tick: float, ticks: int) -> Series | None:
    if not len(sums):
        return None
    points = len(sums)
    # Ticks that fell on each point.
    each = np.diff(np.ceil(np.arange(points + 1.0) * ticks / points))
    mean = sums / each[:, None]
    # What is due at the end of the time falls on no tick.
    could = mean[:, 1] * fleet.capacity * tick
    busy = np.divide(mean[:, 7], could, out=np.zeros(points), where=could > 0.0)
    return Series(
        seconds / points, mean[:, 0] / tick, mean[:, 1], mean[:, 2], mean[:, 3], sums[:, 4],
        mean[:, 5], mean[:, 6] / tick, np.minimum(busy, 1.0),
    )  # fmt: skip


# Serverless ---------------------------------------------------------------------------------------


def serverless_price(fleet: Fleet) -> float | None:
    """USD per second of one serverless device, None where nobody knows it."""
    hourly, source = buying.serverless_price(fleet.scenario, fleet.catalog)
    return None if source is None else hourly / HOUR


def _serverless(fleet: Fleet, demand: Demand) -> _Counted:
    """Billed by the second, as the formula for replicas that come and go has it in each tick."""
    price, scenario, x = serverless_price(fleet), fleet.scenario, fleet.inputs
    if price is None:
        raise NotSimulated("No serverless price of this hardware is known: enter one.")
    one, rates = fleet.replica, _reaching(fleet, demand).at(TICK)
    alone = one.start + float(one.latency[0])
    capacity = fleet.rate_at(scenario.policy_target)
    held = (
        capacity, alone, scenario.serverless_idle_s, scenario.serverless_minimum_s,
        scenario.serverless_cold_s,
    )  # fmt: skip
    billed = np.asarray(ownership.serverless_replicas(rates, *held))
    # Without starts, and those of the requests that find nobody.
    warm = np.asarray(ownership.serverless_replicas(rates, *held[:4], 0.0))
    nobody = np.exp(-rates * max(alone + held[2], held[3]))
    work, needed = rates / fleet.capacity, rates / fleet.needed_rate
    ready = np.maximum(warm, work)
    arrived = float(rates.sum() * TICK)
    cold = _share(float((rates * nobody).sum() * TICK), arrived)
    seconds = len(rates) * TICK
    totals = {
        "arrived": arrived, "served": arrived, "refused": 0.0, "timed_out": 0.0, "left": 0.0,
        "work": arrived, "in_flight_s": arrived * alone, "billed_s": float(billed.sum() * TICK),
        "ready_s": float(ready.sum() * TICK),
        "starting_s": float((billed - warm).sum() * TICK), "draining_s": 0.0,
        "needed_s": float(needed.sum() * TICK),
        "over_s": float(np.maximum(ready - needed, 0.0).sum() * TICK), "under_s": 0.0,
        "starts": cold * arrived, "waited": cold * arrived, "good": 0.0, "events": 0.0,
        "seconds": seconds,
    }  # fmt: skip
    totals["instances_s"] = totals["billed_s"] * float(
        x.devices_per_replica / x.devices_per_instance
    )
    by_load = np.zeros(LOADS)
    share = np.minimum(rates / np.maximum(ready * fleet.capacity, 1e-300), 1.0)
    np.add.at(by_load, np.minimum((share * LOADS).astype(np.intp), LOADS - 1), rates * TICK)
    wait = scenario.serverless_cold_s
    by_wait = np.array([0.0, cold * by_load.sum()])
    latency, ttft, good = _distribution(fleet, by_load * (1.0 - cold), by_wait, max(wait, 1e-9))
    return _Counted(
        "serverless", scenario.policy_target, "formula", totals, latency, ttft, good, None,
        price * float(x.devices_per_instance),
    )  # fmt: skip


# Pricing ------------------------------------------------------------------------------------------

COMPONENTS = ("compute", "memory", "storage", "network", "orchestration")
LEAST_RATE = 1e-12
"""Requests per second that stand for none. [1/s]"""


def _priced(fleet: Fleet, found: Sequence[_Counted]) -> list[Run]:
    """Runs with their cost: all of them in one call of ``evaluate``."""
    if not found:
        return []
    x = fleet.inputs
    through = 1.0 - float(x.answer_hit_share)

    def column(name: str) -> Array:
        return np.array([run.totals[name] for run in found])

    seconds, arrived = column("seconds"), column("arrived")
    dropped = (column("refused") + column("timed_out")) / np.maximum(arrived, LEAST_RATE)
    # What a cache answers is never dropped.
    succeeded = 1.0 - through * dropped
    rate = np.maximum(arrived / through / seconds, LEAST_RATE)
    spare = np.array([0.0 if run.policy == "serverless" else x.spare_replicas for run in found])
    replicas = column("billed_s") / seconds + spare
    price = np.array([run.instance_price for run in found])
    counted = replace(
        x, requests_per_s=rate, success_share=x.success_share * np.maximum(succeeded, LEAST_RATE),
        instance_price=np.where(np.isnan(price), x.instance_price, price),
        counted_replicas=replicas, counted_instances=column("instances_s") / seconds,
    )  # fmt: skip
    paid = evaluate(counted)
    rest = evaluate(replace(counted, counted_replicas=0.0, counted_instances=0.0))
    fixed = np.asarray(rest.cost_rate) / np.asarray(paid.cost_rate)
    runs = []
    for at, run in enumerate(found):
        totals = run.totals
        cost = float(np.asarray(paid.cost_per_inference)[at])
        if totals["arrived"] == 0.0 or succeeded[at] <= 0.0:
            cost = math.inf
        good = _good(fleet, run, float(succeeded[at]), through)
        runs.append(Run(
            policy=run.policy, target=run.target, method=run.method, seconds=totals["seconds"],
            arrived=totals["arrived"], served=totals["served"], refused=totals["refused"],
            timed_out=totals["timed_out"], left=totals["left"],
            billed_hours=totals["billed_s"] / HOUR + float(spare[at]) * totals["seconds"] / HOUR,
            ready_hours=totals["ready_s"] / HOUR, starting_hours=totals["starting_s"] / HOUR,
            draining_hours=totals["draining_s"] / HOUR, needed_hours=totals["needed_s"] / HOUR,
            over_hours=totals["over_s"] / HOUR, under_hours=totals["under_s"] / HOUR,
            busy_hours=totals["work"] / fleet.capacity / HOUR,
            instance_hours=totals["instances_s"] / HOUR,
            in_flight=totals["in_flight_s"] / totals["seconds"], cold_starts=totals["starts"],
            latency=run.latency, ttft=run.ttft,
            waited=_share(totals["waited"], totals["arrived"]), missed=1.0 - good,
            cost_per_inference=cost,
            cost_per_good=float(pricing.cost_per_inference(
                cost * float(x.success_share) * float(succeeded[at]),
                float(x.success_share) * good,
            )),
            monthly=float(np.asarray(paid.cost_rate)[at]) * MONTH,
            components={
                name: float(np.asarray(getattr(paid, f"{name}_cost"))[at])
                if math.isfinite(cost) else math.nan
                for name in COMPONENTS
            },
            parts=_parts(
                totals, fleet.capacity, float(spare[at]), cost, float(fixed[at]),
                float(succeeded[at]),
            ),
            series=run.series, events=int(totals["events"]),
        ))  # fmt: skip
    return runs


def _good(fleet: Fleet, run: _Counted, succeeded: float, through: float) -> float:
    """Share of all requests that are within every limit; a cache answers at once."""
    x = fleet.inputs
    hits = 1.0 - through
    least = min(float(x.slo_ttft), float(x.slo_latency)) if x.is_llm else float(x.slo_latency)
    at_once = float(hits > 0.0 and float(x.lookup_time) <= least)
    return min((succeeded - hits) * run.good + hits * at_once, 1.0)


def _parts(
    totals: Mapping[str, float], capacity: float, spare: float, cost: float, fixed: float,
    succeeded: float,
) -> dict[str, float]:  # fmt: skip
    """What a cost was paid for: by hours of replicas, what needs none, and what was dropped."""
    work = min(totals["work"] / capacity, totals["ready_s"])
    headroom = max(totals["ready_s"] - totals["over_s"] - work, 0.0)
    hours = {
        "work": work, "headroom": headroom,
        "over_provisioning": totals["ready_s"] - work - headroom,
        "cold_starts": totals["starting_s"], "draining": totals["draining_s"],
        "spare": spare * totals["seconds"],
    }  # fmt: skip
    whole = sum(hours.values())
    # Without drops the same money would have served more requests.
    each = cost * succeeded if math.isfinite(cost) else math.nan
    parts = {
        name: each * (1.0 - fixed) * _share(value, whole) for name, value in hours.items()
    }  # fmt: skip
    parts["rest"] = each - sum(parts.values())
    parts["drops"] = cost - each
    return parts


# Questions ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ToZero:
    """A service that goes to zero against one that is always on, by mean traffic."""

    rates: Array
    """[1/s]"""
    to_zero: Array
    """USD per successful inference, going to zero without requests."""
    always_on: Array
    """The same with at least one replica."""
    missed: Array
    """Share of requests beyond the limits where it goes to zero."""
    break_even: float
    """Mean rate above which going to zero saves nothing; NaN where it always does. [1/s]"""


def to_zero(
    fleet: Fleet, demand: Demand, rates: Sequence[float], policy: Literal["keda", "kpa"] = "keda"
) -> ToZero:
    """Cost with and without a replica that stays, at other mean rates of the same traffic."""
    mean = float(demand.at(TICK).mean())
    runs: list[list[_Counted]] = [[], []]
    at_least = [
        _with(fleet, policy=policy, min_replicas=least) for least in (0, 1)
    ]  # fmt: skip
    for rate in rates:
        scaled = scaled_to(demand, rate / mean)
        for kept, one in zip(runs, at_least, strict=True):
            kept.append(_fluid(one, scaled, policy, one.scenario.policy_target, 0, True))
    zero, on = (_priced(one, kept) for one, kept in zip(at_least, runs, strict=True))
    first, second = (
        np.array([run.cost_per_inference for run in priced]) for priced in (zero, on)
    )  # fmt: skip
    dearer = np.flatnonzero(first >= second * (1.0 - 1e-3))
    return ToZero(
        np.asarray(rates, dtype=float), first, second, np.array([run.missed for run in zero]),
        float(rates[int(dearer[0])]) if len(dearer) else math.nan,
    )  # fmt: skip


def _with(fleet: Fleet, **changes: Any) -> Fleet:
    """The same replicas under other rules."""
    scenario = fleet.scenario.model_copy(update=changes)
    return replace(fleet, result=replace(fleet.result, scenario=scenario))


def scaled_to(demand: Demand, factor: float) -> Demand:
    """The same traffic, so many times as much of it."""
    return replace(demand, rates=lambda tick: demand.at(tick) * factor, _known={})


def three_shapes(scenario: Scenario, days: float, minute_cv: float = 1.0) -> dict[str, Demand]:
    """The same mean three ways: even, as the scenario's days are, and with bursts of minutes."""
    own = replace(traces.shape(scenario), minute_cv=0.0, spikes_per_week=0.0)
    shapes = {
        "even": replace(own, daily_swing=0.0, weekend_to_weekday=1.0, monthly_growth=0.0),
        "days and weekends": own,
        "bursts": replace(own, minute_cv=minute_cv),
    }
    weeks = math.ceil(days / 7.0)
    return {
        name: demand_of(
            shape.trace(weeks), scenario.requests_per_s, days, scenario.arrival_cv,
            scenario.traffic_seed,
        )
        for name, shape in shapes.items()
    }  # fmt: skip


def document(run: Run) -> dict[str, Any]:
    """What a program is told of a run; what is not known is None."""
    hours = {
        name: getattr(run, f"{name}_hours")
        for name in (
            "billed", "ready", "starting", "draining", "needed", "over", "under", "busy",
            "instance",
        )
    }  # fmt: skip
    times = {
        name: {of: known(value / MILLISECOND) for of, value in time._asdict().items()}
        for name, time in (("latency_ms", run.latency), ("ttft_ms", run.ttft))
    }
    return {
        "policy": run.policy, "target": run.target, "method": run.method,
        "days": run.seconds / DAY,
        "requests": {
            "arrived": run.arrived, "served": run.served, "refused": run.refused,
            "timed_out": run.timed_out, "left": run.left,
        },
        "replica_hours": hours, "cold_starts": run.cold_starts, "utilisation": run.utilisation,
        "in_flight": run.in_flight, **times, "waited_share": run.waited,
        "missed_share": run.missed, "dropped_share": run.dropped,
        "cost_per_inference_usd": known(run.cost_per_inference),
        "cost_per_good_inference_usd": known(run.cost_per_good), "monthly_cost_usd": run.monthly,
        "components_usd": {name: known(value) for name, value in run.components.items()},
        "parts_usd": {name: known(value) for name, value in run.parts.items()},
    }  # fmt: skip
