"""One service's process: started, waited for until it is ready, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from forgemesh.chassis.heartbeat import HEARTBEAT_FD, Heartbeat
from forgemesh.chassis.log_output import LOG_FILE
from forgemesh.chassis.private_files import open_private
from forgemesh.chassis.process import EXIT_SETTINGS, PARENT_FD, READY_FD
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.mesh.plan import Service
from forgemesh.cli.problem import Problem

READY_DEADLINE = 30.0
STOP_DEADLINE = 20.0


class _Ready(msgspec.Struct):
    address: str
    health_address: str = ""
    metrics_address: str = ""


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """A process that said it was ready, and where it listens; `trouble` is why it runs no more."""

    service: Service
    process: asyncio.subprocess.Process
    address: str
    health_address: str
    metrics_address: str
    heartbeat: Heartbeat
    trouble: str = ""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    async def stop(self) -> bool:
        """Ask it to end and wait for that; False if it had to be killed."""
        return await _end(self.process)


class DidNotStart(Problem):
    """A service ended, or stayed silent, before it was ready."""


async def launch(
    service: Service, *, arguments: Sequence[str], environment: Mapping[str, str], log: Path, alive: int
) -> ServiceProcess:
    """
    Start a service in a session of its own; returns once it is ready.

    Its output is appended to `log`. It ends by itself when the other end of the pipe `alive` is closed. Raises
    DidNotStart and leaves no process behind.
    """
    before = _size(log)
    heartbeat = Heartbeat()
    ready, told = os.pipe()
    with os.fdopen(ready, "rb") as pipe:
        try:
            process = await _spawn(service, arguments, environment, log, alive, told, heartbeat)
        finally:
            os.close(told)
        try:
            async with asyncio.timeout(READY_DEADLINE):
                line = await _first_line(pipe.fileno())
                if not line:
                    await process.wait()
        except TimeoutError:
            line = b""
        except BaseException:
            await _end(process)
            raise
    if not line:
        silent = process.returncode is None
        await _end(process)
        raise _did_not_start(service, process, silent, _written_since(log, before), log)
    facts = msgspec.json.decode(line, type=_Ready)
    return ServiceProcess(service, process, facts.address, facts.health_address, facts.metrics_address, heartbeat)


async def _spawn(
    service: Service,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    alive: int,
    told: int,
    heartbeat: Heartbeat,
) -> asyncio.subprocess.Process:
    try:
        output = open_private(log, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        raise DidNotStart(
            ExitCode.FAILED,
            f"service {service.name!r} cannot be started: its log {log} cannot be written: {error.strerror}",
            reason="SERVICE_DID_NOT_START",
            hint="let this user write there; it is tried again",
        ) from error
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            service.module,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={
                **environment,
                PARENT_FD: str(alive),
                READY_FD: str(told),
                HEARTBEAT_FD: str(heartbeat.descriptor),
                LOG_FILE: str(log),
            },
            pass_fds=(alive, told, heartbeat.descriptor),
            start_new_session=True,
        )
    finally:
        os.close(output)


async def _first_line(pipe: int) -> bytes:
    """What is written to the pipe up to the end of a line; empty if its writers are gone before that."""
    loop = asyncio.get_running_loop()
    os.set_blocking(pipe, False)
    found = b""
    while not found.endswith(b"\n"):
        readable = asyncio.Event()
        loop.add_reader(pipe, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(pipe)
        piece = os.read(pipe, 65536)
        if not piece:
            return b""
        found += piece
    return found


async def _end(process: asyncio.subprocess.Process) -> bool:
    """Ask, wait, kill; False if it had to be killed."""
    if process.returncode is not None:
        return True
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_DEADLINE):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        return False
    return True


def _did_not_start(
    service: Service, process: asyncio.subprocess.Process, silent: bool, written: list[str], log: Path
) -> DidNotStart:
    why = f"was not ready within {READY_DEADLINE:g} s" if silent else ended(process.returncode or 0)
    said = next((number for number, line in enumerate(written) if line.startswith("error: ")), None)
    if said is not None and not silent:
        message, *details = written[said:]
        message = f"service {service.name!r} does not start: {message.removeprefix('error: ')}"
    else:
        message, details = f"service {service.name!r} {why}", written[-1:]
    invalid = process.returncode == EXIT_SETTINGS and not silent
    return DidNotStart(
        ExitCode.USAGE if invalid else ExitCode.FAILED,
        message,
        reason="CONFIG_INVALID" if invalid else "SERVICE_DID_NOT_START",
        details=details,
        hint=f"its whole log: {log}",
    )


def ended(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _size(log: Path) -> int:
    with suppress(OSError):
        return log.stat().st_size
    return 0


def _written_since(log: Path, before: int) -> list[str]:
    """Nothing of a log that was removed meanwhile."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(before)
        return file.read().decode(errors="replace").splitlines()
    return []


def refuse_taken(service: Service, listens: Sequence[str]) -> None:
    """Raise Problem if something listens already where the service shall listen."""
    for address in listens:
        host, _, port = address.rpartition(":")
        if not port.isdigit() or port == "0":
            continue
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), int(port)))
            except socket.gaierror:
                continue
            except OSError as error:
                raise Problem(
                    ExitCode.UNREACHABLE,
                    f"service {service.name!r} cannot listen on {address}: {(error.strerror or str(error)).lower()}",
                    reason="PORT_IN_USE",
                    hint="stop what holds the port, or let every service take any free one: forgemesh up --any-port",
                ) from error
