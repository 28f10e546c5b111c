"""Whatever is sent, the server answers in its own form: no 5xx, JSON with error and code, nothing thrown in its log.

First every operation of the OpenAPI description with generated data, then what generators do not think of, byte by byte.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok

from tests.live import KEY, LiveServer
from tests.web.hands import Hands
from tests.web.wires import Wire

pytestmark = pytest.mark.slow

EXAMPLES = 10
"""Generated requests per operation."""
HELD = ("/worker/job-take", "/worker/job-stop")
"""Operations that would be held for long if they hit something real."""

Names = dict[str, str]


@pytest.fixture(scope="module")
def names(live: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Names]:
    """Real names for the parameters of paths: of an endpoint, of a job that is over and of a worker that is gone."""
    worker = Hands(live, "fuzzed", tmp_path_factory.mktemp("fuzzed") / "told", max_workers=1)
    job = live.run("fuzzed", 1)
    worker.take()
    worker.finish(job, b'{"output": 1}')
    live.api.patch("/api/endpoints/fuzzed", json={"min_workers": 0})
    live.api.post(f"/api/workers/{worker.id}/stop", json={"now": True})
    yield {"endpoint": "fuzzed", "job": job, "worker": worker.id, "token": worker.token}
    worker.close()


@pytest.fixture(autouse=True)
def quiet_log(live: LiveServer) -> Iterator[None]:
    """Nothing is thrown, whatever is sent."""
    before = len(live.log())
    yield
    said = live.log()[before:]
    assert "Traceback" not in said, said
    assert "request_failed" not in said, said


def in_our_form(answer: httpx.Response) -> None:
    """A refusal is JSON with error and code; nothing is a failure of the server."""
    assert answer.status_code < 500 or answer.json()["code"] == "unavailable", answer.text
    if answer.status_code >= 400:
        body = answer.json()
        assert body["error"], answer.text
        assert body["code"], answer.text
        assert answer.headers["content-type"] == "application/json"


# ── generated ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_operation(live: LiveServer, names: Names) -> None:
    """Generated requests to every operation, about real and about invented things, are answered in our form."""
    schema = schemathesis.openapi.from_url(f"{live.url}/api/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 50
    for operation in operations:
        hits = not operation.path.startswith(HELD) and "runsync" not in operation.path and operation.method != "delete"
        fuzz(operation, names if hits else {})


def fuzz(operation: Any, known: Names) -> None:
    """Ask one operation about generated things, and as often about `known` ones."""

    @settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(), real=st.booleans())
    def ask(case: schemathesis.Case[Any], real: bool) -> None:
        if real:
            case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
        answer = case.call(headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        case.validate_response(answer, checks=[not_a_server_error])
        if answer.status_code >= 400:
            assert answer.json()["error"]
            assert answer.json()["code"]

    ask()


# ── bodies ────────────────────────────────────────────────────────────────────────────────────────────────────────────

NASTY_JSON = {
    "empty": b"",
    "space": b" \n",
    "half": b'{"input": ',
    "two values": b'{"input": 1} {"input": 2}',
    "text after": b'{"input": 1} x',
    "array": b"[]",
    "null": b"null",
    "string": b'"input"',
    "no quotes": b"{input: 1}",
    "single quotes": b"{'input': 1}",
    "trailing comma": b'{"input": 1,}',
    "comment": b'{"input": 1} // one',
    "invalid UTF-8": b'{"input": "\xff\xfe"}',
    "invalid UTF-8 in a name": b'{"\xff": 1}',
    "overlong UTF-8": b'{"input": "\xc0\x80"}',
    "surrogate as UTF-8": b'{"input": "\xed\xa0\x80"}',
    "UTF-16": '{"input": 1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + b'{"input": 1}',
    "control character": b'{"input": "\x01"}',
    "raw NUL": b'{"input": "\x00"}',
    "NUL alone": b"\x00",
    "bad escape": rb'{"input": "\x"}',
    "half an escape": rb'{"input": "\u12"}',
    "NaN": b'{"input": NaN}',
    "Infinity": b'{"input": -Infinity}',
    "leading zero": b'{"input": 01}',
    "plus": b'{"input": +1}',
    "brackets": b"[" * 100_000,
    "brackets in the input": b'{"input": ' + b"[" * 100_000,
    "deep but closed": b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"input": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "wrong policy": b'{"input": 1, "policy": []}',
    "huge ttl": b'{"input": 1, "policy": {"ttl": ' + b"9" * 400 + b"}}",
    "negative ttl": b'{"input": 1, "policy": {"ttl": -1}}',
    "ttl with a point": b'{"input": 1, "policy": {"ttl": 1.5}}',
    "ttl 1e999": b'{"input": 1, "policy": {"ttl": 1e999}}',
    "ttl beyond 64 bits": b'{"input": 1, "policy": {"ttl": 18446744073709551616}}',
    "webhook without scheme": b'{"input": 1, "webhook": "example.org"}',
    "webhook with a line break": rb'{"input": 1, "webhook": "http://x/\n"}',
    "webhook with a surrogate": rb'{"input": 1, "webhook": "http://x/\ud800"}',
    "webhook of a number": b'{"input": 1, "webhook": 7}',
    "s3Config of a list": b'{"input": 1, "s3Config": []}',
}
"""Bodies that every route with a submission refuses with 400."""

ODD_JSON = {
    "duplicate keys": b'{"input": 1, "input": 2}',
    "1e999": b'{"input": 1e999}',
    "many digits": b'{"input": ' + b"7" * 10_000 + b"}",
    "lone surrogate": rb'{"input": "\ud800"}',
    "reversed surrogates": rb'{"input": "\udc00\ud800"}',
    "escaped NUL": rb'{"input": "\u0000"}',
    "null input": b'{"input": null}',
    "unknown fields": b'{"input": 1, "surprise": {"a": []}}',
    "empty webhook": b'{"input": 1, "webhook": ""}',
    "nulls": b'{"input": 1, "policy": null, "webhook": null, "s3Config": null}',
    "empty s3Config": b'{"input": 1, "s3Config": {"a": 1e999}}',
    "long name": b'{"input": {"' + b"n" * 100_000 + b'": 1}}',
}
"""Bodies that may be accepted or refused, as long as what was accepted can be read again."""


@pytest.mark.parametrize("kind", NASTY_JSON)
def test_nasty_submissions(live: LiveServer, names: Names, kind: str) -> None:
    """What is no valid submission is refused with 400 on every way in."""
    for path in ("/v1/fuzzed/run", "/v2/fuzzed/run", "/v2/fuzzed/runsync", "/api/endpoints/fuzzed/jobs"):
        answer = live.api.post(path, content=NASTY_JSON[kind])
        in_our_form(answer)
        assert answer.status_code == 400, (path, answer.text)


@pytest.mark.parametrize("kind", ODD_JSON)
def test_odd_submissions(live: LiveServer, names: Names, kind: str) -> None:
    """What is accepted although it is odd can be shown, explained and cancelled."""
    answer = live.api.post("/v2/fuzzed/run", content=ODD_JSON[kind])
    in_our_form(answer)
    if answer.status_code == 200:
        job = answer.json()["id"]
        for path in (f"/v1/fuzzed/status/{job}?detail=true", f"/api/jobs/{job}", f"/api/jobs/{job}/why"):
            assert live.api.get(path).status_code == 200
        assert live.api.post(f"/v2/fuzzed/cancel/{job}").status_code == 200


@pytest.mark.parametrize("kind", [*NASTY_JSON, *ODD_JSON])
def test_nasty_settings(live: LiveServer, names: Names, kind: str) -> None:
    """The management API refuses every one of them: none is what it asks for."""
    body = (NASTY_JSON | ODD_JSON)[kind]
    for method, path in (("POST", "/api/endpoints"), ("PATCH", "/api/endpoints/fuzzed"), ("POST", "/api/keys")):
        answer = live.api.request(method, path, content=body)
        in_our_form(answer)
        assert answer.status_code == 400, (path, answer.text)


STRANGE_TEXT = [
    "\ud800",
    "a\ud800b",
    "\0",
    "\x7f",
    "\u202e",
    "\uffff",
    "😀" * 300,
    "x" * 100_000,
    "'; DROP TABLE jobs;--",
]


@pytest.mark.parametrize("text", STRANGE_TEXT, ids=ascii)
def test_strange_text_in_settings(live: LiveServer, names: Names, text: str) -> None:
    """Texts that some part of a system chokes on are refused, or shown again as they were given."""

    def ask(method: str, path: str, wish: dict[str, Any]) -> httpx.Response:
        answer = live.api.request(method, path, content=json.dumps(wish))  # half a pair of surrogates as \ud800
        in_our_form(answer)
        return answer

    for change in (
        {"name": text},
        {"app_name": text},
        {"env": {text: "1"}},
        {"env": {"A": text}},
        {"policy": {"type": text}},
        {"policy": {text: 1}},
        {text: 1},
    ):
        ask("POST", "/api/endpoints", {"image": "dir:/nowhere"} | change)
        answer = ask("PATCH", "/api/endpoints/fuzzed", change)
        if answer.status_code == 200:
            assert answer.json()["env"] == change["env"]
    for wish in ({"name": text}, {"name": "x", "scopes": [text]}, {"name": "x", text: 1}):
        answer = ask("POST", "/api/keys", wish)
        if answer.status_code == 201:
            assert answer.json()["name"] == text


NASTY_REPORTS = (
    NASTY_JSON
    | ODD_JSON
    | {
        "output NaN": b'{"output": NaN}',
        "error of a number": b'{"error": 7}',
        "error with a surrogate": rb'{"error": "\ud800"}',
        "error of a deep list": b'{"error": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        "output cut off": b'{"output": "',
        "Python's own": b"{'output': None}",
        "stopPod of a string": b'{"output": 1, "stopPod": "yes"}',
        "status of a list": b'{"output": 1, "status": ["IN_PROGRESS"]}',
        "surrogate in the output": rb'{"output": "\ud83d"}',
        "deep output": b'{"output": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "digits": b'{"output": ' + b"7" * 4_000 + b"}",
        "NaN and digits": b'{"output": [NaN, ' + b"7" * 10_000 + b"]}",
    }
)


@pytest.fixture(scope="module")
def reporter(live: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hands]:
    """A worker that posts what it likes."""
    worker = Hands(live, "reported", tmp_path_factory.mktemp("reported") / "told", slots=100)
    yield worker
    worker.close()


@pytest.mark.parametrize("kind", NASTY_REPORTS)
def test_nasty_reports(live: LiveServer, reporter: Hands, kind: str) -> None:
    """A worker may post anything: it is acknowledged, its job ends, and what it left can be read."""
    job = live.run("reported", 1)
    assert reporter.take()["id"] == job
    for answer in (reporter.part(job, NASTY_REPORTS[kind]), reporter.finish(job, NASTY_REPORTS[kind])):
        assert answer.status_code == 200
    assert live.finished(job)["state"] in ("completed", "failed")
    for path in (f"/v1/reported/status/{job}", f"/v2/reported/stream/{job}", f"/api/jobs/{job}/why"):
        answer = live.api.get(path)
        assert answer.status_code == 200
        answer.json()


# ── paths, queries, headers ───────────────────────────────────────────────────────────────────────────────────────────

STRANGE_IDS = [
    b"%00", b"%ff", b"%ed%a0%80", b"%2f", b"%2e%2e", b"..", b"%", b"%zz", b"%25%30%30", b"%0d%0aX-Evil:%20yes", b"%F0%9F%98%80",
    b"x" * 8_000, b"%41" * 2_000, b"-1", b"0", b"null", b"*", b"'", b'"', b";", b"a%20b", b"+", b"~", b"$ID", b"{job}", b"\xff", b"\xc3\xbc",
]  # fmt: skip
TARGETS = [
    b"/v1/%b/health", b"/v2/%b/run", b"/v2/fuzzed/status/%b", b"/v1/fuzzed/stream/%b", b"/v2/fuzzed/cancel/%b", b"/api/endpoints/%b",
    b"/api/endpoints/%b/jobs", b"/api/jobs/%b", b"/api/jobs/%b/logs", b"/api/workers/%b", b"/api/workers/%b/logs", b"/api/keys/%b",
    b"/worker/ping/%b", b"/worker/job-take/%b", b"/worker/job-done/%b/x", b"/api/docs/assets/%b", b"/%b", b"/api/%b",
]  # fmt: skip


def raw(live: LiveServer, method: bytes, target: bytes, *headers: bytes, body: bytes = b"") -> int:
    """One request as it is, on a connection of its own, answered in our form; its status."""
    with Wire(live.url) as wire:
        wire.head(method, target, b"Content-Length: %d" % len(body), b"Connection: close", *headers)
        wire.send(body)
        answer = wire.answer()
    in_our_form(httpx.Response(answer[0], headers=answer[1], content=answer[2]))
    return answer[0]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.decode())
def test_strange_ids(live: LiveServer, names: Names, target: bytes) -> None:
    """An id may be anything: it is not found, and nothing of it gets into the headers of the answer."""
    for strange in STRANGE_IDS:
        for method in (b"GET", b"POST", b"DELETE"):
            status = raw(live, method, target.replace(b"%b", strange), body=b'{"input": 1}')
            assert status in (200, 307, 400, 401, 404, 405, 429), (method, strange)


STRANGE_VALUES = [
    b"", b"-1", b"nan", b"NaN", b"inf", b"-0", b"1e3", b"0x10", b"1_000", b"%D9%A3", b"9" * 5_000, b"1.5", b"%00", b"%ff", b"true", b"1&n=2",
    b"a" * 10_000, b"%", b"[]", b"+5", b" ", b"99999999999999999999",
]  # fmt: skip
QUERIES = [
    b"/v2/fuzzed/status/{job}?detail=", b"/v2/fuzzed/status-sync/{job}?wait=", b"/v2/fuzzed/stream/{job}?wait=",
    b"/v2/fuzzed/status/{job}?ttl=", b"/api/endpoints/fuzzed/jobs?limit=", b"/api/endpoints/fuzzed/jobs?before=",
    b"/api/endpoints/fuzzed/jobs?state=", b"/api/jobs/{job}?wait_s=", b"/api/workers?gone=", b"/api/workers/{worker}/logs?tail=",
    b"/api/workers/{worker}/logs?follow=", b"/worker/ping/{worker}?t={token}&job_id=", b"/worker/ping/{worker}?t={token}&status=",
    b"/worker/ping/{worker}?t={token}&status=unhealthy&reason=", b"/worker/ping/{worker}?t={token}&runpod_version=",
    b"/worker/job-take/{worker}?t=", b"/worker/job-take-batch/{worker}?batch_size=", b"/v2/fuzzed/health?", b"/v2/fuzzed/health?&&=&",
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.decode())
def test_strange_queries(live: LiveServer, names: Names, query: bytes) -> None:
    """A value of a query is understood or refused."""
    for parameter, real in names.items():
        query = query.replace(f"{{{parameter}}}".encode(), real.encode())
    for value in STRANGE_VALUES:
        assert raw(live, b"GET", query + value.replace(b" ", b"%20")) in (200, 400, 401, 429), value


@pytest.mark.parametrize(
    "method", [b"GET", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"PROPFIND", b"LOCK"]
)
def test_wrong_methods(live: LiveServer, names: Names, method: bytes) -> None:
    """A method that a path does not know is refused with 405, whatever it is."""
    for target in (b"/v2/fuzzed/run", b"/v1/fuzzed/runsync", b"/worker/job-done/x/y", b"/api/workers/x/stop"):
        if method == b"HEAD":
            assert httpx.head(live.url + target.decode()).status_code == 405
        else:
            assert raw(live, method, target) == 405
    with Wire(live.url) as wire:
        wire.head(b"BREW", b"/v2/fuzzed/run")
        assert wire.answer()[0] in (400, 405)


HEADERS = [
    b"Content-Type: application/x-www-form-urlencoded", b"Content-Type: multipart/form-data; boundary=x", b"Content-Type: text/plain; charset=utf-16",
    b"Content-Type: \xff", b"Content-Type:", b"Content-Encoding: gzip", b"Accept: text/html", b"Accept-Encoding: br;q=9", b"Range: bytes=0-1",
    b"Idempotency-Key: \xff\xfe", b"Idempotency-Key: \xc3\xbc", b"Idempotency-Key: a\tb", b"Idempotency-Key:", b"Idempotency-Key: " + b"k" * 256,
    b"Idempotency-Key: " + b"k" * 9_000, b"X-Odd: \x80\xff", b"Cookie: \xff=\xfe", b"Host: \xff", b"User-Agent: RunPod-Python-SDK/" + b"9" * 9_000,
    b"Origin: null", b"If-None-Match: *", b"Upgrade: websocket\r\nConnection: Upgrade", b"Upgrade: h2c", b"Transfer-Encoding: identity",
    b"X-Forwarded-For: ::::", b"X-Forwarded-Proto: gopher", b"Authorization: Basic \xff", b"TE: trailers", b"X-Long: " + b"x" * 30_000,
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header[:40].decode("latin-1"))
def test_strange_headers(live: LiveServer, names: Names, header: bytes) -> None:
    """Headers that we do not ask for change nothing; those that we do are checked."""
    for target in (b"/v2/fuzzed/run", b"/api/endpoints/fuzzed/jobs", b"/worker/job-done/x/y"):
        status = raw(live, b"POST", target, header, body=b'{"input": 1}')
        assert status in (200, 400, 401, 409), target


def test_idempotency_key_of_odd_bytes_is_a_key(live: LiveServer, names: Names) -> None:
    """Any bytes that a header can carry name the same job again."""
    answers = [
        live.api.post(
            "/v2/fuzzed/run", content=b'{"input": 1}', headers=[(b"Idempotency-Key", b"\xff\xc3\xbc ;")]
        ).json()
        for _again in range(2)
    ]
    assert answers[0]["id"] == answers[1]["id"]


def test_broken_bodies(live: LiveServer, names: Names) -> None:
    """A body that ends early, or whose chunks make no sense, costs this connection only."""
    for headers, body in (
        ([b"Content-Length: 100"], b'{"input"'),
        ([b"Transfer-Encoding: chunked"], b"5\r\n{"),
        ([b"Transfer-Encoding: chunked"], b"zz\r\n{}\r\n0\r\n\r\n"),
        ([b"Transfer-Encoding: chunked"], b"ffffffffffffffffffff\r\n"),
        ([b"Content-Length: -1"], b"{}"),
        ([b"Content-Length: 1", b"Content-Length: 2"], b"{}"),
        ([b"Content-Length: 2", b"Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        ([b"Content-Length: 9" + b"9" * 40], b"{}"),
    ):
        for target in (b"/v2/fuzzed/run", b"/api/keys", b"/worker/job-done/x/y"):
            with Wire(live.url) as wire:
                wire.head(b"POST", target, *headers)
                wire.send(body)
    assert live.api.get("/v2/fuzzed/health").status_code == 200


def test_garbage(live: LiveServer) -> None:
    """What is no HTTP at all does not disturb anybody."""
    chance = random.Random(7)
    for garbage in itertools.chain((b"\r\n" * 10, b"\x16\x03\x01", b"GET"), (chance.randbytes(200) for _ in range(50))):
        with Wire(live.url) as wire:
            wire.send(garbage)
    assert live.api.get("/healthz").json() == {"status": "alive"}


def test_chunked_submission(live: LiveServer, names: Names) -> None:
    """A body without an announced length is read to its end, however it is cut."""
    body = '{"input": "ü😀"}'.encode()
    with Wire(live.url) as wire:
        wire.head(b"POST", b"/v2/fuzzed/run", b"Transfer-Encoding: chunked")
        for byte in body:
            wire.chunk(bytes([byte]))
        wire.chunk(b"")
        assert wire.answer()[0] == 200


def test_requests_on_one_connection(live: LiveServer, names: Names) -> None:
    """Requests that are sent without waiting are answered in their order, refused ones too."""
    with Wire(live.url) as wire:
        for target in (b"/healthz", b"/nowhere", b"/v2/fuzzed/health", b"/v2/nobody/health"):
            wire.head(b"GET", target)
        wire.head(b"GET", b"/healthz", b"Connection: close")
        answers = re.findall(rb"HTTP/1.1 (\d+)", wire.rest())
    assert answers == [b"200", b"404", b"200", b"404", b"200"]


def test_files_of_the_server_stay_inside(live: LiveServer, tmp_path: Path) -> None:
    """The assets are three files; no path leads to another."""
    for path in (
        b"..%2f..%2fpyproject.toml",
        b"%2e%2e/%2e%2e/etc/passwd",
        b"/etc/passwd",
        b"swagger-ui.css%00.png",
        b"index.html",
    ):
        assert raw(live, b"GET", b"/api/docs/assets/" + path) == 404
