"""The reference says what the code says: errors, states, reasons, the worker's environment; and every link leads somewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from scripts import docs
from stoker import errors, fleet, scaling
from stoker.cli import exits
from stoker.errors import StokerError
from stoker.fleet import FleetTerms
from stoker.ids import EndpointId, ReleaseId, TeamId, WorkerId
from stoker.job import SHOWN, JobReason
from stoker.web.app import STATUS
from stoker.web.jobs_v1 import NOVITA
from stoker.web.jobs_v2 import RUNPOD
from stoker.worker import Worker, WorkerReason
from tests.docs import pages
from tests.live import ROOT

SOURCES: Final = sorted((ROOT / "src" / "stoker").rglob("*.py"))
ERRORS: Final = "docs/reference/errors.md"
WAITS: Final = "docs/how-to/when-something-waits-or-fails.md"
PACKAGE: Final = ROOT / "src" / "stoker"
NO_MODULES: Final = {"port", "clients", "…"}
"""Words of the house that are no modules."""
ANSWERED, START, COMMAND = "## What the server answers", "## What keeps", "## What only"

# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────────

AT_START: Final = {
    "invalid_setting",
    "processes_need_postgresql",
    "no_worker_door",
    "invalid_certificate",
    "traces_not_installed",
    "clock_skew",
    "secrets_key_missing",
    "secrets_key_mismatch",
    "secrets_key_alone",
    "invalid_secrets_key",
    "engine_unavailable",
    "no_gateway",
    "no_cluster",
    "no_worker_url",
    "data_dir_in_use",
    "address_in_use",
    "sqlite_too_old",
    "database_too_new",
}
"""Codes that are raised before the server listens."""
MISUSE: Final = {"usage", "invalid_setting", "processes_need_postgresql", "no_worker_door"}
"""Codes for which the command ends with the status of a wrong command line, whatever their class."""
MADE_BY_HTTP: Final = {"no_such_route": "404", "method_not_allowed": "405", "http_error": "other"}
"""Codes of `web.app` for what is no error of ours."""
LAUNCHED_ONLY: Final = {
    ("no_runtime", "Unavailable"),
    ("cannot_start", "InvalidInput"),
    ("launch_failed", "Unavailable"),
    ("no_gpu_toolkit", "Unavailable"),
    ("no_network", "Unavailable"),
    ("no_node", "Unavailable"),
    ("metadata_open", "Unavailable"),
    ("not_admitted", "InvalidInput"),
    ("quota_exceeded", "Unavailable"),
    ("pull_failed", "Unavailable"),
    ("wrong_architecture", "InvalidInput"),
}
"""Raised where no request waits for it."""


def _raised() -> Iterator[tuple[Path, str, str]]:
    """Every error code in the sources: the file, the code, and the class that carries it."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id=name), keywords=keywords):
                    yield from ((path, code, name) for keyword in keywords if (code := _given_code(keyword)))
                case ast.ClassDef(name=name, body=body):
                    yield from ((path, code, name) for line in body if (code := _default_code(line)))
                case _:
                    pass


def _given_code(keyword: ast.keyword) -> str | None:
    match keyword:
        case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
            return code
        case _:
            return None


def _default_code(line: ast.stmt) -> str | None:
    match line:
        case ast.Assign(targets=[ast.Name(id="default_code")], value=ast.Constant(value=str(code))):
            return code
        case ast.AnnAssign(target=ast.Name(id="default_code"), value=ast.Constant(value=str(code))):
            return code
        case _:
            return None


def _codes_in_bodies() -> set[str]:
    """Codes that `web.app` writes into answers itself."""
    (app,) = (path for path in SOURCES if path.name == "app.py")
    text = app.read_text("utf-8")
    table = re.search(r"codes = \{(.*?)\}", text, re.DOTALL)
    assert table is not None
    return {*re.findall(r'"([a-z_]+)"', table[1]), *re.findall(r'"code": "([a-z_]+)"', text), "http_error"}


def _class(name: str) -> type[StokerError]:
    found = getattr(errors, name, None) or getattr(exits, name)
    assert issubclass(found, StokerError)
    return found  # type: ignore[no-any-return]  # narrowed from a look-up by name


COMMANDS = ("backups.py", "backup.py")
"""Files whose errors only the `stoker` command tells."""


def _status(kind: type[StokerError]) -> str:
    return str(next(status for base, status in STATUS.items() if issubclass(kind, base)))


def _by_place() -> Mapping[str, dict[str, str]]:
    """What each of the three tables has to say: code and status."""
    places: dict[str, dict[str, str]] = {ANSWERED: dict(MADE_BY_HTTP), START: {}, COMMAND: {}}
    for path, code, name in _raised():
        if (code, name) in LAUNCHED_ONLY:
            continue
        kind = _class(name)
        client = path.name in COMMANDS or path.parent.name in ("client", "cli", "chaos")
        if client and code == "api_key_missing":  # the same words before anything is sent
            continue
        exit_status = exits.ExitStatus.USAGE if code in MISUSE else exits.status_of(kind("", code=code))
        if client or code in AT_START:
            places[COMMAND if client else START][code] = str(int(exit_status))
        else:
            places[ANSWERED][code] = _status(kind)
    return places


@pytest.mark.parametrize("place", [ANSWERED, START, COMMAND])
def test_errors(place: str) -> None:
    """Every error code is documented where it appears, with its status, and none that does not exist."""
    rows = pages.table_after(ERRORS, place)
    assert {row[0]: row[1] for row in rows} == _by_place()[place]
    assert len({row[0] for row in rows}) == len(rows), "a code stands there twice"
    assert all(row[2] for row in rows), "each code has a meaning"


def test_codes_of_http() -> None:
    """What the application answers on its own behalf is documented too."""
    assert _codes_in_bodies() <= set(pages.column(pages.table_after(ERRORS, ANSWERED)))


def test_statuses_are_used() -> None:
    """Every status of the table in `web.app` is one that the page names."""
    assert {str(status) for status in STATUS.values()} <= set(pages.column(pages.table_after(ERRORS, ANSWERED), 1))


# ── states, reasons, routes ───────────────────────────────────────────────────────────────────────────────────────────


def test_states_of_the_dialects() -> None:
    """The table of states says what each dialect answers."""
    rows = pages.table_after("docs/reference/dialects.md", "<!-- states -->")
    assert [row[:3] for row in rows] == [[state, RUNPOD.states[state], NOVITA.states[state]] for state in SHOWN]


def test_operations_of_the_dialects() -> None:
    """Every operation of the dialects is in the table of operations, with its methods, and no other."""
    rows = pages.table_after("docs/reference/dialects.md", "## Operations")
    told = {(method, path.split("?")[0].strip("`")) for _name, how, *_ in rows for method, path in _split(how)}
    served = {
        (method, path.removeprefix(f"{dialect.prefix}/{{endpoint}}"))
        for dialect in (RUNPOD, NOVITA)
        for methods, path, *_ in _routes()
        if path.startswith(dialect.prefix)
        for method in methods.split(", ")
    }
    assert told == served


def _split(how: str) -> list[tuple[str, str]]:
    methods, path = how.split(" `")
    return [(method, path) for method in methods.split(", ")]


def _routes() -> list[list[str]]:
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split(" |")]
        for line in pages.read("docs/reference/routes.md").splitlines()
        if re.match(r"\| (GET|POST|PUT|PATCH|DELETE)\b", line)
    ]


@pytest.mark.parametrize(
    ("mark", "reasons"),
    [("scaling", scaling.Reason), ("job", JobReason), ("worker", WorkerReason)],
    ids=["scaling", "job", "worker"],
)
def test_reasons(mark: str, reasons: type[scaling.Reason] | type[JobReason] | type[WorkerReason]) -> None:
    """Every reason is explained once, and none that does not exist."""
    told = pages.column(pages.table_after(WAITS, f"<!-- reasons: {mark} -->"))
    assert sorted(told) == sorted(reason.value for reason in reasons)


def test_states_of_job_reasons() -> None:
    """The state beside a job's reason is a state."""
    told = pages.column(pages.table_after(WAITS, "<!-- reasons: job -->"), 1)
    assert {state.removesuffix(" again") for state in told} == {state.value for state in SHOWN}


def test_environment_of_a_worker() -> None:
    """The table of variables is what a worker is told, value for value."""
    worker = Worker(
        id=WorkerId("WORKER"),
        team=TeamId("team"),
        endpoint=EndpointId("ENDPOINT"),
        release=ReleaseId("release"),
        token_hash="",
        gpus=("GPU-1", "GPU-2"),
        decided_ms=0,
    )
    terms = FleetTerms(
        worker_url="SERVER",
        ping_interval_ms=4321,
        lease_s=1,
        cancel_grace_s=1,
        stop_grace_s=1,
        start_timeout_s=1,
        gone_workers_kept_s=1,
    )
    said = fleet.worker_environment(worker, "TOKEN", terms, {}, gpus=0)
    told = dict(row[:2] for row in pages.table_after("docs/reference/worker-protocol.md", "<!-- environment -->"))
    named = {name for name in told if name.startswith(("RUNPOD_", "NOVITA_"))}
    short = told.keys() - named
    assert said.keys() == named | {f"{vendor}_{name}" for vendor in ("RUNPOD", "NOVITA") for name in short}
    words = {"{server}": "SERVER", "{worker}": "WORKER", "{token}": "TOKEN"}
    for name in (name for name in short if name.startswith("WEBHOOK_")):
        shown = re.sub(r"\{\w+\}", lambda match: words[match[0]], told[name].split("`")[0])
        assert said[f"RUNPOD_{name}"] == said[f"NOVITA_{name}"] == shown


# ── the pages themselves ──────────────────────────────────────────────────────────────────────────────────────────────


def test_generated_parts_are_fresh() -> None:
    """One command renews everything that is generated, and has nothing to do: `.venv/bin/python scripts/docs.py`."""
    assert docs.stale() == []


def test_every_page_of_docs_is_in_the_index() -> None:
    """docs/README.md leads to every page."""
    folder = ROOT / "docs"
    listed = {(folder / link.split("#")[0]).resolve() for _, link in _links("docs/README.md")}
    assert {path.resolve() for path in folder.rglob("*.md")} - {(folder / "README.md").resolve()} <= listed


_LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?P<target>[^)\s]+)\)|!\[[^\]]*\]\((?P<image>[^)\s]+)\)")


def _links(page: str) -> Iterator[tuple[str, str]]:
    """Relative links of a page, outside code."""
    text = re.sub(r"^```.*?^```", "", pages.read(page), flags=re.DOTALL | re.MULTILINE)
    for match in _LINK.finditer(re.sub(r"`[^`]*`", "code", text)):
        target = match["target"] or match["image"]
        if not re.match(r"[a-z]+:", target):
            yield page, target


@pytest.mark.parametrize("page", pages.all_pages())
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link names a file, and a heading that the file has."""
    for _, target in _links(page):
        name, _, heading = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if heading:
            assert heading in _anchors(path), f"{page}: {target}"


def _anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings."""
    heads = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", pages.all_pages())
def test_files_that_pages_name_exist(page: str) -> None:
    """A path of this repository in backquotes is one that exists."""
    for path in re.findall(r"`((?:src|tests|scripts|docs|examples|benchmarks)/[\w./-]+)`", pages.read(page)):
        assert (ROOT / path).exists(), f"{page}: {path}"


def test_house_is_complete() -> None:
    """ARCHITECTURE.md's house names every module at the top of the package, and each module that it names exists."""
    house = next(block.text for block in pages.blocks("ARCHITECTURE.md") if block.text.startswith("src/stoker/"))
    top, inside = _house(house.splitlines()[1:])
    ours = {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert top == ours - {"__init__", "__pycache__"}
    assert {path for path in inside if not (PACKAGE / f"{path}.py").exists() and not (PACKAGE / path).is_dir()} == set()


def _house(lines: list[str]) -> tuple[set[str], set[str]]:
    """What stands at the top of the package, and `folder/module` for what the lines of folders name."""
    top, inside = set(), set()
    for line in lines:
        first, second, *_ = re.split(r" {3,}", line.strip())
        words = first.split()
        top |= {word.rstrip("/") for word in words}
        if len(words) == 1 and first.endswith("/"):
            inside |= {first + word.strip(",;/") for word in second.split() if word.strip(",;/") not in NO_MODULES}
    return top, inside
