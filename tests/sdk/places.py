"""Endpoints whose workers run on an unmodified SDK, and how a test speaks with their handlers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live import ROOT, LiveServer, until

SDKS = ("runpod-1.6.2", "runpod-1.7.13", "runpod-1.12.0", "novita-gpus-0.0.1")
WORKERS = Path(__file__).parent / "workers"
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
EXIT_CODES = dict.fromkeys(SDKS, (0,)) | {"runpod-1.6.2": (0, 143)}
"""How a worker ends that was told to go. Before 1.7.3 the SDK does not listen to SIGTERM; its jobs are over by then."""
OFFLINE = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true"}
"""One of the SDK's fitness checks needs the internet, another 4 GB of free memory: no matter of these tests."""

_numbers = itertools.count(1)


def interpreter(sdk: str) -> str:
    """The Python that has this SDK. Skips the test where there is none."""
    python = ROOT / ".sdks" / sdk / "bin" / "python"
    if not python.exists():
        pytest.skip(f"there is no {python}: make sdks")
    return str(python)


class Place:
    """An endpoint, and the folder `at` where its handlers and the test leave notes for each other."""

    def __init__(self, live: LiveServer, name: str, at: Path) -> None:
        self.live = live
        self.name = name
        self.at = at

    def order(self, do: str, *, fields: dict[str, Any] | None = None, **words: Any) -> str:
        """Submit a job that does this; its id. `fields` go beside the input."""
        return self.live.run(self.name, {"do": do, "at": str(self.at), **words}, **(fields or {}))

    def status(self, job: str) -> dict[str, Any]:
        """What a client sees."""
        answer = self.live.api.get(f"/v2/{self.name}/status/{job}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ended(self, job: str) -> dict[str, Any]:
        """What a client sees in the end."""
        self.live.finished(job)
        return self.status(job)

    def progress(self, job: str) -> Any:
        """What the running job has reported."""

        def look() -> dict[str, Any] | None:
            seen = self.status(job)
            return seen if "output" in seen else None

        seen = until(look, what=f"the progress of {job}")
        assert seen["status"] == "IN_PROGRESS"
        return seen["output"]

    def story(self, job: str) -> list[dict[str, Any]]:
        """What happened to a job."""
        return list(self.live.job(job)["story"])

    def streamed(self, job: str) -> tuple[str, list[Any]]:
        """Poll the stream to its end: the last status, and all parts."""
        parts: list[Any] = []
        status = "IN_QUEUE"

        def look() -> bool:
            nonlocal status
            answer = self.live.api.post(f"/v2/{self.name}/stream/{job}", params={"wait": 5000}).json()
            status = answer["status"]
            parts.extend(part["output"] for part in answer["stream"])
            return status in FINAL

        until(look, what=f"the end of the stream of {job}")
        return status, parts

    def noted(self, name: str) -> str:
        """Wait for a note of a handler; its text."""
        path = self.at / name
        until(path.exists, what=f"the note '{name}'")
        return path.read_text()

    def note(self, name: str) -> None:
        """Leave a note for the handlers."""
        (self.at / name).touch()

    def gone(self, worker: str) -> dict[str, Any]:
        """The worker when it is gone."""

        def look() -> dict[str, Any] | None:
            seen = dict(self.live.api.get(f"/api/workers/{worker}").json())
            return seen if seen["state"] == "gone" else None

        return until(look, what=f"the end of worker {worker}")


@contextmanager
def place(live: LiveServer, at: Path, *, sdk: str, kind: str, **fields: Any) -> Iterator[Place]:
    """An endpoint with at most one worker of this kind. It is deleted in the end: some SDKs burn a core while idle."""
    name = f"{kind}-{next(_numbers)}"
    command = f"{interpreter(sdk)} -u behaviour.py {kind}"
    terms = {"max_workers": 1, "env": OFFLINE} | fields
    live.create(name, image=WORKERS, command=command, **terms)
    try:
        yield Place(live, name, at)
    finally:
        for worker in live.workers(name):
            live.api.post(f"/api/workers/{worker['id']}/stop", json={"now": True})
        live.api.delete(f"/api/endpoints/{name}")
