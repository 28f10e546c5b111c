"""The load generator of the contest: clients that submit a job and poll until its output is in their hands.

A process of its own, started by `measure.py`, with an `Order` as JSON on stdin and one answer on stdout. Its connections are
those of `benchmarks/load.py`: raw HTTP/1.1, cheap enough to be lost beside any contestant; the share of a core that it used
is part of the answer.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec
import uvloop

from benchmarks.load import Caller, Connection
from benchmarks.peers.speech import TEXT, Speech, Stage

STRAGGLERS_S: Final = 20.0
"""How long the jobs under way at the end of a measurement may take."""
REFUSED_PAUSE_S: Final = 0.05
TRY_AGAIN_S: Final = 0.1
ANSWER_S: Final = 10.0
RUNNING: Final = "running"
"""What `crash` says on stderr when all its clients are connected."""


class Order(msgspec.Struct, kw_only=True):
    """What to do, and to whom."""

    do: str
    """`load`, `crash`, `ready` or `missing`: a function below."""
    port: int
    speech: Speech
    clients: int = 1
    seconds: float = 1.0
    """For `ready` and `missing`: the patience."""
    warm_s: float = 0.5
    poll_s: float = 0.02
    """Between two questions for the same job; the first follows the submit at once."""
    pause_s: float = 0.0
    """Between the jobs of one client: anything up to this, so that they do not march in step with a worker that polls."""
    seed: int = 1
    jobs: list[str] = []
    """For `missing`."""


class Seen(msgspec.Struct, kw_only=True):
    """What the clients saw."""

    jobs: int = 0
    seconds: float = 1.0
    own_cpu_s: float = 0.0
    total_s: list[float] = []
    """Of every job, from sending the submit to having the output."""
    polls: int = 0
    """Questions that came too early."""
    refused: int = 0
    """Submits that were answered with an error."""
    finished: list[str] = []
    """For `crash`: jobs whose output was seen."""
    unfinished: list[str] = []
    """For `crash`: jobs that were accepted, and no more was heard."""


class Traffic:
    """What the clients know together."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.submission = order.speech.submission()
        self.text = TEXT.encode()
        self.seconds: list[float] = []
        self.finished: list[str] = []
        self.unfinished: set[str] = set()
        self.polls = self.refused = 0
        self.chance = Random(order.seed)
        self.active = order.clients
        self.clients: list[Client] = []
        self.stopping = False
        self.quiet = asyncio.Event()
        """Set when all clients have left."""
        self.trouble: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Resolved by the first connection that is lost, with the reason as an exception."""
        self.trouble.add_done_callback(lambda trouble: trouble.exception())  # nobody has to look at it

    def leave(self) -> None:
        """A client has no job any more and takes no new one."""
        self.active -= 1
        if self.active == 0:
            self.quiet.set()

    def close(self) -> None:
        """Hang up everywhere."""
        for client in self.clients:
            client.close()

    def fail(self, reason: str) -> None:
        """Something that no contestant should do; ends the measurement."""
        if not self.trouble.done():
            self.trouble.set_exception(ConnectionError(reason))


class Client(Connection):
    """Submits, polls, and begins again."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self._traffic = traffic
        self._speech = traffic.order.speech
        self._job = ""
        self._fetching = False
        self._began_s = 0.0

    def start(self) -> None:
        """Submit."""
        if self._traffic.stopping:
            self._traffic.leave()
            return
        self._job = ""
        self._began_s = time.perf_counter()
        self.send(self._traffic.submission)

    def answered(self, status: int, body: bytes) -> None:
        """Of the submit, a status, or the output."""
        if not self._job:
            self._submitted(status, body)
        elif self._fetching:
            self._done(body)
        else:
            self._looked(status, body)

    def _submitted(self, status: int, body: bytes) -> None:
        if status not in (200, 201, 202):
            self._traffic.refused += 1
            self._later(REFUSED_PAUSE_S, self.start)
            return
        self._job = self._speech.job_of(body)
        self._traffic.unfinished.add(self._job)
        self._ask()

    def _ask(self) -> None:
        self.send(self._speech.question(self._job))

    def _looked(self, status: int, body: bytes) -> None:
        stage = self._speech.stage_of(status, body)
        if stage is Stage.WAITING:
            self._traffic.polls += 1
            self._later(self._traffic.order.poll_s, self._ask)
        elif stage is Stage.UNKNOWN:
            self._traffic.fail(f"job {self._job} was answered {status}: {body[:200]!r}")
        elif self._speech.result:
            self._fetching = True
            self.send(self._speech.fetch(self._job))
        else:
            self._done(body)

    def _done(self, body: bytes) -> None:
        if self._traffic.text not in body:
            self._traffic.fail(f"the output of job {self._job} is not its input: {body[:200]!r}")
            return
        self._fetching = False
        self._traffic.seconds.append(time.perf_counter() - self._began_s)
        self._traffic.unfinished.discard(self._job)
        self._traffic.finished.append(self._job)
        self._later(self._traffic.order.pause_s * self._traffic.chance.random(), self.start)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        if seconds:
            asyncio.get_running_loop().call_later(seconds, call)
        else:
            call()

    def connection_lost(self, error: Exception | None) -> None:
        """The server is gone or hung up."""
        self._traffic.fail(f"the connection was lost: {error or 'closed by the server'}")


async def _open(order: Order) -> Traffic:
    """The clients, at work."""
    traffic = Traffic(order)
    loop = asyncio.get_running_loop()
    for _ in range(order.clients):
        _, client = await loop.create_connection(lambda: Client(traffic), "127.0.0.1", order.port)
        traffic.clients.append(client)
    return traffic


async def _unless_trouble(traffic: Traffic, seconds: float) -> None:
    """Let `seconds` pass; raise the trouble that comes in them."""
    await asyncio.wait([traffic.trouble], timeout=seconds)
    if traffic.trouble.done():
        traffic.trouble.result()


async def load(order: Order) -> Seen:
    """Jobs for `seconds`, after `warm_s` that are not counted; then the jobs under way end."""
    traffic = await _open(order)
    try:
        return await _measured(traffic, order)
    finally:
        traffic.close()


async def _measured(traffic: Traffic, order: Order) -> Seen:
    await _unless_trouble(traffic, order.warm_s)
    traffic.seconds.clear()
    traffic.polls = traffic.refused = 0
    began_s, own_s = time.perf_counter(), time.process_time()
    await _unless_trouble(traffic, order.seconds)
    seen = Seen(
        jobs=len(traffic.seconds),
        seconds=time.perf_counter() - began_s,
        own_cpu_s=time.process_time() - own_s,
        total_s=traffic.seconds.copy(),
        polls=traffic.polls,
        refused=traffic.refused,
    )
    traffic.stopping = True
    await asyncio.wait_for(traffic.quiet.wait(), STRAGGLERS_S)
    return seen


async def crash(order: Order) -> Seen:
    """Jobs until the server is gone, `seconds` at most."""
    traffic = await _open(order)
    print(RUNNING, file=sys.stderr, flush=True)
    await asyncio.wait([traffic.trouble], timeout=order.seconds)
    assert traffic.trouble.done(), "the server was not killed"
    return Seen(finished=traffic.finished, unfinished=sorted(traffic.unfinished))


async def ready(order: Order) -> float:
    """Wait until one job goes through; how many seconds that took.

    Raises TimeoutError after `seconds`, with what was last seen.
    """
    began_s, last = time.perf_counter(), "nothing"
    while time.perf_counter() - began_s < order.seconds:
        try:
            last = await asyncio.wait_for(_one_job(order), order.seconds)
        except (OSError, TimeoutError) as error:
            last = f"{type(error).__name__}: {error}"
        if not last:
            return time.perf_counter() - began_s
        await asyncio.sleep(TRY_AGAIN_S)
    raise TimeoutError(f"no job was completed within {order.seconds:g} s of starting; last seen: {last}")


async def _one_job(order: Order) -> str:
    """One job on a connection of its own: empty, or what its submit was answered instead of an id."""
    traffic = Traffic(order)
    traffic.active = 1
    _, client = await asyncio.get_running_loop().create_connection(lambda: Client(traffic), "127.0.0.1", order.port)
    try:
        while not traffic.finished:
            if traffic.refused:
                return "the submit was refused"
            await _unless_trouble(traffic, 0.02)
    finally:
        traffic.stopping = True
        client.close()
    return ""


async def missing(order: Order) -> list[str]:
    """Ask for `jobs` for up to `seconds`; those that were not completed. Unknown ones are not waited for."""
    lost: list[str] = []
    waiting = order.jobs
    deadline_s = time.perf_counter() + order.seconds
    _, caller = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", order.port)
    try:
        while waiting:
            stages = [(job, await _stage(caller, order, job)) for job in waiting]
            lost += [job for job, stage in stages if stage is Stage.UNKNOWN]
            waiting = [job for job, stage in stages if stage is Stage.WAITING]
            if time.perf_counter() > deadline_s:
                break
            await asyncio.sleep(TRY_AGAIN_S if waiting else 0)
    finally:
        caller.close()
    return lost + waiting


async def _stage(caller: Caller, order: Order, job: str) -> Stage:
    status, body = await asyncio.wait_for(caller.ask(order.speech.question(job)), ANSWER_S)
    return order.speech.stage_of(status, body)


WORK: Final = {work.__name__: work for work in (load, crash, ready, missing)}


def main() -> None:
    """One order from stdin, one answer to stdout; trouble is one line on stderr."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            answer: object = runner.run(WORK[order.do](order))
    except (OSError, TimeoutError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
