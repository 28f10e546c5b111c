"""Whom workers may talk to, as a network policy. Pure.

They reach the server and the outside; nobody reaches them but servers of Stoker, so that they do not reach each other; and where
clouds tell a machine its credentials they never come. Whether it is kept is up to the cluster's network plugin.
"""

from __future__ import annotations

from typing import Final

from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement, ObjectMeta
from lightkube.models.networking_v1 import (
    IPBlock,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicySpec,
)
from lightkube.resources.networking_v1 import NetworkPolicy

from stoker.runtimes.container import INSTALLATION, WORKER
from stoker.runtimes.kubernetes.pod import MANAGER

METADATA: Final = ("169.254.0.0/16",)
METADATA_6: Final = ("fe80::/10", "fd00:ec2::254/128")
"""Where clouds tell a machine its credentials."""
SERVER: Final = {"app.kubernetes.io/name": "stoker", "app.kubernetes.io/component": "server"}
"""The labels of the servers' own pods."""


def policy_of(installation: str) -> NetworkPolicy:
    """The policy for all workers of an installation in one namespace."""
    workers = LabelSelector(
        matchLabels={INSTALLATION: installation},
        matchExpressions=[LabelSelectorRequirement(key=WORKER, operator="Exists")],
    )
    servers = NetworkPolicyPeer(namespaceSelector=LabelSelector(), podSelector=LabelSelector(matchLabels=SERVER))
    outside = [
        NetworkPolicyPeer(ipBlock=IPBlock(cidr="0.0.0.0/0", except_=list(METADATA))),
        NetworkPolicyPeer(ipBlock=IPBlock(cidr="::/0", except_=list(METADATA_6))),
    ]
    return NetworkPolicy(
        metadata=ObjectMeta(name=policy_name(installation), labels={**MANAGER, INSTALLATION: installation}),
        spec=NetworkPolicySpec(
            podSelector=workers,
            policyTypes=["Ingress", "Egress"],
            ingress=[NetworkPolicyIngressRule(from_=[servers])],
            egress=[NetworkPolicyEgressRule(to=outside)],
        ),
    )


def policy_name(installation: str) -> str:
    """How the policy is called."""
    return f"stoker-{installation}-workers"
