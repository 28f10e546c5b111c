"""Backups of a real server: made under load, restored whole, refused when they are not."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from stoker.chaos.cluster import Cluster
from tests.docs.pages import blocks
from tests.live import LiveServer, until
from tests.postgres import found
from tests.server.conftest import WORKERS
from tests.server.test_kill import Client, jobs
from tests.server.test_secrets import COMMAND, stoker

pytestmark = pytest.mark.slow

SILENT = "sleep 1000000"
"""A worker that never asks for a job: what is accepted stays queued."""


def backup(live: LiveServer, file: Path) -> set[str]:
    """Write a backup; the ids of the jobs in it."""
    done = stoker("backup", str(file), "--data-dir", str(live.data_dir))
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(file)) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM jobs")}


def restore(live: LiveServer, file: Path, *words: str) -> tuple[int, str]:
    """Restore a backup: the exit status, and what was said."""
    done = stoker("restore", str(file), "--data-dir", str(live.data_dir), *words)
    return done.returncode, done.stdout + done.stderr


def test_backup_under_load(live: LiveServer, tmp_path: Path) -> None:
    """What was accepted before a backup began is in it, however many clients write meanwhile; only its owner can read it."""
    live.create("load", image=WORKERS, command=COMMAND)
    file = tmp_path / "copy.db"
    with Client(live, 1) as one, Client(live, 2) as two:
        until(lambda: len(one.accepted) > 20, what="some jobs")
        before = set(one.accepted) | set(two.accepted)
        kept = backup(live, file)
    assert one.error is None
    assert two.error is None
    assert before <= kept
    assert kept <= {job["id"] for job in jobs(live)}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_restore(live: LiveServer, tmp_path: Path) -> None:
    """A restored database is as it was at its backup; the one before lies beside it, and queued jobs run."""
    live.create("load", image=WORKERS, command=SILENT)
    kept = live.run("load", {"echo": "kept"})
    backup(live, tmp_path / "copy.db")
    lost = live.run("load", {"echo": "lost"})
    assert restore(live, tmp_path / "copy.db")[0] != 0, "the server uses the directory"
    live.stop()
    status, said = restore(live, tmp_path / "copy.db")
    assert (status != 0, "--replace" in said) == (True, True)
    status, said = restore(live, tmp_path / "copy.db", "--replace")
    assert status == 0, said
    with closing(sqlite3.connect(live.data_dir / "stoker.db.before-1")) as aside:
        assert {row[0] for row in aside.execute("SELECT id FROM jobs")} == {kept, lost}
    live.start()
    assert live.api.get(f"/api/jobs/{lost}").status_code == 404
    assert live.api.patch("/api/endpoints/load", json={"command": COMMAND}).status_code == 200
    assert live.finished(kept)["state"] == "completed"


def test_restore_without_the_key(live: LiveServer, tmp_path: Path) -> None:
    """A backup whose secrets cannot be opened is refused, and nothing is changed."""
    live.create("load", image=WORKERS, command=SILENT)
    backup(live, tmp_path / "copy.db")
    live.stop()
    key = live.data_dir / "secrets.key"
    right = key.read_text()
    key.write_text("A" * 43 + "=\n")
    before = {path.name for path in live.data_dir.iterdir()}
    status, said = restore(live, tmp_path / "copy.db", "--replace")
    assert status != 0
    assert "which this server does not have" in said
    assert {path.name for path in live.data_dir.iterdir()} == before
    key.write_text(right)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 1000], ids=["empty", "something else"])
def test_what_is_no_backup(live: LiveServer, tmp_path: Path, content: bytes) -> None:
    """A file that is no database of ours is refused by name."""
    live.stop()
    file = tmp_path / "other"
    file.write_bytes(content)
    status, said = restore(live, file, "--replace")
    assert status != 0
    assert f"{file} is no database of Stoker" in said


def test_damaged_backup(live: LiveServer, tmp_path: Path) -> None:
    """A backup with a hole is refused."""
    live.create("load", image=WORKERS, command=SILENT)
    for number in range(20):
        live.run("load", "x" * 10_000 + str(number))
    file = tmp_path / "copy.db"
    backup(live, file)
    live.stop()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 3] + b"\xff" * 40_000 + whole[len(whole) // 3 + 40_000 :])
    status, said = restore(live, file, "--replace")
    assert status != 0
    assert "damaged" in said


def test_backup_of_nothing(tmp_path: Path, live: LiveServer) -> None:
    """Neither a missing database nor an existing file is written over."""
    assert "there is no database" in stoker("backup", str(tmp_path / "a"), "--data-dir", str(tmp_path)).stderr
    (tmp_path / "there").write_text("mine")
    done = stoker("backup", str(tmp_path / "there"), "--data-dir", str(live.data_dir))
    assert "exists already" in done.stderr
    assert (tmp_path / "there").read_text() == "mine"
    url = {"database": "postgresql://user:hush@127.0.0.1:1/x"}
    elsewhere = stoker("backup", str(tmp_path / "b"), settings=url)
    assert "pg_dump" in elsewhere.stderr
    assert "hush" not in elsewhere.stderr


@pytest.mark.postgres
def test_the_tools_of_postgresql(postgres: Cluster, postgres_url: str, tmp_path: Path) -> None:
    """The commands of the how-to, typed while a server is under load and then on an empty database: what was accepted and what had ended before is
    there, keys and secrets open, and what waited runs."""
    dump, restores = (one.text for one in blocks("docs/how-to/back-up.md") if one.kind == "sh")

    def typed(command: str, database: str) -> None:
        path = f"{found()}:{os.environ['PATH']}"
        subprocess.run(
            ["sh", "-c", command], env={"PATH": path, "STOKER_DATABASE": database}, cwd=tmp_path, check=True, timeout=60
        )

    with LiveServer(tmp_path / "first", database=postgres_url) as first:
        first.create("load", image=WORKERS, command=COMMAND, env={"TOKEN": {"secret": "hush"}})
        key = first.api.post("/api/keys", json={"name": "ci", "scopes": ["run"]}).json()["secret"]
        ended = first.finished(first.run("load", {"echo": "ended"}))["id"]
        with Client(first, 1) as client:
            until(lambda: len(client.accepted) > 20, what="some jobs")
            before = dict(client.accepted)
            typed(dump, postgres_url)
        assert client.error is None
        assert len(client.accepted) > len(before)
    with postgres.database() as elsewhere:
        again = postgres.url(elsewhere)
        for _ in range(2):  # into an empty database, and over one that is there
            typed(restores, again)
        (tmp_path / "second").mkdir(mode=0o700)
        shutil.copy(tmp_path / "first" / "secrets.key", tmp_path / "second")
        with LiveServer(tmp_path / "second", database=again) as second:
            assert second.api.get(f"/v2/load/status/{ended}").json()["output"] == "ended"
            assert {job: second.finished(job)["output"] for job in before} == before
            second.api.headers["Authorization"] = f"Bearer {key}"
            assert second.api.post("/v2/load/run", json={"input": {"echo": 1}}).status_code == 200
