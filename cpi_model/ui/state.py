"""The state of the app: one :class:`Scenario`, kept in the session and mirrored to the URL.

Widgets show it and change it through callbacks. Three rules keep fast edits from being lost: a
widget's key is written only where it differs from the scenario, the URL is read only in a new
session and after Back or Forward, and it is written once, when everything has been drawn.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cpi_model import links
from cpi_model.links import Named
from cpi_model.scenario import FIELDS, Scenario, shown_as

ECHO_S = 5.0
"""Longest time that a browser takes to draw what it was sent."""


def current() -> Scenario:
    """The scenario of this session."""
    scenario: Scenario = st.session_state["scenario"]
    return scenario


def put(scenario: Scenario) -> None:
    """Make a scenario the current one."""
    st.session_state["acted"] = True
    st.session_state["scenario"] = scenario
    st.session_state["link_problems"] = []


def apply(changes: dict[str, Any]) -> None:
    """Change several fields at once: one step back undoes them."""
    checked = {name: links.check(name, value) for name, value in changes.items()}
    if not any(problem for _, problem in checked.values()):
        put(current().model_copy(update={name: value for name, (value, _) in checked.items()}))


def start_from(preset: Scenario) -> None:
    """A preset; what the reader chose about the display stays."""
    put(shown_as(preset, current()))


def undisplayed(scenario: Scenario) -> Scenario:
    """With nothing chosen about the display: what only that moves is worked out once."""
    return shown_as(scenario, Scenario())


def _edited(name: str, key: str) -> None:
    """A widget was moved, or says so: :func:`take_edits` decides when all have spoken."""
    st.session_state.setdefault("edits", []).append((name, key))


def take_edits() -> None:
    """Put what was really edited into the scenario.

    A widget that we have set goes on reporting its earlier value until the browser has drawn the
    new one. Slider and box of one field set each other with every key press, so such an echo must
    not count, or the field would jump back. It never comes alone: something else was moved.
    """
    state = st.session_state
    edits: list[tuple[str, str]] = state.pop("edits", [])
    alone = len(edits) == 1 and not state.get("acted", False)
    for name, key in edits:
        # The limits of a widget hold in the browser only, so the value is checked again.
        value, problem = links.check(name, _value(name, state[key]))
        if not problem and (alone or not _is_echo(key, value)):
            put(current().model_copy(update={name: value}))
    state["acted"] = False


def shown(name: str, prefix: str = "w") -> dict[str, Any]:
    """Key and callback of a widget of a field, with the scenario's value put in."""
    state, key = st.session_state, f"{prefix}_{name}"
    wanted = getattr(current(), name)
    # Written on a mismatch only: written every time, it would undo what is being typed.
    if state["new_page"] or key not in state:
        _expect_echo(key, {FIELDS[name].minimum})  # where every widget begins in the browser
        state[key] = _shown(name, wanted)
    elif (before := _value(name, state[key])) != wanted:
        _expect_echo(key, {before, wanted})
        state[key] = _shown(name, wanted)
    return {"key": key, "on_change": _edited, "args": (name, key)}


def names(text: str) -> list[str]:
    """Names of a field that holds several; none where it means any.

    >>> names("aws,gcp"), names("any")
    (['aws', 'gcp'], [])
    """
    return [name for name in text.split(",") if name != "any"]


def _shown(name: str, value: Any) -> Any:
    """A value as its widget holds it."""
    return names(value) if FIELDS[name].several else value


def _value(name: str, shown: Any) -> Any:
    """A value as the scenario holds it."""
    return (",".join(shown) or FIELDS[name].default) if FIELDS[name].several else shown


@dataclass(frozen=True)
class _Echo:
    """What a widget may still report of its past, and until when."""

    values: set[Any]
    until: float


def _expect_echo(key: str, values: set[Any]) -> None:
    echoes: dict[str, _Echo] = st.session_state.setdefault("echoes", {})
    now = time.monotonic()
    if (known := echoes.get(key)) and now < known.until:
        values |= known.values
    echoes[key] = _Echo(values, now + ECHO_S)


def _is_echo(key: str, value: Any) -> bool:
    known: _Echo | None = st.session_state.get("echoes", {}).get(key)
    return known is not None and time.monotonic() < known.until and value in known.values


def pinned() -> dict[str, Named]:
    """What is compared, by its letter."""
    kept: dict[str, Named] = st.session_state["pinned"]
    return kept


def pin(letter: str, named: Named | None) -> None:
    """Put a scenario beside others; None takes it away."""
    st.session_state["acted"] = True
    others = {each: known for each, known in pinned().items() if each != letter}
    added = {} if named is None else {letter: named}
    st.session_state["pinned"] = dict(sorted((others | added).items()))
    st.session_state["link_problems"] = []


def read_link() -> None:
    """Take over the URL in a new session and after Back or Forward; otherwise the session wins.

    Addresses of one page only hold what is compared, so Back on another leaves that as it is.
    """
    state, query = st.session_state, st.query_params.to_dict()
    context = get_script_run_ctx()
    # Not public, so a browser test watches it: without it Back would not undo.
    went_back = getattr(context, "is_history_navigation", False) and bool(query)
    new = "scenario" not in state
    if new or went_back:
        state["scenario"], state["link_problems"] = links.from_params(query)
    if new or (went_back and state["comparing"]):
        state["pinned"], problems = links.comparison_from(query)
        state["link_problems"] += problems


def params(comparing: bool) -> dict[str, str]:
    """What the address of a page holds: the scenario, and what is compared where it is shown."""
    return links.to_params(current(), pinned() if comparing else None)


def write_link() -> None:
    wanted = params(st.session_state["comparing"])
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def link() -> str:
    """Address of what is on the screen."""
    compared = pinned() if st.session_state["comparing"] else None
    return f"{st.context.url or ''}?{links.encode(current(), compared)}"
