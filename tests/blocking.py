"""What may block inside the event loop of a test, although `stoker` asked for it."""

from __future__ import annotations

from blockbuster import BlockBuster

ALLOWED = {
    # For each new connection asyncpg looks for certificates and a password file of the user: a few small local files.
    "asyncpg/connect_utils.py": {"_parse_connect_arguments"},
    # The embedded store writes and reads rows itself: handing statements of some microseconds to a thread costs more. What
    # waits for the disk is not among them, but for a lone commit while the disk is quick (`pace.py`).
    "store/sqlite/transaction.py": {"begin", "read"},
    "store/sqlite/writer.py": {"__init__", "_flush", "close"},
}
"""Functions by file, and everything that they call."""


def allow(guard: BlockBuster) -> None:
    """Let them."""
    for function in guard.functions.values():
        for file, names in ALLOWED.items():
            function.can_block_in(file, names)
