"""The log of jobs: what became of jobs, as lines of the server's own log, by the server that runs the loops.

Read from the ledger, so a job takes no longer for it and none is left out, whichever server did what. Each line has the ids of the job, its worker,
endpoint and team; the access log has those of requests beside the ids of the jobs that they made.
"""

from __future__ import annotations

from typing import Final

import structlog

from stoker.bookmark import Bookmark
from stoker.store import Store
from stoker.store.ledger import LedgerLine

log = structlog.get_logger()

PAGE: Final = 500
"""Lines of the ledger in one look."""
TROUBLES_PAGE: Final = 5_000
"""Of these few are read."""


class Chronicle:
    """What has yet to be written. `everything` is each step of each job, else what failed, timed out or lost an attempt."""

    def __init__(self, store: Store, *, everything: bool) -> None:
        self._ledger = store.ledger
        self._everything = everything
        self._place = Bookmark(store, "log of jobs")

    async def look(self, now_ms: int) -> bool:
        """Write what is new; whether there is more."""
        after = await self._place.find(now_ms)
        if self._everything:
            found = await self._ledger.read(after, teams=None, limit=PAGE)
        else:
            found = await self._ledger.troubles(after, limit=TROUBLES_PAGE)
        for line in found.lines:
            if line.job is not None:
                _say(line)
        await self._place.move(found.upto, now_ms, more=found.more)
        return found.more


def _say(line: LedgerLine) -> None:
    told = {"worker": line.worker, "attempt": line.attempt, "text": line.text}
    log.info(
        "job_moved",
        what=line.kind,
        state=line.state,
        why=line.reason,
        job=line.job,
        endpoint=line.endpoint,
        team=line.team,
        at_ms=line.at_ms,
        **{name: value for name, value in told.items() if value},
    )


__all__ = ["Chronicle"]
