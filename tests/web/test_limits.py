"""Sizes: what is within the limit is kept byte for byte, what is over it is refused before it costs memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from stoker.config import Settings
from tests.live import LiveServer
from tests.web.hands import Hands
from tests.web.wires import Wire

pytestmark = pytest.mark.slow

JOB_MAX = Settings().input_bytes_max
OUTPUT_MAX = Settings().output_bytes_max
PART_MAX = Settings().part_bytes_max
MIB = 1024 * 1024
NEVER_SENT = 1 << 40
"""A terabyte that is only announced."""

SUBMITS = ["/v1/{endpoint}/run", "/v2/{endpoint}/run", "/v2/{endpoint}/runsync", "/api/endpoints/{endpoint}/jobs"]
MANAGES = [("POST", "/api/endpoints"), ("PATCH", "/api/endpoints/{endpoint}"), ("POST", "/api/keys")]
BODIES = [*(("POST", path) for path in SUBMITS), *MANAGES, ("POST", "/api/workers/{worker}/stop")]
REPORTS = ["POST_OUTPUT", "POST_STREAM"]


@pytest.fixture(scope="module")
def limited(live: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hands]:
    """An endpoint and its worker, for requests that change neither."""
    worker = Hands(live, "limited", tmp_path_factory.mktemp("limited") / "told")
    yield worker
    worker.close()


def resident(live: LiveServer) -> int:
    """Bytes of memory that the server uses."""
    assert live.process is not None
    return int(psutil.Process(live.process.pid).memory_info().rss)


def submission(size: int) -> bytes:
    """A submission of exactly `size` bytes, with every kind of JSON whitespace and escape in it."""
    head, tail = '{ "input":\t{"text": "ü\\u00fc\\n', '", "z": 1.50, "a": -0.0,\n "e": 1E2}\r\n}'
    return (head + "x" * (size - len((head + tail).encode())) + tail).encode()


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_declared_body_is_refused_unread(live: LiveServer, limited: Hands, method: str, path: str) -> None:
    """A body that announces its size is refused before one byte of it was sent."""
    target = path.format(endpoint="limited", worker=limited.id).encode()
    with Wire(live.url) as wire:
        wire.head(method.encode(), target, b"Content-Length: %d" % NEVER_SENT, b"Expect: 100-continue")
        assert wire.refusal() == (413, "payload_too_large")


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_chunked_body_is_refused_at_the_limit(live: LiveServer, limited: Hands, method: str, path: str) -> None:
    """A body without an announced size is refused as soon as it is over the limit, though it is not over yet.

    What the client goes on to send is not kept.
    """
    target = path.format(endpoint="limited", worker=limited.id).encode()
    piece = b"[" * (MIB // 4)
    with Wire(live.url) as wire:
        wire.head(method.encode(), target, b"Transfer-Encoding: chunked")
        for _ in range(JOB_MAX // len(piece) + 1):
            wire.chunk(piece)
        assert wire.refusal() == (413, "payload_too_large")
        before = resident(live)
        wire.pour(piece, 256)
        assert resident(live) - before < 16 * MIB


@pytest.mark.parametrize("call", REPORTS)
def test_report_is_refused_unread(live: LiveServer, limited: Hands, call: str) -> None:
    """What a worker announces is bounded too, and a poll's body is not read at all."""
    with Wire(live.url) as wire:
        target = limited.url(call, "nobody").removeprefix(live.url)
        wire.head(b"POST", target.encode(), b"Content-Length: %d" % NEVER_SENT)
        assert wire.refusal() == (413, "payload_too_large")


def test_strangers_bodies_are_not_read(live: LiveServer) -> None:
    """Who brings no credential cannot make the server read a body: jobs are refused by the head alone."""
    for target in (b"/v1/limited/run", b"/v2/limited/runsync", b"/worker/job-done/x/y"):
        with Wire(live.url) as wire:
            wire.send(b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (JOB_MAX - 1))
            assert wire.refusal()[0] == 401


@pytest.mark.parametrize("path", SUBMITS)
def test_largest_job(live: LiveServer, hands: Hands, name: str, path: str) -> None:
    """A job of exactly the limit goes in, and its worker gets the very bytes of its input; one more byte is refused."""
    body = submission(JOB_MAX)
    assert len(body) == JOB_MAX
    target = path.format(endpoint=name)
    assert live.api.post(target, content=body + b" ").status_code == 413
    job = live.api.post(target, content=body, params={"wait": 1000}).json()["id"]
    content = httpx.get(hands.url("GET_JOB"), timeout=60).content
    hands.finish(job, b"{}")
    start = body.index(b"{", 1)
    assert content.endswith(b'"input":' + body[start : body.rindex(b"}\r\n}") + 1] + b"}")
    assert json.loads(content)["id"] == job


def test_largest_output(live: LiveServer, hands: Hands, name: str) -> None:
    """An output of exactly the limit is kept, and every way to read it returns the very bytes."""
    job = live.run(name, 1)
    hands.take()
    output = submission(OUTPUT_MAX).strip()
    output += b" " * (OUTPUT_MAX - 1 - len(output)) + b"\n"
    output = output.rstrip()[:-1] + b" " * (OUTPUT_MAX - len(output.rstrip())) + b"}"
    assert len(output) == OUTPUT_MAX
    assert hands.finish(job, b'{"output":' + output + b"}").status_code == 200
    for path in (f"/v1/{name}/status/{job}", f"/v2/{name}/status/{job}", f"/v2/{name}/status-sync/{job}"):
        assert b'"output":' + output in live.api.get(path).content
    shown = live.api.get(f"/api/jobs/{job}")
    assert b'"output":' + output in shown.content
    assert shown.json()["state"] == "completed"


@pytest.mark.parametrize("excess", [1, MIB, 16 * MIB])
def test_output_over_the_limit(live: LiveServer, hands: Hands, name: str, excess: int) -> None:
    """The job fails with the reason, the limit and the way round, however far over the limit the output is."""
    job = live.run(name, 1)
    hands.take()
    output = b'"' + b"x" * (OUTPUT_MAX + excess - 2) + b'"'
    assert hands.finish(job, b'{"output":' + output + b"}").status_code in (200, 413)
    done = live.finished(job)
    assert (done["state"], done["reason"], "output" in done) == ("failed", "output_too_large", False)
    assert str(OUTPUT_MAX) in done["error"]
    assert "upload it to a bucket" in done["error"]
    shown = live.api.get(f"/v2/{name}/status/{job}").json()
    assert (shown["status"], shown["error"]) == ("FAILED", done["error"])


def test_progress_over_the_limit(live: LiveServer, hands: Hands, name: str) -> None:
    """Progress that is too large is dropped; the job goes on."""
    job = live.run(name, 1)
    hands.take()
    hands.finish(job, b'{"status": "IN_PROGRESS", "output": "small"}')
    large = b'{"status": "IN_PROGRESS", "output": "' + b"x" * OUTPUT_MAX + b'"}'
    assert hands.finish(job, large).status_code == 200
    assert (live.job(job)["state"], live.job(job)["output"]) == ("running", "small")
    hands.finish(job, b'{"output": 1}')
    assert live.finished(job)["output"] == 1


def test_parts_of_a_stream(live: LiveServer, hands: Hands, name: str) -> None:
    """A part of exactly the limit is delivered as it is; one more byte is refused and the stream goes on without it."""
    job = live.run(name, 1)
    hands.take()
    largest = b'"' + b"x" * (PART_MAX - 2) + b'"'
    assert hands.part(job, b'{"output":' + largest + b"}").status_code == 200
    refused = hands.part(job, b'{"output": "y' + largest[1:] + b"}")
    assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")
    assert hands.part(job, b'{"output": "last"}').status_code == 200
    hands.finish(job, b"{}")
    read = live.api.get(f"/v2/{name}/stream/{job}")
    assert [part["output"][:4] for part in read.json()["stream"]] == ["xxxx", "last"]
    assert largest in read.content


def test_stalled_uploads_hold_up_nobody(live: LiveServer, hands: Hands, name: str) -> None:
    """While 64 submissions of 4 MiB stall, small ones are accepted, and a worker's large result still gets through."""
    with ExitStack() as stack:
        for _ in range(64):
            wire = stack.enter_context(Wire(live.url))
            wire.head(b"POST", f"/v2/{name}/run".encode(), b"Content-Length: %d" % JOB_MAX)
            wire.send(b"[" * (MIB // 4))
        job = live.run(name, "small")
        assert hands.take()["id"] == job
        assert hands.finish(job, b'{"output":"' + b"x" * (OUTPUT_MAX - 2) + b'"}').status_code == 200
        assert live.finished(job)["state"] == "completed"


def test_public_url(tmp_path: Path) -> None:
    """What clients are shown is the URL they are told to use, if there is one."""
    with LiveServer(tmp_path / "data", public_url="https://gpu.example/stoker/") as live:
        made = live.create("a", image=Path(__file__).parent, command="sleep 600")
        assert made["urls"] == {"v1": "https://gpu.example/stoker/v1/a", "v2": "https://gpu.example/stoker/v2/a"}


def test_limits_of_the_settings(tmp_path: Path) -> None:
    """The limits are those of the settings, not of the program."""
    with LiveServer(tmp_path / "data", input_bytes_max=2048) as live:
        body = submission(2049)
        assert live.api.post("/v2/nobody/run", content=body).status_code == 404
        live.create("a", image=Path(__file__).parent, command="sleep 600", max_workers=1)
        refused = live.api.post("/v2/a/run", content=body)
        assert (refused.status_code, "2048 bytes" in refused.json()["error"]) == (413, True)
        assert live.api.post("/v2/a/run", content=submission(2048)).status_code == 200
