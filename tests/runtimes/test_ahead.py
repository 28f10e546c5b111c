"""Images that a cluster fetches ahead: how far its nodes are, read from what it says."""

from __future__ import annotations

import msgspec
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import Pod

from stoker.runtimes.kubernetes.ahead import Far, far, set_name, set_of
from stoker.runtimes.kubernetes.terms import Terms

TERMS = Terms(installation="i1")


def daemons(*, nodes: int, seen: bool = True) -> DaemonSet:
    """A set as its controller counts it."""
    about = {"name": "fetch", "uid": "u1", "generation": 1}
    counted = {"currentNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}
    status = {**counted, "desiredNumberScheduled": nodes, "observedGeneration": 1 if seen else 0}
    spec = set_of("i", None, TERMS).to_dict()["spec"]
    return msgspec.convert({"metadata": about, "spec": spec, "status": status}, DaemonSet)


def fetcher(reason: str, *, image: str = "", message: str = "", owner: str = "u1", node: str = "node-1") -> Pod:
    """A pod of the set that waits for something; `image` are the bytes that its node has."""
    container = {"name": "fetch", "image": "i", "imageID": image, "ready": False, "restartCount": 0}
    container["state"] = {"waiting": {"reason": reason, "message": message}}
    owners = [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "fetch", "uid": owner}]
    spec = {"nodeName": node, "containers": [{"name": "fetch"}]}
    written = {"metadata": {"ownerReferences": owners}, "spec": spec, "status": {"containerStatuses": [container]}}
    return msgspec.convert(written, Pod)


ONE, OTHER = (f"registry.example.com/chat@sha256:{digit * 64}" for digit in "01")


def test_how_far_a_fetch_is() -> None:
    """Nodes that have it are counted, whether their pods say which bytes or only that they cannot start; others are named."""
    found = far(
        daemons(nodes=3),
        [
            fetcher("RunContainerError", image=ONE),
            fetcher("CreateContainerConfigError"),
            fetcher("ContainerCreating", node="node-3"),
        ],
    )
    assert (found.words, found.waits, found.failed) == ("2 of 3 nodes have it", "node-3", None)


def test_bytes_that_all_nodes_have() -> None:
    """The bytes have a name if they are the same everywhere: a tag may move while nodes fetch it."""
    same = [fetcher("CrashLoopBackOff", image=ONE), fetcher("RunContainerError", image=ONE)]
    assert far(daemons(nodes=2), same).digest == ONE
    assert far(daemons(nodes=2), [*same, fetcher("RunContainerError", image=OTHER)]).digest == ""


def test_a_node_that_cannot_fetch() -> None:
    """A node whose pull failed is told with its words."""
    found = far(daemons(nodes=1), [fetcher("ErrImagePull", message="not found")])
    assert (found.have, found.text) == (0, "not found")


def test_nothing_is_counted_too_early() -> None:
    """A set that nobody has looked at has no nodes yet, and the pods of one before it do not count."""
    assert far(daemons(nodes=1, seen=False), []) == Far(nodes=0, have=0)
    assert far(daemons(nodes=1), [fetcher("RunContainerError", image=ONE, owner="u0")]).have == 0


def test_fetches_of_other_images_are_other_sets() -> None:
    """A set is found again by its image, and by nothing else."""
    assert set_name("a:1", TERMS) == set_name("a:1", TERMS) != set_name("a:2", TERMS)
