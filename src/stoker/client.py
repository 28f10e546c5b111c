"""The management API over HTTP, as the command line speaks it.

One method per route that the command line needs; an answer is the API's JSON, typed by the shapes below. Whatever goes
wrong is a `StokerError`: what the server refused comes back as the class that its status stands for, with the server's
own words; a server that cannot be reached, does not answer, or is no Stoker is `Unavailable`. Nothing is retried: the
caller knows whether doing something twice is harmless.

Synchronous, because its only caller is a command that does one thing and ends.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, NotRequired, Self, TypedDict, cast
from urllib.parse import quote

import httpx

from stoker.errors import (
    Conflict,
    Defect,
    Forbidden,
    InvalidInput,
    NotFound,
    Refused,
    StokerError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

PATIENCE_S: Final = 30.0
"""How long one answer may take, beyond what the call itself asked the server to wait."""

CONNECT_S: Final = 5.0
"""How long it may take to be connected."""

GONE_SHOWN: Final = 10
"""How many workers that went are shown with an endpoint's: enough to see that each of them crashes."""

Params = Mapping[str, str | int | bool | None]
"""Of a query string; None leaves one out."""


# ── shapes of the answers; times are milliseconds since the Unix epoch ────────────────────────────────────────────────


class NamedJson(TypedDict):
    """A reference to an endpoint or a member."""

    id: str
    name: str


class StoryLineJson(TypedDict):
    """One line of a job's or worker's story."""

    at_ms: int
    kind: str
    state: str
    reason: str
    attempt: int | None
    worker: str | None
    text: str


class WhyJson(TypedDict):
    """The reason of a state, as a code and in words."""

    reason: str
    text: str


class PolicyJson(TypedDict):
    """The elastic policy."""

    type: str
    value: int


class JobCountsJson(TypedDict):
    """Jobs of an endpoint by state."""

    queued: int
    queued_low: int
    ahead: int
    running: int
    completed: int
    failed: int
    cancelled: int
    timed_out: int
    retried: int


class WorkerCountsJson(TypedDict):
    """Workers of an endpoint by what they do."""

    starting: int
    idle: int
    busy: int
    draining: int
    total: int


class DecisionJson(TypedDict):
    """The latest decision of the autoscaler."""

    at_ms: int
    reason: str
    text: str
    wanted: int


class ReleaseJson(TypedDict):
    """Which release an endpoint's new workers run."""

    id: str
    number: int
    created_ms: int


class EndpointJson(TypedDict):
    """An endpoint with its counters."""

    id: str
    name: str
    app_name: str
    version: int
    release: ReleaseJson
    image: str
    credential: str | None
    entrypoint: str
    command: str
    env: dict[str, str | dict[str, bool]]
    gpus_per_worker: int
    cuda: str
    http_port: int
    volumes: list[str]
    disk_gb: int
    digest: str
    min_workers: int
    max_workers: int
    idle_timeout_s: int
    slots: int
    policy: PolicyJson
    execution_timeout_ms: int
    ttl_ms: int
    retries: int
    retention_s: int
    webhook: str
    deliver_ahead: int | str
    paused_ms: int | None
    created_ms: int
    jobs: JobCountsJson
    workers: WorkerCountsJson
    decision: DecisionJson | None
    urls: dict[str, str]


class ImageJson(TypedDict):
    """An image on the server's machine, or on its way there."""

    name: str
    bytes: int
    pulled_ms: int | None
    used_ms: int | None
    progress: str
    error: str | None


class ImagesJson(TypedDict):
    """Images."""

    images: list[ImageJson]


class NamedImageJson(TypedDict):
    """The image that was asked for."""

    image: str


class ExitJson(TypedDict):
    """How a worker's process ended; `code` None when nobody could see it."""

    code: int | None
    text: str


class WorkerJson(TypedDict):
    """A worker; `held` counts the jobs it holds. `story` only when it was asked for by its id."""

    id: str
    endpoint: NamedJson
    release: str
    state: str
    reason: str
    detail: str
    held: int
    gpus: list[str]
    sdk: str
    decided_ms: int
    launched_ms: int | None
    ready_ms: int | None
    idle_ms: int | None
    gone_ms: int | None
    seen_ms: int | None
    exit: ExitJson | None
    story: NotRequired[list[StoryLineJson]]


class JobJson(TypedDict):
    """A job. Items of a list lack what is not required here; `output` of a running job is its latest progress."""

    id: str
    endpoint: NamedJson
    state: str
    reason: str
    low_priority: bool
    attempt: int
    losses: int
    worker: str | None
    created_ms: int
    queued_ms: int
    claimed_ms: int | None
    finished_ms: int | None
    expires_ms: int
    delay_ms: int | None
    execution_ms: int | None
    output: NotRequired[Any]
    error: NotRequired[Any]
    position: NotRequired[int | None]
    why: NotRequired[WhyJson]
    story: NotRequired[list[StoryLineJson]]


class JobWhyJson(TypedDict):
    """Why a job is in its state."""

    text: str
    reason: str
    state: str


class KeyJson(TypedDict):
    """An API key; `secret` only in the answer that made it."""

    id: str
    name: str
    member: NamedJson
    scopes: list[str]
    endpoints: list[str]
    created_ms: int
    expires_ms: int | None
    used_ms: int | None
    old_until_ms: int | None
    revoked_ms: int | None
    secret: NotRequired[str]


class LogLineJson(TypedDict):
    """One line of a worker's output."""

    at_ms: int
    text: str


class EndpointsJson(TypedDict):
    """All endpoints of the team."""

    endpoints: list[EndpointJson]


class WorkersJson(TypedDict):
    """Workers, oldest first."""

    workers: list[WorkerJson]


class JobsJson(TypedDict):
    """Jobs, newest first."""

    jobs: list[JobJson]


class KeysJson(TypedDict):
    """API keys, oldest first."""

    keys: list[KeyJson]


class PurgedJson(TypedDict):
    """How many jobs were removed from the queue."""

    removed: int


# ── the client ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Client:
    """A connection to one server as one API key. Use it in a `with` block."""

    def __init__(self, url: str, api_key: str, *, patience_s: float = PATIENCE_S) -> None:
        """`url` is an absolute http or https URL; `api_key` is ASCII."""
        self._url = url.rstrip("/")
        self._patience_s = patience_s
        self._http = httpx.Client(
            base_url=self._url,
            headers={"Authorization": f"Bearer {api_key}", "Accept": "application/json"},
            timeout=httpx.Timeout(patience_s, connect=min(CONNECT_S, patience_s)),
            # HTTP_PROXY is meant for the way out, and a proxy's localhost is not ours
            trust_env=not _on_loopback(httpx.URL(url).host),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    # endpoints

    def endpoints(self) -> EndpointsJson:
        """The team's endpoints, by name."""
        return cast(EndpointsJson, self._ask("GET", "/api/endpoints"))

    def create_endpoint(self, settings: Mapping[str, Any]) -> EndpointJson:
        """Make an endpoint; what `settings` lacks gets the server's default."""
        return cast(EndpointJson, self._ask("POST", "/api/endpoints", settings))

    def endpoint(self, ref: str) -> EndpointJson:
        """The endpoint of that name or id."""
        return cast(EndpointJson, self._ask("GET", f"/api/endpoints/{_segment(ref)}"))

    def update_endpoint(self, ref: str, settings: Mapping[str, Any]) -> EndpointJson:
        """Change what `settings` names and nothing else."""
        return cast(EndpointJson, self._ask("PATCH", f"/api/endpoints/{_segment(ref)}", settings))

    def delete_endpoint(self, ref: str) -> EndpointJson:
        """Delete the endpoint; the answer shows it as it was."""
        return cast(EndpointJson, self._ask("DELETE", f"/api/endpoints/{_segment(ref)}"))

    def retry_endpoint(self, ref: str) -> EndpointJson:
        """Launch workers again after a crash loop."""
        return cast(EndpointJson, self._ask("POST", f"/api/endpoints/{_segment(ref)}/retry"))

    def purge_queue(self, ref: str) -> PurgedJson:
        """End every queued job of the endpoint."""
        return cast(PurgedJson, self._ask("POST", f"/api/endpoints/{_segment(ref)}/purge-queue"))

    # jobs

    def submit(
        self, ref: str, job_input: str, *, policy: Mapping[str, Any] | None = None, idempotency_key: str | None = None
    ) -> JobJson:
        """Queue a job. `job_input` is JSON text and travels as it is: no number is rounded on the way (D1)."""
        members = [f'"input":{job_input}']
        if policy:
            members.append(f'"policy":{json.dumps(policy)}')
        headers = {"Content-Type": "application/json"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        path = f"/api/endpoints/{_segment(ref)}/jobs"
        return cast(JobJson, self._send("POST", path, content=f"{{{','.join(members)}}}".encode(), headers=headers))

    def jobs(self, ref: str, *, state: str | None = None, limit: int | None = None) -> JobsJson:
        """The endpoint's jobs, newest first."""
        path = f"/api/endpoints/{_segment(ref)}/jobs"
        return cast(JobsJson, self._ask("GET", path, params={"state": state, "limit": limit}))

    def job(self, job: str, *, wait_s: int = 0) -> JobJson:
        """The job: now, or as soon as something about it changes, at the latest after `wait_s` (0 to 60) seconds."""
        params = {"wait_s": wait_s or None}
        return cast(JobJson, self._ask("GET", f"/api/jobs/{_segment(job)}", params=params, wait_s=wait_s))

    def cancel(self, job: str) -> JobJson:
        """Cancel the job."""
        return cast(JobJson, self._ask("POST", f"/api/jobs/{_segment(job)}/cancel"))

    def retry(self, job: str) -> JobJson:
        """Queue a failed or timed-out job again."""
        return cast(JobJson, self._ask("POST", f"/api/jobs/{_segment(job)}/retry"))

    def why(self, job: str) -> JobWhyJson:
        """Why the job is in its state."""
        return cast(JobWhyJson, self._ask("GET", f"/api/jobs/{_segment(job)}/why"))

    def job_logs(self, job: str, *, follow: bool = False, since_ms: int = 0) -> Iterator[LogLineJson]:
        """What the job's workers wrote about it that is not older than that, and with `follow` what comes until it has ended."""
        params = {"follow": follow, "since_ms": since_ms}
        return self._lines(f"/api/jobs/{_segment(job)}/logs", params, patient=follow)

    # workers

    def workers(self, ref: str | None = None) -> WorkersJson:
        """Workers of one endpoint and the last that went; without an endpoint all that are not gone."""
        if ref is None:
            return cast(WorkersJson, self._ask("GET", "/api/workers"))
        path = f"/api/endpoints/{_segment(ref)}/workers"
        return cast(WorkersJson, self._ask("GET", path, params={"gone": GONE_SHOWN}))

    def worker(self, worker: str) -> WorkerJson:
        """One worker with its story."""
        return cast(WorkerJson, self._ask("GET", f"/api/workers/{_segment(worker)}"))

    def stop_worker(self, worker: str, *, now: bool = False) -> WorkerJson:
        """Drain the worker, or stop it whatever it holds."""
        return cast(WorkerJson, self._ask("POST", f"/api/workers/{_segment(worker)}/stop", {"now": now}))

    def worker_logs(self, worker: str, *, tail: int, follow: bool = False, since_ms: int = 0) -> Iterator[LogLineJson]:
        """The last `tail` lines of its output that are not older than that, and with `follow` what comes until it ends."""
        params = {"tail": tail, "follow": follow, "since_ms": since_ms}
        return self._lines(f"/api/workers/{_segment(worker)}/logs", params, patient=follow)

    # images

    def images(self) -> ImagesJson:
        """The images on the server's machine."""
        return cast(ImagesJson, self._ask("GET", "/api/images"))

    def warm_image(self, image: str) -> NamedImageJson:
        """Begin to fetch an image."""
        return cast(NamedImageJson, self._ask("POST", "/api/images/warm", {"image": image}))

    def remove_image(self, image: str) -> NamedImageJson:
        """Remove an image."""
        return cast(NamedImageJson, self._ask("POST", "/api/images/remove", {"image": image}))

    # keys

    def keys(self) -> KeysJson:
        """The team's API keys."""
        return cast(KeysJson, self._ask("GET", "/api/keys"))

    def create_key(self, wish: Mapping[str, Any]) -> KeyJson:
        """Make a key; its secret is in this answer and nowhere else."""
        return cast(KeyJson, self._ask("POST", "/api/keys", wish))

    def rotate_key(self, key: str, *, grace_s: int) -> KeyJson:
        """Give a key a new secret; it is in this answer and nowhere else."""
        return cast(KeyJson, self._ask("POST", f"/api/keys/{_segment(key)}/rotate", {"grace_s": grace_s}))

    def revoke_key(self, key: str) -> KeyJson:
        """Make a key useless."""
        return cast(KeyJson, self._ask("DELETE", f"/api/keys/{_segment(key)}"))

    # what has no method of its own

    def ask(
        self,
        method: str,
        *path: str,
        body: Mapping[str, Any] | None = None,
        params: Params | None = None,
        patience_s: int = 0,
    ) -> dict[str, Any]:
        """The answer of `/api/…`, made of these segments: for routes whose answers are only printed."""
        whole = "/".join(["/api", *map(_segment, path)])
        return cast(dict[str, Any], self._ask(method, whole, body, params=params, wait_s=patience_s))

    # how it is said

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Params | None = None,
        wait_s: int = 0,
    ) -> object:
        given = {name: value for name, value in (params or {}).items() if value is not None}
        return self._send(method, path, json=body, params=given, timeout=self._patience(wait_s))

    def _send(self, method: str, path: str, **what: Any) -> object:
        with self._translated():
            response = self._http.request(method, path, **what)
        if not response.is_success:
            raise self._refusal(response)
        try:
            return response.json()
        except (ValueError, RecursionError):
            raise self._stranger(response) from None

    def _lines(self, path: str, params: Params, *, patient: bool = False) -> Iterator[LogLineJson]:
        """Lines of an NDJSON answer as they come; `patient` bears any silence between them."""
        timeout = httpx.Timeout(self._patience_s, read=None) if patient else self._patience(0)
        with self._translated(), self._http.stream("GET", path, params=params, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise self._refusal(response)
            for line in _split(response.iter_bytes()):
                try:
                    yield cast(LogLineJson, json.loads(line))
                except ValueError:
                    raise self._stranger(response) from None

    def _patience(self, wait_s: int) -> httpx.Timeout:
        return httpx.Timeout(self._patience_s + wait_s, connect=min(CONNECT_S, self._patience_s))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of the connection become `Unavailable`."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unavailable(
                f"cannot reach Stoker at {self._url}: {str(error) or 'no answer'}",
                code="unreachable",
                next_step="start the server (stoker serve), or say where it is: export STOKER_URL=http://HOST:PORT",
            ) from None
        except httpx.TimeoutException:
            raise Unavailable(
                f"{self._url} did not answer in time; what was asked may still happen",
                code="no_answer",
                next_step="look before you ask again; the server's log says what keeps it busy",
            ) from None
        except httpx.TransportError as error:
            raise Unavailable(
                f"the connection to {self._url} broke: {error}; what was asked may have happened",
                code="connection_broke",
                next_step="look before you ask again",
            ) from None

    def _refusal(self, response: httpx.Response) -> StokerError:
        """The server's own words as the error that its status stands for."""
        try:
            said = response.json()
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict) or not isinstance(said.get("error"), str):
            return self._stranger(response)
        kind = _KINDS.get(response.status_code, Unavailable if response.is_server_error else Refused)
        return kind(said["error"], code=said.get("code"), field=said.get("field"), next_step=said.get("next_step"))

    def _stranger(self, response: httpx.Response) -> Unavailable:
        """Whoever gave this answer does not speak our API."""
        return Unavailable(
            f"{response.url} answered HTTP {response.status_code} without Stoker's JSON",
            code="not_stoker",
            next_step=f"check that {self._url} is a Stoker server of this version, and what stands before it",
        )


_KINDS: Final[Mapping[int, type[StokerError]]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: InvalidInput,
    500: Defect,
}


def _segment(word: str) -> str:
    """`word` as one segment of a path; what would mean another path is the name of nothing."""
    if word.strip(".") == "":
        raise NotFound(f"there is nothing called '{word}'")
    return quote(word, safe="", errors="surrogateescape")


def _split(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines that end with a newline and nothing else: text may hold U+2028, which httpx would split at."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from filter(None, lines)
    if rest:
        yield rest


def _on_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


__all__ = [
    "PATIENCE_S",
    "Client",
    "EndpointJson",
    "EndpointsJson",
    "JobJson",
    "JobWhyJson",
    "JobsJson",
    "KeyJson",
    "KeysJson",
    "LogLineJson",
    "StoryLineJson",
    "WorkerJson",
    "WorkersJson",
]
