"""Waking across servers: LISTEN and NOTIFY on a connection of its own.

Called by `PostgresStore`. Words are sent after the commit that they speak of, never inside its transaction: NOTIFY takes a
lock that all committing transactions of the database would queue for. What gets lost costs whoever waits a delay.
Whoever listens says so again and again; a server that has heard of nobody for a while keeps its words to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import asyncpg

from stoker.errors import Unavailable
from stoker.store.postgres.connection import PAUSE_LEAST_S, Database
from stoker.store.postgres.known import Known
from stoker.store.postgres.lane import Pool

CHANNEL: Final = "stoker"
PAYLOAD_BYTES: Final = 7_900
"""What one notification may carry; PostgreSQL's limit is 8,000."""
SEND: Final = f"SELECT pg_notify('{CHANNEL}', payload) FROM unnest($1::text[]) AS payload"
ALIVE_EVERY_S: Final = 5.0
"""How often a server that listens says so, which also shows whether its connection is still there."""
OTHERS_S: Final = 3 * ALIVE_EVERY_S
"""How long somebody else is believed to listen after having said anything, or after a gap in which it may have."""

Callback = Callable[[Sequence[str]], None]


class PostgresWakes:
    """`Wakes`."""

    def __init__(self, database: Database, pool: Pool, known: Known, *, others_s: float = OTHERS_S) -> None:
        self._others_s = others_s
        self._others_until_s = 0.0
        self._database = database
        self._known = known
        self._pool = pool
        self._own = secrets.token_hex(8)
        """The first line of what this server sends: it knows that already."""
        self._task: asyncio.Task[None] | None = None

    def others_listen(self) -> bool:
        """Unless nobody has spoken for a while; who does not listen itself cannot know."""
        return self._task is None or asyncio.get_running_loop().time() <= self._others_until_s

    async def send(self, words: Sequence[str]) -> None:
        """As few notifications as the words fit into; those of one statement reach others together."""
        payloads = list(_payloads(self._own, words))
        if payloads and self.others_listen():
            await self._pool.read(lambda tx: tx.execute(SEND, payloads))

    async def listen(self, callback: Callback) -> None:
        """A task of its own, until the store is closed."""
        first = asyncio.Event()
        self._task = asyncio.create_task(self._keep_listening(callback, first), name="store-wakes")
        await first.wait()

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep_listening(self, callback: Callback, first: asyncio.Event) -> None:
        while True:
            try:
                await self._listen(callback, first)
            except (Unavailable, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                first.set()
                await asyncio.sleep(PAUSE_LEAST_S)

    async def _listen(self, callback: Callback, first: asyncio.Event) -> None:
        """Until the connection is lost, which raises."""
        connection: Any = await self._database.connect()

        def heard(_connection: object, _pid: int, _channel: str, payload: str) -> None:
            sender, *words = payload.split("\n")
            if sender != self._own:
                self._expect_others()
                self._known.heard(words)
                if words:
                    callback(words)

        try:
            await connection.add_listener(CHANNEL, heard)
            self._expect_others()
            self._known.forget()
            self._known.hears = True
            if first.is_set():
                callback(())  # there was a gap: anything may have been said in it
            first.set()
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _connection: lost.set())
            while not lost.is_set():
                await connection.execute(SEND, [self._own])
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ALIVE_EVERY_S):
                        await lost.wait()
            raise ConnectionResetError("the connection for waking was lost")
        finally:
            self._known.hears = False
            connection.terminate()

    def _expect_others(self) -> None:
        self._others_until_s = asyncio.get_running_loop().time() + self._others_s


def _payloads(sender: str, words: Sequence[str]) -> Iterator[str]:
    """The words in lines, as many in each payload as it may carry."""
    lines, size = [sender], len(sender)
    for word in words:
        length = len(word.encode()) + 1
        if size + length > PAYLOAD_BYTES and len(lines) > 1:
            yield "\n".join(lines)
            lines, size = [sender], len(sender)
        lines.append(word)
        size += length
    if len(lines) > 1:
        yield "\n".join(lines)
