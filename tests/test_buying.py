"""Ways to pay: that they agree with the rest of the app and with each other."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from cpi_model.catalog import catalog
from cpi_model.coefficients import coefficients
from cpi_model.formulas import ownership
from cpi_model.inputs import OLD_PRICE_DAYS, ImpossibleChoice, choose
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import buying, optimise, service
from cpi_model.studies.answer import answer
from cpi_model.studies.buying import PURCHASES, TITLES, Buying
from cpi_model.studies.options import BUYING
from cpi_model.units import MONTH, YEAR

FACTS = catalog()
SCENARIOS: dict[str, dict[str, Any]] = {
    "llm": {},
    "busy": {"requests_per_s": 300.0},
    "a10g": {"accelerator": "a10g", "requests_per_s": 100.0},
    "fixed": {"accelerator": "a10g", "scaling": "fixed", "fixed_replicas": 40},
    "follow": {"accelerator": "a10g", "scaling": "follow", "requests_per_s": 40.0},
    "encoder": {
        "model": "bert-large", "engine": "tensorrt", "accelerator": "t4", "input_tokens": 128,
        "requests_per_s": 300.0, "peak_to_mean": 3.0,
    },
    "trees": {
        "model": "gbt-fraud-500x8", "engine": "treelite", "scheme": "fp32",
        "accelerator": "graviton4", "requests_per_s": 500.0, "concurrency": 8,
    },
    "cascade": {"cascade_model": "llama-3.2-1b", "requests_per_s": 100.0},
    "cached": {"answer_hit_share": 0.3, "cached_input_share": 0.4, "requests_per_s": 30.0},
    "interrupted": {
        "purchase": "spot", "spot_interruptions_per_month": 20.0, "spot_fallback_share": 0.1,
        "accelerator": "a10g", "requests_per_s": 50.0,
    },
}  # fmt: skip


@cache
def found(name: str) -> Buying:
    return buying.compare(Scenario(**SCENARIOS[name]), FACTS)


def compared(**changes: Any) -> Buying:
    return buying.compare(Scenario(**changes), FACTS)


# Agreement ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_rented_ways_cost_what_the_scenario_costs_with_that_option(name: str) -> None:
    scenario = found(name).scenario
    for purchase in PURCHASES:
        way = found(name).way(purchase)
        changes: dict[str, Any] = {"purchase": purchase}
        if purchase.startswith("reserved") and scenario.scaling == "follow":
            changes["scaling"] = "peak"  # a commitment is paid at night as well
        estimate = answer(scenario.model_copy(update=changes), FACTS).estimate
        if estimate is None:
            assert not way.known and way.reason
            continue
        assert way.cost == pytest.approx(float(estimate.cost_per_inference), rel=1e-12)
        assert way.monthly == pytest.approx(float(estimate.cost_rate) * MONTH, rel=1e-9)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_way_is_there_and_unknown_ones_say_why(name: str) -> None:
    assert [way.id for way in found(name).ways] == list(TITLES)
    for way in found(name).ways:
        assert way.known == (way.reason == "")
        assert way.costs.shape == found(name).volumes.shape
        if way.known:
            assert way.cost > 0.0 and way.note
            assert way.assumes and all(line.source for line in way.assumes)
        else:
            assert math.isnan(way.monthly)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_mix_is_never_dearer_than_one_option_for_all(name: str) -> None:
    """Spot for everything is a mix only where that much may be spot."""
    everything = buying.compare(
        found(name).scenario.model_copy(update={"spot_limit_share": 1.0}), FACTS
    )
    for result, allowed in ((found(name), PURCHASES[:1] + PURCHASES[2:]), (everything, PURCHASES)):
        for purchase in allowed:
            pure = result.way(purchase)
            both = np.isfinite(pure.costs)
            assert (result.way("mix").costs[both] <= pure.costs[both] * (1 + 1e-9)).all()


def test_the_mix_against_trying_every_commitment() -> None:
    """A second method: instances hour by hour, and the sum of what is paid for them."""
    mix = found("a10g").mix
    assert mix is not None and 0.0 < mix.committed < mix.need.max()
    tried = {
        count: float(
            (mix.committed_price * count + mix.flexible_price * np.maximum(mix.need - count, 0.0))
            .mean()
        )
        for count in range(int(mix.need.max()) + 1)
    }  # fmt: skip
    assert tried[int(mix.committed)] == pytest.approx(min(tried.values()))
    assert mix.monthly <= mix.all_flexible
    assert mix.unused_share == pytest.approx(float(ownership.unused_share(mix.need, mix.committed)))


def test_flat_traffic_commits_everything_that_pays() -> None:
    flat = compared(accelerator="a10g", requests_per_s=100.0, peak_to_mean=1.0)
    assert flat.mix is not None
    assert flat.mix.need.min() == flat.mix.need.max() == flat.mix.committed
    assert flat.mix.coverage == 1.0 and flat.mix.unused_share == 0.0
    assert flat.way("mix").monthly == pytest.approx(flat.way("reserved_1y").monthly, rel=1e-9)


def test_steeper_traffic_commits_less() -> None:
    shares = []
    for quiet in (0.9, 0.5, 0.1):
        mix = compared(
            accelerator="a10g", requests_per_s=100.0, quiet_to_mean=quiet, spot_limit_share=0.0
        ).mix
        assert mix is not None
        shares.append(mix.coverage)
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[-1]


# Volumes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llm", "busy", "a10g", "encoder", "trees"])
def test_curves_are_the_ways_at_other_volumes(name: str) -> None:
    result = found(name)
    index = len(result.volumes) // 2 + 7
    volume = float(result.volumes[index])
    there = buying.compare(result.scenario.model_copy(update={"requests_per_s": volume}), FACTS)
    for way in result.ways:
        other = there.way(way.id)
        # The best edge device is chosen at the scenario's volume.
        if way.known and other.known and way.id != "edge":
            assert way.costs[index] == pytest.approx(other.cost, rel=1e-6), way.id


def test_break_even_volumes_are_where_both_cost_the_same() -> None:
    """Between smooth curves; steps of whole replicas cross at a step."""
    result = compared(
        requests_per_s=3.0, api_input_usd_per_mtok=1.0, api_output_usd_per_mtok=4.0,
    )  # fmt: skip
    pair = next(
        each for each in result.break_evens if {each.below, each.above} == {"api", "on_demand"}
    )
    assert pair.below == "api"
    ratios = []
    for side in (0.85, 1.18):
        at = buying.compare(
            result.scenario.model_copy(update={"requests_per_s": side * pair.requests_per_s}),
            FACTS,
        )
        ratios.append(at.way("api").cost / at.way("on_demand").cost)
    assert ratios[0] < 1.0 < ratios[1]


def test_crossings_of_lines_that_are_known() -> None:
    """A price per request of 2 against a fixed cost of 10: they cross at a volume of 5."""
    volumes = np.geomspace(0.1, 1000.0, 65)
    found_at = buying.crossings(volumes, np.full(65, 2.0), 10.0 / volumes)
    assert len(found_at) == 1
    volume, second_is_cheaper = found_at[0]
    assert volume == pytest.approx(5.0) and second_is_cheaper
    assert buying.crossings(volumes, 10.0 / volumes, np.full(65, 2.0)) == [(volume, False)]
    assert buying.crossings(volumes, 10.0 / volumes, 10.0 / volumes) == []
    unknown = np.full(65, np.nan)
    assert buying.crossings(volumes, unknown, 10.0 / volumes) == []


@pytest.mark.parametrize("name", ["llm", "busy", "a10g", "encoder", "trees"])
def test_the_cheapest_way_changes_where_it_is_said_to(name: str) -> None:
    result = found(name)
    able = [way for way in result.ways if buying.quick_enough(way, result.ways)]
    for each in result.cheapest:
        index = int(np.searchsorted(result.volumes, each.requests_per_s))
        before, after = index - 1, index
        for at, id in ((before, each.below), (after, each.above)):
            costs = {way.id: way.costs[at] for way in able if np.isfinite(way.costs[at])}
            assert costs[id] == pytest.approx(min(costs.values()))


# Each way ----------------------------------------------------------------------------------------


def test_owned_capacity_comes_in_whole_servers_and_stays_at_night() -> None:
    few = found("llm").way("owned")
    assert few.devices == 8.0
    for scaling in ("peak", "follow"):
        many = compared(requests_per_s=300.0, scaling=scaling)
        assert many.way("owned").devices % 8.0 == 0.0
        assert many.way("owned").monthly == pytest.approx(found("busy").way("owned").monthly)


def test_three_years_of_cash() -> None:
    """Month by month against the purchase, the running cost and what was to be paid otherwise."""
    result = compared(
        requests_per_s=300.0, device_purchase_usd=5_000.0, owned_years=10.0, resale_share=0.0
    )
    cash, owned = result.cash, result.way("owned")
    assert cash is not None
    assert cash.paid["owned"][0] == pytest.approx(owned.devices * 5_000.0 * 1.3)
    assert cash.paid["owned"][0] == cash.purchase
    # Cost is cash, with the purchase spread over its life.
    step = float(cash.paid["owned"][1] - cash.paid["owned"][0])
    assert owned.monthly == pytest.approx(step + cash.purchase / (10.0 * YEAR / MONTH))
    rented = result.way("on_demand").monthly
    month = next(
        number
        for number in range(len(cash.months))
        if cash.paid["owned"][number] <= rented * number
    )
    assert month - 1 < cash.payback["on_demand"] / MONTH <= month


def test_owning_is_never_paid_back_after_the_end_of_its_life() -> None:
    cash = compared(requests_per_s=300.0, device_purchase_usd=500_000.0).cash
    assert cash is not None and set(cash.payback.values()) == {math.inf}


def test_a_hosted_model_is_the_same_or_the_nearest_and_says_which() -> None:
    assert buying.nearest_hosted("llama-3.1-70b", FACTS) == "llama-3.1-70b"
    assert buying.nearest_hosted("bert-large", FACTS) is None
    hosted = {row.model for row in FACTS.api_prices}
    alone = next(
        model.id for model in FACTS.models.values()
        if model.model_class == "llm" and model.id not in hosted and 6.0 < model.params_b < 9.0
    )  # fmt: skip
    near = buying.nearest_hosted(alone, FACTS)
    assert near in hosted and near != alone
    way = compared(model=alone).way("api")
    assert "nearest to" in way.note
    assert any("not the same model" in line.source for line in way.assumes)


def test_a_hosted_model_costs_its_tokens_and_what_stays_with_us() -> None:
    """By hand: 1,000 in and 250 out at 3 and 15 USD a million, on 99.5 % that succeed."""
    silent = {
        "log_kb_per_request": 0.0, "egress_share": 0.0, "api_input_usd_per_mtok": 3.0,
        "api_output_usd_per_mtok": 15.0,
    }  # fmt: skip
    way = compared(**silent).way("api")
    assert way.cost == pytest.approx((1000 * 3e-6 + 250 * 15e-6) / 0.995, rel=1e-9)
    with_logs = compared(**(silent | {"log_kb_per_request": 2.0})).way("api")
    assert with_logs.cost - way.cost == pytest.approx(2e3 * 0.5e-9 / 0.995, rel=1e-6)
    assert np.ptp(way.costs) == pytest.approx(0.0, abs=1e-12)


def test_the_comparison_is_fully_loaded_whatever_is_shown() -> None:
    loaded, marginal = (compared(cost_basis=basis) for basis in ("loaded", "marginal"))
    for one, other in zip(loaded.ways, marginal.ways, strict=True):
        assert one.cost == pytest.approx(other.cost, nan_ok=True)


def test_serverless_needs_a_price_and_pays_off_at_small_volumes() -> None:
    assert "enter one" in found("llm").way("serverless").reason
    assert found("trees").way("serverless").known  # AWS Fargate sells CPUs by the second
    result = compared(serverless_usd_per_hour=6.0, requests_per_s=0.1)
    serverless, rented = result.way("serverless"), result.way("on_demand")
    assert serverless.costs[0] < rented.costs[0]
    assert serverless.costs[-1] > rented.costs[-1]


def test_a_fleet_at_the_edge_is_paid_by_the_device() -> None:
    common = {"accelerator": "l4", "model": "resnet50-v1.5", "engine": "tensorrt",
              "edge_cloud_share": 0.0}  # fmt: skip
    one, many = (compared(**common, edge_devices=count) for count in (100, 300))
    assert many.way("edge").cost == pytest.approx(3.0 * one.way("edge").cost)
    few = compared(**common, edge_devices=1, requests_per_s=1e5).way("edge")
    assert not few.known and "peak" in few.reason


def test_too_slow_a_way_is_not_called_the_cheapest() -> None:
    result = found("llm")
    edge = result.way("edge")
    assert edge.within_limits < 0.5 and not buying.quick_enough(edge, result.ways)
    assert result.best is not None and result.best.id != "edge"


# Prices ------------------------------------------------------------------------------------------


def test_an_own_price_is_of_the_option_that_is_chosen() -> None:
    result = compared(accelerator="a10g", device_price_usd_per_hour=0.2, purchase="spot")
    for purchase in ("on_demand", "reserved_1y"):
        usual = compared(accelerator="a10g").way(purchase)
        assert result.way(purchase).cost == pytest.approx(usual.cost)
    (price, *_) = result.way("spot").assumes
    assert price.source == "entered by you"


def test_the_search_for_hardware_prices_spot_as_the_scenario_does() -> None:
    given = Scenario(
        purchases="same", purchase="spot", spot_interruptions_per_month=20.0,
        spot_fallback_share=0.25, requests_per_s=50.0,
    )  # fmt: skip
    offered = optimise.search(given, FACTS).ranked[0]
    alone = answer(given.model_copy(update=offered.changes), FACTS).estimate
    assert alone is not None
    assert float(offered.estimate.cost_per_inference) == pytest.approx(
        float(alone.cost_per_inference), rel=1e-9
    )


def test_old_prices_show_their_age() -> None:
    lines = [line for way in found("llm").ways for line in way.assumes if line.as_of is not None]
    assert any(line.age for line in lines)
    newest = replace(lines[0], as_of=None)
    assert newest.age == ""
    assert OLD_PRICE_DAYS == 90


def test_spot_that_is_taken_away_more_often_costs_more() -> None:
    def price(**changes: Any) -> float:
        scenario = Scenario(purchase="spot", accelerator="a10g", **changes)
        choice = choose(scenario, FACTS)
        resolved = service.resolve(scenario, choice, FACTS, coefficients())
        return float(resolved.model.instance_price)

    plain = price(spot_overhead_share=0.0)
    assert price(spot_interruptions_per_month=0.0) == pytest.approx(plain)
    # Ten times a month 11 minutes each of 730 hours.
    assert price(spot_interruptions_per_month=10.0) == pytest.approx(
        plain / (1 - 10 * 11 / (730 * 60))
    )
    whole = price(spot_fallback_share=1.0)
    on_demand = Scenario(accelerator="a10g")
    resolved = service.resolve(on_demand, choose(on_demand, FACTS), FACTS, coefficients())
    assert whole == pytest.approx(float(resolved.model.instance_price))


def test_a_fallback_without_a_price_is_refused() -> None:
    scenario = Scenario(
        purchase="spot", device_price_usd_per_hour=1.0, accelerator="tpu-v2", engine="jetstream",
        spot_fallback_share=0.2,
    )  # fmt: skip
    with pytest.raises(ImpossibleChoice, match="on demand"):
        choose(scenario, FACTS)


BASES: list[dict[str, Any]] = [
    {"accelerator": "a10g", "requests_per_s": 0.5, "device_purchase_usd": 8000.0,
     "serverless_usd_per_hour": 2.0},
    {"requests_per_s": 0.01, "serverless_usd_per_hour": 2.0},
    {"accelerator": "a10g", "requests_per_s": 100.0},
    {"model": "llama-3.1-70b", "accelerator": "b200-sxm", "scheme": "fp8",
     "api_input_usd_per_mtok": 1.0, "api_output_usd_per_mtok": 4.0},
]  # fmt: skip
OTHER_VALUES = {
    "edge_devices": 50_000, "device_purchase_usd": 9000.0, "serverless_usd_per_hour": 3.0,
    "serverless_minimum_s": 600.0, "api_batch_share": 1.0,
}  # fmt: skip


@cache
def costs(base: int, field: str, value: float | None) -> list[float]:
    return [way.cost for way in compared(**(BASES[base] | ({field: value} if field else {}))).ways]


@pytest.mark.parametrize("field", sorted(BUYING))
def test_every_field_of_buying_moves_some_way(field: str) -> None:
    info = FIELDS[field]
    value = OTHER_VALUES.get(field)
    if value is None:
        assert info.maximum is not None
        value = min((info.default or 1.0) * 1.7 + 0.05, info.maximum)
    assert any(
        not np.allclose(costs(base, "", None), costs(base, field, value), rtol=1e-9, equal_nan=True)
        for base in range(len(BASES))
    )


def test_as_json() -> None:
    import json

    for name in SCENARIOS:
        document = buying.document(found(name))
        text = json.dumps(document, allow_nan=False)
        assert [row["way"] for row in json.loads(text)["ways"]] == list(TITLES)


@pytest.mark.parametrize(("peak", "quiet"), [(2.0, 0.4), (50.0, 0.4), (50.0, 0.0), (1.0, 0.9)])
def test_traffic_at_all_times_sums_to_all_traffic(peak: float, quiet: float) -> None:
    """Logs are paid by the request: they cost the same in the mix as everywhere."""
    shared = {"accelerator": "a10g", "requests_per_s": 100.0, "peak_to_mean": peak,
              "quiet_to_mean": quiet, "spot_limit_share": 0.0}  # fmt: skip
    plain, logged = (compared(**shared, log_kb_per_request=kb) for kb in (0.0, 1e5))
    for id in ("on_demand", "mix"):
        added = logged.way(id).cost - plain.way(id).cost
        assert added == pytest.approx(1e8 * 0.5e-9 / 0.995, rel=0.01), id


def test_serverless_keeps_no_minimum_of_any_version() -> None:
    costs = {
        compared(
            live_versions=3, min_replicas=least, old_min_replicas=older, requests_per_s=0.02,
            serverless_usd_per_hour=4.0,
        ).way("serverless").cost
        for least, older in ((0, 0), (1, None), (4, 2))
    }  # fmt: skip
    assert len(costs) == 1
