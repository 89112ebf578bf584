"""
A client with nothing but grpcio in it. Each line that it reads is a request, each line that it writes what came of it.

`calls` calls are made, `concurrent` at a time, each within `seconds`, with `headers` (a %i in a value is the number of
the call); `wait` is whether they wait for an instance. The answer counts what came back, by name or by code.
"""

import asyncio
import json
import sys
from collections import Counter
from typing import Any

import grpc


async def answers(call: Any, request: dict[str, Any]) -> Counter[str]:
    found: Counter[str] = Counter()
    room = asyncio.Semaphore(request["concurrent"])

    async def one(number: int) -> None:
        headers = [(name, value.replace("%i", str(number))) for name, value in request["headers"].items()]
        async with room:
            try:
                answer = await call(b"", timeout=request["seconds"], metadata=headers, wait_for_ready=request["wait"])
                found[answer.decode()] += 1
            except grpc.aio.AioRpcError as error:
                found[error.code().name] += 1

    await asyncio.gather(*(one(number) for number in range(request["calls"])))
    return found


async def main() -> None:
    loop = asyncio.get_running_loop()
    async with grpc.aio.insecure_channel(sys.argv[1]) as channel:
        call: Any = channel.unary_unary("/test.Who/Who")
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await answers(call, json.loads(line))), flush=True)


asyncio.run(main())
