"""Warm-ups in the database: one row for each team and image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.audit import AuditLine
from stoker.errors import NotFound
from stoker.ids import TeamId
from stoker.store import audit
from stoker.store.credentials import stays
from stoker.store.tables import Row, Step, Tables, insert, plain
from stoker.warmup import WarmUp, WarmUpState

COLUMNS: Final = "team, image, credential, state, text, code, digest, tries, due_ms, asked_ms, updated_ms"
OF_TEAM: Final = f"SELECT {COLUMNS} FROM warm_ups WHERE team = $1 ORDER BY image"
OF_IMAGE: Final = (
    f"SELECT {COLUMNS} FROM warm_ups WHERE image = $1 OR digest = $1 OR digest = $2 AND digest <> '' ORDER BY team"
)
UNFINISHED: Final = f"SELECT {COLUMNS} FROM warm_ups WHERE state = 'fetching' ORDER BY asked_ms, image, team"
WISH: Final = (
    insert("warm_ups", COLUMNS)
    + """
    ON CONFLICT (team, image) DO UPDATE SET credential = excluded.credential, state = excluded.state, text = excluded.text,
      code = excluded.code, tries = excluded.tries, due_ms = excluded.due_ms, asked_ms = excluded.asked_ms,
      updated_ms = excluded.updated_ms"""
)
"""Asking again begins again; the name of the bytes that were here stays until there are others."""
TOLD: Final = """
    UPDATE warm_ups SET state = $1, text = $2, code = $3, digest = $4, tries = $5, due_ms = $6, updated_ms = $7
    WHERE team = $8 AND image = $9 AND asked_ms = $10 AND state = 'fetching'"""
DELETE: Final = "DELETE FROM warm_ups WHERE team = $1 AND image = $2"
COLLECTED: Final = "DELETE FROM warm_ups WHERE (image = $1 OR digest = $1) AND state = 'here'"


class WarmUpRows:
    """Warm-ups."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def of_team(self, team: TeamId) -> Sequence[WarmUp]:
        """By image."""
        return [_warm_up(row) for row in await self._tables.read(OF_TEAM, team)]

    async def unfinished(self) -> Sequence[WarmUp]:
        """Those of all teams that are to be fetched, the first asked for first. Looks across teams: for the loop."""
        return [_warm_up(row) for row in await self._tables.read(UNFINISHED)]

    async def of_image(self, image: str, digest: str) -> Sequence[WarmUp]:
        """Those of all teams for the image or for these bytes. Looks across teams: whoever removes must not take from others."""
        return [_warm_up(row) for row in await self._tables.read(OF_IMAGE, image, digest)]

    async def wish(self, warm_up: WarmUp, line: AuditLine) -> None:
        """Store one, or begin the team's again that is for the same image. Raises `NotFound` (`credential_not_found`)."""
        needed = () if warm_up.credential is None else (stays(warm_up.team, warm_up.credential),)
        await self._tables.change(*needed, wished(warm_up), audit.step(line))

    async def tell(self, warm_up: WarmUp) -> None:
        """Store how far it is, or how it ended. One that was removed or begun again meanwhile is left as it is."""
        values = (
            warm_up.state.value,
            plain(warm_up.text),
            warm_up.code,
            warm_up.digest,
            warm_up.tries,
            warm_up.due_ms,
            warm_up.updated_ms,
            warm_up.team,
            warm_up.image,
            warm_up.asked_ms,
        )
        await self._tables.change(Step(TOLD, values))

    async def delete(self, team: TeamId, image: str, line: AuditLine) -> None:
        """Forget it. Raises `NotFound`."""
        await self._tables.change(Step(DELETE, (team, image), no_warm_up(image)), audit.step(line))

    async def collected(self, image: str) -> None:
        """The image is no longer here: nobody has it warm."""
        await self._tables.change(Step(COLLECTED, (image,)))


def wished(warm_up: WarmUp) -> Step:
    """A step that stores one, or begins the team's again that is for the same image."""
    return Step(
        WISH,
        (
            warm_up.team,
            warm_up.image,
            warm_up.credential,
            warm_up.state.value,
            warm_up.text,
            warm_up.code,
            warm_up.digest,
            warm_up.tries,
            warm_up.due_ms,
            warm_up.asked_ms,
            warm_up.updated_ms,
        ),
    )


def no_warm_up(image: str) -> NotFound:
    """The refusal for an image that the team did not have fetched."""
    return NotFound(
        f"'{image[:200]}' is no image that Stoker fetched for this team",
        code="image_not_kept",
        field="image",
        next_step="list them: stoker image ls",
    )


def _warm_up(row: Row) -> WarmUp:
    return WarmUp(
        team=row[0],
        image=row[1],
        credential=row[2],
        state=WarmUpState(row[3]),
        text=row[4],
        code=row[5],
        digest=row[6],
        tries=row[7],
        due_ms=row[8],
        asked_ms=row[9],
        updated_ms=row[10],
    )


__all__ = ["WarmUpRows", "no_warm_up", "wished"]
