"""What pods take of the machine, by their cgroups of version 1 or 2, and what they have said that they take."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tests.k8s.live.cluster import Pod

CGROUPS = Path("/sys/fs/cgroup")
_UNITS = {"m": 0.001, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def said(pod: Pod, what: Literal["requests", "limits"], resource: Literal["cpu", "memory"]) -> float:
    """Of its only container, in processors or bytes."""
    (container,) = pod.said["spec"]["containers"]
    text = str(container["resources"][what][resource])
    for unit, factor in _UNITS.items():
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)


def memory_held(pod: Pod) -> int:
    """Bytes, without what the kernel may drop at any time."""
    folder = _folder(pod, "memory.stat")
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    version_2 = folder / "memory.current"
    used = version_2 if version_2.exists() else folder / "memory.usage_in_bytes"
    return int(used.read_text()) - int(stat.get("total_inactive_file", stat["inactive_file"]))


def processor_time(pod: Pod) -> float:
    """Seconds that all its processes have had since it began."""
    version_1 = [one / "cpuacct.usage" for one in _folders(pod) if (one / "cpuacct.usage").exists()]
    if version_1:
        return int(version_1[0].read_text()) / 1e9
    stat = dict(line.split() for line in (_folder(pod, "cpu.stat") / "cpu.stat").read_text().splitlines())
    return int(stat["usage_usec"]) / 1e6


def was_out_of_memory(pod: Pod) -> bool:
    """Whether the kernel has ended one of its processes for that."""
    states = [
        status.get(key, {}).get("terminated", {}).get("reason", "")
        for status in pod.said["status"].get("containerStatuses", [])
        for key in ("state", "lastState")
    ]
    counted = [
        line
        for name in ("memory.oom_control", "memory.events")
        for folder in _folders(pod)
        for file in folder.rglob(name)
        for line in file.read_text().splitlines()
        if line.startswith("oom_kill ") and line != "oom_kill 0"
    ]
    return "OOMKilled" in states or bool(counted)


def _folder(pod: Pod, file: str) -> Path:
    (found,) = [one for one in _folders(pod) if (one / file).exists()]
    return found


def _folders(pod: Pod) -> list[Path]:
    """One for each hierarchy."""
    trees = [CGROUPS, *(one for one in CGROUPS.iterdir() if one.is_dir() and not one.is_symlink())]
    return list({found for tree in trees for found in tree.glob(f"*/kubepods/*/pod{pod.uid}")})
