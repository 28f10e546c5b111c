"""Notices in the database: what receivers of webhooks are told, each try of it, and what a team's are signed with.

A notice is written by the transaction that ends its job (`transitions`, `save` of an adapter); from then on it is read and changed
here. What was not delivered yet outlives its job; it is forgotten as soon as it is over. Lanes keep receivers apart: to find what is due
costs the same however much waits for one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from stoker.audit import AuditLine
from stoker.errors import Conflict, NotFound
from stoker.ids import EndpointId, JobId, TeamId
from stoker.job import Job
from stoker.store import audit
from stoker.store.tables import Row, Step, Tables
from stoker.webhook import Notice, NoticeState, SigningSecret, Try

_COLUMNS: Final = (
    "notices.number, notices.job, notices.team, notices.endpoint, notices.url, notices.dialect, notices.ended, notices.state, "
    "notices.since_ms, notices.due_ms, notices.tries, notices.told_ms, notices.kept"
)
_WIDTH: Final = len(_COLUMNS.split(", "))
OF_JOB: Final = f"SELECT {_COLUMNS} FROM notices WHERE job = $1 AND team = $2 ORDER BY number"
GET: Final = f"SELECT {_COLUMNS} FROM notices WHERE number = $1"
_PAGE: Final = f"""
    SELECT {_COLUMNS}, last.at_ms, last.status, last.duration_ms, last.error FROM ({{walk}}) AS walked
    JOIN notices ON notices.number = walked.number
    LEFT JOIN notice_tries AS last ON last.number = (SELECT max(number) FROM notice_tries WHERE notice = walked.number)
    WHERE $4 = '' OR walked.state = $4 ORDER BY walked.number DESC LIMIT $5"""
_WALK: Final = "SELECT number, state FROM notices WHERE {whose} AND number < $2 ORDER BY number DESC LIMIT $3"
_WALK_TEAM: Final = _WALK.format(whose="team = $1")
_WALK_ENDPOINT: Final = _WALK.format(whose="endpoint = $1")
OF_TEAM: Final = _PAGE.format(walk=_WALK_TEAM)
OF_ENDPOINT: Final = _PAGE.format(walk=_WALK_ENDPOINT)
END_OF_TEAM: Final = f"SELECT min(number), count(*) FROM ({_WALK_TEAM}) AS walked"
END_OF_ENDPOINT: Final = f"SELECT min(number), count(*) FROM ({_WALK_ENDPOINT}) AS walked"
OF_LANE: Final = f"""
    SELECT {_COLUMNS} FROM notices WHERE lane = $1 AND due_ms IS NOT NULL AND due_ms <= $2 ORDER BY due_ms LIMIT $3"""
LANES: Final = """
    WITH RECURSIVE found (lane) AS (
      SELECT * FROM (SELECT lane FROM notices WHERE due_ms IS NOT NULL ORDER BY lane LIMIT 1) AS first
      UNION ALL
      SELECT (SELECT lane FROM notices WHERE due_ms IS NOT NULL AND lane > found.lane ORDER BY lane LIMIT 1)
      FROM found WHERE found.lane IS NOT NULL)
    SELECT found.lane, (
      SELECT due_ms FROM notices WHERE due_ms IS NOT NULL AND notices.lane = found.lane ORDER BY due_ms LIMIT 1)
    FROM found WHERE found.lane IS NOT NULL"""
"""From one lane to the next by the index: it costs as much as there are lanes."""
KEPT: Final = "SELECT input, output, error FROM notices WHERE number = $1 AND kept"
SAVE: Final = """
    UPDATE notices SET state = $1, since_ms = $2, due_ms = $3, tries = $4, told_ms = $5
    WHERE number = $6 AND state = 'pending' AND since_ms = $7 AND tries = $8"""
AGAIN: Final = "UPDATE notices SET state = $1, since_ms = $2, due_ms = $3, tries = $4 WHERE number = $5 AND team = $6"
FORGET: Final = "DELETE FROM notices WHERE number = $1 AND outlives AND due_ms IS NULL"
ADD_TRY: Final = """
    INSERT INTO notice_tries (notice, at_ms, status, duration_ms, error)
    SELECT number, $1, $2, $3, $4 FROM notices WHERE number = $5"""
TRIES: Final = "SELECT at_ms, status, duration_ms, error FROM notice_tries WHERE notice = $1 ORDER BY number"
OVERDUE: Final = """
    SELECT number FROM notices WHERE due_ms IS NOT NULL AND since_ms <= $1 ORDER BY since_ms LIMIT $2"""
GIVE_UP: Final = "UPDATE notices SET state = 'given_up', due_ms = NULL WHERE number = $1 AND due_ms IS NOT NULL"
GRANT: Final = "UPDATE notices SET since_ms = $1 WHERE due_ms IS NOT NULL AND since_ms < $1"

SECRET: Final = "SELECT team, secret, made_ms, old, old_until_ms FROM webhook_secrets WHERE team = $1"
ADD_SECRET: Final = """
    INSERT INTO webhook_secrets (team, secret, made_ms) VALUES ($1, $2, $3) ON CONFLICT (team) DO NOTHING"""
REPLACE_SECRET: Final = """
    UPDATE webhook_secrets SET secret = $1, made_ms = $2, old = $3, old_until_ms = $4 WHERE team = $5 AND secret = $6"""

LOOKED_AT_MOST: Final = 20_000
"""Notices that a page walks through when a state is looked for."""
_LAST: Final = 2**62


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """What waits for one receiver of one team."""

    name: str
    due_ms: int
    """Of the first try."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What a notice is about, when its job has it no more."""

    input: bytes | None
    output: bytes | None
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NoticePage:
    """Notices, newest first, each with its last try."""

    notices: Sequence[tuple[Notice, Try | None]]
    next: int | None
    """The page goes on before this number; None at the end."""


class NoticeRows:
    """Notices, their tries, and the secrets that sign them."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    # ── for who delivers; across teams ────────────────────────────────────────────────────────────────────────────────

    async def lanes(self) -> Sequence[Lane]:
        """Lanes in which something is pending, by name."""
        return [Lane(name=row[0], due_ms=row[1]) for row in await self._tables.read(LANES)]

    async def due(self, lane: str, now_ms: int, limit: int) -> Sequence[Notice]:
        """Notices of a lane that are due, the longest due first."""
        return [_notice(row) for row in await self._tables.read(OF_LANE, lane, now_ms, limit)]

    async def get(self, number: int) -> Notice | None:
        """One notice as it stands."""
        return next((_notice(row) for row in await self._tables.read(GET, number)), None)

    async def kept(self, number: int) -> Kept | None:
        """What was kept with a notice; None when its job has it still, or when the notice is gone."""
        for row in await self._tables.read(KEPT, number):
            error = None if row[2] is None else row[2].decode("utf-8", "surrogatepass")
            return Kept(input=row[0], output=row[1], error=error)
        return None

    async def record(self, before: Notice, after: Notice, tried: Try) -> None:
        """Store a try and what became of the notice, unless somebody else has changed it: then the try alone."""
        moved = (after.state.value, after.since_ms, after.due_ms, after.tries, after.told_ms)
        which = (before.number, before.since_ms, before.tries)
        await self._tables.change(
            Step(ADD_TRY, (tried.at_ms, tried.status, tried.duration_ms, tried.error, before.number)),
            Step(SAVE, (*moved, *which)),
            Step(FORGET, (before.number,)),
        )

    async def give_up(self, since_before_ms: int, at_ms: int, text: str, limit: int) -> int:
        """Give up pending notices whose time began at that moment or before, `text` being their last try; how many."""
        rows = await self._tables.read(OVERDUE, since_before_ms, limit)
        for (number,) in rows:
            await self._tables.change(
                Step(ADD_TRY, (at_ms, None, 0, text, number)), Step(GIVE_UP, (number,)), Step(FORGET, (number,))
            )
        return len(rows)

    async def grant(self, since_ms: int) -> None:
        """No pending notice's time began before that moment."""
        await self._tables.change(Step(GRANT, (since_ms,)))

    # ── for customers ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def of_job(self, team: TeamId, job: JobId) -> Sequence[tuple[Notice, Sequence[Try]]]:
        """Notices of a job with their tries, oldest first."""
        found = [_notice(row) for row in await self._tables.read(OF_JOB, job, team)]
        return [(one, [_try(row) for row in await self._tables.read(TRIES, one.number)]) for one in found]

    async def page(
        self,
        team: TeamId,
        endpoint: EndpointId | None = None,
        state: NoticeState | None = None,
        *,
        before: int | None = None,
        limit: int,
        looked_at_most: int = LOOKED_AT_MOST,
    ) -> NoticePage:
        """At most `limit` notices of a team, or of one endpoint of it, before a number. A page looks at `looked_at_most`: it may be
        empty and still say where to go on."""
        whose, find, end = (
            (team, OF_TEAM, END_OF_TEAM) if endpoint is None else (endpoint, OF_ENDPOINT, END_OF_ENDPOINT)
        )
        walk = (whose, _LAST if before is None else before, limit if state is None else looked_at_most)
        rows = await self._tables.read(find, *walk, "" if state is None else state.value, limit)
        found = [(_notice(row), _try(row[_WIDTH:]) if row[_WIDTH] is not None else None) for row in rows]
        if len(found) == limit:
            return NoticePage(notices=found, next=found[-1][0].number)
        lowest, walked = (await self._tables.read(end, *walk))[0]
        return NoticePage(notices=found, next=lowest if walked == walk[2] else None)

    async def again(self, notice: Notice, line: AuditLine) -> None:
        """Store that a notice is to be delivered once more. Raises `NotFound`."""
        moved = (notice.state.value, notice.since_ms, notice.due_ms, notice.tries)
        await self._tables.change(
            Step(AGAIN, (*moved, notice.number, notice.team), no_notice(notice.id)), audit.step(line)
        )

    async def secret(self, team: TeamId) -> SigningSecret | None:
        """What the team's notices are signed with; None before the first rotation."""
        for row in await self._tables.read(SECRET, team):
            return SigningSecret(
                team=TeamId(row[0]), sealed=row[1], made_ms=row[2], old_sealed=row[3], old_until_ms=row[4]
            )
        return None

    async def save_secret(self, secret: SigningSecret, *, was: SigningSecret | None, line: AuditLine) -> None:
        """Store a team's secret in place of another. Raises `Conflict` when somebody else was faster."""
        faster = Conflict(
            "the secret was rotated by somebody else at this moment",
            code="version_changed",
            next_step="look when: stoker webhook secret; rotate it again if that was not for you",
        )
        if was is None:
            step = Step(ADD_SECRET, (secret.team, secret.sealed, secret.made_ms), faster)
        else:
            new = (secret.sealed, secret.made_ms, secret.old_sealed, secret.old_until_ms)
            step = Step(REPLACE_SECRET, (*new, secret.team, was.sealed), faster)
        await self._tables.change(step, audit.step(line))


def no_notice(word: str) -> NotFound:
    """The refusal for a notice that does not exist."""
    return NotFound(
        f"there is no notice '{word[:150]}'",
        code="notice_not_found",
        next_step="list those of the job: stoker webhook ls JOB",
    )


def _notice(row: Row) -> Notice:
    return Notice(
        number=row[0],
        job=JobId(row[1]),
        team=TeamId(row[2]),
        endpoint=EndpointId(row[3]),
        url=row[4],
        dialect=row[5],
        ended=msgspec.json.decode(row[6], type=Job),
        state=NoticeState(row[7]),
        since_ms=row[8],
        due_ms=row[9],
        tries=row[10],
        told_ms=row[11],
        kept=bool(row[12]),
    )


def _try(row: Row) -> Try:
    return Try(at_ms=row[0], status=row[1], duration_ms=row[2], error=row[3])


__all__ = ["Kept", "Lane", "NoticePage", "NoticeRows", "no_notice"]
