"""What every exported file says of one scenario or of several, before it is a file of some kind."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal, get_args

from cpi_model import __version__, links, story
from cpi_model.catalog import Catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import Estimate
from cpi_model.export.text import (
    between,
    change,
    digits,
    duration,
    large,
    money,
    money_between,
    percent,
    setting,
)
from cpi_model.scenario import FIELDS, FieldInfo, Scenario
from cpi_model.studies import bands, bill, explain
from cpi_model.studies.answer import COMPONENTS, Answer
from cpi_model.studies.bands import Band
from cpi_model.studies.bill import Bill
from cpi_model.studies.explain import Fact
from cpi_model.studies.options import plays_a_part
from cpi_model.studies.sensitivity import Bar, End, Tornado, tornado
from cpi_model.studies.sweep import Sweep, against_concurrency
from cpi_model.units import DAY, KILO, MILLION, MILLISECOND, MONTH, PERCENT, YEAR

Paper = Literal["a4", "letter"]
PAPERS: tuple[Paper, ...] = get_args(Paper)
LONGEST_TEXT = 1_000
"""Characters of a sentence in a file."""
SAME = "the same at any likely speed"
UNMEASURED = "spread not measured"
FLAT = 0.001
"""A range narrower than this share is none."""


@dataclass(frozen=True)
class Result:
    """One figure of an estimate in the unit in which it is shown."""

    name: str
    value: float
    unit: str
    text: str
    low: float | None
    """End of the likely range; None where it is not known."""
    high: float | None
    likely: str
    """The range in words."""


@dataclass(frozen=True)
class Input:
    """One field of a scenario, with the source of its default."""

    info: FieldInfo
    value: Any
    changed: bool
    counts: bool
    """Whether it moves anything in this scenario."""
    source: str
    as_of: date | None


@dataclass(frozen=True)
class Scene:
    """One scenario with its answer, as text and figures."""

    answer: Answer
    name: str
    subject: str
    """What is estimated, in a line."""
    headline: str
    likely: str
    """The error band of the headline, in short."""
    band: str
    """The same in a sentence, with what it rests on; empty where there are no figures."""
    results: Mapping[str, Result]
    """By the key of the figure; empty where the scenario cannot work."""
    bill: Bill | None
    inputs: tuple[Input, ...]
    facts: tuple[Fact, ...]
    points: tuple[str, ...]
    """A few sentences for a slide; why not, where it cannot work."""
    notes: tuple[str, ...]
    curve: Sweep | None
    moved: Tornado | None
    """What moves the cost most; None where there is no cost."""

    @property
    def scenario(self) -> Scenario:
        """What the reader chose."""
        return self.answer.scenario

    @property
    def feasible(self) -> bool:
        """Whether there are figures."""
        return self.bill is not None

    @property
    def estimate(self) -> Estimate:
        """The figures, where there are any."""
        assert self.answer.estimate is not None
        return self.answer.estimate

    @property
    def each(self) -> Result:
        """Cost per inference on the basis that the reader chose."""
        return self.results[self.scenario.cost_basis]

    @property
    def total(self) -> Result:
        """Cost of the period that the reader chose."""
        return self.results[self.scenario.period]

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the figures come from: each source once, with its date."""
        lines: dict[str, None] = {}
        for fact in self.facts:
            if fact.as_of is not None:
                lines[f"{fact.source} ({fact.as_of.isoformat()})"] = None
        return tuple(lines)


@dataclass(frozen=True)
class Report:
    """Everything that a file says."""

    scenes: tuple[Scene, ...]
    link: str
    """Address that opens the same: of a page, or what follows it."""
    made_on: date
    prices_on: date
    """Day of the newest price of the catalog."""
    fitted_on: date
    version: str
    paper: Paper

    @property
    def first(self) -> Scene:
        """The scenario that the page was about."""
        return self.scenes[0]

    @property
    def title(self) -> str:
        """Heading of a file."""
        return self.first.headline if len(self.scenes) == 1 else (
            f"{len(self.scenes)} scenarios compared"
        )  # fmt: skip

    @property
    def band(self) -> str:
        """Likely range of what the title says; of several scenarios each has its own."""
        return self.first.band if len(self.scenes) == 1 else ""

    @property
    def points(self) -> tuple[str, ...]:
        """Sentences for whoever reads no further."""
        if len(self.scenes) == 1:
            return self.first.points
        return tuple(
            f"{scene.name}: {scene.headline}"
            + (f", likely {scene.likely}; {scene.total.text} a {scene.scenario.period}."
               if scene.feasible else f". {scene.points[0]}")
            for scene in self.scenes
        )  # fmt: skip

    @property
    def provenance(self) -> str:
        """Dates and versions, in a line."""
        return (
            f"Made on {self.made_on.isoformat()} with cpi_model {self.version}; newest price of "
            f"{self.prices_on.isoformat()}, fitted on {self.fitted_on.isoformat()}."
        )

    @property
    def address(self) -> str | None:
        """The link, where it can be followed."""
        return self.link if self.link.startswith(("http://", "https://")) else None


def of(
    answers: Sequence[Answer],
    catalog: Catalog,
    link: str | None = None,
    today: date | None = None,
    paper: Paper = "a4",
    names: Sequence[str] = (),
) -> Report:
    """What a file says of scenarios: the first is what the page was about.

    Without a link, that of the first scenario; without names, what is served on what. All are in
    the currency of the first, for figures beside each other are compared.
    """
    whole, given = coefficients(), answers[0].scenario
    currency = {"currency": given.currency, "currency_per_usd": given.currency_per_usd}
    alike = [
        replace(answer, scenario=answer.scenario.model_copy(update=currency)) for answer in answers
    ]
    return Report(
        scenes=tuple(
            _scene(answer, catalog, names[place] if place < len(names) else "")
            for place, answer in enumerate(alike)
        ),
        link=plain(link or "?" + links.encode(given), links.LONGEST_QUERY),
        made_on=today or date.today(),
        prices_on=max(price.valid_from for price in catalog.instance_prices),
        fitted_on=whole.fitted_on,
        version=__version__,
        paper=paper,
    )


BASES = {"Fully loaded": "", "Marginal": "marginal_"}
"""Bars of a single scenario, and what the names of their figures begin with."""


def bars(report: Report) -> dict[str, dict[str, float]]:
    """Components of the cost of a million inferences: by basis, or fully loaded by scenario."""
    found = {}
    for place, scene in enumerate(report.scenes, start=1):
        if scene.feasible:
            rate = scene.scenario.currency_per_usd * MILLION
            names = BASES if len(report.scenes) == 1 else {f"{place} {scene.name}": ""}
            for name, basis in names.items():
                found[name] = {
                    part: float(getattr(scene.estimate, f"{basis}{part}_cost")) * rate
                    for part in COMPONENTS
                }
    return found


def plain(text: str, longest: int = LONGEST_TEXT) -> str:
    """Text of one line without signs that no one can see, and not longer than that.

    >>> plain("a" + chr(7) + "b" + chr(10) + "c"), plain("abcdef", 4)
    ('a b c', 'abc…')
    """
    line = "".join(sign if sign.isprintable() else " " for sign in text)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def moves(scene: Scene, most: int) -> list[str]:
    """The fields that move the cost most, a line each."""
    found = scene.moved
    if found is None:
        return []
    cost = found.cost

    def at(bar: Bar, end: End) -> str:
        gives = f"gives {change(end.cost / cost - 1.0)}"
        return f"{setting(bar.info, end.value)} {'is impossible' if end.reason else gives}"

    return [
        plain(f"{bar.title}: {', '.join(at(bar, end) for end in (bar.low, bar.high) if end)}")
        for bar in found.strongest[:most]
    ]


def file_name(scenario: Scenario, day: date, ending: str) -> str:
    """Name of a file, of plain letters only.

    >>> file_name(Scenario(model="org/a_b"), date(2026, 11, 25), "pdf")
    'cost-org-a-b-2026-11-25.pdf'
    """
    return f"cost-{re.sub(r'[^A-Za-z0-9.]+', '-', scenario.model)}-{day.isoformat()}.{ending}"


def _scene(answer: Answer, catalog: Catalog, name: str) -> Scene:
    scenario = answer.scenario
    results = _results(answer)
    each = results.get(scenario.cost_basis)
    found = bill.of(answer)
    facts = tuple(
        Fact(
            plain(fact.kind), plain(fact.name),
            plain(fact.value) if isinstance(fact.value, str) else fact.value,
            plain(fact.unit), plain(fact.source), fact.as_of,
        )
        for fact in explain.facts(answer, catalog)
    )  # fmt: skip
    headline, likely = "This cannot work as it stands", ""
    if each is not None:
        marginal = ", marginal" if scenario.cost_basis == "marginal" else ""
        headline, likely = f"{each.text} per inference{marginal}", each.likely
    return Scene(
        answer=answer,
        name=plain(name) or _name(answer),
        subject=plain(_subject(answer)),
        headline=headline,
        likely=likely,
        band=_band(answer, likely),
        results=results,
        bill=found,
        inputs=tuple(_inputs(scenario, catalog)),
        facts=facts,
        points=tuple(
            plain(sentence)
            for sentence in (
                _obstacles(answer) if found is None else _points(answer, results, catalog)
            )
        ),
        notes=tuple(plain(note) for note in answer.notes),
        curve=None if found is None else against_concurrency(scenario, catalog),
        moved=None if found is None else tornado(scenario, catalog),
    )


def _name(answer: Answer) -> str:
    """What is served on what."""
    choice, scenario = answer.choice, answer.scenario
    if choice is None:
        return plain(f"{scenario.model} on {scenario.accelerator}")
    count = digits(choice.devices_per_replica)
    return plain(f"{choice.model.name}, {choice.scheme.name}, {count} × {choice.accelerator.name}")


def _subject(answer: Answer) -> str:
    """What is estimated, so that whoever reads the file need not open the link."""
    choice, scenario = answer.choice, answer.scenario
    if choice is None:
        return f"{scenario.model}, {scenario.scheme}, {scenario.engine} on {scenario.accelerator}"
    words = [
        choice.model.name, choice.scheme.name,
        f"{digits(choice.devices_per_replica)} × {choice.accelerator.name} a replica",
        choice.engine.name, f"{digits(scenario.requests_per_s, 9)} requests/s",
    ]  # fmt: skip
    if choice.model.transformer is not None:
        words.append(f"{scenario.input_tokens:,} tokens in, {scenario.output_tokens:,} out")
    if choice.price is not None:
        price = choice.price
        words.append(
            f"{price.instance} in {price.region}, {price.purchase.replace('_', ' ')}, "
            f"${digits(price.usd_per_hour)}/h of {price.valid_from.isoformat()}"
        )
    elif scenario.device_price_usd_per_hour is not None:
        words.append(f"own price of ${digits(scenario.device_price_usd_per_hour)}/h a device")
    return " · ".join(words)


# Figures ------------------------------------------------------------------------------------------


def _results(answer: Answer) -> dict[str, Result]:
    """The figures that people quote, with their ranges; in the scenario's currency."""
    estimate, scenario = answer.estimate, answer.scenario
    if estimate is None or not answer.feasible:
        return {}
    found = bands.of(answer)
    rate = scenario.currency_per_usd
    marginal = scenario.cost_basis == "marginal"
    each = "marginal_cost_per_inference" if marginal else "cost_per_inference"
    basis = "marginal" if marginal else "fully loaded"

    def amount(name: str, figure: str, count: float = 1.0) -> Result:
        def ends(low: float, high: float) -> str:
            return money_between(low * count, high * count, scenario)

        usd = float(getattr(estimate, figure)) * count
        return _result(
            name, usd * rate, scenario.currency, money(usd, scenario), found[figure],
            count * rate, ends,
        )  # fmt: skip

    def other(
        name: str, figure: str, unit: str, scale: float, text: Callable[[float], str]
    ) -> Result:
        def ends(low: float, high: float) -> str:
            return between(low, high, text)

        value = float(getattr(estimate, figure))
        return _result(name, value * scale, unit, text(value), found[figure], scale, ends)

    def a_second(value: float) -> str:
        return f"{large(value)}/s"

    results = {
        "loaded": amount("Cost per inference, fully loaded", "cost_per_inference"),
        "marginal": amount("Cost per inference, marginal", "marginal_cost_per_inference"),
        "thousand": amount(f"Cost per 1,000 inferences, {basis}", each, KILO),
        "million": amount(f"Cost per million inferences, {basis}", each, MILLION),
        "good": amount("Cost per inference within all limits", "cost_per_good_inference"),
        "input": amount("Cost per million input tokens", "input_token_cost", MILLION),
        "cached": amount("Cost per million cached input tokens", "cached_token_cost", MILLION),
        "output": amount("Cost per million output tokens", "output_token_cost", MILLION),
        "day": amount("Cost per day", "cost_rate", DAY),
        "month": amount("Cost per month", "cost_rate", MONTH),
        "year": amount("Cost per year", "cost_rate", YEAR),
        "p95": other("Latency, p95", "latency_p95", "ms", 1 / MILLISECOND, duration),
        "mean": other("Latency, mean", "latency_mean", "ms", 1 / MILLISECOND, duration),
        "ttft": other("Time to first token, mean", "ttft", "ms", 1 / MILLISECOND, duration),
        "tpot": other("Time per token, mean", "tpot", "ms", 1 / MILLISECOND, duration),
        "in_time": other("Requests within all limits", "good_share", "%", 1 / PERCENT, percent),
        "throughput": other(
            "Throughput of a full replica", "throughput", "requests/s", 1.0, a_second
        ),
        "tokens": other(
            "Output of a full replica", "output_tokens_per_s", "tokens/s", 1.0, a_second
        ),
        "utilisation": other("Utilisation", "utilisation", "%", 1 / PERCENT, percent),
        "replicas": other("Replicas", "replicas", "", 1.0, digits),
    }  # fmt: skip
    if not math.isfinite(float(estimate.tpot)):
        for key in ("ttft", "tokens"):
            del results[key]
    return {key: result for key, result in results.items() if math.isfinite(result.value)}


def _result(
    name: str, value: float, unit: str, text: str, band: Band | None, scale: float,
    ends: Callable[[float, float], str],
) -> Result:  # fmt: skip
    if band is None:
        return Result(name, value, unit, text, None, None, UNMEASURED)
    low, high = band.low * scale, band.high * scale
    # Infinite where nothing is in time at the slow end.
    flat = band.high <= band.low * (1 + FLAT)
    likely = SAME if flat else ends(band.low, band.high)
    return Result(name, value, unit, text, low, high if math.isfinite(high) else None, likely)


def _band(answer: Answer, likely: str) -> str:
    """The likely range of the cost, and what it rests on."""
    if not answer.feasible:
        return ""
    band = bands.of(answer)["throughput"]
    if band is None:
        return "No run like this was measured, so the likely range is not known."
    others = "" if band.measured else ", none of them of this model, chip and engine together"
    runs = f"{band.rows:,} measured runs{others}"
    if likely == SAME:
        return f"The same at any speed from P10 to P90 of {runs}."
    return f"Likely {likely}: P10 to P90 of {runs}; eight of ten lie inside."


def _points(answer: Answer, results: Mapping[str, Result], catalog: Catalog) -> list[str]:
    """What it costs, what drives that, what to change next, and how quick it is."""
    # As on the page: a range that says nothing is left out of a sentence.
    latency = results["p95"]
    known = latency.likely not in (SAME, UNMEASURED)
    likely = f" (likely {latency.likely})" if known else ""
    return [
        *story.sentences(answer, catalog),
        f"95 of 100 requests are answered within {latency.text}{likely}; "
        f"{results['in_time'].text} meet every limit.",
    ]


def _obstacles(answer: Answer) -> list[str]:
    """Why it cannot work, and the nearest that does."""
    nearest = [f"Would work: {suggestion.text}." for suggestion in answer.suggestions]
    return [*answer.reasons, *nearest]


def _inputs(scenario: Scenario, catalog: Catalog) -> list[Input]:
    """Every field, with whose value it is."""
    rows = []
    for name, info in FIELDS.items():
        value = getattr(scenario, name)
        changed = value != info.default
        source, as_of = (explain.YOURS, None) if changed else (info.source, info.as_of)
        rows.append(
            Input(info, value, changed, plays_a_part(name, scenario, catalog), source, as_of)
        )
    return rows
