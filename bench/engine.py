"""Speed and memory of the model itself, each figure measured in a process of its own.

python -m bench.engine many|optimiser|single|catalog|import|estimate|simulation|exports|traffic
    |fleet
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpi_model.inputs import Inputs

CONFIGURATIONS = 1_000_000
CHOICES = 2_000
SEED = 20_261_124
CONCURRENCIES = (1.0, 1024.0)
PRICE_LOG_SD = 0.5
BUSY_SHARE = 0.7
"""Load of the simulated replica over its capacity."""
FLEET_ROWS = 100_000


def draw_inputs(count: int, seed: int, choices: int = CHOICES) -> Inputs:
    """Draw configurations at random: model, hardware, precision, parallelism, load and price.

    Choices that cannot be made (an engine that does not run on the chip) are drawn again; those
    that merely do not fit stay, as the optimiser will ask for them too.
    """
    import numpy as np

    from cpi_model.catalog import catalog
    from cpi_model.inputs import ImpossibleChoice, Inputs, arithmetic_on, resolve
    from cpi_model.scenario import Scenario

    facts = catalog()
    chance = random.Random(seed)
    # Chips whose speed is not known cannot be estimated at all.
    known = [
        id
        for id, chip in facts.accelerators.items()
        if chip.memory_bandwidth_gb_per_s and arithmetic_on(chip, "bf16")
    ]
    names = [sorted(ids) for ids in (facts.models, known, facts.schemes)]
    engines = sorted(facts.engines)
    rows: list[Inputs] = []
    for _ in range(200 * choices):
        if len(rows) == choices:
            break
        model, accelerator, scheme = (chance.choice(ids) for ids in names)
        try:
            drawn = Scenario(
                model=model,
                accelerator=accelerator,
                scheme=scheme,
                engine=chance.choice(engines),
                tensor_parallel=chance.choice((1, 2, 4, 8)),
                device_price_usd_per_hour=1.0,
            )
            rows.append(resolve(drawn, facts))
        except ImpossibleChoice:
            continue
    if len(rows) < choices:
        raise RuntimeError(f"only {len(rows)} of {choices} choices could be made")

    generator = np.random.default_rng(seed)
    picked = generator.integers(len(rows), size=count)
    columns: dict[str, object] = {}
    for field in fields(Inputs):
        values = np.array([getattr(row, field.name) for row in rows], dtype=float)
        same = bool((values == values[0]).all())
        columns[field.name] = float(values[0]) if same else values[picked]
    drawn_inputs = Inputs(**columns)  # type: ignore[arg-type]
    low, high = math.log(CONCURRENCIES[0]), math.log(CONCURRENCIES[1])
    return replace(
        drawn_inputs,
        concurrency=(math.e ** generator.uniform(low, high, count)).round(),
        instance_price=drawn_inputs.instance_price * generator.lognormal(0, PRICE_LOG_SD, count),
    )


def many() -> dict[str, float]:
    """One call over a million configurations, on one core."""
    import resource

    from cpi_model.evaluate import evaluate

    _stay_on_one_core()
    inputs = draw_inputs(CONFIGURATIONS, SEED)
    best = min(_seconds(lambda: evaluate(inputs)) for _ in range(3))
    estimate = evaluate(inputs)
    known = int((estimate.cost_per_inference > 0).sum())  # type: ignore[union-attr]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "configs_per_second": round(CONFIGURATIONS / best),
        "peak_memory_mb": round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6),
        "configs_with_a_cost_share": round(known / CONFIGURATIONS, 3),
    }


def optimiser() -> dict[str, float]:
    """The search over the whole catalog for one language model, choices looked up before."""
    from cpi_model.catalog import catalog
    from cpi_model.scenario import Scenario
    from cpi_model.studies.optimise import search

    _stay_on_one_core()
    scenario, facts = Scenario(model="llama-3.1-70b"), catalog()
    found = search(scenario, facts)
    # A slider was moved: nothing but the table of choices is known.
    moved = scenario.model_copy(update={"requests_per_s": 11.0})
    best = min(_seconds(lambda: search(moved, facts)) for _ in range(5))
    return {"optimiser_configs": found.evaluated, "optimiser_s": round(best, 3)}


def single() -> dict[str, float]:
    """The default scenario, from numbers to estimate, and from choices to numbers."""
    from cpi_model.catalog import catalog
    from cpi_model.evaluate import evaluate
    from cpi_model.inputs import resolve
    from cpi_model.scenario import Scenario

    _stay_on_one_core()
    scenario, facts = Scenario(), catalog()
    inputs = resolve(scenario, facts)
    evaluate(inputs)
    return {
        "single_estimate_us": _microseconds(lambda: evaluate(inputs)),
        "single_resolve_us": _microseconds(lambda: resolve(scenario, facts)),
    }


def catalog() -> dict[str, float]:
    """All of data/, read and cross-checked."""
    from cpi_model.catalog import load

    return {"catalog_load_s": round(_seconds(load), 4)}


def import_() -> dict[str, float]:
    """The package alone."""
    start = time.perf_counter()
    import cpi_model  # noqa: F401

    return {"import_s": round(time.perf_counter() - start, 4)}


def estimate() -> dict[str, float]:
    """All that the first estimate of a process needs."""
    start = time.perf_counter()
    import cpi_model.catalog
    import cpi_model.evaluate
    import cpi_model.inputs  # noqa: F401

    return {"import_estimate_s": round(time.perf_counter() - start, 4)}


def simulation() -> dict[str, float]:
    """One replica of the default scenario, request by request, as the app asks for it."""
    from cpi_model.catalog import catalog
    from cpi_model.inputs import resolve
    from cpi_model.scenario import Scenario
    from cpi_model.studies import replica

    _stay_on_one_core()
    inputs = resolve(Scenario(), catalog())
    load = replica.Load(BUSY_SHARE * replica.capacity(inputs))
    first = _seconds(lambda: replica.simulate(inputs, load))
    whole = median(_seconds(lambda: replica.simulate(inputs, load)) for _ in range(5))
    events = replica.simulate(inputs, load).events
    return {
        "simulated_events_per_s": round(events / whole),
        "simulation_ms": round(whole * 1e3, 1),
        "first_simulation_s": round(first, 2),
        "closed_form_us": _microseconds(lambda: replica.closed_form(inputs, load)),
    }


def exports() -> dict[str, float]:
    """Every kind of file of the default scenario: the first of a process, and the next."""
    from cpi_model.catalog import catalog
    from cpi_model.export import files, report
    from cpi_model.scenario import Scenario
    from cpi_model.studies.answer import answer

    _stay_on_one_core()
    facts = catalog()
    found = answer(Scenario(), facts)
    figures = {"export_report_first_ms": _seconds(lambda: report.of([found], facts))}
    figures["export_report_ms"] = median(
        _seconds(lambda: report.of([found], facts)) for _ in range(5)
    )
    content = report.of([found], facts)
    for ending, kind in files.KINDS.items():
        make = partial(kind.make, content)
        figures[f"export_{ending}_first_ms"] = _seconds(make)
        figures[f"export_{ending}_ms"] = median(_seconds(make) for _ in range(5))
    return {name: round(seconds * 1e3, 1) for name, seconds in figures.items()}


def advice() -> dict[str, float]:
    """Every single step from a scenario, with the sentences about them."""
    from cpi_model import story
    from cpi_model.catalog import catalog
    from cpi_model.scenario import Scenario
    from cpi_model.studies.answer import answer

    result = answer(Scenario(), catalog())

    def tell() -> None:
        story.tell(result, catalog())

    tell()
    return {"advice_s": round(median(_seconds(tell) for _ in range(10)), 3)}


def traffic() -> dict[str, float]:
    """A year of the default scenario under the HPA at one request a second, and a search."""
    from cpi_model.catalog import catalog
    from cpi_model.scenario import Scenario
    from cpi_model.studies import traffic
    from cpi_model.studies.answer import answer

    scenario, facts = Scenario(requests_per_s=1.0, policy="hpa"), catalog()
    fleet = traffic.fleet(answer(scenario, facts), facts)
    month = traffic.demand(scenario.model_copy(update={"requests_per_s": 40.0}), facts, 28.0)
    first_search = _seconds(lambda: traffic.search(fleet, month))
    search = min(_seconds(lambda: traffic.search(fleet, month)) for _ in range(2))
    _stay_on_one_core()
    year = traffic.demand(scenario, facts, 365.0)
    first = _seconds(lambda: traffic.simulate(fleet, year))
    fluid = min(_seconds(lambda: traffic.simulate(fleet, year)) for _ in range(3))
    traffic.simulate(fleet, traffic.demand(scenario, facts, 0.1), exact=True)
    start = time.perf_counter()
    events = traffic.simulate(fleet, year, exact=True).events
    whole = time.perf_counter() - start
    return {
        "traffic_year_fluid_s": round(fluid, 3),
        "traffic_year_fluid_first_s": round(first, 3),
        "traffic_search_s": round(search, 2),
        "traffic_search_first_s": round(first_search, 2),
        "traffic_year_exact_s": round(whole, 2),
        "traffic_events_per_s": round(events / whole),
    }


def fleet() -> dict[str, float]:
    """A table of a hundred thousand resources: read, priced, shared out and looked through."""
    from cpi_model.catalog import catalog
    from cpi_model.studies import fleet as study

    _stay_on_one_core()
    facts = catalog()
    header, *rows = study.EXAMPLE.read_text(encoding="utf-8").splitlines()
    many_rows = (rows[number % len(rows)] for number in range(FLEET_ROWS))
    content = "\n".join([header, *many_rows]).encode()

    def everything() -> None:
        whole = study.checked(study.read("fleet.csv", content), facts)
        judged = study.judge(whole)
        study.costs(whole)
        for group in study.GROUPS:
            study.by(whole, judged, group)
        study.findings(whole, judged)

    best = min(_seconds(everything) for _ in range(3))
    return {"fleet_rows": FLEET_ROWS, "fleet_s": round(best, 3)}


def _stay_on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _microseconds(action: Callable[[], object], count: int = 500) -> float:
    return round(median(_seconds(action) for _ in range(count)) * 1e6, 1)


MEASUREMENTS: dict[str, Callable[[], dict[str, float]]] = {
    "many": many,
    "optimiser": optimiser,
    "single": single,
    "catalog": catalog,
    "import": import_,
    "estimate": estimate,
    "simulation": simulation,
    "exports": exports,
    "advice": advice,
    "traffic": traffic,
    "fleet": fleet,
}

if __name__ == "__main__":
    print(json.dumps(MEASUREMENTS[sys.argv[1]]()))
