"""Time that devices spend exchanging data.

All follow the latency-bandwidth (alpha-beta) model: one start per collective and the bytes that
the busiest device sends over the bandwidth of its link in one direction. Inside a switched domain
every peer is one hop away, so the start does not grow with the number of devices. `latency` is
therefore the start of a whole collective, which is what benchmarks of small sizes measure.
"""

from __future__ import annotations

import numpy as np

from cpi_model import checks
from cpi_model.units import Numeric


def ring_all_reduce_time(
    size_bytes: Numeric, devices: Numeric, link_bandwidth: Numeric, latency: Numeric
) -> Numeric:
    r"""Time to sum an array over all devices and give each the result.

    Parameters
    ----------
    size_bytes : numeric
        Size of the array on each device. [B]
    devices : numeric
        Devices that take part. [1]
    link_bandwidth : numeric
        Bandwidth of one device to the others, one direction. [B/s]
    latency : numeric
        Start of one collective. [s]

    Returns
    -------
    time : numeric
        Time of the collective, 0 for a single device. [s]

    Raises
    ------
    ValueError
        If `devices` is below 1, `link_bandwidth` is not positive, or `size_bytes` or `latency` is
        negative.

    Notes
    -----
    .. math:: t = \alpha + \frac{S}{\beta} \cdot \frac{2 (n - 1)}{n} \qquad (n > 1)

    A ring sends this least possible number of bytes; other algorithms without reduction inside
    the switch cannot send fewer.

    References
    ----------
    .. [1] R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective Communication
       Operations in MPICH", Int. J. High Performance Computing Applications 19, 2005.
    .. [2] NVIDIA, "Performance reported by NCCL tests", nccl-tests, doc/PERFORMANCE.md, accessed
       2026-11-24.

    Examples
    --------
    >>> float(ring_all_reduce_time(900e6, 4, 450e9, 0.0))
    0.003
    """
    checks.not_negative(size_bytes=size_bytes, latency=latency)
    checks.at_least(1, devices=devices)
    checks.positive(link_bandwidth=link_bandwidth)
    sent = size_bytes * (2 * (devices - 1) / devices)
    time: Numeric = latency * np.greater(devices, 1) + sent / link_bandwidth
    return time


def all_gather_time(
    size_bytes: Numeric, devices: Numeric, link_bandwidth: Numeric, latency: Numeric
) -> Numeric:
    r"""Time to give every device the parts of an array that the others hold.

    Parameters
    ----------
    size_bytes : numeric
        Size of the whole array after the collective. [B]
    devices : numeric
        Devices that take part, each holding an equal part. [1]
    link_bandwidth : numeric
        Bandwidth of one device to the others, one direction. [B/s]
    latency : numeric
        Start of one collective. [s]

    Returns
    -------
    time : numeric
        Time of the collective, 0 for a single device. A reduce-scatter takes as long. [s]

    Raises
    ------
    ValueError
        If `devices` is below 1, `link_bandwidth` is not positive, or `size_bytes` or `latency` is
        negative.

    Notes
    -----
    .. math:: t = \alpha + \frac{S}{\beta} \cdot \frac{n - 1}{n} \qquad (n > 1)

    References
    ----------
    .. [1] R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective Communication
       Operations in MPICH", Int. J. High Performance Computing Applications 19, 2005.
    .. [2] J. Austin et al., "How to Scale Your Model", ch. "How to Think About GPUs", quiz 2,
       2025.

    Examples
    --------
    An array of 4096 x 65,536 numbers in bf16 over the 8 GPUs of an H100 server:

    >>> round(float(all_gather_time(4096 * 65536 * 2, 8, 450e9, 0.0)) * 1000, 2)
    1.04
    """
    checks.not_negative(size_bytes=size_bytes, latency=latency)
    checks.at_least(1, devices=devices)
    checks.positive(link_bandwidth=link_bandwidth)
    sent = size_bytes * ((devices - 1) / devices)
    time: Numeric = latency * np.greater(devices, 1) + sent / link_bandwidth
    return time


def all_to_all_time(
    size_bytes: Numeric, devices: Numeric, link_bandwidth: Numeric, latency: Numeric
) -> Numeric:
    r"""Time for every device to send a different part of its data to every other.

    Parameters
    ----------
    size_bytes : numeric
        Data of one device before the collective, the part that it keeps included. [B]
    devices : numeric
        Devices that take part. [1]
    link_bandwidth : numeric
        Bandwidth of one device to the others, one direction. [B/s]
    latency : numeric
        Start of one collective. [s]

    Returns
    -------
    time : numeric
        Time of the collective, 0 for a single device. [s]

    Raises
    ------
    ValueError
        If `devices` is below 1, `link_bandwidth` is not positive, or `size_bytes` or `latency` is
        negative.

    Notes
    -----
    Data is spread evenly over the receivers:

    .. math:: t = \alpha + \frac{S}{\beta} \cdot \frac{n - 1}{n} \qquad (n > 1)

    References
    ----------
    .. [1] NVIDIA, "Performance reported by NCCL tests", nccl-tests, doc/PERFORMANCE.md, accessed
       2026-11-24.

    Examples
    --------
    >>> float(all_to_all_time(1e6, 1, 450e9, 1e-5))
    0.0
    >>> float(all_to_all_time(900e6, 2, 450e9, 1e-3))
    0.002
    """
    checks.not_negative(size_bytes=size_bytes, latency=latency)
    checks.at_least(1, devices=devices)
    checks.positive(link_bandwidth=link_bandwidth)
    sent = size_bytes * ((devices - 1) / devices)
    time: Numeric = latency * np.greater(devices, 1) + sent / link_bandwidth
    return time


def point_to_point_time(
    size_bytes: Numeric, devices: Numeric, link_bandwidth: Numeric, latency: Numeric
) -> Numeric:
    r"""Time to hand an array on through a chain of devices (pipeline stages).

    Parameters
    ----------
    size_bytes : numeric
        Size of the array that is handed on. [B]
    devices : numeric
        Stages of the chain. [1]
    link_bandwidth : numeric
        Bandwidth between two stages, one direction. [B/s]
    latency : numeric
        Start of one transfer. [s]

    Returns
    -------
    time : numeric
        Time of all transfers from the first to the last stage, 0 for a single one. [s]

    Raises
    ------
    ValueError
        If `devices` is below 1, `link_bandwidth` is not positive, or `size_bytes` or `latency` is
        negative.

    Notes
    -----
    .. math:: t = (n - 1) \left(\alpha + \frac{S}{\beta}\right)

    References
    ----------
    .. [1] R. W. Hockney, "The Communication Challenge for MPP: Intel Paragon and Meiko CS-2",
       Parallel Computing 20, 1994.

    Examples
    --------
    >>> point_to_point_time(50e6, 3, 50e9, 1e-3)
    0.004
    """
    checks.not_negative(size_bytes=size_bytes, latency=latency)
    checks.at_least(1, devices=devices)
    checks.positive(link_bandwidth=link_bandwidth)
    return (devices - 1) * (latency + size_bytes / link_bandwidth)
