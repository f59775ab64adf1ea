"""The files that every page hands over: made when they are asked for, not before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import streamlit as st

from cpi_model.catalog import catalog
from cpi_model.export import files, report
from cpi_model.export.report import Paper
from cpi_model.scenario import Scenario
from cpi_model.ui import draw, state
from cpi_model.ui.whatif import answered

LETTER_COUNTRIES = ("US", "CA", "MX", "PH", "CL", "CO", "VE")
"""Where paper is Letter, by the language of the browser."""
PAPERS: dict[Paper, str] = {"a4": "A4", "letter": "Letter"}


def menu(scenario: Scenario) -> None:
    """A popover with a button for each kind of file; it costs nothing while it is closed."""
    opened = st.popover("Export", icon=":material/download:", key="export", on_change="rerun")
    if opened.open:
        with opened:
            st.caption("Each file has these figures with their range, sources, date and link.")
            buttons((scenario,))
            st.segmented_control(
                "A chart alone, by its camera", list(draw.PICTURES),
                format_func=lambda kind: draw.PICTURES[kind], default=draw.picture_format(),
                key="picture_choice", required=True, on_change=_choose_picture,
                help="Move the pointer over a chart: a camera appears at its corner and saves it.",
            )  # fmt: skip


def _choose_picture() -> None:
    # A key of its own: that of a widget is lost while its popover is closed.
    st.session_state["picture_format"] = st.session_state["picture_choice"]


def buttons(
    scenarios: Sequence[Scenario], names: Sequence[str] = (), place: str = "export"
) -> None:
    """A button for each kind of file of one scenario, or of several side by side."""
    paper = st.segmented_control(
        "Paper", list(PAPERS), format_func=lambda size: PAPERS[size], default=_usual_paper(),
        key=f"{place}_paper", required=True,
    )  # fmt: skip
    for ending, kind in files.KINDS.items():
        st.download_button(
            kind.title, data=_maker(ending, scenarios, names, state.link(), paper),
            file_name=report.file_name(scenarios[0], date.today(), ending), mime=kind.mime,
            on_click="ignore", help=kind.help, width="stretch", key=f"{place}_{ending}",
        )  # fmt: skip


def _maker(
    ending: str, scenarios: Sequence[Scenario], names: Sequence[str], link: str, paper: Paper
) -> Callable[[], bytes]:
    """What makes a file of the scenarios that are on the screen now, when it is asked for."""

    def made() -> bytes:
        today = date.today()
        found = [answered(scenario, today) for scenario in scenarios]
        with draw.turns():
            content = report.of(found, catalog(), link, today=today, paper=paper, names=names)
            return files.KINDS[ending].make(content)

    return made


def _usual_paper() -> Paper:
    country = (st.context.locale or "").replace("_", "-").rpartition("-")[2].upper()
    return "letter" if country in LETTER_COUNTRIES else "a4"
