"""A worker without an SDK, quick to start: takes one job after another and does what its input says. With the variable `SDK`, a version,
it says that it is that one, and gets jobs ahead.

`{"echo": x}` answers x; `{"hold": path}` waits until the file exists; `{"die": n}` exits with that code, without a result;
`{"fail": x}` answers the error x.
SIGTERM ends it once its open take has been answered.
"""

import http.client
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

TAKE = urlsplit(os.environ["RUNPOD_WEBHOOK_GET_JOB"])
DONE = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"]
PING = urlsplit(os.environ["RUNPOD_WEBHOOK_PING"])
AGENT = {"User-Agent": f"RunPod-Python-SDK/{os.environ['SDK']}"} if "SDK" in os.environ else {}
PING_EVERY_S = int(os.environ["RUNPOD_PING_INTERVAL"]) / 1000

holding: list[str] = []
stopping = threading.Event()


def call(method: str, url: SplitResult, query: str = "", body: bytes | None = None) -> bytes:
    """One request on a connection of its own, tried again until the server answers."""
    while True:
        try:
            connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=60)
            connection.request(method, f"{url.path}?{url.query}{query}", body, AGENT)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if answer.status < 500:
                return content if answer.status == 200 else b""
        except OSError:
            pass
        time.sleep(0.1)


def ping() -> None:
    """Signs of life, from a thread."""
    while True:
        call("GET", PING, f"&job_id={','.join(holding)}" if holding else "")
        time.sleep(PING_EVERY_S)


def work(order: Any) -> Any:
    """What the input says."""
    if "hold" in order:
        while not Path(order["hold"]).exists():
            time.sleep(0.02)
    if "die" in order:
        os._exit(order["die"])
    return order.get("echo")


def run(job: Any) -> None:
    """Do it and post its result."""
    print(json.dumps({"requestId": job["id"], "message": "started"}), flush=True)
    order = job["input"]
    result = {"error": order["fail"]} if "fail" in order else {"output": work(order)}
    call("POST", urlsplit(DONE.replace("$ID", job["id"])), "&isStream=false", json.dumps(result).encode())
    holding.remove(job["id"])


def main() -> None:
    """Until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    threading.Thread(target=ping, daemon=True).start()
    while not stopping.is_set():
        answer = call("GET", TAKE, "&job_in_progress=0")
        if not answer:
            continue
        given = json.loads(answer)
        jobs = given if isinstance(given, list) else [given]
        holding.extend(job["id"] for job in jobs)
        for job in jobs:
            if not stopping.is_set():
                run(job)


main()
sys.exit(0)
