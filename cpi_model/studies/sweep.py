"""One field of a scenario over many values, in one call of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cpi_model import links
from cpi_model.catalog import Catalog
from cpi_model.coefficients import coefficients
from cpi_model.evaluate import OBSTACLES, Estimate
from cpi_model.inputs import ImpossibleChoice, choose, numbers
from cpi_model.scenario import FIELDS, Scenario
from cpi_model.studies import bands, service
from cpi_model.studies.service import Service
from cpi_model.units import GB, HOUR, KB, KILOWATT_HOUR, MILLISECOND, MONTH, Array

if TYPE_CHECKING:
    import pandas as pd

MOST_POINTS = 1000
MOST_WHOLE_POINTS = 64
"""A range of whole numbers without a number of points has at most these."""
CURVE_POINTS = 34
USUAL_CURVE_END, LAST_CURVE_END = 512, 8192
"""Concurrency at the end of a curve, which is longer where more run."""
USUAL_POINTS = 21
"""Points of any other range: steps of a twentieth."""
DIRECT: dict[str, tuple[str, float]] = {
    "requests_per_s": ("requests_per_s", 1.0),
    "peak_to_mean": ("peak_to_mean", 1.0),
    "success_share": ("success_share", 1.0),
    "slo_ttft_ms": ("slo_ttft", MILLISECOND),
    "slo_tpot_ms": ("slo_tpot", MILLISECOND),
    "slo_latency_ms": ("slo_latency", MILLISECOND),
    "output_tokens": ("output_tokens", 1.0),
    "cached_input_share": ("cached_input_share", 1.0),
    "items_per_request": ("items_per_request", 1.0),
    "concurrency": ("concurrency", 1.0),
    "memory_share": ("memory_share", 1.0),
    "batch_wait_ms": ("batch_wait", MILLISECOND),
    "arrival_cv": ("arrival_cv", 1.0),
    "output_cv": ("output_cv", 1.0),
    "spare_replicas": ("spare_replicas", 1.0),
    "target_utilisation": ("target_utilisation", 1.0),
    "scaling_lag_share": ("scaling_lag_share", 1.0),
    "nonproduction_share": ("nonproduction_share", 1.0),
    "storage_usd_per_gb_month": ("storage_price", 1 / GB / MONTH),
    "object_storage_usd_per_gb_month": ("object_storage_price", 1 / GB / MONTH),
    "image_gb": ("image_bytes", GB),
    "log_kb_per_request": ("log_bytes", KB),
    "log_usd_per_gb": ("log_price", 1 / GB),
    "request_kb": ("request_bytes", KB),
    "response_kb": ("response_bytes", KB),
    "egress_share": ("egress_share", 1.0),
    "egress_usd_per_gb": ("egress_price", 1 / GB),
    "cross_zone_share": ("cross_zone_share", 1.0),
    "cross_zone_usd_per_gb": ("cross_zone_price", 1 / GB),
    "load_balancer_usd_per_hour": ("load_balancer_price", 1 / HOUR),
    "load_balancer_usd_per_gb": ("load_balancer_byte_price", 1 / GB),
    "control_plane_usd_per_hour": ("control_plane_price", 1 / HOUR),
    "monitoring_usd_per_instance_month": ("monitoring_price", 1 / MONTH),
    "agent_share": ("agent_share", 1.0),
    "platform_share": ("platform_share", 1.0),
    "on_call_usd_per_month": ("on_call_price", 1 / MONTH),
    "pue": ("pue", 1.0),
    "grid_g_co2_per_kwh": ("carbon_intensity", 1 / KILOWATT_HOUR),
}
"""Scenario fields that become one field of the inputs: its name, and base units per unit."""


@dataclass(frozen=True)
class Sweep:
    """Values of a field and the estimate of each."""

    scenario: Scenario
    field: str
    values: tuple[Any, ...]
    estimate: Estimate
    """Arrays, one element for each value; NaN where a value is impossible."""
    refused: dict[int, str]
    """Why a value cannot be, by its position."""
    likely: dict[str, tuple[Array, Array]]
    """Low and high end of the figures that have a range; NaN where it is not known."""


def over(scenario: Scenario, field: str, values: Sequence[Any], catalog: Catalog) -> Sweep:
    """Estimate a scenario for each value of one field.

    Raises
    ------
    ValueError
        If the field does not exist, a value is outside its range or nothing can be looked up
        whatever the value; the message is a sentence.
    """
    if field not in FIELDS:
        raise ValueError(links.unknown_field(field))
    if not 1 <= len(values) <= MOST_POINTS:
        raise ValueError(f"{len(values):,} values of {field}, allowed are 1 to {MOST_POINTS:,}.")
    checked, fitted = tuple(_checked(field, value) for value in values), coefficients()
    if (one := direct(field, scenario)) is not None:
        name, unit = one
        column = np.array(checked, dtype=float) * unit
        try:
            choice = choose(scenario, catalog)
        except ImpossibleChoice as impossible:
            raise ValueError(str(impossible)) from None
        inputs = replace(numbers(scenario, choice, fitted), **{name: column})
        slower = bands.slowness(choice, fitted)
        cases = bands.cases_of(Service(inputs), slower, fitted)
        found, likely = bands.as_estimated(cases), bands.ends(cases, slower)
        return Sweep(scenario, field, checked, found, {}, likely)
    possible: list[tuple[Service, Array]] = []
    rows: list[int] = []
    refused: dict[int, str] = {}
    for index, value in enumerate(checked):
        changed = scenario.model_copy(update={field: value})
        try:
            choice = choose(changed, catalog)
            whole = service.resolve(changed, choice, catalog, fitted)
        except ImpossibleChoice as impossible:
            refused[index] = str(impossible)
            continue
        rows.append(index)
        possible.append((whole, bands.slowness(choice, fitted)))
    if not possible:
        raise ValueError(refused[0])
    columns: dict[str, Array] = {}
    ends: dict[str, tuple[Array, Array]] = {}
    for chosen in service.alike([whole for whole, _ in possible]):
        slower = np.array([possible[i][1] for i in chosen])
        cases = bands.cases_of(service.together([possible[i][0] for i in chosen]), slower, fitted)
        places = [rows[i] for i in chosen]
        found = bands.as_estimated(cases)
        for figure in fields(Estimate):
            whole_column = columns.setdefault(figure.name, np.full(len(checked), np.nan))
            whole_column[places] = getattr(found, figure.name)
        for name, pair in bands.ends(cases, slower).items():
            unknown = (np.full(len(checked), np.nan), np.full(len(checked), np.nan))
            for whole_column, end in zip(ends.setdefault(name, unknown), pair, strict=True):
                whole_column[places] = end
    feasible = np.equal(columns.pop("feasible"), 1.0)
    return Sweep(scenario, field, checked, Estimate(feasible=feasible, **columns), refused, ends)


def direct(field: str, scenario: Scenario) -> tuple[str, float] | None:
    """The one field of the inputs that a field becomes, and base units per unit.

    None where it becomes none or more than one: with two models it may mean two numbers.
    """
    alone = scenario.cascade_model == "none" and scenario.student == "none"
    return DIRECT.get(field) if alone else None


def against_concurrency(scenario: Scenario, catalog: Catalog) -> Sweep | None:
    """Cost and latency over the requests in flight, for a chart; None where nothing works."""
    last = USUAL_CURVE_END
    while last < min(2 * scenario.concurrency, LAST_CURVE_END):
        last *= 2
    steps = (last ** (step / (CURVE_POINTS - 1)) for step in range(CURVE_POINTS))
    values = sorted({round(step) for step in steps} | {scenario.concurrency})
    try:
        return over(scenario, "concurrency", values, catalog)
    except (ValueError, ImpossibleChoice):
        return None


def _checked(field: str, value: object) -> Any:
    """A value of a field, or a ValueError with the range."""
    checked, problem = links.check(field, value)
    if problem:
        raise ValueError(problem)
    return checked


def parse_range(text: str) -> tuple[str, list[Any]]:
    """Field and values of ``FIELD=FROM:TO``, ``FIELD=FROM:TO:log``, ``FIELD=FROM:TO:COUNT``.

    Or ``FIELD=VALUE,VALUE,...``. A range of whole numbers has every one of them while they are
    few, a logarithmic one doubles.

    Raises
    ------
    ValueError
        If the text is none of these or a value is outside the field's range; the message is a
        sentence.

    Examples
    --------
    >>> parse_range("concurrency=1:64:log")
    ('concurrency', [1, 2, 4, 8, 16, 32, 64])
    >>> parse_range("tensor_parallel=1:4")
    ('tensor_parallel', [1, 2, 3, 4])
    >>> parse_range("target_utilisation=0.2:1:5")
    ('target_utilisation', [0.2, 0.4, 0.6, 0.8, 1.0])
    >>> parse_range("accelerator=l4,h100-sxm")
    ('accelerator', ['l4', 'h100-sxm'])
    """
    name, equals, rest = text.partition("=")
    name, rest = name.strip(), rest.strip()
    if not equals or not rest:
        raise ValueError(
            f"{links.shown(text)} is no range: write FIELD=FROM:TO, FIELD=FROM:TO:log or "
            "FIELD=VALUE,VALUE."
        )
    if name not in FIELDS:
        raise ValueError(links.unknown_field(name))
    info = FIELDS[name]
    if ":" not in rest:
        values = rest.split(",", MOST_POINTS)
        if len(values) > MOST_POINTS:
            raise ValueError(f"{name} has more than {MOST_POINTS:,} values.")
        return name, [_checked(name, value.strip()) for value in values]
    if info.kind not in ("int", "float"):
        raise ValueError(f"{name} is no number: list its values, {name}=VALUE,VALUE.")
    low, high, *how = (part.strip() for part in rest.split(":", 3))
    first, last = _checked(name, low), _checked(name, high)
    if first is None or last is None or not first < last:
        raise ValueError(f"{name} does not go up from {links.shown(low)} to {links.shown(high)}.")
    points = _points(name, first, last, how)
    if info.kind == "int":
        return name, sorted({round(point) for point in points})
    # Twelve digits rid steps such as 0.1 of their binary tail; the ends stay as they were given.
    return name, [first, *(float(f"{point:.12g}") for point in points[1:-1]), last]


def _points(name: str, first: float, last: float, how: list[str]) -> list[float]:
    """Points of a range, both ends included."""
    if how == ["log"]:
        if first <= 0:
            raise ValueError(f"{name} begins at {first:g}; a logarithmic range begins above 0.")
        steps = math.ceil(math.log2(last / first) - 1e-9)
        return [*(first * 2.0**step for step in range(steps)), last]
    if not how:
        whole = isinstance(first, int)
        count = min(int(last - first) + 1, MOST_WHOLE_POINTS) if whole else USUAL_POINTS
    elif len(how) == 1 and how[0].isascii() and how[0].isdigit() and len(how[0]) <= 6:
        count = int(how[0])
    else:
        raise ValueError(f"{links.shown(':'.join(how))} is neither log nor a number of points.")
    if not 2 <= count <= MOST_POINTS:
        raise ValueError(f"{count:,} points of {name}, allowed are 2 to {MOST_POINTS:,}.")
    return [float(point) for point in np.linspace(first, last, count)]


def at(sweep: Sweep, index: int) -> Estimate:
    """Estimate of one value of a sweep, as plain numbers."""
    return row(sweep.estimate, index)


def row(estimate: Estimate, index: int) -> Estimate:
    """One of many estimates, as plain numbers."""
    figures: dict[str, Any] = {
        field.name: np.asarray(getattr(estimate, field.name))[index].item()
        for field in fields(Estimate)
    }
    return Estimate(**figures)


def each(services: Sequence[Service]) -> list[Estimate]:
    """Estimate of each of many services, in as few calls as there are kinds of them."""
    found: dict[int, Estimate] = {}
    for places in service.alike(services):
        estimate = service.estimate(service.together([services[at] for at in places]))
        found |= {place: row(estimate, at) for at, place in enumerate(places)}
    return [found[at] for at in range(len(services))]


def reason_at(sweep: Sweep, index: int) -> str:
    """Why one value of a sweep does not work; empty where it does."""
    if index in sweep.refused:
        return sweep.refused[index]
    return obstacles_in_words(int(np.asarray(sweep.estimate.obstacles)[index]))


def obstacles_in_words(bits: int) -> str:
    """What stands in the way, from the bits of an estimate; empty where nothing does.

    >>> obstacles_in_words(1), obstacles_in_words(0)
    ('weights do not fit', '')
    """
    return ", ".join(name.replace("_", " ") for name, bit in OBSTACLES.items() if bits & bit)


def to_frame(sweep: Sweep) -> pd.DataFrame:
    """The sweep as a table, one row a value."""
    import pandas as pd

    columns = {field.name: getattr(sweep.estimate, field.name) for field in fields(Estimate)}
    return pd.DataFrame({sweep.field: list(sweep.values)} | columns)
