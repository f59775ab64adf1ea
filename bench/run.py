"""Measure speed and memory and print one JSON line a figure: ``make bench``.

Lines have the figure's name as key, and its goal where it has one. Measure on a quiet machine; the
browser part needs Chromium.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from bench import live

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

GOALS = {
    "configs_per_second": "at least 1000000",
    "peak_memory_mb": "under 1500",
    "optimiser_configs": "at least 200000",
    "optimiser_s": "under 0.5",
    "single_estimate_us": "under 1000",
    "catalog_load_s": "under 0.3",
    "import_s": "under 0.5",
    "cli_help_s": "under 0.7",
    "simulated_events_per_s": "at least 5000000",
    "simulation_ms": "under 1000",
    "closed_form_us": "under 10000",
    "advice_s": "under 0.3",
    "traffic_year_fluid_s": "under 0.2",
    "traffic_search_s": "under 1",
    "traffic_year_exact_s": "under 10",
    "traffic_events_per_s": "at least 5000000",
    "slider_to_paint_ms": "under 200",
    "slider_to_paint_p95_ms": "under 350",
    "slider_to_paint_ratio": "under 2.5",
    "compression_slider_to_paint_ms": "under 200",
    "compression_slider_to_paint_p95_ms": "under 350",
    "batching_slider_to_paint_ms": "under 200",
    "batching_slider_to_paint_p95_ms": "under 350",
    "hardware_slider_to_paint_ms": "under 1000",
    "scaling_traffic_slider_to_figures_ms": "under 250",
    "scaling_policy_slider_to_figures_ms": "under 250",
    "first_load_s": "under 3",
    "buying_slider_to_paint_ms": "under 200",
    "buying_slider_to_paint_p95_ms": "under 350",
    "compare_slider_to_paint_ms": "under 200",
    "compare_slider_to_paint_p95_ms": "under 350",
    "waste_slider_to_paint_ms": "under 200",
    "waste_slider_to_paint_p95_ms": "under 350",
    "fleet_rows": "at least 100000",
    "fleet_s": "under 2",
}
SLIDER = "Concurrency"
OTHER_PAGES = {
    "compression": ("Compression?v=1&q=fp8&dm=head&basis=marginal&c=4", SLIDER),
    "batching": ("Batching?v=1", SLIDER),
    "scaling_traffic": ("Scaling?v=1&pol=hpa", "Requests per second"),
    "scaling_policy": ("Scaling?v=1&pol=hpa&ptg=0.3", "Target of the autoscaler"),
    "buying": ("Buying?v=1", SLIDER),
    "compare": ("Compare?v=1&A=AwA&B=q6sjEZiZAAA", SLIDER),
    "waste": ("Waste?v=1", "Requests per second"),
    # Every press is a search of the whole catalog.
    "hardware": ("Hardware?v=1", "Requests per second"),
}
"""Pages beside the first that are timed: the links that open them, and the slider moved."""
SIMULATED = ("scaling_traffic", "scaling_policy")
"""Of these, charts of what is simulated beside the page come last: figures are timed as well."""
OPENED = {"cold_s": "under 3", "warm_s": "under 3", "change_s": "under 1"}
"""Ways to come to a page, and their goals: with an empty browser cache, with what an earlier visit
left there, and by its link on the first page."""
PROCESSES = 5
"""Times that a figure which needs a fresh process is measured; the median counts."""
PRESSES = 30
ROUNDS = 3
WARM_UP = 3
"""Presses at the start that do not count: code and caches of the browser are still cold."""


def main() -> int:
    """Measure everything; a part that cannot be measured is named and makes the exit code 1."""
    failed = False
    for part in (_engine, _command, _page, _pages):
        try:
            part()
        except (RuntimeError, OSError, subprocess.SubprocessError) as problem:
            print(f"{part.__name__.strip('_')}: {problem}", file=sys.stderr)
            failed = True
    return int(failed)


def _print(name: str, value: float) -> None:
    _print_line(name, value, GOALS.get(name))


def _print_line(name: str, value: float, goal: str | None) -> None:
    print(json.dumps({name: value} | ({"goal": goal} if goal else {})), flush=True)


def _engine() -> None:
    for measurement, times in (
        ("many", 1), ("optimiser", 1), ("single", 1), ("catalog", 5), ("import", 5),
        ("simulation", 1), ("traffic", 1), ("exports", 1), ("fleet", 1),
        ("advice", 1),
    ):  # fmt: skip
        _print_medians(measurement, times)
    _print_medians("estimate", PROCESSES)


def _print_medians(measurement: str, times: int) -> None:
    command = [sys.executable, "-m", "bench.engine", measurement]
    results = []
    for _ in range(times):
        done = subprocess.run(command, cwd=live.ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{measurement}: {done.stderr.strip().splitlines()[-1]}")
        results.append(json.loads(done.stdout))
    for name in results[0]:
        _print(name, median(result[name] for result in results))


def _command() -> None:
    seconds = []
    for _ in range(PROCESSES):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "cpi_model", "--help"],
            cwd=live.ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds.append(time.perf_counter() - start)
    _print("cli_help_s", round(median(seconds), 3))


class _Paints(NamedTuple):
    middle_ms: float
    p95_ms: float
    figures_ms: float
    """Until the headline is painted."""
    charts: int
    """Charts on the screen."""
    redrawn: int
    """Charts that changed with each press; the others show what the slider does not move."""


def _page() -> None:
    if live.chromium() is None:
        raise RuntimeError("no Chromium, so nothing was painted")
    app, floor_app = live.ROOT / "app.py", Path(__file__).with_name("floor_app.py")
    with live.browser() as browser:
        _print("first_load_s", round(_first_load(browser, app), 2))
        # In turns, so that a machine that slows down slows both.
        rounds = [
            (_slider_to_paint(browser, floor_app), _slider_to_paint(browser, app))
            for _ in range(ROUNDS)
        ]
    floor_ms = median(floor.middle_ms for floor, _ in rounds)
    painted_ms = median(painted.middle_ms for _, painted in rounds)
    _print("floor_slider_to_paint_ms", round(floor_ms))
    _print("slider_to_paint_ms", round(painted_ms))
    _print("slider_to_paint_p95_ms", round(median(painted.p95_ms for _, painted in rounds)))
    _print("slider_to_paint_ratio", round(painted_ms / floor_ms, 2))
    _print("charts_on_the_page", rounds[-1][1].charts)
    _print("charts_redrawn", rounds[-1][1].redrawn)
    with live.browser() as browser:
        for name, (link, slider) in OTHER_PAGES.items():
            found = _slider_to_paint(browser, app, link, slider)
            if name in SIMULATED:
                _print(f"{name}_slider_to_figures_ms", round(found.figures_ms))
            _print(f"{name}_slider_to_paint_ms", round(found.middle_ms))
            _print(f"{name}_slider_to_paint_p95_ms", round(found.p95_ms))


def _pages() -> None:
    """Every page opened in every way, on a server that runs already."""
    if live.chromium() is None:
        raise RuntimeError("no Chromium, so no page was opened")
    from cpi_model.ui import PAGES

    first, *others = [title for _, title, _ in PAGES]
    with live.browser() as browser, live.serve(live.ROOT / "app.py") as url:
        for title in (first, *others):
            address = f"{url}/{'' if title == first else title}?v=1"
            before = others[-1] if title == first else first
            visits = [_visit(browser, address, title, before) for _ in range(ROUNDS)]
            for way, goal in OPENED.items():
                name = f"{title.lower().replace('-', '_')}_{way}"
                _print_line(name, round(median(visit[way] for visit in visits), 2), goal)


def _visit(browser: Browser, address: str, title: str, before: str) -> dict[str, float]:
    """Seconds that a page takes in each way of coming to it."""
    with browser.new_context(viewport=live.VIEWPORT) as context:
        page = context.new_page()
        cold = _until_ready(page, title, lambda: page.goto(address))
        warm = _until_ready(page, title, lambda: page.goto(address))
        _until_ready(page, before, lambda: _follow(page, before))
        return {
            "cold_s": cold, "warm_s": warm,
            "change_s": _until_ready(page, title, lambda: _follow(page, title)),
        }  # fmt: skip


def _follow(page: Page, title: str) -> None:
    page.get_by_role("link", name=title).first.click()


def _until_ready(page: Page, title: str, go: Callable[[], object]) -> float:
    """Time from going to a page until all of it is there and its first chart is drawn."""
    start = time.perf_counter()
    go()
    page.get_by_role("heading", name=title, exact=True).wait_for(timeout=60_000)
    live.settle(page, 60)
    if page.get_by_test_id("stPlotlyChart").count():
        page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=60_000)
    return time.perf_counter() - start


def _first_load(browser: Browser, script: Path) -> float:
    """First visit to a fresh server with an empty browser cache, until a chart is drawn."""
    with live.serve(script) as url, browser.new_context(viewport=live.VIEWPORT) as context:
        page = context.new_page()
        start = time.perf_counter()
        page.goto(url, wait_until="commit")
        page.wait_for_selector(".js-plotly-plot .trace path", state="attached", timeout=60_000)
        return time.perf_counter() - start


def _slider_to_paint(
    browser: Browser, script: Path, link: str = "", label: str = SLIDER
) -> _Paints:  # fmt: skip
    """Time from a key on the slider until all charts (or figures) that change are painted."""
    with live.serve(script) as url, browser.new_context(viewport=live.VIEWPORT) as context:
        page = context.new_page()
        live.open_app(page, f"{url}/{link}")
        slider = page.get_by_role("slider", name=label).first
        slider.wait_for(timeout=30_000)
        page.wait_for_timeout(1500)  # fonts and lazily loaded code
        page.evaluate(Path(__file__).with_name("slider.js").read_text(encoding="utf-8"))
        slider.focus()
        reports = []
        for _ in range(WARM_UP + PRESSES):
            page.keyboard.press("ArrowRight")
            page.wait_for_function("bench.quiet()", polling=50, timeout=10_000)
            live.settle(page)
            # A slow page is quiet before its charts come.
            page.wait_for_function("bench.quiet()", polling=50, timeout=10_000)
            reports.append(page.evaluate("bench.report()"))
    key = "chart_ms" if reports[-1]["shown"] else "figure_ms"
    counted = [report for report in reports[WARM_UP:] if report[key] is not None]
    if len(counted) < PRESSES:
        raise RuntimeError(f"{PRESSES - len(counted)} of {PRESSES} presses changed nothing")
    times = sorted(report[key] for report in counted)
    return _Paints(
        median(times),
        times[math.ceil(0.95 * len(times)) - 1],
        median(report["figure_ms"] or report[key] for report in counted),
        reports[-1]["shown"],
        round(median(report["changed"] for report in counted)),
    )


if __name__ == "__main__":
    # A chart of one press is not to wait for threads of another library.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
