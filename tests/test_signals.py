"""Waiting for signals: what whoever waits may rely on."""

from __future__ import annotations

import asyncio

import pytest

from stoker.ids import EndpointId
from stoker.signals import Signals


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
