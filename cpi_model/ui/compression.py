"""What makes the model cheaper: levers, what each saves, and what is left of the quality."""

from __future__ import annotations

import math
from datetime import date
from functools import lru_cache

import streamlit as st

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.export import digits, duration, large, money, percent
from cpi_model.inputs import sparsity_lack
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import attribution, compression, evidence
from cpi_model.studies.answer import Answer
from cpi_model.studies.compression import BreakEven, Bridge, Kept, Lever, Precision
from cpi_model.studies.options import plays_a_part
from cpi_model.ui import controls, draw, state
from cpi_model.units import MILLION

HELP = {
    "student": "Distillation: a smaller model learns from answers of the large one and serves in "
    "its place. Its training is paid once and spread over the months of use.",
    "pruning": "Whole layers, or heads and columns inside of them, are taken out. The model "
    "becomes smaller on every chip, and has to be trained a little further.",
    "engine": "The software that runs the model. What each reaches was fitted to measured runs.",
    "scheme": "Quantization: weights, and often activations, in fewer bits.",
    "zeros": "Pruning single weights. On most hardware zeros are multiplied like any other "
    "number, so this saves storage and no time.",
    "cache": "Keys and values of running requests in fewer bits: more requests fit in memory, and "
    "less is read with every token.",
    "draft": "Speculative decoding: several tokens are proposed cheaply and checked in one step. "
    "The answers stay the same. It helps most at low concurrency.",
    "exits": "Tokens that are sure early skip the last layers. In large batches somebody nearly "
    "always stays, so the weights are read all the same.",
    "prefix": "Keys and values of a beginning that requests share are kept and not computed again.",
    "cascade": "A small model answers first, and passes on what it is not sure of.",
    "answers": "Semantic cache: a request that is close to an earlier one gets its answer.",
}  # fmt: skip
COLUMNS = 3
JUDGED = {"student": "student_quality", "exits": "exit_quality", "cascade": "small_quality",
          "answers": "hit_quality"}  # fmt: skip
"""Fields that state what a lever leaves of the quality."""


# Figures, worked out once for a scenario ---------------------------------------------------------


@lru_cache(maxsize=256)
def _bridge(scenario: Scenario, today: date) -> Bridge:
    with draw.turns():
        return compression.bridge(scenario, catalog())


@lru_cache(maxsize=64)
def _fair(scenario: Scenario, today: date) -> dict[str, float]:
    with draw.turns():
        return compression.shapley(scenario, catalog())


@lru_cache(maxsize=256)
def _precisions(scenario: Scenario, today: date) -> tuple[Precision, ...]:
    with draw.turns():
        return tuple(compression.precisions(scenario, catalog()))


@lru_cache(maxsize=256)
def _break_even(scenario: Scenario, today: date) -> BreakEven | None:
    with draw.turns():
        return compression.break_even(scenario, catalog())


# Levers ------------------------------------------------------------------------------------------


def levers(scenario: Scenario) -> None:
    """A switch for each lever, and its settings where it is on."""
    pulled = {lever.id for lever in compression.active(scenario, catalog())}
    offered = [lever for lever in compression.LEVERS if compression.applies(
        lever, scenario, catalog()
    )]  # fmt: skip
    with st.container(border=True):
        with st.container(horizontal=True, gap="medium"):
            for lever in offered:
                key = f"lever_{lever.id}"
                # The scenario decides: a lever may be pulled in the sidebar or by a link as well.
                st.session_state[key] = lever.id in pulled
                st.toggle(
                    lever.title, key=key, help=HELP[lever.id], on_change=_pull, args=(lever, key)
                )
        settings = [lever for lever in offered if lever.id in pulled]
        for row in range(0, len(settings), COLUMNS):
            columns = st.columns(COLUMNS, gap="medium")
            for lever, column in zip(settings[row : row + COLUMNS], columns, strict=False):
                with column, st.container(gap="xsmall"):
                    _settings(lever, scenario)
        st.caption("Compared with, and judged by")
        for name, column in zip(COMPARED, st.columns(len(COMPARED), gap="medium"), strict=True):
            with column:
                controls.control(FIELDS[name], scenario, "c")


COMPARED = ("compared_scheme", "compared_engine", "quality_floor", "cost_basis")


def _settings(lever: Lever, scenario: Scenario) -> None:
    for name in lever.fields:
        if plays_a_part(name, scenario, catalog()) and name not in DETAILS:
            controls.control(FIELDS[name], scenario, "c")
    if judged := JUDGED.get(lever.id):
        controls.control(FIELDS[judged], scenario, "c")
    if lever.id == "zeros":
        engine, chip = (
            catalog().engines.get(scenario.engine), catalog().accelerators.get(scenario.accelerator)
        )  # fmt: skip
        if engine and chip and (lack := sparsity_lack(scenario.sparsity, engine, chip)):
            st.caption(f":material/info: {lack}, so zeros save storage here and no time.")


DETAILS = {
    "training_epochs", "training_utilisation", "training_usd_per_device_hour",
    "teacher_usd_per_request",
}  # fmt: skip
"""Settings that are in the sidebar only."""


def _pull(lever: Lever, key: str) -> None:
    """Turn a lever on with settings that are usual and work, or off."""
    scenario = state.current()
    if st.session_state[key]:
        state.apply(compression.usual(lever, scenario, catalog()))
    else:
        state.apply(compression.without(scenario, lever, catalog()))


# What it saves -----------------------------------------------------------------------------------


def savings(result: Answer) -> None:
    """From the model before compression to the scenario, lever by lever."""
    scenario = result.scenario
    found = _bridge(_whole(scenario), date.today())
    if not found.before.feasible:
        st.text(f"The model before compression cannot be served here: {found.before.problem}")
        return
    if not found.steps:
        st.markdown("##### No lever is pulled")
        st.caption("Turn one on above: its effect on cost and quality appears here.")
        return
    st.markdown("##### What each lever saves", help=ORDER)
    fair = None
    if len(found.steps) > 1 and st.toggle(
        "Share out evenly what levers save together", key="fair",
        help="The mean over all orders in which the levers could be pulled (Shapley value).",
    ):  # fmt: skip
        if len(found.steps) > attribution.MOST_TOGETHER:
            st.caption(f"Possible with at most {attribution.MOST_TOGETHER} levers.")
        else:
            with st.spinner("Estimating every combination of levers", show_time=True):
                fair = _fair(_whole(scenario), date.today())
    draw.chart(
        charts.bridge(found, fair, scenario, draw.palette()), "bridge",
        charts.describe_bridge(found, scenario),
    )  # fmt: skip
    st.caption(_savings_text(found, scenario))
    for reason in found.left_out:
        st.text(reason)
    _lever_table(found, scenario)


ORDER = (
    "Levers are applied from top to bottom: first the model, then how it is stored, how it is run, "
    "and who is asked. A lever that comes later finds less left to save."
)


def _whole(scenario: Scenario) -> Scenario:
    """Without what only says how figures are shown; the basis of cost decides them."""
    return state.undisplayed(scenario).model_copy(update={"cost_basis": scenario.cost_basis})


def _savings_text(found: Bridge, scenario: Scenario) -> str:
    before, after = found.before, found.after
    saved = 1.0 - after.cost / before.cost
    devices = ""
    if before.devices != after.devices:
        devices = (
            f" Before, the weights need {draw.counted(before.devices, 'device')} a replica; now "
            f"{digits(after.devices)}."
        )
    if scenario.cost_basis == "loaded" and before.estimate and after.estimate:
        devices += (
            f" {draw.counted(float(before.estimate.instances), 'whole instance')} before, "
            f"{digits(float(after.estimate.instances))} now: what fills none of them is not saved."
        )
    word = "less" if saved >= 0 else "more"
    return draw.escaped(
        f"All together {percent(abs(saved))} {word} per inference: "
        f"{money(before.cost * MILLION, scenario)} before, {money(after.cost * MILLION, scenario)} "
        f"now, per million.{devices}"
    )


def _lever_table(found: Bridge, scenario: Scenario) -> None:
    section = st.expander(
        "The same as a table", key="levers_table", on_change="rerun", icon=":material/table:"
    )
    if not section.open:
        return
    import pandas as pd

    rows = compression.table(found)
    frame = pd.DataFrame(
        {
            "Lever": [row.lever for row in rows],
            f"{scenario.currency} per million": [
                money(row.cost * MILLION, scenario) for row in rows
            ],
            "Change": [_changed(row.change) for row in rows],
            "Alone": [_changed(row.alone) for row in rows],
            "First token": [duration(row.ttft) for row in rows],
            "Per token": [duration(row.tpot) for row in rows],
            "Latency, p95": [duration(row.latency_p95) for row in rows],
            "Devices": [digits(row.devices) for row in rows],
        }
    )
    with section:
        st.dataframe(frame, hide_index=True, key="lever_table", alt="Levers and their effects")
        draw.download("Table as CSV", frame, "levers.csv")


def _changed(share: float) -> str:
    return "" if math.isnan(share) else f"{share:+.1%}"


# What it costs in quality ------------------------------------------------------------------------


def quality(result: Answer) -> None:
    """Cost and quality of every precision, and what is left with all levers."""
    scenario = result.scenario
    st.markdown(
        "##### Cost and quality by precision",
        help="Each point is a precision with all other levers as they are; the diamond is the one "
        "that is chosen, and the cheapest that keeps enough is named. The bar is the range of what "
        "was measured on models like this (P10 to P90); the dashed line is the quality that must "
        "be kept, and grey is what does not keep it.",
    )
    found = _precisions(_whole(scenario), date.today())
    shown = [each for each in found if each.measured_quality]
    draw.chart(
        charts.quality_against_cost(shown, scenario, draw.palette()), "qualities",
        charts.describe_qualities(shown, scenario),
    )  # fmt: skip
    if blank := [each.scheme.name for each in found if not each.measured_quality]:
        st.caption(f"Not in the picture, for nobody measured their quality: {', '.join(blank)}.")
    if result.choice is not None:
        _kept_text(compression.kept(scenario, result.choice), scenario.quality_floor)


def _kept_text(left: Kept, floor: float) -> None:
    """What is left with the levers as they are, and on which runs that rests."""
    known = left.known
    passes = left.passes(floor)
    verdict = (
        f":material/check: at least the {percent(floor)} that must be kept" if passes
        else f":material/help: at least the {percent(floor)}, as far as it was measured"
        if passes is None
        else f":material/block: less than the {percent(floor)} that must be kept"
    )  # fmt: skip
    st.markdown(
        f"**Quality kept with all levers: {percent(known.median)}** "
        f"({percent(known.low)} to {percent(known.high)}), {verdict}."
    )
    for title, part in left.parts:
        if part is evidence.REFERENCE_RANGE:
            continue
        which = f"{part.rows} measurements {part.level}" if part.rows else part.level
        st.caption(
            f"{title}: {percent(part.median)} ({percent(part.low)} to {percent(part.high)}), "
            f"{which}."
        )
    if left.unknown:
        st.caption(f"Nobody measured the effect of: {', '.join(left.unknown)}.")
    if known.sources:
        with st.popover("Sources", icon=":material/menu_book:"):
            for source in known.sources:
                st.text(source)


def precision_table(result: Answer) -> None:
    """Every precision with its figures, estimated and measured."""
    scenario = result.scenario
    section = st.expander(
        "All precisions: estimated and measured", key="precisions", on_change="rerun",
        icon=":material/fact_check:",
    )  # fmt: skip
    if not section.open:
        return
    import pandas as pd

    found = _precisions(_whole(scenario), date.today())
    with section:
        measured = [each for each in found if each.measured is not None]
        if measured:
            draw.chart(
                charts.speedups(measured, draw.palette()), "speedups",
                charts.describe_speedups(measured),
            )  # fmt: skip
        frame = pd.DataFrame([_precision_row(each, scenario) for each in found])
        st.dataframe(frame, hide_index=True, key="precision_table", alt="Precisions")
        draw.download("Table as CSV", frame, "precisions.csv")


def _precision_row(each: Precision, scenario: Scenario) -> dict[str, str]:
    ranges = None if each.measured is None else each.measured.spread
    left = each.kept.known if each.kept is not None and each.measured_quality else None
    return {
        "Precision": each.scheme.name,
        "Engine": catalog().engines[each.engine].name,
        "Devices": digits(each.state.devices),
        f"{scenario.currency} per million": money(each.state.cost * MILLION, scenario),
        "Estimated speed": f"{digits(each.speedup)}×",
        "Measured speed": "" if ranges is None
        else f"{digits(ranges.low)} to {digits(ranges.high)}×, median {digits(ranges.median)}",
        "Runs": "" if ranges is None else f"{ranges.rows} {ranges.level}, {_software(each)}",
        "Quality kept": "not measured" if left is None
        else f"{percent(left.median)} ({percent(left.low)} to {percent(left.high)})",
        "Measured on": "" if left is None else left.level,
        "Keeps enough": "" if left is None or each.kept is None
        else ENOUGH[each.kept.passes(scenario.quality_floor)],
    }  # fmt: skip


ENOUGH = {True: "yes", False: "no", None: "as far as measured"}


def _software(each: Precision) -> str:
    """Engines that the measured rows are of."""
    assert each.measured is not None
    known = catalog().engines
    ids = dict.fromkeys(row.engine or "" for row in each.measured.rows)
    return ", ".join(known[id].name if id in known else id or "software not stated" for id in ids)


def student(result: Answer) -> None:
    """When a student has paid for its training."""
    scenario = result.scenario
    found = _break_even(_whole(scenario), date.today())
    if found is None:
        return
    st.markdown("##### When the student has paid for itself")
    draw.chart(
        charts.break_even(found, scenario, draw.palette()), "break_even",
        charts.describe_break_even(found, scenario),
    )  # fmt: skip
    day = found.day(date.today())
    when = f", on {day.isoformat()} if it starts today" if day else ""
    st.caption(
        draw.escaped(
            f"{money(found.cost, scenario)} before it serves: {money(found.data, scenario)} for "
            f"the teacher's answers, {money(found.training, scenario)} for the training. "
            + (
                f"Paid back after {large(found.inferences)} inferences{when}. Work of people is "
                "not in it."
                if day
                else "At this load it is never paid back."
            )
        )
    )
