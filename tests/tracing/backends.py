"""A Collector, Jaeger and Prometheus as processes, and what they know."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.architecture.repository import ROOT
from tests.free_ports import free_addresses

T = TypeVar("T")

PATIENCE = 120.0
STOP_PATIENCE = 30.0
ALERTS = ROOT / "k8s" / "dashboards" / "alerts.yaml"


@dataclass(frozen=True)
class Jaeger:
    """Takes OTLP over gRPC at `address`, and answers at `query`."""

    program: str
    address: str
    query: str

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans that it has of a trace; none if it does not know it."""
        try:
            return list(get(f"http://{self.query}/api/traces/{trace_id}")["data"][0]["spans"])
        except urllib.error.HTTPError:
            return []


@dataclass(frozen=True)
class Collector:
    """Takes OTLP over gRPC at `address`, and tells the metrics that it gets to Prometheus at `metrics`."""

    address: str
    metrics: str

    def told(self) -> str:
        """In the format of Prometheus."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=PATIENCE) as answer:
            return str(answer.read().decode())


@dataclass(frozen=True)
class Prometheus:
    """Answers at `address`."""

    address: str

    def value(self, expression: str) -> dict[str, float]:
        """By the target that it was scraped from."""
        found = get(f"http://{self.address}/api/v1/query?query={urllib.parse.quote(expression)}")
        return {one["metric"].get("service", ""): float(one["value"][1]) for one in found["data"]["result"]}

    def firing(self) -> set[str]:
        """The alerts."""
        found = get(f"http://{self.address}/api/v1/alerts")["data"]["alerts"]
        return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}


def get(url: str) -> dict[str, Any]:
    """What JSON is there."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return dict(json.loads(answer.read()))


def eventually(look: Callable[[], T]) -> T:
    """What `look` gives once that is anything; others tell nobody when they are there."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            found = look()
        except OSError:
            pass
        else:
            if found:
                return found
        assert time.monotonic() < until, f"{look.__qualname__} did not come about"
        time.sleep(0.1)


@contextlib.contextmanager
def storing(program: str, folder: Path) -> Iterator[Jaeger]:
    """Jaeger with its own storage in memory."""
    otlp, http, grpc = free_addresses(3)
    config = {
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": {
                "traces": {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["jaeger_storage_exporter"]}
            },
            "telemetry": {"metrics": {"level": "none"}},
        },
        "extensions": {
            "jaeger_query": {"storage": {"traces": "memory"}, "http": {"endpoint": http}, "grpc": {"endpoint": grpc}},
            "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 10_000}}}},
        },
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": otlp}}}},
        "processors": {"batch": {"timeout": "100ms"}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
    }
    with _running([program, "--config", _written(folder, config)], folder / "log"):
        eventually(lambda: get(f"http://{http}/api/services"))
        yield Jaeger(program, otlp, http)


@contextlib.contextmanager
def collecting(jaeger: Jaeger, folder: Path) -> Iterator[Collector]:
    """A Collector between the mesh and Jaeger, which looks at whole traces before it lets them go."""
    otlp, metrics = free_addresses(2)
    config = {
        "service": {
            "pipelines": {
                "traces": {"receivers": ["otlp"], "processors": ["tail_sampling", "batch"], "exporters": ["otlp"]},
                "metrics": {"receivers": ["otlp"], "exporters": ["prometheus"]},
            },
            "telemetry": {"metrics": {"level": "none"}},
        },
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": otlp}}}},
        "processors": {
            "batch": {"timeout": "100ms"},
            "tail_sampling": {"decision_wait": "1s", "policies": [{"name": "all", "type": "always_sample"}]},
        },
        "exporters": {
            "otlp": {"endpoint": jaeger.address, "tls": {"insecure": True}},
            "prometheus": {"endpoint": metrics},
        },
    }
    with _running([jaeger.program, "--config", _written(folder, config)], folder / "log"):
        eventually(lambda: _listens(otlp))
        yield Collector(otlp, metrics)


@contextlib.contextmanager
def scraping(targets: Mapping[str, str], folder: Path) -> Iterator[Prometheus]:
    """Prometheus with our rules, which fire at once here instead of after their time."""
    (address,) = free_addresses(1)
    folder.mkdir()
    rules = yaml.safe_load(ALERTS.read_text())
    for group in rules["groups"]:
        group["rules"] = [rule | {"for": "0s"} for rule in group["rules"]]
    (folder / "alerts.yaml").write_text(yaml.safe_dump(rules))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "alerts.yaml")],
        "scrape_configs": [
            {
                "job_name": "forgemesh",
                "static_configs": [{"targets": [at], "labels": {"service": name}} for name, at in targets.items()],
            }
        ],
    }
    command = ["prometheus", f"--config.file={_written(folder, config)}", f"--storage.tsdb.path={folder / 'data'}"]
    with _running([*command, f"--web.listen-address={address}"], folder / "log"):
        eventually(lambda: get(f"http://{address}/api/v1/query?query=up")["data"]["result"])
        yield Prometheus(address)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.closing(socket.create_connection((host, int(port)), PATIENCE)):
        return True


def _written(folder: Path, config: Mapping[str, Any]) -> str:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(dict(config)))
    return str(path)


@contextlib.contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    except BaseException:
        print(log.read_text(errors="replace")[-4000:])
        raise
    finally:
        process.terminate()
        try:
            process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
