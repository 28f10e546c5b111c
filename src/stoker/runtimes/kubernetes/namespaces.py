"""The namespaces of workers: made ready once for each, and in which of them a worker lives.

Where each team has a namespace of its own, only the launch order names it; later a worker's pod tells, and when that is gone its record.
"""

from __future__ import annotations

from stoker.ids import WorkerId
from stoker.runtimes.kubernetes.api import Api
from stoker.runtimes.kubernetes.pod import home_of
from stoker.runtimes.kubernetes.policy import policy_of
from stoker.runtimes.kubernetes.terms import Terms


class Namespaces:
    """What was made, and what was seen of each worker."""

    def __init__(self, api: Api, terms: Terms) -> None:
        self._api = api
        self._terms = terms
        self._prepared: set[str] = set()
        self._homes: dict[WorkerId, str] = {}

    async def prepare(self, namespace: str) -> None:
        """Have the namespace there, and whom its workers may talk to; once for each."""
        if namespace in self._prepared:
            return
        if self._terms.by_team:
            await self._api.ensure_namespace(home_of(namespace, self._terms))
        if self._terms.network_policy:
            await self._api.ensure(policy_of(self._terms.installation), namespace)
        self._prepared.add(namespace)

    def of(self, worker: WorkerId) -> str:
        """Where it lives, or did; the server's own namespace when nothing was seen of it."""
        return self._homes.get(worker, self._terms.namespace)

    def learn(self, worker: WorkerId, namespace: str | None) -> None:
        """Remember where something of it was seen."""
        if namespace:
            self._homes[worker] = namespace

    def forget(self, worker: WorkerId) -> None:
        """Nothing of it is left."""
        self._homes.pop(worker, None)
