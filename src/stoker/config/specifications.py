"""Kinds of places for workers: the part of the settings that is a list of tables."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from stoker.specification import Specification


class DeclaredSpecification(BaseModel):
    """A kind of place for workers, as the operator declares it: a table `[[specifications]]` of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] = Field(
        description="What endpoints name it by: letters, digits, `.`, `_` and `-`."
    )
    name: Annotated[str, Field(max_length=100)] = Field("", description="What people call it; empty: its id.")
    gpu: Annotated[str, Field(max_length=100)] = Field(
        "",
        description="Part of the name that the driver has for its GPUs, in any case of letters; a GPU belongs to the first table "
        "that fits. Empty: places without GPUs.",
    )
    gpu_memory_gb: int = Field(0, ge=0, description="Memory of one of its GPUs, in GB; 0: as the driver says.")
    slots: int | None = Field(
        None, ge=0, description="Workers without GPUs that may be there at once; left out: 8 for each core."
    )
    cpus: float = Field(
        0.0,
        ge=0,
        description="The most CPU cores that a container may use: for each of its GPUs, or in all without any; 0: `worker_cpus`.",
    )
    memory_gb: float = Field(
        0.0,
        ge=0,
        description="Memory in GiB, counted in the same way: reserved for the worker, and the most that a container may use; 0: "
        "none is reserved, and `worker_memory_gb` is the most.",
    )
    price_per_hour: float = Field(
        0.0, ge=0, le=1_000_000, description="Price of one GPU, or of one worker without any, in your currency."
    )
    node_selector: dict[str, str] = Field(
        {}, description="Labels of the nodes that have it, for runtimes that have nodes."
    )

    def specification(self) -> Specification:
        """As a rule. A kind without GPUs has as many places as it would have if nobody declared it."""
        return Specification(**self.model_dump() | {"name": self.name or self.id})


def _tables(given: object) -> object:
    """The environment holds text: a list of objects in JSON."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given or "[]")
    except ValueError:
        raise ValueError("it is not a list in JSON") from None


def _own_ids(declared: tuple[DeclaredSpecification, ...]) -> tuple[DeclaredSpecification, ...]:
    if len({one.id for one in declared}) < len(declared):
        raise ValueError("two of them have the same id")
    return declared


DeclaredSpecifications = Annotated[
    tuple[DeclaredSpecification, ...], BeforeValidator(_tables), AfterValidator(_own_ids)
]
"""All of them, each with an id of its own; in the environment a list in JSON."""
