"""The names of images, and what the engine says while it fetches one. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stoker.amounts import counted
from stoker.errors import InvalidInput, StokerError, Unavailable
from stoker.registry import full_name

_PINNED: Final = re.compile(r"(.+@)?sha256:[0-9a-f]{64}")
_NAME: Final = re.compile(
    r"(?P<host>[A-Za-z0-9.-]+(:\d+)?/)?"
    r"(?P<path>[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?"
)


def is_pinned(image: str) -> bool:
    """Whether the name means the same bytes for ever."""
    return bool(_PINNED.fullmatch(image))


def check_name(image: str) -> None:
    """Raise `InvalidInput` for what no engine could understand."""
    if is_pinned(image) and not image.count("@"):
        return
    if not _NAME.fullmatch(image):
        raise InvalidInput(
            f"'{image[:200]}' is no name of a container image" if image else "an image is needed",
            field="image",
            next_step="write it as docker pull takes it: [HOST/]NAME[:TAG][@DIGEST], in small letters",
        )


def repository(image: str) -> str:
    """The full name without tag and digest."""
    name = full_name(image).partition("@")[0]
    host, slash, path = name.rpartition("/")
    return host + slash + path.partition(":")[0]


def digest_of(image: str, found: Mapping[str, Any]) -> str:
    """The name by which the same bytes are found again: of its registry, or the engine's own id for what was built here."""
    known: Sequence[str] = found.get("RepoDigests") or ()
    return next((one for one in known if repository(one) == repository(image)), str(found["Id"]))


@dataclass(slots=True)
class _Layer:
    status: str = ""
    read: int = 0
    total: int = 0


class Progress:
    """Adds up what the engine says about each layer. `began_ms` is when the pull began."""

    def __init__(self, image: str, began_ms: int) -> None:
        self._image = image
        self._began_ms = began_ms
        self._layers: dict[str, _Layer] = {}

    def hear(self, line: Mapping[str, Any]) -> None:
        """Take in one line of the engine's stream."""
        layer, status = line.get("id"), str(line.get("status", ""))
        if not layer or not _LAYER_WORDS.fullmatch(status):
            return  # a word about the whole image
        known = self._layers.setdefault(str(layer), _Layer())
        known.status = status
        detail = line.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            known.read, known.total = int(detail.get("current", 0)), int(detail["total"])
        elif status in _FETCHED:
            known.read = known.total

    def text(self, now_ms: int) -> str:
        """As `pulling NAME: 3 of 7 layers, 120 of 400 MB, 35.0 MB/s`."""
        layers = self._layers.values()
        if not layers:
            return f"pulling {self._image}: asking the registry"
        done = sum(layer.status in _READY for layer in layers)
        read, total = sum(layer.read for layer in layers), sum(layer.total for layer in layers)
        words = f"pulling {self._image}: {done} of {counted(len(layers), 'layer')}"
        if total:
            speed = read / 1e6 / max(0.001, (now_ms - self._began_ms) / 1000)
            words += f", {read / 1e6:.0f} of {total / 1e6:.0f} MB, {speed:.1f} MB/s"
        return words


_FETCHED: Final = frozenset({"Verifying Checksum", "Download complete", "Extracting", "Pull complete"})
_READY: Final = frozenset({"Pull complete", "Already exists"})
_LAYER_WORDS: Final = re.compile(
    "Pulling fs layer|Waiting|Downloading|Verifying Checksum|Download complete|Extracting|Pull complete|Already exists"
)

_NEXT_LOGIN: Final = "give the endpoint a registry credential that may read it, and look whether the name is right"
_WORDS: Final[Sequence[tuple[str, type[StokerError], str, str, str]]] = (
    # what the engine's text says, as what, code, our words, next step: the engine offers nothing but text
    ("toomanyrequests|429 too many", Unavailable, "image_rate_limited", "the registry refuses more pulls for now",
     "wait, or use a registry credential with a higher limit"),
    ("no space left", Unavailable, "disk_full", "the disk of the engine is full",
     "make room: stoker image ls, stoker image rm IMAGE"),
    ("no matching manifest|does not match the specified platform", InvalidInput, "wrong_architecture",
     "the image was not built for this machine's architecture", "build it for this machine's architecture"),
    ("unauthorized|denied|authentication required|no basic auth", InvalidInput, "image_denied",
     "the registry denies access, or there is no such image", _NEXT_LOGIN),
    ("manifest unknown|not found|name unknown|repository .* does not exist", InvalidInput, "image_not_found",
     "there is no such image in the registry", "look whether its name and tag are right"),
    ("no such host|connection refused|i/o timeout|deadline exceeded|connection reset|tls|x509|eof|server gave http",
     Unavailable, "registry_unreachable", "the registry cannot be reached", "look whether the engine can reach it"),
)  # fmt: skip


def pull_error(image: str, message: str) -> StokerError:
    """What a failed pull means, with a code and a next step."""
    for pattern, kind, code, words, next_step in _WORDS:
        if re.search(pattern, message, re.IGNORECASE):
            text = f"cannot pull {image}: {words} ({message[:300]})"
            return kind(text, code=code, field="image" if kind is InvalidInput else None, next_step=next_step)
    return Unavailable(f"cannot pull {image}: {message[:300]}", code="pull_failed")


def architecture_error(image: str, theirs: str, ours: str) -> InvalidInput:
    """The image is for other machines."""
    return InvalidInput(
        f"{image} was built for {theirs}; this machine is {ours}",
        code="wrong_architecture",
        field="image",
        next_step=f"build it for {ours}",
    )
