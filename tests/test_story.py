"""Three sentences: their numbers are those of the answer, and they read well whatever is asked."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpi_model import story
from cpi_model.catalog import catalog
from cpi_model.export import duration, money, money_between, percent
from cpi_model.scenario import Scenario
from cpi_model.story import Story
from cpi_model.studies import bands
from cpi_model.studies.answer import Answer, answer
from cpi_model.units import DAY, MILLION, MONTH, YEAR
from tests.test_advice import SCENARIOS as WORKING

FACTS = catalog()
NAMES = tuple(
    each.name
    for things in (FACTS.models, FACTS.engines, FACTS.accelerators, FACTS.schemes)
    for each in things.values()
)
PERIODS = {"day": DAY, "month": MONTH, "year": YEAR}
CLASSES = {
    each.model_class: Scenario(model=each.id, engine="pytorch-eager", input_tokens=128)
    for each in FACTS.models.values() if each.model_class != "trees"
}  # fmt: skip
IMPOSSIBLE = {
    "too big": Scenario(model="llama-3.1-70b"),
    "unknown": Scenario(model="nope"),
    "wrong engine": Scenario(model="bert-large", engine="sglang"),
    "too much": Scenario(scaling="fixed", requests_per_s=9000.0),
    "nothing near": Scenario(model="deepseek-r1", accelerator="raspberry-pi-5", purchase="spot"),
}
SCENARIOS = WORKING | CLASSES | {
    "quiet": Scenario(requests_per_s=0.001),
    "busy": Scenario(requests_per_s=5000.0, period="day"),
    "frugal": Scenario(
        scheme="int4-awq", purchase="reserved_3y", scaling="follow", concurrency=64,
        target_utilisation=0.9,
    ),
    "budget": Scenario(max_usd_per_month=100.0),
    "two limits": Scenario(max_devices=1, slo_tpot_ms=1.0, max_carbon_g=1e-6),
    "dynamic": Scenario(batching="dynamic", cost_basis="marginal", period="year"),
}  # fmt: skip


@cache
def asked(name: str) -> Answer:
    return answer((SCENARIOS | IMPOSSIBLE)[name], FACTS)


@cache
def told(name: str) -> Story:
    return story.tell(asked(name), FACTS)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_first_sentence_has_the_figures_of_the_headline(name: str) -> None:
    result, scenario = asked(name), SCENARIOS[name]
    assert result.estimate is not None
    figure = (
        "marginal_cost_per_inference" if scenario.cost_basis == "marginal" else "cost_per_inference"
    )
    cost = float(getattr(result.estimate, figure))
    assert told(name).headline == money(cost, scenario)
    sentence = plain(told(name).sentences[0])
    assert (
        f" costs {money(cost, scenario)} ({money(cost * MILLION, scenario)} for a million)"
        in sentence
    )
    bill = float(result.estimate.cost_rate) * PERIODS[scenario.period]
    assert sentence.endswith(f"the whole bill is {money(bill, scenario)} a {scenario.period}.")
    band = bands.of(result)[figure]
    if band is None:
        assert "was not measured" in sentence
    elif band.high > band.low * 1.001:
        assert f"likely {money_between(band.low, band.high, scenario)};" in sentence
    else:
        assert "the same at any likely speed" in sentence


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_second_has_the_parts_of_the_cost(name: str) -> None:
    result, scenario = asked(name), SCENARIOS[name]
    assert result.estimate is not None
    marginal = scenario.cost_basis == "marginal"
    found = story.shares(result.estimate, marginal)
    assert sum(found.values()) == pytest.approx(1.0)
    sentence = plain(told(name).sentences[1])
    largest = max(found, key=lambda part: found[part])
    assert sentence.startswith(f"{percent(found[largest])} of ")
    assert f"pays for {largest}" in sentence
    if marginal:
        assert "idle time is not in it" in sentence
    else:
        assert f" do {percent(float(result.estimate.utilisation))} of what they could" in sentence


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_third_has_the_figures_of_the_next_best_change(name: str) -> None:
    advised, scenario = told(name).advised, SCENARIOS[name]
    assert advised is not None
    sentence = plain(told(name).sentences[2])
    best = advised.best
    if advised.broken and best is None:
        assert sentence.endswith("no single change keeps every limit.")
    elif best is None:
        assert sentence.startswith("No single change is likely to save 1 % or more")
        assert f"{advised.tried} changes tried" in sentence
    else:
        assert f", {best.step.text}, " in sentence
        then = answer(scenario.model_copy(update=best.step.changes), FACTS).estimate
        now = asked(name).estimate
        assert then is not None and now is not None
        marginal = scenario.cost_basis == "marginal"
        figure = "marginal_cost_per_inference" if marginal else "cost_per_inference"
        change = 1.0 - float(getattr(then, figure)) / float(getattr(now, figure))
        if abs(change) < 0.001:
            assert "costs the same" in sentence
        else:
            assert f"{'saves' if change > 0 else 'costs'} {percent(abs(change))}" in sentence
        bill = (float(now.cost_rate) - float(then.cost_rate)) * PERIODS[scenario.period]
        if abs(bill) > 1e-6 * float(now.cost_rate):
            assert f"({money(abs(bill), scenario)} a {scenario.period}" in sentence
        if "95 of 100" in sentence:
            assert duration(float(then.latency_p95)) in sentence


def test_limits_that_are_broken_are_said_with_their_figures() -> None:
    sentence = plain(told("two limits").sentences[2])
    result = asked("two limits")
    assert result.estimate is not None
    assert sentence.startswith("Hardly any request is in time where 95 % must be and it takes ")
    assert "where 1 device is allowed" in sentence and "g of CO₂ where" in sentence
    budget = plain(told("budget").sentences[2])
    assert "a month where $100 is the budget" in budget


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_work_says_why_and_what_would(name: str) -> None:
    result, sentences = asked(name), [plain(each) for each in told(name).sentences]
    assert told(name).advised is None and told(name).headline == "This cannot work"
    for reason in result.reasons:
        assert any(reason in each for each in sentences)
    if not result.suggestions:
        assert "Nothing near it works" in sentences[2]
        return
    nearest = result.suggestions[0]
    assert nearest.text[1:] in sentences[2]
    then = answer(result.scenario.model_copy(update=nearest.changes), FACTS)
    assert then.estimate is not None
    assert (
        f"then costs {money(float(then.estimate.cost_per_inference), then.scenario)}."
        in (sentences[2])
    )


@pytest.mark.parametrize("name", [*SCENARIOS, *IMPOSSIBLE])
def test_sentences_read_well(name: str) -> None:
    read(told(name))


def read(found: Story) -> None:
    """See to it that sentences are whole and grammatical."""
    for sentence in found.sentences:
        text = plain(sentence)
        # Some names begin small.
        assert re.match(r"[A-Z0-9]", text) or text.startswith(NAMES), text
        assert text.endswith(".") and not text.endswith("..")
        assert not re.search(r"  |\bnan\b|\binf\b|unknown|None|;;|,,|\( |∞", text), text
        assert not re.search(
            r"(?<![\d.,])1 (changes|devices|replicas|requests|versions|years)\b", text
        )
        assert not re.search(
            r"(?<![\d.,])(?:0|[2-9]|\d\d+) (change|device|replica|version|year)\b", text
        ), text
        # A figure is not parted from its unit at the end of a line.
        assert not re.search(r"\d (%|ms|s|GB)(?!\w)", sentence)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_anything_that_can_be_asked_reads_well(data: st.DataObject) -> None:
    def one(*values: Any) -> Any:
        return data.draw(st.sampled_from(values))

    chip, engine = one(*FACTS.accelerators.values()), one(*FACTS.engines.values())
    models = [each for each in FACTS.models.values() if each.model_class in engine.model_classes]
    drawn = Scenario(
        model=one(*(each.id for each in models)), accelerator=chip.id, engine=engine.id,
        scheme=one(*engine.schemes), requests_per_s=one(0.001, 1.0, 100.0, 5000.0),
        concurrency=one(1, 8, 64, 1000), tensor_parallel=one(1, 2, 8),
        purchase=one("on_demand", "spot", "reserved_1y", "reserved_3y"),
        scaling=one("peak", "follow", "fixed"), fixed_replicas=one(1, 5, 200),
        cost_basis=one("loaded", "marginal"), period=one("day", "month", "year"),
        batching=one("continuous", "dynamic", "static", "disaggregated"),
        live_versions=one(1, 3), slo_share=one(0.0, 0.95), input_tokens=one(1, 300, 20_000),
        device_price_usd_per_hour=one(None, 3.0), kv_precision=one("bf16", "fp8"),
        draft_model=one("none", "ngram"), max_devices=one(None, 4),
    )  # fmt: skip
    read(story.tell(answer(drawn, FACTS), FACTS))


def test_the_bill_is_said_where_one_more_answer_costs_the_same() -> None:
    many = Scenario(scaling="fixed", fixed_replicas=40, max_devices=8, cost_basis="marginal")
    sentence = plain(story.sentences(answer(many, FACTS), FACTS)[2])
    assert sentence.startswith("It takes 40 devices where 8 devices are allowed: ")
    assert re.search(r"costs the same and takes \$[\d,]+ a month off the bill", sentence)


def test_a_name_from_a_link_is_only_text() -> None:
    hostile = Scenario.model_construct(**Scenario().model_dump() | {"model": "<b>*x*</b>"})
    assert "<b>*x*</b>" in " ".join(story.sentences(answer(hostile, FACTS), FACTS))
