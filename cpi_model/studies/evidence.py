"""What compression was measured to do: to quality, to speed and to memory.

The rows lie in ``data/evidence/``, each with its source; nothing here is a rule of thumb. What
nobody measured is unknown (None), never "no loss".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np

from cpi_model.catalog import (
    Catalog,
    CatalogError,
    Finding,
    catalog,
    data_folder,
    nearest,
    read_rows,
)
from cpi_model.schema import TECHNIQUES, Accelerator, Evidence, Model, Scheme

FOLDER = "evidence"
REFERENCE = ("bf16", "fp32")
"""Precisions that others are compared with: they retain all quality by definition."""
NATIVE = {"fp8": ("fp8",), "fp4": ("mxfp4-experts", "mxfp4")}
"""Schemes in which a model of a native precision is published: nothing is lost by them."""
ENOUGH = 3
"""Rows from which a narrow group is taken instead of a wider one."""
SIMILAR_SIZE = 3.0
"""Models of similar size have at most so many times the parameters, or one over that."""
SIMILAR_BATCH = 4.0
"""The same for batches."""
UNSPECIFIED = {
    "A100 (unspecified)": "a100-sxm-80gb", "H100 (1x, unspecified)": "h100-sxm",
    "V100 (unspecified)": "v100-sxm-16gb",
}  # fmt: skip
"""Chips whose form a source leaves open: a ratio of two runs on one chip hardly depends on it."""
OTHERS = "of other models"
"""The widest group: rows on models of any class."""
COLLECTED = "day of collection"
"""In the notes of a row whose source shows no date."""


# Reading -----------------------------------------------------------------------------------------


def load(folder: Path | None = None, facts: Catalog | None = None) -> tuple[Evidence, ...]:
    """All rows of evidence of a folder of data, file by file.

    Raises
    ------
    CatalogError
        If there is no file, one breaks the schema, an id comes twice, or a row names a technique,
        scheme, chip or engine that the catalog does not have, or a model that is described
        otherwise there.
    """
    facts = facts or catalog()
    folder = folder or data_folder()
    files = sorted((folder / FOLDER).glob("*.csv"))
    if not files:
        raise CatalogError(f"{FOLDER}/: no files")
    found: list[Evidence] = []
    known: dict[str, str] = {}
    for path in files:
        file = f"{FOLDER}/{path.name}"
        for number, row in enumerate(read_rows(folder, file, Evidence, lambda r: r.id), start=2):
            where = f"{file}: row {number} ({row.id})"
            if row.id in known:
                raise CatalogError(f"{where}: id is in {known[row.id]} as well, must be unique")
            known[row.id] = file
            _check(row, facts, where)
            found.append(row)
    return tuple(found)


def _check(row: Evidence, facts: Catalog, where: str) -> None:
    """Refuse names that look like ids of the catalog and are none, and models that differ."""
    techniques = [*facts.schemes, *TECHNIQUES]
    for field, value, allowed in (
        ("technique", row.technique, techniques),
        ("scheme", row.scheme, facts.schemes),
        ("baseline_scheme", row.baseline_scheme, facts.schemes),
        ("hardware", _id(row.hardware), facts.accelerators),
        ("engine", _id(row.engine), facts.engines),
        ("baseline_engine", _id(row.baseline_engine), facts.engines),
    ):
        if value is not None and value not in allowed:
            close = ", ".join(nearest(value, allowed)) or ", ".join(list(allowed)[:5])
            raise CatalogError(
                f"{where}: {field} names '{value}', which is not there; nearest: {close}"
            )
    if row.technique in facts.schemes and row.scheme != row.technique:
        raise CatalogError(f"{where}: scheme is '{row.scheme}', must be '{row.technique}'")
    model = facts.models.get(row.model)
    if model is None:
        return
    if row.model_class != model.model_class:
        raise CatalogError(
            f"{where}: model_class is '{row.model_class}', must be '{model.model_class}'"
        )
    if row.params_b is not None and row.params_b != model.params_b:
        raise CatalogError(f"{where}: params_b is {row.params_b}, must be {model.params_b}")


def _id(name: str) -> str | None:
    """A name that is written as ids are; published names have capitals or spaces."""
    return name if name and name == name.lower() and " " not in name and "/" not in name else None


@cache
def evidence() -> tuple[Evidence, ...]:
    """The shipped rows, read once, when somebody asks."""
    return load()


def check(rows: Iterable[Evidence]) -> list[Finding]:
    """Rows of which something is assumed, for :func:`cpi_model.catalog.check`."""
    sources = {row.source: row for row in rows if COLLECTED in row.note}
    return [
        Finding("assumption", FOLDER, row.id, "accessed", f"{source}: {COLLECTED}")
        for source, row in sources.items()
    ]


def chip_of(row: Evidence, facts: Catalog) -> Accelerator | None:
    """The chip that a row was measured on, or one of its kind where the form is left open."""
    return facts.accelerators.get(UNSPECIFIED.get(row.hardware, row.hardware))


# Ranges ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Range:
    """Spread of some measured rows, and which they are."""

    low: float
    """10th percentile."""
    median: float
    high: float
    """90th percentile."""
    rows: int
    level: str
    """How like the question the rows are, in words."""
    sources: tuple[str, ...]


REFERENCE_RANGE = Range(1.0, 1.0, 1.0, 0, "the reference itself", ())


def spread(rows: Sequence[Evidence], level: str) -> Range:
    """10th, 50th and 90th percentile of the values of some rows."""
    low, median, high = _percentiles(tuple(row.value for row in rows))
    sources = tuple(dict.fromkeys(row.source for row in rows))
    return Range(low, median, high, len(rows), level, sources)


@lru_cache(maxsize=1024)
def _percentiles(values: tuple[float, ...]) -> tuple[float, ...]:
    """The same rows are asked for with every move of a slider."""
    return tuple(float(value) for value in np.percentile(values, (10, 50, 90)))


Steps: TypeAlias = list[tuple[str, Sequence[Evidence], Callable[[Evidence], bool]]]
"""From near to far: what the rows are, rows, and which of them count; {} for their techniques."""


def first_enough(steps: Steps) -> tuple[str, list[Evidence]]:
    """The first step with enough rows, else the first with any."""
    chosen = []
    for level, rows, holds in steps:
        if some := [row for row in rows if holds(row)]:
            names = ", ".join(sorted({row.technique for row in some}))
            chosen.append((level.format(names), some))
    enough = (step for step in chosen if len(step[1]) >= ENOUGH)
    return next(enough, chosen[0] if chosen else ("", []))


# Quality -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quality:
    """What is left of a model's quality, as far as anybody measured it."""

    retained: Range | None
    """Score over the score before; None where nothing was measured."""
    perplexity: Range | None
    """Perplexity over that before, less is better: other evidence, no share of a score."""
    note: str = ""


def quality(
    techniques: str | Iterable[str],
    model: Model,
    rows: Sequence[Evidence] | None = None,
    facts: Catalog | None = None,
    sparsity_share: float | None = None,
) -> Quality:
    """Quality that is left after one technique, or after several together.

    The rows are those of the same technique on the same model; where these are fewer than
    :data:`ENOUGH`, on models of the same class and similar size, then of the same class, then of
    techniques that store and multiply in as many bits on such models, then of the same technique
    on any model. For several techniques the medians and the ends are multiplied, as if the losses
    had nothing to do with each other. Where one of them was never measured the whole is unknown.

    Parameters
    ----------
    techniques
        Schemes of the catalog or names of :data:`cpi_model.schema.TECHNIQUES`.
    model
        The model that is compressed; of a distillation the student.
    sparsity_share
        Share of zeros of a pruning: rows with as many or more, or all where this is None.
    """
    rows = evidence() if rows is None else rows
    facts = facts or catalog()
    names = (techniques,) if isinstance(techniques, str) else tuple(techniques)
    each = [_quality(name, model, rows, facts, sparsity_share) for name in names]
    if len(each) == 1:
        return each[0]
    return Quality(
        product([one.retained for one in each]), product([one.perplexity for one in each]),
        "Losses of several techniques are multiplied: an assumption.",
    )  # fmt: skip


def product(ranges: Sequence[Range | None]) -> Range | None:
    """Medians and ends multiplied; None where one is unknown."""
    known = [one for one in ranges if one is not None]
    if len(known) < len(ranges):
        return None
    measured = [one for one in known if one is not REFERENCE_RANGE]
    if len(measured) < 2:
        return measured[0] if measured else REFERENCE_RANGE
    return Range(
        math.prod(one.low for one in measured),
        math.prod(one.median for one in measured),
        math.prod(one.high for one in measured),
        min(one.rows for one in measured),
        "product of " + " and ".join(one.level for one in measured),
        tuple(dict.fromkeys(source for one in measured for source in one.sources)),
    )


def _quality(
    technique: str,
    model: Model,
    rows: Sequence[Evidence],
    facts: Catalog,
    sparsity_share: float | None,
) -> Quality:
    if technique in REFERENCE or technique in NATIVE.get(model.native_precision, ()):
        return Quality(REFERENCE_RANGE, REFERENCE_RANGE)
    dense = [
        row for row in rows
        if sparsity_share is None or (row.sparsity_share or 0.0) >= sparsity_share
    ]  # fmt: skip

    def found(measure: str) -> Range | None:
        here = [row for row in dense if row.measure == measure]
        return _nearest(technique, model, here, facts)

    return Quality(found("quality_retained"), found("perplexity_ratio"))


def _nearest(
    technique: str, model: Model, rows: Sequence[Evidence], facts: Catalog
) -> Range | None:
    """Spread of the rows that are most like a technique on a model."""
    own = [row for row in rows if row.technique == technique]
    like = relatives(technique, facts)
    kin = [row for row in rows if row.technique in like]
    steps: Steps = [
        ("of this model", own, lambda row: row.model == model.id),
        ("of such models of similar size", own, lambda row: _similar(row, model)),
        ("of such models", own, lambda row: row.model_class == model.model_class),
        ("of such models of similar size, by {}", kin, lambda row: _similar(row, model)),
        ("of such models, by {}", kin, lambda row: row.model_class == model.model_class),
        (OTHERS, own, lambda row: True),
    ]
    level, some = first_enough(steps)
    return spread(some, level) if some else None


def _similar(row: Evidence, model: Model) -> bool:
    """Same class, and about as many parameters."""
    if row.model_class != model.model_class or row.params_b is None:
        return False
    return abs(math.log(row.params_b / model.params_b)) <= math.log(SIMILAR_SIZE)


def relatives(technique: str, facts: Catalog) -> set[str]:
    """Other techniques that store and multiply in about as many bits."""
    if technique in FAMILIES:
        return set(FAMILIES[technique])
    scheme = facts.schemes.get(technique)
    if scheme is None:
        return set()
    same = {
        other.id for other in facts.schemes.values()
        if other.id != technique and _bits(other) == _bits(scheme)
    }  # fmt: skip
    return same | {name for name, like in FAMILIES.items() if technique in like}


FAMILIES = {"int4": ("int4-awq", "int4-gptq", "int4-g64", "int4-g32")}
"""Schemes among which a technique that leaves the method open is one."""


def _bits(scheme: Scheme) -> tuple[int, float, str, bool]:
    return (
        round(scheme.weight_bits), scheme.activation_bits, scheme.arithmetic, scheme.experts_only
    )  # fmt: skip


# Speed -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Speedups:
    """Measured speedups that are like a scenario, with the rows themselves."""

    spread: Range
    rows: tuple[Evidence, ...]


def speedups(
    technique: str,
    model_class: str,
    chip: Accelerator,
    batch: float | None = None,
    baseline: str | None = None,
    rows: Sequence[Evidence] | None = None,
    facts: Catalog | None = None,
) -> Speedups | None:
    """Measured speedups of a technique, to be shown beside an estimate; None where there are none.

    Rows of the same class of models and the same baseline, on chips of the same generation and
    with a batch within a factor of :data:`SIMILAR_BATCH`; then at any batch; then of techniques
    of as many bits on such chips; then of the same one on chips of the same kind, of the others
    there, and of the same one on any. A row without a stated batch counts at any.
    """
    rows = evidence() if rows is None else rows
    known = facts or catalog()
    alike = [
        row for row in rows
        if row.measure in ("speedup", "speedup_per_device") and row.model_class == model_class
        and (baseline is None or row.baseline_scheme in (baseline, None))
    ]  # fmt: skip
    own = [row for row in alike if row.technique == technique]
    like = relatives(technique, known)
    kin = [row for row in alike if row.technique in like]

    def on(row: Evidence, field: str) -> bool:
        found = chip_of(row, known)
        return found is not None and getattr(found, field) == getattr(chip, field)

    def near(row: Evidence) -> bool:
        if batch is None or row.batch is None:
            return True
        return abs(math.log(row.batch / batch)) <= math.log(SIMILAR_BATCH)

    steps: Steps = [
        ("on such chips at about this batch", own, lambda row: on(row, "generation") and near(row)),
        ("on such chips", own, lambda row: on(row, "generation")),
        ("on such chips, by {}", kin, lambda row: on(row, "generation") and near(row)),
        (f"on {chip.kind}s", own, lambda row: on(row, "kind")),
        (f"on {chip.kind}s, by {{}}", kin, lambda row: on(row, "kind")),
        ("on other hardware", own, lambda row: True),
    ]
    level, some = first_enough(steps)
    return Speedups(spread(some, level), tuple(some)) if some else None
