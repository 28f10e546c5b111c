"""A PostgreSQL of its own for as long as somebody needs one: started, stopped, killed, paused, filled and started again.

For `stoker chaos` and for tests. It runs as an unprivileged user when we are root, and ends when whoever started it does. Its calls wait
for programs, so nothing in an event loop calls them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from stoker.errors import Unavailable

PATIENCE_S = 60.0
"""Starting and stopping take a second or two; a wait this long has failed."""
PASSWORD = "p%40ss-word"
"""As it stands in a URL: the password itself has a character that must be escaped there."""
KEEPER = """
data=$1; shift
"$@" &
server=$!
read -r word
[ "$word" = leave ] && exit
kill -QUIT "$server" 2>/dev/null
wait "$server"
rm -rf "$data"
"""
"""Reads its standard input, which ends when whoever holds the other end does; unless it is told to leave before."""
SETTINGS = {
    "shared_buffers": "16MB",
    "max_connections": "50",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum_naptime": "5s",
    "log_min_messages": "fatal",
}
FULL_BYTES = 2 * 1024 * 1024 + 8192 // 2
"""What files may have on a full disk: more than those of a small log (1 MiB), which are made anew all the time."""
FORGETFUL = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""For those that no crash of the machine can be part of."""


def binaries() -> Path | None:
    """Where `initdb` and `postgres` are, or None."""
    places = [Path(path) for path in os.environ.get("PATH", "").split(os.pathsep) if path]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if all(os.access(place / name, os.X_OK) for name in ("initdb", "postgres")):
            return (place / "initdb").resolve().parent
    return None


def _unprivileged() -> dict[str, Any]:
    """For `subprocess`: as whom to run, if we are root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Cluster:
    """A cluster. `durable` flushes to the disk as in production, `small_log` writes its log in files of 1 MiB; its files are below
    `parent`, or where temporary ones are."""

    def __init__(self, bin_dir: Path, *, durable: bool, small_log: bool = False, parent: Path | None = None) -> None:
        self._bin = bin_dir
        self._small_log = small_log
        self._as = _unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix="stoker-postgres-", dir=parent))
        self._data = self._folder / "data"
        self._settings = SETTINGS | ({} if durable else FORGETFUL)
        self._keeper: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        if self._as:
            os.chown(self._folder, self._as["user"], self._as["group"])
        self._make()

    def _make(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD.replace("%40", "@") + "\n")
        if self._as:
            os.chown(password, self._as["user"], self._as["group"])
        words = [str(self._bin / "initdb"), "--pgdata", str(self._data), "--username", "stoker", "--no-sync"]
        words += ["--wal-segsize", "1"] if self._small_log else []
        words += ["--auth", "scram-sha-256", "--pwfile", str(password), "--encoding", "UTF8", "--locale", "C"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=self._folder, **self._as)
        if done.returncode != 0:
            raise Unavailable(f"initdb failed: {done.stdout}{done.stderr}")

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """Where a database of it is, through TCP."""
        return f"postgresql://stoker:{PASSWORD}@127.0.0.1:{port or self.port}/{database}"

    def socket_url(self, database: str = "postgres") -> str:
        """Where a database of it is, through its Unix socket."""
        return f"postgresql://stoker:{PASSWORD}@/{database}?host={self._folder}&port={self.port}"

    def start(self) -> None:
        """Start it, and wait until it lets somebody in."""
        self._dismiss(b"leave\n")
        settings = self._settings | {"listen_addresses": "127.0.0.1", "port": str(self.port)}
        settings["unix_socket_directories"] = str(self._folder)
        words = [str(self._bin / "postgres"), "-D", str(self._data)]
        for name, value in settings.items():
            words += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                ["/bin/sh", "-c", KEEPER, "keeper", str(self._folder), *words],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C is for whoever started it, who ends it in order
                **self._as,
            )
        self._until(self._ready, "the cluster to be ready")

    def _ready(self) -> bool:
        assert self._keeper is not None
        if self._keeper.poll() is not None:
            raise Unavailable(f"PostgreSQL did not start: {(self._folder / 'log').read_text()}")
        try:
            return "ready" in (self._data / "postmaster.pid").read_text().splitlines()[7]
        except (FileNotFoundError, IndexError):
            return False

    def _pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def limit_files(self, most_bytes: int | None) -> None:
        """From now on no file of it grows beyond that (None: all may), and what is written over it meets a full disk.

        Not a multiple of a page (8 KiB): then a page is written in part, which is what PostgreSQL takes for a full disk.
        """
        limit = f"--fsize={'unlimited' if most_bytes is None else most_bytes}:"
        first = self._pid()  # whom those that it starts from now on inherit it from
        self._prlimit(first, limit)
        for process in psutil.Process(first).children():
            with contextlib.suppress(subprocess.CalledProcessError):  # it has ended since
                self._prlimit(process.pid, limit)

    def _prlimit(self, pid: int, limit: str) -> None:
        """As the user whose process it is: root of a container may not."""
        subprocess.run(["prlimit", f"--pid={pid}", limit], check=True, capture_output=True, **self._as)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT in order, SIGKILL as the loss of the machine would. The files stay."""
        pid = self._pid()
        os.kill(pid, how)
        self._until(lambda: not _exists(pid), "the cluster to end")
        if how is signal.SIGKILL:
            self._until(self._memory_is_free, "its backends to end")
            (self._data / "postmaster.pid").unlink()

    def kill(self) -> None:
        """End it as the loss of the machine would, and wait until nothing of it is left. The files stay."""
        self.stop(signal.SIGKILL)

    def pause(self) -> None:
        """Let no process of it run until `resume`. Connections stay open, and nobody answers."""
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                process.suspend()

    def resume(self) -> None:
        """Let all of them go on."""
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                process.resume()

    def _processes(self) -> list[psutil.Process]:
        first = psutil.Process(self._pid())
        return [first, *first.children(recursive=True)]

    def _memory_is_free(self) -> bool:
        """Backends notice that their postmaster is gone, and a new one waits for them."""
        return not any(_works_in(self._data, entry) for entry in Path("/proc").iterdir() if entry.name.isdigit())

    def close(self) -> None:
        """End it whatever it does, and remove its files."""
        self._dismiss(b"")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _dismiss(self, word: bytes) -> None:
        if self._keeper is not None:
            self._keeper.communicate(word, timeout=PATIENCE_S)
            self._keeper = None

    @staticmethod
    def _until(look: Any, what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not look():
            if time.monotonic() >= deadline:
                raise Unavailable(f"waited {PATIENCE_S:g} s for {what}")
            time.sleep(0.01)

    # ── databases ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Carry out statements, each in a transaction of its own."""
        asyncio.run(_execute(self.url(database), statements))

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """A fresh database, copied from `template`; its name."""
        name = f"test_{secrets.token_hex(6)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield name
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, statements: tuple[str, ...]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _exists(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _works_in(folder: Path, process: Path) -> bool:
    try:
        return (process / "cwd").readlink() == folder
    except OSError:
        return False


__all__ = ["FULL_BYTES", "Cluster", "binaries"]
