"""The way of somebody who is here for the first time, in one sitting; and what the pages look like on it."""

from __future__ import annotations

import re
import sys

import pytest
from playwright.sync_api import expect

from tests.console.conftest import Window, looked_at, workers_of
from tests.live import LiveServer

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]  # a browser, a server, real workers

COMMAND = f"{sys.executable} -u handler.py"


def create(window: Window, name: str, example: str) -> None:
    """Fill in the form, look at the review, deploy."""
    page = window.page
    window.go("/endpoints/new")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Image", exact=True).fill("dir:/nowhere")
    page.get_by_label("Command", exact=True).fill(COMMAND)
    page.get_by_role("button", name="Check it").click()
    expect(page.get_by_role("alert").first).to_be_visible()
    assert window.barriers() == []
    page.get_by_label("Image", exact=True).fill(f"dir:{workers_of(example)}")
    page.get_by_role("button", name="Check it").click()
    page.get_by_role("button", name="Deploy").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def run(window: Window, name: str, order: str) -> None:
    """Run an input in the playground."""
    window.go(f"/playground/{name}")
    window.page.get_by_role("textbox", name="Input").fill(order)
    window.page.get_by_role("button", name="Run", exact=True).click()


def confirm(window: Window, label: str) -> None:
    """Press an action's button, and say yes to the dialog that shows what it does."""
    window.page.get_by_role("button", name=label).first.click()
    dialog = window.page.get_by_role("dialog", name=label)
    expect(dialog).to_contain_text("stoker ")
    expect(dialog).to_contain_text("curl ")
    dialog.get_by_role("button", name=label).click()


def test_from_nothing_to_a_picture_and_back(window: Window, live: LiveServer) -> None:
    """Create, run, see the picture, read the waterfall, cancel, edit, roll back, delete: all in the browser."""
    page = window.page
    create(window, "first", "pictures")
    run(window, "first", '{"kind": "julia", "width": 64, "height": 64, "seed": 1}')
    result = page.get_by_role("region", name="Result")
    expect(result).to_contain_text("completed", timeout=90_000)
    picture = result.get_by_role("img", name="The picture in image_base64")
    expect(picture).to_be_visible()
    assert picture.evaluate("one => one.naturalWidth") == 64

    result.get_by_role("link", name=re.compile("^Job ")).click()
    stages = page.get_by_role("list", name="Stages of the job")
    expect(stages).to_contain_text("Queued")
    for stage in ("Received", "Worker chosen", "Worker launched", "First take"):
        expect(stages).to_contain_text(stage)
    expect(stages).to_contain_text("Attempt 1")
    expect(stages).to_contain_text("Result: completed")
    expect(page.get_by_role("region", name="Input")).to_contain_text("julia")
    looked_at(window, "job")

    live.create("slow-one", image=workers_of("hello"), command=COMMAND)
    run(window, "slow-one", '{"prompt": "x", "seconds": 600}')
    confirm(window, "Cancel")
    expect(page.get_by_role("region", name="Result")).to_contain_text("cancelled")

    window.go("/endpoints/first/edit")
    page.get_by_label("Most workers").fill("2")
    page.get_by_role("button", name="Add a variable").click()
    page.get_by_label("Name of variable 1").fill("STYLE")
    page.get_by_label("Value of variable 1", exact=True).fill("new")
    page.get_by_role("button", name="Show the difference").click()
    review = page.get_by_role("complementary", name="Review")
    expect(review).to_contain_text("STYLE")
    expect(review).to_contain_text("This makes a new release")
    looked_at(window, "edit")
    page.get_by_role("button", name="Make the release").click()
    expect(page.get_by_role("list", name="Releases")).to_contain_text("Release 2")
    looked_at(window, "releases")

    confirm(window, "Roll back to 1")
    expect(page.get_by_role("list", name="Releases")).to_contain_text("Release 3")
    assert live.api.get("/api/endpoints/first").json()["env"] == {}

    window.go("/endpoints/first/settings")
    looked_at(window, "settings")
    confirm(window, "Delete")
    expect(page.get_by_role("heading", level=1)).to_have_text("Endpoints")
    assert live.api.get("/api/endpoints/first").status_code == 404


def test_a_stream_in_the_playground(window: Window, live: LiveServer) -> None:
    """What a handler yields is shown part by part while it runs, to the page that ran it."""
    live.create("tale", image=workers_of("stream"), command=COMMAND, min_workers=1, max_workers=1)
    run(window, "tale", '{"text": "one two three four", "words_per_second": 1}')
    result = window.page.get_by_role("region", name="Result")
    parts = result.get_by_role("list", name="Parts of the stream").get_by_role("listitem")
    expect(parts.first).to_contain_text("one", timeout=90_000)
    expect(result).to_contain_text("running")
    expect(parts).to_have_count(4, timeout=30_000)
    expect(result).to_contain_text("completed", timeout=30_000)
    looked_at(window, "playground-stream")
