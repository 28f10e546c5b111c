"""Workers that leave: because their handler asks, because they are told to, because they die."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.live import LiveServer, until
from tests.sdk.places import EXIT_CODES, SDKS, place

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

NEWEST = "runpod-1.12.0"


@pytest.mark.parametrize("sdk", SDKS)
def test_refresh_progress_drain(live: LiveServer, tmp_path: Path, sdk: str) -> None:
    """A worker whose handler asks for it is replaced. One that is told to go finishes its job, whose progress is seen."""
    with place(live, tmp_path, sdk=sdk, kind="plain") as at:
        asking, held = (
            at.order("give back", value={"refresh_worker": True, "x": 1}),
            at.order("report progress", name="held"),
        )
        first = at.ended(asking)
        assert (first["status"], first["output"]) == ("COMPLETED", {"x": 1})

        at.noted("held")
        second = at.status(held)["workerId"]
        assert second != first["workerId"]
        assert at.progress(held) == {"done": 1}
        assert at.gone(first["workerId"])["reason"] == "refresh_asked"

        stopped = live.api.post(f"/api/workers/{second}/stop", json={"now": False}).json()
        assert (stopped["state"], stopped["reason"]) == ("draining", "stopped_by_user")
        at.note("go")
        end = at.ended(held)
        assert (end["status"], end["output"], end["workerId"]) == ("COMPLETED", "held went", second)
        assert "retries" not in end
        left = at.gone(second)
        assert left["reason"] == "stopped_by_user"
        assert left["exit"]["code"] in EXIT_CODES[sdk], left["exit"]


@pytest.mark.parametrize("sdk", SDKS)
def test_dies_twice(live: LiveServer, tmp_path: Path, sdk: str) -> None:
    """A job that kills its worker is tried once more on another, then fails with the story of both ends."""
    with place(live, tmp_path, sdk=sdk, kind="plain", retries=1) as at:
        end = at.ended(at.order("die"))
        assert (end["status"], end["retries"]) == ("FAILED", 1)
        told = re.search(
            r"attempt 1 on worker (\w+): worker_lost: (.*); attempt 2 on worker (\w+): worker_lost: (.*)", end["error"]
        )
        assert told is not None, end["error"]
        first, first_end, second, second_end = told.groups()
        assert first != second == end["workerId"]
        assert "exit code 3" in first_end
        assert "exit code 4" in second_end


def test_never_again(live: LiveServer, tmp_path: Path) -> None:
    """Without retries a job whose worker dies has failed at once."""
    with place(live, tmp_path, sdk=NEWEST, kind="plain", retries=0) as at:
        end = at.ended(at.order("die"))
        assert (end["status"], end.get("retries")) == ("FAILED", None)
        assert re.search(r"^retries_exhausted: .*; attempt 1 on worker \w+: worker_lost: .*exit code 3", end["error"])


def test_killed(live: LiveServer, tmp_path: Path) -> None:
    """kill -9 of a worker is seen by the runtime, not by a lapsed lease: its job goes on elsewhere at once."""
    with place(live, tmp_path, sdk=NEWEST, kind="plain") as at:
        job = at.order("hold", name="held")
        pid, first = int(at.noted("held")), at.status(job)["workerId"]
        (tmp_path / "held").unlink()
        os.kill(pid, signal.SIGKILL)
        at.noted("held")
        running = at.status(job)
        assert (running["status"], running["retries"]) == ("IN_PROGRESS", 1)
        assert running["workerId"] != first
        at.note("go")
        assert at.ended(job)["status"] == "COMPLETED"
        lost = [line for line in at.story(job) if line["kind"] == "requeued"]
        assert [(line["reason"], line["worker"]) for line in lost] == [("worker_lost", first)]
        assert "SIGKILL" in lost[0]["text"]


def test_unfit(live: LiveServer, tmp_path: Path) -> None:
    """A failed fitness check is told by its worker; when every worker fails it, the waiting job says so."""
    env = {"RUNPOD_MIN_MEMORY_GB": "100000", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "false"}
    with place(live, tmp_path, sdk=NEWEST, kind="plain", env=env) as at:
        job = at.order("give back", value=1)
        why = until(
            lambda: next(
                (why for why in [live.api.get(f"/api/jobs/{job}/why").json()] if why["reason"] == "crash_loop"), None
            ),
            what="the crash loop",
        )
        assert "memory" in why["text"].lower()
        gone = live.workers(at.name, gone=10)
        assert {worker["reason"] for worker in gone if worker["state"] == "gone"} == {"unhealthy"}
        assert "_memory_check failed: RuntimeError: Insufficient memory" in gone[-1]["detail"]
        assert at.status(job) == {"id": job, "status": "IN_QUEUE"}
