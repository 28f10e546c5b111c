"""The autoscaler: looks at an endpoint when something happened to it, or when its last plan said to look again.

Looking is a snapshot, a decision (`scaling.decide`, pure) and carrying the plan out. Under load something happens to an endpoint all
the time: it is looked at no more often than every `PAUSE_S`, and after a look that had nothing to do so seldom that looking takes a
small part of the time, however many workers have to be read for it (`rest_s`). The first look after a quiet time is immediate, so a
cold start begins with the commit of the first job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from stoker.clock import Clock
from stoker.fleet import Fleet
from stoker.ids import EndpointId
from stoker.loops import goes_well, keep_going, nobody
from stoker.scaling import decide
from stoker.signals import Signals
from stoker.store import Store

PAUSE_S: Final = 0.05
RESTS: Final = 9
"""Seconds in which an endpoint is left alone for each second that looking at it took: the event loop that looks is the one that answers."""
REST_MOST_S: Final = 0.5
LOOK_AT_ALL_EVERY_S = 5.0
"""Signals may be lost, polling is not: every endpoint is looked at this often, whatever happens."""
RETRY_MS = 1_000
"""How soon to look again at an endpoint with which something went wrong."""


class Autoscaler:
    """The loop, and when each endpoint is due."""

    def __init__(
        self, store: Store, clock: Clock, signals: Signals, fleet: Fleet, *, ended: Callable[[str], None] = nobody
    ) -> None:
        self._ended = ended
        self._store = store
        self._clock = clock
        self._signals = signals
        self._fleet = fleet
        self._look_again_ms: dict[EndpointId, int] = {}
        self._rests_until_ms: dict[EndpointId, int] = {}
        self._look_at_all_ms = 0

    async def run(self) -> None:
        """Until cancelled."""
        await keep_going("autoscaler", self._round, ended=self._ended)

    async def _round(self) -> None:
        named = await self._signals.endpoints_to_scale(self._sleep_s())
        now_ms = self._clock.now_ms()
        due = [endpoint for endpoint, at_ms in self._look_again_ms.items() if at_ms <= now_ms]
        if now_ms >= self._look_at_all_ms:
            due += [endpoint.id for endpoint in await self._store.endpoints.active()]
            self._look_at_all_ms = now_ms + int(LOOK_AT_ALL_EVERY_S * 1000)
        for endpoint in dict.fromkeys([*named, *due]):
            if not self._rests(endpoint, now_ms) and not await goes_well("autoscaler", partial(self.look_at, endpoint)):
                self._look_again_ms[endpoint] = now_ms + RETRY_MS
        await asyncio.sleep(PAUSE_S)

    def _rests(self, endpoint: EndpointId, now_ms: int) -> bool:
        """Whether it was looked at just now; then it is due when that is over."""
        until_ms = self._rests_until_ms.pop(endpoint, 0)
        if until_ms <= now_ms:
            return False
        self._rests_until_ms[endpoint] = until_ms
        self._look_again_ms[endpoint] = min(until_ms, self._look_again_ms.get(endpoint, until_ms))
        return True

    def _sleep_s(self) -> float:
        moments = [self._look_at_all_ms, *self._look_again_ms.values()]
        return max(0, min(moments) - self._clock.now_ms()) / 1000

    async def look_at(self, endpoint_id: EndpointId) -> None:
        """Decide about one endpoint now."""
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        self._look_again_ms.pop(endpoint_id, None)
        endpoint = await self._store.endpoints.get(endpoint_id)
        if endpoint is None:
            return
        plan = decide(await self._fleet.snapshot(endpoint))
        await self._fleet.carry_out(endpoint, plan)
        if plan.look_again_ms is not None:
            self._look_again_ms[endpoint_id] = plan.look_again_ms
        rest_ms = int(1000 * rest_s(loop.time() - begun_s))
        if rest_ms and plan.launch is None and not plan.drain:
            self._rests_until_ms[endpoint_id] = self._clock.now_ms() + rest_ms


def rest_s(took_s: float) -> float:
    """For how long to leave an endpoint alone after looking at it for so long; a look as short as most costs nobody anything."""
    wanted_s = RESTS * took_s
    return min(wanted_s, REST_MOST_S) if wanted_s > PAUSE_S else 0.0
