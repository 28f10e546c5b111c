"""How long a real SDK worker idles between jobs while others wait, with and without delivering ahead.

Run as `make bench-gaps`. One endpoint, one worker with one slot; handlers note on the machine's clock when they began and
ended. The share is the sum of the gaps by the sum of the work, without the first jobs, whose run time nobody knew yet.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.rig import KEY, NAME, ROOT, StokerServer

HANDLER: Final = """
import time
import runpod

def handler(job):
    began = time.time()
    time.sleep(job["input"]["seconds"])
    return [began, time.time()]

if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
"""
PLANS: Final = ((0.05, 300), (0.5, 60), (2.0, 24))
"""Seconds of a handler, and how many jobs wait for it; without delivering ahead a tenth of them."""
NOT_COUNTED: Final = 3
PATIENCE_S: Final = 180.0


class SdkServer(StokerServer):
    """A server with one endpoint, whose worker is the SDK in `environment`."""

    def __init__(self, data_dir: Path, environment: Path, deliver_ahead: str) -> None:
        super().__init__(data_dir, workers=1)
        self._environment_of_sdk = environment
        self._deliver_ahead = deliver_ahead

    def _deploy(self) -> None:
        image = self.data_dir / "image"
        image.mkdir()
        (image / "handler.py").write_text(HANDLER)
        fields = {
            "name": NAME,
            "image": f"dir:{image}",
            "command": f"{self._environment_of_sdk / 'bin' / 'python'} handler.py",
            "min_workers": 1,
            "max_workers": 1,
            "deliver_ahead": self._deliver_ahead,
        }
        with self.client() as client:
            answer = client.post("/api/endpoints", json=fields)
            assert answer.status_code == 201, answer.text

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A client with the key."""
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{self.order().port}", headers=headers, timeout=60) as client:
            yield client


def gap_share(server: SdkServer, seconds: float, jobs: int) -> float:
    """Of `jobs` jobs that wait at once for handlers of so many seconds: the gaps between them by their work."""
    with server.client() as client:
        ids = [_submit(client, {"seconds": seconds}) for _ in range(jobs)]
        spans = sorted(_ended(client, job) for job in ids)[NOT_COUNTED:]
    gaps = sum(after[0] - before[1] for before, after in pairwise(spans))
    return gaps / sum(ended - began for began, ended in spans)


def _submit(client: httpx.Client, value: Any) -> str:
    job: str = client.post(f"/v2/{NAME}/run", json={"input": value}).raise_for_status().json()["id"]
    return job


def _ended(client: httpx.Client, job: str) -> tuple[float, float]:
    """When its handler began and ended."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        status = client.get(f"/v2/{NAME}/status-sync/{job}?wait=60000").raise_for_status().json()
        if status["status"] == "COMPLETED":
            began, ended = status["output"]
            return began, ended
        assert status["status"] in ("IN_QUEUE", "IN_PROGRESS"), status
    raise TimeoutError(f"{job} did not end")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sdk", default="runpod-1.12.0", help="an environment made by `make sdks`")
    sdk = parser.parse_args().sdk
    environment = ROOT / ".sdks" / sdk
    print(
        f"{sdk}, one worker, one slot\n\n| handler | off: gaps by work | auto: gaps by work |\n| --- | --- | --- |",
        flush=True,
    )
    for seconds, jobs in PLANS:
        shares = []
        for deliver_ahead in ("off", "auto"):
            count = jobs if deliver_ahead == "auto" else jobs // 10 + NOT_COUNTED + 2
            with (
                tempfile.TemporaryDirectory() as folder,
                SdkServer(Path(folder) / "data", environment, deliver_ahead) as server,
            ):
                shares.append(gap_share(server, seconds, count))
        print(f"| {seconds:g} s | {shares[0]:.0%} | {shares[1]:.1%} |", flush=True)


if __name__ == "__main__":
    main()
