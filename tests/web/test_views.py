"""Views of a real server: filters of jobs under a name, of the team alone."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.slow


def views(client: httpx.Client, name: str) -> list[Any]:
    """What is chosen by those of that name."""
    return [one["filters"] for one in client.get("/api/views").json()["views"] if one["name"] == name]


def test_views(api: httpx.Client, stranger: httpx.Client, reader: httpx.Client, name: str) -> None:
    """A view is saved, replaced and forgotten, each with a line of the audit log; whoever may read jobs reads views."""
    made = api.post("/api/views", json={"name": name, "state": "failed", "waited_least_ms": 9, "text": ""})
    assert (made.status_code, made.json()["filters"]) == (201, {"state": "failed", "waited_least_ms": 9})
    api.post("/api/views", json={"name": name, "reason": "worker_lost"})
    assert views(reader, name) == [{"reason": "worker_lost"}]
    assert reader.get(f"/api/views/{name}").json()["filters"] == {"reason": "worker_lost"}
    assert views(stranger, name) == []
    assert stranger.get(f"/api/views/{name}").status_code == 404
    assert stranger.delete(f"/api/views/{name}").status_code == 404
    assert reader.post("/api/views", json={"name": name}).status_code == 403
    assert api.delete(f"/api/views/{name}").json()["name"] == name
    assert views(api, name) == []
    lines = api.get("/api/audit", params={"thing": name}).json()["lines"]
    assert [(line["kind"], line["action"]) for line in lines] == [
        ("view", "deleted"),
        ("view", "changed"),
        ("view", "created"),
    ]


@pytest.mark.parametrize(
    ("field", "body"),
    [("name", {"name": ""}), ("state", {"name": "x", "state": "lost"}), ("before", {"name": "x", "before": "y"})],
)
def test_no_view(api: httpx.Client, field: str, body: dict[str, str]) -> None:
    """What cannot choose jobs is refused, by its field."""
    refused = api.post("/api/views", json=body)
    assert (refused.status_code, refused.json()["field"]) == (400, field)
