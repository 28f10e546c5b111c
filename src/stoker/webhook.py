"""Webhooks: where one goes, what it is signed with, and the life of a notice, which tells a receiver that a job ended.

A notice is pending until its receiver has answered that it got it (delivered), says that it wants no more, or has had enough time
(given up); it can be sent once more then. Nothing else changes it. What must stay true: a notice that was not delivered is tried
again until its time is over; every try of it has the same id, by which receivers know what they have seen. Called by the loop that
delivers, by what shows and redelivers notices, and by whoever checks a URL.

Signatures follow the convention of Standard Webhooks (standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from stoker.errors import InvalidInput
from stoker.ids import EndpointId, JobId, TeamId
from stoker.job import Job

URL_MOST: Final = 2_048
"""Characters of a webhook's URL."""
SECRET_PREFIX: Final = "whsec_"
OVERLAP_MOST_MS: Final = 30 * 86_400_000
"""A month, for which notices may be signed with the secret before a rotation too."""

# ── where it goes ─────────────────────────────────────────────────────────────────────────────────────────────────────

_URL = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?(?=[/?]|$)([^#]*)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A webhook's URL, taken apart."""

    scheme: str
    host: str
    """In small letters; an IPv6 address without brackets."""
    port: int
    path: str
    """With the query, which may be a secret."""

    @property
    def receiver(self) -> str:
        """Host and port: who is slow or down when the webhook is."""
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL with its query masked."""
        path, mark, _ = self.path.partition("?")
        return f"{self.scheme}://{self.receiver}{path}{'?…' if mark else ''}"


def parse(url: str) -> Target:
    """Raises `InvalidInput` for what is no URL that a webhook may have."""
    found = _URL.fullmatch(url)
    if len(url) > URL_MOST or not url.isascii() or not url.isprintable() or " " in url or found is None:
        raise InvalidInput(
            f"webhook must be an http(s) URL of at most {URL_MOST} ASCII characters, without user, password and fragment",
            field="webhook",
            next_step="for example https://example.com/hook; names of other scripts are written as xn--…",
        )
    scheme, host, port, path = found.groups()
    number = int(port) if port else (443 if scheme.lower() == "https" else 80)
    if not 0 < number < 65_536:
        raise InvalidInput("webhook names a port that does not exist", field="webhook")
    path = path if path.startswith("/") else f"/{path}"
    return Target(scheme=scheme.lower(), host=host.lower().strip("[]"), port=number, path=path)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def refusal(address: str, allowed: Sequence[Network] = ()) -> str:
    """Why an address is not for webhooks, in a word; empty when it is. What is not public may be a machine of ours, unless it
    is in a network that is `allowed`."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if any(ip in network for network in allowed):
        return ""
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or _translated(ip)
        if inner is not None and (word := refusal(str(inner))):
            return word
    for word, is_so in (
        ("loopback", ip.is_loopback),
        ("link-local", ip.is_link_local),
        ("multicast", ip.is_multicast),
        ("unspecified", ip.is_unspecified),
        ("private", ip.is_private),
        ("reserved", ip.is_reserved or not ip.is_global),
    ):
        if is_so:
            return word
    return ""


_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a NAT64 gateway would turn it into."""
    return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in _NAT64 else None


# ── the life of a notice ──────────────────────────────────────────────────────────────────────────────────────────────


class NoticeState(StrEnum):
    """What became of a notice."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """The end of a job, to be told to its webhook."""

    number: int
    job: JobId
    team: TeamId
    endpoint: EndpointId
    url: str
    dialect: str
    ended: Job
    """As it was when it ended."""
    state: NoticeState = NoticeState.PENDING
    since_ms: int
    """From when it is tried: its time begins here."""
    due_ms: int | None
    """Of the next try; None unless it is pending."""
    tries: int = 0
    """Since `since_ms`."""
    told_ms: int | None = None
    """When it was first delivered."""
    kept: bool = False
    """Whether output and error are kept with the notice, because the job has others by now or is forgotten."""

    @property
    def id(self) -> str:
        """The same in every try, and in no other notice."""
        return f"{self.job}-{self.number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a receiver said, or why it said nothing."""

    status: int | None = None
    """None when no answer came."""
    error: str = ""
    """What went wrong, in words; empty when nothing did."""
    retry_after_ms: int = 0
    """How long it asked to wait."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """One attempt to deliver a notice."""

    at_ms: int
    duration_ms: int
    status: int | None = None
    """Of the answer; None when none came."""
    error: str = ""
    """What went wrong, in words; empty when nothing did."""
    retry_after_ms: int = 0
    """How long the receiver asked to wait."""

    @property
    def succeeded(self) -> bool:
        """Whether the receiver has it: any 2xx says so."""
        return self.status is not None and 200 <= self.status < 300


GONE: Final = 410
"""The answer of a receiver that wants no more of this."""
PAUSES_MS: Final = (10_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000)
"""Before the second try and those after it. The first three tries are Runpod's."""
PAUSE_MOST_MS: Final = 900_000
"""Before every later one: a receiver that is back has everything within a quarter of an hour."""


def pause_ms(tries: int) -> int:
    """How long to wait after so many tries."""
    return PAUSES_MS[tries - 1] if tries <= len(PAUSES_MS) else PAUSE_MOST_MS


def after(notice: Notice, tried: Try, *, life_ms: int) -> Notice:
    """The notice after a try; it is given up when it would be tried after `life_ms`."""
    tries = notice.tries + 1
    ended_ms = tried.at_ms + tried.duration_ms
    if tried.succeeded:
        told_ms = ended_ms if notice.told_ms is None else notice.told_ms
        return replace(notice, state=NoticeState.DELIVERED, due_ms=None, tries=tries, told_ms=told_ms)
    due_ms = ended_ms + max(pause_ms(tries), min(tried.retry_after_ms, PAUSE_MOST_MS))
    if tried.status == GONE or due_ms >= notice.since_ms + life_ms:
        return replace(notice, state=NoticeState.GIVEN_UP, due_ms=None, tries=tries)
    return replace(notice, due_ms=due_ms, tries=tries)


def again(notice: Notice, at_ms: int) -> Notice:
    """The notice, to be delivered once more, from now on."""
    return replace(notice, state=NoticeState.PENDING, since_ms=at_ms, due_ms=at_ms, tries=0)


# ── pacing ────────────────────────────────────────────────────────────────────────────────────────────────────────────

REST_MOST_MS: Final = 30_000
"""How long a receiver that fails is left alone at most, whatever waits for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast a receiver is told: while it fails, one notice at a time, with a rest before each."""

    failures: int = 0
    """In a row."""
    resume_ms: int = 0

    def at_once(self, most: int) -> int:
        """How many tries may be under way."""
        return most if self.failures == 0 else 1

    def after(self, tried: Try) -> Pace:
        """The pace after a try. A receiver that answers is there, whatever it says of one notice."""
        if tried.status is not None and tried.status < 500 and tried.status != 429:
            return Pace()
        failures = self.failures + 1
        rest_ms = max(min(1_000 * 2 ** min(failures - 1, 10), REST_MOST_MS), min(tried.retry_after_ms, REST_MOST_MS))
        return Pace(failures=failures, resume_ms=tried.at_ms + tried.duration_ms + rest_ms)


# ── signatures ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True, slots=True)
class SigningSecret:
    """What a team's notices are signed with, sealed, and what they were signed with before the last rotation."""

    team: TeamId
    sealed: str
    made_ms: int
    old_sealed: str | None = None
    old_until_ms: int | None = None
    """Until when notices carry the old signature too."""

    def in_use(self, at_ms: int) -> list[str]:
        """The sealed secrets to sign with, the new one first."""
        overlaps = self.old_sealed is not None and self.old_until_ms is not None and at_ms < self.old_until_ms
        return [self.sealed, *([self.old_sealed] if overlaps and self.old_sealed else [])]


def write_secret(key: bytes) -> str:
    """A secret as receivers are given it."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def signature(secret: str, notice_id: str, timestamp_s: int, body: bytes) -> str:
    """The value for `webhook-signature` that one secret makes."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{notice_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


__all__ = [
    "OVERLAP_MOST_MS",
    "URL_MOST",
    "Answer",
    "Network",
    "Notice",
    "NoticeState",
    "Pace",
    "SigningSecret",
    "Target",
    "Try",
    "after",
    "again",
    "parse",
    "pause_ms",
    "refusal",
    "signature",
    "write_secret",
]
