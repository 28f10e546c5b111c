"""The port to whatever runs workers: a process tree, a container, a pod, or a script that pretends.

Five calls that report levels (D9). What each must keep, proven by `tests/runtimes/` over every adapter:

- `launch` twice with the same worker id is one worker; launching one that has ended starts nothing. It returns once the worker's
  main process exists, or raises; `observe` lists the worker from the beginning of its launch. A runtime that leaves it to others
  where and when a worker starts returns None as soon as they have the order; then `observe` tells what it waits for, that it
  runs, or that it never will.
- `stop` of what is gone succeeds. It returns once the worker has been told (SIGTERM to its main process); it is killed,
  as a whole tree, when `grace_s` has passed or at once when that is 0 (a cluster asks all the same, and gives it a second); of
  several calls the shortest grace counts. `observe` shows when it is over.
- `observe` answers with every worker of this installation that the runtime knows of, ended ones included until they are
  forgotten. It survives a restart of the server. What it does not list does not exist. Strangers are left alone.
- A worker that ends is data (`Observation`); a runtime that does not answer raises `Unavailable`.
- Every start gets a fresh file system or working directory; nothing of an earlier worker is visible (protocol §14.4).

Calls for different workers may run at the same time; calls for one worker are made one after another.
Adapters may be given a `nudge`, which they call without arguments, from the event loop, as soon as a worker ends, so that
nobody has to wait for the next `observe`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from stoker.ids import VolumeId, WorkerId
from stoker.registry import Login
from stoker.specification import Capacity, Device
from stoker.worker import Exit, WorkerReason

Nudge = Callable[[], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """Storage that outlives workers."""

    source: str
    """An absolute path of the machine."""
    target: str
    read_only: bool = False
    name: str = ""
    """Of a team's volume; empty for a directory of the machine, which a runtime mounts only if its settings allow it."""
    id: str = ""
    """Of a team's volume: another one of the same name is another."""
    size_bytes: int = 0
    """Of a team's volume."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSpec:
    """Everything a runtime needs to start one worker. What only containers know (`cpus`, `memory_bytes`, and from `http_port` on)
    others ignore."""

    worker: WorkerId
    endpoint: str = ""
    team: str = ""
    image: str
    login: Login | None = None
    """What the registry of the image wants to hear; None for images that everybody may pull."""
    entrypoint: str = ""
    """Words before those of the command. Empty: what the image says."""
    command: str = ""
    """As the user wrote it; split as a shell splits words. Empty: what the image says."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The whole environment of the protocol and the user's own; secret values included, so never log it."""
    gpus: Sequence[str] = ()
    """Ids of the devices reserved for it; empty where the runtime chooses them."""
    gpu_count: int = 0
    """How many it needs, for runtimes that choose the devices themselves (`Capacity.known`)."""
    specification: str = ""
    """The kind of place it was given."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    """Labels of the nodes that have such places, for runtimes that have nodes."""
    cpus: float = 0.0
    """The most CPU cores that it may use; 0 for what the runtime gives to everybody."""
    memory_bytes: int = 0
    """The most memory that it may use; 0 for what the runtime gives to everybody."""
    cuda: str = ""
    """Which CUDA versions the driver must offer, as the release says it."""
    volumes: Sequence[Volume] = ()
    """A runtime that mounts nothing tells the worker where a named one is (`volume.variable`)."""
    http_port: int = 0
    """A port inside that this machine, and nobody else, shall reach; 0 for none."""
    shm_bytes: int = 0
    """Shared memory; 0 for what the runtime gives to everybody."""
    disk_bytes: int = 0
    """The most that it may write; 0 for what the runtime gives to everybody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A stage of a launch that is over."""

    name: str
    at_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image that was fetched for workers, or is being fetched (`progress` says how far)."""

    name: str
    bytes: int
    pulled_ms: int | None
    used_ms: int | None
    progress: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """What a worker that was launched waits for before it can start."""

    reason: WorkerReason
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What the runtime sees of one worker now. What follows `exit` is told by runtimes whose `launch` returned None."""

    worker: WorkerId
    exit: Exit | None = None
    """None while it runs, or will."""
    waiting: Waiting | None = None
    """What it waits for; None once it runs."""
    steps: Sequence[Step] = ()
    """The stages of its launch, once it runs."""
    refused: str = ""
    """Why it never ran and never will."""
    leaving: str = ""
    """Why it will soon be ended by somebody else."""
    image: str = ""
    """The name of the bytes that it runs, where the runtime found it out itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """One line of a worker's output."""

    at_ms: int
    text: str


class Runtime(Protocol):
    """Runs workers."""

    async def launch(self, spec: WorkerSpec) -> Sequence[Step] | None:
        """Start a worker; its stages, for those runtimes that have some; None when it will start later. Raises `InvalidInput` when it can never start,
        `Unavailable` when it may later."""
        ...

    async def stop(self, worker: WorkerId, *, grace_s: float) -> None:
        """Ask a worker to end, and see to it."""
        ...

    async def observe(self) -> Sequence[Observation]:
        """All workers of this installation. Raises `Unavailable` when nobody can tell."""
        ...

    def logs(self, worker: WorkerId, *, tail: int, follow: bool) -> AsyncIterator[LogLine]:
        """The last `tail` lines of its output, oldest first, and with `follow` what comes until it ends.

        An unknown worker has no lines. Logs stay after the worker is gone, until it is forgotten.
        """
        ...

    async def capacity(self) -> Capacity:
        """What the machine offers."""
        ...


@runtime_checkable
class Forgets(Protocol):
    """Ability: let go of what is kept of ended workers (logs, exit records)."""

    async def forget(self, worker: WorkerId) -> None:
        """Remove what is left of an ended worker. What is unknown is already forgotten."""
        ...


@runtime_checkable
class TrimsLogs(Protocol):
    """Ability: keep the output of all ended workers within a bound."""

    async def trim_logs(self, bytes_max: int) -> int:
        """Let go of the output of those that ended first, until the rest fits; how many bytes went. How they ended stays."""
        ...


@runtime_checkable
class HousesVolumes(Protocol):
    """Ability: what is in volumes is where workers run, in storage that the runtime itself gets for each."""

    async def grow_volume(self, team: str, volume: VolumeId, size_bytes: int) -> None:
        """Make its storage larger; storage that no worker has needed yet will be of that size. Raises `Conflict` when it cannot be
        done, `Unavailable` when it may later."""
        ...

    async def remove_volume(self, team: str, volume: VolumeId) -> None:
        """Remove its storage with what is in it; what is gone is removed. Raises `Unavailable`."""
        ...


@runtime_checkable
class TellsAddresses(Protocol):
    """Ability: say where the HTTP server of a worker is reached by this server."""

    async def address(self, worker: WorkerId) -> str:
        """`HOST:PORT`; empty when it has none, or is gone. Raises `Unavailable` when nobody can tell."""
        ...


@runtime_checkable
class ChecksImages(Protocol):
    """Ability: say before any launch that an image cannot work."""

    async def check_image(self, image: str, command: str) -> None:
        """Raise `InvalidInput`, with field and next step, when no worker could ever start from this."""
        ...


@runtime_checkable
class FetchesImages(Protocol):
    """Ability: have an image where workers will start before the first of them does."""

    async def pull(self, image: str, *, login: Login | None) -> str:
        """Have the image there; the name under which these bytes, and no others, are found again, empty where nobody can tell.

        Pulls of one image at the same time are one. Raises `InvalidInput` when it will never come, `Unavailable` when it may.
        """
        ...

    def pulling(self, image: str) -> str:
        """How far its pull is, in words; empty when none goes on."""
        ...

    async def remove_image(self, image: str) -> None:
        """Give it up again. Raises `NotFound` when it was not fetched, `Conflict` while it is in use."""
        ...


@runtime_checkable
class BuildsImages(Protocol):
    """Ability: images may have been built where workers start, and be in no registry."""

    async def is_built_here(self, image: str) -> bool:
        """Whether it is there and was not pulled. Raises `Unavailable`."""
        ...


@runtime_checkable
class PullsImages(FetchesImages, Protocol):
    """Ability: images stay on this machine until nobody needs them, and are pulled before the launch that needs them."""

    async def images(self) -> Sequence[Image]:
        """The images that were pulled here, by name."""
        ...

    async def collect_images(self, *, used: Collection[str], unused_before_ms: int, bytes_max: int) -> Sequence[str]:
        """Remove those that nobody uses: the old ones, then the longest unused until the rest fits; their names."""
        ...


__all__ = [
    "BuildsImages",
    "Capacity",
    "ChecksImages",
    "Device",
    "FetchesImages",
    "Forgets",
    "HousesVolumes",
    "Image",
    "LogLine",
    "Login",
    "Nudge",
    "Observation",
    "PullsImages",
    "Runtime",
    "Step",
    "TellsAddresses",
    "TrimsLogs",
    "Volume",
    "Waiting",
    "WorkerSpec",
]
