"""Choices: what a list offers works, and what is said to play no part plays none."""

from __future__ import annotations

import math
from dataclasses import fields
from functools import cache
from typing import Any

import pytest

from cpi_model.catalog import catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate
from cpi_model.inputs import ImpossibleChoice, choose
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import service
from cpi_model.studies.options import (
    DECIDING,
    ELSEWHERE,
    OFFERED,
    Option,
    options,
    plays_a_part,
)

FACTS = catalog()
TREES = {
    "model": "gbt-fraud-500x8", "engine": "treelite", "scheme": "fp32",
    "accelerator": "xeon-platinum-8488c",
}  # fmt: skip
SCENARIOS: dict[str, dict[str, Any]] = {
    "llm": {},
    "moe": {"model": "mixtral-8x7b-v0.1", "tensor_parallel": 4, "data_parallel": 2},
    "encoder": {"model": "bert-large", "engine": "onnxruntime"},
    "vision": {"model": "resnet50-v1.5", "engine": "onnxruntime"},
    "diffusion": {"model": "sdxl-1.0", "engine": "pytorch-eager"},
    "recommender": {"model": "dlrm-v2", "engine": "torchrec"},
    "trees": TREES,
    "llm on cpu": {
        "engine": "llama-cpp", "scheme": "gguf-q4-k-m", "accelerator": "xeon-platinum-8488c",
    },
    "spot": {"purchase": "spot"},
    "interrupted": {"purchase": "spot", "spot_interruptions_per_month": 10.0},
    "reserved": {"purchase": "reserved_1y"},
    "instance": {"instance": "aws/p5.48xlarge"},
    "own price": {"device_price_usd_per_hour": 2.0},
    "follow": {"scaling": "follow", "requests_per_s": 500.0},
    "fixed": {"scaling": "fixed", "fixed_replicas": 3},
    "versions": {"live_versions": 3},
    "euro": {"currency": "EUR"},
    "zeros": {"sparsity": "unstructured"},
    "student": {"student": "ratio"},
    "draft": {"draft_model": "llama-3.2-1b"},
    "exits": {"exit_share": 0.4},
    "cascade": {"cascade_model": "llama-3.2-1b"},
    "cached answers": {"answer_hit_share": 0.3},
    "dynamic": {"batching": "dynamic"},
    "static": {"batching": "static", "model": "bert-large", "engine": "onnxruntime"},
    "disaggregated": {"batching": "disaggregated"},
}  # fmt: skip
NO_FIGURE = {"currency", "currency_per_usd", "period", "cost_basis", "swing"} | ELSEWHERE
"""How figures are shown or compared, not which."""
QUEUES_ONLY = {"arrival_cv"}
"""What moves no mean of a full replica, but the percentiles of the Batching page."""
REFUSED_ONLY = {"expert_parallel"}
"""Nothing but a refusal comes of it: the model takes no account of how experts are spread."""


def scenario(name: str, **changes: Any) -> Scenario:
    return Scenario(**(SCENARIOS[name] | changes))


def with_(base: Scenario, field: str, value: Any) -> Scenario:
    return Scenario.model_validate(base.model_dump() | {field: value})


def works(changed: Scenario) -> bool:
    try:
        choose(changed, FACTS)
    except ImpossibleChoice:
        return False
    return True


# What is offered ----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["accelerator", "scheme", "engine"])
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "instance"])
def test_what_is_offered_works(name: str, field: str) -> None:
    """Only engines that know the precision at hand can be swapped, so that is asked for."""
    base = scenario(name)
    if field == "engine" and base.scheme not in ("bf16", "fp32"):
        return
    offered = options(field, base, FACTS)
    refused = [o.id for o in offered if not o.problem and not works(with_(base, field, o.id))]
    assert not refused
    assert any(not option.problem for option in offered)


@pytest.mark.parametrize("field", ["accelerator", "engine"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_not_offered_does_not_work(name: str, field: str) -> None:
    base = scenario(name)
    for option in options(field, base, FACTS):
        if option.problem:
            assert not works(with_(base, field, option.id)), option


@pytest.mark.parametrize("name", ["llm", "encoder", "trees", "llm on cpu", "spot", "reserved"])
def test_instances_that_are_offered_have_a_price(name: str) -> None:
    base = scenario(name)
    offered = options("instance", base, FACTS)
    assert offered[0].id == "auto"
    for option in offered:
        assert works(with_(base, "instance", option.id)) == (not option.problem), option


@pytest.mark.parametrize("name", ["llm", "encoder", "trees", "llm on cpu"])
def test_regions_that_are_offered_have_a_price(name: str) -> None:
    base = scenario(name)
    offered = options("region", base, FACTS)
    assert {"any"} < {option.id for option in offered}
    for option in offered:
        assert works(with_(base, "region", option.id)), option


@pytest.mark.parametrize("field", OFFERED)
@pytest.mark.parametrize("name", SCENARIOS)
def test_what_works_comes_first_and_each_is_there_once(name: str, field: str) -> None:
    offered = options(field, scenario(name), FACTS)
    problems = [bool(option.problem) for option in offered]
    assert problems == sorted(problems)
    assert len({option.id for option in offered}) == len(offered)
    assert all(option.label.strip() for option in offered)
    for option in offered:
        # An id can be put into a scenario.
        assert getattr(with_(Scenario(), field, option.id), field) == option.id


@pytest.mark.parametrize("field", OFFERED)
@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_chosen_is_always_in_the_list(name: str, field: str) -> None:
    base = scenario(name)
    value = getattr(base, field)
    (chosen,) = (option for option in options(field, base, FACTS) if option.id == value)
    assert chosen.problem == ""
    unknown = with_(base, field, "no-such-thing")
    last = options(field, unknown, FACTS)[-1]
    assert last == Option("no-such-thing", "no-such-thing", "not in the catalog")
    # And the other lists hold although nothing is known of it.
    for other in OFFERED:
        assert options(other, unknown, FACTS)


def test_lists_hold_the_whole_catalog() -> None:
    for field, known in (
        ("model", FACTS.models), ("accelerator", FACTS.accelerators), ("scheme", FACTS.schemes),
        ("engine", FACTS.engines),
    ):  # fmt: skip
        for name in SCENARIOS:
            assert {o.id for o in options(field, scenario(name), FACTS)} == set(known)


def test_an_own_price_does_without_that_of_the_catalog() -> None:
    lists = {
        name: {o.id: o.problem for o in options("accelerator", scenario(name), FACTS)}
        for name in ("llm", "own price")
    }
    priced = {
        FACTS.instances[row.instance].accelerator
        for row in FACTS.instance_prices
        if row.purchase == "on_demand" and FACTS.instances[row.instance].tenure == "rent"
    }
    dear = {id for id, problem in lists["llm"].items() if problem == "no on demand price"}
    assert dear and not dear & priced
    assert not any("price" in problem for problem in lists["own price"].values())
    assert any(not lists["own price"][id] for id in dear)


def test_problems_say_what_does_not_go_with_what() -> None:
    engines = {o.id: o.problem for o in options("engine", scenario("llm"), FACTS)}
    assert engines["treelite"] == "not for language model"
    assert engines["neuron"] == "not on NVIDIA H100 SXM5 80GB"
    schemes = {o.id: o.problem for o in options("scheme", scenario("llm"), FACTS)}
    assert schemes["mxfp4-experts"] == "this model has no experts"
    neuron = {o.id: o.problem for o in options("scheme", Scenario(engine="neuron"), FACTS)}
    assert {id for id, problem in neuron.items() if not problem} == set(
        FACTS.engines["neuron"].schemes
    ) - {"mxfp4-experts"}
    assert neuron["gguf-q4-k-m"] == f"not with {FACTS.engines['neuron'].name}"


@pytest.mark.parametrize("field", OFFERED)
def test_lists_follow_from_the_fields_that_are_said_to_decide_them(field: str) -> None:
    """The app remembers lists by these fields alone."""
    for name in SCENARIOS:
        base = scenario(name)
        decides = {key: getattr(base, key) for key in (*DECIDING, field)}
        assert options(field, base, FACTS) == options(field, Scenario(**decides), FACTS)


# What plays a part --------------------------------------------------------------------------------


def values(field: str, base: Scenario) -> list[Any]:
    """Some other values of a field, its ends among them."""
    info, value = FIELDS[field], getattr(base, field)
    if field in OFFERED:
        found = [o.id for o in options(field, base, FACTS) if not o.problem]
        return [id for id in found if id != value][:12]
    if info.kind == "choice":
        return [choice for choice in info.choices if choice != value]
    assert info.minimum is not None and info.maximum is not None
    middle = value or info.default or 0.1
    wished = [info.minimum, info.maximum, 0.5 * middle, 1.5 * middle, 2 * middle, 4 * middle]
    kind = int if info.kind == "int" else float
    inside = {kind(v) for v in wished if info.minimum <= v <= info.maximum}
    return sorted(v for v in inside - {value} if v >= info.minimum)


@cache
def figures(changed: Scenario) -> Estimate | None:
    try:
        choice = choose(changed, FACTS)
        return service.estimate(service.resolve(changed, choice, FACTS, coefficients()))
    except ImpossibleChoice:
        return None


def moved(base: Scenario, changed: Scenario) -> list[str]:
    """Figures that differ between two scenarios."""
    before, after = figures(base), figures(changed)
    assert before is not None
    if after is None:
        return []
    pairs = {
        field.name: (float(getattr(before, field.name)), float(getattr(after, field.name)))
        for field in fields(Estimate)
    }
    return [
        name for name, (old, new) in pairs.items()
        if old != new and not (math.isnan(old) and math.isnan(new))
    ]  # fmt: skip


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_plays_no_part_moves_nothing(name: str) -> None:
    base = scenario(name)
    silent = [field for field in FIELDS if not plays_a_part(field, base, FACTS)]
    assert silent
    for field in silent:
        for value in values(field, base):
            assert not moved(base, with_(base, field, value)), (field, value)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "llm on cpu"])
def test_what_plays_no_part_is_not_refused_out_of_sight(name: str) -> None:
    """Where a value is refused, the field plays a part from then on."""
    base = scenario(name)
    for field in FIELDS:
        if plays_a_part(field, base, FACTS):
            continue
        for value in values(field, base):
            changed = with_(base, field, value)
            assert figures(changed) is not None or plays_a_part(field, changed, FACTS), field


@pytest.mark.parametrize("field", sorted(FIELDS.keys() - NO_FIGURE - QUEUES_ONLY - REFUSED_ONLY))
def test_every_field_moves_a_figure_of_some_scenario(field: str) -> None:
    bases = [scenario(name) for name in SCENARIOS]
    assert any(
        moved(base, with_(base, field, value))
        for base in bases
        if plays_a_part(field, base, FACTS)
        for value in values(field, base)
    )


def test_fields_of_a_choice_appear_with_it() -> None:
    pairs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "spot_overhead_share": ({"purchase": "spot"}, {}),
        "unused_commitment_share": ({"purchase": "reserved_3y"}, {"purchase": "spot"}),
        "fixed_replicas": ({"scaling": "fixed"}, {"scaling": "follow"}),
        "min_replicas": ({"scaling": "follow"}, {"scaling": "fixed"}),
        "old_traffic_share": ({"live_versions": 2}, {}),
        "old_min_replicas": ({"live_versions": 2}, {"live_versions": 2, "scaling": "fixed"}),
        "spare_replicas": ({"scaling": "peak"}, {"scaling": "fixed"}),
        "scaling_lag_share": ({"scaling": "follow"}, {"scaling": "peak"}),
        "cloud": ({}, {"instance": "aws/p5.48xlarge"}),
        "currency_per_usd": ({"currency": "EUR"}, {}),
        "batch_wait_ms": ({"batching": "dynamic"}, {}),
        "prefill_chunk_tokens": ({}, {"batching": "static"}),
        "prefill_replicas": ({"batching": "disaggregated"}, {}),
        "output_tokens": ({}, SCENARIOS["vision"]),
        "items_per_request": (SCENARIOS["vision"], {}),
        "input_tokens": (SCENARIOS["encoder"], SCENARIOS["vision"]),
        "tensor_parallel": ({}, SCENARIOS["llm on cpu"]),
        "expert_parallel": (SCENARIOS["moe"], {}),
    }
    for field, (with_it, without) in pairs.items():
        assert plays_a_part(field, Scenario(**with_it), FACTS), field
        assert not plays_a_part(field, Scenario(**without), FACTS), field


def test_a_rate_that_was_set_stays_in_sight() -> None:
    assert plays_a_part("currency_per_usd", Scenario(currency_per_usd=2.0), FACTS)
    assert plays_a_part("expert_parallel", Scenario(expert_parallel=2), FACTS)


def test_of_an_unknown_model_every_field_of_language_models_is_shown() -> None:
    unknown = Scenario(model="no-such-model")
    assert plays_a_part("output_tokens", unknown, FACTS)
    assert not plays_a_part("batch_wait_ms", unknown, FACTS)
