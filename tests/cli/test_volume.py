"""The command line for volumes: what people do with their files, and what a worker sees of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.live import until

pytestmark = pytest.mark.slow


@pytest.fixture
def volume(cli: Cli, name: str) -> str:
    """A volume."""
    made = cli.ok("volume", "create", name, "--size", "2", "--mount-path", "/models")
    assert made.out.startswith(f"made {name} (vol-")
    return name


def test_life_of_a_volume(cli: Cli, volume: str) -> None:
    """A volume is made, listed, shown, grown and deleted; shrinking is refused in words."""
    assert "0.00 of 2 GiB" in cli.ok("volume", "ls").out
    shown = cli.ok("volume", "update", volume, "--size", "3").out
    assert "of 3 GiB" in shown
    assert "/models" in shown
    refused = cli("volume", "update", volume, "--size", "1")
    assert refused.status == 3
    assert "field: size_gb" in refused.err
    assert cli("volume", "update", volume).status == 2
    assert cli("volume", "create", volume).status == 2
    assert cli("volume", "delete", volume).status == 2, "nobody is there to be asked"
    assert cli.ok("volume", "delete", volume, "--yes").out.startswith(f"deleted {volume} ")
    assert cli("volume", "show", volume).status == 4


def test_files_go_there_and_back(cli: Cli, volume: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is uploaded under its name or another, listed, downloaded under its name or another, and deleted."""
    monkeypatch.chdir(tmp_path)
    body = os.urandom(2_000_000)
    Path("weights.bin").write_bytes(body)
    cli.ok("volume", "upload", volume, "weights.bin")
    cli.ok("volume", "upload", volume, "weights.bin", "deep/er/")
    cli.ok("volume", "upload", volume, "weights.bin", "deep/other.bin")
    listed = cli.ok("volume", "files", volume, "--json").json["files"]
    assert [(one["name"], one["kind"], one["size"]) for one in listed] == [
        ("deep", "directory", 0),
        ("weights.bin", "file", len(body)),
    ]
    assert [line.split()[0] for line in cli.ok("volume", "files", volume, "deep").out.splitlines()[1:]] == [
        "er/",
        "other.bin",
    ]
    Path("weights.bin").unlink()
    cli.ok("volume", "download", volume, "deep/er/weights.bin")
    cli.ok("volume", "download", volume, "deep/other.bin", "renamed.bin")
    assert Path("weights.bin").read_bytes() == Path("renamed.bin").read_bytes() == body
    refused = cli("volume", "rm", volume, "deep")
    assert (refused.status, "directory_not_empty" in cli("volume", "rm", volume, "deep", "--json").err) == (3, True)
    cli.ok("volume", "rm", volume, "deep", "-r")
    assert [one["name"] for one in cli.ok("volume", "files", volume, "--json").json["files"]] == ["weights.bin"]


def test_whole_directory(cli: Cli, volume: str, tmp_path: Path) -> None:
    """A directory is uploaded with all files in it, and without what links lead to."""
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    for path in ("one", "a/two", "a/b/three"):
        (tree / path).write_text(path)
    (tree / "out").symlink_to("/etc/passwd")
    assert cli.ok("volume", "upload", volume, str(tree)).out == "uploaded 3 files\n"
    assert [one["name"] for one in cli.ok("volume", "files", volume, "tree", "--json").json["files"]] == ["a", "one"]
    target = tmp_path / "back"
    cli.ok("volume", "download", volume, "tree/a/b/three", str(target))
    assert target.read_text() == "a/b/three"


def test_download_that_fails_leaves_nothing(cli: Cli, volume: str, tmp_path: Path) -> None:
    """A download that is refused makes no file, and leaves one that is there as it is."""
    target = tmp_path / "here"
    target.write_text("old")
    assert cli("volume", "download", volume, "nothing", str(target)).status == 4
    assert cli("volume", "download", volume, "../x", str(target)).status == 4
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert target.read_text() == "old"


def test_worker_and_client_share_a_volume(cli: Cli, volume: str, tmp_path: Path) -> None:
    """A worker finds what was uploaded, and what it writes can be listed and downloaded; it outlives the worker."""
    worker = tmp_path / "worker"
    worker.mkdir()
    variable = f"$STOKER_VOLUME_{volume.upper().replace('-', '_')}"
    (worker / "run.sh").write_text(f'cp "{variable}/question" "{variable}/answer"; exec sleep 600\n')
    (tmp_path / "question").write_text("what?")
    cli.ok("volume", "upload", volume, str(tmp_path / "question"))
    endpoint = f"of-{volume}"
    create = ("endpoint", "create", endpoint, "--image", f"dir:{worker}", "--command", "sh run.sh")
    cli.ok(*create, "--min-workers", "1", "--volume", volume)
    assert f"{volume}:/models" in cli.ok("endpoint", "show", endpoint).out

    def answered() -> bool:
        return any(one["name"] == "answer" for one in cli.ok("volume", "files", volume, "--json").json["files"])

    until(answered, what="the worker to answer")
    assert endpoint in cli("volume", "delete", volume, "--yes").err
    cli.ok("endpoint", "delete", endpoint, "--yes")
    until(lambda: not cli.ok("volume", "show", volume, "--json").json["endpoints"], what="its workers to go")
    cli.ok("volume", "download", volume, "answer", str(tmp_path / "answer"))
    assert (tmp_path / "answer").read_text() == "what?"
    cli.ok("volume", "delete", volume, "--yes")
