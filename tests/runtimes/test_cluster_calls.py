"""How the API of a cluster is called over connections that break, and of a server that is busy: real sockets, no cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod, Secret

from stoker.errors import Unavailable
from stoker.runtimes.kubernetes import Access, Api, Refusal
from tests.cluster import kubeconfig

BREAK = "break"
"""Read the request and hang up."""
HALF = "half"
"""Begin to answer and hang up."""
THERE = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": "AlreadyExists",
    "code": 409,
    "message": "there",
}
POD = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "stoker-w"}}
LIST = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": [POD]}


class Server:
    """Gives the answers of its script, one for each request: a status and an object, or `BREAK`, or `HALF`."""

    def __init__(self) -> None:
        self.script: list[tuple[int, object]] = []
        self.asked: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which is kept open between requests."""
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = next(
                    (int(line[15:]) for line in head.lower().split("\r\n") if line[:15] == "content-length:"), 0
                )
                await reader.readexactly(length)
                self.asked.append(head.split(" HTTP/")[0])
                status, content = self.script.pop(0)
                if content == BREAK:
                    break
                if content == HALF:
                    writer.write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
                    break
                body = json.dumps(content).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server with an empty script."""
    one = Server()
    async with await asyncio.start_server(one.serve, "127.0.0.1", 0) as listening:
        one.port = listening.sockets[0].getsockname()[1]
        yield one


@pytest.fixture
async def api(server: Server, tmp_path: Path) -> AsyncIterator[Api]:
    """Its client."""
    one = await asyncio.to_thread(client, f"http://127.0.0.1:{server.port}", tmp_path / "kubeconfig")
    yield one
    await one.close()


def client(url: str, file: Path) -> Api:
    """Who calls the API at a URL. Blocks."""
    file.write_text(kubeconfig(url, "token"))
    return Api.open(Access(file=str(file)))


@pytest.mark.parametrize("how", [BREAK, HALF])
async def test_a_connection_that_breaks_is_replaced(server: Server, api: Api, how: str) -> None:
    """A call whose connection breaks, before the answer or in the middle of it, is made once more, and nobody hears of it: one that is
    made by a name, and a list."""
    server.script = [(200, POD), (0, how), (200, POD), (0, how), (200, LIST)]
    await api.pod("stoker-w", "space")
    assert (await api.pod("stoker-w", "space")).metadata is not None
    found, version = await api.pods("space", {})
    assert ([type(one) for one in found], version) == ([Pod], "7")
    assert server.script == []


async def test_a_handshake_that_is_given_up_leaves_no_connection(tmp_path: Path) -> None:
    """A call that is cancelled while its connection is being made leaves none behind."""
    greeted, left = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        greeted.set()
        await reader.read()
        left.set()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        api = await asyncio.to_thread(client, f"https://127.0.0.1:{port}", tmp_path / "kubeconfig")
        call = asyncio.create_task(api.pod("stoker-w", "space"))
        await greeted.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        async with asyncio.timeout(10):
            await left.wait()
        await api.close()


async def test_a_cluster_that_only_hangs_up_is_away(server: Server, api: Api) -> None:
    """When the second connection breaks too the cluster is said to be away, and is not asked a third time."""
    server.script = [(0, BREAK), (0, BREAK)]
    with pytest.raises(Unavailable) as away:
        await api.pod("stoker-w", "space")
    assert away.value.code == "cluster_unavailable"
    assert len(server.asked) == 2


async def test_what_came_through_is_there(server: Server, api: Api) -> None:
    """An object whose creation came through while the connection broke is there: that is no refusal."""
    server.script = [(0, BREAK), (409, THERE)]
    assert await api.ensure(Secret(metadata=ObjectMeta(name="stoker-w")), "space") is None
    assert server.asked == ["POST /api/v1/namespaces/space/secrets"] * 2


async def test_a_refusal_is_not_repeated(server: Server, api: Api) -> None:
    """What the cluster refuses it is not asked again."""
    server.script = [(409, THERE)]
    with pytest.raises(Refusal):
        await api.create(Secret(metadata=ObjectMeta(name="stoker-w")), "space")
    assert len(server.asked) == 1
