"""Asking a worker how it is, over HTTP: for `fleet.checks`.

Only the status of the answer is looked at: no body is read, no redirect followed, and what a worker says is not quoted.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Final

GOOD: Final = range(200, 400)


class HttpProbe:
    """`fleet.checks.Probe`."""

    async def get(self, address: str, path: str, *, timeout_s: float) -> str:
        """Ask once. A connection of its own for each question: one that is kept would hide a server that accepts none."""
        await asyncio.to_thread(importlib.import_module, "httpx")  # it reads from the disk
        import httpx  # 5 MiB of memory that only servers with health checks need

        try:
            async with (
                asyncio.timeout(timeout_s),
                # plain HTTP, in the time above: certificates would be loaded for nothing
                httpx.AsyncClient(verify=False, trust_env=False, timeout=None) as client,  # nosec B113 B501
                client.stream("GET", f"http://{address}{path}") as answer,
            ):
                status = answer.status_code
        except TimeoutError:
            return f"no answer within {timeout_s:g} s"
        except httpx.ConnectError:
            return "nobody listens at its HTTP port"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"the connection broke ({type(error).__name__})"
        return "" if status in GOOD else f"HTTP {status}"


__all__ = ["HttpProbe"]
