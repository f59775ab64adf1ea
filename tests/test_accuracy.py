"""Errors, ranks and gaps of the estimates, on the measured runs that come with the package."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cpi_model.catalog import catalog, offers
from cpi_model.coefficients import Coefficients, coefficients
from cpi_model.studies import accuracy, measurements, validate
from cpi_model.studies.runs import Run, read_run, residual_kind

FACTS, FITTED = catalog(), coefficients()
ROWS = measurements.rows()
COMPARED = accuracy.compare(ROWS, FACTS)
CLOSED = {
    "model": "llama-3.1-8b", "engine": "vllm", "weight_precision": "bf16",
    "scenario": "closed-loop", "tensor_parallel": "1", "accelerators": "1", "concurrency": "16",
    "input_tokens": "1024", "output_tokens": "1024",
}  # fmt: skip


def made(ratio: float, inside: bool | None, **changes: str) -> accuracy.Compared:
    """A hand-made comparison."""
    first = replace(COMPARED[0], measure="throughput", predicted=2.0, measured=2.0 * ratio)
    return replace(first, ratio=ratio, inside=inside, **changes)


# --- the estimates themselves -----------------------------------------------------------------

# Half of the runs and nine of ten lie within: a little more than runs left out of the fit show.
ALLOWED = {
    ("llm", "closed-loop", "throughput"): (0.10, 0.40),
    ("llm", "closed-loop", "tpot"): (0.10, 0.40),
    ("llm", "closed-loop", "ttft"): (0.30, 1.30),
    ("llm", "static-batch", "throughput"): (0.12, 0.60),
    ("llm", "static-batch", "tpot"): (0.10, 0.45),
    ("llm", "static-batch", "ttft"): (0.30, 0.90),
    ("llm", "offline", "throughput"): (0.15, 0.60),
    ("llm", "server", "throughput"): (0.25, 0.75),
    ("encoder", "static-batch", "throughput"): (0.30, 0.70),
    ("encoder", "offline", "throughput"): (0.20, 0.55),
    ("vision", "static-batch", "throughput"): (0.25, 0.70),
    ("vision", "offline", "throughput"): (0.10, 0.40),
    ("vision", "server", "throughput"): (0.20, 0.40),
    ("diffusion", "offline", "throughput"): (0.08, 0.30),
    ("speech", "offline", "throughput"): (0.05, 0.20),
    ("recommender", "offline", "throughput"): (0.30, 0.55),
}


@pytest.mark.parametrize(("key", "allowed"), ALLOWED.items(), ids=map(" ".join, ALLOWED))
def test_measured_runs_are_as_near_as_stated(
    key: tuple[str, str, str], allowed: tuple[float, float]
) -> None:
    model_class, scenario, measure = key
    rows = [
        each for each in COMPARED if (each.model_class, each.scenario) == (model_class, scenario)
    ]
    (found,) = [e for e in accuracy.errors(rows, "model_class") if e.measure == measure]
    assert found.rows >= 8
    assert found.median <= allowed[0]
    assert found.p90 <= allowed[1]


def test_no_class_is_off_on_one_side() -> None:
    """Half of the ratios lie above 1 and half below, give or take a fifth."""
    for name in ("llm", "encoder", "vision", "recommender"):
        ratios = [
            each.ratio for each in COMPARED
            if (each.model_class, each.measure) == (name, "throughput")
        ]  # fmt: skip
        assert 0.8 < np.median(ratios) < 1.2, name


# --- comparing --------------------------------------------------------------------------------


def test_every_measured_figure_is_compared() -> None:
    expected = sum(
        bool(row["requests_per_s"] or (row["output_tokens_per_s"] and row["model_class"] == "llm"))
        for row in ROWS
    )
    assert sum(each.measure == "throughput" for each in COMPARED) == expected
    for each in COMPARED:
        assert each.ratio == pytest.approx(each.measured / each.predicted)
        assert each.source and each.id
        assert each.model in FACTS.models and each.hardware in FACTS.accelerators
        assert each.engine in FACTS.engines and each.scheme in FACTS.schemes


def test_seconds_and_dollars() -> None:
    row = next(row for row in ROWS if row["ttft_ms"] and row["scenario"] == "closed-loop")
    found = {each.measure: each for each in COMPARED if each.id == row["id"]}
    assert found["ttft"].measured == pytest.approx(float(row["ttft_ms"]) / 1000)
    assert found["tpot"].measured == pytest.approx(float(row["tpot_ms"]) / 1000)
    row = next(row for row in ROWS if row["cost_per_1m_inferences_usd"])
    found = {each.measure: each for each in COMPARED if each.id == row["id"]}
    assert found["cost"].measured == float(row["cost_per_1m_inferences_usd"])


def test_tokens_count_where_requests_are_not_given() -> None:
    row = CLOSED | {"hardware": "h100-sxm", "output_tokens_per_s": "1000"}
    (found,) = accuracy.compare([row], FACTS)
    assert (found.measure, found.measured) == ("throughput", 1000.0)
    prediction = validate.validate([row], FACTS).predictions[0]
    assert found.predicted == pytest.approx(prediction.output_tokens_per_s)


def test_rows_without_an_estimate_are_left_to_validate() -> None:
    assert accuracy.compare([CLOSED | {"hardware": "no-such-chip"}], FACTS) == []


def test_errors_are_those_of_validate() -> None:
    """The same medians as `cpi validate` prints, by class and scenario."""
    for summary in validate.validate(ROWS, FACTS).summaries:
        rows = [
            each for each in COMPARED
            if (each.model_class, each.scenario, each.measure)
            == (summary.model_class, summary.scenario, summary.measure)
        ]  # fmt: skip
        (found,) = accuracy.errors(rows, "scenario")
        assert (found.median, found.mean, found.p90) == pytest.approx(
            (summary.median, summary.mean, summary.p90)
        )


def test_errors_by_group() -> None:
    """Against numpy, by hand: errors 0.1, 0.2, 0.5, 0.3 on one chip, 0.4 on another."""
    rows = [
        made(1.1, True, hardware="h100-sxm"), made(0.8, True, hardware="h100-sxm"),
        made(1.5, False, hardware="h100-sxm"), made(0.7, None, hardware="h100-sxm"),
        made(1.4, None, hardware="l4"),
    ]  # fmt: skip
    first, second = accuracy.errors(rows, "hardware")
    assert (first.group, first.rows, second.group, second.rows) == ("h100-sxm", 4, "l4", 1)
    assert first.median == pytest.approx(0.25)
    assert first.mean == pytest.approx(0.275)
    assert first.p90 == pytest.approx(np.percentile([0.1, 0.2, 0.5, 0.3], 90))
    assert first.inside == pytest.approx(2 / 3)
    assert second.median == second.p90 == pytest.approx(0.4)
    assert math.isnan(second.inside)


@pytest.mark.parametrize(
    "by", ["model_class", "scenario", "hardware", "generation", "engine", "scheme", "model"]
)
def test_every_comparison_is_in_one_group(by: accuracy.Group) -> None:
    assert sum(each.rows for each in accuracy.errors(COMPARED, by)) == len(COMPARED)


def test_the_band_is_that_of_left_out_runs() -> None:
    """A language model under a steady load on a measured pairing, and a cost from throughput."""
    row = CLOSED | {"hardware": "h100-sxm", "model": "llama-3.1-70b", "weight_precision": "fp8"}
    run = read_run(row, FACTS)
    assert isinstance(run, Run)
    known = FITTED.residuals["llm/throughput/known"]
    assert accuracy.band(run, "throughput", FITTED) == (known.p10_ratio, known.p90_ratio)
    assert accuracy.band(run, "cost", FITTED) == (1 / known.p90_ratio, 1 / known.p10_ratio)
    assert accuracy.band(run, "latency", FITTED) == (1 / known.p90_ratio, 1 / known.p10_ratio)


def test_the_share_inside_is_that_of_validate() -> None:
    kinds = {
        row["id"]: residual_kind(run) for row in ROWS
        if isinstance(run := read_run(row, FACTS), Run)
    }  # fmt: skip
    for name, share in validate.validate(ROWS, FACTS).inside.items():
        kind, measure = name.split("/")
        rows = [each for each in COMPARED if (kinds[each.id], each.measure) == (kind, measure)]
        (found,) = accuracy.errors(rows, "measure")  # type: ignore[arg-type]
        assert found.inside == pytest.approx(share), name


# --- what nobody measured ---------------------------------------------------------------------


def test_what_was_never_measured() -> None:
    found = accuracy.never_measured(FACTS)
    unmeasured = set(found.accelerators)
    assert set(found.without_relatives) < unmeasured
    assert "treelite" in found.engines and "vllm" not in found.engines
    assert any(FACTS.models[id].model_class == "trees" for id in found.models)
    assert not unmeasured & {"h100-sxm", "a100-sxm-80gb", "inferentia2", "t4"}
    assert {"fp8", "bf16", "int8", "nvfp4"}.isdisjoint(found.schemes)
    assert unmeasured <= set(FACTS.accelerators) and set(found.models) <= set(FACTS.models)
    # What the shipped runs show was measured.
    measured = {each.hardware for each in COMPARED if each.scenario == "closed-loop"}
    assert not measured & unmeasured
    generations = {FACTS.accelerators[id].generation for id in found.without_relatives}
    assert not generations & {FACTS.accelerators[id].generation for id in measured}


def test_an_empty_fit_has_measured_nothing() -> None:
    chips = {name: chip.model_copy(update={"rows": 0}) for name, chip in FITTED.chips.items()}
    empty = FITTED.model_copy(update={"pairings": {}, "modes": {}, "chips": chips})
    found = accuracy.never_measured(FACTS, empty)
    assert set(found.without_relatives) == set(found.accelerators) == set(FACTS.accelerators)
    assert set(found.models) == set(FACTS.models)


# --- ranks ------------------------------------------------------------------------------------

CHIPS = ("h100-sxm", "h200-sxm", "a100-sxm-80gb", "l40s")


def ranked(order: tuple[int, ...]) -> accuracy.RankCorrelation:
    """Runs whose measured costs have these ranks among chips by rising predicted cost."""
    rows = [CLOSED | {"hardware": chip} for chip in CHIPS]
    predictions = validate.validate(rows, FACTS).predictions
    prices = [offers(FACTS, chip, "on_demand")[0].usd_per_device_hour for chip in CHIPS]
    speeds = [each.requests_per_s for each in predictions]
    by_cost = sorted(range(len(CHIPS)), key=lambda k: prices[k] / speeds[k])
    measured = [
        rows[k] | {"requests_per_s": str(prices[k] / rank)}
        for k, rank in zip(by_cost, order, strict=True)
    ]
    return accuracy.rank_correlation(measured, FACTS)


@pytest.mark.parametrize(
    ("order", "expected", "apart"),
    [
        ((1, 2, 3, 4), 1.0, 0.0), ((4, 3, 2, 1), -1.0, 3.0), ((2, 1, 3, 4), 0.8, 1.0),
        ((2, 1, 4, 3), 0.6, 1.0),
    ],
)  # fmt: skip
def test_spearman(order: tuple[int, ...], expected: float, apart: float) -> None:
    """By hand: 1 - 6 sum(d^2) / (n (n^2 - 1)), n = 4; costs are as their ranks."""
    found = ranked(order)
    assert found.median == found.mean == pytest.approx(expected)
    (group,) = found.groups
    assert set(group.hardware) == set(CHIPS)
    assert group.apart == pytest.approx(apart)
    assert group.load == "922 tokens in, 922 out, 16 in flight"


def test_the_cheapest_run_of_each_chip_counts() -> None:
    rows = [
        CLOSED | {"hardware": chip, "requests_per_s": speed}
        for chip, speed in (("h100-sxm", "1"), ("h100-sxm", "900"), ("l40s", "2"), ("l4", "1"))
    ]
    (group,) = accuracy.rank_correlation(rows, FACTS).groups
    assert group.hardware[0] == "h100-sxm"
    assert len(group.hardware) == 3


def test_two_chips_are_no_rank_and_other_loads_are_apart() -> None:
    rows = [CLOSED | {"hardware": chip, "requests_per_s": "1"} for chip in CHIPS[:2]]
    rows.append(CLOSED | {"hardware": "l40s", "requests_per_s": "1", "concurrency": "8"})
    found = accuracy.rank_correlation(rows, FACTS)
    assert found.groups == () and math.isnan(found.median)


def test_hardware_without_a_price_is_named() -> None:
    chip = "rtx-4090"
    assert not offers(FACTS, chip, "on_demand")
    rows = [CLOSED | {"hardware": chip, "requests_per_s": "1"}]
    assert accuracy.rank_correlation(rows, FACTS).unpriced == (chip,)


def test_ranks_of_the_shipped_runs() -> None:
    found = accuracy.rank_correlation(ROWS, FACTS)
    assert len(found.groups) >= 30
    assert found.median >= 0.95
    assert found.mean >= 0.8


# --- the report -------------------------------------------------------------------------------


def with_residuals(**changes: object) -> Coefficients:
    """Coefficients with other errors, by the name of the residuals."""
    like = FITTED.residuals["llm/throughput/known"]
    residuals = dict(FITTED.residuals) | {
        name.replace("__", "/").replace("_", "-"): like.model_copy(update={"median_error": error})
        for name, error in changes.items()
    }
    return FITTED.model_copy(update={"residuals": residuals})


def test_the_report_follows_the_coefficients() -> None:
    text = accuracy.report(ROWS[:40], FACTS)
    other = accuracy.report(ROWS[:40], FACTS, with_residuals(llm__throughput__known=0.4321))
    assert "43.2 %" in other and "43.2 %" not in text
    assert str(FITTED.fitted_on) in text and FITTED.description in text
    assert "40 published runs" in text


def test_the_report_shows_every_way_of_leaving_out_and_every_kind() -> None:
    """Names that a later fit brings, too, with nothing where a kind was not left out so."""
    table = accuracy.left_out_table(
        with_residuals(vision_static__throughput__elsewhere=0.1234, newclass_burst__tpot__known=0.4)
    )
    heading, _, *lines = table.splitlines()
    assert heading.endswith("| elsewhere: half within | nine of ten |")
    (line,) = [line for line in lines if line.startswith("| vision, static batch, throughput |")]
    assert line.split(" | ")[-2] == "12.3 %"
    assert lines[-1].startswith("| newclass, burst, time per output token |")
    assert lines[-1].endswith("| – | – | – | – |")
    assert all(line.count(" | ") == heading.count(" | ") for line in lines)


def test_words_of_the_report() -> None:
    text = accuracy.report(ROWS, FACTS)
    for measured in (
        "language models, closed-loop",
        "recommenders, offline",
        "h200-sxm",
        "treelite",
    ):
        assert measured in text
    for said in ("3 to 6 %", "1.1 to 1.8", "3.9 times", "0.8 to 1.0", "second-hand"):
        assert said in " ".join(text.split())
    assert not re.search(r"\b(nan|None|inf)\b", text)


def test_only_what_is_between_the_marks_is_written() -> None:
    old = f"# Title\n{accuracy.BEGIN}\nstale words\n{accuracy.END}\nThe end.\n"
    new = accuracy.with_errors(old)
    assert new.startswith("# Title\n") and new.endswith("\nThe end.\n")
    assert "stale words" not in new and accuracy.left_out_table(FITTED) in new
    assert accuracy.with_errors(new) == new
    for text in ("no marks", accuracy.BEGIN, f"{accuracy.END} {accuracy.BEGIN}"):
        with pytest.raises(ValueError, match=r"README\.md: .* must be there, in this order"):
            accuracy.with_errors(text)


def test_the_command_writes_both(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(accuracy, "ROOT", tmp_path)
    assert accuracy.main([]) == 2
    (tmp_path / "README.md").write_text("no marks", encoding="utf-8")
    (tmp_path / "docs").mkdir()
    assert accuracy.main([]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    readme = (root / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    assert accuracy.main(["--wrong"]) == 2
    assert accuracy.main([]) == 0
    for name in ("README.md", "docs/accuracy.md"):
        assert (tmp_path / name).read_bytes() == (root / name).read_bytes()
