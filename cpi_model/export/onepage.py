"""A report as one printed page: typst sets it, the charts are drawings with its own fonts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cpi_model.charts.base import LIGHT
from cpi_model.export import pictures
from cpi_model.export.report import Report, Scene, moves, plain
from cpi_model.export.text import setting

TEMPLATE = Path(__file__).with_name("onepage.typ")
FONT = "Libertinus Serif"
"""Comes with typst: the page looks the same on every server."""
CARDS = ("million", "p95", "ttft", "tpot", "in_time", "throughput", "utilisation", "replicas")
COMPARED = (
    "loaded", "marginal", "month", "p95", "ttft", "tpot", "in_time", "throughput", "utilisation",
)  # fmt: skip
IN_TABLE = ("loaded", "marginal", "good", "input", "cached", "output", "day", "month", "year")
MOST_MOVES, MOST_ASSUMPTIONS, MOST_SOURCES, MOST_POINTS, MOST_COMPARED = 5, 12, 10, 8, 5
LONGEST_LINE, LONGEST_NAME, LONGEST_LINK = 110, 60, 600


def pdf(report: Report) -> bytes:
    """The page, on the paper that the report is for."""
    import typst

    page = typst.compile(
        TEMPLATE.read_bytes(), format="pdf", sys_inputs={"report": json.dumps(_content(report))}
    )
    assert isinstance(page, bytes)
    return page


def _content(report: Report) -> dict[str, Any]:
    """What stands on the page, as text."""
    first, several = report.first, len(report.scenes) > 1
    return {
        "paper": report.paper,
        "font": FONT,
        "ink": LIGHT.ink, "quiet": LIGHT.quiet, "grid": LIGHT.grid, "accent": LIGHT.series[0],
        "title": report.title,
        "band": report.band,
        "subjects": _subjects(report),
        "cards": [] if several else _cards(first),
        "points": [plain(point, 3 * LONGEST_LINE) for point in report.points[:MOST_POINTS]],
        "charts": [
            {"heading": heading, "svg": pictures.svg(spec), "words": heading}
            for heading, spec in pictures.of(report, FONT)
        ],
        **table(report),
        "moves": [] if several else moves(first, MOST_MOVES),
        "assumptions": [] if several else _assumptions(first),
        "sources": [plain(line, LONGEST_LINE) for line in first.sources[:MOST_SOURCES]],
        "link": plain(report.link, LONGEST_LINK),
        "address": report.address,
        "provenance": report.provenance,
    }  # fmt: skip


def _subjects(report: Report) -> list[str]:
    """What is estimated, a line for each scenario that there is room for."""
    several = len(report.scenes) > 1
    lines = [
        plain(f"{place}  {scene.subject}" if several else scene.subject, 3 * LONGEST_LINE)
        for place, scene in enumerate(report.scenes[:MOST_COMPARED], start=1)
    ]
    more = len(report.scenes) - len(lines)
    return [*lines, f"and {more} more, which the workbook has"] if more > 0 else lines


def _cards(scene: Scene) -> list[dict[str, str]]:
    shown = [scene.results[key] for key in CARDS if key in scene.results]
    return [
        {"name": each.name, "text": each.text, "likely": each.likely} for each in shown
    ]  # fmt: skip


def table(report: Report) -> dict[str, Any]:
    """The cost in other units; of several scenarios their figures side by side."""
    scenes = report.scenes[:MOST_COMPARED]
    if len(scenes) == 1:
        found = report.first.results
        rows = [
            [found[key].name, found[key].text, found[key].likely]
            for key in IN_TABLE
            if key in found
        ]
        return {
            "table_heading": "The cost in other units", "head": ["Figure", "estimate", "likely"],
            "table": rows,
        }  # fmt: skip
    names = {key: each.name for scene in scenes for key, each in scene.results.items()}
    rows = [
        [
            names[key],
            *(scene.results[key].text if key in scene.results else "–" for scene in scenes),
        ]
        for key in COMPARED
        if key in names
    ]
    names_of = [
        plain(f"{place} {scene.name}", LONGEST_NAME) for place, scene in enumerate(scenes, start=1)
    ]
    return {"table_heading": "Side by side", "head": ["Figure", *names_of], "table": rows}


def _assumptions(scene: Scene) -> list[str]:
    """Fields that the reader changed, as far as there is room."""
    changed = [each for each in scene.inputs if each.changed]
    lines = [
        plain(f"{each.info.title}: {setting(each.info, each.value)}", LONGEST_LINE)
        for each in changed[:MOST_ASSUMPTIONS]
    ]
    more = len(changed) - len(lines)
    return [*lines, f"and {more} more in the link"] if more > 0 else lines
