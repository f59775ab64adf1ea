"""Sweeps: the same figures as one scenario at a time, from one call of the model."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from cpi_model.catalog import catalog
from cpi_model.evaluate import Estimate, evaluate
from cpi_model.inputs import choose, resolve
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import service, sweep
from cpi_model.studies.answer import answer
from cpi_model.studies.service import stack

FACTS = catalog()
SERVED = {
    "llm": Scenario(min_replicas=2, scaling="follow", cached_input_share=0.2),
    "moe": Scenario(
        model="mixtral-8x7b-v0.1", tensor_parallel=4, expert_parallel=2, purchase="spot",
        nonproduction_share=0.3,
    ),
    "encoder": Scenario(model="bert-large", engine="onnxruntime", items_per_request=4),
}  # fmt: skip


def three_values(name: str) -> list[Any]:
    info = FIELDS[name]
    assert info.minimum is not None and info.maximum is not None
    high = min(info.maximum, max(4 * (info.default or info.minimum or 1), 4))
    low = max(info.minimum, min(info.default or 0, high / 8))
    values = [low, (low + high) / 2, high]
    return sorted({round(v) for v in values}) if info.kind == "int" else values


def same(estimate: Estimate, index: int, alone: Estimate) -> None:
    for field in fields(Estimate):
        value = np.asarray(getattr(estimate, field.name))[index]
        assert value == pytest.approx(getattr(alone, field.name), rel=1e-12, nan_ok=True), (
            field.name
        )


@pytest.mark.parametrize("served", SERVED)
@pytest.mark.parametrize("name", [n for n, i in FIELDS.items() if i.kind in ("int", "float")])
def test_a_sweep_gives_what_each_scenario_gives(name: str, served: str) -> None:
    scenario, values = SERVED[served], three_values(name)
    found = sweep.over(scenario, name, values, FACTS)
    assert found.values == tuple(values)
    for index, value in enumerate(values):
        alone = answer(Scenario.model_validate(scenario.model_dump() | {name: value}), FACTS)
        if alone.estimate is None:
            assert found.refused[index] == " ".join(alone.reasons)
            assert sweep.reason_at(found, index) == found.refused[index]
        else:
            same(found.estimate, index, alone.estimate)
            assert bool(sweep.reason_at(found, index)) != alone.feasible
            same(found.estimate, index, sweep.at(found, index))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("model", ["llama-3.1-8b", "bert-large", "llama-3.1-405b"]),
        ("accelerator", ["l4", "h100-sxm", "a100-sxm-80gb"]),
        ("scheme", ["bf16", "fp8"]),
        ("kv_precision", ["bf16", "fp8"]),
        ("purchase", ["on_demand", "spot", "reserved_1y"]),
        ("scaling", ["peak", "follow", "fixed"]),
        ("currency", ["USD", "EUR"]),
    ],
)
def test_names_and_choices_can_be_swept(name: str, values: list[str]) -> None:
    found = sweep.over(Scenario(), name, values, FACTS)
    for index, value in enumerate(values):
        alone = answer(Scenario.model_validate(Scenario().model_dump() | {name: value}), FACTS)
        assert alone.estimate is not None
        same(found.estimate, index, alone.estimate)


def test_a_direct_field_takes_one_call_however_many_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = {"choose": 0, "evaluate": 0}

    def counted(name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            calls[name] += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(sweep, "choose", counted("choose", choose))
    monkeypatch.setattr(service, "evaluate", counted("evaluate", evaluate))
    sweep.over(Scenario(), "concurrency", range(1, 513), FACTS)
    assert calls == {"choose": 1, "evaluate": 1}
    sweep.over(Scenario(), "tensor_parallel", [1, 2, 4, 8], FACTS)
    assert calls == {"choose": 5, "evaluate": 2}


def test_stacked_inputs_are_their_rows() -> None:
    rows = [resolve(scenario, FACTS) for scenario in SERVED.values()]
    stacked = stack(rows)
    estimate = evaluate(stacked)
    for index, row in enumerate(rows):
        same(estimate, index, evaluate(row))
    one = stack([rows[0], rows[0]])
    assert np.shape(evaluate(one).cost_per_inference) == (2,)
    unknown = replace(rows[0], peak_power=float("nan"))
    assert np.shape(evaluate(stack([unknown, unknown])).energy) == (2,)


def test_values_that_cannot_be_keep_their_place() -> None:
    found = sweep.over(Scenario(), "tensor_parallel", [1, 3, 4], FACTS)
    assert list(np.asarray(found.estimate.feasible)) == [True, False, True]
    assert np.isnan(np.asarray(found.estimate.cost_per_inference)[1])
    assert "32 attention heads" in found.refused[1]  # as the model's configuration says
    assert sweep.reason_at(found, 0) == ""
    too_big = sweep.over(Scenario(), "model", ["llama-3.1-8b", "llama-3.1-70b"], FACTS)
    assert sweep.reason_at(too_big, 1) == "weights do not fit"


@pytest.mark.parametrize(
    ("field", "values", "words"),
    [
        ("nothing", [1], "no field 'nothing'"),
        ("concurrency", [0], "allowed is a whole number from 1 to 8,192"),
        ("concurrency", [1.5], "allowed is a whole number"),
        ("pue", [float("nan")], "allowed is a number from 1 to 3"),
        ("concurrency", [], "0 values"),
        ("concurrency", [1] * 1001, "1,001 values"),
        ("model", ["no-such-model"], "no model 'no-such-model'"),
    ],
)
def test_bad_sweeps_are_refused_with_what_is_allowed(
    field: str, values: list[Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        sweep.over(Scenario(), field, values, FACTS)


def test_a_scenario_that_cannot_be_looked_up_is_refused() -> None:
    with pytest.raises(ValueError, match="attention heads"):
        sweep.over(Scenario(tensor_parallel=3), "concurrency", [1, 2], FACTS)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("concurrency=1:512:log", [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]),
        ("concurrency=1:100:log", [1, 2, 4, 8, 16, 32, 64, 100]),
        ("concurrency=3:5", [3, 4, 5]),
        ("concurrency=1,2,4,8", [1, 2, 4, 8]),
        ("concurrency=64", [64]),
        ("concurrency=0x", None),
        ("tensor_parallel = 1 : 4", [1, 2, 3, 4]),
        ("target_utilisation=0.1:0.9:5", [0.1, 0.3, 0.5, 0.7, 0.9]),
        ("accelerator=l4,h100-sxm", ["l4", "h100-sxm"]),
        ("scaling=peak,follow", ["peak", "follow"]),
        ("requests_per_s=0.5:4:log", [0.5, 1, 2, 4]),
    ],
)
def test_ranges_are_read(text: str, values: list[Any] | None) -> None:
    if values is None:
        with pytest.raises(ValueError, match="allowed is"):
            sweep.parse_range(text)
    else:
        assert sweep.parse_range(text) == (text.split("=")[0].strip(), values)


def test_ranges_keep_within_bounds() -> None:
    _, values = sweep.parse_range("concurrency=1:8192")
    assert (values[0], values[-1]) == (1, 8192) and len(values) <= 64
    _, shares = sweep.parse_range("cached_input_share=0:0.99")
    assert (shares[0], shares[-1]) == (0, 0.99) and len(shares) == 21


@pytest.mark.parametrize(
    "text",
    [
        "", "=", "concurrency", "concurrency=", "concurrency=:", "concurrency=1:", "concurrency=:8",
        "concurrency=8:1", "concurrency=1:1", "concurrency=1:8:log:2", "concurrency=1:8:x",
        "concurrency=1:8:1", "concurrency=1:8:99999", "concurrency=1:8:9999999999999",
        "nothing=1:2", "concurrency=inf:9", "concurrency=1:nan",
        "concurrency=1:1e999", "model=a:b",
        "min_replicas=0:8:log", "device_price_usd_per_hour=:5", "concurrency=1,,2",
        "concurrency=" + "1," * 5000 + "1", "concurrency=1:9999",
    ],
)  # fmt: skip
def test_bad_ranges_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        sweep.parse_range(text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


def test_a_sweep_is_a_table() -> None:
    table = sweep.to_frame(sweep.over(Scenario(), "concurrency", [1, 2, 4], FACTS))
    assert list(table["concurrency"]) == [1, 2, 4]
    assert table["tpot"].is_monotonic_increasing
    assert table["throughput"].is_monotonic_increasing
    assert set(table) == {"concurrency"} | {field.name for field in fields(Estimate)}
