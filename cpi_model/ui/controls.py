"""One widget for each field of the scenario."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import streamlit as st

from cpi_model.catalog import catalog
from cpi_model.export import digits
from cpi_model.scenario import FIELDS, FieldInfo, Scenario
from cpi_model.studies.options import DECIDING, DOUBLING, OFFERED, SEARCHING, Option, options
from cpi_model.ui import state

CHOICES = {
    "on_demand": "On demand", "spot": "Spot", "reserved_1y": "1 year", "reserved_3y": "3 years",
    "peak": "For the peak", "follow": "Follow traffic", "fixed": "Fixed",
    "loaded": "Fully loaded", "marginal": "Marginal", "day": "Day", "month": "Month",
    "year": "Year", "none": "None", "unstructured": "Anywhere", "two_of_four": "Two of four",
    "continuous": "Continuous", "dynamic": "Dynamic", "static": "Static",
    "disaggregated": "Prefill and decode apart",
    "any": "Any", "no_spot": "All but spot", "same": "The one above", "inference": "Inference",
    "good_inference": "Inference in time",
}  # fmt: skip
POLICIES = {
    "none": "Fixed number", "hpa": "Kubernetes HPA", "keda": "KEDA", "kpa": "Knative",
    "tracking": "Target tracking (clouds)", "schedule": "Weekly schedule",
    "predictive": "Forecast", "serverless": "Serverless",
}  # fmt: skip
"""What autoscalers are called."""
SPOKEN_UNITS = {"", "share", "×", "1/s", "requests", "items", "per USD"}
"""Units that the title of their field says already, or that stand beside the value."""


def _label(info: FieldInfo) -> str:
    spoken = info.unit in SPOKEN_UNITS or info.unit in info.title.lower().split()
    return info.title if spoken else f"{info.title}, {info.unit}"


@lru_cache(maxsize=len(FIELDS))
def _help(info: FieldInfo) -> str:
    """What the field means, its range, and where its default comes from."""
    lines = [info.help]
    if info.kind in ("int", "float"):
        lines.append(f"From {digits(info.minimum or 0.0, 9)} to {digits(info.maximum or 0.0, 9)}.")
    if info.source:
        since = f", {info.as_of.isoformat()}" if info.as_of else ""
        lines.append(f"Default {info.default}: {info.source}{since}.")
    return "\n\n".join(lines).replace("$", r"\$")


def control(info: FieldInfo, scenario: Scenario, place: str = "") -> None:
    """The widget of one field; a field may have one in the sidebar and one in another place."""
    if info.name in OFFERED:
        _list(info, scenario, place)
    elif info.kind == "choice":
        st.selectbox(
            _label(info), info.choices, help=_help(info),
            format_func=POLICIES.__getitem__ if info.name == "policy" else _choice,
            **state.shown(info.name, f"{place}w"),
        )  # fmt: skip
    elif info.log:
        _log_slider(info, scenario, place)
    elif info.unit == "share" and info.maximum is not None and info.maximum <= 1:
        if info.optional:
            _number(info, f"{place}w")
        else:
            st.slider(
                _label(info), float(info.minimum or 0), float(info.maximum),
                step=float(info.step or 0.01), format="percent", help=_help(info),
                **state.shown(info.name, f"{place}w"),
            )  # fmt: skip
    else:
        _number(info, f"{place}w")


def _choice(value: str) -> str:
    return CHOICES.get(value, value)


def _list(info: FieldInfo, scenario: Scenario, place: str) -> None:
    """A list from the catalog: what goes with the rest first, the others with the reason."""
    offered = _options(info.name, scenario)
    labels = {option.id: _option(option) for option in offered}
    if info.several:
        del labels[info.default]  # nothing chosen
        # What is chosen stays on the list, though nothing may be offered there any more.
        labels |= {id: id for id in state.names(getattr(scenario, info.name)) if id not in labels}
        st.multiselect(
            _label(info), list(labels), format_func=lambda id: labels.get(id, id),
            help=_help(info), placeholder=_choice(info.default),
            **state.shown(info.name, f"{place}w"),
        )  # fmt: skip
        return
    st.selectbox(
        _label(info), list(labels), format_func=lambda id: labels.get(id, id), help=_help(info),
        **state.shown(info.name, f"{place}w"),
    )  # fmt: skip


def _option(option: Option) -> str:
    return f"⚠ {option.label} ({option.problem})" if option.problem else option.label


def _number(info: FieldInfo, key: str, hidden: bool = False) -> None:
    whole: Callable[[float], float] = int if info.kind == "int" else float
    # All of them whole or none, which only the field knows.
    limits: dict[str, Any] = {
        "min_value": None if info.minimum is None else whole(info.minimum),
        "max_value": None if info.maximum is None else whole(info.maximum),
        "value": None if info.optional else "min",
        "step": None if info.step is None else whole(info.step),
        "format": "%d" if info.kind == "int" else "%g",
    }
    st.number_input(
        f"{_label(info)}, exact" if hidden else _label(info),
        help=None if hidden else _help(info),
        placeholder=_empty(info) if info.optional else None,
        label_visibility="collapsed" if hidden else "visible",
        width=84 if hidden else "stretch",
        **limits,
        **state.shown(info.name, key),
    )


def _empty(info: FieldInfo) -> str:
    """What an empty box means."""
    return "no limit" if info.name in SEARCHING else "found for you"


def _log_slider(info: FieldInfo, scenario: Scenario, place: str) -> None:
    """A slider over round numbers, and a box for every other."""
    off_grid: set[float] = st.session_state.setdefault(f"off_grid_{info.name}", set())
    value = getattr(scenario, info.name)
    grid = _grid(info)
    # A value between the marks gets one of its own and keeps it: the marks must not shift under
    # a slider that is being moved.
    if value not in grid:
        off_grid.add(value)
    with st.container(horizontal=True, wrap=False, vertical_alignment="bottom", gap="small"):
        st.select_slider(
            _label(info), sorted({*grid, *off_grid}), format_func=_mark, help=_help(info),
            **state.shown(info.name, f"{place}w"),
        )  # fmt: skip
        if info.unit not in DOUBLING:
            _number(info, f"{place}n", hidden=True)


@lru_cache(maxsize=8192)
def _mark(value: float) -> str:
    return digits(value, 9)


@lru_cache(maxsize=len(FIELDS))
def _grid(info: FieldInfo) -> tuple[float, ...]:
    """Round numbers over the range of a field: eight to a doubling, or ten a decade."""
    low, high = info.minimum or 0.0, info.maximum or 0.0
    if info.unit in DOUBLING:
        marks = {2.0**power for power in range(math.floor(math.log2(high)) + 1)}
    elif info.name == "concurrency":
        marks = {
            eighth * 2.0**power
            for power in range(-3, math.floor(math.log2(high)) - 2)
            for eighth in (8, 9, 10, 11, 12, 13, 14, 15)
        }
    else:
        # Zero has a mark of its own, below the powers of ten.
        powers = range(math.floor(math.log10(low or 1.0)), math.ceil(math.log10(high)) + 1)
        marks = {
            float(f"{step}e{power}")
            for power in powers
            for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
        }
    ends = {low, high} if info.unit not in DOUBLING else {low}
    inside = sorted({mark for mark in marks if low <= mark <= high} | ends)
    if info.kind == "int":
        return tuple(int(mark) for mark in inside if mark.is_integer())
    return tuple(inside)


def _options(field: str, scenario: Scenario) -> tuple[Option, ...]:
    # A slider changes no list: what does not decide them is no part of the key.
    decides = {name: getattr(scenario, name) for name in (*DECIDING, field)}
    return _options_of(field, Scenario().model_copy(update=decides))


@lru_cache(maxsize=512)
def _options_of(field: str, scenario: Scenario) -> tuple[Option, ...]:
    return tuple(options(field, scenario, catalog()))
