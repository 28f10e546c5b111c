"""The server: wires store, runtime, operations, loops and web together, and starts and stops them in order.

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
import fcntl
import secrets
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, TextIO

import structlog
import uvicorn
from fastapi import APIRouter

from stoker import keyring
from stoker.catalog import Catalog, Defaults, release_login
from stoker.catalog.teams import Teams
from stoker.clock import Clock, SystemClock
from stoker.config import Settings
from stoker.errors import Conflict, Unavailable
from stoker.fleet import Fleet, FleetTerms
from stoker.hosting import Hosting, choose
from stoker.images import Images, ImageTerms
from stoker.leases import Leases
from stoker.loops import keep_going
from stoker.loops.autoscaler import Autoscaler
from stoker.loops.duty import SKEW_MOST_MS, Duty
from stoker.loops.lifeline import Lifeline
from stoker.loops.pruner import Pruner
from stoker.queue import Queue
from stoker.registries import HttpRegistries
from stoker.relay import Relay
from stoker.runtimes.absent import AbsentRuntime
from stoker.signals import Signals
from stoker.store import Store
from stoker.store.postgres import PostgresStore, Terms
from stoker.store.sqlite import SqliteStore
from stoker.streaks import Streaks
from stoker.vault.aes import AesVault
from stoker.web.app import build_app, build_hot
from stoker.web.connection import connections_to
from stoker.web.images import ImageRoutes
from stoker.web.jobs import JobRoutes
from stoker.web.jobs_v1 import NOVITA, NovitaJobs
from stoker.web.jobs_v2 import RUNPOD
from stoker.web.manage import ManageRoutes
from stoker.web.uploads import Uploads
from stoker.web.worker_protocol import WorkerRoutes

log = structlog.get_logger()

KEEP_ALIVE_S = 75
CLOCK_EVERY_S = 30.0
"""How often the clock is compared with the database's."""
SECRETS_EVERY_S = 30.0
"""How often a server looks whether another key seals secrets."""
HTTP_STOP_S = 5
"""How long open requests may take to end after the workers are gone."""


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
        self._streaks = Streaks(settings.worker_failures_max)
        self._hosting = hosting
        self._runtime = hosting.runtime
        find_login = partial(release_login, store, vault)
        self._images = Images(store, self._clock, self._runtime, _image_terms(settings), find_login=find_login)
        self._fleet = Fleet(store, self._clock, self._signals, self._runtime, self._terms(), vault, self._images)
        self._catalog = Catalog(
            store,
            self._clock,
            self._signals,
            self._runtime,
            Defaults(retention_s=settings.retention_s),
            vault=vault,
            registries=HttpRegistries(),
            images=self._images,
        )
        kind = "none" if isinstance(self._runtime, AbsentRuntime) else "runtime"
        self._presence = Duty(f"server/{kind}/{self._name}", self._name, store.leases, self._clock)
        self._duty = Duty("loops", self._name, store.leases, self._clock, loops=self._loops, wanted=self._fit_for_duty)
        self._http = _Http(self._http_config())
        self._door: tuple[_Http, socket.socket] | None = None
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
        hosting = await choose(settings, SystemClock(), signals.look_at_workers)
        store = await _open_store(settings)
        await _check_clock(store, SystemClock())
        server = cls(settings, store, await _open_vault(store, settings), accepts, lock, hosting, signals)
        server.new_admin_key = await _first_key(server._catalog.teams, settings)
        await server._start_tasks()
        return server

    async def _start_tasks(self) -> None:
        self._accepting = True
        self._signals.on_duty = not self._shared
        self._tasks = [asyncio.create_task(self._http.serve(sockets=[self._listener]), name="http")]
        self._tasks.append(asyncio.create_task(keep_going("secrets", self._follow_secrets), name="secrets"))
        if self._hosting.door:
            self._open_door(self._hosting.door)
        if self._shared:
            self._tasks.append(asyncio.create_task(keep_going("clock", self._watch_clock), name="clock"))
        if self._shared and self.settings.database_listen:
            self._tasks.append(asyncio.create_task(Relay(self._store.wakes, self._signals).run(), name="relay"))
        await self._presence.hold()
        await self._duty.hold()
        self._duties = [
            asyncio.create_task(self._duty.run(), name="duty"),
            asyncio.create_task(self._presence.run(), name="presence"),
        ]
        await self._http.listening.wait()
        log.info("server_started", url=self.url, loops=self._duty.held)

    def _open_door(self, address: str) -> None:
        """Listen for workers where they can reach us: the same port, on the address that containers know this machine by."""
        port = self._listener.getsockname()[1]
        listener = _listen(address, port, beside_others=self.settings.processes > 1)
        _, workers = self._rooms()
        door = _Http(self._config_of([self._worker_routes(workers)], workers))
        self._door = (door, listener)
        self._tasks.append(asyncio.create_task(door.serve(sockets=[listener]), name="door"))

    def _loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What runs while this server is on duty."""
        store, clock, signals, fleet = self._store, self._clock, self._signals, self._fleet
        return (
            self._be_on_duty(),
            Lifeline(store, clock, signals, fleet, every_s=self.settings.observe_every_s).run(),
            Pruner(store, clock, fleet, self._images).run(),
            Autoscaler(store, clock, signals, fleet).run(),
        )

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
        return not isinstance(self._runtime, AbsentRuntime) or not await self._others()

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

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return url_of(self._listener)

    def _url_for_workers(self) -> str:
        return f"http://{self._hosting.host}:{self._listener.getsockname()[1]}" if self._hosting.host else self.url

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
        self._fleet.hurry()

    async def stop(self) -> None:
        """Stop in order. Jobs that are not finished stay queued for the next start, or for the servers that stay."""
        log.info("server_stopping")
        self._accepting = False
        await _cancel(self._duties)
        if await self._is_last():
            self._signals.on_duty = True
            await self._fleet.close(grace_s=self.settings.shutdown_grace_s)
        self._signals.close()
        self._http.should_exit = True
        http, *rest = self._tasks
        await asyncio.wait([http])
        await _cancel(rest)
        if self._door is not None:
            self._door[1].close()
        await self._images.close()
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

    async def _ready(self) -> bool:
        return self._accepting and not self._skewed

    def _http_config(self) -> uvicorn.Config:
        clients, workers = self._rooms()
        return self._config_of(self._routers(clients, workers), clients)

    def _config_of(self, routers: list[APIRouter], uploads: Uploads) -> uvicorn.Config:
        return uvicorn.Config(
            build_app(routers, ready=self._ready, uploads=uploads),
            http=connections_to(build_hot(routers)),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=HTTP_STOP_S,
        )

    def _rooms(self) -> tuple[Uploads, Uploads]:
        """Room for the bodies of clients and of workers: no upload of a client can hold up a worker's result."""
        for_workers = self.settings.uploads_bytes_max // 4
        stall_s = self.settings.upload_stall_s
        return (
            Uploads(self.settings.uploads_bytes_max - for_workers, stall_s=stall_s),
            Uploads(for_workers, stall_s=stall_s),
        )

    def _routers(self, clients: Uploads, workers: Uploads) -> list[APIRouter]:
        limits = self.settings
        queue = Queue(self._store, self._clock, self._signals, self._vault)
        jobs = (queue, self._catalog, self._fleet)
        largest = limits.input_bytes_max
        base_url = limits.public_url.rstrip("/") or self.url
        return [
            NovitaJobs(NOVITA, *jobs, input_bytes_max=largest, uploads=clients).router(),
            JobRoutes(RUNPOD, *jobs, input_bytes_max=largest, uploads=clients).router(),
            self._worker_routes(workers),
            *ManageRoutes(
                queue, self._fleet, self._catalog, base_url=base_url, input_bytes_max=largest, uploads=clients
            ).routers(),
            ImageRoutes(self._images, self._catalog).router(),
        ]

    def _worker_routes(self, uploads: Uploads) -> APIRouter:
        limits = self.settings
        leases = Leases(
            self._store,
            self._clock,
            self._signals,
            hold_s=limits.hold_s,
            lease_s=limits.lease_s,
            output_bytes_max=limits.output_bytes_max,
            vault=self._vault,
            streaks=self._streaks,
        )
        return WorkerRoutes(
            leases, output_bytes_max=limits.output_bytes_max, part_bytes_max=limits.part_bytes_max, uploads=uploads
        ).router()

    def _terms(self) -> FleetTerms:
        settings = self.settings
        return FleetTerms(
            worker_url=settings.worker_url.rstrip("/") or self._url_for_workers(),
            ping_interval_ms=settings.ping_interval_ms,
            lease_s=settings.lease_s,
            cancel_grace_s=settings.cancel_grace_s,
            stop_grace_s=settings.stop_grace_s,
            start_timeout_s=settings.start_timeout_s,
            gone_workers_kept_s=settings.gone_workers_kept_s,
            skip_system_checks=not settings.worker_system_checks,
        )


async def prepare(settings: Settings) -> str | None:
    """Do what a database needs once, before servers share it; the admin key if one was made. Raises `StokerError`."""
    store = await _open_store(settings)
    clock = SystemClock()
    await _check_clock(store, clock)
    await _open_vault(store, settings)
    try:
        return await _first_key(Teams(store, clock), settings)
    finally:
        await store.close()


async def _first_key(teams: Teams, settings: Settings) -> str | None:
    """The admin key, if this start is the first and the settings chose none."""
    chosen = settings.bootstrap_key.get_secret_value() if settings.bootstrap_key else None
    made = await teams.bootstrap(chosen)
    return made if chosen is None else None


async def _check_clock(store: Store, clock: Clock) -> None:
    """Raises `Conflict` (`clock_skew`) when this machine's clock and the database's are too far apart."""
    skew_ms = await store.skew_ms(clock.now_ms())
    if abs(skew_ms) > SKEW_MOST_MS:
        await store.close()
        raise Conflict(
            f"the clock of this machine is {abs(skew_ms)} ms {'ahead of' if skew_ms > 0 else 'behind'} the database's; "
            f"{SKEW_MOST_MS} ms are allowed",
            code="clock_skew",
            next_step="set the clocks right (NTP on both machines), then start again",
        )


async def _open_vault(store: Store, settings: Settings) -> AesVault:
    """What opens the secrets of this database. Raises `StokerError` with the next step when the key does not fit."""
    try:
        return await keyring.open_vault(store, keyring.key_source(settings), SystemClock().now_ms())
    except BaseException:
        await store.close()
        raise


async def _open_store(settings: Settings) -> Store:
    """The store, with its schema up to date. Raises `StokerError` with the next step."""
    if not settings.database:
        return await SqliteStore.open(settings.data_dir / "stoker.db")
    url = settings.database.get_secret_value()
    return await PostgresStore.open(
        Terms(url=url, connect_s=settings.database_connect_s, statement_s=settings.database_statement_s)
    )


def _image_terms(settings: Settings) -> ImageTerms:
    return ImageTerms(unused_kept_s=settings.images_unused_s, bytes_max=int(settings.images_gb_max * 1024**3))


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def settle(settings: Settings) -> tuple[TextIO | None, socket.socket]:
    """The data directory, ours alone if the database is in it, and the port. Blocks."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = None if settings.database else _lock(settings.data_dir)
    return lock, _listen(settings.host, settings.port)


def _lock(data_dir: Path) -> TextIO:
    """One server per data directory. The lock goes with the process, however it ends."""
    lock = (data_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise Conflict(
            f"another server uses the data directory {data_dir}",
            code="data_dir_in_use",
            field="data_dir",
            next_step="stop it, or choose another with --data-dir",
        ) from None
    return lock


def _listen(host: str, port: int, *, beside_others: bool = False) -> socket.socket:
    """`beside_others`: other servers of ours listen there too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048, reuse_port=beside_others)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host} port {port}: {(error.strerror or str(error)).partition(' (while ')[0]}",
            code="address_in_use",
            field="port",
            next_step="stop what uses the port, or choose another with --port",
        ) from None
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """Where clients reach who accepts from it."""
    host, port = listener.getsockname()[:2]
    return f"http://{_reachable(host)}:{port}"


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def serve(settings: Settings) -> int:
    """Run a server until it is told to stop; the exit status. Raises `StokerError` when it cannot start."""
    import uvloop

    configure_logging(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    server = await Server.start(settings)
    announce(server.url, server.new_admin_key)
    await server.run_until(*told())
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


def migrate(settings: Settings) -> None:
    """Bring the database to the schema of this Stoker, and do nothing else. Raises `StokerError`."""
    configure_logging(settings)
    asyncio.run(_migrate(settings))


async def _migrate(settings: Settings) -> None:
    store = await _open_store(settings)
    await store.close()


def rotate_secrets(settings: Settings) -> keyring.Rotation:
    """Seal the secrets of the database with another key; servers may run. Raises `StokerError`."""
    configure_logging(settings)
    return asyncio.run(_rotate_secrets(settings))


async def _rotate_secrets(settings: Settings) -> keyring.Rotation:
    store = await _open_store(settings)
    try:
        return await keyring.rotate(store, keyring.key_source(settings), SystemClock().now_ms())
    finally:
        await store.close()


def create_team(settings: Settings, name: str, owner: str) -> tuple[str, str]:
    """A new team with an owner: its id, and the secret of that one's key. Servers may run. Raises `StokerError`."""
    configure_logging(settings)
    return asyncio.run(_create_team(settings, name, owner))


async def _create_team(settings: Settings, name: str, owner: str) -> tuple[str, str]:
    store = await _open_store(settings)
    try:
        team, secret = await Teams(store, SystemClock()).create(name, owner)
        return team.id, secret
    finally:
        await store.close()


def configure_logging(settings: Settings) -> None:
    """How this process logs.

    Logs go to stderr: an event word and what belongs to it. Neither bodies nor URLs with tokens are logged."""
    levels = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(levels[settings.log_level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
