"""What goes wrong in a cluster is said where people look: by the pod, its events, its last words and the mesh."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.k8s.live.cluster import NAMESPACE, Cluster, KubectlFailed, Pod, until
from tests.k8s.live.mesh import ClusterMesh

CHANGED = '''
from typing import Any

from forgemesh.plugin import operation, plugin


@plugin("bench.noop", version="1.0.0", max_concurrency=64)
class Noop:
    """The same version with something else in it."""

    @operation()
    async def another(self, value: Any = None) -> dict[str, Any]:
        """Not what version 1.0.0 has."""
        return {"value": value}
'''

NEWER = """
import sqlite3
sqlite3.connect("/data/registry.db").executescript("PRAGMA journal_mode=WAL; PRAGMA user_version=999")
"""

pytestmark = pytest.mark.timeout(300)


def test_a_host_that_is_refused_for_good_says_why_and_is_never_ready(mesh: ClusterMesh) -> None:
    pod = _with_code(mesh.host_pod("changed-noop", {"FORGEMESH_HOST_PATH": "/opt/changed"}), "changed-noop")
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "changed-noop"}}
    with _applied(mesh.cluster, [settings | {"data": {"noop_plugin.py": CHANGED}}, pod]):
        ended = until("it has ended", lambda: _ended(mesh.cluster, "changed-noop"))
        assert not ended.ready
        assert ended.exit_codes[-1] != 0
        assert "1.0.0" in _last_words(ended)
        shown = mesh.cli("status").stdout
        assert "changed-noop" in shown
        assert "1.0.0" in shown


def test_a_host_waits_for_a_registry_that_cannot_be_reached_and_says_so_without_ending(mesh: ClusterMesh) -> None:
    pod = mesh.host_pod("lonely-noop", {"FORGEMESH_HOST_REGISTRY": "no-registry:7402"})
    with _applied(mesh.cluster, [pod]):
        until(
            "it says what it waits for",
            lambda: _said(mesh.cluster, "lonely-noop").count("no-registry:7402") >= 2,
            mesh.cluster.story,
        )
        found = _pod(mesh.cluster, "lonely-noop")
        assert not found.ready
        assert found.restarts == 0


def test_an_image_without_the_plugin_ends_with_the_name_of_what_is_missing(mesh: ClusterMesh) -> None:
    with _applied(mesh.cluster, [mesh.host_pod("empty", {"FORGEMESH_HOST_LOAD": "no_such_plugin:Nothing"})]):
        ended = until("it has ended", lambda: _ended(mesh.cluster, "empty"))
        assert ended.exit_codes[-1] != 0
        assert "no_such_plugin" in _last_words(ended)


def test_a_missing_setting_is_named_by_the_pod_that_ends(mesh: ClusterMesh) -> None:
    pod = mesh.host_pod("unset", {})
    (container,) = pod["spec"]["containers"]
    container["env"] = [one for one in container["env"] if one["name"] != "FORGEMESH_HOST_LOAD"]
    with _applied(mesh.cluster, [pod]):
        ended = until("it has ended", lambda: _ended(mesh.cluster, "unset"))
        assert ended.exit_codes[-1] != 0
        assert "load" in _last_words(ended)


def test_a_second_pod_on_a_volume_is_kept_from_it(mesh: ClusterMesh) -> None:
    pod = _service_pod(mesh, "second-registry")
    with _applied(mesh.cluster, [pod]):
        said = until("the scheduler says why", lambda: _event(mesh.cluster, "second-registry", "FailedScheduling"))
        assert "ReadWriteOncePod" in said


def test_a_second_process_on_a_database_refuses_with_one_sentence(mesh: ClusterMesh) -> None:
    pod = mesh.service("registry")
    program = (
        "import os, subprocess, sys\n"
        "os.environ['FORGEMESH_REGISTRY_LISTEN'] = '0.0.0.0:7999'\n"
        "os.environ['FORGEMESH_REGISTRY_HEALTH_LISTEN'] = '0.0.0.0:7998'\n"
        "done = subprocess.run([sys.executable, '-m', 'forgemesh.registry.main'], capture_output=True, text=True)\n"
        "print(done.returncode, done.stderr.strip().splitlines()[-1])"
    )
    said = mesh.cluster.kubectl("exec", "-n", NAMESPACE, pod.name, "--", "python", "-c", program)
    code, sentence = said.strip().split(" ", 1)
    assert int(code) != 0
    assert "registry.db" in sentence


def test_a_pod_that_may_not_write_its_volume_names_the_folder(mesh: ClusterMesh) -> None:
    pod = _service_pod(mesh, "readonly-registry")
    pod["spec"]["volumes"] = [one for one in pod["spec"]["volumes"] if one["name"] != "data"]
    pod["spec"]["volumes"].append({"name": "data", "configMap": {"name": "readonly-registry"}})
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "readonly-registry"}, "data": {"a": "b"}}
    with _applied(mesh.cluster, [settings, pod]):
        ended = until("it has ended", lambda: _ended(mesh.cluster, "readonly-registry"))
        assert ended.exit_codes[-1] != 0
        assert "/data" in _last_words(ended)


def test_a_service_over_the_database_of_a_newer_release_runs_unready_and_names_both_schemas(mesh: ClusterMesh) -> None:
    pod = _service_pod(mesh, "older-registry")
    pod["spec"]["volumes"] = [one for one in pod["spec"]["volumes"] if one["name"] != "data"]
    pod["spec"]["volumes"].append({"name": "data", "emptyDir": {}})
    (service,) = pod["spec"]["containers"]
    pod["spec"]["initContainers"] = [
        {key: service[key] for key in ("image", "imagePullPolicy", "securityContext", "volumeMounts", "resources")}
        | {"name": "newer-release", "command": ["python", "-c", NEWER]}
    ]
    with _applied(mesh.cluster, [pod]):
        until(
            "it says why it is not ready",
            lambda: "it has schema 999, this release knows" in _said(mesh.cluster, "older-registry"),
            mesh.cluster.story,
        )
        started = until("it has started", lambda: _started(mesh.cluster, "older-registry"), mesh.cluster.story)
        assert not started.ready
        assert started.exit_codes == []


def test_a_pod_that_is_deleted_in_its_first_second_is_soon_gone(mesh: ClusterMesh) -> None:
    with _applied(mesh.cluster, [mesh.host_pod("brief", {})]):
        until("it runs", lambda: "running" in str(_pod(mesh.cluster, "brief").said["status"].get("containerStatuses")))
        deleted = time.monotonic()
        half_its_grace = "--timeout=30s"
        mesh.cluster.kubectl("delete", "pod", "-n", NAMESPACE, "brief", "--wait=true", half_its_grace)
        print(f"gone {time.monotonic() - deleted:.1f} s after its deletion")


def _with_code(pod: dict[str, Any], config_map: str) -> dict[str, Any]:
    """The pod with the plugin's code from a ConfigMap, at /opt/changed."""
    pod["spec"]["volumes"].append({"name": "code", "configMap": {"name": config_map}})
    (container,) = pod["spec"]["containers"]
    container["volumeMounts"].append({"name": "code", "mountPath": "/opt/changed"})
    return pod


def _service_pod(mesh: ClusterMesh, name: str) -> dict[str, Any]:
    """A pod of its own that wants to be the registry, with the registry's volume."""
    spec = mesh.cluster.read("statefulset", "registry")["spec"]["template"]
    spec["spec"]["volumes"].append({"name": "data", "persistentVolumeClaim": {"claimName": "data-registry-0"}})
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": "service"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec["spec"]}


def _pod(cluster: Cluster, name: str) -> Pod:
    return Pod(cluster.read("pod", name))


def _said(cluster: Cluster, name: str) -> str:
    """The log of a pod, empty as long as its container does not run."""
    try:
        return cluster.logs(name)
    except KubectlFailed:
        return ""


def _started(cluster: Cluster, name: str) -> Pod | None:
    """The pod, once its startup probe was answered."""
    pod = _pod(cluster, name)
    return pod if any(one.get("started") for one in pod.said["status"].get("containerStatuses", [])) else None


def _ended(cluster: Cluster, name: str) -> Pod | None:
    """The pod, once its container has ended."""
    pod = _pod(cluster, name)
    return pod if pod.exit_codes else None


def _last_words(pod: Pod) -> str:
    """What `kubectl describe pod` shows of its container's end."""
    states = [
        status[key]["terminated"]
        for status in pod.said["status"]["containerStatuses"]
        for key in ("lastState", "state")
        if "terminated" in status[key]
    ]
    return str(states[0].get("message", ""))


def _event(cluster: Cluster, pod: str, reason: str) -> str:
    found = cluster.read("events", "--field-selector", f"involvedObject.name={pod},reason={reason}")["items"]
    return str(found[0]["message"]) if found else ""


@contextlib.contextmanager
def _applied(cluster: Cluster, manifests: list[dict[str, Any]]) -> Iterator[None]:
    cluster.apply(manifests)
    try:
        yield
    finally:
        for one in manifests:
            cluster.kubectl(
                "delete",
                "-n",
                NAMESPACE,
                f"{one['kind']}/{one['metadata']['name']}",
                "--ignore-not-found",
                "--wait=true",
                "--grace-period=1",
            )
