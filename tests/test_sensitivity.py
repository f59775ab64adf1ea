"""Sensitivity: against separate estimates, against laws of the cost, and what cannot be is said."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import plotly.graph_objects as go
import pytest

from cpi_model import charts
from cpi_model.catalog import catalog, offers
from cpi_model.inputs import ImpossibleChoice
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import sensitivity
from cpi_model.studies.answer import answer
from cpi_model.studies.options import plays_a_part
from cpi_model.studies.sensitivity import Bar, Tornado, neighbours, tornado

FACTS = catalog()
BUSY = Scenario(requests_per_s=500.0)
CASES = {
    "default": Scenario(),
    "busy": BUSY,
    "marginal": Scenario(cost_basis="marginal", swing=0.1),
    "fixed": Scenario(
        model="llama-3.1-70b", scheme="fp8", tensor_parallel=2, scaling="fixed", fixed_replicas=6
    ),
    "own price": Scenario(device_price_usd_per_hour=2.0, scaling="follow"),
    "spot": Scenario(purchase="spot", accelerator="a100-sxm-80gb", spot_fallback_share=0.0),
    "trees": Scenario(
        model="gbt-fraud-500x8", engine="treelite", scheme="fp32", accelerator="graviton4",
        requests_per_s=500.0, concurrency=8,
    ),
    "cascade": Scenario(cascade_model="llama-3.2-1b", model="llama-3.1-70b", scheme="fp8"),
    "student": Scenario(student="ratio"),
}  # fmt: skip
PRICES = (
    "device_price_usd_per_hour", "storage_usd_per_gb_month", "object_storage_usd_per_gb_month",
    "log_usd_per_gb", "egress_usd_per_gb", "cross_zone_usd_per_gb", "load_balancer_usd_per_hour",
    "load_balancer_usd_per_gb", "control_plane_usd_per_hour", "monitoring_usd_per_instance_month",
    "on_call_usd_per_month",
)  # fmt: skip


def bar(found: Tornado, field: str) -> Bar:
    return next(bar for bar in found.bars if bar.info.name == field)


def cost(scenario: Scenario) -> float:
    """Of an inference, estimated alone; NaN where it cannot be."""
    result = answer(scenario, FACTS)
    if result.estimate is None or not result.feasible:
        return math.nan
    name = "marginal_" * (scenario.cost_basis == "marginal") + "cost_per_inference"
    return float(getattr(result.estimate, name))


@pytest.mark.parametrize("scenario", CASES.values(), ids=CASES)
def test_every_end_is_what_a_separate_estimate_says(scenario: Scenario) -> None:
    found = tornado(scenario, FACTS)
    assert found.cost == pytest.approx(cost(scenario), rel=1e-12)
    assert len(found.strongest) == sensitivity.MOST_SHOWN
    for each in found.bars:
        if getattr(scenario, each.info.name) is None:
            continue  # the price of the catalog, below
        for end in (each.low, each.high):
            if end is not None:
                alone = cost(scenario.model_copy(update={each.info.name: end.value}))
                assert end.cost == pytest.approx(alone, rel=1e-9, nan_ok=True), each.info.name
                assert math.isnan(end.cost) == bool(end.reason)


@pytest.mark.parametrize("scenario", CASES.values(), ids=CASES)
def test_every_number_that_can_move_the_cost_is_moved(scenario: Scenario) -> None:
    moved = {each.info.name for each in tornado(scenario, FACTS).bars}
    for name, info in FIELDS.items():
        value = getattr(scenario, name)
        numeric = info.kind in ("int", "float") and info.group != "display"
        if numeric and value and plays_a_part(name, scenario, FACTS):
            assert (name in moved) == (name not in sensitivity.OFF_AT_ONE or value != 1), name


def test_the_price_of_the_catalog_moves_as_the_same_price_entered_by_hand() -> None:
    found = bar(tornado(BUSY, FACTS), "device_price_usd_per_hour")
    cheapest = offers(FACTS, BUSY.accelerator, "on_demand")[0].usd_per_device_hour
    assert found.value == cheapest
    for end, factor in ((found.low, 0.8), (found.high, 1.2)):
        assert end is not None and end.value == pytest.approx(factor * cheapest)
        own = BUSY.model_copy(update={"device_price_usd_per_hour": factor * cheapest})
        assert end.cost == pytest.approx(cost(own), rel=1e-12)


@pytest.mark.parametrize("name", ["default", "busy", "fixed", "trees", "cascade"])
def test_the_cost_is_the_sum_of_what_its_prices_move(name: str) -> None:
    """Cost is proportional to all prices together: Euler's theorem, with no model of anything."""
    scenario = CASES[name]
    found = tornado(scenario, FACTS)
    moved = {each.info.name: each for each in found.bars}
    changes = [
        end.cost - found.cost for price in PRICES
        if price in moved and (end := moved[price].high) is not None
    ]  # fmt: skip
    assert sum(changes) == pytest.approx(scenario.swing * found.cost, rel=1e-9)


def test_with_a_fixed_bill_the_cost_goes_as_one_over_the_requests() -> None:
    scenario = CASES["fixed"].model_copy(
        update={"log_usd_per_gb": 0.0, "egress_usd_per_gb": 0.0, "cross_zone_usd_per_gb": 0.0,
                "load_balancer_usd_per_gb": 0.0}
    )  # fmt: skip
    found = tornado(scenario, FACTS)
    each = bar(found, "requests_per_s")
    assert each.low is not None and each.high is not None
    assert each.low.cost == pytest.approx(found.cost / 0.8)
    assert each.high.cost == pytest.approx(found.cost / 1.2)
    share = bar(found, "success_share").low
    assert share is not None and share.cost == pytest.approx(found.cost * 0.995 / 0.895)


def test_neighbours_that_cannot_be_are_left_out_and_said() -> None:
    found = tornado(CASES["fixed"], FACTS)
    left_out = {(each.info.name, end.value): end.reason for each, end in found.impossible}
    assert left_out["tensor_parallel", 1].startswith("Load above capacity")
    assert math.isfinite(found.cost) and all(math.isfinite(each.span) for each in found.bars)
    # 40 heads are not split over 16 devices: refused by name, before anything is estimated.
    odd = Scenario(model="qwen3-14b", tensor_parallel=8)
    refused = bar(tornado(odd, FACTS), "tensor_parallel")
    assert refused.high is not None and refused.high.value == 16
    assert refused.high.reason.endswith(".") and math.isnan(refused.high.cost)


def test_what_cannot_work_has_no_sensitivity() -> None:
    with pytest.raises(ValueError, match="load above capacity"):
        tornado(Scenario(scaling="fixed", requests_per_s=10_000.0), FACTS)
    with pytest.raises(ImpossibleChoice, match="gpt-9"):
        tornado(Scenario(model="gpt-9"), FACTS)


def test_the_strongest_come_first_and_what_moves_nothing_is_not_shown() -> None:
    found = tornado(BUSY, FACTS)
    spans = [each.span for each in found.bars]
    assert spans == sorted(spans, reverse=True)
    # Burstiness moves the percentiles only.
    assert bar(found, "arrival_cv").span == 0.0
    assert replace(found, bars=(bar(found, "arrival_cv"),)).strongest == ()


@pytest.mark.parametrize("swing", [0.01, 0.2, 0.9])
def test_neighbours_stay_within_their_limits_and_never_stand_still(swing: float) -> None:
    for info in FIELDS.values():
        if info.kind not in ("int", "float") or info.default is None:
            continue
        low, high = neighbours(info, info.default, swing)
        assert info.minimum is not None and info.maximum is not None
        assert info.minimum <= low <= info.default <= high <= info.maximum
        if info.kind == "int":
            assert isinstance(low, int) and isinstance(high, int)
        if 0 < info.default < info.maximum:
            assert high > info.default, info.name


@pytest.mark.parametrize("palette", [charts.LIGHT, charts.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("scenario", CASES.values(), ids=CASES)
def test_the_bars_reach_from_the_cost_to_that_of_each_end(
    scenario: Scenario, palette: charts.Palette
) -> None:
    shown = scenario.model_copy(update={"currency": "EUR", "currency_per_usd": 0.5})
    found = tornado(shown, FACTS)
    figure = charts.tornado(found, shown, palette)
    go.Figure(figure)
    json.dumps(figure, allow_nan=False)
    layout = figure["layout"]
    low, high = layout["xaxis"]["range"]
    assert len(layout["xaxis"]["tickvals"]) >= 2
    assert all(low <= tick <= high for tick in layout["xaxis"]["tickvals"])
    ends = {trace["name"]: trace for trace in figure["data"] if trace["type"] == "bar"}
    rate = 0.5 * 1e6
    for name, side in (("Down", "low"), ("Up", "high")):
        drawn = [
            end for each in found.strongest
            if (end := getattr(each, side)) is not None and not end.reason
        ]  # fmt: skip
        tips = [b + x for b, x in zip(ends[name]["base"], ends[name]["x"], strict=True)]
        assert tips == pytest.approx([rate * end.cost for end in drawn], rel=1e-4)
        assert all(low < tip < high for tip in tips)
    spoken = charts.describe_tornado(found, shown)
    assert spoken.endswith(".") and "nan" not in spoken and "€" in spoken
