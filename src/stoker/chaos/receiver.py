"""A receiver of webhooks on this machine, which can be broken in three ways."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from enum import StrEnum
from typing import Final

HERE: Final = "127.0.0.1"


class Breakage(StrEnum):
    """What it does instead of saying that it has an event."""

    REFUSES = "refuses"
    HANGS = "hangs"
    HANGS_UP = "hangs up"


class Receiver:
    """Counts which jobs it was told of. What it did not acknowledge does not count."""

    def __init__(self) -> None:
        self.told: dict[str, int] = {}
        """How often the end of each job was told."""
        self.broken: Breakage | None = None
        self.url = ""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, HERE, 0)
        self.url = f"http://{HERE}:{self._server.sockets[0].getsockname()[1]}/ended"

    async def close(self) -> None:
        """Stop listening; who hangs is let go."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._answer(reader, writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = dict(line.lower().split(": ", 1) for line in head.rstrip().split("\r\n")[1:])
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        match self.broken:
            case Breakage.HANGS:
                await asyncio.get_running_loop().create_future()
            case Breakage.HANGS_UP:
                return
            case Breakage.REFUSES:
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            case None:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        if self.broken is None:
            job = str(json.loads(body)["id"])
            self.told[job] = self.told.get(job, 0) + 1


__all__ = ["Breakage", "Receiver"]
