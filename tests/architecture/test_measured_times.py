"""The suite asserts order, counts and levels; how long something takes is printed, by campaigns and benches."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.repository import ROOT, modules

CLOCKS = {
    "monotonic",
    "perf_counter",
    "process_time",
    "thread_time",
    "time",
    "monotonic_ns",
    "perf_counter_ns",
    "time_ns",
}
UPPER = {ast.Lt: 0, ast.LtE: 0, ast.Gt: 1, ast.GtE: 1}
"""Which side of a comparison is held to be small."""


def test_no_test_asserts_that_something_was_quick() -> None:
    tests = [path for path in modules() if path.is_relative_to(ROOT / "tests")]
    found = {path.relative_to(ROOT).as_posix(): list(bounded_times(path)) for path in tests}

    assert {path: lines for path, lines in found.items() if lines} == {}


def test_a_bounded_time_would_be_found(tmp_path: Path) -> None:
    module = tmp_path / "test_quick.py"
    module.write_text(
        "def test_quick():\n"
        "    began = time.monotonic()\n"
        "    assert time.monotonic() - began < 1.0\n"
        "    took = time.perf_counter() - began\n"
        "    assert 0 < took < 2 and True\n"
        "    assert 3 >= (time.process_time() - began) / 200\n"
        "    assert took >= 0.5\n"
        "    assert time.monotonic() < began + 60\n"
        "def test_other(took):\n"
        "    assert took < 2\n"
    )

    assert list(bounded_times(module)) == [3, 5, 6]


def bounded_times(path: Path) -> Iterator[int]:
    """The lines of assertions with an upper bound for a difference of two readings of a clock."""
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes = list(ast.walk(function))
            named = {
                target.id
                for node in nodes
                if isinstance(node, ast.Assign) and _measures(node.value, set())
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            asserted = [inner for node in nodes if isinstance(node, ast.Assert) for inner in ast.walk(node.test)]
            yield from sorted(
                node.lineno for node in asserted if isinstance(node, ast.Compare) and _bounds(node, named)
            )


def _bounds(comparison: ast.Compare, named: set[str]) -> bool:
    sides = [comparison.left, *comparison.comparators]
    return any(
        type(operator) in UPPER and _measures(sides[number + UPPER[type(operator)]], named)
        for number, operator in enumerate(comparison.ops)
    )


def _measures(node: ast.expr, named: set[str]) -> bool:
    """Whether an expression is such a difference, or one that was given a name."""
    match node:
        case ast.Name(id=name):
            return name in named
        case ast.BinOp(left=left, op=ast.Sub()):
            return _reads(left) or _measures(left, named)
        case ast.BinOp(left=left):
            return _measures(left, named)
    return False


def _reads(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="time"), attr=name)):
            return name in CLOCKS
    return False
