"""docker-compose.yml as this host runs it: commands, environments and checks of its services.

What containers have to themselves and processes share, addresses and folders, is put in its place
by text: ``places`` says what becomes what.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\})")


class Service(NamedTuple):
    """One service: how it is started and checked."""

    command: list[str]
    environment: dict[str, str]
    healthcheck: list[str]


class Compose:
    """``secrets``: what .env would say. ``places``: text of the file to what stands for it here."""

    def __init__(self, secrets: Mapping[str, str], places: Mapping[str, str]) -> None:
        self._services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        self._secrets, self._places = secrets, places

    def service(self, name: str) -> Service:
        found = self._services[name]
        check = found.get("healthcheck", {}).get("test", [])
        return Service(
            command=self._texts(found.get("command", [])),
            environment=self._environment(found.get("environment", {})),
            healthcheck=self._texts(check[1:]),
        )

    def _environment(self, given: Mapping[str, Any]) -> dict[str, str]:
        """A variable without a value is handed on from .env, if it is there."""
        named = {name: value for name, value in given.items() if value is not None}
        handed = {name: self._secrets[name] for name in given.keys() & self._secrets.keys()}
        return handed | {name: self._text(str(value)) for name, value in named.items()}

    def _texts(self, words: list[str]) -> list[str]:
        return [self._text(word) for word in words]

    def _text(self, text: str) -> str:
        text = _VARIABLE.sub(self._variable, text)
        for theirs, ours in self._places.items():
            text = text.replace(theirs, ours)
        return text

    def _variable(self, match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return "$"
        if value := self._secrets.get(name, ""):
            return value
        if match["kind"] == "-":
            return match["rest"]
        raise KeyError(f"{name}: {match['rest'] or 'is not set'}")
