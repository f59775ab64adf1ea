"""The Trust page: its tables and charts, and what it does with measurements of the reader."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from streamlit.testing.v1 import AppTest

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.charts import DARK, LIGHT, Figure
from cpi_model.scenario import Scenario
from cpi_model.studies import accuracy, measurements, trust
from cpi_model.studies.accuracy import Compared

FACTS = catalog()
NAMES = trust.names(FACTS)
ROOT = Path(__file__).resolve().parent.parent
REPORT = (ROOT / "tests" / "uploads" / "guidellm.json").read_bytes()


@cache
def compared() -> tuple[Compared, ...]:
    return tuple(accuracy.compare(measurements.rows(), FACTS))


def of(measure: str) -> list[Compared]:
    return [each for each in compared() if each.measure == measure]


def points(figure: Figure) -> list[tuple[float, float, str]]:
    """What can be pointed at: estimated, measured and the words."""
    return [
        point
        for trace in figure["data"]
        if trace["mode"] == "markers"
        for point in zip(trace["x"], trace["y"], trace["hovertext"], strict=True)
    ]


# Charts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("measure", trust.MEASURES)
def test_plotly_takes_the_scatter_and_all_of_it_is_inside(
    measure: str, palette: charts.Palette
) -> None:
    figure = charts.predicted_against_measured(of(measure), of(measure)[:3], NAMES, palette)
    assert len(go.Figure(figure).data) == len(figure["data"])
    json.dumps(figure, allow_nan=False)
    assert len(points(figure)) == len(of(measure)) + 3
    for name, place in (("xaxis", 0), ("yaxis", 1)):
        axis = figure["layout"][name]
        low, high = axis["range"]
        assert all(low < math.log10(point[place]) < high for point in points(figure))
        assert all(low <= math.log10(tick) <= high for tick in axis["tickvals"])
        assert len(axis["tickvals"]) == len(axis["ticktext"]) >= 1


def test_points_stand_where_their_figures_say() -> None:
    found = of("tpot")
    shown = points(charts.predicted_against_measured(found, (), NAMES))
    for place, field in ((0, "predicted"), (1, "measured")):
        wanted = sorted(1e3 * getattr(each, field) for each in found)
        assert np.allclose(sorted(point[place] for point in shown), wanted, rtol=1e-3)


def test_lines_are_equal_half_and_twice() -> None:
    figure = charts.predicted_against_measured(of("ttft"), (), NAMES)
    (lines,) = (trace for trace in figure["data"] if trace["mode"] == "lines")
    known = [(x, y) for x, y in zip(lines["x"], lines["y"], strict=True) if x is not None]
    ratios = [round(y / x, 6) for x, y in known]
    assert ratios == [1, 1, 0.5, 0.5, 2, 2]
    low, high = figure["layout"]["xaxis"]["range"]
    assert all(low <= math.log10(value) + 1e-9 for point in known for value in point)
    assert all(math.log10(value) <= high + 1e-9 for point in known for value in point)


def test_many_points_are_drawn_by_the_graphics_card() -> None:
    few, many = of("tpot"), of("tpot") * 4
    for found, kind in ((few, "scatter"), (many, "scattergl")):
        figure = charts.predicted_against_measured(found, (), NAMES)
        marks = [trace for trace in figure["data"] if trace["mode"] == "markers"]
        assert {trace["type"] for trace in marks} == {kind}
        go.Figure(figure)


def test_texts_of_files_are_not_rendered_in_a_chart() -> None:
    odd = replace(of("tpot")[0], source="", id="<a href='https://x.example'>x</a>", model="<b>m")
    figure = charts.predicted_against_measured([], [odd], NAMES)
    ((_, _, words),) = points(figure)
    assert "<a" not in words and "<b>" not in words and "&lt;a href" in words
    assert words.count("<br>") == words.count("<")


@pytest.mark.parametrize("count", [0, 1])
def test_few_points_make_a_chart_too(count: int) -> None:
    figure = charts.predicted_against_measured(of("cost")[:count], (), NAMES)
    go.Figure(figure)
    low, high = figure["layout"]["xaxis"]["range"]
    assert low < high


@pytest.mark.parametrize("by", ["model_class", "hardware", "engine"])
@pytest.mark.parametrize("measure", trust.MEASURES)
def test_bars_are_the_errors(measure: str, by: Any) -> None:
    found = accuracy.errors(of(measure), by)
    figure = charts.errors_by_group(found, NAMES)
    assert len(go.Figure(figure).data) == 2
    json.dumps(figure, allow_nan=False)
    bars, marks = figure["data"]
    assert len(bars["x"]) == len(marks["x"]) == min(len(found), charts.MOST_BARS)
    high = figure["layout"]["xaxis"]["range"][1]
    assert all(0 <= x <= high for x in (*bars["x"], *marks["x"]))
    most = max(found, key=lambda each: each.rows)
    assert bars["x"][0] == pytest.approx(min(100 * most.median, high), rel=1e-3)


def test_a_group_that_is_far_off_does_not_flatten_the_others() -> None:
    near, far = accuracy.errors(of("tpot"), "model_class")[0], 30.0
    figure = charts.errors_by_group(
        [replace(near, group="far", median=2.5, p90=far), replace(near, median=0.1, p90=0.2)], {}
    )
    assert figure["layout"]["xaxis"]["range"][1] == 200
    assert "triangle-right" in figure["data"][1]["marker"]["symbol"]


# Tables ------------------------------------------------------------------------------------------


def test_coverage_is_counted_over_figures_with_a_range() -> None:
    base = of("tpot")[0]
    found = trust.coverage(
        [replace(base, inside=inside) for inside in (True, True, True, False, None)]
    )
    assert found == {"tpot": (0.75, 4)}


def test_tables_say_names_and_percent() -> None:
    found = accuracy.errors(of("throughput"), "model_class")
    table = trust.error_table(found, NAMES)
    assert table[0]["Group"] == "Language model"  # most runs first
    by_name = {NAMES[each.group]: each for each in found}
    for row in table:
        each = by_name[str(row["Group"])]
        assert row["Median"] == pytest.approx(100 * each.median)
        assert row["Runs"] == each.rows
    (row,) = trust.own_table([of("tpot")[0]], NAMES)
    assert row["Off by"] == pytest.approx(100 * (of("tpot")[0].ratio - 1))


# The page ----------------------------------------------------------------------------------------


def page(query: dict[str, str] | None = None) -> AppTest:
    opened = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for key, value in (query or {"v": "1"}).items():
        opened.query_params[key] = value
    opened.switch_page("pages/2_Trust.py")
    opened.run()
    assert not opened.exception
    return opened


def upload(opened: AppTest, *files: tuple[str, bytes]) -> None:
    given = [(name, content, "application/octet-stream") for name, content in files]
    opened.file_uploader[0].set_value(given).run()
    assert not opened.exception


def words(opened: AppTest) -> str:
    return "\n".join(each.value for each in [*opened.text, *opened.markdown, *opened.caption])


def button(opened: AppTest, label: str) -> Any:
    return next(each for each in opened.button if each.label == label)


def labels(opened: AppTest) -> set[str]:
    return {each.label for each in opened.button}


def scenario(opened: AppTest) -> Scenario:
    kept = opened.session_state["scenario"]
    assert isinstance(kept, Scenario)
    return kept


def test_the_page_shows_points_errors_and_what_was_never_measured() -> None:
    opened = page()
    assert len(opened.get("plotly_chart")) == 2
    assert "Runs like this scenario" in words(opened) and "public runs" in words(opened)
    assert len(opened.dataframe[0].value) == len({each.model_class for each in of("throughput")})
    opened.session_state["unmeasured"] = True
    opened.run()
    unmeasured = accuracy.never_measured(FACTS)
    assert FACTS.accelerators[unmeasured.without_relatives[0]].name in words(opened)


@pytest.mark.parametrize("measure", trust.MEASURES)
@pytest.mark.parametrize("by", ["hardware", "engine"])
def test_each_measure_and_grouping_can_be_chosen(measure: str, by: str) -> None:
    opened = page()
    opened.session_state["trust_measure"], opened.session_state["trust_by"] = measure, by
    opened.run()
    assert not opened.exception
    assert len(opened.dataframe[0].value) == len({getattr(each, by) for each in of(measure)})


@pytest.mark.parametrize("model", ["deepseek-r1", "gpt-9", "bert-large"])
def test_the_page_stands_whatever_the_scenario(model: str) -> None:
    opened = page({"v": "1", "m": model})
    upload(opened, ("mine.json", REPORT))
    assert len(opened.get("plotly_chart")) == 2


def test_a_correction_is_taken_over_and_taken_back() -> None:
    opened = page()
    upload(opened, ("mine.json", REPORT))
    assert len(opened.dataframe[1].value) == 3 * 4  # three runs with four figures each
    assert "the scenario did: hardware h100-sxm" in words(opened)
    assert "Take the correction back" not in labels(opened)
    before = opened.dataframe[1].value["Off by"].abs().median()
    button(opened, "Use this correction in the scenario").click().run()
    assert not opened.exception
    used = scenario(opened)
    assert used.step_time_correction != 1 and used.first_token_correction != 1
    assert opened.query_params["kt"] == f"{used.step_time_correction:g}"
    assert "Use this correction in the scenario" not in labels(opened)
    assert opened.dataframe[1].value["Off by"].abs().median() < before
    button(opened, "Take the correction back").click().run()
    assert scenario(opened) == Scenario()


def test_bad_files_are_told_and_nothing_is_lost() -> None:
    opened = page()
    upload(opened, ("mine.json", REPORT))
    rows = len(opened.dataframe[1].value)
    upload(opened, ("<b>bad</b>.json", b"{"), ("table.csv", b"a,b\n1,2\n"))
    assert len(opened.dataframe[1].value) == rows
    said = [each.value for each in opened.text]
    assert any("line 1 cannot be read" in each for each in said)
    assert any("no column model" in each for each in said)
    assert "<b>" not in "\n".join(each.value for each in [*opened.markdown, *opened.caption])


def test_measurements_outlive_other_pages_and_can_be_removed() -> None:
    opened = page()
    upload(opened, ("mine.json", REPORT))
    opened.switch_page("app.py").run()
    opened.switch_page("pages/2_Trust.py").run()
    assert not opened.exception
    assert len(opened.dataframe) == 2
    button(opened, "Remove these measurements").click().run()
    assert len(opened.dataframe) == 1


def test_the_same_file_again_replaces_itself() -> None:
    opened = page()
    for _ in range(2):
        upload(opened, ("mine.json", REPORT))
    assert len(opened.dataframe[1].value) == 3 * 4


def test_two_runs_are_too_few_and_others_are_counted_with_their_reason() -> None:
    header = "model,hardware,scenario,engine,concurrency,input_tokens,output_tokens,tpot_ms\n"
    row = "llama-3.1-8b,h100-sxm,closed-loop,vllm,8,1000,250,10\n"
    opened = page()
    upload(opened, ("mine.csv", (header + 2 * row + row.replace("h100-sxm", "h900")).encode()))
    said = "\n".join(each.value for each in opened.text)
    assert "takes 3 runs" in said and "here are 2" in said
    assert "1 run not estimated: hardware not in the catalog." in said
    assert "Use this correction in the scenario" not in labels(opened)


def test_the_example_of_a_table_is_one_that_is_read() -> None:
    from cpi_model import export
    from cpi_model.studies import uploads
    from cpi_model.ui.trust import EXAMPLES, example_table

    content = export.csv(example_table())
    found = uploads.read("runs.csv", content, Scenario(), FACTS)
    assert len(accuracy.compare(found.rows, FACTS)) >= EXAMPLES
