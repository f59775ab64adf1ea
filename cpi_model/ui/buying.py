"""How to pay for it: every way against volume, what to commit, and three years of cash."""

from __future__ import annotations

import math
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

import streamlit as st

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.export import digits, large, money, money_between, percent
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import bands, buying
from cpi_model.studies.answer import Answer
from cpi_model.studies.buying import TITLES, Buying, Mix, Way
from cpi_model.ui import controls, draw, state
from cpi_model.units import HOUR, MILLION, MONTH, WATT_HOUR

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = {
    "Traffic and commitments": (
        "peak_to_mean", "quiet_to_mean", "scaling_lag_share", "unused_commitment_share",
        "discount_share", "device_price_usd_per_hour",
    ),
    "Spot": (
        "spot_overhead_share", "spot_interruptions_per_month", "spot_restart_minutes",
        "spot_lost_minutes", "spot_fallback_share", "spot_limit_share",
    ),
    "Owned": (
        "device_purchase_usd", "server_price_share", "owned_years", "resale_share",
        "server_power_share", "electricity_usd_per_kwh", "pue", "space_usd_per_kw_month",
        "staff_usd_per_device_year", "failures_per_year",
    ),
    "Serverless": (
        "serverless_usd_per_hour", "serverless_cold_s", "serverless_idle_s",
        "serverless_minimum_s",
    ),
    "Hosted API": ("api_input_usd_per_mtok", "api_output_usd_per_mtok", "api_batch_share"),
    "Edge": ("edge_devices", "edge_cloud_share", "edge_update_gb_per_month"),
}  # fmt: skip
"""Fields that the ways rest on, by the way."""
COLUMNS = 3
LEAST_SHARE = 0.001
"""Smaller shares are not told apart."""


@lru_cache(maxsize=256)
def _compared(scenario: Scenario, today: date) -> Buying:
    with draw.turns():
        return buying.compare(scenario, catalog())


def _found(result: Answer) -> Buying:
    """All ways, worked out once for what is not only a matter of display."""
    return _compared(state.undisplayed(result.scenario), date.today())


def _aged(way: Way) -> str:
    """How old the oldest price is that a way rests on, where that should be said."""
    ages = [line for line in way.assumes if line.age and "rice" in line.what and line.as_of]
    oldest = min(ages, key=lambda line: line.as_of or date.max, default=None)
    return "" if oldest is None else f"price {oldest.age}"


def ways_in_short(result: Answer) -> None:
    """The cheapest way and those that people ask for first, in one strip."""
    if not result.feasible:
        return
    found, scenario = _found(result), result.scenario
    best = found.best
    cells: dict[str, tuple[str, str]] = {}
    if best is not None:
        cells[best.id] = (f"Cheapest: {best.title}", BEST)
    chosen = found.way(scenario.purchase)
    cells.setdefault(chosen.id, (f"As chosen: {chosen.title}", "The scenario's own option."))
    cells.setdefault("mix", (TITLES["mix"], MIX))
    cells.setdefault("owned", (TITLES["owned"], "Bought for the peak; all costs of a month."))
    cells.setdefault("api", (TITLES["api"], API))
    with st.container(horizontal=True, gap="small"):
        for id, (label, help_text) in cells.items():
            way = found.way(id)
            below = [part for part in (_likely(result, way), _aged(way)) if part]
            st.metric(
                f"{label}, a month", money(way.monthly, scenario),
                delta=(" · ".join(below) or way.note) if way.known else way.reason,
                delta_color="off", delta_arrow="off", help=help_text, border=True,
            )  # fmt: skip


def _likely(result: Answer, way: Way) -> str:
    """The likely range of the way that is chosen; the others rest on the same speed."""
    band = bands.of(result)["cost_rate"] if way.id == result.scenario.purchase else None
    if band is None:
        return ""
    return money_between(band.low * MONTH, band.high * MONTH, result.scenario)


BEST = (
    "The least fully loaded cost at this volume, of ways that meet the limits about as often as "
    "the scenario's own hardware. The speed of a hosted model is not known."
)
MIX = (
    "A committed base for the hours that are always busy, the rest by the hour; replicas follow "
    "the traffic."
)
API = (
    "By the token, with the logs, egress and people that stay with you. Compared with everything "
    "that running it yourself costs, idle time included."
)


def ways_against_volume(result: Answer) -> None:
    """Monthly cost of every way against volume."""
    found, scenario = _found(result), result.scenario
    st.markdown(
        "##### What a month costs at other volumes",
        help="Both axes are logarithmic. Lines rise in steps of whole replicas, instances or "
        "servers. A diamond marks the volume from which another way is the cheapest.",
    )
    draw.chart(
        charts.volumes(found, scenario, draw.palette()), "volumes",
        charts.describe_volumes(found, scenario),
    )  # fmt: skip
    st.caption(draw.escaped(_break_even_text(found)))


def _break_even_text(found: Buying) -> str:
    best = found.best
    parts = [
        f"From {large(each.requests_per_s * MONTH)} requests a month "
        f"({digits(each.requests_per_s)}/s) on {TITLES[each.above]} is the cheapest, below it "
        f"{TITLES[each.below]}."
        for each in found.cheapest
    ]
    if not parts and best is not None:
        parts = [f"{best.title} is the cheapest at every volume in the picture."]
    slow = [
        f"{way.title} ({_few(way.within_limits)})"
        for way in found.ways if way.known and not buying.quick_enough(way, found.ways)
    ]  # fmt: skip
    if slow:
        parts.append(f"Left out, for too few requests are within the limits: {', '.join(slow)}.")
    return " ".join(parts)


def _few(share: float) -> str:
    return percent(share) if share >= LEAST_SHARE else f"under {percent(LEAST_SHARE)}"


def best_mix(result: Answer) -> None:
    """The load-duration curve with the committed part."""
    found, scenario = _found(result), result.scenario
    mix = found.mix
    st.markdown(
        "##### How much to commit",
        help="The hours of a month, the busiest first, with the instances that each needs. Green "
        "is committed and used, orange is paid by the hour, grey is committed and not used. One "
        "more is worth committing while it is used for a larger share of the time than its price "
        "is of the price by the hour.",
    )
    if mix is None:
        st.text(found.way("mix").reason)
        return
    draw.chart(
        charts.load_duration(mix, draw.palette()), "load", charts.describe_load_duration(mix)
    )
    st.caption(draw.escaped(_mix_text(mix, scenario)))


def _mix_text(mix: Mix, scenario: Scenario) -> str:
    hourly = f"{money(mix.flexible_price * HOUR, scenario)}/h"
    by = "on demand" if not mix.spot_share else (
        f"on demand and {percent(mix.spot_share)} spot" if mix.spot_share < 1 else "on spot"
    )  # fmt: skip
    if not mix.commitment:
        return (
            f"No commitment is known for {mix.instance}; all of it runs {by} at {hourly}, as many "
            "as each hour needs."
        )
    term = TITLES[mix.commitment].lower()
    committed = f"{money(mix.committed_price * HOUR, scenario)}/h for {term}"
    if not math.isfinite(mix.flexible_price):
        return (
            f"{mix.instance} is sold for {term} only, at {committed.split(' for ')[0]}: the peak "
            f"is committed, and {percent(mix.unused_share)} of it is not used."
        )
    if not mix.committed:
        return (
            f"Nothing: {mix.instance} costs {committed} and {hourly} {by}. It would have to be "
            f"used {percent(mix.break_even)} of the time."
        )
    saved = 1.0 - mix.monthly / mix.all_flexible
    return (
        f"{digits(mix.committed)} × {mix.instance} at {committed}, the rest {by} at {hourly}: "
        f"a committed one pays when it is used {percent(mix.break_even)} of the time. It covers "
        f"{percent(mix.coverage)} of the hours in use, {percent(mix.unused_share)} of it is not "
        f"used, and it saves {percent(saved)} against no commitment in the same hours."
    )


def cash_view(result: Answer) -> None:
    """Three years of payments."""
    found, scenario = _found(result), result.scenario
    st.markdown(
        "##### Three years of cash",
        help="What has been paid until the end of each month, at this volume. Resale counts when "
        "it happens; interest does not.",
    )
    if found.cash is None:
        st.text(found.way("owned").reason)
        return
    draw.chart(
        charts.cash(found.cash, scenario, draw.palette()), "cash",
        charts.describe_cash(found.cash, scenario),
    )  # fmt: skip
    paid = [
        f"{TITLES[id]} {_after(found.cash.payback[id])}"
        for id in ("on_demand", "mix", "reserved_3y", "api") if id in found.cash.payback
    ]  # fmt: skip
    st.caption(draw.escaped(
        f"Owning takes {money(found.cash.purchase, scenario)} at the start. Paid back, compared "
        f"with: {', '.join(paid)}."
    ))  # fmt: skip


def _after(seconds: float) -> str:
    return f"after {digits(seconds / MONTH)} months" if math.isfinite(seconds) else "never"


def ways_table(result: Answer) -> None:
    """Every way with its figures, for reading and download."""
    section = st.expander(
        "Every way to pay, as a table", key="ways", on_change="rerun", icon=":material/table:"
    )  # fmt: skip
    if not section.open:
        return
    import pandas as pd

    found, scenario = _found(result), result.scenario
    frame = pd.DataFrame([_row(way, scenario) for way in found.ways])
    with section:
        st.dataframe(frame, hide_index=True, key="ways_table", alt="Ways to pay")
        with st.container(horizontal=True):
            draw.download("Table as CSV", frame, "ways.csv")
            draw.download("Curves as CSV", _curves(found, scenario), "volumes.csv")


def _row(way: Way, scenario: Scenario) -> dict[str, str]:
    return {
        "Way": way.title,
        f"{scenario.currency} a month": money(way.monthly, scenario),
        f"{scenario.currency} per million": money(way.cost * MILLION, scenario),
        "What": way.reason or way.note,
        "Age": _aged(way),
        "Wh each": digits(way.energy / WATT_HOUR) if math.isfinite(way.energy) else "",
        "g CO2 each": digits(way.carbon) if math.isfinite(way.carbon) else "",
        "Within limits": _few(way.within_limits) if math.isfinite(way.within_limits) else "",
    }


def _curves(found: Buying, scenario: Scenario) -> pd.DataFrame:
    """Monthly cost of every way at every volume."""
    import pandas as pd

    per_month = found.volumes * scenario.success_share * MONTH * scenario.currency_per_usd
    return pd.DataFrame(
        {"requests a month": found.volumes * MONTH}
        | {f"{way.title}, {scenario.currency} a month": way.costs * per_month for way in found.ways}
    )


def prices_and_assumptions(result: Answer) -> None:
    """The fields that the ways rest on, by the way."""
    section = st.expander(
        "Change prices and assumptions", key="buying_settings", on_change="rerun",
        icon=":material/tune:",
    )  # fmt: skip
    if not section.open:
        return
    with section:
        for title, names in SETTINGS.items():
            st.caption(title)
            for start in range(0, len(names), COLUMNS):
                row = st.columns(COLUMNS, gap="medium")
                for name, column in zip(names[start : start + COLUMNS], row, strict=False):
                    with column:
                        controls.control(FIELDS[name], result.scenario, "b")


def ways_assume(result: Answer) -> None:
    """What each figure rests on, with source and date."""
    section = st.expander(
        "What each figure assumes", key="ways_assume", on_change="rerun",
        icon=":material/menu_book:",
    )  # fmt: skip
    if not section.open:
        return
    import pandas as pd

    frame = pd.DataFrame([
        {
            "Way": way.title, "What": line.what, "Value": line.value, "Source": line.source,
            "Date": "" if line.as_of is None else line.as_of.isoformat(), "Age": line.age,
        }
        for way in _found(result).ways for line in way.assumes
    ])  # fmt: skip
    with section:
        st.dataframe(frame, hide_index=True, key="assumption_table", alt="Assumptions")
        draw.download("Table as CSV", frame, "assumptions.csv")
