"""The load generator: submitters and workers on raw HTTP/1.1 connections, in a process of its own.

Started by `rig.py`, which writes one `Order` as JSON to stdin and reads one answer from stdout. It has to be much cheaper than
any server it measures: requests are bytes made beforehand, answers are searched for the few bytes that matter, and the parts
under load call each other without tasks or futures.

One job is four requests: submit, take, finish, and one status after the finish was answered.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
import uvloop

from benchmarks.figures import Spread, cpu_s

PATIENCE_S: Final = 60.0
RETRY_S: Final = 0.005
"""Pause after a status that is not final yet. It counts as visible late."""

Link = TypeVar("Link", bound="Connection")


class Order(msgspec.Struct, kw_only=True):
    """What to do, and to whom."""

    do: str
    """`load`, `crash`, `drain`, `hold` or `backlog`: a function below."""
    port: int
    key: str
    submit: str
    """Path of the dialect's `/run`."""
    status: str
    """Path of its `/status/`, to which the job's id is added."""
    stats: str = ""
    workers: list[tuple[str, str]] = []
    """Path and query of each worker's take, and of its result with `$ID` for the job."""
    submitters: int = 1
    takes: int = 1
    """Connections of workers; they are spread over the workers."""
    body_bytes: int = 300
    seconds: float = 1.0
    warm_s: float = 0.3
    pause_s: float = 0.0
    """Between the jobs of one submitter."""
    pid: int = 0
    """The server, whose CPU time is measured."""
    jobs: list[str] = []
    """For `drain`: the jobs that were accepted."""


class Loaded(msgspec.Struct, kw_only=True):
    """What `load` and `crash` saw. Times are milliseconds since the submit was sent."""

    jobs: int = 0
    seconds: float = 1.0
    cpu_s: float = 0.0
    own_cpu_s: float = 0.0
    """What the generator itself used."""
    accepted_ms: Spread = Spread()
    delivered_ms: Spread = Spread()
    completed_ms: Spread = Spread()
    polls: int = 0
    """Status requests that came too early."""
    refused: int = 0
    """Answers other than 200 and 204."""
    accepted: list[str] = []
    """For `crash`: every job that was answered with 200."""

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one open request."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._buffer = bytearray()
        self._need = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self.start()

    def send(self, request: bytes) -> None:
        """Send a whole request."""
        self._transport.write(request)

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Answers that come in one piece, as nearly all do, are not copied."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need:
                return
            data = bytes(self._buffer)
        end = data.find(b"\r\n\r\n") + 4
        size = 0
        if end > 3:
            mark = data.find(b"content-length: ", 0, end)
            size = int(data[mark + 16 : data.index(b"\r", mark)]) if mark >= 0 else 0
        if end <= 3 or len(data) < end + size:
            self._need = end + size
            if not self._buffer:
                self._buffer += data
            return
        if self._buffer:
            self._buffer = bytearray()
        self.answered(int(data[9:12]), data[end:])

    def start(self) -> None:
        """The connection stands."""

    def answered(self, status: int, body: bytes) -> None:
        """An answer is complete."""


def request(method: str, path: str, *, key: str = "", body: bytes | None = None) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def _id_of(body: bytes) -> str:
    """The job in an answer that begins with `{"id":"…"`."""
    return body[7 : body.index(b'"', 7)].decode()


class Traffic:
    """What submitters and workers know together, and what was measured."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.filler = b"x" * order.body_bytes
        self.run = request("POST", order.submit, key=order.key, body=b'{"input":{"text":"' + self.filler + b'"}}')
        self.waiting: dict[str, Submitter] = {}
        self.finished: set[str] = set()
        self.delivered_s: dict[str, float] = {}
        self.times: list[tuple[float, float, float]] = []
        self.accepted: list[str] = []
        self.polls = 0
        self.refused = 0
        self.submitting = order.submitters
        self.lost = asyncio.Event()
        self.stopping = False
        self.quiet = asyncio.Event()
        """Set once the last job has ended after `stopping` was."""

    def leave(self) -> None:
        """A submitter stops."""
        self.submitting -= 1
        if self.submitting == 0:
            self.quiet.set()

    def finish(self, job: str) -> None:
        """A worker's result was acknowledged; its submitter may not have read the answer of its submit yet."""
        submitter = self.waiting.pop(job, None)
        if submitter is None:
            self.finished.add(job)
        else:
            submitter.look()


class Submitter(Connection):
    """Submits a job, asks for it when it is finished, submits the next."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self._traffic = traffic
        self._job = ""
        self._look = b""
        self._started_s = self._accepted_s = 0.0

    def start(self) -> None:
        """Submit."""
        if self._traffic.stopping:
            self._traffic.leave()
            return
        self._job = ""
        self._started_s = time.perf_counter()
        self.send(self._traffic.run)

    def answered(self, status: int, body: bytes) -> None:
        """Of the submit or of a status."""
        if status != 200:
            self._traffic.refused += 1
            asyncio.get_running_loop().call_later(RETRY_S, self.start)
        elif not self._job:
            self._accepted(body)
        elif b'"COMPLETED"' in body[:300]:
            self._done()
        else:
            self._traffic.polls += 1
            asyncio.get_running_loop().call_later(RETRY_S, self.look)

    def _accepted(self, body: bytes) -> None:
        self._accepted_s = time.perf_counter()
        self._job = job = _id_of(body)
        order = self._traffic.order
        if order.do == "crash":
            self._traffic.accepted.append(job)
        self._look = request("GET", order.status + job, key=order.key)
        if job in self._traffic.finished:
            self._traffic.finished.discard(job)
            self.look()
        else:
            self._traffic.waiting[job] = self

    def look(self) -> None:
        """Ask for the job."""
        self.send(self._look)

    def _done(self) -> None:
        now_s, began_s = time.perf_counter(), self._started_s
        delivered_s = self._traffic.delivered_s.pop(self._job, now_s)
        self._traffic.times.append((self._accepted_s - began_s, delivered_s - began_s, now_s - began_s))
        if self._traffic.order.pause_s:
            asyncio.get_running_loop().call_later(self._traffic.order.pause_s, self.start)
        else:
            self.start()

    def connection_lost(self, error: Exception | None) -> None:
        """The server is gone, or we hung up."""
        self._traffic.lost.set()


class Worker(Connection):
    """Takes a job, finishes it with an output as large as the input, takes the next."""

    def __init__(self, traffic: Traffic, take: str, done: str) -> None:
        super().__init__()
        self._traffic = traffic
        self._take = request("GET", f"{take}&job_in_progress=0")
        self._job = ""
        body = b'{"output":{"text":"' + traffic.filler + b'"}}'
        self._before, self._after = request("POST", done, body=body).split(b"$ID", 1)

    def start(self) -> None:
        """Take."""
        self._job = ""
        self.send(self._take)

    def answered(self, status: int, body: bytes) -> None:
        """Of a take or of a result."""
        if self._job:
            if self._traffic.order.do != "drain":
                self._traffic.finish(self._job)
            self.start()
        elif status == 200:
            self._job = job = _id_of(body)
            self._traffic.delivered_s[job] = time.perf_counter()
            self.send(self._before + job.encode() + self._after)
        elif status == 204:
            self.start()
        else:
            self._traffic.refused += 1
            asyncio.get_running_loop().call_later(1, self.start)


class Caller(Connection):
    """A connection for callers that await one answer after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body."""
        self._answer = asyncio.get_running_loop().create_future()
        self.send(request)
        return await self._answer

    def answered(self, status: int, body: bytes) -> None:
        """Hand it over."""
        assert self._answer is not None
        self._answer.set_result((status, body))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the open request."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server hung up"))


async def _connect(order: Order, make: Callable[[], Link]) -> Link:
    _, connection = await asyncio.get_running_loop().create_connection(make, "127.0.0.1", order.port)
    return connection


async def _open_workers(traffic: Traffic) -> Sequence[Worker]:
    order = traffic.order
    pairs = [order.workers[number % len(order.workers)] for number in range(order.takes)]
    return [await _connect(order, lambda pair=pair: Worker(traffic, *pair)) for pair in pairs]  # type: ignore[misc]  # mypy cannot infer a lambda with a default


async def _open_submitters(traffic: Traffic) -> Sequence[Submitter]:
    return [await _connect(traffic.order, lambda: Submitter(traffic)) for _ in range(traffic.order.submitters)]


def _summary(traffic: Traffic, seconds: float, server_cpu_s: float, own_cpu_s: float) -> Loaded:
    accepted, delivered, completed = zip(*traffic.times, strict=True) if traffic.times else ((), (), ())
    return Loaded(
        jobs=len(traffic.times),
        seconds=seconds,
        cpu_s=server_cpu_s,
        own_cpu_s=own_cpu_s,
        accepted_ms=Spread.of(accepted),
        delivered_ms=Spread.of(delivered),
        completed_ms=Spread.of(completed),
        polls=traffic.polls,
        refused=traffic.refused,
        accepted=traffic.accepted,
    )


async def load(order: Order) -> Loaded:
    """Jobs for `seconds`, after `warm_s` that are not counted."""
    traffic = Traffic(order)
    await _open_workers(traffic)
    await _open_submitters(traffic)
    await asyncio.sleep(order.warm_s)
    traffic.times.clear()
    began_s, cpu, own = time.perf_counter(), cpu_s(order.pid), time.process_time()
    await asyncio.sleep(order.seconds)
    seconds, used_s, own_s = time.perf_counter() - began_s, cpu_s(order.pid) - cpu, time.process_time() - own
    summary = _summary(traffic, seconds, used_s, own_s)
    traffic.stopping = True  # and let the jobs under way end: the next round shall start with an empty queue
    await asyncio.wait_for(traffic.quiet.wait(), PATIENCE_S)
    return summary


async def crash(order: Order) -> Loaded:
    """Jobs until the server is gone: what it had accepted until then."""
    traffic = Traffic(order)
    await _open_workers(traffic)
    await _open_submitters(traffic)
    print("running", file=sys.stderr, flush=True)
    await asyncio.wait_for(traffic.lost.wait(), PATIENCE_S)
    return _summary(traffic, 1, 0, 0)


async def drain(order: Order) -> list[str]:
    """Work until every one of `jobs` is completed; those that never are."""
    traffic = Traffic(order)
    await _open_workers(traffic)
    caller = await _connect(order, Caller)
    missing = order.jobs
    deadline_s = time.perf_counter() + PATIENCE_S
    while missing and time.perf_counter() < deadline_s:
        missing = [job for job in missing if not await _completed(caller, order, job)]
        await asyncio.sleep(0.1)
    return missing


async def _completed(caller: Caller, order: Order, job: str) -> bool:
    status, body = await caller.ask(request("GET", order.status + job, key=order.key))
    return status == 200 and b'"COMPLETED"' in body[:300]


async def hold(order: Order) -> None:
    """Open `takes` that find nothing, and hold them for `seconds`."""
    await _open_workers(Traffic(order))
    await asyncio.sleep(order.seconds)


async def backlog(order: Order) -> dict[str, Spread]:
    """One request after the other on a queue that is as long before as after: submit, take, finish, stats.

    The worker takes the oldest job while the submitted one goes to the end.
    """
    traffic = Traffic(order)
    caller = await _connect(order, Caller)
    take_path, done_path = order.workers[0]
    take = request("GET", f"{take_path}&job_in_progress=0")
    stats = request("GET", order.stats, key=order.key)
    times: dict[str, list[float]] = {"submit": [], "take": [], "finish": [], "stats": []}

    async def timed(name: str, what: bytes) -> bytes:
        began_s = time.perf_counter()
        status, body = await caller.ask(what)
        times[name].append(time.perf_counter() - began_s)
        assert status == 200, f"{name} was answered {status}: {body[:200]!r}"
        return body

    until_s = time.perf_counter() + order.seconds
    while time.perf_counter() < until_s:
        await timed("submit", traffic.run)
        job = _id_of(await timed("take", take))
        await timed("finish", request("POST", done_path.replace("$ID", job), body=b'{"output":1}'))
        await timed("stats", stats)
    return {name: Spread.of(some) for name, some in times.items()}


async def first_take(order: Order) -> float:
    """Wait for a server to listen and to answer a take with a job; the moment of the answer, by the monotonic clock."""
    take = request("GET", f"{order.workers[0][0]}&job_in_progress=0")
    deadline_s = time.perf_counter() + PATIENCE_S
    while time.perf_counter() < deadline_s:
        try:
            caller = await _connect(order, Caller)
            status, body = await caller.ask(take)
            answered_s = time.monotonic()
        except OSError:
            await asyncio.sleep(0.002)
            continue
        if status == 200:
            await caller.ask(request("POST", order.workers[0][1].replace("$ID", _id_of(body)), body=b'{"output":1}'))
            return answered_s
    raise TimeoutError("no take was answered with a job")


WORK: Final = {work.__name__: work for work in (load, crash, drain, hold, backlog, first_take)}


def main() -> None:
    """One order from stdin, one answer to stdout."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answer: object = runner.run(WORK[order.do](order))
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
