"""Where requests led a moment ago: the way from a key to an endpoint, as one look.

Called by `web.auth`. Clients come the same way all day, so where it led is kept while everything on it is believed (`remembered.py`):
one look instead of a hash, two look-ups and three checks. All of it is forgotten as soon as a key or an endpoint changes here.
"""

from __future__ import annotations

from typing import NamedTuple

from stoker.catalog.endpoints import Endpoints
from stoker.catalog.remembered import REMEMBERED_MOST
from stoker.catalog.teams import Teams
from stoker.clock import Clock
from stoker.endpoint import Endpoint
from stoker.team import ApiKey, Scope

Way = tuple[str | None, Scope, str]
"""How a request comes: the header that brings the key, what it wants to do, and what the path calls the endpoint."""


class Entrance(NamedTuple):
    """Where a way leads: who comes in, and to which endpoint."""

    key: ApiKey
    endpoint: Endpoint


class Entrances:
    """Ways that led to an endpoint."""

    def __init__(self, teams: Teams, endpoints: Endpoints, clock: Clock) -> None:
        self._teams = teams
        self._endpoints = endpoints
        self._clock = clock
        self._led: dict[Way, tuple[int, Entrance]] = {}
        self.forgotten = 0
        """How often something changed."""
        teams.watch(self._forget)
        endpoints.watch(self._forget)

    def known(self, way: Way) -> Entrance | None:
        """Where the way led, if that is believed."""
        led = self._led.get(way)
        return led[1] if led is not None and self._clock.now_ms() < led[0] else None

    def keep(self, way: Way, secret: str, found: Entrance, *, forgotten: int) -> None:
        """It led there, by this secret. Nothing is kept if something changed since `forgotten` was read."""
        if forgotten != self.forgotten:
            return
        if len(self._led) >= REMEMBERED_MOST:
            self._led.clear()
        until_ms = min(
            self._teams.trusted_until_ms(found.key, secret),
            self._endpoints.trusted_until_ms(found.endpoint.team, way[2]),
        )
        self._led[way] = (until_ms, found)

    def _forget(self) -> None:
        self._led.clear()
        self.forgotten += 1
