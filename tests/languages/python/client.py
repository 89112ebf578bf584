"""The conformance client in Python: what it does is said in tests/languages/README.md."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from forgemesh.client import Client, ExecutionFailed
from forgemesh.faults import Fault, code_of, reason_of


async def do(mesh: Client, request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request."""
    match request["do"]:
        case "register":
            await mesh.register(request["source"])
            return {}
        case "run" | "start" | "watch":
            execution = await mesh.start(
                request["workflow"],
                request["input"],
                execution_id=request.get("execution_id"),
                request_id=request.get("request_id"),
                traceparent=request.get("traceparent"),
            )
            answer: dict[str, Any] = {"execution_id": execution.id, "trace_id": execution.trace_id}
            if request["do"] == "watch":
                answer["sequences"] = [event.sequence async for event in execution.watch()]
            if request["do"] != "start":
                answer["output"] = await execution.result()
            return answer
    execution = await mesh.execution(request["execution_id"])
    match request["do"]:
        case "signal":
            await execution.signal(request["signal"], request["input"], signal_id=request.get("request_id") or "")
        case "cancel":
            await execution.cancel(reason="asked to")
        case "result":
            return {"execution_id": execution.id, "output": await execution.result()}
    return {"execution_id": execution.id}


async def answered(mesh: Client, request: dict[str, Any]) -> dict[str, Any]:
    """The answer, or how it was refused."""
    try:
        async with asyncio.timeout(request.get("seconds") or None):
            return await do(mesh, request)
    except ExecutionFailed as error:
        return {
            "status": f"EXECUTION_STATUS_{error.status.name}",
            "code": int(error.code),
            "reason": error.reason,
            "message": error.failure.message,
            "metadata": dict(error.failure.metadata),
        }
    except Fault as fault:
        return {
            "code": int(code_of(fault)),
            "reason": reason_of(fault),
            "message": fault.message,
            "metadata": dict(fault.metadata),
        }
    except TimeoutError:
        return {"deadline": True}


async def main() -> None:
    """One line in, one line out."""
    async with Client.connect() as mesh:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await answered(mesh, json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
