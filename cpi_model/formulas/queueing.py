"""Waiting: queues before servers, replicas that requests share, and batches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from cpi_model import checks
from cpi_model.units import Array, Numeric


def erlang_c(offered_load: Numeric, servers: Numeric) -> Numeric:
    r"""Share of requests that find every server busy (Erlang C).

    Parameters
    ----------
    offered_load : numeric
        Arrival rate times mean service time: servers busy on average. [1]
    servers : numeric
        Servers of one queue. [1]

    Returns
    -------
    share : numeric
        Share of requests that wait; 1 where the load is not below the servers. [1]

    Raises
    ------
    ValueError
        If `offered_load` is not positive or `servers` is below 1.

    Notes
    -----
    With Erlang B, which is a quotient of Poisson probabilities and therefore stable for any
    number of servers,

    .. math:: B = \frac{a^c e^{-a} / c!}{\sum_{k \le c} a^k e^{-a} / k!}, \qquad
       C = \frac{B}{1 - \rho\,(1 - B)}, \qquad \rho = a / c

    References
    ----------
    .. [1] L. Kleinrock, "Queueing Systems", vol. 1, ch. 3, 1975.

    Examples
    --------
    >>> round(float(erlang_c(6.4, 8.0)), 5)
    0.45764
    """
    checks.positive(offered_load=offered_load)
    checks.at_least(1, servers=servers)
    load = np.minimum(np.asarray(offered_load, dtype=float) / servers, 1.0)
    busy = load * servers
    at_most = special.gammaincc(np.asarray(servers) + 1.0, busy)
    exactly = np.exp(servers * np.log(busy) - busy - special.gammaln(np.asarray(servers) + 1.0))
    blocked = exactly / at_most
    share: Numeric = np.minimum(blocked / (1.0 - load * (1.0 - blocked)), 1.0)
    return share


def multi_server_wait(arrival_rate: Numeric, service_time: Numeric, servers: Numeric) -> Numeric:
    r"""Mean wait before servers with exponential service times (M/M/c).

    Parameters
    ----------
    arrival_rate : numeric
        Requests that arrive at random. [1/s]
    service_time : numeric
        Mean time of one request on one server. [s]
    servers : numeric
        Servers of one queue. [1]

    Returns
    -------
    wait : numeric
        Mean time before service, infinite where the load is not below the servers. [s]

    Raises
    ------
    ValueError
        If a rate or time is not positive or `servers` is below 1.

    Notes
    -----
    .. math:: W_q = \frac{C\,s}{c\,(1 - \rho)}

    References
    ----------
    .. [1] L. Kleinrock, "Queueing Systems", vol. 1, ch. 3, 1975.

    Examples
    --------
    >>> round(float(multi_server_wait(6.4, 1.0, 8.0)), 5)
    0.28603
    """
    checks.positive(arrival_rate=arrival_rate, service_time=service_time)
    offered = np.asarray(arrival_rate, dtype=float) * service_time
    left = np.maximum(servers - offered, 0.0)
    with np.errstate(divide="ignore"):
        wait: Numeric = erlang_c(offered, servers) * service_time / left
    return wait


def single_server_wait(
    arrival_rate: Numeric, service_time: Numeric, service_cv: Numeric
) -> Numeric:
    r"""Mean wait before one server for any spread of service times (M/G/1).

    Parameters
    ----------
    arrival_rate : numeric
        Requests that arrive at random. [1/s]
    service_time : numeric
        Mean time of one request, may be zero. [s]
    service_cv : numeric
        Standard deviation of that time over its mean: 0 when it is constant. [1]

    Returns
    -------
    wait : numeric
        Mean time before service, infinite where the server cannot keep up. [s]

    Raises
    ------
    ValueError
        If `arrival_rate` is not positive or another argument is negative.

    Notes
    -----
    Pollaczek and Khinchine:

    .. math:: W_q = \frac{\rho\,s\,(1 + c_s^2)}{2\,(1 - \rho)}, \qquad \rho = \lambda s

    References
    ----------
    .. [1] L. Kleinrock, "Queueing Systems", vol. 1, ch. 5, 1975.

    Examples
    --------
    >>> float(single_server_wait(0.5, 1.0, 0.0)), float(single_server_wait(0.5, 1.0, 1.0))
    (0.5, 1.0)
    """
    checks.positive(arrival_rate=arrival_rate)
    checks.not_negative(service_time=service_time, service_cv=service_cv)
    busy = np.asarray(arrival_rate, dtype=float) * service_time
    left = np.maximum(1.0 - busy, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        wait: Numeric = busy * service_time * (1.0 + np.square(service_cv)) / (2.0 * left)
    return wait


def gathered_work(busy_share: Numeric, mean_wait: Numeric, delay: Numeric) -> Numeric:
    r"""Time for which one server with constant times stays busy after a request has left it.

    Parameters
    ----------
    busy_share : numeric
        Share of the time in which the server works. [1]
    mean_wait : numeric
        Mean wait before it. [s]
    delay : numeric
        Time since the request left. [s]

    Returns
    -------
    time : numeric
        Mean time until it is idle, further arrivals included; infinite where it always works. [s]

    Raises
    ------
    ValueError
        If `busy_share` is outside 0 to 1 or a time is negative.

    Notes
    -----
    A random moment finds the work :math:`W` (the mean wait, by PASTA). Behind a request that
    leaves are those that came while it waited and was served, none of them begun:

    .. math:: V_0 = s\,\lambda\,(W + s) = (2 - \rho)\,W, \qquad
       B_t = \frac{W + (V_0 - W)\,e^{-t / \tau}}{1 - \rho}, \qquad
       \tau = \frac{V_0}{\rho\,(1 - \rho)}

    with a busy period's mean :math:`\tau`, after which what was left behind is forgotten
    (an approximation for :math:`t > 0`).

    References
    ----------
    .. [1] L. Kleinrock, "Queueing Systems", vol. 1, ch. 5 (busy period, queue left behind), 1975.

    Examples
    --------
    Half of the time busy with requests of 1 s: those left behind are half a request and a quarter,
    and while they are served half as many come again, and again.

    >>> float(gathered_work(0.5, 0.5, 0.0))
    1.5
    """
    checks.share(busy_share=busy_share)
    checks.not_negative(mean_wait=mean_wait, delay=delay)
    busy = np.asarray(busy_share, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        left_behind = (2.0 - busy) * mean_wait
        period = left_behind / (busy * (1.0 - busy))
        found = mean_wait + (left_behind - mean_wait) * np.exp(-delay / period)
        time: Numeric = np.where(busy > 0.0, found / (1.0 - busy), 0.0)
    return time


def wait_quantile(waiting_share: Numeric, mean_wait: Numeric, share: Numeric) -> Numeric:
    r"""Quantile of a wait that is exponential for those who wait at all.

    Parameters
    ----------
    waiting_share : numeric
        Share of requests that wait. [1]
    mean_wait : numeric
        Mean over all requests, those that do not wait included. [s]
    share : numeric
        Share of requests that wait no longer: 0.99 for the 99th percentile. [1]

    Returns
    -------
    wait : numeric
        Zero where fewer requests wait than lie above the quantile. [s]

    Raises
    ------
    ValueError
        If a share is outside 0 to 1 or `mean_wait` is negative.

    Notes
    -----
    .. math:: P(W > t) = C\,e^{-C t / \bar W}, \qquad
       t_q = \max\left(0, \frac{\bar W}{C} \ln \frac{C}{1 - q}\right)

    Exact for M/M/c. For one server with constant times (M/D/1) share and mean are exact and the
    tail is the exponential one that has them.

    References
    ----------
    .. [1] L. Kleinrock, "Queueing Systems", vol. 1, ch. 3, 1975.

    Examples
    --------
    One server at load 0.9: all times in the system are exponential, the wait is that less the
    service.

    >>> round(float(wait_quantile(0.9, 9.0, 0.99)), 3)
    44.998
    """
    checks.share(waiting_share=waiting_share, share=share)
    checks.not_negative(mean_wait=mean_wait)
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.log(np.asarray(waiting_share, dtype=float) / (1.0 - np.asarray(share)))
        longer = np.where(above > 0.0, mean_wait / np.asarray(waiting_share) * above, 0.0)
    wait: Numeric = longer
    return wait


def state_shares(arrival_rate: Numeric, service_rates: Array) -> Array:
    r"""Share of the time with so many requests in a replica that they share.

    Parameters
    ----------
    arrival_rate : numeric
        Requests that arrive at random. [1/s]
    service_rates : array, shape (slots,)
        Requests finished per second with 1, 2, ... slots taken. [1/s]

    Returns
    -------
    shares : array, shape (..., slots + 1)
        With 0, 1, ... requests; the last is the share with all slots taken, whether more wait or
        not: by PASTA also the share of requests that wait for a slot. All of the time where the
        replica cannot keep up. [1]

    Raises
    ------
    ValueError
        If a rate is not positive.

    Notes
    -----
    .. math:: \pi_n \propto \frac{\lambda^n}{\prod_{k \le n} \varphi_k}, \qquad
       P(N \ge B) = \frac{\pi_B}{1 - \lambda / \varphi_B}

    As long as all are served at once the number in the replica depends on the mean length of
    requests only, not on their spread; of those that wait for a slot this holds approximately.

    References
    ----------
    .. [1] J. W. Cohen, "The multiple phase service network with generalized processor sharing",
       Acta Informatica 12, 1979.

    Examples
    --------
    One server, and two:

    >>> state_shares(0.5, np.array([1.0]))
    array([0.5, 0.5])
    >>> state_shares(1.0, np.array([1.0, 2.0]))
    array([0.33333333, 0.33333333, 0.33333333])
    """
    checks.positive(arrival_rate=arrival_rate, service_rates=service_rates)
    arrivals = np.asarray(arrival_rate, dtype=float)[..., None]
    steps = np.log(arrivals) - np.log(service_rates)
    last = arrivals / service_rates[-1]
    keeps_up = last < 1.0
    logs = np.concatenate([np.zeros_like(steps[..., :1]), np.cumsum(steps, axis=-1)], axis=-1)
    logs[..., -1:] -= np.log1p(-np.where(keeps_up, last, 0.0))
    weights = np.exp(logs - logs.max(axis=-1, keepdims=True))
    shares = weights / weights.sum(axis=-1, keepdims=True)
    full = np.zeros_like(shares)
    full[..., -1] = 1.0
    settled: Array = np.where(keeps_up, shares, full)
    return settled


def slot_wait(arrival_rate: Numeric, service_rates: Array) -> Numeric:
    r"""Mean wait for a slot of a replica that requests share.

    Parameters
    ----------
    arrival_rate : numeric
        Requests that arrive at random. [1/s]
    service_rates : array, shape (slots,)
        Requests finished per second with 1, 2, ... slots taken. [1/s]

    Returns
    -------
    wait : numeric
        Mean over all requests, infinite where the replica cannot keep up. [s]

    Raises
    ------
    ValueError
        If a rate is not positive.

    Notes
    -----
    With all slots taken the number in the queue is geometric:

    .. math:: W_q = \frac{P(N \ge B)}{\varphi_B - \lambda}

    References
    ----------
    .. [1] L. Kleinrock, "Queueing Systems", vol. 1, ch. 3, 1975.

    Examples
    --------
    >>> float(slot_wait(0.5, np.array([1.0])))
    1.0
    """
    waiting = state_shares(arrival_rate, service_rates)[..., -1]
    with np.errstate(divide="ignore"):
        wait: Numeric = waiting / np.maximum(service_rates[-1] - np.asarray(arrival_rate), 0.0)
    return wait


def mean_running(arrival_rate: Numeric, service_rates: Array) -> Numeric:
    r"""Mean number of slots taken in a replica that requests share.

    Parameters
    ----------
    arrival_rate : numeric
        Requests that arrive at random. [1/s]
    service_rates : array, shape (slots,)
        Requests finished per second with 1, 2, ... slots taken. [1/s]

    Returns
    -------
    running : numeric
        All slots where the replica cannot keep up. By Little's law the mean time from taking a
        slot to the end is this over the arrival rate. [1]

    Raises
    ------
    ValueError
        If a rate is not positive.

    Notes
    -----
    .. math:: \bar N = \sum_n \min(n, B)\,\pi_n

    References
    ----------
    .. [1] J. D. C. Little, "A Proof for the Queuing Formula L = λW", Operations Research 9,
       1961.

    Examples
    --------
    As many servers as needed: the offered load.

    >>> round(float(mean_running(3.0, np.arange(1.0, 101.0))), 9)
    3.0
    """
    shares = state_shares(arrival_rate, service_rates)
    running: Numeric = shares @ np.arange(shares.shape[-1])
    return running


def pace_weights(arrival_rate: Numeric, service_rates: Array) -> Array:
    r"""Share of all work that is done with so many slots taken.

    Parameters
    ----------
    arrival_rate : numeric
        Requests that arrive at random. [1/s]
    service_rates : array, shape (slots,)
        Requests finished per second with 1, 2, ... slots taken. [1/s]

    Returns
    -------
    weights : array, shape (..., slots)
        With 1, 2, ... slots taken: how often a token sees that pace. [1]

    Raises
    ------
    ValueError
        If a rate is not positive.

    Notes
    -----
    .. math:: w_n = \frac{\varphi_n\,\pi_n}{\lambda} = \pi_{n-1} \; (n < B), \qquad
       w_B = 1 - \sum_{n < B} w_n

    A request that joins finds the others as the time average has them, and is one more.

    References
    ----------
    .. [1] F. P. Kelly, "Reversibility and Stochastic Networks", ch. 3, 1979.

    Examples
    --------
    >>> pace_weights(1.0, np.array([1.0, 2.0]))
    array([0.33333333, 0.66666667])
    """
    shares = state_shares(arrival_rate, service_rates)
    weights = shares[..., :-1].copy()
    weights[..., -1] += shares[..., -1]
    return weights


HALVINGS = 45
"""Times that the interval of a throughput is halved."""


def flow_equivalent_rates(
    prompt_time: Array, token_time: Array, tokens: float, other_time: float, blocked_share: float
) -> tuple[Array, Array]:
    r"""Requests finished per second by a replica that always has so many of them.

    Prompts are read one after another; meanwhile tokens come more slowly.

    Parameters
    ----------
    prompt_time : array, shape (slots,)
        Time for which one prompt occupies the replica, with 1, 2, ... requests. [s]
    token_time : array, shape (slots,)
        Time per token of a request while no prompt is read. [s]
    tokens : float
        Tokens of a request. [1]
    other_time : float
        Time of a request that is neither. [s]
    blocked_share : float
        Share of a prompt's time for which tokens stand still. [1]

    Returns
    -------
    rates : array, shape (slots,)
        Throughput with 1, 2, ... requests. [1/s]
    paces : array, shape (slots,)
        Time per token of a request, prompts of others included. [s]

    Raises
    ------
    ValueError
        If a time or `tokens` is negative, a token's time is not positive or `blocked_share` is
        outside 0 to 1.

    Notes
    -----
    Mean value analysis: a request meets as many others as there are on average without itself, by
    proportion. Prompt times are constant: of those in front, the one that is being read is half
    done. With the share :math:`U` of the time in which prompts are read

    .. math:: X_n = \frac{n}{R_n + d + m\,p_n}, \quad
       R_n = s_n \left(1 + \tfrac{n-1}{n} \left(Q_n - \tfrac12 U_n\right)\right), \quad
       p_n = \frac{t_n}{1 - \gamma\,\frac{n-1}{n}\,U_n}, \quad
       Q_n = X_n R_n, \quad U_n = X_n s_n \le 1

    These rates stand for the replica as a whole (Norton's theorem for queues).

    References
    ----------
    .. [1] P. Schweitzer, "Approximate analysis of multiclass closed networks of queues",
       International Conference on Stochastic Control and Optimization, 1979.
    .. [2] K. M. Chandy, U. Herzog, L. Woo, "Parametric analysis of queuing networks", IBM Journal
       of Research and Development 19, 1975.

    Examples
    --------
    Without prompts, and where prompts are nearly all of the work:

    >>> flow_equivalent_rates(np.zeros(2), np.array([0.01, 0.0125]), 100.0, 0.0, 1.0)[0]
    array([1. , 1.6])
    >>> flow_equivalent_rates(np.full(50, 0.5), np.full(50, 0.01), 100.0, 0.0, 0.5)[0][-1].round(6)
    np.float64(2.0)
    """
    checks.not_negative(prompt_time=prompt_time, tokens=tokens, other_time=other_time)
    checks.positive(token_time=token_time)
    checks.share(blocked_share=blocked_share)
    number = np.arange(1.0, len(prompt_time) + 1.0)
    others = (number - 1.0) / number
    low = np.zeros_like(number)
    # No more prompts than there is time for, and no more requests than if none waited.
    high = number / (prompt_time + other_time + tokens * token_time)
    high = np.minimum(high, 1.0 / np.maximum(prompt_time, np.finfo(float).tiny))
    for _ in range(HALVINGS):
        rates = 0.5 * (low + high)
        busy = rates * prompt_time
        paces = token_time / (1.0 - np.minimum(blocked_share * others * busy, 1.0 - 1e-9))
        elsewhere = other_time + tokens * paces
        queued = np.maximum(number - rates * elsewhere, 0.0)
        response = prompt_time * (1.0 + others * (queued - 0.5 * busy))
        slower = rates * (response + elsewhere) > number
        low, high = np.where(slower, low, rates), np.where(slower, rates, high)
    return rates, paces


def shared_times(
    fixed_time: Array, pace: Array, weights: Array, work: float, work_cv: float
) -> tuple[Array, Array]:
    r"""Times that requests spend in a shared replica, and how often each occurs.

    Parameters
    ----------
    fixed_time : array, shape (states,)
        Part that does not depend on the work, by the state that the request meets. [s]
    pace : array, shape (states,)
        Time per unit of work by that state. [s]
    weights : array, shape (states,)
        Share of requests that meet each state. [1]
    work : float
        Mean work of a request, such as tokens to write; may be zero. [1]
    work_cv : float
        Standard deviation of the work over its mean; log-normal. [1]

    Returns
    -------
    times : array, shape (states * amounts,)
        Times for all states and amounts of work. [s]
    shares : array, shape (states * amounts,)
        Share of the requests with that time. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: P(T \le t) = \sum_n w_n\,F\left(\frac{t - f_n}{p_n}\right)

    with the distribution :math:`F` of the work, at points of equal distance in its logarithm. An
    approximation: a request keeps the pace that it meets, which holds where the number of requests
    in the replica changes slowly.

    References
    ----------
    .. [1] A. P. Zwart, O. J. Boxma, "Sojourn time asymptotics in the M/G/1 processor sharing
       queue", Queueing Systems 35, 2000.

    Examples
    --------
    >>> shared_times(np.array([0.0, 1.0]), np.array([0.01, 0.02]), np.array([0.5, 0.5]), 100.0, 0.0)
    (array([1., 3.]), array([0.5, 0.5]))
    """
    checks.not_negative(
        fixed_time=fixed_time, pace=pace, weights=weights, work=work, work_cv=work_cv
    )
    if work == 0.0 or work_cv == 0.0:
        return fixed_time + work * pace, weights
    log_sd = np.sqrt(np.log1p(work_cv**2))
    z = np.linspace(-4.0, 4.0, 49)
    chance = np.exp(-0.5 * z**2)
    amounts = work * np.exp(log_sd * (z - 0.5 * log_sd))
    times = fixed_time[:, None] + pace[:, None] * amounts
    return times.ravel(), (weights[:, None] * (chance / chance.sum())).ravel()


def batch_queue(
    arrival_rate: float, batch_times: Array, batch_time_sds: Array, longest_wait: float
) -> tuple[float, float, Array]:
    r"""Wait for requests that are worked off in batches.

    A batch starts when the server is free and the batch is full or its oldest request has waited
    for the longest time allowed.

    Parameters
    ----------
    arrival_rate : float
        Requests that arrive at random. [1/s]
    batch_times : array, shape (largest,)
        Mean time of a batch of 1, 2, ... requests. [s]
    batch_time_sds : array, shape (largest,)
        Standard deviation of that. [s]
    longest_wait : float
        For a batch to fill; infinite to wait until it is full. [s]

    Returns
    -------
    wait : float
        Mean time until the request's batch starts, infinite where the server cannot keep up. [s]
    busy : float
        Share of the time in which a batch is worked on. [1]
    shares : array, shape (largest,)
        Share of the batches that have 1, 2, ... requests. [1]

    Raises
    ------
    ValueError
        If the rate or a time of a batch is not positive, or another argument is negative.

    Notes
    -----
    The number of requests :math:`Y` present when a batch starts is a Markov chain:

    .. math:: Y' = \begin{cases} q & q \ge b \\ \min(q + M, b) & q < b \end{cases}, \qquad
       q = \max(Y - b, 0) + A_k, \qquad k = \min(Y, b)

    During a batch a Poisson number :math:`A_k` with mean :math:`\lambda s_k` arrives. If fewer than
    :math:`b` are then there, :math:`M` more are waited for, until the batch is full or the oldest
    has waited for the longest time. A time that varies is one of two, with its mean and spread.
    Where nobody was left behind the oldest of :math:`q` arrivals in :math:`s_k`
    came :math:`s_k\,u^{1/q}` before its end, with :math:`u` uniform. Mean queue over
    mean cycle gives the wait by Little's law. Exact up to integration over :math:`u`, but for a
    request left behind that has not waited long enough, whose age is taken as :math:`s_b`. Where
    hundreds of requests are there at a time, neighbouring numbers are put together.

    References
    ----------
    .. [1] N. T. J. Bailey, "On queueing processes with bulk service", Journal of the Royal
       Statistical Society B 16, 1954.
    .. [2] M. F. Neuts, "A general class of bulk queues with Poisson input", Annals of
       Mathematical Statistics 38, 1967.

    Examples
    --------
    Batches of one are an M/D/1 queue; full batches of two, hardly any load: half of the requests
    wait for the next.

    >>> round(batch_queue(0.5, np.array([1.0]), np.array([0.0]), 0.0)[0], 6)
    0.5
    >>> round(batch_queue(1.0, np.full(2, 1e-6), np.zeros(2), np.inf)[0], 3)
    0.5
    """
    checks.positive(arrival_rate=arrival_rate, batch_times=batch_times)
    checks.not_negative(batch_time_sds=batch_time_sds, longest_wait=longest_wait)
    largest = len(batch_times)
    alone = np.zeros(largest)
    if arrival_rate * batch_times[-1] >= largest:
        alone[-1] = 1.0
        return np.inf, 1.0, alone
    return _batch_chain(arrival_rate, batch_times, batch_time_sds, longest_wait)


def constant_service_wait(arrival_rate: float, service_time: float, servers: int) -> float:
    r"""Mean wait before servers that all take the same time (M/D/c).

    Parameters
    ----------
    arrival_rate : float
        Requests that arrive at random. [1/s]
    service_time : float
        Time of one request on one server. [s]
    servers : int
        Servers of one queue. [1]

    Returns
    -------
    wait : float
        Mean time before service, infinite where the servers cannot keep up. [s]

    Raises
    ------
    ValueError
        If a rate or time is not positive or `servers` is below 1.

    Notes
    -----
    With equal times the servers take turns, so each is a queue of its own to which every
    :math:`c`-th request comes. The same queue has a server that works on full batches of
    :math:`c`, where a request also waits for :math:`(c - 1) / 2` others to come:

    .. math:: W_{M/D/c} = W_{\text{batches of } c} - \frac{c - 1}{2 \lambda}

    References
    ----------
    .. [1] G. J. Franx, "A simple solution for the M/D/c waiting time distribution", Operations
       Research Letters 29, 2001.

    Examples
    --------
    >>> round(constant_service_wait(0.8, 1.0, 1), 6)
    2.0
    """
    checks.positive(arrival_rate=arrival_rate, service_time=service_time)
    checks.at_least(1, servers=servers)
    times = np.full(servers, service_time)
    wait, _, _ = batch_queue(arrival_rate, times, np.zeros(servers), np.inf)
    return max(wait - 0.5 * (servers - 1) / arrival_rate, 0.0)


MOST_SHORTER = 0.9
"""Most of its mean by which a time that varies is shorter."""
MOST_STATES = 160
"""Numbers of requests in the chain of batches; more are put together."""
AGES = np.polynomial.legendre.leggauss(6)
"""Nodes and weights for the age of the oldest request, on -1 to 1."""
LEVELS = 7
"""Remaining times to wait, between which is interpolated."""


def _batch_chain(
    rate: float, batch_times: Array, batch_time_sds: Array, longest_wait: float
) -> tuple[float, float, Array]:
    """Stationary solution of the chain of batches, by the number present when one starts."""
    largest = len(batch_times)
    full = np.isinf(longest_wait)
    sizes = np.arange(1.0, largest + 1.0)
    shorter = np.minimum(batch_time_sds, MOST_SHORTER * batch_times)
    longer = np.square(batch_time_sds) / np.maximum(shorter, np.finfo(float).tiny)
    coming = rate * (batch_times + longer)
    reached = largest
    if not full:
        # Batches far above the usual size are left out. Each is as large as what the one before
        # lets come, so that deviations die out by the slope of that.
        let_come = rate * (batch_times + longest_wait)
        usual = int(max(np.flatnonzero(let_come >= sizes), default=0)) + 1
        slope = float(np.diff(let_come[usual - 1 :]).max(initial=0.0))
        if slope < 1.0:
            variance = (let_come[usual - 1] + np.square(rate * batch_time_sds[usual - 1])) / (
                1.0 - slope**2
            )
            reached = min(largest, int(usual + 12.0 * np.sqrt(variance) + 12.0))
    beyond = 6.0 * np.sqrt(coming[reached - 1]) + 10.0
    cells = max(int(reached * MOST_STATES / max(reached + beyond, MOST_STATES)), 1)
    width = reached / cells
    size = cells + int(np.ceil(beyond / width))
    present = width * np.arange(1.0, size + 1.0)  # when a batch starts
    taken = np.minimum(present, reached)
    lasting = np.interp(taken, sizes, batch_times)
    varying, below, above = (
        np.interp(taken, sizes, column) for column in (batch_time_sds, shorter, longer)
    )
    chance = np.where(varying > 0.0, above / np.maximum(below + above, 1e-300), 1.0)
    behind = np.maximum(np.arange(1, size + 1) - cells, 0)  # cells

    # Requests there at the end of a batch: those left behind and those that came.
    came = chance[:, None] * _poisson_cells(rate * (lasting - below), width, size)
    came += (1.0 - chance)[:, None] * _poisson_cells(rate * (lasting + above), width, size)
    at_end = np.zeros((size, size + 1))
    for row, shift in enumerate(behind):
        at_end[row, shift:] = came[row, : size + 1 - shift]
    # Beyond the last number each has the same part of the one before, so that they are one.
    tail = 0.0
    if reached == largest:
        tail = (
            _tail(
                rate * (lasting[-1] - below[-1]),
                rate * (lasting[-1] + above[-1]),
                chance[-1],
                largest,
            )
            ** width
        )
        for further, shift in enumerate(range(behind[-1] + 1, size + 1), start=1):
            at_end[-1, shift:] += tail**further * came[-1, : size + 1 - shift]
    rest = tail / (1.0 - tail)

    # Where they fill no batch, more are waited for.
    short = np.arange(cells)  # cells there at the end
    if full:
        move = np.zeros((size, size))
        move[:, cells - 1] = at_end[:, :cells].sum(axis=1)
        needed = (cells - short) * width / rate
        held = needed * (short * width + reached - 1.0) / 2.0
        filling = at_end[:, :cells] @ needed
        queued = at_end[:, :cells] @ held
        idle = np.zeros(size)
    else:
        move, filling, queued, idle = _fill(
            rate, longest_wait, lasting, behind, at_end[:, :cells], width, cells, size
        )
    move[:, cells - 1 :] += at_end[:, cells:]

    system = move.T - np.eye(size)
    weight = np.append(np.ones(size - 1), 1.0 + rest)
    system[-1] = weight
    unit = np.zeros(size)
    unit[-1] = 1.0
    stationary = np.maximum(np.linalg.solve(system, unit), 0.0)
    alone = filling + idle
    stationary, alone, queued = stationary * weight, alone / weight, queued / weight
    stationary /= stationary.sum()
    left_behind = behind * width
    left_behind[-1] += width * rest  # on average
    working = stationary @ lasting
    cycle = working + stationary @ alone
    waiting = stationary @ (left_behind * lasting + 0.5 * rate * (lasting**2 + varying**2) + queued)
    # A number between two whole ones counts for both.
    whole = np.clip(np.floor(taken), 1.0, largest)
    part = np.clip(taken - whole, 0.0, 1.0)
    shares = np.zeros(largest + 1)
    np.add.at(shares, whole.astype(int) - 1, stationary * (1.0 - part))
    np.add.at(shares, whole.astype(int), stationary * part)
    return float(waiting / (rate * cycle)), float(working / cycle), shares[:largest]


def _tail(low: float, high: float, low_chance: float, largest: int) -> float:
    """Ratio of the shares of two neighbouring numbers far above a full batch.

    During one, `low` or `high` requests come on average.
    """

    def excess(above: float) -> float:
        growth = np.log(low_chance) + low * above
        if low_chance < 1.0:
            growth = np.logaddexp(growth, np.log1p(-low_chance) + high * above)
        return float(largest * np.log1p(above) - growth)

    step = 1e-9
    while excess(2.0 * step) > 0.0:
        step *= 2.0
    return 1.0 / (1.0 + optimize.brentq(excess, step, 2.0 * step))


def _poisson_cells(mean: Array, width: float, size: int) -> Array:
    """Probability of 0, 1, ..., size cells of so many arrivals each."""
    mean = np.asarray(mean)[..., None]
    if width > 4.0:
        edges = np.ceil((np.arange(size + 1) + 0.5) * width) - 1.0
        return np.diff(special.pdtr(edges, mean), axis=-1, prepend=0.0)
    number = np.arange(np.ceil(size * width) + 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(number > 0.0, number * np.log(mean), 0.0)
    each = np.exp(logs - mean - special.gammaln(number + 1.0))
    if width == 1.0:
        return each[..., : size + 1]
    # A number between two cells counts for both, so that the mean stays what it is.
    split = np.maximum(1.0 - np.abs(number[:, None] / width - np.arange(size + 1)), 0.0)
    return each @ split


def _fill(
    rate: float, longest_wait: float, lasting: Array, behind: npt.NDArray[np.int_], short: Array,
    width: float, cells: int, size: int,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Waiting for a batch to fill: next number, time, requests times time, and idle time."""
    levels = LEVELS if longest_wait > 0.0 else 2
    left = np.linspace(0.0, longest_wait, levels)  # remaining times to wait
    more = _poisson_cells(rate * left, width, cells)
    beyond = 1.0 - np.cumsum(more, axis=1)[:, :cells]  # P(more than j cells come)
    counts = np.arange(cells)
    # Time until the batch is full or the wait is over, with so many there at the start.
    start = np.zeros((levels, 1))
    reach = np.concatenate([start, np.cumsum(beyond, axis=1)], axis=1)[:, cells - counts]
    moment = np.concatenate([start, np.cumsum(beyond * counts, axis=1)], axis=1)[:, cells - counts]
    time = reach * width / rate
    held = (time * counts + moment * width / rate) * width + 0.5 * (width - 1.0) * time
    # Numbers at its end, from one cell to a full batch.
    gap = counts[None, 1:] - counts[:, None]
    after = np.where(gap >= 0, more[:, np.maximum(gap, 0)], 0.0)
    none_came = np.where(counts[:, None] == 0, more[:, :1, None], 0.0)[:, :, 0]
    after = np.append(after, (1.0 - after.sum(axis=2) - none_came)[:, :, None], axis=2)

    # How long the oldest has waited when the batch before ends; all of it where it was left.
    nodes, parts = 0.5 * (AGES[0] + 1.0), 0.5 * AGES[1]
    young = nodes ** (1.0 / np.maximum(counts * width, 1.0)[:, None])
    ages = lasting[:, None, None] * np.where((behind > 0)[:, None, None], 1.0, young)
    position = np.maximum(longest_wait - ages, 0.0) / max(left[1], np.finfo(float).tiny)
    # Nobody is there at first: the next to come is the oldest, and waits for all of the time.
    empty = short[:, 0]
    some = short.copy()
    some[:, 0] = 0.0
    first = min(1, cells - 1)
    alone = after[-1, first] if cells > 1 else np.ones(1)
    move = np.zeros((size, size))
    move[:, :cells] = np.outer(empty, alone)
    filling, queued = (empty * column[-1, first] * (cells > 1) for column in (time, held))
    for level in range(levels):
        near = np.maximum(1.0 - np.abs(position - level), 0.0) @ parts
        if (chance := near * some).any():
            move[:, :cells] += chance @ after[level]
            filling = filling + chance @ time[level]
            queued = queued + chance @ held[level]
    return move, filling, queued, empty / rate
