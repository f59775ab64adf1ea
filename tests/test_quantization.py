"""Bytes of weights and caches, against published formats and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpi_model.formulas import quantization, transformer

GIB = 2**30
bits = st.floats(1, 32)
shares = st.floats(0, 1)
params = st.floats(0, 1e12)


@pytest.mark.parametrize(
    ("weight_bits", "group_size", "scale_bits", "zero_point_bits", "published"),
    [
        # OCP Microscaling Formats 1.0: blocks of 32 with an 8-bit scale. gpt-oss model card: 4.25
        (4, 32, 8, 0, 4.25),
        (8, 32, 8, 0, 8.25),
        # NVFP4, NVIDIA technical blog 2025: blocks of 16 with an 8-bit scale, 4.5 bits
        (4, 16, 8, 0, 4.5),
        # ggml block_q4_0: 18 bytes for 32 weights; block_q8_0: 34 bytes; block_q4_1: 20 bytes
        (4, 32, 16, 0, 18 * 8 / 32),
        (8, 32, 16, 0, 34 * 8 / 32),
        (4, 32, 16, 16, 20 * 8 / 32),
        # one scale per channel is not counted
        (8, 0, 16, 0, 8),
        (16, 0, 0, 0, 16),
    ],
)
def test_bits_per_weight_of_known_formats(
    weight_bits: float, group_size: int, scale_bits: int, zero_point_bits: int, published: float
) -> None:
    stored = quantization.stored_bytes_per_weight(
        weight_bits, group_size, scale_bits, zero_point_bits
    )
    assert stored * 8 == published


@pytest.mark.parametrize(
    ("layers", "experts", "published_gib"),
    # gpt-oss model card, arXiv:2508.10925, table 1
    [(36, 128, 60.8), (24, 32, 12.8)],
)
def test_checkpoint_of_gpt_oss(layers: int, experts: int, published_gib: float) -> None:
    width, vocabulary = 2880, 201088
    expert_params = layers * experts * transformer.feed_forward_params(width, width, 1)
    attention = layers * transformer.attention_params(width, 64, 8, 64)
    router = layers * experts * width
    expert_biases = layers * experts * 3 * width
    size = quantization.model_bytes(
        attention + router + expert_biases + vocabulary * width,
        expert_params,
        vocabulary * width,
        dense_share=0.0,
        expert_share=1.0,
        quantised_bytes=quantization.stored_bytes_per_weight(4, 32, 8, 0),
        plain_bytes=2.0,
    )
    assert size / GIB == pytest.approx(published_gib, abs=0.05)


def test_cache_of_llama_70b() -> None:
    # Austin et al. 2025, "Serving LLaMA 3-70B on TPUs": 160 KiB a token in int8.
    elements = transformer.kv_elements_per_token(80, 8, 128)
    assert quantization.kv_bytes_per_token(elements, 8) == 160 * 1024
    assert quantization.kv_bytes_per_token(elements, 16) == 327_680


@given(params, shares, st.floats(0.1, 4), st.floats(0.1, 4))
def test_a_part_lies_between_its_formats(
    parameters: float, share: float, quantised: float, plain: float
) -> None:
    size = quantization.weight_bytes(parameters, share, quantised, plain)
    low, high = sorted((quantised, plain))
    assert parameters * low * (1 - 1e-12) <= size <= parameters * high * (1 + 1e-12)


@given(params, params, params, shares, shares, st.floats(0.1, 4))
def test_a_model_is_the_sum_of_its_parts(
    dense: float, experts: float, embedding: float, dense_share: float, expert_share: float,
    quantised: float,
) -> None:  # fmt: skip
    whole = quantization.model_bytes(
        dense, experts, embedding, dense_share, expert_share, quantised, 2.0
    )
    parts = (
        quantization.weight_bytes(dense, dense_share, quantised, 2.0)
        + quantization.weight_bytes(experts, expert_share, quantised, 2.0)
        + quantization.weight_bytes(embedding, 0.0, quantised, 2.0)
    )
    assert whole == pytest.approx(parts, rel=1e-12)
    # Nothing quantised is the plain model, whatever the format is.
    plain = quantization.model_bytes(dense, experts, embedding, 0.0, 0.0, quantised, 2.0)
    assert plain == pytest.approx(2.0 * (dense + experts + embedding), rel=1e-12)


@given(bits, st.integers(1, 4096), st.floats(0, 32), st.floats(0, 32))
def test_smaller_groups_cost_more(
    weight_bits: float, group_size: int, scale_bits: float, zero_point_bits: float
) -> None:
    fine = quantization.stored_bytes_per_weight(
        weight_bits, group_size, scale_bits, zero_point_bits
    )
    coarse = quantization.stored_bytes_per_weight(
        weight_bits, 2 * group_size, scale_bits, zero_point_bits
    )
    channel = quantization.stored_bytes_per_weight(weight_bits, 0, scale_bits, zero_point_bits)
    assert fine >= coarse >= channel == weight_bits / 8


FORMULAS = [
    (quantization.stored_bytes_per_weight, (4.0, 128.0, 16.0, 4.0)),
    (quantization.weight_bytes, (8e9, 0.9, 0.5, 2.0)),
    (quantization.model_bytes, (8e9, 1e9, 1e9, 0.9, 1.0, 0.5, 2.0)),
    (quantization.kv_bytes_per_token, (163840.0, 16.0)),
]


@pytest.mark.parametrize(("formula", "arguments"), FORMULAS)
def test_scalars_and_arrays_agree(
    formula: Callable[..., Any], arguments: tuple[float, ...]
) -> None:
    columns = [np.array([a, a / 2, a / 4]) for a in arguments]
    together = formula(*columns)
    one_by_one = [formula(*(float(column[row]) for column in columns)) for row in range(3)]
    assert together.tolist() == one_by_one
    assert np.isscalar(formula(*arguments))


@pytest.mark.parametrize(("formula", "arguments"), FORMULAS)
def test_bad_arguments_are_named(formula: Callable[..., Any], arguments: tuple[float, ...]) -> None:
    for position in range(len(arguments)):
        for bad in (-1.0, float("nan")):
            changed = list(arguments)
            changed[position] = bad
            with pytest.raises(ValueError, match="must be"):
                formula(*changed)
