"""The images of this machine: fetched once for many workers, remembered, and removed when nobody needs them.

Which images are ours to remove is kept in a file beside the workers' records: what others pulled or built is never removed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import structlog

from stoker.clock import Clock
from stoker.errors import Conflict, InvalidInput, NotFound, StokerError, Unavailable
from stoker.registry import full_name
from stoker.runtimes import Image, Login
from stoker.runtimes.docker.engine import Engine, Refusal
from stoker.runtimes.reference import (
    Progress,
    architecture_error,
    check_name,
    digest_of,
    is_pinned,
    pull_error,
    repository,
)

log = structlog.get_logger()

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
"""The engine's words for itself, and for images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    """An image that we fetched. `id` is the engine's."""

    name: str
    id: str
    bytes: int
    pulled_ms: int
    used_ms: int


class Images:
    """Operations on images. Pulls of one image are one, whoever asks."""

    def __init__(self, engine: Engine, clock: Clock, file: Path) -> None:
        self._engine = engine
        self._clock = clock
        self._file = file
        self._pulls: dict[str, asyncio.Task[str]] = {}
        self._progress: dict[str, Progress] = {}
        self._writing = asyncio.Lock()

    async def pull(self, image: str, login: Login | None) -> str:
        """Have the image here; its name by digest. Goes on if the caller stops waiting for it.

        Always asks the registry, which also decides who may have the image; only what was built here, and what is here while
        the registry cannot be reached, does without. Raises `InvalidInput` or `Unavailable` with a code (`reference`).
        """
        check_name(image)
        task = self._pulls.get(image)
        if task is None or login is not None:  # another caller may not be allowed what this one is
            task = asyncio.create_task(self._pull(image, login), name=f"pull {image}")
            self._pulls[image] = task
            task.add_done_callback(lambda done: self._pulled(image, done))
        return await asyncio.shield(task)

    async def is_built_here(self, image: str) -> bool:
        """Whether it is here and no registry knows it by this engine. Raises `Unavailable`."""
        found = await self._find(image)
        return found is not None and not found.get("RepoDigests")

    def progress(self, image: str) -> str:
        """How far its pull is, in words; empty when none goes on."""
        found = self._progress.get(image)
        return "" if found is None else found.text(self._clock.now_ms())

    async def close(self) -> None:
        """Stop waiting for pulls; the engine gives them up."""
        tasks = list(self._pulls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ── pulling ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _pulled(self, image: str, task: asyncio.Task[str]) -> None:
        if self._pulls.get(image) is task:
            del self._pulls[image]
        if not task.cancelled():
            task.exception()  # whoever waited has it

    async def _pull(self, image: str, login: Login | None) -> str:
        here = await self._find(image)
        if here is not None and not here.get("RepoDigests"):
            return await self._checked(image, here, ours=False)
        before = here is not None
        try:
            await self._fetch(image, login)
        except Unavailable as error:
            if here is None or login is not None:
                raise
            log.warning("image_not_refreshed", image=image, error=error.message)
        found = await self._find(image)
        if found is None:
            raise Unavailable(f"{image} was pulled and is not here", code="pull_failed")
        return await self._checked(image, found, ours=not before)

    async def _fetch(self, image: str, login: Login | None) -> None:
        progress = Progress(image, self._clock.now_ms())
        self._progress[image] = progress
        auth = None if login is None else {"username": login.username, "password": login.password}
        try:
            async for line in self._engine.pull(full_name(image), auth):
                progress.hear(line)
        except Refusal as refusal:
            raise pull_error(image, refusal.message) from None
        finally:
            del self._progress[image]

    async def _find(self, image: str) -> dict[str, Any] | None:
        try:
            return await self._engine.image(image)
        except Refusal as refusal:
            if refusal.status != 404:
                raise Unavailable(f"the engine cannot look at {image}: {refusal.message}") from None
            return None

    async def _checked(self, image: str, found: dict[str, Any], *, ours: bool) -> str:
        machine = str((await self._engine.version())["Arch"])
        theirs = str(found.get("Architecture") or machine)
        if theirs != machine:
            raise architecture_error(image, theirs, machine)
        await self._remember(image, found, ours=ours)
        return image if is_pinned(image) else digest_of(image, found)

    # ── what is ours ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def list(self) -> Sequence[Image]:
        """The images that we fetched and those that are being fetched, by name."""
        kept = await asyncio.to_thread(self._read)
        shown = {
            one.name: Image(name=one.name, bytes=one.bytes, pulled_ms=one.pulled_ms, used_ms=one.used_ms)
            for one in kept.values()
        }
        for name in self._pulls:
            present = shown.get(name, Image(name=name, bytes=0, pulled_ms=None, used_ms=None))
            shown[name] = replace(present, progress=self.progress(name) or f"pulling {name}")
        return [shown[name] for name in sorted(shown)]

    async def use(self, image: str) -> None:
        """A worker starts from it now."""
        found = await self._find(image)
        if found is not None:
            await self._remember(image, found, ours=False)

    async def remove(self, image: str) -> None:
        """Remove an image that we fetched. Raises `NotFound`, and `Conflict` while a container uses it."""
        kept = await asyncio.to_thread(self._read)
        found = next((one for one in kept.values() if image in (one.name, one.id)), None)
        if found is None:
            raise NotFound(
                f"'{image[:200]}' is no image that Stoker fetched",
                code="image_not_kept",
                field="image",
                next_step="list them: stoker image ls",
            )
        shown = await self._find(found.id)
        for name in () if shown is None else _names(found.name, shown):
            await self._remove(name)
        async with self._writing:
            left = {one: each for one, each in (await asyncio.to_thread(self._read)).items() if one != found.id}
            await asyncio.to_thread(self._write, left)

    async def _remove(self, name: str) -> None:
        try:
            await self._engine.remove_image(name)
        except Refusal as refusal:
            if refusal.status == 409:
                raise Conflict(f"a container uses {name}: {refusal.message}", code="image_in_use") from None
            if refusal.status != 404:
                raise Unavailable(f"the engine cannot remove {name}: {refusal.message}") from None

    async def collect(self, *, used: Collection[str], unused_before_ms: int, bytes_max: int) -> Sequence[str]:
        """Remove what nobody uses: what is older than that, then the longest unused until all fit into `bytes_max`."""
        kept = await asyncio.to_thread(self._read)
        in_use = {str(found["Id"]) async for found in self._all(used)}
        total, removed = sum(one.bytes for one in kept.values()), []
        for one in sorted(kept.values(), key=lambda one: one.used_ms):
            wanted = one.id in in_use or one.name in used or one.name in self._pulls
            if wanted or not (one.used_ms < unused_before_ms or total > bytes_max):
                continue
            try:
                await self.remove(one.name)
            except StokerError as error:  # somebody else uses it: the next round looks again
                log.info("image_kept", image=one.name, why=error.message)
                continue
            total -= one.bytes
            removed.append(one.name)
        return removed

    async def _all(self, names: Collection[str]) -> AsyncIterator[dict[str, Any]]:
        for name in names:
            try:
                found = await self._find(name)
            except (InvalidInput, Unavailable):
                continue
            if found is not None:
                yield found

    async def _remember(self, image: str, found: dict[str, Any], *, ours: bool) -> None:
        """Write down that it was used now; and that it is ours, if we fetched it."""
        now_ms, key = self._clock.now_ms(), str(found["Id"])
        async with self._writing:
            kept = await asyncio.to_thread(self._read)
            if key in kept:
                kept[key] = replace(kept[key], used_ms=now_ms)
            elif ours:
                kept[key] = _Kept(name=image, id=key, bytes=int(found["Size"]), pulled_ms=now_ms, used_ms=now_ms)
            else:
                return
            await asyncio.to_thread(self._write, kept)

    def _read(self) -> dict[str, _Kept]:
        try:
            return {one["id"]: _Kept(**one) for one in json.loads(self._file.read_text("utf-8"))}
        except FileNotFoundError:
            return {}

    def _write(self, kept: dict[str, _Kept]) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(json.dumps([asdict(one) for one in kept.values()], indent=1), "utf-8")
        unfinished.replace(self._file)


def _names(image: str, found: dict[str, Any]) -> list[str]:
    """What to remove: the names of its repository. Under other names it belongs to others, and stays."""
    known = [*(found.get("RepoTags") or ()), *(found.get("RepoDigests") or ())]
    return [one for one in known if repository(one) == repository(image)]
