"""The short way of raw routes: HTTP as everybody speaks it, and the same answers as through FastAPI."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.web.hot_server import LIMIT, Client, HotServer, serving, until

pytestmark = pytest.mark.slow

MANY = 1_000


@pytest.fixture(autouse=True)
def log() -> Iterator[Sequence[MutableMapping[str, Any]]]:
    """What the server logs; printing it would block the event loop that it shares with the test."""
    with capture_logs() as lines:
        yield lines


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


async def echoed(client: Client) -> dict[str, Any]:
    """What the handler saw."""
    status, _headers, content = await client.answer()
    assert status == 200
    return dict(json.loads(content))


def undated(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], bytes]:
    """An answer without its date."""
    assert answer[1].pop("date")
    return answer


NAME = r"[0-9a-f]{16}"
"""Of a request that its client did not name."""


# ── finding the handler ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_call_says_what_was_asked(client: Client) -> None:
    """Path, parameters, query and headers reach the handler decoded; of headers of one name the first counts."""
    client.ask("GET", "/raw/echo/a%20b%C3%BC?x=1&x=2&empty&plus=a+b&c=%2C", "X-Test: one", "x-test: two")
    assert await echoed(client) == {
        "method": "GET",
        "path": "/raw/echo/a bü",
        "word": "a bü",
        "query": {"x": "2", "empty": "", "plus": "a b", "c": ","},
        "header": "one",
    }


@pytest.mark.parametrize("target", ["/raw/echo/w?q=%2C", "/raw/echo/%2E%2e", "/raw/defect", "/raw/large/0"])
async def test_both_ways_answer_alike(client: Client, target: str) -> None:
    """What FastAPI answers for a path with a doubled slash is what the connection answers for the path itself."""
    client.ask("GET", target, "X-Request-Id: alike")
    short = undated(await client.answer())
    client.ask("GET", "/" + target, "X-Request-Id: alike")
    assert undated(await client.answer()) == short


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("HEAD", "/raw/echo/w", 405),
        ("POST", "/raw/echo/w", 405),
        ("GET", "/raw/echo/", 404),
        ("GET", "/raw/echo/a%2Fb", 404),
        ("GET", "/raw", 404),
        ("GET", "/RAW/echo/w", 404),
        ("OPTIONS", "/raw/body", 405),
        ("GET", "/healthz", 200),
    ],
)
async def test_what_is_not_found_goes_to_the_application(
    client: Client, server: HotServer, method: str, target: str, status: int
) -> None:
    """Other methods and other paths are answered by FastAPI, on the same connection, and no raw handler is asked."""
    client.ask(method, target)
    head = (await client.reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith(f"http/1.1 {status} ")
    assert server.doors.seen == []


async def test_whole_urls_go_to_the_application(client: Client) -> None:
    """A proxy's `GET http://host/path` is understood, though not by the short way."""
    client.ask("GET", "http://test/raw/echo/w")
    assert (await echoed(client))["word"] == "w"


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/raw/echo/w?a=1", b""),
        ("GET", "/raw/large/100000", b""),
        ("GET", "/raw/defect", b""),
        ("GET", "/raw/nothing", b""),
        ("GET", "/healthz", b""),
        ("POST", "/raw/body", b"hello"),
        ("POST", "/raw/submit", b'{"input": 12}'),
        ("POST", "/raw/submit", b"{"),
    ],
)
async def test_asked_again_answered_alike(client: Client, method: str, target: str, body: bytes) -> None:
    """A request that is known by its head is answered as the first of its kind was, by which it was learned."""
    answers = []
    for _ in range(3):
        client.ask(method, target, "X-Test: seen", "X-Request-Id: alike", body=body)
        answers.append(undated(await client.answer()))
    assert answers == [answers[0]] * 3


async def test_known_and_unknown_in_turns(client: Client, server: HotServer) -> None:
    """After a request that was not parsed the parser goes on as if nothing had been: with pieces, pipelines and other routes."""
    whole = b"POST /raw/body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    for _ in range(2):
        client.send(whole)
        assert (await client.answer())[2] == b"hello"
    client.send(whole[:20])
    await asyncio.sleep(0)
    client.send(whole[20:] + whole + whole[:-2])
    assert [(await client.answer())[2] for _ in range(2)] == [b"hello"] * 2
    client.send(whole[-2:])
    assert (await client.answer())[2] == b"hello"
    client.send(whole)
    assert (await client.answer())[2] == b"hello"
    client.send(b"GET /raw/wait HTTP/1.1\r\nHost: x\r\n\r\n")
    await server.doors.entered.wait()
    client.send(whole)  # while the wait is under way: it must not overtake
    client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    server.doors.open.set()
    assert [(await client.answer())[0] for _ in range(3)] == [204, 200, 200]
    client.send(whole)
    assert (await client.answer())[2] == b"hello"


# ── connections ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_pipelined_answers_keep_their_order(client: Client, server: HotServer) -> None:
    """Requests that were sent without waiting are answered in their order, whichever way each goes."""
    client.ask("GET", "/raw/wait")
    client.ask("GET", "/raw/echo/1")
    client.ask("GET", "/healthz")
    client.ask("POST", "/raw/body", body=b"two")
    client.ask("GET", "/raw/defect")
    client.ask("GET", "/raw/echo/3", "Connection: close")
    await server.doors.entered.wait()
    assert server.doors.seen == []
    server.doors.open.set()
    answers = [await client.answer() for _ in range(6)]
    assert [status for status, *_ in answers] == [204, 200, 200, 200, 500, 200]
    assert [b'"1"' in answers[1][2], answers[3][2], b'"3"' in answers[5][2]] == [True, b"two", True]
    assert await client.rest() == b""


async def test_many_pipelined_requests(client: Client, server: HotServer) -> None:
    """However many wait in a pipeline, each is answered."""
    echo = b"GET /raw/echo/1 HTTP/1.1\r\nHost: x\r\n\r\n"
    client.send(b"GET /raw/wait HTTP/1.1\r\nHost: x\r\n\r\n" + MANY * echo)
    await server.doors.entered.wait()
    server.doors.open.set()
    assert [(await client.answer())[0] for _ in range(MANY + 1)] == [204] + MANY * [200]


async def test_bytes_may_come_one_by_one(client: Client) -> None:
    """A request means the same however it is cut."""
    request = b"POST /raw/body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    for byte in request:
        client.send(bytes([byte]))
        await client.writer.drain()
        await asyncio.sleep(0)
    assert (await client.answer())[2] == b"hello"


@pytest.mark.parametrize(("version", "header"), [("1.1", "Connection: close"), ("1.0", "X-None: 1")])
async def test_connection_is_closed_when_asked(client: Client, version: str, header: str) -> None:
    """`Connection: close` and HTTP/1.0 end the connection after the answer, which says so."""
    client.ask("GET", "/raw/echo/w", header, version=version)
    status, headers, _content = await client.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await client.rest() == b""


async def test_empty_answers(client: Client, server: HotServer) -> None:
    """204 has neither content nor a length."""
    server.doors.open.set()
    client.ask("GET", "/raw/wait")
    status, headers, _content = await client.answer()
    assert (status, list(headers)) == (204, ["date", "x-request-id"])


async def test_defects_are_not_shown(client: Client, log: Sequence[MutableMapping[str, Any]]) -> None:
    """What a handler raises unasked is "internal" outside and in full in the log; the connection goes on."""
    client.ask("GET", "/raw/defect")
    status, headers, content = await client.answer()
    assert (status, json.loads(content)["code"]) == (500, "internal")
    assert b"secret" not in content
    assert headers["x-request-id"] in json.loads(content)["next_step"]
    assert [(line["event"], line["request"], line["path"], str(line["exc_info"])) for line in log] == [
        ("request_failed", headers["x-request-id"], "/raw/defect", "secret detail")
    ]
    client.ask("GET", "/raw/echo/w")
    assert (await echoed(client))["word"] == "w"


@pytest.mark.parametrize("path", ["/raw/defect", "//raw/defect"])
async def test_a_failure_has_the_name_of_its_request(
    server: HotServer, log: Sequence[MutableMapping[str, Any]], path: str
) -> None:
    """A request that fails is called in the answer and in the log what its client calls it, if that is a plain word; else anew each time."""
    named = []
    for name in ("trace-1.a", "two words", "x" * 65, "\u00fc"):
        async with server.connect() as client:
            client.ask("GET", path, f"X-Request-Id: {name}")
            _status, headers, content = await client.answer()
            named.append(headers["x-request-id"])
            assert named[-1] in json.loads(content)["next_step"]
    assert named == [line["request"] for line in log]
    assert named[0] == "trace-1.a"
    assert all(len(name) == 16 and name.isalnum() for name in named[1:])
    assert len(set(named)) == 4


@pytest.mark.parametrize("path", ["/raw/echo/w", "//raw/echo/w", "/healthz", "/raw/nothing"])
async def test_every_answer_names_its_request(client: Client, path: str) -> None:
    """Every answer says what its request is called: as its client called it, if that is a plain word; else anew each time, known heads too."""
    names = []
    for asked in (("X-Request-Id: mine-1",), ("X-Request-Id: not plain",), (), ()):
        client.ask("GET", path, *asked)
        names.append((await client.answer())[1]["x-request-id"])
    assert names[0] == "mine-1"
    assert all(re.fullmatch(NAME, name) for name in names[1:])
    assert len(set(names)) == 4


async def test_what_is_no_request_has_a_name_too(client: Client) -> None:
    """What the connection itself refuses is named as well: the client can say what it was."""
    client.send(b"nonsense\r\n\r\n")
    assert re.search(rb"x-request-id: [0-9a-f]{16}\r\n", await client.rest())


async def test_chunked_body(client: Client) -> None:
    """A body without an announced length is read to its end."""
    client.ask("POST", "/raw/body", "Transfer-Encoding: chunked")
    client.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (await client.answer())[2] == b"abcde"


async def test_client_that_waits_to_be_told(client: Client) -> None:
    """`Expect: 100-continue` is answered when the body is wanted, and the body is read."""
    client.ask("POST", "/raw/body", "Expect: 100-continue", "Content-Length: 2")
    assert (await client.answer())[0] == 100
    client.send(b"ok")
    assert (await client.answer())[2] == b"ok"


async def test_body_that_was_not_called_for(client: Client) -> None:
    """A client that waits with its body and is refused cannot go on here: whether the body comes, nobody knows."""
    client.ask("POST", "/raw/body", "Expect: 100-continue", f"Content-Length: {LIMIT + 1}")
    status, headers, content = await client.answer()
    assert (status, headers["connection"], json.loads(content)["code"]) == (413, "close", "payload_too_large")
    assert await client.rest() == b""


async def test_body_of_a_refused_request_is_dropped(client: Client) -> None:
    """What comes after a refusal is not kept, and the next request on the connection is answered."""
    client.ask("POST", "/raw/body", f"Content-Length: {LIMIT + 1}")
    assert (await client.answer())[0] == 413
    client.send(b"x" * (LIMIT + 1))
    client.ask("GET", "/raw/echo/w")
    assert (await echoed(client))["word"] == "w"


async def test_handler_learns_that_the_client_is_gone(server: HotServer) -> None:
    """A client that closes while it is held is noticed at once."""
    async with server.connect() as client:
        client.ask("GET", "/raw/wait")
        await server.doors.entered.wait()
        assert not server.doors.hung_up.is_set()
    await asyncio.wait_for(server.doors.hung_up.wait(), 30)


async def test_both_ways_tell_of_a_client_that_is_gone(server: HotServer) -> None:
    """The same through FastAPI."""
    async with server.connect() as client:
        client.ask("GET", "//raw/wait")
        await server.doors.entered.wait()
    await asyncio.wait_for(server.doors.hung_up.wait(), 30)


async def test_client_that_leaves_in_the_middle_of_a_body(server: HotServer) -> None:
    """A body that never ends leaves nothing behind: no task, no room taken."""
    async with server.connect() as client:
        client.ask("POST", "/raw/body", f"Content-Length: {LIMIT}")
        client.send(b"x" * 100_000)
        await until(lambda: server.doors.uploads.reserved == LIMIT)
    await until(lambda: not server.http.server_state.tasks)
    assert server.doors.uploads.reserved == 0


async def test_answers_wait_for_who_reads_slowly(client: Client, server: HotServer) -> None:
    """A client that asks and does not read is not answered ahead: what waits for it stays bounded."""
    for number in range(64):
        client.ask("GET", f"/raw/large/{1024 * 1024 + number}")
    await until(lambda: len(server.doors.seen) > 2)
    for _ in range(200):
        await asyncio.sleep(0)
    assert len(server.doors.seen) < 64
    sizes = [len((await client.answer())[2]) for _ in range(64)]
    assert sizes == [1024 * 1024 + number for number in range(64)]


async def test_quiet_connections_are_closed() -> None:
    """A connection on which nothing is asked for the keep-alive time is closed; one that is being answered is not."""
    async with serving(keep_alive_s=0.05) as server, server.connect() as quiet, server.connect() as busy:
        quiet.ask("GET", "/raw/echo/w")
        busy.ask("GET", "/raw/echo/w")
        await echoed(quiet)
        await echoed(busy)
        busy.ask("GET", "/raw/wait")
        assert await quiet.rest() == b""
        await asyncio.wait_for(asyncio.shield(server.doors.entered.wait()), 30)
        server.doors.open.set()
        assert (await busy.answer())[0] == 204
        assert await busy.rest() == b""


async def test_stopping_waits_for_open_requests() -> None:
    """A server that stops answers what it has begun, then closes; idle connections are closed at once."""
    async with serving() as server, server.connect() as busy, server.connect() as idle:
        idle.ask("GET", "/raw/echo/w")
        await echoed(idle)
        busy.ask("GET", "/raw/wait")
        await server.doors.entered.wait()
        server.http.should_exit = True
        assert await idle.rest() == b""
        server.doors.open.set()
        status, headers, _content = await busy.answer()
        assert (status, headers["connection"]) == (204, "close")
        assert await busy.rest() == b""


async def test_each_repeat_is_answered_by_its_handler() -> None:
    """The same bytes again: the handler is asked each time, and says each time what it would say to the first; what comes between changes
    nothing."""
    async with serving() as server, server.connect() as client:
        answers = []
        for word in ("a", "b", "a", "a", "b", "b"):
            client.ask("GET", f"/raw/echo/{word}?q={word}", "X-Test: " + word)
            status, _headers, content = await client.answer()
            answers.append((status, content))
        assert server.doors.seen == [f"/raw/echo/{word}" for word in "abaabb"]
        assert answers[0] == answers[2] == answers[3] != answers[1] == answers[4] == answers[5]
