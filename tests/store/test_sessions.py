"""Who is signed in to the console."""

from __future__ import annotations

from dataclasses import replace

from stoker.store import Store
from stoker.team import Session
from tests.store.records import NOW

SESSION = Session(token_hash="token", key_hash="key", created_ms=NOW, expires_ms=NOW + 1_000)


async def test_session_is_read_back(store: Store) -> None:
    """A session is found by the hash of its token, with every value it was given."""
    await store.sessions.add(SESSION)
    assert await store.sessions.get("token") == SESSION
    assert await store.sessions.get("another") is None


async def test_session_ends(store: Store) -> None:
    """A session that was ended is gone; ending it again changes nothing, and others stay."""
    other = replace(SESSION, token_hash="other")
    await store.sessions.add(SESSION)
    await store.sessions.add(other)
    await store.sessions.end("token")
    await store.sessions.end("token")
    assert await store.sessions.get("token") is None
    assert await store.sessions.get("other") == other


async def test_expired_sessions_are_forgotten(store: Store) -> None:
    """A new session takes the place of all that have expired before it, so that they never pile up."""
    await store.sessions.add(SESSION)
    later = replace(SESSION, token_hash="later", created_ms=SESSION.expires_ms, expires_ms=SESSION.expires_ms + 1_000)
    await store.sessions.add(later)
    assert await store.sessions.get("token") is None
    assert await store.sessions.get("later") == later
