"""Traffic of the user: a file of counts, or of the times of single requests, as a trace.

A table of ``time, count`` has one regular step; what is missing in it is a gap. A table without
counts has a request a row. Times are ISO 8601 (UTC unless they say otherwise), or seconds,
milliseconds, microseconds or nanoseconds since 1970, or seconds from the beginning. Files are
hostile: sizes are bounded before anything is parsed, and nothing raises.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cpi_model.links import shown
from cpi_model.studies.traces import Trace
from cpi_model.studies.uploads import content_of, text_of
from cpi_model.studies.validate import UnusableTable
from cpi_model.units import DAY, HOUR, MB, MINUTE, TERA, YEAR, Array

LARGEST_FILE = 60 * int(MB)
MOST_ROWS = 1_500_000
MOST_STEPS = 1_000_000
"""Steps of a trace, gaps included: two rows may be years apart."""
MOST_PROBLEMS = 5
LARGEST_COUNT = TERA
SHORTEST_STEP, LONGEST_STEP = 1.0, DAY
STEPS = ((30 * MINUTE, 1.0), (6 * HOUR, 10.0), (60 * DAY, MINUTE), (2 * YEAR, 10 * MINUTE))
"""Up to so long a time of single requests, steps of such a length; beyond, hours. [s]"""
FIRST_YEAR, LAST_YEAR = 2000, 2100
EPOCHS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (9e8, 1.0))
"""Numbers from so large on are so many to a second since 1970; smaller ones are seconds."""
TIMES = (
    "time", "timestamp", "date", "datetime", "created", "created_at", "start_time", "started_at",
    "ts", "t",
)  # fmt: skip
COUNTS = (
    "count", "requests", "request_count", "invocations", "calls", "hits", "n", "sum", "value",
    "total",
)  # fmt: skip
ALLOWED = (
    "allowed are ISO 8601, such as 2026-05-10 13:45:00, and seconds or milliseconds since 1970"
)


@dataclass(frozen=True)
class Recording:
    """What was read from a file."""

    name: str
    trace: Trace | None
    """None where the file cannot be used."""
    problems: tuple[str, ...]
    """Sentences: why it cannot be used."""
    notes: tuple[str, ...] = ()
    """Sentences: what was found, left out or taken for granted."""


class _Unusable(Exception):
    """Problems of a file, a sentence each."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


@dataclass(frozen=True)
class _Table:
    """Cells of a file, with the row of each."""

    times: list[str]
    counts: list[str] | None
    """None where each row is a request."""
    rows: list[int]


def read(name: str, content: bytes) -> Recording:
    """Trace of a file, or what is wrong with it. Never raises."""
    name = shown(name).strip("'") or "file"
    hint = "; counts by the minute say the same in less room"
    try:
        text = text_of(name, content, LARGEST_FILE, "CSV is read", hint)
        trace, notes = _read(name, text)
    except UnusableTable as problem:
        return Recording(name, None, (str(problem),))
    except _Unusable as unusable:
        return Recording(name, None, tuple(f"{name}: {each}" for each in unusable.problems))
    return Recording(name, trace, (), tuple(f"{name}: {each}" for each in notes))


def read_file(path: Path) -> Recording:
    """The same for a file on this machine, of which no more is read than may be."""
    try:
        return read(path.name, content_of(path, LARGEST_FILE))
    except UnusableTable as problem:
        return Recording(path.name, None, (str(problem),))


def _read(name: str, text: str) -> tuple[Trace, list[str]]:
    table = _table(text)
    times, notes, absolute = _seconds(table)
    if table.counts is None:
        begin, step, counts, more = _of_requests(times, table.rows)
    else:
        begin, step, counts, more = _of_counts(times, _numbers(table), table.rows)
    if not np.nansum(counts) > 0:
        raise _Unusable("there is no request in it.")
    trace = Trace(
        name=name, step=step, requests_per_s=counts / step,
        start_weekday=int((begin // DAY + 3) % 7) if absolute else None,
        start_hour=begin % DAY / HOUR if absolute else None,
        source="file of the user",
    )  # fmt: skip
    if trace.gaps:
        more.append(f"{trace.gaps:,} of {len(counts):,} steps are missing and were bridged.")
    return trace, notes + more


# Cells -------------------------------------------------------------------------------------------


def _table(text: str) -> _Table:
    first = text[:10_000].partition("\n")[0]
    separator = max(",;\t", key=first.count)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        for row in reader:
            if row and any(map(str.strip, row)) and not row[0].startswith("#"):
                if len(rows) > MOST_ROWS:
                    raise _Unusable(f"it has more than {MOST_ROWS:,} rows, which is the most.")
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error:
        raise _Unusable(f"row {reader.line_num} is no CSV.") from None
    if not rows:
        raise _Unusable("it has no rows.")
    of_time, of_count = 0, 1 if len(rows[0]) == 2 else None
    if not _is_time(rows[0][0]):
        header = [cell.strip().casefold() for cell in rows.pop(0)]
        lines.pop(0)
        of_time = next((header.index(each) for each in TIMES if each in header), 0)
        named = next((header.index(each) for each in COUNTS if each in header), None)
        of_count = named if len(header) != 2 else 1 - of_time
    if not rows:
        raise _Unusable("it has no rows below its header.")
    needed = max(of_time, of_count or 0)
    if short := [line for row, line in zip(rows, lines, strict=True) if len(row) <= needed]:
        raise _Unusable(f"row {short[0]:,} has fewer columns than the first.")
    counts = None if of_count is None else [row[of_count].strip() for row in rows]
    return _Table([row[of_time].strip() for row in rows], counts, lines)


def _is_time(cell: str) -> bool:
    seconds, _ = _parsed([cell.strip()])
    return bool(np.isfinite(seconds[0]))


def _parsed(cells: Sequence[str]) -> tuple[Array, bool]:
    """Seconds of times, NaN where there are none, and whether they are since 1970."""
    texts = pd.Series(list(cells), dtype="object")
    numbers = np.array(pd.to_numeric(texts, errors="coerce"), dtype=float)
    numbers[~np.isfinite(numbers)] = math.nan
    if np.isfinite(numbers).sum() * 2 >= len(numbers):
        typical = float(np.nanmedian(numbers))
        for least, per_second in EPOCHS:
            if typical >= least:
                return _in_range(numbers / per_second), True
        numbers[numbers < 0] = math.nan
        return numbers, False
    try:
        moments = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    except (ValueError, OverflowError):  # zones that no calendar knows
        return np.full(len(texts), math.nan), True
    # In microseconds every year that can be written has room.
    since = moments.dt.as_unit("us") - pd.Timestamp(0, tz="UTC").as_unit("us")
    return _in_range(np.asarray(since.dt.total_seconds(), dtype=float)), True


def _in_range(seconds: Array) -> Array:
    """Years that no recording can be of are no times."""
    first, last = (
        pd.Timestamp(year=year, month=1, day=1, tz="UTC").timestamp()
        for year in (FIRST_YEAR, LAST_YEAR)
    )
    return np.where((seconds >= first) & (seconds < last), seconds, math.nan)


def _seconds(table: _Table) -> tuple[Array, list[str], bool]:
    """Times of the rows, what was taken for granted, and whether they are since 1970."""
    seconds, absolute = _parsed(table.times)
    _refuse(np.isnan(seconds), table.times, table.rows, "no time", ALLOWED)
    if not absolute:
        return (
            seconds,
            ["Times are seconds from the beginning; weekday and hour are unknown."],
            False,
        )
    first = table.times[0]
    plain = not first.replace(".", "").isdigit() and not _has_zone(first)
    return seconds, ["Times without a zone were taken for UTC."] if plain else [], True


def _has_zone(cell: str) -> bool:
    return cell[-1:] in "Zz" or "+" in cell or "-" in cell[10:]


def _numbers(table: _Table) -> Array:
    """Counts of the rows; NaN where the cell is empty."""
    cells = table.counts or []
    texts = pd.Series(cells, dtype="object")
    numbers = np.array(pd.to_numeric(texts, errors="coerce"), dtype=float)
    empty = np.array([cell == "" for cell in cells])
    wrong = ~empty & ~((numbers >= 0) & (numbers <= LARGEST_COUNT))
    allowed = f"allowed is a number from 0 to {LARGEST_COUNT:,.0f}, or nothing"
    _refuse(wrong, cells, table.rows, "no count", allowed)
    return np.where(empty, math.nan, numbers)


def _refuse(
    wrong: npt.NDArray[np.bool_], cells: Sequence[str], rows: Sequence[int], what: str, allowed: str
) -> None:
    places = np.flatnonzero(wrong)
    if len(places):
        problems = [
            f"row {rows[at]:,}: {shown(cells[at])} is {what}" for at in places[:MOST_PROBLEMS]
        ]
        problems = [f"{problems[0]}; {allowed}.", *(f"{problem}." for problem in problems[1:])]
        if len(places) > MOST_PROBLEMS:
            problems.append(f"{len(places) - MOST_PROBLEMS:,} more rows are like these.")
        raise _Unusable(*problems)


# Steps -------------------------------------------------------------------------------------------


def _of_counts(
    times: Array, counts: Array, rows: Sequence[int]
) -> tuple[float, float, Array, list[str]]:
    """Beginning, step, counts with gaps, and notes of a table of counts."""
    if len(times) < 2:
        raise _Unusable("it has one row; at least two are needed to know the step.")
    order = np.argsort(times, kind="stable")
    notes = [] if (order[:-1] < order[1:]).all() else ["Rows were put into the order of time."]
    times, counts = times[order], counts[order]
    apart = np.round(np.diff(times), 3)
    if (apart == 0).any():
        at = order[int(np.argmax(apart == 0)) + 1]
        raise _Unusable(f"row {rows[at]:,} has the same time as an earlier row.")
    values, often = np.unique(apart, return_counts=True)
    step = float(values[often.argmax()])
    if not SHORTEST_STEP <= step <= LONGEST_STEP:
        raise _Unusable(
            f"its rows are {step:,.10g} s apart; allowed is from one second to one day."
        )
    places = np.round((times - times[0]) / step)
    off = np.abs(times - times[0] - places * step) > 0.01 * step
    if off.any():
        at = int(np.argmax(off))
        raise _Unusable(
            f"row {rows[order[at]]:,} comes {apart[at - 1]:,.10g} s after the one before; "
            f"the step of the file is {step:,.10g} s, and times must be whole steps apart."
        )
    steps = int(places[-1]) + 1
    if steps > MOST_STEPS:
        raise _Unusable(
            f"from its first to its last row are {steps:,} steps, at most {MOST_STEPS:,} are read."
        )
    series = np.full(steps, math.nan)
    series[places.astype(np.intp)] = counts
    return float(times[0]), step, series, notes


def _of_requests(times: Array, rows: Sequence[int]) -> tuple[float, float, Array, list[str]]:
    """Beginning, step, counts and notes of the times of single requests."""
    order = np.argsort(times, kind="stable")
    times = times[order]
    begin, length = float(times[0]), float(times[-1] - times[0])
    if length < 2 * SHORTEST_STEP:
        raise _Unusable(
            f"its {len(times):,} requests come within {length:,.6g} s; at least two seconds are "
            "needed."
        )
    step = next((step for longest, step in STEPS if length <= longest), HOUR)
    whole = int(length // step)
    if whole > MOST_STEPS:
        raise _Unusable(
            f"from its first to its last request are {whole:,} hours, at most {MOST_STEPS:,} are "
            "read."
        )
    places = ((times - begin) // step).astype(np.intp)
    counts = np.bincount(places[places < whole], minlength=whole).astype(float)
    notes = [f"{len(times):,} requests were counted in steps of {step:,.10g} s."]
    if left := int((places >= whole).sum()):
        notes.append(f"The last {left:,} fall into a step that the file does not cover.")
    silence = np.diff(times)
    longest = int(silence.argmax())
    if silence[longest] > max(10 * step, 0.05 * length):
        notes.append(
            f"Nothing for {silence[longest]:,.6g} s after row {rows[order[longest]]:,}: "
            "taken for silence."
        )
    return begin, step, counts, notes
