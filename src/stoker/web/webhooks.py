"""The part of the management API about webhooks: what receivers were told, telling it again, and the secret that signs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from stoker.audit import Actor
from stoker.catalog import Catalog
from stoker.errors import InvalidInput
from stoker.ids import EndpointId, JobId
from stoker.job import Job
from stoker.notices import Notices
from stoker.queue import Queue, no_such_job
from stoker.team import ApiKey, Scope
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks, endpoint_for
from stoker.webhook import Notice, NoticeState, SigningSecret, Try, parse

JsonObject = dict[str, Any]


class NoticeQuery(BaseModel):
    """Which notices to list; what is left out does not choose."""

    model_config = ConfigDict(extra="forbid")

    endpoint: str | None = Field(None, max_length=100, description="Of one endpoint, by name or id.")
    state: NoticeState | None = None
    before: int | None = Field(None, ge=0, le=2**53, description="The `next` of the page before.")
    limit: int = Field(50, ge=1, le=1000)


class RedeliverBody(BaseModel):
    """What to deliver once more."""

    model_config = ConfigDict(extra="forbid")

    notice: str | None = Field(None, description="Id of a notice of the job; left out: the last one.")


class RotateSecretBody(BaseModel):
    """How to change over to a new secret."""

    model_config = ConfigDict(extra="forbid")

    overlap_s: StrictInt = Field(86_400, description="How long notices are signed with the old secret too.")


class WebhookRoutes:
    """Routes about webhooks."""

    def __init__(self, notices: Notices, queue: Queue, catalog: Catalog) -> None:
        self._notices = notices
        self._queue = queue
        self._catalog = catalog

    def routers(self) -> tuple[APIRouter, ...]:
        """All of them."""
        return self._of_team(), self._of_jobs(), self._of_secret()

    def _of_team(self) -> APIRouter:
        router = APIRouter(prefix="/api", tags=["webhooks"], route_class=JsonRoute)
        read = Depends(Asks(self._catalog, Scope.READ))

        @router.get("/notices")
        async def list_all_notices(query: Annotated[NoticeQuery, Query()], key: ApiKey = read) -> JsonObject:
            """What the team's receivers were told, or will be, newest first, each with its last try. As long as there is a `next`, there
            may be more, though the page be empty."""
            of = None if query.endpoint is None else (await endpoint_for(self._catalog, key, query.endpoint)).id
            page = await self._notices.page(key.team, of, query.state, before=query.before, limit=query.limit)
            reached = [(notice, last) for notice, last in page.notices if key.reaches(notice.endpoint)]
            names = {one: await self._catalog.name_of(one) for one in {notice.endpoint for notice, _ in reached}}
            return {"notices": [_listed(*one, names) for one in reached], "next": page.next}

        return router

    def _of_jobs(self) -> APIRouter:
        router = APIRouter(prefix="/api", tags=["jobs"], route_class=JsonRoute)
        read = Depends(Asks(self._catalog, Scope.READ))
        run = Depends(Asks(self._catalog, Scope.RUN))

        @router.get("/jobs/{job}/notices")
        async def list_notices(job: str, key: ApiKey = read) -> JsonObject:
            """What the job's webhook was told, or will be, oldest first, with every try."""
            found = await self._job(key, job)
            shown = [_notice(one, tries) for one, tries in await self._notices.of_job(key.team, found.id)]
            return {"notices": shown}

        @router.post("/jobs/{job}/redeliver")
        async def redeliver(job: str, body: RedeliverBody | None = None, key: ApiKey = run) -> JsonObject:
            """Tell the job's webhook once more, whatever came of it before; its id stays the same."""
            found = await self._job(key, job)
            word = body.notice if body is not None and body.notice else await self._last(key, found.id)
            return _notice(await self._notices.redeliver(Actor.of(key), found.id, word), ())

        return router

    async def _job(self, key: ApiKey, word: str) -> Job:
        """What the key does not reach does not exist. Raises `NotFound`."""
        job = (await self._queue.status(key.team, None, JobId(word))).job
        if not key.reaches(job.endpoint):
            raise no_such_job(JobId(word))
        return job

    async def _last(self, key: ApiKey, job: JobId) -> str:
        found = await self._notices.of_job(key.team, job)
        if not found:
            raise InvalidInput(
                "there is nothing to deliver: the job named no webhook, or has not ended",
                code="no_notices",
                next_step="give jobs a webhook, or their endpoint: stoker endpoint update NAME --webhook URL",
            )
        return found[-1][0].id

    def _of_secret(self) -> APIRouter:
        router = APIRouter(prefix="/api", tags=["webhooks"], route_class=JsonRoute)
        admin = Depends(Asks(self._catalog, Scope.ADMIN, whole_team=True))

        @router.get("/webhooks/secret")
        async def show_secret(key: ApiKey = admin) -> JsonObject:
            """Whether the team's notices are signed, and since when; never the secret."""
            return _secret(await self._notices.secret(key.team))

        @router.post("/webhooks/secret/rotate")
        async def rotate_secret(body: RotateSecretBody | None = None, key: ApiKey = admin) -> JsonObject:
            """A new secret, shown only now; until the overlap ends notices carry both signatures."""
            overlap_ms = (body or RotateSecretBody()).overlap_s * 1000
            made, plain = await self._notices.rotate_secret(Actor.of(key), overlap_ms=overlap_ms)
            return {**_secret(made), "secret": plain}

        return router


def _notice(notice: Notice, tries: Sequence[Try]) -> JsonObject:
    return _told(notice) | {"tries": [_try(one) for one in tries]}


def _listed(notice: Notice, last: Try | None, names: Mapping[EndpointId, str]) -> JsonObject:
    """Among others, with its last try alone."""
    return _told(notice) | {
        "job": notice.job,
        "endpoint": {"id": notice.endpoint, "name": names[notice.endpoint]},
        "last_try": None if last is None else _try(last),
    }


def _told(notice: Notice) -> JsonObject:
    """Without the query of its URL, which may be a secret."""
    return {
        "id": notice.id,
        "url": _shown(notice.url),
        "dialect": notice.dialect,
        "job_state": notice.ended.state.shown,
        "ended_ms": notice.ended.finished_ms,
        "state": notice.state,
        "next_try_ms": notice.due_ms,
        "delivered_ms": notice.told_ms,
    }


def _try(one: Try) -> JsonObject:
    return {"at_ms": one.at_ms, "status": one.status, "duration_ms": one.duration_ms, "error": one.error}


def _shown(url: str) -> str:
    try:
        return parse(url).shown
    except InvalidInput:
        return "a URL that an earlier version accepted"


def _secret(secret: SigningSecret | None) -> JsonObject:
    return {
        "signs": secret is not None,
        "made_ms": None if secret is None else secret.made_ms,
        "old_until_ms": None if secret is None else secret.old_until_ms,
    }


__all__ = ["WebhookRoutes"]
