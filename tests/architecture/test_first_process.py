"""Every program of the mesh can be ended by SIGTERM as process 1 of a container, from its first line on."""

import ast
from pathlib import Path

import pytest

from tests.architecture.repository import ROOT, modules, relative

FIRST = "forgemesh.chassis.first_process"
PROGRAMS = [path for path in modules() if path.name == "main.py" and "tests" not in path.parts]
SERVICES = [path for path in PROGRAMS if "cli" not in path.parts]


def imported(tree: ast.Module) -> list[str]:
    """The modules that are imported at the top level before `end_on_sigterm()` is called, or all if it is not."""
    found: list[str] = []
    for node in tree.body:
        match node:
            case ast.Import(names=names):
                found += [one.name for one in names]
            case ast.ImportFrom(module=str(module)):
                found.append(module)
            case ast.Expr(value=ast.Call(func=ast.Name(id="end_on_sigterm"))):
                return found
    return [*found, "end_on_sigterm() is not called"]


def called_first(tree: ast.Module) -> list[str]:
    """What is called at the top level before anything else is imported."""
    found: list[str] = []
    for node in tree.body:
        match node:
            case ast.Expr(value=ast.Call(func=ast.Name(id=name))):
                found.append(name)
            case ast.Import() | ast.ImportFrom() if found:
                break
    return found


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 7


@pytest.mark.parametrize("path", PROGRAMS, ids=relative(PROGRAMS))
def test_a_program_imports_nothing_before_sigterm_can_end_it(path: Path) -> None:
    assert imported(ast.parse(path.read_text())) == ["__future__", FIRST]


@pytest.mark.parametrize("path", PROGRAMS, ids=relative(PROGRAMS))
def test_a_program_looks_rarely_for_garbage_while_it_loads(path: Path) -> None:
    assert called_first(ast.parse(path.read_text()))[:2] == ["end_on_sigterm", "collect_rarely"]


@pytest.mark.parametrize("path", SERVICES, ids=relative(SERVICES))
def test_a_service_looks_how_many_files_it_may_open_before_it_loads_what_fails_without(path: Path) -> None:
    assert called_first(ast.parse(path.read_text()))[2:] == ["need_descriptors"]


def test_what_is_imported_on_the_way_there_imports_next_to_nothing() -> None:
    chassis = ROOT / "services" / "forgemesh" / "chassis"
    folders = {folder for path in PROGRAMS for folder in path.parents} | {chassis}
    on_the_way = [folder / "__init__.py" for folder in folders if (folder / "__init__.py").exists()]
    on_the_way.append(chassis / "first_process.py")
    heavy = {
        name
        for path in on_the_way
        for node in ast.parse(path.read_text()).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }

    assert heavy <= {"__future__", "atexit", "gc", "os", "signal", "sys"}
