"""Registry credentials, templates, views, and what is sealed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stoker.audit import Action, Actor, AuditLine, Kind
from stoker.endpoint import Secret, Template
from stoker.errors import Conflict, NotFound
from stoker.ids import CredentialId, ReleaseId, TemplateId
from stoker.registry import Credential
from stoker.store import Store, credentials
from stoker.store.sealed import SecretsKey
from stoker.store.views import VIEWS_MOST, View
from tests.store.records import ENDPOINT, NOW, OTHER_TEAM, TEAM, a_release, an_endpoint, submit

LINE = AuditLine(at_ms=NOW, by=Actor(team=TEAM), action=Action.CREATED, kind=Kind.CREDENTIAL, thing="x", name="x")


def a_credential(name: str = "one", /, **more: Any) -> Credential:
    values: dict[str, Any] = {
        "id": CredentialId(f"cred-{name}"),
        "team": TEAM,
        "name": name,
        "registry": "ghcr.io",
        "username": "me",
        "password": "sealed one",
        "created_ms": NOW,
        "updated_ms": NOW,
    }
    return Credential(**values | more)


def a_template(name: str = "one", /, **more: Any) -> Template:
    values: dict[str, Any] = {
        "id": TemplateId(f"tpl-{name}"),
        "team": TEAM,
        "name": name,
        "fields": {"image": "x", "env": {"A": "1", "B": {"sealed": "old"}}},
        "created_ms": NOW,
        "updated_ms": NOW,
    }
    return Template(**values | more)


async def use(store: Store, credential: Credential, *, version: int = 2) -> None:
    """From now on the first endpoint needs it."""
    release = a_release(version, id=ReleaseId(f"rel-{version}"), credential=credential.id)
    endpoint = an_endpoint(release=release.id, version=version)
    await store.endpoints.update(endpoint, release, credentials.stays(TEAM, credential.id))


# ── credentials ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_credentials_are_read_back(store: Store) -> None:
    """A credential is read with everything about it, by its own team only, and changed."""
    two, one = a_credential("two"), a_credential()
    for credential in (two, one):
        await store.credentials.add(credential, LINE)
    assert await store.credentials.of_team(TEAM) == [one, two]
    assert await store.credentials.of_team(OTHER_TEAM) == []
    assert await store.credentials.get(TEAM, one.id) == one
    assert await store.credentials.get(OTHER_TEAM, one.id) is None
    changed = a_credential(registry="docker.io", username="you", password="sealed two", updated_ms=NOW + 1)
    await store.credentials.update(changed, LINE)
    assert await store.credentials.get(TEAM, one.id) == changed


async def test_names_of_credentials_are_unique(store: Store) -> None:
    """Two credentials of a team have two names."""
    await store.credentials.add(a_credential(), LINE)
    await store.credentials.add(a_credential("two"), LINE)
    for call in (
        store.credentials.add(a_credential("three", name="one"), LINE),
        store.credentials.update(a_credential("two", name="one"), LINE),
    ):
        with pytest.raises(Conflict) as caught:
            await call
        assert caught.value.code == "name_taken"


async def test_credential_in_use_stays(store: Store) -> None:
    """What a living endpoint's present release names cannot be deleted; afterwards it can, once."""
    credential = a_credential()
    await store.credentials.add(credential, LINE)
    await use(store, credential)
    assert await store.credentials.users(credential.id) == ["hello"]
    with pytest.raises(Conflict) as caught:
        await store.credentials.delete(credential, LINE)
    assert caught.value.code == "credential_in_use"
    await store.endpoints.update(an_endpoint(release=ReleaseId("rel-2"), version=3, deleted_ms=NOW), None)
    await store.credentials.delete(credential, LINE)
    with pytest.raises(NotFound):
        await store.credentials.delete(credential, LINE)
    assert len(await store.audit.lines(TEAM)) == 2


async def test_credential_of_another_team_is_no_use(store: Store) -> None:
    """An endpoint cannot come to need a credential that its team has not; nothing of the change is stored."""
    foreign = a_credential(team=OTHER_TEAM)
    await store.credentials.add(foreign, LINE)
    with pytest.raises(NotFound) as caught:
        await use(store, foreign)
    assert caught.value.code == "credential_not_found"
    assert await store.endpoints.release(ReleaseId("rel-2")) is None


async def test_deleted_and_needed_at_once(store: Store) -> None:
    """Whoever comes second is refused: no endpoint is left with a credential that is gone."""
    credential = a_credential()
    await store.credentials.add(credential, LINE)
    outcomes = await asyncio.gather(
        use(store, credential), store.credentials.delete(credential, LINE), return_exceptions=True
    )
    assert sum(isinstance(one, Conflict | NotFound) for one in outcomes) == 1
    endpoint = await store.endpoints.get(ENDPOINT)
    assert endpoint is not None
    release = await store.endpoints.release(endpoint.release)
    assert release is not None
    gone = await store.credentials.get(TEAM, credential.id) is None
    assert gone is (release.credential is None)


# ── templates ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_templates(store: Store) -> None:
    """A template is stored, changed and deleted, by its own team only, under a name of its own."""
    one, two = a_template(), a_template("two")
    for template in (two, one):
        await store.templates.add(template, LINE)
    assert await store.templates.of_team(TEAM) == [one, two]
    assert await store.templates.of_team(OTHER_TEAM) == []
    with pytest.raises(Conflict):
        await store.templates.add(a_template("three", name="one"), LINE)
    changed = a_template(name="new", fields={"slots": 4}, updated_ms=NOW + 1)
    await store.templates.update(changed, LINE)
    assert await store.templates.of_team(TEAM) == [changed, two]
    await store.templates.delete(two, LINE)
    with pytest.raises(NotFound):
        await store.templates.delete(two, LINE)
    with pytest.raises(NotFound):
        await store.templates.update(two, LINE)


# ── views ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_views(store: Store) -> None:
    """A view is stored under a name, replaced and forgotten, by its own team only; there are only so many."""
    lost = View(team=TEAM, name="lost", filters={"reason": "worker_lost"}, updated_ms=NOW)
    long = View(team=TEAM, name="long", filters={"ran_least_ms": 60_000}, updated_ms=NOW)
    for view in (lost, long):
        await store.views.save(view, LINE)
    changed = View(team=TEAM, name="lost", filters={"state": "failed"}, updated_ms=NOW + 1)
    await store.views.save(changed, LINE)
    assert await store.views.of_team(TEAM) == [long, changed]
    assert await store.views.of_team(OTHER_TEAM) == []
    for number in range(VIEWS_MOST - 2):
        await store.views.save(View(team=TEAM, name=str(number), filters={}, updated_ms=NOW), LINE)
    with pytest.raises(Conflict):
        await store.views.save(View(team=TEAM, name="another", filters={}, updated_ms=NOW), LINE)
    await store.views.save(lost, LINE)
    await store.views.delete(lost, LINE)
    with pytest.raises(NotFound):
        await store.views.delete(lost, LINE)


# ── what is sealed ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_first_key_seals(blank: Store) -> None:
    """Of several servers that start on a fresh database one decides which key seals; it can be replaced."""
    keys = [SecretsKey(id=f"key{number}", proof="proof", since_ms=NOW) for number in range(3)]
    assert await blank.sealed.key() is None
    claimed = await asyncio.gather(*(blank.sealed.claim(key) for key in keys))
    assert len({key.id for key in claimed}) == 1
    assert await blank.sealed.key() == claimed[0]
    await blank.sealed.replace(SecretsKey(id="other", proof="more", since_ms=NOW + 1))
    assert await blank.sealed.key() == SecretsKey(id="other", proof="more", since_ms=NOW + 1)


async def test_everything_sealed_is_sealed_anew(store: Store) -> None:
    """Secret variables of releases and templates, passwords and buckets of jobs go through it, with their contexts; nothing
    else does, such as a plain variable that only looks like it."""
    release = a_release(2, env={"PLAIN": "old", "TOKEN": Secret("old")})
    await store.endpoints.update(an_endpoint(release=release.id, version=2), release)
    await store.templates.add(a_template(), LINE)
    await store.credentials.add(a_credential(password="old"), LINE)
    await submit(store, s3_config=b"old")
    seen: list[str] = []

    def reseal(sealed: str, context: str) -> str:
        seen.append(context)
        return sealed.replace("old", "new")

    assert await store.sealed.reseal(reseal) == 4
    assert sorted(seen) == ["jobs", TEAM, TEAM, TEAM]
    found = await store.endpoints.release(release.id)
    assert found is not None
    assert found.env == {"PLAIN": "old", "TOKEN": Secret("new")}
    (template,) = await store.templates.of_team(TEAM)
    assert template.fields["env"] == {"A": "1", "B": {"sealed": "new"}}
    (credential,) = await store.credentials.of_team(TEAM)
    assert credential.password == "new"
    assert await store.sealed.reseal(lambda sealed, _context: sealed) == 0
