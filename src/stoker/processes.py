"""Several servers on one port: `stoker serve --processes N`.

The parent listens, prepares the database and serves nothing itself. Each child is a server like any other (`server.py`), a
process started afresh: forking would copy threads and an event loop. A child that dies is started again. SIGTERM or SIGINT stops
all children but one, then the last, which therefore looks after the workers. SIGHUP replaces one child after the other.

All children accept from one inherited socket. With SO_REUSEPORT each would have a queue of its own: the kernel would spread
connections by their hash, blind to who is busy, and a child that stops would reset what waits in its queue. With one queue whoever is
idle accepts, and a restart loses no connection that was not accepted. Seen with two children: 16 connections opened one after the
other were spread 8 and 8, a burst of 64 was spread 45 and 19.

    parent ── stdin: settings in one line; its end means that the parent is gone ──▶ child
           ◀── stdout: `up`, once it answers ──

What must stay true: settings, which hold secrets, travel through a pipe, never in a command line or the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from pydantic import SecretStr

from stoker import memory
from stoker.config import Origin, Settings
from stoker.databases import prepare
from stoker.errors import StokerError
from stoker.listening import settle, url_of
from stoker.logs import configure_logging
from stoker.server import Server, announce, told

log = structlog.get_logger()

PAUSE_LEAST_S: Final = 0.5
PAUSE_MOST_S: Final = 30.0
"""A child that dies waits this long for its next start; the pause doubles until one has lived for `PAUSE_MOST_S`."""
STOP_MOST_S: Final = 30.0
"""How much longer than its graces a child may take to stop before it is killed."""
UP: Final = b"up\n"


class _Child:
    """One of the servers: a process, started again whenever it ends, until it is told to stop."""

    def __init__(self, number: int, settings: Settings, listener: socket.socket) -> None:
        self.number = number
        self._settings = settings
        self._listener = listener
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._leaving = False
        """Its process was told to end, so that its end is no failure."""
        self.up = asyncio.Event()
        """Set while it answers."""

    async def run(self) -> None:
        """Keep it running, until `stop`."""
        clock = asyncio.get_running_loop().time
        pause_s = PAUSE_LEAST_S
        while not self._stopping:
            began_s = clock()
            status = await self._live()
            if self._leaving:
                self._leaving = False
                continue
            pause_s = PAUSE_LEAST_S if clock() - began_s > PAUSE_MOST_S else pause_s
            log.error("server_died", server=self.number, why=_why(status), again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(PAUSE_MOST_S, pause_s * 2)

    async def _live(self) -> int:
        """One process, from its start to its end; its exit status."""
        descriptor = self._listener.fileno()
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stoker.child", str(descriptor), str(self.number)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(descriptor,),
            start_new_session=True,  # Ctrl-C is for the parent, which stops them in order
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):  # it is dead already; its status tells
            process.stdin.write(_told(self._settings) + b"\n")
            await process.stdin.drain()
        if await process.stdout.readline() == UP:
            self.up.set()
            log.info("server_up", server=self.number, pid=process.pid)
        status = await process.wait()
        self.up.clear()
        return status

    def signal(self) -> None:
        """Tell it to stop; told again it hurries."""
        if self._process is not None and self._process.returncode is None:
            self._leaving = True
            self._process.terminate()

    async def end(self) -> None:
        """Stop its process and wait; one that does not stop in time is killed."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.signal()
        most_s = self._settings.shutdown_grace_s + self._settings.stop_grace_s + STOP_MOST_S
        try:
            async with asyncio.timeout(most_s):
                await process.wait()
        except TimeoutError:
            log.error("server_killed", server=self.number, after_s=most_s)
            process.kill()
            await process.wait()

    async def replace(self) -> None:
        """Stop its process; return when the next one answers."""
        await self.end()
        self.up.clear()
        await self.up.wait()

    async def stop(self) -> None:
        """Stop it for good."""
        self._stopping = True
        await self.end()


def _told(settings: Settings) -> bytes:
    """Settings as one line, secrets in clear."""

    def plain(value: object) -> object:
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    told = {"settings": settings.model_dump(), "origins": dict(settings.origins)}
    return json.dumps(told, default=plain).encode()


def _heard(line: bytes) -> Settings:
    """Settings as the parent told them."""
    told = json.loads(line)
    return Settings.model_validate(told["settings"]).came_from(
        {name: Origin(one) for name, one in told["origins"].items()}
    )


def _why(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


class _Parent:
    """All children, and what signals mean to them."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._children = [_Child(number + 1, settings, listener) for number in range(settings.processes)]
        self._again = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        """Run them until a signal; `ready` is called once all of them answer."""
        stop, hurry = told()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._again.set)
        lives = [asyncio.create_task(child.run(), name=f"server-{child.number}") for child in self._children]
        rolling = asyncio.create_task(self._roll(ready), name="rolling")
        try:
            await stop.wait()
            rolling.cancel()
            hurrying = asyncio.create_task(self._hurry(hurry))
            log.info("servers_stopping", count=len(self._children))
            *others, last = sorted(self._children, key=lambda child: child.up.is_set())
            await asyncio.gather(*(child.stop() for child in others))
            await last.stop()
            hurrying.cancel()
        finally:
            await _cancelled([*lives, rolling])

    async def _roll(self, ready: Callable[[], None]) -> None:
        """Replace them one after the other, whenever told."""
        for child in self._children:
            await child.up.wait()
        ready()
        while True:
            await self._again.wait()
            self._again.clear()
            log.info("rolling_restart")
            for child in self._children:
                await child.replace()
            log.info("rolling_restart_done")

    async def _hurry(self, hurry: asyncio.Event) -> None:
        await hurry.wait()
        for child in self._children:
            child.signal()


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def serve(settings: Settings) -> int:
    """Run the servers until told to stop; the exit status. Raises `StokerError` when they cannot start."""
    configure_logging(settings)
    return asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    _, listener = await asyncio.to_thread(settle, settings)
    key = await prepare(settings)
    await _Parent(settings, listener).run(lambda: announce(url_of(listener, scheme=settings.scheme), key))
    listener.close()
    return 0


# ── in a child ────────────────────────────────────────────────────────────────────────────────────────────────────────


def main() -> int:
    """One server: the listening socket and its number from the command line, settings from standard input."""
    import uvloop

    descriptor, number = map(int, sys.argv[1:])
    os.set_inheritable(descriptor, False)
    settings = _heard(sys.stdin.buffer.readline())
    configure_logging(settings)
    structlog.contextvars.bind_contextvars(server=number)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve_one(settings, socket.socket(fileno=descriptor)))


async def _serve_one(settings: Settings, listener: socket.socket) -> int:
    try:
        server = await Server.start(settings, listener)
        memory.settle()
    except StokerError as error:
        log.error("server_not_started", code=error.code, error=error.message, next_step=error.next_step)
        return 1
    stop, hurry = told()
    loop = asyncio.get_running_loop()

    def orphaned() -> None:
        loop.remove_reader(sys.stdin.fileno())
        stop.set()

    loop.add_reader(sys.stdin.fileno(), orphaned)  # nothing comes there but the end
    os.write(sys.stdout.fileno(), UP)
    await server.run_until(stop, hurry)
    return 0
