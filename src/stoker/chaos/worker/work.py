"""A worker without an SDK, quick to start: takes one job after another, sleeps as long as its input says, and answers its number.

`{"number": n, "work_ms": t, "fails": false}`; one that `fails` answers an error. Standard library only: it runs in a process of its own.
SIGTERM ends it once its open take has been answered.
"""

import http.client
import json
import os
import signal
import threading
from typing import Any
from urllib.parse import SplitResult, urlsplit

TAKE = urlsplit(os.environ["RUNPOD_WEBHOOK_GET_JOB"])
DONE = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"]
PING = urlsplit(os.environ["RUNPOD_WEBHOOK_PING"])
PING_EVERY_S = int(os.environ["RUNPOD_PING_INTERVAL"]) / 1000
TRY_AGAIN_S = 0.1

holding: list[str] = []
stopping = threading.Event()
never = threading.Event()


def call(method: str, url: SplitResult, query: str = "", body: bytes | None = None) -> bytes:
    """One request on a connection of its own, tried again until the server answers."""
    while True:
        try:
            connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=30)
            connection.request(method, f"{url.path}?{url.query}{query}", body)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if answer.status < 500:
                return content if answer.status == 200 else b""
        except (OSError, http.client.HTTPException):
            pass
        never.wait(TRY_AGAIN_S)


def ping() -> None:
    """Signs of life, from a thread."""
    while True:
        call("GET", PING, f"&job_id={','.join(holding)}" if holding else "")
        never.wait(PING_EVERY_S)


def answer_to(order: Any) -> dict[str, Any]:
    """What the input asks for."""
    never.wait(order["work_ms"] / 1000)
    return {"error": f"{order['number']} was to fail"} if order["fails"] else {"output": order["number"]}


def main() -> None:
    """Until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    threading.Thread(target=ping, daemon=True).start()
    while not stopping.is_set():
        taken = call("GET", TAKE, "&job_in_progress=0")
        if not taken:
            continue
        job = json.loads(taken)
        holding.append(job["id"])
        result = json.dumps(answer_to(job["input"])).encode()
        call("POST", urlsplit(DONE.replace("$ID", job["id"])), "&isStream=false", result)
        holding.remove(job["id"])


main()
