"""Statuses that are asked for together are looked at together."""

from __future__ import annotations

import asyncio

import pytest

from stoker.errors import Unavailable
from stoker.ids import JobId
from stoker.store.postgres import PostgresStore
from stoker.store.postgres.results import LOOK_MOST
from tests.store.records import ENDPOINT, OTHER_TEAM, TEAM, cancel, submit

pytestmark = pytest.mark.postgres


async def test_everybody_gets_their_own(direct: PostgresStore) -> None:
    """However many ask at once, for the same job too: each gets the job that it asked for, and none that is not there."""
    made = [await submit(direct) for _ in range(5)]
    wanted = [made[number % 5].id for number in range(3 * LOOK_MOST)] + [JobId("nobody")]
    found = await asyncio.gather(*(direct.jobs.result(TEAM, ENDPOINT, job) for job in wanted))
    assert [one and one.job.id for one in found] == [*wanted[:-1], None]
    foreign = await asyncio.gather(*(direct.jobs.result(OTHER_TEAM, None, job) for job in wanted))
    assert set(foreign) == {None}


async def test_a_look_that_began_before_is_not_believed(direct: PostgresStore) -> None:
    """Whoever asks after a change was committed sees it, though others were asking when it was made."""
    for _ in range(10):
        job = await submit(direct)
        asking = [asyncio.create_task(direct.jobs.result(TEAM, ENDPOINT, job.id)) for _ in range(3)]
        await cancel(direct, job)
        seen = await direct.jobs.result(TEAM, ENDPOINT, job.id)
        assert seen is not None
        assert seen.job.state.final
        await asyncio.gather(*asking)


async def test_who_gives_up_takes_nobody_along(direct: PostgresStore) -> None:
    """A caller that is cancelled leaves the others their answer; a failure is told to all, and the next look is a new one."""
    job = await submit(direct)
    first, second = [asyncio.create_task(direct.jobs.result(TEAM, ENDPOINT, job.id)) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    found = await second
    assert found is not None
    assert first.cancelled()
    await direct.close()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await direct.jobs.result(TEAM, ENDPOINT, job.id)
