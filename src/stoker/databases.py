"""The database of a server: opened and checked at its start, and what is done to it without one.

`prepare`, `migrate`, `rotate_secrets` and `create_team` each open the database, do one thing and close it; servers may run meanwhile.
"""

from __future__ import annotations

import asyncio
import importlib

from stoker import keyring
from stoker.catalog.teams import Teams
from stoker.clock import Clock, SystemClock
from stoker.config import Settings
from stoker.errors import Conflict
from stoker.logs import configure_logging
from stoker.loops.duty import SKEW_MOST_MS
from stoker.store import Store
from stoker.store.sqlite import SqliteStore
from stoker.vault.aes import AesVault


async def open_store(settings: Settings) -> Store:
    """The store, with its schema up to date. Raises `StokerError` with the next step."""
    if not settings.database:
        return await SqliteStore.open(settings.data_dir / "stoker.db")
    await asyncio.to_thread(importlib.import_module, "stoker.store.postgres")  # it reads from the disk
    from stoker.store.postgres import PostgresStore, Terms  # 3 MiB of memory that a server on SQLite can do without

    url = settings.database.get_secret_value()
    return await PostgresStore.open(
        Terms(url=url, connect_s=settings.database_connect_s, statement_s=settings.database_statement_s)
    )


async def open_vault(store: Store, settings: Settings) -> AesVault:
    """What opens the secrets of this database. Raises `StokerError` with the next step when the key does not fit."""
    try:
        return await keyring.open_vault(store, keyring.key_source(settings), SystemClock().now_ms())
    except BaseException:
        await store.close()
        raise


async def check_clock(store: Store, clock: Clock) -> None:
    """Raises `Conflict` (`clock_skew`) when this machine's clock and the database's are too far apart."""
    skew_ms = await store.skew_ms(clock.now_ms())
    if abs(skew_ms) > SKEW_MOST_MS:
        await store.close()
        raise Conflict(
            f"the clock of this machine is {abs(skew_ms)} ms {'ahead of' if skew_ms > 0 else 'behind'} the database's; "
            f"{SKEW_MOST_MS} ms are allowed",
            code="clock_skew",
            next_step="set the clocks right (NTP on both machines), then start again",
        )


async def first_key(teams: Teams, settings: Settings) -> str | None:
    """The admin key, if this start is the first and the settings chose none."""
    chosen = settings.bootstrap_key.get_secret_value() if settings.bootstrap_key else None
    made = await teams.bootstrap(chosen)
    return made if chosen is None else None


async def prepare(settings: Settings) -> str | None:
    """Do what a database needs once, before servers share it; the admin key if one was made. Raises `StokerError`."""
    store = await open_store(settings)
    clock = SystemClock()
    await check_clock(store, clock)
    await open_vault(store, settings)
    try:
        return await first_key(Teams(store, clock), settings)
    finally:
        await store.close()


def migrate(settings: Settings) -> None:
    """Bring the database to the schema of this Stoker, and do nothing else. Raises `StokerError`."""
    configure_logging(settings)
    asyncio.run(_migrate(settings))


async def _migrate(settings: Settings) -> None:
    store = await open_store(settings)
    await store.close()


def rotate_secrets(settings: Settings) -> keyring.Rotation:
    """Seal the secrets of the database with another key; servers may run. Raises `StokerError`."""
    configure_logging(settings)
    return asyncio.run(_rotate_secrets(settings))


async def _rotate_secrets(settings: Settings) -> keyring.Rotation:
    store = await open_store(settings)
    try:
        return await keyring.rotate(store, keyring.key_source(settings), SystemClock().now_ms())
    finally:
        await store.close()


def create_team(settings: Settings, name: str, owner: str) -> tuple[str, str]:
    """A new team with an owner: its id, and the secret of that one's key. Servers may run. Raises `StokerError`."""
    configure_logging(settings)
    return asyncio.run(_create_team(settings, name, owner))


async def _create_team(settings: Settings, name: str, owner: str) -> tuple[str, str]:
    store = await open_store(settings)
    try:
        team, secret = await Teams(store, SystemClock()).create(name, owner)
        return team.id, secret
    finally:
        await store.close()


__all__ = [
    "check_clock",
    "create_team",
    "first_key",
    "migrate",
    "open_store",
    "open_vault",
    "prepare",
    "rotate_secrets",
]
