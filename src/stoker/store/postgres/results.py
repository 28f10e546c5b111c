"""What statuses show: all that is asked for while one look is under way shares the next.

Called by `jobs.py`. Clients ask most for what has just ended, one job each. Under load a query for each of them costs the database,
and the server, more than everything else that happens to the job.
"""

from __future__ import annotations

import asyncio
from typing import Final

from stoker.ids import JobId
from stoker.store import Result
from stoker.store.postgres.lane import Pool
from stoker.store.rows import JOB, JOB_WIDTH, Row, stored_job

RESULTS: Final = f"""
    SELECT {JOB}, outputs.output, outputs.error
    FROM all_jobs AS jobs LEFT JOIN outputs ON outputs.job = jobs.seq WHERE jobs.id = ANY($1::text[])"""
LOOK_MOST: Final = 64
"""Jobs of one look: their outputs are in memory together."""


class Results:
    """Of jobs of all teams: whoever asks says whose they must be."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._wanted: dict[JobId, asyncio.Future[Result | None]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def find(self, job: JobId) -> Result | None:
        """The job as it stands, seen after this call. Raises `Unavailable`."""
        found = self._wanted.get(job)
        if found is None:
            found = self._wanted[job] = asyncio.get_running_loop().create_future()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="store-results")
        return await asyncio.shield(found)  # others may wait for it too

    async def _look(self) -> None:
        """While anything is wanted. What is asked for from now on is not answered by a look that began before."""
        try:
            while self._wanted:
                wanted = {job: self._wanted.pop(job) for job in list(self._wanted)[:LOOK_MOST]}
                try:
                    await self._answer(wanted)
                except Exception as error:
                    for future in wanted.values():
                        future.set_exception(error)
                        future.exception()  # whoever asked may have gone
        finally:
            self._looking = None

    async def _answer(self, wanted: dict[JobId, asyncio.Future[Result | None]]) -> None:
        rows = await self._pool.read(lambda tx: tx.fetch(RESULTS, list(wanted)))
        found = {result.job.id: result for result in map(_result, rows)}
        for job, future in wanted.items():
            future.set_result(found.get(job))


def _result(row: Row) -> Result:
    output, error = row[JOB_WIDTH:]
    text = None if error is None else error.decode("utf-8", "surrogatepass")
    return Result(job=stored_job(row).job, output=output, error=text)
