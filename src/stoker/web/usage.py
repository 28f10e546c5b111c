"""Usage under `/api/usage`: what workers and volumes were used for and cost, in JSON and in CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from stoker.catalog import Catalog
from stoker.ids import EndpointId
from stoker.store.usage import Part
from stoker.team import ApiKey, Scope
from stoker.usage import Period, Usage, UsageRow, Usages
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks, endpoint_for

JsonObject = dict[str, Any]

_By = Annotated[Period, Query(description="What is summed up; days are those of UTC.")]
_Parts = Annotated[list[Part] | None, Query(description="By what rows are told apart; may be given several times.")]
_Endpoint = Annotated[str | None, Query(max_length=100, description="Of one endpoint, by name or id.")]
_Moment = Annotated[int | None, Query(ge=0, le=2**53, description="In milliseconds since the epoch.")]
_FORMULAS: Final = "=+-@\t\r"
"""With these a spreadsheet begins to calculate."""


class UsageRoutes:
    """The routes, over the operations they call."""

    def __init__(self, usages: Usages, catalog: Catalog) -> None:
        self._usages = usages
        self._catalog = catalog

    def router(self) -> APIRouter:
        """All routes about usage."""
        router = APIRouter(prefix="/api", tags=["usage"], route_class=JsonRoute)
        read = Depends(Asks(self._catalog, Scope.READ))

        @router.get("/usage")
        async def show_usage(
            by: _By = Period.DAY,
            part: _Parts = None,
            endpoint: _Endpoint = None,
            from_ms: _Moment = None,
            to_ms: _Moment = None,
            key: ApiKey = read,
        ) -> JsonObject:
            """Seconds of workers that ran and idled, GiB hours of volumes, and their cost, by hour or day, oldest first; without
            moments the last 30 days, or 24 hours. A key for some endpoints names one of them."""
            found = await self._usage(key, by, part or (), endpoint, from_ms, to_ms)
            names = await self._names(found, part or ())
            rows = [{"at_ms": one.at_ms} | _named(one, part or (), names) | _row(one) for one in found.rows]
            return {"from_ms": found.from_ms, "to_ms": found.to_ms, "by": by, "rows": rows, "total": _row(found.total)}

        @router.get("/usage.csv", response_class=Response)
        async def usage_as_csv(
            by: _By = Period.DAY,
            part: _Parts = None,
            endpoint: _Endpoint = None,
            from_ms: _Moment = None,
            to_ms: _Moment = None,
            key: ApiKey = read,
        ) -> Response:
            """The same as a table for spreadsheets, with moments in UTC."""
            parts = part or ()
            found = await self._usage(key, by, parts, endpoint, from_ms, to_ms)
            text = _table(found, parts, await self._names(found, parts))
            return Response(
                text, media_type="text/csv", headers={"Content-Disposition": 'attachment; filename="usage.csv"'}
            )

        return router

    async def _usage(
        self,
        key: ApiKey,
        by: Period,
        parts: Sequence[Part],
        endpoint: str | None,
        from_ms: int | None,
        to_ms: int | None,
    ) -> Usage:
        if endpoint is None:
            key.require_whole_team()
        of = None if endpoint is None else (await endpoint_for(self._catalog, key, endpoint)).id
        return await self._usages.of_team(
            key.team, by=by, parts=tuple(dict.fromkeys(parts)), endpoint=of, from_ms=from_ms, to_ms=to_ms
        )

    async def _names(self, found: Usage, parts: Sequence[Part]) -> dict[str, str]:
        """Names of the endpoints in it by their ids, those included that were deleted."""
        if Part.ENDPOINT not in parts:
            return {}
        place = list(dict.fromkeys(parts)).index(Part.ENDPOINT)
        ids = {one.parts[place] for one in found.rows} - {""}
        return {one: await self._catalog.name_of(EndpointId(one)) for one in sorted(ids)}


def _named(row: UsageRow, parts: Sequence[Part], names: dict[str, str]) -> JsonObject:
    """What tells the row apart; null for what it has nothing of, as storage has no endpoint."""
    values: JsonObject = dict(zip((one.value for one in dict.fromkeys(parts)), row.parts, strict=True))
    return {
        name: {"id": value, "name": names[value]} if name == "endpoint" and value else value or None
        for name, value in values.items()
    }


def _row(row: UsageRow) -> JsonObject:
    return {
        "running_s": row.running_ms / 1000,
        "idle_s": row.idle_ms / 1000,
        "storage_gib_h": round(row.storage_ms / 3_600_000, 6),
        "cost": row.cost,
    }


def _table(found: Usage, parts: Sequence[Part], names: dict[str, str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    heads = [one.value for one in dict.fromkeys(parts)]
    writer.writerow(["from", *heads, *_row(found.total)])
    for row in found.rows:
        begins = datetime.fromtimestamp(row.at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        words = [
            _cell(names.get(word, word) if head == "endpoint" else word)
            for head, word in zip(heads, row.parts, strict=True)
        ]
        writer.writerow([begins, *words, *_row(row).values()])
    return text.getvalue()


def _cell(word: str) -> str:
    """A word that no spreadsheet takes for a formula."""
    return f"'{word}" if word[:1] and word[0] in _FORMULAS else word


__all__ = ["UsageRoutes"]
