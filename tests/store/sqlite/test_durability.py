"""What was acknowledged is on the disk."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stoker.errors import Unavailable
from stoker.ids import JobId
from stoker.store.sqlite import SqliteStore
from stoker.store.sqlite.connection import connect, connect_reader
from tests.store.records import ENDPOINT, TEAM, cancel, finish, furnish, hire, run, submit

ROOT = Path(__file__).parents[3]

SUBMITTER = """
import asyncio, sys
from stoker.store.sqlite import SqliteStore
from tests.store.records import submit

async def keep_submitting(store):
    while True:
        job = await submit(store)
        print(job.id, flush=True)

async def main():
    store = await SqliteStore.open(sys.argv[1])
    await asyncio.gather(*(keep_submitting(store) for _ in range(32)))

asyncio.run(main())
"""


def acknowledged_before_the_kill(path: Path, count: int) -> list[str]:
    """Ids that a process printed after their submission was answered, until it was killed in the middle of more."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    with subprocess.Popen(
        (sys.executable, "-c", SUBMITTER, str(path)), stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(count)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    return [line.strip() for line in lines if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 300])
async def test_nothing_acknowledged_is_lost(tmp_path: Path, count: int) -> None:
    """After kill -9 in the middle of submissions every job that was acknowledged is there, whole."""
    path = tmp_path / "stoker.db"
    ids = acknowledged_before_the_kill(path, count)
    store = await SqliteStore.open(path)
    assert len(ids) >= count
    for job in ids:
        assert await store.jobs.input(TEAM, JobId(job)) == b'{"n": 1}'
        assert [line.kind for line in await store.jobs.story(JobId(job))] == ["submitted"]
    assert (await store.jobs.counts(ENDPOINT)).queued >= len(ids)
    await store.close()


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    """A store that is opened again goes on where it was."""
    path = tmp_path / "folder" / "stoker.db"
    store = await SqliteStore.open(path)
    await furnish(store)
    await hire(store)
    done, running = await run(store), await run(store)
    await finish(store, done, output=b'"kept"')
    await store.close()
    store = await SqliteStore.open(path)
    result = await store.jobs.result(TEAM, ENDPOINT, done.id)
    assert result is not None
    assert result.output == b'"kept"'
    (held,) = await store.workers.alive()
    assert held.running == 1
    assert (await finish(store, running)).changed
    await store.close()


def test_commits_are_flushed(tmp_path: Path) -> None:
    """Every commit is flushed to the disk: the log is written ahead, and `synchronous` is FULL (2)."""
    connection = connect(tmp_path / "stoker.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    connection.close()


def test_reader_cannot_write(tmp_path: Path) -> None:
    """The reading connection refuses to write."""
    writer = connect(tmp_path / "stoker.db")
    reader = connect_reader(tmp_path / "stoker.db")
    with pytest.raises(Exception, match="readonly"):
        reader.execute("DELETE FROM jobs")
    reader.close()
    writer.close()


def test_file_is_private(tmp_path: Path) -> None:
    """Only the owner may read what customers submit: folder, file and log."""
    path = tmp_path / "folder" / "stoker.db"
    connection = connect(path)
    connection.execute("DELETE FROM jobs")
    for made in (path.parent, *path.parent.iterdir()):
        assert stat.S_IMODE(made.stat().st_mode) & 0o077 == 0
    assert path.with_name("stoker.db-wal").exists()
    connection.close()


async def test_file_that_cannot_be_made(tmp_path: Path) -> None:
    """A path that cannot be a file is told as such."""
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Unavailable, match="cannot be opened"):
        await SqliteStore.open(tmp_path / "file" / "stoker.db")


def everything(folder: Path) -> bytes:
    """Every byte of the database and its side files."""
    return b"".join(file.read_bytes() for file in folder.iterdir())


@pytest.mark.parametrize("end", ["completed", "cancelled"])
async def test_s3_config_is_wiped(tmp_path: Path, end: str) -> None:
    """Where no retry can follow, the customer's S3 keys are in no file any more once the log is folded in."""
    path = tmp_path / "stoker.db"
    store = await SqliteStore.open(path)
    await furnish(store)
    await hire(store)
    job = await run(store, s3_config=b'{"accessSecret":"very-secret"}')
    assert b"very-secret" in everything(tmp_path)
    await (finish(store, job) if end == "completed" else cancel(store, job))
    await store.close()
    assert b"very-secret" not in everything(tmp_path)


async def test_reads_see_what_was_answered(tmp_path: Path) -> None:
    """A read that begins after an answer sees what was answered, though it goes another way."""
    store = await SqliteStore.open(tmp_path / "stoker.db")
    await furnish(store)
    for _ in range(50):
        job = await submit(store)
        assert await store.jobs.result(TEAM, ENDPOINT, job.id) is not None
    await store.close()
