"""Metering through power cuts: on each database a server, its workers, and PostgreSQL itself are killed while jobs run, and the ledger of
usage holds every second of every worker once.

Moments are drawn from `random`, which pytest-randomly seeds: run again with the seed in the header, `-p randomly_seed=…`.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from stoker.chaos.cluster import Cluster
from tests.live import LiveServer, until
from tests.postgres import cluster
from tests.server.conftest import WORKERS
from tests.server.test_kill import Client, counts, enough, workers

pytestmark = pytest.mark.slow

COMMAND = f"{sys.executable} -u light.py"
KILLS = 3
PRICE = 3_600.0
"""Per hour: a second costs 1."""
SPECIFICATIONS = json.dumps([{"id": "cpu", "slots": 8, "price_per_hour": PRICE}])


@pytest.fixture
def durable() -> Iterator[Cluster]:
    """A PostgreSQL that may be killed."""
    with cluster(durable=True) as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def struck(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[LiveServer, Callable[[], None]]]:
    """A server on each database, and how its database is killed and comes back."""
    more: dict[str, Any] = {"specifications": SPECIFICATIONS}
    made: Cluster | None = request.getfixturevalue("durable") if request.param == "postgres" else None
    if made is not None:
        more["database"] = made.url()

    def restart() -> None:
        if made is not None:  # SQLite goes with the server
            made.kill()
            made.start()

    with LiveServer(tmp_path / "data", **more) as live:
        yield live, restart


@pytest.mark.timeout(300)
def test_every_second_is_counted_once(struck: tuple[LiveServer, Callable[[], None]]) -> None:
    """After power cuts at any moment the ledger of usage holds for all workers together what their stories say, to the millisecond, and
    costs what that costs; no second is in it twice, and none is missing."""
    live, restart = struck
    live.create("load", image=WORKERS, command=COMMAND, min_workers=2, max_workers=2, retries=10)
    with Client(live, 0) as client:
        for _ in range(KILLS):
            goal = len(client.accepted) + random.randint(10, 60)
            until(partial(enough, [client], goal), what=f"{goal} accepted jobs")
            for victim in random.sample(workers(live), k=random.randint(0, 1)):
                with suppress(psutil.NoSuchProcess):
                    victim.kill()
            live.kill()
            restart()
            live.start()
    until(lambda: counts(live)["queued"] + counts(live)["running"] == 0, what="the queue to run empty")
    live.api.patch("/api/endpoints/load", json={"min_workers": 0})
    for one in live.workers("load"):
        live.api.post(f"/api/workers/{one['id']}/stop", json={"now": True})
    until(lambda: not live.workers("load"), what="all workers to be gone")
    wanted_ms = sum(up_ms(live, one["id"]) for one in live.workers("load", gone=100))

    def whole() -> dict[str, Any] | None:
        found = dict(live.api.get("/api/usage", params={"by": "hour"}).json()["total"])
        return found if round((found["running_s"] + found["idle_s"]) * 1000) >= wanted_ms else None

    total = until(whole, what="all of it to be in the ledger")
    assert round((total["running_s"] + total["idle_s"]) * 1000) == wanted_ms
    assert total["cost"] == pytest.approx(wanted_ms / 1000)
    assert total["running_s"] > 0


def up_ms(live: LiveServer, worker: str) -> int:
    """For how long the worker's time counted, as its story says; nothing when it never took."""
    story = live.api.get(f"/api/workers/{worker}").json()["story"]
    moments: dict[str, int] = {}
    for line in story:
        moments.setdefault(line["state"], line["at_ms"])
    if "ready" not in moments:
        return 0
    return moments.get("stopping", moments["gone"]) - moments["ready"]
