"""How long work takes when arithmetic and memory are both limited."""

from __future__ import annotations

import math

import numpy as np

from cpi_model import checks
from cpi_model.units import Numeric


def p_norm(first: Numeric, second: Numeric, exponent: Numeric) -> Numeric:
    r"""Smooth maximum of two times that overlap in part.

    Parameters
    ----------
    first : numeric
        One time, may be zero. [s]
    second : numeric
        The other time, may be zero. [s]
    exponent : numeric
        1 adds the times (no overlap); infinity takes the larger one (perfect overlap). [1]

    Returns
    -------
    time : numeric
        Time of both together: at least the larger, at most the sum. [s]

    Raises
    ------
    ValueError
        If a time is negative or `exponent` is below 1.

    Notes
    -----
    .. math:: t = \left(a^p + b^p\right)^{1/p}

    It is computed as the larger time and a factor, so that no power can overflow or underflow.

    References
    ----------
    .. [1] S. W. Churchill, R. Usagi, "A General Expression for the Correlation of Rates of
       Transfer and Other Phenomena", AIChE Journal 18, 1972.

    Examples
    --------
    >>> float(p_norm(3.0, 4.0, 2.0))
    5.0
    >>> float(p_norm(3.0, 4.0, float("inf"))), float(p_norm(3.0, 4.0, 1.0))
    (4.0, 7.0)
    """
    checks.not_negative(first=first, second=second)
    checks.at_least(1, exponent=exponent)
    larger = np.maximum(first, second)
    if isinstance(exponent, float) and math.isinf(exponent):
        whole: Numeric = larger
        return whole
    smaller = np.minimum(first, second)
    ratio = smaller / np.maximum(larger, np.finfo(float).tiny)
    if isinstance(exponent, float) and exponent == 4.0:
        # The usual exponent, many times faster than general powers.
        square = ratio * ratio
        usual: Numeric = larger * np.sqrt(np.sqrt(1.0 + square * square))
        return usual
    time: Numeric = larger * (1.0 + ratio**exponent) ** (1.0 / exponent)
    return time


def roofline_time(
    flops: Numeric,
    bytes_moved: Numeric,
    peak: Numeric,
    bandwidth: Numeric,
    exponent: Numeric = math.inf,
) -> Numeric:
    r"""Time of work that needs arithmetic and memory traffic.

    Parameters
    ----------
    flops : numeric
        Operations. [FLOP]
    bytes_moved : numeric
        Bytes read from and written to memory. [B]
    peak : numeric
        Operations per second that can be reached. [FLOP/s]
    bandwidth : numeric
        Bytes per second that can be reached. [B/s]
    exponent : numeric
        How well the two overlap, see :func:`p_norm`. [1]

    Returns
    -------
    time : numeric
        Time of the work. [s]

    Raises
    ------
    ValueError
        If `flops` or `bytes_moved` is negative, `peak` or `bandwidth` is not positive, or
        `exponent` is below 1.

    Notes
    -----
    .. math:: t = \left\| \left(\frac{W}{F}, \frac{Q}{\beta}\right) \right\|_p

    References
    ----------
    .. [1] S. Williams, A. Waterman, D. Patterson, "Roofline: An Insightful Visual Performance
       Model for Multicore Architectures", Communications of the ACM 52, 2009.

    Examples
    --------
    >>> float(roofline_time(2e12, 1e9, 1e15, 1e12))
    0.002
    """
    checks.positive(peak=peak, bandwidth=bandwidth)
    checks.not_negative(flops=flops, bytes_moved=bytes_moved)
    return p_norm(flops / peak, bytes_moved / bandwidth, exponent)


def ridge_point(peak: Numeric, bandwidth: Numeric) -> Numeric:
    r"""Operations per byte at which arithmetic and memory take equally long.

    Parameters
    ----------
    peak : numeric
        Operations per second. [FLOP/s]
    bandwidth : numeric
        Bytes per second. [B/s]

    Returns
    -------
    intensity : numeric
        Arithmetic intensity at the ridge. [FLOP/B]

    Raises
    ------
    ValueError
        If an argument is not positive.

    Notes
    -----
    .. math:: I = F / \beta

    References
    ----------
    .. [1] S. Williams, A. Waterman, D. Patterson, "Roofline: An Insightful Visual Performance
       Model for Multicore Architectures", Communications of the ACM 52, 2009.
    .. [2] J. Austin et al., "How to Scale Your Model", ch. "All About Rooflines", 2025.

    Examples
    --------
    TPU v5e in bf16:

    >>> round(ridge_point(1.97e14, 8.2e11))
    240
    """
    checks.positive(peak=peak, bandwidth=bandwidth)
    return peak / bandwidth


def saturating_efficiency(work: Numeric, half_work: Numeric, top: Numeric) -> Numeric:
    r"""Share of a peak that is reached with a given amount of parallel work.

    Parameters
    ----------
    work : numeric
        Parallel work: tokens of a step, samples of a batch, operations. [1]
    half_work : numeric
        Work at which half of `top` is reached, in the unit of `work`; 0 where the top is reached
        at once. [1]
    top : numeric
        Share of the peak that unlimited work reaches. [1]

    Returns
    -------
    efficiency : numeric
        Share of the peak. [1]

    Raises
    ------
    ValueError
        If `work` is not positive, `half_work` is negative or `top` is not from 0 to 1.

    Notes
    -----
    .. math:: e = \frac{e_\infty}{1 + w_{1/2} / w} = e_\infty \frac{w}{w + w_{1/2}}

    References
    ----------
    .. [1] R. W. Hockney, "(r∞, n1/2, s1/2) Measurements on the 2-CPU CRAY X-MP", Parallel
       Computing 2, 1985.

    Examples
    --------
    >>> saturating_efficiency(64.0, 64.0, 0.8)
    0.4
    """
    checks.positive(work=work)
    checks.not_negative(half_work=half_work)
    checks.share(top=top)
    return top * (work / (work + half_work))


def decode_step_time(
    batch: Numeric,
    kv_bytes_per_sequence: Numeric,
    weight_bytes: Numeric,
    active_params: Numeric,
    bandwidth: Numeric,
    peak_flops: Numeric,
) -> Numeric:
    r"""Least time in which one decode step can finish.

    Parameters
    ----------
    batch : numeric
        Sequences decoded together. [1]
    kv_bytes_per_sequence : numeric
        Key-value cache read per sequence, may be zero. [B]
    weight_bytes : numeric
        Weights read in the step. [B]
    active_params : numeric
        Parameters that each token is multiplied with. [1]
    bandwidth : numeric
        Memory bandwidth of all devices together. [B/s]
    peak_flops : numeric
        Peak of all devices together. [FLOP/s]

    Returns
    -------
    step_time : numeric
        Time per generated token of each sequence. [s]

    Raises
    ------
    ValueError
        If `kv_bytes_per_sequence` is negative or any other argument is not positive. NaN counts
        as not positive.

    Notes
    -----
    .. math:: t = \frac{B\,k}{\beta} + \max\left(\frac{2\,B\,P}{F}, \frac{W}{\beta}\right)

    A floor: no efficiency, no communication, no overhead.

    References
    ----------
    .. [1] J. Austin et al., "How to Scale Your Model", ch. "All About Transformer Inference",
       2025.

    Examples
    --------
    A model of 30e9 parameters in int8 on 16 TPU v5e, 8192 tokens of 100 kB in each sequence:

    >>> decode_step_time(np.array([4, 256]), 819e6, 30e9, 30e9, 16 * 8.1e11, 16 * 1.97e14)
    array([0.00256759, 0.02105087])
    """
    checks.positive(
        batch=batch, weight_bytes=weight_bytes, active_params=active_params, bandwidth=bandwidth,
        peak_flops=peak_flops,
    )  # fmt: skip
    checks.not_negative(kv_bytes_per_sequence=kv_bytes_per_sequence)
    linear = np.maximum(2 * batch * active_params / peak_flops, weight_bytes / bandwidth)
    step_time: Numeric = batch * kv_bytes_per_sequence / bandwidth + linear
    return step_time


def prefill_time(
    tokens: Numeric,
    active_params: Numeric,
    attention_flops: Numeric,
    weight_bytes: Numeric,
    bandwidth: Numeric,
    peak_flops: Numeric,
) -> Numeric:
    r"""Least time in which prompt tokens can be read.

    Parameters
    ----------
    tokens : numeric
        Prompt tokens processed in the step. [1]
    active_params : numeric
        Parameters that each token is multiplied with. [1]
    attention_flops : numeric
        Operations of attention over all pairs, may be zero. [FLOP]
    weight_bytes : numeric
        Weights read in the step. [B]
    bandwidth : numeric
        Memory bandwidth of all devices together. [B/s]
    peak_flops : numeric
        Peak of all devices together. [FLOP/s]

    Returns
    -------
    time : numeric
        Time of the step. [s]

    Raises
    ------
    ValueError
        If `attention_flops` is negative or any other argument is not positive.

    Notes
    -----
    .. math:: t = \max\left(\frac{2\,P\,T + A}{F}, \frac{W}{\beta}\right)

    A floor: no efficiency, no communication, no overhead.

    References
    ----------
    .. [1] J. Austin et al., "How to Scale Your Model", ch. "All About Transformer Inference",
       2025.

    Examples
    --------
    8192 tokens through 70e9 parameters in bf16 on 16 TPU v5e, without attention:

    >>> round(float(prefill_time(8192, 70e9, 0.0, 140e9, 16 * 8.1e11, 16 * 1.97e14)), 3)
    0.364
    """
    checks.positive(
        tokens=tokens, active_params=active_params, weight_bytes=weight_bytes,
        bandwidth=bandwidth, peak_flops=peak_flops,
    )  # fmt: skip
    checks.not_negative(attention_flops=attention_flops)
    arithmetic = (2 * active_params * tokens + attention_flops) / peak_flops
    time: Numeric = np.maximum(arithmetic, weight_bytes / bandwidth)
    return time
