"""Power, energy and carbon."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpi_model.formulas import energy
from cpi_model.units import GRAM, KILOWATT_HOUR, WATT_HOUR

NAN = float("nan")
utilisations = st.floats(0, 1)
exponents = st.floats(1, 2)
powers = st.floats(0, 2000)


def test_a_prompt_of_gemini() -> None:
    # Elsworth et al. 2025, "Measuring the environmental impact of delivering AI at Google Scale":
    # 0.24 Wh for the median text prompt, 8 % of it overhead of the data centre (PUE 1.09).
    prompts_per_s = 1000.0
    computers = 0.24 * WATT_HOUR * (1 - 0.08) * prompts_per_s
    per_prompt = energy.energy_per_inference(computers, 1.09, prompts_per_s)
    assert per_prompt / WATT_HOUR == pytest.approx(0.24, abs=0.005)


def test_a_kilowatt_hour_has_the_carbon_of_the_grid() -> None:
    # codecarbon 3.3.2, impact of clouds: europe-west9 (Paris) 34 g/kWh.
    carbon = energy.carbon_per_inference(1 * KILOWATT_HOUR, 34 * GRAM / KILOWATT_HOUR)
    assert carbon == pytest.approx(34.0, rel=1e-12)


@given(utilisations, powers, powers, exponents)
def test_power_lies_between_idle_and_peak(
    utilisation: float, idle: float, more: float, exponent: float
) -> None:
    peak = idle + more
    power = energy.device_power(utilisation, idle, peak, exponent)
    assert idle - 1e-9 <= power <= peak + 1e-9
    assert energy.device_power(0.0, idle, peak, exponent) == idle
    assert energy.device_power(1.0, idle, peak, exponent) == pytest.approx(peak)
    linear = energy.device_power(utilisation, idle, peak, 1.0)
    assert linear == pytest.approx(idle + more * utilisation, abs=1e-9)
    # Fan et al. 2007: real servers lie above the straight line.
    assert power >= linear - 1e-9


@given(utilisations, utilisations, exponents)
def test_more_use_never_draws_less(first: float, second: float, exponent: float) -> None:
    low, high = sorted((first, second))
    assert (
        energy.device_power(low, 70.0, 700.0, exponent)
        <= energy.device_power(high, 70.0, 700.0, exponent) + 1e-9
    )


def test_unknown_power_stays_unknown_and_nothing_served_is_infinite() -> None:
    assert math.isnan(energy.device_power(0.5, NAN, 700.0, 1.0))
    assert math.isnan(energy.energy_per_inference(NAN, 1.2, 10.0))
    assert math.isnan(energy.carbon_per_inference(NAN, 1e-4))
    assert energy.energy_per_inference(700.0, 1.2, 0.0) == math.inf


FORMULAS = [
    (energy.device_power, (0.5, 70.0, 700.0, 1.4)),
    (energy.energy_per_inference, (700.0, 1.2, 10.0)),
    (energy.carbon_per_inference, (84.0, 1e-4)),
]


@pytest.mark.parametrize(("formula", "arguments"), FORMULAS)
def test_scalars_and_arrays_agree(
    formula: Callable[..., Any], arguments: tuple[float, ...]
) -> None:
    columns = [np.array([a, a * 1.25]) for a in arguments]
    together = formula(*columns)
    one_by_one = [formula(*(float(column[row]) for column in columns)) for row in range(2)]
    assert together.tolist() == pytest.approx(one_by_one, rel=1e-14)
    assert np.isscalar(formula(*arguments))


@pytest.mark.parametrize(("formula", "arguments"), FORMULAS)
def test_bad_arguments_are_named(formula: Callable[..., Any], arguments: tuple[float, ...]) -> None:
    for position in range(len(arguments)):
        changed = list(arguments)
        changed[position] = -1.0
        with pytest.raises(ValueError, match="must be"):
            formula(*changed)
