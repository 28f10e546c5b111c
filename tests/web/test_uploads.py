"""Room for bodies: bounded for all together, given in order, taken back from who does not use it."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import pytest
from structlog.testing import capture_logs

from stoker.errors import Stalled, TooLarge
from stoker.web.uploads import PROGRESS_BYTES, SMALL_BYTES, Upload, Uploads
from tests.simulation.loop import SimulatedLoop
from tests.web.hot_server import LIMIT, Client, HotServer, serving, until

MIB: Final = 1024 * 1024
ROOM: Final = 16 * MIB
CALLERS: Final = 64


# ── the room ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def settle() -> None:
    """Let everybody who can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_room_is_given_in_the_order_of_asking() -> None:
    """Who asks later does not overtake, even when it would fit: a large body is not starved by small ones."""
    uploads = Uploads(10, stall_s=1)
    first = await uploads.reserve(6)
    large = asyncio.create_task(uploads.reserve(8))
    await settle()
    little = asyncio.create_task(uploads.reserve(1))
    await settle()
    assert (large.done(), little.done(), uploads.reserved, uploads.waiting) == (False, False, 6, 2)
    uploads.release(first)
    assert (await large, await little, uploads.reserved) == (8, 1, 9)


async def test_body_over_all_the_room_is_alone() -> None:
    """A body that is larger than everything there is takes it all, so that it is received after all."""
    uploads = Uploads(10, stall_s=1)
    assert await uploads.reserve(11) == 10
    uploads.release(10)
    assert uploads.reserved == 0


@pytest.mark.parametrize("granted", [False, True])
async def test_who_goes_away_takes_nothing_along(granted: bool) -> None:
    """Somebody who is cancelled while waiting, or in the moment of being served, leaves the room to the next."""
    uploads = Uploads(10, stall_s=1)
    first = await uploads.reserve(10)
    leaver = asyncio.create_task(uploads.reserve(5))
    await settle()
    following = asyncio.create_task(uploads.reserve(10))
    await settle()
    if granted:
        uploads.release(first)
    leaver.cancel()
    await settle()
    if not granted:
        uploads.release(first)
    assert await following == 10
    assert leaver.cancelled()
    uploads.release(10)
    assert (uploads.reserved, uploads.waiting) == (0, 0)


class Pipe:
    """A connection that is read whenever somebody wants to."""

    reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@pytest.mark.parametrize("declared", [10 * PROGRESS_BYTES, None])
@pytest.mark.parametrize("missing", [0, 1])
def test_slow_is_not_stalled(declared: int | None, missing: int) -> None:
    """A body may take as long as it needs while it makes progress; one byte less, and it is given up."""

    async def receive() -> int:
        upload = Upload(Pipe())
        loop = asyncio.get_running_loop()
        for turn in range(10):
            loop.call_at(30 * turn + 29, upload.add, b"x" * (PROGRESS_BYTES - (missing if turn == 7 else 0)))
        loop.call_at(299.5, upload.finish)
        uploads = Uploads(LIMIT, stall_s=30)
        return len(await upload.whole(uploads, declared, limit=LIMIT, what="it", begin=lambda: None))

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        if missing:
            with pytest.raises(Stalled, match="stopped coming"):
                runner.run(receive())
        else:
            assert runner.run(receive()) == 10 * PROGRESS_BYTES


async def test_what_nobody_asked_for_is_not_read_for_long() -> None:
    """Before its handler wants it, a body is read up to the size of a small one; a refused one is forgotten."""
    pipe = Pipe()
    upload = Upload(pipe)
    read = []
    for size in (SMALL_BYTES, 1):
        upload.add(b"x" * size)
        read.append(pipe.reading)
    assert read == [True, False]
    with pytest.raises(TooLarge, match="it has 9 or more"):
        await upload.whole(Uploads(LIMIT, stall_s=1), 9, limit=8, what="it", begin=lambda: None)


# ── on connections ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def server() -> AsyncIterator[HotServer]:
    """A server with room for four of the largest bodies."""
    with capture_logs():
        async with serving(bytes_max=ROOM) as server:
            yield server


async def stall(server: HotServer, client: Client, *, chunked: bool) -> None:
    """Begin one of the largest bodies and stop in its middle."""
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {LIMIT}"
    client.ask("POST", "/raw/body", length)
    client.send((b"%x\r\n" % MIB if chunked else b"") + b"x" * 200_000)


@pytest.mark.slow
@pytest.mark.parametrize("chunked", [False, True])
async def test_many_stalled_uploads_hold_up_no_small_one(server: HotServer, chunked: bool) -> None:
    """While 64 uploads of 4 MiB stall, the bytes promised to them stay within the room, and small bodies pass."""
    uploads = server.doors.uploads
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(server.connect()) for _ in range(CALLERS)]
        for client in clients:
            await stall(server, client, chunked=chunked)
        await until(lambda: uploads.waiting == CALLERS - ROOM // LIMIT)
        assert uploads.reserved == ROOM
        async with server.connect() as small:
            for size in (1, 300, SMALL_BYTES):
                small.ask("POST", "/raw/body", body=b"x" * size)
                assert len((await small.answer())[2]) == size
        assert uploads.reserved == ROOM
    await until(lambda: not server.http.server_state.tasks)
    assert (uploads.reserved, uploads.waiting) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["/raw/body", "//raw/body"])
async def test_stalled_upload_is_given_up(way: str) -> None:
    """A body that stops is refused with 408 and its connection closed, on both ways; its room goes to the next."""
    with capture_logs():
        async with serving(bytes_max=LIMIT, stall_s=0.2) as server, server.connect() as bad, server.connect() as good:
            bad.ask("POST", way, f"Content-Length: {LIMIT}")
            bad.send(b"x" * 100_000)
            await until(lambda: server.doors.uploads.reserved)
            good.ask("POST", way, body=b"y" * LIMIT)
            status, headers, content = await bad.answer()
            assert (status, headers["connection"], b"upload_stalled" in content) == (408, "close", True)
            assert await bad.rest() == b""
            assert (await good.answer())[2] == b"y" * LIMIT
            assert server.doors.uploads.reserved == 0


@pytest.mark.slow
async def test_small_body_that_stops_is_given_up() -> None:
    """What is never counted is not waited for without end either."""
    with capture_logs():
        async with serving(stall_s=0.1) as server, server.connect() as client:
            client.ask("POST", "/raw/body", "Content-Length: 10")
            assert (await client.answer())[0] == 408


@pytest.mark.slow
async def test_all_uploads_come_through_at_last(server: HotServer) -> None:
    """64 of the largest bodies at once, announced and chunked, are all received, and never more of them than fit."""
    most = 0

    async def upload(number: int) -> int:
        nonlocal most
        async with server.connect() as client:
            if number % 2:
                client.ask("POST", "/raw/body", body=b"x" * LIMIT)
            else:
                client.ask("POST", "/raw/body", "Transfer-Encoding: chunked")
                client.send(b"%x\r\n" % LIMIT + b"x" * LIMIT + b"\r\n0\r\n\r\n")
            size = len((await client.answer())[2])
            most = max(most, server.doors.uploads.reserved)
            return size

    assert await asyncio.gather(*map(upload, range(CALLERS))) == [LIMIT] * CALLERS
    assert most <= ROOM
    assert server.doors.uploads.reserved == 0


@pytest.mark.slow
async def test_memory_of_one_large_submission() -> None:
    """A 4 MiB submission, from the socket to what the store gets, takes at most 2.25 times its size at its peak."""
    body = b'{"input":"' + b"x" * (LIMIT - 12) + b'"}'
    with capture_logs():
        async with serving() as server, server.connect() as client:
            client.ask("POST", "/raw/submit", f"Content-Length: {len(body)}")
            await client.writer.drain()
            tracemalloc.start()
            try:
                for start in range(0, len(body), SMALL_BYTES):
                    client.send(body[start : start + SMALL_BYTES])
                    await client.writer.drain()
                status, _headers, content = await client.answer()
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert (status, content) == (200, str(LIMIT - 10).encode())
    assert peak < 2.25 * LIMIT
