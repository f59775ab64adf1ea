"""Measured effects of compression: what is in the data, what is refused, what follows from it."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cpi_model.__main__ import app
from cpi_model.catalog import CatalogError, catalog, data_folder
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import performance
from cpi_model.inputs import choose, expands_weights, resolve
from cpi_model.scenario import Scenario
from cpi_model.schema import EFFECTS, SPARSE, TECHNIQUES, Evidence
from cpi_model.studies import effects, evidence

FACTS = catalog()
ROWS = evidence.evidence()
COMPARISON = effects.compare()
SERVED = Scenario(engine="tensorrt-llm", device_price_usd_per_hour=1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped evidence that a test may spoil."""
    shutil.copytree(data_folder() / "evidence", tmp_path / "evidence")
    return tmp_path


# --- what is there ----------------------------------------------------------------------------


def test_enough_rows_of_every_technique() -> None:
    assert len(ROWS) >= 400
    techniques = Counter(row.technique for row in ROWS)
    assert set(TECHNIQUES) <= set(techniques)
    for scheme in ("int8", "fp8", "int4-awq", "int4-gptq", "int4-g32", "int4-g64", "int8-gptq",
                   "int8-weight-only", "w4a8-awq", "gguf-q4-k-m", "gguf-q6-k"):  # fmt: skip
        assert techniques[scheme] > 0, scheme
    assert {row.measure for row in ROWS} == set(EFFECTS)
    assert {row.model_class for row in ROWS} >= {"llm", "encoder", "vision", "diffusion", "speech"}


def test_every_row_names_its_source_and_day() -> None:
    assert all(row.source and row.accessed for row in ROWS)
    assert len({row.source for row in ROWS}) >= 25


def test_percentages_and_inverted_ratios_would_stand_out() -> None:
    for row in ROWS:
        if row.measure == "quality_retained":
            assert 0.5 < row.value <= 1.5, row.id
        if row.measure == "perplexity_ratio":
            assert row.value > 0.95, row.id
        if row.measure == "size_ratio" and row.technique in FACTS.schemes:
            scheme = FACTS.schemes[row.technique]
            # At least the bits of the weights themselves, of 16.
            assert scheme.weight_bits / 16.0 <= row.value < 1.0, row.id


def test_sizes_follow_from_the_schemes() -> None:
    """Stored size of Llama 3 70B in llama.cpp's formats, from published files."""
    for row in ROWS:
        if row.measure == "size_ratio" and row.technique.startswith("gguf-q"):
            scheme = FACTS.schemes[row.technique]
            scales = (scheme.scale_bits + scheme.zero_point_bits) / scheme.group_size
            bits = scheme.weight_bits + scales
            # Mixtures of formats differ between models of 7 and of 70 billion parameters.
            assert bits / 16.0 == pytest.approx(row.value, rel=0.13), row.id


# --- what is refused --------------------------------------------------------------------------

GOOD = next(row for row in ROWS if row.technique == "int8" and row.measure == "quality_retained")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"value": 97.0}, "must be a share of the baseline's score"),
        ({"metric": ""}, "metric must be given with quality_retained"),
        ({"technique": "2:4", "scheme": None}, "sparsity_share must be given with 2:4"),
        ({"processes": 14, "batch": None}, "batch must be given with processes"),
        ({"value": 0.0}, "greater than 0"),
        ({"measure": "accuracy"}, "Input should be 'speedup'"),
        ({"speed": 2.0}, "Extra inputs are not permitted"),
        ({"value": math.nan}, "finite"),
    ],
)
def test_bad_rows_are_refused_with_a_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Evidence.model_validate(GOOD.model_dump() | changes)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("technique", "int5", "technique names 'int5', which is not there"),
        ("baseline_scheme", "fp16", "baseline_scheme names 'fp16', which is not there"),
        ("hardware", "h100", "hardware names 'h100', which is not there; nearest: h100-"),
        ("engine", "tensort", "engine names 'tensort', which is not there; nearest: tensorrt"),
        ("scheme", "fp8", "scheme is 'fp8', must be 'int8'"),
        ("model_class", "vision", "model_class is 'vision', must be 'llm'"),
        ("params_b", "7", "params_b is 7.0, must be"),
        ("value", "", "value: Field required"),
    ],
)
def test_names_that_are_not_there_are_refused(
    folder: Path, field: str, value: str, sentence: str
) -> None:
    path = folder / "evidence" / "quality.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    spoiled = next(
        row for row in rows if row["technique"] == "int8" and row["model"] == "llama-2-70b"
    )
    spoiled[field] = value
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(CatalogError) as refused:
        evidence.load(folder)
    assert sentence in str(refused.value)
    assert spoiled["id"] in str(refused.value) and "evidence/quality.csv" in str(refused.value)


def test_an_id_is_not_used_twice(folder: Path) -> None:
    shutil.copy(folder / "evidence" / "distillation.csv", folder / "evidence" / "again.csv")
    with pytest.raises(CatalogError, match="must be unique"):
        evidence.load(folder)


# --- quality ----------------------------------------------------------------------------------


def within(found: evidence.Range | None, value: float) -> bool:
    return found is not None and found.low <= value <= found.high


def test_quality_agrees_with_papers() -> None:
    # DistilBERT, arXiv 1910.01108, abstract: retains 97 % of BERT's language understanding.
    student = evidence.quality("distillation", FACTS.model("distilbert")).retained
    assert within(student, 0.97)
    # AWQ, arXiv 2306.00978, table 4, INT4 in groups of 128, WikiText-2.
    for model, before, after in (
        ("llama-2-7b", 5.47, 5.60), ("llama-2-13b", 4.88, 4.97), ("llama-2-70b", 3.32, 3.41),
    ):  # fmt: skip
        found = evidence.quality("int4-awq", FACTS.model(model)).perplexity
        assert found is not None
        assert found.low - 0.006 <= after / before <= found.high + 0.006, model
    # LLM.int8(), arXiv 2208.07339, abstract: 8 bits without performance degradation.
    assert within(evidence.quality("int8", FACTS.model("llama-3.1-8b")).retained, 1.0)


def test_small_models_lose_more_in_four_bits() -> None:
    """As k-bit scaling laws say (arXiv 2212.09720) and Qwen's own tables show."""
    small, large = (
        evidence.quality("int4-gptq", FACTS.model(id)).retained
        for id in ("qwen2.5-0.5b", "qwen2.5-72b")
    )
    assert small is not None and large is not None
    assert small.median < large.median


def test_the_nearest_rows_are_taken() -> None:
    own = evidence.quality("int8", FACTS.model("resnet50-v1.5")).retained
    assert own is not None and own.level == "of this model"
    similar = evidence.quality("int4-gptq", FACTS.model("llama-3.1-8b")).retained
    assert similar is not None and similar.level == "of such models of similar size"
    kin = evidence.quality("int8-weight-only", FACTS.model("llama-3.1-8b")).retained
    assert kin is not None and "by int8-gptq" in kin.level
    assert own.rows >= evidence.ENOUGH and own.sources


def test_unknown_stays_unknown() -> None:
    model = FACTS.model("llama-3.1-8b")
    assert evidence.quality("nvfp4", model).retained is None
    assert evidence.quality("speculative-decoding", model).retained is None
    together = evidence.quality(("int8", "nvfp4"), model)
    assert together.retained is None and together.note


def test_only_the_reference_retains_everything_by_definition() -> None:
    model = FACTS.model("llama-3.1-8b")
    for scheme in evidence.REFERENCE:
        found = evidence.quality(scheme, model).retained
        assert found is not None and (found.low, found.median, found.high) == (1.0, 1.0, 1.0)
        assert found.rows == 0
    native = evidence.quality("mxfp4-experts", FACTS.model("gpt-oss-20b")).retained
    assert native is not None and native.median == 1.0


def test_losses_of_several_techniques_are_multiplied() -> None:
    model = FACTS.model("bert-base")
    parts = [evidence.quality(name, model).retained for name in ("int8", "unstructured")]
    both = evidence.quality(("int8", "unstructured"), model).retained
    assert both is not None
    for end in ("low", "median", "high"):
        assert getattr(both, end) == pytest.approx(math.prod(getattr(p, end) for p in parts))
    assert evidence.quality(("bf16", "int8"), model).retained == parts[0]


def test_more_zeros_are_asked_for_with_a_share() -> None:
    model = FACTS.model("bert-base")
    some = evidence.quality("structured", model, sparsity_share=0.8).retained
    dense = [row for row in ROWS if row.technique == "structured" and
             (row.sparsity_share or 0) >= 0.8]  # fmt: skip
    assert some is not None and some.rows <= len(dense)
    assert all(row.sparsity_share for row in ROWS if row.technique in SPARSE)


# --- speedups ---------------------------------------------------------------------------------


def test_speedups_widen_step_by_step() -> None:
    chip = FACTS.accelerator("h200-sxm")
    near = evidence.speedups("int4-awq", "llm", chip, batch=8, baseline="bf16")
    assert near is not None and near.spread.level == "on such chips at about this batch"
    assert all(row.baseline_scheme == "bf16" for row in near.rows)
    other = evidence.speedups("int4-awq", "llm", FACTS.accelerator("mi300x"), baseline="bf16")
    assert other is not None and other.spread.level == "on gpus"
    cpu = evidence.speedups("int4-awq", "llm", FACTS.accelerator("xeon-platinum-8490h"), 1, "bf16")
    assert cpu is not None and cpu.spread.level == "on cpus, by int4"
    assert evidence.speedups("nvfp4", "llm", chip) is None


def test_sparsity_is_no_gain_at_a_batch_of_one() -> None:
    """FasterTransformer's own tables: 2:4 is slower than dense for one sequence."""
    found = evidence.speedups("2:4", "encoder", FACTS.accelerator("a100-sxm-80gb"), batch=1)
    assert found is not None and found.spread.low < 1.0


# --- predicted against measured ---------------------------------------------------------------


def test_four_of_five_groups_are_within_a_fifth() -> None:
    assert len(COMPARISON.groups) >= 20
    assert sum(group.rows for group in COMPARISON.groups) >= 200
    assert COMPARISON.share_met >= 0.8


def test_every_row_is_compared_or_counted() -> None:
    compared = sum(group.rows for group in COMPARISON.groups)
    assert compared + sum(COMPARISON.left_out.values()) == len(ROWS)


def test_every_prediction_outside_the_measured_range_says_why() -> None:
    for group in COMPARISON.groups:
        assert bool(group.note) == (not group.inside), group.key


def test_explanations_are_of_groups_that_need_one() -> None:
    groups = {group.key: group for group in COMPARISON.groups}
    for key in effects.explanations():
        assert key in groups and not groups[key].met, key


def test_the_fit_is_as_good_as_it_says() -> None:
    stated = coefficients().compression
    assert stated.met_share == pytest.approx(COMPARISON.share_met, abs=1e-3)
    assert stated.met_left_out_share <= stated.met_share


def test_a_fit_finds_what_rows_were_made_with() -> None:
    """Rows whose speedups are computed with known coefficients give them back."""
    pairs, _ = effects.read_pairs(ROWS, FACTS)
    truth = effects.Fit(pairs, coefficients())
    free = truth.prior.copy()
    for index, name in enumerate(truth.names):
        if name == "narrow/xeon-amx:int8/narrow":
            free[index] = 0.3
        if name == "expansion/gpu/flops_per_weight":
            free[index] += 0.7
    made = truth.sides.speedups(truth.changes(free))
    rows = [
        replace(pair, row=pair.row.model_copy(update={"value": float(value)}))
        for pair, value in zip(pairs, made, strict=True)
    ]
    found = effects.Fit(rows, coefficients())
    back = found.sides.speedups(found.changes(found.run()))
    assert np.median(np.abs(back / made - 1.0)) < 0.02


def test_the_command_prints_groups() -> None:
    run = CliRunner()
    done = run.invoke(app, ["validate", "--evidence", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    assert len(document["groups"]) == len(COMPARISON.groups)
    assert document["share_within_20_percent"] >= 0.8
    assert document["left_out"]["hardware not in the catalog"] > 0
    done = run.invoke(app, ["validate", "--evidence"])
    assert done.exit_code == 0 and "groups within 20 %" in done.output


# --- packed weights ---------------------------------------------------------------------------


def times(scheme: str, **changes: object) -> tuple[float, float]:
    """Decode step and prompt of Llama 3.1 8B. [s]"""
    scenario = SERVED.model_copy(update={"scheme": scheme} | changes)
    speed = performance(resolve(scenario, FACTS))
    return float(speed.decode_step_time), float(speed.prefill_time)


@pytest.mark.parametrize("chip", ["a100-sxm-80gb", "h100-sxm", "l40s"])
def test_packed_weights_decode_faster_and_read_prompts_slower(chip: str) -> None:
    """Dequantization costs 20 to 90 % of a large multiplication (QServe, arXiv 2405.04532)."""
    load = {"accelerator": chip, "concurrency": 1, "input_tokens": 4096}
    step, prompt = times("int4-awq", **load)
    plain_step, plain_prompt = times("bf16", **load)
    assert step < plain_step
    assert plain_prompt < prompt < 1.9 * plain_prompt


def test_stored_formats_expand_nothing() -> None:
    for scheme in ("bf16", "fp8", "int8"):
        scenario = SERVED.model_copy(update={"accelerator": "h100-sxm", "scheme": scheme})
        assert not expands_weights(choose(scenario, FACTS))
        inputs = resolve(scenario, FACTS)
        assert (inputs.scheme_work, inputs.expansion_time) == (1.0, 0.0)


def test_cpus_without_16_bits_multiply_packed_weights_as_integers() -> None:
    scenario = Scenario(
        engine="openvino", accelerator="xeon-platinum-8380", device_price_usd_per_hour=1.0
    )
    packed = choose(scenario.model_copy(update={"scheme": "int4-awq"}), FACTS)
    plain = choose(scenario.model_copy(update={"scheme": "bf16"}), FACTS)
    assert (packed.arithmetic, plain.arithmetic) == ("int8", "fp32")
    assert any("int8" in note for note in packed.notes)
