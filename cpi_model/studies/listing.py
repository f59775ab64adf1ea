"""The catalog as tables for people: one row a thing, units in the headings, source and age."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

from cpi_model.catalog import Catalog, offers
from cpi_model.inputs import parameters
from cpi_model.schema import Source
from cpi_model.studies.options import CLASSES, KINDS
from cpi_model.units import BILLION

if TYPE_CHECKING:
    import pandas as pd

AGE = "Age, days"


def table(name: str, catalog: Catalog, today: date) -> pd.DataFrame:
    """One of :data:`TABLES`."""
    import pandas as pd

    return pd.DataFrame(TABLES[name](catalog, today))


def matching(frame: pd.DataFrame, words: str) -> pd.DataFrame:
    """Rows that have all words somewhere in their texts, whatever the case."""
    text = frame.select_dtypes(exclude=["number", "bool"]).fillna("").astype(str)
    rows = text.agg(" ".join, axis=1).str.casefold()
    keep = rows.map(lambda row: all(word in row for word in words.casefold().split()))
    return frame[keep.astype(bool)]


def _sources(sources: tuple[Source, ...], today: date) -> dict[str, Any]:
    """All sources of a thing, and the age of the oldest that is more than an assumption."""
    looked_up = [source for source in sources if source.kind != "assumption"] or list(sources)
    return {
        "Source": "; ".join(source.title for source in sources),
        "Oldest figure read on": min(source.accessed for source in looked_up),
        AGE: max((today - source.accessed).days for source in looked_up),
    }


def _dated(source: str, day: date, today: date, note: str) -> dict[str, Any]:
    return {"Source": source, "Valid from": day, AGE: (today - day).days, "Note": note}


def _hardware(catalog: Catalog, today: date) -> list[dict[str, Any]]:
    rows = []
    for chip in catalog.accelerators.values():
        found = offers(catalog, chip.id, "on_demand")
        rows.append({
            "Name": chip.name, "Kind": KINDS[chip.kind], "Maker": chip.vendor, "Year": chip.year,
            "Memory, GB": chip.memory_gb, "Bandwidth, GB/s": chip.memory_bandwidth_gb_per_s,
            "bf16, TFLOP/s": chip.dense_tflops.get("bf16"),
            "fp8, TFLOP/s": chip.dense_tflops.get("fp8"),
            "int8, TOP/s": chip.dense_tflops.get("int8"),
            "fp4, TFLOP/s": chip.dense_tflops.get("fp4"),
            "Link, GB/s": chip.link_gb_per_s, "Power, W": chip.tdp_w, "Idle, W": chip.idle_w,
            "On demand from, USD/h": found[0].usd_per_device_hour if found else None,
            **_sources(chip.sources, today), "Conflicts": chip.conflicts, "Id": chip.id,
        })  # fmt: skip
    return rows


def _prices(catalog: Catalog, today: date) -> list[dict[str, Any]]:
    rows = []
    for price in catalog.instance_prices:
        instance = catalog.instances[price.instance]
        rows.append({
            "Instance": price.instance, "Hardware": instance.accelerator,
            "Devices": instance.accelerator_count, "Region": price.region,
            "Purchase": price.purchase.replace("_", " "), "Price, USD/h": price.usd_per_hour,
            "Per device, USD/h": price.usd_per_hour / instance.accelerator_count,
            "vCPUs": instance.vcpus, "RAM, GB": instance.memory_gb,
            **_dated(price.source, price.valid_from, today, price.note),
        })  # fmt: skip
    return rows


def _models(catalog: Catalog, today: date) -> list[dict[str, Any]]:
    rows = []
    for model in catalog.models.values():
        counts, shape, sample = parameters(model), model.transformer, model.sample
        rows.append({
            "Name": model.name, "Class": CLASSES[model.model_class], "Maker": model.maker,
            "Parameters, billion": counts.total / BILLION,
            "Used per token, billion": counts.active / BILLION if shape else None,
            "Published, billion": model.params_b,
            "Context, tokens": shape.max_context_tokens if shape else None,
            "Experts": shape.experts or None if shape else None,
            "Work of a sample, GFLOP": sample.gflop if sample else None,
            "Sample": sample.unit if sample else None,
            **_sources(model.sources, today), "Note": model.note, "Id": model.id,
        })  # fmt: skip
    return rows


def _apis(catalog: Catalog, today: date) -> list[dict[str, Any]]:
    return [
        {
            "Provider": row.provider, "Name there": row.api_model, "Model": row.model,
            "Input, USD/M tokens": row.input_usd_per_mtok,
            "Cached input, USD/M tokens": row.cached_input_usd_per_mtok,
            "Output, USD/M tokens": row.output_usd_per_mtok,
            **_dated(row.source, row.valid_from, today, row.note),
        }
        for row in catalog.api_prices
    ]  # fmt: skip


def _services(catalog: Catalog, today: date) -> list[dict[str, Any]]:
    return [
        {
            "Cloud": row.cloud, "Category": row.category.replace("_", " "), "Item": row.item,
            "Region": row.region, "Value": row.value, "Unit": row.unit,
            **_dated(row.source, row.valid_from, today, row.note),
        }
        for row in catalog.service_prices
    ]  # fmt: skip


def _energy(catalog: Catalog, today: date) -> list[dict[str, Any]]:
    return [
        {
            "Category": row.category.replace("_", " "), "Place": row.place, "Figure": row.metric,
            "Value": row.value, "Unit": row.unit,
            **_dated(row.source, row.valid_from, today, row.note),
        }
        for row in catalog.energy_facts
    ]  # fmt: skip


def _traffic(catalog: Catalog, today: date) -> list[dict[str, Any]]:
    return [
        {
            "Name": trace.name, "Character": trace.character,
            "Begins, UTC": f"{trace.start:%Y-%m-%d %H:%M}" if trace.start else "",
            "Step, s": trace.step_s, "Requests": trace.totals.requests, "Licence": trace.licence,
            "Attribution": trace.attribution, "Changes": trace.changes,
            **_sources(trace.sources, today), "Id": trace.id,
        }
        for trace in catalog.traffic.values()
    ]  # fmt: skip


TABLES: dict[str, Callable[[Catalog, date], list[dict[str, Any]]]] = {
    "Hardware": _hardware,
    "Prices": _prices,
    "Models": _models,
    "Hosted APIs": _apis,
    "Services": _services,
    "Energy": _energy,
    "Traffic": _traffic,
}
