"""The port to where the files of volumes are: directories of a machine now, claims of a cluster later.

Called by `catalog.volumes` and, for what a worker is to mount, by the fleet. Rules for every adapter, proven by `tests/storage/`:

- `create` twice is one volume; `remove` of what is gone succeeds; a volume that was removed and made again is empty.
- A path is what `volume.check_path` says. No link inside a volume is followed: workers write them.
- `write` makes the file whole or not at all, on disk when it returns, whatever happens in between; whoever reads sees the old or
  the new one. Directories on its way are made.
- Memory is bounded: bodies come and go in pieces.
- What is not there is `NotFound`; what is in the way is `Conflict`; a full disk `DiskFull`; one that does not answer
  `Unavailable`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from stoker.ids import VolumeId


class EntryKind(StrEnum):
    """What an entry of a directory is."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    """Never followed."""
    OTHER = "other"
    """A socket, a pipe, a device: it can only be deleted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One name in a directory."""

    name: str
    """Bytes that are no UTF-8 are shown as U+FFFD; such an entry goes with its directory only."""
    kind: EntryKind
    size: int
    """Of a file, in bytes; else 0."""
    modified_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Entries by name, and whether there are more after the last."""

    entries: Sequence[Entry]
    more: bool


class Reading(Protocol):
    """A file that is being read: the bytes it had when it was opened, even if another takes its place. Close it."""

    @property
    def size(self) -> int:
        """In bytes, as it was opened."""
        ...

    @property
    def modified_ns(self) -> int:
        """When it was last written, as it was opened."""
        ...

    def pieces(self, start: int, length: int) -> AsyncIterator[bytes]:
        """`length` bytes from `start`, in pieces. Raises `Unavailable` when the file became shorter meanwhile."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class Storage(Protocol):
    """Where the files of volumes are."""

    async def create(self, volume: VolumeId, size_bytes: int) -> None:
        """Make room for a volume."""
        ...

    async def grow(self, volume: VolumeId, size_bytes: int) -> None:
        """Make it larger."""
        ...

    async def remove(self, volume: VolumeId) -> None:
        """Remove it with everything in it."""
        ...

    async def usage(self, volume: VolumeId) -> int:
        """How many bytes of the disk it takes, as far as they can be counted."""
        ...

    def source(self, volume: VolumeId) -> str:
        """What a runtime of the same kind is told to mount."""
        ...

    async def list(self, volume: VolumeId, path: str, *, after: str, limit: int) -> Listing:
        """Entries of a directory whose names come after `after`."""
        ...

    async def read(self, volume: VolumeId, path: str) -> Reading:
        """Open a file."""
        ...

    async def write(self, volume: VolumeId, path: str, pieces: AsyncIterator[bytes]) -> int:
        """Make a file of these pieces, in the place of one that is there; by how many bytes the volume grew.

        What `pieces` raises is raised, and nothing has changed.
        """
        ...

    async def delete(self, volume: VolumeId, path: str, *, recursive: bool) -> None:
        """Delete a file, a link, or a directory: an empty one, or with everything in it."""
        ...


__all__ = ["Entry", "EntryKind", "Listing", "Reading", "Storage"]
