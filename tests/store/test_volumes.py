"""Volumes: what is stored of them, and that one that is needed stays."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from stoker.audit import Action, Actor, AuditLine, Kind
from stoker.catalog import mounts
from stoker.errors import Conflict, NotFound
from stoker.ids import ReleaseId, VolumeId
from stoker.store import Store
from stoker.volume import Mount, Volume
from stoker.worker import Exit, Exited
from tests.store.records import ENDPOINT, NOW, OTHER_TEAM, TEAM, WORKER, a_release, a_worker, an_endpoint

LINE = AuditLine(at_ms=NOW, by=Actor(team=TEAM), action=Action.CREATED, kind=Kind.VOLUME, thing="x", name="x")


def a_volume(name: str = "one", /, **more: Any) -> Volume:
    values: dict[str, Any] = {
        "id": VolumeId(f"vol-{name}"),
        "team": TEAM,
        "name": name,
        "size_gb": 10,
        "mount_path": "/models",
        "created_ms": NOW,
        "updated_ms": NOW,
    }
    return Volume(**values | more)


async def mount(store: Store, *names: str, version: int = 2) -> None:
    """From now on the first endpoint mounts these."""
    volumes = tuple(Mount(source=name, path=f"/{name}") for name in names)
    release = a_release(version, id=ReleaseId(f"rel-{version}"), volumes=volumes)
    endpoint = an_endpoint(release=release.id, version=version)
    await store.endpoints.update(endpoint, release, *mounts.needs(TEAM, release))


async def test_volumes_are_read_back(store: Store) -> None:
    """A volume is read with everything about it, by its own team only; size and place change, nothing else does."""
    one, two = a_volume(), a_volume("two", measured_ms=NOW, used_bytes=7)
    foreign = a_volume(id=VolumeId("vol-foreign"), team=OTHER_TEAM)
    for volume in (two, one, foreign):
        await store.volumes.add(volume, LINE)
    assert await store.volumes.of_team(TEAM) == [one, two]
    assert await store.volumes.of_team(OTHER_TEAM) == [foreign]
    assert {volume.id for volume in await store.volumes.all()} == {one.id, two.id, foreign.id}
    grown = replace(one, size_gb=11, mount_path="/other", updated_ms=NOW + 1)
    await store.volumes.update(replace(grown, used_bytes=99), LINE)
    assert await store.volumes.of_team(TEAM) == [grown, two]
    with pytest.raises(Conflict) as caught:
        await store.volumes.update(replace(grown, size_gb=10), LINE)
    assert caught.value.code == "version_changed"
    with pytest.raises(Conflict) as caught:
        await store.volumes.add(a_volume("three", name="one"), LINE)
    assert caught.value.code == "name_taken"


async def test_usage_is_measured_and_counted(store: Store) -> None:
    """What was measured counts, and what came since; it never falls below nothing."""
    await store.volumes.add(a_volume(), LINE)
    await store.volumes.measured(VolumeId("vol-one"), 100, NOW + 5)
    await store.volumes.grew(VolumeId("vol-one"), 7, LINE)
    (volume,) = await store.volumes.of_team(TEAM)
    assert (volume.used_bytes, volume.measured_ms) == (107, NOW + 5)
    await store.volumes.grew(VolumeId("vol-one"), -1_000, LINE)
    (volume,) = await store.volumes.of_team(TEAM)
    assert volume.used_bytes == 0
    assert len(await store.audit.lines(TEAM)) == 3


async def test_release_is_read_back_with_its_volumes(store: Store) -> None:
    """What a release mounts is stored with it."""
    await store.volumes.add(a_volume(), LINE)
    volumes = (Mount(source="one", path="/a", read_only=True), Mount(source="/srv/data", path="/b"))
    release = a_release(2, volumes=volumes, disk_gb=3)
    await store.endpoints.update(an_endpoint(release=release.id, version=2), release, *mounts.needs(TEAM, release))
    assert await store.endpoints.release(release.id) == release


async def test_volume_in_use_stays(store: Store) -> None:
    """What the present release of a living endpoint mounts cannot be deleted; the refusal names the endpoint."""
    volume = a_volume()
    await store.volumes.add(volume, LINE)
    await store.volumes.add(a_volume(id=VolumeId("vol-foreign"), team=OTHER_TEAM), LINE)
    await mount(store, "one")
    assert await store.volumes.users(volume) == ["hello"]
    assert await store.volumes.users(replace(volume, team=OTHER_TEAM)) == []
    with pytest.raises(Conflict, match="hello") as caught:
        await store.volumes.delete(volume, LINE)
    assert caught.value.code == "volume_in_use"
    await mount(store, version=3)
    await store.volumes.delete(volume, LINE)
    with pytest.raises(NotFound):
        await store.volumes.delete(volume, LINE)


async def test_volume_of_a_worker_stays(store: Store) -> None:
    """A worker that is left of an older release, or of a deleted endpoint, keeps its volume until it is gone."""
    volume = a_volume()
    await store.volumes.add(volume, LINE)
    await mount(store, "one")
    assert await store.workers.add(a_worker(release=ReleaseId("rel-2")), alive_max=9)
    await mount(store, version=3)
    await store.endpoints.update(an_endpoint(release=ReleaseId("rel-3"), version=4, deleted_ms=NOW), None)
    with pytest.raises(Conflict, match="hello"):
        await store.volumes.delete(volume, LINE)
    await store.workers.advance(WORKER, Exited(at_ms=NOW, exit=Exit(code=0, text="it ended")))
    await store.volumes.delete(volume, LINE)


async def test_volume_that_is_not_there(store: Store) -> None:
    """An endpoint cannot come to mount what its team has not; nothing of the change is stored."""
    await store.volumes.add(a_volume(team=OTHER_TEAM), LINE)
    with pytest.raises(NotFound) as caught:
        await mount(store, "one")
    assert caught.value.code == "volume_not_found"
    assert await store.endpoints.release(ReleaseId("rel-2")) is None


async def test_deleted_and_mounted_at_once(store: Store) -> None:
    """Whoever comes second is refused: no endpoint is left with a volume that is gone."""
    volume = a_volume()
    await store.volumes.add(volume, LINE)
    outcomes = await asyncio.gather(mount(store, "one"), store.volumes.delete(volume, LINE), return_exceptions=True)
    assert sum(isinstance(one, Conflict | NotFound) for one in outcomes) == 1
    endpoint = await store.endpoints.get(ENDPOINT)
    assert endpoint is not None
    release = await store.endpoints.release(endpoint.release)
    assert release is not None
    assert bool(release.volumes) is bool(await store.volumes.of_team(TEAM))
