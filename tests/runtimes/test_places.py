"""Where volumes of containers really are: what a link leads to must be allowed as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.errors import InvalidInput
from stoker.runtimes import Volume
from stoker.runtimes.docker.places import found
from stoker.volume import MountTerms


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory that endpoints may mount, beside one that they may not and one that is the server's."""
    for name in ("root/models", "root/server/data", "secret"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "root" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "root" / "up").symlink_to("..")
    (tmp_path / "root" / "ours").symlink_to("server/data")
    (tmp_path / "root" / "other").symlink_to("models")
    (tmp_path / "link").symlink_to("root")
    return tmp_path / "root"


def look(root: Path, source: str) -> str:
    """Where the engine would mount it from."""
    terms = MountTerms(roots=(str(root),), kept=(str(root / "server"),))
    (volume,) = found([Volume(source=source, target="/x")], terms)
    return volume.source


@pytest.mark.parametrize("name", ["out", "out/deeper", "up/secret", "ours", "server/data", "server", "../secret", "up"])
def test_no_link_leads_out(root: Path, name: str) -> None:
    """A link that somebody put below a root mounts nothing of the machine that is not below one."""
    with pytest.raises(InvalidInput) as caught:
        look(root, f"{root}/{name}")
    assert caught.value.code == "mount_not_allowed"


def test_links_below_a_root(root: Path) -> None:
    """What a link leads to below a root is mounted by its own name; so is what a root that is a link leads to."""
    assert look(root, f"{root}/models") == str(root / "models")
    assert look(root, f"{root}/other") == str(root / "models")
    assert look(root.parent / "link", f"{root.parent}/link/models") == str(root / "models")


def test_volumes_of_teams_need_no_root(tmp_path: Path) -> None:
    """What the storage says is mounted as it is; a name without it means nothing."""
    volume = Volume(source=str(tmp_path), target="/x", name="models")
    assert found([volume], MountTerms()) == (volume,)
    with pytest.raises(InvalidInput):
        found([Volume(source="models", target="/x")], MountTerms(roots=("/",)))
