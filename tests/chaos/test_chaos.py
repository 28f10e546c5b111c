"""Days of chaos in short form, on each database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stoker.chaos.faults import Fault

STOKER = Path(sys.executable).with_name("stoker")
SHORT = ("--duration", "15", "--rate", "10", "--seed", "3")


def spend(out: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """A short day: the exit status and the report."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
    done = subprocess.run(
        [STOKER, "chaos", *SHORT, "--out", out, "--json", *more], capture_output=True, text=True, check=False, env=kept
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_nothing_is_lost(tmp_path: Path, database: str) -> None:
    """Whatever strikes, every job that was accepted ends with its own result, and its end is told; each is named in the report."""
    status, report = spend(tmp_path, "--database", database)
    assert (report["lost"], report["untold"], report["doubled"]) == ({}, [], [])
    assert (status, report["good"]) == (0, True)
    ended = [*report["completed"], *(job for jobs in report["failed"].values() for job in jobs)]
    assert sorted(ended) == sorted(report["accepted"]) == sorted(report["told"])
    assert len(ended) > 50
    assert set(report["struck"]) | set(report["left_out"]) == {fault.value for fault in Fault}
    assert "fill-disk" in report["struck"]
    assert json.loads((tmp_path / "report.json").read_text()) == report


@pytest.mark.slow
def test_a_day_on_which_a_job_is_lost(tmp_path: Path) -> None:
    """A platform that is not given the time to end its jobs has lost them as far as anybody saw: the command fails and names them."""
    status, report = spend(
        tmp_path,
        "--database",
        "sqlite",
        "--fault",
        "break-receiver",
        "--rate",
        "300",
        "--workers",
        "1",
        "--settle",
        "1",
    )
    assert status == 1
    assert report["lost"]
    assert set(report["lost"]) <= set(report["accepted"])


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_a_database_of_somebody_else(tmp_path: Path, postgres_url: str) -> None:
    """It is struck by the operator's commands, and by nothing that needs its machine; one that has been used is refused."""
    told = tmp_path / "told"
    how = (
        "--database",
        postgres_url,
        "--database-kill",
        f"echo kill >>{told}",
        "--database-start",
        f"echo start >>{told}",
    )
    faults = ("--fault", "kill-database", "--fault", "fill-disk")
    status, report = spend(tmp_path, *how, *faults, "--duration", "10")
    assert (status, report["lost"], list(report["left_out"])) == (0, {}, ["fill-disk"])
    assert told.read_text().split() == ["kill", "start"] * report["struck"]["kill-database"]
    again = subprocess.run([STOKER, "chaos", "--out", tmp_path, *how], capture_output=True, text=True, check=False)
    assert again.returncode == 6
    assert "a database that is given has to be empty" in again.stderr
