"""A mesh on a system that it does not know: one sentence, and nothing is started."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.mesh

PATIENCE = 60.0
ELSEWHERE = """
import platform, runpy, sys
platform.system = lambda: "Darwin"
module, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def on_darwin(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A program of ours, where Python says that the system is Darwin."""
    (folder / "forgemesh.toml").write_text('[plugins.one]\ncommand = ["./one"]\n')
    return subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("command", [("forgemesh.plugin_host.supervisor.main",), ("forgemesh.cli.main", "up")])
def test_another_system_is_refused_by_its_name_with_what_works_there(tmp_path: Path, command: tuple[str, ...]) -> None:
    refused = on_darwin(tmp_path, *command)

    assert refused.returncode == 1
    assert refused.stderr.startswith("error: a mesh runs on Linux only, and this is Darwin, where clients work")
    assert "start the mesh on Linux with `forgemesh up`" in refused.stderr
    assert "export FORGEMESH_ADDRESS=HOST:7401" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["forgemesh.toml"]


def test_what_only_asks_works_on_another_system(tmp_path: Path) -> None:
    asked = on_darwin(tmp_path, "forgemesh.cli.main", "version")

    assert asked.returncode == 0, asked.stderr
