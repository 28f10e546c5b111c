"""What the cluster noted about pods that do not start, such as a volume that is not attached: asked for one after another, by a task of
its own. Looking at a thousand pods waits for no answer, and a cluster with a thousand that wait is asked no more than with ten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from lightkube.resources.core_v1 import Event, Pod

from stoker.errors import Unavailable
from stoker.ids import WorkerId

log = structlog.get_logger()

PAUSE_S: Final = 0.2
"""Between two questions."""
AGAIN_FIRST_S: Final = 5.0
"""After how long a pod is asked about again; each time it is twice as long, up to `AGAIN_MOST_S`."""
AGAIN_MOST_S: Final = 60.0

Ask = Callable[[Pod], Awaitable[Sequence[Event]]]


@dataclass(slots=True)
class _Note:
    pod: Pod
    due: float = 0.0
    again_s: float = AGAIN_FIRST_S
    events: Sequence[Event] = ()


class Notes:
    """The pods that are asked about, and what was told of them last."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._notes: dict[WorkerId, _Note] = {}
        self._wanted = asyncio.Event()

    def of(self, worker: WorkerId, pod: Pod) -> Sequence[Event]:
        """What was told last; it is asked for from now on, until it is forgotten."""
        note = self._notes.setdefault(worker, _Note(pod))
        note.pod = pod
        self._wanted.set()
        return note.events

    def forget(self, worker: WorkerId) -> None:
        """Ask no more about it."""
        self._notes.pop(worker, None)

    async def run(self) -> None:
        """Ask, until cancelled."""
        while True:
            await self._wanted.wait()
            now = asyncio.get_running_loop().time()
            worker, note = min(self._notes.items(), key=lambda one: one[1].due, default=("", None))
            if note is None:
                self._wanted.clear()
            elif note.due <= now:
                note.due, note.again_s = now + note.again_s, min(2 * note.again_s, AGAIN_MOST_S)
                try:
                    note.events = await self._ask(note.pod)
                except Unavailable as error:  # whoever looks at pods is told
                    log.info("events_not_read", worker=worker, error=error.message)
            await asyncio.sleep(PAUSE_S)
