"""A process that may open next to no files says so, before anything fails in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from forgemesh.chassis.descriptors import FEWEST

SERVICES = [
    "forgemesh.registry.main",
    "forgemesh.balancer.main",
    "forgemesh.traces.main",
    "forgemesh.orchestrator.main",
    "forgemesh.plugin_host.supervisor.main",
]


def started(limit: int, folder: Path, *program: str) -> subprocess.CompletedProcess[str]:
    """What became of a process of which the hard limit of open files is this."""
    command = ["sh", "-c", f'ulimit -n {limit} && exec "$0" -m "$@"', sys.executable, *program]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=180)


def sentence(limit: int) -> str:
    return f"at most {limit} files may be open here, and {FEWEST} are needed: start it with `ulimit -n 1024`, or more"


@pytest.mark.parametrize(
    ("limit", "module"), [(8, SERVICES[0]), (FEWEST - 1, SERVICES[0]), *((24, m) for m in SERVICES)]
)
def test_a_service_that_may_open_too_few_files_says_so_in_one_sentence(limit: int, module: str, tmp_path: Path) -> None:
    ended = started(limit, tmp_path, module)

    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"error: {sentence(limit)}\n")


@pytest.mark.parametrize("command", ["up", "status"])
def test_a_command_that_may_open_too_few_files_says_so_in_one_sentence(command: str, tmp_path: Path) -> None:
    ended = started(12, tmp_path, "forgemesh.cli.main", command)

    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"error: {sentence(12)}\n")
    assert list(tmp_path.iterdir()) == []
