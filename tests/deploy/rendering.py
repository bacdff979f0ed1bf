"""The chart as Helm renders it: its documents, and the containers in them."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "chart"
NAMESPACE = "video"
_DIGEST = {"digest": f"sha256:{'0' * 64}"}

Document = dict[str, Any]


class Container(NamedTuple):
    """One container with its pod, and the name of what it belongs to: api, head, worker, ..."""

    component: str
    pod: Document
    spec: Document

    @property
    def environment(self) -> dict[str, str]:
        """What is said in the manifest; what comes from a Secret is its key's name."""
        return {
            one["name"]: one.get("value") or one["valueFrom"]["secretKeyRef"]["key"]
            for one in self.spec.get("env", ())
        }


def values_of(name: str) -> Document:
    """``small``: what must be said; ``staging``, ``production``: as shipped, digests given."""
    if name == "small":
        return {"objectStore": {"url": "s3://retake"}}
    values: Document = yaml.safe_load((CHART / f"values-{name}.yaml").read_text())
    images = values.setdefault("images", {})
    for image in ("service", "worker", "valkey"):
        images.setdefault(image, {}).update(_DIGEST)
    return values


def render(values: Document) -> list[Document]:
    """Raises HelmError: values that the schema or a template refuses."""
    with helm_python.Chart.load(CHART) as chart:
        texts = chart.render(deepcopy(values), name="retake", namespace=NAMESPACE)
    documents = [each for text in texts.values() for each in yaml.safe_load_all(text)]
    return [each for each in documents if each is not None]


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [each for each in documents if each["kind"] == kind]


def pod_templates(documents: list[Document]) -> Iterator[Document]:
    """Every pod that the chart makes, KubeRay's among them."""
    for document in documents:
        if document["kind"] == "RayService":
            cluster = document["spec"]["rayClusterConfig"]
            yield cluster["headGroupSpec"]["template"]
            yield from (group["template"] for group in cluster["workerGroupSpecs"])
        elif "template" in document.get("spec", {}):
            yield document["spec"]["template"]


def containers(documents: list[Document]) -> list[Container]:
    return [
        Container(pod["metadata"]["labels"]["app.kubernetes.io/component"], pod, container)
        for pod in pod_templates(documents)
        for container in pod["spec"]["containers"]
    ]
