"""The last hour of all endpoints under `/api`, in one answer: for tables that would otherwise ask for each."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from stoker.catalog import Catalog
from stoker.catalog.remembered import Remembered
from stoker.clock import Clock
from stoker.endpoint import Endpoint
from stoker.ids import EndpointId, TeamId
from stoker.last_hour import SPAN_MS, LastHour, LastHours
from stoker.team import ApiKey, Scope
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks

JsonObject = dict[str, Any]


class LastHourRoutes:
    """The route, over the operation that it calls; however many look, each endpoint is read once a second."""

    def __init__(self, hours: LastHours, catalog: Catalog, clock: Clock) -> None:
        self._hours = hours
        self._catalog = catalog
        self._known: Remembered[tuple[TeamId, EndpointId], LastHour] = Remembered(clock, self._read)

    async def _read(self, which: tuple[TeamId, EndpointId]) -> LastHour:
        return await self._hours.of(*which)

    def router(self) -> APIRouter:
        """`/api/last-hour`."""
        router = APIRouter(prefix="/api", tags=["endpoints"], route_class=JsonRoute)
        read = Depends(Asks(self._catalog, Scope.READ))

        @router.get("/last-hour")
        async def last_hours(key: ApiKey = read) -> JsonObject:
            """Of each endpoint: how long jobs waited and ran (p50, p95), how many ended well, why the others did not, within an hour.
            Where very many ended, the newest speak for all, and `complete` is false."""
            endpoints = [one for one in await self._catalog.endpoints(key.team) if key.reaches(one.id)]
            return {"span_ms": SPAN_MS, "endpoints": [await self._show(one) for one in endpoints]}

        return router

    async def _show(self, endpoint: Endpoint) -> JsonObject:
        hour = await self._known.get((endpoint.team, endpoint.id))
        assert hour is not None, "`_read` always finds one"
        return {
            "endpoint": {"id": endpoint.id, "name": endpoint.name},
            "looked_at": hour.looked_at,
            "complete": hour.complete,
            "completed": hour.completed,
            "wait_ms": _range(hour.wait_ms),
            "run_ms": _range(hour.run_ms),
            "oldest_queued_ms": hour.oldest_queued_ms,
            "ends": [{"good": good, "bad": bad} for good, bad in hour.ends],
            "causes": [
                {"state": one.state.shown, "reason": one.reason, "count": one.count, "newest": one.newest}
                for one in hour.causes
            ],
        }


def _range(found: tuple[int, int] | None) -> JsonObject | None:
    return None if found is None else {"p50": found[0], "p95": found[1]}


__all__ = ["LastHourRoutes"]
