"""The port to whatever runs workers: a process tree, a container, a pod, or a script that pretends.

Five calls that report levels (D9). What each must keep, proven by `tests/runtimes/` over every adapter:

- `launch` twice with the same worker id is one worker; launching one that has ended starts nothing. It returns once the worker's
  main process exists, or raises; `observe` lists the worker from the beginning of its launch.
- `stop` of what is gone succeeds. It returns once the worker has been told (SIGTERM to its main process); it is killed,
  as a whole tree, when `grace_s` has passed or at once when that is 0; of several calls the shortest grace counts. `observe` shows when it is over.
- `observe` answers with every worker of this installation that the runtime knows of, ended ones included until they are
  forgotten. It survives a restart of the server. What it does not list does not exist. Strangers are left alone.
- A worker that ends is data (`Observation`); a runtime that does not answer raises `Unavailable`.
- Every start gets a fresh file system or working directory; nothing of an earlier worker is visible (protocol §14.4).

Calls for different workers may run at the same time; calls for one worker are made one after another.
Adapters may be given a `nudge`, which they call without arguments, from the event loop, as soon as a worker ends, so that
nobody has to wait for the next `observe`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from stoker.ids import WorkerId
from stoker.registry import Login
from stoker.worker import Exit

Nudge = Callable[[], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSpec:
    """Everything a runtime needs to start one worker."""

    worker: WorkerId
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
    """Ids of the devices reserved for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What the runtime sees of one worker now."""

    worker: WorkerId
    exit: Exit | None = None
    """None while it runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """One line of a worker's output."""

    at_ms: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What the machine offers to workers."""

    gpus: Sequence[str] = ()
    """Ids of all devices, in the order of the driver; which of them are reserved is the ledger's matter (`gpus`)."""
    gpu_names: Sequence[str] = ()
    """Their names, in the same order."""
    cuda: str = ""
    """The newest CUDA version that the driver offers, such as `12.4`; empty when nobody can tell."""
    text: str = ""
    """Why there are none, in words, when there are none."""


class Runtime(Protocol):
    """Runs workers."""

    async def launch(self, spec: WorkerSpec) -> None:
        """Start a worker. Raises `InvalidInput` when it can never start, `Unavailable` when it may later."""
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
class ChecksImages(Protocol):
    """Ability: say before any launch that an image cannot work."""

    async def check_image(self, image: str, command: str) -> None:
        """Raise `InvalidInput`, with field and next step, when no worker could ever start from this."""
        ...


__all__ = [
    "Capacity",
    "ChecksImages",
    "Forgets",
    "LogLine",
    "Nudge",
    "Observation",
    "Runtime",
    "WorkerSpec",
]
