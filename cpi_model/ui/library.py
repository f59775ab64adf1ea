"""Saved scenarios: save the present one, find others, see what moved, open or delete them.

Whatever somebody typed goes to the screen as plain text: through ``st.text``, as a cell of a table
or as an option of a list, none of which renders anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import streamlit as st

from cpi_model import export
from cpi_model.catalog import catalog
from cpi_model.export import digits, duration, large, money, percent
from cpi_model.scenario import Scenario
from cpi_model.studies.answer import Answer
from cpi_model.ui import draw, sign_in, state
from cpi_model.units import MILLISECOND

if TYPE_CHECKING:
    from cpi_model.library import Library, Revision
    from cpi_model.studies.repricing import Repriced

MOST_ROWS_SHOWN = 8
FORM = ("library_name", "library_tags", "library_why", "library_who")
TEXTS: dict[str, Callable[[float, Scenario], str]] = {
    "cost_per_1m_inferences_usd": money,
    "marginal_cost_per_inference_usd": money,
    "cost_per_million_output_tokens_usd": money,
    "monthly_cost_usd": money,
    "latency_p95_ms": lambda value, _: duration(value * MILLISECOND),
    "ttft_ms": lambda value, _: duration(value * MILLISECOND),
    "tpot_ms": lambda value, _: duration(value * MILLISECOND),
    "throughput_per_s": lambda value, _: f"{large(value)}/s",
    "utilisation": lambda value, _: percent(value),
    "replicas": lambda value, _: digits(value),
    "instances": lambda value, _: digits(value),
    "energy_wh": lambda value, _: f"{digits(value)} Wh",
    "carbon_g": lambda value, _: f"{digits(value)} g CO2",
}
"""How each figure is written."""


def _library() -> Library:
    # Loading what talks to databases takes as long as a whole page: only this one needs it.
    from cpi_model.library import library

    return library()


def _tell(sentence: str, good: bool = False) -> None:
    """Something to say at the next run, as plain text."""
    st.session_state["library_told"] = (sentence, good)


def _asked(ask: Callable[[Library], Any]) -> Any:
    """An answer of the library; None where it refuses or is not there, which is then told."""
    from cpi_model.library import Refused, Unavailable

    try:
        return ask(_library())
    except (Refused, Unavailable) as problem:
        _tell(str(problem))
        return None


# Saving -------------------------------------------------------------------------------------------


def save_scenario(result: Answer) -> None:
    """A form that saves the present scenario with its figures of today."""
    from cpi_model.library import LONGEST, MOST_TAGS

    session = st.session_state
    if "library_who" not in session or session["new_page"]:
        # Widgets of this page are forgotten on another one; what was typed is kept apart.
        kept = session.get("library_form", {})
        for key in FORM:
            session[key] = kept.get(key, sign_in.user() if key == "library_who" else "")
    with st.form("library_save", border=True):
        st.markdown(
            "##### Save this scenario",
            help="Kept are the scenario, its figures of today and what they were computed from. "
            "Under a name that is known already it becomes a new revision: nothing is "
            "overwritten.",
        )
        name, tags, who = st.columns(3, gap="medium")
        with name:
            st.text_input("Name", max_chars=LONGEST["name"], key="library_name")
        with tags:
            st.text_input(
                "Tags, with commas between them", key="library_tags",
                max_chars=MOST_TAGS * (LONGEST["tag"] + 2), placeholder="such as eu, budget 2027",
            )  # fmt: skip
        with who:
            st.text_input("Who", max_chars=LONGEST["who"], key="library_who")
        st.text_area("Why", max_chars=LONGEST["why"], key="library_why", height=68)
        st.form_submit_button(
            "Save", type="primary", icon=":material/save:", on_click=_save, args=(result,)
        )
    _told()


def _save(result: Answer) -> None:
    from cpi_model.library import note
    from cpi_model.studies.repricing import priced

    session = st.session_state
    name, tags, why, who = (session[key] for key in FORM)
    session["library_form"] = {key: session[key] for key in FORM}

    def save(library: Library) -> Revision:
        return library.save(note(name, who, why, tags), priced(result, catalog()))

    if (saved := _asked(save)) is not None:
        _choose(saved.name)
        _tell(f"Saved as revision {saved.number} of {saved.name}.", good=True)


def _told() -> None:
    told = st.session_state.pop("library_told", None)
    if told is None:
        return
    sentence, good = told
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(":material/check_circle:" if good else ":material/warning:", width="content")
        st.text(sentence)
        deleted = st.session_state.pop("library_deleted", None)
        if good and deleted is not None:
            st.button("Undo", icon=":material/undo:", on_click=_restore, args=(deleted,))


# Finding ------------------------------------------------------------------------------------------


def _choose(name: str | None) -> None:
    st.session_state["library_chosen"] = name
    _last_revision()


def saved_scenarios(scenario: Scenario) -> Revision | None:
    """What is saved, searched by words and tags, priced today; the one that is chosen."""
    session = st.session_state
    st.markdown("##### Saved scenarios")
    tags: list[str] = _asked(lambda library: library.tags()) or []
    words_at, tags_at, deleted_at = st.columns([3, 3, 1], gap="medium", vertical_alignment="bottom")
    with words_at:
        words = st.text_input(
            "Search", key="library_search", max_chars=200, live=True,
            placeholder="words of the name, the reason or who saved it",
        )  # fmt: skip
    with tags_at:
        # A tag may have gone with the last scenario that had it.
        session["library_filter"] = [t for t in session.get("library_filter", []) if t in tags]
        # A list without anything to choose from would be grey, and hard to read.
        wanted = st.multiselect("With all tags", tags, key="library_filter") if tags else []
    with deleted_at:
        deleted = st.toggle("Deleted", key="library_hidden")
    found = _asked(lambda library: library.listed(words, wanted, deleted))
    if found is None:
        _told()
        return None
    listed, count = found
    if not listed:
        looked = words.strip() or wanted
        st.caption(
            "Nothing that is saved fits." if looked
            else "Nothing was deleted." if deleted
            else "Nothing is saved yet. Give the present scenario a name above."
        )  # fmt: skip
        return None
    names = [each.name for each in listed]
    if session.get("library_chosen") not in names:
        _choose(names[0])
    _overview(listed, scenario, names.index(session["library_chosen"]))
    if count > len(listed):
        st.caption(f"The latest {len(listed):,} of {count:,}; search for the others.")
    name = st.selectbox("Look at", names, key="library_chosen", on_change=_last_revision)
    chosen: Revision = listed[names.index(name)]
    return chosen


def _last_revision() -> None:
    st.session_state["library_revision"] = None
    _ask(None)


@dataclass(frozen=True)
class _Kept:
    """A revision as the key of a cache: what makes it another one, and the whole of it."""

    name: str
    number: int
    saved_at: datetime
    revision: Revision = field(compare=False)


@lru_cache(maxsize=512)
def _repriced(kept: _Kept, today: date) -> Repriced:
    from cpi_model.studies import repricing

    with draw.turns():
        return repricing.reprice(kept.revision, catalog())


def _today(revision: Revision) -> Repriced:
    """A saved scenario on the prices of today, worked out once."""
    kept = _Kept(revision.name, revision.number, revision.saved_at, revision)
    return _repriced(kept, date.today())


def _overview(listed: list[Revision], scenario: Scenario, chosen: int) -> None:
    """A table of them, with their cost of then and of today; a click chooses."""
    import pandas as pd

    from cpi_model.studies.repricing import COST

    with st.spinner("Pricing them on today's prices"):
        costs = [_today(each).of(COST) for each in listed]
    frame = pd.DataFrame([
        {
            # The browser can save this table as CSV, past our own export.
            "Name": export.cell(each.name), "Saved on": each.saved_at.date(),
            "Who": export.cell(each.who), "Tags": export.cell(", ".join(each.tags)),
            "Then, a million": money(cost.then, scenario),
            "Today": money(cost.now, scenario), "Change": _change(cost.change),
            "Revisions": each.revisions,
        }
        for each, cost in zip(listed, costs, strict=True)
    ])  # fmt: skip
    st.session_state["library_names"] = [each.name for each in listed]
    # The row of the one below; a list that has changed would keep another one marked.
    st.session_state["library_table"] = {"selection": {"rows": [chosen]}}
    st.dataframe(
        frame, hide_index=True, key="library_table", on_select=_clicked,
        selection_mode="single-row", height=draw.table_height(len(frame), MOST_ROWS_SHOWN),
        alt="Saved scenarios with their cost then and today",
    )  # fmt: skip


def _change(share: float) -> str:
    from cpi_model.studies.repricing import signed

    return signed(share) if math.isfinite(share) else export.UNKNOWN


def _clicked() -> None:
    session = st.session_state
    rows = session["library_table"].selection.rows
    names: list[str] = session.get("library_names", [])
    # A row that we have marked is told to us as if it had been clicked.
    if rows and rows[0] < len(names) and names[rows[0]] != session.get("library_chosen"):
        _choose(names[rows[0]])


# One of them --------------------------------------------------------------------------------------


def saved_scenario(last: Revision, scenario: Scenario) -> None:
    """Who, when and why, what moved since, and what can be done with it."""
    from cpi_model.studies.repricing import why

    revision = _revision(last)
    if revision is None:
        _told()
        return
    found = _today(revision)
    by = f" by {revision.who}" if revision.who else ""
    st.text(
        f"Saved on {revision.saved_at:%Y-%m-%d %H:%M} UTC{by}, on prices until "
        f"{revision.priced.catalog_date.isoformat()}, with version {revision.priced.version}."
    )
    if revision.why:
        st.text(revision.why)
    if revision.tags:
        st.text(f"Tags: {', '.join(revision.tags)}")
    with st.container(horizontal=True):
        st.button(
            "Open this scenario", type="primary", icon=":material/folder_open:", on_click=_open,
            args=(found, revision.name),
            help="It becomes the scenario of every page. Back in the browser undoes it.",
        )  # fmt: skip
        _delete_or_restore(last)
    _really(last)
    _moved(found, scenario)
    st.text(why(found))
    if found.problems:
        draw.sentences("Parts of its link are not known any more.", list(found.problems))


def _revision(last: Revision) -> Revision | None:
    """The revision that is chosen; without a choice the last one."""
    if last.revisions == 1:
        return last
    session, numbers = st.session_state, list(range(last.revisions, 0, -1))
    if session.get("library_revision") not in numbers:
        session["library_revision"] = last.revisions
    number = st.selectbox("Revision", numbers, key="library_revision")
    found: Revision | None = _asked(lambda library: library.get(last.name, number))
    return found


def _moved(found: Repriced, scenario: Scenario) -> None:
    """Figures of then beside those of today."""
    import pandas as pd

    rows = [
        {
            "Figure": each.title, "Then": _text(each.figure, each.then, scenario),
            "Today": _text(each.figure, each.now, scenario), "Change": _change(each.change),
        }
        for each in found.moved
        if math.isfinite(each.then) or math.isfinite(each.now)
    ]  # fmt: skip
    if rows:
        frame = pd.DataFrame(rows)
        st.dataframe(
            frame, hide_index=True, key="library_moved", height=draw.table_height(len(frame)),
            alt="Figures then and today",
        )  # fmt: skip
        draw.download("Table as CSV", frame, "then-and-today.csv")


def _text(figure: str, value: float, scenario: Scenario) -> str:
    return TEXTS[figure](value, scenario) if math.isfinite(value) else export.UNKNOWN


def _open(found: Repriced, name: str) -> None:
    state.put(found.scenario)
    st.session_state["link_problems"] = list(found.problems)
    _tell(f"{name} is open: it is the scenario of every page now.", good=True)


def _delete_or_restore(last: Revision) -> None:
    if last.deleted_at is not None:
        st.button("Have it back", icon=":material/undo:", on_click=_restore, args=(last.name,))
        return
    st.button("Delete", icon=":material/delete:", on_click=_ask, args=(last.name,))


def _ask(name: str | None) -> None:
    st.session_state["library_asks"] = name


def _really(last: Revision) -> None:
    """The question before a name is deleted."""
    if st.session_state.get("library_asks") != last.name or last.deleted_at is not None:
        return
    with st.container(border=True):
        st.text(
            f"Delete {last.name} with {draw.counted(last.revisions, 'revision')}? "
            "It is hidden, and can be had back."
        )
        with st.container(horizontal=True):
            st.button("Delete it", type="primary", on_click=_delete, args=(last.name,))
            st.button("Keep it", on_click=_ask, args=(None,))


def _delete(name: str) -> None:
    who = sign_in.user() or st.session_state.get("library_who", "")
    _ask(None)
    if _asked(lambda library: library.delete(name, who)) is not None:
        st.session_state["library_deleted"] = name
        _tell(f"{name} is deleted.", good=True)


def _restore(name: str) -> None:
    if _asked(lambda library: library.restore(name)) is not None:
        st.session_state["library_hidden"] = False
        _choose(name)
        _tell(f"{name} is there again.", good=True)
