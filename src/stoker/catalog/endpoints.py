"""Operations on endpoints and their releases.

Ranges are checked by `endpoint.check`; what only the machine can tell (is the image there, are there GPUs at all) is asked from the
runtime before anything is stored, so that an endpoint that can never work is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stoker import ids
from stoker.audit import Action, Actor, AuditLine, Facts, Kind, difference
from stoker.catalog import mounts
from stoker.catalog.remembered import Remembered
from stoker.catalog.sealing import sealed
from stoker.clock import Clock
from stoker.document import document
from stoker.endpoint import OF_ENDPOINT, OF_RELEASE, Endpoint, Release, check, check_range, same_work
from stoker.errors import Conflict, InvalidInput, NotFound
from stoker.ids import EndpointId, TeamId
from stoker.inventory import check_placeable
from stoker.machine import Machine
from stoker.runtimes import ChecksImages, Runtime
from stoker.signals import Signals
from stoker.store import Store, audit
from stoker.store.budgets import with_endpoint
from stoker.store.credentials import no_credential, stays
from stoker.store.ledger import tell_endpoint
from stoker.store.tables import Step
from stoker.vault import Vault
from stoker.volume import Mount, MountTerms
from stoker.warming import Warming


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployed:
    """An endpoint with the release that its new workers run."""

    endpoint: Endpoint
    release: Release

    @property
    def document(self) -> dict[str, Any]:
        """Every field that can be configured, secrets masked."""
        return document(self.endpoint, self.release)


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What an endpoint gets when its creator does not say."""

    retention_s: int
    mounts: MountTerms = field(default_factory=MountTerms)
    """Which directories of the machine may be mounted."""


class Endpoints:
    """Operations on endpoints and releases."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signals: Signals,
        runtime: Runtime,
        defaults: Defaults,
        vault: Vault,
        warming: Warming,
        machine: Machine,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._runtime = runtime
        self._defaults = defaults
        self._vault = vault
        self._warming = warming
        self.machine = machine
        self._endpoints: Remembered[tuple[TeamId, str], Endpoint] = Remembered(clock, self._look_up)

    # ── changes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create(
        self, by: Actor, fields: Mapping[str, Any], *, warm: bool | None = None, dry_run: bool = False
    ) -> Deployed:
        """Store an endpoint with its first release. `fields` are those of `Endpoint` and `Release` that were given.

        `warm` says whether its image is fetched now, None for where the runtime can. A dry run only says what would be stored. Raises
        `InvalidInput` for a value out of range or an image that cannot work, `Conflict` for a taken name or for nothing to warm,
        `NotFound` for a credential that is not there.
        """
        now_ms = self._clock.now_ms()
        endpoint_id, release_id = ids.new_endpoint_id(), ids.new_release_id()
        ours = {name: fields[name] for name in OF_ENDPOINT if name in fields}
        ours.setdefault("name", ids.new_endpoint_name())
        ours.setdefault("retention_s", self._defaults.retention_s)
        ours.setdefault("max_workers", max(3, ours.get("min_workers", 0)))
        endpoint = Endpoint(id=endpoint_id, team=by.team, release=release_id, created_ms=now_ms, **ours)
        theirs = {name: fields[name] for name in OF_RELEASE if name in fields}
        if "env" in theirs:
            theirs["env"] = await sealed(self._vault, by.team, theirs["env"], {})
        if "volumes" in theirs:
            theirs["volumes"] = await self._settled(by.team, theirs["volumes"])
        release = Release(id=release_id, endpoint=endpoint_id, number=1, made_by=by.member, created_ms=now_ms, **theirs)
        check(endpoint, release)
        await self._check_machine(release)
        made = Deployed(endpoint=endpoint, release=release)
        warmed = self._warming.steps(by.team, release, wanted=warm)
        if dry_run:
            await self._check_free(made)
            return made
        line = self._line(by, Action.CREATED, made, None, made.document)
        told = _told(line, made, "created", f"release 1: {release.image}")
        await self._store.endpoints.add(endpoint, release, *_needs(by.team, release), *warmed, audit.step(line), told)
        self._changed(endpoint.id)  # its name may have been the id of another
        self._signals.images_wanted()
        return made

    async def update(
        self,
        by: Actor,
        deployed: Deployed,
        fields: Mapping[str, Any],
        *,
        warm: bool | None = None,
        dry_run: bool = False,
    ) -> Deployed:
        """Change the given fields. A change of what workers execute makes a new release, whose image is fetched as `create` says;
        what changes nothing stores nothing.

        Raises as `create`, and `Conflict` (`version_changed`) when somebody else changed the endpoint meanwhile.
        """
        before = deployed.endpoint
        ours = {name: fields[name] for name in OF_ENDPOINT if name in fields}
        theirs = {name: fields[name] for name in OF_RELEASE if name in fields}
        if ours.get("app_name", before.app_name) != before.app_name:
            raise InvalidInput("app_name is part of the URL and cannot be changed", field="app_name")
        if "env" in theirs:
            theirs["env"] = await sealed(self._vault, by.team, theirs["env"], deployed.release.env)
        if "volumes" in theirs:
            theirs["volumes"] = await self._settled(by.team, theirs["volumes"])
        release = self._next(by, deployed, replace(deployed.release, **theirs))
        after = replace(before, **ours, release=release.id)
        if after == before:
            return deployed
        made = Deployed(endpoint=replace(after, version=before.version + 1), release=release)
        check(made.endpoint, release)
        if release is not deployed.release:
            await self._check_machine(release)
        if dry_run:
            await self._check_free(made)
            return made
        return await self._store_change(by, Action.CHANGED, deployed, made, warm=warm)

    def _next(self, by: Actor, deployed: Deployed, wanted: Release) -> Release:
        """The present release if it does what is wanted, else one after it."""
        if same_work(deployed.release, wanted):
            return deployed.release
        return replace(
            wanted,
            id=ids.new_release_id(),
            number=deployed.release.number + 1,
            made_by=by.member,
            digest="",
            created_ms=self._clock.now_ms(),
        )

    async def roll_back(self, by: Actor, deployed: Deployed, number: int) -> Deployed:
        """Make a new release that does what the one with that number did.

        Raises `NotFound`, `Conflict` (`nothing_to_roll_back`), and as `update` for what is possible no more.
        """
        wanted = await self.release(deployed.endpoint, number)
        volumes = await self._settled(by.team, wanted.volumes)
        release = self._next(by, deployed, replace(wanted, volumes=volumes))
        if release is deployed.release:
            raise Conflict(
                f"release {number} does what the present one does",
                code="nothing_to_roll_back",
                field="number",
                next_step="look at the releases: stoker endpoint releases NAME",
            )
        after = replace(deployed.endpoint, release=release.id, version=deployed.endpoint.version + 1)
        check(after, release)
        await self._check_machine(release)
        return await self._store_change(
            by, Action.ROLLED_BACK, deployed, Deployed(endpoint=after, release=release), more={"to_release": number}
        )

    async def pause(self, by: Actor, deployed: Deployed) -> Deployed:
        """Let workers finish and go; the queue is kept, and jobs still come in. A paused one is left as it is."""
        return await self._set_paused(by, Action.PAUSED, deployed, self._clock.now_ms())

    async def resume(self, by: Actor, deployed: Deployed) -> Deployed:
        """Go on with the queue. One that is not paused is left as it is."""
        return await self._set_paused(by, Action.RESUMED, deployed, None)

    async def _set_paused(self, by: Actor, action: Action, deployed: Deployed, paused_ms: int | None) -> Deployed:
        before = deployed.endpoint
        if (before.paused_ms is None) is (paused_ms is None):
            return deployed
        after = replace(before, paused_ms=paused_ms, version=before.version + 1)
        return await self._store_change(by, action, deployed, Deployed(endpoint=after, release=deployed.release))

    async def set_rate(self, by: Actor, endpoint: Endpoint, rate: int | None) -> Endpoint:
        """Let keys ask so much of the endpoint; None for what the server allows. Raises `InvalidInput`."""
        if rate is not None:
            check_range("rate", rate)
        if rate == endpoint.rate:
            return endpoint
        before = await self.deployed(endpoint)
        after = replace(before, endpoint=replace(endpoint, rate=rate, version=endpoint.version + 1))
        line = self._line(by, Action.CHANGED, after, {"rate": endpoint.rate}, {"rate": rate})
        await self._store.endpoints.update(
            after.endpoint, None, audit.step(line), _told(line, after, "changed", "rate")
        )
        self._changed(endpoint.id)
        return after.endpoint

    async def retry(self, by: Actor, deployed: Deployed) -> Deployed:
        """Launch again after a crash loop: what failed until now does not count any more."""
        line = self._line(by, Action.RETRIED, deployed, None, None)
        told = _told(line, deployed, "retried", "launches that failed before do not count any more")
        await self._store.endpoints.forgive(deployed.release.id, line.at_ms, audit.step(line), told)
        self._signals.scale(deployed.endpoint.id)
        return deployed

    async def delete(self, by: Actor, deployed: Deployed) -> Deployed:
        """Delete the endpoint: its queue is purged, its workers finish and go, its name is free at once."""
        now_ms = self._clock.now_ms()
        gone = replace(deployed.endpoint, deleted_ms=now_ms, version=deployed.endpoint.version + 1)
        line = self._line(by, Action.DELETED, deployed, deployed.document, None)
        deleted = Deployed(endpoint=gone, release=deployed.release)
        also = (with_endpoint(gone.id), audit.step(line), _told(line, deleted, "deleted"))
        await self._store.endpoints.update(gone, None, *also)
        self._endpoints.forget()
        await self._store.jobs.purge_queue(gone.id, now_ms)
        self._signals.scale(gone.id)
        return deleted

    async def _store_change(
        self,
        by: Actor,
        action: Action,
        before: Deployed,
        after: Deployed,
        *,
        more: Facts | None = None,
        warm: bool | None = None,
    ) -> Deployed:
        old, new = difference(before.document, after.document)
        line = self._line(by, action, after, old, {**new, **(more or {})})
        release = None if after.release is before.release else after.release
        needs: Sequence[Step] = ()
        if release is not None:
            needs = (*_needs(by.team, release), *self._warming.steps(by.team, release, wanted=warm))
        kind, text = action.value, ", ".join(new)
        if release is not None:
            kind, text = "released", f"release {release.number}: {text}"
        told = _told(line, after, kind, text)
        await self._store.endpoints.update(after.endpoint, release, *needs, audit.step(line), told)
        self._changed(after.endpoint.id)
        if release is not None:
            self._signals.images_wanted()
        return after

    def _changed(self, endpoint: EndpointId) -> None:
        self._endpoints.forget()
        self._signals.scale(endpoint)

    def _line(
        self, by: Actor, action: Action, deployed: Deployed, before: Facts | None, after: Facts | None
    ) -> AuditLine:
        return AuditLine(
            at_ms=self._clock.now_ms(),
            by=by,
            action=action,
            kind=Kind.ENDPOINT,
            thing=deployed.endpoint.id,
            name=deployed.endpoint.name,
            before=before,
            after=after,
        )

    # ── what is possible ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _check_free(self, made: Deployed) -> None:
        """What the store would refuse, for a dry run."""
        team, release = made.endpoint.team, made.release
        for other in await self._store.endpoints.of_team(team):
            if other.id != made.endpoint.id and (
                other.answers_to(made.endpoint.name) or made.endpoint.answers_to(other.name)
            ):
                raise Conflict(
                    f"the endpoint '{other.name}' already answers to that name", code="name_taken", field="name"
                )
        if release.credential and await self._store.credentials.get(team, release.credential) is None:
            raise no_credential(release.credential)

    async def _settled(self, team: TeamId, wanted: Sequence[Mount]) -> tuple[Mount, ...]:
        return await mounts.settled(self._store, self._defaults.mounts, team, wanted)

    async def _check_machine(self, release: Release) -> None:
        if isinstance(self._runtime, ChecksImages):
            await self._runtime.check_image(release.image, release.program)
        check_placeable(await self.machine.inventory(gpus=release.gpus_per_worker > 0), release)

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def find(self, team: TeamId, word: str) -> Endpoint:
        """The team's endpoint that answers to `word`: its name, its id, or `{id}-{appName}`. Raises `NotFound`."""
        endpoint = await self._endpoints.get((team, word))
        if endpoint is None:
            raise no_endpoint(word)
        return endpoint

    def watch(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever an endpoint changed here."""
        self._endpoints.watch(tell)

    def trusted_until_ms(self, team: TeamId, word: str) -> int:
        """How long it is believed which endpoint answers to `word`; 0 when it was not read lately."""
        return self._endpoints.until_ms((team, word))

    async def _look_up(self, who: tuple[TeamId, str]) -> Endpoint | None:
        team, word = who
        mine = await self._store.endpoints.of_team(team)
        return next((endpoint for endpoint in mine if endpoint.answers_to(word)), None)

    async def name_of(self, endpoint: EndpointId) -> str:
        """The name of an endpoint, deleted ones included."""
        found = await self._store.endpoints.get(endpoint)
        return "" if found is None else found.name

    async def deployed(self, endpoint: Endpoint) -> Deployed:
        """The endpoint with its present release."""
        release = await self._store.endpoints.release(endpoint.release)
        assert release is not None, "an endpoint always names a stored release"
        return Deployed(endpoint=endpoint, release=release)

    async def endpoints(self, team: TeamId) -> Sequence[Endpoint]:
        """The team's endpoints, by name."""
        return await self._store.endpoints.of_team(team)

    async def release(self, endpoint: Endpoint, number: int) -> Release:
        """The endpoint's release with that number. Raises `NotFound`."""
        for one in await self.releases(endpoint):
            if one.number == number:
                return one
        raise NotFound(
            f"the endpoint '{endpoint.name}' has no release {number}",
            code="release_not_found",
            field="number",
            next_step=f"list them: stoker endpoint releases {endpoint.name}",
        )

    async def releases(self, endpoint: Endpoint) -> Sequence[Release]:
        """All releases of the endpoint, newest first."""
        return await self._store.endpoints.releases(endpoint.id)


def no_endpoint(word: str) -> NotFound:
    """The refusal for an endpoint that does not exist to who asks."""
    return NotFound(
        f"there is no endpoint '{word[:100]}'",
        code="endpoint_not_found",
        field="endpoint",
        next_step="list yours with: stoker endpoint ls",
    )


def _needs(team: TeamId, release: Release) -> tuple[Step, ...]:
    """What must be there when the release is stored, and stay."""
    credential = () if release.credential is None else (stays(team, release.credential),)
    return (*credential, *mounts.needs(team, release))


def _told(line: AuditLine, deployed: Deployed, kind: str, text: str = "") -> Step:
    """The change as whoever follows the endpoint hears of it."""
    endpoint = deployed.endpoint
    return tell_endpoint(
        at_ms=line.at_ms, team=endpoint.team, endpoint=endpoint.id, kind=kind, state=endpoint.state, text=text
    )


__all__ = ["Defaults", "Deployed", "Endpoints", "no_endpoint"]
