"""A report as one slide: a headline, a chart that can be edited, and the sources in the notes."""

from __future__ import annotations

import io
import math
from typing import Any

from cpi_model.charts.base import LIGHT
from cpi_model.export.report import Report, bars, plain
from cpi_model.export.text import digits
from cpi_model.studies.answer import COMPONENTS

WIDTH, HEIGHT = 13.333, 7.5
"""Of a wide slide. [in]"""
EDGE = 0.6
MOST_POINTS = 5
LONGEST_POINT, LONGEST_LINK = 360, 180
SIZES = (18, 16, 14, 12)
POINTS_PER_INCH = 72
LETTER_WIDTH, LINE_HEIGHT = 0.5, 1.2
"""Of a letter on average and of a line, over the size of the type."""
TITLE_ONLY = 5
"""Place of the layout in the library's own template."""


def pptx(report: Report) -> bytes:
    """The presentation, of one slide."""
    import pptx as library
    from pptx.util import Inches

    deck = library.Presentation()
    deck.slide_width, deck.slide_height = Inches(WIDTH), Inches(HEIGHT)
    about = deck.core_properties
    about.title, about.author = report.title[:250], "cpi_model"
    about.subject, about.comments = report.first.subject[:250], report.provenance[:250]
    slide = deck.slides.add_slide(deck.slide_layouts[TITLE_ONLY])
    _title(slide, report)
    charted = _chart(slide, report)
    _points(slide, report, WIDTH / 2 if charted else EDGE)
    _foot(slide, report)
    slide.notes_slide.notes_text_frame.text = "\n".join(_notes(report))
    stream = io.BytesIO()
    deck.save(stream)
    return stream.getvalue()


def _title(slide: Any, report: Report) -> None:
    from pptx.util import Inches

    title = slide.shapes.title
    title.left, title.top = Inches(EDGE), Inches(0.35)
    title.width, title.height = Inches(WIDTH - 2 * EDGE), Inches(0.9)
    _write(title.text_frame, [report.title], 36, LIGHT.ink, bold=True)
    box = slide.shapes.add_textbox(
        Inches(EDGE), Inches(1.2), Inches(WIDTH - 2 * EDGE), Inches(0.9)
    )  # fmt: skip
    subject = plain(report.first.subject, LONGEST_POINT) if len(report.scenes) == 1 else ""
    lines = [line for line in (report.band, subject) if line]
    _write(box.text_frame, lines, 14, LIGHT.quiet)


def _chart(slide: Any, report: Report) -> bool:
    """A stacked bar for each basis or scenario; whether there is one."""
    from pptx.chart.data import CategoryChartData
    from pptx.dml.color import RGBColor
    from pptx.enum.chart import XL_AXIS_CROSSES, XL_CHART_TYPE, XL_LEGEND_POSITION
    from pptx.util import Inches, Pt

    amounts = bars(report)
    if not amounts:
        return False
    data = CategoryChartData(number_format="#,##0.00")
    data.categories = list(amounts)
    for part in COMPONENTS:
        data.add_series(part.capitalize(), [bar[part] for bar in amounts.values()])
    frame = slide.shapes.add_chart(
        XL_CHART_TYPE.BAR_STACKED, Inches(EDGE), Inches(2.3), Inches(WIDTH / 2 - EDGE - 0.2),
        Inches(4.2), data,
    )  # fmt: skip
    words = "; ".join(f"{name} {digits(sum(bar.values()))}" for name, bar in amounts.items())
    currency = report.first.scenario.currency
    title = f"{currency} per million inferences"
    frame._element.nvGraphicFramePr.cNvPr.set("descr", f"Bars of {title}: {words}")
    chart: Any = frame.chart
    chart.has_title = True
    chart.chart_title.text_frame.text = title
    chart.chart_title.text_frame.paragraphs[0].runs[0].font.size = Pt(14)
    chart.has_legend = True
    chart.legend.position, chart.legend.include_in_layout = XL_LEGEND_POSITION.BOTTOM, False
    chart.legend.font.size = Pt(12)
    # From top to bottom, with the scale at the bottom all the same.
    chart.category_axis.reverse_order = True
    chart.value_axis._element.crosses.val = XL_AXIS_CROSSES.MAXIMUM
    chart.category_axis.tick_labels.font.size = Pt(12)
    chart.value_axis.tick_labels.font.size = Pt(12)
    chart.value_axis.tick_labels.number_format = "#,##0.##"
    chart.value_axis.tick_labels.number_format_is_linked = False
    chart.value_axis.major_gridlines.format.line.color.rgb = RGBColor.from_string(LIGHT.grid[1:])
    plot = chart.plots[0]
    plot.gap_width, plot.overlap = 60, 100
    for series, colour in zip(plot.series, LIGHT.series, strict=False):
        series.format.fill.solid()
        series.format.fill.fore_color.rgb = RGBColor.from_string(colour[1:])
    return True


def _points(slide: Any, report: Report, left: float) -> None:
    from pptx.util import Inches

    box = slide.shapes.add_textbox(
        Inches(left), Inches(2.4), Inches(WIDTH - left - EDGE), Inches(4.0)
    )  # fmt: skip
    points = [f"• {plain(point, LONGEST_POINT)}" for point in report.points[:MOST_POINTS]]
    if (more := len(report.points) - len(points)) > 0:
        points.append(f"and {more} more, in the notes")
    _write(box.text_frame, points, _size(points, WIDTH - left - EDGE, 4.0), LIGHT.ink)


def _size(lines: list[str], width: float, height: float) -> int:
    """The largest size at which lines fit into a box of so many inches, as far as one can tell."""
    for size in SIZES:
        a_line = width * POINTS_PER_INCH / (LETTER_WIDTH * size)
        rows = sum(math.ceil(len(line) / a_line) for line in lines)
        needed = size * (LINE_HEIGHT * rows + len(lines) / 3)
        if needed <= height * POINTS_PER_INCH:
            break
    return size


def _foot(slide: Any, report: Report) -> None:
    """Date, versions and the link, which leads to the app where it can."""
    from pptx.util import Inches

    box = slide.shapes.add_textbox(
        Inches(EDGE), Inches(HEIGHT - 0.85), Inches(WIDTH - 2 * EDGE), Inches(0.6)
    )  # fmt: skip
    _write(
        box.text_frame, [report.provenance, plain(report.link, LONGEST_LINK)], 11, LIGHT.quiet
    )  # fmt: skip
    if report.address is not None:
        box.text_frame.paragraphs[1].runs[0].hyperlink.address = report.address


def _notes(report: Report) -> list[str]:
    """What a speaker may be asked: the band, the notes of the estimate, sources, the whole link."""
    lines = [report.title, report.band, *report.points]
    for scene in report.scenes:
        lines += [scene.subject, *scene.notes, "Sources:", *scene.sources]
    return [line for line in [*lines, report.provenance, report.link] if line]


def _write(frame: Any, lines: list[str], size: int, colour: str, bold: bool = False) -> None:
    """Lines of one size and colour, which shrink where they do not fit."""
    from pptx.dml.color import RGBColor
    from pptx.enum.text import MSO_AUTO_SIZE, PP_ALIGN
    from pptx.util import Pt

    frame.word_wrap, frame.auto_size = True, MSO_AUTO_SIZE.TEXT_TO_FIT_SHAPE
    for place, line in enumerate(lines):
        paragraph = frame.paragraphs[0] if place == 0 else frame.add_paragraph()
        paragraph.alignment, paragraph.space_after = PP_ALIGN.LEFT, Pt(size / 3)
        run = paragraph.add_run()
        run.text = line
        run.font.size, run.font.bold = Pt(size), bold
        run.font.color.rgb = RGBColor.from_string(colour[1:])
