"""What capacity costs that is not simply rented: spot, committed, bought, by the call.

A price that nobody knows is NaN: it passes through every formula here and stays unknown.
"""

from __future__ import annotations

import numpy as np

from cpi_model import checks
from cpi_model.units import YEAR, Array, Numeric


def spot_overhead(interruptions: Numeric, restart_time: Numeric, lost_work: Numeric) -> Numeric:
    r"""Capacity paid beyond what works, because instances are taken away and begin again.

    Parameters
    ----------
    interruptions : numeric
        Times that an instance is taken away, per time that it is paid for. [1/s]
    restart_time : numeric
        Time until its replacement works, paid for. [s]
    lost_work : numeric
        Work since the last checkpoint, done a second time. [s]

    Returns
    -------
    overhead : numeric
        Extra capacity relative to what works; infinite where nothing gets done. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    Of the time that is paid a share :math:`a = 1 - \lambda\,(t_r + t_l)` works:

    .. math:: s = \frac{1}{a} - 1

    References
    ----------
    .. [1] J. W. Young, "A First Order Approximation to the Optimum Checkpoint Interval",
       Communications of the ACM 17(9), 1974.

    Examples
    --------
    Once a day, with 25 minutes until the next one works and 11 minutes to do again, of 40 hours
    one is lost:

    >>> round(float(spot_overhead(1 / 86400, 25 * 60.0, 11 * 60.0)), 4)
    0.0256
    """
    checks.not_negative(interruptions=interruptions, restart_time=restart_time, lost_work=lost_work)
    works = np.maximum(1.0 - interruptions * (restart_time + lost_work), 0.0)
    with np.errstate(divide="ignore"):
        overhead: Numeric = np.divide(1.0, works) - 1.0
    return overhead


def price_with_fallback(
    spot_price: Numeric, on_demand_price: Numeric, fallback_share: Numeric
) -> Numeric:
    r"""Price of capacity that runs on demand while no spot is to be had.

    Parameters
    ----------
    spot_price : numeric
        Price on spot, interruptions included; NaN where unknown. [USD/s]
    on_demand_price : numeric
        Price on demand, NaN where unknown. [USD/s]
    fallback_share : numeric
        Share of the capacity that runs on demand. [1]

    Returns
    -------
    price : numeric
        Mean price; an unknown one that has no share in it does not matter. [USD/s]

    Raises
    ------
    ValueError
        If a price is negative or the share is not from 0 to 1.

    Notes
    -----
    .. math:: p = (1 - f)\,p_s + f\,p_o

    References
    ----------
    .. [1] Amazon Web Services, "EC2 Fleet and Spot Fleet", on-demand base and percentage,
       accessed 2026-11-25.

    Examples
    --------
    >>> float(price_with_fallback(2.0, 6.0, 0.25)), float(price_with_fallback(2.0, np.nan, 0.0))
    (3.0, 2.0)
    """
    checks.not_negative_if_known(spot_price=spot_price, on_demand_price=on_demand_price)
    checks.share(fallback_share=fallback_share)
    on_spot = np.where(np.equal(fallback_share, 1.0), 0.0, (1.0 - fallback_share) * spot_price)
    instead = np.where(np.equal(fallback_share, 0.0), 0.0, fallback_share * on_demand_price)
    price: Numeric = (on_spot + instead)[()]
    return price


def load_duration(rank: Numeric, peak_to_mean: Numeric, quiet_to_mean: Numeric) -> Numeric:
    r"""Load that is reached or exceeded for a share of the time, over the mean load.

    Parameters
    ----------
    rank : numeric
        Share of the time, 0 at the peak and 1 in the quietest hour. [1]
    peak_to_mean : numeric
        Load at the peak over the mean. [1]
    quiet_to_mean : numeric
        Load in the quietest hour over the mean, below 1. [1]

    Returns
    -------
    load : numeric
        Load over the mean load. [1]

    Raises
    ------
    ValueError
        If `rank` or `quiet_to_mean` is not from 0 to 1 or `peak_to_mean` is below 1.

    Notes
    -----
    The power curve that begins at the peak :math:`P`, ends at the quiet load :math:`q` and has
    the mean 1:

    .. math:: L(u) = q + (P - q)\,(1 - u)^a, \qquad a = \frac{P - 1}{1 - q}

    References
    ----------
    .. [1] G. M. Masters, "Renewable and Efficient Electric Power Systems", section on load
       duration curves, 2004.

    Examples
    --------
    >>> load_duration(np.array([0.0, 0.5, 1.0]), 2.0, 0.0)
    array([2., 1., 0.])
    """
    checks.share(rank=rank, quiet_to_mean=quiet_to_mean)
    checks.at_least(1, peak_to_mean=peak_to_mean)
    # Traffic that never falls below its mean is flat, and so is its curve.
    steepness = (peak_to_mean - 1.0) / np.maximum(1.0 - quiet_to_mean, np.finfo(float).tiny)
    load: Numeric = quiet_to_mean + (peak_to_mean - quiet_to_mean) * (1.0 - rank) ** steepness
    return load


def committed_capacity(need: Array, committed_price: Numeric, flexible_price: Numeric) -> Numeric:
    r"""Capacity to commit so that commitment and what is rented by the hour cost least.

    Parameters
    ----------
    need : array
        Capacity needed in equally long times, along the last axis. [1]
    committed_price : numeric
        Price of committed capacity, paid all the time; NaN where unknown. [USD/s]
    flexible_price : numeric
        Price of capacity that is paid when used; NaN where unknown. [USD/s]

    Returns
    -------
    committed : numeric
        Capacity to commit: nothing where only the commitment's price is unknown, the most that is
        needed where only the other is, NaN where both are. [1]

    Raises
    ------
    ValueError
        If `need` or a price is negative.

    Notes
    -----
    One more unit pays while it is used for a larger share of the time than the ratio of the
    prices: the newsvendor's critical ratio.

    .. math:: c^* = \max\{c : P(D \ge c) \ge p_c / p_f\}

    References
    ----------
    .. [1] K. J. Arrow, T. Harris, J. Marschak, "Optimal Inventory Policy", Econometrica 19(3),
       1951.

    Examples
    --------
    Ten hours of which three need 4 instances, three need 2 and four need 1. At 60 % of the price
    an instance must be used for six hours of ten:

    >>> need = np.array([4.0, 4.0, 4.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    >>> float(committed_capacity(need, 0.6, 1.0))
    2.0
    """
    checks.not_negative(need=need)
    checks.not_negative_if_known(committed_price=committed_price, flexible_price=flexible_price)
    ranked = np.sort(need, axis=-1)[..., ::-1]
    count = need.shape[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.broadcast_to(np.divide(committed_price, flexible_price), ranked.shape[:-1])
    known = np.isfinite(ratio)
    place = np.ceil(np.where(known, ratio, 1.0) * count * (1.0 - 1e-12)).astype(int)
    place = np.clip(place, 1, count)
    best = np.take_along_axis(ranked, place[..., None] - 1, axis=-1)[..., 0]
    best = np.where(known & (ratio > 1.0), 0.0, best)
    unknown = np.isnan(np.broadcast_to(committed_price, best.shape))
    committed = np.where(
        known, best,
        np.where(
            ~unknown, ranked[..., 0],
            np.where(np.isnan(np.broadcast_to(flexible_price, best.shape)), np.nan, 0.0),
        ),
    )  # fmt: skip
    return committed[()]


def unused_share(need: Array, committed: Numeric) -> Numeric:
    r"""Share of committed time in which nothing runs on it.

    Parameters
    ----------
    need : array
        Capacity needed in equally long times, along the last axis. [1]
    committed : numeric
        Capacity committed. [1]

    Returns
    -------
    unused : numeric
        Share of it that is paid and not used, 0 where nothing is committed. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: u = 1 - \frac{\overline{\min(D, c)}}{c}

    References
    ----------
    .. [1] FinOps Foundation, "FinOps Open Cost and Usage Specification" (FOCUS) 1.2, column
       CommitmentDiscountStatus, 2025.

    Examples
    --------
    >>> float(unused_share(np.array([4.0, 2.0, 1.0, 1.0]), 2.0))
    0.25
    """
    checks.not_negative(need=need, committed=committed)
    used = np.minimum(need, np.asarray(committed)[..., None]).mean(axis=-1)
    unused: Numeric = 1.0 - used / np.where(np.greater(committed, 0.0), committed, np.inf)
    return np.where(np.greater(committed, 0.0), unused, 0.0)[()]


def mixed_rent(
    need: Array, committed: Numeric, committed_price: Numeric, flexible_price: Numeric
) -> Array:
    r"""Rent at each time of committed capacity and of what is rented on top of it.

    Parameters
    ----------
    need : array
        Capacity needed in equally long times, along the last axis. [1]
    committed : numeric
        Capacity committed. [1]
    committed_price : numeric
        Price of committed capacity, paid all the time; NaN where unknown. [USD/s]
    flexible_price : numeric
        Price of capacity that is paid when used; NaN where unknown. [USD/s]

    Returns
    -------
    rent : array
        Rent in the shape of `need`; an unknown price of which nothing is bought does not matter.
        [USD/s]

    Raises
    ------
    ValueError
        If `need`, `committed` or a price is negative.

    Notes
    -----
    .. math:: r = p_c\,c + p_f \max(D - c,\,0)

    References
    ----------
    .. [1] J. Weinman, "Cloudonomics: The Business Value of Cloud Computing", 2012.

    Examples
    --------
    >>> mixed_rent(np.array([4.0, 2.0, 1.0]), 2.0, 0.6, 1.0)
    array([3.2, 1.2, 1.2])
    """
    checks.not_negative(need=need)
    checks.not_negative_if_known(
        committed=committed, committed_price=committed_price, flexible_price=flexible_price
    )
    base = np.asarray(committed)[..., None]
    above = np.maximum(need - base, 0.0)
    fixed = np.where(base == 0.0, 0.0, base * np.asarray(committed_price)[..., None])
    moving = np.where(above == 0.0, 0.0, above * np.asarray(flexible_price)[..., None])
    rent: Array = fixed + moving
    return rent


def straight_line(price: Numeric, resale_share: Numeric, lifetime: Numeric) -> Numeric:
    r"""Loss of value of something that was bought, the same in every year of its life.

    Parameters
    ----------
    price : numeric
        Price of the purchase, NaN where unknown. [USD]
    resale_share : numeric
        Part of it that is left at the end. [1]
    lifetime : numeric
        Time in use. [s]

    Returns
    -------
    depreciation : numeric
        Loss of value. [USD/s]

    Raises
    ------
    ValueError
        If `price` is negative, `resale_share` not from 0 to 1 or `lifetime` not positive.

    Notes
    -----
    .. math:: d = \frac{P\,(1 - r)}{T}

    References
    ----------
    .. [1] IFRS Foundation, "IAS 16 Property, Plant and Equipment", paragraph 62, straight-line
       method, 2003.

    Examples
    --------
    10,000 USD, of which 1,000 are left after 5 years, lose 1,800 a year:

    >>> round(float(straight_line(10_000.0, 0.1, 5 * YEAR)) * YEAR)
    1800
    """
    checks.not_negative_if_known(price=price)
    checks.share(resale_share=resale_share)
    checks.positive(lifetime=lifetime)
    depreciation: Numeric = price * (1.0 - resale_share) / lifetime
    return depreciation


def running_cost(
    price: Numeric,
    power: Numeric,
    pue: Numeric,
    electricity_price: Numeric,
    space_price: Numeric,
    staff_price: Numeric,
    failures_per_year: Numeric,
) -> Numeric:
    r"""What something that was bought costs while it runs.

    Parameters
    ----------
    price : numeric
        Price of the purchase, NaN where unknown. [USD]
    power : numeric
        Power drawn, and set aside in the rack. [W]
    pue : numeric
        Power of the data centre over that of its computers. [1]
    electricity_price : numeric
        Price of electricity. [USD/J]
    space_price : numeric
        Rent of racks and cooling by the power set aside. [USD/J]
    staff_price : numeric
        People who look after it. [USD/s]
    failures_per_year : numeric
        Share that fails and is replaced in a year. [1/year]

    Returns
    -------
    cost : numeric
        Running cost. [USD/s]

    Raises
    ------
    ValueError
        If `pue` is below 1 or another argument is negative.

    Notes
    -----
    .. math:: c = w\,(\mathrm{PUE}\; p_e + p_s) + p_w + \frac{f\,P}{1\,\mathrm{year}}

    References
    ----------
    .. [1] L. A. Barroso, U. Hölzle, P. Ranganathan, "The Datacenter as a Computer", third edition,
       chapter 6, 2018.

    Examples
    --------
    1 kW at a PUE of 1.2 and 0.10 USD/kWh costs 0.12 USD an hour:

    >>> from cpi_model.units import HOUR, KILOWATT_HOUR
    >>> each = running_cost(0.0, 1000.0, 1.2, 0.10 / KILOWATT_HOUR, 0.0, 0.0, 0.0)
    >>> round(float(each) * HOUR, 6)
    0.12
    """
    checks.not_negative_if_known(price=price, power=power)
    checks.at_least(1, pue=pue)
    checks.not_negative(
        electricity_price=electricity_price, space_price=space_price, staff_price=staff_price,
        failures_per_year=failures_per_year,
    )  # fmt: skip
    cost: Numeric = (
        power * (pue * electricity_price + space_price)
        + staff_price
        + price * failures_per_year / YEAR
    )
    return cost


def cumulative_cash(
    purchase: Numeric,
    running: Numeric,
    resale_share: Numeric,
    lifetime: Numeric,
    time: Numeric,
) -> Numeric:
    r"""Cash paid until a time by who buys, and buys again at the end of each life.

    Parameters
    ----------
    purchase : numeric
        Price of the purchase, paid at the start; NaN where unknown. [USD]
    running : numeric
        Running cost, paid as it comes; NaN where unknown. [USD/s]
    resale_share : numeric
        Part of the price that is got back at the end of a life. [1]
    lifetime : numeric
        Time in use. [s]
    time : numeric
        Time since the start. [s]

    Returns
    -------
    cash : numeric
        Paid until then. [USD]

    Raises
    ------
    ValueError
        If `lifetime` is not positive, `resale_share` not from 0 to 1 or another argument is
        negative.

    Notes
    -----
    With :math:`k = \lfloor t / T \rfloor` lives that are over:

    .. math:: K(t) = P\,(1 + k\,(1 - r)) + c\,t

    References
    ----------
    .. [1] W. Short, D. J. Packey, T. Holt, "A Manual for the Economic Evaluation of Energy
       Efficiency and Renewable Energy Technologies", NREL/TP-462-5173, 1995.

    Examples
    --------
    1,000 USD with a life of 2 years, 10 USD a year to run, nothing left at the end:

    >>> cumulative_cash(1000.0, 10 / YEAR, 0.0, 2 * YEAR, np.array([0.0, 1.0, 3.0]) * YEAR)
    array([1000., 1010., 2030.])
    """
    checks.not_negative_if_known(purchase=purchase, running=running)
    checks.share(resale_share=resale_share)
    checks.positive(lifetime=lifetime)
    checks.not_negative(time=time)
    over = np.floor(time / lifetime)
    cash: Numeric = purchase * (1.0 + over * (1.0 - resale_share)) + running * time
    return cash


def payback_time(purchase: Numeric, running: Numeric, alternative: Numeric) -> Numeric:
    r"""Time after which a purchase has cost less than what it replaces.

    Parameters
    ----------
    purchase : numeric
        Price of the purchase, NaN where unknown. [USD]
    running : numeric
        Running cost of what is bought, NaN where unknown. [USD/s]
    alternative : numeric
        Cost of what it replaces, NaN where unknown. [USD/s]

    Returns
    -------
    payback : numeric
        Time until both have cost the same, infinite where that never happens. [s]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: t = \frac{P}{a - c} \quad (a > c)

    References
    ----------
    .. [1] W. Short, D. J. Packey, T. Holt, "A Manual for the Economic Evaluation of Energy
       Efficiency and Renewable Energy Technologies", NREL/TP-462-5173, 1995 (simple payback).

    Examples
    --------
    10,000 USD that save 2,500 a year:

    >>> round(float(payback_time(10_000.0, 500 / YEAR, 3000 / YEAR)) / YEAR, 6)
    4.0
    """
    checks.not_negative_if_known(purchase=purchase, running=running, alternative=alternative)
    saved = alternative - running
    known = np.where(np.isnan(saved), np.nan, np.inf)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        payback: Numeric = np.where(np.greater(saved, 0.0), np.divide(purchase, saved), known)[()]
    return payback


def serverless_replicas(
    load: Numeric,
    capacity: Numeric,
    service_time: Numeric,
    idle_time: Numeric,
    minimum_time: Numeric,
    cold_start: Numeric,
) -> Numeric:
    r"""Replicas that are billed on average where they come and go with the requests.

    Parameters
    ----------
    load : numeric
        Requests, arriving independently. [1/s]
    capacity : numeric
        Requests that a full replica serves. [1/s]
    service_time : numeric
        Time that one request takes. [s]
    idle_time : numeric
        Time that a replica is kept, and billed, after its last request. [s]
    minimum_time : numeric
        Shortest time that is billed. [s]
    cold_start : numeric
        Time until a new replica answers, billed as well. [s]

    Returns
    -------
    replicas : numeric
        Replicas billed, on average. [1]

    Raises
    ------
    ValueError
        If `capacity` is not positive or another argument is negative.

    Notes
    -----
    A replica is up while a request is there or was until :math:`t_i` ago, so each request keeps
    one up for :math:`h = \max(t_s + t_i,\,t_m)`. A request that finds none up, with probability
    :math:`e^{-\lambda h}`, starts one. Where the load fills more replicas, so many are billed:

    .. math:: n = \max\left(\frac{\lambda}{\mu},\, 1 - e^{-\lambda h}\right)
              + \lambda\,e^{-\lambda h}\,t_c

    The renewal argument holds for one replica at small load; starts while several run are not in
    it.

    References
    ----------
    .. [1] L. Takács, "Introduction to the Theory of Queues", chapter 3, infinitely many servers,
       1962.

    Examples
    --------
    One request an hour, of 10 s, kept for 50 s, with a cold start of 40 s: 100 s an hour, nearly.

    >>> round(float(serverless_replicas(1 / 3600, 1.0, 10.0, 50.0, 1.0, 40.0)) * 3600, 1)
    98.8
    """
    checks.not_negative(
        load=load, service_time=service_time, idle_time=idle_time, minimum_time=minimum_time,
        cold_start=cold_start,
    )  # fmt: skip
    checks.positive(capacity=capacity)
    held = np.maximum(service_time + idle_time, minimum_time)
    nobody = np.exp(-load * held)
    replicas: Numeric = np.maximum(load / capacity, 1.0 - nobody) + load * nobody * cold_start
    return replicas


def hosted_price(
    input_tokens: Numeric,
    cached_tokens: Numeric,
    output_tokens: Numeric,
    input_price: Numeric,
    cached_price: Numeric,
    output_price: Numeric,
    batch_share: Numeric,
    batch_discount_share: Numeric,
) -> Numeric:
    r"""Price of one request of a hosted model that is paid by the token.

    Parameters
    ----------
    input_tokens : numeric
        Input tokens that are not cached. [1]
    cached_tokens : numeric
        Input tokens that are cached. [1]
    output_tokens : numeric
        Output tokens. [1]
    input_price : numeric
        Price of an input token, NaN where unknown. [USD]
    cached_price : numeric
        Price of a cached input token, NaN where unknown. [USD]
    output_price : numeric
        Price of an output token, NaN where unknown. [USD]
    batch_share : numeric
        Share of the requests that can wait and go as a batch. [1]
    batch_discount_share : numeric
        Reduction for those. [1]

    Returns
    -------
    price : numeric
        Price of one request; an unknown price of tokens that there are none of does not matter.
        [USD]

    Raises
    ------
    ValueError
        If tokens or a price are negative or a share is not from 0 to 1.

    Notes
    -----
    .. math:: p = (n_i p_i + n_c p_c + n_o p_o)\,(1 - b\,d)

    References
    ----------
    .. [1] OpenAI, "Batch API" and "Prompt caching", accessed 2026-11-25.

    Examples
    --------
    800 tokens at 3 USD, 200 cached at 0.30 and 500 at 15 USD a million; half of them in a batch at
    half the price:

    >>> round(float(hosted_price(800, 200, 500, 3e-6, 0.3e-6, 15e-6, 0.5, 0.5)), 6)
    0.00747
    """
    checks.not_negative(
        input_tokens=input_tokens, cached_tokens=cached_tokens, output_tokens=output_tokens
    )
    checks.not_negative_if_known(
        input_price=input_price, cached_price=cached_price, output_price=output_price
    )
    checks.share(batch_share=batch_share, batch_discount_share=batch_discount_share)
    fresh = np.where(np.equal(input_tokens, 0), 0.0, input_tokens * input_price)
    cached = np.where(np.equal(cached_tokens, 0), 0.0, cached_tokens * cached_price)
    written = np.where(np.equal(output_tokens, 0), 0.0, output_tokens * output_price)
    waits = 1.0 - batch_share * batch_discount_share
    price: Numeric = ((fresh + cached + written) * waits)[()]
    return price


def edge_cost(
    price: Numeric,
    resale_share: Numeric,
    lifetime: Numeric,
    power: Numeric,
    electricity_price: Numeric,
    update_rate: Numeric,
    traffic_price: Numeric,
) -> Numeric:
    r"""Cost of a device that answers where the users are.

    Parameters
    ----------
    price : numeric
        Price of the device, NaN where unknown. [USD]
    resale_share : numeric
        Part of it that is left at the end. [1]
    lifetime : numeric
        Time in use. [s]
    power : numeric
        Power drawn, NaN where unknown. [W]
    electricity_price : numeric
        Price of electricity. [USD/J]
    update_rate : numeric
        Bytes of new models and software that it is sent. [B/s]
    traffic_price : numeric
        Price of sending them. [USD/B]

    Returns
    -------
    cost : numeric
        Cost of one device. [USD/s]

    Raises
    ------
    ValueError
        If `lifetime` is not positive, `resale_share` not from 0 to 1 or another argument is
        negative.

    Notes
    -----
    .. math:: c = \frac{P\,(1 - r)}{T} + w\,p_e + b\,p_b

    References
    ----------
    .. [1] W. Shi et al., "Edge Computing: Vision and Challenges", IEEE Internet of Things Journal
       3(5), 2016.

    Examples
    --------
    249 USD over 3 years, 25 W at 0.10 USD/kWh and 10 GB a month at 0.09 USD: 9.64 a month.

    >>> from cpi_model.units import GB, KILOWATT_HOUR, MONTH
    >>> each = edge_cost(249.0, 0.0, 3 * YEAR, 25.0, 0.10 / KILOWATT_HOUR, 10 * GB / MONTH, 9e-11)
    >>> round(float(each) * MONTH, 2)
    9.64
    """
    checks.not_negative_if_known(power=power)
    checks.not_negative(
        electricity_price=electricity_price, update_rate=update_rate, traffic_price=traffic_price
    )
    worn = straight_line(price, resale_share, lifetime)
    cost: Numeric = worn + power * electricity_price + update_rate * traffic_price
    return cost
