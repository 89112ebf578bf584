"""
The bare way of a plugin host: a stream of calls, each run as a task, each with a span, results as they come.

Started by bench.baseline.engine; prints its address, and serves until it is told to end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import msgspec
import uvloop

from bench.baseline.messages import SESSION, Call, Result
from bench.baseline.spans import Spans


async def noop(given: Any) -> Any:
    """What is to be done."""
    return given


class Host:
    """Answers the calls of a stream."""

    def __init__(self) -> None:
        self._spans = Spans()

    async def session(self, frames: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Calls in, results out, as many in a message as there are."""
        out: list[Result] = []
        ready = asyncio.Event()
        calls = msgspec.msgpack.Decoder(list[Call])
        encode = msgspec.msgpack.Encoder().encode
        tasks: set[asyncio.Task[None]] = set()

        async def run(call: Call) -> None:
            began = time.time_ns()
            output = json.dumps(await noop(json.loads(call.input))).encode()
            facts = {"execution": call.execution, "step": call.step, "instance": "noop-1", "plugin": "noop"}
            self._spans.add(call.trace, os.urandom(8), call.span, "execute noop", began, time.time_ns(), facts)
            out.append(Result(call.number, output))
            ready.set()

        async def read() -> None:
            async for frame in frames:
                for call in calls.decode(frame):
                    task = asyncio.create_task(run(call))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            ready.set()

        reading = asyncio.create_task(read())
        while not (reading.done() and not tasks and not out):
            await ready.wait()
            ready.clear()
            if out:
                frame = encode(out)
                out.clear()
                yield frame


async def main() -> None:
    """Serve until SIGTERM."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service, method = SESSION.strip("/").split("/")
    handler: Any = grpc.stream_stream_rpc_method_handler(Host().session)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(main())
