"""What a smaller model costs before it serves, and when it has paid for itself."""

from __future__ import annotations

import numpy as np

from cpi_model import checks
from cpi_model.units import Numeric


def training_flops(params: Numeric, tokens: Numeric) -> Numeric:
    r"""Arithmetic of training a dense transformer on a number of tokens.

    Parameters
    ----------
    params : numeric
        Parameters used for one token. [1]
    tokens : numeric
        Tokens of training, repeated ones counted again. [1]

    Returns
    -------
    flops : numeric
        Forward and backward pass together. [FLOP]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: C = 6\,P\,T

    two for the forward pass and four for the backward pass.

    References
    ----------
    .. [1] J. Kaplan et al., "Scaling Laws for Neural Language Models", sec. 2.1,
       arXiv:2001.08361, 2020.

    Examples
    --------
    GPT-3 with 175 billion parameters on 300 billion tokens, 3.15e23 FLOP:

    >>> f"{training_flops(175e9, 300e9):.3g}"
    '3.15e+23'
    """
    checks.not_negative(params=params, tokens=tokens)
    return 6.0 * params * tokens


def training_cost(
    flops: Numeric, peak_flops: Numeric, utilisation: Numeric, device_price: Numeric
) -> Numeric:
    r"""Money for a number of FLOPs on rented devices.

    Parameters
    ----------
    flops : numeric
        Arithmetic of the training. [FLOP]
    peak_flops : numeric
        Peak of one device in the format of the training. [FLOP/s]
    utilisation : numeric
        Share of the peak that training reaches (model FLOPs utilisation). [1]
    device_price : numeric
        Price of one device. [USD/s]

    Returns
    -------
    cost : numeric
        Of the training; the number of devices does not matter. [USD]

    Raises
    ------
    ValueError
        If `flops` or `device_price` is negative, or `peak_flops` or `utilisation` not positive.

    Notes
    -----
    .. math:: K = \frac{C}{\eta\,\hat F}\,p

    References
    ----------
    .. [1] A. Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", sec. 4.1,
       JMLR 24, 2023 (model FLOPs utilisation).

    Examples
    --------
    A day of one device at half of 1e15 FLOP/s, for 2 USD an hour:

    >>> training_cost(0.5e15 * 86400, 1e15, 0.5, 2.0 / 3600)
    48.0
    """
    checks.not_negative(flops=flops, device_price=device_price)
    checks.positive(peak_flops=peak_flops, utilisation=utilisation)
    return flops / (peak_flops * utilisation) * device_price


def break_even_inferences(cost: Numeric, before: Numeric, after: Numeric) -> Numeric:
    r"""Inferences after which a cost up front is paid back.

    Parameters
    ----------
    cost : numeric
        Paid once. [USD]
    before : numeric
        Cost of an inference without it. [USD]
    after : numeric
        Cost of an inference with it. [USD]

    Returns
    -------
    inferences : numeric
        Infinite where an inference is not cheaper afterwards. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: n = \frac{K}{c_0 - c_1}

    References
    ----------
    .. [1] C. T. Horngren, S. M. Datar, M. V. Rajan, "Cost Accounting: A Managerial Emphasis",
       ch. 3 (break-even point), 2015.

    Examples
    --------
    >>> float(break_even_inferences(1000.0, 0.003, 0.001))
    500000.0
    >>> float(break_even_inferences(1000.0, 0.001, 0.001))
    inf
    """
    checks.not_negative(cost=cost, before=before, after=after)
    saved = np.asarray(before, dtype=float) - after
    with np.errstate(divide="ignore", invalid="ignore"):
        count: Numeric = np.where(saved > 0.0, cost / saved, np.inf)
    return count
