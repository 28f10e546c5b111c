"""What answers of the management API look like, for its description and for the clients that are made from it.

Routes build their answers from records; nothing is converted here, and nothing here is called while a request is served. A test
compares the real answers with these shapes. All times are milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from stoker.web.shapes.common import JsonObject, Named
from stoker.web.shapes.endpoints import (
    EndpointList,
    EndpointShown,
    LastHourList,
    Limit,
    ReleaseDifference,
    Releases,
    Removed,
    Templates,
    TemplateShown,
)
from stoker.web.shapes.images import Credentials, CredentialShown, ImageFound, ImageList
from stoker.web.shapes.jobs import JobInFull, JobList, JobWhy, ManyChanged
from stoker.web.shapes.server import About, SettingList
from stoker.web.shapes.specifications import GpuList, Planned, SpecificationList
from stoker.web.shapes.teams import AuditLines, Key, Keys, Me, Members, MemberShown, NewKey, Rated, Session
from stoker.web.shapes.usage import BudgetList, BudgetShown, UsageShown
from stoker.web.shapes.views import ViewList, ViewShown
from stoker.web.shapes.volumes import Files, Volumes, VolumeShown
from stoker.web.shapes.webhooks import NoticeList, NoticePage, WebhookSecret, WebhookSecretMade
from stoker.web.shapes.workers import WorkerInFull, WorkerList, WorkerShown

ANSWERS: Final[Mapping[str, Any]] = {
    "POST /api/session": Session,
    "GET /api/me": Me,
    "PATCH /api/team": Named,
    "GET /api/members": Members,
    "POST /api/members": MemberShown,
    "PATCH /api/members/{member}": MemberShown,
    "DELETE /api/members/{member}": MemberShown,
    "GET /api/keys": Keys,
    "POST /api/keys": NewKey,
    "POST /api/keys/{key_id}/rotate": NewKey,
    "DELETE /api/keys/{key_id}": Key,
    "PUT /api/keys/{key_id}/rate": Rated,
    "PUT /api/endpoints/{endpoint}/rate": Rated,
    "GET /api/audit": AuditLines,
    "GET /api/usage": UsageShown,
    "GET /api/budgets": BudgetList,
    "PUT /api/budget": BudgetShown,
    "DELETE /api/budget": BudgetShown,
    "PUT /api/endpoints/{endpoint}/budget": BudgetShown,
    "DELETE /api/endpoints/{endpoint}/budget": BudgetShown,
    "GET /api/limits": dict[str, Limit],
    "GET /api/endpoints": EndpointList,
    "GET /api/last-hour": LastHourList,
    "POST /api/endpoints": EndpointShown,  # a dry run answers as `apply` does
    "POST /api/endpoints/apply": Planned,
    "GET /api/endpoints/{endpoint}": EndpointShown,
    "PATCH /api/endpoints/{endpoint}": EndpointShown,  # and here
    "DELETE /api/endpoints/{endpoint}": EndpointShown,
    "GET /api/endpoints/{endpoint}/export": JsonObject,
    "POST /api/endpoints/{endpoint}/pause": EndpointShown,
    "POST /api/endpoints/{endpoint}/resume": EndpointShown,
    "POST /api/endpoints/{endpoint}/retry": EndpointShown,
    "POST /api/endpoints/{endpoint}/purge-queue": Removed,
    "GET /api/endpoints/{endpoint}/releases": Releases,
    "GET /api/endpoints/{endpoint}/releases/{number}/difference": ReleaseDifference,
    "POST /api/endpoints/{endpoint}/releases/{number}/roll-back": EndpointShown,
    "GET /api/templates": Templates,
    "POST /api/templates": TemplateShown,
    "GET /api/templates/{template}": TemplateShown,
    "PUT /api/templates/{template}": TemplateShown,
    "DELETE /api/templates/{template}": TemplateShown,
    "GET /api/credentials": Credentials,
    "POST /api/credentials": CredentialShown,
    "GET /api/credentials/{credential}": CredentialShown,
    "PATCH /api/credentials/{credential}": CredentialShown,
    "DELETE /api/credentials/{credential}": CredentialShown,
    "GET /api/images": ImageList,
    "POST /api/images/check": ImageFound,
    "GET /api/specifications": SpecificationList,
    "GET /api/gpus": GpuList,
    "GET /api/volumes": Volumes,
    "GET /api/volumes/{volume}": VolumeShown,
    "POST /api/volumes": VolumeShown,
    "PATCH /api/volumes/{volume}": VolumeShown,
    "GET /api/volumes/{volume}/files": Files,
    "GET /api/workers": WorkerList,
    "GET /api/endpoints/{endpoint}/workers": WorkerList,
    "GET /api/workers/{worker}": WorkerInFull,
    "POST /api/workers/{worker}/stop": WorkerShown,
    "GET /api/endpoints/{endpoint}/jobs": JobList,
    "POST /api/endpoints/{endpoint}/jobs/cancel": ManyChanged,
    "POST /api/endpoints/{endpoint}/jobs/retry": ManyChanged,
    "POST /api/endpoints/{endpoint}/jobs": JobInFull,
    "GET /api/jobs/{job}": JobInFull,
    "GET /api/jobs/{job}/why": JobWhy,
    "POST /api/jobs/{job}/cancel": JobInFull,
    "POST /api/jobs/{job}/retry": JobInFull,
    "GET /api/jobs/{job}/notices": NoticeList,
    "GET /api/views": ViewList,
    "GET /api/views/{view}": ViewShown,
    "POST /api/views": ViewShown,
    "DELETE /api/views/{view}": ViewShown,
    "GET /api/notices": NoticePage,
    "GET /api/settings": SettingList,
    "GET /api/about": About,
    "GET /api/webhooks/secret": WebhookSecret,
    "POST /api/webhooks/secret/rotate": WebhookSecretMade,
}
"""The shape of a good answer, by route. Routes that are not here answer with what their description says, or with lines."""


def describe(document: JsonObject) -> JsonObject:
    """The OpenAPI document with the shapes of `ANSWERS` in it."""
    names = [name for name in ANSWERS if _operation(document, name) is not None]
    shapes, parts = msgspec.json.schema_components(
        [ANSWERS[name] for name in names], ref_template="#/components/schemas/{name}"
    )
    document.setdefault("components", {}).setdefault("schemas", {}).update(parts)
    for name, shape in zip(names, shapes, strict=True):
        operation = _operation(document, name)
        assert operation is not None
        good = next(status for status in operation["responses"] if status.startswith("2"))
        operation["responses"][good]["content"] = {"application/json": {"schema": shape}}
    return document


def _operation(document: JsonObject, name: str) -> JsonObject | None:
    method, path = name.split()
    found: JsonObject | None = document["paths"].get(path, {}).get(method.lower())
    return found


__all__ = ["ANSWERS", "describe"]
