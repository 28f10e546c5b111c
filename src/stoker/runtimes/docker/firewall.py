"""Metadata addresses, where clouds tell a machine its credentials: workers are kept from them by the machine's firewall.

The rules lie in `DOCKER-USER`, the chain that engines leave to others and go through first, and mean all bridges of ours. Only TCP is
refused, and not the port of DNS: clouds have their resolvers and clocks at the same addresses. Of IPv6 (`fd00:ec2::254`) nothing has
to be refused, because our networks have none. It needs an engine of this machine and the right to change its firewall.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from typing import Final

import structlog

from stoker.errors import Unavailable
from stoker.runtimes.docker.engine import Engine

log = structlog.get_logger()

CHAIN: Final = "DOCKER-USER"
BRIDGE_PREFIX: Final = "stk-"
"""How the machine calls the bridges, so that one firewall rule can mean all of them (15 characters at most)."""
ADDRESSES: Final = ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32")
"""Those of nearly all clouds; Alibaba's; that of Azure's host."""
PATIENCE_S: Final = 5


class Firewall:
    """The firewall of the machine, as far as it is about metadata."""

    def __init__(self, engine: Engine, *, required: bool) -> None:
        self._engine = engine
        self._required = required
        self._told = ""

    async def close_metadata(self) -> None:
        """See to it that the rules are there. Raises `Unavailable` when they cannot be, and must."""
        why = await self._elsewhere() or await asyncio.to_thread(insert)
        if why and self._required:
            raise Unavailable(
                f"workers could reach the machine's metadata, and none may start so: {why}",
                code="metadata_open",
                next_step="as root: " + "; ".join(commands()),
            )
        if why and why != self._told:
            log.warning("metadata_open", why=why, next_step="stoker doctor")
        self._told = why

    async def _elsewhere(self) -> str:
        """Why the machine's firewall is not in the way of the engine's containers; nothing when it is."""
        if not self._engine.is_local:
            return "the engine is on another machine"
        rootless = await self._engine.is_rootless()
        return "containers of a rootless engine do not pass through this machine's firewall" if rootless else ""


def rules() -> Sequence[Sequence[str]]:
    """The rules, in the words of iptables."""
    refuse = ("!", "--dport", "53", "-j", "REJECT", "--reject-with", "tcp-reset")
    return [(CHAIN, "-i", f"{BRIDGE_PREFIX}+", "-d", address, "-p", "tcp", *refuse) for address in ADDRESSES]


def commands() -> Sequence[str]:
    """What an administrator would type."""
    return [f"iptables -I {' '.join(rule)}" for rule in rules()]


def missing() -> Sequence[Sequence[str]]:
    """Rules that are not there, as far as we may look. Blocks."""
    if _iptables("-C", ("FORWARD", "-j", CHAIN)):
        return rules()  # nothing passes through the chain
    return [rule for rule in rules() if _iptables("-C", rule)]


def insert() -> str:
    """Put those there that are missing; why that cannot be, in words, or nothing. Blocks."""
    if error := _iptables("-C", ("FORWARD", "-j", CHAIN)):
        return f"the engine's chain {CHAIN} is not used or cannot be seen: {error}"
    for rule in missing():
        if error := _iptables("-I", rule):
            return error
    return ""


def _iptables(verb: str, rule: Sequence[str]) -> str:
    """Run it; its complaint, or nothing."""
    words = ["iptables", "-w", str(PATIENCE_S), verb, *rule]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"iptables cannot be run ({type(error).__name__})"
    return "" if done.returncode == 0 else done.stderr.strip().partition("\n")[0] or "iptables refuses"


__all__ = ["BRIDGE_PREFIX", "Firewall", "commands", "insert", "missing", "rules"]
