"""A host process that is told who started it, and calls of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from forgemesh.api.plugin.v1 import invocation_pb2, plugin_service_pb2
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceStub
from forgemesh.chassis.channel import connect
from tests.mesh.processes import DEADLINE
from tests.mesh.supervising import TOKEN

HOST = "forgemesh.plugin_host.main"


class Host:
    """A host process and its output."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    async def wait(self) -> int:
        async with asyncio.timeout(DEADLINE):
            return await self.process.wait()

    def output(self) -> str:
        return self.log.read_text(errors="replace")


@contextlib.asynccontextmanager
async def host(
    tmp_path: Path, supervisor: str, source: str, *, output: Any = None, **others: Any
) -> AsyncIterator[Host]:
    """A host that is given who started it; killed at the end if it still runs. It writes to a file or `output`."""
    (tmp_path / "words_plugin.py").write_text(source)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "FORGEMESH_HOST_LOAD": "words_plugin:Words",
        "FORGEMESH_HOST_PATH": str(tmp_path),
        "FORGEMESH_HOST_INSTANCE_ID": "words-1",
        "FORGEMESH_HOST_SUPERVISOR": supervisor,
        "FORGEMESH_HOST_TOKEN": TOKEN,
        **others,
    }
    log = tmp_path / "host.log"
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            HOST,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output or file,
            stderr=output or file,
        )
    try:
        yield Host(process, log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def call(address: str, operation: str, **arguments: Any) -> Any:
    """What the operation returns."""
    return json.loads((await result_of(address, operation, **arguments)).output.data)


async def result_of(address: str, operation: str, **arguments: Any) -> invocation_pb2.InvocationResult:
    """The result of a unary call."""
    invocation = invocation_pb2.Invocation(operation=operation)
    invocation.input.data = json.dumps(arguments).encode()
    async with connect(address) as channel:
        request = plugin_service_pb2.InvokeRequest(invocation=invocation)
        response = await PluginServiceStub(channel).Invoke(request, timeout=DEADLINE)
    return response.result
