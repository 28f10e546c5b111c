"""The Helm chart, by a real Helm: what it refuses, what it makes, and that the plain manifests are made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec.yaml
import pytest

from scripts.chart import OWNED
from scripts.manifests import CHART, HELM, ROOT, HelmRefused, helm, manifests, rendered
from stoker import __version__
from stoker.config import Settings, load
from stoker.runtimes.kubernetes.policy import SERVER
from stoker.runtimes.kubernetes.rights import rights_of

SECRET: Final = {"secret": {"name": "keys"}}
"""The least that has to be said."""

needs_helm = [
    pytest.mark.slow,
    pytest.mark.skipif(not HELM.exists(), reason="there is no Helm: make .helm"),
]


def objects(values: dict[str, Any], namespace: str = "here") -> dict[tuple[str, str], Any]:
    """What the chart makes of these values, by kind and name."""
    texts = "\n---\n".join(rendered({**SECRET, **values}, name="one", namespace=namespace))
    found = [msgspec.yaml.decode(text) for text in texts.split("\n---")]
    return {(one["kind"], one["metadata"]["name"]): one for one in found if one}


def environment(deployment: dict[str, Any]) -> dict[str, str]:
    """The variables of a server that the chart itself gives it."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def test_version() -> None:
    """The chart installs the version that it comes with."""
    about = msgspec.yaml.decode((CHART / "Chart.yaml").read_bytes())
    assert about["version"] == about["appVersion"] == __version__


def test_owned_settings_exist() -> None:
    """What the chart decides are settings of the server."""
    assert set(Settings.model_fields) >= OWNED


class TestRendered:
    """What Helm makes of it."""

    pytestmark = needs_helm

    def test_manifests_are_fresh(self) -> None:
        """The plain manifests are what Helm renders (renew them: make manifests)."""
        for path, text in manifests().items():
            assert path.read_text("utf-8") == text, path

    def test_lint(self) -> None:
        """Helm's own rules, warnings included, find nothing."""
        assert helm("lint", chart=CHART, values=SECRET) == []

    @pytest.mark.parametrize(
        ("values", "word"),
        [
            ({"replicas": "two"}, "/replicas"),
            ({"replica": 2}, "replica"),
            ({"settings": {"rate_factr": 1}}, "rate_factr"),
            ({"settings": {"rate_factor": -1}}, "/settings/rate_factor"),
            ({"settings": {"host": "127.0.0.1"}}, "host"),
            ({"settings": {"specifications": [{"id": "big", "cores": 8}]}}, "cores"),
            ({"metrics": {"annotations": True}}, "/metrics/open"),
            ({"ingress": {"enabled": True}}, "/ingress/host"),
            ({"secret": {"name": ""}}, "/database/url"),
            ({"secret": {"name": ""}, "database": {"url": "mysql://one"}}, "/database/url"),
            ({"installation": "with space"}, "/installation"),
            ({"workers": {"namespace": "Upper"}}, "/workers/namespace"),
        ],
    )
    def test_wrong_values_are_refused(self, values: dict[str, Any], word: str) -> None:
        """Before anything is installed, and what is wrong is named."""
        with pytest.raises(HelmRefused, match=word):
            rendered({**SECRET, **values})

    def test_long_names(self) -> None:
        """An installation's label has a length that not every namespace and name leave room for."""
        with pytest.raises(HelmRefused, match="say a shorter one"):
            rendered(SECRET, name="one", namespace="a-name-that-is-as-long-as-it-gets")

    def test_servers_understand_their_settings(self) -> None:
        """What the chart makes of its values is what a server reads."""
        told = {
            "rate_factor": 2.5,
            "gone_logs_bytes_max": 1073741824,
            "kubernetes_always_pull": False,
            "kubernetes_tolerations": "gpu:NoSchedule",
            "specifications": [{"id": "big", "gpu": "H100", "node_selector": {"pool": "big"}}],
        }
        values = {
            "settings": told,
            "workers": {"namespace": "there"},
            "ingress": {"enabled": True, "host": "gpu.example.com"},
        }
        read = load(environ=environment(objects(values)["Deployment", "one"]))
        assert (read.rate_factor, read.gone_logs_bytes_max, read.kubernetes_always_pull) == (2.5, 1073741824, False)
        assert read.specifications[0].node_selector == {"pool": "big"}
        assert (read.runtime, read.kubernetes_namespace, read.installation) == ("kubernetes", "there", "here-one")
        assert (read.worker_url, read.public_url) == ("http://one.here.svc:8700", "http://gpu.example.com")

    def test_no_secret_is_in_the_pod(self) -> None:
        """The URL of the database and all keys come from the secret."""
        made = objects({"secret": {"name": ""}, "database": {"url": "postgresql://me:s3cret@db/one"}})
        assert "s3cret" not in str(made["Deployment", "one"])
        keys = {"secrets-key", "bootstrap-key", "metrics-key", "database"}
        assert set(made["Secret", "one"]["data"]) == keys

    def test_time_to_stop(self) -> None:
        """A server that is told to end has the time that its settings give workers and jobs, and some to leave the service."""
        for told in ({}, {"shutdown_grace_s": 100, "stop_grace_s": 2.5}):
            pod = objects({"settings": told})["Deployment", "one"]["spec"]["template"]["spec"]
            settings = Settings.model_validate(told)
            assert pod["terminationGracePeriodSeconds"] >= 15 + settings.shutdown_grace_s + settings.stop_grace_s

    def test_a_rolling_update_keeps_a_server(self) -> None:
        """The next one answers before one is taken away, and a node can be emptied."""
        made = objects({})
        assert made["Deployment", "one"]["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        assert made["PodDisruptionBudget", "one"]["spec"]["maxUnavailable"] == 1

    def test_workers_let_servers_in(self) -> None:
        """The policy of workers knows the servers by labels that the chart gives them."""
        pod = objects({})["Deployment", "one"]["spec"]["template"]["metadata"]
        assert pod["labels"].items() >= SERVER.items()

    @pytest.mark.parametrize("wide", [False, True])
    def test_rights(self, wide: bool) -> None:
        """The servers' account may do what the documentation lists and nothing else, in the workers' namespace; in all namespaces
        only where each team has one."""
        made = objects({"workers": {"namespace": "there", "namespacePerTeam": wide}})
        roles = [one for (kind, _), one in made.items() if kind.endswith("Role")]
        assert [(one["kind"], one["metadata"].get("namespace")) for one in roles] == [
            ("ClusterRole", None) if wide else ("Role", "there")
        ]
        granted = {
            (resource, verb) for rule in roles[0]["rules"] for resource in rule["resources"] for verb in rule["verbs"]
        }
        assert granted == {(right.resource, right.verb) for right in rights_of(by_team=wide)}
        assert documented() == {(right.resource, right.verb) for right in rights_of(by_team=False)}

    def test_monitoring(self) -> None:
        """The operator of Prometheus gets a monitor that brings the key; without it, pods say that they can be asked."""
        monitor = objects({"metrics": {"serviceMonitor": {"enabled": True}}})["ServiceMonitor", "one"]
        assert monitor["spec"]["endpoints"][0]["authorization"]["credentials"] == {"name": "keys", "key": "metrics-key"}
        pod = objects({"metrics": {"open": True, "annotations": True}})["Deployment", "one"]["spec"]["template"]
        assert pod["metadata"]["annotations"]["prometheus.io/path"] == "/metrics"

    def test_a_bundled_database(self) -> None:
        """The servers' URL is that of the database beside them, with the password that it has."""
        made = objects({"database": {"bundled": {"enabled": True}}})
        url = environment(made["Deployment", "one"])["STOKER_DATABASE"]
        assert url == "postgresql://stoker:$(DATABASE_PASSWORD)@one-database.here.svc:5432/stoker"
        assert ("Service", "one-database") in made


def documented() -> set[tuple[str, str]]:
    """The rights in the table of the how-to."""
    page = Path(ROOT / "docs" / "how-to" / "kubernetes.md").read_text("utf-8")
    rows = page.partition("| On | May |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip().strip("`") for cell in row.strip("|").split("|")[:2]] for row in rows]
    return {(resource, verb.strip("` ")) for resource, verbs in cells for verb in verbs.split(",")}
