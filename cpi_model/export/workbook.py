"""A report as an Excel workbook: inputs and results as cells, the bill as formulas that follow.

Every formula stands with the value that it has, so that readers which do not calculate show it.
Text is written as text: nothing that somebody wrote becomes a formula.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from cpi_model.charts.base import LIGHT
from cpi_model.export.report import Report, Scene
from cpi_model.export.tables import FORMULA_STARTS
from cpi_model.studies.answer import COMPONENTS
from cpi_model.studies.bill import Bill
from cpi_model.units import DAY, HOUR, KILO, MILLION, MONTH, YEAR

if TYPE_CHECKING:
    from xlsxwriter import Workbook
    from xlsxwriter.worksheet import Worksheet

LONGEST_ADDRESS = 2_000
"""Longer links are text: spreadsheets refuse to follow them."""
CELL_LENGTH = 32_000
LONGEST_PROPERTY = 250
PAPERS = {"a4": 9, "letter": 1}
"""Numbers that spreadsheets have for them."""
FORMATS: dict[str, dict[str, Any]] = {
    "text": {"valign": "top", "text_wrap": True},
    "plain": {"valign": "top"},
    "quoted": {"valign": "top", "text_wrap": True, "quote_prefix": True},
    "title": {"bold": True, "font_size": 18},
    "head": {"bold": True, "bottom": 1, "text_wrap": True},
    "bold": {"bold": True},
    "link": {"font_color": LIGHT.series[0], "underline": 1},
    "date": {"num_format": "yyyy-mm-dd", "align": "left", "valign": "top"},
    "number": {"align": "right", "valign": "top"},
    "rate": {"num_format": "#,##0.00####", "font_color": LIGHT.quiet},
    "count": {"num_format": "#,##0"},
    "money": {"num_format": "#,##0.00"},
    "small": {"num_format": "0.000000000"},
    "total": {"num_format": "#,##0.00", "bold": True, "top": 1},
    "share": {"num_format": "0.0%"},
    "change": {"bg_color": "#FFF2CC", "border": 1, "border_color": LIGHT.quiet},
}  # fmt: skip
"""Looks of cells by their names; cells that may be changed are yellow."""


@dataclass(frozen=True)
class _Sheet:
    """A sheet on which text stays text and unknown figures stay empty."""

    sheet: Worksheet
    looks: dict[str, Any]

    def text(self, row: int, column: int, text: str, look: str = "text") -> None:
        """Text, marked as such where a reader could take it for a formula."""
        if text.startswith(FORMULA_STARTS):
            look = "quoted"
        self.sheet.write_string(row, column, text[:CELL_LENGTH], self.looks[look])

    def number(self, row: int, column: int, value: float | None, look: str = "number") -> None:
        """A figure; an empty cell where it is unknown or without end."""
        if value is not None and math.isfinite(value):
            self.sheet.write_number(row, column, value, self.looks[look])

    def formula(self, row: int, column: int, formula: str, value: Any, look: str) -> None:
        """A formula and what it comes to."""
        self.sheet.write_formula(row, column, f"={formula}", self.looks[look], value)

    def value(self, row: int, column: int, value: object) -> None:
        """Whatever a field holds."""
        if isinstance(value, bool) or value is None:
            self.text(row, column, "" if value is None else str(value))
        elif isinstance(value, (int, float)):
            self.number(row, column, float(value))
        else:
            self.text(row, column, str(value))

    def day(self, row: int, column: int, day: date | None) -> None:
        """A date that sorts as one."""
        if day is not None:
            self.sheet.write_datetime(
                row, column, datetime(day.year, day.month, day.day), self.looks["date"]
            )

    def head(self, row: int, names: Sequence[str], column: int = 0) -> None:
        """Headings of a table."""
        for place, name in enumerate(names, start=column):
            self.text(row, place, name, "head")

    def widths(self, *widths: float) -> None:
        """Widths of the first columns, in characters."""
        for column, width in enumerate(widths):
            self.sheet.set_column(column, column, width)


def xlsx(report: Report) -> bytes:
    """The workbook: a summary with a chart, the bill of each scenario, results, inputs, sources."""
    import xlsxwriter

    stream = io.BytesIO()
    book = xlsxwriter.Workbook(stream, {"in_memory": True})
    book.set_properties({
        "title": report.title, "subject": report.first.subject[:LONGEST_PROPERTY],
        "comments": f"{report.provenance} {report.link}"[:LONGEST_PROPERTY],
        "created": datetime(report.made_on.year, report.made_on.month, report.made_on.day),
    })  # fmt: skip
    looks = {name: book.add_format(look) for name, look in FORMATS.items()}

    def sheet(name: str) -> _Sheet:
        made = book.add_worksheet(name)
        made.set_landscape()
        made.set_paper(PAPERS[report.paper])
        made.fit_to_pages(1, 0)
        made.hide_gridlines(2)
        return _Sheet(made, looks)

    summary = sheet("Summary")
    totals = [
        _cost(sheet("Cost" if len(report.scenes) == 1 else f"Cost {place}"), scene, scene.bill)
        for place, scene in enumerate(report.scenes, start=1)
        if scene.bill is not None
    ]
    _summary(summary, book, report, totals)
    _results(sheet("Results"), report)
    _sensitivities(sheet("Sensitivities"), report)
    _inputs(sheet("Inputs"), report)
    _sources(sheet("Sources"), report)
    book.close()
    return stream.getvalue()


# The bill -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Totals:
    """Where the components of a month stand on a sheet, and what they come to."""

    scene: Scene
    cells: tuple[str, ...]
    values: tuple[float, ...]


def _cost(on: _Sheet, scene: Scene, bill: Bill) -> _Totals:
    """The bill as formulas: prices, volume and counts may be changed, all else follows."""
    rate, currency = scene.scenario.currency_per_usd, scene.scenario.currency
    on.widths(34, *[16] * (4 + 2 * len(bill.deployments)))
    on.text(0, 0, "What a month costs", "title")
    on.text(
        1, 0, "Change a yellow cell and all below follows. The speed of a replica and the number "
        "of instances do not: open the link on the first sheet to work them out again.", "plain",
    )  # fmt: skip
    requests = bill.requests_per_s * MONTH
    successes = requests * bill.success_share
    on.text(3, 0, "Requests a second")
    on.number(3, 1, bill.requests_per_s, "change")
    on.text(4, 0, "Share that succeeds")
    on.number(4, 1, bill.success_share, "change")
    on.text(5, 0, f"Exchange rate, {currency} for one USD")
    on.number(5, 1, rate, "change")
    on.text(6, 0, "Hours in a month")
    on.number(6, 1, MONTH / HOUR)
    on.text(7, 0, "Requests in a month")
    on.formula(7, 1, "B4*3600*B7", requests, "count")
    on.text(8, 0, "Successful inferences in a month")
    on.formula(8, 1, "B8*B5", successes, "count")

    on.head(10, (
        "Instances", "How many", "USD an hour, each", "USD a month", "Busiest load over capacity",
        "",
    ))  # fmt: skip
    top = 11
    for row, one in enumerate(bill.deployments, start=top):
        at = row + 1
        on.text(row, 0, f"{one.model} on {one.instance or 'own devices'}")
        on.number(row, 1, one.instances, "change")
        on.number(row, 2, one.usd_per_hour, "change")
        on.formula(row, 3, f"B{at}*C{at}*$B$7", _rent(bill, row - top), "money")
        on.formula(
            row, 4, f"{one.load_at_peak!r}*$B$4/{bill.requests_per_s!r}*{one.instances!r}/B{at}",
            one.load_at_peak, "share",
        )  # fmt: skip
        enough = "enough" if one.load_at_peak <= 1 else "too few"
        on.formula(row, 5, f'IF(E{at}>1,"too few","enough")', enough, "plain")

    row = top + len(bill.deployments) + 1
    shares = [f"of rent{_which(bill, place)}" for place in range(len(bill.deployments))]
    each = [f"USD an instance{_which(bill, place)}" for place in range(len(bill.deployments))]
    on.head(row, (
        "Component", *shares, *each, "USD per million requests", "USD fixed", "USD a month",
        f"in {currency}", "share",
    ))  # fmt: skip
    count = len(bill.deployments)
    columns = [_column(place) for place in range(2 * count + 6)]
    million, fixed, usd, own = columns[2 * count + 1 : 2 * count + 5]
    month = bill.month()
    total = sum(month.values())
    first, last = row + 2, row + 1 + len(COMPONENTS)
    cells = []
    for at, name in enumerate(COMPONENTS, start=row + 1):
        on.text(at, 0, name.capitalize())
        terms = []
        for place, one in enumerate(bill.deployments):
            on.number(at, 1 + place, one.rent_share[name], "rate")
            on.number(at, 1 + count + place, one.usd_per_instance_month[name], "rate")
            terms += [
                f"$D${top + place + 1}*{columns[1 + place]}{at + 1}",
                f"$B${top + place + 1}*{columns[1 + count + place]}{at + 1}",
            ]
        on.number(at, 1 + 2 * count, bill.usd_per_request[name] * MILLION, "rate")
        on.number(at, 2 + 2 * count, bill.fixed_usd[name], "rate")
        terms += [f"$B$8/1000000*{million}{at + 1}", f"{fixed}{at + 1}"]
        on.formula(at, 3 + 2 * count, "+".join(terms), month[name], "money")
        on.formula(at, 4 + 2 * count, f"{usd}{at + 1}*$B$6", month[name] * rate, "money")
        on.formula(
            at, 5 + 2 * count, f"{own}{at + 1}/{own}${last + 1}", month[name] / total, "share"
        )
        cells.append(f"'{on.sheet.get_name()}'!${own}${at + 1}")
    on.text(last, 0, "Total", "bold")
    on.formula(last, 3 + 2 * count, f"SUM({usd}{first}:{usd}{last})", total, "total")
    on.formula(last, 4 + 2 * count, f"SUM({own}{first}:{own}{last})", total * rate, "total")
    _units(on, scene, last + 2, f"{own}{last + 1}", total * rate, successes)
    return _Totals(scene, tuple(cells), tuple(month[name] * rate for name in COMPONENTS))


def _units(
    on: _Sheet, scene: Scene, row: int, total: str, amount: float, successes: float
) -> None:  # fmt: skip
    """The same cost in all units, as it is now and as the model has it."""
    estimate, currency = scene.estimate, scene.scenario.currency
    whole = float(estimate.cost_per_inference)
    on.head(row, (f"Fully loaded, {currency}", "Now", "As estimated", "Change"))
    each = amount / successes
    rows = [
        ("Per inference", f"{total}/B9", each),
        ("Per 1,000 inferences", f"{total}/B9*1000", each * KILO),
        ("Per million inferences", f"{total}/B9*1000000", each * MILLION),
        ("Per day", f"{total}/B7*24", amount * DAY / MONTH),
        ("Per month", total, amount),
        ("Per year", f"{total}*12", amount * YEAR / MONTH),
    ]
    for name, figure in (
        ("input", "input_token_cost"), ("cached input", "cached_token_cost"),
        ("output", "output_token_cost"),
    ):  # fmt: skip
        share = float(getattr(estimate, figure)) / whole
        if math.isfinite(share):
            # A token's part of an inference is that of its time, whatever an hour costs.
            millions = share * MILLION
            rows.append((f"Per million {name} tokens", f"{total}/B9*{millions!r}", each * millions))
    for at, (name, formula, value) in enumerate(rows, start=row + 1):
        look = _money_look(value)
        on.text(at, 0, name)
        on.formula(at, 1, formula, value, look)
        on.number(at, 2, value, look)
        on.formula(at, 3, f"B{at + 1}/C{at + 1}-1", 0.0, "share")


def _rent(bill: Bill, place: int) -> float:
    one = bill.deployments[place]
    return one.instances * one.usd_per_hour * MONTH / HOUR


def _which(bill: Bill, place: int) -> str:
    """Which of two deployments a column is about."""
    return "" if len(bill.deployments) == 1 else f", row {place + 1}"


def _column(place: int) -> str:
    """Letter of one of the first columns."""
    return chr(ord("A") + place)


def _money_look(value: float) -> str:
    return "money" if abs(value) >= 1 else "small"


# Everything else ----------------------------------------------------------------------------------


def _summary(on: _Sheet, book: Workbook, report: Report, totals: Sequence[_Totals]) -> None:
    on.widths(34, *[26] * max(3, len(report.scenes)))
    on.text(0, 0, report.title, "title")
    on.text(1, 0, report.band, "plain")
    lines = [*(scene.subject for scene in report.scenes), "", *(f"• {p}" for p in report.points)]
    for at, line in enumerate(lines, start=2):
        on.text(at, 0, line, "plain")
    row = 3 + len(lines)
    if totals:
        _chart(on, book, row, totals)
        row += 22
    on.text(row, 0, "Opens the same figures")
    if report.address is not None and len(report.link) <= LONGEST_ADDRESS:
        on.sheet.write_url(row, 1, report.address, on.looks["link"])
    else:
        on.text(row, 1, report.link, "plain")
    on.text(row + 1, 0, "Made on")
    on.day(row + 1, 1, report.made_on)
    on.text(row + 2, 0, "Newest price in the catalog")
    on.day(row + 2, 1, report.prices_on)
    on.text(row + 3, 0, "Version of the model")
    on.text(row + 3, 1, f"{report.version}, fitted on {report.fitted_on.isoformat()}", "plain")
    row += 5
    for scene in report.scenes:
        for note in scene.notes:
            on.text(row, 0, note, "plain")
            row += 1


def _chart(on: _Sheet, book: Workbook, row: int, totals: Sequence[_Totals]) -> None:
    """Components of a month for each scenario: a table that follows the bills, and its chart."""
    currency = totals[0].scene.scenario.currency
    names = [f"{currency} a month"] if len(totals) == 1 else [each.scene.name for each in totals]
    on.head(row, ("Cost of a month", *names))
    chart = book.add_chart({"type": "bar", "subtype": "stacked"})
    sheet, last = on.sheet.get_name(), len(totals)
    for place, name in enumerate(COMPONENTS):
        at = row + 1 + place
        on.text(at, 0, name.capitalize())
        for column, each in enumerate(totals, start=1):
            on.formula(at, column, each.cells[place], each.values[place], "money")
        chart.add_series({
            "name": [sheet, at, 0], "categories": [sheet, row, 1, row, last],
            "values": [sheet, at, 1, at, last], "fill": {"color": LIGHT.series[place]}, "gap": 60,
        })  # fmt: skip
    chart.set_title({"name": f"Cost of a month, {currency}", "name_font": {"size": 12}})
    chart.set_legend({"position": "bottom"})
    # From top to bottom, with the scale at the bottom all the same.
    chart.set_y_axis({"reverse": True, "crossing": "max"})
    chart.set_x_axis({"num_format": "#,##0", "major_gridlines": {"visible": True}})
    chart.set_size({"width": 760, "height": 180 + 60 * len(totals)})
    words = ", ".join(
        f"{name} {value:,.2f}" for name, value in zip(COMPONENTS, totals[0].values, strict=True)
    )
    on.sheet.insert_chart(row + 7, 0, chart, {"description": f"Cost of a month: {words}"})


def _results(on: _Sheet, report: Report) -> None:
    on.widths(38, *[18] * (1 + 3 * len(report.scenes)))
    on.head(0, ("Figure", "Unit"))
    for place, scene in enumerate(report.scenes):
        name = "" if len(report.scenes) == 1 else f"{scene.name}: "
        on.head(0, (f"{name}estimate", "likely, low", "likely, high"), 2 + 3 * place)
    figures: dict[str, tuple[str, str]] = {}
    for scene in report.scenes:
        for key, result in scene.results.items():
            figures.setdefault(key, (result.name, result.unit))
    for row, (key, (name, unit)) in enumerate(figures.items(), start=1):
        on.text(row, 0, name)
        on.text(row, 1, unit)
        for place, scene in enumerate(report.scenes):
            found = scene.results.get(key)
            if found is not None:
                look = _money_look(found.value)
                for column, value in enumerate(
                    (found.value, found.low, found.high), start=2 + 3 * place
                ):
                    on.number(row, column, value, look)
    on.text(len(figures) + 2, 0, report.band, "plain")
    on.sheet.freeze_panes(1, 1)


def _sensitivities(on: _Sheet, report: Report) -> None:
    """Every numeric field a step down and a step up, and the cost of an inference there."""
    on.widths(30, 12, 14, *[16] * 6, 40)
    row = 0
    for scene in report.scenes:
        if scene.moved is None:
            continue
        scenario, found = scene.scenario, scene.moved
        basis = "marginal" if scenario.cost_basis == "marginal" else "fully loaded"
        each = f"{scenario.currency} per million, {basis}"
        on.text(row, 0, f"{scene.name}: {scene.results['million'].text} per million", "bold")
        on.head(row + 1, (
            "Field", "Unit", "Value", "Down to", each, "Change", "Up to", each, "Change",
            "Not possible",
        ))  # fmt: skip
        row += 2
        for bar in found.bars:
            on.text(row, 0, bar.title)
            on.text(row, 1, bar.info.unit)
            on.number(row, 2, bar.value)
            for end, column in ((bar.low, 3), (bar.high, 6)):
                if end is None:
                    continue
                on.number(row, column, end.value)
                amount = end.cost * scenario.currency_per_usd * MILLION
                on.number(row, column + 1, amount, "money")
                on.number(row, column + 2, end.cost / found.cost - 1.0, "share")
                if end.reason:
                    on.text(row, 9, end.reason)
            row += 1
        row += 1


def _inputs(on: _Sheet, report: Report) -> None:
    """Every field of every scenario, with the default, its source and its date."""
    count = len(report.scenes)
    names = ["Value"] if count == 1 else [f"Value, {scene.name}" for scene in report.scenes]
    on.widths(12, 32, *[18] * count, 12, 14, 12, 60, 12, 28)
    on.head(
        0, ("Group", "Field", *names, "Unit", "Default", "Counts here", "Source", "Date", "Name")
    )
    for row, together in enumerate(zip(*(scene.inputs for scene in report.scenes), strict=True), 1):
        # Where a field has another value than its default, that value is the reader's.
        each = next((one for one in together if one.changed), together[0])
        on.text(row, 0, each.info.group)
        on.text(row, 1, each.info.title)
        for column, one in enumerate(together, start=2):
            on.value(row, column, one.value)
        on.text(row, 2 + count, each.info.unit)
        on.value(row, 3 + count, each.info.default)
        on.text(row, 4 + count, "yes" if any(one.counts for one in together) else "no")
        on.text(row, 5 + count, each.source)
        on.day(row, 6 + count, each.as_of)
        on.text(row, 7 + count, each.info.name)
    on.sheet.freeze_panes(1, 2)
    on.sheet.autofilter(0, 0, len(report.first.inputs), 7 + count)


def _sources(on: _Sheet, report: Report) -> None:
    """Every figure that went in, where it comes from and of which day."""
    on.widths(12, 44, 18, 12, 80, 12, 40)
    several = len(report.scenes) > 1
    on.head(0, ("Part", "Figure", "Value", "Unit", "Source", "Date", *["Scenario"] * several))
    row = 1
    for scene in report.scenes:
        for fact in scene.facts:
            on.text(row, 0, fact.kind)
            on.text(row, 1, fact.name)
            on.value(row, 2, fact.value)
            on.text(row, 3, fact.unit)
            on.text(row, 4, fact.source)
            on.day(row, 5, fact.as_of)
            if several:
                on.text(row, 6, scene.name)
            row += 1
    on.sheet.freeze_panes(1, 0)
