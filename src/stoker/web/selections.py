"""Jobs of an endpoint under `/api`, as many as there are: found by what is known of them, cancelled and retried in bulk."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from stoker.catalog import Catalog
from stoker.endpoint import Endpoint
from stoker.ids import JobId, KeyId, WorkerId
from stoker.job import JobReason, JobState
from stoker.selections import Changed, Selections
from stoker.store.selection import Selection
from stoker.team import ApiKey, Scope
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks, endpoint_for
from stoker.web.shown import job_json

JsonObject = dict[str, Any]
ShownState = Literal["queued", "running", "completed", "failed", "cancelled", "timed_out"]
_TIME_MOST = 2**53


class Filters(BaseModel):
    """Which jobs; what is left out does not choose."""

    model_config = ConfigDict(extra="forbid")

    state: ShownState | None = None
    reason: JobReason | None = Field(None, description="Why they are as they are, such as `worker_lost`.")
    worker: str | None = Field(None, max_length=100, description="Worker of the latest attempt.")
    release: int | None = Field(
        None, ge=1, description="Number of the release that this worker ran, for as long as the worker is remembered."
    )
    key: str | None = Field(None, max_length=100, description="Id of the key that submitted them.")
    ran_least_ms: int | None = Field(
        None, ge=0, le=_TIME_MOST, description="Those that are over and whose latest attempt took so long or longer."
    )
    ran_below_ms: int | None = Field(None, ge=0, le=_TIME_MOST, description="Likewise, less than so long.")
    waited_least_ms: int | None = Field(
        None, ge=0, le=_TIME_MOST, description="Those that began, and waited so long or longer for it."
    )
    waited_below_ms: int | None = Field(None, ge=0, le=_TIME_MOST, description="Likewise, less than so long.")
    ended_since_ms: int | None = Field(None, ge=0, le=_TIME_MOST, description="Those that ended then or later.")
    ended_before_ms: int | None = Field(None, ge=0, le=_TIME_MOST, description="Those that ended before that.")
    text: str = Field("", max_length=200, description="Part of their id, or of the error of those that failed.")


class SelectionFields(Filters):
    """A page of them."""

    before: str | None = Field(None, max_length=100, description="The `next` of the page before.")


class ListQuery(SelectionFields):
    """Which jobs to list."""

    limit: int = Field(50, ge=1, le=1000)


class ManyBody(SelectionFields):
    """Which jobs to change."""

    limit: int = Field(1000, ge=1, le=1000, description="At most so many are looked up for this call.")


class SelectionRoutes:
    """The routes, over the operations they call."""

    def __init__(self, selections: Selections, catalog: Catalog) -> None:
        self._selections = selections
        self._catalog = catalog

    def router(self) -> APIRouter:
        """All routes about jobs of an endpoint."""
        router = APIRouter(prefix="/api", tags=["jobs"], route_class=JsonRoute)
        read = Depends(Asks(self._catalog, Scope.READ))
        run = Depends(Asks(self._catalog, Scope.RUN))

        @router.get("/endpoints/{endpoint}/jobs")
        async def list_jobs(endpoint: str, query: Annotated[ListQuery, Query()], key: ApiKey = read) -> JsonObject:
            """Jobs of an endpoint, newest first. A page looks at 20,000 jobs at most: as long as there is a `next`, there may be more,
            though the page be empty."""
            found, wanted, before = await self._wanted(key, endpoint, query)
            page = await self._selections.find(found, wanted, limit=query.limit, before=before)
            return {"jobs": [job_json(one, found.name) for one in page.jobs], "next": page.next}

        @router.post("/endpoints/{endpoint}/jobs/cancel")
        async def cancel_jobs(endpoint: str, body: ManyBody, key: ApiKey = run) -> JsonObject:
            """Cancel those of a page that wait or run; repeat with `before` as long as there is a `next`."""
            found, wanted, before = await self._wanted(key, endpoint, body)
            return _changed(await self._selections.cancel(found, wanted, limit=body.limit, before=before))

        @router.post("/endpoints/{endpoint}/jobs/retry")
        async def retry_jobs(endpoint: str, body: ManyBody, key: ApiKey = run) -> JsonObject:
            """Queue those of a page again that failed or timed out; repeat with `before` as long as there is a `next`."""
            found, wanted, before = await self._wanted(key, endpoint, body)
            return _changed(await self._selections.retry(found, wanted, limit=body.limit, before=before))

        return router

    async def _wanted(
        self, key: ApiKey, endpoint: str, fields: SelectionFields
    ) -> tuple[Endpoint, Selection, JobId | None]:
        """Where, which, and before which. Raises `NotFound`."""
        found = await endpoint_for(self._catalog, key, endpoint)
        release = None if fields.release is None else (await self._catalog.release(found, fields.release)).id
        wanted = Selection(
            state=None if fields.state is None else JobState(fields.state),
            reason=fields.reason,
            worker=None if fields.worker is None else WorkerId(fields.worker),
            release=release,
            key=None if fields.key is None else KeyId(fields.key),
            ran_least_ms=fields.ran_least_ms,
            ran_below_ms=fields.ran_below_ms,
            waited_least_ms=fields.waited_least_ms,
            waited_below_ms=fields.waited_below_ms,
            ended_since_ms=fields.ended_since_ms,
            ended_before_ms=fields.ended_before_ms,
            text=fields.text,
        )
        return found, wanted, None if fields.before is None else JobId(fields.before)


def _changed(done: Changed) -> JsonObject:
    failed = [{"id": job, "error": why} for job, why in done.failed]
    return {"jobs": list(done.jobs), "failed": failed, "next": done.next}


__all__ = ["Filters", "SelectionRoutes"]
