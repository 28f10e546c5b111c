"""A rule of a cluster: a webhook that is asked about each new pod and says no, or does not say anything."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.certificates import pair
from tests.cluster import Cluster


class _Rule(BaseHTTPRequestHandler):
    """Refuses whatever it is asked about."""

    words = ""

    def do_POST(self) -> None:
        """Answer a review."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = {"code": 403, "message": self.words}
        answer = {"uid": asked["request"]["uid"], "allowed": False, "status": status}
        body = json.dumps({"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing."""


@contextmanager
def rule(cluster: Cluster, namespace: str, words: str, folder: Path) -> Iterator[None]:
    """New pods of the namespace are refused with these words; without words, nobody answers who is asked about them."""
    made = pair(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Rule", (_Rule,), {"words": words}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}/"
    if words:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    else:
        server.server_close()
    cluster.kubectl("label", "namespace", namespace, f"stoker.test/rule={namespace}")
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(_registered(namespace, url, made.certificate.read_bytes())))
    try:
        yield
    finally:
        cluster.kubectl("delete", "validatingwebhookconfiguration", namespace)
        if words:
            server.shutdown()
            server.server_close()


def _registered(namespace: str, url: str, certificate: bytes) -> Mapping[str, Any]:
    webhook = {
        "name": "pods.stoker.test",
        "clientConfig": {"url": url, "caBundle": base64.b64encode(certificate).decode()},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "namespaceSelector": {"matchLabels": {"stoker.test/rule": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 2,
    }
    about = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    return {**about, "metadata": {"name": namespace}, "webhooks": [webhook]}
