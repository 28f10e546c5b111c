"""Who carries work to the database: one lane for writes, which takes all that waits at once, and a pool for everything else.

Called by the tables of contents (`jobs.py` and its neighbours). While the lane commits one transaction the next operations
gather; the flush and the round trips are shared by all of them (D2). There is no timer: what waits is carried out as soon as the
event loop has gone round without bringing more, so that the held take which a submit wakes can come along.
One lane, because batches on two connections would wait for each other's rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from stoker.errors import Defect, Unavailable
from stoker.store.image import Operation
from stoker.store.postgres.connection import Database, Link, translated
from stoker.store.postgres.transaction import Function, look, transact
from stoker.store.room import Room

T = TypeVar("T")

BATCH_MOST: Final = 512
"""Operations in one transaction: enough to share a flush, few enough that the first do not wait for the last."""
TURNS_MOST: Final = 8
"""Turns of the event loop in which more may come, before what waits is carried out."""
BATCH_BYTES: Final = 2 * 1024 * 1024
"""Bodies in one transaction. Statements with many large values are slower than several with few."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a piece of work: its answer, or why there is none."""

    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    work: Any
    future: asyncio.Future[Any]
    size: int

    def resolve(self, outcome: Outcome) -> None:
        """Answer the caller, unless it has gone."""
        if self.future.done():
            return
        if outcome.error is not None:
            self.future.set_exception(outcome.error)
        else:
            self.future.set_result(outcome.value)


def _closed() -> Unavailable:
    return Unavailable("the store is closed", code="store_closed", next_step="try again when the server is back")


Write = Callable[[Link, Sequence[Operation[Any]]], Awaitable[list[Outcome]]]
"""Carries out operations in one transaction; raises nothing."""


class Lane:
    """Writes, in order, on one connection. A task works while something waits."""

    def __init__(self, link: Link, write: Write, room: Room) -> None:
        self._link = link
        self._write = write
        self._room = room
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._open = True

    def run(self, work: Operation[T], size: int = 0) -> Awaitable[T]:
        """The answer, once it is committed. Work is carried out in the order of the calls, and all the same when its caller
        was cancelled."""
        if not self._open:
            raise _closed()
        self._room.enter(size)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(work, future, size))
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name="store-writer")
        return future

    async def close(self) -> None:
        """Finish what waits and close the connection."""
        self._open = False
        if self._task is not None:
            await self._task
        await self._link.close()

    async def _drain(self) -> None:
        try:
            await self._company()
            while self._waiting:
                batch = self._gather()
                outcomes = await self._outcomes(batch)
                for waiting, outcome in zip(batch, outcomes, strict=True):
                    self._room.leave(waiting.size)
                    waiting.resolve(outcome)
                await self._company()
        finally:
            self._task = None

    async def _company(self) -> None:
        """Let the event loop go round while that brings more to what waits: who was just answered, or woken, comes along."""
        for _ in range(TURNS_MOST):
            before = len(self._waiting)
            await asyncio.sleep(0)
            if len(self._waiting) == before or before >= BATCH_MOST:
                return

    async def _outcomes(self, batch: Sequence[_Waiting]) -> Sequence[Outcome]:
        """Of a batch; nobody is left without an answer, whatever becomes of this task."""
        try:
            return await self._write(self._link, [waiting.work for waiting in batch])
        except Exception as error:
            return [Outcome(error=Defect(f"the batch failed ({type(error).__name__}: {error})")) for _ in batch]
        except BaseException:
            for waiting in [*batch, *self._waiting]:
                waiting.future.cancel()
            raise

    def _gather(self) -> list[_Waiting]:
        """What waits longest, within the bounds of a transaction; at least one."""
        batch = [self._waiting.popleft()]
        size = batch[0].size
        while self._waiting and len(batch) < BATCH_MOST and (size := size + self._waiting[0].size) <= BATCH_BYTES:
            batch.append(self._waiting.popleft())
        return batch


class Pool:
    """Everything that needs no image: reads, and the rare writes. Each call has a connection alone."""

    def __init__(self, database: Database, size: int, room: Room) -> None:
        self._database = database
        self._room = room
        self._idle = [Link(database) for _ in range(size)]
        self._waiting: deque[tuple[_Waiting, _Carry]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = True

    async def read(self, function: Function[T]) -> T:
        """What `function` finds; it writes nothing."""
        return await self._run(function, look)

    async def write(self, function: Function[T]) -> T:
        """What `function` answers, once its transaction is committed."""
        return await self._run(function, transact)

    async def _run(self, function: Function[T], carry: _Carry) -> T:
        if not self._open:
            raise _closed()
        self._room.enter(0)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((_Waiting(function, future, 0), carry))
        if self._idle:
            task = asyncio.create_task(self._serve(self._idle.pop()), name="store-reader")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _serve(self, link: Link) -> None:
        """Carry out what waits, then rest."""
        try:
            while self._waiting:
                waiting, carry = self._waiting.popleft()
                try:
                    outcome = Outcome(await carry(link, waiting.work))
                except Exception as error:
                    outcome = Outcome(error=translated(error, self._database))
                self._room.leave(0)
                waiting.resolve(outcome)
        finally:
            self._idle.append(link)

    async def close(self) -> None:
        """Finish what waits and close the connections."""
        self._open = False
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(link.close() for link in self._idle))


_Carry = Callable[[Link, Function[Any]], Awaitable[Any]]
"""`transaction.look` or `transaction.transact`."""
