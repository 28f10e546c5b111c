"""The end of a store."""

from __future__ import annotations

import asyncio

import pytest

from stoker.errors import Unavailable
from stoker.store import Page, Store
from tests.store.records import ENDPOINT, TEAM, submit


async def test_closed_store_is_unavailable(store: Store) -> None:
    """After closing, every call says so; closing again is no error."""
    await store.close()
    with pytest.raises(Unavailable):
        await submit(store)
    with pytest.raises(Unavailable):
        await store.jobs.list(TEAM, ENDPOINT, state=None, page=Page())
    await store.close()


async def test_closing_finishes_what_was_begun(store: Store) -> None:
    """What was handed over before closing is carried out and answered."""
    begun = [asyncio.ensure_future(submit(store)) for _ in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert len({job.id for job in await asyncio.gather(*begun)}) == 20


async def test_cancelled_caller_harms_nobody(store: Store) -> None:
    """A caller that is cancelled while it waits does not disturb those beside it."""
    begun = [asyncio.ensure_future(submit(store)) for _ in range(3)]
    await asyncio.sleep(0)
    begun[1].cancel()
    jobs = await asyncio.gather(begun[0], begun[2])
    assert len(jobs) == 2
