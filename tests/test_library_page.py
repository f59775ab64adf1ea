"""The Library page: save, find, see what moved, open, delete; and a library that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from streamlit.testing.v1 import AppTest

from bench import live
from cpi_model import links
from cpi_model.catalog import catalog
from cpi_model.library import Library, note
from cpi_model.scenario import Scenario
from cpi_model.studies import repricing
from cpi_model.studies.answer import answer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parent.parent
HOSTILE = "<img src=x onerror=alert(1)> **bold** [x](https://host.example) $a$ :smile: `c`"
CHAT = Scenario(model="llama-3.1-70b", tensor_parallel=4, concurrency=64)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    address = f"sqlite:///{tmp_path}/library.db"
    monkeypatch.setenv("CPI_DATABASE_URL", address)
    return Library(address)


def keep(library: Library, name: str, scenario: Scenario, **said: str) -> None:
    priced = repricing.priced(answer(scenario, catalog()), catalog())
    library.save(note(name, **said), priced)


def page(query: str = "v=1") -> AppTest:
    opened = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        opened.query_params[key] = value
    opened.switch_page("pages/10_Library.py")
    opened.run()
    assert not opened.exception
    return opened


def said(opened: AppTest) -> str:
    """Everything that stands on the page as plain text or as our own words."""
    return "\n".join(element.value for element in [*opened.text, *opened.markdown, *opened.caption])


def press(opened: AppTest, label: str) -> None:
    (button,) = (button for button in opened.button if button.label == label)
    button.click().run()
    assert not opened.exception


def save(opened: AppTest, **fields: str) -> None:
    for field, value in fields.items():
        opened.session_state[f"library_{field}"] = value
    press(opened, "Save")


def test_an_empty_library_says_how_to_begin(library: Library) -> None:
    assert "Nothing is saved yet" in said(page())


def test_what_is_saved_is_there_for_others_with_its_figures(library: Library) -> None:
    opened = page(links.encode(CHAT))
    save(opened, name="Chat EU", tags="eu, Budget", why="For the review.", who="Ana")
    kept = library.get("chat eu")
    assert (kept.name, kept.who, kept.why) == ("Chat EU", "Ana", "For the review.")
    assert kept.tags == ("eu", "budget")
    priced = repricing.priced(answer(CHAT, catalog()), catalog())
    assert (kept.priced.link, kept.priced.figures) == (priced.link, priced.figures)
    assert "Saved as revision 1 of Chat EU." in said(opened)
    other = page()
    assert "Nothing moved" in said(other) and "For the review." in said(other)
    assert "by Ana" in said(other)
    overview, moved = (frame.value for frame in other.dataframe)
    assert overview["Name"].tolist() == ["Chat EU"] and overview["Change"].tolist() == ["0 %"]
    assert (moved["Then"] == moved["Today"]).all() and len(moved) == len(repricing.HEADLINE)


def test_an_old_scenario_opens_on_every_page(library: Library) -> None:
    keep(library, "Chat EU", CHAT)
    opened = page("v=1&c=8")
    press(opened, "Open this scenario")
    assert opened.session_state["scenario"] == CHAT
    assert "is open" in said(opened)
    assert opened.query_params["m"] == CHAT.model
    opened.switch_page("app.py").run()
    assert opened.session_state["scenario"] == CHAT


def test_revisions_are_kept_and_can_be_looked_at(library: Library) -> None:
    keep(library, "chat", Scenario(concurrency=8), why="first thoughts")
    opened = page("v=1&c=64")
    save(opened, name="Chat", why="second thoughts", who="Ana")
    assert "second thoughts" in said(opened)
    opened.selectbox(key="library_revision").set_value(1).run()
    assert "first thoughts" in said(opened) and "second thoughts" not in said(opened)
    press(opened, "Open this scenario")
    assert opened.session_state["scenario"] == Scenario(concurrency=8)


def test_what_is_searched_is_found(library: Library) -> None:
    keep(library, "Chat EU", CHAT, tags="eu")
    keep(library, "Ranking", Scenario(), tags="us", why="100 % of traffic")

    def names(opened: AppTest) -> list[str]:
        return opened.dataframe[0].value["Name"].tolist() if len(opened.dataframe) else []

    opened = page()
    assert names(opened) == ["Ranking", "Chat EU"]
    opened.text_input(key="library_search").set_value("CHAT").run()
    assert names(opened) == ["Chat EU"]
    opened.text_input(key="library_search").set_value("chat 100").run()
    assert names(opened) == [] and "Nothing that is saved fits" in said(opened)
    opened.text_input(key="library_search").set_value("").run()
    opened.multiselect(key="library_filter").set_value(["us"]).run()
    assert names(opened) == ["Ranking"]


def test_deleting_asks_and_can_be_undone(library: Library) -> None:
    keep(library, "chat", CHAT)
    opened = page()
    assert "Delete it" not in [button.label for button in opened.button]
    press(opened, "Delete")
    press(opened, "Keep it")
    press(opened, "Delete")
    assert library.listed()[1] == 1
    press(opened, "Delete it")
    assert library.listed()[1] == 0 and "chat is deleted" in said(opened)
    press(opened, "Undo")
    assert library.listed()[1] == 1 and "there again" in said(opened)
    library.delete("chat", "Bo")
    opened = page()
    opened.toggle(key="library_hidden").set_value(True).run()
    press(opened, "Have it back")
    assert library.listed()[1] == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": " "}, "name is empty"),
        ({"name": "x", "tags": ",".join("abcdefghijk")}, "at most 10"),
        ({"name": "x", "tags": "y" * 41}, "at most 40"),
    ],
    ids=str,
)
def test_what_cannot_be_saved_is_told_and_not_lost(
    library: Library, fields: dict[str, str], words: str
) -> None:
    opened = page()
    save(opened, **fields)
    assert words in said(opened) and library.listed(deleted=False)[1] == 0
    assert all(opened.session_state[f"library_{key}"] == value for key, value in fields.items())


def test_text_of_others_is_never_rendered(library: Library) -> None:
    keep(library, HOSTILE, CHAT, who=HOSTILE, why=HOSTILE, tags="<b>x</b>")
    opened = page()
    shown = [*opened.markdown, *opened.caption, *opened.get("html")]
    assert not any("onerror" in element.value for element in shown)
    assert any(element.value == HOSTILE for element in opened.text)
    press(opened, "Open this scenario")
    shown = [*opened.markdown, *opened.caption]
    assert not any("onerror" in element.value for element in shown)


def test_text_of_others_is_no_formula_in_a_table_that_can_be_taken_along(library: Library) -> None:
    keep(library, "=1+1", CHAT, who="@x", tags="-y")
    (row,) = page().dataframe[0].value.to_dict("records")
    assert (row["Name"], row["Who"], row["Tags"]) == ("'=1+1", "'@x", "'-y")


def test_a_library_that_is_not_there_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("CPI_DATABASE_URL", f"sqlite:///{tmp_path}/file/library.db")
    opened = page("v=1&c=64")
    assert "cannot be opened" in said(opened) and str(tmp_path) not in said(opened)
    save(opened, name="chat", why="typed with care")
    assert "cannot be opened" in said(opened)
    assert opened.session_state["library_why"] == "typed with care"
    opened.switch_page("app.py").run()
    assert not opened.exception and len(opened.metric) > 3


def test_what_could_not_work_can_be_looked_at(library: Library) -> None:
    keep(library, "huge", Scenario(model="llama-3.1-405b"))
    opened = page()
    assert "Today this cannot work" in said(opened)


# Signing in ---------------------------------------------------------------------------------------


def test_nobody_is_asked_where_signing_in_is_not_set_up(library: Library) -> None:
    opened = page()
    assert "Sign in" not in [button.label for button in opened.button]


def test_without_a_user_there_is_nothing_but_the_button(library: Library) -> None:
    keep(library, "secret plan", CHAT)
    for name in ("app.py", "pages/10_Library.py"):
        opened = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
        opened.user = {"is_logged_in": False}
        if name != "app.py":
            opened.switch_page(name)
        opened.run()
        assert not opened.exception
        assert [button.label for button in opened.button] == ["Sign in"]
        assert not opened.metric and not opened.dataframe and "secret" not in said(opened)
        assert not opened.sidebar.children


def test_who_is_signed_in_is_who_saves(library: Library) -> None:
    opened = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
    opened.user = {"is_logged_in": True, "name": "*Ana* Example", "email": "ana@host.example"}
    opened.switch_page("pages/10_Library.py").run()
    assert opened.session_state["library_who"] == "*Ana* Example"
    assert any(text.value == "*Ana* Example" for text in opened.sidebar.text)
    save(opened, name="chat")
    assert library.get("chat").who == "*Ana* Example"
    assert "Sign out" in [button.label for button in opened.button]


# In a browser -------------------------------------------------------------------------------------


@pytest.fixture
def served(library: Library) -> Iterator[str]:
    with live.serve(ROOT / "app.py") as url:
        yield url


def test_saved_by_one_and_opened_by_another(
    browser: Browser, library: Library, served: str
) -> None:
    """With text that would do something, were it anything but text."""
    alarms: list[str] = []
    with browser.new_context(viewport=live.VIEWPORT) as context:
        page = context.new_page()
        live.open_app(page, f"{served}/Library?{links.encode(CHAT)}")
        page.get_by_label("Name").fill(HOSTILE)
        page.get_by_label("Why").fill(HOSTILE)
        page.get_by_label("Who").fill("Ana")
        page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
        page.get_by_text("Saved as revision 1").wait_for()
    assert library.get(HOSTILE).why == HOSTILE
    with browser.new_context(viewport={"width": 390, "height": 844}) as context:
        other = context.new_page()
        other.on("dialog", lambda dialog: (alarms.append(dialog.message), dialog.dismiss()))
        live.open_app(other, f"{served}/Library")
        other.get_by_text("Nothing moved").wait_for()
        assert HOSTILE in other.get_by_test_id("stMain").inner_text()
        assert other.locator("main img[src='x'], main strong:text('bold')").count() == 0
        assert other.get_by_role("link", name="x", exact=True).count() == 0
        main = other.get_by_test_id("stMain")
        assert main.evaluate("e => e.scrollWidth <= e.clientWidth")
        other.get_by_role("button", name="Open this scenario").click()
        other.get_by_text("is open").wait_for()
        other.wait_for_url(f"**/Library?{links.encode(CHAT)}")
    assert alarms == []
