import dataclasses
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from forgemesh.api.errors.v1.error_reason_pb2 import ErrorReason
from forgemesh.balancer.settings import BalancerSettings
from forgemesh.bounds import BOUNDS
from forgemesh.chassis import attributes
from forgemesh.chassis.service import ServiceSettings
from forgemesh.cli.exits import ExitCode
from forgemesh.faults import Fault, workflow
from forgemesh.orchestrator.execution.control import Action, check_status
from forgemesh.orchestrator.execution.state import Status
from forgemesh.orchestrator.settings import OrchestratorSettings
from forgemesh.orchestrator.workflow.definition import Definition
from forgemesh.orchestrator.workflow.expressions.cel import CelCompiler
from forgemesh.orchestrator.workflow.parse.definition import parse_definition
from forgemesh.orchestrator.workflow.parse.fields import Mistakes
from forgemesh.orchestrator.workflow.yaml.source import read_document
from forgemesh.plugin import define, manifest_from_toml
from forgemesh.plugin_host.settings import HostSettings
from forgemesh.plugin_host.supervisor.settings import SupervisorSettings
from forgemesh.registry.settings import RegistrySettings
from forgemesh.traces.settings import TracesSettings
from tests.architecture.repository import ROOT, tracked

README = ROOT / "README.md"
OPERATIONS = ROOT / "docs" / "operations.md"
PLUGINS = ROOT / "docs" / "plugins.md"
EXECUTIONS = ROOT / "docs" / "executions.md"
WORKFLOWS = ROOT / "docs" / "workflows.md"
PAGES = [path for path in tracked() if path.suffix == ".md"]

SETTINGS: list[tuple[str, str, type[ServiceSettings]]] = [
    ("Registry", "REGISTRY", RegistrySettings),
    ("Balancer", "BALANCER", BalancerSettings),
    ("Orchestrator", "ORCHESTRATOR", OrchestratorSettings),
    ("Traces", "TRACES", TracesSettings),
    ("Supervisor", "SUPERVISOR", SupervisorSettings),
    ("Plugin host", "HOST", HostSettings),
]

UNEXPLAINED = {"EXECUTION_NOT_FOUND", "INTERRUPTED", "PROCESS_FULL", "RETRY_BUDGET_SPENT"}
"""Reasons that no workflow fails with."""

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CAPITALS = re.compile(r"(?<![\w./$-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![\w(=])")
"""Reasons, states and names of settings."""
MADE = re.compile(r"(?:^|`)make ([a-z][a-z0-9-]*)", re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    return [text for named, text in FENCED.findall(page.read_text(encoding="utf-8")) if named == language]


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The places of a page that a link may name, as GitHub derives them from headings."""
    headings = HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def described(heading: str) -> dict[str, tuple[str, str]]:
    """Variable and default of each setting in the table below a heading."""
    section = OPERATIONS.read_text(encoding="utf-8").partition(f"### {heading}\n")[2].partition("\n#")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    cells = [[cell.strip().strip("`") for cell in row] for row in rows]
    return {setting: (variable, default) for setting, variable, default, *_ in cells}


def written(field: dataclasses.Field[Any]) -> str:
    """A default as the tables write it."""
    value = field.default
    if value is dataclasses.MISSING:
        return "needed"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def definitions() -> Iterator[tuple[str, str]]:
    """Every definition in a page, with where it stands."""
    for page in PAGES:
        for number, block in enumerate(blocks(page, "yaml"), start=1):
            if block.startswith("name:"):
                yield f"{page.relative_to(ROOT)}, block {number}", block


def parsed(compiler: CelCompiler, source: str) -> Definition:
    document = read_document(source)
    return parse_definition(document.tree, source, compiler, Mistakes(document.position))


@pytest.mark.parametrize(("heading", "section", "settings"), SETTINGS)
def test_every_setting_is_described_with_its_variable_and_its_default(
    heading: str, section: str, settings: type[ServiceSettings]
) -> None:
    common, own = described("Every process"), described(heading)
    rows = common | own
    expected = {
        field.name: (f"FORGEMESH_{section}_{field.name.upper()}", written(field))
        for field in dataclasses.fields(settings)
    }

    assert {name: (row[0].replace("<SECTION>", section), row[1]) for name, row in rows.items()} == expected


def test_every_attribute_of_spans_is_described() -> None:
    page = OPERATIONS.read_text(encoding="utf-8")
    names = [value for name, value in vars(attributes).items() if name.isupper()]

    assert names
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_table_of_limits_in_number_is_the_one_that_counts() -> None:
    section = OPERATIONS.read_text(encoding="utf-8").partition("## Limits in number\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| ([\d,]+) \|$", section, re.MULTILINE)
    short = {re.sub(r"^(forgemesh\.api|opentelemetry\.proto)\.", "", name): bound for name, bound in BOUNDS.items()}

    assert {name: int(bound.replace(",", "")) for name, bound in rows} == short
    assert len(rows) == len(short)


def test_every_exit_code_stands_in_the_readme() -> None:
    listed = re.findall(r"^\| (\d+) \|", README.read_text(encoding="utf-8"), re.MULTILINE)

    assert listed == [str(int(code)) for code in ExitCode]


def test_every_relative_link_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for link in LINK.findall(prose(page)):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")

    assert broken == []


def test_every_target_that_a_page_names_can_be_made() -> None:
    made = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {target for page in PAGES for target in MADE.findall(page.read_text(encoding="utf-8"))}

    assert named >= {"run", "up", "test"}
    assert named - made == set()


def test_every_definition_in_a_page_is_valid() -> None:
    parse = partial(parsed, CelCompiler())
    found = {place: parse(source).name for place, source in definitions()}

    assert {"words", "order", "sized", "analysed"} <= set(found.values())


def test_the_plugin_of_the_reference_works_as_it_says() -> None:
    """Its last block holds assertions of its own."""
    names: dict[str, Any] = {"__name__": "documented"}
    for block in blocks(PLUGINS, "python"):
        exec(compile(block, PLUGINS.name, "exec"), names)

    assert set(define(names["Stock"]).operations) == {"reserve", "count"}
    assert set(define(names["words"]).operations) == {"count", "shout"}
    assert define(names["Till"]).configuration is not None


def test_the_manifest_of_the_reference_is_valid() -> None:
    (written,) = [block for block in blocks(PLUGINS, "toml") if "[operations." in block]

    assert manifest_from_toml(written).plugin_id == "image.resize"


def test_the_workflow_written_in_python_is_valid_as_the_yaml_that_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(WORKFLOWS, "python")
    exec(compile(block, WORKFLOWS.name, "exec"), {"__name__": "documented"})

    assert [path for path, _ in parsed(CelCompiler(), capsys.readouterr().out).walk()] == [
        "reserve",
        "weigh",
        "weigh/*/scale",
        "ship",
        "ship/bulk/freight",
        "ship/otherwise/pack",
        "ship/otherwise/pack/*/parcel",
    ]


def test_every_reason_of_a_failing_step_is_explained() -> None:
    page = WORKFLOWS.read_text(encoding="utf-8")
    faults = [value for value in vars(workflow).values() if isinstance(value, type) and issubclass(value, Fault)]
    reasons = {fault.reason for fault in faults if fault.__module__ == workflow.__name__}

    assert reasons > {"EXPRESSION_ERROR", "IN_DOUBT"}
    assert {reason for reason in reasons if f"`{reason}`" not in page} == UNEXPLAINED


def test_every_test_that_the_acceptance_table_names_exists() -> None:
    table = (ROOT / "docs" / "acceptance.md").read_text()
    named = re.findall(r"`((?:unit|component|mesh)/[\w/]+\.py)(?:::(\w+))?`", table)
    rows = [line for line in table.splitlines() if re.match(r"\| [A-Z]\d+ ", line)]

    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / "tests" / path).exists() or (name and f"def {name}(" not in (ROOT / "tests" / path).read_text())
    ]
    assert missing == []
    assert [row for row in rows if "`" not in row] == []


def test_the_page_of_executions_says_in_which_states_what_may_be_asked_for() -> None:
    section = EXECUTIONS.read_text(encoding="utf-8").partition("## What may be asked of it\n")[2].partition("\n#")[0]
    heading, _, *rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    said = {(row[0], action): cell == "yes" for row in rows for action, cell in zip(heading[1:], row[1:], strict=True)}
    assert said == {
        (status.value, action.name.lower()): is_legal(status, action) for status in Status for action in Action
    }


def is_legal(status: Status, action: Action) -> bool:
    try:
        check_status("e-1", status, action)
    except Fault:
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_reason_and_state_that_a_page_names_exists(page: Path) -> None:
    sources = (path for path in tracked() if path.suffix in (".py", ".proto") and "tests" not in path.parts)
    known = {word for path in sources for word in re.findall(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+", path.read_text("utf-8"))}
    settings = {
        f"FORGEMESH_{part}_{field.name.upper()}" for _, part, kind in SETTINGS for field in dataclasses.fields(kind)
    }
    examples = {
        word for fenced in FENCED.finditer(page.read_text(encoding="utf-8")) for word in CAPITALS.findall(fenced[2])
    }
    reasons = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.DESCRIPTOR.values_by_name}

    assert set(CAPITALS.findall(prose(page))) <= known | settings | examples | reasons
