"""Workflows as messages and as the texts that are registered."""

from __future__ import annotations

from forgemesh.api.orchestrator.v1.workflow_pb2 import Workflow
from forgemesh.faults.workflow import DefinitionInvalid
from forgemesh.language.json_text import json_text
from forgemesh.language.message_reading import workflow_tree
from forgemesh.language.message_writing import workflow_message
from forgemesh.orchestrator.workflow.yaml.source import read_document


def workflow_from_message(message: Workflow) -> str:
    """
    The JSON text that says the same as the message; the parser takes it as any other.

    Raises DefinitionInvalid for what no text can say: a template that is not JSON, two of the same name.
    """
    tree, violations = workflow_tree(message)
    if violations:
        raise DefinitionInvalid(message.name, violations)
    return json_text(tree, indent=2)


def workflow_to_message(source: str) -> Workflow | None:
    """The text of a registered definition as a message; None if its groups are nested too deep for one."""
    tree = read_document(source).tree
    assert isinstance(tree, dict)
    return workflow_message(tree)
