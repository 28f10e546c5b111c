"""Amounts in words."""

from __future__ import annotations


def counted(count: int, what: str) -> str:
    """How many of a thing: no workers, 1 worker, 2 workers."""
    return f"1 {what}" if count == 1 else f"{count or 'no'} {what}s"


__all__ = ["counted"]
