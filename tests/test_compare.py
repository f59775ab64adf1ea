"""Comparisons: links for ever, bridges that add up, and how sure it is that one is cheaper."""

from __future__ import annotations

import csv
import json
import math
from itertools import permutations
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from cpi_model import charts, links
from cpi_model.catalog import catalog
from cpi_model.coefficients import coefficients
from cpi_model.links import LETTERS, Named
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import attribution, bands, compare
from cpi_model.studies.answer import answer

FACTS = catalog()
BUSY = Scenario(requests_per_s=300.0)
LARGE = BUSY.model_copy(
    update={"model": "llama-3.1-70b", "tensor_parallel": 2, "requests_per_s": 320.0}
)
TREES = Scenario(
    model="gbt-fraud-500x8", engine="treelite", scheme="fp32", accelerator="graviton4",
    requests_per_s=500.0, concurrency=8,
)  # fmt: skip
PAIRS = {
    "one field": (BUSY, BUSY.model_copy(update={"concurrency": 64})),
    "three fields": (BUSY, BUSY.model_copy(
        update={"scheme": "fp8", "concurrency": 64, "platform_share": 0.2}
    )),
    "another model": (BUSY, LARGE),
    "back again": (LARGE, BUSY),
    "another kind": (BUSY, TREES),
    "marginal": (
        BUSY.model_copy(update={"cost_basis": "marginal"}),
        LARGE.model_copy(update={"cost_basis": "marginal", "purchase": "spot", "engine": "sglang"}),
    ),
    "fixed": (
        Scenario(scaling="fixed", fixed_replicas=4),
        Scenario(scaling="fixed", fixed_replicas=9, requests_per_s=40.0, output_tokens=300),
    ),
}  # fmt: skip
GOLDEN: list[tuple[str, dict[str, Any]]] = [
    (row["query"], json.loads(row["scenarios"]))
    for row in csv.DictReader(
        (Path(__file__).parent / "golden_comparisons.csv").read_text(encoding="utf-8").splitlines()
    )
]
"""Comparisons in links of version 1 and what they mean. Rows are added, never changed."""


def cost(scenario: Scenario) -> float:
    """Of an inference, estimated alone; NaN where it cannot be."""
    found = answer(scenario, FACTS)
    if found.estimate is None or not found.feasible:
        return math.nan
    marginal = scenario.cost_basis == "marginal"
    estimate = found.estimate
    return float(estimate.marginal_cost_per_inference if marginal else estimate.cost_per_inference)


def beside(*scenarios: Scenario, viewer: Scenario | None = None) -> tuple[compare.Compared, ...]:
    named = {
        letter: Named("", each) for letter, each in zip(LETTERS, scenarios, strict=False)
    }  # fmt: skip
    return compare.answered(named, viewer or scenarios[0], FACTS)


# Links -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("query", "scenarios"), GOLDEN, ids=[query for query, _ in GOLDEN])
def test_comparisons_that_people_have_sent_keep_their_meaning(
    query: str, scenarios: dict[str, Any]
) -> None:
    found, problems = links.decode_comparison(f"?{query}")
    assert problems == []
    assert found == {
        letter: Named(each["name"], Scenario(**each["fields"]))
        for letter, each in scenarios.items()
    }
    # As a scenario it is the default: nothing of it is taken for a field.
    assert links.decode(query) == (Scenario(), [])


def _another(name: str, place: int) -> Any:
    info = FIELDS[name]
    if info.kind == "choice":
        return info.choices[(info.choices.index(info.default) + place) % len(info.choices)]
    if info.kind == "text":
        return f"{name.replace('_', '-')}-{place}"
    assert info.minimum is not None and info.maximum is not None
    value = info.minimum + (info.maximum - info.minimum) * (0.123456 + 0.0101 * place)
    return round(value) if info.kind == "int" else float(f"{value:.6g}")


def test_four_scenarios_with_every_field_changed_fit_into_one_link() -> None:
    changed = {
        letter: Named(
            f"Scenario number {place} of this meeting",
            Scenario(**{
                name: _another(name, place) for name, info in FIELDS.items()
                if info.group != "display"
            }),
        )
        for place, letter in enumerate(LETTERS, start=1)
    }  # fmt: skip
    current = changed["D"].scenario.model_copy(update={"currency": "EUR"})
    query = links.encode(current, changed)
    assert len(query) < 4_000
    found, problems = links.decode_comparison(query)
    assert (found, problems) == (changed, [])
    assert links.decode(query) == (current, [])


@pytest.mark.parametrize(
    ("query", "letters", "said"),
    [
        ("A=AwA&B=!!!", "A", "Scenario B cannot be read; was the link cut off?"),
        ("A=%00&B=AwA", "", "Scenario A cannot be read; was the link cut off?"),
        ("A=&B=AwA", "", "Scenario A cannot be read"),
        ("A=" + "A" * 19_000, "", "Scenario A cannot be read"),
        ("v=9&A=AwA", "A", "Scenario A: The link is of version '9'"),
        ("A=" + links.pack(Scenario().model_copy(update={"concurrency": 10**6})), "A",
         "Scenario A: c: concurrency is '1000000', allowed is a whole number from 1 to 8,192."),
    ],
)  # fmt: skip
def test_broken_tokens_are_sentences_and_spoil_no_other(
    query: str, letters: str, said: str
) -> None:
    found, problems = links.decode_comparison(query)
    assert "".join(found) == letters
    assert len(problems) == 1 and problems[0].startswith(said)


@given(st.dictionaries(st.sampled_from([*LETTERS, "v"]), st.text() | st.none() | st.integers()))
@settings(max_examples=60, deadline=None)
def test_any_parameters_give_a_comparison(params: dict[str, Any]) -> None:
    found, problems = links.comparison_from(params)
    assert set(found) <= set(LETTERS)
    assert all(isinstance(sentence, str) for sentence in problems)


@given(st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_names_come_back_in_one_line(text: str) -> None:
    name = links.plain_name(text)
    assert len(name) <= links.LONGEST_NAME and name.isprintable()
    query = urlencode(links.comparison_params({"A": Named(name, Scenario())}), safe="/~")
    found, problems = links.decode_comparison(query)
    assert problems == [] and found["A"].name == links.plain_name(name)


# The bridge --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS)
def test_a_bridge_leads_from_one_cost_to_the_other(name: str) -> None:
    first, second = PAIRS[name]
    found = compare.bridge(first, second, FACTS)
    assert found.start == pytest.approx(cost(first), rel=1e-12)
    assert found.end == pytest.approx(cost(second), rel=1e-12)
    total = math.fsum(part.change for part in found.parts)
    # A millionth of a millionth of the difference is far below a cent of a month.
    assert total == pytest.approx(found.end - found.start, rel=1e-9, abs=1e-18)
    named = [title for part in found.parts for title in part.names]
    assert sorted(named) == sorted(compare.changes(first, second))


@pytest.mark.parametrize("name", ["three fields", "another model", "marginal"])
def test_each_part_is_what_separate_estimates_say(name: str) -> None:
    first, second = PAIRS[name]
    fields = compare.changes(first, second)
    now, before = first, cost(first)
    for part in compare.bridge(first, second, FACTS).parts:
        update = {field: getattr(second, field) for title in part.names for field in fields[title]}
        now = now.model_copy(update=update)
        assert part.change == pytest.approx(cost(now) - before, rel=1e-9, abs=1e-18)
        before = cost(now)
    assert now == second


def test_what_is_possible_together_only_is_one_part() -> None:
    """141 GB in 16 bits do not fit on one device, so the model comes with the second one."""
    parts = compare.bridge(BUSY, LARGE, FACTS).parts
    assert [part.names for part in parts] == [
        ("Requests per second",),
        ("Model", "Tensor parallel"),
    ]
    kinds = compare.bridge(BUSY, TREES, FACTS).parts
    assert {"Model", "Precision", "Engine"} <= set(kinds[1].names)


def test_shares_are_the_mean_over_all_orders() -> None:
    first, second = PAIRS["three fields"]
    fields = compare.changes(first, second)
    found = compare.bridge(first, second, FACTS)
    by_hand = dict.fromkeys(fields, 0.0)
    orders = list(permutations(fields))
    for order in orders:
        now, before = first, cost(first)
        for title in order:
            update = {field: getattr(second, field) for field in fields[title]}
            now = now.model_copy(update=update)
            by_hand[title] += (cost(now) - before) / len(orders)
            before = cost(now)
    shares = compare.fair(found, first, second, FACTS)
    assert {part.names[0]: part.change for part in shares.parts} == pytest.approx(by_hand)
    assert math.fsum(part.change for part in shares.parts) == pytest.approx(found.end - found.start)


def test_too_many_changes_are_not_shared_out() -> None:
    names = [str(place) for place in range(attribution.MOST_TOGETHER + 1)]
    with pytest.raises(ValueError, match="11 changes are too many"):
        attribution.shapley(names, lambda subsets: [0.0] * len(subsets))


def test_what_cannot_work_has_no_bridge_and_spoils_no_other() -> None:
    broken = Scenario(model="deepseek-r1")
    with pytest.raises(ValueError, match="cannot work"):
        compare.bridge(BUSY, broken, FACTS)
    found = beside(BUSY, broken, Scenario(model="gpt-9"), LARGE)
    assert [each.answer.feasible for each in found] == [True, False, False, True]
    assert found[0].cost == cost(BUSY) and found[3].cost == cost(LARGE)
    assert "do not fit" in found[1].answer.reasons[0] and "gpt-9" in found[2].answer.reasons[0]
    document = compare.document(found, FACTS)
    json.dumps(document, allow_nan=False)
    assert [row["bridge"] is None for row in document["against_first"]] == [True, True, False]


def test_the_viewer_decides_how_all_are_shown() -> None:
    viewer = Scenario(currency="EUR", currency_per_usd=0.9, cost_basis="marginal")
    found = beside(BUSY, LARGE.model_copy(update={"currency": "JPY"}), viewer=viewer)
    assert {each.scenario.currency for each in found} == {"EUR"}
    expected = answer(BUSY, FACTS).estimate
    assert expected is not None
    assert found[0].cost == float(expected.marginal_cost_per_inference)
    matter, idle = compare.differences([each.scenario for each in found], FACTS)
    assert [each.info.name for each in matter] == ["requests_per_s", "model", "tensor_parallel"]
    assert idle == []


# How sure ----------------------------------------------------------------------------------------


def test_a_price_alone_is_sure_because_the_error_is_the_same() -> None:
    dearer = BUSY.model_copy(update={"device_price_usd_per_hour": 2.05})
    cheaper = BUSY.model_copy(update={"device_price_usd_per_hour": 1.95})
    one, other, same = beside(BUSY, dearer, BUSY)
    assert compare.cheaper(one, other) == 0.0
    assert compare.cheaper(*beside(BUSY, cheaper)) == 1.0
    assert compare.cheaper(one, same) == 0.5


@pytest.mark.parametrize(
    "change", [{"engine": "sglang"}, {"scheme": "fp8"}, {"accelerator": "a100-sxm-80gb"}]
)
def test_the_probability_is_that_of_two_log_normal_times(change: dict[str, Any]) -> None:
    """Marginal cost is nearly proportional to time, so the normal distribution tells it as well."""
    marginal = BUSY.model_copy(update={"cost_basis": "marginal"})
    first, second = beside(marginal, marginal.model_copy(update=change))
    fitted = coefficients()
    middles, deviations = [], []
    for each in (first, second):
        assert each.answer.choice is not None
        spread = bands.spreads(each.answer.choice, fitted)["throughput"]
        assert spread is not None
        low, high = -math.log(spread.p90_ratio), -math.log(spread.p10_ratio)
        middles.append(math.log(each.cost) + (low + high) / 2.0)
        deviations.append((high - low) / (2.0 * norm.ppf(0.9)))
    one, other = deviations
    apart = math.sqrt(one**2 + other**2 - 2.0 * bands.SHARED_ERROR * one * other)
    expected = norm.cdf((middles[0] - middles[1]) / apart)
    assert compare.cheaper(first, second) == pytest.approx(float(expected), abs=0.04)
    assert compare.cheaper(second, first) == pytest.approx(1.0 - compare.cheaper(first, second))


def test_what_nobody_measured_has_no_probability() -> None:
    assert math.isnan(compare.cheaper(*beside(BUSY, Scenario(model="deepseek-r1"))))


# Charts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("palette", [charts.LIGHT, charts.DARK], ids=["light", "dark"])
def test_charts_are_taken_by_plotly_and_repeat_no_markup(palette: charts.Palette) -> None:
    named = {"A": Named("<b>x</b>", BUSY), "B": Named("", LARGE), "C": Named("", TREES),
             "D": Named("", Scenario(model="deepseek-r1"))}  # fmt: skip
    viewer = Scenario(currency="EUR", currency_per_usd=0.5)
    found = compare.answered(named, viewer, FACTS)
    figure = charts.beside(found, viewer, palette)
    points = {
        trace["name"]: (trace["x"][0], trace["y"][0]) for trace in figure["data"]
        if trace.get("mode") == "markers"
    }  # fmt: skip
    assert set(points) == {"A", "B", "C"}
    for each in found[:3]:
        estimate = each.answer.estimate
        assert estimate is not None
        expected = (1e3 * float(estimate.latency_p95), 0.5e6 * each.cost)
        assert points[each.letter] == pytest.approx(expected)
    way = compare.bridge(BUSY, LARGE, FACTS)
    changes = [(" + ".join(part.names), part.change) for part in way.parts]
    bars = charts.steps((found[0].label, way.start), changes, ("B", way.end), viewer, palette)
    tips = [b + x for b, x in zip(bars["data"][0]["base"], bars["data"][0]["x"], strict=True)]
    assert tips[-2] == pytest.approx(0.5e6 * way.end, rel=1e-4)
    for drawn in (figure, bars):
        go.Figure(drawn)
        assert "<b>x" not in json.dumps(drawn, allow_nan=False)
    assert charts.describe_beside(found, viewer).endswith(".")
    assert charts.describe_steps(("A", way.start), changes, ("B", way.end), viewer).endswith(".")
    assert charts.beside(found[3:], viewer, palette)["data"]
