"""What is typed in part, in short, or before anything else is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from forgemesh.chassis.version import VERSION

FORGEMESH = Path(sys.executable).with_name("forgemesh")
ASK = """
source "$1"
COMP_WORDS=({words}) COMP_CWORD={last}
_forgemesh
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def ran(*typed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([FORGEMESH, *typed], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    printed = ran("completion", "bash")
    assert printed.returncode == 0, printed.stderr
    path = tmp_path_factory.mktemp("completion") / "forgemesh.bash"
    path.write_text(printed.stdout)
    return path


@pytest.mark.parametrize(
    ("words", "there"),
    [
        (["forgemesh", "tra"], {"trace"}),
        (["forgemesh", "trace", "s"], {"show"}),
        (["forgemesh", "execution", "list", "--st"], {"--status"}),
        (["forgemesh", "trace", "export", "e1", "--format", ""], {"otlp-json", "chrome", "tree"}),
        (["forgemesh", "execution", "list", "--ad"], {"--address"}),
    ],
)
def test_bash_completes_commands_options_and_choices(words: list[str], there: set[str], script: Path) -> None:
    typed = " ".join(f"'{word}'" for word in words)
    ask = ASK.format(words=typed, last=len(words) - 1)
    answer = subprocess.run(["bash", "-c", ask, "bash", script], capture_output=True, text=True, check=True)

    assert there <= set(answer.stdout.split()), answer.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_of_theirs(shell: str) -> None:
    printed = ran("completion", shell)

    assert printed.returncode == 0
    assert "forgemesh" in printed.stdout


def test_a_shell_that_is_not_known_is_wrong_usage_with_those_that_are() -> None:
    refused = ran("completion", "tcsh")

    assert refused.returncode == 2
    assert all(shell in refused.stderr for shell in ("bash", "zsh", "fish"))


@pytest.mark.parametrize("typed", [["version"], ["--version"], ["version", "--output", "table"]])
def test_the_version_is_the_same_however_it_is_asked_for(typed: list[str]) -> None:
    assert ran(*typed).stdout == f"forgemesh {VERSION} (Python {sys.version.split()[0]})\n"


def test_the_version_is_told_before_anything_heavy_is_imported() -> None:
    program = "import sys; sys.argv = ['forgemesh', '--version']; from forgemesh.cli.entry import main; main();"
    check = " heavy = {'cyclopts', 'grpc', 'asyncio', 'rich'} & set(sys.modules); sys.exit(', '.join(heavy) or 0)"
    subprocess.run([sys.executable, "-c", program + check], check=True, capture_output=True)


@pytest.mark.parametrize(("short", "long"), [("x", "execution"), ("wf", "workflow"), ("cb", "circuit")])
def test_a_short_name_is_the_long_one(short: str, long: str) -> None:
    helps = [ran(name, "list", "--help").stdout for name in (short, long)]

    assert helps[0].partition("\n\n")[2] == helps[1].partition("\n\n")[2] != ""
