"""What a server counts about itself, and the text in which Prometheus reads it.

Counting is done where things happen, in constant time and without a lock: everything runs on one event loop. What is in the database
already is not counted again: `web/metrics.py` reads it when it is asked. Names and units are Prometheus's: seconds, bytes, `_total`.

What must stay true: no label takes more than a bounded number of values; what comes beyond is told together, as `other`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from stoker.job import Job
from stoker.worker import Worker

LABELS_MOST: Final = 500
"""Sets of labels that one metric takes."""
OTHER: Final = "other"

Labels = tuple[str, ...]
Sample = tuple[str, Labels, float]
"""What comes after the name of the metric, the values of its labels, and the value."""

SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds in which a server answers."""
LONG: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Seconds that jobs wait and run, and that workers take to start."""


class Counter:
    """Something that is counted. `labels` are names; `add` takes their values, an endpoint's first."""

    kind: Final = "counter"

    def __init__(self, name: str, help: str, labels: Labels = ()) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self._counts: dict[Labels, float] = {}

    def add(self, *values: str, more: int = 1) -> None:
        """One more, or so many."""
        count = self._counts.get(values, 0)
        if not count and len(self._counts) >= LABELS_MOST:
            values = (OTHER, *values[1:])
            count = self._counts.get(values, 0)
        self._counts[values] = count + more

    def samples(self) -> Iterator[Sample]:
        """As it stands; something without labels is there from the beginning."""
        for values, count in (self._counts or ({} if self.labels else {(): 0.0})).items():
            yield "", values, count


class Histogram:
    """Durations in seconds, counted below bounds."""

    kind: Final = "histogram"

    def __init__(self, name: str, help: str, bounds: Sequence[float], labels: Labels = ()) -> None:
        self.name = name
        self.help = help
        self.labels = (*labels, "le")
        self._bounds = bounds
        self._texts = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, seconds: float, *values: str) -> None:
        """One more of that length."""
        counts = self._counts.get(values)
        if counts is None:
            if len(self._counts) >= LABELS_MOST:
                values = (OTHER, *values[1:])
            counts = self._counts.setdefault(values, [0] * len(self._texts))
            self._sums.setdefault(values, 0.0)
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[values] += seconds

    def samples(self) -> Iterator[Sample]:
        """Counts up to each bound, their sum, and how many there were."""
        for values, counts in self._counts.items():
            below = 0
            for text, count in zip(self._texts, counts, strict=True):
                below += count
                yield "_bucket", (*values, text), below
            yield "_sum", values, self._sums[values]
            yield "_count", values, below


class Gauge:
    """Values as they are at the moment of asking."""

    kind: Final = "gauge"

    def __init__(self, name: str, help: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self._values = values

    def samples(self) -> Iterator[Sample]:
        """Each of them."""
        for values, value in self._values:
            yield "", values, value


class Total(Gauge):
    """Counts that somebody else keeps."""

    kind = "counter"  # type: ignore[misc]


Metric = Counter | Histogram | Gauge


class Rounds:
    """When each loop last ended a round, by the clock of the event loop."""

    def __init__(self) -> None:
        self._ended_s: dict[str, float] = {}

    def begin(self, loops: Iterable[str]) -> None:
        """These loops begin now."""
        now_s = asyncio.get_running_loop().time()
        self._ended_s = dict.fromkeys(loops, now_s)

    def ended(self, loop: str) -> None:
        """A round went well."""
        self._ended_s[loop] = asyncio.get_running_loop().time()

    def since(self) -> list[tuple[Labels, float]]:
        """Seconds since then, by loop."""
        now_s = asyncio.get_running_loop().time()
        return [((loop,), now_s - ended_s) for loop, ended_s in self._ended_s.items()]


class Metrics:
    """What is counted on this server since it started."""

    def __init__(self) -> None:
        endpoint = ("endpoint",)
        self.job_wait = Histogram(
            "stoker_job_wait_seconds", "From a job's submission to its last claim, of finished jobs.", LONG, endpoint
        )
        self.job_run = Histogram(
            "stoker_job_run_seconds", "From a job's last claim to its result, of finished jobs.", LONG, endpoint
        )
        self.jobs_finished = Counter(
            "stoker_jobs_finished_total",
            "Results that workers posted here, by the job's state and reason.",
            ("endpoint", "state", "reason"),
        )
        self.worker_start = Histogram(
            "stoker_worker_start_seconds",
            "Stages of cold starts: launch (image and start), load (until the first take), and both as total.",
            LONG,
            ("stage",),
        )
        self.workers_ended = Counter(
            "stoker_workers_ended_total",
            "Workers that went, by the reason; counted on the server where the loops run.",
            ("endpoint", "reason"),
        )
        self.store_read = Histogram(
            "stoker_store_read_seconds", "How long the database takes to answer a small question.", SHORT
        )
        self.store_failures = Counter("stoker_store_failures_total", "Such questions that it did not answer.")
        self.loop_delay = Histogram(
            "stoker_event_loop_delay_seconds", "By how much the event loop is late when it is asked to wait.", SHORT
        )
        self.forgotten = Counter(
            "stoker_forgotten_total",
            "What was kept long enough, or was too much, and is gone: jobs, workers, events of endpoints, lines of the audit log, entries of usage.",
            ("what", "why"),
        )

        self.rounds = Rounds()

    def all(self) -> Sequence[Metric]:
        """All that is counted."""
        return tuple(one for one in vars(self).values() if isinstance(one, Counter | Histogram))

    def job_finished(self, job: Job) -> None:
        """A worker posted the result."""
        self.jobs_finished.add(job.endpoint, job.state, job.reason)
        if job.claimed_ms is not None and job.finished_ms is not None:
            self.job_wait.observe((job.claimed_ms - job.created_ms) / 1000, job.endpoint)
            self.job_run.observe((job.finished_ms - job.claimed_ms) / 1000, job.endpoint)

    def forgot(self, what: str, why: str, count: int) -> None:
        """So many of it went, for their age or the size of all."""
        if count:
            self.forgotten.add(what, why, more=count)

    def worker_ended(self, worker: Worker) -> None:
        """The worker is gone."""
        self.workers_ended.add(worker.endpoint, worker.reason)

    def worker_started(self, worker: Worker) -> None:
        """The worker took for the first time."""
        launched_ms, ready_ms = worker.launched_ms, worker.ready_ms
        if launched_ms is not None and ready_ms is not None:
            stages = {
                "launch": launched_ms - worker.decided_ms,
                "load": ready_ms - launched_ms,
                "total": ready_ms - worker.decided_ms,
            }
            for stage, took_ms in stages.items():
                self.worker_start.observe(max(0, took_ms) / 1000, stage)


def exposition(metrics: Iterable[Metric]) -> str:
    """The text format, version 0.0.4."""
    lines: list[str] = []
    for metric in metrics:
        lines += (f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}")
        for suffix, values, value in metric.samples():
            pairs = ",".join(f'{name}="{_escaped(text)}"' for name, text in zip(metric.labels, values, strict=False))
            lines.append(f"{metric.name}{suffix}{f'{{{pairs}}}' if pairs else ''} {value:.15g}")
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


__all__ = ["Counter", "Gauge", "Histogram", "Metric", "Metrics", "Total", "exposition"]
