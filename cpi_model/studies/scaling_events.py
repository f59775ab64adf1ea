"""Loops over time of many replicas under an autoscaler, compiled.

:func:`fluid` follows the mean of the traffic tick by tick, :func:`exact` every request. Both ask
the same :func:`decide`, which is made of the formulas in :mod:`cpi_model.formulas.autoscaling`.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit
from numba.extending import register_jitable

from cpi_model.formulas import autoscaling
from cpi_model.units import Array

Ints = npt.NDArray[np.int64]
Loop = TypeVar("Loop", bound=Callable[..., object])

for _formula in (
    autoscaling.hpa_replicas, autoscaling.hpa_replicas_for_total, autoscaling.stabilised_replicas,
    autoscaling.hpa_limited, autoscaling.keda_replicas, autoscaling.kpa_replicas,
    autoscaling.kpa_panics, autoscaling.kpa_decision, autoscaling.target_tracking_replicas,
    autoscaling.provisioning_gap,
):  # fmt: skip
    register_jitable(_formula)


def _compiled(loop: Loop) -> Loop:
    """Compile a loop at its first call, and keep the outcome on disk where that is possible.

    Numba looks whether the file of a loop has changed, but not the file of what it calls: the
    formulas are part of the key through a variable that the compiled function closes over.
    """
    version = hashlib.sha256(inspect.getsource(autoscaling).encode()).hexdigest()
    body = register_jitable(loop)

    def run(*arguments: object) -> object:
        return body(*arguments) if version else None

    run.__qualname__ = f"{loop.__name__}.run"
    try:
        return cast("Loop", njit(cache=True, nogil=True, error_model="numpy")(run))
    except RuntimeError:  # no folder that may be written
        return cast("Loop", njit(nogil=True, error_model="numpy")(run))


# What the loops are told --------------------------------------------------------------------------

HPA, KEDA, KPA, TRACKING, PLANNED = range(5)

ADDED_SHARE, ADDED_REPLICAS, REMOVED_SHARE, REMOVED_REPLICAS = 1.0, 4.0, 1.0, 0.0
"""Default behaviour of the HPA in each sync of 15 s."""
READINESS_DELAY = 30.0
"""Time after its start for which the HPA still takes a pod for not ready. [s]"""
POLL = 30.0
"""Between two looks of KEDA at its trigger. [s]"""
STABLE_WINDOW, PANIC_WINDOW, PANIC_THRESHOLD, GRACE = 60.0, 6.0, 2.0, 30.0
MOST_UP, MOST_DOWN = 1000.0, 2.0
"""Defaults of Knative's configuration."""


class Rules(NamedTuple):
    """An autoscaler."""

    policy: int
    target: float  # requests per replica
    tolerance: float  # 1
    least: float  # 1
    most: float  # 1
    window: float  # s, of stabilisation
    out_cooldown: float  # s
    in_cooldown: float  # s
    every: int  # ticks between two decisions


class Fleet(NamedTuple):
    """Replicas of one kind, and the queue before them."""

    tick: float  # s
    node_cold: float  # s until a replica on a new machine answers
    cold: float  # s, where a machine has a place for it
    drain: float  # s that a replica goes on after it is taken out
    slots: float  # requests that a replica holds
    full_rate: float  # 1/s of a full replica
    queue_limit: float  # requests that may wait, for each replica
    timeout: float  # s that a request waits at most


class Memory(NamedTuple):
    """What an autoscaler remembers."""

    marks: Array
    heads: Ints
    values: Array
    times: Array
    seen: Array


ACTIVE, LAST_OUT, LAST_IN, PANIC, MOST_IN_PANIC, ZERO = range(6)
FIRST, LAST, RING, FILLED = range(4)


def memory(tick: float, window: float) -> Memory:
    """Of an autoscaler that has seen nothing."""
    long_ago = np.full(6, -np.inf)
    long_ago[ACTIVE] = long_ago[MOST_IN_PANIC] = 0.0
    long_ago[ZERO] = np.inf
    size = 1 << (int(window / tick) + 3).bit_length()
    return Memory(
        long_ago, np.zeros(4, dtype=np.int64), np.zeros(size), np.zeros(size),
        np.zeros(max(round(STABLE_WINDOW / tick), 1)),
    )  # fmt: skip


@register_jitable
def _highest(memory: Memory, now: float, window: float, value: float) -> float:
    """Greatest recommendation of a window; the queue keeps those that may still be it."""
    heads, values, times = memory.heads, memory.values, memory.times
    within = len(values) - 1  # a power of two less one: places by their last bits
    first, last = heads[FIRST], heads[LAST]
    while last > first and values[(last - 1) & within] <= value:
        last -= 1
    values[last & within], times[last & within] = value, now
    last += 1
    while times[first & within] <= now - window and first < last - 1:
        first += 1
    heads[FIRST], heads[LAST] = first, last
    return values[first & within]  # type: ignore[no-any-return]


@register_jitable
def _behaved(rules: Rules, memory: Memory, now: float, replicas: float, wanted: float) -> float:
    """A recommendation of the HPA after stabilisation and limits."""
    highest = _highest(memory, now, rules.window, wanted)
    steady = autoscaling.stabilised_replicas(replicas, wanted, highest)
    return autoscaling.hpa_limited(
        replicas, steady, ADDED_SHARE, ADDED_REPLICAS, REMOVED_SHARE, REMOVED_REPLICAS
    )


@register_jitable
def _knative(rules: Rules, memory: Memory, now: float, ready: float, tick: float) -> float:
    marks, seen, heads = memory.marks, memory.seen, memory.heads
    size, filled = len(seen), heads[FILLED]
    whole = 0.0
    for place in range(filled):
        whole += seen[place]
    stable = whole / filled
    recent = min(max(int(PANIC_WINDOW / tick + 0.5), 1), filled)
    whole = 0.0
    place = heads[RING]
    for _ in range(recent):
        place = place - 1 if place > 0 else size - 1
        whole += seen[place]
    panic = whole / recent
    if autoscaling.kpa_panics(panic, rules.target, ready, PANIC_THRESHOLD):
        marks[PANIC] = now
    elif now - marks[PANIC] > STABLE_WINDOW:
        marks[PANIC], marks[MOST_IN_PANIC] = -np.inf, 0.0
    panicking = marks[PANIC] > -np.inf
    wanted = autoscaling.kpa_decision(
        autoscaling.kpa_replicas(stable, rules.target, ready, MOST_UP, MOST_DOWN),
        autoscaling.kpa_replicas(panic, rules.target, ready, MOST_UP, MOST_DOWN),
        panicking,
        marks[MOST_IN_PANIC],
    )
    if panicking:
        marks[MOST_IN_PANIC] = wanted
    # The last replica goes after a grace period only.
    if wanted > 0.0:
        marks[ZERO] = np.inf
    elif marks[ZERO] == np.inf:
        marks[ZERO] = now
    if wanted == 0.0 and ready > 0.0 and now - marks[ZERO] < GRACE:
        wanted = 1.0
    return wanted


@register_jitable
def decide(
    rules: Rules,
    memory: Memory,
    now: float,
    tick: float,
    replicas: float,
    ready: float,
    seasoned: float,
    in_flight: float,
    active: bool,
    planned: float,
) -> float:
    """Replicas that an autoscaler wants now.

    Parameters
    ----------
    rules : Rules
    memory : Memory
        Changed by the call.
    now, tick : float
        Time from the start and length of a tick. [s]
    replicas, ready, seasoned : float
        Replicas not taken out; those that answer; those that have for the readiness delay. [1]
    in_flight : float
        Mean of the requests that ran or waited since the last decision. [1]
    active : bool
        Whether there were any.
    planned : float
        What a plan says. [1]
    """
    marks = memory.marks
    if active:
        marks[ACTIVE] = now
    each = in_flight / ready if ready > 0.0 else 0.0
    wanted = planned
    if rules.policy == HPA:
        wanted = autoscaling.hpa_replicas(
            seasoned, replicas - seasoned, each, rules.target, rules.tolerance
        )
        wanted = _behaved(rules, memory, now, replicas, wanted)
    elif rules.policy == KEDA:
        wanted = replicas
        if replicas > 0.0:
            total = autoscaling.hpa_replicas_for_total(
                replicas, in_flight, rules.target, rules.tolerance
            )
            wanted = max(_behaved(rules, memory, now, replicas, total), 1.0)
        if now % POLL < 0.5 * tick:
            wanted = autoscaling.keda_replicas(
                wanted, active, now - marks[ACTIVE], rules.in_cooldown, rules.least
            )
    elif rules.policy == KPA:
        heads, seen = memory.heads, memory.seen
        seen[heads[RING]] = in_flight
        heads[RING] = heads[RING] + 1 if heads[RING] + 1 < len(seen) else 0
        heads[FILLED] = min(heads[FILLED] + 1, len(seen))
        wanted = _knative(rules, memory, now, ready, tick)
    elif rules.policy == TRACKING:
        wanted = autoscaling.target_tracking_replicas(
            replicas, ready, each, rules.target, rules.tolerance,
            now - marks[LAST_OUT] < rules.out_cooldown, now - marks[LAST_IN] < rules.in_cooldown,
        )  # fmt: skip
    wanted = min(max(wanted, rules.least), rules.most)
    if wanted > replicas:
        # An addition ends the cooldown of a removal.
        marks[LAST_OUT], marks[LAST_IN] = now, -np.inf
    elif wanted < replicas:
        marks[LAST_IN] = now
    return wanted


# What the loops tell ------------------------------------------------------------------------------

TOTALS = (
    "arrived", "served", "refused", "timed_out", "left", "work", "in_flight_s", "billed_s",
    "instances_s", "ready_s", "starting_s", "draining_s", "needed_s", "over_s", "under_s",
    "starts", "waited", "good", "events", "seconds",
)  # fmt: skip
"""Sums over time. Those with ``_s`` are times integrals; ``work`` is that of mean requests."""
(
    ARRIVED, SERVED, REFUSED, TIMED_OUT, LEFT, WORK, IN_FLIGHT, BILLED, INSTANCES, READY, STARTING,
    DRAINING, NEEDED, OVER, UNDER, STARTS, WAITED, GOOD, EVENTS, SECONDS,
) = range(len(TOTALS))  # fmt: skip
SERIES = ("arrived", "ready", "billed", "needed", "waiting", "in_flight", "dropped", "work")
"""Sums over the ticks of a point of a chart; of ``waiting`` the greatest."""
LONG_WAIT = 1.0
"""A wait that counts as one. [s]"""
LITTLE = 0.05
"""Part of a request that the fluid takes for none."""


@register_jitable
def _account(
    totals: Array, seconds: float, instances: Array, ready: float, starting: float,
    draining: float, needed: float,
) -> None:  # fmt: skip
    billed = ready + starting + draining
    over, under = autoscaling.provisioning_gap(ready, needed)
    totals[BILLED] += billed * seconds
    totals[INSTANCES] += instances[min(int(billed), len(instances) - 1)] * seconds
    totals[READY] += ready * seconds
    totals[STARTING] += starting * seconds
    totals[DRAINING] += draining * seconds
    totals[NEEDED] += needed * seconds
    totals[OVER] += over * seconds
    totals[UNDER] += under * seconds
    totals[SECONDS] += seconds


# Mean traffic -------------------------------------------------------------------------------------


@_compiled
def fluid(
    requests: Array,
    work: Array,
    needed: Array,
    planned: Array,
    fleet: Fleet,
    rules: Rules,
    memory: Memory,
    inverse: Array,
    inverse_step: float,
    instances: Array,
    totals: Array,
    by_load: Array,
    by_wait: Array,
    series: Array,
) -> None:
    """Replicas under an autoscaler, tick by tick.

    Requests in a replica settle by backward Euler: with y of them each at the end of a tick,
    ``y + tick * rate(y)`` is what was there and what came. Those that wait are served in the order
    in which they came, so how long they waited is known to a tick.

    Parameters
    ----------
    requests, work : array, shape (ticks,)
        Requests that come in each tick, and their work in that of mean requests. [1]
    needed, planned : array, shape (ticks,)
        Replicas that the load needs within its limits, and that a plan says. [1]
    fleet, rules, memory
        Replicas and autoscaler.
    inverse : array
        Requests in a replica by what was there and came, in steps of `inverse_step`, up to a full
        replica. [1]
    inverse_step : float
        [1]
    instances : array
        Instances paid for with 0, 1, ... replicas. [1]
    totals : array, shape (len(TOTALS),)
    by_load : array
        Requests that did not wait, by the load of a replica over its capacity: equal parts from 0
        to 1. [1]
    by_wait : array
        Those that did, by the ticks that they waited. [1]
    series : array, shape (points, len(SERIES))
        Totals and the rest are added to. [1]
    """
    ticks, tick, slots, full_rate = len(work), fleet.tick, fleet.slots, fleet.full_rate
    ring = int(max(fleet.node_cold, fleet.cold) / tick) + 3
    coming, longest = np.zeros(ring), int(fleet.drain / tick + 0.5)
    leaving = np.zeros(longest + 1)
    young = max(math.ceil(READINESS_DELAY / tick), 1)
    came = np.zeros(young)
    waits = 1
    while waits < len(by_wait):
        waits *= 2
    queue, waits = np.zeros(waits), waits - 1  # places by their last bits
    ready = min(max(needed[0], rules.least), rules.most) if ticks else 0.0
    starting = draining = fresh = here = waiting = seen = arrivals = 0.0
    head, most_here = 0, len(inverse) - 1
    full = most_here * inverse_step
    points, loads = len(series), len(by_load)
    # Places of this tick in the rings, one further with each: a remainder takes longer.
    in_coming = in_came = in_leaving = since = 0
    for at in range(ticks):
        now = at * tick
        begun = coming[in_coming]
        if begun > 0.0:
            coming[in_coming] = 0.0
            ready, starting = ready + begun, starting - begun
        fresh += begun - came[in_came]
        came[in_came] = begun
        gone = leaving[in_leaving]
        if gone > 0.0:
            leaving[in_leaving] = 0.0
            draining -= gone
        if since == rules.every:
            since = 0
            replicas = ready + starting
            wanted = decide(
                rules, memory, now, tick, replicas, ready, max(ready - fresh, 0.0),
                seen / rules.every, arrivals > 0.0 or waiting > 0.0 or here >= 0.5, planned[at],
            )  # fmt: skip
            seen = arrivals = 0.0
            while replicas < wanted:
                billed = int(replicas + draining)
                last = len(instances) - 1
                node = instances[min(billed + 1, last)] > instances[min(billed, last)]
                cold = fleet.node_cold if node else fleet.cold
                later = int(cold / tick + 0.5)
                if later == 0:
                    ready += 1.0
                else:
                    coming[(in_coming + later) % ring] += 1.0
                    starting += 1.0
                replicas += 1.0
                totals[STARTS] += 1.0
            if replicas > wanted:
                # What has not started yet goes first, the youngest before all.
                surplus, later = replicas - wanted, ring - 1
                while surplus > 0.0 and starting > 0.0 and later > 0:
                    place = (in_coming + later) % ring
                    taken = min(surplus, coming[place])
                    coming[place] -= taken
                    starting, surplus, later = starting - taken, surplus - taken, later - 1
                if surplus > 0.0:
                    # Their requests are finished where they are.
                    finishing = min(here, ready * slots) * surplus / ready
                    here -= finishing
                    totals[SERVED] += finishing
                    totals[WORK] += finishing
                    ready -= surplus
                    if longest > 0:
                        draining += surplus
                        leaving[(in_leaving + longest) % (longest + 1)] += surplus
        # What comes, what is served and what is left.
        coming_work = work[at]
        queue[at & waits] = coming_work
        totals[ARRIVED] += coming_work
        arrivals += requests[at]
        before = here + coming_work
        if ready > 0.0:
            each = before / ready
            if each < full:
                place = each / inverse_step
                low = int(place)
                part = place - low
                here = ready * (inverse[low] * (1.0 - part) + inverse[low + 1] * part)
            else:
                here = ready * (each - tick * full_rate)
        else:
            here = before
        if coming_work == 0.0 and here < LITTLE:
            here = 0.0
        served = before - here
        left = min(max(here - ready * slots, 0.0), waiting + coming_work)
        admitted = max(waiting + coming_work - left, 0.0)
        load = min(served / (ready * tick * full_rate), 1.0) if ready > 0.0 else 1.0
        if waiting == 0.0 and left == 0.0:
            by_load[min(int(load * loads), loads - 1)] += admitted
            head = at + 1
        else:
            while admitted > 1e-9 and head <= at:
                taken = min(queue[head & waits], admitted)
                queue[head & waits] -= taken
                admitted -= taken
                if at == head:
                    by_load[min(int(load * loads), loads - 1)] += taken
                else:
                    by_wait[at - head] += taken
                    if (at - head) * tick > LONG_WAIT:
                        totals[WAITED] += taken
                if queue[head & waits] > 1e-9:
                    break
                head += 1
            # Too many wait, or for too long.
            excess, back = left - fleet.queue_limit * max(ready + starting, 1.0), at
            while excess > 1e-9 and back >= head:
                taken = min(queue[back & waits], excess)
                queue[back & waits] -= taken
                excess, back = excess - taken, back - 1
                left, here = left - taken, here - taken
                totals[REFUSED] += taken
            while head <= at and (at + 1 - head) * tick >= fleet.timeout:
                taken = min(queue[head & waits], left)
                left, here = left - taken, here - taken
                totals[TIMED_OUT] += taken
                queue[head & waits] = 0.0
                head += 1
            if left < 1e-9:
                left = 0.0
        waiting, here = left, max(here, 0.0)
        in_coming = in_coming + 1 if in_coming + 1 < ring else 0
        in_came = in_came + 1 if in_came + 1 < young else 0
        in_leaving = in_leaving + 1 if in_leaving < longest else 0
        since += 1
        seen += here
        totals[SERVED] += served
        totals[WORK] += served
        totals[IN_FLIGHT] += here * tick
        _account(totals, tick, instances, ready, starting, draining, needed[at])
        if points:
            point = series[at * points // ticks]
            point[0] += requests[at]
            point[1] += ready
            point[2] += ready + starting + draining
            point[3] += needed[at]
            point[4] = max(point[4], waiting)
            point[5] += here
            point[7] += served
    totals[LEFT] += here
    totals[EVENTS] += ticks


# Every request ------------------------------------------------------------------------------------

ABSENT, BEGINNING, ANSWERING, ENDING = range(4)


class Replicas(NamedTuple):
    """Every replica with what it holds; the first axis counts replicas."""

    state: Ints
    held: Ints  # requests
    done: Array  # work done for each request that was there all the time
    since: Array  # s, of that figure
    answers_at: Array  # s at which it began or begins to answer
    goals: Array  # heap of the work at which requests end
    places: Ints  # their places below, in the order of the heap
    free: Ints  # stack of free places
    arrived: Array  # s, by place
    first: Array  # s at which the first token is there, by place
    steps: Array  # decode steps, by place
    next_end: Array  # tournament of the times at which the next request ends
    fullness: Array  # tournament of requests held, infinite where none may come


class Waiting(NamedTuple):
    """The queue before all replicas."""

    arrived: Array
    sizes: Array


NOW, NEXT_TICK, NEXT_READY, ACCOUNTED, AREA, DECIDED, LAST_READY, POINT_WORK = range(8)
TICKS, N_READY, N_STARTING, N_DRAINING, HEAD, TAIL, RUNNING, RECENT, DROPPED = range(9)


def replicas(most: int, slots: int, ready: int) -> Replicas:
    """So many at most, of which some answer from the start."""
    size = 1 << max(most - 1, 1).bit_length()
    state = np.zeros(most, dtype=np.int64)
    state[:ready] = ANSWERING
    fullness = np.full(2 * size, np.inf)
    fullness[size : size + ready] = 0.0
    for node in range(size - 1, 0, -1):
        fullness[node] = min(fullness[2 * node], fullness[2 * node + 1])
    shape = (most, slots)
    return Replicas(
        state, np.zeros(most, dtype=np.int64), np.zeros(most), np.zeros(most),
        np.full(most, -np.inf), np.empty(shape), np.empty(shape, dtype=np.int64),
        np.tile(np.arange(slots, dtype=np.int64), (most, 1)), np.empty(shape), np.empty(shape),
        np.empty(shape), np.full(2 * size, np.inf), fullness,
    )  # fmt: skip


@register_jitable
def _set(tournament: Array, leaf: int, value: float) -> None:
    node = len(tournament) // 2 + leaf
    tournament[node] = value
    while node > 1:
        node //= 2
        least = min(tournament[2 * node], tournament[2 * node + 1])
        if tournament[node] == least:
            break
        tournament[node] = least


@register_jitable
def _winner(tournament: Array) -> int:
    node, size = 1, len(tournament) // 2
    while node < size:
        node *= 2
        if tournament[node] > tournament[node + 1]:
            node += 1
    return node - size


@register_jitable
def _enter(
    x: Replicas, who: int, now: float, arrived: float, size: float, fleet: Fleet,
    speed: Array, first: Array, tokens_share: float, steps: float,
) -> None:  # fmt: skip
    """A request takes a place of a replica."""
    count = x.held[who]
    x.done[who] += speed[count] * (now - x.since[who])
    x.since[who] = now
    place = x.free[who, count]
    count += 1
    x.held[who] = count
    x.arrived[who, place] = arrived
    x.first[who, place] = now + first[count]
    x.steps[who, place] = steps * size
    goal, at = x.done[who] + (1.0 - tokens_share) + tokens_share * size, count - 1
    goals, places = x.goals[who], x.places[who]
    while at > 0 and goals[(at - 1) // 2] > goal:
        goals[at], places[at] = goals[(at - 1) // 2], places[(at - 1) // 2]
        at = (at - 1) // 2
    goals[at], places[at] = goal, place
    _set(x.next_end, who, now + max(goals[0] - x.done[who], 0.0) / speed[count])
    _set(x.fullness, who, float(count) if count < fleet.slots else np.inf)


@register_jitable
def _leave(x: Replicas, who: int, now: float, fleet: Fleet, speed: Array) -> int:
    """The request that ends first leaves; its place is still readable."""
    count = x.held[who] - 1
    goals, places = x.goals[who], x.places[who]
    x.done[who], x.since[who] = goals[0], now
    place = places[0]
    x.held[who] = count
    x.free[who, count] = place
    goal, last, at = goals[count], places[count], 0
    while 2 * at + 1 < count:
        child = 2 * at + 1
        if child + 1 < count and goals[child + 1] < goals[child]:
            child += 1
        if goals[child] >= goal:
            break
        goals[at], places[at] = goals[child], places[child]
        at = child
    goals[at], places[at] = goal, last
    if count == 0:
        x.done[who] = 0.0
        _set(x.next_end, who, np.inf)
    else:
        _set(x.next_end, who, now + max(goals[0] - x.done[who], 0.0) / speed[count])
    if x.state[who] == ANSWERING:
        _set(x.fullness, who, float(count))
    return place  # type: ignore[no-any-return]


@register_jitable
def _bin(value: float, least: float, per_bin: float, bins: int) -> int:
    if value <= least:
        return 0
    return min(int(math.log(value / least) / per_bin), bins - 1)


@_compiled
def exact(
    arrivals: Array,
    sizes: Array,
    until: float,
    fleet: Fleet,
    rules: Rules,
    memory: Memory,
    needed: Array,
    planned: Array,
    speed: Array,
    first: Array,
    start: float,
    tokens_share: float,
    steps: float,
    limits: Array,
    instances: Array,
    x: Replicas,
    queue: Waiting,
    clock: Array,
    counts: Ints,
    totals: Array,
    by_latency: Array,
    by_first: Array,
    least: float,
    per_bin: float,
    series: Array,
) -> None:
    """Replicas under an autoscaler, request by request, up to a time.

    Requests go to the replica with the fewest; where all are full they wait before all of them, in
    the order in which they came. Those in a replica share it. Called again with what comes next it
    goes on where it was.

    Parameters
    ----------
    arrivals, sizes : array, shape (requests,)
        Rising times of arrival [s], and lengths of answers over their mean [1].
    until : float
        End of this part. [s]
    fleet, rules, memory
        Replicas and autoscaler.
    needed, planned : array, shape (ticks,)
        Of all parts together: replicas needed, and planned. [1]
    speed, first : array, shape (slots + 1,)
        Work done for each request a second, and time to its first token, with 0, 1, ... in the
        replica. [1/s], [s]
    start : float
        Time before a request is looked at. [s]
    tokens_share, steps : float
        Share of a mean request's work that grows with its length, and its decode steps. [1]
    limits : array, shape (3,)
        First token, token, whole request. [s]
    instances : array
        Instances paid for with 0, 1, ... replicas. [1]
    x, queue, clock, counts
        Where it stands.
    totals, by_latency, by_first, series
        Added to; times in bins, each `per_bin` wide in the logarithm from `least` on.
    """
    count, at, tick = len(arrivals), 0, fleet.tick
    now, next_tick, next_ready = clock[NOW], clock[NEXT_TICK], clock[NEXT_READY]
    accounted, area, decided = clock[ACCOUNTED], clock[AREA], clock[DECIDED]
    ready, starting, draining = counts[N_READY], counts[N_STARTING], counts[N_DRAINING]
    head, tail, running, ticks = counts[HEAD], counts[TAIL], counts[RUNNING], counts[TICKS]
    recent, last_ready, dropped = counts[RECENT], clock[LAST_READY], counts[DROPPED]
    room, most, points, bins = len(queue.arrived), len(x.state), len(series), len(by_latency)
    events, work = 0, clock[POINT_WORK]
    while True:
        time, what = next_tick, 0
        if next_ready < time:
            time, what = next_ready, 1
        if x.next_end[1] < time:
            time, what = x.next_end[1], 2
        if at < count and arrivals[at] < time:
            time, what = arrivals[at], 3
        ends = time >= until
        if ends:
            time = until
        area += (running + tail - head) * (time - now)
        now = time
        if ends:
            break
        events += 1
        if what == 3:
            size = sizes[at]
            at += 1
            recent += 1
            # Whoever has waited too long is gone before.
            while head < tail and now - queue.arrived[head % room] >= fleet.timeout:
                head += 1
                totals[TIMED_OUT] += 1.0
                dropped += 1
            if head == tail and x.fullness[1] < np.inf:
                who = _winner(x.fullness)
                _enter(x, who, now, now, size, fleet, speed, first, tokens_share, steps)
                running += 1
            elif tail - head < min(fleet.queue_limit * max(ready + starting, 1), room):
                queue.arrived[tail % room], queue.sizes[tail % room] = now, size
                tail += 1
            else:
                totals[REFUSED] += 1.0
                dropped += 1
            continue
        if what == 2:
            who = _winner(x.next_end)
            place = _leave(x, who, now, fleet, speed)
            running -= 1
            length = x.steps[who, place]
            whole = now + start - x.arrived[who, place]
            shown = min(x.first[who, place] - x.arrived[who, place], whole)
            by_latency[_bin(whole, least, per_bin, bins)] += 1.0
            by_first[_bin(shown, least, per_bin, bins)] += 1.0
            good = shown <= limits[0] and whole <= limits[2]
            if good and length > 0.0:
                good = whole - shown <= limits[1] * length
            totals[GOOD] += good
            totals[SERVED] += 1.0
            part = length / steps if steps > 0.0 else 1.0
            part = (1.0 - tokens_share) + tokens_share * part
            totals[WORK] += part
            work += part
            if x.state[who] == ENDING and x.held[who] == 0:
                _account(
                    totals, now - accounted, instances, ready, starting, draining,
                    needed[min(ticks, len(needed) - 1)],
                )  # fmt: skip
                accounted = now
                x.state[who] = ABSENT
                draining -= 1
        elif what == 1:
            _account(
                totals, now - accounted, instances, ready, starting, draining,
                needed[min(ticks, len(needed) - 1)],
            )  # fmt: skip
            accounted = now
            next_ready = np.inf
            for who in range(most):
                if x.state[who] == BEGINNING:
                    if x.answers_at[who] <= now:
                        x.state[who] = ANSWERING
                        x.since[who], x.done[who] = now, 0.0
                        _set(x.fullness, who, 0.0)
                        ready, starting, last_ready = ready + 1, starting - 1, now
                    else:
                        next_ready = min(next_ready, x.answers_at[who])
        else:
            now_needed = needed[min(ticks, len(needed) - 1)]
            _account(totals, now - accounted, instances, ready, starting, draining, now_needed)
            accounted = now
            while head < tail and now - queue.arrived[head % room] >= fleet.timeout:
                head += 1
                totals[TIMED_OUT] += 1.0
                dropped += 1
            if points:
                point = series[min(ticks * points // len(needed), points - 1)]
                point[0] += recent
                point[1] += ready
                point[2] += ready + starting + draining
                point[3] += now_needed
                point[4] = max(point[4], float(tail - head))
                point[5] += running + tail - head
                point[6] += dropped
                point[7] += work
            ticks += 1
            next_tick = (ticks + 1) * tick
            recent, work, dropped = 0, 0.0, 0
            if ticks % rules.every == 0:
                totals[IN_FLIGHT] += area
                seasoned = ready
                if rules.policy == HPA and now - last_ready < READINESS_DELAY:
                    for who in range(most):
                        if x.state[who] == ANSWERING:
                            seasoned -= now - x.answers_at[who] < READINESS_DELAY
                replicas = ready + starting
                wanted = decide(
                    rules, memory, now, tick, float(replicas), float(ready), float(seasoned),
                    area / (now - decided), area > 0.0 or running + tail > head,
                    planned[min(ticks, len(planned) - 1)],
                )  # fmt: skip
                area, decided = 0.0, now
                for who in range(most):
                    if replicas >= wanted:
                        break
                    if x.state[who] == ABSENT:
                        billed = replicas + draining
                        node = instances[billed + 1] > instances[billed]
                        begins = now + (fleet.node_cold if node else fleet.cold)
                        x.state[who], x.answers_at[who] = BEGINNING, begins
                        next_ready = min(next_ready, begins)
                        replicas, starting = replicas + 1, starting + 1
                        totals[STARTS] += 1.0
                while replicas > wanted and starting > 0:
                    youngest, latest = 0, -np.inf
                    for who in range(most):
                        if x.state[who] == BEGINNING and x.answers_at[who] >= latest:
                            youngest, latest = who, x.answers_at[who]
                    x.state[youngest] = ABSENT
                    replicas, starting = replicas - 1, starting - 1
                if starting == 0:
                    next_ready = np.inf
                for back in range(most):
                    if replicas <= wanted:
                        break
                    who = most - 1 - back
                    if x.state[who] == ANSWERING:
                        _set(x.fullness, who, np.inf)
                        replicas, ready = replicas - 1, ready - 1
                        if x.held[who] > 0:
                            x.state[who] = ENDING
                            draining += 1
                        else:
                            x.state[who] = ABSENT
        # Places that are free now go to those who wait.
        while head < tail and x.fullness[1] < np.inf:
            entered = queue.arrived[head % room]
            size = queue.sizes[head % room]
            head += 1
            if now - entered >= fleet.timeout:
                totals[TIMED_OUT] += 1.0
                dropped += 1
                continue
            if now - entered > LONG_WAIT:
                totals[WAITED] += 1.0
            who = _winner(x.fullness)
            _enter(x, who, now, entered, size, fleet, speed, first, tokens_share, steps)
            running += 1
    _account(
        totals, now - accounted, instances, ready, starting, draining,
        needed[min(ticks, len(needed) - 1)],
    )  # fmt: skip
    totals[ARRIVED] += at
    totals[EVENTS] += events
    totals[LEFT] = running + tail - head
    clock[NOW], clock[NEXT_TICK], clock[NEXT_READY] = now, next_tick, next_ready
    clock[ACCOUNTED], clock[AREA], clock[DECIDED] = now, area, decided
    counts[N_READY], counts[N_STARTING], counts[N_DRAINING] = ready, starting, draining
    counts[HEAD], counts[TAIL], counts[RUNNING], counts[TICKS] = head, tail, running, ticks
    counts[RECENT], counts[DROPPED] = recent, dropped
    clock[LAST_READY], clock[POINT_WORK] = last_ready, work
