"""Walks all pages: numbers lead to what was counted, actions show what they are in a terminal, addresses hold the view, everything
is worked by the keyboard, and what is empty says what to do next.

A page that is added to `tests/console/addresses.py` is walked too.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from stoker.cli import program
from tests.console.addresses import ADDRESSES
from tests.console.conftest import Window
from tests.console.pages import Walked, furnish
from tests.live import LiveServer

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(600)]  # a browser, a server, real workers


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    """A furnished server."""
    with LiveServer(tmp_path_factory.mktemp("walked")) as live:
        yield furnish(live)


@pytest.fixture
def tab(context: BrowserContext, walked: Walked) -> Iterator[Window]:
    """A tab before it."""
    window = Window(context, walked.live.url)
    window.sign_in()
    yield window
    assert window.wrong == []


def settled(window: Window, path: str) -> Page:
    """The page at an address, once everything on it was read."""
    window.go(path)
    expect(window.page.locator("main")).not_to_contain_text("Loading…")
    return window.page


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────────────────────────

COUNTS: Final = """() => {  // what the server says in a sentence, about a decision or a worker, is no count
    const noun = 'jobs?|workers?|waits?|runs?|releases?|decisions?|endpoints?|notices?';
    const counted = new RegExp(`^\\\\s*\\\\d[\\\\d ]*(\\\\s+(${noun})\\\\b.*)?$`);
    const apart = 'a[href], input, textarea, select, button, code, pre, kbd, .mono, time, svg, label, dt, legend, .hint, [aria-hidden=true]' +
        ', .decision, .why, details ol';
    const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
        const text = walker.currentNode.textContent.trim();
        if (counted.test(text) && !walker.currentNode.parentElement.closest(apart)) found.push(text);
    }
    return found;
}"""
NO_ROWS: Final = {
    "home": r"things? needs? you$",  # the rows are below it
    "endpoint": r"^\d+$|decisions? in this time$",  # GPUs and jobs of a worker in the list; the decisions are below it
    "endpoint-workers": r"^\d+$",  # jobs that a row's worker holds, GPUs that it has: they are on its page
    "endpoint-jobs": r"jobs?( so far)?$|^\d+$",  # the rows are below it; a row's attempts are on its page
    "create": r"runs on the CPU$",  # what a field may say
    "change": r"runs on the CPU$",
    "endpoint-settings": r"^\d+( jobs from a key in ten seconds)?$",  # what was configured: nothing was counted
    "jobs": r"jobs?( so far)?$|^\d+$",  # as those of an endpoint
    "a-job": r"^\d+$",  # in what it was given and answered
    "workers": r"^\d+$",
    "webhooks": r"notices?$",  # the rows are below it
    "budgets": r"^\d+$",  # what was configured
    "audit": r"^\d+$",  # what was configured, before and after
}
"""Numbers without rows of their own, page by page, and why. On every other page there is none."""


@pytest.mark.parametrize("name", ADDRESSES)
def test_numbers_are_links(tab: Window, walked: Walked, name: str) -> None:
    """A number of jobs, workers or whatever else was counted stands in a link to what was counted."""
    page = settled(tab, walked.path(name))
    pattern = NO_ROWS.get(name)
    loose = [text for text in page.evaluate(COUNTS) if pattern is None or not re.search(pattern, text)]
    assert loose == []


@pytest.mark.parametrize("name", ["home", "endpoints", "endpoint", "endpoint-metrics", "endpoint-releases", "members"])
def test_as_many_rows(tab: Window, walked: Walked, context: BrowserContext, name: str) -> None:
    """Behind a link with a number is a list of so many rows."""
    page = settled(tab, walked.path(name))
    counts = page.locator("main a[data-rows]:not([data-rows='0'])")
    expect(counts.first).to_be_visible()
    read = "all => all.map(one => [one.getAttribute('href'), Number(one.dataset.rows)])"
    told = dict(counts.evaluate_all(read))
    other = Window(context, walked.live.url)
    for href, count in told.items():
        other.go(href)
        rows = other.page.locator("main table[aria-rowcount]").first
        expect(rows, f"{name}: {href}").to_have_attribute("aria-rowcount", str(count + 1))


# ── actions ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def lines_of(where: Locator) -> dict[str, str]:
    """What stands in a terminal's box, by its name."""
    read = "all => all.map(one => [one.textContent, one.nextElementSibling.textContent])"
    return dict(where.locator("dl:has(pre) > dt").evaluate_all(read))


class Typed(io.StringIO):
    """A person who types the same word whenever one is asked for."""

    def read(self, size: int | None = -1, /) -> str:
        """All that is typed."""
        return "hush"

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        """One line of it."""
        return "hush\n"


@pytest.fixture(autouse=True)
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that command lines ask for."""
    monkeypatch.setattr(sys, "stdin", Typed())


def accepted(line: str) -> None:
    """Our command line takes the line. Raises what click says against it."""
    with ThreadPoolExecutor(1) as apart:  # the browser's event loop runs in this thread; a command may wait
        apart.submit(parse, line).result()


def parse(line: str) -> None:
    """What the program does before it acts."""
    command: click.Command = program
    context: click.Context | None = None
    words = shlex.split(line)
    assert words[0] == "stoker"
    name, rest = words[0], words[1:]
    while isinstance(command, click.Group):
        context = command.make_context(name, rest, parent=context)
        found, command_found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command_found is not None, line
        assert found is not None
        name, command = found, command_found
    command.make_context(name, rest, parent=context)


def routed(walked: Walked, line: str) -> None:
    """The call of the line is one that the API has."""
    words = shlex.split(line)
    assert words[0] == "curl"
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
    path = urlsplit(next(word for word in words if word.startswith("http"))).path
    paths: dict[str, Any] = walked.live.api.get("/api/openapi.json").json()["paths"]
    fits = [one for one in paths if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", one), path)]
    assert any(method.lower() in paths[one] for one in fits), line


@pytest.mark.parametrize("name", ADDRESSES)
def test_actions_are_told(tab: Window, walked: Walked, name: str) -> None:
    """Each action that asks first shows a line for the CLI that it takes, and a call that the API has; the keyboard then is where it was."""
    page = settled(tab, walked.path(name))
    actions = page.locator("main button[aria-haspopup=dialog]:visible:enabled")
    for number in range(actions.count()):
        action = actions.nth(number)
        label = action.inner_text()
        action.click()
        dialog = page.get_by_role("dialog")
        told = lines_of(dialog)
        assert {"CLI", "curl"} <= told.keys(), f"{name}: {label}"
        accepted(told["CLI"])
        routed(walked, told["curl"])
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(action, f"{name}: {label}").to_be_focused()


def test_not_now(tab: Window, walked: Walked) -> None:
    """Who says no to a dialog goes on where they were."""
    page = settled(tab, walked.path("endpoint-settings"))
    action = page.get_by_role("button", name="Empty the queue")
    action.focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Not now").press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(action).to_be_focused()


def test_form_is_told(tab: Window, walked: Walked) -> None:
    """The form of an endpoint tells every field that was filled in: as options that the CLI takes, and as the body of the call."""
    page = settled(tab, walked.path("create"))
    page.get_by_label("Name", exact=True).fill("told")
    page.get_by_label("Image", exact=True).fill("dir:/srv/x")
    for label in ("Command", "Entrypoint"):
        page.get_by_label(label, exact=True).fill("python -u x.py")
    for label, value in (("CUDA", "12.4"), ("Health check", "/health"), ("Webhook", "https://example.com/x")):
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_label("Registry credential").select_option("walked")
    page.get_by_label("Volumes").fill("walked:/data:ro")
    for entry in page.locator("main input[inputmode=numeric]").all():
        entry.fill("7")
    page.get_by_role("button", name="Add a variable").click()
    page.get_by_label("Name of variable 1").fill("STYLE")
    page.get_by_label("Value of variable 1", exact=True).fill("new")
    told = lines_of(page.get_by_role("complementary", name="Review"))
    accepted(told["CLI"])
    routed(walked, told["curl"])
    body = json.loads(shlex.split(told["curl"])[-1])
    assert len(body) > 20
    assert body["health"]["failures"] == 7


# ── addresses ─────────────────────────────────────────────────────────────────────────────────────────────────────────

VIEW: Final = """() => {
    const texts = (selector, of) => [...document.querySelectorAll('main ' + selector)].map(of);
    return {
        tabs: texts('[aria-current]', one => one.textContent.trim()),
        pressed: texts('[aria-pressed=true]', one => one.textContent.trim()),
        filled: texts('input:not([type=checkbox]), select', one => one.value),
        checked: texts('input:checked', one => one.parentElement.textContent.trim()),
        sorted: texts('th[aria-sort]', one => one.textContent.trim() + ' ' + one.ariaSort),
        rows: texts('tbody tr td:first-child', one => one.textContent.trim()),
        open: texts('details[open]', one => one.querySelector('summary').textContent.trim()),
    };
}"""


def sort_by(label: str, *, times: int = 2) -> Callable[[Page], None]:
    """Press a head of the table."""

    def press(page: Page) -> None:
        for _ in range(times):
            page.locator("main th").get_by_role("button", name=label).click()

    return press


CHANGES: Final[dict[str, Callable[[Page], object]]] = {
    "endpoints": sort_by("Run p95"),
    "endpoint": lambda page: page.get_by_role("button", name="30 min").click(),
    "endpoint-jobs": lambda page: (
        page.get_by_label("State", exact=True).select_option("failed"),
        sort_by("Ran")(page),
    ),
    "endpoint-workers": lambda page: page.get_by_label("Also those that went").check(),
    "endpoint-metrics": lambda page: page.get_by_role("button", name="6 h").click(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_address_holds_the_view(tab: Window, walked: Walked, context: BrowserContext, name: str) -> None:
    """What was chosen on a page is in its address: another tab shows the same, and going back and forward brings it again."""
    page = settled(tab, walked.path(name))
    before = page.evaluate(VIEW)
    CHANGES[name](page)
    expect(page).to_have_url(re.compile(r"\?"))
    page.wait_for_function(f"before => JSON.stringify(({VIEW})()) !== JSON.stringify(before)", arg=before)
    chosen = page.evaluate(VIEW)
    other = Window(context, walked.live.url)
    other.go(page.url.removeprefix(walked.live.url))
    same = f"wanted => JSON.stringify(({VIEW})()) === JSON.stringify(wanted)"
    other.page.wait_for_function(same, arg=chosen)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="About").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("About")
    page.go_back()
    page.wait_for_function(same, arg=chosen)
    page.go_forward()
    expect(page.get_by_role("heading", level=1)).to_have_text("About")


# ── the keyboard ──────────────────────────────────────────────────────────────────────────────────────────────────────

STEP: Final = """() => {
    const one = document.activeElement;
    const style = getComputedStyle(one);
    const seen = style.outlineStyle !== 'none' || style.boxShadow !== 'none';
    one.dataset.reached = '1';
    return one === document.body ? null : [one.outerHTML.slice(0, 120), seen];
}"""
MISSED: Final = """() => [...document.querySelectorAll('a[href], button:enabled, input:enabled, select, textarea, summary')]
    .filter(one => one.checkVisibility() && one.dataset.reached !== '1' && one.tabIndex >= 0)
    .map(one => one.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("name", ADDRESSES)
def test_everything_is_reached_by_tab(tab: Window, walked: Walked, name: str) -> None:
    """The first step is over the navigation; then every link and every control of the page is reached, and is seen to be."""
    page = settled(tab, walked.path(name))
    page.keyboard.press("p")  # nothing is drawn anew meanwhile
    page.evaluate("() => document.activeElement.blur()")
    unseen = []
    for _ in range(400):
        page.keyboard.press("Tab")
        step = page.evaluate(STEP)
        if step is None:
            break
        if not step[1]:
            unseen.append(step[0])
    assert unseen == []
    assert page.evaluate(MISSED) == []


def test_the_navigation_is_passed_over(tab: Window, walked: Walked) -> None:
    """The first step of the keyboard offers to go to the page, past the navigation."""
    page = settled(tab, walked.path("endpoints"))
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


# ── nothing yet ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def nothing(tmp_path: Path) -> Iterator[LiveServer]:
    """A server on which nothing is."""
    with LiveServer(tmp_path / "nothing") as live:
        yield live


EMPTY: Final = (
    "home",
    "endpoints",
    "jobs",
    "workers",
    "playground",
    "storage",
    "credentials",
    "templates",
    "usage",
    "budgets",
)


def test_what_to_do_next(context: BrowserContext, nothing: LiveServer) -> None:
    """Where nothing is yet a page says why, and has something to press, to follow or to type that is the next step."""
    window = Window(context, nothing.url)
    window.sign_in()
    for name in EMPTY:
        path = re.split(r"[?]|/\{", ADDRESSES[name])[0]
        window.go(path)
        said = window.page.locator("main .empty")
        expect(said, name).to_be_visible()
        assert len(said.inner_text()) > 30, name
    assert window.wrong == []
