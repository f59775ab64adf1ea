"""Spending less on easy requests: drafts, early exits, cascades, caches of answers."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from cpi_model import checks
from cpi_model.units import Numeric

HALVINGS = 60
"""Of the interval in which a quantile lies: enough for every digit of a number."""


def tokens_per_step(draft_tokens: Numeric, acceptance: Numeric) -> Numeric:
    r"""Tokens that one step of speculative decoding yields.

    Parameters
    ----------
    draft_tokens : numeric
        Tokens proposed before each step. [1]
    acceptance : numeric
        Share of proposed tokens that the model accepts, each on its own. [1]

    Returns
    -------
    tokens : numeric
        Accepted ones and the one that the model adds: from 1 to ``draft_tokens + 1``. [1]

    Raises
    ------
    ValueError
        If `draft_tokens` is negative or `acceptance` is not from 0 to 1.

    Notes
    -----
    .. math:: E = \sum_{i=0}^{k} \alpha^i = \frac{1 - \alpha^{k+1}}{1 - \alpha}

    References
    ----------
    .. [1] Y. Leviathan, M. Kalman, Y. Matias, "Fast Inference from Transformers via Speculative
       Decoding", eq. 1, ICML 2023.

    Examples
    --------
    >>> round(float(tokens_per_step(4.0, 0.8)), 4)
    3.3616
    >>> float(tokens_per_step(4.0, 1.0)), float(tokens_per_step(0.0, 0.8))
    (5.0, 1.0)
    """
    checks.not_negative(draft_tokens=draft_tokens)
    checks.share(acceptance=acceptance)
    most = draft_tokens + 1.0
    sure = np.greater_equal(acceptance, 1.0)
    less = np.where(sure, 0.0, acceptance)
    tokens: Numeric = np.where(sure, most, (1.0 - less**most) / (1.0 - less))
    return tokens


def staying(tokens: Numeric, exit_share: Numeric) -> tuple[Numeric, Numeric]:
    r"""What is left of a batch for the layers behind an early exit.

    Parameters
    ----------
    tokens : numeric
        Tokens of the batch. [1]
    exit_share : numeric
        Share of tokens that leave at the exit, each on its own. [1]

    Returns
    -------
    chance : numeric
        Probability that any token stays, so that the layers are run at all. [1]
    stayed : numeric
        Mean number of those that stay, where any does. [1]

    Raises
    ------
    ValueError
        If `tokens` is below 1 or `exit_share` is not from 0 to 1.

    Notes
    -----
    .. math:: p = 1 - s^n, \qquad \bar n = \frac{n\,(1 - s)}{1 - s^n}

    The weights of the layers behind the exit are read for the whole batch if one token stays: the
    larger the batch, the less an early exit saves.

    References
    ----------
    .. [1] S. Teerapittayanon, B. McDanel, H. T. Kung, "BranchyNet: Fast Inference via Early
       Exiting from Deep Neural Networks", ICPR 2016.
    .. [2] T. Schuster et al., "Confident Adaptive Language Modeling", NeurIPS 2022.

    Examples
    --------
    >>> chance, stayed = staying(4.0, 0.5)
    >>> float(chance), round(float(stayed), 3)
    (0.9375, 2.133)
    """
    checks.at_least(1, tokens=tokens)
    checks.share(exit_share=exit_share)
    chance = 1.0 - np.asarray(exit_share, dtype=float) ** tokens
    some = np.maximum(chance, np.finfo(float).tiny)
    stayed: Numeric = np.maximum(tokens * (1.0 - exit_share) / some, 1.0)
    return chance, stayed


def mixture_quantile(
    shares: tuple[Numeric, ...], means: tuple[Numeric, ...], log_sds: tuple[Numeric, ...],
    probability: float,
) -> Numeric:  # fmt: skip
    r"""Quantile of times that come from several log-normal kinds of requests.

    Parameters
    ----------
    shares : tuple of numeric
        Share of the requests that are of each kind; they sum to 1. [1]
    means : tuple of numeric
        Mean time of each kind, positive. [s]
    log_sds : tuple of numeric
        Standard deviation of the logarithm of the time, positive. [1]
    probability : float
        Share of all requests that stay below the result. [1]

    Returns
    -------
    quantile : numeric
        Time. [s]

    Raises
    ------
    ValueError
        If a share or `probability` is not from 0 to 1, or a mean or a spread is not positive.

    Notes
    -----
    The root, by bisection of its logarithm, of

    .. math:: \sum_k w_k\,\Phi\left(\frac{\ln q - \ln m_k + \sigma_k^2/2}{\sigma_k}\right) = P

    References
    ----------
    .. [1] G. McLachlan, D. Peel, "Finite Mixture Models", ch. 1, 2000.

    Examples
    --------
    One kind alone is the log-normal quantile; of two very different ones the slow one decides:

    >>> round(float(mixture_quantile((1.0,), (1.0,), (0.5,), 0.95)), 3)
    2.009
    >>> round(float(mixture_quantile((0.9, 0.1), (1.0, 10.0), (0.01, 0.01), 0.95)), 2)
    10.0
    """
    checks.share(probability=probability)
    for share, mean, log_sd in zip(shares, means, log_sds, strict=True):
        checks.share(share=share)
        checks.positive(mean=mean, log_sd=log_sd)
    centres = [np.log(mean) - 0.5 * np.square(sd) for mean, sd in zip(means, log_sds, strict=True)]
    wide = 9.0
    ends = [
        np.broadcast_arrays(*(c + sign * wide * sd for c, sd in zip(centres, log_sds, strict=True)))
        for sign in (-1.0, 1.0)
    ]
    low, high = np.minimum.reduce(ends[0]), np.maximum.reduce(ends[1])
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        below = sum(
            share * ndtr((middle - centre) / sd)
            for share, centre, sd in zip(shares, centres, log_sds, strict=True)
        )
        enough = below >= probability
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    quantile: Numeric = np.exp(high)
    return quantile
