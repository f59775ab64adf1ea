"""Every page as its readers meet it: by keyboard, on a phone, in the dark, with hostile texts.

Pages are taken from the sidebar's own list, so a new one is tested from its first day. Pictures of
all of them are left in ``build/screenshots`` for whoever wants to look; nothing compares them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe

from bench import live
from cpi_model.ui import PAGES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

TITLES = [title for _, title, _ in PAGES]
PICTURES = live.ROOT / "build" / "screenshots"
DESK, PHONE = {"width": 1440, "height": 1000}, {"width": 390, "height": 844}
STREAMLITS_OWN = {
    # A formula that is wider than its box scrolls. Chromium gives whatever scrolls the keyboard by
    # itself, which the rule does not know.
    "scrollable-region-focusable": ".katex-display",
}
"""Violations that no page can mend: rule, and what the element must be."""
MOST_SECTIONS = 15
FAULT = "[data-testid=stException], [data-testid=stAlertContentError]"


@contextmanager
def opened(
    browser: Browser, url: str, title: str, query: str = "v=1", **options: Any
) -> Iterator[Page]:
    """A page in a browser that knows nothing of others; what its scripts raise fails the test."""
    raised: list[str] = []
    with browser.new_context(**({"viewport": DESK} | options)) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: raised.append(str(error)))
        page.on("dialog", lambda dialog: (raised.append(dialog.message), dialog.dismiss()))
        go(page, url, title, query)
        yield page
        assert page.locator(FAULT).count() == 0
        assert raised == []


def go(page: Page, url: str, title: str, query: str = "v=1") -> None:
    """Open a page by its address and wait until all of it is there."""
    live.open_app(page, f"{url}/{'' if title == TITLES[0] else title}?{query}")
    page.get_by_role("heading", name=title, exact=True).wait_for(timeout=30_000)
    rest(page)


def rest(page: Page) -> None:
    """Wait until nothing happens any more: an action is heard a moment before its run begins."""
    page.wait_for_timeout(250)
    live.settle(page, 60)


def figures(page: Page) -> list[str]:
    """What the headline says."""
    return page.get_by_test_id("stMetricValue").all_inner_texts()


def expect_figures(page: Page, wanted: list[str]) -> None:
    """A busy machine may show them a moment after it says that it is done."""
    for _ in range(100):
        if figures(page) == wanted:
            return
        page.wait_for_timeout(100)
    assert figures(page) == wanted


def open_sections(page: Page) -> None:
    """Open every section of the page that is closed; what comes later is opened too."""
    closed = page.locator(
        "[data-testid=stMain] [data-testid=stExpander] details:not([open]) > summary"
    ).locator("visible=true")
    for _ in range(MOST_SECTIONS):
        if not closed.count():
            break
        closed.first.click()
        rest(page)
        assert page.locator(FAULT).count() == 0


def violations(page: Page, *rules: str) -> list[str]:
    """What axe finds serious or worse, without what is Streamlit's own; by some rules or all."""
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found = []
    for rule in Axe().run(page, options=options).response["violations"]:
        own = STREAMLITS_OWN.get(rule["id"])
        for node in rule["nodes"]:
            ours = not own or not all(str(target).endswith(own) for target in node["target"])
            if ours and rule["impact"] in ("serious", "critical"):
                found.append(f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}")
    return found


def picture(page: Page, name: str) -> None:
    """Leave a picture of the whole page."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    size = page.viewport_size or DESK
    height = page.get_by_test_id("stMain").evaluate("main => main.scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": min(height + 20, 6000)})
    page.wait_for_timeout(400)
    page.screenshot(path=PICTURES / f"{name}.png")
    page.set_viewport_size(size)


@pytest.mark.parametrize("title", TITLES)
def test_everyone_can_read_it_light_and_dark_and_on_a_phone(
    browser: Browser, app_url: str, title: str
) -> None:
    with opened(browser, app_url, title, color_scheme="light") as page:
        open_sections(page)
        assert violations(page) == []
        picture(page, f"{title}-light")
        page.set_viewport_size(PHONE)
        rest(page)
        main = page.get_by_test_id("stMain")
        assert main.evaluate("main => main.scrollWidth <= main.clientWidth")
        assert page.evaluate(OUTSIDE) == []
        picture(page, f"{title}-phone")
        page.set_viewport_size(DESK)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(
            "getComputedStyle(document.querySelector('.stApp')).colorScheme === 'dark'"
        )
        assert violations(page, "color-contrast") == []
        page.reload()
        page.get_by_role("heading", name=title, exact=True).wait_for(timeout=30_000)
        rest(page)
        picture(page, f"{title}-dark")


OUTSIDE = """() => [...document.querySelectorAll(
    '[data-testid=stMain] :is([data-testid=stMetric], .js-plotly-plot, [data-testid=stDataFrame],' +
    ' button, input:not([type=range]), p, h1, h5)')]
    .filter(e => e.checkVisibility() && !e.closest('.katex-display, [data-testid=stDataFrame] *,' +
        ' [data-testid=stTabs] [role=tablist]'))
    .filter(e => { const box = e.getBoundingClientRect();
                   return box.width && (box.right > innerWidth + 1 || box.left < -1); })
    .map(e => e.outerHTML.slice(0, 200))"""
"""What lies beside a screen that does not scroll; tables and rows of tabs scroll inside."""


# Widgets -----------------------------------------------------------------------------------------


def slide(one: Locator) -> None:
    one.focus()
    one.press("ArrowRight" if one.get_attribute("max") != one.input_value() else "ArrowLeft")


def choose(one: Locator) -> None:
    one.click()
    for key in ("ArrowDown", "ArrowDown", "Enter", "Escape"):
        one.press(key)


def enter(one: Locator) -> None:
    one.focus()
    one.press("ArrowUp")
    one.press("Enter")


WIDGETS: dict[str, tuple[str, Any]] = {
    "slider": ("input[type=range], [role=slider]", slide),
    "list": ("[data-testid=stSelectbox] input", choose),
    "number": ("[data-testid=stNumberInput] input", enter),
    "switch": ("[data-testid=stCheckbox] label", lambda one: one.click()),
    "tab": ("[role=tab]:not([aria-selected=true])", lambda one: one.click()),
    "one of few": ("[data-testid=stButtonGroup] button", lambda one: one.click()),
}
"""Kinds of widgets: how to find them, and how to move one."""


@pytest.mark.parametrize("title", ["What-if", "Scaling", "Waste"])
def test_each_kind_of_widget_moves_and_the_address_keeps_it(
    browser: Browser, app_url: str, title: str
) -> None:
    with opened(browser, app_url, title) as page:
        open_sections(page)
        before, moved = page.url, []
        for kind, (selector, move) in WIDGETS.items():
            for place in ("stMain", "stSidebar"):
                one = page.get_by_test_id(place).locator(selector).locator("visible=true").first
                if one.count():
                    move(one)
                    rest(page)
                    moved.append(f"{place} {kind}")
                    assert page.locator(FAULT).count() == 0, moved
        if page.get_by_test_id("stSidebar").get_by_role("slider").count():
            assert {"stSidebar slider", "stSidebar list", "stSidebar number"} <= set(moved)
        after = page.url
        said = figures(page)
        if after != before:
            page.go_back()
            page.wait_for_function("after => location.href !== after", arg=after)
            rest(page)
            page.go_forward()
            page.wait_for_function("after => location.href === after", arg=after)
            rest(page)
        page.reload()
        page.wait_for_selector(live.CONTENT, state="attached")
        page.get_by_role("heading", name=title, exact=True).wait_for(timeout=30_000)
        rest(page)
        assert page.url == after
        expect_figures(page, said)


def test_two_people_do_not_see_each_others_changes(browser: Browser, app_url: str) -> None:
    with opened(browser, app_url, TITLES[0]) as one, opened(browser, app_url, TITLES[0]) as other:
        other.get_by_test_id("stMetricValue").nth(9).wait_for()
        before = figures(other)
        slide(one.get_by_role("slider", name="Concurrency").first)
        one.wait_for_function("location.search.includes('c=36')")
        slide(other.get_by_role("slider", name="Output tokens").first)
        other.wait_for_function("location.search.includes('out=300')")
        rest(other)
        assert "c=36" not in other.url and "out=300" not in one.url
        assert figures(other) != before
        other.go_back()
        other.wait_for_function("!location.search.includes('out=300')")
        rest(other)
        expect_figures(other, before)


# The keyboard -------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", TITLES[:1])
def test_the_keyboard_reaches_and_moves_what_the_mouse_does(
    browser: Browser, app_url: str, title: str
) -> None:
    with opened(browser, app_url, title) as page:
        page.add_style_tag(content="* { transition: none !important; }")
        reached: list[dict[str, Any]] = []
        while len(reached) < MOST_STOPS:
            page.keyboard.press("Tab")
            if (stop := page.evaluate(STOP)) is None:
                break
            reached.append(stop)
        assert [each["html"] for each in reached if not each["seen"]] == []
        html = " ".join(each["html"] for each in reached)
        for wanted in ('aria-label="Concurrency"', "stBaseButton", "<summary", "<a "):
            assert wanted in html, wanted
        slide(page.get_by_role("slider", name="Concurrency").first)
        page.wait_for_function("location.search.includes('c=36')")


MOST_STOPS = 60
STOP = """async () => {
  const focus = document.activeElement;
  if (!focus || focus === document.body || focus.dataset.visited) return null;
  focus.dataset.visited = 'yes';
  const around = focus.parentElement.parentElement;
  const drawn = [focus, around, around.parentElement, ...around.querySelectorAll('*')];
  const look = () => JSON.stringify(drawn.map(each => {
    const style = getComputedStyle(each);
    return [style.outline, style.boxShadow, style.borderColor, style.backgroundColor, style.color];
  }));
  const settled = () => new Promise(done => setTimeout(done, 40));
  await settled();
  const with_focus = look();
  focus.blur();
  await settled();
  const without = look();
  focus.focus({focusVisible: true});
  const own = focus.matches('input[type=text], main, canvas');
  return {html: focus.outerHTML.slice(0, 300), seen: own || with_focus !== without};
}"""
"""What has the keyboard, and whether it or something near looks different for that.

A box for text has its caret, a table draws its own mark, and the page itself only scrolls."""


# Texts of others ----------------------------------------------------------------------------------

MARK = "zq7"
HOSTILE = (
    f"<b>{MARK}</b>", f"<img src=x onerror=alert('{MARK}')>", f"<script>alert('{MARK}')</script>",
    f"**{MARK}**", f"[{MARK}](javascript:alert(1))", f"${MARK}^2$", f":red[{MARK}]", f"=1+1+{MARK}",
)  # fmt: skip
RENDERED = f"""() => [...document.querySelectorAll(
    'b, strong, em, i, code, script, img, iframe, .katex, a[href^="javascript"], p span[style]')]
    .filter(e => (e.textContent + (e.getAttribute('onerror') ?? '')).includes('{MARK}'))
    .filter(e => !e.closest('textarea, title'))
    .map(e => e.outerHTML.slice(0, 200))"""
"""Elements that somebody's text has become."""


@pytest.mark.parametrize("title", [TITLES[0], "Library"])
def test_texts_in_a_link_stay_texts(browser: Browser, app_url: str, title: str) -> None:
    keys = ("m", "hw", "q", "cl", "i", "c", "tp", "fx", "st", "unknown", "z")
    query = "&".join(
        f"{key}={quote(HOSTILE[place % len(HOSTILE)])}" for place, key in enumerate(keys)
    )
    with opened(browser, app_url, title, f"v=1&{query}") as page:
        page.get_by_text("Parts of the link were ignored").wait_for()
        assert page.evaluate(RENDERED) == []
        assert page.get_by_text(MARK).count() > 0


def test_texts_of_files_and_boxes_stay_texts(browser: Browser, app_url: str) -> None:
    with opened(browser, app_url, "Trust") as page:
        header = "id,model_class,model,hardware,engine,weight_precision,accelerators,scenario"
        table = "\n".join([header, *(",".join([text] * 8) for text in HOSTILE)])
        files = [
            {"name": f"{text.replace('/', '')}.csv", "mimeType": "text/csv", "buffer": content}
            for text, content in (
                (HOSTILE[1], table.encode()), (HOSTILE[3], b"nothing"), (HOSTILE[5], table.encode())
            )
        ]  # fmt: skip
        page.locator("input[type=file]").set_input_files(files)
        page.get_by_text("Not read; what was there before still is.").wait_for(timeout=20_000)
        rest(page)
        assert page.evaluate(RENDERED) == []
    for title, label in (("Catalog", "Search"), ("Hardware", "Filter")):
        with opened(browser, app_url, title) as page:
            for text in HOSTILE[:3]:
                page.get_by_label(label).first.fill(text)
                page.keyboard.press("Enter")
                rest(page)
                assert page.evaluate(RENDERED) == []


def test_texts_in_the_library_stay_texts(browser: Browser, app_url: str) -> None:
    with opened(browser, app_url, "Library") as page:
        main = page.get_by_test_id("stMain")
        for text in HOSTILE:
            for label in ("Name", "Tags, with commas between them", "Who", "Why"):
                main.get_by_label(label, exact=True).fill(text)
            main.get_by_role("button", name="Save", exact=True).click()
            main.get_by_text(f"Saved as revision 1 of {text}").wait_for(timeout=20_000)
            rest(page)
            assert page.evaluate(RENDERED) == []
        main.get_by_role("button", name="Delete", exact=True).click()
        page.get_by_role("button", name="Delete it").wait_for()
        rest(page)
        assert page.evaluate(RENDERED) == []
