"""The part of the management API about endpoints: their fields, releases, pausing, documents; and templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query

from stoker.audit import Actor, difference
from stoker.catalog import Catalog, Deployed
from stoker.checkup import HealthCheck
from stoker.document import document, hidden, of_release, read
from stoker.endpoint import LIMITS, OF_ENDPOINT, OF_RELEASE, TEXT_MOST, Policy, PolicyType, Release, Template
from stoker.errors import InvalidInput, NotFound
from stoker.fleet import Fleet
from stoker.ids import CredentialId, MemberId
from stoker.inventory import Inventory
from stoker.queue import Queue
from stoker.store import Decision, Held
from stoker.team import ApiKey, Scope
from stoker.volume import SIZE_GB_LEAST, SIZE_GB_MOST
from stoker.web.asgi import JsonRoute
from stoker.web.auth import Asks, endpoint_for
from stoker.web.endpoint_bodies import AppliedBody, EndpointBody, FieldsBody, NewEndpointBody, TemplateBody
from stoker.web.specifications import fit, price
from stoker.worker import WorkerState

JsonObject = dict[str, Any]
Names = dict[MemberId | None, str]
Warm = Annotated[
    bool | None,
    Query(description="Whether the image of a new release is fetched now; left out: where the runtime can."),
]


class EndpointRoutes:
    """Routes about endpoints and templates."""

    def __init__(self, queue: Queue, fleet: Fleet, catalog: Catalog, *, base_url: str) -> None:
        self._queue = queue
        self._fleet = fleet
        self._catalog = catalog
        self._base_url = base_url

    def routers(self) -> Sequence[APIRouter]:
        """All of them."""
        return (
            self._reads(),
            self._makes(),
            self._changes(),
            self._release_routes(),
            self._template_reads(),
            self._template_changes(),
        )

    def _asks(self, scope: Scope, *, whole_team: bool = False) -> Any:
        return Depends(Asks(self._catalog, scope, whole_team=whole_team))

    # ── endpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _reads(self) -> APIRouter:
        router = _router("endpoints")
        read = self._asks(Scope.READ)

        @router.get("/limits")
        async def limits(_key: ApiKey = read) -> JsonObject:
            """The range of everything that can be configured."""
            return all_limits()

        @router.get("/endpoints")
        async def list_endpoints(key: ApiKey = read) -> JsonObject:
            """The team's endpoints, by name."""
            endpoints = [one for one in await self._catalog.endpoints(key.team) if key.reaches(one.id)]
            inventory = await self._catalog.machine.inventory(gpus=False)
            return {"endpoints": [await self._show(await self._catalog.deployed(one), inventory) for one in endpoints]}

        @router.get("/endpoints/{endpoint}")
        async def show_endpoint(endpoint: str, key: ApiKey = read) -> JsonObject:
            """One endpoint, by name or id."""
            return await self._show(await self._find(key, endpoint))

        @router.get("/endpoints/{endpoint}/export")
        async def export_endpoint(endpoint: str, key: ApiKey = read) -> JsonObject:
            """The endpoint as a document for `/api/endpoints/apply`, here or on another server; secrets are marked, not shown."""
            return await self._exported(await self._find(key, endpoint))

        return router

    def _makes(self) -> APIRouter:
        router = _router("endpoints")
        manage = self._asks(Scope.MANAGE, whole_team=True)

        @router.post("/endpoints", status_code=201)
        async def create_endpoint(
            body: NewEndpointBody, dry_run: bool = False, warm: Warm = None, key: ApiKey = manage
        ) -> JsonObject:
            """Create an endpoint, from a template if one is named; a dry run says what would be, and stores nothing. Its image is
            fetched at once, where the runtime can and `warm` is not false."""
            fields = await self._fields(key, body, Policy())
            if body.template is not None:
                template = await self._catalog.templates.find(key.team, body.template)
                fields = _over(read(template.fields), fields)
            made = await self._catalog.create(Actor.of(key), {"image": ""} | fields, warm=warm, dry_run=dry_run)
            return await self._planned("create", None, made) if dry_run else await self._show(made)

        @router.post("/endpoints/apply")
        async def apply_endpoint(
            body: AppliedBody, dry_run: bool = False, warm: Warm = None, key: ApiKey = manage
        ) -> JsonObject:
            """Make the endpoint of that name be so: create it, change what differs, or do nothing. Fields that are left out
            keep their values. A dry run only tells the difference."""
            return await self._apply(key, body, warm=warm, dry_run=dry_run)

        return router

    async def _apply(self, key: ApiKey, body: AppliedBody, *, warm: bool | None, dry_run: bool) -> JsonObject:
        by = Actor.of(key)
        try:
            before = await self._find(key, body.name)
        except NotFound:
            fields = {"image": ""} | await self._fields(key, body, Policy())
            made = await self._catalog.create(by, fields, warm=warm, dry_run=dry_run)
            return await self._planned("create", None, made)
        fields = await self._fields(key, body, before.endpoint.policy, before.release.health)
        return await self._changed(before, await self._catalog.update(by, before, fields, warm=warm, dry_run=dry_run))

    async def _changed(self, before: Deployed, after: Deployed) -> JsonObject:
        return await self._planned("nothing" if after is before else "update", before, after)

    async def _planned(self, action: str, before: Deployed | None, after: Deployed) -> JsonObject:
        """What is done, or would be, and how a worker fits on the machine."""
        old, new = ({}, after.document) if before is None else difference(before.document, after.document)
        return {
            "action": action,
            "before": old,
            "after": new,
            "endpoint": after.document | {"id": after.endpoint.id},
            "new_release": before is None or before.release.number != after.release.number,
            "fit": fit(await self._catalog.machine.inventory(gpus=False), after.release),
        }

    def _changes(self) -> APIRouter:
        router = _router("endpoints")
        manage = self._asks(Scope.MANAGE)

        @router.patch("/endpoints/{endpoint}")
        async def update_endpoint(
            endpoint: str, body: EndpointBody, dry_run: bool = False, warm: Warm = None, key: ApiKey = manage
        ) -> JsonObject:
            """Change the given fields, the name too. A change of what workers execute makes a new release. A dry run only tells the
            difference, as `apply` does."""
            before = await self._find(key, endpoint)
            fields = await self._fields(key, body, before.endpoint.policy, before.release.health)
            after = await self._catalog.update(Actor.of(key), before, fields, warm=warm, dry_run=dry_run)
            return await self._changed(before, after) if dry_run else await self._show(after)

        @router.post("/endpoints/{endpoint}/pause")
        async def pause_endpoint(endpoint: str, key: ApiKey = manage) -> JsonObject:
            """Pause an endpoint: workers finish their jobs and go; the queue is kept, and jobs still come in."""
            return await self._show(await self._catalog.pause(Actor.of(key), await self._find(key, endpoint)))

        @router.post("/endpoints/{endpoint}/resume")
        async def resume_endpoint(endpoint: str, key: ApiKey = manage) -> JsonObject:
            """Go on with a paused endpoint's queue."""
            return await self._show(await self._catalog.resume(Actor.of(key), await self._find(key, endpoint)))

        @router.post("/endpoints/{endpoint}/retry")
        async def retry_endpoint(endpoint: str, key: ApiKey = manage) -> JsonObject:
            """Launch workers again after a crash loop."""
            return await self._show(await self._catalog.retry(Actor.of(key), await self._find(key, endpoint)))

        @router.delete("/endpoints/{endpoint}")
        async def delete_endpoint(endpoint: str, key: ApiKey = manage) -> JsonObject:
            """Delete an endpoint: queued jobs are cancelled, running ones finish."""
            return await self._show(await self._catalog.delete(Actor.of(key), await self._find(key, endpoint)))

        @router.post("/endpoints/{endpoint}/purge-queue")
        async def purge_queue(endpoint: str, key: ApiKey = manage) -> JsonObject:
            """Cancel every queued job."""
            found = await endpoint_for(self._catalog, key, endpoint)
            return {"removed": await self._queue.purge(found.id)}

        return router

    def _release_routes(self) -> APIRouter:
        router = _router("releases")
        read, manage = self._asks(Scope.READ), self._asks(Scope.MANAGE)

        @router.get("/endpoints/{endpoint}/releases")
        async def list_releases(endpoint: str, key: ApiKey = read) -> JsonObject:
            """All releases, newest first: what workers execute, who made it and when."""
            found = await endpoint_for(self._catalog, key, endpoint)
            names = await self._catalog.teams.names(key.team)
            return {"releases": [_release(one, names) for one in await self._catalog.releases(found)]}

        @router.get("/endpoints/{endpoint}/releases/{number}/difference")
        async def release_difference(
            endpoint: str, number: int, since: Annotated[int | None, Query(ge=1)] = None, key: ApiKey = read
        ) -> JsonObject:
            """What a release changed since the one before it, or since the one with the number `since`."""
            found = await endpoint_for(self._catalog, key, endpoint)
            after = await self._catalog.release(found, number)
            base = max(1, number - 1) if since is None else since
            old, new = difference(of_release(await self._catalog.release(found, base)), of_release(after))
            return {"since": base, "number": number, "before": old, "after": new}

        @router.post("/endpoints/{endpoint}/releases/{number}/roll-back")
        async def roll_back(endpoint: str, number: int, key: ApiKey = manage) -> JsonObject:
            """Make a new release that does what the one with that number did; other fields stay as they are."""
            found = await self._find(key, endpoint)
            return await self._show(await self._catalog.roll_back(Actor.of(key), found, number))

        return router

    async def _find(self, key: ApiKey, word: str) -> Deployed:
        return await self._catalog.deployed(await endpoint_for(self._catalog, key, word))

    async def _fields(
        self, key: ApiKey, body: FieldsBody, policy: Policy, health: HealthCheck | None = None
    ) -> JsonObject:
        """The fields that were given; a credential's name becomes its id."""
        fields = body.fields(policy, health)
        if fields.get("credential"):
            fields["credential"] = (await self._catalog.credentials.find(key.team, fields["credential"])).id
        return fields

    async def _exported(self, found: Deployed) -> JsonObject:
        """A document that means the same elsewhere: credentials by name."""
        shown = found.document
        if found.release.credential is not None:
            credential = await self._catalog.credentials.find(found.endpoint.team, found.release.credential)
            shown["credential"] = CredentialId(credential.name)
        return {name: value for name, value in shown.items() if value is not None}

    async def _show(self, deployed: Deployed, inventory: Inventory | None = None) -> JsonObject:
        endpoint = deployed.endpoint
        inventory = inventory or await self._catalog.machine.inventory(gpus=False)
        counts = await self._queue.counts(endpoint.id)
        workers = await self._fleet.roster.workers(endpoint.id, gone=0)
        return (
            _endpoint(deployed)
            | {"price": price(inventory, deployed.release, [one.worker for one in workers])}
            | {"jobs": msgspec.to_builtins(counts), "workers": _summary(workers)}
            | {"decision": _decision(await self._fleet.roster.decision(endpoint.id))}
            | {"urls": {"v1": f"{self._base_url}/v1/{endpoint.name}", "v2": f"{self._base_url}/v2/{endpoint.name}"}}
        )

    # ── templates ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _template_reads(self) -> APIRouter:
        router = _router("templates")
        read = self._asks(Scope.READ, whole_team=True)

        @router.get("/templates")
        async def list_templates(key: ApiKey = read) -> JsonObject:
            """The team's templates, by name."""
            return {"templates": [_template(one) for one in await self._catalog.templates.of_team(key.team)]}

        @router.get("/templates/{template}")
        async def show_template(template: str, key: ApiKey = read) -> JsonObject:
            """One template, by name or id."""
            return _template(await self._catalog.templates.find(key.team, template))

        return router

    def _template_changes(self) -> APIRouter:
        router = _router("templates")
        manage = self._asks(Scope.MANAGE, whole_team=True)

        @router.post("/templates", status_code=201)
        async def create_template(body: TemplateBody, key: ApiKey = manage) -> JsonObject:
            """Keep fields under a name, to make endpoints from: those given, or those of an endpoint."""
            fields = await self._template_fields(key, body)
            return _template(await self._catalog.templates.create(Actor.of(key), body.name, fields))

        @router.put("/templates/{template}")
        async def update_template(template: str, body: TemplateBody, key: ApiKey = manage) -> JsonObject:
            """Replace a template. Endpoints that were made from it stay as they are."""
            found = await self._catalog.templates.find(key.team, template)
            fields = await self._template_fields(key, body)
            return _template(await self._catalog.templates.update(Actor.of(key), found, body.name, fields))

        @router.delete("/templates/{template}")
        async def delete_template(template: str, key: ApiKey = manage) -> JsonObject:
            """Forget a template."""
            found = await self._catalog.templates.find(key.team, template)
            await self._catalog.templates.delete(Actor.of(key), found)
            return _template(found)

        return router

    async def _template_fields(self, key: ApiKey, body: TemplateBody) -> JsonObject:
        if (body.fields is None) is (body.endpoint is None):
            raise InvalidInput("a template needs either fields or an endpoint to take them from", field="fields")
        if body.fields is not None:
            return await self._fields(key, body.fields, Policy())
        found = await self._find(key, body.endpoint or "")
        ours = {name: getattr(found.endpoint, name) for name in OF_ENDPOINT if name not in ("name", "app_name")}
        return ours | {name: getattr(found.release, name) for name in OF_RELEASE}


def _router(tag: str) -> APIRouter:
    """Flat, not nested: raw routes are looked up in the router itself."""
    return APIRouter(prefix="/api", tags=[tag], route_class=JsonRoute)


def _over(template: JsonObject, given: JsonObject) -> JsonObject:
    """What was given, and the template's where nothing was; variables one by one."""
    env = {**template.get("env", {}), **given.get("env", {})}
    return template | given | ({"env": env} if env else {})


# ── how things are shown ──────────────────────────────────────────────────────────────────────────────────────────────


def all_limits() -> JsonObject:
    """Every range: of numbers, of texts in characters, and choices."""
    numbers = {
        name: {"least": one.least, "most": one.most, "unit": one.unit, "why": one.why} for name, one in LIMITS.items()
    }
    counted = {"env": "variables", "specifications": "specifications", "volumes": "volumes"}
    texts = {
        name: {"least": 0, "most": most, "unit": counted.get(name, "characters"), "why": ""}
        for name, most in TEXT_MOST.items()
    }
    volume = {"least": SIZE_GB_LEAST, "most": SIZE_GB_MOST, "unit": "GiB", "why": "volumes grow and never shrink"}
    numbers["volume.size_gb"] = volume
    choices = {"type": {"choices": ["async"]}, "policy.type": {"choices": [kind.value for kind in PolicyType]}}
    return {**numbers, **texts, **choices}


def _endpoint(deployed: Deployed) -> JsonObject:
    endpoint, release = deployed.endpoint, deployed.release
    return {
        "id": endpoint.id,
        "version": endpoint.version,
        "release": {"id": release.id, "number": release.number, "created_ms": release.created_ms},
        **document(endpoint, release),
        "digest": release.digest,
        "rate": endpoint.rate,
        "paused_ms": endpoint.paused_ms,
        "created_ms": endpoint.created_ms,
    }


def _release(release: Release, names: Names) -> JsonObject:
    return {
        "id": release.id,
        "number": release.number,
        **of_release(release),
        "made_by": {"id": release.made_by, "name": names.get(release.made_by, "")},
        "created_ms": release.created_ms,
    }


def _template(template: Template) -> JsonObject:
    return {
        "id": template.id,
        "name": template.name,
        "fields": hidden(template.fields),
        "created_ms": template.created_ms,
        "updated_ms": template.updated_ms,
    }


def _summary(workers: Sequence[Held]) -> dict[str, int]:
    states = [(one.worker.state, one.held) for one in workers]
    return {
        "starting": sum(state in (WorkerState.DECIDED, WorkerState.STARTING) for state, _ in states),
        "idle": sum(state is WorkerState.READY and held == 0 for state, held in states),
        "busy": sum(state is WorkerState.READY and held > 0 for state, held in states),
        "draining": sum(state in (WorkerState.DRAINING, WorkerState.STOPPING) for state, _ in states),
        "total": len(states),
    }


def _decision(decision: Decision | None) -> JsonObject | None:
    if decision is None:
        return None
    return {
        "at_ms": decision.at_ms,
        "reason": decision.reason,
        "text": decision.text,
        "wanted": decision.wanted,
    }


__all__ = ["EndpointRoutes", "all_limits"]
