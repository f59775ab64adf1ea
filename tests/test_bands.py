"""Likely ranges: as wide as measured runs are apart, around the estimate, and honest about it."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

from cpi_model.catalog import catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import evaluate
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import bands, sweep
from cpi_model.studies.answer import Answer, answer
from cpi_model.studies.bands import Band

FACTS = catalog()
FOLLOW = {"scaling": "follow", "requests_per_s": 500.0}
SCENARIOS: dict[str, dict[str, Any]] = {
    "llm": {},
    "follow": FOLLOW,
    "fixed": {"scaling": "fixed", "fixed_replicas": 4},
    "waiting": {"concurrency": 2048, "input_tokens": 4000},
    "cached": {"cached_input_share": 0.4, **FOLLOW},
    "one token": {"output_tokens": 1},
    "moe": {"model": "mixtral-8x7b-v0.1", "tensor_parallel": 4, "data_parallel": 2},
    "shared": {"instance": "aws/p5.48xlarge", "scaling": "follow", "requests_per_s": 6.0},
    "encoder": {"model": "bert-large", "engine": "onnxruntime", "input_tokens": 384},
    "diffusion": {"model": "sdxl-1.0", "engine": "pytorch-eager", "concurrency": 4},
    "trees": {
        "model": "gbt-fraud-500x8", "engine": "treelite", "scheme": "fp32",
        "accelerator": "xeon-platinum-8488c",
    },
}  # fmt: skip
TOKENS = [name for name in SCENARIOS if name not in ("encoder", "diffusion", "trees")]


@cache
def asked(name: str) -> Answer:
    found = answer(Scenario(**SCENARIOS[name]), FACTS)
    assert found.feasible, found.reasons
    return found


def ranges(name: str) -> dict[str, Band]:
    return {figure: band for figure, band in bands.of(asked(name)).items() if band is not None}


def middle(name: str, figure: str) -> float:
    return float(getattr(asked(name).estimate, figure))


def pairing(name: str) -> tuple[str, str]:
    """Kind of the runs and whether their pairing was measured, as the file names them."""
    choice, fitted = asked(name).choice, coefficients()
    assert choice is not None
    model = choice.model.architecture_of or choice.model.id
    known = f"{model}/{choice.accelerator.id}/{choice.engine.id}" in fitted.pairings
    return choice.model.model_class, "known" if known else "unseen"


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_estimate_lies_in_every_range(name: str) -> None:
    found = ranges(name)
    assert bool(found) == (name != "trees")  # none was measured
    for figure, band in found.items():
        assert 0 <= band.low <= middle(name, figure) <= band.high, figure
        assert band.rows > 0


@pytest.mark.parametrize("name", TOKENS)
def test_ranges_are_those_of_measured_over_estimated(name: str) -> None:
    """Where the datasheet does not end it first, as it does for the fast cases of few requests."""
    found, (kind, part) = ranges(name), pairing(name)
    for figure in ("throughput", "ttft", "tpot"):
        band, spread = found[figure], coefficients().residuals[f"{kind}/{figure}/{part}"]
        fast, slow = (band.low, band.high) if figure != "throughput" else (band.high, band.low)
        limits = sorted((spread.p10_ratio, spread.p90_ratio), reverse=figure == "throughput")
        assert slow / middle(name, figure) == pytest.approx(limits[1], rel=1e-9)
        assert abs(fast / middle(name, figure) - 1) <= abs(limits[0] - 1) + 1e-9
        assert (band.rows, band.measured) == (spread.rows, part == "known")


@pytest.mark.parametrize("name", TOKENS)
def test_latency_is_requests_in_flight_over_throughput(name: str) -> None:
    """Little's law holds at both ends of the ranges as it does in the middle."""
    found, e = ranges(name), asked(name).estimate
    assert e is not None
    for low, high in ((found["latency_mean"].low, found["throughput"].high),
                      (found["latency_mean"].high, found["throughput"].low)):  # fmt: skip
        assert low * high == pytest.approx(asked(name).scenario.concurrency, rel=1e-9)


def test_a_measured_pairing_has_narrower_ranges() -> None:
    """On the slow side, for models on chips of which some were measured together."""
    widths: dict[tuple[str, bool], list[float]] = {}
    for name in ("llama-3.3-70b", "llama-3.1-70b", "gpt-oss-120b", "deepseek-r1"):
        for chip in ("h100-sxm", "h200-sxm", "b200-sxm", "mi300x", "l40s", "a100-sxm-80gb"):
            basis = Scenario(
                model=name, accelerator=chip, tensor_parallel=8, scheme="fp8",
                device_price_usd_per_hour=1.0, **FOLLOW,
            )  # fmt: skip
            result = answer(basis, FACTS)
            if not result.feasible:
                continue
            found = bands.of(result)
            for figure in ("throughput", "ttft", "tpot", "cost_per_inference", "latency_p95"):
                band = found[figure]
                assert band is not None and result.estimate is not None
                # The datasheet may end the fast side.
                value = getattr(result.estimate, figure)
                ratio = value / band.low if figure == "throughput" else band.high / value
                widths.setdefault((figure, band.measured), []).append(ratio)
    for figure, measured in widths:
        if measured:
            assert max(widths[figure, True]) < min(widths[figure, False])
    assert {measured for _, measured in widths} == {True, False}


def test_where_all_is_rent_the_cost_moves_with_the_speed() -> None:
    """Half the throughput is twice the cost per inference; nothing else is paid for here."""
    nothing = {
        name: 0
        for name, info in FIELDS.items()
        if info.group == "overheads" and info.minimum == 0
        and name not in ("agent_share", "platform_share")
    }  # fmt: skip
    scenario = Scenario(**nothing, **FOLLOW, agent_share=0.2, platform_share=0.3)
    result = answer(scenario, FACTS)
    found, e = bands.of(result), result.estimate
    assert e is not None
    speed = found["throughput"]
    assert speed is not None
    for figure in ("cost_per_inference", "marginal_cost_per_inference"):
        cost, value = found[figure], float(getattr(e, figure))
        assert cost is not None
        assert cost.low == pytest.approx(value * e.throughput / speed.high, rel=1e-9)
        assert cost.high == pytest.approx(value * e.throughput / speed.low, rel=1e-9)


def test_what_is_paid_by_the_request_does_not_move() -> None:
    """A dollar a request for people on call shifts both ends by a dollar."""
    month = 730 * 3600
    plain = Scenario(success_share=1.0, **FOLLOW)
    dear = plain.model_copy(update={"on_call_usd_per_month": plain.requests_per_s * month / 10})
    before, after = (
        bands.of(answer(scenario, FACTS))["cost_per_inference"] for scenario in (plain, dear)
    )
    assert before is not None and after is not None
    assert after.low - before.low == pytest.approx(0.1, rel=1e-9)
    assert after.high - before.high == pytest.approx(0.1, rel=1e-9)


def test_a_fixed_number_of_replicas_costs_the_same_at_any_speed() -> None:
    found = ranges("fixed")
    cost = found["cost_per_inference"]
    assert cost.low == pytest.approx(cost.high, rel=1e-12)
    for figure in ("latency_mean", "latency_p95", "ttft", "tpot", "throughput"):
        assert found[figure].high > 1.1 * found[figure].low


def test_the_least_number_of_replicas_costs_the_same_at_any_speed() -> None:
    found = bands.of(answer(Scenario(requests_per_s=0.01), FACTS))
    cost, marginal = found["cost_per_inference"], found["marginal_cost_per_inference"]
    assert cost is not None and marginal is not None
    assert cost.low == pytest.approx(cost.high, rel=1e-12)
    # One more request on a full replica is the dearer the slower the replica.
    assert marginal.high > 1.1 * marginal.low


def test_replicas_that_would_not_keep_up_still_have_ranges() -> None:
    """Of a fixed number that is estimated to serve the peak with nothing to spare."""
    capacity = middle("llm", "throughput")
    scenario = Scenario(
        scaling="fixed", fixed_replicas=2, peak_to_mean=1.0, requests_per_s=1.999 * capacity
    )
    found = bands.of(answer(scenario, FACTS))
    for figure in ("throughput", "latency_mean", "cost_per_inference"):
        band = found[figure]
        assert band is not None and math.isfinite(band.low) and math.isfinite(band.high)


def test_no_case_is_faster_than_the_datasheet() -> None:
    """Reading all weights once, at the bandwidth that the maker prints."""
    result = answer(Scenario(concurrency=1), FACTS)
    chip = FACTS.accelerators["h100-sxm"]
    assert result.inputs is not None and chip.memory_bandwidth_gb_per_s is not None
    always = np.array([1.0, 1.0, 1e-6, 1.0, 1e-6, 1.0, 1e-6])
    cases = evaluate(bands.in_all_cases(result.inputs, always))
    floor = result.inputs.dense_bytes / (chip.memory_bandwidth_gb_per_s * 1e9)
    assert (np.asarray(cases.tpot) >= floor).all()
    assert np.asarray(cases.tpot).min() < 1.1 * floor


@pytest.mark.parametrize("changes", [
    {"model": "llama-3.1-70b"}, {"model": "no-such-model"},
    {"scaling": "fixed", "requests_per_s": 1e4},
])  # fmt: skip
def test_what_cannot_be_has_no_ranges(changes: dict[str, Any]) -> None:
    found = bands.of(answer(Scenario(**changes), FACTS))
    assert set(found) == set(bands.MOVES_WITH) and set(found.values()) == {None}


def test_what_a_model_does_not_have_has_no_range() -> None:
    encoder, plain = bands.of(asked("encoder")), bands.of(asked("llm"))
    for figure in ("tpot", "output_tokens_per_s", "input_token_cost", "output_token_cost"):
        assert encoder[figure] is None
        assert plain[figure] is not None
    assert plain["cached_token_cost"] is None and bands.of(asked("cached"))["cached_token_cost"]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("concurrency", [1, 8, 32, 512]),
        ("tensor_parallel", [1, 3, 2]),
        ("model", ["llama-3.1-8b", "bert-large", "llama-3.1-405b"]),
        ("accelerator", ["l4", "h100-sxm", "gaudi3"]),
    ],
)
def test_a_sweep_has_the_ranges_of_each_value(field: str, values: list[Any]) -> None:
    scenario = Scenario(**FOLLOW)
    found = sweep.over(scenario, field, values, FACTS)
    for index, value in enumerate(values):
        alone = bands.of(answer(scenario.model_copy(update={field: value}), FACTS))
        for figure, band in alone.items():
            low, high = (float(end[index]) for end in found.likely[figure])
            if band is None:
                assert math.isnan(low) or not high > 0
            else:
                assert (low, high) == pytest.approx((band.low, band.high), rel=1e-12)
