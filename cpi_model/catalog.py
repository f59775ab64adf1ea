"""Everything under ``data/``, loaded once and cross-checked.

:func:`catalog` is the shipped data, :func:`load` reads any folder of the same layout. Loading
either gives a whole :class:`Catalog` or raises :class:`CatalogError` with the file, the entry and
the field that is wrong.
"""

from __future__ import annotations

import csv
import difflib
import os
import tomllib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from cpi_model.schema import (
    Accelerator,
    ApiPrice,
    EnergyFact,
    Engine,
    Instance,
    InstancePrice,
    Model,
    ModelRow,
    Purchase,
    Scheme,
    ServicePrice,
    Source,
    Traffic,
    TrafficRow,
)

SNAPSHOTS = "prices/snapshots"
"""Folder of prices of later days, a file a day, beside those that come with the package."""
PRICES_VARIABLE = "CPI_PRICES"
"""Variable that names a further folder of snapshots."""
GLOBAL = "global"
"""Region of a price that holds wherever its seller is."""


class CatalogError(ValueError):
    """The data cannot be loaded; the message names the file, the entry and the field."""


class UnknownId(ValueError):
    """An id that is not in the catalog; the message has the nearest that are."""

    def __init__(self, kind: str, unknown: str, ids: Iterable[str]) -> None:
        self.kind = kind
        self.unknown = unknown
        self.nearest = nearest(unknown, ids)
        hint = f"; did you mean {' or '.join(self.nearest)}?" if self.nearest else ""
        super().__init__(f"no {kind} is called '{unknown}'{hint}")


@dataclass(frozen=True)
class Catalog:
    """All facts, by id; prices and other rows in the order of their files."""

    accelerators: Mapping[str, Accelerator]
    models: Mapping[str, Model]
    schemes: Mapping[str, Scheme]
    engines: Mapping[str, Engine]
    instances: Mapping[str, Instance]
    instance_prices: tuple[InstancePrice, ...]
    api_prices: tuple[ApiPrice, ...]
    service_prices: tuple[ServicePrice, ...]
    energy_facts: tuple[EnergyFact, ...]
    traffic: Mapping[str, Traffic]
    """Recorded series of requests; :func:`traffic_rows` reads their steps."""
    prices_of: Mapping[str, tuple[InstancePrice, ...]]
    """Prices of each instance."""
    instances_of: Mapping[str, tuple[Instance, ...]]
    """Instances with each accelerator."""
    in_rows: frozenset[str] = frozenset()
    """Models that stand in ``models/measured.csv``, not in a file of their own."""

    def accelerator(self, id: str) -> Accelerator:
        """The accelerator of that id, or :class:`UnknownId`."""
        return _look_up("accelerator", self.accelerators, id)

    def model(self, id: str) -> Model:
        """The model of that id, or :class:`UnknownId`."""
        return _look_up("model", self.models, id)

    def scheme(self, id: str) -> Scheme:
        """The scheme of that id, or :class:`UnknownId`."""
        return _look_up("scheme", self.schemes, id)

    def engine(self, id: str) -> Engine:
        """The engine of that id, or :class:`UnknownId`."""
        return _look_up("engine", self.engines, id)

    def trace(self, id: str) -> Traffic:
        """The recorded traffic of that id, or :class:`UnknownId`."""
        return _look_up("traffic", self.traffic, id)

    def instance(self, id: str) -> Instance:
        """The instance of that id, or :class:`UnknownId`."""
        return _look_up("instance", self.instances, id)


@dataclass(frozen=True)
class Offer:
    """One way to rent an accelerator."""

    instance: Instance
    price: InstancePrice
    usd_per_device_hour: float
    """Price of the instance over its devices; of a whole socket for CPUs."""


@dataclass(frozen=True)
class Finding:
    """Something that a reader of the catalog should know."""

    what: Literal["missing", "old", "assumption", "conflict"]
    file: str
    id: str
    field: str
    text: str


# --- reading ---------------------------------------------------------------------------------


def data_folder() -> Path:
    """Folder of the shipped data: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "data"
    return installed if installed.is_dir() else package.parent / "data"


def load(folder: Path | None = None) -> Catalog:
    """Read and cross-check all data.

    Raises
    ------
    CatalogError
        If a file cannot be parsed, breaks the schema, has an id twice or names one that does not
        exist.
    """
    folder = folder or data_folder()
    if not folder.is_dir():
        raise CatalogError(f"{folder}: no such folder of data")
    accelerators = _things(folder, "accelerators", Accelerator)
    models = _things(folder, "models", Model)
    in_rows = _measured_models(folder, models)
    models |= in_rows
    schemes = _things(folder, "schemes", Scheme)
    engines = _things(folder, "engines", Engine)
    traffic = _things(folder, "traffic", Traffic)
    rows = read_rows(folder, "instances.csv", Instance, lambda r: r.id)
    instances = {row.id: row for row in rows}
    prices = read_rows(
        folder, "prices/instances.csv", InstancePrice,
        lambda r: (r.instance, r.region, r.purchase, r.valid_from),
    )  # fmt: skip
    apis = read_rows(
        folder,
        "prices/apis.csv",
        ApiPrice,
        lambda r: (r.provider, r.api_model, r.valid_from),
    )
    services = read_rows(
        folder, "prices/services.csv", ServicePrice,
        lambda r: (r.cloud, r.category, r.item, r.region, r.valid_from),
    )  # fmt: skip
    energy = read_rows(
        folder,
        "energy.csv",
        EnergyFact,
        lambda r: (r.category, r.place, r.metric, r.valid_from),
    )

    prices = _with_snapshots(prices, snapshot_folders(folder), instances)

    vendors = {accelerator.vendor for accelerator in accelerators.values()}
    for row in instances.values():
        _known("instances.csv", row.id, "accelerator", row.accelerator, accelerators)
        if row.id != f"{row.cloud}/{row.instance_type}":
            raise CatalogError(
                f"instances.csv: {row.id}: id must be '{row.cloud}/{row.instance_type}', "
                "the cloud and the instance type"
            )
    for price in prices:
        _known(
            "prices/instances.csv",
            price.instance,
            "instance",
            price.instance,
            instances,
        )
    for api in apis:
        if api.model is not None:
            name = f"{api.provider}/{api.api_model}"
            _known("prices/apis.csv", name, "model", api.model, models)
    for engine in engines.values():
        for scheme in engine.schemes:
            _known(f"engines/{engine.id}.toml", engine.id, "schemes", scheme, schemes)
        for vendor in engine.vendors:
            _known(f"engines/{engine.id}.toml", engine.id, "vendors", vendor, vendors)

    prices_of: dict[str, list[InstancePrice]] = defaultdict(list)
    for price in prices:
        prices_of[price.instance].append(price)
    instances_of: dict[str, list[Instance]] = defaultdict(list)
    for row in instances.values():
        instances_of[row.accelerator].append(row)
    return Catalog(
        accelerators=accelerators,
        models=models,
        schemes=schemes,
        engines=engines,
        instances=instances,
        instance_prices=prices,
        api_prices=apis,
        service_prices=services,
        energy_facts=energy,
        prices_of={id: tuple(items) for id, items in prices_of.items()},
        instances_of={id: tuple(items) for id, items in instances_of.items()},
        in_rows=frozenset(in_rows),
        traffic=traffic,
    )


def snapshot_folders(folder: Path) -> list[Path]:
    """Where prices of later days may lie: with the data, and where the reader says."""
    named = os.environ.get(PRICES_VARIABLE)
    return [folder / SNAPSHOTS, *([Path(named)] if named else [])]


def _with_snapshots(
    prices: tuple[InstancePrice, ...], folders: Iterable[Path], instances: Mapping[str, Instance]
) -> tuple[InstancePrice, ...]:
    """Prices with those of all snapshots; what is of the same day is the snapshot's."""
    found = {(p.instance, p.region, p.purchase, p.valid_from): p for p in prices}
    for folder in folders:
        for path in sorted(folder.glob("prices-*.csv")):
            rows = read_rows(
                folder, path.name, InstancePrice,
                lambda r: (r.instance, r.region, r.purchase, r.valid_from),
            )  # fmt: skip
            for row in rows:
                _known(path.name, row.instance, "instance", row.instance, instances)
                found[row.instance, row.region, row.purchase, row.valid_from] = row
    return tuple(found.values())


@cache
def catalog() -> Catalog:
    """The shipped data, read once."""
    return load()


Thing = TypeVar("Thing", Accelerator, Model, Scheme, Engine, Traffic)
Row = TypeVar("Row", bound=BaseModel)
Item = TypeVar("Item")


def _things(folder: Path, name: str, kind: type[Thing]) -> dict[str, Thing]:
    """All entries of a folder with one TOML file each."""
    found: dict[str, Thing] = {}
    for path in sorted((folder / name).glob("*.toml")):
        file = f"{name}/{path.name}"
        try:
            record = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CatalogError(f"{file}: not valid TOML: {error}") from error
        try:
            thing = kind.model_validate(record)
        except ValidationError as error:
            raise CatalogError(f"{file}: {_explain(error)}") from error
        if thing.id != path.stem:
            raise CatalogError(f"{file}: id is '{thing.id}', must be the file's name '{path.stem}'")
        found[thing.id] = thing
    if not found:
        raise CatalogError(f"{name}/: no entries")
    return found


def _measured_models(folder: Path, known: Mapping[str, Model]) -> dict[str, Model]:
    """Models of published benchmarks, a row each."""
    file = "models/measured.csv"
    if not (folder / file).exists():
        return {}
    found = {}
    for row in read_rows(folder, file, ModelRow, lambda r: r.id):
        if row.id in known:
            raise CatalogError(f"{file}: {row.id}: there is a file of that name as well")
        try:
            found[row.id] = row.model()
        except ValidationError as error:
            raise CatalogError(f"{file}: {row.id}: {_explain(error)}") from error
    return found


def read_rows(
    folder: Path, file: str, kind: type[Row], key: Callable[[Row], Hashable]
) -> tuple[Row, ...]:
    """All rows of a CSV file; an empty cell is an absent value.

    Raises
    ------
    CatalogError
        If the file is missing, is no CSV, lacks a column, breaks the schema or has a key twice.
    """
    path = folder / file
    # A cell that is empty becomes None where the schema has no default and allows None.
    nullable: dict[str, Any] = {
        name: None
        for name, field in kind.model_fields.items()
        if field.is_required() and NoneType in get_args(field.annotation)
    }
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, [])
            records: list[dict[str, Any]] = []
            for number, cells in enumerate(reader, start=2):
                if len(cells) != len(header):
                    raise CatalogError(
                        f"{file}: row {number} has {len(cells)} cells, must have {len(header)}"
                    )
                record = dict(nullable)
                record |= {name: cell for name, cell in zip(header, cells, strict=True) if cell}
                records.append(record)
    except FileNotFoundError as error:
        raise CatalogError(f"{file}: file is missing") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise CatalogError(f"{file}: not valid CSV: {error}") from error
    if missing := [name for name in kind.model_fields if name not in header]:
        raise CatalogError(f"{file}: column '{missing[0]}' is missing")
    try:
        rows = TypeAdapter(tuple[kind, ...]).validate_python(records)  # type: ignore[valid-type]
    except ValidationError as error:
        position = error.errors()[0]["loc"][0]
        assert isinstance(position, int)
        record = records[position]
        label = record.get("id") or record.get("instance") or record.get("api_model") or ""
        where = f"row {position + 2}" + (f" ({label})" if label else "")
        raise CatalogError(f"{file}: {where}: {_explain(error, skip=1)}") from error
    seen: dict[Hashable, int] = {}
    for number, row in enumerate(rows, start=2):
        if (identity := key(row)) in seen:
            name = identity if isinstance(identity, str) else " ".join(map(str, _flat(identity)))
            raise CatalogError(
                f"{file}: row {number} repeats row {seen[identity]} ({name}), must be unique"
            )
        seen[identity] = number
    return rows


def traffic_rows(trace: Traffic, folder: Path | None = None) -> tuple[TrafficRow, ...]:
    """Steps of a recorded series, in order.

    Raises
    ------
    CatalogError
        If the file breaks the schema, lacks a step, or does not add up to the totals of the trace.
    """
    file = f"traffic/{trace.id}.csv"
    rows = read_rows(folder or data_folder(), file, TrafficRow, lambda row: row.step)
    for number, row in enumerate(rows):
        if row.step != number:
            raise CatalogError(f"{file}: row {number + 2}: step is {row.step}, must be {number}")
    for column, total in trace.totals:
        found = sum(getattr(row, column) or 0.0 for row in rows)
        if found != (total or 0.0):
            raise CatalogError(
                f"{file}: {column} adds up to {found:,.0f}, must be {total or 0.0:,.0f} as in "
                f"totals of traffic/{trace.id}.toml"
            )
    if strange := [step for step in trace.partial_steps if step >= len(rows)]:
        raise CatalogError(
            f"traffic/{trace.id}.toml: partial_steps has {strange[0]}, not in {file}"
        )
    return rows


def _flat(identity: Hashable) -> Sequence[object]:
    return identity if isinstance(identity, tuple) else (identity,)


def _explain(error: ValidationError, skip: int = 0) -> str:
    """First complaint of pydantic in one sentence: field, what is allowed, what was there."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][skip:])
    message = first["msg"].removeprefix("Value error, ")
    value = first.get("input")
    shown = "" if isinstance(value, (dict, BaseModel)) else f" (got {value!r})"
    return f"{field}: {message}{shown}" if field else f"{message}{shown}"


def _known(file: str, id: str, field: str, value: str, allowed: Iterable[str]) -> None:
    """Refuse a reference to something that is not there."""
    allowed = list(allowed) if not isinstance(allowed, (dict, set)) else allowed
    if value not in allowed:
        close = nearest(value, allowed)
        hint = f"; nearest: {', '.join(close)}" if close else ""
        raise CatalogError(f"{file}: {id}: {field} names '{value}', which is not there{hint}")


# --- asking ----------------------------------------------------------------------------------


def nearest(id: str, ids: Iterable[str], count: int = 3) -> tuple[str, ...]:
    """Ids that look most like one that is not there: those that begin with it, then similar ones.

    >>> nearest("H100", ["h100-sxm", "p100", "h100-pcie", "a10g"])
    ('h100-pcie', 'h100-sxm', 'p100')
    """
    wanted = id.casefold()
    by_folded = {name.casefold(): name for name in ids}
    begin = sorted(name for name in by_folded if wanted and name.startswith(wanted))
    close = difflib.get_close_matches(wanted, by_folded, n=count, cutoff=0.5)
    return tuple(by_folded[name] for name in dict.fromkeys(begin + close))[:count]


def _look_up(kind: str, things: Mapping[str, Item], id: str) -> Item:
    try:
        return things[id]
    except KeyError:
        raise UnknownId(kind, id, things) from None


def _valid(prices: Iterable[InstancePrice], day: date | None) -> Iterator[InstancePrice]:
    """Of each region and purchase option the newest price that began by that day."""
    newest: dict[tuple[str, str], InstancePrice] = {}
    for price in prices:
        if day is not None and price.valid_from > day:
            continue
        key = (price.region, price.purchase)
        if key not in newest or price.valid_from > newest[key].valid_from:
            newest[key] = price
    yield from newest.values()


Names = Set[str] | None
"""Some clouds or regions, or all."""


def _in_region(price: InstancePrice, regions: Names) -> bool:
    return regions is None or price.region == GLOBAL or price.region in regions


def price_on(
    catalog: Catalog,
    instance_id: str,
    purchase: Purchase,
    regions: Names = None,
    day: date | None = None,
) -> InstancePrice | None:
    """Price of an instance that is valid on a day.

    The newest price that began on or before `day`; without `day` the newest of all. Without
    `regions` the cheapest region's. None where the price is not known, which is not zero.
    """
    catalog.instance(instance_id)
    found = [
        price
        for price in _valid(catalog.prices_of.get(instance_id, ()), day)
        if price.purchase == purchase and _in_region(price, regions)
    ]
    return min(found, key=lambda price: price.usd_per_hour, default=None)


def offers(
    catalog: Catalog,
    accelerator_id: str,
    purchase: Purchase,
    clouds: Names = None,
    regions: Names = None,
    day: date | None = None,
) -> list[Offer]:
    """Every instance with an accelerator that can be had in this way, cheapest per device first.

    Owned capacity is a cost, not an offer: it is listed only where `clouds` asks for it by name.
    """
    catalog.accelerator(accelerator_id)
    found = [
        Offer(instance, price, price.usd_per_hour / instance.accelerator_count)
        for instance in catalog.instances_of.get(accelerator_id, ())
        if (instance.tenure == "rent" if clouds is None else instance.cloud in clouds)
        for price in _valid(
            (each for each in catalog.prices_of.get(instance.id, ()) if each.purchase == purchase),
            day,
        )
        if _in_region(price, regions)
    ]
    # Ties (a node of 1 and of 8 at the same rate) go to the smaller, then by name: repeatable.
    found.sort(
        key=lambda offer: (
            offer.usd_per_device_hour,
            offer.instance.accelerator_count,
            offer.instance.id,
            offer.price.region,
        )
    )
    return found


# --- checking --------------------------------------------------------------------------------

EXPECTED = (
    "memory_bandwidth_gb_per_s",
    "tdp_w",
    "idle_w",
    "dense_tflops",
    "link_gb_per_s",
)
"""Fields of an accelerator without which an estimate borrows or assumes."""


def check(catalog: Catalog, older_than_days: int, today: date) -> list[Finding]:
    """What is missing, old, assumed or in conflict; none of it keeps the data from loading."""
    found: list[Finding] = []
    limit = today - timedelta(days=older_than_days)

    def sources(folder: str, id: str, given: tuple[Source, ...]) -> None:
        row = folder == "models" and id in catalog.in_rows
        file = "models/measured.csv" if row else f"{folder}/{id}.toml"
        for source in given:
            covers = ", ".join(source.covers)
            if source.accessed < limit:
                found.append(Finding("old", file, id, covers, f"read on {source.accessed}"))
            if source.kind == "assumption":
                found.append(Finding("assumption", file, id, covers, source.note or source.title))

    for chip in catalog.accelerators.values():
        file = f"accelerators/{chip.id}.toml"
        for field in EXPECTED:
            if field == "link_gb_per_s" and chip.fast_domain_devices == 1:
                continue
            if not getattr(chip, field):
                found.append(Finding("missing", file, chip.id, field, "no figure"))
        if chip.memory_gb is None and chip.kind != "cpu":
            found.append(Finding("missing", file, chip.id, "memory_gb", "no figure"))
        if chip.threads is None and chip.kind == "cpu":
            found.append(Finding("missing", file, chip.id, "threads", "no figure"))
        if not any(
            catalog.prices_of.get(instance.id) for instance in catalog.instances_of.get(chip.id, ())
        ):
            found.append(Finding("missing", file, chip.id, "price", "no instance has a price"))
        if chip.conflicts:
            found.append(Finding("conflict", file, chip.id, "", chip.conflicts))
        sources("accelerators", chip.id, chip.sources)
    for model in catalog.models.values():
        if model.params_from == "published":
            text = f"shape written in part: {model.note}"
            found.append(
                Finding("missing", f"models/{model.id}.toml", model.id, "transformer", text)
            )
        sources("models", model.id, model.sources)
    for scheme in catalog.schemes.values():
        sources("schemes", scheme.id, scheme.sources)
    for engine in catalog.engines.values():
        sources("engines", engine.id, engine.sources)
    for trace in catalog.traffic.values():
        sources("traffic", trace.id, trace.sources)
    for instance in catalog.instances.values():
        if instance.id not in catalog.prices_of:
            found.append(Finding("missing", "instances.csv", instance.id, "price", "no price"))
    for instance_id, prices in catalog.prices_of.items():
        for price in _valid(prices, None):
            if price.valid_from < limit:
                text = f"{price.purchase} in {price.region} is from {price.valid_from}"
                found.append(Finding("old", "prices/instances.csv", instance_id, "price", text))
            if "conflict" in price.note.lower():
                found.append(
                    Finding("conflict", "prices/instances.csv", instance_id, "price", price.note)
                )
    for file, rows in (
        ("prices/apis.csv", [(f"{r.provider}/{r.api_model}", r) for r in catalog.api_prices]),
        ("prices/services.csv", [(f"{r.cloud}/{r.item}", r) for r in catalog.service_prices]),
        ("energy.csv", [(f"{r.place}/{r.metric}", r) for r in catalog.energy_facts]),
    ):  # fmt: skip
        for name, row in rows:
            if row.valid_from < limit:
                found.append(Finding("old", file, name, "", f"from {row.valid_from}"))
            if "conflict" in row.note.lower():
                found.append(Finding("conflict", file, name, "", row.note))
    order = {"missing": 0, "conflict": 1, "old": 2, "assumption": 3}
    return sorted(found, key=lambda finding: (order[finding.what], finding.file, finding.id))
