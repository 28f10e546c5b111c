"""Who acts unasked: the autoscaler, the lifeline, the pruner.

Each loop is one `run()` that ends when it is cancelled and survives what goes wrong in a round: it is logged, and the next
round tries again. What a round does is an operation of `queue`, `fleet` or the store; loops only say when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from stoker.errors import StokerError

log = structlog.get_logger()

PAUSE_AFTER_ERROR_S = 1.0


def nobody(_name: str) -> None:
    """Hears it."""


async def keep_going(
    name: str, round_: Callable[[], Awaitable[None]], *, ended: Callable[[str], None] = nobody
) -> None:
    """Call `round_` for ever, and `ended` after each that went well. An error costs a pause, never the loop."""
    while True:
        if await goes_well(name, round_):
            ended(name)
        else:
            await asyncio.sleep(PAUSE_AFTER_ERROR_S)


async def goes_well(name: str, step: Callable[[], Awaitable[None]]) -> bool:
    """Whether `step` ends without an error; what goes wrong is logged, and keeps nothing else from being done."""
    try:
        await step()
    except StokerError as error:
        log.warning("loop_step_failed", loop=name, code=error.code, error=error.message)
    except Exception:
        log.exception("loop_step_failed", loop=name)
    else:
        return True
    return False
