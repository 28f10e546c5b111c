"""Where volumes really are on the machine, before the engine is told to mount them.

The engine follows links, and whoever may write below a root may put one there: so a directory of the machine is looked up first, and
what it leads to must be allowed as well. Between this and the mount a worker could still change a directory for a link: who may
write to a root is trusted with all that lies below any root, which is what the settings' documentation says.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import replace

from stoker.errors import InvalidInput
from stoker.runtimes import Volume
from stoker.volume import Mount, MountTerms, check_of_machine


def found(volumes: Sequence[Volume], terms: MountTerms) -> tuple[Volume, ...]:
    """The same volumes, with sources that hold no link. Blocks. Raises `InvalidInput` (`mount_not_allowed`)."""
    real = MountTerms(
        roots=[os.path.realpath(root) for root in terms.roots], kept=[os.path.realpath(one) for one in terms.kept]
    )
    return tuple(one if one.name else _found(one, terms, real) for one in volumes)


def _found(volume: Volume, terms: MountTerms, real: MountTerms) -> Volume:
    if not volume.source.startswith("/"):
        raise InvalidInput(
            f"'{volume.source}' is no directory of the machine", code="mount_not_allowed", field="volumes"
        )
    check_of_machine(Mount(source=volume.source, path=volume.target), terms)
    source = os.path.realpath(volume.source)
    check_of_machine(Mount(source=source, path=volume.target), real)
    return replace(volume, source=source)


__all__ = ["found"]
