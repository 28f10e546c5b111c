"""The stores that contestants bring along: Redis and PostgreSQL, fresh in a folder of their own, with their own defaults."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Final

from benchmarks.peers.processes import free_port, spawn

LISTENS_S: Final = 20.0
ALWAYS: Final = ("--appendonly", "yes", "--appendfsync", "always")


class Broker(Enum):
    """What a contestant needs."""

    NONE = "none"
    REDIS = "Redis"
    """As it comes: snapshots now and then."""
    REDIS_ALWAYS = "Redis, AOF always"
    """Every write is on the disk before it is answered."""
    POSTGRES = "PostgreSQL"


class Absent(Exception):
    """A program that is needed is not installed."""


def start(broker: Broker, folder: Path) -> tuple[str, list[int]]:
    """Its URL and its processes, whose children are its own too.

    Raises Absent, and TimeoutError when it does not listen in time.
    """
    if broker is Broker.NONE:
        return "", []
    folder.mkdir()
    if broker is Broker.POSTGRES:
        return _start_postgres(folder)
    return _start_redis(folder, ALWAYS if broker is Broker.REDIS_ALWAYS else ())


def version(broker: Broker) -> str:
    """Such as `Redis 7.0.15`. Raises Absent."""
    if broker is Broker.NONE:
        return ""
    if broker is Broker.POSTGRES:
        words = _output(_postgres("postgres"), "--version").split()
        return f"PostgreSQL {words[2]}"
    words = _output(_found("redis-server"), "--version").split()
    return f"Redis {next(word[2:] for word in words if word.startswith('v='))}"


def _start_redis(folder: Path, options: tuple[str, ...]) -> tuple[str, list[int]]:
    port = free_port()
    command = [_found("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *options]
    process = spawn(command, folder=folder, log=folder / "log", environment=os.environ)
    _await(lambda: _listens(port), process, folder / "log")
    return f"redis://127.0.0.1:{port}/0", [process.pid]


def _start_postgres(folder: Path) -> tuple[str, list[int]]:
    """Trusts everybody on this machine: the port is drawn and the cluster lives for seconds."""
    user = _user()
    if user is not None:
        os.chown(folder, user, -1)
    data, port = folder / "data", free_port()
    log = folder / "log"
    init = [_postgres("initdb"), "--pgdata", str(data), "--auth", "trust", "--username", "bench", "--encoding", "UTF8"]
    with log.open("ab") as output:
        subprocess.run(init, check=True, user=user, cwd=folder, stdout=output, stderr=output, timeout=60)
    command = [_postgres("postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    process = spawn(command, folder=folder, log=log, environment=os.environ, user=user)
    _await(lambda: _answers(port), process, log)
    return f"postgresql://bench@127.0.0.1:{port}/postgres", [process.pid]


def _user() -> int | None:
    """Whom PostgreSQL runs as when we are root, which it refuses."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise Absent("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise Absent(f"{program} is not installed")
    return path


def _postgres(program: str) -> str:
    """Debian keeps the server's programs beside the versions, outside of PATH; the newest is taken."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if folders and (folders[-1] / program).exists():
        return str(folders[-1] / program)
    return _found(program)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


def _await(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + LISTENS_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise TimeoutError(f"it does not listen: {log.read_text()[-500:]}")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(port: int) -> bool:
    """PostgreSQL listens before it is ready."""
    command = [_postgres("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(command, check=False, timeout=20).returncode == 0
