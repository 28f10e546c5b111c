"""Plans for an endpoint: what the decision looks at, and carrying out what it says.

Called by the autoscaler; `scaling.decide` lies between the two.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from stoker.clock import Clock
from stoker.endpoint import Endpoint
from stoker.errors import Unavailable
from stoker.fleet.facts import Facts
from stoker.fleet.launches import Launches
from stoker.fleet.moves import Moves
from stoker.fleet.shares import Shares
from stoker.fleet.watch import Watch
from stoker.ids import EndpointId
from stoker.inventory import Inventory, Room
from stoker.scaling import Plan, RoomView, Snapshot, WorkerView
from stoker.store import Decision, Store
from stoker.store.ledger import tell_endpoint

RETELL_MS: Final = 1_000
"""How often the ledger tells of decisions about an endpoint that differ in numbers and words only."""

Said = tuple[str, str, int]
"""Reason, text, and how many workers are wanted."""


class Plans:
    """Snapshots, and plans that are carried out."""

    def __init__(
        self, store: Store, clock: Clock, facts: Facts, shares: Shares, moves: Moves, launches: Launches, watch: Watch
    ) -> None:
        self._store = store
        self._clock = clock
        self._facts = facts
        self._shares = shares
        self._moves = moves
        self._launches = launches
        self._watch = watch
        self._decided: dict[EndpointId, Said] = {}
        self._told: dict[EndpointId, tuple[int, Said]] = {}
        """What the ledger was told last, and when."""

    async def snapshot(self, endpoint: Endpoint) -> Snapshot:
        """Everything the scaling decision looks at."""
        facts = await self._facts.snapshot(endpoint)
        release = await self._facts.release(endpoint)
        try:
            inventory, share = await self._shares.of(endpoint, release)
        except Unavailable as error:
            return replace(facts, rooms=(), full_text=error.message, available=self._watch.available)
        rooms = tuple(_room(one, inventory) for one in inventory.rooms(release))
        full_text = "; ".join(text for text in (inventory.fullness(release), share.text) if text)
        workers = tuple(
            replace(one, gives_way=share.gives_way.get(one.id, ""), moves_on=_moves_on(one, inventory))
            for one in facts.workers
        )
        return replace(facts, workers=workers, rooms=rooms, full_text=full_text, available=self._watch.available)

    async def carry_out(self, endpoint: Endpoint, plan: Plan) -> None:
        """Do what the plan says, line by line; a line that the world has overtaken is skipped."""
        await self._record(endpoint, plan)
        if endpoint.deleted_ms is not None:  # jobs that its last workers lost: nobody will ever run them
            await self._store.jobs.purge_queue(endpoint.id, self._clock.now_ms())
        for line in plan.drain:
            await self._moves.drain(line.worker, line.reason, line.text)
        if plan.launch is not None:
            release = await self._facts.release(endpoint)
            for _ in range(plan.launch.count):
                await self._launches.launch(endpoint, release, plan.launch)

    def welcome_back(self) -> None:
        """After another server decided: what was said last may be another's."""
        self._decided.clear()
        self._told.clear()

    async def _record(self, endpoint: Endpoint, plan: Plan) -> None:
        """Keep the decision if it is another than the last: under load most looks decide the same."""
        said, now_ms = (plan.reason, plan.text, plan.wanted), self._clock.now_ms()
        tells = self._tells(endpoint.id, said, now_ms)
        if self._decided.get(endpoint.id) == said and not tells:
            return
        line = tell_endpoint(
            at_ms=now_ms,
            team=endpoint.team,
            endpoint=endpoint.id,
            kind="decision",
            state=endpoint.state,
            reason=plan.reason,
            text=plan.text,
            wanted=plan.wanted,
        )
        await self._store.workers.record(
            Decision(endpoint=endpoint.id, at_ms=now_ms, reason=plan.reason, text=plan.text, wanted=plan.wanted),
            *([line] if tells else []),
        )
        self._decided[endpoint.id] = said
        if tells:
            self._told[endpoint.id] = (now_ms, said)

    def _tells(self, endpoint: EndpointId, said: Said, now_ms: int) -> bool:
        """Whether the ledger tells of it: another reason at once, other numbers and words when `RETELL_MS` have passed."""
        if endpoint not in self._told:
            return True
        told_ms, told = self._told[endpoint]
        return said != told and (said[0] != told[0] or now_ms >= told_ms + RETELL_MS)


def _room(room: Room, inventory: Inventory) -> RoomView:
    one = room.specification
    return RoomView(name=one.name, workers=room.workers, none=inventory.short.get(one.id, ""))


def _moves_on(worker: WorkerView, inventory: Inventory) -> str:
    """Why a worker that waits for a place is given up for one of another kind."""
    short = inventory.short.get(worker.place, "") if worker.current and worker.no_room else ""
    return f"{short}, so another kind is tried: {worker.no_room}" if short else ""
