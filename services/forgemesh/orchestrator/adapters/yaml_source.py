"""YAML and JSON texts as trees that know where each of their parts stood."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import yaml

from forgemesh.faults import Violation
from forgemesh.faults.workflow import DefinitionInvalid
from forgemesh.orchestrator.domain.fields import Place

MAX_BYTES = 256 * 1024
MAX_DEPTH = 200

_SCALARS = {"str", "int", "float", "bool", "null"}


@dataclass(frozen=True, slots=True)
class Document:
    """A text's tree, and line and column (from 1) of each place in it."""

    tree: object
    positions: dict[Place, tuple[int, int]]

    def position(self, place: Place) -> tuple[int, int] | None:
        """Of the place itself or, if it is absent, of the nearest place around it."""
        while place and place not in self.positions:
            place = place[:-1]
        return self.positions.get(place)


class _Refused(Exception):
    def __init__(self, mark: yaml.Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message


def read_document(source: str) -> Document:
    """Raises DefinitionInvalid for anything but one document of plain JSON-like values without aliases."""
    if len(source.encode()) > MAX_BYTES:
        raise _invalid(f"the text has {len(source.encode())} bytes, at most {MAX_BYTES} are allowed")
    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    try:
        node = yaml.compose(source, Loader=loader)
        positions: dict[Place, tuple[int, int]] = {}
        tree = _Builder(loader("").construct_object, positions).build(node, (), 0) if node is not None else None
    except _Refused as error:
        raise _invalid(f"{_at(error.mark)}: {error.message}") from error
    except yaml.MarkedYAMLError as error:
        where = f"{_at(error.problem_mark)}: " if error.problem_mark else ""
        raise _invalid(f"{where}{error.problem or error.context or 'not valid YAML'}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise _invalid(f"not valid YAML: {error}") from error
    return Document(tree, positions)


@dataclass(slots=True)
class _Builder:
    construct: Callable[[yaml.Node], object]
    positions: dict[Place, tuple[int, int]]
    seen: set[int] | None = None

    def build(self, node: yaml.Node, place: Place, depth: int) -> object:
        if self.seen is None:
            self.seen = set()
        if depth > MAX_DEPTH:
            raise _Refused(node.start_mark, f"the text is nested deeper than {MAX_DEPTH}")
        if id(node) in self.seen:
            raise _Refused(node.start_mark, "anchors and aliases are not allowed; write the value out")
        self.seen.add(id(node))
        quoted = isinstance(node, yaml.ScalarNode) and node.style in ("'", '"')
        self.positions[place] = (node.start_mark.line + 1, node.start_mark.column + 1 + quoted)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*place, index), depth + 1) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.endswith(":merge"):
                raise _Refused(key_node.start_mark, "keys are plain texts")
            if key in result:
                raise _Refused(key_node.start_mark, f"the key {key!r} stands here twice")
            result[key] = self.build(value_node, (*place, key), depth + 1)
        return result

    def _scalar(self, node: yaml.Node) -> object:
        kind = node.tag.rpartition(":")[2]
        if kind == "timestamp":
            return node.value
        if kind not in _SCALARS or not node.tag.startswith("tag:yaml.org"):
            raise _Refused(node.start_mark, f"values of type {node.tag} are not allowed")
        value = self.construct(node)
        if isinstance(value, float) and not math.isfinite(value):
            raise _Refused(node.start_mark, "numbers are finite")
        return value


def _at(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _invalid(message: str) -> DefinitionInvalid:
    return DefinitionInvalid("", [Violation("document", message)])
