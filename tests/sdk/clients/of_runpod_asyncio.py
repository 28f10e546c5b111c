"""Everything that the asyncio client of the runpod SDK can do. Arguments and answer: see `of_runpod.py`."""

import asyncio
import json
import sys
from typing import Any

import aiohttp
import runpod

PATIENCE_S = 60


async def running(job: Any) -> Any:
    """The job once a worker has it."""
    async with asyncio.timeout(PATIENCE_S):
        while await job.status() != "IN_PROGRESS":  # noqa: ASYNC110 - the server is no asyncio.Event
            await asyncio.sleep(0.05)
    return job


async def ends(endpoint: Any, folder: str) -> dict[str, Any]:
    """How jobs end."""
    order = {"do": "count", "parts": [1, {"ж": "🦊"}], "at": folder}
    run, whole = await endpoint.run(order), await endpoint.run(order)
    return {
        "output": await run.output(timeout=PATIENCE_S),
        "status": await run.status(),
        "stream": [part async for part in whole.stream()],
    }


async def queue(endpoint: Any, folder: str) -> dict[str, Any]:
    """What can be done to jobs that wait and run."""
    held = await running(await endpoint.run({"do": "wait", "parts": [], "name": "held", "at": folder}))
    first, second = [await endpoint.run({"do": "count", "parts": [], "at": folder}) for _ in range(2)]
    return {
        "queued": await first.status(),
        "health": await endpoint.health(),
        "cancelled": (await first.cancel())["status"],
        "purged": await endpoint.purge_queue(),
        "status of the cancelled": await first.status(),
        "status of the purged": await second.status(),
        "cancelled while running": (await held.cancel())["status"],
    }


async def main() -> None:
    """All of it, in one session."""
    runpod.endpoint_url_base, runpod.api_key, name, at = sys.argv[1:]
    async with aiohttp.ClientSession() as session:
        endpoint = runpod.AsyncioEndpoint(name, session)
        print(json.dumps(await ends(endpoint, at) | await queue(endpoint, at)))


if __name__ == "__main__":
    asyncio.run(main())
