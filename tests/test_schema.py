"""The rule of the data: every stated number has a source, every source covers something."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from cpi_model.schema import Accelerator, ApiPrice, InstancePrice, Model, Scheme

SOURCE = {"title": "datasheet", "accessed": date(2026, 11, 1), "kind": "datasheet"}


def chip(covers: list[str], **figures: Any) -> Accelerator:
    return Accelerator.model_validate(
        {
            "id": "x1",
            "name": "X1",
            "vendor": "X",
            "kind": "gpu",
            "generation": "x",
            "year": 2026,
            "sources": [SOURCE | {"covers": ["year", *covers]}],
            **figures,
        }
    )


def test_a_covered_number_is_accepted() -> None:
    accelerator = chip(["tdp_w"], tdp_w=100)
    source = accelerator.source_of("tdp_w")
    assert source is not None
    assert source.title == "datasheet"
    assert accelerator.source_of("idle_w") is None


def test_a_number_without_a_source_is_refused() -> None:
    with pytest.raises(ValidationError, match="no source covers tdp_w"):
        chip([], tdp_w=100)


def test_a_source_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="covers 'idle_w', which has no number"):
        chip(["tdp_w", "idle_w"], tdp_w=100)


def test_a_table_is_covered_by_its_name_or_piece_by_piece() -> None:
    both = {"bf16": 1, "fp8": 2}
    assert chip(["dense_tflops"], dense_tflops=both).source_of("dense_tflops.fp8")
    assert chip(["dense_tflops.bf16", "dense_tflops.fp8"], dense_tflops=both)
    with pytest.raises(ValidationError, match=r"no source covers dense_tflops\.fp8"):
        chip(["dense_tflops.bf16"], dense_tflops=both)


def test_a_field_is_not_covered_by_one_that_it_begins_with() -> None:
    with pytest.raises(ValidationError, match="no source covers memory_bandwidth_gb_per_s"):
        chip(["memory_gb"], memory_gb=80, memory_bandwidth_gb_per_s=3350)


def test_defaults_need_no_source() -> None:
    assert chip([]).fast_domain_devices == 1


@pytest.mark.parametrize("figure", [0, -1, float("inf"), float("nan"), "fast"])
def test_impossible_figures_are_refused(figure: Any) -> None:
    with pytest.raises(ValidationError):
        chip(["tdp_w"], tdp_w=figure)


def test_unknown_keys_and_number_formats_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        chip([], colour="green")
    with pytest.raises(ValidationError):
        chip(["dense_tflops"], dense_tflops={"fp7": 1})


def test_entries_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        chip([]).year = 2027  # type: ignore[misc]


def model(**changes: Any) -> Model:
    record: dict[str, Any] = {
        "id": "m",
        "name": "M",
        "maker": "me",
        "model_class": "vision",
        "params_b": 1,
        "sample": {"unit": "image", "gflop": 1},
        "sources": [SOURCE | {"covers": ["params_b", "sample"]}],
    }
    return Model.model_validate(record | changes)


def test_a_model_has_the_shape_of_its_class() -> None:
    assert model().sample is not None
    with pytest.raises(ValidationError, match="needs"):
        model(model_class="llm")
    with pytest.raises(ValidationError, match="exactly one"):
        model(sample=None, sources=[SOURCE | {"covers": ["params_b"]}])


def test_a_published_total_says_why_the_shape_is_not_enough() -> None:
    with pytest.raises(ValidationError, match="note"):
        model(params_from="published")
    assert model(params_from="published", note="experts differ by layer")


def test_experts_need_layers_and_a_choice() -> None:
    attention = {"layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 64}
    shape = {
        "hidden": 64,
        "vocabulary": 100,
        "tied_embeddings": True,
        "attention": attention,
        "dense_layers": 0,
        "dense_intermediate": 0,
        "max_context_tokens": 100,
    }
    experts = {"moe_layers": 1, "experts": 8, "experts_per_token": 2, "expert_intermediate": 64}
    sources = [SOURCE | {"covers": ["params_b", "transformer"]}]
    llm: dict[str, Any] = {"model_class": "llm", "sample": None, "sources": sources}
    assert model(**llm, transformer=shape | experts)
    for broken in (
        shape | {"experts": 8},
        shape | experts | {"experts_per_token": 9},
        shape | experts | {"experts_per_token": 0},
        shape | experts | {"attention": attention | {"window_layers": 3}},
        shape | experts | {"attention": attention | {"kv_heads": 2}},
        shape,
    ):
        with pytest.raises(ValidationError):
            model(**llm, transformer=broken)


def test_a_scheme_with_scales_has_groups() -> None:
    record: dict[str, Any] = {
        "id": "s",
        "name": "S",
        "weight_bits": 4,
        "group_size": 0,
        "scale_bits": 16,
        "activation_bits": 16,
        "arithmetic": "bf16",
        "sources": [
            SOURCE | {"covers": ["weight_bits", "group_size", "scale_bits", "activation_bits"]}
        ],
    }
    with pytest.raises(ValidationError, match="group_size"):
        Scheme.model_validate(record)
    assert Scheme.model_validate(record | {"group_size": 128})


def test_prices_are_numbers_with_a_date() -> None:
    row = {
        "instance": "aws/x",
        "region": "us-east-1",
        "purchase": "spot",
        "usd_per_hour": "1.5",
        "valid_from": "2026-01-31",
        "source": "s",
        "kind": "quote",
    }
    price = InstancePrice.model_validate(row)
    assert (price.usd_per_hour, price.valid_from) == (1.5, date(2026, 1, 31))
    for broken in (
        {"valid_from": "2026"},
        {"valid_from": "86400"},
        {"valid_from": "31.1.26"},
        {"usd_per_hour": "1,5"},
    ):
        with pytest.raises(ValidationError):
            InstancePrice.model_validate(row | broken)


def test_cached_input_is_not_dearer_than_fresh() -> None:
    row = {
        "provider": "p",
        "api_model": "m",
        "model": None,
        "input_usd_per_mtok": 1,
        "cached_input_usd_per_mtok": 0.1,
        "output_usd_per_mtok": 2,
        "batch_discount_share": None,
        "valid_from": date(2026, 1, 1),
        "source": "s",
    }
    assert ApiPrice.model_validate(row)
    with pytest.raises(ValidationError, match="cached"):
        ApiPrice.model_validate(row | {"cached_input_usd_per_mtok": 1.5})
