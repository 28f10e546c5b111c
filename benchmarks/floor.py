"""The floors: what the machine allows before a product adds anything.

F0  the four requests of a job on a hand-written protocol, in memory (a server: `python -m benchmarks.floor`)
F1  an append-only log with one fdatasync for all that waits, behind futures: durability without SQL
F2  fdatasync of 4 KiB alone
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any, Final

import httptools
import msgspec
import uvloop

from benchmarks.figures import Spread

# ── F0 ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class _Run(msgspec.Struct):
    input: msgspec.Raw


class _Done(msgspec.Struct):
    output: msgspec.Raw


_RUN: Final = msgspec.json.Decoder(_Run)
_DONE: Final = msgspec.json.Decoder(_Done)


class Memory:
    """All state of F0."""

    def __init__(self) -> None:
        self.queued: deque[str] = deque()
        self.takers: deque[Floor] = deque()
        self.inputs: dict[str, bytes] = {}
        self.outputs: dict[str, bytes] = {}


class Floor(asyncio.Protocol):
    """One connection: parse, do, answer with one write."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._transport: Any = None
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """A held take that is gone is given nothing."""
        if self in self._memory.takers:
            self._memory.takers.remove(self)

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._url = url
        self._body = []

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser: split the path, no router."""
        words = self._url.split(b"?", 1)[0].split(b"/")
        name = words[2] if words[1] == b"worker" else words[3]
        if name == b"run":
            self._submit()
        elif name == b"job-take":
            self._take()
        elif name == b"job-done":
            self._finish(words[4].decode())
        else:
            self._status(words[4].decode())

    def _submit(self) -> None:
        run = _RUN.decode(b"".join(self._body))
        job = str(uuid.uuid4())
        self._memory.inputs[job] = bytes(run.input)
        self._answer(b'{"id":"%b","status":"IN_QUEUE"}' % job.encode())
        if self._memory.takers:
            self._memory.takers.popleft().give(job)
        else:
            self._memory.queued.append(job)

    def _take(self) -> None:
        if self._memory.queued:
            self.give(self._memory.queued.popleft())
        else:
            self._memory.takers.append(self)

    def give(self, job: str) -> None:
        """Answer a take."""
        self._answer(b'{"id":"%b","input":%b}' % (job.encode(), self._memory.inputs.pop(job)))

    def _finish(self, job: str) -> None:
        self._memory.outputs[job] = bytes(_DONE.decode(b"".join(self._body)).output)
        self._answer(b"")

    def _status(self, job: str) -> None:
        """Forgets the job: large bodies would fill the memory."""
        output = self._memory.outputs.pop(job)
        self._answer(b'{"id":"%b","status":"COMPLETED","output":%b}' % (job.encode(), output))

    def _answer(self, body: bytes) -> None:
        self._transport.write(_HEAD % (len(body), body))


async def _serve() -> None:
    memory = Memory()
    server = await asyncio.get_running_loop().create_server(lambda: Floor(memory), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# ── F1 ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Log:
    """Appends records; while one batch is flushed the next gathers."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def append(self, record: bytes) -> asyncio.Future[None]:
        """Done once the record is on the disk."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.put((record, future))
        return future

    async def close(self) -> None:
        """End the thread."""
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)
        os.close(self._file)

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while not self._waiting.empty() and (more := self._waiting.get()) is not None:
                batch.append(more)
            os.write(self._file, b"".join(record for record, _ in batch))
            os.fdatasync(self._file)
            self._loop.call_soon_threadsafe(_resolve, [future for _, future in batch])


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


class Logged(msgspec.Struct, frozen=True):
    """What F1 did."""

    jobs_per_s: float
    insert_ms: Spread


async def _log_jobs(path: Path, callers: int, body_bytes: int, seconds: float) -> Logged:
    """Jobs as three appends (input, claim, output) and a read from memory, by `callers` at once."""
    log = Log(path)
    body, claim = b"x" * body_bytes, b"x" * 64
    memory: dict[str, bytes] = {}
    inserts: list[float] = []
    until_s = time.perf_counter() + seconds

    async def caller() -> None:
        while (began_s := time.perf_counter()) < until_s:
            job = str(uuid.uuid4())
            await log.append(body)
            inserts.append(time.perf_counter() - began_s)
            await log.append(claim)
            await log.append(body)
            memory[job] = body
            memory.pop(job)

    await asyncio.gather(*(caller() for _ in range(callers)))
    await log.close()
    return Logged(jobs_per_s=len(inserts) / seconds, insert_ms=Spread.of(inserts))


def log_jobs(folder: Path, *, callers: int, body_bytes: int, seconds: float) -> Logged:
    """F1."""
    path = folder / "floor.log"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        logged = runner.run(_log_jobs(path, callers, body_bytes, seconds))
    path.unlink()
    return logged


# ── F2 ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def flush(folder: Path, *, seconds: float) -> Spread:
    """F2: append 4 KiB, fdatasync, again."""
    path, page, times = folder / "floor.page", b"x" * 4096, []
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    until_s = time.perf_counter() + seconds
    while (began_s := time.perf_counter()) < until_s:
        os.write(file, page)
        os.fdatasync(file)
        times.append(time.perf_counter() - began_s)
    os.close(file)
    path.unlink()
    return Spread.of(times)


if __name__ == "__main__":
    uvloop.run(_serve())
