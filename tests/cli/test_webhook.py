"""`stoker webhook`: what was told, telling it again, the secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.live import LiveServer, until


@pytest.mark.slow
def test_what_was_told(cli: Cli, live: LiveServer, name: str, tmp_path: Path) -> None:
    """The log names what went wrong with each try; telling it again says where to; jobs without a webhook say so."""
    live.create(name, image=tmp_path, command="sleep 600", max_workers=1)
    live.api.post(f"/api/endpoints/{name}/pause")
    job = live.run(name, 1, webhook="http://127.0.0.1:1/hook?token=hush")
    assert "its webhook was told nothing" in cli.ok("webhook", "ls", job).err
    live.api.post(f"/v2/{name}/cancel/{job}")
    shown = until(lambda: cli.ok("webhook", "ls", job).out if "loopback" in cli.ok("webhook", "ls", job).out else None, what="a try")  # fmt: skip
    assert "pending" in shown
    assert "hush" not in shown
    (notice,) = cli.ok("webhook", "ls", job, "--json").json["notices"]
    assert (
        cli.ok("webhook", "redeliver", job).out == f"{notice['id']} is delivered again to http://127.0.0.1:1/hook?…\n"
    )
    assert cli("webhook", "redeliver", job, "--notice", "other").status == 4

    listed = cli.ok("webhook", "ls", "--endpoint", name, "--state", "pending")
    assert notice["id"] in listed.out
    assert "loopback" in listed.out
    assert "hush" not in listed.out
    (found,) = cli.ok("webhook", "ls", "--endpoint", name, "--json").json["notices"]
    assert (found["id"], found["job"]) == (notice["id"], job)
    assert "anything like this" in cli.ok("webhook", "ls", "--endpoint", name, "--state", "given_up").err
    assert "leave JOB out" in cli("webhook", "ls", job, "--state", "pending").err


def test_secret(cli: Cli) -> None:
    """The secret is shown when it is made and never again."""
    made = cli.ok("webhook", "rotate-secret", "--overlap", "60")
    assert made.out.startswith("whsec_")
    assert "shown only now" in made.err
    shown = cli.ok("webhook", "secret")
    assert "are signed" in shown.out
    assert made.out.strip() not in shown.out + shown.err
