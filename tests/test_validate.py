"""Predictions for tables of measured runs."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cpi_model.__main__ import app
from cpi_model.catalog import catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import evaluate
from cpi_model.inputs import numbers
from cpi_model.studies import validate
from cpi_model.studies.runs import Run, pairing_of, read_run

FACTS = catalog()
CLOSED = {
    "id": "closed", "model": "llama-3.1-70b", "hardware": "h100-sxm", "engine": "vllm",
    "weight_precision": "fp8", "scenario": "closed-loop", "tensor_parallel": "4",
    "accelerators": "4", "concurrency": "16", "input_tokens": "1024", "output_tokens": "1024",
    "ttft_ms": "200", "tpot_ms": "20", "requests_per_s": "0.8", "output_tokens_per_s": "",
    "batch_size": "", "notes": "", "cost_per_1m_inferences_usd": "", "model_class": "llm",
    "latency_mean_ms": "",
}  # fmt: skip
VISION = CLOSED | {
    "id": "vision", "model": "resnet50-v1.5", "hardware": "a100-sxm-80gb", "engine": "tensorrt",
    "weight_precision": "int8", "scenario": "static-batch", "tensor_parallel": "",
    "accelerators": "1", "concurrency": "", "input_tokens": "", "output_tokens": "",
    "ttft_ms": "", "tpot_ms": "", "requests_per_s": "1000", "model_class": "vision",
}  # fmt: skip


def one(row: dict[str, str], **changes: str) -> validate.Prediction:
    return validate.validate([row | changes], FACTS).predictions[0]


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(CLOSED))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_closed_loop_obeys_littles_law() -> None:
    found = one(CLOSED)
    assert found.requests_per_s * (found.ttft + 1023 * found.tpot) == pytest.approx(16, rel=1e-9)
    assert found.output_tokens_per_s == pytest.approx(1024 * found.requests_per_s)


def test_a_run_is_estimated_as_the_app_estimates_it() -> None:
    """The same TPOT as `evaluate` gives for the scenario of the run."""
    run = read_run(CLOSED, FACTS)
    assert isinstance(run, Run)
    direct = evaluate(numbers(run.scenario, run.choice, coefficients()))
    assert one(CLOSED).tpot == pytest.approx(float(direct.tpot), rel=1e-9)


def test_twice_the_copies_serve_twice_the_load() -> None:
    single, double = one(CLOSED), one(CLOSED, accelerators="8", concurrency="32")
    assert double.requests_per_s == pytest.approx(2 * single.requests_per_s, rel=1e-9)


def test_a_static_batch_takes_its_first_token_and_the_steps_after_it() -> None:
    row = CLOSED | {"scenario": "static-batch", "batch_size": "8"}
    found, run = one(row), read_run(row, FACTS)
    assert isinstance(run, Run)
    # What other software is known for at the first token stands beside the time of the batch.
    first = found.ttft / pairing_of(run, coefficients()).first
    assert found.latency == pytest.approx(first + 1023 * found.tpot, rel=1e-9)
    assert found.requests_per_s == pytest.approx(8 / found.latency, rel=1e-9)


def test_tokens_that_are_all_alike_read_the_same_experts() -> None:
    """Published for Mixtral on two A100: 8.65, 9.09 and 9.76 ms a token at batches of 1, 4 and 16.

    Prompts of other engines are unlike each other and read most experts at 16.
    """
    row = CLOSED | {
        "model": "mixtral-8x7b-v0.1", "hardware": "a100-sxm-80gb", "weight_precision": "bf16",
        "scenario": "static-batch", "tensor_parallel": "2", "accelerators": "2",
        "concurrency": "", "input_tokens": "128", "output_tokens": "128",
    }  # fmt: skip
    alike = [one(row, engine="TensorRT-LLM 0.9.0", batch_size=size).tpot for size in ("1", "16")]
    others = [one(row, engine="vLLM 0.6.0", batch_size=size).tpot for size in ("1", "16")]
    assert alike[1] / alike[0] == pytest.approx(9.76 / 8.65, abs=0.25)
    assert others[1] / others[0] > 2.0


def test_the_best_is_no_worse_than_any_load() -> None:
    best = one(CLOSED, scenario="offline")
    limited = one(CLOSED, scenario="server", model="llama-2-70b")
    free = one(CLOSED, scenario="offline", model="llama-2-70b")
    assert best.requests_per_s > one(CLOSED).requests_per_s
    assert 0 < limited.requests_per_s <= free.requests_per_s


def test_larger_batches_are_slower_each_and_faster_together() -> None:
    found = [one(VISION, batch_size=str(batch)) for batch in (1, 8, 64)]
    assert found[0].latency < found[1].latency < found[2].latency
    assert found[0].requests_per_s < found[1].requests_per_s < found[2].requests_per_s
    assert math.isnan(found[0].ttft)


def test_a_published_cost_is_compared_at_its_price() -> None:
    """1.8 USD an hour over the throughput."""
    found = one(VISION, batch_size="8", notes="price 1.8 USD/h from the page")
    assert found.cost_per_million == pytest.approx(1.8 / 3600 / found.requests_per_s * 1e6)
    assert math.isnan(one(VISION, batch_size="8").cost_per_million)


def test_every_row_is_answered_or_counted(tmp_path: Path) -> None:
    rows = [
        CLOSED, VISION | {"batch_size": "8"}, CLOSED | {"id": "x", "model": "no-such-model"},
        CLOSED | {"id": "y", "concurrency": "many"}, CLOSED | {"id": "z", "scenario": "weekend"},
        CLOSED | {"id": "w", "input_tokens": "-5"},
    ]  # fmt: skip
    found = validate.validate(rows, FACTS)
    assert [each.id for each in found.predictions] == [row["id"] for row in rows]
    assert found.reasons["model not in the catalog"] == 1
    assert found.reasons["concurrency is not a number"] == 1
    assert found.reasons["input_tokens is negative or infinite"] == 1
    assert sum(found.reasons.values()) == 4
    for each in found.predictions:
        assert bool(each.reason) != math.isfinite(each.requests_per_s)
    errors = {(s.model_class, s.scenario, s.measure): s for s in found.summaries}
    row = errors["llm", "closed-loop", "throughput"]
    assert (row.rows, row.answered) == (4, 1)
    assert row.median == pytest.approx(abs(0.8 / found.predictions[0].requests_per_s - 1))


def test_the_command_prints_errors_and_writes_predictions(tmp_path: Path) -> None:
    alone = CLOSED | {"id": "x", "model": "no-such", "model_class": "graph"}
    points = write(tmp_path / "runs.csv", [CLOSED, alone])
    out = tmp_path / "predictions.csv"
    done = CliRunner().invoke(app, ["validate", str(points), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    assert (document["rows"], document["answered"]) == (2, 1)
    assert document["unanswered"] == {"model not in the catalog": 1}
    nothing = next(row for row in document["errors"] if row["model_class"] == "graph")
    assert (nothing["coverage"], nothing["median_error"]) == (0, None)
    with out.open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [row["id"] for row in written] == ["closed", "x"]
    assert float(written[0]["predicted_tpot_ms"]) == pytest.approx(one(CLOSED).tpot * 1e3, rel=1e-4)
    assert written[1]["predicted_tpot_ms"] == "" and written[1]["reason"]


def test_a_wrong_file_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    for name, text in (
        ("wrong.csv", "no column model, hardware, scenario"), ("binary.csv", "CSV"),
        ("none.csv", "No such file"),
    ):  # fmt: skip
        with pytest.raises(validate.UnusableTable, match=text):
            validate.read_table(tmp_path / name)


def test_missing_columns_are_allowed() -> None:
    """Three columns are enough for an answer."""
    found = one({"model": "resnet50-v1.5", "hardware": "h100-sxm", "scenario": "offline"})
    assert found.requests_per_s > 0 and not found.reason


MLPERF = CLOSED | {
    "id": "mlperf-made-up", "model": "deepseek-r1", "hardware": "b300-sxm", "accelerators": "8",
    "engine": "tensorrt-llm", "weight_precision": "nvfp4", "kv_precision": "fp8",
    "scenario": "offline", "tensor_parallel": "", "concurrency": "", "input_tokens": "800",
    "output_tokens": "", "ttft_ms": "", "tpot_ms": "", "requests_per_s": "",
    "output_tokens_per_s": "70132.3",
}  # fmt: skip


def test_latent_attention_is_copied_where_that_serves_more() -> None:
    """MLPerf Inference v6.1, NVIDIA: DeepSeek-R1 offline on 8 B300, 70,132 tokens/s.

    Split attention would hold the whole cache on every device and reach half of it.
    """
    copied, split = one(MLPERF), one(MLPERF, tensor_parallel="8")
    assert copied.output_tokens_per_s == pytest.approx(70132.3, rel=0.3)
    assert split.output_tokens_per_s < 0.7 * copied.output_tokens_per_s


def test_a_stricter_accuracy_is_software_of_its_own() -> None:
    """Of DLRM at 99 and 99.9 % of the accuracy the same hardware serves 1.7 times as much."""
    row = MLPERF | {"model": "dlrm-v2", "hardware": "h200-sxm", "engine": "tensorrt",
                    "weight_precision": "int8", "kv_precision": ""}  # fmt: skip
    loose = read_run(row | {"source": "closed/NVIDIA/results/x/dlrm-v2-99/Offline"}, FACTS)
    strict = read_run(row | {"source": "closed/NVIDIA/results/x/dlrm-v2-99.9/Offline"}, FACTS)
    assert isinstance(loose, Run) and isinstance(strict, Run)
    assert loose.software != strict.software
    predicted = [each.requests_per_s for each in validate.predict([loose, strict], coefficients())]
    # MLPerf Inference v5.1, ASUSTeK: 643,122 and 388,058 samples/s on 8 H200.
    assert predicted[0] / predicted[1] == pytest.approx(643122 / 388058, rel=0.2)
