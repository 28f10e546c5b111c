"""A real disk of a few MiB under a real server: new jobs are refused before it is full, and what was accepted ends."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live import LiveServer, until
from tests.server.conftest import WORKERS
from tests.server.test_secrets import COMMAND

pytestmark = pytest.mark.slow

DISK_MB = 96
RESERVE_MB = 48
BODY_BYTES = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", str(disk)], capture_output=True, check=False
    )
    if mounting.returncode:
        assert "CI" not in os.environ, mounting.stderr
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def submit(live: LiveServer, number: int) -> httpx.Response:
    """A job with a large input that cannot be made smaller."""
    text = random.Random(number).randbytes(BODY_BYTES // 2).hex()
    return live.api.post("/v2/load/run", json={"input": {"echo": number, "text": text}})


def test_new_jobs_wait_for_room(small_disk: Path) -> None:
    """Close to a full disk a submission is answered 507 with the reason; every accepted job still ends, and with room it goes on."""
    with LiveServer(small_disk / "data", disk_free_mb_min=RESERVE_MB) as live:
        live.create("load", image=WORKERS, command=COMMAND)
        live.api.post("/api/endpoints/load/pause")
        filler = small_disk / "filler"
        accepted = [submit(live, number).json()["id"] for number in range(8)]
        filler.write_bytes(b"\0" * (DISK_MB - RESERVE_MB - 20 << 20))
        refused = until(lambda: _refused(submit(live, 99)), what="a refusal")
        assert refused.json()["code"] == "disk_full"
        assert "MiB left" in refused.json()["error"]
        assert int(refused.headers["retry-after"]) >= 1
        live.api.post("/api/endpoints/load/resume")
        assert {live.finished(job)["state"] for job in accepted} == {"completed"}
        filler.unlink()
        again = until(lambda: _accepted(submit(live, 100)), what="room")
        assert live.finished(again)["state"] == "completed"


def test_full_to_the_last_byte(small_disk: Path) -> None:
    """Without a reserve a full disk refuses with 507 too, and nothing that was answered with 200 is lost."""
    with LiveServer(small_disk / "data", disk_free_mb_min=0) as live:
        live.create("load", image=WORKERS, command=COMMAND)
        live.api.post("/api/endpoints/load/pause")  # a server that cannot write leaves workers to its next start
        answers = [submit(live, number) for number in range(DISK_MB)]
        accepted = [answer.json()["id"] for answer in answers if answer.status_code == 200]
        refused = {(answer.status_code, answer.json()["code"]) for answer in answers if answer.status_code != 200}
        assert accepted
        assert refused == {(507, "disk_full")}
        assert [live.job(job)["state"] for job in accepted] == ["queued"] * len(accepted)


def _refused(answer: httpx.Response) -> httpx.Response | None:
    return answer if answer.status_code == 507 else None


def _accepted(answer: httpx.Response) -> str | None:
    return str(answer.json()["id"]) if answer.status_code == 200 else None


def test_a_data_directory_that_is_gone(tmp_path: Path) -> None:
    """Without its data directory a server says so and accepts nothing that would be lost; told to stop, it stops its worker and ends."""
    with LiveServer(tmp_path / "data") as live:
        live.create("a", image=WORKERS, command=COMMAND, max_workers=1)
        job = live.run("a", {"hold": str(tmp_path / "never")})
        until(lambda: live.job(job)["state"] == "running", what="a worker that works")
        live.data_dir.rename(tmp_path / "elsewhere")
        until(lambda: live.api.get("/readyz").status_code == 503, what="the server to notice")
        refused = live.api.post("/v2/a/run", json={"input": 1})
        assert (refused.status_code, refused.json()["code"]) == (503, "data_dir_gone")
        assert "not there any more" in refused.json()["error"]
        assert live.stop() == 0
        (tmp_path / "elsewhere").rename(live.data_dir)
        assert "code=data_dir_gone" in live.log()
