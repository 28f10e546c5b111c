"""The demo: a server on this machine, a worker of the unmodified Runpod SDK, and the unmodified Runpod client.

`make demo` runs it. It starts from nothing, scales up from zero, paints pictures, scales to zero again, and ends by itself.
Everything it makes is in `demo-output/`.
"""

import base64
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import runpod
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "demo-output"
PICTURES = OUTPUT / "pictures"
BIN = Path(sys.executable).parent

JOBS = 12
MAX_WORKERS = 3
IDLE_TIMEOUT_S = 3
PATIENCE_S = 180
"""Much longer than the demo takes; it gives up then instead of hanging."""

ORDERS = [
    {"kind": kind, "palette": palette, "seed": seed, "width": 360, "height": 240}
    for seed, (kind, palette) in enumerate(
        [("julia", "dusk"), ("silk", "dusk"), ("julia", "ember"), ("silk", "ember"), ("julia", "sea"), ("silk", "jade")]
        * (JOBS // 6)
    )
]

logging.getLogger("httpx").setLevel(logging.WARNING)  # the Runpod client makes every library tell what it does
console = Console()


@contextmanager
def server(key):
    """A server on a free port with the embedded defaults; its URL."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
    environment |= {"STOKER_BOOTSTRAP_KEY": key, "PATH": f"{BIN}:{os.environ.get('PATH', '')}"}
    log = (OUTPUT / "server.log").open("w")
    process = subprocess.Popen(
        [BIN / "stoker", "serve", "--runtime", "process", "--port", "0", "--data-dir", OUTPUT / "stoker-data"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        line = process.stdout.readline()
        if "listens on" not in line:
            sys.exit(f"the server did not start; see {log.name}")
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        log.close()


def stoker(url, key, *words):
    """Run a command of the CLI, showing it as the user would type it."""
    console.print(f"[bold]$ stoker {' '.join(words)}[/]")
    environment = os.environ | {"STOKER_URL": url, "STOKER_API_KEY": key}
    subprocess.run([BIN / "stoker", *words], check=True, env=environment, cwd=ROOT)


def submit(url, key):
    """A batch of jobs through the real client."""
    runpod.api_key = key
    runpod.endpoint_url_base = f"{url}/v2"
    endpoint = runpod.Endpoint("pictures")
    return [endpoint.run(order) for order in ORDERS]


class View:
    """What the terminal shows while the jobs run: progress, workers, and the time of each job."""

    def __init__(self, api):
        self.api = api
        self.told = set()
        self.progress = Progress(
            TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self.bar = self.progress.add_task("pictures", total=JOBS)

    def look(self):
        """Ask the server, tell what is new; the endpoint, its workers, and its jobs."""
        endpoint = self.api.get("/api/endpoints/pictures").json()
        workers = self.api.get("/api/endpoints/pictures/workers", params={"gone": 20}).json()["workers"]
        jobs = self.api.get("/api/endpoints/pictures/jobs").json()["jobs"]
        for worker in workers:
            self.tell_worker(worker)
        for job in sorted(jobs, key=lambda job: job["finished_ms"] or 0):
            self.tell_job(job)
        self.progress.update(self.bar, completed=endpoint["jobs"]["completed"])
        return endpoint, workers, jobs

    def tell_worker(self, worker):
        for state, moment in (("starting", "decided_ms"), ("ready", "ready_ms"), ("gone", "gone_ms")):
            if worker[moment] is not None:
                after = f" after {seconds(worker['ready_ms'], worker['decided_ms'])}" if state == "ready" else ""
                why = f": {worker['detail']}" if state != "ready" and worker["detail"] else ""
                self.tell((worker["id"], state), f"[cyan]worker {worker['id']} is {state}{after}[/]{why}")

    def tell_job(self, job):
        if job["finished_ms"] is not None:
            times = f"waited {seconds(job['claimed_ms'], job['queued_ms'])}, ran {seconds(job['finished_ms'], job['claimed_ms'])}"
            self.tell((job["id"], "end"), f"[green]job {job['id'][:8]} {job['state']}[/]: {times}, on {job['worker']}")

    def tell(self, what, text):
        if what not in self.told:
            self.told.add(what)
            console.print(text, highlight=False)

    def render(self, endpoint):
        table = Table.grid(padding=(0, 2))
        jobs, workers = endpoint["jobs"], endpoint["workers"]
        table.add_row("jobs", f"{jobs['queued']} queued, {jobs['running']} running, {jobs['completed']} completed")
        table.add_row(
            "workers", ", ".join(f"{workers[name]} {name}" for name in ("starting", "busy", "idle", "draining"))
        )
        table.add_row("why", (endpoint["decision"] or {"text": ""})["text"])
        return Group(self.progress, table)

    def run_until(self, done):
        """Show what happens until `done(endpoint, workers)` says that it is over."""
        deadline = time.monotonic() + PATIENCE_S
        with Live(console=console, refresh_per_second=8, transient=True) as live:
            while True:
                endpoint, workers, _jobs = self.look()
                live.update(self.render(endpoint))
                if done(endpoint, workers):
                    return
                if time.monotonic() > deadline:
                    sys.exit(f"the demo did not get on; see {OUTPUT}/server.log")
                time.sleep(0.2)


def seconds(later_ms, earlier_ms):
    return f"{(later_ms - earlier_ms) / 1000:.1f} s"


def save(jobs):
    """The pictures as files, and one page that shows them all."""
    PICTURES.mkdir(parents=True)
    for number, job in enumerate(jobs, 1):
        picture = job.output()
        if job.status() != "COMPLETED":
            sys.exit(f"job {job.job_id} is {job.status()}; see {OUTPUT}/server.log")
        (PICTURES / f"{number:02}-{picture['kind']}-{picture['palette']}.png").write_bytes(
            base64.b64decode(picture["image_base64"])
        )
    names = sorted(path.name for path in PICTURES.iterdir())
    images = "\n".join(f'<img src="pictures/{name}" alt="{name}" width="360">' for name in names)
    (OUTPUT / "index.html").write_text(
        f'<!doctype html><title>Painted by Stoker</title><body style="background:#111">\n{images}\n'
    )


def main():
    """The whole demo."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    key = f"sk_demo_{secrets.token_urlsafe(12)}"
    with server(key) as url:
        console.rule("a server on this machine")
        console.print(f"Stoker listens on {url}: SQLite, workers are child processes")
        console.rule("an endpoint: unmodified Runpod SDK, from zero to three workers")
        stoker(
            url, key, "endpoint", "create", "pictures", "--image", "dir:examples/pictures", "--command",
            "python -u handler.py", "--min-workers", "0", "--max-workers", str(MAX_WORKERS),
            "--idle-timeout", str(IDLE_TIMEOUT_S), "--slots", "1",
        )  # fmt: skip
        console.rule(f"{JOBS} jobs through the unmodified Runpod client")
        jobs = submit(url, key)
        view = View(httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}))
        view.run_until(lambda endpoint, _workers: endpoint["jobs"]["queued"] + endpoint["jobs"]["running"] == 0)
        save(jobs)
        console.rule("nothing to do: the workers go")
        view.run_until(lambda endpoint, _workers: endpoint["workers"]["total"] == 0)
        view.look()
    farewell()


def farewell():
    """Where things are, and what to try next."""
    console.rule("done")
    console.print(f"{JOBS} pictures: {PICTURES}\nall on one page: {OUTPUT / 'index.html'}\n", highlight=False)
    console.print(
        "Try it yourself, in two terminals:\n\n"
        "  [bold]. .venv/bin/activate && STOKER_BOOTSTRAP_KEY=sk_laptop stoker serve --runtime process[/]\n\n"
        "  [bold]. .venv/bin/activate && export STOKER_API_KEY=sk_laptop[/]\n"
        '  [bold]stoker endpoint create hello --image dir:examples/hello --command "python -u handler.py"[/]\n'
        '  [bold]stoker job run hello -d \'{"prompt": "world"}\' --wait[/]\n'
        "  [bold]stoker worker ls[/]",
        highlight=False,
    )


if __name__ == "__main__":
    main()
