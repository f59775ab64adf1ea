"""The Scaling page: it says what the command says, and its buttons change the scenario."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from cpi_model import __main__, links
from cpi_model.catalog import catalog
from cpi_model.export import duration, money, percent
from cpi_model.scenario import Scenario
from cpi_model.studies import scaling, traces, traffic
from cpi_model.studies.answer import answer
from cpi_model.ui.scaling import example_file
from cpi_model.units import HOUR, MILLION, MILLISECOND
from tests.test_pages import app, figures, scenario, texts

PAGE = "pages/7_Scaling.py"


def shown(given: Scenario) -> AppTest:
    return app(links.encode(given), PAGE)


def press(opened: AppTest, label: str) -> None:
    next(each for each in opened.button if each.label.startswith(label)).click().run()
    assert not opened.exception


def upload(opened: AppTest, name: str, content: str) -> None:
    opened.session_state["own_traffic_box"] = True
    opened.run()
    opened.file_uploader[0].set_value([(name, content.encode(), "text/csv")]).run()
    assert not opened.exception


def command(*words: str) -> dict[str, object]:
    ran = CliRunner().invoke(__main__.app, ["simulate", "--json", *words])
    assert ran.exit_code == 0, ran.output
    found: dict[str, object] = json.loads(ran.output)
    return found


@pytest.mark.parametrize(
    "given",
    [
        Scenario(policy="hpa"),
        Scenario(
            policy="schedule", traffic="servegen-deepseek-r1", requests_per_s=3.0, currency="EUR",
            currency_per_usd=0.9,
        ),
    ],
    ids=["shape", "trace"],
)  # fmt: skip
def test_the_page_says_what_the_command_says(given: Scenario) -> None:
    opened = shown(given)
    (run,) = command("--link", f"?{links.encode(given)}")["runs"]  # type: ignore[misc]
    found = figures(opened)
    assert found["Cost per inference"] == money(run["cost_per_inference_usd"], given)
    assert found["Cost a month"] == money(run["monthly_cost_usd"], given)
    assert found["Latency, p95"] == duration(run["latency_ms"]["p95"] * MILLISECOND)
    assert found["Utilisation"] == percent(run["utilisation"])
    whole = command("--link", f"?{links.encode(given)}", "--policy", "all")
    best = whole["runs"][whole["cheapest_within_limits"]]  # type: ignore[index]
    said = texts(opened)
    assert f"within the limits: {traffic.TITLES[best['policy']]}" in said
    cost = money(best["cost_per_inference_usd"] * MILLION, given).replace("$", r"\$")
    assert f"{cost} per million with" in said
    assert len(opened.get("plotly_chart")) == 5


def test_the_cheapest_is_one_click_away() -> None:
    given = Scenario(policy="kpa", policy_target=0.95)
    opened = shown(given)
    press(opened, "Use the cheapest")
    fleet = traffic.fleet(answer(given, catalog()), catalog())
    requests = scaling.demand(given, traces.of(given, catalog()))
    best = traffic.cheapest(traffic.search(fleet, requests), given.slo_share)
    assert best is not None
    assert scenario(opened) == given.model_copy(update=scaling.changes(best, given))
    assert links.from_params(dict(opened.query_params))[0] == scenario(opened)
    assert "Use the cheapest" not in {each.label for each in opened.button}


def test_every_preset_and_every_request() -> None:
    """Each is named by its source, and followed to the end where that is asked for."""
    opened = shown(Scenario(requests_per_s=0.2))
    for name, id in traces.PRESETS.items():
        press(opened, name.capitalize())
        assert scenario(opened).traffic == id
        assert catalog().trace(id).attribution in texts(opened)
    press(opened, "Follow all")
    said = texts(opened)
    assert "request by request" in said and "worked off one by one" in said
    assert not any(each.label.startswith("Follow all") for each in opened.button)
    press(opened, "Steady")
    assert "worked off one by one" not in texts(opened)


def test_traffic_of_ones_own_stays_in_the_session() -> None:
    given = Scenario(policy="schedule", requests_per_s=2.0)
    opened = shown(given)
    before = dict(opened.query_params)
    rows = example_file().to_dict("records")
    kept = [row for place, row in enumerate(rows) if place not in range(30, 35)]
    lines = ["time,requests", *(f"{row['time']},{row['requests']}" for row in kept)]
    upload(opened, "week.csv", "\n".join(lines))
    said = texts(opened)
    assert "week.csv" in said and "The link does not hold it" in said
    assert "5 of 168 steps are missing and were bridged" in said
    assert dict(opened.query_params) == before
    with_file = figures(opened)["Replica-hours"]
    # Nonsense takes nothing away.
    upload(opened, "<b>x</b>.csv", "time,requests\nyesterday,many\n")
    assert "Not read; the traffic is what it was before." in texts(opened)
    assert "week.csv" in texts(opened) and figures(opened)["Replica-hours"] == with_file
    press(opened, "Remove the file")
    assert "week.csv" not in texts(opened)


def test_what_is_not_simulated_is_said_in_a_sentence() -> None:
    opened = shown(Scenario(policy="serverless"))
    assert "No serverless price of this hardware is known" in texts(opened)
    assert not opened.metric
    opened.number_input(key="sw_serverless_usd_per_hour").set_value(4.0).run()
    assert not opened.exception
    assert figures(opened)["Cost per inference"] != "unknown"
    assert "worked out by formula" in texts(opened)


def test_a_day_is_shown_and_zero_is_compared_when_asked() -> None:
    opened = shown(Scenario(policy="hpa", queue_timeout_s=60.0))
    opened.session_state["shown_day"] = "Wed"
    opened.session_state["zero"] = True
    opened.run()
    assert not opened.exception
    assert "are given up" in texts(opened)
    press(opened, "Let them wait")
    waits = scenario(opened).queue_timeout_s
    fleet = traffic.fleet(answer(scenario(opened), catalog()), catalog())
    assert fleet.node_cold < waits < fleet.node_cold + HOUR
    assert "are given up" not in texts(opened)
