"""The worker protocol: what unmodified Runpod and Novita SDKs say, and what they need to hear.

Facts: protocol, worker protocol. The rules that shape this file:

- An empty take or stop poll is held, then answered 204. A quick 204, 4xx or 5xx makes workers ask again at once, hundreds of
  times a second; only 429 slows them down, so that is what a worker with a bad token gets on its polls.
- Result bodies are JSON under a form content type: the raw bytes are read, never parsed as a form.
- Every report that can be read is answered 200, late and unknown ones too: a 4xx loses a result for good.
- A worker is known by its id in the path and the token in the query; a foreign Authorization header is tolerated.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec
from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from stoker.errors import InvalidInput, NotFound, TooLarge, Unauthenticated
from stoker.ids import JobId, WorkerId
from stoker.leases import Caller, Leases, Report
from stoker.store import Claim
from stoker.web.auth import credential
from stoker.web.jobs import add_route
from stoker.web.wire import RawRoute, answer, decode, query_int, read_body, strict_json, too_large

ENVELOPE_BYTES: Final = 256 * 1024
"""Room around an output for the error text and the names of the fields."""
BATCH_MOST: Final = 1_000
IDS_MOST: Final = 2_000
_SDK_VERSION = re.compile(r"RunPod-Python-SDK/([0-9A-Za-z.]{1,30})")


class _Done(msgspec.Struct):
    """What a worker posts. An absent body is empty: `null` is an output like any other."""

    output: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    status: Any = None
    stopPod: Any = None


class _Part(msgspec.Struct):
    output: msgspec.Raw


class _Job(msgspec.Struct, omit_defaults=True):
    id: str
    input: msgspec.Raw
    s3Config: msgspec.Raw | None = None


Posted = TypeVar("Posted")

_DONE_DECODER = msgspec.json.Decoder(_Done)
_PART_DECODER = msgspec.json.Decoder(_Part)


class WorkerRoutes:
    """The calls of workers."""

    def __init__(self, leases: Leases, *, output_bytes_max: int, part_bytes_max: int) -> None:
        self._leases = leases
        self._output_bytes_max = output_bytes_max
        self._part_bytes_max = part_bytes_max

    def router(self) -> APIRouter:
        """The protocol's routes."""
        router = APIRouter(prefix="/worker", route_class=RawRoute, tags=["worker protocol"])
        for path, methods, handler, summary in (
            ("/job-take/{worker}", ["GET"], self.take, "Take one job"),
            ("/job-take-batch/{worker}", ["GET"], self.take_batch, "Take several jobs"),
            ("/job-stop/{worker}", ["GET"], self.stop, "Jobs to be stopped"),
            ("/ping/{worker}", ["GET"], self.ping, "Sign of life"),
            ("/job-done/{worker}/{job}", ["POST"], self.done, "Result or progress of a job"),
            ("/job-stream/{worker}/{job}", ["POST"], self.part, "One part of a job's stream"),
        ):
            add_route(router, path, methods, handler, summary, needs_body=False)
        return router

    async def take(self, request: Request) -> Response:
        """GET /job-take/{worker}."""
        claims = await self._take(request, 1)
        if isinstance(claims, Response):
            return claims
        return answer(_render(claims[0])) if claims else Response(status_code=204)

    async def take_batch(self, request: Request) -> Response:
        """GET /job-take-batch/{worker}?batch_size=n."""
        limit = query_int(request, "batch_size", default=1, least=1, most=BATCH_MOST)
        claims = await self._take(request, limit)
        if isinstance(claims, Response):
            return claims
        return answer([_render(claim) for claim in claims]) if claims else Response(status_code=204)

    async def _take(self, request: Request, limit: int) -> Sequence[Claim] | Response:
        try:
            caller = await self._caller(request)
        except (Unauthenticated, NotFound) as error:
            return _go_away(error)
        holds_none = request.query_params.get("job_in_progress") == "0"
        hung_up = asyncio.Event()
        watch = asyncio.create_task(self._watch(request, caller, hung_up))
        try:
            claims = await self._leases.take(
                caller, limit=limit, holds_none=holds_none, sdk=_sdk(request), hung_up=hung_up
            )
        finally:
            watch.cancel()
        if claims and hung_up.is_set():
            await self._leases.give_back(caller, claims)
            return ()
        return claims

    async def _watch(self, request: Request, caller: Caller, hung_up: asyncio.Event) -> None:
        """Notice that the worker closed the connection of a held take."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        hung_up.set()
        self._leases.hang_up(caller)

    async def stop(self, request: Request) -> Response:
        """GET /job-stop/{worker}."""
        try:
            caller = await self._caller(request)
        except (Unauthenticated, NotFound) as error:
            return _go_away(error)
        jobs = await self._leases.stops(caller)
        return answer({"jobsToStop": jobs}) if jobs else Response(status_code=204)

    async def ping(self, request: Request) -> Response:
        """GET /ping/{worker}?job_id=a,b&runpod_version=…"""
        caller = await self._caller(request)
        query = request.query_params
        if query.get("status") == "unhealthy":
            reason = query.get("reason", "no reason given")[:300]
            await self._leases.unhealthy(caller, f"its fitness check {query.get('check', '')[:100]} failed: {reason}")
        else:
            jobs = [JobId(job) for job in query.get("job_id", "").split(",")[:IDS_MOST] if job]
            await self._leases.ping(caller, jobs, sdk=query.get("runpod_version", "")[:30])
        return Response(status_code=200)

    async def done(self, request: Request) -> Response:
        """POST /job-done/{worker}/{job}: progress, or the final result."""
        caller = await self._caller(request)
        job = JobId(request.path_params["job"])
        try:
            body = await read_body(request, limit=self._output_bytes_max + ENVELOPE_BYTES, what="the result")
        except TooLarge:
            with suppress(NotFound):
                await self._leases.refuse_output(caller, job, None)
            raise
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            posted = read_done(body)
        except InvalidInput as error:
            await self._finish(
                caller, job, Report(error=f"the worker posted a result that cannot be read: {error.message}")
            )
            return Response(status_code=200)
        if posted.status == "IN_PROGRESS":
            await self._leases.progress(caller, job, bytes(posted.output or b"null"))
        else:
            await self._finish(caller, job, _report(posted))
        return Response(status_code=200)

    async def _finish(self, caller: Caller, job: JobId, report: Report) -> None:
        """An unknown job is acknowledged: its worker is done with it either way."""
        with suppress(NotFound):
            await self._leases.finish(caller, job, report)

    async def part(self, request: Request) -> Response:
        """POST /job-stream/{worker}/{job}."""
        caller = await self._caller(request)
        what = "the part of the stream"
        body = await read_body(request, limit=self._part_bytes_max + ENVELOPE_BYTES, what=what)
        try:
            part = bytes(_decode_leniently(body, _PART_DECODER).output)
            if len(part) > self._part_bytes_max:
                raise too_large(what, len(part), self._part_bytes_max)
            await self._leases.part(caller, JobId(request.path_params["job"]), part)
        except (InvalidInput, NotFound):
            pass
        return Response(status_code=200)

    async def _caller(self, request: Request) -> Caller:
        worker = WorkerId(request.path_params["worker"])
        return await self._leases.caller(worker, request.query_params.get("t") or credential(request))


def read_done(body: bytes) -> _Done:
    """The posted result. Raises `InvalidInput` when it is no JSON object."""
    return _decode_leniently(body, _DONE_DECODER)


def _decode_leniently(body: bytes, decoder: msgspec.json.Decoder[Posted]) -> Posted:
    """As JSON; if it is none, as the JSON that Python writes, with NaN and Infinity."""
    try:
        return decode(body, decoder)
    except InvalidInput:
        try:
            return decode(strict_json(body), decoder)
        except ValueError as error:
            raise InvalidInput(f"not JSON: {error}", code="invalid_json") from None


def _report(posted: _Done) -> Report:
    return Report(
        output=bytes(posted.output) or None,
        error=_text(bytes(posted.error)) if posted.error else None,
        refresh=posted.stopPod is True,
    )


def _text(error: bytes) -> str | None:
    """The error as a string: an object becomes its JSON text, because one client's field is a string; null is none."""
    value = msgspec.json.decode(error)
    if value is None or isinstance(value, str):
        return value
    return error.decode("utf-8")


def _render(claim: Claim) -> _Job:
    """A job as workers expect it: `id` and `input` always, even when the input is null or empty (protocol §5.3)."""
    s3_config = None if claim.s3_config is None else msgspec.Raw(claim.s3_config)
    return _Job(id=claim.job.id, input=msgspec.Raw(claim.input), s3Config=s3_config)


def _sdk(request: Request) -> str:
    found = _SDK_VERSION.search(request.headers.get("user-agent", ""))
    return found[1] if found else ""


def _go_away(error: Unauthenticated | NotFound) -> Response:
    """429 is the only answer that makes a worker pause (5 s) before it asks again."""
    return answer({"error": error.message, "code": error.code}, status=429, headers={"Retry-After": "5"})
