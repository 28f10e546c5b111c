"""One job and one worker: all there is to see of them, and all that can be done."""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.console.conftest import Window, looked_at, workers_of
from tests.live import LiveServer, until

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]  # a browser, a server, real workers

COMMAND = f"{sys.executable} -u handler.py"
HANDLER = """
import runpod

def handler(job):
    print("looking at", job["input"]["what"], flush=True)
    return job["input"]["show"]

if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
"""


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG file."""
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def png(width: int) -> bytes:
    """A grey picture, one pixel high."""
    head = width.to_bytes(4) + (1).to_bytes(4) + bytes([8, 0, 0, 0, 0])
    pixels = zlib.compress(bytes(1 + width))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def wav(samples: int) -> bytes:
    """Silence, 8000 samples a second."""
    form = (
        b"fmt "
        + (16).to_bytes(4, "little")
        + bytes([1, 0, 1, 0])
        + (8000).to_bytes(4, "little") * 2
        + bytes([1, 0, 8, 0])
    )
    body = b"WAVE" + form + b"data" + samples.to_bytes(4, "little") + b"\x80" * samples
    return b"RIFF" + len(body).to_bytes(4, "little") + body


class Bucket(SimpleHTTPRequestHandler):
    """Serves a directory, and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    """Where results were uploaded to: the address of a server with a picture."""
    (tmp_path / "picture.png").write_bytes(png(32))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Bucket, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_output_as_what_it_is(window: Window, live: LiveServer, tmp_path: Path, bucket: str) -> None:
    """Pictures, sound and film are shown, from links only when that is asked for; the rest is a tree whose large values are folded; what
    the handler printed about the job is beside it."""
    image = tmp_path / "image"
    image.mkdir()
    (image / "handler.py").write_text(HANDLER)
    live.create("shows", image=image, command=COMMAND)
    output = {
        "picture": base64.b64encode(png(16)).decode(),
        "sound": base64.b64encode(wav(800)).decode(),
        "film": "data:video/webm;base64,GkXfow==",
        "bucket": f"{bucket}/picture.png?signature=abc",
        "page": "https://example.com/report",
        "many": list(range(300)),
        "long": "word " * 1_000,
        "deep": {"a": {"b": {"c": {"d": "bottom"}}}},
    }
    job = live.run("shows", {"what": "everything", "show": output})
    live.finished(job)
    page = window.page
    window.go(f"/jobs/{job}")
    shown = page.get_by_role("region", name="Output")
    assert shown.get_by_role("img", name="The picture in picture").evaluate("one => one.naturalWidth") == 16
    sound = shown.get_by_label("The sound in sound")
    expect(sound).to_have_js_property("duration", 0.1)
    expect(shown).to_contain_text("video/webm")
    ask = shown.get_by_role("button", name=re.compile("^Show it, from 127.0.0.1:"))
    expect(shown.get_by_role("img", name="The picture in bucket")).to_have_count(0)
    ask.click()
    linked = shown.get_by_role("img", name="The picture in bucket")
    expect(linked).to_have_js_property("naturalWidth", 32)
    expect(shown.get_by_role("link", name="https://example.com/report")).to_have_attribute("rel", "noreferrer")
    expect(shown.get_by_text("bottom")).not_to_be_visible()
    expect(shown.locator("summary", has_text="many")).to_contain_text("[300]")
    shown.get_by_role("button", name="All of 4.9 KiB").click()
    expect(shown.get_by_role("button", name="Fold")).to_be_visible()
    expect(page.get_by_role("log", name="Log of the job")).to_contain_text("looking at everything")
    looked_at(window, "job-media")


def test_a_job_that_waits_and_one_that_failed(window: Window, live: LiveServer) -> None:
    """A job that waits says when it is expected to start, and which attempt comes; one that failed says what to do, is retried, and run
    again with edits."""
    page = window.page
    live.create("one-job", image=workers_of("hello"), command=COMMAND, max_workers=1, retries=3, deliver_ahead=0)
    for _ in range(5):  # fewer foretell nothing
        live.finished(live.run("one-job", {"name": "x", "seconds": 0}))
    busy = live.run("one-job", {"name": "x", "seconds": 600})
    until(lambda: live.job(busy)["state"] == "running", what="the only worker to be busy")
    waits = live.run("one-job", {"name": "x", "seconds": 0})
    window.go(f"/jobs/{waits}")
    why = page.get_by_role("region", name="Why")
    expect(why).to_contain_text("no attempt yet, of at most 4")
    foretold = re.compile(r"Expected to start in about .+, nine times in ten within .+ \(from \d+ jobs\)")
    expect(why).to_contain_text(foretold, timeout=30_000)  # a decision is looked at again every few seconds
    looked_at(window, "job-waits")
    live.api.post(f"/api/jobs/{busy}/cancel")
    expect(why).to_contain_text("attempt 1 of at most 4", timeout=90_000)

    failed = live.run("one-job", {"seconds": 0})
    live.finished(failed)
    window.go(f"/jobs/{failed}")
    expect(why).to_contain_text("stoker job logs")
    page.get_by_role("button", name="Retry").click()
    dialog = page.get_by_role("dialog", name="Retry")
    expect(dialog).to_contain_text(f"stoker job retry {failed}")
    dialog.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("region", name="Story")).to_contain_text("retried")
    page.get_by_role("link", name="Run again with edits").click()
    field = page.get_by_role("textbox", name="Input")
    expect(field).to_have_value(json.dumps({"seconds": 0}, indent=2))
    field.fill('{"name": "now with a name", "seconds": 0}')
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("region", name="Result")).to_contain_text("Hello, now with a name!", timeout=90_000)


def test_a_worker(window: Window, live: LiveServer) -> None:
    """A worker shows the stages of its start, its place, the jobs that it ran, what it prints as it prints it; it is drained and stopped,
    and then says in words why it ended."""
    page = window.page
    live.create("one-worker", image=workers_of("hello"), command=COMMAND, min_workers=1, max_workers=1)
    job = live.run("one-worker", {"name": "x", "seconds": 0})
    live.finished(job)
    (worker,) = live.workers("one-worker")
    window.go(f"/workers/{worker['id']}")
    stages = page.get_by_role("list", name="Stages of the worker")
    for stage in ("Worker launched", "First take", "Ready"):
        expect(stages).to_contain_text(stage)
    expect(page.get_by_role("region", name="Facts")).to_contain_text("per hour")
    expect(page.get_by_role("table", name="Jobs of the worker")).to_contain_text("completed")
    later = live.run("one-worker", {"name": "x", "seconds": 600})
    expect(page.get_by_role("log", name="Log of the worker")).to_contain_text(later)
    for label, word in (("Drain", "draining"), ("Stop now", "gone")):
        page.get_by_role("button", name=label).click()
        dialog = page.get_by_role("dialog", name=label)
        expect(dialog).to_contain_text(f"stoker worker stop {worker['id']}")
        expect(dialog).to_contain_text("curl ")
        dialog.get_by_role("button", name=label).click()
        expect(page.locator("header")).to_contain_text(word)
    expect(page.get_by_role("region", name="Facts")).to_contain_text("a user stopped it")
    expect(page.get_by_role("button", name="Drain")).to_have_count(0)
    looked_at(window, "worker-gone")
