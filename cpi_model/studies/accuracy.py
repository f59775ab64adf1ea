"""How far estimates are from measured runs, where nobody measured, and whether ranks hold.

``python -m cpi_model.studies.accuracy`` writes ``docs/accuracy.md`` and the table of errors in
``README.md`` anew, from the coefficients and the measured runs that come with the package.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.stats import spearmanr

from cpi_model.catalog import Catalog, catalog, offers
from cpi_model.coefficients import Coefficients, Residuals, coefficients
from cpi_model.studies import measurements
from cpi_model.studies.runs import Run, mode, read_run
from cpi_model.studies.validate import MEASURES, Measure, Prediction, band, figures, predict
from cpi_model.units import HOUR

Group = Literal[
    "model_class", "scenario", "hardware", "generation", "engine", "scheme", "model"
]  # fmt: skip
LEAST_HARDWARE = 3
"""Kinds of hardware without which a rank says nothing."""


@dataclass(frozen=True)
class Compared:
    """One measured figure beside its estimate, in SI units; cost in USD per million inferences."""

    id: str
    source: str
    model: str
    model_class: str
    hardware: str
    generation: str
    engine: str
    scheme: str
    scenario: str
    measure: Measure
    measured: float
    predicted: float
    ratio: float
    """Measured over predicted."""
    inside: bool | None
    """Whether it lies between the 10th and 90th percentile of left-out runs; None if unknown."""


@dataclass(frozen=True)
class GroupError:
    """Errors of one measure in one group of runs: |measured/predicted - 1|."""

    group: str
    measure: Measure
    rows: int
    median: float
    mean: float
    p90: float
    inside: float
    """Share between the 10th and 90th percentile of left-out runs; NaN where no row has them."""


@dataclass(frozen=True)
class Unmeasured:
    """Ids of the catalog of which no run was in the fit."""

    accelerators: tuple[str, ...]
    without_relatives: tuple[str, ...]
    """Those of them of whose generation no other chip was measured."""
    engines: tuple[str, ...]
    models: tuple[str, ...]
    schemes: tuple[str, ...]


@dataclass(frozen=True)
class Ranks:
    """Hardware under one load, cheapest measured first."""

    model: str
    scenario: str
    load: str
    hardware: tuple[str, ...]
    correlation: float
    """Spearman's, of measured and predicted cost per inference."""
    apart: float
    """Largest measured cost over the smaller one among pairs in the wrong order, less 1; else 0."""


@dataclass(frozen=True)
class RankCorrelation:
    """How well estimates put hardware in order of cost."""

    groups: tuple[Ranks, ...]
    median: float
    """Of all groups; NaN without any."""
    mean: float
    unpriced: tuple[str, ...]
    """Hardware left out, because the catalog has no price of it."""


# --- comparing --------------------------------------------------------------------------------


def _answered(
    rows: Iterable[Mapping[str, str]], facts: Catalog, fitted: Coefficients
) -> list[tuple[Mapping[str, str], Run, Prediction]]:
    """Rows that have a prediction, as runs, with it."""
    read = [(row, read_run(row, facts)) for row in rows]
    runs = [(row, run) for row, run in read if isinstance(run, Run)]
    predictions = predict([run for _, run in runs], fitted)
    return [
        (row, run, prediction)
        for (row, run), prediction in zip(runs, predictions, strict=True)
        if not prediction.reason
    ]


def compare(
    rows: Iterable[Mapping[str, str]], facts: Catalog, fitted: Coefficients | None = None
) -> list[Compared]:
    """Every measured figure that has an estimate beside it.

    Rows without an estimate are counted, with the reason, by
    :func:`cpi_model.studies.validate.validate`.
    """
    fitted = fitted or coefficients()
    found = []
    for row, run, prediction in _answered(rows, facts, fitted):
        choice = run.choice
        for measure, (measured, predicted) in figures(run, prediction).items():
            if not (measured > 0 and predicted > 0):
                continue
            ratio = measured / predicted
            limits = band(run, measure, fitted)
            found.append(
                Compared(
                    id=run.id, source=row.get("source") or "", model=choice.model.id,
                    model_class=choice.model.model_class, hardware=choice.accelerator.id,
                    generation=choice.accelerator.generation, engine=choice.engine.id,
                    scheme=choice.scheme.id, scenario=run.loop, measure=measure,
                    measured=measured, predicted=predicted, ratio=ratio,
                    inside=None if limits is None else limits[0] <= ratio <= limits[1],
                )
            )  # fmt: skip
    return found


def errors(compared: Iterable[Compared], by: Group) -> list[GroupError]:
    """Errors by group and measure, groups in the order of their names."""
    groups: dict[tuple[str, Measure], list[Compared]] = {}
    for each in compared:
        groups.setdefault((getattr(each, by), each.measure), []).append(each)
    found = []
    for (group, measure), rows in groups.items():
        error = np.abs(np.array([row.ratio for row in rows]) - 1.0)
        known = [row.inside for row in rows if row.inside is not None]
        found.append(
            GroupError(
                group, measure, len(rows), float(np.median(error)), float(np.mean(error)),
                float(np.percentile(error, 90)), float(np.mean(known)) if known else math.nan,
            )
        )  # fmt: skip
    return sorted(found, key=lambda each: (each.group, MEASURES.index(each.measure)))


# --- what nobody measured ---------------------------------------------------------------------


def never_measured(facts: Catalog, fitted: Coefficients | None = None) -> Unmeasured:
    """What the catalog offers without any run of it in the fit."""
    fitted = fitted or coefficients()
    # model/chip/engine/scheme, and the same with a kind of run behind it.
    named = [
        name.split("/")[:4]
        for table, parts in ((fitted.pairings, 4), (fitted.modes, 5))
        for name, pairing in table.items()
        if name.count("/") == parts - 1 and pairing.rows
        and name.split("/")[1] in facts.accelerators
    ]  # fmt: skip
    families, chips, engines, schemes = ({each[k] for each in named} for k in range(4))
    generations = {facts.accelerators[id].generation for id in chips if id in facts.accelerators}
    generations |= {name for name, chip in fitted.chips.items() if chip.rows}
    others = [chip for id, chip in facts.accelerators.items() if id not in chips]
    return Unmeasured(
        accelerators=tuple(chip.id for chip in others),
        without_relatives=tuple(chip.id for chip in others if chip.generation not in generations),
        engines=tuple(id for id in facts.engines if id not in engines),
        models=tuple(
            id for id, model in facts.models.items()
            if (model.architecture_of or id) not in families
        ),
        schemes=tuple(id for id in facts.schemes if id not in schemes),
    )  # fmt: skip


# --- ranks ------------------------------------------------------------------------------------


def _load(run: Run) -> str:
    """What has to be alike for hardware to be compared."""
    scenario, sample = run.scenario, run.choice.model.sample
    words = []
    if sample is None or sample.reference_tokens:
        words.append(f"{scenario.input_tokens} tokens in")
    if sample is None:
        words.append(f"{scenario.output_tokens} out")
    kind = mode(run)
    if kind in ("closed", "served"):
        words.append(f"{scenario.concurrency} in flight")
    elif kind == "static" and not math.isnan(run.batch):
        words.append(f"batch {run.batch:g}")
    return ", ".join(words)


def rank_correlation(
    rows: Iterable[Mapping[str, str]], facts: Catalog, fitted: Coefficients | None = None
) -> RankCorrelation:
    """Whether hardware under one load comes in the right order of cost per inference.

    Of each kind of hardware the cheapest run counts, whatever its engine and precision: measured
    throughput at the cheapest on-demand price of the catalog against predicted throughput at the
    same price. Only groups with at least three kinds of hardware are ranked.
    """
    fitted = fitted or coefficients()
    prices: dict[str, float] = {}
    costs: dict[tuple[str, str, str], dict[str, tuple[list[float], list[float]]]] = {}
    for _, run, prediction in _answered(rows, facts, fitted):
        measured, predicted = figures(run, prediction)["throughput"]
        if not (measured > 0 and predicted > 0):
            continue
        chip = run.choice.accelerator.id
        if chip not in prices:
            found = offers(facts, chip, "on_demand")
            prices[chip] = found[0].usd_per_device_hour if found else math.nan
        usd_per_s = prices[chip] / HOUR * run.choice.devices_per_replica * run.replicas
        if math.isnan(usd_per_s):
            continue
        group = costs.setdefault((run.choice.model.id, run.loop, _load(run)), {})
        both = group.setdefault(chip, ([], []))
        both[0].append(usd_per_s / measured)
        both[1].append(usd_per_s / predicted)
    ranked = []
    for (model, scenario, load), group in sorted(costs.items()):
        if len(group) < LEAST_HARDWARE:
            continue
        best = {chip: (min(both[0]), min(both[1])) for chip, both in group.items()}
        order = sorted(best, key=lambda chip: best[chip][0])
        first, second = np.array([best[chip] for chip in order]).T
        found_rank = float(spearmanr(first, second).statistic)
        wrong = [
            dearer / cheaper - 1.0
            for (cheaper, estimate), (dearer, other) in combinations(
                zip(first, second, strict=True), 2
            )
            if estimate > other
        ]
        apart = float(max(wrong, default=0.0))
        ranked.append(Ranks(model, scenario, load, tuple(order), found_rank, apart))
    values = [each.correlation for each in ranked] or [math.nan]
    return RankCorrelation(
        tuple(ranked), float(np.median(values)), float(np.mean(values)),
        tuple(sorted(chip for chip, price in prices.items() if math.isnan(price))),
    )  # fmt: skip


# --- the report -------------------------------------------------------------------------------

CLASS_WORDS = {
    "llm": "language models", "encoder": "text encoders", "vision": "vision",
    "diffusion": "image generation", "speech": "speech", "recommender": "recommenders",
    "trees": "decision trees",
}  # fmt: skip
MODE_WORDS = {
    "": "steady load", "static": "static batch", "offline": "offline maximum",
    "served": "steady load on other software", "single": "single stream",
    "server": "most within server limits", "interactive": "most within interactive limits",
    "open": "offered load",
}  # fmt: skip
MEASURE_WORDS: dict[str, str] = {
    "throughput": "throughput", "tpot": "time per output token", "ttft": "time to first token",
    "latency": "latency", "cost": "cost",
}  # fmt: skip
GROUP_WORDS: dict[Group, str] = {
    "hardware": "chip", "generation": "generation of chips", "engine": "engine",
    "scheme": "precision", "model": "model",
}  # fmt: skip
PARTS = ("known", "unseen")
"""Ways of leaving runs out that come first; others follow by name."""
BEGIN = "<!-- errors: written by `python -m cpi_model.studies.accuracy` -->"
END = "<!-- end of errors -->"
EXPECTED_INSIDE = 0.8
"""From the 10th to the 90th percentile."""
GOOD_RANK = 0.95

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, where there is one."""

INTRODUCTION = """# How far off the estimates are

*Written by `make fit` (`python -m cpi_model.studies.accuracy`), not by hand.*

Estimates rest on coefficients that were fitted on {day}:
{what}.

Errors are |measured ÷ estimated - 1|. Half of the runs are within the first figure, nine of ten
within the second.

## Runs left out of the fit

Each of these runs was left out of the fit that it is compared with. *Known*: some runs at random
were left out, others of the same model, chip and engine were not. *Unseen*: all runs of its model,
chip and engine were left out together. *Elsewhere*: all runs on chips of its generation were. The
range beside an estimate comes from here.
"""
SHIPPED = """## The measured runs that come with the package

{count} published runs (`data/measurements/runs.csv`), chosen so that everything measured occurs:
rare pairings weigh more than in the fit. Most of them were in it, so this says how well the form of
the model can follow measurements; the table above says how well it predicts. Runs at the most load
within a limit (server, interactive) were not in the fit. *Inside* is the share between the 10th and
the 90th percentile of left-out runs of the kind, where there are such.
"""
RANGES = """### Do the ranges hold?

A range goes from the 10th to the 90th percentile, so {expected} of runs should lie inside. The
share that does:
"""
RANKS = """## Is the cheapest hardware the cheapest?

The same model under the same load on at least {least} kinds of hardware, each at its cheapest run
and the catalog's cheapest on-demand price: order by measured against order by estimated cost per
inference, as Spearman's correlation (1 is the same order, -1 the reverse).

{groups} such comparisons among the shipped runs: {median} in the median, {mean} on average; {good}
of them at {limit} or more. Those below, cheapest measured first; *apart* is by how much the costs
differ, as measured, of two kinds that are in the wrong order, at most. Less than about 6 % is
within the noise between two runs of the same hardware:
"""
NEVER = """## What was never measured

Of these no run was in the fit. Estimates for them rest on relatives and on the datasheet alone, and
the app shows the range of unseen pairings.
"""
LIMITS = """## What limits it

- **Noise.** The same hardware, model, precision and round of MLPerf differ between submitters by
  3 to 6 % (standard deviation of the logarithm). Nothing can be predicted closer than that.
- **Releases.** A newer release of the software alone made the same hardware 1.1 to 1.8 times as
  fast. Most tables name a release that cannot be chosen here.
- **Engines.** On the same hardware, engines differ by up to 3.9 times. A pairing that nobody
  measured may have a kernel written for it, or none.
- **Lengths.** Closed loops draw each length from 0.8 to 1.0 of the nominal one; estimates take 0.9.
- **First tokens.** Times to first token are skewed: a mean over few requests follows its slowest
  ones. A closed loop of ten times as many requests as are in flight begins with a tenth of them at
  once, which then wait for each other. Servers that send an answer every 10 or 30 tokens delay the
  first.
- **MLPerf.** Lengths of its prompts are second-hand, except those of BERT; its batch sizes are the
  configured maximum. Server and interactive runs are estimated as the most load within the limits.
- **Speculative decoding.** Runs that use it without saying so look like fast hardware.
"""


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1%}".replace("%", " %")


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A table of Markdown; all columns but the first `texts` to the right."""
    rule = ["---"] * texts + ["---:"] * (len(heading) - texts)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [heading, rule, *rows])


def _kind_words(kind: str) -> str:
    name, _, way = kind.partition("-")
    return f"{CLASS_WORDS.get(name, name)}, {MODE_WORDS.get(way, way)}"


def left_out(fitted: Coefficients) -> dict[tuple[str, str], dict[str, Residuals]]:
    """Errors of left-out runs: by kind and measure, then by the way in which they were left out."""
    found: dict[tuple[str, str], dict[str, Residuals]] = {}
    for name, residuals in fitted.residuals.items():
        kind, measure, *part = name.split("/")
        if part and residuals.rows:
            found.setdefault((kind, measure), {})[part[0]] = residuals

    def place(key: tuple[str, str]) -> tuple[int, int, int]:
        name, _, way = key[0].partition("-")
        return tuple(  # type: ignore[return-value]
            list(words).index(word) if word in words else len(words)
            for words, word in ((CLASS_WORDS, name), (MODE_WORDS, way), (MEASURE_WORDS, key[1]))
        )

    return {key: found[key] for key in sorted(found, key=place)}


def left_out_table(fitted: Coefficients) -> str:
    """Errors of left-out runs, one line for each kind of run and measure."""
    kinds = left_out(fitted)
    there = {part for parts in kinds.values() for part in parts}
    parts = [*(part for part in PARTS if part in there), *sorted(there - set(PARTS))]
    heading = ["what", "runs"]
    for part in parts:
        heading += [f"{part}: half within", "nine of ten"]
    rows = []
    for (kind, measure), found in kinds.items():
        first = next(iter(found.values()))
        cells = [f"{_kind_words(kind)}, {MEASURE_WORDS.get(measure, measure)}", f"{first.rows:,}"]
        for part in parts:
            each = found.get(part)
            cells += [_percent(each.median_error if each else math.nan)]
            cells += [_percent(each.p90_error if each else math.nan)]
        rows.append(cells)
    return _table(heading, rows)


def _figures_of(each: GroupError) -> list[str]:
    shares = (each.median, each.mean, each.p90, each.inside)
    return [f"{each.rows:,}", *map(_percent, shares)]


FIGURES = ("runs", "half within", "on average", "nine of ten", "inside")


def _by_class(compared: list[Compared]) -> str:
    """Errors of every measure by class and kind of load."""
    rows = [
        [f"{words}, {each.group}", MEASURE_WORDS[each.measure], *_figures_of(each)]
        for name, words in CLASS_WORDS.items()
        for each in errors([one for one in compared if one.model_class == name], "scenario")
    ]
    return _table(["what", "of", *FIGURES], rows, texts=2)


def _throughput_by(group: Group, compared: list[Compared]) -> str:
    whole = [each for each in compared if each.measure == "throughput"]
    rows = [[each.group, *_figures_of(each)] for each in errors(whole, group)]
    return _table([GROUP_WORDS[group], *FIGURES], rows)


def _ranges_table(compared: list[Compared]) -> str:
    with_range = [each for each in compared if each.inside is not None]
    found = {(each.group, each.measure): each for each in errors(with_range, "model_class")}
    measures = [name for name in MEASURES if any(name == key[1] for key in found)]
    rows = []
    for name, words in CLASS_WORDS.items():
        if any(name == key[0] for key in found):
            cells = [found.get((name, measure)) for measure in measures]
            rows.append([
                words, *(
                    f"{_percent(cell.inside)} of {cell.rows:,}" if cell else "–" for cell in cells
                ),
            ])  # fmt: skip
    return _table(["what", *(MEASURE_WORDS[name] for name in measures)], rows)


def _ranks(found: RankCorrelation) -> str:
    good = [each for each in found.groups if each.correlation >= GOOD_RANK]
    text = RANKS.format(
        least=LEAST_HARDWARE, groups=len(found.groups), median=f"{found.median:.2f}",
        mean=f"{found.mean:.2f}", good=len(good), limit=GOOD_RANK,
    )  # fmt: skip
    rows = [
        [
            each.model,
            each.scenario,
            each.load,
            ", ".join(each.hardware),
            f"{each.correlation:.2f}",
            _percent(each.apart),
        ]
        for each in found.groups
        if each not in good
    ]
    heads = ["model", "load", "lengths and batch", "hardware", "correlation", "apart"]
    table = _table(heads, rows, texts=4)
    unpriced = ", ".join(found.unpriced)
    return f"{text}\n{table}" + (
        f"\nNot ranked, without a price: {unpriced}.\n" if unpriced else ""
    )


def _never(found: Unmeasured) -> str:
    alone = found.without_relatives
    relatives = [id for id in found.accelerators if id not in alone]
    lines = [
        f"- **{name}** ({len(ids)}): {', '.join(ids)}.\n"
        for name, ids in (
            ("Chips of a generation of which others were measured", relatives),
            ("Chips of a generation without any run", alone),
            ("Engines", found.engines), ("Models", found.models), ("Schemes", found.schemes),
        )
        if ids
    ]  # fmt: skip
    return f"{NEVER}\n{''.join(lines)}"


def report(
    rows: Sequence[Mapping[str, str]], facts: Catalog, fitted: Coefficients | None = None
) -> str:
    """The page on accuracy, in Markdown."""
    fitted = fitted or coefficients()
    compared = compare(rows, facts, fitted)
    parts = [
        INTRODUCTION.format(day=fitted.fitted_on, what=fitted.description),
        left_out_table(fitted),
        SHIPPED.format(count=len({each.id for each in compared})),
        _by_class(compared),
        RANGES.format(expected=f"{EXPECTED_INSIDE:.0%}".replace("%", " %")),
        _ranges_table(compared),
    ]
    for group, word in GROUP_WORDS.items():
        parts += [f"### Throughput by {word}\n", _throughput_by(group, compared)]
    parts += [
        _ranks(rank_correlation(rows, facts, fitted)),
        _never(never_measured(facts, fitted)),
        LIMITS,
    ]
    return "\n".join(parts)


def with_errors(readme: str, fitted: Coefficients | None = None) -> str:
    """The README with the present table of errors between its two marks.

    Raises
    ------
    ValueError
        If the marks are not there.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md: '{BEGIN}' and '{END}' must be there, in this order")
    return f"{before}{BEGIN}\n\n{left_out_table(fitted or coefficients())}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write the page and the table of the README in a checkout."""
    readme, page = ROOT / "README.md", ROOT / "docs" / "accuracy.md"
    if arguments or not readme.is_file():
        print("usage: python -m cpi_model.studies.accuracy, in a checkout", file=sys.stderr)
        return 2
    try:
        text = with_errors(readme.read_text(encoding="utf-8"))
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    page.write_text(report(measurements.rows(), catalog()), encoding="utf-8")
    readme.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
