"""The job API over one core (D10): what both dialects share. `jobs_v1` and `jobs_v2` bring the words.

Facts about requests, answers and quirks of clients: protocol, job API §1 to §8. Deliberate choices:

- Answers are 200 and JSON, always: clients parse without looking.
- A final answer of `/stream` carries every remaining part. A cancelled job's stream answers once more and then 404, because
  the Python client would otherwise poll it for ever.
- `?ttl=` of `/status` is accepted and has no effect: results are kept for the endpoint's retention.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

import msgspec
from fastapi import APIRouter
from msgspec.structs import replace

from stoker.budgets import Budgets
from stoker.catalog import Catalog, Entrance
from stoker.endpoint import Endpoint
from stoker.fleet import Fleet
from stoker.ids import JobId, KeyId
from stoker.job import Job, JobState
from stoker.queue import Queue, Submission
from stoker.rate import Asked
from stoker.span import parse_parent
from stoker.store import Held, Result
from stoker.team import Scope
from stoker.throttle import Throttle
from stoker.web.asgi import RawEndpoint, RawRoute
from stoker.web.auth import entrance, known_entrance
from stoker.web.call import Answer, Call, Handler, Reply, answer, awaited
from stoker.web.shown import story_line
from stoker.web.uploads import SMALL_BYTES, Uploads
from stoker.web.wire import decode, query_flag, query_int
from stoker.worker import WorkerState

WAIT_MS: Final = (1_000, 300_000)
"""Range of `?wait=`, in milliseconds."""
RUNSYNC_WAIT_MS: Final = 90_000
STREAM_HOLD_MS: Final = 1_000
"""How long an empty stream is held unless `?wait=` says otherwise: one client polls it without any pause."""
STREAM_BYTES_MAX: Final = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """The words of one vendor."""

    name: str
    """Where it is spoken: the first word of its paths."""
    vendor: str
    states: Mapping[JobState, str]
    tells_input: bool = False
    """Whether webhooks are told the input too: receivers of Runpod's read it."""

    @property
    def prefix(self) -> str:
        """Of its paths."""
        return f"/{self.name}"


class _Policy(msgspec.Struct):
    executionTimeout: int | None = None
    ttl: int | None = None
    lowPriority: bool | None = None


class _Run(msgspec.Struct):
    input: msgspec.Raw
    policy: _Policy | None = None
    webhook: str | None = None
    s3Config: dict[str, msgspec.Raw] | None = None


class _Status(msgspec.Struct, omit_defaults=True):
    id: str
    status: str
    delayTime: int | None = None
    executionTime: int | None = None
    output: msgspec.Raw | None = None
    error: str | None = None
    retries: int | None = None
    workerId: str | None = None
    detail: dict[str, object] | None = None
    input: msgspec.Raw | None = None
    """Told to webhooks only."""


_NO_POLICY: Final = _Policy()
_RUN_DECODER = msgspec.json.Decoder(_Run)


async def read_submission(
    call: Call, uploads: Uploads, *, limit: int, sync: bool, dialect: str, key: KeyId | None = None
) -> Submission:
    """What a client asks for. Raises `InvalidInput`, and as `Call.body`. The body itself is gone when this returns."""
    body = await call.body(uploads, limit=limit, what="the job")
    run = decode(body, _RUN_DECODER)
    policy = run.policy or _NO_POLICY
    idempotency_key = call.headers.get("idempotency-key")
    return Submission(
        input=bytes(run.input),
        sync=sync,
        execution_timeout_ms=policy.executionTimeout,
        ttl_ms=policy.ttl,
        low_priority=bool(policy.lowPriority),
        webhook=run.webhook or None,
        dialect=dialect,
        s3_config=None if run.s3Config is None else msgspec.json.encode(run.s3Config),
        idempotency_key=idempotency_key,
        body_hash=hashlib.sha256(body).hexdigest() if idempotency_key is not None else "",
        key=key,
    )


AtEndpoint = Callable[[Call, Entrance], Reply]
"""A handler that is asked once it is known who calls, and which endpoint."""


class Gate:
    """The way in: who asks, of which endpoint, and how often; for submissions also whether there is room, and what they ask for."""

    def __init__(
        self,
        catalog: Catalog,
        uploads: Uploads,
        *,
        input_bytes_max: int,
        throttle: Throttle,
        budgets: Budgets,
        traced: bool = False,
    ) -> None:
        """`traced` is whether it matters from which span of its own trace a client submits."""
        self._catalog = catalog
        self._uploads = uploads
        self._input_bytes_max = input_bytes_max
        self._throttle = throttle
        self._budgets = budgets
        self._traced = traced

    def before(self, handler: AtEndpoint, scope: Scope, asked: Asked) -> Handler:
        """Let in who may. Who came the same way a moment ago waits for nothing here.

        What is returned raises `Unauthenticated`, `Forbidden`, `NotFound`, `TooMany`, and what the handler raises.
        """

        @wraps(handler)
        def enter(call: Call) -> Reply:
            known = known_entrance(self._catalog, call, scope)
            if known is None:
                return look(call)
            self._count(known, asked)
            return handler(call, known)

        async def look(call: Call) -> Answer:
            found = await entrance(self._catalog, call, scope)
            self._count(found, asked)
            return await awaited(handler(call, found))

        return enter

    def _count(self, entrance: Entrance, asked: Asked) -> None:
        key, endpoint = entrance
        self._throttle.check(key.id, endpoint.id, asked, endpoint_rate=endpoint.rate, key_rate=key.rate)

    async def submission(self, call: Call, entrance: Entrance, *, sync: bool, dialect: str) -> Submission:
        """What a client asks for. Raises `TooMany`, `Exhausted`, and as `read_submission`."""
        key, endpoint = entrance
        await self._throttle.check_queue(endpoint)
        await self._budgets.check(endpoint)
        length = call.length
        large = length is None or length > SMALL_BYTES
        if large:
            self._throttle.begin_upload(key.id)
        try:
            wish = await read_submission(
                call, self._uploads, limit=self._input_bytes_max, sync=sync, dialect=dialect, key=key.id
            )
        finally:
            if large:
                self._throttle.end_upload(key.id)
        if self._traced:
            wish = replace(wish, parent=parse_parent(call.headers.get("traceparent") or ""))
        return wish


class JobRoutes:
    """The operations of one dialect."""

    def __init__(
        self,
        dialect: Dialect,
        queue: Queue,
        fleet: Fleet,
        gate: Gate,
    ) -> None:
        self._words = dialect
        self._queue = queue
        self._fleet = fleet
        self._gate = gate

    def router(self) -> APIRouter:
        """The dialect's routes."""
        router = APIRouter(
            prefix=self._words.prefix + "/{endpoint}", route_class=RawRoute, tags=[f"jobs ({self._words.vendor})"]
        )
        both = ["GET", "POST"]
        table: list[tuple[str, list[str], AtEndpoint, Scope, Asked, str]] = [
            ("/run", ["POST"], self.run, Scope.RUN, Asked.RUN, "Submit a job"),
            ("/runsync", ["POST"], self.runsync, Scope.RUN, Asked.RUNSYNC, "Submit a job and wait for its end"),
            ("/status/{job}", both, self.status, Scope.READ, Asked.LOOK, "State and result of a job"),
            ("/status-sync/{job}", both, self.status_sync, Scope.READ, Asked.LOOK, "The same, waiting for the end"),
            ("/stream/{job}", both, self.stream, Scope.READ, Asked.LOOK, "Parts of the output that were not read yet"),
            ("/cancel/{job}", both, self.cancel, Scope.RUN, Asked.CANCEL, "Cancel a job"),
            ("/retry/{job}", ["POST"], self.retry, Scope.RUN, Asked.CANCEL, "Run a failed or timed-out job again"),
            ("/purge-queue", ["POST"], self.purge_queue, Scope.RUN, Asked.PURGE, "Cancel every queued job"),
            ("/health", ["GET"], self.health, Scope.READ, Asked.LOOK, "Counters of jobs and workers"),
        ]
        for path, methods, handler, scope, asked, summary in table:
            let_in = self._gate.before(handler, scope, asked)
            add_route(router, path, methods, let_in, summary, needs_body="run" in path)
        return router

    async def run(self, call: Call, entrance: Entrance) -> Answer:
        """POST /run."""
        job = await self._submit(call, entrance, sync=False)
        return answer({"id": job.id, "status": self._words.states[job.state]})

    async def runsync(self, call: Call, entrance: Entrance) -> Answer:
        """POST /runsync?wait=ms."""
        wait_ms = _wait_ms(call, RUNSYNC_WAIT_MS)
        job = await self._submit(call, entrance, sync=True)
        result = await self._queue.wait(job.team, job.endpoint, job.id, wait_s=wait_ms / 1000)
        return await self._render(call, result)

    async def _submit(self, call: Call, entrance: Entrance, *, sync: bool) -> Job:
        wish = await self._gate.submission(call, entrance, sync=sync, dialect=self._words.name)
        job = call.about = await self._queue.submit(entrance.endpoint, wish)
        call.release()  # it is stored; `runsync` goes on to wait
        return job

    def status(self, call: Call, entrance: Entrance) -> Reply:
        """GET or POST /status/{job}."""
        endpoint = entrance.endpoint
        known = None if call.query else self._queue.known_poll(endpoint.team, endpoint.id, _job(call))
        return self._look(call, endpoint) if known is None else answer(_status(self._words, known))

    async def _look(self, call: Call, endpoint: Endpoint) -> Answer:
        return await self._render(call, await self._queue.poll(endpoint.team, endpoint.id, _job(call)))

    async def status_sync(self, call: Call, entrance: Entrance) -> Answer:
        """GET or POST /status-sync/{job}?wait=ms."""
        endpoint = entrance.endpoint
        wait_s = _wait_ms(call, RUNSYNC_WAIT_MS) / 1000
        result = await self._queue.wait(endpoint.team, endpoint.id, _job(call), wait_s=wait_s)
        return await self._render(call, result)

    async def stream(self, call: Call, entrance: Entrance) -> Answer:
        """GET or POST /stream/{job}?wait=ms."""
        endpoint = entrance.endpoint
        wait_s = _wait_ms(call, STREAM_HOLD_MS) / 1000
        parts = await self._queue.stream(
            endpoint.team, endpoint.id, _job(call), wait_s=wait_s, bytes_max=STREAM_BYTES_MAX
        )
        return answer(
            {
                "status": self._words.states[parts.job.state],
                "stream": [{"output": msgspec.Raw(part)} for part in parts.parts],
            }
        )

    async def cancel(self, call: Call, entrance: Entrance) -> Answer:
        """GET or POST /cancel/{job}."""
        endpoint = entrance.endpoint
        job = await self._queue.cancel(endpoint.team, endpoint.id, _job(call))
        return answer({"id": job.id, "status": self._words.states[job.state]})

    async def retry(self, call: Call, entrance: Entrance) -> Answer:
        """POST /retry/{job}."""
        endpoint = entrance.endpoint
        job = await self._queue.retry(endpoint.team, endpoint.id, _job(call))
        return answer({"id": job.id, "status": self._words.states[job.state]})

    async def purge_queue(self, _call: Call, entrance: Entrance) -> Answer:
        """POST /purge-queue."""
        return answer({"removed": await self._queue.purge(entrance.endpoint.id), "status": "completed"})

    async def health(self, _call: Call, entrance: Entrance) -> Answer:
        """GET /health."""
        endpoint = entrance.endpoint
        counts = await self._queue.counts(endpoint.id)
        workers = await self._fleet.roster.workers(endpoint.id, gone=0)
        return answer(
            {
                "jobs": {
                    "completed": counts.completed,
                    "failed": counts.failed + counts.timed_out,
                    "inProgress": counts.running,
                    "inQueue": counts.waiting,
                    "retried": counts.retried,
                },
                "workers": _health_of(workers),
            }
        )

    async def _render(self, call: Call, result: Result) -> Answer:
        status = _status(self._words, result)
        if call.query and query_flag(call, "detail"):
            status.detail = await self._detail(result)
        return answer(status)

    async def _detail(self, result: Result) -> dict[str, object]:
        """What no vendor shows: the reason in words, the place in the queue, and what happened so far."""
        why = await self._queue.why(result)
        return {
            "reason": why.reason,
            "text": why.text,
            "position": await self._queue.position(result.job),
            "attempt": result.job.attempt,
            "timeline": [story_line(line) for line in await self._queue.story(result.job.id)],
        }


def _status(words: Dialect, result: Result, submitted: bytes | None = None) -> _Status:
    """What every status shows; webhooks are told what was `submitted` too."""
    job, state, output = result.job, result.job.state, result.output
    return _Status(
        id=job.id,
        status=words.states[state],
        delayTime=None if state is JobState.QUEUED or state is JobState.AHEAD else job.delay_ms,
        executionTime=None if state is JobState.CANCELLED else job.execution_ms,
        output=None if output is None else msgspec.Raw(output),
        error=result.error,
        retries=job.attempt - 1 if job.attempt > 1 else None,
        workerId=None if state is JobState.AHEAD else job.worker,
        input=None if submitted is None else msgspec.Raw(submitted),
    )


def tell_end(words: Dialect, result: Result, submitted: bytes | None) -> bytes:
    """What a webhook is told of a job that ended: its status, and what was `submitted` where receivers expect it."""
    return msgspec.json.encode(_status(words, result, submitted if words.tells_input else None))


def add_route(
    router: APIRouter, path: str, methods: list[str], handler: Handler, summary: str, *, needs_body: bool
) -> None:
    """Register a raw handler, once per method so that each has its own operation in the OpenAPI description."""
    names = [part[1:-1] for part in (router.prefix + path).split("/") if part.startswith("{")]
    description: dict[str, Any] = {
        "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    }
    if needs_body:
        description["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": RUN_SCHEMA, "example": {"input": {"prompt": "a lighthouse"}}}},
        }
    for method in methods:
        router.add_api_route(
            path,
            RawEndpoint(handler),
            methods=[method],
            summary=summary,
            operation_id=f"{method.lower()}{router.prefix}{path}".translate(str.maketrans("/{}-", "____")),
            openapi_extra=description,
            response_model=None,
        )


RUN_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "input": {"description": "Any JSON; the handler gets it as job['input']."},
        "webhook": {"type": "string", "description": "URL that is told when the job ends."},
        "policy": {
            "type": "object",
            "properties": {
                "executionTimeout": {"type": "integer", "description": "Milliseconds a worker may work on the job."},
                "ttl": {"type": "integer", "description": "Milliseconds from submission until the job expires."},
                "lowPriority": {"type": "boolean", "description": "The job alone does not start workers."},
            },
        },
        "s3Config": {"type": "object", "description": "Handed to the worker, never shown again."},
    },
}


def _job(call: Call) -> JobId:
    return JobId(call.parameters["job"])


def _wait_ms(call: Call, default: int) -> int:
    least, most = WAIT_MS
    return query_int(call, "wait", default=default, least=least, most=most)


def _health_of(held: Sequence[Held]) -> dict[str, int]:
    """Runpod's six counters. `ready` equals `idle`, as in captures of the real service."""
    up = [one for one in held if one.worker.state is WorkerState.READY]
    ready = [one for one in up if one.worker.takes_jobs]
    idle = sum(one.held == 0 for one in ready)
    return {
        "idle": idle,
        "initializing": sum(one.worker.state in (WorkerState.DECIDED, WorkerState.STARTING) for one in held),
        "ready": idle,
        "running": len(ready) - idle + sum(one.worker.state is WorkerState.DRAINING for one in held),
        "throttled": 0,
        "unhealthy": len(up) - len(ready),
    }


__all__ = ["Dialect", "Gate", "JobRoutes", "add_route", "read_submission", "tell_end"]
