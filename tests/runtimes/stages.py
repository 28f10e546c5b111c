"""Where workers perform for the runtime suite: one stage for each runtime, all able to play the same acts.

An act is what a worker shall do, in words: `obey 7` prints `up`, waits for SIGTERM and exits with 7 (`actor/actor.py`). To
join the suite a runtime needs a stage here and a name in the fixture of `conftest.py`.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from stoker.clock import SystemClock
from stoker.ids import WorkerId, new_worker_id
from stoker.runtimes import Runtime, TrimsLogs, WorkerSpec
from stoker.runtimes.docker import DockerRuntime, Terms
from stoker.runtimes.docker.engine import Engine as EngineClient
from stoker.runtimes.fake import FakeRuntime, FakeWorker
from stoker.runtimes.kubernetes import Access, Api, KubernetesRuntime
from stoker.runtimes.kubernetes import Terms as PodTerms
from stoker.runtimes.process import ProcessRuntime
from stoker.worker import Exit
from tests.cluster import Cluster
from tests.docker import Engine

ACTOR = Path(__file__).parent / "actor"
DEADLINE_S = 30.0
"""Bounds a hang; nothing is measured by it."""

T = TypeVar("T")


async def eventually(
    look: Callable[[], Awaitable[T]], *, until: Callable[[T], object] = bool, deadline_s: float = DEADLINE_S
) -> T:
    """What `look` answers once `until` accepts it."""
    async with asyncio.timeout(deadline_s):
        while not until(seen := await look()):  # noqa: ASYNC110 (what is waited for lies outside of this process)
            await asyncio.sleep(0.01)
    return seen


class Stage(Protocol):
    """A runtime, and what the suite needs around it."""

    runtime: Runtime
    nudged: asyncio.Event
    asks_all: bool
    """Whether a worker is asked to end, and given a second, even where no grace is given."""

    def spec(self, act: str, *, env: Mapping[str, str] | None = None, gpus: Sequence[str] = ()) -> WorkerSpec:
        """A new worker that will perform `act`."""
        ...

    def add_stranger(self) -> Callable[[], bool]:
        """Something beside the workers that is not ours. The answer tells whether it is still there."""
        ...

    async def close(self) -> None:
        """Leave nothing running."""
        ...


# ── what every test does ──────────────────────────────────────────────────────────────────────────────────────────────


async def seen(runtime: Runtime, worker: WorkerId) -> Exit | str | None:
    """How the runtime shows the worker: its exit, None while it runs, `missing`."""
    shown = {one.worker: one.exit for one in await runtime.observe()}
    return shown.get(worker, "missing")


async def ended(runtime: Runtime, worker: WorkerId, *, deadline_s: float = DEADLINE_S) -> Exit:
    """Wait until the runtime shows that the worker has ended."""
    shown = await eventually(
        lambda: seen(runtime, worker), until=lambda shown: shown is not None, deadline_s=deadline_s
    )
    assert isinstance(shown, Exit), f"worker {worker} is {shown}"
    return shown


async def lines(runtime: Runtime, worker: WorkerId, *, tail: int = 1000) -> list[str]:
    """What the worker has printed so far."""
    return [line.text async for line in runtime.logs(worker, tail=tail, follow=False)]


async def first_line(runtime: Runtime, worker: WorkerId) -> str:
    """Wait for the first line that the worker prints."""
    return (await eventually(lambda: lines(runtime, worker)))[0]


async def keeps_the_newest_output(stage: Stage) -> None:
    """Play two workers, one after the other, and see that a bound takes the output of the first and nothing else."""
    first, second = stage.spec("print first"), stage.spec("print second")
    for spec in (first, second):
        await stage.runtime.launch(spec)
        await ended(stage.runtime, spec.worker)
    assert isinstance(stage.runtime, TrimsLogs)
    assert await stage.runtime.trim_logs(1 << 20) == 0
    assert await stage.runtime.trim_logs(30) > 0
    assert await lines(stage.runtime, first.worker) == []
    assert await lines(stage.runtime, second.worker) == ["second"]
    assert (await ended(stage.runtime, first.worker)).code == 0


# ── fake ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def play(self: FakeWorker) -> int:
    """The acts of the contract, for workers that only pretend."""
    act, *arguments = shlex.split(self.spec.command)
    code = 0
    match act:
        case "exit":
            code = int(arguments[0])
        case "print":
            for argument in arguments:
                self.print(argument)
        case "environment":
            for name in arguments:
                self.print(f"{name}={self.spec.env.get(name, '(not set)')}")
        case "crash":
            raise RuntimeError(arguments[0])
        case "obey":
            self.print("up")
            await self.terminated.wait()
            self.print("told")
            code = int(arguments[0])
        case "ignore":
            self.print("up")
            await asyncio.Event().wait()
        case _:
            raise AssertionError(f"unknown act: {act}")
    return code


class FakeStage:
    """Acts as tasks of the event loop."""

    asks_all = False

    def __init__(self) -> None:
        self.nudged = asyncio.Event()
        self._fake = FakeRuntime(play, nudge=self.nudged.set)
        self.runtime: Runtime = self._fake

    def spec(self, act: str, *, env: Mapping[str, str] | None = None, gpus: Sequence[str] = ()) -> WorkerSpec:
        return WorkerSpec(worker=new_worker_id(), image="actor", command=act, env=env or {}, gpus=gpus)

    def add_stranger(self) -> Callable[[], bool]:
        task = asyncio.create_task(asyncio.Event().wait(), name="fake worker of somebody else")
        return lambda: not task.done()

    async def close(self) -> None:
        await self._fake.close()


# ── process ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class ProcessStage:
    """Acts as real processes."""

    asks_all = False

    def __init__(self, root: Path, *, log_bytes_max: int = 1024 * 1024) -> None:
        self.root = root
        self.nudged = asyncio.Event()
        self._log_bytes_max = log_bytes_max
        self._strangers: list[subprocess.Popen[bytes]] = []
        self.process = self._open()
        self.runtime: Runtime = self.process

    def spec(self, act: str, *, env: Mapping[str, str] | None = None, gpus: Sequence[str] = ()) -> WorkerSpec:
        command = f"{shlex.quote(sys.executable)} -S actor.py {act}"  # -S: starts in half the time
        return WorkerSpec(worker=new_worker_id(), image=f"dir:{ACTOR}", command=command, env=env or {}, gpus=gpus)

    def add_stranger(self) -> Callable[[], bool]:
        folder = self.root / "lost-and-found"
        folder.mkdir(parents=True)
        (self.root / "notes.txt").write_text("mine")
        stranger = subprocess.Popen(["sleep", "1000"], cwd=folder)
        self._strangers.append(stranger)
        return lambda: stranger.poll() is None and folder.is_dir() and (self.root / "notes.txt").exists()

    async def restart(self) -> None:
        """Forget everything but the files, as a new server has."""
        self.process.close()
        self.process = self.runtime = self._open()

    async def close(self) -> None:
        for one in await self.process.observe():
            await self.process.stop(one.worker, grace_s=0)
            await ended(self.process, one.worker)
        self.process.close()
        for stranger in self._strangers:
            stranger.kill()
            stranger.wait()

    def _open(self) -> ProcessRuntime:
        return ProcessRuntime(self.root, nudge=self.nudged.set, log_bytes_max=self._log_bytes_max)


# ── docker ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class DockerStage:
    """Acts as containers of a real engine."""

    asks_all = False

    def __init__(self, engine: Engine, image: str, root: Path, **terms: Any) -> None:
        self.engine = engine
        self.image = image
        self.root = root
        self.nudged = asyncio.Event()
        self.terms = Terms(installation=secrets.token_hex(4), **terms)
        self._strangers: list[str] = []
        self.docker = self._open()
        self.runtime: Runtime = self.docker

    def spec(
        self, act: str, *, env: Mapping[str, str] | None = None, gpus: Sequence[str] = (), **more: Any
    ) -> WorkerSpec:
        command = f"python3 -S actor.py {act}"
        return WorkerSpec(worker=new_worker_id(), image=self.image, command=command, env=env or {}, gpus=gpus, **more)

    def add_stranger(self) -> Callable[[], bool]:
        label = "stoker.installation=of-somebody-else"
        stranger = self.engine.run("run", "-d", "--label", label, self.image, "sleep", "1000")
        self._strangers.append(stranger)
        return lambda: self.engine.run("inspect", "-f", "{{.State.Running}}", stranger) == "true"

    async def restart(self) -> None:
        """Forget everything but the files and the containers, as a new server has."""
        await self.docker.close()
        self.docker = self.runtime = self._open()

    async def close(self) -> None:
        for one in await self.docker.observe():
            if one.exit is None:
                await self.docker.stop(one.worker, grace_s=0)
                await ended(self.docker, one.worker)
        await eventually(self._containers, until=lambda left: not left)
        await self.docker.collect_images(used=(), unused_before_ms=0, bytes_max=1 << 60)
        await self.docker.close()
        if self._strangers:
            self.engine.run("rm", "-f", *self._strangers)

    async def _containers(self) -> str:
        return self.engine.run("ps", "-aq", "--filter", f"label=stoker.installation={self.terms.installation}")

    def _open(self) -> DockerRuntime:
        client = EngineClient(self.engine.host)
        return DockerRuntime(client, self.root, SystemClock(), nudge=self.nudged.set, terms=self.terms)


# ── kubernetes ────────────────────────────────────────────────────────────────────────────────────────────────────────


class KubernetesStage:
    """Acts as pods of a real cluster, in a namespace of their own."""

    asks_all = True

    def __init__(self, cluster: Cluster, image: str, **terms: Any) -> None:
        self.cluster = cluster
        self.image = image
        self.nudged = asyncio.Event()
        name = secrets.token_hex(4)
        self.terms = PodTerms(installation=name, namespace=f"test-{name}", always_pull=False, **terms)
        cluster.add_namespace(self.terms.namespace)
        self.kubernetes: KubernetesRuntime
        self.runtime: Runtime

    async def open(self) -> Self:
        """Begin."""
        self.kubernetes = self.runtime = await self.another()
        return self

    def spec(
        self, act: str, *, env: Mapping[str, str] | None = None, gpus: Sequence[str] = (), **more: Any
    ) -> WorkerSpec:
        command = f"python3 -S actor.py {act}"
        return WorkerSpec(worker=new_worker_id(), image=self.image, command=command, env=env or {}, gpus=gpus, **more)

    def add_stranger(self) -> Callable[[], bool]:
        words = ("run", "stranger", "-n", self.terms.namespace, f"--image={self.image}", "--restart=Never")
        self.cluster.kubectl(*words, "--labels=stoker.installation=of-somebody-else", "--", "sleep", "1000")
        return lambda: (
            "deletionTimestamp" not in self.cluster.get("pod", "stranger", "-n", self.terms.namespace)["metadata"]
        )

    async def restart(self) -> None:
        """Forget everything, as a new server has."""
        await self.kubernetes.close()
        await self.open()

    async def close(self) -> None:
        await self.kubernetes.close()
        words = ("delete", "pods", "--all", "-n", self.terms.namespace, "--grace-period=0", "--force", "--wait=false")
        self.cluster.kubectl(*words)
        self.cluster.kubectl("delete", "namespace", self.terms.namespace, "--wait=false")

    async def another(self) -> KubernetesRuntime:
        """Another server of the same installation."""
        api = await asyncio.to_thread(Api.open, Access(file=str(self.cluster.config)))
        runtime = KubernetesRuntime(api, SystemClock(), nudge=self.nudged.set, terms=self.terms)
        runtime.open()
        return runtime
