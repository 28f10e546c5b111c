"""Images that are fetched before a worker needs them: a team's warm-ups, made by its users and with its endpoints.

Called by the management API, by the catalog when an endpoint or release is made, and by the loop `warmer`, which does the fetching on the
server that is on duty: so one that a server began and did not end is ended by the next. What another team has warmed does not exist for this
one; bytes that both have are removed with the last of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import structlog

from stoker.audit import Action, Actor, AuditLine, Kind
from stoker.clock import Clock
from stoker.endpoint import Release
from stoker.errors import Conflict, NotFound, StokerError
from stoker.ids import CredentialId, TeamId
from stoker.images import deployed
from stoker.registry import Credential
from stoker.runtimes import ChecksImages, FetchesImages, Image, Login, PullsImages, Runtime
from stoker.signals import Signals
from stoker.store import Store
from stoker.store.tables import Step
from stoker.store.warm_ups import no_warm_up, wished
from stoker.warmup import WarmUp

log = structlog.get_logger()

AT_ONCE: Final = 4
"""Images that are fetched ahead at the same time; more would only make each of them later."""

FindLogin = Callable[[TeamId, CredentialId], Awaitable[Login]]
"""A team's credential, opened."""
_Key = tuple[TeamId, str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamImage:
    """An image as a team sees it: because it was to be warmed, or because endpoints run it."""

    name: str
    warm_up: WarmUp | None = None
    kept: Image | None = None
    """As the machine has it, where the runtime keeps images."""
    endpoints: Sequence[str] = ()
    """Names of the endpoints whose present release runs it."""

    @property
    def state(self) -> Literal["fetching", "here", "failed", "not_fetched"]:
        """Where it stands. `not_fetched`: a worker will fetch it, or it needs no fetching."""
        if self.warm_up is not None:
            return self.warm_up.state.value
        if self.kept is None:
            return "not_fetched"
        return "fetching" if self.kept.progress else "here"

    @property
    def progress(self) -> str:
        """How far it is, in words."""
        if self.state != "fetching":
            return ""
        now = "" if self.kept is None else self.kept.progress
        return now or ("" if self.warm_up is None else self.warm_up.text)


class Warming:
    """Operations on warm-ups."""

    def __init__(
        self, store: Store, clock: Clock, signals: Signals, runtime: Runtime, *, find_login: FindLogin
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._runtime = runtime
        self._find_login = find_login
        self._tasks: dict[_Key, asyncio.Task[None]] = {}

    # ── for users ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def warm(self, by: Actor, image: str, credential: Credential | None) -> None:
        """Begin to fetch an image, once more if it was fetched before. Raises `Conflict` (`no_images`), `InvalidInput`."""
        self._fetcher()
        if isinstance(self._runtime, ChecksImages):
            await self._runtime.check_image(image, "")
        warm_up = self._wish(by.team, image, None if credential is None else credential.id)
        after = {"credential": None if credential is None else credential.name}
        await self._store.warm_ups.wish(warm_up, self._line(by, Action.WARMED, image, after))
        self._signals.images_wanted()

    async def list(self, team: TeamId) -> Sequence[TeamImage]:
        """The team's images, by name. Where the runtime fetches none there are none."""
        if not isinstance(self._runtime, FetchesImages):
            return ()
        kept = await self._kept()
        warm = {one.image: one for one in await self._store.warm_ups.of_team(team)}
        users: dict[str, list[str]] = {}
        digests: dict[str, str] = {one.image: one.digest for one in warm.values()}
        for endpoint, release in await deployed(self._store):
            if endpoint.team == team:
                users.setdefault(release.image, []).append(endpoint.name)
                digests.setdefault(release.image, release.digest)
        return [
            TeamImage(
                name=name,
                warm_up=warm.get(name),
                kept=kept.get(name) or kept.get(digests[name]),
                endpoints=sorted(users.get(name, ())),
            )
            for name in sorted(digests)
        ]

    async def remove(self, by: Actor, image: str) -> None:
        """Remove an image of the team; one that others have too stays theirs. Raises `NotFound`, and `Conflict` while an endpoint of the
        team or a container uses it."""
        runtime = self._fetcher()
        found = {one.name: one for one in await self.list(by.team)}.get(image)
        if found is None:
            raise no_warm_up(image)
        if found.endpoints:
            raise Conflict(
                f"the endpoint '{found.endpoints[0]}' uses {image}",
                code="image_in_use",
                next_step="delete the endpoint, or change its image",
            )
        assert found.warm_up is not None, "what no endpoint uses is here because it was warmed"
        if not await self._others(found.warm_up):
            with suppress(NotFound):  # it is on its way, or was here before Stoker fetched it
                await runtime.remove_image(image)
        await self._store.warm_ups.delete(by.team, image, self._line(by, Action.REMOVED, image, None))

    # ── for the catalog ───────────────────────────────────────────────────────────────────────────────────────────────

    def steps(self, team: TeamId, release: Release, *, wanted: bool | None) -> tuple[Step, ...]:
        """What a change that makes the release writes with it. `wanted` None is yes where images lie on this machine; a cluster fetches
        them onto all of its nodes only for those who ask.

        Raises `Conflict` (`no_images`) when it is wanted and cannot be.
        """
        if wanted is False or (wanted is None and not isinstance(self._runtime, PullsImages)):
            return ()
        self._fetcher()
        return (wished(self._wish(team, release.image, release.credential)),)

    def _fetcher(self) -> FetchesImages:
        if isinstance(self._runtime, FetchesImages):
            return self._runtime
        raise Conflict(
            "there is nothing to warm: workers of this server are not made of images that it fetches ahead",
            code="no_images",
            next_step="for containers, start the server with --runtime docker",
        )

    async def _kept(self) -> dict[str, Image]:
        """What is on this machine, by name."""
        if not isinstance(self._runtime, PullsImages):
            return {}
        return {one.name: one for one in await self._runtime.images()}

    def _wish(self, team: TeamId, image: str, credential: CredentialId | None) -> WarmUp:
        now_ms = self._clock.now_ms()
        return WarmUp(team=team, image=image, credential=credential, due_ms=now_ms, asked_ms=now_ms, updated_ms=now_ms)

    def _line(self, by: Actor, action: Action, image: str, after: dict[str, str | None] | None) -> AuditLine:
        now_ms = self._clock.now_ms()
        return AuditLine(at_ms=now_ms, by=by, action=action, kind=Kind.IMAGE, thing=image, name=image, after=after)

    async def _others(self, mine: WarmUp) -> bool:
        """Whether another team has the same image or the same bytes."""
        names = {mine.image, mine.digest} - {""}
        if any(one.team != mine.team for one in await self._store.warm_ups.of_image(mine.image, mine.digest)):
            return True
        used = [(endpoint, release) for endpoint, release in await deployed(self._store) if endpoint.team != mine.team]
        return any(names & {release.image, release.digest} for _, release in used)

    # ── for the loop ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def look(self) -> None:
        """Begin what is due, and write down how far the others are."""
        if not isinstance(self._runtime, FetchesImages):
            return
        now_ms = self._clock.now_ms()
        for one in await self._store.warm_ups.unfinished():
            key = (one.team, one.image, one.asked_ms)
            if key in self._tasks:
                text = self._runtime.pulling(one.image)
                if text and text != one.text:
                    await self._store.warm_ups.tell(one.far(text, now_ms))
            elif one.due_ms <= now_ms and len(self._tasks) < AT_ONCE:
                task = asyncio.create_task(self._fetch(self._runtime, one), name=f"warm {one.image}")
                self._tasks[key] = task
                task.add_done_callback(partial(self._over, key))

    def _over(self, key: _Key, task: asyncio.Task[None]) -> None:
        del self._tasks[key]
        self._signals.images_wanted()  # one that waits may begin
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("image_not_warmed", image=key[1], error=str(error))

    async def _fetch(self, runtime: FetchesImages, one: WarmUp) -> None:
        try:
            login = None if one.credential is None else await self._find_login(one.team, one.credential)
            digest = await runtime.pull(one.image, login=login)
        except StokerError as error:
            log.warning("image_not_warmed", image=one.image, error=error.message)
            await self._store.warm_ups.tell(one.failed(error, self._clock.now_ms()))
            return
        await self._pin(one, digest)
        await self._store.warm_ups.tell(one.fetched(digest, self._clock.now_ms()))
        if one.image not in {left.image for left in await self._store.warm_ups.of_team(one.team)}:
            await self._let_go(runtime, one.fetched(digest, self._clock.now_ms()))

    async def _pin(self, one: WarmUp, digest: str) -> None:
        """Releases that are about to fetch the same run these bytes."""
        for endpoint, release in await deployed(self._store):
            same = (endpoint.team, release.image, release.credential) == (one.team, one.image, one.credential)
            if same and digest and not release.digest:
                await self._store.endpoints.pin(release.id, digest)

    async def _let_go(self, runtime: FetchesImages, one: WarmUp) -> None:
        """It was removed while it came."""
        mine = any(
            one.image == release.image and endpoint.team == one.team
            for endpoint, release in await deployed(self._store)
        )
        if not mine and not await self._others(one):
            with suppress(NotFound, Conflict):
                await runtime.remove_image(one.image)

    async def close(self) -> None:
        """Give up what is being fetched; whoever looks next begins it again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


__all__ = ["AT_ONCE", "FindLogin", "TeamImage", "Warming"]
