"""Settings of a plugin host, table [host]."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from forgemesh.chassis.secret_file import NoSecret, read_secret
from forgemesh.chassis.service import ServiceSettings
from forgemesh.plugin.search_path import folders_of


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings(ServiceSettings):
    """
    What to load, who to be, whom to tell; times are seconds.

    `load` is "module:Class" (or the variable that functions are collected in), or "entry:NAME"; `path` holds the
    directories to look in first, as in PYTHONPATH or as a JSON list. Without `instance_id` one is made up from the
    plugin's id and the process number, or is the name of the machine for the first process of a container. Processes
    that follow one another as the same host have one `tenure`: what an operator orders for it counts for all of them.
    `advertise` is the host name that others reach this one by; empty means the one it listens on. An empty `registry`
    means not to register, an empty `traces` not to send spans there. An `owner_token` lets a restarted process take
    over the registration of its predecessor; from `owner_token_file`, where it is made by the first of them.
    `owner_key_file` holds the key of a plugin that is published with one.

    A `supervisor` (host:port) is called back with the `token` that it gave this process, and says when the plugin is
    made and with which configuration; without one that is done at once, with the JSON or TOML file `config`. With
    `reattach` the host outlives its supervisor and looks for a new one for `reattach_seconds`, at the address in
    `supervisor_file` if that is set. `start_timeout` bounds the plugin's start and the registration each; 0 does not.

    An event loop that has not turned for `stall` makes the host not ready; a debugger wants that to be long. The place
    of an operation that goes on for `stuck` after its call was answered is lost: the host is degraded, with no place
    left it is not ready, and if that lasts for `stuck_restart` it ends, to be started anew; with 0 it does not. With
    `drafts` a plugin whose version is published with another content is served under a build of that version.
    In the file `running_calls` the host writes down which calls run, for whoever looks at it after a crash.
    `memory_bytes` and `open_files` bound the process; 0 leaves it to the plugin's own limits.
    """

    load: str
    listen: str = "127.0.0.1:0"
    health_listen: str = "127.0.0.1:0"
    metrics_listen: str = ""
    path: str = ""
    instance_id: str = ""
    name: str = ""
    tenure: str = ""
    advertise: str = ""
    registry: str = ""
    traces: str = ""
    queue_limit: int = 64
    lease_ttl: float = 15.0
    owner_token: str = field(default="", repr=False)
    owner_token_file: str = ""
    owner_key_file: str = ""
    supervisor: str = ""
    token: str = field(default="", repr=False)
    reattach: bool = False
    reattach_seconds: float = 30.0
    supervisor_file: str = ""
    config: str = ""
    start_timeout: float = 0.0
    stall: float = 1.0
    stuck: float = 5.0
    stuck_restart: float = 60.0
    drafts: bool = False
    running_calls: str = ""
    memory_bytes: int = 0
    open_files: int = 0

    def __post_init__(self) -> None:
        ServiceSettings.__post_init__(self)
        module, _, name = self.load.partition(":")
        if not module or not name:
            raise ValueError(f'load = {self.load!r} is not "module:Class" or "entry:NAME"')
        self.owner_key()
        if self.queue_limit < 0:
            raise ValueError(f"queue_limit = {self.queue_limit} is below 0")
        if not 1 <= self.lease_ttl <= 600:
            raise ValueError(f"lease_ttl = {self.lease_ttl:g} is not between 1 and 600 seconds")
        if self.supervisor and not (self.token and self.instance_id):
            raise ValueError(f"supervisor = {self.supervisor!r} needs a token and an instance_id beside it")
        if self.supervisor and self.config:
            raise ValueError(f"config = {self.config!r} beside a supervisor, which gives the configuration itself")
        for name, length, least in (
            ("reattach_seconds", self.reattach_seconds, 0),
            ("start_timeout", self.start_timeout, 0),
            ("stall", self.stall, 0.1),
            ("stuck", self.stuck, 0),
            ("stuck_restart", self.stuck_restart, 0),
        ):
            if not least <= length <= 86_400:
                raise ValueError(f"{name} = {length:g} is not between {least:g} and 86400 seconds")
        for name, value in (("memory_bytes", self.memory_bytes), ("open_files", self.open_files)):
            if not 0 <= value < 2**62:
                raise ValueError(f"{name} = {value} is not between 0 and 2^62")

    def owner_key(self) -> str:
        """The key of the plugin's owner; empty if it has none. Raises ValueError."""
        try:
            return read_secret(Path(self.owner_key_file)) if self.owner_key_file else ""
        except NoSecret as error:
            raise ValueError(f"owner_key_file: {error}") from error

    @property
    def directories(self) -> list[str]:
        """Where to look for the plugin before anywhere else."""
        return folders_of(self.path)
