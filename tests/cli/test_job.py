"""`stoker job` against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.live import LiveServer, until


def submitted(cli: Cli, endpoint: str, *words: str) -> str:
    """The id of a new job."""
    return cli.ok("job", "run", endpoint, "-d", "{}", *words).out.strip()


# ── jobs that a worker runs ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_run_and_wait_prints_the_output_alone(cli: Cli, hello: str) -> None:
    """`run --wait` prints the output as JSON on standard output and nothing else anywhere."""
    ran = cli.ok("job", "run", hello, "-d", '{"prompt": "wörld", "seconds": 0}', "--wait")
    assert ran.json == {"greeting": "Hello, wörld!", "seconds": 0}
    assert "wörld" in ran.out
    assert ran.err == ""


@pytest.mark.slow
def test_failed_job_is_status_1(cli: Cli, hello: str) -> None:
    """A job that fails leaves standard output empty, tells its error, and is status 1."""
    ran = cli("job", "run", hello, "-d", '{"nobody": 1}', "--wait")
    assert (ran.status, ran.out) == (1, "")
    assert "failed" in ran.err
    assert "input needs a name" in ran.err
    assert "  next: stoker job logs " in ran.err


@pytest.mark.slow
def test_failed_job_as_json(cli: Cli, hello: str) -> None:
    """With --json a failed job is printed like any other; the error is JSON too and the status is still 1."""
    ran = cli("job", "run", hello, "-d", "{}", "--wait", "--json")
    assert ran.status == 1
    assert ran.json["state"] == "failed"
    assert json.loads(ran.err)["code"] == "job_not_completed"


@pytest.mark.slow
def test_json_is_what_the_api_says(cli: Cli, live: LiveServer, hello: str) -> None:
    """`--json` prints exactly the API's JSON."""
    job = live.run(hello, {"prompt": "x", "seconds": 0})
    live.finished(job)
    routes = {
        ("job", "show", job): f"/api/jobs/{job}",
        ("job", "status", job): f"/api/jobs/{job}",
        ("job", "why", job): f"/api/jobs/{job}/why",
        ("job", "input", job): f"/api/jobs/{job}/input",
        (
            "job",
            "ls",
            hello,
            "--state",
            "completed",
            "--limit",
            "1",
        ): f"/api/endpoints/{hello}/jobs?state=completed&limit=1",
    }
    for words, route in routes.items():
        assert cli.ok(*words, "--json").json == live.api.get(route).json(), words


@pytest.mark.slow
def test_show_tells_the_life_of_a_job(cli: Cli, live: LiveServer, hello: str) -> None:
    """`show` has facts and a timeline that begins with the submission and ends with the end."""
    job = live.run(hello, {"prompt": "x", "seconds": 0})
    live.finished(job)
    out = cli.ok("job", "show", job).out
    facts, timeline = out.split("\n\n")
    assert "Hello, x!" in facts
    head, first, *_, last = timeline.splitlines()
    assert head.split() == ["AFTER", "STATE", "WHAT", "HAPPENED"]
    assert first.startswith("+0.000 s  queued ")
    assert "completed" in last


@pytest.mark.slow
def test_followed_log_is_the_whole_log_once(cli: Cli, live: LiveServer, hello: str) -> None:
    """`logs -f` ends with the job and has printed each line once, up to its end: the worker may have a last word after it."""
    job = live.run(hello, {"prompt": "x", "seconds": 1.5})
    followed = cli.ok("job", "logs", job, "-f").out
    assert cli.ok("job", "logs", job).out.startswith(followed)
    assert "Started" in followed


@pytest.mark.slow
def test_log_as_json_is_a_record_a_line(cli: Cli, live: LiveServer, hello: str) -> None:
    """`logs --json` prints the API's lines: time, text and worker."""
    job = live.run(hello, {"prompt": "x", "seconds": 0})
    live.finished(job)
    lines = [json.loads(line) for line in cli.ok("job", "logs", job, "--json").out.splitlines()]
    assert lines
    assert all(set(line) == {"at_ms", "text", "worker"} for line in lines)


@pytest.mark.slow
def test_retry_runs_it_again(cli: Cli, live: LiveServer, hello: str) -> None:
    """`retry` queues a failed job again, with its id."""
    job = live.run(hello, {})
    live.finished(job)
    assert cli.ok("job", "retry", job, "--json").json["id"] == job
    assert cli("job", "wait", job).status == 1


# ── jobs that wait ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_run_prints_the_id(cli: Cli, idle: str) -> None:
    """Without --wait the id alone goes to standard output, and what to do next to standard error."""
    ran = cli.ok("job", "run", idle, "-d", "{}")
    job = ran.out.strip()
    assert ran.err == f"  next: stoker job wait {job}\n"
    assert cli.ok("job", "status", job).out.startswith("queued: ")


def test_wait_that_times_out_is_status_7(cli: Cli, idle: str) -> None:
    """A wait that ends before the job is status 7, says why the job waits and how to go on; the job stays."""
    ran = cli("job", "run", idle, "-d", "{}", "--wait", "--timeout", "0")
    assert (ran.status, ran.out) == (7, "")
    job = ran.err.split("stoker job wait ")[1].strip()
    assert "goes on: queued: " in ran.err
    assert cli("job", "wait", job, "--timeout", "0").status == 7
    assert cli.ok("job", "show", job, "--json").json["state"] == "queued"


@pytest.mark.slow
def test_wait_ends_when_somebody_cancels(cli: Cli, live: LiveServer, idle: str) -> None:
    """A cancelled job ends a wait for it with status 1."""
    job = submitted(cli, idle)
    live.api.post(f"/api/jobs/{job}/cancel").raise_for_status()
    ran = cli("job", "wait", job)
    assert ran.status == 1
    assert f"job {job} cancelled" in ran.err


@pytest.mark.parametrize(
    "text", ['{"a": 1}', "[1, 2.50, 1e400]", '"é\u2028"', "null", "12345678901234567890.000000001"]
)
@pytest.mark.parametrize("way", ["word", "file", "stdin"])
def test_input_travels_as_it_was_written(
    cli: Cli, live: LiveServer, idle: str, tmp_path: Path, text: str, way: str
) -> None:
    """Input from a word, a file or standard input reaches the server; no number is rounded on the way."""
    (tmp_path / "input.json").write_text(text, "utf-8")
    data = {"word": text, "file": f"@{tmp_path}/input.json", "stdin": "-"}[way]
    key = f"{idle}-{way}"
    first = cli.ok("job", "run", idle, "-d", data, "--idempotency-key", key, stdin=text.encode()).out
    again = live.api.post(
        f"/api/endpoints/{idle}/jobs",
        content=f'{{"input":{text}}}'.encode(),
        headers={"Idempotency-Key": key},
    )
    assert again.status_code == 200, "the same key with the same input is the same job; with another it is refused"
    assert again.json()["id"] == first.strip()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{x", "line 1 column 2"),
        ("", "not JSON"),
        ("NaN", "NaN is not JSON"),
        ("@/nowhere/at/all", "cannot read /nowhere/at/all: No such file or directory"),
        ("-", "not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_input_that_is_not_json_is_misuse(cli: Cli, idle: str, data: str, said: str) -> None:
    """Input that is not JSON is status 2 with the place of the mistake, and no job is made."""
    ran = cli("job", "run", idle, "-d", data, stdin=b"\xff")
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err
    assert cli.ok("job", "ls", idle, "--json").json == {"jobs": [], "next": None}


def test_policy_of_a_job(cli: Cli, idle: str) -> None:
    """--low-priority and --ttl reach the job."""
    job = cli.ok("job", "run", idle, "-d", "{}", "--low-priority", "--ttl", "100", "--json").json
    assert job["low_priority"] is True
    assert job["expires_ms"] - job["created_ms"] == 100_000


def test_execution_timeout_is_checked_by_the_server(cli: Cli, idle: str) -> None:
    """--execution-timeout is in seconds and refused by the server when it is out of range."""
    ran = cli("job", "run", idle, "-d", "{}", "--execution-timeout", "1")
    assert ran.status == 3
    assert "executionTimeout" in ran.err or "execution_timeout" in ran.err


def test_timeout_without_wait_is_misuse(cli: Cli, idle: str) -> None:
    """--timeout says nothing without --wait, so it is refused."""
    assert cli("job", "run", idle, "-d", "{}", "--timeout", "3").status == 2


def test_list_and_states(cli: Cli, idle: str) -> None:
    """`ls` shows jobs newest first, and with --state only those in it."""
    older, newer = submitted(cli, idle), submitted(cli, idle)
    cli.ok("job", "cancel", older)
    assert [line.split()[0] for line in cli.ok("job", "ls", idle).out.splitlines()[1:]] == [newer, older]
    assert [job["id"] for job in cli.ok("job", "ls", idle, "--state", "cancelled", "--json").json["jobs"]] == [older]
    assert cli.ok("job", "ls", idle, "--state", "completed").err == "no such jobs\n"


def test_why(cli: Cli, idle: str) -> None:
    """`why` is one sentence."""
    job = submitted(cli, idle)
    assert until(lambda: "worker" in cli.ok("job", "why", job).out, what="the autoscaler's reason")
    cli.ok("job", "cancel", job)
    assert cli.ok("job", "why", job).out == "cancelled: a client cancelled it\n"


def test_purge(cli: Cli, idle: str) -> None:
    """`queue purge --yes` cancels what is queued and says how much that was; without --yes a script gets nothing."""
    submitted(cli, idle)
    assert cli("queue", "purge", idle).status == 2
    assert cli.ok("queue", "purge", idle, "--yes").out == "removed 1 queued job\n"
    submitted(cli, idle)
    submitted(cli, idle)
    assert cli.ok("queue", "purge", idle, "--yes", "--json").json == {"removed": 2}


@pytest.mark.parametrize("verb", ["status", "show", "why", "input", "logs", "cancel", "retry", "wait"])
def test_unknown_job_is_status_4(cli: Cli, verb: str) -> None:
    """Every command about a job says when there is none, with status 4; with --json as the API's error."""
    assert cli("job", verb, "nothing").status == 4
    ran = cli("job", verb, "nothing", "--json")
    assert (ran.status, ran.out) == (4, "")
    assert json.loads(ran.err).keys() == {"error", "code", "field", "next_step"}


def test_many_at_once(cli: Cli, live: LiveServer, idle: str) -> None:
    """Jobs are listed, cancelled and retried by what is known of them; all of them can be exported."""
    older, newer = live.run(idle, 1), live.run(idle, 2)
    assert [job["id"] for job in cli.ok("job", "ls", idle, "--limit", "1", "--json").json["jobs"]] == [newer]
    assert [job["id"] for job in cli.ok("job", "ls", idle, "--all", "--json").json["jobs"]] == [newer, older]
    assert cli.ok("job", "ls", idle, "--text", older, "--waited", "0").err == "no such jobs\n"

    assert "no views yet" in cli.ok("view", "ls").err
    assert cli.ok("view", "save", "the older", "--text", older).out == "saved the older\n"
    assert f"text {older}" in cli.ok("view", "ls").out
    shown = cli.ok("job", "ls", idle, "--view", "the older", "--json").json["jobs"]
    assert [job["id"] for job in shown] == [older]
    assert cli.ok("job", "ls", idle, "--view", "the older", "--state", "completed").err == "no such jobs\n"
    assert cli("job", "ls", idle, "--view", "another").status == 4
    assert cli.ok("view", "rm", "the older").out == "removed the older\n"
    assert cli("view", "rm", "the older").status == 4
    assert cli.ok("job", "cancel-all", idle, "--text", older, "--yes").out == "1 cancelled\n"
    assert cli.ok("job", "cancel-all", idle, "--state", "queued", "--yes", "--json").json["jobs"] == [newer]
    assert cli.ok("job", "retry-all", idle, "--yes").out == "0 queued again\n"
