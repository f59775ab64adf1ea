"""The study of compression: bridges, fair shares, quality, precisions and break-even."""

from __future__ import annotations

import math
from datetime import date
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpi_model.catalog import catalog
from cpi_model.inputs import choose
from cpi_model.scenario import Scenario
from cpi_model.studies import compression, evidence, service
from cpi_model.studies.answer import answer
from cpi_model.studies.compression import LEVERS

FACTS = catalog()
FOUR: dict[str, Any] = {
    "model": "llama-3.1-70b", "scheme": "fp8", "tensor_parallel": 2, "requests_per_s": 200.0,
    "kv_precision": "fp8", "draft_model": "head", "cascade_model": "llama-3.1-8b",
    "cost_basis": "marginal",
}  # fmt: skip
ENCODER: dict[str, Any] = {
    "model": "bert-large", "engine": "tensorrt", "accelerator": "l4", "input_tokens": 128,
    "concurrency": 16, "scheme": "int8", "requests_per_s": 5000.0,
}  # fmt: skip


def ids(scenario: Scenario) -> list[str]:
    return [lever.id for lever in compression.active(scenario, FACTS)]


# The bridge --------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [FOUR, ENCODER, FOUR | {"cost_basis": "loaded"}])
def test_a_bridge_leads_from_one_end_to_the_other(changes: dict[str, Any]) -> None:
    scenario = Scenario(**changes)
    found = compression.bridge(scenario, FACTS)
    assert [step.lever.id for step in found.steps] == ids(scenario)
    total = sum(step.change for step in found.steps)
    assert found.before.cost + total == pytest.approx(found.after.cost, rel=1e-12)
    now = answer(scenario, FACTS).estimate
    assert now is not None
    shown = (
        now.marginal_cost_per_inference if scenario.cost_basis == "marginal"
        else now.cost_per_inference
    )  # fmt: skip
    assert found.after.cost == pytest.approx(float(shown))


def test_without_a_lever_nothing_is_compressed() -> None:
    scenario = Scenario()
    assert ids(scenario) == []
    found = compression.bridge(scenario, FACTS)
    assert found.steps == ()
    assert found.before.cost == found.after.cost


def test_before_compression_weights_may_need_more_devices() -> None:
    """141 GB in 16 bits do not fit on one H100; 70 GB in 8 bits leave little room, and do."""
    scenario = Scenario(
        model="llama-3.1-70b", scheme="int4-awq", input_tokens=500, concurrency=4
    )  # fmt: skip
    found = compression.bridge(scenario, FACTS)
    assert (found.before.devices, found.after.devices) == (2.0, 1.0)
    assert found.after.cost < found.before.cost


def test_a_step_that_cannot_be_waits_for_the_next() -> None:
    """Trees run in 32 bits with Treelite only, so the engine has to change with the precision."""
    scenario = Scenario(
        model="gbt-fraud-500x8", engine="onnxruntime", scheme="int8", accelerator="graviton4",
        compared_engine="treelite", requests_per_s=500.0,
    )  # fmt: skip
    found = compression.bridge(scenario, FACTS)
    assert {step.lever.id for step in found.steps} == {"engine", "scheme"}
    assert found.before.cost + sum(step.change for step in found.steps) == pytest.approx(
        found.after.cost
    )


# Fair shares -------------------------------------------------------------------------------------


def test_fair_shares_are_the_mean_over_all_orders() -> None:
    scenario = Scenario(**FOUR)
    levers = compression.active(scenario, FACTS)
    found = compression.shapley(scenario, FACTS)
    by_hand = dict.fromkeys(found, 0.0)
    orders = list(permutations(levers))
    for order in orders:
        states = compression.states(
            [
                compression.with_levers(scenario, order[:count], FACTS)
                for count in range(len(order) + 1)
            ],
            FACTS,
        )
        for lever, without, with_it in zip(order, states, states[1:], strict=False):
            by_hand[lever.id] += (with_it.cost - without.cost) / len(orders)
    assert found == pytest.approx(by_hand)


def test_fair_shares_add_up() -> None:
    scenario = Scenario(**FOUR, exit_share=0.2, cached_input_share=0.3)
    bridge = compression.bridge(scenario, FACTS)
    shares = compression.shapley(scenario, FACTS)
    assert sum(shares.values()) == pytest.approx(bridge.after.cost - bridge.before.cost)


def test_a_lever_that_does_nothing_gets_nothing() -> None:
    scenario = Scenario(**(FOUR | {"sparsity": "unstructured"}))
    assert compression.shapley(scenario, FACTS)["zeros"] == pytest.approx(0.0, abs=1e-12)


# Quality -----------------------------------------------------------------------------------------


def kept(**changes: Any) -> compression.Kept:
    scenario = Scenario(**changes)
    return compression.kept(scenario, choose(scenario, FACTS))


def test_nothing_is_lost_without_compression() -> None:
    found = kept()
    assert (found.known.median, found.unknown) == (1.0, ())
    assert found.passes(1.0) is True


def test_drafts_and_kept_prefixes_lose_nothing() -> None:
    assert kept(draft_model="head", cached_input_share=0.5).known.median == 1.0


def test_losses_are_multiplied() -> None:
    alone = kept(model="llama-3.1-70b", scheme="fp8", tensor_parallel=2)
    both = kept(model="llama-3.1-70b", scheme="fp8", tensor_parallel=2, exit_share=0.5,
                exit_quality=0.98)  # fmt: skip
    assert both.known.median == pytest.approx(alone.known.median * 0.99)


def test_a_known_student_is_what_its_paper_says() -> None:
    """DistilBERT retains 97 % of BERT: inside of the range of published students of encoders."""
    found = kept(model="bert-base", engine="onnxruntime", student="distilbert")
    assert found.known.low < 0.97 < found.known.high


def test_what_was_never_measured_is_not_called_lossless() -> None:
    found = kept(kv_precision="fp8")
    assert found.unknown == ("KV cache in fp8",)
    assert found.passes(0.99) is None
    unknown = kept(model="llama-3.1-8b", scheme="nvfp4", accelerator="b200-sxm")
    assert any("NVFP4" in name for name in unknown.unknown)


def test_a_cascade_mixes_two_qualities() -> None:
    found = kept(model="llama-3.1-70b", tensor_parallel=4, cascade_model="llama-3.1-8b",
                 escalated_share=0.4, small_quality=0.9)  # fmt: skip
    assert found.known.median == pytest.approx(0.6 * 0.9 + 0.4)
    assert found.passes(0.99) is False


# Precisions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"model": "llama-3.1-8b"}, ENCODER])
def test_every_precision_that_works_is_there(changes: dict[str, Any]) -> None:
    scenario = Scenario(**changes)
    found = compression.precisions(scenario, FACTS)
    names = [each.scheme.id for each in found]
    assert len(set(names)) == len(names)
    assert scenario.scheme in names
    costs = [each.state.cost for each in found]
    assert costs == sorted(costs)
    plain = service.before(scenario, FACTS).scheme
    (reference,) = (each for each in found if each.scheme.id == plain)
    assert reference.speedup == pytest.approx(1.0)
    for each in found:
        changed = scenario.model_copy(update={"scheme": each.scheme.id, "engine": each.engine})
        assert answer(changed, FACTS).feasible, each.scheme.id


def test_fp8_gains_what_was_measured_on_such_chips() -> None:
    scenario = Scenario(model="llama-3.1-70b", tensor_parallel=2, engine="tensorrt-llm")
    (fp8,) = (e for e in compression.precisions(scenario, FACTS) if e.scheme.id == "fp8")
    assert fp8.measured is not None
    assert fp8.measured.spread.low <= fp8.speedup <= fp8.measured.spread.high


# Break-even --------------------------------------------------------------------------------------


def test_a_student_has_paid_for_itself_when_both_have_cost_the_same() -> None:
    scenario = Scenario(model="llama-3.1-70b", scheme="fp8", tensor_parallel=2, student="ratio",
                        training_requests=3e7)  # fmt: skip
    found = compression.break_even(scenario, FACTS)
    assert found is not None
    assert found.cost + found.inferences * found.after == pytest.approx(
        found.inferences * found.before
    )
    rate = scenario.requests_per_s * scenario.success_share
    assert found.seconds * rate == pytest.approx(found.inferences)
    day = found.day(date(2026, 11, 24))
    assert day is not None
    assert (day - date(2026, 11, 24)).days == int(found.seconds // 86_400)
    assert found.student[0] == pytest.approx(found.cost)


def test_a_student_that_is_not_cheaper_never_pays() -> None:
    scenario = Scenario(model="llama-3.2-1b", student="ratio", student_ratio=1.0,
                        requests_per_s=0.01)  # fmt: skip
    found = compression.break_even(scenario, FACTS)
    assert found is not None
    assert math.isinf(found.inferences)
    assert found.day(date(2026, 11, 24)) is None


def test_there_is_no_break_even_without_a_student() -> None:
    assert compression.break_even(Scenario(), FACTS) is None


# Pulling levers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lever", LEVERS, ids=lambda lever: lever.id)
@pytest.mark.parametrize(
    "changes",
    [{"model": "llama-3.1-70b", "tensor_parallel": 4}, ENCODER | {"scheme": "bf16"}],
    ids=["llm", "encoder"],
)
def test_a_lever_can_be_pulled_and_taken_back(
    changes: dict[str, Any], lever: compression.Lever
) -> None:
    scenario = Scenario(**changes)
    settings_ = compression.usual(lever, scenario, FACTS)
    assert bool(settings_) == compression.applies(lever, scenario, FACTS)
    if not settings_:
        assert lever.id in compression.ONLY_TOKENS
        return
    pulled = scenario.model_copy(update=settings_)
    assert lever.id in ids(pulled)
    assert answer(pulled, FACTS).feasible
    back = pulled.model_copy(update=compression.without(pulled, lever, FACTS))
    assert lever.id not in ids(back)


@settings(max_examples=25, deadline=None)
@given(
    chosen=st.sets(st.sampled_from([lever.id for lever in LEVERS])),
    basis=st.sampled_from(("loaded", "marginal")),
)
def test_any_levers_together_give_a_whole_answer(chosen: set[str], basis: str) -> None:
    scenario = Scenario(model="llama-3.1-70b", tensor_parallel=4, cost_basis=basis)
    for lever in LEVERS:
        if lever.id in chosen:
            usual = compression.usual(lever, scenario, FACTS)
            scenario = scenario.model_copy(update=usual)
    document = compression.summary(scenario, FACTS)
    levers = document["levers"]
    assert isinstance(levers, list)
    assert [row["lever"] for row in levers] == ["before", *ids(scenario)]
    assert all(row["cost_per_inference_usd"] > 0 for row in levers)


def test_evidence_is_beside_what_it_is_about() -> None:
    """The rows that a precision is compared with are of that precision, or say of which."""
    for each in compression.precisions(Scenario(model="llama-3.1-8b"), FACTS):
        if each.measured is None:
            continue
        techniques = {row.technique for row in each.measured.rows}
        assert set(each.measured.rows) <= set(evidence.evidence())
        if techniques != {each.scheme.id}:
            assert techniques <= evidence.relatives(each.scheme.id, FACTS)
            assert all(name in each.measured.spread.level for name in techniques)
