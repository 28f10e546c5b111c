"""Who asks too much: counts of one server, of several together, and what clients and workers see of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from stoker.clock import ManualClock
from stoker.endpoint import Endpoint
from stoker.errors import TooMany
from stoker.ids import EndpointId, KeyId, ReleaseId, TeamId
from stoker.rate import WINDOW_S, Asked, Rate
from stoker.store import Counts
from stoker.throttle import BELIEVED_MS, BUCKETS_MOST, TELL_EVERY_S, Throttle
from tests.live import LiveServer, until
from tests.web.hands import Hands
from tests.web.wires import Wire

KEY, OTHER_KEY = KeyId("key-one"), KeyId("key-other")
HERE, THERE = EndpointId("here"), EndpointId("there")
ENDPOINT = Endpoint(id=HERE, team=TeamId("team"), name="here", release=ReleaseId("rel"), created_ms=0)


def throttle(clock: ManualClock, count: int = 10) -> Throttle:
    """That allows so many submissions in a window."""
    return Throttle(clock, rates={Asked.RUN: Rate(count)})


def asks(
    one: Throttle,
    times: int,
    key: KeyId = KEY,
    endpoint: EndpointId = HERE,
    asked: Asked = Asked.RUN,
    **own: int | None,
) -> int:
    """How many of so many requests at this moment are admitted; `own` rates of the endpoint and of the key."""
    through = 0
    for _ in range(times):
        try:
            one.check(key, endpoint, asked, **own)
        except TooMany:
            continue
        through += 1
    return through


# ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_key_at_each_endpoint() -> None:
    """Counts are for one key, one endpoint and one kind of request; kinds without a rate are not counted."""
    one = throttle(ManualClock())
    assert asks(one, 20) == 10
    assert asks(one, 20, key=OTHER_KEY) == 10
    assert asks(one, 20, endpoint=THERE) == 10
    assert asks(one, 20, asked=Asked.LOOK) == 20
    assert one.refused == {"rate_limited": 30}


@pytest.mark.parametrize(
    ("server", "endpoint_rate", "key_rate", "admitted"),
    [
        (10, None, None, 10),
        (10, 5, None, 5),
        (10, 20, None, 20),
        (10, None, 5, 5),
        (10, None, 20, 10),
        (10, 20, 15, 15),
        (10, 5, 15, 5),
        (0, 5, None, 5),
        (0, None, 5, 5),
        (0, None, None, 50),
    ],
)
def test_rates_of_their_own(server: int, endpoint_rate: int | None, key_rate: int | None, admitted: int) -> None:
    """An endpoint's rate goes before the server's, more or less; a key's can only be less than that. To the request."""
    one = throttle(ManualClock(), server) if server else Throttle(ManualClock())
    assert asks(one, 50, endpoint_rate=endpoint_rate, key_rate=key_rate) == admitted


def test_several_servers_keep_to_a_rate_of_its_own() -> None:
    """What was admitted by an endpoint's own rate is told as what it cost: a server that has seen none of it knows how much is left."""
    clock = ManualClock()
    one, other = throttle(clock, 1_000), throttle(clock, 1_000)
    hear([one, other])
    assert asks(one, 50, endpoint_rate=20) == 20
    hear([one, other])
    assert asks(other, 50, endpoint_rate=20) == 0
    clock.advance_s(WINDOW_S / 2)
    assert asks(other, 50, endpoint_rate=20) == 10


def test_who_waits_as_told_is_admitted() -> None:
    """A refusal says in whole seconds when to ask again, and then there is room."""
    clock = ManualClock()
    one = throttle(clock)
    asks(one, 10)
    with pytest.raises(TooMany, match="10 requests in 10 s") as refused:
        one.check(KEY, HERE, Asked.RUN)
    assert (refused.value.code, refused.value.retry_after_s) == ("rate_limited", 1)
    clock.advance_s(refused.value.retry_after_s)
    assert asks(one, 5) == 1


def test_memory_is_bounded() -> None:
    """However many keys ask, only so many buckets are kept."""
    one = throttle(ManualClock())
    for number in range(BUCKETS_MOST + 10):
        one.check(KeyId(f"key-{number}"), HERE, Asked.RUN)
    assert len(one._paid) <= BUCKETS_MOST


# ── several servers ───────────────────────────────────────────────────────────────────────────────────────────────────


def hear(servers: list[Throttle]) -> None:
    """Everybody tells everybody else, as signals carry it."""
    words = [(one, one.words()) for one in servers]
    for teller, told in words:
        for word in told:
            kind, _, text = word.partition(" ")
            assert kind == "admitted"
            for other in servers:
                if other is not teller:
                    other.heard(text)


@pytest.mark.parametrize("count", [2, 4])
def test_a_second_of_error(count: int) -> None:
    """Servers that are asked more than they together allow keep to the rate, but for a burst at each before they hear of each
    other: over a minute they admit at most a burst each and the rate."""
    clock = ManualClock()
    servers = [throttle(clock, 1_000) for _ in range(count)]
    hear(servers)  # from now on they count what to tell
    through = []
    for _ in range(60):
        admitted = 0
        for _ in range(10):
            admitted += sum(asks(one, 60) for one in servers)
            clock.advance_s(TELL_EVERY_S / 10)
        through.append(admitted)
        hear(servers)
    rate = 1_000 / WINDOW_S
    assert sum(through) <= count * 1_000 + 60 * rate
    late = sum(through[30:])
    assert 0.8 * 30 * rate <= late <= 1.1 * 30 * rate


def test_one_server_gets_the_whole_rate() -> None:
    """A client that always reaches the same server gets all of its rate there, however many servers there are."""
    clock = ManualClock()
    one, other = throttle(clock), throttle(clock)
    hear([one, other])
    assert asks(one, 20) == 10
    hear([one, other])
    assert asks(other, 20) == 0


def test_words_are_never_the_same_twice() -> None:
    """What is told twice counts twice: words that say the same differ, because equal ones that wait together are sent once."""
    clock = ManualClock()
    one = throttle(clock)
    one.words()
    words = []
    for _ in range(2):
        asks(one, 4)
        words += one.words()
    assert len(set(words)) == 2


def test_little_is_not_told() -> None:
    """Of what is far from any refusal nobody hears."""
    one = throttle(ManualClock(), 1_000)
    one.words()
    asks(one, 20)
    assert one.words() == []


# ── queues and uploads ────────────────────────────────────────────────────────────────────────────────────────────────


def counting(waiting: list[int], seen: list[EndpointId]) -> Callable[[EndpointId], Awaitable[Counts]]:
    """How the store answers, and when it was asked."""

    async def counts(endpoint: EndpointId) -> Counts:
        seen.append(endpoint)
        return Counts(queued=waiting[0])

    return counts


async def test_a_full_queue() -> None:
    """Beyond the limit submissions are refused until jobs have begun; the store is asked once a second."""
    clock, waiting, seen = ManualClock(), [7], list[EndpointId]()
    one = Throttle(clock, queued_max=10, counts=counting(waiting, seen))
    for _ in range(3):
        await one.check_queue(ENDPOINT)
    with pytest.raises(TooMany, match="10 jobs wait at here; 10 may") as refused:
        await one.check_queue(ENDPOINT)
    assert (refused.value.code, seen) == ("queue_full", [HERE])
    waiting[0] = 9
    clock.advance_s(BELIEVED_MS / 1000)
    await one.check_queue(ENDPOINT)
    assert seen == [HERE, HERE]
    assert one.refused == {"queue_full": 1}


def test_uploads() -> None:
    """A key may send so many large bodies at once; another key's are its own, and one that ended makes room."""
    one = Throttle(ManualClock(), uploads_max=2)
    one.begin_upload(KEY)
    one.begin_upload(KEY)
    one.begin_upload(OTHER_KEY)
    with pytest.raises(TooMany) as refused:
        one.begin_upload(KEY)
    assert refused.value.code == "too_many_uploads"
    one.end_upload(KEY)
    one.begin_upload(KEY)


async def test_without_limits() -> None:
    """Without limits nothing is refused, and nothing is looked up."""
    one = Throttle(ManualClock())
    assert asks(one, 100_000) == 100_000
    for _ in range(1_000):
        one.begin_upload(KEY)
        await one.check_queue(ENDPOINT)


# ── over HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with a tenth of Runpod's cancels, the fewest purges, and room for three waiting jobs and two uploads."""
    with LiveServer(
        tmp_path_factory.mktemp("strict"), rate_factor=0.1, queued_max=3, uploads_per_key_max=2, upload_stall_s=60
    ) as server:
        yield server


@pytest.fixture
def paused(strict: LiveServer, name: str, tmp_path: Path) -> str:
    """An endpoint that starts no workers."""
    strict.create(name, image=tmp_path, command="sleep 600")
    strict.api.post(f"/api/endpoints/{name}/pause")
    return name


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and code."""
    return answer.status_code, answer.json()["code"]


@pytest.mark.slow
def test_over_the_rate(strict: LiveServer, paused: str) -> None:
    """The request over the rate gets 429, a code and Retry-After in both dialects; another kind and another key are not meant."""
    api = strict.api
    assert [api.post(f"/v2/{paused}/purge-queue").status_code for _ in range(2)] == [200, 429]
    refused = api.post(f"/v1/{paused}/purge-queue")
    assert told(refused) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert api.get(f"/v2/{paused}/health").status_code == 200
    other = api.post("/api/keys", json={"name": "other", "scopes": ["run"]}).json()["secret"]
    mine = httpx.post(f"{strict.url}/v2/{paused}/purge-queue", headers={"authorization": other})
    assert mine.status_code == 200
    cancels = [api.post(f"/v2/{paused}/cancel/nothing").status_code for _ in range(11)]
    assert cancels == [404] * 10 + [429]


@pytest.mark.slow
def test_rates_that_were_set(strict: LiveServer, paused: str) -> None:
    """A rate of the endpoint, and then a lower one of a key, hold from the next second on, to the request; without them the server's does."""
    api = strict.api
    made = api.post("/api/keys", json={"name": "slow", "scopes": ["run"]}).json()
    slow = {"authorization": made["secret"]}

    def admitted() -> int:
        """How many cancels of the key come through at once; one more is earned in three seconds."""
        answers = [api.post(f"/v2/{paused}/cancel/nothing", headers=slow).status_code for _ in range(5)]
        assert set(answers) <= {404, 429}
        return answers.index(429)

    assert api.put(f"/api/endpoints/{paused}/rate", json={"rate": 30}).json()["rate"] == 30
    assert admitted() == 3
    assert api.put(f"/api/endpoints/{paused}/rate", json={"rate": None}).json()["rate"] is None
    assert api.get(f"/api/endpoints/{paused}").json()["rate"] is None
    assert api.put(f"/api/keys/{made['id']}/rate", json={"rate": 10}).json()["rate"] == 10
    rates = {one["name"]: one["rate"] for one in api.get("/api/keys").json()["keys"]}
    assert rates["slow"] == 10
    assert api.get("/api/limits").json()["rate"]["most"] == 1_000_000
    refused = api.post(f"/v2/{paused}/cancel/nothing", headers=slow)
    assert "at most 1 request in 10 s" in refused.json()["error"]


@pytest.mark.slow
def test_a_queue_that_is_full(strict: LiveServer, paused: str) -> None:
    """The job over the limit of the queue is refused by every way in."""
    for _ in range(3):
        strict.run(paused, 1)
    for path in (f"/v2/{paused}/run", f"/v1/{paused}/runsync", f"/api/endpoints/{paused}/jobs"):
        refused = strict.api.post(path, json={"input": 1})
        assert told(refused) == (429, "queue_full"), path
        assert refused.headers["retry-after"] == "1"


@pytest.mark.slow
def test_too_many_uploads(strict: LiveServer, paused: str) -> None:
    """The third large body that a key sends at once is refused; small ones are not counted; one that ended makes room."""
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(strict.url)) for _ in range(2)]
        for wire in wires:
            wire.head(b"POST", f"/v2/{paused}/run".encode(), b"Content-Length: 100000", b"Expect: 100-continue")
            assert wire.asked()
        run = f"/v2/{paused}/run"
        large = {"input": "a" * 100_000}
        assert told(strict.api.post(run, json=large)) == (429, "too_many_uploads")
        small = {"input": 1}  # what was refused took its place in the queue with it, for a second
        until(lambda: strict.api.post(run, json=small).status_code == 200, what="a small one to be taken")
        for wire in wires:
            wire.send(b'{"input": "%b"}' % (b"a" * 99_987))
            assert wire.answer()[0] == 200
        strict.api.post(f"/v2/{paused}/purge-queue")
        until(lambda: strict.api.post(run, json=large).status_code == 200, what="another large one to be taken")


@pytest.mark.slow
def test_workers_are_never_refused(tmp_path: Path, name: str) -> None:
    """With the strictest limits a worker takes, pings, streams and reports as often as it likes."""
    settings = {"rate_factor": 0.0001, "queued_max": 1, "uploads_per_key_max": 1, "hold_s": 0.1}
    with ExitStack() as stack:
        server = stack.enter_context(LiveServer(tmp_path / "data", **settings))
        hands = stack.enter_context(closing(Hands(server, name, tmp_path / "told")))
        job = server.run(name, 1)
        hands.take()
        for _ in range(50):
            assert httpx.get(f"{hands.url('PING')}&job_id={job}").status_code == 200
            assert hands.part(job, b'{"output": 1}').status_code == 200
            assert httpx.get(hands.url("GET_JOB")).status_code == 204
        assert hands.finish(job, b'{"output": "' + b"a" * 100_000 + b'"}').status_code == 200
