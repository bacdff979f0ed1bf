"""docker-compose.yml and the images agree with the code: settings, files, modules, health.

No container engine runs here: images are not built. What the services run is run by test_staging.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.staging.compose import Compose
from service.settings import ServiceSettings
from storage.settings import StorageSettings
from workers.deployment import _STOP_S
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
OURS = ("api", "ray-head", "worker", "application")
SETTINGS = {
    f"RETAKE_{name}".upper()
    for settings in (StorageSettings, ServiceSettings, WorkerSettings)
    for name in settings.model_fields
}
EXAMPLE = dict.fromkeys(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.M), "a" * 32)


def test_it_is_what_compose_reads() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, FILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", OURS)
def test_it_sets_only_settings_that_there_are(name: str) -> None:
    given = {key for key in SERVICES[name]["environment"] if "RETAKE" in key}
    assert given
    assert given <= SETTINGS


def test_workers_take_the_models_of_env_as_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    models = '[{"id": "wan", "path": "/models/wan", "dtype": "bfloat16"}]'
    for secrets, expected in ((EXAMPLE | {"RETAKE_MODELS": models}, "wan"), (EXAMPLE, "scenes")):
        environment = Compose(secrets, {}).service("worker").environment
        with monkeypatch.context() as patch:
            for name in SETTINGS & environment.keys():
                patch.setenv(name, environment[name])
            settings = WorkerSettings()
        assert settings.models[0].id == expected
        assert settings.num_gpus == 1
    assert SERVICES["worker"]["volumes"] == ["${RETAKE_MODELS_FOLDER:-./models}:/models:ro"]


def test_every_secret_is_in_the_example() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", FILE.read_text()))
    assert asked == EXAMPLE.keys()


@pytest.mark.parametrize("absent", sorted(EXAMPLE.keys() - {"RETAKE_TLS_PEM"}))
def test_a_secret_that_is_not_set_stops_its_service(absent: str) -> None:
    compose = Compose({**EXAMPLE, absent: ""}, {})
    asking = [name for name, service in SERVICES.items() if absent in str(service)]
    assert asking
    for name in asking:
        with pytest.raises(KeyError, match=absent):
            compose.service(name)


def test_services_wait_for_health_and_stop_in_their_time() -> None:
    for name, service in SERVICES.items():
        for needed, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed] or "build" in SERVICES[needed], name
    assert SERVICES["api"]["stop_grace_period"] == "45s"
    worker = Compose(EXAMPLE, {}).service("worker").environment
    waits = float(worker["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert waits == float(worker["RETAKE_LONGEST_JOB_S"]) + _STOP_S  # Serve then stops at once
    assert SERVICES["worker"]["stop_grace_period"] == "${RETAKE_NODE_GRACE:-65m}"
    assert waits < 65 * 60


def test_what_listens_on_the_host_is_on_loopback() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_services_are_confined() -> None:
    for name, service in SERVICES.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service.get("cap_drop") == ["ALL"] or name == "objects"
        assert service.get("read_only") or name == "objects"


def test_valkey_asks_for_a_password_that_no_command_line_shows() -> None:
    (script,) = SERVICES["valkey"]["command"][2:]
    assert "requirepass $$VALKEY_PASSWORD" in script
    assert "noeviction" in script
    assert "appendonly yes" in script


def test_grafana_finds_its_source_and_dashboard_and_has_no_known_login() -> None:
    grafana = SERVICES["grafana"]
    mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"] if volume[0] == ".")
    for source in mounted:
        assert (ROOT / source).exists(), source
    assert mounted["./deploy/grafana/datasources"] == "/etc/grafana/provisioning/datasources"
    assert "?" in grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD"]


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
    assert re.search(r"^ARG BASE=\S+:\S+\nFROM \$\{BASE\}$", text, re.M)  # so a digest may be given


def test_the_api_image_holds_no_worker() -> None:
    text = (ROOT / "deploy/Dockerfile.service").read_text()
    assert "workers" not in re.sub(r"#.*", "", text)


def test_images_are_built_from_files_that_exist() -> None:
    for service in SERVICES.values():
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
