"""The bound on the output of all ended workers together."""

import os
from pathlib import Path

from stoker.runtimes.kept_logs import trim_logs

LOGS = ("output.log", "output.log.1")


def worker(root: Path, name: str, *sizes: int, ended_s: int | None) -> Path:
    """The directory of a worker with logs of these sizes."""
    home = root / name
    home.mkdir(parents=True)
    for log, size in zip(LOGS, sizes, strict=False):
        (home / log).write_bytes(bytes(size))
    if ended_s is not None:
        (home / "exit.json").write_text("{}")
        os.utime(home / "exit.json", (ended_s, ended_s))
    return home


def test_the_first_to_end_loses_its_output_first(tmp_path: Path) -> None:
    """Whole workers, oldest end first, until the rest fits; how they ended stays, and so does what still runs."""
    oldest = worker(tmp_path, "c", 60, 40, ended_s=1)
    middle = worker(tmp_path, "a", 100, ended_s=2)
    newest = worker(tmp_path, "b", 100, ended_s=3)
    running = worker(tmp_path, "d", 1_000, ended_s=None)

    def trim(bytes_max: int) -> int:
        return trim_logs(tmp_path, bytes_max, end="exit.json", logs=LOGS)

    assert trim(300) == 0
    assert trim(299) == 100
    assert sorted(file.name for file in oldest.iterdir()) == ["exit.json"]
    assert trim(150) == 100
    assert not (middle / LOGS[0]).exists()
    assert (newest / LOGS[0]).exists()
    assert trim(0) == 100
    assert (running / LOGS[0]).exists()
    assert trim_logs(tmp_path / "none-yet", 0, end="exit.json", logs=LOGS) == 0
