"""Scenarios beside each other: pinned, named, told apart and explained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

import streamlit as st

from cpi_model import charts, links
from cpi_model.catalog import catalog
from cpi_model.export import amount, between, change, money, money_between, percent, setting
from cpi_model.links import LETTERS, Named
from cpi_model.scenario import Scenario, shown_as
from cpi_model.studies import attribution, compare
from cpi_model.studies.compare import Bridge, Compared, Figure
from cpi_model.ui import controls, draw, exporting, state
from cpi_model.units import MILLION

if TYPE_CHECKING:
    import pandas as pd

NOW = "Now"
"""Letter of the scenario in the sidebar, where it is none of the pinned ones."""
SURE = 0.9995
"""A larger probability is certainty, as far as draws can tell."""


@lru_cache(maxsize=128)
def _answered(
    named: tuple[tuple[str, Named], ...], viewer: Scenario, today: date
) -> tuple[Compared, ...]:
    with draw.turns():
        return compare.answered(dict(named), viewer, catalog())


@lru_cache(maxsize=128)
def _bridge(first: Scenario, second: Scenario, today: date) -> Bridge:
    with draw.turns():
        return compare.bridge(first, second, catalog())


@lru_cache(maxsize=64)
def _fair(first: Scenario, second: Scenario, today: date) -> Bridge:
    with draw.turns():
        return compare.fair(_bridge(first, second, today), first, second, catalog())


def compared(scenario: Scenario) -> tuple[Compared, ...]:
    """What is pinned, and the scenario in the sidebar while there is room for it."""
    named = dict(state.pinned())
    now = state.undisplayed(scenario)
    if len(named) < len(LETTERS) and all(now != each.scenario for each in named.values()):
        named[NOW] = Named("", now)
    return _answered(tuple(named.items()), shown_as(Scenario(), scenario), date.today())


# Pinning -----------------------------------------------------------------------------------------


def pins(found: Sequence[Compared], scenario: Scenario) -> None:
    """A card for each place, and what fills an empty one."""
    known = {each.letter: each for each in found}
    for letter, column in zip(LETTERS, st.columns(len(LETTERS), gap="small"), strict=True):
        with column, st.container(border=True, gap="xsmall"):
            if letter in known:
                _card(known[letter], scenario)
            else:
                _empty(letter, scenario)
    if not state.pinned():
        st.caption(
            "Pin the scenario of the sidebar as A, then change something in the sidebar: both "
            "stand beside each other at once. Pin that too, or go on changing it."
        )
    _add_others()


def _card(each: Compared, scenario: Scenario) -> None:
    letter, key = each.letter, f"name_{each.letter}"
    if st.session_state["new_page"] or st.session_state.get(key) != each.name:
        st.session_state[key] = each.name
    st.text_input(
        f"Name of {letter}", key=key, placeholder=f"{letter}: give it a name",
        max_chars=links.LONGEST_NAME, label_visibility="collapsed", on_change=_rename,
        args=(letter, key),
    )  # fmt: skip
    choice = each.answer.choice
    model = choice.model.name if choice else each.scenario.model
    chip = choice.accelerator.name if choice else each.scenario.accelerator
    st.text(f"{model}, {chip}")
    if each.answer.feasible:
        st.markdown(
            draw.escaped(f"**{letter}** · {money(each.cost * MILLION, scenario)} per million")
        )
    else:
        st.markdown(f"**{letter}** · :material/block: cannot work")
        for reason in each.answer.reasons:
            st.text(reason)
    with st.container(horizontal=True, gap="xsmall"):
        st.button(
            "Open", key=f"open_{letter}", help=f"Make {letter} the scenario of the sidebar",
            on_click=_open, args=(letter,),
        )  # fmt: skip
        st.button(
            "Replace", key=f"pin_{letter}", on_click=_pin, args=(letter,),
            help=f"Put the scenario of the sidebar in place of {letter}",
        )  # fmt: skip
        st.button("Remove", key=f"remove_{letter}", on_click=state.pin, args=(letter, None))


def _empty(letter: str, scenario: Scenario) -> None:
    st.button(
        f"Pin as {letter}", key=f"pin_{letter}", icon=":material/push_pin:", width="stretch",
        help="Keeps the scenario of the sidebar as it is now", on_click=_pin, args=(letter,),
    )  # fmt: skip


def _pin(letter: str) -> None:
    """Put the current scenario in a place; a name that is there stays."""
    known = state.pinned().get(letter)
    name = known.name if known else ""
    state.pin(letter, Named(name, state.undisplayed(state.current())))


def _open(letter: str) -> None:
    state.start_from(state.pinned()[letter].scenario)


def _rename(letter: str, key: str) -> None:
    known = state.pinned().get(letter)
    if known is not None:
        state.pin(letter, Named(links.plain_name(st.session_state[key]), known.scenario))


def _add_others() -> None:
    section = st.expander(
        "Add from a link or a file",
        key="compare_add",
        on_change="rerun",
        icon=":material/add_link:",
    )
    if not section.open:
        return
    with section:
        free = [letter for letter in LETTERS if letter not in state.pinned()]
        st.text_input(
            "Link", key="compare_link",
            help="Of a scenario, or of a comparison, which then takes the place of this one.",
        )  # fmt: skip
        st.file_uploader("Or a scenario as a file", ["yaml", "yml", "json"], key="compare_file")
        st.selectbox(
            "Place", LETTERS, index=LETTERS.index(free[0]) if free else 0, key="compare_place"
        )
        st.button("Add", key="compare_take", type="primary", on_click=_take)
        if problems := st.session_state.pop("compare_problems", None):
            draw.sentences("Nothing was added.", problems)


def _take() -> None:
    """Take over a link or a file: all of it, or nothing with the reasons."""
    link, file = st.session_state["compare_link"].strip(), st.session_state["compare_file"]
    pinned: Mapping[str, Named | None] = {}
    problems: list[str] = []
    if link:
        pinned, problems = links.decode_comparison(link)
        if pinned:
            # The places that it leaves empty are empty.
            pinned = {letter: pinned.get(letter) for letter in LETTERS}
        elif not problems:
            scenario, problems = links.decode(link)
            pinned = {st.session_state["compare_place"]: Named("", state.undisplayed(scenario))}
    elif file is not None:
        scenario, problems = links.from_file(file.name, file.getvalue())
        name = links.plain_name(file.name.rpartition(".")[0])
        pinned = {st.session_state["compare_place"]: Named(name, state.undisplayed(scenario))}
    else:
        problems = ["There is neither a link nor a file."]
    if problems:
        st.session_state["compare_problems"] = problems
        return
    for letter, named in pinned.items():
        state.pin(letter, named)
    st.session_state["compare_link"] = ""


# What it comes to --------------------------------------------------------------------------------

SURENESS = (
    "Speed may be off as it was in measured runs; given is the share of 1,000 drawn cases in which "
    "one is really cheaper. Scenarios of the same model, chip, engine and precision are off by "
    "the same factor, so that error cancels; others share half of it, which is an assumption "
    "(correlation 0.5). Prices and traffic are taken as they are."
)


def verdicts(found: Sequence[Compared], scenario: Scenario) -> None:
    """Each against the first, in a sentence."""
    first = found[0]
    lines = [_verdict(first, each, scenario) for each in found[1:] if each.answer.feasible]
    if first.answer.feasible and lines:
        st.markdown(draw.escaped("  \n".join(lines)), help=SURENESS)


def _verdict(first: Compared, second: Compared, scenario: Scenario) -> str:
    share = second.cost / first.cost - 1.0
    one, other = (money(each.cost * MILLION, scenario) for each in (second, first))
    text = change(share)
    if text == "no change":
        return f"**{second.letter}** costs the same as **{first.letter}**: {one} per million."
    likely = compare.cheaper(first, second)
    if math.isnan(likely):
        sure = "how sure that is, no measured run tells"
    else:
        word, chance = ("cheaper", likely) if share < 0 else ("dearer", 1.0 - likely)
        cases = "all" if chance > SURE else percent(chance)
        sure = f"{word} in {cases} of the likely cases"
    less = "less" if share < 0 else "more"
    return (
        f"**{second.letter}** costs {text.lstrip('+−')} {less} per inference than "
        f"**{first.letter}**: {one} instead of {other} per million; {sure}."
    )


def beside(found: Sequence[Compared], scenario: Scenario) -> None:
    """Cost against latency."""
    st.markdown(
        "##### Cost and latency",
        help="Lines: the likely range of each, P10 to P90 of measured runs like it.",
    )
    draw.chart(
        charts.beside(found, scenario, draw.palette()), "beside",
        charts.describe_beside(found, scenario),
    )  # fmt: skip


ORDER = (
    "Changes are made one after the other, in the order of the sidebar: workload, model, "
    "compression, serving, hardware, price, replicas, overheads. Later ones find what earlier ones "
    "left. What is possible together only is one bar."
)


def change_by_change(found: Sequence[Compared], scenario: Scenario) -> None:
    """Why the cost of one is not that of the other."""
    st.markdown("##### What makes the difference", help=ORDER)
    pair = _pair(found)
    for each in pair:
        if not each.answer.feasible:
            st.text(f"{each.letter} cannot work, so there is no cost to explain.")
            return
    first, second = (each.scenario for each in pair)
    today = date.today()
    way = _bridge(first, second, today)
    if len(way.moving) > 1 and st.toggle(
        "Share out evenly what changes do together", key="compare_fair",
        help="The mean over all orders in which the changes could be made (Shapley value).",
    ):  # fmt: skip
        if len(way.parts) > attribution.MOST_TOGETHER:
            st.caption(f"Possible with at most {attribution.MOST_TOGETHER} changes.")
        else:
            with st.spinner("Estimating every combination of changes", show_time=True):
                way = _fair(first, second, today)
    start, end = ((each.label, each.cost) for each in pair)
    changes = [(" + ".join(part.names), part.change) for part in way.moving]
    draw.chart(
        charts.steps(start, changes, end, scenario, draw.palette()), "steps",
        charts.describe_steps(start, changes, end, scenario),
    )  # fmt: skip
    if way.still:
        st.caption(f"Changed without effect on the cost: {', '.join(way.still)}.")


def _pair(found: Sequence[Compared]) -> tuple[Compared, Compared]:
    """The two that are explained: the first two, or those that are chosen."""
    if len(found) == 2:
        return found[0], found[1]
    known = {each.letter: each for each in found}
    letters = list(known)
    picked = []
    for place, column in enumerate(st.columns(2)):
        key = f"compare_pair_{place}"
        if st.session_state.get(key) not in letters:
            st.session_state[key] = letters[place]
        with column:
            st.selectbox(
                "From" if place == 0 else "To", letters, key=key,
                format_func=lambda letter: known[letter].label if letter in known else letter,
            )  # fmt: skip
        picked.append(known[st.session_state[key]])
    return picked[0], picked[1]


def results(found: Sequence[Compared], scenario: Scenario) -> None:
    """Every figure of every scenario, with its likely range and what it is against the first."""
    import pandas as pd

    st.markdown("##### Results")
    first = found[0]
    shown = [
        figure for figure in compare.FIGURES
        if any(math.isfinite(each.figure(figure)) for each in found)
    ]  # fmt: skip
    columns: dict[str, list[str]] = {scenario.currency: [figure.title for figure in shown]}
    for each in found:
        columns[each.label] = [_figure(each, figure, scenario) for figure in shown]
        if each is not first:
            columns[f"{each.letter} against {first.letter}"] = [
                _against(first.figure(figure), each.figure(figure)) for figure in shown
            ]
    _table(pd.DataFrame(columns), "results", "Results side by side")


def _figure(each: Compared, figure: Figure, scenario: Scenario) -> str:
    value, band = each.figure(figure), each.likely.get(figure.id)
    if not each.answer.feasible:
        return "cannot work"
    if math.isnan(value):
        return "–"
    text = amount(figure.kind, value, scenario)
    if band is None or band.high <= band.low:
        return text

    low, high = band.low * figure.scale, band.high * figure.scale
    if figure.kind == "money":
        return f"{text} ({money_between(low, high, scenario)})"
    return f"{text} ({between(low, high, lambda end: amount(figure.kind, end, scenario))})"


def _against(first: float, second: float) -> str:
    if math.isnan(first) or math.isnan(second):
        return ""
    return change(second / first - 1.0) if first else ""


def differing(found: Sequence[Compared]) -> None:
    """Fields that differ, with their values."""
    import pandas as pd

    matter, idle = compare.differences([each.scenario for each in found], catalog())
    st.markdown("##### What is different")
    if not matter:
        st.caption("Nothing that plays a part.")
    else:
        frame = pd.DataFrame(
            {"Field": [each.info.title for each in matter]}
            | {
                one.label: [_setting(each, place) for each in matter]
                for place, one in enumerate(found)
            }
        )
        _table(frame, "differences", "Fields that differ")
    if idle:
        st.caption(
            "Different, but without a part in any of them: "
            f"{', '.join(each.info.title for each in idle)}."
        )


def _setting(each: compare.Difference, place: int) -> str:
    value = each.values[place]
    if each.info.kind == "choice":
        return str(controls.CHOICES.get(value, value))
    return setting(each.info, value)


def export_all(found: Sequence[Compared]) -> None:
    """Files of all that work, side by side."""
    working = [each for each in found if each.answer.feasible]
    opened = st.popover(
        "Export all of them", icon=":material/download:", key="compare_export", on_change="rerun"
    )
    if opened.open and working:
        with opened:
            exporting.buttons(
                [each.scenario for each in working], [each.label for each in working], "compare"
            )


def _table(frame: pd.DataFrame, key: str, words: str) -> None:
    st.dataframe(frame, hide_index=True, key=key, alt=words, height="content")
    draw.download("Table as CSV", frame, f"{key}.csv")
