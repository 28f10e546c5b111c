"""Heads of requests: how long they may be, and which need not be parsed, because the same client said the same before.

Called by `connection.py` with what came in one read. Clients and workers send the same headers with every request; what the parser
found in them once it would find in the same bytes again. Only the first line and the length differ: those are read here.
What must stay true: nothing is believed about bytes that the parser has not seen, and whatever is unusual (a piece of a request,
several of them, another version, a strange target) is left to the parser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from stoker.errors import HeadTooLarge, TargetTooLong

HEAD_BYTES_MAX: Final = 64 * 1024
"""The longest head of a request: far more than clients, proxies and cookies together send."""
TARGET_BYTES_MAX: Final = 16 * 1024
"""The longest path with its query."""
KEPT_MOST: Final = 2_048
"""Heads that are kept at once. When there are more, all are forgotten: somebody sends another one each time."""
KEPT_BYTES: Final = 2_048
"""The longest that is kept."""
DIGITS_MOST: Final = 8
"""Of a length: what is longer does not come in one read."""
_VERSION: Final = b" HTTP/1.1"
_LENGTHS: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
"""As clients write it. Another spelling is as good, but not as fast."""

RawHeaders = Sequence[tuple[bytes, bytes]]


class Whole(msgspec.Struct, frozen=True, gc=False):
    """A request that came in one piece."""

    line: bytes
    """Method and target."""
    head: bytes
    """The headers without the length: what they are kept by."""
    start: int
    """Where the body begins; it goes to the end."""


def whole(data: bytes) -> Whole | None:
    """What came, if it is one whole request."""
    first = data.find(b"\r\n")
    last = data.find(b"\r\n\r\n", first)
    if last < 0 or not data.startswith(_VERSION, first - 9):
        return None
    head = data[first:last]
    length = 0
    for word in _LENGTHS:
        at = head.find(word)
        if at >= 0:
            end = head.find(b"\r\n", at + 2)
            digits = head[at + 18 : end] if end >= 0 else head[at + 18 :]
            if not digits.isdigit() or len(digits) > DIGITS_MOST:
                return None
            length = int(digits)
            head = head[:at] + head[end:] if end >= 0 else head[:at]
            break
    return Whole(data[: first - 9], head, last + 4) if last + 4 + length == len(data) else None


def target_of(line: bytes) -> tuple[str, str, str] | None:
    """Method, path and query of a first line, if there is nothing special about it."""
    if not line.isascii() or b"%" in line or b"#" in line:
        return None
    method, _, target = line.decode("ascii").partition(" ")
    if not target.startswith("/") or " " in target or not target.isprintable():
        return None
    path, _, query = target.partition("?")
    return method, path, query


def check_head(target: bytes, headers: RawHeaders) -> None:
    """Refuse a head that is too large. Raises `TargetTooLong`, `HeadTooLarge`."""
    if len(target) > TARGET_BYTES_MAX:
        raise TargetTooLong(
            f"the path and query have {len(target)} bytes; {TARGET_BYTES_MAX} are allowed",
            next_step="send what is long in the body",
        )
    check_head_size(len(target) + sum(len(name) + len(value) + AROUND_BYTES for name, value in headers))


def check_head_size(size: int) -> None:
    """Refuse a head that is known to have `size` bytes or more. Raises `HeadTooLarge`."""
    if size > HEAD_BYTES_MAX:
        raise HeadTooLarge(
            f"the head of the request has {size} bytes or more; {HEAD_BYTES_MAX} are allowed",
            next_step="send fewer headers and cookies",
        )


AROUND_BYTES: Final = 4
"""A colon, a space and the end of the line."""


class Heads:
    """What is kept: headers by their bytes."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Mapping[str, str]] = {}
        self.find = self._kept.get

    def keep(self, head: bytes, headers: RawHeaders) -> None:
        """The parser found `headers` in a request with this head. The first of a name counts.

        Those that say more than what is asked for (how the body comes, what becomes of the connection) are not kept, nor those that name
        one request: they do not come again.
        """
        if len(head) > KEPT_BYTES or b"content-length" in head.lower():
            return  # a second length, or one in another spelling
        found = by_name(headers)
        found.pop("content-length", None)
        if found.get("connection", "keep-alive").lower() != "keep-alive" or not _TELLING.isdisjoint(found):
            return
        if len(self._kept) >= KEPT_MOST:
            self._kept.clear()
        self._kept[head] = found


_TELLING: Final = frozenset(("transfer-encoding", "expect", "upgrade", "te", "trailer", "x-request-id", "traceparent"))


def by_name(headers: RawHeaders) -> dict[str, str]:
    """Headers by name; the first of a name counts."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(headers)}


__all__ = [
    "TARGET_BYTES_MAX",
    "Heads",
    "RawHeaders",
    "Whole",
    "by_name",
    "check_head",
    "check_head_size",
    "target_of",
    "whole",
]
