"""The worker protocol: what unmodified Runpod and Novita SDKs say, and what they need to hear.

Facts: protocol, worker protocol. The rules that shape this file:

- An empty take or stop poll is held, then answered 204. A quick 204, 4xx or 5xx makes workers ask again at once, hundreds of
  times a second; only 429 slows them down, so that is what a worker with a bad token gets on its polls.
- Result bodies are JSON under a form content type: the raw bytes are read, never parsed as a form.
- Every report that can be read is answered 200, late and unknown ones too: a 4xx loses a result for good.
- A worker is known by its id in the path and the token in the query; a foreign Authorization header is tolerated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

import msgspec
from fastapi import APIRouter
from starlette.requests import ClientDisconnect

from stoker.errors import InvalidInput, NotFound, TooLarge, Unauthenticated
from stoker.ids import JobId, WorkerId
from stoker.leases import Asker, Caller, Leases, Report
from stoker.store import Claim
from stoker.web.asgi import RawRoute
from stoker.web.auth import credential
from stoker.web.call import Answer, Call, Reply, answer
from stoker.web.jobs import add_route
from stoker.web.uploads import Body, Uploads, check_size
from stoker.web.wire import decode, query_int, strict_json

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

    def __init__(self, leases: Leases, *, output_bytes_max: int, part_bytes_max: int, uploads: Uploads) -> None:
        self._leases = leases
        self._uploads = uploads
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

    def take(self, call: Call) -> Reply:
        """GET /job-take/{worker}."""
        return self._take(call, limit=1)

    def take_batch(self, call: Call) -> Reply:
        """GET /job-take-batch/{worker}?batch_size=n."""
        limit = query_int(call, "batch_size", default=1, least=1, most=BATCH_MOST)
        return self._take(call, limit=limit, batch=True)

    async def _take(self, call: Call, *, limit: int, batch: bool = False) -> Answer:
        try:
            caller = self._known(call) or await self._caller(call)
        except (Unauthenticated, NotFound) as error:
            return _go_away(error)
        asker = Asker()
        call.on_hang_up(partial(self._leases.hang_up, caller, asker))
        holds_none = call.query.get("job_in_progress") == "0"
        sdk = _sdk(call.headers.get("user-agent") or "")
        claims = await self._leases.take(caller, asker, limit=limit, holds_none=holds_none, sdk=sdk)
        if claims and asker.hung_up:
            await self._leases.give_back(caller, claims)
            return Answer(204)
        call.about = claims
        return _hand_out(claims, batch=batch)

    async def stop(self, call: Call) -> Answer:
        """GET /job-stop/{worker}."""
        try:
            caller = await self._caller(call)
        except (Unauthenticated, NotFound) as error:
            return _go_away(error)
        jobs = await self._leases.stops(caller)
        return answer({"jobsToStop": jobs}) if jobs else Answer(204)

    async def ping(self, call: Call) -> Answer:
        """GET /ping/{worker}?job_id=a,b&runpod_version=…"""
        caller = await self._caller(call)
        query = call.query
        if query.get("status") == "unhealthy":
            reason = query.get("reason", "no reason given")[:300]
            await self._leases.unhealthy(caller, f"its fitness check {query.get('check', '')[:100]} failed: {reason}")
        else:
            jobs = [JobId(job) for job in query.get("job_id", "").split(",")[:IDS_MOST] if job]
            await self._leases.ping(caller, jobs, sdk=query.get("runpod_version", "")[:30])
        return Answer(200)

    async def done(self, call: Call) -> Answer:
        """POST /job-done/{worker}/{job}: progress, or the final result."""
        caller = self._known(call) or await self._caller(call)
        job = JobId(call.parameters["job"])
        try:
            limit = self._output_bytes_max + ENVELOPE_BYTES
            body = await call.body(self._uploads, limit=limit, what="the result")
        except TooLarge:
            with suppress(NotFound):
                await self._leases.refuse_output(caller, job, None)
            raise
        except ClientDisconnect:
            return Answer(400)
        try:
            posted = read_done(body)
        except InvalidInput as error:
            report = Report(error=f"the worker posted a result that cannot be read: {error.message}")
        else:
            if posted.status == "IN_PROGRESS":
                await self._leases.progress(caller, job, bytes(posted.output or b"null"))
                return Answer(200)
            report = _report(posted)
        with suppress(NotFound):  # an unknown job is acknowledged: its worker is done with it either way
            await self._leases.finish(caller, job, report)
        return Answer(200)

    async def part(self, call: Call) -> Answer:
        """POST /job-stream/{worker}/{job}."""
        caller = await self._caller(call)
        what = "the part of the stream"
        body = await call.body(self._uploads, limit=self._part_bytes_max + ENVELOPE_BYTES, what=what)
        try:
            part = bytes(_decode_leniently(body, _PART_DECODER).output)
            check_size(what, len(part), self._part_bytes_max)
            await self._leases.part(caller, JobId(call.parameters["job"]), part)
        except (InvalidInput, NotFound):
            pass
        return Answer(200)

    def _known(self, call: Call) -> Caller | None:
        """Who calls, if it called before by the same address."""
        return self._leases.known(WorkerId(call.parameters["worker"]), call.query.get("t", ""))

    async def _caller(self, call: Call) -> Caller:
        worker, token = WorkerId(call.parameters["worker"]), call.query.get("t")
        return await self._leases.caller(worker, token or credential(call.headers.get("authorization")))


def read_done(body: Body) -> _Done:
    """The posted result. Raises `InvalidInput` when it is no JSON object."""
    return _decode_leniently(body, _DONE_DECODER)


def _decode_leniently(body: Body, decoder: msgspec.json.Decoder[Posted]) -> Posted:
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


def _hand_out(claims: Sequence[Claim], *, batch: bool) -> Answer:
    """One job is an object unless a batch was asked for. Jobs delivered ahead make a list on either URL (protocol §5.1)."""
    if not claims:
        return Answer(204)
    jobs = [_render(claim) for claim in claims]
    return answer(jobs if batch or len(jobs) > 1 else jobs[0])


def _render(claim: Claim) -> _Job:
    """A job as workers expect it: `id` and `input` always, even when the input is null or empty (protocol §5.3)."""
    s3_config = None if claim.s3_config is None else msgspec.Raw(claim.s3_config)
    return _Job(id=claim.job.id, input=msgspec.Raw(claim.input), s3Config=s3_config)


@lru_cache(maxsize=64)
def _sdk(user_agent: str) -> str:
    found = _SDK_VERSION.search(user_agent)
    return found[1] if found else ""


def _go_away(error: Unauthenticated | NotFound) -> Answer:
    """429 is the only answer that makes a worker pause (5 s) before it asks again."""
    return answer({"error": error.message, "code": error.code}, status=429, headers=(("retry-after", "5"),))
