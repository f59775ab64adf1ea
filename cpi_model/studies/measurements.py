"""Measured runs that come with the package, each with its public source and its day."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from cpi_model.catalog import (
    Catalog,
    CatalogError,
    Finding,
    catalog,
    data_folder,
    nearest,
    read_rows,
)
from cpi_model.schema import Measurement
from cpi_model.studies.runs import SCHEMES

FILE = "measurements/runs.csv"
UNDATED = "no date printed"
"""In the notes of a run whose source shows no date: its day is that of collection."""


def load(folder: Path | None = None, facts: Catalog | None = None) -> tuple[Measurement, ...]:
    """All measured runs of a folder of data, in the order of the file.

    Raises
    ------
    CatalogError
        If the file is missing or breaks the schema, or a row names what the catalog does not have.
    """
    facts = facts or catalog()
    found = read_rows(folder or data_folder(), FILE, Measurement, lambda run: run.id)
    precisions = list(SCHEMES)
    for number, run in enumerate(found, start=2):
        for field, value, allowed in (
            ("model", run.model, facts.models),
            ("hardware", run.hardware, facts.accelerators),
            ("weight_precision", run.weight_precision, precisions),
        ):
            if value is not None and value not in allowed:
                close = ", ".join(nearest(value, allowed)) or ", ".join(list(allowed)[:5])
                raise _refused(
                    number, run, field, f"names '{value}', which is not there; nearest: {close}"
                )
        expected = facts.models[run.model].model_class
        if run.model_class != expected:
            raise _refused(
                number, run, "model_class", f"is '{run.model_class}', must be '{expected}'"
            )
    return found


def _refused(number: int, run: Measurement, field: str, text: str) -> CatalogError:
    return CatalogError(f"{FILE}: row {number} ({run.id}): {field}: {text}")


@cache
def measurements() -> tuple[Measurement, ...]:
    """The shipped measured runs, read once."""
    return load()


def rows(runs: Iterable[Measurement] | None = None) -> list[dict[str, str]]:
    """Measured runs as rows of a table, as :func:`cpi_model.studies.validate.validate` reads them.

    Without `runs` those that come with the package.
    """
    return [
        {name: _cell(value) for name, value in run.model_dump(mode="json").items()}
        for run in (measurements() if runs is None else runs)
    ]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.15g}"
    return "" if value is None else str(value)


def check(runs: Iterable[Measurement]) -> list[Finding]:
    """Runs of which something is assumed, for :func:`cpi_model.catalog.check`."""
    return [
        Finding("assumption", FILE, run.id, "measured_on", run.notes)
        for run in runs
        if UNDATED in run.notes
    ]
