"""A wire between a store and its database that a test can cut, message by message."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import Enum, auto
from typing import Self

CHUNK_BYTES = 65_536


class Cut(Enum):
    """What becomes of the message at which the wire is cut."""

    LOST = auto()
    """The database never sees it."""
    UNANSWERED = auto()
    """The database sees it; its answer is lost."""


class Proxy:
    """Listens on a port of its own and passes everything on, until it is told to cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._wires: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._left: int | None = None
        self._how = Cut.LOST
        self._deaf: set[asyncio.StreamWriter] = set()
        self.was_cut = False
        self.refuses = False
        """Whether it hangs up on whoever calls."""

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator[Self]:
        """A wire to that port of this machine."""
        proxy = cls(port)
        proxy._server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        try:
            yield proxy
        finally:
            proxy._server.close()
            proxy.cut_all()
            if proxy._tasks:
                await asyncio.wait(proxy._tasks)

    @property
    def port(self) -> int:
        """Where to call."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut_at(self, message: int, how: Cut) -> None:
        """Cut the wire that carries the n-th message from now on, counted from 1."""
        self._left, self._how, self.was_cut = message, how, False

    def spare(self) -> None:
        """Cut nothing any more, and take calls again."""
        self._left, self.refuses = None, False

    def cut_all(self) -> None:
        """Cut every wire there is."""
        for wire in list(self._wires):
            wire.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.refuses:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._wires |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, far_writer, writer))
                group.create_task(self._answer(far_reader, writer))
        except* OSError:
            pass
        finally:
            for wire in (writer, far_writer):
                self._wires.discard(wire)
                self._deaf.discard(wire)
                wire.transport.abort()

    async def _ask(
        self, reader: asyncio.StreamReader, database: asyncio.StreamWriter, store: asyncio.StreamWriter
    ) -> None:
        """What the store sends: each time it waits for an answer is a message."""
        while message := await reader.read(CHUNK_BYTES):
            if self._left is not None:
                self._left -= 1
                if self._left == 0:
                    self._left, self.was_cut = None, True
                    if self._how is Cut.LOST:
                        store.transport.abort()
                        raise ConnectionResetError
                    self._deaf.add(store)
            database.write(message)
            await database.drain()
        database.transport.abort()
        raise ConnectionResetError

    async def _answer(self, reader: asyncio.StreamReader, store: asyncio.StreamWriter) -> None:
        while message := await reader.read(CHUNK_BYTES):
            if store in self._deaf:
                break
            store.write(message)
            await store.drain()
        store.transport.abort()
        raise ConnectionResetError
