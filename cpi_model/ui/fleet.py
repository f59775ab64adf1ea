"""A fleet of the reader: its cost by model, version and team, and what of it serves nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import streamlit as st

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.export import large, money, percent
from cpi_model.scenario import Scenario
from cpi_model.ui import draw
from cpi_model.units import MILLION

if TYPE_CHECKING:
    import pandas as pd

    from cpi_model.studies.fleet import By, Costs, Fleet, Judged, Table

MOST_EDITED = 1000
"""Rows of a table that is edited on the page."""
MOST_FINDINGS = 200
MOST_PROBLEMS = 200
COLUMNS = 3
GROUPS = {"model": "Model", "version": "Version", "team": "Team"}


def _kept(name: str, key: object, make: Callable[[], Any]) -> Any:
    def computed() -> Any:
        with draw.turns():
            return make()

    return draw.kept(name, key, computed, "Looking through the table")


def _put(table: Table | None) -> None:
    """Another table, or none; a new number empties the box and tells its results apart."""
    session = st.session_state
    for name in ("fleet_checked", "fleet_seen", "fleet_edited", "fleet_shown"):
        session.pop(name, None)
    session["fleet"] = table
    session["fleet_number"] = session.get("fleet_number", 0) + 1
    session["fleet_refusal"] = ""


def _take_file(key: str) -> None:
    """Read what was dropped; a file that cannot be used leaves what was there."""
    from cpi_model.studies import fleet, uploads
    from cpi_model.studies.validate import UnusableTable

    session = st.session_state
    file = session[key]
    if file is None:
        return
    try:
        table = fleet.read(file.name, file.read(uploads.LARGEST_FILE + 1))
        checked = fleet.checked(table, catalog())
        _put(table)
        session["fleet_checked"] = (table, checked)
    except UnusableTable as problem:
        session["fleet_number"] = session.get("fleet_number", 0) + 1
        session["fleet_refusal"] = str(problem)


def _take_example() -> None:
    from cpi_model.studies import fleet

    _put(fleet.example())


def fleet(scenario: Scenario) -> None:
    """A table of resources: read or edited, priced, and looked through by rules."""
    from cpi_model.studies import fleet as study

    session = st.session_state
    st.caption(
        "A CSV table with a row for each endpoint, deployment or machine. It stays in this "
        "session and is not stored; the link does not hold it."
    )
    key = f"fleet_file_{session.get('fleet_number', 0)}"
    st.file_uploader(
        "Fleet", type=["csv", "tsv", "txt"], key=key, on_change=_take_file, args=(key,),
        max_upload_size=20, label_visibility="collapsed",
    )  # fmt: skip
    table: Table | None = session.get("fleet")
    with st.container(horizontal=True):
        st.button("Try an example", icon=":material/science:", on_click=_take_example)
        draw.download("Template", study.template(), "fleet.csv")
        if table is not None:
            st.button(
                "Remove this table", icon=":material/delete:", type="tertiary", on_click=_put,
                args=(None,),
            )  # fmt: skip
    _columns_help()
    if refusal := session.get("fleet_refusal"):
        draw.sentences("Not read; what was there before still is.", [refusal])
    if table is None:
        return
    if table.name == study.example().name:
        st.markdown(":material/science: **Example: an invented fleet.** Edit it below.")
    else:
        st.text(table.name)
    # Rules and cells are below the results that they change.
    results = st.container()
    thresholds = _thresholds()
    edited = _edited(table)
    with results:
        _results(edited, thresholds, scenario)


def _columns_help() -> None:
    section = st.expander(
        "Columns of the table", key="fleet_columns", on_change="rerun", icon=":material/help:"
    )
    if not section.open:
        return
    import pandas as pd

    from cpi_model.studies.fleet import COLUMNS as KNOWN

    with section:
        st.dataframe(
            pd.DataFrame({
                "Column": [each.name for each in KNOWN],
                "Needed": ["yes" if each.needed else "" for each in KNOWN],
                "Meaning": [each.help for each in KNOWN],
                "Allowed": [each.allowed for each in KNOWN],
            }),
            hide_index=True, key="fleet_columns_table", alt="Columns of the table",
        )  # fmt: skip


# Rules and cells ----------------------------------------------------------------------------------


def _set_threshold(id: str) -> None:
    chosen: dict[str, float] = st.session_state.setdefault("fleet_thresholds", {})
    chosen[id] = st.session_state[f"rule_{id}"]


def _reset_thresholds() -> None:
    from cpi_model.studies.fleet import DEFAULTS

    st.session_state["fleet_thresholds"] = {}
    for id, value in DEFAULTS.items():
        st.session_state[f"rule_{id}"] = value


def _thresholds() -> dict[str, float]:
    """The numbers that the rules rest on, all of them in sight."""
    from cpi_model.studies.fleet import DEFAULTS, THRESHOLDS

    chosen: dict[str, float] = DEFAULTS | st.session_state.get("fleet_thresholds", {})
    # Its name stays the same: under another one it would close while somebody types.
    section = st.expander(
        "Rules and thresholds", key="fleet_rules", on_change="rerun", icon=":material/tune:"
    )
    if not section.open:
        return chosen
    with section:
        st.caption(
            "A row is claimed by the first rule that fits it and by no other: unused commitment, "
            "no requests, idle GPU, under-used GPU, version with little traffic, steady use by the "
            "hour. What is not known is never held against a row."
        )
        for start in range(0, len(THRESHOLDS), COLUMNS):
            row = st.columns(COLUMNS, gap="medium")
            for each, column in zip(THRESHOLDS[start : start + COLUMNS], row, strict=False):
                key = f"rule_{each.id}"
                if key not in st.session_state:
                    st.session_state[key] = chosen[each.id]
                with column:
                    st.number_input(
                        f"{each.title}, {each.unit}".removesuffix(", "), 0.0, each.high,
                        step=None, format="%g", key=key, on_change=_set_threshold,
                        args=(each.id,),
                        help=f"{each.help}\n\nFrom 0 to {each.high:,.0f}. Default "
                        f"{each.default:g}: {each.source}, {each.as_of}.",
                    )  # fmt: skip
        if chosen != DEFAULTS:
            st.button("Take the changes back", icon=":material/undo:", on_click=_reset_thresholds)
    return chosen


def _edited(table: Table) -> Table:
    """The table as it is after edits on the page."""
    import pandas as pd

    from cpi_model.studies import fleet as study

    session = st.session_state
    if session["new_page"] and "fleet_edited" in session:
        # The editor forgets on another page; what was entered is put under a new one.
        of, kept = session.pop("fleet_edited")
        if of == session.get("fleet_number"):
            table = session["fleet"] = kept
            session["fleet_number"] = of + 1
    number = session.get("fleet_number", 0)
    if len(table.cells) > MOST_EDITED:
        st.caption(
            f"Tables of more than {MOST_EDITED:,} rows are changed in their file and read again."
        )
        return table
    section = st.expander(
        "Edit the table", key="fleet_editor", on_change="rerun", icon=":material/edit:"
    )
    if not section.open:
        of, kept = session.get("fleet_edited", (None, table))
        return kept if of == number else table
    with section:
        shown = session.get("fleet_shown")
        if shown is None or shown[0] != number:
            shown = session["fleet_shown"] = (number, table.cells.reset_index(names="row"))
        cells = st.data_editor(
            shown[1], key=f"fleet_cells_{number}", num_rows="dynamic", hide_index=True,
            column_config={
                "row": st.column_config.NumberColumn("row", disabled=True, width="small"),
                **{
                    each.name: st.column_config.TextColumn(
                        each.name, help=f"{each.help} Allowed: {each.allowed}.",
                        max_chars=study.LONGEST_TEXT,
                    )
                    for each in study.COLUMNS
                },
            },
        )  # fmt: skip
        st.caption("Rows can be added at the end, and removed after they are marked.")
    numbers = pd.to_numeric(cells["row"], errors="coerce").to_numpy(dtype=float)
    last = max([study.FIRST_ROW - 1, *(int(each) for each in numbers if each == each)])
    rows = []
    for each in numbers:
        last += each != each
        rows.append(int(each) if each == each else last)
    texts = cells.drop(columns="row").fillna("").astype("str")
    texts = texts.apply(lambda column: column.str.strip()).set_index(pd.Index(rows, dtype="int64"))
    before = session.get("fleet_edited", (None, table))
    known = [table, *([before[1]] if before[0] == number else [])]
    kept = next((each for each in known if texts.equals(each.cells)), None)
    kept = replace(table, cells=texts) if kept is None else kept
    session["fleet_edited"] = (number, kept)
    return kept


# Results ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """Everything that is shown of a fleet, worked out once."""

    fleet: Fleet
    judged: Judged
    costs: Costs
    groups: dict[By, pd.DataFrame]
    rules: pd.DataFrame
    findings: pd.DataFrame


def _seen(fleet: Fleet, thresholds: dict[str, float]) -> _Seen:
    from cpi_model.studies import fleet as study

    judged = study.judge(fleet, thresholds)
    return _Seen(
        fleet, judged, study.costs(fleet),
        {group: study.by(fleet, judged, group) for group in study.GROUPS},
        study.totals(fleet, judged), study.findings(fleet, judged),
    )  # fmt: skip


def _results(table: Table, thresholds: dict[str, float], scenario: Scenario) -> None:
    from cpi_model.studies import fleet as study
    from cpi_model.studies.validate import UnusableTable

    try:
        fleet: Fleet = _kept("fleet_checked", table, lambda: study.checked(table, catalog()))
    except UnusableTable as problem:
        st.text(str(problem))
        return
    _left_out(fleet)
    for note in fleet.notes:
        st.text(note)
    if fleet.rows.empty:
        st.caption("No row can be used.")
        return
    seen: _Seen = _kept(
        "fleet_seen", (table, tuple(thresholds.items())), lambda: _seen(fleet, thresholds)
    )
    _strip(seen, scenario)
    left, right = st.columns(2, gap="large")
    with left:
        _by_group(seen, scenario)
    with right:
        _rules(seen, scenario)
    _findings(seen)


def _left_out(found: Fleet) -> None:
    if not found.problems:
        return
    lines = [
        f"Row {each.row:,}{', ' + each.column if each.column else ''}: {each.reason}."
        for each in found.problems[:MOST_PROBLEMS]
    ]
    if more := len(found.problems) - MOST_PROBLEMS:
        lines += [f"And {more:,} more."] * (more > 0)
    rows = len({each.row for each in found.problems})
    with st.container(height=220 if len(lines) > 5 else "content", border=False):
        draw.sentences(f"{draw.counted(rows, 'row')} left out; used: {len(found.rows):,}", lines)


def _to_the_cent(amount: Decimal, scenario: Scenario) -> str:
    """An amount in full; in another currency it is only as exact as the rate."""
    if scenario.currency != "USD" or scenario.currency_per_usd != 1.0:
        return money(float(amount), scenario)
    return f"${amount:,.2f}"


def _strip(seen: _Seen, scenario: Scenario) -> None:
    from cpi_model.studies.fleet import cents

    costs = seen.costs
    whole, saving = float(costs.total), cents(int(seen.judged.saving.sum()))
    partial = f"partial: {draw.counted(costs.unpriced, 'price')} unknown" if costs.partial else ""

    def share(part: Decimal) -> str:
        return f"{percent(float(part) / whole)} of the total" if whole else ""

    blind = (
        f" {money(float(costs.unmeasured), scenario)} of it without a known GPU utilisation."
        if costs.unmeasured else ""
    )  # fmt: skip
    with st.container(horizontal=True, gap="small"):
        for label, value, below, about in (
            (
                "Total", costs.total, partial or f"{costs.rows:,} rows",
                "Price × replicas × hours of every row. It is the sum of the three beside it.",
            ),
            (
                "Allocated", costs.allocated, share(costs.allocated),
                f"Time in which replicas worked for a model.{blind}",
            ),
            (
                "Idle", costs.idle, share(costs.idle),
                "Time in which no program ran on the GPUs of a model, rows that answered no "
                "request, and unused commitments. A GPU that runs something is not full: real "
                "waste is larger.",
            ),
            (
                "Unallocated", costs.unallocated, share(costs.unallocated),
                "Rows that name no model.",
            ),
            (
                "Findings", saving, share(saving),
                "What all findings together would save; no row counts twice.",
            ),
        ):  # fmt: skip
            st.metric(
                label, _to_the_cent(value, scenario), below, delta_color="off",
                delta_arrow="off", help=draw.escaped(about), border=True,
            )  # fmt: skip


def _by_group(seen: _Seen, scenario: Scenario) -> None:
    st.markdown(
        "##### Cost by",
        help="Of a million requests the fully loaded cost is shown: all that is paid for the model "
        "or team, over its requests. It is unknown where a price or a number of requests is.",
    )
    group: By = st.segmented_control(
        "Cost by", list(seen.groups), format_func=GROUPS.__getitem__, default="model",
        required=True, key="fleet_by", label_visibility="collapsed",
    )  # fmt: skip
    frame = seen.groups[group]
    rows = [
        {str(name): value for name, value in row.items()}
        for row in frame.head(charts.MOST_GROUPS).to_dict("records")
    ]
    names = [
        f"{row['model']} {row['version']}".strip() if group == "version" else str(row[group])
        for row in rows
    ]
    draw.chart(
        charts.fleet(rows, names, scenario, draw.palette()), "fleet_groups",
        charts.describe_fleet(rows, names, seen.costs, scenario),
    )  # fmt: skip
    most = f" The dearest {len(rows)} of {len(frame):,}; the file has all." * (
        len(frame) > len(rows)
    )
    st.caption(f"Beside each bar: what a million requests cost, idle time included.{most}")
    draw.download("Table as CSV", _readable(frame), f"fleet-by-{group}.csv")


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Groups under headings with units."""
    return frame.assign(
        each=frame["each"] * MILLION, each_busy=frame["each_busy"] * MILLION
    ).rename(columns={
        "cost": "USD", "idle": "USD idle", "saving": "USD findings",
        "each": "USD per million requests", "each_busy": "USD per million requests, without idle",
        "partial": "prices missing",
    })  # fmt: skip


def _rules(seen: _Seen, scenario: Scenario) -> None:
    frame = seen.rules
    st.markdown("##### What serves nobody", help="By rule, the dearest first; netted.")
    if frame.empty:
        st.caption("No rule found anything.")
    for row in frame.to_dict("records"):
        unknown = " + unknown" if row["unpriced"] else ""
        with st.container(border=True, gap="xxsmall"):
            st.markdown(draw.escaped(
                f"**{row['title']}: {money(float(row['saving']), scenario)}{unknown}** · "
                f"{draw.counted(int(row['rows']), 'row')} · confidence {row['confidence']}"
            ))  # fmt: skip
            st.caption(str(row["advice"]))


def _findings(seen: _Seen) -> None:
    from cpi_model.studies.fleet import evidences

    frame = seen.findings
    if frame.empty:
        return
    top = frame.head(MOST_FINDINGS)
    st.markdown(f"##### {draw.counted(len(frame), 'finding')}")
    st.dataframe(
        top[["row", "resource", "model", "version", "finding", "saving"]].assign(
            evidence=evidences(top), confidence=top["confidence"]
        ),
        hide_index=True, key="fleet_findings", placeholder="unknown", alt="Findings by row",
        column_config={
            "saving": st.column_config.NumberColumn("USD saved", format="%.2f"),
            "evidence": st.column_config.TextColumn(width="large"),
        },
    )  # fmt: skip
    if len(frame) > len(top):
        st.caption(f"The dearest {len(top):,} of {large(len(frame))}; all of them are in the file.")
    draw.download("Findings as CSV", frame, "findings.csv")
