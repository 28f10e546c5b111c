"""The values of the Helm chart: `values.yaml`, `values.schema.json` and the table of the documentation come from here.

The settings of the server are among them, with the ranges that the server itself has, so that a wrong one is refused before anything
is installed. What only the chart can know, such as the address of the servers, is no setting of its users.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from scripts import machines
from stoker.config import Settings

OWNED: Final = frozenset(
    {
        "host",
        "port",
        "data_dir",
        "database",
        "worker_url",
        "public_url",
        "runtime",
        "docker_host",
        "installation",
        "kubernetes_config",
        "kubernetes_context",
        "kubernetes_namespace",
        "kubernetes_namespace_per_team",
        "bootstrap_key",
        "secrets_key",
        "secrets_key_file",
        "metrics_key",
        "metrics_open",
    }
)
"""Settings that other values stand for, or that a pod has no use for."""
AS_TYPES: Final = {"string", "integer", "number", "boolean"}

Name = Annotated[str, Field(pattern="^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$", max_length=63)]
"""A name in a cluster; may be empty."""
Words = dict[str, str]
Anything = dict[str, Any]


class Part(BaseModel):
    """Values that belong together. Unknown ones are refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Image(Part):
    """The image of the server, made from `deploy/Dockerfile`."""

    repository: str = Field("stoker", min_length=1, description="Where it is, such as `registry.example.com/stoker`.")
    tag: str = Field("", description="Its tag, or `sha256:…`; empty: the version of the chart.")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When nodes ask for it."
    )
    pull_secrets: list[Name] = Field([], description="Secrets of the namespace with which it is pulled.")


class Secret(Part):
    """What only the servers may know."""

    name: Name = Field(
        "",
        description="A secret that is there: `secrets-key` (32 bytes in base64), `database` (the URL; with a bundled database "
        "`database-password` instead, without signs that a URL cannot hold), and if you wish `bootstrap-key` and `metrics-key`. Empty: the chart makes one at the first "
        "installation, which stays when it is removed. Keep a copy of `secrets-key`.",
    )


class Bundled(Part):
    """One PostgreSQL beside the servers, to try Stoker."""

    enabled: bool = Field(False, description="Whether there is one. Nobody makes backups of it.")
    image: str = Field("postgres:17", min_length=1, description="Its image.")
    size: str = Field(
        "8Gi",
        pattern="^([0-9]+[KMGT]i)?$",
        description="The size of its claim; empty: none, it lives as long as its pod.",
    )
    storage_class: str = Field("", description="The storage class of the claim; empty: the cluster's.")
    resources: Anything = Field({}, description="What it is promised and may use.")


class Database(Part):
    """Where PostgreSQL is."""

    url: str = Field(
        "",
        pattern="^(postgres(ql)?://.+)?$",
        description="`postgresql://USER:PASSWORD@HOST:PORT/NAME`, for the secret that the chart makes.",
    )
    bundled: Bundled = Field(Bundled())


class Workers(Part):
    """The pods of workers."""

    namespace: Name = Field("", description="Where they live; it has to be there. Empty: where the servers are.")
    namespace_per_team: bool = Field(
        False,
        description="Whether each team has a namespace of its own. The servers' account may then do in all namespaces what it otherwise may in one.",
    )
    url: str = Field(
        "", pattern="^(https?://.+)?$", description="The URL under which they reach the servers; empty: the service."
    )


class Service(Part):
    """The address of the servers in the cluster."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field("ClusterIP", description="How it is reached.")
    port: int = Field(8700, ge=1, le=65535, description="Its port.")
    annotations: Words = Field({}, description="Annotations of the service.")


class Ingress(Part):
    """The address of the servers outside of the cluster."""

    enabled: bool = Field(False, description="Whether there is one.")
    class_name: str = Field("", description="The class of the ingress; empty: the cluster's.")
    host: str = Field("", description="The name of the host: answers show it to clients. Needed.")
    tls_secret: Name = Field("", description="The secret with its certificate; empty: no TLS.")
    annotations: Words = Field(
        {},
        description="For what its controller must allow: 330 s without an answer, bodies of `input_bytes_max`, no buffering. For ingress-nginx: "
        '`proxy-read-timeout: "330"`, `proxy-body-size: 8m`, `proxy-buffering: "off"` (before each `nginx.ingress.kubernetes.io/`).',
    )


class ServiceMonitor(Part):
    """For the operator of Prometheus: it asks each server with the secret's `metrics-key`."""

    enabled: bool = Field(False, description="Whether there is one. The cluster has to know the kind.")
    interval: str = Field("15s", pattern="^[0-9]+(s|m)$", description="How often servers are asked.")
    labels: Words = Field({}, description="Labels by which Prometheus finds it.")


class Metrics(Part):
    """What Prometheus reads."""

    open: bool = Field(False, description="Whether everybody who reaches a server may read its metrics.")
    annotations: bool = Field(
        False,
        description="Whether pods have the annotations `prometheus.io/scrape`. They carry no key, so this needs `metrics.open`.",
    )
    service_monitor: ServiceMonitor = Field(ServiceMonitor())


class Values(Part):
    """All values of the chart."""

    replicas: int = Field(2, ge=0, le=64, description="How many servers there are.")
    image: Image = Field(Image())
    secret: Secret = Field(Secret())
    database: Database = Field(Database())
    installation: str = Field(
        "",
        pattern="^[a-z0-9-]{0,32}$",
        description="The label by which workers are known as this installation's; empty: the namespace and the name of the release, which must then be "
        "32 characters at most together.",
    )
    workers: Workers = Field(Workers())
    settings: Anything = Field(
        {},
        description="Settings of the server, by the names and with the ranges of the reference; those that other values stand for are refused.",
    )
    service: Service = Field(Service())
    ingress: Ingress = Field(Ingress())
    metrics: Metrics = Field(Metrics())
    resources: Anything = Field(
        {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        description="What a server is promised and may use.",
    )
    pod_annotations: Words = Field({}, description="Annotations of the servers' pods.")
    node_selector: Words = Field({}, description="Labels of the nodes that servers run on.")
    tolerations: list[Anything] = Field([], description="Taints of nodes that servers do not mind.")
    affinity: Anything = Field({}, description="Where servers run; empty: on different nodes if there are several.")
    priority_class: str = Field("", description="The priority class of the servers' pods; empty: the cluster's.")


# ── the three forms ───────────────────────────────────────────────────────────────────────────────────────────────────


def values_yaml() -> str:
    """The defaults, each with what it means."""
    head = "# Written by scripts/docs.py from scripts/chart.py. What else there is to say: docs/how-to/kubernetes.md.\n"
    return head + "".join(_yaml(Values(), 0))


def _yaml(part: Part, depth: int) -> Iterator[str]:
    space = "  " * depth
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        yield "\n" if depth == 0 else ""
        if isinstance(value, Part):
            yield from _comment(type(value).__doc__ or "", space)
            yield f"{space}{field.alias}:\n"
            yield from _yaml(value, depth + 1)
        else:
            yield from _comment(field.description or "", space)
            yield f"{space}{field.alias}: {json.dumps(value)}\n"


def _comment(text: str, space: str) -> Iterator[str]:
    line = f"{space}#"
    for word in text.split():
        if len(line) + 1 + len(word) > 120:
            yield f"{line}\n"
            line = f"{space}#"
        line += f" {word}"
    yield f"{line}\n"


def schema() -> str:
    """What values there may be, as JSON Schema."""
    known = Values.model_json_schema(by_alias=True)
    settings = Settings.model_json_schema()
    offered = {name: _setting(about) for name, about in settings["properties"].items() if name not in OWNED}
    known["properties"]["settings"] |= {"additionalProperties": False, "properties": offered}
    known["$defs"] |= settings["$defs"]
    known["properties"]["global"] = {"type": "object", "description": "What charts that hold this one share; unused."}
    known["allOf"] = list(_agreements())
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **_plain(known)}, indent=2) + "\n"


def _setting(about: Mapping[str, Any]) -> dict[str, Any]:
    """A setting as one type: those that may be absent are left out instead."""
    kinds = about.get("anyOf")
    if kinds is None:
        return dict(about)
    chosen = next(kind for kind in kinds if kind["type"] in AS_TYPES)
    return {name: value for name, value in about.items() if name != "anyOf"} | {"type": chosen["type"]}


def _agreements() -> Iterator[dict[str, Any]]:
    """Values that need each other."""
    for when, then in (
        ({"metrics": {"annotations": True}}, {"metrics": {"open": {"const": True}}}),
        ({"ingress": {"enabled": True}}, {"ingress": {"host": {"minLength": 1}}}),
    ):
        ((part, chosen),) = when.items()
        ((name, value),) = chosen.items()
        yield {
            "if": {"properties": {part: {"properties": {name: {"const": value}}, "required": [name]}}},
            "then": {"properties": {part: {"properties": then[part]}}},
        }
    empty = {"name": {"const": ""}}
    unbundled = {"bundled": {"properties": {"enabled": {"const": False}}}}
    yield {
        "if": {"properties": {"secret": {"properties": empty}, "database": {"properties": unbundled}}},
        "then": {"properties": {"database": {"properties": {"url": {"minLength": 1}}}}},
    }


def _plain(value: Any) -> Any:
    """Without the titles that the library makes up."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if not (name == "title" and isinstance(one, str))}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def table() -> str:
    """All values for the documentation."""
    return machines.table(["Value", "Default", "Meaning"], [list(row) for row in _rows(Values(), "")])


def _rows(part: Part, above: str) -> Iterator[tuple[str, str, str]]:
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, Part):
            yield from _rows(value, f"{above}{field.alias}.")
        else:
            shown = "empty" if value in ("", [], {}) else f"`{json.dumps(value)}`"
            yield f"`{above}{field.alias}`", shown, " ".join([field.description or "", _choices(field)]).strip()


def _choices(field: FieldInfo) -> str:
    values = (
        getattr(field.annotation, "__args__", ()) if getattr(field.annotation, "__origin__", None) is Literal else ()
    )
    return f"One of {', '.join(f'`{value}`' for value in values)}." if values else ""
