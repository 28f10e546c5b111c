"""What the command line says when the server is down, broken, slow, or not Stoker."""

from __future__ import annotations

import json

import pytest

from stoker.client import Client
from stoker.errors import Unavailable
from tests.cli.conftest import Cli
from tests.cli.faults import FaultyServer, breaks_off, pauses, says, silence


def at(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line, talking to whatever is there."""
    return Cli(url, capsys, monkeypatch)


def test_no_server_is_status_6(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there is status 6, and the next step says how to start one."""
    with FaultyServer(silence) as was_there:
        url = was_there.url
    cli = at(url, capsys, monkeypatch)
    ran = cli("endpoint", "ls")
    assert (ran.status, ran.out) == (6, "")
    assert ran.err.startswith(f"error: cannot reach Stoker at {url}")
    assert "stoker serve" in ran.err
    assert "STOKER_URL" in ran.err
    assert json.loads(cli("endpoint", "ls", "--json").err)["code"] == "unreachable"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, '{"error":"internal error","code":"internal"}', "error: internal error"),
        (503, '{"error":"the server is stopping","code":"unavailable","next_step":"wait"}', "  next: wait"),
        (502, "<html>Bad Gateway</html>", "HTTP 502"),
        (200, "<html>Welcome</html>", "without Stoker's JSON"),
        (307, "", "HTTP 307"),
    ],
)
def test_failure_and_stranger_are_status_6(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, status: int, body: str, said: str
) -> None:
    """A server that fails, and one that is no Stoker, are status 6 with what is known."""
    with FaultyServer(says(status, body)) as server:
        ran = at(server.url, capsys, monkeypatch)("endpoint", "ls")
    assert (ran.status, ran.out) == (6, "")
    assert said in ran.err


def test_refusal_without_words_is_not_a_refusal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 404 that is not Stoker's says nothing about the endpoint: it is status 6, not 4."""
    with FaultyServer(says(404, '{"detail":"Not Found"}')) as server:
        ran = at(server.url, capsys, monkeypatch)("endpoint", "show", "hello")
    assert ran.status == 6
    assert "HTTP 404" in ran.err


def test_control_characters_of_a_server_stay_off_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error is one line without control characters, whoever wrote it."""
    with FaultyServer(says(409, json.dumps({"error": "a\n\x1b[31mb", "code": "conflict"}))) as server:
        ran = at(server.url, capsys, monkeypatch)("endpoint", "ls")
    assert (ran.status, ran.err) == (3, "error: a  [31mb\n")


def test_json_survives_half_a_surrogate_pair(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever JSON can say is printed as JSON, although no encoding has letters for half a pair."""
    with FaultyServer(says(200, '{"endpoints": "\\ud800 é"}')) as server:
        ran = at(server.url, capsys, monkeypatch).ok("endpoint", "ls", "--json")
    assert ran.out == '{\n  "endpoints": "\\ud800 é"\n}\n'
    assert ran.json == {"endpoints": "\ud800 é"}


def test_silence_ends() -> None:
    """A server that accepts and never answers is given up, with the warning that it may have acted."""
    with (
        FaultyServer(silence) as server,
        Client(server.url, "sk_x", patience_s=0.2) as client,
        pytest.raises(Unavailable, match="did not answer in time") as raised,
    ):
        client.endpoints()
    assert raised.value.code == "no_answer"


@pytest.mark.slow
def test_followed_log_may_pause() -> None:
    """Who follows a log waits for its next line however long it takes; who reads one gives up."""
    with FaultyServer(pauses) as server, Client(server.url, "sk_x", patience_s=0.2) as client:
        assert [line["text"] for line in client.worker_logs("w", tail=1, follow=True)] == ["first", "last"]
        with pytest.raises(Unavailable):
            list(client.worker_logs("w", tail=1, follow=False))


def test_half_an_answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that breaks in the middle of an answer is status 6."""
    with FaultyServer(breaks_off) as server:
        ran = at(server.url, capsys, monkeypatch)("endpoint", "ls")
    assert ran.status == 6
    assert "broke" in ran.err


def test_half_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that came before a log broke off are printed; the break is status 6."""
    with FaultyServer(breaks_off) as server:
        ran = at(server.url, capsys, monkeypatch)("worker", "logs", "w")
    assert (ran.status, ran.out) == (6, "half\n")


@pytest.mark.parametrize("url", ["127.0.0.1:8700", "ftp://box", "http://", "http://[::1"])
def test_url_that_is_none_is_misuse(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """A URL that cannot be one is status 2."""
    assert at(url, capsys, monkeypatch)("endpoint", "ls").status == 2


def test_proxy_does_not_come_between_this_machine_and_itself(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on a loopback address is reached directly, whatever HTTP_PROXY says."""
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    cli.ok("endpoint", "ls")
