"""What zero weights save: bytes where they are left out, and nothing where they are not."""

from __future__ import annotations

from cpi_model import checks
from cpi_model.units import BITS_PER_BYTE, Numeric

KEPT_OF_2_4 = 0.5
"""Two of every four weights are kept."""
INDEX_BITS_OF_2_4 = 2.0
"""Place of a kept weight among its four."""


def bitmap_bytes_per_weight(weight_bytes: Numeric, zero_share: Numeric) -> Numeric:
    r"""Stored size of a weight when zeros are left out and a bitmap says where they were.

    Parameters
    ----------
    weight_bytes : numeric
        Size of a weight that is kept, scales included. [B]
    zero_share : numeric
        Share of the weights that are zero, wherever they are. [1]

    Returns
    -------
    size : numeric
        Mean size of all weights, zeros included. [B]

    Raises
    ------
    ValueError
        If `weight_bytes` is not positive or `zero_share` is not from 0 to 1.

    Notes
    -----
    .. math:: b' = (1 - s)\,b + 1/8

    With few zeros the bitmap costs more than it saves.

    References
    ----------
    .. [1] S. Han, H. Mao, W. J. Dally, "Deep Compression", ICLR 2016 (sparse storage with the
       places of the weights kept beside them).

    Examples
    --------
    >>> bitmap_bytes_per_weight(2.0, 0.5)
    1.125
    """
    checks.positive(weight_bytes=weight_bytes)
    checks.share(zero_share=zero_share)
    return (1.0 - zero_share) * weight_bytes + 1.0 / BITS_PER_BYTE


def two_of_four_bytes_per_weight(weight_bytes: Numeric) -> Numeric:
    r"""Stored size of a weight when two of every four are kept, with their places.

    Parameters
    ----------
    weight_bytes : numeric
        Size of a weight that is kept, scales included. [B]

    Returns
    -------
    size : numeric
        Mean size of all weights, zeros included. [B]

    Raises
    ------
    ValueError
        If `weight_bytes` is not positive.

    Notes
    -----
    .. math:: b' = \tfrac12 \left(b + \tfrac28\right)

    so 16-bit weights shrink to 0.5625 of their size and 8-bit weights to 0.625.

    References
    ----------
    .. [1] A. Mishra et al., "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378, 2021
       (2-bit index for each value kept).

    Examples
    --------
    >>> two_of_four_bytes_per_weight(2.0) / 2.0, two_of_four_bytes_per_weight(1.0)
    (0.5625, 0.625)
    """
    checks.positive(weight_bytes=weight_bytes)
    return KEPT_OF_2_4 * (weight_bytes + INDEX_BITS_OF_2_4 / BITS_PER_BYTE)
