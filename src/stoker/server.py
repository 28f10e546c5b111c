"""The server: starts and stops in order what it is made of (`assembly.py`).

Start: store, first team, HTTP, loops. Stop (SIGTERM or SIGINT): nothing new is launched, workers finish what they hold for
`shutdown_grace_s` while HTTP still answers them, then they are stopped and their jobs go back to the queue; then HTTP, then the
store. A second signal skips the grace. Being killed at any moment loses nothing: whatever was answered with 200 is on disk, and
workers that are still there are found again.

Several servers may share a PostgreSQL database (D14): each answers any request, one of them runs the loops (`loops/duty.py`),
and one that stops while another is there leaves the workers to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from collections.abc import Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, Self, TextIO

import structlog
import uvicorn

from stoker import keyring, memory
from stoker.assembly import Assembly
from stoker.clock import SystemClock
from stoker.collectors import collector as find_collector
from stoker.config import Settings
from stoker.databases import check_clock, first_key, open_store, open_vault
from stoker.errors import Unavailable
from stoker.health import Check
from stoker.hosting import Hosting, choose
from stoker.listening import listen, reachable, settle, url_of
from stoker.logs import configure_logging
from stoker.loops import goes_well, keep_going
from stoker.loops.duty import SKEW_MOST_MS, Duty
from stoker.relay import Relay
from stoker.runtimes.absent import AbsentRuntime
from stoker.signals import Signals
from stoker.store import Store
from stoker.tls import Certificate
from stoker.traces import Collector
from stoker.vault.aes import AesVault
from stoker.web.console import Console

log = structlog.get_logger()

CLOCK_EVERY_S = 30.0
"""How often the clock is compared with the database's."""
SECRETS_EVERY_S = 30.0
"""How often a server looks whether another key seals secrets."""


class _Http(uvicorn.Server):
    """uvicorn, with signals left to us."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets=sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the server's matter: workers go first, HTTP last."""
        yield


class Server:
    """A running server."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        vault: AesVault,
        listener: socket.socket,
        lock: TextIO | None,
        hosting: Hosting,
        signals: Signals,
        console: Console,
        certificate: Certificate | None,
        collector: Collector | None,
    ) -> None:
        self.settings = settings
        self.new_admin_key: str | None = None
        """Set on the first start, when a key was made and not chosen by the settings."""
        self._store = store
        self._vault = vault
        self._listener = listener
        self._lock = lock
        self._signals = signals
        self._clock = SystemClock()
        self._shared = bool(settings.database)
        self._name = secrets.token_hex(8) if self._shared else "the only one"  # which a restart goes on being
        self._hosting = hosting
        self._parts = Assembly(
            settings,
            store,
            vault,
            hosting.runtime,
            self._clock,
            signals,
            url=self.url,
            worker_url=self._url_for_workers(),
            console=console,
            collector=collector,
        )
        kind = "none" if isinstance(hosting.runtime, AbsentRuntime) else "runtime"
        self._presence = Duty(f"server/{kind}/{self._name}", self._name, store.leases, self._clock)
        self._duty = Duty("loops", self._name, store.leases, self._clock, loops=self._loops, wanted=self._fit_for_duty)
        self._certificate = certificate
        tls = None if certificate is None else certificate.context
        self._http = _Http(self._parts.http(self._ready, on_duty=lambda: self._duty.held, tls=tls))
        self._doors: list[socket.socket] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._duties: list[asyncio.Task[None]] = []
        self._skewed = False
        self._accepting = False

    @classmethod
    async def start(cls, settings: Settings, listener: socket.socket | None = None) -> Self:
        """Open the store, listen (or accept from a listener that is shared), start the loops.

        Raises `StokerError` with the next step when something is in the way.
        """
        lock, accepts = (None, listener) if listener else await asyncio.to_thread(settle, settings)
        signals = Signals()
        collector = find_collector(os.environ)
        hosting = await choose(settings, SystemClock(), signals.look_at_workers)
        store = await open_store(settings)
        await check_clock(store, SystemClock())
        vault = await open_vault(store, settings)
        console = await asyncio.to_thread(Console.load)
        certificate = None
        if settings.tls_certificate is not None and settings.tls_key is not None:
            certificate = await Certificate.load(settings.tls_certificate, settings.tls_key)
        server = cls(settings, store, vault, accepts, lock, hosting, signals, console, certificate, collector)
        server.new_admin_key = await first_key(server._parts.catalog.teams, settings)
        await server._start_tasks()
        return server

    async def _start_tasks(self) -> None:
        self._accepting = True
        self._signals.on_duty = not self._shared
        self._tasks = [asyncio.create_task(self._http.serve(sockets=[self._listener]), name="http")]
        self._tasks.append(asyncio.create_task(keep_going("secrets", self._follow_secrets), name="secrets"))
        self._tasks.append(asyncio.create_task(keep_going("headroom", self._parts.headroom.watch), name="headroom"))
        self._tasks.append(asyncio.create_task(keep_going("pulse", self._parts.pulse.beat), name="pulse"))
        if self._certificate is not None:
            follow = self._certificate.follow
            self._tasks.append(asyncio.create_task(keep_going("certificate", follow), name="certificate"))
        for address in self._door_addresses():
            self._open_door(address)
        if self._shared:
            self._tasks.append(asyncio.create_task(keep_going("clock", self._watch_clock), name="clock"))
        if self._shared and self.settings.database_listen:
            self._tasks.append(asyncio.create_task(Relay(self._store.wakes, self._signals).run(), name="relay"))
            self._tasks.append(asyncio.create_task(keep_going("throttle", self._share_counts), name="throttle"))
        await self._presence.hold()
        await self._duty.hold()
        await self._parts.pulse.ask()
        self._duties = [
            asyncio.create_task(self._duty.run(), name="duty"),
            asyncio.create_task(self._presence.run(), name="presence"),
        ]
        await self._http.listening.wait()
        log.info("server_started", url=self.url, loops=self._duty.held)

    @property
    def _worker_port(self) -> int:
        """Where workers come."""
        door = self.settings.worker_door
        return door[1] if door is not None else int(self._listener.getsockname()[1])

    def _door_addresses(self) -> set[str]:
        """Where we listen for workers alone: as the settings say, and where containers know this machine by."""
        door = self.settings.worker_door
        return {address for address in ("" if door is None else door[0], self._hosting.door) if address}

    def _open_door(self, address: str) -> None:
        listener = listen(address, self._worker_port, beside_others=self.settings.processes > 1)
        door = _Http(self._parts.door(self._ready))
        self._doors.append(listener)
        self._tasks.append(asyncio.create_task(door.serve(sockets=[listener]), name="door"))

    def _loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What runs while this server is on duty."""
        return (self._be_on_duty(), *self._parts.loops())

    async def _be_on_duty(self) -> None:
        """Hear what is for the loops, for as long as they run here."""
        self._signals.on_duty = True
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._signals.on_duty = not self._shared

    async def _fit_for_duty(self) -> bool:
        """A server that can start no workers leaves the loops to those that can, if there are any."""
        if self._skewed:
            return False
        return not isinstance(self._hosting.runtime, AbsentRuntime) or not await self._others()

    async def _others(self) -> bool:
        """Whether other servers are there that can start workers."""
        present = await self._store.leases.holders("server/runtime/", self._clock.now_ms())
        return any(holder != self._name for holder in present.values())

    async def _watch_clock(self) -> None:
        """A server whose clock has gone astray answers no more: its leases and deadlines would be wrong."""
        await asyncio.sleep(CLOCK_EVERY_S)
        skew_ms = await self._store.skew_ms(self._clock.now_ms())
        if (abs(skew_ms) > SKEW_MOST_MS) is not self._skewed:
            self._skewed = not self._skewed
            log.error("clock_skew", skew_ms=skew_ms, most_ms=SKEW_MOST_MS, serving=not self._skewed)

    async def _follow_secrets(self) -> None:
        """The key that seals is rotated by a command, while servers run."""
        await asyncio.sleep(SECRETS_EVERY_S)
        await keyring.follow(self._store, self._vault)

    async def _share_counts(self) -> None:
        """Other servers hear what was admitted here."""
        await self._parts.throttle.share(self._signals.tell)

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return url_of(self._listener, scheme=self.settings.scheme)

    def _url_for_workers(self) -> str:
        door = self.settings.worker_door
        host = self._hosting.host or ("" if door is None else reachable(door[0]))
        return f"http://{host}:{self._worker_port}" if host else self.url

    def look_again(self) -> None:
        """Its certificate may be another."""
        if self._certificate is not None:
            self._certificate.look_now()

    async def run_until(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Serve until `stop` is set, then stop in order; `hurry` cuts the grace short."""
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({waiting, self._tasks[0]}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        hurrying = asyncio.create_task(self._hurry(hurry))
        await self.stop()
        hurrying.cancel()

    async def _hurry(self, hurry: asyncio.Event) -> None:
        await hurry.wait()
        self._parts.fleet.hurry()

    async def stop(self) -> None:
        """Stop in order. Jobs that are not finished stay queued for the next start, or for the servers that stay."""
        log.info("server_stopping")
        self._accepting = False
        await _cancel(self._duties)
        if await self._is_last():
            self._signals.on_duty = True
            closing = partial(self._parts.fleet.close, grace_s=self.settings.shutdown_grace_s)
            await goes_well("fleet", closing)  # a database that is full or away must not keep the rest from stopping
        self._signals.close()
        self._http.should_exit = True
        http, *rest = self._tasks
        await asyncio.wait([http])
        await _cancel(rest)
        for listener in self._doors:
            listener.close()
        await self._hosting.close()
        await self._store.close()
        self._listener.close()
        if self._lock is not None:
            self._lock.close()
        log.info("server_stopped")

    async def _is_last(self) -> bool:
        """Whether nobody stays who could look after the workers. Nobody who cannot be asked is relied on."""
        try:
            return not self._shared or not await self._others()
        except Unavailable:
            return False

    def _ready(self) -> Sequence[Check]:
        """What `/readyz` says."""
        pulse = self._parts.pulse
        life = "the server accepts jobs" if self._accepting else "the server starts, or stops"
        clock = (
            "its clock differs from the database's by too much"
            if self._skewed
            else "its clock agrees with the database's"
        )
        checks = [
            Check(name="server", ok=self._accepting, text=life),
            Check(name="clock", ok=not self._skewed, text=clock),
            pulse.store,
            pulse.loops,
            self._parts.headroom.health(),
        ]
        return [*checks, *([self._parts.fleet.watch.health()] if self._duty.held else [])]


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def serve(settings: Settings) -> int:
    """Run a server until it is told to stop; the exit status. Raises `StokerError` when it cannot start."""
    import uvloop

    configure_logging(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    server = await Server.start(settings)
    memory.settle()
    if settings.tls_certificate is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.look_again)
    stop, hurry = told()  # before anybody knows that it is there, and may tell it to stop
    announce(server.url, server.new_admin_key)
    await server.run_until(stop, hurry)
    return 0


def announce(url: str, key: str | None) -> None:
    """What the person who started a server reads."""
    if key is not None:
        print(f"Admin API key, shown only now: {key}", flush=True)
    print(f"Stoker listens on {url}", flush=True)


def told() -> tuple[asyncio.Event, asyncio.Event]:
    """To stop: set by the first SIGTERM or SIGINT. To hurry: set by the second."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop, hurry
