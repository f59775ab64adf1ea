"""The shipped data: how much there is, that it is plausible, and figures that makers print."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import date

import pytest

from cpi_model.catalog import catalog, data_folder, offers
from cpi_model.schema import InstancePrice

TODAY_OF_THE_DATA = date(2026, 12, 31)
"""Nothing in the data is younger than this."""

TRANSFORMERS = [model for model in catalog().models.values() if model.transformer]


# --- how much ---------------------------------------------------------------------------------


def test_accelerators_of_every_kind() -> None:
    kinds = Counter(chip.kind for chip in catalog().accelerators.values())
    assert kinds.total() >= 99
    assert set(kinds) == {"gpu", "tpu", "asic", "cpu", "edge"}


def test_priced_instances_and_clouds() -> None:
    priced = [catalog().instances[id] for id in catalog().prices_of]
    assert len(priced) >= 300
    assert len({instance.cloud for instance in priced}) >= 18
    options = Counter(price.purchase for price in catalog().instance_prices)
    assert set(options) == {"on_demand", "spot", "reserved_1y", "reserved_3y"}


def test_models_of_every_class() -> None:
    classes = Counter(model.model_class for model in catalog().models.values())
    assert classes["llm"] >= 60
    assert set(classes) == {
        "llm", "encoder", "vision", "diffusion", "speech", "recommender", "trees",
    }  # fmt: skip
    assert {
        "bert-large", "distilbert", "resnet50-v1.5", "retinanet-resnext50", "sdxl-1.0", "dlrm-v2",
        "whisper-large-v3", "gbt-fraud-500x8", "bge-large-en-v1.5",
    } <= set(catalog().models)  # fmt: skip


def test_hosted_prices() -> None:
    assert len(catalog().api_prices) >= 150
    assert sum(price.model is not None for price in catalog().api_prices) >= 150


@pytest.mark.parametrize(
    "category",
    ["egress", "block_storage", "object_storage", "load_balancer", "kubernetes", "logging"],
)
def test_services_of_the_large_clouds(category: str) -> None:
    clouds = {row.cloud for row in catalog().service_prices if row.category == category}
    assert "aws" in clouds
    assert len(clouds) >= 2


@pytest.mark.parametrize(
    "category",
    ["grid_carbon", "pue", "electricity_price", "colocation", "depreciation", "cpu_power"],
)
def test_energy_facts(category: str) -> None:
    assert any(fact.category == category for fact in catalog().energy_facts)


def test_no_stray_files() -> None:
    folder = data_folder()
    assert {path.name for path in (folder / "prices").iterdir()} - {"snapshots"} == {
        "instances.csv", "apis.csv", "services.csv",
    }  # fmt: skip
    for name in ("accelerators", "models", "schemes", "engines"):
        others = {path.name for path in (folder / name).iterdir() if path.suffix != ".toml"}
        assert others == ({"measured.csv"} if name == "models" else set())


@pytest.mark.parametrize("file", ["instances.csv", "prices/apis.csv", "energy.csv"])
def test_text_cells_cannot_be_read_as_formulas(file: str) -> None:
    # A scoped npm package begins with @; nothing else may begin like a formula.
    with (data_folder() / file).open(newline="", encoding="utf-8") as stream:
        for row in csv.reader(stream):
            for cell in row:
                assert not cell.startswith(("=", "+", "-")), cell


# --- that it hangs together -------------------------------------------------------------------


@pytest.mark.parametrize("chip", catalog().accelerators.values(), ids=lambda chip: chip.id)
def test_every_chip_has_an_engine_and_a_link_that_is_named(chip: object) -> None:
    from cpi_model.schema import Accelerator

    assert isinstance(chip, Accelerator)
    assert any(
        chip.kind in engine.kinds and (not engine.vendors or chip.vendor in engine.vendors)
        for engine in catalog().engines.values()
    )
    if chip.link_gb_per_s is not None:
        assert chip.link
    if chip.kind == "cpu":
        assert chip.threads
    else:
        assert chip.memory_gb


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        (
            "gpu",
            {"llm", "encoder", "vision", "diffusion", "speech", "recommender", "trees"},
        ),
        ("cpu", {"llm", "encoder", "vision", "speech", "recommender", "trees"}),
        ("edge", {"llm", "vision"}),
        ("tpu", {"llm", "encoder", "diffusion"}),
        ("asic", {"llm", "encoder", "vision"}),
    ],
)
def test_every_class_has_an_engine(kind: str, classes: set[str]) -> None:
    served = {
        name
        for engine in catalog().engines.values()
        if kind in engine.kinds
        for name in engine.model_classes
    }
    assert classes <= served


@pytest.mark.parametrize(
    ("vendor", "kind"),
    [("AWS", "asic"), ("Intel", "asic"), ("AMD", "gpu"), ("Apple", "edge"), ("NVIDIA", "edge")],
)
def test_language_models_run_on_chips_of(vendor: str, kind: str) -> None:
    assert any(
        kind in engine.kinds
        and (not engine.vendors or vendor in engine.vendors)
        and "llm" in engine.model_classes
        for engine in catalog().engines.values()
    )


def test_cpu_instances_are_shares_of_sockets() -> None:
    for instance in catalog().instances.values():
        threads = catalog().accelerators[instance.accelerator].threads
        if threads is None:
            assert instance.accelerator_count == int(instance.accelerator_count)
            continue
        assert instance.vcpus
        share = instance.vcpus / threads
        # One vCPU is a thread, or a whole core where the cloud says so.
        factor = 2 if "one vCPU a core" in instance.note else 1
        assert instance.accelerator_count == pytest.approx(factor * share)
        assert instance.accelerator_count <= 2


def test_every_cloud_sells_at_plausible_rates() -> None:
    # 0.05: a T4 on Azure's spot market in 2024; 30: GB200 on demand on Azure, the dearest here.
    for id in catalog().accelerators:
        for purchase in ("on_demand", "spot", "reserved_1y", "reserved_3y"):
            for offer in offers(catalog(), id, purchase):
                assert 0.04 < offer.usd_per_device_hour < 30, offer


def test_commitment_and_spot_are_cheaper_than_on_demand() -> None:
    newest: dict[tuple[str, str, str], InstancePrice] = {}
    for price in sorted(catalog().instance_prices, key=lambda p: p.valid_from):
        newest[price.instance, price.region, price.purchase] = price
    for (instance, region, purchase), price in newest.items():
        if purchase != "on_demand" and (on_demand := newest.get((instance, region, "on_demand"))):
            assert price.usd_per_hour < on_demand.usd_per_hour, (instance, region, purchase)
    for (instance, region, purchase), price in newest.items():
        if purchase == "reserved_3y" and (year := newest.get((instance, region, "reserved_1y"))):
            assert price.usd_per_hour < year.usd_per_hour, (instance, region)


def test_no_date_lies_in_the_future() -> None:
    rows = [
        *catalog().instance_prices, *catalog().api_prices, *catalog().service_prices,
        *catalog().energy_facts,
    ]  # fmt: skip
    assert all(row.valid_from <= TODAY_OF_THE_DATA for row in rows)


def test_figures_from_memory_are_marked_as_assumptions() -> None:
    rows = [*catalog().service_prices, *catalog().energy_facts]
    for row in rows:
        if "memory" in row.source and "memory_" not in row.source.lower():
            assert row.kind == "assumption", row
            assert "not looked up again" in row.note
    for thing in [*catalog().accelerators.values(), *catalog().models.values()]:
        for source in thing.sources:
            if "from memory" in source.title:
                assert source.kind == "assumption", thing.id


def test_peaks_of_gpus_are_dense() -> None:
    # Sparse figures, printed beside the dense ones, are twice as high.
    for chip in catalog().accelerators.values():
        peaks = chip.dense_tflops
        if chip.kind == "gpu" and "bf16" in peaks and "fp8" in peaks:
            assert peaks["fp8"] <= 2.05 * peaks["bf16"], chip.id


# --- against what others print ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "field", "expected"),
    [
        # NVIDIA H100 datasheet: 3.35 TB/s, 900 GB/s NVLink both ways, 1,979 dense FP8
        ("h100-sxm", "memory_bandwidth_gb_per_s", 3350),
        ("h100-sxm", "link_gb_per_s", 450),
        ("h100-sxm", "fp8", 1979),
        # NVIDIA A100 datasheet, 80 GB SXM: 2,039 GB/s, 312 dense, 600 GB/s both ways
        ("a100-sxm-80gb", "memory_bandwidth_gb_per_s", 2039),
        ("a100-sxm-80gb", "bf16", 312),
        ("a100-sxm-80gb", "link_gb_per_s", 300),
        # NVIDIA L40S datasheet: 864 GB/s, 362 dense
        ("l40s", "memory_bandwidth_gb_per_s", 864),
        ("l40s", "bf16", 362),
        # AMD Instinct MI300X data sheet: 192 GB, 5.3 TB/s, 1,307.4 dense
        ("mi300x", "memory_gb", 192),
        ("mi300x", "memory_bandwidth_gb_per_s", 5300),
        ("mi300x", "bf16", 1307.4),
        # J. Austin et al., "How to Scale Your Model": TPU v5e 8.1e11 B/s, 1.97e14, 3.94e14 int8
        ("tpu-v5e", "memory_bandwidth_gb_per_s", 819),
        ("tpu-v5e", "bf16", 197),
        ("tpu-v5e", "int8", 393),
    ],
)
def test_figures_of_datasheets(id: str, field: str, expected: float) -> None:
    chip = catalog().accelerators[id]
    value = getattr(chip, field) if hasattr(chip, field) else chip.dense_tflops[field]  # type: ignore[index]
    assert value == expected
    source = chip.source_of(field if hasattr(chip, field) else f"dense_tflops.{field}")
    assert source is not None


@pytest.mark.parametrize(
    ("id", "bytes_per_token"),
    [
        # Llama 3 report, table 3: 80 (32) layers, 8 key-value heads of 128, two tensors, 16 bits
        ("llama-3.1-70b", 320 * 1024),
        ("llama-3.1-8b", 128 * 1024),
        # DeepSeek-V3 technical report: 512 + 64 values in each of 61 layers, 70,272 B in 16 bits
        ("deepseek-v3", 70_272),
        # The reported 9.62 GiB at 1,048,576 tokens, window and state of DeepSeek-V4-Pro aside
        ("deepseek-v4-pro", 9.62 * 2**30 / 2**20),
    ],
)
def test_cache_of_a_token(id: str, bytes_per_token: float) -> None:
    shape = catalog().models[id].transformer
    assert shape is not None
    attention = shape.attention
    if attention.kv_lora_rank:
        elements = attention.layers * (attention.kv_lora_rank + attention.qk_rope_dim)
    else:
        elements = attention.layers * 2 * attention.kv_heads * attention.head_dim
    assert 2 * elements == pytest.approx(bytes_per_token, rel=0.03)


@pytest.mark.parametrize("model", TRANSFORMERS, ids=lambda model: model.id)
def test_layers_of_attention_and_feed_forward_agree(model: object) -> None:
    from cpi_model.schema import Model

    assert isinstance(model, Model)
    assert model.transformer is not None
    attention = model.transformer.attention
    mixing = attention.layers + attention.window_layers + attention.linear_layers
    blocks = model.transformer.dense_layers + model.transformer.moe_layers
    if mixing != blocks:
        # Interleaved one by one (Mamba-2 hybrids) or dropped from some layers: must be explained.
        assert model.note, (mixing, blocks)


@pytest.mark.parametrize(
    ("id", "layers", "hidden", "tokens"),
    [("bert-large", 24, 1024, 384), ("bert-base", 12, 768, 128), ("distilbert", 6, 768, 128)],
)
def test_encoders_against_the_layer_sum(id: str, layers: int, hidden: int, tokens: int) -> None:
    # Kaplan et al. 2020, table 1: 12 layers hidden^2 parameters, 2 FLOPs each, and
    # 4 layers tokens hidden for the attention of a token.
    sample = catalog().models[id].sample
    assert sample is not None
    linear = 2 * 12 * layers * hidden**2 * tokens
    quadratic = 4 * layers * hidden * tokens**2
    assert sample.gflop == pytest.approx((linear + quadratic) / 1e9, rel=0.01)
    assert sample.attention_gflop == pytest.approx(quadratic / 1e9, rel=0.01)


@pytest.mark.parametrize(
    ("id", "bits"),
    [
        # OCP Microscaling 1.0: 17 bytes for 32; NVFP4: 9 bytes for 16; llama.cpp: 34 bytes for 32
        ("mxfp4", 17 * 8 / 32),
        ("nvfp4", 9 * 8 / 16),
        ("gguf-q8-0", 34 * 8 / 32),
        ("gguf-q4-k-m", 4.84),
        ("bf16", 16),
    ],
)
def test_bits_of_a_stored_weight(id: str, bits: float) -> None:
    scheme = catalog().schemes[id]
    extra = scheme.scale_bits + scheme.zero_point_bits
    stored = scheme.weight_bits + (extra / scheme.group_size if scheme.group_size else 0)
    assert stored == pytest.approx(bits)
