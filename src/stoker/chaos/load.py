"""Real load: jobs submitted over HTTP until each is answered, and asked about until each has ended."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import httpx

from stoker.chaos.report import Ending, Ordered

ENDPOINT: Final = "chaos"
PENDING_MOST: Final = 256
"""Submissions that wait for an answer at once."""
TRY_AGAIN_S: Final = 0.2
PATIENCE_S: Final = 10.0
ASK_EVERY_S: Final = 1.0
ASK_AT_ONCE: Final = 16
FINAL: Final = ("completed", "failed", "cancelled", "timed_out")


def order_of(seed: int, number: int) -> Ordered:
    """What the job of that number does: most are quick, some are slow, one in twenty fails."""
    chance = random.Random(f"{seed}/{number}")  # nosec B311  # it chooses what a job does, no secret
    work_ms = chance.randrange(2_000) if chance.random() < 0.05 else chance.randrange(50)
    return Ordered(number=number, work_ms=work_ms, fails=chance.random() < 0.05)


class Load:
    """Who submits, and who looks for the ends. `urls` are those of all servers; each request goes to any of them."""

    def __init__(self, urls: Sequence[str], key: str, seed: int) -> None:
        self._urls = urls
        self._seed = seed
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"},
            timeout=PATIENCE_S,
            limits=httpx.Limits(max_connections=PENDING_MOST + ASK_AT_ONCE),
        )
        self._turn = 0
        self._room = asyncio.Semaphore(PENDING_MOST)
        self._asks = asyncio.Semaphore(ASK_AT_ONCE)
        self._submitting: set[asyncio.Task[None]] = set()
        self.orders: dict[str, Ordered] = {}
        """What was accepted, by the id of the job."""
        self.endings: dict[str, Ending] = {}
        self.refused: Counter[str] = Counter()

    async def send(self, rate: float, duration_s: float) -> None:
        """So many jobs a second for so long, then wait until the last of them is answered."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for number in range(round(rate * duration_s)):
            await asyncio.sleep(max(0.0, began_s + number / rate - loop.time()))
            if loop.time() > began_s + duration_s:
                break
            await self._room.acquire()
            task = asyncio.create_task(self._submit(order_of(self._seed, number)))
            self._submitting.add(task)
            task.add_done_callback(self._submitting.discard)
        await asyncio.gather(*self._submitting)

    async def _submit(self, order: Ordered) -> None:
        """Until it is answered with 200, under one idempotency key."""
        body = {"input": {"number": order.number, "work_ms": order.work_ms, "fails": order.fails}}
        headers = {"Idempotency-Key": f"{self._seed}/{order.number}"}
        try:
            while True:
                answer = await self._ask("POST", f"/v2/{ENDPOINT}/run", json=body, headers=headers)
                if answer is not None and answer.status_code == 200:
                    self.orders[str(answer.json()["id"])] = order
                    return
                self.refused["no answer" if answer is None else str(answer.status_code)] += 1
                await asyncio.sleep(TRY_AGAIN_S)
        finally:
            self._room.release()

    async def follow(self) -> None:
        """Look for ends until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(ASK_EVERY_S)

    async def look(self) -> bool:
        """Ask about every job that has not ended; whether all have."""
        open_jobs = [job for job in self.orders if job not in self.endings]
        await asyncio.gather(*(self._look_at(job) for job in open_jobs))
        return len(self.endings) == len(self.orders)

    async def _look_at(self, job: str) -> None:
        async with self._asks:
            answer = await self._ask("GET", f"/api/jobs/{job}")
        if answer is None or answer.status_code != 200:
            return
        now: dict[str, Any] = answer.json()
        if now["state"] in FINAL:
            self.endings[job] = Ending(
                state=now["state"], reason=now["reason"], attempts=now["attempt"], output=now.get("output")
            )

    async def create_endpoint(self, **fields: object) -> None:
        """The endpoint whose workers run the jobs."""
        answer = await self._http.post(f"{self._urls[0]}/api/endpoints", json={"name": ENDPOINT, **fields})
        answer.raise_for_status()

    async def _ask(self, method: str, path: str, **what: Any) -> httpx.Response | None:
        """The answer of the next server; None when it gave none."""
        self._turn += 1
        url = self._urls[self._turn % len(self._urls)]
        with suppress(httpx.TransportError):
            return await self._http.request(method, url + path, **what)
        return None

    async def close(self) -> None:
        """Close the connections, and give up what is not answered."""
        for task in list(self._submitting):
            task.cancel()
        await asyncio.gather(*self._submitting, return_exceptions=True)
        await self._http.aclose()


__all__ = ["ENDPOINT", "Load", "order_of"]
