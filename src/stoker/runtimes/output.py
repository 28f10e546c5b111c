"""A container's output as lines: who runs it hands out pieces, each beginning with its time. Pure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

from stoker.runtimes import LogLine

LINE_CHARACTERS_MAX: Final = 8 * 1024
"""A longer line is cut into several."""
_SECONDS: Final = len("2026-01-02T03:04:05")


async def lines_of(pieces: AsyncIterator[str]) -> AsyncIterator[LogLine]:
    """Whole lines. The engine cuts what is longer than 16 KiB; the rest of a line begins with a time as well."""
    async for piece in pieces:
        stamp, _, text = piece.partition(" ")
        at_ms = moment_ms(stamp)
        text = text.removesuffix("\n").removesuffix("\r")
        for start in range(0, max(len(text), 1), LINE_CHARACTERS_MAX):
            yield LogLine(at_ms=at_ms, text=text[start : start + LINE_CHARACTERS_MAX])


def moment_ms(text: str) -> int:
    """Milliseconds since the epoch of the engine's way to write a moment: UTC, with up to nine digits behind the point."""
    try:
        whole = datetime.fromisoformat(text[:_SECONDS]).replace(tzinfo=UTC)
    except ValueError:  # a piece without a time: only its words count
        return 0
    fraction = text[_SECONDS:].rstrip("Z").removeprefix(".")
    return int(whole.timestamp()) * 1000 + int((fraction + "000")[:3] or 0)
