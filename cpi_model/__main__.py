"""The same studies from a terminal: ``cpi``, or ``python -m cpi_model``.

Every command takes a scenario as a link, a file or fields, prints a table for people and
``--json`` for programs. Bad input ends with one line on the error stream and exit code 2. What a
command does not need is not imported, so that ``--help`` comes at once.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from cpi_model.catalog import Catalog
    from cpi_model.library import Library, Revision
    from cpi_model.links import Named
    from cpi_model.scenario import Scenario
    from cpi_model.studies.advice import Advised
    from cpi_model.studies.answer import Answer
    from cpi_model.studies.compare import Compared
    from cpi_model.studies.repricing import Repriced
    from cpi_model.studies.sensitivity import End, Tornado
    from cpi_model.studies.sweep import Sweep
    from cpi_model.studies.traffic import Demand, Fleet, Run

WIDTH = 400
"""Columns where the output is no terminal: lines are not broken for a reader such as grep."""
LONGEST_CELL = 120
MOST_COMPLAINTS = 5
UNKNOWN = "–"

# Plain help: it is quicker, and no text in it is taken for markup.
app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="What an AI inference costs, why, and what would change it.",
)  # fmt: skip
catalog_app = typer.Typer(
    rich_markup_mode=None, help="What is known: hardware, instances, models, prices; with sources."
)
app.add_typer(catalog_app, name="catalog")
prices_app = typer.Typer(rich_markup_mode=None, help="Prices of instances: read those of today.")
app.add_typer(prices_app, name="prices")
library_app = typer.Typer(
    rich_markup_mode=None, help="Saved scenarios: who, when, why, and what moved since."
)
app.add_typer(library_app, name="library")

Link = Annotated[
    str | None,
    typer.Option("--link", metavar="QUERY", help="Scenario as a link, or what follows its '?'."),
]
File = Annotated[
    Path | None,
    typer.Option("--file", metavar="SCENARIO", help="Scenario as a .yaml or .json file."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field; may be given again."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Filter = Annotated[
    str, typer.Option("--filter", metavar="TEXT", help="Only rows that have all these words.")
]


class BadInput(Exception):
    """What somebody gave cannot be used; the message is for people."""


# The way in --------------------------------------------------------------------------------------


@app.callback(invoke_without_command=True)
def _cpi(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from cpi_model import __version__

        print(__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


@catalog_app.callback(invoke_without_command=True)
def _catalog(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@prices_app.callback(invoke_without_command=True)
def _prices(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@library_app.callback(invoke_without_command=True)
def _library(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console script."""
    if hasattr(sys.stdout, "reconfigure"):
        # A terminal that cannot show a sign shows another instead of a traceback.
        sys.stdout.reconfigure(errors="replace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(given, prog_name="cpi", standalone_mode=False)
        sys.stdout.flush()
    except BadInput as error:
        code = _complain(str(error))
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python would complain when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        # Usage errors of typer and of click, which are of different classes by version.
        if not hasattr(error, "format_message"):
            raise
        code = _complain(str(error.format_message()))
    sys.exit(code or 0)


def _complain(text: str) -> int:
    """One plain line on the error stream; the exit code that goes with it."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    print(f"cpi: {line}", file=sys.stderr)
    return 2


def _refuse(problems: Sequence[str]) -> NoReturn:
    more = len(problems) - MOST_COMPLAINTS
    rest = [f"And {more} more."] if more > 0 else []
    raise BadInput(" ".join([*problems[:MOST_COMPLAINTS], *rest]))


def _facts() -> Catalog:
    from cpi_model.catalog import CatalogError, catalog

    try:
        return catalog()
    except CatalogError as error:
        raise BadInput(f"the data cannot be loaded: {error}") from None


def _scenario(link: str | None, file: Path | None, assignments: Sequence[str] | None) -> Scenario:
    """Scenario of the options that all commands share."""
    from cpi_model import links
    from cpi_model.scenario import Scenario
    from cpi_model.studies.answer import unknown_names

    if link is not None and file is not None:
        raise BadInput("Give --link or --file, not both.")
    scenario, problems = Scenario(), list[str]()
    if link is not None:
        scenario, problems = links.decode(link)
    elif file is not None:
        scenario, problems = links.load_file(file)
    changes, wrong = _changes(assignments or ())
    if problems or wrong:
        _refuse([*problems, *wrong])
    scenario = scenario.model_copy(update=changes)
    if unknown := unknown_names(scenario, _facts()):
        _refuse(unknown)
    return scenario


def _changes(assignments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Fields of FIELD=VALUE, and a sentence for each that is wrong."""
    from cpi_model import links
    from cpi_model.scenario import FIELDS

    changes, problems = dict[str, Any](), list[str]()
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals:
            problems.append(f"--set {links.shown(assignment)} is not FIELD=VALUE.")
        elif name not in FIELDS:
            problems.append(links.unknown_field(name))
        else:
            changes[name], problem = links.check(name, text.strip())
            problems.extend([problem] if problem else [])
    return changes, problems


def _checked(assignments: Sequence[str]) -> dict[str, Any]:
    """Fields of FIELD=VALUE; ends with what is wrong."""
    changes, problems = _changes(assignments)
    if problems:
        _refuse(problems)
    return changes


# Output ------------------------------------------------------------------------------------------


def _digits(value: object, significant: int = 3) -> str:
    """A value for people: counts as they are, figures to a few digits, a dash for the unknown.

    >>> [_digits(value) for value in (1234567.0, 0.00012345, 12.0, 8192, None, True, "x")]
    ['1,230,000', '0.000123', '12', '8,192', '–', 'yes', 'x']
    """
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        text = "".join(c if c.isprintable() else " " for c in str(value))
        return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
    if not math.isfinite(value):
        return UNKNOWN
    rounded = float(f"{value:.{significant}g}")
    if 0 < abs(rounded) < 1e-6:
        return f"{rounded:g}"
    return f"{rounded:,.10f}".rstrip("0").rstrip(".")


def _print_json(document: object) -> None:
    # Never NaN or Infinity, which are not JSON.
    print(json.dumps(document, indent=2, allow_nan=False))


def _print_table(
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, object]],
    significant: int = 3,
    spare: Sequence[str] = (),
) -> None:
    """Rows under headings; text from files stands as it is, nothing in it is markup.

    On a screen too narrow for all columns the `spare` ones are left out, the last named first.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    width = None if sys.stdout.isatty() else WIDTH
    console = Console(markup=False, highlight=False, emoji=False, width=width)

    def table_of(keys: Iterable[str]) -> Table:
        table = Table(
            box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=any(columns.values())
        )
        for key in keys:
            numbers = any(
                isinstance(row.get(key), (int, float)) and not isinstance(row.get(key), bool)
                for row in rows
            )
            # A figure broken over two lines is another figure.
            table.add_column(
                columns[key], justify="right" if numbers else "left", no_wrap=numbers,
                overflow="fold", min_width=4,
            )  # fmt: skip
        for row in rows:
            table.add_row(*(_digits(row.get(key), significant) for key in keys))
        return table

    keys, left_out = list(columns), [key for key in spare if key in columns]
    table = table_of(keys)
    unbounded = console.options.update(max_width=10 * WIDTH)
    while left_out and console.measure(table, options=unbounded).maximum > console.width:
        keys.remove(left_out.pop())
        table = table_of(keys)
    with console.capture() as capture:
        console.print(table)
    # The table is a rectangle; blanks at the ends of lines say nothing.
    print("\n".join(line.rstrip() for line in capture.get().splitlines()), end="\n\n")
    if len(keys) < len(columns):
        print(f"{len(columns) - len(keys)} columns do not fit on this screen; --json has all.")


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print("".join(c if c.isprintable() else " " for c in line))


# estimate ----------------------------------------------------------------------------------------


@app.command()
def estimate(
    link: Link = None, file: File = None, assignments: Assignments = None, as_json: AsJson = False
) -> None:
    """Cost, speed and memory of one scenario, or why it cannot work and what would."""
    from cpi_model.studies.answer import answer, summary

    scenario = _scenario(link, file, assignments)
    result = answer(scenario, _facts())
    if as_json:
        _print_json(summary(result))
    elif result.feasible:
        _print_estimate(result, summary(result))
    else:
        _print_refusal(result)


def _print_refusal(result: Answer) -> None:
    _print_lines(["This cannot work.", *(f"  {reason}" for reason in result.reasons)])
    if result.suggestions:
        _print_lines(["", "The nearest that works:"])
    for suggestion in result.suggestions:
        options = " ".join(f"--set {name}={value}" for name, value in suggestion.changes.items())
        _print_lines([f"  {suggestion.text}.", f"      {options}"])


def _print_estimate(result: Answer, document: Mapping[str, Any]) -> None:
    from cpi_model.units import MILLION, PERCENT

    scenario, choice = result.scenario, result.choice
    assert choice is not None
    devices = choice.devices_per_replica
    heading = f"{choice.model.name}, {choice.scheme.name}, {choice.engine.name}"
    _print_lines([f"{heading}, on {devices:g} × {choice.accelerator.name} a replica", ""])

    rate = scenario.currency_per_usd

    def money(value: float | None) -> float | None:
        return None if value is None else value * rate

    whole = document["cost_per_inference_usd"]
    total = document[
        {"day": "daily_cost_usd", "month": "monthly_cost_usd", "year": "yearly_cost_usd"}[
            scenario.period
        ]
    ]
    inferences = total / whole if whole else 0.0
    parts = document["components_usd"] | {"total": whole}
    marginal = document["marginal_components_usd"] | {
        "total": document["marginal_cost_per_inference_usd"]
    }
    columns = {
        "name": f"Cost, {scenario.currency}",
        "each": "per inference",
        "million": "per million",
        "period": f"per {scenario.period}",
        "marginal": "marginal, each",
    }
    rows = [
        {
            "name": name,
            "each": money(part),
            "million": money(part * MILLION),
            "period": money(part * inferences),
            "marginal": money(marginal[name]),
        }
        for name, part in parts.items()
    ]
    _print_table(columns, rows)

    tokens = choice.model.transformer is not None
    memory = document["memory_gb"]
    currency = scenario.currency
    good, input_cost, cached_cost, output_cost = (
        money(document[f"cost_per_{name}_usd"])
        for name in (
            "good_inference", "million_input_tokens", "million_cached_input_tokens",
            "million_output_tokens",
        )
    )  # fmt: skip
    facts: list[tuple[str, object, str, str]] = [
        ("Cost per inference", money(whole), currency, "cost_per_inference_usd"),
        ("Marginal cost per inference", money(document["marginal_cost_per_inference_usd"]),
         currency, "marginal_cost_per_inference_usd"),
        ("Cost per good inference", good, currency, "cost_per_good_inference_usd"),
        ("Cost per million input tokens", input_cost, currency,
         "cost_per_million_input_tokens_usd"),
        ("Cost per million cached input tokens", cached_cost, currency,
         "cost_per_million_cached_input_tokens_usd"),
        ("Cost per million output tokens", output_cost, currency,
         "cost_per_million_output_tokens_usd"),
        ("Time to first token", document["ttft_ms"] if tokens else None, "ms", "ttft_ms"),
        ("Time per output token", document["tpot_ms"], "ms", "tpot_ms"),
        ("Latency, mean", document["latency_mean_ms"], "ms", "latency_mean_ms"),
        ("Latency, 95th percentile", document["latency_p95_ms"], "ms", "latency_p95_ms"),
        ("Requests within all limits", document["good_share"] / PERCENT, "%", "good_share"),
        ("Throughput of a full replica", document["throughput_per_s"], "requests/s",
         "throughput_per_s"),
        ("Output of a full replica", document["output_tokens_per_s"] or None, "tokens/s",
         "output_tokens_per_s"),
        ("Utilisation", document["utilisation"] / PERCENT, "%", "utilisation"),
        ("Replicas", document["replicas"], "", "replicas"),
        ("Instances", document["instances"], "", ""),
        ("Weights on a device", memory["weights"], "GB", ""),
        ("KV cache on a device", memory["kv_cache"] if tokens else None, "GB", ""),
        ("Working space on a device", memory["workspace"], "GB", ""),
        ("Memory to use on a device", memory["usable"], "GB", ""),
        ("Energy per inference", document["energy_wh"], "Wh", ""),
        ("Carbon per inference", document["carbon_g"], "g CO2", ""),
    ]  # fmt: skip
    bands = document["bands"]
    known = [
        {
            "name": name, "value": value, "unit": unit,
            # In the unit of the value: the currency, or per cent.
            "likely": _likely(bands[figure], rate if unit == currency else
                              1 / PERCENT if unit == "%" else 1.0) if figure else "",
        }
        for name, value, unit, figure in facts
        if value is not None
    ]  # fmt: skip
    _print_table({"name": "", "value": "", "unit": "", "likely": "likely"}, known)
    _print_lines([_behind(bands)])
    price = document["price"]
    if price["valid_from"]:
        _print_lines(
            [
                f"Price: {price['instance']}, {price['region']}, "
                f"{price['purchase'].replace('_', ' ')}, {_digits(price['usd_per_hour'])} USD/h, "
                f"of {price['valid_from']}. Source: {price['source']}."
            ]
        )
    _print_lines(f"Note: {note}" for note in result.notes)
    _print_lines([f"Link: {document['link']}"])


def _likely(band: Mapping[str, Any] | None, scale: float = 1.0) -> str:
    """A range of JSON for people."""
    from cpi_model.export import between

    if band is None or band["low"] is None:
        return "not measured"
    high = math.inf if band["high"] is None else band["high"] * scale
    return between(band["low"] * scale, high, lambda value: _digits(float(value)))


def _behind(bands: Mapping[str, Any]) -> str:
    """What the ranges rest on."""
    band = bands["throughput_per_s"]
    if band is None:
        return "Likely: unknown, no run like this was measured."
    others = "" if band["pairing_measured"] else ", none of this model, chip and engine together"
    return f"Likely: P10 to P90 of {band['rows']:,} measured runs{others}; eight of ten lie inside."


# export ------------------------------------------------------------------------------------------


@app.command()
def export(
    target: Annotated[
        Path, typer.Argument(metavar="FILE", help="Ends in .xlsx, .pdf, .pptx, .html, .csv, "
                             ".json or .yaml.", show_default=False),
    ],
    link: Link = None, file: File = None, assignments: Assignments = None,
    paper: Annotated[
        str, typer.Option("--paper", metavar="SIZE", help="a4 or letter, for what is printed.")
    ] = "a4",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write a scenario as a file: workbook, page, slide, table or scenario."""
    from cpi_model import links
    from cpi_model.export import files, report
    from cpi_model.studies.answer import answer

    kind, name = files.KINDS.get(target.suffix.lower().removeprefix(".")), links.shown(target.name)
    if kind is None:
        raise BadInput(f"{name} must end in one of .{', .'.join(files.KINDS)}.")
    size = next((each for each in report.PAPERS if each == paper), None)
    if size is None:
        raise BadInput(f"--paper is {links.shown(paper)}, allowed is {' or '.join(report.PAPERS)}.")
    if target.exists() and not force:
        raise BadInput(f"{name} is there already: give another name, or --force.")
    scenario, facts = _scenario(link, file, assignments), _facts()
    result = answer(scenario, facts)
    made = kind.make(report.of([result], facts, paper=size))
    try:
        target.write_bytes(made)
    except OSError as error:
        raise BadInput(f"{name} cannot be written: {error.strerror}.") from None
    if as_json:
        _print_json({"file": str(target), "bytes": len(made), "feasible": result.feasible,
                     "reasons": list(result.reasons)})  # fmt: skip
        return
    _print_lines([f"{target} written, {len(made):,} bytes."])
    if not result.feasible:
        _print_lines(["It says why this cannot work:", *(f"  {each}" for each in result.reasons)])


# advise ------------------------------------------------------------------------------------------


@app.command()
def advise(
    link: Link = None, file: File = None, assignments: Assignments = None, as_json: AsJson = False
) -> None:
    """The next best change: each single step that saves within limits, and three sentences."""
    from cpi_model import story
    from cpi_model.studies import advice
    from cpi_model.studies.answer import answer

    scenario, facts = _scenario(link, file, assignments), _facts()
    result = answer(scenario, facts)
    told = story.tell(result, facts)
    if as_json:
        found = advice.summary(told.advised) if told.advised else {}
        _print_json(
            {"feasible": result.feasible, "reasons": list(result.reasons),
             "sentences": list(told.sentences)} | found
        )  # fmt: skip
        return
    if told.advised is None:
        _print_refusal(result)
        return
    _print_lines([*told.sentences, ""])
    _print_advice(told.advised)


def _print_advice(found: Advised) -> None:
    from cpi_model.export import UNKNOWN as NOT_KNOWN
    from cpi_model.export import percent
    from cpi_model.story import PERIODS
    from cpi_model.units import MILLISECOND, PERCENT

    scenario = found.scenario
    columns = {
        "change": "change", "saves": "saves, %",
        "bill": f"{scenario.currency} a {scenario.period}", "chance": "really saves",
        "latency": "p95\nms", "quality": "quality kept", "where": "bought as", "mind": "mind",
    }  # fmt: skip
    rate = scenario.currency_per_usd * PERIODS[scenario.period]
    rows = [
        {
            "change": each.step.text, "saves": each.saved_share / PERCENT,
            "bill": each.saved_rate * rate,
            "chance": NOT_KNOWN if math.isnan(each.probability)
            else percent(round(each.probability, 2)),
            "latency": float(each.estimate.latency_p95) / MILLISECOND,
            "quality": "not measured" if each.new_unknown else percent(each.kept.known.median),
            "where": each.where, "mind": each.step.caveat,
        }
        for each in (*found.ranked, *found.unmeasured)
    ]  # fmt: skip
    if not rows:
        return
    _print_table(columns, rows, spare=("mind", "where", "latency"))
    best = (*found.ranked, *found.unmeasured)[0]
    changes = (
        f"--set {name}={'' if value is None else value}"
        for name, value in best.step.changes.items()
        if getattr(scenario, name) != value
    )
    _print_lines([f"The first: {' '.join(changes)}"])


# compress ----------------------------------------------------------------------------------------


@app.command()
def compress(
    link: Link = None, file: File = None, assignments: Assignments = None, as_json: AsJson = False
) -> None:
    """What each lever of compression saves, what it costs in quality, and when it pays."""
    from cpi_model.inputs import ImpossibleChoice
    from cpi_model.studies import compression

    scenario, facts = _scenario(link, file, assignments), _facts()
    try:
        document = compression.summary(scenario, facts)
    except ImpossibleChoice as impossible:
        raise BadInput(str(impossible)) from None
    if as_json:
        _print_json(document)
    else:
        _print_compression(scenario, document)


def _print_compression(scenario: Scenario, document: Mapping[str, Any]) -> None:
    from cpi_model.units import DAY, MILLION, MONTH, PERCENT

    rate = scenario.currency_per_usd
    basis = "fully loaded" if document["basis"] == "loaded" else "marginal"

    def million(value: float | None) -> float | None:
        return None if value is None else value * MILLION * rate

    def in_percent(value: float | None) -> float | None:
        return None if value is None else value / PERCENT

    levers = [
        row | {
            "cost": million(row["cost_per_inference_usd"]),
            "change": in_percent(row["change_share"]),
            "alone": in_percent(row["change_alone_share"]),
        }
        for row in document["levers"]
    ]  # fmt: skip
    _print_table(
        {
            "lever": "Lever added", "cost": f"{scenario.currency} per million, {basis}",
            "change": "change, %", "alone": "alone, %", "ttft_ms": "first token, ms",
            "tpot_ms": "per token, ms", "latency_p95_ms": "latency p95, ms",
            "throughput_per_s": "replica, 1/s", "devices": "devices",
        },
        levers, spare=("throughput_per_s", "latency_p95_ms", "ttft_ms", "tpot_ms"),
    )  # fmt: skip
    _print_lines(document["left_out"])

    def kept(quality: Mapping[str, Any] | None) -> str | None:
        if quality is None:
            return None
        low, middle, high = (f"{quality[end] / PERCENT:.1f}" for end in ("low", "median", "high"))
        blank = "; not measured: " + ", ".join(quality["not_measured"])
        return f"{middle} ({low} to {high}){blank if quality['not_measured'] else ''}"

    def measured(found: Mapping[str, Any] | None) -> str | None:
        if found is None:
            return None
        return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"

    precisions = [
        row | {
            "cost": million(row["cost_per_inference_usd"]), "kept": kept(row["quality"]),
            "measured": measured(row["measured_speedup"]),
        }
        for row in document["precisions"]
    ]  # fmt: skip
    _print_table(
        {
            "scheme": "Precision", "engine": "engine", "devices": "devices",
            "cost": f"{scenario.currency} per million", "speedup": "speed, estimated",
            "measured": "speed, measured", "kept": "quality kept, %",
        },
        precisions, spare=("measured", "engine"),
    )  # fmt: skip
    _print_lines([f"Quality kept with all levers, %: {kept(document['quality'])}"])
    paid = document["distillation"]
    if paid is not None:
        cost = (paid["data_usd"] + paid["training_usd"]) * rate
        days = paid["break_even_days"]
        when = "never" if days is None else f"after {_digits(days * DAY / MONTH)} months"
        _print_lines([
            f"The student costs {_digits(cost)} {scenario.currency} before it serves; paid back "
            f"{when}, {_digits(paid['break_even_inferences'])} inferences."
        ])  # fmt: skip


# best --------------------------------------------------------------------------------------------

MOST_RANKED = 200


@app.command()
def best(
    slo_ttft: Annotated[
        float | None, typer.Option("--slo-ttft", metavar="MS", help="Limit: first token.")
    ] = None,
    slo_tpot: Annotated[
        float | None, typer.Option("--slo-tpot", metavar="MS", help="Limit: each further token.")
    ] = None,
    slo_latency: Annotated[
        float | None, typer.Option("--slo-latency", metavar="MS", help="Limit: whole request.")
    ] = None,
    top: Annotated[
        int, typer.Option("--top", metavar="N", help="Pieces of hardware that are listed.")
    ] = 10,
    link: Link = None, file: File = None, assignments: Assignments = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Cheapest hardware for the workload within its limits, and how to run it there."""
    from cpi_model import links
    from cpi_model.inputs import ImpossibleChoice
    from cpi_model.studies import optimise
    from cpi_model.units import MILLION

    scenario, facts = _scenario(link, file, assignments), _facts()
    limits: dict[str, float | None] = {
        "slo_ttft_ms": slo_ttft, "slo_tpot_ms": slo_tpot, "slo_latency_ms": slo_latency,
    }  # fmt: skip
    given = {
        name: links.check(name, value) for name, value in limits.items() if value is not None
    }  # fmt: skip
    problems = [problem for _, problem in given.values() if problem]
    if not 1 <= top <= MOST_RANKED:
        problems.append(f"--top is {top}, allowed is 1 to {MOST_RANKED}.")
    if problems:
        _refuse(problems)
    scenario = scenario.model_copy(update={name: value for name, (value, _) in given.items()})
    try:
        found = optimise.search(scenario, facts)
    except ImpossibleChoice as impossible:
        raise BadInput(str(impossible)) from None
    if as_json:
        _print_json(optimise.summary(found, top))
    else:
        _print_best(scenario, optimise.summary(found, top), facts)
        if found.best is None:
            for each in optimise.loosened(scenario, facts):
                (change,) = (f"{name}={'' if v is None else v}" for name, v in each.changes.items())
                _print_lines([
                    f"  --set {change}: {each.best.choice.accelerator.name}, "
                    f"{_digits(each.best.cost * MILLION * scenario.currency_per_usd)} "
                    f"{scenario.currency} per million"
                ])  # fmt: skip


def _print_best(scenario: Scenario, document: Mapping[str, Any], facts: Catalog) -> None:
    from cpi_model.units import MILLION, PERCENT

    rate = scenario.currency_per_usd
    rows = [
        row | {
            "name": facts.accelerators[row["hardware"]].name,
            "cost": row["cost_per_inference_usd"] * MILLION * rate,
            "likely": _likely({"low": row["cost_low_usd"], "high": row["cost_high_usd"]},
                              MILLION * rate),
            "chance": None if row["probability_cheapest"] is None
            else row["probability_cheapest"] / PERCENT,
            "bought": f"{row['instance']}, {row['purchase'].replace('_', ' ')}",
            "split": _split(row),
            # Without tokens it is the whole latency.
            "ttft_ms": None if row["tpot_ms"] is None else row["ttft_ms"],
        }
        for row in document["ranked"]
    ]  # fmt: skip
    columns = {
        "name": "Hardware", "cost": f"{scenario.currency} per million", "likely": "likely",
        "chance": "cheapest, %", "bought": "instance", "scheme": "precision",
        "engine": "engine", "split": "devices", "concurrency": "at a time",
        "replicas": "replicas", "ttft_ms": "first token, ms", "tpot_ms": "per token, ms",
        "latency_p95_ms": "latency p95, ms", "limited_by": "limited by",
    }  # fmt: skip
    spare = ("limited_by", "latency_p95_ms", "tpot_ms", "ttft_ms", "replicas", "engine")
    if rows:
        _print_table(columns, rows, spare=spare)
    reasons: dict[str, int] = {}
    for counts in document["rejected"].values():
        for reason, count in counts.items():
            reasons[reason] = reasons.get(reason, 0) + count
    left_out = ", ".join(
        f"{reason} {count:,}" for reason, count in sorted(reasons.items(), key=lambda r: -r[1])
    )
    _print_lines([
        f"{document['hardware']} pieces of hardware meet all limits; "
        f"{document['considered']:,} configurations, {document['configurations']:,} estimated in "
        "full.",
        f"Left out: {left_out or 'none'}.",
        f"Without a known price: {len(document['without_price'])} pieces of hardware.",
    ])  # fmt: skip
    if not rows:
        _print_lines(
            ["Nothing meets all limits. What works, if anything, with one of them changed:"]
        )
    else:
        _print_lines([f"Link of the cheapest: {document['ranked'][0]['link']}"])


def _split(row: Mapping[str, Any]) -> str:
    """How a replica is spread over devices, in short."""
    ways = {"tp": "tensor_parallel", "pp": "pipeline_parallel", "dp": "data_parallel",
            "ep": "expert_parallel"}  # fmt: skip
    parts = [f"{short}{row[name]}" for short, name in ways.items() if row[name] > 1]
    return " ".join(parts) or "1"


# buy ---------------------------------------------------------------------------------------------


@app.command()
def buy(
    link: Link = None, file: File = None, assignments: Assignments = None, as_json: AsJson = False
) -> None:
    """What every way of paying costs, where they break even, and how much to commit."""
    from cpi_model.inputs import ImpossibleChoice
    from cpi_model.studies import buying
    from cpi_model.studies.answer import answer

    scenario, facts = _scenario(link, file, assignments), _facts()
    result = answer(scenario, facts)
    if not result.feasible:
        raise BadInput("This cannot work. " + " ".join(result.reasons))
    try:
        document = buying.summary(scenario, facts)
    except ImpossibleChoice as impossible:
        raise BadInput(str(impossible)) from None
    if as_json:
        _print_json(document)
    else:
        _print_buying(scenario, document)


def _print_buying(scenario: Scenario, document: Mapping[str, Any]) -> None:
    from cpi_model.studies.buying import TITLES
    from cpi_model.units import MILLION, PERCENT

    rate, currency = scenario.currency_per_usd, scenario.currency

    def money(value: float | None) -> float | None:
        return None if value is None else value * rate

    rows = [
        row | {
            "monthly": money(row["monthly_cost_usd"]),
            "million": money(row["cost_per_inference_usd"]) and
            money(row["cost_per_inference_usd"] * MILLION),
            "text": row["reason"] or row["what"],
            "age": next((line["age"] for line in row["assumptions"] if line["age"]), ""),
        }
        for row in document["ways"]
    ]  # fmt: skip
    _print_table(
        {
            "title": "Way to pay", "monthly": f"{currency} per month",
            "million": f"{currency} per million", "text": "what", "age": "price",
            "energy_wh": "Wh each", "carbon_g": "g CO2 each",
        },
        rows, spare=("age", "carbon_g", "energy_wh"),
    )  # fmt: skip
    _print_lines(["All fully loaded: idle time and what is around the hardware are in them."])
    for each in document["cheapest_changes"]:
        _print_lines([
            f"From {_digits(each['requests_per_s'])} requests/s on {TITLES[each['above']]} is the "
            f"cheapest, below it {TITLES[each['below']]}."
        ])  # fmt: skip
    mix = document["mix"]
    if mix is not None and mix["commitment"] and mix["committed_instances"]:
        _print_lines([
            f"Best mix: commit {_digits(mix['committed_instances'])} × {mix['instance']} for "
            f"{TITLES[mix['commitment']].lower()}; that covers "
            f"{_digits(mix['coverage'] / PERCENT)} % of the hours in use, and "
            f"{_digits(mix['unused_share'] / PERCENT)} % of it is not used."
        ])  # fmt: skip
    cash = document["cash"]
    if cash is not None:
        months = cash["payback_months"].get("on_demand")
        when = "never" if months is None else f"after {_digits(months)} months"
        _print_lines([
            f"Owning takes {_digits(money(cash['purchase_usd']))} {currency} at the start and is "
            f"paid back against on demand {when}."
        ])  # fmt: skip
    for row in document["ways"]:
        _print_lines([""] * bool(row["assumptions"]) + [
            f"{row['title']}: {line['what']} {line['value']}. {line['source']}"
            f"{', ' + line['as_of'] if line['as_of'] else ''}"
            f"{' (' + line['age'] + ')' if line['age'] else ''}"
            for line in row["assumptions"]
        ])  # fmt: skip
    _print_lines(["", f"Link: {document['link']}"])


# waste -------------------------------------------------------------------------------------------

MOST_LEFT_OUT = 20
MOST_FINDINGS = 40
"""Rows of these tables; --json has more."""


@app.command()
def waste(
    fleet: Annotated[
        Path | None,
        typer.Option("--fleet", metavar="FILE", help="A table of resources (CSV) instead."),
    ] = None,
    thresholds: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold", metavar="ID=NUMBER",
            help="Change a threshold of the rules for a fleet; may be given again.",
        ),
    ] = None,
    link: Link = None, file: File = None, assignments: Assignments = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """What is paid for nothing: by a scenario, or by a fleet of resources in a file."""
    if fleet is not None:
        if any(given is not None for given in (link, file, assignments)):
            raise BadInput("--fleet takes no scenario: give one or the other.")
        _waste_of_fleet(fleet, thresholds or (), as_json)
        return
    if thresholds:
        raise BadInput("--threshold is of the rules for a fleet: give --fleet as well.")
    from cpi_model.studies import waste as study
    from cpi_model.studies.answer import answer

    scenario, facts = _scenario(link, file, assignments), _facts()
    result = answer(scenario, facts)
    found = study.bridge(scenario, facts) if result.feasible else None
    if found is None:
        raise BadInput("This cannot work. " + " ".join(result.reasons))
    document = study.summary(found, facts)
    if as_json:
        _print_json(document)
    else:
        _print_waste(scenario, document)


def _print_waste(scenario: Scenario, document: Mapping[str, Any]) -> None:
    from cpi_model.units import MILLION, PERCENT

    rate, currency = scenario.currency_per_usd, scenario.currency
    whole = document["monthly_cost_usd"]

    def row(title: str, monthly: float, each: float, alone: float | None) -> dict[str, object]:
        return {
            "title": title, "monthly": monthly * rate, "million": each * MILLION * rate,
            "share": monthly / whole / PERCENT, "alone": None if alone is None else alone * rate,
        }  # fmt: skip

    rows = [
        row("Needed", document["perfect_monthly_cost_usd"],
            document["perfect_cost_per_inference_usd"], None),
        *(
            row(f"+ {each['title']}", each["monthly_usd"], each["per_inference_usd"],
                each["alone_monthly_usd"])
            for each in reversed(document["parts"])
        ),
        row("Paid", whole, document["cost_per_inference_usd"], None),
    ]  # fmt: skip
    _print_table(
        {
            "title": "Fully loaded", "monthly": f"{currency} per month",
            "million": f"{currency} per million", "share": "%", "alone": "alone, per month",
        },
        rows,
    )  # fmt: skip
    _print_lines([
        "Kinds are switched off from the bottom up, so that nothing counts twice; alone: as the "
        "only one.", "",
    ])  # fmt: skip
    for each in document["findings"]:
        _print_lines([
            f"{each['title']}, {_digits(each['monthly_usd'] * rate)} {currency} per month, "
            f"confidence {each['confidence']}: {each['evidence']}",
            f"  {each['advice']} ({each['why']})",
        ])  # fmt: skip
        if each["changes"]:
            options = " ".join(f"--set {name}={value}" for name, value in each["changes"].items())
            saves = _digits(each["saves_monthly_usd"] * rate)
            _print_lines([f"      {options}   saves {saves} {currency} per month"])
    _print_lines(["", f"Link: {document['link']}"])


def _waste_of_fleet(path: Path, given: Sequence[str], as_json: bool) -> None:
    from cpi_model.studies import fleet as study
    from cpi_model.studies.validate import UnusableTable

    thresholds: dict[str, float] = {}
    problems = []
    for assignment in given:
        id, _, text = assignment.partition("=")
        try:
            thresholds[id.strip()] = float(text)
        except ValueError:
            problems.append(f"--threshold {assignment!r} is not ID=NUMBER.")
            continue
        problems += [problem] if (problem := study.refused(id.strip(), float(text))) else []
    if problems:
        _refuse(problems)
    try:
        fleet = study.checked(study.read_file(path), _facts())
    except UnusableTable as problem:
        raise BadInput(str(problem)) from None
    document = study.summary(fleet, thresholds)
    if as_json:
        _print_json(document)
    else:
        _print_fleet(document)


def _print_fleet(document: Mapping[str, Any]) -> None:
    from cpi_model.units import MILLION

    parts = ("total", "allocated", "idle", "unallocated", "saving")
    _print_table(
        {"part": "USD", "amount": ""},
        [
            {"part": name if name != "saving" else "findings, netted",
             "amount": f"{float(document[f'{name}_usd']):,.2f}"}
            for name in parts
        ],
    )  # fmt: skip
    if document["partial"]:
        _print_lines([
            f"Partial: of {document['rows_without_price']:,} rows nobody knows the price.", "",
        ])  # fmt: skip
    _print_table(
        {
            "model": "Model", "rows": "rows", "requests": "requests", "cost": "USD",
            "idle": "of it idle", "million": "USD per million", "saving": "findings, USD",
        },
        [
            row | {
                "model": row["model"] or "(none)",
                "million": None if row["each"] is None else row["each"] * MILLION,
            }
            for row in document["by"]["model"][:MOST_FINDINGS]
        ],
    )  # fmt: skip
    _print_table(
        {
            "row": "Row", "resource": "resource", "finding": "finding", "saving": "USD saved",
            "confidence": "confidence", "evidence": "evidence",
        },
        document["findings"][:MOST_FINDINGS], spare=("confidence",),
    )  # fmt: skip
    if (more := document["findings_in_all"] - MOST_FINDINGS) > 0:
        _print_lines([f"And {more:,} more findings."])
    left_out = document["rows_left_out"]
    _print_lines(
        f"Row {each['row']:,}{', ' + each['column'] if each['column'] else ''} left out: "
        f"{each['reason']}."
        for each in left_out[:MOST_LEFT_OUT]
    )
    if (more := document["rows_left_out_in_all"] - MOST_LEFT_OUT) > 0:
        _print_lines([f"And {more:,} more rows left out."])
    _print_lines(document["notes"])


# prices ------------------------------------------------------------------------------------------

MOST_CHANGES = 40
"""Rows of the table of changed prices; --json has all."""


@prices_app.command()
def refresh(
    source: Annotated[
        Path | None,
        typer.Option(
            "--source",
            metavar="FILE_OR_DIR",
            help="Catalog file of gpuhunt (aws.csv, ...), or a folder of them; else the network.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of snapshots; else beside the data."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read current prices through gpuhunt and keep them as a dated snapshot.

    The catalog takes the newest price of all snapshots beside the data, and of those in the
    folder that the variable CPI_PRICES names.
    """
    from datetime import date

    from cpi_model.catalog import SNAPSHOTS, data_folder
    from cpi_model.studies import prices as study
    from cpi_model.studies.answer import known

    facts, day = _facts(), date.today()
    try:
        found, skipped = study.matched(study.read(source), facts, day)
        compared = study.changes(found, facts)
        path = study.write(found, out or data_folder() / SNAPSHOTS, day)
    except study.CannotRefresh as problem:
        raise BadInput(str(problem)) from None
    rows: list[dict[str, Any]] = [
        {
            "instance": each.price.instance, "region": each.price.region,
            "purchase": each.price.purchase, "usd_per_hour": each.price.usd_per_hour,
            "before_usd_per_hour": each.before.usd_per_hour if each.before else None,
            "before_valid_from": each.before.valid_from.isoformat() if each.before else None,
            "change_share": known(each.share),
        }
        for each in compared
    ]  # fmt: skip
    changed = [row for row in rows if row["change_share"]]
    fresh = sum(row["before_usd_per_hour"] is None for row in rows)
    if as_json:
        _print_json({
            "file": str(path), "day": day.isoformat(), "prices": len(rows), "new": fresh,
            "changed": len(changed), "skipped": skipped, "rows": rows,
        })  # fmt: skip
        return
    changed.sort(key=lambda row: -abs(row["change_share"]))
    _print_table(
        {
            "instance": "Instance", "region": "region", "purchase": "option",
            "before_usd_per_hour": "USD/h before", "before_valid_from": "of",
            "usd_per_hour": "now", "change": "change",
        },
        [row | {"change": f"{row['change_share']:+.1%}"} for row in changed[:MOST_CHANGES]],
        significant=5,
    )  # fmt: skip
    _print_lines([
        f"{len(rows):,} prices of today: {len(changed):,} changed, {fresh:,} new, "
        f"{len(rows) - len(changed) - fresh:,} the same. {skipped:,} offers are of no instance of "
        "the catalog.",
        f"Written to {path}.",
    ])  # fmt: skip


# sweep -------------------------------------------------------------------------------------------


@app.command()
def sweep(
    over: Annotated[
        str,
        typer.Option(
            "--over",
            metavar="FIELD=RANGE",
            help="What to vary: concurrency=1:512:log, tensor_parallel=1:8, "
            "target_utilisation=0.3:0.9:7 or accelerator=l4,h100-sxm.",
        ),
    ],
    link: Link = None,
    file: File = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Cost and latency along one field of a scenario."""
    from cpi_model.scenario import FIELDS
    from cpi_model.studies import sweep as study

    try:
        field, values = study.parse_range(over)
        scenario = _scenario(link, file, assignments)
        found = study.over(scenario, field, values, _facts())
    except ValueError as error:
        raise BadInput(str(error)) from None
    rows = _sweep_rows(found)
    if as_json:
        from cpi_model import links

        link_text = "?" + links.encode(scenario)
        _print_json({"field": field, "values": values, "rows": rows, "link": link_text})
        return
    for row in rows:
        for name, figure in LIKELY_COLUMNS.items():
            row[name] = _likely(row["bands"][figure]) if row["feasible"] else ""
    info = FIELDS[field]
    columns = {
        "value": f"{info.title},\n{info.unit}" if info.unit else info.title,
        "cost_per_inference_usd": "USD/\ninference",
        "likely_cost": "likely\nUSD",
        "marginal_cost_per_inference_usd": "marginal\nUSD",
        "cost_per_million_output_tokens_usd": "USD/M\noutput tokens",
        "monthly_cost_usd": "USD/\nmonth",
        "throughput_per_s": "requests/s\nwhen full",
        "likely_throughput": "likely\nrequests/s",
        "ttft_ms": "TTFT\nms",
        "tpot_ms": "TPOT\nms",
        "latency_p95_ms": "p95\nms",
        "utilisation": "utilisation",
        "replicas": "replicas",
        "reason": "",
    }
    empty = [key for key in columns if all(row.get(key) in (None, "") for row in rows)]
    shown = {key: name for key, name in columns.items() if key not in empty}
    spare = (
        "likely_cost", "replicas", "likely_throughput", "throughput_per_s", "ttft_ms",
        "utilisation", "monthly_cost_usd", "tpot_ms",
        "cost_per_million_output_tokens_usd", "marginal_cost_per_inference_usd",
    )  # fmt: skip
    _print_table(shown, rows, spare=spare)


LIKELY_COLUMNS = {
    "likely_cost": "cost_per_inference_usd", "likely_throughput": "throughput_per_s",
}  # fmt: skip
"""Columns of ranges in the table, and the figures that they belong to."""


def _sweep_rows(found: Sweep) -> list[dict[str, Any]]:
    """One row a value, with the figures of ``estimate`` and why a value does not work."""
    from cpi_model.studies.answer import RANGES, figures, known
    from cpi_model.studies.sweep import at, reason_at

    def band(name: str, unit: float, index: int) -> dict[str, float | None] | None:
        low, high = (known(end[index] / unit) for end in found.likely[name])
        return None if low is None or high == 0.0 else {"low": low, "high": high}

    return [
        {"value": value, "feasible": bool(each.feasible), "reason": reason_at(found, index)}
        | figures(each)
        | {"bands": {shown: band(*figure, index) for shown, figure in RANGES.items()}}
        for index, value in enumerate(found.values)
        for each in [at(found, index)]
    ]


# batch -------------------------------------------------------------------------------------------


@app.command()
def sensitivity(
    link: Link = None, file: File = None, assignments: Assignments = None, as_json: AsJson = False
) -> None:
    """What moves the cost of an inference most: every number a step down and a step up."""
    from cpi_model.studies import sensitivity

    scenario, facts = _scenario(link, file, assignments), _facts()
    try:
        found = sensitivity.tornado(scenario, facts)
    except ValueError as impossible:
        raise BadInput(str(impossible)) from None
    if as_json:
        _print_json(sensitivity.summary(found, scenario))
    else:
        _print_sensitivity(found, scenario)


def _print_sensitivity(found: Tornado, scenario: Scenario) -> None:
    from cpi_model.export import setting
    from cpi_model.units import MILLION, PERCENT

    rate = scenario.currency_per_usd * MILLION
    basis = "fully loaded" if scenario.cost_basis == "loaded" else "marginal"
    cost = f"{_digits(found.cost * rate)} {scenario.currency}"
    _print_lines(
        [f"{cost} per million inferences, {basis}. One field changed, all else as is:", ""]
    )

    def change(end: End | None) -> float | None:
        return None if end is None else (end.cost / found.cost - 1.0) / PERCENT

    columns = {
        "field": "field", "value": "now", "low": "down to", "less": "cost, %", "high": "up to",
        "more": "cost, %", "span": f"between, {scenario.currency} per million",
    }  # fmt: skip
    rows = [
        {
            "field": bar.title, "value": setting(bar.info, bar.value),
            "low": setting(bar.info, bar.low.value) if bar.low else None, "less": change(bar.low),
            "high": setting(bar.info, bar.high.value) if bar.high else None,
            "more": change(bar.high), "span": bar.span * rate,
        }
        for bar in found.strongest
    ]  # fmt: skip
    _print_table(columns, rows, spare=("value", "span"))
    _print_lines(
        f"Left out: {bar.title} {setting(bar.info, end.value)}. {end.reason}"
        for bar, end in found.impossible
    )
    _print_lines([f"Steps of {scenario.swing:.0%} of a number: --set swing=0.1 for others."])


@app.command()
def compare(
    scenarios: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C D]",
            help="Links, files, or changes of the first: 'scheme=fp8 concurrency=64'. One link may "
            "hold a whole comparison; 'default' is the scenario that the app opens with.",
        ),
    ],
    assignments: Assignments = None,
    fair: Annotated[
        bool, typer.Option("--fair", help="Share out evenly what changes do together (Shapley).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Up to four scenarios side by side: what differs, what it comes to, why, and how sure."""
    from cpi_model.studies import compare

    named, facts = _compared(scenarios, assignments), _facts()
    found = compare.answered(named, next(iter(named.values())).scenario, facts)
    try:
        document = compare.document(found, facts, fair)
    except ValueError as problem:
        raise BadInput(str(problem)) from None
    if as_json:
        _print_json(document)
    else:
        _print_comparison(found, document, facts)


def _compared(given: Sequence[str], assignments: Sequence[str] | None) -> dict[str, Named]:
    """What is compared, by letter, of what stands on the command line."""
    from cpi_model import links
    from cpi_model.links import LETTERS, Named
    from cpi_model.scenario import Scenario
    from cpi_model.studies.answer import unknown_names

    if len(given) == 1:
        named, problems = links.decode_comparison(given[0])
        if problems:
            _refuse(problems)
    else:
        if len(given) > len(LETTERS):
            raise BadInput(f"{len(given)} scenarios, at most {len(LETTERS)} are compared.")
        named, base = {}, Scenario()
        for letter, text in zip(LETTERS, given, strict=False):
            words = text.replace(",", " ").split()
            if text == "default":
                named[letter] = Named("", Scenario())
            elif all("=" in word for word in words) and not set("?&") & set(text):
                name = text if len(text) <= links.LONGEST_NAME else ""
                changed = base.model_copy(update=_checked(words))
                named[letter] = Named(links.plain_name(name), changed)
            elif Path(text).suffix.lower() in links.KINDS:
                name = links.plain_name(Path(text).stem)
                named[letter] = Named(name, _scenario(None, Path(text), None))
            else:
                named[letter] = Named("", _scenario(text, None, None))
            base = named[LETTERS[0]].scenario
    if len(named) < 2:
        raise BadInput("Name at least two scenarios, or a link that compares some.")
    changes = _checked(assignments or ())
    named = {
        letter: Named(each.name, each.scenario.model_copy(update=changes))
        for letter, each in named.items()
    }
    for each in named.values():
        if unknown := unknown_names(each.scenario, _facts()):
            _refuse(unknown)
    return named


def _print_comparison(
    found: Sequence[Compared], document: Mapping[str, Any], facts: Catalog
) -> None:
    from cpi_model.export import amount, change, percent, setting
    from cpi_model.studies import compare
    from cpi_model.units import MILLION

    first, scenario = found[0], found[0].scenario
    heads = {each.letter: each.label for each in found}
    for each in found:
        _print_lines(f"{each.letter} cannot work. {reason}" for reason in each.answer.reasons)
    matter, _ = compare.differences([each.scenario for each in found], facts)
    rows = [
        {"name": each.info.title}
        | {
            letter: setting(each.info, value)
            for letter, value in zip(heads, each.values, strict=True)
        }
        for each in matter
    ]
    _print_table({"name": "What is different"} | heads, rows)
    columns = {"name": f"Results, {scenario.currency}"}
    for letter, label in heads.items():
        columns[letter] = label
        if letter != first.letter:
            columns[f"{letter}-"] = f"against {first.letter}"
    rows = []
    for figure in compare.FIGURES:
        row = {"name": figure.title}
        for each in found:
            value = each.figure(figure)
            row[each.letter] = UNKNOWN
            if not math.isnan(value):
                row[each.letter] = amount(figure.kind, value, scenario)
            before = first.figure(figure)
            if before and not math.isnan(value / before):
                row[f"{each.letter}-"] = change(value / before - 1.0)
        rows.append(row)
    _print_table(columns, rows)
    rate = scenario.currency_per_usd * MILLION
    for against in document["against_first"]:
        way, letter = against["bridge"], against["letter"]
        if way is None:
            continue
        rows = [
            {"name": first.letter, "usd": way["start_usd"] * rate},
            *(
                {"name": " + ".join(part["changes"]), "usd": part["change_usd"] * rate}
                for part in way["parts"]
            ),
            {"name": letter, "usd": way["end_usd"] * rate},
        ]
        title = f"From {first.letter} to {letter}"
        _print_table({"name": title, "usd": f"{scenario.currency} per million"}, rows, 4)
        if (likely := against["probability_cheaper"]) is not None:
            _print_lines(
                [f"{letter} is cheaper than {first.letter} in {percent(likely)} of cases.", ""]
            )
    _print_lines([document["link"]])


@app.command()
def batch(
    link: Link = None, file: File = None, assignments: Assignments = None, as_json: AsJson = False
) -> None:
    """Where on the throughput-latency curve to run: the knee, the limits, percentiles, modes."""
    from cpi_model.studies import batching
    from cpi_model.studies.answer import answer

    scenario = _scenario(link, file, assignments)
    result = answer(scenario, _facts())
    document = batching.summary(result, _facts())
    if as_json:
        _print_json(document)
    elif result.feasible:
        _print_batching(scenario, document)
    else:
        _print_refusal(result)


def _print_batching(scenario: Scenario, document: Mapping[str, Any]) -> None:
    from cpi_model.units import MILLION, PERCENT

    rate = scenario.currency_per_usd

    def million(value: float | None) -> float | None:
        return None if value is None else value * MILLION * rate

    tokens = document["chosen"]["tpot_ms"] is not None
    of_tokens = {"ttft_ms": "first token\nms", "tpot_ms": "per token\nms"} if tokens else {}
    figures = {"throughput_per_s": "replica\n1/s"} | of_tokens | {
        "latency_p95_ms": "latency p95\nms",
        "cost": f"{scenario.currency}\nper million", "good": "in limits\n%",
    }  # fmt: skip

    def shown(row: Mapping[str, Any]) -> dict[str, Any]:
        good = row.get("good_share")
        return dict(row) | {
            "cost": million(row.get("cost_per_inference_usd")),
            "good": None if good is None else good / PERCENT,
        }

    within = document["within_limits"]
    places = {"chosen": document["chosen"], "knee": document["knee"]} | {
        f"most with {share} in limits": place for share, place in within.items()
    }
    rows = [{"place": name} | shown(place or {}) for name, place in places.items()]
    _print_table({"place": "Requests together", "concurrency": ""} | figures, rows)
    if within["p95"] is not None:
        what = {"memory": "memory", "range": "the range of the field"}.get(
            document["held_by"], f"the limit on {document['held_by']}"
        )
        _print_lines([f"What ends the range within the limits: {what}."])
    for each in document["limits"]:
        extra = million(each["tighter_costs_usd"])
        _print_lines([
            f"{each['limit']} within {_digits(each['limit_ms'])} ms: "
            f"{_digits(each['tighter_ms'])} ms tighter "
            + ("cannot be kept." if extra is None
               else f"costs {_digits(extra)} {scenario.currency} per million more.")
        ])  # fmt: skip
    times = {"wait_ms": "wait for a place", "latency_ms": "latency"}
    if tokens:
        times |= {"ttft_ms": "first token", "tpot_ms": "per token"}
    rows = [
        {
            "load": f"{name}, {_digits(found[method]['requests_per_s'])}/s",
            "method": method.replace("_", " "), "time": words,
        } | found[method][time]
        for name, found in document["under_load"].items()
        for method in ("simulation", "closed_form")
        if found[method] is not None
        for time, words in times.items()
    ]  # fmt: skip
    print()
    _print_table(
        {
            "load": "Load of a replica", "method": "by", "time": "ms", "mean": "mean",
            "p50": "p50", "p95": "p95", "p99": "p99",
        },
        rows,
    )  # fmt: skip
    rows = [
        shown(each) | {
            "mode": each["mode"] + (" (chosen)" if each["chosen"] else ""),
            "most": each["within_limits"] and each["within_limits"]["concurrency"],
        }
        for each in document["modes"]
    ]  # fmt: skip
    pause = {"longest_gap_ms": "longest pause\nms"} if tokens else {}
    _print_table(
        {"mode": "Way of batching"} | figures | pause | {"most": "most in\nlimits"}, rows,
        spare=("good", "ttft_ms", "longest_gap_ms"),
    )  # fmt: skip


# validate ----------------------------------------------------------------------------------------


@app.command()
def traffic(
    trace: Annotated[
        str | None, typer.Option("--trace", metavar="ID", help="A recorded trace of the catalog.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="CSV", help="Counts over time, or times of requests."),
    ] = None,
    link: Link = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Traffic over time: how peaked and how bursty it is, of a scenario, a trace or a file."""
    from cpi_model.catalog import UnknownId
    from cpi_model.studies import recordings, traces

    if (trace is not None) + (file is not None) + (link is not None or bool(assignments)) > 1:
        raise BadInput("Give one of --trace, --file and a scenario (--link, --set).")
    notes: tuple[str, ...] = ()
    if file is not None:
        recording = recordings.read_file(file)
        if recording.trace is None:
            _refuse(recording.problems)
        found, notes = recording.trace, recording.notes
    elif trace is not None:
        try:
            found = traces.recorded(_facts().trace(trace))
        except UnknownId as error:
            raise BadInput(str(error)) from None
    else:
        scenario = _scenario(link, None, assignments)
        found = traces.of(scenario, _facts()).scaled(scenario.requests_per_s)
    document = traces.document(found) | {"notes": list(notes)}
    if as_json:
        _print_json(document)
    else:
        _print_traffic(document)


TRAFFIC_ROWS = {
    "requests": "Requests", "mean": "Mean, 1/s", "peak": "Busiest step, 1/s",
    "peak_to_mean": "Busiest step over mean",
    "mean_to_peak": "Best utilisation, sized for that step",
    "mean_to_p95": "Best utilisation, sized for 95 % of the time",
    "lowest_to_mean": "Quietest step over mean", "cv": "Spread of the steps (CV)",
    "dispersion": "Variance over mean of counts (1 for independent users)",
    "weekend_to_weekday": "Weekend over weekday", "daily_swing": "Daily swing over mean",
    "peak_hour": "Hour of its top, UTC", "input_tokens": "Input tokens of a request",
    "output_tokens": "Output tokens of a request",
}  # fmt: skip


def _print_traffic(document: Mapping[str, Any]) -> None:
    figures = document["statistics"] | {"requests": round(document["statistics"]["requests"])}
    rows = [
        {"what": what, "value": figures[name]}
        for name, what in TRAFFIC_ROWS.items()
        if figures[name] is not None
    ]
    gaps = f", {figures['gaps']:,} missing" if figures["gaps"] else ""
    _print_lines([
        f"{document['name']}: {figures['steps']:,} steps of {_digits(figures['step_s'])} s{gaps}",
        *([f"Source: {document['source']}"] if document["source"] else []),
        *document["notes"],
        "",
    ])  # fmt: skip
    _print_table({"what": "", "value": ""}, rows)
    settings = " ".join(f"--set {name}={value:g}" for name, value in document["implied"].items())
    _print_lines([f"The same for a scenario: {settings}"])


@app.command()
def simulate(
    policy: Annotated[
        str,
        typer.Option(
            "--policy", metavar="NAME",
            help="static, hpa, keda, kpa, tracking, schedule, predictive or serverless; or all.",
        ),
    ] = "",
    days: Annotated[
        float | None,
        typer.Option(
            "--days", min=0.01, max=366,
            help="Days of traffic; the whole weeks of a trace, at most four, without it.",
        ),
    ] = None,
    trace: Annotated[
        str | None, typer.Option("--trace", metavar="ID", help="A recorded trace of the catalog.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Request by request, for percentiles.")
    ] = False,
    link: Link = None,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--file", metavar="FILE",
            help="Scenario as .yaml or .json, traffic as .csv; may be given again.",
        ),
    ] = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """What an autoscaler makes of the traffic: cost, waste, waits and what is dropped."""
    from cpi_model.catalog import UnknownId
    from cpi_model.studies import recordings, scaling, traces
    from cpi_model.studies import traffic as study
    from cpi_model.studies.answer import answer

    tables = [file for file in files or () if file.suffix.lower() == ".csv"]
    others = [file for file in files or () if file not in tables]
    if len(others) > 1 or len(tables) + (trace is not None) > 1:
        raise BadInput("Give one scenario, and one of --trace and a .csv of traffic.")
    if policy and policy not in (*study.POLICIES, "all"):
        raise BadInput(f"--policy is one of {', '.join(study.POLICIES)} and all.")
    scenario = _scenario(link, others[0] if others else None, assignments)
    notes: tuple[str, ...] = ()
    try:
        if tables:
            recording = recordings.read_file(tables[0])
            if recording.trace is None:
                _refuse(recording.problems)
            found, notes = recording.trace, recording.notes
        elif trace is not None:
            found = traces.recorded(_facts().trace(trace))
        else:
            found = traces.of(scenario, _facts(), math.ceil((days or 7.0) / 7.0))
        demand = study.demand_of(
            found, scenario.requests_per_s, days or scaling.days(found), scenario.arrival_cv,
            scenario.traffic_seed,
        )  # fmt: skip
        fleet = study.fleet(answer(scenario, _facts()), _facts())
        if policy == "all":
            runs = study.search(fleet, demand)
        else:
            runs = (_simulated(fleet, demand, policy, exact, as_json),)
    except (UnknownId, study.NotSimulated) as problem:
        raise BadInput(str(problem)) from None
    best = study.cheapest(runs, scenario.slo_share)
    if as_json:
        documents = [study.document(run) for run in runs]
        for each, mark in zip(documents, study.pareto(runs), strict=True):
            each["pareto"] = mark
        place = None if best is None else runs.index(best)
        _print_json({"runs": documents, "cheapest_within_limits": place, "notes": list(notes)})
        return
    _print_lines(notes)
    _print_runs(runs, scenario)
    if len(runs) == 1:
        _print_run(runs[0], scenario)
    elif best is None:
        _print_lines(["None has enough requests within the limits."])
    else:
        _print_lines(
            [f"The cheapest within the limits: {study.TITLES[best.policy]} at {best.target:g}."]
        )


def _simulated(fleet: Fleet, demand: Demand, policy: str, exact: bool, quiet: bool) -> Run:
    """One run, with a bar where it is followed request by request on a terminal."""
    from typing import cast

    from cpi_model.studies import traffic as study

    chosen = cast("study.Policy", policy) if policy else None
    if not exact or quiet or not sys.stderr.isatty():
        return study.simulate(fleet, demand, chosen, exact=exact)
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Requests", total=1.0)
        return study.simulate(
            fleet, demand, chosen, exact=True,
            progress=lambda done: bar.update(task, completed=done),
        )  # fmt: skip


def _print_runs(runs: Sequence[Run], scenario: Scenario) -> None:
    from cpi_model.studies.traffic import TITLES, pareto
    from cpi_model.units import MILLION, PERCENT

    rate = scenario.currency_per_usd
    rows = [
        {
            "policy": TITLES[run.policy], "target": run.target,
            "cost": run.cost_per_inference * MILLION * rate,
            "missed": run.missed / PERCENT, "dropped": run.dropped / PERCENT,
            "p95": run.latency.p95, "hours": run.billed_hours, "over": run.over_hours,
            "under": run.under_hours, "starts": run.cold_starts,
            "used": run.utilisation / PERCENT, "best": "*" if mark and len(runs) > 1 else "",
        }
        for run, mark in zip(runs, pareto(runs), strict=True)
    ]  # fmt: skip
    columns = {
        "policy": "Autoscaler", "target": "target", "cost": f"{scenario.currency}\nper million",
        "missed": "beyond\nlimits %", "dropped": "dropped\n%", "p95": "latency\np95 s",
        "hours": "replica\nhours", "over": "too many", "under": "too few",
        "starts": "cold\nstarts", "used": "used\n%",
    }  # fmt: skip
    if len(runs) > 1:
        columns["best"] = "*"
    _print_table(columns, rows, spare=("starts", "used", "dropped"))
    if len(runs) > 1:
        _print_lines(["* no other is cheaper and within the limits more often."])


PAID_FOR = {
    "work": "work", "headroom": "idle, but needed for the limits",
    "over_provisioning": "idle beyond the need", "cold_starts": "cold starts",
    "draining": "finishing before a stop", "spare": "spare replicas",
    "rest": "what needs no replica", "drops": "dropped requests",
}  # fmt: skip


def _print_run(run: Run, scenario: Scenario) -> None:
    from cpi_model.units import MILLION

    rate = scenario.currency_per_usd
    rows: list[dict[str, object]] = [
        {"part": words, "cost": run.parts[name] * MILLION * rate}
        for name, words in PAID_FOR.items()
    ]
    rows.append({"part": "total", "cost": run.cost_per_inference * MILLION * rate})
    _print_table({"part": "Paid for", "cost": f"{scenario.currency} per million"}, rows)
    times = {"latency, s": run.latency, "first token, s": run.ttft}
    rows = [dict(time._asdict()) | {"time": name} for name, time in times.items()]
    _print_table({"time": "", "mean": "mean", "p50": "p50", "p95": "p95", "p99": "p99"}, rows)
    if run.method == "fluid":
        _print_lines(["Means of the traffic, for planning; --exact follows every request."])


@app.command()
def validate(
    points: Annotated[
        Path | None,
        typer.Argument(
            metavar="POINTS",
            help="A table with one measured run a row, or the JSON of a benchmark tool.",
        ),
    ] = None,
    compression: Annotated[
        bool,
        typer.Option(
            "--evidence", help="Compare measured effects of quantization instead of a table."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the predictions to a CSV file."),
    ] = None,
    curves: Annotated[
        bool,
        typer.Option(
            "--curves", help="How well whole curves over batch size or concurrency are predicted."
        ),
    ] = False,
    link: Link = None,
    file: File = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Compare estimates with measured runs.

    Reports of vllm bench serve, AIPerf, GenAI-Perf and guidellm (JSON) do not say on what was
    measured: say it with --set accelerator=h100-sxm and the like.
    """
    from cpi_model.studies import validate as study
    from cpi_model.studies.answer import known

    if compression:
        if curves or any(given is not None for given in (points, out, link, file, assignments)):
            raise BadInput("--evidence compares what comes with the package: give only --json.")
        _validate_evidence(as_json)
        return
    if points is None:
        raise BadInput("Give a table of measured runs, or --evidence.")
    notes: Sequence[str] = ()
    table: Sequence[Mapping[str, str]]
    try:
        if points.suffix.lower() == ".json":
            from cpi_model.studies import uploads

            scenario = _scenario(link, file, assignments)
            upload = uploads.read_file(points, scenario, _facts())
            table, notes = upload.rows, upload.notes
        elif link is not None or file is not None or assignments:
            raise BadInput("A table says on what it was measured: give no scenario with it.")
        else:
            table = study.read_table(points)
        found = study.validate(table, _facts())
        if out is not None:
            study.write_predictions(out, found.predictions)
    except study.UnusableTable as problem:
        raise BadInput(str(problem)) from None
    if curves:
        _print_curves(table, as_json)
        return
    answered = sum(not each.reason for each in found.predictions)
    rows = [
        {
            "model_class": each.model_class, "scenario": each.scenario, "measure": each.measure,
            "rows": each.rows, "coverage": each.answered / each.rows,
            "median_error": known(each.median), "mean_error": known(each.mean),
            "p90_error": known(each.p90),
        }
        for each in found.summaries
    ]  # fmt: skip
    if as_json:
        _print_json({
            "rows": len(found.predictions), "answered": answered, "errors": rows,
            "unanswered": found.reasons, "inside_p10_p90": found.inside, "notes": notes,
        })  # fmt: skip
        return
    shares = ("coverage", "median_error", "mean_error", "p90_error")
    shown = [
        {name: f"{value:.1%}" if name in shares and value is not None else value
         for name, value in row.items()} for row in rows
    ]  # fmt: skip
    columns = {
        "model_class": "class", "scenario": "scenario", "measure": "measured", "rows": "rows",
        "coverage": "answered", "median_error": "median\nerror", "mean_error": "mean\nerror",
        "p90_error": "90th\npercentile",
    }  # fmt: skip
    _print_table(columns, shown, spare=("mean_error",))
    print(f"\n{answered:,} of {len(found.predictions):,} rows answered. Error: "
          "|measured/predicted - 1|.")  # fmt: skip
    for reason, count in sorted(found.reasons.items(), key=lambda item: -item[1]):
        print(f"{count:6,} not answered: {reason}")
    for name, share in found.inside.items():
        print(f"{share:6.1%} of {name} inside P10 to P90 of left-out runs")
    for note in notes:
        print(note)


def _print_curves(table: Sequence[Mapping[str, str]], as_json: bool) -> None:
    """Errors of whole curves; the share of best sizes that were found, and of their shape."""
    from dataclasses import asdict

    from cpi_model.studies.curves import FEWEST_POINTS, errors, measured_curves

    found = [asdict(each) for each in errors(measured_curves(table, _facts()))]
    if as_json:
        _print_json({"curves": found})
        return
    if not found:
        print(f"No curve of {FEWEST_POINTS} or more sizes is in the table.")
        return
    shares = ("best_found", "lost", "shape_error", "shape_error_p90")
    columns = {
        "model_class": "class", "mode": "runs", "curves": "curves", "points": "points",
        "best_found": "best size\nwithin 2 x", "lost": "lost at the\npredicted best",
        "shape_error": "error of shape\nmedian", "shape_error_p90": "90th\npercentile",
    }  # fmt: skip
    shown = [
        row | {name: f"{row[name]:.1%}" for name in shares} for row in found
    ]  # fmt: skip
    _print_table(columns, shown)
    print(
        "Throughput as a share of the most on its curve: |predicted/measured - 1|, the median "
        "along each."
    )


def _validate_evidence(as_json: bool) -> None:
    """Predicted against measured speedups of quantization, group by group."""
    from cpi_model.catalog import CatalogError
    from cpi_model.coefficients import coefficients
    from cpi_model.studies import effects

    try:
        found = effects.compare(facts=_facts())
    except CatalogError as error:
        raise BadInput(f"the evidence cannot be loaded: {error}") from None
    outside = coefficients().compression.met_left_out_share
    rows = [
        {
            "technique": each.technique, "baseline": each.baseline,
            "model_class": each.model_class, "hardware": each.hardware, "rows": each.rows,
            "measured": each.measured, "measured_least": each.measured_least,
            "measured_most": each.measured_most, "predicted": each.predicted,
            "predicted_least": each.predicted_least, "predicted_most": each.predicted_most,
            "error": each.error, "within_20_percent": each.met,
            "inside_measured_range": each.inside, "note": each.note,
        }
        for each in found.groups
    ]  # fmt: skip
    if as_json:
        _print_json({
            "groups": rows, "share_within_20_percent": found.share_met,
            "share_within_20_percent_left_out": outside, "left_out": found.left_out,
        })  # fmt: skip
        return
    columns = {
        "technique": "technique", "baseline": "over", "model_class": "class",
        "hardware": "hardware", "rows": "rows", "measured": "measured\nmedian",
        "measured_least": "least", "measured_most": "most", "predicted": "predicted\nmedian",
        "error": "error", "within_20_percent": "within\n20 %",
    }  # fmt: skip
    shown = [row | {"error": f"{row['error']:+.0%}"} for row in rows]
    _print_table(columns, shown, spare=("rows", "measured_most", "measured_least"))
    met = sum(each.met for each in found.groups)
    print(
        f"{met} of {len(found.groups)} groups within 20 % ({found.share_met:.0%}); {outside:.0%} "
        "where each was left out of the fit of these coefficients."
    )
    for each in found.groups:
        if each.note:
            name = f"{each.technique} over {each.baseline}, {each.model_class}, {each.hardware}"
            _print_lines([f"{name}: {each.note}"])
    for reason, count in sorted(found.left_out.items(), key=lambda item: -item[1]):
        print(f"{count:6,} rows not compared: {reason}")


# link --------------------------------------------------------------------------------------------


@app.command()
def link(
    link: Link = None,
    file: File = None,
    assignments: Assignments = None,
    decode: Annotated[
        bool, typer.Option("--decode", help="Show every field with its value and range.")
    ] = False,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the scenario as a file for --file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The link of a scenario; with --decode what is in it."""
    from cpi_model import links
    from cpi_model.scenario import FIELDS

    scenario = _scenario(link, file, assignments)
    if as_yaml:
        print(links.to_yaml(scenario, everything=decode), end="")
        return
    query = "?" + links.encode(scenario)
    if as_json:
        _print_json({"link": query, "scenario": links.to_document(scenario, everything=decode)})
        return
    if decode:
        rows: list[dict[str, object]] = [
            {
                "group": info.group,
                "field": name,
                "value": links.text_of(getattr(scenario, name)) or UNKNOWN,
                "unit": info.unit,
                "changed": "" if getattr(scenario, name) == info.default else "changed",
                "allowed": links.allowed(info),
            }
            for name, info in FIELDS.items()
        ]
        columns = {"group": "Group", "field": "Field", "value": "Value", "unit": "Unit"}
        _print_table(columns | {"changed": "", "allowed": "Allowed"}, rows)
    print(query)


# catalog -----------------------------------------------------------------------------------------


def _listing(
    rows: Iterable[dict[str, Any]],
    columns: Mapping[str, str],
    words: str,
    as_json: bool,
    spare: Sequence[str] = (),
) -> None:
    """Rows of the catalog that have all words in their texts."""
    wanted = words.casefold().split()
    found = []
    for row in rows:
        text = " ".join(str(value) for value in row.values() if isinstance(value, str)).casefold()
        if all(word in text for word in wanted):
            found.append(row)
    if as_json:
        _print_json(found)
        return
    if found:
        _print_table(columns, found, significant=6, spare=spare)
    print(f"{len(found):,} rows")


def _source(record: Mapping[str, Any]) -> dict[str, str]:
    """Source and date of a thing's figures: those of the oldest."""
    oldest = min(record["sources"], key=lambda source: str(source["accessed"]))
    return {"source": str(oldest["title"]), "as_of": str(oldest["accessed"])}


@catalog_app.command()
def accelerators(words: Filter = "", as_json: AsJson = False) -> None:
    """GPUs, TPUs, ASICs, CPUs and edge parts."""
    from cpi_model.catalog import offers

    facts = _facts()

    def rows() -> Iterable[dict[str, Any]]:
        for chip in facts.accelerators.values():
            record = chip.model_dump(mode="json")
            found = offers(facts, chip.id, "on_demand")
            yield (
                record
                | _source(record)
                | {
                    "bf16_tflops": chip.dense_tflops.get("bf16"),
                    "fp8_tflops": chip.dense_tflops.get("fp8"),
                    "cheapest_usd_per_hour": found[0].usd_per_device_hour if found else None,
                    "cheapest_instance": found[0].instance.id if found else None,
                }
            )

    columns = {
        "id": "Id", "name": "Name", "kind": "Kind", "generation": "Generation",
        "memory_gb": "GB", "memory_bandwidth_gb_per_s": "GB/s", "bf16_tflops": "bf16 TFLOP/s",
        "fp8_tflops": "fp8 TFLOP/s", "tdp_w": "W", "cheapest_usd_per_hour": "from USD/h",
        "as_of": "Read on",
    }  # fmt: skip
    spare = ("generation", "kind", "as_of", "name", "tdp_w", "fp8_tflops")
    _listing(rows(), columns, words, as_json, spare)


@catalog_app.command()
def instances(words: Filter = "", as_json: AsJson = False) -> None:
    """Instance types with their cheapest price of each purchase option."""
    from typing import get_args

    from cpi_model.catalog import price_on
    from cpi_model.schema import Purchase

    facts = _facts()

    def rows() -> Iterable[dict[str, Any]]:
        for instance in facts.instances.values():
            known = facts.prices_of.get(instance.id, ())
            prices = [price.model_dump(mode="json", exclude={"instance"}) for price in known]
            cheapest = {
                option: price.usd_per_hour
                if (price := price_on(facts, instance.id, option))
                else None
                for option in get_args(Purchase)
            }
            dates = {
                "priced_on": max((price.valid_from.isoformat() for price in known), default=None)
            }
            regions = {"regions": " ".join(sorted({price.region for price in known}))}
            yield instance.model_dump(mode="json") | cheapest | dates | regions | {"prices": prices}

    columns = {
        "id": "Id", "accelerator": "Hardware", "accelerator_count": "Devices", "vcpus": "vCPUs",
        "memory_gb": "RAM GB", "on_demand": "USD/h", "spot": "spot", "reserved_1y": "1 year",
        "reserved_3y": "3 years", "priced_on": "Price of",
    }  # fmt: skip
    spare = ("priced_on", "memory_gb", "reserved_1y", "reserved_3y", "vcpus")
    _listing(rows(), columns, words, as_json, spare)


@catalog_app.command()
def models(words: Filter = "", as_json: AsJson = False) -> None:
    """Models, with the parameters that follow from their architecture."""
    from cpi_model.inputs import parameters
    from cpi_model.units import BILLION

    facts = _facts()

    def rows() -> Iterable[dict[str, Any]]:
        for model in facts.models.values():
            record, counts = model.model_dump(mode="json"), parameters(model)
            shape = model.transformer
            yield (
                record
                | _source(record)
                | {
                    "derived_params_b": counts.total / BILLION,
                    "derived_active_params_b": counts.active / BILLION,
                    "max_context_tokens": shape.max_context_tokens if shape else None,
                }
            )

    columns = {
        "id": "Id", "name": "Name", "maker": "Maker", "model_class": "Class",
        "derived_params_b": "Billion parameters", "derived_active_params_b": "active",
        "max_context_tokens": "Context", "as_of": "Read on",
    }  # fmt: skip
    _listing(rows(), columns, words, as_json, ("as_of", "maker", "name"))


@catalog_app.command()
def apis(words: Filter = "", as_json: AsJson = False) -> None:
    """Hosted models by the token, USD per million."""
    columns = {
        "provider": "Provider", "api_model": "Name there", "model": "Model",
        "input_usd_per_mtok": "Input", "cached_input_usd_per_mtok": "Cached input",
        "output_usd_per_mtok": "Output", "valid_from": "From", "source": "Source",
    }  # fmt: skip
    rows = (price.model_dump(mode="json") for price in _facts().api_prices)
    _listing(rows, columns, words, as_json)


@catalog_app.command()
def traces(words: Filter = "", as_json: AsJson = False) -> None:
    """Recorded traffic, with licence and attribution."""
    columns = {
        "id": "Id", "name": "Name", "character": "Character", "start": "From, UTC",
        "step_s": "Step, s", "requests": "Requests", "licence": "Licence",
        "attribution": "Attribution",
    }  # fmt: skip

    def rows() -> Iterable[dict[str, Any]]:
        for trace in _facts().traffic.values():
            record = trace.model_dump(mode="json")
            yield record | _source(record) | {"requests": int(trace.totals.requests)}

    _listing(rows(), columns, words, as_json, ("attribution", "licence", "start", "character"))


@catalog_app.command()
def check(
    older_than: Annotated[
        int, typer.Option("--older-than", metavar="DAYS", min=0, max=36_500, help="Age in days.")
    ] = 180,
    words: Filter = "",
    as_json: AsJson = False,
) -> None:
    """What is missing, in conflict, older than an age, or assumed."""
    from dataclasses import asdict
    from datetime import date

    from cpi_model.catalog import CatalogError
    from cpi_model.catalog import check as findings
    from cpi_model.studies import evidence, measurements

    columns = {"what": "What", "file": "File", "id": "Id", "field": "Field", "text": "Finding"}
    facts = _facts()
    try:
        measured = measurements.load(facts=facts)
    except CatalogError as error:
        raise BadInput(f"the measured runs cannot be loaded: {error}") from None
    try:
        effects = evidence.load(facts=facts)
    except CatalogError as error:
        raise BadInput(f"the evidence cannot be loaded: {error}") from None
    everything = [
        *findings(facts, older_than, date.today()), *measurements.check(measured),
        *evidence.check(effects),
    ]  # fmt: skip
    found = (asdict(finding) for finding in everything)
    _listing(found, columns, words, as_json)


# library -----------------------------------------------------------------------------------------

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a saved scenario.")]
Number = Annotated[
    int | None, typer.Option("--revision", metavar="N", help="Which one; without it the last.")
]
Who = Annotated[
    str | None, typer.Option("--who", metavar="PERSON", help="Who; without it you, here.")
]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag; may be given again.")
]


@contextmanager
def _in_library() -> Iterator[Library]:
    """The library; what it refuses, or why it cannot be used, as bad input."""
    from cpi_model.library import Refused, Unavailable, library

    found = None
    try:
        found = library()
        yield found
    except Refused as problem:
        raise BadInput(str(problem)) from None
    except Unavailable as problem:
        where = f" It is {found.place}." if found is not None else ""
        raise BadInput(f"{problem}{where}") from None


def _me(who: str | None) -> str:
    from getpass import getuser

    if who is not None:
        return who
    try:
        return getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        return ""


def _saved(revision: Revision) -> dict[str, Any]:
    """A revision without its figures, for JSON and tables."""
    deleted = revision.deleted_at
    return {
        "name": revision.name, "revision": revision.number, "revisions": revision.revisions,
        "saved_at": revision.saved_at.isoformat(timespec="seconds"), "who": revision.who,
        "why": revision.why, "tags": list(revision.tags), "link": "?" + revision.priced.link,
        "catalog_date": revision.priced.catalog_date.isoformat(),
        "version": revision.priced.version,
        "deleted_at": None if deleted is None else deleted.isoformat(timespec="seconds"),
        "deleted_by": revision.deleted_by,
    }  # fmt: skip


@library_app.command("list")
def library_list(
    words: Filter = "",
    tags: Tags = None,
    deleted: Annotated[
        bool, typer.Option("--deleted", help="Those that were deleted, instead of the others.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Saved scenarios, the latest first."""
    with _in_library() as found:
        listed, count = found.listed(words, tags or (), deleted)
    if as_json:
        _print_json([_saved(each) for each in listed])
        return
    rows = [
        _saved(each) | {
            "tags": ", ".join(each.tags), "day": each.saved_at.date().isoformat(),
            "cost": each.priced.figures.get("cost_per_1m_inferences_usd"),
        }
        for each in listed
    ]  # fmt: skip
    columns = {
        "name": "Name", "cost": "USD per million", "day": "saved on", "who": "by",
        "tags": "tags", "revisions": "revisions", "why": "why",
    }  # fmt: skip
    if rows:
        _print_table(columns, rows, spare=("why", "revisions", "tags"))
    shown = f"{len(rows):,} of " if len(rows) < count else ""
    print(f"{shown}{count:,} scenario{'' if count == 1 else 's'}")


@library_app.command("save")
def library_save(
    name: Name,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="What it is for.")] = "",
    tags: Tags = None,
    who: Who = None,
    link: Link = None,
    file: File = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Save a scenario with its figures of today; under a known name it is a new revision."""
    from cpi_model.library import note
    from cpi_model.studies.answer import answer
    from cpi_model.studies.repricing import priced

    scenario = _scenario(link, file, assignments)
    with _in_library() as found:
        kept = note(name, _me(who), why, tags or ())
        saved = found.save(kept, priced(answer(scenario, _facts()), _facts()))
    if as_json:
        _print_json(_saved(saved))
    else:
        _print_lines([f"Saved: {saved.name}, revision {saved.number}."])


@library_app.command("show")
def library_show(name: Name, number: Number = None, as_json: AsJson = False) -> None:
    """One saved scenario: who, when, why, its link, its figures of then, and its history."""
    from cpi_model.studies.repricing import HEADLINE

    with _in_library() as found:
        revision, history = found.get(name, number), found.history(name)
    kept = {figure: revision.priced.figures.get(figure) for figure in HEADLINE}
    if as_json:
        _print_json(
            _saved(revision)
            | {"figures": kept, "price": revision.priced.price}
            | {"history": [_saved(each) for each in history]}
        )
        return
    _print_about(revision)
    rows: list[dict[str, Any]] = [
        {"figure": title, "value": kept[figure]}
        for figure, title in _headline_in_words().items() if kept[figure] is not None
    ]  # fmt: skip
    _print_table({"figure": "Figure of then", "value": ""}, rows)
    _print_table(
        {"revision": "Revision", "saved_at": "saved at", "who": "by", "why": "why"},
        [_saved(each) for each in history],
    )
    _print_lines([f"Link: ?{revision.priced.link}"])


def _print_about(revision: Revision) -> None:
    by = f" by {revision.who}" if revision.who else ""
    gone = revision.deleted_at
    lines = [
        f"{revision.name}, revision {revision.number} of {revision.revisions}",
        f"Saved on {revision.saved_at:%Y-%m-%d %H:%M} UTC{by}, prices of "
        f"{revision.priced.catalog_date.isoformat()}, version {revision.priced.version}",
        *([f"Tags: {', '.join(revision.tags)}"] if revision.tags else []),
        *([f"Deleted on {gone:%Y-%m-%d}"] if gone else []),
        *revision.why.splitlines(), "",
    ]  # fmt: skip
    _print_lines(lines)


def _headline_in_words() -> dict[str, str]:
    """Titles of the kept figures with their units."""
    from cpi_model.studies.repricing import HEADLINE

    units = {"_usd": ", USD", "_ms": ", ms", "_per_s": ", 1/s", "_wh": ", Wh", "_g": ", g CO2"}
    return {
        name: title + next((unit for end, unit in units.items() if name.endswith(end)), "")
        for name, title in HEADLINE.items()
    }


@library_app.command("delete")
def library_delete(
    name: Name,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Have a deleted one back.")] = False,
    who: Who = None,
) -> None:
    """Hide a saved scenario with its history; --undo brings it back."""
    with _in_library() as found:
        if undo:
            _print_lines([f"There again: {found.restore(name).name}."])
            return
        known = found.get(name)
        if not sure:
            if not sys.stdin.isatty():
                raise BadInput("Deleting asks first; say --yes where nobody can answer.")
            if not typer.confirm(f"Delete {known.name} with its history?"):
                _print_lines(["Nothing was deleted."])
                return
        found.delete(name, _me(who))
    _print_lines([f"Deleted: {known.name}. `cpi library delete --undo` has it back."])


@library_app.command("reprice")
def library_reprice(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One of them; without it all.")
    ] = None,
    number: Number = None,
    as_json: AsJson = False,
) -> None:
    """What saved scenarios come to today, beside their figures of then, and why."""
    from cpi_model.studies.repricing import reprice, why

    with _in_library() as found:
        if name is None and number is not None:
            raise BadInput("--revision is of one name: give it.")
        revisions = found.listed()[0] if name is None else [found.get(name, number)]
    today = [reprice(each, _facts()) for each in revisions]
    if as_json:
        documents = [_repriced(each) for each in today]
        _print_json(documents if name is None else documents[0])
        return
    if name is not None:
        _print_about(revisions[0])
        titles = _headline_in_words()
        rows = [
            {"figure": titles[each.figure], "then": _known(each.then), "now": _known(each.now),
             "change": _change(each.change)}
            for each in today[0].moved
            if math.isfinite(each.then) or math.isfinite(each.now)
        ]  # fmt: skip
        columns = {"figure": "Figure", "then": "then", "now": "today", "change": "change"}
        _print_table(columns, rows)
        _print_lines([*today[0].problems, why(today[0])])
        return
    rows = [
        {"name": each.revision.name, "day": each.revision.saved_at.date().isoformat(),
         "then": _known(cost.then), "now": _known(cost.now), "change": _change(cost.change)}
        for each in today for cost in [each.of("cost_per_1m_inferences_usd")]
    ]  # fmt: skip
    columns = {"name": "Name", "day": "saved on", "then": "USD per million then",
               "now": "today", "change": "change"}  # fmt: skip
    if rows:
        _print_table(columns, rows)
    print(f"{len(rows):,} scenario{'' if len(rows) == 1 else 's'}")


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _change(share: float) -> str:
    from cpi_model.studies.repricing import signed

    return signed(share) if math.isfinite(share) else UNKNOWN


def _repriced(found: Repriced) -> dict[str, Any]:
    from cpi_model.studies.repricing import why

    return _saved(found.revision) | {
        "feasible": found.answer.feasible,
        "figures": {
            each.figure: {
                "then": _known(each.then), "now": _known(each.now),
                "change_share": _known(each.change),
            }
            for each in found.moved
        },
        "causes": {
            each.id: {"cost_share": _known(each.cost), "speed_share": _known(each.speed)}
            for each in found.causes
        },
        "why_moved": why(found), "problems": list(found.problems),
    }  # fmt: skip


if __name__ == "__main__":
    main()
