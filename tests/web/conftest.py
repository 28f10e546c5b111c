"""A real server with two teams in its database, shared by the tests of a process; each test makes endpoints of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stoker.ids import KeyId, MemberId, TeamId, secret_hash
from stoker.store.sqlite import SqliteStore
from stoker.team import ApiKey, Member, Role, Scope, Team
from tests.live import KEY, LiveServer
from tests.web.hands import Hands

STRANGER_KEY = "sk_test_stranger"
"""Admin of the other team."""

SPECIFICATIONS = '[{"id": "cpu", "name": "CPU", "slots": 500, "price_per_hour": 0.02}, {"id": "none", "slots": 0}]'
"""What the server's workers may be placed in: one kind has a price, the other has no place."""

_numbers = itertools.count(1)


async def _add_teams(data: Path) -> None:
    """Ours first, so that it is the one the server would have made."""
    store = await SqliteStore.open(data / "stoker.db")
    for name, secret in (("default", KEY), ("strangers", STRANGER_KEY)):
        team = Team(id=TeamId(f"team-{name}"), name=name, created_ms=1)
        member = Member(id=MemberId(f"mem-{name}"), team=team.id, name="owner", role=Role.OWNER, created_ms=1)
        key = ApiKey(
            id=KeyId(f"key-{name}"),
            team=team.id,
            member=member.id,
            role=member.role,
            name="admin",
            scopes=frozenset({Scope.ADMIN}),
            secret_hash=secret_hash(secret),
            created_ms=1,
        )
        await store.teams.add(team, member, key)
    await store.close()


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The server. It must end without a traceback in its log."""
    data = tmp_path_factory.mktemp("server")
    asyncio.run(_add_teams(data))
    wanted = {"log_format": "json", "access_log": "all"}  # so that every test looks after what may not be logged
    with LiveServer(data, specifications=SPECIFICATIONS, webhook_networks="127.0.0.0/8", **wanted) as server:
        yield server


@pytest.fixture
def api(live: LiveServer) -> httpx.Client:
    """Our team's admin."""
    return live.api


@pytest.fixture
def stranger(live: LiveServer) -> Iterator[httpx.Client]:
    """The other team's admin."""
    headers = {"Authorization": f"Bearer {STRANGER_KEY}"}
    with httpx.Client(base_url=live.url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def reader(live: LiveServer, api: httpx.Client) -> Iterator[httpx.Client]:
    """A key of our team that may only read."""
    made = api.post("/api/keys", json={"name": "reader", "scopes": ["read"]}).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    with httpx.Client(base_url=live.url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def name() -> str:
    """An endpoint name that no other test of this server uses."""
    return f"web-{next(_numbers)}"


@pytest.fixture
def hands(live: LiveServer, name: str, tmp_path: Path) -> Iterator[Hands]:
    """An endpoint whose worker is the test."""
    worker = Hands(live, name, tmp_path / "told")
    yield worker
    worker.close()
