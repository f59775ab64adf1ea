"""Every kind of file that a report can become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cpi_model.export import onepage, plain, slide, standalone, workbook
from cpi_model.export.report import Report


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    title: str
    mime: str
    make: Callable[[Report], bytes]
    help: str


_OFFICE = "application/vnd.openxmlformats-officedocument"
KINDS: dict[str, Kind] = {
    "xlsx": Kind(
        "Excel workbook", f"{_OFFICE}.spreadsheetml.sheet", workbook.xlsx,
        "The bill as formulas that follow when a price or the volume is changed; results, every "
        "input and every source.",
    ),
    "pdf": Kind("One-page PDF", "application/pdf", onepage.pdf, "A page to print or to send."),
    "pptx": Kind(
        "PowerPoint slide", f"{_OFFICE}.presentationml.presentation", slide.pptx,
        "One slide with a chart that can be edited; sources are in the notes.",
    ),
    "html": Kind(
        "Web page", "text/html", standalone.html,
        "One file with charts that react; opens without a network.",
    ),
    "csv": Kind("CSV", "text/csv", plain.csv, "All figures in one table."),
    "json": Kind(
        "JSON", "application/json", plain.as_json, "All figures for programs; opens with --file."
    ),
    "yaml": Kind("YAML", "application/yaml", plain.as_yaml, "The scenario alone, for --file."),
}  # fmt: skip
"""By the ending of their names, in the order in which they are offered."""
