"""A worker with the real SDK, for containers: does what its input says."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import runpod

BROKEN = Path("/tmp/broken")


def handler(job: dict[str, Any]) -> Any:
    """`{"echo": x}` answers x; `{"environment": name}` a variable; `{"reach": [host, port]}` whether that can be reached;
    `{"hold_s": s}` waits; `{"die": n}` exits; `{"fail": text}` raises; `{"exists": path}` looks for a file;
    `{"break": true}` fails, and so does everything after it on this worker."""
    order = job["input"]
    print(f"job {job['id']} begins", flush=True)
    time.sleep(order.get("hold_s", 0))
    if order.get("break"):
        BROKEN.touch()
    if BROKEN.exists():
        raise RuntimeError("this worker is broken")
    if "fail" in order:
        raise RuntimeError(order["fail"])
    if "die" in order:
        os._exit(order["die"])
    if "environment" in order:
        return os.environ.get(order["environment"])
    if "exists" in order:
        return os.path.exists(order["exists"])
    if "reach" in order:
        with socket.socket() as one:
            one.settimeout(3)
            return one.connect_ex((order["reach"][0], order["reach"][1])) == 0
    return order.get("echo")


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
