"""How good the estimates are, as tables for people: errors, coverage, what nobody measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cpi_model.catalog import Catalog
from cpi_model.studies.options import CLASSES
from cpi_model.units import PERCENT

if TYPE_CHECKING:
    from cpi_model.studies.accuracy import Compared, GroupError
    from cpi_model.studies.validate import Measure

MEASURES: dict[str, str] = {
    "throughput": "Throughput", "tpot": "Time per token", "ttft": "Time to first token",
    "latency": "Latency", "cost": "Cost",
}  # fmt: skip
"""What is compared, and what people call it."""


def names(facts: Catalog) -> dict[str, str]:
    """What people call classes, models, chips and engines, by id."""
    return (
        {id: name.capitalize() for id, name in CLASSES.items()}
        | {id: model.name for id, model in facts.models.items()}
        | {id: chip.name for id, chip in facts.accelerators.items()}
        | {id: engine.name for id, engine in facts.engines.items()}
    )


def coverage(compared: Iterable[Compared]) -> dict[Measure, tuple[float, int]]:
    """Share of measured figures inside their likely range, and how many have one, by measure."""
    counted: dict[Measure, list[bool]] = {}
    for each in compared:
        if each.inside is not None:
            counted.setdefault(each.measure, []).append(each.inside)
    return {measure: (sum(known) / len(known), len(known)) for measure, known in counted.items()}


def error_table(found: Iterable[GroupError], names: Mapping[str, str]) -> list[dict[str, object]]:
    """Errors of groups in percent, most runs first."""
    return [
        {
            "Group": names.get(each.group, each.group), "Runs": each.rows,
            "Median": each.median / PERCENT, "9 of 10": each.p90 / PERCENT,
            "Inside": None if math.isnan(each.inside) else each.inside / PERCENT,
        }
        for each in sorted(found, key=lambda each: -each.rows)
    ]  # fmt: skip


def own_table(compared: Sequence[Compared], names: Mapping[str, str]) -> list[dict[str, object]]:
    """Measured figures beside their estimates, in SI units; how far they are off in percent."""
    return [
        {
            "Run": each.id, "What": MEASURES[each.measure], "measure": each.measure,
            "Measured": each.measured, "Estimated": each.predicted,
            "Off by": (each.ratio - 1.0) / PERCENT, "Model": names.get(each.model, each.model),
            "Hardware": names.get(each.hardware, each.hardware),
            "Engine": names.get(each.engine, each.engine),
        }
        for each in compared
    ]  # fmt: skip
