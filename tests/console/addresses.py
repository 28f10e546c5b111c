"""Every page of the console by the name of its picture, with the address of one that has something on it.

A page is added here with its `page.ts`; a test compares the two.
"""

from __future__ import annotations

import re
from typing import Final

from tests.live import ROOT

ADDRESSES: Final = {
    "home": "/",
    "endpoints": "/endpoints",
    "create": "/endpoints/new",
    "endpoint": "/endpoints/{endpoint}",
    "endpoint-jobs": "/endpoints/{endpoint}/jobs",
    "endpoint-workers": "/endpoints/{endpoint}/workers",
    "endpoint-logs": "/endpoints/{endpoint}/logs",
    "endpoint-metrics": "/endpoints/{endpoint}/metrics",
    "endpoint-releases": "/endpoints/{endpoint}/releases",
    "endpoint-settings": "/endpoints/{endpoint}/settings",
    "change": "/endpoints/{endpoint}/edit",
    "jobs": "/jobs?endpoint={endpoint}",
    "a-job": "/jobs/{job}",
    "workers": "/workers",
    "worker": "/workers/{worker}",
    "playground": "/playground/{endpoint}?shown={job}",
    "images": "/images",
    "storage": "/storage",
    "a-volume": "/storage/{volume}",
    "credentials": "/credentials",
    "templates": "/templates",
    "webhooks": "/webhooks",
    "keys": "/keys",
    "members": "/keys/members",
    "usage": "/usage",
    "budgets": "/budgets",
    "audit": "/audit",
    "server-settings": "/settings",
    "about": "/about",
}
FOR_ADMINS: Final = ("/keys", "/audit", "/settings")
"""What pages begin with that show nothing to others."""


def patterns() -> list[str]:
    """What the console's router knows, such as `/endpoints/:endpoint/:tab?`."""
    files = sorted((ROOT / "console" / "src" / "pages").glob("*/page.ts"))
    return [found for file in files for found in re.findall(r"page\('(/[^']*)'", file.read_text("utf-8"))]


def leads_to(pattern: str, address: str) -> bool:
    """Whether an address is one of a pattern, word for word."""
    places, words = pattern.split("/")[1:], address.partition("?")[0].split("/")[1:]
    if len(words) > len(places):
        return False
    return all(
        place.endswith("?") if at >= len(words) else place.startswith(":") or place == words[at]
        for at, place in enumerate(places)
    )
