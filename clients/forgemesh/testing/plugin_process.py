"""A plugin host in a process of its own, without a mesh, for an author's tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import msgspec

from forgemesh.api.plugin.v1 import invocation_pb2, manifest_pb2, plugin_service_pb2 as pb
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.chassis.process import PARENT_FD, READY_FD
from forgemesh.client.failure import code_of_number
from forgemesh.client.payload import decoded, encoded
from forgemesh.client.peer import Peer
from forgemesh.faults import Fault
from forgemesh.faults.service import ServiceUnreachable
from forgemesh.language.json_value import write_json
from forgemesh.language.nesting import check_depth
from forgemesh.plugin import DeclaredPlugin, OperationError
from forgemesh.testing.plugin_source import Folders, source_of
from forgemesh.testing.problem import PluginDidNotStart, PluginEnded

PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
"""The variables that reach a plugin by themselves, here as in a mesh; those of LC_* as well."""
TIMEOUT = 60.0
GRACE = 10.0
_MARGIN = 1.0
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call returned; it waited `queued` seconds for a free place and ran `ran` seconds."""

    output: Any
    queued: float
    ran: float


class PluginProcess:
    """A running plugin: called as a mesh calls it, its output kept."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path, channel: grpc.aio.Channel, at: str) -> None:
        self._process = process
        self._output = output
        self._stub = PluginServiceStub(channel)
        self._peer = Peer("plugin", at)
        self._calls = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def address(self) -> str:
        """Where PluginService listens, host:port."""
        return self._peer.address

    @property
    def log(self) -> list[str]:
        """The lines that it has written so far; of a log record the message, with the traceback if it has one."""
        return lines_of(self._output)

    async def logged(self, text: str, *, within: float = 10.0) -> str:
        """The first line of the log that contains `text`, as soon as there is one; raises TimeoutError."""
        async with asyncio.timeout(within):
            while True:
                for line in self.log:
                    if text in line:
                        return line
                await asyncio.sleep(0.02)

    async def call(self, operation: str, /, **given: Any) -> Any:
        """
        What the operation returns for these parameters.

        Raises OperationError if it fails, whatever it raised; see `invoke`.
        """
        return (await self.invoke(operation, given)).output

    async def invoke(
        self,
        operation: str,
        given: object = None,
        *,
        timeout: float = TIMEOUT,
        attempt: int = 1,
        idempotency_key: str | None = None,
        execution_id: str = "",
        step_path: str = "",
        heartbeat_details: object = None,
    ) -> Answer:
        """
        Call with an input as a whole, and with what the operation's context says.

        Raises OperationError with the reason of the failure; a Fault if the host refuses the call, such as
        InstanceFull; PluginEnded if the process ends meanwhile. After `timeout` seconds the call is taken back and
        fails with START_TO_CLOSE_TIMEOUT.
        """
        self._calls += 1
        invocation = invocation_pb2.Invocation(
            operation=operation,
            input=encoded({} if given is None else given, "the input"),
            namespace="default",
            execution_id=execution_id,
            step_path=step_path,
            attempt=attempt,
            idempotency_key=idempotency_key or f"test/{self._calls}",
            remaining_millis=max(1, round(timeout * 1000)),
            heartbeat_details=encoded(heartbeat_details, "the details", "heartbeat_details"),
        )
        request = pb.InvokeRequest(invocation=invocation)
        answer = await self._answer(self._stub.Invoke, request, timeout + _MARGIN)
        return _read(answer.result)

    async def manifest(self) -> manifest_pb2.Manifest:
        """What it would publish."""
        answer = await self._answer(self._stub.Describe, pb.DescribeRequest(), TIMEOUT)
        found: manifest_pb2.Manifest = answer.manifest
        return found

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        await self._process.wait()

    async def _answer(self, method: Any, request: Any, deadline: float) -> Any:
        try:
            return await self._peer.call(method, request, deadline=deadline)
        except ServiceUnreachable as fault:
            raise await self._ended(fault) from fault

    async def _ended(self, fault: Fault) -> Exception:
        """The connection is often gone a moment before the process is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MARGIN):
                code = await self._process.wait()
                return PluginEnded(code, self.log[-_SHOWN:])
        return fault


@contextlib.asynccontextmanager
async def run_plugin(
    plugin: type | DeclaredPlugin | str,
    *,
    path: Folders | None = None,
    config: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    start_timeout: float = 30.0,
) -> AsyncIterator[PluginProcess]:
    """
    Serve a plugin in a process of its own until the block ends: `async with run_plugin(Stock) as host: ...`.

    `plugin` is the class, the plugin(...) of functions, or "module:Class"; `path` are folders in which modules are
    looked for first. `config` is its configuration, as JSON has it. Of the test's environment only what a mesh passes
    on reaches it, and `environment`. Raises PluginDidNotStart with what it wrote.
    """
    source = source_of(plugin, path)
    with tempfile.TemporaryDirectory(prefix="forgemesh-plugin-") as folder:
        output = Path(folder) / "output.log"
        variables = _environment(environment or {}) | {
            "FORGEMESH_HOST_LOAD": source.load,
            "FORGEMESH_HOST_PATH": source.path,
            "FORGEMESH_HOST_CONFIG": _written(config, Path(folder) / "config.json"),
            "PYTHONUNBUFFERED": "1",
        }
        async with _running(variables, output) as (process, ready):
            facts = await _facts(ready, process, output, start_timeout)
            async with connect(facts["address"]) as channel:
                yield PluginProcess(process, output, channel, facts["address"])


@contextlib.asynccontextmanager
async def _running(
    variables: Mapping[str, str], output: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.StreamReader]]:
    """The process, and the pipe on which it says that it is ready; it ends with the block, or with this process."""
    reading, told = os.pipe()
    alive, held = os.pipe()
    with contextlib.ExitStack() as pipes:
        pipes.callback(os.close, held)
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
        )
        pipes.callback(transport.close)
        try:
            with output.open("wb") as written:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "forgemesh.plugin_host.main",
                    env={**variables, READY_FD: str(told), PARENT_FD: str(alive)},
                    pass_fds=(told, alive),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=written,
                    stderr=written,
                    start_new_session=True,
                )
        finally:
            os.close(told)
            os.close(alive)
        try:
            yield process, reader
        finally:
            await _end(process)


async def _facts(
    ready: asyncio.StreamReader, process: asyncio.subprocess.Process, output: Path, patience: float
) -> dict[str, Any]:
    try:
        async with asyncio.timeout(patience):
            line = await ready.readline()
            if not line:
                await process.wait()
    except TimeoutError:
        line = b""
    if not line:
        raise PluginDidNotStart(process.returncode, patience, lines_of(output)[-_SHOWN:])
    return dict(json.loads(line))


async def _end(process: asyncio.subprocess.Process) -> None:
    """It finishes what it has; what takes longer than GRACE seconds is killed."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(GRACE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _written(config: Mapping[str, Any] | None, file: Path) -> str:
    """The name of a file with the configuration; empty if there is none."""
    if config is None:
        return ""
    file.write_bytes(write_json(dict(config)))
    return str(file)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    passed_on = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("LC_")}
    return passed_on | dict(more)


def _read(result: invocation_pb2.InvocationResult) -> Answer:
    if result.HasField("failure"):
        failure = result.failure
        raise OperationError(
            failure.reason,
            failure.message,
            retryable=failure.retryable,
            metadata=failure.metadata,
            code=code_of_number(failure.code),
            retry_after=failure.retry_after_millis / 1000 or None,
        )
    return Answer(decoded(result.output), result.queued_micros / 1e6, result.ran_micros / 1e6)


def lines_of(output: Path) -> list[str]:
    """What a host has written, as people read it: of a record of its log the message, and the traceback if any."""
    found: list[str] = []
    for line in output.read_text(encoding="utf-8", errors="replace").splitlines():
        record: Any = None
        with contextlib.suppress(ValueError):
            check_depth(line)
            record = msgspec.json.decode(line)
        if isinstance(record, dict) and "message" in record:
            found += [str(record["message"]), *str(record.get("exception", "")).splitlines()]
        else:
            found.append(line)
    return found
