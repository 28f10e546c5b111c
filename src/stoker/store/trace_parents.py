"""Whose trace a job belongs to, for clients that sent theirs. Kept until the job's end was told to a collector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from stoker.ids import JobId
from stoker.span import Parent
from stoker.store.tables import Step, Tables, insert

_COLUMNS: Final = "job, trace, span, at_ms"
ADD: Final = insert("trace_parents", _COLUMNS)
OF_JOB: Final = "SELECT trace, span FROM trace_parents WHERE job = $1"
FORGET: Final = "DELETE FROM trace_parents WHERE at_ms < $1"


class TraceParentRows:
    """Spans of clients, by job."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, job: JobId, parent: Parent, at_ms: int) -> None:
        """The job was submitted from that span."""
        await self._tables.change(Step(ADD, (job, f"{parent.trace:032x}", f"{parent.span:016x}", at_ms)))

    async def of_jobs(self, jobs: Sequence[JobId]) -> Mapping[JobId, Parent]:
        """Those of these jobs that have one. Looks across teams: for loops."""
        rows = {job: await self._tables.read(OF_JOB, job) for job in jobs}
        return {job: Parent(int(found[0][0], 16), int(found[0][1], 16)) for job, found in rows.items() if found}

    async def forget(self, before_ms: int) -> None:
        """Jobs that came before that moment have ended, or nobody tells of them."""
        await self._tables.change(Step(FORGET, (before_ms,)))


__all__ = ["TraceParentRows"]
