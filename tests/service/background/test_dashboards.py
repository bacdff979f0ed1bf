"""What the dashboard and the rules ask Prometheus for is what the API exposes."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.rendering import of_kind, render, values_of
from tests.service.conftest import Api

DEPLOY = Path(__file__).parents[3] / "deploy"
METRIC = re.compile(r"\b(?:retake|process)[_:][a-z0-9_:]+")


@pytest.fixture(scope="module")
def exposed(api: Api) -> set[str]:
    """Names of samples as a query writes them."""
    text = api.http.get(f"{api.url}/metrics").text
    suffixes = {
        "counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",),
    }  # fmt: skip
    return {
        family.name + suffix
        for family in text_string_to_metric_families(text)
        for suffix in suffixes.get(family.type, ("",))
    }


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_rules_ask_for_what_there_is(exposed: set[str]) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        names = set(METRIC.findall(rule["expr"]))
        assert names or "up{" in rule["expr"], rule
        assert names <= exposed | recorded, names - exposed - recorded
        assert "alert" not in rule or (
            rule["labels"]["severity"] and rule["annotations"]["summary"]
        )


def test_the_dashboard_asks_for_what_there_is(exposed: set[str]) -> None:
    board = json.loads((DEPLOY / "grafana" / "retake.json").read_text())
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            names = set(METRIC.findall(target["expr"]))
            assert names, panel["title"]
            assert names <= exposed | recorded, (panel["title"], names - exposed - recorded)


def test_the_scrape_names_the_route(api: Api) -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    scrape = next(each for each in config["scrape_configs"] if each["job_name"] == "retake-api")
    assert api.http.get(api.url + scrape["metrics_path"]).status_code == 200
    for file in config["rule_files"]:
        assert (DEPLOY / "prometheus" / file).exists()


def test_the_scaler_asks_for_what_there_is(exposed: set[str]) -> None:
    (scaler,) = of_kind(render(values_of("production")), "ScaledObject")
    queries = [each["metadata"].get("query", "") for each in scaler["spec"]["triggers"]]
    names = {name for query in queries for name in METRIC.findall(query)}
    assert names
    assert names <= exposed


@pytest.mark.parametrize("what", ["check rules", "test rules"])
def test_prometheus_itself_accepts_the_rules(what: str) -> None:
    assert shutil.which("promtool"), "apt-get install prometheus"
    file = "prometheus/rules.yml" if what == "check rules" else "prometheus/rules_test.yml"
    command = ["promtool", *what.split(), str(DEPLOY / file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
