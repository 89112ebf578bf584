"""From the tree of a workflow to its message, without loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from forgemesh.api.orchestrator.v1.workflow_pb2 import Workflow
from forgemesh.language.words import number_of

MAX_NESTED = 30
"""Groups inside one another: protobuf reads at most a hundred messages inside one another, and a group takes three."""


def workflow_message(tree: Mapping[str, Any]) -> Workflow | None:
    """
    The message of a valid definition's tree, or None if its groups are nested too deep for one.

    Keys that are null say nothing and are left out. Raises ValueError for a value that no message has.
    """
    if _nested(tree["steps"]) > MAX_NESTED:
        return None
    message = Workflow()
    _write_fields(message, tree)
    return message


_KINDS = [field.name for field in Workflow.Step.DESCRIPTOR.oneofs_by_name["kind"].fields]


def _nested(steps: list[Any]) -> int:
    depth, level = 0, [steps]
    while level := [inner for sequence in level for step in sequence for inner in _inside(step)]:
        depth += 1
    return depth


def _inside(step: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The sequences in a step, whatever its kind is."""
    for kind in _KINDS:
        said = step.get(kind)
        for part in said if isinstance(said, list) else [said] if said is not None else []:
            yield from (part[key] for key in ("steps", "otherwise") if part.get(key) is not None)
            yield from (part.get("branches") or {}).values()


def _write(message: Message, tree: Any) -> None:
    match message:
        case Workflow.Template():
            message.json = msgspec.json.encode(tree).decode()
        case Workflow.Assignments():
            for name, value in tree.items():
                _write(message.assignments.add(name=name).value, value)
        case Workflow.Input():
            message.types.update(tree)
        case Workflow.Facts():
            message.facts.update(tree)
        case Workflow.Texts():
            message.texts.extend(tree)
        case Workflow.Switch():
            for one in tree:
                _write(message.cases.add(), one)
        case Workflow.Join() | Workflow.Tolerance() if not isinstance(tree, dict):
            _write_fields(message, {_alternative(message, tree): tree})
        case _:
            _write_fields(message, tree)


def _alternative(message: Workflow.Join | Workflow.Tolerance, tree: str | int) -> str:
    """The field of a value that stands for itself."""
    if isinstance(message, Workflow.Join):
        return "mode"
    return "share" if isinstance(tree, str) else "count"


def _write_fields(message: Any, tree: Mapping[str, Any]) -> None:
    """Most messages have fields of the same names as the keys in the tree."""
    for key, value in tree.items():
        if value is not None:
            _write_field(message, message.DESCRIPTOR.fields_by_name[key], value)


def _write_field(message: Any, field: FieldDescriptor, value: Any) -> None:
    kind = field.message_type
    if field.enum_type is not None:
        setattr(message, field.name, number_of(field.enum_type, value))
    elif kind is None:
        setattr(message, field.name, value)
    elif kind.name == "Branch":
        for name, steps in value.items():
            _write(message.branches.add(), {"name": name, "steps": steps})
    elif field.is_repeated:
        for one in value:
            _write(getattr(message, field.name).add(), one)
    else:
        inner = getattr(message, field.name)
        inner.SetInParent()
        _write(inner, value)
