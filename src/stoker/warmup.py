"""Warm-ups: images that a team wants to have where its workers start, before the first of them asks. Pure.

A warm-up is a wish that is kept: it is asked for by a user or made with an endpoint, fetched by the loop `warmer`, and stays until
somebody removes it or the image is collected. A team sees its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from stoker.errors import StokerError, Unavailable
from stoker.ids import CredentialId, TeamId

TRIES_MOST: Final = 5
FIRST_PAUSE_MS: Final = 15_000
"""After the first try that went wrong; each later one doubles it: a registry that limits pulls is left alone for minutes."""


class WarmUpState(StrEnum):
    """Where it stands."""

    FETCHING = "fetching"
    HERE = "here"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUp:
    """One image of one team."""

    team: TeamId
    image: str
    credential: CredentialId | None = None
    """With what it is fetched; None for images that everybody may pull."""
    state: WarmUpState = WarmUpState.FETCHING
    text: str = ""
    """How far it is, or what went wrong with the last try."""
    code: str = ""
    """Of what went wrong; empty when nothing did."""
    digest: str = ""
    """The name of the bytes, once they are here and the runtime knows."""
    tries: int = 0
    """How often it went wrong."""
    due_ms: int
    """When it is tried next."""
    asked_ms: int
    updated_ms: int

    def fetched(self, digest: str, at_ms: int) -> WarmUp:
        """It is here."""
        return replace(self, state=WarmUpState.HERE, text="", code="", digest=digest, updated_ms=at_ms)

    def far(self, text: str, at_ms: int) -> WarmUp:
        """It is so far."""
        return replace(self, text=text, code="", updated_ms=at_ms)

    def failed(self, error: StokerError, at_ms: int) -> WarmUp:
        """A try went wrong. What may be otherwise later is tried again, after a growing pause, `TRIES_MOST` times in all."""
        tries = self.tries + 1
        after = replace(self, tries=tries, text=error.message, code=error.code, updated_ms=at_ms)
        if not isinstance(error, Unavailable) or tries >= TRIES_MOST:
            return replace(after, state=WarmUpState.FAILED)
        return replace(after, due_ms=at_ms + FIRST_PAUSE_MS * 2 ** (tries - 1))


__all__ = ["FIRST_PAUSE_MS", "TRIES_MOST", "WarmUp", "WarmUpState"]
