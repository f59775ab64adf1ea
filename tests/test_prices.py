"""Current prices: read from a catalog file, compared, kept, and preferred by the catalog."""

from __future__ import annotations

import builtins
import csv
import sys
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cpi_model.catalog import PRICES_VARIABLE, SNAPSHOTS, Catalog, CatalogError, load, price_on
from cpi_model.schema import InstancePrice
from cpi_model.studies import prices

FACTS = load()
TODAY = date(2026, 11, 25)
HEADER = (
    "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,"
    "gpu_vendor,flags,cpu_arch,provider_data"
)
"""Columns of a catalog file of gpuhunt 0.1.34."""
ROWS = (
    "p5.48xlarge,us-east-1,50.0,192,2048.0,8,H100,80.0,False,,nvidia,,x86,{}",
    "p5.48xlarge,us-east-1,11.0,192,2048.0,8,H100,80.0,True,,nvidia,,x86,{}",
    "p5.48xlarge,ap-south-1,54.0,192,2048.0,8,H100,80.0,False,,nvidia,,x86,{}",
    # Not in the catalog, given away, and the same name with other devices.
    "x9.giant,us-east-1,1.0,192,2048.0,8,H100,80.0,False,,nvidia,,x86,{}",
    "g5.xlarge,us-east-1,0.0,4,16.0,1,A10G,24.0,False,,nvidia,,x86,{}",
    "g6.xlarge,us-east-1,0.8,4,16.0,4,L4,24.0,False,,nvidia,,x86,{}",
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source" / "aws.csv", ROWS)


def write(path: Path, rows: tuple[str, ...], header: str = HEADER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def kept(source: Path, folder: Path, day: date = TODAY, facts: Catalog = FACTS) -> Path:
    found, _ = prices.matched(prices.read(source), facts, day)
    return prices.write(found, folder, day)


def test_only_instances_of_the_catalog_count(source: Path) -> None:
    found, skipped = prices.matched(prices.read(source), FACTS, TODAY)
    assert skipped == 3
    assert {(p.instance, p.region, p.purchase, p.usd_per_hour) for p in found} == {
        ("aws/p5.48xlarge", "us-east-1", "on_demand", 50.0),
        ("aws/p5.48xlarge", "us-east-1", "spot", 11.0),
        ("aws/p5.48xlarge", "ap-south-1", "on_demand", 54.0),
    }
    assert all(p.valid_from == TODAY for p in found)


def test_a_folder_is_read_file_by_file_and_zones_are_regions(tmp_path: Path) -> None:
    write(tmp_path / "aws.csv", ROWS)
    write(tmp_path / "notes.csv", ("nothing",), header="what")
    write(tmp_path / "gcp.csv", (
        "g2-standard-4,us-central1-a,0.8,4,16.0,1,L4,24.0,False,,nvidia,,x86,{}",
        "g2-standard-4,us-central1-b,0.7,4,16.0,1,L4,24.0,False,,nvidia,,x86,{}",
    ))  # fmt: skip
    found, _ = prices.matched(prices.read(tmp_path), FACTS, TODAY)
    (google,) = [p for p in found if p.instance.startswith("gcp/")]
    assert (google.region, google.usd_per_hour) == ("us-central1", 0.7)
    assert len(found) == 4


def test_the_difference_to_what_was_known(source: Path) -> None:
    found, _ = prices.matched(prices.read(source), FACTS, TODAY)
    compared = {
        (each.price.region, each.price.purchase): each for each in prices.changes(found, FACTS)
    }
    old = price_on(FACTS, "aws/p5.48xlarge", "on_demand", {"us-east-1"})
    assert old is not None
    change = compared["us-east-1", "on_demand"]
    assert change.before == old
    assert change.share == pytest.approx(50.0 / old.usd_per_hour - 1.0)
    assert compared["ap-south-1", "on_demand"].before is None


def test_the_catalog_prefers_the_snapshot_and_keeps_the_history(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "prices"
    kept(source, folder)
    later = TODAY + timedelta(days=30)
    write(source, ROWS[:1], HEADER)
    source.write_text(source.read_text(encoding="utf-8").replace("50.0", "48.0"), encoding="utf-8")
    kept(source, folder, later)
    monkeypatch.setenv(PRICES_VARIABLE, str(folder))
    facts = load()

    def price(day: date | None) -> float:
        found = price_on(facts, "aws/p5.48xlarge", "on_demand", {"us-east-1"}, day)
        assert found is not None
        return found.usd_per_hour

    before = price_on(FACTS, "aws/p5.48xlarge", "on_demand", {"us-east-1"})
    assert before is not None
    assert price(None) == 48.0
    assert price(TODAY) == 50.0
    assert price(TODAY - timedelta(days=1)) == before.usd_per_hour
    # What the snapshot says nothing of is as it was.
    assert price_on(facts, "aws/g5.xlarge", "on_demand") == price_on(
        FACTS, "aws/g5.xlarge", "on_demand"
    )


def test_an_older_snapshot_does_not_replace_a_newer_price(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(source, tmp_path / "prices", date(2020, 1, 1))
    monkeypatch.setenv(PRICES_VARIABLE, str(tmp_path / "prices"))
    assert price_on(load(), "aws/p5.48xlarge", "on_demand", {"us-east-1"}) == price_on(
        FACTS, "aws/p5.48xlarge", "on_demand", {"us-east-1"}
    )


def test_a_snapshot_has_the_columns_of_our_prices(source: Path, tmp_path: Path) -> None:
    path = kept(source, tmp_path / "new" / "folder")
    assert path.name == "prices-2026-11-25.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == list(InstancePrice.model_fields)
    assert [path] == list(path.parent.iterdir())  # and no half-written file beside it


def test_a_snapshot_that_is_spoiled_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    write(
        tmp_path / "prices-2026-11-25.csv",
        ("aws/p5.48xlarge,us-east-1,on_demand,cheap,2026-11-25,somebody,quote,",),
        header="instance,region,purchase,usd_per_hour,valid_from,source,kind,note",
    )
    monkeypatch.setenv(PRICES_VARIABLE, str(tmp_path))
    with pytest.raises(CatalogError, match=r"prices-2026-11-25\.csv: row 2.*usd_per_hour"):
        load()


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        (("a,us,x,1,False",), "instance_name,location,price,gpu_count,spot", "line 2: price"),
        (("a,us,-1,1,False",), "instance_name,location,price,gpu_count,spot", "0 or more"),
        (("a,us,nan,1,False",), "instance_name,location,price,gpu_count,spot", "0 or more"),
        (("a,1",), "instance_name,price", "no column 'location'"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(
    tmp_path: Path, rows: tuple[str, ...], header: str, says: str
) -> None:
    with pytest.raises(prices.CannotRefresh, match=says):
        prices.read(write(tmp_path / "aws.csv", rows, header))


def test_other_things_that_are_no_catalog_file(tmp_path: Path) -> None:
    with pytest.raises(prices.CannotRefresh, match="no file"):
        prices.read(tmp_path / "gcp.csv")
    with pytest.raises(prices.CannotRefresh, match="no seller"):
        prices.read(write(tmp_path / "somebody.csv", ROWS))
    (tmp_path / "empty").mkdir()
    with pytest.raises(prices.CannotRefresh, match="no catalog file"):
        prices.read(tmp_path / "empty")
    (tmp_path / "oci.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(prices.CannotRefresh, match="cannot be read"):
        prices.read(tmp_path / "oci.csv")
    with pytest.raises(prices.CannotRefresh, match="nothing was written"):
        prices.write([], tmp_path / "out", TODAY)
    assert not (tmp_path / "out").exists()


def test_a_region_that_a_spreadsheet_would_run_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "aws.csv", (
        '"p5.48xlarge","=cmd()",50.0,192,2048,8,H100,80,False,,nvidia,,x86,{}',
    ))  # fmt: skip
    assert prices.matched(prices.read(path), FACTS, TODAY) == ([], 1)


# The network, which tests never use ---------------------------------------------------------------


def test_without_gpuhunt_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "gpuhunt":
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(prices.CannotRefresh, match=r"cpi_model\[prices\]"):
        prices.read(None)


class Broken(Exception):
    """Stands for the error that gpuhunt raises."""


@pytest.mark.parametrize("error", [Broken, OSError])
def test_without_network_one_sentence(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    class Unreachable:
        def __init__(self, auto_reload: bool) -> None:
            assert not auto_reload

        def load(self) -> None:
            raise error("name resolution")

    stand_in = ModuleType("gpuhunt")
    stand_in.__dict__.update(Catalog=Unreachable, GPUHuntError=Broken)
    monkeypatch.setitem(sys.modules, "gpuhunt", stand_in)
    with pytest.raises(prices.CannotRefresh, match="network"):
        prices.read(None)


def test_the_folder_of_snapshots_lies_with_the_data() -> None:
    assert SNAPSHOTS == "prices/snapshots"
