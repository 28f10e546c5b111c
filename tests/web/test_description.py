"""What the management API says of itself: its limits, its OpenAPI document, and the page to try it."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from stoker.endpoint import LIMITS, TEXT_MOST, PolicyType
from stoker.volume import SIZE_GB_LEAST, SIZE_GB_MOST
from tests.live import LiveServer

pytestmark = pytest.mark.slow


def test_limits(api: httpx.Client) -> None:
    """The ranges that are enforced are the ranges that are served."""
    served = api.get("/api/limits").json()
    for name, one in LIMITS.items():
        assert served.pop(name) == {"least": one.least, "most": one.most, "unit": one.unit, "why": one.why}
    counted = {"env": "variables", "specifications": "specifications", "volumes": "volumes"}
    for name, most in TEXT_MOST.items():
        one = served.pop(name)
        assert (one["most"], one["unit"]) == (most, counted.get(name, "characters"))
    size = served.pop("volume.size_gb")
    assert (size["least"], size["most"], size["unit"]) == (SIZE_GB_LEAST, SIZE_GB_MOST, "GiB")
    assert served.pop("policy.type") == {"choices": list(PolicyType)}
    assert served == {"type": {"choices": ["async"]}}


def test_description(live: LiveServer) -> None:
    """The OpenAPI document is closed: each reference leads somewhere, each parameter of a path is described, once."""
    document = httpx.get(f"{live.url}/api/openapi.json").json()
    assert document["openapi"].startswith("3.")
    text = json.dumps(document)
    for reference in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert reference in document["components"]["schemas"]
    ids = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))
    for path, operations in document["paths"].items():
        for operation in operations.values():
            described = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]
            assert sorted(described) == sorted(re.findall(r"{(\w+)}", path))
            assert operation["responses"]


def test_page_works_without_a_network(live: LiveServer) -> None:
    """The page and everything that it loads come from this server."""
    page = httpx.get(f"{live.url}/api/docs")
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert len(loaded) >= 2
    for path in loaded:
        assert path.startswith("/api/docs/assets/")
        asset = httpx.get(f"{live.url}{path}")
        assert (asset.status_code, len(asset.content) > 0) == (200, True)
    assert httpx.get(f"{live.url}/api/docs/assets/../../../etc/passwd").status_code == 404
    assert httpx.get(f"{live.url}/api/docs/assets/%2e%2e/%2e%2e/setup.py").status_code == 404
