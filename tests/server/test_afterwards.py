"""After a job's end: dead letters found and retried in bulk, a job taken away in one file and run again from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.live import KEY, ROOT, LiveServer, until
from tests.server.conftest import WORKERS
from tests.server.test_secrets import COMMAND

pytestmark = pytest.mark.slow

HELLO = ROOT / "examples" / "hello"
SDK = ROOT / ".sdks" / "runpod-1.12.0" / "bin" / "python"


def stoker(live: LiveServer, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command against the server."""
    program = str(Path(sys.executable).with_name("stoker"))
    environment = os.environ | {"STOKER_URL": live.url, "STOKER_API_KEY": KEY}
    return subprocess.run(
        [program, *words], env=environment, capture_output=True, text=True, timeout=120, check=False, cwd=cwd
    )


def letters(live: LiveServer, **params: Any) -> list[dict[str, Any]]:
    """The dead letters of the endpoint."""
    answer = live.api.get("/api/endpoints/a/dead-letters", params=params)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["jobs"])


def ended(live: LiveServer, job: str) -> int:
    """When the job ended; 0 while it has not."""
    return int(live.job(job)["finished_ms"] or 0)


def lost_and_failed(live: LiveServer) -> tuple[list[str], str]:
    """Jobs that killed their workers, and one whose handler failed."""
    live.create("a", image=WORKERS, command=COMMAND, retries=0, max_workers=2)
    lost = [live.run("a", {"die": 1}) for _ in range(3)]
    failed = live.run("a", {"fail": "my own mistake"})
    for job in (*lost, failed):
        assert live.finished(job)["state"] == "failed"
    return lost, failed


def test_dead_letters(on_each_database: LiveServer) -> None:
    """What the platform lost is a dead letter, what its handler refused is not; all are retried at once under their ids."""
    live = on_each_database
    lost, failed = lost_and_failed(live)
    assert {job["id"] for job in letters(live)} == set(lost)
    assert len(letters(live, limit=2)) == 2
    assert letters(live, reason="ttl_passed") == []
    before = {job: ended(live, job) for job in lost}
    done = live.api.post("/api/endpoints/a/dead-letters/retry", json={"reasons": ["retries_exhausted"]}).json()
    assert (set(done["retried"]), done["failed"], done["more"]) == (set(lost), [], False)
    until(lambda: all(ended(live, job) > before[job] for job in lost), what="all to be lost again")
    assert {job["id"] for job in letters(live)} == set(lost)
    assert live.job(failed)["attempt"] == 1


def test_command_for_dead_letters(live: LiveServer) -> None:
    """The command lists them with their reason, and retries all of them."""
    lost, failed = lost_and_failed(live)
    listed = stoker(live, "dead-letter", "ls", "a")
    assert listed.returncode == 0, listed.stderr
    assert all(job in listed.stdout for job in lost)
    assert failed not in listed.stdout
    assert stoker(live, "dead-letter", "retry", "a").stdout == "retried: 3 jobs\n"


def test_capsule(live: LiveServer, tmp_path: Path) -> None:
    """A capsule holds the input as it was written, the end, the names of variables without their values, timeline and log."""
    env = {"PLAIN": "visible-value", "TOKEN": {"secret": "hush-hush"}}
    live.create("a", image=WORKERS, command=COMMAND, env=env)
    headers = {"content-type": "application/json"}
    sent = live.api.post("/v2/a/run", content=b'{"input": {"echo": 1.10, "huge": 1e400}}', headers=headers)
    job = sent.json()["id"]
    assert live.finished(job)["state"] == "completed"
    file = tmp_path / "job.json"
    written = stoker(live, "job", "capsule", job, "-o", str(file))
    assert written.returncode == 0, written.stderr
    text = file.read_text()
    assert '"input":{"echo": 1.10, "huge": 1e400}' in text
    content = json.loads(text)
    assert content["release"]["env"] == ["PLAIN", "TOKEN"]
    assert "visible-value" not in text
    assert "hush-hush" not in text
    assert content["job"]["id"] == job
    assert content["story"][0]["kind"] == "submitted"
    again = stoker(live, "job", "capsule", job, "-o", str(file))
    assert again.returncode == 2, "a file is not written over"


def test_replay_on_a_server(live: LiveServer, tmp_path: Path) -> None:
    """A capsule runs again as a new job, at its own endpoint or another; what is no capsule is refused."""
    live.create("a", image=WORKERS, command=COMMAND)
    live.create("b", image=WORKERS, command=COMMAND)
    job = live.run("a", {"echo": "again"})
    live.finished(job)
    stoker(live, "job", "capsule", job, cwd=tmp_path)
    file = str(tmp_path / f"{job}.capsule.json")
    here = stoker(live, "job", "replay", file, "--wait")
    assert (here.returncode, json.loads(here.stdout)) == (0, "again")
    there = stoker(live, "job", "replay", file, "--endpoint", "b", "--json")
    assert json.loads(there.stdout)["endpoint"]["name"] == "b"
    assert json.loads(there.stdout)["id"] != job
    (tmp_path / "other.json").write_text("{}")
    assert "is no capsule" in stoker(live, "job", "replay", str(tmp_path / "other.json")).stderr


def test_replay_here(live: LiveServer, tmp_path: Path) -> None:
    """Without a server the worker's own program runs the job as a test of the real SDK, and its exit status is the command's."""
    live.create("a", image=HELLO, command=f"{SDK} -u handler.py")
    job = live.run("a", {"prompt": "from afar"})
    assert live.finished(job)["state"] == "completed"
    stoker(live, "job", "capsule", job, cwd=tmp_path)
    file = str(tmp_path / f"{job}.capsule.json")
    done = stoker(live, "job", "replay", file, "--local", f"{SDK} -u {HELLO / 'handler.py'}")
    assert done.returncode == 0, done.stderr
    assert "from afar" in done.stdout
    assert stoker(live, "job", "replay", file, "--local", "no-such-program").returncode == 3
