"""What is to run for one table [plugins.NAME], once it is known to be right."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.chassis.secret_file import NoSecret, read_secret
from forgemesh.plugin_host.supervisor.plan.restart import RestartRule
from forgemesh.routing.scaling import ScaleRule

_log = logging.getLogger(__name__)

START_TIMEOUT = 30.0
CHANGE_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one instance may use; zero means as much as it wants. `cpu` is in cores."""

    memory: int = 0
    cpu: float = 0.0
    open_files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginPlan:
    """
    One plugin and how its processes are kept. Times are seconds.

    Either `load` ("module:Class") or `command` is set; `manifest` only beside the latter. `grace` and `idle_stop` are
    None where the section leaves them to the supervisor, or never. `config` is JSON text. `scale` is None unless the
    number of instances follows the load. `owner_key_file` is the path of the key with which the plugin is published,
    or empty.
    """

    name: str
    load: str = ""
    command: tuple[str, ...] = ()
    manifest: manifest_pb2.Manifest | None = None
    directories: tuple[str, ...] = ()
    python: str = ""
    instances: int = 1
    least: int = 0
    most: int = 1000
    environment: Mapping[str, str] = field(default_factory=dict)
    inherit: tuple[str, ...] = ()
    config: str = ""
    limits: Limits = field(default_factory=Limits)
    start_timeout: float = START_TIMEOUT
    change_timeout: float = CHANGE_TIMEOUT
    grace: float | None = None
    restart: RestartRule = field(default_factory=RestartRule)
    lazy: bool = False
    idle_stop: float | None = None
    scale: ScaleRule | None = None
    exclusive: bool = False
    reattach: bool = False
    leave_detached: bool = False
    owner_key_file: str = ""

    def owner_key(self) -> str:
        """What the file holds now; empty, for a registry that then says so, if it holds no key or none is named."""
        try:
            return read_secret(Path(self.owner_key_file)) if self.owner_key_file else ""
        except NoSecret as error:
            _log.warning("%s: %s", self.name, error)
            return ""

    @property
    def runs(self) -> str:
        """What it runs, for people."""
        return self.load or " ".join(self.command)
