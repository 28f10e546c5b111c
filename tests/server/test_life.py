"""The server as a process: its first start, its orderly stop, and what survives when it is killed."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.live import KEY, LiveServer, until
from tests.server.conftest import WORKERS

pytestmark = pytest.mark.slow

COMMAND = f"{sys.executable} -u light.py"


def states(live: LiveServer, name: str, *, gone: int = 0) -> list[str]:
    """The states of the endpoint's workers."""
    return [worker["state"] for worker in live.workers(name, gone=gone)]


def test_readyz_says_ready(live: LiveServer) -> None:
    """A server that accepts jobs answers 200, without a key, with every check in words."""
    answer = httpx.get(f"{live.url}/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert set(answer.json()["checks"]) == {"server", "clock", "store", "loops", "disk", "runtime"}
    assert all(check["ok"] and check["text"] for check in answer.json()["checks"].values())


def test_first_start_prints_a_key_once(tmp_path: Path) -> None:
    """Without a chosen key the first start makes one and prints it; the second start does not."""
    data = tmp_path / "data"
    words = [str(Path(sys.executable).with_name("stoker")), "serve", "--port", "0", "--data-dir", str(data)]
    keys = []
    for _start in range(2):
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            lines = iter(server.stdout.readline, "")
            first = next(lines)
            if first.startswith("Admin API key"):
                keys.append(first.split()[-1])
                first = next(lines)
            url = first.split()[-1]
            answer = httpx.get(f"{url}/api/me", headers={"Authorization": f"Bearer {keys[0]}"})
            assert answer.json()["key"]["scopes"] == ["admin"]
            server.send_signal(signal.SIGTERM)
            assert server.wait() == 0
    assert len(keys) == 1


def test_scale_from_zero_and_back(on_each_database: LiveServer) -> None:
    """The first job starts a worker; once idle for the idle timeout it goes, and says why."""
    live = on_each_database
    live.create("a", image=WORKERS, command=COMMAND, idle_timeout_s=1)
    assert live.finished(live.run("a", {"echo": [1, "ü"]}))["output"] == [1, "ü"]
    until(lambda: states(live, "a") == [], what="scale to zero")
    (worker,) = live.workers("a", gone=5)
    assert (worker["state"], worker["reason"]) == ("gone", "scaled_down")
    assert "idle" in worker["detail"]


def test_a_followed_log_goes_with_its_job(live: LiveServer) -> None:
    """Who follows a job from before its start reads what each of its workers printed about it, no line twice, until it has ended;
    `since_ms` leaves out what is older, and all of it is still there when the workers are gone."""
    live.create("a", image=WORKERS, command=f"{sys.executable} -u handler.py", retries=1, max_workers=1)
    job = live.run("a", {"hold_s": 1, "die": 3})
    path = f"/api/jobs/{job}/logs"
    with live.api.stream("GET", path, params={"follow": True}, timeout=None) as answer:
        followed = [json.loads(line) for line in answer.iter_lines()]
    assert live.job(job)["state"] == "failed"
    past = [json.loads(line) for line in live.api.get(path).text.splitlines()]
    assert past[: len(followed)] == followed
    assert len({line["worker"] for line in followed}) == 2
    middle = followed[-1]["at_ms"]
    later = [json.loads(line) for line in live.api.get(path, params={"since_ms": middle}).text.splitlines()]
    assert later == [line for line in past if line["at_ms"] >= middle]
    assert len(later) < len(past)


def printed(live: LiveServer, job: str) -> list[str]:
    """The lines of a job's log that the handler printed itself."""
    lines = [json.loads(line)["text"] for line in live.api.get(f"/api/jobs/{job}/logs").text.splitlines()]
    return [line for line in lines if line.startswith("job ")]


def test_what_a_handler_prints_is_its_jobs(live: LiveServer) -> None:
    """What a worker with one slot prints during a job's turn is in the log of that job and of no other, though it bears no mark, and stays
    there when the endpoint gets more slots; of a job that ran with more, nobody can tell, and it is in none."""
    live.create("a", image=WORKERS, command=f"{sys.executable} -u handler.py", max_workers=1)
    jobs = [live.run("a", {"echo": n}) for n in range(3)]
    for job in jobs:
        live.finished(job)
    assert [printed(live, job) for job in jobs] == [[f"job {job} begins"] for job in jobs]
    (worker,) = live.workers("a")
    with live.api.stream("GET", f"/api/jobs/{jobs[0]}/logs", params={"follow": True}, timeout=None) as answer:
        texts = [json.loads(line)["text"] for line in answer.iter_lines()]
    assert f"job {jobs[0]} begins" in texts
    assert f"job {jobs[0]} begins" in live.api.get(f"/api/workers/{worker['id']}/logs").text
    live.api.patch("/api/endpoints/a", json={"slots": 2})
    among_others = live.run("a", {"echo": 3})
    live.finished(among_others)
    assert printed(live, among_others) == []
    assert [printed(live, job) for job in jobs] == [[f"job {job} begins"] for job in jobs]


def test_sigterm_lets_jobs_finish(live: LiveServer, tmp_path: Path) -> None:
    """A stop waits for the running job, keeps the queued one, ends the workers, and exits with 0."""
    gate = tmp_path / "gate"
    live.settings["shutdown_grace_s"] = 30
    live.stop()
    live.start()
    live.create("a", image=WORKERS, command=COMMAND, max_workers=1)
    running = live.run("a", {"hold": str(gate), "echo": "held"})
    until(lambda: live.job(running)["state"] == "running", what="the job to run")
    queued = live.run("a", {"echo": "later"})
    assert live.process is not None
    live.process.send_signal(signal.SIGTERM)
    until(lambda: httpx.get(f"{live.url}/readyz").status_code == 503, what="the server to drain")
    gate.touch()
    assert live.wait() == 0
    live.start()
    assert live.job(running)["output"] == "held"
    assert live.finished(queued)["output"] == "later"


def test_sigterm_gives_jobs_back(live: LiveServer, tmp_path: Path) -> None:
    """A job that outlasts the grace is queued again, runs after the next start, and has used up no retry."""
    gate = tmp_path / "gate"
    live.create("a", image=WORKERS, command=COMMAND, max_workers=1, retries=0)
    job = live.run("a", {"hold": str(gate), "echo": 1})
    until(lambda: live.job(job)["state"] == "running", what="the job to run")
    assert live.stop() == 0
    gate.touch()
    live.start()
    done = live.finished(job)
    assert (done["output"], done["attempt"], done["losses"]) == (1, 2, 0)


def test_kill_9_keeps_workers(live: LiveServer, tmp_path: Path) -> None:
    """A server that is killed finds its workers again, and the result of a job that went on meanwhile is accepted."""
    gate = tmp_path / "gate"
    live.create("a", image=WORKERS, command=COMMAND, max_workers=1)
    job = live.run("a", {"hold": str(gate), "echo": "survived"})
    until(lambda: live.job(job)["state"] == "running", what="the job to run")
    worker = live.job(job)["worker"]
    live.kill()
    gate.touch()
    live.start()
    done = live.finished(job)
    assert (done["output"], done["attempt"], done["worker"]) == ("survived", 1, worker)
    assert live.finished(live.run("a", {"echo": 2}))["worker"] == worker


def test_price_stays_that_of_the_decision(live: LiveServer) -> None:
    """Another price in the settings is for the workers that come: those that are there keep theirs."""
    for price in (0.25, 4):
        live.settings["specifications"] = json.dumps([{"id": "cpu", "slots": 2, "price_per_hour": price}])
        live.kill()
        live.start()
        if price == 0.25:
            live.create("a", image=WORKERS, command=COMMAND, min_workers=1)
        until(lambda: states(live, "a") == ["ready"], what="the worker")
    (worker,) = live.workers("a")
    assert worker["price_per_hour"] == 0.25
    assert live.api.get("/api/endpoints/a").json()["price"] == {
        "specification": "cpu",
        "worker_per_hour": 4,
        "now_per_hour": 0.25,
    }


def test_worker_that_dies_is_noticed_at_once(live: LiveServer) -> None:
    """A worker's death takes its job back at once; after the retry limit the job fails and tells the whole story."""
    live.create("a", image=WORKERS, command=COMMAND, retries=1)
    done = live.finished(live.run("a", {"die": 7}))
    assert (done["state"], done["reason"], done["attempt"]) == ("failed", "retries_exhausted", 2)
    assert done["error"].count("exit code 7") == 2
    assert "attempt 1 on worker" in done["error"]
    assert "attempt 2 on worker" in done["error"]


def test_second_server_is_refused(live: LiveServer) -> None:
    """Two servers never share a data directory: the second says who is in the way and what to do."""
    other = subprocess.run(
        [str(Path(sys.executable).with_name("stoker")), "serve", "--port", "0", "--data-dir", str(live.data_dir)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert other.returncode != 0
    assert "another server uses the data directory" in other.stderr
    assert "--data-dir" in other.stderr


def test_taken_port_is_refused(live: LiveServer, tmp_path: Path) -> None:
    """A port that is in use is an error with the next step, not a traceback."""
    port = live.url.rsplit(":", 1)[1]
    other = subprocess.run(
        [str(Path(sys.executable).with_name("stoker")), "serve", "--port", port, "--data-dir", str(tmp_path / "other")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert other.returncode != 0
    assert "--port" in other.stderr
    assert "Traceback" not in other.stderr


def test_process_runtime_needs_loopback(tmp_path: Path) -> None:
    """A server that others can reach starts no processes unless it is told to, and refuses endpoints with the reason."""
    nobody = f"unix://{tmp_path}/no-engine"
    with LiveServer(tmp_path / "data", host="0.0.0.0", runtime="auto", docker_host=nobody) as live:
        body = {"name": "a", "image": f"dir:{WORKERS}", "command": COMMAND}
        answer = live.api.post("/api/endpoints", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "no_runtime")
        assert "--runtime process" in answer.json()["next_step"]
    with LiveServer(tmp_path / "data", host="0.0.0.0", runtime="process") as live:
        live.create("a", image=WORKERS, command=COMMAND)
        assert live.finished(live.run("a", {"echo": 1}))["output"] == 1


def test_new_release_replaces_workers(live: LiveServer, tmp_path: Path) -> None:
    """After a change of the environment new workers run the new release; the old one finishes its job first."""
    gate = tmp_path / "gate"
    live.create("a", image=WORKERS, command=COMMAND, max_workers=2)
    job = live.run("a", {"hold": str(gate), "echo": "old"})
    until(lambda: live.job(job)["state"] == "running", what="the job to run")
    old = live.job(job)["worker"]
    changed = live.api.patch("/api/endpoints/a", json={"env": {"COLOUR": "blue"}}).json()
    assert changed["release"]["number"] == 2
    newer = live.finished(live.run("a", {"echo": "new"}))
    assert newer["worker"] != old
    gate.touch()
    assert live.finished(job)["output"] == "old"
    until(lambda: live.api.get(f"/api/workers/{old}").json()["state"] == "gone", what="the old worker to go")
    assert live.api.get(f"/api/workers/{old}").json()["reason"] == "new_release"


def test_gpus_are_refused_without_gpus(live: LiveServer) -> None:
    """An endpoint that asks for GPUs on a machine without them is refused at creation, with the reason."""
    body = {"name": "a", "image": f"dir:{WORKERS}", "command": COMMAND, "gpus_per_worker": 1}
    answer = live.api.post("/api/endpoints", json=body)
    if answer.status_code == 201:
        pytest.fail("this machine has a GPU: the refusal needs one without")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
        400,
        "no_such_capacity",
        "gpus_per_worker",
    )


def test_key_is_never_in_the_log(live: LiveServer) -> None:
    """Neither API keys nor worker tokens reach the server's log."""
    live.create("a", image=WORKERS, command=COMMAND)
    live.finished(live.run("a", {"echo": 1}))
    assert KEY not in live.log()
    assert "?t=" not in live.log()
