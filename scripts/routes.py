"""The routes of the server as tables, from the OpenAPI description that it serves itself."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx

from scripts import machines
from stoker.clock import SystemClock
from stoker.health import Check
from stoker.web.app import build_app
from stoker.web.budgets import BudgetRoutes
from stoker.web.dead_letters import DeadLetterRoutes
from stoker.web.events import EventRoutes
from stoker.web.images import ImageRoutes
from stoker.web.jobs import Gate, JobRoutes
from stoker.web.jobs_v1 import NOVITA, NovitaJobs
from stoker.web.jobs_v2 import RUNPOD
from stoker.web.last_hour import LastHourRoutes
from stoker.web.manage import ManageRoutes
from stoker.web.rates import RateRoutes
from stoker.web.selections import SelectionRoutes
from stoker.web.server import ServerRoutes
from stoker.web.specifications import SpecificationRoutes
from stoker.web.usage import UsageRoutes
from stoker.web.views import ViewRoutes
from stoker.web.volumes import VolumeRoutes
from stoker.web.webhooks import WebhookRoutes
from stoker.web.worker_protocol import WorkerRoutes

_NOTHING: Final[Any] = None
"""In place of the operations: routes that are only described call none."""

TAGS: Final = {
    "jobs (Runpod)": "Job API, Runpod's words",
    "jobs (Novita)": "Job API, Novita's words",
    "endpoints": "Management: endpoints",
    "releases": "Management: releases",
    "templates": "Management: templates",
    "credentials": "Management: registry credentials",
    "specifications": "Management: instance specifications",
    "usage": "Management: usage",
    "budgets": "Management: budgets",
    "rates": "Management: rates",
    "workers": "Management: workers",
    "jobs": "Management: jobs",
    "views": "Management: views of jobs",
    "events": "Management: events",
    "volumes": "Management: volumes",
    "images": "Management: images",
    "session": "Management: signing in to the console",
    "webhooks": "Management: webhooks",
    "team": "Management: team",
    "members": "Management: members",
    "keys": "Management: keys",
    "audit": "Management: audit log",
    "worker protocol": "Worker protocol",
    "server": "Server",
}
"""Groups of routes in the order of the page, with their headings."""


def description() -> dict[str, Any]:
    """The OpenAPI description, as `/api/openapi.json` answers it."""
    gate = Gate(_NOTHING, _NOTHING, input_bytes_max=0, throttle=_NOTHING, budgets=_NOTHING)
    routers = [
        NovitaJobs(NOVITA, _NOTHING, _NOTHING, gate).router(),
        JobRoutes(RUNPOD, _NOTHING, _NOTHING, gate).router(),
        WorkerRoutes(_NOTHING, output_bytes_max=0, part_bytes_max=0, uploads=_NOTHING).router(),
        *ManageRoutes(_NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING, gate, base_url="").routers(),
        DeadLetterRoutes(_NOTHING, _NOTHING).router(),
        SelectionRoutes(_NOTHING, _NOTHING).router(),
        EventRoutes(_NOTHING, _NOTHING, _NOTHING).router(),
        ImageRoutes(_NOTHING, _NOTHING).router(),
        LastHourRoutes(_NOTHING, _NOTHING, SystemClock()).router(),
        ServerRoutes((), _NOTHING, database="", for_teams=()).router(),
        SpecificationRoutes(_NOTHING, _NOTHING).router(),
        ViewRoutes(_NOTHING).router(),
        UsageRoutes(_NOTHING, _NOTHING).router(),
        BudgetRoutes(_NOTHING, _NOTHING, _NOTHING).router(),
        RateRoutes(_NOTHING).router(),
        *VolumeRoutes(_NOTHING, _NOTHING, stall_s=0).routers(),
        *WebhookRoutes(_NOTHING, _NOTHING, _NOTHING).routers(),
    ]
    return asyncio.run(_fetch(httpx.ASGITransport(build_app(routers, ready=_ready))))


def _ready() -> list[Check]:
    return []


async def _fetch(transport: httpx.ASGITransport) -> dict[str, Any]:
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        return dict((await client.get("/api/openapi.json")).json())


def tables() -> str:
    """One table for each group: methods, path, what it does."""
    groups: dict[str, dict[tuple[str, str], list[str]]] = {tag: {} for tag in TAGS}
    for path, operations in description()["paths"].items():
        for method, operation in operations.items():
            (tag,) = operation["tags"]
            groups[tag].setdefault((path, _told(path, operation)), []).append(method.upper())
    return "\n\n".join(f"## {heading}\n\n{_table(groups[tag])}" for tag, heading in TAGS.items())


def _table(routes: dict[tuple[str, str], list[str]]) -> str:
    rows = [[", ".join(sorted(methods)), f"`{path}`", told] for (path, told), methods in routes.items()]
    return machines.table(["Method", "Path", "What it does"], rows)


def _told(path: str, operation: dict[str, Any]) -> str:
    """The docstring where it is written for readers; raw routes have a summary for that."""
    raw = path.startswith(("/v1/", "/v2/", "/worker/"))
    return " ".join(operation["summary" if raw else "description"].split())
