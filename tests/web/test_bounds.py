"""What a request may weigh, head and body, and what every answer tells browsers."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest

from stoker.web.heads import HEAD_BYTES_MAX, TARGET_BYTES_MAX
from tests.live import LiveServer
from tests.web.hands import Hands
from tests.web.hot_server import LIMIT, Client, HotServer, serving, until

pytestmark = pytest.mark.slow

PIECE = b"x" * 60_000


@pytest.fixture
async def server() -> AsyncIterator[HotServer]:
    """A server of raw handlers."""
    async with serving() as server:
        yield server


@pytest.fixture
async def client(server: HotServer) -> AsyncIterator[Client]:
    """One connection to it."""
    async with server.connect() as client:
        yield client


async def refused(client: Client) -> tuple[int, str]:
    """Status and code of a refusal in our form, after which the connection is closed."""
    status, headers, content = await client.answer()
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    body = json.loads(content)
    assert body["error"]
    assert body["next_step"]
    assert await client.rest() == b""
    return status, body["code"]


# ── heads ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

WAYS = ["/raw/echo/w", "/healthz"]
"""The short way and the application's."""


def large(size: int) -> str:
    """A header line that takes so many bytes of a head."""
    return "X-Large: " + "x" * (size - len("x-large") - 4)


@pytest.mark.parametrize("path", WAYS)
async def test_heads_are_bounded(client: Client, server: HotServer, path: str) -> None:
    """A head of the most bytes is answered; one more byte, in one header or in many, is 431, and no handler is asked."""
    host = len("host") + len("test") + 4
    client.ask("GET", path, large(HEAD_BYTES_MAX - len(path) - host))
    assert (await client.answer())[0] == 200
    seen = len(server.doors.seen)
    client.ask("GET", path, large(HEAD_BYTES_MAX - len(path) - host + 1))
    assert await refused(client) == (431, "head_too_large")
    async with server.connect() as other:
        other.ask("GET", path, *(f"X-{number}: x" for number in range(10_000)))
        assert await refused(other) == (431, "head_too_large")
    assert len(server.doors.seen) == seen


@pytest.mark.parametrize("path", WAYS)
async def test_targets_are_bounded(client: Client, server: HotServer, path: str) -> None:
    """A path and query of the most bytes are answered; one more is 414, under a head that was seen before too."""
    for _ in range(2):
        client.ask("GET", f"{path}?" + "q" * (TARGET_BYTES_MAX - len(path) - 1))
        assert (await client.answer())[0] == 200
    client.ask("GET", f"{path}?" + "q" * (TARGET_BYTES_MAX - len(path)))
    assert await refused(client) == (414, "target_too_long")


@pytest.mark.parametrize(
    "begin", [b"GET /raw/echo/w HTTP/1.1\r\nX-Large: ", b"GET /raw/echo/", b"POST /raw/body HTTP/1.1\r\nX"]
)
async def test_heads_that_never_end(client: Client, begin: bytes) -> None:
    """A head that goes on and on is refused as soon as it is too large: no more of it is kept."""
    client.send(begin)
    for _ in range(20):
        client.send(PIECE)
    assert await refused(client) == (431, "head_too_large")


@pytest.mark.parametrize("more", [b"1;" + PIECE, b"1\r\nx\r\n0\r\nX-Trailer: " + PIECE], ids=["extension", "trailer"])
async def test_what_stands_between_chunks_is_bounded(client: Client, server: HotServer, more: bytes) -> None:
    """Extensions of chunks, and headers behind the last one, are refused like a head that is too large."""
    client.ask("POST", "/raw/body", "Transfer-Encoding: chunked")
    client.send(more)
    for _ in range(20):
        client.send(PIECE)
    assert await refused(client) == (431, "head_too_large")
    await until(lambda: not server.http.server_state.tasks)
    assert server.doors.seen == []


async def test_what_is_no_http(client: Client, server: HotServer) -> None:
    """What cannot be read is refused in our form, also in the middle of a body."""
    client.send(b"\x16\x03\x01\x00hello\r\n\r\n")
    assert await refused(client) == (400, "invalid_http")
    async with server.connect() as other:
        other.ask("POST", "/raw/body", "Transfer-Encoding: chunked")
        other.send(b"zz\r\n")
        assert await refused(other) == (400, "invalid_http")


@pytest.mark.parametrize(
    "more", [b"\x00\r\n\r\n", b"GET /raw/echo/w HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n"]
)
async def test_a_refusal_answers_nothing_else(client: Client, server: HotServer, more: bytes) -> None:
    """What is refused behind a request that is under way gets no answer, which would be taken for that one's; the connection ends."""
    client.ask("GET", "/raw/wait")
    await server.doors.entered.wait()
    client.send(more)
    assert await client.rest() == b""
    await until(server.doors.hung_up.is_set)


async def test_who_asks_nothing_is_not_waited_for() -> None:
    """A connection on which no request begins, or none ends its head, is closed after the keep-alive time."""
    async with serving(keep_alive_s=0.05) as server, server.connect() as silent, server.connect() as slow:
        slow.send(b"GET /raw/echo/w HTTP/1.1\r\n")
        assert await silent.rest() == b""
        assert await slow.rest() == b""


# ── bodies ────────────────────────────────────────────────────────────────────────────────────────────────────────────

SUBMISSIONS = ["/v1/{name}/run", "/v2/{name}/run", "/v2/{name}/runsync", "/api/endpoints/{name}/jobs"]
DEEP = (b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000)


def codes(answers: Sequence[httpx.Response]) -> set[tuple[int, str]]:
    """Status and code of each."""
    return {(answer.status_code, answer.json()["code"]) for answer in answers}


def test_depth_is_bounded(live: LiveServer, api: httpx.Client, hands: Hands, name: str) -> None:
    """JSON that is nested a hundred times is as good as any; a hundred thousand times is refused wherever JSON is read."""
    shallow = b'{"input": ' + b"[" * 100 + b"]" * 100 + b"}"
    assert api.post(f"/v2/{name}/run", content=shallow).status_code == 200
    paths = [path.format(name=name) for path in SUBMISSIONS]
    deep = [b'{"input": %b}' % value for value in DEEP]
    assert codes([api.post(path, content=body) for path in paths for body in deep]) == {(400, "invalid_json")}
    settings = [b'{"name": "x", "env": %b}' % value for value in DEEP]
    answers = [
        api.post(path, content=body) for path in ("/api/endpoints", "/api/keys", "/api/volumes") for body in settings
    ]
    assert codes(answers) == {(400, "invalid_json")}


def test_bodies_are_bounded(api: httpx.Client, hands: Hands, name: str) -> None:
    """A body over its limit is 413, whether its length is announced or not; one of settings much earlier."""
    paths = [path.format(name=name) for path in SUBMISSIONS]
    job = b'{"input": "' + b"x" * LIMIT + b'"}'
    pieces = [job[start : start + 100_000] for start in range(0, len(job), 100_000)]
    answers = [api.post(path, content=job) for path in paths]
    answers += [api.post(path, content=iter(pieces)) for path in paths]
    answers.append(api.post("/api/endpoints", content=job[:2_000_000]))
    assert codes(answers) == {(413, "payload_too_large")}


# ── what browsers are told ────────────────────────────────────────────────────────────────────────────────────────────

ANSWERS = [
    "/",
    "/healthz",
    "/api/docs",
    "/api/endpoints",
    "/v2/nobody/health",
    "/nowhere",
    "/worker/ping/x",
    "/metrics",
]


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_tells_browsers(api: httpx.Client, path: str) -> None:
    """Pages, answers and refusals, of either way: not to guess types, not to show them in frames, not to tell their address; once each."""
    headers = api.get(path).headers
    for name, value in (
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
    ):
        assert headers.get_list(name) == [value], name
    assert "server" not in headers


def test_scripts_of_the_docs(api: httpx.Client) -> None:
    """The page that tries the API runs its two scripts alone: the file of this server, and the one inside it, which is named by its hash."""
    page = api.get("/api/docs")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    (script,) = re.findall(rb"<script>(.*?)</script>", page.content, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self'"
