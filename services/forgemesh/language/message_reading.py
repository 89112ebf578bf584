"""From the message of a workflow to its tree, without loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from forgemesh.api.orchestrator.v1.workflow_pb2 import Workflow
from forgemesh.faults import Violation
from forgemesh.language.nesting import check_depth
from forgemesh.language.words import word_of

_Named = TypeVar("_Named", Workflow.Assignment, Workflow.Branch)


def workflow_tree(message: Workflow) -> tuple[dict[str, object], list[Violation]]:
    """
    The tree, with templates as they stand in the message (msgspec.Raw), and everything that no tree can say.

    Whether the tree is a definition is not looked at; that is for the parser to say.
    """
    reader = _Reader()
    return reader.fields(message, ""), reader.violations


class _Reader:
    """Reads one message."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def fields(self, message: Message, place: str) -> dict[str, object]:
        """Most messages have fields of the same names as the keys in the tree."""
        found = message.ListFields()
        return {field.name: self._field(field, value, f"{place}.{field.name}".lstrip(".")) for field, value in found}

    def _field(self, field: FieldDescriptor, value: Any, place: str) -> object:
        kind = field.message_type
        if field.enum_type is not None:
            word = word_of(field.enum_type, value)
            return word if word is not None else self._refused(place, f"{value} is no {field.enum_type.name}")
        if kind is None:
            return self._number(value, place) if isinstance(value, float) else value
        if kind.name == "Branch":
            return self._by_name(value, lambda branch, at: self._all(branch.steps, at), place)
        return self._all(value, place) if field.is_repeated else self._read(value, place)

    def _all(self, messages: Iterable[Message], place: str) -> list[object]:
        return [self._read(message, f"{place}[{index}]") for index, message in enumerate(messages)]

    def _read(self, message: Message, place: str) -> object:
        match message:
            case Workflow.Template():
                return self._template(message, place)
            case Workflow.Assignments():
                return self._by_name(message.assignments, lambda one, at: self._template(one.value, at), place)
            case Workflow.Input():
                return dict(message.types)
            case Workflow.Facts():
                return dict(message.facts)
            case Workflow.Texts():
                return list(message.texts)
            case Workflow.Switch():
                return self._all(message.cases, place)
            case Workflow.Join() if message.HasField("mode"):
                return self.fields(message, place)["mode"]
            case Workflow.Tolerance():
                return message.share if message.HasField("share") else message.count
        return self.fields(message, place)

    def _by_name(
        self, messages: Iterable[_Named], read: Callable[[_Named, str], object], place: str
    ) -> dict[str, object]:
        """In order; of several with the same name, the tree could keep but one."""
        found: dict[str, object] = {}
        for message in messages:
            at = f"{place}.{message.name}"
            if message.name in found:
                self._refused(at, f"there are two of the name {message.name!r:.100}")
            found[message.name] = read(message, at)
        return found

    def _template(self, message: Workflow.Template, place: str) -> object:
        try:
            check_depth(message.json)
            msgspec.json.decode(message.json)
        except ValueError as error:
            return self._refused(
                place, f'{message.json!r:.60} is not JSON text, in which a text stands in quotes: "${{...}}": {error}'
            )
        return msgspec.Raw(message.json.encode())

    def _number(self, value: float, place: str) -> object:
        if not math.isfinite(value):
            return self._refused(place, f"{value} is not a number")
        return int(value) if value.is_integer() else value

    def _refused(self, place: str, message: str) -> object:
        self.violations.append(Violation(place, message))
        return None
