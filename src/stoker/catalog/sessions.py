"""Operations on sessions: a person exchanges an API key for a cookie, once, and the browser never keeps the key.

A session is worth what its key is worth at each moment: it ends with it, and loses what the key or its member loses.
"""

from __future__ import annotations

from typing import Final

from stoker import ids
from stoker.catalog.remembered import Remembered
from stoker.catalog.teams import Teams
from stoker.clock import Clock
from stoker.errors import Unauthenticated
from stoker.store import Store
from stoker.team import ApiKey, Session

SIGN_IN: Final = "sign in again with an API key"


class Sessions:
    """Operations on sessions, each `life_ms` long."""

    def __init__(self, store: Store, clock: Clock, teams: Teams, *, life_ms: int) -> None:
        self._store = store
        self._clock = clock
        self._teams = teams
        self._life_ms = life_ms
        self._sessions: Remembered[str, Session] = Remembered(clock, store.sessions.get)

    async def sign_in(self, secret: str) -> tuple[ApiKey, Session, str]:
        """The key that the secret opens, a new session, and the token of its cookie. Raises `Unauthenticated`."""
        key = await self._teams.authenticate(secret)
        token, now_ms = ids.new_session_token(), self._clock.now_ms()
        until_ms = now_ms + self._life_ms
        session = Session(
            token_hash=ids.secret_hash(token),
            key_hash=ids.secret_hash(secret),
            created_ms=now_ms,
            expires_ms=until_ms if key.expires_ms is None else min(until_ms, key.expires_ms),
        )
        await self._store.sessions.add(session)
        return key, session, token

    async def authenticate(self, token: str) -> ApiKey:
        """The key by which the session of that token was begun, as it is now. Raises `Unauthenticated`."""
        session = await self._sessions.get(ids.secret_hash(token))
        if session is None:
            raise Unauthenticated("nobody is signed in with this cookie", code="session_ended", next_step=SIGN_IN)
        if self._clock.now_ms() >= session.expires_ms:
            raise Unauthenticated("the session has expired", code="session_ended", next_step=SIGN_IN)
        return await self._teams.authenticate_hash(session.key_hash)

    def last(self, token: str) -> ApiKey | None:
        """Whose session it was when it was read last, for what only tells about it."""
        session = self._sessions.last(ids.secret_hash(token))
        return None if session is None else self._teams.last(session.key_hash)

    async def sign_out(self, token: str) -> None:
        """End the session of that token, if there is one."""
        await self._store.sessions.end(ids.secret_hash(token))
        self._sessions.forget()


__all__ = ["Sessions"]
