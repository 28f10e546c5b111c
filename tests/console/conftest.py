"""A real browser before a real server with real workers.

Screenshots of what was looked at are kept in `screenshots/`, for people to look at them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

from stoker.web.console import BUILT, PAGE
from tests.live import KEY, ROOT, LiveServer

CHROMIUM = shutil.which("chromium")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = ROOT / "console" / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = ROOT / "screenshots"
THEMES = ("light", "dark")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium. Not for the whole run: while it is driven an event loop runs in this process, and asynchronous tests of
    other files could not run theirs."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    if not (BUILT / PAGE).exists():
        pytest.skip("needs the built console: make console")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The server, for all tests of a process."""
    with LiveServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser that nobody has used before."""
    context = chromium.new_context(viewport={"width": 1360, "height": 860}, reduced_motion="reduce")
    context.set_default_timeout(30_000)
    yield context
    context.close()


class Window:
    """A tab of the browser, in which nothing may go wrong unseen."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.page: Page = context.new_page()
        self.wrong: list[str] = []
        """What the page complained about: exceptions, refused scripts and styles."""
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: self._hear(said.type, said.text))

    def _hear(self, kind: str, text: str) -> None:
        expected = re.search(r"status of (400|401|403|404|409|503)|net::ERR_", text)
        if kind == "error" and not expected:
            self.wrong.append(text)

    def sign_in(self, key: str = KEY) -> None:
        """Come in with a key."""
        self.page.goto(self.url)
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("navigation", name="Pages").wait_for()

    def go(self, path: str) -> None:
        """Open an address."""
        try:
            self.page.goto(self.url + path)
        except Error as error:  # engines in other tests make interfaces, and Chromium drops what is under way then
            if "ERR_NETWORK_CHANGED" not in error.message:
                raise
            self.page.goto(self.url + path)
        self.page.get_by_role("heading", level=1).wait_for()

    def theme(self, name: str) -> None:
        """Choose a theme, as the button would."""
        self.page.evaluate("name => localStorage.setItem('stoker-theme', name)", name)
        self.page.reload()
        self.page.get_by_role("heading", level=1).wait_for()

    def shot(self, name: str) -> None:
        """Keep what it looks like."""
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")

    def barriers(self) -> list[str]:
        """What would keep people from using the page as it is, by axe's rules."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE.read_text("utf-8") + "\n;0")
        found: list[dict[str, Any]] = self.page.evaluate("() => axe.run().then(done => done.violations)")
        return [
            f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for one in found
            for node in one["nodes"]
        ]


@pytest.fixture
def window(context: BrowserContext, live: LiveServer) -> Iterator[Window]:
    """A tab in which our team's admin is signed in; nothing may have gone wrong in it at the end."""
    window = Window(context, live.url)
    window.sign_in()
    yield window
    assert window.wrong == []


def looked_at(window: Window, name: str) -> None:
    """Nothing on the page keeps people from using it, in both themes; and a picture of each."""
    for theme in THEMES:
        window.page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
        assert window.barriers() == [], f"{name}, {theme}"
        window.shot(f"{name}-{theme}")


def workers_of(example: str) -> Path:
    """The directory of an example, as an image."""
    return ROOT / "examples" / example
