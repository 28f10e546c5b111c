"""`stoker endpoint` against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.live import LiveServer


def test_every_setting_arrives(cli: Cli, name: str, tmp_path: Path) -> None:
    """Each option of `endpoint create` sets the field that it is about, in the API's unit."""
    made = cli.ok(
        *("endpoint", "create", name, "--image", f"dir:{tmp_path}", "--command", "python -u handler.py"),
        *("--env", "A=1", "--env", "B=x=y", "--gpus", "0", "--min-workers", "0", "--max-workers", "4"),
        *(
            "--idle-timeout",
            "7",
            "--max-surge",
            "3",
            "--weight",
            "5",
            "--slots",
            "2",
            "--policy",
            "queue_delay",
            "--policy-value",
            "9",
        ),
        *("--app-name", "shop", "--execution-timeout", "30", "--ttl", "60", "--retries", "2", "--retention", "90"),
        "--json",
    ).json
    expected = {
        "name": name,
        "image": f"dir:{tmp_path}",
        "command": "python -u handler.py",
        "env": {"A": "1", "B": "x=y"},
        "gpus_per_worker": 0,
        "min_workers": 0,
        "max_workers": 4,
        "idle_timeout_s": 7,
        "max_surge": 3,
        "weight": 5,
        "slots": 2,
        "policy": {"type": "queue_delay", "value": 9},
        "app_name": "shop",
        "execution_timeout_ms": 30_000,
        "ttl_ms": 60_000,
        "retries": 2,
        "retention_s": 90,
    }
    assert {field: made[field] for field in expected} == expected


def test_without_a_name(cli: Cli, tmp_path: Path) -> None:
    """An endpoint that is created without a name gets 16 random hexadecimal characters, which the answer tells."""
    said = cli.ok("endpoint", "create", "--image", f"dir:{tmp_path}", "--command", "sleep 1").out
    found = re.match(r"created ([0-9a-f]{16}) ", said)
    assert found is not None, said
    assert cli.ok("endpoint", "show", found[1], "--json").json["name"] == found[1]


def test_relative_directory_is_the_users(cli: Cli, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative dir: image is taken from the user's current directory, not from the server's."""
    (tmp_path / "worker").mkdir()
    monkeypatch.chdir(tmp_path)
    made = cli.ok("endpoint", "create", name, "--image", "dir:worker", "--command", "sleep 1", "--json").json
    assert made["image"] == f"dir:{tmp_path}/worker"


def test_update_changes_only_what_is_given(cli: Cli, idle: str) -> None:
    """An update leaves alone what it does not name; new settings make no new release."""
    before = cli.ok("endpoint", "show", idle, "--json").json
    after = cli.ok("endpoint", "update", idle, "--idle-timeout", "9", "--json").json
    assert after["idle_timeout_s"] == 9
    assert after["release"]["number"] == before["release"]["number"]
    assert (after["command"], after["max_workers"]) == (before["command"], before["max_workers"])


def test_half_a_policy_keeps_the_other_half(cli: Cli, idle: str) -> None:
    """`--policy-value` alone changes the value and not the type."""
    cli.ok("endpoint", "update", idle, "--policy", "queue_delay", "--policy-value", "5")
    after = cli.ok("endpoint", "update", idle, "--policy-value", "6", "--json").json
    assert after["policy"] == {"type": "queue_delay", "value": 6}


def test_variables_of_an_endpoint(cli: Cli, idle: str) -> None:
    """An update sets the variables that are given and leaves the others, secret ones too; `--unset` takes one away."""
    cli.ok("endpoint", "update", idle, "--env", "A=1", "--env", "B=2", "--secret", "TOKEN=hidden")
    after = cli.ok("endpoint", "update", idle, "--env", "A=3", "--json").json
    assert after["env"] == {"A": "3", "B": "2", "TOKEN": {"secret": True}}
    again = cli.ok("endpoint", "update", idle, "--secret", "TOKEN=hidden", "--json").json
    assert again["release"] == after["release"], "the secret is still the one that was given"
    assert cli.ok("endpoint", "update", idle, "--unset", "B", "--json").json["env"].keys() == {"A", "TOKEN"}
    ran = cli("endpoint", "update", idle, "--unset", "C")
    assert (ran.status, "has no variable 'C'" in ran.err) == (2, True)


def test_rename(cli: Cli, idle: str) -> None:
    """`update --name` renames: the old name is free."""
    cli.ok("endpoint", "update", idle, "--name", f"{idle}-b")
    assert cli("endpoint", "show", idle).status == 4
    cli.ok("endpoint", "show", f"{idle}-b")


def test_update_of_nothing_is_misuse(cli: Cli, idle: str) -> None:
    """An update without any option is refused before anything is sent."""
    ran = cli("endpoint", "update", idle)
    assert (ran.status, ran.out) == (2, "")
    assert "nothing to change" in ran.err


def test_show_tells_the_settings(cli: Cli, idle: str, live: LiveServer) -> None:
    """`endpoint show` tells settings, counters and URLs in words, without colour codes when it is piped."""
    out = cli.ok("endpoint", "show", idle).out
    assert "sleep 600" in out
    assert f"{live.url}/v2/{idle}" in out
    assert "\x1b" not in out


def test_list_is_a_table_of_whole_cells(cli: Cli, idle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piped list has one endpoint a line, however narrow the terminal is said to be and whatever forces colours."""
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    head, *lines = cli.ok("endpoint", "ls").out.splitlines()
    assert head.split()[:3] == ["NAME", "ID", "WORKERS"]
    (line,) = [line for line in lines if line.startswith(f"{idle} ")]
    assert line == line.rstrip()
    assert "\x1b" not in line


def test_delete(cli: Cli, idle: str) -> None:
    """`delete --yes` deletes; then the endpoint is not found, which is status 4."""
    assert cli.ok("endpoint", "delete", idle, "--yes").out.startswith(f"deleted {idle} (")
    gone = cli("endpoint", "show", idle)
    assert gone.status == 4
    assert gone.err.startswith("error: there is no endpoint")
    assert "  next: list yours with: stoker endpoint ls" in gone.err


def test_delete_asks_where_somebody_can_answer(cli: Cli, idle: str) -> None:
    """Without --yes and without a terminal nothing is deleted: a script must say so."""
    ran = cli("endpoint", "delete", idle)
    assert ran.status == 2
    assert "--yes" in ran.err
    cli.ok("endpoint", "show", idle)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--env", "NOVALUE"), "NAME=VALUE"),
        (("--env", "=x"), "NAME=VALUE"),
        (("--slots", "many"), "not a valid integer"),
        (("--policy", "magic"), "queue_delay"),
        ((), "--image"),
    ],
)
def test_misuse_of_create(cli: Cli, name: str, words: tuple[str, ...], said: str) -> None:
    """What cannot be understood is status 2, says what was expected and where help is, and sends nothing."""
    ran = cli("endpoint", "create", name, *words)
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err
    assert "  next: stoker endpoint create --help" in ran.err
    assert cli("endpoint", "show", name).status == 4


def test_refusal_names_field_and_next_step(cli: Cli, name: str, tmp_path: Path) -> None:
    """What the server refuses is status 3, with the server's own field and next step."""
    ran = cli("endpoint", "create", name, "--image", f"dir:{tmp_path}", "--command", "sleep 1", "--slots", "1000")
    assert (ran.status, ran.out) == (3, "")
    error, field, following = ran.err.splitlines()
    assert error.startswith("error: slots is 1000")
    assert field == "  field: slots"
    assert following.startswith("  next: choose a value from 1 to 100")


def test_odd_references_stay_references(cli: Cli) -> None:
    """A name cannot lead to another route: dots, slashes and blanks are names of nothing."""
    for odd in ("..", ".", "", "../keys", "a b", "ä/ö", "x?y", "%2e%2e"):
        assert cli("endpoint", "show", odd).status == 4, odd


def test_last_hour(cli: Cli, name: str, tmp_path: Path) -> None:
    """Every endpoint has its line of the last hour; where nothing ended there are no times."""
    cli.ok("endpoint", "create", name, "--image", f"dir:{tmp_path}", "--command", "sleep 600")
    found = cli.ok("endpoint", "last-hour").out
    assert found.split("\n")[0].split()[:5] == ["NAME", "ENDED", "SUCCESS", "WAIT", "P50"]
    assert any(line.split() == [name, "0", *["-"] * 6] for line in found.splitlines())
    hours = cli.ok("endpoint", "last-hour", "--json").json["endpoints"]
    assert [one["causes"] for one in hours if one["endpoint"]["name"] == name] == [[]]
