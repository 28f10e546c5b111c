"""Workers with a health check: who gets jobs, and what is told of it."""

from __future__ import annotations

from stoker.checkup import HealthCheck
from stoker.ids import ReleaseId
from stoker.store import Store
from stoker.worker import HealthFailed, HealthPassed, Launched, Waits, WorkerReason, WorkerState
from tests.store.records import NOW, WORKER, a_release, a_worker, an_endpoint, hire, submit, take


async def test_check_is_read_back(store: Store) -> None:
    """A release is read with its health check."""
    release = a_release(2, id=ReleaseId("rel-2"), health=HealthCheck(path="/ping", period_s=7), http_port=80)
    await store.endpoints.update(an_endpoint(release=release.id, version=2), release)
    assert await store.endpoints.release(release.id) == release


async def test_no_jobs_before_the_check_is_passed(store: Store) -> None:
    """A take of a worker that has not passed its check is answered with nothing; it becomes ready by the take after that."""
    assert await store.workers.add(a_worker(unhealthy_ms=NOW), alive_max=9)
    await store.workers.advance(WORKER, Launched(at_ms=NOW))
    job = await submit(store)
    answer = await take(store)
    assert (list(answer.claims), answer.worker.state, answer.ready_now) == ([], WorkerState.STARTING, False)
    await store.workers.advance(WORKER, HealthFailed(at_ms=NOW + 1, text="HTTP 503"))
    await store.workers.advance(WORKER, HealthPassed(at_ms=NOW + 2))
    answer = await take(store)
    assert ([claim.job.id for claim in answer.claims], answer.ready_now) == ([job.id], True)


async def test_no_jobs_while_the_check_fails(store: Store) -> None:
    """A ready worker whose check fails gets nothing until it has passed; what it holds it keeps. The ledger tells both."""
    await hire(store)
    held = await submit(store)
    assert [claim.job.id for claim in (await take(store)).claims] == [held.id]
    await store.workers.advance(WORKER, HealthFailed(at_ms=NOW + 1, text="HTTP 503"))
    waiting = await submit(store)
    answer = await take(store)
    assert (list(answer.claims), answer.full) == ([], False)
    found = await store.workers.get(WORKER)
    assert found is not None
    assert (found.unhealthy_ms, found.reason, found.detail) == (NOW + 1, WorkerReason.HEALTH_FAILING, "HTTP 503")
    assert [job.id for job in await store.jobs.held_by(WORKER)] == [held.id]
    await store.workers.advance(WORKER, HealthFailed(at_ms=NOW + 2, text="no answer"))
    await store.workers.advance(WORKER, HealthPassed(at_ms=NOW + 3))
    assert [claim.job.id for claim in (await take(store)).claims] == [waiting.id]
    lines = [(line.kind, line.at_ms, line.text) for line in await store.workers.story(WORKER)]
    assert lines[-2:] == [("unhealthy", NOW + 1, "HTTP 503"), ("healthy", NOW + 3, "")]


async def test_reason_within_a_state_is_kept(store: Store) -> None:
    """What changes about a worker without another state is stored too: how far its image is."""
    assert await store.workers.add(a_worker(), alive_max=9)
    await store.workers.advance(WORKER, Waits(at_ms=NOW, text="1 of 2 layers"))
    (held,) = await store.workers.of_endpoint(a_worker().endpoint)
    assert (held.worker.reason, held.worker.detail) == (WorkerReason.IMAGE_PULLING, "1 of 2 layers")
