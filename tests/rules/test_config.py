"""Settings: which source wins, what is refused, and what follows from the address."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stoker.config import CLIENT_VARIABLES, Settings, load, shown
from stoker.errors import InvalidInput

NUMBERS = [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)]
BOUNDS = {"ge": -1, "gt": 0, "le": 1, "lt": 0}
"""What leads from the end of a range to the first number that is outside."""
OUTSIDE = [
    (name, getattr(bound, end) + step)
    for name in NUMBERS
    for bound in Settings.model_fields[name].metadata
    for end, step in BOUNDS.items()
    if hasattr(bound, end)
]

TLS = {"STOKER_TLS_CERTIFICATE": "/tls/c.pem", "STOKER_TLS_KEY": "/tls/k.pem"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a configuration may be written."""
    return tmp_path / "stoker.toml"


def refusal(environ: Mapping[str, str], file: Path | None = None) -> InvalidInput:
    """Why `load` refuses."""
    with pytest.raises(InvalidInput) as caught:
        load(file, environ=environ)
    assert caught.value.code == "invalid_setting"
    return caught.value


def test_without_sources_there_are_defaults() -> None:
    """Nothing has to be configured."""
    assert load(environ={}) == Settings()


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another environment, the one of the process counts."""
    monkeypatch.setenv("STOKER_PORT", "8701")
    assert load().port == 8701


def test_the_order_of_the_sources(file: Path) -> None:
    """The environment wins over the file, the command line over both; an option that was not given is no word."""
    file.write_text('port = 1\nhost = "10.0.0.1"\nlog_level = "error"\n')
    environ = {"STOKER_PORT": "2", "STOKER_HOST": "10.0.0.2"}
    settings = load(file, environ=environ, overrides={"port": 3, "host": None})
    assert (settings.port, settings.host, settings.log_level) == (3, "10.0.0.2", "error")


def test_where_settings_come_from(file: Path) -> None:
    """Each setting is shown with the source that won; a secret one without its value."""
    file.write_text('port = 1\nhost = "10.0.0.1"\nbootstrap_key = "sk_hush"\n')
    settings = load(file, environ={"STOKER_HOST": "10.0.0.2"}, overrides={"port": 3})
    told = {one["name"]: one for one in shown(settings)}
    assert list(told) == list(Settings.model_fields)
    assert [(told[name]["value"], told[name]["origin"]) for name in ("port", "host", "lease_s")] == [
        (3, "command_line"),
        ("10.0.0.2", "environment"),
        (Settings().lease_s, "default"),
    ]
    key = told["bootstrap_key"]
    assert (key["value"], key["is_set"], key["secret"], key["origin"]) == (None, True, True, "file")
    assert [name for name, one in told.items() if one["secret"]] == [
        name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
    ]
    assert "hush" not in str(told)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_its_variable(name: str) -> None:
    """Each setting can be given as STOKER_ and its name in capitals, as docs/reference/settings.md says."""
    default = getattr(Settings(), name)
    samples = {"database": "postgresql://host/name", "specifications": "[]"}
    text = samples.get(name) or ("some text" if default is None else str(default))
    beside = TLS | {"STOKER_WORKER_URL": "http://a"} if name.startswith("tls_") else {}
    assert name in load(environ=beside | {f"STOKER_{name.upper()}": text}).model_fields_set


def test_unknown_settings_are_refused(file: Path) -> None:
    """A typing mistake is not silently ignored, neither in the file nor in the environment."""
    file.write_text("prot = 8700\n")
    assert refusal({}, file).field == "prot"
    error = refusal({"STOKER_PROT": "8700"})
    assert error.field == "prot"
    assert "prot" in error.message
    assert "settings.md" in (error.next_step or "")
    with pytest.raises(InvalidInput, match="prot"):
        load(environ={}, overrides={"prot": 1})


def test_variables_of_others_are_left_alone() -> None:
    """Variables without our prefix, and those of the client, are no settings."""
    others = dict.fromkeys(CLIENT_VARIABLES, "x") | {"PORT": "1", "NOT_STOKER_PORT": "1"}
    assert load(environ=others) == Settings()


@pytest.mark.parametrize(("name", "value"), OUTSIDE)
def test_numbers_have_ranges(name: str, value: float) -> None:
    """The first number outside a range is refused, and the error names the setting."""
    assert refusal({f"STOKER_{name.upper()}": str(value)}).field == name


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["many", "", "-1"])
def test_numbers_are_numbers(name: str, text: str) -> None:
    """Every number has a range, no range goes below zero, and text is no number."""
    assert refusal({f"STOKER_{name.upper()}": text}).field == name


@pytest.mark.parametrize(("name", "text"), [("runtime", "podman"), ("log_level", "loud"), ("log_format", "xml")])
def test_words_are_chosen_from_a_list(name: str, text: str) -> None:
    """A setting with a list of words takes no other."""
    assert refusal({f"STOKER_{name.upper()}": text}).field == name


def test_specifications_are_declared(file: Path) -> None:
    """Tables of the file and JSON of the environment declare the same; a name that is left out is the id."""
    file.write_text(
        '[[specifications]]\nid = "big"\ngpu = "H100"\nprice_per_hour = 2.5\n[specifications.node_selector]\na = "b"\n'
    )
    (one,) = load(file, environ={}).specifications_declared
    assert (one.id, one.name, one.gpu, one.price_per_hour, one.node_selector) == ("big", "big", "H100", 2.5, {"a": "b"})
    text = '[{"id": "big", "gpu": "H100", "price_per_hour": 2.5, "node_selector": {"a": "b"}}]'
    assert load(environ={"STOKER_SPECIFICATIONS": text}).specifications_declared == (one,)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("GPU", "specifications"),
        ('[{"id": "a"}, {"id": "a"}]', "specifications"),
        ('[{"name": "a"}]', "specifications.0.id"),
        ('[{"id": "a b"}]', "specifications.0.id"),
        ('[{"id": "a", "price_per_hour": -1}]', "specifications.0.price_per_hour"),
        ('[{"id": "a", "prize": 1}]', "specifications.0.prize"),
    ],
)
def test_specifications_that_are_none(text: str, field: str) -> None:
    """What is no list of tables, has no id, or two with one, and keys that do not exist are refused by name."""
    assert refusal({"STOKER_SPECIFICATIONS": text}).field == field


def test_a_refusal_does_not_repeat_a_secret(file: Path) -> None:
    """The key is in no error and in no printed settings."""
    file.write_text('bootstrap_key = ["sk_secret"]\n')
    assert "sk_secret" not in str(refusal({}, file))
    settings = load(environ={"STOKER_BOOTSTRAP_KEY": "sk_secret"})
    assert "sk_secret" not in repr(settings)
    assert settings.bootstrap_key is not None
    assert settings.bootstrap_key.get_secret_value() == "sk_secret"


@pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe", b"port = 1\nport = 2\n"])
def test_a_file_that_is_no_toml_is_refused(file: Path, content: bytes) -> None:
    """A configuration that cannot be read is refused, and the error names the file."""
    file.write_bytes(content)
    assert str(file) in refusal({}, file).message


def test_a_missing_file_is_refused(file: Path) -> None:
    """A file that was named must exist."""
    assert str(file) in refusal({}, file).message


def test_settings_do_not_change() -> None:
    """Settings are read once and handed on as values."""
    settings: Any = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("example.com", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_loopback_addresses(host: str, loopback: bool) -> None:
    """Only an address that no other machine can reach is a loopback; a name is looked up by nobody."""
    assert load(environ={"STOKER_HOST": host}).on_loopback is loopback


def test_several_processes_need_postgresql() -> None:
    """A SQLite file has one server: more are refused before anything starts, with what to do instead."""
    with pytest.raises(InvalidInput) as caught:
        load(environ={"STOKER_PROCESSES": "2"})
    assert (caught.value.code, caught.value.field) == ("processes_need_postgresql", "processes")
    assert caught.value.next_step
    assert load(environ={"STOKER_PROCESSES": "2", "STOKER_DATABASE": "postgresql://db/stoker"}).processes == 2


@pytest.mark.parametrize(
    ("environ", "code"),
    [
        ({"STOKER_TLS_KEY": "/tls/k.pem"}, "invalid_setting"),
        ({"STOKER_TLS_CERTIFICATE": "/tls/c.pem"}, "invalid_setting"),
        (TLS, "no_worker_door"),
        (TLS | {"STOKER_WORKER_LISTEN": "8701"}, "invalid_setting"),
        (TLS | {"STOKER_WORKER_LISTEN": "127.0.0.1:0"}, "invalid_setting"),
    ],
)
def test_tls_is_whole(environ: dict[str, str], code: str) -> None:
    """TLS needs a certificate, its key, and a way for workers."""
    with pytest.raises(InvalidInput) as refused:
        load(environ=environ)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("listen", "door"),
    [("127.0.0.1:8701", ("127.0.0.1", 8701)), ("[::1]:8701", ("::1", 8701)), ("0.0.0.0:1", ("0.0.0.0", 1)), ("", None)],
)
def test_door_of_workers(listen: str, door: tuple[str, int] | None) -> None:
    """The address for workers, in IPv4 and IPv6, is where they come; without one it is where everybody does."""
    settings = load(environ={"STOKER_WORKER_LISTEN": listen, "STOKER_HOST": "10.0.0.1"})
    assert settings.worker_door == door
    assert settings.worker_host == (door[0] if door else "10.0.0.1")
    assert settings.workers_on_loopback is (listen in ("127.0.0.1:8701", "[::1]:8701"))
