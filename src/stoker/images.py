"""The images that workers run: pinned once for each release, fetched before they are needed, removed when nobody needs them.

Called by the fleet (before a launch), by users (warm, list, remove) and by the pruner. A runtime that knows no images, such as
processes, makes all of this nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from stoker.clock import Clock
from stoker.endpoint import Release
from stoker.errors import Conflict, InvalidInput, NotFound, StokerError
from stoker.ids import ReleaseId, TeamId
from stoker.runtimes import Image, Login, PullsImages, Runtime
from stoker.store import Store

log = structlog.get_logger()

FindLogin = Callable[[Release], Awaitable[Login | None]]
"""What the registry of a release's image wants to see."""
WARMING_MOST: Final = 20
"""Images that are being fetched ahead at once; more at a time would only make each of them later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTerms:
    """How long images that nobody uses are kept, and how much room all of them may take."""

    unused_kept_s: float = 604_800
    bytes_max: int = 200 * 1024**3


async def no_login(_release: Release) -> Login | None:
    """Nobody wants to see anything."""
    return None


class Images:
    """Operations on images."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        runtime: Runtime,
        terms: ImageTerms | None = None,
        *,
        find_login: FindLogin = no_login,
    ) -> None:
        self._store = store
        self._clock = clock
        self._runtime = runtime
        self._terms = terms or ImageTerms()
        self._find_login = find_login
        self._warming: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, str] = {}

    async def have(self, release: Release) -> str:
        """Fetch what the release runs; the name under which all of its workers run the same bytes.

        The first worker of a release decides which bytes a tag means. Raises `InvalidInput` or `Unavailable`.
        """
        if release.digest:
            return release.digest
        if not isinstance(self._runtime, PullsImages):
            return release.image
        digest = await self._runtime.pull(release.image, login=await self._find_login(release))
        return await self._store.endpoints.pin(release.id, digest)

    async def found(self, release: ReleaseId, digest: str) -> None:
        """Pin a release to the bytes that a worker of it was seen to run, by a runtime that pulls where nobody looks."""
        stored = await self._store.endpoints.release(release) if digest else None
        if stored is not None and not stored.digest:
            await self._store.endpoints.pin(release, digest)

    async def login(self, release: Release) -> Login | None:
        """For runtimes that fetch images, or find one gone and fetch it again."""
        return await self._find_login(release)

    def progress(self, release: Release) -> str:
        """How far the pull of its image is, in words; empty when none goes on."""
        if not isinstance(self._runtime, PullsImages):
            return ""
        return self._runtime.pulling(release.digest) if release.digest else self._runtime.pulling(release.image)

    # ── for users ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def warm_release(self, release: Release) -> None:
        """Fetch what a new release runs before its first worker asks. That it fails is said when a worker asks."""
        if isinstance(self._runtime, PullsImages) and not release.digest:
            self._warm(release.image, self.have(release))

    def warm(self, image: str) -> None:
        """Begin to fetch an image. Raises `Conflict` when the runtime knows none, or enough are on their way."""
        runtime = self._puller()
        if len(self._warming) >= WARMING_MOST and image not in self._warming:
            raise Conflict(f"{WARMING_MOST} images are being fetched already", code="too_many_pulls")
        self._warm(image, runtime.pull(image, login=None))

    async def list(self, team: TeamId) -> Sequence[tuple[Image, str]]:
        """The images on this machine and on their way, and why those that were to be warmed did not come.

        What only other teams use does not exist for this one. A runtime that knows no images has none.
        """
        if not isinstance(self._runtime, PullsImages):
            return []
        foreign = await self._used_by(lambda owner: owner != team) - await self._used_by(lambda owner: owner == team)
        found = [(one, self._failed.get(one.name, "")) for one in await self._runtime.images()]
        names = {one.name for one, _ in found}
        lost = [
            (Image(name=name, bytes=0, pulled_ms=None, used_ms=None), why)
            for name, why in self._failed.items()
            if name not in names
        ]
        return [(one, why) for one, why in (*found, *lost) if one.name not in foreign]

    async def remove(self, team: TeamId, image: str) -> None:
        """Remove an image. Raises `Conflict` while an endpoint or a container uses it, `NotFound`."""
        if image in await self._used_by(lambda owner: owner != team):
            raise NotFound(f"'{image[:200]}' is no image that Stoker fetched", code="image_not_kept", field="image")
        if image in await self._used_by(lambda owner: owner == team):
            raise Conflict(
                f"an endpoint uses {image}", code="image_in_use", next_step="delete the endpoint, or change its image"
            )
        await self._puller().remove_image(image)

    def _puller(self) -> PullsImages:
        if isinstance(self._runtime, PullsImages):
            return self._runtime
        raise Conflict(
            "this server runs no containers, so it keeps no images",
            code="no_images",
            next_step="start it with --runtime docker",
        )

    def _warm(self, image: str, pull: Awaitable[str]) -> None:
        self._failed.pop(image, None)
        task = asyncio.create_task(self._fetch(image, pull), name=f"warm {image}")
        self._warming[image] = task
        task.add_done_callback(lambda _done: self._warming.pop(image, None))

    async def _fetch(self, image: str, pull: Awaitable[str]) -> None:
        try:
            await pull
        except StokerError as error:
            log.warning("image_not_warmed", image=image, error=error.message)
            if isinstance(error, InvalidInput) or len(self._failed) < WARMING_MOST:
                self._failed[image] = error.message

    # ── for the pruner ────────────────────────────────────────────────────────────────────────────────────────────────

    async def collect(self) -> None:
        """Remove what no endpoint uses: what is old, and what does not fit."""
        if not isinstance(self._runtime, PullsImages):
            return
        before_ms = self._clock.now_ms() - int(self._terms.unused_kept_s * 1000)
        removed = await self._runtime.collect_images(
            used=await self._used_by(lambda _owner: True), unused_before_ms=before_ms, bytes_max=self._terms.bytes_max
        )
        for image in removed:
            log.info("image_collected", image=image)

    async def _used_by(self, who: Callable[[TeamId], bool]) -> set[str]:
        """The names of all images that endpoints of such teams run, by tag and by digest."""
        names: set[str] = set()
        for endpoint in await self._store.endpoints.active():
            if not who(endpoint.team):
                continue
            release = await self._store.endpoints.release(endpoint.release)
            if release is not None:
                names |= {release.image, release.digest} - {""}
        return names

    async def close(self) -> None:
        """Give up what is being fetched."""
        tasks = list(self._warming.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


__all__ = ["FindLogin", "ImageTerms", "Images"]
