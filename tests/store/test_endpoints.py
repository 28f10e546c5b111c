"""Endpoints and releases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stoker.endpoint import Policy, PolicyType
from stoker.errors import Conflict, NotFound
from stoker.ids import EndpointId, ReleaseId, WorkerId
from stoker.store import Store
from stoker.worker import Vanished
from tests.store.records import (
    ENDPOINT,
    NOW,
    OTHER_ENDPOINT,
    OTHER_TEAM,
    RELEASE,
    TEAM,
    a_release,
    a_worker,
    an_endpoint,
)

NEW = EndpointId("endpointnew")


def a_new_one(name: str) -> tuple[object, ...]:
    """What the third endpoint is made of."""
    release = ReleaseId("rel-new")
    return an_endpoint(id=NEW, name=name, release=release), a_release(id=release, endpoint=NEW)


async def test_endpoint_is_read_back(store: Store) -> None:
    """An endpoint and its release are read with every value they were given."""
    release = a_release(id=ReleaseId("rel-new"), endpoint=NEW, env={"A": "1", "B": "ü\n"})
    endpoint = an_endpoint(
        id=NEW,
        name="new",
        app_name="app",
        release=release.id,
        min_workers=1,
        max_workers=7,
        idle_timeout_s=9,
        slots=4,
        policy=Policy(type=PolicyType.QUEUE_DELAY, value=12),
        execution_timeout_ms=5_000,
        ttl_ms=10_000,
        retries=2,
        retention_s=61,
    )
    await store.endpoints.add(endpoint, release)
    assert await store.endpoints.get(NEW) == endpoint
    assert await store.endpoints.release(release.id) == release
    assert await store.endpoints.get(EndpointId("nobody")) is None
    assert await store.endpoints.release(ReleaseId("nothing")) is None


async def test_of_team(store: Store) -> None:
    """A team sees its own living endpoints, by name."""
    assert [endpoint.name for endpoint in await store.endpoints.of_team(TEAM)] == ["hello", "other"]
    assert [endpoint.name for endpoint in await store.endpoints.of_team(OTHER_TEAM)] == ["hello"]


@pytest.mark.parametrize("name", ["hello", ENDPOINT, f"{ENDPOINT}-app"])
async def test_name_taken(store: Store, name: str) -> None:
    """A name that a living endpoint of the team answers to is refused, and nothing is stored."""
    await store.endpoints.update(an_endpoint(app_name="app", version=2), None)
    with pytest.raises(Conflict) as caught:
        await store.endpoints.add(*a_new_one(name))  # type: ignore[arg-type] # two records
    assert caught.value.code == "name_taken"
    assert await store.endpoints.get(NEW) is None
    assert await store.endpoints.release(ReleaseId("rel-new")) is None


async def test_name_of_a_deleted_endpoint_is_free(store: Store) -> None:
    """A deleted endpoint gives its name back."""
    await store.endpoints.update(an_endpoint(version=2, deleted_ms=NOW), None)
    await store.endpoints.add(*a_new_one("hello"))  # type: ignore[arg-type] # two records
    assert {endpoint.id for endpoint in await store.endpoints.of_team(TEAM)} == {NEW, OTHER_ENDPOINT}


async def test_update(store: Store) -> None:
    """A change is stored with its new release; releases are listed newest first."""
    release = a_release(2, image="dir:examples/other")
    endpoint = an_endpoint(name="renamed", max_workers=9, release=release.id, version=2)
    await store.endpoints.update(endpoint, release)
    assert await store.endpoints.get(ENDPOINT) == endpoint
    assert [one.number for one in await store.endpoints.releases(ENDPOINT)] == [2, 1]
    assert [one.id for one in await store.endpoints.releases(OTHER_ENDPOINT)] == [f"rel-{OTHER_ENDPOINT}"]


async def test_update_keeps_its_own_name(store: Store) -> None:
    """An endpoint does not stand in its own way."""
    await store.endpoints.update(an_endpoint(idle_timeout_s=5, version=2), None)
    found = await store.endpoints.get(ENDPOINT)
    assert found is not None
    assert found.idle_timeout_s == 5


async def test_update_to_a_taken_name(store: Store) -> None:
    """A change of name to one that is taken is refused."""
    with pytest.raises(Conflict) as caught:
        await store.endpoints.update(an_endpoint(name="other", version=2), None)
    assert caught.value.code == "name_taken"


async def test_update_from_an_old_version(store: Store) -> None:
    """Of two changes made from one version the second is refused, release and all."""
    await store.endpoints.update(an_endpoint(slots=2, version=2), None)
    with pytest.raises(Conflict) as caught:
        await store.endpoints.update(an_endpoint(slots=3, version=2), a_release(2))
    assert caught.value.code == "version_changed"
    found = await store.endpoints.get(ENDPOINT)
    assert found is not None
    assert found.slots == 2
    assert [one.id for one in await store.endpoints.releases(ENDPOINT)] == [RELEASE]


async def test_update_of_another_teams_endpoint(store: Store) -> None:
    """An endpoint cannot be changed, or taken over, in another team's name."""
    with pytest.raises(NotFound):
        await store.endpoints.update(an_endpoint(team=OTHER_TEAM, name="mine", version=2), None)
    with pytest.raises(NotFound):
        await store.endpoints.update(an_endpoint(id=NEW, name="new", version=2), None)
    assert await store.endpoints.get(ENDPOINT) == an_endpoint()


async def test_active(store: Store) -> None:
    """A deleted endpoint stays active until its last worker is gone."""
    deleted = replace(an_endpoint(), version=2, deleted_ms=NOW)
    worker = WorkerId("last")
    await store.workers.add(a_worker(worker), alive_max=1)
    await store.endpoints.update(deleted, None)
    assert ENDPOINT in [endpoint.id for endpoint in await store.endpoints.active()]
    await store.workers.advance(worker, Vanished(at_ms=NOW))
    assert ENDPOINT not in [endpoint.id for endpoint in await store.endpoints.active()]
    assert await store.endpoints.get(ENDPOINT) == deleted
