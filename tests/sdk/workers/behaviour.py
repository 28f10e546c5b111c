"""A worker whose jobs say what it shall do: `{"do": name, …}`. Its one argument names the kind of its handler.

It runs on whichever SDK its interpreter has. Handlers and tests meet in the folder `at` of the input: a handler writes what
the test waits for, and waits for what the test writes.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

try:
    from runpod.serverless import progress_update, start
except ImportError:
    from novita_gpus import progress_update, start

Job = dict[str, Any]
Order = dict[str, Any]
"""The input of a job."""

EVERY_S = 0.02
"""How often a handler looks for a note of the test."""


def note(order: Order, name: str, text: object = "") -> None:
    """Tell the test something; the file appears with its text."""
    draft = Path(order["at"], f"{name}.draft")
    draft.write_text(str(text))
    draft.rename(Path(order["at"], name))


def noted(order: Order, name: str) -> bool:
    return Path(order["at"], name).exists()


# ── a plain handler ───────────────────────────────────────────────────────────────────────────────────────────────────


def give_back(job: Job) -> Any:
    return job["input"]["value"]


def fail(job: Job) -> None:
    raise ValueError(job["input"]["text"])


def write_much(job: Job) -> str:
    return "x" * int(job["input"]["size"])


def report_progress(job: Job) -> str:
    progress_update(job, {"done": 1})
    return hold(job)


def hold(job: Job) -> str:
    order = job["input"]
    note(order, order["name"], os.getpid())
    while not noted(order, "go"):
        time.sleep(EVERY_S)
    return f"{order['name']} went"


def die(job: Job) -> None:
    """The first time as Python programs leave, the second time as a crash does."""
    if noted(job["input"], "died"):
        os._exit(4)
    note(job["input"], "died")
    sys.exit(3)


PLAIN: dict[str, Callable[[Job], Any]] = {
    "give back": give_back,
    "fail": fail,
    "give nan": lambda job: {"numbers": [float("nan"), float("inf"), 1.5]},
    "give object": lambda job: object(),
    "give set": lambda job: {"deep": [{1, 2}]},
    "give job": lambda job: {**job, "id": job["id"][:0]},
    "write much": write_much,
    "report progress": report_progress,
    "hold": hold,
    "die": die,
}


def plain(job: Job) -> Any:
    order = job["input"]
    return PLAIN[order["do"]](job) if order else {"input": order}


# ── an async handler ──────────────────────────────────────────────────────────────────────────────────────────────────

barriers: dict[str, asyncio.Barrier] = {}


async def meet(order: Order) -> int:
    """Go on only when as many handlers as `size` are here at the same time."""
    barrier = barriers.setdefault(order["name"], asyncio.Barrier(order["size"]))
    return await barrier.wait()


async def wait(order: Order) -> str:
    note(order, order["name"])
    try:
        while not noted(order, "go"):  # noqa: ASYNC110 - a file is no asyncio.Event
            await asyncio.sleep(EVERY_S)
    except asyncio.CancelledError:
        note(order, f"{order['name']} cancelled")
        raise
    return f"{order['name']} went"


async def overlapping(job: Job) -> Any:
    order = job["input"]
    return await (meet(order) if order["do"] == "meet" else wait(order))


# ── generators ────────────────────────────────────────────────────────────────────────────────────────────────────────


def stream(job: Job) -> Iterator[Any]:
    order = job["input"]
    yield from order["parts"]
    if order["do"] == "fail":
        raise ValueError("the well is dry")


async def stream_async(job: Job) -> AsyncIterator[Any]:
    order = job["input"]
    for part in order["parts"]:
        yield part
    if order["do"] == "fail":
        raise ValueError("the well is dry")
    if order["do"] == "wait":
        await wait(order)


KINDS: dict[str, dict[str, Any]] = {
    "plain": {"handler": plain},
    "greedy": {"handler": plain, "concurrency_modifier": lambda _present: 32},
    "overlapping": {"handler": overlapping, "concurrency_modifier": lambda _present: 4},
    "stream": {"handler": stream},
    "fresh": {"handler": stream_async, "return_aggregate_stream": True, "refresh_worker": True},
    "aggregate": {"handler": stream_async, "return_aggregate_stream": True},
}

if __name__ == "__main__":
    start(KINDS[sys.argv.pop(1)])
