"""What capacity costs, how much of it a load needs, and whose cost it is.

A price that nobody knows is NaN: it passes through every formula here and stays unknown.
"""

from __future__ import annotations

import numpy as np

from cpi_model import checks
from cpi_model.units import YEAR, Numeric

# Quotients such as 2.1 / 0.7 come out a hair above the whole number that they are. Rounding up
# forgives a millionth of a millionth, so that three replicas do not become four.
_SLACK = 1e-12


def effective_price(
    price: Numeric,
    discount_share: Numeric,
    spot_overhead_share: Numeric,
    unused_commitment_share: Numeric,
) -> Numeric:
    r"""Price of capacity that does work, after discount, interruptions and unused commitment.

    Parameters
    ----------
    price : numeric
        Price of the purchase option, NaN where unknown. [USD/s]
    discount_share : numeric
        Negotiated reduction. [1]
    spot_overhead_share : numeric
        Extra capacity bought to ride out interruptions, relative to what works. [1]
    unused_commitment_share : numeric
        Part of the committed hours that nothing runs on, below 1. [1]

    Returns
    -------
    effective : numeric
        Price per unit of time in use, in the unit of `price`. [USD/s]

    Raises
    ------
    ValueError
        If `price` or `spot_overhead_share` is negative or another share is not from 0 to 1.

    Notes
    -----
    .. math:: p_e = p\,(1 - d)\,\frac{1 + s}{1 - u}

    A commitment is paid whether used or not: of each hour paid, :math:`1 - u` is used. At
    :math:`u = 1` the result is infinite.

    References
    ----------
    .. [1] FinOps Foundation, "FinOps Open Cost and Usage Specification" (FOCUS) 1.2, columns
       EffectiveCost and CommitmentDiscountStatus, 2025.

    Examples
    --------
    A commitment at 6 USD of which a quarter is not used costs as much as 8 USD on demand:

    >>> float(effective_price(6.0, 0.0, 0.0, 0.25))
    8.0
    """
    checks.not_negative_if_known(price=price)
    checks.not_negative(spot_overhead_share=spot_overhead_share)
    checks.share(discount_share=discount_share, unused_commitment_share=unused_commitment_share)
    paid = price * (1 - discount_share) * (1 + spot_overhead_share)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective: Numeric = np.divide(paid, 1 - unused_commitment_share)
    return effective


def replicas_for_load(
    load: Numeric, capacity_per_replica: Numeric, target_utilisation: Numeric
) -> Numeric:
    r"""Whole replicas that carry a load without exceeding a target utilisation.

    Parameters
    ----------
    load : numeric
        Requests to be served, NaN where unknown. [1/s]
    capacity_per_replica : numeric
        Requests that a full replica serves, NaN where unknown. [1/s]
    target_utilisation : numeric
        Part of that capacity that may be planned with. [1]

    Returns
    -------
    replicas : numeric
        Whole replicas: 0 without load, infinite where the capacity is zero, NaN where unknown.
        [1]

    Raises
    ------
    ValueError
        If `load` or `capacity_per_replica` is negative or `target_utilisation` is not from 0
        to 1.

    Notes
    -----
    .. math:: n = \left\lceil \frac{\lambda}{\mu\,\rho} \right\rceil

    References
    ----------
    .. [1] Kubernetes, "Horizontal Pod Autoscaling", section Algorithm details, accessed
       2026-11-24.

    Examples
    --------
    >>> float(replicas_for_load(100.0, 12.0, 0.7))
    12.0
    >>> float(replicas_for_load(1.0, 0.0, 0.7)), float(replicas_for_load(0.0, 0.0, 0.7))
    (inf, 0.0)
    """
    checks.not_negative_if_known(load=load, capacity_per_replica=capacity_per_replica)
    checks.share(target_utilisation=target_utilisation)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.ceil(np.divide(load, capacity_per_replica * target_utilisation) * (1 - _SLACK))
    replicas: Numeric = np.where(np.equal(load, 0), 0.0, needed)[()]
    return replicas


def load_by_version(
    load: Numeric, versions: Numeric, old_share: Numeric
) -> tuple[Numeric, Numeric]:
    r"""Requests of the newest version of a model, and of each older one that is still live.

    Parameters
    ----------
    load : numeric
        Requests of all versions, NaN where unknown. [1/s]
    versions : numeric
        Versions that are live, the newest included. [1]
    old_share : numeric
        Requests that older ones answer, in equal parts; without older ones it counts for nothing.
        [1]

    Returns
    -------
    newest : numeric
        Requests of the newest. [1/s]
    each_old : numeric
        Requests of each other, 0 where there is none. [1/s]

    Raises
    ------
    ValueError
        If `load` is negative, `versions` is below 1 or `old_share` is not from 0 to 1.

    Notes
    -----
    .. math:: \lambda_1 = (1 - s)\,\lambda, \qquad \lambda_o = \frac{s\,\lambda}{v - 1}

    References
    ----------
    .. [1] J. Humble, D. Farley, "Continuous Delivery", section Canary Releasing, 2010.

    Examples
    --------
    A twentieth of 40 requests a second still goes to two older versions:

    >>> [float(each) for each in load_by_version(40.0, 3.0, 0.05)]
    [38.0, 1.0]
    """
    checks.not_negative_if_known(load=load)
    checks.at_least(1, versions=versions)
    checks.share(old_share=old_share)
    others = versions - 1.0
    share = np.where(np.greater(others, 0.0), old_share, 0.0)[()]
    each_old: Numeric = share * load / np.maximum(others, 1.0)
    return (1.0 - share) * load, each_old


def instances_per_replica(devices_per_replica: Numeric, devices_per_instance: Numeric) -> Numeric:
    r"""Instances, or the part of one, that a replica takes up when replicas are packed.

    Parameters
    ----------
    devices_per_replica : numeric
        Devices of a replica; a fraction where it runs on part of a socket. [1]
    devices_per_instance : numeric
        Devices of an instance; a fraction where it is a part of a socket. [1]

    Returns
    -------
    instances : numeric
        Instances per replica. [1]

    Raises
    ------
    ValueError
        If an argument is not positive.

    Notes
    -----
    Replicas are not split over instances that they could fit in:

    .. math:: i = \frac{1}{\lfloor k / n \rfloor} \quad (n \le k), \qquad
              i = \lceil n / k \rceil \quad (n > k)

    References
    ----------
    .. [1] E. G. Coffman, M. R. Garey, D. S. Johnson, "Approximation Algorithms for Bin Packing:
       A Survey", 1996 (all items of one size).

    Examples
    --------
    3 GPUs on servers with 8: two replicas each, two GPUs stay idle. 16 GPUs need two servers:

    >>> float(instances_per_replica(3, 8)), float(instances_per_replica(16, 8))
    (0.5, 2.0)
    """
    checks.positive(
        devices_per_replica=devices_per_replica,
        devices_per_instance=devices_per_instance,
    )
    ratio = devices_per_replica / devices_per_instance
    together = np.floor((1 + _SLACK) / ratio)
    spread = np.ceil(ratio * (1 - _SLACK))
    instances: Numeric = np.where(together >= 1, 1 / np.maximum(together, 1), spread)[()]
    return instances


def instances_for_replicas(
    replicas: Numeric, devices_per_replica: Numeric, devices_per_instance: Numeric
) -> Numeric:
    r"""Whole instances that hold a number of replicas.

    Parameters
    ----------
    replicas : numeric
        Replicas, NaN where unknown. [1]
    devices_per_replica : numeric
        Devices of a replica; a fraction where it runs on part of a socket. [1]
    devices_per_instance : numeric
        Devices of an instance; a fraction where it is a part of a socket. [1]

    Returns
    -------
    instances : numeric
        Whole instances. [1]

    Raises
    ------
    ValueError
        If `replicas` is negative or another argument is not positive.

    Notes
    -----
    .. math:: I = \lceil R\,i \rceil

    with the instances per replica :math:`i` of :func:`instances_per_replica`.

    References
    ----------
    .. [1] E. G. Coffman, M. R. Garey, D. S. Johnson, "Approximation Algorithms for Bin Packing:
       A Survey", 1996 (all items of one size).

    Examples
    --------
    >>> float(instances_for_replicas(5, 3, 8)), float(instances_for_replicas(5, 16, 8))
    (3.0, 10.0)
    """
    checks.not_negative_if_known(replicas=replicas)
    each = instances_per_replica(devices_per_replica, devices_per_instance)
    instances: Numeric = np.ceil(replicas * each * (1 - _SLACK))
    return instances


def instances_following(
    replicas: Numeric, most: Numeric, devices_per_replica: Numeric, devices_per_instance: Numeric
) -> Numeric:
    r"""Mean number of whole instances while the number of replicas goes up and down.

    Parameters
    ----------
    replicas : numeric
        Mean number of replicas, NaN where unknown. [1]
    most : numeric
        Instances at the peak. [1]
    devices_per_replica : numeric
        Devices of a replica; a fraction where it runs on part of a socket. [1]
    devices_per_instance : numeric
        Devices of an instance; a fraction where it is a part of a socket. [1]

    Returns
    -------
    instances : numeric
        Mean of whole instances, at most those of the peak. [1]

    Raises
    ------
    ValueError
        If `replicas` or `most` is negative or another argument is not positive.

    Notes
    -----
    With :math:`k` replicas on an instance, an instance is paid while any of its places is taken.
    Numbers of replicas that are spread evenly over the remainders of a division by :math:`k`
    leave :math:`(k-1)/2` places free in the mean:

    .. math:: \bar I = \min\left(\frac{R}{k} + \frac{k-1}{2k},\ I_\mathrm{peak}\right)

    and one instance is there as long as one replica is.

    References
    ----------
    .. [1] W. R. Bennett, "Spectra of Quantized Signals", Bell System Technical Journal 27, 1948
       (the mean error of rounding up is half a step).

    Examples
    --------
    Numbers from 17 to 24 on instances of eight, each as often as the others, take three:

    >>> float(instances_following(20.5, 4.0, 1.0, 8.0)), float(instances_following(2, 1, 1, 8))
    (3.0, 1.0)
    """
    checks.not_negative_if_known(replicas=replicas, most=most)
    each = instances_per_replica(devices_per_replica, devices_per_instance)
    mean = replicas * each + 0.5 * np.maximum(1.0 - each, 0.0)
    instances: Numeric = np.minimum(np.maximum(mean, np.minimum(replicas, 1.0)), most)
    return instances


def cost_per_inference(total_cost: Numeric, successful_requests: Numeric) -> Numeric:
    r"""Cost of one successful inference, everything that was paid included.

    Parameters
    ----------
    total_cost : numeric
        All cost of a period, NaN where unknown. [USD]
    successful_requests : numeric
        Successful inferences of the same period, NaN where unknown. [1]

    Returns
    -------
    cost : numeric
        Cost of one inference; infinite where money was spent and nothing succeeded. [USD]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: c = C / N

    Both may be rates (per second) instead of totals. Nothing spent on nothing is NaN.

    References
    ----------
    .. [1] FinOps Foundation, "FinOps for AI Overview", cost per inference, 2024.

    Examples
    --------
    500 USD a day for 1,000,000 requests:

    >>> float(cost_per_inference(500.0, 1_000_000))
    0.0005
    """
    checks.not_negative_if_known(total_cost=total_cost, successful_requests=successful_requests)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        cost: Numeric = np.divide(total_cost, successful_requests)
    return cost


def split_by_time(
    cost: Numeric, prefill_time: Numeric, decode_time: Numeric
) -> tuple[Numeric, Numeric]:
    r"""Cost of reading the prompt and of writing the answer, by the time that each takes.

    Parameters
    ----------
    cost : numeric
        Cost of both, NaN where unknown. [USD]
    prefill_time : numeric
        Device time of a request for its prompt. [s]
    decode_time : numeric
        Device time of a request for its output. [s]

    Returns
    -------
    prefill_cost : numeric
        Part of the prompt. [USD]
    decode_cost : numeric
        Part of the output; both parts sum to `cost`. [USD]

    Raises
    ------
    ValueError
        If `cost` or a time is negative.

    Notes
    -----
    .. math:: c_p = c\,\frac{t_p}{t_p + t_d}, \qquad c_d = c - c_p

    Where neither takes time the parts are NaN.

    References
    ----------
    .. [1] OpenCost, "Inference cost tracking", release 1.121.0, 2026.

    Examples
    --------
    >>> prefill_cost, decode_cost = split_by_time(0.004, 1.0, 3.0)
    >>> float(prefill_cost), float(decode_cost)
    (0.001, 0.003)
    """
    checks.not_negative_if_known(cost=cost, prefill_time=prefill_time, decode_time=decode_time)
    with np.errstate(divide="ignore", invalid="ignore"):
        prefill_cost: Numeric = cost * np.divide(prefill_time, prefill_time + decode_time)
    return prefill_cost, cost - prefill_cost


def token_price(cost: Numeric, tokens: Numeric) -> Numeric:
    r"""Cost of one token.

    Parameters
    ----------
    cost : numeric
        Cost of the tokens, NaN where unknown. [USD]
    tokens : numeric
        Tokens that it paid for. [1]

    Returns
    -------
    price : numeric
        Cost of one token, NaN where there are no tokens. [USD]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: p = C / T

    Without tokens a price per token has no meaning: it is NaN, neither zero nor infinite.

    References
    ----------
    .. [1] OpenCost, "Inference cost tracking", release 1.121.0, 2026.

    Examples
    --------
    >>> float(token_price(3.0, 1e6)), float(token_price(3.0, 0.0))
    (3e-06, nan)
    """
    checks.not_negative_if_known(cost=cost, tokens=tokens)
    price: Numeric = cost / np.where(np.equal(tokens, 0), np.nan, tokens)
    return price


def commitment_saving(committed_price: Numeric, on_demand_price: Numeric) -> Numeric:
    r"""Part of the on-demand price that a fully used commitment saves.

    Parameters
    ----------
    committed_price : numeric
        Price under the commitment, NaN where unknown. [USD/s]
    on_demand_price : numeric
        Price without it, NaN where unknown. [USD/s]

    Returns
    -------
    saving : numeric
        Share of the on-demand price; negative where the commitment is dearer. [1]

    Raises
    ------
    ValueError
        If a price is negative.

    Notes
    -----
    .. math:: s = 1 - p_c / p_o

    References
    ----------
    .. [1] Amazon Web Services, "Savings Plans User Guide", accessed 2026-11-24.

    Examples
    --------
    >>> float(commitment_saving(6.0, 10.0))
    0.4
    """
    return 1.0 - break_even_utilisation(committed_price, on_demand_price)


def break_even_utilisation(committed_price: Numeric, on_demand_price: Numeric) -> Numeric:
    r"""Part of the time that a commitment must be used to pay off.

    Parameters
    ----------
    committed_price : numeric
        Price under the commitment, paid all the time; NaN where unknown. [USD/s]
    on_demand_price : numeric
        Price without it, paid when used; NaN where unknown. [USD/s]

    Returns
    -------
    utilisation : numeric
        Share of the time at which both cost the same; above 1 the commitment never pays off.
        [1]

    Raises
    ------
    ValueError
        If a price is negative.

    Notes
    -----
    .. math:: u = p_c / p_o

    References
    ----------
    .. [1] FinOps Foundation, "FinOps Framework", capability Rate Optimization, 2025.

    Examples
    --------
    >>> float(break_even_utilisation(6.0, 10.0))
    0.6
    """
    checks.not_negative_if_known(committed_price=committed_price, on_demand_price=on_demand_price)
    with np.errstate(divide="ignore", invalid="ignore"):
        utilisation: Numeric = np.divide(committed_price, on_demand_price)
    return utilisation


def amortised(price: Numeric, lifetime: Numeric, rate_per_year: Numeric) -> Numeric:
    r"""Constant payment that pays back a purchase with interest over its life.

    Parameters
    ----------
    price : numeric
        Price of the purchase, NaN where unknown. [USD]
    lifetime : numeric
        Time over which it is paid back. [s]
    rate_per_year : numeric
        Cost of capital, compounded once a year: 0.08 for 8 %. [1/year]

    Returns
    -------
    payment : numeric
        Payment, spread evenly over each year. [USD/s]

    Raises
    ------
    ValueError
        If `lifetime` is not positive or another argument is negative.

    Notes
    -----
    With a life of :math:`n` years, price times the capital recovery factor:

    .. math:: a = P\,\frac{r}{1 - (1 + r)^{-n}}, \qquad a = \frac{P}{n} \quad (r = 0)

    References
    ----------
    .. [1] W. Short, D. J. Packey, T. Holt, "A Manual for the Economic Evaluation of Energy
       Efficiency and Renewable Energy Technologies", NREL/TP-462-5173, 1995.

    Examples
    --------
    100,000 USD at 8 % over 5 years:

    >>> round(float(amortised(100_000.0, 5 * YEAR, 0.08)) * YEAR)
    25046
    """
    checks.not_negative_if_known(price=price)
    checks.not_negative(rate_per_year=rate_per_year)
    checks.positive(lifetime=lifetime)
    years = lifetime / YEAR
    # The factor is 0/0 without interest; the smallest rate stands in there and is not used.
    rate = np.maximum(rate_per_year, np.finfo(float).tiny)
    factor = rate / -np.expm1(-years * np.log1p(rate))
    recovered = np.where(np.equal(rate_per_year, 0), 1.0 / years, factor)
    payment: Numeric = price * recovered / YEAR
    return payment
