"""Prices, replicas and unit costs, against textbook tables and against counting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpi_model.formulas import pricing
from cpi_model.units import YEAR

NAN = float("nan")
prices = st.floats(0, 1e6)
shares = st.floats(0, 0.95)
loads = st.floats(0, 1e6, allow_subnormal=False)
capacities = st.floats(1e-3, 1e6)
targets = st.floats(0.05, 1)


def test_five_hundred_dollars_a_day_for_a_million_requests() -> None:
    assert pricing.cost_per_inference(500.0, 1_000_000) == 0.0005


@given(loads, st.integers(1, 100), st.floats(0, 1))
def test_versions_share_out_the_whole_load(load: float, versions: int, share: float) -> None:
    newest, other = pricing.load_by_version(load, float(versions), share)
    assert newest + (versions - 1) * other == pytest.approx(load)
    assert newest >= 0 and other >= 0
    if versions == 1:
        assert newest == load and other == 0


def test_nothing_done_has_no_finite_cost() -> None:
    assert pricing.cost_per_inference(500.0, 0) == math.inf
    assert math.isnan(pricing.cost_per_inference(0.0, 0))
    assert math.isnan(pricing.token_price(500.0, 0.0))


@pytest.mark.parametrize(
    ("rate", "years", "factor"),
    [
        # Capital recovery factors (A/P, i, n) as tabulated in engineering economics, e.g. Newnan,
        # Eschenbach, Lavelle, "Engineering Economic Analysis", app. C.
        (0.05, 20, 0.0802),
        (0.08, 5, 0.2505),
        (0.10, 10, 0.1627),
        (0.12, 30, 0.1241),
    ],
)
def test_amortisation_as_tabulated(rate: float, years: int, factor: float) -> None:
    yearly = pricing.amortised(1.0, years * YEAR, rate) * YEAR
    assert yearly == pytest.approx(factor, abs=0.00005 + 1e-9)


@given(st.floats(1, 1e9), st.floats(0.25, 40), st.floats(0, 0.5))
def test_payments_have_the_value_of_the_purchase(price: float, years: float, rate: float) -> None:
    payment = pricing.amortised(price, years * YEAR, rate) * YEAR
    assert payment * years >= price * (1 - 1e-9)
    whole = math.ceil(years)
    paid = pricing.amortised(price, whole * YEAR, rate) * YEAR
    # Present value of the payments at the end of each year.
    value = sum(paid / (1 + rate) ** year for year in range(1, whole + 1))
    assert value == pytest.approx(price, rel=1e-9)


def test_amortisation_goes_to_the_plain_share_without_interest() -> None:
    assert pricing.amortised(900.0, 3 * YEAR, 0.0) * YEAR == pytest.approx(300.0, rel=1e-12)
    assert pricing.amortised(900.0, 3 * YEAR, 1e-12) * YEAR == pytest.approx(300.0, rel=1e-9)


@given(st.integers(1, 10_000), capacities, targets)
def test_no_replica_too_many_for_a_round_load(
    replicas: int, capacity: float, target: float
) -> None:
    # A load that is exactly what n replicas may carry needs n, however the product was rounded.
    load = replicas * (capacity * target)
    assert pricing.replicas_for_load(load, capacity, target) == replicas


@given(loads, capacities, targets)
def test_replicas_carry_the_load_and_one_less_would_not(
    load: float, capacity: float, target: float
) -> None:
    replicas = pricing.replicas_for_load(load, capacity, target)
    assert replicas == math.floor(replicas)
    assert replicas * capacity * target >= load * (1 - 1e-11)
    if load:
        assert (replicas - 1) * capacity * target < load


def test_replicas_at_the_limits() -> None:
    assert pricing.replicas_for_load(0.0, 0.0, 0.7) == 0
    assert pricing.replicas_for_load(1e-300, 10.0, 0.7) == 1
    assert pricing.replicas_for_load(1.0, 0.0, 0.7) == math.inf
    assert math.isnan(pricing.replicas_for_load(NAN, 1.0, 0.7))
    assert math.isnan(pricing.replicas_for_load(1.0, NAN, 0.7))
    # Decimal fractions whose quotient is not a whole number in floating point.
    assert 2.1 / 0.7 > 3
    assert pricing.replicas_for_load(2.1, 1.0, 0.7) == 3


@given(st.integers(0, 200), st.integers(1, 16), st.integers(1, 16))
def test_instances_hold_the_replicas_when_packed_one_by_one(
    replicas: int, per_replica: int, per_instance: int
) -> None:
    opened, free = 0, 0
    for _ in range(replicas):
        if per_replica > per_instance:
            # A replica across instances shares the last of them with nobody.
            opened += -(-per_replica // per_instance)
            continue
        if free < per_replica:
            opened, free = opened + 1, per_instance
        free -= per_replica
    assert pricing.instances_for_replicas(replicas, per_replica, per_instance) == opened


@pytest.mark.parametrize(
    ("replicas", "per_replica", "per_instance", "expected"),
    [
        (1, 0.25, 0.25, 1),  # a quarter of a socket on an instance that is a quarter
        (8, 0.1, 0.3, 3),  # 0.3 / 0.1 is a hair below 3
        (8, 0.1, 0.8, 1),
        (2, 1.0, 0.25, 8),
        (math.inf, 1.0, 8.0, math.inf),
        (0, 1.0, 8.0, 0),
    ],
)
def test_parts_of_a_socket(
    replicas: float, per_replica: float, per_instance: float, expected: float
) -> None:
    assert pricing.instances_for_replicas(replicas, per_replica, per_instance) == expected


@given(prices, shares, st.floats(0, 2), shares)
def test_a_price_moves_the_right_way(
    price: float, discount: float, spot: float, unused: float
) -> None:
    effective = pricing.effective_price(price, discount, spot, unused)
    assert pricing.effective_price(price, 0, 0, 0) == price
    assert effective == pytest.approx(price * (1 - discount) * (1 + spot) / (1 - unused), rel=1e-12)
    # What is paid for an hour is what the used part of it costs.
    paid = pricing.effective_price(price, discount, spot, 0)
    assert effective * (1 - unused) == pytest.approx(paid, rel=1e-12)


@given(st.floats(0.01, 1e4), st.floats(0.01, 1e4))
def test_a_commitment_used_to_break_even_costs_as_much_as_on_demand(
    committed: float, on_demand: float
) -> None:
    utilisation = pricing.break_even_utilisation(committed, on_demand)
    assert pricing.commitment_saving(committed, on_demand) == pytest.approx(1 - utilisation)
    if utilisation <= 1:
        effective = pricing.effective_price(committed, 0, 0, 1 - utilisation)
        assert effective == pytest.approx(on_demand, rel=1e-6)


@given(prices, st.floats(0, 1e3), st.floats(1e-6, 1e3))
def test_parts_by_time_sum_to_the_cost(cost: float, prefill: float, decode: float) -> None:
    prompt, output = pricing.split_by_time(cost, prefill, decode)
    assert prompt + output == pytest.approx(cost, rel=1e-12)
    assert prompt * decode == pytest.approx(output * prefill, rel=1e-6, abs=1e-6)
    assert prompt >= 0
    assert output >= -1e-12 * cost


def test_an_unknown_price_stays_unknown() -> None:
    assert math.isnan(pricing.effective_price(NAN, 0.1, 0.1, 0.1))
    assert math.isnan(pricing.cost_per_inference(NAN, 1000))
    assert math.isnan(pricing.token_price(NAN, 1000))
    assert all(math.isnan(part) for part in pricing.split_by_time(NAN, 1.0, 2.0))
    assert math.isnan(pricing.break_even_utilisation(6.0, NAN))
    assert math.isnan(pricing.commitment_saving(NAN, 6.0))
    assert math.isnan(pricing.amortised(NAN, YEAR, 0.1))
    assert math.isnan(pricing.instances_for_replicas(NAN, 1, 8))
    mixed = pricing.cost_per_inference(np.array([NAN, 500.0]), 1_000_000)
    assert mixed.tolist() == pytest.approx([NAN, 0.0005], nan_ok=True)


FORMULAS = [
    (pricing.effective_price, (10.0, 0.1, 0.05, 0.2)),
    (pricing.replicas_for_load, (100.0, 7.0, 0.7)),
    (pricing.instances_per_replica, (3.0, 8.0)),
    (pricing.instances_for_replicas, (10.0, 3.0, 8.0)),
    (pricing.cost_per_inference, (500.0, 1e6)),
    (pricing.token_price, (500.0, 1e9)),
    (pricing.commitment_saving, (6.0, 10.0)),
    (pricing.break_even_utilisation, (6.0, 10.0)),
    (pricing.amortised, (1e5, 3 * YEAR, 0.08)),
]


@pytest.mark.parametrize(("formula", "arguments"), FORMULAS)
def test_scalars_and_arrays_agree(
    formula: Callable[..., Any], arguments: tuple[float, ...]
) -> None:
    columns = [np.array([a, a * 0.75, a]) for a in arguments]
    columns[0] = columns[0] * np.array([1, 1, 0.125])
    together = formula(*columns)
    one_by_one = [formula(*(float(column[row]) for column in columns)) for row in range(3)]
    assert together.tolist() == pytest.approx(one_by_one, rel=1e-14)
    assert np.isscalar(formula(*arguments))


@pytest.mark.parametrize(("formula", "arguments"), FORMULAS)
def test_bad_arguments_are_named(formula: Callable[..., Any], arguments: tuple[float, ...]) -> None:
    for position in range(len(arguments)):
        changed = list(arguments)
        changed[position] = -1.0
        with pytest.raises(ValueError, match="must be"):
            formula(*changed)
        changed[position] = np.array([arguments[position], -1.0])
        with pytest.raises(ValueError, match=r"is -1\.0, must be"):
            formula(*changed)
