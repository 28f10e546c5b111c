"""What every page has: signing in and out, going anywhere by keyboard, themes, sizes, no barriers."""

from __future__ import annotations

import gzip
import json
import re

import pytest
from playwright.sync_api import BrowserContext, expect

from stoker.web.console import BUILT
from tests.console.conftest import Window, looked_at, workers_of
from tests.live import KEY, LiveServer

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SCRIPT_BYTES_MAX = 150_000
"""Of a page, compressed."""


def test_signing_in_and_out(context: BrowserContext, live: LiveServer) -> None:
    """A wrong key is refused in words; the right one opens the page that was asked for; signing out closes it."""
    window = Window(context, live.url)
    page = window.page
    page.goto(f"{live.url}/endpoints?q=x")
    page.get_by_label("API key").fill("sk_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("the API key is not valid")
    looked_at(window, "sign-in")
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Endpoints")
    assert page.url.endswith("/endpoints?q=x")
    assert KEY not in json.dumps(context.storage_state())
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()
    assert window.wrong == []


def test_keyboard(window: Window, live: LiveServer) -> None:
    """Everything is reached without a mouse: by `g` and a letter, by the palette, by its help."""
    live.create("by-keyboard", image=workers_of("hello"), command="python -u handler.py")
    page = window.page
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page.get_by_role("heading", level=1)).to_have_text("Endpoints")
    expect(page.get_by_role("link", name="by-keyboard")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("by-key")
    expect(page.get_by_role("link", name="by-keyboard")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/endpoints\?q=by-key$"))
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox")).to_be_focused()
    assert window.barriers() == []
    page.keyboard.type("home")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Home")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert window.barriers() == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_unknown_addresses(window: Window, live: LiveServer) -> None:
    """An address below a page's that means nothing says so, with a way on."""
    window.go("/endpoints/a/b/c/d/e")
    expect(window.page.get_by_role("heading", level=1)).to_have_text("No such page")
    window.page.get_by_role("link", name="Go home").click()
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Home")


def test_script_is_small() -> None:
    """The script of any page, with everything that all pages load, stays under 150 KB compressed."""
    sizes = {file.name: len(gzip.compress(file.read_bytes())) for file in (BUILT / "assets").glob("*.js")}
    page = (BUILT / "index.html").read_text("utf-8")
    always = set(re.findall(r"/assets/([^\"]+\.js)", page))
    assert always
    together = sum(sizes[name] for name in always)
    others = {name: size for name, size in sizes.items() if name not in always}
    assert together + sum(sorted(others.values())[-3:]) < SCRIPT_BYTES_MAX, sizes
