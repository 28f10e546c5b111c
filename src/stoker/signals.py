"""Waking whoever waits: held takes, held statuses, and the loops, here and on other servers.

A signal only saves time (D5, D14). Whoever waits first listens, then looks at the store, then waits, and looks again when
woken or after a while; so a lost signal costs a delay and never a job. Signals follow a commit; only `job_coming` leads one,
that of a transaction which whoever it wakes takes part in.

Keys are tuples: `queue_key` (rung once per job, wakes one listener each), `worker_key`, `job_key` (wake all). What is rung
here is told to other servers as a word, the kind and the id (`relay.py` carries it); what they tell is rung by `heard`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

from stoker.ids import EndpointId, JobId, WorkerId

Key = tuple[str, str]


def queue_key(endpoint: EndpointId) -> Key:
    """Rung when a job of the endpoint waits."""
    return ("queue", endpoint)


def worker_key(worker: WorkerId) -> Key:
    """Rung when the worker's slots, state or stops changed."""
    return ("worker", worker)


def job_key(job: JobId) -> Key:
    """Rung when the job changed."""
    return ("job", job)


IMAGES: Final[Key] = ("images", "")
"""Rung when an image is to be fetched, or one more."""


class Ear:
    """One listener. Use it as a context manager around *look, then wait*."""

    __slots__ = ("_keys", "_rung_by", "_signals", "_woken")

    def __init__(self, signals: Signals, keys: tuple[Key, ...]) -> None:
        self._signals = signals
        self._keys = keys
        self._rung_by: Key | None = None
        self._woken: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._signals._register(self, self._keys)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signals._unregister(self, self._keys)
        if kind is not None and self._rung_by is not None:
            self._pass_on(self._rung_by)

    def again(self) -> None:
        """Listen anew, to all keys, before another look: whatever rang until now is what it is for."""
        self._rung_by = None
        self._signals._register(self, self._keys)

    def leave(self, key: Key) -> None:
        """Stop listening to one key; a ring that already came from it goes to the next listener."""
        self._signals._unregister(self, (key,))
        if self._rung_by == key:
            self._rung_by = None
            self._pass_on(key)

    def _pass_on(self, key: Key) -> None:
        if key[0] == "queue":
            self._signals._ring_next_anywhere(key)

    def hear(self, key: Key) -> None:
        """Called by the signals when the key rings."""
        self._rung_by = key
        self.wake()

    def wake(self) -> None:
        """End the wait, whether or not a key rang."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    @property
    def rung(self) -> bool:
        """Whether a signal came since listening began."""
        return self._rung_by is not None

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a signal, at most `timeout_s` seconds; whether one came."""
        if self._rung_by is None and timeout_s > 0 and not self._signals.closed:
            loop = asyncio.get_running_loop()
            self._woken = loop.create_future()
            end = loop.call_later(timeout_s, self.wake)
            try:
                await self._woken
            finally:
                end.cancel()
                self._woken = None
        return self.rung


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
        self._ears: dict[Key, dict[Ear, None]] = {}
        """Who listens, in the order of coming."""
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

    def listen(self, *keys: Key) -> Ear:
        """An ear for these keys; the first that rings wakes it."""
        return Ear(self, keys)

    def close(self) -> None:
        """Wake everybody, and let nobody wait again."""
        self.closed = True
        if not self._stirred.rung:
            self._stirred.ring()
        self._wake_all()

    def job_queued(self, endpoint: EndpointId) -> None:
        """A job waits: wake one held take, and let the autoscaler look."""
        self._ring_next_anywhere(queue_key(endpoint))
        self.scale(endpoint)

    def job_coming(self, endpoint: EndpointId) -> bool:
        """A job will wait, and whoever looks from now on finds it: wake one held take; whether there was one here."""
        return self._ring_next(queue_key(endpoint))

    def jobs_queued(self, endpoint: EndpointId) -> None:
        """Several jobs may wait: wake every held take of the endpoint."""
        self._ring_everywhere(queue_key(endpoint))
        self.scale(endpoint)

    def job_changed(self, job: JobId) -> None:
        """The job's state, progress or stream changed."""
        self._ring_everywhere(job_key(job))

    def worker_changed(self, worker: WorkerId) -> None:
        """The worker's slots, state or stops changed."""
        self._ring_everywhere(worker_key(worker))

    def images_wanted(self) -> None:
        """An image is to be fetched ahead of its workers."""
        self._ring_everywhere(IMAGES)

    def scale(self, endpoint: EndpointId) -> None:
        """Something that the scaling decision depends on changed."""
        if not self._stirred.rung:
            self._stirred.ring()
        if not self.on_duty:
            self._say("scale", endpoint)
            return
        self._to_scale[endpoint] = None
        if not self._scale.rung:
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
                self._ring_next(queue_key(EndpointId(name)))
            elif kind == "admitted" and self.admitted is not None:
                self.admitted(name)
            elif kind in ("queue", "job", "worker", "images"):
                self._ring_all((kind, name))
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
        return sum(len(ears) for key, ears in self._ears.items() if key[0] == "queue")

    async def stirred(self, timeout_s: float) -> None:
        """Return when anything was rung here or told by others since the last call, or after `timeout_s`. For who follows
        the ledger."""
        await self._stirred.heard(timeout_s)

    def _register(self, ear: Ear, keys: tuple[Key, ...]) -> None:
        for key in keys:
            ears = self._ears.get(key)
            if ears is None:
                self._ears[key] = {ear: None}
            else:
                ears[ear] = None

    def _unregister(self, ear: Ear, keys: tuple[Key, ...]) -> None:
        for key in keys:
            ears = self._ears.get(key)
            if ears is not None:
                ears.pop(ear, None)
                if not ears:
                    del self._ears[key]

    def _say(self, kind: str, name: str) -> None:
        if self.tell is not None:
            self.tell(f"{kind} {name}")

    def _ring_next_anywhere(self, key: Key) -> None:
        """Wake a listener here, or one on each other server: one of them gets the job, the others find nothing."""
        if not self._stirred.rung:
            self._stirred.ring()
        if not self._ring_next(key):
            self._say("next", key[1])

    def _ring_everywhere(self, key: Key) -> None:
        if not self._stirred.rung:
            self._stirred.ring()
        if key in self._ears:  # most often nobody listens
            self._ring_all(key)
        if self.tell is not None:
            self._say(*key)

    def _wake_all(self) -> None:
        for ears in list(self._ears.values()):
            for ear in ears:
                ear.wake()

    def _ring_next(self, key: Key) -> bool:
        """Whether somebody was woken. Who was woken, by this key or another, is passed over only once: it comes again by
        itself when it goes on listening."""
        ears = self._ears.get(key)
        while ears:
            ear = next(iter(ears))
            del ears[ear]
            if ear._rung_by is None:
                ear.hear(key)
                return True
        return False

    def _ring_all(self, key: Key) -> None:
        for ear in self._ears.get(key, ()):
            if ear._rung_by is None:
                ear.hear(key)
