"""Dead letters under `/api`: jobs that ended for the platform's reasons, listed and retried in bulk."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from stoker.catalog import Catalog
from stoker.dead_letters import REASONS, DeadLetters
from stoker.job import JobReason
from stoker.team import ApiKey, Scope
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks, endpoint_for
from stoker.web.shown import job_json

JsonObject = dict[str, Any]
DeadReason = Literal["retries_exhausted", "ttl_passed", "execution_limit"]


class RetryBody(BaseModel):
    """Which dead letters to retry."""

    model_config = ConfigDict(extra="forbid")

    reasons: list[DeadReason] = Field(
        default_factory=list, description="Only those that ended for one of these; empty: for any."
    )
    limit: int = Field(1_000, ge=1, le=1_000, description="At most so many in this call.")


class DeadLetterRoutes:
    """The routes, over the operations they call."""

    def __init__(self, letters: DeadLetters, catalog: Catalog) -> None:
        self._letters = letters
        self._catalog = catalog

    def router(self) -> APIRouter:
        """All routes about dead letters."""
        router = APIRouter(prefix="/api", tags=["jobs"], route_class=JsonRoute)
        read = Depends(Asks(self._catalog, Scope.READ))
        run = Depends(Asks(self._catalog, Scope.RUN))

        @router.get("/endpoints/{endpoint}/dead-letters")
        async def list_dead_letters(
            endpoint: str,
            reason: Annotated[list[DeadReason] | None, Query()] = None,
            limit: Annotated[int, Query(ge=1, le=1000)] = 50,
            key: ApiKey = read,
        ) -> JsonObject:
            """Jobs that ended for the platform's reasons, those that ended last first; `reason` may be given several times."""
            found = await endpoint_for(self._catalog, key, endpoint)
            letters = await self._letters.list(found, reasons=_reasons(reason), limit=limit)
            return {"jobs": [job_json(one, found.name) for one in letters]}

        @router.post("/endpoints/{endpoint}/dead-letters/retry")
        async def retry_dead_letters(endpoint: str, body: RetryBody, key: ApiKey = run) -> JsonObject:
            """Queue them again under their ids, those that ended first first; `more` says whether to repeat the call."""
            found = await endpoint_for(self._catalog, key, endpoint)
            done = await self._letters.retry(found, reasons=_reasons(body.reasons), limit=body.limit)
            failed = [{"id": job, "error": why} for job, why in done.failed]
            return {"retried": list(done.jobs), "failed": failed, "more": done.more}

        return router


def _reasons(chosen: list[DeadReason] | None) -> tuple[JobReason, ...]:
    return tuple(JobReason(one) for one in chosen) if chosen else REASONS


__all__ = ["DeadLetterRoutes"]
