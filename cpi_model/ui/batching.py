"""Where on the throughput-latency curve to run, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from functools import lru_cache

import streamlit as st

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.export import digits, duration, money, percent, size
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import batching
from cpi_model.studies.answer import Answer
from cpi_model.studies.batching import Curve, Delays, LimitCost, Mode, Place, UnderLoad
from cpi_model.studies.replica import Figure, Spread
from cpi_model.ui import background, draw, state
from cpi_model.ui.background import Awaited, Task
from cpi_model.ui.whatif import answered, memory_text
from cpi_model.units import MILLION

KEPT = 256
"""Scenarios whose results are kept."""
AWAITED = "simulation"
"""Under which the session keeps what it waits for."""


@lru_cache(maxsize=KEPT)
def _curve(scenario: Scenario, today: date) -> Curve | None:
    with draw.turns():
        return batching.curve(answered(scenario, today))


@lru_cache(maxsize=KEPT)
def _limit_costs(scenario: Scenario, today: date) -> list[LimitCost]:
    with draw.turns():
        return batching.limit_costs(answered(scenario, today))


@lru_cache(maxsize=KEPT)
def _modes(scenario: Scenario, today: date) -> list[Mode]:
    with draw.turns():
        return batching.modes(answered(scenario, today), catalog())


@lru_cache(maxsize=KEPT)
def _most_within(scenario: Scenario, today: date) -> Place | None:
    with draw.turns():
        return batching.most_within(answered(scenario, today))


def _any_concurrency(scenario: Scenario) -> Scenario:
    """What all concurrencies of a scenario have in common, so that it is worked out once."""
    return scenario.model_copy(update={"concurrency": FIELDS["concurrency"].default})


def throughput_latency(result: Answer) -> None:
    """The curve with what is chosen, its knee, and the most that keeps the limits; the memory."""
    curve, estimate, inputs = (
        _curve(result.scenario, date.today()), result.estimate, result.inputs
    )  # fmt: skip
    if estimate is None or inputs is None:
        return
    figures = [charts.memory(estimate, float(inputs.memory_capacity), draw.palette())]
    words = charts.describe_memory(estimate)
    if curve is not None and curve.knee is not None:
        figures.insert(0, charts.throughput_latency(curve, draw.palette()))
        words = f"{charts.describe_curve(curve)} {words}"
    st.markdown(
        "##### Throughput and cost against latency",
        help="Each point of the curve is a number of requests that run together on one replica. "
        "More of them share one read of the weights: throughput rises and cost falls, and each "
        "request takes longer. Shaded: the likely range of throughput, P10 to P90 of measured "
        "runs.",
    )
    draw.chart(charts.stack(figures), "throughput_latency", words)
    used = sum(
        float(part)
        for part in (estimate.weight_memory, estimate.cache_memory, estimate.workspace_memory)
    )
    free = max(float(estimate.usable_memory) - used, 0.0)
    st.caption(f"{memory_text(estimate)} · free {size(free)}")


def places(result: Answer) -> None:
    """The named points of the curve, each with a button that chooses it."""
    curve = _curve(result.scenario, date.today())
    if curve is None or curve.knee is None:
        return
    st.markdown("##### Where to run")
    knee_help = (
        "The knee of the curve: throughput over latency is greatest there (Kleinrock's power, "
        "1979). Beyond it, each request more costs more latency than it brings throughput."
    )
    _place("Chosen", curve.chosen, result, "What the sidebar says.", "cannot work as it stands")
    _place("Knee", curve.knee, result, knee_help, "")
    for share in batching.ENOUGH:
        held = ""
        if share == batching.ENOUGH[0]:
            held = {
                "memory": " One more does not fit in memory.",
                "range": " That is the largest that can be asked for.",
            }.get(curve.held_by, f" One more breaks the limit on {curve.held_by}.")
        _place(
            f"p{share * 100:.0f} in limits, at most", curve.within[share], result,
            f"The most requests together of which {share:.0%} still meet every limit (SLO) of "
            f"the workload.{held}",
            f"not even one: fewer than {share:.0%} meet the limits at any number",
        )  # fmt: skip


def _place(name: str, place: Place | None, result: Answer, about: str, none: str) -> None:
    scenario = result.scenario
    with st.container(border=True, gap="xxsmall"):
        if place is None or not place.estimate.feasible:
            st.markdown(f"**{name}**: {none}", help=about)
            return
        e = place.estimate
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{name}: {place.concurrency:,}**", help=about, width="stretch")
            if place.concurrency != scenario.concurrency:
                st.button(
                    f"Use {place.concurrency:,}", key=f"use_{name}",
                    on_click=state.apply, args=({"concurrency": place.concurrency},),
                )  # fmt: skip
        st.caption(
            draw.escaped(
                f"{digits(float(e.throughput))} requests/s a replica · "
                f"p95 {duration(float(e.latency_p95))} · "
                f"{money(float(e.cost_per_inference) * MILLION, scenario)} per million"
            )
        )


# Percentiles --------------------------------------------------------------------------------------


Simulated = tuple[dict[str, UnderLoad], Delays | None]
"""Figures by load, and what other waits for a batch bring."""


def _simulated(scenario: Scenario, today: date) -> Simulated:
    """Both loads request by request, and what other waits for a batch would bring."""
    result = answered(scenario, today)
    rates = batching.rates(result)
    found = {name: batching.simulated(result, rate) for name, rate in rates.items()}
    waits = batching.waits_for_a_batch(result) and scenario.concurrency > 1
    return found, batching.delays(result, rates["peak"]) if waits else None


@lru_cache(maxsize=KEPT)
def _simulation(scenario: Scenario, today: date) -> Task[Simulated]:
    return Task(lambda tell: _simulated(scenario, today))


def under_load(result: Answer) -> Awaited | None:
    """Percentiles: by formula as a slider moves, and request by request a moment later.

    What is still to be simulated is handed to :func:`refine`, the last call of a page.
    """
    if not result.feasible:
        return None
    simulation = _simulation(result.scenario, date.today())
    first = AWAITED not in st.session_state
    background.instead(AWAITED, simulation)
    st.markdown(
        "##### What requests see under load",
        help="A replica with this concurrency as its most, under requests that arrive at random "
        "with the burstiness of the workload, with answers of unequal length: how long they wait "
        "and take. The figures above are of a replica that is always full, with answers of equal "
        "length.",
    )
    place = st.container()
    if simulation.done:
        with place:
            _by_simulation(simulation, result)
        return None
    at_once = {
        name: by_formula
        for name, rate in batching.rates(result).items()
        if (by_formula := batching.in_closed_form(result, rate)) is not None
    }
    # Without a formula what was simulated before stays in sight until the new is there.
    slot = place.empty() if at_once or first else None
    if slot is not None:
        with slot.container():
            _waiting(at_once, result)

    def show() -> None:
        with (slot or place).container():
            _by_simulation(simulation, result)

    return Awaited(simulation, show)


def _waiting(at_once: dict[str, UnderLoad], result: Answer) -> None:
    if not at_once:
        st.caption(":material/hourglass_top: Simulating: there is no formula for these arrivals.")
        return
    st.caption(
        ":material/hourglass_top: Closed form, from queueing formulas, until the simulation is "
        "done."
    )
    _percentiles(at_once, result)


def _by_simulation(simulation: Task[Simulated], result: Answer) -> None:
    found, waits = simulation.found
    st.caption(
        f":material/casino: Simulation: {_counted(found)} requests drawn at random and worked off "
        "one by one."
    )
    _percentiles(found, result)
    if waits is not None:
        _delays(waits, result)


def _counted(found: dict[str, UnderLoad]) -> str:
    return f"{max(each.served.requests for each in found.values()):,}"


ROWS: tuple[tuple[str, Callable[[UnderLoad], Spread]], ...] = (
    ("Wait for a place", lambda each: each.served.wait),
    ("Time to first token", lambda each: each.served.ttft),
    ("Time per token", lambda each: each.served.tpot),
    ("Latency", lambda each: each.served.latency),
)


def _percentiles(found: dict[str, UnderLoad], result: Answer) -> None:
    tokens = bool(result.parts[0][0].is_llm)
    peak, average = found["peak"], found["average"]
    lines = ["| at the peak | mean | p50 | p95 | p99 |", "|---|--:|--:|--:|--:|"]
    for name, spread in ROWS:
        if tokens or name in ("Wait for a place", "Latency"):
            at_peak = spread(peak)
            cells = [at_peak.mean, at_peak.p50, at_peak.p95, at_peak.p99]
            lines.append(f"| {name} | {' | '.join(_time(cell) for cell in cells)} |")
    st.markdown("\n".join(lines).replace(" ms", "\u00a0ms").replace(" s |", "\u00a0s |"))
    words = [
        f"Peak: {digits(peak.requests_per_s)} requests/s at a replica, "
        f"{percent(peak.served.load_share)} of the {digits(peak.served.capacity)} that it keeps "
        f"up with",
        f"on average {digits(average.requests_per_s)}, with a p95 latency of "
        f"{_time(average.served.latency.p95)}",
    ]
    if not math.isnan(within := peak.served.within_limits.value):
        words.append(f"{percent(within)} within the limits at the peak")
    if not peak.served.keeps_up:
        words.append("more arrive than it keeps up with: the queue grows without end")
    st.caption("; ".join(words) + ".")


def _time(figure: Figure) -> str:
    if math.isinf(figure.value):
        return "∞"
    return duration(figure.value) if not math.isnan(figure.value) else "–"


def _delays(found: Delays, result: Answer) -> None:
    st.markdown(
        "##### How long to wait for a batch",
        help="At the peak load. A longer wait fills larger batches, which use the device better; "
        "requests take longer. The cost is that of the device's working time alone: what could be "
        "saved by giving the rest of its time to other work. Each point is simulated.",
    )
    draw.chart(
        charts.delays(
            found, float(result.scenario.batch_wait_ms) / 1000.0, result.scenario, draw.palette()
        ),
        "delays", charts.describe_delays(found),
    )  # fmt: skip


# What the limits cost -----------------------------------------------------------------------------


def limit_costs(result: Answer) -> None:
    """What tighter limits cost, in a picture and a sentence for each."""
    found = _limit_costs(_any_concurrency(result.scenario), date.today())
    if not found:
        return
    scenario = result.scenario
    st.markdown(
        "##### What the limits cost",
        help="For each limit (SLO), the others as they are: the least cost over all "
        f"concurrencies at which {batching.ENOUGH[0]:.0%} of the requests meet every limit. Where "
        "a line ends, no concurrency is quick enough.",
    )
    if any(each.costs.size and not math.isnan(each.free_from) for each in found):
        draw.chart(
            charts.limit_costs(found, scenario, draw.palette()), "limit_costs",
            charts.describe_limit_costs(found, scenario),
        )  # fmt: skip
    for each in found:
        st.caption(draw.escaped(_sentence(each, scenario)))


def _sentence(each: LimitCost, scenario: Scenario) -> str:
    name = f"{each.words[:1].upper()}{each.words[1:]} within {duration(each.limit)}"
    if math.isnan(each.now):
        if math.isnan(each.free_from):
            return f"{name}: cannot be kept, whatever it were; another limit is in the way."
        return f"{name}: cannot be kept at any concurrency."
    if math.isnan(each.extra):
        return f"{name}: {duration(each.tighter)} tighter cannot be kept."
    if each.extra <= 0.0:
        return (
            f"{name}: {duration(each.tighter)} tighter costs nothing more; from "
            f"{duration(each.free_from)} on it is not what decides."
        )
    return (
        f"{name}: each {duration(each.tighter)} tighter costs "
        f"{money(each.extra * MILLION, scenario)} per million inferences "
        f"(+{percent(each.extra / each.now)})."
    )


# Ways of batching ---------------------------------------------------------------------------------


def modes(result: Answer) -> None:
    """All ways of batching side by side."""
    found = _modes(result.scenario, date.today())
    if not any(mode.result.feasible for mode in found):
        return
    import pandas as pd

    scenario = result.scenario
    tokens = any(math.isfinite(float(m.result.estimate.tpot)) for m in found if m.result.estimate)

    most = [_most_within(_any_concurrency(mode.result.scenario), date.today()) for mode in found]

    def text(mode: Mode, figure: str, write: Callable[[float], str], scale: float = 1.0) -> str:
        estimate = mode.result.estimate
        if estimate is None or not mode.result.feasible:
            return "–"
        return write(float(getattr(estimate, figure)) * scale)

    def amount(usd: float) -> str:
        return money(usd, scenario)

    columns: dict[str, list[str]] = {
        "Way": [mode.name + (" (chosen)" if mode.chosen else "") for mode in found],
        "Cost per million": [text(m, "cost_per_inference", amount, MILLION) for m in found],
        "Most within limits": [f"{place.concurrency:,}" if place else "none" for place in most],
        "Cost there": [
            amount(float(place.estimate.cost_per_inference) * MILLION) if place else "–"
            for place in most
        ],
        "Requests/s": [text(m, "throughput", digits) for m in found],
    }
    if tokens:
        columns |= {
            "First token": [text(m, "ttft", duration) for m in found],
            "Per token": [text(m, "tpot", duration) for m in found],
            "Longest pause": [text(m, "longest_gap", duration) for m in found],
            "Prefill": [text(m, "prefill_replicas", digits) for m in found],
        }
    columns["Latency, p95"] = [text(m, "latency_p95", duration) for m in found]
    st.markdown(
        "##### Ways of batching side by side",
        help="Everything else the same, at the chosen concurrency and at the most that keeps the "
        "limits for 95 % of the requests. " + FIELDS["batching"].help,
    )
    st.dataframe(
        pd.DataFrame(columns), hide_index=True, key="modes", alt="Ways of batching side by side"
    )
    if tokens:
        st.caption(
            "Longest pause: between two tokens of an answer, while the prompt of another, or a "
            "chunk of it, is read. Prefill: replicas that only read prompts, on top of the others "
            "and part of the cost."
        )
