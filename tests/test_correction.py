"""Corrections from runs of the user's own: a known factor comes back, and nothing out of little."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from cpi_model.catalog import catalog
from cpi_model.scenario import Scenario
from cpi_model.studies.correction import Correction, corrected, propose
from cpi_model.studies.validate import Prediction, validate

FACTS = catalog()
LLM = {
    "model": "llama-3.1-8b", "hardware": "h100-sxm", "engine": "vllm", "scenario": "closed-loop",
    "weight_precision": "bf16", "accelerators": "1", "input_tokens": "1000",
    "output_tokens": "250", "lengths": "mean",
}  # fmt: skip
VISION = {
    "model": "resnet50-v1.5", "hardware": "a100-sxm-80gb", "engine": "tensorrt",
    "scenario": "static-batch", "weight_precision": "int8", "accelerators": "1",
}  # fmt: skip
TEXT = Scenario()
PICTURES = Scenario(
    model="resnet50-v1.5", accelerator="a100-sxm-80gb", engine="tensorrt", scheme="int8"
)


def predicted(rows: Sequence[Mapping[str, str]]) -> list[Prediction]:
    return validate(rows, FACTS).predictions


def measured(
    step: float, first: float, counts: tuple[int, ...] = (1, 4, 16, 64)
) -> list[dict[str, str]]:
    """Runs that took so many times what is estimated for them."""
    rows = [LLM | {"id": f"{count}", "concurrency": str(count)} for count in counts]
    # With a slower step the estimate of the first token is another: it is asked for again.
    slower = Scenario(step_time_correction=step)
    found = []
    for row, plain in zip(rows, predicted(rows), strict=True):
        again = _estimate(slower, int(row["concurrency"]))
        tpot, ttft = plain.tpot * step, again * first
        whole = ttft + 249 * tpot
        found.append(
            row
            | {
                "tpot_ms": f"{tpot * 1e3:.9g}", "ttft_ms": f"{ttft * 1e3:.9g}",
                "requests_per_s": f"{int(row['concurrency']) / whole:.9g}",
            }
        )  # fmt: skip
    return found


def _estimate(scenario: Scenario, concurrency: int) -> float:
    """Time to first token as the app estimates it."""
    from cpi_model.studies.answer import answer

    found = answer(scenario.model_copy(update={"concurrency": concurrency}), FACTS).estimate
    assert found is not None
    return float(found.ttft)


@pytest.mark.parametrize(("step", "first"), [(1.3, 1.0), (1.0, 1.6), (0.9, 2.5), (2.2, 0.8)])
def test_known_factors_come_back(step: float, first: float) -> None:
    found = propose(measured(step, first), TEXT, FACTS)
    assert found.reason == "" and found.runs == 4
    assert found.changes["step_time_correction"] == pytest.approx(step, rel=5e-3)
    assert found.changes["first_token_correction"] == pytest.approx(first, rel=2e-2)
    for each in found.improvements:
        assert each.after < 0.02 and each.after <= each.before + 0.005
    assert {each.measure for each in found.improvements} == {
        "time per token", "time to first token", "throughput",
    }  # fmt: skip


def test_one_odd_run_moves_little() -> None:
    rows = measured(1.2, 1.0, (1, 2, 4, 8, 16, 32, 64))
    rows[3] = rows[3] | {"tpot_ms": "900"}
    found = propose(rows, TEXT, FACTS)
    assert found.changes["step_time_correction"] == pytest.approx(1.2, rel=5e-3)


def test_batches_are_corrected_by_their_throughput() -> None:
    rows = [VISION | {"batch_size": str(size)} for size in (1, 8, 64)]
    half = [
        row | {"requests_per_s": f"{each.requests_per_s / 2:.9g}"}
        for row, each in zip(rows, predicted(rows), strict=True)
    ]
    found = propose(half, PICTURES, FACTS)
    assert found.changes == {"step_time_correction": 2.0, "first_token_correction": 1.0}
    (each,) = found.improvements
    assert (each.before, each.after) == pytest.approx((0.5, 0.0), abs=1e-6)


def test_fewer_than_three_runs_propose_nothing() -> None:
    found = propose(measured(1.3, 1.0)[:2], TEXT, FACTS)
    assert found.changes == {} and found.runs == 2
    assert "H100" in found.reason and "here are 2" in found.reason


def test_runs_on_other_hardware_engines_and_models_do_not_count() -> None:
    rows = measured(1.3, 1.0)
    for other in (
        Scenario(accelerator="h200-sxm"), Scenario(engine="sglang"), PICTURES,
        Scenario(model="no-such-model"),
    ):  # fmt: skip
        assert propose(rows, other, FACTS) == Correction(
            {}, 0, reason=propose([], other, FACTS).reason
        )


def test_what_is_too_far_off_is_no_correction() -> None:
    rows = [row | {"tpot_ms": "90000"} for row in measured(1.0, 1.0)]
    found = propose(rows, TEXT, FACTS)
    assert found.changes == {} and "0.2 to 5" in found.reason


def test_without_first_tokens_only_the_step_is_corrected() -> None:
    rows = [row | {"ttft_ms": ""} for row in measured(1.5, 1.0)]
    found = propose(rows, TEXT, FACTS)
    assert found.changes["first_token_correction"] == 1.0
    assert found.changes["step_time_correction"] == pytest.approx(1.5, rel=5e-3)
    assert all(math.isfinite(each.after) for each in found.improvements)


def test_runs_on_the_scenarios_hardware_are_estimated_with_its_correction() -> None:
    scenario = TEXT.model_copy(update={"step_time_correction": 1.3})
    here = LLM | {"concurrency": "16"}
    rows = [here, here | {"hardware": "h200-sxm"}, here | {"engine": "sglang"}]
    plain, slower = predicted(rows), predicted(corrected(rows, scenario))
    assert slower[0].tpot == pytest.approx(1.3 * plain[0].tpot)
    assert [each.tpot for each in slower[1:]] == [each.tpot for each in plain[1:]]
