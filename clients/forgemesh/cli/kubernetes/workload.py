"""A plugin as it is to run on Kubernetes: what its manifest, its section and its operator say, put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from forgemesh.routing.scaling import ScaleRule

Scaling = Literal["none", "keda", "hpa"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one pod may use: memory in bytes, CPU in thousandths of a core, open files; 0 where nobody says."""

    memory_bytes: int = 0
    cpu_millis: int = 0
    open_files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretMount:
    """A Secret whose keys are files of `folder`."""

    secret: str
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """Where a plugin may connect to beside the mesh: a network in CIDR notation, and a TCP port or any."""

    network: str
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """
    One version of a plugin, and how it is to run.

    `load` is what a host loads, from the folders `path` of the `image`. A pod that is to end has `grace` seconds for
    calls that run; `grace_reason` says where that is from. A plugin may take `start_seconds` to start. With `scaling`
    none there are `instances` pods, else as many as `rule` says. `config` is the plugin's configuration as JSON text.
    """

    plugin_id: str
    version: str
    load: str
    image: str
    description: str = ""
    section: str = ""
    path: tuple[str, ...] = ("/opt/plugins",)
    namespace: str | None = None
    instances: int = 1
    exclusive: bool = False
    scaling: Scaling = "none"
    rule: ScaleRule = field(default_factory=lambda: ScaleRule(least=1, most=1))
    cooldown: float = 300.0
    grace: int = 60
    grace_reason: str = ""
    start_seconds: int = 30
    limits: Limits = Limits()
    environment: dict[str, str] = field(default_factory=dict)
    config: str = ""
    secrets: tuple[SecretMount, ...] = ()
    owner_key_secret: str = ""
    pull_secrets: tuple[str, ...] = ()
    egress: tuple[Egress, ...] = ()
