"""Commands reach the terminal through one door, which lets nothing pass that a terminal would obey."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.repository import ROOT

COMMANDS = ROOT / "clients" / "forgemesh" / "cli"
DOOR = {"terminal.py", "table.py"}
OTHER_PROCESS = {"inspection.py"}
"""Runs in a process of its own, whose output is a file."""
ALL_OUR_OWN = {"entry.py"}
"""Says nothing that others wrote, and says it before the door is loaded."""


def test_no_command_writes_past_the_terminal() -> None:
    files = [file for file in COMMANDS.rglob("*.py") if file.name not in DOOR | OTHER_PROCESS | ALL_OUR_OWN]

    found = [f"{file.relative_to(ROOT)}:{line}: {what}" for file in files for line, what in _ways_out(file)]

    assert len(files) > 50
    assert found == []


def test_a_way_past_the_terminal_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "leaky.py"
    file.write_text(
        "print('x')\n"
        "sys.stdout.write('x')\n"
        "line.terminal.out.write('x')\n"
        "terminal.err.write('x')\n"
        "traceback.print_exc()\n"
        "from rich.console import Console\n"
        "logging.StreamHandler()\n",
        encoding="utf-8",
    )

    assert sorted(line for line, _ in _ways_out(file)) == [1, 2, 3, 4, 5, 6, 7]


def _ways_out(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that write, or hand on what writes; `main` makes the terminal of the streams of the process."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        what = _way_out(node, making=file.name == "main.py")
        if what:
            yield getattr(node, "lineno", 0), what


def _way_out(node: ast.AST, *, making: bool) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        return "print"
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich"):
        return f"from {node.module}"
    if isinstance(node, ast.Attribute):
        name = ast.unparse(node)
        if name in ("sys.stdout", "sys.stderr") and not making:
            return name
        if name.endswith(("terminal.out", "terminal.err")) or name == "logging.StreamHandler":
            return name
        if name.startswith("traceback.print_"):
            return name
    return ""
