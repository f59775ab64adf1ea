"""The app as a person meets it: in a browser, with its address, its keys and its Back button."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import openpyxl
import pypdf
import pytest

from bench import live
from cpi_model import links, story
from cpi_model.catalog import catalog
from cpi_model.export import money
from cpi_model.scenario import Scenario
from cpi_model.studies.answer import answer
from cpi_model.studies.optimise import search
from cpi_model.ui import PAGES
from cpi_model.units import MILLION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, Page

CHART = ".js-plotly-plot .trace path"


def scenario_of(page: Page) -> Scenario:
    """What the address bar says."""
    found, problems = links.from_params(dict(parse_qsl(urlsplit(page.url).query)))
    assert problems == []
    return found


def figure(page: Page, label: str) -> str:
    """One figure of the headline."""
    cell = page.get_by_test_id("stMetric").filter(has_text=label).first
    return cell.get_by_test_id("stMetricValue").inner_text().strip()


def wait_until(page: Page, holds: Callable[[], bool], what: str, timeout_s: float = 15) -> None:
    """Wait for something to become true."""
    for _ in range(round(timeout_s / 0.05)):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not within {timeout_s} s: {what}; at {page.url}")


def wait_for(page: Page, wanted: Scenario) -> None:
    """Wait until address and headline belong to a scenario."""
    estimate = answer(wanted, catalog()).estimate
    assert estimate is not None
    cost = money(float(estimate.cost_per_inference), wanted)
    wait_until(page, lambda: scenario_of(page) == wanted, f"address of {links.encode(wanted)}")
    wait_until(page, lambda: figure(page, "Cost per inference") == cost, f"headline of {cost}")


def slider(page: Page, label: str = "Concurrency") -> None:
    """Put the keyboard on a slider."""
    page.get_by_role("slider", name=label).first.focus()


def test_a_moved_slider_is_in_the_address_and_opens_the_same_elsewhere(
    page: Page, app_url: str, browser: Browser
) -> None:
    live.open_app(page, app_url)
    slider(page)
    page.keyboard.press("ArrowRight")
    wait_for(page, Scenario(concurrency=36))
    page.get_by_role("button", name="Copy link").click()
    code = page.get_by_test_id("stCode").first
    code.wait_for(timeout=10_000)
    link = code.inner_text().strip()
    assert link.startswith(app_url)
    with browser.new_context(viewport=live.VIEWPORT) as context:
        other = context.new_page()
        live.open_app(other, link)
        wait_for(other, Scenario(concurrency=36))
        for label in ("Cost per inference", "Latency, p95", "Throughput of a replica"):
            assert figure(other, label) == figure(page, label)
        other.reload()
        wait_for(other, Scenario(concurrency=36))


def test_a_workbook_and_a_page_can_be_taken_along(page: Page, app_url: str) -> None:
    live.open_app(page, f"{app_url}/?v=1&c=64")
    estimate = answer(Scenario(concurrency=64), catalog()).estimate
    assert estimate is not None
    cost = money(float(estimate.cost_per_inference), Scenario())
    page.get_by_role("button", name="Export").click()
    taken = {}
    for title in ("Excel workbook", "One-page PDF"):
        button = page.get_by_role("button", name=title)
        button.wait_for(timeout=10_000)
        live.settle(page)
        with page.expect_download(timeout=30_000) as download:
            button.click()
        taken[download.value.suggested_filename.rpartition(".")[2]] = io.BytesIO(
            download.value.path().read_bytes()
        )
    book = openpyxl.load_workbook(taken["xlsx"], data_only=True)
    assert str(book["Summary"]["A1"].value).startswith(cost)
    (sheet,) = pypdf.PdfReader(taken["pdf"]).pages
    text = sheet.extract_text().replace("\n", "")
    assert cost in text and app_url in text and "?v=1&c=64" in text


def test_back_undoes_one_change_and_forward_repeats_it(page: Page, app_url: str) -> None:
    live.open_app(page, app_url)
    for presses in (1, 2):
        slider(page)
        page.keyboard.press("ArrowRight")
        wait_for(page, Scenario(concurrency=32 + 4 * presses))
    # A preset changes many fields and is one step all the same.
    page.get_by_role("button", name="Fraud scoring").click()
    wait_until(page, lambda: scenario_of(page).model == "gbt-fraud-500x8", "the preset")
    live.settle(page)
    for expected in (40, 36, 32):
        page.go_back()
        wait_for(page, Scenario(concurrency=expected))
    page.go_forward()
    wait_for(page, Scenario(concurrency=36))


def test_25_fast_presses_lose_none(page: Page, app_url: str) -> None:
    live.open_app(page, app_url)
    slider(page)
    for _ in range(25):
        page.keyboard.press("ArrowRight", delay=5)
    # Eight marks to a doubling: three doublings and one mark further.
    wait_for(page, Scenario(concurrency=32 * 8 + 32))


def test_slider_and_box_of_a_field_follow_each_other(page: Page, app_url: str) -> None:
    live.open_app(page, app_url)
    slider(page)
    page.keyboard.press("ArrowRight")
    wait_for(page, Scenario(concurrency=36))
    box = page.get_by_label("Concurrency, exact").first
    # The value that it had a moment ago, one between the marks, and then the slider again.
    for value in (32, 37):
        box.fill(str(value))
        box.press("Enter")
        wait_for(page, Scenario(concurrency=value))
    slider(page)
    page.keyboard.press("ArrowRight")
    wait_for(page, Scenario(concurrency=40))
    wait_until(page, lambda: box.input_value() == "40", "the box at 40")
    page.keyboard.press("Home")
    wait_for(page, Scenario(concurrency=1))


@pytest.mark.parametrize("title", [title for _, title, _ in PAGES])
def test_a_deep_link_is_the_first_request_to_a_fresh_server(browser: Browser, title: str) -> None:
    path = "" if title == PAGES[0][1] else title
    wanted = Scenario(model="llama-3.1-70b", tensor_parallel=4, concurrency=48)
    with live.serve(live.ROOT / "app.py") as url, browser.new_context() as context:
        page = context.new_page()
        live.open_app(page, f"{url}/{path}?{links.encode(wanted)}")
        page.get_by_role("heading", name=title, exact=True).wait_for(timeout=20_000)
        assert scenario_of(page) == wanted
        page.get_by_role("link", name="What-if").click()
        wait_for(page, wanted)


def test_pages_keep_the_scenario_there_and_back(page: Page, app_url: str) -> None:
    live.open_app(page, app_url)
    slider(page)
    page.keyboard.press("ArrowLeft")
    wanted = Scenario(concurrency=30)
    wait_for(page, wanted)
    page.get_by_role("link", name="Catalog").click()
    page.get_by_role("heading", name="Catalog", exact=True).wait_for(timeout=20_000)
    wait_until(page, lambda: scenario_of(page) == wanted, "the scenario on the Catalog page")
    slider(page)
    page.keyboard.press("ArrowRight")
    wait_until(page, lambda: scenario_of(page) == Scenario(), "a change on the Catalog page")
    page.get_by_role("link", name="What-if").click()
    wait_for(page, Scenario())
    page.locator(CHART).first.wait_for(state="attached", timeout=20_000)


def test_a_hostile_link_is_text_and_nothing_else(page: Page, app_url: str) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    live.open_app(page, f"{app_url}/?v=1&m=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&c=-5&tp=4")
    wait_for(page, Scenario(tensor_parallel=4))
    page.get_by_text("Parts of the link were ignored").wait_for(timeout=10_000)
    assert page.locator("img[src='x']").count() == 0
    assert not dialogs


def test_the_nearest_that_works_is_one_click_away(page: Page, app_url: str) -> None:
    live.open_app(page, f"{app_url}/?v=1&m=llama-3.1-70b")
    page.get_by_text("This cannot work as it stands").wait_for(timeout=20_000)
    page.locator("[class*=st-key-suggest] button").first.click()
    page.get_by_test_id("stMetric").first.wait_for(timeout=20_000)
    wait_until(
        page,
        lambda: bool(answer(scenario_of(page), catalog()).feasible),
        "an address of something that works",
    )
    page.go_back()
    page.get_by_text("This cannot work as it stands").wait_for(timeout=20_000)


def test_nothing_is_loaded_from_elsewhere_and_nothing_fails(page: Page, app_url: str) -> None:
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    live.open_app(page, app_url)
    page.locator(CHART).first.wait_for(state="attached", timeout=30_000)
    page.get_by_role("link", name="Catalog").click()
    page.get_by_role("heading", name="Catalog", exact=True).wait_for(timeout=20_000)
    live.settle(page)
    here = urlsplit(app_url).netloc
    elsewhere = [url for url in asked if re.match(r"https?:", url) and urlsplit(url).netloc != here]
    assert elsewhere == []
    assert errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_everything_without_sideways_scrolling(
    browser: Browser, app_url: str, theme: str
) -> None:
    with browser.new_context(
        viewport={"width": 390, "height": 844},
        color_scheme="dark" if theme == "dark" else "light",
    ) as context:
        page = context.new_page()
        pages = (
            ("", CHART),
            ("Batching", CHART),
            ("Scaling?v=1&pol=hpa", CHART),
            ("Waste", CHART),
            ("Catalog", "[data-testid=stDataFrame]"),
        )
        for path, mark in pages:
            live.open_app(page, f"{app_url}/{path}")
            page.locator(mark).first.wait_for(state="attached", timeout=30_000)
            page.wait_for_timeout(500)
            main = page.get_by_test_id("stMain")
            assert main.evaluate("main => main.scrollWidth <= main.clientWidth")
            outside = page.evaluate(
                """() => [...document.querySelectorAll(
                    '[data-testid=stMetricValue], .js-plotly-plot, [data-testid=stDataFrame]')]
                    .filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"""
            )
            assert outside == 0


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1440, "light")])
def test_the_page_for_meetings_is_read_from_afar_and_leads_back(
    browser: Browser, app_url: str, width: int, theme: str
) -> None:
    given = Scenario(cost_basis="marginal", concurrency=48)
    told = story.tell(answer(given, catalog()), catalog())
    assert told.advised is not None and told.advised.best is not None
    phone = width < 500
    with browser.new_context(
        viewport={"width": width, "height": 844},
        color_scheme="dark" if theme == "dark" else "light",
    ) as context:
        page = context.new_page()
        live.open_app(page, f"{app_url}/Batching?{links.encode(given)}")
        page.get_by_role("link", name="Meeting").last.click()
        page.get_by_role("heading", name="Meeting", exact=True).wait_for(timeout=20_000)
        page.locator(CHART).first.wait_for(state="attached", timeout=20_000)
        assert figure(page, told.about) == told.headline
        assert page.get_by_test_id("stText").all_inner_texts() == list(told.sentences)
        sidebar = page.get_by_test_id("stSidebar")
        wait_until(page, lambda: not sidebar.is_visible(), "no sidebar")
        figure_px = page.get_by_test_id("stMetricValue").evaluate(FONT_SIZE)
        words_px = page.get_by_test_id("stText").first.evaluate(FONT_SIZE)
        assert figure_px >= (36 if phone else 80) and words_px >= (17 if phone else 22)
        for mark in ("stMain", "stMetricValue", "stMetricLabel"):
            part = page.get_by_test_id(mark).first
            assert part.evaluate("part => part.scrollWidth <= part.clientWidth + 1"), mark
        page.get_by_role("button", name="Make this change").click()
        wanted = told.advised.best.scenario
        wait_until(page, lambda: scenario_of(page) == wanted, "the next best change")
        page.get_by_role("link", name="Back to Batching").click()
        page.get_by_role("heading", name="Batching", exact=True).wait_for(timeout=20_000)
        wait_until(page, lambda: scenario_of(page) == wanted, "the change on the page before")
        wait_until(page, lambda: phone or sidebar.is_visible(), "the sidebar again")


FONT_SIZE = "part => parseFloat(getComputedStyle(part).fontSize)"


def test_a_report_that_is_dropped_on_the_page_corrects_the_scenario(
    page: Page, app_url: str
) -> None:
    live.open_app(page, f"{app_url}/Trust?v=1")
    report = live.ROOT / "tests" / "uploads" / "guidellm.json"
    page.locator("input[type=file]").set_input_files(report)
    page.get_by_role("button", name="Use this correction").click(timeout=20_000)
    wait_until(page, lambda: scenario_of(page).step_time_correction != 1, "a corrected address")
    page.get_by_role("button", name="Take the correction back").click()
    wait_until(page, lambda: scenario_of(page) == Scenario(), "the address without it")


def test_a_lever_that_is_pulled_is_in_the_address_and_back_takes_it_back(
    page: Page, app_url: str
) -> None:
    live.open_app(page, f"{app_url}/Compression?v=1&m=llama-3.1-8b")
    page.get_by_text("No lever is pulled").wait_for(timeout=20_000)
    page.get_by_test_id("stCheckbox").filter(has_text="Precision").locator("label").first.click()
    wait_for(page, Scenario(scheme="fp8"))
    page.locator(CHART).first.wait_for(state="attached", timeout=20_000)
    page.get_by_test_id("stCheckbox").filter(has_text="Draft").locator("label").first.click()
    wait_for(page, Scenario(scheme="fp8", draft_model="head"))
    page.go_back()
    wait_for(page, Scenario(scheme="fp8"))


def test_sliders_stay_quick_while_the_batching_page_simulates(page: Page, app_url: str) -> None:
    live.open_app(page, f"{app_url}/Batching?v=1")
    slider(page)
    for _ in range(8):
        page.keyboard.press("ArrowRight", delay=5)
    wait_for(page, Scenario(concurrency=64))
    page.get_by_text("requests drawn at random").wait_for(timeout=20_000)
    page.get_by_text("Chosen: 64").wait_for(timeout=20_000)
    # The knee does not depend on what is chosen, so its button leads there from anywhere.
    use = page.get_by_role("button", name=re.compile("^Use ")).first
    count = int(use.inner_text().removeprefix("Use ").replace(",", ""))
    use.click()
    wait_for(page, Scenario(concurrency=count))
    page.get_by_text(f"Chosen: {count}").wait_for(timeout=20_000)


def test_a_point_that_is_clicked_becomes_the_scenario(page: Page, app_url: str) -> None:
    live.open_app(page, f"{app_url}/Hardware?v=1")
    chart = page.locator(".st-key-front .js-plotly-plot")
    chart.wait_for(timeout=30_000)
    chart.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    x, y = page.evaluate(FIRST_POINT, "front")
    page.mouse.move(x - 4, y)
    page.mouse.move(x, y)
    page.wait_for_timeout(300)
    page.mouse.click(x, y)
    found = search(Scenario(), catalog())
    offered = [Scenario().model_copy(update=each.changes) for each in (*found.ranked, *found.front)]
    wait_until(page, lambda: scenario_of(page) in offered, "the address of a configuration")
    page.go_back()
    wait_for(page, Scenario())


FIRST_POINT = """(key) => {
  const graph = document.querySelector(`.st-key-${key} .js-plotly-plot`);
  const trace = graph._fullData.find(each => each.mode === 'markers' && each.customdata);
  const layout = graph._fullLayout, box = graph.getBoundingClientRect();
  return [box.left + layout.xaxis._offset + layout.xaxis.d2p(trace.x[0]),
          box.top + layout.yaxis._offset + layout.yaxis.d2p(trace.y[0])];
}"""
"""Where the first point to click is on the screen; Plotly offers no public way to ask."""


def test_a_policy_that_is_clicked_becomes_the_scenario(page: Page, app_url: str) -> None:
    base = Scenario(policy="hpa", policy_target=0.5)
    live.open_app(page, f"{app_url}/Scaling?{links.encode(base)}")
    chart = page.locator(".st-key-policies .js-plotly-plot")
    chart.wait_for(timeout=60_000)
    chart.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    x, y = page.evaluate(FIRST_POINT, "policies")
    page.mouse.move(x - 4, y)
    page.mouse.move(x, y)
    page.wait_for_timeout(300)
    page.mouse.click(x, y)
    # Points at the edge may cover each other: any of their policies will do.
    wait_until(page, lambda: scenario_of(page) != base, "the address of another policy", 30)
    taken = scenario_of(page)
    assert taken == base.model_copy(
        update={"policy": taken.policy, "policy_target": taken.policy_target}
    )
    page.go_back()
    wait_until(page, lambda: scenario_of(page) == base, "the address as it was")


def test_following_every_request_ends_when_a_slider_is_moved(page: Page, app_url: str) -> None:
    live.open_app(page, f"{app_url}/Scaling?v=1&pol=hpa&rps=100")
    page.get_by_role("button", name="Follow all").click(timeout=60_000)
    page.get_by_role("button", name="Stop").wait_for(timeout=30_000)
    slider(page)
    page.keyboard.press("ArrowRight")
    wanted = Scenario(policy="hpa", requests_per_s=100.0, concurrency=36)
    wait_until(page, lambda: scenario_of(page) == wanted, "the address of another concurrency")
    page.get_by_role("button", name="Follow all").wait_for(timeout=30_000)
    page.get_by_role("button", name="Stop").wait_for(state="detached", timeout=30_000)


def test_a_price_that_is_entered_moves_the_figures_and_is_in_the_address(
    page: Page, app_url: str
) -> None:
    live.open_app(page, f"{app_url}/Buying?v=1")
    page.locator(CHART).first.wait_for(state="attached", timeout=20_000)
    before = figure(page, "Owned, a month")
    page.get_by_text("Change prices and assumptions").click()
    box = page.get_by_label("Purchase price, USD").last
    box.fill("5000")
    box.press("Enter")
    wait_until(
        page, lambda: scenario_of(page).device_purchase_usd == 5000.0, "the price in the address"
    )
    wait_until(page, lambda: figure(page, "Owned, a month") != before, "another cost of owning")


def test_a_comparison_is_one_link(page: Page, app_url: str, browser: Browser) -> None:
    live.open_app(page, f"{app_url}/Compare?v=1&rps=300")
    page.get_by_role("button", name="Pin as A").click()
    wait_until(page, lambda: "A=" in page.url, "A in the address")
    live.settle(page)
    slider(page)
    page.keyboard.press("End")
    verdict = page.get_by_text(re.compile(r"^Now costs "))
    verdict.wait_for(timeout=15_000)
    page.get_by_role("button", name="Pin as B").click()
    wait_until(page, lambda: "B=" in page.url, "B in the address")
    named = page.get_by_label("Name of B")
    named.fill("<b>many</b> at once")
    named.press("Enter")
    wait_until(page, lambda: "many" in page.url, "the name in the address")
    said = page.get_by_text(re.compile(r"^B costs ")).inner_text()
    many = Scenario(requests_per_s=300.0, concurrency=8192)
    compared, problems = links.decode_comparison(page.url)
    assert problems == []
    assert [each.scenario for each in compared.values()] == [
        Scenario(requests_per_s=300.0), many,
    ]  # fmt: skip
    assert money(cost_of(many) * MILLION, many) in said
    with browser.new_context(viewport=live.VIEWPORT) as context:
        other = context.new_page()
        live.open_app(other, page.url)
        other.get_by_text(re.compile(r"^B costs ")).wait_for(timeout=15_000)
        assert other.get_by_text(re.compile(r"^B costs ")).inner_text() == said
        box = other.get_by_label("Name of B")
        wait_until(other, lambda: box.input_value() == "<b>many</b> at once", "the name in its box")
    # One step back takes the name away, one more the scenario.
    page.go_back()
    wait_until(page, lambda: "many" not in page.url and "B=" in page.url, "the name gone")
    wait_until(page, lambda: page.get_by_label("Name of B").input_value() == "", "an empty box")
    page.go_back()
    wait_until(page, lambda: "B=" not in page.url and "A=" in page.url, "B gone")
    page.get_by_role("button", name="Pin as B").wait_for(timeout=10_000)


def cost_of(scenario: Scenario) -> float:
    estimate = answer(scenario, catalog()).estimate
    assert estimate is not None
    return float(estimate.cost_per_inference)


def test_a_remedy_against_waste_is_in_the_address_and_back_takes_it_back(
    page: Page, app_url: str
) -> None:
    live.open_app(page, f"{app_url}/Waste?v=1&nonprod=0.5")
    page.locator(CHART).first.wait_for(state="attached", timeout=20_000)
    before = figure(page, "Paid for nothing")
    page.locator(".st-key-remedy_nonproduction button").first.click()
    wait_until(page, lambda: scenario_of(page).nonproduction_share < 0.5, "a smaller share")
    wait_until(page, lambda: figure(page, "Paid for nothing") != before, "less waste")
    page.go_back()
    wait_until(page, lambda: figure(page, "Paid for nothing") == before, "the waste before")
    slider(page, "Target utilisation")
    page.keyboard.press("End")
    wait_until(page, lambda: scenario_of(page).target_utilisation == 1.0, "the slider's address")
    wait_until(page, lambda: figure(page, "Paid for nothing") != before, "another waste")


def test_a_fleet_with_bad_rows_that_is_dropped_and_edited(page: Page, app_url: str) -> None:
    table = (
        b"resource,model,hardware,replicas,hours,usd_per_hour,requests\n"
        b"<img src=x onerror=alert(1)>,llama,own,2,100,3,1000\n"
        b"second,llama,own,many,100,3,10\n"
        b"third,llama,own,1,100,-3,10\n"
    )
    live.open_app(page, f"{app_url}/Waste?v=1")
    page.get_by_role("tab", name="A fleet from a file").click()
    page.locator("input[type=file]").set_input_files(
        {"name": "mine.csv", "mimeType": "text/csv", "buffer": table}
    )
    page.get_by_text("2 rows left out; used: 1").wait_for(timeout=20_000)
    wait_until(page, lambda: figure(page, "Total") == "$600.00", "the first row's cost")
    assert page.locator("img[src='x']").count() == 0
    page.get_by_text("Edit the table").click()
    grid = page.locator(".st-key-fleet_editor [data-testid=stDataFrame]")
    grid.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    box = grid.bounding_box()
    assert box is not None
    # The second row, from its name to its replicas.
    page.mouse.click(box["x"] + 140, box["y"] + 2.3 * 35)
    page.wait_for_timeout(300)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.keyboard.type("5")
    page.wait_for_timeout(300)
    page.keyboard.press("Enter")
    wait_until(page, lambda: figure(page, "Total") == "$2,100.00", "the mended row's cost as well")


@pytest.mark.parametrize(("kind", "begins"), [("PNG", b"\x89PNG"), ("SVG", b"<svg")])
def test_the_camera_beside_a_chart_saves_it(
    page: Page, app_url: str, tmp_path: Path, kind: str, begins: bytes
) -> None:
    live.open_app(page, app_url)
    page.get_by_role("button", name="Export").click()
    page.get_by_role("radio", name=kind).click()
    live.settle(page)
    page.keyboard.press("Escape")
    page.locator(CHART).first.wait_for(state="attached", timeout=20_000)
    page.locator(".js-plotly-plot").first.hover()
    with page.expect_download(timeout=20_000) as saved:
        page.locator("[data-title*='Download plot']").first.click()
    target = tmp_path / "chart"
    saved.value.save_as(target)
    assert target.read_bytes().startswith(begins)
    assert saved.value.suggested_filename.endswith(f".{kind.lower()}")
