"""What moves the cost of this scenario most."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

import streamlit as st

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.export import change, setting
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import sensitivity
from cpi_model.studies.answer import Answer
from cpi_model.studies.sensitivity import Bar, End, Tornado
from cpi_model.ui import controls, draw, state

if TYPE_CHECKING:
    import pandas as pd


@lru_cache(maxsize=256)
def _moved(scenario: Scenario, today: date) -> Tornado:
    with draw.turns():
        return sensitivity.tornado(scenario, catalog())


def _found(scenario: Scenario) -> Tornado:
    """Worked out once for what is not only a matter of display."""
    counts = {"swing": scenario.swing, "cost_basis": scenario.cost_basis}
    return _moved(state.undisplayed(scenario).model_copy(update=counts), date.today())


def strongest(result: Answer) -> None:
    """The fields that move the cost most, as bars and as a table."""
    if not result.feasible:
        return
    section = st.expander(
        "What moves it most", key="sensitivity", on_change="rerun", icon=":material/swap_horiz:"
    )
    # A third chart would slow every slider down for those who do not look at it.
    if not section.open:
        return
    scenario = result.scenario
    found = _found(scenario)
    with section:
        left, right = st.columns(2, gap="large")
        with left:
            draw.chart(
                charts.tornado(found, scenario, draw.palette()),
                "tornado",
                charts.describe_tornado(found, scenario),
            )
        with right:
            controls.control(FIELDS["swing"], scenario, "moves_")
            st.dataframe(
                _table(found), hide_index=True, key="tornado_table",
                alt="Fields that move the cost most",
            )  # fmt: skip
        st.caption(
            "Blue: the field goes down; orange: it goes up; all else stays. Replicas and instances "
            "are whole, so a small step may change nothing and the next one a lot."
        )
        for bar, end in found.impossible:
            st.text(f"Left out: {bar.title} {setting(bar.info, end.value)}. {end.reason}")


def _table(found: Tornado) -> pd.DataFrame:
    import pandas as pd

    bars = found.strongest
    return pd.DataFrame(
        {
            "Field": [bar.title for bar in bars],
            "Down to": [_value(bar, bar.low) for bar in bars],
            "Cost": [_change(bar.low, found) for bar in bars],
            "Up to": [_value(bar, bar.high) for bar in bars],
            "Cost ": [_change(bar.high, found) for bar in bars],
        }
    )


def _value(bar: Bar, end: End | None) -> str:
    return "at its limit" if end is None else setting(bar.info, end.value)


def _change(end: End | None, found: Tornado) -> str:
    if end is None:
        return ""
    return "impossible" if end.reason else change(end.cost / found.cost - 1.0)
