"""What one staging is: folder, ports, secrets and certificate, drawn once and kept in a file."""

import json
import random
import secrets
import socket
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

API_REPLICAS = 2
WORKER_NODES = 2
_PORTS = (
    "valkey", "s3", "proxy", "proxy_stats", "gcs", "dashboard", "prometheus",
    *(f"weed_{number}" for number in range(7)),
    *(f"api_{number + 1}" for number in range(API_REPLICAS)),
)  # fmt: skip
# above Ray's workers' (10002 to 19999), below those that Linux draws for connections
_PORT_RANGE = range(20_000, 32_768)
_SECRETS = ("S3_ACCESS_KEY", "S3_SECRET_KEY", "VALKEY_PASSWORD", "RAY_TOKEN", "GRAFANA_PASSWORD")
_KEYS = ("FIRST_KEY", "METRICS_KEY")


@dataclass(frozen=True)
class Stage:
    """``folder``: all state and logs. ``ray_folder``: short, for its sockets have long names."""

    folder: Path
    ray_folder: Path
    ports: dict[str, int]
    secrets: dict[str, str]

    @classmethod
    def make(cls, folder: Path) -> Self:
        """A new one; everything that must be secret is drawn here and readable by its owner."""
        folder.mkdir(parents=True, mode=0o700)
        drawn = {f"RETAKE_{name}": secrets.token_hex(32) for name in _SECRETS}
        drawn |= {f"RETAKE_{name}": f"rtk_{secrets.token_hex(32)}" for name in _KEYS}
        stage = cls(
            folder=folder,
            ray_folder=Path(tempfile.mkdtemp(prefix="rs-")),
            ports=dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True)),
            secrets=drawn | {"RETAKE_TLS_PEM": str(folder / "tls.pem")},
        )
        for name in ("valkey", "objects", "logs", "parts", "prometheus", "targets"):
            (folder / name).mkdir()
        stage._certificate()
        (folder / "metrics-key").write_text(drawn["RETAKE_METRICS_KEY"])
        (folder / "stage.json").write_text(json.dumps(asdict(stage), default=str))
        return stage

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The one that stands on ``folder``; None: there is none."""
        try:
            kept = json.loads((folder / "stage.json").read_text())
        except FileNotFoundError:
            return None
        return cls(Path(kept["folder"]), Path(kept["ray_folder"]), kept["ports"], kept["secrets"])

    def _certificate(self) -> None:
        """Self-made, for loopback: clients are told to trust ``ca`` and nothing else."""
        key, certificate = self.folder / "tls.key", self.ca
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        pem = Path(self.secrets["RETAKE_TLS_PEM"])
        pem.touch(mode=0o600)
        pem.write_text(certificate.read_text() + key.read_text())

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def targets(self) -> Path:
        """A file per Ray node, by which Prometheus finds it."""
        return self.folder / "targets"

    @property
    def url(self) -> str:
        """The API as clients reach it."""
        return f"https://localhost:{self.ports['proxy']}"

    @property
    def key(self) -> str:
        """The first project's secret."""
        return self.secrets["RETAKE_FIRST_KEY"]

    def address(self, part: str) -> str:
        return f"127.0.0.1:{self.ports[part]}"


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has now, and that neither the system nor Ray hands out."""
    found: list[int] = []
    for port in random.sample(_PORT_RANGE, len(_PORT_RANGE)):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"fewer than {count} ports of {_PORT_RANGE} are free")
