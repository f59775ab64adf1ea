"""Zero weights, smaller layers and the training of students: against papers and measured runs."""

from __future__ import annotations

from typing import Any

import pytest

from cpi_model.catalog import catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate
from cpi_model.formulas import distillation, pruning
from cpi_model.inputs import choose, numbers, parameters, shrunk, training_cost
from cpi_model.scenario import Scenario
from cpi_model.studies import evidence, service
from cpi_model.studies.answer import answer
from cpi_model.units import BILLION, HOUR, MONTH

FACTS = catalog()


def estimate(**changes: Any) -> Estimate:
    found = answer(Scenario(**changes), FACTS)
    assert found.feasible, found.reasons
    assert found.estimate is not None
    return found.estimate


# Zero weights ------------------------------------------------------------------------------------


def test_two_of_four_takes_what_the_paper_says() -> None:
    """Mishra et al.: 16-bit weights shrink by 44 %, 8-bit weights by 38 %."""
    assert 1 - pruning.two_of_four_bytes_per_weight(2.0) / 2.0 == pytest.approx(0.44, abs=0.005)
    assert 1 - pruning.two_of_four_bytes_per_weight(1.0) == pytest.approx(0.38, abs=0.006)


def test_measured_gains_of_two_of_four_on_an_encoder() -> None:
    """BERT-base in FasterTransformer on A100, three batches and three lengths, two precisions.

    Nearly nothing at one request, a fifth to a quarter at 32: within a fifth of each.
    """
    rows = [
        row for row in evidence.evidence()
        if row.technique == "2:4" and row.model == "bert-base" and row.measure == "speedup"
    ]  # fmt: skip
    assert len(rows) == 18
    for row in rows:
        plain: dict[str, Any] = {
            "model": "bert-base", "engine": "tensorrt", "accelerator": "a100-sxm-80gb",
            "scheme": row.scheme, "concurrency": row.batch, "input_tokens": row.input_tokens,
        }  # fmt: skip
        gain = estimate(**plain, sparsity="two_of_four").throughput / estimate(**plain).throughput
        assert gain == pytest.approx(row.value, rel=0.22), row.id


def test_zeros_save_no_time_where_nothing_skips_them() -> None:
    """vLLM took its kernels for two of four out, and no GPU skips zeros anywhere."""
    plain = estimate(scheme="fp8")
    for changes in ({"sparsity": "two_of_four"}, {"sparsity": "unstructured", "zero_share": 0.9}):
        found = answer(Scenario(scheme="fp8", **changes), FACTS)
        assert found.estimate is not None
        assert found.estimate.throughput == plain.throughput
        assert found.estimate.weight_memory == plain.weight_memory
        assert found.estimate.storage_cost < plain.storage_cost
        assert any("neither memory nor time" in note for note in found.notes)


def test_zeros_save_memory_where_the_engine_unpacks_them() -> None:
    cpu: dict[str, Any] = {
        "model": "bert-large", "engine": "openvino", "accelerator": "xeon-platinum-8480plus",
        "scheme": "int8", "input_tokens": 128, "concurrency": 1,
    }  # fmt: skip
    plain, sparse = estimate(**cpu), estimate(**cpu, sparsity="unstructured", zero_share=0.8)
    assert sparse.weight_memory < 0.6 * plain.weight_memory
    assert sparse.throughput > plain.throughput


def test_a_few_zeros_are_not_worth_a_bitmap() -> None:
    plain = estimate(
        model="bert-large", engine="openvino", accelerator="xeon-platinum-8480plus",
        scheme="int8", input_tokens=128,
    )  # fmt: skip
    few = estimate(
        model="bert-large", engine="openvino", accelerator="xeon-platinum-8480plus",
        scheme="int8", input_tokens=128, sparsity="unstructured", zero_share=0.05,
    )  # fmt: skip
    assert few.weight_memory == plain.weight_memory


# Smaller layers ----------------------------------------------------------------------------------


def test_half_of_the_layers_are_half_of_the_model() -> None:
    model = FACTS.models["llama-3.1-70b"]
    whole, half = parameters(model), parameters(shrunk(model, 0.5, 1.0))
    shape = model.transformer
    assert shape is not None
    outside = shape.vocabulary * shape.hidden  # output head
    assert half.dense - outside == pytest.approx(0.5 * (whole.dense - outside))
    assert half.embedding == whole.embedding


@pytest.mark.parametrize("name", ["llama-3.1-8b", "mixtral-8x7b-v0.1", "deepseek-v3", "sdxl-1.0"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_smaller_model_is_smaller_and_never_slower(name: str, share: float) -> None:
    model = FACTS.models[name]
    for depth, width in ((share, 1.0), (1.0, share), (share, share)):
        left = parameters(shrunk(model, depth, width))
        assert left.total < parameters(model).total
        assert left.total > 0.9 * depth * width * parameters(model).total - 0.5 * BILLION


def test_a_smaller_model_serves_faster() -> None:
    whole, deep, thin = (
        estimate(**changes).throughput for changes in ({}, {"kept_depth": 0.5}, {"kept_width": 0.5})
    )
    assert 1.3 < deep / whole < 2.2
    assert 1.2 < thin / whole < 2.2


# Students ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "tokens", "published"),
    [(405e9, 15.6e12, 3.8e25), (540e9, 780e9, 2.5e24)],
    ids=["Llama 3 405B", "PaLM 540B"],
)
def test_training_takes_the_published_arithmetic(
    params: float, tokens: float, published: float
) -> None:
    assert distillation.training_flops(params, tokens) == pytest.approx(published, rel=0.03)


def test_training_takes_the_published_hours_of_devices() -> None:
    """Llama 3.1 405B: 30.84 million hours of H100 by its model card, 38 to 43 % by its paper.

    The hours hold restarts and tests as well; at a dollar an hour the cost is as many dollars.
    """
    flops = distillation.training_flops(405e9, 15.6e12)
    cost = distillation.training_cost(flops, 989.4e12, 0.40, 1.0 / HOUR)
    assert cost == pytest.approx(30.84e6, rel=0.15)


def test_a_student_carries_its_training() -> None:
    scenario = Scenario(model="llama-3.1-70b", scheme="fp8", tensor_parallel=2, student="ratio")
    choice = choose(scenario, FACTS)
    fitted = coefficients()
    price = service.training_price(scenario, choice, FACTS, fitted)
    own = training_cost(scenario, choice, fitted)
    assert 0.0 < own < price
    whole = service.resolve(scenario, choice, FACTS, fitted)
    rate = scenario.requests_per_s * scenario.success_share
    untaught = numbers(scenario, choice, fitted)
    with_it = service.estimate(whole).cost_per_inference
    without = service.estimate(service.Service(untaught)).cost_per_inference
    months = scenario.training_months * MONTH
    assert with_it - without == pytest.approx(price / months / rate, rel=1e-6)


def test_bought_answers_of_the_teacher_cost_what_is_said() -> None:
    scenario = Scenario(student="ratio", teacher_usd_per_request=0.002, training_requests=1e6)
    choice, fitted = choose(scenario, FACTS), coefficients()
    price = service.training_price(scenario, choice, FACTS, fitted)
    assert price - training_cost(scenario, choice, fitted) == pytest.approx(2000.0)
