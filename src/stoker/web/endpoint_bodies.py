"""What clients say about endpoints and templates: bodies in, fields as the catalog takes them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StrictInt, WithJsonSchema

from stoker.checkup import HealthCheck
from stoker.document import AHEAD_WORDS, NewSecret
from stoker.endpoint import Policy, PolicyType
from stoker.errors import InvalidInput
from stoker.volume import read_mount

JsonObject = dict[str, Any]


class PolicyBody(BaseModel):
    """The elastic policy, or half of it."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["queue_requests", "queue_delay"] | None = None
    value: StrictInt | None = None


class HealthBody(BaseModel):
    """The health check, or a part of it."""

    model_config = ConfigDict(extra="forbid")

    path: str | None = Field(None, description="What is asked for at `http_port`; empty for no check.")
    initial_delay_s: StrictInt | None = Field(None, description="From a worker's launch until it is asked first.")
    period_s: StrictInt | None = Field(None, description="From one question to the next.")
    timeout_s: StrictInt | None = Field(None, description="For one answer.")
    successes: StrictInt | None = Field(None, description="Good answers in a row that make a worker healthy.")
    failures: StrictInt | None = Field(None, description="Bad answers in a row for which a worker is replaced.")


def _env_value(given: object) -> str | NewSecret:
    """A string, or `{"secret": VALUE}`, where `true` stands for the value that is there."""
    if isinstance(given, str):
        return given
    if isinstance(given, dict) and given.keys() == {"secret"}:
        secret = given["secret"]
        if secret is True or isinstance(secret, str):
            return NewSecret(None if secret is True else secret)
    raise ValueError('it must be a string, or {"secret": VALUE}')


EnvValue = Annotated[
    str | NewSecret,
    PlainValidator(_env_value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"secret": {"anyOf": [{"type": "string"}, {"const": True}]}},
                    "required": ["secret"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""The value of an environment variable."""


class FieldsBody(BaseModel):
    """Fields that endpoints and templates have. What is left out keeps its value, or its default."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    type: Literal["async", "sync"] | None = Field(None, description="`async`; `sync` endpoints are not there yet.")
    image: str | None = Field(
        None,
        examples=["dir:/srv/workers/hello"],
        description="What workers run: `dir:PATH` on the server's machine, or a container image where the runtime runs them.",
    )
    credential: str | None = Field(
        None, description="Name or id of the registry credential with which the image is pulled; empty for none."
    )
    entrypoint: str | None = Field(
        None, description="Words before those of the command; empty for the image's own, or for none."
    )
    command: str | None = Field(
        None, examples=["python -u handler.py"], description="What a worker executes; empty for the image's own."
    )
    env: dict[str, EnvValue] | None = Field(
        None, description='Variables of the workers; `{"secret": VALUE}` for one whose value nobody is shown.'
    )
    gpus_per_worker: StrictInt | None = Field(None, description="GPUs that each worker has for itself.")
    specifications: tuple[str, ...] | None = Field(
        None,
        examples=[["rtx-4090-24gb", "rtx-3090-24gb"]],
        description="Instance specifications that a worker may be placed in, the preferred one first: the others are for when it is "
        "full. Empty for any. One that is not there, or could never hold a worker, is refused.",
    )
    cuda: str | None = Field(
        None,
        description="CUDA versions that the machine's driver must offer: empty for any, `12.4, 12.6` for one of these, `>=12.4` "
        "for a least one. A machine that cannot is refused.",
    )
    http_port: StrictInt | None = Field(
        None,
        description="Port of the worker's own HTTP server, 0 for none; not 2222 to 2224. The server's machine, and nobody "
        "else, reaches that of a container.",
    )
    health: HealthBody | None = Field(
        None,
        description="Health check: GET `path` at `http_port`. A worker gets no jobs before it has passed it, nor while it fails, and is "
        "replaced after `failures` bad answers in a row. An empty `path` is no check.",
    )
    volumes: tuple[str, ...] | None = Field(
        None,
        examples=[["models:/models:ro"]],
        description="Volumes of the team that workers see, each `NAME`, `NAME:PATH` or `NAME:PATH:ro`; without a path at the volume's "
        "own. A directory of the machine, `/DIRECTORY:PATH`, only where the setting `mount_roots` allows it.",
    )
    disk_gb: StrictInt | None = Field(
        None,
        description="The most that a worker may write to its own disk, in GiB; 0 for the server's limit; containers only.",
    )
    min_workers: StrictInt | None = Field(None, description="Workers that are kept even without jobs.")
    max_workers: StrictInt | None = Field(None, description="Most workers at once; at least `min_workers`.")
    max_surge: StrictInt | None = Field(
        None,
        description="Workers beyond those that are wanted while a new release replaces an old one, whose workers go on until their "
        "successors are ready; 0 drains old ones first.",
    )
    weight: StrictInt | None = Field(
        None,
        description="How much of a full machine it gets beside other endpoints that want it too: places are shared in proportion to "
        "the weights.",
    )
    idle_timeout_s: StrictInt | None = Field(None, description="How long a worker may be idle before it goes.")
    slots: StrictInt | None = Field(None, description="Jobs that one worker may hold at once.")
    policy: PolicyBody | None = Field(
        None,
        description="What the number of workers follows: `queue_requests` (jobs per worker) or `queue_delay` (seconds that the "
        "oldest job may wait), and its value.",
    )
    execution_timeout_ms: StrictInt | None = Field(
        None, description="How long one attempt of a job may run. A job may bring its own."
    )
    ttl_ms: StrictInt | None = Field(
        None, description="How long a job may wait and run together, from its submission. A job may bring its own."
    )
    retries: StrictInt | None = Field(None, description="How often a job that the platform lost runs again.")
    retention_s: StrictInt | None = Field(None, description="How long results are kept after a job's end.")
    webhook: str | None = Field(
        None,
        description="URL that is told the end of jobs that name no webhook; empty for none.",
    )
    deliver_ahead: Literal["auto", "off"] | StrictInt | None = Field(
        None,
        description="Jobs that a worker may get besides those that it can begin at once: `auto`, `off` or a number.",
    )

    def fields(self, policy: Policy, health: HealthCheck | None = None) -> JsonObject:
        """The fields that were given, as `catalog` takes them; `policy` and `health` complete what was given of theirs."""
        if self.type == "sync":
            raise InvalidInput(
                "type is 'sync'; only async endpoints are there yet",
                code="type_not_supported",
                field="type",
                next_step="leave type out",
            )
        given = {name: getattr(self, name) for name in self.model_fields_set if getattr(self, name) is not None}
        given.pop("type", None)
        for meaning, word in AHEAD_WORDS.items():
            if given.get("deliver_ahead") == word:
                given["deliver_ahead"] = meaning
        if "credential" in given:
            given["credential"] = given["credential"] or None
        if "volumes" in given:
            given["volumes"] = tuple(read_mount(text) for text in given["volumes"])
        if self.health is not None:
            given["health"] = _whole_check(self.health, health)
        if self.policy is not None:
            given["policy"] = _whole(self.policy, policy)
        return given


class EndpointBody(FieldsBody):
    """What can be said about an endpoint."""

    name: str | None = Field(None, description="Part of the URL; 16 random hexadecimal characters if left out.")
    app_name: str | None = Field(None, description="Added to the id in the URL; cannot be changed later.")


class NewEndpointBody(EndpointBody):
    """The same, and a template to begin with."""

    template: str | None = Field(None, description="Name or id of a template, whose fields hold where none are given.")

    def fields(self, policy: Policy, health: HealthCheck | None = None) -> JsonObject:
        """Without the template's."""
        given = super().fields(policy, health)
        given.pop("template", None)
        return given


class AppliedBody(EndpointBody):
    """An endpoint as it shall be, by name."""

    name: str


class TemplateBody(BaseModel):
    """A template: fields, or an endpoint whose fields are taken."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str
    fields: FieldsBody | None = None
    endpoint: str | None = Field(None, description="Name or id of an endpoint to take the fields from.")


def _whole_check(given: HealthBody, present: HealthCheck | None) -> HealthCheck | None:
    """What was given, over what is there; a check needs a path. Raises `InvalidInput`."""
    parts = {name: value for name, value in given.model_dump().items() if value is not None}
    base = {} if present is None else asdict(present)
    if given.path == "":
        return None
    if "path" not in base | parts:
        raise InvalidInput(
            "a health check needs a path",
            field="health.path",
            next_step="for example /health; leave health out for no check",
        )
    return HealthCheck(**(base | parts))


def _whole(given: PolicyBody, present: Policy) -> Policy:
    return Policy(
        type=present.type if given.type is None else PolicyType(given.type),
        value=present.value if given.value is None else given.value,
    )


__all__ = ["AppliedBody", "EndpointBody", "FieldsBody", "NewEndpointBody", "PolicyBody", "TemplateBody"]
