"""Which hardware is cheapest: limits, ranking, front, rooflines, load, table, two side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Any

import streamlit as st

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.export import digits, duration, large, money, percent
from cpi_model.inputs import ImpossibleChoice
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import hardware, optimise
from cpi_model.studies.answer import Answer
from cpi_model.studies.hardware import AgainstLoad, Term
from cpi_model.studies.optimise import Configuration, Loosened, Search
from cpi_model.studies.options import SEARCHING
from cpi_model.ui import controls, draw, state
from cpi_model.units import MILLION, MILLISECOND

MOST_BARS = 14
MOST_ROOFS = 5
LIMITS = (
    "slo_ttft_ms", "slo_tpot_ms", "slo_latency_ms", "slo_share", "quality_floor", "spare_replicas",
    "purchases", "cloud", "region", "max_devices", "max_usd_per_month", "max_carbon_g",
    "cheapest_by",
)  # fmt: skip
COLUMNS = 4
MOSTLY = 0.5
"""Share of the cost below which it is not hardware that decides."""
TOKENS = ("slo_ttft_ms", "slo_tpot_ms")
FREE = {
    **dict.fromkeys(("accelerator", "scheme", "engine", "instance", "concurrency"), ""),
    **dict.fromkeys(
        ("tensor_parallel", "pipeline_parallel", "data_parallel", "expert_parallel"), ""
    ),
}
"""Fields that the search tries for itself: its result does not depend on them."""
REASONS = {
    "memory": "does not fit in memory",
    "context": "too many tokens for the model",
    "first token": "time to first token",
    "token pace": "time per token",
    "whole request": "time of the whole request",
    "devices": "too many devices",
    "budget": "over the budget",
    "carbon": "too much carbon",
    "carbon unknown": "power not known",
    "quality": "loses too much quality",
    "quality unknown": "quality not measured",
    "network unknown": "network between instances not known",
}
LIMIT_WORDS = {
    "traffic": "too little traffic", "memory": "memory", "bandwidth": "memory bandwidth",
    "compute": "arithmetic", "interconnect": "links", "overhead": "engine overhead",
    "limit: first token": "limit on first token", "limit: token pace": "limit per token",
    "limit: whole request": "limit on latency",
}  # fmt: skip


# Found once for a scenario ------------------------------------------------------------------------


def _key(scenario: Scenario) -> Scenario:
    """Without what the search tries for itself, and what only says how figures are shown."""
    free = [
        name for name, info in FIELDS.items()
        if info.group == "display" or name in FREE
    ]  # fmt: skip
    changes = {name: FIELDS[name].default for name in free}
    if scenario.device_price_usd_per_hour is not None:
        changes["accelerator"] = scenario.accelerator
    if scenario.purchases != "same" and scenario.device_price_usd_per_hour is None:
        changes["purchase"] = FIELDS["purchase"].default
    return scenario.model_copy(update=changes)


@lru_cache(maxsize=64)
def _search(scenario: Scenario, today: date) -> Search | ImpossibleChoice:
    with draw.turns():
        try:
            return optimise.search(scenario, catalog())
        except ImpossibleChoice as impossible:
            return impossible


def search(scenario: Scenario) -> Search | None:
    """The best configurations; where there can be none, the reason and a remedy."""
    with st.spinner("Trying hardware, precisions and splits", show_time=True):
        found = _search(_key(scenario), date.today())
    if isinstance(found, Search):
        return found
    with st.container(border=True):
        for problem in found.problems:
            st.text(problem.reason)
            if problem.changes:
                st.button(
                    problem.remedy[:1].upper() + problem.remedy[1:], key=f"remedy_{problem.field}",
                    on_click=state.apply, args=(problem.changes,),
                )  # fmt: skip
    return None


@lru_cache(maxsize=64)
def _loosened(scenario: Scenario, today: date) -> tuple[Loosened, ...]:
    with draw.turns():
        return tuple(optimise.loosened(scenario, catalog()))


@lru_cache(maxsize=16)
def _loads(scenario: Scenario, today: date) -> AgainstLoad:
    bar = st.progress(0.0, "Trying everything at eight loads")
    with draw.turns():
        found = hardware.against_load(scenario, catalog(), lambda done: bar.progress(done))
    bar.empty()
    return found


# Limits -------------------------------------------------------------------------------------------


def limits(scenario: Scenario) -> None:
    """What a configuration must keep to be offered."""
    model = catalog().models.get(scenario.model)
    tokens = model is None or model.transformer is not None
    names = [name for name in LIMITS if tokens or name not in TOKENS]
    section = st.expander(
        _limits_text(scenario, tokens), key="limits", on_change="rerun", icon=":material/rule:"
    )  # fmt: skip
    if section.open:
        with section, st.grid(COLUMNS, min_column_width=210, gap=14):
            for name in names:
                controls.control(FIELDS[name], scenario, "h")


def _limits_text(scenario: Scenario, tokens: bool) -> str:
    """The limits in a line."""
    words = [
        f"first token {duration(scenario.slo_ttft_ms * MILLISECOND)}",
        f"per token {duration(scenario.slo_tpot_ms * MILLISECOND)}",
    ] if tokens else []  # fmt: skip
    words += [
        f"whole request {duration(scenario.slo_latency_ms * MILLISECOND)}",
        f"for {percent(scenario.slo_share)} of requests",
        f"quality kept {percent(scenario.quality_floor)}",
        draw.counted(scenario.spare_replicas, "spare replica"),
    ]
    more = [
        name for name in LIMITS
        if name in (*SEARCHING, "cloud", "region")
        and name != "slo_share" and getattr(scenario, name) != FIELDS[name].default
    ]  # fmt: skip
    words += [FIELDS[name].title.lower() for name in more]
    return f"What it must keep: {', '.join(words)}"


# The answer ---------------------------------------------------------------------------------------


def cheapest(found: Search, result: Answer) -> None:
    """The cheapest in a sentence, with how sure that is, and a button to take it."""
    best, scenario = found.best, result.scenario
    if best is None:
        _nothing(found, scenario)
        return
    name = best.choice.accelerator.name
    text = (
        f"**{name}** is the cheapest: {money(best.cost * MILLION, scenario)} per million "
        f"inferences, {best.choice.scheme.name}, {best.choice.engine.name}, "
        f"{best.changes['concurrency']} at a time, "
        f"{draw.counted(float(best.estimate.peak_replicas), 'replica')} of "
        f"{draw.counted(best.choice.devices_per_replica, 'device')}."
    )
    now = result.estimate
    if now is not None and result.feasible:
        saved = 1.0 - best.cost / float(now.cost_per_inference)
        if saved > 0.0005:
            text += f" That is {percent(saved)} less than now."
        elif saved < -0.0005:
            text += f" Now it is {percent(-saved)} cheaper, {_why_not(result)}."
    hardware_share = float(best.estimate.compute_cost + best.estimate.memory_cost) / best.cost
    if hardware_share < MOSTLY:
        text += (
            f" Hardware is {percent(hardware_share)} of that; logs, network, storage and the "
            "platform cost much the same anywhere."
        )
    if math.isfinite(best.probability):
        text += f" It is the cheapest in {percent(best.probability)} of the likely cases."
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(draw.escaped(text), help=HOW_SURE, width="stretch")
        _use(best, "Use the cheapest", "use_best", primary=True)


HOW_SURE = (
    "Speeds are drawn a thousand times from the likely errors of each piece of hardware (P10 to "
    "P90 of measured runs, log-normal), with a correlation of 0.5 between them: the same model "
    "and load are wrong on all alike. In each case the cheapest is noted. Prices are taken as "
    "they are."
)


def _why_not(result: Answer) -> str:
    good = float(result.estimate.good_share) if result.estimate else 1.0
    if good < result.scenario.slo_share:
        return "but does not keep the limits"
    return "with what the search does not try"


def _nothing(found: Search, scenario: Scenario) -> None:
    """What could be loosened, where nothing keeps all limits."""
    with st.container(border=True):
        st.markdown(":material/block: **Nothing that is known keeps all limits**")
        with st.spinner("Trying without each limit", show_time=True):
            options = _loosened(_key(scenario), date.today())
        if not options:
            st.caption("No single limit stands in the way: loosen several, or change the model.")
            return
        st.caption("It works without one of them:")
        for each in options:
            title = FIELDS[each.field].title.removeprefix("Limit: ").lower()
            st.button(
                f"Without a limit on {title}: {each.best.choice.accelerator.name} from "
                f"{draw.escaped(money(each.best.cost * MILLION, scenario))} per million",
                key=f"loosen_{each.field}", on_click=state.apply, args=(each.changes,),
            )  # fmt: skip


def _all_reasons(found: Search) -> dict[str, int]:
    whole: dict[str, int] = {}
    for reasons in found.rejected.values():
        for reason, count in reasons.items():
            whole[reason] = whole.get(reason, 0) + count
    return dict(sorted(whole.items(), key=lambda pair: -pair[1]))


def _counts(reasons: dict[str, int], most: int) -> str:
    return ", ".join(
        f"{REASONS[reason]} {large(count)}" for reason, count in list(reasons.items())[:most]
    )


def _use(each: Configuration, label: str, key: str, primary: bool = False) -> None:
    st.button(
        label, key=key, type="primary" if primary else "secondary", icon=":material/input:",
        on_click=state.apply, args=(each.changes,),
    )  # fmt: skip


def ranking(found: Search, scenario: Scenario) -> None:
    """Bars of the cheapest, each kind of hardware among them."""
    st.markdown(
        "##### Cheapest configuration of each",
        help="Fully loaded, at the scenario's traffic with whole replicas. The line is the likely "
        "range, P10 to P90 of measured runs; none where nothing like it was measured. Blue GPU, "
        "orange TPU, green CPU, pink ASIC, brown edge.",
    )
    shown = hardware.short_list(found, MOST_BARS)
    draw.chart(
        charts.ranking(shown, scenario, draw.palette()), "ranking",
        charts.describe_ranking(shown, scenario),
    )  # fmt: skip
    kinds: dict[str, int] = {}
    for each in found.ranked:
        kind = charts.KIND_WORDS[each.choice.accelerator.kind]
        kinds[kind] = kinds.get(kind, 0) + 1
    st.caption(
        f"{len(found.ranked)} pieces of hardware keep all limits ("
        + ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        + f"); {len(found.unpriced)} have no known price. {large(found.considered)} configurations."
    )


def front(found: Search, result: Answer) -> None:
    """Cost and latency; a point that is clicked becomes the scenario."""
    st.markdown(
        "##### Cost and latency: click a point to use it",
        help="Circles: the cheapest of each piece of hardware. Diamonds: what nothing is both "
        "cheaper and faster than. The cross is the scenario as it is.",
    )
    draw.chart(
        charts.cost_against_latency(
            found.ranked, found.front, result.estimate if result.feasible else None,
            result.scenario, draw.palette(),
        ),
        "front", charts.describe_front(found.front, result.scenario),
        on_select=lambda: _take_point(found),
    )  # fmt: skip


def _take_point(found: Search) -> None:
    points = st.session_state["front"]["selection"]["points"]
    if points:
        picked = points[0].get("customdata")
        place = picked[0] if isinstance(picked, list) else picked
        everything = [*found.ranked, *found.front]
        if isinstance(place, int) and 0 <= place < len(everything):
            state.apply(everything[place].changes)


def roofline(found: Search, scenario: Scenario) -> None:
    """Where the workload lies below what the devices could do."""
    st.markdown(
        "##### What limits a device",
        help="A device does at most its peak, and at most its bandwidth times the FLOP for each "
        "byte read: the roof. Circle: reading prompts; diamond: writing answers; square: a batch. "
        "Far below the roof it is overhead, attention, or multiplications that are too small.",
    )
    lines = hardware.rooflines(scenario, found.ranked[:MOST_ROOFS])
    draw.chart(
        charts.roofline(lines, draw.palette()), "roofline", charts.describe_roofline(lines)
    )  # fmt: skip


def against_load(found: Search, scenario: Scenario) -> None:
    """Where another piece of hardware becomes the cheapest."""
    section = st.expander(
        "Cost against load: where the cheapest changes", key="loads", on_change="rerun",
        icon=":material/trending_down:",
    )  # fmt: skip
    if not section.open:
        return
    with section:
        lines = _loads(_key(scenario), date.today())
        if not lines.costs:
            st.caption("Nothing keeps all limits at any load.")
            return
        names = {id: chip.name for id, chip in catalog().accelerators.items()}
        draw.chart(
            charts.cost_against_load(lines, names, scenario, draw.palette()), "load",
            charts.describe_load(lines, names),
        )  # fmt: skip
        changes = [
            f"{names[after]} from {digits(load)} requests/s"
            for load, _, after in lines.crossovers[:6]
        ]
        begin = names[lines.cheapest[0]]
        st.caption(
            f"Cheapest at little traffic: {begin}"
            + (f"; then {', '.join(changes)}" if changes else ", and at any other")
            + ". The full line is the scenario's load; steps are whole replicas."
        )


# The table ----------------------------------------------------------------------------------------


def table(found: Search, scenario: Scenario) -> None:
    """Everything that keeps the limits; a row that is picked can be used."""
    import pandas as pd

    st.markdown("##### All of it as a table")
    words = st.text_input(
        "Filter", key="hardware_words", placeholder="words that a row must have, such as cpu aws",
        max_chars=100, live=True,
    )  # fmt: skip
    rows = [_record(each, scenario) for each in found.ranked]
    wanted = words.casefold().split()
    kept = [
        place for place, row in enumerate(rows)
        if all(word in " ".join(map(str, row.values())).casefold() for word in wanted)
    ]  # fmt: skip
    frame = pd.DataFrame([rows[place] for place in kept], columns=list(rows[0]) if rows else None)
    picked = st.dataframe(
        frame, hide_index=True, height=min(36 * (len(frame) + 1) + 4, 420), key="hardware_table",
        on_select="rerun", selection_mode="single-row",
        alt="Cheapest configuration of each piece of hardware",
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center"):
        chosen = [row for row in picked["selection"]["rows"] if row < len(kept)]
        if chosen:
            each = found.ranked[kept[chosen[0]]]
            _use(each, f"Use {each.choice.accelerator.name}", "use_row", primary=True)
        else:
            st.caption("Pick a row to use it.")
        draw.download("Table as CSV", frame, "hardware.csv")


def _record(each: Configuration, scenario: Scenario) -> dict[str, Any]:
    price, estimate = each.choice.price, each.estimate
    split = "·".join(
        f"{short}{each.changes[name]}"
        for short, name in (
            ("tp", "tensor_parallel"), ("pp", "pipeline_parallel"), ("dp", "data_parallel"),
            ("ep", "expert_parallel"),
        )
        if each.changes[name] > 1
    )  # fmt: skip
    quality = percent(each.kept.known.median)
    return {
        "Hardware": each.choice.accelerator.name,
        "Kind": charts.KIND_WORDS[each.choice.accelerator.kind],
        f"{scenario.currency} per million": money(each.cost * MILLION, scenario),
        "Likely": "not measured" if math.isnan(each.low) else
        f"{money(each.low * MILLION, scenario)} to {money(each.high * MILLION, scenario)}",
        "Cheapest in": "" if math.isnan(each.probability) else percent(each.probability),
        "Limited by": LIMIT_WORDS.get(each.limited_by, each.limited_by),
        "Precision": each.choice.scheme.name,
        "Quality kept": f"{quality}, in part not measured" if each.kept.unknown else quality,
        "Engine": each.choice.engine.name,
        "Split": split or "1",
        "At a time": each.changes["concurrency"],
        "Replicas": digits(float(estimate.peak_replicas)),
        "Devices": digits(each.devices),
        "Utilisation": percent(float(estimate.utilisation)),
        "Latency, p95": duration(float(estimate.latency_p95)),
        "First token": duration(float(estimate.ttft)),
        "Per token": duration(float(estimate.tpot)),
        "Instance": each.choice.instance.id if each.choice.instance else "own price",
        "Bought": controls.CHOICES[each.changes["purchase"]],
        "USD/h": price.usd_per_hour if price else None,
        "Region": price.region if price else "",
        "Price of": price.valid_from.isoformat() if price else "",
        "g CO₂ each": digits(float(estimate.carbon)),
    }  # fmt: skip


# Two side by side ---------------------------------------------------------------------------------


def side_by_side(found: Search, scenario: Scenario) -> None:
    """Why one is cheaper than the other, term by term."""
    if len(found.ranked) < 2:
        return
    st.markdown(
        "##### Two side by side",
        help="The cost is the product of the first terms: each shows how much it makes the second "
        "dearer (above 1) or cheaper (below 1) than the first.",
    )
    names = [each.choice.accelerator.id for each in found.ranked]
    label = {each.choice.accelerator.id: each.choice.accelerator.name for each in found.ranked}
    columns = st.columns(2)
    picked = []
    for place, column in enumerate(columns):
        key = f"side_{place}"
        if st.session_state.get(key) not in names:
            st.session_state[key] = names[place]
        with column:
            st.selectbox(
                "First" if place == 0 else "Second", names, key=key,
                format_func=lambda id: label.get(id, id),
            )  # fmt: skip
        picked.append(found.ranked[names.index(st.session_state[key])])
    first, second = picked
    why = hardware.factors(scenario, first, second)
    st.caption(draw.escaped(_difference(first, second, why)))
    _terms(why, first, second, "why")
    section = st.expander("Datasheets, times and memory", key="terms", on_change="rerun")
    if section.open:
        with section:
            _terms(hardware.terms(scenario, first, second), first, second, "terms")


def _difference(first: Configuration, second: Configuration, why: Sequence[Term]) -> str:
    ratio = why[-1].ratio
    moved = sorted(why[:-1], key=lambda term: -abs(math.log(term.ratio)))[:2]
    word = "dearer" if ratio > 1 else "cheaper"
    parts = [f"{term.name.lower()} × {digits(term.ratio)}" for term in moved]
    return (
        f"{second.choice.accelerator.name} is {percent(abs(ratio - 1.0))} {word} than "
        f"{first.choice.accelerator.name}; what matters most: {', '.join(parts)}."
    )


def _terms(
    found: Sequence[Term], first: Configuration, second: Configuration, key: str
) -> None:  # fmt: skip
    import pandas as pd

    one, other = first.choice.accelerator.name, second.choice.accelerator.name
    frame = pd.DataFrame({
        "": [f"{term.name}, {term.unit}" if term.unit else term.name for term in found],
        one: [digits(term.first) for term in found],
        f"{other} " if other == one else other: [digits(term.second) for term in found],
        "Ratio": ["" if math.isnan(term.ratio) else f"× {digits(term.ratio)}" for term in found],
    })  # fmt: skip
    st.dataframe(frame, hide_index=True, key=f"side_{key}", alt="Two pieces of hardware compared")


# What was left out --------------------------------------------------------------------------------


def left_out(found: Search) -> None:
    """Why configurations failed, by hardware."""
    section = st.expander(
        "What was left out, and why", key="left_out", on_change="rerun",
        icon=":material/filter_alt_off:",
    )  # fmt: skip
    if not section.open:
        return
    import pandas as pd

    facts = catalog().accelerators
    with section:
        st.caption(f"All together: {_counts(_all_reasons(found), len(REASONS))}.")
        offered = {each.choice.accelerator.id for each in found.ranked}
        frame = pd.DataFrame({
            "Hardware": [facts[chip].name for chip in found.rejected],
            "Offered": ["yes" if chip in offered else "no" for chip in found.rejected],
            "Most failed by": [REASONS[next(iter(each))] for each in found.rejected.values()],
            "Configurations left out": [
                _counts(each, len(REASONS)) for each in found.rejected.values()
            ],
        })  # fmt: skip
        st.dataframe(frame, hide_index=True, key="left_out_table", alt="Reasons by hardware")
        if found.unpriced:
            names = ", ".join(facts[chip].name for chip in found.unpriced)
            st.caption(f"No price is known here of: {names}.")
            st.caption("Enter your own price per device for one of them, under Price.")
