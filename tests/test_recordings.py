"""Traffic files of users: what is read, what is a gap, and that nothing raises."""

from __future__ import annotations

import gzip
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpi_model.catalog import catalog, traffic_rows
from cpi_model.studies import recordings, traces
from cpi_model.studies.recordings import Recording
from cpi_model.studies.traces import Trace

# A Wednesday.
BEGIN = datetime(2026, 5, 6, 9, 30, tzinfo=UTC)


def read(text: str | bytes) -> Recording:
    return recordings.read("mine.csv", text.encode() if isinstance(text, str) else text)


def trace_of(text: str) -> Trace:
    found = read(text)
    assert found.problems == ()
    assert found.trace is not None
    return found.trace


def table(rows: list[tuple[object, object]], header: str = "time,count\n", by: str = ",") -> str:
    return header.replace(",", by) + "".join(f"{time}{by}{count}\n" for time, count in rows)


FORMS = {
    "ISO": lambda time: time.isoformat(),
    "Z": lambda time: time.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "plain": lambda time: time.strftime("%Y-%m-%d %H:%M:%S"),
    "elsewhere": lambda time: time.astimezone(datetime.strptime("+0530", "%z").tzinfo).isoformat(),
    "seconds": lambda time: int(time.timestamp()),
    "fractions": lambda time: time.timestamp(),
    "milliseconds": lambda time: int(time.timestamp() * 1e3),
    "microseconds": lambda time: int(time.timestamp() * 1e6),
    "nanoseconds": lambda time: int(time.timestamp()) * 10**9,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("by", [",", ";", "\t"])
def test_counts_are_read_in_every_form_of_time(form: str, by: str) -> None:
    counts = [60, 0, 120, 30, 7]
    moments = [BEGIN + timedelta(minutes=5 * number) for number in range(5)]
    rows = [(FORMS[form](time), count) for time, count in zip(moments, counts, strict=True)]
    for header in ("time,count\n", "Timestamp,Requests\n", "when,how many\n", ""):
        trace = trace_of(table(rows, header, by))
        assert trace.step == 300.0
        assert trace.requests_per_s * 300.0 == pytest.approx(counts)
        assert (trace.start_weekday, trace.start_hour) == (2, 9.5)


@pytest.mark.parametrize("form", FORMS)
def test_single_requests_are_counted_in_every_form_of_time(form: str) -> None:
    random = np.random.default_rng(3)
    seconds = np.sort(random.uniform(0, 3600, 500)).round()
    rows = [FORMS[form](BEGIN + timedelta(seconds=float(second))) for second in seconds]
    for text in ("at\n" + "\n".join(map(str, rows)), "\n".join(map(str, reversed(rows)))):
        found = read(text)
        assert found.trace is not None, found.problems
        assert found.trace.step == 10.0
        left = sum(seconds - seconds[0] >= (seconds[-1] - seconds[0]) // 10 * 10)
        assert found.trace.requests_per_s.sum() * 10.0 == pytest.approx(500 - left)
        assert any("500 requests" in note for note in found.notes)


def test_a_published_log_of_requests_has_its_published_statistics() -> None:
    """The minutes of Azure 2023, spread evenly, come back with times of seven decimals."""
    known = catalog().trace("azure-2023-conv")
    assert known.start is not None
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for row in traffic_rows(known):
        for part in range(int(row.requests or 0)):
            second = row.step * 60 + 60 * part / (row.requests or 1)
            time = known.start + timedelta(seconds=second)
            lines.append(f"{time:%Y-%m-%d %H:%M:%S.%f}0,1155,211")
    found = read("\n".join(lines))
    assert found.trace is not None, found.problems
    assert any("19,366 requests" in note for note in found.notes)
    figures = traces.statistics(found.trace)
    assert figures.mean == pytest.approx(19_366 / 3_599, rel=0.01)
    by_minute = found.trace.windows(60.0)
    assert by_minute.max() / by_minute.mean() == pytest.approx(1.52, rel=0.03)


def test_missing_and_empty_rows_are_gaps() -> None:
    text = "time,count\n0,10\n60,\n120,30\n300,60\n"
    found = read(text)
    assert found.trace is not None
    assert [None if math.isnan(r) else round(r * 60) for r in found.trace.requests_per_s] == [
        10, None, 30, None, None, 60,
    ]  # fmt: skip
    assert any("3 of 6 steps are missing" in note for note in found.notes)
    assert (found.trace.start_weekday, found.trace.start_hour) == (None, None)


def test_rows_may_stand_in_any_order() -> None:
    assert trace_of("120,3\n0,1\n60,2\n").requests_per_s * 60 == pytest.approx([1, 2, 3])


def test_a_long_silence_is_told() -> None:
    times = [*range(100), *range(2000, 2100)]
    found = read("\n".join(map(str, times)))
    assert any("1,901 s after row 100" in note for note in found.notes)


WRONG: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "no rows"),
    "blank": ("\n\n ,\n", "no rows"),
    "header": ("time,count\n", "no rows below its header"),
    "binary": (bytes(range(128, 256)), "no text"),
    "packed": (gzip.compress(b"1,2\n"), "packed"),
    "large": (b"1" * (recordings.LARGEST_FILE + 1), "at most 60 are read"),
    "no time": ("time,count\nyesterday,5\n60,1\n", "row 2: 'yesterday' is no time"),
    "one time": ("time,count\n0,5\n60,1\nx,1\n", "row 4: 'x' is no time"),
    "many": ("time,count\n" + "x,1\n" * 50, "45 more rows are like these"),
    "no count": ("0,1\n60,two\n", "row 2: 'two' is no count"),
    "negative": ("0,1\n60,-2\n", "row 2: '-2' is no count"),
    "infinite": ("0,1\n60,inf\n", "row 2: 'inf' is no count"),
    "huge": ("0,1\n60,1e300\n", "row 2: '1e300' is no count"),
    "short": ("0,1\n60\n120,1\n", "row 2 has fewer columns"),
    "one row": ("0,1\n", "one row"),
    "twice": ("0,1\n60,1\n60,2\n120,1\n", "row 3 has the same time"),
    "uneven": ("0,1\n60,1\n120,1\n155,1\n", "row 4 comes 35 s after"),
    "far apart": ("0,1\n1,1\n2,1\n3,1\n900000000,1\n", "at most 1,000,000"),
    "coarse": ("0,1\n200000,1\n400000,1\n", "one second to one day"),
    "fine": ("0,1\n0.1,1\n0.2,1\n", "one second to one day"),
    "silent": ("0,0\n60,0\n", "no request"),
    "at once": ("5\n5\n5\n", "at least two seconds"),
    "old": ("1850-01-01,1\n1850-01-02,1\n", "no time"),
    "late": ("2026-01-01,1\n9999-12-31,1\n", "row 2"),
    "cell": ("0,1\n60," + "9" * 200_000 + "\n", "is no CSV"),
    "mixed": ("2026-05-06,1\n2026-05-07,1\n5,1\n", "row 3: '5' is no time"),
    "formula": ("=1+1,2\n=2+2,3\n", "row 2: '=2+2' is no time"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_used_is_refused_with_its_row(name: str) -> None:
    content, says = WRONG[name]
    found = read(content)
    assert found.trace is None
    assert any(says in problem for problem in found.problems), found.problems
    for problem in found.problems:
        assert "mine.csv" in problem and "\n" not in problem and len(problem) < 300


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    found = recordings.read_file(tmp_path / "nothing.csv")
    assert found.trace is None and "cannot be read" in found.problems[0]
    assert recordings.read_file(tmp_path).trace is None
    (tmp_path / "mine.csv").write_text("0,1\n60,2\n", encoding="utf-8")
    assert recordings.read_file(tmp_path / "mine.csv").trace is not None


cells = (
    st.integers(-10, 10**20).map(str)
    | st.floats().map(str)
    | st.datetimes().map(lambda time: time.isoformat())
    | st.sampled_from(["", "time", "count", "NaT", "null", "inf", "1e999", "0x10", '"', "2026-13"])
    | st.text(max_size=6)
)
lines = st.lists(st.lists(cells, min_size=1, max_size=3).map(",".join), max_size=8)


@given(st.text() | st.binary(max_size=200) | lines.map("\n".join))
@settings(max_examples=400, deadline=None)
def test_whatever_a_file_holds_nothing_raises(content: str | bytes) -> None:
    if isinstance(content, str):
        content = content.encode("utf-8", errors="surrogatepass")
    found = recordings.read("x.csv", content)
    assert (found.trace is None) == bool(found.problems)
    if found.trace is not None:
        assert np.isfinite(found.trace.rates(found.trace.step)).all()


@given(
    st.lists(st.none() | st.integers(0, 10**6), min_size=2, max_size=40),
    st.sampled_from([1, 60, 600, 3600]),
)
@settings(deadline=None)
def test_what_is_written_is_read_back(counts: list[int | None], step: int) -> None:
    if counts[0] is None or counts[-1] is None or not sum(count or 0 for count in counts):
        return
    times = pd.date_range("2026-01-05", periods=len(counts), freq=f"{step}s")
    text = table([(t, "" if c is None else c) for t, c in zip(times, counts, strict=True)])
    trace = trace_of(text)
    assert (trace.step, trace.start_weekday, trace.start_hour) == (step, 0, 0.0)
    found = [None if math.isnan(rate) else round(rate * step) for rate in trace.requests_per_s]
    assert found == counts
