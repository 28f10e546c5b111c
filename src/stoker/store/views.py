"""Views in the database: filters of jobs that a team has given a name, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from stoker.audit import AuditLine
from stoker.errors import Conflict, NotFound
from stoker.ids import TeamId
from stoker.store import audit
from stoker.store.tables import Row, Step, Tables, locked

Filters = Mapping[str, str | int]
"""Fields of the API's selection of jobs by their names."""
VIEWS_MOST: Final = 200
"""Of a team; a list of more would help nobody."""

COLUMNS: Final = "team, name, filters, updated_ms"
OF_TEAM: Final = f"SELECT {COLUMNS} FROM views WHERE team = $1 ORDER BY name"
HAS_ROOM: Final = f"""
    UPDATE teams SET name = name WHERE id = $1
    AND (SELECT count(*) FROM views WHERE team = $1 AND name <> $2) < {VIEWS_MOST}"""
SAVE: Final = f"""
    INSERT INTO views ({COLUMNS}) VALUES ($1, $2, $3, $4)
    ON CONFLICT (team, name) DO UPDATE SET filters = excluded.filters, updated_ms = excluded.updated_ms"""
DELETE: Final = "DELETE FROM views WHERE team = $1 AND name = $2"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Filters under a name."""

    team: TeamId
    name: str
    filters: Filters
    updated_ms: int


class ViewRows:
    """Views."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def of_team(self, team: TeamId) -> Sequence[View]:
        """By name."""
        return [_view(row) for row in await self._tables.read(OF_TEAM, team)]

    async def save(self, view: View, line: AuditLine) -> None:
        """Store one, in place of another of its name. Raises `Conflict` (`too_many_views`)."""
        full = Conflict(
            f"the team has {VIEWS_MOST} views already",
            code="too_many_views",
            next_step="remove some that nobody uses: stoker view ls, stoker view rm NAME",
        )
        values = (view.team, view.name, json.dumps(dict(view.filters)), view.updated_ms)
        room = Step(HAS_ROOM, (view.team, view.name), full)
        await self._tables.change(locked(view.team), room, Step(SAVE, values), audit.step(line))

    async def delete(self, view: View, line: AuditLine) -> None:
        """Forget it. Raises `NotFound`."""
        await self._tables.change(Step(DELETE, (view.team, view.name), no_view(view.name)), audit.step(line))


def no_view(word: str) -> NotFound:
    """The refusal for one that does not exist."""
    return NotFound(
        f"there is no view '{word[:100]}'", code="view_not_found", field="view", next_step="list them: stoker view ls"
    )


def _view(row: Row) -> View:
    return View(team=TeamId(row[0]), name=row[1], filters=json.loads(row[2]), updated_ms=row[3])


__all__ = ["VIEWS_MOST", "Filters", "View", "ViewRows", "no_view"]
