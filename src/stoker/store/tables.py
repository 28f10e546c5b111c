"""Tables that are read and written without an image: what two databases need to know about them is here, the rest is shared.

`teams`, `credentials`, `templates`, `volumes`, `audit` and `sealed` say everything in statements that both databases accept; an
adapter brings `Tables`. A change is a list of steps in one transaction. A step may carry a refusal, which is raised, and everything
undone, when it hits no row: that is how a rule is enforced inside the transaction, without a language of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from stoker.errors import NotFound, StokerError
from stoker.ids import TeamId

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a change. Places for values are `$1`, `$2`, …; every statement writes."""

    sql: str
    values: Sequence[object]
    refusal: StokerError | None = None
    """Raised when no row was hit; None when that is all right."""
    of_jobs: bool = False
    """Whether it writes rows that an image may know."""


class Tables(Protocol):
    """A database, as far as these tables need it."""

    async def read(self, sql: str, *values: object) -> Sequence[Row]:
        """Every row that a statement finds."""
        ...

    async def change(self, *steps: Step) -> None:
        """Carry out the steps, all or none. Raises a step's refusal, `Unavailable`, `Defect`."""
        ...


LOCK_TEAM: Final = "UPDATE teams SET name = name WHERE id = $1"
"""Changes of one team's things that are compared with each other (names, the last owner) happen one after the other."""


def locked(team: TeamId) -> Step:
    """The first step of a change that is about what a team has. Conditions must come in later ones, which see what the change
    before has left."""
    return Step(LOCK_TEAM, (team,), NotFound("there is no such team", code="team_not_found"))


def insert(table: str, columns: str) -> str:
    """The statement that inserts a row; `columns` as in a SELECT, with or without the table's name."""
    names = columns.replace(f"{table}.", "").split(", ")
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f'${n + 1}' for n in range(len(names)))})"


def plain(text: str) -> str:
    """A text from outside as any database can keep it: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


__all__ = ["LOCK_TEAM", "Row", "Step", "Tables", "insert", "locked", "plain"]
