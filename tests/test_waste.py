"""What is paid for nothing, against estimates of the scenario with one field changed."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpi_model import links
from cpi_model.catalog import catalog
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import waste
from cpi_model.studies.answer import answer
from cpi_model.studies.options import plays_a_part
from cpi_model.studies.waste import KINDS, Bridge
from cpi_model.units import MONTH

FACTS = catalog()
SCENARIOS: dict[str, dict[str, Any]] = {
    "default": {},
    "busy": {
        "requests_per_s": 300.0, "spare_replicas": 2, "nonproduction_share": 0.4,
        "live_versions": 3, "old_traffic_share": 0.05, "stored_versions": 9,
    },
    "committed": {
        "purchase": "reserved_1y", "unused_commitment_share": 0.25, "requests_per_s": 100.0,
    },
    "spot": {"purchase": "spot", "requests_per_s": 50.0},
    "interrupted": {"purchase": "spot", "spot_interruptions_per_month": 30.0},
    "follow": {"scaling": "follow", "requests_per_s": 500.0, "instance": "aws/p5.48xlarge"},
    "quiet": {"scaling": "follow", "requests_per_s": 0.05, "min_replicas": 2},
    "fixed": {"scaling": "fixed", "fixed_replicas": 9},
    "apart": {"batching": "disaggregated", "requests_per_s": 40.0, "spare_replicas": 1},
    "encoder": {"model": "bert-large", "engine": "tensorrt", "accelerator": "l4",
                "requests_per_s": 2000.0, "input_tokens": 128},
    "trees": {"model": "gbt-fraud-500x8", "engine": "treelite", "scheme": "fp32",
              "accelerator": "graviton4", "requests_per_s": 500.0},
    "cascade": {"cascade_model": "llama-3.2-1b", "requests_per_s": 60.0, "min_replicas": 2},
}  # fmt: skip


def bridge_of(**changes: Any) -> Bridge:
    found = waste.bridge(Scenario(**changes), FACTS)
    assert found is not None
    return found


def cost(scenario: Scenario) -> float:
    """The second way: the answer to a scenario, as every other page shows it."""
    estimate = answer(scenario, FACTS).estimate
    assert estimate is not None and estimate.feasible
    return float(estimate.cost_per_inference)


@pytest.mark.parametrize("name", SCENARIOS)
def test_parts_lead_from_what_is_needed_to_what_is_paid(name: str) -> None:
    found = bridge_of(**SCENARIOS[name])
    assert found.real == pytest.approx(cost(found.scenario), rel=1e-12)
    assert found.perfect + sum(part.each for part in found.parts) == pytest.approx(
        found.real, rel=1e-8
    )
    assert sum(part.monthly for part in found.parts) == pytest.approx(found.monthly, rel=1e-8)
    assert found.parts, "something is always idle"


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_kind_alone_is_the_scenario_with_that_field_off(name: str) -> None:
    found = bridge_of(**SCENARIOS[name])
    for part in found.parts:
        if part.kind.id == "packing":
            continue  # no field of a scenario cuts an instance to size
        off = found.scenario.model_copy(update=part.kind.off)
        expected = (found.real - cost(off)) * found.per_month
        assert part.alone == pytest.approx(expected, abs=1e-9 * found.real * found.per_month)


@pytest.mark.parametrize("name", [n for n in SCENARIOS if n not in ("cascade", "apart")])
def test_what_is_needed_is_what_a_full_replica_costs_and_what_stands_around_it(name: str) -> None:
    """One more request on a full replica, and by hand what is paid whatever the load is."""
    found = bridge_of(**SCENARIOS[name])
    prices = {"unused_commitment_share": 0.0, "spot_overhead_share": 0.0,
              "spot_interruptions_per_month": None}  # fmt: skip
    result = answer(found.scenario.model_copy(update=prices), FACTS)
    e, x = result.estimate, result.inputs
    assert e is not None and x is not None
    full = x.requests_per_s / e.throughput  # replicas
    share = x.devices_per_replica / x.devices_per_instance
    weights = (x.dense_bytes + x.expert_bytes + x.embedding_bytes) * x.stored_share
    around = (
        full * (float(e.weight_memory) * x.devices_per_replica + x.image_bytes) * x.storage_price
        + weights * x.object_storage_price + full * share * x.monitoring_price
        + x.load_balancer_price + x.control_plane_price + x.on_call_price
    )  # fmt: skip
    expected = e.marginal_cost_per_inference + around / (x.requests_per_s * x.success_share)
    assert found.perfect == pytest.approx(float(expected), rel=1e-7)


def test_half_a_replica_without_anything_around_it_is_half_wasted() -> None:
    capacity = float(answer(Scenario(), FACTS).estimate.throughput)  # type: ignore[union-attr]
    free = (
        "storage_usd_per_gb_month", "object_storage_usd_per_gb_month", "log_usd_per_gb",
        "egress_usd_per_gb", "cross_zone_usd_per_gb", "load_balancer_usd_per_hour",
        "load_balancer_usd_per_gb", "control_plane_usd_per_hour",
        "monitoring_usd_per_instance_month", "agent_share", "platform_share",
    )  # fmt: skip
    nothing = dict.fromkeys(free, 0.0)
    found = bridge_of(
        requests_per_s=capacity / 2, peak_to_mean=1.0, scaling="fixed", fixed_replicas=1, **nothing
    )
    assert found.share == pytest.approx(0.5)
    assert [part.kind.id for part in found.parts] == ["idle"]


def test_a_quarter_of_unused_commitment_is_a_quarter_of_the_rent() -> None:
    found = bridge_of(**SCENARIOS["committed"])
    part = next(part for part in found.parts if part.kind.id == "commitment")
    e = found.estimate
    rent = float(e.compute_cost + e.memory_cost) / (1 - found.scenario.agent_share)
    over_rent = rent * (1 + found.scenario.platform_share)
    assert part.each == pytest.approx(0.25 * over_rent)


scenarios = st.fixed_dictionaries({
    "scaling": st.sampled_from(["peak", "follow", "fixed"]),
    "purchase": st.sampled_from(["on_demand", "spot", "reserved_1y"]),
    "batching": st.sampled_from(["continuous", "static", "disaggregated"]),
    "instance": st.sampled_from(["auto", "aws/p5.48xlarge"]),
    "requests_per_s": st.floats(-3, 3).map(lambda power: round(10.0**power, 4)),
    "peak_to_mean": st.floats(1, 8), "target_utilisation": st.floats(0.1, 1),
    "min_replicas": st.integers(0, 6), "spare_replicas": st.integers(0, 4),
    "live_versions": st.integers(1, 5), "stored_versions": st.integers(1, 9),
    "old_traffic_share": st.none() | st.floats(0, 1),
    "old_min_replicas": st.none() | st.integers(0, 4),
    "scaling_lag_share": st.floats(0, 1), "nonproduction_share": st.floats(0, 2),
    "unused_commitment_share": st.floats(0, 0.9), "spot_overhead_share": st.floats(0, 1),
    "fixed_replicas": st.integers(1, 400), "tensor_parallel": st.sampled_from([1, 2, 4]),
})  # fmt: skip


@given(scenarios)
@settings(max_examples=150)
def test_waste_is_never_negative_and_sums_up_in_any_scenario(changes: dict[str, Any]) -> None:
    if changes["purchase"] != "on_demand":
        changes |= {"instance": "auto", "accelerator": "a10g"}
    if changes["purchase"] != "on_demand" or changes["batching"] != "continuous":
        changes |= {"model": "llama-3.2-1b"}
    found = waste.bridge(Scenario(**changes), FACTS)
    if found is None:
        assert not answer(Scenario(**changes), FACTS).feasible
        return
    assert 0 < found.perfect <= found.real
    assert all(part.each > 0 and part.monthly > 0 for part in found.parts)
    assert sum(part.each for part in found.parts) == pytest.approx(
        found.real - found.perfect, abs=1e-7 * found.real
    )
    for each in waste.findings(found, FACTS):
        assert each.confidence in ("certain", "high", "medium", "low")
        assert each.saves > 0 if each.changes else math.isnan(each.saves)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_remedy_is_valid_and_saves_what_it_says(name: str) -> None:
    found = bridge_of(**SCENARIOS[name])
    findings = waste.findings(found, FACTS)
    monthly = [each.waste.monthly for each in findings]
    assert monthly == sorted(monthly, reverse=True) and len(findings) == len(found.parts)
    for each in findings:
        for field, value in each.changes.items():
            assert links.check(field, value)[1] == ""
        if each.changes:
            changed = found.scenario.model_copy(update=each.changes)
            saved = (found.real - cost(changed)) * found.per_month
            assert each.saves == pytest.approx(saved, rel=1e-6)


def test_a_remedy_for_part_filled_instances_is_a_smaller_one_of_the_same_cloud() -> None:
    found = bridge_of(**SCENARIOS["follow"])
    (each,) = [f for f in waste.findings(found, FACTS) if f.waste.kind.id == "packing"]
    smaller = FACTS.instances[each.changes["instance"]]
    assert smaller.cloud == "aws" and smaller.accelerator == "h100-sxm"
    assert smaller.accelerator_count < 8


def test_a_commitment_is_not_told_to_follow_the_traffic() -> None:
    found = bridge_of(**SCENARIOS["committed"])
    (idle,) = [f for f in waste.findings(found, FACTS) if f.waste.kind.id == "idle"]
    assert not idle.changes and "Commit less" in idle.advice


def test_what_cannot_work_has_no_bridge() -> None:
    assert waste.bridge(Scenario(scaling="fixed", requests_per_s=1e4), FACTS) is None


def test_a_month_is_the_cost_rate_of_the_headline() -> None:
    found = bridge_of(**SCENARIOS["busy"])
    assert found.real * found.per_month == pytest.approx(float(found.estimate.cost_rate) * MONTH)


def test_every_kind_occurs_and_its_fields_are_on_the_page() -> None:
    seen = {part.kind.id for name in SCENARIOS for part in bridge_of(**SCENARIOS[name]).parts}
    assert seen == {kind.id for kind in KINDS}
    offered = {name for names in waste.SETTINGS.values() for name in names}
    for kind in KINDS:
        assert set(kind.fields) <= offered | {"instance"}
        assert set(kind.off) <= set(FIELDS)


def test_settings_that_count_are_offered_in_every_way_of_scaling() -> None:
    for scaling in ("peak", "follow", "fixed"):
        base = Scenario(scaling=scaling, live_versions=2)
        for kind in waste.kinds(base):
            if kind.id not in ("packing", "idle"):
                assert any(plays_a_part(field, base, FACTS) for field in kind.fields)


def test_the_summary_is_json_and_its_links_open_the_remedy() -> None:
    found = bridge_of(**SCENARIOS["busy"])
    document = json.loads(json.dumps(waste.summary(found, FACTS), allow_nan=False))
    total = document["perfect_monthly_cost_usd"] + sum(
        part["monthly_usd"] for part in document["parts"]
    )
    assert total == pytest.approx(document["monthly_cost_usd"])
    for each in document["findings"]:
        if each["link"]:
            opened, problems = links.decode(each["link"])
            assert not problems
            assert opened == found.scenario.model_copy(update=each["changes"])


def test_cost_of_a_version_is_that_of_its_replicas() -> None:
    """Two older versions that nobody asks keep a replica each: two replicas' rent and disks."""
    base = {
        "requests_per_s": 60.0, "live_versions": 3, "old_traffic_share": 0.0, "stored_versions": 1,
    }  # fmt: skip
    found = bridge_of(**base)
    (part,) = [part for part in found.parts if part.kind.id == "versions"]
    fewer = bridge_of(**(base | {"live_versions": 1}))
    replicas = float(found.estimate.replicas) - float(fewer.estimate.replicas)
    assert replicas == 2
    each_replica = (cost(Scenario(**(base | {"live_versions": 2}))) - fewer.real) * found.per_month
    assert part.alone == pytest.approx(2 * each_replica)
    assert np.isclose(part.monthly, part.alone)
