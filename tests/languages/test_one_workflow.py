"""One workflow whose steps run in every language: one trace, and the death of every host in the middle of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.languages.conformance_mesh import ConformanceMesh, until

pytestmark = pytest.mark.mesh

GIVEN = {"signed": -(2**63), "unsigned": 2**64 - 1, "fraction": 0.1, "text": "gr\u00fc\u00df \U0001f30d", "flag": True}


def chain(languages: list[str]) -> str:
    """Each step takes what the one before it gave."""
    steps = [
        f'  - {{id: {name}, call: {{plugin: conformance.{name}, operation: numbers}}, input: "${{{source}}}"}}'
        for name, source in zip(languages, ["input", *(f"steps.{name}.output" for name in languages[:-1])], strict=True)
    ]
    return "\n".join(
        ["name: chain", "version: 1.0.0", "steps:", *steps, f'output: "${{steps.{languages[-1]}.output}}"']
    )


def beside(languages: list[str]) -> str:
    """All at a time, each with a ledger of its own."""
    branches = [
        f"        {name}: [{{id: slow_{name}, call: {{plugin: conformance.{name}, operation: slow}},"
        f" input: {{ledger: \"${{input.folder + '/{name}'}}\"}},"
        " retry: {max_attempts: 3, initial: 10ms, max_interval: 50ms}}]"
        for name in languages
    ]
    return "\n".join(
        ["name: beside", "version: 1.0.0", "steps:", "  - id: all", "    parallel:", "      branches:", *branches]
    )


def test_a_workflow_through_all_languages_is_one_trace_without_orphans(mesh: ConformanceMesh, client: str) -> None:
    languages = list(mesh.languages)
    mesh.client(client).ask("register", source=chain(languages))

    answer = mesh.client(client).ask("run", workflow="chain", input=GIVEN)

    assert answer["output"] == GIVEN

    wanted = {"run chain", *languages, *(f"execute conformance.{name}/numbers" for name in languages)}

    def spans() -> list[dict[str, Any]] | None:
        shown = json.loads(mesh.cli("trace", "show", answer["execution_id"], "-o", "json"))
        found: list[dict[str, Any]] = shown["spans"]
        return found if wanted <= {span["name"] for span in found} else None

    found = until(spans)
    by_id = {span["span_id"]: span for span in found}
    roots = [span["name"] for span in found if span.get("parent_span_id") not in by_id]
    parents = {
        span["name"]: by_id[span["parent_span_id"]]["name"] for span in found if span["name"].startswith("execute ")
    }
    assert {span["trace_id"] for span in found} == {answer["trace_id"]}
    assert roots == ["run chain"]
    assert parents == {f"execute conformance.{name}/numbers": name for name in languages}


def test_the_hosts_of_all_languages_may_die_in_the_midst_of_a_call(mesh: ConformanceMesh, tmp_path: Path) -> None:
    languages = list(mesh.languages)
    client = mesh.client("python")
    client.ask("register", source=beside(languages))
    started = client.ask("start", workflow="beside", input={"folder": str(tmp_path)})["execution_id"]
    ledgers = {name: tmp_path / name for name in languages}
    until(lambda: all(ledger.exists() for ledger in ledgers.values()))
    until(lambda: all(mesh.host(f"{name}-1") for name in languages))
    before = {name: mesh.host(f"{name}-1")["pid"] for name in languages}

    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(ledger.read_text().split() == ["begun", "begun"] for ledger in ledgers.values()))
    for name in languages:
        (tmp_path / f"{name}.go").touch()

    answer = client.ask("result", execution_id=started)
    assert "status" not in answer, answer
    until(lambda: all(mesh.host(f"{name}-1").get("pid", pid) != pid for name, pid in before.items()))
