"""Bytes of weights and caches in a given number format.

Weights, activations and cache have bits of their own; no function here takes one for another.
"""

from __future__ import annotations

import numpy as np

from cpi_model import checks
from cpi_model.units import BITS_PER_BYTE, Numeric


def stored_bytes_per_weight(
    weight_bits: Numeric,
    group_size: Numeric,
    scale_bits: Numeric,
    zero_point_bits: Numeric,
) -> Numeric:
    r"""Bytes of one quantised weight with its part of the scale and zero point.

    Parameters
    ----------
    weight_bits : numeric
        Bits of the weight itself. [bit]
    group_size : numeric
        Weights that share one scale; 0 where a whole channel or tensor does, which adds
        nothing worth counting. [1]
    scale_bits : numeric
        Bits of one scale. [bit]
    zero_point_bits : numeric
        Bits of one zero point, 0 for symmetric schemes. [bit]

    Returns
    -------
    bytes_per_weight : numeric
        Stored size of one weight. [B]

    Raises
    ------
    ValueError
        If `weight_bits` is not positive or any other argument is negative.

    Notes
    -----
    .. math:: b = \frac{1}{8} \left(w + \frac{s + z}{g}\right)

    References
    ----------
    .. [1] Open Compute Project, "OCP Microscaling Formats (MX) Specification", version 1.0,
       2023.
    .. [2] E. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative
       Pre-trained Transformers", ICLR 2023.

    Examples
    --------
    MXFP4 has an 8-bit scale for each 32 weights of 4 bits, 4.25 bits each:

    >>> float(stored_bytes_per_weight(4, 32, 8, 0)) * 8
    4.25
    """
    checks.positive(weight_bits=weight_bits)
    checks.not_negative(
        group_size=group_size, scale_bits=scale_bits, zero_point_bits=zero_point_bits
    )
    sharing = np.where(np.equal(group_size, 0), np.inf, group_size)
    stored: Numeric = (weight_bits + (scale_bits + zero_point_bits) / sharing) / BITS_PER_BYTE
    return stored


def weight_bytes(
    params: Numeric,
    quantised_share: Numeric,
    quantised_bytes: Numeric,
    plain_bytes: Numeric,
) -> Numeric:
    r"""Size of a part of a model of which a share is quantised.

    Parameters
    ----------
    params : numeric
        Parameters of the part. [1]
    quantised_share : numeric
        Share of them that is quantised. [1]
    quantised_bytes : numeric
        Stored size of a quantised weight, scales included. [B]
    plain_bytes : numeric
        Stored size of every other weight. [B]

    Returns
    -------
    size : numeric
        Stored size of the part. [B]

    Raises
    ------
    ValueError
        If `params` is negative, `quantised_share` is not from 0 to 1 or a size is not positive.

    Notes
    -----
    .. math:: W = P\,\left(q\,b_q + (1 - q)\,b_p\right)

    References
    ----------
    .. [1] T. Dettmers et al., "LLM.int8(): 8-bit Matrix Multiplication for Transformers at
       Scale", NeurIPS 2022 (parts of the weights stay at 16 bits).

    Examples
    --------
    >>> weight_bytes(8e9, 0.5, 1.0, 2.0)
    12000000000.0
    """
    checks.not_negative(params=params)
    checks.share(quantised_share=quantised_share)
    checks.positive(quantised_bytes=quantised_bytes, plain_bytes=plain_bytes)
    return params * (plain_bytes + quantised_share * (quantised_bytes - plain_bytes))


def model_bytes(
    dense_params: Numeric,
    expert_params: Numeric,
    embedding_params: Numeric,
    dense_share: Numeric,
    expert_share: Numeric,
    quantised_bytes: Numeric,
    plain_bytes: Numeric,
) -> Numeric:
    r"""Size of a whole model whose parts are quantised to different shares.

    Parameters
    ----------
    dense_params : numeric
        Parameters that every token is multiplied with. [1]
    expert_params : numeric
        Parameters of all routed experts. [1]
    embedding_params : numeric
        Parameters of the token embedding, which stay plain. [1]
    dense_share : numeric
        Share of the dense parameters that is quantised. [1]
    expert_share : numeric
        Share of the expert parameters that is quantised. [1]
    quantised_bytes : numeric
        Stored size of a quantised weight, scales included. [B]
    plain_bytes : numeric
        Stored size of every other weight. [B]

    Returns
    -------
    size : numeric
        Stored size of the model. [B]

    Raises
    ------
    ValueError
        If a number of parameters is negative, a share is not from 0 to 1 or a size is not
        positive.

    Notes
    -----
    .. math:: W = W_{dense} + W_{experts} + P_{embedding}\,b_p

    with the parts of :func:`weight_bytes`.

    References
    ----------
    .. [1] OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", table 1, arXiv:2508.10925, 2025.

    Examples
    --------
    gpt-oss-20b: 19.12e9 expert parameters at 4.25 bits, the rest at 16 bits, makes 12.8 GiB:

    >>> size = model_bytes(1.22e9, 19.12e9, 0.58e9, 0.0, 1.0, 4.25 / 8, 2.0)
    >>> round(size / 2**30, 1)
    12.8
    """
    checks.not_negative(embedding_params=embedding_params)
    return (
        weight_bytes(dense_params, dense_share, quantised_bytes, plain_bytes)
        + weight_bytes(expert_params, expert_share, quantised_bytes, plain_bytes)
        + embedding_params * plain_bytes
    )


def kv_bytes_per_token(kv_elements: Numeric, kv_bits: Numeric) -> Numeric:
    r"""Bytes of cache for one token.

    Parameters
    ----------
    kv_elements : numeric
        Numbers cached per token, all layers together. [1]
    kv_bits : numeric
        Bits of one of them. [bit]

    Returns
    -------
    size : numeric
        Cache of one token. [B]

    Raises
    ------
    ValueError
        If `kv_elements` is negative or `kv_bits` is not positive.

    Notes
    -----
    .. math:: b = e\,k / 8

    Scales of a quantised cache (one per head or per tensor) are left out.

    References
    ----------
    .. [1] W. Kwon et al., "Efficient Memory Management for Large Language Model Serving with
       PagedAttention", sec. 3, SOSP 2023.

    Examples
    --------
    OPT-13B, 800 kB per token:

    >>> kv_bytes_per_token(2 * 40 * 5120, 16)
    819200.0
    """
    checks.not_negative(kv_elements=kv_elements)
    checks.positive(kv_bits=kv_bits)
    return kv_elements * kv_bits / BITS_PER_BYTE
