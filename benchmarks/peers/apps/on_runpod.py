"""Echo on the Runpod SDK's own local server: `python on_runpod.py --rp_serve_api`.

The same file is the handler of the row "Stoker, worker of the Runpod SDK", where the SDK asks how many jobs it may hold.
"""

import os

import runpod

SLOTS = int(os.environ.get("SLOTS", "1"))


async def handler(job):
    return job["input"]


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: SLOTS})
