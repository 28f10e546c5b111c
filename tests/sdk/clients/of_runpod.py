"""Everything that the synchronous client of the runpod SDK can do. Prints what it saw as JSON.

Arguments: base URL of the dialect, API key, endpoint, folder where handlers look for notes.
"""

import json
import sys
import time
from typing import Any

import requests
import runpod

PATIENCE_S = 60


def running(job: Any) -> Any:
    """The job once a worker has it."""
    for _ in range(PATIENCE_S * 20):
        if job.status() == "IN_PROGRESS":
            return job
        time.sleep(0.05)
    raise TimeoutError(f"{job.status()} after {PATIENCE_S} s")


def ends(endpoint: Any, folder: str) -> dict[str, Any]:
    """How jobs end."""
    order = {"do": "count", "parts": [1, {"ж": "🦊"}], "at": folder}
    run = endpoint.run(order)
    whole = endpoint.run({"input": order, "policy": {"executionTimeout": 60_000}})
    failing = endpoint.run({**order, "do": "fail"})
    return {
        "output": run.output(timeout=PATIENCE_S),
        "status": run.status(),
        "stream": list(whole.stream()),
        "failing output": failing.output(timeout=PATIENCE_S),
        "failing status": failing.status(),
        "run_sync": endpoint.run_sync(order, timeout=PATIENCE_S),
    }


def queue(endpoint: Any, folder: str) -> dict[str, Any]:
    """What can be done to jobs that wait and run."""
    held = running(endpoint.run({"do": "wait", "parts": ["part"], "name": "held", "at": folder}))
    first, second = (endpoint.run({"do": "count", "parts": [], "at": folder}) for _ in range(2))
    seen = {
        "queued": first.status(),
        "health": endpoint.health(),
        "cancelled": first.cancel()["status"],
        "purged": endpoint.purge_queue(),
        "status of the cancelled": first.status(),
        "status of the purged": second.status(),
        "output of the running": held.output(),
        "part of the running": next(iter(held.stream())),
        "cancelled while running": held.cancel()["status"],
    }
    return seen | {"stream of the cancelled": stream_to_the_end(held)}


def stream_to_the_end(job: Any) -> list[Any]:
    """The parts, and the error that releases a client which does not know the end CANCELLED."""
    parts = []
    try:
        parts.extend(iter(job.stream()))
    except requests.HTTPError as error:
        parts.append(str(error)[:3])
    return parts


def refusals(endpoint_id: str) -> dict[str, Any]:
    """What the client makes of errors."""
    seen = {}
    for name, key, endpoint in (("no such key", "sk_wrong", endpoint_id), ("no such endpoint", runpod.api_key, "x")):
        before, runpod.api_key = runpod.api_key, key
        try:
            runpod.Endpoint(endpoint).run({"a": 1})
        except (RuntimeError, requests.HTTPError) as error:
            seen[name] = f"{type(error).__name__}: {str(error)[:3]}"
        runpod.api_key = before
    return seen


if __name__ == "__main__":
    runpod.endpoint_url_base, runpod.api_key, name, at = sys.argv[1:]
    place = runpod.Endpoint(name)
    print(json.dumps(ends(place, at) | queue(place, at) | refusals(name)))
