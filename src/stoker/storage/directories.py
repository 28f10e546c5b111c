"""Volumes as directories of the server's machine, below one root.

    root/<volume id>/files/    what workers mount and clients list
    root/<volume id>/moving/   files on their way in, directories on their way out: on the same file system, unseen by workers

Every way into a volume is walked by file descriptors, one name at a time, and no link is followed: a worker may put any link
anywhere at any moment. Workers in containers run as any user, so `files` is open to all; the root is not, so no other user of the
machine comes so far. No walk holds more than two directories open, however deep a worker nested them. All work is done in threads.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import heapq
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog

from stoker.errors import Conflict, Defect, DiskFull, InvalidInput, NotFound, StokerError, Unavailable
from stoker.ids import VolumeId
from stoker.storage import Entry, EntryKind, Listing
from stoker.volume import check_path

log = structlog.get_logger()

PIECE_BYTES: Final = 256 * 1024
"""Read at once."""
GATHERED_BYTES: Final = 1024 * 1024
"""Written at once: a turn to a thread costs some 50 µs."""
DEPTH_MOST: Final = 256
"""Directories in each other that are counted: each is walked from the top, so deeper ones would cost the square of their number."""
_OPEN_TO_ALL: Final = 0o777
_FILE_MODE: Final = 0o666
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_BYTES: Final = 512
"""Unit of `st_blocks`, whatever the file system."""

Answer = TypeVar("Answer")


class DirectoryStorage:
    """`Storage` below `root`, which is made when the first volume is."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    # ── volumes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create(self, volume: VolumeId, size_bytes: int) -> None:
        """Make its directories. They take no room before something is in them."""
        await _in_thread(lambda: self._create(volume))

    async def grow(self, volume: VolumeId, size_bytes: int) -> None:
        """A directory has no size."""

    async def remove(self, volume: VolumeId) -> None:
        """Put it out of the way, then remove it. What another user made so that we may not stays there, as `gone-…`."""
        await _in_thread(lambda: self._remove(volume))

    async def usage(self, volume: VolumeId) -> int:
        """Blocks of all files and directories, each counted once. Clears away what a killed server left half done."""
        return await _in_thread(lambda: self._usage(volume))

    def source(self, volume: VolumeId) -> str:
        """The directory."""
        return str(self._files(volume))

    # ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def list(self, volume: VolumeId, path: str, *, after: str, limit: int) -> Listing:
        """Names are compared as Python compares text."""
        return await _in_thread(lambda: self._list(volume, path, after, limit))

    async def read(self, volume: VolumeId, path: str) -> FileReading:
        """Only a regular file can be read: a pipe would wait for whoever writes to it."""
        return await _in_thread(lambda: self._read(volume, path), undo=lambda reading: os.close(reading.file))

    async def write(self, volume: VolumeId, path: str, pieces: AsyncIterator[bytes]) -> int:
        """Into `moving`, to disk, then to its place."""
        await _in_thread(lambda: self._check_place(volume, path))
        name, file = await _in_thread(lambda: self._begin(volume), undo=lambda begun: self._let_go(volume, *begun))
        try:
            async for gathered in _gathered(pieces):
                await _in_thread(partial(_write_all, path, file, gathered))
            return await _in_thread(lambda: self._finish(volume, path, name, file))
        finally:
            await _in_thread(lambda: self._let_go(volume, name, file))

    async def delete(self, volume: VolumeId, path: str, *, recursive: bool) -> None:
        """The name itself goes: of a link, not what it points to."""
        await _in_thread(lambda: self._delete(volume, path, recursive=recursive))

    # ── in threads ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _home(self, volume: VolumeId) -> Path:
        if not volume or not all(letter.isalnum() or letter == "-" for letter in volume):
            raise Defect(f"volume id {volume!r} cannot name a directory")
        return self._root / volume

    def _files(self, volume: VolumeId) -> Path:
        return self._home(volume) / "files"

    def _moving(self, volume: VolumeId) -> Path:
        return self._home(volume) / "moving"

    def _create(self, volume: VolumeId) -> None:
        with _translated("the volume"):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._home(volume).mkdir(mode=0o711, exist_ok=True)
            self._moving(volume).mkdir(mode=0o700, exist_ok=True)
            self._files(volume).mkdir(exist_ok=True)
            self._files(volume).chmod(_OPEN_TO_ALL)

    def _remove(self, volume: VolumeId) -> None:
        gone = self._root / f"gone-{volume}-{secrets.token_hex(4)}"
        try:
            os.rename(self._home(volume), gone)
        except FileNotFoundError:
            return
        with suppress(OSError), _opened(str(gone)) as home, _opened("moving", home) as moving:
            _put_aside("files", home, moving)
            _clear(moving)
            os.rmdir("moving", dir_fd=home)
            os.rmdir(gone)

    def _usage(self, volume: VolumeId) -> int:
        with _translated("the volume"), _opened(str(self._moving(volume))) as moving:
            _clear(moving)
        with _translated("the volume"), _opened(str(self._home(volume))) as home:
            return _count(home)

    def _list(self, volume: VolumeId, path: str, after: str, limit: int) -> Listing:
        with _translated(path), self._folder(volume, check_path(path)) as folder, os.scandir(folder) as found:
            names = heapq.nsmallest(limit + 1, (entry.name for entry in found if entry.name > after))
            entries = [_entry(name, folder) for name in names[:limit]]
        return Listing(entries=[one for one in entries if one is not None], more=len(names) > limit)

    def _read(self, volume: VolumeId, path: str) -> FileReading:
        with _translated(path), self._parent(volume, path) as (folder, name):
            file = os.open(name, _FILE, dir_fd=folder)
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                os.close(file)
                raise _no_file(path)
        return FileReading(file=file, path=path, size=found.st_size, modified_ns=found.st_mtime_ns)

    def _check_place(self, volume: VolumeId, path: str) -> None:
        """Refuse before the body comes what `_finish` would refuse after it."""
        *folders, name = _named(path)
        with _translated(path):
            for depth in range(len(folders) + 1):
                try:
                    with self._folder(volume, folders[:depth]) as folder:
                        if depth == len(folders):
                            _check_replaceable(path, name, folder)
                except FileNotFoundError:
                    if depth == 0:
                        raise
                    return

    def _begin(self, volume: VolumeId) -> tuple[str, int]:
        """A new file in `moving`, locked: so nobody takes it for one that a killed server left."""
        with _translated("the volume"), _opened(str(self._moving(volume))) as moving:
            name = secrets.token_hex(16)
            file = os.open(name, _NEW, _FILE_MODE, dir_fd=moving)
            fcntl.flock(file, fcntl.LOCK_EX)
        return name, file

    def _finish(self, volume: VolumeId, path: str, moved: str, file: int) -> int:
        *folders, name = _named(path)
        with _translated(path):
            os.fchmod(file, _FILE_MODE)
            os.fsync(file)
            with _opened(str(self._moving(volume))) as moving, self._folder(volume, folders, make=True) as folder:
                before = _check_replaceable(path, name, folder)
                os.rename(moved, name, src_dir_fd=moving, dst_dir_fd=folder)
                os.fsync(folder)
            return os.fstat(file).st_blocks * _BLOCK_BYTES - before

    def _let_go(self, volume: VolumeId, name: str, file: int) -> None:
        os.close(file)
        with suppress(OSError), _opened(str(self._moving(volume))) as moving:
            os.unlink(name, dir_fd=moving)  # of a file that went to its place the name is gone

    def _delete(self, volume: VolumeId, path: str, *, recursive: bool) -> None:
        with _translated(path), self._parent(volume, path) as (folder, name):
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=folder)
            elif not recursive:
                os.rmdir(name, dir_fd=folder)
            else:
                with _opened(str(self._moving(volume))) as moving:
                    _put_aside(name, folder, moving)
                    _clear(moving)

    @contextmanager
    def _folder(self, volume: VolumeId, names: Sequence[str], *, make: bool = False) -> Iterator[int]:
        """A directory of the volume, opened; each on the way is a real one."""
        folder = os.open(self._files(volume), _FOLDER)
        try:
            for name in names:
                if make:
                    _make_folder(name, folder)
                inner = os.open(name, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def _parent(self, volume: VolumeId, path: str) -> Iterator[tuple[int, str]]:
        """The directory in which a name lies, and the name."""
        *folders, name = _named(path)
        with self._folder(volume, folders) as folder:
            yield folder, name


@dataclass(frozen=True, kw_only=True, slots=True)
class FileReading:
    """`Reading` of an open file."""

    file: int
    path: str
    size: int
    modified_ns: int

    async def pieces(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Read where it is asked for: several may read at once."""
        while length:
            piece = await _in_thread(partial(os.pread, self.file, min(length, PIECE_BYTES), start))
            if not piece:
                raise Unavailable(f"'{self.path}' became shorter while it was read", code="file_changed")
            yield piece
            start, length = start + len(piece), length - len(piece)

    async def close(self) -> None:
        """Let go of it."""
        await _in_thread(lambda: os.close(self.file))


# ── names and entries ─────────────────────────────────────────────────────────────────────────────────────────────────


def _named(path: str) -> list[str]:
    """The names of a path that means something in the volume, not the volume itself."""
    names = check_path(path)
    if not names:
        raise InvalidInput("the path names no file of the volume", code="invalid_path", field="path")
    return names


def _entry(name: str, folder: int) -> Entry | None:
    """What a name stands for; None when it is gone by now."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), EntryKind.OTHER)
    return Entry(
        name=os.fsencode(name).decode("utf-8", "replace"),
        kind=kind,
        size=found.st_size if kind is EntryKind.FILE else 0,
        modified_ms=found.st_mtime_ns // 1_000_000,
    )


_KINDS: Final = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.LINK,
}


def _check_replaceable(path: str, name: str, folder: int) -> int:
    """Bytes of the disk that a file of that name takes; 0 when there is none. Raises `Conflict` for a directory."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if stat.S_ISDIR(found.st_mode):
        raise Conflict(f"'{path}' is a directory", code="is_a_directory", field="path", next_step="name a file in it")
    return found.st_blocks * _BLOCK_BYTES if found.st_nlink == 1 else 0


def _make_folder(name: str, folder: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
        os.fsync(folder)
        with _opened(name, folder) as made:
            os.fchmod(made, _OPEN_TO_ALL)


# ── walking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _opened(name: str, folder: int | None = None) -> Iterator[int]:
    """A directory, opened, for as long as it is needed."""
    opened = os.open(name, _FOLDER, dir_fd=folder)
    try:
        yield opened
    finally:
        os.close(opened)


def _put_aside(name: str, folder: int, moving: int) -> None:
    """Take a directory out of sight, at once and whole."""
    os.rename(name, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=moving)


def _clear(moving: int) -> None:
    """Remove everything in `moving` but uploads that somebody writes. Directories in directories are put beside them first, so
    that depth costs nothing. What another user of the machine keeps us from removing stays, and goes on being counted."""
    kept: set[str] = set()
    while True:
        with os.scandir(moving) as found:
            names = [entry.name for entry in found if entry.name not in kept]
        if not names:
            return
        for name in names:
            try:
                if not _clear_one(name, moving):
                    kept.add(name)
            except FileNotFoundError:
                kept.add(name)  # another was faster
            except OSError as error:
                kept.add(name)
                log.warning("volume_not_cleared", error=error.strerror)


def _clear_one(name: str, moving: int) -> bool:
    """Remove a file, or empty a directory and remove it; False for an upload that somebody writes."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=moving, follow_symlinks=False).st_mode):
        return _unlink_unless_written(name, moving)
    with _opened(name, moving) as folder, os.scandir(folder) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                _put_aside(entry.name, folder, moving)
            else:
                os.unlink(entry.name, dir_fd=folder)
    os.rmdir(name, dir_fd=moving)
    return True


def _unlink_unless_written(name: str, moving: int) -> bool:
    file = os.open(name, _FILE, dir_fd=moving)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=moving)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def _count(top: int) -> int:
    """Bytes of the disk that a tree takes. What changes meanwhile is counted as it is found, or not."""
    total = 0
    linked: set[tuple[int, int]] = set()
    folders: list[tuple[str, ...]] = [()]
    while folders:
        path = folders.pop()
        with suppress(OSError), _walked(top, path) as folder, os.scandir(folder) as found:
            for entry in found:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    total += status.st_blocks * _BLOCK_BYTES
                    if len(path) < DEPTH_MOST:
                        folders.append((*path, entry.name))
                elif status.st_nlink == 1 or (status.st_dev, status.st_ino) not in linked:
                    total += status.st_blocks * _BLOCK_BYTES
                    if status.st_nlink > 1:
                        linked.add((status.st_dev, status.st_ino))
    return total


@contextmanager
def _walked(top: int, names: Sequence[str]) -> Iterator[int]:
    folder = os.dup(top)
    try:
        for name in names:
            inner = os.open(name, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytearray]:
    """The same bytes in larger pieces."""
    gathered = bytearray()
    async for piece in pieces:
        gathered += piece
        if len(gathered) >= GATHERED_BYTES:
            yield gathered
            gathered = bytearray()
    if gathered:
        yield gathered


def _write_all(path: str, file: int, data: bytearray) -> None:
    with _translated(path), memoryview(data) as left:
        written = 0
        while written < len(left):
            written += os.write(file, left[written:])


async def _in_thread(call: Callable[[], Answer], *, undo: Callable[[Answer], None] | None = None) -> Answer:
    """Do it in a thread, and wait for its end even when nobody waits for its answer any more: a file must not be closed under
    it, and what it opened is let go of by `undo`."""
    task = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if undo is not None and task.exception() is None:
            await asyncio.to_thread(undo, task.result())
        raise


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Errors of the file system in our words, by their number."""
    try:
        yield
    except OSError as error:
        raise _error(what, error) from error


def _error(what: str, error: OSError) -> StokerError:
    shown = what.encode("utf-8", "replace").decode()
    match error.errno:
        case errno.ENOENT:
            return NotFound(f"there is no '{shown}' in the volume", code="file_not_found", field="path")
        case errno.ENOTDIR | errno.ELOOP | errno.ENXIO:
            return _no_file(shown)
        case errno.EISDIR:
            return Conflict(f"'{shown}' is a directory", code="is_a_directory", field="path")
        case errno.ENOTEMPTY | errno.EEXIST:
            return Conflict(
                f"the directory '{shown}' is not empty",
                code="directory_not_empty",
                field="path",
                next_step="delete what is in it, or say recursive",
            )
        case errno.EACCES | errno.EPERM:
            return Conflict(
                f"the server may not touch '{shown}': a worker made it as another user",
                code="file_of_another_user",
                field="path",
                next_step="let workers make files that all may read and write, or run the server as root",
            )
        case errno.ENAMETOOLONG | errno.EINVAL:
            return InvalidInput(f"'{shown}' is no name that the file system takes", code="invalid_path", field="path")
        case errno.ENOSPC | errno.EDQUOT:
            return DiskFull("the disk of the volumes is full", code="storage_full")
        case _:
            return Unavailable(f"the volumes cannot be used: {error.strerror}", code="storage_unavailable")


def _no_file(what: str) -> Conflict:
    return Conflict(
        f"'{what}' is no file, or what should be a directory on the way to it is none; links are not followed",
        code="not_a_file",
        field="path",
    )


__all__ = ["DirectoryStorage", "FileReading"]
