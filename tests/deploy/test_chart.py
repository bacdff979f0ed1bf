"""What the chart renders is valid, by Kubernetes' own schemas and those of the operators it uses.

No cluster runs here: nothing is applied.
"""

import json
from typing import Any

import helm_python
import jsonschema
import kubernetes_validate
import pytest

from tests.deploy.rendering import (
    CHART,
    ROOT,
    Document,
    containers,
    of_kind,
    pod_templates,
    render,
    values_of,
)

KUBERNETES = "1.34"
CRDS = {path.stem: path for path in (ROOT / "tests" / "data" / "crds").glob("*.json")}
SHIPPED = pytest.mark.parametrize("name", ["small", "staging", "production"])


def check(document: Document) -> None:
    """Raises if a field is unknown, missing or of another type."""
    if document["kind"] in CRDS:
        jsonschema.validate(document, json.loads(CRDS[document["kind"]].read_text()))
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    for pod in pod_templates([document]):
        named = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}}
        kubernetes_validate.validate({**named, "template": pod}, KUBERNETES, strict=True)


@SHIPPED
def test_every_document_is_valid(name: str) -> None:
    documents = render(values_of(name))
    assert len({(each["kind"], each["metadata"]["name"]) for each in documents}) == len(documents)
    for document in documents:
        check(document)


@SHIPPED
def test_helm_finds_nothing_to_say(name: str) -> None:
    report = helm_python.lint(CHART, values_of(name), strict=True)
    assert report["errors"] == []


def test_a_typo_in_a_manifest_is_found() -> None:
    (service,) = of_kind(render(values_of("small")), "RayService")
    cluster = service["spec"]["rayClusterConfig"]
    cluster["enableInTreeAutoscalling"] = True
    with pytest.raises(jsonschema.ValidationError, match="enableInTreeAutoscalling"):
        check(service)
    del cluster["enableInTreeAutoscalling"]
    cluster["headGroupSpec"]["template"]["spec"]["terminationGraceSeconds"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGraceSeconds"):
        check(service)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"objectStore": {"url": "file:///objects"}}, "objectStore/url"),
        ({"workers": {"gpu": 1}}, "gpu"),
        ({"valkey": {"enabled": False}}, "valkey/host"),
        ({"api": {"settings": {"REQUESTS_PER_MINUTE": "1"}}}, "REQUESTS_PER_MINUTE"),
        ({"images": {"worker": {"digest": "sha256:1"}}}, "digest"),
        ({"images": {"requireDigests": True}}, "digest"),
        ({"ingress": {"host": "retake.example.com"}}, "ingress.tlsSecret"),
        ({"api": {"autoscaling": {"kind": "keda"}}}, "prometheusUrl"),
        ({"workers": {"gpus": 3, "models": [{"id": "a", "path": "/a", "ranks": 2}]}}, "ranks"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(values: Document, said: str) -> None:
    with pytest.raises(helm_python.HelmError, match=said):
        render({**values_of("small"), **values})


@SHIPPED
def test_every_pod_is_confined(name: str) -> None:
    """As the namespace policy `restricted` asks, and with a root that cannot be written."""
    for container in containers(render(values_of(name))):
        pod, its = container.pod["spec"]["securityContext"], container.spec["securityContext"]
        assert pod["runAsNonRoot"] is True, container.component
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert its == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "limits" in container.spec["resources"]


def test_only_the_autoscaler_may_speak_to_kubernetes() -> None:
    for name, scales in (("small", False), ("production", True)):
        for container in containers(render(values_of(name))):
            mounted = container.pod["spec"]["automountServiceAccountToken"]
            assert mounted == (scales and container.component == "head")


def test_production_names_images_by_digest_alone() -> None:
    for container in containers(render(values_of("production"))):
        assert "@sha256:" in container.spec["image"]


def selected(selector: dict[str, Any], pods: list[Document]) -> list[Document]:
    wanted = selector["matchLabels"].items()
    return [pod for pod in pods if wanted <= pod["metadata"]["labels"].items()]


@SHIPPED
def test_budgets_services_and_monitors_select_pods_that_there_are(name: str) -> None:
    documents = render(values_of(name))
    pods = list(pod_templates(documents))
    services = of_kind(documents, "Service")
    for budget in of_kind(documents, "PodDisruptionBudget"):
        assert len(selected(budget["spec"]["selector"], pods)) == 1
    for service in services:
        (pod,) = selected({"matchLabels": service["spec"]["selector"]}, pods)
        (port,) = pod["spec"]["containers"][0]["ports"]
        assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    for monitor in of_kind(documents, "ServiceMonitor"):
        (service,) = selected(monitor["spec"]["selector"], services)
        assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_what_scales_the_api_leaves_its_replicas_alone() -> None:
    for name, kind in (("staging", "HorizontalPodAutoscaler"), ("production", "ScaledObject")):
        documents = render(values_of(name))
        (scaler,), (api,) = of_kind(documents, kind), of_kind(documents, "Deployment")
        assert scaler["spec"]["scaleTargetRef"]["name"] == api["metadata"]["name"]
        assert "replicas" not in api["spec"]
