"""What is asked of the simulation of traffic: the same answers by a second way, and laws."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.charts import DARK, LIGHT, Palette
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import options, scaling, traces, traffic
from cpi_model.studies.answer import answer
from cpi_model.studies.traces import Trace
from cpi_model.studies.traffic import Demand, Fleet, Run
from cpi_model.units import DAY, HOUR, MINUTE

FACTS = catalog()
POLICIES = ("none", "hpa", "keda", "kpa", "tracking", "schedule", "predictive", "serverless")
PRICED = {"requests_per_s": 20.0, "serverless_usd_per_hour": 5.0}


def of(**choices: Any) -> Fleet:
    scenario = Scenario(**choices)
    return traffic.fleet(answer(scenario, FACTS), FACTS)


def demand(fleet: Fleet, days: float = 0.3) -> Demand:
    """The scenario's own requests, of a part of a day."""
    return traffic.demand(fleet.scenario, FACTS, days)


def figures(run: Run) -> dict[str, Any]:
    return traffic.document(run)


# Fields that play a part --------------------------------------------------------------------------


def other(name: str, value: Any) -> Any:
    """Another value of a field."""
    info = FIELDS[name]
    if value is None:
        return info.minimum
    assert info.maximum is not None and info.minimum is not None
    changed = value * 1.5 if 0 < value * 1.5 <= info.maximum else info.minimum
    return int(changed) if info.kind == "int" else changed


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_not_shown_moves_nothing(policy: str) -> None:
    base = PRICED | {"policy": policy, "minute_cv": 0.0}
    fleet = of(**base)
    found = figures(traffic.simulate(fleet, demand(fleet)))
    for name in sorted({*options.OF_THE_POLICY, *options.OF_THE_SHAPE} - {"policy_target"}):
        if options.moves_traffic(name, fleet.scenario):
            continue
        if name == "image_gb":
            continue  # stored and paid for as well
        changed = of(**base | {name: other(name, getattr(fleet.scenario, name))})
        assert figures(traffic.simulate(changed, demand(changed))) == found, name


def test_what_is_shown_of_the_autoscaler_belongs_to_it() -> None:
    for policy, names in {
        "hpa": {"stabilisation_s", "policy_tolerance"}, "tracking": {"scale_out_cooldown_s"},
        "schedule": {"schedule_hours"}, "predictive": {"forecast_headroom_share"},
        "serverless": {"serverless_cold_s", "serverless_usd_per_hour"},
    }.items():  # fmt: skip
        scenario = Scenario(policy=policy)
        assert all(options.moves_traffic(name, scenario) for name in names)
    assert not options.moves_traffic("daily_swing", Scenario(traffic="azure-2024-code"))
    assert not options.moves_traffic("engine_start_s", Scenario(policy="serverless"))


# Taking over --------------------------------------------------------------------------------------


def test_a_run_that_is_taken_over_is_the_scenarios_own() -> None:
    fleet = of(**PRICED)
    requests = demand(fleet)
    told: list[float] = []
    runs = scaling.searched(fleet, requests, told.append)
    assert told == sorted(told) and len(runs) == 7 * len(traffic.TARGETS) + 1
    for run in runs[::5] + runs[-1:]:
        changed = fleet.scenario.model_copy(update=scaling.changes(run, fleet.scenario))
        own = traffic.simulate(of(**changed.model_dump(exclude_unset=False)), requests)
        assert own.cost_per_inference == pytest.approx(run.cost_per_inference, rel=1e-9)
        assert own.missed == pytest.approx(run.missed, abs=1e-12)


def test_a_number_set_by_hand_gives_way_to_a_target() -> None:
    fixed = Scenario(scaling="fixed", fixed_replicas=9)
    fleet = of(scaling="fixed", fixed_replicas=9)
    (run,) = traffic.search(fleet, demand(fleet), ("static",), (0.6,))
    assert scaling.changes(run, fixed) == {
        "policy": "none", "policy_target": 0.6, "scaling": "peak",
    }  # fmt: skip


def test_the_search_does_not_depend_on_what_is_chosen() -> None:
    one, two = Scenario(policy="hpa", policy_target=0.4), Scenario(policy="kpa")
    assert scaling.any_policy(one) == scaling.any_policy(two) == Scenario()
    assert scaling.of_traffic(one) == Scenario()
    assert scaling.of_traffic(Scenario(requests_per_s=3.0)) != Scenario()


# Ranges -------------------------------------------------------------------------------------------


def test_slower_replicas_cost_more_and_the_run_lies_between() -> None:
    fleet = of(policy="hpa")
    found = scaling.simulated(fleet, demand(fleet))
    for name, (low, high) in found.likely.items():
        own = found.run.latency.p95 if name == "p95" else getattr(found.run, name)
        assert low <= own <= high, name
    assert found.likely["cost_per_inference"][1] > found.run.cost_per_inference
    assert found.likely["p95"][0] < found.run.latency.p95


def test_a_fixed_number_is_what_the_estimate_says() -> None:
    """Three replicas for even traffic: estimate and simulation are one."""
    fleet = of(scaling="fixed", fixed_replicas=3, policy="none", peak_to_mean=1.0)
    trace = Trace("even", HOUR, np.ones(24))
    run = traffic.simulate(fleet, scaling.demand(fleet.scenario, trace))
    result = answer(fleet.scenario, FACTS)
    assert scaling.difference(result, run, trace) is None


def test_a_bill_that_is_another_is_explained() -> None:
    fleet = of(policy="hpa")
    trace = traces.of(fleet.scenario, FACTS)
    run = traffic.simulate(fleet, demand(fleet))
    apart = scaling.difference(answer(fleet.scenario, FACTS), run, trace)
    assert apart is not None
    assert apart.simulated == run.monthly
    assert apart.replicas_simulated == pytest.approx(run.billed_hours * HOUR / run.seconds)
    assert 0.0 <= apart.starting < 1.0 and 0.0 <= apart.over < 1.0
    # A peak that is higher than assumed does not make anything cheaper.
    assert not replace(apart, peak_of_traffic=9.0, simulated=0.5 * apart.estimated).peak_explains
    assert replace(apart, peak_of_traffic=9.0, simulated=2.0 * apart.estimated).peak_explains


def test_to_zero_saves_where_requests_wait_for_a_start() -> None:
    """A request an hour does not pay for a replica that stays."""
    fleet = of(policy="keda", queue_timeout_s=600.0)
    found = scaling.to_zero(fleet, demand(fleet, 7.0))
    rare = found.rates < 1e-4
    assert (found.to_zero[rare] < 0.5 * found.always_on[rare]).all()
    assert found.rates[0] < found.break_even <= fleet.capacity
    impatient = of(policy="keda", queue_timeout_s=10.0)
    lost = scaling.to_zero(impatient, demand(impatient, 7.0))
    assert not lost.to_zero[0] < lost.always_on[0]


# Shapes, zero, growth -----------------------------------------------------------------------------


def test_the_three_shapes_have_one_mean() -> None:
    shapes = scaling.shapes(of(policy="schedule", requests_per_s=20.0))
    arrived = [run.arrived for run in shapes.values()]
    # Independent draws of 12 million requests.
    assert max(arrived) / min(arrived) < 1.005
    assert shapes["bursts"].cost_per_inference > shapes["even"].cost_per_inference


def test_without_growth_every_month_costs_the_same() -> None:
    fleet = of(policy="schedule")
    requests = demand(fleet)
    flat = scaling.growing(fleet, requests)
    now = traffic.simulate(fleet, requests).monthly
    assert np.allclose(flat.low, now) and np.allclose(flat.high, now)
    growing = of(
        policy="schedule", monthly_growth=0.1, monthly_growth_low=0.02, monthly_growth_high=0.2
    )
    found = scaling.growing(growing, requests)
    assert (found.low <= found.expected).all() and (found.expected <= found.high).all()
    assert found.expected[-1] > found.expected[0] == pytest.approx(now)


# Over time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "days"), [(HOUR, 7), (7 * DAY, 7), (7 * DAY + HOUR, 14), (300 * DAY, 28)]
)
def test_whole_weeks_hold_a_trace(length: float, days: float) -> None:
    trace = Trace("x", HOUR, np.ones(round(length / HOUR)))
    assert scaling.days(trace) == days


def test_days_are_the_parts_of_a_series() -> None:
    fleet = of(policy="hpa")
    requests = demand(fleet, 3.0)
    series = traffic.simulate(fleet, requests, points=scaling.points(requests)).series
    assert series is not None and series.step == pytest.approx(5 * MINUTE)
    assert scaling.day_of(series, None).series is series
    parts = [scaling.day_of(series, day) for day in range(3)]
    assert [part.begin for part in parts] == [0.0, DAY, 2 * DAY]
    together = np.concatenate([part.series.ready for part in parts])
    assert np.array_equal(together, series.ready)


# Charts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_plotly_takes_every_figure(palette: Palette) -> None:
    fleet = of(policy="kpa", **PRICED)
    scenario, requests = fleet.scenario, demand(fleet, 2.0)
    run = traffic.simulate(fleet, requests, points=scaling.points(requests))
    assert run.series is not None
    runs = traffic.search(fleet, demand(fleet, 0.1), targets=(0.5, 0.9))
    best = traffic.pareto(runs)
    zero = traffic.to_zero(fleet, demand(fleet, 0.1), (1e-4, 1e-2, 1.0))
    growth = scaling.growing(fleet, demand(fleet, 0.1))
    drawn = [
        charts.over_time(scaling.day_of(run.series, day), trace, palette)
        for day in (None, 1)
        for trace in (traces.of(scenario, FACTS), Trace("x", MINUTE, np.ones(9)))
    ]
    drawn += [
        charts.policies(runs, best, ("kpa", 0.9), scenario, palette),
        charts.paid_for({"This": run}, scenario, palette),
        charts.paid_for({"One": run, "Two": runs[0]}, scenario, palette),
        charts.zero_against_on(zero, scenario, palette),
        charts.growing_cost(growth, scenario, palette),
    ]
    for figure in drawn:
        go.Figure(figure)
        json.dumps(figure, allow_nan=False)
    said = (
        charts.describe_over_time(scaling.day_of(run.series, None)),
        charts.describe_policies(runs, best, scenario),
        charts.describe_paid_for({"This": run}, scenario), charts.describe_zero(zero),
        charts.describe_growing(growth, scenario),
    )  # fmt: skip
    assert all(len(words) > 40 and "nan" not in words for words in said)


def test_the_longest_queue_is_in_the_picture() -> None:
    fleet = of(policy="kpa", policy_target=0.95)
    requests = demand(fleet, 7.0)
    series = traffic.simulate(fleet, requests, points=scaling.points(requests)).series
    assert series is not None and series.waiting.max() > 0.0
    figure = charts.over_time(scaling.day_of(series, None), traces.of(fleet.scenario, FACTS))
    (queue,) = [trace for trace in figure["data"] if trace.get("name") == "Waiting"]
    assert max(queue["y"]) == pytest.approx(series.waiting.max(), rel=1e-4)
    assert len(queue["y"]) <= charts.scaling.MOST_BINS + 1


def test_every_point_of_the_picture_is_a_run() -> None:
    fleet = of(**PRICED)
    runs = traffic.search(fleet, demand(fleet, 0.1), targets=(0.5, 0.9))
    scenario = fleet.scenario.model_copy(update={"currency": "EUR", "currency_per_usd": 0.5})
    figure = charts.policies(runs, traffic.pareto(runs), ("hpa", 0.5), scenario)
    (points,) = [trace for trace in figure["data"] if trace.get("name") == "Policies"]
    for place, y in zip(points["customdata"], points["y"], strict=True):
        assert y == pytest.approx(runs[place].cost_per_inference * 1e6 * 0.5, rel=1e-4)


def test_nothing_is_lost_where_nothing_is_served() -> None:
    """A run without a cost is no point and no bar."""
    fleet = of()
    run = traffic.simulate(fleet, demand(fleet, 0.1))
    parts = dict.fromkeys(run.parts, math.nan)
    empty = replace(run, cost_per_inference=math.inf, parts=parts)
    figure = charts.paid_for({"a": run, "b": empty}, fleet.scenario)
    assert all(len(trace["x"]) == 1 for trace in figure["data"] if trace["type"] == "bar")
    figure = charts.policies((run, empty), [True, False], ("static", 0.7), fleet.scenario)
    assert [len(trace["x"]) for trace in figure["data"] if trace.get("name") == "Policies"] == [1]
