"""A worker in the test's own hands: its process only tells its environment, the test makes its calls."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.live import LiveServer, until

WORKERS = Path(__file__).parent / "workers"
COMMAND = f"{sys.executable} -u urls.py"


class Hands:
    """The only worker of the endpoint `name`, which is created for it. `fields` are those of the endpoint."""

    def __init__(self, live: LiveServer, name: str, told: Path, **fields: Any) -> None:
        wish = {"min_workers": 1, "max_workers": 1, "env": {"TELL": str(told)}} | fields
        self.endpoint = live.create(name, image=WORKERS, command=COMMAND, **wish)
        until(told.exists, what="the worker to tell its environment")
        self.env: dict[str, str] = json.loads(told.read_text())
        self.id = self.env["RUNPOD_POD_ID"]
        self.token = self.env["RUNPOD_AI_API_KEY"]
        self._http = httpx.Client(timeout=60)

    def url(self, call: str, job: str = "") -> str:
        """One of `GET_JOB`, `POST_OUTPUT`, `POST_STREAM`, `PING`, for a job."""
        return self.env[f"RUNPOD_WEBHOOK_{call}"].replace("$ID", job)

    def take(self) -> dict[str, Any]:
        """The next job."""

        def look() -> dict[str, Any] | None:
            answer = self._http.get(self.url("GET_JOB"))
            return dict(answer.json()) if answer.status_code == 200 else None

        return until(look, what="a job")

    def finish(self, job: str, body: bytes) -> httpx.Response:
        """Post a result: the raw body of `job-done`."""
        return self._http.post(self.url("POST_OUTPUT", job), content=body)

    def part(self, job: str, body: bytes) -> httpx.Response:
        """Post a part of the stream: the raw body of `job-stream`."""
        return self._http.post(self.url("POST_STREAM", job), content=body)

    def close(self) -> None:
        """Let go of the connection; the process belongs to the server."""
        self._http.close()
