"""Operations on views: filters of jobs that a team has given a name, so that everybody in it looks at the same."""

from __future__ import annotations

from collections.abc import Sequence

from stoker.audit import Action, Actor, AuditLine, Facts, Kind
from stoker.clock import Clock
from stoker.ids import TeamId
from stoker.store import Store
from stoker.store.views import Filters, View, no_view
from stoker.team import check_name


class Views:
    """Operations on views."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def of_team(self, team: TeamId) -> Sequence[View]:
        """By name."""
        return await self._store.views.of_team(team)

    async def find(self, team: TeamId, name: str) -> View:
        """The team's view of that name. Raises `NotFound`."""
        for one in await self.of_team(team):
            if name == one.name:
                return one
        raise no_view(name)

    async def save(self, by: Actor, name: str, filters: Filters) -> View:
        """Keep filters under a name, in place of others. Raises `InvalidInput`, `Conflict`."""
        check_name(name)
        before = next((one.filters for one in await self.of_team(by.team) if one.name == name), None)
        view = View(team=by.team, name=name, filters=filters, updated_ms=self._clock.now_ms())
        action = Action.CREATED if before is None else Action.CHANGED
        await self._store.views.save(view, self._line(by, action, name, before, filters))
        return view

    async def delete(self, by: Actor, view: View) -> None:
        """Forget it. Raises `NotFound`."""
        await self._store.views.delete(view, self._line(by, Action.DELETED, view.name, view.filters, None))

    def _line(self, by: Actor, action: Action, name: str, before: Facts | None, after: Facts | None) -> AuditLine:
        now_ms = self._clock.now_ms()
        return AuditLine(
            at_ms=now_ms, by=by, action=action, kind=Kind.VIEW, thing=name, name=name, before=before, after=after
        )


__all__ = ["Views"]
