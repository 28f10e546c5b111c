"""What endpoints mount: names of volumes become places, when a release is made and when its workers are launched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from stoker import runtimes
from stoker.endpoint import Release
from stoker.errors import NotFound
from stoker.ids import TeamId
from stoker.storage import Storage
from stoker.store import Store
from stoker.store.tables import Step
from stoker.store.volumes import mounted, no_volume, stays
from stoker.volume import Mount, MountTerms, Volume, check_mounts, check_of_machine

FindPlaces = Callable[[TeamId, Sequence[Mount]], Awaitable[tuple[runtimes.Volume, ...]]]
"""Where what the team mounts is on the machine."""


async def settled(store: Store, terms: MountTerms, team: TeamId, mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """The same mounts, each with the path at which workers see it.

    Raises `NotFound` for a volume that the team has not, `InvalidInput` for what is none and (`mount_not_allowed`) for a
    directory of the machine that is not for endpoints.
    """
    check_mounts(mounts)
    paths = {one.name: one.mount_path for one in await store.volumes.of_team(team)} if mounts else {}
    for mount in mounts:
        if mount.of_machine:
            check_of_machine(mount, terms)
        elif mount.source not in paths:
            raise _no_volume(mount)
    return tuple(one if one.path else replace(one, path=paths[one.source]) for one in mounts)


def needs(team: TeamId, release: Release) -> tuple[Step, ...]:
    """Steps that see to it that the volumes of a release are there, and stay. By name: so two releases never wait for each other."""
    names = sorted({mount.source for mount in release.volumes if not mount.of_machine})
    return tuple(step for name in names for step in (stays(team, name), mounted(release.id, name)))


async def places(store: Store, storage: Storage, team: TeamId, mounts: Sequence[Mount]) -> tuple[runtimes.Volume, ...]:
    """What a runtime is told to mount. Raises `NotFound` when a volume is gone."""
    known = {one.name: one for one in await store.volumes.of_team(team)} if mounts else {}
    return tuple(_place(mount, known, storage) for mount in mounts)


async def no_places(_team: TeamId, _mounts: Sequence[Mount]) -> tuple[runtimes.Volume, ...]:
    """For programs that have no storage."""
    return ()


def _place(mount: Mount, known: dict[str, Volume], storage: Storage) -> runtimes.Volume:
    if mount.of_machine:
        return runtimes.Volume(source=mount.source, target=mount.path, read_only=mount.read_only)
    if mount.source not in known:
        raise _no_volume(mount)
    volume = known[mount.source]
    return runtimes.Volume(
        source=storage.source(volume.id),
        target=mount.path,
        read_only=mount.read_only,
        name=volume.name,
        id=volume.id,
        size_bytes=volume.size_bytes,
    )


def _no_volume(mount: Mount) -> NotFound:
    missing = no_volume(mount.source)
    return NotFound(missing.message, code=missing.code, field="volumes", next_step=missing.next_step)


__all__ = ["FindPlaces", "needs", "no_places", "places", "settled"]
