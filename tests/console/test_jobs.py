"""Many jobs in the browser: looked for by the server, and changed as many as are found."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.console.conftest import Window, looked_at, workers_of
from tests.live import LiveServer

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]  # a browser, a server, real workers


def test_jobs_that_are_found(window: Window, live: LiveServer) -> None:
    """Filters are in the address and asked of the server: also jobs that no page has read are found, exported and cancelled; the others
    stay as they are."""
    live.create("sought", image=workers_of("hello"), command=f"{sys.executable} -u handler.py")
    live.api.post("/api/endpoints/sought/pause")
    sought = live.run("sought", 0)
    for number in range(600):
        live.run("sought", number)
    page = window.page
    window.go("/endpoints/sought/jobs")
    page.get_by_role("searchbox", name="Search jobs").fill(sought[9:])
    expect(page.locator(f'a[href="/jobs/{sought}"]')).to_be_visible()
    expect(page.get_by_text("1 job", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(rf"q={sought[9:]}"))
    looked_at(window, "jobs-found")
    with page.expect_download() as coming:
        page.get_by_role("button", name="Export").click()
    (line,) = Path(coming.value.path()).read_text().splitlines()
    assert json.loads(line)["id"] == sought

    page.get_by_role("button", name="Cancel all that are found").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("stoker job cancel-all sought --text")
    dialog.get_by_role("button", name="Cancel them").click()
    expect(page.locator(".notices")).to_contain_text("1 job cancelled")
    assert live.job(sought)["state"] == "cancelled"
    assert live.api.get("/api/endpoints/sought").json()["jobs"]["queued"] == 600
    page.get_by_label("State", exact=True).select_option("failed")
    expect(page.get_by_text("No job is like this")).to_be_visible()
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.get_by_text("500 jobs so far")).to_be_visible()


def test_saved_views(window: Window, live: LiveServer) -> None:
    """Filters get a name for the whole team, are chosen by it on any endpoint, and are forgotten."""
    for name in ("viewed", "viewed-too"):
        live.create(name, image=workers_of("hello"), command=f"{sys.executable} -u handler.py")
        live.api.post(f"/api/endpoints/{name}/pause")
        live.run(name, 0)
    page = window.page
    window.go("/endpoints/viewed/jobs")
    page.get_by_label("State", exact=True).select_option("failed")
    page.get_by_role("searchbox", name="Search jobs").fill("out of memory")
    expect(page).to_have_url(re.compile("q=out"))
    page.get_by_role("button", name="Save this view").click()
    page.get_by_label("Name of the view").fill("short of memory")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Saved views")).to_have_value("short of memory")
    looked_at(window, "jobs-view")

    window.go("/endpoints/viewed-too/jobs")
    expect(page.get_by_text("1 job", exact=True)).to_be_visible()
    page.get_by_label("Saved views").select_option("short of memory")
    expect(page).to_have_url(re.compile(r"/endpoints/viewed-too/jobs\?(?=.*state=failed)(?=.*q=out)"))
    expect(page.get_by_text("No job is like this")).to_be_visible()
    saved = {"state": "failed", "text": "out of memory"}
    assert [(one["name"], one["filters"]) for one in live.api.get("/api/views").json()["views"]] == [
        ("short of memory", saved)
    ]
    page.get_by_role("button", name="Forget this view").click()
    expect(page.get_by_role("dialog")).to_contain_text("stoker view rm 'short of memory'")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Saved views")).to_have_count(0)
