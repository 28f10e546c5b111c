"""`stoker events` against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_job import submitted
from tests.live import KEY

STOKER = Path(sys.executable).with_name("stoker")


@pytest.mark.slow
def test_what_happened(cli: Cli, idle: str) -> None:
    """Everything that is kept, oldest first, in words or as JSON; chosen by what it is about and by kind."""
    job = submitted(cli, idle)
    cli.ok("job", "cancel", job)
    out = cli.ok("events", idle, "--job", job).out.splitlines()
    assert [line.rpartition("  ")[2] for line in out] == ["submitted, queued", "cancelled, cancelled by client"]
    assert all(f"  {idle}  job {job}  " in line for line in out)
    lines = cli.ok("events", idle, "--about", "job", "--kind", "submitted", "--json").out.splitlines()
    (event,) = [json.loads(line) for line in lines]
    assert (event["job"], event["state"]) == (job, "queued")
    assert cli.ok("events", idle, "--after", event["id"], "--about", "job", "--json").json["kind"] == "cancelled"


@pytest.mark.slow
def test_a_range_of_time(cli: Cli, idle: str) -> None:
    """Only what is newer than a moment, and older than another; who follows has no end."""
    job = submitted(cli, idle)
    assert cli.ok("events", idle, "--job", job, "--since", "1h", "--until", "2999-01-01").out.count(job) == 1
    assert cli.ok("events", idle, "--job", job, "--since", "2999-01-01").out == ""
    assert cli.ok("events", idle, "--job", job, "--until", "1h").out == ""
    ran = cli("events", idle, "-f", "--until", "1h")
    assert ran.status == 2
    assert "--until" in ran.err


@pytest.mark.slow
def test_following(cli: Cli, idle: str) -> None:
    """`-f` goes on with what comes, at once, from an event on."""
    (created,) = cli.ok("events", idle, "--kind", "created", "--json").out.splitlines()
    command = [STOKER, "events", idle, "-f", "--json", "--kind", "submitted", "--after", json.loads(created)["id"]]
    environment = os.environ | {"STOKER_URL": cli.url, "STOKER_API_KEY": KEY}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        for _ in range(2):
            job = submitted(cli, idle)
            assert json.loads(following.stdout.readline())["job"] == job
        following.terminate()
        following.wait()


@pytest.mark.slow
def test_refusals(cli: Cli, idle: str) -> None:
    """An id that is none is refused in words, with what to send instead."""
    ran = cli("events", idle, "--after", "yesterday")
    assert ran.status == 3
    assert "yesterday" in ran.err
    assert "0 for all that is kept" in ran.err
