"""Figures on a page of their own, without Streamlit and without a network."""

from __future__ import annotations

from functools import lru_cache

from cpi_model.charts.base import Figure

CONFIG = {"displayModeBar": False, "responsive": True}


@lru_cache(maxsize=1)
def library() -> str:
    """The whole of plotly.js, to be written into a page."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def alone(figure: Figure) -> Figure:
    """A figure that the reader may zoom into: on a page of its own nothing scrolls by accident."""
    layout = {
        name: value | {"fixedrange": False} if name.startswith(("xaxis", "yaxis")) else value
        for name, value in figure["layout"].items()
    }
    return figure | {"layout": layout | {"dragmode": "zoom"}}
