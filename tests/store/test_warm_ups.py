"""Warm-ups in the database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stoker.audit import Action, Actor, AuditLine, Kind
from stoker.errors import InvalidInput, NotFound
from stoker.ids import CredentialId
from stoker.store import Store
from stoker.warmup import WarmUp, WarmUpState
from tests.store.records import NOW, OTHER_TEAM, TEAM

IMAGE = "ghcr.io/us/worker:1"
DIGEST = "ghcr.io/us/worker@sha256:1"
LINE = AuditLine(at_ms=NOW, by=Actor(team=TEAM), action=Action.WARMED, kind=Kind.IMAGE, thing=IMAGE, name=IMAGE)


def a_warm_up(image: str = IMAGE, /, **more: Any) -> WarmUp:
    values: dict[str, Any] = {"team": TEAM, "image": image, "due_ms": NOW, "asked_ms": NOW, "updated_ms": NOW}
    return WarmUp(**values | more)


async def test_warm_ups_are_read_back(store: Store) -> None:
    """A team reads its own warm-ups, by image; the loop those of all teams that are to be fetched, in the order of asking."""
    one, two = a_warm_up(asked_ms=NOW + 2), a_warm_up("ghcr.io/us/alpha:1")
    theirs = a_warm_up(team=OTHER_TEAM, asked_ms=NOW + 1)
    for each in (one, two, theirs):
        await store.warm_ups.wish(each, LINE)
    assert await store.warm_ups.of_team(TEAM) == [two, one]
    assert await store.warm_ups.of_team(OTHER_TEAM) == [theirs]
    assert await store.warm_ups.unfinished() == [two, theirs, one]


async def test_asking_again_begins_again(store: Store) -> None:
    """A second wish for the same image takes the place of the first, whatever had become of it; the bytes that are here are still known."""
    await store.warm_ups.wish(a_warm_up(), LINE)
    await store.warm_ups.tell(a_warm_up().fetched(DIGEST, NOW + 1))
    again = a_warm_up(asked_ms=NOW + 5)
    await store.warm_ups.wish(again, LINE)
    assert await store.warm_ups.of_team(TEAM) == [replace(again, digest=DIGEST)]


async def test_an_end_is_the_end(store: Store) -> None:
    """How far it was, told too late, changes no end; nor does the end of what was begun again or removed."""
    first = a_warm_up()
    await store.warm_ups.wish(first, LINE)
    await store.warm_ups.tell(first.far("half", NOW + 1))
    assert (await store.warm_ups.unfinished())[0].text == "half"
    await store.warm_ups.tell(first.failed(InvalidInput("no", code="image_denied"), NOW + 2))
    await store.warm_ups.tell(first.far("more", NOW + 3))
    (failed,) = await store.warm_ups.of_team(TEAM)
    assert (failed.state, failed.text, failed.code) == (WarmUpState.FAILED, "no", "image_denied")
    again = a_warm_up(asked_ms=NOW + 5)
    await store.warm_ups.wish(again, LINE)
    await store.warm_ups.tell(first.fetched(DIGEST, NOW + 6))
    assert await store.warm_ups.of_team(TEAM) == [again]
    await store.warm_ups.delete(TEAM, IMAGE, LINE)
    await store.warm_ups.tell(again.fetched(DIGEST, NOW + 6))
    assert await store.warm_ups.of_team(TEAM) == []


async def test_only_what_is_there_is_removed(store: Store) -> None:
    """A warm-up of another team, or of no one, cannot be removed."""
    await store.warm_ups.wish(a_warm_up(team=OTHER_TEAM), LINE)
    with pytest.raises(NotFound) as refusal:
        await store.warm_ups.delete(TEAM, IMAGE, LINE)
    assert refusal.value.code == "image_not_kept"
    assert len(await store.warm_ups.of_team(OTHER_TEAM)) == 1


async def test_who_else_has_it(store: Store) -> None:
    """All warm-ups of an image, or of the same bytes under another name, are found across teams; bytes not known are no bytes."""
    mine, theirs = a_warm_up(), a_warm_up("ghcr.io/us/worker:latest", team=OTHER_TEAM)
    for each in (mine, theirs):
        await store.warm_ups.wish(each, LINE)
    assert await store.warm_ups.of_image(IMAGE, "") == [mine]
    for each in (mine, theirs):
        await store.warm_ups.tell(each.fetched(DIGEST, NOW + 1))
    assert {one.team for one in await store.warm_ups.of_image(IMAGE, DIGEST)} == {TEAM, OTHER_TEAM}


async def test_collected_images_are_nobodys(store: Store) -> None:
    """When an image is collected nobody has it warm any more; what is still on its way stays a wish."""
    for each in (a_warm_up(), a_warm_up(team=OTHER_TEAM)):
        await store.warm_ups.wish(each, LINE)
    await store.warm_ups.tell(a_warm_up().fetched(DIGEST, NOW + 1))
    await store.warm_ups.collected(IMAGE)
    assert await store.warm_ups.of_team(TEAM) == []
    assert len(await store.warm_ups.of_team(OTHER_TEAM)) == 1


async def test_credential_must_be_there(store: Store) -> None:
    """A wish that names a credential that is not the team's is refused, and leaves nothing."""
    with pytest.raises(NotFound) as refusal:
        await store.warm_ups.wish(a_warm_up(credential=CredentialId("cred-gone")), LINE)
    assert refusal.value.code == "credential_not_found"
    assert await store.warm_ups.of_team(TEAM) == []
