"""One call in flight: one writer of where it stands and where it ran, and modules that know only those below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOM = Path(__file__).parents[2] / "services/forgemesh/orchestrator/dispatch"
WRITER = "in_flight_call.py"
WRITTEN = {"state", "call", "second", "dispatch"}
"""Of an InFlightCall."""
FLOORS = (
    "call_state",
    "target_queue",
    "in_flight_call",
    "wait_record",
    "call_deadlines",
    "call_sender",
    "pending_queue",
    "dispatcher",
)
"""The way of a call, from below."""


def stored(module: ast.AST) -> Iterator[ast.Attribute]:
    """Assignments to attributes of anything but `self`."""
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) != "self":
            yield node


def imported(module: ast.AST) -> set[str]:
    """Modules of the room, also those that only annotations name."""
    found = (node.module or "" for node in ast.walk(module) if isinstance(node, ast.ImportFrom))
    return {name.rpartition(".")[2] for name in found if name.startswith("forgemesh.orchestrator.dispatch.")}


def test_nobody_else_writes_where_a_call_stands_or_ran() -> None:
    modules = {path.name: ast.parse(path.read_text()) for path in ROOM.rglob("*.py")}
    written = [
        f"{name}, line {one.lineno}"
        for name, module in modules.items()
        for one in stored(module)
        if one.attr in WRITTEN
    ]

    assert written == []
    assert any(isinstance(node, ast.ClassDef) and node.name == "InFlightCall" for node in ast.walk(modules[WRITER]))


def test_nobody_sets_a_callback_of_another_object() -> None:
    """Who wants to hear of something is an argument of the constructor, or joins the Subscribers."""
    modules = {path.name: ast.parse(path.read_text()) for path in ROOM.rglob("*.py")}
    hooks = [
        f"{name}: {ast.unparse(one)}"
        for name, module in modules.items()
        for one in stored(module)
        if one.attr.startswith("on_")
    ]

    assert hooks == []


def test_each_module_on_the_way_of_a_call_knows_only_those_below() -> None:
    above = {
        name: sorted(imported(ast.parse((ROOM / f"{name}.py").read_text())) & set(FLOORS[height + 1 :]))
        for height, name in enumerate(FLOORS)
    }

    assert {name: them for name, them in above.items() if them} == {}


def test_no_constructor_takes_more_than_seven_things() -> None:
    made = {
        f"{path.stem}.{one.name}": len(init.args.args) - 1 + len(init.args.kwonlyargs)
        for path in ROOM.rglob("*.py")
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.ClassDef)
        for init in one.body
        if isinstance(init, ast.FunctionDef) and init.name == "__init__"
    }

    assert {name: count for name, count in made.items() if count > 7} == {}
    assert "dispatcher.Dispatcher" in made
