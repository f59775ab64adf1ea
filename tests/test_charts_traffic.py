"""Charts of traffic: Plotly takes them, they lose no peak and stay small."""

from __future__ import annotations

import json
import math

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.charts import DARK, LIGHT, Palette
from cpi_model.charts.traffic import MOST_POINTS
from cpi_model.scenario import Scenario
from cpi_model.studies import traces
from cpi_model.studies.traces import Trace
from cpi_model.units import DAY, HOUR

FACTS = catalog()
SHOWN = {id: traces.of(Scenario(traffic=id), FACTS) for id in (*FACTS.traffic, traces.SHAPE)}


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("id", SHOWN)
def test_plotly_takes_every_figure(id: str, palette: Palette) -> None:
    figure = charts.demand(SHOWN[id], palette)
    go.Figure(figure)
    json.dumps(figure, allow_nan=False)
    assert sum(len(line["x"]) for line in figure["data"]) <= MOST_POINTS


@given(
    st.lists(st.none() | st.floats(0.01, 1e5), min_size=2, max_size=30),
    st.integers(1, 400),
    st.sampled_from([1.0, 60.0, 600.0]),
)
@settings(deadline=None)
def test_no_peak_is_lost_and_gaps_stay_open(
    values: list[float | None], times: int, step: float
) -> None:
    rates = np.repeat([math.nan if value is None else value for value in values], times)
    if np.isnan(rates).all():
        return
    figure = charts.demand(Trace("x", step, rates))
    go.Figure(figure)
    assert sum(len(line["x"]) for line in figure["data"]) <= MOST_POINTS
    drawn = [y for line in figure["data"] for y in line["y"] if y is not None]
    assert max(drawn) == pytest.approx(np.nanmax(rates), rel=1e-4)
    assert min(drawn) == pytest.approx(np.nanmin(rates), rel=1e-4)
    low, high = figure["layout"]["yaxis"]["range"]
    assert low == 0 and high > np.nanmax(rates)
    if figure["data"][0]["name"] == "Requests":
        missing = sum(y is None for y in figure["data"][0]["y"])
        assert missing == np.isnan(rates).sum() + bool(np.isnan(rates[-1]))


def test_weekdays_stand_at_their_midnights() -> None:
    # 10 May 2024 was a Friday.
    axis = charts.demand(SHOWN["azure-2024-code"])["layout"]["xaxis"]
    assert axis["ticktext"][:3] == ["Fri", "Sat", "Sun"]
    assert list(axis["tickvals"][:3]) == [0, 1, 2]
    # From Tuesday noon on, Wednesday begins after half a day.
    begun = Trace("x", HOUR, np.ones(72), start_weekday=1, start_hour=12.0)
    axis = charts.demand(begun)["layout"]["xaxis"]
    assert axis["ticktext"] == ["Wed", "Thu", "Fri"]
    assert axis["tickvals"] == pytest.approx([0.5, 1.5, 2.5])
    unknown = charts.demand(SHOWN["servegen-m-large"])["layout"]["xaxis"]
    assert unknown["ticktext"][0] == "0" and unknown["range"] == [0, 14]


def test_growth_is_drawn_with_its_range() -> None:
    found = traces.growth(
        Scenario(monthly_growth=0.05, monthly_growth_low=-0.02, monthly_growth_high=0.1), 36
    )
    figure = charts.growth(found)
    go.Figure(figure)
    low, high, expected = (line["y"] for line in figure["data"])
    assert len(expected) == 37
    assert low[0] == high[0] == expected[0] == 10.0
    assert low[-1] < expected[-1] < high[-1] < figure["layout"]["yaxis"]["range"][1]
    assert "in 36 months" in charts.describe_growth(found)


def test_words_say_the_same() -> None:
    said = charts.describe_demand(SHOWN["azure-2024-code"])
    assert "27.8" in said and "3.16" in said and "missing" not in said
    assert "102 steps are missing" in charts.describe_demand(SHOWN["servegen-m-mid"])
    assert SHOWN["azure-2024-code"].length == 7 * DAY
