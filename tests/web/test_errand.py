"""Handlers without a task: they begin at once, go on when what they wait for is there, and can be given up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from stoker.web.errand import Errand


class Ends:
    """What errands came to."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, BaseException | None]] = []

    def begin(self, coroutine: Coroutine[Any, Any, object]) -> Errand[Ends, object]:
        """One more."""
        errand = Errand(coroutine, Ends.keep, self, asyncio.get_running_loop())
        errand.begin()
        return errand

    def keep(self, answer: object, error: BaseException | None) -> None:
        """One has ended."""
        self.seen.append((answer, error))


async def _turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def test_what_needs_not_wait_is_done_at_once() -> None:
    """The answer is there before `begin` returns, and so is an error."""
    ends = Ends()

    async def answer() -> int:
        return 7

    async def fail() -> int:
        raise ValueError

    assert ends.begin(answer()).done
    assert ends.begin(fail()).done
    assert [(one, type(error)) for one, error in ends.seen] == [(7, type(None)), (None, ValueError)]


async def test_it_goes_on_with_what_it_waited_for() -> None:
    """Answers, errors and turns for others reach the coroutine as in a task."""
    ends, first, second = Ends(), asyncio.get_running_loop().create_future(), asyncio.Event()

    async def wait() -> str:
        try:
            await first
        except ValueError:
            await asyncio.sleep(0)
            await second.wait()
        return "done"

    errand = ends.begin(wait())
    first.set_exception(ValueError())
    await _turns()
    assert not errand.done
    second.set()
    await _turns()
    assert (errand.done, ends.seen) == (True, [("done", None)])


@pytest.mark.parametrize("how", ["future", "turn"])
async def test_giving_up(how: str) -> None:
    """The coroutine hears of it where it waits, once, and may clean up; what is over cannot be given up."""
    ends, heard = Ends(), []

    async def wait() -> None:
        try:
            await (asyncio.get_running_loop().create_future() if how == "future" else asyncio.sleep(0))
        except asyncio.CancelledError:
            heard.append(how)
            await asyncio.sleep(0)
            raise

    errand = ends.begin(wait())
    assert errand.cancel("the server stops")
    await _turns()
    assert heard == [how]
    assert [type(error) for _, error in ends.seen] == [asyncio.CancelledError]
    assert not errand.cancel()
