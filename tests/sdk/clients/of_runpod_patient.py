"""A user's program on the runpod SDK that runs one job after the other and goes on when the platform is restarted. Prints a line of
JSON for each: its id, what it should answer, what it did, and how often its submission was tried again.

Arguments: base URL of the dialect, API key, endpoint, a file that appears when it is to end.
"""

import json
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import requests
import runpod

PATIENCE_S = 60
TRIES = 10


def submitted(endpoint: Any, text: str) -> tuple[Any, int]:
    """A job, and how many tries it took. The SDK itself tries again what only reads; a submission is for its caller to repeat."""
    for tries in range(TRIES):
        try:
            return endpoint.run({"echo": text}), tries
        except requests.RequestException as error:
            if error.response is not None and error.response.status_code != 503:
                raise
            time.sleep(0.5)
    raise TimeoutError(f"not accepted in {TRIES} tries")


def main() -> None:
    """Until the file is there."""
    runpod.endpoint_url_base, runpod.api_key, name, over = sys.argv[1:]
    endpoint = runpod.Endpoint(name)
    for number in count():
        if Path(over).exists():
            return
        text = f"number {number}"
        job, retries = submitted(endpoint, text)
        output = job.output(timeout=PATIENCE_S)
        print(json.dumps({"id": job.job_id, "text": text, "output": output, "retries": retries}), flush=True)


main()
