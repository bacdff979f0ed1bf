"""The deployment files agree with the code: names of settings, modules, files and routes.

No container engine runs here: images are not built, manifests are not applied.
"""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import ServiceSettings
from storage.settings import StorageSettings
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MANIFESTS = [
    document
    for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
SETTINGS = {
    f"RETAKE_{name}".upper()
    for settings in (StorageSettings, ServiceSettings, WorkerSettings)
    for name in settings.model_fields
}


def _of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in MANIFESTS if document["kind"] == kind]


OURS = ("api", "ray-head", "worker", "application")


def test_compose_sets_only_settings_that_there_are() -> None:
    for name in OURS:
        given = {key for key in COMPOSE["services"][name]["environment"] if "RETAKE" in key}
        assert given, name
        assert given <= SETTINGS


def test_kubernetes_sets_only_settings_that_there_are() -> None:
    for config in _of_kind("ConfigMap"):
        assert set(config["data"]) <= SETTINGS


@pytest.mark.parametrize("name", ["service", "worker"])
def test_images_copy_what_is_there_and_start_what_runs(name: str) -> None:
    text = (ROOT / f"deploy/Dockerfile.{name}").read_text()
    for line in re.findall(r"^COPY (.*)$", text, re.M):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), source
    module = re.search(r'^CMD \["python", "-m", "(\w+)"\]', text, re.M)
    assert module is not None
    assert importlib.util.find_spec(f"{module[1]}.__main__") is not None


def test_the_api_image_holds_no_worker() -> None:
    text = (ROOT / "deploy/Dockerfile.service").read_text()
    assert "workers" not in re.sub(r"#.*", "", text)


def test_compose_builds_from_files_that_exist_and_waits_for_health() -> None:
    services = COMPOSE["services"]
    for name in OURS:
        assert (ROOT / services[name]["build"]["dockerfile"]).is_file()
        for needed, condition in services[name].get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in services[needed]


def test_every_secret_of_compose_is_in_the_example() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    example = (ROOT / ".env.example").read_text()
    assert asked == set(re.findall(r"^(\w+)=", example, re.M))


def test_the_serve_application_is_where_the_manifests_say() -> None:
    (rayservice,) = _of_kind("RayService")
    serve = yaml.safe_load(rayservice["spec"]["serveConfigV2"])
    assert serve == yaml.safe_load((ROOT / "deploy" / "serve.yaml").read_text())
    (application,) = serve["applications"]
    module, name = application["import_path"].split(":")
    assert callable(getattr(importlib.import_module(module), name))
    # the vendor's schema accepts unknown keys: compare with its fields too
    from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

    ServeDeploySchema.model_validate(serve)
    assert set(serve) <= set(ServeDeploySchema.model_fields)
    assert set(application) <= set(ServeApplicationSchema.model_fields)


def test_a_rollout_outlasts_the_longest_job() -> None:
    longest = WorkerSettings.model_fields["longest_job_s"].default
    (rayservice,) = _of_kind("RayService")
    spec = rayservice["spec"]
    assert spec["rayClusterDeletionDelaySeconds"] >= longest
    (group,) = spec["rayClusterConfig"]["workerGroupSpecs"]
    assert group["template"]["spec"]["terminationGracePeriodSeconds"] >= longest


def test_the_ray_version_is_the_locked_one() -> None:
    (rayservice,) = _of_kind("RayService")
    version = rayservice["spec"]["rayClusterConfig"]["rayVersion"]
    assert f"ray=={version}\n" in (ROOT / "requirements.lock").read_text()
    assert f"ray:{version}-" in (ROOT / "deploy/Dockerfile.worker").read_text()


def test_probes_are_routes_of_the_api() -> None:
    (deployment,) = _of_kind("Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    routes = (ROOT / "service/routes/health.py").read_text()
    for probe in ("readinessProbe", "livenessProbe"):
        assert f'"{container[probe]["httpGet"]["path"]}"' in routes
