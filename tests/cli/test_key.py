"""`stoker key`, and who may do what."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Cli


def test_secret_is_printed_alone_and_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`key create` prints the secret alone on standard output; it works, and no list shows it."""
    secret = cli.ok("key", "create", "reader", "--scope", "read").out.strip()
    listed = cli.ok("key", "ls", "--json").out + cli.ok("key", "ls").out
    assert secret not in listed
    monkeypatch.setenv("STOKER_API_KEY", f" {secret}\n")
    cli.ok("endpoint", "ls")


def test_endpoints_of_a_key_by_name(cli: Cli, idle: str) -> None:
    """A list of keys says which endpoints a key is for, by their names."""
    made = cli.ok("key", "create", "bound", "--scope", "run", "--endpoint", idle, "--json").json
    line = next(line for line in cli.ok("key", "ls").out.splitlines() if line.startswith(made["id"]))
    assert f" {idle} " in line


def test_rates(cli: Cli, idle: str) -> None:
    """A rate is set by a number and taken away by `default`; lists show it; what is neither is status 2."""
    made = cli.ok("key", "create", "slow", "--scope", "run", "--json").json
    assert "20 requests to /run in 10 s" in cli.ok("rate", "key", made["id"], "20").out
    line = next(line for line in cli.ok("key", "ls").out.splitlines() if line.startswith(made["id"]))
    assert line.split()[-1] == "20"
    assert cli.ok("rate", "endpoint", idle, "500", "--json").json["rate"] == 500
    assert cli.ok("endpoint", "show", idle, "--json").json["rate"] == 500
    assert cli.ok("rate", "endpoint", idle, "default").out.endswith("no rate of its own\n")
    assert cli("rate", "endpoint", idle, "many").status == 2


def test_missing_scope_is_status_5(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key without the scope is refused with status 5 and the command that makes a better one."""
    monkeypatch.setenv("STOKER_API_KEY", cli.ok("key", "create", "reader", "--scope", "read").out.strip())
    ran = cli("key", "ls")
    assert ran.status == 5
    assert "  next: use a key with the scope 'admin'" in ran.err


def test_revoked_key_is_status_5(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A revoked key opens nothing any more."""
    made = cli.ok("key", "create", "short-lived", "--scope", "run", "--scope", "read", "--json").json
    assert cli.ok("key", "revoke", made["id"]).out == f"revoked short-lived ({made['id']})\n"
    monkeypatch.setenv("STOKER_API_KEY", made["secret"])
    assert cli("endpoint", "ls").status == 5


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_missing_key_says_what_to_set(cli: Cli, monkeypatch: pytest.MonkeyPatch, nothing: str | None) -> None:
    """Without a key nothing is sent, and the error names the variable and where a key comes from."""
    monkeypatch.delenv("STOKER_API_KEY")
    if nothing is not None:
        monkeypatch.setenv("STOKER_API_KEY", nothing)
    ran = cli("endpoint", "ls")
    assert ran.status == 5
    assert "export STOKER_API_KEY=" in ran.err
    assert "stoker key create" in ran.err
    assert json.loads(cli("endpoint", "ls", "--json").err)["code"] == "api_key_missing"


def test_key_that_no_header_can_carry_is_misuse(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with a line break or an umlaut inside is a mistake of typing."""
    for odd in ("sk_ä", "sk_a\nb"):
        monkeypatch.setenv("STOKER_API_KEY", odd)
        assert cli("endpoint", "ls").status == 2


def test_scope_is_required_and_known(cli: Cli) -> None:
    """A key without scopes, or with one that does not exist, is misuse."""
    assert cli("key", "create", "x").status == 2
    assert cli("key", "create", "x", "--scope", "root").status == 2
