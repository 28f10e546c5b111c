"""Traces of jobs, from the ledger of a real database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from stoker.bookmark import CATCH_UP_MS
from stoker.errors import Unavailable
from stoker.ids import new_job_id
from stoker.job import Finished, Job, Retried
from stoker.span import Parent, Span, trace_id
from stoker.store import Store
from stoker.traces import Traces
from tests.store.records import ENDPOINT, NOW, TEAM, TTL_MS, WORKER, a_worker, cancel, finish, hire, run, submit, take


@dataclass
class Listener:
    """A collector that remembers, and can be away."""

    ratio: float = 1.0
    away: bool = False
    told: list[Span] = field(default_factory=list)

    async def tell(self, spans: Sequence[Span]) -> None:
        """Remember them."""
        if self.away:
            raise Unavailable("nobody listens")
        self.told += spans

    def tree(self) -> list[tuple[str, str | None, int, int]]:
        """Each span's name, that of the one above it, and when it was after the beginning."""
        names = {span.id: span.name for span in self.told}
        return [
            (span.name, None if span.parent is None else names.get(span.parent), span.begin_ms - NOW, span.end_ms - NOW)
            for span in self.told
        ]


@pytest.fixture
def listener() -> Listener:
    """One that is there."""
    return Listener()


@pytest.fixture
async def traces(store: Store, listener: Listener) -> Traces:
    """From now on."""
    traces = Traces(store, listener)
    await traces.look(NOW)
    return traces


async def drained(traces: Traces) -> None:
    """Everything was told that the ledger has."""
    while await traces.look(NOW):
        pass


async def test_the_life_of_a_job(store: Store, traces: Traces, listener: Listener) -> None:
    """One trace: the job; below it waiting, with the start of the worker that it waited for, and running, with the delivery."""
    job = await submit(store, id=new_job_id(NOW))
    await store.workers.add(a_worker(decided_ms=NOW + 10), alive_max=1)
    await take(store, at_ms=NOW + 300)
    await store.jobs.confirm(WORKER, [job.id], at_ms=NOW + 350, lease_ms=1_000)
    await drained(traces)
    assert listener.told == []
    await finish(store, job, at_ms=NOW + 900)
    await drained(traces)
    assert listener.tree() == [
        ("job", None, 0, 900),
        ("queued", "job", 0, 300),
        ("worker start", "queued", 10, 300),
        ("launch", "worker start", 10, 300),
        ("load", "worker start", 300, 300),
        ("running", "job", 300, 900),
        ("delivered", "running", 300, 350),
    ]
    root = listener.told[0]
    assert root.attributes == {
        "stoker.job": job.id,
        "stoker.endpoint": ENDPOINT,
        "stoker.team": TEAM,
        "stoker.state": "completed",
        "stoker.reason": "handler_returned",
        "stoker.attempts": 1,
    }
    assert {span.trace for span in listener.told} == {trace_id(job.id)}
    assert not any(span.failed for span in listener.told)


async def failed(store: Store, job: Job, at_ms: int) -> None:
    """The handler raised."""
    await store.jobs.advance(job.id, Finished(at_ms=at_ms, worker=WORKER, failed=True))


async def test_a_retry_is_a_life_of_its_own(store: Store, traces: Traces, listener: Listener) -> None:
    """A job that failed and was retried is told once for each end, under the same trace: nothing of the first life is in the second."""
    await hire(store)
    job = await run(store, at_ms=NOW)
    await failed(store, job, NOW + 100)
    await store.jobs.advance(job.id, Retried(at_ms=NOW + 200, expires_ms=NOW + TTL_MS))
    await take(store, at_ms=NOW + 300)
    await finish(store, job, at_ms=NOW + 400)
    await drained(traces)
    first, second = [span for span in listener.told if span.name == "job"]
    assert (first.begin_ms - NOW, first.end_ms - NOW, first.failed) == (0, 100, "handler_error")
    assert (second.begin_ms - NOW, second.end_ms - NOW, second.failed) == (200, 400, None)
    assert len({span.id for span in listener.told}) == len(listener.told)
    assert [begin for name, above, begin, _ in listener.tree() if name == "queued" and above] == [0, 200]


async def test_who_ends_in_the_queue(store: Store, traces: Traces, listener: Listener) -> None:
    """A job that no worker had has waited, and that is all."""
    await cancel(store, await submit(store), at_ms=NOW + 50)
    await drained(traces)
    assert listener.tree() == [("job", None, 0, 50), ("queued", "job", 0, 50)]


@pytest.mark.parametrize(("away_ms", "told"), [(CATCH_UP_MS, 1), (CATCH_UP_MS + 1, 0)])
async def test_what_ended_while_nobody_was_on_duty(
    store: Store, traces: Traces, listener: Listener, away_ms: int, told: int
) -> None:
    """Who takes over tells what ended since the last one, if that is not longer ago than a day, and nothing twice."""
    await cancel(store, await submit(store))
    await drained(traces)
    await cancel(store, await submit(store))
    listener.told.clear()
    successor = Traces(store, listener)
    while await successor.look(NOW + away_ms):
        pass
    assert sum(span.name == "job" for span in listener.told) == told


async def test_a_collector_that_is_away(store: Store, traces: Traces, listener: Listener) -> None:
    """What nobody took is told when somebody does, once."""
    await hire(store)
    await finish(store, await run(store))
    listener.away = True
    with pytest.raises(Unavailable):
        await drained(traces)
    listener.away = False
    await drained(traces)
    await drained(traces)
    assert [span.name for span in listener.told] == ["job", "queued", "running"]


async def test_a_clients_trace(store: Store, traces: Traces, listener: Listener) -> None:
    """A job that was submitted from a span belongs to that trace, below that span; what is kept of it is forgotten after its time."""
    job = await submit(store)
    await store.trace_parents.add(job.id, Parent(7, 9), NOW)
    await cancel(store, job)
    await drained(traces)
    assert {span.trace for span in listener.told} == {7}
    assert listener.told[0].parent == 9
    await traces.forget(NOW + 604_800_001)
    assert await store.trace_parents.of_jobs([job.id]) == {}


async def test_nobody_wants_to_hear(store: Store, listener: Listener) -> None:
    """Of jobs outside the share that is traced nothing is told."""
    listener.ratio = 0.0
    traces = Traces(store, listener)
    await traces.look(NOW)
    await cancel(store, await submit(store))
    await drained(traces)
    assert listener.told == []
