"""The chart agrees with the code: settings, commands, ports, probes, times and Ray's own names."""

import importlib
import importlib.util
import re
from typing import Any

import pytest
import yaml
from ray._private import ray_constants
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from service.server import GRACEFUL_STOP_S
from service.settings import ServiceSettings
from storage.settings import StorageSettings
from tests.deploy.rendering import ROOT, Container, containers, of_kind, render, values_of
from workers.deployment import _STOP_S
from workers.settings import BUNDLED, WorkerSettings

SHIPPED = pytest.mark.parametrize("name", ["small", "staging", "production"])
SECRETS = {
    "RETAKE_REDIS_URL": "redis://localhost:6379/0",  # its password is put in by Kubernetes
    "RETAKE_KEY_SECRET": "",
}
READ_BY: dict[str, tuple[Any, ...]] = {
    "api": (ServiceSettings, StorageSettings),
    "head": (WorkerSettings, StorageSettings),
    "worker": (WorkerSettings, StorageSettings),
    "keys": (StorageSettings,),
    "valkey": (),
}
OF_THE_COMMAND = {"keys": {"RETAKE_KEY_SECRET"}}


def names_of(component: str) -> set[str]:
    known = {f"RETAKE_{field}".upper() for one in READ_BY[component] for field in one.model_fields}
    return known | OF_THE_COMMAND.get(component, set())


def given(container: Container) -> dict[str, str]:
    names = {name: value for name, value in container.environment.items() if "RETAKE_" in name}
    return names | {name: value for name, value in SECRETS.items() if name in names}


@SHIPPED
def test_every_variable_is_a_setting_of_who_reads_it(name: str) -> None:
    for container in containers(render(values_of(name))):
        unknown = given(container).keys() - names_of(container.component)
        assert not unknown, container.component


def settings_of(container: Container, patch: pytest.MonkeyPatch) -> Any:
    for variable, value in given(container).items():
        patch.setenv(variable, value)
    return READ_BY[container.component][0]()


@SHIPPED
def test_the_settings_are_accepted_and_are_what_the_values_say(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = values_of(name)
    by_component = {each.component: each for each in containers(render(values))}
    api = settings_of(by_component["api"], monkeypatch)
    assert api.needs_keys
    assert api.port == by_component["api"].spec["ports"][0]["containerPort"]
    workers = settings_of(by_component["worker"], monkeypatch)
    assert workers == settings_of(by_component["head"], monkeypatch)
    models = values.get("workers", {}).get("models")
    assert [m.id for m in workers.models] == ([m["id"] for m in models] if models else [BUNDLED.id])
    limits = by_component["worker"].spec["resources"]["limits"]
    assert workers.num_gpus * workers.ranks == limits["nvidia.com/gpu"] == 1
    assert api.storage == workers.storage


def test_gpus_are_shared_among_ranks_and_cpus_keep_a_replica_off_the_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = values_of("small")
    spread = {"gpus": 4, "models": [{"id": "a", "path": "/models/a", "ranks": 2}]}
    (worker,) = (
        c for c in containers(render({**values, "workers": spread})) if c.component == "worker"
    )
    assert settings_of(worker, monkeypatch).num_gpus == 2
    monkeypatch.delenv("RETAKE_NUM_GPUS")
    monkeypatch.delenv("RETAKE_MODELS")
    (worker,) = (
        c for c in containers(render({**values, "workers": {"gpus": 0, "cpus": 6}}))
        if c.component == "worker"
    )  # fmt: skip
    assert settings_of(worker, monkeypatch).num_cpus == 6
    assert "nvidia.com/gpu" not in worker.spec["resources"]["limits"]


@SHIPPED
def test_commands_are_modules_and_probes_are_routes(name: str) -> None:
    health = (ROOT / "service/routes/health.py").read_text()
    for container in containers(render(values_of(name))):
        command = container.spec.get("args", [])
        if command[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(f"{command[2]}.__main__") is not None
        if container.component == "api":
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert f'"{container.spec[probe]["httpGet"]["path"]}"' in health


def test_a_stop_outlasts_what_runs() -> None:
    documents = render(values_of("staging"))
    (service,) = of_kind(documents, "RayService")
    for container in containers(documents):
        grace = container.pod["spec"].get("terminationGracePeriodSeconds")
        if container.component == "api":
            wait = container.spec["lifecycle"]["preStop"]["exec"]["command"][1]
            assert grace > GRACEFUL_STOP_S + int(wait)
        if container.component == "worker":
            longest = float(container.environment["RETAKE_LONGEST_JOB_S"])
            waits = float(container.environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
            assert grace > waits == longest + _STOP_S  # at that deadline Serve stops them at once
            assert service["spec"]["rayClusterDeletionDelaySeconds"] > longest + _STOP_S


def test_the_serve_application_is_the_one_of_deploy() -> None:
    (service,) = of_kind(render(values_of("small")), "RayService")
    serve = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert serve == yaml.safe_load((ROOT / "deploy" / "serve.yaml").read_text())
    (application,) = serve["applications"]
    module, name = application["import_path"].split(":")
    assert callable(getattr(importlib.import_module(module), name))
    # the vendor's schema accepts unknown keys: compare with its fields too
    ServeDeploySchema.model_validate(serve)
    assert set(serve) <= set(ServeDeploySchema.model_fields)
    assert set(application) <= set(ServeApplicationSchema.model_fields)


def test_workers_have_a_readiness_probe_of_their_own() -> None:
    """KubeRay leaves one that is there alone; its own would ask for the proxy that we turn off."""
    (service,) = of_kind(render(values_of("small")), "RayService")
    assert yaml.safe_load(service["spec"]["serveConfigV2"])["proxy_location"] == "Disabled"
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    probe = container["readinessProbe"]["httpGet"]
    assert probe["port"] == ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
    from ray.dashboard import http_server_agent

    assert probe["path"] in http_server_agent.PUBLIC_EXACT_PATHS  # a probe has no token


def test_pods_scale_where_there_is_room_to() -> None:
    for name, scales in (("small", False), ("staging", True)):
        (service,) = of_kind(render(values_of(name)), "RayService")
        cluster = service["spec"]["rayClusterConfig"]
        (group,) = cluster["workerGroupSpecs"]
        assert cluster["enableInTreeAutoscaling"] is scales
        assert (group["maxReplicas"] > group["minReplicas"]) is scales


def test_ray_reads_how_long_a_node_drains() -> None:
    assert hasattr(ray_constants, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S")


def test_the_ray_version_is_the_locked_one() -> None:
    (service,) = of_kind(render(values_of("small")), "RayService")
    version = service["spec"]["rayClusterConfig"]["rayVersion"]
    assert f"ray=={version} " in (ROOT / "requirements-workers.lock").read_text()
    assert f"ray:{version}-" in (ROOT / "deploy/Dockerfile.worker").read_text()
    assert re.match(r"\d+\.\d+", version)
