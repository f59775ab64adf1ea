"""The measured runs that come with the package: what is in them, and what is refused."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cpi_model.__main__ import app
from cpi_model.catalog import CatalogError, catalog, data_folder
from cpi_model.studies import measurements, validate
from cpi_model.studies.runs import Run, read_run

FACTS = catalog()
RUNS = measurements.measurements()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped runs that a test may spoil."""
    target = tmp_path / "data"
    shutil.copytree(data_folder() / "measurements", target / "measurements")
    return target


# --- what is there ----------------------------------------------------------------------------


def test_all_classes_and_loads() -> None:
    assert 600 <= len(RUNS) <= 900
    classes = Counter(run.model_class for run in RUNS)
    assert set(classes) == {"llm", "encoder", "vision", "diffusion", "speech", "recommender"}
    assert {run.scenario for run in RUNS} >= {
        "closed-loop", "static-batch", "offline", "server", "interactive", "singlestream",
    }  # fmt: skip
    steady = [run for run in RUNS if (run.model_class, run.scenario) == ("llm", "closed-loop")]
    assert len(steady) >= 300
    assert len({run.hardware for run in RUNS}) >= 40
    assert sum(run.cost_per_1m_inferences_usd is not None for run in RUNS) >= 25


def test_whole_curves_over_requests_in_flight() -> None:
    curves: dict[tuple[object, ...], set[int]] = defaultdict(set)
    for run in RUNS:
        if run.scenario == "closed-loop" and run.concurrency:
            curves[
                run.model, run.hardware, run.engine, run.weight_precision, run.tensor_parallel,
                run.data_parallel, run.expert_parallel, run.input_tokens, run.output_tokens,
            ].add(run.concurrency)  # fmt: skip
    assert sum(len(points) >= 5 for points in curves.values()) >= 15


def test_the_same_load_on_several_chips() -> None:
    chips: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for run in RUNS:
        chips[
            run.model, run.scenario, run.concurrency, run.batch_size, run.input_tokens,
            run.output_tokens,
        ].add(run.hardware)  # fmt: skip
    assert sum(len(each) >= 3 for each in chips.values()) >= 20


def test_every_run_is_answered() -> None:
    found = validate.validate(measurements.rows(), FACTS)
    assert not found.reasons
    assert all(math.isfinite(each.requests_per_s) for each in found.predictions)


def test_the_command_answers_every_row() -> None:
    file = data_folder() / measurements.FILE
    done = CliRunner().invoke(app, ["validate", str(file), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    assert document["answered"] == document["rows"] == len(RUNS)


def test_rows_are_read_as_the_file_is() -> None:
    """The same runs, whether the command reads the file or the package its own rows."""
    direct = [
        read_run(row, FACTS) for row in validate.read_table(data_folder() / measurements.FILE)
    ]
    ours = [read_run(row, FACTS) for row in measurements.rows()]
    assert all(isinstance(run, Run) for run in direct)
    assert repr(direct) == repr(ours)


def test_throughput_of_a_closed_loop_is_requests_over_time() -> None:
    """Little's law in the measured figures themselves; lengths are drawn from 0.8 to 1.0."""
    off = [
        run.requests_per_s
        * (run.ttft_ms + (run.output_tokens - 1) * run.tpot_ms) / 1000 / run.concurrency
        for run in RUNS
        if run.scenario == "closed-loop" and run.ttft_ms and run.tpot_ms and run.requests_per_s
        and run.output_tokens and run.concurrency
    ]  # fmt: skip
    assert len(off) >= 250
    assert sum(0.75 < ratio < 1.3 for ratio in off) >= 0.95 * len(off)


def test_text_cells_cannot_be_read_as_formulas() -> None:
    with (data_folder() / measurements.FILE).open(newline="", encoding="utf-8") as stream:
        assert not [c for row in csv.reader(stream) for c in row if c.startswith(tuple("=+-@"))]


def test_undated_runs_are_findings() -> None:
    undated = {run.id for run in RUNS if measurements.UNDATED in run.notes}
    assert undated
    done = CliRunner().invoke(app, ["catalog", "check", "--filter", "measurements", "--json"])
    assert done.exit_code == 0, done.output
    assert {finding["id"] for finding in json.loads(done.output)} == undated


# --- what is refused --------------------------------------------------------------------------


def change(**cells: str) -> Callable[[list[dict[str, str]]], None]:
    """Other cells in the second run."""

    def apply(rows: list[dict[str, str]]) -> None:
        rows[1] |= cells

    return apply


def twice(rows: list[dict[str, str]]) -> None:
    rows[1]["id"] = rows[0]["id"]


def without_hardware(rows: list[dict[str, str]]) -> None:
    for row in rows:
        del row["hardware"]


NOTHING = dict.fromkeys(
    ("ttft_ms", "tpot_ms", "latency_mean_ms", "requests_per_s", "output_tokens_per_s",
     "cost_per_1m_inferences_usd"), "",
)  # fmt: skip
# What is spoiled, and what the message must say: the row, the column and what is allowed.
SPOILED = [
    (change(ttft_ms="-5"), ("row 3", "ttft_ms", "greater than 0", "-5")),
    (change(tpot_ms="0"), ("row 3", "tpot_ms", "greater than 0")),
    (change(requests_per_s="inf"), ("row 3", "requests_per_s", "finite")),
    (change(requests_per_s="fast"), ("row 3", "requests_per_s", "number", "fast")),
    (change(concurrency="2.5"), ("row 3", "concurrency", "integer", "2.5")),
    (change(accelerators="0"), ("row 3", "accelerators", "greater than or equal to 1")),
    (change(source=""), ("row 3", "source")),
    (change(measured_on=""), ("row 3", "measured_on")),
    (change(measured_on="1999-01-01"), ("row 3", "measured_on", "2006-01-01")),
    (change(scenario="open-loop"), ("row 3", "scenario", "closed-loop", "open-loop")),
    (change(model="deepseek-r9"), ("row 3", "model", "deepseek-r9", "nearest: deepseek-r1")),
    (change(hardware="b200"), ("row 3", "hardware", "b200", "nearest: b200-sxm")),
    (change(model_class="vision"), ("row 3", "model_class", "vision", "llm")),
    (change(weight_precision="fp9"), ("row 3", "weight_precision", "fp9", "nearest: fp8")),
    (change(kv_precision="fp9"), ("row 3", "kv_precision", "fp8", "fp9")),
    (change(id="=1+1"), ("row 3", "id", "=1+1")),
    (change(**NOTHING), ("row 3", "one of ttft_ms, tpot_ms", "must be given")),
    (change(note="x"), ("row 2", "note", "not permitted")),
    (twice, ("row 3 repeats row 2", "unique")),
    (without_hardware, ("column 'hardware' is missing",)),
]


@pytest.mark.parametrize(("spoil", "said"), SPOILED, ids=[str(said[:2]) for _, said in SPOILED])
def test_a_wrong_row_gets_one_sentence(
    folder: Path, spoil: Callable[[list[dict[str, str]]], None], said: tuple[str, ...]
) -> None:
    file = folder / measurements.FILE
    rows = validate.read_table(file)[:3]
    spoil(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names, restval="x")
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(CatalogError) as caught:
        measurements.load(folder)
    message = str(caught.value)
    assert message.startswith(measurements.FILE) and "\n" not in message
    for part in said:
        assert part in message, message


def test_a_missing_or_binary_file_gets_one_sentence(folder: Path) -> None:
    (folder / measurements.FILE).write_bytes(bytes(range(256)))
    with pytest.raises(CatalogError, match=r"measurements/runs\.csv: not valid CSV"):
        measurements.load(folder)
    (folder / measurements.FILE).unlink()
    with pytest.raises(CatalogError, match=r"measurements/runs\.csv: file is missing"):
        measurements.load(folder)
