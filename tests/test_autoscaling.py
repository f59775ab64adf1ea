"""What autoscalers decide, against the examples of their own documentation and tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpi_model.formulas import autoscaling
from cpi_model.formulas.autoscaling import (
    cold_start_time,
    hpa_limited,
    hpa_replicas,
    hpa_replicas_for_total,
    keda_replicas,
    kpa_decision,
    kpa_panics,
    kpa_replicas,
    provisioning_gap,
    seasonal_forecast,
    stabilised_replicas,
    target_tracking_replicas,
    weekly_plan,
)
from cpi_model.units import DAY, HOUR

counts = st.integers(1, 200).map(float)
metrics = st.floats(0.0, 1e4)


class TestKubernetes:
    """The examples of "Horizontal Pod Autoscaling" and of the walkthrough."""

    @pytest.mark.parametrize(
        ("ready", "metric", "target", "expected"),
        [
            (4.0, 200.0, 100.0, 8.0),  # doubled, since 200 / 100 = 2
            (4.0, 50.0, 100.0, 2.0),  # halved
            (1.0, 305.0, 50.0, 7.0),  # php-apache at 305 % of 50 %
            (4.0, 109.0, 100.0, 4.0),  # within the tolerance of 0.1
            (4.0, 91.0, 100.0, 4.0),
            (4.0, 112.0, 100.0, 5.0),
        ],
    )
    def test_ratio(self, ready: float, metric: float, target: float, expected: float) -> None:
        assert hpa_replicas(ready, 0.0, metric, target, 0.1) == expected

    def test_pods_that_are_not_ready_damp_the_way_up(self) -> None:
        # replica_calculator_test.go, TestReplicaCalcScaleUpUnreadyLessScale: levels 300, 500, 700
        # of a request of 1,000 at a target of 30 %, the first not ready: 4 of 3 replicas.
        assert hpa_replicas(2.0, 1.0, 60.0, 30.0, 0.1) == 4.0
        # TestReplicaCalcScaleUpUnreadyNoScale: 400, 500, 700 at 40 %, the last two not ready.
        assert hpa_replicas(1.0, 2.0, 40.0, 40.0, 0.1) == 3.0

    def test_pods_that_are_not_ready_do_not_count_on_the_way_down(self) -> None:
        # TestReplicaCalcScaleDownIgnoresUnreadyPods: 100 to 700, two of five not ready: 2.
        assert hpa_replicas(3.0, 2.0, 100.0 * (100 + 300 + 500) / 3 / 1000, 50.0, 0.1) == 2.0

    def test_totals(self) -> None:
        # TestReplicaCalcScaleUpPerPodCMExternal: 8,600 of 2,150 each, from 3: 4.
        assert hpa_replicas_for_total(3.0, 8600.0, 2150.0, 0.1) == 4.0
        # TestReplicaCalcScaleDownPerPodCMExternal: 8,600 of 2,867 each, from 5: 3.
        assert hpa_replicas_for_total(5.0, 8600.0, 2867.0, 0.1) == 3.0

    def test_behaviour(self) -> None:
        # "10 % of 80 are 8"; of 72 they are 7.2, rounded up to 8; below 40 it is 4 pods.
        falling = [80.0]
        while falling[-1] > 40.0:
            falling.append(hpa_limited(falling[-1], 1.0, 1.0, 4.0, 0.1, 4.0))
        assert falling[1:3] == [72.0, 64.0]
        assert hpa_limited(30.0, 1.0, 1.0, 4.0, 0.1, 4.0) == 26.0
        # By default: 4 pods or 100 %, whichever is more, every 15 s; down as far as asked.
        assert [hpa_limited(n, 100.0, 1.0, 4.0, 1.0, 0.0) for n in (1.0, 4.0, 10.0)] == [5, 8, 20]
        assert hpa_limited(50.0, 2.0, 1.0, 4.0, 1.0, 0.0) == 2.0

    @given(counts, st.lists(counts, min_size=1, max_size=20))
    def test_stabilisation_never_goes_below_what_was_wanted(
        self, replicas: float, wanted: list[float]
    ) -> None:
        found = stabilised_replicas(replicas, wanted[-1], max(wanted))
        assert wanted[-1] <= found <= max(max(wanted), replicas)
        assert found <= max(wanted)

    @given(counts, metrics, st.floats(0.1, 1e3))
    def test_the_target_is_met(self, ready: float, metric: float, target: float) -> None:
        """After the change the mean is at most the target, or was within the tolerance."""
        found = hpa_replicas(ready, 0.0, metric, target, 0.1)
        after = metric * ready / found if found else 0.0
        assert after <= target * (1.0 + 1e-9) or abs(metric / target - 1.0) <= 0.1


class TestKnative:
    """The cases of pkg/autoscaler/scaling/autoscaler_test.go."""

    def test_rates(self) -> None:
        # RateLimitScaleUp: 100 wanted, ten times as many at most.
        assert kpa_replicas(1000.0, 10.0, 1.0, 10.0, 2.0) == 10.0
        assert kpa_replicas(1000.0, 10.0, 10.0, 10.0, 2.0) == 100.0
        # RateLimitScaleDown: 1 wanted, ten times fewer at most.
        assert kpa_replicas(1.0, 10.0, 100.0, 10.0, 10.0) == 10.0
        assert kpa_replicas(1.0, 10.0, 10.0, 10.0, 10.0) == 1.0
        # Of one replica half is none.
        assert kpa_replicas(0.0, 10.0, 1.0, 1000.0, 2.0) == 0.0

    def test_panic(self) -> None:
        # PanicModeDoublePodCount: stable 50, panic 100 at 10 each, one ready: 10.
        assert kpa_panics(100.0, 10.0, 1.0, 2.0)
        stable, panic = (kpa_replicas(c, 10.0, 1.0, 10.0, 2.0) for c in (50.0, 100.0))
        assert kpa_decision(stable, panic, True, 0.0) == 10.0
        assert kpa_decision(3.0, 2.0, True, 10.0) == 10.0
        assert kpa_decision(3.0, 2.0, False, 10.0) == 3.0
        assert kpa_panics(20.0, 10.0, 0.0, 2.0) and not kpa_panics(10.0, 10.0, 0.0, 2.0)


def test_keda_turns_on_at_once_and_off_after_the_cooldown() -> None:
    assert keda_replicas(0.0, True, 0.0, 300.0, 0.0) == 1.0
    assert keda_replicas(0.0, False, 1e9, 300.0, 0.0) == 0.0
    assert keda_replicas(5.0, False, 299.9, 300.0, 0.0) == 5.0
    assert keda_replicas(5.0, False, 300.0, 300.0, 0.0) == 0.0
    assert keda_replicas(5.0, False, 1e9, 300.0, 1.0) == 5.0


def test_target_tracking_adds_at_once_and_removes_after_the_cooldown() -> None:
    assert target_tracking_replicas(4.0, 4.0, 6.0, 4.0, 0.1, False, True) == 6.0
    assert target_tracking_replicas(4.0, 4.0, 2.0, 4.0, 0.1, False, True) == 4.0
    assert target_tracking_replicas(4.0, 4.0, 2.0, 4.0, 0.1, False, False) == 2.0
    # What has been added counts while it cools down.
    assert target_tracking_replicas(6.0, 4.0, 6.0, 4.0, 0.1, True, False) == 6.0
    assert target_tracking_replicas(6.0, 4.0, 8.0, 4.0, 0.1, True, False) == 8.0


def test_plans_follow_the_week() -> None:
    rng = np.random.default_rng(1)
    rates = rng.uniform(1.0, 5.0, int(14 * DAY / HOUR))
    planned = weekly_plan(rates, HOUR, HOUR)
    assert np.array_equal(planned[:168], np.maximum(rates[:168], rates[168:]))
    assert (weekly_plan(rates, HOUR, 4 * HOUR) >= planned).all()
    # Traffic that repeats is forecast exactly, but for what is looked at ahead.
    twice = np.tile(rates[:24], 3)
    found = seasonal_forecast(twice, HOUR, DAY, 0.0, 0.0)
    assert np.array_equal(found[24:], np.maximum(twice[24:], twice[23:-1]))


def test_published_cold_starts() -> None:
    # 70B in 16 bits at 1 GB/s: 140 s of download, and an image of 30 to 60 s.
    found = cold_start_time(0.0, np.array([3e9, 6e9]), 1e8, 140e9, 1e9, 0.0)
    assert found.tolist() == [170.0, 200.0]  # type: ignore[union-attr]


@given(st.floats(0.0, 100.0), st.floats(0.0, 100.0))
def test_gaps_are_the_difference(ready: float, needed: float) -> None:
    over, under = provisioning_gap(ready, needed)
    assert over - under == ready - needed and over * under == 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: hpa_replicas(1.0, 0.0, 1.0, 0.0, 0.1),
        lambda: hpa_replicas_for_total(1.0, 1.0, float("nan"), 0.1),
        lambda: stabilised_replicas(1.0, 3.0, 2.0),
        lambda: hpa_limited(1.0, 1.0, -1.0, 4.0, 1.0, 0.0),
        lambda: keda_replicas(-1.0, True, 0.0, 300.0, 0.0),
        lambda: kpa_replicas(1.0, 1.0, 1.0, 0.5, 2.0),
        lambda: kpa_panics(1.0, 0.0, 1.0, 2.0),
        lambda: target_tracking_replicas(1.0, 1.0, 1.0, 0.0, 0.1, False, False),
        lambda: weekly_plan(np.array([-1.0]), 1.0, 1.0),
        lambda: seasonal_forecast(np.array([1.0]), 1.0, 0.0, 1.0, 0.0),
        lambda: cold_start_time(0.0, 1.0, 0.0, 1.0, 1.0, 1.0),
        lambda: provisioning_gap(-1.0, 0.0),
    ],
)
def test_bad_numbers_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        call()  # type: ignore[operator]


def test_all_formulas_take_plain_numbers() -> None:
    assert all(not hasattr(each, "py_func") for each in vars(autoscaling).values())
