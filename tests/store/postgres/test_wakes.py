"""Waking across servers, and the clock of the database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from stoker.clock import SystemClock
from stoker.store.postgres import PostgresStore
from stoker.store.postgres.known import Known
from stoker.store.postgres.wakes import CHANNEL, PAYLOAD_BYTES, SEND, PostgresWakes
from tests.store.postgres.test_crashes import OTHERS

pytestmark = pytest.mark.postgres

PATIENCE_S = 30.0


class Ear:
    """Keeps what is heard."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.gaps = 0
        self._changed = asyncio.Event()

    def __call__(self, words: Sequence[str]) -> None:
        self.words.extend(words)
        self.gaps += not words
        self._changed.set()

    async def hears(self, word: str) -> None:
        """Wait for it."""
        await self._until(lambda: word in self.words)

    async def notices_a_gap(self) -> None:
        """Wait for it."""
        await self._until(lambda: self.gaps > 0)

    async def _until(self, look: object) -> None:
        assert callable(look)
        async with asyncio.timeout(PATIENCE_S):
            while not look():
                self._changed.clear()
                await self._changed.wait()


async def test_others_hear_it(direct: PostgresStore, other: PostgresStore) -> None:
    """What one server says the other hears, and not itself; the order stays."""
    own, far = Ear(), Ear()
    await direct.wakes.listen(own)
    await other.wakes.listen(far)
    await direct.wakes.send(["one", "two naïve"])
    await direct.wakes.send(["last"])
    await far.hears("last")
    assert far.words == ["one", "two naïve", "last"]
    await other.wakes.send(["answer"])
    await own.hears("answer")
    assert own.words == ["answer"]


async def test_many_words(direct: PostgresStore, other: PostgresStore) -> None:
    """More words than one notification carries arrive all the same, each whole."""
    far = Ear()
    await other.wakes.listen(far)
    words = [f"{number} {'é' * 300}" for number in range(PAYLOAD_BYTES // 300)]
    await direct.wakes.send([*words, "last"])
    await far.hears("last")
    assert far.words == [*words, "last"]


async def test_who_is_alone_says_nothing(direct: PostgresStore, other: PostgresStore, postgres_url: str) -> None:
    """While nobody else has spoken for a while words are not sent; a server that begins to listen says so, and is told."""
    far, heard = Ear(), asyncio.Queue[str]()
    connection = await asyncpg.connect(postgres_url)
    await connection.add_listener(CHANNEL, lambda _connection, _pid, _channel, payload: heard.put_nowait(payload))
    alone = PostgresWakes(direct.wakes._database, direct.wakes._pool, Known(), others_s=0.0)
    await alone.listen(Ear())
    assert "\n" not in await heard.get()  # that it listens
    assert not alone.others_listen()
    await alone.send(["unheard"])
    await other.wakes.listen(far)
    assert "\n" not in await heard.get()
    alone._others_s = PATIENCE_S
    await connection.execute(SEND, ["somebody"])
    await heard.get()
    while "told" not in far.words:
        await alone.send(["told"])
        await asyncio.sleep(0)
    assert set(far.words) == {"told"}
    await alone.close()
    await connection.close()


async def test_nothing_to_say(direct: PostgresStore) -> None:
    """No words are no notification."""
    await direct.wakes.send([])


async def test_listens_again(direct: PostgresStore, other: PostgresStore, postgres_url: str) -> None:
    """A listener whose connection is ended tells of the gap, and hears what is said after it."""
    far = Ear()
    await other.wakes.listen(far)
    killer = await asyncpg.connect(postgres_url)
    await killer.execute(OTHERS)
    await killer.close()
    await far.notices_a_gap()
    await direct.wakes.send(["after"])
    await far.hears("after")


async def test_a_clock_that_is_ahead(direct: PostgresStore) -> None:
    """The skew is what this machine's clock is ahead of the database's; here they are the same clock."""
    now_ms = SystemClock().now_ms()
    assert abs(await direct.skew_ms(now_ms + 3_600_000) - 3_600_000) < 60_000
    assert abs(await direct.skew_ms(now_ms - 3_600_000) + 3_600_000) < 60_000
