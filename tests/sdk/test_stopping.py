"""Jobs that run beside each other, and jobs that are cancelled or run out of time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import LiveServer
from tests.sdk.places import SDKS, Place, place

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

NEWEST = "runpod-1.12.0"


def _cancel(at: Place, job: str) -> None:
    answer = at.live.api.post(f"/v2/{at.name}/cancel/{job}")
    assert answer.json() == {"id": job, "status": "CANCELLED"}
    assert at.status(job)["status"] == "CANCELLED"


@pytest.mark.parametrize("sdk", SDKS)
def test_overlap(live: LiveServer, tmp_path: Path, sdk: str) -> None:
    """A worker with four slots has four jobs in hand at once: each waits inside the handler for the others."""
    with place(live, tmp_path, sdk=sdk, kind="overlapping", slots=4) as at:
        ends = [at.ended(job) for job in [at.order("meet", name="four", size=4) for _ in range(4)]]
        assert sorted(end["output"] for end in ends) == [0, 1, 2, 3]
        assert len({end["workerId"] for end in ends}) == 1


def test_stop_channel(live: LiveServer, tmp_path: Path) -> None:
    """Since 1.10 a job that is cancelled, runs too long or lives too long is stopped alone: neighbours and worker go on."""
    policies = {"cancelled": {}, "slow": {"executionTimeout": 5_000}, "old": {"ttl": 10_000}, "patient": {}}
    with place(live, tmp_path, sdk=NEWEST, kind="overlapping", slots=4) as at:
        jobs = {name: at.order("wait", name=name, fields={"policy": policy}) for name, policy in policies.items()}
        for name in jobs:
            at.noted(name)
        _cancel(at, jobs["cancelled"])
        ends = {name: at.ended(jobs[name]) for name in ("cancelled", "slow", "old")}
        for name in ends:
            at.noted(f"{name} cancelled")
        assert [end["status"] for end in ends.values()] == ["CANCELLED", "TIMED_OUT", "TIMED_OUT"]
        assert ends["slow"]["error"] == "execution_limit: it ran longer than its execution timeout of 5 s"
        assert ends["slow"]["executionTime"] >= 5_000
        assert ends["old"]["error"] == "ttl_passed: its time to live passed"

        later = at.order("wait", name="later")
        at.noted("later")
        at.note("go")
        rest = [at.ended(jobs["patient"]), at.ended(later)]
        assert [end["output"] for end in rest] == ["patient went", "later went"]
        assert {end["workerId"] for end in [*ends.values(), *rest]} == {ends["slow"]["workerId"]}
        assert all("retries" not in end for end in rest)


def test_replacement(live: LiveServer, tmp_path: Path) -> None:
    """A worker that cannot be told, or cannot hear, is replaced when the grace of its cancelled job is over.

    Its other jobs go on elsewhere, without using up a retry. A job that was cancelled in the queue never runs.
    """
    deaf, blocked = tmp_path / "deaf", tmp_path / "blocked"
    deaf.mkdir()
    blocked.mkdir()
    with (
        place(live, deaf, sdk="runpod-1.7.13", kind="overlapping", slots=2, retries=0) as old,
        place(live, blocked, sdk=NEWEST, kind="plain") as new,
    ):
        a, b = old.order("wait", name="a"), old.order("wait", name="b")
        held, never = new.order("hold", name="held"), new.order("hold", name="never")
        old.noted("a")
        old.noted("b")
        new.noted("held")
        before = {at.name: at.status(job)["workerId"] for at, job in ((old, b), (new, held))}
        for at, job in ((old, a), (new, never), (new, held)):
            _cancel(at, job)
        assert [at.gone(before[at.name])["reason"] for at in (old, new)] == ["job_not_stopped", "job_not_stopped"]

        old.note("go")
        ends = [old.ended(b), new.ended(new.order("give back", value="fresh"))]
        assert [end["output"] for end in ends] == ["b went", "fresh"]
        assert ends[0]["retries"] == 1
        assert not {end["workerId"] for end in ends} & set(before.values())
        assert not (blocked / "never").exists()
        assert "workerId" not in new.status(never)
