"""The fit: what it reads, what it recovers, and that it cannot beat the datasheet."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpi_model.catalog import catalog, data_folder
from cpi_model.coefficients import coefficients, load, pairing_names
from cpi_model.evaluate import evaluate, performance
from cpi_model.inputs import resolve
from cpi_model.scenario import Scenario
from cpi_model.studies import calibrate
from cpi_model.studies import runs as measured
from cpi_model.studies.validate import read_table

FACTS = catalog()
ROW = {
    "id": "one", "model": "llama-3.1-70b", "hardware": "h100-sxm", "engine": "vllm",
    "weight_precision": "fp8", "scenario": "closed-loop", "tensor_parallel": "4",
    "accelerators": "4", "concurrency": "16", "input_tokens": "1024", "output_tokens": "1024",
    "ttft_ms": "200", "tpot_ms": "20", "requests_per_s": "0.8",
}  # fmt: skip


def read(**changes: str) -> measured.Run:
    run = measured.read_run(ROW | changes, FACTS)
    assert not isinstance(run, str), run
    return run


def ways(**changes: str) -> tuple[int, int, int]:
    found = read(hardware="b200-sxm", **changes).scenario
    return found.tensor_parallel, found.data_parallel, found.expert_parallel


def test_devices_that_a_collection_counts_twice_are_counted_once() -> None:
    """4 tensor ways, with the experts over the same 4 devices, were published as 16 devices."""
    moe = {"model": "deepseek-r1", "engine": "sglang", "accelerators": "16"}
    twice = {"tensor_parallel": "16", "expert_parallel": "4", "moe_tensor_parallel": "4"}
    assert ways(**moe, **twice) == (4, 1, 4)
    copies = {"tensor_parallel": "1", "data_parallel": "16", "expert_parallel": "4"}
    assert ways(**moe, **copies, moe_tensor_parallel="4") == (1, 4, 4)
    square = {"tensor_parallel": "2", "data_parallel": "2", "expert_parallel": "4"}
    assert ways(**moe, **square, moe_tensor_parallel="1") == (2, 1, 2)


def test_devices_that_are_really_there_stay() -> None:
    moe = {"model": "deepseek-r1", "engine": "sglang", "accelerators": "8"}
    split = {"tensor_parallel": "8", "expert_parallel": "2", "moe_tensor_parallel": "4"}
    assert ways(**moe, **split) == (8, 1, 2)
    copies = {"tensor_parallel": "1", "data_parallel": "8", "expert_parallel": "8"}
    assert ways(**moe, **copies, moe_tensor_parallel="1") == (1, 8, 8)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "no-such"}, "model not in the catalog"),
        ({"hardware": "no-such"}, "hardware not in the catalog"),
        ({"weight_precision": "fp13"}, "precision not known"),
    ],
)
def test_what_cannot_be_read_says_why(changes: dict[str, str], reason: str) -> None:
    assert measured.read_run(ROW | changes, FACTS) == reason


def test_models_of_one_architecture_share_what_was_measured() -> None:
    chip = FACTS.accelerators["b200-sxm"]
    names = [
        pairing_names(FACTS.models[name], chip, "sglang", "fp8")
        for name in ("deepseek-v3", "deepseek-r1")
    ]
    assert names[0] == names[1]


def made_up(path: Path) -> None:
    """Runs of a world in which steps take 1.5 times as long as here and prompts 0.8 times."""
    rows = []
    for model, devices in (("llama-3.1-70b", 4), ("llama-3.1-8b", 1), ("qwen3-32b", 2)):
        for concurrency in (1, 4, 16, 64):
            for tokens in (512, 2048):
                row = ROW | {
                    "id": f"{model}-{concurrency}-{tokens}", "model": model,
                    "tensor_parallel": str(devices), "accelerators": str(devices),
                    "concurrency": str(concurrency), "input_tokens": str(tokens),
                }  # fmt: skip
                run = measured.read_run(row, FACTS)
                assert not isinstance(run, str)
                x = measured.stack([run], coefficients())
                x = replace(
                    x, fixed_factor=np.array([1.5]), sequence_factor=np.array([1.5]),
                    prompt_factor=np.array([0.8]),
                )  # fmt: skip
                speed = performance(x)
                ttft, tpot = float(np.asarray(speed.ttft)[0]), float(np.asarray(speed.tpot)[0])
                row["ttft_ms"], row["tpot_ms"] = str(ttft * 1000), str(tpot * 1000)
                row["requests_per_s"] = str(concurrency / (ttft + 1023 * tpot))
                rows.append(row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(ROW))
        writer.writeheader()
        writer.writerows(rows)


def test_a_fit_finds_the_world_that_made_its_runs(tmp_path: Path) -> None:
    made_up(tmp_path / "runs.csv")
    runs, left_out = measured.read_runs(read_table(tmp_path / "runs.csv"), FACTS)
    assert len(runs) == 24 and not left_out
    fit = calibrate.Fit(runs, coefficients())
    third = np.arange(len(runs)) % 3 == 0
    out, rest = np.flatnonzero(third), np.flatnonzero(~third)
    before = fit.predict(np.zeros(fit.design.size), out)
    after = fit.predict(fit.run(rest), out)
    for name in ("tpot", "throughput"):
        assert np.median(np.abs(after[name])) < 0.05 < np.median(np.abs(before[name])), name
        assert np.max(np.abs(after[name])) < 0.2, name


def test_a_fit_is_the_same_every_time(tmp_path: Path) -> None:
    made_up(tmp_path / "runs.csv")
    runs, _ = measured.read_runs(read_table(tmp_path / "runs.csv"), FACTS)
    rows = np.arange(len(runs))
    first, second = (calibrate.Fit(runs, coefficients()).run(rows) for _ in range(2))
    assert np.array_equal(first, second)


@settings(max_examples=60, deadline=None)
@given(
    factor=st.floats(0.05, 5.0), concurrency=st.integers(1, 512), tokens=st.integers(1, 8192),
    model=st.sampled_from(["llama-3.1-8b", "gpt-oss-20b"]),
)  # fmt: skip
def test_no_factor_beats_the_datasheet(
    factor: float, concurrency: int, tokens: int, model: str
) -> None:
    """One step reads every dense weight and each sequence's cache, and multiplies by them."""
    scenario = Scenario(
        model=model, concurrency=concurrency, input_tokens=tokens, output_tokens=64,
        scheme="bf16" if model == "llama-3.1-8b" else "mxfp4-experts",
    )  # fmt: skip
    x = replace(
        resolve(scenario, FACTS), fixed_factor=factor, sequence_factor=factor,
        prompt_factor=factor,
    )  # fmt: skip
    speed = performance(x)
    assert speed.decode_step_time >= x.dense_bytes / x.memory_bandwidth * (1 - 1e-9)
    assert speed.decode_step_time >= speed.running * 2 * x.dense_params / x.peak_flops * (1 - 1e-9)
    assert speed.prefill_time >= tokens * 2 * x.dense_params / x.peak_flops * (1 - 1e-9)
    parts = (
        speed.step_compute + speed.step_weights + speed.step_cache + speed.step_network
        + speed.step_overhead
    )  # fmt: skip
    assert parts == pytest.approx(speed.decode_step_time, rel=1e-9)


@pytest.mark.parametrize("field", ["memory_bandwidth", "peak_flops", "link_bandwidth"])
def test_more_hardware_is_never_slower(field: str) -> None:
    for name, devices in (("llama-3.1-70b", 4), ("deepseek-r1", 8)):
        scenario = Scenario(
            model=name, tensor_parallel=devices, accelerator="h200-sxm", scheme="fp8"
        )
        x = resolve(scenario, FACTS)
        faster = replace(x, **{field: getattr(x, field) * np.array([1.0, 1.5, 4.0])})
        assert np.all(np.diff(np.asarray(evaluate(faster).tpot)) <= 0), (name, field)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3"])
def test_more_requests_wait_longer_and_give_more(name: str) -> None:
    devices = 8 if name == "deepseek-v3" else 1
    scenario = Scenario(
        model=name, tensor_parallel=devices, accelerator="h200-sxm",
        scheme="fp8" if devices > 1 else "bf16",
    )  # fmt: skip
    x = resolve(scenario, FACTS)
    speed = evaluate(replace(x, concurrency=np.arange(1.0, 129.0)))
    assert np.all(np.diff(np.asarray(speed.tpot)) > 0)
    assert np.all(np.diff(np.asarray(speed.throughput)) > 0)


def test_a_wrong_file_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert calibrate.main([str(tmp_path / "wrong.csv")]) == 2
    assert "wrong.csv has no column model" in capsys.readouterr().err
    assert calibrate.main([str(tmp_path / "missing.csv")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_images_of_other_widths_are_more_work() -> None:
    """timm counts 4.1 G multiply-adds for ResNet-101's 160 pixels wide images, 7.8 at 224."""
    row = ROW | {
        "model": "resnet101", "engine": "pytorch-eager", "scenario": "offline",
        "batch_size": "64", "tensor_parallel": "", "weight_precision": "fp16",
    }  # fmt: skip
    small = measured.read_run(row | {"notes": "image 160x160"}, FACTS)
    usual = measured.read_run(row | {"notes": "image 224x224"}, FACTS)
    assert not isinstance(small, str) and not isinstance(usual, str)
    assert small.scenario.work_scale == pytest.approx(8.0 / 15.66, rel=0.01)
    assert usual.scenario.work_scale == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "software"),
    [
        ("TensorRT 10.8.0.43", "tensorrt"), ("tensorrt", "tensorrt"),
        ("DeepLearningExamples TensorFlow +XLA", "deeplearningexamples tensorflow +xla"),
    ],
)  # fmt: skip
def test_releases_of_one_software_are_one(name: str, software: str) -> None:
    row = ROW | {"model": "bert-large", "engine": name, "scenario": "static-batch"}
    run = measured.read_run(row | {"batch_size": "8", "tensor_parallel": ""}, FACTS)
    assert not isinstance(run, str)
    assert run.software == software


def test_what_the_fit_writes_is_what_is_read(tmp_path: Path) -> None:
    folder, shipped = tmp_path / "coefficients", coefficients()
    folder.mkdir()
    document = shipped.model_dump(exclude={"assumptions"})
    calibrate._write(document, folder)
    assumptions = (data_folder() / "coefficients" / "assumptions.toml").read_text("utf-8")
    (folder / "assumptions.toml").write_text(assumptions, "utf-8")
    assert load(tmp_path) == shipped
