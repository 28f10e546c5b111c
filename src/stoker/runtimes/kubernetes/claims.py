"""Volumes as claims of storage: made by the first worker that mounts one, grown and removed with the volume."""

from __future__ import annotations

from stoker.errors import Conflict, Unavailable
from stoker.ids import VolumeId
from stoker.runtimes import WorkerSpec
from stoker.runtimes.kubernetes.api import Api, Refusal, missing_is_fine
from stoker.runtimes.kubernetes.pod import claim_name, claims_of, namespace_of
from stoker.runtimes.kubernetes.terms import Terms


class Claims:
    """The claims of all volumes."""

    def __init__(self, api: Api, terms: Terms) -> None:
        self._api = api
        self._terms = terms

    async def ensure(self, spec: WorkerSpec) -> None:
        """Have those there that a worker needs. Raises `InvalidInput` and `Refusal`."""
        for claim in claims_of(spec, self._terms):
            await self._api.ensure(claim, namespace_of(spec.team, self._terms))

    async def grow(self, team: str, volume: VolumeId, size_bytes: int) -> None:
        """Ask for more; of a volume that nobody has mounted yet there is none. Raises `Conflict` where the storage cannot grow."""
        name, namespace = claim_name(volume, self._terms), namespace_of(team, self._terms)
        try:
            await missing_is_fine(self._api.grow_claim(name, namespace, size_bytes))
        except Refusal as refusal:
            raise Conflict(
                f"the storage of the volume cannot grow: {refusal.message}",
                code="volume_cannot_grow",
                field="size_gb",
                next_step="its storage class needs allowVolumeExpansion: ask who runs the cluster",
            ) from None

    async def remove(self, team: str, volume: VolumeId) -> None:
        """Remove it; its storage goes as its class says. Raises `Unavailable`."""
        name, namespace = claim_name(volume, self._terms), namespace_of(team, self._terms)
        try:
            await missing_is_fine(self._api.delete_claim(name, namespace))
        except Refusal as refusal:
            raise Unavailable(f"the cluster does not remove claim {name}: {refusal.message}") from None
