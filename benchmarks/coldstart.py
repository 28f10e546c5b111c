"""The cold start of a container, by stages, beside the floor: `python -m benchmarks.coldstart IMAGE`.

IMAGE is on the machine, and starts a Runpod worker by itself. The floor is `docker run` of the same image up to the same first
request, answered by a bare HTTP server here. Both are the median of `--rounds`; the goal is at most 1.15 of the floor.
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

KEY: Final = "sk_bench"
STAGES: Final = ("decided", "pulled", "created", "started", "ready", "first job")
PATIENCE_S: Final = 120.0


class Floor:
    """Waits for the first take of a worker that `docker run` started."""

    def __init__(self, gateway: str) -> None:
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
        words = ["docker", "run", "-d", "--init", "--add-host", "host.docker.internal:host-gateway"]
        for name, path in env.items():
            words += ["-e", f"RUNPOD_{name}={self._base}/{path}"]
        words += ["-e", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true", "-e", "RUNPOD_AI_API_KEY=x", "-e", "RUNPOD_POD_ID=w"]
        began = time.perf_counter()
        container = subprocess.run([*words, image], capture_output=True, text=True, check=True).stdout.strip()
        assert self._taken.wait(PATIENCE_S), "the worker did not ask for work"
        took_ms = (time.perf_counter() - began) * 1000
        subprocess.run(["docker", "rm", "-f", container], capture_output=True, check=True)
        return took_ms

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()


class Stoker:
    """A server with an endpoint that runs the image."""

    def __init__(self, image: str, folder: Path) -> None:
        ours = {"DATA_DIR": str(folder), "PORT": "0", "RUNTIME": "docker", "BOOTSTRAP_KEY": KEY, "STOP_GRACE_S": "0"}
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gateway", default="172.17.0.1", help="this machine's address on the engine's first network")
    given = parser.parse_args()
    floor = Floor(given.gateway)
    with tempfile.TemporaryDirectory() as folder:
        server = Stoker(given.image, Path(folder))
        server.measure()  # the first one pins the image
        floors, ours = [], []
        for _ in range(given.rounds):  # side by side, so that a busy moment meets both
            floors.append(floor.measure(given.image))
            ours.append(server.measure())
        server.close()
    floor.close()
    print(f"{'floor: docker run to first take':34}{statistics.median(floors):8.0f} ms")
    for stage in ours[0]:
        print(f"{stage:34}{statistics.median(one[stage] for one in ours):8.0f} ms")
    print(
        f"{'first take beside the floor':34}{statistics.median(one['ready'] for one in ours) / statistics.median(floors):8.2f}"
    )


if __name__ == "__main__":
    main()
