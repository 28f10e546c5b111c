"""The history of the database schema: numbered SQL files, one folder per database.

Called by an adapter when it opens its database, before anything else uses it. What must stay true: a released file never
changes; numbers run from 1 without gaps; a database that was upgraded step by step equals one made fresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from stoker.errors import Defect


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    sql: str


def migrations(database: str) -> Sequence[Migration]:
    """All steps of a database (`sqlite`), in order. Raises `Defect` when a number is missing or used twice."""
    found = []
    for entry in sorted(files(__name__).joinpath(database).iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".sql"):
            number, _, name = entry.name.removesuffix(".sql").partition("_")
            found.append(Migration(number=int(number), name=name, sql=entry.read_text("utf-8")))
    numbers = [migration.number for migration in found]
    if numbers != list(range(1, len(found) + 1)):
        raise Defect(f"migrations of {database} are numbered {numbers}; they must run from 1 without gaps")
    return found


__all__ = ["Migration", "migrations"]
