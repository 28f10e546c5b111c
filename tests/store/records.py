"""Records for the tests of a store, with everything filled in that the test at hand does not speak of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from stoker.endpoint import Endpoint, Release
from stoker.ids import EndpointId, JobId, KeyId, MemberId, ReleaseId, TeamId, WorkerId
from stoker.job import Cancelled, Finished, Job, JobStep, TimePassed
from stoker.store import Bodies, Claims, NewJob, Store
from stoker.team import ApiKey, Member, Role, Scope, Team
from stoker.worker import Pinged, Worker

NOW = 1_700_000_000_000
"""When everything begins."""
LEASE_MS = 30_000
TTL_MS = 3_600_000
LIMIT_MS = 600_000
RETENTION_MS = 60_000
DAY_MS = 86_400_000
SLOTS = 100
"""As many as there can be: a test that is about slots says how many there are."""

TEAM = TeamId("team-one")
OTHER_TEAM = TeamId("team-two")
ENDPOINT = EndpointId("endpointone")
OTHER_ENDPOINT = EndpointId("endpointtwo")
FOREIGN_ENDPOINT = EndpointId("endpointforeign")
RELEASE = ReleaseId("rel-endpointone")
WORKER = WorkerId("workerone")
OTHER_WORKER = WorkerId("workertwo")

_numbers = count(1)


def a_team(team: TeamId = TEAM) -> Team:
    return Team(id=team, name=f"name of {team}", created_ms=NOW)


def a_member(name: str = "first", /, **more: Any) -> Member:
    values: dict[str, Any] = {
        "id": MemberId(f"mem-{name}"),
        "team": TEAM,
        "name": name,
        "role": Role.OWNER,
        "created_ms": NOW,
    }
    return Member(**values | more)


def a_key(name: str = "first", **more: Any) -> ApiKey:
    values: dict[str, Any] = {
        "id": KeyId(f"key-{name}"),
        "team": TEAM,
        "member": MemberId("mem-first"),
        "role": Role.OWNER,
        "name": name,
        "scopes": frozenset({Scope.RUN, Scope.READ}),
        "secret_hash": f"hash of {name}",
        "created_ms": NOW,
    }
    return ApiKey(**values | more)


def a_release(number: int = 1, **more: Any) -> Release:
    values: dict[str, Any] = {
        "id": RELEASE if number == 1 else ReleaseId(f"rel-{number}"),
        "endpoint": ENDPOINT,
        "number": number,
        "image": "dir:examples/hello",
        "command": "python handler.py",
        "env": {"MODEL": "tiny", "WORD": "naïve ✓"},
        "gpus_per_worker": 1,
        "specifications": ("rtx-4090-24gb", "rtx-3090-24gb"),
        "created_ms": NOW,
    }
    return Release(**values | more)


def an_endpoint(**more: Any) -> Endpoint:
    values: dict[str, Any] = {
        "id": ENDPOINT,
        "team": TEAM,
        "name": "hello",
        "release": RELEASE,
        "created_ms": NOW,
        "slots": SLOTS,
    }
    return Endpoint(**values | more)


def a_job(**more: Any) -> Job:
    at_ms: int = more.pop("at_ms", NOW)
    values: dict[str, Any] = {
        "id": JobId(f"job-{next(_numbers):06}"),
        "team": TEAM,
        "endpoint": ENDPOINT,
        "created_ms": at_ms,
        "queued_ms": at_ms,
        "expires_ms": at_ms + TTL_MS,
        "execution_limit_ms": LIMIT_MS,
        "retention_ms": RETENTION_MS,
        "retry_limit": 1,
    }
    return Job(**values | more)


def a_worker(worker: WorkerId = WORKER, **more: Any) -> Worker:
    values: dict[str, Any] = {
        "id": worker,
        "team": TEAM,
        "endpoint": ENDPOINT,
        "release": RELEASE,
        "token_hash": f"token of {worker}",
        "gpus": (f"first GPU of {worker}", f"second GPU of {worker}"),
        "specification": "rtx-4090-24gb",
        "memory_bytes": 16 * 1024**3,
        "price_per_hour_micros": 2**40,
        "detail": "one job waits",
        "decided_ms": NOW,
    }
    return Worker(**values | more)


async def furnish(store: Store) -> None:
    """Two teams; the first has two endpoints, the second has one."""
    await store.teams.add(a_team(), a_member(), a_key())
    foreign = a_member("foreign", team=OTHER_TEAM)
    await store.teams.add(a_team(OTHER_TEAM), foreign, a_key("foreign", team=OTHER_TEAM, member=foreign.id))
    for team, endpoint, name in (
        (TEAM, ENDPOINT, "hello"),
        (TEAM, OTHER_ENDPOINT, "other"),
        (OTHER_TEAM, FOREIGN_ENDPOINT, "hello"),
    ):
        release = ReleaseId(f"rel-{endpoint}")
        await store.endpoints.add(
            an_endpoint(id=endpoint, team=team, name=name, release=release), a_release(id=release, endpoint=endpoint)
        )


async def allow_slots(store: Store, slots: int, endpoint: EndpointId = ENDPOINT) -> None:
    """From now on a worker of the endpoint may hold so many jobs."""
    found = await store.endpoints.get(endpoint)
    assert found is not None
    await store.endpoints.update(replace(found, slots=slots, version=found.version + 1), None)


async def submit(store: Store, input: bytes = b'{"n": 1}', **more: Any) -> Job:
    """A job of the first team, waiting; `more` as for `NewJob` or `Job`."""
    extra = {name: more.pop(name) for name in tuple(more) if name in NewJob.__struct_fields__}
    return await store.jobs.submit(NewJob(job=a_job(**more), input=input, **extra))


async def take(store: Store, worker: WorkerId = WORKER, **more: Any) -> Claims:
    """A take of a worker, for one job unless told otherwise."""
    values: dict[str, Any] = {"limit": 1, "at_ms": NOW, "lease_ms": LEASE_MS, "sdk": "1.12.0"}
    return await store.jobs.claim(worker, **values | more)


async def hire(store: Store, worker: WorkerId = WORKER, *, pings: bool = False, **more: Any) -> Worker:
    """A worker that has taken once, and holds nothing unless jobs wait."""
    assert await store.workers.add(a_worker(worker, **more), alive_max=100)
    if pings:
        await store.workers.advance(worker, Pinged(at_ms=NOW, sdk="1.12.0"))
    return (await take(store, worker, limit=0)).worker


async def run(store: Store, worker: WorkerId = WORKER, *, at_ms: int = NOW, **more: Any) -> Job:
    """A new job in the hands of a hired worker."""
    job = await submit(store, at_ms=at_ms, **more)
    claims = (await take(store, worker, at_ms=at_ms)).claims
    assert [claim.job.id for claim in claims] == [job.id]
    return claims[0].job


async def finish(
    store: Store, job: Job, worker: WorkerId = WORKER, *, at_ms: int = NOW, output: bytes | None = b'"done"'
) -> JobStep:
    """The worker posts the result."""
    return await store.jobs.advance(job.id, Finished(at_ms=at_ms, worker=worker, failed=False), Bodies(output=output))


async def cancel(store: Store, job: Job, *, at_ms: int = NOW) -> JobStep:
    """The client cancels the job."""
    return await store.jobs.advance(job.id, Cancelled(at_ms=at_ms))


async def pass_time(store: Store, job: Job, at_ms: int) -> JobStep:
    """The loop that watches deadlines looks at the job."""
    return await store.jobs.advance(job.id, TimePassed(at_ms=at_ms))


async def kinds(store: Store, job: Job) -> Sequence[str]:
    """What the ledger tells of the job, in a word each."""
    return [line.kind for line in await store.jobs.story(job.id)]


async def idle_ms(store: Store, worker: WorkerId = WORKER) -> int | None:
    """Since when the worker is idle."""
    found = await store.workers.get(worker)
    assert found is not None
    return found.idle_ms
