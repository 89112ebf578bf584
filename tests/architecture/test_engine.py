"""The engine is asked, and not reached through; its parts are given to whoever needs them."""

import ast
import inspect

from forgemesh.orchestrator.execution.engine.engine import Engine
from tests.architecture.repository import ROOT, modules

SUBSCRIBING = {"add", "remove", "tell"}
ARGUMENTS = 7


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def reaching_through(source: str) -> list[str]:
    """The expressions that take a part of the engine's and ask that (engine.part.attribute), each with its line."""
    if "engine." not in source:
        return []
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and _name_of(node.value.value) in ("engine", "_engine")
        and not (node.value.attr.startswith("on_") and node.attr in SUBSCRIBING)
    ]


def test_nobody_reaches_through_the_engine() -> None:
    asked = [path for path in modules() if path.relative_to(ROOT).parts[0] in ("services", "tests", "bench")]

    assert {str(path): found for path in asked if (found := reaching_through(path.read_text()))} == {}


def test_what_reaches_through_the_engine_is_seen() -> None:
    source = """
self._engine.on_ended.add(told)
self._engine.effects.calls.wanted
offered.engine.turns.set_aside
engine.turn(running, facts)
"""

    assert set(reaching_through(source)) == {"3: self._engine.effects.calls", "4: offered.engine.turns.set_aside"}


def test_the_engine_is_given_what_it_needs_itself_and_no_more() -> None:
    assert len(inspect.signature(Engine).parameters) <= ARGUMENTS
