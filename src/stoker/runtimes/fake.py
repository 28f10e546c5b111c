"""A runtime that pretends: every worker is a task in this event loop that runs a program given by the caller.

It ships with the product for simulations, demonstrations and tests. It passes the suite of the real runtimes, it can be told
to fail as they do, and it checks its callers: two calls for one worker at the same time, or a device promised twice, raise
`Defect`. All waiting is done on the loop's own clock, so a loop whose time jumps makes it jump too.

    async def worker(self: FakeWorker) -> int:      # its answer is the exit code; an exception is exit code 1
        self.print("up")
        await self.terminated.wait()                # SIGTERM; who does not look at it ignores it
        return 0

    runtime = FakeRuntime(worker)
    runtime.fail("launch", Unavailable("no room"))  # the next launch raises it
    runtime.kill(worker_id)                         # as the OOM killer does
    runtime.vanish(worker_id)                       # as if the machine had never known it
"""

from __future__ import annotations

import asyncio
import shlex
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal

from stoker.errors import Conflict, Defect, InvalidInput, StokerError
from stoker.ids import WorkerId
from stoker.runtimes import Capacity, Device, LogLine, Nudge, Observation, Step, WorkerSpec
from stoker.worker import Exit

Program = Callable[["FakeWorker"], Awaitable[int]]
Call = Literal["launch", "stop", "observe", "capacity", "check_image", "forget"]

KILLED: Final = 137
"""128 and SIGKILL, as a shell shows it."""
LINES_MAX: Final = 10_000
"""Lines kept of each worker; the oldest go first."""


class FakeWorker:
    """One worker, as its program sees it."""

    def __init__(self, spec: WorkerSpec, *, ended: Nudge) -> None:
        self.spec = spec
        self.terminated = asyncio.Event()
        """Set by SIGTERM."""
        self.exit: Exit | None = None
        self._ended = ended
        self._lines: deque[LogLine] = deque(maxlen=LINES_MAX)
        self._printed = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._kill: asyncio.TimerHandle | None = None

    def print(self, line: str) -> None:
        """Write a line of output, at the loop's time."""
        self._lines.append(LogLine(at_ms=round(asyncio.get_running_loop().time() * 1000), text=line))
        self._printed += 1
        self._tell()

    def start(self, program: Program) -> None:
        """Begin to run. For the runtime."""
        self._task = asyncio.create_task(self._run(program), name=f"fake worker {self.spec.worker}")

    def terminate(self, grace_s: float) -> None:
        """Send SIGTERM, and SIGKILL after the grace. For the runtime."""
        self.terminated.set()
        loop = asyncio.get_running_loop()
        at = loop.time() + grace_s
        if self._kill is None or at < self._kill.when():
            self._cancel_kill()
            self._kill = loop.call_at(at, self.end, KILLED, f"killed by SIGKILL (exit code {KILLED}), it was stopped")

    def end(self, code: int, text: str) -> None:
        """Be over, whatever the program thinks of it. Only the first end counts. For the runtime."""
        if self.exit is not None:
            return
        self.exit = Exit(code=code, text=text)
        self._cancel_kill()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._tell()
        self._ended()

    def silence(self) -> None:
        """Be over without a word to anybody. For the runtime."""
        self._ended = lambda: None
        self.end(KILLED, "lost")

    async def done(self) -> None:
        """Wait for the task of the program. For the runtime."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def past(self, tail: int) -> tuple[list[LogLine], int]:
        """The last lines, and how many there have been."""
        return (list(self._lines)[-tail:] if tail > 0 else []), self._printed

    async def more(self, read: int) -> tuple[list[LogLine], int]:
        """The lines after the first `read`, once there are any or it has ended."""
        while self._printed == read and self.exit is None:
            await self._news.wait()
        return list(self._lines)[-(self._printed - read) :] if self._printed > read else [], self._printed

    async def _run(self, program: Program) -> None:
        try:
            code = await program(self)
        except asyncio.CancelledError:
            self.end(KILLED, f"killed by SIGKILL (exit code {KILLED})")
            raise
        except Exception as error:  # whatever a program raises is its own end, never ours
            self.end(1, f"exit code 1; last output: {type(error).__name__}: {error}")
        else:
            self.end(code, f"exit code {code}" if code else "exited normally (exit code 0)")

    def _cancel_kill(self) -> None:
        if self._kill is not None:
            self._kill.cancel()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class FakeRuntime:
    """Runs `program` once for each worker. `gpus` are its devices, ids of GPUs without a name or devices as the driver tells
    them; `delay_s` is how long every call takes."""

    def __init__(
        self, program: Program, *, nudge: Nudge | None = None, gpus: Sequence[str | Device] = (), delay_s: float = 0.0
    ) -> None:
        self._program = program
        self._nudge = nudge or (lambda: None)
        self._devices = tuple(Device(id=one, name="Fake GPU") if isinstance(one, str) else one for one in gpus)
        self._delay_s = delay_s
        self._workers: dict[WorkerId, FakeWorker] = {}
        self._launching: set[WorkerId] = set()
        self._busy: set[WorkerId] = set()
        self._failures: dict[Call, deque[StokerError]] = {}

    # ── the five calls ────────────────────────────────────────────────────────────────────────────────────────────────

    async def launch(self, spec: WorkerSpec) -> Sequence[Step]:
        """Start the program as a task."""
        with self._alone(spec.worker), self._starting(spec.worker):
            await self._take_time("launch")
            if spec.worker in self._workers:
                return ()
            self._check_devices(spec)
            worker = FakeWorker(spec, ended=self._nudge)
            self._workers[spec.worker] = worker
            worker.start(self._program)
            return ()

    async def stop(self, worker: WorkerId, *, grace_s: float) -> None:
        """Set `terminated`, and end the program after the grace."""
        with self._alone(worker):
            await self._take_time("stop")
            found = self._workers.get(worker)
            if found is None or found.exit is not None:
                return
            if grace_s > 0:
                found.terminate(grace_s)
            else:
                found.end(KILLED, f"killed by SIGKILL (exit code {KILLED}), it was stopped at once")

    async def observe(self) -> Sequence[Observation]:
        """All workers, by id; those that are being launched too."""
        await self._take_time("observe")
        begun: dict[WorkerId, Exit | None] = dict.fromkeys(self._launching)
        ends = begun | {worker: found.exit for worker, found in self._workers.items()}
        return [Observation(worker=worker, exit=ends[worker]) for worker in sorted(ends)]

    async def logs(self, worker: WorkerId, *, tail: int, follow: bool) -> AsyncIterator[LogLine]:
        """What the program printed."""
        found = self._workers.get(worker)
        if found is None:
            return
        lines, read = found.past(tail)
        for line in lines:
            yield line
        while follow:
            lines, read = await found.more(read)
            if not lines:
                return
            for line in lines:
                yield line

    async def capacity(self) -> Capacity:
        """The devices it was made with."""
        await self._take_time("capacity")
        return Capacity(devices=self._devices, text="" if self._devices else "this runtime pretends to no GPU")

    # ── abilities ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def check_image(self, image: str, command: str) -> None:
        """Any image will do, if there is one, and any command that a shell could split."""
        await self._take_time("check_image")
        if not image:
            raise InvalidInput("an image is needed", field="image", next_step="name one; any name will do here")
        try:
            shlex.split(command)
        except ValueError as error:
            raise InvalidInput(str(error), field="command", next_step="check the quotes of the command") from None

    async def forget(self, worker: WorkerId) -> None:
        """Drop an ended worker. Raises `Conflict` while it runs."""
        with self._alone(worker):
            await self._take_time("forget")
            found = self._workers.get(worker)
            if found is not None and found.exit is None:
                raise Conflict(f"worker {worker} still runs", next_step="stop it first")
            self._workers.pop(worker, None)

    # ── the script ────────────────────────────────────────────────────────────────────────────────────────────────────

    def fail(self, call: Call, error: StokerError, *, times: int = 1) -> None:
        """Let the next `times` calls of this kind raise `error`, after those that were ordered before."""
        self._failures.setdefault(call, deque()).extend([error] * times)

    def kill(self, worker: WorkerId, code: int = KILLED) -> None:
        """End a running worker from outside, with `code` as a shell shows it."""
        self._workers[worker].end(code, f"killed from outside (exit code {code})")

    def vanish(self, worker: WorkerId) -> None:
        """Lose a worker without a trace; nobody is nudged."""
        self._workers.pop(worker).silence()

    async def close(self) -> None:
        """End all workers, without a nudge, and wait until their tasks are done."""
        for worker in self._workers.values():
            worker.silence()
        await asyncio.gather(*(worker.done() for worker in self._workers.values()))

    # ── the checks ────────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _alone(self, worker: WorkerId) -> Iterator[None]:
        if worker in self._busy:
            raise Defect(f"two calls for worker {worker} overlap; the port says one after another")
        self._busy.add(worker)
        try:
            yield
        finally:
            self._busy.discard(worker)

    @contextmanager
    def _starting(self, worker: WorkerId) -> Iterator[None]:
        self._launching.add(worker)
        try:
            yield
        finally:
            self._launching.discard(worker)

    def _check_devices(self, spec: WorkerSpec) -> None:
        held = [gpu for worker in self._workers.values() if worker.exit is None for gpu in worker.spec.gpus]
        known = {device.id for device in self._devices}
        for gpu in spec.gpus:
            if gpu not in known or gpu in held:
                raise Defect(f"device {gpu} is {'promised twice' if gpu in held else 'unknown'} (worker {spec.worker})")

    async def _take_time(self, call: Call) -> None:
        await asyncio.sleep(self._delay_s)
        failures = self._failures.get(call)
        if failures:
            raise failures.popleft()
