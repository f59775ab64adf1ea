"""What a saved scenario comes to later: the figures of then stay, and what moved has its cause."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from cpi_model import coefficients as fitted
from cpi_model import links
from cpi_model.catalog import Catalog, catalog
from cpi_model.library import Priced, Revision
from cpi_model.scenario import Scenario
from cpi_model.studies import answer as answers
from cpi_model.studies import repricing
from cpi_model.studies.answer import answer
from cpi_model.studies.repricing import COST, GROUPS, HEADLINE, SPEED, Repriced

FACTS = catalog()
CASCADE = Scenario(
    model="llama-3.1-70b", tensor_parallel=4, cascade_model="llama-3.1-8b", escalated_share=0.2
)
TREES = Scenario(
    model="gbt-fraud-500x8", engine="treelite", scheme="fp32", accelerator="graviton4",
    requests_per_s=500.0, concurrency=8,
)  # fmt: skip


def saved(scenario: Scenario, facts: Catalog = FACTS, **changes: Any) -> Revision:
    kept = repricing.priced(answer(scenario, facts), facts)
    return Revision(
        "chat", 1, 1, datetime(2026, 1, 1, tzinfo=UTC), "Ana", "", (), replace(kept, **changes),
        None, "",
    )  # fmt: skip


def at_prices(factor: float, day: date) -> Catalog:
    """The catalog of a later day on which every price of an instance has changed."""
    later = tuple(
        price.model_copy(update={"usd_per_hour": price.usd_per_hour * factor, "valid_from": day})
        for price in FACTS.instance_prices
    )
    of = {
        id: (*prices, *(price for price in later if price.instance == id))
        for id, prices in FACTS.prices_of.items()
    }
    return replace(FACTS, instance_prices=FACTS.instance_prices + later, prices_of=of)


def causes(found: Repriced) -> dict[str, tuple[float, float]]:
    return {cause.id: (cause.cost, cause.speed) for cause in found.causes}


def together(found: Repriced, of: str) -> float:
    return math.prod(1.0 + getattr(cause, of) for cause in found.causes)


@pytest.mark.parametrize("scenario", [Scenario(), CASCADE, TREES], ids=["llm", "cascade", "trees"])
def test_on_the_same_day_nothing_moves(scenario: Scenario) -> None:
    found = repricing.reprice(saved(scenario), FACTS)
    assert found.scenario == scenario and found.problems == ()
    assert all(moved.then == moved.now or math.isnan(moved.then) for moved in found.moved)
    assert set(causes(found).values()) == {(0.0, 0.0)}
    assert "Nothing moved" in repricing.why(found)


@pytest.mark.parametrize("scenario", [Scenario(), CASCADE, TREES], ids=["llm", "cascade", "trees"])
def test_a_price_that_rises_is_the_only_cause(scenario: Scenario) -> None:
    facts = at_prices(1.25, date(2026, 11, 1))
    revision = saved(scenario)
    found = repricing.reprice(revision, facts)
    by_cause = causes(found)
    assert {id for id, moved in by_cause.items() if moved != (0.0, 0.0)} == {"prices"}
    assert 0.0 < by_cause["prices"][0] <= 0.25 + 1e-9
    # The whole change, of figures that were computed apart from the causes.
    then, now = (
        answer(scenario, each).estimate.cost_per_inference  # type: ignore[union-attr]
        for each in (FACTS, facts)
    )
    assert 1.0 + found.of(COST).change == pytest.approx(float(now / then))
    assert together(found, "cost") == pytest.approx(float(now / then))
    assert found.of(SPEED).change == 0.0
    assert revision.priced.catalog_date < repricing.priced(found.answer, facts).catalog_date
    why = repricing.why(found)
    assert "by prices since then" in why and "2026-11-01" in why and "speed" not in why


def test_a_price_alone_moves_compute_and_memory_by_itself() -> None:
    """Without overheads the cost is proportional to the price of an instance."""
    bare = Scenario(
        storage_usd_per_gb_month=0, object_storage_usd_per_gb_month=0, log_usd_per_gb=0,
        egress_usd_per_gb=0, cross_zone_usd_per_gb=0, load_balancer_usd_per_hour=0,
        load_balancer_usd_per_gb=0, control_plane_usd_per_hour=0,
        monitoring_usd_per_instance_month=0, platform_share=0, on_call_usd_per_month=0,
    )  # fmt: skip
    found = repricing.reprice(saved(bare), at_prices(1.25, date(2026, 11, 1)))
    assert causes(found)["prices"][0] == pytest.approx(0.25)


def test_coefficients_that_are_fitted_anew_are_told_from_prices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    revision = saved(Scenario())
    known = fitted.coefficients()
    engines = {
        id: each.model_copy(update={"layer_overhead_us": each.layer_overhead_us * 2 + 20})
        for id, each in known.engines.items()
    }
    slower = known.model_copy(update={"engines": engines})
    monkeypatch.setattr(answers, "coefficients", lambda: slower)
    found = repricing.reprice(revision, at_prices(0.5, date(2026, 11, 1)))
    by_cause = causes(found)
    assert by_cause["coefficients"][0] > 0 > by_cause["coefficients"][1]
    assert by_cause["prices"][0] < 0 == by_cause["prices"][1]
    assert by_cause["facts"] == by_cause["formulas"] == (0.0, 0.0)
    for figure, of in ((COST, "cost"), (SPEED, "speed")):
        assert together(found, of) == pytest.approx(1.0 + found.of(figure).change)
    assert "fitted anew" in repricing.why(found)


def test_a_formula_that_changed_is_what_is_left() -> None:
    """The same numbers gave another figure then: that can only be the formulas."""
    revision = saved(Scenario())
    figures = dict(revision.priced.figures)
    figures[COST] *= 2.0
    found = repricing.reprice(saved(Scenario(), figures=figures, version="0.0.9"), FACTS)
    assert causes(found)["formulas"][0] == pytest.approx(-0.5)
    assert "0.0.9" in repricing.why(found)


def test_every_number_belongs_to_one_group() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names)) == len(repricing._NAMES)
    assert {"compute_efficiency", "ttft_log_sd", "workspace_bytes"} <= GROUPS["coefficients"]
    assert {"instance_price", "log_price", "training_price"} <= GROUPS["prices"]
    assert {"peak_flops", "layers", "dense_bytes"} <= GROUPS["facts"]


def test_what_could_not_work_says_so_then_and_now() -> None:
    impossible = Scenario(model="llama-3.1-405b")
    found = repricing.reprice(saved(impossible), FACTS)
    assert found.causes == () and all(math.isnan(each.then) for each in found.moved)
    assert "could not then" in repricing.why(found)
    figures = dict(saved(Scenario()).priced.figures)
    lost = repricing.reprice(saved(impossible, figures=figures), FACTS)
    assert lost.of(COST).then > 0 and math.isnan(lost.of(COST).now)
    assert repricing.why(lost).startswith("Today this cannot work")
    link = links.encode(Scenario())
    assert "today it does" in repricing.why(repricing.reprice(saved(impossible, link=link), FACTS))


@pytest.mark.parametrize(
    "changes",
    [
        {"numbers": {}}, {"numbers": {"model": None}}, {"numbers": {"model": {"layers": "x"}}},
        {"figures": {}}, {"figures": {"feasible": True, COST: "many"}}, {"price": {}},
        {"link": "v=9&nonsense=1&m=gone"}, {"link": ""}, {"price": {"usd_per_hour": "<b>"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_is_damaged_costs_only_itself(changes: dict[str, Any]) -> None:
    found = repricing.reprice(saved(Scenario(), **changes), FACTS)
    assert repricing.why(found)
    assert {each.figure for each in found.moved} == set(HEADLINE)


def test_a_number_that_is_new_since_then_stands_as_today() -> None:
    revision = saved(Scenario())
    model = {k: v for k, v in revision.priced.numbers["model"].items() if k != "prefill_chunk"}
    numbers = dict(revision.priced.numbers) | {"model": model | {"gone_since": 1.0}}
    found = repricing.reprice(saved(Scenario(), numbers=numbers), FACTS)
    assert set(causes(found).values()) == {(0.0, 0.0)}


def test_parts_of_a_link_that_are_gone_are_told() -> None:
    found = repricing.reprice(saved(Scenario(), link="v=1&c=64&zz=1"), FACTS)
    assert found.scenario == Scenario(concurrency=64)
    assert len(found.problems) == 1 and "'zz'" in found.problems[0]


def test_figures_are_those_of_the_answer() -> None:
    kept: Priced = saved(CASCADE).priced
    document = answers.summary(answer(CASCADE, FACTS))
    assert all(kept.figures[name] == document[name] for name in HEADLINE)
    assert kept.price == document["price"]
