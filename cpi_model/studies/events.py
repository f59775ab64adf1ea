"""Event loops of one replica, compiled; those of many are in ``scaling_events``.

Times are in seconds from the start. Requests come in the order of their arrival.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
from numba import njit

from cpi_model.units import Array

Loop = TypeVar("Loop", bound=Callable[..., object])


def _compiled(loop: Loop) -> Loop:
    """Compile a loop at its first call, and keep the outcome on disk where that is possible.

    Other threads run meanwhile, such as those of other sessions of the app.
    """
    try:
        return cast("Loop", njit(cache=True, nogil=True)(loop))
    except RuntimeError:  # no folder that may be written
        return cast("Loop", njit(nogil=True)(loop))


@_compiled
def continuous(
    arrivals: Array,
    steps: Array,
    prompt_times: Array,
    step_times: Array,
    kept_share: float,
    delay: float,
    lead: float,
    lead_alone: float,
) -> tuple[Array, Array, Array, Array, int]:
    """Requests that share a replica under continuous batching.

    A request waits for one of the slots, then for its prompt's turn; prompts are read one after
    another. After a constant delay it decodes `lead` steps to its first token and `steps` more to
    its last, beside all others that decode.

    Parameters
    ----------
    arrivals, steps : array, shape (requests,)
        Time of arrival [s]; decode steps after the first token [1].
    prompt_times, step_times : array, shape (slots + 1,)
        Time for which one prompt occupies the replica, and time of one decode step, with so many
        slots taken [s].
    kept_share : float
        Speed of decoding while a prompt is read, over that without [1].
    delay, lead, lead_alone : float
        Time [s] and decode steps [1] from the end of the prompt to the first token, the latter
        beside others and where nobody else decodes.

    Returns
    -------
    taken, first, done : array, shape (requests,)
        When the slot was taken, the first and the last token was there [s].
    areas : array, shape (2,)
        Time integrals of the slots taken and of the replica's being busy. [s]
    events : int
        Events worked off.
    """
    count, slots = len(arrivals), len(step_times) - 1
    taken, first, done = np.empty(count), np.empty(count), np.empty(count)
    ready = np.empty(count)  # when a request may begin to decode
    goal = np.empty(count)  # decode steps of the replica at which its first token is there
    heap_goal, heap_request = np.empty(slots + 1), np.empty(slots + 1, dtype=np.int64)
    areas = np.zeros(2)
    # Everything before the last token keeps the order of arrival, so a queue is two pointers.
    arrived = admitted = read = joined = begun = size = running = events = 0
    now = decoded = 0.0
    left = 1.0  # of the prompt that is being read
    finished = 0
    while finished < count:
        speed = 1.0 / step_times[running] if running else 0.0
        if read < admitted:
            speed *= kept_share
        wait, what = np.inf, 0
        if arrived < count:
            wait, what = arrivals[arrived] - now, 1
        if read < admitted:
            until = left * prompt_times[running]
            if until < wait:
                wait, what = until, 2
        if joined < read:
            until = ready[joined] - now
            if until < wait:
                wait, what = until, 3
        if speed > 0.0:
            if begun < joined:
                until = (goal[begun] - decoded) / speed
                if until < wait:
                    wait, what = until, 4
            if size:
                until = (heap_goal[0] - decoded) / speed
                if until < wait:
                    wait, what = until, 5
        wait = max(wait, 0.0)
        now += wait
        decoded += wait * speed
        if read < admitted:
            if what == 2:
                left = 0.0
            else:
                left -= wait / prompt_times[running] if prompt_times[running] > 0.0 else left
        if running:
            areas[0] += wait * running
            areas[1] += wait
        events += 1
        if what == 1:
            arrived += 1
        elif what == 2:
            ready[read] = now + delay
            read += 1
            left = 1.0
        elif what == 3:
            alone = begun == joined and size == 0
            goal[joined] = decoded + (lead_alone if alone else lead)
            joined += 1
        elif what == 4:
            first[begun] = now
            # Into the heap of those that decode, by the step at which they end.
            target, at = goal[begun] + steps[begun], size
            size += 1
            while at > 0 and heap_goal[(at - 1) // 2] > target:
                heap_goal[at] = heap_goal[(at - 1) // 2]
                heap_request[at] = heap_request[(at - 1) // 2]
                at = (at - 1) // 2
            heap_goal[at], heap_request[at] = target, begun
            begun += 1
        else:
            done[heap_request[0]] = now
            finished += 1
            running -= 1
            size -= 1
            target, request, at = heap_goal[size], heap_request[size], 0
            while 2 * at + 1 < size:
                child = 2 * at + 1
                if child + 1 < size and heap_goal[child + 1] < heap_goal[child]:
                    child += 1
                if heap_goal[child] >= target:
                    break
                heap_goal[at], heap_request[at] = heap_goal[child], heap_request[child]
                at = child
            heap_goal[at], heap_request[at] = target, request
        while admitted < arrived and running < slots:
            taken[admitted] = now
            admitted += 1
            running += 1
    return taken, first, done, areas, events


@_compiled
def batches(
    arrivals: Array,
    steps: Array,
    first_times: Array,
    step_times: Array,
    longest_wait: float,
) -> tuple[Array, Array, Array, Array, int]:
    """Requests that are worked off in batches, one batch after another.

    A batch starts when the replica is free and the batch is full or its oldest request has waited
    for the longest time allowed. It ends with its longest answer.

    Parameters
    ----------
    arrivals, steps : array, shape (requests,)
        Time of arrival [s]; decode steps after the first token [1].
    first_times, step_times : array, shape (largest + 1,)
        Time to the first token of a batch of so many, and of each further step. [s]
    longest_wait : float
        Longest time to wait for a batch to fill, infinite to wait until it is full. [s]

    Returns
    -------
    taken, first, done : array, shape (requests,)
        When the batch started, its first token was there, and it ended; NaN for the last requests
        where they fill no batch. [s]
    areas : array, shape (2,)
        Time integrals of the requests in a batch and of the replica's being busy. [s]
    events : int
        Arrivals and ends of batches.
    """
    count, largest = len(arrivals), len(step_times) - 1
    taken, first, done = np.full(count, np.nan), np.full(count, np.nan), np.full(count, np.nan)
    areas = np.zeros(2)
    free, at, events = 0.0, 0, 0
    while at < count:
        last = at + largest - 1
        full = arrivals[last] if last < count else np.inf
        start = max(free, min(full, arrivals[at] + longest_wait))
        if start == np.inf:
            break
        end, most = at, 0.0
        while end < count and end - at < largest and arrivals[end] <= start:
            most = max(most, steps[end])
            end += 1
        size = end - at
        lasting = first_times[size] + most * step_times[size]
        for request in range(at, end):
            taken[request] = start
            first[request] = start + first_times[size]
            done[request] = start + lasting
        areas[0] += size * lasting
        areas[1] += lasting
        free, at = start + lasting, end
        events += size + 1
    return taken, first, done, areas, events


@_compiled
def first_come_first_served(arrivals: Array, service_time: float, servers: int) -> Array:
    """When requests of the same service time leave a queue before several servers. [s]"""
    count = len(arrivals)
    done = np.empty(count)
    for request in range(count):
        start = arrivals[request]
        # Equal times leave in the order of arrival, so a server is free with the one before last.
        if request >= servers:
            start = max(start, done[request - servers])
        done[request] = start + service_time
    return done
