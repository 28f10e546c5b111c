"""Pages follow what happens: in two tabs, over a broken stream and a restart; and show each person what is theirs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.console.conftest import Window, workers_of
from tests.live import LiveServer, until

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]  # a browser, a server, real workers

COMMAND = f"{sys.executable} -u handler.py"


def idle(live: LiveServer, name: str) -> None:
    """An endpoint whose queue stays: it is paused."""
    live.create(name, image=workers_of("hello"), command=COMMAND)
    assert live.api.post(f"/api/endpoints/{name}/pause").status_code == 200


def test_two_tabs(window: Window, context: BrowserContext, live: LiveServer) -> None:
    """What is done in one tab is seen in the other, by itself; signing out in one ends both."""
    idle(live, "two-tabs")
    other = Window(context, live.url)
    other.go("/endpoints/two-tabs/jobs")
    window.go("/endpoints/two-tabs/jobs")
    job = live.run("two-tabs", 1)
    for tab in (window, other):
        expect(tab.page.get_by_role("link", name=job[:8])).to_be_visible()
    window.page.get_by_role("button", name="Sign out").click()
    expect(other.page.get_by_label("API key")).to_be_visible()
    assert other.wrong == []


def test_paused(window: Window, live: LiveServer) -> None:
    """A paused page says so and stays as it is; going on brings everything that was missed."""
    idle(live, "paused-page")
    window.go("/endpoints/paused-page/jobs")
    expect(window.page.get_by_text("No jobs yet")).to_be_visible()
    window.page.get_by_role("button", name="Live").click()
    expect(window.page.get_by_role("button", name="Paused")).to_be_visible()
    job = live.run("paused-page", 1)
    assert live.job(job)["state"] == "queued"
    expect(window.page.get_by_text("No jobs yet")).to_be_visible()
    window.page.get_by_role("button", name="Paused").click()
    expect(window.page.get_by_role("link", name=job[:8])).to_be_visible()
    window.go("/")
    expect(window.page.get_by_role("region", name="Queues")).to_contain_text("1 wait up to")


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[LiveServer]:
    """A server on which nothing happens but what a test does: a page shows the newest events only, others' would push ours away."""
    with LiveServer(tmp_path) as server:
        yield server


def test_broken_stream_resumes_without_gaps(context: BrowserContext, alone: LiveServer) -> None:
    """A stream of events that broke goes on after the last event that was seen: none is missed, none comes twice."""
    idle(alone, "broken")
    window = Window(context, alone.url)
    window.sign_in()
    page = window.page
    page.on(
        "request",
        lambda asked: seen.append(asked.headers.get("last-event-id", "")) if "/api/events" in asked.url else None,
    )
    seen: list[str] = []
    window.go("/")
    expect(page.get_by_role("button", name="Live")).to_be_visible()
    happens = page.get_by_role("region", name="What happens")
    first = alone.run("broken", 1)
    expect(happens.get_by_role("link", name="job submitted")).to_have_count(1)
    context.set_offline(True)
    page.evaluate("dispatchEvent(new Event('online'))")
    alone.stop()
    expect(page.get_by_role("button", name="Reconnecting")).to_be_visible()
    alone.start()
    missed = [alone.run("broken", number) for number in (2, 3)]
    context.set_offline(False)
    expect(page.get_by_role("button", name="Live")).to_be_visible(timeout=60_000)
    links = happens.get_by_role("link", name="job submitted")
    expect(links).to_have_count(3)
    shown = [link.get_attribute("href") for link in links.all()]
    assert shown == [f"/jobs/{job}" for job in (*reversed(missed), first)]
    assert seen[0] == ""
    assert seen[-1] != ""
    assert window.wrong == []


def test_restart_under_an_open_page(window: Window, live: LiveServer) -> None:
    """A server that is killed and comes back is found again by the page: it says that it reconnects, and then shows what is new."""
    idle(live, "restarted")
    window.go("/endpoints/restarted/jobs")
    expect(window.page.get_by_role("button", name="Live")).to_be_visible()
    live.kill()
    expect(window.page.get_by_role("button", name="Reconnecting")).to_be_visible()
    live.start()
    expect(window.page.get_by_role("button", name="Live")).to_be_visible(timeout=60_000)
    job = live.run("restarted", 1)
    expect(window.page.get_by_role("link", name=job[:8])).to_be_visible()


def test_ten_thousand_jobs(window: Window, live: LiveServer) -> None:
    """A list of 10,000 jobs is read as it is scrolled, holds few rows at a time, and reaches its end."""
    idle(live, "many")
    for number in range(10_000):
        live.api.post("/v2/many/run", json={"input": number})
    page = window.page
    window.go("/endpoints/many/jobs")
    expect(page.get_by_role("table", name="Jobs of many")).to_be_visible()

    def whole() -> bool:
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.locator("tbody tr").count() < 120
        return page.get_by_text("10 000 jobs", exact=True).is_visible()

    until(whole, what="the end of the list", patience_s=120)


def test_what_is_not_ours_does_not_exist(window: Window, live: LiveServer, tmp_path: Path) -> None:
    """The address of something that another team has, or nobody, says that it does not exist."""
    for path in ("/endpoints/theirs", "/jobs/01a21a7d-0000-7000-8000-000000000000", "/workers/nobody0000"):
        window.go(path)
        expect(window.page.get_by_text("This does not exist")).to_be_visible()
        assert window.barriers() == [], path
