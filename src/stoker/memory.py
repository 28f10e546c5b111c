"""How a server's process keeps its memory: what it loaded at its start for good, and what bodies took for the next ones.

Called by `server.py` and `processes.py`, once the server listens.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from typing import Final

YOUNG_MOST: Final = 50_000
"""Objects that are made before the collector looks for cycles among them. A job makes some hundred, and hardly ever a cycle."""
GENERATIONS: Final = (50, 100)
"""So many looks at the young before one at the older ones, and so many of those before one at the oldest."""
KEPT_BYTES: Final = 32 * 1024 * 1024
"""What is freed is kept for the next body up to this, instead of being given back and asked for again, page by page."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def settle() -> None:
    """Leave alone what the start has made: modules, routes, models. It lives as long as the process, and looking through it
    for cycles again and again took a tenth of the time of small jobs. What the start has left over is given back.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MOST, *GENERATIONS)
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc has other ways
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        libc.malloc_trim(0)
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
