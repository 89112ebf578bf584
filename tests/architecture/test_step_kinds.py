"""A kind of steps is told apart in few places: whoever adds one finds them all, in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from forgemesh.api.orchestrator.v1.workflow_pb2 import Workflow
from forgemesh.orchestrator.workflow.definition import GROUP_KINDS, KINDS, Group
from tests.architecture.repository import ROOT

ORCHESTRATOR = ROOT / "services/forgemesh/orchestrator"
GROUPS = {kind.__name__ for kind in get_args(Group)}
MOST = 10
"""Files that know kinds of groups, beside the one that is a kind's own."""
OWN = {"execution/branch_count.py", "execution/rounds.py"}
"""What only some kinds have."""


def documented() -> list[str]:
    """The files that CONTRIBUTING.md lists for a new kind."""
    _, _, text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Adding a kind of steps\n")
    return re.findall(r"^\| `([\w/.]+)` \|", text.partition("\n## ")[0], flags=re.MULTILINE)


def names_in(path: Path) -> set[str]:
    """What a module takes from the definition by name, and what it defines."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "forgemesh.orchestrator.workflow.definition":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef):
            found.add(node.name)
    return found


def knowing() -> set[str]:
    """The orchestrator's modules that tell kinds of groups apart."""
    return {str(path.relative_to(ORCHESTRATOR)) for path in ORCHESTRATOR.rglob("*.py") if names_in(path) & GROUPS} - OWN


def test_the_list_names_every_file_that_tells_kinds_apart_and_each_of_them_is_there() -> None:
    listed = documented()

    assert [name for name in listed if not (ROOT / name).is_file()] == []
    assert {f"services/forgemesh/orchestrator/{name}" for name in knowing()} <= set(listed)
    assert len(knowing()) > 3


def test_the_list_is_short() -> None:
    assert len(documented()) <= MOST + 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_built_in_python(kind: str) -> None:
    assert f'{{"{kind}": ' in (ROOT / "clients/forgemesh/client/steps.py").read_text(encoding="utf-8")


def test_every_kind_has_its_field_in_the_api_and_the_other_way_round() -> None:
    assert sorted(field.name for field in Workflow.Step.DESCRIPTOR.oneofs_by_name["kind"].fields) == sorted(KINDS)
    assert set(GROUP_KINDS) < set(KINDS)
