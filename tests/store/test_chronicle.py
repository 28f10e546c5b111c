"""What the log says of jobs, from the ledger of a real database."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from stoker.chronicle import Chronicle
from stoker.job import AttemptLost, Finished, JobReason
from stoker.store import Store
from tests.store.records import ENDPOINT, NOW, TEAM, TTL_MS, WORKER, finish, hire, pass_time, run, submit


async def said(store: Store, *, everything: bool = False, now_ms: int = NOW) -> list[dict[str, Any]]:
    """What somebody who takes over writes."""
    chronicle = Chronicle(store, everything=everything)
    with capture_logs() as lines:
        while await chronicle.look(now_ms):
            pass
    return [dict(line) for line in lines]


async def story(store: Store) -> list[str]:
    """A job that loses an attempt and then fails, one that is completed, and one that waits too long."""
    await hire(store)
    fails, completes = await run(store), await run(store)
    lost = AttemptLost(at_ms=NOW, worker=WORKER, reason=JobReason.WORKER_LOST, text="exit code 137")
    await store.jobs.advance(fails.id, lost)
    await store.jobs.claim(WORKER, limit=1, at_ms=NOW, lease_ms=1, sdk="")
    await store.jobs.advance(fails.id, Finished(at_ms=NOW, worker=WORKER, failed=True))
    await finish(store, completes)
    late = await submit(store)
    await pass_time(store, late, NOW + TTL_MS)
    return [fails.id, completes.id, late.id]


async def test_failures(store: Store) -> None:
    """A line for each attempt that was lost and each job that failed or timed out, with its ids and the reason; no other."""
    await said(store)
    fails, _, late = await story(store)
    lines = await said(store)
    assert [(line["job"], line["what"], line["state"], line["why"]) for line in lines] == [
        (fails, "requeued", "queued", "worker_lost"),
        (fails, "finished", "failed", "handler_error"),
        (late, "timed_out", "timed_out", "ttl_passed"),
    ]
    assert lines[0] | {"text": "worker_lost: exit code 137"} == lines[0]
    assert {line["event"] for line in lines} == {"job_moved"}
    assert {(line["endpoint"], line["team"]) for line in lines} == {(ENDPOINT, TEAM)}
    assert [line.get("worker") for line in lines] == [WORKER, WORKER, None]
    assert [line.get("attempt") for line in lines] == [1, 2, None]
    assert await said(store, now_ms=NOW + 10_000) == [], "once"


@pytest.mark.parametrize("everything", [True, False])
async def test_of_a_quiet_life(store: Store, everything: bool) -> None:
    """Every step of a job that went well is told where that is wished, and none elsewhere."""
    await said(store, everything=everything)
    await hire(store)
    await finish(store, await run(store))
    lines = await said(store, everything=everything)
    assert [line["what"] for line in lines] == (["submitted", "claimed", "finished"] if everything else [])
