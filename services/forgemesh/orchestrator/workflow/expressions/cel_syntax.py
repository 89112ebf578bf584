"""The syntax tree of a checked CEL expression, as far as its cost is read from it."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from forgemesh.orchestrator.workflow.expressions.expression import ExpressionMistake

_TYPES = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
}
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Packed": {"value": (2, "Checked")},
    "Checked": {"expr": (4, "Expr")},
    "Expr": {
        "constant": (3, "Constant"),
        "ident": (4, "Ident"),
        "select": (5, "Select"),
        "call": (6, "Call"),
        "list": (7, "List"),
        "struct": (8, "Struct"),
        "comprehension": (9, "Comprehension"),
    },
    "Constant": {"text": (6, "string"), "data": (7, "bytes")},
    "Ident": {"name": (1, "string")},
    "Select": {"operand": (1, "Expr"), "field": (2, "string")},
    "Call": {"target": (1, "Expr"), "function": (2, "string"), "args": (3, "*Expr")},
    "List": {"elements": (1, "*Expr")},
    "Struct": {"entries": (2, "*Entry")},
    "Entry": {"key": (3, "Expr"), "value": (4, "Expr")},
    "Comprehension": {
        "iter_var": (1, "string"),
        "iter_range": (2, "Expr"),
        "accu_var": (3, "string"),
        "accu_init": (4, "Expr"),
        "loop_condition": (5, "Expr"),
        "loop_step": (6, "Expr"),
        "result": (7, "Expr"),
        "iter_var2": (8, "string"),
    },
}
"""Messages of cel.expr.CheckedExpr (github.com/google/cel-spec) by their field numbers; `*` is a repeated one."""


def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="forgemesh/cel_syntax.proto", package="forgemesh.cel")
    file.syntax = "proto3"
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number)
            repeated = kind.startswith("*")
            added.label = added.LABEL_REPEATED if repeated else added.LABEL_OPTIONAL
            if kind in _TYPES:
                added.type = _TYPES[kind]
            else:
                added.type, added.type_name = added.TYPE_MESSAGE, f".forgemesh.cel.{kind.removeprefix('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("forgemesh.cel.Packed"))


_Packed = _message_class()


def tree_of(serialized: bytes) -> Any:
    """The root of the tree, an Expr; raises ExpressionMistake for what is nested deeper than a message may be."""
    try:
        return _Packed.FromString(serialized).value.expr
    except DecodeError as error:
        message = "its loops are nested too deep; give them to several steps, or let a plugin do this"
        raise ExpressionMistake(message) from error
