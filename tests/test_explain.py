"""Explanations: steps whose arithmetic is right, figures with a source, costs that agree."""

from __future__ import annotations

import math
import re
from datetime import date
from functools import cache
from typing import Any

import pytest

from cpi_model.catalog import catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate
from cpi_model.inputs import Inputs
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import explain
from cpi_model.studies.answer import Answer, answer
from cpi_model.studies.explain import Fact
from cpi_model.studies.service import Service

FACTS = catalog()
TREES = {
    "model": "gbt-fraud-500x8", "engine": "treelite", "scheme": "fp32",
    "accelerator": "xeon-platinum-8488c",
}  # fmt: skip
SCENARIOS: dict[str, dict[str, Any]] = {
    "llm": {},
    "waiting": {"concurrency": 2048, "input_tokens": 4000},
    "one token": {"output_tokens": 1},
    "cached": {"cached_input_share": 0.37, "input_tokens": 1777, "output_tokens": 91},
    "moe": {"model": "mixtral-8x7b-v0.1", "tensor_parallel": 4, "data_parallel": 2},
    "stages": {"model": "llama-3.1-70b", "tensor_parallel": 2, "pipeline_parallel": 2,
               "requests_per_s": 100.0},
    "few beside": {"data_parallel": 4, "concurrency": 3},
    "corrected": {"step_time_correction": 1.3, "first_token_correction": 0.8},
    "at the floor": {"concurrency": 1, "first_token_correction": 0.2},
    "follow": {"scaling": "follow", "requests_per_s": 500.0, "nonproduction_share": 0.2},
    "fixed": {"scaling": "fixed", "fixed_replicas": 4, "purchase": "spot"},
    "versions": {"live_versions": 3, "min_replicas": 2},
    "old traffic": {"live_versions": 3, "old_traffic_share": 0.2, "requests_per_s": 100.0},
    "old traffic followed": {
        "live_versions": 3, "old_traffic_share": 0.2, "requests_per_s": 100.0, "scaling": "follow",
        "old_min_replicas": 1,
    },
    "encoder": {
        "model": "bert-large", "engine": "onnxruntime", "batch_wait_ms": 0.0, "input_tokens": 384,
    },
    "diffusion": {"model": "sdxl-1.0", "engine": "pytorch-eager", "concurrency": 4},
    "trees": TREES,
    "chunked": {"prefill_chunk_tokens": 128},
    "dynamic": {"batching": "dynamic"},
    "static": {"batching": "static", "data_parallel": 2},
    "apart": {"batching": "disaggregated"},
}  # fmt: skip
TOKENS = [name for name in SCENARIOS if name not in ("encoder", "diffusion", "trees")]
STEPWISE = [name for name in TOKENS if name not in ("dynamic", "static", "apart")]
"""Requests join at every step."""
NOTHING = [
    {"model": "llama-3.1-70b"},
    {"model": "no-such-model"},
    {"scaling": "fixed", "requests_per_s": 1e4},
]
"""Deployments that cannot be."""


@cache
def asked(name: str) -> Answer:
    found = answer(Scenario(**SCENARIOS[name]), FACTS)
    assert found.feasible, found.reasons
    return found


def known(result: Answer) -> tuple[Inputs, Estimate]:
    assert result.inputs is not None and result.estimate is not None
    return result.inputs, result.estimate


# Steps --------------------------------------------------------------------------------------------


def value(latex: str) -> float:
    """What a formula with numbers comes to."""
    text = latex.replace("{,}", "").replace("\\ ", "")
    text = re.sub(r"\\mathrm\{[^{}]*\}(\^\{-1\})?", "", text)
    text = re.sub(r"\\times10\^\{(-?\d+)\}", r"e\1", text)
    text = text.replace(r"\cdot", "*")
    text = text.replace(r"\left\lceil", "ceil(").replace(r"\right\rceil", ")")
    text = re.sub(r"\\(max|min)\\left\(", r"\1(", text).replace(r"\right)", ")")
    while r"\frac" in text:
        text, count = re.subn(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", text, count=1)
        assert count, text
    assert re.fullmatch(r"((ceil|max|min)\(|[-+*/(), .0-9]|e[-\d])+", text), text
    return float(eval(text, {"__builtins__": {}, "ceil": math.ceil, "max": max, "min": min}))


def test_formulas_are_read() -> None:
    assert value(r"\frac{1{,}000 + 2 \cdot 5}{\frac{20}{2}}\ \mathrm{s}^{-1}") == 101
    assert value(r"\left\lceil \frac{1.5\times10^{-3}}{0.001} \right\rceil + 1") == 3
    assert value(r"\max\left(\min\left(1.5,\ 2\right),\ 1\right) + 1") == 2.5


def sides(numbers: str) -> list[float]:
    """What stands on each side of the equals signs of a step."""
    return [value(side) for side in numbers.split(" = ")]


@pytest.mark.parametrize("name", SCENARIOS)
def test_both_sides_of_every_step_are_equal(name: str) -> None:
    """As far as four digits go."""
    found = explain.steps(asked(name))
    assert len(found) >= 5
    for step in found:
        left, *others = sides(step.numbers)
        for other in others:
            assert other == pytest.approx(left, rel=2e-3), (step.title, step.numbers)


@pytest.mark.parametrize("name", SCENARIOS)
def test_steps_end_at_the_estimate(name: str) -> None:
    _, e = known(asked(name))
    found = explain.steps(asked(name))
    results = [sides(step.numbers)[-1] for step in found]
    assert results[-1] == pytest.approx(e.cost_per_inference, rel=1e-3)
    assert results[-2] == pytest.approx(e.cost_rate * 3600, rel=1e-3)
    assert results[-3] == pytest.approx(e.replicas, rel=1e-3)
    speeds = [step for step in found if step.title.startswith("Requests per second")]
    assert sides(speeds[0].numbers)[-1] == pytest.approx(e.throughput, rel=1e-3)
    assert results[0] == pytest.approx(e.decode_step_time * 1000, rel=1e-3)
    if name in TOKENS and name != "chunked":
        assert results[1] == pytest.approx(e.tpot * 1000, rel=1e-3)


@pytest.mark.parametrize("name", STEPWISE)
def test_throughput_obeys_littles_law(name: str) -> None:
    """Requests that run are throughput times the time that each runs, waiting left out."""
    x, e = known(asked(name))
    waiting = max(x.concurrency - e.running, 0.0) / e.throughput
    service = e.ttft - waiting + (x.output_tokens - 1) * e.tpot
    assert e.throughput * service == pytest.approx(e.running, rel=1e-9)
    # And of all that were asked, with it.
    whole = e.ttft + (x.output_tokens - 1) * e.tpot
    assert e.throughput * whole == pytest.approx(x.concurrency, rel=1e-9)
    titles = [step.title for step in explain.steps(asked(name))]
    last = next(i for i, title in enumerate(titles) if title.startswith("Requests per second")) - 1
    first = sides(explain.steps(asked(name))[last].numbers)[-1] / 1000
    assert first == pytest.approx(e.ttft - waiting, rel=1e-3)


def test_waiting_is_a_step_where_requests_wait() -> None:
    titles = {name: [step.title for step in explain.steps(asked(name))] for name in SCENARIOS}
    waits = {
        name for name in STEPWISE if any("Requests that memory" in title for title in titles[name])
    }
    assert waits == {"waiting"}
    _, e = known(asked("waiting"))
    (step,) = (step for step in explain.steps(asked("waiting")) if "wait" in step.title)
    assert sides(step.numbers)[-1] == pytest.approx(e.ttft * 1000, rel=1e-3)


@pytest.mark.parametrize("changes", NOTHING)
def test_what_cannot_be_is_not_explained(changes: dict[str, Any]) -> None:
    result = answer(Scenario(**changes), FACTS)
    assert not result.feasible
    assert explain.steps(result) == [] == explain.costs(result)


# Facts --------------------------------------------------------------------------------------------


def facts(name: str) -> list[Fact]:
    return explain.facts(asked(name), FACTS)


def fact(found: list[Fact], ending: str) -> Fact:
    (one,) = (fact for fact in found if fact.name.endswith(ending))
    return one


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_fact_has_a_source_and_none_is_of_tomorrow(name: str) -> None:
    found = facts(name)
    assert {fact.kind for fact in found} == {
        "Price", "Hardware", "Model", "Precision", "Fitted", "Scenario",
    }  # fmt: skip
    for fact in found:
        assert fact.source.strip() and fact.name.strip()
        assert fact.as_of is None or fact.as_of <= date.today()
        assert isinstance(fact.value, str) or math.isfinite(fact.value)
    assert len({(fact.kind, fact.name) for fact in found}) == len(found)


def test_every_model_and_chip_has_its_sources() -> None:
    """None of their figures is without one."""
    engines = {
        "llm": "vllm", "encoder": "onnxruntime", "vision": "onnxruntime",
        "diffusion": "pytorch-eager", "speech": "pytorch-eager", "recommender": "torchrec",
        "trees": "treelite",
    }  # fmt: skip
    seen = 0
    scenarios = [
        TREES | {"model": id} if model.model_class == "trees"
        else {"model": id, "engine": engines[model.model_class]}
        for id, model in FACTS.models.items()
    ]  # fmt: skip
    scenarios += [
        {"accelerator": id, "engine": engine, "device_price_usd_per_hour": 1.0}
        for id in FACTS.accelerators
        for engine in ("vllm", "neuron", "llama-cpp", "maker-runtime", "pytorch-eager")
    ]
    for changes in scenarios:
        result = answer_without_suggestions(Scenario(**changes))
        for found in explain.facts(result, FACTS):
            if found.kind in ("Model", "Hardware", "Precision"):
                assert found.as_of is not None, (changes, found)
                assert "schema" not in found.source
                seen += 1
    assert seen > 1000


def answer_without_suggestions(scenario: Scenario) -> Answer:
    """An answer that may be infeasible, without the search for a way out."""
    from cpi_model.inputs import ImpossibleChoice, choose, numbers

    try:
        choice = choose(scenario, FACTS)
    except ImpossibleChoice:
        return Answer(scenario, None, None, None, (), ())
    return Answer(
        scenario, choice, Service(numbers(scenario, choice, coefficients())), None, (), ()
    )


def test_a_correction_is_a_figure_of_its_own_and_the_fit_stays_what_it_is() -> None:
    plain, corrected = facts("llm"), facts("corrected")
    for title, value in (("time per token", 1.3), ("time to first token", 0.8)):
        found = fact(corrected, f"Correction: {title}")
        assert (found.value, found.source) == (value, explain.YOURS)
        assert fact(plain, f"Correction: {title}").source.startswith("no correction")
    for each in plain:
        if each.kind == "Fitted":
            assert fact(corrected, each.name).value == pytest.approx(each.value)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_price_is_that_of_the_catalog(name: str) -> None:
    choice = asked(name).choice
    assert choice is not None and choice.price is not None
    price = facts(name)[0]
    rows = [
        row for row in FACTS.instance_prices
        if row.instance in price.name and row.region in price.name
        and row.purchase.replace("_", " ") in price.name and row.usd_per_hour == price.value
        and (row.source, row.valid_from) == (price.source, price.as_of)
    ]  # fmt: skip
    assert rows and price.unit == "USD/h"
    assert FACTS.instances[rows[0].instance].accelerator == choice.accelerator.id
    devices = fact(facts(name), f"Devices in {rows[0].instance}")
    assert devices.value == FACTS.instances[rows[0].instance].accelerator_count


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({}, 1.0),
        ({"discount_share": 0.2}, 0.8),
        ({"purchase": "spot", "spot_overhead_share": 0.1}, 1.1),
        ({"purchase": "reserved_1y", "unused_commitment_share": 0.2}, 1.25),
        ({"purchase": "reserved_3y", "unused_commitment_share": 0.5, "discount_share": 0.5}, 1.0),
    ],
)
def test_the_effective_price_follows_from_the_lines_around_it(
    changes: dict[str, Any], factor: float
) -> None:
    found = explain.facts(answer(Scenario(**changes), FACTS), FACTS)
    paid, effective = found[0].value, fact(found, "unused commitment").value
    assert isinstance(paid, float)
    assert effective == pytest.approx(factor * paid)


def test_an_own_price_is_the_users() -> None:
    found = explain.facts(answer(Scenario(device_price_usd_per_hour=2.25), FACTS), FACTS)
    own = fact(found, "Own price per device")
    assert (own.value, own.source, own.as_of) == (2.25, explain.YOURS, None)


def test_what_the_user_changed_is_the_users() -> None:
    before = {fact.name: fact for fact in facts("llm") if fact.kind == "Scenario"}
    found = explain.facts(answer(Scenario(pue=1.5, target_utilisation=0.6), FACTS), FACTS)
    after = {fact.name: fact for fact in found if fact.kind == "Scenario"}
    assert set(after) == set(before)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {FIELDS["pue"].title, FIELDS["target_utilisation"].title}
    assert all(after[name].source == explain.YOURS for name in changed)
    assert after[FIELDS["pue"].title].value == 1.5
    assert all(fact.source != explain.YOURS and fact.as_of for fact in before.values())


def test_figures_are_those_that_were_published() -> None:
    """Meta: 32 layers, 8 key-value heads, 8.03 billion parameters; NVIDIA: 989 TFLOP/s, 80 GB."""
    found = facts("llm")
    assert fact(found, "layers with attention").value == 32
    assert fact(found, "key-value heads").value == 8
    assert fact(found, ": parameters").value == pytest.approx(8.03, rel=1e-3)
    assert fact(found, "Dense peak in bf16").value == pytest.approx(989, abs=1)
    assert fact(found, ": Memory").value == 80
    assert fact(found, ": weights").value == 16


def test_fitted_figures_say_on_how_many_runs() -> None:
    fitted = coefficients()
    x, _ = known(asked("llm"))
    found = facts("llm")
    peak = fact(found, "Share of the peak reached")
    assert f"{fitted.chips['hopper'].rows:,} measured runs" in peak.source
    assert peak.value == x.compute_efficiency and peak.as_of == fitted.fitted_on
    layer = fact(found, "Overhead of a layer")
    assert f"{fitted.engines['vllm'].rows:,} measured runs" in layer.source
    assert layer.unit == "ms" and layer.value == pytest.approx(x.layer_overhead * 1000)
    assert "assumption" in fact(facts("trees"), "Share of the peak reached").source


# How sure -----------------------------------------------------------------------------------------


def asked_is_measured(name: str) -> bool:
    """Whether the file of coefficients names the very model, chip and engine."""
    choice = asked(name).choice
    assert choice is not None
    model = choice.model.architecture_of or choice.model.id
    return f"{model}/{choice.accelerator.id}/{choice.engine.id}" in coefficients().pairings


@pytest.mark.parametrize("name", SCENARIOS)
def test_accuracy_is_that_of_the_fit(name: str) -> None:
    choice = asked(name).choice
    assert choice is not None
    found = explain.accuracy(asked(name))
    residuals, modes = coefficients().residuals, coefficients().modes
    kind, part = choice.model.model_class, "/unseen"
    if kind == "llm":
        part = "/known" if asked_is_measured(name) else part
    else:
        wide = f"{kind}/{choice.accelerator.generation}/{choice.arithmetic}"
        found_on = [mode for mode in ("static", "offline") if f"{wide}/{mode}" in modes]
        at_all = [mode for mode in ("static", "offline") if f"{kind}/{mode}" in modes]
        mode = next(iter(found_on or at_all), "")
        part = part if found_on else "/elsewhere"
        run = f"{choice.accelerator.id}/{choice.engine.id}/{choice.scheme.id}/{mode}"
        known = f"{choice.model.architecture_of or choice.model.id}/{run}"
        part = "/known" if known in modes else part
        kind = f"{kind}-{mode}" if mode else kind
    measured = [
        (row.rows, row.median_error, row.p90_error)
        for measure in ("ttft", "tpot", "throughput")
        if (row := residuals.get(f"{kind}/{measure}{part}") or residuals.get(f"{kind}/{measure}"))
    ]
    assert [(row.rows, row.median_error, row.p90_error) for row in found] == measured
    assert all(0 <= row.median_error <= row.p90_error for row in found)
    assert len({row.what for row in found}) == len(found)
    assert bool(found) == (name != "trees")


def test_what_does_not_exist_has_neither_facts_nor_accuracy() -> None:
    result = answer(Scenario(model="no-such-model"), FACTS)
    assert explain.facts(result, FACTS) == [] == explain.accuracy(result)


# Costs --------------------------------------------------------------------------------------------


def costs(name: str) -> dict[str, explain.Cost]:
    found = explain.costs(asked(name))
    assert len({cost.name for cost in found}) == len(found)
    return {cost.name: cost for cost in found}


@pytest.mark.parametrize("name", SCENARIOS)
def test_all_units_say_the_same_cost(name: str) -> None:
    x, e = known(asked(name))
    found = costs(name)
    each = found["Per inference"]
    assert each.loaded == pytest.approx(e.cost_per_inference, rel=1e-12)
    assert each.marginal == pytest.approx(e.marginal_cost_per_inference, rel=1e-12)
    for count, unit in ((1e3, "1,000"), (1e6, "million")):
        many = found[f"Per {unit} inferences"]
        assert many.loaded == pytest.approx(count * each.loaded, rel=1e-12)
        assert many.marginal == pytest.approx(count * each.marginal, rel=1e-12)
    day, month, year = (found[f"Per {period}"].loaded for period in ("day", "month", "year"))
    assert year == pytest.approx(365 * day, rel=1e-12)
    assert year == pytest.approx(12 * month, rel=1e-12)
    successes = x.requests_per_s * x.success_share * 86_400
    assert day == pytest.approx(successes * each.loaded, rel=1e-9)
    assert math.isnan(found["Per day"].marginal)
    for cost in found.values():
        if name == "trees":  # none was measured
            assert cost.likely is None
        else:
            assert cost.likely is not None
            low, high = cost.likely
            assert low <= cost.loaded * (1 + 1e-12) and cost.loaded <= high * (1 + 1e-12)
    good = found["Per inference within all limits"].loaded
    assert good >= each.loaded
    assert good * e.good_share == pytest.approx(each.loaded, rel=1e-9)


@pytest.mark.parametrize("name", SCENARIOS)
def test_tokens_pay_for_the_inference(name: str) -> None:
    x, _ = known(asked(name))
    found = costs(name)
    names = [f"Per million {what} tokens" for what in ("input", "cached input", "output")]
    if name not in TOKENS:
        assert not set(names) & set(found)
        return
    cached = x.input_tokens * x.cached_input_share
    assert (names[1] in found) == (cached > 0)
    tokens = dict(zip(names, (x.input_tokens - cached, cached, x.output_tokens), strict=True))
    each = found["Per inference"]
    for basis in ("loaded", "marginal"):
        paid = sum(
            count * getattr(found[name], basis) / 1e6 for name, count in tokens.items() if count
        )
        assert paid == pytest.approx(getattr(each, basis), rel=1e-9)
    if cached:
        assert found[names[1]].loaded < found[names[0]].loaded < found[names[2]].loaded
