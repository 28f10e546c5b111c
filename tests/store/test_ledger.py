"""Following the ledger: every line once, in the order of commits."""

from __future__ import annotations

import asyncio

import pytest

from stoker.ids import JobId, TeamId
from stoker.store import Decision, Store
from stoker.store.ledger import SLACK_MS, START, LedgerLine, Position, tell_endpoint
from tests.store.records import (
    ENDPOINT,
    NOW,
    OTHER_TEAM,
    RETENTION_MS,
    TEAM,
    WORKER,
    cancel,
    finish,
    hire,
    run,
    submit,
)

ALL = 10_000


async def lines(store: Store, after: Position = START, *teams: TeamId) -> list[LedgerLine]:
    """What there is to read now."""
    found = await store.ledger.read(after, teams=teams or (TEAM,), limit=ALL)
    assert not found.more
    return list(found.lines)


async def tell(store: Store, kind: str, *, at_ms: int = NOW) -> None:
    """A line about the endpoint, with its latest decision."""
    decision = Decision(endpoint=ENDPOINT, at_ms=at_ms, reason="at_max", text="no more", wanted=3)
    line = tell_endpoint(
        at_ms=at_ms, team=TEAM, endpoint=ENDPOINT, kind=kind, state="active", reason="at_max", text="no more", wanted=3
    )
    await store.workers.record(decision, line)


async def test_the_life_of_a_job(store: Store) -> None:
    """A line says whose it is, what it is about and all that the story says, the job by its id."""
    await hire(store)
    since = await store.ledger.end()
    job = await run(store)
    await finish(store, job)
    submitted, claimed, finished = await lines(store, since)
    assert [line.kind for line in (submitted, claimed, finished)] == ["submitted", "claimed", "finished"]
    assert {(line.team, line.endpoint, line.job) for line in (submitted, claimed, finished)} == {
        (TEAM, ENDPOINT, job.id)
    }
    assert (submitted.worker, claimed.worker, claimed.attempt) == (None, WORKER, 1)
    assert (finished.state, finished.reason, finished.at_ms) == ("completed", "handler_returned", NOW)


async def test_lines_about_workers_and_endpoints(store: Store) -> None:
    """Workers and endpoints have their lines among those of jobs; a decision says how many workers are wanted."""
    since = await store.ledger.end()
    await hire(store)
    await tell(store, "decision")
    decided, ready, decision = await lines(store, since)
    assert [(line.worker, line.job, line.kind) for line in (decided, ready)] == [
        (WORKER, None, "decided"),
        (WORKER, None, "ready"),
    ]
    assert (decision.job, decision.worker, decision.state, decision.reason) == (None, None, "active", "at_max")
    assert (decision.wanted, decision.text) == (3, "no more")


async def test_going_on(store: Store) -> None:
    """Whoever goes on from where it stopped gets every line once, whatever the size of its looks."""
    jobs = [await submit(store) for _ in range(10)]
    after, seen = await store.ledger.end(), []
    jobs += [await submit(store) for _ in range(10)]
    while True:
        found = await store.ledger.read(after, teams=[TEAM], limit=3)
        seen += [line.job for line in found.lines]
        after = found.upto
        if not found.more:
            break
    assert seen == [job.id for job in jobs[10:]]
    assert await lines(store, after) == []
    last = await submit(store)
    assert [line.job for line in await lines(store, after)] == [last.id]


async def test_positions_of_lines(store: Store) -> None:
    """The position of a line is after it: from there the next one follows."""
    for _ in range(5):
        await submit(store)
    every = await lines(store)
    for number, line in enumerate(every):
        assert await lines(store, line.position) == every[number + 1 :]


async def test_teams_apart(store: Store) -> None:
    """A look shows the teams that it is for, and passes over the others."""
    mine = await submit(store)
    theirs = await submit(store, team=OTHER_TEAM)
    assert [line.job for line in await lines(store)] == [mine.id]
    assert [line.job for line in await lines(store, START, TEAM, OTHER_TEAM)] == [mine.id, theirs.id]
    found = await store.ledger.read(START, teams=[OTHER_TEAM], limit=1)
    assert (list(found.lines), found.more) == ([], True)
    assert [line.job for line in await lines(store, found.upto, OTHER_TEAM)] == [theirs.id]


async def test_written_side_by_side(store: Store) -> None:
    """Lines that are written while somebody reads reach it all the same, each once."""
    after = await store.ledger.end()
    seen: list[JobId | None] = []
    writing = [asyncio.ensure_future(submit(store)) for _ in range(50)]
    while len(seen) < len(writing):
        await asyncio.sleep(0)  # a store on the calling thread lets nobody else run by itself
        found = await store.ledger.read(after, teams=[TEAM], limit=7)
        seen += [line.job for line in found.lines]
        after = found.upto
    assert sorted(str(job) for job in seen) == sorted(job.id for job in await asyncio.gather(*writing))


async def test_around_a_time(store: Store) -> None:
    """Between two places lie all lines of some time, though lines lie a little out of order; what is far from it does not."""
    for minutes in (0, 10, 20, 30, 40):
        await tell(store, f"told-{minutes}", at_ms=NOW + minutes * 60_000)
    begin, end = await store.ledger.around(NOW + 15 * 60_000, NOW + 25 * 60_000)
    assert end is not None
    between = [line.kind for line in await lines(store, begin) if line.position <= end]
    assert between == ["told-20", "told-30"]
    begin, end = await store.ledger.around(NOW + 20 * 60_000 + SLACK_MS, NOW + 40 * 60_000)
    assert [line.kind for line in await lines(store, begin)] == ["told-20", "told-30", "told-40"]
    assert end is None
    assert (await store.ledger.around(NOW, NOW))[0] == START


async def test_numbers_are_not_given_twice(store: Store) -> None:
    """Who has seen the last line misses nothing, though retention has meanwhile removed everything before."""
    job = await submit(store)
    await cancel(store, job)
    after = await store.ledger.end()
    assert await store.jobs.prune(NOW + RETENTION_MS, 10) == 1
    assert await lines(store) == []
    later = [await submit(store) for _ in range(3)]
    assert [line.job for line in await lines(store, after)] == [one.id for one in later]


async def test_lines_about_endpoints_grow_old(store: Store) -> None:
    """Lines about endpoints are forgotten by their age, a bounded number at once; those of jobs go with the job."""
    for number in range(4):
        await tell(store, f"told-{number}", at_ms=NOW + number)
    job = await submit(store)
    assert await store.ledger.prune(NOW + 3, 2) == 2
    assert await store.ledger.prune(NOW + 3, 2) == 1
    assert await store.ledger.prune(NOW + 3, 2) == 0
    assert [(line.kind, line.job) for line in await lines(store)] == [("told-3", None), ("submitted", job.id)]


async def test_the_end_of_old_lines(store: Store) -> None:
    """Though the newest line of all is forgotten, who has seen it misses nothing, and forgetting comes to an end."""
    await tell(store, "told")
    after = await store.ledger.end()
    await store.ledger.prune(NOW + 1, 10)
    assert await store.ledger.prune(NOW + 1, 10) == 0
    assert await lines(store) == []
    await tell(store, "later")
    assert [line.kind for line in await lines(store, after)] == ["later"]


@pytest.mark.parametrize(
    "text", ["", "1", "-", "1-", "-1", "1-2-3", "0x1-2", " 1-2", "1-2 ", "+1-2", "1_0-2", "\u0661-2", "9" * 19 + "-1"]
)
def test_what_is_no_position(text: str) -> None:
    """Only what was given out is taken back."""
    with pytest.raises(ValueError, match="no position"):
        Position.parse(text)


@pytest.mark.parametrize("position", [START, Position(3, 4), Position(10**18 - 1, 10**18 - 1)])
def test_positions_as_texts(position: Position) -> None:
    """A position survives being written down."""
    assert Position.parse(str(position)) == position
    assert Position.parse("0") == START
