"""The answer to a scenario: headline, curves, parts, explanations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache

import streamlit as st

from cpi_model import charts, export
from cpi_model.catalog import catalog
from cpi_model.evaluate import Estimate
from cpi_model.export import digits, duration, large, money, percent, size
from cpi_model.inputs import age
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import bands, explain, sweep
from cpi_model.studies.answer import Answer, Suggestion
from cpi_model.studies.answer import answer as answer_scenario
from cpi_model.studies.bands import Band
from cpi_model.studies.options import plays_a_part
from cpi_model.studies.sweep import Sweep
from cpi_model.ui import controls, draw, state
from cpi_model.units import DAY, MILLION, MONTH, WATT_HOUR, YEAR

PERIODS = {"day": DAY, "month": MONTH, "year": YEAR}


@lru_cache(maxsize=512)
def answered(scenario: Scenario, today: date) -> Answer:
    """The answer to a scenario, on the prices of a day; worked out once."""
    with draw.turns():
        return answer_scenario(scenario, catalog())


@lru_cache(maxsize=512)
def _curves(scenario: Scenario) -> Sweep | None:
    with draw.turns():
        return sweep.against_concurrency(scenario, catalog())


def answer(scenario: Scenario) -> Answer:
    """Estimate of a scenario; where it cannot work, the reasons and what would, with buttons."""
    result = answered(scenario, date.today())
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
        on_click=state.apply, args=(suggestion.changes,),
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
        old = f" ({how_old})" if (how_old := age(price.valid_from)) else ""
        words.append(
            f"{price.instance} in {price.region} at ${digits(price.usd_per_hour)}/h "
            f"{controls.CHOICES[price.purchase].lower()}, {price.valid_from.isoformat()}{old}"
        )
    elif scenario.device_price_usd_per_hour is not None:
        words.append(f"own price of ${digits(scenario.device_price_usd_per_hour)}/h a device")
    st.markdown(draw.escaped(" · ".join(words)))


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
        f"{draw.counted(float(estimate.replicas), 'replica')}.",
    )  # fmt: skip
    if scenario.scaling != "fixed":
        # Their number follows the load, so it is what moves with speed.
        count, _ = _likely(
            found["replicas"],
            lambda low, high: export.between(low, high, lambda each: draw.counted(each, "replica")),
        )
        if count in (SAME, UNMEASURED):
            count = draw.counted(float(estimate.replicas), "replica")
        utilisation = replace(utilisation, below=count)
    basis = f"{controls.CHOICES[scenario.cost_basis]}."
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
            f"The device's own time for {draw.counted(float(estimate.running), 'request')}.",
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
            "The whole deployment, fully loaded: "
            f"{draw.counted(float(estimate.instances), 'instance')}.",
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
    draw.chart(
        charts.against_concurrency(found, result.estimate, draw.palette()),
        "concurrency",
        charts.describe_curves(found),
    )


def parts(result: Answer) -> None:
    """Where the money of one inference goes, and what fills one device."""
    estimate, inputs, scenario = result.estimate, result.inputs, result.scenario
    if estimate is None or inputs is None:
        return
    palette = draw.palette()
    figures = [charts.memory(estimate, float(inputs.memory_capacity), palette)]
    words = charts.describe_memory(estimate)
    if result.feasible:
        st.markdown("##### What it is made of")
        figures.insert(0, charts.cost_breakdown(estimate, scenario, palette))
        words = f"{charts.describe_breakdown(estimate, scenario)} {words}"
    draw.chart(charts.stack(figures), "parts", words)
    st.caption(memory_text(estimate))


def memory_text(estimate: Estimate) -> str:
    """What fills one device, in a line."""
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
    draw.download("Inputs as CSV", frame, "inputs.csv")


def _value(fact: explain.Fact) -> str:
    value = fact.value if isinstance(fact.value, str) else digits(float(fact.value), 4)
    return f"{value} {fact.unit}".strip()
