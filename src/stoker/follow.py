"""Following the ledger: what happens to the endpoints, workers and jobs of a team, as it happens.

Called by `web/events.py`. While somebody follows, one task of this server reads every new line of the followed teams once and
keeps the newest in memory; each follower has nothing but a position. A follower who is further behind reads from the store, page by
page, until it has caught up: so a slow one costs no memory, and one that comes back misses nothing that is still kept.

Signals only say that it is time to look. Every look is by position, so a lost signal costs `LOOK_EVERY_S` and never a line.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog

from stoker.errors import StokerError, Unavailable
from stoker.ids import TeamId
from stoker.signals import Signals
from stoker.store import Store
from stoker.store.ledger import LedgerLine, Lines, Position

log = structlog.get_logger()

GATHER_S: Final = 0.05
"""How long lines wait for company after a signal."""
LOOK_EVERY_S: Final = 1.0
"""How often to look without a signal."""
LOOK_AGAIN_S: Final = 0.1
"""How soon to look again when lines had to wait for transactions of others."""
PAGE: Final = 500
"""Lines of all teams in one look."""
RECENT_MOST: Final = 5_000
"""Lines in memory, a few hundred bytes each."""
FOLLOWERS_MOST: Final = 256
"""On this server; each holds a connection."""
FOLLOWERS_OF_TEAM_MOST: Final = 64
"""No team keeps the others out."""

Wanted = Callable[[LedgerLine], bool]


class Ledger:
    """Who follows, and the newest lines for them."""

    def __init__(
        self,
        store: Store,
        signals: Signals,
        *,
        recent_most: int = RECENT_MOST,
        of_team_most: int = FOLLOWERS_OF_TEAM_MOST,
    ) -> None:
        self._store = store
        self._signals = signals
        self._recent_most = recent_most
        self._of_team_most = of_team_most
        self._followers: Counter[TeamId] = Counter()
        self._moved: dict[TeamId, asyncio.Event] = {}
        """Set, and replaced, when there are new lines of the team."""
        self._recent: list[LedgerLine] = []
        self._complete: dict[TeamId, Position] = {}
        """After which position every line of the team is among the recent ones."""
        self._upto: Position | None = None
        """Up to which position; None while nobody reads."""
        self._task: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether the server is about to stop answering."""
        return self._signals.closed

    async def end(self) -> Position:
        """Where the ledger ends now."""
        return await self._store.ledger.end()

    async def around(self, since_ms: int, until_ms: int) -> tuple[Position, Position | None]:
        """Two places between which every line from the one moment to the other lies; None for an end that has yet to come."""
        return await self._store.ledger.around(since_ms, until_ms)

    @contextmanager
    def follow(self, team: TeamId, after: Position, wanted: Wanted) -> Iterator[Follower]:
        """Follow the lines of a team from a position on. Raises `Unavailable` when too many do."""
        if self._followers.total() >= FOLLOWERS_MOST or self._followers[team] >= self._of_team_most:
            raise Unavailable(
                "too many follow events already",
                code="too_many_streams",
                next_step="close others, or ask another server",
            )
        self._followers[team] += 1
        self._moved.setdefault(team, asyncio.Event())
        if self._task is None:
            self._task = asyncio.create_task(self._read_on(), name="ledger")
        try:
            yield Follower(self, team, after, wanted)
        finally:
            self._leave(team)

    def _leave(self, team: TeamId) -> None:
        self._followers[team] -= 1
        if not self._followers[team]:
            del self._followers[team], self._moved[team]
            self._complete.pop(team, None)
        if not self._followers and self._task is not None:
            self._task.cancel()
            self._task, self._upto, self._recent = None, None, []

    # ── for followers ─────────────────────────────────────────────────────────────────────────────────────────────────

    def moved(self, team: TeamId) -> asyncio.Event:
        """Set with the next lines of the team."""
        return self._moved[team]

    async def after(self, position: Position, team: TeamId) -> Lines:
        """The next lines of the team: from memory, or from the store if they are no more there."""
        complete = self._complete.get(team)
        if self._upto is None or complete is None or position < complete:
            return await self._store.ledger.read(position, teams=(team,), limit=PAGE)
        first = bisect_right(self._recent, position, key=_position)
        lines = self._recent[first : first + PAGE]
        more = first + PAGE < len(self._recent)
        upto = lines[-1].position if more else max(position, self._upto)
        return Lines(lines=[line for line in lines if line.team == team], upto=upto, more=more)

    # ── reading once for all ──────────────────────────────────────────────────────────────────────────────────────────

    async def _read_on(self) -> None:
        wait_s = 0.0
        while not self.closed:
            await self._signals.stirred(wait_s)
            try:
                wait_s = await self._look()
            except StokerError as error:
                log.warning("ledger_not_read", code=error.code, error=error.message)
                wait_s = LOOK_EVERY_S
            await asyncio.sleep(GATHER_S)
        for team in list(self._moved):
            self._tell(team)

    async def _look(self) -> float:
        """Read what is new; how long the next look may wait."""
        if self._upto is None:
            self._upto = await self.end()
        teams = frozenset(self._followers)
        since = self._upto
        found = await self._store.ledger.read(since, teams=teams, limit=PAGE)
        for team in teams & self._followers.keys():
            self._complete.setdefault(team, since)
        self._upto = found.upto
        self._recent += found.lines
        self._forget(len(self._recent) - self._recent_most)
        for team in {line.team for line in found.lines}:
            self._tell(team)
        if found.more:
            return 0.0
        return LOOK_AGAIN_S if found.held_back else LOOK_EVERY_S

    def _forget(self, count: int) -> None:
        """Let go of the oldest."""
        if count > 0:
            floor = self._recent[count - 1].position
            del self._recent[:count]
            self._complete = {team: max(since, floor) for team, since in self._complete.items()}

    def _tell(self, team: TeamId) -> None:
        moved = self._moved.get(team)
        if moved is not None:
            self._moved[team] = asyncio.Event()
            moved.set()


def _position(line: LedgerLine) -> Position:
    return line.position


class Follower:
    """One who follows. `position` is where it stands: what lies before was handed to it, or was not wanted."""

    def __init__(self, ledger: Ledger, team: TeamId, position: Position, wanted: Wanted) -> None:
        self._ledger = ledger
        self._team = team
        self._wanted = wanted
        self.position = position
        self.more = True
        """Whether the last look ended before the lines did."""

    async def next(self, timeout_s: float) -> Sequence[LedgerLine]:
        """The next wanted lines, as soon as there are some; none after `timeout_s`, or when the server stops. At least one look.

        Raises `Unavailable`.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        while True:
            moved = self._ledger.moved(self._team)
            found = await self._ledger.after(self.position, self._team)
            self.position, self.more = found.upto, found.more
            lines = [line for line in found.lines if self._wanted(line)]
            left_s = until_s - loop.time()
            if lines or self._ledger.closed or (found.more and left_s <= 0):
                return lines
            if not found.more and not await _set_within(moved, left_s):
                return ()


async def _set_within(event: asyncio.Event, wait_s: float) -> bool:
    """Whether it is set by then."""
    try:
        async with asyncio.timeout(max(0.0, wait_s)):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


__all__ = ["Follower", "Ledger"]
