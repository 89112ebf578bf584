"""`forgemesh up`."""

from __future__ import annotations

import asyncio
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec

from forgemesh.api.supervisor.v1.host_pb2 import Host, HostState
from forgemesh.chassis.process import Stop, run_until_stopped, tell_ready
from forgemesh.chassis.system import unsupported_system
from forgemesh.chassis.tasks import beside, lasting
from forgemesh.chassis.version import VERSION
from forgemesh.cli.command_line import Given, switch
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.mesh.directory import DataDirectory, holding
from forgemesh.cli.mesh.log import last_lines
from forgemesh.cli.mesh.plan import SERVICES, Plan, unknown_tables
from forgemesh.cli.mesh.process import refuse_taken
from forgemesh.cli.mesh.readiness import Instance, wait_for_instances
from forgemesh.cli.mesh.service_runner import Processes, ServiceRunner
from forgemesh.cli.mesh.watchdog import LEAST, STALL_LIMIT
from forgemesh.cli.problem import Problem, usage
from forgemesh.cli.reloading import Reloading
from forgemesh.cli.table import Table, word
from forgemesh.cli.terminal import Terminal
from forgemesh.client.mesh_file import DATA_DIRECTORY, FILE_NAME, MeshFacts, ServiceFacts

_LAST_LINES = 4
DEFAULT_CONFIG = Path("forgemesh.toml")


def up(
    *,
    config: Path | None = None,
    data_dir: Path = Path(DATA_DIRECTORY),
    any_port: Annotated[bool, switch()] = False,
    reload: Annotated[bool, switch()] = False,
    stall_limit: float = STALL_LIMIT,
    line: Given,
) -> None:
    """
    Start a mesh on this machine, every service and every plugin as a process, and keep it until Ctrl-C.

    A service that dies, or whose event loop hangs, is started again at the same address. Exits with 2 if the
    configuration is not valid, 4 if a mesh runs in the data directory already, 5 if a port is taken, 1 if the data
    directory cannot be used, a service does not start or the system is not Linux; nothing is left running then.

    Parameters
    ----------
    config
        A TOML file with the plugins under [plugins.NAME], and settings of the services under [registry],
        [orchestrator] and so on; forgemesh.toml if that exists.
    data_dir
        Where databases, logs and mesh.json go.
    any_port
        Let every service listen on any free port instead of 7401 to 7405 and 7501 to 7505.
    reload
        Watch the source of the plugins, and replace a plugin without a gap when its source changes. One that does not
        come up leaves the old one serving. What it offers may change without another version.
    stall_limit
        Seconds for which the event loop of a service may stand still until it is killed and started again, also if its
        process was stopped; 0 for ever, which is for debuggers.
    """
    if refusal := unsupported_system():
        message, hint = refusal.split(": ", 1)
        raise Problem(ExitCode.FAILED, message, reason="SYSTEM_UNSUPPORTED", code="UNIMPLEMENTED", hint=hint)
    if stall_limit and not stall_limit >= LEAST:
        raise usage(f"--stall-limit {stall_limit:g} is too short; say at least {LEAST:g} seconds, or 0 for never")
    file = config or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    plan = Plan(
        data=data_dir,
        tables=_tables(file) if file else {},
        environment=dict(os.environ),
        config=file,
        any_port=any_port,
        reload=reload,
    )
    run_until_stopped(partial(_serve, plan, line.terminal, stall_limit))


async def _serve(plan: Plan, terminal: Terminal, stall_limit: float, stop: Stop) -> None:
    with holding(plan.data) as directory, _living() as alive:
        for stage in plan.stages:
            for service in stage:
                refuse_taken(service, plan.listens(service))
        mesh = _Mesh(directory, terminal, datetime.now(UTC))
        runner = ServiceRunner(
            plan=plan,
            directory=directory,
            alive=alive.end,
            say=terminal.talk,
            changed=mesh.publish,
            stall_limit=stall_limit,
        )
        terminal.talk(f"starting a mesh in {plan.data} ...")
        try:
            async with beside(runner.run(mesh.announce), _reload(plan, runner, mesh)):
                await stop.wait()
                terminal.talk("stopping ...")
                directory.withdraw()
                if stop.orphaned:
                    alive.let_go()
        except BaseExceptionGroup as group:
            raise _first(group) from group
    terminal.talk("stopped")


async def _reload(plan: Plan, runner: ServiceRunner, mesh: _Mesh) -> None:
    """Once the mesh runs: replace plugins whose source changes, if that is wanted."""
    await mesh.announced.wait()
    if plan.reload and plan.config is not None and "supervisor" in runner.running:
        supervisor = partial(_address, runner, "supervisor")
        reloading = Reloading(config=plan.config, supervisor=supervisor, say=mesh.terminal.talk)
        await lasting("the watch for changes", reloading.run)


def _address(runner: ServiceRunner, service: str) -> str:
    return runner.running[service].address


@dataclass(frozen=True, slots=True)
class _Mesh:
    """What a running mesh says about itself."""

    directory: DataDirectory
    terminal: Terminal
    started_at: datetime
    announced: asyncio.Event = field(default_factory=asyncio.Event)

    async def announce(self, processes: Processes) -> None:
        """Once the services run: wait for the plugins, then tell everybody where everything is."""
        instances = await self._instances(processes)
        self.publish(processes)
        missing = [instance.host for instance in instances if not instance.is_ready]
        for host in missing:
            self.terminal.talk(*_excuse(host, self.directory))
        states = {
            "ready": [one.host.instance_id for one in instances if one.is_ready],
            "not_ready": [host.instance_id for host in missing],
        }
        if self.terminal.json:
            facts = msgspec.to_builtins(self._facts(processes))
            self.terminal.value(facts | states)
        else:
            self._show(processes, instances)
        tell_ready(
            address=processes["orchestrator"].address,
            mesh=str(self.directory.path / FILE_NAME),
            **states,
        )
        self.announced.set()

    async def _instances(self, processes: Processes) -> list[Instance]:
        if "supervisor" not in processes:
            self.terminal.talk(
                "no plugins: a forgemesh.toml names them under [plugins.NAME]; make one with: forgemesh init"
            )
            return []
        return await wait_for_instances(processes["supervisor"].address, processes["balancer"].address)

    def publish(self, processes: Processes) -> None:
        """Write mesh.json; a mesh goes on without it."""
        try:
            self.directory.publish(self._facts(processes))
        except OSError as error:
            self.terminal.talk(f"warning: cannot write {self.directory.path / FILE_NAME}: {error.strerror}")

    def _facts(self, processes: Processes) -> MeshFacts:
        services = {
            name: ServiceFacts(
                address=one.address,
                health_address=one.health_address,
                metrics_address=one.metrics_address,
                pid=one.pid,
                trouble=one.trouble,
            )
            for name, one in sorted(processes.items())
        }
        return MeshFacts(
            version=VERSION,
            pid=os.getpid(),
            started_at=self.started_at.isoformat(timespec="seconds"),
            services=services,
        )

    def _show(self, processes: Processes, instances: list[Instance]) -> None:
        table = Table(("PROCESS", "PID", "STATE", "ADDRESS"))
        for name, running in sorted(processes.items()):
            table.add(name, running.pid, "ready", running.address)
        for instance in instances:
            host = instance.host
            table.add(
                host.instance_id, host.pid or "", word(HostState.Name(host.state), "HOST_STATE_"), instance.address
            )
        self.terminal.table(table)
        self.terminal.talk("", "Next, in another terminal:")
        if self.directory.path != Path(DATA_DIRECTORY):
            self.terminal.talk(f"  export FORGEMESH_ADDRESS={processes['orchestrator'].address}")
        self.terminal.talk("  forgemesh run FILE -i key=value     run a workflow")
        self.terminal.talk("  forgemesh status                    see how everything is")
        self.terminal.talk(f"Logs are in {self.directory.path / 'logs'}; Ctrl-C stops the mesh.")


def _tables(file: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise usage(f"cannot read {file}: {error.strerror}", reason="CONFIG_INVALID") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise usage(f"{file} is not valid TOML: {error}", reason="CONFIG_INVALID") from error
    unknown = unknown_tables(tables)
    if unknown:
        known = ", ".join(f"[{service.name}]" for service in SERVICES)
        raise usage(
            f"{file} has unknown entries: {', '.join(unknown)}",
            hint=f"known are [plugins.NAME], {known}",
            reason="CONFIG_INVALID",
        )
    return tables


class _Alive:
    """A pipe that tells the services that this process lives: they inherit `end`, nobody writes to the other one."""

    def __init__(self) -> None:
        self.end, self._held = os.pipe()

    def let_go(self) -> None:
        """Let the services end as they do when this process is dead: at once."""
        if self._held >= 0:
            os.close(self._held)
        self._held = -1


@contextmanager
def _living() -> Iterator[_Alive]:
    alive = _Alive()
    try:
        yield alive
    finally:
        alive.let_go()
        os.close(alive.end)


def _excuse(host: Host, directory: DataDirectory) -> list[str]:
    state = word(HostState.Name(host.state), "HOST_STATE_")
    why = f": {host.reason}" if host.reason else ""
    log = directory.log(host.instance_id)
    said = [f"  | {line}" for line in last_lines(log, _LAST_LINES)]
    return [f"warning: {host.instance_id} is not ready ({state}){why}", *said, f"  its whole log: {log}"]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that made the others happen."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
