"""The webhooks: tells receivers what they wait to hear, each at the pace that it keeps.

What waits for one receiver of one team is a lane. A lane that is due is served by a task of its own, a few notices at a time, so a slow
receiver holds up its own lane alone; one that fails is tried with one notice at a time and rests in between. Lanes take turns when there
are more than can be served at once, and no team can have more than its share of that.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Final

from stoker.clock import Clock
from stoker.loops import goes_well, keep_going
from stoker.notices import Notices
from stoker.store import Store
from stoker.store.notices import Lane
from stoker.webhook import Notice, Pace

POLL_S: Final = 1.0
"""How often it is looked what is due."""
TURN: Final = 32
"""Notices of a lane before others have their turn."""
LANES_REMEMBERED: Final = 10_000
"""Of more lanes than these it is forgotten how their receivers did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """How many tries may be under way."""

    per_receiver: int
    total: int

    @property
    def per_team(self) -> int:
        """A quarter of all: slow receivers of one team leave room for those of others."""
        return max(self.per_receiver, self.total // 4)


class Webhooks:
    """The loop."""

    def __init__(self, store: Store, clock: Clock, notices: Notices, bounds: Bounds) -> None:
        self._store = store
        self._clock = clock
        self._notices = notices
        self._bounds = bounds
        self._paces: dict[str, Pace] = {}
        self._served: dict[str, int] = {}
        """The turn in which each lane was served last."""
        self._turn = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By lane."""
        self._busy: Counter[str] = Counter()
        """Tries under way or promised to a lane, by team."""
        self._ended = asyncio.Event()
        self._begun = False

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await keep_going("webhooks", self._round)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _round(self) -> None:
        if not self._begun:
            await self._notices.begin()
            self._begun = True
        await self.look()
        try:
            async with asyncio.timeout(POLL_S):
                await self._ended.wait()
        except TimeoutError:
            pass
        self._ended.clear()

    async def look(self) -> list[asyncio.Task[None]]:
        """Give up what is overdue, and begin to serve every lane that is due and whose turn it is; what was begun."""
        await self._notices.give_up()
        now_ms = self._clock.now_ms()
        due = [lane for lane in await self._store.notices.lanes() if self._may_begin(lane, now_ms)]
        begun = []
        for lane in sorted(due, key=lambda lane: self._served.get(lane.name, 0)):
            team = lane.name.partition(" ")[0]
            width = self._width(lane.name, team)
            if width > 0:
                begun.append(self._begin(lane.name, team, width))
        return begun

    def _may_begin(self, lane: Lane, now_ms: int) -> bool:
        resume_ms = self._paces.get(lane.name, Pace()).resume_ms
        return lane.name not in self._tasks and lane.due_ms <= now_ms and resume_ms <= now_ms

    def _width(self, lane: str, team: str) -> int:
        """How many notices of the lane may be under way at once."""
        wanted = self._paces.get(lane, Pace()).at_once(self._bounds.per_receiver)
        return min(wanted, self._bounds.per_team - self._busy[team], self._bounds.total - self._busy.total())

    def _begin(self, lane: str, team: str, width: int) -> asyncio.Task[None]:
        if len(self._served) > LANES_REMEMBERED:
            self._served.clear()
            self._paces.clear()
        self._turn += 1
        self._served[lane] = self._turn
        self._busy[team] += width
        task = asyncio.create_task(self._serve(lane, width), name=f"webhooks of {lane}")
        self._tasks[lane] = task
        task.add_done_callback(partial(self._end, lane, team, width))
        return task

    def _end(self, lane: str, team: str, width: int, _task: asyncio.Task[None]) -> None:
        del self._tasks[lane]
        self._busy[team] -= width
        self._busy += Counter()  # without the teams of which nothing is under way
        self._ended.set()

    async def _serve(self, lane: str, width: int) -> None:
        """One turn: what is due, `width` at a time, until the receiver fails."""
        for _ in range(max(1, TURN // width)):
            notices = await self._due(lane, width)
            await asyncio.gather(*(goes_well("webhooks", partial(self._tell, lane, notice)) for notice in notices))
            if len(notices) < width or self._paces.get(lane, Pace()).failures:
                return

    async def _due(self, lane: str, width: int) -> list[Notice]:
        found: list[Notice] = []

        async def find() -> None:
            found.extend(await self._store.notices.due(lane, self._clock.now_ms(), width))

        await goes_well("webhooks", find)
        return found

    async def _tell(self, lane: str, notice: Notice) -> None:
        tried = await self._notices.deliver(notice)
        self._paces[lane] = self._paces.get(lane, Pace()).after(tried)


__all__ = ["Bounds", "Webhooks"]
