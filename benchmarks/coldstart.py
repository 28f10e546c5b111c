"""The cold start of a container, by stages, beside the floor.

The floor is `docker run` of the same image, which is on the machine, up to the same first request, answered by a bare HTTP server
here. `make bench` measures it on an engine and an image of its own, those of the tests, where they can be made; `make
bench-coldstart ARGS=IMAGE` on this machine's engine, with an image that starts a Runpod worker by itself.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from benchmarks.peers.brokers import Absent
from benchmarks.table import Row, at_most, plain
from tests.docker import ALONE_GATEWAY, BASE, ROOT, Engine, load_base, missing

KEY: Final = "sk_bench"
STAGES: Final = ("decided", "pulled", "created", "started", "ready", "first job")
PATIENCE_S: Final = 120.0


class Floor:
    """Waits for the first take of a worker that `docker run` started."""

    def __init__(self, host: str, gateway: str) -> None:
        self._docker = ("docker", "-H", host)
        self._taken = threading.Event()
        taken = self._taken

        class Take(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if "/job-take/" in self.path:
                    taken.set()
                self.send_response(429)
                self.end_headers()

            def log_message(self, *_words: object) -> None:
                pass

        self._server = ThreadingHTTPServer((gateway, 0), Take)
        self._base = f"http://host.docker.internal:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def measure(self, image: str) -> float:
        """Milliseconds from the command to the first take."""
        self._taken.clear()
        env = {"WEBHOOK_GET_JOB": "job-take/w?", "WEBHOOK_POST_OUTPUT": "job-done/w/$ID?", "WEBHOOK_PING": "ping/w?"}
        words = [*self._docker, "run", "-d", "--init", "--add-host", "host.docker.internal:host-gateway"]
        for name, path in env.items():
            words += ["-e", f"RUNPOD_{name}={self._base}/{path}"]
        words += ["-e", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true", "-e", "RUNPOD_AI_API_KEY=x", "-e", "RUNPOD_POD_ID=w"]
        began = time.perf_counter()
        container = subprocess.run([*words, image], capture_output=True, text=True, check=True).stdout.strip()
        assert self._taken.wait(PATIENCE_S), "the worker did not ask for work"
        took_ms = (time.perf_counter() - began) * 1000
        subprocess.run([*self._docker, "rm", "-f", container], capture_output=True, check=True)
        return took_ms

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()


class Stoker:
    """A server with an endpoint that runs the image."""

    def __init__(self, image: str, host: str, folder: Path) -> None:
        ours = {
            "DATA_DIR": str(folder),
            "PORT": "0",
            "RUNTIME": "docker",
            "DOCKER_HOST": host,
            "BOOTSTRAP_KEY": KEY,
            "STOP_GRACE_S": "0",
        }
        env = {**os.environ, **{f"STOKER_{name}": value for name, value in ours.items()}}
        words = [str(Path(sys.executable).with_name("stoker")), "serve"]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
        assert self._process.stdout is not None
        url = self._process.stdout.readline().split()[-1]
        self._api = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE_S)
        answer = self._api.post("/api/endpoints", json={"name": "cold", "image": image, "max_workers": 1})
        assert answer.status_code == 201, answer.text

    def measure(self) -> Mapping[str, float]:
        """Milliseconds from the submission of a job to the end of each stage of the worker that it starts."""
        job = self._api.post("/v2/cold/run", json={"input": {"echo": 1}}).json()["id"]
        done: dict[str, Any] = {}
        while done.get("state") not in ("completed", "failed"):
            done = self._api.get(f"/api/jobs/{job}", params={"wait_s": 30}).json()
        worker = self._api.get(f"/api/workers/{done['worker']}").json()
        moments = {line["kind"]: line["at_ms"] for line in worker["story"]} | {"first job": done["finished_ms"]}
        self._api.post(f"/api/workers/{worker['id']}/stop", json={"now": True})
        while self._api.get("/api/endpoints/cold/workers").json()["workers"]:
            time.sleep(0.1)
        return {stage: moments[stage] - done["created_ms"] for stage in STAGES if stage in moments}

    def close(self) -> None:
        """End the server and its workers."""
        self._api.close()
        self._process.terminate()
        self._process.communicate()


class Seen(msgspec.Struct):
    """Medians, in milliseconds: the floor, and the end of each stage."""

    floor_ms: float
    stages_ms: Mapping[str, float]


def look(image: str, host: str, gateway: str, *, rounds: int) -> Seen:
    """Both, round by round, so that a busy moment meets both."""
    floor = Floor(host, gateway)
    with tempfile.TemporaryDirectory() as folder:
        server = Stoker(image, host, Path(folder))
        server.measure()  # the first one pins the image
        floors, ours = [], []
        for _ in range(rounds):
            floors.append(floor.measure(image))
            ours.append(server.measure())
        server.close()
    floor.close()
    stages = {stage: statistics.median(one[stage] for one in ours) for stage in ours[0]}
    return Seen(floor_ms=statistics.median(floors), stages_ms=stages)


def measure(*, rounds: int) -> list[Row]:
    """A row on an engine and an image of its own. Raises `Absent` where they cannot be made."""
    if lack := missing():
        raise Absent(lack)
    engine = Engine(Path(tempfile.mkdtemp(prefix="stoker-bench-engine-")), alone=True)
    engine.start()
    try:
        load_base(engine)
        recipe = f"FROM {BASE}\nCOPY handler.py /\nCMD python3 -u /handler.py\n"
        image = engine.build("stoker-bench", recipe, [ROOT / "tests/server/workers/handler.py"])
        seen = look(image, engine.host, ALONE_GATEWAY, rounds=rounds)
    finally:
        engine.close()
    ready_ms = seen.stages_ms["ready"]
    started_ms = seen.stages_ms["started"]
    return [
        Row(
            what="cold start of a container, first take / docker run",
            ours=f"{ready_ms:,.0f} ms",
            reference=f"{seen.floor_ms:,.0f} ms",
            ratio=ready_ms / seen.floor_ms,
            bound=at_most(1.15, 1.0),
            judged=ready_ms / seen.floor_ms,
        ),
        plain("of it until the container is started", started_ms, "ms", None),
    ]


def main() -> None:
    """Measure an image of this machine's engine, and print all stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--docker-host", default="unix:///var/run/docker.sock")
    parser.add_argument("--gateway", default="172.17.0.1", help="this machine's address on the engine's first network")
    given = parser.parse_args()
    seen = look(given.image, given.docker_host, given.gateway, rounds=given.rounds)
    print(f"{'floor: docker run to first take':34}{seen.floor_ms:8.0f} ms")
    for stage, end_ms in seen.stages_ms.items():
        print(f"{stage:34}{end_ms:8.0f} ms")
    print(f"{'first take beside the floor':34}{seen.stages_ms['ready'] / seen.floor_ms:8.2f}")


if __name__ == "__main__":
    main()
