"""Heads that are kept: whoever is answered by them is answered as the parser would have had it."""

from __future__ import annotations

from dataclasses import dataclass, field

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stoker.web.heads import KEPT_BYTES, KEPT_MOST, Heads, target_of

PLAIN = b"GET /v2/a/status/1?x=1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\n\r\n"
BODY = b'POST /v2/a/run HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nX-Test: 1\r\n\r\n{"a": 12}'


@dataclass
class Parsed:
    """What httptools makes of bytes."""

    url: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    begun: int = 0
    complete: int = 0
    method: bytes = b""
    keep_alive: bool = False
    version: str = ""

    def on_message_begin(self) -> None:
        """One more."""
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, as uvicorn keeps it."""
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """That was it."""
        self.complete += 1


def parse(data: bytes) -> Parsed | None:
    """What the parser says; None when it refuses."""
    parsed = Parsed()
    parser = httptools.HttpRequestParser(parsed)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    if parsed.begun:
        parsed.method, parsed.version = parser.get_method(), parser.get_http_version()
        parsed.keep_alive = parsed.version != "1.0" and parser.should_keep_alive()
    return parsed


def learned(*requests: bytes) -> Heads:
    """What is kept after these came one by one."""
    heads = Heads()
    for request in requests:
        parsed = parse(request)
        if parsed is not None and parsed.complete and parsed.keep_alive:
            heads.keep(request, parsed.headers)
    return heads


def test_same_head_another_line_another_length() -> None:
    """Only the first line and the body may differ: then the headers are those that were parsed before."""
    heads = learned(BODY)
    came = BODY.replace(b"9\r\n", b"3\r\n").replace(b'{"a": 12}', b"123").replace(b"/a/run", b"/b/cancel/7")
    assert heads.find(came) == (b"POST /v2/b/cancel/7", {"host": "h", "x-test": "1"}, b"123")
    assert heads.find(came) == heads.find(came)
    assert heads.find(came[:-1]) is None
    assert heads.find(BODY.replace(b"X-Test: 1", b"X-Test: 2")) is None


@pytest.mark.parametrize(
    "data",
    [
        PLAIN[:-1],
        PLAIN + b"G",
        PLAIN + PLAIN,
        BODY[:-1],
        BODY + b"x",
        BODY.replace(b": 9", b": +9"),
        BODY.replace(b": 9", b": 0x9"),
        BODY.replace(b": 9", b": 9, 9"),
        BODY.replace(b": 9", b": 000000009"),
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"\r\n" + PLAIN,
        b"",
        b"\r\n\r\n",
    ],
)
def test_what_is_no_single_whole_request(data: bytes) -> None:
    """Pieces, several at once, and lengths or versions that are unusual are left to the parser."""
    came = learned(PLAIN, BODY, data).find(data)
    assert came is None or target_of(came[0]) is None


@pytest.mark.parametrize(
    "more",
    [
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Connection: upgrade",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
        b"CONTENT-LENGTH: 9",
        b"Content-Length: 9",
        b"content-length:9",
        b"X: " + b"x" * KEPT_BYTES,
    ],
)
def test_heads_that_say_how_to_go_on_are_not_kept(more: bytes) -> None:
    """What tells about the body or the connection is for the parser, each time."""
    request = BODY.replace(b"X-Test: 1", more)
    assert learned(request).find(request) is None


@pytest.mark.parametrize(
    "line", [b"GET a", b"GET /a b", b"GET /%41", b"GET /a#b", b"GET /\xc3\xbc", b"GET /\x7f", b"GET", b"", b"GET /\t"]
)
def test_strange_lines(line: bytes) -> None:
    """Targets with anything special in them are left to the parser."""
    assert target_of(line) is None


def test_no_more_than_so_many_are_kept() -> None:
    """Clients that send another head each time cost no memory in the end."""
    heads = learned(PLAIN)
    request = b""
    for number in range(KEPT_MOST):
        request = b"GET /a HTTP/1.1\r\nX: %d\r\n\r\n" % number
        heads.keep(request, [(b"x", b"%d" % number)])
    assert heads.find(PLAIN) is None
    for length in range(KEPT_MOST + 1):
        longer = request.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % length) + b"x" * length
        if heads.find(longer) is None:
            heads.keep(longer, [(b"x", b"")])
        assert heads.find(longer) is not None
    assert len(heads._kept) <= KEPT_MOST


PIECES = [
    *(b"GET ", b"POST ", b"get ", b"/a", b"/b/c?d=e", b"*", b"%20", b"\x00", b"\x7f", b"\xff", b" ", b"\t"),
    *(
        b" HTTP/1.1",
        b" HTTP/1.0",
        b" HTTP/1.1 ",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b":",
        b"Host: h",
        b"X: y",
        b" folded",
    ),
    *(b"Content-Length: 3", b"content-length: 3", b"Content-Length: 2", b"Content-Length : 3", b"CONTENT-LENGTH: 3"),
    *(b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: keep-alive", b"abc", b"0\r\n\r\n"),
]
ANYTHING = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join),
    st.tuples(
        st.sampled_from([PLAIN, BODY]), st.integers(0, len(PLAIN)), st.integers(0, 3), st.sampled_from(PIECES)
    ).map(lambda cut: cut[0][: cut[1]] + cut[3] + cut[0][cut[1] + cut[2] :]),
)


@given(st.lists(ANYTHING, max_size=4), ANYTHING)
@example([BODY], BODY.replace(b"X-Test: 1", b"X-Test: 1\r\nContent-Length: 9"))
@example([PLAIN], PLAIN.replace(b"/1?", b"/1\r\n?"))
def test_known_heads_mean_what_the_parser_says(before: list[bytes], data: bytes) -> None:
    """Whatever came before, and whatever comes: what would be answered without the parser is what the parser reads, all of it,
    and nothing besides."""
    heads = learned(PLAIN, BODY, *before)
    came = heads.find(data)
    assert heads.find(data) == came
    target = None if came is None else target_of(came[0])
    if came is None or target is None or target[0] not in ("GET", "POST"):
        return
    _, headers, body = came
    parsed = parse(data)
    assert parsed is not None
    assert (parsed.begun, parsed.complete, parsed.keep_alive, parsed.version) == (1, 1, True, "1.1")
    method, path, query = target
    assert parsed.method.decode() == method
    assert parsed.url.decode() in (path, f"{path}?{query}")
    assert parsed.body == body
    found = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(parsed.headers)}
    found.pop("content-length", None)
    assert headers == found
