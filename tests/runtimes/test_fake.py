"""The fake runtime beyond the contract: its script, its checks of the caller, and its time."""

import asyncio
import selectors
from collections.abc import AsyncIterator

import pytest

from stoker.errors import Defect, InvalidInput, Unavailable
from stoker.ids import WorkerId
from stoker.runtimes import WorkerSpec
from stoker.runtimes.fake import FakeRuntime, FakeWorker
from tests.runtimes.stages import ended, seen

ONE, OTHER = WorkerId("one"), WorkerId("other")


async def obey(self: FakeWorker) -> int:
    await self.terminated.wait()
    return 0


def spec(worker: WorkerId = ONE, *, gpus: tuple[str, ...] = ()) -> WorkerSpec:
    return WorkerSpec(worker=worker, image="any", gpus=gpus)


@pytest.fixture
async def fake() -> AsyncIterator[FakeRuntime]:
    runtime = FakeRuntime(obey, gpus=("GPU-a", "GPU-b"))
    yield runtime
    await runtime.close()


async def test_calls_fail_as_told(fake: FakeRuntime) -> None:
    """Failures come in the order they were asked for, as often as asked, and only from the call that was named."""
    fake.fail("launch", Unavailable("no room"))
    fake.fail("launch", InvalidInput("no such image"))
    with pytest.raises(Unavailable):
        await fake.launch(spec())
    with pytest.raises(InvalidInput):
        await fake.launch(spec())
    assert await fake.observe() == []
    await fake.launch(spec())
    fake.fail("observe", Unavailable("no answer"), times=2)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await fake.observe()
    assert await seen(fake, ONE) is None


async def test_killed_worker_shows_the_code(fake: FakeRuntime) -> None:
    """A worker can be killed from outside, as the OOM killer does, with a nudge; a second end changes nothing."""
    await fake.launch(spec())
    fake.kill(ONE, 139)
    fake.kill(ONE, 137)
    assert (await ended(fake, ONE)).code == 139


async def test_vanished_worker_does_not_exist(fake: FakeRuntime) -> None:
    """A worker can be lost without a trace."""
    await fake.launch(spec())
    fake.vanish(ONE)
    assert await seen(fake, ONE) == "missing"


async def test_overlapping_calls_for_one_worker_are_a_defect(fake: FakeRuntime) -> None:
    """The port says that calls for one worker come one after another; the fake insists."""
    launch = asyncio.create_task(fake.launch(spec()))
    await asyncio.sleep(0)
    with pytest.raises(Defect, match="overlap"):
        await fake.stop(ONE, grace_s=0)
    await fake.stop(OTHER, grace_s=0)
    await launch


async def test_device_promised_twice_is_a_defect(fake: FakeRuntime) -> None:
    """A device has one holder, until its worker has ended."""
    await fake.launch(spec(ONE, gpus=("GPU-a",)))
    with pytest.raises(Defect, match="promised twice"):
        await fake.launch(spec(OTHER, gpus=("GPU-b", "GPU-a")))
    with pytest.raises(Defect, match="unknown"):
        await fake.launch(spec(OTHER, gpus=("GPU-c",)))
    fake.kill(ONE)
    await fake.launch(spec(OTHER, gpus=("GPU-a",)))


async def test_close_ends_everybody(fake: FakeRuntime) -> None:
    """After `close` no program runs, and nobody is nudged any more."""
    nudges: list[str] = []
    runtime = FakeRuntime(obey, nudge=lambda: nudges.append("nudge"))
    await runtime.launch(spec())
    await runtime.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "fake worker one"]
    assert nudges == []


class Jumping(selectors.DefaultSelector):
    """A selector that never waits: time jumps to the next thing to do."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now_s += timeout or 0.0
        return super().select(0)


def test_an_hour_takes_no_time() -> None:
    """All waiting is on the loop's clock: in a loop whose time jumps an hour of work and a grace pass at once."""
    selector = Jumping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now_s  # type: ignore[method-assign]  # a loop may have any clock

    async def work_an_hour(self: FakeWorker) -> int:
        await asyncio.sleep(3600)
        self.print("done")
        await asyncio.Event().wait()
        return 0

    async def story() -> None:
        runtime = FakeRuntime(work_an_hour, delay_s=1)
        await runtime.launch(spec())
        line = await anext(aiter(runtime.logs(ONE, tail=0, follow=True)))
        assert line.at_ms == 3_601_000
        await runtime.stop(ONE, grace_s=600)
        logs = [line.text async for line in runtime.logs(ONE, tail=1, follow=True)]
        assert logs == ["done"]
        assert selector.now_s == 1 + 3600 + 1 + 600
        assert (await ended(runtime, ONE)).code == 137
        await runtime.close()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(story())
