"""The runtime of a server that starts no workers: every call says so.

Running commands as the server's user is only safe where the server is reachable from this machine alone, so a server that
listens elsewhere has no runtime unless it is told to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from stoker.errors import InvalidInput, Unavailable
from stoker.ids import WorkerId
from stoker.runtimes import Capacity, LogLine, Observation, Step, WorkerSpec

_NEXT_STEP = "start the server with --runtime process (it runs commands as the server's user), or listen on 127.0.0.1"


class AbsentRuntime:
    """No workers, with the reason."""

    async def launch(self, spec: WorkerSpec) -> Sequence[Step]:
        """Raises `Unavailable`."""
        raise Unavailable("this server was started without a runtime", code="no_runtime", next_step=_NEXT_STEP)

    async def stop(self, worker: WorkerId, *, grace_s: float) -> None:
        """Nothing runs, so nothing is to be stopped."""

    async def observe(self) -> Sequence[Observation]:
        """No workers."""
        return ()

    async def logs(self, worker: WorkerId, *, tail: int, follow: bool) -> AsyncIterator[LogLine]:
        """No lines."""
        nothing: tuple[LogLine, ...] = ()
        for line in nothing:
            yield line

    def close(self) -> None:
        """Nothing to let go of."""

    async def capacity(self) -> Capacity:
        """Nothing to offer."""
        return Capacity(text="this server was started without a runtime")

    async def check_image(self, image: str, command: str) -> None:
        """Raises `InvalidInput`: no image can work here."""
        raise InvalidInput(
            "this server was started without a runtime: no worker of this image could ever start",
            code="no_runtime",
            field="image",
            next_step=_NEXT_STEP,
        )
