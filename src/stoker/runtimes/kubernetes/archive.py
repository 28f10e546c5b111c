"""The records of ended workers in a cluster: read once, written by whoever buries a worker, emptied when they take too much room."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from lightkube.resources.core_v1 import ConfigMap

from stoker.errors import Unavailable
from stoker.ids import WorkerId
from stoker.runtimes import LogLine
from stoker.runtimes.container import WORKER, container_name
from stoker.runtimes.kubernetes.api import NOT_FOUND, Api, Labels, Refusal, missing_is_fine
from stoker.runtimes.kubernetes.condition import ms
from stoker.runtimes.kubernetes.namespaces import Namespaces
from stoker.runtimes.kubernetes.record import End, end_in, output_bytes_in, output_in, record_of

RECORDS_MOST: Final = 64 * 1024 * 1024
"""Bytes of output in all records together: the database of a cluster holds 2 GiB unless told otherwise, of everything."""


class Archive:
    """What is kept of ended workers. `scope` is the namespace of all records, or all namespaces."""

    def __init__(self, api: Api, scope: str, labels: Labels, namespaces: Namespaces) -> None:
        self._api = api
        self._scope = scope
        self._labels = labels
        self._namespaces = namespaces
        self._ends: dict[WorkerId, End] | None = None

    async def all(self) -> dict[WorkerId, End]:
        """How all of them ended. Raises `Unavailable`."""
        if self._ends is None:
            read = await self._read()
            if self._ends is None:
                self._ends = read
        return self._ends

    async def _read(self) -> dict[WorkerId, End]:
        ends: dict[WorkerId, End] = {}
        for record in await self._list():
            if (found := end_in(record)) is not None and record.metadata is not None:
                worker, ends[worker] = found
                self._namespaces.learn(worker, record.metadata.namespace)
        return ends

    def has(self, worker: WorkerId) -> bool:
        """Whether it is known that there is a record of this worker."""
        return self._ends is not None and worker in self._ends

    async def find(self, worker: WorkerId) -> End | None:
        """The end that somebody has recorded, whoever it was."""
        try:
            found = end_in(await self._api.record(container_name(worker), self._namespaces.of(worker)))
        except Refusal as refusal:
            if refusal.status != NOT_FOUND:
                raise
            return None
        return found[1] if found is not None else None

    async def add(self, worker: WorkerId, end: End, output: Sequence[LogLine], *, bytes_max: int) -> None:
        """Keep a record. One that is there stays as it is."""
        labels = {**self._labels, WORKER: worker}
        record = await asyncio.to_thread(record_of, worker, end, output, labels, bytes_max=bytes_max)
        await self._api.ensure(record, self._namespaces.of(worker))

    async def output(self, worker: WorkerId, tail: int) -> Sequence[LogLine]:
        """The last lines that were kept, oldest first."""
        try:
            record = await self._api.record(container_name(worker), self._namespaces.of(worker))
        except Refusal:
            return []
        return await asyncio.to_thread(output_in, record, tail)

    async def forget(self, worker: WorkerId) -> None:
        """Remove a record."""
        if (await self.all()).pop(worker, None) is not None:
            await missing_is_fine(self._api.delete_record(container_name(worker), self._namespaces.of(worker)))
        self._namespaces.forget(worker)

    async def trim(self, bytes_max: int) -> int:
        """Let go of the output of those that ended first, until the rest fits into that and into `RECORDS_MOST`; how many bytes went."""
        records = [(one, output_bytes_in(one)) for one in await self._list() if end_in(one) is not None]
        over = sum(size for _, size in records) - min(bytes_max, RECORDS_MOST)
        removed = 0
        for record, size in sorted(records, key=lambda pair: ms(_made(pair[0])) or 0):
            if removed >= over:
                break
            if size and record.metadata is not None:
                name, namespace = str(record.metadata.name), str(record.metadata.namespace)
                await missing_is_fine(self._api.empty_record(name, namespace))
                removed += size
        return removed

    async def _list(self) -> Sequence[ConfigMap]:
        try:
            return await self._api.records(self._scope, self._labels)
        except Refusal as refusal:
            raise Unavailable(f"the cluster refuses to list records: {refusal.message}") from None


def _made(record: ConfigMap) -> datetime | None:
    return record.metadata.creationTimestamp if record.metadata is not None else None
