"""What stays of a worker when its pod is removed: how it ended, and its last output. A config map in the pod's namespace.

There every server reads it, whichever wrote it. Objects of a cluster are no place for megabytes: of a long output the end is kept,
packed.
"""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from stoker.ids import WorkerId
from stoker.runtimes import LogLine
from stoker.runtimes.container import WORKER, container_name
from stoker.runtimes.kubernetes.api import Labels
from stoker.worker import Exit

OUTPUT_MOST: Final = 768 * 1024
"""Bytes of output before packing: what the cluster's database takes in one object even if nothing can be packed."""
_END: Final = "end"
_OUTPUT: Final = "output.gz"
_GZIP: Final = 31
"""What zlib calls its head and its largest window."""


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """How a worker ended; `ran` is false for one that never started."""

    exit: Exit
    ran: bool = True


def record_of(worker: WorkerId, end: End, output: Sequence[LogLine], labels: Labels, *, bytes_max: int) -> ConfigMap:
    """The record. Blocks, for the packing of some hundred kilobytes."""
    text = "".join(f"{line.at_ms} {line.text}\n" for line in output).encode("utf-8", "replace")
    kept = text[-min(bytes_max, OUTPUT_MOST) :]
    if len(kept) < len(text):
        kept = kept.partition(b"\n")[2]
    said = json.dumps({"code": end.exit.code, "text": end.exit.text, "ran": end.ran})
    return ConfigMap(
        metadata=ObjectMeta(name=container_name(worker), labels=dict(labels)),
        data={_END: said},
        binaryData={_OUTPUT: b64encode(_packed(kept)).decode()},
    )


def _packed(text: bytes) -> bytes:
    """As gzip, the same bytes with every Python: `gzip.compress` names another system in its head since 3.13."""
    return zlib.compress(text, level=6, wbits=_GZIP)


def end_in(record: ConfigMap) -> tuple[WorkerId, End] | None:
    """Whose record it is and what it says; None for a config map that is none."""
    labels = (record.metadata.labels if record.metadata is not None else None) or {}
    said = (record.data or {}).get(_END)
    if WORKER not in labels or said is None:
        return None
    read = json.loads(said)
    return WorkerId(labels[WORKER]), End(exit=Exit(code=read["code"], text=read["text"]), ran=read["ran"])


def output_bytes_in(record: ConfigMap) -> int:
    """How much room its output takes, packed."""
    return len((record.binaryData or {}).get(_OUTPUT, "")) * 3 // 4


def output_in(record: ConfigMap, tail: int) -> list[LogLine]:
    """The last lines, oldest first. Blocks, for the unpacking."""
    packed = (record.binaryData or {}).get(_OUTPUT, "")
    text = gzip.decompress(b64decode(packed)).decode("utf-8", "replace") if packed else ""
    stamped = [line.partition(" ") for line in text.split("\n") if line]
    return [LogLine(at_ms=int(stamp), text=words) for stamp, _, words in stamped[-tail:]] if tail > 0 else []
