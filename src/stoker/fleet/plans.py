"""Plans for an endpoint: what the decision looks at, and carrying out what it says.

Called by the autoscaler; `scaling.decide` lies between the two.
"""

from __future__ import annotations

from typing import Final

from stoker.clock import Clock
from stoker.endpoint import Endpoint, Release
from stoker.errors import Unavailable
from stoker.fleet.launches import Launches
from stoker.fleet.moves import Moves
from stoker.fleet.watch import Watch
from stoker.ids import EndpointId
from stoker.machine import Machine
from stoker.scaling import Plan, RoomView, Snapshot, WorkerView
from stoker.store import Decision, Held, Store
from stoker.store.ledger import tell_endpoint
from stoker.worker import WorkerReason

RETELL_MS: Final = 1_000
"""How often the ledger tells of decisions about an endpoint that differ in numbers and words only."""

Said = tuple[str, str, int]
"""Reason, text, and how many workers are wanted."""


class Plans:
    """Snapshots, and plans that are carried out."""

    def __init__(
        self, store: Store, clock: Clock, machine: Machine, moves: Moves, launches: Launches, watch: Watch
    ) -> None:
        self._store = store
        self._clock = clock
        self._machine = machine
        self._moves = moves
        self._launches = launches
        self._watch = watch
        self._decided: dict[EndpointId, Said] = {}
        self._told: dict[EndpointId, tuple[int, Said]] = {}
        """What the ledger was told last, and when."""

    async def snapshot(self, endpoint: Endpoint) -> Snapshot:
        """Everything the scaling decision looks at."""
        counts = await self._store.jobs.counts(endpoint.id)
        held = await self._store.workers.of_endpoint(endpoint.id)
        failures = await self._store.workers.failures(endpoint.release)
        release = await self._release(endpoint)
        rooms, full_text = await self._rooms(release)
        return Snapshot(
            now_ms=self._clock.now_ms(),
            min_workers=endpoint.min_workers,
            max_workers=endpoint.max_workers,
            idle_timeout_s=endpoint.idle_timeout_s,
            slots=endpoint.slots,
            policy=endpoint.policy,
            max_surge=endpoint.max_surge,
            deleted=endpoint.deleted_ms is not None,
            paused=endpoint.paused_ms is not None,
            queued=counts.queued,
            queued_low=counts.queued_low,
            oldest_queued_ms=await self._store.jobs.oldest_queued_ms(endpoint.id),
            running=counts.running,
            workers=tuple(_view(one, endpoint) for one in held),
            failures=failures.count,
            crashes=failures.crashes,
            failed_ms=failures.last_ms,
            failure_text=failures.text,
            rooms=rooms,
            full_text=full_text,
            available=self._watch.available,
        )

    async def carry_out(self, endpoint: Endpoint, plan: Plan) -> None:
        """Do what the plan says, line by line; a line that the world has overtaken is skipped."""
        await self._record(endpoint, plan)
        if endpoint.deleted_ms is not None:  # jobs that its last workers lost: nobody will ever run them
            await self._store.jobs.purge_queue(endpoint.id, self._clock.now_ms())
        for line in plan.drain:
            await self._moves.drain(line.worker, line.reason, line.text)
        if plan.launch is not None:
            release = await self._release(endpoint)
            for _ in range(plan.launch.count):
                await self._launches.launch(endpoint, release, plan.launch.text, alive_max=plan.launch.alive_max)

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

    async def _release(self, endpoint: Endpoint) -> Release:
        release = await self._store.endpoints.release(endpoint.release)
        assert release is not None, "an endpoint always names a stored release"
        return release

    async def _rooms(self, release: Release) -> tuple[tuple[RoomView, ...], str]:
        """Where more workers of the release fit on the machine, and why no more."""
        try:
            inventory = await self._machine.inventory(gpus=release.gpus_per_worker > 0)
        except Unavailable as error:
            return (), error.message
        rooms = tuple(RoomView(name=one.specification.name, workers=one.workers) for one in inventory.rooms(release))
        return rooms, inventory.fullness(release)


def _view(held: Held, endpoint: Endpoint) -> WorkerView:
    worker = held.worker
    return WorkerView(
        id=worker.id,
        state=worker.state,
        current=worker.release == endpoint.release,
        held=held.in_slots or min(1, held.ahead),  # what it has ahead needs no other worker: it could not go there
        decided_ms=worker.decided_ms,
        idle_ms=worker.idle_ms,
        pulling=worker.detail if worker.reason is WorkerReason.IMAGE_PULLING else "",
        no_room=worker.detail if worker.reason is WorkerReason.NO_ROOM_YET else "",
        ailing=worker.detail if worker.reason is WorkerReason.HEALTH_FAILING else "",
    )
