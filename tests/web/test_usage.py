"""Usage of a real server: what was used by whom, in JSON and in CSV, over restarts, and who may see it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import LiveServer, until
from tests.web.hands import Hands

pytestmark = pytest.mark.slow

PRICE = 3_600.0
"""Per hour: a second costs 1."""
SPECIFICATIONS = json.dumps([{"id": "cpu", "slots": 4, "price_per_hour": PRICE}])


def usage(live: LiveServer, **params: Any) -> dict[str, Any]:
    """The answer of the API."""
    answer = live.api.get("/api/usage", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def counted_s(live: LiveServer, worker: str) -> float:
    """For how long the worker was up, as its story says."""
    story = live.api.get(f"/api/workers/{worker}").json()["story"]
    moments = {line["kind"]: line["at_ms"] for line in story}
    return float(moments["stopping"] - moments["ready"]) / 1000


def test_a_life_in_the_ledger(tmp_path: Path) -> None:
    """A worker's whole time is in the ledger, once, at the price of its place, though the server was killed meanwhile; running time
    is that of the key whose job it ran."""
    with LiveServer(tmp_path / "data", specifications=SPECIFICATIONS) as live:
        hands = Hands(live, "paid", tmp_path / "told")
        job = live.run("paid", {"n": 1})
        hands.take()
        live.kill()
        live.start()
        until(lambda: usage(live)["total"]["running_s"] > 0, what="the meter to be read")
        hands.finish(job, b'{"output": 1}')
        done = live.job(job)
        assert done["cost"] == pytest.approx(done["execution_ms"] / 1000)
        assert live.api.post(f"/api/workers/{hands.id}/stop", json={"now": True}).status_code == 200
        live.api.patch("/api/endpoints/paid", json={"min_workers": 0})
        until(lambda: live.api.get(f"/api/workers/{hands.id}").json()["state"] == "gone", what="its end")
        wanted_s = counted_s(live, hands.id)

        def whole() -> dict[str, Any] | None:
            rows = usage(live, part=["release", "endpoint", "key"], by="hour")["rows"]
            first = {row["release"] for row in rows}
            assert len(first) <= 1
            total = round(sum(row["running_s"] + row["idle_s"] for row in rows), 3)
            return {"rows": rows} if total >= wanted_s else None

        rows = until(whole, what="the whole of it to be in the ledger")["rows"]
        assert sum(row["running_s"] + row["idle_s"] for row in rows) == pytest.approx(wanted_s)
        assert sum(row["cost"] for row in rows) == pytest.approx(wanted_s)
        assert {row["endpoint"]["name"] for row in rows} == {"paid"}
        (key,) = (one["id"] for one in live.api.get("/api/keys").json()["keys"])
        assert {row["key"] for row in rows if row["running_s"]} == {key} == {live.job(job)["key"]}
        hands.close()
        live.api.patch("/api/endpoints/paid", json={"slots": 2})
        assert live.job(job)["cost"] == done["cost"]  # what comes after its end changes nothing


def test_storage_is_paid_for(tmp_path: Path) -> None:
    """A volume costs by its size and time; a table for spreadsheets tells it too, and holds no formula."""
    with LiveServer(tmp_path / "data", volume_price_per_gib_hour=PRICE) as live:
        assert live.api.post("/api/volumes", json={"name": "models", "size_gb": 100}).status_code == 201
        row = until(lambda: usage(live, part="volume")["rows"], what="storage in the ledger")[0]
        assert (row["volume"], row["running_s"]) == ("models", 0)
        assert row["cost"] == pytest.approx(row["storage_gib_h"] * PRICE, rel=0.01)
        answer = live.api.get("/api/usage.csv", params={"part": ["volume", "use"]})
        assert answer.headers["content-type"].startswith("text/csv")
        (line,) = csv.DictReader(io.StringIO(answer.text))
        assert (line["volume"], line["use"]) == ("models", "storage")


def test_who_may_see_it(live: LiveServer, name: str) -> None:
    """A key for one endpoint sees the usage of that endpoint and no other."""
    for one in (name, f"{name}-other"):
        live.create(one, image=tmp_image(), command="true")
    made = live.api.post("/api/keys", json={"name": name, "scopes": ["read"], "endpoints": [name]}).json()
    with httpx.Client(base_url=live.url, headers={"Authorization": f"Bearer {made['secret']}"}) as api:
        assert api.get("/api/usage", params={"endpoint": name}).status_code == 200
        assert api.get("/api/usage", params={"endpoint": f"{name}-other"}).status_code == 404
        assert api.get("/api/usage").status_code == 403
        assert api.get("/api/usage.csv").status_code == 403


def test_what_is_no_time(live: LiveServer) -> None:
    """A time that ends before it begins is refused, with the field."""
    answer = live.api.get("/api/usage", params={"from_ms": 2_000_000_000_000, "to_ms": 1})
    assert (answer.status_code, answer.json()["field"]) == (400, "to_ms")


def tmp_image() -> Path:
    """Something that could be run."""
    return Path(__file__).parent / "workers"
