"""The page for meetings: one figure, one chart, three sentences, one button."""

from __future__ import annotations

import json

import plotly.graph_objects as go
import pytest
from streamlit.testing.v1 import AppTest

from cpi_model import charts, links, story
from cpi_model.catalog import catalog
from cpi_model.charts import DARK, LIGHT
from cpi_model.scenario import Scenario
from cpi_model.studies import advice
from cpi_model.studies.answer import COMPONENTS, answer
from cpi_model.ui import PRESETS
from cpi_model.units import MILLION
from tests.test_advice import SCENARIOS, advised
from tests.test_pages import app, figures, scenario, texts

FACTS = catalog()
PAGE = "pages/11_Meeting.py"
IMPOSSIBLE = Scenario(model="llama-3.1-70b")


def shown(given: Scenario) -> AppTest:
    return app(links.encode(given), PAGE)


def press(opened: AppTest, label: str) -> None:
    next(each for each in opened.button if each.label == label).click().run()
    assert not opened.exception


@pytest.mark.parametrize(
    "given",
    [Scenario(), Scenario(cost_basis="marginal", currency="CHF"), *(p.scenario for p in PRESETS)],
    ids=["default", "marginal", *(preset.title for preset in PRESETS)],
)
def test_the_page_shows_the_story_and_makes_the_change(given: Scenario) -> None:
    opened = shown(given)
    told = story.tell(answer(given, FACTS), FACTS)
    assert figures(opened) == {told.about: told.headline}
    assert [each.value for each in opened.text] == list(told.sentences)
    assert len(opened.get("plotly_chart")) == 1
    # Nothing distracts: the scenario is changed elsewhere.
    assert not opened.sidebar.selectbox and not opened.select_slider
    assert told.advised is not None and told.advised.best is not None
    press(opened, "Make this change")
    assert scenario(opened) == told.advised.best.scenario
    assert opened.query_params == links.to_params(scenario(opened))
    then = story.tell(answer(scenario(opened), FACTS), FACTS)
    assert figures(opened) == {then.about: then.headline}


def test_what_cannot_work_says_so_and_offers_what_does() -> None:
    opened = shown(IMPOSSIBLE)
    told = story.tell(answer(IMPOSSIBLE, FACTS), FACTS)
    assert figures(opened) == {told.about: "This cannot work"}
    assert [each.value for each in opened.text] == list(told.sentences)
    assert not opened.get("plotly_chart")
    (first, *_) = answer(IMPOSSIBLE, FACTS).suggestions
    press(opened, first.text)
    assert scenario(opened) == IMPOSSIBLE.model_copy(update=first.changes)
    assert len(opened.get("plotly_chart")) == 1


def test_other_changes_are_a_click_away() -> None:
    given = Scenario(cost_basis="marginal")
    opened = shown(given)
    opened.session_state["changes"] = True
    opened.run()
    found = advice.advise(answer(given, FACTS), FACTS)
    assert found is not None
    offered = (*found.ranked, *found.unmeasured)
    (table,) = opened.dataframe
    assert list(table.value["Change"]) == [each.step.text for each in offered]
    assert list(table.value["Quality kept"])[-1] == "not measured"
    second = found.ranked[1]
    press(opened, second.step.text[:1].upper() + second.step.text[1:])
    assert scenario(opened) == second.scenario


def test_a_link_leads_back_to_where_the_reader_came_from() -> None:
    opened = app(links.encode(Scenario(concurrency=48)), "pages/4_Batching.py")
    opened.switch_page(PAGE).run()
    assert not opened.exception
    (back,) = (each.proto for each in opened.get("page_link"))
    assert back.label == "Back to Batching"
    assert "Batching" in back.page and "c=48" in str(back)
    fresh = shown(Scenario())
    (back,) = (each.proto for each in fresh.get("page_link"))
    assert back.label == "Back to What-if"


def test_a_broken_link_says_what_was_ignored() -> None:
    opened = app("v=1&c=-5", PAGE)
    assert "Parts of the link were ignored" in texts(opened)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_chart_has_the_parts_of_now_and_then(name: str, palette: charts.Palette) -> None:
    found, given = advised(name), SCENARIOS[name]
    figure = charts.now_and_next(found, palette)
    go.Figure(figure)
    json.dumps(figure, allow_nan=False)
    rate = given.currency_per_usd * MILLION
    costs = [found.cost, *([found.best.cost] if found.best else [])]
    bars = [trace for trace in figure["data"] if trace["type"] == "bar"]
    assert [bar["name"].lower() for bar in bars] == list(COMPONENTS)
    for place, cost in enumerate(costs):
        assert sum(bar["x"][place] for bar in bars) == pytest.approx(cost * rate, rel=1e-4)
    low, high = figure["layout"]["xaxis"]["range"]
    assert low == 0 and high > max(costs) * rate
    said = charts.describe_now_and_next(found)
    assert said.startswith("Bars of cost per million inferences") and "nan" not in said
