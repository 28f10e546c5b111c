"""One request to a receiver: where it goes, what it believes, and what it says of everything that can go wrong."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from stoker.receivers import HttpReceivers, Resolve
from stoker.webhook import Answer, parse
from tests.webhooks.receiver import (
    HERE,
    Behave,
    Receiver,
    answers,
    certificate,
    closes,
    endless_body,
    endless_headers,
    hangs,
    raw,
    receiving,
)

LOCAL = (ipaddress.ip_network("127.0.0.0/8"),)


async def here(_host: str, _port: int) -> Sequence[str]:
    """Every name is this machine."""
    return [HERE]


async def tell(url: str, *, resolve: Resolve = here, timeout_s: float = 20.0, body: bytes = b"{}") -> Answer:
    """What comes of one try, when this machine may be told."""
    receivers = HttpReceivers(timeout_s=timeout_s, allowed=LOCAL, resolve=resolve)
    return await receivers.tell(parse(url), {"webhook-id": "n-1", "content-type": "application/json"}, body)


async def outcome(behave: Behave, **more: float) -> tuple[int | None, str]:
    """Status and words after one try at a receiver that behaves so."""
    async with receiving(behave) as receiver:
        answer = await tell(receiver.url, **more)  # type: ignore[arg-type]  # the timeout
        return answer.status, answer.error


async def test_the_request() -> None:
    """It is a POST to the path with its query, with the name as Host, our headers and the body as it is, on a connection of its own."""
    async with receiving(answers(200)) as receiver:
        assert await tell(f"{receiver.url}?token=x", body=b'{"a": 1}') == Answer(status=200)
    (request,) = receiver.told
    assert request.line == "POST /hook?token=x HTTP/1.1"
    assert request.headers["host"] == f"hooks.example:{receiver.port}"
    assert (request.headers["webhook-id"], request.headers["connection"]) == ("n-1", "close")
    assert (request.headers["content-length"], request.body) == ("8", b'{"a": 1}')


@pytest.mark.parametrize(
    ("behave", "status", "words"),
    [
        (answers(204), 204, ""),
        (answers(404, body=b"no such thing"), 404, "it answered 404"),
        (answers(302, "Location: http://127.0.0.1:1/"), 302, "it answered 302; redirects are not followed"),
        (answers(307, "Location: http://169.254.169.254/"), 307, "it answered 307; redirects are not followed"),
        (endless_body, 200, ""),
        (endless_headers, None, "it closed the connection without an answer, or what it answered is not HTTP"),
        (closes, None, "it closed the connection without an answer, or what it answered is not HTTP"),
        (
            raw(b"220 mail ESMTP\r\n"),
            None,
            "it closed the connection without an answer, or what it answered is not HTTP",
        ),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx"), 200, ""),
        (raw(b"HTTP/1.1 20"), None, "it closed the connection without an answer, or what it answered is not HTTP"),
    ],
)
async def test_what_it_answers(behave: Behave, status: int | None, words: str) -> None:
    """Only the head of an answer counts, within bounds; what it lies about its body does not matter."""
    assert await outcome(behave) == (status, words)


async def test_redirects_are_not_followed() -> None:
    """A receiver that points elsewhere is not believed: nobody else is asked."""
    async with receiving(answers(200)) as other, receiving(closes) as receiver:
        receiver.behave = answers(301, f"Location: {other.url}")
        assert (await tell(receiver.url)).status == 301
    assert (len(receiver.told), other.told) == (1, [])


async def test_it_takes_too_long() -> None:
    """A receiver that does not answer in time is left."""
    assert await outcome(hangs, timeout_s=0.2) == (None, "it did not answer within 0.2 s")


async def test_retry_after() -> None:
    """How long a receiver asks to wait is passed on, if it says so in seconds."""
    for value, expected_ms in (("7", 7_000), ("Wed, 21 Oct 2026 07:28:00 GMT", 0), ("-1", 0), ("9" * 400, 0)):
        async with receiving(answers(503, f"Retry-After: {value}")) as receiver:
            assert (await tell(receiver.url)).retry_after_ms == expected_ms


async def test_nobody_is_there() -> None:
    """A port at which nobody listens refuses the connection."""
    with socket.create_server((HERE, 0)) as taken:
        port = taken.getsockname()[1]
    assert (await tell(f"http://hooks.example:{port}/")).error == "it refused the connection"


# ── addresses ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://127.0.0.1:{port}/", "loopback"),
        ("http://localhost:{port}/", "loopback"),
        ("http://2130706433:{port}/", "loopback"),
        ("http://127.1:{port}/", "loopback"),
        ("http://0x7f000001:{port}/", "loopback"),
        ("http://[::ffff:127.0.0.1]:{port}/", "loopback"),
        ("http://0.0.0.0:{port}/", "unspecified"),
        ("http://169.254.169.254/latest/meta-data/", "link-local"),
        ("http://10.0.0.1/", "private"),
    ],
)
async def test_addresses_that_are_not_public(url: str, word: str) -> None:
    """Without a setting that allows it nothing goes to this machine, its network or a metadata service, however it is written."""
    async with receiving(answers(200)) as receiver:
        target = parse(url.format(port=receiver.port))
        answer = await HttpReceivers(timeout_s=20).tell(target, {}, b"{}")
    assert answer == Answer(error=f"its address is {word}: webhooks go to public addresses only")
    assert receiver.told == []


async def test_a_name_that_means_something_else_a_moment_later() -> None:
    """The name is asked once, and the connection goes to the address that was looked at: rebinding it changes nothing."""
    asked = []

    async def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return [HERE] if len(asked) == 1 else ["169.254.169.254"]

    async with receiving(answers(200)) as receiver:
        assert (await tell(receiver.url, resolve=rebinding)).status == 200
        assert (await tell(receiver.url, resolve=rebinding)).error.startswith("its address is link-local")
    assert asked == ["hooks.example", "hooks.example"]
    assert len(receiver.told) == 1


async def test_one_good_address_among_bad_ones() -> None:
    """Of several addresses one that may be told is taken, and no other."""

    async def several(_host: str, _port: int) -> Sequence[str]:
        return ["10.0.0.1", "::1", HERE]

    async with receiving(answers(200)) as receiver:
        assert (await tell(receiver.url, resolve=several)).status == 200


async def test_names_that_cannot_be_resolved() -> None:
    """A name that nobody knows, or that has no address, is said to be so."""

    async def unknown(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror(-2, "Name or service not known")

    async def nowhere(_host: str, _port: int) -> Sequence[str]:
        return []

    assert (await tell("http://hooks.example/", resolve=unknown)).error == "its name cannot be resolved"
    assert (await tell("http://hooks.example/", resolve=nowhere)).error == "its name has no address"


async def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would go where it likes: none is used."""
    async with receiving(answers(200)) as receiver, receiving(answers(502)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{HERE}:{proxy.port}")
        assert (await tell(receiver.url)).status == 200
    assert proxy.told == []


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def https(receiver: Receiver, host: str = "hooks.example") -> str:
    """Its URL over TLS, by a name."""
    return f"https://{host}:{receiver.port}/hook"


async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate is checked against the name, though the connection goes to an address."""
    trusted, context = certificate(tmp_path, "hooks.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    async with receiving(answers(200), tls=context) as receiver:
        assert await tell(https(receiver)) == Answer(status=200)
        other = await tell(https(receiver, "other.example"))
    assert other.error.startswith("its certificate is not valid: Hostname mismatch")
    assert len(receiver.told) == 1


async def test_tls_of_a_stranger(tmp_path: Path) -> None:
    """A certificate that nobody vouches for is refused, and nothing is told."""
    _, context = certificate(tmp_path, "hooks.example")
    async with receiving(answers(200), tls=context) as receiver:
        answer = await tell(https(receiver))
    assert answer.error.startswith("its certificate is not valid: self")
    assert receiver.told == []


@pytest.mark.slow
async def test_no_tls_at_all() -> None:
    """Who answers TLS with something else is not told."""
    async with receiving(answers(200)) as receiver:
        answer = await tell(https(receiver), timeout_s=0.5)
    assert answer.error in (
        "it speaks no TLS that we understand",
        "it cannot be reached",
        "it did not answer within 0.5 s",
    )
    assert receiver.told == []
