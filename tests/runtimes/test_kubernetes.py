"""What only the Kubernetes runtime keeps, on a real cluster: restarts, reasons in words, losses, what workers may do."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from stoker.errors import Conflict, InvalidInput, NotFound, Unavailable
from stoker.ids import VolumeId, WorkerId, new_worker_id
from stoker.runtimes import Login, Observation, Volume, WorkerSpec
from stoker.runtimes.kubernetes import KubernetesRuntime
from stoker.runtimes.kubernetes.pod import labels_of, pod_of, secrets_of
from stoker.runtimes.kubernetes.record import End, record_of
from stoker.worker import Exit, WorkerReason
from tests.cluster import Cluster
from tests.docker import Registry, basic_auth
from tests.runtimes.stages import KubernetesStage, ended, eventually, first_line, lines, seen

pytestmark = [pytest.mark.slow, pytest.mark.kubernetes, pytest.mark.timeout(300)]

GIB = 1024**3
MODELS = Volume(source="/v/1", name="models", id="vol-models", target="/models", size_bytes=GIB)


@pytest.fixture
def runtime(kubernetes: KubernetesStage) -> KubernetesRuntime:
    """The runtime under its own name."""
    return kubernetes.kubernetes


async def shown(stage: KubernetesStage, worker: WorkerId) -> Observation | None:
    """What the runtime says of one worker."""
    return next((one for one in await stage.kubernetes.observe() if one.worker == worker), None)


async def waits(stage: KubernetesStage, worker: WorkerId, word: str) -> Observation:
    """Wait until it says that it waits, with that word in the text."""

    async def look() -> Observation | None:
        one = await shown(stage, worker)
        return one if one is not None and one.waiting is not None and word in one.waiting.text else None

    found = await eventually(look)
    assert found is not None
    return found


def pods(stage: KubernetesStage) -> dict[str, Any]:
    """The pods of the namespace by name."""
    listed = stage.cluster.get("pods", "-n", stage.terms.namespace)["items"]
    return {one["metadata"]["name"]: one for one in listed}


def inside(stage: KubernetesStage, worker: str, code: str) -> str:
    """What a line of Python prints in the worker's container."""
    words = ("exec", "-n", stage.terms.namespace, f"stoker-{worker}", "--", "python3", "-S", "-c", code)
    return stage.cluster.kubectl(*words)


# ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_stages_of_a_start(kubernetes: KubernetesStage) -> None:
    """A worker that runs tells the stages of its start in their order, and which bytes it runs if they have a name."""
    spec = kubernetes.spec("ignore")
    await kubernetes.runtime.launch(spec)
    await first_line(kubernetes.runtime, spec.worker)

    async def look() -> list[str]:
        one = await shown(kubernetes, spec.worker)
        assert one is not None
        return [step.name for step in one.steps]

    assert await eventually(look) == ["scheduled", "pulled", "created", "started"]


async def test_workers_survive_a_restart_of_the_server(kubernetes: KubernetesStage) -> None:
    """A new server finds the pods of the one before, is nudged when they end, and still knows those that had ended."""
    going, gone = kubernetes.spec("obey 5"), kubernetes.spec("exit 3")
    for spec in (going, gone):
        await kubernetes.runtime.launch(spec)
    await first_line(kubernetes.runtime, going.worker)
    await ended(kubernetes.runtime, gone.worker)
    await kubernetes.restart()
    assert await seen(kubernetes.runtime, going.worker) is None
    kubernetes.nudged.clear()
    await kubernetes.runtime.stop(going.worker, grace_s=30)
    async with asyncio.timeout(30):
        await kubernetes.nudged.wait()
    assert (await ended(kubernetes.runtime, going.worker)).code == 5
    assert (await ended(kubernetes.runtime, gone.worker)).code == 3


async def test_another_server_reads_what_is_left(kubernetes: KubernetesStage) -> None:
    """Two servers see the same pods; what one recorded of a worker that it stopped, the other one shows."""
    other = await kubernetes.another()
    try:
        spec = kubernetes.spec("obey 5")
        await kubernetes.runtime.launch(spec)
        await first_line(kubernetes.runtime, spec.worker)
        assert await eventually(lambda: seen(other, spec.worker), until=lambda one: one != "missing") is None
        await other.stop(spec.worker, grace_s=30)
        assert (await ended(kubernetes.runtime, spec.worker)).code == 5
        assert await lines(kubernetes.runtime, spec.worker) == ["up", "told"]
        assert await lines(other, spec.worker) == ["up", "told"]
    finally:
        await other.close()


async def test_a_launch_that_was_cut_off_is_taken_up(kubernetes: KubernetesStage) -> None:
    """A server that died, or lost its connection, right after the cluster had taken a pod: the next launch of it makes its secrets
    go with the pod."""
    spec = kubernetes.spec("exit 3", env={"TOKEN": "s3cret"})
    things: list[Any] = [*secrets_of(spec, kubernetes.terms), pod_of(spec, kubernetes.terms)]
    for one in things:
        kubernetes.cluster.kubectl("create", "-f", "-", stdin=json.dumps(one.to_dict()))
    await kubernetes.runtime.launch(spec)
    assert (await ended(kubernetes.runtime, spec.worker)).code == 3
    words = ("get", "secrets", "-n", kubernetes.terms.namespace, "-l", f"stoker.worker={spec.worker}", "-o", "name")

    async def left() -> str:
        return kubernetes.cluster.kubectl(*words)

    await eventually(left, until=lambda names: not names)


async def test_ended_workers_leave_no_pod(kubernetes: KubernetesStage) -> None:
    """Its output and its end are kept; its pod, with file system and secrets, is not."""
    spec = kubernetes.spec("print kept", env={"TOKEN": "s3cret"})
    await kubernetes.runtime.launch(spec)
    await ended(kubernetes.runtime, spec.worker)

    async def left() -> str:
        words = (
            "get",
            "pods,secrets",
            "-n",
            kubernetes.terms.namespace,
            "-l",
            f"stoker.worker={spec.worker}",
            "-o",
            "name",
        )
        return kubernetes.cluster.kubectl(*words)

    await eventually(left, until=lambda names: not names)
    assert await lines(kubernetes.runtime, spec.worker) == ["kept"]


async def test_a_pod_that_was_left_beside_its_record(kubernetes: KubernetesStage) -> None:
    """A server that was killed between the record of an end and the removal of the pod: the next one tells the end that was recorded,
    and removes the pod."""
    spec = kubernetes.spec("exit 3")
    await kubernetes.runtime.launch(spec)
    await kubernetes.kubernetes.close()
    words = ("get", "pod", f"stoker-{spec.worker}", "-n", kubernetes.terms.namespace, "-o", "jsonpath={.status.phase}")

    async def phase() -> str:
        return kubernetes.cluster.kubectl(*words)

    await eventually(phase, until=lambda one: one == "Failed")
    labels = labels_of(spec, kubernetes.terms)
    record = record_of(spec.worker, End(exit=Exit(code=3, text="recorded")), [], labels, bytes_max=1000)
    kubernetes.cluster.kubectl(
        "create", "-n", kubernetes.terms.namespace, "-f", "-", stdin=json.dumps(record.to_dict())
    )
    await kubernetes.open()
    assert (await ended(kubernetes.runtime, spec.worker)).text == "recorded"

    async def left() -> dict[str, Any]:
        await kubernetes.runtime.observe()
        return pods(kubernetes)

    await eventually(left, until=lambda names: not names)


async def test_api_down_is_not_the_end_of_workers(kubernetes: KubernetesStage, cluster: Cluster) -> None:
    """While the API server is away nobody is called gone; when it is back the watch goes on, and what happened is seen."""
    spec, other = kubernetes.spec("obey 5"), kubernetes.spec("ignore")
    await kubernetes.runtime.launch(spec)
    await first_line(kubernetes.runtime, spec.worker)
    await asyncio.to_thread(cluster.stop_part, "api")

    async def away() -> bool:
        try:
            await kubernetes.runtime.observe()
        except Unavailable:
            return True
        return False

    try:
        await eventually(away)
        with pytest.raises(Unavailable):
            await kubernetes.runtime.launch(other)
        with pytest.raises(Unavailable):
            await kubernetes.runtime.stop(spec.worker, grace_s=1)
    finally:
        await asyncio.to_thread(cluster.run_part, "api")
    await eventually(away, until=lambda gone: not gone)
    assert await seen(kubernetes.runtime, spec.worker) is None
    # The node itself looks for the API again after half a minute at most; when it has, it runs what is new.
    later = kubernetes.spec("exit 3")
    await kubernetes.runtime.launch(later)
    assert (await ended(kubernetes.runtime, later.worker, deadline_s=100)).code == 3
    await kubernetes.runtime.stop(spec.worker, grace_s=30)
    assert (await ended(kubernetes.runtime, spec.worker)).code == 5


@pytest.mark.parametrize("restarts", [False, True])
async def test_who_ends_while_the_api_is_away(kubernetes: KubernetesStage, cluster: Cluster, restarts: bool) -> None:
    """A worker that ends while the API server is away is told with its exit code and its last words, by the same server and by one
    that started meanwhile."""
    spec = kubernetes.spec("obey 5")
    await kubernetes.runtime.launch(spec)
    await first_line(kubernetes.runtime, spec.worker)
    await asyncio.to_thread(cluster.stop_part, "api")
    try:
        await asyncio.to_thread(cluster.end_worker, f"stoker-{spec.worker}")
        if restarts:
            await kubernetes.restart()
    finally:
        await asyncio.to_thread(cluster.run_part, "api")
    assert (await shown_end(kubernetes, spec.worker)).code == 5
    assert await lines(kubernetes.runtime, spec.worker) == ["up", "told"]


async def shown_end(stage: KubernetesStage, worker: WorkerId) -> Exit:
    """How a worker ended, once the API server is there again."""

    async def look() -> Exit | None:
        try:
            one = await shown(stage, worker)
        except Unavailable:
            return None
        assert one is not None, "nobody forgets it"
        return one.exit

    end = await eventually(look, deadline_s=100)  # its node looks for the API again after half a minute at most
    assert end is not None
    return end


@pytest.mark.parametrize("restarts", [False, True])
async def test_who_is_stopped_and_ends_while_the_api_is_away(
    kubernetes: KubernetesStage, cluster: Cluster, restarts: bool
) -> None:
    """A worker that was told to end before the API server went away, and ends meanwhile, is told with its exit code, by the server that
    stopped it, which knows what it said until then, and by one that started meanwhile."""
    worker = await told_to_end(kubernetes)
    await asyncio.to_thread(cluster.stop_part, "api")
    try:
        await asyncio.to_thread(cluster.end_worker, f"stoker-{worker}", "SIGUSR1")
        if restarts:
            await kubernetes.restart()
    finally:
        await asyncio.to_thread(cluster.run_part, "api")
    assert (await shown_end(kubernetes, worker)).code == 5
    if not restarts:
        assert (await lines(kubernetes.runtime, worker))[:2] == ["up", "told"]


async def test_an_api_that_is_away_while_a_worker_stops(kubernetes: KubernetesStage, cluster: Cluster) -> None:
    """What a worker says at its end is heard though the API server was away for a moment since it was told to end."""
    worker = await told_to_end(kubernetes)
    with capture_logs() as logged:
        await asyncio.to_thread(cluster.restart_api)

        async def heard() -> bool:
            return any(line["event"] == "output_heard_again" for line in logged)

        await eventually(heard, deadline_s=60)
    await asyncio.to_thread(cluster.end_worker, f"stoker-{worker}", "SIGUSR1")
    assert (await shown_end(kubernetes, worker)).code == 5
    assert await lines(kubernetes.runtime, worker) == ["up", "told", "over"]


async def told_to_end(stage: KubernetesStage) -> WorkerId:
    """A worker that knows that it shall end, and has not yet."""
    spec = stage.spec("tarry 5")
    await stage.runtime.launch(spec)

    async def runs() -> bool:
        one = await shown(stage, spec.worker)
        return one is not None and bool(one.steps)

    await eventually(runs)  # a node that has not said so yet forgets that it did
    await first_line(stage.runtime, spec.worker)
    await stage.runtime.stop(spec.worker, grace_s=200)
    await eventually(lambda: lines(stage.runtime, spec.worker), until=lambda said: "told" in said)
    return spec.worker


async def test_a_lost_node(kubernetes: KubernetesStage, cluster: Cluster) -> None:
    """A worker on a node that does not answer is struck out when it is stopped, and no exit code is invented."""
    spec = kubernetes.spec("ignore")
    await kubernetes.runtime.launch(spec)
    await first_line(kubernetes.runtime, spec.worker)
    await asyncio.to_thread(cluster.stop_part, "kubelet")
    try:
        await kubernetes.runtime.stop(spec.worker, grace_s=0)
        end = await ended(kubernetes.runtime, spec.worker)
    finally:
        await asyncio.to_thread(cluster.run_part, "kubelet")
        await asyncio.to_thread(cluster.until_ready)
    assert end.code is None
    assert "did not say that it ended" in end.text


async def test_who_takes_a_pod_away_is_told(kubernetes: KubernetesStage) -> None:
    """A pod that somebody else deletes is leaving before it is gone; then its end is known as far as anybody saw it."""
    spec = kubernetes.spec("obey 5")
    patient = kubernetes.spec("ignore")
    for one in (spec, patient):
        await kubernetes.runtime.launch(one)
        await first_line(kubernetes.runtime, one.worker)
    words = ("delete", "pod", "-n", kubernetes.terms.namespace, "--wait=false")
    kubernetes.cluster.kubectl(*words, f"stoker-{patient.worker}", f"stoker-{spec.worker}")

    async def leaving() -> str:
        one = await shown(kubernetes, patient.worker)
        return one.leaving if one is not None else ""

    assert "deleted its pod" in await eventually(leaving)
    assert (await ended(kubernetes.runtime, spec.worker)).code == 5
    await kubernetes.runtime.stop(patient.worker, grace_s=0)
    await ended(kubernetes.runtime, patient.worker)


async def test_preemption_is_told(kubernetes: KubernetesStage, cluster: Cluster) -> None:
    """A worker whose GPUs the cluster gives to a pod of higher priority is leaving, with the cluster's word for it, while it has its
    grace; how it then ended is known."""
    await asyncio.to_thread(cluster.set_room, "nvidia.com/gpu", "2")
    name = f"urgent-{secrets.token_hex(4)}"
    urgent = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1000}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(urgent))
    spec = kubernetes.spec("linger 5", gpu_count=2)
    await kubernetes.runtime.launch(spec)
    await first_line(kubernetes.runtime, spec.worker)
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(_stranger(kubernetes, name)))

    async def leaving() -> str:
        one = await shown(kubernetes, spec.worker)
        return one.leaving if one is not None else ""

    text = await eventually(leaving)
    assert text.startswith("the cluster takes it away: Preempted")
    assert (await ended(kubernetes.runtime, spec.worker)).code == 5
    cluster.kubectl("delete", "priorityclass", name)


def _stranger(stage: KubernetesStage, priority: str) -> dict[str, Any]:
    """A pod of somebody else that wants all GPUs, and may have them."""
    room = {"limits": {"nvidia.com/gpu": "2"}}
    container = {"name": "it", "image": stage.image, "command": ["sleep", "1000"], "resources": room}
    about = {"name": "urgent", "namespace": stage.terms.namespace}
    spec = {"priorityClassName": priority, "containers": [container], "restartPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}


async def test_eviction_is_told(kubernetes: KubernetesStage) -> None:
    """A worker that writes more than its disk may hold is evicted by its node, and the words say what was too much."""
    spec = kubernetes.spec("hoard 64", disk_bytes=16 * 1024**2)
    await kubernetes.runtime.launch(spec)
    end = await ended(kubernetes.runtime, spec.worker, deadline_s=100)
    assert "Evicted: " in end.text
    assert "ephemeral" in end.text


# ── reasons ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_full_node_is_waited_for(kubernetes: KubernetesStage, cluster: Cluster) -> None:
    """A worker that finds no GPU says so, waits, gets it when it is free, and can be given up while it waits."""
    await asyncio.to_thread(cluster.set_room, "nvidia.com/gpu", "2")
    first, second, third = (kubernetes.spec("ignore", gpu_count=2) for _ in range(3))
    await kubernetes.runtime.launch(first)
    await first_line(kubernetes.runtime, first.worker)
    await kubernetes.runtime.launch(second)
    await kubernetes.runtime.launch(third)
    found = await waits(kubernetes, second.worker, "nvidia.com/gpu")
    assert found.waiting is not None
    assert found.waiting.reason is WorkerReason.NO_ROOM_YET
    assert found.waiting.text == "no node has room (1 looked at): 1 lacks nvidia.com/gpu"
    await kubernetes.runtime.stop(third.worker, grace_s=1)
    assert "before a node had taken it" in (await ended(kubernetes.runtime, third.worker)).text
    await kubernetes.runtime.stop(first.worker, grace_s=0)
    await first_line(kubernetes.runtime, second.worker)


async def test_images_that_do_not_come(kubernetes: KubernetesStage, tmp_path: Any) -> None:
    """A registry that has no such image, and one that wants a password: the worker is refused with the registry's text."""
    registry = Registry(tmp_path / "registry", basic_auth(tmp_path / "registry", "ann", "secret"))
    registry.start()
    try:
        spec = kubernetes.spec("exit 0")
        login = Login(registry=registry.host, username="ann", password="secret")
        absent, denied = (kubernetes.spec("exit 0") for _ in range(2))
        orders = [
            (type(spec)(worker=absent.worker, image=f"{registry.host}/never:1", login=login), "not found"),
            (type(spec)(worker=denied.worker, image=f"{registry.host}/never:1"), "denies access"),
        ]
        for order, words in orders:
            await kubernetes.runtime.launch(order)

            async def refused(worker: WorkerId = order.worker) -> str:
                one = await shown(kubernetes, worker)
                return one.refused if one is not None else ""

            text = await eventually(refused)
            assert f"cannot pull {registry.host}/never:1" in text
            assert words in text
    finally:
        registry.close()


async def test_images_are_fetched_ahead(kubernetes: KubernetesStage, cluster: Cluster, tmp_path: Any) -> None:
    """An image comes onto the nodes with its password, by pods that run nothing of it and go again; its bytes have a name, and a
    registry that refuses is told with its text."""
    registry = Registry(tmp_path / "registry", basic_auth(tmp_path / "registry", "ann", "secret"))
    registry.start()
    login = Login(registry=registry.host, username="ann", password="secret")
    image = f"{registry.host}/team/actor:1"
    try:
        cluster.push_image(kubernetes.image, image, "ann:secret")
        assert not cluster.has_image(image)
        with pytest.raises(InvalidInput, match="denies access"):
            await kubernetes.kubernetes.pull(image, login=None)
        digest = await kubernetes.kubernetes.pull(image, login=login)
    finally:
        registry.close()
    assert digest.startswith(f"{registry.host}/team/actor@sha256:")
    assert cluster.has_image(image)
    assert kubernetes.kubernetes.pulling(image) == ""
    words = (
        "get",
        "daemonsets,pods,secrets",
        "-n",
        kubernetes.terms.namespace,
        "-l",
        "stoker.installation",
        "-o",
        "name",
    )

    async def left() -> str:
        return cluster.kubectl(*words)

    await eventually(left, until=lambda names: not names)


async def test_a_fetch_that_nobody_ended_is_taken_up(kubernetes: KubernetesStage) -> None:
    """A server that stops leaves its fetch behind; another one goes on with it, or gives it up."""
    away = "192.0.2.1:9/never:1"  # nobody answers there, and nobody says so

    async def begins(runtime: KubernetesRuntime) -> asyncio.Task[str]:
        task = asyncio.create_task(runtime.pull(away, login=None))

        async def far() -> str:
            return runtime.pulling(away)

        await eventually(far, until=lambda words: words == "0 of 1 nodes have it")
        return task

    first = await begins(kubernetes.kubernetes)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert kubernetes.kubernetes.pulling(away) == ""
    other = await kubernetes.another()
    second = await begins(other)
    assert len(kubernetes.cluster.get("daemonsets", "-n", kubernetes.terms.namespace)["items"]) == 1
    await other.remove_image(away)
    with pytest.raises(Unavailable):
        await second
    with pytest.raises(NotFound):
        await other.remove_image(away)
    await other.close()


async def test_nowhere_to_fetch_to(cluster: Cluster, actor_pod_image: str) -> None:
    """Where no node is one for workers, nothing is said to be there."""
    stage = await KubernetesStage(cluster, actor_pod_image, node_labels={"pool": "none"}).open()
    with pytest.raises(Unavailable) as none:
        await stage.kubernetes.pull(actor_pod_image, login=None)
    assert none.value.code == "no_node"
    await stage.close()


async def test_out_of_memory_is_named(cluster: Cluster, actor_pod_image: str) -> None:
    """A worker over its memory limit is said to be out of memory."""
    stage = await KubernetesStage(cluster, actor_pod_image, memory_bytes=64 * 1024**2).open()
    spec = stage.spec("exit 0")
    command = "python3 -S -c 'print(len(bytearray(1 << 30)))'"
    await stage.runtime.launch(type(spec)(worker=spec.worker, image=spec.image, command=command))
    end = await ended(stage.runtime, spec.worker)
    await stage.close()
    assert end.code == 137
    assert "out of memory" in end.text


async def test_a_missing_program_is_named(kubernetes: KubernetesStage) -> None:
    """A command that the image does not have can never start, and the words name it."""
    spec = kubernetes.spec("exit 0")
    await kubernetes.runtime.launch(type(spec)(worker=spec.worker, image=spec.image, entrypoint="no-such-program"))
    assert "no-such-program" in (await ended(kubernetes.runtime, spec.worker)).text


async def test_a_volume_that_nobody_has(kubernetes: KubernetesStage) -> None:
    """A worker whose volume finds no storage waits, and says that it is the volume."""
    spec = kubernetes.spec("ignore", team="team-a", volumes=(MODELS,))
    await kubernetes.runtime.launch(spec)
    await waits(kubernetes, spec.worker, "unbound immediate PersistentVolumeClaims")


async def test_volumes_grow_and_go(cluster: Cluster, actor_pod_image: str, tmp_path: Path) -> None:
    """A volume becomes a claim with its first worker; what is in it outlives workers, it grows with the volume, where its class lets
    it, and goes with it."""
    name = f"shared-{secrets.token_hex(4)}"
    for one in (_storage_class(name), _storage(name, tmp_path)):
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(one))
    stage = await KubernetesStage(cluster, actor_pod_image, storage_class=name).open()
    space = stage.terms.namespace
    await stage.kubernetes.grow_volume("team-a", VolumeId(MODELS.id), 2 * GIB)  # nobody has needed it yet
    writes = _python(stage, "open('/models/one', 'w').write('kept')")
    reads = _python(stage, "print(open('/models/one').read())")
    for spec in (writes, reads):
        await stage.runtime.launch(spec)
        assert (await ended(stage.runtime, spec.worker)).code == 0
    assert await lines(stage.runtime, reads.worker) == ["kept"]
    await stage.kubernetes.grow_volume("team-a", VolumeId(MODELS.id), 2 * GIB)
    (claim,) = cluster.get("pvc", "-n", space)["items"]
    assert claim["spec"]["resources"]["requests"]["storage"] == str(2 * GIB)
    assert claim["metadata"]["labels"]["stoker.volume"] == "models"
    await stage.kubernetes.remove_volume("team-a", VolumeId(MODELS.id))
    await stage.kubernetes.remove_volume("team-a", VolumeId(MODELS.id))

    async def left() -> str:
        return cluster.kubectl("get", "pvc", "-n", space, "-o", "name")

    await eventually(left, until=lambda names: not names)
    await stage.close()
    cluster.kubectl("delete", "pv,storageclass", name, "--wait=false")


async def test_storage_that_cannot_grow(kubernetes: KubernetesStage) -> None:
    """A claim whose class does not let it grow keeps its size, and the cluster's words are told."""
    spec = kubernetes.spec("ignore", team="team-a", volumes=(MODELS,))
    await kubernetes.runtime.launch(spec)
    with pytest.raises(Conflict) as refused:
        await kubernetes.kubernetes.grow_volume("team-a", VolumeId(MODELS.id), 2 * GIB)
    assert refused.value.code == "volume_cannot_grow"


def _python(stage: KubernetesStage, code: str) -> WorkerSpec:
    """A worker with the volume that runs a line of Python."""
    spec = WorkerSpec(worker=new_worker_id(), image=stage.image, entrypoint="python3", command=f'-S -c "{code}"')
    return replace(spec, team="team-a", volumes=(MODELS,))


def _storage_class(name: str) -> dict[str, Any]:
    about = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
    return {**about, "provisioner": "kubernetes.io/no-provisioner", "allowVolumeExpansion": True}


def _storage(name: str, folder: Path) -> dict[str, Any]:
    """A directory of the node as storage of that class."""
    spec = {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteMany"], "hostPath": {"path": str(folder)}}
    about = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}}
    return {**about, "spec": {**spec, "storageClassName": name, "persistentVolumeReclaimPolicy": "Retain"}}


async def test_a_worker_of_http_is_reached(kubernetes: KubernetesStage) -> None:
    """The address of a worker with a port is that of its pod in the cluster's network; without a port, or gone, it has none."""
    serves = WorkerSpec(
        worker=new_worker_id(),
        image=kubernetes.image,
        entrypoint="python3",
        command="-m http.server 8000",
        http_port=8000,
    )
    silent = kubernetes.spec("ignore")
    for spec in (serves, silent):
        await kubernetes.runtime.launch(spec)

    async def answers() -> bool:
        if not (address := await kubernetes.kubernetes.address(serves.worker)):
            return False
        try:
            async with httpx.AsyncClient() as http:
                return (await http.get(f"http://{address}/")).status_code == 200
        except httpx.TransportError:
            return False

    await eventually(answers)
    assert await kubernetes.kubernetes.address(silent.worker) == ""
    assert await kubernetes.kubernetes.address(WorkerId("nobody")) == ""


async def test_output_of_the_first_to_end_goes_first(kubernetes: KubernetesStage) -> None:
    """All records together keep within a bound; how a worker ended stays."""
    specs = [kubernetes.spec("print kept") for _ in range(2)]
    for spec in specs:
        await kubernetes.runtime.launch(spec)
        await ended(kubernetes.runtime, spec.worker)
    assert await kubernetes.kubernetes.trim_logs(1_000_000) == 0
    removed = await kubernetes.kubernetes.trim_logs(0)
    assert removed > 0
    assert [await lines(kubernetes.runtime, spec.worker) for spec in specs] == [[], []]
    await kubernetes.restart()
    assert [(await ended(kubernetes.runtime, spec.worker)).code for spec in specs] == [0, 0]
    assert await kubernetes.kubernetes.trim_logs(0) == 0


async def test_quotas_are_named(kubernetes: KubernetesStage) -> None:
    """A namespace without room refuses with its rule, and another try may succeed."""
    space = kubernetes.terms.namespace
    kubernetes.cluster.kubectl("create", "quota", "small", "--hard=pods=0", "-n", space)

    async def counts() -> bool:
        return "used" in kubernetes.cluster.get("quota", "small", "-n", space)["status"]

    await eventually(counts)
    with pytest.raises(Unavailable) as refused:
        await kubernetes.runtime.launch(kubernetes.spec("exit 0"))
    assert refused.value.code == "quota_exceeded"
    assert "exceeded quota: small" in refused.value.message
    left = kubernetes.cluster.kubectl("get", "secrets", "-n", space, "-l", "stoker.worker", "-o", "name")
    assert left == "", "the environment of a worker that never was"


async def test_what_is_not_admitted(cluster: Cluster, actor_pod_image: str) -> None:
    """An object that the cluster finds wrong can never start: the launch is refused in the cluster's words."""
    stage = await KubernetesStage(cluster, actor_pod_image, priority_class="no-such-class").open()
    with pytest.raises(InvalidInput, match="no-such-class"):
        await stage.runtime.launch(stage.spec("exit 0"))
    await stage.close()


# ── safety ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_workers_get_no_more_than_they_need(kubernetes: KubernetesStage) -> None:
    """No token of the cluster, no new privileges, shared memory as told, and no secret in the pod."""
    spec = kubernetes.spec("ignore", env={"TOKEN": "s3cret"}, shm_bytes=8 * 1024**2)
    await kubernetes.runtime.launch(spec)
    await first_line(kubernetes.runtime, spec.worker)
    assert "s3cret" not in json.dumps(pods(kubernetes))
    assert (
        inside(kubernetes, spec.worker, "import os; print(os.path.exists('/var/run/secrets/kubernetes.io'))") == "False"
    )
    assert "NoNewPrivs:\t1" in inside(kubernetes, spec.worker, "print(open('/proc/self/status').read())")
    room = "import os; one = os.statvfs('/dev/shm'); print(one.f_blocks * one.f_bsize)"
    assert int(inside(kubernetes, spec.worker, room)) >= 8 * 1024**2
    assert inside(kubernetes, spec.worker, "import os; print(os.environ['TOKEN'])") == "s3cret"


async def test_namespaces_of_teams(cluster: Cluster, actor_pod_image: str) -> None:
    """With a namespace for each team, workers of two teams run, are seen and end apart from each other; the next server reads what they
    printed, and forgets them where they lived."""
    stage = await KubernetesStage(cluster, actor_pod_image, by_team=True).open()
    specs = [stage.spec("print kept", team=team) for team in ("team-a", "team-b")]
    for spec in specs:
        await stage.runtime.launch(spec)
    assert [(await ended(stage.runtime, spec.worker)).code for spec in specs] == [0, 0]
    await stage.restart()
    assert [(await ended(stage.runtime, spec.worker)).code for spec in specs] == [0, 0]
    assert [await lines(stage.runtime, spec.worker) for spec in specs] == [["kept"], ["kept"]]
    for spec in specs:
        await stage.kubernetes.forget(spec.worker)
    for team in ("team-a", "team-b"):
        space = f"{stage.terms.namespace}-{team}"
        assert cluster.kubectl("get", "configmaps", "-n", space, "-l", "stoker.worker", "-o", "name") == ""
        assert len(cluster.get("networkpolicies", "-n", space)["items"]) == 1
        cluster.kubectl("delete", "namespace", f"{stage.terms.namespace}-{team}", "--wait=false")
    await stage.close()


async def test_many_launches_while_the_api_is_slow_to_say_yes(kubernetes: KubernetesStage) -> None:
    """Thirty workers at once: each pod exists once, and each ends as it was told."""
    specs = [kubernetes.spec(f"exit {number % 5}") for number in range(30)]
    await asyncio.gather(*(kubernetes.runtime.launch(spec) for spec in (*specs, *specs)))

    async def all_ended() -> list[int | None] | None:
        shown = {one.worker: one.exit for one in await kubernetes.runtime.observe()}
        exits = [shown.get(spec.worker) for spec in specs]
        return [one.code for one in exits if one is not None] if all(exits) else None

    async with asyncio.timeout(110):
        while (codes := await all_ended()) is None:  # noqa: ASYNC110 (what is waited for lies outside of this process)
            await asyncio.sleep(0.2)
    assert codes == [number % 5 for number in range(30)]
