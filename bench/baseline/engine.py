"""
The bare way of a step, to which every other figure of a run is a ratio: what is promised of a step and nothing else.

Each attempt is in the database, synced, before its call leaves, together with the end of the step before it; commits
gather what waits; calls travel in one stream to another process; every attempt, call and execution has its span. There
are no definitions, no expressions, no retries, no deadlines, no picks, no recovery, and nobody who starts executions.

Usage: python -m bench.baseline.engine [--shape seq3|fan10] [--in-flight 64] [--executions 3000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import msgspec
import uvloop

from bench.baseline.messages import SESSION, Call, Result
from bench.baseline.spans import Spans, derived

Row: TypeAlias = tuple[str, int, str, bytes, int]
STEPS = {"seq3": 3, "fan10": 12}
WARM_UP = 300
INPUT = b'{"order": "20261123-000001", "amount": 129.95, "currency": "EUR", "note": "' + b"x" * 100 + b'"}'
TICKS = os.sysconf("SC_CLK_TCK")


class Journal:
    """One writer thread: what is queued while it commits goes into its next transaction."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._path = path
        self._waiting: list[tuple[list[Row], asyncio.Future[None]]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._open = True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def append(self, rows: list[Row]) -> asyncio.Future[None]:
        """Is done once the rows are synced."""
        done = self._loop.create_future()
        with self._lock:
            self._waiting.append((rows, done))
        self._wake.set()
        return done

    def close(self) -> None:
        """Once nothing waits."""
        self._open = False
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(
            "CREATE TABLE event (execution TEXT, sequence INTEGER, kind TEXT, body BLOB, at INTEGER,"
            " PRIMARY KEY (execution, sequence)) WITHOUT ROWID"
        )
        while self._open:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                batch, self._waiting = self._waiting, []
            if batch:
                connection.execute("BEGIN IMMEDIATE")
                rows = [row for rows, _ in batch for row in rows]
                connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?)", rows)
                connection.execute("COMMIT")
                self._loop.call_soon_threadsafe(_settle, [done for _, done in batch])
        connection.close()


def _settle(waiting: list[asyncio.Future[None]]) -> None:
    for done in waiting:
        done.set_result(None)


class Link:
    """The stream to the host: whatever waits leaves as one message."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stream: Any = channel.stream_stream(SESSION)()
        self._open: dict[int, asyncio.Future[bytes]] = {}
        self._out: list[Call] = []
        self._number = 0
        self._wake = asyncio.Event()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    def invoke(self, call: Call) -> asyncio.Future[bytes]:
        """Its output."""
        self._number = call.number = self._number + 1
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._open[call.number] = answer
        self._out.append(call)
        self._wake.set()
        return answer

    async def _write(self) -> None:
        encode = msgspec.msgpack.Encoder().encode
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._out:
                out, self._out = self._out, []
                await self._stream.write(encode(out))

    async def _read(self) -> None:
        results = msgspec.msgpack.Decoder(list[Result])
        while (frame := await self._stream.read()) is not grpc.aio.EOF:
            for result in results.decode(frame):
                self._open.pop(result.number).set_result(result.output)

    def close(self) -> None:
        """End the stream."""
        for task in self._tasks:
            task.cancel()
        self._stream.cancel()


class Execution:
    """One execution: its events go into the journal, its calls to the link, its spans to where they are kept."""

    def __init__(self, journal: Journal, link: Link, spans: Spans) -> None:
        self._journal, self._link, self._spans = journal, link, spans
        self._id = os.urandom(16).hex()
        self._trace = bytes.fromhex(self._id)
        self._root = derived("run", self._id)
        self._sequence = 0
        self._fresh: list[Row] = []

    async def run(self, shape: str) -> None:
        """All of its steps, with the span around them."""
        began = time.time_ns()
        self._note("started", INPUT)
        output = await (self._seq3() if shape == "seq3" else self._fan10())
        self._note("succeeded", output)
        await self._flush()
        facts = {"execution": self._id, "status": "succeeded"}
        self._spans.add(self._trace, self._root, b"", "run", began, time.time_ns(), facts)

    async def _seq3(self) -> bytes:
        given = INPUT
        for step in ("s1", "s2", "s3"):
            given = await self._step(step, given)
        return given

    async def _fan10(self) -> bytes:
        given = await self._step("first", INPUT)
        outputs = await asyncio.gather(*(self._step(f"b{number}", given) for number in range(10)))
        return await self._step("last", outputs[-1])

    async def _step(self, step: str, given: bytes) -> bytes:
        began, span = time.time_ns(), derived("attempt", self._id, step, "1")
        self._note("attempt_started", given)
        await self._flush()
        key = f"{self._id}/{step}"
        output = await self._link.invoke(Call(0, "noop", self._id, step, 1, key, self._trace, span, 10.0, given))
        self._note("attempt_succeeded", output)
        facts = {"execution": self._id, "step": step, "attempt": "1", "plugin": "noop", "instance": "noop-1"}
        self._spans.add(self._trace, span, self._root, step, began, time.time_ns(), facts)
        return output

    def _note(self, kind: str, body: bytes) -> None:
        self._sequence += 1
        self._fresh.append((self._id, self._sequence, kind, body, time.time_ns()))

    async def _flush(self) -> None:
        fresh, self._fresh = self._fresh, []
        await self._journal.append(fresh)


async def measure(shape: str, in_flight: int, count: int, port: str, host: int, directory: Path) -> None:
    """Warm up, run, print."""
    journal, spans = Journal(directory / "events.db", asyncio.get_running_loop()), Spans()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        link = Link(channel)

        async def run(executions: int) -> list[float]:
            taken: list[float] = []
            tickets = iter(range(executions))

            async def worker() -> None:
                for _ in tickets:
                    began = time.perf_counter()
                    await Execution(journal, link, spans).run(shape)
                    taken.append(time.perf_counter() - began)

            await asyncio.gather(*(worker() for _ in range(in_flight)))
            return taken

        await run(WARM_UP)
        before, began = (_own_seconds(), _seconds_of(host)), time.perf_counter()
        taken = await run(count)
        seconds, after = time.perf_counter() - began, (_own_seconds(), _seconds_of(host))
        link.close()
    journal.close()
    steps = count * STEPS[shape]
    engine, hosted = ((later - earlier) / steps * 1e6 for later, earlier in zip(after, before, strict=True))
    print(f"the bare way of {shape}, {in_flight} in flight, {count} executions:")
    print(f"  {steps / seconds:8.0f} steps/s    {statistics.median(taken) * 1e3:8.1f} ms p50")
    print(f"  {engine + hosted:8.0f} us of CPU per step: {engine:.0f} engine, {hosted:.0f} host")


def _own_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _seconds_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=STEPS, default="seq3")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--executions", type=int, default=3000)
    given = parser.parse_args()
    host = subprocess.Popen([sys.executable, "-m", "bench.baseline.host"], stdout=subprocess.PIPE, text=True)
    try:
        assert host.stdout is not None
        port = host.stdout.readline().strip()
        with tempfile.TemporaryDirectory(prefix="forgemesh-bench-") as directory:
            uvloop.run(measure(given.shape, given.in_flight, given.executions, port, host.pid, Path(directory)))
    finally:
        host.terminate()
        host.wait(10)


if __name__ == "__main__":
    main()
