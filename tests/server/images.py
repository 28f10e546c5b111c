"""What tests of servers share whose workers run images, in containers and in pods: endpoints, and what became of a worker."""

from __future__ import annotations

from typing import Any

from tests.live import LiveServer, until

COMMAND = "python3 -u handler.py"


def create(live: LiveServer, name: str, image: str, **fields: Any) -> dict[str, Any]:
    """An endpoint of an image."""
    body = {"name": name, "image": image, "command": COMMAND, "idle_timeout_s": 60, **fields}
    answer = live.api.post("/api/endpoints", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def logs(live: LiveServer, job: str) -> str:
    """All that the job's worker printed."""
    worker = live.job(job)["worker"]
    return live.api.get(f"/api/workers/{worker}/logs").text if worker else ""


def gone(live: LiveServer, name: str, worker: str) -> dict[str, Any]:
    """The worker once it is gone."""
    found = until(
        lambda: next(
            (one for one in live.workers(name, gone=9) if one["id"] == worker and one["state"] == "gone"), None
        ),
        what="the worker to be gone",
    )
    return dict(found)
