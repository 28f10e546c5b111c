"""Bodies on their way in, and how much memory all of them together may take.

A body of at most `SMALL_BYTES` is never in the way of anybody. A larger one is counted in full before it is read: its
declared length, or the limit of its route when it has none (a body that was counted as it grows could wait for others that
wait for it). When nothing is left its connection is not read: the kernel buffers what fits, TCP stops the sender. So a server
with n connections holds at most `bytes_max` and n times `SMALL_BYTES` plus one read of the socket (256 kB).

A body that stays behind `PROGRESS_BYTES` in `stall_s` while we read is given up: stalled ones cannot keep their place for
ever. Places are given in the order of asking, so nobody starves. Workers' reports have a place of their own (`assembly.py`):
no customer's upload can hold them up.

Copies of a large body from socket to store, counted: the bytes of one read, which the parser cuts into a chunk (both short-
lived, at most 256 kB); the chunk goes to its place in the body, which grows and is never joined; `input` is cut out of the body
for the store. So a submission of n bytes takes at most 2.25 n at once, the growth of the body included, and n while it waits
for the disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from starlette.requests import ClientDisconnect

from stoker.errors import Stalled, TooLarge

Body = bytes | bytearray

SMALL_BYTES: Final = 64 * 1024
"""Bodies up to this size are not counted."""
PROGRESS_BYTES: Final = 16 * 1024
"""What a body must bring in each `stall_s`, unless it ends: over 4 kbit/s by default."""


class Uploads:
    """The room for bodies that are being received or used."""

    def __init__(self, bytes_max: int, *, stall_s: float) -> None:
        self.bytes_max = bytes_max
        self.stall_s = stall_s
        self.reserved = 0
        """Bytes that are given away."""
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._queue)

    async def reserve(self, size: int) -> int:
        """Wait for room for `size` bytes; what to `release` afterwards. A body over everything there is takes it all."""
        size = min(size, self.bytes_max)
        if not self._queue and self.reserved + size <= self.bytes_max:
            self.reserved += size
            return size
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size, room))
        try:
            await room
        except asyncio.CancelledError:
            if room.done() and not room.cancelled():
                self.reserved -= size
            self._give()
            raise
        return size

    def release(self, size: int) -> None:
        """Give back what `reserve` returned."""
        self.reserved -= size
        self._give()

    def _give(self) -> None:
        while self._queue:
            size, room = self._queue[0]
            if not room.done():
                if self.reserved + size > self.bytes_max:
                    return
                self.reserved += size
                room.set_result(None)
            self._queue.popleft()


class Flow(Protocol):
    """What an upload needs of its connection."""

    def pause_reading(self) -> None:
        """Let the sender wait."""

    def resume_reading(self) -> None:
        """Read on."""


class Upload:
    """The body of one request, as it comes. `add`, `finish` and `lose` are told by the connection, in this order."""

    __slots__ = ("_body", "_enough", "_flow", "_held", "_stall", "_uploads", "_wake", "complete", "lost", "size")

    def __init__(self, flow: Flow) -> None:
        self.size = 0
        self.complete = False
        self.lost = False
        self._flow = flow
        self._body: Body = b""
        self._enough = SMALL_BYTES
        self._wake: asyncio.Future[None] | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._uploads: Uploads | None = None
        self._held = 0

    def add(self, chunk: bytes) -> None:
        """One more piece. What nobody has asked for yet, or nobody wants, is not read for long."""
        if not self.size:
            self._body = chunk
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += chunk
        self.size += len(chunk)
        if self.size > self._enough:
            self._flow.pause_reading()
            self._wake_up()

    def finish(self) -> None:
        """That was all."""
        self.complete = True
        self._wake_up()

    def lose(self) -> None:
        """The client closed the connection."""
        self.lost = True
        self._wake_up()

    async def whole(
        self, uploads: Uploads, declared: int | None, *, limit: int, what: str, begin: Callable[[], None]
    ) -> Body:
        """The body, once it is complete: see `Call.body`. `begin` is called when it may come.

        Its memory is the caller's from then on.
        """
        check_size(what, declared or 0, limit)
        self._uploads = uploads
        if declared is None:
            begin()
            await self._read(min(SMALL_BYTES, limit))
            check_size(what, self.size, limit)
        most = declared if declared is not None else self.size if self.complete else limit
        if most > SMALL_BYTES:
            self._held = await uploads.reserve(most)
        if declared is not None:
            begin()
        await self._read(most)
        check_size(what, self.size, limit)
        body, self._body = self._body, b""
        return body

    def release(self) -> None:
        """Forget the body and give its room to others; nothing more is kept. May come twice."""
        self._body = b""
        if self._held and self._uploads is not None:
            self._uploads.release(self._held)
            self._held = 0

    async def _read(self, enough: int) -> None:
        """Read until the body is complete or larger than `enough` bytes."""
        self._enough = enough
        if self._has(enough):
            return
        loop = asyncio.get_running_loop()
        self._watch(loop, before=self.size)
        self._flow.resume_reading()
        try:
            while not (self._has(enough) or self.lost):
                self._wake = loop.create_future()
                await self._wake
        finally:
            self._wake = None
            if self._stall is not None:
                self._stall.cancel()
        if not self._has(enough):
            raise ClientDisconnect

    def _has(self, enough: int) -> bool:
        return self.complete or self.size > enough

    def _watch(self, loop: asyncio.AbstractEventLoop, *, before: int) -> None:
        assert self._uploads is not None
        self._stall = loop.call_later(self._uploads.stall_s, self._look, loop, before)

    def _look(self, loop: asyncio.AbstractEventLoop, before: int) -> None:
        assert self._uploads is not None
        if self.size - before >= PROGRESS_BYTES:
            self._watch(loop, before=self.size)
        elif self._wake is not None and not self._wake.done():
            self._wake.set_exception(stalled(self.size, self._uploads.stall_s))

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


def check_size(what: str, size: int, limit: int) -> None:
    """Refuse a body that is known to have `size` bytes or more. Raises `TooLarge`."""
    if size > limit:
        raise TooLarge(
            f"{what} is larger than {limit} bytes (it has {size} or more)",
            field="body",
            next_step="send large data by reference: upload it to a bucket and pass its URL in the input",
        )


def stalled(size: int, stall_s: float) -> Stalled:
    """The error for a body of which `size` bytes came."""
    return Stalled(
        f"the body stopped coming: after {size} bytes, less than {PROGRESS_BYTES} more in {stall_s:g} s",
        field="body",
        next_step="send it again",
    )


__all__ = ["PROGRESS_BYTES", "SMALL_BYTES", "Body", "Flow", "Upload", "Uploads", "check_size", "stalled"]
