"""`stoker serve --processes N`: several servers on one port, kept alive, stopped in order, replaced one by one."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.live import KEY, LiveServer, until
from tests.server.conftest import WORKERS

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

COMMAND = "python -u light.py"
UP = re.compile(r"server_up\s.*?pid=(\d+)\s.*?server=(\d+)")


@pytest.fixture
def many(tmp_path: Path, postgres_url: str) -> Iterator[LiveServer]:
    """Two servers on one port."""
    with LiveServer(tmp_path / "data", database=postgres_url, processes=2, log_format="text") as server:
        yield server


def ups(many: LiveServer) -> list[tuple[int, int]]:
    """Process id and number of every server that came up, in order."""
    return [(int(pid), int(number)) for pid, number in UP.findall(many.log())]


def answered(url: str) -> int:
    """The status of a question asked on a connection of its own."""
    return httpx.get(f"{url}/api/endpoints", headers={"Authorization": f"Bearer {KEY}"}).status_code


def running(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_dead_server_is_replaced(many: LiveServer) -> None:
    """A server that dies is started again, with a line that says why; the port answers all the while."""
    (first, _), (second, _) = ups(many)
    os.kill(first, signal.SIGKILL)
    assert answered(many.url) == 200
    until(lambda: len(ups(many)) == 3, what="another server")
    assert ups(many)[-1][0] not in (first, second)
    assert "server_died" in many.log()
    assert "killed by SIGKILL" in many.log()
    assert answered(many.url) == 200


def test_the_last_one_stops_the_workers(many: LiveServer) -> None:
    """SIGTERM to the parent ends every server in order, and with the last one the workers."""
    many.create("a", image=WORKERS, command=COMMAND, min_workers=1, max_workers=1)
    (worker,) = until(lambda: [one for one in many.workers("a") if one["state"] == "ready"], what="a worker")
    pids = [pid for pid, _ in ups(many)]
    assert many.stop() == 0
    assert not any(map(running, pids))
    assert "server_died" not in many.log()
    many.start()
    (gone,) = [one for one in many.workers("a", gone=5) if one["id"] == worker["id"]]
    assert (gone["state"], gone["reason"]) == ("gone", "server_stopping")


def test_no_server_outlives_its_parent(many: LiveServer) -> None:
    """When the parent is killed its servers stop by themselves, and the port is free again."""
    pids = [pid for pid, _ in ups(many)]
    many.kill()
    until(lambda: not any(map(running, pids)), what="the end of the servers")
    many.start()
    assert answered(many.url) == 200


def test_rolling_restart(many: LiveServer) -> None:
    """SIGHUP replaces one server after the other; the next goes only when the one before it answers."""
    before = ups(many)
    assert many.process is not None
    many.process.send_signal(signal.SIGHUP)
    until(lambda: "rolling_restart_done" in many.log(), what="the end of the restart")
    after = ups(many)[len(before) :]
    assert [number for _, number in after] == [1, 2]
    assert not any(running(pid) for pid, _ in before)
    order = re.findall(r"server_up|server_stopped", many.log())
    assert order[-4:] == ["server_stopped", "server_up", "server_stopped", "server_up"]
    assert answered(many.url) == 200


def workers_of(folder: Path) -> list[int]:
    """Worker processes that run below a data directory."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if "light.py" in (process.info["cmdline"] or []) and str(folder) in (process.info["cwd"] or ""):
            found.append(process.pid)
    return found


def test_killed_parent_with_workers(many: LiveServer, tmp_path: Path) -> None:
    """When the parent is killed its servers stop side by side. Whichever of them sees to the workers: none is left over, the
    next start has as many as it should, and every job that was accepted is done."""
    many.create("a", image=WORKERS, command=COMMAND, min_workers=1, max_workers=1, retries=10)
    until(lambda: [one for one in many.workers("a") if one["state"] == "ready"], what="a worker")
    jobs = [many.run("a", {"echo": number}) for number in range(20)]
    many.kill()
    many.start()
    assert [many.finished(job)["output"] for job in jobs] == list(range(20))
    until(lambda: [one["state"] for one in many.workers("a")] == ["ready"], what="one worker")
    until(lambda: len(workers_of(tmp_path)) == 1, what="one process")
