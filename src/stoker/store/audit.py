"""The audit log in the database: written as a step of the change that it tells of, read page by page.

Called by everything that changes what a team configures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from stoker.audit import Action, Actor, AuditLine, Kind
from stoker.ids import TeamId
from stoker.store.tables import Row, Step, Tables

_COLUMNS: Final = "at_ms, team, member, key, action, kind, thing, name, before, after"
ADD: Final = f"INSERT INTO audit ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
OF_TEAM: Final = f"""
    SELECT seq, {_COLUMNS} FROM audit
    WHERE team = $1 AND seq < $2 AND ($3 = '' OR thing = $3) ORDER BY seq DESC LIMIT $4"""
OLDEST: Final = "SELECT seq, at_ms FROM audit ORDER BY seq LIMIT $1"
FORGET: Final = "DELETE FROM audit WHERE seq <= $1"
_LAST: Final = 2**62


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A line with its number, by which the next page is asked for."""

    number: int
    line: AuditLine


def step(line: AuditLine) -> Step:
    """What writes the line."""
    values = (
        line.at_ms,
        line.by.team,
        line.by.member,
        line.by.key,
        line.action.value,
        line.kind.value,
        line.thing,
        line.name,
        _text(line.before),
        _text(line.after),
    )
    return Step(ADD, values)


class AuditRows:
    """Reading the log, and forgetting what is old in it."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def lines(
        self, team: TeamId, *, before: int | None = None, thing: str = "", limit: int = 50
    ) -> Sequence[Written]:
        """Lines of a team, newest first; those before the line with that number, and those about one thing."""
        rows = await self._tables.read(OF_TEAM, team, _LAST if before is None else before, thing, limit)
        return [_written(row) for row in rows]

    async def forget(self, before_ms: int, limit: int) -> int:
        """Forget up to `limit` lines from before that moment, the oldest first; how many. Looks across teams: for loops."""
        oldest = await self._tables.read(OLDEST, limit)
        old = list(takewhile(lambda row: row[1] < before_ms, oldest))
        if old:
            await self._tables.change(Step(FORGET, (old[-1][0],)))
        return len(old)


def _written(row: Row) -> Written:
    line = AuditLine(
        at_ms=row[1],
        by=Actor(team=row[2], member=row[3], key=row[4]),
        action=Action(row[5]),
        kind=Kind(row[6]),
        thing=row[7],
        name=row[8],
        before=_facts(row[9]),
        after=_facts(row[10]),
    )
    return Written(number=row[0], line=line)


def _text(facts: Mapping[str, Any] | None) -> str | None:
    return None if facts is None else json.dumps(dict(facts), ensure_ascii=True)


def _facts(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else json.loads(text)


__all__ = ["AuditRows", "Written", "step"]
