"""Charts: figures that Plotly takes, whose numbers are those of the estimate.

The app hands figures to the browser unchecked, so here Plotly itself checks each of them.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpi_model import charts
from cpi_model.catalog import catalog
from cpi_model.charts import DARK, LIGHT, Figure, Palette
from cpi_model.evaluate import Estimate
from cpi_model.scenario import Scenario
from cpi_model.studies import buying, sweep
from cpi_model.studies.answer import Answer, answer
from cpi_model.studies.sweep import Sweep
from cpi_model.units import MONTH

FACTS = catalog()
PALETTES = {"light": LIGHT, "dark": DARK}
SCENARIOS = {
    "llm": Scenario(),
    "moe": Scenario(
        model="mixtral-8x7b-v0.1", tensor_parallel=4, data_parallel=2, currency="INR",
        currency_per_usd=83.0,
    ),
    "encoder": Scenario(model="bert-large", engine="onnxruntime", input_tokens=384),
    "trees": Scenario(
        model="gbt-fraud-500x8", engine="treelite", scheme="fp32",
        accelerator="xeon-platinum-8488c",
    ),
    "over-full": Scenario(model="llama-3.1-70b"),
    "waiting": Scenario(concurrency=1024, input_tokens=4000),
}  # fmt: skip
"""One for each part of the model; ``over-full`` does not fit, in ``waiting`` requests queue."""
FEASIBLE = [name for name in SCENARIOS if name != "over-full"]
COMPONENTS = ("compute", "memory", "storage", "network", "orchestration")


@cache
def asked(name: str) -> Answer:
    return answer(SCENARIOS[name], FACTS)


def estimate(name: str) -> Estimate:
    found = asked(name).estimate
    assert found is not None
    return found


@cache
def swept(name: str) -> Sweep:
    scenario = SCENARIOS[name]
    counts = sorted({1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, scenario.concurrency})
    return sweep.over(scenario, "concurrency", counts, FACTS)


def capacity(name: str) -> float:
    inputs = asked(name).inputs
    assert inputs is not None
    return float(inputs.memory_capacity)


def figures(name: str, palette: Palette) -> dict[str, Figure]:
    """Every figure of a scenario, and all of them above each other."""
    found = {"memory": charts.memory(estimate(name), capacity(name), palette)}
    if name in FEASIBLE:
        found["breakdown"] = charts.cost_breakdown(estimate(name), SCENARIOS[name], palette)
        found["curves"] = charts.against_concurrency(swept(name), estimate(name), palette)
        found["two"] = charts.stack([found["breakdown"], found["memory"]])
        found["all"] = charts.stack([found["breakdown"], found["curves"], found["memory"]])
    found["alone"] = charts.stack([found["memory"]])
    return found


def numbers(part: Any) -> Iterator[float]:
    """Every number anywhere in a figure."""
    if isinstance(part, dict):
        part = list(part.values())
    if isinstance(part, list | tuple):
        for item in part:
            yield from numbers(item)
    elif isinstance(part, int | float):
        yield part


def trace(figure: Figure, name: str) -> dict[str, Any]:
    (found,) = (trace for trace in figure["data"] if trace.get("name") == name)
    assert isinstance(found, dict)
    return found


def words(figure: Figure) -> Iterator[tuple[dict[str, Any], int]]:
    """Traces of words and marks, and the place of each point in them."""
    for found in figure["data"]:
        if "text" in found.get("mode", ""):
            for place in range(len(found["x"])):
                yield found, place


def axis(figure: Figure, letter: str, found: dict[str, Any]) -> dict[str, Any]:
    """Axis that a trace is drawn on, as Plotly looks it up."""
    name = found.get(f"{letter}axis", letter)
    described = figure["layout"][f"{letter}axis{name[1:]}"]
    assert isinstance(described, dict)
    return described


# What Plotly takes --------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_plotly_takes_every_figure(name: str, theme: str) -> None:
    for figure in figures(name, PALETTES[theme]).values():
        drawn = go.Figure(figure)
        assert len(drawn.data) == len(figure["data"]) > 0


@pytest.mark.parametrize(
    "path", [("layout", "hight"), ("data", 0, "colour"), ("layout", "xaxis", "tikvals")]
)
def test_plotly_would_tell_of_a_property_that_does_not_exist(path: tuple[Any, ...]) -> None:
    figure = charts.cost_breakdown(estimate("llm"), SCENARIOS["llm"])
    part: Any = figure
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = 1
    with pytest.raises(ValueError, match="Invalid property"):
        go.Figure(figure)


@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_numbers_are_finite_and_figures_are_json(name: str, theme: str) -> None:
    for figure in figures(name, PALETTES[theme]).values():
        assert all(math.isfinite(number) for number in numbers(figure))
        assert json.loads(json.dumps(figure, allow_nan=False))["layout"]["height"] > 0


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_axis_that_is_used_exists(name: str) -> None:
    for figure in figures(name, LIGHT).values():
        layout = figure["layout"]
        for found in figure["data"]:
            for letter in "xy":
                assert axis(figure, letter, found)["range"]
        for shape in layout.get("shapes", ()):
            for letter in "xy":
                reference = shape[f"{letter}ref"]
                assert reference == "paper" or f"{letter}axis{reference[1:]}" in layout


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_axis_says_what_it_shows_in_which_unit(name: str) -> None:
    units = ("per million inferences", "milliseconds", "requests", "GB")
    for figure in figures(name, LIGHT).values():
        described = {k: v for k, v in figure["layout"].items() if k[:5] in ("xaxis", "yaxis")}
        assert len(described) >= 2
        for found in described.values():
            # The rows of bars have names instead of numbers, or nothing.
            rows = not found.get("showticklabels", True) or "Marginal" in found.get("ticktext", ())
            assert rows or any(unit in found["title"]["text"] for unit in units)


@pytest.mark.parametrize("name", SCENARIOS)
def test_ticks_are_numbers_inside_of_their_axis(name: str) -> None:
    for figure in figures(name, LIGHT).values():
        for key, found in figure["layout"].items():
            if key[:5] not in ("xaxis", "yaxis") or "tickvals" not in found:
                continue
            low, high = found["range"]
            values = found["tickvals"]
            assert len(values) == len(found["ticktext"]) >= 2
            places = [math.log10(v) for v in values] if found.get("type") == "log" else values
            assert all(low - 1e-9 <= place <= high + 1e-9 for place in places)
            assert len(set(values)) == len(values)


# What it costs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FEASIBLE)
def test_bars_add_up_to_the_totals(name: str) -> None:
    found, scenario = estimate(name), SCENARIOS[name]
    figure = charts.cost_breakdown(found, scenario)
    bars = [trace for trace in figure["data"] if trace["type"] == "bar"]
    assert [bar["name"].lower() for bar in bars] == list(COMPONENTS)
    assert all(bar["y"] == [1, 0] for bar in bars)
    assert figure["layout"]["yaxis"]["ticktext"] == ["Fully loaded", "Marginal"]
    assert figure["layout"]["yaxis"]["tickvals"] == [1, 0]
    assert figure["layout"]["barmode"] == "stack"
    assert scenario.currency in figure["layout"]["xaxis"]["title"]["text"]
    rate = 1e6 * scenario.currency_per_usd
    for row, total in enumerate((found.cost_per_inference, found.marginal_cost_per_inference)):
        shown = sum(bar["x"][row] for bar in bars)
        assert shown == pytest.approx(total * rate, rel=1e-5)
        assert shown < figure["layout"]["xaxis"]["range"][1]
    for bar in bars:
        basis = bar["name"].lower()
        each = [getattr(found, f"{basis}_cost"), getattr(found, f"marginal_{basis}_cost")]
        assert bar["x"] == pytest.approx([usd * rate for usd in each], rel=1e-5)


@pytest.mark.parametrize("name", FEASIBLE)
def test_components_are_named_with_their_shares(name: str) -> None:
    found = estimate(name)
    figure = charts.cost_breakdown(found, SCENARIOS[name])
    texts = [trace["text"][place] for trace, place in words(figure)]
    spoken = charts.describe_breakdown(found, SCENARIOS[name])
    for component in COMPONENTS:
        (text,) = (text for text in texts if component.capitalize() in text)
        share = getattr(found, f"{component}_cost") / found.cost_per_inference
        shown = text.split()[-1].removesuffix("%")
        if shown == "<1":
            assert 0 < share < 0.005
        else:
            assert float(shown) == pytest.approx(100 * share, abs=0.5)
        assert component in spoken


def test_marks_beside_the_names_have_the_colours_of_the_bars() -> None:
    for palette in PALETTES.values():
        figure = charts.cost_breakdown(estimate("llm"), SCENARIOS["llm"], palette)
        bars = {bar["name"]: bar["marker"]["color"] for bar in figure["data"][:5]}
        assert len(set(bars.values())) == 5
        marks = {
            found["text"][place].split()[0]: found["marker"]["color"][place]
            for found, place in words(figure)
            if found["text"][place].split()[0] in bars
        }
        assert marks == bars


# Against concurrency ------------------------------------------------------------------------------


def in_milliseconds(found: Estimate, tokens: bool) -> dict[str, Any]:
    names = {"p95 of a request": found.latency_p95}
    more: dict[str, Any] = (
        {"mean first token": found.ttft, "mean next token": found.tpot}
        if tokens
        else {"mean": found.latency_mean}
    )
    return {name: np.asarray(seconds) * 1000 for name, seconds in (names | more).items()}


@pytest.mark.parametrize("name", FEASIBLE)
def test_curves_are_the_sweep(name: str) -> None:
    found, scenario = swept(name), SCENARIOS[name]
    figure = charts.against_concurrency(found, estimate(name))
    rate = 1e6 * scenario.currency_per_usd
    lines = in_milliseconds(found.estimate, name in ("llm", "moe", "waiting")) | {
        "Fully loaded": np.asarray(found.estimate.cost_per_inference) * rate,
        "Marginal": np.asarray(found.estimate.marginal_cost_per_inference) * rate,
    }
    drawn = [trace for trace in figure["data"] if trace.get("mode") == "lines"]
    drawn = [trace for trace in drawn if "fill" not in trace]
    assert {trace["name"] for trace in drawn} - {"Limits"} == set(lines)
    for line, values in lines.items():
        shown = trace(figure, line)
        assert list(shown["x"]) == list(found.values)
        assert shown["y"] == pytest.approx(list(values), rel=1e-4)
        low, high = axis(figure, "y", shown)["range"]
        assert all(low <= math.log10(value) <= high for value in shown["y"])


@pytest.mark.parametrize("name", FEASIBLE)
def test_shades_are_the_ranges_around_their_lines(name: str) -> None:
    figure = charts.against_concurrency(swept(name), estimate(name))
    shades = [found for found in figure["data"] if "fill" in found]
    assert bool(shades) == (name != "trees")  # of which none was measured
    for shade in shades:
        lines = [
            found for found in figure["data"]
            if found.get("mode") == "lines" and found["yaxis"] == shade["yaxis"]
            and found["name"] not in (shade["name"], "Limits")
        ]  # fmt: skip
        assert shade["fill"] == "toself"
        found = list(areas(shade))
        assert 1 <= len(found) <= len(lines)
        for area in found:
            assert {min(area), max(area)} == {swept(name).values[0], swept(name).values[-1]}
            # It is one line that lies inside of an area, all along.
            assert any(
                all(low <= line["y"][line["x"].index(x)] <= high for x, (low, high) in area.items())
                for line in lines
            )
        low, high = axis(figure, "y", shade)["range"]
        assert all(low <= math.log10(value) <= high for value in shade["y"] if value is not None)
        # Under all lines of its panel.
        assert all(figure["data"].index(shade) < figure["data"].index(line) for line in lines)


def areas(shade: dict[str, Any]) -> Iterator[dict[float, tuple[float, float]]]:
    """Low and high end at each point of the areas of a trace, which gaps part."""
    points = list(zip(shade["x"], shade["y"], strict=True))
    while points:
        end = points.index((None, None)) if (None, None) in points else len(points)
        one, points = points[:end], points[end + 1 :]
        high, low = one[: len(one) // 2], one[: len(one) // 2 - 1 : -1]
        assert [x for x, _ in low] == [x for x, _ in high]
        yield {x: (under, over) for (x, under), (_, over) in zip(low, high, strict=True)}


def test_what_does_not_move_with_speed_has_no_shade() -> None:
    scenario = Scenario(scaling="fixed", fixed_replicas=20, requests_per_s=1.0)
    found = sweep.over(scenario, "concurrency", [1, 32, 256], FACTS)
    figure = charts.against_concurrency(found, sweep.at(found, 1))
    (cost, time) = (each for each in figure["data"] if "fill" in each)
    (marginal,) = areas(cost)
    loaded, other = (trace(figure, line)["y"] for line in ("Fully loaded", "Marginal"))
    assert marginal[1][0] < other[0] < marginal[1][1] < loaded[0]
    assert len(list(areas(time))) == 3


@pytest.mark.parametrize("name", FEASIBLE)
def test_the_choice_lies_on_the_curves(name: str) -> None:
    figure = charts.against_concurrency(swept(name), estimate(name))
    at = SCENARIOS[name].concurrency
    marks = [
        (found["x"][place], found["y"][place], found["yaxis"])
        for found, place in words(figure)
        if found["marker"]["symbol"][place] == "diamond"
    ]
    lines = [
        found for found in figure["data"] if found.get("mode") == "lines" and "x" in found
        and found["name"] != "Limits" and "fill" not in found
    ]  # fmt: skip
    assert len(marks) == len(lines)
    assert {x for x, _, _ in marks} == {at}
    for line in lines:
        on_curve = line["y"][list(line["x"]).index(at)]
        assert any(
            y == pytest.approx(on_curve, rel=1e-4) for _, y, axis in marks if axis == line["yaxis"]
        )
    (mark,) = (shape for shape in figure["layout"]["shapes"] if shape["type"] == "line")
    assert mark["x0"] == mark["x1"] == at
    assert any(f"<b>{at:,}</b>" in found["text"][place] for found, place in words(figure))


@pytest.mark.parametrize("name", FEASIBLE)
def test_the_part_that_memory_does_not_hold_is_shaded(name: str) -> None:
    figure = charts.against_concurrency(swept(name), estimate(name))
    room = estimate(name).max_concurrency
    shades = [shape for shape in figure["layout"]["shapes"] if shape["type"] == "rect"]
    if room < swept(name).values[-1]:
        (shade,) = shades
        assert (shade["x0"], shade["x1"]) == (room, swept(name).values[-1])
        text = f"memory holds {room:,.0f}"
        assert any(text in found["text"][place] for found, place in words(figure))
    else:
        assert not shades
    assert bool(shades) == (name in ("llm", "waiting"))


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({}, {1000.0, 50.0, 30_000.0}),
        ({"slo_ttft_ms": 321.0, "slo_tpot_ms": 12.5, "slo_latency_ms": 4000.0},
         {321.0, 12.5, 4000.0}),
        # An hour is far beyond every line and would flatten them all.
        ({"slo_latency_ms": 3_600_000.0}, {1000.0, 50.0}),
        ({"model": "bert-large", "engine": "onnxruntime", "slo_latency_ms": 40.0,
          "input_tokens": 384}, {40.0}),
    ],
)  # fmt: skip
def test_limits_in_sight_are_drawn_at_their_values(
    changes: dict[str, Any], seen: set[float]
) -> None:
    scenario = Scenario(**changes)
    found = sweep.over(scenario, "concurrency", [1, 8, 32, 128, 512], FACTS)
    chosen = answer(scenario, FACTS).estimate
    assert chosen is not None
    figure = charts.against_concurrency(found, chosen)
    limits = trace(figure, "Limits")
    assert {y for y in limits["y"] if y is not None} == seen
    # Each from end to end, with a gap behind it.
    assert limits["x"] == [1, 512, None] * len(seen)
    assert limits["y"][0::3] == limits["y"][1::3]
    assert limits["y"][2::3] == [None] * len(seen)
    low, high = axis(figure, "y", limits)["range"]
    assert all(low < math.log10(limit) < high for limit in seen)
    shown = [found["text"][place] for found, place in words(figure)]
    assert sum(text.startswith("limit ") for text in shown) == len(seen)


@pytest.mark.parametrize("name", FEASIBLE)
def test_words_of_curves_are_inside_of_their_axes(name: str) -> None:
    inside(charts.against_concurrency(swept(name), estimate(name)))


@pytest.mark.parametrize("name", SCENARIOS)
def test_words_of_bars_are_inside_of_their_axes(name: str) -> None:
    inside(charts.memory(estimate(name), capacity(name)))
    if name in FEASIBLE:
        inside(charts.cost_breakdown(estimate(name), SCENARIOS[name]))


@given(
    st.sampled_from(["llm", "encoder", "trees"]),
    st.tuples(st.floats(1, 1e5), st.floats(0.5, 1e4), st.floats(0.1, 1e6)),
    st.integers(1, 2000),
    st.integers(1, 8192),
)
def test_words_are_inside_whatever_the_limits(
    name: str, limits: tuple[float, float, float], output_tokens: int, concurrency: int
) -> None:
    names = ("slo_ttft_ms", "slo_tpot_ms", "slo_latency_ms")
    scenario = SCENARIOS[name].model_copy(
        update=dict(zip(names, limits, strict=True))
        | {"output_tokens": output_tokens, "concurrency": concurrency}
    )
    counts = sorted({1, 4, 32, 256, 8192, concurrency})
    found = sweep.over(scenario, "concurrency", counts, FACTS)
    chosen = sweep.at(found, counts.index(concurrency))
    inside(charts.against_concurrency(found, chosen))


def inside(figure: Figure) -> None:
    """Plotly draws no point, and no word at one, outside of the range of an axis."""
    count = 0
    for found, place in words(figure):
        for letter in "xy":
            described = axis(figure, letter, found)
            value = found[letter][place]
            if described.get("type") == "log":
                value = math.log10(value)
            low, high = described["range"]
            assert low - 1e-9 <= value <= high + 1e-9, found["text"][place]
            count += 1
    assert count > 0


# Memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_memory_is_filled_by_its_parts(name: str) -> None:
    found = estimate(name)
    figure = charts.memory(found, capacity(name))
    bars = trace(figure, "Memory")
    parts = [found.weight_memory, found.cache_memory, found.workspace_memory]
    assert bars["x"] == pytest.approx([capacity(name) / 1e9, *(part / 1e9 for part in parts)])
    # The outline begins at zero, and each part where the one before it ends.
    ends = [start + length for start, length in zip(bars["base"], bars["x"], strict=True)]
    assert bars["base"][:2] == [0, 0]
    assert bars["base"][2:] == pytest.approx(ends[1:-1])
    assert ends[-1] == pytest.approx(sum(parts) / 1e9)
    assert max(ends) < figure["layout"]["xaxis"]["range"][1]
    (usable,) = figure["layout"]["shapes"]
    assert usable["x0"] == usable["x1"] == pytest.approx(found.usable_memory / 1e9)
    assert usable["x0"] == pytest.approx(0.9 * capacity(name) / 1e9)  # the default share
    too_much = sum(parts) > found.usable_memory
    assert (usable["line"]["color"] == LIGHT.warning) == too_much == (name == "over-full")


# Above each other ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FEASIBLE)
@pytest.mark.parametrize("gap", [0, 10, 25])
def test_a_stack_keeps_every_figure_whole(name: str, gap: int) -> None:
    found = figures(name, LIGHT)
    whole = [found["breakdown"], found["curves"], found["memory"]]
    stacked = charts.stack(whole, gap)
    layout = stacked["layout"]
    heights = [figure["layout"]["height"] for figure in whole]
    assert layout["height"] == sum(heights) + 2 * gap
    assert len(stacked["data"]) == sum(len(figure["data"]) for figure in whole)
    axes = ("xaxis", "yaxis", "xref", "yref")
    originals = [trace for figure in whole for trace in figure["data"]]
    for new, old in zip(stacked["data"], originals, strict=True):
        assert {key: value for key, value in new.items() if key not in axes} == {
            key: value for key, value in old.items() if key not in axes
        }
    plotted = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
    above, seen = 0, 0
    domains = []
    for figure, height in zip(whole, heights, strict=True):
        margin = figure["layout"]["margin"]
        assert layout["margin"]["l"] >= margin["l"] and layout["margin"]["r"] >= margin["r"]
        for old in figure["data"]:
            new = stacked["data"][seen]
            seen += 1
            domain = axis(stacked, "y", new)["domain"]
            assert axis(stacked, "y", new)["range"] == axis(figure, "y", old)["range"]
            assert axis(stacked, "x", new)["range"] == axis(figure, "x", old)["range"]
            # In pixels from the top of the whole picture, as it was from the top of its own.
            start, end = axis(figure, "y", old).get("domain", (0.0, 1.0))
            inner = height - margin["t"] - margin["b"]
            for place, share in zip(domain, (start, end), strict=True):
                pixels = layout["margin"]["t"] + (1 - place) * plotted
                assert pixels == pytest.approx(above + margin["t"] + (1 - share) * inner, abs=0.01)
            if tuple(domain) not in domains:
                domains.append(tuple(domain))
        above += height + gap
    assert len(domains) == 4  # the curves have two panels
    assert all(0 <= low < high <= 1 for low, high in domains)
    assert all(lower[1] < upper[0] for upper, lower in pairwise(domains))


@pytest.mark.parametrize("name", ["llm", "waiting"])
def test_a_stack_keeps_its_lines_and_shades(name: str) -> None:
    found = figures(name, LIGHT)
    stacked = charts.stack([found["breakdown"], found["curves"], found["memory"]])
    shapes = stacked["layout"]["shapes"]
    own = found["curves"]["layout"]["shapes"] + found["memory"]["layout"]["shapes"]
    assert [(s["x0"], s["x1"]) for s in shapes] == [(s["x0"], s["x1"]) for s in own]
    time = axis(stacked, "y", trace(stacked, "p95 of a request"))["domain"]
    cost = axis(stacked, "y", trace(stacked, "Marginal"))["domain"]
    for shape in shapes[:-1]:
        assert shape["yref"] == "paper"
        assert (shape["y0"], shape["y1"]) == pytest.approx((time[0], cost[1]))
        assert shape["xref"] == trace(stacked, "Marginal")["xaxis"]
    (bars,) = (found for found in stacked["data"] if "base" in found)
    assert (shapes[-1]["xref"], shapes[-1]["yref"]) == (bars["xaxis"], bars["yaxis"])


# Colours ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", PALETTES)
def test_colours_are_those_of_the_theme(theme: str, root: Path) -> None:
    config = tomllib.loads((root / ".streamlit" / "config.toml").read_text("utf-8"))
    themed = config["theme"][theme]
    palette = PALETTES[theme]
    assert list(palette.series) == themed["chartCategoricalColors"]
    # With fewer Plotly falls back to its own.
    assert len(palette.series) == len(set(palette.series)) == 10
    assert (palette.paper, palette.ink) == (themed["backgroundColor"], themed["textColor"])


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2.2, from relative luminance."""

    def luminance(colour: str) -> float:
        channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#FFFFFF", "#000000") == pytest.approx(21.0)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.005)  # WebAIM: fails AA


@pytest.mark.parametrize("theme", PALETTES)
def test_text_can_be_read(theme: str) -> None:
    palette = PALETTES[theme]
    for text in (palette.ink, palette.quiet, palette.warning):
        assert contrast(text, palette.paper) >= 4.5
    assert len(palette.on_series) == 5
    for text, bar in zip(palette.on_series, palette.series, strict=False):
        assert contrast(text, bar) >= 4.5


# In words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_pictures_are_described_without_gaps(name: str) -> None:
    spoken = [charts.describe_memory(estimate(name))]
    if name in FEASIBLE:
        spoken.append(charts.describe_breakdown(estimate(name), SCENARIOS[name]))
        spoken.append(charts.describe_curves(swept(name)))
    for text in spoken:
        assert text.endswith(".")
        assert "nan" not in text and "unknown" not in text


def test_memory_is_described_with_its_sizes() -> None:
    """Llama-3.1-70B: 70.55e9 parameters of two bytes on a chip of 80 GB, nine tenths usable."""
    text = charts.describe_memory(estimate("over-full"))
    assert "weights 141 GB" in text and "of 77.3 GB" in text


# Buying -------------------------------------------------------------------------------------------

BOUGHT = {
    "owned": Scenario(requests_per_s=200.0),
    "committed": Scenario(accelerator="a10g", requests_per_s=100.0, currency="EUR",
                          currency_per_usd=0.9),
    "trees": SCENARIOS["trees"],
    "serverless": Scenario(serverless_usd_per_hour=4.0, requests_per_s=0.02),
}  # fmt: skip


@cache
def bought(name: str) -> buying.Buying:
    return buying.compare(BOUGHT[name], FACTS)


def figures_of_buying(name: str, palette: Palette = LIGHT) -> Iterator[Figure]:
    found, scenario = bought(name), BOUGHT[name]
    yield charts.volumes(found, scenario, palette)
    if found.mix is not None:
        yield charts.load_duration(found.mix, palette)
    if found.cash is not None:
        yield charts.cash(found.cash, scenario, palette)


@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize("name", BOUGHT)
def test_figures_of_buying_are_taken_by_plotly(name: str, theme: str) -> None:
    for figure in figures_of_buying(name, PALETTES[theme]):
        go.Figure(figure)
        json.dumps(figure, allow_nan=False)
        for axis in ("xaxis", "yaxis"):
            assert figure["layout"][axis]["title"]["text"]


@pytest.mark.parametrize("name", BOUGHT)
def test_lines_of_buying_are_the_study(name: str) -> None:
    found, scenario = bought(name), BOUGHT[name]
    figure = charts.volumes(found, scenario)
    lines = {trace["name"]: trace for trace in figure["data"] if trace.get("name")}
    for way in found.ways:
        if not way.known:
            continue
        line = lines[way.title]
        nearest = min(
            range(len(line["x"])),
            key=lambda at: abs(line["x"][at] - scenario.requests_per_s * MONTH),
        )
        assert line["y"][nearest] == pytest.approx(
            way.monthly * scenario.currency_per_usd, rel=1e-4
        )


@pytest.mark.parametrize("name", BOUGHT)
def test_words_of_buying_are_inside_and_apart(name: str) -> None:
    for figure in figures_of_buying(name):
        layout = figure["layout"]
        words = figure["data"][-1]
        for axis in "xy":
            of = layout[f"{axis}axis"]
            low, high = of["range"]
            slack = 1e-6 * abs(high - low)
            for value in words[axis]:
                at = math.log10(value) if of.get("type") == "log" else value
                assert low - slack <= at <= high + slack
        power = layout["yaxis"].get("type") == "log"
        low, high = layout["yaxis"]["range"]
        plotted = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
        places = sorted(
            (math.log10(y) if power else y) for y, text, where in
            zip(words["y"], words["text"], words["textposition"], strict=True)
            if text.startswith("  ") and where == "middle right"
        )  # fmt: skip
        for below, above in pairwise(places):
            assert (above - below) / (high - low) * plotted > 12


@pytest.mark.parametrize("name", BOUGHT)
def test_pictures_of_buying_are_described(name: str) -> None:
    found, scenario = bought(name), BOUGHT[name]
    spoken = [charts.describe_volumes(found, scenario)]
    if found.mix is not None:
        spoken.append(charts.describe_load_duration(found.mix))
    if found.cash is not None:
        spoken.append(charts.describe_cash(found.cash, scenario))
    for text in spoken:
        assert text.endswith(".") and "nan" not in text
