"""The management API, `/api`: endpoints, workers, jobs, keys. The CLI and everything else that manages are its clients (D13).

Described by OpenAPI at `/api/openapi.json`, with a page to try it at `/api/docs`. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stoker.catalog import Catalog, Deployed
from stoker.endpoint import LIMITS, Endpoint, Policy, PolicyType, Release
from stoker.errors import NotFound
from stoker.fleet import Fleet
from stoker.ids import JobId, KeyId, TeamId, WorkerId
from stoker.job import Job, JobState
from stoker.queue import Queue
from stoker.runtimes import LogLine
from stoker.store import Decision, Held, Page, Result
from stoker.team import ApiKey, Scope, parse_scopes
from stoker.web.asgi import JsonRoute, RawEndpoint, RawRoute, to_response
from stoker.web.auth import endpoint_of, require
from stoker.web.call import Answer, Call, answer
from stoker.web.jobs import RUN_SCHEMA, read_submission
from stoker.web.uploads import Uploads
from stoker.web.wire import story_line
from stoker.worker import Worker, WorkerState

JsonObject = dict[str, Any]
ShownState = Literal["queued", "running", "completed", "failed", "cancelled", "timed_out"]
_AHEAD_WORDS: dict[int | None, str] = {None: "auto", 0: "off"}


class PolicyBody(BaseModel):
    """The elastic policy, or half of it."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["queue_requests", "queue_delay"] | None = None
    value: StrictInt | None = None


class EndpointBody(BaseModel):
    """What can be said about an endpoint. What is left out keeps its value, or its default."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, description="Part of the URL; 16 random hexadecimal characters if left out.")
    app_name: str | None = None
    image: str | None = Field(None, examples=["dir:/srv/workers/hello"])
    command: str | None = Field(None, examples=["python -u handler.py"])
    env: dict[str, str] | None = None
    gpus_per_worker: StrictInt | None = None
    entrypoint: str | None = Field(None, description="Instead of the image's; containers only, like the next three.")
    volumes: tuple[str, ...] | None = Field(None, examples=[["models:/models:ro"]])
    http_port: StrictInt | None = Field(None, description="A port inside that the server's machine shall reach.")
    disk_gb: StrictInt | None = Field(None, description="The most that a worker may write to its own disk, in GiB.")
    min_workers: StrictInt | None = None
    max_workers: StrictInt | None = None
    idle_timeout_s: StrictInt | None = None
    slots: StrictInt | None = Field(None, description="Jobs that one worker may hold at once.")
    policy: PolicyBody | None = None
    execution_timeout_ms: StrictInt | None = None
    ttl_ms: StrictInt | None = None
    retries: StrictInt | None = None
    retention_s: StrictInt | None = None
    deliver_ahead: Literal["auto", "off"] | StrictInt | None = Field(
        None, description="Jobs that a worker may get besides those that it can begin at once."
    )

    def fields(self, policy: Policy) -> JsonObject:
        """The fields that were given, as `catalog` takes them; `policy` completes half a policy."""
        given = {name: value for name, value in self.model_dump(exclude_unset=True).items() if value is not None}
        for meaning, word in _AHEAD_WORDS.items():
            if given.get("deliver_ahead") == word:
                given["deliver_ahead"] = meaning
        if self.policy is not None:
            kind, value = self.policy.type, self.policy.value
            given["policy"] = Policy(
                type=policy.type if kind is None else PolicyType(kind), value=policy.value if value is None else value
            )
        return given


class NewEndpointBody(EndpointBody):
    """The same, with the one field that every endpoint needs."""

    image: str


class StopBody(BaseModel):
    """How to stop a worker."""

    model_config = ConfigDict(extra="forbid")

    now: bool = Field(False, description="Do not wait for its jobs: they go back to the queue.")


class KeyBody(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str
    scopes: list[str] = Field(default_factory=lambda: ["run"])


class ManageRoutes:
    """The routes, over the operations they call."""

    def __init__(
        self,
        queue: Queue,
        fleet: Fleet,
        catalog: Catalog,
        *,
        base_url: str,
        input_bytes_max: int,
        uploads: Uploads,
    ) -> None:
        self._queue = queue
        self._fleet = fleet
        self._catalog = catalog
        self._base_url = base_url
        self._input_bytes_max = input_bytes_max
        self._uploads = uploads

    def routers(self) -> Sequence[APIRouter]:
        """All routes under `/api`."""
        return (
            self._endpoint_routes(),
            self._worker_routes(),
            self._job_routes(),
            self._job_changes(),
            self._key_routes(),
        )

    def _key(self, scope: Scope) -> Any:
        """The dependency that answers with the caller's key, or refuses."""

        async def key(request: Request) -> ApiKey:
            return await require(self._catalog, request.headers.get("authorization"), scope)

        return Depends(key)

    # ── endpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _endpoint_routes(self) -> APIRouter:
        router = _router("endpoints")
        read, manage = self._key(Scope.READ), self._key(Scope.MANAGE)

        @router.get("/limits")
        async def limits(_key: ApiKey = read) -> JsonObject:
            """The range of every number that can be configured."""
            return {
                name: {"least": one.least, "most": one.most, "unit": one.unit, "why": one.why}
                for name, one in LIMITS.items()
            }

        @router.get("/endpoints")
        async def list_endpoints(key: ApiKey = read) -> JsonObject:
            """The team's endpoints, by name."""
            endpoints = await self._catalog.endpoints(key.team)
            return {"endpoints": [await self._show(await self._catalog.deployed(one)) for one in endpoints]}

        @router.post("/endpoints", status_code=201)
        async def create_endpoint(body: NewEndpointBody, key: ApiKey = manage) -> JsonObject:
            """Create an endpoint."""
            return await self._show(await self._catalog.create(key.team, body.fields(Policy())))

        @router.get("/endpoints/{endpoint}")
        async def show_endpoint(endpoint: str, key: ApiKey = read) -> JsonObject:
            """One endpoint, by name or id."""
            return await self._show(await self._find(key, endpoint))

        @router.patch("/endpoints/{endpoint}")
        async def update_endpoint(endpoint: str, body: EndpointBody, key: ApiKey = manage) -> JsonObject:
            """Change the given fields. Another image, command, environment or GPU number makes a new release."""
            found = await self._find(key, endpoint)
            return await self._show(await self._catalog.update(found, body.fields(found.endpoint.policy)))

        @router.delete("/endpoints/{endpoint}")
        async def delete_endpoint(endpoint: str, key: ApiKey = manage) -> JsonObject:
            """Delete an endpoint: queued jobs are cancelled, running ones finish."""
            return await self._show(await self._catalog.delete(await self._find(key, endpoint)))

        @router.get("/endpoints/{endpoint}/releases")
        async def list_releases(endpoint: str, key: ApiKey = read) -> JsonObject:
            """All releases, newest first."""
            found = await self._catalog.find(key.team, endpoint)
            return {"releases": [_release(one) for one in await self._catalog.releases(found)]}

        @router.post("/endpoints/{endpoint}/retry")
        async def retry_endpoint(endpoint: str, key: ApiKey = manage) -> JsonObject:
            """Launch workers again after a crash loop."""
            return await self._show(await self._catalog.retry(await self._find(key, endpoint)))

        @router.post("/endpoints/{endpoint}/purge-queue")
        async def purge_queue(endpoint: str, key: ApiKey = manage) -> JsonObject:
            """Cancel every queued job."""
            found = await self._catalog.find(key.team, endpoint)
            return {"removed": await self._queue.purge(found.id)}

        return router

    async def _find(self, key: ApiKey, word: str) -> Deployed:
        return await self._catalog.deployed(await self._catalog.find(key.team, word))

    async def _show(self, deployed: Deployed) -> JsonObject:
        endpoint = deployed.endpoint
        counts = await self._queue.counts(endpoint.id)
        workers = await self._fleet.workers(endpoint.id, gone=0)
        return (
            _endpoint(deployed)
            | {"jobs": msgspec.to_builtins(counts), "workers": _summary(workers)}
            | {"decision": _decision(await self._fleet.decision(endpoint.id))}
            | {"urls": {"v1": f"{self._base_url}/v1/{endpoint.name}", "v2": f"{self._base_url}/v2/{endpoint.name}"}}
        )

    # ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _worker_routes(self) -> APIRouter:
        router = _router("workers")
        read, manage = self._key(Scope.READ), self._key(Scope.MANAGE)

        @router.get("/workers")
        async def list_workers(gone: Annotated[int, Query(ge=0, le=1000)] = 0, key: ApiKey = read) -> JsonObject:
            """Workers of all endpoints, and of each the last `gone` that went."""
            endpoints = await self._catalog.endpoints(key.team)
            return {"workers": [one for endpoint in endpoints for one in await self._workers(endpoint, gone)]}

        @router.get("/endpoints/{endpoint}/workers")
        async def list_endpoint_workers(
            endpoint: str, gone: Annotated[int, Query(ge=0, le=1000)] = 0, key: ApiKey = read
        ) -> JsonObject:
            """Workers of an endpoint, and the last `gone` that went."""
            return {"workers": await self._workers(await self._catalog.find(key.team, endpoint), gone)}

        @router.get("/workers/{worker}")
        async def show_worker(worker: str, key: ApiKey = read) -> JsonObject:
            """One worker and its story."""
            found = await self._worker(key.team, worker)
            story = [story_line(line) for line in await self._fleet.story(found.id)]
            return await self._show_worker(found) | {"story": story}

        @router.post("/workers/{worker}/stop")
        async def stop_worker(worker: str, body: StopBody | None = None, key: ApiKey = manage) -> JsonObject:
            """Stop a worker: after its jobs, or at once."""
            found = await self._worker(key.team, worker)
            return await self._show_worker(await self._fleet.stop(found, now=body is not None and body.now))

        @router.get("/workers/{worker}/logs", response_class=StreamingResponse)
        async def worker_logs(
            worker: str,
            tail: Annotated[int, Query(ge=0, le=100_000)] = 100,
            follow: bool = False,
            since_ms: Annotated[int, Query(ge=0)] = 0,
            key: ApiKey = read,
        ) -> StreamingResponse:
            """Output of a worker, lines before `since_ms` left out, one JSON object a line: `{"at_ms", "text"}`."""
            found = await self._worker(key.team, worker)
            return _lines(self._fleet.logs(found.id, tail=tail, follow=follow), since_ms)

        return router

    async def _worker(self, team: TeamId, word: str) -> Worker:
        found = await self._fleet.worker(team, WorkerId(word))
        if found is None:
            raise NotFound(
                f"there is no worker '{word[:100]}'", code="worker_not_found", next_step="list them: stoker worker ls"
            )
        return found

    async def _workers(self, endpoint: Endpoint, gone: int) -> list[JsonObject]:
        return [_worker(one, endpoint.name) for one in await self._fleet.workers(endpoint.id, gone=gone)]

    async def _show_worker(self, worker: Worker) -> JsonObject:
        name = await self._catalog.name_of(worker.endpoint)
        held = await self._fleet.held(worker)
        return _worker(held, name)

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _job_routes(self) -> APIRouter:
        router = _router("jobs")
        read = self._key(Scope.READ)

        @router.get("/endpoints/{endpoint}/jobs")
        async def list_jobs(
            endpoint: str,
            state: ShownState | None = None,
            limit: Annotated[int, Query(ge=1, le=1000)] = 50,
            before: Annotated[str | None, Query(max_length=100)] = None,
            key: ApiKey = read,
        ) -> JsonObject:
            """Jobs of an endpoint, newest first; `before` is the last id of the page before."""
            found = await self._catalog.find(key.team, endpoint)
            page = Page(limit=limit, before=before)
            jobs = await self._queue.list(
                key.team, found.id, state=None if state is None else JobState(state), page=page
            )
            return {"jobs": [_job(one, found.name) for one in jobs]}

        @router.get("/jobs/{job}")
        async def show_job(job: str, wait_s: Annotated[float, Query(ge=0, le=60)] = 0, key: ApiKey = read) -> Response:
            """A job with output, reason and story; with `wait_s` as soon as its state or progress changes."""
            result = (
                await self._queue.wait_for_change(key.team, None, JobId(job), wait_s=wait_s)
                if wait_s
                else await self._queue.status(key.team, None, JobId(job))
            )
            return to_response(await self._show_job(result))

        @router.get("/jobs/{job}/why")
        async def why_job(job: str, key: ApiKey = read) -> JsonObject:
            """Why the job is as it is, in one sentence."""
            result = await self._queue.status(key.team, None, JobId(job))
            why = await self._queue.why(result)
            return {"reason": why.reason, "text": why.text, "state": result.job.state.shown}

        @router.get("/jobs/{job}/logs", response_class=StreamingResponse)
        async def job_logs(job: str, key: ApiKey = read) -> StreamingResponse:
            """What the job's workers printed about it, one JSON object a line: `{"at_ms", "text", "worker"}`."""
            result = await self._queue.status(key.team, None, JobId(job))
            return _job_lines(self._fleet.job_logs(result.job, await self._queue.story(result.job.id)))

        return router

    def _job_changes(self) -> APIRouter:
        router = _router("jobs")
        run = self._key(Scope.RUN)

        @router.post("/jobs/{job}/cancel")
        async def cancel_job(job: str, key: ApiKey = run) -> Response:
            """Cancel a job. One that is over is shown as it is."""
            await self._queue.cancel(key.team, None, JobId(job))
            return to_response(await self._show_job(await self._queue.status(key.team, None, JobId(job))))

        @router.post("/jobs/{job}/retry")
        async def retry_job(job: str, key: ApiKey = run) -> Response:
            """Run a failed or timed-out job again."""
            await self._queue.retry(key.team, None, JobId(job))
            return to_response(await self._show_job(await self._queue.status(key.team, None, JobId(job))))

        router.add_api_route(
            "/endpoints/{endpoint}/jobs",
            RawEndpoint(self._submit),
            methods=["POST"],
            summary="Submit a job",
            response_model=None,
            route_class_override=RawRoute,
            openapi_extra={
                "parameters": [{"name": "endpoint", "in": "path", "required": True, "schema": {"type": "string"}}],
                "requestBody": {"required": True, "content": {"application/json": {"schema": RUN_SCHEMA}}},
            },
        )
        return router

    async def _submit(self, call: Call) -> Answer:
        """Submit a job: the body is that of `/v2/{endpoint}/run`, the answer is the job in full."""
        endpoint = await endpoint_of(self._catalog, call, Scope.RUN)
        wish = await read_submission(call, self._uploads, limit=self._input_bytes_max, sync=False)
        job = await self._queue.submit(endpoint, wish)
        return await self._show_job(await self._queue.status(endpoint.team, endpoint.id, job.id))

    async def _show_job(self, result: Result) -> Answer:
        """A job in full. The output is spliced in as it is stored."""
        shown: JsonObject = _job(result.job, await self._catalog.name_of(result.job.endpoint))
        if result.output is not None:
            shown["output"] = msgspec.Raw(result.output)
        if result.error is not None:
            shown["error"] = result.error
        why = await self._queue.why(result)
        shown["position"] = await self._queue.position(result.job)
        shown["why"] = {"reason": why.reason, "text": why.text}
        shown["story"] = [story_line(line) for line in await self._queue.story(result.job.id)]
        return answer(shown)

    # ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _key_routes(self) -> APIRouter:
        router = _router("keys")
        read, admin = self._key(Scope.READ), self._key(Scope.ADMIN)

        @router.get("/me")
        async def me(key: ApiKey = read) -> JsonObject:
            """Whose key this is and what it may do."""
            team = await self._catalog.team(key.team)
            return {"team": {"id": team.id, "name": team.name}, "key": _key(key)}

        @router.get("/keys")
        async def list_keys(key: ApiKey = admin) -> JsonObject:
            """The team's keys, without their secrets."""
            return {"keys": [_key(one) for one in await self._catalog.keys(key.team)]}

        @router.post("/keys", status_code=201)
        async def create_key(body: KeyBody, key: ApiKey = admin) -> JsonObject:
            """Make a key. The answer is the only place where its secret is shown."""
            made, secret = await self._catalog.create_key(key.team, body.name, parse_scopes(body.scopes))
            return _key(made) | {"secret": secret}

        @router.delete("/keys/{key_id}")
        async def revoke_key(key_id: str, key: ApiKey = admin) -> JsonObject:
            """Revoke a key."""
            return _key(await self._catalog.revoke_key(key.team, KeyId(key_id)))

        return router


def _router(tag: str) -> APIRouter:
    """Flat, not nested: raw routes are looked up in the router itself."""
    return APIRouter(prefix="/api", tags=[tag], route_class=JsonRoute)


# ── how things are shown ──────────────────────────────────────────────────────────────────────────────────────────────


def _endpoint(deployed: Deployed) -> JsonObject:
    endpoint, release = deployed.endpoint, deployed.release
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "app_name": endpoint.app_name,
        "version": endpoint.version,
        "release": {"id": release.id, "number": release.number, "created_ms": release.created_ms},
        "image": release.image,
        "command": release.command,
        "env": dict(release.env),
        "gpus_per_worker": release.gpus_per_worker,
        "entrypoint": release.entrypoint,
        "volumes": list(release.volumes),
        "http_port": release.http_port,
        "disk_gb": release.disk_gb,
        "digest": release.digest,
        "min_workers": endpoint.min_workers,
        "max_workers": endpoint.max_workers,
        "idle_timeout_s": endpoint.idle_timeout_s,
        "slots": endpoint.slots,
        "policy": {"type": endpoint.policy.type, "value": endpoint.policy.value},
        "execution_timeout_ms": endpoint.execution_timeout_ms,
        "ttl_ms": endpoint.ttl_ms,
        "retries": endpoint.retries,
        "retention_s": endpoint.retention_s,
        "deliver_ahead": _AHEAD_WORDS.get(endpoint.deliver_ahead, endpoint.deliver_ahead),
        "created_ms": endpoint.created_ms,
    }


def _release(release: Release) -> JsonObject:
    return {
        "id": release.id,
        "number": release.number,
        "image": release.image,
        "command": release.command,
        "env": dict(release.env),
        "gpus_per_worker": release.gpus_per_worker,
        "created_ms": release.created_ms,
    }


def _summary(workers: Sequence[Held]) -> dict[str, int]:
    states = [(one.worker.state, one.held) for one in workers]
    return {
        "starting": sum(state in (WorkerState.DECIDED, WorkerState.STARTING) for state, _ in states),
        "idle": sum(state is WorkerState.READY and held == 0 for state, held in states),
        "busy": sum(state is WorkerState.READY and held > 0 for state, held in states),
        "draining": sum(state in (WorkerState.DRAINING, WorkerState.STOPPING) for state, _ in states),
        "total": len(states),
    }


def _decision(decision: Decision | None) -> JsonObject | None:
    if decision is None:
        return None
    return {
        "at_ms": decision.at_ms,
        "reason": decision.reason,
        "text": decision.text,
        "wanted": decision.wanted,
    }


def _worker(held: Held, endpoint_name: str) -> JsonObject:
    worker = held.worker
    return {
        "id": worker.id,
        "endpoint": {"id": worker.endpoint, "name": endpoint_name},
        "release": worker.release,
        "state": worker.state,
        "reason": worker.reason,
        "detail": worker.detail,
        "held": held.held,
        "gpus": list(worker.gpus),
        "sdk": worker.sdk,
        "decided_ms": worker.decided_ms,
        "launched_ms": worker.launched_ms,
        "ready_ms": worker.ready_ms,
        "idle_ms": worker.idle_ms,
        "gone_ms": worker.gone_ms,
        "seen_ms": worker.seen_ms,
        "exit": None if worker.exit is None else {"code": worker.exit.code, "text": worker.exit.text},
    }


def _job(job: Job, endpoint_name: str) -> JsonObject:
    return {
        "id": job.id,
        "endpoint": {"id": job.endpoint, "name": endpoint_name},
        "state": job.state.shown,
        "reason": job.reason,
        "low_priority": job.low_priority,
        "attempt": job.attempt,
        "losses": job.losses,
        "worker": job.worker,
        "created_ms": job.created_ms,
        "queued_ms": job.queued_ms,
        "claimed_ms": job.claimed_ms,
        "finished_ms": job.finished_ms,
        "expires_ms": job.expires_ms,
        "delay_ms": job.delay_ms,
        "execution_ms": job.execution_ms,
    }


def _key(key: ApiKey) -> JsonObject:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created_ms": key.created_ms,
        "revoked_ms": key.revoked_ms,
    }


def _lines(lines: AsyncIterator[LogLine], since_ms: int) -> StreamingResponse:
    return _ndjson({"at_ms": line.at_ms, "text": line.text} async for line in lines if line.at_ms >= since_ms)


def _job_lines(lines: AsyncIterator[tuple[WorkerId, LogLine]]) -> StreamingResponse:
    return _ndjson({"at_ms": line.at_ms, "text": line.text, "worker": worker} async for worker, line in lines)


def _ndjson(lines: AsyncIterator[JsonObject]) -> StreamingResponse:
    encoded = (msgspec.json.encode(line) + b"\n" async for line in lines)
    return StreamingResponse(encoded, media_type="application/x-ndjson")
