"""What a server is made of: operations over its store and runtime, the loops that act unasked, and the routes of HTTP.

Everything gets here what it works with, as values. `server.py` decides when any of it begins and ends; a new operation, loop or
group of routes is added here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from ssl import SSLContext
from typing import Any, Final

import uvicorn
from fastapi import APIRouter

from stoker import __version__
from stoker.budgets import Budgets
from stoker.capsules import Capsules
from stoker.catalog import Catalog, Defaults, login, release_login
from stoker.catalog.mounts import places
from stoker.catalog.volumes import Volumes
from stoker.chronicle import Chronicle
from stoker.clock import Clock
from stoker.config import SHOWN_TO_TEAMS, Settings, shown
from stoker.dead_letters import DeadLetters
from stoker.explanations import Explanations
from stoker.fleet import Fleet, FleetTerms
from stoker.follow import Ledger
from stoker.headroom import Headroom
from stoker.health import Check, Pulse
from stoker.images import Images, ImageTerms
from stoker.last_hour import LastHours
from stoker.leases import Leases
from stoker.loops.autoscaler import Autoscaler
from stoker.loops.chronicler import Chronicler
from stoker.loops.lifeline import Lifeline
from stoker.loops.meter import MeterReader
from stoker.loops.prober import Prober
from stoker.loops.pruner import Pruner
from stoker.loops.surveyor import Surveyor
from stoker.loops.tracer import Tracer
from stoker.loops.warmer import Warmer
from stoker.loops.webhooks import Bounds, Webhooks
from stoker.machine import Machine
from stoker.metrics import Metrics
from stoker.notices import Notices, nobody
from stoker.probes import HttpProbe
from stoker.queue import Queue
from stoker.rate import rates
from stoker.receivers import HttpReceivers
from stoker.registries import HttpRegistries
from stoker.retention import Kept
from stoker.runtimes import Runtime
from stoker.selections import Selections
from stoker.shortages import Patience
from stoker.signals import Signals
from stoker.storage.directories import DirectoryStorage
from stoker.store import Store
from stoker.streaks import Streaks
from stoker.throttle import Throttle
from stoker.traces import Collector, Traces
from stoker.usage import Usages
from stoker.vault import Vault
from stoker.warming import Warming
from stoker.web.app import FOR_BROWSERS, OVER_TLS, build_app, build_hot
from stoker.web.budgets import BudgetRoutes
from stoker.web.connection import connections_to
from stoker.web.console import Console
from stoker.web.dead_letters import DeadLetterRoutes
from stoker.web.events import EventRoutes
from stoker.web.images import ImageRoutes
from stoker.web.jobs import Gate, JobRoutes, tell_end
from stoker.web.jobs_v1 import NOVITA, NovitaJobs
from stoker.web.jobs_v2 import RUNPOD
from stoker.web.last_hour import LastHourRoutes
from stoker.web.manage import ManageRoutes
from stoker.web.metrics import MetricRoutes
from stoker.web.rates import RateRoutes
from stoker.web.requests import AccessLog, Requests
from stoker.web.selections import SelectionRoutes
from stoker.web.server import ServerRoutes
from stoker.web.specifications import SpecificationRoutes
from stoker.web.uploads import Uploads
from stoker.web.usage import UsageRoutes
from stoker.web.views import ViewRoutes
from stoker.web.volumes import VolumeRoutes
from stoker.web.webhooks import WebhookRoutes
from stoker.web.worker_protocol import WorkerRoutes

KEEP_ALIVE_S: Final = 75
HTTP_STOP_S: Final = 5
"""How long open requests may take to end after the workers are gone."""

Ready = Callable[[], Sequence[Check]]


class Assembly:
    """The parts of one server. `url` is where clients reach it, `worker_url` where workers do."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        vault: Vault,
        runtime: Runtime,
        clock: Clock,
        signals: Signals,
        *,
        url: str,
        worker_url: str,
        console: Console,
        collector: Collector | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._vault = vault
        self._clock = clock
        self._signals = signals
        self._url = settings.public_url.rstrip("/") or url
        self._console = console
        self._database = "PostgreSQL" if settings.database else "SQLite"
        self._streaks = Streaks(settings.worker_failures_max)
        self._metrics = Metrics()
        self.pulse = Pulse(store, clock, self._metrics)
        reserve_bytes = 0 if settings.database else settings.disk_free_mb_min << 20
        self.headroom = Headroom(settings.data_dir, least_bytes=reserve_bytes)
        find_login = partial(release_login, store, vault)
        self._images = Images(store, clock, runtime, _image_terms(settings), find_login=find_login)
        self._warming = Warming(store, clock, signals, runtime, find_login=partial(login, store, vault))
        terms = _fleet_terms(settings, settings.worker_url.rstrip("/") or worker_url)
        storage = DirectoryStorage(settings.volumes_path)
        self._volumes = Volumes(store, clock, storage, runtime, self.headroom)
        find_places = partial(places, store, storage)
        self.machine = Machine(store, clock, runtime, settings.specifications_declared)
        self.fleet = Fleet(
            store,
            clock,
            signals,
            runtime,
            terms,
            vault,
            self._images,
            find_places,
            self.machine,
            HttpProbe(),
            self._metrics,
        )
        self.catalog = self._catalog(runtime)
        self.throttle = _throttle(settings, store, clock)
        signals.admitted = self.throttle.heard
        self.budgets = Budgets(store, clock, signals)
        self._traces = None if collector is None else Traces(store, collector)
        self.notices = self._notices()

    def _catalog(self, runtime: Runtime) -> Catalog:
        defaults = Defaults(retention_s=self._settings.retention_s, mounts=self._settings.mount_terms)
        return Catalog(
            self._store,
            self._clock,
            self._signals,
            runtime,
            defaults,
            vault=self._vault,
            registries=HttpRegistries(),
            warming=self._warming,
            session_life_ms=self._settings.session_s * 1000,
            machine=self.machine,
        )

    def _notices(self) -> Notices:
        settings = self._settings
        return Notices(
            self._store,
            self._clock,
            self._vault,
            receivers=HttpReceivers(timeout_s=settings.webhook_timeout_s, allowed=settings.allowed_networks),
            renders={dialect.name: partial(tell_end, dialect) for dialect in (NOVITA, RUNPOD)},
            life_s=settings.webhook_give_up_s,
            agent=f"Stoker/{__version__}",
            tried=nobody if self._traces is None else self._traces.tried,
        )

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What runs while this server is on duty."""
        store, clock, signals, fleet = self._store, self._clock, self._signals, self.fleet
        self._metrics.rounds.begin(("autoscaler", "lifeline", "pruner", "meter"))
        ended = self._metrics.rounds.ended
        return (
            Lifeline(store, clock, signals, fleet, every_s=self._settings.observe_every_s, ended=ended).run(),
            Pruner(
                store,
                clock,
                fleet,
                self._images,
                kept=_kept(self._settings),
                ended=ended,
                forgot=self._metrics.forgot,
            ).run(),
            Autoscaler(store, clock, signals, fleet, ended=ended).run(),
            *([] if fleet.checks is None else [Prober(fleet.checks).run()]),
            MeterReader(
                store,
                clock,
                self.budgets,
                storage_price=self._settings.volume_price_per_gib_hour,
                ended=ended,
            ).run(),
            Surveyor(self._volumes, every_s=self._settings.volumes_measured_every_s).run(),
            Warmer(signals, self._warming).run(),
            Webhooks(store, clock, self.notices, _bounds(self._settings)).run(),
            *([] if self._traces is None else [Tracer(self._traces, clock).run()]),
            *([] if self._settings.log_jobs == "none" else [self._chronicler().run()]),
        )

    def _chronicler(self) -> Chronicler:
        return Chronicler(Chronicle(self._store, everything=self._settings.log_jobs == "all"), self._clock)

    def http(self, ready: Ready, *, on_duty: Callable[[], bool], tls: SSLContext | None) -> uvicorn.Config:
        """Every route, for clients and workers."""
        clients, workers = self._rooms()
        settings = self._settings
        metrics = MetricRoutes(
            self._metrics,
            self._store,
            self._clock,
            self._signals,
            uploads=(("clients", clients), ("workers", workers)),
            on_duty=on_duty,
            told=lambda: self.notices.told,
            refused=self.throttle.refused,
            key=None if settings.metrics_open else settings.metrics_key.get_secret_value(),
        )
        return self._config_of([*self._routers(clients, workers), metrics.router()], ready, clients, tls)

    def door(self, ready: Ready) -> uvicorn.Config:
        """The worker protocol alone, for those that reach the server by another address."""
        _, workers = self._rooms()
        return self._config_of([self._worker_routes(workers)], ready, workers, None)

    def _config_of(
        self, routers: list[APIRouter], ready: Ready, uploads: Uploads, tls: SSLContext | None
    ) -> uvicorn.Config:
        logged, moves = self._settings.access_log, self._settings.log_jobs == "all"
        access = AccessLog(self.catalog.last, management=logged != "none", everything=logged == "all", moves=moves)
        return uvicorn.Config(
            Requests(build_app(routers, ready=ready, uploads=uploads), access),
            http=connections_to(build_hot(routers), access),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            headers=[*FOR_BROWSERS, *(() if tls is None else OVER_TLS)],
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=HTTP_STOP_S,
        )

    def _rooms(self) -> tuple[Uploads, Uploads]:
        """Room for the bodies of clients and of workers: no upload of a client can hold up a worker's result."""
        for_workers = self._settings.uploads_bytes_max // 4
        stall_s = self._settings.upload_stall_s
        return (
            Uploads(self._settings.uploads_bytes_max - for_workers, stall_s=stall_s),
            Uploads(for_workers, stall_s=stall_s),
        )

    def _routers(self, clients: Uploads, workers: Uploads) -> list[APIRouter]:
        queue = Queue(self._store, self._clock, self._signals, self._vault, headroom=self.headroom)
        gate = Gate(
            self.catalog,
            clients,
            input_bytes_max=self._settings.input_bytes_max,
            throttle=self.throttle,
            budgets=self.budgets,
            traced=self._traces is not None,
        )
        manage = ManageRoutes(
            queue,
            self.fleet,
            self.catalog,
            Explanations(self._store, self._clock),
            Capsules(self._store, self.fleet),
            gate,
            base_url=self._url,
        )
        return [
            NovitaJobs(NOVITA, queue, self.fleet, gate).router(),
            JobRoutes(RUNPOD, queue, self.fleet, gate).router(),
            self._worker_routes(workers),
            *manage.routers(),
            DeadLetterRoutes(DeadLetters(queue), self.catalog).router(),
            SelectionRoutes(Selections(self._store, queue), self.catalog).router(),
            ImageRoutes(self._warming, self.catalog).router(),
            *VolumeRoutes(self._volumes, self.catalog, stall_s=self._settings.upload_stall_s).routers(),
            EventRoutes(Ledger(self._store, self._signals), self.catalog, self._clock).router(),
            SpecificationRoutes(self.machine, self.catalog).router(),
            LastHourRoutes(LastHours(self._store, self._clock), self.catalog, self._clock).router(),
            ServerRoutes(
                shown(self._settings), self.catalog, database=self._database, for_teams=SHOWN_TO_TEAMS
            ).router(),
            BudgetRoutes(self.budgets, self.catalog, self._clock).router(),
            RateRoutes(self.catalog).router(),
            ViewRoutes(self.catalog).router(),
            UsageRoutes(Usages(self._store, self._clock), self.catalog).router(),
            self._console.router(),
            *WebhookRoutes(self.notices, queue, self.catalog).routers(),
        ]

    def _worker_routes(self, uploads: Uploads) -> APIRouter:
        limits = self._settings
        leases = Leases(
            self._store,
            self._clock,
            self._signals,
            hold_s=limits.hold_s,
            lease_s=limits.lease_s,
            output_bytes_max=limits.output_bytes_max,
            vault=self._vault,
            streaks=self._streaks,
            metrics=self._metrics,
            budgets=self.budgets,
        )
        return WorkerRoutes(
            leases, output_bytes_max=limits.output_bytes_max, part_bytes_max=limits.part_bytes_max, uploads=uploads
        ).router()


def _fleet_terms(settings: Settings, worker_url: str) -> FleetTerms:
    return FleetTerms(
        worker_url=worker_url,
        ping_interval_ms=settings.ping_interval_ms,
        lease_s=settings.lease_s,
        cancel_grace_s=settings.cancel_grace_s,
        stop_grace_s=settings.stop_grace_s,
        start_timeout_s=settings.start_timeout_s,
        gone_workers_kept_s=settings.gone_workers_kept_s,
        gone_logs_bytes_max=settings.gone_logs_bytes_max,
        patience=Patience(wait_s=settings.kubernetes_place_wait_s, pass_over_s=settings.kubernetes_pass_over_s),
        skip_system_checks=not settings.worker_system_checks,
    )


def _throttle(settings: Settings, store: Store, clock: Clock) -> Throttle:
    return Throttle(
        clock,
        rates=rates(settings.rate_factor),
        queued_max=settings.queued_max,
        uploads_max=settings.uploads_per_key_max,
        counts=store.jobs.counts,
    )


def _kept(settings: Settings) -> Kept:
    return Kept(
        audit_days=settings.audit_kept_days,
        usage_days=settings.usage_kept_days,
        jobs=settings.jobs_kept_max,
        events=settings.events_kept_max,
        audit=settings.audit_kept_max,
        usage=settings.usage_kept_max,
        database_bytes=settings.database_mb_max << 20,
    )


def _bounds(settings: Settings) -> Bounds:
    return Bounds(per_receiver=settings.webhooks_per_receiver, total=settings.webhooks_at_once)


def _image_terms(settings: Settings) -> ImageTerms:
    return ImageTerms(unused_kept_s=settings.images_unused_s, bytes_max=int(settings.images_gb_max * 1024**3))


__all__ = ["Assembly"]
