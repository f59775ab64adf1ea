"""Times from arithmetic and memory, against worked problems of "How to Scale Your Model"."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpi_model.formulas import roofline

times = st.floats(0, 1e9)
exponents = st.one_of(st.floats(1, 1000), st.just(math.inf))
amounts = st.floats(1e-3, 1e18)
rates = st.floats(1e6, 1e18)


def test_decode_of_a_30b_model() -> None:
    # Austin et al. 2025, "All About Transformer Inference", pop quiz: 2.5 ms (2.57 unrounded) at
    # batch 4 and 21 ms at batch 256 on 16 TPU v5e.
    step = roofline.decode_step_time(
        np.array([4, 256]), 819e6, 30e9, 30e9, 16 * 8.1e11, 16 * 1.97e14
    )
    assert step * 1e3 == pytest.approx([2.57, 21.05], abs=0.005)


@pytest.mark.parametrize(
    ("kv_bytes", "published_ms"),
    [
        # Same chapter, "Modeling throughput and latency for LLaMA 2-13B" on 8 TPU v5e: with all
        # 40 key-value heads, and with a cache a fifth of that.
        (6.7e9, [4.98, 12.13, 20.30, 36.65, 69.33, 249.09]),
        (1.34e9, [4.17, 5.60, 7.23, 10.50, 17.04, 52.99]),
    ],
)
def test_decode_of_llama_2_13b(kv_bytes: float, published_ms: list[float]) -> None:
    batch = np.array([1, 8, 16, 32, 64, 240])
    step = roofline.decode_step_time(batch, kv_bytes, 26e9, 13e9, 8 * 0.82e12, 8 * 200e12)
    # The book truncates some of its figures.
    assert step * 1e3 == pytest.approx(published_ms, abs=0.011)


def test_prefill_of_llama_70b() -> None:
    # "Serving LLaMA 3-70B on TPUs", prefill: 240 tokens through the feed-forward blocks take
    # 26e12 operations (two digits), 8 ms on 8 TPU v5e in int8.
    params = 3 * 8192 * 28672 * 80
    time = roofline.prefill_time(240, params, 0, params, 8 * 8.1e11, 8 * 3.94e14)
    assert 2 * params * 240 == pytest.approx(26e12, abs=1.1e12)
    assert time * 1e3 == pytest.approx(8.6, abs=0.1)


@pytest.mark.parametrize(
    ("peak", "bandwidth", "published"),
    [
        # "All About Rooflines": TPU v5e in bf16 and the critical batch of 240
        (1.97e14, 8.2e11, 240),
        # "How to Think About GPUs": H100 SXM in bf16, 990e12 / 3.35e12 = 295
        (990e12, 3.35e12, 295),
    ],
)
def test_ridge_of_known_chips(peak: float, bandwidth: float, published: float) -> None:
    assert roofline.ridge_point(peak, bandwidth) == pytest.approx(published, abs=0.6)


@given(rates, rates, amounts)
def test_both_limits_meet_at_the_ridge(peak: float, bandwidth: float, size: float) -> None:
    flops = size * roofline.ridge_point(peak, bandwidth)
    at_ridge = roofline.roofline_time(flops, size, peak, bandwidth)
    assert at_ridge == pytest.approx(flops / peak, rel=1e-9)
    assert at_ridge == pytest.approx(size / bandwidth, rel=1e-9)
    # Without overlap the two times add up.
    assert roofline.roofline_time(flops, size, peak, bandwidth, 1.0) == pytest.approx(
        2 * at_ridge, rel=1e-9
    )


@given(times, times, exponents)
def test_smooth_maximum_lies_between_maximum_and_sum(
    first: float, second: float, exponent: float
) -> None:
    both = roofline.p_norm(first, second, exponent)
    assert max(first, second) <= both <= (first + second) * (1 + 1e-12)
    assert both == roofline.p_norm(second, first, exponent)


@given(times, times, st.floats(1, 50), st.floats(0, 50))
def test_a_higher_exponent_is_never_slower(
    first: float, second: float, exponent: float, more: float
) -> None:
    slow = roofline.p_norm(first, second, exponent)
    assert roofline.p_norm(first, second, exponent + more) <= slow * (1 + 1e-12)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.floats(1, 20))
def test_smooth_maximum_is_the_norm_of_numpy(first: float, second: float, exponent: float) -> None:
    expected = np.linalg.norm([first, second], ord=exponent)
    assert roofline.p_norm(first, second, exponent) == pytest.approx(expected, rel=1e-9)


def test_smooth_maximum_at_the_limits() -> None:
    assert roofline.p_norm(0.0, 0.0, 3.0) == 0
    assert roofline.p_norm(0.0, 2.0, 3.0) == 2
    # Powers of these times would overflow and underflow.
    assert roofline.p_norm(1e300, 1e300, 2.0) == pytest.approx(math.sqrt(2) * 1e300, rel=1e-12)
    assert roofline.p_norm(1e-300, 1e-300, 2.0) == pytest.approx(math.sqrt(2) * 1e-300, rel=1e-12)
    # An array of exponents may hold infinity among others.
    several = roofline.p_norm(3.0, 4.0, np.array([1.0, 2.0, math.inf]))
    assert several.tolist() == pytest.approx([7.0, 5.0, 4.0])


@given(amounts, amounts, rates, rates, exponents, st.floats(1, 100))
def test_faster_hardware_is_never_slower(
    flops: float, size: float, peak: float, bandwidth: float, exponent: float, faster: float
) -> None:
    time = roofline.roofline_time(flops, size, peak, bandwidth, exponent)
    slack = 1 + 1e-12
    assert roofline.roofline_time(flops, size, faster * peak, bandwidth, exponent) <= time * slack
    assert roofline.roofline_time(flops, size, peak, faster * bandwidth, exponent) <= time * slack
    assert roofline.roofline_time(
        faster * flops, faster * size, peak, bandwidth, exponent
    ) == pytest.approx(faster * time, rel=1e-9)


@given(st.floats(1e-3, 1e9), st.floats(0, 1e9), st.floats(0, 1), st.floats(1, 1e6))
def test_efficiency_saturates(work: float, half_work: float, top: float, more: float) -> None:
    efficiency = roofline.saturating_efficiency(work, half_work, top)
    assert 0 <= efficiency <= top
    assert roofline.saturating_efficiency(work * more, half_work, top) >= efficiency * (1 - 1e-12)
    assert roofline.saturating_efficiency(work, 0.0, top) == top
    if half_work:
        assert roofline.saturating_efficiency(half_work, half_work, top) == top / 2
    # Time is work over speed: it must never fall when work is added.
    slower = work * more / max(roofline.saturating_efficiency(work * more, half_work, 1.0), 1e-300)
    assert slower >= work / roofline.saturating_efficiency(work, half_work, 1.0) * (1 - 1e-9)


@given(st.integers(1, 512), st.floats(0, 1e9), st.integers(1, 100))
def test_a_bigger_batch_never_lowers_throughput(batch: int, kv_bytes: float, more: int) -> None:
    def throughput(sequences: int) -> float:
        step = roofline.decode_step_time(sequences, kv_bytes, 16e9, 8e9, 3.35e12, 989e12)
        return float(sequences / step)

    assert throughput(batch + more) >= throughput(batch) * (1 - 1e-12)


FORMULAS = [
    (roofline.p_norm, (1.0, 2.0, 3.0)),
    (roofline.roofline_time, (1e12, 1e9, 1e15, 1e12, 2.5)),
    (roofline.ridge_point, (1e15, 3e12)),
    (roofline.saturating_efficiency, (64.0, 32.0, 0.8)),
    (roofline.decode_step_time, (4.0, 819e6, 30e9, 30e9, 1e13, 3e15)),
    (roofline.prefill_time, (512.0, 30e9, 1e12, 30e9, 1e13, 3e15)),
]


@pytest.mark.parametrize(("formula", "arguments"), FORMULAS)
def test_scalars_and_arrays_agree(
    formula: Callable[..., Any], arguments: tuple[float, ...]
) -> None:
    columns = [np.array([a, a * 1.25, a]) for a in arguments]
    columns[0] = columns[0] * np.array([1, 1, 1000])
    together = formula(*columns)
    one_by_one = [formula(*(float(column[row]) for column in columns)) for row in range(3)]
    # Powers of arrays may differ from those of scalars in the last bit.
    assert together.tolist() == pytest.approx(one_by_one, rel=1e-14)
    assert np.isscalar(formula(*arguments))


@pytest.mark.parametrize(("formula", "arguments"), FORMULAS)
def test_bad_arguments_are_named(formula: Callable[..., Any], arguments: tuple[float, ...]) -> None:
    for position in range(len(arguments)):
        for bad in (-1.0, float("nan")):
            changed = list(arguments)
            changed[position] = bad
            with pytest.raises(ValueError, match="must be"):
                formula(*changed)
