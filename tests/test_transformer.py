"""Parameters, cache and arithmetic of transformers, against papers and against counting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpi_model.formulas import transformer

counts = st.integers(min_value=1, max_value=300)
lengths = st.integers(min_value=0, max_value=60)


def test_gpt3_has_its_published_parameters() -> None:
    # Brown et al. 2020, table D.1: 174,600 million parameters. 96 layers of width 12,288 with 96
    # heads, plain feed-forward blocks of 4 widths, 50,257 tokens, 2048 learned positions.
    layer = transformer.attention_params(12288, 96, 96, 128) + transformer.feed_forward_params(
        12288, 4 * 12288, 0
    )
    assert 96 * layer + (50257 + 2048) * 12288 == pytest.approx(174_600e6, abs=50e6)


def test_llama_2_13b_has_its_published_parts() -> None:
    # Austin et al. 2025, "All About Transformer Inference", table of LLaMA 2-13B: attention
    # 4.2e9, feed-forward 8.5e9 (both to two digits; 13,824 is 2.7 widths).
    attention = 40 * transformer.attention_params(5120, 40, 40, 128)
    feed_forward = 40 * transformer.feed_forward_params(5120, 13824, 1)
    assert attention == pytest.approx(4.2e9, abs=0.05e9)
    assert feed_forward == pytest.approx(8.5e9, abs=0.05e9)


def test_a_quarter_of_a_gated_transformer_is_attention() -> None:
    # Austin et al. 2025, "All the Transformer Math You Need to Know", question 1: with four
    # widths inside the block and heads as wide as the stream.
    attention = transformer.attention_params(4096, 32, 32, 128)
    feed_forward = transformer.feed_forward_params(4096, 4 * 4096, 1)
    assert attention / (attention + feed_forward) == 1 / 4


def test_deepseek_v3_has_its_published_total() -> None:
    # DeepSeek-AI 2024, arXiv:2412.19437, sec. 4.2: 671B parameters, 37B activated for a token,
    # from 61 layers of which three are dense. The embedding is looked up, not multiplied.
    attention = transformer.latent_attention_params(7168, 128, 1536, 512, 128, 64, 128)
    expert = transformer.feed_forward_params(7168, 2048, 1)
    common = (
        61 * attention
        + 3 * transformer.feed_forward_params(7168, 18432, 1)
        + 58 * (expert + 7168 * 256)
        + 129280 * 7168
    )
    embedding = 129280 * 7168
    assert common + 58 * 256 * expert + embedding == pytest.approx(671e9, abs=0.5e9)
    assert common + 58 * 8 * expert == pytest.approx(37e9, abs=0.5e9)


def test_a_gate_is_as_large_as_the_queries() -> None:
    plain = transformer.attention_params(2048, 16, 2, 256)
    gated = transformer.attention_params(2048, 16, 2, 256, 1)
    assert gated - plain == 2048 * 16 * 256


def test_latent_cache_is_as_small_as_published() -> None:
    # DeepSeek-AI 2024, arXiv:2405.04434, table 1: 9/2 head widths per layer, since the latent is
    # four head widths and the rotary key half of one.
    assert transformer.latent_kv_elements_per_token(1, 4 * 128, 128 / 2) == 9 / 2 * 128
    # DeepSeek-V3: 576 numbers in each of 61 layers.
    assert transformer.latent_kv_elements_per_token(61, 512, 64) == 576 * 61


@pytest.mark.parametrize(
    ("layers", "kv_heads", "head_dim", "size", "tolerance"),
    [
        # 2 bytes a number; Llama 3.1 70B, 327,680 bytes (320 KiB) a token
        (80, 8, 128, 327_680, 0),
        # Kwon et al. 2023, sec. 3: OPT-13B, 800 KB a token
        (40, 40, 128, 800 * 1024, 0),
        # Austin et al. 2025: LLaMA 2-13B, 6.7 GB for 8192 tokens
        (40, 40, 128, 6.7e9 / 8192, 0.05e9 / 8192),
    ],
)
def test_cache_of_known_models(
    layers: int, kv_heads: int, head_dim: int, size: float, tolerance: float
) -> None:
    elements = transformer.kv_elements_per_token(layers, kv_heads, head_dim)
    assert 2 * elements == pytest.approx(size, abs=tolerance)


def test_attention_arithmetic_of_palm() -> None:
    # Chowdhery et al. 2022, app. B: 12 L H Q T operations a token, forward and backward (three
    # times the forward pass), over all T tokens without a causal mask.
    per_pair = transformer.attention_flops_per_pair(118, 48, 256, 256)
    assert 3 * per_pair * 2048 == 12 * 118 * 48 * 256 * 2048


def test_projections_and_attention_meet_at_two_widths() -> None:
    # Austin et al. 2025, "All the Transformer Math You Need to Know", question 5: without a mask,
    # attention takes as many operations as its four projections at T = 2D.
    width, heads, head_dim = 4096, 32, 128
    tokens = 2 * width
    projections = transformer.linear_flops(
        transformer.attention_params(width, heads, heads, head_dim), tokens
    )
    pairs = tokens * tokens
    assert pairs * transformer.attention_flops_per_pair(1, heads, head_dim, head_dim) == projections


@given(new=lengths, cached=lengths, window=lengths)
def test_pairs_are_what_a_mask_holds(new: int, cached: int, window: int) -> None:
    queries = np.arange(cached, cached + new)[:, np.newaxis]
    keys = np.arange(cached + new)[np.newaxis, :]
    causal = keys <= queries
    assert transformer.causal_pairs(new, cached) == causal.sum()
    seen = causal & (keys > queries - window) if window else causal
    assert transformer.windowed_pairs(new, cached, window) == seen.sum()


@given(context=lengths, window=st.integers(1, 60))
def test_the_last_token_reads_its_window(context: int, window: int) -> None:
    read = transformer.context_read(context + 1, window)
    assert read == transformer.windowed_pairs(1, context, window)
    assert transformer.context_read(context, 0) == context


@given(experts=st.integers(1, 64), tokens=st.integers(1, 40), data=st.data())
def test_experts_read_follow_from_counting_draws(
    experts: int, tokens: int, data: st.DataObject
) -> None:
    chosen = data.draw(st.integers(1, experts))
    # Draws of a token that avoid one given expert, over all its draws.
    missed = (math.comb(experts - 1, chosen) / math.comb(experts, chosen)) ** tokens
    share = transformer.expert_share_read(tokens, experts, chosen)
    assert share == pytest.approx(1 - missed, rel=1e-9)


def test_experts_read_in_a_simulation() -> None:
    # 64 tokens with 8 of 256 experts each, as in a decode step of DeepSeek-V3.
    random = np.random.default_rng(7)
    shares = []
    for _ in range(300):
        order = random.random((64, 256)).argpartition(8, axis=1)[:, :8]
        shares.append(np.unique(order).size / 256)
    assert transformer.expert_share_read(64, 256, 8) == pytest.approx(np.mean(shares), abs=0.005)


def test_experts_read_at_the_limits() -> None:
    assert transformer.expert_share_read(0, 8, 2) == 0
    assert transformer.expert_share_read(1, 256, 8) == pytest.approx(8 / 256, rel=1e-12)
    assert transformer.expert_share_read(1e12, 256, 8) == 1
    assert transformer.expert_share_read(7, 8, 8) == 1
    assert transformer.expert_share_read(0, 0, 0) == 1
    # Few tokens and many experts: the plain formula would lose half of its digits here.
    assert transformer.expert_share_read(1, 1e12, 1) == pytest.approx(1e-12, rel=1e-9)
    with pytest.raises(ValueError, match="experts_per_token"):
        transformer.expert_share_read(1, 8, 9)


@given(tokens=counts, more=counts)
def test_more_tokens_never_read_fewer_experts(tokens: int, more: int) -> None:
    few = transformer.expert_share_read(tokens, 128, 4)
    assert few <= transformer.expert_share_read(tokens + more, 128, 4) <= 1


@given(hidden=counts, heads=counts, head_dim=counts)
def test_latent_attention_without_query_rank_projects_directly(
    hidden: int, heads: int, head_dim: int
) -> None:
    # With the rank of the full width the down projection is all that is added.
    width = heads * head_dim
    plain = transformer.latent_attention_params(hidden, heads, 0, 64, head_dim, 0, head_dim)
    ranked = transformer.latent_attention_params(hidden, heads, hidden, 64, head_dim, 0, head_dim)
    assert ranked - plain == hidden * hidden
    assert plain == hidden * width + hidden * 64 + 64 * heads * 2 * head_dim + width * hidden


FORMULAS = [
    (transformer.attention_params, (4096, 32, 8, 128, 1)),
    (transformer.latent_attention_params, (7168, 128, 1536, 512, 128, 64, 128)),
    (transformer.linear_attention_params, (2048, 16, 32, 128, 128)),
    (transformer.feed_forward_params, (4096, 14336, 1)),
    (transformer.kv_elements_per_token, (32, 8, 128)),
    (transformer.latent_kv_elements_per_token, (61, 512, 64)),
    (transformer.state_elements, (36, 32, 128, 128)),
    (transformer.attention_flops_per_pair, (32, 32, 128, 128)),
    (transformer.linear_flops, (8e9, 100)),
    (transformer.causal_pairs, (100, 30)),
    (transformer.windowed_pairs, (100, 30, 64)),
    (transformer.context_read, (100, 64)),
    (transformer.expert_share_read, (100, 256, 8)),
]


@pytest.mark.parametrize(("formula", "arguments"), FORMULAS)
def test_scalars_and_arrays_agree(
    formula: Callable[..., Any], arguments: tuple[float, ...]
) -> None:
    # The last row is zero where zero means "none of it": no query rank, no gate, no window.
    columns = [np.array([a, 1.0, a]) for a in arguments]
    together = formula(*columns)
    one_by_one = [formula(*(float(column[row]) for column in columns)) for row in range(3)]
    assert together.tolist() == one_by_one
    grid = formula(*(np.array([[a]]) for a in arguments[:-1]), np.array([arguments[-1]] * 2))
    assert grid.shape == (1, 2)
    assert np.isscalar(formula(*arguments))


@pytest.mark.parametrize(("formula", "arguments"), FORMULAS)
def test_bad_arguments_are_named(formula: Callable[..., Any], arguments: tuple[float, ...]) -> None:
    for position in range(len(arguments)):
        for bad in (-1.0, float("nan")):
            changed = list(arguments)
            changed[position] = bad
            with pytest.raises(ValueError, match="must be"):
                formula(*changed)
