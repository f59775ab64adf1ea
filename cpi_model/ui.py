"""The frame around every page: link, sidebar, headline, explanations. All of Streamlit is here.

The state of the app is one :class:`Scenario`. It lives in the session and is mirrored to the URL;
widgets show it and change it through callbacks. Three rules keep fast edits from being lost: a
widget's key is written only where it differs from the scenario, the URL is read only in a new
session and after Back or Forward, and it is written once, when everything has been drawn.
"""

from __future__ import annotations

import gc
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st
from plotly.basedatatypes import BaseFigure
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cpi_model import charts, export, links
from cpi_model.catalog import catalog
from cpi_model.evaluate import Estimate
from cpi_model.export import digits, duration, large, money, percent, size
from cpi_model.inputs import ImpossibleChoice
from cpi_model.scenario import FIELDS, GROUPS, FieldInfo, Scenario
from cpi_model.studies import bands, explain, listing, sweep, trust
from cpi_model.studies.answer import Answer, Suggestion
from cpi_model.studies.answer import answer as answer_scenario
from cpi_model.studies.bands import Band
from cpi_model.studies.options import DECIDING, OFFERED, Option, options, plays_a_part
from cpi_model.studies.sweep import Sweep
from cpi_model.units import DAY, MILLION, MONTH, WATT_HOUR, YEAR

if TYPE_CHECKING:
    import pandas as pd

    from cpi_model.studies.accuracy import Compared, GroupError
    from cpi_model.studies.uploads import Upload

PAGES: tuple[tuple[str, str, str], ...] = (
    ("app.py", "What-if", ":material/tune:"),
    ("pages/1_Catalog.py", "Catalog", ":material/menu_book:"),
    ("pages/2_Trust.py", "Trust", ":material/fact_check:"),
)
"""File, title and sign of every page, in the order of the sidebar."""

ESSENTIALS = (
    "model", "accelerator", "scheme", "requests_per_s", "items_per_request", "input_tokens",
    "output_tokens", "concurrency",
)  # fmt: skip
"""Fields that open the sidebar; every other one is in the section of its group."""
SECTIONS = {
    "workload": "Workload and limits", "model": "Versions", "compression": "Cache precision",
    "serving": "Serving", "hardware": "Instance", "price": "Price", "scaling": "Scaling",
    "overheads": "Overheads", "display": "Display",
}  # fmt: skip
CHOICES = {
    "on_demand": "On demand", "spot": "Spot", "reserved_1y": "1 year", "reserved_3y": "3 years",
    "peak": "For the peak", "follow": "Follow traffic", "fixed": "Fixed",
    "loaded": "Fully loaded", "marginal": "Marginal", "day": "Day", "month": "Month",
    "year": "Year",
}  # fmt: skip
SPOKEN_UNITS = {"", "share", "×", "1/s", "requests", "items", "per USD"}
"""Units that the title of their field says already, or that stand beside the value."""
DOUBLING = {"devices", "stages", "copies", "groups"}
"""Units of counts that come in powers of two."""
PERIODS = {"day": DAY, "month": MONTH, "year": YEAR}
SIDEBAR_WIDTH = 330
ECHO_S = 5.0
"""Longest time that a browser takes to draw what it was sent."""
CURVE_POINTS = 34
USUAL_CURVE_END = 512


@dataclass(frozen=True)
class Preset:
    """A scenario to start from."""

    title: str
    icon: str
    help: str
    scenario: Scenario


PRESETS = (
    Preset(
        "Chat assistant", ":material/forum:",
        "Llama 3.1 70B in FP8 on two H100, 5 requests a second",
        Scenario(
            model="llama-3.1-70b", scheme="fp8", tensor_parallel=2, requests_per_s=5.0,
            input_tokens=1200, output_tokens=300, cached_input_share=0.3, kv_precision="fp8",
        ),
    ),
    Preset(
        "Search ranking", ":material/search:",
        "BERT-large scores 50 texts for each query on one L4",
        Scenario(
            model="bert-large", engine="tensorrt", accelerator="l4", requests_per_s=20.0,
            items_per_request=50, input_tokens=128, concurrency=1, slo_latency_ms=500.0,
            request_kb=30.0, response_kb=1.0,
        ),
    ),
    Preset(
        "Fraud scoring", ":material/credit_card:",
        "Gradient-boosted trees on CPU, 500 payments a second",
        Scenario(
            model="gbt-fraud-500x8", engine="treelite", scheme="fp32", accelerator="graviton4",
            requests_per_s=500.0, concurrency=8, slo_latency_ms=50.0, request_kb=2.0,
            response_kb=0.5, image_gb=1.0, log_kb_per_request=0.5, batch_wait_ms=2.0,
        ),
    ),
)  # fmt: skip


# State -------------------------------------------------------------------------------------------


def current() -> Scenario:
    """The scenario of this session."""
    scenario: Scenario = st.session_state["scenario"]
    return scenario


def _put(scenario: Scenario) -> None:
    st.session_state["acted"] = True
    st.session_state["scenario"] = scenario
    st.session_state["link_problems"] = []


def _apply(changes: dict[str, Any]) -> None:
    """Change several fields at once: one step back undoes them."""
    checked = {name: links.check(name, value) for name, value in changes.items()}
    if not any(problem for _, problem in checked.values()):
        _put(current().model_copy(update={name: value for name, (value, _) in checked.items()}))


def _start_from(preset: Scenario) -> None:
    """A preset; what the reader chose about the display stays."""
    shown = {name: getattr(current(), name) for name in FIELDS if FIELDS[name].group == "display"}
    _put(preset.model_copy(update=shown))


def _edited(name: str, key: str) -> None:
    """A widget was moved, or says so: :func:`_take_edits` decides when all have spoken."""
    st.session_state.setdefault("edits", []).append((name, key))


def _take_edits() -> None:
    """Put what was really edited into the scenario.

    A widget that we have set goes on reporting its earlier value until the browser has drawn the
    new one. Slider and box of one field set each other with every key press, so such an echo must
    not count, or the field would jump back. It never comes alone: something else was moved.
    """
    state = st.session_state
    edits: list[tuple[str, str]] = state.pop("edits", [])
    alone = len(edits) == 1 and not state.get("acted", False)
    for name, key in edits:
        # The limits of a widget hold in the browser only, so the value is checked again.
        value, problem = links.check(name, state[key])
        if not problem and (alone or not _is_echo(key, value)):
            _put(current().model_copy(update={name: value}))
    state["acted"] = False


def _shown(name: str, prefix: str = "w") -> dict[str, Any]:
    """Key and callback of a widget of a field, with the scenario's value put in."""
    state, key = st.session_state, f"{prefix}_{name}"
    wanted = getattr(current(), name)
    # Written on a mismatch only: written every time, it would undo what is being typed.
    if state["new_page"] or key not in state:
        _expect_echo(key, {FIELDS[name].minimum})  # where every widget begins in the browser
        state[key] = wanted
    elif state[key] != wanted:
        _expect_echo(key, {state[key], wanted})
        state[key] = wanted
    return {"key": key, "on_change": _edited, "args": (name, key)}


@dataclass(frozen=True)
class _Echo:
    """What a widget may still report of its past, and until when."""

    values: set[Any]
    until: float


def _expect_echo(key: str, values: set[Any]) -> None:
    echoes: dict[str, _Echo] = st.session_state.setdefault("echoes", {})
    now = time.monotonic()
    if (known := echoes.get(key)) and now < known.until:
        values |= known.values
    echoes[key] = _Echo(values, now + ECHO_S)


def _is_echo(key: str, value: Any) -> bool:
    known: _Echo | None = st.session_state.get("echoes", {}).get(key)
    return known is not None and time.monotonic() < known.until and value in known.values


def _read_link() -> None:
    """Take over the URL in a new session and after Back or Forward; otherwise the session wins."""
    state, query = st.session_state, st.query_params.to_dict()
    context = get_script_run_ctx()
    # Not public, so a browser test watches it: without it Back would not undo.
    went_back = getattr(context, "is_history_navigation", False)
    if "scenario" not in state or (went_back and query):
        state["scenario"], state["link_problems"] = links.from_params(query)


def _write_link() -> None:
    wanted = links.to_params(current())
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def _link() -> str:
    """Address of what is on the screen."""
    return f"{st.context.url or ''}?{links.encode(current())}"


# Frame -------------------------------------------------------------------------------------------


def frame(title: str, question: str) -> Scenario:
    """Begin a page: link, sidebar with the scenario, title; then the link again."""
    st.set_page_config(
        page_title=f"{title} · cost per inference",
        page_icon="💸",
        layout="wide",
        initial_sidebar_state=SIDEBAR_WIDTH,
    )
    state = st.session_state
    # The same key on another page is another widget, which would begin at its minimum.
    state["new_page"] = state.get("page") != title
    state["page"] = title
    _take_edits()
    _read_link()
    with st.sidebar:
        _sidebar()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(gap=None):
            st.title(title, anchor=False)
            st.caption(question)
        # Filled when it is opened: a box of code costs the browser as much as a chart's axis.
        address = st.popover("Copy link", icon=":material/link:", key="link", on_change="rerun")
        if address.open:
            with address:
                st.caption("Everything on the screen is in this address:")
                st.code(_link(), language=None, wrap_lines=True)
    _write_link()
    if problems := state["link_problems"]:
        _plain_list("Parts of the link were ignored; their defaults stand instead.", problems)
    _freeze()
    return current()


@st.cache_resource(show_spinner=False)
def _freeze() -> bool:
    """Take what is loaded out of garbage collection, which would stop every run for 80 ms."""
    gc.collect()
    gc.freeze()
    return True


def _plain_list(heading: str, lines: list[str]) -> None:
    """Sentences that may repeat somebody's text: shown as it is, never rendered."""
    with st.container(border=True, gap="xsmall"):
        st.markdown(f":material/warning: **{heading}**")
        for line in lines:
            st.text(line)


def _sidebar() -> None:
    query = links.to_params(current())
    with st.container(gap="xxsmall"):
        for file, title, sign in PAGES:
            st.page_link(file, label=title, icon=sign, query_params=query, width="stretch")
    with st.container(gap="xsmall"):
        st.caption("Start from")
        for preset in PRESETS:
            st.button(
                preset.title, icon=preset.icon, help=preset.help, width="stretch",
                on_click=_start_from, args=(preset.scenario,),
            )  # fmt: skip
    scenario = current()
    rest: dict[str, list[FieldInfo]] = {group: [] for group in GROUPS}
    for name, info in FIELDS.items():
        if name not in ESSENTIALS and plays_a_part(name, scenario, catalog()):
            rest[info.group].append(info)
    for name in ESSENTIALS:
        if plays_a_part(name, scenario, catalog()):
            _control(FIELDS[name], scenario)
    for group, infos in rest.items():
        if infos:
            changed = sum(getattr(scenario, info.name) != info.default for info in infos)
            mark = f" · {changed} changed" if changed else ""
            section = st.expander(
                SECTIONS[group] + mark, key=f"section_{group}", on_change="rerun"
            )  # fmt: skip
            # Fifty closed controls would be half of what a run costs.
            if section.open:
                with section:
                    for info in infos:
                        _control(info, scenario)
    st.button(
        "Reset everything", icon=":material/restart_alt:", type="tertiary",
        on_click=_put, args=(Scenario(),),
    )  # fmt: skip


# Controls ----------------------------------------------------------------------------------------


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


def _control(info: FieldInfo, scenario: Scenario) -> None:
    """The widget of one field."""
    if info.name in OFFERED:
        _list(info, scenario)
    elif info.kind == "choice":
        st.selectbox(
            _label(info), info.choices, help=_help(info), format_func=_choice,
            **_shown(info.name),
        )  # fmt: skip
    elif info.log:
        _log_slider(info, scenario)
    elif info.unit == "share" and info.maximum is not None and info.maximum <= 1:
        if info.optional:
            _number(info)
        else:
            st.slider(
                _label(info), float(info.minimum or 0), float(info.maximum),
                step=float(info.step or 0.01), format="percent", help=_help(info),
                **_shown(info.name),
            )  # fmt: skip
    else:
        _number(info)


def _choice(value: str) -> str:
    return CHOICES.get(value, value)


def _list(info: FieldInfo, scenario: Scenario) -> None:
    """A list from the catalog: what goes with the rest first, the others with the reason."""
    offered = _options(info.name, scenario)
    labels = {option.id: _option(option) for option in offered}
    st.selectbox(
        _label(info), list(labels), format_func=lambda id: labels.get(id, id), help=_help(info),
        **_shown(info.name),
    )  # fmt: skip


def _option(option: Option) -> str:
    return f"⚠ {option.label} ({option.problem})" if option.problem else option.label


def _number(info: FieldInfo, key: str = "w", hidden: bool = False) -> None:
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
        placeholder="from the catalog" if info.optional else None,
        label_visibility="collapsed" if hidden else "visible",
        width=84 if hidden else "stretch",
        **limits,
        **_shown(info.name, key),
    )


def _log_slider(info: FieldInfo, scenario: Scenario) -> None:
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
            **_shown(info.name),
        )  # fmt: skip
        if info.unit not in DOUBLING:
            _number(info, key="n", hidden=True)


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
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
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


# Answers -----------------------------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def _turns() -> threading.Semaphore:
    """Two runs compute at a time; with more, threads fight for the interpreter."""
    return threading.Semaphore(2)


@lru_cache(maxsize=512)
def _answer(scenario: Scenario, today: date) -> Answer:
    with _turns():
        return answer_scenario(scenario, catalog())


@lru_cache(maxsize=512)
def _curves(scenario: Scenario) -> Sweep | None:
    last = USUAL_CURVE_END
    while last < min(2 * scenario.concurrency, 8192):
        last *= 2
    steps = (last ** (step / (CURVE_POINTS - 1)) for step in range(CURVE_POINTS))
    values = sorted({round(step) for step in steps} | {scenario.concurrency})
    with _turns():
        try:
            return sweep.over(scenario, "concurrency", values, catalog())
        except (ValueError, ImpossibleChoice):
            return None


def _options(field: str, scenario: Scenario) -> tuple[Option, ...]:
    # A slider changes no list: what does not decide them is no part of the key.
    decides = {name: getattr(scenario, name) for name in (*DECIDING, field)}
    return _options_of(field, Scenario().model_copy(update=decides))


@lru_cache(maxsize=512)
def _options_of(field: str, scenario: Scenario) -> tuple[Option, ...]:
    return tuple(options(field, scenario, catalog()))


def _palette() -> charts.Palette:
    theme = st.context.theme.type
    return charts.DARK if theme == "dark" else charts.LIGHT


def answer(scenario: Scenario) -> Answer:
    """Estimate of a scenario; where it cannot work, the reasons and what would, with buttons."""
    result = _answer(scenario, date.today())
    if not result.feasible:
        _explain(result)
    return result


def _explain(result: Answer) -> None:
    with st.container(border=True):
        st.markdown(":material/block: **This cannot work as it stands**")
        for reason in result.reasons:
            st.text(reason)
        if result.suggestions:
            st.caption("The nearest that works:")
            with st.container(horizontal=True):
                for suggestion in result.suggestions:
                    _suggest(suggestion)
        else:
            st.caption("Choose something else in the sidebar, or start from a preset.")


def _suggest(suggestion: Suggestion) -> None:
    st.button(
        suggestion.text, type="primary", key=f"suggest_{suggestion.text}",
        on_click=_apply, args=(suggestion.changes,),
    )  # fmt: skip


def subject(result: Answer) -> None:
    """What is being estimated, in a line: whoever opens a link need not read the sidebar."""
    choice, scenario = result.choice, result.scenario
    if choice is None:
        return
    devices = digits(choice.devices_per_replica)
    words = [
        choice.model.name,
        choice.scheme.name,
        f"{devices} × {choice.accelerator.name} a replica",
        choice.engine.name,
        f"{digits(scenario.requests_per_s, 9)} requests/s",
    ]
    if choice.price is not None:
        price = choice.price
        words.append(
            f"{price.instance} in {price.region} at ${digits(price.usd_per_hour)}/h "
            f"{CHOICES[price.purchase].lower()}, {price.valid_from.isoformat()}"
        )
    elif scenario.device_price_usd_per_hour is not None:
        words.append(f"own price of ${digits(scenario.device_price_usd_per_hour)}/h a device")
    st.markdown(_escaped(" · ".join(words)))


def headline(result: Answer) -> None:
    """The figures that answer the question, in one strip."""
    estimate, scenario = result.estimate, result.scenario
    if estimate is None or not result.feasible:
        return
    marginal = scenario.cost_basis == "marginal"
    each = "marginal_cost_per_inference" if marginal else "cost_per_inference"
    tokens = math.isfinite(float(estimate.tpot))
    found = bands.of(result)

    def cell(
        label: str, figure: str, text: Callable[[float], str], help_text: str, scale: float = 1.0
    ) -> _Cell:
        value = float(getattr(estimate, figure)) * scale

        def ends(low: float, high: float) -> str:
            if text is amount:
                return export.money_between(low * scale, high * scale, scenario)
            return export.between(low * scale, high * scale, text)

        likely, behind = _likely(found.get(figure), ends)
        return _Cell(label, text(value), likely, f"{help_text} {behind}")

    def amount(usd: float) -> str:
        return money(usd, scenario)

    def rate(per_second: float) -> str:
        return f"{large(per_second)}/s"

    utilisation = cell(
        "Utilisation", "utilisation", percent,
        "Average load over the capacity of all production replicas: "
        f"{_counted(float(estimate.replicas), 'replica')}.",
    )  # fmt: skip
    if scenario.scaling != "fixed":
        # Their number follows the load, so it is what moves with speed.
        count, _ = _likely(
            found["replicas"],
            lambda low, high: export.between(low, high, lambda each: _counted(each, "replica")),
        )
        if count in (SAME, UNMEASURED):
            count = _counted(float(estimate.replicas), "replica")
        utilisation = replace(utilisation, below=count)
    basis = f"{CHOICES[scenario.cost_basis]}."
    middle = (
        cell(
            "Time to first token", "ttft", duration,
            "Mean, from the request to the first token of the answer (TTFT).",
        ),
        cell(
            "Time per token", "tpot", duration,
            "Mean, between one token and the next, after the first (TPOT).",
        ),
    ) if tokens else (
        cell("Latency, mean", "latency_mean", duration, "Of a request, waiting included."),
        cell(
            "Time of a batch", "decode_step_time", duration,
            f"The device's own time for {_counted(float(estimate.running), 'request')}.",
        ),
    )  # fmt: skip
    output = (
        cell("Tokens of a replica", "output_tokens_per_s", rate, "Output of one full replica."),
    ) if tokens else ()  # fmt: skip
    cells = [
        cell(
            "Cost per inference", each, amount,
            f"{basis} Of one successful inference. Fully loaded: idle time and overheads "
            "included. Marginal: one more request, on a replica that is full.",
        ),
        cell("Per million inferences", each, amount, basis, MILLION),
        cell(
            f"Cost per {scenario.period}", "cost_rate", amount,
            f"The whole deployment, fully loaded: {_counted(float(estimate.instances), 'instance')}"
            ".",
            PERIODS[scenario.period],
        ),
        cell(
            "Latency, p95", "latency_p95", duration,
            "95 of 100 requests are answered in full within this time; mean "
            f"{duration(float(estimate.latency_mean))}.",
        ),
        *middle,
        cell(
            "Within limits", "good_share", percent,
            "Share of requests that meet every limit of the workload (SLO).",
        ),
        cell(
            "Throughput of a replica", "throughput", rate,
            "Requests a second of one full replica.",
        ),
        *output,
        utilisation,
    ]  # fmt: skip
    with st.grid(5, min_column_width=172, gap=10):
        for shown in cells:
            st.metric(
                shown.label, shown.value, shown.below, help=shown.help, border=True,
                delta_color="off", delta_arrow="off",
            )  # fmt: skip


def _likely(found: Band | None, ends: Callable[[float, float], str]) -> tuple[str, str]:
    """The line below a figure, and what it rests on."""
    if found is None:
        return UNMEASURED, "No run like this was measured, so its range is not known."
    rows = f"{found.rows:,} measured runs"
    rest = "" if found.measured else ", none of them of this model, chip and engine together"
    if found.high <= found.low * (1 + FLAT):
        return SAME, f"It stays as long as speed is within P10 to P90 of {rows}."
    range_text = ends(found.low, found.high)
    return (
        range_text if len(range_text) > LONG_RANGE else f"{range_text} likely",
        f"Likely: P10 to P90 of {rows}{rest}; eight of ten lie inside.",
    )


UNMEASURED, SAME = "spread not measured", "same at any speed"
LONG_RANGE = 16
"""Longer than so many characters, a range fills its cell without another word."""
FLAT = 0.001
"""A range narrower than this share is none."""


@dataclass(frozen=True)
class _Cell:
    """One figure of the headline."""

    label: str
    value: str
    below: str
    help: str


def _counted(count: float, what: str) -> str:
    return f"{digits(count)} {what}" if count == 1 else f"{digits(count)} {what}s"


def _escaped(text: str) -> str:
    """Dollar signs that do not begin a formula."""
    return text.replace("$", r"\$")


def all_costs(result: Answer) -> None:
    """The cost in every unit that people compare."""
    if not result.feasible:
        return
    section = st.expander(
        "The same cost in other units", key="costs", on_change="rerun", icon=":material/payments:"
    )
    if not section.open:
        return
    import pandas as pd

    rows = explain.costs(result)
    with section:
        st.dataframe(
            pd.DataFrame(
                {
                    result.scenario.currency: [row.name for row in rows],
                    "Fully loaded": [money(row.loaded, result.scenario) for row in rows],
                    "Likely": [_likely_cost(row, result.scenario) for row in rows],
                    "Marginal": [
                        "" if math.isnan(row.marginal) else money(row.marginal, result.scenario)
                        for row in rows
                    ],
                }
            ),
            hide_index=True, key="cost_table", alt="Cost in other units",
        )  # fmt: skip
        estimate = result.estimate
        if estimate is not None and result.feasible:
            st.caption(
                f"Energy {digits(float(estimate.energy) / WATT_HOUR)} Wh and carbon "
                f"{digits(float(estimate.carbon))} g CO₂ per inference. Tokens share the cost by "
                "the time that each takes of a replica."
            )


def _likely_cost(row: explain.Cost, scenario: Scenario) -> str:
    if row.likely is None:
        return "not measured"
    return export.money_between(*row.likely, scenario)


def notes(result: Answer) -> None:
    """Decisions on the way that a reader should know."""
    scenario = result.scenario
    lines = list(result.notes)
    if scenario.currency != "USD" and scenario.currency_per_usd == 1.0:
        lines.append(f"1 {scenario.currency} counts as 1 USD: set the exchange rate under Display.")
    elif scenario.currency == "USD" and scenario.currency_per_usd != 1.0:
        lines.append("The exchange rate is not 1 although the currency is USD.")
    corrected = [
        f"{FIELDS[name].title.removeprefix('Correction: ')} × {digits(factor)}"
        for name in ("step_time_correction", "first_token_correction")
        if (factor := getattr(scenario, name)) != 1.0 and plays_a_part(name, scenario, catalog())
    ]
    if corrected:
        lines.append(f"Corrected by hand or by own runs: {', '.join(corrected)}.")
    for line in lines:
        st.text(line)


CHART = {"displayModeBar": False, "responsive": True}


class _Drawn(BaseFigure):  # type: ignore[misc]
    """A figure that goes to the browser as it is.

    Streamlit would check every property of a dictionary against Plotly's schema, which takes
    longer than everything else in a run; the tests do that for the figures of ``charts``.
    """

    def __init__(self, figure: charts.Figure) -> None:
        object.__setattr__(self, "figure", figure)

    def to_dict(self) -> charts.Figure:
        """Data and layout."""
        figure: charts.Figure = self.figure
        return figure


def _chart(figure: charts.Figure, key: str, words: str) -> None:
    st.plotly_chart(_Drawn(figure), key=key, theme=None, config=CHART, alt=words)


def against_concurrency(result: Answer) -> None:
    """How cost and latency move with the requests in flight."""
    found = _curves(result.scenario)
    if found is None or not found.estimate.feasible.any() or result.estimate is None:  # type: ignore[union-attr]
        return
    st.markdown(
        "##### Cost and latency against concurrency",
        help="Shaded: the likely range of each line, P10 to P90 of measured runs like this one, of "
        "which eight of ten lie inside. No shade: speed does not move it, or none was measured.",
    )
    _chart(
        charts.against_concurrency(found, result.estimate, _palette()),
        "concurrency",
        charts.describe_curves(found),
    )


def parts(result: Answer) -> None:
    """Where the money of one inference goes, and what fills one device."""
    estimate, inputs, scenario = result.estimate, result.inputs, result.scenario
    if estimate is None or inputs is None:
        return
    palette = _palette()
    figures = [charts.memory(estimate, float(inputs.memory_capacity), palette)]
    words = charts.describe_memory(estimate)
    if result.feasible:
        st.markdown("##### What it is made of")
        figures.insert(0, charts.cost_breakdown(estimate, scenario, palette))
        words = f"{charts.describe_breakdown(estimate, scenario)} {words}"
    _chart(charts.stack(figures), "parts", words)
    st.caption(_memory_text(estimate))


def _memory_text(estimate: Estimate) -> str:
    room = float(estimate.max_concurrency)
    fits = f" · room for {large(math.floor(room))} requests" if math.isfinite(room) else ""
    cache = float(estimate.cache_memory)
    return (
        f"Weights {size(float(estimate.weight_memory))}"
        + (f" · cache {size(cache)}" if cache else "")
        + f" · working space {size(float(estimate.workspace_memory))}{fits}"
    )


def why(result: Answer) -> None:
    """The calculation with its numbers, and the inputs with their sources."""
    if result.inputs is None:
        return
    section = st.expander(
        "Why this number", key="why", on_change="rerun", icon=":material/function:"
    )
    # What nobody looks at costs nothing.
    if not section.open:
        return
    with section:
        for step in explain.steps(result):
            st.caption(step.title)
            st.latex(step.formula + r" \;=\; " + step.numbers)
        where = explain.on_which_runs(result)
        for found in explain.accuracy(result):
            st.caption(
                f"Measured against {found.rows:,} runs, {found.what}: half of the estimates are "
                f"within {percent(found.median_error)}, nine tenths within "
                f"{percent(found.p90_error)}, on {where}."
            )
        st.markdown("##### Inputs and where they come from")
        _facts(explain.facts(result, catalog()))


def _facts(facts: list[explain.Fact]) -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {
            "Part": [fact.kind for fact in facts],
            "Figure": [fact.name for fact in facts],
            "Value": [_value(fact) for fact in facts],
            "Source": [fact.source for fact in facts],
            "Date": [fact.as_of for fact in facts],
        }
    )
    st.dataframe(frame, hide_index=True, key="facts", alt="Inputs, their values and sources")
    _download("Inputs as CSV", frame, "inputs.csv")


def _value(fact: explain.Fact) -> str:
    value = fact.value if isinstance(fact.value, str) else digits(float(fact.value), 4)
    return f"{value} {fact.unit}".strip()


# Tables ------------------------------------------------------------------------------------------


def catalog_tables() -> None:
    """Everything that is known, with source and age; only the open tab is drawn."""
    today = date.today()
    for name, tab in zip(
        listing.TABLES,
        st.tabs(list(listing.TABLES), key="catalog_tab", on_change="rerun"),
        strict=True,
    ):
        if tab.open:
            with tab:
                _catalog_table(name, today)


@lru_cache(maxsize=2 * len(listing.TABLES))
def _listed(name: str, today: date) -> pd.DataFrame:
    return listing.table(name, catalog(), today)


def _catalog_table(name: str, today: date) -> None:
    whole = _listed(name, today)
    words = st.text_input(
        "Search", key=f"search_{name}", placeholder="words that a row must have, such as nvidia 80",
        max_chars=100, live=True,
    )  # fmt: skip
    found = listing.matching(whole, words) if words.strip() else whole
    st.caption(f"{len(found):,} of {len(whole):,} rows; an empty cell is not known.")
    st.dataframe(
        found, hide_index=True, height=560, key=f"table_{name}",
        column_config=_columns(found), alt=f"{name}, with source and age of each figure",
    )  # fmt: skip
    _download("Download as CSV", found, f"{name.lower().replace(' ', '-')}.csv")


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Numbers with as many digits as they have, years without a comma."""
    columns: dict[str, Any] = {}
    for name in frame.select_dtypes("number").columns:
        form = "%d" if name == "Year" else "localized"
        columns[name] = st.column_config.NumberColumn(format=form)
    columns["Source"] = st.column_config.TextColumn(width="medium")
    return columns


def _download(label: str, frame: pd.DataFrame, name: str) -> None:
    st.download_button(
        label, data=lambda: export.csv(frame), file_name=Path(name).name, mime="text/csv",
        on_click="ignore", icon=":material/download:", key=f"download_{name}",
    )  # fmt: skip


# Trust -------------------------------------------------------------------------------------------

GROUPINGS = {"model_class": "Class", "hardware": "Hardware", "engine": "Engine"}
REPORTS = "vllm bench serve, AIPerf, GenAI-Perf or guidellm"
ROW_HEIGHT = 33
"""Of a table. [px]"""
MOST_ROWS_SHOWN = 12
MOST_REASONS = 6
MOST_FILES = 40
EXAMPLES = 5


@lru_cache(maxsize=1)
def _compared() -> tuple[Compared, ...]:
    """The runs that come with the package beside their estimates; no scenario moves them."""
    from cpi_model.studies import accuracy, measurements

    with _turns():
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
    result = _answer(scenario, date.today())
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
        charts.predicted_against_measured(points, own, _names(), _palette())
        if own
        else _scatter(measure, _palette())
    )
    _chart(figure, "trust_scatter", charts.describe_scatter(points, own))
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
        _chart(
            charts.errors_by_group(found, _names(), _palette()), "trust_errors",
            charts.describe_errors(found, _names()),
        )  # fmt: skip
        if len(found) > charts.MOST_BARS:
            st.caption(f"The {charts.MOST_BARS} with most runs of {len(found)}; all in the table.")
    with right:
        table = _error_table(by, measure)
        st.dataframe(
            table, hide_index=True, key="trust_table",
            height=ROW_HEIGHT * (min(len(table), MOST_ROWS_SHOWN) + 1) + 3,
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
    """A result of this session's own data, made anew when what it depends on has changed."""
    known = st.session_state.get(name)
    if known is None or known[0] != key:
        with st.spinner("Comparing your runs with their estimates"):
            known = st.session_state[name] = (key, make())
    return known[1]


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

        with _turns():
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

    state = st.session_state
    own = {upload.name: upload for upload in _own()}
    problems = []
    for file in state[key][: MOST_FILES + 1]:
        try:
            content = file.read(uploads.LARGEST_FILE + 1)
            upload = uploads.read(file.name, content, current(), catalog())
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
    state["own_problems"] = problems
    _keep(tuple(own.values()))


def _keep(own: tuple[Upload, ...]) -> None:
    state = st.session_state
    state["own"] = own
    # A new key empties the box of files and tells results of earlier ones from new ones.
    state["own_number"] = state.get("own_number", 0) + 1


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
    _download("Example of a table", _example_table(), "runs.csv")
    if problems := st.session_state.get("own_problems"):
        _plain_list("Not read; what was there before still is.", problems)
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
def _example_table() -> pd.DataFrame:
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
        _download("Table as CSV", frame, "measured-and-estimated.csv")
    # Reasons may repeat what stands in a file, so there may be as many as it has rows.
    most = sorted(reasons.items(), key=lambda item: -item[1])
    for reason, count in most[:MOST_REASONS]:
        st.text(f"{_counted(count, 'run')} not estimated: {reason}.")
    if rest := sum(count for _, count in most[MOST_REASONS:]):
        st.text(f"{_counted(rest, 'run')} not estimated for other reasons.")


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
                on_click=_apply, args=(dict(proposal.changes),),
            )  # fmt: skip
        if now != neutral:
            st.button(
                "Take the correction back", icon=":material/undo:", on_click=_apply,
                args=(neutral,),
            )  # fmt: skip
