"""Everything that the client of the novita-gpus SDK can do. Arguments and answer: see `of_runpod.py`."""

import json
import sys
import time
from typing import Any

import novita_gpus
import requests

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
    run, failing = endpoint.run(order), endpoint.run({"input": {**order, "do": "fail"}})
    return {
        "output": run.output(timeout=PATIENCE_S),
        "status": run.status(),
        "failing output": failing.output(timeout=PATIENCE_S),
        "failing status": failing.status(),
    }


def queue(endpoint: Any, folder: str) -> dict[str, Any]:
    """What can be done to jobs that wait and run."""
    held = running(endpoint.run({"do": "wait", "parts": [], "name": "held", "at": folder}))
    first, second = (endpoint.run({"do": "count", "parts": [], "at": folder}) for _ in range(2))
    return {
        "queued": first.status(),
        "health": endpoint.health(),
        "cancelled": first.cancel()["status"],
        "purged": endpoint.purge_queue(),
        "status of the cancelled": first.status(),
        "status of the purged": second.status(),
        "cancelled while running": held.cancel()["status"],
    }


def refusals(base: str, key: str, endpoint_id: str) -> dict[str, Any]:
    """What the client makes of errors."""
    seen = {}
    for name, secret, endpoint in (("no such key", "sk_wrong", endpoint_id), ("no such endpoint", key, "x")):
        try:
            novita_gpus.Endpoint(endpoint, api_key=secret, endpoint_url_base=base).run({"a": 1})
        except (RuntimeError, requests.HTTPError) as error:
            seen[name] = f"{type(error).__name__}: {str(error)[:3]}"
    return seen


if __name__ == "__main__":
    url, secret, name, at = sys.argv[1:]
    place = novita_gpus.Endpoint(name, api_key=secret, endpoint_url_base=url)
    print(json.dumps(ends(place, at) | queue(place, at) | refusals(url, secret, name)))
