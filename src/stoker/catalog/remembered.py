"""What requests need again and again, believed for a second.

Every request of a customer names a key and an endpoint, so both are remembered for `TRUST_MS`. What this server changes it
forgets at once: a key revoked here opens nothing here once the revocation is answered. What another server on the same
database changes is seen within that time. When it ends, all requests that are under way share one look at the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from stoker.clock import Clock

TRUST_MS: Final = 1_000
"""How long a key or an endpoint is believed to be as it was read."""
REMEMBERED_MOST: Final = 10_000
"""Keys or names of endpoints that are remembered at once."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """What `read` found, for `TRUST_MS` from the moment it was asked. That nothing was found is not remembered."""

    def __init__(self, clock: Clock, read: Callable[[K], Awaitable[V | None]]) -> None:
        self._clock = clock
        self._read = read
        self._found: dict[K, tuple[int, V]] = {}
        self._looks: dict[K, tuple[int, asyncio.Task[V | None]]] = {}
        self._forgotten = 0
        self._watchers: list[Callable[[], None]] = []

    async def get(self, name: K) -> V | None:
        """As remembered, or as it is now."""
        now_ms = self._clock.now_ms()
        found = self.known(name, now_ms)
        if found is not None:
            return found
        until_ms, look = self._looks.get(name, (0, None))
        if look is not None and now_ms < until_ms and (found := await asyncio.shield(look)) is not None:
            return found
        look = asyncio.create_task(self._look(name, now_ms))
        self._looks[name] = now_ms + TRUST_MS, look
        return await asyncio.shield(look)  # others may wait for it too

    async def _look(self, name: K, now_ms: int) -> V | None:
        """What is there now; it is believed from the moment it was asked."""
        forgotten = self._forgotten
        try:
            found = await self._read(name)
        finally:
            if name in self._looks and self._looks[name][1] is asyncio.current_task():
                del self._looks[name]
        if found is not None and forgotten == self._forgotten:
            if len(self._found) >= REMEMBERED_MOST:
                self._found.clear()
            self._found[name] = (now_ms + TRUST_MS, found)
        return found

    def known(self, name: K, now_ms: int) -> V | None:
        """As remembered; None says nothing."""
        until_ms, found = self._found.get(name, (0, None))
        return found if now_ms < until_ms else None

    def last(self, name: K) -> V | None:
        """As it was read last, believed or not; for what only tells about it."""
        return self._found.get(name, (0, None))[1]

    def forget(self) -> None:
        """Something changed. What is being read right now is not remembered either: it may be from before."""
        self._found.clear()
        self._looks.clear()
        self._forgotten += 1
        for tell in self._watchers:
            tell()

    def watch(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever something changed: for who remembers what follows from this."""
        self._watchers.append(tell)

    def until_ms(self, name: K) -> int:
        """How long it is believed; 0 when it is not remembered."""
        return self._found.get(name, (0, None))[0]


__all__ = ["TRUST_MS", "Remembered"]
