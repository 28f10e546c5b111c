"""The comparison with other queues: what its parts say without running anybody."""

from __future__ import annotations

import asyncio
import string
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from benchmarks.peers import client, lineup
from benchmarks.peers.client import Order, Seen
from benchmarks.peers.lineup import Contestant
from benchmarks.peers.measure import Crash, Failed, Turn, read_answer
from benchmarks.peers.speech import BODY, BODY_BYTES, TEXT, Speech, Stage
from benchmarks.peers.table import Record, render

FILLED = {"bin", "apps", "port", "broker", "data", "python", "sdk"}
PINS = Path(lineup.__file__).parent / "pins"


def seen(*, jobs: int, total_s: tuple[float, ...]) -> Seen:
    """One second of a generator."""
    return Seen(jobs=jobs, seconds=1.0, own_cpu_s=0.25, total_s=list(total_s))


# ── how they are spoken to ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_body_has_its_size() -> None:
    """Every contestant gets the same 300 bytes of JSON."""
    assert len(BODY) == BODY_BYTES
    assert msgspec.json.decode(BODY) == {"input": {"text": TEXT}}


def test_a_job_is_found_in_the_answer() -> None:
    """The id is read from the field that the contestant has for it, with or without spaces around it."""
    assert Speech().job_of(b'{"status":"IN_QUEUE", "id": "a-1"}') == "a-1"
    assert Speech(id_field="task_id").job_of(b'{"task_id":"b2","status":"in_progress"}') == "b2"


def test_an_answer_without_a_job_is_an_error() -> None:
    """Something else than a job is not polled for."""
    with pytest.raises(ValueError, match="not found"):
        Speech().job_of(b'{"detail":"no"}')


@pytest.mark.parametrize(
    ("status", "body", "stage"),
    [
        (200, b'{"id":"a","status":"IN_QUEUE"}', Stage.WAITING),
        (200, b'{"id":"a","status":"COMPLETED","output":1}', Stage.COMPLETED),
        (200, b'{"id":"a","status":"FAILED","error":"Job ID not found"}', Stage.UNKNOWN),
        (404, b'{"detail":"no such job"}', Stage.UNKNOWN),
        (503, b"", Stage.WAITING),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, stage: Stage) -> None:
    """Only a word or a 404 ends the waiting; a server in trouble is asked again."""
    assert Speech().stage_of(status, body) is stage


# ── the generator ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Echo:
    """A server of three requests: every job is found unfinished once, then completed."""

    def __init__(self, output: str) -> None:
        self.output = output
        self.open = self.submitted = 0
        self.asked: set[str] = set()
        self.gone = asyncio.Event()
        """The last client has hung up."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until the client hangs up."""
        self.open += 1
        with suppress(asyncio.IncompleteReadError, ConnectionResetError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0] or 0)
                await reader.readexactly(length)
                body = self.answer(*head.decode().split()[:2])
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()
        self.open -= 1
        if self.open == 0:
            self.gone.set()

    def answer(self, method: str, path: str) -> bytes:
        """Of a submit or a status."""
        if method == "POST":
            self.submitted += 1
            return msgspec.json.encode({"id": f"job-{self.submitted}", "status": "IN_QUEUE"})
        job = path.rpartition("/")[2]
        if job not in self.asked:
            self.asked.add(job)
            return msgspec.json.encode({"id": job, "status": "IN_QUEUE"})
        return msgspec.json.encode({"id": job, "status": "COMPLETED", "output": {"text": self.output}})


async def generate(server: Echo, do: str, **fields: object) -> object:
    """Run one order of the generator against it."""
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    order = Order(do=do, port=listening.sockets[0].getsockname()[1], speech=Speech())
    try:
        return await client.WORK[do](msgspec.structs.replace(order, **fields))
    finally:
        await asyncio.wait_for(server.gone.wait(), 5)
        listening.close()


async def test_a_job_is_polled_until_it_is_done() -> None:
    """A job counts when its output is there; the question that came too early is counted too."""
    server = Echo(TEXT)
    seen = await generate(server, "load", clients=2, seconds=0.2, warm_s=0.0, poll_s=0.001)
    assert isinstance(seen, Seen)
    assert 0 < seen.jobs == len(seen.total_s) <= server.submitted
    assert seen.polls >= seen.jobs - 2  # those of the first jobs may have come before the counting began
    assert seen.refused == 0


async def test_an_output_that_is_not_the_input_ends_the_measurement() -> None:
    """Who does less than the others is not measured."""
    with pytest.raises(ConnectionError, match="is not its input"):
        await generate(Echo("something"), "load", seconds=5.0)


async def test_missing_jobs_are_those_that_never_complete() -> None:
    """A job that is completed late is not missing."""
    server = Echo(TEXT)
    assert await generate(server, "missing", jobs=["a", "b"], seconds=5.0) == []
    assert server.asked == {"a", "b"}


# ── their processes ───────────────────────────────────────────────────────────────────────────────────────────────────

ORPHANAGE = """
import subprocess
from benchmarks.peers import processes

processes.adopt_orphans()
broker = subprocess.Popen(["sleep", "1000"])
parent = subprocess.Popen(["sh", "-c", "setsid sleep 1000 & exec true"])
parent.wait()
before = {one.pid for one in processes.descendants()}
processes.kill(but=[broker.pid])
after = {one.pid for one in processes.descendants()}
processes.kill()
print(len(before), after == {broker.pid}, len(processes.descendants()))
"""


@pytest.mark.slow
def test_everything_but_the_broker_is_killed() -> None:
    """A process whose parent has ended is found and killed; what is spared lives until its own turn."""
    root = lineup.ROOT
    done = subprocess.run([sys.executable, "-c", ORPHANAGE], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["2", "True", "0"], done.stderr


# ── who takes part ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("one", lineup.ALL, ids=lambda one: one.name)
def test_what_is_filled_in_is_known(one: Contestant) -> None:
    """Commands and environments have no place that nobody fills."""
    texts = [
        *one.prepare,
        *(part for command in one.commands for part in command),
        *one.environment.values(),
        one.worker,
    ]
    places = {place for text in texts for _, place, _, _ in string.Formatter().parse(text) if place}
    assert places <= FILLED


@pytest.mark.parametrize("one", lineup.ALL, ids=lambda one: one.name)
def test_applications_and_pins_exist(one: Contestant) -> None:
    """Every module that a command names is there, and every environment that `make peers` makes has its pins."""
    words = " ".join([*one.prepare, *(part for command in one.commands for part in command), one.worker]).split()
    modules = {word.partition(":")[0].partition(".")[0] for word in words if word.startswith("on_")}
    assert modules
    assert all((lineup.APPS / f"{module}.py").exists() for module in modules)
    if one.home.parent.name == ".peers":
        assert (PINS / f"{one.home.name}.in").exists()
        assert (PINS / f"{one.home.name}.txt").exists()


def test_names_are_chosen() -> None:
    """A list of names keeps the order of the table; a wrong one is an error."""
    assert [one.name for one in lineup.named("arq, stoker")] == ["stoker", "arq"]
    assert lineup.named("") == lineup.ALL
    with pytest.raises(ValueError, match="nobody is called sidekiq"):
        lineup.named("sidekiq,arq")


def test_a_generator_without_an_answer_is_a_failure() -> None:
    """A generator that ends without its whole answer fails its contestant, with how it ended and its last words."""
    whole = msgspec.json.encode(seen(jobs=1, total_s=(0.5,)))
    assert read_answer(0, whole, b"running\n", Seen).jobs == 1
    for code, output, trouble, told in (
        (0, b"", b"running\n", "its answer has 0 bytes.*running"),
        (0, whole[:-1], b"", "its answer has .* bytes"),
        (-9, b"", b"", r"died \(-9\)"),
        (1, b"", b"Traceback\nOSError: gone\n", "^OSError: gone$"),
    ):
        with pytest.raises(Failed, match=told):
            read_answer(code, output, trouble, Seen)


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_shows_the_middle_of_the_rounds() -> None:
    """Rates and memory are the middle of the rounds; latencies are of all jobs; one failure does not hide the others."""
    turns = [
        Turn(load=seen(jobs=jobs, total_s=()), idle=seen(jobs=1, total_s=(total_s,)), pss_bytes=mib * 2**20)
        for jobs, total_s, mib in ((100, 0.004, 50), (300, 0.002, 70), (200, 0.250, 60))
    ]
    crash = Crash(unfinished=30, unfinished_missing=2, finished=1000, finished_missing=0)
    good = Record(label="good", kept="disk", turns=turns, crash=crash)
    bad = Record(label="bad", kept="memory", failure="it does not start")
    _, _, first, second, *rest = render([good, bad]).splitlines()
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells == ["good", "disk", "200", "4.0 ms", "250 ms", "60 MiB", "2 of 30", "0 of 1,000", "25%"]
    assert [cell.strip() for cell in second.strip("|").split("|")][:3] == ["bad", "memory", ""]
    assert rest == ["", "- bad: it does not start"]
