"""A report as one HTML file: opens without a network, charts react, prints as one page.

Whatever somebody wrote is escaped. The policy at the head of the page lets nothing be loaded and
runs the two scripts whose digests it names, and no other.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from cpi_model import charts
from cpi_model.charts import standalone
from cpi_model.charts.base import LIGHT, Figure
from cpi_model.export import onepage, pictures
from cpi_model.export.report import Report, Scene
from cpi_model.export.text import digits, setting
from cpi_model.studies.explain import Fact

FONT = "sans-serif"
HEADINGS = {
    "parts": "What it is made of",
    "curve": "Cost and latency against concurrency",
    "moves": "What moves it most: blue where the field goes down, orange where it goes up",
}
"""Above charts, by what their ids begin with."""
STYLE = Path(__file__).with_name("standalone.css")
DRAW = """
const figures = JSON.parse(document.getElementById("figures").textContent);
const fingers = matchMedia("(pointer: coarse)").matches;  // which scroll
for (const [id, figure] of Object.entries(figures.drawn)) {
  if (fingers) figure.layout.dragmode = false;
  Plotly.newPlot(id, figure.data, figure.layout, figures.config);
}
"""


def html(report: Report) -> bytes:
    """The page."""
    drawn = _figures(report)
    scripts = (standalone.library(), DRAW) if drawn else ()
    figures = json.dumps(
        {"config": standalone.CONFIG, "drawn": {id: figure for id, (figure, _) in drawn.items()}}
    )
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">',
        f"<title>{escape(report.title)}</title>",
        f"<style>{_style(report)}</style></head><body><main>",
        *_summary(report, drawn),
        *_details(report),
        "</main>",
        # Nothing in it can end the element: no sign of a tag is left.
        f'<script type="application/json" id="figures">{_harmless(figures)}</script>',
        *(f"<script>{script}</script>" for script in scripts),
        "</body></html>",
    ]
    return "\n".join(parts).encode()


def _policy(scripts: Sequence[str]) -> str:
    digests = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts
    ]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _harmless(document: str) -> str:
    """JSON inside HTML."""
    for sign in "<>&\u2028\u2029":
        document = document.replace(sign, f"\\u{ord(sign):04x}")
    return document


def _style(report: Report) -> str:
    colours = {
        "ink": LIGHT.ink, "quiet": LIGHT.quiet, "grid": LIGHT.grid, "accent": LIGHT.series[0],
        "paper": LIGHT.paper,
    }  # fmt: skip
    variables = "".join(f"--{name}:{colour};" for name, colour in colours.items())
    size = "A4" if report.paper == "a4" else "letter"
    return f":root{{{variables}}}\n@page{{size:{size};margin:12mm}}\n{STYLE.read_text('utf-8')}"


def _figures(report: Report) -> dict[str, tuple[Figure, str]]:
    """Charts of the app by the ids of their places, each with words for who cannot see it."""
    drawn: dict[str, tuple[Figure, str]] = {}
    for place, scene in enumerate(report.scenes, start=1):
        if not scene.feasible or scene.answer.inputs is None:
            continue
        estimate, capacity = scene.estimate, float(scene.answer.inputs.memory_capacity)
        parts = [charts.cost_breakdown(estimate, scene.scenario), charts.memory(estimate, capacity)]
        words = (
            f"{charts.describe_breakdown(estimate, scene.scenario)} "
            f"{charts.describe_memory(estimate)}"
        )
        drawn[f"parts-{place}"] = charts.stack(parts), words
        if scene.curve is not None:
            drawn[f"curve-{place}"] = (
                standalone.alone(charts.against_concurrency(scene.curve, estimate)),
                charts.describe_curves(scene.curve),
            )
        if scene.moved is not None and scene.moved.strongest:
            drawn[f"moves-{place}"] = (
                charts.tornado(scene.moved, scene.scenario),
                charts.describe_tornado(scene.moved, scene.scenario),
            )
    return drawn


# What is read first, and printed ----------------------------------------------------------------


def _summary(report: Report, drawn: dict[str, tuple[Figure, str]]) -> Iterable[str]:
    first, several = report.first, len(report.scenes) > 1
    yield f"<h1>{escape(report.title)}</h1>"
    if report.band:
        yield f"<p>{escape(report.band)}</p>"
    for scene in report.scenes:
        yield f'<p class="quiet">{escape(scene.subject)}</p>'
    if not several:
        yield '<dl class="cards">'
        for key in onepage.CARDS:
            if (each := first.results.get(key)) is not None:
                yield (
                    f"<div><dt>{escape(each.name)}</dt><dd>{escape(each.text)}</dd>"
                    f'<dd class="quiet">{escape(each.likely)}</dd></div>'
                )
        yield "</dl>"
    yield "<ul>"
    yield from (f"<li>{escape(point)}</li>" for point in report.points)
    yield "</ul>"
    yield '<div class="printed">'
    for heading, spec in pictures.of(report, FONT):
        yield (
            f'<figure role="img" aria-label="{escape(heading)}"><figcaption>{escape(heading)}'
            f"</figcaption>{pictures.svg(spec)}</figure>"
        )
    yield "</div>"
    # Of several scenarios the figures side by side say more than the charts of each.
    parts = [list(_charts(report, drawn)), list(_side_by_side(report))]
    for part in reversed(parts) if several else parts:
        yield from part
    yield f"<footer><p>{escape(report.provenance)}</p><p>{_link(report)}</p></footer>"


def _charts(report: Report, drawn: dict[str, tuple[Figure, str]]) -> Iterable[str]:
    """Places for the charts; a caption tells those of several scenarios apart."""
    for id, (_, words) in drawn.items():
        name = report.scenes[int(id.rpartition("-")[2]) - 1].name
        words_above = HEADINGS[id.partition("-")[0]]
        caption = f"{words_above}: {name}" if len(report.scenes) > 1 else words_above
        yield (
            f'<figure class="drawn" role="img" aria-label="{escape(words)}">'
            f'<figcaption>{escape(caption)}</figcaption><div id="{id}"></div></figure>'
        )


def _side_by_side(report: Report) -> Iterable[str]:
    content = onepage.table(report)
    if content["table"]:
        yield f"<h2>{escape(content['table_heading'])}</h2>"
        yield from _table(content["head"], content["table"])


def _link(report: Report) -> str:
    if report.address is None:
        return f"Scenario: {escape(report.link)}"
    address = escape(report.address)
    return f'<a href="{address}" rel="noreferrer">Open these figures in the app</a> {address}'


# What stands behind it, on the screen only ------------------------------------------------------


def _details(report: Report) -> Iterable[str]:
    for scene in report.scenes:
        more = f": {scene.name}" if len(report.scenes) > 1 else ""
        yield from (f'<p class="screen">{escape(note)}</p>' for note in scene.notes)
        yield f'<details class="screen"><summary>Inputs{escape(more)}</summary>'
        yield from _table(INPUT_HEAD, _inputs(scene))
        yield f'</details><details class="screen"><summary>Sources{escape(more)}</summary>'
        yield from _table(FACT_HEAD, _facts(scene))
        yield "</details>"


INPUT_HEAD = ("Field", "Value", "Default", "Source", "Date")
FACT_HEAD = ("Part", "Figure", "Value", "Source", "Date")


def _inputs(scene: Scene) -> list[list[str]]:
    return [
        [
            each.info.title, setting(each.info, each.value), setting(each.info, each.info.default),
            each.source, each.as_of.isoformat() if each.as_of else "",
        ]
        for each in scene.inputs
        if each.counts
    ]  # fmt: skip


def _facts(scene: Scene) -> list[list[str]]:
    return [
        [
            fact.kind, fact.name, _value(fact), fact.source,
            fact.as_of.isoformat() if fact.as_of else "",
        ]
        for fact in scene.facts
    ]  # fmt: skip


def _value(fact: Fact) -> str:
    value = fact.value if isinstance(fact.value, str) else digits(float(fact.value), 6)
    return f"{value} {fact.unit}".strip()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    yield "</tr></thead><tbody>"
    for row in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        yield f"<tr>{cells}</tr>"
    yield "</tbody></table></div>"
