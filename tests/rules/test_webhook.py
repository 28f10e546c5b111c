"""Webhooks: which URLs and addresses they may have, when a notice is tried again, how fast a receiver is told, and signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import InvalidInput
from stoker.ids import EndpointId, JobId, TeamId
from stoker.job import Job
from stoker.webhook import (
    PAUSE_MOST_MS,
    Notice,
    NoticeState,
    Pace,
    SigningSecret,
    Try,
    after,
    again,
    parse,
    pause_ms,
    refusal,
    signature,
    write_secret,
)

T0 = 1_000_000
DAY_MS = 86_400_000
JOB = Job(
    id=JobId("job"),
    team=TeamId("team"),
    endpoint=EndpointId("endpoint"),
    created_ms=T0,
    queued_ms=T0,
    expires_ms=T0 + 10_000,
    execution_limit_ms=5_000,
    retention_ms=60_000,
    retry_limit=1,
)
NOTICE = Notice(
    number=7,
    job=JOB.id,
    team=JOB.team,
    endpoint=JOB.endpoint,
    url="https://example.com/hook",
    dialect="v2",
    ended=JOB,
    since_ms=T0,
    due_ms=T0,
)


def tried(status: int | None = None, *, at_ms: int = T0, duration_ms: int = 0, retry_after_ms: int = 0) -> Try:
    """A try that was answered with this status, or not at all."""
    return Try(at_ms=at_ms, duration_ms=duration_ms, status=status, retry_after_ms=retry_after_ms)


# ── URLs and addresses ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "receiver", "shown"),
    [
        ("https://example.com/hook", "example.com:443", "https://example.com:443/hook"),
        ("http://Example.COM", "example.com:80", "http://example.com:80/"),
        ("https://example.com:8443?job=1", "example.com:8443", "https://example.com:8443/?…"),
        ("HTTPS://[2001:db8::1]/a?token=x", "[2001:db8::1]:443", "https://[2001:db8::1]:443/a?…"),
        ("http://xn--bcher-kva.example/", "xn--bcher-kva.example:80", "http://xn--bcher-kva.example:80/"),
    ],
)
def test_urls(url: str, receiver: str, shown: str) -> None:
    """A URL names its receiver, host and port; it is shown without its query."""
    target = parse(url)
    assert (target.receiver, target.shown) == (receiver, shown)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.com",
        "example.com/hook",
        "https://",
        "https:///path",
        "https://user:pass@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/#part",
        "https://example.com/a b",
        "https://example.com/\r\nX: y",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://bücher.example/",
        "https://example.com/" + "a" * 2_048,
    ],
)
def test_no_urls(url: str) -> None:
    """What could be read in two ways, or hides something, is no URL of a webhook."""
    with pytest.raises(InvalidInput) as refused:
        parse(url)
    assert refused.value.field == "webhook"


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("93.184.216.34", ""),
        ("2606:2800:220:1:248:1893:25c8:1946", ""),
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("fd00:ec2::254", "private"),
        ("169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("100.100.100.200", "reserved"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "private"),
        ("240.0.0.1", "private"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "link-local"),
        ("2002:7f00:1::", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::a01:203", "private"),
    ],
)
def test_addresses(address: str, word: str) -> None:
    """Only public addresses are for webhooks, however they are written; a metadata service is none."""
    assert refusal(address) == word


def test_allowed_networks() -> None:
    """A network that the settings allow may be told, and no other that is not public."""
    allowed = (ipaddress.ip_network("10.0.0.0/8"),)
    assert refusal("10.1.2.3", allowed) == ""
    assert refusal("192.168.1.1", allowed) == "private"
    assert refusal("::ffff:10.1.2.3", allowed) == "private"


# ── the life of a notice ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_delivers(status: int) -> None:
    """An answer of 2xx says that the receiver has it: it is not tried again, and keeps the moment of the first delivery."""
    done = after(NOTICE, tried(status, duration_ms=30), life_ms=DAY_MS)
    assert (done.state, done.due_ms, done.told_ms) == (NoticeState.DELIVERED, None, T0 + 30)
    twice = after(again(done, T0 + 99), tried(status, at_ms=T0 + 100), life_ms=DAY_MS)
    assert twice.told_ms == T0 + 30


@pytest.mark.parametrize("status", [None, 301, 307, 400, 401, 404, 408, 429, 500, 503])
def test_everything_else_is_tried_again(status: int | None) -> None:
    """Any other answer, and none, is followed by another try; the first three are ten seconds apart, as Runpod's are."""
    second = after(NOTICE, tried(status), life_ms=DAY_MS)
    third = after(second, tried(status, at_ms=T0 + 10_000), life_ms=DAY_MS)
    assert (second.state, second.due_ms, second.tries) == (NoticeState.PENDING, T0 + 10_000, 1)
    assert third.due_ms == T0 + 20_000


def test_gone_ends_it() -> None:
    """A receiver that answers 410 wants no more."""
    assert after(NOTICE, tried(410), life_ms=DAY_MS).state is NoticeState.GIVEN_UP


def test_retry_after() -> None:
    """A receiver may ask for more time than it would get, up to the longest pause, and never for less."""
    for asked_ms, pause in ((60_000, 60_000), (1_000, 10_000), (10**9, PAUSE_MOST_MS)):
        assert after(NOTICE, tried(503, retry_after_ms=asked_ms), life_ms=DAY_MS).due_ms == T0 + pause


def test_a_day_of_failures() -> None:
    """A notice that always fails is tried for its whole time, at least every quarter of an hour, and then given up."""
    notice, at_ms, tries = NOTICE, T0, 0
    while notice.due_ms is not None:
        assert notice.due_ms - at_ms <= PAUSE_MOST_MS
        at_ms = notice.due_ms
        notice = after(notice, tried(at_ms=at_ms), life_ms=DAY_MS)
        tries += 1
    assert notice.state is NoticeState.GIVEN_UP
    assert T0 + DAY_MS - PAUSE_MOST_MS <= at_ms < T0 + DAY_MS
    assert 90 < tries < 120


@given(st.integers(1, 1_000))
def test_pauses_never_shrink(tries: int) -> None:
    """Each pause is at least as long as the one before, and bounded."""
    assert pause_ms(tries) <= pause_ms(tries + 1) <= PAUSE_MOST_MS


def test_again() -> None:
    """A notice that is delivered once more has its whole time anew, and the same id."""
    ended = after(NOTICE, tried(410), life_ms=DAY_MS)
    once_more = again(ended, T0 + 5)
    assert (once_more.state, once_more.due_ms, once_more.since_ms, once_more.tries) == ("pending", T0 + 5, T0 + 5, 0)
    assert once_more.id == NOTICE.id == "job-7"


# ── pacing ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failing_receiver_is_told_one_at_a_time() -> None:
    """After a failure one notice at a time is tried, with rests that double up to half a minute; a success ends that."""
    pace, rests = Pace(), []
    for _ in range(8):
        pace = pace.after(tried(503))
        rests.append((pace.resume_ms - T0) // 1_000)
    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]
    assert pace.at_once(4) == 1
    assert pace.after(tried(200)) == Pace()
    assert Pace().at_once(4) == 4


def test_a_receiver_that_refuses_one_notice_is_there() -> None:
    """404 for one path says nothing about others; 429 asks for less, and no answer means nobody is there."""
    assert Pace().after(tried(404)) == Pace()
    assert Pace().after(tried(429, retry_after_ms=5_000)).resume_ms == T0 + 5_000
    assert Pace().after(tried()).failures == 1


# ── signatures ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_signature() -> None:
    """HMAC-SHA256 over id, timestamp and body, as Standard Webhooks has it: with the vector of its documentation."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    assert (
        signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )
    key = b"k" * 32
    expected = base64.b64encode(hmac.new(key, b"a.1.b", hashlib.sha256).digest()).decode()
    assert signature(write_secret(key), "a", 1, b"b") == f"v1,{expected}"


def test_overlap() -> None:
    """During the overlap both secrets sign, the new one first; afterwards the new one alone."""
    secret = SigningSecret(team=TeamId("t"), sealed="new", made_ms=T0, old_sealed="old", old_until_ms=T0 + 10)
    assert secret.in_use(T0 + 9) == ["new", "old"]
    assert secret.in_use(T0 + 10) == ["new"]
    assert SigningSecret(team=TeamId("t"), sealed="only", made_ms=T0).in_use(T0) == ["only"]
