"""Templates in the database: fields of an endpoint by name, as JSON; values of secrets are sealed before they come here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from stoker.audit import AuditLine
from stoker.endpoint import Template
from stoker.errors import Conflict, NotFound
from stoker.ids import TeamId, TemplateId
from stoker.store import audit
from stoker.store.tables import Row, Step, Tables, insert, locked

COLUMNS: Final = "id, team, name, fields, created_ms, updated_ms"
OF_TEAM: Final = f"SELECT {COLUMNS} FROM templates WHERE team = $1 ORDER BY name"
NAME_IS_FREE: Final = """
    UPDATE teams SET name = name WHERE id = $1 AND NOT EXISTS (
      SELECT 1 FROM templates WHERE team = $1 AND name = $2 AND id <> $3)"""
UPDATE: Final = "UPDATE templates SET name = $1, fields = $2, updated_ms = $3 WHERE team = $4 AND id = $5"
DELETE: Final = "DELETE FROM templates WHERE team = $1 AND id = $2"


class TemplateRows:
    """Templates."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def of_team(self, team: TeamId) -> Sequence[Template]:
        """By name."""
        return [_template(row) for row in await self._tables.read(OF_TEAM, team)]

    async def add(self, template: Template, line: AuditLine) -> None:
        """Store one. Raises `Conflict` (`name_taken`)."""
        values = (
            template.id,
            template.team,
            template.name,
            json.dumps(template.fields),
            template.created_ms,
            template.updated_ms,
        )
        insertion = Step(insert("templates", COLUMNS), values)
        await self._tables.change(locked(template.team), _name_is_free(template), insertion, audit.step(line))

    async def update(self, template: Template, line: AuditLine) -> None:
        """Store name and fields. Raises `Conflict` (`name_taken`), `NotFound`."""
        values = (template.name, json.dumps(template.fields), template.updated_ms, template.team, template.id)
        update = Step(UPDATE, values, no_template(template.id))
        await self._tables.change(locked(template.team), _name_is_free(template), update, audit.step(line))

    async def delete(self, template: Template, line: AuditLine) -> None:
        """Forget it. Raises `NotFound`."""
        gone = Step(DELETE, (template.team, template.id), no_template(template.id))
        await self._tables.change(gone, audit.step(line))


def no_template(word: str) -> NotFound:
    """The refusal for one that does not exist."""
    return NotFound(
        f"there is no template '{word[:100]}'",
        code="template_not_found",
        field="template",
        next_step="list them: stoker template ls",
    )


def _name_is_free(template: Template) -> Step:
    taken = Conflict(f"there is already a template '{template.name}'", code="name_taken", field="name")
    return Step(NAME_IS_FREE, (template.team, template.name, template.id), taken)


def _template(row: Row) -> Template:
    return Template(
        id=TemplateId(row[0]),
        team=TeamId(row[1]),
        name=row[2],
        fields=json.loads(row[3]),
        created_ms=row[4],
        updated_ms=row[5],
    )


__all__ = ["TemplateRows", "no_template"]
