"""
What a step takes of the orchestrator that a busy machine does not change: calls by module, events, bytes, messages.

Times are those of a profiled process, two or three times too long: compare modules with one another, and calls with
those of another commit. What a process does while it starts is in it, so that many executions say more.

Usage: python -m bench.profile [--shape seq3|fan10] [--in-flight 64] [--executions 3000] [--bulk 16 | --client]
"""

from __future__ import annotations

import argparse
import os
import pstats
import sqlite3
import tempfile
from collections import defaultdict
from pathlib import Path

import uvloop

from bench.mesh import Mesh, running_mesh
from bench.throughput import HERE, STEPS, WARM_UP, Load, measure

MODULE = "forgemesh.orchestrator.main"
SHOWN = 60
PROFILED = HERE / "profiled"


def print_calls(profile: Path, steps: int) -> None:
    """Calls and microseconds per step, of the modules that take most of them."""
    calls: defaultdict[str, float] = defaultdict(float)
    micros: defaultdict[str, float] = defaultdict(float)
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]
    for (file, _, _), (_, count, own, _, _) in stats.items():
        name = file.rpartition("forgemesh/")[2].rpartition("site-packages/")[2]
        calls[name] += count / steps
        micros[name] += own / steps * 1e6
    python = sum(count for name, count in calls.items() if name != "~")
    print(f"\n  {python:8.1f} calls of Python functions per step, {sum(calls.values()):.1f} calls in all")
    for name in sorted(micros, key=lambda one: -micros[one])[:SHOWN]:
        print(f"  {calls[name]:8.2f} calls {micros[name]:8.2f} us  {'built in' if name == '~' else name}")


def print_rows(database: Path) -> None:
    """What the store holds of the executions, per step that was run."""
    connection = sqlite3.connect(database)
    executions, events, size = connection.execute(
        "SELECT (SELECT count(*) FROM execution), count(*), sum(length(body)) FROM event"
    ).fetchone()
    connection.close()
    print(f"\n  {events / executions:.1f} events in {size / executions:.0f} bytes per execution ({executions} of them)")


def print_log(mesh: Mesh) -> None:
    """What the orchestrator says of its messages and commits."""
    for record in mesh.log("orchestrator"):
        if "calls_per_frame" in record or "writes_per_commit" in record:
            print(f"  {record['message']}")


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=STEPS, default="seq3")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--executions", type=int, default=3000)
    parser.add_argument("--bulk", type=int, default=1)
    parser.add_argument("--client", action="store_true")
    given = parser.parse_args()
    load = Load(given.shape, given.executions, given.in_flight, given.bulk, given.client)
    with tempfile.TemporaryDirectory(prefix="forgemesh-bench-") as directory:
        into = Path(directory) / "profile"
        os.environ |= {
            "FORGEMESH_BENCH_MODULE": MODULE,
            "FORGEMESH_BENCH_INTO": str(into),
            "PYTHONPATH": f"{PROFILED}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        }
        with running_mesh(HERE / "noop" / "forgemesh.toml", Path(directory) / "mesh") as mesh:
            uvloop.run(measure(mesh, load))
        print_calls(into, (load.count + WARM_UP) * STEPS[load.shape])
        print_rows(next((Path(directory) / "mesh").rglob("orchestrator.db")))
        print_log(mesh)


if __name__ == "__main__":
    main()
