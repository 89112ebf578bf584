"""
One execution at a time, from the client's call to its answer: p50 and p99 of three no-op steps and of a fan of ten.

Usage: python -m bench.latency [--executions 1000]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import uvloop

from bench.mesh import running_mesh
from bench.throughput import HERE, STEPS, Load, measure


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=1000)
    given = parser.parse_args()
    plugins = HERE / "noop" / "forgemesh.toml"
    with tempfile.TemporaryDirectory(prefix="forgemesh-bench-") as data, running_mesh(plugins, Path(data)) as mesh:
        for shape in STEPS:
            uvloop.run(measure(mesh, Load(shape, given.executions, 1, 1)))


if __name__ == "__main__":
    main()
