"""What a pod's record says of its worker: what it waits for, that it runs, that it never will, how it ended. Pure.

    waits ──> runs ──> ended
      └─────> refused

The words are the cluster's own wherever it has some; they are put so that somebody who asks why a job waits understands them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lightkube.models.core_v1 import ContainerStatus, PodCondition
from lightkube.resources.core_v1 import Event, Pod

from stoker.errors import InvalidInput
from stoker.runtimes import Step, Waiting
from stoker.runtimes.container import code_text
from stoker.runtimes.reference import pull_error
from stoker.worker import Exit, WorkerReason

UNEXPLAINED_S: Final = 5.0
"""How long a node may prepare a worker before we ask what it is at."""
CONFIG_PATIENCE_S: Final = 60.0
"""How long something that a container needs may be missing: what belongs to a pod is made right beside it."""
MESSAGE_MOST: Final = 600
"""Characters of the cluster's words that we pass on."""

PULL_FAILED: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable"}
)
"""What a pod waits for whose image did not come."""
_CANNOT_START: Final = frozenset(
    {"CreateContainerError", "RunContainerError", "CrashLoopBackOff", "PreCreateHookError"}
)
_TAKEN_AWAY: Final = frozenset({"Preempted", "Evicted", "TaintManagerEviction", "NodeShutdown"})
"""Events about a pod that somebody else ends."""
_LACKS: Final = re.compile(r"(\d+) Insufficient ([^\s,.]+)")
_OF_NODES: Final = re.compile(r"^(\d+)/(\d+) nodes are available: ?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Waits:
    """It has not started. `asked` is whether the cluster's events may tell more."""

    waiting: Waiting
    asked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """Its container runs since `at_ms`."""

    at_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """It never started and never will; or its node gave it up and forgot that it ran (`has_run`). `image` is that whose pull failed, where the cluster's events alone have the registry's text."""

    text: str
    image: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """Its container ran and ended."""

    exit: Exit


Condition = Waits | Runs | Refused | Ended
Look = Callable[[Pod], Condition]
"""What a pod's record says now."""


def condition_of(pod: Pod, *, now_ms: int, prepare_s: float = math.inf) -> Condition:
    """How the worker of a pod is. A node that prepares it for longer than `prepare_s` is not waited for any more."""
    status, container = pod.status, container_of(pod)
    state = container.state if container is not None else None
    if state is not None and state.terminated is not None:
        return _ended(pod, state.terminated.exitCode, state.terminated.reason or "", state.terminated.message or "")
    if state is not None and state.running is not None:
        return Runs(at_ms=ms(state.running.startedAt) or now_ms)
    if status is not None and status.phase in ("Failed", "Succeeded"):
        if pod.metadata is not None and pod.metadata.deletionTimestamp is not None:
            return Waits(
                waiting=Waiting(reason=WorkerReason.LAUNCHED, text="its pod is being deleted")
            )  # its end may follow
        return Refused(text=_pod_words(pod) or "the cluster gave the pod up")
    if state is not None and state.waiting is not None:
        return _waits_on_node(pod, state.waiting.reason or "", state.waiting.message or "", now_ms, prepare_s)
    if node_of(pod):
        return _waits_on_node(pod, "", "", now_ms, prepare_s)
    return Waits(waiting=_waits_for_node(pod))


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _waits_for_node(pod: Pod) -> Waiting:
    scheduled = _named(pod, "PodScheduled")
    message = (scheduled.message or "") if scheduled is not None else ""
    if not message:
        return Waiting(reason=WorkerReason.PLACING, text="the cluster looks for a node")
    return Waiting(reason=WorkerReason.NO_ROOM_YET, text=room_words(message))


def room_words(message: str) -> str:
    """What the scheduler says, as `no node has room (3 looked at): 2 lack nvidia.com/gpu, 1 node(s) were unschedulable`."""
    message = message.partition(" preemption:")[0].strip().rstrip(".")[:MESSAGE_MOST]
    counted = _OF_NODES.match(message)
    if counted is None:
        return f"no node can take it: {message}"
    parts = _LACKS.sub(
        lambda found: f"{found[1]} {'lacks' if found[1] == '1' else 'lack'} {found[2]}", message[counted.end() :]
    )
    return f"no node has room ({counted[2]} looked at): {parts or 'there is none'}"


def _waits_on_node(pod: Pod, reason: str, message: str, now_ms: int, prepare_s: float) -> Condition:
    image = pod.spec.containers[0].image or "" if pod.spec is not None else ""
    if reason in PULL_FAILED:
        told = reason != "ImagePullBackOff" or "rpc" in message
        return Refused(text=pull_words(image, message or reason), image="" if told else image)
    if reason in _CANNOT_START:
        return Refused(text=f"{image} cannot start: {_short(message) or reason}")
    waited_s = (now_ms - (_scheduled_ms(pod) or now_ms)) / 1000
    if reason == "CreateContainerConfigError" and waited_s > CONFIG_PATIENCE_S:
        return Refused(text=f"{image} cannot start: {_short(message) or reason}")
    words = f": {_short(message)}" if message else ""
    if waited_s > prepare_s:
        return Refused(text=f"node {node_of(pod)} did not get it started within {prepare_s:g} s{words}")
    text = f"node {node_of(pod)} fetches {image} and creates the container{words}"
    return Waits(waiting=Waiting(reason=WorkerReason.IMAGE_PULLING, text=text), asked=waited_s > UNEXPLAINED_S)


def pull_words(image: str, message: str) -> str:
    """Why an image did not come: the registry's own text, and what it means."""
    error = pull_error(image, _short(message))
    return (
        f"{error.message}; {error.next_step}" if isinstance(error, InvalidInput) and error.next_step else error.message
    )


def waiting_with(waiting: Waiting, events: Sequence[Event]) -> Waiting:
    """The same with what the cluster noted last, if that is trouble or a pull: volumes and networks are told nowhere else."""
    told = [one for one in events if one.type == "Warning" or one.reason == "Pulling"]
    if not told:
        return waiting
    last = max(told, key=_event_ms)
    return Waiting(reason=waiting.reason, text=f"{waiting.text}; {last.reason}: {_short(last.message or '')}")


def last_trouble(events: Sequence[Event]) -> str:
    """The last failed pull among what the cluster noted, with the registry's text; empty without one."""
    told = [
        one
        for one in events
        if one.reason == "Failed" and "pull" in (one.message or "").lower() and "rpc" in (one.message or "")
    ]
    return (max(told, key=_event_ms).message or "") if told else ""


def has_run(events: Iterable[Event]) -> bool:
    """Whether the cluster noted that its container was started: of a pod that a node evicts nothing else may tell."""
    return any(one.reason == "Started" for one in events)


# ── running ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def steps_of(pod: Pod, events: Iterable[Event]) -> tuple[Step, ...]:
    """The stages of the start of a pod that runs, in their order. The cluster counts in seconds."""
    noted = {one.reason: _event_ms(one) for one in events}
    container = container_of(pod)
    running = container.state.running if container is not None and container.state is not None else None
    found = (
        ("scheduled", _scheduled_ms(pod)),
        ("pulled", noted.get("Pulled")),
        ("created", noted.get("Created")),
        ("started", ms(running.startedAt) if running is not None else None),
    )
    steps: list[Step] = []
    for name, at_ms in found:
        if at_ms:
            steps.append(Step(name=name, at_ms=max(at_ms, steps[-1].at_ms if steps else 0)))
    return tuple(steps)


def image_of(pod: Pod) -> str:
    """The bytes that it runs, by a name under which every node finds them; empty when there is no such name."""
    container = container_of(pod)
    found = (container.imageID or "").removeprefix("docker-pullable://") if container is not None else ""
    return found if "@sha256:" in found else ""


def address_of(pod: Pod) -> str:
    """Where its HTTP server is in the network of the cluster, as `HOST:PORT`; empty while it has no address, or no server."""
    ports = pod.spec.containers[0].ports if pod.spec is not None else None
    host = pod.status.podIP if pod.status is not None else None
    if not ports or not host:
        return ""
    return f"[{host}]:{ports[0].containerPort}" if ":" in host else f"{host}:{ports[0].containerPort}"


# ── leaving and ended ─────────────────────────────────────────────────────────────────────────────────────────────────


def leaving_of(pod: Pod) -> str:
    """Why somebody ends it, in words; empty when nobody does."""
    disrupted = _named(pod, "DisruptionTarget")
    if disrupted is not None and disrupted.status == "True":
        return f"the cluster takes it away: {disrupted.reason or ''}: {_short(disrupted.message or '')}".rstrip(": ")
    if pod.metadata is not None and pod.metadata.deletionTimestamp is not None:
        return "somebody in the cluster deleted its pod, as when a node is emptied"
    return ""


def leaving_with(leaving: str, events: Sequence[Event]) -> str:
    """The same with who takes it and why, as far as the cluster noted it: clusters before 1.26 say it nowhere else."""
    told = [one for one in events if one.reason in _TAKEN_AWAY]
    if not told:
        return leaving
    last = max(told, key=_event_ms)
    return f"the cluster takes it away: {last.reason}: {_short(last.message or '')}"


def _ended(pod: Pod, code: int, reason: str, message: str) -> Ended:
    return Ended(exit=Exit(code=code, text=_end_words(pod, code, reason, message)))


def _end_words(pod: Pod, code: int, reason: str, message: str) -> str:
    if reason == "OOMKilled":
        return f"out of memory: the kernel killed it because it reached its memory limit (exit code {code})"
    if reason in ("StartError", "ContainerCannotRun"):
        return f"its program could not be started (exit code {code}): {_short(message)}"
    why = _pod_words(pod)
    return f"{code_text(code)}; {why}" if why else code_text(code)


def _pod_words(pod: Pod) -> str:
    """Why the cluster ended a pod, if it did: evicted, its node shut down, no room after all."""
    status = pod.status
    if status is not None and status.reason:
        return f"{status.reason}: {_short(status.message or '')}".rstrip(": ")
    disrupted = _named(pod, "DisruptionTarget")
    if disrupted is not None and disrupted.status == "True":
        return f"{disrupted.reason}: {_short(disrupted.message or '')}".rstrip(": ")
    return _short(status.message or "") if status is not None else ""


def lost_exit(pod: Pod, *, forced: bool) -> Exit:
    """The end of a worker whose pod is gone and whose record does not say how its container ended."""
    if not node_of(pod):
        return Exit(code=None, text="its pod was deleted before a node had taken it")
    if forced:
        return Exit(code=None, text=f"its pod was struck out: node {node_of(pod)} did not say that it ended")
    container = container_of(pod)
    if container is None or container.state is None or container.state.running is None:
        # Nodes of old versions let go of such a pod without waiting for the end of its container.
        return Exit(code=None, text=f"its pod was deleted before node {node_of(pod)} had said that it ran")
    return Exit(code=None, text="its pod is gone, and nobody saw how it ended")


# ── small words ───────────────────────────────────────────────────────────────────────────────────────────────────────


def node_of(pod: Pod) -> str:
    """The node that it was given to; empty while there is none."""
    return (pod.spec.nodeName or "") if pod.spec is not None else ""


def ms(moment: datetime | None) -> int | None:
    """Milliseconds since the epoch."""
    return None if moment is None else round(moment.timestamp() * 1000)


def container_of(pod: Pod) -> ContainerStatus | None:
    """Its container as its node told of it; None while it has not."""
    found = pod.status.containerStatuses if pod.status is not None else None
    return found[0] if found else None


def _named(pod: Pod, kind: str) -> PodCondition | None:
    conditions = (pod.status.conditions if pod.status is not None else None) or ()
    return next((one for one in conditions if one.type == kind), None)


def _scheduled_ms(pod: Pod) -> int | None:
    scheduled = _named(pod, "PodScheduled")
    return ms(scheduled.lastTransitionTime) if scheduled is not None and scheduled.status == "True" else None


def _event_ms(event: Event) -> int:
    return ms(event.lastTimestamp or event.eventTime or event.firstTimestamp) or 0


def _short(text: str) -> str:
    return " ".join(text.split())[:MESSAGE_MOST]
