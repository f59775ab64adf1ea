"""What a fleet costs by model, version and team, and what of it serves nobody.

A fleet is a table with a row for each resource: what it serves, on what, for how long, and what
was measured of it. Money is counted in whole millionths of a dollar, so sums are exact. Rows that
cannot be used are named, and the others are used; a price that nobody knows stays unknown. Idle
GPUs are judged by their GPUs and requests, never by the CPU, which serving hardly needs.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from cpi_model.catalog import Catalog, nearest, offers, price_on
from cpi_model.links import shown
from cpi_model.schema import Purchase
from cpi_model.studies.answer import known
from cpi_model.studies.uploads import LARGEST_FILE, content_of, text_of
from cpi_model.studies.validate import UnusableTable
from cpi_model.units import MILLION, PERCENT, Array

Whole = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]

MOST_ROWS = 200_000
MOST_COLUMNS = 100
LONGEST_TEXT = 200
DEAREST_ROW = 1e9
"""Cost that a row may have. [USD]"""
DEAREST_FLEET = 9e12
"""Cost that all rows may have: millionths of it are whole numbers of 64 bits. [USD]"""
FIRST_ROW = 2
"""Number of the first row below the header, as spreadsheets count."""
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    name: str
    help: str
    high: float | None = None
    """Largest number; None for text."""
    needed: bool = False
    note: str = ""
    """What to add where a number is refused."""

    @property
    def allowed(self) -> str:
        """What a cell may hold."""
        if self.high is None:
            return f"text of at most {LONGEST_TEXT} characters"
        return f"a number from 0 to {self.high:,.0f}"


COLUMNS = (
    Column("resource", "Name of the endpoint, deployment or machine.", needed=True),
    Column("model", "Model that it serves; empty: nobody's.", needed=True),
    Column("version", "Version of the model."),
    Column("team", "Who pays for it."),
    Column("hardware", "Chip or instance type of the catalog, such as h100-sxm or "
           "aws/p5.48xlarge.", needed=True),
    Column("replicas", "Mean number that ran.", 1e6, needed=True),
    Column("devices", "Chips of a replica. Empty: 1, or all of an instance.", 4096),
    Column("hours", "Hours of the period in which they ran.", 100_000, needed=True),
    Column("usd_per_hour", "Of one replica. Empty: the catalog's, on demand.", 100_000),
    Column("requests", "Answered in the period.", 1e15, needed=True),
    Column("gpu_mean_percent", "Mean GPU utilisation.", 100,
           note="; where every GPU counts 100, divide by their number"),
    Column("gpu_p95_percent", "95th percentile of the GPU utilisation.", 100,
           note="; where every GPU counts 100, divide by their number"),
    Column("running_requests", "Mean number of requests in progress.", 1e9),
    Column("min_replicas", "Minimum that is set for it.", 1e6),
    Column("commitment", "used or unused, where it is a commitment or a reservation."),
)  # fmt: skip
NUMBERS = tuple(column for column in COLUMNS if column.high is not None)
TEXTS = tuple(column for column in COLUMNS if column.high is None)
NAMES = tuple(column.name for column in COLUMNS)
NEEDED = tuple(column.name for column in COLUMNS if column.needed)
COMMITMENTS = ("", "used", "unused")
EXAMPLE = Path(__file__).parent / "example_fleet.csv"
SMALLER = "; leave out columns that are not needed, or split the table"
CPU_NOTE = (
    "{} is not used: whether a GPU is idle cannot be told from the CPU, which serving hardly needs."
)


# Reading ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Table:
    """Cells of a table as text, as they were read or entered."""

    name: str
    cells: pd.DataFrame
    """One column for each of :data:`NAMES`, numbered like the rows of the file."""
    problems: tuple[Problem, ...] = ()
    """Rows that have no cells."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """Why a row is not used."""

    row: int
    column: str
    reason: str


def read(name: str, content: bytes) -> Table:
    """Cells of a CSV file.

    Raises
    ------
    UnusableTable
        If the file is too large, packed, no text, no table or lacks a needed column.
    """
    name = shown(name).strip("'")
    text = text_of(name, content, LARGEST_FILE, "a fleet is read as CSV", SMALLER)
    header, numbers, flat, problems = _rows(name, text)
    columns = {
        column: pd.Series(flat[header.index(column) :: len(header)], dtype="str").str.strip()
        for column in NAMES if column in header
    }  # fmt: skip
    blank = pd.Series("", index=range(len(numbers)), dtype="str")
    cells = pd.DataFrame({column: columns.get(column, blank) for column in NAMES})
    cells.index = pd.Index(numbers, dtype="int64")
    strange = [shown(each) for each in header if each and each not in NAMES]
    notes = [CPU_NOTE.format(each) for each in strange if "cpu" in each.casefold()]
    if rest := [each for each in strange if "cpu" not in each.casefold()]:
        more = f" and {len(rest) - 5} more" if len(rest) > 5 else ""
        notes.append(f"Columns that are not used: {', '.join(rest[:5])}{more}.")
    return Table(name, cells, tuple(problems), tuple(notes[:10]))


def read_file(path: Path) -> Table:
    """The same for a file on this machine.

    Raises
    ------
    UnusableTable
        If it cannot be read or used.
    """
    return read(path.name, content_of(path, LARGEST_FILE))


def _rows(name: str, text: str) -> tuple[list[str], list[int], list[str], list[Problem]]:
    """Header, numbers of the rows, their cells one after another, and rows of another width."""
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] = []
    numbers: list[int] = []
    flat: list[str] = []  # a list for each row would be looked at by every garbage collection
    problems: list[Problem] = []
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            if not any(cells):
                continue
            if not header:
                header = _header(name, cells)
            elif len(numbers) + len(problems) == MOST_ROWS:
                raise UnusableTable(f"{name} has more than {MOST_ROWS:,} rows, which is the most.")
            elif len(cells) != len(header):
                reason = f"it has {len(cells):,} cells, the header {len(header)}"
                problems.append(Problem(number, "", reason))
            else:
                numbers.append(number)
                flat += cells
    except csv.Error:
        raise UnusableTable(
            f"{name} cannot be read as CSV in row {number + 1:,}: a cell is too long, or has signs "
            "that no text has."
        ) from None
    if not header:
        raise UnusableTable(f"{name} is empty; a fleet needs the columns {', '.join(NEEDED)}.")
    if not numbers:
        raise UnusableTable(f"{name} has no rows below its header that could be read.")
    return header, numbers, flat, problems


def _header(name: str, cells: list[str]) -> list[str]:
    if len(cells) > MOST_COLUMNS:
        raise UnusableTable(
            f"{name} has {len(cells):,} columns, {MOST_COLUMNS} are the most that are read."
        )
    header = ["_".join(cell.strip().casefold().split()) for cell in cells]
    if missing := [column for column in NEEDED if column not in header]:
        raise UnusableTable(
            f"{name} has no column {', '.join(missing)}; a fleet needs {', '.join(NEEDED)}."
        )
    if twice := [column for column in NAMES if header.count(column) > 1]:
        raise UnusableTable(f"{name} has the column {twice[0]} more than once.")
    return header


@lru_cache(maxsize=1)
def example() -> Table:
    """An invented fleet with something of everything."""
    return read("example fleet", EXAMPLE.read_bytes())


def template() -> pd.DataFrame:
    """Every column with what it holds, and a row to overwrite."""
    return example().cells.head(1).reset_index(drop=True)


# Costs --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fleet:
    """Rows that can be used, with their cost in millionths of a dollar."""

    name: str
    rows: pd.DataFrame
    """By the number of the row: texts, numbers (NaN where unknown), `price`, `priced_by`,
    `committed` (price with a commitment of a year) and `micros`, 0 where the price is unknown."""
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    def column(self, name: str) -> Array:
        """Numbers of a column."""
        numbers: Array = self.rows[name].to_numpy(dtype=float)
        return numbers

    @property
    def micros(self) -> Whole:
        """Cost of each row. [1e-6 USD]"""
        whole: Whole = self.rows["micros"].to_numpy(dtype=np.int64)
        return whole

    @property
    def unpriced(self) -> Marks:
        """Rows of which nobody knows the price."""
        return np.isnan(self.column("price"))


def checked(table: Table, catalog: Catalog) -> Fleet:
    """Rows of a table that can be used, with prices; what is wrong with the others.

    Raises
    ------
    UnusableTable
        If all rows together cost more than can be counted.
    """
    cells = table.cells
    problems: list[Problem] = list(table.problems)
    usable, row_numbers = np.ones(len(cells), dtype=bool), cells.index.to_numpy()
    numbers: dict[str, Array] = {}

    def refuse(bad: Marks, column: Column) -> None:
        for row in np.flatnonzero(bad & usable):
            cell = shown(cells[column.name].iloc[row])
            problems.append(Problem(
                int(row_numbers[row]), column.name,
                f"it is {cell}, allowed is {column.allowed}{column.note}"
            ))  # fmt: skip
        usable[bad] = False

    for column in TEXTS:
        refuse((cells[column.name].str.len() > LONGEST_TEXT).to_numpy(dtype=bool), column)
    for column in NUMBERS:
        text = cells[column.name]
        blank = (text == "").to_numpy(dtype=bool)
        value = pd.to_numeric(text.mask(text == "", None), errors="coerce").to_numpy(
            dtype=float, na_value=np.nan
        )
        with np.errstate(invalid="ignore"):
            inside = (value >= 0.0) & (value <= (column.high or 0.0))
        # What may be unknown has no number; without these there is no cost.
        may_be_blank = column.name not in ("replicas", "hours")
        refuse(~(inside | (blank & may_be_blank)), column)
        numbers[column.name] = np.where(inside, value, np.nan)
    for bad, name, reason in (
        ((cells["resource"] == "").to_numpy(), "resource", "it is empty, allowed is a name"),
        ((numbers["devices"] == 0.0), "devices", "it is 0, allowed is a number above it"),
        (
            ~cells["commitment"].str.casefold().isin(COMMITMENTS).to_numpy(), "commitment",
            "allowed is used, unused or nothing",
        ),
    ):  # fmt: skip
        for row in np.flatnonzero(bad & usable):
            problems.append(Problem(int(row_numbers[row]), name, reason))
        usable &= ~bad
    rows = cells.assign(**numbers, commitment=cells["commitment"].str.casefold())[usable]
    rows, notes = _priced(rows, catalog)
    cost = (rows["price"] * rows["replicas"] * rows["hours"]).fillna(0.0).to_numpy(dtype=float)
    dear = cost > DEAREST_ROW
    problems += [
        Problem(int(number), "usd_per_hour", f"it costs more than {DEAREST_ROW:,.0f} USD")
        for number in rows.index[dear]
    ]
    rows, cost = rows[~dear], cost[~dear]
    if float(cost.sum()) > DEAREST_FLEET:
        raise UnusableTable(f"{table.name} costs more than {DEAREST_FLEET:,.0f} USD.")
    rows = rows.assign(micros=np.rint(cost * MILLION).astype(np.int64))
    rows, doubts = _doubtful(rows)
    problems.sort(key=lambda problem: problem.row)
    return Fleet(table.name, rows, tuple(problems), (*table.notes, *notes, *doubts))


def _doubtful(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Utilisation that looks like shares is not used; rows that repeat another are named."""
    notes = []
    both = rows[["gpu_mean_percent", "gpu_p95_percent"]].to_numpy(dtype=float)
    some = both[both > 0.0]
    if len(some) > 1 and some.max() <= 1.0:
        rows = rows.assign(gpu_mean_percent=np.nan, gpu_p95_percent=np.nan)
        notes.append(
            "No GPU utilisation is above 1: these look like shares, per cent are expected, so none "
            "of them is used."
        )
    if twice := int(rows.duplicated().sum()):
        what = "row repeats an earlier one" if twice == 1 else "rows repeat earlier ones"
        notes.append(f"{twice:,} {what} in every cell; all of them count.")
    return rows, notes


@dataclass(frozen=True)
class _Rate:
    """What hardware costs on demand and committed for a year. [USD/h]"""

    on_demand: float
    committed: float
    devices: float
    """That the price is of."""


UNPRICED = _Rate(math.nan, math.nan, 1.0)


def _priced(rows: pd.DataFrame, catalog: Catalog) -> tuple[pd.DataFrame, list[str]]:
    """Price of one replica: the table's own, or the catalog's on demand."""
    place, names = pd.factorize(rows["hardware"].str.casefold())
    instances = {id.casefold(): id for id in catalog.instances}
    for id, instance in catalog.instances.items():
        instances.setdefault(instance.instance_type.casefold(), id)
    chips = {id.casefold(): id for id in catalog.accelerators}
    rates = [_rate(name, instances, chips, catalog) for name in names] or [UNPRICED]
    at = np.asarray(place, dtype=np.intp) if len(rows) else np.zeros(0, dtype=np.intp)
    devices = rows["devices"].to_numpy(dtype=float)
    of = np.array([rate.devices for rate in rates])[at]
    # A replica is one chip, or a whole instance, unless its devices are named.
    used = np.where(np.isnan(devices), 1.0, devices / of)
    listed, committed = (
        np.array([getattr(rate, name) for rate in rates])[at] * used
        for name in ("on_demand", "committed")
    )
    own = rows["usd_per_hour"].to_numpy(dtype=float)
    price = np.where(np.isnan(own), listed, own)
    rows = rows.assign(
        price=price, listed=listed, committed=committed,
        priced_by=np.where(np.isnan(price), "unknown", np.where(np.isnan(own), "catalog", "table")),
    )  # fmt: skip
    unknown = np.unique(at[np.isnan(price)])
    notes = [_no_price(names[each], instances, chips) for each in unknown[:MOST_UNKNOWN]]
    if len(unknown) > MOST_UNKNOWN:
        notes.append(f"{len(unknown) - MOST_UNKNOWN:,} more kinds of hardware have no known price.")
    return rows, notes


MOST_UNKNOWN = 5


def _rate(
    name: str, instances: Mapping[str, str], chips: Mapping[str, str], catalog: Catalog
) -> _Rate:
    if name in instances:
        id = instances[name]
        return _Rate(
            _hourly(catalog, id, "on_demand"), _hourly(catalog, id, "reserved_1y"),
            catalog.instances[id].accelerator_count,
        )  # fmt: skip
    if name in chips:
        found = [offers(catalog, chips[name], each)[:1] for each in ("on_demand", "reserved_1y")]
        cheapest = [each[0].usd_per_device_hour if each else math.nan for each in found]
        return _Rate(cheapest[0], cheapest[1], 1.0)
    return UNPRICED


def _hourly(catalog: Catalog, instance: str, purchase: Purchase) -> float:
    price = price_on(catalog, instance, purchase)
    return math.nan if price is None else price.usd_per_hour


def _no_price(name: str, instances: Mapping[str, str], chips: Mapping[str, str]) -> str:
    if name in instances or name in chips:
        return f"No price on demand of {shown(name)} is in the catalog: enter usd_per_hour."
    near = nearest(name[:LONGEST_TEXT], sorted({*instances.values(), *chips.values()}))
    hint = f"; did you mean {' or '.join(near)}?" if near else ": enter usd_per_hour."
    return f"There is no hardware {shown(name)} in the catalog{hint}"


# Who pays -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """All cost, to the cent: of models that worked, idle, and nobody's. Their sum is the total."""

    total: Decimal
    allocated: Decimal
    """Time in which replicas worked for a model."""
    idle: Decimal
    """Time in which replicas of a model did nothing; unused commitments."""
    unallocated: Decimal
    """Of rows that name no model."""
    requests: float
    rows: int
    unpriced: int
    """Rows without a known price: where there are any, all sums are partial."""
    unmeasured: Decimal
    """Cost of rows with requests whose GPU utilisation is not known: it counts as allocated."""

    @property
    def partial(self) -> bool:
        """Whether something is missing in the sums."""
        return self.unpriced > 0


def split(fleet: Fleet) -> tuple[Whole, Whole, Whole]:
    """Cost of each row that worked for a model, was idle, and is nobody's. [1e-6 USD]

    A GPU is idle while no program of it runs; a row that answered no request is idle in whole.
    """
    micros = fleet.micros
    named = (fleet.rows["model"] != "").to_numpy(dtype=bool)
    unused = (fleet.rows["commitment"] == "unused").to_numpy(dtype=bool)
    busy = np.nan_to_num(fleet.column("gpu_mean_percent") * PERCENT, nan=1.0)
    busy = np.where((fleet.column("requests") == 0.0) | unused, 0.0, busy)
    worked = np.rint(micros * busy).astype(np.int64)
    belongs = named | unused
    nobody = np.where(belongs, 0, micros)
    allocated = np.where(belongs, worked, 0)
    return allocated, micros - allocated - nobody, nobody


def costs(fleet: Fleet) -> Costs:
    """What the fleet costs and whose cost it is."""
    parts = [int(part.sum()) for part in split(fleet)]
    allocated, idle, unallocated = to_cents(parts)
    requests = fleet.column("requests")
    blind = np.isnan(fleet.column("gpu_mean_percent")) & ~(requests == 0.0)
    blind &= (fleet.rows["model"] != "").to_numpy(dtype=bool)
    return Costs(
        allocated + idle + unallocated, allocated, idle, unallocated,
        float(np.nansum(requests)), len(fleet.rows), int(fleet.unpriced.sum()),
        cents(int(fleet.micros[blind].sum())),
    )  # fmt: skip


def cents(micros: int) -> Decimal:
    """Millionths of a dollar as dollars, to the cent.

    >>> cents(1_005_000), cents(10_000_000_000)
    (Decimal('1.01'), Decimal('10000.00'))
    """
    return (Decimal(micros) / int(MILLION)).quantize(CENT, ROUND_HALF_UP)


def to_cents(parts: Iterable[int]) -> list[Decimal]:
    """Parts in millionths of a dollar, to the cent, so that they sum to their total to the cent.

    Every part is rounded down, and the largest remainders get the cents that are missing.

    >>> to_cents([3333, 3333, 3334])
    [Decimal('0.00'), Decimal('0.00'), Decimal('0.01')]
    """
    exact = list(parts)
    each = int(MILLION) // 100
    whole = [part // each for part in exact]
    missing = int(cents(sum(exact)) / CENT) - sum(whole)
    order = sorted(range(len(exact)), key=lambda at: -(exact[at] % each))
    for at in order[:missing]:
        whole[at] += 1
    return [CENT * count for count in whole]


By = Literal["model", "version", "team"]
GROUPS: dict[By, tuple[str, ...]] = {
    "model": ("model",), "version": ("model", "version"), "team": ("team",),
}  # fmt: skip


def by(fleet: Fleet, judged: Judged, group: By) -> pd.DataFrame:
    """Cost, requests, cost per inference and savings by model, version or team, the dearest first.

    Money is in USD. Where a price or a number of requests is unknown, so is the cost of an
    inference; `partial` marks sums in which a price is missing.
    """
    allocated, idle, _ = split(fleet)
    unused = (fleet.rows["commitment"] == "unused").to_numpy(dtype=bool)
    columns = list(GROUPS[group])
    frame = fleet.rows[columns].assign(
        micros=fleet.micros, worked=allocated, idle=idle, requests=fleet.column("requests"),
        unknown=np.isnan(fleet.column("requests")) & ~unused, partial=fleet.unpriced,
        saving=judged.saving, rows=1,
    )  # fmt: skip
    found = frame.groupby(columns, sort=False, dropna=False).agg(
        {"rows": "sum", "requests": "sum", "unknown": "any", "micros": "sum", "worked": "sum",
         "idle": "sum", "saving": "sum", "partial": "any"}
    )  # fmt: skip
    found = found.sort_values("micros", ascending=False, kind="stable").reset_index()
    requests = found["requests"].mask(found["unknown"] | found["partial"])
    money = {name: found[name] / MILLION for name in ("micros", "worked", "idle", "saving")}
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(requests > 0, money["micros"] / requests, np.nan)
        busy = np.where(requests > 0, money["worked"] / requests, np.nan)
    return found[columns].assign(
        rows=found["rows"], requests=found["requests"].mask(found["unknown"]),
        cost=money["micros"], idle=money["idle"], saving=money["saving"], each=each, each_busy=busy,
        partial=found["partial"],
    )  # fmt: skip


# Rules --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Threshold:
    """One number that a rule rests on."""

    id: str
    title: str
    help: str
    default: float
    high: float
    unit: str
    source: str
    as_of: str = "2026-11-25"


ASSUMED = "assumption of this project"
THRESHOLDS = (
    Threshold("zombie_hours", "No requests for", "Hours without a request, from which on it is "
              "worth a look.", 168.0, 100_000.0, "h", "CleanCloud: no invocation for 7 days"),
    Threshold("zombie_act_hours", "Sure after", "Hours without a request, from which on it can go.",
              720.0, 100_000.0, "h", "practice for SageMaker endpoints: 30 days"),
    Threshold("idle_p95", "Idle GPU: p95 below", "GPU utilisation, 95th percentile.", 5.0, 100.0,
              "%", ASSUMED),
    Threshold("idle_running", "Idle GPU: requests in progress below", "Mean number; without that "
              "column only rows with no request count.", 0.1, 1e6, "", ASSUMED),
    Threshold("idle_hours", "Idle GPU: for", "Younger ones are left alone.", 24.0, 100_000.0, "h",
              "practice on Kubernetes: 1 hour to 1 day"),
    Threshold("least_replicas", "Replicas left alone", "Minimum of a row that states none.", 1.0,
              1e6, "", ASSUMED),
    Threshold("under_mean", "Under-used: mean below", "GPU utilisation.", 40.0, 100.0, "%",
              "Cloudaware: average below 40 %"),
    Threshold("under_p95", "Under-used: p95 below", "GPU utilisation, 95th percentile.", 50.0,
              100.0, "%", "Cloudaware: maximum below 50 %"),
    Threshold("under_hours", "Under-used: for", "Less time says nothing of a usual week.", 336.0,
              100_000.0, "h", "AWS Compute Optimizer: 14 days are looked at"),
    Threshold("under_margin", "Under-used: margin", "Replicas kept are R + margin × √R, with R "
              "those that are busy at the 95th percentile: at 1 about one request in four waits.",
              1.0, 10.0, "", "Halfin and Whitt, square-root staffing, 1981", "1981-06-01"),
    Threshold("version_share", "Old version: requests below", "Share of the requests of its model.",
              5.0, 100.0, "%", ASSUMED),
    Threshold("version_hours", "Old version: for", "Younger ones may be on their way in.", 336.0,
              100_000.0, "h", ASSUMED),
    Threshold("steady_share", "Steady: at least", "Of the period, which is as long as the longest "
              "row.", 80.0, 100.0, "%", ASSUMED),
    Threshold("steady_hours", "Steady: for", "Shorter periods say nothing of a year.", 336.0,
              100_000.0, "h", ASSUMED),
)  # fmt: skip
DEFAULTS = {each.id: each.default for each in THRESHOLDS}


@dataclass(frozen=True)
class Rule:
    """One kind of finding."""

    id: str
    title: str
    confidence: str
    advice: str


RULES = (
    Rule("commitment", "Unused commitment", "certain",
         "Move other work onto it, or let it run out."),
    Rule("zombie", "No requests for weeks", "high", "Switch it off; keep its settings."),
    Rule("silent", "No requests for days", "medium", "Ask its owner whether it is still needed."),
    Rule("idle", "Idle GPU", "high", "Lower the number of replicas to the minimum."),
    Rule("underused", "Under-used GPU", "medium",
         "Lower the number of replicas in steps and watch the latency."),
    Rule("version", "Version with little traffic", "medium",
         "Move its traffic to the main version and switch it off."),
    Rule("steady", "Steady at the price by the hour", "medium",
         "Commit for a year, if it will still run then."),
)  # fmt: skip
"""In the order in which rows are claimed: a row that one rule has claimed is no other's."""
NONE = -1


def refused(id: str, value: float) -> str:
    """Why a threshold cannot have a value; empty where it can."""
    each = next((each for each in THRESHOLDS if each.id == id), None)
    if each is None:
        near = nearest(id, DEFAULTS)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        return f"There is no threshold {shown(id)}{hint}"
    if 0.0 <= value <= each.high:
        return ""
    return f"{id} is {shown(value)}, allowed is a number from 0 to {each.high:,.0f}."


@dataclass(frozen=True)
class Judged:
    """What the rules found: at most one for each row."""

    rule: npt.NDArray[np.int8]
    """Place of the rule among :data:`RULES`, or -1."""
    saving: Whole
    """Of each row; 0 where the price is unknown. [1e-6 USD]"""
    kept: Array
    """Replicas that stay, where a rule leaves some; else NaN."""
    share: Array
    """Requests of the version over those of its model; NaN where not known."""


def judge(fleet: Fleet, thresholds: Mapping[str, float] | None = None) -> Judged:
    """Apply all rules; what is not known is never held against a row."""
    t = DEFAULTS | dict(thresholds or {})
    rows = len(fleet.rows)
    hours, replicas, requests = (
        fleet.column(name) for name in ("hours", "replicas", "requests")
    )  # fmt: skip
    mean, p95 = fleet.column("gpu_mean_percent"), fleet.column("gpu_p95_percent")
    running, stated = fleet.column("running_requests"), fleet.column("min_replicas")
    named = (fleet.rows["model"] != "").to_numpy(dtype=bool)
    least = np.where(np.isnan(stated), t["least_replicas"], stated)
    live = (replicas > 0.0) & (hours > 0.0)
    rule = np.full(rows, NONE, dtype=np.int8)
    kept = np.full(rows, np.nan)
    part = np.zeros(rows)
    places = {each.id: place for place, each in enumerate(RULES)}

    def claim(id: str, found: Marks, stay: Array) -> None:
        fresh = found & live & (rule == NONE) & (stay < replicas)
        rule[fresh] = places[id]
        kept[fresh] = stay[fresh]
        part[fresh] = 1.0 - stay[fresh] / replicas[fresh]

    nothing = np.zeros(rows)
    with np.errstate(invalid="ignore"):
        unused = (fleet.rows["commitment"] == "unused").to_numpy(dtype=bool)
        claim("commitment", unused, nothing)
        # GPUs that work although no request is counted do something that the table does not say.
        works = p95 >= t["idle_p95"]
        silent = named & (requests == 0.0) & ~works & (hours >= t["zombie_hours"])
        claim("zombie", silent & (hours >= t["zombie_act_hours"]), nothing)
        claim("silent", silent, nothing)
        quiet = np.where(np.isnan(running), requests == 0.0, running < t["idle_running"])
        idle = named & (p95 < t["idle_p95"]) & quiet.astype(bool) & (hours >= t["idle_hours"])
        claim("idle", idle, least)
        under = named & (requests > 0.0) & (mean < t["under_mean"]) & (p95 < t["under_p95"])
        busy = replicas * p95 * PERCENT
        needed = np.ceil(busy + t["under_margin"] * np.sqrt(busy))
        claim("underused", under & (hours >= t["under_hours"]),
              np.maximum(np.maximum(needed, least), 1.0))  # fmt: skip
        share, old = _old_versions(fleet, requests, hours, live, t)
        claim("version", old, np.maximum(replicas - np.maximum(least, 0.0), 0.0))
    saving = np.rint(fleet.micros * part)
    free = (rule == NONE) & live & named & (requests > 0.0)
    steady = free & _steady(fleet, hours, t)
    cheaper = 1.0 - fleet.column("committed") / fleet.column("price")
    rule[steady] = places["steady"]
    saving[steady] = np.rint(fleet.micros[steady] * cheaper[steady])
    return Judged(rule, saving.astype(np.int64), kept, share)


def _old_versions(
    fleet: Fleet, requests: Array, hours: Array, live: Marks, t: Mapping[str, float]
) -> tuple[Array, Marks]:
    """Share of each row's version in its model, and versions that hardly anybody asks."""
    rows = fleet.rows
    frame = pd.DataFrame(
        {
            "model": rows["model"].to_numpy(), "version": rows["version"].to_numpy(),
            "requests": requests, "hours": hours,
        }
    )[live & (rows["model"] != "").to_numpy() & (rows["version"] != "").to_numpy()]  # fmt: skip
    by_model = frame.groupby("model")
    # A sum with something unknown in it is unknown.
    whole = by_model["requests"].transform(lambda column: column.sum(skipna=False))
    by_version = frame.groupby(["model", "version"])
    of_version = by_version["requests"].transform("sum")
    share = np.full(len(rows), np.nan)
    share[frame.index] = np.where(whole > 0.0, of_version / whole.where(whole > 0.0, 1.0), np.nan)
    old_enough = np.zeros(len(rows), dtype=bool)
    old_enough[frame.index] = by_version["hours"].transform("max") >= t["version_hours"]
    several = np.zeros(len(rows), dtype=bool)
    several[frame.index] = by_model["version"].transform("nunique") >= 2
    with np.errstate(invalid="ignore"):
        return share, several & old_enough & (share < t["version_share"] * PERCENT)


def _steady(fleet: Fleet, hours: Array, t: Mapping[str, float]) -> Marks:
    """Rows that run nearly all the time at the catalog's price on demand, or above it."""
    price, listed = fleet.column("price"), fleet.column("listed")
    long = np.max(hours, initial=0.0)
    by_the_hour = (fleet.rows["commitment"] == "").to_numpy(dtype=bool)
    with np.errstate(invalid="ignore"):
        found: Marks = (
            by_the_hour & (hours >= t["steady_hours"])
            & (hours >= t["steady_share"] * PERCENT * long)
            & (price >= listed * (1.0 - ALMOST)) & (fleet.column("committed") < price)
        )  # fmt: skip
    return found


ALMOST = 0.01
"""Share by which a price may be below the catalog's and is still that on demand."""


def totals(fleet: Fleet, judged: Judged) -> pd.DataFrame:
    """Rows, their cost and the saving of each rule, the largest saving first. [USD]"""
    frame = pd.DataFrame({
        "rule": judged.rule, "rows": 1, "cost": fleet.micros, "saving": judged.saving,
        "unpriced": fleet.unpriced,
    })[judged.rule != NONE]  # fmt: skip
    found = frame.groupby("rule", as_index=False).sum()
    found = found.sort_values("saving", ascending=False, kind="stable").reset_index(drop=True)
    shown: pd.DataFrame = found.assign(
        cost=found["cost"] / MILLION, saving=found["saving"] / MILLION,
        title=[RULES[place].title for place in found["rule"]],
        confidence=[RULES[place].confidence for place in found["rule"]],
        advice=[RULES[place].advice for place in found["rule"]],
    )  # fmt: skip
    return shown


def findings(fleet: Fleet, judged: Judged) -> pd.DataFrame:
    """Rows that a rule has claimed, the largest saving first, as plain columns. [USD]"""
    some = np.flatnonzero(judged.rule != NONE)
    some = some[np.argsort(-judged.saving[some], kind="stable")]
    rows = fleet.rows.iloc[some]
    return pd.DataFrame({
        "row": rows.index.to_numpy(), "resource": rows["resource"].to_numpy(),
        "model": rows["model"].to_numpy(), "version": rows["version"].to_numpy(),
        "team": rows["team"].to_numpy(),
        "finding": np.array([rule.title for rule in RULES])[judged.rule[some]],
        "confidence": np.array([rule.confidence for rule in RULES])[judged.rule[some]],
        "saving": np.where(fleet.unpriced[some], np.nan, judged.saving[some] / MILLION),
        "cost": np.where(fleet.unpriced[some], np.nan, fleet.micros[some] / MILLION),
        "replicas": rows["replicas"].to_numpy(), "kept": judged.kept[some],
        "hours": rows["hours"].to_numpy(), "requests": rows["requests"].to_numpy(),
        "gpu_mean_percent": rows["gpu_mean_percent"].to_numpy(),
        "gpu_p95_percent": rows["gpu_p95_percent"].to_numpy(),
        "share": judged.share[some],
        "advice": np.array([rule.advice for rule in RULES])[judged.rule[some]],
    })  # fmt: skip


def evidence(row: Mapping[str, Any]) -> str:
    """What a finding rests on, in a sentence.

    >>> evidence({"finding": "No requests for weeks", "hours": 730.0, "replicas": 2.0})
    '0 requests in 730 h on 2 replicas'
    """
    hours, replicas = f"{row['hours']:,.3g} h", _replicas(row["replicas"])
    title = row["finding"]
    if title == "Unused commitment":
        return f"{hours} paid and not used"
    if title in ("No requests for weeks", "No requests for days"):
        return f"0 requests in {hours} on {replicas}"
    gpu = f"GPU p95 {row['gpu_p95_percent']:.3g} %"
    if title == "Idle GPU":
        return f"{gpu} over {hours}, {row['requests']:,.0f} requests; {row['kept']:,.3g} kept"
    if title == "Under-used GPU":
        return (
            f"GPU mean {row['gpu_mean_percent']:.3g} %, p95 {row['gpu_p95_percent']:.3g} % over "
            f"{hours}; {_replicas(row['kept'])} would do instead of {row['replicas']:,.3g}"
        )
    if title == "Version with little traffic":
        return f"{row['share'] / PERCENT:.2g} % of the model's requests in {hours}"
    return f"{replicas} for {hours} at the price on demand"


def evidences(listed: pd.DataFrame) -> list[str]:
    """What each of some findings rests on."""
    return [
        evidence({str(name): value for name, value in row.items()})
        for row in listed.to_dict("records")
    ]


def _replicas(number: float) -> str:
    return f"{number:,.3g} replica{'' if number == 1 else 's'}"


# As JSON ------------------------------------------------------------------------------------------

MOST_LISTED = 1000


def summary(fleet: Fleet, thresholds: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Everything as plain values for JSON; an unknown figure is null, money is in USD."""
    judged, found = judge(fleet, thresholds), costs(fleet)
    listed = findings(fleet, judged).head(MOST_LISTED)
    return {
        "name": fleet.name,
        "rows": found.rows, "partial": found.partial, "rows_without_price": found.unpriced,
        "total_usd": str(found.total), "allocated_usd": str(found.allocated),
        "idle_usd": str(found.idle), "unallocated_usd": str(found.unallocated),
        "allocated_without_utilisation_usd": str(found.unmeasured),
        "requests": found.requests,
        "saving_usd": str(cents(int(judged.saving.sum()))),
        "by": {group: list(_plain(by(fleet, judged, group))) for group in GROUPS},
        "rules": list(_plain(totals(fleet, judged))),
        "findings": [
            row | {"evidence": text}
            for row, text in zip(_plain(listed), evidences(listed), strict=True)
        ],
        "findings_in_all": int((judged.rule != NONE).sum()),
        "thresholds": DEFAULTS | dict(thresholds or {}),
        "rows_left_out": [
            {"row": each.row, "column": each.column or None, "reason": each.reason}
            for each in fleet.problems[:MOST_LISTED]
        ],
        "rows_left_out_in_all": len(fleet.problems),
        "notes": list(fleet.notes),
    }  # fmt: skip


def _plain(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of a table as plain values."""
    for row in frame.to_dict("records"):
        yield {
            str(name): known(float(value)) if isinstance(value, float) else value
            for name, value in row.items()
        }
