"""How jobs are looked for, page by page, newest first.

What has an index of its own (the endpoint, the state, the order) is walked along it; everything else is compared on the way, so that no
submission and no end pays for another index. A page looks at no more than `LOOKED_AT_MOST` jobs: it may be empty and still say where to
go on, and none takes longer however many jobs there are. Both databases share the statement; an adapter brings its lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from stoker.ids import EndpointId, JobId, TeamId
from stoker.job import JobState
from stoker.store.rows import JOB, JOB_WIDTH, stored_job
from stoker.store.selection import LOOKED_AT_MOST, Selected, Selection
from stoker.store.tables import Tables, plain

NO_END: Final = 2**62
"""Larger than any row number."""

_RAN: Final = "jobs.finished_ms - jobs.claimed_ms"
_WAITED: Final = "jobs.state <> 'ahead' AND jobs.claimed_ms - jobs.queued_ms"
_TIMES: Final = {
    "ran_least_ms": f"{_RAN} >= {{}}",
    "ran_below_ms": f"{_RAN} < {{}}",
    "waited_least_ms": f"{_WAITED} >= {{}}",
    "waited_below_ms": f"{_WAITED} < {{}}",
    "ended_since_ms": "jobs.finished_ms >= {}",
    "ended_before_ms": "jobs.finished_ms < {}",
}


class Lists(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter brings. Places are `$1` the endpoint, `$2` the team, `$3` before which row, `$4` how many."""

    of_state: Mapping[JobState | None, str]
    """Statements for the columns `JOB`, newest first, which walk no further than they must."""
    seq_of: str
    """The row number of the job `$1` of the team `$2` at the endpoint `$3`."""
    holds: str
    """Whether the text or the bytes `{whole}` hold `{part}`."""


class SelectedJobs:
    """`JobSelections`, for all databases."""

    def __init__(self, tables: Tables, lists: Lists) -> None:
        self._tables = tables
        self._lists = lists

    async def find(
        self,
        team: TeamId,
        endpoint: EndpointId,
        wanted: Selection,
        *,
        limit: int,
        before: JobId | None = None,
        looked_at_most: int = LOOKED_AT_MOST,
    ) -> Selected:
        """At most `limit` of them, before the given job; none before a job that is not there."""
        at = NO_END
        if before is not None:
            known = await self._tables.read(self._lists.seq_of, before, team, endpoint)
            if not known:
                return Selected(jobs=[], next=None)
            at = known[0][0]
        where, values = _conditions(wanted, self._lists.holds, first=6)
        most = looked_at_most if where else limit
        newest = self._lists.of_state[wanted.state]
        sql = f"SELECT {JOB} FROM ({newest}) AS jobs {where} ORDER BY jobs.seq DESC LIMIT $5"
        rows = await self._tables.read(sql, endpoint, team, at, most, limit, *values)
        jobs = [stored_job(row[:JOB_WIDTH]).job for row in rows]
        if len(jobs) == limit:
            return Selected(jobs=jobs, next=jobs[-1].id)
        looked_at = f"SELECT jobs.id, count(*) OVER () FROM ({newest}) AS jobs ORDER BY jobs.seq LIMIT 1"
        last = await self._tables.read(looked_at, endpoint, team, at, most)
        return Selected(jobs=jobs, next=JobId(last[0][0]) if last and last[0][1] == most else None)


def _conditions(wanted: Selection, holds: str, *, first: int) -> tuple[str, list[object]]:
    """The clause, whose places begin with `first`, and its values."""
    parts: list[tuple[str, tuple[object, ...]]] = []
    for name in ("reason", "worker", "key"):
        value = getattr(wanted, name)
        if value is not None:
            parts.append((f"jobs.{name} = {{}}", (str(value),)))
    if wanted.release is not None:
        of_release = "SELECT workers.id FROM workers WHERE workers.endpoint = $1 AND workers.release = {}"
        parts.append((f"jobs.worker IN ({of_release})", (wanted.release,)))
    for name, condition in _TIMES.items():
        value = getattr(wanted, name)
        if value is not None:
            parts.append((condition, (value,)))
    if wanted.text:
        in_id, in_error = (holds.format(whole=whole, part="{}") for whole in ("jobs.id", "outputs.error"))
        errors = f"SELECT 1 FROM outputs WHERE outputs.job = jobs.seq AND outputs.error IS NOT NULL AND {in_error}"
        failed = f"jobs.state IN ('failed', 'timed_out') AND EXISTS ({errors})"
        parts.append((f"({in_id} OR {failed})", (plain(wanted.text), plain(wanted.text).encode())))
    values: list[object] = []
    clauses = []
    for clause, given in parts:
        clauses.append(clause.format(*(f"${first + len(values) + n}" for n in range(len(given)))))
        values += given
    return (f"WHERE {' AND '.join(clauses)}" if clauses else ""), values


__all__ = ["Lists", "SelectedJobs"]
