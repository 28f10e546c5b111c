"""Delivering: real receivers, a clock that is moved by hand, and every notice at least once whatever happens."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from stoker.audit import Action, Actor
from stoker.clock import ManualClock
from stoker.errors import InvalidInput, NotFound
from stoker.ids import TeamId
from stoker.job import Finished, Job, Retried
from stoker.loops.webhooks import Bounds, Webhooks
from stoker.notices import Notices
from stoker.receivers import HttpReceivers
from stoker.store import Bodies, Result, Store
from stoker.store.sqlite import MEMORY, SqliteStore
from stoker.vault.aes import AesVault, Keys
from stoker.webhook import Notice, NoticeState, Try, parse, signature
from tests.store.records import (
    NOW,
    OTHER_TEAM,
    RETENTION_MS,
    TEAM,
    TTL_MS,
    WORKER,
    cancel,
    furnish,
    hire,
    pass_time,
    run,
    submit,
)
from tests.webhooks.receiver import HERE, Receiver, Request, answers, hangs, receiving

DAY_S = 86_400
KEY = base64.urlsafe_b64encode(b"k" * 32).decode()


async def here(_host: str, _port: int) -> Sequence[str]:
    """Every name is this machine."""
    return [HERE]


def render(result: Result, submitted: bytes | None) -> bytes:
    """What this test's dialect says."""
    words = (result.job.state.value, result.output, result.error, submitted)
    return repr(words).encode("utf-8", "surrogatepass")


@dataclass
class World:
    """A store, a clock and who delivers."""

    store: Store
    clock: ManualClock
    notices: Notices

    def loop(self, *, per_receiver: int = 4, total: int = 64) -> Webhooks:
        """A server that begins to deliver."""
        return Webhooks(self.store, self.clock, self.notices, Bounds(per_receiver=per_receiver, total=total))

    async def ended(self, url: str, **more: Any) -> Job:
        """A job whose end is to be told there."""
        told: dict[str, Any] = {
            "webhook": url,
            "dialect": "v2",
            "receiver": parse(url).receiver,
            "at_ms": self.clock.now_ms(),
        }
        return (await cancel(self.store, await submit(self.store, **told | more), at_ms=self.clock.now_ms())).job

    async def state(self, job: Job) -> tuple[Notice, Sequence[Try]]:
        """Of the only notice of a job."""
        ((notice, tries),) = await self.store.notices.of_job(job.team, job.id)
        return notice, tries


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """With receivers on this machine."""
    store = await SqliteStore.open(MEMORY)
    await furnish(store)
    clock = ManualClock(NOW)
    keys = Keys.parse(KEY)
    notices = Notices(
        store,
        clock,
        AesVault(lambda: KEY, keys, seals=keys.names[0]),
        receivers=HttpReceivers(timeout_s=20, allowed=[ipaddress.ip_network("127.0.0.0/8")], resolve=here),
        renders={"v2": render},
        life_s=DAY_S,
    )
    yield World(store, clock, notices)
    await store.close()


async def deliver(loop: Webhooks) -> None:
    """Everything that is due now."""
    while begun := await loop.look():
        await asyncio.gather(*begun)


def ids(receiver: Receiver) -> list[str]:
    """Of the notices that a receiver got."""
    return [request.headers["webhook-id"] for request in receiver.told]


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server((HERE, 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


# ── what arrives ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_end_is_told(world: World) -> None:
    """A receiver that answers 200 gets the body of the dialect, with id and moment, once."""
    async with receiving(answers(200)) as receiver:
        job = await world.ended(receiver.url)
        await deliver(world.loop())
        await deliver(world.loop())
    (request,) = receiver.told
    notice, (tried,) = await world.state(job)
    assert (notice.state, tried.status) == (NoticeState.DELIVERED, 200)
    assert request.body == repr(("cancelled", None, None, b'{"n": 1}')).encode()
    assert request.headers["webhook-id"] == notice.id
    assert request.headers["webhook-timestamp"] == str(NOW // 1000)
    assert request.headers["content-type"] == "application/json"
    assert "webhook-signature" not in request.headers


async def test_each_end_is_told_as_it_was(world: World) -> None:
    """A failure that could not be told before the job was retried is told as it was, and so is the end after it."""
    await hire(world.store)
    async with receiving(answers(200)) as receiver:
        told: dict[str, Any] = {"webhook": receiver.url, "dialect": "v2", "receiver": parse(receiver.url).receiver}
        job = await run(world.store, **told)
        bodies = Bodies(output=b'"half"', error="no")
        await world.store.jobs.advance(job.id, Finished(at_ms=NOW, worker=WORKER, failed=True), bodies)
        await world.store.jobs.advance(job.id, Retried(at_ms=NOW, expires_ms=NOW + 9_000))
        await cancel(world.store, job)
        await deliver(world.loop(per_receiver=1))
    assert [request.body for request in receiver.told] == [
        repr(("failed", b'"half"', "no", b'{"n": 1}')).encode(),
        repr(("cancelled", None, None, b'{"n": 1}')).encode(),
    ]
    assert len(set(ids(receiver))) == 2


async def test_what_the_platform_ended_says_why(world: World) -> None:
    """A job that the platform ended has its reason for error, as its status does."""
    async with receiving(answers(200)) as receiver:
        told: dict[str, Any] = {"webhook": receiver.url, "dialect": "v2", "receiver": parse(receiver.url).receiver}
        job = await submit(world.store, **told)
        await pass_time(world.store, job, job.expires_ms)
        world.clock.advance_s(TTL_MS / 1000)
        await deliver(world.loop())
    (request,) = receiver.told
    assert b"ttl_passed: its time to live passed" in request.body


async def test_signatures(world: World) -> None:
    """After a rotation notices carry both signatures, after the overlap the new one alone; another team's secret signs nothing."""
    by = Actor(team=TEAM)
    await world.notices.rotate_secret(Actor(team=OTHER_TEAM), overlap_ms=0)
    _, first = await world.notices.rotate_secret(by, overlap_ms=0)
    _, second = await world.notices.rotate_secret(by, overlap_ms=60_000)
    async with receiving(answers(200)) as receiver:
        await world.ended(receiver.url)
        await deliver(world.loop())
        world.clock.advance_s(60)
        await world.ended(receiver.url)
        await deliver(world.loop())
    for request, secrets in zip(receiver.told, ([second, first], [second]), strict=True):
        timestamp = int(request.headers["webhook-timestamp"])
        expected = [signature(one, request.headers["webhook-id"], timestamp, request.body) for one in secrets]
        assert request.headers["webhook-signature"] == " ".join(expected)


async def test_rotation_is_recorded(world: World) -> None:
    """A rotation leaves a line of the audit log without the secret; an overlap that is too long is refused."""
    _, secret = await world.notices.rotate_secret(Actor(team=TEAM), overlap_ms=1_000)
    (written,) = await world.store.audit.lines(TEAM)
    assert written.line.action is Action.ROTATED
    assert secret not in repr(written)
    with pytest.raises(InvalidInput, match="overlap"):
        await world.notices.rotate_secret(Actor(team=TEAM), overlap_ms=10**12)


# ── receivers that fail ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_down_for_hours(world: World) -> None:
    """A receiver that was down for hours gets every event within a quarter of an hour of being back, each once."""
    port = free_port()
    url, loop = f"http://hooks.example:{port}/", world.loop()
    jobs = []
    for round_ in range(60):
        if round_ < 20:
            jobs.append(await world.ended(url))
        await deliver(loop)
        world.clock.advance_s(300)
    assert {(await world.state(job))[0].state for job in jobs} == {NoticeState.PENDING}
    async with receiving(answers(200), port=port) as receiver:
        for _ in range(16):
            await deliver(loop)
            world.clock.advance_s(60)
    told = [(await world.state(job))[0] for job in jobs]
    assert {one.state for one in told} == {NoticeState.DELIVERED}
    assert sorted(ids(receiver)) == sorted(one.id for one in told)


async def test_down_longer_than_it_keeps_results(world: World) -> None:
    """What could not be told is told with everything in it though its job is long forgotten, and forgotten itself then."""
    port = free_port()
    await hire(world.store)
    url, loop = f"http://hooks.example:{port}/", world.loop()
    job = await run(world.store, webhook=url, dialect="v2", receiver=parse(url).receiver)
    done = Finished(at_ms=NOW, worker=WORKER, failed=False)
    await world.store.jobs.advance(job.id, done, Bodies(output=b'"kept"'))
    await deliver(loop)
    world.clock.advance_s(3_600)
    assert await world.store.jobs.prune(NOW + RETENTION_MS, 10) == 1
    async with receiving(answers(200), port=port) as receiver:
        await deliver(loop)
    assert [request.body for request in receiver.told] == [repr(("completed", b'"kept"', None, b'{"n": 1}')).encode()]
    assert await world.store.notices.of_job(TEAM, job.id) == []


@pytest.mark.slow
async def test_given_up_after_its_time(world: World) -> None:
    """After its time a notice is given up, with the last reason in its log, and can be delivered once more."""
    port = free_port()
    loop = world.loop()
    job = await world.ended(f"http://hooks.example:{port}/")
    for _ in range(DAY_S // 900 + 1):
        await deliver(loop)
        world.clock.advance_s(900)
    notice, tries = await world.state(job)
    assert (notice.state, notice.due_ms) == (NoticeState.GIVEN_UP, None)
    assert tries[-1].error == "it refused the connection"
    assert world.notices.told.given_up == 1
    async with receiving(answers(200), port=port) as receiver:
        await world.notices.redeliver(Actor(team=TEAM), job.id, notice.id)
        await deliver(loop)
    assert ids(receiver) == [notice.id]
    assert (await world.state(job))[0].state is NoticeState.DELIVERED


async def tries_of(world: World, jobs: Sequence[Job]) -> int:
    """How often anything was tried."""
    return sum([len((await world.state(job))[1]) for job in jobs])


@pytest.mark.slow
async def test_a_pile_that_nobody_gets_to(world: World) -> None:
    """While a receiver fails it is tried with one notice at a time; what was not tried in its time is given up with the others."""
    loop = world.loop()
    url = f"http://hooks.example:{free_port()}/"
    jobs = [await world.ended(url) for _ in range(9)]
    await deliver(loop)
    assert await tries_of(world, jobs) == 4  # the first few, before it was known how the receiver does
    world.clock.advance_s(20)
    await deliver(loop)
    assert await tries_of(world, jobs) == 5
    world.clock.advance_s(DAY_S)
    await deliver(loop)
    states = {(await world.state(job))[0].state for job in jobs}
    assert states == {NoticeState.GIVEN_UP}


async def test_nobody_delivered_for_days(world: World) -> None:
    """A server that was down longer than a notice's time tries it all the same when it is back."""
    async with receiving(answers(200)) as receiver:
        job = await world.ended(receiver.url)
        world.clock.advance_s(5 * DAY_S)
        loop = world.loop()
        await world.notices.begin()
        await deliver(loop)
    assert (await world.state(job))[0].state is NoticeState.DELIVERED


async def test_a_url_of_an_earlier_version(world: World) -> None:
    """A URL that is no longer accepted fails in words, and holds up nothing."""
    told: dict[str, Any] = {
        "webhook": "https://user:pass@example.com/",
        "dialect": "v2",
        "receiver": "an earlier version",
    }
    job = (await cancel(world.store, await submit(world.store, **told))).job
    await deliver(world.loop())
    _, (tried,) = await world.state(job)
    assert tried.error.startswith("webhook must be an http(s) URL")


# ── receivers that are slow ───────────────────────────────────────────────────────────────────────────────────────────


async def settle(begun: Sequence[asyncio.Task[None]]) -> None:
    """End what was begun."""
    for task in begun:
        task.cancel()
    await asyncio.gather(*begun, return_exceptions=True)


@pytest.mark.slow
async def test_a_slow_receiver_slows_nobody(world: World) -> None:
    """While one receiver takes its time with a few of its notices, others get theirs; the slow one gets no more at once."""
    async with receiving(hangs) as slow, receiving(answers(200)) as quick:
        for _ in range(40):
            await world.ended(slow.url)
            await world.ended(quick.url)
        loop = world.loop()
        begun = list(await loop.look())
        while len(quick.told) < 40:
            await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
            begun = [task for task in begun if not task.done()] + await loop.look()
        assert len(slow.told) <= 4
        await settle(begun)


@pytest.mark.slow
async def test_slow_receivers_of_one_team(world: World) -> None:
    """However many slow receivers one team has, another team's are told."""
    async with receiving(hangs) as slow, receiving(answers(200)) as quick:
        for number in range(20):
            await world.ended(slow.url, receiver=f"slow-{number}.example:80")
        theirs = await world.ended(quick.url, team=OTHER_TEAM)
        loop = world.loop(per_receiver=2, total=8)
        begun = await loop.look()
        assert len(begun) == 2  # one of the slow team's, which fills its share, and the other's
        while (await world.state(theirs))[0].state is NoticeState.PENDING:
            await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        await settle(begun)


async def test_lanes_take_turns(world: World) -> None:
    """When not all can be served at once, those come first that waited longest."""
    async with receiving(answers(200)) as receiver:
        for number in range(6):
            await world.ended(receiver.url, receiver=f"r{number}.example:80")
        loop, seen = world.loop(per_receiver=1, total=4), []
        while begun := await loop.look():
            seen += [task.get_name().split()[-1] for task in begun]
            await asyncio.gather(*begun)
    assert seen == [f"r{number}.example:80" for number in range(6)]


# ── servers that end ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_a_server_that_ends_in_the_middle(world: World) -> None:
    """A notice whose receiver had it when its server ended is delivered by the next one, under the same id."""
    reached = asyncio.Event()

    async def accept_and_hang(request: Request, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await hangs(request, writer)

    async with receiving(accept_and_hang) as receiver:
        job = await world.ended(receiver.url)
        running = asyncio.create_task(world.loop().run())
        await reached.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert (await world.state(job))[0].state is NoticeState.PENDING
        receiver.behave = answers(200)
        await deliver(world.loop())
    assert len(receiver.told) == 2
    assert len(set(ids(receiver))) == 1
    assert (await world.state(job))[0].state is NoticeState.DELIVERED


@pytest.mark.slow
async def test_two_servers_at_once(world: World) -> None:
    """Two servers that both believe to be on duty deliver everything at least once, with the same ids."""
    async with receiving(answers(200)) as receiver:
        jobs = [await world.ended(receiver.url) for _ in range(20)]
        await asyncio.gather(deliver(world.loop()), deliver(world.loop()))
    notices = [(await world.state(job))[0] for job in jobs]
    assert {one.state for one in notices} == {NoticeState.DELIVERED}
    assert set(ids(receiver)) == {one.id for one in notices}


async def test_the_loop_goes_on_by_itself(world: World) -> None:
    """While it runs it finds what ends, without being told."""
    arrived = asyncio.Event()

    async def accept(request: Request, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await answers(200)(request, writer)

    async with receiving(accept) as receiver:
        running = asyncio.create_task(world.loop().run())
        await world.ended(receiver.url)
        await arrived.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


# ── telling once more ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_redelivery(world: World) -> None:
    """A delivered notice is delivered once more under the same id; that leaves a line of the audit log."""
    async with receiving(answers(200)) as receiver:
        job = await world.ended(f"{receiver.url}?token=hush")
        await deliver(world.loop())
        notice, _ = await world.state(job)
        await world.notices.redeliver(Actor(team=TEAM), job.id, notice.id)
        await deliver(world.loop())
    assert ids(receiver) == [notice.id, notice.id]
    (written,) = await world.store.audit.lines(TEAM)
    assert written.line.action is Action.REDELIVERED
    assert "hush" not in repr(written)
    with pytest.raises(NotFound):
        await world.notices.redeliver(Actor(team=TEAM), job.id, "another")
    with pytest.raises(NotFound):
        await world.notices.redeliver(Actor(team=TeamId("team-two")), job.id, notice.id)
