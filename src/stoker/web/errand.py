"""A handler at work: a coroutine that goes on whenever what it waits for is there, without a task.

Called by `connection.py`, once per request. Most handlers wait for one thing, the store, and many for nothing. A task would
begin them a turn of the event loop later, and costs more than what they do themselves. An errand begins at once. To who waits
for it or gives it up (uvicorn, when it stops) it looks like a task.

Code that asks for its task (`asyncio.timeout`, `asyncio.TaskGroup`) cannot run in an errand: it gets a task of its own.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, CancelledError, Future
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")
W = TypeVar("W")


class Errand(Generic[W, T]):
    """`then` is told for whom it was, and the answer or the error; before `begin` returns if nothing had to be waited for."""

    done = False
    _waits_for: Future[Any] | None = None

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        then: Callable[[W, T | None, BaseException | None], None],
        whose: W,
        loop: AbstractEventLoop,
    ) -> None:
        self._coroutine = coroutine
        self._step: Callable[[None], Future[Any] | None] = coroutine.send
        self._then = then
        self._whose = whose
        self._loop = loop

    def begin(self, _came: Future[Any] | None = None) -> None:
        """Begin, or go on: the coroutine takes what came out of the future itself."""
        try:
            self._waits_for = waits_for = self._step(None)
        except StopIteration as end:
            self.done = True
            self._then(self._whose, end.value, None)
            return
        except BaseException as error:
            self.done = True
            self._then(self._whose, None, error)
            return
        if waits_for is None:  # it only lets others go first
            self._loop.call_soon(self.begin)
        else:
            waits_for._asyncio_future_blocking = False  # as a task does: the future was given to who can wait
            waits_for.add_done_callback(self.begin)

    def cancel(self, msg: object = None) -> bool:
        """End what it waits for; the coroutine hears of it as a `CancelledError`. Whether it was under way."""
        if self.done:
            return False
        if self._waits_for is None or not self._waits_for.cancel(msg):
            self._step = self._give_up
        return True

    def _give_up(self, _: None) -> Future[Any] | None:
        self._step = self._coroutine.send
        waits_for: Future[Any] | None = self._coroutine.throw(CancelledError())
        return waits_for


__all__ = ["Errand"]
