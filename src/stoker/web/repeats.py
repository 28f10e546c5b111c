"""Requests that are the same, byte for byte, as one before: a client polls a status, a worker takes. They are not even read.

Called by `connection.py`, before it looks at what came. What was asked with the same bytes once is asked with them again: neither routes
nor what the parser finds in a head ever change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from stoker.web.hot import Wish

KEPT_MOST: Final = 2_048
"""Requests that are kept at once. When there are more, all are forgotten."""
KEPT_BYTES: Final = 1_024
"""The longest that is kept."""


class Repeated(NamedTuple):
    """What a request without a body asks for."""

    wish: Wish
    headers: Mapping[str, str]


class Repeats:
    """What is kept: what was asked, by its bytes."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Repeated] = {}

    def find(self, data: bytes) -> Repeated | None:
        """What came, if it came before."""
        return self._kept.get(data) if len(data) <= KEPT_BYTES else None

    def keep(self, data: bytes, wish: Wish, headers: Mapping[str, str]) -> None:
        """One whole request without a body."""
        if len(data) > KEPT_BYTES:
            return
        if len(self._kept) >= KEPT_MOST:
            self._kept.clear()
        self._kept[data] = Repeated(wish, headers)


__all__ = ["Repeated", "Repeats"]
