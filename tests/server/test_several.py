"""Several servers on one PostgreSQL database: any of them answers, one of them looks after the workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.clock import ManualClock, SystemClock
from stoker.databases import check_clock
from stoker.errors import Conflict
from stoker.loops.duty import SKEW_MOST_MS
from stoker.store.postgres import PostgresStore, Terms
from tests.live import LiveServer, until
from tests.server.conftest import WORKERS

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

COMMAND = f"{sys.executable} -u light.py"


@pytest.fixture(params=["woken", "polling"])
def two(request: pytest.FixtureRequest, tmp_path: Path, postgres_url: str) -> Iterator[tuple[LiveServer, LiveServer]]:
    """Two servers of one machine; the first was there first. They wake each other, or only look."""
    more = {"database": postgres_url, "database_listen": request.param == "woken"}
    with LiveServer(tmp_path / "data", **more) as first, LiveServer(tmp_path / "data", **more) as second:
        yield first, second


def test_any_server_answers(two: tuple[LiveServer, LiveServer]) -> None:
    """A job submitted at one server is run by a worker that is held at the other, and each tells its end."""
    first, second = two
    first.create("a", image=WORKERS, command=COMMAND, min_workers=1, max_workers=1)
    until(lambda: [one for one in second.workers("a") if one["state"] == "ready"], what="a worker, seen by the other")
    for asked, other in ((second, first), (first, second)):
        answer = asked.api.post("/v2/a/run", json={"input": {"echo": 7}})
        job = answer.json()["id"]
        told = other.api.get(f"/v2/a/status-sync/{job}").json()
        assert (told["status"], told["output"]) == ("COMPLETED", 7)
        assert asked.api.get(f"/v2/a/status/{job}").json()["output"] == 7


def test_another_takes_over(two: tuple[LiveServer, LiveServer]) -> None:
    """When the server that runs the loops is killed, another runs them within seconds; its jobs are not lost."""
    first, second = two
    first.create("a", image=WORKERS, command=COMMAND, idle_timeout_s=60)
    before = first.run("a", {"echo": 1})
    first.finished(before)
    first.kill()
    after = second.run("a", {"echo": 2})
    assert second.finished(after)["output"] == 2
    assert second.finished(before)["output"] == 1


def test_workers_are_left_to_those_who_stay(two: tuple[LiveServer, LiveServer]) -> None:
    """A server that stops while another is there stops no worker; the last one does."""
    first, second = two
    first.settings["worker_url"] = second.url  # as a load balancer would be
    first.stop()
    first.start()
    second.create("a", image=WORKERS, command=COMMAND, min_workers=1, max_workers=1)
    (worker,) = until(lambda: [one for one in second.workers("a") if one["state"] == "ready"], what="a worker")
    assert first.stop() == 0
    assert [(one["id"], one["state"]) for one in second.workers("a")] == [(worker["id"], "ready")]
    assert second.stop() == 0
    second.start()
    (gone,) = [one for one in second.workers("a", gone=5) if one["id"] == worker["id"]]
    assert (gone["state"], gone["reason"]) == ("gone", "server_stopping")


async def test_a_clock_that_is_off_is_refused(postgres_url: str) -> None:
    """A server whose clock is too far from the database's does not start, and is told by how much."""
    store = await PostgresStore.open(Terms(url=postgres_url))
    await check_clock(store, SystemClock())
    with pytest.raises(Conflict, match="behind the database") as caught:
        await check_clock(store, ManualClock(SystemClock().now_ms() - SKEW_MOST_MS - 500))
    assert caught.value.code == "clock_skew"


def test_an_empty_data_directory(tmp_path: Path, postgres_url: str) -> None:
    """With the database and the key for secrets a server with an empty data directory goes on where another ended: its jobs are
    there, and run with their secrets."""
    with LiveServer(tmp_path / "first", database=postgres_url) as first:
        secret = {"WORD": {"secret": "hidden"}}
        first.create("a", image=WORKERS, command=COMMAND, env=secret, max_workers=1)
        first.finished(first.run("a", {"echo": 1}))
        assert first.api.post("/api/endpoints/a/pause").status_code == 200
        waiting = first.run("a", {"echo": 2})
    key = (tmp_path / "first" / "secrets.key").read_text().strip()
    with LiveServer(tmp_path / "second", database=postgres_url, secrets_key=key) as second:
        assert second.api.post("/api/endpoints/a/resume").status_code == 200
        assert second.finished(waiting)["output"] == 2
