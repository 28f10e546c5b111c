"""What `stoker doctor` says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do about it."""

    subject: str
    verdict: Literal["ok", "note", "wrong"]
    text: str
    fix: str = ""
