"""The port to what seals and opens secrets: values of environment variables, passwords of registries, buckets of jobs (D12).

Operations seal what a customer marks secret before it is stored, and open it where it is used: when a worker is launched, an image
is pulled, a job is handed out. Everything between holds only what is sealed. Rules for every adapter:

- What is sealed is a short ASCII text; sealing the same twice gives two texts.
- It opens only in the context that it was sealed in: of one team it is of no use to another.
- What cannot be opened raises `Unavailable`; nothing of a secret or a key is in any message.
"""

from __future__ import annotations

from typing import Final, Protocol

from stoker.errors import Unavailable

JOBS: Final = "jobs"
"""The context of what comes with a job; everything else is sealed in that of its team's id."""


class Vault(Protocol):
    """Seals and opens."""

    def seal(self, plain: str, context: str) -> str:
        """The secret as it may be stored. Raises `Unavailable`."""
        ...

    async def open(self, sealed: str, context: str) -> str:
        """The secret. Raises `Unavailable`."""
        ...


class NoVault:
    """For programs that have nothing secret: it seals and opens nothing."""

    def seal(self, plain: str, context: str) -> str:
        """Refuse."""
        raise _no_key()

    async def open(self, sealed: str, context: str) -> str:
        """Refuse."""
        raise _no_key()


def _no_key() -> Unavailable:
    return Unavailable("this program has no key for secrets", code="no_secrets_key")


NO_VAULT: Final = NoVault()

__all__ = ["JOBS", "NO_VAULT", "NoVault", "Vault"]
