"""The terminal: right figures on the output, one clear line and exit code 2 for bad input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cpi_model import __main__ as terminal
from cpi_model import __version__, links, story
from cpi_model.__main__ import main
from cpi_model.catalog import catalog
from cpi_model.export import files
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import (
    advice,
    buying,
    compression,
    fleet,
    optimise,
    sensitivity,
    traffic,
    waste,
)
from cpi_model.studies.answer import answer, summary

FACTS = catalog()


@dataclass(frozen=True)
class Ran:
    code: int
    output: str
    errors: str


Cpi = Callable[..., Ran]


@pytest.fixture
def cpi(capsys: pytest.CaptureFixture[str]) -> Cpi:
    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(arguments)
        written = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Ran(left.value.code, written.out, written.err)

    return run


def shell(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cpi_model", *arguments],
        capture_output=True, text=True, timeout=60, check=False, **options,
    )  # type: ignore[call-overload,no-any-return]  # fmt: skip


# The figures --------------------------------------------------------------------------------------


def test_estimate_prints_what_the_model_says(cpi: Cpi) -> None:
    ran = cpi("estimate", "--set", "concurrency=64", "--json")
    assert (ran.code, ran.errors) == (0, "")
    assert json.loads(ran.output) == summary(answer(Scenario(concurrency=64), FACTS))


def test_a_scenario_is_the_same_as_link_file_and_fields(cpi: Cpi, tmp_path: Path) -> None:
    scenario = Scenario(model="llama-3.1-70b", tensor_parallel=4, requests_per_s=2.5)
    (tmp_path / "s.yaml").write_text(links.to_yaml(scenario), encoding="utf-8")
    (tmp_path / "s.json").write_text(links.to_json(scenario), encoding="utf-8")
    fields = ("model=llama-3.1-70b", "tensor_parallel=4", "requests_per_s=2.5")
    ways = [
        ["--link", links.encode(scenario)],
        ["--link", "https://host.example/?" + links.encode(scenario)],
        ["--file", str(tmp_path / "s.yaml")],
        ["--file", str(tmp_path / "s.json")],
        [part for field in fields for part in ("--set", field)],
        ["--link", "?m=llama-3.1-70b&tp=8&rps=2.5", "--set", "tensor_parallel=4"],
    ]
    outputs = {cpi("estimate", "--json", *way).output for way in ways}
    assert len(outputs) == 1
    assert json.loads(outputs.pop())["link"] == "?" + links.encode(scenario)


def test_the_textbook_case(cpi: Cpi) -> None:
    """$500 a day over 1,000,000 requests is $0.0005."""
    fields = [f"{n}=0" for n, i in FIELDS.items() if i.group == "overheads" and i.minimum == 0]
    fields += [
        f"device_price_usd_per_hour={500 / 24!r}", f"requests_per_s={1_000_000 / 86_400!r}",
        "success_share=1", "peak_to_mean=1", "scaling=fixed", "fixed_replicas=1", "concurrency=256",
    ]  # fmt: skip
    given = [part for field in fields for part in ("--set", field)]
    document = json.loads(cpi("estimate", "--json", *given).output)
    assert document["cost_per_inference_usd"] == pytest.approx(0.0005, rel=1e-12)
    assert "0.0005 " in cpi("estimate", *given).output


def test_people_see_components_currency_and_source(cpi: Cpi) -> None:
    given = ("--set", "currency=EUR", "--set", "currency_per_usd=0.5", "--set", "period=year")
    plain, output = cpi("estimate").output, cpi("estimate", *given).output
    for part in ("compute", "memory", "storage", "network", "orchestration", "total"):
        assert part in output
    assert "Cost, EUR" in output and "per year" in output
    document = summary(answer(Scenario(), FACTS))
    each = float(f"{document['cost_per_inference_usd']:.3g}")
    assert f"{each:.10f}".rstrip("0") in plain
    assert document["price"]["source"] in plain and document["price"]["valid_from"] in plain
    assert "Time to first token" in plain


def test_ranges_stand_beside_the_figures(cpi: Cpi) -> None:
    document = json.loads(cpi("estimate", "--json").output)
    for name in ("throughput_per_s", "ttft_ms", "tpot_ms", "latency_mean_ms", "latency_p95_ms",
                 "cost_per_inference_usd", "marginal_cost_per_inference_usd",
                 "cost_per_good_inference_usd", "cost_per_million_output_tokens_usd"):  # fmt: skip
        band = document["bands"][name]
        assert band["low"] <= document[name] <= band["high"]
        assert band["rows"] > 0 and band["pairing_measured"] in (True, False)
    assert document["bands"]["cost_per_million_cached_input_tokens_usd"] is None
    plain = cpi("estimate").output
    assert f"P10 to P90 of {document['bands']['throughput_per_s']['rows']:,} measured" in plain
    (line,) = (line for line in plain.splitlines() if line.startswith("Time to first token"))
    low, high = (float(end) for end in line.split()[-1].split("–"))
    band = document["bands"]["ttft_ms"]
    # Two digits, rounded outward.
    assert 0.9 * band["low"] <= low <= band["low"] and band["high"] <= high <= 1.1 * band["high"]


def test_what_nobody_measured_has_no_range(cpi: Cpi) -> None:
    trees = ("--set", "model=gbt-fraud-500x8", "--set", "engine=treelite", "--set", "scheme=fp32",
             "--set", "accelerator=xeon-platinum-8488c")  # fmt: skip
    document = json.loads(cpi("estimate", *trees, "--json").output)
    assert document["feasible"] and set(document["bands"].values()) == {None}
    output = cpi("estimate", *trees).output
    assert "not measured" in output and "no run like this was measured" in output


def test_models_without_tokens_show_no_token_figures(cpi: Cpi) -> None:
    output = cpi("estimate", "--set", "model=resnet50-v1.5", "--set", "engine=tensorrt").output
    assert "Latency, mean" in output
    assert "oken" not in output


def test_what_cannot_work_is_an_answer_with_a_way_out(cpi: Cpi) -> None:
    ran = cpi("estimate", "--set", "model=llama-3.1-70b")
    assert ran.code == 0
    assert "141 GB" in ran.output and "--set tensor_parallel=2" in ran.output
    assert cpi("estimate", "--set", "model=llama-3.1-70b", "--set", "tensor_parallel=2").code == 0
    document = json.loads(cpi("estimate", "--set", "model=llama-3.1-70b", "--json").output)
    assert document["feasible"] is False and document["reasons"]


def test_sweep(cpi: Cpi) -> None:
    document = json.loads(cpi("sweep", "--over", "concurrency=1:512:log", "--json").output)
    assert document["values"] == [2**power for power in range(10)]
    for row in document["rows"]:
        alone = summary(answer(Scenario(concurrency=row["value"]), FACTS))
        for name, value in alone.items():
            if name in row and isinstance(value, float):
                assert row[name] == pytest.approx(value, rel=1e-12), name
        for name, band in alone["bands"].items():
            both = None if band is None else {"low": band["low"], "high": band["high"]}
            assert row["bands"][name] == (both if both is None else pytest.approx(both, rel=1e-12))
    lines = cpi("sweep", "--over", "concurrency=1:512:log").output.splitlines()
    assert sum("likely" in line for line in lines) == 1
    assert lines[-2].split()[0] == "512"
    refused = cpi("sweep", "--over", "tensor_parallel=1:3")
    assert refused.code == 0 and "cannot share evenly" in refused.output


def test_link_both_ways(cpi: Cpi, tmp_path: Path) -> None:
    assert cpi("link").output == "?v=1\n"
    assert cpi("link", "--set", "concurrency=64").output == "?v=1&c=64\n"
    shown = cpi("link", "--decode", "--link", "?c=64").output
    assert all(name in shown for name in FIELDS)
    assert "changed" in shown.split("concurrency", 1)[1].splitlines()[0]
    decoded = json.loads(cpi("link", "--decode", "--json", "--link", "?c=64").output)
    assert decoded["scenario"]["serving"]["concurrency"] == 64
    (tmp_path / "s.yaml").write_text(cpi("link", "--yaml", "--link", "?c=64").output, "utf-8")
    assert cpi("link", "--file", str(tmp_path / "s.yaml")).output == "?v=1&c=64\n"


# The catalog --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("accelerators", len(FACTS.accelerators)), ("instances", len(FACTS.instances)),
        ("models", len(FACTS.models)), ("apis", len(FACTS.api_prices)),
    ],
)  # fmt: skip
def test_catalog_lists_everything(cpi: Cpi, name: str, count: int) -> None:
    assert len(json.loads(cpi("catalog", name, "--json").output)) == count
    assert cpi("catalog", name).output.endswith(f"\n{count:,} rows\n")
    nothing = cpi("catalog", name, "--filter", "zzz no such thing")
    assert (nothing.code, nothing.output) == (0, "0 rows\n")


def test_catalog_filters_by_every_word(cpi: Cpi) -> None:
    rows = json.loads(cpi("catalog", "accelerators", "--filter", "HOPPER sxm", "--json").output)
    assert {row["id"] for row in rows} >= {"h100-sxm", "h200-sxm"}
    assert all(row["generation"] == "hopper" for row in rows)
    assert all(row["sources"] and row["as_of"] for row in rows)


def test_catalog_models_show_derived_parameters(cpi: Cpi) -> None:
    """As published: DeepSeek-R1 has 671 B parameters, Llama-3.1-70B 70.6 B."""
    rows = {row["id"]: row for row in json.loads(cpi("catalog", "models", "--json").output)}
    assert rows["deepseek-r1"]["derived_params_b"] == pytest.approx(671, abs=0.5)
    assert rows["llama-3.1-70b"]["derived_params_b"] == pytest.approx(70.6, abs=0.05)


def test_catalog_check_goes_by_age(cpi: Cpi) -> None:
    def old(days: int) -> int:
        given = ("catalog", "check", "--older-than", str(days), "--json")
        return sum(row["what"] == "old" for row in json.loads(cpi(*given).output))

    assert old(0) > old(180) > old(20_000) == 0
    assert "missing" in cpi("catalog", "check").output


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["--bogus"], "--bogus"),
        (["estimate", "--bogus"], "--bogus"),
        (["estimate", "extra"], "extra"),
        (["estimate", "--set"], "--set"),
        (["estimate", "--set", "concurrency"], "not FIELD=VALUE"),
        (["estimate", "--set", "concurrency=7.5"], "a whole number from 1 to 8,192"),
        (["estimate", "--set", "concurrency=0"], "a whole number from 1 to 8,192"),
        (["estimate", "--set", "pue=nan"], "a number from 1 to 3"),
        (["estimate", "--set", "concurency=8"], "did you mean concurrency?"),
        (["estimate", "--set", "tp=8"], "did you mean tensor_parallel?"),
        (["estimate", "--set", "model=llama-3.1-8"], "llama-3.1-8b"),
        (["estimate", "--set", "region=mars"], "no region 'mars'"),
        (["estimate", "--link", "?v=1&tp=999"], "a whole number from 1 to 128"),
        (["estimate", "--link", "?zz=1"], "no field 'zz'"),
        (["estimate", "--link", "?v=99"], "version '99'"),
        (["estimate", "--link", "?c=1", "--file", "x.yaml"], "not both"),
        (["estimate", "--file", "none.yaml"], "no file 'none.yaml'"),
        (["estimate", "--file", "/"], "no .yaml"),
        (["link", "--set", "sc=never"], "did you mean scaling?"),
        (["sweep"], "--over"),
        (["sweep", "--over", "concurrency"], "FIELD=FROM:TO"),
        (["sweep", "--over", "nothing=1:2"], "no field 'nothing'"),
        (["sweep", "--over", "concurrency=1:9999"], "1 to 8,192"),
        (["sweep", "--over", "concurrency=1:2", "--set", "tensor_parallel=3"], "share evenly"),
        (["catalog", "bogus"], "bogus"),
        (["catalog", "check", "--older-than", "old"], "--older-than"),
        (["catalog", "check", "--older-than", "-1"], "--older-than"),
        (["estimate", "--set", "x\x1b[31m=1\nand more"], "no field"),
        (["estimate", *["--set", "a=1"] * 500], "And 495 more."),
    ],
    ids=lambda value: " ".join(value)[:40].encode("unicode_escape").decode(),
)
def test_bad_input_ends_with_one_clear_line(cpi: Cpi, arguments: list[str], words: str) -> None:
    ran = cpi(*arguments)
    assert ran.code == 2
    assert ran.output == ""
    assert ran.errors.startswith("cpi: ") and ran.errors.endswith("\n")
    assert ran.errors[:-1].isprintable()  # one line, nothing that moves a cursor
    assert words in ran.errors


def test_bad_files_end_with_one_clear_line(cpi: Cpi, tmp_path: Path) -> None:
    for name, text, words in (
        ("a.yaml", "serving: {concurrency: 0}", "1 to 8,192"),
        ("b.yaml", "nonsense: 1", "no field 'nonsense'"),
        ("c.json", "{", "not JSON"),
        ("[bold]d.toml", "", "no .yaml"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        ran = cpi("estimate", "--file", str(tmp_path / name))
        assert (ran.code, ran.output) == (2, "") and words in ran.errors
        assert len(ran.errors.splitlines()) == 1


def test_data_that_cannot_be_loaded_ends_with_one_line(
    cpi: Cpi, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cpi_model import catalog as module

    def broken() -> None:
        raise module.CatalogError("models/x.toml: hidden is missing")

    monkeypatch.setattr(module, "catalog", broken)
    ran = cpi("estimate")
    assert ran.code == 2 and "models/x.toml" in ran.errors


def test_text_of_files_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    text = "[red]x[/red] [/] :smile: [link=https://host.example]y"
    terminal._print_table({"id": "[b]Id"}, [{"id": text + "\x1b[31m\n"}])
    written = capsys.readouterr().out
    assert text in written and "[b]Id" in written
    assert "\x1b[31m" not in written


# Traffic ------------------------------------------------------------------------------------------


def test_traffic_of_a_trace_a_scenario_and_a_file(cpi: Cpi, tmp_path: Path) -> None:
    week = json.loads(cpi("traffic", "--trace", "azure-2024-code", "--json").output)
    # 16,803,695 requests in the week, as the source prints.
    assert week["statistics"]["requests"] == pytest.approx(16_803_695, rel=1e-6)
    assert week["start_weekday"] == 4
    given = cpi(
        "traffic", "--set", "requests_per_s=7", "--set", "traffic=azure-2024-code", "--json"
    )
    scaled = json.loads(given.output)["statistics"]
    assert scaled["mean"] == pytest.approx(7.0)
    assert scaled["peak_to_mean"] == pytest.approx(week["statistics"]["peak_to_mean"])
    assert scaled["input_tokens"] is None
    path = tmp_path / "mine.csv"
    path.write_text("time,count\n2026-05-06,60\n2026-05-07,\n2026-05-08,120\n", encoding="utf-8")
    ran = cpi("traffic", "--file", str(path))
    assert ran.code == 0 and "1 missing" in ran.output and "1 of 3 steps" in ran.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--trace", "azure-2024"], "azure-2024-code"),
        (["--file", "nothing.csv"], "nothing.csv cannot be read"),
        (["--trace", "azure-2024-code", "--set", "requests_per_s=1"], "one of --trace, --file"),
        (["--set", "traffic=azure-2024"], "azure-2024-code"),
        (["--set", "daily_swing=2"], "a number from 0 to 1"),
    ],
)
def test_traffic_that_cannot_be_is_refused(cpi: Cpi, arguments: list[str], says: str) -> None:
    ran = cpi("traffic", *arguments)
    assert ran.code == 2 and says in ran.errors and ran.errors.count("\n") == 1


# Files --------------------------------------------------------------------------------------------


def test_every_kind_of_file_is_written(cpi: Cpi, tmp_path: Path) -> None:
    for ending in files.KINDS:
        target = tmp_path / f"found.{ending}"
        ran = cpi("export", str(target), "--set", "concurrency=64", "--paper", "letter")
        assert ran.code == 0 and target.stat().st_size > 1000 and target.name in ran.output
    again = cpi("estimate", "--file", str(tmp_path / "found.json"), "--json")
    assert json.loads(again.output)["link"] == "?v=1&c=64"
    assert again.output == cpi("estimate", "--set", "concurrency=64", "--json").output


def test_a_file_says_why_a_scenario_cannot_work(cpi: Cpi, tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    ran = cpi("export", str(target), "--set", "model=llama-3.1-405b", "--json")
    document = json.loads(ran.output)
    assert ran.code == 0 and document["feasible"] is False
    assert document["reasons"] == json.loads(target.read_text())["reasons"] != []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("found.doc",), "must end in one of .xlsx"),
        (("found",), "must end in one of .xlsx"),
        (("nowhere/found.pdf",), "cannot be written"),
        (("found.pdf", "--paper", "a3"), "allowed is a4 or letter"),
        (("there.pdf",), "is there already"),
    ],
)
def test_a_file_that_cannot_be_written_is_told(
    arguments: tuple[str, ...], part: str, cpi: Cpi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "there.pdf"
    kept.write_bytes(b"mine")
    ran = cpi("export", *arguments)
    assert ran.code == 2 and part in ran.errors and ran.errors.count("\n") == 1
    assert kept.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [kept]
    assert cpi("export", "there.pdf", "--force").code == 0 and kept.read_bytes() != b"mine"


# The command itself -------------------------------------------------------------------------------


def test_help_names_every_command(cpi: Cpi) -> None:
    for arguments in ([], ["--help"]):
        ran = cpi(*arguments)
        assert ran.code == 0
        assert all(name in ran.output for name in ("estimate", "sweep", "link", "catalog"))
    listed = cpi("catalog").output
    assert all(name in listed for name in ("accelerators", "instances", "models", "apis", "check"))
    assert cpi("--version").output.strip() == __version__


def test_every_option_is_documented(cpi: Cpi, root: Path) -> None:
    text = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    for command in (
        "estimate", "export", "sweep", "link", "catalog accelerators", "catalog instances",
        "catalog models", "catalog apis", "catalog traces", "catalog check", "traffic",
        "advise",
    ):  # fmt: skip
        assert f"cpi {command}" in text
        options = set(re.findall(r"--[a-z][a-z-]+", cpi(*command.split(), "--help").output))
        for option in options - {"--help"}:
            assert f"`{option}" in text, option


def test_help_comes_at_once() -> None:
    program = (
        "import sys; sys.argv = ['cpi', '--help']\n"
        "from cpi_model.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'pandas', 'pydantic', 'rich', 'scipy', 'yaml', 'streamlit'} & "
        "set(sys.modules)), file=sys.stderr)"
    )
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        took.append(time.perf_counter() - begin)
    assert "estimate" in ran.stdout
    assert ran.stderr == "[]\n"
    assert min(took) < 0.7


def test_it_runs_as_a_module_and_into_a_closed_pipe() -> None:
    ran = shell("link", "--set", "concurrency=64")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "?v=1&c=64\n", "")
    assert shell("estimate", "--set", "concurrency=x").returncode == 2
    piped = subprocess.run(
        f'"{sys.executable}" -m cpi_model catalog apis --json | head -1',
        shell=True, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (piped.stdout, piped.stderr) == ("[\n", "")


# compress ----------------------------------------------------------------------------------------

LEVERS = Scenario(
    model="llama-3.1-70b", tensor_parallel=2, scheme="fp8", draft_model="head", student="ratio",
    cascade_model="llama-3.1-8b", requests_per_s=50.0,
)  # fmt: skip


def test_compress_prints_what_the_page_shows(cpi: Cpi) -> None:
    ran = cpi("compress", "--link", links.encode(LEVERS), "--json")
    assert ran.code == 0
    document = json.loads(ran.output)
    found = compression.bridge(LEVERS, FACTS)
    costs = [row["cost_per_inference_usd"] for row in document["levers"]]
    assert costs[0] == pytest.approx(found.before.cost)
    assert costs[-1] == pytest.approx(found.after.cost)
    assert document["distillation"]["break_even_inferences"] > 0
    assert {"fp8", "int4-awq", "bf16"} <= {row["scheme"] for row in document["precisions"]}


def test_compress_prints_a_table_for_people(cpi: Cpi) -> None:
    ran = cpi("compress", "--link", links.encode(LEVERS))
    assert ran.code == 0
    for word in ("student", "draft", "cascade", "Quality kept with all levers", "paid back"):
        assert word in ran.output


@pytest.mark.parametrize("change", ["scheme=nonsense", "student=bert-large", "acceptance=2"])
def test_compress_refuses_bad_input_in_a_line(cpi: Cpi, change: str) -> None:
    ran = cpi("compress", "--set", change)
    assert ran.code == 2
    assert ran.output == ""
    assert len(ran.errors.strip().splitlines()) == 1


# best --------------------------------------------------------------------------------------------


def test_best_prints_what_the_search_finds(cpi: Cpi) -> None:
    ran = cpi("best", "--slo-ttft", "800", "--slo-tpot", "40", "--top", "3", "--json")
    assert ran.code == 0
    document = json.loads(ran.output)
    wanted = Scenario(slo_ttft_ms=800.0, slo_tpot_ms=40.0)
    found = optimise.search(wanted, FACTS)
    costs = [row["cost_per_inference_usd"] for row in document["ranked"]]
    assert costs == pytest.approx([each.cost for each in found.ranked[:3]])
    assert document["hardware"] == len(found.ranked)
    linked, problems = links.decode(document["ranked"][0]["link"])
    assert problems == []
    assert linked == wanted.model_copy(update=found.ranked[0].changes)


def test_best_prints_a_table_for_people(cpi: Cpi) -> None:
    ran = cpi("best", "--set", "model=bert-large", "--set", "input_tokens=128")
    assert ran.code == 0
    for word in ("per million", "cheapest, %", "meet all limits", "Left out", "Link of the"):
        assert word in ran.output
    nothing = cpi("best", "--slo-latency", "1")
    assert nothing.code == 0
    assert "Nothing meets all limits" in nothing.output


@pytest.mark.parametrize(
    "options",
    [
        ("--slo-ttft", "0"), ("--slo-tpot", "nan"), ("--slo-latency", "soon"), ("--top", "0"),
        ("--set", "cascade_model=llama-3.2-1b"), ("--set", "model=nonsense"),
    ],
)  # fmt: skip
def test_best_refuses_bad_input_in_a_line(cpi: Cpi, options: tuple[str, ...]) -> None:
    ran = cpi("best", *options)
    assert ran.code == 2
    assert ran.output == ""
    assert len(ran.errors.strip().splitlines()) == 1


# sensitivity --------------------------------------------------------------------------------------


def test_sensitivity_prints_what_the_page_shows(cpi: Cpi) -> None:
    given = Scenario(requests_per_s=300.0, swing=0.1, currency="EUR", currency_per_usd=0.9)
    found = sensitivity.tornado(given, FACTS)
    ran = cpi("sensitivity", "--link", links.encode(given), "--json")
    assert ran.code == 0
    assert json.loads(ran.output) == json.loads(json.dumps(sensitivity.summary(found, given)))
    for_people = cpi("sensitivity", "--link", links.encode(given))
    assert for_people.code == 0 and "EUR per million" in for_people.output
    assert all(bar.title in for_people.output for bar in found.strongest)


def test_sensitivity_says_what_cannot_be(cpi: Cpi) -> None:
    ran = cpi("sensitivity", "--set", "scaling=fixed", "--set", "requests_per_s=9000")
    assert (ran.code, ran.output) == (2, "")
    assert ran.errors == "cpi: This cannot work: load above capacity.\n"
    left_out = cpi("sensitivity", "--set", "model=qwen3-14b", "--set", "tensor_parallel=8")
    assert "Left out: Tensor parallel 16 devices." in left_out.output


# compare ------------------------------------------------------------------------------------------


def test_compare_prints_the_tables_the_bridge_and_the_probability(cpi: Cpi) -> None:
    ran = cpi("compare", "default", "scheme=fp8 concurrency=64", "--set", "requests_per_s=300")
    assert ran.code == 0
    for word in ("What is different", "Results, USD", "From A to B", "Precision", "of cases"):
        assert word in ran.output
    link = ran.output.strip().splitlines()[-1]
    again = cpi("compare", link, "--json")
    assert again.code == 0
    document = json.loads(again.output)
    given = Scenario(requests_per_s=300.0)
    assert [each["link"] for each in document["scenarios"]] == [
        "?" + links.encode(given),
        "?" + links.encode(given.model_copy(update={"scheme": "fp8", "concurrency": 64})),
    ]
    way = document["against_first"][0]["bridge"]
    total = way["start_usd"] + sum(part["change_usd"] for part in way["parts"])
    assert total == pytest.approx(way["end_usd"], rel=1e-12)
    evenly = json.loads(cpi("compare", link, "--fair", "--json").output)
    assert evenly["shared_evenly"] and evenly["against_first"][0]["bridge"] != way


def test_compare_takes_links_and_files(cpi: Cpi, tmp_path: Path) -> None:
    (tmp_path / "two chips.yaml").write_text("model: llama-3.1-70b\ntensor_parallel: 2\n")
    ran = cpi("compare", "?v=1&q=fp8", str(tmp_path / "two chips.yaml"), "model=deepseek-r1")
    assert ran.code == 0
    assert "B · two chips" in ran.output
    # Changes are of the first, and one that cannot work says why and spoils no other.
    assert "C cannot work." in ran.output and "From A to B" in ran.output
    assert "From A to C" not in ran.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["default"], "Name at least two scenarios, or a link that compares some."),
        (["default"] * 5, "5 scenarios, at most 4 are compared."),
        (["default", "conc=3"], "There is no field 'conc'."),
        (["default", "concurrency=0"], "concurrency is '0', allowed is"),
        (["default", "model=gpt-9"], "There is no model 'gpt-9' in the catalog"),
        (["default", "nowhere.yaml"], "There is no file 'nowhere.yaml'."),
        (["?v=1&A=AwA&B=!"], "Scenario B cannot be read; was the link cut off?"),
    ],
)
def test_compare_refuses_what_it_cannot_read_in_a_line(
    cpi: Cpi, arguments: list[str], said: str
) -> None:
    ran = cpi("compare", *arguments)
    assert (ran.code, ran.output) == (2, "")
    assert ran.errors.startswith(f"cpi: {said}") and ran.errors.count("\n") == 1


# advise -------------------------------------------------------------------------------------------


def test_advise_prints_what_the_page_shows(cpi: Cpi) -> None:
    given = Scenario(requests_per_s=50.0, currency="EUR", currency_per_usd=0.9)
    told = story.tell(answer(given, FACTS), FACTS)
    assert told.advised is not None and told.advised.best is not None
    ran = cpi("advise", "--link", links.encode(given), "--json")
    assert ran.code == 0
    document = json.loads(ran.output)
    assert document["feasible"] and document["sentences"] == list(told.sentences)
    assert document["ranked"] == json.loads(json.dumps(advice.summary(told.advised)))["ranked"]
    for_people = cpi("advise", "--link", links.encode(given))
    assert for_people.code == 0 and "EUR a month" in for_people.output
    for each in (*told.advised.ranked, *told.advised.unmeasured):
        assert each.step.text in for_people.output


def test_advise_says_what_cannot_work(cpi: Cpi) -> None:
    ran = cpi("advise", "--set", "model=llama-3.1-70b")
    assert ran.code == 0 and ran.output.startswith("This cannot work.")
    document = json.loads(cpi("advise", "--set", "model=llama-3.1-70b", "--json").output)
    assert not document["feasible"] and document["reasons"] and len(document["sentences"]) == 3


# buy and prices ----------------------------------------------------------------------------------


def test_buy_prints_what_the_page_shows(cpi: Cpi) -> None:
    given = Scenario(accelerator="a10g", requests_per_s=100.0)
    ran = cpi("buy", "--link", links.encode(given), "--json")
    assert ran.code == 0
    assert json.loads(ran.output) == json.loads(json.dumps(buying.summary(given, FACTS)))


def test_buy_prints_a_table_for_people(cpi: Cpi) -> None:
    ran = cpi("buy", "--set", "requests_per_s=300")
    assert ran.code == 0
    for title in buying.TITLES.values():
        assert title in ran.output
    for words in ("USD per month", "fully loaded", "days old", "paid back against on demand"):
        assert words in ran.output


@pytest.mark.parametrize("change", ["owned_years=0", "model=llama-3.1-405b", "quiet_to_mean=2"])
def test_buy_refuses_what_cannot_be_in_a_line(cpi: Cpi, change: str) -> None:
    ran = cpi("buy", "--set", change)
    assert (ran.code, ran.output) == (2, "")
    assert len(ran.errors.strip().splitlines()) == 1


@pytest.fixture
def offers_file(tmp_path: Path) -> Path:
    path = tmp_path / "aws.csv"
    path.write_text(
        "instance_name,location,price,gpu_count,spot\np5.48xlarge,us-east-1,50.0,8,False\n",
        encoding="utf-8",
    )
    return path


def test_prices_refresh_writes_a_snapshot_and_prints_the_difference(
    cpi: Cpi, offers_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "kept"
    ran = cpi("prices", "refresh", "--source", str(offers_file), "--out", str(out))
    assert ran.code == 0
    assert "aws/p5.48xlarge" in ran.output and "-9.2%" in ran.output
    assert len(list(out.glob("prices-*.csv"))) == 1
    ran = cpi("prices", "refresh", "--source", str(offers_file), "--out", str(out), "--json")
    document = json.loads(ran.output)
    assert (document["prices"], document["changed"], document["skipped"]) == (1, 1, 0)


def test_prices_refresh_changes_nothing_when_it_cannot(cpi: Cpi, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    ran = cpi("prices", "refresh", "--source", str(tmp_path / "aws.csv"), "--out", str(out))
    assert (ran.code, ran.output) == (2, "")
    assert len(ran.errors.strip().splitlines()) == 1
    assert not out.exists()


# simulate -----------------------------------------------------------------------------------------


def test_simulate_prints_what_the_study_finds(cpi: Cpi) -> None:
    options = ("--set", "requests_per_s=40", "--set", "policy=hpa", "--days", "0.5")
    (found,) = json.loads(cpi("simulate", *options, "--json").output)["runs"]
    scenario = Scenario(requests_per_s=40.0, policy="hpa")
    served = traffic.fleet(answer(scenario, FACTS), FACTS)
    run = traffic.simulate(served, traffic.demand(scenario, FACTS, 0.5))
    assert found == traffic.document(run) | {"pareto": True}
    ran = cpi("simulate", *options)
    assert ran.code == 0
    assert "Kubernetes HPA" in ran.output and "idle beyond the need" in ran.output
    whole = json.loads(cpi("simulate", *options, "--exact", "--json").output)["runs"][0]
    assert whole["method"] == "exact"


def test_simulate_takes_traffic_from_a_trace_or_a_file(cpi: Cpi, tmp_path: Path) -> None:
    options = ("--set", "requests_per_s=40", "--policy", "keda", "--days", "0.2", "--json")
    table = tmp_path / "counts.csv"
    rows = [f"2026-01-05T{hour:02}:00:00Z,{100 + 10 * hour}" for hour in range(24)]
    table.write_text("\n".join(["time,count", *rows]), encoding="utf-8")
    for source in (("--trace", "azure-2024-conv"), ("--file", str(table))):
        ran = cpi("simulate", *options, *source)
        assert json.loads(ran.output)["runs"][0]["requests"]["arrived"] > 0, ran.errors


def test_simulate_compares_all_autoscalers(cpi: Cpi) -> None:
    ran = cpi("simulate", "--policy", "all", "--days", "0.1")
    assert ran.code == 0 and "The cheapest within the limits" in ran.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--policy", "magic"), "--policy is one of"),
        (("--trace", "none-such"), "none-such"),
        (("--policy", "serverless"), "No serverless price"),
        (("--set", "cascade_model=llama-3.2-1b"), "cascade"),
        (("--set", "model=llama-3.1-405b"), "deployment that works"),
        (("--trace", "azure-2024-conv", "--file", "x.csv"), "one of --trace"),
        (("--days", "0"), "--days"),
    ],
)
def test_simulate_refuses_bad_input_in_a_line(
    cpi: Cpi, options: tuple[str, ...], words: str
) -> None:
    ran = cpi("simulate", *options)
    assert ran.code == 2 and ran.output == ""
    assert len(ran.errors.splitlines()) == 1 and words in ran.errors


# waste -------------------------------------------------------------------------------------------


def test_waste_prints_what_the_page_shows(cpi: Cpi) -> None:
    given = Scenario(requests_per_s=60.0, nonproduction_share=0.3, live_versions=2)
    found = waste.bridge(given, FACTS)
    assert found is not None
    ran = cpi("waste", "--link", links.encode(given), "--json")
    assert ran.code == 0
    assert json.loads(ran.output) == json.loads(json.dumps(waste.summary(found, FACTS)))
    for_people = cpi("waste", "--link", links.encode(given))
    assert for_people.code == 0
    for part in found.parts:
        assert part.kind.title in for_people.output
    assert "saves" in for_people.output and "--set scaling=follow" in for_people.output


def test_waste_of_a_fleet_prints_sums_findings_and_rows_left_out(cpi: Cpi, tmp_path: Path) -> None:
    path = tmp_path / "fleet.csv"
    path.write_bytes(fleet.EXAMPLE.read_bytes() + b"bad,m,,,own,x,1,1,,,,,,,\n")
    ran = cpi("waste", "--fleet", str(path), "--json")
    assert ran.code == 0
    document = json.loads(ran.output)
    assert document == json.loads(
        json.dumps(fleet.summary(fleet.checked(fleet.read_file(path), FACTS)))
    )
    for_people = cpi("waste", "--fleet", str(path), "--threshold", "version_share=1")
    assert for_people.code == 0
    total = f"{float(document['total_usd']):,.2f}"
    for words in (total, "Partial", "Idle GPU", "replicas left out", "lab-rack-3"):
        assert words in for_people.output
    assert "Version with little traffic" not in for_people.output


@pytest.mark.parametrize(
    "given",
    [
        ["--set", "scaling=fixed", "--set", "requests_per_s=9000"],
        ["--fleet", "missing.csv"],
        ["--fleet", "missing.csv", "--set", "tensor_parallel=2"],
        ["--threshold", "idle_p95=3"],
        ["--fleet", "missing.csv", "--threshold", "idle_p95=101"],
        ["--fleet", "missing.csv", "--threshold", "nonsense=1"],
        ["--fleet", "missing.csv", "--threshold", "idle_p95"],
    ],
)
def test_waste_refuses_what_cannot_be_in_a_line(cpi: Cpi, given: list[str]) -> None:
    ran = cpi("waste", *given)
    assert (ran.code, ran.output) == (2, "")
    assert len(ran.errors.strip().splitlines()) == 1
