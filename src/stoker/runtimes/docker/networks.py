"""A network for each endpoint: workers of one endpoint meet nobody but each other, the machine and the world outside."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
from typing import Any, Final

from stoker.errors import Unavailable
from stoker.runtimes.container import ENDPOINT, INSTALLATION
from stoker.runtimes.docker.engine import Engine, Refusal
from stoker.runtimes.docker.firewall import BRIDGE_PREFIX, Firewall

PREFIX: Final = "stoker-"


def network_name(installation: str, endpoint: str) -> str:
    """How the engine calls the endpoint's network."""
    return f"{PREFIX}{installation}-{endpoint or 'workers'}"


def network_config(installation: str, endpoint: str) -> dict[str, Any]:
    """The body of the engine's create call."""
    name = network_name(installation, endpoint)
    bridge = BRIDGE_PREFIX + hashlib.sha256(name.encode()).hexdigest()[:11]
    return {
        "Name": name,
        "Driver": "bridge",
        "EnableIPv6": False,  # what the firewall keeps from workers is IPv4
        "CheckDuplicate": True,  # older engines would make a second of the same name
        "Labels": {INSTALLATION: installation, ENDPOINT: endpoint},
        "Options": {"com.docker.network.bridge.name": bridge},
    }


class Networks:
    """The networks of one installation."""

    def __init__(self, engine: Engine, installation: str, firewall: Firewall | None) -> None:
        self._engine = engine
        self._firewall = firewall
        self._installation = installation
        self._known: set[str] = set()
        self._adding = asyncio.Lock()

    async def of(self, endpoint: str) -> str:
        """The name of the endpoint's network, which exists by then. Raises `Unavailable`."""
        name = network_name(self._installation, endpoint)
        if name in self._known:
            return name
        if self._firewall is not None:
            await self._firewall.close_metadata()
        async with self._adding:
            if not await self._exists(name):
                await self._add(name, endpoint)
        self._known.add(name)
        return name

    async def _exists(self, name: str) -> bool:
        try:
            await self._engine.network(name)
        except Refusal:
            return False
        return True

    async def _add(self, name: str, endpoint: str) -> None:
        try:
            await self._engine.add_network(network_config(self._installation, endpoint))
        except Refusal as refusal:
            if not await self._exists(name):  # else another server made it meanwhile
                raise Unavailable(
                    f"the engine cannot make a network for the endpoint: {refusal.message}",
                    code="no_network",
                    next_step="remove unused networks (docker network prune), or give the engine more address pools",
                ) from None

    def forget(self) -> None:
        """Look again: one of them is not there."""
        self._known.clear()

    async def sweep(self) -> None:
        """Remove our networks that nobody is in; of the others, renew what keeps them from the metadata if somebody emptied the
        firewall."""
        for found in await self._engine.networks([f"{INSTALLATION}={self._installation}"]):
            try:
                await self._engine.remove_network(found["Name"])
            except Refusal:
                continue  # workers are in it
            self._known.discard(found["Name"])
        if self._known and self._firewall is not None:
            with contextlib.suppress(Unavailable):  # the next launch says it
                await self._firewall.close_metadata()

    async def gateway(self) -> str:
        """The address of this machine on the engine's first network, which `host-gateway` stands for; empty if there is none, as
        with a rootless engine, whose bridges are not this machine's."""
        if await self._engine.is_rootless():
            return ""
        try:
            found = await self._engine.network("bridge")
        except Refusal:
            return ""
        settings = (found.get("IPAM", {}).get("Config") or [{}])[0]
        return str(settings.get("Gateway") or first_address(str(settings.get("Subnet", ""))))


def first_address(subnet: str) -> str:
    """The gateway of a subnet whose engine does not say it, as engines do until their second start; empty without a subnet."""
    try:
        return str(next(ipaddress.ip_network(subnet).hosts()))
    except ValueError:
        return ""
