"""A thread that does for the event loop what takes long: flush, wait, copy.

Called by `writer.py` and `checkpoints.py`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Hand:
    """A thread that does one thing after the other for the event loop that made it."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = SimpleQueue()
        # A daemon: an event loop that was abandoned without closing the store must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def do(self, task: Callable[[], T], then: Callable[[T], None]) -> None:
        """Carry out `task`, which raises nothing, in the thread, and `then` in the event loop."""
        self._tasks.put((task, then))

    async def close(self) -> None:
        """Once everything is done."""
        self._tasks.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while (given := self._tasks.get()) is not None:
            task, then = given
            done = task()
            try:
                self._loop.call_soon_threadsafe(then, done)
            except RuntimeError:
                return  # the loop was closed without closing the store: nobody is left who could be answered
