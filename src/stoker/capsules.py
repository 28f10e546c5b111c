"""A capsule: one job in one file, to look at elsewhere or to run again.

What is in it: the input byte for byte, how it ended, the release that ran it (image by digest, command, names of variables and never
their values), the timeline, and what its workers printed about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stoker.endpoint import Release
from stoker.fleet import Fleet
from stoker.fleet.job_logs import Line
from stoker.ids import TeamId
from stoker.job import Job
from stoker.store import Result, Store, StoryLine

VERSION: Final = 1
"""Of the form of the file."""
LINES_MOST: Final = 10_000
"""Lines of the log; a capsule is for sending to somebody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capsule:
    """Everything that is known of a job."""

    result: Result
    input: bytes | None
    """JSON."""
    release: Release | None
    """What its last worker ran, else what the endpoint runs now."""
    story: Sequence[StoryLine]
    log: Sequence[Line]


class Capsules:
    """Makes them."""

    def __init__(self, store: Store, fleet: Fleet) -> None:
        self._store = store
        self._fleet = fleet

    async def of(self, team: TeamId, result: Result) -> Capsule:
        """The capsule of a job that was read before."""
        log: list[Line] = []
        async for line in self._fleet.job_logs.of(result.job):
            log.append(line)
            if len(log) == LINES_MOST:
                break
        return Capsule(
            result=result,
            input=await self._store.jobs.input(team, result.job.id),
            release=await self._release(result.job),
            story=await self._store.jobs.story(result.job.id),
            log=log,
        )

    async def _release(self, job: Job) -> Release | None:
        worker = None if job.worker is None else await self._store.workers.get(job.worker)
        if worker is not None:
            return await self._store.endpoints.release(worker.release)
        endpoint = await self._store.endpoints.get(job.endpoint)
        return None if endpoint is None else await self._store.endpoints.release(endpoint.release)


def release_json(release: Release) -> Mapping[str, object]:
    """A release without any value of a variable."""
    return {
        "number": release.number,
        "image": release.image,
        "digest": release.digest,
        "entrypoint": release.entrypoint,
        "command": release.command,
        "env": sorted(release.env),
        "gpus_per_worker": release.gpus_per_worker,
        "cuda": release.cuda,
    }


__all__ = ["VERSION", "Capsule", "Capsules", "release_json"]
