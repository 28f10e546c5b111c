"""Jobs that are delivered ahead to a real SDK, on the URL for single jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import LiveServer
from tests.sdk.places import place

pytestmark = [pytest.mark.sdk, pytest.mark.slow]


@pytest.mark.parametrize("sdk", ["runpod-1.12.0", "runpod-1.7.13"])
def test_jobs_ahead(live: LiveServer, tmp_path: Path, sdk: str) -> None:
    """One worker accepts several jobs in one answer and runs them in their order; to clients they are queued until then."""
    with place(live, tmp_path, sdk=sdk, kind="plain", deliver_ahead=20) as at:
        first = at.order("hold", name="first")
        at.noted("first")
        blocker = at.order("hold", name="second")
        jobs = [at.order("give back", value=number) for number in range(60)]
        at.note("go")
        ends = [at.ended(job) for job in (first, blocker, *jobs)]
        assert [end["status"] for end in ends] == ["COMPLETED"] * 62
        assert [end["output"] for end in ends[2:]] == list(range(60))
        assert len({end["workerId"] for end in ends}) == 1
        assert all("retries" not in end for end in ends)

        stories = [at.story(job) for job in (blocker, *jobs)]
        ahead = [story for story in stories if [line["kind"] for line in story].count("delivered_ahead")]
        assert len(ahead) >= 55
        assert {line["state"] for story in ahead for line in story if line["kind"] == "delivered_ahead"} == {"queued"}
        answers = {line["at_ms"] for story in ahead for line in story if line["kind"] == "delivered_ahead"}
        assert len(answers) <= 4
        begun = [line["at_ms"] for story in stories for line in story if line["kind"] == "claimed"]
        assert begun == sorted(begun)
        assert len(begun) == 61
