"""A report for other programs: CSV, JSON, and the scenario as YAML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cpi_model import links
from cpi_model.export import tables
from cpi_model.export.report import Report, Scene
from cpi_model.studies.answer import summary

COLUMNS = (
    "scenario", "part", "name", "value", "unit", "likely_low", "likely_high", "source", "date",
)  # fmt: skip
Row = tuple[str, str, object, str, object, object, str, str]


def csv(report: Report) -> bytes:
    """One row a figure: about the file, results, components of the cost, inputs with sources."""
    import pandas as pd

    rows: list[tuple[object, ...]] = [("", *row) for row in _about(report)]
    for place, scene in enumerate(report.scenes, start=1):
        rows += [(place, *row) for row in _figures(scene)]
    return tables.csv(pd.DataFrame(rows, columns=list(COLUMNS), dtype=object))


def _about(report: Report) -> Iterator[Row]:
    for name, value in meta(report).items():
        yield "about", name, value, "", None, None, "", ""


def _figures(scene: Scene) -> Iterator[Row]:
    yield "about", "what is estimated", scene.subject, "", None, None, "", ""
    yield "result", "feasible", "yes" if scene.feasible else "no", "", None, None, "", ""
    if not scene.feasible:
        for sentence in scene.points:
            yield "reason", sentence, None, "", None, None, "", ""
    for result in scene.results.values():
        yield "result", result.name, result.value, result.unit, result.low, result.high, "", ""
    if scene.bill is not None:
        for name, usd in scene.bill.month().items():
            amount = usd * scene.scenario.currency_per_usd
            yield (
                "cost of a month", name.capitalize(), amount, scene.scenario.currency, None, None,
                "", "",
            )  # fmt: skip
    for each in scene.inputs:
        when = each.as_of.isoformat() if each.as_of else ""
        value = each.value
        yield "input", each.info.name, value, each.info.unit, None, None, each.source, when
    for fact in scene.facts:
        when = fact.as_of.isoformat() if fact.as_of else ""
        yield f"fact: {fact.kind}", fact.name, fact.value, fact.unit, None, None, fact.source, when


def meta(report: Report) -> dict[str, str]:
    """What every file says of itself."""
    return {
        "title": report.title,
        "likely": report.band,
        "link": report.link,
        "made_on": report.made_on.isoformat(),
        "newest_price": report.prices_on.isoformat(),
        "fitted_on": report.fitted_on.isoformat(),
        "model_version": report.version,
    }


def as_json(report: Report) -> bytes:
    """What ``cpi estimate --json`` gives, and about the file; a list of that where several."""
    about: dict[str, Any] = {"meta": meta(report)}
    if len(report.scenes) == 1:
        document = about | _answer(report.first)
    else:
        document = about | {
            "scenarios": [{"name": scene.name} | _answer(scene) for scene in report.scenes]
        }
    return (json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _answer(scene: Scene) -> dict[str, Any]:
    return {"scenario": links.to_document(scene.scenario, everything=True)} | summary(scene.answer)


def as_yaml(report: Report) -> bytes:
    """The first scenario as a file for ``--file``, every field written out."""
    lines = [f"# {name}: {value}" for name, value in meta(report).items() if value]
    return ("\n".join(lines) + "\n" + links.to_yaml(report.first.scenario, True)).encode()
