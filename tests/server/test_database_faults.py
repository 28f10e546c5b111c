"""A PostgreSQL that is full, or stands still, behind a real server: clients are told to come back, and nothing is half kept."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from stoker.chaos.cluster import FULL_BYTES
from tests.live import LiveServer, until
from tests.postgres import cluster
from tests.server.conftest import WORKERS
from tests.server.test_kill import counts, jobs

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

SILENT = "sleep 1000000"
"""A worker that never asks for a job: what is accepted stays queued."""
BODY_CHARACTERS = 100_000
FULL = (507, "disk_full")
JOBS_MOST = 200
"""Far more than fit."""


def submit(live: LiveServer, number: int) -> httpx.Response:
    """A job whose input PostgreSQL cannot make much smaller."""
    text = random.Random(number).randbytes(BODY_CHARACTERS // 2).hex()
    return live.api.post("/v2/load/run", json={"input": text}, headers={"Idempotency-Key": str(number)})


def is_told_to_return(answer: httpx.Response, status: int = 503, code: str = "database_unavailable") -> bool:
    """Whether a client is asked to try again later, with a code that it may know."""
    told = answer.status_code == status and int(answer.headers["Retry-After"]) >= 1
    return told and answer.json()["code"] == code


def until_refused(live: LiveServer) -> tuple[list[str], httpx.Response]:
    """Submit until one is not accepted: the jobs that were, and the answer to that one."""
    accepted: list[str] = []
    for number in range(JOBS_MOST):
        answer = submit(live, number)
        if answer.status_code != 200:
            return accepted, answer
        accepted.append(answer.json()["id"])
    raise AssertionError(f"{JOBS_MOST} jobs fit")


def test_a_full_disk(tmp_path: Path) -> None:
    """A submission that cannot be kept is answered 507; what was accepted stays; with room again all goes on by itself."""
    with cluster(small_log=True) as full, LiveServer(tmp_path / "data", database=full.url()) as live:
        live.create("load", image=WORKERS, command=SILENT)
        full.limit_files(FULL_BYTES)
        accepted, answer = until_refused(live)
        assert is_told_to_return(answer, *FULL), answer.text
        number = len(accepted)
        assert is_told_to_return(submit(live, number), *FULL), "it is still full"
        assert {job["id"] for job in jobs(live)} == set(accepted)
        assert live.job(accepted[0])["state"] == "queued"
        full.limit_files(None)
        answer = until(lambda: good(submit(live, number)), what="a submission to be accepted again")
        assert answer.json()["id"] not in accepted
        assert counts(live)["queued"] == len(accepted) + 1


def good(answer: httpx.Response) -> httpx.Response | None:
    """The answer, if it is one."""
    return answer if answer.status_code == 200 else None


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Nobody reads or writes jobs meanwhile, as when an administrator changes the table."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(url))
        runner.run(connection.execute("BEGIN; LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
        try:
            yield
        finally:
            runner.run(connection.close())


def test_a_database_that_stands_still(tmp_path: Path, postgres_url: str) -> None:
    """Requests wait for one statement's time and are then answered 503; nothing of them is kept, and it goes on afterwards."""
    terms = {"database": postgres_url, "database_statement_s": 1}
    with LiveServer(tmp_path / "data", **terms) as live:
        live.create("load", image=WORKERS, command=SILENT)
        with locked(postgres_url):
            assert is_told_to_return(submit(live, 1))
        until(lambda: good(submit(live, 1)), what="a submission to be accepted again")
        assert counts(live)["queued"] == 1


def test_health_without_a_database(tmp_path: Path) -> None:
    """While the database is away a server is alive and not ready, says why in words without addresses, and is ready again by itself."""
    with cluster() as away, LiveServer(tmp_path / "data", database=away.url()) as live:
        away.stop()
        until(lambda: live.api.get("/readyz").status_code == 503, what="the server to miss its database")
        checks = live.api.get("/readyz").json()["checks"]
        assert (checks["store"]["ok"], checks["store"]["needed"]) == (False, True)
        assert "127.0.0.1" not in checks["store"]["text"]
        assert live.api.get("/healthz").status_code == 200
        away.start()
        until(lambda: live.api.get("/readyz").json()["status"] == "ready", what="the server to be ready again")
