"""The API of a cluster: the only module that knows the client library, beside the types of objects.

Every call answers with what the cluster said, or raises `Unavailable` when it did not answer and `Refusal` when it said no; what a
refusal means is for the caller to say. Being told to slow down is no refusal: a call waits as long as it is told and tries again, some times. A
connection that breaks under a call says nothing about the cluster, as when an API server is replaced: the call is made once more. Every call
may be, because objects are created by their names.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import httpx2
import msgspec
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.core.generic_client import BasicRequest
from lightkube.core.resource import GlobalResource, NamespacedResourceG
from lightkube.models.authorization_v1 import ResourceAttributes, SelfSubjectAccessReviewSpec
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.authorization_v1 import SelfSubjectAccessReview
from lightkube.resources.core_v1 import ConfigMap, Event, Namespace, Node, PersistentVolumeClaim, Pod, PodLog, Secret
from lightkube.resources.storage_v1 import StorageClass
from lightkube.types import PatchType

from stoker.errors import InvalidInput, Unavailable
from stoker.runtimes.kubernetes.rights import Right

CALL_S: Final = 15.0
"""How long one call may take; those that stream have no limit."""
TRIES_MOST: Final = 5
SLOW_DOWN_MOST_S: Final = 10.0
"""The longest that we wait because a server that is busy says so."""
STREAMS_MOST: Final = 50
"""Logs that are followed at once; more wait for one of them to end."""
CHUNK: Final = 500
"""Objects of one answer."""
EVERYWHERE: Final = "*"
"""All namespaces."""
NOT_FOUND: Final = 404
_BROKEN: Final = (httpx2.ReadError, httpx2.WriteError, httpx2.CloseError, httpx2.RemoteProtocolError)
"""A connection that was there is not any more."""
_TAKEN: Final = 409
_TOO_MANY: Final = 429

Labels = Mapping[str, str]
Answer = TypeVar("Answer")
Kind = TypeVar("Kind", bound=NamespacedResourceG)
Wide = TypeVar("Wide", bound=GlobalResource)


class Refusal(Exception):
    """The cluster said no. `status` is that of HTTP, `reason` the cluster's word for it, `message` its own sentence."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message.strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Where a cluster is and who we are there: the file and context of kubectl; without a file, whatever is found."""

    file: str = ""
    context: str = ""

    def read(self) -> KubeConfig:
        """The configuration: the file, else that of the pod that we are in, else `KUBECONFIG`, else `~/.kube/config`.

        Blocks. Raises `InvalidInput`."""
        try:
            found = KubeConfig.from_file(self.file) if self.file else KubeConfig.from_env()
            if self.context:
                found.current_context = self.context
            found.get()
        except Exception as error:  # the library raises what comes up while it reads a file that is none
            raise InvalidInput(
                f"no Kubernetes cluster is configured: {error}",
                code="no_cluster",
                field="kubernetes_config",
                next_step="name a kubeconfig: STOKER_KUBERNETES_CONFIG=FILE, or run the server inside of the cluster",
            ) from None
        return found


class Api:
    """One cluster. Made by `open`, which blocks; its connections belong to the event loop that makes the first call."""

    def __init__(self, calls: AsyncClient, streams: AsyncClient, host: str) -> None:
        self.host = host
        self._calls = calls
        self._streams = streams
        self._room = asyncio.Semaphore(STREAMS_MOST)

    @classmethod
    def open(cls, access: Access) -> Api:
        """Read the configuration and the certificates. Raises `InvalidInput`."""
        config = access.read()
        try:
            calls, streams = (AsyncClient(config=config, timeout=httpx2.Timeout(CALL_S)) for _ in range(2))
            for one in (calls, streams):
                one._client._client.event_hooks["request"].append(_leave_no_handshake)
        except (ConfigError, OSError, ssl.SSLError) as error:
            raise InvalidInput(
                f"the kubeconfig cannot be used: {error}", code="no_cluster", field="kubernetes_config"
            ) from None
        return cls(calls, streams, str(calls.config.cluster.server))

    @property
    def namespace(self) -> str:
        """The namespace that the configuration names."""
        return str(self._calls.namespace)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._calls.close()
        await self._streams.close()

    # ── pods ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def pods(self, namespace: str, labels: Labels) -> tuple[list[Pod], str]:
        """All pods with these labels, and the version of the cluster's state that they are of."""
        return await self._list(Pod, namespace, labels)

    async def answers(self, namespace: str, labels: Labels) -> None:
        """Ask for as little as possible."""

        async def ask() -> None:
            async for _ in self._calls.list(Pod, namespace=namespace, labels=dict(labels), chunk_size=1):
                break

        await self._ask(ask)

    async def watch(self, namespace: str, labels: Labels, version: str) -> AsyncIterator[tuple[str, Pod]]:
        """What happens to pods after that version: `ADDED`, `MODIFIED` or `DELETED`, and the pod as it then was.

        Goes on until the connection breaks; refused with 410 when that is too long ago.
        """
        with _translated(self.host):
            found = self._streams.watch(Pod, namespace=namespace, labels=dict(labels), resource_version=version)
            async for kind, pod in found:
                yield kind, pod

    async def create(self, thing: Kind, namespace: str) -> Kind:
        """A new object. Refused with 409 when its name is taken."""
        return await self._call(partial(self._calls.create, thing, namespace=namespace))

    async def ensure(self, thing: Kind, namespace: str) -> Kind | None:
        """A new object; None when it is there already."""
        try:
            return await self.create(thing, namespace)
        except Refusal as refusal:
            if refusal.status == _TAKEN and refusal.reason == "AlreadyExists":
                return None
            raise

    async def pod(self, name: str, namespace: str) -> Pod:
        """A pod. Refused with 404."""
        return await self._call(lambda: self._calls.get(Pod, name, namespace=namespace))

    async def delete_pod(self, pod: Pod, *, grace_s: int) -> None:
        """Ask its node to end it; with a grace of 0 it is struck out at once, whether its node answers or not."""
        name, space = _place_of(pod)
        await self._call(lambda: self._calls.delete(Pod, name, namespace=space, grace_period=grace_s))

    async def output(self, pod: Pod, *, tail: int | None, follow: bool) -> AsyncGenerator[str]:
        """What its container wrote, in lines that begin with their time; `tail` None for all that the node keeps."""
        async with self._room if follow else nullcontext():
            client = self._streams if follow else self._calls
            async with aclosing(self._lines(client, pod, tail=tail, follow=follow)) as lines:
                async for line in lines:
                    yield line

    async def _lines(self, client: AsyncClient, pod: Pod, *, tail: int | None, follow: bool) -> AsyncGenerator[str]:
        """The library's own call leaves the connection open when nobody reads on, and cannot say why it was refused."""
        calls = client._client
        name, space = _place_of(pod)
        wanted = {"timestamps": True, "tailLines": tail, "follow": follow}
        request = calls.prepare_request("get", PodLog, name=name, namespace=space, params=wanted)
        request.timeout = httpx2.Timeout(CALL_S, read=None if follow else CALL_S)
        answer = await self._ask(lambda: calls.send(calls.build_adapter_request(request), stream=True))  # type: ignore[no-untyped-call]
        with _translated(self.host):
            try:
                if answer.is_error:
                    await answer.aread()
                calls.raise_for_status(answer)  # type: ignore[no-untyped-call]
                async for line in _lines_in(answer.aiter_bytes()):
                    yield line
            finally:
                await answer.aclose()

    # ── what belongs to pods ──────────────────────────────────────────────────────────────────────────────────────────

    async def events(self, pod: Pod) -> list[Event]:
        """What the cluster noted about a pod."""
        assert pod.metadata is not None
        fields: dict[str, Any] = {"involvedObject.uid": str(pod.metadata.uid)}
        space = pod.metadata.namespace

        async def ask() -> list[Event]:
            return [one async for one in self._calls.list(Event, namespace=space, fields=fields)]

        return await self._ask(ask)

    async def own(self, secret: str, owner: Pod | DaemonSet) -> None:
        """Let the secret go with the pod, or with the set."""
        about = owner.metadata
        assert about is not None
        version = "v1" if isinstance(owner, Pod) else "apps/v1"
        reference = {"apiVersion": version, "kind": type(owner).__name__, "name": about.name, "uid": about.uid}
        change = {"metadata": {"ownerReferences": [reference]}}
        space = about.namespace
        await self._call(lambda: self._calls.patch(Secret, secret, change, namespace=space, patch_type=PatchType.MERGE))

    async def delete_secret(self, name: str, namespace: str) -> None:
        """Remove a secret. Refused with 404."""
        await self._call(lambda: self._calls.delete(Secret, name, namespace=namespace))

    async def records(self, namespace: str, labels: Labels) -> list[ConfigMap]:
        """All records with these labels."""
        return (await self._list(ConfigMap, namespace, labels))[0]

    async def record(self, name: str, namespace: str) -> ConfigMap:
        """A record. Refused with 404."""
        return await self._call(lambda: self._calls.get(ConfigMap, name, namespace=namespace))

    async def delete_record(self, name: str, namespace: str) -> None:
        """Remove a record. Refused with 404."""
        await self._call(lambda: self._calls.delete(ConfigMap, name, namespace=namespace))

    async def empty_record(self, name: str, namespace: str) -> None:
        """Let go of the output in a record. Refused with 404."""
        change = {"binaryData": None}
        await self._call(
            lambda: self._calls.patch(ConfigMap, name, change, namespace=namespace, patch_type=PatchType.MERGE)
        )

    async def grow_claim(self, name: str, namespace: str, size_bytes: int) -> None:
        """Ask for more storage. Refused with 404, and where the storage cannot grow."""
        change = {"spec": {"resources": {"requests": {"storage": str(size_bytes)}}}}
        space = namespace
        await self._call(
            lambda: self._calls.patch(PersistentVolumeClaim, name, change, namespace=space, patch_type=PatchType.MERGE)
        )

    async def delete_claim(self, name: str, namespace: str) -> None:
        """Remove a claim; its storage goes as its class says. Refused with 404."""
        await self._call(lambda: self._calls.delete(PersistentVolumeClaim, name, namespace=namespace))

    # ── sets of pods that fetch an image ──────────────────────────────────────────────────────────────────────────────

    async def daemon_set(self, name: str, namespace: str) -> DaemonSet:
        """A set. Refused with 404."""
        return await self._call(lambda: self._calls.get(DaemonSet, name, namespace=namespace))

    async def delete_set(self, name: str, namespace: str) -> None:
        """Remove a set; its pods go after it. Refused with 404."""
        await self._call(lambda: self._calls.delete(DaemonSet, name, namespace=namespace))

    # ── namespaces ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def ensure_namespace(self, thing: Namespace) -> None:
        """A new namespace, unless it is there already."""
        try:
            await self._call(lambda: self._calls.create(thing))
        except Refusal as refusal:
            if refusal.reason != "AlreadyExists":
                raise

    # ── looking around ────────────────────────────────────────────────────────────────────────────────────────────────

    async def version(self) -> str:
        """The version of the cluster, such as `v1.34.1`."""
        return str((await self._read("version"))["gitVersion"])

    async def groups(self) -> set[str]:
        """The groups of kinds of objects that the cluster knows, such as `apps`. Whoever may log in may ask."""
        return {str(one["name"]) for one in (await self._read("apis"))["groups"]}

    async def _read(self, path: str) -> dict[str, Any]:
        """What is at a path that the library has no name for."""
        calls = self._calls._client
        request = BasicRequest(method="GET", url=path, params={}, response_type=None, data=None, headers=None)
        with _translated(self.host):
            answer = await calls.send(calls.build_adapter_request(request))  # type: ignore[no-untyped-call]
            calls.raise_for_status(answer)  # type: ignore[no-untyped-call]
            return dict(answer.json())

    async def may(self, right: Right, namespace: str) -> bool:
        """Whether we have a right in a namespace, or with an empty one in all of them."""
        resource, _, part = right.resource.partition("/")
        wanted = ResourceAttributes(
            group=right.group, resource=resource, subresource=part or None, verb=right.verb, namespace=namespace or None
        )
        review = SelfSubjectAccessReview(spec=SelfSubjectAccessReviewSpec(resourceAttributes=wanted))
        answer = await self._call(partial(self._calls.create, review))
        return bool(answer.status and answer.status.allowed)

    async def try_pod(self, pod: Pod, namespace: str) -> None:
        """Whether a pod would be taken; nothing is created. Refused with the cluster's reason."""
        await self._call(partial(self._calls.create, pod, namespace=namespace, dry_run=True))

    async def nodes(self, labels: Labels) -> list[Node]:
        """All nodes with these labels."""
        return await self._list_all(Node, labels)

    async def storage_classes(self) -> list[StorageClass]:
        """All storage classes."""
        return await self._list_all(StorageClass, {})

    async def _list_all(self, kind: type[Wide], labels: Labels) -> list[Wide]:
        async def ask() -> list[Wide]:
            return [one async for one in self._calls.list(kind, labels=dict(labels), chunk_size=CHUNK)]

        return await self._ask(ask)

    # ── calling ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _list(self, kind: type[Kind], namespace: str, labels: Labels) -> tuple[list[Kind], str]:
        async def ask() -> tuple[list[Kind], str]:
            found = self._calls.list(kind, namespace=namespace, labels=dict(labels), chunk_size=CHUNK)
            return [one async for one in found], found.resourceVersion

        return await self._ask(ask)

    async def _call(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Its answer; a server that is too busy is asked again when it says so, some times."""
        for _ in range(TRIES_MOST - 1):
            try:
                return await self._ask(call)
            except Refusal as refusal:
                if refusal.status != _TOO_MANY:
                    raise
                await asyncio.sleep(SLOW_DOWN_MOST_S / TRIES_MOST)
        return await self._ask(call)

    async def _ask(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Its answer; once more over another connection when the first one breaks."""
        with _translated(self.host):
            try:
                return await call()
            except _BROKEN:
                return await call()


def _place_of(pod: Pod) -> tuple[str, str]:
    """Name and namespace of a pod that the cluster has shown."""
    assert pod.metadata is not None
    return str(pod.metadata.name), str(pod.metadata.namespace)


async def missing_is_fine(call: Awaitable[None]) -> None:
    """Do something with an object that may be gone."""
    try:
        await call
    except Refusal as refusal:
        if refusal.status != NOT_FOUND:
            raise


async def _leave_no_handshake(request: httpx2.Request) -> None:
    """A connection that is given up in the middle of its handshake is closed, which the library forgets."""
    opened: list[Any] = []

    async def hear(event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            opened.append(info["return_value"])
        elif event == "connection.start_tls.failed":
            await opened.pop().aclose()

    request.extensions = {**request.extensions, "trace": hear}


async def _lines_in(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Lines end with a line feed and with nothing else: programs print other separators, which belong to the line."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


@contextmanager
def _translated(host: str) -> Iterator[None]:
    """The library's errors as ours."""
    try:
        yield
    except ApiError as error:
        status = error.status
        raise Refusal(status.code or 0, status.reason or "", status.message or str(error)) from None
    except httpx2.HTTPStatusError as error:
        raise Refusal(error.response.status_code, "", str(error)) from None
    except (httpx2.HTTPError, httpx2.StreamError, OSError, msgspec.MsgspecError) as error:
        raise unavailable(host, str(error) or type(error).__name__) from None
    except ConfigError as error:  # the token's file is gone, or a helper that makes tokens failed
        raise unavailable(host, str(error)) from None


def unavailable(host: str, why: str = "") -> Unavailable:
    """What to say when the cluster does not answer."""
    return Unavailable(
        f"the Kubernetes API at {host} does not answer" + (f": {why}" if why else ""),
        code="cluster_unavailable",
        next_step="look at the cluster's API server: kubectl get --raw /readyz",
    )


__all__ = [
    "EVERYWHERE",
    "NOT_FOUND",
    "Access",
    "Api",
    "Labels",
    "Node",
    "Refusal",
    "StorageClass",
    "missing_is_fine",
    "unavailable",
]
