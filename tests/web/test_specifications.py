"""Instance specifications over HTTP: what there is, where an endpoint may be placed, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import until

PLACE = {"id": "cpu", "name": "CPU", "type": "cpu", "total": 500, "gpu_memory_gb": 0, "price_per_hour": 0.02}


@pytest.fixture
def wish(name: str, tmp_path: Path) -> dict[str, Any]:
    """An endpoint whose workers do nothing."""
    return {"name": name, "image": f"dir:{tmp_path}", "command": "sleep 600", "min_workers": 2}


def test_what_there_is(api: httpx.Client, reader: httpx.Client) -> None:
    """Everybody who may read sees the kinds of places, how many are free, and what they cost."""
    for client in (api, reader):
        first, second = client.get("/api/specifications").json()["specifications"]
        assert {name: first[name] for name in PLACE} == PLACE
        assert 0 < first["free"] <= 500
        assert (second["id"], second["name"], second["total"], second["free"]) == ("none", "none", 0, 0)


def test_placed_in_the_order_of_the_endpoint(api: httpx.Client, wish: dict[str, Any]) -> None:
    """A worker's record says where it is; the endpoint says what a worker costs, and what all of them cost now."""
    made = api.post("/api/endpoints", json=wish | {"specifications": ["none", "cpu"]})
    assert (made.status_code, made.json()["specifications"]) == (201, ["none", "cpu"])
    path = f"/api/endpoints/{wish['name']}"
    workers = until(lambda: api.get(f"{path}/workers").json()["workers"], what="a worker")
    assert {(one["specification"], one["price_per_hour"]) for one in workers} == {("cpu", 0.02)}
    until(lambda: api.get(path).json()["price"]["now_per_hour"] == 0.04, what="two workers")
    shown = api.get(path).json()["price"]
    assert shown == {"specification": "cpu", "worker_per_hour": 0.02, "now_per_hour": 0.04}
    assert api.delete(path).status_code == 200


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["cpu", "gone"], "unknown_specification", "cpu, none"),
        (["none"], "no_such_capacity", "none"),
        (["cpu", "cpu"], "invalid_input", "twice"),
        ([f"s{number}" for number in range(17)], "invalid_input", "17"),
    ],
)
def test_where_no_worker_could_be(
    api: httpx.Client, wish: dict[str, Any], given: list[str], code: str, words: str
) -> None:
    """An endpoint that could never be placed is refused, with the field and what there is."""
    answer = api.post("/api/endpoints", json=wish | {"specifications": given})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, code, "specifications")
    assert words in answer.text


def test_a_plan_says_where_and_for_how_much(api: httpx.Client, wish: dict[str, Any]) -> None:
    """A dry run names the places that a worker may go to, with what is free and the price of a worker."""
    plan = api.post("/api/endpoints", json=wish, params={"dry_run": True}).json()
    (choice,) = plan["fit"]["choices"]
    assert (plan["fit"]["gpus_needed"], choice["id"], choice["worker_per_hour"]) == (0, "cpu", 0.02)
