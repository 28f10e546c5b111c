"""A real server in a process of its own, for tests that speak HTTP to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

KEY = "sk_test_admin"
PATIENCE_S = 60.0
"""Nothing in these tests takes this long; a wait that does has failed."""
ROOT = Path(__file__).parent.parent

Answer = TypeVar("Answer")


def until(look: Callable[[], Answer | None], *, what: str, patience_s: float = PATIENCE_S) -> Answer:
    """The first true answer of `look`. Fails, saying `what` was awaited, when none comes."""
    deadline = time.monotonic() + patience_s
    while True:
        answer = look()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what}"
        time.sleep(0.02)


class LiveServer:
    """`stoker serve` on a free port, with short times. `settings` are those of the server, by name."""

    def __init__(self, data_dir: Path, **settings: object) -> None:
        self.data_dir = data_dir
        self.settings = {
            "bootstrap_key": KEY,
            "data_dir": data_dir,
            "port": 0,
            "runtime": "process",
            "hold_s": 5,
            "ping_interval_ms": 1000,
            "lease_s": 10,
            "cancel_grace_s": 4,
            "stop_grace_s": 2,
            "shutdown_grace_s": 2,
            "observe_every_s": 0.2,
            "volumes_measured_every_s": 0.2,
            "rate_factor": 0,  # tests ask all at once
        } | settings
        self.url = ""
        self.api = httpx.Client()
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start, or start again on the same port and data."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        log = self.log_file.open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.served"],
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
        )
        log.close()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Stoker listens on "), f"the server did not start: {line}\n{self.log()}"
        self.url = line.split()[-1]
        self.settings["port"] = self.url.rsplit(":", 1)[1]
        self.api.close()
        self.api = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)

    def _environment(self) -> dict[str, str]:
        bin_dir = str(Path(sys.executable).parent)
        base: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
        ours = {f"STOKER_{name.upper()}": str(value) for name, value in self.settings.items()}
        return {**base, **ours, "PATH": f"{bin_dir}:{base.get('PATH', '')}", "PYTHONUNBUFFERED": "1"}

    @property
    def log_file(self) -> Path:
        """Where the server's own log goes."""
        return self.data_dir / "server.log"

    def log(self) -> str:
        """The server's own log so far."""
        return self.log_file.read_text()

    def kill(self) -> None:
        """End it as a power cut would: kill -9. Workers go on."""
        assert self.process is not None
        self.process.kill()
        self.wait()

    def stop(self) -> int:
        """Ask it to stop (SIGTERM) and wait; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        assert self.process is not None
        assert self.process.stdout is not None
        status = self.process.wait(timeout=PATIENCE_S)
        self.process.stdout.close()
        return status

    def close(self) -> None:
        """Stop it if it runs. Fails when something blocked its event loop or ended in a traceback."""
        self.api.close()
        if self.process is not None and self.process.poll() is None:
            self.stop()
        assert "BlockingError" not in self.log(), self.log()
        assert "Traceback" not in self.log(), self.log()

    # ── short words for what most tests do ────────────────────────────────────────────────────────────────────────────

    def create(self, name: str, *, image: Path, command: str, **fields: Any) -> dict[str, Any]:
        """Create an endpoint; what the API says of it."""
        body = {"name": name, "image": f"dir:{image}", "command": command, **fields}
        answer = self.api.post("/api/endpoints", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def workers(self, name: str, *, gone: int = 0) -> list[dict[str, Any]]:
        """The endpoint's workers."""
        return list(self.api.get(f"/api/endpoints/{name}/workers", params={"gone": gone}).json()["workers"])

    def job(self, job: str) -> dict[str, Any]:
        """A job in full."""
        return dict(self.api.get(f"/api/jobs/{job}").json())

    def run(self, name: str, order: Any, **fields: Any) -> str:
        """Submit a job; its id."""
        answer = self.api.post(f"/v2/{name}/run", json={"input": order, **fields})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def finished(self, job: str) -> dict[str, Any]:
        """The job when it is over."""
        final = ("completed", "failed", "cancelled", "timed_out")

        def look() -> dict[str, Any] | None:
            now = dict(self.api.get(f"/api/jobs/{job}", params={"wait_s": 5}).json())
            return now if now["state"] in final else None

        return until(look, what=f"the end of job {job}")
