"""Waiting for signals: what whoever waits may rely on."""

from __future__ import annotations

import asyncio

import pytest

from stoker.ids import EndpointId
from stoker.signals import ENDS_EVERY_S, Signals
from tests.simulation.loop import SimulatedLoop


@pytest.mark.parametrize("turns", range(6))
async def test_a_loop_that_is_rung_while_it_is_cancelled_ends(turns: int) -> None:
    """However close together a ring and a cancellation come, the loop that waits ends: else a server would never stop."""
    signals = Signals()

    async def loop() -> None:
        while True:
            await signals.endpoints_to_scale(60)

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    signals.scale(EndpointId("one"))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=1)
    task.cancel()
    assert done
    assert task.cancelled()


def test_waits_end_in_time() -> None:
    """A wait that nothing rings lasts as long as it was asked to, and hardly longer, whoever else waits."""
    signals = Signals()

    async def wait(asked_s: float) -> float:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        with signals.listen(f"job {asked_s}") as ear:
            assert not await ear.wait(asked_s)
        return loop.time() - began_s

    async def scene() -> list[float]:
        return await asyncio.gather(*map(wait, asked))

    asked = [number / 1_000 for number in range(1, 100)]
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        held = runner.run(scene())
    assert held == pytest.approx(asked, abs=ENDS_EVERY_S)
    assert all(one >= least - 1e-9 for one, least in zip(held, asked, strict=True))


async def test_a_job_that_rang_for_who_goes_rings_for_the_next() -> None:
    """Who stands in the line, is woken for a job, and goes before it looks, lets the next one look."""
    signals, endpoint = Signals(), EndpointId("one")

    async def take(worker: str) -> bool:
        with signals.listen(worker, line=endpoint) as ear:
            return await ear.wait(60)

    first, second = asyncio.create_task(take("first")), asyncio.create_task(take("second"))
    await asyncio.sleep(0)
    signals.job_queued(endpoint)
    first.cancel()
    assert await second
    assert first.cancelled()
