"""What the simulated server stands on: a disk that answers late, and a machine that fails now and then."""

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import TypeVar

from stoker.errors import Defect, Unavailable
from stoker.ids import WorkerId
from stoker.runtimes import Capacity, Device, Nudge, Observation, Step, WorkerSpec
from stoker.runtimes.fake import FakeRuntime, Program
from stoker.store.image import Operation
from stoker.store.sqlite.transaction import Function
from stoker.store.sqlite.writer import Lane

T = TypeVar("T")

LATE = 0.3
"""The share of operations whose answer comes later than the commit."""
LATE_MOST_S = 0.02
STALE_S = (0.0, 0.0, 0.01, 0.2)
"""How old an observation may be when it is heard."""


class Disk:
    """A lane that commits in the order of the calls and answers in that order, some of them late.

    Others run between a commit and its answer; a server that is killed there has done what it never heard of.
    """

    def __init__(self, inner: Lane, chance: Random) -> None:
        self._inner = inner
        self._chance = chance
        self._answered_s = 0.0

    def run(self, work: Operation[T] | Function[T], size: int = 0) -> Awaitable[T]:
        """The answer."""
        try:
            return self._late(self._inner.run(work), None)
        except Exception as error:
            return self._late(None, error)

    async def _late(self, answer: Awaitable[T] | None, error: Exception | None) -> T:
        await self._answer()
        if answer is None:
            assert error is not None
            raise error
        return await answer

    async def _answer(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._chance.random() < LATE:
            self._answered_s = max(self._answered_s, now_s) + self._chance.random() * LATE_MOST_S
        if self._answered_s > now_s:
            await asyncio.sleep(self._answered_s - now_s)

    async def close(self) -> None:
        """Close the connection."""
        await self._inner.close()


class Machine(FakeRuntime):
    """The fake runtime, which may be away for a while, refuses some launches, and remembers mistakes of its callers."""

    def __init__(
        self,
        program: Program,
        chance: Random,
        *,
        nudge: Nudge,
        gpus: Sequence[str | Device],
        delay_s: float,
        refusals: float,
    ) -> None:
        super().__init__(program, nudge=nudge, gpus=gpus, delay_s=delay_s)
        self._chance = chance
        self._refusals = refusals
        self.away = False
        """Whether every call is refused."""
        self.blind = False
        """Whether it cannot tell what devices it has."""
        self.cuda = ""
        """What its driver offers."""
        self.cuda_before: list[str] = []
        """What it offers before, to each who asks one of these."""
        self.stale_s = 0.0
        """How old observations are; 0: as it happens."""
        self.pull_s = 0.0
        """How long a launch takes before anything else happens."""
        self._launched: set[WorkerId] = set()
        self.mistakes: list[Defect] = []

    def calm(self) -> None:
        """Refuse no more launches."""
        self._refusals = 0.0

    async def launch(self, spec: WorkerSpec) -> Sequence[Step]:
        """Start the program, or refuse."""
        self._be_there()
        await asyncio.sleep(self.pull_s)
        if self._chance.random() < self._refusals:
            self.fail("launch", Unavailable("the machine is out of patience"))
        with self._noting():
            steps = await super().launch(spec)
        self._launched.add(spec.worker)
        return steps

    async def stop(self, worker: WorkerId, *, grace_s: float) -> None:
        """Stop it."""
        self._be_there()
        with self._noting():
            await super().stop(worker, grace_s=grace_s)

    async def observe(self) -> Sequence[Observation]:
        """All workers, as they were a little before the answer; those that are being launched do not exist yet."""
        self._be_there()
        seen = [one for one in await super().observe() if one.worker in self._launched]
        await asyncio.sleep(self.stale_s or self._chance.choice(STALE_S))
        return seen

    async def capacity(self) -> Capacity:
        """The devices."""
        self._be_there()
        if self.blind:
            raise Unavailable("the driver does not answer")
        return replace(await super().capacity(), cuda=self.cuda_before.pop(0) if self.cuda_before else self.cuda)

    def _be_there(self) -> None:
        if self.away:
            raise Unavailable("the runtime does not answer")

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except Defect as error:
            self.mistakes.append(error)
            raise
