"""Operations on templates: fields of an endpoint under a name, to make endpoints from.

A template is a copy, not a link: changing it changes no endpoint that was made from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stoker import ids
from stoker.audit import Action, Actor, AuditLine, Facts, Kind, difference
from stoker.catalog.sealing import sealed
from stoker.clock import Clock
from stoker.document import hidden, read, stored
from stoker.endpoint import OF_ENDPOINT, OF_RELEASE, Endpoint, Release, Template, check
from stoker.errors import InvalidInput
from stoker.ids import EndpointId, ReleaseId, TeamId
from stoker.store import Store
from stoker.store.templates import no_template
from stoker.team import check_name
from stoker.vault import Vault

NOT_SHARED = frozenset({"name", "app_name"})
"""Fields that are an endpoint's own."""


class Templates:
    """Operations on templates."""

    def __init__(self, store: Store, clock: Clock, vault: Vault) -> None:
        self._store = store
        self._clock = clock
        self._vault = vault

    async def of_team(self, team: TeamId) -> Sequence[Template]:
        """By name."""
        return await self._store.templates.of_team(team)

    async def find(self, team: TeamId, word: str) -> Template:
        """The team's template of that id or name. Raises `NotFound`."""
        for one in await self.of_team(team):
            if word in (one.id, one.name):
                return one
        raise no_template(word)

    async def create(self, by: Actor, name: str, fields: Mapping[str, Any]) -> Template:
        """Store one. Raises `InvalidInput` for a field that no endpoint could have, `Conflict` for a taken name."""
        now_ms = self._clock.now_ms()
        template = Template(
            id=ids.new_template_id(),
            team=by.team,
            name=name,
            fields=await self._stored(by.team, name, fields, {}),
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        line = self._line(by, Action.CREATED, template, None, hidden(template.fields))
        await self._store.templates.add(template, line)
        return template

    async def update(self, by: Actor, before: Template, name: str, fields: Mapping[str, Any]) -> Template:
        """Replace name and fields. Raises as `create`, and `NotFound`."""
        after = replace(before, name=name, fields=await self._stored(by.team, name, fields, read(before.fields)))
        if after == before:
            return before
        after = replace(after, updated_ms=self._clock.now_ms())
        facts = ({"name": one.name} | hidden(one.fields) for one in (before, after))
        await self._store.templates.update(after, self._line(by, Action.CHANGED, after, *difference(*facts)))
        return after

    async def delete(self, by: Actor, template: Template) -> None:
        """Forget it."""
        line = self._line(by, Action.DELETED, template, hidden(template.fields), None)
        await self._store.templates.delete(template, line)

    async def _stored(
        self, team: TeamId, name: str, fields: Mapping[str, Any], present: Mapping[str, Any]
    ) -> dict[str, Any]:
        check_name(name)
        for field in NOT_SHARED & fields.keys():
            raise InvalidInput(f"{field} is an endpoint's own: a template has none", field=field)
        full = dict(fields)
        if "env" in full:
            full["env"] = await sealed(self._vault, team, full["env"], present.get("env", {}))
        _check(full)
        return stored(full)

    def _line(
        self, by: Actor, action: Action, template: Template, before: Facts | None, after: Facts | None
    ) -> AuditLine:
        return AuditLine(
            at_ms=self._clock.now_ms(),
            by=by,
            action=action,
            kind=Kind.TEMPLATE,
            thing=template.id,
            name=template.name,
            before=before,
            after=after,
        )


def _check(fields: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` for values that no endpoint could have: one is tried."""
    ours = {name: fields[name] for name in OF_ENDPOINT if name in fields}
    theirs = {"image": "any"} | {name: fields[name] for name in OF_RELEASE if name in fields}
    ours.setdefault("max_workers", max(3, ours.get("min_workers", 0)))
    endpoint = Endpoint(id=EndpointId(""), team=TeamId(""), name="any", release=ReleaseId(""), created_ms=0, **ours)
    check(endpoint, Release(id=ReleaseId(""), endpoint=EndpointId(""), number=1, created_ms=0, **theirs))


__all__ = ["Templates"]
