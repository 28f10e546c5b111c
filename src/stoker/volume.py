"""Volumes: a team's storage that outlives workers, and where workers see it.

A volume has a name, which is how endpoints mount it, and a size, which it may outgrow only by what workers write into it: what
is measured is shown, and while it is over its size nothing more is uploaded. `check_path` is the only judge of the paths that
clients name inside a volume; whoever opens files follows no link besides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stoker.errors import InvalidInput
from stoker.ids import TeamId, VolumeId

GIB: Final = 1024**3
SIZE_GB_LEAST: Final = 1
SIZE_GB_MOST: Final = 65_536
NAME_MOST: Final = 63
"""Characters of a name: what a label of Kubernetes may have."""
MOUNT_PATH: Final = "/runpod-volume"
"""Where a volume is seen unless somebody says otherwise: workers written for Runpod look there."""
MOUNT_PATH_MOST: Final = 1_024
FILE_PATH_MOST: Final = 1_024
FILE_NAME_MOST: Final = 255
"""Bytes of one name between slashes: what file systems allow."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_VARIABLE: Final = "STOKER_VOLUME_"
_SYSTEM: Final = ("/proc", "/sys", "/dev")


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """Storage of a team, as it stands."""

    id: VolumeId
    team: TeamId
    name: str
    """Never changes: endpoints mount it by this."""
    size_gb: int
    """In GiB. It may grow."""
    mount_path: str = MOUNT_PATH
    """Where workers see it, if their endpoint does not say."""
    used_bytes: int = 0
    """As it was measured, and what was uploaded since."""
    measured_ms: int | None = None
    """None before the first time."""
    created_ms: int
    updated_ms: int

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return self.size_gb * GIB

    @property
    def free_bytes(self) -> int:
        """How much more may be uploaded."""
        return max(0, self.size_bytes - self.used_bytes)

    @property
    def over(self) -> bool:
        """Whether there is more in it than it has room for."""
        return self.used_bytes > self.size_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """What of a machine's storage a worker sees where. In text `NAME[:PATH][:ro]`, or `/DIRECTORY:PATH[:ro]`."""

    source: str
    """The name of a volume, or a directory of the machine."""
    path: str = ""
    """Empty until it is known: then it is the volume's own."""
    read_only: bool = False

    @property
    def of_machine(self) -> bool:
        """Whether it is a directory that no volume manages."""
        return self.source.startswith("/")

    def __str__(self) -> str:
        return ":".join(filter(None, (self.source, self.path, "ro" if self.read_only else "")))


@dataclass(frozen=True, kw_only=True, slots=True)
class MountTerms:
    """Which directories of the machine endpoints may mount. Absolute paths, without links."""

    roots: Sequence[str] = ()
    """They, and what is below them."""
    kept: Sequence[str] = ()
    """What nobody may mount although a root is above it: the server's own."""


def read_mount(text: str) -> Mount:
    """A mount from its text. Raises `InvalidInput`."""
    source, *rest = text.split(":")
    read_only = rest[-1:] == ["ro"]
    path = rest[: len(rest) - read_only]
    if len(path) > 1 or (path and not path[0].startswith("/")) or (source.startswith("/") and not path):
        raise _no_mount(text)
    return Mount(source=source, path=path[0] if path else "", read_only=read_only)


def check_mounts(mounts: Sequence[Mount]) -> None:
    """Raise `InvalidInput` for the first that cannot be; paths that are still open are not looked at."""
    for mount in mounts:
        if mount.of_machine:
            _check_absolute("the directory", mount.source)
        elif not _NAME.fullmatch(mount.source) or len(mount.source) > NAME_MOST:
            raise _no_mount(str(mount))
        if mount.path:
            check_mount_path(mount.path, field="volumes")
    paths = [mount.path for mount in mounts if mount.path]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise InvalidInput(f"two volumes are mounted at {twice[:100]}", field="volumes")


def check_of_machine(mount: Mount, terms: MountTerms) -> None:
    """Raise `InvalidInput` unless the operator lets endpoints mount this directory of the machine."""
    allowed = any(is_below(mount.source, root) for root in terms.roots)
    ours = any(is_below(mount.source, kept) or is_below(kept, mount.source) for kept in terms.kept)
    if not allowed or ours:
        raise InvalidInput(
            f"workers may not mount {mount.source[:200]}",
            code="mount_not_allowed",
            field="volumes",
            next_step="mount a volume of the team (stoker volume ls), or let the server's setting mount_roots contain a "
            "directory above it, which is not the server's own",
        )


def is_below(path: str, root: str) -> bool:
    """Whether an absolute path is another one or lies below it; both as text, links are not known here."""
    words, above = [[word for word in one.split("/") if word] for one in (path, root)]
    return ".." not in words and words[: len(above)] == above


def check_new(volume: Volume) -> None:
    """Raise `InvalidInput` for the first value that is not allowed."""
    if not _NAME.fullmatch(volume.name) or len(volume.name) > NAME_MOST:
        raise InvalidInput(
            f"name is '{volume.name[:100]}'; it must have 1 to {NAME_MOST} lower-case letters, digits and inner hyphens",
            field="name",
        )
    if not SIZE_GB_LEAST <= volume.size_gb <= SIZE_GB_MOST:
        raise InvalidInput(
            f"size_gb is {volume.size_gb}; it must be from {SIZE_GB_LEAST} to {SIZE_GB_MOST} GiB",
            code="out_of_range",
            field="size_gb",
            next_step=f"choose a value from {SIZE_GB_LEAST} to {SIZE_GB_MOST}",
        )
    check_mount_path(volume.mount_path, field="mount_path")


def check_change(before: Volume, after: Volume) -> None:
    """Raise `InvalidInput` for a change that is not allowed: a volume never shrinks."""
    check_new(after)
    if after.size_gb < before.size_gb:
        raise InvalidInput(
            f"size_gb is {after.size_gb}; the volume has {before.size_gb} GiB, and volumes only grow",
            code="volume_cannot_shrink",
            field="size_gb",
            next_step="make a smaller volume and copy what you need",
        )


def check_mount_path(path: str, *, field: str) -> None:
    """Raise `InvalidInput` for what cannot be the place of a volume inside a worker."""
    _check_absolute(field, path)
    if not path.strip("/") or any(is_below(path, system) for system in _SYSTEM):
        raise InvalidInput(f"nothing can be mounted at {path[:100]}", field=field, next_step="for example /models")


def check_path(path: str) -> list[str]:
    """The names of a path inside a volume, none for the volume itself; slashes at its ends mean nothing.

    Raises `InvalidInput` for what leads anywhere else, or nowhere: `..`, `.`, empty names, NUL, what no file system takes.
    """
    names = path.strip("/").split("/") if path.strip("/") else []
    if path.startswith("/"):
        raise _no_path(path, "it is absolute; paths begin at the volume")
    if len(path) > FILE_PATH_MOST:
        raise _no_path(path, f"it has {len(path)} characters; at most {FILE_PATH_MOST} are allowed")
    for name in names:
        if name in ("", ".", ".."):
            raise _no_path(path, "no name in it may be empty, '.' or '..'")
        if "\0" in name or any("\ud800" <= letter <= "\udfff" for letter in name):
            raise _no_path(path, "it contains a NUL character or half of a surrogate pair")
        if len(name.encode()) > FILE_NAME_MOST:
            raise _no_path(path, f"a name in it has more than {FILE_NAME_MOST} bytes")
    return names


def variable(name: str) -> str:
    """The environment variable that tells a worker where it sees the volume of that name."""
    return _VARIABLE + re.sub(r"[^A-Z0-9]", "_", name.upper())


def _check_absolute(what: str, path: str) -> None:
    words = path.split("/")
    bad = not path.startswith("/") or ".." in words or "." in words or ":" in path or not path.isprintable()
    if bad or len(path) > MOUNT_PATH_MOST:
        raise InvalidInput(
            f"{what} is '{path[:100]}'; it must be an absolute path of at most {MOUNT_PATH_MOST} characters, without '.', '..' "
            "and ':'",
            field=what if " " not in what else "volumes",
        )


def _no_mount(text: str) -> InvalidInput:
    return InvalidInput(
        f"'{text[:100]}' is no volume",
        field="volumes",
        next_step="write NAME, NAME:PATH or NAME:PATH:ro with the name of a volume (stoker volume ls) and an absolute path",
    )


def _no_path(path: str, why: str) -> InvalidInput:
    shown = path[:100].encode("utf-8", "replace").decode()
    return InvalidInput(f"'{shown}' is no path in a volume: {why}", code="invalid_path", field="path")


__all__ = [
    "MOUNT_PATH",
    "Mount",
    "MountTerms",
    "Volume",
    "check_change",
    "check_mount_path",
    "check_mounts",
    "check_new",
    "check_of_machine",
    "check_path",
    "is_below",
    "read_mount",
    "variable",
]
