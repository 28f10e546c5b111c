"""The management API, `/api`: endpoints, workers, jobs, keys. The CLI and everything else that manages are its clients (D13).

Described by OpenAPI at `/api/openapi.json`, with a page to try it at `/api/docs`. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from stoker.capsules import Capsules
from stoker.catalog import Catalog, Entrance
from stoker.endpoint import Endpoint
from stoker.errors import NotFound
from stoker.explanations import Explanations
from stoker.fleet import Fleet
from stoker.ids import JobId, WorkerId
from stoker.queue import Queue, no_such_job
from stoker.rate import Asked
from stoker.runtimes import LogLine
from stoker.specification import per_hour
from stoker.store import Held, Result
from stoker.team import ApiKey, Scope
from stoker.web.asgi import JsonRoute, RawEndpoint, RawRoute, to_response
from stoker.web.auth import Asks, endpoint_for
from stoker.web.call import JSON, Answer, Call, answer
from stoker.web.credentials import CredentialRoutes
from stoker.web.endpoints import EndpointRoutes
from stoker.web.jobs import RUN_SCHEMA, Gate
from stoker.web.jobs_v2 import RUNPOD
from stoker.web.sessions import SessionRoutes
from stoker.web.shown import capsule_json, job_json, story_line, why_json
from stoker.web.teams import TeamRoutes
from stoker.worker import Worker

JsonObject = dict[str, Any]


class StopBody(BaseModel):
    """How to stop a worker."""

    model_config = ConfigDict(extra="forbid")

    now: bool = Field(False, description="Do not wait for its jobs: they go back to the queue.")


class ManageRoutes:
    """The routes, over the operations they call."""

    def __init__(
        self,
        queue: Queue,
        fleet: Fleet,
        catalog: Catalog,
        explanations: Explanations,
        capsules: Capsules,
        gate: Gate,
        *,
        base_url: str,
    ) -> None:
        self._queue = queue
        self._fleet = fleet
        self._catalog = catalog
        self._explanations = explanations
        self._capsules = capsules
        self._endpoints = EndpointRoutes(queue, fleet, catalog, base_url=base_url)
        self._sessions = SessionRoutes(catalog, secure=base_url.startswith("https://"))
        self._gate = gate

    def routers(self) -> Sequence[APIRouter]:
        """All routes under `/api`."""
        return (
            *self._endpoints.routers(),
            self._worker_routes(),
            self._job_routes(),
            self._job_changes(),
            *TeamRoutes(self._catalog).routers(),
            *CredentialRoutes(self._catalog).routers(),
            self._sessions.router(),
        )

    def _key(self, scope: Scope) -> Any:
        """The dependency that answers with the caller's key, or refuses."""
        return Depends(Asks(self._catalog, scope))

    # ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _worker_routes(self) -> APIRouter:
        router = _router("workers")
        read, manage = self._key(Scope.READ), self._key(Scope.MANAGE)

        @router.get("/workers")
        async def list_workers(gone: Annotated[int, Query(ge=0, le=1000)] = 0, key: ApiKey = read) -> JsonObject:
            """Workers of all endpoints, and of each the last `gone` that went."""
            endpoints = [one for one in await self._catalog.endpoints(key.team) if key.reaches(one.id)]
            return {"workers": [one for endpoint in endpoints for one in await self._workers(endpoint, gone)]}

        @router.get("/endpoints/{endpoint}/workers")
        async def list_endpoint_workers(
            endpoint: str, gone: Annotated[int, Query(ge=0, le=1000)] = 0, key: ApiKey = read
        ) -> JsonObject:
            """Workers of an endpoint, and the last `gone` that went."""
            return {"workers": await self._workers(await endpoint_for(self._catalog, key, endpoint), gone)}

        @router.get("/workers/{worker}")
        async def show_worker(worker: str, key: ApiKey = read) -> JsonObject:
            """One worker and its story."""
            found = await self._worker(key, worker)
            story = [story_line(line) for line in await self._fleet.roster.story(found.id)]
            return await self._show_worker(found) | {"story": story}

        @router.get("/workers/{worker}/why")
        async def why_worker(worker: str, key: ApiKey = read) -> JsonObject:
            """Why the worker is as it is, in one sentence, with what to do about it."""
            held = await self._fleet.roster.held(await self._worker(key, worker))
            return why_json(await self._explanations.worker(held)) | {"state": held.worker.state}

        @router.get("/endpoints/{endpoint}/why")
        async def why_endpoint(endpoint: str, key: ApiKey = read) -> JsonObject:
            """Why the endpoint has the workers that it has, and why its jobs wait."""
            found = await endpoint_for(self._catalog, key, endpoint)
            return why_json(await self._explanations.endpoint(found))

        @router.post("/workers/{worker}/stop")
        async def stop_worker(worker: str, body: StopBody | None = None, key: ApiKey = manage) -> JsonObject:
            """Stop a worker: after its jobs, or at once."""
            found = await self._worker(key, worker)
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
            found = await self._worker(key, worker)
            return _lines(self._fleet.roster.logs(found.id, tail=tail, follow=follow), since_ms)

        return router

    async def _worker(self, key: ApiKey, word: str) -> Worker:
        found = await self._fleet.roster.worker(key.team, WorkerId(word))
        if found is None or not key.reaches(found.endpoint):
            raise NotFound(
                f"there is no worker '{word[:100]}'", code="worker_not_found", next_step="list them: stoker worker ls"
            )
        return found

    async def _workers(self, endpoint: Endpoint, gone: int) -> list[JsonObject]:
        return [_worker(one, endpoint.name) for one in await self._fleet.roster.workers(endpoint.id, gone=gone)]

    async def _show_worker(self, worker: Worker) -> JsonObject:
        name = await self._catalog.name_of(worker.endpoint)
        held = await self._fleet.roster.held(worker)
        return _worker(held, name)

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _job_routes(self) -> APIRouter:
        router = _router("jobs")
        read = self._key(Scope.READ)

        @router.get("/jobs/{job}")
        async def show_job(job: str, wait_s: Annotated[float, Query(ge=0, le=60)] = 0, key: ApiKey = read) -> Response:
            """A job with output, reason and story; with `wait_s` as soon as its state or progress changes."""
            result = await self._job(key, job)
            if wait_s:
                result = await self._queue.wait_for_change(key.team, None, result.job.id, wait_s=wait_s)
            return to_response(await self._show_job(result))

        @router.get("/jobs/{job}/why")
        async def why_job(job: str, key: ApiKey = read) -> JsonObject:
            """Why the job is as it is, in one sentence."""
            result = await self._job(key, job)
            why = await self._explanations.job(result)
            return why_json(why) | {"state": result.job.state.shown}

        @router.get("/jobs/{job}/capsule")
        async def job_capsule(job: str, key: ApiKey = read) -> Response:
            """The job in one file: input, end, release without values of variables, timeline, log. `stoker job replay` runs it again."""
            result = await self._job(key, job)
            name = await self._catalog.name_of(result.job.endpoint)
            return to_response(answer(capsule_json(await self._capsules.of(key.team, result), name)))

        @router.get("/jobs/{job}/input", response_model=None)
        async def job_input(job: str, key: ApiKey = read) -> Response:
            """What was submitted as `input`, as it came."""
            result = await self._job(key, job)
            return to_response(Answer(200, await self._queue.input(result.job), JSON))

        @router.get("/jobs/{job}/logs", response_class=StreamingResponse)
        async def job_logs(
            job: str, follow: bool = False, since_ms: Annotated[int, Query(ge=0)] = 0, key: ApiKey = read
        ) -> StreamingResponse:
            """What the job's workers printed about it, lines before `since_ms` left out, one JSON object a line:
            `{"at_ms", "text", "worker"}`; with `follow` until the job has ended. Of workers with one slot everything from the begin of
            its turn to its end, else the lines that bear its id."""
            result = await self._job(key, job)
            return _job_lines(self._fleet.job_logs.of(result.job, since_ms=since_ms, follow=follow))

        return router

    def _job_changes(self) -> APIRouter:
        router = _router("jobs")
        run = self._key(Scope.RUN)

        @router.post("/jobs/{job}/cancel")
        async def cancel_job(job: str, key: ApiKey = run) -> Response:
            """Cancel a job. One that is over is shown as it is."""
            found = await self._job(key, job)
            await self._queue.cancel(key.team, None, found.job.id)
            return to_response(await self._show_job(await self._job(key, job)))

        @router.post("/jobs/{job}/retry")
        async def retry_job(job: str, key: ApiKey = run) -> Response:
            """Run a failed or timed-out job again."""
            found = await self._job(key, job)
            await self._queue.retry(key.team, None, found.job.id)
            return to_response(await self._show_job(await self._job(key, job)))

        router.add_api_route(
            "/endpoints/{endpoint}/jobs",
            RawEndpoint(self._gate.before(self._submit, Scope.RUN, Asked.RUN)),
            methods=["POST"],
            summary="Submit a job",
            response_model=None,
            route_class_override=RawRoute,
            openapi_extra={
                "x-scope": Scope.RUN.value,
                "parameters": [{"name": "endpoint", "in": "path", "required": True, "schema": {"type": "string"}}],
                "requestBody": {"required": True, "content": {"application/json": {"schema": RUN_SCHEMA}}},
            },
        )
        return router

    async def _submit(self, call: Call, entrance: Entrance) -> Answer:
        """Submit a job: the body is that of `/v2/{endpoint}/run`, the answer is the job in full."""
        endpoint = entrance.endpoint
        wish = await self._gate.submission(call, entrance, sync=False, dialect=RUNPOD.name)
        job = call.about = await self._queue.submit(endpoint, wish)
        return await self._show_job(await self._queue.status(endpoint.team, endpoint.id, job.id))

    async def _job(self, key: ApiKey, word: str) -> Result:
        """The job as it stands. What the key does not reach does not exist. Raises `NotFound`."""
        result = await self._queue.status(key.team, None, JobId(word))
        if not key.reaches(result.job.endpoint):
            raise no_such_job(JobId(word))
        return result

    async def _show_job(self, result: Result) -> Answer:
        """A job in full. The output is spliced in as it is stored."""
        shown: JsonObject = job_json(result.job, await self._catalog.name_of(result.job.endpoint))
        if result.output is not None:
            shown["output"] = msgspec.Raw(result.output)
        if result.error is not None:
            shown["error"] = result.error
        shown["position"] = await self._queue.position(result.job)
        shown["why"] = why_json(await self._explanations.job(result))
        story = await self._queue.story(result.job.id)
        shown["cost"] = await self._fleet.costs.of(result.job, story)
        shown["story"] = [story_line(line) for line in story]
        return answer(shown)


def _router(tag: str) -> APIRouter:
    """Flat, not nested: raw routes are looked up in the router itself."""
    return APIRouter(prefix="/api", tags=[tag], route_class=JsonRoute)


# ── how things are shown ──────────────────────────────────────────────────────────────────────────────────────────────


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
        "specification": worker.specification,
        "price_per_hour": per_hour(worker.price_per_hour_micros),
        "sdk": worker.sdk,
        "decided_ms": worker.decided_ms,
        "launched_ms": worker.launched_ms,
        "ready_ms": worker.ready_ms,
        "idle_ms": worker.idle_ms,
        "gone_ms": worker.gone_ms,
        "seen_ms": worker.seen_ms,
        "unhealthy_ms": worker.unhealthy_ms,
        "exit": None if worker.exit is None else {"code": worker.exit.code, "text": worker.exit.text},
    }


def _lines(lines: AsyncIterator[LogLine], since_ms: int) -> StreamingResponse:
    return _ndjson({"at_ms": line.at_ms, "text": line.text} async for line in lines if line.at_ms >= since_ms)


def _job_lines(lines: AsyncIterator[tuple[WorkerId, LogLine]]) -> StreamingResponse:
    return _ndjson({"at_ms": line.at_ms, "text": line.text, "worker": worker} async for worker, line in lines)


def _ndjson(lines: AsyncIterator[JsonObject]) -> StreamingResponse:
    encoded = (msgspec.json.encode(line) + b"\n" async for line in lines)
    return StreamingResponse(encoded, media_type="application/x-ndjson")
