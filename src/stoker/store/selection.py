"""Jobs of an endpoint that somebody looks for: by reason, worker, release, key, times or text. How they are found is `selecting`."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from stoker.ids import EndpointId, JobId, KeyId, ReleaseId, TeamId, WorkerId
from stoker.job import Job, JobReason, JobState

LOOKED_AT_MOST: Final = 20_000
"""Jobs that a page walks through: a few hundredths of a second."""


class Selection(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which jobs; what is not said does not choose."""

    state: JobState | None = None
    reason: JobReason | None = None
    worker: WorkerId | None = None
    """Of the latest attempt."""
    release: ReleaseId | None = None
    """What that worker ran, for as long as the worker is remembered."""
    key: KeyId | None = None
    """Which submitted them."""
    ran_least_ms: int | None = None
    """Those that are over and whose latest attempt took so long or longer."""
    ran_below_ms: int | None = None
    """Likewise, less than so long."""
    waited_least_ms: int | None = None
    """Those that began, and waited so long or longer for it."""
    waited_below_ms: int | None = None
    """Likewise, less than so long."""
    ended_since_ms: int | None = None
    """Those that ended then or later."""
    ended_before_ms: int | None = None
    """Those that ended before that."""
    text: str = ""
    """Part of their id, or of the error of those that failed."""


class Selected(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A page of them, newest first."""

    jobs: list[Job]
    next: JobId | None
    """The page goes on before this job; None at the end."""


class JobSelections(Protocol):
    """Where they are looked for."""

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
        ...


__all__ = ["LOOKED_AT_MOST", "JobSelections", "Selected", "Selection"]
