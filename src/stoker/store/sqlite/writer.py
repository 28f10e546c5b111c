"""Who carries work to a connection: a thread that takes all that waits at once, or the caller itself.

Called by the tables of contents (`jobs.py` and its neighbours). While a lane flushes one transaction to the disk the next work
gathers; the flush is shared by all of them (D2). There is no timer: a lone one never waits for company.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeVar

from stoker.errors import Unavailable
from stoker.store.image import Operation
from stoker.store.room import Room, size_of
from stoker.store.sqlite.transaction import Function, Outcome, Work

T = TypeVar("T")
Transact = Callable[[sqlite3.Connection, Sequence[Work]], list[Outcome]]
"""`transaction.write` or `transaction.read`."""

BATCH_MOST: Final = 512
"""Operations in one transaction: enough to share a flush, few enough that the first do not wait for the last."""


class Lane(Protocol):
    """Carries work to a connection."""

    async def run(self, work: Operation[T] | Function[T]) -> T:
        """The answer, once it is committed. Raises what the work raised, or `Unavailable`."""
        ...

    async def close(self) -> None:
        """Finish what waits and close the connection. Closing twice is no error."""
        ...


def _closed() -> Unavailable:
    return Unavailable("the store is closed", code="store_closed", next_step="try again when the server is back")


class Inline:
    """The caller itself: for simulations, whose clock jumps and who can have no threads."""

    def __init__(self, connection: sqlite3.Connection, transact: Transact) -> None:
        self._connection = connection
        self._transact = transact
        self._open = True

    async def run(self, work: Operation[T] | Function[T]) -> T:
        """The answer; it never gives the event loop a turn."""
        if not self._open:
            raise _closed()
        (outcome,) = self._transact(self._connection, [work])
        if outcome.error is not None:
            raise outcome.error
        answer: T = outcome.value
        return answer

    async def close(self) -> None:
        """Close the connection."""
        self._open = False
        self._connection.close()


@dataclass(frozen=True, slots=True)
class _Waiting:
    work: Work
    future: asyncio.Future[Any]
    size: int


class Thread:
    """A thread with a connection of its own, which serves the event loop that made it."""

    def __init__(self, connection: sqlite3.Connection, transact: Transact, *, name: str) -> None:
        self._connection = connection
        self._transact = transact
        self._loop = asyncio.get_running_loop()
        self._room = Room()
        self._waiting: deque[_Waiting] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._rung = False
        self._open = True
        # A daemon: an event loop that was abandoned without closing the store must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Operation[T] | Function[T]) -> T:
        """The answer. Work whose caller was cancelled is carried out all the same."""
        if not self._open:
            raise _closed()
        waiting = _Waiting(work, self._loop.create_future(), size_of(work))
        self._room.enter(waiting.size)
        self._waiting.append(waiting)
        self._ring()
        answer: T = await waiting.future
        return answer

    async def close(self) -> None:
        """Finish what waits and close the connection."""
        self._open = False
        self._ring()
        await asyncio.to_thread(self._thread.join)

    def _ring(self) -> None:
        """Wake the thread, once for all that waits."""
        if not self._rung:
            self._rung = True
            self._bell.put(None)

    def _work(self) -> None:
        last = False
        while not last:
            self._bell.get()
            self._rung = False
            last = not self._open  # whatever was let in before is served below
            while batch := self._gather():
                self._answer(batch, self._transact(self._connection, [waiting.work for waiting in batch]))
        self._connection.close()

    def _gather(self) -> list[_Waiting]:
        """Everything that waits, up to the most."""
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_MOST))]

    def _answer(self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._resolve, batch, outcomes)
        except RuntimeError:
            # The loop was closed without closing the store: nobody is left who could be answered.
            self._open = False

    def _resolve(self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
        for waiting, outcome in zip(batch, outcomes, strict=True):
            self._room.leave(waiting.size)
            if waiting.future.done():
                continue
            if outcome.error is not None:
                waiting.future.set_exception(outcome.error)
            else:
                waiting.future.set_result(outcome.value)
