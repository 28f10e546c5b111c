"""The rules of volumes: which values, mounts and paths are allowed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stoker.errors import InvalidInput
from stoker.ids import TeamId, VolumeId
from stoker.volume import (
    GIB,
    Mount,
    MountTerms,
    Volume,
    check_change,
    check_mounts,
    check_new,
    check_of_machine,
    check_path,
    is_below,
    read_mount,
    variable,
)


def a_volume(**more: Any) -> Volume:
    values: dict[str, Any] = {
        "id": VolumeId("vol-one"),
        "team": TeamId("team-one"),
        "name": "one",
        "size_gb": 2,
        "created_ms": 1,
        "updated_ms": 1,
    }
    return Volume(**values | more)


def judged(path: str) -> list[str] | InvalidInput:
    """What is said of a path: its names, or why it is none."""
    try:
        return check_path(path)
    except InvalidInput as error:
        return error


@given(st.text(alphabet=st.sampled_from("ab./\0\ud800é")))
@example("a/../../etc")
def test_paths_stay_inside(path: str) -> None:
    """Whatever a path is: it is refused in words that can be sent, or it goes down from the volume by names that mean themselves."""
    said = judged(path)
    if isinstance(said, InvalidInput):
        assert (said.code, said.field) == ("invalid_path", "path")
        assert said.message.encode()
    else:
        assert not {"", ".", ".."} & set(said)
        assert not any(letter in "/\0\ud800" for name in said for letter in name)
        assert "/".join(said) == path.rstrip("/")


@pytest.mark.parametrize("path", ["", "a", "a/b/", "..a/b..", ".hidden", "a b", "é/ü"])
def test_paths_that_are_some(path: str) -> None:
    """Ordinary names are taken as they are."""
    assert judged(path) == [name for name in path.split("/") if name]


@pytest.mark.parametrize("text", ["models", "models:/m", "models:/m:ro", "models:ro", "/srv/x:/x", "/srv/x:/x:ro"])
def test_mounts_are_read_as_they_are_written(text: str) -> None:
    """A mount is written and read in one notation."""
    mount = read_mount(text)
    assert str(mount) == text
    assert mount.of_machine is text.startswith("/")
    check_mounts([mount])


@pytest.mark.parametrize(
    "text",
    ["", ":", "Models", "a/b", "a:b", "a:/b:rw", "a:/b:ro:ro", "/srv", "a:/", "a:/dev/shm", "a:/x/../y", "-a", "a\n"],
)
def test_what_is_no_mount(text: str) -> None:
    """Anything else is refused, with the field."""
    with pytest.raises(InvalidInput) as caught:
        check_mounts([read_mount(text)])
    assert caught.value.field == "volumes"


@given(st.lists(st.sampled_from(["a", "b", ".", ".."]), max_size=5))
def test_below_a_root(words: list[str]) -> None:
    """Below a root is what begins with all of its names, and never what goes up."""
    path = "/" + "/".join(words)
    assert is_below(path, "/a/b") is (words[:2] == ["a", "b"] and ".." not in words)


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ("/srv/models/x", True),
        ("/srv/models/x/", True),
        ("/srv/modelsx", False),
        ("/srv", False),
        ("/etc", False),
        ("/", False),
        ("/srv/models/stoker", False),
        ("/srv/models/stoker/volumes/vol-x", False),
    ],
)
def test_directories_of_the_machine(source: str, allowed: bool) -> None:
    """Endpoints mount what is below a root and is neither the server's own nor above it; without roots nothing."""
    terms = MountTerms(roots=("/srv/models/",), kept=("/srv/models/stoker",))
    for one, expected in ((terms, allowed), (MountTerms(), False)):
        assert (refusal(source, one) is None) is expected


def refusal(source: str, terms: MountTerms) -> InvalidInput | None:
    """Why it may not be mounted, if it may not."""
    try:
        check_of_machine(Mount(source=source, path="/x"), terms)
    except InvalidInput as error:
        return error
    return None


def test_what_keeps_a_server_s_own_is_not_mounted() -> None:
    """A root that holds the server's directory gives away what is beside it, not what is above it."""
    terms = MountTerms(roots=("/srv",), kept=("/srv/stoker",))
    assert refusal("/srv/other", terms) is None
    refused = refusal("/srv", terms)
    assert refused is not None
    assert (refused.code, refused.field) == ("mount_not_allowed", "volumes")


def test_room() -> None:
    """What is free is what is left of the size; over is what is more."""
    assert a_volume(used_bytes=GIB).free_bytes == GIB
    over = a_volume(used_bytes=2 * GIB + 1)
    assert (over.free_bytes, over.over, a_volume(used_bytes=2 * GIB).over) == (0, True, False)


def test_volumes_only_grow() -> None:
    """A size may stay or grow."""
    check_change(a_volume(), a_volume(size_gb=2, mount_path="/x"))
    with pytest.raises(InvalidInput) as caught:
        check_change(a_volume(), a_volume(size_gb=1))
    assert (caught.value.code, caught.value.field) == ("volume_cannot_shrink", "size_gb")
    with pytest.raises(InvalidInput):
        check_new(a_volume(size_gb=0))


def test_variables() -> None:
    """Each volume has a variable of its own: names differ in letters, digits and hyphens only."""
    assert variable("my-models2") == "STOKER_VOLUME_MY_MODELS2"
