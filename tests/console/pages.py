"""A server on which every page of the console shows something: what holds for all of them is tested on it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from tests.console.addresses import ADDRESSES
from tests.console.conftest import workers_of
from tests.live import LiveServer

COMMAND: Final = f"{sys.executable} -u handler.py"


@dataclass(frozen=True, kw_only=True)
class Walked:
    """A server on which every page shows something, and nothing changes by itself."""

    live: LiveServer
    job: str
    worker: str

    def path(self, page: str) -> str:
        """The address of a page."""
        return ADDRESSES[page].format(endpoint="walked", volume="walked", job=self.job, worker=self.worker)


def furnish(live: LiveServer) -> Walked:
    """Endpoints with jobs that ended well, badly, and wait; a release that was replaced; one of everything else."""
    api = live.api
    live.create("walked", image=workers_of("hello"), command=COMMAND, min_workers=1, max_workers=1)
    good = [live.run("walked", {"prompt": "x", "seconds": 0}) for _ in range(3)]
    bad = [live.run("walked", {"seconds": 0}) for _ in range(2)]
    for job in (*good, *bad):
        live.finished(job)
    (worker,) = live.workers("walked")
    live.create("halted", image=workers_of("hello"), command=COMMAND)
    api.post("/api/endpoints/halted/pause")
    for number in range(4):
        live.run("halted", number)
    api.patch("/api/endpoints/halted", json={"env": {"STYLE": "new"}})
    api.post("/api/volumes", json={"name": "walked", "size_gb": 1})
    api.put("/api/volumes/walked/files/notes.txt", content=b"notes")
    box = {"name": "walked", "registry": "127.0.0.1:9", "username": "me", "password": "hush"}
    api.post("/api/credentials", json=box)
    api.post("/api/templates", json={"name": "walked", "fields": {"slots": 2}})
    api.post("/api/keys", json={"name": "walked", "scopes": ["read"]})
    api.post("/api/members", json={"name": "walked", "role": "reader"})
    api.put("/api/budget", json={"period": "month", "refuse": 1_000})
    return Walked(live=live, job=good[0], worker=worker["id"])
