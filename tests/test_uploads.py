"""Reports of benchmark tools and tables of others: what is read, filled in, and refused.

The files in `tests/uploads` are written by hand in the formats that the tools document: ``vllm
bench serve --save-result``, AIPerf's ``profile_export_aiperf.json``, guidellm's version 2.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cpi_model.__main__ import app
from cpi_model.catalog import catalog
from cpi_model.scenario import Scenario
from cpi_model.studies import uploads
from cpi_model.studies.runs import Run, mode, read_run
from cpi_model.studies.uploads import Upload, known_model
from cpi_model.studies.validate import UnusableTable, validate

FACTS = catalog()
FILES = Path(__file__).parent / "uploads"
VLLM = json.loads((FILES / "vllm_serve.json").read_text(encoding="utf-8"))
TWO = Scenario(
    accelerator="h200-sxm", scheme="int4-awq", kv_precision="fp8", engine="sglang",
    tensor_parallel=2, data_parallel=2, expert_parallel=1,
)  # fmt: skip
TABLE = "model,hardware,scenario,concurrency,id\nllama-3.1-8b,h100-sxm,closed-loop,{},{}\n"


def read(name: str, scenario: Scenario | None = None) -> Upload:
    return uploads.read(name, (FILES / name).read_bytes(), scenario or Scenario(), FACTS)


def read_text(text: str | bytes, name: str = "mine.json") -> Upload:
    content = text.encode() if isinstance(text, str) else text
    return uploads.read(name, content, Scenario(), FACTS)


def changed(**changes: Any) -> str:
    """The report of vLLM with other values; None leaves a key out."""
    return json.dumps({k: v for k, v in (VLLM | changes).items() if v != "left out"})


def as_run(row: dict[str, str]) -> Run:
    run = read_run(row, FACTS)
    assert isinstance(run, Run), run
    return run


# What is read ------------------------------------------------------------------------------------


def test_a_report_of_vllm() -> None:
    (row,) = read("vllm_serve.json").rows
    run = as_run(row)
    assert mode(run) == "closed"
    assert (run.scenario.model, run.scenario.concurrency) == ("llama-3.1-8b", 32)
    assert (run.ttft, run.tpot, run.latency) == (0.150, 0.025, 6.375)
    assert (run.requests_per_s, run.output_tokens_per_s) == (5.0, 1250.0)
    # Totals over requests, and not shortened: 319,872 / 320 and 80,000 / 320.
    assert (run.scenario.input_tokens, run.scenario.output_tokens) == (1000, 250)


def test_a_report_of_aiperf() -> None:
    """Four requests a second of two seconds each: eight in flight, by Little's law."""
    upload = read("profile_export_aiperf.json")
    (row,) = upload.rows
    run = as_run(row)
    assert run.scenario.model == "qwen3-8b"
    assert run.scenario.concurrency == 8
    assert (run.scenario.input_tokens, run.scenario.output_tokens) == (550, 100)
    assert run.ttft + 99 * run.tpot == pytest.approx(run.latency)
    assert any("Little" in note for note in upload.notes)


def test_a_sweep_of_guidellm_is_a_run_for_each_load() -> None:
    upload = read("guidellm.json")
    runs = [as_run(row) for row in upload.rows]
    assert [run.scenario.concurrency for run in runs] == [1, 8, 32]
    for run in runs:
        # Its time per output token counts the first token; ours does not.
        assert run.ttft + 249 * run.tpot == pytest.approx(run.latency, rel=1e-6)
    assert any("1 of 4 runs answered no request" in note for note in upload.notes)
    assert len({row["id"] for row in upload.rows}) == 3


def test_what_a_report_lacks_is_the_scenarios_and_is_said() -> None:
    upload = read("vllm_serve.json", TWO)
    run = as_run(upload.rows[0])
    for field in (
        "accelerator", "scheme", "kv_precision", "engine", "tensor_parallel", "data_parallel",
    ):  # fmt: skip
        assert getattr(run.scenario, field) == getattr(TWO, field)
    assert run.accelerators == 4 and run.replicas == 1
    (note,) = upload.notes
    for word in ("h200-sxm", "int4-awq", "fp8", "sglang", "tensor parallel 2"):
        assert word in note


def test_metadata_of_a_report_goes_before_the_scenario() -> None:
    """`vllm bench serve --metadata hardware=l40s tensor_parallel=4`."""
    upload = read_text(changed(hardware="l40s", tensor_parallel="4"))
    run = as_run(upload.rows[0])
    assert (run.scenario.accelerator, run.scenario.tensor_parallel) == ("l40s", 4)
    assert "hardware" not in upload.notes[0] and "engine vllm" in upload.notes[0]


@pytest.mark.parametrize(
    ("changes", "in_flight"),
    [
        ({"max_concurrency": None}, 32),  # all at once: 5 a second, 6.375 s each
        ({"max_concurrency": None, "mean_e2el_ms": "left out"}, 32),  # 150 + 249 x 25 ms
        ({"max_concurrency": 64, "request_rate": 4.0}, 32),  # the cap is not reached
        ({"max_concurrency": 512}, 320),  # more than there are requests
    ],
)
def test_requests_in_flight_follow_from_rate_and_latency(
    changes: dict[str, Any], in_flight: int
) -> None:
    assert as_run(read_text(changed(**changes)).rows[0]).scenario.concurrency == in_flight


def test_without_latency_the_scenario_says_how_many_are_in_flight() -> None:
    blind = {"max_concurrency": None, "mean_e2el_ms": 0.0, "mean_ttft_ms": 0, "mean_tpot_ms": 0}
    upload = uploads.read("x.json", changed(**blind).encode(), Scenario(concurrency=77), FACTS)
    assert as_run(upload.rows[0]).scenario.concurrency == 77
    assert "concurrency 77" in upload.notes[0]


def test_reports_appended_by_the_line_are_all_read() -> None:
    """`vllm bench serve --append-result` writes one object after another."""
    lines = "\n".join(changed(max_concurrency=count) for count in (1, 8, 64))
    found = [as_run(row).scenario.concurrency for row in read_text(lines).rows]
    assert found == [1, 8, 64]


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("/models/Meta-Llama-3.1-70B-Instruct/", "llama-3.1-70b"),
        ("nvidia/Llama-3.3-70B-Instruct-FP8", "llama-3.1-70b"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507", "qwen3-235b-a22b"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b-v0.1"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-r1"),
        ("meta-llama/Llama-9-8B", None),
        ("", None),
    ],
)
def test_names_on_a_hub_mean_models_of_the_catalog(name: str, id: str | None) -> None:
    found = known_model(name, FACTS)
    assert (found.id if found else None) == id


def test_an_unknown_model_is_the_scenarios_and_is_said() -> None:
    upload = read_text(changed(model_id="acme/<b>Secret-7B</b>"))
    assert as_run(upload.rows[0]).scenario.model == Scenario().model
    assert any("not in the catalog" in note and "<" not in note for note in upload.notes)
    with pytest.raises(UnusableTable, match="choose the model"):
        uploads.read(
            "x.json", changed(model_id="acme").encode(), Scenario(model="bert-large"), FACTS
        )


def test_every_uploaded_run_is_predicted() -> None:
    for name in ("vllm_serve.json", "profile_export_aiperf.json", "guidellm.json"):
        found = validate(read(name).rows, FACTS)
        assert found.reasons == {}
        for each in found.predictions:
            assert each.tpot > 0 and each.ttft > 0 and each.requests_per_s > 0


def test_lengths_of_reports_are_means_and_those_of_tables_are_nominal() -> None:
    """Tables say the length that was asked for, of which runs draw 0.8 to 1.0."""
    row = read("vllm_serve.json").rows[0]
    assert as_run(row | {"lengths": ""}).scenario.input_tokens == 900
    assert as_run(row).scenario.input_tokens == 1000


def test_a_table_is_read_as_it_is() -> None:
    upload = read_text(TABLE.format(16, "=HYPERLINK(1)"), "mine.csv")
    assert upload.notes == ()
    (row,) = upload.rows
    assert row["id"] == "=HYPERLINK(1)"  # text; what leaves the app again is marked as text
    assert as_run(row).scenario.concurrency == 16


# What is refused ---------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str | bytes, str]] = {
    "too large": (b"{" + b" " * uploads.LARGEST_FILE, "at most 20"),
    "packed": (gzip.compress(b"{}"), "packed"),
    "archive": (b"PK\x03\x04" + bytes(100), "packed"),
    "binary": (bytes(range(128, 256)), "no text"),
    "empty": ("", "no column"),
    "truncated": (changed()[:-40], "line 1 cannot be read"),
    "deep": ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
    "long number": ('{"completed": ' + "9" * 5000 + "}", "too long"),
    "many values": ("[" + "[]," * uploads.MOST_VALUES + "[]]", "values"),
    "other": ('{"hello": 1}', "no kind that is known"),
    "number": ("[5]", "a report was expected"),
    "nothing": ("[]", "no run"),
    "negative": (changed(mean_ttft_ms=-3), "mean_ttft_ms is '-3'.*greater than or equal to 0"),
    "not a number": (changed(mean_tpot_ms=float("nan")), "mean_tpot_ms.*finite"),
    "infinite": (changed(request_throughput=float("inf")), "request_throughput"),
    "huge": (changed(total_input_tokens=1e300), "total_input_tokens.*less than or equal"),
    "huge whole": (changed(total_input_tokens=10**400), "total_input_tokens"),
    "text": (changed(completed="many"), "completed is 'many'"),
    "true": (changed(completed=True), "completed is 'True'"),
    "list": (changed(mean_ttft_ms=[1, 2]), "mean_ttft_ms"),
    "missing": (changed(completed="left out"), "has no completed"),
    "none answered": (changed(completed=0), "completed is '0'"),
    "metadata": (changed(tensor_parallel="=1+1"), "tensor_parallel is '=1\\+1'"),
    "no benchmarks": ('{"benchmarks": []}', "benchmarks"),
    "odd benchmarks": ('{"benchmarks": {"a": 1}}', "benchmarks"),
    "odd statistic": ('{"request_throughput": {"avg": "fast"}}', "request_throughput.avg"),
    "formula": (TABLE.format("=1+1", "x"), "line 2: concurrency is '=1\\+1'"),
    "nan": (TABLE.format("nan", "x"), "concurrency is 'nan'"),
    "cell": (TABLE.format("1e308", "x"), "a number from 0 to"),
    "header only": ("model,hardware,scenario\n", "no rows"),
    "columns": ("a,b\n1,2\n", "no column model, hardware, scenario"),
    "rows": (TABLE + "a,b,c,1,d\n" * uploads.MOST_ROWS, "is '{}'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_files_are_refused_in_one_sentence(name: str) -> None:
    content, says = REFUSED[name]
    with pytest.raises(UnusableTable, match=says) as refused:
        read_text(content)
    sentence = str(refused.value)
    assert "mine.json" in sentence and "\n" not in sentence and len(sentence) < 400


def test_more_rows_than_allowed_are_refused() -> None:
    many = "model,hardware,scenario\n" + "a,b,c\n" * (uploads.MOST_ROWS + 1)
    with pytest.raises(UnusableTable, match="more than 20,000 rows"):
        read_text(many, "many.csv")


def test_units_of_time_are_read_or_refused() -> None:
    report = json.loads((FILES / "profile_export_aiperf.json").read_text(encoding="utf-8"))
    report["time_to_first_token"] = {"unit": "sec", "avg": 0.08}
    assert as_run(read_text(json.dumps(report)).rows[0]).ttft == pytest.approx(0.08)
    report["time_to_first_token"] = {"unit": "fortnights", "avg": 0.08}
    with pytest.raises(UnusableTable, match=r"fortnights.*allowed is one of ms"):
        read_text(json.dumps(report))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(VLLM)), json_values, max_size=4))
def test_whatever_stands_in_a_report_it_is_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        upload = read_text(json.dumps(VLLM | changes))
    except UnusableTable:
        return
    found = validate(upload.rows, FACTS)
    assert len(found.predictions) == len(upload.rows)


@given(st.text() | st.binary(max_size=200))
def test_whatever_a_file_holds_it_is_read_or_refused(content: str | bytes) -> None:
    try:
        read_text(content)
    except UnusableTable:
        return


# The terminal ------------------------------------------------------------------------------------


def test_the_command_reads_reports_with_a_scenario() -> None:
    runner = CliRunner()
    report = str(FILES / "guidellm.json")
    done = runner.invoke(app, ["validate", report, "--set", "accelerator=h200-sxm", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    assert (document["rows"], document["answered"]) == (3, 3)
    assert any("h200-sxm" in note for note in document["notes"])
    plain = runner.invoke(app, ["validate", report])
    assert "the scenario did" in plain.output


def test_the_command_takes_a_scenario_for_reports_only(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(TABLE.format(1, "x"), encoding="utf-8")
    done = CliRunner().invoke(app, ["validate", str(tmp_path / "runs.csv"), "--set", "c=1"])
    assert done.exit_code != 0
