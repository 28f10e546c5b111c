"""What a server believes of an endpoint's queue: one look serves all who take."""

from __future__ import annotations

import asyncio

from stoker.backlog import TRUST_MS, Backlog
from stoker.clock import ManualClock
from stoker.ids import EndpointId
from stoker.store import Counts, Store
from stoker.store.sqlite import MEMORY, SqliteStore
from tests.store.records import ENDPOINT, furnish


class Distant:
    """A store whose counters are a round trip away; how often they were asked for."""

    def __init__(self, store: Store) -> None:
        self.endpoints, self.workers, self.jobs = store.endpoints, store.workers, self
        self.looks = 0
        self._counts = store.jobs.counts

    async def counts(self, endpoint: EndpointId) -> Counts:
        """As they stand."""
        self.looks += 1
        await asyncio.sleep(0)
        return await self._counts(endpoint)


async def test_one_look_for_all_that_take_at_once() -> None:
    """When the second of trust has passed one take looks at the queue; those that come meanwhile believe it once more."""
    store = await SqliteStore.open(MEMORY)
    await furnish(store)
    distant, clock = Distant(store), ManualClock()
    backlog = Backlog(distant, clock)  # type: ignore[arg-type] # no more of the port is looked at
    now_ms = clock.now_ms()
    await backlog.ahead(ENDPOINT, "1.12.0", now_ms)
    takes = [backlog.ahead(ENDPOINT, "1.12.0", now_ms + TRUST_MS) for _ in range(20)]
    assert await asyncio.gather(*takes) == [0] * 20
    assert distant.looks == 2
    await store.close()
