"""Time of collectives, against worked problems and against moving the bytes step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpi_model.formulas import collectives

sizes = st.floats(0, 1e12)
devices = st.integers(2, 512)
bandwidths = st.floats(1e6, 1e13)
latencies = st.floats(0, 1e-2)

SPLIT = [
    collectives.ring_all_reduce_time,
    collectives.all_gather_time,
    collectives.all_to_all_time,
]
ALL = [*SPLIT, collectives.point_to_point_time]


def test_all_gather_in_an_h100_server() -> None:
    # Austin et al. 2025, "How to Think About GPUs": quiz 2, question 3 (1.04 ms), and pop quiz 1
    # (65 us), both with 8 devices of 450 GB/s.
    assert collectives.all_gather_time(4096 * 65536 * 2, 8, 450e9, 0) == pytest.approx(
        1.04e-3, abs=0.005e-3
    )
    assert collectives.all_gather_time(1024 * 16384 * 2, 8, 450e9, 0) == pytest.approx(
        65e-6, abs=0.5e-6
    )


@given(sizes, devices, bandwidths)
def test_all_to_all_as_in_the_book(total: float, count: int, bandwidth: float) -> None:
    # Austin et al. 2025, "How to Think About GPUs": B (N - 1) / (W N^2) for an array of B bytes
    # of which each device holds B / N.
    expected = total * (count - 1) / (bandwidth * count**2)
    assert collectives.all_to_all_time(total / count, count, bandwidth, 0) == pytest.approx(
        expected, rel=1e-12
    )


@given(st.integers(2, 40), bandwidths)
def test_a_ring_sends_chunk_after_chunk(count: int, bandwidth: float) -> None:
    # The ring itself: in each of its steps every device sends one chunk to its neighbour. First
    # chunks are summed until each device has one that is whole, then whole chunks go round.
    chunks = np.arange(count * count, dtype=float).reshape(count, count)
    held = chunks.copy()
    steps = 0
    for phase in (np.add, lambda _, sent: sent):
        for turn in range(count - 1):
            before = held.copy()
            for device in range(count):
                chunk = (device - turn + (phase is not np.add)) % count
                receiver = (device + 1) % count
                held[receiver, chunk] = phase(before[receiver, chunk], before[device, chunk])
            steps += 1
    assert (held == chunks.sum(axis=0)).all()
    size = 1e6
    expected = steps * (size / count) / bandwidth
    assert collectives.ring_all_reduce_time(size, count, bandwidth, 0) == pytest.approx(
        expected, rel=1e-12
    )
    # Gathering is the second half of it.
    assert collectives.all_gather_time(size, count, bandwidth, 0) == pytest.approx(
        expected / 2, rel=1e-12
    )


@pytest.mark.parametrize("collective", ALL)
def test_one_device_has_nobody_to_talk_to(collective: Callable[..., Any]) -> None:
    assert collective(1e9, 1, 1e9, 1e-3) == 0


@pytest.mark.parametrize("collective", SPLIT)
@given(size=sizes, count=devices, bandwidth=bandwidths, latency=latencies)
def test_laws_of_collectives(
    collective: Callable[..., Any], size: float, count: int, bandwidth: float, latency: float
) -> None:
    time = collective(size, count, bandwidth, latency)
    assert collective(0.0, count, bandwidth, latency) == latency
    assert collective(size, count, 2 * bandwidth, latency) <= time
    assert collective(size, count + 1, bandwidth, latency) >= time * (1 - 1e-12)
    # With twice the bytes at no latency: twice the time.
    assert collective(2 * size, count, bandwidth, 0.0) == pytest.approx(
        2 * collective(size, count, bandwidth, 0.0), rel=1e-12
    )


@given(size=sizes, stages=devices, bandwidth=bandwidths, latency=latencies)
def test_a_pipeline_hands_on_once_less_than_it_has_stages(
    size: float, stages: int, bandwidth: float, latency: float
) -> None:
    hop = latency + size / bandwidth
    assert collectives.point_to_point_time(size, stages, bandwidth, latency) == pytest.approx(
        sum([hop] * (stages - 1)), rel=1e-9
    )


@pytest.mark.parametrize("collective", ALL)
def test_scalars_and_arrays_agree(collective: Callable[..., Any]) -> None:
    columns = np.array([[1e6, 1, 4e11, 1e-5], [1e9, 8, 4e11, 0], [0, 16, 5e10, 2e-5]]).T
    together = collective(*columns)
    one_by_one = [collective(*(float(value) for value in row)) for row in columns.T]
    assert together.tolist() == one_by_one
    assert np.isscalar(collective(1e6, 2, 4e11, 1e-5))


@pytest.mark.parametrize("collective", ALL)
@pytest.mark.parametrize(
    ("position", "bad", "named"),
    [(0, -1.0, "size_bytes"), (1, 0.5, "devices"), (2, 0.0, "link_bandwidth"), (3, -1, "latency")],
)
def test_bad_arguments_are_named(
    collective: Callable[..., Any], position: int, bad: float, named: str
) -> None:
    arguments = [1e6, 2, 4e11, 1e-5]
    arguments[position] = bad
    with pytest.raises(ValueError, match=named):
        collective(*arguments)
