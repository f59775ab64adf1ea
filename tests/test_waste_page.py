"""The Waste page: its figures and charts, its buttons, and what it does with a reader's fleet."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from streamlit.testing.v1 import AppTest

from cpi_model import charts, links
from cpi_model.catalog import catalog
from cpi_model.charts import DARK, LIGHT
from cpi_model.export import money
from cpi_model.scenario import Scenario
from cpi_model.studies import fleet as study
from cpi_model.studies import uploads, waste
from cpi_model.units import MILLION

ROOT = Path(__file__).resolve().parent.parent
FACTS = catalog()
FLEET = "A fleet from a file"
SCENARIOS = {
    "busy": Scenario(
        requests_per_s=60.0, spare_replicas=1, nonproduction_share=0.3, live_versions=3,
        old_traffic_share=0.05,
    ),
    "follow": Scenario(
        scaling="follow", instance="aws/p5.48xlarge", requests_per_s=500.0, currency="EUR",
        currency_per_usd=0.9,
    ),
    "committed": Scenario(purchase="reserved_1y", accelerator="a10g", model="llama-3.2-1b",
                          unused_commitment_share=0.3),
}  # fmt: skip
BAD_ROWS = (
    b"resource,model,version,hardware,replicas,hours,usd_per_hour,requests,gpu_mean_percent,"
    b"gpu_p95_percent\n"
    b"chat,llama,v1,own,2,730,3,1000000,60,90\n"
    b"broken,llama,v1,own,many,730,3,10,60,90\n"
    b"<b>zombie</b>,llama,v0,own,1,730,3,0,0,2\n"
    b"hot,llama,v1,own,1,730,3,10,60,120\n"
)


def page(scenario: Scenario | None = None, tab: str = "") -> AppTest:
    opened = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for key, value in links.to_params(scenario or Scenario()).items():
        opened.query_params[key] = value
    opened.switch_page("pages/8_Waste.py")
    if tab:
        opened.session_state["waste_tab"] = tab
    opened.run()
    assert not opened.exception
    return opened


def words(opened: AppTest) -> str:
    return "\n".join(e.value for e in [*opened.text, *opened.markdown, *opened.caption])


def figures(opened: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in opened.metric}


def scenario_of(opened: AppTest) -> Scenario:
    kept = opened.session_state["scenario"]
    assert isinstance(kept, Scenario)
    return kept


def press(opened: AppTest, label: str) -> None:
    next(button for button in opened.button if button.label == label).click().run()
    assert not opened.exception


# The scenario -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_strip_and_the_findings_are_those_of_the_study(name: str) -> None:
    given = SCENARIOS[name]
    found = waste.bridge(given, FACTS)
    assert found is not None
    opened = page(given)
    shown = figures(opened)
    assert shown["Paid for nothing, a month"] == money(found.monthly, given)
    assert shown["Cost per million"] == money(found.real * MILLION, given)
    assert shown["Needed per million"] == money(found.perfect * MILLION, given)
    for each in waste.findings(found, FACTS):
        if each.waste.monthly > 0.001 * found.real * found.per_month:
            assert each.evidence in words(opened)


def test_a_remedy_is_applied_with_a_button_and_is_then_gone() -> None:
    opened = page(SCENARIOS["busy"])
    before = figures(opened)
    opened.button(key="remedy_nonproduction").click().run()
    assert not opened.exception
    changed = scenario_of(opened)
    assert 0 < changed.nonproduction_share < 0.3
    assert changed == SCENARIOS["busy"].model_copy(
        update={"nonproduction_share": changed.nonproduction_share}
    )
    assert figures(opened) != before
    opened.button(key="remedy_versions").click().run()
    assert scenario_of(opened).live_versions == 1
    assert "remedy_versions" not in [button.key for button in opened.button]


def test_a_control_beside_the_chart_moves_the_figures_and_the_link() -> None:
    opened = page()
    before = figures(opened)
    opened.slider(key="uw_target_utilisation").set_value(0.4).run()
    assert not opened.exception
    assert scenario_of(opened) == Scenario(target_utilisation=0.4)
    assert opened.query_params["util"] == "0.4" or opened.query_params["util"] == ["0.4"]
    assert figures(opened) != before


def test_the_table_opens_and_sums_up() -> None:
    opened = page(SCENARIOS["busy"])
    opened.session_state["waste_table"] = True
    opened.run()
    assert not opened.exception
    found = waste.bridge(SCENARIOS["busy"], FACTS)
    assert found is not None
    assert len(opened.dataframe[0].value) == len(found.parts)


def test_what_cannot_work_says_why_and_the_fleet_works_all_the_same() -> None:
    broken = Scenario(scaling="fixed", requests_per_s=10_000.0)
    assert "This cannot work as it stands" in words(page(broken))
    opened = page(broken, FLEET)
    press(opened, "Try an example")
    assert "Example: an invented fleet" in words(opened)


# The fleet ----------------------------------------------------------------------------------------


def upload(opened: AppTest, name: str, content: bytes) -> None:
    opened.file_uploader[0].set_value((name, content, "text/csv")).run()
    assert not opened.exception


def test_the_example_is_marked_and_its_parts_sum_to_the_total() -> None:
    opened = page(tab=FLEET)
    assert not opened.metric
    press(opened, "Try an example")
    assert "Example: an invented fleet" in words(opened)
    shown = {label: float(value.strip("$").replace(",", ""))
             for label, value in figures(opened).items()}  # fmt: skip
    parts = shown["Allocated"] + shown["Idle"] + shown["Unallocated"]
    assert round(parts, 2) == shown["Total"]
    assert "the link does not hold it" in words(opened)
    costs = study.costs(study.checked(study.example(), FACTS))
    assert figures(opened)["Total"] == f"${costs.total:,.2f}"
    press(opened, "Remove this table")
    assert not opened.metric


def test_a_file_with_two_bad_rows_names_them_and_uses_the_others() -> None:
    opened = page(tab=FLEET)
    upload(opened, "mine.csv", BAD_ROWS)
    written = words(opened)
    assert "2 rows left out; used: 2" in written
    assert "Row 3, replicas: it is 'many'" in written
    assert "Row 5, gpu_p95_percent: it is '120'" in written
    assert figures(opened)["Total"] == f"${730 * 3 * 3:,.2f}"
    # Somebody's text is text: in tables and plain lines, nowhere in what is rendered.
    assert "<b>" not in "\n".join(e.value for e in [*opened.markdown, *opened.caption])
    assert opened.dataframe[0].value["resource"][0] == "<b>zombie</b>"


def test_the_server_takes_files_as_large_as_the_page_says() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert config["server"]["maxUploadSize"] * 1_000_000 >= uploads.LARGEST_FILE


def test_a_file_that_cannot_be_used_leaves_what_was_there() -> None:
    opened = page(tab=FLEET)
    upload(opened, "mine.csv", BAD_ROWS)
    before = figures(opened)
    upload(opened, "other.csv", b"a,b\n1,2\n")
    assert "has no column resource" in words(opened)
    assert figures(opened) == before


def test_thresholds_and_groups_are_changed_on_the_page_and_survive_a_change_of_page() -> None:
    opened = page(tab=FLEET)
    upload(opened, "mine.csv", BAD_ROWS)
    assert figures(opened)["Findings"] == "$2,190.00"
    opened.session_state["fleet_rules"] = True
    opened.run()
    opened.number_input(key="rule_zombie_hours").set_value(800.0).run()
    opened.number_input(key="rule_idle_hours").set_value(800.0).run()
    opened.number_input(key="rule_version_hours").set_value(800.0).run()
    assert not opened.exception
    assert figures(opened)["Findings"] == "$0.00"
    opened.switch_page("app.py").run()
    opened.switch_page("pages/8_Waste.py").run()
    assert not opened.exception
    opened.session_state["waste_tab"] = FLEET
    opened.session_state["fleet_rules"] = True
    opened.run()
    assert figures(opened)["Findings"] == "$0.00"
    press(opened, "Take the changes back")
    assert figures(opened)["Findings"] == "$2,190.00"


def test_a_currency_counts_for_a_fleet_as_well() -> None:
    opened = page(SCENARIOS["follow"], FLEET)
    upload(opened, "mine.csv", BAD_ROWS)
    assert figures(opened)["Total"] == money(6570.0, SCENARIOS["follow"])


def test_everything_that_is_folded_opens() -> None:
    opened = page(tab=FLEET)
    press(opened, "Try an example")
    for key in ("fleet_columns", "fleet_rules", "fleet_editor"):
        opened.session_state[key] = True
    opened.run()
    assert not opened.exception
    assert len(opened.number_input) >= len(study.THRESHOLDS)


# Charts -------------------------------------------------------------------------------------------

PALETTES = {"light": LIGHT, "dark": DARK}


@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_bridge_leads_from_needed_to_paid(name: str, theme: str) -> None:
    given = SCENARIOS[name]
    found = waste.bridge(given, FACTS)
    assert found is not None
    figure = charts.waste(found, given, PALETTES[theme])
    go.Figure(figure)
    json.dumps(figure, allow_nan=False)
    bars = figure["data"][0]
    tops = [low + length for low, length in zip(bars["base"], bars["x"], strict=True)]
    for below, low in zip(tops, bars["base"][1:-1], strict=False):
        assert low == pytest.approx(below, rel=1e-4)
    assert tops[-2] == pytest.approx(tops[-1], rel=1e-4)
    high = figure["layout"]["xaxis"]["range"][1]
    assert max(tops) < high
    spoken = charts.describe_waste(found, given)
    assert spoken.endswith(".") and "nan" not in spoken


def groups(whole: study.Fleet) -> tuple[list[dict[str, Any]], list[str]]:
    frame = study.by(whole, study.judge(whole), "model")
    rows = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    return rows, [str(row["model"]) for row in rows]


@pytest.mark.parametrize("theme", PALETTES)
def test_bars_of_a_fleet_are_its_costs_and_names_are_no_markup(theme: str) -> None:
    whole = study.checked(study.example(), FACTS)
    rows, names = groups(whole)
    names[0] = "<img src=x onerror=alert(1)>" + "x" * 100
    figure = charts.fleet(rows, names, Scenario(), PALETTES[theme])
    go.Figure(figure)
    json.dumps(figure, allow_nan=False)
    worked, idle = figure["data"][0]["x"], figure["data"][1]["x"]
    for row, bar in zip(rows, zip(worked, idle, strict=True), strict=False):
        assert sum(bar) == pytest.approx(row["cost"], rel=1e-4)
    assert "<img" not in json.dumps(figure)
    assert max(map(len, figure["layout"]["yaxis"]["ticktext"])) < 60
    costs = study.costs(whole)
    assert "idle" in charts.describe_fleet(rows, names, costs, Scenario())
    assert go.Figure(charts.fleet([], [], Scenario())) is not None
