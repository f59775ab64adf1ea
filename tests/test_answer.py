"""Answers: every refusal has reasons with numbers and a change that was tried and works."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any

import pytest

from cpi_model import links
from cpi_model.catalog import catalog
from cpi_model.evaluate import OBSTACLES, evaluate
from cpi_model.inputs import resolve
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import answer as study
from cpi_model.studies.answer import Answer, answer, summary, unknown_names

FACTS = catalog()
COMPONENTS = {"compute", "memory", "storage", "network", "orchestration"}


def asked(**changes: Any) -> Answer:
    return answer(Scenario(**changes), FACTS)


def suggested(result: Answer) -> list[Answer]:
    """What comes of each suggestion."""
    basis = result.scenario.model_dump()
    return [
        answer(Scenario.model_validate(basis | suggestion.changes), FACTS)
        for suggestion in result.suggestions
    ]


def test_what_works_is_answered_by_evaluate_alone() -> None:
    result = asked()
    assert result.feasible and result.reasons == () and result.suggestions == ()
    assert result.estimate is not None
    alone = evaluate(resolve(Scenario(), FACTS))
    assert asdict(result.estimate) == pytest.approx(asdict(alone), rel=0, nan_ok=True)
    assert type(result.estimate.feasible) is bool
    assert type(result.estimate.cost_per_inference) is float


# No dead ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["llama-3.1-8b", "llama-3.1-405b"])
def test_every_chip_has_an_answer_or_a_way_out(model: str) -> None:
    for chip in FACTS.accelerators:
        result = asked(model=model, accelerator=chip)
        if result.feasible:
            continue
        assert result.reasons and all(reason.endswith(".") for reason in result.reasons), chip
        assert 1 <= len(result.suggestions) <= 3, chip
        assert all(other.feasible for other in suggested(result)), chip


@pytest.mark.parametrize("chip", ["h100-sxm", "tpu-v5e", "xeon-platinum-8488c"])
def test_every_model_has_an_answer_or_a_way_out(chip: str) -> None:
    assert chip in FACTS.accelerators
    for model in FACTS.models:
        result = asked(model=model, accelerator=chip)
        if not result.feasible:
            assert result.reasons and result.suggestions, model
            assert all(other.feasible for other in suggested(result)), model


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "llama-3.1-70b", "tensor_parallel": 3},
        {"pipeline_parallel": 64},
        {"expert_parallel": 8},
        {"engine": "neuron"},
        {"model": "resnet50-v1.5"},
        {"accelerator": "l4", "purchase": "reserved_3y", "cloud": "lambda"},
        {"instance": "aws/p5.48xlarge", "accelerator": "l4"},
        {"input_tokens": 200_000},
        {"input_tokens": 131_000, "output_tokens": 131_000},
        {"accelerator": "l4", "input_tokens": 120_000},
        {"scaling": "fixed", "requests_per_s": 1000.0},
        {"scaling": "fixed", "requests_per_s": 1e6},
        {"scaling": "fixed", "requests_per_s": 1000.0, "model": "llama-3.1-70b"},
        {"model": "llama-3.1-405b", "input_tokens": 500_000, "scaling": "fixed"},
        {"memory_share": 0.1},
        {"model": "no-such-model", "accelerator": "no-such-chip", "engine": "no-such-engine"},
        {"device_price_usd_per_hour": 2.0, "model": "deepseek-r1", "accelerator": "a10g"},
    ],
)
def test_impossible_choices_have_reasons_and_a_way_out(changes: dict[str, Any]) -> None:
    result = asked(**changes)
    assert not result.feasible
    assert result.reasons and result.suggestions
    assert all(other.feasible for other in suggested(result))
    for suggestion in result.suggestions:
        assert set(suggestion.changes) <= set(FIELDS)
        assert suggestion.text[0].isupper()


def test_small_changes_come_before_large_ones() -> None:
    """Llama-3.1-70B has 70.6e9 parameters: 141 GB in 16 bits, so two H100 of 86 GB do, just."""
    result = asked(model="llama-3.1-70b")
    assert "141 GB" in result.reasons[0]
    assert "77.3 GB" in result.reasons[0]  # 90 % of 80 GiB
    assert "90%" in result.reasons[0]
    changes = [suggestion.changes for suggestion in result.suggestions]
    assert {"tensor_parallel": 2} in changes
    assert all(not {"tensor_parallel", "scheme"} <= set(change) for change in changes)


def test_suggestions_change_no_more_than_they_must() -> None:
    """Each step of several is needed: without it the rest does not work."""
    result = asked(model="llama-3.1-405b")
    several = [s for s in result.suggestions if {"scheme", "tensor_parallel"} <= set(s.changes)]
    assert several
    for suggestion in several:
        for field in ("scheme", "tensor_parallel"):
            rest = {name: value for name, value in suggestion.changes.items() if name != field}
            assert not asked(model="llama-3.1-405b", **rest).feasible


def test_too_few_replicas_say_how_many_it_takes() -> None:
    result = asked(scaling="fixed", requests_per_s=1000.0)
    assert "1 replica serves at most" in result.reasons[0] and "2,000" in result.reasons[0]
    needed = result.suggestions[0].changes["fixed_replicas"]
    assert asked(scaling="fixed", requests_per_s=1000.0, fixed_replicas=needed).feasible
    assert not asked(scaling="fixed", requests_per_s=1000.0, fixed_replicas=needed - 1).feasible


def test_every_obstacle_has_a_sentence() -> None:
    causes: dict[str, dict[str, Any]] = {
        "weights_do_not_fit": {"model": "llama-3.1-70b"},
        "no_memory_for_one_request": {"accelerator": "a10g", "input_tokens": 100_000},
        "context_too_long": {"input_tokens": 200_000},
        "load_above_capacity": {"scaling": "fixed", "requests_per_s": 1000.0},
        "fewer_replicas_than_versions": {
            "scaling": "fixed", "fixed_replicas": 2, "live_versions": 3, "requests_per_s": 0.1,
        },
    }  # fmt: skip
    assert set(causes) == set(OBSTACLES)
    for name, changes in causes.items():
        result = asked(**changes)
        assert result.estimate is not None
        assert int(result.estimate.obstacles) & OBSTACLES[name]
        assert len(result.reasons) == int(result.estimate.obstacles).bit_count()


def test_memory_that_limits_concurrency_is_noted() -> None:
    result = asked(concurrency=8192)
    assert result.feasible
    assert result.estimate is not None and result.estimate.running < 8192
    assert any("of 8,192 requests run" in note for note in result.notes)


def test_slips_of_the_pen_are_told_from_impossible_choices() -> None:
    assert unknown_names(Scenario(), FACTS) == []
    assert unknown_names(Scenario(model="llama-3.1-405b", tensor_parallel=3), FACTS) == []
    known = Scenario(instance="aws/p5.48xlarge", cloud="aws", region="us-east-1")
    assert unknown_names(known, FACTS) == []
    (one,) = unknown_names(Scenario(cloud="aws,gcq"), FACTS)
    assert one.startswith("There is no cloud 'gcq' in the catalog; did you mean")
    sentences = unknown_names(Scenario(model="llama-3.1-8", region="mars"), FACTS)
    assert len(sentences) == 2
    assert sentences[0].startswith("There is no model 'llama-3.1-8' in the catalog; did you mean")
    assert "llama-3.1-8b" in sentences[0]


# As JSON ------------------------------------------------------------------------------------------

NAMED = {
    "cost_per_inference_usd", "components_usd", "marginal_cost_per_inference_usd",
    "cost_per_million_output_tokens_usd", "monthly_cost_usd", "throughput_per_s", "ttft_ms",
    "tpot_ms", "latency_p95_ms", "utilisation", "replicas", "feasible", "reasons", "link",
}  # fmt: skip
"""Names that other programs rely on."""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": "resnet50-v1.5", "engine": "tensorrt"},
        {"model": "llama-3.1-70b"},
        {"model": "no-such"},
        {"slo_ttft_ms": 1.0, "slo_tpot_ms": 0.5, "slo_latency_ms": 0.1},
        {"accelerator": "trainium2", "engine": "neuron"},
    ],
)
def test_the_summary_is_json_with_the_same_names(changes: dict[str, Any]) -> None:
    document = summary(asked(**changes))
    assert set(document) >= NAMED
    assert set(document) == set(summary(asked()))
    assert set(document["components_usd"]) == COMPONENTS
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_what_is_unknown_is_null() -> None:
    refused = summary(asked(model="llama-3.1-70b"))
    assert refused["feasible"] is False and refused["reasons"] and refused["suggestions"]
    assert refused["cost_per_inference_usd"] is None
    assert refused["components_usd"] == dict.fromkeys(COMPONENTS)
    assert refused["memory_gb"]["weights"] == pytest.approx(141.1, rel=1e-3)  # 2 x 70.55e9 B
    assert summary(asked())["cost_per_million_cached_input_tokens_usd"] is None
    encoder = summary(asked(model="resnet50-v1.5", engine="tensorrt"))
    assert encoder["tpot_ms"] is None and encoder["ttft_ms"] is not None


def test_parts_sum_and_periods_multiply() -> None:
    scenario = Scenario(requests_per_s=3.0, success_share=0.9)
    document = summary(answer(scenario, FACTS))
    each = document["cost_per_inference_usd"]
    assert sum(document["components_usd"].values()) == pytest.approx(each, rel=1e-9)
    marginal = document["marginal_cost_per_inference_usd"]
    assert sum(document["marginal_components_usd"].values()) == pytest.approx(marginal, rel=1e-9)
    monthly = document["monthly_cost_usd"]
    assert sum(document["components_monthly_usd"].values()) == pytest.approx(monthly, rel=1e-9)
    # A month is 730 hours.
    assert monthly == pytest.approx(each * 3.0 * 0.9 * 730 * 3600, rel=1e-9)
    assert document["yearly_cost_usd"] == pytest.approx(12 * monthly, rel=1e-9)
    assert document["daily_cost_usd"] == pytest.approx(document["yearly_cost_usd"] / 365, rel=1e-9)
    assert document["cost_per_1k_inferences_usd"] == pytest.approx(1000 * each)
    assert document["cost_per_1m_inferences_usd"] == pytest.approx(1_000_000 * each)


def test_the_textbook_case() -> None:
    """$500 a day over 1,000,000 requests is $0.0005, through the whole model."""
    nothing = {
        name: 0 for name, info in FIELDS.items()
        if info.group == "overheads" and info.minimum == 0
    }  # fmt: skip
    scenario = Scenario(
        device_price_usd_per_hour=500 / 24, requests_per_s=1_000_000 / 86_400, success_share=1.0,
        peak_to_mean=1.0, scaling="fixed", fixed_replicas=1, concurrency=256, **nothing,
    )  # fmt: skip
    result = answer(scenario, FACTS)
    document = summary(result)
    assert document["feasible"]
    assert document["cost_per_inference_usd"] == pytest.approx(0.0005, rel=1e-12)
    assert document["daily_cost_usd"] == pytest.approx(500, rel=1e-12)
    assert document["price"]["source"] == "entered by the user"
    assert document["price"]["usd_per_hour"] == pytest.approx(500 / 24)


def test_no_cost_is_zero_and_not_unknown() -> None:
    estimate = asked().estimate
    assert estimate is not None
    free = replace(estimate, cost_per_inference=0.0, compute_cost=0.0, cost_rate=0.0)
    document = study.figures(free)
    assert document["monthly_cost_usd"] == 0.0
    assert document["components_monthly_usd"]["compute"] == 0.0


def test_the_price_names_its_source_and_day() -> None:
    price = summary(asked(instance="aws/p5.48xlarge"))["price"]
    row = next(
        row for row in FACTS.prices_of["aws/p5.48xlarge"]
        if row.purchase == "on_demand" and row.usd_per_hour == price["usd_per_hour"]
    )  # fmt: skip
    assert price["instance"] == "aws/p5.48xlarge"
    assert (price["source"], price["region"]) == (row.source, row.region)
    assert price["valid_from"] == row.valid_from.isoformat()
    assert price["effective_usd_per_hour"] == pytest.approx(row.usd_per_hour)
    cheaper = summary(asked(instance="aws/p5.48xlarge", discount_share=0.2))["price"]
    assert cheaper["usd_per_hour"] == row.usd_per_hour
    assert cheaper["effective_usd_per_hour"] == pytest.approx(0.8 * row.usd_per_hour)


def test_the_link_leads_back() -> None:
    scenario = Scenario(model="llama-3.1-70b", tensor_parallel=4, pue=1.5)
    assert links.decode(summary(answer(scenario, FACTS))["link"]) == (scenario, [])


def test_an_infinite_cost_is_unknown() -> None:
    result = asked(slo_ttft_ms=1.0, slo_tpot_ms=0.5, slo_latency_ms=0.1)
    assert result.estimate is not None
    assert math.isinf(result.estimate.cost_per_good_inference)
    assert summary(result)["cost_per_good_inference_usd"] is None
    # So few are good that their cost is beyond the largest number; pytest makes warnings errors.
    hopeless = asked(model="codellama-34b", accelerator="graviton2")
    assert summary(hopeless)["cost_per_good_inference_usd"] is None


def test_a_replica_is_not_put_together_from_single_device_machines() -> None:
    facts = catalog()
    for chip in ("h100-sxm", "a100-sxm-40gb", "h200-sxm", "l40s"):
        given = Scenario(
            model="llama-3.1-70b", accelerator=chip, tensor_parallel=8, scheme="int8-weight-only"
            if chip == "l40s" else "bf16",
        )  # fmt: skip
        choice = answer(given, facts).choice
        assert choice is not None and choice.instance is not None
        assert choice.instance.accelerator_count >= 8, choice.instance.id
    # Asked for by name, the network joins them, which is slower and said.
    single = next(
        instance.id for instance in facts.instances_of["h100-sxm"]
        if instance.accelerator_count == 1 and instance.tenure == "rent"
        and any(p.purchase == "on_demand" for p in facts.prices_of.get(instance.id, ()))
    )  # fmt: skip
    joined, apart = (
        answer(Scenario(model="llama-3.1-70b", tensor_parallel=8, instance=instance), facts)
        for instance in ("auto", single)
    )
    assert joined.estimate is not None and apart.estimate is not None
    assert apart.estimate.tpot > joined.estimate.tpot
    assert any("over the network" in note for note in apart.notes)
    assert not any("over the network" in note for note in joined.notes)


def test_a_chip_without_16_bit_figures_answers() -> None:
    asked = Scenario(
        accelerator="tenstorrent-blackhole-p150", scheme="fp8", engine="maker-runtime",
        device_price_usd_per_hour=1.0,
    )  # fmt: skip
    assert answer(asked, catalog()).estimate is not None
