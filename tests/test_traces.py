"""Traffic over time: published figures of traces, conservation, what the shape was asked for."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpi_model.catalog import CatalogError, UnknownId, catalog, data_folder, load, traffic_rows
from cpi_model.scenario import Scenario
from cpi_model.studies import traces
from cpi_model.studies.traces import Trace
from cpi_model.units import DAY, HOUR, MINUTE

FACTS = catalog()
RECORDED = {id: traces.recorded(known) for id, known in FACTS.traffic.items()}
FLAT = {"daily_swing": 0.0, "weekend_to_weekday": 1.0, "minute_cv": 0.0}


def shape(weeks: int = 1, **fields: float) -> Trace:
    return traces.of(Scenario().model_copy(update=fields), FACTS, weeks)


# Recorded ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "published"),
    [
        # Rows of the files of AzurePublicDataset.
        ("azure-2023-code", 8_819),
        ("azure-2023-conv", 19_366),
        # Printed in AzureLLMInferenceDataset2024.ipynb.
        ("azure-2024-code", 16_803_695),
        ("azure-2024-conv", 27_303_999),
    ],
)
def test_all_published_requests_are_there(id: str, published: int) -> None:
    known = FACTS.trace(id)
    assert known.published_requests == published
    total = sum(row.requests or 0.0 for row in traffic_rows(known))
    # The digitised weeks are written with a decimal a minute.
    assert total == (published if "2023" in id else pytest.approx(published, rel=1e-6))


@pytest.mark.parametrize(
    ("id", "figures", "tolerance"),
    [
        # Computed by others from the single requests, in minutes from the first request on.
        ("azure-2023-code", {"mean": 2.57, "dispersion": 164, "input_tokens": 2048}, 0.015),
        ("azure-2023-conv", {"mean": 5.53, "dispersion": 16.1, "peak_to_mean": 1.52}, 0.015),
        ("azure-2023-conv", {"input_tokens": 1155, "output_tokens": 211}, 0.001),
        ("azure-2023-code", {"output_tokens": 27.9, "peak_to_mean": 4.18}, 0.1),
        # In tens of minutes.
        ("azure-2024-code", {"mean": 1667 / 60, "peak_to_mean": 3.16, "mean_to_p95": 0.36}, 0.01),
        ("azure-2024-conv", {"mean": 2709 / 60, "peak_to_mean": 1.74, "mean_to_p95": 0.68}, 0.01),
        ("servegen-m-large", {"mean": 196, "peak_to_mean": 2.98, "mean_to_p95": 0.57}, 0.01),
        # With the missing windows as zeros the means are lower and the peaks over them higher.
        ("servegen-m-mid", {"mean": 1790, "peak_to_mean": 1.92, "mean_to_p95": 0.70}, 0.06),
        ("servegen-m-small", {"mean": 1174, "peak_to_mean": 3.30, "mean_to_p95": 0.68}, 0.02),
    ],
)
def test_statistics_are_the_published_ones(
    id: str, figures: dict[str, float], tolerance: float
) -> None:
    found = traces.statistics(RECORDED[id])
    for name, value in figures.items():
        assert getattr(found, name) == pytest.approx(value, rel=tolerance), name


def test_missing_windows_are_gaps_and_not_silence() -> None:
    gaps = {id: trace.gaps for id, trace in RECORDED.items() if id.startswith("servegen")}
    assert (gaps.pop("servegen-m-mid"), gaps.pop("servegen-m-small")) == (102, 37)
    assert set(gaps.values()) == {0}
    for trace in RECORDED.values():
        filled = trace.filled
        assert not np.isnan(filled).any()
        known = trace.requests_per_s[~np.isnan(trace.requests_per_s)]
        assert known.min() <= filled.min() and filled.max() <= known.max()


def test_weeks_begin_where_they_were_recorded() -> None:
    # 10 May 2024 was a Friday, 12 May a Sunday.
    assert RECORDED["azure-2024-code"].start_weekday == 4
    assert RECORDED["azure-2024-conv"].start_weekday == 6
    for id in ("azure-2024-code", "azure-2024-conv"):
        turned = RECORDED[id].from_monday()
        assert (turned.start_weekday, turned.start_hour) == (0, 0.0)
        # Quiet weekends stand at the end of a week that begins on Monday.
        by_day = turned.windows(DAY)
        assert by_day[5:].max() < by_day[:5].min()
        assert traces.statistics(turned).weekend_to_weekday == pytest.approx(
            traces.statistics(RECORDED[id]).weekend_to_weekday
        )
    hour = RECORDED["azure-2023-conv"]
    assert hour.from_monday() is hour


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (("azure-2023-code.csv", "3,531,", "3,532,"), "requests adds up to 8,820, must be 8,819"),
        (("azure-2023-code.csv", "\n4,166", "\n5,166"), "repeats"),
        (("azure-2023-code.csv", "\n57,237", "\n58,237"), "step is 58, must be 57"),
        (("azure-2023-code.csv", "3,531,", "3,-531,"), "requests"),
        (("azure-2023-code.csv", "input_tokens", "tokens"), "input_tokens"),
        (("azure-2023-code.toml", "step_s = 60", "step_s = 0"), "step_s"),
        (("azure-2023-code.toml", '"step_s", ', ""), "no source covers step_s"),
        (("azure-2023-code.toml", "licence =", "license ="), "licen"),
        (("azure-2023-code.toml", "[0, 57]", "[0, 58]"), "partial_steps has 58"),
        (("azure-2023-code.toml", "18:17:00 ", "18:17:00Z "), "without a time zone"),
    ],
)
def test_what_is_wrong_in_the_files_is_refused(
    tmp_path: Path, spoil: tuple[str, str, str], message: str
) -> None:
    folder = Path(shutil.copytree(data_folder(), tmp_path / "data"))
    name, old, new = spoil
    path = folder / "traffic" / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CatalogError, match=message):
        traffic_rows(load(folder).trace("azure-2023-code"), folder)


# Ticks -------------------------------------------------------------------------------------------

levels = st.lists(st.none() | st.floats(0, 1e4, allow_subnormal=False), min_size=1, max_size=60)


def of_levels(values: list[float | None], step: float) -> Trace | None:
    rates = np.array([math.nan if value is None else value for value in values])
    return Trace("x", step, rates) if np.nansum(rates) > 1e-6 else None


@given(levels, st.sampled_from([1.0, 60.0, 600.0]), st.integers(1, 12), st.integers(1, 3))
def test_every_step_keeps_its_requests_at_any_tick(
    values: list[float | None], step: float, parts: int, rounds: int
) -> None:
    trace = of_levels(values, step)
    if trace is None:
        return
    rates = trace.rates(step / parts, rounds * trace.length)
    assert len(rates) == parts * rounds * len(values)
    by_step = rates.reshape(rounds, len(values), parts).mean(axis=2)
    top = float(np.max(trace.filled))
    for once in by_step:
        np.testing.assert_allclose(once, trace.filled, rtol=1e-6, atol=1e-6 * top)


@given(levels, st.floats(0.3, 40.0))
def test_no_tick_is_beyond_the_steps_around_it_and_none_is_lost(
    values: list[float | None], tick: float
) -> None:
    trace = of_levels(values, 10.0)
    if trace is None:
        return
    filled = trace.filled
    rates = trace.rates(tick)
    slack = 1e-6 * float(filled.max())
    assert filled.min() - slack <= rates.min() and rates.max() <= filled.max() + slack
    long = trace.rates(tick, 50 * trace.length)
    assert long.mean() == pytest.approx(filled.mean(), rel=0.05 + 2 * tick / (50 * trace.length))


@pytest.mark.parametrize("id", [*RECORDED, traces.SHAPE])
def test_the_level_is_that_of_the_scenario(id: str) -> None:
    trace = traces.of(Scenario(traffic=id), FACTS)
    rates = trace.rates(15.0, mean=42.0)
    assert rates.mean() == pytest.approx(42.0)
    assert len(rates) == trace.length / 15.0
    twice = trace.rates(15.0, 2 * trace.length, mean=84.0)
    np.testing.assert_allclose(twice, 2 * np.tile(rates, 2), rtol=1e-6)


def test_ticks_without_a_bound_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 20,000,000 ticks"):
        shape().rates(1e-3, 365 * DAY)
    for tick, length in ((0.0, 1.0), (1.0, -1.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="greater than 0"):
            shape().rates(tick, length)


def test_a_weekend_that_was_not_recorded_is_not_known() -> None:
    rates = np.where(np.arange(7) >= 5, np.nan, 3.0)
    trace = Trace("x", DAY, rates, start_weekday=0, start_hour=0.0)
    assert math.isnan(traces.statistics(trace).weekend_to_weekday)


def test_an_empty_trace_is_refused() -> None:
    for values in (np.zeros(3), np.full(3, math.nan), np.array([])):
        with pytest.raises(ValueError, match="no request"):
            Trace("x", 60.0, values)


def test_a_trace_that_is_not_known_names_the_nearest() -> None:
    with pytest.raises(UnknownId, match="azure-2024-code"):
        traces.of(Scenario(traffic="azure-2024"), FACTS)
    assert set(traces.PRESETS.values()) <= set(FACTS.traffic)


# The shape ---------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(0, 23.9), st.floats(0, 3), st.integers(0, 1_000_000))
@settings(max_examples=25, deadline=None)
def test_days_and_weekends_are_as_asked(
    swing: float, hour: float, weekend: float, seed: int
) -> None:
    trace = shape(
        daily_swing=swing, peak_hour=hour, weekend_to_weekday=weekend, minute_cv=0.0,
        traffic_seed=seed,
    )  # fmt: skip
    found = traces.statistics(trace)
    assert found.mean == pytest.approx(1.0)
    assert found.weekend_to_weekday == pytest.approx(weekend, abs=1e-9)
    by_day = trace.requests_per_s.reshape(7, -1)
    day = by_day[0] / by_day[0].mean()
    assert day.max() == pytest.approx(1 + swing, abs=1e-4)
    if swing > 0.01:
        late = abs(int(day.argmax()) / 60 - hour)
        assert min(late, 24 - late) < 0.1


@pytest.mark.parametrize("cv", [0.1, 0.5, 1.5])
@pytest.mark.parametrize("minutes", [2.0, 30.0])
def test_minutes_are_as_unruly_and_as_lasting_as_asked(cv: float, minutes: float) -> None:
    trace = shape(weeks=20, **FLAT | {"minute_cv": cv, "burst_minutes": minutes})
    values = trace.requests_per_s
    assert values.mean() == pytest.approx(1.0)
    assert values.std() == pytest.approx(cv, rel=0.1)
    assert values.min() >= 0.0
    if cv < 0.2:  # nearly normal, so that the correlation of the normal numbers is theirs
        lag = round(minutes)
        correlation = np.corrcoef(values[lag:], values[:-lag])[0, 1]
        assert correlation == pytest.approx(math.exp(-1), abs=0.06)


def test_spikes_are_as_many_as_high_and_as_long_as_asked() -> None:
    trace = shape(**FLAT | {"spikes_per_week": 1, "spike_height": 8.0, "spike_minutes": 30})
    low, high = trace.requests_per_s.min(), trace.requests_per_s.max()
    assert high / low == pytest.approx(8.0)
    assert (trace.requests_per_s > (low + high) / 2).sum() == 30
    assert trace.mean == pytest.approx(1.0)


def test_the_same_seed_gives_the_same_minutes() -> None:
    first, again = shape(spikes_per_week=3), shape(spikes_per_week=3)
    assert (first.requests_per_s == again.requests_per_s).all()
    other = shape(spikes_per_week=3, traffic_seed=2)
    assert not (first.requests_per_s == other.requests_per_s).all()
    # A slider of another part leaves the random part as it was.
    flat = shape(minute_cv=0.5, daily_swing=0.0, weekend_to_weekday=1.0).requests_per_s
    days = shape(minute_cv=0.0).requests_per_s
    both = shape(minute_cv=0.5).requests_per_s
    assert np.corrcoef(flat * days, both)[0, 1] == pytest.approx(1.0)


def test_growth_is_a_trend_of_the_minutes() -> None:
    trace = shape(weeks=4, **FLAT | {"monthly_growth": 0.5})
    month = 4 * 7 * DAY / (365 * DAY / 12)
    ratio = trace.requests_per_s[-1] / trace.requests_per_s[0]
    assert ratio == pytest.approx(1.5**month, rel=1e-3)


def test_defaults_are_those_of_the_week_that_they_name() -> None:
    """Azure 2024 conversation: the shape without its random part is near the recorded week."""
    week = traces.statistics(RECORDED["azure-2024-conv"])
    given = Scenario()
    assert given.daily_swing == pytest.approx(week.daily_swing, abs=0.005)
    assert given.peak_hour == pytest.approx(week.peak_hour, abs=0.5)
    assert given.weekend_to_weekday == pytest.approx(week.weekend_to_weekday, abs=0.005)
    hour = traces.statistics(RECORDED["azure-2023-conv"])
    # Without what independent users contribute to the counts of minutes.
    unrest = math.sqrt(hour.cv**2 - 1 / (hour.mean * MINUTE))
    assert given.minute_cv == pytest.approx(unrest, abs=0.005)


# What follows ------------------------------------------------------------------------------------


def test_peak_and_quiet_hours_of_a_trace_can_be_taken_over() -> None:
    code = traces.implied(RECORDED["azure-2024-code"])
    assert code["peak_to_mean"] == pytest.approx(3.16, abs=0.01)
    assert 0.08 <= code["quiet_to_mean"] <= 0.11
    for trace in [*RECORDED.values(), shape(), Trace("one", HOUR, np.array([1.0]))]:
        assert Scenario.model_validate(traces.implied(trace))


def test_growth_of_a_scenario_has_a_range() -> None:
    found = traces.growth(
        Scenario(
            requests_per_s=10.0, monthly_growth=0.1, monthly_growth_low=0.0,
            monthly_growth_high=0.2,
        ),
        36,
    )  # fmt: skip
    assert len(found.months) == 37
    assert found.low == pytest.approx(10.0)
    # Ten percent a month: 3.138 times as much after a year.
    assert found.expected[12] == pytest.approx(31.38, abs=0.01)
    assert (found.low <= found.expected).all() and (found.expected <= found.high).all()
    outside = traces.growth(Scenario(monthly_growth=0.1))
    assert (outside.high == outside.expected).all()
