"""How a server's process keeps its memory: it loads what it needs, keeps what it loaded for good, and what bodies took for the next
ones.

`sparing` is around the import of the server, in whatever becomes one; `settle` is called once it listens.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator
from typing import Final

UNUSED: Final = ("email_validator", "greenlet", "pydantic_extra_types", "python_multipart", "rich", "watchfiles")
"""What libraries load along where it is installed, and a server never uses: colours of tracebacks, forms, reloading when a file
changes. They take 6 MiB."""
YOUNG_MOST: Final = 50_000
"""Objects that are made before the collector looks for cycles among them. A job makes some hundred, and hardly ever a cycle."""
GENERATIONS: Final = (50, 100)
"""So many looks at the young before one at the older ones, and so many of those before one at the oldest."""
KEPT_BYTES: Final = 32 * 1024 * 1024
"""What is freed is kept for the next body up to this, instead of being given back and asked for again, page by page."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


@contextlib.contextmanager
def sparing() -> Iterator[None]:
    """What is imported meanwhile finds nothing of what a server never uses. What is loaded already stays."""
    hidden = [name for name in UNUSED if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # as Python's reference says it: there is no such module
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


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
