"""What staging is made of: each part's command and environment, taken from docker-compose.yml."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deploy.staging.compose import ROOT, Compose, Service
from deploy.staging.stage import API_REPLICAS, Stage, free_ports
from storage.embedded.valkey import server_binary

BIN = Path(sys.executable).parent
DEPLOY = ROOT / "deploy"
# Debian's packages of what no Python package brings
PROGRAMS = {"haproxy": "haproxy", "prometheus": "prometheus", "promtool": "prometheus",
            "openssl": "openssl"}  # fmt: skip
_OBJECT_STORE_BYTES = 80 << 20  # Ray's least; job calls carry ids only


class Part(NamedTuple):
    command: list[str]
    environment: dict[str, str]


class Parts:
    """Commands of one staging. ``settings``: RETAKE_* of who runs it, over those of the file."""

    def __init__(self, stage: Stage, settings: Mapping[str, str]) -> None:
        self.stage = stage
        host = {
            # no GPU is asked for, so the replicas' CPUs keep them off the head
            "RETAKE_NUM_GPUS": "0",
            "RETAKE_NUM_CPUS": "1",
            "RETAKE_REPLICAS": "2",
            "RETAKE_LONGEST_JOB_S": "120",
            "RETAKE_NODE_DRAIN_S": "150",
            "RETAKE_PUBLIC_ENDPOINT_URL": f"http://{stage.address('s3')}",
        }
        self._settings = dict(settings)
        self.compose = Compose(stage.secrets | host | self._settings, _places(stage))

    def valkey(self) -> Part:
        service = self.compose.service("valkey")
        port = self.stage.ports["valkey"]
        server = f"{server_binary()} --bind 127.0.0.1 --port {port}"
        return self._part(service, [w.replace("valkey-server", server) for w in service.command])

    def objects(self) -> Part:
        service = self.compose.service("objects")
        names = ("master", "volume", "filer", "s3")
        options = [*(f"{name}.port.grpc" for name in names), *(f"{n}.port" for n in names[:3])]
        ports = [f"-{name}={self.stage.ports[f'weed_{i}']}" for i, name in enumerate(options)]
        own = [f"-s3.port={self.stage.ports['s3']}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        here = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=64", "-volume.minFreeSpace=1"]
        quick = ["-volume.preStopSeconds=0", "-master.telemetry=false"]
        command = [str(BIN / "weed"), "-logtostderr=true", *service.command]
        return self._part(service, [*command, *ports, *own, *here, *quick])

    def key(self, name: str) -> Part:
        """One of the services that register a key; it ends when that is done."""
        return self._part(self.compose.service(name))

    def api(self, number: int) -> Part:
        """Each with the image's environment, on a port of its own of loopback, asking for keys."""
        service = self.compose.service("api")
        own = {
            "RETAKE_HOST": "127.0.0.1",
            "RETAKE_PORT": str(self.stage.ports[f"api_{number}"]),
            "RETAKE_AUTH": "keys",
        }
        return self._part(service, own=own)

    def proxy(self) -> Part:
        """HAProxy with the compose file's configuration, and these replicas as its backend."""
        servers = [
            f"  server api-{number} {self.stage.address(f'api_{number}')}"
            for number in range(1, API_REPLICAS + 1)
        ]
        backend = self.stage.folder / "backend.cfg"
        backend.write_text("\n".join(["backend api", *servers, ""]))
        service = self.compose.service("proxy")
        own = {
            "RETAKE_TLS_ADDRESS": self.stage.address("proxy"),
            "RETAKE_STATS_ADDRESS": self.stage.address("proxy_stats"),
            "RETAKE_TLS_PEM": self.stage.secrets["RETAKE_TLS_PEM"],
        }
        return self._part(service, own=own)

    def ray_head(self) -> Part:
        ports = [f"--port={self.stage.ports['gcs']}"]
        ports += [f"--dashboard-port={self.stage.ports['dashboard']}"]
        return self._ray("ray-head", "ray-head", [*ports, f"--temp-dir={self.stage.ray_folder}"])

    def worker(self, name: str) -> Part:
        """A node with room for one replica. ``name``: told from the other nodes by it."""
        return self._ray("worker", name, ["--num-cpus=1", f"--node-name={name}"])

    def application(self, config: Path = DEPLOY / "serve.yaml") -> Part:
        service = self.compose.service("application")
        return self._part(
            service, [str(config) if "serve.yaml" in w else w for w in service.command]
        )

    def prometheus(self) -> Part:
        """The compose file's configuration, with the addresses that Docker's names stand for."""
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        path = self.stage.folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(self._scraped(config)))
        command = [f"--config.file={path}", f"--storage.tsdb.path={self.stage.folder}/prometheus"]
        listen = f"--web.listen-address={self.stage.address('prometheus')}"
        return Part(["prometheus", *command, listen], dict(os.environ))

    def _scraped(self, config: dict[str, Any]) -> dict[str, Any]:
        apis = [self.stage.address(f"api_{n}") for n in range(1, API_REPLICAS + 1)]
        api, ray, haproxy = config["scrape_configs"]
        for scrape in (api, ray, haproxy):
            del scrape["dns_sd_configs"]
        api["static_configs"] = [{"targets": apis}]
        api["authorization"]["credentials_file"] = str(self.stage.folder / "metrics-key")
        haproxy["static_configs"] = [{"targets": [self.stage.address("proxy_stats")]}]
        ray["file_sd_configs"] = [{"files": [f"{self.stage.targets}/*.json"]}]
        config["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in config["rule_files"]]
        config["global"] = dict.fromkeys(config["global"], "5s")
        return config

    def _ray(self, service_name: str, name: str, own: list[str]) -> Part:
        """Nodes of one machine draw the ports that containers have to themselves."""
        metrics, agent = free_ports(2)
        labels = {"node": name, "agent": f"127.0.0.1:{agent}"}
        target = {"targets": [f"127.0.0.1:{metrics}"], "labels": labels}
        (self.stage.targets / f"{name}.json").write_text(json.dumps([target]))
        here = ["--node-ip-address=127.0.0.1", f"--metrics-export-port={metrics}"]
        here += [f"--dashboard-agent-listen-port={agent}"]
        memory = f"--object-store-memory={_OBJECT_STORE_BYTES}"
        service = self.compose.service(service_name)
        home = {"HOME": str(self.stage.folder)}
        return self._part(service, [*service.command, *here, memory, *own], home)

    def _part(
        self, service: Service, command: list[str] | None = None, own: Mapping[str, str] = {}
    ) -> Part:
        first, *rest = command or service.command
        program = str(BIN / first) if (BIN / first).exists() else first
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        threads = {"RETAKE_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # of cores that all share
        # a process of ours that has had a Ray (the tests') has settings of its own for it
        here = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
        known = here | quiet | threads | service.environment
        return Part([program, *rest], {**known, **self._settings, **own})


def missing() -> dict[str, str]:
    """Programs that are not here, and Debian's package of each."""
    return {name: package for name, package in PROGRAMS.items() if not shutil.which(name)}


def _places(stage: Stage) -> dict[str, str]:
    """What the network and the volumes of compose are here."""
    return {
        "valkey:6379": stage.address("valkey"),
        "objects:8333": stage.address("s3"),
        "127.0.0.1:8333": stage.address("s3"),
        "ray-head:6379": stage.address("gcs"),
        "localhost:6379": stage.address("gcs"),
        "ray-head:8265": stage.address("dashboard"),
        "--dashboard-host=0.0.0.0": "--dashboard-host=127.0.0.1",
        "--dir /data": f"--dir {stage.folder / 'valkey'}",
        "-dir=/data": f"-dir={stage.folder / 'objects'}",
        "/etc/haproxy/haproxy.cfg": str(DEPLOY / "haproxy" / "haproxy.cfg"),
        "/etc/haproxy/compose.cfg": str(stage.folder / "backend.cfg"),
    }
