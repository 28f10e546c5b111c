"""Where the servers' state is during a day of chaos, and how it is struck: SQLite, a PostgreSQL of our own, or somebody's, by commands."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from stoker.chaos.cluster import FULL_BYTES, Cluster, binaries
from stoker.chaos.faults import Fault
from stoker.errors import InvalidInput, Unavailable

OWN: Final = "postgres"
SQLITE: Final = "sqlite"
DISK_MB: Final = 384
RESERVE_MB: Final = 96
"""Below which servers refuse new jobs; the filler leaves half of it to those that were accepted."""


class Database(Protocol):
    """Calls wait for programs: they are made in threads."""

    settings: Mapping[str, object]
    """What servers are told."""
    servers_most: int
    cannot: Mapping[Fault, str]
    """Faults that it cannot be struck with, each with the reason."""

    def begin(self, fault: Fault) -> None:
        """Strike."""
        ...

    def end(self, fault: Fault) -> None:
        """Let it be as before. Calls that follow each other are fine."""
        ...

    def close(self) -> None:
        """Leave nothing behind."""
        ...


class SqliteFile:
    """A file in the servers' folder, on a small disk of its own where we may mount one."""

    servers_most = 1

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filler = folder / "filler"
        nothing = "SQLite has no server of its own: it goes with kill-server and pause-server"
        self.cannot: Mapping[Fault, str] = {Fault.KILL_DATABASE: nothing, Fault.PAUSE_DATABASE: nothing}
        self.settings: Mapping[str, object] = {"disk_free_mb_min": 0}
        self._mounted = _mount(folder)
        if self._mounted:
            self.settings = {"disk_free_mb_min": RESERVE_MB}
        else:
            self.cannot = {**self.cannot, Fault.FILL_DISK: "a small disk to fill could not be mounted: that needs root"}

    def begin(self, fault: Fault) -> None:
        """Fill the disk to half of the reserve."""
        room = os.statvfs(self._folder)
        fill_bytes = room.f_bavail * room.f_frsize - (RESERVE_MB << 20) // 2
        with self._filler.open("wb") as file:
            if fill_bytes > 0:
                os.posix_fallocate(file.fileno(), 0, fill_bytes)

    def end(self, fault: Fault) -> None:
        """Make room."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Take the disk away with everything on it."""
        if self._mounted:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=False)


def _mount(folder: Path) -> bool:
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0755", "none", str(folder)]
    with suppress(OSError):
        return os.geteuid() == 0 and subprocess.run(words, capture_output=True, check=False).returncode == 0
    return False


class OwnCluster:
    """A PostgreSQL that we start, which flushes to the disk as in production."""

    servers_most = 16

    def __init__(self, bin_dir: Path) -> None:
        self._cluster = Cluster(bin_dir, durable=True, small_log=True)
        self._cluster.start()
        self.settings: Mapping[str, object] = {"database": self._cluster.url()}
        self.cannot: Mapping[Fault, str] = {}

    def begin(self, fault: Fault) -> None:
        """Kill it, stop all its processes, or let its files grow no more."""
        match fault:
            case Fault.KILL_DATABASE:
                self._cluster.kill()
            case Fault.PAUSE_DATABASE:
                self._cluster.pause()
            case _:
                self._cluster.limit_files(FULL_BYTES)

    def end(self, fault: Fault) -> None:
        """Start it, let it go on, or give it room."""
        match fault:
            case Fault.KILL_DATABASE:
                self._cluster.start()
            case Fault.PAUSE_DATABASE:
                self._cluster.resume()
            case _:
                self._cluster.limit_files(None)

    def close(self) -> None:
        """End it, and remove its files."""
        self._cluster.close()


class Elsewhere:
    """A database that somebody else runs, empty so far. Commands strike it."""

    servers_most = 16

    def __init__(self, url: str, *, kill: str, start: str) -> None:
        self._words = {"begin": kill, "end": start}
        self.settings: Mapping[str, object] = {"database": url}
        ours = "only a database that this command started itself can be struck so"
        how = {} if kill and start else {Fault.KILL_DATABASE: "say how: --database-kill and --database-start"}
        self.cannot: Mapping[Fault, str] = {Fault.PAUSE_DATABASE: ours, Fault.FILL_DISK: ours, **how}

    def begin(self, fault: Fault) -> None:
        """As the operator says."""
        self._run("begin")

    def end(self, fault: Fault) -> None:
        """As the operator says."""
        self._run("end")

    def _run(self, which: str) -> None:
        done = subprocess.run(["/bin/sh", "-c", self._words[which]], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"{self._words[which]!r} failed: {done.stderr[-1000:]}", code="chaos_command_failed")

    def close(self) -> None:
        """It stays."""


def open_database(which: str, folder: Path, *, kill: str, start: str) -> Database:
    """The database of that word: `postgres`, `sqlite`, a URL, or empty for the best that there is. Raises `InvalidInput`."""
    found = binaries()
    if which == OWN and found is None:
        raise InvalidInput(
            "there is no PostgreSQL on this machine: neither on PATH nor under /usr/lib/postgresql",
            field="database",
            next_step="apt-get install postgresql, or --database sqlite, or --database postgresql://…",
        )
    if which == SQLITE or (not which and found is None):
        return SqliteFile(folder)
    if found is not None and which in ("", OWN):
        return OwnCluster(found)
    return Elsewhere(which, kill=kill, start=start)


class Struck:
    """The database as strikes meet it: one at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = asyncio.Lock()

    async def strike(self, fault: Fault, lasts_s: float) -> None:
        """Begin, wait, end."""
        async with self._lock:
            await asyncio.to_thread(self._database.begin, fault)
            try:
                await asyncio.sleep(lasts_s)
            finally:
                await asyncio.to_thread(self._database.end, fault)


__all__ = ["OWN", "SQLITE", "Database", "Struck", "open_database"]
