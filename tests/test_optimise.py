"""The search for the cheapest hardware, against single estimates and laws that any search obeys."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import plotly.graph_objects as go
import pytest

from cpi_model import charts
from cpi_model.catalog import catalog, offers
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import evaluate
from cpi_model.inputs import ImpossibleChoice, choose, fast_domain, numbers, slow_link
from cpi_model.scenario import Scenario
from cpi_model.studies import compression, hardware, optimise
from cpi_model.studies.answer import answer
from cpi_model.studies.optimise import search
from cpi_model.units import MONTH

FACTS = catalog()
CHAT = Scenario(model="llama-3.1-8b", requests_per_s=20.0, purchases="same")
EXPERTS = Scenario(
    model="gpt-oss-20b", requests_per_s=30.0, spare_replicas=1, scaling="follow", kv_precision="fp8"
)
RANKING = Scenario(
    model="bert-large", input_tokens=128, items_per_request=10, slo_latency_ms=300.0,
    requests_per_s=200.0,
)  # fmt: skip
TREES = Scenario(
    model="gbt-fraud-500x8", requests_per_s=500.0, slo_latency_ms=50.0, scaling="fixed",
    live_versions=2,
)  # fmt: skip
SPECULATIVE = Scenario(
    model="llama-3.1-70b", draft_model="llama-3.2-1b", batching="disaggregated",
    answer_hit_share=0.2, exit_share=0.1, step_time_correction=1.3, discount_share=0.1,
    spot_overhead_share=0.2, memory_price_share=0.1, nonproduction_share=0.5,
    slo_ttft_ms=3000.0, slo_tpot_ms=100.0, quality_floor=0.9,
)  # fmt: skip
LARGE = Scenario(model="deepseek-v3", slo_ttft_ms=4000.0, slo_tpot_ms=100.0, cloud="aws")
SOME = [LARGE, CHAT, EXPERTS, RANKING, TREES, SPECULATIVE]


@pytest.mark.parametrize("scenario", SOME, ids=lambda scenario: scenario.model)
def test_what_is_found_costs_what_its_scenario_costs_and_meets_the_limits(
    scenario: Scenario,
) -> None:
    found = search(scenario, FACTS)
    assert len(found.ranked) > 3
    for each in (*found.ranked, *found.front):
        changed = Scenario.model_validate(scenario.model_dump() | each.changes)
        result = answer(changed, FACTS)
        assert result.estimate is not None, result.reasons
        assert each.cost == pytest.approx(float(result.estimate.cost_per_inference), rel=1e-9)
        assert each.estimate.latency_p95 == pytest.approx(float(result.estimate.latency_p95))
        assert float(result.estimate.good_share) >= scenario.slo_share - 1e-9
        assert result.choice is not None
        assert result.choice.price == each.choice.price
        assert each.kept == compression.kept(changed, result.choice)
        assert each.kept.known.median >= scenario.quality_floor
        assert result.choice.scheme.name not in each.kept.unknown
        assert each.low <= each.cost * (1 + 1e-9) or math.isnan(each.low)
        assert each.high >= each.cost * (1 - 1e-9) or math.isnan(each.high)
    if scenario is LARGE:
        assert any(each.changes["data_parallel"] > 1 for each in (*found.ranked, *found.front))


def test_several_clouds_and_regions_are_searched_together() -> None:
    """The best of two clouds is the better of the best of each, and so for regions."""
    where = {
        "cloud": ("aws", "lambda"), "region": ("us-east-1", "eu-north-1"),
    }  # fmt: skip
    for field, names in where.items():
        both = search(CHAT.model_copy(update={field: ",".join(names)}), FACTS)
        each = [search(CHAT.model_copy(update={field: name}), FACTS) for name in names]
        assert both.ranked[0].cost == min(found.ranked[0].cost for found in each if found.ranked)
        for found in both.ranked:
            assert found.choice.instance is not None and found.choice.price is not None
            place = found.choice.instance.cloud if field == "cloud" else found.choice.price.region
            assert place in (*names, "global")


def one_by_one(scenario: Scenario, hardware: tuple[str, ...]) -> Iterator[tuple[float, Any]]:
    """Cost of every configuration on some hardware, each looked up and estimated by itself."""
    tried = product(
        hardware, FACTS.schemes, FACTS.engines, optimise.WAYS, optimise.STAGES,
        optimise.CONCURRENCIES,
    )  # fmt: skip
    for chip, scheme, engine, tensor, stages, concurrency in tried:
        if engine not in ("vllm", "sglang", "tensorrt-llm", "llama-cpp"):
            continue  # not measured on GPUs of this maker
        for offer in offers(FACTS, chip, scenario.purchase, {"aws"}):
            changes = {
                "accelerator": chip, "scheme": scheme, "engine": engine, "tensor_parallel": tensor,
                "pipeline_parallel": stages, "concurrency": concurrency,
                "instance": offer.instance.id, "region": offer.price.region,
            }  # fmt: skip
            changed = scenario.model_copy(update=changes)
            try:
                choice = choose(changed, FACTS)
            except ImpossibleChoice:
                continue
            joined = fast_domain(choice.accelerator, choice.instance)
            if choice.devices_per_replica > joined and not offer.instance.network_gbit_per_s:
                continue
            if not compression.kept(changed, choice).passes(scenario.quality_floor):
                continue
            estimate = evaluate(numbers(changed, choice, coefficients()))
            if not estimate.feasible or estimate.good_share < scenario.slo_share:
                continue
            devices = float(estimate.peak_replicas) * choice.devices_per_replica
            if devices > (scenario.max_devices or math.inf):
                continue
            if float(estimate.cost_rate) * MONTH > (scenario.max_usd_per_month or math.inf):
                continue
            yield float(estimate.cost_per_inference), changes


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"slo_tpot_ms": 40.0, "max_devices": 120},
        {"requests_per_s": 3.0, "spare_replicas": 1, "max_usd_per_month": 30_000.0},
    ],
)
def test_trying_one_by_one_finds_the_same(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimise, "WAYS", (1, 2))
    monkeypatch.setattr(optimise, "STAGES", (1, 2))
    monkeypatch.setattr(optimise, "CONCURRENCIES", (8, 48))
    monkeypatch.setattr(optimise, "_TABLES", {})
    chips = ("l4", "a10g")[: 1 if changes else 2]
    scenario = CHAT.model_copy(update=changes | {"cloud": "aws"})
    found = search(scenario, FACTS, chips)
    every = list(one_by_one(scenario, chips))
    assert found.best is not None, found.rejected
    assert found.best.cost == pytest.approx(min(cost for cost, _ in every), rel=1e-9)
    for each in found.ranked:
        same = [cost for cost, tried in every if tried["accelerator"] == each.choice.accelerator.id]
        assert each.cost == pytest.approx(min(same), rel=1e-9)


@pytest.mark.parametrize(
    "tighter",
    [
        {"slo_ttft_ms": 600.0}, {"slo_tpot_ms": 20.0}, {"slo_latency_ms": 5000.0},
        {"slo_share": 0.99}, {"quality_floor": 0.999}, {"max_devices": 2}, {"cloud": "aws"},
        {"max_usd_per_month": 5000.0}, {"max_carbon_g": 0.02}, {"purchases": "no_spot"},
    ],
    ids=str,
)  # fmt: skip
def test_a_tighter_limit_is_never_cheaper(tighter: dict[str, Any]) -> None:
    scenario = CHAT.model_copy(update={"purchases": "any"})
    loose, tight = search(scenario, FACTS), search(scenario.model_copy(update=tighter), FACTS)
    assert loose.best is not None
    costs = {each.choice.accelerator.id: each.cost for each in loose.ranked}
    for each in tight.ranked:
        assert each.cost >= costs[each.choice.accelerator.id] * (1 - 1e-9)


def test_more_hardware_is_never_dearer() -> None:
    chips, best = [], math.inf
    for chip in ("l4", "a10g", "l40s", "h100-sxm", "graviton4", "tpu-v6e", "b200-sxm"):
        chips.append(chip)
        found = search(CHAT, FACTS, chips)
        assert {each.choice.accelerator.id for each in found.ranked} <= set(chips)
        if found.best is not None:
            assert found.best.cost <= best * (1 + 1e-12)
            best = found.best.cost
    assert math.isfinite(best)


def test_the_front_falls_and_ends_at_the_cheapest() -> None:
    found = search(CHAT, FACTS)
    times = [float(each.estimate.latency_p95) for each in found.front]
    costs = [each.cost for each in found.front]
    assert times == sorted(times)
    assert costs == sorted(costs, reverse=True)
    assert found.best is not None
    assert costs[-1] == pytest.approx(found.best.cost)
    # What is on the list is neither cheaper nor faster than all of the front.
    for each in found.ranked:
        beaten = [
            cost for cost, time in zip(costs, times, strict=True)
            if time <= float(each.estimate.latency_p95) * (1 + 1e-12)
        ]  # fmt: skip
        assert beaten and min(beaten) <= each.cost * (1 + optimise.FRONT_STEP)


def test_chances_add_up_and_favour_the_cheapest() -> None:
    found = search(CHAT, FACTS)
    chances = [each.probability for each in found.ranked]
    assert sum(chances) == pytest.approx(1.0)
    assert chances == [each.probability for each in search(CHAT, FACTS).ranked]
    # What is far dearer than the high end of the cheapest cannot well be the cheapest.
    assert found.best is not None
    for each in found.ranked:
        if each.low > found.best.high * 1.5:
            assert each.probability < 0.05


def test_everything_tried_is_offered_or_counted() -> None:
    found = search(CHAT, FACTS, ["t4", "l4"])
    counted = sum(sum(reasons.values()) for reasons in found.rejected.values())
    assert 0 < counted < found.considered
    tight = search(CHAT.model_copy(update={"slo_ttft_ms": 1.0}), FACTS, ["t4", "l4"])
    assert tight.ranked == () and tight.best is None
    assert sum(sum(reasons.values()) for reasons in tight.rejected.values()) == tight.considered
    assert "first token" in tight.rejected["l4"]


def test_quality_that_nobody_measured_is_not_offered() -> None:
    found = search(TREES, FACTS)
    assert "quality unknown" in found.rejected["graviton4"]
    assert {each.choice.scheme.id for each in found.ranked} <= {"bf16", "fp32"}


def test_where_nothing_works_the_limit_in_the_way_is_named() -> None:
    tight = CHAT.model_copy(update={"max_usd_per_month": 1.0, "slo_latency_ms": 60_000.0})
    assert search(tight, FACTS).best is None
    (only,) = optimise.loosened(tight, FACTS)
    assert only.changes == {"max_usd_per_month": None}
    best = search(CHAT.model_copy(update={"slo_latency_ms": 60_000.0}), FACTS).best
    assert best is not None
    assert only.best.cost == best.cost


def test_an_own_price_counts_for_the_chip_that_is_chosen() -> None:
    own = CHAT.model_copy(update={"accelerator": "l4", "device_price_usd_per_hour": 0.001})
    found = search(own, FACTS)
    assert found.best is not None
    assert found.best.choice.accelerator.id == "l4"
    others = {each.choice.accelerator.id: each.cost for each in search(CHAT, FACTS).ranked}
    for each in found.ranked[1:]:
        assert each.cost == pytest.approx(others[each.choice.accelerator.id])
    # An edge device is not in any shop of the catalog; with a price it takes part.
    edge = CHAT.model_copy(
        update={"accelerator": "jetson-thor-t5000", "device_price_usd_per_hour": 0.1}
    )
    assert "jetson-thor-t5000" in search(CHAT, FACTS).unpriced
    (alone,) = search(edge, FACTS, ["jetson-thor-t5000"]).ranked
    result = answer(edge.model_copy(update=alone.changes), FACTS)
    assert result.estimate is not None
    assert alone.cost == pytest.approx(float(result.estimate.cost_per_inference))


def test_devices_share_the_network_of_their_instance() -> None:
    """AWS publishes 2.5 Gbit/s for g6.xlarge and 3,200 Gbit/s for the eight GPUs of p5.48xlarge."""
    for name, gbit_each in (("aws/g6.xlarge", 2.5), ("aws/p5.48xlarge", 400.0)):
        rented = FACTS.instances[name]
        found = slow_link(FACTS.accelerators[rented.accelerator], rented, coefficients())
        assert found == pytest.approx(gbit_each * 1e9 / 8)
    # Without a published network a replica of several such instances is not offered.
    found_rows = search(CHAT, FACTS)
    for each in (*found_rows.ranked, *found_rows.front):
        instance = each.choice.instance
        assert instance is not None
        if each.choice.devices_per_replica > fast_domain(each.choice.accelerator, instance):
            assert instance.network_gbit_per_s


def test_two_models_are_refused_with_a_remedy() -> None:
    for changes in ({"cascade_model": "llama-3.2-1b"}, {"student": "ratio"}):
        with pytest.raises(ImpossibleChoice) as refused:
            search(CHAT.model_copy(update=changes), FACTS)
        (problem,) = refused.value.problems
        assert search(CHAT.model_copy(update=problem.changes), FACTS).ranked


def test_trees_and_small_encoders_come_out_on_cpus() -> None:
    """A few hundred trees, or a small encoder now and then, do not fill an accelerator."""
    small = Scenario(
        model="all-minilm-l6-v2", input_tokens=128, requests_per_s=5.0, slo_latency_ms=500.0
    )
    for scenario in (TREES, small):
        found = search(scenario.model_copy(update={"purchases": "same"}), FACTS)
        assert found.best is not None
        assert found.best.choice.accelerator.kind == "cpu"
    # Many long texts do.
    many = small.model_copy(update={"model": "bert-large", "requests_per_s": 5000.0})
    found = search(many, FACTS)
    assert found.best is not None
    assert found.best.choice.accelerator.kind != "cpu"


# Behind the short list ---------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", [CHAT, EXPERTS, RANKING, TREES], ids=lambda s: s.model)
def test_no_work_is_above_its_roof(scenario: Scenario) -> None:
    found = search(scenario, FACTS)
    for line in hardware.rooflines(scenario, found.ranked):
        for point in line.points:
            roof = min(line.peak, point.intensity * line.bandwidth)
            assert 0 < point.flops <= roof * (1 + 1e-9), (line.name, point)


@pytest.mark.parametrize("scenario", [CHAT, RANKING, TREES], ids=lambda s: s.model)
def test_terms_multiply_to_the_ratio_of_the_costs(scenario: Scenario) -> None:
    plain = scenario.model_copy(update={"scaling": "peak"})
    ranked = search(plain, FACTS).ranked
    for first, second in ((ranked[0], ranked[-1]), (ranked[3], ranked[1])):
        *why, cost = hardware.factors(plain, first, second)
        assert math.prod(term.ratio for term in why) == pytest.approx(cost.ratio)
        assert cost.ratio == pytest.approx(second.cost / first.cost)


def test_cost_against_load_agrees_with_the_search_at_each_load() -> None:
    chosen = ("l4", "h100-sxm", "b200-sxm", "graviton4")
    few = replace(FACTS, accelerators={chip: FACTS.accelerators[chip] for chip in chosen})
    scenario = CHAT.model_copy(update={"purchases": "any"})
    found = hardware.against_load(scenario, few)
    for place in (0, 20, 30, 60):
        there = scenario.model_copy(update={"requests_per_s": float(found.loads[place])})
        best = search(there, few).best
        assert best is not None
        least = min(costs[place] for costs in found.costs.values() if math.isfinite(costs[place]))
        # Between the loads that are searched another split could be a little cheaper.
        assert best.cost * (1 - 1e-9) <= least <= best.cost * 1.1
    for load, before, after in found.crossovers:
        assert before != after
        assert found.loads[0] < load < found.loads[-1]


def test_every_kind_is_on_the_short_list() -> None:
    found = search(CHAT.model_copy(update={"purchases": "any"}), FACTS)
    kinds = {each.choice.accelerator.kind for each in found.ranked}
    shown = hardware.short_list(found, 5)
    assert shown[:5] == found.ranked[:5]
    assert {each.choice.accelerator.kind for each in shown} == kinds >= {"gpu", "tpu", "cpu"}


@pytest.mark.parametrize("scenario", [CHAT, TREES], ids=lambda s: s.model)
@pytest.mark.parametrize("palette", [charts.LIGHT, charts.DARK])
def test_plotly_takes_the_figures(scenario: Scenario, palette: charts.Palette) -> None:
    found = search(scenario, FACTS)
    now = answer(scenario, FACTS).estimate
    figures = [
        charts.ranking(found.ranked, scenario, palette),
        charts.cost_against_latency(found.ranked, found.front, now, scenario, palette),
        charts.cost_against_latency((), (), None, scenario, palette),
        charts.roofline(hardware.rooflines(scenario, found.ranked[:5]), palette),
    ]
    for figure in figures:
        assert len(go.Figure(figure).data) == len(figure["data"])
        json.dumps(figure, allow_nan=False)


@pytest.mark.parametrize("scenario", [LARGE, RANKING], ids=lambda scenario: scenario.model)
def test_what_is_kept_from_one_search_to_the_next_changes_nothing(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = [
        scenario.model_copy(update=changes) for changes in (
            {"requests_per_s": 7.0}, {"slo_latency_ms": 9_000.0}, {"output_tokens": 90},
            {"memory_share": 0.8, "discount_share": 0.3}, {"purchases": "any"},
        )
    ]  # fmt: skip
    kept = [optimise.summary(search(each, FACTS), 3) for each in (scenario, *moved)]
    for before, each in zip(kept[1:], moved, strict=True):
        for name in ("_SPEEDS", "_PRICES"):
            monkeypatch.setattr(optimise, name, type(getattr(optimise, name))())
        assert optimise.summary(search(each, FACTS), 3) == before
