"""Where the files of volumes are: one behaviour for every storage. Tests that need an attacker inside write as a worker would."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stoker.errors import Conflict, InvalidInput, NotFound, StokerError, Unavailable
from stoker.ids import VolumeId
from stoker.storage import EntryKind, Storage
from stoker.storage.directories import DirectoryStorage
from stoker.volume import GIB

VOLUME = VolumeId("vol-one")
OTHER = VolumeId("vol-two")
LARGE = 3 * 1024 * 1024 + 1
"""Several pieces, the last of one byte."""
NOBODY = 65534
"""The user id that owns nothing."""


@pytest.fixture
async def storage(tmp_path: Path) -> Storage:
    """A storage with two volumes."""
    made = DirectoryStorage(tmp_path / "volumes")
    for volume in (VOLUME, OTHER):
        await made.create(volume, GIB)
    return made


@pytest.fixture
def a_plain_user() -> Iterator[Path]:
    """A directory of the user that the test runs as: never root, to whom nothing is closed."""
    with tempfile.TemporaryDirectory() as directory:
        if os.geteuid() != 0:
            yield Path(directory)
            return
        os.chown(directory, NOBODY, -1)
        os.seteuid(NOBODY)
        try:
            yield Path(directory)
        finally:
            os.seteuid(0)


@pytest.fixture
def inside(storage: Storage) -> Path:
    """What a worker sees of the volume."""
    return Path(storage.source(VOLUME))


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    """A body as it comes."""
    for piece in given:
        yield piece


async def content(storage: Storage, path: str, start: int = 0, length: int | None = None) -> bytes:
    """What a file holds."""
    reading = await storage.read(VOLUME, path)
    try:
        whole = reading.size - start if length is None else length
        return b"".join([piece async for piece in reading.pieces(start, whole)])
    finally:
        await reading.close()


async def names(storage: Storage, path: str = "") -> list[str]:
    """What is in a directory."""
    return [entry.name for entry in (await storage.list(VOLUME, path, after="", limit=100)).entries]


def moving(storage: Storage) -> list[str]:
    """What is on its way."""
    return os.listdir(Path(storage.source(VOLUME)).parent / "moving")


# ── what is promised ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_written_is_read(storage: Storage) -> None:
    """A file is read as it was written, whole and in parts; directories on its way are made; another volume has it not."""
    body = os.urandom(LARGE)
    assert await storage.write(VOLUME, "a/b/c.bin", pieces(body[:100_000], b"", body[100_000:])) >= LARGE
    assert await content(storage, "a/b/c.bin") == body
    assert await content(storage, "a/b/c.bin", LARGE - 7, 5) == body[-7:-2]
    assert await names(storage) == ["a"]
    assert await names(storage, "a/b/") == ["c.bin"]
    with pytest.raises(NotFound):
        await storage.read(OTHER, "a/b/c.bin")


async def test_file_takes_the_place_of_another(storage: Storage) -> None:
    """Whoever reads the old file goes on reading it; the volume grows by the difference."""
    await storage.write(VOLUME, "x", pieces(bytes(LARGE)))
    old = await storage.read(VOLUME, "x")
    grown = await storage.write(VOLUME, "x", pieces(b"new"))
    assert grown < 0
    assert await content(storage, "x") == b"new"
    assert sum([len(piece) async for piece in old.pieces(0, old.size)]) == LARGE
    await old.close()


@pytest.mark.parametrize("failure", [RuntimeError, asyncio.CancelledError])
async def test_what_was_cut_off_leaves_nothing(storage: Storage, failure: type[BaseException]) -> None:
    """An upload that fails half way changes nothing: no half file, no directory, the old file as it was."""
    await storage.write(VOLUME, "kept", pieces(b"old"))

    async def cut_off() -> AsyncIterator[bytes]:
        yield bytes(LARGE)
        raise failure

    for path in ("kept", "new/file"):
        with pytest.raises(failure):
            await storage.write(VOLUME, path, cut_off())
    assert await names(storage) == ["kept"]
    assert await content(storage, "kept") == b"old"
    assert moving(storage) == []


async def test_what_a_killed_server_left_goes(storage: Storage) -> None:
    """What is on its way and belongs to nobody is cleared; an upload that goes on is not."""
    lost = Path(storage.source(VOLUME)).parent / "moving" / "lost"
    lost.write_bytes(b"half")
    go_on, has_begun = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"one"
        has_begun.set()
        await go_on.wait()
        yield b"two"

    upload = asyncio.create_task(storage.write(VOLUME, "slow", slow()))
    await has_begun.wait()
    await storage.usage(VOLUME)
    assert len(moving(storage)) == 1
    assert not lost.exists()
    go_on.set()
    await upload
    assert await content(storage, "slow") == b"onetwo"


async def test_list_comes_in_pages(storage: Storage) -> None:
    """A directory is listed by name, so many at a time, each page after the last name."""
    for name in ("c", "a", "b/x"):
        await storage.write(VOLUME, name, pieces(b"12"))
    page = await storage.list(VOLUME, "", after="", limit=2)
    assert [(one.name, one.kind, one.size) for one in page.entries] == [
        ("a", EntryKind.FILE, 2),
        ("b", EntryKind.DIRECTORY, 0),
    ]
    assert page.more
    rest = await storage.list(VOLUME, "", after="b", limit=2)
    assert [one.name for one in rest.entries] == ["c"]
    assert not rest.more


async def test_usage_is_what_the_disk_holds(storage: Storage, inside: Path) -> None:
    """Usage counts what workers write, holes not at all and hard links once; it falls when something is deleted."""
    empty = await storage.usage(VOLUME)
    (inside / "one").write_bytes(os.urandom(LARGE))
    with (inside / "holes").open("wb") as holes:
        holes.truncate(GIB)
    os.link(inside / "one", inside / "again")
    used = await storage.usage(VOLUME) - empty
    assert LARGE <= used < 2 * LARGE
    await storage.delete(VOLUME, "one", recursive=False)
    await storage.delete(VOLUME, "again", recursive=False)
    assert await storage.usage(VOLUME) - empty < LARGE


async def test_delete(storage: Storage) -> None:
    """A file is deleted by its name, a directory when it is empty or with everything in it; twice is not found."""
    await storage.write(VOLUME, "a/b/c", pieces(b"x"))
    with pytest.raises(Conflict) as caught:
        await storage.delete(VOLUME, "a", recursive=False)
    assert caught.value.code == "directory_not_empty"
    await storage.delete(VOLUME, "a/b/c", recursive=False)
    await storage.delete(VOLUME, "a/b", recursive=False)
    await storage.write(VOLUME, "a/b/c", pieces(b"x"))
    await storage.delete(VOLUME, "a", recursive=True)
    assert await names(storage) == []
    assert moving(storage) == []
    with pytest.raises(NotFound):
        await storage.delete(VOLUME, "a", recursive=True)


async def test_volume_is_removed_and_made_anew(storage: Storage) -> None:
    """Removing what is gone succeeds; a volume that is made again is empty, one that is made twice keeps what it has."""
    await storage.write(VOLUME, "x", pieces(b"1"))
    await storage.create(VOLUME, GIB)
    await storage.grow(VOLUME, 2 * GIB)
    assert await content(storage, "x") == b"1"
    for _ in range(2):
        await storage.remove(VOLUME)
    for call in (storage.usage(VOLUME), storage.write(VOLUME, "x", pieces(b"2"))):
        with pytest.raises(NotFound):
            await call
    await storage.create(VOLUME, GIB)
    assert await names(storage) == []


# ── an attacker outside: paths ────────────────────────────────────────────────────────────────────────────────────────

TRICKS = ("../x", "a/../../x", "/etc/passwd", "a//b", "./x", "a/.", "a\0b", "..", "\ud800", "n" * 256, "d/" * 600 + "x")


@pytest.mark.parametrize("path", TRICKS)
async def test_no_path_leads_out(storage: Storage, path: str) -> None:
    """Paths that lead elsewhere, or nowhere, are refused by every call, and nothing is touched."""
    await storage.write(OTHER, "x", pieces(b"theirs"))
    for call in (
        storage.read(VOLUME, path),
        storage.write(VOLUME, path, pieces(b"!")),
        storage.delete(VOLUME, path, recursive=True),
        storage.list(VOLUME, path, after="", limit=1),
    ):
        with pytest.raises(InvalidInput) as caught:
            await call
        assert caught.value.field == "path"
    assert await names(storage) == []


@pytest.mark.parametrize("path", ["", "/"])
async def test_volume_itself_is_no_file(storage: Storage, path: str) -> None:
    """The volume is a directory that cannot be read, written or deleted as a file."""
    for call in (
        storage.read(VOLUME, path),
        storage.write(VOLUME, path, pieces(b"!")),
        storage.delete(VOLUME, path, recursive=True),
    ):
        with pytest.raises(InvalidInput):
            await call


# ── an attacker inside: a worker that writes links ────────────────────────────────────────────────────────────────────


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the machine that is none of the volume's business."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_text("secret")
    return place


async def test_no_link_is_followed(storage: Storage, inside: Path, outside: Path) -> None:
    """Links are listed as links; what they point to is neither read nor listed, written, or deleted."""
    (inside / "folder").symlink_to(outside)
    (inside / "file").symlink_to(outside / "secret")
    (inside / "up").symlink_to("..")
    listing = await storage.list(VOLUME, "", after="", limit=9)
    assert {one.kind for one in listing.entries} == {EntryKind.LINK}
    for call in (
        storage.read(VOLUME, "file"),
        storage.read(VOLUME, "folder/secret"),
        storage.read(VOLUME, "up/moving"),
        storage.list(VOLUME, "folder", after="", limit=9),
        storage.write(VOLUME, "folder/new", pieces(b"!")),
        storage.delete(VOLUME, "folder/secret", recursive=False),
    ):
        with pytest.raises(Conflict) as caught:
            await call
        assert caught.value.code == "not_a_file"
    await storage.delete(VOLUME, "folder", recursive=True)
    assert os.listdir(outside) == ["secret"]


async def test_link_is_replaced_not_written_through(storage: Storage, inside: Path, outside: Path) -> None:
    """A file that is uploaded in the place of a link takes its place."""
    (inside / "file").symlink_to(outside / "secret")
    await storage.write(VOLUME, "file", pieces(b"mine"))
    assert not (inside / "file").is_symlink()
    assert (outside / "secret").read_text() == "secret"


async def test_deleting_a_tree_spares_what_its_links_mean(storage: Storage, inside: Path, outside: Path) -> None:
    """A directory is deleted with its links, not with what they point to."""
    (inside / "tree").mkdir()
    (inside / "tree" / "out").symlink_to(outside)
    await storage.delete(VOLUME, "tree", recursive=True)
    await storage.remove(VOLUME)
    assert (outside / "secret").read_text() == "secret"


async def test_what_is_no_file_is_not_read(storage: Storage, inside: Path) -> None:
    """A pipe that nobody writes to holds up nobody; a directory is no file and is not replaced by one."""
    os.mkfifo(inside / "pipe")
    (inside / "folder").mkdir()
    for path in ("pipe", "folder", "pipe/x"):
        with pytest.raises(Conflict):
            await storage.read(VOLUME, path)
    with pytest.raises(Conflict) as caught:
        await storage.write(VOLUME, "folder", pieces(b"!"))
    assert caught.value.code == "is_a_directory"
    await storage.delete(VOLUME, "pipe", recursive=False)


@pytest.mark.slow
async def test_depth_costs_nothing(storage: Storage, inside: Path) -> None:
    """Directories in each other, deeper than any path can say, are counted and deleted with few files open."""
    here = os.open(inside, os.O_RDONLY)
    for _ in range(3_000):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    assert await storage.usage(VOLUME) > 0
    await storage.delete(VOLUME, "d", recursive=True)
    assert await names(storage) == []
    assert moving(storage) == []


async def test_odd_names_are_shown(storage: Storage, inside: Path) -> None:
    """A name that is no UTF-8 is listed in words that can be sent, and goes with its directory."""
    (inside / "d").mkdir()
    os.close(os.open(os.fsencode(inside) + b"/d/\xff\xfe", os.O_CREAT))
    assert await names(storage, "d") == ["\ufffd\ufffd"]
    await storage.delete(VOLUME, "d", recursive=True)


async def test_file_that_shrinks_is_not_made_up(storage: Storage, inside: Path) -> None:
    """A file that becomes shorter while it is read ends in an error, not in invented bytes."""
    await storage.write(VOLUME, "x", pieces(bytes(LARGE)))
    reading = await storage.read(VOLUME, "x")
    os.truncate(inside / "x", 10)
    with pytest.raises(Unavailable) as caught:
        _ = [piece async for piece in reading.pieces(0, reading.size)]
    assert caught.value.code == "file_changed"
    await reading.close()


async def test_what_another_user_keeps_from_us(a_plain_user: Path) -> None:
    """What the server may not touch is said so."""
    storage = DirectoryStorage(a_plain_user / "volumes")
    await storage.create(VOLUME, GIB)
    (Path(storage.source(VOLUME)) / "closed").mkdir(mode=0o000)
    with pytest.raises(StokerError) as caught:
        await storage.list(VOLUME, "closed", after="", limit=1)
    assert caught.value.code == "file_of_another_user"
