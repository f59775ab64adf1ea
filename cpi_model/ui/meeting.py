"""One scenario for a projector: a figure, a chart, three sentences, and the next best change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from cpi_model import charts, story
from cpi_model.catalog import catalog
from cpi_model.export import duration, money, percent
from cpi_model.scenario import Scenario
from cpi_model.story import PERIODS, Story
from cpi_model.studies.advice import Advice
from cpi_model.studies.answer import Answer
from cpi_model.ui import draw, state
from cpi_model.ui.whatif import answered

if TYPE_CHECKING:
    import pandas as pd

LARGE = Path(__file__).with_name("meeting.css")
MOST_BUTTONS = 6


@dataclass(frozen=True)
class Told:
    """A scenario, answered and told."""

    answer: Answer
    story: Story


@lru_cache(maxsize=128)
def _told(scenario: Scenario, today: date) -> Told:
    result = answered(scenario, today)
    with draw.turns():
        return Told(result, story.tell(result, catalog()))


def told(scenario: Scenario) -> Told:
    """The story of a scenario, worked out once."""
    st.html(LARGE)
    return _told(scenario, date.today())


def cost_in_large(told: Told) -> None:
    """The cost of an inference with its range."""
    shown = told.story
    with st.container(key="meeting_cost"):
        st.metric(
            shown.about, shown.headline, shown.likely or None, delta_color="off",
            delta_arrow="off",
        )  # fmt: skip


def now_and_next(told: Told) -> None:
    """What the cost is made of, now and after the next best change."""
    found = told.story.advised
    if found is None:
        return
    draw.chart(
        charts.now_and_next(found, draw.palette()), "now_and_next",
        charts.describe_now_and_next(found),
    )  # fmt: skip


def sentences_in_large(told: Told) -> None:
    """The three sentences."""
    with st.container(key="meeting_story", gap="small"):
        for sentence in told.story.sentences:
            st.text(sentence)


def make_the_change(told: Told) -> None:
    """A button for the next best change; where nothing works, for what would."""
    found, result = told.story.advised, told.answer
    # White on the light blue of the dark theme cannot be read from afar.
    theme = "dark" if draw.palette() is charts.DARK else "light"
    with st.container(key=f"meeting_change_{theme}", horizontal=True):
        if found is None:
            for suggestion in result.suggestions:
                st.button(
                    suggestion.text, type="primary", key=f"suggest_{suggestion.text}",
                    on_click=state.apply, args=(suggestion.changes,),
                )  # fmt: skip
        elif found.best is not None:
            st.button(
                "Make this change", type="primary", icon=":material/check:", key="change",
                on_click=state.apply, args=(found.best.step.changes,),
                help="All figures follow. Back in the browser takes it back.",
            )  # fmt: skip


def other_changes(told: Told) -> None:
    """All changes that were found, as a table and with a button each."""
    found = told.story.advised
    if found is None or len(found.ranked) + len(found.unmeasured) < 2:
        return
    section = st.expander(
        "Other changes", key="changes", on_change="rerun", icon=":material/format_list_numbered:"
    )
    if not section.open:
        return
    offered = (*found.ranked, *found.unmeasured)
    with section:
        st.dataframe(
            _table(offered, told.answer.scenario), hide_index=True, key="changes_table",
            alt="Changes, what each saves and what it costs",
        )  # fmt: skip
        st.caption(
            "One change at a time, all else as it is. Really saves: share of a thousand drawn "
            "worlds in which speeds are off as measured runs were; prices are taken as they are."
        )
        with st.container(horizontal=True):
            for each in offered[1 : MOST_BUTTONS + 1]:
                st.button(
                    each.step.text[:1].upper() + each.step.text[1:], key=f"change_{each.step.text}",
                    on_click=state.apply, args=(each.step.changes,),
                )  # fmt: skip


def _table(offered: tuple[Advice, ...], scenario: Scenario) -> pd.DataFrame:
    import pandas as pd

    period = PERIODS[scenario.period]
    return pd.DataFrame(
        {
            "Saves": [percent(each.saved_share) for each in offered],
            "Change": [each.step.text for each in offered],
            f"A {scenario.period}": [money(each.saved_rate * period, scenario) for each in offered],
            "Really saves": [_chance(each.probability) for each in offered],
            "Latency, p95": [duration(float(each.estimate.latency_p95)) for each in offered],
            "Quality kept": [
                "not measured" if each.new_unknown else percent(each.kept.known.median)
                for each in offered
            ],
            "Bought as": [each.where for each in offered],
            "Mind": [each.step.caveat for each in offered],
        }
    )


def _chance(probability: float) -> str:
    return "not known" if math.isnan(probability) else percent(round(probability, 2))
