"""Rolling restarts under load: clients with an ordinary retry notice nothing, and every accepted job ends once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

from tests.live import KEY, PATIENCE_S, LiveServer, until
from tests.sdk.places import interpreter
from tests.server.conftest import WORKERS
from tests.server.test_kill import counts, jobs

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

COMMAND = f"{sys.executable} -u light.py"
CLIENTS = 4
CLIENTS_OF_SDKS = Path(__file__).parents[1] / "sdk" / "clients"
JOBS_BETWEEN = 25
CUT = (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)
"""What a server that stops may do to a request; a timeout is none of it."""


class Client(threading.Thread):
    """Submits a job, waits for its output, submits the next. It tries again after a cut and after 503, and allows nothing else."""

    def __init__(self, urls: Sequence[str], number: int, *, key: str = KEY) -> None:
        super().__init__(name=f"client {number}")
        self._key = key
        self._urls = urls
        self._number = number
        self._asked = 0
        self._over = threading.Event()
        self.outputs: dict[str, tuple[str, Any]] = {}
        """What each accepted job should answer, and what it did."""
        self.retries = 0
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Until told to stop; what was accepted is waited for."""
        try:
            with httpx.Client(headers={"Authorization": f"Bearer {self._key}"}, timeout=60) as http:
                while not self._over.is_set():
                    self._one(http, f"{self._number}/{len(self.outputs)}")
        except BaseException as error:
            self.error = error

    def _one(self, http: httpx.Client, text: str) -> None:
        body = {"input": {"echo": text}}
        submit = partial(self._ask, http, "POST", "/v2/load/run", json=body, headers={"Idempotency-Key": text})
        job = str(until(submit, what=f"job {text} to be accepted")["id"])
        assert job not in self.outputs, f"{text} was given the job of {self.outputs[job]}"

        def ended() -> dict[str, Any] | None:
            seen = self._ask(http, "GET", f"/v2/load/status-sync/{job}")
            return seen if seen and seen["status"] not in ("IN_QUEUE", "IN_PROGRESS") else None

        end = until(ended, what=f"the end of job {text}")
        assert end["status"] == "COMPLETED", end
        self.outputs[job] = (text, end["output"])

    def _ask(self, http: httpx.Client, method: str, path: str, **more: Any) -> dict[str, Any] | None:
        """The answer; None when it must be asked again, at the next address."""
        url = self._urls[self._asked % len(self._urls)]
        try:
            answer = http.request(method, url + path, **more)
        except CUT:
            answer = None
        if answer is not None and answer.status_code == 200:
            return dict(answer.json())
        if answer is not None:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["Retry-After"]) >= 1
        self._asked += 1
        self.retries += 1
        return None


@contextmanager
def one_port(folder: Path, database: str) -> Iterator[list[LiveServer]]:
    """Two servers behind one port."""
    with LiveServer(folder, database=database, processes=2) as both:
        yield [both]


@contextmanager
def two_ports(folder: Path, database: str) -> Iterator[list[LiveServer]]:
    """Two servers of one machine, each with a port of its own."""
    with LiveServer(folder, database=database) as first, LiveServer(folder, database=database) as second:
        yield [first, second]


def restart(servers: Sequence[LiveServer], time: int) -> None:
    """Every server, one after the other; each must answer before the next one goes."""
    if len(servers) == 1:
        (both,) = servers
        assert both.process is not None
        both.process.send_signal(signal.SIGHUP)
        until(lambda: both.log().count("rolling_restart_done") == time, what="the end of the restart")
        return
    for server in servers:
        assert server.stop() == 0
        server.start()


@pytest.mark.parametrize("set_up", [one_port, two_ports])
def test_rolling_restart_under_load(set_up: Any, tmp_path: Path, postgres_url: str) -> None:
    """Every accepted job completes with its own output, and clients see cuts and 503 at worst."""
    with set_up(tmp_path / "data", postgres_url) as servers:
        servers[-1].create("load", image=WORKERS, command=COMMAND, min_workers=3, max_workers=3, retries=10)
        urls = [server.url for server in servers]
        clients = [Client(urls, number) for number in range(CLIENTS)]
        with ExitStack() as stack:
            for client in clients:
                stack.enter_context(client)
            for time in (1, 2):
                until(partial(done, clients, sum(len(one.outputs) for one in clients) + JOBS_BETWEEN), what="jobs")
                restart(servers, time)
            until(partial(done, clients, sum(len(one.outputs) for one in clients) + JOBS_BETWEEN), what="jobs")
        check(servers[0], clients)


@pytest.mark.sdk
@pytest.mark.timeout(240)
def test_the_sdk_across_a_rolling_restart(tmp_path: Path, postgres_url: str) -> None:
    """A program on Runpod's SDK that repeats a refused submission gets every output, while all servers behind its port are replaced."""
    told, over = tmp_path / "told", tmp_path / "over"
    with one_port(tmp_path / "data", postgres_url) as (both,):
        both.create("load", image=WORKERS, command=COMMAND, min_workers=2, max_workers=2, retries=10)
        words = [f"{both.url}/v2", KEY, "load", str(over)]
        program = [interpreter("runpod-1.12.0"), str(CLIENTS_OF_SDKS / "of_runpod_patient.py"), *words]
        with told.open("wb") as out, subprocess.Popen(program, stdout=out) as client:
            try:
                until(lambda: client.poll() is not None or _told(told) >= 5, what="jobs")
                restart([both], 1)
                goal = _told(told) + 5
                until(lambda: client.poll() is not None or _told(told) >= goal, what="jobs after the restart")
            finally:
                over.touch()
            assert client.wait(timeout=2 * PATIENCE_S) == 0
        seen = [json.loads(line) for line in told.read_text().splitlines()]
        assert [one["output"] for one in seen] == [one["text"] for one in seen]
        found = {job["id"]: job["state"] for job in jobs(both)}
        assert {one["id"] for one in seen} <= found.keys()
        # A submission whose answer was cut off may have been accepted: then its job ran too.
        assert set(found.values()) == {"completed"}
        assert len(found) - len(seen) <= sum(one["retries"] for one in seen)


def _told(file: Path) -> int:
    return file.read_text().count("\n")


def done(clients: Sequence[Client], goal: int) -> bool:
    """Whether so many jobs have ended; fails at once when a client did."""
    for client in clients:
        if client.error is not None:
            raise client.error
    return sum(len(client.outputs) for client in clients) >= goal


def check(live: LiveServer, clients: Sequence[Client]) -> None:
    assert [client.error for client in clients] == [None] * len(clients)
    seen = {job: pair for client in clients for job, pair in client.outputs.items()}
    assert all(output == text for text, output in seen.values())
    print(f"{len(seen)} jobs, {sum(client.retries for client in clients)} retries")
    found = {job["id"]: job["state"] for job in jobs(live)}
    assert found == dict.fromkeys(seen, "completed")
    assert counts(live)["completed"] == len(seen)
