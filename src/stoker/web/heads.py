"""Heads of requests: how long they may be, and which need not be parsed, because the same client said the same before.

Called by `connection.py` with what came in one read. Clients and workers send the same headers with every request; what the parser
found in them once it would find in the same bytes again. Only the first line and the length differ: those are read here.
What must stay true: nothing is believed about bytes that the parser has not seen, and whatever is unusual (a piece of a request,
several of them, another version, a strange target) is left to the parser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

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
_NEXT: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_LENGTHS: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
"""As clients write it. Another spelling is as good, but not as fast."""

RawHeaders = Sequence[tuple[bytes, bytes]]


def without_length(head: bytes) -> tuple[bytes, int]:
    """The lines of a head but for the length of the body, and that length; 0 if it says none that we read."""
    for word in _LENGTHS:
        before, found, after = head.partition(word)
        if found:
            digits, _, rest = after.partition(_NEXT)
            if digits.isdigit() and len(digits) <= DIGITS_MOST:
                return before + _NEXT + rest, int(digits)
    return head, 0


def target_of(line: bytes) -> tuple[str, str, str] | None:
    """Method, path and query of a first line, if there is nothing special about it."""
    if not line.isascii() or b"%" in line or b"#" in line or len(line) > TARGET_BYTES_MAX:
        return None
    text = line.decode("ascii")
    method, _, target = text.partition(" ")
    if not target.startswith("/") or " " in target or not text.isprintable():
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


Known = tuple[Mapping[str, str], int]
"""The headers but for the length of the body, and that length."""


class Heads:
    """What is kept: what heads say, by their bytes; each with the lengths that came, and without one."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Known] = {}

    def find(self, data: bytes) -> tuple[bytes, Mapping[str, str], bytes] | None:
        """What came, if it is one whole request under a head that is kept: its first line without the version, the headers, the body.

        The line is whatever stood before the version: it is for `target_of` to say whether that is one.
        """
        end = data.find(_END)
        if end < 0:
            return None
        line, _, head = data[:end].partition(_VERSION)
        known = self._kept.get(head) or self._with_another_length(head)
        if known is None:
            return None
        headers, length = known
        start = end + 4
        return (line, headers, data[start:]) if start + length == len(data) else None

    def _with_another_length(self, head: bytes) -> Known | None:
        bare, length = without_length(head)
        known = self._kept.get(bare)
        if known is None:
            return None
        return self._remember(head, (known[0], length))

    def keep(self, data: bytes, headers: RawHeaders) -> None:
        """The parser found `headers` in what came. Nothing is kept unless that was one whole request.

        Heads that say more than what is asked for (how the body comes, what becomes of the connection) are not kept, nor those that name
        one request: they do not come again.
        """
        end = data.find(_END)
        head, length = without_length(data[:end].partition(_VERSION)[2])
        if end < 0 or end + 4 + length != len(data) or not head.startswith(_NEXT):
            return
        if len(head) > KEPT_BYTES or b"content-length" in head.lower():
            return  # a second length, or one in another spelling
        found = by_name(headers)
        found.pop("content-length", None)
        if found.get("connection", "keep-alive").lower() != "keep-alive" or not _TELLING.isdisjoint(found):
            return
        self._remember(head, (found, 0))

    def _remember(self, head: bytes, known: Known) -> Known:
        if len(self._kept) >= KEPT_MOST:
            self._kept.clear()
        self._kept[head] = known
        return known


_TELLING: Final = frozenset(("transfer-encoding", "expect", "upgrade", "te", "trailer", "x-request-id", "traceparent"))


def by_name(headers: RawHeaders) -> dict[str, str]:
    """Headers by name; the first of a name counts."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(headers)}


__all__ = [
    "TARGET_BYTES_MAX",
    "Heads",
    "RawHeaders",
    "by_name",
    "check_head",
    "check_head_size",
    "target_of",
    "without_length",
]
