"""Named leases in SQLite, and waking across servers, of which there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from stoker.store.sqlite.writer import Lane

HOLD: Final = """
    INSERT INTO named_leases (name, holder, until_ms) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE
    SET holder = excluded.holder, until_ms = excluded.until_ms
    WHERE named_leases.holder = excluded.holder OR named_leases.until_ms <= ?"""
RELEASE: Final = "DELETE FROM named_leases WHERE name = ? AND holder = ?"
HOLDERS: Final = """
    SELECT name, holder FROM named_leases WHERE substr(name, 1, length(?1)) = ?1 AND until_ms > ?2 ORDER BY name"""


class SqliteLeases:
    """`NamedLeases`."""

    def __init__(self, writer: Lane, reader: Lane) -> None:
        self._writer = writer
        self._reader = reader

    async def hold(self, name: str, holder: str, *, at_ms: int, until_ms: int) -> bool:
        """The row is written, or it is somebody else's."""
        values = (name, holder, until_ms, at_ms)
        return await self._writer.run(lambda tx: tx.execute(HOLD, values).rowcount == 1)

    async def release(self, name: str, holder: str) -> None:
        """The row goes if it is the holder's."""
        await self._writer.run(lambda tx: tx.execute(RELEASE, (name, holder)).rowcount)

    async def holders(self, prefix: str, at_ms: int) -> Mapping[str, str]:
        """By name."""
        return dict(await self._reader.run(lambda tx: tx.all(HOLDERS, (prefix, at_ms))))


class SqliteWakes:
    """`Wakes` for a database that one server has: whoever could be woken is in this process, and is."""

    def others_listen(self) -> bool:
        """Nobody else is there."""
        return False

    async def send(self, words: Sequence[str]) -> None:
        """Nobody else is there."""

    async def listen(self, callback: Callable[[Sequence[str]], None]) -> None:
        """Nobody else says anything."""
