"""What every runtime keeps: the port's contract, played on each stage."""

import asyncio

import pytest

from stoker.errors import Conflict, InvalidInput
from stoker.ids import new_worker_id
from stoker.runtimes import Capacity, ChecksImages, Forgets, LogLine
from tests.runtimes.stages import DEADLINE_S, Stage, ended, eventually, first_line, lines, seen


async def test_launched_worker_is_observed(stage: Stage) -> None:
    """A launched worker is shown, without an exit while it runs."""
    spec = stage.spec("ignore")
    await stage.runtime.launch(spec)
    assert await seen(stage.runtime, spec.worker) is None


async def test_worker_is_observed_while_it_is_launched(stage: Stage) -> None:
    """A worker is shown from the moment its launch begins, so that nobody takes it for vanished."""
    spec = stage.spec("ignore")
    launch = asyncio.create_task(stage.runtime.launch(spec))
    await asyncio.sleep(0)
    assert await seen(stage.runtime, spec.worker) is None
    await launch


async def test_launch_twice_is_one_worker(stage: Stage) -> None:
    """A second launch of the same worker changes nothing."""
    spec = stage.spec("obey 0")
    await stage.runtime.launch(spec)
    await first_line(stage.runtime, spec.worker)
    await stage.runtime.launch(spec)
    await stage.runtime.stop(spec.worker, grace_s=DEADLINE_S)
    await ended(stage.runtime, spec.worker)
    assert await lines(stage.runtime, spec.worker) == ["up", "told"]


async def test_launch_of_an_ended_worker_does_not_start_it_again(stage: Stage) -> None:
    """A worker lives once: launching it after its end is the same worker, ended."""
    spec = stage.spec("exit 3")
    await stage.runtime.launch(spec)
    first = await ended(stage.runtime, spec.worker)
    await stage.runtime.launch(spec)
    assert await seen(stage.runtime, spec.worker) == first


async def test_workers_are_launched_side_by_side(stage: Stage) -> None:
    """Calls for different workers may run at the same time."""
    specs = [stage.spec(f"exit {code}") for code in range(4)]
    await asyncio.gather(*(stage.runtime.launch(spec) for spec in specs))
    exits = [await ended(stage.runtime, spec.worker) for spec in specs]
    assert [one.code for one in exits] == [0, 1, 2, 3]


async def test_exit_shows_its_code(stage: Stage) -> None:
    """How a worker ended is data: its exit code, and words that name it."""
    spec = stage.spec("exit 3")
    await stage.runtime.launch(spec)
    end = await ended(stage.runtime, spec.worker)
    assert end.code == 3
    assert "exit code 3" in end.text


async def test_crash_is_explained(stage: Stage) -> None:
    """The words of a failed exit carry what the worker said last."""
    spec = stage.spec("crash 'no model here'")
    await stage.runtime.launch(spec)
    end = await ended(stage.runtime, spec.worker)
    assert end.code == 1
    assert "RuntimeError: no model here" in end.text


async def test_exit_is_nudged(stage: Stage) -> None:
    """Somebody is told as soon as a worker ends, and by then `observe` shows it."""
    spec = stage.spec("exit 0")
    await stage.runtime.launch(spec)
    async with asyncio.timeout(DEADLINE_S):
        await stage.nudged.wait()
    shown = await seen(stage.runtime, spec.worker)
    assert shown is not None
    assert shown != "missing"


async def test_stop_lets_it_end_by_itself(stage: Stage) -> None:
    """A worker that obeys SIGTERM ends with a code of its own."""
    spec = stage.spec("obey 7")
    await stage.runtime.launch(spec)
    await first_line(stage.runtime, spec.worker)
    await stage.runtime.stop(spec.worker, grace_s=DEADLINE_S)
    assert (await ended(stage.runtime, spec.worker)).code == 7


async def test_deaf_worker_is_killed_after_the_grace(stage: Stage) -> None:
    """A worker that ignores SIGTERM gets SIGKILL when the grace is over."""
    spec = stage.spec("ignore")
    await stage.runtime.launch(spec)
    await first_line(stage.runtime, spec.worker)
    await stage.runtime.stop(spec.worker, grace_s=0.05)
    end = await ended(stage.runtime, spec.worker)
    assert end.code == 137
    assert "SIGKILL" in end.text


async def test_stop_without_grace_kills_at_once(stage: Stage) -> None:
    """No grace means that the worker is not asked, except by a cluster."""
    spec = stage.spec("obey 7")
    await stage.runtime.launch(spec)
    await first_line(stage.runtime, spec.worker)
    await stage.runtime.stop(spec.worker, grace_s=0)
    assert (await ended(stage.runtime, spec.worker)).code == (7 if stage.asks_all else 137)
    assert await lines(stage.runtime, spec.worker) == (["up", "told"] if stage.asks_all else ["up"])


async def test_second_stop_shortens_the_grace(stage: Stage) -> None:
    """Who is in a hurry later does not have to wait for a patient stop."""
    spec = stage.spec("ignore")
    await stage.runtime.launch(spec)
    await first_line(stage.runtime, spec.worker)
    await stage.runtime.stop(spec.worker, grace_s=10_000)
    await stage.runtime.stop(spec.worker, grace_s=0)
    assert (await ended(stage.runtime, spec.worker)).code == 137


async def test_later_stops_do_not_lengthen_the_grace(stage: Stage) -> None:
    """Telling a worker again, even more patiently, must not keep it alive."""
    spec = stage.spec("ignore")
    await stage.runtime.launch(spec)
    await first_line(stage.runtime, spec.worker)
    await stage.runtime.stop(spec.worker, grace_s=0.1)

    async def tell_again() -> object:
        await stage.runtime.stop(spec.worker, grace_s=10_000)
        await stage.runtime.stop(spec.worker, grace_s=0.1)
        return await seen(stage.runtime, spec.worker)

    await eventually(tell_again)
    assert (await ended(stage.runtime, spec.worker)).code == 137


async def test_stop_of_what_is_gone_succeeds(stage: Stage) -> None:
    """Stopping a worker that nobody knows, or that has ended, is done already."""
    await stage.runtime.stop(new_worker_id(), grace_s=1)
    spec = stage.spec("exit 3")
    await stage.runtime.launch(spec)
    first = await ended(stage.runtime, spec.worker)
    await stage.runtime.stop(spec.worker, grace_s=0)
    assert await seen(stage.runtime, spec.worker) == first


async def test_ended_workers_are_observed_until_forgotten(stage: Stage) -> None:
    """An exit can be read until somebody says it was read; after that the worker does not exist."""
    runtime, spec = stage.runtime, stage.spec("print hello")
    assert isinstance(runtime, Forgets)
    await runtime.launch(spec)
    await ended(runtime, spec.worker)
    assert await seen(runtime, spec.worker) != "missing"
    await runtime.forget(spec.worker)
    assert await seen(runtime, spec.worker) == "missing"
    assert await lines(runtime, spec.worker) == []
    await runtime.forget(spec.worker)


async def test_running_worker_cannot_be_forgotten(stage: Stage) -> None:
    """Forgetting is for the dead; a running worker stays known."""
    runtime, spec = stage.runtime, stage.spec("ignore")
    assert isinstance(runtime, Forgets)
    await runtime.launch(spec)
    with pytest.raises(Conflict):
        await runtime.forget(spec.worker)
    assert await seen(runtime, spec.worker) is None


async def test_strangers_are_left_alone(stage: Stage) -> None:
    """What a runtime did not start it neither shows nor ends."""
    still_there = stage.add_stranger()
    spec = stage.spec("exit 0")
    await stage.runtime.launch(spec)
    await ended(stage.runtime, spec.worker)
    assert [one.worker for one in await stage.runtime.observe()] == [spec.worker]
    assert still_there()


async def test_past_logs(stage: Stage) -> None:
    """The last lines come oldest first, each with a time, and stay after the end."""
    spec = stage.spec("print one two 'three four'")
    await stage.runtime.launch(spec)
    await ended(stage.runtime, spec.worker)
    assert await lines(stage.runtime, spec.worker) == ["one", "two", "three four"]
    assert await lines(stage.runtime, spec.worker, tail=2) == ["two", "three four"]
    assert await lines(stage.runtime, spec.worker, tail=0) == []
    times = [line.at_ms async for line in stage.runtime.logs(spec.worker, tail=3, follow=False)]
    assert times == sorted(times)


async def test_logs_of_an_unknown_worker(stage: Stage) -> None:
    """An unknown worker has no lines, and following it ends at once."""
    assert [line async for line in stage.runtime.logs(new_worker_id(), tail=10, follow=True)] == []


@pytest.mark.slow
async def test_followed_logs_end_with_the_worker(stage: Stage) -> None:
    """Following shows what is there, then what comes, and ends when the worker has ended and all was read."""
    spec = stage.spec("obey 0")
    await stage.runtime.launch(spec)
    followed: list[str] = []

    async def follow() -> None:
        async for line in stage.runtime.logs(spec.worker, tail=10, follow=True):
            followed.append(line.text)

    async def read() -> list[str]:
        return followed

    reader = asyncio.create_task(follow())
    await eventually(read)
    await stage.runtime.stop(spec.worker, grace_s=DEADLINE_S)
    async with asyncio.timeout(DEADLINE_S):
        await reader
    assert followed == ["up", "told"]


async def test_following_can_be_given_up(stage: Stage) -> None:
    """A reader may leave in the middle; the worker does not notice."""
    spec = stage.spec("ignore")
    await stage.runtime.launch(spec)
    await first_line(stage.runtime, spec.worker)
    logs = stage.runtime.logs(spec.worker, tail=10, follow=True)
    line: LogLine = await anext(aiter(logs))
    assert line.text == "up"
    assert await seen(stage.runtime, spec.worker) is None


async def test_environment_reaches_the_worker(stage: Stage) -> None:
    """The worker sees what its spec says, to the letter."""
    spec = stage.spec("environment PLAIN ODD EMPTY ABSENT", env={"PLAIN": "1", "ODD": "a b='c' ü $HOME", "EMPTY": ""})
    await stage.runtime.launch(spec)
    await ended(stage.runtime, spec.worker)
    assert await lines(stage.runtime, spec.worker) == ["PLAIN=1", "ODD=a b='c' ü $HOME", "EMPTY=", "ABSENT=(not set)"]


async def test_capacity_answers(stage: Stage) -> None:
    """Devices have names, and their absence has a reason."""
    capacity: Capacity = await stage.runtime.capacity()
    assert all(device.name for device in capacity.devices)
    assert bool(capacity.text) != bool(capacity.devices)


async def test_images_are_checked_before_any_launch(stage: Stage) -> None:
    """What could be launched passes; what never could is refused with the field and the next step."""
    runtime, spec = stage.runtime, stage.spec("exit 0")
    assert isinstance(runtime, ChecksImages)
    await runtime.check_image(spec.image, spec.command)
    for image, command, field in (("", spec.command, "image"), (spec.image, "unbalanced 'quote", "command")):
        with pytest.raises(InvalidInput) as refused:
            await runtime.check_image(image, command)
        assert refused.value.field == field
        assert refused.value.next_step
