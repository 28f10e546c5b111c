"""Single promises that only the parts together can keep, each in a world where nothing else goes wrong."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from stoker.audit import Actor
from stoker.endpoint import Endpoint
from stoker.errors import Unavailable
from stoker.fleet import Fleet
from stoker.ids import EndpointId, JobId, WorkerId
from stoker.job import Cancelled, JobReason, JobState
from stoker.loops.autoscaler import Autoscaler
from stoker.runtimes import Device
from stoker.scaling import CRASHES_MOST, Reason, Snapshot
from stoker.sharing import PATIENCE_S
from stoker.store import Held, Result
from stoker.worker import Worker, WorkerReason, WorkerState
from tests.simulation.loop import SimulatedLoop, Stuck
from tests.simulation.workers import Vices
from tests.simulation.world import TERMS, Setting, World, play

pytestmark = pytest.mark.allow_blocking("the simulation runs the store inline")

CALM = Setting(seed=1)
JOB_S = 10
"""How long jobs work where there are many of them."""


async def result(world: World, job: JobId | None) -> Result:
    assert job is not None
    found = await world.view.jobs.result(world.team, None, job)
    assert found is not None
    return found


async def done(world: World, job: JobId | None, *, within_s: float) -> Result:
    async def over() -> bool:
        return (await result(world, job)).job.state.final

    await world.until(over, within_s=within_s, what=f"the end of {job}")
    return await result(world, job)


async def runs(world: World, job: JobId | None) -> None:
    async def running() -> bool:
        return (await result(world, job)).job.confirmed_ms is not None

    await world.until(running, within_s=60, what=f"the start of {job}")


async def delivered(world: World, job: JobId | None) -> None:
    async def claimed() -> bool:
        return (await result(world, job)).job.attempt > 0

    await world.until(claimed, within_s=60, what=f"the delivery of {job}")
    await asyncio.sleep(0.1)  # the answer is on its way


async def alive(world: World, endpoint: Endpoint) -> list[Held]:
    return list(await world.view.workers.of_endpoint(endpoint.id))


async def all_gone(world: World, endpoint: Endpoint, *, within_s: float) -> None:
    async def gone() -> bool:
        return not await alive(world, endpoint)

    await world.until(gone, within_s=within_s, what="no worker")


async def ready(world: World, endpoint: Endpoint, count: int = 1) -> list[Held]:
    async def serving() -> bool:
        return sum(held.worker.takes_jobs for held in await alive(world, endpoint)) == count

    await world.until(serving, within_s=60, what=f"{count} ready workers")
    return await alive(world, endpoint)


async def submit_many(world: World, endpoint: Endpoint) -> None:
    """Jobs for more than an hour."""
    for _job in range(400):
        await world.submit(endpoint, {"work_s": JOB_S})


def used_s(world: World, workers: Sequence[Worker], endpoint: Endpoint, since_s: float) -> float:
    """GPU-seconds that an endpoint has had since then."""
    since_ms = world.clock.now_ms() - round((world.now_s - since_s) * 1000)
    ends = [(one, one.gone_ms or world.clock.now_ms()) for one in workers if one.endpoint == endpoint.id]
    return sum(max(0, end_ms - max(since_ms, one.decided_ms)) / 1000 * len(one.gpus) for one, end_ms in ends)


async def stop(world: World, worker: Worker) -> None:
    await world.request(lambda server: server.fleet.stop(worker, now=True))


# ── the world itself ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_waiting_for_nothing_fails_at_once() -> None:
    """The loop says so when nobody can ever run again."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner, pytest.raises(Stuck, match="deadlock"):
        runner.run(asyncio.Event().wait())


def test_letting_no_time_pass_fails() -> None:
    """The loop says so when somebody never waits."""

    async def spin() -> None:
        while True:  # noqa: ASYNC110 - this is what the loop must notice
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner, pytest.raises(Stuck, match="livelock"):
        runner.run(spin())


# ── scaling ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_from_zero_at_once_and_back_to_zero() -> None:
    """The first job starts a worker without waiting for any poll; the idle timeout after the last ends it."""

    async def story(world: World) -> None:
        endpoint = await world.create(idle_timeout_s=30, start_s=2.0)
        await asyncio.sleep(100.3)
        job = await world.submit(endpoint)
        await asyncio.sleep(0.2)
        assert len(await alive(world, endpoint)) == 1
        ended = (await done(world, job, within_s=10)).job
        await asyncio.sleep((ended.finished_ms or 0) / 1000 + 29 - world.clock.now_ms() / 1000)
        assert len(await ready(world, endpoint)) == 1
        await all_gone(world, endpoint, within_s=3)

    play(CALM, story)


def test_crash_loop_backs_off() -> None:
    """A release that never starts is given up after a few tries, and its jobs hear why they wait, until somebody says retry."""

    async def story(world: World) -> None:
        endpoint = await world.create()
        jobs = [await world.submit(endpoint) for _ in range(5)]
        await asyncio.sleep(3_600)
        assert len(world.workers) <= CRASHES_MOST
        why = await world.request(lambda server: _why(server, world, jobs[0]))
        assert why.reason == Reason.CRASH_LOOP
        assert "stoker endpoint retry" in why.text
        world.vices = Vices()
        await asyncio.sleep(3_600)
        tried = len(world.workers)
        await world.request(lambda server: _retry(server, endpoint))
        for job in jobs:
            assert (await done(world, job, within_s=30)).job.state is JobState.COMPLETED
        assert len(world.workers) > tried

    play(replace(CALM, vices=Vices(crashes_while_starting=1.0)), story)


async def _retry(server: Any, endpoint: Endpoint) -> Any:
    return await server.catalog.retry(Actor(team=endpoint.team), await server.catalog.deployed(endpoint))


async def _why(server: Any, world: World, job: JobId | None) -> Any:
    return await server.queue.why(await result(world, job))


def test_devices_that_cannot_be_told_stop_only_those_who_need_them() -> None:
    """While the machine cannot say what GPUs it has, GPU workers wait with the reason and all others start."""

    async def story(world: World) -> None:
        greedy = await world.create(gpus_per_worker=1)
        modest = await world.create()
        world.machine.blind = True
        waiting, other = await world.submit(greedy), await world.submit(modest)
        await done(world, other, within_s=6)
        assert (await world.request(lambda server: _why(server, world, waiting))).reason == Reason.NO_CAPACITY
        world.machine.blind = False
        await done(world, waiting, within_s=10)

    play(replace(CALM, gpus=1), story)


def test_a_driver_that_grew_too_old_stops_launches() -> None:
    """A machine that came back with an older driver starts no worker that needs a newer CUDA; the waiting job says which, and runs
    once the driver is new enough."""

    async def story(world: World) -> None:
        world.machine.cuda = "12.6"
        endpoint = await world.create(gpus_per_worker=1, cuda=">=12.4")
        await done(world, await world.submit(endpoint), within_s=10)
        await stop(world, (await alive(world, endpoint))[0].worker)
        world.machine.cuda = "12.2"
        launched = len(world.workers)
        waiting = await world.submit(endpoint)
        await asyncio.sleep(30)
        why = await world.request(lambda server: _why(server, world, waiting))
        assert (why.reason, len(world.workers)) == (Reason.NO_CAPACITY, launched)
        assert "cuda is '>=12.4'; the driver of this machine offers CUDA 12.2" in why.text
        world.machine.cuda = "12.4"
        await done(world, waiting, within_s=10)

    play(replace(CALM, gpus=1), story)


def test_the_driver_is_looked_at_right_before_the_launch() -> None:
    """A driver that is exchanged while the image is fetched is noticed before the worker starts, and is the reason of the failure."""

    async def story(world: World) -> None:
        endpoint = await world.create(gpus_per_worker=1, cuda="12.6")
        world.machine.cuda_before = ["12.6", "12.2"]  # to the plan and the reservation, to the launch
        waiting = await world.submit(endpoint)
        await asyncio.sleep(0.5)
        why = await world.request(lambda server: _why(server, world, waiting))
        assert why.reason == Reason.LAUNCH_BACKOFF
        assert "offers CUDA 12.2" in why.text
        assert not world.workers
        await done(world, waiting, within_s=10)

    play(replace(CALM, gpus=1), story)


def test_the_fallback_order() -> None:
    """When the first choice is full a worker goes to the second; the plan says so, and the worker's record where it is."""

    async def story(world: World) -> None:
        endpoint = await world.create(gpus_per_worker=1, specifications=("rare-8gb", "fake-gpu"), start_s=5.0)
        jobs = [await world.submit(endpoint) for _ in range(3)]
        await asyncio.sleep(3)
        said = await world.view.workers.decision(endpoint.id)
        assert said is not None
        held = await world.view.workers.of_endpoint(endpoint.id)
        assert sorted(one.worker.specification for one in held) == ["fake-gpu", "rare-8gb"]
        assert {one.worker.gpus for one in held} == {("rare",), ("GPU-0",)}
        told = [line.text for one in held for line in await world.view.workers.story(one.worker.id)]
        assert any("Rare 8GB has no more room" in text for text in told), told
        assert (said.reason, said.text) == (
            Reason.NO_CAPACITY,
            "0 of 1 GPUs Rare 8GB are free, a worker needs 1; 0 of 1 GPUs Fake GPU are free, a worker needs 1",
        )
        for job in jobs:
            await done(world, job, within_s=60)

    play(replace(CALM, gpus=1, more_devices=(Device(id="rare", name="Rare", memory_bytes=8 * 1024**3),)), story)


@pytest.mark.slow
@pytest.mark.parametrize("restart", [False, True])
def test_a_full_box_is_shared_by_weight(restart: bool) -> None:
    """Two endpoints with jobs for hours get GPU-seconds by weight, from the moment the second comes, over a restart of the server;
    no attempt is lost by it, and the one that waits is told how much others have and when its turn comes."""

    async def story(world: World) -> None:
        heavy = await world.create(gpus_per_worker=1, max_workers=4, weight=2, name="incumbent")
        await submit_many(world, heavy)
        await asyncio.sleep(120)
        light = await world.create(gpus_per_worker=1, max_workers=4)
        await submit_many(world, light)
        come_s = world.now_s
        await asyncio.sleep(5)
        decided = await world.view.workers.decision(light.id)
        assert decided is not None
        assert decided.reason == Reason.NO_CAPACITY
        assert "others have 3 of 3 GPUs" in decided.text
        assert "this endpoint 0; its share is 1, and its turn comes in about" in decided.text
        assert heavy.name not in decided.text
        await ready(world, light)
        assert world.now_s - come_s < PATIENCE_S + JOB_S + 10
        for _twice in range(2):
            if restart:
                await world.restart(down_s=2)
            await asyncio.sleep(600)
        workers = await world.view.workers.since(0)
        gpu_seconds = {one.id: used_s(world, workers, one, come_s + 60) for one in (heavy, light)}
        assert gpu_seconds[heavy.id] == pytest.approx(2 * gpu_seconds[light.id], rel=0.02)
        assert [one.endpoint for one in workers if one.reason is WorkerReason.GAVE_WAY] == [heavy.id]
        assert (await world.view.jobs.counts(heavy.id)).retried == 0

    play(replace(CALM, gpus=3), story)


def test_a_new_release_interrupts_nobody() -> None:
    """While a release is replaced, jobs go on being taken as if nothing happened, and no more than one worker is there besides."""

    async def story(world: World) -> None:
        endpoint = await world.create(min_workers=2, max_workers=2, start_s=5.0)
        await world.until(lambda: _all_ready(world, endpoint, 2), within_s=60, what="two workers")
        before = {one.worker.id for one in await alive(world, endpoint)}
        await world.release(endpoint)
        for _ in range(20):
            job = await world.submit(endpoint)
            await done(world, job, within_s=4)  # less than a start takes
            assert len(await alive(world, endpoint)) <= 3
        await world.until(lambda: _all_ready(world, endpoint, 2), within_s=60, what="two workers")
        assert not before & {one.worker.id for one in await alive(world, endpoint)}

    play(CALM, story)


async def _all_ready(world: World, endpoint: Endpoint, count: int) -> bool:
    present = await world.view.endpoints.get(endpoint.id)
    assert present is not None
    held = await alive(world, endpoint)
    return [one.worker.takes_jobs and one.worker.release == present.release for one in held] == [True] * count


class TroubledFleet(Fleet):
    """Cannot look at one endpoint."""

    troubled: EndpointId

    async def snapshot(self, endpoint: Endpoint) -> Snapshot:
        """As ever, or an error."""
        if endpoint.id == self.troubled:
            raise Unavailable
        return await super().snapshot(endpoint)


def test_one_endpoint_in_trouble_is_one_endpoint() -> None:
    """An endpoint that cannot be looked at keeps none of the others from being looked at."""

    async def story(world: World) -> None:
        first, second = await world.create(), await world.create()
        server = world.server
        assert server is not None
        server.loops.pop().cancel()
        fleet = TroubledFleet(world.store, world.clock, server.signals, world.machine, TERMS)
        fleet.troubled = first.id
        server.loops.append(asyncio.create_task(Autoscaler(world.store, world.clock, server.signals, fleet).run()))
        await world.submit(first)
        await done(world, await world.submit(second), within_s=6)

    play(CALM, story)


# ── launching and stopping ────────────────────────────────────────────────────────────────────────────────────────────


def test_stopped_while_it_is_launched() -> None:
    """A worker that is stopped during its launch ends with the launch; the runtime never hears two calls at once."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=1)
        await world.submit(endpoint)
        await asyncio.sleep(4)  # the machine has been asked what it has; the launch takes as long again
        (held,) = await alive(world, endpoint)
        assert held.worker.state is WorkerState.DECIDED
        await stop(world, held.worker)
        await asyncio.sleep(10)
        assert held.worker.id not in world.running(endpoint.id)
        await world.until(lambda: _one_other(world, endpoint, held), within_s=20, what="another worker")

    play(replace(CALM, runtime_delay_s=3.0), story)


async def _one_other(world: World, endpoint: Endpoint, held: Held) -> bool:
    return [one.worker.id != held.worker.id for one in await alive(world, endpoint)] == [True]


def test_an_old_observation_ends_nobody() -> None:
    """A worker whose launch ended while the runtime was being asked is not taken for one that vanished."""

    async def story(world: World) -> None:
        world.machine.stale_s, world.machine.pull_s = 1.5, 1.0
        endpoint = await world.create()
        for _ in range(10):
            job = await world.submit(endpoint)
            await done(world, job, within_s=20)
            await asyncio.sleep(world.chance.random())
            (held,) = await ready(world, endpoint)
            await stop(world, held.worker)
            await all_gone(world, endpoint, within_s=30)
        assert len(world.workers) == 10

    play(CALM, story)


def test_launch_that_a_restart_interrupts_blocks_nobody() -> None:
    """A worker that was decided and never launched is noticed after the restart, and makes room for another."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=1)
        job = await world.submit(endpoint)
        await asyncio.sleep(3)
        (held,) = await alive(world, endpoint)
        await world.restart(down_s=5)
        assert held.worker.state is WorkerState.DECIDED
        assert held.worker.id not in world.running(endpoint.id)
        assert (await done(world, job, within_s=20)).job.worker != held.worker.id

    play(replace(CALM, runtime_delay_s=2.0), story)


def test_a_stray_is_stopped() -> None:
    """A worker of ours that the store does not know, or knows as gone, does not run for long."""

    async def story(world: World) -> None:
        endpoint = await world.create()
        await world.submit(endpoint)
        (known,) = await ready(world, endpoint)
        spec = world.workers[known.worker.id].fake.spec
        env = {**spec.env, "RUNPOD_POD_ID": "stray"}
        await world.machine.launch(replace(spec, worker=WorkerId("stray"), env=env))
        await asyncio.sleep(3)
        assert world.running(endpoint.id) == [known.worker.id]

    play(CALM, story)


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("away", [False, True])
def test_restart_costs_no_attempt(away: bool) -> None:
    """A server that is away longer than a lease finds its workers and their jobs as they were, even if the runtime is slow."""

    async def story(world: World) -> None:
        endpoint = await world.create()
        job = await world.submit(endpoint, {"work_s": 90.0})
        await runs(world, job)
        world.machine.away = away
        await world.restart(down_s=TERMS.lease_s + 15)
        await asyncio.sleep(5)
        world.machine.away = False
        ended = (await done(world, job, within_s=200)).job
        assert (ended.state, ended.attempt) == (JobState.COMPLETED, 1)

    play(CALM, story)


def test_downtime_is_not_held_against_a_starting_worker() -> None:
    """Nobody can ask for work while there is no server: the time to start is not over because of that."""

    async def story(world: World) -> None:
        endpoint = await world.create(start_s=TERMS.start_timeout_s + 20)
        job = await world.submit(endpoint)
        await asyncio.sleep(20)
        await world.restart(down_s=40)
        assert (await done(world, job, within_s=90)).job.attempt == 1
        assert len(world.workers) == 1

    play(CALM, story)


def test_downtime_is_not_held_against_a_worker_that_has_to_stop_a_job() -> None:
    """A worker that could not hear of a cancelled job is told after the restart, and goes on with its other jobs."""

    down_s = TERMS.cancel_grace_s + 5

    async def story(world: World) -> None:
        endpoint = await world.create(slots=2, max_workers=1)
        stays, goes = [await world.submit(endpoint, {"work_s": 60.0}) for _ in range(2)]
        await runs(world, goes)
        assert goes is not None
        await world.view.jobs.advance(
            goes, Cancelled(at_ms=world.clock.now_ms())
        )  # and the server dies before it tells
        await world.restart(down_s=down_s)
        ended = (await done(world, stays, within_s=200)).job
        assert (ended.state, ended.attempt) == (JobState.COMPLETED, 1)

    for _ in range(5):
        down_s += TERMS.ping_interval_ms / 5_000
        play(CALM, story)


def test_disobedient_worker_is_replaced() -> None:
    """A worker that goes on with a cancelled job is replaced after the grace, and the next job runs elsewhere."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=1)
        job = await world.submit(endpoint, {"work_s": 3_000.0})
        await runs(world, job)
        world.vices = Vices()
        assert job is not None
        cancelled = await world.request(lambda server: server.queue.cancel(world.team, endpoint.id, job))
        after = await done(world, await world.submit(endpoint), within_s=TERMS.cancel_grace_s + 10)
        assert cancelled.state is JobState.CANCELLED
        assert after.job.worker != cancelled.worker
        gone = await world.view.workers.get(cancelled.worker)  # type: ignore[arg-type]
        assert gone is not None
        assert gone.reason is WorkerReason.JOB_NOT_STOPPED

    play(replace(CALM, vices=Vices(ignores_stops=1.0)), story)


@pytest.mark.parametrize("after_s", range(8))
def test_slot_of_a_cancelled_job_is_soon_used_again(after_s: int) -> None:
    """A worker that obeys gets its next job with the first ping that shows it, not after a further poll."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=1)
        job = await world.submit(endpoint, {"work_s": 3_000.0})
        await runs(world, job)
        assert job is not None
        await asyncio.sleep(after_s)
        await world.request(lambda server: server.queue.cancel(world.team, endpoint.id, job))
        after = (await done(world, await world.submit(endpoint, {"work_s": 0.1}), within_s=20)).job
        assert after.worker == (await result(world, job)).job.worker
        assert (after.delay_ms or 0) <= 2_000 + TERMS.ping_interval_ms + 100

    play(CALM, story)


def test_delivery_that_a_busy_worker_never_saw_comes_back() -> None:
    """A worker that pings and lists other jobs does not keep one that it never got."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=1, slots=2, execution_timeout_ms=3_600_000)
        await runs(world, await world.submit(endpoint, {"work_s": 1_000.0}))
        world.vices = Vices(loses_delivery=1.0)
        lost = await world.submit(endpoint)
        await delivered(world, lost)
        world.vices = Vices()
        ended = (await done(world, lost, within_s=TERMS.lease_s + 10)).job
        assert ended.attempt == 2
        lines = await world.view.jobs.story(ended.id)
        assert JobReason.DELIVERY_UNCONFIRMED in [line.reason for line in lines]

    play(CALM, story)


@pytest.mark.parametrize("seed", range(4))
def test_delivery_that_got_lost_comes_back(seed: int) -> None:
    """A job whose delivery no worker ever saw is handed out again, though it came with the worker's very first take."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=1, slots=2, execution_timeout_ms=3_600_000)
        lost = await world.submit(endpoint)
        await delivered(world, lost)
        world.vices = Vices()
        await world.submit(endpoint, {"work_s": 1_000.0})
        assert (await done(world, lost, within_s=3 * TERMS.lease_s)).job.attempt == 2

    play(Setting(seed=seed, vices=Vices(loses_delivery=1.0)), story)


def test_silent_worker_loses_its_job_and_its_life() -> None:
    """A worker that neither pings nor takes is replaced after its lease although the runtime says that it runs."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=1)
        job = await world.submit(endpoint, {"work_s": 2.0})
        await delivered(world, job)
        await asyncio.sleep(2)
        world.vices = Vices()
        ended = (await done(world, job, within_s=TERMS.lease_s + 20)).job
        assert (ended.state, ended.attempt, ended.losses) == (JobState.COMPLETED, 2, 1)
        lines = await world.view.jobs.story(ended.id)
        assert JobReason.WORKER_SILENT in [line.reason for line in lines]

    play(replace(CALM, vices=Vices(falls_silent=1.0)), story)


def test_nobody_waits_beside_an_idle_worker() -> None:
    """Jobs that come together wake as many idle workers as there are jobs, however their takes and commits interleave."""

    async def story(world: World) -> None:
        endpoint = await world.create(min_workers=3, max_workers=3)
        await ready(world, endpoint, 3)
        for _ in range(60):
            await asyncio.sleep(7 + world.chance.random())
            tasks = []
            for _ in range(3):
                tasks.append(asyncio.create_task(world.submit(endpoint, {"work_s": 0.1})))
                await asyncio.sleep(world.chance.random() * 0.03)
            for job in await asyncio.gather(*tasks):
                assert ((await done(world, job, within_s=20)).job.delay_ms or 0) < 1_000

    for seed in range(3):
        play(Setting(seed=seed), story)


def test_result_that_got_lost_is_made_again() -> None:
    """A worker that asks for work as if it had none has lost a result; nobody waits for a lease to see it."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=1)
        job = await world.submit(endpoint, {"work_s": 5.0})
        await runs(world, job)
        world.vices = Vices(loses_result=1.0)
        await asyncio.sleep(10)
        world.vices = Vices()
        ended = (await done(world, job, within_s=20)).job
        assert (ended.state, ended.attempt) == (JobState.COMPLETED, 2)
        assert JobReason.RESULT_MISSING in [line.reason for line in await world.view.jobs.story(ended.id)]

    play(CALM, story)


def test_new_release_costs_no_attempt() -> None:
    """Workers of the old release finish what they hold; what is queued then runs on the new one."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=1)
        job = await world.submit(endpoint, {"work_s": 30.0})
        await runs(world, job)
        await world.release(endpoint)
        after = (await done(world, await world.submit(endpoint), within_s=100)).job
        before = (await done(world, job, within_s=60)).job
        assert (before.state, before.attempt, after.attempt) == (JobState.COMPLETED, 1, 1)
        assert before.worker != after.worker

    play(CALM, story)


def test_deleted_endpoint_ends_its_jobs_and_its_workers() -> None:
    """What runs may finish, what waits is cancelled, what a last worker loses is not kept waiting for ever."""

    async def story(world: World) -> None:
        endpoint = await world.create(slots=2, max_workers=1)
        finishes, loses, waits = [
            await world.submit(endpoint, {"work_s": 20.0, "kills": kills}) for kills in (False, True, False)
        ]
        await runs(world, finishes)
        await runs(world, loses)
        await world.delete(endpoint)
        assert (await result(world, waits)).job.reason is JobReason.PURGED
        await all_gone(world, endpoint, within_s=60)
        for job in (finishes, loses):
            await done(world, job, within_s=10)

    play(CALM, story)


def test_jobs_that_no_worker_survives_end() -> None:
    """A job that kills its worker is retried as often as its endpoint says, then fails with the reason."""

    async def story(world: World) -> None:
        endpoint = await world.create(retries=2)
        job = await world.submit(endpoint, {"kills": True})
        ended = (await done(world, job, within_s=60)).job
        assert (ended.state, ended.reason) == (JobState.FAILED, JobReason.RETRIES_EXHAUSTED)
        assert (ended.attempt, len(world.workers)) == (3, 3)

    play(CALM, story)


# ── delivered ahead ───────────────────────────────────────────────────────────────────────────────────────────────────


async def _some_ahead(world: World, endpoint: Endpoint) -> None:
    async def any_ahead() -> bool:
        return any(held.ahead for held in await alive(world, endpoint))

    await world.until(any_ahead, within_s=60, what="jobs delivered ahead")


def test_jobs_ahead_keep_their_order_and_cost_no_attempt() -> None:
    """A worker that has jobs ahead runs them in the order of submission, each in its first attempt."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=1, deliver_ahead=10)
        jobs = [await world.submit(endpoint) for _ in range(30)]
        await _some_ahead(world, endpoint)
        ends = [await done(world, job, within_s=300) for job in jobs]
        assert {(end.job.state, end.job.attempt, end.job.losses) for end in ends} == {(JobState.COMPLETED, 1, 0)}
        (worker,) = world.workers.values()
        assert worker.begun == jobs

    play(CALM, story)


def test_jobs_ahead_of_a_killed_worker_wait_again_uncounted() -> None:
    """When a worker dies only the job that it ran has lost an attempt; the others run elsewhere in their first."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=1, deliver_ahead=10, retries=1)
        jobs = [await world.submit(endpoint, {"work_s": 3.0}) for _ in range(12)]
        await _some_ahead(world, endpoint)
        (held,) = await alive(world, endpoint)
        world.machine.kill(held.worker.id)
        ends = [await done(world, job, within_s=600) for job in jobs]
        assert {end.job.state for end in ends} == {JobState.COMPLETED}
        assert sorted(end.job.attempt for end in ends) == [1] * 11 + [2]

    play(CALM, story)


def test_a_job_ahead_can_be_cancelled() -> None:
    """It is cancelled at once, no worker is told to stop it, and its worker goes on with the others."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=1, deliver_ahead=10)
        jobs = [await world.submit(endpoint, {"work_s": 3.0}) for _ in range(6)]
        await _some_ahead(world, endpoint)
        third = await result(world, jobs[2])
        assert third.job.state is JobState.AHEAD
        await world.request(lambda server: server.queue.cancel(world.team, endpoint.id, third.job.id))
        ends = [await done(world, job, within_s=300) for job in jobs]
        assert [end.job.state for end in ends].count(JobState.COMPLETED) == 5
        assert ends[2].job.state is JobState.CANCELLED
        assert ends[2].job.worker is None
        assert len(world.workers) == 1

    play(CALM, story)


def test_jobs_ahead_leave_their_share_to_others() -> None:
    """While the queue has any job no ready worker is without one."""

    async def story(world: World) -> None:
        endpoint = await world.create(max_workers=3, deliver_ahead=250)
        jobs = [await world.submit(endpoint) for _ in range(120)]

        async def over() -> bool:
            counts = await world.view.jobs.counts(endpoint.id)
            workers = await alive(world, endpoint)
            idle = [
                one for one in workers if one.worker.takes_jobs and one.held == 0 and one.worker.idle_ms is not None
            ]
            now_ms = world.clock.now_ms()
            assert not counts.queued or all(now_ms - (one.worker.idle_ms or 0) < 6_000 for one in idle), (counts, idle)
            return counts.completed == len(jobs)

        await world.until(over, within_s=600, what="the end of all jobs")
        assert len([worker for worker in world.workers.values() if worker.begun]) == 3

    play(CALM, story)
