"""What capacity costs that is not simply rented: against textbooks, laws and a second method."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from cpi_model.catalog import catalog
from cpi_model.formulas import ownership, pricing
from cpi_model.units import DAY, HOUR, KILO, KILOWATT_HOUR, MINUTE, MONTH, YEAR

FACTS = catalog()
prices = st.floats(0.01, 100.0)
needs = st.lists(st.integers(0, 40), min_size=1, max_size=30).map(
    lambda values: np.array(values, dtype=float)
)


# Spot --------------------------------------------------------------------------------------------


def test_spot_that_is_never_taken_away_costs_its_price() -> None:
    assert ownership.spot_overhead(0.0, 600.0, 60.0) == 0.0
    assert ownership.price_with_fallback(3.0, math.nan, 0.0) == 3.0
    assert ownership.price_with_fallback(math.nan, 7.0, 1.0) == 7.0
    assert math.isnan(ownership.price_with_fallback(3.0, math.nan, 0.1))


def test_spot_overhead_against_a_simulation_of_interruptions() -> None:
    """Instances are taken away at random; each begins again and repeats what was lost."""
    random = np.random.default_rng(0)
    restart, lost = 10 * MINUTE, 5 * MINUTE
    paid = random.exponential(DAY, 200_000)  # until each is taken away
    useful = np.maximum(paid - restart - lost, 0.0).sum()
    simulated = paid.sum() / useful - 1.0
    assert ownership.spot_overhead(1 / DAY, restart, lost) == pytest.approx(simulated, rel=0.01)


# Commitments -------------------------------------------------------------------------------------


@given(st.floats(1.0, 50.0), st.floats(0.0, 0.99))
def test_the_load_duration_curve_has_its_peak_its_end_and_its_mean(
    peak: float, quiet: float
) -> None:
    mean = quad(lambda u: float(ownership.load_duration(u, peak, quiet)), 0.0, 1.0, limit=200)[0]
    assert mean == pytest.approx(1.0, rel=1e-4)
    assert ownership.load_duration(0.0, peak, quiet) == pytest.approx(peak)
    if peak > 1.0:
        assert ownership.load_duration(1.0, peak, quiet) == pytest.approx(quiet)


def test_the_load_duration_curve_against_a_week_of_real_traffic() -> None:
    """Azure LLM 2024, code: peak 3.16 and least 0.08 of the mean; the 95th percentile is 2.76."""
    assert ownership.load_duration(0.05, 3.16, 0.08) == pytest.approx(2.76, rel=0.03)


def test_commitment_is_the_newsvendor_of_a_textbook() -> None:
    """Cachon and Terwiesch, Matching Supply with Demand: O'Neill's Hammer 3/2.

    Demand is normal with mean 3192 and deviation 1181, underage 80 and overage 20: the critical
    ratio 0.8 gives 4186 suits. Here a unit costs 20 all the time instead of 100 when used.
    """
    demand = norm.ppf((np.arange(20_000) + 0.5) / 20_000, 3192.0, 1181.0)
    found = ownership.committed_capacity(np.maximum(demand, 0.0), 20.0, 100.0)
    assert found == pytest.approx(4186, rel=0.002)


@given(needs, prices, prices)
def test_no_other_commitment_costs_less(
    need: np.ndarray, committed: float, flexible: float
) -> None:
    """Against trying every number."""
    best = float(ownership.committed_capacity(need, committed, flexible))
    cost = ownership.mixed_rent(need, best, committed, flexible).mean()
    tried = [
        ownership.mixed_rent(need, float(c), committed, flexible).mean()
        for c in range(int(need.max()) + 2)
    ]
    assert cost <= min(tried) * (1 + 1e-9)


def test_the_marginal_unit_breaks_even() -> None:
    """A year at 62 % of the hourly price: the last unit committed is used 62 % of the time."""
    ranks = (np.arange(1000) + 0.5) / 1000
    need = 1000.0 * np.asarray(ownership.load_duration(ranks, 2.0, 0.0))
    committed = float(ownership.committed_capacity(need, 0.62, 1.0))
    assert (need >= committed).mean() == pytest.approx(
        float(pricing.break_even_utilisation(0.62, 1.0)), abs=0.002
    )
    # On the straight curve from 2 to 0 the triangle above it is what nothing runs on.
    assert ownership.unused_share(need, committed) == pytest.approx(0.38 / 2, abs=0.002)


def test_unknown_prices_of_a_mix() -> None:
    need = np.array([3.0, 2.0, 1.0])
    assert ownership.committed_capacity(need, math.nan, 1.0) == 0.0
    assert ownership.committed_capacity(need, 1.0, math.nan) == 3.0
    assert math.isnan(ownership.committed_capacity(need, math.nan, math.nan))
    assert ownership.mixed_rent(need, 3.0, 1.0, math.nan) == pytest.approx([3.0, 3.0, 3.0])
    assert np.isnan(ownership.mixed_rent(need, 2.0, 1.0, math.nan)[0])


# Owned -------------------------------------------------------------------------------------------


def test_depreciation_is_that_of_the_books() -> None:
    """Kieso, Intermediate Accounting: a crane of 500,000 with 50,000 salvage over 5 years."""
    assert ownership.straight_line(500_000.0, 0.1, 5 * YEAR) * YEAR == pytest.approx(90_000.0)


def test_an_owned_h100_costs_about_what_others_find() -> None:
    """The published cost of ownership of an H100 of a neocloud: 1.69 USD an hour, of a hyperscaler
    1.30; ours, from the parts, with list prices and retail electricity."""
    published = {
        id: prices[0].usd_per_hour
        for id, prices in FACTS.prices_of.items()
        if id.startswith("owned-") and id.endswith("/h100-per-gpu")
    }
    price = 30_000.0 * 1.3
    worn = float(ownership.straight_line(price, 0.1, 4 * YEAR))
    runs = float(ownership.running_cost(
        price, 700.0 * 1.8, 1.2, 0.0872 / KILOWATT_HOUR, 184.06 / KILO / MONTH, 1000.0 / YEAR, 0.06
    ))  # fmt: skip
    hourly = (worn + runs) * HOUR
    assert 0.9 * min(published.values()) < hourly < 1.15 * max(published.values())


def test_power_of_a_year_by_hand() -> None:
    """1 kW for 8760 hours at a PUE of 1.5 and 0.08 USD: 1051.20 USD."""
    cost = ownership.running_cost(0.0, 1000.0, 1.5, 0.08 / KILOWATT_HOUR, 0.0, 0.0, 0.0)
    assert cost * YEAR == pytest.approx(1051.2)


@given(st.floats(1.0, 1e6), st.floats(0.0, 1.0), st.floats(0.0, 2.0))
def test_payback_is_where_the_cash_curves_cross(
    purchase: float, running: float, more: float
) -> None:
    alternative = running + more
    payback = float(ownership.payback_time(purchase, running, alternative))
    if math.isinf(payback):
        assert alternative - running <= purchase / 1e300
        return
    life = 2 * payback
    bought = ownership.cumulative_cash(purchase, running, 0.0, life, payback)
    assert bought == pytest.approx(alternative * payback, rel=1e-6)


def test_cash_and_depreciation_agree_over_whole_lives() -> None:
    """What was paid after three lives, less the fleet that is just bought, is what was worn off."""
    life = 4 * YEAR
    cash = float(ownership.cumulative_cash(1000.0, 0.0, 0.25, life, 3 * life))
    worn = float(ownership.straight_line(1000.0, 0.25, life)) * 3 * life
    assert cash - 1000.0 == pytest.approx(worn)


# Serverless --------------------------------------------------------------------------------------


def test_serverless_against_a_simulation_of_single_requests() -> None:
    """One replica that is kept for a while after each request, driven by independent arrivals."""
    random = np.random.default_rng(1)
    load, service_time, idle, cold = 1 / 120, 5.0, 60.0, 30.0
    arrivals = np.cumsum(random.exponential(1 / load, 200_000))
    up, until = 0.0, -math.inf
    for at in arrivals:
        if at > until:
            up += cold
            until = at
        up += at + service_time + idle - max(until, at)
        until = at + service_time + idle
    simulated = up / arrivals[-1]
    found = float(ownership.serverless_replicas(load, 1.0, service_time, idle, 0.0, cold))
    assert found == pytest.approx(simulated, rel=0.02)


def test_busy_serverless_pays_for_the_replicas_that_the_load_fills() -> None:
    assert ownership.serverless_replicas(50.0, 2.0, 1.0, 60.0, 1.0, 30.0) == pytest.approx(25.0)
    assert ownership.serverless_replicas(0.0, 2.0, 1.0, 60.0, 1.0, 30.0) == 0.0


@given(st.floats(1e-6, 1e3), st.floats(0.0, 600.0), st.floats(0.0, 600.0))
def test_serverless_costs_more_the_longer_replicas_are_kept(
    load: float, idle: float, more: float
) -> None:
    """Without cold starts: with them keeping one can be cheaper than starting it."""
    less = ownership.serverless_replicas(load, 10.0, 1.0, idle, 0.0, 0.0)
    assert ownership.serverless_replicas(load, 10.0, 1.0, idle + more, 0.0, 0.0) >= less


# Hosted and at the edge --------------------------------------------------------------------------


def test_a_hosted_request_by_hand() -> None:
    """1,000 in at 3 USD and 500 out at 15 USD a million: 0.0105 USD; all as a batch half of it."""
    price = ownership.hosted_price(1000, 0, 500, 3e-6, math.nan, 15e-6, 0.0, 0.0)
    assert price == pytest.approx(0.0105)
    assert ownership.hosted_price(1000, 0, 500, 3e-6, math.nan, 15e-6, 1.0, 0.5) == pytest.approx(
        0.00525
    )
    assert math.isnan(ownership.hosted_price(1000, 1, 500, 3e-6, math.nan, 15e-6, 0.0, 0.0))


def test_an_edge_device_is_the_sum_of_its_parts() -> None:
    parts = [
        ownership.edge_cost(365.0, 0.0, YEAR, 0.0, 0.0, 0.0, 0.0),
        ownership.edge_cost(0.0, 0.0, YEAR, 10.0, 0.1 / KILOWATT_HOUR, 0.0, 0.0),
        ownership.edge_cost(0.0, 0.0, YEAR, 0.0, 0.0, 1e9 / DAY, 0.09e-9),
    ]
    assert [part * DAY for part in parts] == pytest.approx([1.0, 0.024, 0.09])
    whole = ownership.edge_cost(365.0, 0.0, YEAR, 10.0, 0.1 / KILOWATT_HOUR, 1e9 / DAY, 0.09e-9)
    assert whole == pytest.approx(sum(parts))


@pytest.mark.parametrize(
    "call",
    [
        lambda: ownership.spot_overhead(-1.0, 1.0, 1.0),
        lambda: ownership.price_with_fallback(1.0, 1.0, 1.1),
        lambda: ownership.load_duration(0.5, 0.5, 0.1),
        lambda: ownership.committed_capacity(np.array([-1.0]), 1.0, 1.0),
        lambda: ownership.straight_line(1.0, 0.1, 0.0),
        lambda: ownership.running_cost(1.0, 1.0, 0.9, 0.0, 0.0, 0.0, 0.0),
        lambda: ownership.serverless_replicas(1.0, 0.0, 1.0, 1.0, 1.0, 1.0),
        lambda: ownership.hosted_price(1, 0, 1, 1.0, 1.0, 1.0, 2.0, 0.0),
    ],
)
def test_what_cannot_be_is_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match="must be"):
        call()
