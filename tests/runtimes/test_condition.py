"""What a cluster says of a pod, and what we say then: in the cluster's own words wherever it has some."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lightkube.resources.core_v1 import Event, Pod

from stoker.runtimes.kubernetes.condition import (
    Condition,
    Ended,
    Refused,
    Runs,
    Waits,
    condition_of,
    has_run,
    image_of,
    last_trouble,
    leaving_of,
    leaving_with,
    lost_exit,
    pull_words,
    steps_of,
    waiting_with,
)
from stoker.worker import WorkerReason

START = "2026-01-02T03:04:05Z"
START_MS = 1_767_323_045_000
IMAGE = "registry.example.com/team/chat:3"


def pod(container: dict[str, Any] | None = None, *, node: str = "node-1", **status: Any) -> Pod:
    """A pod with the state of its container."""
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": START}
    conditions = status.pop("conditions", [scheduled] if node else [])
    shown = {"conditions": conditions, **status}
    if container is not None:
        shown["containerStatuses"] = [_status(container)]
    written: dict[str, Any] = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "worker", "image": IMAGE}]},
        "status": shown,
    }
    if node:
        written["spec"]["nodeName"] = node
    return msgspec.convert(written, Pod)


def _status(container: dict[str, Any]) -> dict[str, Any]:
    known = {
        "name": "worker",
        "image": IMAGE,
        "imageID": container.pop("imageID", ""),
        "ready": False,
        "restartCount": 0,
    }
    return {**known, "state": container}


def event(reason: str, message: str, *, kind: str = "Normal", at: str = START) -> Event:
    """Something that the cluster noted."""
    about = {"involvedObject": {}, "metadata": {}, "reason": reason, "message": message, "type": kind}
    return msgspec.convert({**about, "lastTimestamp": at}, Event)


def look(one: Pod, *, after_s: float = 0) -> Condition:
    """The condition so long after it was given to its node."""
    return condition_of(one, now_ms=START_MS + int(after_s * 1000), prepare_s=1800)


def unschedulable(message: str) -> Pod:
    """A pod that no node was found for."""
    return pod(
        node="",
        phase="Pending",
        conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}],
    )


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
            "no node has room (3 looked at): 3 lack nvidia.com/gpu",
        ),
        (
            "0/5 nodes are available: 1 Insufficient cpu, 1 node(s) had taint {gpu: yes}, that the pod didn't tolerate, "
            "3 Insufficient memory. preemption: 0/5 nodes are available: 5 No preemption victims found.",
            "no node has room (5 looked at): 1 lacks cpu, 1 node(s) had taint {gpu: yes}, that the pod didn't tolerate, "
            "3 lack memory",
        ),
        (
            "0/1 nodes are available: 1 pod has unbound immediate PersistentVolumeClaims.",
            "no node has room (1 looked at): 1 pod has unbound immediate PersistentVolumeClaims",
        ),
        ("0/0 nodes are available: .", "no node has room (0 looked at): there is none"),
        (
            'persistentvolumeclaim "stoker-x-models" not found',
            'no node can take it: persistentvolumeclaim "stoker-x-models" not found',
        ),
    ],
)
def test_no_room(message: str, words: str) -> None:
    """While there is no node: how many were looked at, and what they lack."""
    condition = look(unschedulable(message))
    assert isinstance(condition, Waits)
    assert (condition.waiting.reason, condition.waiting.text) == (WorkerReason.NO_ROOM_YET, words)


def test_nobody_has_said_that_there_is_no_room() -> None:
    """Until the scheduler has looked, a place is being looked for: that is no lack of room."""
    condition = look(unschedulable(""))
    assert isinstance(condition, Waits)
    assert condition.waiting.reason is WorkerReason.PLACING
    assert condition.waiting.text == "the cluster looks for a node"


def test_a_node_prepares_it() -> None:
    """Between the node and the start: who fetches what; after a while the cluster is asked for more."""
    creating = pod({"waiting": {"reason": "ContainerCreating"}}, phase="Pending")
    early, late = look(creating), look(creating, after_s=60)
    assert isinstance(early, Waits)
    assert isinstance(late, Waits)
    assert early.waiting.reason is WorkerReason.IMAGE_PULLING
    assert early.waiting.text == f"node node-1 fetches {IMAGE} and creates the container"
    assert (early.asked, late.asked) == (False, True)


def test_a_node_that_never_gets_it_started() -> None:
    """A node is not waited for without end."""
    condition = look(pod({"waiting": {"reason": "ContainerCreating"}}, phase="Pending"), after_s=1801)
    assert condition == Refused(text="node node-1 did not get it started within 1800 s")


def test_what_the_cluster_noted_is_told() -> None:
    """Volumes and networks are told in events only: the last one that is trouble, or the pull."""
    condition = look(pod({"waiting": {"reason": "ContainerCreating"}}), after_s=60)
    assert isinstance(condition, Waits)
    told = waiting_with(
        condition.waiting,
        [
            event("Pulling", f'Pulling image "{IMAGE}"'),
            event("FailedMount", "MountVolume.SetUp failed for volume x", kind="Warning", at="2026-01-02T03:04:09Z"),
            event("Scheduled", "Successfully assigned", at="2026-01-02T03:05:00Z"),
        ],
    )
    assert told.text.endswith("; FailedMount: MountVolume.SetUp failed for volume x")
    assert waiting_with(condition.waiting, [event("Scheduled", "x")]) == condition.waiting


@pytest.mark.parametrize(
    ("reason", "message", "words"),
    [
        (
            "ErrImagePull",
            "rpc error: code = NotFound desc = failed to pull and unpack image: not found",
            "there is no such image in the registry",
        ),
        (
            "ErrImagePull",
            "rpc error: code = Unknown desc = failed to authorize: 401 Unauthorized",
            "the registry denies access, or there is no such image",
        ),
        (
            "ErrImagePull",
            "rpc error: dial tcp 10.0.0.1:5000: connect: connection refused",
            "the registry cannot be reached",
        ),
        ("InvalidImageName", "couldn't parse image reference", "couldn't parse image reference"),
    ],
)
def test_pulls_that_failed(reason: str, message: str, words: str) -> None:
    """The registry's own text, and what it means."""
    condition = look(pod({"waiting": {"reason": reason, "message": message}}))
    assert isinstance(condition, Refused)
    assert words in condition.text
    assert message in condition.text
    assert condition.image == ""


def test_a_pull_that_backs_off_asks_for_the_text() -> None:
    """Older clusters say only that they back off; the registry's text stands in an event."""
    condition = look(pod({"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{IMAGE}"'}}))
    assert isinstance(condition, Refused)
    assert condition.image == IMAGE
    noted = [
        event("Failed", f'Failed to pull image "{IMAGE}": rpc error: code = NotFound desc = not found', kind="Warning"),
        event("Failed", "Error: ImagePullBackOff", kind="Warning", at="2026-01-02T03:04:09Z"),
    ]
    assert "there is no such image in the registry" in pull_words(IMAGE, last_trouble(noted))


@pytest.mark.parametrize("after_s", [1, 61])
def test_missing_configuration_is_waited_for(after_s: float) -> None:
    """A secret that is not there yet may come; one that does not come within a minute will not."""
    missing = {"reason": "CreateContainerConfigError", "message": 'secret "stoker-x" not found'}
    condition = look(pod({"waiting": missing}), after_s=after_s)
    assert isinstance(condition, Waits if after_s < 60 else Refused)


def test_a_running_worker() -> None:
    """It runs since its container runs; its stages come from its record and the events, in order."""
    running = pod({"running": {"startedAt": "2026-01-02T03:04:09Z"}, "imageID": "x/y@sha256:0"}, phase="Running")
    assert look(running) == Runs(at_ms=START_MS + 4000)
    events = [event("Pulled", "x", at="2026-01-02T03:04:08Z"), event("Created", "x", at="2026-01-02T03:04:07Z")]
    assert [(one.name, one.at_ms - START_MS) for one in steps_of(running, events)] == [
        ("scheduled", 0),
        ("pulled", 3000),
        ("created", 3000),
        ("started", 4000),
    ]
    assert image_of(running) == "x/y@sha256:0"
    assert image_of(pod({"running": {}, "imageID": "sha256:0"})) == ""


@pytest.mark.parametrize(
    ("terminated", "status", "words"),
    [
        ({"exitCode": 0, "reason": "Completed"}, {}, "exited normally (exit code 0)"),
        ({"exitCode": 3, "reason": "Error"}, {}, "exit code 3"),
        ({"exitCode": 137, "reason": "OOMKilled"}, {}, "out of memory"),
        ({"exitCode": 128, "reason": "StartError", "message": 'exec: "nope": executable file not found'}, {}, "nope"),
        (
            {"exitCode": 137, "reason": "Error"},
            {"reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."},
            "killed by SIGKILL (exit code 137); Evicted: The node was low on resource: ephemeral-storage.",
        ),
        (
            {"exitCode": 143},
            {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."},
            "node shutdown",
        ),
    ],
)
def test_ends(terminated: dict[str, Any], status: dict[str, Any], words: str) -> None:
    """How its container ended, and why the cluster ended it if it did."""
    condition = look(pod({"terminated": terminated}, phase="Failed", **status))
    assert isinstance(condition, Ended)
    assert condition.exit.code == terminated["exitCode"]
    assert words in condition.exit.text


def test_a_pod_that_was_given_up() -> None:
    """A node may refuse what it was given, and the cluster evict what has not started: the worker never ran."""
    refused = pod(phase="Failed", reason="OutOfcpu", message="Pod Node didn't have enough resource: cpu")
    assert look(refused) == Refused(text="OutOfcpu: Pod Node didn't have enough resource: cpu")


def test_a_pod_that_was_deleted_before_it_ran() -> None:
    """Ending what has not started is no failure of its image; how it ended may still be told."""
    written = pod(phase="Failed").to_dict()
    written["metadata"]["deletionTimestamp"] = START
    condition = look(msgspec.convert(written, Pod))
    assert isinstance(condition, Waits)
    assert condition.waiting.text == "its pod is being deleted"


def test_who_is_about_to_be_ended() -> None:
    """A preempted or evicted pod says why; one that is just deleted says that somebody did it."""
    told = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "by pod x"}
    assert leaving_of(pod({"running": {}}, conditions=[told])) == (
        "the cluster takes it away: PreemptionByScheduler: by pod x"
    )
    deleted = pod({"running": {}})
    assert deleted.metadata is not None
    assert leaving_of(deleted) == ""
    written = deleted.to_dict()
    written["metadata"]["deletionTimestamp"] = START
    assert "deleted its pod" in leaving_of(msgspec.convert(written, Pod))


def test_ends_that_nobody_saw() -> None:
    """What is gone without a word is said to be so: no exit code is invented."""
    runs, prepared = pod({"running": {"startedAt": START}}), pod({"waiting": {"reason": "ContainerCreating"}})
    assert [lost_exit(one, forced=False).code for one in (runs, prepared)] == [None, None]
    assert "nobody saw how it ended" in lost_exit(runs, forced=False).text
    assert "before node node-1 had said that it ran" in lost_exit(prepared, forced=False).text
    assert "node-1 did not say that it ended" in lost_exit(pod(), forced=True).text
    assert "before a node had taken it" in lost_exit(pod(node=""), forced=False).text


def test_who_takes_it_stands_in_events() -> None:
    """Clusters that mark no pod that they take away note who gets its place, and why."""
    noted = [event("Started", "Started container"), event("Preempted", "Preempted by a/urgent on node node-1")]
    assert (
        leaving_with("deleted", noted) == "the cluster takes it away: Preempted: Preempted by a/urgent on node node-1"
    )
    assert leaving_with("deleted", noted[:1]) == "deleted"


def test_a_node_that_forgets_what_it_evicts() -> None:
    """A pod without containers ran if the cluster noted its start; else it never did."""
    evicted = look(pod(phase="Failed", reason="Evicted", message="Pod ephemeral local storage usage exceeds the limit"))
    assert isinstance(evicted, Refused)
    assert evicted.text == "Evicted: Pod ephemeral local storage usage exceeds the limit"
    assert has_run([event("Pulled", "there"), event("Started", "Started container")])
    assert not has_run([event("Pulled", "there")])
