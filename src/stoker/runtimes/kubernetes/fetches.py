"""Images on their way onto the nodes of a cluster, before workers need them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from lightkube.resources.apps_v1 import DaemonSet

from stoker.clock import Clock
from stoker.errors import NotFound, StokerError, Unavailable
from stoker.runtimes import Login
from stoker.runtimes.container import check_image
from stoker.runtimes.kubernetes.ahead import FETCH, Far, far, set_name, set_of, set_secrets
from stoker.runtimes.kubernetes.api import NOT_FOUND, Api, Refusal, missing_is_fine
from stoker.runtimes.kubernetes.condition import last_trouble
from stoker.runtimes.kubernetes.namespaces import Namespaces
from stoker.runtimes.kubernetes.terms import Terms
from stoker.runtimes.reference import pull_error

LOOK_S: Final = 1.0
"""How often a cluster is asked how far it is."""
NODES_WAIT_S: Final = 15.0
"""How long a cluster may take to find the nodes that are to have it."""


class Fetches:
    """What is being fetched. One that a server began and did not end is taken up by the next one that is asked for it."""

    def __init__(self, api: Api, clock: Clock, terms: Terms, namespaces: Namespaces) -> None:
        self._api = api
        self._clock = clock
        self._terms = terms
        self._namespaces = namespaces
        self._far: dict[str, Far] = {}
        self._lock: dict[str, asyncio.Lock] = {}

    def pulling(self, image: str) -> str:
        """How far it is, in words; empty when it is not on its way."""
        found = self._far.get(image)
        return found.words if found is not None else ""

    async def pull(self, image: str, login: Login | None) -> str:
        """Have it on all nodes that workers may run on; the name of its bytes, if all have the same."""
        check_image(image, "")
        async with self._lock.setdefault(image, asyncio.Lock()):
            self._far[image] = Far(nodes=0, have=0)
            try:
                await self._begin(image, login)
                return await self._arrive(image)
            except Refusal as refusal:
                raise Unavailable(
                    f"the cluster does not fetch {image}: {refusal.message}", code="launch_failed"
                ) from None
            except StokerError:
                with suppress(Refusal, Unavailable):  # whoever tries again takes it up
                    await self._end(image)
                raise
            finally:
                del self._far[image]

    async def give_up(self, image: str) -> None:
        """Leave nothing of a fetch on its way. Nodes let go of images that nobody uses by themselves. Raises `NotFound` where there is none."""
        try:
            await self._api.delete_set(set_name(image, self._terms), self._terms.namespace)
        except Refusal as refusal:
            if refusal.status == NOT_FOUND:
                raise NotFound(f"{image} is not on its way", code="image_not_kept") from None
            raise Unavailable(f"the cluster does not give up {image}: {refusal.message}") from None

    async def _begin(self, image: str, login: Login | None) -> None:
        space = self._terms.namespace
        await self._namespaces.prepare(space)
        secrets = set_secrets(image, login, self._terms)
        for secret in secrets:
            await self._api.ensure(secret, space)
        daemons = await self._api.ensure(set_of(image, login, self._terms), space)
        daemons = daemons or await self._api.daemon_set(set_name(image, self._terms), space)
        for secret in secrets:
            assert secret.metadata is not None
            await missing_is_fine(self._api.own(str(secret.metadata.name), daemons))

    async def _arrive(self, image: str) -> str:
        began_ms = self._clock.now_ms()
        while True:
            found = await self._look(image)
            waited_s = (self._clock.now_ms() - began_ms) / 1000
            if found.failed is not None:
                raise pull_error(image, last_trouble(await self._api.events(found.failed)) or found.text)
            if found.nodes and found.have >= found.nodes:
                await self._end(image)
                return found.digest
            if not found.nodes and waited_s > NODES_WAIT_S:
                raise Unavailable("the cluster has no node that workers may run on", code="no_node")
            if waited_s > self._terms.prepare_s:
                where = f"; {found.waits} does not" if found.waits else ""
                raise Unavailable(f"after {self._terms.prepare_s:g} s {found.words}{where}", code="pull_failed")
            await asyncio.sleep(LOOK_S)

    async def _look(self, image: str) -> Far:
        name, space = set_name(image, self._terms), self._terms.namespace
        daemons: DaemonSet = await self._api.daemon_set(name, space)
        self._far[image] = far(daemons, (await self._api.pods(space, {FETCH: name}))[0])
        return self._far[image]

    async def _end(self, image: str) -> None:
        """Its pods go with it."""
        await missing_is_fine(self._api.delete_set(set_name(image, self._terms), self._terms.namespace))
