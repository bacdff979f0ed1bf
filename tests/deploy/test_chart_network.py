"""Who may speak to whom on Kubernetes: what the chart's NetworkPolicies admit and let out."""

from typing import Any

import pytest
from ray._private import ray_constants

from tests.deploy.rendering import Document, of_kind, pod_templates, render, values_of

# what KubeRay gives its pods besides: controllers/ray/common/pod.go, labelPod
KUBERAY = {"ray.io/is-ray-node": "yes", "app.kubernetes.io/name": "kuberay"}


def pods(documents: list[Document]) -> dict[str, dict[str, str]]:
    """Labels of the pods by what they are."""
    found = {}
    for pod in pod_templates(documents):
        labels: dict[str, str] = dict(pod["metadata"]["labels"])
        component = labels["app.kubernetes.io/component"]
        found[component] = labels | (KUBERAY if component in ("head", "worker") else {})
    return found


def matches(selector: Document, labels: dict[str, str]) -> bool:
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ())
    )


class Network:
    def __init__(self, name: str) -> None:
        documents = render(values_of(name))
        self.pods = pods(documents)
        self.policies = [each["spec"] for each in of_kind(documents, "NetworkPolicy")]

    def rules(self, component: str, way: str) -> list[Any]:
        labels = self.pods[component]
        chosen = [p for p in self.policies if matches(p["podSelector"], labels)]
        assert chosen, f"no policy is {component}'s"
        assert all(policy["policyTypes"] == ["Ingress", "Egress"] for policy in chosen)
        return [rule for policy in chosen for rule in policy.get(way) or ()]

    def admits(self, component: str, sender: str, port: int) -> bool:
        return any(
            "podSelector" in peer
            and "namespaceSelector" not in peer
            and matches(peer["podSelector"], self.pods[sender])
            and _port(rule, port)
            for rule in self.rules(component, "ingress")
            for peer in rule["from"]
        )

    def lets_out(self, component: str, receiver: str, port: int) -> bool:
        return any(
            matches(peer["podSelector"], self.pods[receiver]) and _port(rule, port)
            for rule in self.rules(component, "egress")
            for peer in rule["to"]
            if "podSelector" in peer
        )


def _port(rule: Document, port: int) -> bool:
    return "ports" not in rule or any(one["port"] == port for one in rule["ports"])


@pytest.fixture(scope="module")
def network() -> Network:
    return Network("staging")


@pytest.mark.parametrize("name", ["small", "staging", "production"])
def test_every_pod_has_its_policy(name: str) -> None:
    network = Network(name)
    for component in network.pods:
        for way in ("ingress", "egress"):
            network.rules(component, way)


def test_who_needs_valkey_reaches_it_and_nobody_else(network: Network) -> None:
    for component in ("api", "head", "worker", "keys"):
        assert network.admits("valkey", component, 6379)
        assert network.lets_out(component, "valkey", 6379)
    network.pods["stranger"] = {"app.kubernetes.io/component": "api"}
    assert not network.admits("valkey", "stranger", 6379)


def test_ray_speaks_to_itself_alone(network: Network) -> None:
    for one in ("head", "worker"):
        for other in ("head", "worker"):
            assert network.admits(one, other, 12345)
            assert network.lets_out(one, other, 12345)
        assert not network.admits(one, "api", 12345)
        assert not network.lets_out("api", one, 12345)
    network.pods["other cluster"] = KUBERAY  # of somebody else, in the same namespace
    assert not network.admits("head", "other cluster", 6379)


def test_the_operator_reaches_the_heads_dashboard_from_its_own_namespace(network: Network) -> None:
    """By the label that both its Helm chart and its kustomization give it."""
    peers = [
        (peer, [port["port"] for port in rule["ports"]])
        for rule in network.rules("head", "ingress")
        for peer in rule["from"]
        if "podSelector" in peer and "namespaceSelector" in peer
    ]
    ((peer, ports),) = peers
    assert matches(peer["podSelector"], {"app.kubernetes.io/component": "kuberay-operator"})
    assert peer["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "kuberay-system"
    }
    assert ports == [ray_constants.DEFAULT_DASHBOARD_PORT]


def test_webhooks_reach_no_private_address(network: Network) -> None:
    blocks = [
        peer["ipBlock"]
        for rule in network.rules("api", "egress")
        for peer in rule["to"]
        if "except" in peer.get("ipBlock", {})
    ]
    (block,) = blocks
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= {*block["except"]}


def test_kuberays_own_labels_are_left_to_it(network: Network) -> None:
    """Its services select by them: a pod that names itself otherwise is behind none."""
    for pod in pod_templates(render(values_of("small"))):
        assert "app.kubernetes.io/name" not in pod["metadata"]["labels"]
