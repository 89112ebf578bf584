"""What people type to register and to see workflows."""

from pathlib import Path

import pytest

from forgemesh.cli import workflows
from forgemesh.cli.problem import Problem
from forgemesh.faults.workflow import DefinitionInvalid, DefinitionNotFound
from tests.component.cli.typed import Typed


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "etl.yaml"
    path.write_text("name: etl\n")
    return str(path)


async def test_a_registered_workflow_is_named_with_its_version(typed: Typed, file: str) -> None:
    await workflows.register(file, line=typed.line())

    assert typed.out.getvalue() == "etl 1.0.0\n"
    assert typed.talk == ["registered; run it with: forgemesh run etl"]


async def test_a_broken_one_is_refused_with_its_mistakes(typed: Typed, tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.touch()

    with pytest.raises(DefinitionInvalid, match="line 1, column 1"):
        await workflows.register(str(empty), line=typed.line())


async def test_a_check_tells_its_warnings_and_the_next_command(typed: Typed, file: str) -> None:
    await workflows.validate(file, line=typed.line())

    assert typed.out.getvalue() == "etl 1.0.0 is valid\n"
    assert typed.talk == [
        "warning: step 'a' has no timeout",
        f"register it with: forgemesh workflow register {file}",
    ]


async def test_a_check_for_programs_is_the_message(typed: Typed, file: str) -> None:
    await workflows.validate(file, line=typed.line(json=True))

    assert typed.value["warnings"] == ["step 'a' has no timeout"]


async def test_a_file_that_is_not_there_is_named(typed: Typed) -> None:
    with pytest.raises(Problem, match=r"cannot read nowhere.yaml: No such file or directory"):
        await workflows.validate("nowhere.yaml", line=typed.line())


async def test_workflows_are_a_table(typed: Typed) -> None:
    await workflows.list_(line=typed.line())

    assert typed.rows[0] == ["WORKFLOW", "VERSION", "REGISTERED", "DESCRIPTION"]
    assert typed.rows[1][:2] == ["etl", "1.0.0"]


async def test_a_workflow_is_printed_as_it_was_registered(typed: Typed) -> None:
    await workflows.show("etl", workflow_version="1.2.0", line=typed.line())

    assert typed.out.getvalue() == "name: etl\n"
    assert typed.talk[0].startswith("etl 1.2.0, registered ")


async def test_a_workflow_that_nobody_registered_is_not_found(typed: Typed) -> None:
    with pytest.raises(DefinitionNotFound):
        await workflows.show("elt", line=typed.line())
