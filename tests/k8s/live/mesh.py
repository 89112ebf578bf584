"""The mesh of the example overlay as its callers and operators meet it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.k8s.live.cluster import NAMESPACE, PATIENCE, Cluster, Pod

ROOT = Path(__file__).parents[3]
OVERLAY = Path(__file__).parent / "overlay"
SERVICES = ("registry", "balancer", "orchestrator", "traces")
CODE = (ROOT / "bench/noop/noop_plugin.py").read_text()
NOOP = "app.kubernetes.io/name=bench.noop"
EVERYTHING = "app.kubernetes.io/part-of=forgemesh"


@dataclass(frozen=True, slots=True)
class ClusterMesh:
    """A mesh in a cluster; `address` is its orchestrator's, from beside the pods."""

    cluster: Cluster
    address: str
    forwarded: dict[str, str]
    """How `forgemesh` hears of the addresses of the other services, whose names lead nowhere outside the pods."""

    def service(self, name: str) -> Pod:
        """The only pod of a service."""
        return self.cluster.pod(f"app.kubernetes.io/name={name}")

    def cli(self, *arguments: str, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`forgemesh` as a person runs it beside the cluster."""
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "FORGEMESH_ADDRESS": self.address}
        environment |= self.forwarded
        command = [str(Path(sys.executable).with_name("forgemesh")), *arguments]
        done = subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def noop_deployment(self) -> dict[str, Any]:
        """The Deployment of the plugin that does nothing, to be changed and applied as another one."""
        found = self.cluster.read("deployment", "plugin-bench-noop-v1-0-0")
        metadata = {key: found["metadata"][key] for key in ("name", "namespace", "labels")}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": found["spec"]}

    def noop_with(self, code: str, plugin: str, version: str) -> list[dict[str, Any]]:
        """The Deployment of another plugin or version beside that one, and the ConfigMap with its module."""
        name = f"plugin-{plugin.replace('.', '-')}-v{version.replace('.', '-')}"
        labels = {"app.kubernetes.io/name": plugin, "app.kubernetes.io/version": version}
        made = self.noop_deployment()
        made["metadata"] = {"name": name, "labels": made["metadata"]["labels"] | labels}
        made["spec"]["selector"]["matchLabels"] |= labels
        template = made["spec"]["template"]
        template["metadata"]["labels"] |= labels
        template["spec"]["volumes"].append({"name": "code", "configMap": {"name": name}})
        template["spec"]["containers"][0]["volumeMounts"].append({"name": "code", "mountPath": "/opt/plugins/noop"})
        settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        return [settings | {"data": {"noop_plugin.py": code}}, made]

    def host_pod(self, name: str, environment: dict[str, str]) -> dict[str, Any]:
        """A pod of its own that serves a plugin; what `environment` says wins over the Deployment's."""
        template = self.noop_deployment()["spec"]["template"]
        (container,) = template["spec"]["containers"]
        kept = [one for one in container["env"] if one["name"] not in environment]
        container["env"] = [*kept, *({"name": key, "value": value} for key, value in environment.items())]
        labels = template["metadata"]["labels"] | {"app.kubernetes.io/name": name}
        labels.pop("pod-template-hash", None)
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels},
            "spec": template["spec"],
        }

    def until_settled(self) -> list[Pod]:
        """Every pod, once all of them are ready."""
        return self.cluster.until_ready(EVERYTHING, 4 + 6 + 3)


def _address(cluster: Cluster, service: str) -> str:
    """Of a Service, by its address in the cluster."""
    spec = cluster.read("service", service)["spec"]
    return f"{spec['clusterIP']}:{spec['ports'][0]['port']}"


@contextlib.contextmanager
def running_example(cluster: Cluster) -> Iterator[ClusterMesh]:
    """Apply the tests' overlay and wait until every pod is ready; deleted with its data when the block ends."""
    cluster.apply(OVERLAY)
    try:
        forwarded = {
            f"FORGEMESH_{name.upper()}": _address(cluster, name) for name in ("registry", "balancer", "traces")
        }
        mesh = ClusterMesh(cluster, _address(cluster, "orchestrator"), forwarded)
        mesh.until_settled()
        yield mesh
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=true", "--timeout=90s")
