"""Power cuts under load: the server and its workers are killed at random moments, and every job that was accepted ends once.

Moments are drawn from `random`, which pytest-randomly seeds: run again with the seed in the header, `-p randomly_seed=…`.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx
import psutil
import pytest

from tests.live import KEY, LiveServer, until
from tests.server.conftest import WORKERS

pytestmark = pytest.mark.slow

COMMAND = f"{sys.executable} -u light.py"
KILLS = 4
JOBS_BETWEEN = (20, 120)
"""How many jobs are accepted from one power cut to the next."""
CLIENTS = 3


class Client(threading.Thread):
    """Submits one job after another until told to stop. What is not answered is sent again with the same key.

    It is impatient at times: the answer is lost although the job was accepted.
    """

    def __init__(self, live: LiveServer, number: int) -> None:
        super().__init__(name=f"client {number}")
        self._live = live
        self._number = number
        self._over = threading.Event()
        self._chance = random.Random(random.random())
        self.accepted: dict[str, str] = {}
        """What each accepted job should answer, by its id."""
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def run(self) -> None:
        """Until told to stop."""
        try:
            with httpx.Client() as http:
                while not self._over.is_set():
                    text = f"{self._number}/{len(self.accepted)}"
                    job = until(partial(self._submit, http, text), what=f"job {text} to be accepted")
                    assert job not in self.accepted, f"{text} was given the job of {self.accepted[job]}"
                    self.accepted[job] = text
        except BaseException as error:
            self.error = error

    def _submit(self, http: httpx.Client, text: str) -> str:
        """The id of the job; empty when there was nobody to answer."""
        headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": text}
        patience_s = 30 if self._chance.random() < 0.8 else 0.001
        body = {"input": {"echo": text}}
        try:
            answer = http.post(f"{self._live.url}/v2/load/run", json=body, headers=headers, timeout=patience_s)
        except httpx.TransportError:
            return ""
        assert answer.status_code in (200, 503), answer.text
        return str(answer.json()["id"]) if answer.status_code == 200 else ""

    def stop(self) -> None:
        """Finish the job that is being submitted, and no more."""
        self._over.set()
        self.join()


def workers(live: LiveServer) -> list[psutil.Process]:
    """The processes of the endpoint's workers on this machine."""
    ours = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "light.py" in process.cmdline() and str(live.data_dir) in process.cwd():
                ours.append(process)
    return ours


def jobs(live: LiveServer) -> Iterator[dict[str, Any]]:
    """All jobs of the endpoint, page by page."""
    before: dict[str, str] = {}
    while True:
        page = live.api.get("/api/endpoints/load/jobs", params={"limit": "1000", **before}).json()["jobs"]
        yield from page
        if not page:
            return
        before = {"before": page[-1]["id"]}


def test_no_accepted_job_is_lost(live: LiveServer) -> None:
    """Whatever was answered 200 is completed with its own output; no job is lost, doubled, stuck or failed."""
    live.create("load", image=WORKERS, command=COMMAND, min_workers=3, max_workers=3, retries=10)
    clients = [Client(live, number) for number in range(CLIENTS)]
    with clients[0], clients[1], clients[2]:
        for kill in range(KILLS):
            goal = sum(len(client.accepted) for client in clients) + random.randint(*JOBS_BETWEEN)
            until(partial(enough, clients, goal), what=f"{goal} accepted jobs")
            alive = workers(live)
            victims = random.sample(alive, k=min(len(alive), random.randint(0, 2)))
            print(f"power cut {kill} after {goal} jobs, with {len(victims)} of {len(alive)} workers")
            for victim in victims:
                with suppress(psutil.NoSuchProcess):
                    victim.send_signal(signal.SIGKILL)
            live.kill()
            live.start()
    expected = {job: text for client in clients for job, text in client.accepted.items()}
    until(lambda: counts(live)["queued"] + counts(live)["running"] == 0, what="the queue to run empty")
    found = {job["id"]: job for job in jobs(live)}
    assert found.keys() == expected.keys()
    ends = {job: (shown["state"], live.job(job).get("output")) for job, shown in found.items()}
    assert ends == {job: ("completed", text) for job, text in expected.items()}
    assert counts(live)["completed"] == len(expected)


def enough(clients: list[Client], goal: int) -> bool:
    """Whether so many jobs were accepted; fails at once when a client did."""
    for client in clients:
        if client.error is not None:
            raise client.error
    return sum(len(client.accepted) for client in clients) >= goal


def counts(live: LiveServer) -> dict[str, int]:
    """The endpoint's counters of jobs."""
    shown: dict[str, int] = live.api.get("/api/endpoints/load").json()["jobs"]
    return shown


def test_restart_with_nobody_left(live: LiveServer) -> None:
    """When the power cut takes the server and all workers, the jobs that ran are run again by new workers."""
    live.create("load", image=WORKERS, command=COMMAND, max_workers=2, retries=1)
    gate = live.data_dir / "gate"
    held = [live.run("load", {"hold": str(gate), "echo": number}) for number in range(2)]
    until(lambda: all(live.job(job)["state"] == "running" for job in held), what="both jobs to run")
    before = {live.job(job)["worker"] for job in held}
    live.kill()
    for process in workers(live):
        process.send_signal(signal.SIGKILL)
    gate.touch()
    live.start()
    for number, job in enumerate(held):
        done = live.finished(job)
        assert (done["state"], done["output"], done["attempt"]) == ("completed", number, 2)
        assert done["worker"] not in before


def test_killed_while_it_starts(live: LiveServer) -> None:
    """A server that is killed again and again, right after its first answer, loses nothing either."""
    live.create("load", image=WORKERS, command=COMMAND, max_workers=1, retries=10)
    accepted = []
    for number in range(3):
        accepted.append(live.run("load", {"echo": number}))
        live.kill()
        live.start()
    assert [live.finished(job)["output"] for job in accepted] == [0, 1, 2]
