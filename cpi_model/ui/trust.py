"""How far estimates are from what was measured, and what the reader measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import streamlit as st

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.export import digits, percent
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import explain, trust
from cpi_model.ui import draw, state
from cpi_model.ui.whatif import answered

if TYPE_CHECKING:
    import pandas as pd

    from cpi_model.studies.accuracy import Compared, GroupError
    from cpi_model.studies.uploads import Upload

GROUPINGS = {"model_class": "Class", "hardware": "Hardware", "engine": "Engine"}
REPORTS = "vllm bench serve, AIPerf, GenAI-Perf or guidellm"
MOST_ROWS_SHOWN = 12
MOST_REASONS = 6
MOST_FILES = 40
EXAMPLES = 5


@lru_cache(maxsize=1)
def _compared() -> tuple[Compared, ...]:
    """The runs that come with the package beside their estimates; no scenario moves them."""
    from cpi_model.studies import accuracy, measurements

    with draw.turns():
        return tuple(accuracy.compare(measurements.rows(), catalog()))


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    return trust.names(catalog())


@lru_cache(maxsize=32)
def _errors(by: str, measure: str) -> tuple[GroupError, ...]:
    from cpi_model.studies import accuracy

    points = [each for each in _compared() if each.measure == measure]
    return tuple(accuracy.errors(points, by))  # type: ignore[arg-type]


@lru_cache(maxsize=32)
def _error_table(by: str, measure: str) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(trust.error_table(_errors(by, measure), _names()))


@lru_cache(maxsize=16)
def _scatter(measure: str, palette: charts.Palette) -> charts.Figure:
    points = [each for each in _compared() if each.measure == measure]
    return charts.predicted_against_measured(points, (), _names(), palette)


def errors_of_this_kind(scenario: Scenario) -> None:
    """How far estimates like the present one were from runs that were left out of the fit."""
    result = answered(scenario, date.today())
    found = explain.accuracy(result)
    if not found:
        st.markdown(
            "**Nothing like this scenario was measured**: its estimate rests on other models and "
            "hardware."
        )
        return
    within = ", ".join(
        f"{each.what} within {percent(each.median_error)} and {percent(each.p90_error)}"
        for each in reversed(found)
    )
    st.markdown(f"**Runs like this scenario**, half of them and nine of ten: {within}.")
    rows = max(each.rows for each in found)
    st.caption(f"{rows:,} {explain.on_which_runs(result)}.")


def measured_runs(scenario: Scenario) -> None:
    """Measured against estimated, and the errors by class, hardware or engine."""
    from cpi_model.studies import accuracy

    measure = st.segmented_control(
        "What was measured", list(trust.MEASURES), format_func=trust.MEASURES.__getitem__,
        default="throughput", required=True, key="trust_measure",
    )  # fmt: skip
    own = [each for each in _own_compared(scenario) if each.measure == measure]
    points = [each for each in _compared() if each.measure == measure]
    figure = (
        charts.predicted_against_measured(points, own, _names(), draw.palette())
        if own
        else _scatter(measure, draw.palette())
    )
    draw.chart(figure, "trust_scatter", charts.describe_scatter(points, own))
    share, count = trust.coverage(_compared()).get(measure, (math.nan, 0))  # type: ignore[call-overload]
    inside = (
        f" The likely range that is shown beside estimates holds {percent(share)} of {count:,}; "
        f"{percent(accuracy.EXPECTED_INSIDE)} are meant to be in it."
        if count
        else ""
    )
    tokens = " Tokens count where requests are not published." if measure == "throughput" else ""
    st.caption(
        f"{len(points):,} public runs that come with the app. Most were in the fit; rare "
        f"combinations weigh more here. Lines: equal, half and twice.{tokens}{inside}"
    )
    by = st.segmented_control(
        "Errors by", list(GROUPINGS), format_func=GROUPINGS.__getitem__, default="model_class",
        required=True, key="trust_by",
    )  # fmt: skip
    found = _errors(by, measure)
    left, right = st.columns(2, gap="medium")
    with left:
        draw.chart(
            charts.errors_by_group(found, _names(), draw.palette()), "trust_errors",
            charts.describe_errors(found, _names()),
        )  # fmt: skip
        if len(found) > charts.MOST_BARS:
            st.caption(f"The {charts.MOST_BARS} with most runs of {len(found)}; all in the table.")
    with right:
        table = _error_table(by, measure)
        st.dataframe(
            table, hide_index=True, key="trust_table",
            height=draw.table_height(len(table), MOST_ROWS_SHOWN),
            column_config={
                "Group": st.column_config.TextColumn(
                    GROUPINGS[by], pinned=True, width=190 if by == "hardware" else 120
                ),
                "Runs": st.column_config.NumberColumn(format="localized", width=52),
                **{
                    name: st.column_config.NumberColumn(format="%.1f%%", width=60)
                    for name in ("Median", "9 of 10", "Inside")
                },
            },
            placeholder="", alt=f"Errors by {GROUPINGS[by].lower()}",
        )  # fmt: skip
        st.caption("Inside: share within the likely range. Empty: no range is known.")


@lru_cache(maxsize=1)
def _unmeasured() -> dict[str, list[str]]:
    from cpi_model.studies import accuracy

    found, facts = accuracy.never_measured(catalog()), catalog()
    named = {
        "Hardware of which relatives were measured": (
            set(found.accelerators) - set(found.without_relatives),
            facts.accelerators,
        ),
        "Hardware without measured relatives": (found.without_relatives, facts.accelerators),
        "Engines": (found.engines, facts.engines),
        "Models": (found.models, facts.models),
        "Precisions": (found.schemes, facts.schemes),
    }
    return {
        title: sorted((known[id].name for id in ids), key=str.casefold)  # type: ignore[attr-defined]
        for title, (ids, known) in named.items()
    }


def never_measured() -> None:
    """What the catalog offers and nobody measured: its estimates are the least certain."""
    section = st.expander(
        "Never measured", key="unmeasured", on_change="rerun", icon=":material/help_center:"
    )
    if not section.open:
        return
    with section:
        st.caption(
            "No run of these was in the fit. Estimates follow from the datasheet, the architecture "
            "and what relatives reach."
        )
        for title, found in _unmeasured().items():
            st.caption(f"{title}: {len(found)}")
            st.text(", ".join(found) or "none")


# Measurements of the reader: they stay in the session.


def _own() -> tuple[Upload, ...]:
    own: tuple[Upload, ...] = st.session_state.get("own", ())
    return own


def _kept(name: str, key: object, make: Callable[[], Any]) -> Any:
    return draw.kept(name, key, make, "Comparing your runs with their estimates")


def _own_rows() -> list[dict[str, str]]:
    return [row for upload in _own() for row in upload.rows]


def _own_key(scenario: Scenario, *fields: str) -> tuple[object, ...]:
    return (st.session_state.get("own_number", 0), *(getattr(scenario, name) for name in fields))


def _own_compared(scenario: Scenario) -> list[Compared]:
    """The reader's runs beside estimates with the scenario's correction."""
    if not _own():
        return []

    def compare() -> list[Compared]:
        from cpi_model.studies import accuracy, correction

        with draw.turns():
            return accuracy.compare(correction.corrected(_own_rows(), scenario), catalog())

    key = _own_key(
        scenario, "accelerator", "engine", "step_time_correction", "first_token_correction"
    )
    found: list[Compared] = _kept("own_compared", key, compare)
    return found


def _take_files(key: str) -> None:
    """Read what was dropped; a file that cannot be used costs itself only."""
    from cpi_model.studies import uploads
    from cpi_model.studies.validate import UnusableTable

    session = st.session_state
    own = {upload.name: upload for upload in _own()}
    problems = []
    for file in session[key][: MOST_FILES + 1]:
        try:
            content = file.read(uploads.LARGEST_FILE + 1)
            upload = uploads.read(file.name, content, state.current(), catalog())
            others = sum(len(each.rows) for name, each in own.items() if name != upload.name)
            if len({*own, upload.name}) > MOST_FILES:
                raise UnusableTable(f"{upload.name} is one too many: {MOST_FILES} files are kept.")
            if others + len(upload.rows) > uploads.MOST_ROWS:
                raise UnusableTable(
                    f"{upload.name} has {len(upload.rows):,} runs; with those that are here that "
                    f"is more than {uploads.MOST_ROWS:,}, which is the most."
                )
            own[upload.name] = upload
        except UnusableTable as problem:
            problems.append(str(problem))
    session["own_problems"] = problems
    _keep(tuple(own.values()))


def _keep(own: tuple[Upload, ...]) -> None:
    session = st.session_state
    session["own"] = own
    # A new key empties the box of files and tells results of earlier ones from new ones.
    session["own_number"] = session.get("own_number", 0) + 1


def own_measurements(scenario: Scenario) -> None:
    """Runs of the reader: read, compared, and turned into a correction of the scenario."""
    st.markdown("##### Your own measurements")
    st.caption(
        f"A CSV table of runs, or the JSON of {REPORTS}. Reports do not say on what they were "
        "measured: that is taken from the scenario in the sidebar, so set it first. Files stay in "
        "this session and are not stored."
    )
    key = f"own_files_{st.session_state.get('own_number', 0)}"
    st.file_uploader(
        "Files", type=["csv", "json", "jsonl", "txt"], accept_multiple_files=True, key=key,
        on_change=_take_files, args=(key,), max_upload_size=20, label_visibility="collapsed",
    )  # fmt: skip
    draw.download("Example of a table", example_table(), "runs.csv")
    if problems := st.session_state.get("own_problems"):
        draw.sentences("Not read; what was there before still is.", problems)
    if not _own():
        return
    for upload in _own():
        for note in upload.notes:
            st.text(note)
    _own_figures(scenario)
    _own_correction(scenario)
    st.button(
        "Remove these measurements", icon=":material/delete:", type="tertiary",
        on_click=_keep, args=((),),
    )  # fmt: skip


@lru_cache(maxsize=1)
def example_table() -> pd.DataFrame:
    """A few of the runs that come with the package, in the columns that are read."""
    import pandas as pd

    from cpi_model.studies import measurements

    rows = [row for row in measurements.rows() if row["scenario"] == "closed-loop"]
    return pd.DataFrame(rows[:EXAMPLES])


def _own_figures(scenario: Scenario) -> None:
    import pandas as pd

    from cpi_model.studies import validate

    found = _own_compared(scenario)
    reasons: dict[str, int] = _kept(
        "own_reasons", _own_key(scenario), lambda: validate.validate(_own_rows(), catalog()).reasons
    )
    if found:
        frame = pd.DataFrame(trust.own_table(found, _names()))
        for column in ("Measured", "Estimated"):
            frame[column] = [
                charts.measured_text(measure, value)
                for measure, value in zip(frame["measure"], frame[column], strict=True)
            ]
        frame = frame.drop(columns="measure")
        st.dataframe(
            frame, hide_index=True, key="own_table", alt="Your runs beside their estimates",
            column_config={"Off by": st.column_config.NumberColumn(format="%+.1f%%")},
        )  # fmt: skip
        draw.download("Table as CSV", frame, "measured-and-estimated.csv")
    # Reasons may repeat what stands in a file, so there may be as many as it has rows.
    most = sorted(reasons.items(), key=lambda item: -item[1])
    for reason, count in most[:MOST_REASONS]:
        st.text(f"{draw.counted(count, 'run')} not estimated: {reason}.")
    if rest := sum(count for _, count in most[MOST_REASONS:]):
        st.text(f"{draw.counted(rest, 'run')} not estimated for other reasons.")


def _own_correction(scenario: Scenario) -> None:
    """What the runs say about engine and hardware, to be taken over or taken back."""
    from cpi_model.studies import correction

    proposal: correction.Correction = _kept(
        "own_correction", _own_key(scenario, "accelerator", "engine", "model"),
        lambda: correction.propose(_own_rows(), scenario, catalog()),
    )  # fmt: skip
    if proposal.reason:
        st.text(proposal.reason)
    else:
        factors = ", ".join(
            f"{FIELDS[name].title.removeprefix('Correction: ')} × {digits(value)}"
            for name, value in proposal.changes.items()
        )
        st.markdown(f"**Your {proposal.runs:,} runs on this hardware and engine say**: {factors}.")
        st.caption(
            "Median error of the same runs: "
            + "; ".join(
                f"{each.measure} {percent(each.before)} → {percent(each.after)}"
                for each in proposal.improvements
            )
            + "."
        )
    neutral = {name: FIELDS[name].default for name in correction.CORRECTIONS}
    now = {name: getattr(scenario, name) for name in neutral}
    with st.container(horizontal=True):
        if proposal.changes and proposal.changes != now:
            st.button(
                "Use this correction in the scenario", type="primary", icon=":material/check:",
                on_click=state.apply, args=(dict(proposal.changes),),
            )  # fmt: skip
        if now != neutral:
            st.button(
                "Take the correction back", icon=":material/undo:", on_click=state.apply,
                args=(neutral,),
            )  # fmt: skip
