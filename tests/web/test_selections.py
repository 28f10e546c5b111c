"""Many jobs at once over the API: found by what is known of them, cancelled and queued again."""

from __future__ import annotations

from typing import Any

import httpx

from tests.live import LiveServer
from tests.web.hands import Hands


def asked(api: httpx.Client, name: str, **wanted: Any) -> list[str]:
    """Ids of the jobs of one page."""
    answer = api.get(f"/api/endpoints/{name}/jobs", params=wanted)
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["jobs"]]


def test_jobs_are_found_by_what_is_known(live: LiveServer, api: httpx.Client, hands: Hands, name: str) -> None:
    """Reason, worker, release, key and text choose, alone and together; pages follow by `next`."""
    jobs = [live.run(name, number) for number in range(3)]
    assert hands.take()["id"] == jobs[0]
    hands.finish(jobs[0], b'{"error": "out of luck"}')
    (key,) = {job["key"] for job in api.get(f"/api/endpoints/{name}/jobs").json()["jobs"]}
    for wanted in (
        {"reason": "handler_error"},
        {"worker": hands.id, "state": "failed"},
        {"release": 1, "text": "of luck"},
        {"key": key, "ran_least_ms": 0},
    ):
        assert asked(api, name, **wanted) == [jobs[0]], wanted
    assert asked(api, name, key="nobody") == []
    first = api.get(f"/api/endpoints/{name}/jobs", params={"limit": 2}).json()
    assert first["next"] == jobs[1]
    assert asked(api, name, before=first["next"]) == [jobs[0]]
    for field, value, status in (("reason", "bad luck", 400), ("release", 9, 404), ("ran_least_ms", -1, 400)):
        assert api.get(f"/api/endpoints/{name}/jobs", params={field: value}).status_code == status


def test_many_are_cancelled_and_queued_again(
    live: LiveServer, api: httpx.Client, stranger: httpx.Client, hands: Hands, name: str
) -> None:
    """What a wish chooses is changed, page by page, and nothing else; what another team has does not exist."""
    failed, first, second = (live.run(name, number) for number in range(3))
    assert hands.take()["id"] == failed
    hands.finish(failed, b'{"error": "out of luck"}')
    path = f"/api/endpoints/{name}/jobs"
    assert stranger.post(f"{path}/cancel", json={}).status_code == 404
    again = api.post(f"{path}/retry", json={"reason": "handler_error"}).json()
    assert again == {"jobs": [failed], "failed": [], "next": None}
    assert live.job(failed)["state"] == "queued"
    page = api.post(f"{path}/cancel", json={"state": "queued", "limit": 1}).json()
    assert page == {"jobs": [second], "failed": [], "next": second}
    rest = api.post(f"{path}/cancel", json={"state": "queued", "before": second}).json()
    assert sorted(rest["jobs"]) == sorted([failed, first])
    assert api.post(f"{path}/cancel", json={}).json()["jobs"] == []
    assert api.post(f"{path}/retry", json={"state": "cancelled"}).json()["jobs"] == []
