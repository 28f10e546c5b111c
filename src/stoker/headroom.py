"""How much room the disk of the data directory still has.

New jobs are refused before it is full, so that those that were accepted can run and leave their results. `watch` looks, beside the
event loop; `check` is asked by every submission and only reads what was seen last.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Final

from stoker.errors import DiskFull, Unavailable
from stoker.health import Check

LOOK_EVERY_S: Final = 1.0
"""A disk that takes 200 MiB a second fills less than the default reserve meanwhile."""


class Headroom:
    """The room below `folder`. `least_bytes` 0 looks at nothing and refuses nothing."""

    def __init__(self, folder: Path, *, least_bytes: int) -> None:
        self._folder = folder
        self._least_bytes = least_bytes
        self._free_bytes: int | None = None
        self._trouble = ""
        """Why the directory cannot be looked at."""

    async def watch(self) -> None:
        """Look once, then wait. Raises `Unavailable` (`data_dir_gone`) when the directory is not there any more."""
        if self._least_bytes:
            try:
                self._free_bytes = (await asyncio.to_thread(shutil.disk_usage, self._folder)).free
            except OSError as error:
                self._trouble = error.strerror or "it cannot be looked at"
                raise _gone(self._trouble) from None
            self._trouble = ""
        await asyncio.sleep(LOOK_EVERY_S)

    def check(self) -> None:
        """Raise `DiskFull` (`disk_full`) when new jobs have to wait for room, `Unavailable` when what is accepted would be lost."""
        if self._trouble:
            raise _gone(self._trouble)
        if self._free_bytes is not None and self._free_bytes < self._least_bytes:
            raise DiskFull(
                f"the disk of the server has {self._free_bytes >> 20} MiB left; {self._least_bytes >> 20} MiB are kept free "
                "for the results of jobs that were accepted",
                next_step="try again when results have been forgotten, or make room on the disk of the data directory",
            )

    def health(self) -> Check:
        """Whether there is room, in words without numbers: whoever reaches the server may read them."""
        try:
            self.check()
        except DiskFull:
            return Check(
                name="disk", ok=False, text="the disk of the data directory is nearly full: new jobs are refused"
            )
        except Unavailable:
            return Check(name="disk", ok=False, text="the data directory is not there any more: new jobs are refused")
        return Check(name="disk", ok=True, text="there is room for new jobs")


def _gone(trouble: str) -> Unavailable:
    return Unavailable(
        f"the data directory of the server is not there any more ({trouble}): what is accepted now would be lost",
        code="data_dir_gone",
        next_step="put it back, or mount it again, and start the server anew",
    )


NO_DISK: Final = Headroom(Path("/"), least_bytes=0)
"""For a database that is elsewhere."""

__all__ = ["NO_DISK", "Headroom"]
