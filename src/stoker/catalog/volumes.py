"""Operations on volumes and the files in them.

A volume's record is in the store, its files are wherever the storage keeps them. A size is kept to where it can be: an upload that
would go beyond it is refused, with what has come of it; what workers write is measured afterwards, and shown.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import structlog

from stoker import ids
from stoker.audit import Action, Actor, AuditLine, Facts, Kind, difference
from stoker.clock import Clock
from stoker.errors import Conflict, Refused, StokerError, Unavailable
from stoker.headroom import Headroom
from stoker.ids import TeamId, VolumeId
from stoker.runtimes import HousesVolumes, Runtime
from stoker.storage import Listing, Reading, Storage
from stoker.store import Store
from stoker.store.volumes import no_volume
from stoker.volume import MOUNT_PATH, Volume, check_change, check_new

log = structlog.get_logger()

Take = Callable[[int], None]
"""Takes room for so many bytes more. Raises `Conflict` when there is not so much."""


class Volumes:
    """Operations on volumes."""

    def __init__(self, store: Store, clock: Clock, storage: Storage, runtime: Runtime, headroom: Headroom) -> None:
        self._store = store
        self._clock = clock
        self._storage = storage
        self._runtime = runtime
        self._headroom = headroom
        self._coming: dict[VolumeId, int] = {}

    # ── volumes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def of_team(self, team: TeamId) -> Sequence[Volume]:
        """By name."""
        return await self._store.volumes.of_team(team)

    async def find(self, team: TeamId, word: str) -> Volume:
        """The team's volume of that name or id. Raises `NotFound`."""
        for one in await self.of_team(team):
            if word in (one.id, one.name):
                return one
        raise no_volume(word)

    async def users(self, volume: Volume) -> Sequence[str]:
        """Names of the endpoints that need it, those included whose last workers are still there."""
        return await self._store.volumes.users(volume)

    async def create(self, by: Actor, name: str, size_gb: int, mount_path: str | None) -> Volume:
        """Make one. Raises `InvalidInput`, `Conflict` (`name_taken`), `Unavailable`."""
        now_ms = self._clock.now_ms()
        volume = Volume(
            id=ids.new_volume_id(),
            team=by.team,
            name=name,
            size_gb=size_gb,
            mount_path=MOUNT_PATH if mount_path is None else mount_path,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        check_new(volume)
        await self._storage.create(volume.id, volume.size_bytes)
        try:
            await self._store.volumes.add(volume, self._line(by, Action.CREATED, volume, None, facts(volume)))
        except Refused:
            await self._storage.remove(volume.id)
            raise
        return volume

    async def update(self, by: Actor, before: Volume, size_gb: int | None, mount_path: str | None) -> Volume:
        """Make it larger, or change where workers of endpoints that do not say will see it.

        Raises `InvalidInput` (`volume_cannot_shrink`), `Conflict`, `Unavailable`.
        """
        after = replace(
            before,
            size_gb=before.size_gb if size_gb is None else size_gb,
            mount_path=before.mount_path if mount_path is None else mount_path,
        )
        check_change(before, after)
        if after == before:
            return before
        after = replace(after, updated_ms=self._clock.now_ms())
        await self._storage.grow(after.id, after.size_bytes)
        if after.size_bytes > before.size_bytes and isinstance(self._runtime, HousesVolumes):
            await self._runtime.grow_volume(after.team, after.id, after.size_bytes)
        old, new = difference(facts(before), facts(after))
        await self._store.volumes.update(after, self._line(by, Action.CHANGED, after, old, new))
        return after

    async def delete(self, by: Actor, volume: Volume) -> None:
        """Delete it with everything in it. Raises `Conflict` (`volume_in_use`), which says by whom."""
        await self._store.volumes.delete(volume, self._line(by, Action.DELETED, volume, facts(volume), None))
        await self._storage.remove(volume.id)
        if isinstance(self._runtime, HousesVolumes):
            try:
                await self._runtime.remove_volume(volume.team, volume.id)
            except Unavailable as error:  # it is nobody's any more; a volume of the same name gets another
                log.warning("volume_left", volume=volume.id, error=error.message)

    def _line(self, by: Actor, action: Action, volume: Volume, before: Facts | None, after: Facts | None) -> AuditLine:
        return AuditLine(
            at_ms=self._clock.now_ms(),
            by=by,
            action=action,
            kind=Kind.VOLUME,
            thing=volume.id,
            name=volume.name,
            before=before,
            after=after,
        )

    # ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def list(self, volume: Volume, path: str, *, after: str, limit: int) -> Listing:
        """Entries of a directory by name, those after `after`."""
        return await self._storage.list(volume.id, path, after=after, limit=limit)

    async def read(self, volume: Volume, path: str) -> Reading:
        """Open a file; whoever calls closes it. Raises `NotFound`, `Conflict` (`not_a_file`)."""
        return await self._storage.read(volume.id, path)

    async def upload(
        self, by: Actor, volume: Volume, path: str, pieces: AsyncIterator[bytes], declared: int | None
    ) -> Volume:
        """Store a file whole, or nothing of it; the volume as it is then. `declared` is how long it says to be.

        Raises `Conflict` (`volume_full`) as soon as it is known not to fit beside what is there and what others are uploading:
        also in the place of another, which goes only when it has come. Raises `DiskFull` before jobs have no room for results.
        """
        with self._room(volume) as take:
            take(declared or 0)
            grown = await self._storage.write(volume.id, path, self._counted(pieces, take, declared or 0))
        line = self._line(by, Action.UPLOADED, volume, None, {"path": path, "grown_bytes": grown})
        await self._store.volumes.grew(volume.id, grown, line)
        return await self.find(volume.team, volume.id)

    async def _counted(self, pieces: AsyncIterator[bytes], take: Take, declared: int) -> AsyncIterator[bytes]:
        """The same pieces; what is more than was declared takes room as it comes."""
        left = declared
        async for piece in pieces:
            self._headroom.check()
            more = max(0, len(piece) - left)
            left = max(0, left - len(piece))
            if more:
                take(more)
            yield piece

    @contextmanager
    def _room(self, volume: Volume) -> Iterator[Take]:
        """Room for one upload: called with more bytes it takes them, or refuses. All is given back at the end: by then it is in
        use, or not needed."""
        taken = 0

        def take(more: int) -> None:
            nonlocal taken
            coming = self._coming.get(volume.id, 0) + more
            if coming > volume.free_bytes:
                raise Conflict(
                    f"the volume '{volume.name}' has {volume.free_bytes} bytes left, and {coming} or more are on their way",
                    code="volume_full",
                    next_step=f"delete files, or make it larger: stoker volume update {volume.name} --size GIB",
                )
            taken += more
            self._coming[volume.id] = coming

        try:
            yield take
        finally:
            self._coming[volume.id] = self._coming.get(volume.id, 0) - taken
            if not self._coming[volume.id]:
                del self._coming[volume.id]

    async def remove(self, by: Actor, volume: Volume, path: str, *, recursive: bool) -> None:
        """Delete a file, or a directory. Raises `NotFound`, `Conflict` (`directory_not_empty`)."""
        await self._storage.delete(volume.id, path, recursive=recursive)
        line = self._line(by, Action.REMOVED, volume, {"path": path}, None)
        await self._store.volumes.grew(volume.id, 0, line)
        await self.measure(volume)

    # ── usage ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def measure(self, volume: Volume) -> None:
        """See how much is in it, and write it down. Raises `NotFound`, `Unavailable`."""
        used_bytes = await self._storage.usage(volume.id)
        if used_bytes > volume.size_bytes and not volume.over:
            log.warning("volume_over", volume=volume.id, used_bytes=used_bytes, size_bytes=volume.size_bytes)
        await self._store.volumes.measured(volume.id, used_bytes, self._clock.now_ms())

    async def measure_all(self) -> None:
        """Those of all teams, one after the other. What cannot be measured is logged."""
        for volume in await self._store.volumes.all():
            try:
                await self.measure(volume)
            except StokerError as error:
                log.warning("volume_not_measured", volume=volume.id, error=error.message)


def facts(volume: Volume) -> dict[str, Any]:
    """What can be configured of a volume."""
    return {"name": volume.name, "size_gb": volume.size_gb, "mount_path": volume.mount_path}


__all__ = ["Volumes", "facts"]
