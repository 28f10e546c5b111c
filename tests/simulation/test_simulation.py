"""Days of traffic in seconds: what the parts promise one by one, they keep together, whatever goes wrong.

A failure names its seed; the same seed plays the same day again. More and longer days:

    STOKER_SIMULATED_DAYS=200 pytest tests/simulation -n auto
    STOKER_SIMULATED_HOURS=24 pytest tests/simulation -k busy_day
"""

import os
from dataclasses import replace

import pytest

from tests.simulation.days import Day, Play, three_endpoints
from tests.simulation.workers import ALL_VICES, Vices
from tests.simulation.world import TERMS, Setting, World, play

pytestmark = [pytest.mark.slow, pytest.mark.allow_blocking("the simulation runs the store inline")]

DAYS = int(os.environ.get("STOKER_SIMULATED_DAYS", "3"))
HOURS = float(os.environ.get("STOKER_SIMULATED_HOURS", "1"))

BAD_DAY = Day(
    length_s=600,
    submit_every_s=2,
    restart_every_s=100,
    outage_every_s=150,
    mishap_every_s=40,
    change_every_s=100,
)
BUSY_DAY = Day(length_s=HOURS * 3_600, submit_every_s=0.6, restart_every_s=1_200, look_every_s=30, tides=True)


def bad(seed: int) -> Setting:
    """Everything that can go wrong."""
    delay_s = [0.0, 0.01, 2.0][seed % 3]
    return Setting(seed=seed, vices=ALL_VICES, gpus=4, launch_refusals=0.1, runtime_delay_s=delay_s)


@pytest.mark.parametrize("seed", range(DAYS))
def test_a_bad_day(seed: int) -> None:
    """Workers with every vice, a server and a machine that come and go: no rule is broken, and everything ends."""

    async def story(world: World) -> None:
        await three_endpoints(world)
        day = Play(world, BAD_DAY)
        await day.run()
        await day.checker.check_counters()

    play(bad(seed), story)


def test_a_busy_day() -> None:
    """Thousands of jobs that come as the tides do: everything ends, and nobody stays who is not needed."""
    vices = Vices(crashes=0.002, falls_silent=0.001, loses_delivery=0.001, loses_result=0.001, posts_twice=0.01)

    async def story(world: World) -> None:
        await three_endpoints(world)
        day = Play(world, BUSY_DAY)
        await day.run()
        assert len(world.accepted) > 1_500 * HOURS

    terms = replace(TERMS, ping_interval_ms=10_000, lease_s=60, cancel_grace_s=30)
    play(Setting(seed=7, vices=vices, terms=terms, gpus=4, observe_every_s=5, hold_s=25), story)


def test_the_same_seed_is_the_same_day() -> None:
    """A world has no chance but its seed: what fails once can be looked at again."""

    async def story(world: World) -> list[object]:
        await three_endpoints(world)
        await Play(world, replace(BAD_DAY, length_s=120)).run()
        return [await world.view.jobs.story(job) for job in world.accepted]

    first, second = play(bad(3), story), play(bad(3), story)
    assert first == second
    assert len(first) > 10
