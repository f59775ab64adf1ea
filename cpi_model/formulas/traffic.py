"""Shape and growth of traffic: days, weekends, bursts of minutes, months."""

from __future__ import annotations

import numpy as np
from scipy.special import gammainccinv, gammaincinv, ndtr

from cpi_model import checks
from cpi_model.units import DAY, Numeric

WORKING_DAYS, WEEKEND_DAYS = 5.0, 2.0


def daily_factor(time_of_day: Numeric, swing: Numeric, peak_time: Numeric) -> Numeric:
    r"""Traffic at a time of the day over the mean of the day.

    Every argument is a scalar or an array; arrays broadcast against each other.

    Parameters
    ----------
    time_of_day : numeric
        Time since midnight. [s]
    swing : numeric
        Height of the wave over the mean, from 0 (flat) to 1 (silent once a day). [1]
    peak_time : numeric
        Time since midnight at which traffic is highest. [s]

    Returns
    -------
    factor : numeric
        Traffic over the mean of the day, which is 1. [1]

    Raises
    ------
    ValueError
        If `swing` is not from 0 to 1, or a time is negative.

    Notes
    -----
    .. math:: f = 1 + a\,\cos\left(2\pi\,\frac{t - t_p}{24\,\mathrm{h}}\right)

    References
    ----------
    .. [1] L. V. Green, P. J. Kolesar and W. Whitt, "Coping with time-varying demand when setting
       staffing requirements for a service system", Production and Operations Management 16, 2007.

    Examples
    --------
    >>> daily_factor(np.array([0.0, 6.0, 12.0]) * 3600.0, 0.3, 12.0 * 3600.0)
    array([0.7, 1. , 1.3])
    """
    checks.share(swing=swing)
    checks.not_negative(time_of_day=time_of_day, peak_time=peak_time)
    factor: Numeric = 1.0 + swing * np.cos(2.0 * np.pi * (time_of_day - peak_time) / DAY)
    return factor


def weekly_factor(weekday: Numeric, weekend_to_weekday: Numeric) -> Numeric:
    r"""Traffic of a day of the week over the mean of the week.

    Every argument is a scalar or an array; arrays broadcast against each other.

    Parameters
    ----------
    weekday : numeric
        Day of the week, from 0 for Monday to 6 for Sunday. [1]
    weekend_to_weekday : numeric
        Traffic of Saturday and Sunday over that of the other days. [1]

    Returns
    -------
    factor : numeric
        Traffic over the mean of the week, which is 1. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: f = \frac{7\,w_d}{5 + 2\,w}, \quad w_d = w \text{ at the weekend, else } 1

    References
    ----------
    .. [1] J. Stojkovic et al., "DynamoLLM: Designing LLM inference clusters for performance and
       energy efficiency", HPCA 2025: weekday and weekend load of two production services.

    Examples
    --------
    >>> weekly_factor(np.array([4, 5]), 0.3)
    array([1.25 , 0.375])
    """
    checks.not_negative(weekday=weekday, weekend_to_weekday=weekend_to_weekday)
    week = WORKING_DAYS + WEEKEND_DAYS * weekend_to_weekday
    of_day = np.where(np.asarray(weekday) >= WORKING_DAYS, weekend_to_weekday, 1.0)
    factor: Numeric = (WORKING_DAYS + WEEKEND_DAYS) * of_day / week
    return factor


def gamma_factor(normal: Numeric, cv: Numeric) -> Numeric:
    r"""Gamma-distributed factor with mean 1 from a standard normal number.

    A correlated series of normal numbers becomes a correlated series of factors whose
    distribution is exactly the gamma distribution. Arrays broadcast against each other.

    Parameters
    ----------
    normal : numeric
        Standard normal number. [1]
    cv : numeric
        Standard deviation of the factor over its mean; 0 gives the factor 1. [1]

    Returns
    -------
    factor : numeric
        Factor with mean 1. [1]

    Raises
    ------
    ValueError
        If `cv` is negative.

    Notes
    -----
    .. math:: f = c^2\,P^{-1}\left(\frac{1}{c^2}, \Phi(z)\right)

    with :math:`P` the regularised lower incomplete gamma function.

    References
    ----------
    .. [1] M. C. Cario and B. L. Nelson, "Modeling and generating random vectors with arbitrary
       marginal distributions and correlation matrix", Northwestern University, 1997.

    Examples
    --------
    With a CV of 1 the distribution is exponential, whose median is the logarithm of 2:

    >>> round(float(gamma_factor(0.0, 1.0)), 6)
    0.693147
    """
    checks.not_negative(cv=cv)
    spread = np.maximum(np.asarray(cv, dtype=float), 1e-9) ** 2
    # By the nearer tail: far out, the other one is 1 to the last digit.
    tail, above = ndtr(-np.abs(normal)), np.asarray(normal) > 0.0
    high, low = gammainccinv(1.0 / spread, tail), gammaincinv(1.0 / spread, tail)
    factor: Numeric = np.where(np.asarray(cv) > 0.0, spread * np.where(above, high, low), 1.0)
    return factor


def index_of_dispersion(counts: Numeric) -> Numeric:
    r"""Variance over mean of counts of requests: 1 for a Poisson stream, more for bursts.

    Parameters
    ----------
    counts : numeric
        Requests in each of at least two intervals of the same length, along the last axis;
        intervals that are not known are NaN and play no part. [1]

    Returns
    -------
    index : numeric
        Index of dispersion for counts; NaN without any request. [1]

    Raises
    ------
    ValueError
        If a count is negative.

    Notes
    -----
    .. math:: I = \frac{\operatorname{var} N}{\operatorname{E} N}

    References
    ----------
    .. [1] R. Gusella, "Characterizing the variability of arrival processes with indexes of
       dispersion", IEEE Journal on Selected Areas in Communications 9, 1991.

    Examples
    --------
    >>> round(float(index_of_dispersion(np.array([8.0, 12.0, 10.0, 10.0]))), 4)
    0.2667
    """
    checks.not_negative_if_known(counts=counts)
    mean = np.nanmean(counts, axis=-1)
    variance = np.nanvar(counts, axis=-1, ddof=1)
    index: Numeric = np.where(mean > 0.0, variance / np.where(mean > 0.0, mean, 1.0), np.nan)
    return index


def grown(arrival_rate: Numeric, months: Numeric, monthly_growth: Numeric) -> Numeric:
    r"""Traffic after some months of steady growth.

    Every argument is a scalar or an array; arrays broadcast against each other.

    Parameters
    ----------
    arrival_rate : numeric
        Requests per second now. [1/s]
    months : numeric
        Months from now. [1]
    monthly_growth : numeric
        Growth in a month, negative where traffic shrinks, above -1. [1]

    Returns
    -------
    arrival_rate : numeric
        Requests per second then. [1/s]

    Raises
    ------
    ValueError
        If `arrival_rate` or `months` is negative, or `monthly_growth` is not above -1.

    Notes
    -----
    .. math:: \lambda(m) = \lambda_0\,(1 + g)^m

    References
    ----------
    .. [1] S. G. Kellison, "The Theory of Interest", 3rd edition, chapter 1, 2008.

    Examples
    --------
    Ten percent a month are a little more than three times as much after a year:

    >>> round(float(grown(10.0, 12.0, 0.10)), 2)
    31.38
    """
    checks.not_negative(arrival_rate=arrival_rate, months=months)
    checks.positive(kept=1.0 + np.asarray(monthly_growth, dtype=float))
    later: Numeric = arrival_rate * (1.0 + np.asarray(monthly_growth)) ** months
    return later
