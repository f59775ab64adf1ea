"""A served app and a browser to look at it: for the benchmark and for the browser tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

ROOT = Path(__file__).resolve().parent.parent
VIEWPORT: ViewportSize = {"width": 1280, "height": 900}
START_TIMEOUT_S = 60
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
"""Selector that matches when no script is running."""
CONTENT = '[data-testid="stElementContainer"]'
"""Selector of anything that a script has drawn."""


def chromium() -> str | None:
    """Path of the installed Chromium, None where there is none; CHROMIUM=path overrides."""
    candidates = (os.environ.get("CHROMIUM", ""), *NAMES)
    return next((path for name in candidates if name and (path := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start headless Chromium; it stops with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium(),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        try:
            yield started
        finally:
            started.close()


@contextmanager
def serve(script: Path) -> Iterator[str]:
    """Run a Streamlit script on a free port and give its address; it stops with the block."""
    with process(script) as (url, _):
        yield url


@contextmanager
def process(script: Path) -> Iterator[tuple[str, int]]:
    """The same, with the number of the server's process."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    options = {
        "server.address": "127.0.0.1",
        "server.port": str(port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(script), *flags],
        cwd=ROOT,  # .streamlit/config.toml is read from here
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_healthy(server, url)
        yield url, server.pid
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def open_app(page: Page, url: str, timeout_s: float = 60) -> None:
    """Go to an address and wait until the script there has run to its end."""
    page.goto(url)
    # Before the first run the page calls itself idle as well, but shows nothing.
    page.wait_for_selector(CONTENT, state="attached", timeout=timeout_s * 1000)
    settle(page, timeout_s)


def settle(page: Page, timeout_s: float = 30) -> None:
    """Wait until the script has run to its end.

    Between an action and the run that it starts the page is idle for some milliseconds: to see
    the outcome of an action, wait for what it changes, not only for this.
    """
    page.wait_for_selector(IDLE, timeout=timeout_s * 1000)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(server: subprocess.Popen[bytes], url: str) -> None:
    give_up = time.monotonic() + START_TIMEOUT_S
    # Proxies of the environment must not come between us and our own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < give_up:
        if server.poll() is not None:
            raise RuntimeError(f"the server stopped at once with exit code {server.returncode}")
        try:
            with opener.open(f"{url}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{url} did not answer within {START_TIMEOUT_S} s")
