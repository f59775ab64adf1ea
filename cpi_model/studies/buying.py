"""What each way of paying for a scenario costs, at its volume and at others.

Every figure is fully loaded, and comes through ``evaluate``: what differs between the ways is the
price of an instance, how long it is paid, and what else has to be there. A price that nobody
knows makes a way unknown, never free.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np

from cpi_model import links
from cpi_model.catalog import Catalog, offers
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate, evaluate, performance
from cpi_model.formulas import ownership, pricing
from cpi_model.inputs import (
    Choice,
    ImpossibleChoice,
    age,
    choose,
    engine_serves,
    parameters,
)
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.schema import Accelerator, ApiPrice, Purchase, ServicePrice
from cpi_model.studies import service
from cpi_model.studies.answer import known
from cpi_model.studies.service import Service
from cpi_model.units import (
    GB,
    HOUR,
    KILO,
    KILOWATT_HOUR,
    MILLION,
    MONTH,
    WATT_HOUR,
    YEAR,
    Array,
    Numeric,
)

PURCHASES: tuple[Purchase, ...] = ("on_demand", "spot", "reserved_1y", "reserved_3y")
TITLES = {
    "on_demand": "On demand", "spot": "Spot", "reserved_1y": "1 year", "reserved_3y": "3 years",
    "mix": "Best mix", "owned": "Owned", "serverless": "Serverless", "api": "Hosted API",
    "edge": "Edge devices",
}  # fmt: skip
"""Ways to pay, in the order in which they are listed."""
HOURS = 24
"""Points of the load-duration curve, each an equal share of the time."""
FINER = 64
"""Points of the curve in each of them, of which the mean counts: steep peaks are not missed."""
STEPS_PER_DECADE = 16
DECADES = 2
"""Volumes go so far below and above that of the scenario."""
LARGEST_RACK = 72
"""Devices that are sold in one piece; longer fast domains join several."""
CASH_MONTHS = 36
ALMOST = 0.95
"""A way is quick enough with this share of the requests that meet the limits elsewhere."""
FARGATE_VCPUS, FARGATE_GB = 16, 120
"""Largest size that AWS Fargate has."""
NOBODY_RENTS = {
    "instance_price": 0.0, "storage_price": 0.0, "object_storage_price": 0.0,
    "monitoring_price": 0.0, "control_plane_price": 0.0, "load_balancer_price": 0.0,
    "load_balancer_byte_price": 0.0, "cross_zone_price": 0.0, "training_price": 0.0,
    "fixed_replicas": 0.0,
}  # fmt: skip
"""What a service does without whose model somebody else runs; logs, egress and people stay."""


@dataclass(frozen=True)
class Assumption:
    """Something that a figure rests on."""

    what: str
    value: str
    source: str
    as_of: date | None = None

    @property
    def age(self) -> str:
        """How old it is, where that should be said."""
        return "" if self.as_of is None else age(self.as_of)


@dataclass(frozen=True)
class Way:
    """One way to pay, at the scenario's volume and at others; NaN where unknown."""

    id: str
    costs: Array
    """USD per successful inference at each volume."""
    cost: float
    """The same at the scenario's volume."""
    monthly: float
    """USD a month at the scenario's volume."""
    assumes: tuple[Assumption, ...] = ()
    reason: str = ""
    """Why it is unknown; empty where it is known."""
    note: str = ""
    """What it is in short: instance, offer, devices."""
    devices: float = math.nan
    """Devices paid for."""
    energy: float = math.nan
    """J per successful inference."""
    carbon: float = math.nan
    """g per successful inference."""
    within_limits: float = math.nan
    """Share of the requests that meet the scenario's limits, where it is estimated."""

    @property
    def title(self) -> str:
        """Its name for people."""
        return TITLES[self.id]

    @property
    def known(self) -> bool:
        """Whether it has a cost at the scenario's volume."""
        return math.isfinite(self.cost)


@dataclass(frozen=True)
class Mix:
    """How much to commit, on the load-duration curve of the scenario's traffic."""

    instance: str
    commitment: str
    """``reserved_1y`` or ``reserved_3y``, whichever costs less; empty where neither is known."""
    committed: float
    """Instances committed."""
    need: Array
    """Instances needed, the busiest time first, each for an equal share of the time."""
    committed_price: float
    """USD/s of an instance under the commitment."""
    flexible_price: float
    """USD/s of an instance above it: on demand and, up to the limit, spot."""
    spot_share: float
    """Share of what is not committed that runs on spot."""
    unused_share: float
    """Share of the committed time that nothing runs on."""
    all_flexible: float
    """USD a month without any commitment, for the same times."""
    monthly: float
    """USD a month of the mix."""

    @property
    def coverage(self) -> float:
        """Share of the hours in use that the commitment covers."""
        return float(np.minimum(self.need, self.committed).sum() / self.need.sum())

    @property
    def break_even(self) -> float:
        """Share of the time that a committed instance must be used to pay off."""
        return float(pricing.break_even_utilisation(self.committed_price, self.flexible_price))


@dataclass(frozen=True)
class Cash:
    """Cumulative payments over three years."""

    months: Array
    paid: dict[str, Array]
    """USD paid until the end of each month, by way."""
    purchase: float
    """USD paid at the start by who owns."""
    payback: dict[str, float]
    """Seconds until owning has cost less than each other way; infinite for never."""


@dataclass(frozen=True)
class BreakEven:
    """Volume at which two ways cost the same."""

    requests_per_s: float
    below: str
    """Way that is cheaper at smaller volumes."""
    above: str
    """Way that is cheaper from here on."""


@dataclass(frozen=True)
class Buying:
    """All ways to pay for a scenario."""

    scenario: Scenario
    volumes: Array
    """Requests/s."""
    ways: tuple[Way, ...]
    mix: Mix | None
    cash: Cash | None
    cheapest: tuple[BreakEven, ...]
    """Where the cheapest way changes."""
    break_evens: tuple[BreakEven, ...]
    """The last crossing of each pair of ways."""

    @property
    def best(self) -> Way | None:
        """The cheapest way at the scenario's volume, of those that are quick enough."""
        able = (way for way in self.ways if way.known and quick_enough(way, self.ways))
        return min(able, key=lambda way: way.cost, default=None)

    def way(self, id: str) -> Way:
        """One way by its id."""
        return next(way for way in self.ways if way.id == id)


def quick_enough(way: Way, ways: Sequence[Way]) -> bool:
    """Whether as many requests meet the limits as where the scenario's own hardware is rented.

    Edge devices are other hardware; of a hosted model the speed is not known.
    """
    shares = [each.within_limits for each in ways if each.id in PURCHASES and each.known]
    own = max(shares, default=math.nan)
    return not way.within_limits < ALMOST * own


def compare(scenario: Scenario, catalog: Catalog) -> Buying:
    """What every way of paying costs.

    Raises
    ------
    ImpossibleChoice
        If the scenario names what does not exist or cannot go together.
    """
    _served(scenario, catalog)
    volumes = _volumes(scenario)
    ways: dict[str, Way] = {id: _rented(id, scenario, volumes, catalog) for id in PURCHASES}
    ways["mix"], mix = _best_mix(scenario, volumes, catalog)
    ways["mix"] = _no_dearer(ways, scenario)
    ways["owned"], fleet = _owned(scenario, volumes, catalog)
    ways["serverless"] = _serverless(scenario, volumes, catalog)
    ways["api"] = _api(scenario, volumes, catalog)
    ways["edge"] = _edge(scenario, volumes, catalog)
    order = tuple(ways[id] for id in TITLES)
    return Buying(
        scenario, volumes, order, mix, _cash(fleet, scenario, order),
        _where_the_cheapest_changes(volumes, order), tuple(_pairs(volumes, order)),
    )  # fmt: skip


# Common to all ways ------------------------------------------------------------------------------


def _volumes(scenario: Scenario) -> Array:
    """Volumes around the scenario's, which is one of them."""
    steps = np.arange(-DECADES * STEPS_PER_DECADE, DECADES * STEPS_PER_DECADE + 1)
    volumes = scenario.requests_per_s * 10.0 ** (steps / STEPS_PER_DECADE)
    info = FIELDS["requests_per_s"]
    assert info.minimum is not None and info.maximum is not None
    inside: Array = volumes[(volumes >= info.minimum) & (volumes <= info.maximum)]
    return inside


def _here(volumes: Array, scenario: Scenario) -> int:
    """Place of the scenario's volume among the volumes."""
    return int(np.argmin(np.abs(volumes - scenario.requests_per_s)))


def _own_price(scenario: Scenario, usd_per_hour: float) -> Scenario:
    """With a price per device that takes the place of the catalog's, paid all the time."""
    return scenario.model_copy(update={
        "device_price_usd_per_hour": usd_per_hour, "purchase": "on_demand", "discount_share": 0.0,
    })  # fmt: skip


def _served(scenario: Scenario, catalog: Catalog) -> tuple[Choice, Service]:
    choice = choose(scenario, catalog)
    return choice, service.resolve(scenario, choice, catalog, coefficients())


def _times(whole: Service, factor: Numeric, **changes: Numeric) -> Service:
    """With instances at so many times their price."""
    first = whole.first
    if first is not None:
        first = replace(first, instance_price=first.instance_price * factor, **changes)
    model = replace(
        whole.model, instance_price=whole.model.instance_price * factor, **changes
    )  # fmt: skip
    return replace(whole, model=model, first=first)


def _way(
    id: str, scenario: Scenario, volumes: Array, costs: Numeric, **more: Any
) -> Way:  # fmt: skip
    """A way with its figures at the scenario's volume, which is one of the volumes."""
    along = np.broadcast_to(np.asarray(costs, dtype=float), volumes.shape)
    cost = float(along[_here(volumes, scenario)])
    monthly = cost * scenario.requests_per_s * scenario.success_share * MONTH
    if not math.isfinite(cost) and not more.get("reason"):
        more["reason"] = "It cannot carry this volume."
    return Way(id, along, cost, monthly, **more)


def _unknown(id: str, volumes: Array, reason: str) -> Way:
    return Way(id, np.full(volumes.shape, np.nan), math.nan, math.nan, reason=reason)


def _stated(name: str, scenario: Scenario) -> Assumption:
    """What a field says, with where its default comes from."""
    info, value = FIELDS[name], getattr(scenario, name)
    text = f"{value:,g} {info.unit}".strip() if isinstance(value, (int, float)) else str(value)
    if value != info.default:
        return Assumption(info.title, text, "entered by you")
    return Assumption(info.title, text, info.source or "choice of the scenario", info.as_of)


def _priced(choice: Choice, scenario: Scenario) -> Assumption:
    """Where the price of an instance comes from."""
    price = choice.price
    if price is None:
        own = scenario.device_price_usd_per_hour
        return Assumption("Price", f"{own:,g} USD/h a device", "entered by you")
    where = f"{price.instance} in {price.region}"
    return Assumption(
        f"Price of {where}", f"{price.usd_per_hour:,.4g} USD/h", price.source, price.valid_from
    )


def _at(estimate: Estimate, name: str, volumes: Array, scenario: Scenario) -> float:
    """A figure of an estimate along the volumes, at that of the scenario."""
    figures = np.broadcast_to(getattr(estimate, name), volumes.shape)
    return float(figures[_here(volumes, scenario)])


# Rented ------------------------------------------------------------------------------------------


def _bought_as(purchase: str, scenario: Scenario) -> Scenario:
    """The scenario under another purchase option; an own price belongs to the one it is of.

    A commitment is paid whether it is used or not, so replicas do not follow the traffic.
    """
    changes: dict[str, Any] = {"purchase": purchase}
    if purchase != scenario.purchase:
        changes["device_price_usd_per_hour"] = None
    if purchase in ("reserved_1y", "reserved_3y") and scenario.scaling == "follow":
        changes["scaling"] = "peak"
    return scenario.model_copy(update=changes)


def _rented(purchase: str, scenario: Scenario, volumes: Array, catalog: Catalog) -> Way:
    """On demand, spot, or everything committed: as everywhere else in the app."""
    bought = _bought_as(purchase, scenario)
    try:
        choice, whole = _served(bought, catalog)
    except ImpossibleChoice as impossible:
        return _unknown(purchase, volumes, str(impossible))
    estimate = service.estimate(service.changed(whole, requests_per_s=volumes))
    assumes = [_priced(choice, bought)]
    names = ["discount_share"] if bought.discount_share else []
    if purchase == "spot":
        interrupted = bought.spot_interruptions_per_month is not None
        names += (
            ["spot_interruptions_per_month", "spot_restart_minutes", "spot_lost_minutes"]
            if interrupted else ["spot_overhead_share"]
        ) + ["spot_fallback_share"]  # fmt: skip
    if purchase.startswith("reserved"):
        names += ["unused_commitment_share"]
    assumes += [_stated(name, bought) for name in names]
    where = "own price" if choice.price is None else choice.price.instance
    instances = _at(estimate, "instances", volumes, scenario)
    return _way(
        purchase, scenario, volumes, estimate.cost_per_inference, assumes=tuple(assumes),
        note=f"{instances:,.3g} × {where}",
        devices=instances * float(whole.model.devices_per_instance),
        energy=_at(estimate, "energy", volumes, scenario),
        carbon=_at(estimate, "carbon", volumes, scenario),
        within_limits=_at(estimate, "good_share", volumes, scenario),
    )  # fmt: skip


# The best mix ------------------------------------------------------------------------------------


def _prices(instance: str, scenario: Scenario, catalog: Catalog) -> dict[str, float]:
    """USD/s of one instance by purchase option, NaN where unknown; use is counted elsewhere."""
    found: dict[str, float] = {}
    for purchase in PURCHASES:
        bought = _bought_as(purchase, scenario).model_copy(
            update={"instance": instance, "unused_commitment_share": 0.0}
        )
        try:
            found[purchase] = float(_served(bought, catalog)[1].model.instance_price)
        except ImpossibleChoice:
            found[purchase] = math.nan
    return found


def _best_mix(scenario: Scenario, volumes: Array, catalog: Catalog) -> tuple[Way, Mix | None]:
    """A committed base, and the rest by the hour, on the instance on which that costs least."""
    ways = [
        _mix_on(instance, purchase, scenario, volumes, catalog)
        for instance, purchase in _instances(scenario, catalog).items()
    ]
    known_ways = [(way, mix) for way, mix in ways if mix is not None and way.known]
    if not known_ways:
        return _unknown("mix", volumes, "No price of this hardware is known."), None
    way, mix = min(known_ways, key=lambda pair: pair[0].cost)
    # At other volumes another instance may cost less.
    with np.errstate(invalid="ignore"):
        costs = np.fmin.reduce([way.costs for way, _ in known_ways])
    return replace(way, costs=costs), mix


def _no_dearer(ways: dict[str, Way], scenario: Scenario) -> Way:
    """The mix, or one option for everything where that costs less.

    Where replicas follow the traffic, their mean number is a fraction in the rest of the app and
    whole at each time in the mix.
    """
    mix = ways["mix"]
    allowed = [id for id in PURCHASES if id != "spot" or scenario.spot_limit_share == 1.0]
    pure = [ways[id] for id in allowed if ways[id].known]
    with np.errstate(invalid="ignore"):
        costs = np.fmin.reduce([mix.costs, *(way.costs for way in pure)])
    best = min([mix, *pure] if mix.known else pure, key=lambda way: way.cost, default=mix)
    if best is mix:
        return replace(mix, costs=costs)
    return replace(best, id="mix", costs=costs, note=f"all {best.title.lower()}: {best.note}")


def _instances(scenario: Scenario, catalog: Catalog) -> dict[str, str]:
    """Instances that a mix may be bought on, with an option that has a price there.

    The cheapest of each purchase option, and the cheapest that can be had both on demand and
    committed.
    """
    found: dict[str, str] = {}
    for purchase in PURCHASES:
        try:
            choice = choose(_bought_as(purchase, scenario), catalog)
        except ImpossibleChoice:
            continue
        found.setdefault(choice.instance.id if choice.instance else "auto", purchase)
    if scenario.instance == "auto":
        sold = {
            purchase: [
                offer.instance.id
                for offer in offers(
                    catalog, scenario.accelerator, purchase, scenario.clouds, scenario.regions
                )
            ]
            for purchase in PURCHASES
        }
        for commitment in ("reserved_3y", "reserved_1y"):
            both = [id for id in sold[commitment] if id in sold["on_demand"]]
            if both:
                found.setdefault(both[0], commitment)
    return found


def _mix_on(
    instance: str, purchase: str, scenario: Scenario, volumes: Array, catalog: Catalog
) -> tuple[Way, Mix | None]:
    changes: dict[str, Any] = {"instance": instance}
    if scenario.scaling == "follow":
        changes["scaling"] = "peak"
    bought = _bought_as(purchase, scenario).model_copy(update=changes)
    try:
        choice, whole = _served(bought, catalog)
    except ImpossibleChoice as impossible:
        return _unknown("mix", volumes, str(impossible)), None
    prices = _prices(instance, scenario, catalog)
    commitment, committed_price = _cheaper_commitment(prices)
    on_demand, spot = prices["on_demand"], prices["spot"]
    spot_share = scenario.spot_limit_share if spot < on_demand or math.isnan(on_demand) else 0.0
    if math.isnan(on_demand) and spot_share < 1.0:
        spot_share = 0.0
    flexible = float(ownership.price_with_fallback(spot, on_demand, 1.0 - spot_share))
    shape = _traffic(scenario)
    # Replicas come and go with the traffic and a lag, which never adds to what the peak needs.
    late = np.minimum(
        1.0 + scenario.scaling_lag_share, np.maximum(scenario.peak_to_mean / shape, 1.0)
    )
    busy = scenario.target_utilisation / late

    def hourly(part: Array) -> dict[str, Numeric]:
        """Load and room at each time, for some of the volumes."""
        return {
            "requests_per_s": part[:, None] * shape, "peak_to_mean": 1.0,
            "target_utilisation": busy,
        }  # fmt: skip

    estimate = service.estimate(service.changed(whole, **hourly(volumes)))
    need = np.nan_to_num(np.asarray(estimate.instances))
    committed = np.asarray(ownership.committed_capacity(need, committed_price, flexible))
    own = float(whole.model.instance_price)

    def costs(part: Array, needed: Array, base: Array) -> Array:
        """USD per successful inference with so much committed."""
        rent = ownership.mixed_rent(needed, base, committed_price, flexible)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(needed > 0.0, rent / needed, 0.0) / own
        rate = np.asarray(service.estimate(_times(whole, factor, **hourly(part))).cost_rate)
        each: Array = rate.mean(axis=-1) / (part * scenario.success_share)
        return each

    here = _here(volumes, scenario)
    base = float(committed[here])
    per_month = scenario.requests_per_s * scenario.success_share * MONTH
    way = _way(
        "mix", scenario, volumes, costs(volumes, need, committed),
        assumes=(
            *_mix_prices(prices, instance, commitment, spot_share, scenario, catalog),
            _stated("quiet_to_mean", scenario), _stated("peak_to_mean", scenario),
            _stated("scaling_lag_share", scenario), _stated("spot_limit_share", scenario),
        ),
        note=_mix_note(base, commitment, instance, need[here], spot_share),
        devices=float(need[here].mean()) * float(whole.model.devices_per_instance),
        energy=float(np.mean(_weighted(estimate.energy, shape)[here])),
        carbon=float(np.mean(_weighted(estimate.carbon, shape)[here])),
    )  # fmt: skip
    alone = costs(volumes[here : here + 1], need[here : here + 1], np.zeros(1))
    return way, Mix(
        instance=instance if choice.instance is None else choice.instance.id,
        commitment=commitment, committed=base, need=need[here],
        committed_price=committed_price, flexible_price=flexible, spot_share=spot_share,
        unused_share=float(ownership.unused_share(need[here], base)),
        all_flexible=float(alone[0]) * per_month, monthly=way.monthly,
    )  # fmt: skip


def _traffic(scenario: Scenario) -> Array:
    """Load over its mean at equal shares of the time, the busiest first."""
    count = HOURS * FINER
    ranks = (np.arange(count) + 0.5) / count
    fine = ownership.load_duration(ranks, scenario.peak_to_mean, scenario.quiet_to_mean)
    shape: Array = np.asarray(fine).reshape(HOURS, FINER).mean(axis=1)
    return shape


def _weighted(figures: Numeric, shape: Numeric) -> Array:
    """A figure of an inference at each time, by how many there are; their mean is its mean."""
    weighted: Array = np.asarray(figures) * shape / np.mean(shape)
    return weighted


def _cheaper_commitment(prices: dict[str, float]) -> tuple[str, float]:
    found = [(prices[id], id) for id in ("reserved_1y", "reserved_3y") if prices[id] > 0.0]
    if not found:
        return "", math.nan
    price, id = min(found)
    return id, price


def _mix_prices(
    prices: dict[str, float], instance: str, commitment: str, spot_share: float,
    scenario: Scenario, catalog: Catalog,
) -> Iterator[Assumption]:  # fmt: skip
    """Sources of the prices that are in a mix."""
    used = ["on_demand"] * (spot_share < 1.0) + ["spot"] * (spot_share > 0.0) + [commitment]
    for purchase in used:
        if purchase and math.isfinite(prices[purchase]):
            bought = _bought_as(purchase, scenario).model_copy(update={"instance": instance})
            line = _priced(choose(bought, catalog), bought)
            yield replace(line, what=f"{TITLES[purchase]}: {line.what[0].lower()}{line.what[1:]}")


def _mix_note(
    base: float, commitment: str, instance: str, need: Array, spot_share: float
) -> str:  # fmt: skip
    above = float(np.maximum(need - base, 0.0).mean())
    parts = []
    if base and commitment:
        parts.append(f"{base:,.3g} × {instance} for {TITLES[commitment].lower()}")
    if above:
        by = "on demand" if spot_share == 0.0 else "spot" if spot_share == 1.0 else (
            f"on demand and {spot_share:.0%} spot"
        )  # fmt: skip
        parts.append(f"{above:,.3g} on average {by}")
    return ", ".join(parts)


# Owned -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fleet:
    """What an owner pays at the scenario's volume."""

    purchase: float
    """USD at the start."""
    running: float
    """USD/s of everything but the loss of value."""


def _owned(scenario: Scenario, volumes: Array, catalog: Catalog) -> tuple[Way, _Fleet | None]:
    """Whole servers for the peak, paid whether they are busy or not."""
    chip = catalog.accelerators[scenario.accelerator]
    price = scenario.device_purchase_usd or chip.street_price_usd
    if price is None:
        return _unknown(
            "owned", volumes, f"No purchase price of {chip.name} is known: enter one."
        ), None
    if chip.tdp_w is None:
        return _unknown("owned", volumes, f"The power of {chip.name} is not published."), None
    whole_price = price * (1.0 + scenario.server_price_share)
    worn = float(ownership.straight_line(
        whole_price, scenario.resale_share, scenario.owned_years * YEAR
    ))  # fmt: skip
    runs = float(ownership.running_cost(
        whole_price, chip.tdp_w * (1.0 + scenario.server_power_share), scenario.pue,
        scenario.electricity_usd_per_kwh / KILOWATT_HOUR,
        scenario.space_usd_per_kw_month / KILO / MONTH,
        scenario.staff_usd_per_device_year / YEAR, scenario.failures_per_year,
    ))  # fmt: skip
    bought = _own_price(scenario, (worn + runs) * HOUR)
    if scenario.scaling == "follow":
        bought = bought.model_copy(update={"scaling": "peak"})
    try:
        choice, whole = _served(bought, catalog)
    except ImpossibleChoice as impossible:
        return _unknown("owned", volumes, str(impossible)), None
    server = choice.instance.accelerator_count if choice.instance else 1.0
    if chip.kind != "cpu":
        joined = chip.fast_domain_devices
        server = float(joined) if 1 < joined <= LARGEST_RACK else 1.0
        whole = service.changed(
            whole, devices_per_instance=server, instance_price=(worn + runs) * server
        )
    estimate = service.estimate(service.changed(whole, requests_per_s=volumes))
    devices = _at(estimate, "instances", volumes, scenario) * server
    source = _purchase_source(chip, scenario)
    way = _way(
        "owned", scenario, volumes, estimate.cost_per_inference,
        assumes=(
            source, *(_stated(name, scenario) for name in OWNING),
            Assumption(
                "Cost of a device", f"{(worn + runs) * HOUR:,.3g} USD/h, of which "
                f"{worn * HOUR:,.3g} are loss of value", "from the lines above",
            ),
            Assumption("Servers", f"whole ones, {server:,g} devices each", "from the catalog"),
            Assumption("Interest", "none", "not counted"),
        ),
        note=f"{devices:,.3g} devices in whole servers of {server:,g}", devices=devices,
        energy=_at(estimate, "energy", volumes, scenario),
        carbon=_at(estimate, "carbon", volumes, scenario),
    )  # fmt: skip
    if not way.known:
        return way, None
    rate = _at(estimate, "cost_rate", volumes, scenario)
    return way, _Fleet(devices * whole_price, rate - devices * worn)


OWNING = (
    "server_price_share", "owned_years", "resale_share", "server_power_share", "pue",
    "electricity_usd_per_kwh", "space_usd_per_kw_month", "staff_usd_per_device_year",
    "failures_per_year",
)  # fmt: skip
"""Fields that the cost of an owned device rests on."""


def _purchase_source(chip: Accelerator, scenario: Scenario) -> Assumption:
    what = f"Purchase price of {chip.name}"
    if scenario.device_purchase_usd is not None:
        return Assumption(what, f"{scenario.device_purchase_usd:,.6g} USD", "entered by you")
    assert chip.street_price_usd is not None
    source = next(each for each in chip.sources if "street_price_usd" in each.covers)
    return Assumption(what, f"{chip.street_price_usd:,.6g} USD", source.title, source.accessed)


def _cash(fleet: _Fleet | None, scenario: Scenario, ways: Sequence[Way]) -> Cash | None:
    """Three years of payments; owning pays at the start, all others as they go."""
    if fleet is None:
        return None
    months = np.arange(CASH_MONTHS + 1, dtype=float)
    paid: dict[str, Array] = {
        way.id: way.monthly * months for way in ways if way.known and way.id != "owned"
    }
    paid["owned"] = np.asarray(ownership.cumulative_cash(
        fleet.purchase, fleet.running, scenario.resale_share, scenario.owned_years * YEAR,
        months * MONTH,
    ))  # fmt: skip
    life = scenario.owned_years * YEAR
    payback = {}
    for way in ways:
        if way.known and way.id != "owned":
            after = ownership.payback_time(fleet.purchase, fleet.running, way.monthly / MONTH)
            # Later the next fleet would have to be bought.
            payback[way.id] = float(after) if after <= life else math.inf
    return Cash(months, paid, fleet.purchase, payback)


# Serverless --------------------------------------------------------------------------------------


def _serverless(scenario: Scenario, volumes: Array, catalog: Catalog) -> Way:
    """Replicas that are billed by the second, from their start until a while after a request."""
    if scenario.cascade_model != "none":
        return _unknown("serverless", volumes, "It is not worked out for two models in a row.")
    rate, source = serverless_price(scenario, catalog)
    if source is None:
        return _unknown(
            "serverless", volumes,
            "No serverless price of this hardware is in the catalog: enter one.",
        )  # fmt: skip
    choice, whole = _served(_own_price(scenario, rate), catalog)
    x = replace(
        whole.model, requests_per_s=volumes, replicas_follow=1.0, fixed_replicas=0.0,
        min_replicas=0.0, old_min_replicas=0.0, spare_replicas=0.0, nonproduction_share=0.0,
    )  # fmt: skip
    standing = evaluate(x)
    alone = evaluate(replace(x, concurrency=1.0))
    billed = ownership.serverless_replicas(
        volumes * (1.0 - x.answer_hit_share), standing.throughput * x.target_utilisation,
        alone.latency_mean, scenario.serverless_idle_s, scenario.serverless_minimum_s,
        scenario.serverless_cold_s,
    )  # fmt: skip
    devices = billed * choice.devices_per_replica
    each = float(x.instance_price) / float(x.devices_per_instance)
    estimate = evaluate(replace(x, instance_price=devices * each / standing.instances))
    mean = float(np.broadcast_to(devices, volumes.shape)[_here(volumes, scenario)])
    return _way(
        "serverless", scenario, volumes, estimate.cost_per_inference,
        assumes=(source, *(_stated(name, scenario) for name in (
            "serverless_cold_s", "serverless_idle_s", "serverless_minimum_s",
            "target_utilisation",
        ))),
        note=f"{mean:,.3g} devices billed on average", devices=mean,
    )  # fmt: skip


def serverless_price(
    scenario: Scenario, catalog: Catalog
) -> tuple[float, Assumption | None]:  # fmt: skip
    """USD/h of one device and where that comes from."""
    own = scenario.serverless_usd_per_hour
    if own is not None:
        return own, Assumption("Serverless price", f"{own:,g} USD/h a device", "entered by you")
    if catalog.accelerators[scenario.accelerator].kind != "cpu":
        return math.nan, None
    try:
        instance = choose(_own_price(scenario, 1.0), catalog).instance
    except ImpossibleChoice:
        return math.nan, None
    if instance is None or instance.vcpus is None or instance.memory_gb is None:
        return math.nan, None
    if instance.vcpus > FARGATE_VCPUS or instance.memory_gb > FARGATE_GB:
        return math.nan, None
    vcpu, memory = (
        _service_price("Fargate vCPU", catalog),
        _service_price("Fargate memory", catalog),
    )
    if vcpu is None or memory is None:
        return math.nan, None
    hourly = instance.vcpus * vcpu.value + instance.memory_gb * memory.value
    source = Assumption(
        f"Price of {instance.vcpus:g} vCPUs and {instance.memory_gb:g} GB on AWS Fargate",
        f"{hourly:,.4g} USD/h", vcpu.source, vcpu.valid_from,
    )  # fmt: skip
    return hourly / instance.accelerator_count, source


def _service_price(item: str, catalog: Catalog) -> ServicePrice | None:
    rows = [row for row in catalog.service_prices if row.cloud == "aws" and row.item == item]
    return max(rows, key=lambda row: row.valid_from, default=None)


# A hosted model ----------------------------------------------------------------------------------


def hosted_offers(model: str, catalog: Catalog) -> list[ApiPrice]:
    """What hosted models cost today that are this one; of each offer the newest price."""
    newest: dict[tuple[str, str], ApiPrice] = {}
    for row in catalog.api_prices:
        if row.model == model and row.input_usd_per_mtok + row.output_usd_per_mtok > 0.0:
            key = (row.provider, row.api_model)
            if key not in newest or row.valid_from > newest[key].valid_from:
                newest[key] = row
    return list(newest.values())


def nearest_hosted(model: str, catalog: Catalog) -> str | None:
    """The same model where somebody hosts it, else the one nearest in size; None for no tokens."""
    named = catalog.models[model]
    if named.model_class != "llm":
        return None
    hosted = {row.model for row in catalog.api_prices if row.model is not None}
    sold = [id for id in hosted if hosted_offers(id, catalog)]
    if model in sold:
        return model
    size = parameters(named)

    def apart(id: str) -> tuple[float, str]:
        other = parameters(catalog.models[id])
        active = abs(math.log(other.active / size.active))
        return active + abs(math.log(other.total / size.total)), id

    return min(sold, key=apart, default=None)


def _api(scenario: Scenario, volumes: Array, catalog: Catalog) -> Way:
    """Tokens at somebody else's price, with the logs, egress and people that stay with us."""
    hosted = nearest_hosted(scenario.model, catalog)
    if hosted is None:
        return _unknown("api", volumes, "Hosted models are priced by the token; this has none.")
    found = hosted_offers(hosted, catalog)
    ranked = sorted(
        ((_request_price(row, scenario), row) for row in found),
        key=lambda pair: (pair[0], pair[1].provider, pair[1].api_model),
    )
    price, offer = ranked[0]
    middle = ranked[len(ranked) // 2][0]
    own = (scenario.api_input_usd_per_mtok, scenario.api_output_usd_per_mtok)
    _, whole = _served(_own_price(scenario, 1.0), catalog)
    x = replace(whole.model, requests_per_s=volumes, **NOBODY_RENTS)
    rest = evaluate(x).cost_per_inference
    asked = (1.0 - float(x.answer_hit_share)) / scenario.success_share
    name, named = catalog.models[hosted].name, catalog.models[scenario.model].name
    likeness = (
        "" if hosted == scenario.model else "not the same model, the nearest in size that is "
    )
    prices = (
        f"{offer.input_usd_per_mtok if own[0] is None else own[0]:g} in, "
        f"{offer.output_usd_per_mtok if own[1] is None else own[1]:g} out"
    )
    cached = offer.cached_input_usd_per_mtok
    batch = offer.batch_discount_share
    lines = [
        Assumption(
            f"Price of {offer.api_model} at {offer.provider}, USD per million tokens", prices,
            offer.source if own == (None, None) else "entered by you, else " + offer.source,
            offer.valid_from,
        ),
        Assumption(
            "Offer", f"cheapest of {len(found)}; the median costs {middle / price:,.2f} times as "
            "much" if price else f"cheapest of {len(found)}", f"{likeness}hosted: {name}",
        ),
        Assumption(
            "Cached input", "full price" if cached is None else f"{cached:g} USD/M tokens",
            "no price of its own is known" if cached is None else offer.source,
        ),
        Assumption(
            "Batch discount", "none known" if batch is None else f"{batch:.0%}",
            f"for {scenario.api_batch_share:.0%} of the requests",
        ),
    ]  # fmt: skip
    return _way(
        "api", scenario, volumes, price * asked + rest, assumes=tuple(lines),
        note=f"{name} at {offer.provider}"
        + ("" if hosted == scenario.model else f", nearest to {named}"),
    )  # fmt: skip


def _request_price(offer: ApiPrice, scenario: Scenario) -> float:
    """USD of one request at an offer, or at the own prices of the scenario."""
    own_input, own_output = scenario.api_input_usd_per_mtok, scenario.api_output_usd_per_mtok
    fresh = offer.input_usd_per_mtok if own_input is None else own_input
    cached = offer.cached_input_usd_per_mtok
    if cached is None or own_input is not None:
        cached = fresh
    written = offer.output_usd_per_mtok if own_output is None else own_output
    read = scenario.input_tokens * scenario.cached_input_share
    return float(ownership.hosted_price(
        scenario.input_tokens - read, read, scenario.output_tokens, fresh / MILLION,
        cached / MILLION, written / MILLION, scenario.api_batch_share,
        offer.batch_discount_share or 0.0,
    ))  # fmt: skip


# At the edge -------------------------------------------------------------------------------------


def _edge(scenario: Scenario, volumes: Array, catalog: Catalog) -> Way:
    """Devices at the users for most requests, the cloud as it is chosen for the rest."""
    if scenario.cascade_model != "none":
        return _unknown("edge", volumes, "It is not worked out for two models in a row.")
    cloud: Numeric = 0.0
    if scenario.edge_cloud_share:
        _, whole = _served(scenario, catalog)
        passed = service.changed(whole, requests_per_s=volumes * scenario.edge_cloud_share)
        cloud = service.estimate(passed).cost_rate
    ways = [
        _edge_on(chip, cloud, scenario, volumes, catalog)
        for chip in catalog.accelerators.values()
        if chip.kind == "edge" and chip.street_price_usd is not None and chip.tdp_w is not None
    ]
    able = [way for way in ways if way is not None]
    if not able:
        return _unknown("edge", volumes, "No edge device with a known price can run this model.")
    return min(able, key=lambda way: (not way.known, way.cost if way.known else 0.0))


def _edge_on(
    chip: Accelerator, cloud: Numeric, scenario: Scenario, volumes: Array, catalog: Catalog
) -> Way | None:
    """Everything on one kind of edge device, with the cost of the rest in the cloud.

    None where it cannot run the model.
    """
    assert chip.street_price_usd is not None and chip.tdp_w is not None
    found = _on_device(chip, scenario, catalog)
    if found is None:
        return None
    there, local = found
    kept = volumes * (1.0 - scenario.edge_cloud_share)
    capacity = float(local.throughput)
    fleet: Numeric = np.maximum(pricing.replicas_for_load(
        kept * scenario.peak_to_mean, capacity, scenario.target_utilisation
    ), 1.0)  # fmt: skip
    if scenario.edge_devices is not None:
        enough = kept * scenario.peak_to_mean <= capacity * scenario.edge_devices
        fleet = np.where(enough, float(scenario.edge_devices), np.nan)
    each = float(ownership.edge_cost(
        chip.street_price_usd, scenario.resale_share, scenario.owned_years * YEAR, chip.tdp_w,
        scenario.electricity_usd_per_kwh / KILOWATT_HOUR,
        scenario.edge_update_gb_per_month * GB / MONTH, scenario.egress_usd_per_gb / GB,
    ))  # fmt: skip
    rate = fleet * each + cloud
    devices = float(np.broadcast_to(fleet, volumes.shape)[_here(volumes, scenario)])
    good = float(local.good_share)
    source = _purchase_source(chip, scenario.model_copy(update={"device_purchase_usd": None}))
    return _way(
        "edge", scenario, volumes, rate / (volumes * scenario.success_share),
        assumes=(
            source,
            Assumption(
                "Runs with", f"{there.scheme} on {there.engine}, {capacity:,.3g} requests/s a "
                f"device, {good:.0%} of them within the limits", "estimated",
            ),
            *(_stated(name, scenario) for name in (
                "owned_years", "resale_share", "electricity_usd_per_kwh",
                "edge_update_gb_per_month", "edge_cloud_share",
            )),
        ),
        note=f"{devices:,.6g} × {chip.name}, {there.scheme}", devices=devices, within_limits=good,
        reason="" if math.isfinite(devices) else "So few devices cannot carry the peak.",
    )  # fmt: skip


def _on_device(
    chip: Accelerator, scenario: Scenario, catalog: Catalog
) -> tuple[Scenario, Estimate] | None:
    """How an edge device runs the model: in the scenario's precision if it can, else a narrower."""
    alone: dict[str, Any] = {
        name: FIELDS[name].default for name in (
            "tensor_parallel", "pipeline_parallel", "data_parallel", "expert_parallel", "instance",
            "cloud", "region", "batching", "scaling",
        )
    } | {"accelerator": chip.id}  # fmt: skip
    base = _own_price(scenario.model_copy(update=alone), 1.0)
    # Room for one request does not depend on these, and the search is long.
    one = base.model_copy(update={name: FIELDS[name].default for name in MOVED})
    key = (id(catalog), one)
    if (known := _FITTING.get(key)) is None:
        if len(_FITTING) >= MOST_FITTING:
            _FITTING.pop(next(iter(_FITTING)), None)
        # The catalog is kept too, so that its id stays its own.
        known = _FITTING[key] = (catalog, _fitting(chip, one, catalog))
    if known[1] is None:
        return None
    there = base.model_copy(update=known[1])
    return there, evaluate(_served(there, catalog)[1].model)


_FITTING: dict[tuple[int, Scenario], tuple[Catalog, dict[str, str] | None]] = {}
MOST_FITTING = 256
MOVED = ("requests_per_s", "concurrency", "slo_ttft_ms", "slo_tpot_ms", "slo_latency_ms")


def _fitting(chip: Accelerator, base: Scenario, catalog: Catalog) -> dict[str, str] | None:
    """Precision and engine with which a device holds the model and one request."""
    model = catalog.models[base.model]
    wanted = catalog.schemes.get(base.scheme)
    bits = math.inf if wanted is None else wanted.weight_bits
    schemes = sorted(
        (each for each in catalog.schemes.values() if each.weight_bits <= bits),
        key=lambda each: (each.id != base.scheme, -each.weight_bits, each.id),
    )
    engines = sorted(catalog.engines.values(), key=lambda each: each.id != base.engine)
    for scheme in schemes:
        for engine in engines:
            if engine_serves(engine, model, chip, scheme):
                continue
            found = {"scheme": scheme.id, "engine": engine.id}
            try:
                _, whole = _served(base.model_copy(update=found), catalog)
            except ImpossibleChoice:
                continue
            if not performance(whole.model).obstacles:
                return found
            break  # another engine does not make it smaller
    return None


# Break-even --------------------------------------------------------------------------------------


def crossings(volumes: Array, first: Array, second: Array) -> list[tuple[float, bool]]:
    """Volumes at which two curves of cost cross, and whether the second is cheaper from there on.

    Between two volumes both are straight on logarithmic axes.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.log(first / second)
    known_at = np.flatnonzero(np.isfinite(apart) & (np.abs(apart) > 1e-9))
    found = []
    for left, right in pairwise(known_at):
        if (apart[left] > 0.0) != (apart[right] > 0.0):
            part = apart[left] / (apart[left] - apart[right])
            low, high = math.log(volumes[left]), math.log(volumes[right])
            found.append((math.exp(low + part * (high - low)), bool(apart[right] > 0.0)))
    return found


def _where_the_cheapest_changes(volumes: Array, ways: Sequence[Way]) -> tuple[BreakEven, ...]:
    """The lower envelope of all curves."""
    ways = [way for way in ways if quick_enough(way, ways)]
    costs = np.array([way.costs for way in ways])
    some = ~np.isnan(costs).all(axis=0)
    if not some.any():
        return ()
    best = np.nanargmin(np.where(some, costs, 0.0), axis=0)
    found = []
    for left, right in pairwise(range(len(volumes))):
        if not some[left] or not some[right] or best[left] == best[right]:
            continue
        below, above = ways[best[left]], ways[best[right]]
        between = crossings(
            volumes[left : right + 1], below.costs[left : right + 1], above.costs[left : right + 1]
        )
        if between:
            found.append(BreakEven(between[0][0], below.id, above.id))
    return tuple(found)


def _pairs(volumes: Array, ways: Sequence[Way]) -> Iterator[BreakEven]:
    for index, first in enumerate(ways):
        for second in ways[index + 1 :]:
            if found := crossings(volumes, first.costs, second.costs):
                volume, second_wins = found[-1]
                below, above = (first.id, second.id) if second_wins else (second.id, first.id)
                yield BreakEven(volume, below, above)


# As JSON -----------------------------------------------------------------------------------------


def summary(scenario: Scenario, catalog: Catalog) -> dict[str, Any]:
    """Everything as plain values for JSON; an unknown figure is null, money is in USD."""
    return document(compare(scenario, catalog))


def document(found: Buying) -> dict[str, Any]:
    """A comparison as plain values for JSON."""
    scenario, mix, cash, best = found.scenario, found.mix, found.cash, found.best
    return {
        "basis": "loaded",
        "requests_per_month": scenario.requests_per_s * MONTH,
        "cheapest": None if best is None else best.id,
        "ways": [
            {
                "way": way.id, "title": way.title, "cost_per_inference_usd": known(way.cost),
                "monthly_cost_usd": known(way.monthly), "what": way.note or None,
                "reason": way.reason or None, "devices": known(way.devices),
                "energy_wh": known(way.energy / WATT_HOUR), "carbon_g": known(way.carbon),
                "assumptions": [
                    {
                        "what": line.what, "value": line.value, "source": line.source,
                        "as_of": None if line.as_of is None else line.as_of.isoformat(),
                        "age": line.age or None,
                    }
                    for line in way.assumes
                ],
            }
            for way in found.ways
        ],
        "cheapest_changes": [_crossing(each) for each in found.cheapest],
        "break_evens": [_crossing(each) for each in found.break_evens],
        "mix": None if mix is None else {
            "instance": mix.instance, "commitment": mix.commitment or None,
            "committed_instances": known(mix.committed),
            "instances_needed": [float(each) for each in mix.need],
            "committed_usd_per_hour": known(mix.committed_price * HOUR),
            "flexible_usd_per_hour": known(mix.flexible_price * HOUR),
            "break_even_utilisation": known(mix.break_even), "coverage": known(mix.coverage),
            "unused_share": known(mix.unused_share), "spot_share": mix.spot_share,
            "monthly_cost_usd": known(mix.monthly),
            "monthly_cost_without_commitment_usd": known(mix.all_flexible),
        },
        "cash": None if cash is None else {
            "purchase_usd": known(cash.purchase),
            "payback_months": {id: known(each / MONTH) for id, each in cash.payback.items()},
            "months": [int(month) for month in cash.months],
            "paid_usd": {id: [float(x) for x in paid] for id, paid in cash.paid.items()},
        },
        "link": "?" + links.encode(scenario),
    }  # fmt: skip


def _crossing(each: BreakEven) -> dict[str, Any]:
    return {
        "requests_per_s": each.requests_per_s,
        "requests_per_month": each.requests_per_s * MONTH,
        "below": each.below, "above": each.above,
    }  # fmt: skip
