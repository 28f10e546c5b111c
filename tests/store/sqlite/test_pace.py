"""Who flushes: the event loop itself while the disk is quick and nothing else is under way, the thread otherwise."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from stoker.store import NewJob
from stoker.store.sqlite.connection import connect
from stoker.store.sqlite.pace import QUICK_RUN, QUICK_S, Pace
from stoker.store.sqlite.transaction import Session
from stoker.store.sqlite.writer import LONE_MOST, Writer
from stoker.store.submissions import Submit
from tests.store.records import a_job


class Disk:
    """A clock by which every commit takes as long as it is told to."""

    def __init__(self) -> None:
        self.commit_s = 0.0
        self._moments = self._pass()

    def _pass(self) -> Iterator[float]:
        now_s = 0.0
        while True:
            yield now_s
            now_s += self.commit_s
            yield now_s

    def now_s(self) -> float:
        """Asked at the begin of each commit and at its end."""
        return next(self._moments)


def commit(pace: Pace, times: int) -> list[bool]:
    """Whether each of so many commits was believed to be quick before it began."""
    seen = []
    for _ in range(times):
        seen.append(pace.quick)
        pace.begin()
        pace.end()
    return seen


def test_a_disk_is_quick_after_a_run_of_quick_commits() -> None:
    """Nothing is believed of a disk that was not seen to be quick."""
    pace = Pace(Disk().now_s)
    assert commit(pace, QUICK_RUN + 1) == [False] * QUICK_RUN + [True]


def test_one_slow_commit_begins_anew() -> None:
    """A disk that becomes slow holds up the event loop once, and not again before it was quick as often."""
    disk = Disk()
    pace = Pace(disk.now_s)
    commit(pace, QUICK_RUN)
    disk.commit_s = QUICK_S
    assert commit(pace, 2) == [True, False]
    disk.commit_s = QUICK_S / 2
    assert commit(pace, QUICK_RUN + 1) == [False] * QUICK_RUN + [True]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A database of its own."""
    return Session(connect(tmp_path / "stoker.db"))


async def committers(session: Session, disk: Disk, batches: Sequence[int]) -> list[bool]:
    """Whether each transaction, of so many submissions that come at once, was committed by the event loop itself."""
    by_loop: list[bool] = []

    def note(statement: str) -> None:
        if statement == "COMMIT":
            by_loop.append(threading.current_thread() is threading.main_thread())

    session.connection.set_trace_callback(note)
    writer = Writer(session, name="test", pace=Pace(disk.now_s))
    for size in batches:
        await asyncio.gather(*(writer.run(Submit(NewJob(job=a_job(), input=b"1"))) for _ in range(size)))
    await writer.close()
    return by_loop


async def test_a_lone_transaction_is_flushed_at_once(session: Session) -> None:
    """While the disk is quick nobody has to be woken for what one client does."""
    by_loop = await committers(session, Disk(), [1] * (QUICK_RUN + 1))
    assert by_loop == [False] * QUICK_RUN + [True]


async def test_what_many_do_is_flushed_by_the_thread(session: Session) -> None:
    """While more is under way the event loop goes on with it, however quick the disk is."""
    by_loop = await committers(session, Disk(), [1] * QUICK_RUN + [LONE_MOST, LONE_MOST + 1])
    assert by_loop[QUICK_RUN:] == [True, False]


async def test_a_slow_disk_is_left_to_the_thread(session: Session) -> None:
    """The event loop answers everybody else meanwhile."""
    disk = Disk()
    disk.commit_s = QUICK_S
    assert not any(await committers(session, disk, [1] * (QUICK_RUN + 1)))
