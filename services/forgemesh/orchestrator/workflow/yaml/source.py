"""YAML and JSON texts as trees that know where each of their parts stood."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from forgemesh.faults import Violation
from forgemesh.faults.workflow import DefinitionInvalid
from forgemesh.language.nesting import MAX_DEPTH
from forgemesh.orchestrator.workflow.parse.fields import Place
from forgemesh.orchestrator.workflow.yaml.position import Scalar, lines_of

MAX_BYTES = 256 * 1024
MAX_DIGITS = 1_000

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


_Node: TypeAlias = yaml.ScalarEvent | yaml.CollectionStartEvent


@dataclass(frozen=True, slots=True)
class Document:
    """
    A text's tree, and line and column (from 1) of each place in it.

    A list or a mapping stands where its key does.
    """

    tree: object
    lines: list[str]
    starts: dict[Place, tuple[int, int]]
    scalars: dict[Place, Scalar]

    def position(self, place: Place, offset: int = 0) -> tuple[int, int] | None:
        """Of what stands `offset` characters into the text at `place`; of the nearest place around an absent one."""
        if place in self.scalars:
            return self.scalars[place].position(self.lines, offset)
        while place and place not in self.starts:
            place = place[:-1]
        return self.starts.get(place)


class _Refused(Exception):
    def __init__(self, event: yaml.Event, message: str) -> None:
        super().__init__(message)
        self.at = _start(event)
        self.message = message


def read_document(source: str) -> Document:
    """
    Raises DefinitionInvalid for anything but one document of plain JSON-like values without anchors and tags.

    Plain words mean what YAML 1.2 says (its core schema), so that every JSON text means what it means as JSON.
    """
    if len(source.encode()) > MAX_BYTES:
        raise _invalid(f"the text has {len(source.encode())} bytes, at most {MAX_BYTES} are allowed")
    if source.lstrip().startswith("{"):
        source = _SURROGATES.sub(_character, source)
    builder = _Builder()
    try:
        builder.build(yaml.parse(source, Loader=_loader()))
    except _Refused as error:
        raise _invalid(f"line {error.at[0]}, column {error.at[1]}: {error.message}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        problem = error.problem or error.context or "not valid YAML"
        if "nesting depth" in problem:  # libyaml looks ahead, and has a limit of its own
            problem = f"the text is nested deeper than {MAX_DEPTH}"
        raise _invalid(f"{where}{problem}") from error
    except yaml.YAMLError as error:
        raise _invalid(f"not valid YAML: {str(error).splitlines()[0]}") from error
    return Document(builder.root, lines_of(source), builder.starts, builder.scalars)


def _loader() -> type[yaml.SafeLoader | yaml.CSafeLoader]:
    return yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader


def _character(match: re.Match[str]) -> str:
    """The character beyond the basic plane that JSON writes as two escapes and YAML as one."""
    return bytes.fromhex(match[1] + match[2]).decode("utf-16-be")


@dataclass(slots=True)
class _Open:
    """A list or a mapping that is being read; the key whose value comes next, and where that key stands."""

    value: list[object] | dict[str, object]
    place: Place
    key: str | None = None
    key_at: tuple[int, int] = (1, 1)


@dataclass(slots=True)
class _Builder:
    """Builds the tree from the parser's events and not by recursion: nesting costs it nothing."""

    root: object = None
    starts: dict[Place, tuple[int, int]] = field(default_factory=dict)
    scalars: dict[Place, Scalar] = field(default_factory=dict)
    _stack: list[_Open] = field(default_factory=list)
    _documents: int = 0

    def build(self, events: Iterable[yaml.Event]) -> None:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    raise _Refused(event, "the text holds more than one document")
            elif isinstance(event, yaml.CollectionEndEvent):
                self._stack.pop()
            elif isinstance(event, yaml.NodeEvent):
                if event.anchor is not None:  # an alias names one too
                    raise _Refused(event, "anchors and aliases are not allowed; write the value out")
                assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
                self._node(event)

    def _node(self, event: _Node) -> None:
        if event.tag is not None:
            raise _Refused(event, f"the tag {event.tag:.80} is not allowed; quote what shall be a text")
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            top.key, top.key_at = _key(event, top.value), _start(event)
        else:
            self._value(event, top)

    def _value(self, event: _Node, top: _Open | None) -> None:
        place = _place_in(top)
        self.starts[place] = top.key_at if top is not None and isinstance(top.value, dict) else _start(event)
        value: object
        if isinstance(event, yaml.ScalarEvent):
            line, column = _start(event)
            self.scalars[place] = Scalar(line - 1, column - 1, event.style or "")
            value = _scalar(event)
        else:
            value = {} if isinstance(event, yaml.MappingStartEvent) else []
        if top is None:
            self.root = value
        elif isinstance(top.value, list):
            top.value.append(value)
        else:
            top.value[top.key or ""], top.key = value, None
        if isinstance(value, dict | list):
            if len(self._stack) == MAX_DEPTH:
                raise _Refused(event, f"the text is nested deeper than {MAX_DEPTH}")
            self._stack.append(_Open(value, place))


def _place_in(top: _Open | None) -> Place:
    if top is None:
        return ()
    return (*top.place, len(top.value) if isinstance(top.value, list) else top.key or "")


def _key(event: _Node, known: dict[str, object]) -> str:
    if not isinstance(event, yaml.ScalarEvent) or (event.value == "<<" and not event.style):
        raise _Refused(event, "keys are plain texts")
    if event.value in known:
        raise _Refused(event, f"the key {event.value!r} stands here twice")
    key: str = event.value
    return key


def _scalar(event: yaml.ScalarEvent) -> object:
    text: str = event.value
    if event.style:
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _NOT_FINITE.fullmatch(text):
        raise _Refused(event, "numbers are finite")
    if _INT.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise _Refused(event, f"numbers have at most {MAX_DIGITS} digits")
        return int(text, 0 if text[:2] in ("0o", "0x") else 10)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise _Refused(event, "numbers are finite")
        return number
    return text


def _start(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    assert mark is not None
    return mark.line + 1, mark.column + 1


def _invalid(message: str) -> DefinitionInvalid:
    return DefinitionInvalid("", [Violation("document", message)])
