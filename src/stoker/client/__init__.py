"""The management API over HTTP, as the command line speaks it.

One method per route that the command line needs; an answer is the API's JSON, typed by `shapes`. Whatever goes
wrong is a `StokerError`: what the server refused comes back as the class that its status stands for, with the server's
own words; a server that cannot be reached, does not answer, or is no Stoker is `Unavailable`. Nothing is retried: the
caller knows whether doing something twice is harmless.

Synchronous, because its only caller is a command that does one thing and ends. The HTTP library is imported where it is used: most
of the time of `stoker --help` would be its import.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, cast
from urllib.parse import quote

from stoker.client.shapes import (
    BudgetJson,
    BudgetsJson,
    EndpointJson,
    EndpointsJson,
    EventsJson,
    ImageFoundJson,
    ImagesJson,
    JobJson,
    JobsJson,
    JobWhyJson,
    KeyJson,
    KeysJson,
    LogLineJson,
    NamedImageJson,
    PurgedJson,
    RatedJson,
    WhyJson,
    WorkerJson,
    WorkersJson,
)
from stoker.errors import (
    Conflict,
    Defect,
    Forbidden,
    InvalidInput,
    NotFound,
    Refused,
    StokerError,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from stoker.hosts import is_loopback

if TYPE_CHECKING:
    import httpx

PATIENCE_S: Final = 30.0
"""How long one answer may take, beyond what the call itself asked the server to wait."""

CONNECT_S: Final = 5.0
"""How long it may take to be connected."""

PIECE_BYTES: Final = 256 * 1024
"""Of a file that is read and sent at once."""

FLUSH_S: Final = 600.0
"""How long the server may take to bring a file to its disk once it has all of it."""

GONE_SHOWN: Final = 10
"""How many workers that went are shown with an endpoint's: enough to see that each of them crashes."""

Params = Mapping[str, str | int | bool | Sequence[str] | None]
"""Of a query string; None leaves one out."""


# ── the client ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Client:
    """A connection to one server as one API key. Use it in a `with` block."""

    def __init__(self, url: str, api_key: str, *, patience_s: float = PATIENCE_S) -> None:
        """`url` is an absolute http or https URL; `api_key` is ASCII."""
        import httpx

        self._url = url.rstrip("/")
        self._patience_s = patience_s
        self._http = httpx.Client(
            base_url=self._url,
            headers={"Authorization": f"Bearer {api_key}", "Accept": "application/json"},
            timeout=httpx.Timeout(patience_s, connect=min(CONNECT_S, patience_s)),
            # HTTP_PROXY is meant for the way out, and a proxy's localhost is not ours
            trust_env=not is_loopback(httpx.URL(url).host),
            verify=httpx.create_ssl_context() if url.startswith("https://") else True,  # SSL_CERT_FILE counts there too
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    # endpoints

    def endpoints(self) -> EndpointsJson:
        """The team's endpoints, by name."""
        return cast(EndpointsJson, self._ask("GET", "/api/endpoints"))

    def create_endpoint(self, settings: Mapping[str, Any], *, warm: bool | None = None) -> EndpointJson:
        """Make an endpoint; what `settings` lacks gets the server's default. `warm` None fetches its image where that can be done."""
        return cast(EndpointJson, self._ask("POST", "/api/endpoints", settings, params={"warm": warm}))

    def endpoint(self, ref: str) -> EndpointJson:
        """The endpoint of that name or id."""
        return cast(EndpointJson, self._ask("GET", f"/api/endpoints/{_segment(ref)}"))

    def update_endpoint(self, ref: str, settings: Mapping[str, Any], *, warm: bool | None = None) -> EndpointJson:
        """Change what `settings` names and nothing else; the image of a new release is fetched as `create_endpoint` says."""
        path = f"/api/endpoints/{_segment(ref)}"
        return cast(EndpointJson, self._ask("PATCH", path, settings, params={"warm": warm}))

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

    def jobs(self, ref: str, **wanted: Any) -> JobsJson:
        """A page of the endpoint's jobs, newest first; `wanted` are the parameters of the route, None where they do not choose."""
        return cast(JobsJson, self._ask("GET", f"/api/endpoints/{_segment(ref)}/jobs", params=wanted))

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

    def capsule(self, job: str) -> bytes:
        """The job in one file, as the server wrote it."""
        return self._answered("GET", f"/api/jobs/{_segment(job)}/capsule").content

    def why_endpoint(self, ref: str) -> WhyJson:
        """Why the endpoint has the workers that it has."""
        return cast(WhyJson, self._ask("GET", f"/api/endpoints/{_segment(ref)}/why"))

    def why_worker(self, worker: str) -> WhyJson:
        """Why the worker is in its state."""
        return cast(WhyJson, self._ask("GET", f"/api/workers/{_segment(worker)}/why"))

    def input(self, job: str) -> Any:
        """What was submitted with the job."""
        return self._ask("GET", f"/api/jobs/{_segment(job)}/input")

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

    # events

    def events(self, query: Params, *, after: str | None, wait_s: int = 0) -> EventsJson:
        """What happened after that event, or from now on; `query` chooses. Waits up to `wait_s` for the first one."""
        params = {**query, "after": after, "wait_s": wait_s}
        return cast(EventsJson, self._ask("GET", "/api/events", params=params, wait_s=wait_s))

    # images

    def images(self) -> ImagesJson:
        """The team's images on the server's machine."""
        return cast(ImagesJson, self._ask("GET", "/api/images"))

    def warm_image(self, image: str, *, credential: str | None = None) -> NamedImageJson:
        """Begin to fetch an image, with the credential of that name."""
        body = {"image": image, "credential": credential}
        return cast(NamedImageJson, self._ask("POST", "/api/images/warm", body))

    def check_image(self, image: str, *, command: str = "", credential: str | None = None) -> ImageFoundJson:
        """Look whether workers could have an image, with the credential of that name."""
        body = {"image": image, "command": command, "credential": credential}
        return cast(ImageFoundJson, self._ask("POST", "/api/images/check", body))

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

    # budgets and rates

    def budgets(self, *, team: str | None = None) -> BudgetsJson:
        """The team's budget, then those of its endpoints; `team` is another's, for the operator."""
        return cast(BudgetsJson, self._ask("GET", "/api/budgets", params={"team": team}))

    def set_budget(self, endpoint: str | None, amounts: Mapping[str, Any], *, team: str | None = None) -> BudgetJson:
        """Set the budget of an endpoint, or with None that of a team: `period`, and the amounts `warn`, `queue`, `refuse`."""
        return cast(BudgetJson, self._ask("PUT", _budget(endpoint), amounts, params={"team": team}))

    def remove_budget(self, endpoint: str | None, *, team: str | None = None) -> BudgetJson:
        """Take it away; as it was."""
        return cast(BudgetJson, self._ask("DELETE", _budget(endpoint), params={"team": team}))

    def set_endpoint_rate(self, endpoint: str, rate: int | None, *, team: str | None = None) -> RatedJson:
        """How often each key may ask `/run` of it in ten seconds, others in proportion; None as the server says. For the operator."""
        path = f"/api/endpoints/{_segment(endpoint)}/rate"
        return cast(RatedJson, self._ask("PUT", path, {"rate": rate}, params={"team": team}))

    def set_key_rate(self, key: str, rate: int | None) -> RatedJson:
        """How often the key may ask `/run` of each endpoint in ten seconds at most; None as the endpoint says."""
        return cast(RatedJson, self._ask("PUT", f"/api/keys/{_segment(key)}/rate", {"rate": rate}))

    # files of volumes

    def upload(self, volume: str, path: str, file: BinaryIO, size: int) -> dict[str, Any]:
        """Store `size` bytes of a file, which is never whole in memory, under a path of the volume."""
        timeout = self._silence(FLUSH_S)
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        where = _file(volume, path)
        sent = self._send("PUT", where, content=_pieces(file, size), headers=headers, timeout=timeout)
        return cast(dict[str, Any], sent)

    def download(self, volume: str, path: str) -> Iterator[bytes]:
        """A file of the volume, piece by piece. One that breaks off raises `Unavailable`."""
        with self._translated(), self._http.stream("GET", _file(volume, path)) as response:
            if not response.is_success:
                response.read()
                raise self._refusal(response)
            yield from response.iter_raw(PIECE_BYTES)

    def delete_file(self, volume: str, path: str, *, recursive: bool) -> dict[str, Any]:
        """Delete a file or directory of the volume."""
        gone = self._ask("DELETE", _file(volume, path), params={"recursive": recursive or None})
        return cast(dict[str, Any], gone)

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

    def usage_as_csv(self, params: Params) -> str:
        """Usage as a table for spreadsheets; `params` as for `/api/usage`."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._answered("GET", "/api/usage.csv", params=given, headers={"Accept": "text/csv"}).text

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
        response = self._answered(method, path, **what)
        try:
            return response.json()
        except (ValueError, RecursionError):
            raise self._stranger(response) from None

    def _answered(self, method: str, path: str, **what: Any) -> httpx.Response:
        with self._translated():
            response = self._http.request(method, path, **what)
        if not response.is_success:
            raise self._refusal(response)
        return response

    def _lines(self, path: str, params: Params, *, patient: bool = False) -> Iterator[LogLineJson]:
        """Lines of an NDJSON answer as they come; `patient` bears any silence between them."""
        timeout = self._silence(None) if patient else self._patience(0)
        with self._translated(), self._http.stream("GET", path, params=params, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise self._refusal(response)
            for line in _split(response.iter_bytes()):
                try:
                    yield cast(LogLineJson, json.loads(line))
                except ValueError:
                    raise self._stranger(response) from None

    def _silence(self, read_s: float | None) -> httpx.Timeout:
        """Patience as ever, but for what is read."""
        import httpx

        return httpx.Timeout(self._patience_s, read=read_s)

    def _patience(self, wait_s: int) -> httpx.Timeout:
        import httpx

        return httpx.Timeout(self._patience_s + wait_s, connect=min(CONNECT_S, self._patience_s))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of the connection become `Unavailable`."""
        import httpx

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
    429: TooMany,
    422: InvalidInput,
    500: Defect,
}


def _segment(word: str) -> str:
    """`word` as one segment of a path; what would mean another path is the name of nothing."""
    if word.strip(".") == "":
        raise NotFound(f"there is nothing called '{word}'")
    return quote(word, safe="", errors="surrogateescape")


def _budget(endpoint: str | None) -> str:
    """Where the budget of an endpoint is, or that of a team."""
    return "/api/budget" if endpoint is None else f"/api/endpoints/{_segment(endpoint)}/budget"


def _file(volume: str, path: str) -> str:
    """Where a file of a volume is. Raises `NotFound` for names that would mean another path."""
    return "/".join(["/api/volumes", _segment(volume), "files", *map(_segment, path.strip("/").split("/"))])


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Exactly so many bytes, whatever the file has become meanwhile: the length was said before. Raises `InvalidInput`."""
    left = size
    while left:
        piece = file.read(min(left, PIECE_BYTES))
        if not piece:
            raise InvalidInput("the file became shorter while it was read")
        left -= len(piece)
        yield piece


def _split(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines that end with a newline and nothing else: text may hold U+2028, which httpx would split at."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from filter(None, lines)
    if rest:
        yield rest


__all__ = ["PATIENCE_S", "Client", "Params"]
