"""Who carries work to a connection: the event loop and a thread in turns, a thread alone, or the caller itself.

Called by the tables of contents (`jobs.py` and its neighbours). While one transaction is flushed to the disk the next work
gathers; the flush is shared by all of them (D2). There is no timer: what waits is carried out as soon as the event loop has gone
round without bringing more, so that who is woken by it, or by the answers to what was before, can come along.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

from stoker.errors import Unavailable
from stoker.store.image import Operation
from stoker.store.room import Room
from stoker.store.sqlite.checkpoints import Checkpoints
from stoker.store.sqlite.connection import BUSY_TIMEOUT_MS
from stoker.store.sqlite.hand import Hand
from stoker.store.sqlite.pace import Pace
from stoker.store.sqlite.transaction import Brief, Function, Outcome, Session, Work, read

T = TypeVar("T")
Transact = Callable[[Sequence[Work]], list[Outcome]]
"""`Session.write`, or `transaction.read` of a connection."""

BATCH_MOST: Final = 128
"""Operations in one transaction: enough to share a flush, few enough that the event loop is back within milliseconds."""
TURNS_MOST: Final = 8
"""Turns of the event loop in which more may come, before what waits is carried out."""
LONE_MOST: Final = 4
"""Operations in a transaction that the event loop may flush itself, when nothing else waits: a submit, the take that it wakes, and little
besides. With more under way the loop has something to do meanwhile."""
HEAVY_BYTES: Final = 256 * 1024
"""Bodies in one transaction from which on the event loop leaves it to the thread."""


class Lane(Protocol):
    """Carries work to a connection."""

    def run(self, work: Operation[T] | Function[T], size: int = 0) -> Awaitable[T]:
        """The answer, once it is committed. Work is carried out in the order of the calls, whoever awaits it.

        Raises what the work raised, or `Unavailable`.
        """
        ...

    async def close(self) -> None:
        """Finish what waits and close the connection. Closing twice is no error."""
        ...


def _closed() -> Unavailable:
    return Unavailable("the store is closed", code="store_closed", next_step="try again when the server is back")


class Inline:
    """The caller itself: for the shortest of reads, and for simulations, whose clock jumps and who can have no threads."""

    def __init__(self, connection: sqlite3.Connection, transact: Transact) -> None:
        self._connection = connection
        self._transact = transact
        self._open = True

    def run(self, work: Operation[T] | Function[T], size: int = 0) -> Awaitable[T]:
        """The answer, at once."""
        if not self._open:
            raise _closed()
        (outcome,) = self._transact([work])
        if outcome.error is not None:
            raise outcome.error
        return _Known(outcome.value)

    async def close(self) -> None:
        """Close the connection."""
        self._open = False
        self._connection.close()


@dataclass(frozen=True, slots=True)
class _Known(Generic[T]):
    """An answer that is there. Nobody needs to await it."""

    answer: T

    def __await__(self) -> Generator[None, None, T]:
        yield from ()
        return self.answer


_Waiting = tuple[Work, asyncio.Future[Any], int]
"""Work, who waits for it, and how many bytes of bodies it brings."""
_Answer = Callable[[list[Outcome]], None]


class _Shared(ABC):
    """What waits is carried out together, one transaction after the other."""

    def __init__(self, connection: sqlite3.Connection, *, name: str) -> None:
        self._connection = connection
        self._hand = Hand(name)
        self._loop = asyncio.get_running_loop()
        self._room = Room()
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._open = True

    def run(self, work: Operation[T] | Function[T], size: int = 0) -> Awaitable[T]:
        """The answer. Work whose caller was cancelled is carried out all the same."""
        if not self._open:
            raise _closed()
        self._room.enter(size)
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append((work, future, size))
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._loop.call_soon(self._gather, 0, 0)
        return future

    async def close(self) -> None:
        """Finish what waits and close the connection."""
        if self._open:
            self._open = False
            await self._idle.wait()
            await self._hand.close()
            self._connection.close()

    @abstractmethod
    def _carry_out(self, works: Sequence[Work], size: int, answer: _Answer) -> None:
        """Begin with a batch, which brings so many bytes; `answer` is called when it is done."""

    def _gather(self, seen: int, turns: int) -> None:
        """Begin with the next once a turn has brought nothing to the `seen` that wait."""
        waiting = len(self._waiting)
        if seen < waiting < BATCH_MOST and turns < TURNS_MOST:
            self._loop.call_soon(self._gather, waiting, turns + 1)
        else:
            self._next()

    def _next(self) -> None:
        """Everything that waits, up to the most."""
        if not self._waiting:
            self._busy = False
            self._idle.set()
            return
        works, futures, sizes = zip(*self._waiting[:BATCH_MOST], strict=True)
        del self._waiting[:BATCH_MOST]
        size = sum(sizes)
        self._carry_out(works, size, partial(self._answer, futures, size))

    def _answer(self, futures: Sequence[asyncio.Future[Any]], size: int, outcomes: list[Outcome]) -> None:
        self._room.leave(size, len(futures))
        for future, outcome in zip(futures, outcomes, strict=True):
            if future.done():
                continue
            if outcome.error is None:
                future.set_result(outcome.value)
            else:
                future.set_exception(outcome.error)
        self._loop.call_soon(self._gather, 0, 0)


class Reader(_Shared):
    """A thread that looks, with a connection of its own."""

    def _carry_out(self, works: Sequence[Work], size: int, answer: _Answer) -> None:
        self._hand.do(partial(read, self._connection, works), answer)


class Writer(_Shared):
    """The event loop writes and a thread flushes.

    Statements are short and follow each other closely. In a thread, each of them would wait for the interpreter's lock until
    the event loop lets go of it; so only what takes long is left to the thread: flushes, large bodies, functions, and
    whatever did not go well. A lone transaction is flushed at once while the disk is quick: there is nothing else to do.
    """

    def __init__(
        self, session: Session, *, name: str, beside: sqlite3.Connection | None = None, pace: Pace | None = None
    ) -> None:
        """`beside` is a connection to the same file, for checkpoints."""
        super().__init__(session.connection, name=name)
        session.connection.execute("PRAGMA busy_timeout = 0")  # the event loop does not wait for other processes
        self._session = session
        self._pace = pace or Pace()
        self._checkpoints = None if beside is None else Checkpoints(session.connection, beside)

    async def close(self) -> None:
        """Finish what waits and close the connection."""
        if self._checkpoints is not None:
            await self._checkpoints.close()
            self._checkpoints = None
        await super().close()

    def _carry_out(self, works: Sequence[Work], size: int, answer: _Answer) -> None:
        if self._checkpoints is not None:
            self._checkpoints.wrote(size)
        outcomes = None if size >= HEAVY_BYTES or _takes_long(works) else self._session.begin(works)
        if outcomes is None:
            self._hand.do(partial(self._write_patiently, works), answer)
        elif len(works) <= LONE_MOST and not self._waiting and self._pace.quick:
            answer(self._flush(works, outcomes))
        else:
            self._hand.do(partial(self._flush, works, outcomes), answer)

    def _flush(self, works: Sequence[Work], outcomes: list[Outcome]) -> list[Outcome]:
        self._pace.begin()
        flushed = self._session.flush(works, outcomes)
        self._pace.end()
        return flushed

    def _answer(self, futures: Sequence[asyncio.Future[Any]], size: int, outcomes: list[Outcome]) -> None:
        self._session.known.settle()
        super()._answer(futures, size, outcomes)

    def _next(self) -> None:
        task = None if self._checkpoints is None else self._checkpoints.due()
        if task is None:
            super()._next()
        else:
            self._hand.do(task, lambda _: self._next())

    def _write_patiently(self, works: Sequence[Work]) -> list[Outcome]:
        self._connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        outcomes = self._session.write(works)
        self._connection.execute("PRAGMA busy_timeout = 0")
        return outcomes


def _takes_long(works: Sequence[Work]) -> bool:
    """Whether there is more to do than operations, and functions that are as short."""
    return not all(isinstance(work, Brief) for work in filter(callable, works))
