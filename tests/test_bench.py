"""What the app is measured against is fair: as many controls and figures, and no chart."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parent.parent
KINDS = (
    "metric", "selectbox", "select_slider", "slider", "number_input", "toggle", "button",
    "expander", "popover",
)  # fmt: skip


def counts(script: str) -> dict[str, int]:
    opened = AppTest.from_file(str(ROOT / script), default_timeout=60).run()
    assert not opened.exception
    return {kind: len(opened.get(kind)) for kind in (*KINDS, "plotly_chart")}


def test_the_floor_has_the_controls_and_figures_of_the_app_and_no_chart() -> None:
    app, floor = counts("app.py"), counts("bench/floor_app.py")
    assert app.pop("plotly_chart") > 0
    assert floor.pop("plotly_chart") == 0
    assert floor == app
