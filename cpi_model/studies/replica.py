"""Percentiles under load: one replica, request by request, and in closed form.

:func:`simulate` draws arrivals and lengths and works them off one by one; :func:`closed_form` gives
means exactly or nearly so, and approximate percentiles, at once. Both take their times from
:func:`cpi_model.evaluate.performance`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from cpi_model.evaluate import performance
from cpi_model.formulas import batching as batching_formulas
from cpi_model.formulas import queueing
from cpi_model.inputs import Inputs
from cpi_model.units import Array

Batching = Literal["continuous", "static", "dynamic"]
"""How requests come together: token by token; when a batch is full; when it is full or its oldest
request has waited for ``Inputs.batch_wait``."""

REQUESTS = 200_000
"""Requests of a simulation, unless said otherwise."""
LEAST_REQUESTS, MOST_REQUESTS = 1_000, 5_000_000
WARM_UP = 0.1
"""Share of the requests at the start that do not count, for the replica begins empty."""
BATCHES = 30
"""Parts of a simulation whose spread gives the errors."""
T_95 = 2.045229642132703
"""97.5th percentile of Student's t with 29 degrees of freedom."""
KEPT_TABLES = 64
"""Configurations whose times are kept, for a curve over loads asks for them again and again."""
LEAST_STEPS = 1e-9
"""Tokens that stand for none, where a rate is asked for."""
QUANTILES = (0.50, 0.95, 0.99)
MOST_SPREAD = 50.0
"""Largest coefficient of variation of arrivals or lengths."""
OUTPUT_CV = 0.77
"""Spread of output lengths in the Azure LLM inference trace 2023, conversation (19,366 requests):
standard deviation over mean of GeneratedTokens."""


@dataclass(frozen=True)
class Load:
    """What arrives at one replica."""

    requests_per_s: float
    """Mean rate per replica; NaN to take it from the timestamps."""
    burstiness: float = 1.0
    """Standard deviation of the times between arrivals over their mean, gamma distributed:
    1 is random (Poisson), 0 even, more comes in bursts."""
    output_cv: float = OUTPUT_CV
    """Standard deviation of the output lengths over their mean, log-normal: 0 is constant."""
    timestamps: Array | None = field(default=None, compare=False)
    """Times of arrival that were recorded, rising [s]; they replace rate and burstiness."""

    def __post_init__(self) -> None:
        if self.timestamps is not None:
            times = np.asarray(self.timestamps, dtype=float)
            if times.ndim != 1 or len(times) < 2 or not np.isfinite(times).all():
                raise ValueError("timestamps must be at least 2 finite times in one row.")
            if (np.diff(times) < 0).any() or times[-1] <= times[0]:
                raise ValueError("timestamps must rise from the first to the last.")
        elif not 0 < self.requests_per_s < math.inf:
            raise ValueError(
                f"requests_per_s is {self.requests_per_s}, must be greater than 0 and finite."
            )
        for name in ("burstiness", "output_cv"):
            value = getattr(self, name)
            if not 0 <= value <= MOST_SPREAD:
                raise ValueError(f"{name} is {value}, must be from 0 to {MOST_SPREAD:g}.")

    @property
    def rate(self) -> float:
        """Mean arrivals. [1/s]"""
        if self.timestamps is None:
            return self.requests_per_s
        return (len(self.timestamps) - 1) / float(self.timestamps[-1] - self.timestamps[0])


class Figure(NamedTuple):
    """A number and half of the width of its 95 % confidence interval, NaN where it has none."""

    value: float
    error: float = math.nan


UNKNOWN = Figure(math.nan)


@dataclass(frozen=True)
class Spread:
    """How a time is distributed over requests. [s]"""

    mean: Figure = UNKNOWN
    p50: Figure = UNKNOWN
    p95: Figure = UNKNOWN
    p99: Figure = UNKNOWN


NOTHING = Spread()


@dataclass(frozen=True)
class Served:
    """What requests see of a replica under a load; NaN where the method says nothing.

    Where the replica cannot keep up there is no steady state: waits and all that contain them are
    infinite.
    """

    load_share: float
    """Load over capacity."""
    capacity: float
    """Most requests per second that the replica keeps up with."""
    throughput: float
    """Requests finished per second in a steady state: the load, or the capacity if less."""
    wait: Spread = NOTHING
    """Until a slot is free, or until the batch starts. [s]"""
    ttft: Spread = NOTHING
    """From arrival to the first token; the whole latency where there are no tokens. [s]"""
    tpot: Spread = NOTHING
    """Per output token after the first, averaged over a request; NaN without tokens. [s]"""
    latency: Spread = NOTHING
    """From arrival to the last token. [s]"""
    waiting_share: Figure = UNKNOWN
    """Share of requests that wait at all for a slot or a batch."""
    running: Figure = UNKNOWN
    """Mean requests that hold a slot, or are in a batch that is worked on."""
    utilisation: Figure = UNKNOWN
    """Share of the time in which any request runs."""
    within_limits: Figure = UNKNOWN
    """Share of requests that meet all of ``slo_ttft``, ``slo_tpot`` and ``slo_latency``. The closed
    form takes the least of the three shares."""
    requests: int = 0
    """Requests that were simulated and count; 0 in closed form."""
    events: int = 0
    """Events of the simulation."""

    @property
    def keeps_up(self) -> bool:
        """Whether the load is below the capacity."""
        return self.load_share < 1.0


@dataclass(frozen=True)
class _Times:
    """Times of a replica by the number of requests in it: 1, 2, ... slots."""

    slots: int
    prompt: Array  # s for which one prompt occupies the replica
    token: Array  # s per token while no prompt is read
    pace: Array  # s per token in steady state, prompts of others included
    kept: float  # speed of decoding while a prompt is read, over that without
    start: float  # s before a request is looked at
    delay: float  # s from the end of the prompt's turn until it may decode
    lead: float  # tokens' time until the first token, beside others
    lead_alone: float  # the same where nobody else decodes
    steps: float  # mean tokens after the first
    handover: float  # s to move the cache from prefill to decoding; 0 where they are not apart
    servers: int  # prompts read at a time by a pool of its own; 0 where there is none
    rates: Array  # requests/s with so many in the replica


def simulate(
    inputs: Inputs,
    load: Load,
    *,
    batching: Batching = "continuous",
    prefill_servers: int = 0,
    requests: int = REQUESTS,
    seed: int = 0,
) -> Served:
    """Work off a random load request by request.

    `inputs` are of one configuration; ``inputs.concurrency`` is the most requests that run
    together, or the largest batch (or what memory allows, if that is less). With
    `prefill_servers` prompts are read by that many replicas of the same kind beside this one, and
    their keys and values are handed over; `load` is what arrives at the one that decodes. Same
    seed, same result.

    Raises
    ------
    ValueError
        If the batching does not fit the model, nothing fits in memory or a number is out of range.
    """
    if not LEAST_REQUESTS <= requests <= MOST_REQUESTS:
        raise ValueError(
            f"requests is {requests:,}, must be from {LEAST_REQUESTS:,} to {MOST_REQUESTS:,}."
        )
    _check(inputs, batching, prefill_servers)
    rng = np.random.default_rng(seed)
    arrivals = _arrivals(load, requests, rng)
    unit = _lengths(load.output_cv, len(arrivals), rng)
    if batching == "continuous":
        return _simulate_continuous(inputs, load, prefill_servers, arrivals, unit)
    return _simulate_batches(inputs, load, batching, arrivals, unit)


def closed_form(
    inputs: Inputs,
    load: Load,
    *,
    batching: Batching = "continuous",
    prefill_servers: int = 0,
) -> Served:
    """The same figures without drawing: for sliders, and as a second opinion.

    Only random (Poisson) arrivals have a closed form: for others waits and times are NaN.

    Raises
    ------
    ValueError
        If the batching does not fit the model or nothing fits in memory.
    """
    _check(inputs, batching, prefill_servers)
    if batching == "continuous":
        return _closed_continuous(inputs, load, prefill_servers)
    return _closed_batches(inputs, load, batching)


def capacity(
    inputs: Inputs,
    *,
    batching: Batching = "continuous",
    prefill_servers: int = 0,
    output_cv: float = OUTPUT_CV,
) -> float:
    """Most requests per second that one replica keeps up with, at any latency.

    Raises
    ------
    ValueError
        If the batching does not fit the model or nothing fits in memory.
    """
    _check(inputs, batching, prefill_servers)
    if batching == "continuous":
        return _continuous_capacity(_times(inputs, prefill_servers))
    lasting = _batch_times(inputs, output_cv).whole
    return len(lasting) / float(lasting[-1])


@dataclass(frozen=True)
class Profile:
    """A replica by the number of requests in it, 1, 2, ... slots: what a fleet of them is made of.

    Whole batches are taken for sharing: with so many requests in it the replica works on a batch of
    that size.
    """

    slots: int
    rates: Array
    """Requests finished per second."""
    first: Array
    """From a free slot to the first token, or to the whole answer without tokens. [s]"""
    pace: Array
    """Time per further token. [s]"""
    start: float
    """Before a request is looked at, or outside the replica. [s]"""
    steps: float
    """Mean tokens after the first that lengthen a request's own time."""

    @property
    def latency(self) -> Array:
        """From a free slot to the last token, of a request of mean length. [s]"""
        return np.arange(1.0, self.slots + 1.0) / self.rates


def profile(
    inputs: Inputs,
    *,
    batching: Batching = "continuous",
    prefill_servers: int = 0,
    output_cv: float = OUTPUT_CV,
) -> Profile:
    """What :func:`closed_form` knows of a replica, for studies of many.

    Raises
    ------
    ValueError
        If the batching does not fit the model or nothing fits in memory.
    """
    _check(inputs, batching, prefill_servers)
    if batching != "continuous":
        batch = _batch_times(inputs, output_cv)
        number = np.arange(1.0, len(batch.whole) + 1.0)
        filling = 0.0 if batching == "static" else 0.5 * float(inputs.batch_wait)
        first = batch.first if inputs.is_llm else batch.whole
        return Profile(len(number), number / batch.whole, first, batch.token, filling, 0.0)
    times = _times(inputs, prefill_servers)
    number = np.arange(1.0, times.slots + 1.0)
    first = number / times.rates - times.steps * times.pace
    rates, start = times.rates, times.start
    if times.servers:
        # Prompts are read before, elsewhere and no faster than that.
        most = times.servers / float(times.prompt[0])
        rates = np.minimum(rates, most)
        start += float(times.prompt[0]) + times.delay + times.handover
        first = np.maximum(first, 0.0)
    return Profile(times.slots, rates, first, times.pace, start, times.steps)


def _check(inputs: Inputs, batching: Batching, prefill_servers: int) -> None:
    if batching not in ("continuous", "static", "dynamic"):
        raise ValueError(f"batching is {batching!r}, must be continuous, static or dynamic.")
    if batching == "continuous" and not inputs.is_llm:
        raise ValueError(
            "A model without tokens runs in batches: batching must be static or dynamic."
        )
    if prefill_servers < 0:
        raise ValueError(f"prefill_servers is {prefill_servers}, must be 0 or more.")
    if prefill_servers and batching != "continuous":
        raise ValueError("Prefill apart from decoding needs continuous batching.")


# Times of the replica ----------------------------------------------------------------------------


def _slots(inputs: Inputs) -> int:
    """Requests that run together: what is asked for, or what memory allows."""
    speed = performance(inputs)
    if speed.obstacles:
        raise ValueError("The model, or one request of it, does not fit in memory or context.")
    return max(int(min(inputs.concurrency, speed.max_concurrency)), 1)


def _decode_steps(inputs: Inputs) -> float:
    return max(float(inputs.output_tokens) - 1.0, 0.0) if inputs.is_llm else 0.0


@lru_cache(maxsize=KEPT_TABLES)
def _times(inputs: Inputs, prefill_servers: int) -> _Times:
    # What a closed loop adds to the first token (all requests begin at once, and prompts that
    # are waited for) and to the tokens (prompts of others) comes from the queue itself here.
    alone = replace(
        inputs, ttft_burst=0.0, ttft_queue=0.0, prefill_interference=0.0,
        whole_batches=0.0, full_batches=0.0, disaggregated=0.0,
    )  # fmt: skip
    slots = _slots(alone)
    speed = performance(replace(alone, concurrency=np.arange(1.0, slots + 1.0)))
    step, ttft, token = (
        np.asarray(column) for column in (speed.decode_step_time, speed.ttft, speed.tpot)
    )
    occupied = np.asarray(speed.prefill_time) / float(inputs.pipeline_parallel)
    # A pool of prefill servers has every copy of the attention as a server of its own.
    copies, steps, start = float(inputs.data_parallel), _decode_steps(inputs), inputs.ttft_start
    if prefill_servers:
        apart = performance(
            replace(alone, concurrency=1.0, disaggregated=1.0, prefill_replicas=prefill_servers)
        )
        prompt = occupied + inputs.host_time
        rates, pace = queueing.flow_equivalent_rates(
            np.zeros_like(prompt), token, max(steps, LEAST_STEPS), 0.0, 0.0
        )
        return _Times(
            slots=slots,
            prompt=prompt,
            token=token,
            pace=pace,
            kept=1.0,
            start=float(start),
            delay=max(float(apart.ttft - start - prompt[0]), 0.0),
            lead=0.0,
            lead_alone=0.0,
            steps=steps,
            handover=float(apart.tpot - token[0]) * max(steps, 1.0),
            servers=prefill_servers * int(copies),
            rates=rates,
        )
    prompt = (occupied + inputs.host_time) / copies
    blocked = inputs.prefill_interference * occupied[0] / (occupied[0] + inputs.host_time)
    blocked = min(float(blocked), 1.0)
    # What is left of a single request's time to first token.
    delay = max(float(ttft[0] - start - inputs.ttft_step * step[0] - prompt[0]), 0.0)
    # Each chunk of a prompt shares its step with what others write, if there are any.
    new_tokens = inputs.input_tokens * (1.0 - inputs.cached_input_share)
    chunks = batching_formulas.prompt_passes(new_tokens, inputs.prefill_chunk)
    per_step = step[0] / token[0]
    lead = float((inputs.ttft_step + chunks - 1.0) * per_step)
    rates, pace = queueing.flow_equivalent_rates(prompt, token, lead + steps, delay, blocked)
    return _Times(
        slots=slots,
        prompt=prompt,
        token=token,
        pace=pace,
        kept=1.0 - blocked,
        start=float(start),
        delay=delay,
        lead=lead,
        lead_alone=float(inputs.ttft_step * per_step),
        steps=steps,
        handover=0.0,
        servers=0,
        rates=rates,
    )


class _BatchTimes(NamedTuple):
    """Times of batches of 1, 2, ... requests. [s]"""

    first: Array
    token: Array
    whole: Array  # mean, to the longest answer
    whole_sd: Array


@lru_cache(maxsize=KEPT_TABLES)
def _batch_times(inputs: Inputs, output_cv: float) -> _BatchTimes:
    together = replace(
        inputs, output_cv=output_cv, whole_batches=float(inputs.is_llm), full_batches=0.0,
        disaggregated=0.0,
    )  # fmt: skip
    size = np.arange(1.0, _slots(together) + 1.0)
    speed = performance(replace(together, concurrency=size))
    if not inputs.is_llm:
        lasting = np.asarray(speed.decode_step_time)
        return _BatchTimes(lasting, np.zeros_like(lasting), lasting, np.zeros_like(lasting))
    first, token, whole = (
        np.asarray(column) for column in (speed.ttft, speed.tpot, speed.latency_mean)
    )
    # The square of a log-normal length is log-normal too, so the longest has its spread from it.
    longest = batching_formulas.longest_of(1.0, output_cv, size)
    square = 1.0 + output_cv**2
    squared = batching_formulas.longest_of(square, math.sqrt(square**4 - 1.0), size)
    sd = np.sqrt(np.maximum(squared - np.square(longest), 0.0))
    return _BatchTimes(first, token, whole, inputs.output_tokens * token * sd)


def _continuous_capacity(times: _Times) -> float:
    most = float(times.rates[-1])
    if times.servers:
        most = min(most, times.servers / float(times.prompt[0]))
    return most


# Drawing -----------------------------------------------------------------------------------------


def _arrivals(load: Load, requests: int, rng: np.random.Generator) -> Array:
    if load.timestamps is not None:
        recorded: Array = np.array(load.timestamps, dtype=float)
        recorded -= recorded[0]
        return recorded
    mean = 1.0 / load.requests_per_s
    if load.burstiness == 0.0:
        return mean * np.arange(1.0, requests + 1.0)
    shape = load.burstiness**-2.0
    return np.cumsum(rng.gamma(shape, mean / shape, requests))


def _lengths(output_cv: float, count: int, rng: np.random.Generator) -> Array:
    """Lengths of answers over their mean."""
    log_sd = math.sqrt(math.log1p(output_cv**2))
    return rng.lognormal(-0.5 * log_sd**2, log_sd, count)


# Simulation --------------------------------------------------------------------------------------


def _simulate_continuous(
    inputs: Inputs, load: Load, prefill_servers: int, arrivals: Array, unit: Array
) -> Served:
    from cpi_model.studies import events

    times = _times(inputs, prefill_servers)
    most = _continuous_capacity(times)
    if load.timestamps is None and load.rate >= most:
        return _overloaded(inputs, load, most, times.slots, float(times.pace[-1]))
    steps = unit * times.steps
    prompt, step = _from_zero(times.prompt), _from_zero(times.token)
    # What happens before a request is looked at moves all of them alike.
    ready = arrivals + times.start
    if times.servers:
        # The first token is there when its prompt has been read; the rest follows elsewhere.
        own = float(times.prompt[0])
        read = events.first_come_first_served(ready, own, times.servers)
        shown = read + times.delay
        entered = shown + times.handover
        taken, _, done, areas, count = events.continuous(
            entered, steps, np.zeros_like(prompt), step, 1.0, 0.0, 0.0, 0.0
        )
        first, wait = shown, (read - own - ready) + (taken - entered)
    else:
        taken, first, done, areas, count = events.continuous(
            ready, steps, prompt, step, times.kept, times.delay, times.lead, times.lead_alone
        )
        wait = taken - ready
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = np.where(steps > 0.0, (done - first) / steps, np.nan)
    return _measured(
        inputs, load, most, times.slots, arrivals, taken, wait, first, done, tpot,
        float(areas[1] / done.max()), count,
    )  # fmt: skip


def _simulate_batches(
    inputs: Inputs, load: Load, batching: Batching, arrivals: Array, unit: Array
) -> Served:
    from cpi_model.studies import events

    times = _batch_times(inputs, load.output_cv)
    # Lengths count from the first token here, for it is the longest that matters.
    steps, slots = np.maximum(inputs.output_tokens * unit - 1.0, 0.0), len(times.whole)
    most = slots / float(times.whole[-1])
    if load.timestamps is None and load.rate >= most:
        return _overloaded(inputs, load, most, slots, float(times.token[-1]))
    longest_wait = math.inf if batching == "static" else float(inputs.batch_wait)
    taken, first, done, areas, count = events.batches(
        arrivals, steps, _from_zero(times.first), _from_zero(times.token), longest_wait
    )
    whole = ~np.isnan(done)
    if not whole.any():
        raise ValueError(f"{len(arrivals):,} requests do not fill one batch of {slots:,}.")
    size = int(whole.sum())
    taken, first, done, arrivals = taken[:size], first[:size], done[:size], arrivals[:size]
    sizes = np.diff(np.append(np.flatnonzero(np.diff(taken, prepend=-1.0)), size))
    pace = np.repeat(times.token[sizes - 1], sizes)
    tpot = pace if inputs.is_llm else np.full(size, np.nan)
    first = first if inputs.is_llm else done
    return _measured(
        inputs, load, most, slots, arrivals, taken, taken - arrivals, first, done, tpot,
        float(areas[1] / done[-1]), count,
    )  # fmt: skip


def _from_zero(by_number: Array) -> Array:
    """Figures for 0, 1, 2, ... requests; what stands for none is never used."""
    return np.concatenate([by_number[:1], by_number])


def _served(load: Load, most: float) -> Served:
    """What is known of a load before anything is worked out."""
    return Served(load.rate / most, most, min(load.rate, most))


def _measured(
    inputs: Inputs,
    load: Load,
    most: float,
    slots: int,
    arrivals: Array,
    taken: Array,
    wait: Array,
    first: Array,
    done: Array,
    tpot: Array,
    busy: float,
    events: int,
) -> Served:
    """Figures of the requests between start and end, with errors from batch means."""
    begin, end = 0, len(arrivals)
    if load.timestamps is None:
        # An empty replica at the start and nobody behind the last ones are no steady state.
        begin, end = int(WARM_UP * end), end - min(slots, int(WARM_UP * end))
    parts = BATCHES if end - begin >= 2 * BATCHES else 1
    begin += (end - begin) % parts
    rate = (end - 1 - begin) / max(float(arrivals[end - 1] - arrivals[begin]), 1e-300)
    arrivals, taken, wait, first, done, tpot = (
        column[begin:end] for column in (arrivals, taken, wait, first, done, tpot)
    )
    ttft, latency = first - arrivals, done - arrivals
    good = latency <= inputs.slo_latency
    if inputs.is_llm:
        good &= (ttft <= inputs.slo_ttft) & ~(tpot > inputs.slo_tpot)
    held = _figure(done - taken, parts)
    return replace(
        _served(load, most),
        wait=_spread(wait, parts),
        ttft=_spread(ttft, parts),
        tpot=_spread(tpot, parts),
        latency=_spread(latency, parts),
        waiting_share=_figure((wait > 1e-9).astype(float), parts),
        running=Figure(rate * held.value, rate * held.error),
        utilisation=Figure(busy),
        within_limits=_figure(good.astype(float), parts),
        requests=len(latency),
        events=events,
    )


def _figure(values: Array, parts: int) -> Figure:
    return _with_error(float(values.mean()), values.reshape(parts, -1).mean(axis=1))


def _spread(values: Array, parts: int) -> Spread:
    if np.isnan(values).any():
        return Spread()
    whole = np.quantile(values, QUANTILES)
    each = np.quantile(values.reshape(parts, -1), QUANTILES, axis=1)
    quantiles = (_with_error(float(q), part) for q, part in zip(whole, each, strict=True))
    return Spread(_figure(values, parts), *quantiles)


def _with_error(value: float, parts: Array) -> Figure:
    if len(parts) < 2:
        return Figure(value)
    return Figure(value, T_95 * float(parts.std(ddof=1)) / math.sqrt(len(parts)))


# Closed form -------------------------------------------------------------------------------------

STATES = 24
"""Numbers of requests, put together, whose pace is told apart."""
SLOT_WAITS, TURN_WAITS = 28, 7
"""Parts of an exponential wait for a slot, and for the turn of a prompt."""
LONGEST_ROW = 8
"""Prompts in a row, after which the rest is left out."""
LONGEST_WAIT = 7.0
"""Mean waits after which the rest is put together."""
MET_SPREAD = math.sqrt(2.0 / math.e)
"""Part of the spread of the pace that is left when it is averaged over a request. A number of
requests that is correlated over a request's time as exp(-t) has it (an approximation)."""


class _Open(NamedTuple):
    """Means of a replica that random arrivals share."""

    met: Array  # share of requests that meet 1, 2, ... slots taken
    running: float
    busy: float
    waiting: float  # share of requests that wait for a slot
    slot_wait: float  # s
    behind: float  # share of prompts that wait for others
    prompt_wait: float  # s
    row_wait: float  # s for which tokens stand still behind the prompts that have gathered
    prompt: float  # s for which a prompt occupies its server
    token: float  # s per token while no prompt is read
    pace: float  # s per token
    lead: float  # tokens' time until the first token


def _closed_continuous(inputs: Inputs, load: Load, prefill_servers: int) -> Served:
    times = _times(inputs, prefill_servers)
    most, rate = _continuous_capacity(times), load.rate
    if rate >= most:
        return _overloaded(inputs, load, most, times.slots, float(times.pace[-1]))
    if load.burstiness != 1.0 or load.timestamps is not None:
        return _served(load, most)
    x = _open(times, rate)
    ttft = times.start + x.prompt_wait + x.prompt + times.delay + x.row_wait + x.lead * x.pace
    wait, waiting, latency = x.slot_wait, x.waiting, times.start + x.slot_wait + x.running / rate
    if times.servers:
        wait, waiting = wait + x.prompt_wait, 1.0 - (1.0 - waiting) * (1.0 - x.behind)
        latency += ttft - times.start + times.handover
    else:
        ttft += x.slot_wait
    waits, first, token, whole = _distributions(times, x, load.output_cv)
    pace = x.pace
    if times.servers and times.steps:
        # Between the first token and the second; the mean of 1/length is that of a log-normal.
        moved = (times.handover + x.slot_wait) / times.steps
        pace += moved * (1.0 + load.output_cv**2)
        token = token[0] + moved, token[1]
    within = [_share_within(float(inputs.slo_ttft), *first)]
    within.append(_share_within(float(inputs.slo_latency), *whole))
    if times.steps:
        within.append(_share_within(float(inputs.slo_tpot), *token))
    return replace(
        _served(load, most),
        wait=_approximate(wait, *waits),
        ttft=_approximate(ttft, *first),
        tpot=_approximate(pace, *token) if times.steps else NOTHING,
        latency=_approximate(latency, *whole),
        waiting_share=Figure(waiting),
        running=Figure(x.running),
        utilisation=Figure(x.busy),
        within_limits=Figure(min(within)),
    )


def _open(times: _Times, rate: float) -> _Open:
    rates = times.rates
    shares, met = queueing.state_shares(rate, rates), queueing.pace_weights(rate, rates)
    running, prompt = float(queueing.mean_running(rate, rates)), float(met @ times.prompt)
    if times.servers:
        behind = float(queueing.erlang_c(rate * prompt, float(times.servers)))
        prompt_wait = float(queueing.constant_service_wait(rate, prompt, times.servers))
        row_wait = 0.0
    else:
        behind = min(rate * prompt, 1.0)
        # Slots limit how many prompts can wait.
        alone = float(queueing.single_server_wait(rate, prompt, 0.0))
        prompt_wait = min(alone, running / rate)
        # Tokens stand still while prompts are read that came during the own one.
        gathered = float(queueing.gathered_work(behind, prompt_wait, times.delay))
        row_wait = (1.0 - times.kept) * min(gathered, times.slots * prompt)
    return _Open(
        met=met,
        running=running + rate * row_wait,
        busy=1.0 - float(shares[0]),
        waiting=float(shares[-1]),
        slot_wait=float(queueing.slot_wait(rate, rates)),
        behind=behind,
        prompt_wait=prompt_wait,
        row_wait=row_wait,
        prompt=prompt,
        token=float(met @ times.token),
        pace=float(met @ times.pace),
        lead=float(shares[0] * times.lead_alone + (1.0 - shares[0]) * times.lead),
    )


Distribution = tuple[Array, Array]
"""Values, and how often each occurs."""


def _distributions(
    times: _Times, x: _Open, output_cv: float
) -> tuple[Distribution, Distribution, Distribution, Distribution]:
    """Wait, first token, time per token and whole time, approximately.

    A request keeps the pace that it meets, and its waits for a slot and for prompts in front are
    independent of it, but that those who wait for a slot meet a full replica.
    """
    shares, seen = _merged(x.met, x.pace + MET_SPREAD * (times.pace - x.pace))
    free = shares.copy()
    free[-1] = max(free[-1] - x.waiting, 0.0)
    slot, slot_share = _waits(x.waiting, x.slot_wait, SLOT_WAITS)
    turn, turn_share = _waits(x.behind, x.prompt_wait, TURN_WAITS)
    # All combinations of pace or wait for a slot, and wait for prompts.
    pace = np.repeat(np.append(seen, np.full(len(slot) - 1, seen[-1])), len(turn))
    slots = np.repeat(np.append(np.zeros(len(seen)), slot[1:]), len(turn))
    turns = np.tile(turn, len(seen) + len(slot) - 1)
    weight = np.outer(np.append(free, slot_share[1:]), turn_share).ravel()

    before = times.start + turns + x.prompt + times.delay
    waits = slots + turns if times.servers else slots
    first = before if times.servers else before + slots
    # Tokens before the one that is shown first stand still for prompts, which come in rows: one
    # after another for as long as prompts wait for each other.
    stall = (1.0 - times.kept) * x.prompt
    between = (x.lead * (x.pace - x.token) + x.row_wait) / stall if stall else 0.0
    row = min(between * (1.0 - x.behind), 1.0)
    number = np.arange(float(LONGEST_ROW))
    stalled = row * (1.0 - x.behind) * x.behind ** np.maximum(number - 1.0, 0.0)
    stalled[0] = 1.0 - row
    shown = queueing.shared_times(
        np.add.outer(first, stall * number).ravel(),
        np.repeat(pace * x.token / x.pace, len(number)),
        np.outer(weight, stalled / stalled.sum()).ravel(),
        x.lead,
        0.0,
    )
    whole = queueing.shared_times(
        before + slots + times.handover + x.row_wait + x.lead * pace,
        pace,
        weight,
        times.steps,
        output_cv,
    )
    # A short answer meets few prompts, or many: the time they take per token varies.
    still = x.pace - x.token
    met = times.steps * still / stall if stall else 0.0
    rows = (1.0 + x.behind) / max(1.0 - x.behind, 1e-9)
    spread = math.sqrt(rows * (1.0 + output_cv**2) / met) if met else 0.0
    part = seen * still / x.pace
    token = queueing.shared_times(seen - part, part, shares, 1.0, min(spread, MOST_SPREAD))
    return (waits, weight), shown, token, whole


def _merged(weights: Array, pace: Array) -> tuple[Array, Array]:
    """At most so many states, neighbours put together."""
    # Seldom met states at the ends would use up groups; the middle is what counts.
    known = np.flatnonzero(weights > 1e-5)
    low, high = int(known[0]), int(known[-1]) + 1
    width = max(-(-(high - low) // STATES), 1)
    starts = np.arange(low, high, width)
    mass = np.add.reduceat(weights[:high], starts)
    return mass / mass.sum(), np.add.reduceat((weights * pace)[:high], starts) / mass


def _waits(share: float, mean: float, parts: int) -> tuple[Array, Array]:
    """No wait, and an exponential one for a share of requests, at a few points."""
    edges = np.linspace(0.0, LONGEST_WAIT, parts + 1)
    chance = -np.diff(np.append(np.exp(-edges[:-1]), 0.0))
    middle = 0.5 * (edges[1:] + edges[:-1])
    points = middle / (chance @ middle) * (mean / share if share else 0.0)
    return np.append(0.0, points), np.append(1.0 - share, share * chance)


def _approximate(mean: float, values: Array, weights: Array) -> Spread:
    found = np.quantile(values, QUANTILES, weights=weights, method="inverted_cdf")
    return Spread(Figure(mean), *(Figure(float(value)) for value in found))


def _share_within(limit: float, values: Array, weights: Array) -> float:
    """Share of the times that keep a limit."""
    return float(weights[values <= limit].sum() / weights.sum())


def _closed_batches(inputs: Inputs, load: Load, batching: Batching) -> Served:
    times = _batch_times(inputs, load.output_cv)
    slots, rate = len(times.whole), load.rate
    most = slots / float(times.whole[-1])
    if rate >= most:
        return _overloaded(inputs, load, most, slots, float(times.token[-1]))
    if load.burstiness != 1.0 or load.timestamps is not None:
        return _served(load, most)
    longest_wait = math.inf if batching == "static" else float(inputs.batch_wait)
    wait, busy, shares = queueing.batch_queue(rate, times.whole, times.whole_sd, longest_wait)
    of_requests = shares * np.arange(1.0, len(shares) + 1.0)
    of_requests /= of_requests.sum()
    whole = wait + float(of_requests @ times.whole)
    first = wait + float(of_requests @ times.first) if inputs.is_llm else whole
    pace = float(of_requests @ times.token) if inputs.is_llm else math.nan
    return replace(
        _served(load, most),
        wait=Spread(Figure(wait)),
        ttft=Spread(Figure(first)),
        tpot=Spread(Figure(pace)),
        latency=Spread(Figure(whole)),
        running=Figure(rate * (whole - wait)),
        utilisation=Figure(busy),
    )


def _overloaded(inputs: Inputs, load: Load, most: float, slots: int, pace: float) -> Served:
    """No steady state: the queue grows for ever."""
    never = Figure(math.inf)
    endless = Spread(never, never, never, never)
    return replace(
        _served(load, most),
        wait=endless,
        ttft=endless,
        tpot=Spread(*(Figure(pace),) * 4) if inputs.is_llm else NOTHING,
        latency=endless,
        waiting_share=Figure(1.0),
        running=Figure(float(slots)),
        utilisation=Figure(1.0),
        within_limits=Figure(0.0),
    )
