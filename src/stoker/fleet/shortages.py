"""Shortages of an endpoint: which of the places that it may use nobody finds now (`stoker.shortages`).

Called for each look at an endpoint and for each launch, where whoever places workers does not say what there is.
"""

from __future__ import annotations

from collections.abc import Mapping

from stoker.clock import Clock
from stoker.endpoint import Endpoint, Release
from stoker.inventory import Inventory
from stoker.shortages import Patience, shortages
from stoker.store import Store


class Shortages:
    """Reads of one endpoint."""

    def __init__(self, store: Store, clock: Clock, patience: Patience) -> None:
        self._store = store
        self._clock = clock
        self._patience = patience

    async def of(self, endpoint: Endpoint, release: Release, inventory: Inventory) -> Mapping[str, str]:
        """The places to pass over, by id of their specification, with the reason in words."""
        choices = inventory.choices(release)
        if inventory.capacity.known or len(choices) < 2:
            return {}
        held = await self._store.workers.of_endpoint(endpoint.id)
        workers = [one.worker for one in held if one.worker.release == release.id]
        moved_on_ms = await self._store.workers.moved_on(release.id)
        return shortages(self._clock.now_ms(), choices, workers, moved_on_ms, self._patience)
