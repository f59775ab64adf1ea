"""Which hardware is cheapest: every configuration of a workload, and the best within limits.

Chip, instance, purchase option, precision, engine, split over devices and concurrency are tried
together, in one call of the model. What does not depend on sliders is looked up once and kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from cpi_model import links
from cpi_model.catalog import Catalog, offers
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import (
    BESIDE_SPEED,
    OBSTACLES,
    SPEED,
    Estimate,
    Performance,
    evaluate,
    floor_replicas,
    margin_below,
    performance,
)
from cpi_model.inputs import (
    Choice,
    ImpossibleChoice,
    Inputs,
    Problem,
    choices,
    device,
    fallback_price,
    falls_back,
    fast_domain,
    numbers,
    parallel_problems,
    price_paid,
    served,
    slow_link,
)
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.schema import Instance, InstancePrice, Purchase
from cpi_model.studies import bands, compression
from cpi_model.studies.answer import figures
from cpi_model.studies.compression import Kept
from cpi_model.studies.options import BUYING, SCALING
from cpi_model.studies.service import stack
from cpi_model.studies.sweep import DIRECT, row
from cpi_model.units import MONTH, Array, Numeric, Places

CONCURRENCIES = (
    1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024,
)  # fmt: skip
"""Requests in flight, or batches, that are tried."""
MOST_DEVICES = 32
"""Devices of the largest replica that is tried."""
WAYS = (1, 2, 4, 8, 16, 32)
STAGES = (1, 2, 4)
ENOUGH_RUNS = 50
"""With fewer measured runs an engine borrows its coefficients and would win on a guess: it is tried
on chips on which no other is better known."""
PURCHASES: dict[str, tuple[Purchase, ...]] = {
    "any": ("on_demand", "spot", "reserved_1y", "reserved_3y"),
    "no_spot": ("on_demand", "reserved_1y", "reserved_3y"),
}
TIE = 1e-9
"""Costs that differ by a smaller share are equal: whole replicas make many the same."""
FRONT_STEP = 0.002
"""A point of the front is at least by this share cheaper than the one before it."""
MOST_DRAWN = 24
"""The cheapest pieces of hardware, among which the really cheapest is looked for."""

REASONS = (
    "", "memory", "context", "first token", "token pace", "whole request", "devices", "budget",
    "carbon", "carbon unknown", "quality", "quality unknown", "network unknown",
)  # fmt: skip
"""Why a configuration is not offered, by its code; the first that holds counts."""
IN_TIME = ("first token", "token pace", "whole request")
AXES = (
    "accelerator", "instance", "cloud", "region", "purchase", "device_price_usd_per_hour",
    "scheme", "engine", "tensor_parallel", "pipeline_parallel", "data_parallel", "expert_parallel",
    "quality_floor", "compared_scheme", "compared_engine", "discount_share", "spot_overhead_share",
    "unused_commitment_share", "spot_interruptions_per_month", "spot_restart_minutes",
    "spot_lost_minutes", "spot_fallback_share", *BUYING, *SCALING,
)  # fmt: skip
"""Fields beside those of single numbers of which the table of choices is independent."""


@dataclass(frozen=True)
class Configuration:
    """One way to serve the workload, and what it comes to."""

    choice: Choice
    """With instance and price."""
    changes: dict[str, Any]
    """Fields that make the scenario this configuration."""
    estimate: Estimate
    kept: Kept
    """What is left of the quality."""
    limited_by: str
    """What keeps it from being cheaper: traffic, memory, bandwidth, compute, interconnect, ..."""
    low: float
    """Low end of the likely cost. [USD], NaN where nothing like it was measured"""
    high: float
    probability: float
    """Of really being the cheapest hardware, from the likely errors; NaN where it is not known."""

    @property
    def cost(self) -> float:
        """Fully loaded, of a successful inference. [USD]"""
        return float(self.estimate.cost_per_inference)

    @property
    def devices(self) -> float:
        """Devices in production at the peak."""
        return float(self.estimate.peak_replicas) * self.choice.devices_per_replica


@dataclass(frozen=True)
class Search:
    """What was found."""

    scenario: Scenario
    ranked: tuple[Configuration, ...]
    """The best of each piece of hardware, cheapest first."""
    front: tuple[Configuration, ...]
    """Nothing is both cheaper and faster (95th percentile) than these; fastest first."""
    rejected: dict[str, dict[str, int]]
    """Configurations that were left out, by hardware and reason."""
    unpriced: tuple[str, ...]
    """Hardware that could serve this, but of which no allowed price is known."""
    evaluated: int
    """Configurations whose cost was estimated."""
    considered: int
    """All, with those that a dearer offer, memory or quality rules out before."""

    @property
    def best(self) -> Configuration | None:
        """The cheapest of all."""
        return self.ranked[0] if self.ranked else None


# The table of choices, the same for all positions of the sliders ----------------------------------


class _Platform(NamedTuple):
    """Instances that differ by nothing but their price and their place."""

    chip: str
    devices: float
    """0 where no instance is known and the devices of a replica are bought as they are."""
    fast_domain: float
    slow_link: float
    """Network between servers for each device. [B/s]"""
    network_known: bool
    memory_gb: float | None
    """Of CPU instances, where it is the replica's."""


@dataclass(frozen=True)
class _Table:
    """Chip, precision and engine, on each kind of instance."""

    choices: tuple[Choice, ...]
    """Ordered by chip."""
    columns: dict[str, Array]
    """Numbers that differ between choices, one element each."""
    with_copies: dict[str, Array]
    """Those that are others with copies of the attention layers."""
    platforms: tuple[_Platform, ...]
    choice_of: Places
    """Choice of each row: a choice on a platform."""
    platform_of: Places
    chips: tuple[str, ...]
    nowhere: tuple[str, ...]
    """Chips that could serve this and that no instance has."""
    chip_of: Places
    scheme_of: Places
    """Precision of each choice, as a place in `kept`."""
    kept: tuple[Kept, ...]
    measured: tuple[bool, ...]
    """Whether the quality of each precision was measured on models of this class."""
    splits: Array
    """Tensor, pipeline, data and expert parallel: those that go with the model, a row each."""


def _platform(choice: Choice, instance: Instance | None) -> _Platform:
    chip = choice.accelerator
    return _Platform(
        chip=chip.id,
        devices=instance.accelerator_count if instance else 0.0,
        fast_domain=float(fast_domain(chip, instance)),
        slow_link=slow_link(chip, instance, coefficients()),
        network_known=instance is not None and bool(instance.network_gbit_per_s),
        memory_gb=instance.memory_gb if instance and chip.kind == "cpu" else None,
    )


_TABLES: dict[tuple[int, Scenario], tuple[Catalog, _Table]] = {}
MOST_TABLES = 8


def _table(scenario: Scenario, catalog: Catalog) -> _Table:
    """Choices for a scenario, kept while only sliders are moved."""
    neutral = scenario.model_copy(
        update={name: FIELDS[name].default for name in _independent(scenario, catalog)}
        # A price of one's own puts a chip on the list that nobody rents out.
        | ({} if scenario.device_price_usd_per_hour is None
           else {"accelerator": scenario.accelerator, "device_price_usd_per_hour": 1.0})
    )  # fmt: skip
    key = (id(catalog), neutral)
    if key not in _TABLES:
        if len(_TABLES) >= MOST_TABLES:
            _TABLES.pop(next(iter(_TABLES)), None)
        # The catalog is kept too, so that its id stays its own.
        _TABLES[key] = (catalog, _build(neutral, catalog))
    return _TABLES[key][1]


def _independent(scenario: Scenario, catalog: Catalog) -> set[str]:
    """Fields of which no choice depends on its own."""
    names = {*DIRECT, *AXES} | {
        name for name, info in FIELDS.items() if info.group in ("display", "scaling", "overheads")
    }
    names |= {"slo_share", "max_devices", "purchases", "max_usd_per_month", "cheapest_by",
              "live_versions", "stored_versions", "old_traffic_share",
              "old_min_replicas"}  # fmt: skip
    model = catalog.models.get(scenario.model)
    return names | {"input_tokens"} if model and model.transformer else names


def _build(scenario: Scenario, catalog: Catalog) -> _Table:
    fitted = coefficients()
    found: list[Choice] = []
    rows: list[dict[str, float]] = []
    copied: list[dict[str, float]] = []
    several = scenario.model_copy(update={"data_parallel": 2})
    platforms: dict[_Platform, Instance | None] = {}
    places: list[tuple[int, _Platform]] = []
    kinds_of: dict[str, dict[_Platform, Instance | None]] = {}
    priced_by_hand = scenario.device_price_usd_per_hour is not None
    for choice in _measured(list(choices(scenario, catalog))):
        chip = choice.accelerator.id
        if chip not in kinds_of:
            kinds_of[chip] = {}
            for each in catalog.instances_of.get(chip, ()):
                kinds_of[chip].setdefault(_platform(choice, each), each)
            if not kinds_of[chip] and priced_by_hand and chip == scenario.accelerator:
                kinds_of[chip] = {_platform(choice, None): None}
            platforms |= kinds_of[chip]
        if not (kinds := kinds_of[chip]):
            continue
        own = among = served(scenario, choice, fitted)
        if choice.model.transformer is not None and choice.model.transformer.experts:
            among = served(several, choice, fitted)
        if choice.accelerator.kind != "cpu":
            places += [(len(found), platform) for platform in kinds]
            found.append(choice)
            rows.append(own | device(scenario, choice, fitted))
            copied.append(among)
            continue
        for platform, instance in kinds.items():
            places.append((len(found), platform))
            found.append(choice)
            here = replace(choice, instance=instance)
            rows.append(own | device(scenario, here, fitted))
            copied.append(own)
    if not found:
        raise ImpossibleChoice((Problem(
            f"No hardware that can be rented serves {catalog.models[scenario.model].name}.",
            "model", {}, "pick another model",
        ),))  # fmt: skip
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    with_copies = {
        name: column for name in copied[0]
        if not np.array_equal(
            column := np.array([row[name] for row in copied]), columns[name], equal_nan=True
        )
    }  # fmt: skip
    numbered = {platform: place for place, platform in enumerate(platforms)}
    choice_of = np.array([choice for choice, _ in places], dtype=np.intp)
    chips = tuple(chip for chip, kinds in kinds_of.items() if kinds)
    by_chip = {chip: place for place, chip in enumerate(chips)}
    schemes = {choice.scheme.id: choice for choice in found}
    by_scheme = {scheme: place for place, scheme in enumerate(schemes)}
    kept = tuple(compression.kept(scenario, choice) for choice in schemes.values())
    return _Table(
        choices=tuple(found),
        columns={
            name: column for name, column in columns.items()
            if name in with_copies
            or not np.array_equal(column, np.full_like(column, column[0]), equal_nan=True)
        },
        with_copies=with_copies,
        platforms=tuple(platforms),
        choice_of=choice_of,
        platform_of=np.array([numbered[platform] for _, platform in places], dtype=np.intp),
        chips=chips,
        nowhere=tuple(chip for chip, kinds in kinds_of.items() if not kinds),
        chip_of=np.array([by_chip[choice.accelerator.id] for choice in found], dtype=np.intp),
        scheme_of=np.array([by_scheme[choice.scheme.id] for choice in found], dtype=np.intp),
        kept=kept,
        measured=tuple(
            each.measured(choice.scheme)
            for each, choice in zip(kept, schemes.values(), strict=True)
        ),
        splits=np.array(_splits(scenario, found[0]), dtype=float),
    )  # fmt: skip


def _measured(found: Sequence[Choice]) -> list[Choice]:
    """Choices with the engines of which most is known on each chip.

    First those that were measured on such chips, else those measured elsewhere, else any.
    """
    fitted = coefficients()
    makers = {c.accelerator.id: (c.accelerator.kind, c.accelerator.vendor) for c in found}
    runs: Counter[tuple[str, str, str]] = Counter()
    for name, pairing in (*fitted.pairings.items(), *fitted.modes.items()):
        for chip, engine in pairwise(name.split("/")):
            if chip in makers:
                runs[engine, *makers[chip]] += pairing.rows

    def known(choice: Choice) -> int:
        if choice.model.transformer is None:
            return 0
        chip, engine = choice.accelerator, choice.engine.id
        if fitted.engine(engine).rows < ENOUGH_RUNS:
            return 0
        return 1 + (runs[engine, chip.kind, chip.vendor] >= ENOUGH_RUNS)

    most: dict[str, int] = {}
    for choice in found:
        chip = choice.accelerator.id
        most[chip] = max(most.get(chip, 0), known(choice))
    return [choice for choice in found if known(choice) == most[choice.accelerator.id]]


def _splits(scenario: Scenario, choice: Choice) -> list[tuple[int, int, int, int]]:
    """Ways to split a model over devices that its heads, layers and experts allow.

    Copies of the attention layers only where there are experts to share; of a dense model they
    are replicas.
    """
    shape = choice.model.transformer
    if shape is None:
        return [(1, 1, 1, 1)]
    flat = [(ways, 1, 1) for ways in WAYS]
    if shape.experts:
        flat += [(ways, 1, ways) for ways in WAYS[1:]]
        flat += [(1, ways, ways) for ways in WAYS[1:]]
    found = []
    for (tensor, data, expert), stages in ((each, pp) for each in flat for pp in STAGES):
        split = {
            "tensor_parallel": tensor, "pipeline_parallel": stages, "data_parallel": data,
            "expert_parallel": expert,
        }  # fmt: skip
        if tensor * data * stages > MOST_DEVICES:
            continue
        if not parallel_problems(scenario.model_copy(update=split), choice.model):
            found.append((tensor, stages, data, expert))
    return found


# Prices -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Priced:
    """The cheapest offer of a platform, after all price options."""

    choice: Choice
    """Any that has its instance and price; without a price where that is the user's own."""
    purchase: Purchase
    numbers: dict[str, float]


_PRICES: dict[tuple[int, Scenario, date], tuple[_Table, dict[_Platform, _Priced]]] = {}
WITHOUT_PRICE = (
    "requests_per_s", "input_tokens", "output_tokens", "slo_ttft_ms", "slo_tpot_ms",
    "slo_latency_ms", "slo_share",
)  # fmt: skip
"""Fields that are moved often and that no price of an instance depends on."""


def _prices(scenario: Scenario, table: _Table, catalog: Catalog) -> dict[_Platform, _Priced]:
    """Prices for a scenario, kept for a day while only workload and limits are moved."""
    neutral = scenario.model_copy(update={name: FIELDS[name].default for name in WITHOUT_PRICE})
    key = (id(table), neutral, date.today())
    if (known := _PRICES.get(key)) is None:
        if len(_PRICES) >= MOST_TABLES:
            _PRICES.pop(next(iter(_PRICES)), None)
        # The table is kept too, so that its id stays its own.
        known = _PRICES[key] = (table, _cheapest_offers(scenario, table, catalog))
    return known[1]


def _cheapest_offers(
    scenario: Scenario, table: _Table, catalog: Catalog
) -> dict[_Platform, _Priced]:
    """What each platform costs where and how the scenario lets it be bought.

    Of offers that differ by their price alone, no other can be the best.
    """
    fitted = coefficients()
    options: Sequence[Purchase] = PURCHASES.get(scenario.purchases, (scenario.purchase,))
    one = {choice.accelerator.id: choice for choice in table.choices}
    found: dict[_Platform, _Priced] = {}

    def consider(
        choice: Choice, instance: Instance | None, price: InstancePrice | None, bought: Scenario
    ) -> None:
        fallback = fallback_price(instance, bought, catalog) if falls_back(bought) else None
        if falls_back(bought) and fallback is None:
            return
        here = replace(choice, instance=instance, price=price, fallback=fallback)
        paid = price_paid(bought, here, fitted)
        platform = _platform(choice, instance)
        known = found.get(platform)
        if known is None or paid["instance_price"] < known.numbers["instance_price"]:
            found[platform] = _Priced(here, bought.purchase, paid)

    for purchase in options:
        # A price of one's own is one of the chip that is chosen.
        bought = scenario.model_copy(
            update={"purchase": purchase, "device_price_usd_per_hour": None}
        )
        for chip, choice in one.items():
            if chip == scenario.accelerator and scenario.device_price_usd_per_hour is not None:
                continue
            for offer in offers(catalog, chip, purchase, scenario.clouds, scenario.regions):
                consider(choice, offer.instance, offer.price, bought)
    if scenario.device_price_usd_per_hour is not None and scenario.accelerator in one:
        choice = one[scenario.accelerator]
        for purchase in PURCHASES["any"]:
            for offer in offers(
                catalog, scenario.accelerator, purchase, scenario.clouds, scenario.regions
            ):
                consider(choice, offer.instance, None, scenario)
        if not catalog.instances_of.get(scenario.accelerator):
            consider(choice, None, None, scenario)
    return found


# The search ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Grid:
    """Rows of the table with a way to split the model over devices, chip by chip."""

    row_of: Places
    split_of: Places
    chip_of: Places

    def take(self, places: Places) -> _Grid:
        """Some of the rows."""
        return _Grid(self.row_of[places], self.split_of[places], self.chip_of[places])


WANTED = ("obstacles", "good_share", "ttft", "tpot", "latency_mean", "latency_p95")
"""Fields of the estimate that decide which configuration is best, whatever the limits."""
LIMITED = {
    "max_devices": "peak_replicas", "max_usd_per_month": "cost_rate", "max_carbon_g": "carbon",
}  # fmt: skip
"""Limits that need not be set, and what they are compared with."""
LIMIT_NAMES = {"max_devices": "devices", "max_usd_per_month": "budget", "max_carbon_g": "carbon"}


def search(scenario: Scenario, catalog: Catalog, hardware: Collection[str] | None = None) -> Search:
    """Find the cheapest configurations for a scenario's workload, within its limits.

    Model, workload, levers of compression other than the precision, and overheads are the
    scenario's. A fixed number of replicas is taken for as many as the peak needs. A price of one's
    own counts for the scenario's chip. With `hardware` only these chips are searched.

    Raises
    ------
    ImpossibleChoice
        If nothing of the catalog can serve the model, or the scenario is of two models.
    """
    if scenario.cascade_model != "none":
        raise _one_model("cascade_model", "a cascade of two models")
    if scenario.student != "none":
        raise _one_model("student", "a student, whose training is paid for by chip and price")
    plain = scenario.model_copy(update={"scaling": "peak"} if scenario.scaling == "fixed" else {})
    table = _table(plain, catalog)
    prices = _prices(plain, table, catalog)
    numbers_of = _Numbers(plain, table, prices)

    # Rows that are in question at all: there is a price, and enough quality is kept.
    chip_of_row = table.chip_of[table.choice_of]
    wanted = np.array([hardware is None or chip in hardware for chip in table.chips])
    priced = np.array([platform in prices for platform in table.platforms])
    bought = priced[table.platform_of] & wanted[chip_of_row]
    sold = set(np.unique(chip_of_row[bought]))
    unpriced = tuple(
        chip for place, chip in enumerate(table.chips) if wanted[place] and place not in sold
    ) + tuple(chip for chip in table.nowhere if hardware is None or chip in hardware)
    whole = _grid(table, np.flatnonzero(bought))
    points = len(CONCURRENCIES)
    considered = len(whole.row_of) * points
    counts = np.zeros((len(table.chips), len(REASONS)), dtype=int)

    def reject(grid: _Grid, reasons: Places) -> _Grid:
        """Count what is left out, and give what is left."""
        np.add.at(counts, (grid.chip_of, reasons), points)
        return grid.take(np.flatnonzero(reasons == 0))

    quality = _quality(table, scenario.quality_floor)
    kept = reject(whole, quality[table.scheme_of[table.choice_of[whole.row_of]]])
    kept = reject(kept, _networks(table, kept))
    # What does not hold one request holds no more of them.
    grid = reject(kept, _obstacles(numbers_of(kept)))
    if not len(grid.row_of):
        return Search(scenario, (), (), _named(counts, table), unpriced, 0, considered)

    inputs = numbers_of(grid)
    wide = _with_axis(inputs, np.array(CONCURRENCIES, dtype=float))
    goal = "cost_per_good_inference" if _by_good(scenario) else "cost_per_inference"
    limits = {field for name, field in LIMITED.items() if getattr(scenario, name) is not None}
    estimate = evaluate(wide, frozenset((*WANTED, goal, *limits)), _speed(wide, SPEED))
    codes = _codes(scenario, estimate, wide)
    places = grid.chip_of[:, np.newaxis] * len(REASONS) + codes
    counts += np.bincount(places.ravel(), minlength=counts.size).reshape(counts.shape)
    cost = np.where(codes == 0, getattr(estimate, goal), np.inf)
    latency = np.asarray(estimate.latency_p95)
    chosen, front = _cheapest(cost, latency, grid.chip_of), _front(cost, latency)
    ranked = _configurations(plain, np.array(chosen), grid, inputs, codes, table, prices)
    return Search(
        scenario=scenario,
        ranked=_with_chances(plain, ranked),
        front=tuple(
            each for each, _ in
            _configurations(plain, np.array(front), grid, inputs, codes, table, prices)
        ),
        rejected=_named(counts, table),
        unpriced=unpriced,
        evaluated=codes.size,
        considered=considered,
    )  # fmt: skip


@dataclass(frozen=True)
class Loosened:
    """A limit without which something can be offered."""

    field: str
    changes: dict[str, Any]
    best: Configuration


def loosened(scenario: Scenario, catalog: Catalog) -> list[Loosened]:
    """Where nothing keeps all limits: each limit that alone stands in the way, cheapest first."""
    free: dict[str, Any] = {
        name: FIELDS[name].maximum for name in ("slo_ttft_ms", "slo_tpot_ms", "slo_latency_ms")
    } | {"slo_share": 0.5, "quality_floor": 0.0, "purchases": "any", "cloud": "any",
         "region": "any", **dict.fromkeys(LIMITED)}  # fmt: skip
    found = []
    for field, value in free.items():
        if getattr(scenario, field) == value:
            continue
        best = search(scenario.model_copy(update={field: value}), catalog).best
        if best is not None:
            found.append(Loosened(field, {field: value}, best))
    return sorted(found, key=lambda each: each.best.cost)


def _one_model(field: str, what: str) -> ImpossibleChoice:
    return ImpossibleChoice((Problem(
        f"The search looks for the hardware of one model, and the scenario has {what}.", field,
        {field: "none"}, "search without it",
    ),))  # fmt: skip


def _quality(table: _Table, floor: float) -> Places:
    """Reason by precision: what is known to lose too much, or what nobody measured.

    Other levers, such as a narrow cache, were pulled by the user; that nobody measured what they
    cost is told and does not rule out all hardware.
    """
    return np.array([
        REASONS.index("quality") if kept.known.median < floor
        else 0 if measured else REASONS.index("quality unknown")
        for kept, measured in zip(table.kept, table.measured, strict=True)
    ])  # fmt: skip


def _networks(table: _Table, grid: _Grid) -> Places:
    """Replicas of several instances of which nobody says how fast they are joined, by row."""
    platform = table.platform_of[grid.row_of]
    domain = np.array([each.fast_domain for each in table.platforms])[platform]
    known = np.array([each.network_known for each in table.platforms])[platform]
    devices = table.splits[grid.split_of, :3].prod(axis=1)
    return np.where((devices > domain) & ~known, REASONS.index("network unknown"), 0)


def _by_good(scenario: Scenario) -> bool:
    return scenario.cheapest_by == "good_inference"


def _grid(table: _Table, rows: Places) -> _Grid:
    """Rows with every way to split the model; a CPU instance is one replica."""
    ways = len(table.splits)
    cpu = np.array([choice.accelerator.kind == "cpu" for choice in table.choices])
    times = np.where(cpu[table.choice_of[rows]], 1, ways)
    row_of = np.repeat(rows, times)
    begins = np.repeat(np.cumsum(times) - times, times)
    split_of = np.arange(len(row_of)) - begins
    return _Grid(row_of, split_of, table.chip_of[table.choice_of[row_of]])


class _Numbers:
    """Inputs of rows of a grid, at the scenario's positions of the sliders."""

    def __init__(self, scenario: Scenario, table: _Table, prices: dict[_Platform, _Priced]) -> None:
        self._table = table
        # What is the same for all choices comes from any of them.
        with_price = scenario.model_copy(
            update={"device_price_usd_per_hour": 1.0, "purchase": "on_demand"}
        )
        self._common = numbers(with_price, table.choices[0], coefficients())
        names = ("instance_price", "devices_per_instance", "memory_price_share")
        self._prices = {
            name: np.array([
                prices[each].numbers[name] if each in prices else math.nan
                for each in table.platforms
            ]) for name in names
        }  # fmt: skip
        self._domain = np.array([each.fast_domain for each in table.platforms])
        self._slow_link = np.array([each.slow_link for each in table.platforms])
        self._alone = np.array([each.devices == 0.0 for each in table.platforms])

    def __call__(self, grid: _Grid) -> Inputs:
        table = self._table
        choice, platform = table.choice_of[grid.row_of], table.platform_of[grid.row_of]
        split = table.splits[grid.split_of].T
        devices = split[0] * split[1] * split[2]
        columns: dict[str, Any] = {name: column[choice] for name, column in table.columns.items()}
        apart = split[2] > 1.0
        columns |= {
            name: np.where(apart, column[choice], table.columns[name][choice])
            for name, column in table.with_copies.items()
        }
        columns |= {name: column[platform] for name, column in self._prices.items()}
        # Without an instance, a replica's devices are bought as they are.
        bundled = np.where(self._alone[platform], devices, 1.0)
        columns["instance_price"] = columns["instance_price"] * bundled
        columns["devices_per_instance"] = columns["devices_per_instance"] * bundled
        columns |= {
            "fast_domain": self._domain[platform],
            "slow_link_bandwidth": self._slow_link[platform], "devices_per_replica": devices,
            "tensor_parallel": split[0], "pipeline_parallel": split[1],
            "data_parallel": split[2], "expert_parallel": split[3],
        }  # fmt: skip
        return replace(self._common, **columns)


_SPEEDS: list[tuple[Inputs, frozenset[str], Performance]] = []
MOST_SPEEDS = 4
READ = tuple(field.name for field in fields(Inputs) if field.name not in BESIDE_SPEED)


def _speed(inputs: Inputs, only: frozenset[str]) -> Performance:
    """Speed of many configurations, kept while only load, prices and limits are moved."""
    for before, fields_of, known in tuple(_SPEEDS):
        if fields_of == only and all(
            _equal(getattr(before, name), getattr(inputs, name)) for name in READ
        ):
            return known
    found = performance(inputs, only)
    _SPEEDS.insert(0, (inputs, only, found))
    del _SPEEDS[MOST_SPEEDS:]
    return found


def _equal(one: Any, other: Any) -> bool:
    return one is other or bool(np.array_equal(one, other, equal_nan=True))


def _obstacles(inputs: Inputs) -> Places:
    """Why not even one request runs, by row; 0 where it does."""
    one = replace(inputs, concurrency=1.0)
    bits = _speed(one, frozenset(("obstacles",))).obstacles
    too_long = np.bitwise_and(np.asarray(bits, dtype=int), OBSTACLES["context_too_long"]) > 0
    memory = np.where(np.greater(bits, 0), REASONS.index("memory"), 0)
    return np.where(too_long, REASONS.index("context"), memory)


def _with_axis(inputs: Inputs, concurrency: Array) -> Inputs:
    """The inputs with one axis more, the last: concurrency."""
    columns: dict[str, Any] = {
        field.name: value[:, np.newaxis] for field in fields(Inputs)
        if isinstance(value := getattr(inputs, field.name), np.ndarray)
    }  # fmt: skip
    return replace(inputs, **columns, concurrency=concurrency[np.newaxis, :])


def compared(name: str, estimate: Estimate, devices_per_replica: Numeric) -> Array:
    """What a limit that need not be set is compared with, in its unit."""
    units: dict[str, Numeric] = {"max_devices": devices_per_replica, "max_usd_per_month": MONTH}
    return np.asarray(getattr(estimate, LIMITED[name])) * units.get(name, 1.0)


def _codes(scenario: Scenario, estimate: Estimate, x: Inputs) -> Places:
    """Why a configuration is not offered, as places in :data:`REASONS`; 0 where it is."""
    shape = np.shape(estimate.obstacles)
    codes: Places = np.zeros(shape, dtype=np.intp)
    slow = np.less(estimate.good_share, scenario.slo_share * (1.0 - TIE))
    if slow.any():
        at = {
            name: np.broadcast_to(getattr(estimate, name), shape)[slow]
            for name in ("ttft", "tpot", "latency_mean")
        }
        spread = {
            name: np.broadcast_to(getattr(x, name), shape)[slow]
            for name in ("ttft_log_sd", "latency_log_sd")
        }
        margins = [margin_below(at["latency_mean"], spread["latency_log_sd"], x.slo_latency)]
        if x.is_llm:
            margins.insert(0, margin_below(at["tpot"], spread["latency_log_sd"], x.slo_tpot))
            margins.insert(0, margin_below(at["ttft"], spread["ttft_log_sd"], x.slo_ttft))
        # The limit that the fewest requests meet.
        named = [REASONS.index(name) for name in IN_TIME[-len(margins) :]]
        codes[slow] = np.array(named)[np.argmin(np.array(margins), axis=0)]
    for name in LIMITED:
        if (limit := getattr(scenario, name)) is None:
            continue
        used = compared(name, estimate, x.devices_per_replica)
        codes[(codes == 0) & (used > limit * (1.0 + TIE))] = REASONS.index(LIMIT_NAMES[name])
        codes[(codes == 0) & np.isnan(used)] = REASONS.index("carbon unknown")
    codes[np.greater(estimate.obstacles, 0)] = REASONS.index("memory")
    return codes


def _cheapest(cost: Array, latency: Array, chip_of: Places) -> list[int]:
    """Place of the cheapest configuration of each chip, and of equals the fastest."""
    starts = np.flatnonzero(np.diff(chip_of, prepend=-1))
    ends = np.append(starts[1:], len(chip_of))
    best = np.minimum.reduceat(cost.min(axis=1), starts)
    tied = cost <= np.repeat(best * (1.0 + TIE), ends - starts)[:, np.newaxis]
    time = np.where(tied, latency, np.inf)
    in_row = time.min(axis=1)
    found = []
    for start, end, least in zip(starts, ends, best, strict=True):
        if math.isfinite(least):
            place = start + int(np.argmin(in_row[start:end]))
            found.append(place * cost.shape[1] + int(np.argmin(time[place])))
    return found


def _front(cost: Array, latency: Array) -> list[int]:
    """Places of the configurations than which nothing is both cheaper and faster."""
    offered = np.flatnonzero(np.isfinite(cost))
    costs, times = cost.ravel()[offered], latency.ravel()[offered]
    # A few of them rule out most of the others, so that few are left to be sorted.
    some = _undominated(costs[::SAMPLED], times[::SAMPLED])
    if len(some):
        at = np.searchsorted(times[::SAMPLED][some], times, side="right")
        bound = np.append(np.inf, costs[::SAMPLED][some])[at]
        left = np.flatnonzero(costs <= bound)
        offered, costs, times = offered[left], costs[left], times[left]
    found: list[int] = []
    better = _undominated(costs, times)
    for place in better:
        if not found or costs[place] < costs[found[-1]] * (1.0 - FRONT_STEP):
            found.append(int(place))
    # The cheapest of all ends the front, however little it saves.
    if found and (last := int(better[-1])) != found[-1]:
        found[-1] = last
    return [int(offered[place]) for place in found]


SAMPLED = 256


def _undominated(costs: Array, times: Array) -> Places:
    """Places of what nothing is both cheaper and faster than, fastest first."""
    order = np.lexsort((costs, times))
    least = np.minimum.accumulate(costs[order])
    better: Places = order[np.diff(least, prepend=np.inf) < 0.0]
    return better


# What was found -----------------------------------------------------------------------------------


def _configurations(
    scenario: Scenario, places: Places, grid: _Grid, inputs: Inputs, codes: Places, table: _Table,
    prices: dict[_Platform, _Priced],
) -> list[tuple[Configuration, Inputs]]:  # fmt: skip
    """Configurations of places in the grid, estimated in full, with their numbers."""
    if not len(places):
        return []
    rows, points = np.divmod(places, len(CONCURRENCIES))
    fitted = coefficients()
    columns: dict[str, Any] = {
        field.name: value[rows] for field in fields(Inputs)
        if isinstance(value := getattr(inputs, field.name), np.ndarray)
    }  # fmt: skip
    columns["concurrency"] = np.array(CONCURRENCIES, dtype=float)[points]
    here = replace(inputs, **columns)
    found_choices = []
    for place in rows:
        choice = table.choices[table.choice_of[grid.row_of[place]]]
        priced = prices[table.platforms[table.platform_of[grid.row_of[place]]]]
        found_choices.append(replace(
            choice, instance=priced.choice.instance, price=priced.choice.price,
            devices_per_replica=float(np.asarray(inputs.devices_per_replica)[place]),
        ))  # fmt: skip
    slower = np.array([bands.slowness(choice, fitted) for choice in found_choices])
    cases = evaluate(bands.in_all_cases(here, slower))
    whole = bands.as_estimated(cases)
    low, high = bands.ends(cases, slower)["cost_per_inference"]
    found = []
    for place, (choice, at, point) in enumerate(zip(found_choices, rows, points, strict=True)):
        priced = prices[table.platforms[table.platform_of[grid.row_of[at]]]]
        alone = _row(here, place)
        estimate = row(whole, place)
        found.append((
            Configuration(
                choice=choice,
                changes=_changes(scenario, choice, table.splits[grid.split_of[at]],
                                 CONCURRENCIES[point], priced.purchase),
                estimate=estimate,
                kept=table.kept[table.scheme_of[table.choice_of[grid.row_of[at]]]],
                limited_by=_limit(estimate, alone, codes[at], int(point)),
                low=float(low[place]), high=float(high[place]), probability=math.nan,
            ),
            alone,
        ))  # fmt: skip
    return found


def _row(inputs: Inputs, place: int) -> Inputs:
    """One of many inputs, as plain numbers."""
    columns: dict[str, Any] = {
        field.name: float(value[place]) for field in fields(Inputs)
        if isinstance(value := getattr(inputs, field.name), np.ndarray)
    }  # fmt: skip
    return replace(inputs, **columns)


def _changes(
    scenario: Scenario, choice: Choice, split: Array, concurrency: int, purchase: Purchase
) -> dict[str, Any]:
    """Fields of the scenario that make it this configuration."""
    tensor, stages, data, expert = (int(each) for each in split)
    return {
        "accelerator": choice.accelerator.id,
        "instance": choice.instance.id if choice.instance else "auto",
        "purchase": purchase,
        "device_price_usd_per_hour": None if choice.price
        else scenario.device_price_usd_per_hour,
        "scheme": choice.scheme.id,
        "engine": choice.engine.id,
        "tensor_parallel": tensor,
        "pipeline_parallel": stages,
        "data_parallel": data,
        "expert_parallel": expert,
        "concurrency": concurrency,
        "scaling": scenario.scaling,
    }  # fmt: skip


IDLE = 0.5
"""Share of the wanted utilisation below which it is traffic that a machine lacks."""


def _limit(estimate: Estimate, x: Inputs, codes: Places, point: int) -> str:
    """What keeps a configuration from being cheaper."""
    least = max(float(floor_replicas(x)), float(x.live_versions))
    load = float(x.requests_per_s) * float(x.peak_to_mean) * (1.0 - float(x.answer_hit_share))
    if float(estimate.peak_replicas) <= least + float(x.spare_replicas) and load < IDLE * float(
        x.target_utilisation
    ) * least * float(estimate.throughput):
        return "traffic"
    if float(estimate.max_concurrency) <= CONCURRENCIES[point]:
        return "memory"
    if point + 1 < len(CONCURRENCIES):
        after = REASONS[codes[point + 1]]
        if after in IN_TIME:
            return f"limit: {after}"
        if float(estimate.max_concurrency) < CONCURRENCIES[point + 1]:
            return "memory"
    prompts = float(estimate.running) * float(estimate.prefill_time)
    tokens = float(x.output_tokens) if x.is_llm else 1.0
    parts = {
        "compute": prompts + tokens * float(estimate.step_compute),
        "bandwidth": tokens * float(estimate.step_weights + estimate.step_cache),
        "interconnect": tokens * float(estimate.step_network),
        "overhead": tokens * float(estimate.step_overhead + estimate.step_draft),
    }
    return max(parts, key=parts.__getitem__)


def _named(counts: Places, table: _Table) -> dict[str, dict[str, int]]:
    """Counts by hardware and reason, the most frequent first."""
    found = {}
    for chip, row_counts in zip(table.chips, counts, strict=True):
        reasons = {
            name: int(count) for name, count in zip(REASONS[1:], row_counts[1:], strict=True)
            if count
        }  # fmt: skip
        if reasons:
            found[chip] = dict(sorted(reasons.items(), key=lambda pair: -pair[1]))
    return found


# How sure -----------------------------------------------------------------------------------------


def _with_chances(
    scenario: Scenario, found: list[tuple[Configuration, Inputs]]
) -> tuple[Configuration, ...]:
    """Cheapest first, each with the probability of really being the cheapest."""
    good = _by_good(scenario)
    found = sorted(
        found,
        key=lambda pair: float(
            pair[0].estimate.cost_per_good_inference if good else pair[0].cost
        ),
    )  # fmt: skip
    chances = _chances(found[:MOST_DRAWN], good)
    rest = [0.0 if np.isfinite(chances).all() else math.nan] * len(found)
    return tuple(
        replace(each, probability=float(chance))
        for (each, _), chance in zip(found, [*chances, *rest], strict=False)
    )


def _chances(found: list[tuple[Configuration, Inputs]], good: bool) -> Array:
    """Share of drawn worlds in which each is the cheapest; NaN where no errors are known.

    Every time of a replica is multiplied by a factor (:func:`bands.worlds`).
    """
    factor = bands.worlds([each.choice for each, _ in found], coefficients())
    if factor is None:
        return np.full(len(found), math.nan)
    inputs = stack([each for _, each in found])
    drawn = evaluate(
        bands.in_all_cases(inputs, factor),
        frozenset(("cost_per_inference", "cost_per_good_inference")),
    )
    costs = drawn.cost_per_good_inference if good else drawn.cost_per_inference
    winners = np.argmin(np.asarray(costs), axis=0)
    chances: Array = np.bincount(winners, minlength=len(found)) / factor.shape[1]
    return chances


# For programs -------------------------------------------------------------------------------------


def summary(found: Search, top: int) -> dict[str, Any]:
    """What was found as plain values for JSON; an unknown figure is null, money is in USD."""
    return {
        "configurations": found.evaluated,
        "considered": found.considered,
        "ranked": [_document(found.scenario, each) for each in found.ranked[:top]],
        "hardware": len(found.ranked),
        "front": [_document(found.scenario, each) for each in found.front],
        "rejected": found.rejected,
        "without_price": list(found.unpriced),
        "link": "?" + links.encode(found.scenario),
    }


def _document(scenario: Scenario, each: Configuration) -> dict[str, Any]:
    def known(value: float) -> float | None:
        return value if math.isfinite(value) else None

    price, kept = each.choice.price, each.kept
    return {
        "hardware": each.choice.accelerator.id,
        "kind": each.choice.accelerator.kind,
        **each.changes,
        "region": price.region if price else None,
        "usd_per_instance_hour": price.usd_per_hour if price else None,
        "price_of": price.valid_from.isoformat() if price else None,
        "devices": each.devices,
        **figures(each.estimate),
        "cost_low_usd": known(each.low),
        "cost_high_usd": known(each.high),
        "probability_cheapest": known(each.probability),
        "limited_by": each.limited_by,
        "quality_kept": kept.known.median,
        "quality_not_measured": list(kept.unknown),
        "link": "?" + links.encode(scenario.model_copy(update=each.changes)),
    }
