"""The processes of a measurement: the floor's server, Stoker with workers that do nothing, and the load generator.

A worker here is a shell script that writes down the addresses it was given and sleeps; the load generator then speaks for it,
with its real token.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
import msgspec

from benchmarks.load import Loaded, Order

KEY: Final = "sk_bench_admin"
NAME: Final = "bench"
PATIENCE_S: Final = 120.0
ROOT: Final = Path(__file__).parent.parent

WORKER: Final = """#!/bin/sh
env | grep ^RUNPOD_WEBHOOK_ > "$BENCH_DIR/$RUNPOD_POD_ID.tmp"
mv "$BENCH_DIR/$RUNPOD_POD_ID.tmp" "$BENCH_DIR/$RUNPOD_POD_ID.env"
exec sleep 1000000
"""

Answer = TypeVar("Answer")


def start_load(order: Order) -> subprocess.Popen[bytes]:
    """A generator at work; `answer_of` waits for its answer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(order))
    process.stdin.close()
    process.stdin = None
    return process


def answer_of(process: subprocess.Popen[bytes], kind: type[Answer]) -> Answer:
    """What the generator says at its end."""
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, "the load generator failed"
    return msgspec.json.decode(output, type=kind)


def load(order: Order) -> Loaded:
    """Run `load` to its end."""
    return answer_of(start_load(order), Loaded)


class FloorServer:
    """F0."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.floor"], stdout=subprocess.PIPE, cwd=ROOT, text=True
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def order(self, do: str = "load", **fields: Any) -> Order:
        """An order to load this server."""
        return Order(
            do=do,
            port=self._port,
            pid=self._process.pid,
            key=KEY,
            submit=f"/v2/{NAME}/run",
            status=f"/v2/{NAME}/status/",
            workers=[("/worker/job-take/w?t=token", "/worker/job-done/w/$ID?t=token")],
            **fields,
        )


class StokerServer:
    """`stoker serve` on a data directory of its own, and one endpoint with `workers` workers of one slot each.

    `settings` are those of the server, by name.
    """

    def __init__(self, data_dir: Path, *, workers: int, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self._settings = settings or {}
        self._wanted = workers
        self._environments = data_dir / "environments"
        self._port = 0
        self.workers: list[tuple[str, str]] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
            self._deploy()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start, or start again on the same port and data; returns when it listens."""
        self._environments.mkdir(parents=True, exist_ok=True)
        self.launch()
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("Stoker listens on "), f"the server did not start: {line}"
        self._port = int(line.rsplit(":", 1)[1])

    def launch(self) -> None:
        """Start the process and do not wait."""
        with (self.data_dir / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).with_name("stoker")), "serve"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=self._environment(),
            )

    def _environment(self) -> dict[str, str]:
        ours = {
            "STOKER_DATA_DIR": str(self.data_dir),
            "STOKER_PORT": str(self._port),
            "STOKER_RUNTIME": "process",
            "STOKER_BOOTSTRAP_KEY": KEY,
            "STOKER_STOP_GRACE_S": "0",
            "STOKER_SHUTDOWN_GRACE_S": "0",
            "STOKER_INPUT_BYTES_MAX": str(8 * 1024 * 1024),
            "STOKER_RATE_FACTOR": "0",  # one key brings all the load
            "STOKER_QUEUED_MAX": "0",
            "STOKER_SPECIFICATIONS": json.dumps([{"id": "bench", "slots": self._wanted + 1}]),  # they only sleep
            "STOKER_OUTPUT_BYTES_MAX": str(8 * 1024 * 1024),
            "PYTHONUNBUFFERED": "1",
        } | {f"STOKER_{name.upper()}": value for name, value in self._settings.items()}
        return {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")} | ours

    def _deploy(self) -> None:
        image = self.data_dir / "image"
        image.mkdir()
        (image / "worker.sh").write_text(WORKER)
        fields = {
            "name": NAME,
            "image": f"dir:{image}",
            "command": "sh worker.sh",
            "env": {"BENCH_DIR": str(self._environments)},
            "min_workers": self._wanted,
            "max_workers": max(1, self._wanted),
        }
        with httpx.Client(headers={"Authorization": f"Bearer {KEY}"}) as client:
            answer = client.post(f"{self.url}/api/endpoints", json=fields, timeout=PATIENCE_S)
        assert answer.status_code == 201, answer.text
        _until(lambda: len(list(self._environments.glob("*.env"))) == self._wanted, what="the workers")
        self.workers = [_addresses(file) for file in sorted(self._environments.glob("*.env"))]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    def order(self, do: str = "load", **fields: Any) -> Order:
        """An order to load this server."""
        return Order(
            do=do,
            port=self._port,
            pid=self.pid,
            key=KEY,
            submit=f"/v2/{NAME}/run",
            status=f"/v2/{NAME}/status/",
            stats=f"/v1/{NAME}/stats",
            workers=self.workers,
            **fields,
        )

    def kill(self) -> None:
        """kill -9. Its workers go on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Stop it and its workers."""
        if self._process is None:
            return
        if self._process.poll() is not None:
            self.start()  # it was killed: only it can stop its workers
        self._process.terminate()
        self._process.wait(timeout=PATIENCE_S)
        log = (self.data_dir / "server.log").read_text()
        assert "Traceback" not in log, log[-4000:]


def _addresses(file: Path) -> tuple[str, str]:
    """Path and query of a worker's take and of its result."""
    found = dict(line.split("=", 1) for line in file.read_text().splitlines())
    take, done = (httpx.URL(found[f"RUNPOD_WEBHOOK_{name}"]) for name in ("GET_JOB", "POST_OUTPUT"))
    return take.raw_path.decode(), done.raw_path.decode().replace("%24ID", "$ID")


def _until(look: Callable[[], bool], *, what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline_s, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(0.02)
