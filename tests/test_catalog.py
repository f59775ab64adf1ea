"""Loading, cross-checks, prices on a day, offers, findings."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from cpi_model import catalog as module
from cpi_model.catalog import (
    GLOBAL,
    Catalog,
    CatalogError,
    UnknownId,
    catalog,
    check,
    data_folder,
    load,
    nearest,
    offers,
    price_on,
)

P5 = "aws/p5.48xlarge"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped data that a test may spoil."""
    return Path(shutil.copytree(data_folder(), tmp_path / "data"))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def repeat_first_row(path: Path) -> None:
    append(path, path.read_text(encoding="utf-8").splitlines()[1] + "\n")


# What is spoiled, and what the message must say: the file, the entry and the field.
SPOILED: list[tuple[Callable[[Path], None], tuple[str, ...]]] = [
    (
        lambda f: replace(f / "accelerators/h100-sxm.toml", "tdp_w = 700", "tdp_w = -700"),
        ("accelerators/h100-sxm.toml", "tdp_w", "greater than 0", "-700"),
    ),
    (
        lambda f: replace(f / "accelerators/h100-sxm.toml", "tdp_w = 700", "tdp_w = inf"),
        ("accelerators/h100-sxm.toml", "tdp_w", "finite"),
    ),
    (
        lambda f: replace(f / "accelerators/h100-sxm.toml", '    "tdp_w",\n', ""),
        ("accelerators/h100-sxm.toml", "no source covers tdp_w"),
    ),
    (
        lambda f: replace(
            f / "accelerators/h100-sxm.toml", '    "tdp_w",', '    "tdp_w", "threads",'
        ),
        ("accelerators/h100-sxm.toml", "covers 'threads'"),
    ),
    (
        lambda f: replace(f / "accelerators/h100-sxm.toml", "tdp_w = 700", "tdp = 700"),
        ("accelerators/h100-sxm.toml", "tdp", "Extra"),
    ),
    (
        lambda f: replace(f / "accelerators/h100-sxm.toml", 'id = "h100-sxm"', 'id = "h100"'),
        ("accelerators/h100-sxm.toml", "'h100'", "'h100-sxm'"),
    ),
    (
        lambda f: replace(f / "accelerators/h100-sxm.toml", "tdp_w = 700", "tdp_w = = 7"),
        ("accelerators/h100-sxm.toml", "TOML"),
    ),
    (
        lambda f: replace(f / "models/llama-3.1-8b.toml", "[transformer]", "[transfomer]"),
        ("models/llama-3.1-8b.toml",),
    ),
    (
        lambda f: replace(f / "engines/vllm.toml", '"int4-awq"', '"int4-aqw"'),
        ("engines/vllm.toml", "schemes", "int4-aqw", "int4-awq"),
    ),
    (
        lambda f: replace(f / "engines/vllm.toml", '"NVIDIA"', '"NVIDA"'),
        ("engines/vllm.toml", "vendors", "NVIDA", "NVIDIA"),
    ),
    (
        lambda f: replace(f / "instances.csv", ",h100-sxm,", ",h100-smx,"),
        ("instances.csv", "accelerator", "h100-smx", "h100-sxm"),
    ),
    (
        lambda f: replace(f / "instances.csv", f"{P5},aws", f"{P5},gcp"),
        ("instances.csv", P5, "gcp/p5.48xlarge"),
    ),
    (lambda f: repeat_first_row(f / "instances.csv"), ("instances.csv", "repeats row 2")),
    (
        lambda f: repeat_first_row(f / "prices/instances.csv"),
        ("prices/instances.csv", "repeats row 2"),
    ),
    (
        lambda f: repeat_first_row(f / "prices/apis.csv"),
        ("prices/apis.csv", "repeats row 2"),
    ),
    (
        lambda f: replace(f / "prices/instances.csv", f"{P5},", "aws/p5.84xlarge,"),
        ("prices/instances.csv", "aws/p5.84xlarge", P5),
    ),
    (
        lambda f: replace(f / "prices/instances.csv", ",on_demand,", ",on-demand,"),
        ("prices/instances.csv", "row 2", "purchase", "on-demand", "'on_demand'"),
    ),
    (
        lambda f: append(f / "prices/instances.csv", f"{P5},x,spot,0,2026-01-01,s,quote,\n"),
        ("prices/instances.csv", P5, "usd_per_hour", "greater than 0"),
    ),
    (
        lambda f: append(f / "prices/instances.csv", f"{P5},x,spot,,2026-01-01,s,quote,\n"),
        ("prices/instances.csv", P5, "usd_per_hour", "required"),
    ),
    (
        lambda f: append(f / "prices/instances.csv", f"{P5},x,spot,1,2026-01-01,,quote,\n"),
        ("prices/instances.csv", P5, "source", "required"),
    ),
    (
        lambda f: append(f / "prices/instances.csv", f"{P5},x,spot,1\n"),
        ("prices/instances.csv", "4 cells", "must have 8"),
    ),
    (
        lambda f: replace(f / "prices/instances.csv", ",usd_per_hour,", ",usd_per_day,"),
        ("prices/instances.csv", "usd_per_hour", "missing"),
    ),
    (
        lambda f: append(f / "prices/apis.csv", "me,m,llama-9,1,,1,,2026-01-01,s,\n"),
        ("prices/apis.csv", "me/m", "model", "llama-9"),
    ),
    (lambda f: (f / "energy.csv").unlink(), ("energy.csv", "missing")),
    (lambda f: shutil.rmtree(f / "models"), ("models",)),
]


@pytest.mark.parametrize(("spoil", "expected"), SPOILED)
def test_spoiled_data_is_refused_in_one_sentence(
    folder: Path, spoil: Callable[[Path], None], expected: tuple[str, ...]
) -> None:
    spoil(folder)
    with pytest.raises(CatalogError) as caught:
        load(folder)
    message = str(caught.value)
    for part in expected:
        assert part in message
    assert "\n" not in message


def test_no_folder() -> None:
    with pytest.raises(CatalogError, match="no such folder"):
        load(Path("/nowhere"))


def test_loading_again_gives_the_same(folder: Path) -> None:
    assert load(folder) == load() == catalog()
    assert catalog() is catalog()


def test_a_new_accelerator_and_a_new_price_need_no_code(folder: Path) -> None:
    text = (folder / "accelerators/h100-sxm.toml").read_text(encoding="utf-8")
    (folder / "accelerators/h999.toml").write_text(
        text.replace('id = "h100-sxm"', 'id = "h999"'), encoding="utf-8"
    )
    append(folder / "instances.csv", "lab/x,lab,x,h999,8,,,,rent,invoice,2026-11-01,\n")
    append(folder / "prices/instances.csv", "lab/x,global,on_demand,16,2026-11-01,invoice,quote,\n")
    (offer,) = offers(load(folder), "h999", "on_demand")
    assert offer.usd_per_device_hour == 2


def test_loading_needs_no_pandas() -> None:
    import subprocess

    code = (
        "import sys, cpi_model.catalog as c; c.catalog();"
        "print(sorted({'pandas', 'streamlit', 'plotly'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_installed_data_comes_before_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "cpi_model"
    package.mkdir()
    monkeypatch.setattr(module, "__file__", str(package / "catalog.py"))
    assert data_folder() == tmp_path / "data"
    (package / "data").mkdir()
    assert data_folder() == package / "data"


def test_unknown_ids_come_with_the_nearest() -> None:
    with pytest.raises(UnknownId, match="h100-sxm") as caught:
        catalog().accelerator("H100")
    assert caught.value.kind == "accelerator"
    assert set(caught.value.nearest) == {"h100-nvl", "h100-pcie", "h100-sxm"}
    for look_up in ("model", "scheme", "engine", "instance"):
        with pytest.raises(UnknownId, match="no " + look_up):
            getattr(catalog(), look_up)("???")
    with pytest.raises(UnknownId):
        price_on(catalog(), "aws/p5", "on_demand")
    with pytest.raises(UnknownId):
        offers(catalog(), "h10", "on_demand")


def test_nearest_ignores_case_and_keeps_the_spelling() -> None:
    assert nearest("AZURE/STANDARD_ND96ISR_H100_V5", catalog().instances)[0] == (
        "azure/Standard_ND96isr_H100_v5"
    )
    assert nearest("", ["a"]) == ()


# AWS cut the price of p5.48xlarge in us-east-1 from 98.32 to 55.04 USD an hour in June 2025.
@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (None, 55.04),
        (date(2026, 11, 1), 55.04),
        (date(2024, 6, 1), 98.32),
        (date(2020, 1, 1), None),
    ],
)
def test_price_on_a_day(day: date | None, expected: float | None) -> None:
    price = price_on(catalog(), P5, "on_demand", {"us-east-1"}, day)
    assert (price.usd_per_hour if price else None) == expected


def test_price_in_a_region() -> None:
    tokyo = price_on(catalog(), P5, "on_demand", {"ap-northeast-1"})
    anywhere = price_on(catalog(), P5, "on_demand")
    assert tokyo is not None
    assert anywhere is not None
    assert tokyo.usd_per_hour == 68.8
    assert anywhere.usd_per_hour == 55.04
    assert price_on(catalog(), P5, "on_demand", {"moon-1"}) is None


def test_an_unknown_price_is_not_zero() -> None:
    assert price_on(catalog(), "aws/trn2.48xlarge", "on_demand") is None
    assert offers(catalog(), "trainium2", "on_demand") == []


def test_a_price_without_a_region_holds_in_every_region() -> None:
    price = price_on(catalog(), "oci/BM.GPU.H100.8", "on_demand", {"us-ashburn-1"})
    assert price is not None
    assert price.region == GLOBAL


def test_offers_are_sorted_and_per_device() -> None:
    found = offers(catalog(), "h100-sxm", "on_demand")
    rates = [offer.usd_per_device_hour for offer in found]
    assert rates == sorted(rates)
    assert len(found) >= 20
    by_id = {(o.instance.id, o.price.region): o for o in found}
    assert by_id[P5, "us-east-1"].usd_per_device_hour == pytest.approx(55.04 / 8)
    assert all(o.instance.tenure == "rent" for o in found)
    assert all(o.price.purchase == "on_demand" for o in found)


def test_offers_of_one_cloud_and_region() -> None:
    found = offers(catalog(), "h100-sxm", "on_demand", {"aws"}, {"eu-north-1"})
    assert [offer.instance.id for offer in found] == [P5]


def test_offers_of_two_clouds_are_those_of_each() -> None:
    both = offers(catalog(), "h100-sxm", "on_demand", {"aws", "gcp"})
    each = [offers(catalog(), "h100-sxm", "on_demand", {cloud}) for cloud in ("aws", "gcp")]
    assert all(each)
    assert sorted(offer.instance.id for offer in both) == sorted(
        offer.instance.id for found in each for offer in found
    )


def test_owned_capacity_is_offered_only_by_name() -> None:
    (owned,) = offers(catalog(), "h100-sxm", "on_demand", {"owned-hyperscaler"})
    assert owned.instance.tenure == "owned"
    assert owned.usd_per_device_hour == 1.30


def test_a_share_of_a_socket_costs_a_share_of_it() -> None:
    # 48xlarge is two sockets of 96 threads, 24xlarge one: the same price per socket.
    found = {o.instance.id: o for o in offers(catalog(), "xeon-platinum-8488c", "on_demand")}
    assert found["aws/c7i.48xlarge"].instance.accelerator_count == 2
    assert found["aws/c7i.24xlarge"].usd_per_device_hour == pytest.approx(8.568 / 2)
    assert found["aws/c7i.4xlarge"].usd_per_device_hour == pytest.approx(8.568 / 2)


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return catalog()


def test_check_says_what_is_missing_old_assumed_and_in_conflict(shipped: Catalog) -> None:
    found = check(shipped, older_than_days=365, today=date(2026, 11, 24))
    seen = {(f.what, f.id, f.field) for f in found}
    assert ("missing", "rtx-pro-4500-server", "memory_bandwidth_gb_per_s") in seen
    assert ("missing", "cerebras-wse-3", "dense_tflops") in seen
    assert ("missing", "trainium2", "price") in seen
    assert ("missing", "aws/trn2.48xlarge", "price") in seen
    assert ("conflict", "rtx-pro-6000-server", "") in seen
    assert ("old", "aws/c7i.48xlarge", "price") in seen
    assert any(f.what == "assumption" and f.id == "h20" for f in found)
    assert all(f.text and f.file for f in found)


def test_check_counts_age_from_today(shipped: Catalog) -> None:
    def old(days: int) -> int:
        found = check(shipped, older_than_days=days, today=date(2026, 11, 24))
        return sum(f.what == "old" for f in found)

    assert old(0) > old(200) > old(365) > old(20_000) == 0


def test_models_in_rows_are_checked_where_they_stand() -> None:
    facts = catalog()
    assert "swin-tiny-patch4-window7-224" in facts.in_rows and "bert-large" not in facts.in_rows
    found = {each.id: each.file for each in check(facts, 180, date(2026, 11, 25))}
    assert found["swin-tiny-patch4-window7-224"] == "models/measured.csv"
    # 4.5 G multiply-adds at 224 x 224 (Liu et al., "Swin Transformer", 2021, table 1).
    sample = facts.model("swin-tiny-patch4-window7-224").sample
    assert sample is not None and sample.gflop == pytest.approx(9.0, rel=0.01)
