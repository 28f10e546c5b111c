"""Budgets: set by admins, counted after meters were read, asked about by every submission.

`count` is called by the loop on the server that is on duty; `check` by submissions on any server, which believe for a second what was
read. What a budget means for workers is the autoscaler's matter (`scaling.decide`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stoker.audit import Action, Actor, AuditLine, Facts, Kind
from stoker.budget import Budget, Level, Spender, arrears, begins_ms, check, counting, jobs_in_turn, upto, worst
from stoker.catalog.remembered import Remembered
from stoker.clock import Clock
from stoker.endpoint import Endpoint
from stoker.errors import Exhausted
from stoker.ids import EndpointId, TeamId
from stoker.metering import HOUR_MS
from stoker.signals import Signals
from stoker.specification import MICROS
from stoker.store import Store
from stoker.store.budgets import no_budget
from stoker.usage import cost_of


class Budgets:
    """Operations on budgets."""

    def __init__(self, store: Store, clock: Clock, signals: Signals) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._believed: Remembered[TeamId, Sequence[Budget]] = Remembered(clock, store.budgets.of_team)

    # ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def of_team(self, team: TeamId) -> Sequence[Budget]:
        """The team's own, then those of its endpoints."""
        return await self._store.budgets.of_team(team)

    async def save(self, by: Actor, budget: Budget, name: str) -> Budget:
        """Set one in place of the one that there was. Raises `InvalidInput`."""
        check(budget)
        before = await self._one(budget.team, budget.endpoint)
        action = Action.CREATED if before is None else Action.CHANGED
        line = self._line(by, action, budget, name, None if before is None else facts(before), facts(budget))
        await self._store.budgets.save(budget, line)
        await self._changed(budget.team)
        found = await self._one(budget.team, budget.endpoint)
        return budget if found is None else found

    async def delete(self, by: Actor, team: TeamId, endpoint: EndpointId | None, name: str) -> Budget:
        """Take one away. Raises `NotFound`."""
        before = await self._one(team, endpoint)
        if before is None:
            raise no_budget()
        await self._store.budgets.delete(before, self._line(by, Action.DELETED, before, name, facts(before), None))
        await self._changed(team)
        return before

    async def _one(self, team: TeamId, endpoint: EndpointId | None) -> Budget | None:
        return next((one for one in await self._store.budgets.of_team(team) if one.endpoint == endpoint), None)

    def _line(
        self, by: Actor, action: Action, budget: Budget, name: str, before: Facts | None, after: Facts | None
    ) -> AuditLine:
        return AuditLine(
            at_ms=self._clock.now_ms(),
            by=by,
            action=action,
            kind=Kind.BUDGET,
            thing=budget.endpoint or budget.team,
            name=name,
            before=before,
            after=after,
        )

    async def _changed(self, team: TeamId) -> None:
        self._believed.forget()
        for endpoint in await self._store.endpoints.of_team(team):
            self._signals.scale(endpoint.id)

    # ── for those who would cost more ─────────────────────────────────────────────────────────────────────────────────

    async def check(self, endpoint: Endpoint) -> None:
        """Raise `Exhausted` (`budget_exhausted`) when new jobs are refused."""
        now_ms = self._clock.now_ms()
        if self.none_of(endpoint.team, now_ms):
            return
        believed = await self._believed.get(endpoint.team) or ()
        found = worst(counting(believed, endpoint.id), now_ms)
        if found is not None and found.level(now_ms) is Level.REFUSE:
            raise Exhausted(
                found.text(now_ms),
                code="budget_exhausted",
                field="endpoint",
                next_step="wait until then, or ask the operator for more"
                if found.endpoint is None
                else f"wait until then, or raise it: stoker budget set {endpoint.name} --refuse AMOUNT",
            )

    async def jobs_in_turn(self, team: TeamId, endpoint_id: EndpointId, now_ms: int) -> int | None:
        """How many jobs a worker may get now, one after the other; None: as many as it likes. While a cap counts its endpoint every
        call reads what workers cost until now."""
        if not await self._capped(team, endpoint_id, now_ms):
            return None
        endpoint = await self._store.endpoints.get(endpoint_id)
        budgets, spenders = await self._upto_now(team, now_ms)
        limit_ms = 0 if endpoint is None else endpoint.execution_timeout_ms
        return jobs_in_turn(budgets, spenders, endpoint_id, now_ms, limit_ms=limit_ms)

    def none_of(self, team: TeamId, now_ms: int) -> bool:
        """Whether it is known, without asking the database, that the team has no budget."""
        known = self._believed.known(team, now_ms)
        return known is not None and not known

    async def spent(self, team: TeamId, endpoint_id: EndpointId, now_ms: int) -> str:
        """Why no job of the endpoint may begin at this moment, in words; empty while one may. It reads as `jobs_in_turn` does."""
        if not await self._capped(team, endpoint_id, now_ms):
            return ""
        budgets, spenders = await self._upto_now(team, now_ms)
        return arrears([upto(one, spenders, now_ms) for one in budgets], endpoint_id, now_ms)

    async def _capped(self, team: TeamId, endpoint: EndpointId, now_ms: int) -> bool:
        believed = await self._believed.get(team) or ()
        return any(one.cap_micros is not None for one in counting(believed, endpoint))

    async def _upto_now(self, team: TeamId, now_ms: int) -> tuple[Sequence[Budget], Sequence[Spender]]:
        """The team's budgets, and whose time may not be counted in them yet."""
        budgets = await self._store.budgets.of_team(team)
        spenders = await self._store.budgets.spenders(team, min((one.counted_ms for one in budgets), default=now_ms))
        return budgets, spenders

    # ── for the loop ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def count(self, now_ms: int) -> bool:
        """Count what is spent of every budget up to the moment when all meters were read, and wake the autoscaler where that means
        something else than before. Whether there are budgets at all."""
        budgets = await self._store.budgets.all()
        for before in budgets:
            began_ms = begins_ms(before.span, now_ms)
            sums = await self._store.usage.sums(
                before.team,
                from_ms=began_ms,
                to_ms=now_ms + HOUR_MS,
                period_ms=HOUR_MS,
                endpoint=before.endpoint or "",
            )
            spent_micros = round(cost_of(sums) * MICROS)
            after = replace(before, spent_micros=spent_micros, began_ms=began_ms, counted_ms=now_ms)
            if (spent_micros, began_ms) != (before.spent_micros, before.began_ms):  # else nothing cost anything since
                await self._store.budgets.spent(after)
            if after.level(now_ms) is not before.level(now_ms):
                await self._changed(after.team)
        return bool(budgets)


def facts(budget: Budget) -> Facts:
    """As the audit log and the API show it, in currency units."""
    amounts = {"warn": budget.warn_micros, "queue": budget.queue_micros, "refuse": budget.refuse_micros}
    return {"period": budget.span.value} | {
        name: None if amount is None else amount / MICROS for name, amount in amounts.items()
    }


__all__ = ["Budgets", "facts"]
