"""What several tests share: repeatable Hypothesis runs, a served app and a browser.

Browser tests take the fixture ``page``; it brings its own server. Where no Chromium is installed
they are skipped, and fail under ``CI=true`` so that nothing passes by not running.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from bench import live

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parent.parent

# Shared machines stall now and then: a slow example is no failure. In continuous integration the
# examples are the same every time, so that a red build is red again on the second look.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what drives a browser, so that `-m "not browser"` leaves the quick tests."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.fixture(scope="session", autouse=True)
def _library_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests must not write into the library of whoever runs them."""
    with pytest.MonkeyPatch.context() as environment:
        file = tmp_path_factory.mktemp("library") / "library.db"
        environment.setenv("CPI_DATABASE_URL", f"sqlite:///{file}")
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    if live.chromium() is None:
        reason = "no Chromium on this machine; `make browser` installs it where it may"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with live.browser() as started:
        yield started


@pytest.fixture(scope="session")
def app_url() -> Iterator[str]:
    """Address of a running app, shared by the tests that do not need a fresh server."""
    with live.serve(ROOT / "app.py") as url:
        yield url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A browser tab that knows nothing of other tests."""
    with browser.new_context(viewport=live.VIEWPORT) as context:
        yield context.new_page()
