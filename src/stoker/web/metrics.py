"""`/metrics`: what Prometheus reads. What this server counted, and what the database knows about all of them.

It is about all teams, so no team's key opens it: the setting `metrics_key` does, or `metrics_open` leaves it open.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stoker import __version__
from stoker.clock import Clock
from stoker.errors import Forbidden, Unauthenticated
from stoker.ids import TeamId
from stoker.metering import DAY_MS, HOUR_MS, Use
from stoker.metrics import LABELS_MOST, OTHER, Gauge, Metric, Metrics, Total, exposition
from stoker.notices import Told
from stoker.signals import Signals
from stoker.specification import MICROS
from stoker.store import Counts, Store
from stoker.store.usage import Part
from stoker.throttle import REFUSALS
from stoker.web.auth import credential
from stoker.web.uploads import Uploads
from stoker.worker import WorkerState

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
TRUST_MS: Final = 2_000
"""How long an answer of the database is given again: several who ask cost what one does."""
ENDS: Final = ("completed", "failed", "cancelled", "timed_out")


class MetricRoutes:
    """The route, over what it shows. `key` None: it is open; empty: it is closed."""

    def __init__(
        self,
        metrics: Metrics,
        store: Store,
        clock: Clock,
        signals: Signals,
        *,
        uploads: Sequence[tuple[str, Uploads]],
        on_duty: Callable[[], bool],
        told: Callable[[], Told],
        refused: Mapping[str, int],
        key: str | None,
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._clock = clock
        self._signals = signals
        self._uploads = uploads
        self._on_duty = on_duty
        self._told = told
        self._refused = refused
        self._key = key
        self._known: tuple[int, Sequence[Metric]] = (0, ())
        self._asking = asyncio.Lock()

    def router(self) -> APIRouter:
        """`/metrics`."""
        router = APIRouter()

        @router.get("/metrics", include_in_schema=False)
        async def metrics(request: Request) -> Response:
            self._check(request.headers.get("authorization"))
            shown = (*self._here(), *self._metrics.all(), *await self._everywhere())
            return Response(exposition(shown), media_type=None, headers={"content-type": CONTENT_TYPE})

        return router

    def _check(self, authorization: str | None) -> None:
        if self._key is None:
            return
        if not self._key:
            raise Forbidden(
                "nobody may read the metrics of this server",
                code="metrics_closed",
                next_step="set metrics_key to a word that Prometheus sends as its bearer token, or metrics_open to true",
            )
        if not hmac.compare_digest(credential(authorization).encode(), self._key.encode()):
            raise Unauthenticated(
                "this key does not open the metrics", next_step="send the one of the setting metrics_key"
            )

    def _here(self) -> Sequence[Metric]:
        """Of this server, as it is now."""
        waiting = self._signals.waiting()
        return (
            Gauge("stoker_build_info", "The version of this server.", ("version",), [((__version__,), 1)]),
            Gauge("stoker_on_duty", "Whether the loops run on this server.", (), [((), float(self._on_duty()))]),
            Gauge(
                "stoker_loop_last_round_age_seconds",
                "How long ago each loop last ended a round, on the server where they run.",
                ("loop",),
                self._metrics.rounds.since() if self._on_duty() else (),
            ),
            Gauge("stoker_held_takes", "Takes of workers that wait here for a job.", (), [((), float(waiting))]),
            Gauge(
                "stoker_uploads_bytes",
                "Memory in use for large request bodies.",
                ("side",),
                [((side,), float(room.reserved)) for side, room in self._uploads],
            ),
            Gauge(
                "stoker_uploads_bytes_max",
                "Memory for large request bodies.",
                ("side",),
                [((side,), float(room.bytes_max)) for side, room in self._uploads],
            ),
            *self._counted(),
        )

    def _counted(self) -> Sequence[Metric]:
        """What others count here."""
        told = self._told()
        return (
            Total(
                "stoker_webhook_tries_total",
                "Tries to tell a receiver that a job ended, by how they went.",
                ("result",),
                [(("delivered",), told.delivered), (("failed",), told.failed)],
            ),
            Total("stoker_webhooks_given_up_total", "Webhooks that nobody will be told.", (), [((), told.given_up)]),
            Total(
                "stoker_requests_refused_total",
                "Requests that were refused because too much was asked, by the code of the answer.",
                ("code",),
                [((code,), self._refused.get(code, 0)) for code in REFUSALS],
            ),
        )

    async def _everywhere(self) -> Sequence[Metric]:
        """Of the database: alike on all servers. Asked once at a time."""
        async with self._asking:
            now_ms = self._clock.now_ms()
            if now_ms >= self._known[0] + TRUST_MS:
                self._known = (now_ms, await self._ask(now_ms))
            return self._known[1]

    async def _ask(self, now_ms: int) -> Sequence[Metric]:
        jobs: Counter[tuple[str, ...]] = Counter()
        ended: Counter[tuple[str, ...]] = Counter()
        retried: Counter[tuple[str, ...]] = Counter()
        waits: dict[tuple[str, ...], float] = {}
        names: list[tuple[tuple[str, ...], float]] = []
        for place, endpoint in enumerate(await self._store.endpoints.active()):
            name = endpoint.id if place < LABELS_MOST else OTHER
            counts: Counts = await self._store.jobs.counts(endpoint.id)
            jobs[name, "queued"] += counts.waiting
            jobs[name, "running"] += counts.running
            for end in ENDS:
                ended[name, end] += getattr(counts, end)
            retried[name,] += counts.retried
            oldest_ms = await self._store.jobs.oldest_queued_ms(endpoint.id) if counts.queued else None
            wait_s = 0.0 if oldest_ms is None else max(0, now_ms - oldest_ms) / 1000
            waits[name,] = max(wait_s, waits.get((name,), 0.0))
            if name != OTHER:
                names.append(((endpoint.id, endpoint.name, endpoint.team), 1))
        workers: Counter[tuple[str, ...]] = Counter()
        unstarted: Counter[tuple[str, ...]] = Counter()
        known = {labels[0] for labels, _ in names}
        for held in await self._store.workers.alive():
            worker = held.worker
            whose = worker.endpoint if worker.endpoint in known else OTHER
            workers[whose, worker.state.value] += 1
            if worker.state is WorkerState.DECIDED:
                unstarted[whose, worker.reason.value] += 1
        by_endpoint = ("endpoint",)
        return (
            Gauge("stoker_endpoint_info", "Name and team of an endpoint.", ("endpoint", "name", "team"), names),
            Gauge("stoker_jobs", "Jobs that wait and that run.", ("endpoint", "state"), list(jobs.items())),
            Gauge(
                "stoker_queue_oldest_wait_seconds", "How long the first job waits.", by_endpoint, list(waits.items())
            ),
            Total("stoker_jobs_ended_total", "Jobs that ended.", ("endpoint", "state"), list(ended.items())),
            Total("stoker_jobs_retried_total", "Attempts that were lost.", by_endpoint, list(retried.items())),
            Gauge("stoker_workers", "Workers that are not gone.", ("endpoint", "state"), list(workers.items())),
            Gauge(
                "stoker_workers_unstarted",
                "Workers that are decided and have not started, by what they wait for.",
                ("endpoint", "reason"),
                list(unstarted.items()),
            ),
            *await self._used({one[0][2] for one in names}, known, now_ms),
            *await self._budgeted(now_ms),
        )

    async def _used(self, teams: Collection[str], known: Collection[str], now_ms: int) -> Sequence[Metric]:
        """What these teams used since the day began in UTC."""
        seconds: Counter[tuple[str, ...]] = Counter()
        micros: Counter[tuple[str, ...]] = Counter()
        begins_ms = now_ms - now_ms % DAY_MS
        for team in sorted(teams):
            for one in await self._store.usage.sums(
                TeamId(team), from_ms=begins_ms, to_ms=begins_ms + DAY_MS, period_ms=DAY_MS, parts=(Part.ENDPOINT,)
            ):
                (of,) = one.parts
                endpoint = of if of in known or not of else OTHER
                if one.use != Use.STORAGE:
                    seconds[endpoint, one.use] += one.ms
                micros[team, endpoint] += one.ms * one.price_micros
        return (
            Gauge(
                "stoker_usage_today_seconds",
                "Time of workers since the day began in UTC, by whether they ran or idled.",
                ("endpoint", "use"),
                [(labels, ms / 1000) for labels, ms in seconds.items()],
            ),
            Gauge(
                "stoker_cost_today",
                "What was used since the day began in UTC, in the operator's currency; of storage without an endpoint.",
                ("team", "endpoint"),
                [(labels, cost / (HOUR_MS * MICROS)) for labels, cost in micros.items()],
            ),
        )

    async def _budgeted(self, now_ms: int) -> Sequence[Metric]:
        """Budgets, and how far they are used up. One without an endpoint is the whole team's."""
        spent: list[tuple[tuple[str, ...], float]] = []
        amounts: list[tuple[tuple[str, ...], float]] = []
        for budget in (await self._store.budgets.all())[:LABELS_MOST]:
            of = (budget.team, budget.endpoint or "", budget.span.value)
            spent.append((of, budget.spent_at(now_ms) / MICROS))
            levels = {"warn": budget.warn_micros, "queue": budget.queue_micros, "refuse": budget.refuse_micros}
            amounts += [((*of, level), micros / MICROS) for level, micros in levels.items() if micros is not None]
        labels = ("team", "endpoint", "period")
        return (
            Gauge("stoker_budget_spent", "What is spent of a budget in its day or month.", labels, spent),
            Gauge("stoker_budget_amount", "From which amount on a budget does what.", (*labels, "level"), amounts),
        )


__all__ = ["MetricRoutes"]
