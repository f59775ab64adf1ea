"""The Compare page without a browser: pinning, naming, links, and what cannot be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
from streamlit.testing.v1 import AppTest

from cpi_model import links
from cpi_model.catalog import catalog
from cpi_model.export import change, money
from cpi_model.links import Named
from cpi_model.scenario import Scenario
from cpi_model.studies import compare
from cpi_model.units import MILLION

ROOT = Path(__file__).resolve().parent.parent
PAGE = "pages/9_Compare.py"
BUSY = Scenario(requests_per_s=300.0)


def app(query: str = "v=1&rps=300") -> AppTest:
    opened = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for key, value in parse_qsl(query, keep_blank_values=True):
        opened.query_params[key] = value
    opened.switch_page(PAGE)
    opened.run()
    assert not opened.exception
    return opened


def press(opened: AppTest, key: str) -> None:
    opened.button(key=key).click().run()
    assert not opened.exception


def slide(opened: AppTest, field: str, value: object) -> None:
    opened.select_slider(key=f"w_{field}").set_value(value).run()
    assert not opened.exception


def written(opened: AppTest) -> str:
    return "\n".join(element.value for element in [*opened.markdown, *opened.caption, *opened.text])


def table(opened: AppTest, first: str) -> dict[str, dict[str, str]]:
    """The table whose first column has that heading, by the rows of that column."""
    frames = [each.value for each in opened.dataframe]
    frame = next(each for each in frames if each.columns[0] == first)
    found: dict[str, dict[str, str]] = frame.set_index(first).T.to_dict()
    return found


def two_pinned() -> AppTest:
    opened = app()
    press(opened, "pin_A")
    slide(opened, "concurrency", 64)
    press(opened, "pin_B")
    return opened


def test_nothing_is_compared_before_something_is_pinned() -> None:
    opened = app()
    assert "Pin the scenario of the sidebar" in written(opened)
    assert not opened.dataframe and not opened.get("plotly_chart")
    assert set(opened.query_params) == {"v", "rps"}


def test_a_pinned_scenario_stands_beside_the_one_in_the_sidebar_at_once() -> None:
    opened = app()
    press(opened, "pin_A")
    assert not opened.dataframe  # the same twice tells nothing
    slide(opened, "concurrency", 64)
    now = Scenario(requests_per_s=300.0, concurrency=64)
    found = compare.answered({"A": Named("", BUSY), "Now": Named("", now)}, BUSY, catalog())
    costs = table(opened, "USD")["Per million inferences"]
    assert costs["A"].startswith(money(found[0].cost * MILLION, BUSY))
    assert costs["Now"].startswith(money(found[1].cost * MILLION, BUSY))
    assert costs["Now against A"] == change(found[1].cost / found[0].cost - 1.0)
    assert table(opened, "Field") == {"Concurrency": {"A": "32 requests", "Now": "64 requests"}}
    assert "**Now** costs" in written(opened) and "of the likely cases" in written(opened)


def test_the_link_opens_the_same_figures_in_a_new_session() -> None:
    opened = two_pinned()
    opened.text_input(key="name_A").set_value("one <b>H100</b>").run()
    slide(opened, "input_tokens", 2000)
    params = dict(opened.query_params)
    assert links.comparison_from(params)[0] == {
        "A": Named("one <b>H100</b>", BUSY),
        "B": Named("", BUSY.model_copy(update={"concurrency": 64})),
    }
    again = app(urlencode(params))
    assert again.text_input(key="name_A").value == "one <b>H100</b>"
    assert table(again, "USD") == table(opened, "USD")
    assert table(again, "Field") == table(opened, "Field")
    # Somebody's text is no markup.
    assert not any("<b>" in element.value for element in [*again.markdown, *again.caption])


def test_what_is_pinned_survives_other_pages_which_do_not_show_it() -> None:
    opened = two_pinned()
    opened.switch_page("app.py").run()
    assert not opened.exception
    assert set(opened.query_params) == {"v", "rps", "c"}
    opened.switch_page(PAGE).run()
    assert set(opened.query_params) == {"v", "rps", "c", "A", "B"}
    assert "**B** costs" in written(opened)


def test_the_display_of_the_viewer_holds_for_all() -> None:
    pinned = {"A": Named("", BUSY), "B": Named("", BUSY.model_copy(update={"concurrency": 64}))}
    opened = app(links.encode(
        BUSY.model_copy(update={"currency": "EUR", "currency_per_usd": 0.5}), pinned
    ))  # fmt: skip
    for column, text in table(opened, "EUR")["Cost per inference"].items():
        # A range is rounded in the currency that is shown.
        assert re.fullmatch(r"€0\.0+\d{1,3} \(€0\.0+\d{1,2}–0\.0+\d{1,2}\)", text) or (
            "against" in column
        )
    assert "€" in written(opened)


def test_removing_and_opening() -> None:
    opened = two_pinned()
    press(opened, "open_A")
    assert opened.session_state["scenario"] == BUSY
    press(opened, "remove_A")
    assert set(opened.session_state["pinned"]) == {"B"}
    assert "A" not in opened.query_params
    press(opened, "pin_B")
    assert opened.session_state["pinned"]["B"].scenario == BUSY


def test_what_cannot_work_says_why_and_the_others_stay() -> None:
    pinned = {
        "A": Named("", BUSY), "B": Named("", Scenario(model="deepseek-r1")),
        "C": Named("", Scenario(model="gpt-9")),
        "D": Named("", BUSY.model_copy(update={"scheme": "fp8"})),
    }  # fmt: skip
    opened = app(links.encode(BUSY, pinned))
    text = written(opened)
    assert "do not fit" in text and "gpt-9" in text and "**D** costs" in text
    assert table(opened, "USD")["Cost per inference"]["B"] == "cannot work"
    opened.selectbox(key="compare_pair_1").set_value("B").run()
    assert not opened.exception
    assert "no cost to explain" in written(opened)
    opened.selectbox(key="compare_pair_1").set_value("D").run()
    assert "no cost to explain" not in written(opened)


def test_files_of_all_that_work_are_handed_over() -> None:
    pinned = {"A": Named("", BUSY), "B": Named("", Scenario(model="deepseek-r1"))}
    opened = app(links.encode(BUSY, pinned))
    opened.session_state["compare_export"] = True
    opened.run()
    assert not opened.exception
    assert {"compare_xlsx", "compare_json"} <= {each.key for each in opened.get("download_button")}


def test_broken_tokens_are_sentences() -> None:
    opened = app("v=1&A=AwA&B=%21%21&C=AwA~<b>x</b>")
    text = "\n".join(element.value for element in opened.text)
    assert "Scenario B cannot be read; was the link cut off?" in text
    assert set(opened.session_state["pinned"]) == {"A", "C"}
    assert not any("<b>" in element.value for element in [*opened.markdown, *opened.caption])


def test_changes_are_shared_out_evenly_on_demand() -> None:
    pinned = {
        "A": Named("", BUSY),
        "B": Named("", BUSY.model_copy(update={"scheme": "fp8", "concurrency": 64})),
    }
    opened = app(links.encode(BUSY, pinned))
    before = [json.loads(each.proto.spec) for each in opened.get("plotly_chart")]
    opened.toggle(key="compare_fair").set_value(True).run()
    assert not opened.exception
    after = [json.loads(each.proto.spec) for each in opened.get("plotly_chart")]
    assert before[0] == after[0] and before[1] != after[1]
    assert before[1]["data"][0]["x"][-1] == after[1]["data"][0]["x"][-1]


@pytest.mark.parametrize(
    ("link", "letters", "said"),
    [
        ("?v=1&m=llama-3.1-70b&tp=2", "A", ""),
        ("https://elsewhere/Compare?v=1&B=AwA~theirs&D=AwA", "BD", ""),
        ("?v=1&c=0", "", "concurrency is '0'"),
        ("?v=1&A=!", "", "Scenario A cannot be read"),
        ("", "", "neither a link nor a file"),
    ],
)
def test_links_are_added_whole_or_not_at_all(link: str, letters: str, said: str) -> None:
    opened = app()
    if "theirs" in link:
        press(opened, "pin_C")  # a comparison takes the place of the one that is there
    opened.session_state["compare_add"] = True
    opened.run()
    opened.text_input(key="compare_link").set_value(link).run()
    press(opened, "compare_take")
    assert "".join(opened.session_state["pinned"]) == letters
    assert (said in written(opened)) if said else "Nothing was added" not in written(opened)
    # What was typed is lost only where it was taken over.
    assert opened.text_input(key="compare_link").value == ("" if letters else link)
