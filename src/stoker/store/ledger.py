"""The ledger as it is followed: every line of it, in the order of commits.

Lines about jobs and workers are written by `transitions`, those about endpoints by the steps of this file; each in the
transaction of the change that it tells of. What must stay true: who reads up to a position and goes on from there later
misses nothing, whichever servers write meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, Protocol, Self

import msgspec

from stoker.ids import EndpointId, JobId, TeamId, WorkerId
from stoker.store.tables import Step, plain


class Position(NamedTuple):
    """A place between two lines. `batch` is where the database keeps several transactions apart, else 0."""

    batch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.batch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From its text; `0` is before every line. Raises `ValueError`."""
        found = _POSITION.fullmatch("0-0" if text == "0" else text)
        if found is None:
            raise ValueError(f"'{text}' is no position")
        return cls(int(found[1]), int(found[2]))


_POSITION: Final = re.compile("([0-9]{1,18})-([0-9]{1,18})")  # both below 2^63
START: Final = Position(0, 0)
"""Before every line."""


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line, with whose it is. It is about the job if there is one, else about the worker, else about the endpoint."""

    position: Position
    """After it."""
    at_ms: int
    team: TeamId
    endpoint: EndpointId
    job: JobId | None
    worker: WorkerId | None
    kind: str
    state: str
    reason: str
    attempt: int | None
    wanted: int | None
    """Workers, in decisions about an endpoint."""
    text: str


class Lines(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one look brought."""

    lines: Sequence[LedgerLine]
    upto: Position
    """Where to go on: nothing that lies before it will ever be added."""
    more: bool
    """Whether the look ended before the lines did."""
    held_back: bool = False
    """Whether there are lines that have to wait for transactions of others to end."""


class LedgerRows(Protocol):
    """The ledger of all teams."""

    async def end(self) -> Position:
        """After everything that `read` would answer with now."""
        ...

    async def read(self, after: Position, *, teams: Collection[TeamId] | None, limit: int) -> Lines:
        """Lines of these teams after a position, oldest first, of the next `limit` lines of all teams. None: of all teams, for loops."""
        ...

    async def around(self, since_ms: int, until_ms: int) -> tuple[Position, Position | None]:
        """Two places between which every line from the one moment to the other lies, as near to it as lines about endpoints tell;
        None for an end that has yet to come."""
        ...

    async def troubles(self, after: Position, *, limit: int) -> Lines:
        """Of the next `limit` lines of all teams those with which a job failed, timed out or lost an attempt. For loops."""
        ...

    async def prune(self, before_ms: int, limit: int) -> int:
        """Forget up to `limit` lines about endpoints from before that moment; how many."""
        ...


SLACK_MS: Final = 60_000
"""By how much lines may lie in another order than their times: no transaction takes as long, and no clocks differ by more."""

_COLUMNS: Final = "at_ms, team, endpoint, kind, state, reason, wanted, text"
TELL: Final = f"INSERT INTO story ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"


def tell_endpoint(
    *,
    at_ms: int,
    team: TeamId,
    endpoint: EndpointId,
    kind: str,
    state: str,
    reason: str = "",
    text: str = "",
    wanted: int | None = None,
) -> Step:
    """What writes a line about an endpoint."""
    return Step(TELL, (at_ms, team, endpoint, kind, state, reason, wanted, plain(text)))


__all__ = ["SLACK_MS", "START", "LedgerLine", "LedgerRows", "Lines", "Position", "tell_endpoint"]
