"""What a scenario pays for nothing: the bridge from what the load needs, and what to do."""

from __future__ import annotations

import math
from datetime import date
from functools import lru_cache

import streamlit as st

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.export import money, percent, setting
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import waste
from cpi_model.studies.answer import Answer
from cpi_model.studies.options import plays_a_part
from cpi_model.studies.waste import Bridge, Finding
from cpi_model.ui import controls, draw, state
from cpi_model.units import MILLION

CONFIDENCE = {
    "certain": ":material/verified:", "high": ":material/check_circle:",
    "medium": ":material/help:", "low": ":material/warning:",
}  # fmt: skip
COLUMNS = 2
LEAST_SHARE = 0.0005
"""Findings below this share of the cost are in the table only."""
PERFECT = (
    "The same hardware and workload with replicas that are always full: no idle time, no headroom, "
    "no minimum, no copies for tests, one version, no unused commitment, and instances without "
    "free devices."
)
ORDER = (
    "From what the load needs to what is paid. The kinds are switched off from the bottom up: "
    "first what serves nobody, last what each replica brings with it. What two kinds share counts "
    "for the lower one, so that nothing counts twice. Not all of it can be avoided: headroom keeps "
    "waiting short, and spare replicas are insurance."
)


@lru_cache(maxsize=256)
def _found(scenario: Scenario, today: date) -> tuple[Bridge | None, tuple[Finding, ...]]:
    with draw.turns():
        bridge = waste.bridge(scenario, catalog())
        return bridge, () if bridge is None else tuple(waste.findings(bridge, catalog()))


def _of(result: Answer) -> tuple[Bridge | None, tuple[Finding, ...]]:
    """Bridge and findings, worked out once for what is not only a matter of display."""
    if not result.feasible:
        return None, ()
    return _found(state.undisplayed(result.scenario), date.today())


def waste_in_short(result: Answer) -> None:
    """What is paid, what the load needs and what is between them, in one strip."""
    found, scenario = _of(result)[0], result.scenario
    if found is None:
        return
    largest = max(found.parts, key=lambda part: part.monthly, default=None)
    with st.container(horizontal=True, gap="small"):
        for label, value, below, about in (
            (
                "Paid for nothing, a month", money(found.monthly, scenario),
                f"{percent(found.share)} of the cost", "Everything between the two figures beside.",
            ),
            (
                "Cost per million", money(found.real * MILLION, scenario),
                f"{money(found.real * found.per_month, scenario)} a month",
                "Fully loaded: of a million successful inferences.",
            ),
            (
                "Needed per million", money(found.perfect * MILLION, scenario),
                f"{money(found.perfect * found.per_month, scenario)} a month", PERFECT,
            ),
            (
                "Largest: " + ("none" if largest is None else largest.kind.title),
                money(0.0 if largest is None else largest.monthly, scenario), "a month",
                "Nothing is wasted." if largest is None else largest.kind.help,
            ),
        ):  # fmt: skip
            st.metric(
                label, value, below, delta_color="off", delta_arrow="off", help=about, border=True
            )


def waste_bridge(result: Answer) -> None:
    """From what the load needs to what is paid."""
    found, scenario = _of(result)[0], result.scenario
    if found is None:
        return
    st.markdown("##### Where it goes", help=ORDER)
    draw.chart(
        charts.waste(found, scenario, draw.palette()), "waste",
        charts.describe_waste(found, scenario),
    )  # fmt: skip


def waste_settings(result: Answer) -> None:
    """The fields that waste comes from."""
    scenario = result.scenario
    st.markdown("##### What it comes from")
    with st.container(border=True):
        for names in waste.SETTINGS.values():
            shown = [name for name in names if plays_a_part(name, scenario, catalog())]
            for start in range(0, len(shown), COLUMNS):
                row = st.columns(COLUMNS, gap="medium")
                for name, column in zip(shown[start : start + COLUMNS], row, strict=False):
                    with column:
                        controls.control(FIELDS[name], scenario, "u")


def waste_findings(result: Answer) -> None:
    """What to do, the dearest first."""
    bridge, findings = _of(result)
    if bridge is None:
        return
    st.markdown(
        "##### What to do",
        help="The dearest first. A button changes the scenario; what it saves is estimated with "
        "that change alone. Back in the browser takes it back.",
    )
    least = LEAST_SHARE * bridge.real * bridge.per_month
    shown = [each for each in findings if each.waste.monthly >= least]
    for start in range(0, len(shown), COLUMNS):
        row = st.columns(COLUMNS, gap="medium")
        for each, column in zip(shown[start : start + COLUMNS], row, strict=False):
            with column:
                _finding(each, result.scenario)
    if not shown:
        st.caption("Nothing worth mentioning.")


def _finding(each: Finding, scenario: Scenario) -> None:
    kind = each.waste.kind
    with st.container(border=True, gap="xsmall"):
        st.markdown(
            draw.escaped(f"**{kind.title}: {money(each.waste.monthly, scenario)} a month**"),
            help=draw.escaped(
                f"{kind.help} {money(each.waste.each * MILLION, scenario)} per million "
                f"inferences. Switched off alone: {money(each.waste.alone, scenario)} a month."
            ),
        )
        st.text(each.evidence)
        st.caption(f"{CONFIDENCE[each.confidence]} Confidence {each.confidence}: {each.why}")
        st.markdown(draw.escaped(each.advice))
        if each.changes:
            st.button(
                draw.escaped(f"Apply: saves {money(each.saves, scenario)} a month"),
                key=f"remedy_{kind.id}", icon=":material/build:", on_click=state.apply,
                args=(dict(each.changes),), help=_what(each),
            )  # fmt: skip


def _what(each: Finding) -> str:
    """What a button changes, and what becomes of the limits."""
    changes = ", ".join(
        f"{FIELDS[name].title}: {controls.CHOICES.get(str(value)) or setting(FIELDS[name], value)}"
        for name, value in each.changes.items()
    )
    before, after = (percent(share) for share in each.in_time)
    limits = f" Within the limits: {before} before, {after} after." if before != after else ""
    return draw.escaped(f"{changes}.{limits}")


def waste_table(result: Answer) -> None:
    """Every kind with its figures, for reading and download."""
    bridge, findings = _of(result)
    if bridge is None:
        return
    section = st.expander(
        "The same as a table", key="waste_table", on_change="rerun", icon=":material/table:"
    )
    if not section.open:
        return
    import pandas as pd

    scenario = result.scenario
    advised = {each.waste.kind.id: each for each in findings}
    frame = pd.DataFrame([
        {
            "Kind": part.kind.title,
            f"{scenario.currency} a month": money(part.monthly, scenario),
            f"{scenario.currency} per million": money(part.each * MILLION, scenario),
            "Alone, a month": money(part.alone, scenario),
            "Remedy saves": "" if math.isnan(advised[part.kind.id].saves)
            else money(advised[part.kind.id].saves, scenario),
            "Confidence": advised[part.kind.id].confidence,
            "Evidence": advised[part.kind.id].evidence,
            "What to do": advised[part.kind.id].advice,
        }
        for part in bridge.parts
    ])  # fmt: skip
    with section:
        st.caption(
            "In the order in which they are switched off. They sum to the whole; alone, each is "
            "what it would save as the only one."
        )
        st.dataframe(frame, hide_index=True, key="waste_kinds", alt="Kinds of waste")
        draw.download("Table as CSV", frame, "waste.csv")
