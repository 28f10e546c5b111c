"""The playground: an input is written, run and followed; and the same call is made by every other client, as the page says it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.console.conftest import Window, looked_at, workers_of
from tests.live import KEY, LiveServer
from tests.sdk.places import interpreter

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]  # a browser, a server, real workers

COMMAND = f"{sys.executable} -u handler.py"
ORDER = """{"name": "Ann's \\"friend\\" é 🦊", "seconds": 0, "more": [true, false, null, 1.5]}"""
GREETING = """Hello, Ann's "friend" é 🦊!"""


@pytest.fixture(scope="module")
def playing(live: LiveServer) -> Iterator[str]:
    """An endpoint with a worker."""
    live.create("playing", image=workers_of("hello"), command=COMMAND, min_workers=1, max_workers=1)
    yield "playing"
    live.api.delete("/api/endpoints/playing")


def test_what_is_no_json(window: Window, playing: str) -> None:
    """What is no JSON is told while it is written, and cannot be run; what is right can be tidied."""
    page = window.page
    window.go(f"/playground/{playing}")
    field = page.get_by_role("textbox", name="Input")
    field.fill('{"name": }')
    expect(page.get_by_text("This is no JSON")).to_contain_text("Unexpected token '}'")
    for label in ("Run", "Tidy"):
        expect(page.get_by_role("button", name=label, exact=True)).to_be_disabled()
    looked_at(window, "playground-no-json")
    field.fill('{"name":"x"}')
    page.get_by_role("button", name="Tidy").click()
    expect(field).to_have_value('{\n  "name": "x"\n}')


def test_progress_and_recent_inputs(window: Window, live: LiveServer, playing: str) -> None:
    """What a handler reports is shown while it runs; what was run is there to begin with again, also for who opens its address."""
    page = window.page
    window.go(f"/playground/{playing}")
    field = page.get_by_role("textbox", name="Input")
    field.fill('{"name": "somebody", "seconds": 600}')
    field.press("Control+Enter")
    result = page.get_by_role("region", name="Result")
    expect(result.get_by_role("heading", name="Progress")).to_be_visible(timeout=90_000)
    expect(result).to_contain_text("step")
    looked_at(window, "playground-progress")
    result.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(result).to_contain_text("cancelled")
    page.reload()
    expect(field).to_have_value(re.compile("somebody"))
    window.go(f"/playground/{playing}")
    page.get_by_label("Recent inputs").select_option(label='{ "name": "somebody", "seconds": 600 }')
    expect(field).to_have_value(re.compile("somebody"))


@pytest.mark.sdk
@pytest.mark.parametrize("client", ["CLI", "curl", "Runpod", "Novita"])
def test_the_same_call_elsewhere(window: Window, live: LiveServer, playing: str, client: str) -> None:
    """What the page shows for a client can be run as it is, with the key in its variable, and makes the same job."""
    page = window.page
    window.go(f"/playground/{playing}")
    page.get_by_role("textbox", name="Input").fill(ORDER)
    term = page.locator("dt").filter(has_text=re.compile(f"^{client}$"))
    told = term.locator("xpath=following-sibling::dd[1]").inner_text()
    assert KEY not in told
    program = {"Runpod": [interpreter("runpod-1.12.0"), "-c"], "Novita": [interpreter("novita-gpus-0.0.1"), "-c"]}
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("RUNPOD_", "NOVITA_", "STOKER_"))}
    path = f"{Path(sys.executable).parent}:{ours['PATH']}"
    keys = {"PATH": path, "STOKER_API_KEY": KEY, "STOKER_URL": live.url}
    ran = subprocess.run(
        [*program.get(client, ["bash", "-c"]), told], env=ours | keys, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    (newest,) = live.api.get(f"/api/endpoints/{playing}/jobs", params={"limit": 1}).json()["jobs"]
    done = live.finished(newest["id"])
    assert done["output"]["greeting"] == GREETING
    assert (newest["id"] in ran.stdout) if client == "curl" else ("greeting" in ran.stdout)
