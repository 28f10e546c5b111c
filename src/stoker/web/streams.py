"""Files on their way in and out: bodies that are never whole in memory.

Flow control is uvicorn's: what is not taken from the connection is not read from it, and what it cannot send is waited for.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stoker.errors import InvalidInput
from stoker.storage import Reading
from stoker.web.uploads import PROGRESS_BYTES, stalled

_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


async def pieces_of(request: Request, *, stall_s: float) -> AsyncIterator[bytes]:
    """The body as it comes. Raises `Stalled` when it stays behind `PROGRESS_BYTES` in `stall_s`, `ClientDisconnect`."""
    loop = asyncio.get_running_loop()
    stream = request.stream()
    size, counted = 0, 0
    deadline_s = loop.time() + stall_s
    while True:
        try:
            async with asyncio.timeout_at(deadline_s):
                piece = await anext(stream, None)
        except TimeoutError:
            raise stalled(size, stall_s) from None
        if piece is None:
            return
        yield piece
        size += len(piece)
        if size - counted >= PROGRESS_BYTES:
            counted, deadline_s = size, loop.time() + stall_s


def declared_length(request: Request) -> int | None:
    """How long the body says to be."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 20 else None


class Download(Response):
    """A file, or the part of it that a `Range` asks for; the file is closed when it was sent, or when nobody wants it any more."""

    def __init__(self, request: Request, reading: Reading) -> None:
        super().__init__(media_type="application/octet-stream")
        self._reading = reading
        tag = f'"{reading.modified_ns:x}-{reading.size:x}"'
        wanted = request.headers.get("range") if request.headers.get("if-range", tag) == tag else None
        self._start, self._length = 0, reading.size
        self.headers["accept-ranges"] = "bytes"
        self.headers["etag"] = tag
        match _part(wanted, reading.size):
            case (int() as start, int() as length):
                self._start, self._length = start, length
                self.status_code = 206
                self.headers["content-range"] = f"bytes {start}-{start + length - 1}/{reading.size}"
            case None:
                pass
        self.headers["content-length"] = str(self._length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, piece by piece, for as long as somebody listens."""
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for piece in self._reading.pieces(self._start, self._length):
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            await self._reading.close()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _part(wanted: str | None, size: int) -> tuple[int, int] | None:
    """Start and length of one range; None for the whole file, which is also the answer to what is no single range.

    Raises `InvalidInput` (`no_such_range`) for a range beyond the end.
    """
    match = _RANGE.fullmatch((wanted or "").replace(" ", ""))
    if match is None or not (match[1] or match[2]):
        return None
    if match[1]:
        start, end = int(match[1]), int(match[2]) if match[2] else size - 1
        if end < start and match[2]:
            return None
    else:
        start, end = max(0, size - int(match[2])), size - 1
    end = min(end, size - 1)
    if start > end:
        raise InvalidInput(
            f"the file has {size} bytes; the range {wanted} begins after its end", code="no_such_range", field="range"
        )
    return start, end - start + 1


__all__ = ["Download", "declared_length", "pieces_of"]
