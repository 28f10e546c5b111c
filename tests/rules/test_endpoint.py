"""What a customer may configure: every range and text of an endpoint, at its edges and beyond."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stoker.checkup import HealthCheck
from stoker.endpoint import (
    LIMITS,
    OF_ENDPOINT,
    OF_RELEASE,
    TEXT_MOST,
    Endpoint,
    Policy,
    PolicyType,
    Release,
    Secret,
    check,
    check_range,
    cuda_refusal,
    same_work,
)
from stoker.errors import InvalidInput
from stoker.ids import EndpointId, ReleaseId, TeamId

RELEASE = Release(
    id=ReleaseId("rel-1"), endpoint=EndpointId("abc"), number=1, image="dir:examples/hello", created_ms=1_000
)
ENDPOINT = Endpoint(
    id=EndpointId("abc"), team=TeamId("team"), name="hello", app_name="app", release=RELEASE.id, created_ms=1_000
)


def with_value(name: str, value: int) -> tuple[Endpoint, Release]:
    """The endpoint and release with one number changed, all others leaving it free."""
    endpoint = replace(ENDPOINT, max_workers=LIMITS["max_workers"].most) if name == "min_workers" else ENDPOINT
    if name.startswith("health."):
        part: dict[str, Any] = {name.removeprefix("health."): value}
        health = replace(HealthCheck(path="/"), **part)
        return endpoint, replace(RELEASE, http_port=8000, health=health)
    if name == "policy.value":
        return replace(endpoint, policy=Policy(value=value)), RELEASE
    change: dict[str, Any] = {name: value}
    if name in OF_RELEASE:
        return endpoint, replace(RELEASE, **change)
    return replace(endpoint, **change), RELEASE


def refusal(endpoint: Endpoint = ENDPOINT, release: Release = RELEASE) -> InvalidInput:
    """Why `check` refuses."""
    with pytest.raises(InvalidInput) as caught:
        check(endpoint, release)
    return caught.value


def test_the_defaults_are_allowed() -> None:
    """A new endpoint with nothing but a name and an image is valid."""
    check(ENDPOINT, RELEASE)


@pytest.mark.parametrize("name", LIMITS)
def test_the_edges_of_a_range_are_inside(name: str) -> None:
    """Both ends of every range are allowed."""
    check(*with_value(name, LIMITS[name].least))
    check(*with_value(name, LIMITS[name].most))


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("end", ["least", "most"])
def test_beyond_a_range_is_refused(name: str, end: str) -> None:
    """One beyond either end is refused, and the error names the setting, the range, its unit and the reason for it."""
    limit = LIMITS[name]
    error = refusal(*with_value(name, limit.least - 1 if end == "least" else limit.most + 1))
    assert (error.code, error.field) == ("out_of_range", name)
    assert f"from {limit.least} to {limit.most} {limit.unit}" in error.message
    assert limit.why in (error.next_step or "")


def test_a_range_can_be_checked_alone() -> None:
    """`check_range` is what every caller with a single number uses."""
    check_range("slots", 1)
    with pytest.raises(InvalidInput, match="slots is 0; it must be from 1 to 100 jobs"):
        check_range("slots", 0)


def test_min_is_at_most_max() -> None:
    """Both may be in range and still contradict each other."""
    check(replace(ENDPOINT, min_workers=2, max_workers=2), RELEASE)
    error = refusal(replace(ENDPOINT, min_workers=3, max_workers=2))
    assert (error.code, error.field) == ("out_of_range", "min_workers")


@pytest.mark.parametrize("name", ["a", "A", "0", "my-endpoint_2.0", "x" * TEXT_MOST["name"]])
def test_names_that_fit_into_a_url(name: str) -> None:
    """A name is a part of a URL as it stands."""
    check(replace(ENDPOINT, name=name), RELEASE)


@pytest.mark.parametrize("name", ["", "-a", ".", "..", "a b", "a/b", "ä", "a\n", "a\0", "\ud800", "x" * 221])
def test_names_that_do_not(name: str) -> None:
    """Anything that a URL would have to escape, or that means a directory, is refused."""
    assert refusal(replace(ENDPOINT, name=name)).field == "name"


@pytest.mark.parametrize("app_name", ["", "a", "my-app-2", "x" * TEXT_MOST["app_name"]])
def test_app_names(app_name: str) -> None:
    """An app name may be missing; otherwise it is a label of a host name."""
    check(replace(ENDPOINT, app_name=app_name), RELEASE)


@pytest.mark.parametrize("app_name", ["A", "-a", "a-", "a_b", "a.b", "x" * 64])
def test_app_names_that_are_no_label(app_name: str) -> None:
    """An app name that could not be a label of a host name is refused."""
    assert refusal(replace(ENDPOINT, app_name=app_name)).field == "app_name"


@pytest.mark.parametrize("image", ["", "x" * 512, "a\0b", "a\udfffb"])
def test_images_that_cannot_be(image: str) -> None:
    """An image is named, within its length, and is text that can be stored."""
    assert refusal(release=replace(RELEASE, image=image)).field == "image"


def test_a_command_has_a_length() -> None:
    """A command may be empty and is bounded."""
    check(ENDPOINT, replace(RELEASE, command="x" * TEXT_MOST["command"]))
    assert refusal(release=replace(RELEASE, command="x" * (TEXT_MOST["command"] + 1))).field == "command"


def test_variables_are_bounded() -> None:
    """The number of variables and the length of each value have a limit."""
    most = {f"V{number}": "" for number in range(TEXT_MOST["env"])}
    check(ENDPOINT, replace(RELEASE, env=most))
    assert refusal(release=replace(RELEASE, env=most | {"ONE_MORE": ""})).field == "env"
    check(ENDPOINT, replace(RELEASE, env={"V": "x" * TEXT_MOST["env value"]}))
    assert "32769 characters" in refusal(release=replace(RELEASE, env={"V": "x" * 32_769})).message


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n"])
def test_names_of_variables(name: str) -> None:
    """A variable has a name that every shell accepts."""
    assert refusal(release=replace(RELEASE, env={name: "x"})).field == f"env.{name}"


@pytest.mark.parametrize(
    "name",
    [
        "RUNPOD_WEBHOOK_GET_JOB",
        "RUNPOD_WEBHOOK_POST_OUTPUT",
        "RUNPOD_WEBHOOK_POST_STREAM",
        "RUNPOD_WEBHOOK_PING",
        "RUNPOD_PING_INTERVAL",
        "RUNPOD_POD_ID",
        "RUNPOD_POD_HOSTNAME",
        "RUNPOD_AI_API_KEY",
        "RUNPOD_ENDPOINT_ID",
        "NOVITA_WEBHOOK_GET_JOB",
        "RUNPOD_REALTIME_PORT",
        "RUNPOD_REALTIME_CONCURRENCY",
        "RUNPOD_USE_CORE",
        "RUNPOD_CORE_PATH",
        "RUNPOD_SLS_CORE",
    ],
)
def test_variables_of_the_worker_protocol_are_ours(name: str) -> None:
    """What Stoker sets, and what would switch a worker to a mode without a queue, cannot be configured."""
    error = refusal(release=replace(RELEASE, env={name: "x"}))
    assert (error.code, error.field, error.next_step) == ("reserved_variable", f"env.{name}", f"remove {name}")


@pytest.mark.parametrize("name", ["RUNPOD_DEBUG_LEVEL", "RUNPOD_INIT_TIMEOUT", "HF_TOKEN", "_X", "a1"])
def test_other_variables_are_the_customers(name: str) -> None:
    """Everything else reaches the worker as the customer wrote it."""
    check(ENDPOINT, replace(RELEASE, env={name: "any text, ä, 日本"}))


@pytest.mark.parametrize(
    ("word", "meant"),
    [("hello", True), ("abc", True), ("abc-app", True), ("app", False), ("abc-", False), ("", False), ("HELLO", False)],
)
def test_words_for_an_endpoint(word: str, meant: bool) -> None:
    """In a URL an endpoint answers to its name, its id, and its id with the app name."""
    assert ENDPOINT.answers_to(word) is meant


def test_without_an_app_name_there_are_two_words() -> None:
    """An endpoint without an app name does not answer to its id and a hyphen."""
    assert not replace(ENDPOINT, app_name="").answers_to("abc-")


def test_the_same_work() -> None:
    """A change of anything a worker executes is another release; its number and age are not."""
    assert same_work(RELEASE, replace(RELEASE, id=ReleaseId("rel-2"), number=2, created_ms=2_000))
    for change in ({"image": "x"}, {"command": "x"}, {"env": {"A": "b"}}, {"gpus_per_worker": 1}):
        assert not same_work(RELEASE, replace(RELEASE, **change))


def test_the_default_policy() -> None:
    """Without a word about it, each worker should have one job."""
    assert ENDPOINT.policy == Policy(type=PolicyType.QUEUE_REQUESTS, value=1)


def test_every_field_is_in_one_list() -> None:
    """Each field of the records is one that makes a release, one that changes in place, or one that is set elsewhere."""
    unset = {
        "id",
        "team",
        "endpoint",
        "number",
        "digest",
        "made_by",
        "release",
        "version",
        "created_ms",
        "paused_ms",
        "rate",
        "deleted_ms",
    }
    assert {*Endpoint.__dataclass_fields__, *Release.__dataclass_fields__} - unset == {*OF_ENDPOINT, *OF_RELEASE}
    assert not {*OF_ENDPOINT} & {*OF_RELEASE}


@pytest.mark.parametrize("field", OF_RELEASE)
def test_what_makes_a_release(field: str) -> None:
    """A change of any of these is other work; who made a release and when is not."""
    values: dict[str, Any] = {"env": {"A": Secret("x")}, "gpus_per_worker": 1, "http_port": 80}
    changed = replace(RELEASE, **{field: values.get(field, "other")})
    assert not same_work(RELEASE, changed)
    assert same_work(RELEASE, replace(RELEASE, number=9, created_ms=9, made_by="somebody"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "offered", "allowed"),
    [
        ("", "11.8", True),
        ("12.4", "", True),
        ("12.4", "12.4", True),
        ("12.4", "12.10", True),
        ("12.10", "12.4", False),
        ("12.8, 12.4", "12.6", True),
        ("12.8, 12.9", "12.6", False),
        (">=12.4", "12.4", True),
        (">=12.4", "13.0", True),
        (">=12.4", "12.3", False),
    ],
)
def test_cuda(wanted: str, offered: str, allowed: bool) -> None:
    """A driver runs what was built for its version of CUDA or an earlier one; what is not known is not held against it."""
    assert (cuda_refusal(wanted, offered) == "") is allowed


def test_secrets_are_not_measured_by_what_they_are_sealed_to() -> None:
    """What a secret was sealed to may be longer than a value may be."""
    check(ENDPOINT, replace(RELEASE, env={"A": Secret("x" * 100_000)}))
