"""Definitions from the texts that people write."""

from __future__ import annotations

from forgemesh.orchestrator.adapters.cel import CelCompiler
from forgemesh.orchestrator.codec.yaml_source import read_document
from forgemesh.orchestrator.domain.definition import Definition
from forgemesh.orchestrator.domain.fields import Mistakes
from forgemesh.orchestrator.domain.language import parse_definition


def read_definition(namespace: str, source: str) -> Definition:
    """A checked definition; raises DefinitionInvalid with every mistake, each with its line and column."""
    document = read_document(source)
    return parse_definition(document.tree, source, CelCompiler(), Mistakes(document.position), namespace=namespace)
