"""Answers about volumes and their files."""

from __future__ import annotations

from typing import TypedDict


class VolumeShown(TypedDict):
    """A volume."""

    id: str
    name: str
    size_gb: int
    mount_path: str
    used_bytes: int | None
    measured_ms: int | None
    over: bool
    endpoints: list[str]
    created_ms: int
    updated_ms: int


class Volumes(TypedDict):
    """All volumes, by name."""

    volumes: list[VolumeShown]


class FileShown(TypedDict):
    """An entry of a directory."""

    name: str
    kind: str
    size: int
    modified_ms: int


class Files(TypedDict):
    """Part of a directory."""

    path: str
    files: list[FileShown]
    more: bool
