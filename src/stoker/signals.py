"""Waking whoever waits: held takes, held statuses, and the loops, here and on other servers.

A signal only saves time (D5, D14). Whoever waits first listens, then looks at the store, then waits, and looks again when
woken or after a while; so a lost signal costs a delay and never a job. Signals follow a commit; only `job_coming` leads one,
that of a transaction which whoever it wakes takes part in.

An ear hears of one thing, a worker, a job or `IMAGES`, by its id; what rings it wakes all who listen. A held take stands in a queue's line
besides: a job that waits wakes one of them. What is rung here is told to other servers as a word, the kind and the id (`relay.py` carries
it); what they tell is rung by `heard`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

from stoker.ids import EndpointId, JobId, WorkerId

IMAGES: Final = ""
"""What is rung when an image is to be fetched, or one more."""
ENDS_EVERY_S: Final = 0.01
"""Waits end at multiples of it: those that would end within it share a timer, which costs more than all else of a wait."""


class Ear:
    """One listener. Use it as a context manager around *look, then wait*."""

    __slots__ = ("_line", "_signals", "_thing", "_turn", "_woken", "rung")

    def __init__(self, signals: Signals, thing: str, line: EndpointId | None) -> None:
        self._signals = signals
        self._thing = thing
        self._line = line
        self._turn = False
        """Whether the line rang: who does not look for the job lets the next one do it."""
        self._woken: asyncio.Future[None] | None = None
        self.rung = False
        """Whether a signal came since listening began."""

    def __enter__(self) -> Self:
        self._signals._ears.setdefault(self._thing, {})[self] = None
        if self._line is not None:
            self._signals._lines.setdefault(self._line, {})[self] = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ears = self._signals._ears[self._thing]
        del ears[self]
        if not ears:
            del self._signals._ears[self._thing]
        if self._line is not None:
            self._signals._leave(self._line, self)
            if kind is not None and self._turn:
                self._signals._ring_next_anywhere(self._line)

    def again(self) -> None:
        """Listen anew, in the line too, before another look: whatever rang until now is what it is for."""
        self.rung = self._turn = False
        if self._line is not None:
            self._signals._lines.setdefault(self._line, {})[self] = None

    def leave_line(self) -> None:
        """Until it listens anew, hear of no job; if one rang already, the next in the line does."""
        if self._line is not None:
            self._signals._leave(self._line, self)
            if self._turn:
                self.rung = self._turn = False
                self._signals._ring_next_anywhere(self._line)

    def hear(self) -> None:
        """Called by the signals when it is rung."""
        self.rung = True
        self.wake()

    def wake(self) -> None:
        """End the wait, whether or not anything rang."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a signal, `timeout_s` seconds and at most `ENDS_EVERY_S` more; whether one came."""
        if not self.rung and timeout_s > 0 and not self._signals.closed:
            loop = asyncio.get_running_loop()
            self._woken = loop.create_future()
            ending = self._signals._ending(loop, timeout_s)
            ending[self] = None
            try:
                await self._woken
            finally:
                self._woken = None
                ending.pop(self, None)
        return self.rung


_Ears = dict[Ear, None]
"""In the order of coming."""


class _Bell:
    """Rung again and again, heard once: a ring while it is `rung` already costs whoever looks first nothing."""

    __slots__ = ("_event", "rung")

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.rung = False

    def ring(self) -> None:
        """Let `heard` return."""
        self.rung = True
        self._event.set()

    async def heard(self, timeout_s: float) -> None:
        """Return when it was rung since the last call, or after `timeout_s`."""
        if timeout_s > 0:
            try:
                # not `wait_for`: that of Python 3.11 may lose a cancellation that comes with the ring
                async with asyncio.timeout(timeout_s):
                    await self._event.wait()
            except TimeoutError:
                return
        self.rung = False
        self._event.clear()


class Signals:
    """All ears of this process, and the endpoints that the autoscaler should look at."""

    def __init__(self) -> None:
        self._ears: dict[str, _Ears] = {}
        """Who hears of a thing."""
        self._lines: dict[EndpointId, _Ears] = {}
        """Held takes. The first gets the next job."""
        self._ends: dict[int, _Ears] = {}
        """Whose wait ends, by when, in multiples of `ENDS_EVERY_S`."""
        self._to_scale: dict[EndpointId, None] = {}
        self._scale = _Bell()
        self._lifeline = _Bell()
        self._stirred = _Bell()
        self.tell: Callable[[str], None] | None = None
        """Tells other servers a word, if there may be others: see `heard`."""
        self.admitted: Callable[[str], None] | None = None
        """Hears what other servers admitted: see `throttle`."""
        self.on_duty = True
        """Whether the loops run here, so that nobody else needs to hear what is for them."""
        self.closed = False
        """Whether nobody should wait any more: the server is about to stop answering."""

    def listen(self, thing: str, *, line: EndpointId | None = None) -> Ear:
        """An ear for a worker, a job or `IMAGES`, and in the line for jobs of an endpoint; what rings first wakes it."""
        return Ear(self, thing, line)

    def close(self) -> None:
        """Wake everybody, and let nobody wait again."""
        self.closed = True
        if not self._stirred.rung:
            self._stirred.ring()
        self._wake_all()

    def job_queued(self, endpoint: EndpointId) -> None:
        """A job waits: wake one held take, and let the autoscaler look."""
        self._ring_next_anywhere(endpoint)
        self.scale(endpoint)

    def job_coming(self, endpoint: EndpointId) -> bool:
        """A job will wait, and whoever looks from now on finds it: wake one held take; whether there was one here.

        Who was woken, by this or anything else, is passed over only once: it comes again by itself when it goes on listening.
        """
        line = self._lines.get(endpoint)
        while line:
            ear = next(iter(line))
            del line[ear]
            if not ear.rung:
                ear._turn = True
                ear.hear()
                return True
        return False

    def jobs_queued(self, endpoint: EndpointId) -> None:
        """Several jobs may wait: wake every held take of the endpoint."""
        self._ring_line(endpoint)
        self._say("queue", endpoint)
        self.scale(endpoint)

    def job_changed(self, job: JobId) -> None:
        """The job's state, progress or stream changed."""
        self._ring("job", job)

    def worker_changed(self, worker: WorkerId) -> None:
        """The worker's slots, state or stops changed."""
        self._ring("worker", worker)

    def images_wanted(self) -> None:
        """An image is to be fetched ahead of its workers."""
        self._ring("images", IMAGES)

    def scale(self, endpoint: EndpointId) -> None:
        """Something that the scaling decision depends on changed."""
        if not self._stirred.rung:
            self._stirred.ring()
        if not self.on_duty:
            self._say("scale", endpoint)
        elif endpoint not in self._to_scale:
            self._to_scale[endpoint] = None
            self._scale.ring()

    def look_at_workers(self) -> None:
        """The runtime saw something, or a worker should go."""
        if not self.on_duty:
            self._say("look", "")
        self._lifeline.ring()

    def heard(self, words: Sequence[str]) -> None:
        """What another server told; nothing at all when anything may have been missed."""
        if not self._stirred.rung:
            self._stirred.ring()
        if not words:
            self._wake_all()
        for word in words:
            kind, _, name = word.partition(" ")
            if kind == "next":
                self.job_coming(EndpointId(name))
            elif kind == "queue":
                self._ring_line(EndpointId(name))
            elif kind == "admitted" and self.admitted is not None:
                self.admitted(name)
            elif kind in ("job", "worker", "images"):
                self._ring_here(name)
            elif self.on_duty and kind == "scale":
                self.scale(EndpointId(name))
            elif self.on_duty:
                self.look_at_workers()

    async def endpoints_to_scale(self, timeout_s: float) -> list[EndpointId]:
        """Endpoints named since the last call; waits for one, at most `timeout_s`. For the autoscaler."""
        await self._scale.heard(timeout_s)
        endpoints = list(self._to_scale)
        self._to_scale.clear()
        return endpoints

    async def workers_to_look_at(self, timeout_s: float) -> None:
        """Return when the runtime nudged, or after `timeout_s`. For the lifeline."""
        await self._lifeline.heard(timeout_s)

    def waiting(self) -> int:
        """How many held takes wait here."""
        return sum(map(len, self._lines.values()))

    async def stirred(self, timeout_s: float) -> None:
        """Return when anything was rung here or told by others since the last call, or after `timeout_s`. For who follows
        the ledger."""
        await self._stirred.heard(timeout_s)

    def _say(self, kind: str, name: str) -> None:
        if self.tell is not None:
            self.tell(f"{kind} {name}")

    def _ring(self, kind: str, thing: str) -> None:
        """Here and on other servers."""
        if not self._stirred.rung:
            self._stirred.ring()
        if thing in self._ears:  # most often nobody listens
            self._ring_here(thing)
        if self.tell is not None:
            self._say(kind, thing)

    def _leave(self, endpoint: EndpointId, ear: Ear) -> None:
        line = self._lines.get(endpoint)
        if line is not None:
            line.pop(ear, None)
            if not line:
                del self._lines[endpoint]

    def _ring_here(self, thing: str) -> None:
        for ear in self._ears.get(thing, ()):
            ear.hear()

    def _ring_line(self, endpoint: EndpointId) -> None:
        """All that stand there."""
        for ear in self._lines.get(endpoint, ()):
            if not ear.rung:
                ear._turn = True
                ear.hear()

    def _ring_next_anywhere(self, endpoint: EndpointId) -> None:
        """Wake a held take here, or one on each other server: one of them gets the job, the others find nothing."""
        if not self._stirred.rung:
            self._stirred.ring()
        if not self.job_coming(endpoint):
            self._say("next", endpoint)

    def _wake_all(self) -> None:
        for ears in list(self._ears.values()):
            for ear in ears:
                ear.wake()

    def _ending(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> _Ears:
        """Whose wait ends with one that begins now and lasts so long; always later than now, so that who waits for a rest of no length
        does not go round and round."""
        number = math.ceil((loop.time() + max(timeout_s, ENDS_EVERY_S)) / ENDS_EVERY_S)
        ending = self._ends.get(number)
        if ending is None:
            ending = self._ends[number] = {}
            loop.call_at(number * ENDS_EVERY_S, self._end, number)
        return ending

    def _end(self, number: int) -> None:
        for ear in self._ends.pop(number):
            ear.wake()
