"""Exported files: each is opened with another library than the one that wrote it."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pptx
import pypdf
import pytest

from cpi_model import links
from cpi_model.catalog import catalog
from cpi_model.export import files, onepage, report
from cpi_model.export.report import Report
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies.answer import COMPONENTS, Answer, answer, summary

LINK = "http://127.0.0.1:8501/?v=1&c=64"
TODAY = date(2026, 11, 25)
SCENARIOS = {
    "language": Scenario(),
    "cascade": Scenario(
        model="llama-3.1-70b", scheme="fp8", tensor_parallel=2, cascade_model="llama-3.2-1b",
        answer_hit_share=0.2, currency="EUR", currency_per_usd=0.9, cost_basis="marginal",
    ),
    "encoder": Scenario(model="bert-large", engine="tensorrt", accelerator="l4", input_tokens=128),
    "trees": Scenario(
        model="gbt-fraud-500x8", engine="treelite", scheme="fp32", accelerator="graviton4"
    ),
    "does not fit": Scenario(model="llama-3.1-70b"),
    "does not go together": Scenario(accelerator="l4", engine="tensorrt"),
}  # fmt: skip
FIXED = Scenario(scaling="fixed", fixed_replicas=4, requests_per_s=5.0)
SPOT_CHECKED = (
    "Requests per second",
    "Target utilisation",
    "Concurrency",
    "Platform overhead",
    "Input tokens",
)
HOSTILE = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "</script><script>alert(1)</script>", "<b>&amp;\"'",
    '#image("secret")', "$x^2$ *bold* _it_ `code` \\", "\x00\x07\x1b[31m", "日本語 \u202e",
    "x" * 5000,
]  # fmt: skip


def report_of(*scenarios: Scenario, **how: Any) -> Report:
    answers = [answer(scenario, catalog()) for scenario in scenarios]
    return report.of(answers, catalog(), LINK, today=TODAY, **how)


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return {name: report_of(scenario) for name, scenario in SCENARIOS.items()}


def named(texts: Sequence[str]) -> Answer:
    """An answer in which everything that has a name is called one of these."""
    found = answer(Scenario(), catalog())
    assert found.choice is not None
    choice = found.choice
    assert choice.price is not None and choice.instance is not None
    model, chip, scheme, engine, instance, source = texts
    changed = replace(
        choice,
        model=choice.model.model_copy(update={"name": model}),
        accelerator=choice.accelerator.model_copy(update={"name": chip}),
        scheme=choice.scheme.model_copy(update={"name": scheme}),
        engine=choice.engine.model_copy(update={"name": engine}),
        instance=choice.instance.model_copy(update={"id": instance, "source": source}),
        price=choice.price.model_copy(update={"instance": instance, "source": source}),
        notes=tuple(texts),
    )
    return replace(found, choice=changed)


# Every kind of file and of scenario ---------------------------------------------------------------


@pytest.mark.parametrize("ending", files.KINDS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_file_has_link_date_catalog_and_version(
    name: str, ending: str, reports: dict[str, Report]
) -> None:
    text = text_of(ending, files.KINDS[ending].make(reports[name]))
    shown = reports[name]
    wanted = ["?v=1&c=64", "2026-11-25", shown.prices_on.isoformat(), shown.version]
    if shown.first.feasible:
        wanted += [shown.title, shown.band]
    elif ending != "yaml":
        wanted.append(shown.first.points[0][:60])
    for each in wanted:
        assert each in text, each


def text_of(ending: str, data: bytes) -> str:
    """All text of a file, read by another library; blanks are one blank."""
    text = READERS[ending](data)
    return re.sub(r"\s+", " ", text.replace("&amp;", "&"))


def _workbook_text(data: bytes) -> str:
    book = openpyxl.load_workbook(io.BytesIO(data), data_only=True)
    return "\n".join(
        value.date().isoformat() if hasattr(value, "date") else str(value)
        for sheet in book
        for row in sheet.iter_rows(values_only=True)
        for value in row
        if value is not None
    )


def _page_text(data: bytes) -> str:
    (page,) = pypdf.PdfReader(io.BytesIO(data)).pages
    return page.extract_text()


def _slide_text(data: bytes) -> str:
    (slide,) = pptx.Presentation(io.BytesIO(data)).slides
    texts = [shape.text_frame.text for shape in slide.shapes if shape.has_text_frame]
    assert slide.notes_slide.notes_text_frame is not None
    return "\n".join([*texts, slide.notes_slide.notes_text_frame.text])


class Page(HTMLParser):
    """What a browser would take from a page: its text, its tags, what they point to."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.targets: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.handlers: list[str] = []
        self.inside = ""
        self.feed(data.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inside = tag
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
                self.targets.append((tag, name, value or ""))
            if name.startswith("on"):
                self.handlers.append(name)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.words.append(data)


READERS = {
    "xlsx": _workbook_text, "pdf": _page_text, "pptx": _slide_text,
    "html": lambda data: " ".join(Page(data).words),
    "csv": lambda data: data.decode("utf-8-sig"), "json": lambda data: data.decode(),
    "yaml": lambda data: data.decode(),
}  # fmt: skip


@pytest.mark.parametrize("ending", files.KINDS)
def test_several_scenarios_stand_side_by_side(ending: str) -> None:
    shown = report_of(
        Scenario(), SCENARIOS["encoder"], SCENARIOS["does not fit"], names=("one", "two", "three")
    )
    text = text_of(ending, files.KINDS[ending].make(shown))
    if ending != "yaml":
        assert "bert-large" in text.lower() and "do not fit" in text
        assert shown.scenes[1].results["loaded"].text in text or ending in ("csv", "json")


def test_figures_side_by_side_are_in_one_currency() -> None:
    euros = Scenario(currency="EUR", currency_per_usd=0.9)
    first, second = report_of(euros, Scenario()).scenes
    assert first.results["month"] == second.results["month"]
    assert report.bars(report_of(euros, Scenario()))[f"2 {second.name}"] == pytest.approx(
        report.bars(report_of(euros))["Fully loaded"]
    )


@pytest.mark.parametrize("ending", files.KINDS)
def test_one_of_several_may_be_the_first_that_cannot_work(ending: str) -> None:
    shown = report_of(SCENARIOS["does not go together"], Scenario())
    assert files.KINDS[ending].make(shown)


# Workbook -----------------------------------------------------------------------------------------


class Sheet:
    """A second method: formulas of a sheet worked out from their text, by Python's arithmetic."""

    def __init__(self, data: bytes, name: str) -> None:
        self.cells = {
            cell.coordinate: cell.value
            for row in openpyxl.load_workbook(io.BytesIO(data))[name].iter_rows()
            for cell in row
        }

    def value(self, at: str) -> Any:
        content = self.cells[at]
        if not (isinstance(content, str) and content.startswith("=")):
            return content
        formula = content[1:].replace("$", "")
        formula = re.sub(
            r"SUM\(([A-Z])(\d+):\1(\d+)\)",
            lambda m: "(" + "+".join(f"{m[1]}{n}" for n in range(int(m[2]), int(m[3]) + 1)) + ")",
            formula,
        )
        formula = re.sub(r'IF\((.+?),"(.+?)","(.+?)"\)', r"('\2' if \1 else '\3')", formula)
        names = set(re.findall(r"(?<!')\b[A-Z]\d+\b", formula))
        return eval(formula, {"__builtins__": {}}, {name: self.value(name) for name in names})

    def row(self, first: str) -> int:
        return next(
            int(at[1:]) for at, value in self.cells.items() if value == first and at[0] == "A"
        )


def cost_sheet(scenario: Scenario) -> Sheet:
    return Sheet(files.KINDS["xlsx"].make(report_of(scenario)), "Cost")


@pytest.mark.parametrize("name", ["language", "cascade", "encoder", "trees"])
def test_formulas_come_to_our_totals_and_to_what_is_written_beside_them(
    name: str, reports: dict[str, Report]
) -> None:
    data = files.KINDS["xlsx"].make(reports[name])
    sheet, scene = Sheet(data, "Cost"), reports[name].first
    cached = openpyxl.load_workbook(io.BytesIO(data), data_only=True)["Cost"]
    formulas = 0
    for at, content in sheet.cells.items():
        if isinstance(content, str) and content.startswith("="):
            formulas += 1
            kept, found = cached[at].value, sheet.value(at)
            assert kept == (found if isinstance(found, str) else pytest.approx(found, rel=1e-9))
    assert formulas > 25
    rate = scene.scenario.currency_per_usd
    month, each = float(scene.results["month"].value), float(scene.estimate.cost_per_inference)
    assert sheet.value(f"B{sheet.row('Per month')}") == pytest.approx(month, abs=0.005)
    assert sheet.value(f"B{sheet.row('Per inference')}") == pytest.approx(each * rate, rel=1e-9)
    successes = scene.scenario.requests_per_s * scene.scenario.success_share
    for component in COMPONENTS:
        ours = float(getattr(scene.estimate, f"{component}_cost")) * successes * 730 * 3600 * rate
        row = sheet.row(component.capitalize())
        column = "I" if name == "cascade" else "G"
        assert sheet.value(f"{column}{row}") == pytest.approx(ours, abs=0.005)


def test_a_changed_price_and_volume_move_the_total_as_the_model_does() -> None:
    sheet = cost_sheet(FIXED)
    dear = FIXED.model_copy(update={"requests_per_s": 9.0, "success_share": 0.9})
    dear = dear.model_copy(update={"device_price_usd_per_hour": 3.5})
    ours = answer(dear, catalog())
    assert ours.inputs is not None and ours.estimate is not None
    sheet.cells["B4"], sheet.cells["B5"] = 9.0, 0.9
    sheet.cells["C12"] = float(ours.inputs.instance_price) * 3600
    month = sheet.value(f"B{sheet.row('Per month')}")
    assert month == pytest.approx(float(ours.estimate.cost_rate) * 730 * 3600, abs=0.005)
    each = sheet.value(f"B{sheet.row('Per inference')}")
    assert each == pytest.approx(float(ours.estimate.cost_per_inference), rel=1e-9)
    tokens = sheet.value(f"B{sheet.row('Per million output tokens')}")
    assert tokens == pytest.approx(float(ours.estimate.output_token_cost) * 1e6, rel=1e-9)


def test_too_much_traffic_for_the_instances_is_said() -> None:
    sheet = cost_sheet(FIXED)
    assert sheet.value("F12") == "enough"
    sheet.cells["B4"] = 1000.0
    assert sheet.value("F12") == "too few"


def test_inputs_have_every_field_with_default_source_and_date() -> None:
    data = files.KINDS["xlsx"].make(report_of(Scenario(concurrency=64)))
    rows = list(openpyxl.load_workbook(io.BytesIO(data))["Inputs"].iter_rows(values_only=True))
    head, body = rows[0], rows[1:]
    fields = {row[head.index("Name")]: dict(zip(head, row, strict=True)) for row in body}
    assert set(fields) == set(FIELDS)
    assert fields["concurrency"]["Value"] == 64
    assert fields["concurrency"]["Default"] == FIELDS["concurrency"].default
    assert fields["concurrency"]["Source"] == "entered by you"
    for name, info in FIELDS.items():
        if name != "concurrency" and info.as_of is not None:
            assert fields[name]["Source"] == info.source
            assert fields[name]["Date"].date() == info.as_of


@pytest.mark.parametrize("name", ["language", "cascade", "trees"])
def test_sensitivities_are_what_the_model_says_of_each_end(
    name: str, reports: dict[str, Report]
) -> None:
    data = files.KINDS["xlsx"].make(reports[name])
    sheet = openpyxl.load_workbook(io.BytesIO(data))["Sensitivities"]
    rows = list(sheet.iter_rows(values_only=True))
    titles = {info.title: field for field, info in FIELDS.items() if info.kind != "choice"}
    scenario, checked = SCENARIOS[name], 0
    marginal = "marginal_" if scenario.cost_basis == "marginal" else ""
    for title, _, _, *ends, _ in (row[:10] for row in rows[2:] if row[0] in titles):
        for value, cost, _ in (ends[:3], ends[3:]):
            changed, problem = links.check(titles[title], value)
            if cost is None or title not in SPOT_CHECKED:
                continue
            assert not problem
            found = answer(scenario.model_copy(update={titles[title]: changed}), catalog())
            ours = float(getattr(found.estimate, f"{marginal}cost_per_inference"))
            assert cost == pytest.approx(ours * 1e6 * scenario.currency_per_usd, rel=1e-9)
            checked += 1
    assert checked >= 4


def test_the_chart_is_native_and_points_at_the_table() -> None:
    archive = zipfile.ZipFile(io.BytesIO(files.KINDS["xlsx"].make(report_of(Scenario()))))
    (chart,) = (name for name in archive.namelist() if re.search(r"charts/chart\d+\.xml", name))
    text = archive.read(chart).decode()
    assert text.count("<c:ser>") == len(COMPONENTS) and "Summary!" in text
    assert upright(text)


def upright(chart: str) -> bool:
    """Whether bars stand from top to bottom and grow to the right, with the scale below them."""
    names, scale = (re.search(rf"<c:{axis}>.*</c:{axis}>", chart) for axis in ("catAx", "valAx"))
    assert names is not None and scale is not None
    return (
        'orientation val="maxMin"' in names[0]
        and 'orientation val="maxMin"' not in scale[0]
        and 'crosses val="max"' in scale[0]
    )


# Page, slide, web page ----------------------------------------------------------------------------


@pytest.mark.parametrize(("paper", "size"), [("a4", (595, 842)), ("letter", (612, 792))])
def test_the_page_has_its_size_and_its_fonts(paper: report.Paper, size: tuple[int, int]) -> None:
    reader = pypdf.PdfReader(io.BytesIO(onepage.pdf(report_of(Scenario(), paper=paper))))
    (page,) = reader.pages
    assert (round(page.mediabox.width), round(page.mediabox.height)) == size
    for font in page["/Resources"]["/Font"].values():  # type: ignore[index]
        (inner,) = font.get_object()["/DescendantFonts"]
        assert {"/FontFile2", "/FontFile3"} & set(inner.get_object()["/FontDescriptor"])
    uris = [note.get_object()["/A"]["/URI"] for note in page.get("/Annots", [])]
    assert set(uris) <= {LINK} and uris


def test_a_scenario_with_every_field_changed_is_still_one_page() -> None:
    changed: dict[str, Any] = {}
    for name, info in FIELDS.items():
        if info.group in ("overheads", "scaling", "workload") and info.kind == "float":
            changed[name] = links.check(name, (info.default or 1.0) * 1.01 + 0.001)[0]
    changed = {name: value for name, value in changed.items() if value is not None}
    scenario = Scenario().model_copy(update=changed)
    assert len(pypdf.PdfReader(io.BytesIO(onepage.pdf(report_of(scenario)))).pages) == 1
    eight = report_of(*[Scenario(concurrency=count) for count in range(1, 9)])
    (page,) = pypdf.PdfReader(io.BytesIO(onepage.pdf(eight))).pages
    assert "and 3 more" in page.extract_text()
    assert "and 3 more" in _slide_text(files.KINDS["pptx"].make(eight))


@pytest.mark.parametrize("name", ["language", "cascade", "encoder", "trees"])
def test_the_chart_of_the_slide_has_our_figures(name: str, reports: dict[str, Report]) -> None:
    scene = reports[name].first
    deck = pptx.Presentation(io.BytesIO(files.KINDS["pptx"].make(reports[name])))
    (slide,) = deck.slides
    (chart,) = (shape.chart for shape in slide.shapes if shape.has_chart)
    plot = chart.plots[0]
    assert list(plot.categories) == ["Fully loaded", "Marginal"]
    rate = scene.scenario.currency_per_usd * 1e6
    for series, component in zip(plot.series, COMPONENTS, strict=True):
        assert series.name == component.capitalize()
        ours = [
            float(getattr(scene.estimate, f"{basis}{component}_cost")) * rate
            for basis in ("", "marginal_")
        ]
        assert list(series.values) == pytest.approx(ours, rel=1e-12)
    # It can be edited: the figures are in a workbook inside.
    archive = zipfile.ZipFile(io.BytesIO(files.KINDS["pptx"].make(reports[name])))
    assert any(name.endswith(".xlsx") for name in archive.namelist())
    assert upright(archive.read(chart.part.partname.lstrip("/")).decode())


def test_the_web_page_loads_nothing(reports: dict[str, Report]) -> None:
    page = Page(files.KINDS["html"].make(reports["language"]))
    assert [each for each in page.targets if not each[2].startswith("#")] == [("a", "href", LINK)]
    assert not {"iframe", "object", "embed", "link", "img", "base", "form"} & set(page.tags)
    assert not page.handlers
    # Figures, the library and the lines that draw; the library stands there once.
    assert len(page.scripts) == 3
    assert sum(len(script) > 1_000_000 for script in page.scripts) == 1
    figures = json.loads(page.scripts[0])
    assert set(figures["drawn"]) == {"parts-1", "curve-1", "moves-1"}


def test_a_link_that_no_browser_should_follow_is_text() -> None:
    found = report.of([answer(Scenario(), catalog())], catalog(), "javascript:alert(1)")
    assert Page(files.KINDS["html"].make(found)).targets == []


# Hostile names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", range(0, len(HOSTILE), 3))
def test_names_cannot_break_out(start: int) -> None:
    texts = [HOSTILE[(start + place) % len(HOSTILE)] for place in range(6)]
    link = f"http://127.0.0.1/?v=1&x={texts[0]}"
    found = report.of([named(texts)], catalog(), link, today=TODAY)
    assert len(pypdf.PdfReader(io.BytesIO(onepage.pdf(found))).pages) == 1
    assert _slide_text(files.KINDS["pptx"].make(found))

    data = files.KINDS["xlsx"].make(found)
    book = openpyxl.load_workbook(io.BytesIO(data))
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                # Formulas are ours alone: of cells, numbers and two functions.
                if cell.data_type == "f":
                    assert re.fullmatch(
                        r"=[A-Z0-9$*/+\-.():,>'! e]*(\"too few\",\"enough\"\))?",
                        str(cell.value).replace("'Cost'!", "").replace("SUM", "").replace("IF", ""),
                    ), cell.value

    for row in csv.reader(io.StringIO(files.KINDS["csv"].make(found).decode("utf-8-sig"))):
        assert not any(
            cell.startswith(("=", "+", "@", "\t")) or re.match(r"-\D", cell) for cell in row
        )
    assert json.loads(files.KINDS["json"].make(found))["feasible"] is True
    scenario, problems = links.from_text(files.KINDS["yaml"].make(found).decode(), "yaml")
    assert (scenario, problems) == (Scenario(), [])

    page = Page(files.KINDS["html"].make(found))
    assert len(page.scripts) == 3 and not page.handlers
    assert "b" not in page.tags
    assert all("alert(1)" not in script for script in page.scripts)


# And back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["json", "yaml"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_file_opens_as_the_same_scenario(
    name: str, ending: str, reports: dict[str, Report], tmp_path: Path
) -> None:
    path = tmp_path / f"scenario.{ending}"
    path.write_bytes(files.KINDS[ending].make(reports[name]))
    assert links.load_file(path) == (SCENARIOS[name], [])


def test_json_has_what_the_terminal_gives(reports: dict[str, Report]) -> None:
    document = json.loads(files.KINDS["json"].make(reports["cascade"]))
    assert document["meta"]["link"] == LINK and document["meta"]["made_on"] == "2026-11-25"
    del document["meta"], document["scenario"]
    ours = json.loads(json.dumps(summary(answer(SCENARIOS["cascade"], catalog()))))
    assert document == ours


def test_csv_has_the_figures(reports: dict[str, Report]) -> None:
    text = files.KINDS["csv"].make(reports["language"]).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    estimate = reports["language"].first.estimate
    (found,) = (row for row in rows if row["name"] == "Cost per inference, fully loaded")
    assert float(found["value"]) == float(estimate.cost_per_inference)
    assert float(found["likely_low"]) <= float(found["value"]) <= float(found["likely_high"])
    months = [float(row["value"]) for row in rows if row["part"] == "cost of a month"]
    assert sum(months) == pytest.approx(float(estimate.cost_rate) * 730 * 3600, rel=1e-9)


def test_ranges_enclose_their_figures(reports: dict[str, Report]) -> None:
    for shown in reports.values():
        for result in shown.first.results.values():
            low = -np.inf if result.low is None else result.low
            high = np.inf if result.high is None else result.high
            assert low <= result.value * (1 + 1e-9) and result.value <= high * (1 + 1e-9)


def test_nothing_heavy_is_loaded_before_a_file_is_made(root: Path) -> None:
    program = (
        "import sys, cpi_model.export.files; "
        "print({'xlsxwriter', 'pptx', 'typst', 'vl_convert'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
