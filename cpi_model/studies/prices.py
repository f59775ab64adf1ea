"""Current prices of instances: read, compared with those that are known, kept as a snapshot.

A snapshot is a file of prices in the schema of ``prices/instances.csv``, named by its day. The
catalog reads all of them beside its own prices and takes the newest, so nothing is overwritten
and an older day still shows what was true then.
"""

from __future__ import annotations

import csv
import logging
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cpi_model.catalog import Catalog, price_on
from cpi_model.schema import InstancePrice, Purchase

CLOUDS = {
    "aws": "aws", "azure": "azure", "gcp": "gcp", "lambdalabs": "lambda", "nebius": "nebius",
    "oci": "oci", "runpod": "runpod", "verda": "verda",
}  # fmt: skip
"""Sellers as gpuhunt names them, and as our catalog does."""
COLUMNS = ("instance_name", "location", "price", "gpu_count", "spot")
"""Columns of gpuhunt's catalog files that are read."""
REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}")
ZONE = re.compile(r"-[a-z]$")
LARGEST_FILE = 200_000_000
GIVE_A_FILE = "give a catalog file of it with --source"


class CannotRefresh(ValueError):
    """Current prices cannot be had; nothing was changed."""


@dataclass(frozen=True)
class Quote:
    """One offer as gpuhunt states it."""

    provider: str
    instance_name: str
    location: str
    usd_per_hour: float
    gpu_count: int
    spot: bool


@dataclass(frozen=True)
class Change:
    """A price today beside the newest that was known."""

    price: InstancePrice
    before: InstancePrice | None

    @property
    def share(self) -> float:
        """Change relative to the old price; NaN where there was none."""
        if self.before is None:
            return math.nan
        return self.price.usd_per_hour / self.before.usd_per_hour - 1.0


def read(source: Path | None) -> list[Quote]:
    """Offers of a file or folder in the format of gpuhunt's catalog; without one, of the network.

    Raises
    ------
    CannotRefresh
        If there is no such file, it does not hold what it must, or gpuhunt or the network is
        missing.
    """
    if source is None:
        return _from_network()
    if source.is_dir():
        files = sorted(path for path in source.glob("*.csv") if path.stem in CLOUDS)
        if not files:
            raise CannotRefresh(
                f"{source.name} holds no catalog file: they are called "
                f"{', '.join(f'{name}.csv' for name in CLOUDS)}."
            )
    else:
        files = [source]
    return [quote for path in files for quote in _from_file(path)]


def _from_network() -> list[Quote]:
    """What gpuhunt publishes today; sellers that ask for a key are left out."""
    try:
        import gpuhunt
    except ImportError:
        raise CannotRefresh(
            f"gpuhunt is not installed: install cpi_model[prices], or {GIVE_A_FILE}."
        ) from None
    logging.getLogger("gpuhunt").setLevel(logging.CRITICAL)  # one sentence instead of tracebacks
    try:
        published = gpuhunt.Catalog(auto_reload=False)
        published.load()
        items = published.query(provider=list(CLOUDS))
    except (OSError, gpuhunt.GPUHuntError):
        raise CannotRefresh(
            "The prices of gpuhunt cannot be reached over the network: try again, or "
            f"{GIVE_A_FILE}."
        ) from None
    return [
        Quote(
            item.provider, item.instance_name, item.location, float(item.price),
            int(item.gpu_count), bool(item.spot),
        )
        for item in items
    ]  # fmt: skip


def _from_file(path: Path) -> Iterator[Quote]:
    name = path.name
    if path.stem not in CLOUDS:
        raise CannotRefresh(
            f"{name} is of no seller that is known: the file is called by its seller, "
            f"{', '.join(CLOUDS)}."
        )
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise CannotRefresh(f"{name} is larger than {LARGEST_FILE:,} bytes.")
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if missing := [each for each in COLUMNS if each not in (reader.fieldnames or ())]:
                raise CannotRefresh(f"{name} has no column '{missing[0]}'.")
            for row in reader:
                yield _quote(row, path.stem, f"{name}, line {reader.line_num}")
    except FileNotFoundError:
        raise CannotRefresh(f"There is no file {name}.") from None
    except (OSError, UnicodeDecodeError, csv.Error):
        raise CannotRefresh(f"{name} cannot be read as a table.") from None


def _quote(row: dict[str, str | None], provider: str, where: str) -> Quote:
    try:
        price, count = float(row["price"] or ""), int(row["gpu_count"] or "0")
    except ValueError:
        raise CannotRefresh(f"{where}: price and gpu_count must be numbers.") from None
    if not (math.isfinite(price) and price >= 0.0):
        raise CannotRefresh(f"{where}: price is {price:g}, must be 0 or more.")
    return Quote(
        provider, row["instance_name"] or "", row["location"] or "", price, count,
        (row["spot"] or "").casefold() == "true",
    )  # fmt: skip


def matched(
    quotes: Iterable[Quote], catalog: Catalog, day: date
) -> tuple[list[InstancePrice], int]:
    """Prices of the instances of the catalog, the cheapest of each region, and what was skipped.

    A quote counts where name and number of devices are those of an instance of ours. A price of
    zero is no price.
    """
    found: dict[tuple[str, str, Purchase], InstancePrice] = {}
    skipped = 0
    for quote in quotes:
        cloud = CLOUDS.get(quote.provider)
        instance = catalog.instances.get(f"{cloud}/{quote.instance_name}")
        region = ZONE.sub("", quote.location) if cloud == "gcp" else quote.location
        if instance is None or quote.usd_per_hour <= 0.0 or not REGION.fullmatch(region):
            skipped += 1
            continue
        chip = catalog.accelerators[instance.accelerator]
        if chip.kind != "cpu" and quote.gpu_count != instance.accelerator_count:
            skipped += 1
            continue
        purchase: Purchase = "spot" if quote.spot else "on_demand"
        key = (instance.id, region, purchase)
        if key in found and found[key].usd_per_hour <= quote.usd_per_hour:
            continue
        found[key] = InstancePrice(
            instance=instance.id, region=region, purchase=purchase,
            usd_per_hour=quote.usd_per_hour, valid_from=day, source="gpuhunt catalog",
            kind="repository", note="price on that day",
        )  # fmt: skip
    return sorted(found.values(), key=lambda price: (price.instance, price.region)), skipped


def changes(prices: Sequence[InstancePrice], catalog: Catalog) -> list[Change]:
    """Every price beside the newest that was known for the same instance, region and option."""
    return [
        Change(price, _exactly(price_on(catalog, price.instance, price.purchase, {price.region}),
                               price))
        for price in prices
    ]  # fmt: skip


def _exactly(before: InstancePrice | None, price: InstancePrice) -> InstancePrice | None:
    """A price that holds everywhere is none of this region."""
    return before if before is not None and before.region == price.region else None


def write(prices: Sequence[InstancePrice], folder: Path, day: date) -> Path:
    """Keep prices as the snapshot of a day: all of it is written, or nothing.

    Raises
    ------
    CannotRefresh
        If there are no prices or the folder cannot be written to.
    """
    if not prices:
        raise CannotRefresh("No price is of an instance of the catalog; nothing was written.")
    path = folder / f"prices-{day.isoformat()}.csv"
    part = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=folder, suffix=".part")
        with os.fdopen(handle, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(InstancePrice.model_fields), lineterminator="\n")
            writer.writeheader()
            writer.writerows(price.model_dump(mode="json") for price in prices)
        Path(part).chmod(0o644)
        Path(part).replace(path)
    except OSError:
        if part:
            Path(part).unlink(missing_ok=True)
        raise CannotRefresh(
            f"{folder.name} cannot be written to: name another folder with --out."
        ) from None
    return path
