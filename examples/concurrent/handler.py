"""A worker that holds several jobs at once: an async handler, and a concurrency_modifier that says how many.

    stoker endpoint create concurrent --image dir:examples/concurrent --command "python -u handler.py" \
        --min-workers 0 --max-workers 3 --idle-timeout 5 --slots 4 --env SLOTS=4

Input, optional: seconds to wait (0 to 600, default 1). The answer tells how many jobs were here halfway.
A waiting async handler can be cancelled at its await; a synchronous one cannot.
"""

import asyncio
import os

import runpod

SLOTS = int(os.environ.get("SLOTS", "4"))
here = set()


async def handler(job):
    seconds = job["input"].get("seconds", 1)
    if type(seconds) not in (int, float) or not 0 <= seconds <= 600:
        return {"error": "seconds must be a number from 0 to 600"}
    here.add(job["id"])
    try:
        await asyncio.sleep(seconds / 2)
        together = len(here)
        await asyncio.sleep(seconds / 2)
        return {"seconds": seconds, "together": together, "slots": SLOTS}
    finally:
        here.discard(job["id"])


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: SLOTS})
