"""Parameters, cache and arithmetic of transformer layers.

Every argument is a scalar or an array; arrays broadcast against each other. Norms, biases and
convolutions are left out; so counted, totals agree with the published ones to the digits printed.
"""

from __future__ import annotations

import numpy as np

from cpi_model import checks
from cpi_model.units import Numeric


def attention_params(
    hidden: Numeric,
    heads: Numeric,
    kv_heads: Numeric,
    head_dim: Numeric,
    output_gate: Numeric = 0,
) -> Numeric:
    r"""Parameters of one layer of multi-head, grouped-query or multi-query attention.

    Parameters
    ----------
    hidden : numeric
        Width of the residual stream. [1]
    heads : numeric
        Query heads. [1]
    kv_heads : numeric
        Heads of keys and values: `heads` for multi-head, 1 for multi-query attention. [1]
    head_dim : numeric
        Width of one head. [1]
    output_gate : numeric
        1 where the output is multiplied by a gate with a projection of its own, else 0. [1]

    Returns
    -------
    params : numeric
        Parameters of the query, key, value, gate and output projections of one layer. [1]

    Raises
    ------
    ValueError
        If `output_gate` is not from 0 to 1 or any other argument is not positive.

    Notes
    -----
    .. math:: P = D\,H\,(2N + 2K + g N)

    with hidden size :math:`D`, head width :math:`H`, query heads :math:`N`, key-value heads
    :math:`K`, gate :math:`g`.

    References
    ----------
    .. [1] J. Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from
       Multi-Head Checkpoints", EMNLP 2023.
    .. [2] Z. Qiu et al., "Gated Attention for Large Language Models: Non-linearity, Sparsity, and
       Attention-Sink-Free", arXiv:2505.06708, 2025.

    Examples
    --------
    One layer of Llama 3.1 70B:

    >>> attention_params(8192, 64, 8, 128)
    150994944
    """
    checks.positive(hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
    checks.share(output_gate=output_gate)
    return hidden * head_dim * (2 * (heads + kv_heads) + output_gate * heads)


def latent_attention_params(
    hidden: Numeric,
    heads: Numeric,
    q_lora_rank: Numeric,
    kv_lora_rank: Numeric,
    qk_nope_dim: Numeric,
    qk_rope_dim: Numeric,
    v_dim: Numeric,
) -> Numeric:
    r"""Parameters of one layer of multi-head latent attention (MLA).

    Parameters
    ----------
    hidden : numeric
        Width of the residual stream. [1]
    heads : numeric
        Query heads. [1]
    q_lora_rank : numeric
        Width of the compressed query; 0 where queries are projected directly. [1]
    kv_lora_rank : numeric
        Width of the latent that stands for keys and values. [1]
    qk_nope_dim : numeric
        Width of a query and key head without position. [1]
    qk_rope_dim : numeric
        Width of a query and key head with rotary position; the key is shared by all heads. [1]
    v_dim : numeric
        Width of a value head. [1]

    Returns
    -------
    params : numeric
        Parameters of all projections of one layer. [1]

    Raises
    ------
    ValueError
        If `q_lora_rank`, `qk_nope_dim` or `qk_rope_dim` is negative or any other argument is not
        positive.

    Notes
    -----
    .. math::

        P = \underbrace{r_q (D + N (h_n + h_r))}_{\text{queries}}
          + \underbrace{D (r_{kv} + h_r)}_{\text{down}}
          + \underbrace{r_{kv} N (h_n + h_v)}_{\text{up}}
          + \underbrace{N h_v D}_{\text{output}}

    Without a query rank the first term is :math:`D N (h_n + h_r)`.

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V2: A Strong, Economical, and Efficient Mixture-of-Experts
       Language Model", sec. 2.1 and app. C, arXiv:2405.04434, 2024.

    Examples
    --------
    One layer of DeepSeek-V3:

    >>> int(latent_attention_params(7168, 128, 1536, 512, 128, 64, 128))
    187105280
    """
    checks.positive(hidden=hidden, heads=heads, kv_lora_rank=kv_lora_rank, v_dim=v_dim)
    checks.not_negative(q_lora_rank=q_lora_rank, qk_nope_dim=qk_nope_dim, qk_rope_dim=qk_rope_dim)
    query_width = heads * (qk_nope_dim + qk_rope_dim)
    compressed = q_lora_rank * (hidden + query_width)
    queries: Numeric = np.where(np.equal(q_lora_rank, 0), hidden * query_width, compressed)[()]
    down = hidden * (kv_lora_rank + qk_rope_dim)
    up = kv_lora_rank * heads * (qk_nope_dim + v_dim)
    return queries + down + up + heads * v_dim * hidden


def linear_attention_params(
    hidden: Numeric,
    key_heads: Numeric,
    value_heads: Numeric,
    key_dim: Numeric,
    value_dim: Numeric,
) -> Numeric:
    r"""Parameters of one layer of linear attention with gates (gated delta net).

    Parameters
    ----------
    hidden : numeric
        Width of the residual stream. [1]
    key_heads : numeric
        Heads of queries and keys. [1]
    value_heads : numeric
        Heads of values. [1]
    key_dim : numeric
        Width of a query or key head. [1]
    value_dim : numeric
        Width of a value head. [1]

    Returns
    -------
    params : numeric
        Parameters of the projections of one layer: queries, keys, values, output gate, two gates
        per value head, output. [1]

    Raises
    ------
    ValueError
        If an argument is not positive.

    Notes
    -----
    .. math:: P = D\,(2 N_k h_k + 3 N_v h_v + 2 N_v)

    The short convolution (a few weights per channel) is left out.

    References
    ----------
    .. [1] S. Yang, J. Kautz, A. Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta
       Rule", ICLR 2025.
    .. [2] Qwen3-Next in Hugging Face transformers 4.57, ``modeling_qwen3_next.py``, 2025.

    Examples
    --------
    One linear layer of Qwen3-Next-80B-A3B:

    >>> linear_attention_params(2048, 16, 32, 128, 128)
    33685504
    """
    checks.positive(
        hidden=hidden, key_heads=key_heads, value_heads=value_heads, key_dim=key_dim,
        value_dim=value_dim,
    )  # fmt: skip
    return hidden * (2 * key_heads * key_dim + 3 * value_heads * value_dim + 2 * value_heads)


def feed_forward_params(hidden: Numeric, intermediate: Numeric, gated: Numeric) -> Numeric:
    r"""Parameters of one feed-forward block, or of one expert.

    Parameters
    ----------
    hidden : numeric
        Width of the residual stream. [1]
    intermediate : numeric
        Width inside the block, may be zero. [1]
    gated : numeric
        1 for three matrices (SwiGLU, GeGLU), 0 for two. [1]

    Returns
    -------
    params : numeric
        Parameters of the block. [1]

    Raises
    ------
    ValueError
        If `hidden` is not positive, `intermediate` is negative or `gated` is not from 0 to 1.

    Notes
    -----
    .. math:: P = (2 + g)\,D\,F

    References
    ----------
    .. [1] N. Shazeer, "GLU Variants Improve Transformer", arXiv:2002.05202, 2020.

    Examples
    --------
    One layer of Llama 3.1 70B:

    >>> feed_forward_params(8192, 28672, 1)
    704643072
    """
    checks.positive(hidden=hidden)
    checks.not_negative(intermediate=intermediate)
    checks.share(gated=gated)
    return (2 + gated) * hidden * intermediate


def kv_elements_per_token(layers: Numeric, kv_heads: Numeric, head_dim: Numeric) -> Numeric:
    r"""Numbers cached for one token by layers that store keys and values.

    Parameters
    ----------
    layers : numeric
        Layers of this kind, may be zero. [1]
    kv_heads : numeric
        Heads of keys and values. [1]
    head_dim : numeric
        Width of one head. [1]

    Returns
    -------
    elements : numeric
        Numbers per token, keys and values together. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: e = 2\,L\,K\,H

    References
    ----------
    .. [1] R. Pope et al., "Efficiently Scaling Transformer Inference", MLSys 2023.

    Examples
    --------
    Llama 3.1 70B; 2 bytes each make 327,680 bytes per token:

    >>> kv_elements_per_token(80, 8, 128)
    163840
    """
    checks.not_negative(layers=layers, kv_heads=kv_heads, head_dim=head_dim)
    return 2 * layers * kv_heads * head_dim


def latent_kv_elements_per_token(
    layers: Numeric, kv_lora_rank: Numeric, qk_rope_dim: Numeric
) -> Numeric:
    r"""Numbers cached for one token by layers with multi-head latent attention.

    Parameters
    ----------
    layers : numeric
        Layers of this kind, may be zero. [1]
    kv_lora_rank : numeric
        Width of the latent that stands for keys and values. [1]
    qk_rope_dim : numeric
        Width of the shared key with rotary position. [1]

    Returns
    -------
    elements : numeric
        Numbers per token. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: e = L\,(r_{kv} + h_r)

    The latent is stored once, whatever the number of heads, so it cannot be split over devices
    by heads.

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V2: A Strong, Economical, and Efficient Mixture-of-Experts
       Language Model", table 1, arXiv:2405.04434, 2024.

    Examples
    --------
    DeepSeek-V3, 576 numbers in each of 61 layers:

    >>> latent_kv_elements_per_token(61, 512, 64)
    35136
    """
    checks.not_negative(layers=layers, kv_lora_rank=kv_lora_rank, qk_rope_dim=qk_rope_dim)
    return layers * (kv_lora_rank + qk_rope_dim)


def state_elements(
    layers: Numeric, value_heads: Numeric, key_dim: Numeric, value_dim: Numeric
) -> Numeric:
    r"""Numbers that linear attention keeps for one sequence, however long it is.

    Parameters
    ----------
    layers : numeric
        Layers of this kind, may be zero. [1]
    value_heads : numeric
        Heads of values, each with a state of its own. [1]
    key_dim : numeric
        Width of a key head. [1]
    value_dim : numeric
        Width of a value head. [1]

    Returns
    -------
    elements : numeric
        Numbers per sequence. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: e = L\,N_v\,h_k\,h_v

    The last inputs of the short convolution, below 5 % of this, are left out.

    References
    ----------
    .. [1] S. Yang, J. Kautz, A. Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta
       Rule", ICLR 2025.

    Examples
    --------
    Qwen3-Next-80B-A3B has 36 linear layers of 48:

    >>> state_elements(36, 32, 128, 128)
    18874368
    """
    checks.not_negative(
        layers=layers, value_heads=value_heads, key_dim=key_dim, value_dim=value_dim
    )
    return layers * value_heads * key_dim * value_dim


def attention_flops_per_pair(
    layers: Numeric, heads: Numeric, qk_dim: Numeric, v_dim: Numeric
) -> Numeric:
    r"""Arithmetic of attention for one query token and one token of its context.

    Parameters
    ----------
    layers : numeric
        Layers of this kind, may be zero. [1]
    heads : numeric
        Query heads. [1]
    qk_dim : numeric
        Width of a query or key head. For latent attention that decodes on the latent itself:
        the latent plus the rotary width. [1]
    v_dim : numeric
        Width of a value head. For latent attention that decodes on the latent: the latent. [1]

    Returns
    -------
    flops : numeric
        Operations per pair, scores and weighted sum of the values together. [FLOP]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: f = 2\,L\,N\,(h_{qk} + h_v)

    Softmax is left out.

    References
    ----------
    .. [1] J. Austin et al., "How to Scale Your Model", ch. "All the Transformer Math You Need to
       Know", 2025.

    Examples
    --------
    Llama 3.1 70B:

    >>> attention_flops_per_pair(80, 64, 128, 128)
    2621440
    """
    checks.not_negative(layers=layers, heads=heads, qk_dim=qk_dim, v_dim=v_dim)
    return 2 * layers * heads * (qk_dim + v_dim)


def linear_flops(params: Numeric, tokens: Numeric) -> Numeric:
    r"""Arithmetic of multiplying tokens with weight matrices.

    Parameters
    ----------
    params : numeric
        Parameters that each token is multiplied with. [1]
    tokens : numeric
        Tokens of the step. [1]

    Returns
    -------
    flops : numeric
        One multiplication and one addition per parameter and token. [FLOP]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: f = 2\,P\,T

    References
    ----------
    .. [1] J. Kaplan et al., "Scaling Laws for Neural Language Models", sec. 2.1,
       arXiv:2001.08361, 2020.

    Examples
    --------
    >>> linear_flops(70e9, 1.0)
    140000000000.0
    """
    checks.not_negative(params=params, tokens=tokens)
    return 2 * params * tokens


def causal_pairs(new_tokens: Numeric, cached_tokens: Numeric) -> Numeric:
    r"""Query-key pairs of one sequence under a causal mask.

    Parameters
    ----------
    new_tokens : numeric
        Tokens that are processed now. [1]
    cached_tokens : numeric
        Tokens before them whose keys and values are stored. [1]

    Returns
    -------
    pairs : numeric
        Sum of the context lengths of the new tokens, each token seeing itself. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: \sum_{i=1}^{n} (c + i) = n\,c + \frac{n\,(n + 1)}{2}

    References
    ----------
    .. [1] A. Vaswani et al., "Attention Is All You Need", sec. 3.2.3, NeurIPS 2017.

    Examples
    --------
    >>> causal_pairs(3.0, 0.0)
    6.0
    >>> causal_pairs(1.0, 1000.0)
    1001.0
    """
    checks.not_negative(new_tokens=new_tokens, cached_tokens=cached_tokens)
    return new_tokens * (cached_tokens + 0.5 * (new_tokens + 1))


def windowed_pairs(new_tokens: Numeric, cached_tokens: Numeric, window: Numeric) -> Numeric:
    r"""Query-key pairs of one sequence when each token sees at most a window.

    Parameters
    ----------
    new_tokens : numeric
        Tokens that are processed now. [1]
    cached_tokens : numeric
        Tokens before them. [1]
    window : numeric
        Most tokens that one token sees, itself included; 0 means no limit. [1]

    Returns
    -------
    pairs : numeric
        Sum of the context lengths of the new tokens. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    The first :math:`m` new tokens still see all before them:

    .. math::

        \sum_{i=1}^{n} \min(c + i, w) = m\,c + \frac{m\,(m + 1)}{2} + (n - m)\,w,
        \qquad m = \min(\max(w - c, 0), n)

    References
    ----------
    .. [1] I. Beltagy, M. E. Peters, A. Cohan, "Longformer: The Long-Document Transformer",
       arXiv:2004.05150, 2020.

    Examples
    --------
    Contexts of 1, 2, 3, 3, 3 tokens:

    >>> float(windowed_pairs(5, 0, 3))
    12.0
    """
    checks.not_negative(new_tokens=new_tokens, cached_tokens=cached_tokens, window=window)
    # Without a limit every new token is one of the first m, and the limit itself plays no part.
    limited = np.not_equal(window, 0)
    room = np.maximum(window - cached_tokens, 0)
    whole = np.where(limited, np.minimum(room, new_tokens), new_tokens)
    pairs: Numeric = whole * (cached_tokens + 0.5 * (whole + 1)) + (new_tokens - whole) * window
    return pairs


def context_read(context: Numeric, window: Numeric) -> Numeric:
    r"""Cached tokens that one new token attends to.

    Parameters
    ----------
    context : numeric
        Tokens of the sequence so far. [1]
    window : numeric
        Most tokens that one token sees; 0 means no limit. [1]

    Returns
    -------
    tokens : numeric
        Tokens whose keys and values are read, and need to be kept. [1]

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    .. math:: t = \min(c, w) \quad (w > 0), \qquad t = c \quad (w = 0)

    References
    ----------
    .. [1] A. Q. Jiang et al., "Mistral 7B", sec. 2 (rolling buffer cache), arXiv:2310.06825,
       2023.

    Examples
    --------
    >>> float(context_read(10_000, 4096)), float(context_read(10_000, 0))
    (4096.0, 10000.0)
    """
    checks.not_negative(context=context, window=window)
    limit = np.where(np.equal(window, 0), np.inf, window)
    tokens: Numeric = np.minimum(context, limit)
    return tokens


def busiest_group_load(tokens: Numeric, experts_per_token: Numeric, groups: Numeric) -> Numeric:
    r"""Work of the busiest group of experts relative to the average group.

    With expert parallelism each group of devices holds whole experts, and all wait for the group
    to which most tokens were sent.

    Parameters
    ----------
    tokens : numeric
        Tokens of the step. [1]
    experts_per_token : numeric
        Experts that each token uses; 0 for a dense model. [1]
    groups : numeric
        Groups over which the experts are spread. [1]

    Returns
    -------
    load : numeric
        At least 1; 1 for a single group. [1]

    Raises
    ------
    ValueError
        If `tokens` or `experts_per_token` is negative or `groups` is below 1.

    Notes
    -----
    With :math:`m = T k / g` tokens a group on average, all groups equally likely:

    .. math:: l = \min\left(1 + \sqrt{2 \ln g / m},\ g\right)

    Real routers are less even; what they add is part of the fitted efficiency.

    References
    ----------
    .. [1] M. Raab, A. Steger, "Balls into Bins: A Simple and Tight Analysis", theorem 1,
       RANDOM 1998.

    Examples
    --------
    A prompt of 1,000 tokens with 8 experts each, over 8 groups:

    >>> round(float(busiest_group_load(1000.0, 8.0, 8.0)), 3)
    1.064
    >>> float(busiest_group_load(1000.0, 8.0, 1.0)), float(busiest_group_load(1000.0, 0.0, 8.0))
    (1.0, 1.0)
    """
    checks.not_negative(tokens=tokens, experts_per_token=experts_per_token)
    checks.at_least(1, groups=groups)
    sent = tokens * experts_per_token / groups
    spread = np.sqrt(2.0 * np.log(groups) / np.where(np.equal(sent, 0.0), np.inf, sent))
    load: Numeric = np.minimum(1.0 + spread, groups)
    return load


def expert_share_read(tokens: Numeric, experts: Numeric, experts_per_token: Numeric) -> Numeric:
    r"""Share of a layer's experts that at least one token of a step is sent to.

    Parameters
    ----------
    tokens : numeric
        Tokens of the step. [1]
    experts : numeric
        Routed experts of a layer; 0 for a dense model. [1]
    experts_per_token : numeric
        Experts that each token uses. [1]

    Returns
    -------
    share : numeric
        Expected share of the experts whose weights are read; 1 for a dense model and where every
        token uses every expert. [1]

    Raises
    ------
    ValueError
        If `tokens`, `experts` or `experts_per_token` is negative or there are fewer experts than
        a token uses.

    Notes
    -----
    Each token draws :math:`k` different experts out of :math:`E`, all equally likely and
    independent of other tokens. One expert is missed by one token with probability
    :math:`1 - k/E`, hence

    .. math:: s = 1 - (1 - k/E)^T

    Real routers are less even, so this is an upper bound in expectation.

    References
    ----------
    .. [1] N. L. Johnson, S. Kotz, "Urn Models and Their Application", ch. 3 (occupancy), 1977.

    Examples
    --------
    Two tokens, each with 2 of 8 experts:

    >>> round(float(expert_share_read(2, 8, 2)), 4)
    0.4375
    >>> float(expert_share_read(1e9, 256, 8)), float(expert_share_read(5, 0, 0))
    (1.0, 1.0)
    """
    checks.not_negative(tokens=tokens, experts=experts, experts_per_token=experts_per_token)
    drawn = experts_per_token / np.maximum(experts, 1)
    checks.share(**{"experts_per_token / experts": drawn})
    every = np.equal(experts, 0) | (drawn >= 1)
    # log1p and expm1 keep the digits when k/E is small or T is large; 0 stands in where unused.
    missed = np.log1p(-np.where(every, 0.0, drawn)) * tokens
    share: Numeric = np.where(every, 1.0, -np.expm1(missed))[()]
    return share
