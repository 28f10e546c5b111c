"""The roster: workers as users see them, with what they hold, printed and lived through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from stoker.ids import EndpointId, TeamId, WorkerId
from stoker.job import JobState
from stoker.runtimes import Capacity, LogLine, Runtime
from stoker.store import Decision, Held, Store, StoryLine
from stoker.worker import Worker


class Roster:
    """Reads about workers."""

    def __init__(self, store: Store, runtime: Runtime) -> None:
        self._store = store
        self._runtime = runtime

    async def workers(self, endpoint: EndpointId, *, gone: int) -> Sequence[Held]:
        """Workers of the endpoint, and the last `gone` that went."""
        return await self._store.workers.of_endpoint(endpoint, gone=gone)

    async def worker(self, team: TeamId, worker: WorkerId) -> Worker | None:
        """A worker of the team, or None."""
        found = await self._store.workers.get(worker)
        return found if found is not None and found.team == team else None

    def logs(self, worker: WorkerId, *, tail: int, follow: bool) -> AsyncIterator[LogLine]:
        """Output of a worker."""
        return self._runtime.logs(worker, tail=tail, follow=follow)

    async def capacity(self) -> Capacity:
        """What the machine offers."""
        return await self._runtime.capacity()

    async def decision(self, endpoint: EndpointId) -> Decision | None:
        """The latest decision about the endpoint."""
        return await self._store.workers.decision(endpoint)

    async def story(self, worker: WorkerId) -> Sequence[StoryLine]:
        """What happened to a worker."""
        return await self._store.workers.story(worker)

    async def held(self, worker: Worker) -> Held:
        """The worker with the jobs that it holds."""
        jobs = await self._store.jobs.held_by(worker.id)
        ahead = sum(job.state is JobState.AHEAD for job in jobs)
        stopping = len(await self._store.jobs.stops(worker.id))
        return Held(worker=worker, running=len(jobs) - ahead, stopping=stopping, ahead=ahead)
