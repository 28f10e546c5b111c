"""The command line for what is configured: documents, releases, templates, credentials, members, audit, secrets."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.cli.files import to_toml
from tests.cli.conftest import Cli
from tests.live import KEY, LiveServer

TEXT = st.text(st.characters(codec="utf-8"))
DOCUMENTS = st.dictionaries(
    TEXT, TEXT | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.dictionaries(TEXT, TEXT, min_size=1)
)


@given(document=DOCUMENTS)
def test_toml_is_read_back(document: dict[str, object]) -> None:
    """Whatever is in a document, its TOML says the same."""
    assert tomllib.loads(to_toml(document)) == document


# ── documents ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def document(name: str, folder: Path, **more: object) -> dict[str, object]:
    """An endpoint that starts no worker."""
    return {"name": name, "image": f"dir:{folder}", "command": "sleep 600", **more}


def test_apply_prints_the_difference(cli: Cli, name: str, tmp_path: Path) -> None:
    """Applying creates, then does nothing, then changes what differs, and says so each time; a dry run changes nothing."""
    file = tmp_path / "endpoint.toml"
    file.write_text(to_toml(document(name, tmp_path, slots=2, env={"A": "1"})))
    apply = ("endpoint", "apply", "-f", str(file))
    assert cli.ok(*apply, "--dry-run").out.startswith(f"create {name}\n")
    assert cli("endpoint", "show", name).status == 4
    assert "  + slots: 2\n" in cli.ok(*apply).out
    assert cli.ok(*apply).out == f"nothing to change in {name}\n"
    file.write_text(to_toml(document(name, tmp_path, slots=3, env={"A": "2", "B": "x"})))
    told = cli.ok(*apply).out.splitlines()
    assert told[0] == f"change {name}"
    assert {"  ~ slots: 2 -> 3", "  ~ env.A: 1 -> 2", "  + env.B: x"} < set(told)
    assert any("a new release" in line for line in told)
    assert cli.ok("endpoint", "show", name, "--json").json["slots"] == 3


def test_update_can_be_tried(cli: Cli, name: str, tmp_path: Path) -> None:
    """A dry run of an update prints the difference and changes nothing."""
    cli.ok("endpoint", "create", name, "--image", f"dir:{tmp_path}", "--command", "sleep 600")
    told = cli.ok("endpoint", "update", name, "--slots", "2", "--dry-run").out
    assert told.startswith(f"change {name}\n  ~ slots: 1 -> 2\n")
    assert cli.ok("endpoint", "show", name, "--json").json["slots"] == 1


def test_image_beside_the_document(cli: Cli, name: str, tmp_path: Path) -> None:
    """A relative directory in a document is taken from where the document is, not from where the command runs."""
    (tmp_path / "worker").mkdir()
    file = tmp_path / "endpoint.json"
    file.write_text(json.dumps(document(name, tmp_path) | {"image": "dir:worker"}))
    assert cli.ok("endpoint", "apply", "-f", str(file), "--json").json["endpoint"]["image"] == f"dir:{tmp_path}/worker"


def test_export_can_be_applied(cli: Cli, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exported changes nothing where it came from, marks secrets, and makes another endpoint with their values."""
    monkeypatch.setenv("TOKEN", "hush")
    create = ("endpoint", "create", name, "--image", f"dir:{tmp_path}", "--command", "sleep 600")
    cli.ok(*create, "--secret", "TOKEN", "--env", "A=1")
    file = tmp_path / "endpoint.toml"
    cli.ok("endpoint", "export", name, "-o", str(file))
    text = file.read_text()
    assert "TOKEN = { secret = true }" in text
    assert "hush" not in text
    assert tomllib.loads(cli.ok("endpoint", "export", name).out) == tomllib.loads(text)
    assert cli.ok("endpoint", "apply", "-f", str(file), "--secret", "TOKEN").out == f"nothing to change in {name}\n"
    other = text.replace(f'"{name}"', f'"{name}-2"').encode()
    refused = cli("endpoint", "apply", "-f", "-", stdin=other)
    assert (refused.status, "field: env.TOKEN" in refused.err) == (3, True)
    cli.ok("endpoint", "apply", "-f", "-", "--secret", "TOKEN=other", stdin=other)
    assert "TOKEN=(secret)" in cli.ok("endpoint", "show", f"{name}-2").out


@pytest.mark.parametrize("text", ["not toml", "[1", '{"name": ', "a = 1\na = 2"])
def test_what_is_no_document(cli: Cli, text: str) -> None:
    """A file that cannot be read is misuse: nothing was sent."""
    assert cli("endpoint", "apply", "-f", "-", stdin=text.encode()).status == 2
    assert cli("endpoint", "apply", "-f", "/nowhere/file.toml").status == 2


def test_secret_without_a_value_is_misuse(cli: Cli, name: str) -> None:
    """A secret that is named but not there is not sent as an empty one."""
    ran = cli("endpoint", "create", name, "--image", "dir:/x", "--secret", "NOT_SET_ANYWHERE")
    assert (ran.status, "NOT_SET_ANYWHERE" in ran.err) == (2, True)


# ── a terminal ────────────────────────────────────────────────────────────────────────────────────────────────────────


def at_a_terminal(live: LiveServer, *words: str, types: str) -> tuple[int, str]:
    """Run a command in a terminal in which somebody types; its status and what the terminal shows."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"STOKER_URL": live.url, "STOKER_API_KEY": KEY}
    command = [sys.executable, "-c", "import sys; from stoker.cli import main; sys.exit(main())", *words]
    os.write(ours, types.encode())
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # the terminal's other end is closed
        pass
    os.close(ours)
    return process.wait(timeout=30), shown.decode()


def test_specifications(cli: Cli, name: str, tmp_path: Path) -> None:
    """What there is is listed; an endpoint names its choices in order, shows its price, and an empty word takes them back."""
    (one,) = cli.ok("specification", "ls", "--json").json["specifications"]
    assert (one["id"], one["type"]) == ("cpu", "cpu")
    assert re.search(r"^cpu +CPU +\d+ of \d+ places", cli.ok("specification", "ls").out, re.MULTILINE)
    create = ("endpoint", "create", name, "--image", f"dir:{tmp_path}", "--command", "sleep 600")
    refused = cli(*create, "--specification", "h100")
    assert (refused.status != 0, "choose among cpu" in refused.err) == (True, True)
    cli.ok(*create, "--specification", "cpu")
    shown = cli.ok("endpoint", "show", name).out
    assert re.search(r"specifications +cpu$", shown, re.MULTILINE)
    assert re.search(r"price +0 per hour and worker, 0 per hour now$", shown, re.MULTILINE)
    assert cli.ok("endpoint", "update", name, "--specification", "", "--json").json["specifications"] == []


@pytest.mark.slow
def test_plan_on_a_terminal(live: LiveServer, cli: Cli, name: str, tmp_path: Path) -> None:
    """On a terminal creating shows the plan and asks; no means no, yes means yes; elsewhere nothing is asked."""
    create = ("endpoint", "create", name, "--image", f"dir:{tmp_path}", "--command", "sleep 600")
    status, shown = at_a_terminal(live, *create, types="n\n")
    assert (status, f"create {name}" in shown, "Create it?" in shown) == (0, True, True)
    assert "a worker needs no GPUs and may be placed in" in shown
    assert re.search(r"CPU: \d+ of \d+ places free, 0 per hour and worker", shown), shown
    assert cli("endpoint", "show", name).status == 4
    status, shown = at_a_terminal(live, *create, types="y\n")
    assert (status, f"created {name}" in shown) == (0, True)
    assert cli.ok("endpoint", "show", name).status == 0
    status, shown = at_a_terminal(live, "endpoint", "create", f"{name}-2", *create[3:], "--yes", types="")
    assert (status, "Create it?" in shown) == (0, False)


# ── releases ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_releases(cli: Cli, idle: str) -> None:
    """The history is listed, compared and gone back to; a pause is told and ended."""
    cli.ok("endpoint", "update", idle, "--env", "A=1")
    assert cli.ok("endpoint", "diff", idle, "2").out == "+ env.A: 1\n"
    assert cli.ok("endpoint", "diff", idle, "1").err == "nothing differs\n"
    listed = cli.ok("endpoint", "releases", idle).out.splitlines()
    assert [line.split()[0] for line in listed] == ["NUMBER", "2", "1"]
    assert "owner" in listed[1]
    assert cli.ok("endpoint", "roll-back", idle, "1", "--json").json["env"] == {}
    assert cli("endpoint", "roll-back", idle, "1").status == 3
    assert cli.ok("endpoint", "pause", idle).out == f"paused {idle}\n"
    assert cli.ok("endpoint", "resume", idle).out == f"resumed {idle}\n"


def test_limits(cli: Cli) -> None:
    """Ranges are listed with unit and reason."""
    assert "slots" in cli.ok("endpoint", "limits").out


# ── templates, credentials ────────────────────────────────────────────────────────────────────────────────────────────


def test_templates(cli: Cli, idle: str, name: str, tmp_path: Path) -> None:
    """A template is taken from an endpoint or from its document, and used for another."""
    cli.ok("template", "create", f"{idle}-t", "--endpoint", idle)
    cli.ok("endpoint", "create", f"{idle}-2", "--template", f"{idle}-t", "--slots", "7")
    assert cli.ok("endpoint", "show", f"{idle}-2", "--json").json["command"] == "sleep 600"
    file = tmp_path / "endpoint.toml"
    cli.ok("endpoint", "export", idle, "-o", str(file))
    cli.ok("template", "create", f"{idle}-u", "-f", str(file))
    assert tomllib.loads(cli.ok("template", "show", f"{idle}-u").out)["command"] == "sleep 600"
    assert f"{idle}-u" in cli.ok("template", "ls").out
    assert cli("template", "create", "x").status == 2
    cli.ok("template", "delete", f"{idle}-u")


def test_credentials(cli: Cli, name: str) -> None:
    """A password comes from standard input and is never printed; a credential is listed, tested, changed and deleted."""
    create = ("credential", "create", name, "--registry", "127.0.0.1:1", "--username", "me")
    assert cli(*create).status == 2
    assert cli.ok(*create, "--password-stdin", stdin=b"hush\n").out.startswith(f"stored {name} (cred-")
    assert cli("credential", "test", name).status == 6
    cli.ok("credential", "update", name, "--username", "you")
    listed = cli.ok("credential", "ls", "--json").out + cli.ok("credential", "show", name).out
    assert "you" in listed
    assert "hush" not in listed
    cli.ok("credential", "delete", name)


# ── members, audit, the machine of the server ─────────────────────────────────────────────────────────────────────────


def test_members_and_audit(cli: Cli, name: str) -> None:
    """A member is added, changed and removed, and the audit log tells it with who and what."""
    member = cli.ok("member", "add", name, "--role", "reader", "--json").json["id"]
    cli.ok("member", "update", name, "--role", "developer")
    assert "developer" in next(line for line in cli.ok("member", "ls").out.splitlines() if member in line)
    secret = cli.ok("key", "create", "theirs", "--scope", "manage", "--member", name, "--expires-in", "60").out
    assert secret.startswith("sk_")
    key = next(one for one in cli.ok("key", "ls", "--json").json["keys"] if one["member"]["id"] == member)
    assert cli.ok("key", "rotate", key["id"], "--grace", "0").out != secret
    cli.ok("member", "remove", member, "--yes")
    lines = cli.ok("audit", "ls", "--thing", member, "--json").json["lines"]
    assert [line["action"] for line in lines] == ["deleted", "changed", "created"]
    shown = cli.ok("audit", "show", str(lines[1]["number"])).out
    assert "owner, with the key" in shown
    assert "~ role: reader -> developer" in shown
    assert member in cli.ok("audit", "ls").out
    assert cli("audit", "show", "999999999").status == 2


def test_team(cli: Cli) -> None:
    """The team is shown with what the key may do, and renamed."""
    assert "owner" in cli.ok("team", "show").out
    assert cli.ok("team", "rename", "default").out == "renamed to default\n"


@pytest.mark.slow
def test_another_team_on_the_machine_of_the_server(
    cli: Cli, live: LiveServer, idle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A team made beside a running server has an owner whose key works at once, and sees nothing of others."""
    secret = cli.ok("team", "create", "others", "--owner", "ann", "--data-dir", str(live.data_dir)).out.strip()
    monkeypatch.setenv("STOKER_API_KEY", secret)
    assert "others" in cli.ok("team", "show").out
    assert cli.ok("endpoint", "ls", "--json").json == {"endpoints": []}
    assert [line["member"]["name"] for line in cli.ok("audit", "ls", "--json").json["lines"]] == ["the server"] * 3


@pytest.mark.slow
def test_secrets_are_rotated_beside_a_running_server(cli: Cli, live: LiveServer, name: str) -> None:
    """After a rotation the running server goes on to open what is sealed, and to seal."""
    body = ("credential", "create", name, "--registry", "127.0.0.1:1", "--username", "me", "--password-stdin")
    cli.ok(*body, stdin=b"hush\n")
    assert "sealed anew" in cli.ok("secrets", "rotate", "--data-dir", str(live.data_dir)).out
    assert cli("credential", "test", name).status == 6  # it was opened, and the registry is not there
    cli.ok("credential", "update", name, "--password-stdin", stdin=b"hush again\n")
    assert "registry_unreachable" in cli("credential", "test", name, "--json").err


@pytest.mark.slow
def test_images_are_looked_for(cli: Cli, tmp_path: Path) -> None:
    """An image that workers could have is said to be there, and what is wrong with another."""
    (tmp_path / "run").write_text("#!/bin/sh\n")
    (tmp_path / "run").chmod(0o755)
    check = ("image", "check", f"dir:{tmp_path}", "--command")
    assert cli.ok(*check, "./run").out == f"dir:{tmp_path}: workers can be started from it\n"
    assert cli.ok(*check, "./run", "--json").json["digest"] == ""
    assert "no program" in cli(*check, "./walk").err
    assert cli("image", "check", f"dir:{tmp_path}", "--credential", "nobody").status == 4


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(cli: Cli, shell: str) -> None:
    """Every shell gets a script that asks the command itself."""
    assert "_STOKER_COMPLETE" in cli.ok("completion", shell).out


def test_settings_and_about(cli: Cli) -> None:
    """What the server was told is listed, with where it came from and without secrets; and what is shipped, with its licences."""
    found = cli.ok("settings").out
    assert re.search(r"^runtime +process +environment", found, re.MULTILINE)
    assert re.search(r"^bootstrap_key +\(secret\) +environment", found, re.MULTILINE)
    assert "session_s" not in found
    assert re.search(r"^session_s +\d+ +default", cli.ok("settings", "--all").out, re.MULTILINE)
    about = cli.ok("about")
    assert re.search(r"^fastapi +[\d.]+ +MIT +server", about.out, re.MULTILINE)
    assert about.err.startswith("Stoker ")
