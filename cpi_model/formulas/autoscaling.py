"""What an autoscaler decides, how long a new replica takes, and what was too much or too little.

Decisions are of one moment and of plain numbers, so that loops over time can compile them. What an
autoscaler remembers (windows, cooldowns, panic) is an argument.
"""

from __future__ import annotations

import math

import numpy as np

from cpi_model import checks
from cpi_model.units import DAY, Array, Numeric

WEEK = 7 * DAY

# Kubernetes HPA -----------------------------------------------------------------------------------


def hpa_replicas(
    ready: float, not_ready: float, mean_metric: float, target: float, tolerance: float
) -> float:
    r"""Replicas that the Kubernetes HPA asks for, from the mean of a metric over its pods.

    Parameters
    ----------
    ready : float
        Pods that are ready. [1]
    not_ready : float
        Pods that are not ready yet. [1]
    mean_metric : float
        Mean of the metric over the ready pods. [1]
    target : float
        Value that the metric is to have, in the unit of the metric. [1]
    tolerance : float
        Deviation from the target at which nothing is done. [1]

    Returns
    -------
    replicas : float
        Replicas asked for, before stabilisation and limits. [1]

    Raises
    ------
    ValueError
        If `target` is not positive.

    Notes
    -----
    .. math:: n' = \left\lceil n\,\frac{m}{m^*} \right\rceil \quad
       \text{where } \left|\frac{m}{m^*} - 1\right| > \tau

    On the way up, pods that are not ready count with zero: with :math:`n` ready and :math:`s`
    others the ratio is :math:`\frac{m}{m^*} \cdot \frac{n}{n + s}`. Where that is within the
    tolerance or turns the direction round, nothing is done. On the way down they are left out.
    Without a ready pod there is no metric, and nothing is done.

    References
    ----------
    .. [1] Kubernetes, "Horizontal Pod Autoscaling", section Algorithm details, and
       pkg/controller/podautoscaler/replica_calculator.go, v1.33, 2025.

    Examples
    --------
    The cases of the documentation: 200m at a target of 100m doubles the replicas, 50m halves them,
    and 305 % at a target of 50 % makes seven of one:

    >>> hpa_replicas(2.0, 0.0, 0.2, 0.1, 0.1), hpa_replicas(2.0, 0.0, 0.05, 0.1, 0.1)
    (4.0, 1.0)
    >>> hpa_replicas(1.0, 0.0, 305.0, 50.0, 0.1)
    7.0
    """
    if not target > 0.0:
        raise ValueError("target must be greater than 0")
    replicas = ready + not_ready
    if ready <= 0.0:
        return replicas
    ratio = mean_metric / target
    if not_ready <= 0.0 or ratio <= 1.0:
        if abs(ratio - 1.0) <= tolerance:
            return replicas
        return float(math.ceil(ratio * ready))
    damped = ratio * ready / replicas
    if damped <= 1.0 + tolerance:
        return replicas
    return float(math.ceil(damped * replicas))


def hpa_replicas_for_total(
    replicas: float, total_metric: float, target: float, tolerance: float
) -> float:
    r"""Replicas that the Kubernetes HPA asks for, from the total of an external metric.

    Parameters
    ----------
    replicas : float
        Replicas at present, ready or not. [1]
    total_metric : float
        Total of the metric, such as the length of a queue. [1]
    target : float
        Part of it that one replica is to have (AverageValue). [1]
    tolerance : float
        Deviation from the target at which nothing is done. [1]

    Returns
    -------
    replicas : float
        Replicas asked for, before stabilisation and limits. [1]

    Raises
    ------
    ValueError
        If `target` is not positive.

    Notes
    -----
    .. math:: n' = \left\lceil \frac{M}{m^*} \right\rceil \quad
       \text{where } \left|\frac{M}{m^* n} - 1\right| > \tau

    References
    ----------
    .. [1] Kubernetes, pkg/controller/podautoscaler/replica_calculator.go, function
       GetExternalPerPodMetricReplicas, v1.33, 2025.

    Examples
    --------
    95 requests at 30 each, from two replicas; at three the same is within a tenth and a half:

    >>> hpa_replicas_for_total(2.0, 95.0, 30.0, 0.1), hpa_replicas_for_total(3.0, 95.0, 30.0, 0.1)
    (4.0, 3.0)
    """
    if not target > 0.0:
        raise ValueError("target must be greater than 0")
    if replicas > 0.0 and abs(total_metric / (target * replicas) - 1.0) <= tolerance:
        return replicas
    return float(math.ceil(total_metric / target))


def stabilised_replicas(replicas: float, lowest: float, highest: float) -> float:
    r"""Replicas after the stabilisation of the Kubernetes HPA.

    Parameters
    ----------
    replicas : float
        Replicas at present. [1]
    lowest : float
        Least of the recommendations in the window for going up, the present one included. [1]
    highest : float
        Greatest of the recommendations in the window for going down, the present one included.
        [1]

    Returns
    -------
    replicas : float
        Replicas asked for. [1]

    Raises
    ------
    ValueError
        If `lowest` is above `highest`.

    Notes
    -----
    .. math:: n' = \min(\max(n, l), h)

    With the default windows, none for going up and 300 s for going down, this is the present
    recommendation on the way up and the greatest of five minutes on the way down.

    References
    ----------
    .. [1] Kubernetes, "Horizontal Pod Autoscaling", section Stabilization window, v1.33, 2025.

    Examples
    --------
    Five are there, two would do now, and four did within the window:

    >>> stabilised_replicas(5.0, 2.0, 4.0), stabilised_replicas(3.0, 2.0, 4.0)
    (4.0, 3.0)
    """
    if lowest > highest:
        raise ValueError("lowest must be at most highest")
    return min(max(replicas, lowest), highest)


def hpa_limited(
    replicas: float,
    desired: float,
    added_share: float,
    added_replicas: float,
    removed_share: float,
    removed_replicas: float,
) -> float:
    r"""Replicas that the behaviour of a Kubernetes HPA allows in one period.

    Parameters
    ----------
    replicas : float
        Replicas at the beginning of the period. [1]
    desired : float
        Replicas asked for. [1]
    added_share : float
        Share of them that may be added, or `added_replicas` if that is more. [1]
    added_replicas : float
        Replicas that may be added. [1]
    removed_share : float
        Share that may be removed, or `removed_replicas` if that is more. [1]
    removed_replicas : float
        Replicas that may be removed. [1]

    Returns
    -------
    replicas : float
        Replicas at the end of the period. [1]

    Raises
    ------
    ValueError
        If an amount is negative.

    Notes
    -----
    .. math:: \min\left(\lfloor n (1 - r) \rfloor,\ n - R\right) \le n' \le
       \max\left(\lceil n (1 + a) \rceil,\ n + A\right)

    By default :math:`a = 1`, :math:`A = 4`, :math:`r = 1` in 15 s.

    References
    ----------
    .. [1] Kubernetes, "Horizontal Pod Autoscaling", section Scaling policies, v1.33, 2025.

    Examples
    --------
    By default one becomes five at once. The documentation's 10 % of 80 are 8, and of 72 they are
    8 again:

    >>> hpa_limited(1.0, 20.0, 1.0, 4.0, 1.0, 0.0)
    5.0
    >>> hpa_limited(80.0, 10.0, 1.0, 4.0, 0.1, 4.0), hpa_limited(72.0, 10.0, 1.0, 4.0, 0.1, 4.0)
    (72.0, 64.0)
    """
    if min(added_share, added_replicas, removed_share, removed_replicas) < 0.0:
        raise ValueError("added and removed amounts must be 0 or more")
    most = max(float(math.ceil(replicas * (1.0 + added_share))), replicas + added_replicas)
    least = min(
        float(math.floor(replicas * (1.0 - min(removed_share, 1.0)))), replicas - removed_replicas
    )
    return min(max(desired, least, 0.0), most)


# KEDA ---------------------------------------------------------------------------------------------


def keda_replicas(
    replicas: float, active: bool, idle_time: float, cooldown: float, least: float
) -> float:
    r"""Replicas as KEDA turns a service on and off.

    Parameters
    ----------
    replicas : float
        Replicas at present. [1]
    active : bool
        Whether the trigger has anything to do. [1]
    idle_time : float
        Time since it last had. [s]
    cooldown : float
        Time without anything to do after which the service is turned off. [s]
    least : float
        Least replicas (minReplicaCount). [1]

    Returns
    -------
    replicas : float
        Replicas after the poll; between one and the most they are left to the HPA. [1]

    Raises
    ------
    ValueError
        If a time or number is negative.

    Notes
    -----
    .. math:: n' = \begin{cases} \max(n, 1, n_{\min}) & \text{active} \\
       0 & n_{\min} = 0 \text{ and idle for the cooldown} \\ \max(n, n_{\min}) & \text{else}
       \end{cases}

    References
    ----------
    .. [1] KEDA 2.17, "ScaledObject specification", pollingInterval and cooldownPeriod, 2025.

    Examples
    --------
    >>> keda_replicas(0.0, True, 0.0, 300.0, 0.0), keda_replicas(2.0, False, 299.0, 300.0, 0.0)
    (1.0, 2.0)
    >>> keda_replicas(2.0, False, 300.0, 300.0, 0.0)
    0.0
    """
    if min(replicas, idle_time, cooldown, least) < 0.0:
        raise ValueError("replicas, idle_time, cooldown and least must be 0 or more")
    if active:
        return max(replicas, 1.0, least)
    if idle_time >= cooldown and least == 0.0:
        return 0.0
    return max(replicas, least)


# Knative ------------------------------------------------------------------------------------------


def kpa_replicas(
    concurrency: float, target: float, ready: float, most_up_rate: float, most_down_rate: float
) -> float:
    r"""Pods that the Knative autoscaler wants for what it has seen in a window.

    Parameters
    ----------
    concurrency : float
        Mean of the requests that were in flight in the window. [1]
    target : float
        Requests that a pod is to have. [1]
    ready : float
        Pods that are ready; none counts as one. [1]
    most_up_rate : float
        Most times as many as are ready. [1]
    most_down_rate : float
        Most times fewer than are ready. [1]

    Returns
    -------
    replicas : float
        Pods wanted. [1]

    Raises
    ------
    ValueError
        If `target` is not positive or a rate is below 1.

    Notes
    -----
    .. math:: n' = \min\left(\max\left(\left\lceil \frac{c}{c^*} \right\rceil,
       \left\lfloor \frac{n}{d} \right\rfloor\right), \lceil u\,n \rceil\right)

    The same for the stable window of 60 s and for the panic window of 6 s.

    References
    ----------
    .. [1] Knative Serving, pkg/autoscaler/scaling/autoscaler.go and config/core/configmaps/
       autoscaler.yaml, v1.18, 2025.

    Examples
    --------
    Cases of its own tests: 1,000 requests at 10 each, at most ten times as many pods; 1 request and
    100 pods, at most ten times fewer:

    >>> kpa_replicas(1000.0, 10.0, 1.0, 10.0, 2.0), kpa_replicas(1.0, 10.0, 100.0, 10.0, 10.0)
    (10.0, 10.0)
    """
    if not target > 0.0:
        raise ValueError("target must be greater than 0")
    if most_up_rate < 1.0 or most_down_rate < 1.0:
        raise ValueError("most_up_rate and most_down_rate must be at least 1")
    pods = max(ready, 1.0)
    wanted = max(float(math.ceil(concurrency / target)), float(math.floor(pods / most_down_rate)))
    return min(wanted, float(math.ceil(most_up_rate * pods)))


def kpa_panics(concurrency: float, target: float, ready: float, threshold: float) -> bool:
    r"""Whether the Knative autoscaler panics at what it has seen in its panic window.

    Parameters
    ----------
    concurrency : float
        Mean of the requests that were in flight in the panic window. [1]
    target : float
        Requests that a pod is to have. [1]
    ready : float
        Pods that are ready; none counts as one. [1]
    threshold : float
        Times as many pods as are ready at which it panics. [1]

    Returns
    -------
    panics : bool
        Whether it does; it stays in panic until a stable window without. [1]

    Raises
    ------
    ValueError
        If `target` is not positive.

    Notes
    -----
    .. math:: \frac{\lceil c / c^* \rceil}{\max(n, 1)} \ge \theta

    References
    ----------
    .. [1] Knative Serving, pkg/autoscaler/scaling/autoscaler.go, v1.18, 2025.

    Examples
    --------
    >>> kpa_panics(100.0, 10.0, 5.0, 2.0), kpa_panics(90.0, 10.0, 5.0, 2.0)
    (True, False)
    """
    if not target > 0.0:
        raise ValueError("target must be greater than 0")
    return math.ceil(concurrency / target) / max(ready, 1.0) >= threshold


def kpa_decision(stable: float, panic: float, panicking: bool, most_in_panic: float) -> float:
    r"""Pods that the Knative autoscaler asks for, from what both of its windows want.

    Parameters
    ----------
    stable : float
        Pods wanted for the stable window. [1]
    panic : float
        Pods wanted for the panic window. [1]
    panicking : bool
        Whether it is in panic. [1]
    most_in_panic : float
        Most pods asked for since the panic began; 0 at its beginning. [1]

    Returns
    -------
    replicas : float
        Pods asked for; in panic never fewer than before. [1]

    Raises
    ------
    ValueError
        If a number of pods is negative.

    Notes
    -----
    .. math:: n' = \begin{cases} n_s & \text{stable} \\
       \max(n_s, n_p, n_{\text{before}}) & \text{in panic} \end{cases}

    References
    ----------
    .. [1] Knative Serving, pkg/autoscaler/scaling/autoscaler.go, v1.18, 2025.

    Examples
    --------
    >>> kpa_decision(5.0, 10.0, False, 0.0), kpa_decision(5.0, 10.0, True, 12.0)
    (5.0, 12.0)
    """
    if min(stable, panic, most_in_panic) < 0.0:
        raise ValueError("stable, panic and most_in_panic must be 0 or more")
    return max(stable, panic, most_in_panic) if panicking else stable


# Target tracking ----------------------------------------------------------------------------------


def target_tracking_replicas(
    replicas: float,
    ready: float,
    mean_metric: float,
    target: float,
    tolerance: float,
    out_cools: bool,
    in_cools: bool,
) -> float:
    r"""Replicas that target tracking of a cloud asks for.

    Parameters
    ----------
    replicas : float
        Replicas at present, ready or not. [1]
    ready : float
        Replicas that are ready. [1]
    mean_metric : float
        Mean of the metric over the ready replicas. [1]
    target : float
        Value that the metric is to have, in the unit of the metric. [1]
    tolerance : float
        Share below the target down to which nothing is removed. [1]
    out_cools : bool
        Whether the last addition was less than the scale-out cooldown ago. [1]
    in_cools : bool
        Whether the last removal was less than the scale-in cooldown ago. [1]

    Returns
    -------
    replicas : float
        Replicas asked for. [1]

    Raises
    ------
    ValueError
        If `target` is not positive.

    Notes
    -----
    .. math:: n' = \left\lceil b\,\frac{m}{m^*} \right\rceil

    with :math:`b` all replicas, and only the ready ones while an addition cools down, so that what
    was just added counts as part of what is needed. More is added at once; less only where no
    removal cools down.

    References
    ----------
    .. [1] Amazon Web Services, "Application Auto Scaling API Reference",
       TargetTrackingScalingPolicyConfiguration, ScaleInCooldown and ScaleOutCooldown, accessed
       2026-11-25.

    Examples
    --------
    Two of four are still starting: during the cooldown their number is enough, after it is not.

    >>> target_tracking_replicas(4.0, 2.0, 8.0, 4.0, 0.1, True, False)
    4.0
    >>> target_tracking_replicas(4.0, 2.0, 8.0, 4.0, 0.1, False, False)
    8.0
    >>> target_tracking_replicas(4.0, 4.0, 1.0, 4.0, 0.1, False, True)
    4.0
    """
    if not target > 0.0:
        raise ValueError("target must be greater than 0")
    if ready <= 0.0:
        return replicas
    ratio = mean_metric / target
    if ratio > 1.0:
        return max(float(math.ceil((ready if out_cools else replicas) * ratio)), replicas)
    if in_cools or ratio >= 1.0 - tolerance:
        return replicas
    return float(math.ceil(replicas * ratio))


# Plans --------------------------------------------------------------------------------------------


def weekly_plan(rates: Array, step: float, width: float) -> Array:
    r"""Busiest rate of each time of the week, at all times: what a schedule plans for.

    Parameters
    ----------
    rates : array, shape (ticks,)
        Requests per second. [1/s]
    step : float
        Length of a tick. [s]
    width : float
        Length of the times that are told apart, such as an hour. [s]

    Returns
    -------
    planned : array, shape (ticks,)
        Greatest rate of all ticks at the same time of the week. [1/s]

    Raises
    ------
    ValueError
        If a rate is negative or a length is not positive.

    Notes
    -----
    .. math:: \hat\lambda_t = \max\{\lambda_s :
       \lfloor (s \bmod w) / h \rfloor = \lfloor (t \bmod w) / h \rfloor\}

    with the week :math:`w`. It knows the week that it plans for, as its author knows past ones.

    References
    ----------
    .. [1] KEDA 2.17, "Cron scaler", 2025.

    Examples
    --------
    >>> weekly_plan(np.array([1.0, 3.0, 2.0, 2.0]), 1800.0, 3600.0)
    array([3., 3., 2., 2.])
    """
    checks.not_negative(rates=rates)
    checks.positive(step=step, width=width)
    time = step * np.arange(float(len(rates)))
    slot = np.floor(np.mod(time, WEEK) / width * (1.0 + 1e-12)).astype(np.intp)
    most = np.zeros(slot.max(initial=0) + 1)
    np.maximum.at(most, slot, rates)
    planned: Array = most[slot]
    return planned


def seasonal_forecast(
    rates: Array, step: float, season: float, lead: float, headroom_share: float
) -> Array:
    r"""Seasonal-naive forecast of the busiest rate in the time that a new replica takes.

    Parameters
    ----------
    rates : array, shape (ticks,)
        Requests per second. [1/s]
    step : float
        Length of a tick. [s]
    season : float
        Time after which traffic is expected to be the same: a day or a week. [s]
    lead : float
        Time ahead that is looked at. [s]
    headroom_share : float
        Capacity beyond the forecast, relative to it. [1]

    Returns
    -------
    planned : array, shape (ticks,)
        Rate to have capacity for at each tick. [1/s]

    Raises
    ------
    ValueError
        If a rate, `lead` or `headroom_share` is negative or another length is not positive.

    Notes
    -----
    .. math:: \hat\lambda_t = (1 + h) \max_{0 \le u \le l} \lambda_{t + u - s}

    Before the first season is over nothing is known of it: the last known rate stands in.

    References
    ----------
    .. [1] R. J. Hyndman, G. Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed.,
       section 5.2, 2021.

    Examples
    --------
    A season of four ticks, one tick ahead:

    >>> seasonal_forecast(np.array([1.0, 5.0, 1.0, 1.0, 0.0, 0.0]), 1.0, 4.0, 1.0, 0.2)
    array([1.2, 1.2, 6. , 1.2, 6. , 6. ])
    """
    checks.not_negative(rates=rates, lead=lead, headroom_share=headroom_share)
    checks.positive(step=step, season=season)
    back, ahead = max(round(season / step), 1), math.ceil(lead / step - 1e-9)
    known = np.append(rates[:1], rates[:-1])
    expected = known.copy()
    for later in range(ahead + 1):
        moved = max(back - later, 1)
        if moved < len(rates):
            np.maximum(expected[back:], rates[back - moved : len(rates) - moved],
                       out=expected[back:])  # fmt: skip
    return (1.0 + headroom_share) * expected


# Cold starts and what was too much ----------------------------------------------------------------


def cold_start_time(
    node_start: Numeric,
    image_bytes: Numeric,
    pull_bandwidth: Numeric,
    weight_bytes: Numeric,
    load_bandwidth: Numeric,
    engine_start: Numeric,
) -> Numeric:
    r"""Time from asking for a replica until it answers.

    Parameters
    ----------
    node_start : numeric
        Until the machine is there; 0 where the replica finds a place. [s]
    image_bytes : numeric
        Container image, 0 where it is there. [B]
    pull_bandwidth : numeric
        At which it is fetched and unpacked. [B/s]
    weight_bytes : numeric
        Weights of the replica. [B]
    load_bandwidth : numeric
        At which they come from storage into the memory of the device. [B/s]
    engine_start : numeric
        Of the process: libraries, memory set aside, graphs recorded. [s]

    Returns
    -------
    time : numeric
        All phases, one after another. [s]

    Raises
    ------
    ValueError
        If a bandwidth is not positive or another argument is negative.

    Notes
    -----
    .. math:: t = t_n + \frac{I}{\beta_i} + \frac{W}{\beta_w} + t_e

    References
    ----------
    .. [1] Y. Fu et al., "ServerlessLLM: Low-Latency Serverless Inference for Large Language
       Models", OSDI 2024.

    Examples
    --------
    140 GB of weights at 1 GB/s take 140 s, on a machine that is there and has the image:

    >>> cold_start_time(0.0, 0.0, 1e8, 140e9, 1e9, 0.0)
    140.0
    """
    checks.not_negative(
        node_start=node_start, image_bytes=image_bytes, weight_bytes=weight_bytes,
        engine_start=engine_start,
    )  # fmt: skip
    checks.positive(pull_bandwidth=pull_bandwidth, load_bandwidth=load_bandwidth)
    return node_start + image_bytes / pull_bandwidth + weight_bytes / load_bandwidth + engine_start


def provisioning_gap(ready: float, needed: float) -> tuple[float, float]:
    r"""Replicas too many and too few at one moment.

    Parameters
    ----------
    ready : float
        Replicas that are ready. [1]
    needed : float
        Replicas that the load needs within its limits. [1]

    Returns
    -------
    over : float
        Replicas beyond the need. [1]
    under : float
        Replicas missing. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: o = \max(0, r - n), \qquad u = \max(0, n - r)

    Integrated over time they are over- and under-provisioned replica-hours.

    References
    ----------
    .. [1] N. Herbst, S. Kounev, R. Reussner, "Elasticity in Cloud Computing: What It Is, and What
       It Is Not", ICAC 2013.

    Examples
    --------
    >>> provisioning_gap(5.0, 3.0), provisioning_gap(1.0, 3.0)
    ((2.0, 0.0), (0.0, 2.0))
    """
    if min(ready, needed) < 0.0:
        raise ValueError("ready and needed must be 0 or more")
    return max(ready - needed, 0.0), max(needed - ready, 0.0)
