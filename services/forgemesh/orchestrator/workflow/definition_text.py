"""Definitions from the texts that people write."""

from __future__ import annotations

from forgemesh.orchestrator.workflow.definition import Definition
from forgemesh.orchestrator.workflow.expressions.cel import CelCompiler
from forgemesh.orchestrator.workflow.parse.definition import parse_definition
from forgemesh.orchestrator.workflow.parse.fields import Mistakes
from forgemesh.orchestrator.workflow.yaml.source import read_document


def read_definition(namespace: str, source: str) -> Definition:
    """A checked definition; raises DefinitionInvalid with every mistake, each with its line and column."""
    document = read_document(source)
    return parse_definition(document.tree, source, CelCompiler(), Mistakes(document.position), namespace=namespace)
