"""Formulas of traffic: limiting cases and laws of the distributions that they cite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpi_model.formulas.traffic import (
    daily_factor,
    gamma_factor,
    grown,
    index_of_dispersion,
    weekly_factor,
)
from cpi_model.units import DAY, HOUR


@given(st.floats(0, 1), st.floats(0, 24))
def test_a_day_averages_to_one_and_peaks_when_it_should(swing: float, hour: float) -> None:
    times = np.arange(0.0, DAY, 60.0)
    factors = np.asarray(daily_factor(times, swing, hour * HOUR))
    assert factors.mean() == pytest.approx(1.0)
    assert factors.min() >= 0.0
    assert daily_factor(hour * HOUR, swing, hour * HOUR) == pytest.approx(1.0 + swing)


@given(st.floats(0, 5))
def test_a_week_averages_to_one_in_the_ratio_asked_for(ratio: float) -> None:
    factors = np.asarray(weekly_factor(np.arange(7.0), ratio))
    assert factors.mean() == pytest.approx(1.0)
    assert factors[5:] == pytest.approx(ratio * factors[0])


@pytest.mark.parametrize("cv", [0.05, 0.3, 1.0, 2.5])
def test_gamma_factors_have_the_moments_of_the_gamma_distribution(cv: float) -> None:
    """Mean 1, the CV asked for, and skewness twice the CV, summed over the normal density."""
    nodes = np.linspace(-10.0, 10.0, 20_001)
    weights = np.exp(-(nodes**2) / 2)
    weights = weights / weights.sum()
    factors = np.asarray(gamma_factor(nodes, cv))
    mean = float(weights @ factors)
    variance = float(weights @ (factors - mean) ** 2)
    assert mean == pytest.approx(1.0, rel=1e-3)
    assert np.sqrt(variance) == pytest.approx(cv, rel=1e-3)
    third = float(weights @ (factors - mean) ** 3)
    assert third / variance**1.5 == pytest.approx(2 * cv, rel=0.01)


def test_without_unrest_every_minute_is_as_expected() -> None:
    assert np.asarray(gamma_factor(np.array([-3.0, 0.0, 3.0]), 0.0)) == pytest.approx(1.0)


def test_independent_users_have_an_index_of_one() -> None:
    counts = np.random.default_rng(7).poisson(40.0, 100_000).astype(float)
    counts[::10] = np.nan
    assert index_of_dispersion(counts) == pytest.approx(1.0, abs=0.02)
    assert np.isnan(index_of_dispersion(np.zeros(5)))


@given(st.floats(0, 1e6), st.floats(-0.5, 1), st.floats(0, 36), st.floats(0, 36))
def test_growth_compounds(rate: float, growth: float, first: float, second: float) -> None:
    at_once = grown(rate, first + second, growth)
    assert grown(float(grown(rate, first, growth)), second, growth) == pytest.approx(at_once)


@pytest.mark.parametrize(
    "call",
    [
        lambda: daily_factor(0.0, 1.1, 0.0),
        lambda: daily_factor(-1.0, 0.1, 0.0),
        lambda: weekly_factor(0.0, -0.1),
        lambda: gamma_factor(0.0, -1.0),
        lambda: index_of_dispersion(np.array([1.0, -1.0])),
        lambda: grown(1.0, 1.0, -1.0),
        lambda: grown(-1.0, 1.0, 0.0),
    ],
)
def test_what_cannot_be_is_refused(call: object) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        call()  # type: ignore[operator]
