"""The Docker engine, through its API: the only module that knows the client library.

Every call answers with what the engine said, or raises `Unavailable` when it did not answer and `Refusal` when it said no; what a
refusal means is for the caller to say. Calls that wait for something to happen have no time limit, the others `CALL_S`.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import aiodocker
import aiohttp
from aiodocker.exceptions import DockerError, DockerStreamError

from stoker.errors import Unavailable

Json = dict[str, Any]

SOCKET: Final = "unix:///var/run/docker.sock"
CONNECT_S: Final = 5.0
CALL_S: Final = 60.0
"""A busy disk lets an engine take seconds to create or remove a container; one that takes a minute is not well."""
_NO_CONNECTION: Final = 900
"""The status by which the client library says that it reached nobody."""
_UNIX: Final = "unix://"


class Refusal(Exception):
    """The engine said no. `status` is that of HTTP, 0 for a refusal in the middle of a stream; `message` is the engine's own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message.strip()


class Engine:
    """One engine at `host`: `unix://PATH`, or `tcp://HOST:PORT`, encrypted if `tls` says how.

    Connections are opened by the first call, in the event loop that makes it; `close` ends them.
    """

    def __init__(self, host: str = SOCKET, tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self._tls = tls
        self._docker: aiodocker.Docker | None = None
        self._connector: aiohttp.BaseConnector | None = None

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine, as far as its address tells."""
        return self.host.startswith(_UNIX)

    async def close(self) -> None:
        """Let go of all connections."""
        docker, self._docker = self._docker, None
        connector, self._connector = self._connector, None
        if docker is not None:
            await docker.close()
        if connector is not None:
            await connector.close()

    # ── what it is ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def version(self) -> Json:
        """`Version`, `ApiVersion`, `Arch` and more."""
        with _translated(self.host):
            return await self._open().version()

    async def info(self) -> Json:
        """Storage driver, security options, runtimes, warnings and more."""
        with _translated(self.host):
            return dict(await self._open().system.info())

    async def is_rootless(self) -> bool:
        """Whether it runs without root, in a network of its own behind this machine's."""
        return any("rootless" in one for one in (await self.info()).get("SecurityOptions") or ())

    # ── containers ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def containers(self, labels: Sequence[str], *, sizes: bool = False) -> list[Json]:
        """All containers with these labels, ended ones too. `sizes` adds `SizeRw`, which reads their whole file systems."""
        with _translated(self.host):
            found = await self._open().containers.list(
                all=True, size=sizes, filters=json.dumps({"label": list(labels)})
            )
        return [dict(one._container) for one in found]  # the library has no public name for what it was told

    async def create(self, name: str, config: Json) -> str:
        """A new container; its id. Refused with 409 when the name is taken, 404 when the image is not here."""
        with _translated(self.host):
            return (await self._open().containers.create(config, name=name)).id

    async def start(self, container: str) -> None:
        """Start it. Starting what runs succeeds."""
        with _translated(self.host):
            await self._open().containers.container(container).start()

    async def show(self, container: str) -> Json:
        """All that the engine knows of it."""
        with _translated(self.host):
            return await self._open().containers.container(container).show()

    async def signal(self, container: str, name: str) -> None:
        """Send a signal to its first process. Refused with 409 when it does not run."""
        with _translated(self.host):
            await self._open().containers.container(container).kill(signal=name)

    async def ended(self, container: str) -> None:
        """Wait until it does not run."""
        with _translated(self.host):
            await self._open().containers.container(container).wait()

    async def remove(self, container: str) -> None:
        """Remove it with its file system and nameless volumes, killing it if it runs."""
        with _translated(self.host):
            await self._open().containers.container(container).delete(force=True, v=True)

    async def output(self, container: str, *, tail: int | None, follow: bool) -> AsyncIterator[str]:
        """What it wrote, in pieces of one line or less, each beginning with its time; `tail` None for all that is kept."""
        last = "all" if tail is None else str(tail)
        box = self._open().containers.container(container)
        with _translated(self.host):
            if follow:
                async for piece in box.log(stdout=True, stderr=True, follow=True, timestamps=True, tail=last):
                    yield piece
            else:
                for piece in await box.log(stdout=True, stderr=True, timestamps=True, tail=last):
                    yield piece

    # ── images ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def images(self) -> list[Json]:
        """All images that are here."""
        with _translated(self.host):
            return [dict(one) for one in await self._open().images.list()]

    async def image(self, name: str) -> Json:
        """All that the engine knows of an image. Refused with 404 when it is not here."""
        with _translated(self.host):
            return await self._open().images.inspect(name)

    async def pull(self, name: str, auth: Mapping[str, str] | None) -> AsyncIterator[Json]:
        """Fetch an image; what the engine says meanwhile, about each layer."""
        with _translated(self.host):
            docker = self._open()
            async for line in docker.images.pull(name, auth=None if auth is None else dict(auth), stream=True):
                yield line

    async def remove_image(self, name: str) -> None:
        """Remove an image. Refused with 409 while a container uses it."""
        with _translated(self.host):
            await self._open().images.delete(name)

    # ── networks ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def networks(self, labels: Sequence[str]) -> list[Json]:
        """All networks with these labels."""
        with _translated(self.host):
            return await self._open().networks.list(filters={"label": list(labels)})

    async def network(self, name: str) -> Json:
        """All that the engine knows of a network. Refused with 404 when there is none."""
        with _translated(self.host):
            return await (await self._open().networks.get(name)).show()

    async def add_network(self, config: Json) -> None:
        """A new network. Refused with 409 when its name is taken."""
        with _translated(self.host):
            await self._open().networks.create(config)

    async def remove_network(self, name: str) -> None:
        """Remove a network. Refused with 403 while containers are in it."""
        with _translated(self.host):
            await (await self._open().networks.get(name)).delete()

    # ── the connection ────────────────────────────────────────────────────────────────────────────────────────────────

    def _open(self) -> aiodocker.Docker:
        if self._docker is None:
            limit = aiohttp.ClientTimeout(total=CALL_S, sock_connect=CONNECT_S)
            # One connection waits for the end of each worker, so there must be no bound on their number.
            if self.host.startswith(_UNIX):
                url, self._connector = "http://engine", aiohttp.UnixConnector(self.host.removeprefix(_UNIX), limit=0)
            else:
                url = f"{'https' if self._tls else 'http'}://{self.host.rpartition('//')[2]}"
                self._connector = aiohttp.TCPConnector(limit=0, ssl=self._tls or True)
            self._docker = aiodocker.Docker(url=url, connector=self._connector, timeout=limit)
        return self._docker


@contextmanager
def _translated(host: str) -> Iterator[None]:
    """The library's errors as ours."""
    try:
        yield
    except DockerStreamError as error:
        raise Refusal(0, error.message) from None
    except DockerError as error:
        if error.status == _NO_CONNECTION:
            raise unavailable(host) from None
        raise Refusal(error.status, error.message) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # a connection that broke, an engine that does not answer, half an answer
        raise unavailable(host, str(error)) from None


def unavailable(host: str, why: str = "") -> Unavailable:
    """What to say when the engine does not answer."""
    return Unavailable(
        f"the Docker engine at {host} does not answer" + (f": {why}" if why else ""),
        code="engine_unavailable",
        next_step="start it (systemctl start docker), then look with: stoker doctor",
    )
