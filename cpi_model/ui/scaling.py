"""What traffic does to the bill: replicas that follow it, by every policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import streamlit as st

from cpi_model import charts, export
from cpi_model.catalog import catalog
from cpi_model.export import digits, duration, large, money, percent
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.schema import Traffic
from cpi_model.studies import options, recordings, scaling, traces, traffic
from cpi_model.studies.answer import Answer
from cpi_model.studies.recordings import Recording
from cpi_model.studies.scaling import Difference, GrowingCost, Simulated
from cpi_model.studies.traces import Trace
from cpi_model.studies.traffic import TITLES, Demand, Fleet, NotSimulated, Run, ToZero
from cpi_model.ui import background, controls, draw, state
from cpi_model.ui.background import Awaited, Task, Tell
from cpi_model.ui.whatif import answered
from cpi_model.units import DAY, HOUR, MB, MILLION, MINUTE

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
KEPT = 64
AWAITED = "traffic_tasks"
"""Under which the session keeps what it waits for."""
OWN, EXACT = "own_traffic", "exact_traffic"
"""Of the session: the file of the reader, and what is followed request by request."""
IN_SIGHT = ("daily_swing", "minute_cv", "weekend_to_weekday", "spikes_per_week")
"""Figures of the shape that stand on the page; the others are one click away."""
SETTINGS = {
    "Shape of the traffic": (
        "peak_hour", "burst_minutes", "spike_height", "spike_minutes", "traffic_seed",
    ),
    "Autoscaler": (
        "min_replicas", "max_replicas", "stabilisation_s", "policy_tolerance", "cooldown_s",
        "scale_out_cooldown_s", "forecast_headroom_share", "schedule_hours",
    ),
    "Cold start": (
        "node_start_s", "image_gb", "image_gb_per_s", "weights_gb_per_s", "engine_start_s",
    ),
    "Serverless": ("serverless_cold_s", "serverless_idle_s", "serverless_minimum_s"),
    "Queue": ("queue_limit", "queue_timeout_s"),
}  # fmt: skip
COLUMNS = 3
GROWTH = ("monthly_growth_low", "monthly_growth", "monthly_growth_high")
SHAPES = {
    "even": "Even", "days and weekends": "Days, weeks", "bursts": "With bursts",
}  # fmt: skip
LONG = 2 * DAY


@dataclass(frozen=True)
class Found:
    """Everything that the sections of the page show."""

    result: Answer
    trace: Trace
    fleet: Fleet
    requests: Demand
    simulated: Simulated

    @property
    def scenario(self) -> Scenario:
        return self.result.scenario

    @property
    def run(self) -> Run:
        return self.simulated.run

    @property
    def key(self) -> tuple[Scenario, Trace, date]:
        """What every figure depends on."""
        return state.undisplayed(self.scenario), self.trace, date.today()


@lru_cache(maxsize=KEPT)
def _trace(scenario: Scenario) -> Trace:
    return traces.of(scenario, catalog())


@lru_cache(maxsize=4)  # a month in ticks of Knative is tens of megabytes
def _requests(scenario: Scenario, trace: Trace) -> Demand:
    return scaling.demand(scenario, trace)


@lru_cache(maxsize=KEPT)
def _fleet(scenario: Scenario, today: date) -> Fleet:
    return traffic.fleet(answered(scenario, today), catalog())


@lru_cache(maxsize=KEPT)
def _simulated(scenario: Scenario, trace: Trace, today: date) -> Simulated:
    requests = _requests(scaling.of_traffic(scenario), trace)
    with draw.turns():
        return scaling.simulated(_fleet(scenario, today), requests)


@st.cache_resource(show_spinner="Preparing the simulation")
def _prepared() -> bool:
    """Compile the loops, once for each machine."""
    plain = Scenario()
    requests = traffic.demand(plain, catalog(), 0.01)
    traffic.simulate(_fleet(plain, date.today()), requests)
    return True


def under_traffic(result: Answer) -> Found | None:
    """The scenario under its traffic; why not, where it cannot be simulated."""
    if not result.feasible:
        return None
    scenario = state.undisplayed(result.scenario)
    own = _own()
    try:
        _prepared()
        trace = own if own is not None else _trace(scaling.of_trace(scenario))
        fleet = _fleet(scenario, date.today())
        found = _simulated(scenario, trace, date.today())
        requests = _requests(scaling.of_traffic(scenario), trace)
    except NotSimulated as problem:
        with st.container(border=True):
            st.markdown(":material/block: **This traffic is not simulated**")
            st.text(str(problem))
        return None
    return Found(result, trace, fleet, requests, found)


# Traffic and policy -------------------------------------------------------------------------------


def traffic_and_policy(scenario: Scenario) -> None:
    """What arrives, and what moves the replicas."""
    left, right = st.columns(2, gap="large")
    own = _own()
    with left:
        st.markdown("##### Traffic", help="The shape; its mean is that of the sidebar.")
        if own is None:
            _recorded(scenario)
        else:
            st.text(f"{own.name}: {_character(own)}")
            st.caption(
                ":material/link_off: From your file, which stays in this session. The link does "
                "not hold it: whoever opens it sees the traffic that is chosen without the file."
            )
        _sources(catalog().traffic.get(scenario.traffic) if own is None else None)
    with right:
        st.markdown(
            "##### Autoscaler",
            help="What adds and removes replicas as the traffic rises and falls. All of them are "
            "compared below.",
        )
        _control("policy", scenario)
        for name in ("policy_target", "serverless_usd_per_hour"):
            _control(name, scenario)
    section = st.expander(
        "More about traffic, autoscaler and cold start", key="scaling_settings",
        on_change="rerun", icon=":material/tune:",
    )  # fmt: skip
    if section.open:
        with section:
            _settings(scenario, own is not None)


def _recorded(scenario: Scenario) -> None:
    with st.container(horizontal=True, gap="small"):
        for name, id in traces.PRESETS.items():
            st.button(
                name.capitalize(), key=f"traffic_{name}", help=catalog().trace(id).character,
                type="primary" if scenario.traffic == id else "secondary",
                on_click=state.apply, args=({"traffic": id},),
            )  # fmt: skip
    _control("traffic", scenario)
    known = catalog().traffic.get(scenario.traffic)
    if known is not None:
        trace = traces.recorded(known)
        st.caption(f"{known.character}; {_character(trace)}")
    elif scenario.traffic == traces.SHAPE:
        for first in range(0, len(IN_SIGHT), 2):
            for column, name in zip(st.columns(2), IN_SIGHT[first : first + 2], strict=True):
                with column:
                    _control(name, scenario)


def _character(trace: Trace) -> str:
    """Length of a trace and how peaked it is."""
    found = traces.statistics(trace)
    long = trace.length
    length = (
        f"{digits(long / DAY)} days" if long >= LONG
        else f"{digits(long / HOUR)} hours" if long >= 2 * HOUR
        else f"{digits(long / MINUTE)} minutes"
    )  # fmt: skip
    repeated = ", repeated to a week" if long < DAY * 7.0 else ""
    step = duration(trace.step) if trace.step < MINUTE else f"{digits(trace.step / MINUTE)} min"
    return (
        f"{length}{repeated}; the busiest {step} has {digits(found.peak_to_mean)} times the mean."
    )


def _control(name: str, scenario: Scenario) -> None:
    if options.moves_traffic(name, scenario):
        controls.control(FIELDS[name], scenario, "s")


def _settings(scenario: Scenario, own: bool) -> None:
    for title, names in SETTINGS.items():
        shown = [
            name for name in names
            if options.moves_traffic(name, scenario)
            and not (own and name in options.OF_THE_SHAPE - {"traffic_seed"})
        ]  # fmt: skip
        if not shown:
            continue
        st.caption(title)
        for start in range(0, len(shown), COLUMNS):
            row = st.columns(COLUMNS, gap="medium")
            for name, column in zip(shown[start : start + COLUMNS], row, strict=False):
                with column:
                    controls.control(FIELDS[name], scenario, "s")


def _own() -> Trace | None:
    recording: Recording | None = st.session_state.get(OWN)
    return None if recording is None else recording.trace


def _sources(known: Traffic | None) -> None:
    """Where recorded traffic is from, and a file of the reader: a bad one changes nothing."""
    session = st.session_state
    number = session.get("own_traffic_number", 0)
    with st.container(horizontal=True, vertical_alignment="center"):
        if known is not None:
            with st.popover("Source", icon=":material/menu_book:"):
                st.text(f"{known.attribution}. {known.changes} Licence: {known.licence}.")
        box = st.popover(
            "Your own traffic", icon=":material/upload_file:", key="own_traffic_box",
            on_change="rerun",
        )  # fmt: skip
        if _own() is not None:
            st.button(
                "Remove the file", icon=":material/delete:", type="tertiary", on_click=_keep,
                args=(None, ()),
            )  # fmt: skip
    if box.open:
        with box:
            st.caption(
                "A CSV of times and counts, or of the time of each request. It stays in this "
                "session and is not stored."
            )
            key = f"own_traffic_file_{number}"
            st.file_uploader(
                "File", type=["csv", "txt"], key=key, on_change=_take_file, args=(key,),
                max_upload_size=recordings.LARGEST_FILE // int(MB), label_visibility="collapsed",
            )  # fmt: skip
            draw.download("Example of a file", example_file(), "traffic.csv")
    if problems := session.get("own_traffic_problems"):
        draw.sentences("Not read; the traffic is what it was before.", list(problems))
    recording: Recording | None = session.get(OWN)
    for note in recording.notes if recording else ():
        st.text(note)


def _take_file(key: str) -> None:
    file = st.session_state[key]
    if file is None:
        return
    recording = recordings.read(file.name, file.read(recordings.LARGEST_FILE + 1))
    if recording.trace is None:
        _keep(st.session_state.get(OWN), recording.problems)
    else:
        _keep(recording, ())


def _keep(recording: Recording | None, problems: Sequence[str]) -> None:
    session = st.session_state
    session[OWN], session["own_traffic_problems"] = recording, tuple(problems)
    # A new key empties the box.
    session["own_traffic_number"] = session.get("own_traffic_number", 0) + 1


@lru_cache(maxsize=1)
def example_file() -> pd.DataFrame:
    """A week of hourly counts in the columns that are read."""
    import pandas as pd

    rates = traces.shape(Scenario()).trace().rates(HOUR, mean=1.0)
    times = pd.date_range("2026-01-05", periods=len(rates), freq="h")
    return pd.DataFrame({
        "time": times.strftime("%Y-%m-%d %H:%M"), "requests": (rates * HOUR).round().astype(int),
    })  # fmt: skip


# Headline -----------------------------------------------------------------------------------------


def traffic_headline(found: Found) -> None:
    """The figures of the simulation in one strip."""
    run, scenario, likely = found.run, found.scenario, found.simulated.likely

    def amount(usd: float) -> str:
        return money(usd, scenario)

    def below(name: str, text: Callable[[float], str]) -> str:
        if name not in likely:
            return "spread not measured"
        low, high = likely[name]
        if high <= low * 1.001:
            return "same at any speed"
        if text is amount:
            return export.money_between(low, high, scenario)
        return export.between(low, high, text)

    weeks = f"in {digits(run.seconds / DAY)} days"
    cells = (
        (
            "Cost per inference", money(run.cost_per_inference, scenario),
            below("cost_per_inference", amount),
            "Of one successful inference under this traffic, everything included that is paid "
            "for: idle replicas, cold starts, drops. Below: likely range, P10 to P90 of the "
            "speed of measured runs.",
        ),
        (
            "Cost a month", money(run.monthly, scenario), below("monthly", amount),
            "The whole deployment at this rate of traffic.",
        ),
        (
            "Replica-hours", large(run.billed_hours), weeks,
            f"Paid for, from the start of the machine to the last answer: "
            f"{digits(run.billed_hours * HOUR / run.seconds)} replicas on average; "
            f"{digits(run.needed_hours * HOUR / run.seconds)} are needed.",
        ),
        (
            "Utilisation", percent(run.utilisation), below("utilisation", percent),
            "Work done over what the replicas that were ready could do.",
        ),
        (
            "Latency, p95", duration(run.latency.p95), below("p95", duration),
            "95 of 100 requests are answered in full within this time. A planning figure: see How "
            "sure, below.",
        ),
        (
            "Beyond the limits", _beyond(run.missed), below("missed", percent),
            "Requests that break a limit of the workload (SLO), or are dropped. Allowed: "
            f"{percent(1.0 - scenario.slo_share)}.",
        ),
        (
            "Dropped", _beyond(run.dropped), below("dropped", percent),
            "Refused because the queue is full, or given up after the longest wait.",
        ),
        (
            "Cold starts", large(run.cold_starts), weeks,
            "Replicas that were started"
            + (
                f"; each takes {duration(found.fleet.node_cold)} on a new machine, "
                f"{duration(found.fleet.cold)} where a machine has a place left."
                if run.policy != "serverless"
                else ", by requests that find none."
            ),
        ),
    )  # fmt: skip
    with st.grid(4, min_column_width=172, gap=10):
        for label, value, under, about in cells:
            st.metric(
                label, value, under, help=draw.escaped(about), border=True, delta_color="off",
                delta_arrow="off",
            )  # fmt: skip


def _beyond(share: float) -> str:
    """A share of requests; what is as good as none has no digits."""
    least = traffic.NEGLIGIBLE
    return f"under {percent(least)}" if 0.0 < share < least else percent(share)


def unlike_estimate(found: Found) -> None:
    """Why the bill is not what the What-if page says, where they are far apart."""
    apart = scaling.difference(found.result, found.run, found.trace)
    if apart is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            draw.escaped(_difference_text(apart, found.scenario)), width="stretch",
            help="The What-if page knows a mean, a peak and a rule; the simulation follows the "
            "replicas over time.",
        )  # fmt: skip
        implied = traces.implied(found.trace)
        if any(getattr(found.scenario, name) != value for name, value in implied.items()):
            st.button(
                "Give the estimate this peak", key="use_peak", icon=":material/input:",
                help=f"Peak {digits(implied['peak_to_mean'])} and quiet hour "
                f"{digits(implied['quiet_to_mean'])} times the mean, as in this traffic.",
                on_click=state.apply, args=(implied,),
            )  # fmt: skip


def _difference_text(apart: Difference, scenario: Scenario) -> str:
    ratio = apart.simulated / apart.estimated
    much = percent(abs(ratio - 1.0)) if ratio < 3 else f"{digits(ratio)} times as much"
    word = ("more" if ratio > 1 else "less") if ratio < 3 else ""
    reasons = [
        f"it pays for {draw.counted(apart.replicas_estimated, 'replica')}, the simulation for "
        f"{digits(apart.replicas_simulated)} on average"
    ]
    if apart.peak_explains:
        reasons.append(
            f"it assumes a peak of {digits(apart.peak_assumed)} times the mean, and this traffic "
            f"has one of {digits(apart.peak_of_traffic)}"
        )
    if scenario.policy == "serverless":
        reasons.append("serverless has a price of its own")
    elif not apart.dearer and scenario.policy != "none" and scenario.scaling == "peak":
        reasons.append("it keeps the replicas of the peak all the time, an autoscaler does not")
    for share, what in (
        (apart.over * apart.dearer, "of the hours are beyond what is needed"),
        (apart.starting * apart.dearer, "of the hours are starts"),
        (apart.dropped, "of the requests are dropped"),
    ):
        if share > scaling.FEW:
            reasons.append(f"{percent(share)} {what}")
    return (
        f":material/compare_arrows: **{much} {word}".rstrip()
        + f" than the estimate** of the What-if page ({money(apart.estimated, scenario)} a month): "
        f"{'; '.join(reasons)}."
    )


# Over time ----------------------------------------------------------------------------------------


def replicas_over_time(found: Found) -> None:
    """Demand, replicas and queue; a day at a time where asked."""
    st.markdown(
        "##### Demand and replicas over time",
        help="Drag across a part to see it larger, double-click to see all. Needed: replicas that "
        "keep enough requests within the limits at that moment. Ready: replicas that answer. Paid "
        "for: those that start or finish, too. Shaded: from the least to the most.",
    )
    series = found.run.series
    if series is None:
        st.caption("Serverless has no replicas of yours to show: it is billed by the request.")
        return
    days = round(found.run.seconds / DAY)
    names = ["All", *(_day(found.trace, day) for day in range(days))]
    if st.session_state.get("shown_day") not in names:
        st.session_state["shown_day"] = names[0]
    picked: str | None
    if days > DAYS_AS_BUTTONS:
        picked = st.selectbox("Shown", names, key="shown_day", label_visibility="collapsed")
    else:
        picked = st.segmented_control(
            "Shown", names, key="shown_day", label_visibility="collapsed", required=True
        )
    day = None if picked in (None, names[0]) else names.index(picked) - 1
    window = scaling.day_of(series, day)
    draw.chart(
        charts.over_time(window, found.trace, draw.palette()), "over_time",
        charts.describe_over_time(window),
    )  # fmt: skip


DAYS_AS_BUTTONS = 7


def _day(trace: Trace, day: int) -> str:
    """A day of the series, by weekday where that is known and there are few."""
    known = trace.start_weekday is not None and trace.length >= DAY
    if not known or trace.length > DAYS_AS_BUTTONS * DAY:
        return f"Day {day + 1}"
    assert trace.start_weekday is not None
    return charts.WEEKDAYS[(trace.start_weekday + day) % 7]


def paid_for(found: Found) -> None:
    """What the cost is made of, and how much of it is for nothing."""
    st.markdown(
        "##### What is paid for nothing",
        help="Cost by the hours of replicas. Work: of full replicas that do the same. Idle, "
        "needed: room that the limits ask for. Idle, too many: more replicas than needed. "
        "Not replicas: storage, network and people.",
    )
    run, rows = found.run, {"This": found.run}
    if not math.isfinite(run.cost_per_inference):
        st.caption("Nothing is served, so there is no cost of an inference.")
        return
    draw.chart(
        charts.paid_for(rows, found.scenario, draw.palette()), "paid_for",
        charts.describe_paid_for(rows, found.scenario),
    )  # fmt: skip
    wasted = run.idle + run.parts["cold_starts"] + run.parts["drops"]
    st.caption(draw.escaped(
        f"{percent(wasted / run.cost_per_inference)} of the cost is for replicas that wait or "
        f"start, and for requests that are dropped: {money(wasted * MILLION, found.scenario)} per "
        "million."
    ))  # fmt: skip


# What takes longer --------------------------------------------------------------------------------


@lru_cache(maxsize=KEPT)
def _search_task(scenario: Scenario, trace: Trace, today: date) -> Task[tuple[Run, ...]]:
    """Every policy: the one that is chosen does not matter."""

    def work(tell: Tell) -> tuple[Run, ...]:
        requests = _requests(scaling.of_traffic(scenario), trace)
        return scaling.searched(_fleet(scenario, today), requests, tell)

    return Task(work)


@lru_cache(maxsize=KEPT)
def _shapes(scenario: Scenario, today: date) -> Mapping[str, Run]:
    return scaling.shapes(_fleet(scenario, today))


@lru_cache(maxsize=KEPT)
def _more_task(
    scenario: Scenario, trace: Trace, today: date
) -> Task[tuple[Mapping[str, Run], GrowingCost]]:
    def work(tell: Tell) -> tuple[Mapping[str, Run], GrowingCost]:
        tell(0.0)
        requests = _requests(scaling.of_traffic(scenario), trace)
        return _shapes(scenario, today), scaling.growing(_fleet(scenario, today), requests, tell)

    return Task(work)


@lru_cache(maxsize=KEPT)
def _exact_task(scenario: Scenario, trace: Trace, today: date) -> Task[Run]:
    def work(tell: Tell) -> Run:
        requests = _requests(scaling.of_traffic(scenario), trace)
        return traffic.simulate(_fleet(scenario, today), requests, exact=True, progress=tell)

    return Task(work)


def policies(found: Found) -> Awaited | None:
    """The cheapest policy in a sentence, and all of them in a picture."""
    scenario, trace, today = found.key
    task = _search_task(scaling.any_policy(scenario), trace, today)
    st.markdown(
        "##### Every policy: click a point to use it",
        help="Each autoscaler at targets from 30 to 95 %, a fixed number and serverless where it "
        "has a price. Diamonds: no other is cheaper and keeps more requests within the limits. "
        "The ring is what is chosen. A schedule is made of this very traffic, so it is better here "
        "than in a week that is not like the last.",
    )
    return _when_done(task, "policies", lambda: _policies(found, task.found))


def _policies(found: Found, runs: tuple[Run, ...]) -> None:
    scenario = found.scenario
    _cheapest(found, traffic.cheapest(runs, scenario.slo_share))
    best = traffic.pareto(runs)
    chosen = traffic.policy_of(scenario), scenario.policy_target
    draw.chart(
        charts.policies(runs, best, chosen, scenario, draw.palette()), "policies",
        charts.describe_policies(runs, best, scenario), on_select=lambda: _take_point(runs),
    )  # fmt: skip
    if not any(run.policy == "serverless" for run in runs):
        st.caption(
            "Serverless is not among them: no price of this hardware is known. Enter one under "
            "the autoscaler Serverless."
        )


def _cheapest(found: Found, best: Run | None) -> None:
    scenario, now = found.scenario, found.run
    allowed = percent(1.0 - scenario.slo_share)
    if best is None:
        st.markdown(
            f":material/block: **None keeps all but {allowed} of the requests within the limits.** "
            "Loosen a limit, allow more replicas, or start them faster."
        )
        return
    at = "" if best.policy == "serverless" else f" at {percent(best.target)}"
    text = (
        f"**The cheapest within the limits: {TITLES[best.policy]}{at}**, "
        f"{money(best.cost_per_inference * MILLION, scenario)} per million with "
        f"{_beyond(best.missed)} beyond the limits."
    )
    saved = 1.0 - best.cost_per_inference / now.cost_per_inference
    if math.isfinite(saved) and abs(saved) > scaling.FEW:
        kept = now.missed <= 1.0 - scenario.slo_share
        text += f" That is {percent(abs(saved))} {'less' if saved > 0 else 'more'} than now"
        text += "." if kept else f", where {_beyond(now.missed)} are beyond."
    changes = scaling.changes(best, scenario)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(draw.escaped(text), width="stretch")
        if any(getattr(scenario, name) != value for name, value in changes.items()):
            st.button(
                "Use the cheapest", key="use_policy", type="primary", icon=":material/input:",
                on_click=state.apply, args=(changes,),
            )  # fmt: skip


def _take_point(runs: tuple[Run, ...]) -> None:
    points = st.session_state["policies"]["selection"]["points"]
    if points:
        picked = points[0].get("customdata")
        place = picked[0] if isinstance(picked, list) else picked
        if isinstance(place, int) and 0 <= place < len(runs):
            state.apply(scaling.changes(runs[place], state.current()))


def bursts_and_growth(found: Found) -> Awaited | None:
    """The same mean in three shapes, and the cost of a month as traffic grows."""
    task = _more_task(*found.key)
    return _when_done(task, "more", lambda: _bursts_and_growth(found, *task.found))


def _bursts_and_growth(found: Found, shapes: Mapping[str, Run], growing: GrowingCost) -> None:
    scenario = found.scenario
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(
            "##### What bursts do",
            help="The same mean traffic under the same policy three ways: even, with the days and "
            "weekends of the shape, and with minutes that come in bursts as well.",
        )
        rows = {SHAPES[name]: run for name, run in shapes.items()}
        draw.chart(
            charts.paid_for(rows, scenario, draw.palette()), "shapes",
            charts.describe_paid_for(rows, scenario),
        )  # fmt: skip
        lines = ["| | replica-hours | p95 | beyond limits |", "|---|--:|--:|--:|"]
        for name, run in rows.items():
            lines.append(
                f"| {name} | {large(run.billed_hours)} | {duration(run.latency.p95)} | "
                f"{_beyond(run.missed)} |"
            )
        st.markdown("\n".join(lines).replace(" s |", "\u00a0s |").replace(" % |", "\u00a0% |"))
    with right:
        st.markdown(
            "##### What growth costs",
            help="The month's cost as the mean grows by the expected share a month, and by the "
            "least and the most that are thought possible. The policy stays as it is.",
        )
        draw.chart(
            charts.growing_cost(growing, scenario, draw.palette()), "growing",
            charts.describe_growing(growing, scenario),
        )  # fmt: skip
        dropped = (
            f" {percent(growing.dropped)} of the requests are then dropped."
            if growing.dropped > scaling.FEW else ""
        )  # fmt: skip
        grows = any(getattr(scenario, name) != 0.0 for name in GROWTH)
        st.caption(
            draw.escaped(charts.describe_growing(growing, scenario) + dropped)
            if grows
            else "No growth is expected so far: say how much."
        )
        for name, column in zip(GROWTH, st.columns(len(GROWTH)), strict=True):
            with column:
                controls.control(FIELDS[name], scenario, "s")


def _when_done(task: Task[T], name: str, show: Callable[[], None]) -> Awaited | None:
    """Draw what is known; else what was there before stays in sight until it is."""
    place = st.container()
    if task.done:
        with place:
            show()
        return None
    first = not st.session_state.get(f"{name}_seen", False)
    slot = place.empty() if first else None
    if slot is not None:
        with slot.container():
            st.caption(":material/hourglass_top: Simulating all policies")

    def drawn() -> None:
        st.session_state[f"{name}_seen"] = True
        with (slot or place).container():
            show()

    return Awaited(task, drawn)


# How sure -----------------------------------------------------------------------------------------


def how_sure(found: Found) -> Awaited | None:
    """Planning figures beside those of every request, which are worked out when asked for."""
    st.markdown(
        "##### How sure",
        help="Planning figures follow mean requests at the pace of the autoscaler and know no wait "
        "that is shorter than its tick. Request by request, each is drawn at random, waits, and "
        "is answered: percentiles to judge limits by.",
    )
    if found.run.policy == "serverless":
        st.caption("Serverless is worked out by formula: there is nothing to follow.")
        return None
    task, wanted = _exact_task(*found.key), st.session_state.get(EXACT) == found.key
    if task.done:
        _beside(found, task)
        return None
    place = st.empty()
    if not wanted:
        with place.container():
            st.caption("Everything above are planning figures, from mean requests.")
            st.button(
                f"Follow all {large(found.run.arrived)} requests", key="exact",
                icon=":material/casino:", on_click=_want, args=(found.key,),
            )  # fmt: skip
        return None
    with place.container():
        bar = st.progress(0.0, text="Following every request")
        st.button("Stop", key="stop_exact", on_click=_want, args=(None,))

    def show() -> None:
        with place.container():
            _beside(found, task)

    return Awaited(task, show, bar)


def _want(key: object) -> None:
    st.session_state[EXACT] = key


def _beside(found: Found, task: Task[Run]) -> None:
    try:
        exact = task.found
    except NotSimulated as problem:
        st.text(str(problem))
        return
    plan, scenario = found.run, found.scenario
    rows: tuple[tuple[str, Callable[[Run], str]], ...] = (
        ("Latency, p50", lambda run: duration(run.latency.p50)),
        ("Latency, p95", lambda run: duration(run.latency.p95)),
        ("Latency, p99", lambda run: duration(run.latency.p99)),
        ("First token, p95", lambda run: duration(run.ttft.p95)),
        ("Beyond the limits", lambda run: _beyond(run.missed)),
        ("Waited over a second", lambda run: _beyond(run.waited)),
        ("Dropped", lambda run: _beyond(run.dropped)),
        ("Replica-hours", lambda run: large(run.billed_hours)),
        ("Cost per million", lambda run: money(run.cost_per_inference * MILLION, scenario)),
    )
    lines = ["| | planning | request by request |", "|---|--:|--:|"]
    lines += [f"| {name} | {text(plan)} | {text(exact)} |" for name, text in rows]
    st.markdown(draw.escaped("\n".join(lines)))
    kept = exact.missed <= 1.0 - scenario.slo_share
    st.caption(
        f"{large(exact.arrived)} requests drawn at random and worked off one by one. "
        + ("The limits are kept" if kept else "The limits are not kept")
        + f": {_beyond(exact.missed)} beyond, {percent(1.0 - scenario.slo_share)} allowed."
    )


# Zero ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=KEPT)
def _to_zero(scenario: Scenario, trace: Trace, today: date) -> ToZero:
    requests = _requests(scaling.of_traffic(scenario), trace)
    with draw.turns():
        return scaling.to_zero(_fleet(scenario, today), requests)


def zero_or_on(found: Found) -> None:
    """From which traffic on going to zero saves nothing."""
    section = st.expander(
        "Scale to zero, or keep one replica on?", key="zero", on_change="rerun",
        icon=":material/power_settings_new:",
    )  # fmt: skip
    if not section.open:
        return
    with section:
        with st.spinner("Simulating other rates", show_time=True):
            zero = _to_zero(*found.key)
        draw.chart(
            charts.zero_against_on(zero, found.scenario, draw.palette()), "zero_chart",
            charts.describe_zero(zero),
        )  # fmt: skip
        way = TITLES["kpa" if found.scenario.policy == "kpa" else "keda"]
        cold, longest = found.fleet.node_cold, found.scenario.queue_timeout_s
        st.caption(
            f"{charts.describe_zero(zero)} By {way}. A request that finds no replica waits for a "
            f"cold start of {duration(cold)}: going to zero, {_beyond(float(zero.missed[0]))} are "
            "beyond the limits at the lowest rate."
        )
        if longest < cold:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(
                    f"**Requests wait for {duration(longest)} at most, so those that find no "
                    "replica are given up** before one has started.",
                    width="stretch",
                )
                st.button(
                    f"Let them wait for {duration(_patience(cold))}", key="wait_for_start",
                    on_click=state.apply, args=({"queue_timeout_s": _patience(cold)},),
                )  # fmt: skip


def _patience(cold: float) -> float:
    """A wait in whole minutes that outlasts a cold start. [s]"""
    return min((math.ceil(cold / MINUTE) + 1.0) * MINUTE, FIELDS["queue_timeout_s"].maximum or cold)


def leave_others(found: Found | None) -> None:
    """Give up what was asked for another scenario."""
    if found is None:
        background.instead(AWAITED)
        return
    scenario, trace, today = found.key
    background.instead(
        AWAITED, _search_task(scaling.any_policy(scenario), trace, today), _more_task(*found.key),
        *([_exact_task(*found.key)] if st.session_state.get(EXACT) == found.key else []),
    )  # fmt: skip
