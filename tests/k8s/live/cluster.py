"""A running cluster, and what tests want of it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

NAMESPACE = "forgemesh"
PATIENCE = 120.0
_LOOK = 0.2


class KubectlFailed(Exception):
    """kubectl has ended with an error; its text is what it said."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What the API server knows of a pod."""

    said: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.said["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.said["metadata"]["uid"])

    @property
    def address(self) -> str:
        """Its IP address, empty until it has one."""
        return str(self.said["status"].get("podIP", ""))

    @property
    def ready(self) -> bool:
        return any(
            one["type"] == "Ready" and one["status"] == "True" for one in self.said["status"].get("conditions", [])
        )

    @property
    def ending(self) -> bool:
        """Whether its deletion was asked for."""
        return "deletionTimestamp" in self.said["metadata"]

    @property
    def restarts(self) -> int:
        return sum(one["restartCount"] for one in self.said["status"].get("containerStatuses", []))

    @property
    def container(self) -> str:
        """The id of its only container, as the runtime has it."""
        (status,) = self.said["status"]["containerStatuses"]
        return str(status["containerID"]).removeprefix("containerd://")

    @property
    def exit_codes(self) -> list[int]:
        """With which its containers ended, those before the present ones included."""
        states = [
            status.get(key, {})
            for status in self.said["status"].get("containerStatuses", [])
            for key in ("state", "lastState")
        ]
        return [state["terminated"]["exitCode"] for state in states if "terminated" in state]


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster whose files are in `directory`; this process is beside its pods, in the node's network."""

    directory: Path

    def kubectl(self, *arguments: str, given: str = "") -> str:
        """What it says; raises KubectlFailed."""
        command = [str(self.directory / "kubectl"), *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def read(self, *arguments: str, namespace: str = NAMESPACE) -> Any:
        """What `kubectl get` gives, as JSON."""
        return json.loads(self.kubectl("get", "-n", namespace, "-o", "json", *arguments))

    def apply(self, manifests: list[dict[str, Any]] | Path, namespace: str = NAMESPACE) -> str:
        """Apply an overlay's folder or these manifests; a warning of the API server is an error."""
        if isinstance(manifests, Path):
            return self.kubectl("apply", "--warnings-as-errors", "-k", str(manifests))
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        return self.kubectl("apply", "--warnings-as-errors", "-n", namespace, "-f", "-", given=given)

    def pods(self, selector: str = "", namespace: str = NAMESPACE) -> list[Pod]:
        """Those with these labels, those that end included."""
        return [Pod(one) for one in self.read("pods", "-l", selector, namespace=namespace)["items"]]

    def pod(self, selector: str, namespace: str = NAMESPACE) -> Pod:
        """The only one with these labels that does not end."""
        (found,) = [one for one in self.pods(selector, namespace) if not one.ending]
        return found

    def until_ready(self, selector: str, count: int, namespace: str = NAMESPACE) -> list[Pod]:
        """The pods with these labels, once they are so many, all ready and none ending."""

        def ready() -> list[Pod] | None:
            pods = self.pods(selector, namespace)
            return pods if len(pods) == count and all(one.ready and not one.ending for one in pods) else None

        return until(f"{count} pods of {selector} are ready", ready, lambda: self.story(namespace))

    def logs(self, pod: str, *arguments: str, namespace: str = NAMESPACE) -> str:
        """What its container has said."""
        return self.kubectl("logs", "-n", namespace, pod, *arguments)

    def log_lines(self, pod: str, *arguments: str) -> Iterator[dict[str, Any]]:
        """Its records; a line that is none is given as a message."""
        for line in self.logs(pod, *arguments).splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                yield {"level": "", "message": line}

    def kill(self, pod: Pod) -> None:
        """kill -9 of its container, by the runtime."""
        socket = str(self.directory / "containerd.sock")
        command = ["ctr", "-a", socket, "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", pod.container]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)

    def story(self, namespace: str = NAMESPACE) -> str:
        """What to look at when something does not come about."""
        shown = [self.kubectl("get", "pods", "-n", namespace, "-o", "wide")]
        shown.append(self.kubectl("get", "events", "-n", namespace, "--sort-by=.lastTimestamp")[-4000:])
        for pod in self.pods(namespace=namespace):
            if not pod.ready:
                try:
                    shown.append(f"{pod.name}: {self.logs(pod.name, '--tail=5', namespace=namespace)}")
                except KubectlFailed as error:
                    shown.append(str(error))
        return "\n".join(shown)


def until(
    what: str, condition: Callable[[], T | None], story: Callable[[], str] | None = None, patience: float = PATIENCE
) -> T:
    """What the condition gives once that is neither None nor False; looks at it a few times a second."""
    end = time.monotonic() + patience
    while True:
        found = condition()
        if found is not None and found is not False:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience:g} s: {what}\n{story() if story else ''}")
        time.sleep(_LOOK)
