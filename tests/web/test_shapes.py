"""What answers really look like is what the description says of them."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from stoker.web.shapes import ANSWERS
from tests.live import LiveServer
from tests.web.hands import Hands

pytestmark = pytest.mark.slow


CHANGES: dict[str, Any] = {
    "PATCH /api/members/{member}": {"role": "developer"},
    "POST /api/keys/{key_id}/rotate": {},
    "PUT /api/keys/{key_id}/rate": {"rate": None},
    "DELETE /api/keys/{key_id}": {},
    "DELETE /api/members/{member}": {},
    "PATCH /api/endpoints/{endpoint}": {"entrypoint": "env"},
    "POST /api/endpoints/{endpoint}/pause": {},
    "POST /api/endpoints/{endpoint}/resume": {},
    "POST /api/endpoints/{endpoint}/purge-queue": {},
    "POST /api/endpoints/{endpoint}/releases/{number}/roll-back": {},
    "POST /api/endpoints/{endpoint}/jobs": {"input": 1},
    "POST /api/jobs/{job}/cancel": {},
    "PATCH /api/credentials/{credential}": {"username": "v"},
    "DELETE /api/credentials/{credential}": {},
    "DELETE /api/templates/{template}": {},
    "PUT /api/endpoints/{endpoint}/rate": {"rate": 1_000},
    "PUT /api/budget": {"warn": 1e6},
    "DELETE /api/budget": {},
    "PUT /api/endpoints/{endpoint}/budget": {"period": "day", "refuse": 1e6},
    "DELETE /api/endpoints/{endpoint}/budget": {},
    "DELETE /api/views/{view}": {},
    "POST /api/workers/{worker}/stop": {"now": True},
    "POST /api/webhooks/secret/rotate": {},
    "DELETE /api/endpoints/{endpoint}": {},
}
"""Bodies of changes, in an order in which each finds its thing."""


def fits(name: str, answer: httpx.Response) -> None:
    """The answer is good, and of the shape that the route promises; nothing that is promised is missing."""
    assert answer.status_code < 300, f"{name}: {answer.text}"
    try:
        msgspec.convert(answer.json(), ANSWERS[name], strict=True)
    except msgspec.ValidationError as error:
        pytest.fail(f"{name}: {error}")


def test_answers_have_their_shapes(live: LiveServer, hands: Hands, name: str) -> None:
    """Every route that promises a shape answers with it, about things that have everything there is to show."""
    api = live.api
    job = live.run(name, {"a": 1})
    hands.take()
    hands.finish(job, b'{"output": {"b": 2}}')
    login = {"name": name, "registry": "127.0.0.1:1", "username": "u", "password": "p"}
    bodies: dict[str, tuple[str, Any]] = {
        "member": ("POST /api/members", {"name": name, "role": "reader"}),
        "key_id": ("POST /api/keys", {"name": name, "scopes": ["run"]}),
        "credential": ("POST /api/credentials", login),
        "volume": ("POST /api/volumes", {"name": name, "size_gb": 10}),
        "view": ("POST /api/views", {"name": name, "state": "failed", "ran_least_ms": 1000}),
        "template": ("POST /api/templates", {"name": name, "fields": {"env": {"A": {"secret": "b"}}}}),
    }
    names = {"endpoint": name, "job": job, "worker": hands.id, "number": "1"}
    for parameter, (route, body) in bodies.items():
        answer = api.request(*route.split(), json=body)
        fits(route, answer)
        names[parameter] = answer.json()["name" if parameter == "view" else "id"]
    for route in ANSWERS:
        method, path = route.split()
        if method == "GET":
            fits(route, api.get(path.format(**names)))
    for route, body in CHANGES.items():
        method, path = route.split()
        fits(route, api.request(method, path.format(**names), json=body))
