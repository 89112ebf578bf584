"""Definitions for tests, made as the orchestrator makes them: from a text."""

import json

from forgemesh.faults.workflow import DefinitionInvalid
from forgemesh.orchestrator.workflow.definition import Definition
from forgemesh.orchestrator.workflow.expressions.cel import CelCompiler
from forgemesh.orchestrator.workflow.parse.definition import parse_definition
from forgemesh.orchestrator.workflow.parse.fields import Mistakes
from forgemesh.orchestrator.workflow.yaml.source import read_document

CALL = {"plugin": "p", "operation": "o"}


def parsed(source: str, namespace: str = "default") -> Definition:
    document = read_document(source)
    return parse_definition(document.tree, source, CelCompiler(), Mistakes(document.position), namespace=namespace)


def of_steps(*steps: object, **more: object) -> Definition:
    return parsed(json.dumps({"name": "w", "version": "1.0.0", "steps": steps, **more}))


def violations(source: str) -> list[str]:
    """Each as "<field>: <message>"; none if the definition is valid."""
    try:
        parsed(source)
    except DefinitionInvalid as invalid:
        return [f"{violation.field}: {violation.message}" for violation in invalid.violations]
    return []


def violations_of(*steps: object, **more: object) -> list[str]:
    return violations(json.dumps({"name": "w", "steps": steps, **more}))


def call(step_id: str, **more: object) -> dict[str, object]:
    return {"id": step_id, "call": CALL, **more}


def parallel(step_id: str, **branches: list[dict[str, object]]) -> dict[str, object]:
    return {"id": step_id, "parallel": {"branches": branches}}


def switch(step_id: str, *cases: dict[str, object], **more: object) -> dict[str, object]:
    return {"id": step_id, "switch": list(cases), **more}


def case(when: str, *steps: dict[str, object]) -> dict[str, object]:
    return {"when": when, "steps": list(steps)}


def otherwise(*steps: dict[str, object]) -> dict[str, object]:
    return {"otherwise": list(steps)}


def map_(step_id: str, over: object, *steps: dict[str, object], **group: object) -> dict[str, object]:
    """`group` are further keys of the map itself, such as `join`."""
    return {"id": step_id, "map": {"over": over, "steps": list(steps), **group}}


def loop(step_id: str, until: str, *steps: dict[str, object], limit: int = 10, **more: object) -> dict[str, object]:
    """`more` are further keys of the loop itself, such as `delay`; `limit` is its `max_iterations`."""
    return {"id": step_id, "loop": {"until": until, "max_iterations": limit, "steps": list(steps), **more}}


def wait(step_id: str, seconds: str = "", **kind: object) -> dict[str, object]:
    """For `seconds`, such as "5m"; else what `kind` says: `until`, or `signal` with its `timeout`."""
    return {"id": step_id, "wait": kind | ({"for": seconds} if seconds else {})}


def child(step_id: str, workflow: str, **more: object) -> dict[str, object]:
    return {"id": step_id, "workflow": {"name": workflow}, **more}
