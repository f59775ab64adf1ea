"""What every page draws with: charts, downloads, sentences that repeat somebody's text."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st
from plotly.basedatatypes import BaseFigure

from cpi_model import charts, export
from cpi_model.export import digits

if TYPE_CHECKING:
    import pandas as pd


@st.cache_resource(show_spinner=False)
def turns() -> threading.Semaphore:
    """Two runs compute at a time; with more, threads fight for the interpreter."""
    return threading.Semaphore(2)


def palette() -> charts.Palette:
    """Colours that go with the theme of the reader."""
    theme = st.context.theme.type
    return charts.DARK if theme == "dark" else charts.LIGHT


ROW_HEIGHT = 33
"""Of a table. [px]"""
PICTURES = {"png": "PNG", "svg": "SVG"}
"""Formats in which the browser saves a chart."""


class _Drawn(BaseFigure):  # type: ignore[misc]
    """A figure that goes to the browser as it is.

    Streamlit would check every property of a dictionary against Plotly's schema, which takes
    longer than everything else in a run; the tests do that for the figures of ``charts``.
    """

    def __init__(self, figure: charts.Figure) -> None:
        object.__setattr__(self, "figure", figure)

    def to_dict(self) -> charts.Figure:
        """Data and layout."""
        figure: charts.Figure = self.figure
        return figure


def chart(
    figure: charts.Figure, key: str, words: str, on_select: Callable[[], None] | None = None
) -> None:
    """A chart, with words for those who cannot see it; `on_select` is called after a click."""
    picked: dict[str, Any] = {}
    if on_select is not None:
        picked = {"on_select": on_select, "selection_mode": "points"}
    config = {
        "responsive": True,
        "displaylogo": False,
        "modeBarButtons": [["toImage"]],  # shown while the pointer is over the chart
        "toImageButtonOptions": {"format": picture_format(), "scale": 2, "filename": key},
    }
    st.plotly_chart(_Drawn(figure), key=key, theme=None, config=config, alt=words, **picked)


def picture_format() -> str:
    """What the camera beside a chart saves."""
    chosen: str = st.session_state.get("picture_format", "png")
    return chosen


def kept(name: str, key: object, make: Callable[[], Any], words: str) -> Any:
    """A result of this session's own data, made anew when what it depends on has changed.

    `words` say what goes on while it is made.
    """
    known = st.session_state.get(name)
    if known is None or known[0] != key:
        with st.spinner(words, show_time=True):
            known = st.session_state[name] = (key, make())
    return known[1]


def sentences(heading: str, lines: list[str]) -> None:
    """Sentences that may repeat somebody's text: shown as it is, never rendered."""
    with st.container(border=True, gap="xsmall"):
        st.markdown(f":material/warning: **{heading}**")
        for line in lines:
            st.text(line)


def table_height(rows: int, most: int | None = None) -> int:
    """Height of a table that shows so many rows, or the most that are shown at once. [px]"""
    return ROW_HEIGHT * (min(rows, most or rows) + 1) + 3


def download(label: str, frame: pd.DataFrame, name: str) -> None:
    """A button that hands over a table as CSV."""
    st.download_button(
        label, data=lambda: export.csv(frame), file_name=Path(name).name, mime="text/csv",
        on_click="ignore", icon=":material/download:", key=f"download_{name}",
    )  # fmt: skip


def counted(count: float, what: str) -> str:
    """A number of things, in words."""
    return f"{digits(count)} {what}" if count == 1 else f"{digits(count)} {what}s"


def escaped(text: str) -> str:
    """Dollar signs that do not begin a formula."""
    return text.replace("$", r"\$")
