"""The images that workers run: pinned once for each release, removed when nobody needs them.

Called by the fleet (before a launch) and by the pruner; what users want of images is in `warming`. A runtime that knows no images, such
as processes, makes all of this nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from stoker.clock import Clock
from stoker.endpoint import Endpoint, Release
from stoker.ids import ReleaseId
from stoker.runtimes import Login, PullsImages, Runtime
from stoker.store import Store

log = structlog.get_logger()

FindLogin = Callable[[Release], Awaitable[Login | None]]
"""What the registry of a release's image wants to see."""


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

    # ── for the pruner ────────────────────────────────────────────────────────────────────────────────────────────────

    async def collect(self) -> None:
        """Remove what no endpoint uses: what is old, and what does not fit."""
        if not isinstance(self._runtime, PullsImages):
            return
        before_ms = self._clock.now_ms() - int(self._terms.unused_kept_s * 1000)
        used = {name for _, release in await deployed(self._store) for name in (release.image, release.digest) if name}
        removed = await self._runtime.collect_images(
            used=used, unused_before_ms=before_ms, bytes_max=self._terms.bytes_max
        )
        for image in removed:
            await self._store.warm_ups.collected(image)
            log.info("image_collected", image=image)


async def deployed(store: Store) -> Sequence[tuple[Endpoint, Release]]:
    """The endpoints of all teams, each with its present release. Looks across teams: for loops, and to take from nobody."""
    found = [(one, await store.endpoints.release(one.release)) for one in await store.endpoints.active()]
    return [(endpoint, release) for endpoint, release in found if release is not None]


__all__ = ["FindLogin", "ImageTerms", "Images", "deployed"]
