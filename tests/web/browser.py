"""A person's browser, as far as HTTP goes: signed in with a key, and known by a cookie from then on."""

from __future__ import annotations

import httpx

HEADERS = {"x-stoker-console": "1"}


def signed_in(url: str, key: str) -> httpx.Client:
    """A browser in which somebody has signed in to the console at `url`."""
    answer = httpx.post(f"{url}/api/session", json={"key": key}, headers=HEADERS)
    assert answer.status_code == 200, answer.text
    return httpx.Client(base_url=url, headers=HEADERS, cookies=dict(answer.cookies), timeout=60)
