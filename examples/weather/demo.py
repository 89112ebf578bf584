"""Starts a mesh of its own, makes weather reports in it, shows what happened, and stops it again."""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REPORTS = HERE / "out"
CONFIG = HERE / "forgemesh.toml"
WORKFLOW = HERE / "workflow.yaml"
SMALL = HERE / "data" / "seattle-weather-2012.csv"
LARGE = HERE / "data" / "seattle-weather.csv"

FORGEMESH = (sys.executable, "-m", "forgemesh.cli.main")
START_DEADLINE = 90.0
STOP_DEADLINE = 60.0
RUN_DEADLINE = 180.0
KEPT_RUNS = 4


class DemoError(Exception):
    """The demonstration cannot go on; the message says why."""


@dataclass(frozen=True)
class Mesh:
    """The mesh of this demonstration."""

    process: subprocess.Popen[bytes]
    address: str
    data: Path

    def command(self, *arguments: str, show: bool = False) -> subprocess.CompletedProcess[str]:
        """One `forgemesh` command; its talk goes where ours goes, its data too with `show`, else it comes back."""
        return subprocess.run(
            [*FORGEMESH, *arguments],
            env=os.environ | {"FORGEMESH_ADDRESS": self.address},
            stdout=None if show else subprocess.PIPE,
            text=True,
            timeout=RUN_DEADLINE,
            check=False,
        )

    def processes(self) -> dict[int, str]:
        """Every process of the mesh: its id and what it is."""
        services = json.loads((self.data / "mesh.json").read_text())["services"]
        instances = json.loads(self.command("status", "-o", "json").stdout)["instances"]
        return {
            self.process.pid: "forgemesh up",
            **{service["pid"]: name for name, service in services.items()},
            **{instance["pid"]: instance["instance"] for instance in instances},
        }


def main() -> int:
    """0 if every report was made and nothing is left running."""
    given = _arguments()
    inputs = [Path(given.input).expanduser().absolute()] if given.input else [SMALL, LARGE]
    try:
        made = demonstrate(inputs, keep=given.keep)
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if made else 1


def demonstrate(inputs: list[Path], *, keep: bool) -> bool:
    """Whether every input became a report; the mesh is stopped again, whatever happens."""
    data, began = fresh_directory(), time.monotonic()
    with running_mesh(data) as mesh:
        print(f"\nThe mesh took {time.monotonic() - began:.1f} s to start.")
        processes = mesh.processes()
        made = [make_report(mesh, source, f"demo-{number}") for number, source in enumerate(inputs, 1)]
        if keep:
            wait_for_interrupt(mesh)
    refuse_leftovers(data, processes)
    print(f"None of its {len(processes)} processes is left.")
    if all(made):
        how_to_go_on(data)
    return all(made)


def make_report(mesh: Mesh, source: Path, execution_id: str) -> bool:
    """Run the workflow on one file and show the result and the trace; False if it failed, and then it said why."""
    print(f"\n$ forgemesh run {_short(WORKFLOW)} -i path={_short(source)} -i directory={_short(REPORTS)}", flush=True)
    inputs = (f"path={json.dumps(str(source))}", f"directory={json.dumps(str(REPORTS))}")
    ran = mesh.command("run", str(WORKFLOW), "-i", inputs[0], "-i", inputs[1], "--execution-id", execution_id)
    if ran.returncode != 0:
        return False
    result = json.loads(ran.stdout)
    print(f"\nThe report: {_short(Path(result['path']))}")
    print("The result: " + json.dumps(result, indent=2))
    print(f"\n$ forgemesh trace show {execution_id}", flush=True)
    mesh.command("trace", "show", execution_id, show=True)
    return True


@contextmanager
def running_mesh(data: Path) -> Iterator[Mesh]:
    """A mesh in the data directory, until the block ends; raises DemoError if it does not start or stop."""
    talk = data / "up.log"
    print(f"$ forgemesh up --config {_short(CONFIG)} --data-dir {_short(data)} --any-port\n", flush=True)
    ready, tells = os.pipe()
    alive, living = os.pipe()
    with talk.open("wb") as log:
        process = subprocess.Popen(
            [*FORGEMESH, "up", "--config", str(CONFIG), "--data-dir", str(data), "--any-port"],
            env=os.environ | {"FORGEMESH_READY_FD": str(tells), "FORGEMESH_PARENT_FD": str(alive)},
            pass_fds=(tells, alive),
            stderr=log,
            start_new_session=True,
        )
    os.close(tells)
    os.close(alive)
    try:
        facts = _first_line(ready)
        if not facts or facts["not_ready"]:
            raise DemoError(f"the mesh did not start as it should; it said:\n{talk.read_text()}")
        yield Mesh(process, facts["address"], data)
    finally:
        print("\nStopping the mesh ...", flush=True)
        _stop(process)
        os.close(living)


def fresh_directory() -> Path:
    """A new data directory; those of the oldest demonstrations are removed."""
    parent = ROOT / ".forgemesh"
    parent.mkdir(exist_ok=True)
    earlier = sorted(int(path.name.removeprefix("run-")) for path in parent.glob("run-*") if path.name[4:].isdigit())
    for number in earlier[:-KEPT_RUNS]:
        shutil.rmtree(parent / f"run-{number}", ignore_errors=True)
    fresh = parent / f"run-{earlier[-1] + 1 if earlier else 1}"
    fresh.mkdir()
    return fresh


def refuse_leftovers(data: Path, processes: dict[int, str]) -> None:
    """Raise DemoError if a process, a socket or a file that names a process outlived the mesh."""
    alive = [f"{name} (pid {pid})" for pid, name in processes.items() if _lives(pid)]
    files = [
        path.name for path in data.rglob("*") if path.is_socket() or path.suffix == ".pid" or path.name == "mesh.json"
    ]
    if alive or files:
        raise DemoError(f"left behind: {', '.join([*alive, *files])}")


def wait_for_interrupt(mesh: Mesh) -> None:
    """Leave the mesh to the user until Ctrl-C."""
    print("The mesh keeps running until Ctrl-C. In another terminal:\n")
    print(f"  export FORGEMESH_ADDRESS={mesh.address}")
    print("  forgemesh status\n  forgemesh execution list\n  forgemesh trace show @last", flush=True)
    try:
        mesh.process.wait()
    except KeyboardInterrupt:
        return
    raise DemoError("the mesh ended by itself")


def how_to_go_on(data: Path) -> None:
    """What to type next."""
    print(f"\nEverything that happened is kept in {_short(data)}. To look further, start the mesh on it again,\n")
    print(f"  forgemesh up --config {_short(CONFIG)} --data-dir {_short(data)}\n")
    print("and in another terminal (both after: source .venv/bin/activate)\n")
    print("  forgemesh execution list")
    print("  forgemesh execution show @last")
    print("  forgemesh trace show @last")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", metavar="CSV", help="your own daily weather instead of Seattle's")
    parser.add_argument("--keep", action="store_true", help="keep the mesh running afterwards, until Ctrl-C")
    return parser.parse_args()


def _first_line(pipe: int) -> dict[str, Any] | None:
    """What the mesh says once it is ready; None if it ended, or said nothing in time."""
    with os.fdopen(pipe) as told:
        readable, _, _ = select.select([told], [], [], START_DEADLINE)
        line = told.readline() if readable else ""
    return dict(json.loads(line)) if line else None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_DEADLINE)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.wait()
        raise DemoError(f"the mesh did not stop within {STOP_DEADLINE:g} s and was killed") from error


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _short(path: Path) -> str:
    """The path as it is typed from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


if __name__ == "__main__":
    sys.exit(main())
