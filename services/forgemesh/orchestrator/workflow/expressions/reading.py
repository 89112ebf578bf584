"""Plain paths into the execution's values, and what they lead to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import msgspec

from forgemesh.faults.workflow import ExpressionError
from forgemesh.orchestrator.values.payload import Payload
from forgemesh.orchestrator.workflow.expressions.expression import Allowance

MAX_LOOKED_INTO = 256 * 1024
"""Bytes of a value that an expression may look into."""

Read: TypeAlias = Callable[[str], Payload]
"""The payload bound to a variable, e.g. "input" or "steps.validate.output"."""

_ABSENT = object()
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Reference:
    """A plain path: a variable and the keys below it. Resolved without the expression language."""

    variable: str
    keys: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return ".".join((self.variable, *self.keys))


def outermost(references: Iterable[Reference]) -> tuple[Reference, ...]:
    """Those that do not lie below another one, in order of their source."""
    kept: list[Reference] = []
    for reference in sorted(references, key=lambda one: (one.variable, one.keys)):
        above = kept[-1] if kept else None
        if above is None or above.variable != reference.variable or reference.keys[: len(above.keys)] != above.keys:
            kept.append(reference)
    return tuple(kept)


class Values:
    """The values that one evaluation reads; each payload is decoded once, however often it is looked into."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.allowance = Allowance()
        self._decoded: dict[str, object] = {}

    def passed_on(self, reference: Reference) -> object:
        """What the path leads to; a whole JSON payload as its bytes. Raises ExpressionError and PayloadTooLarge."""
        if reference.keys:
            return self.put(self.at(reference))
        payload = self._read(reference.variable)
        if not payload.is_json:
            raise ExpressionError(
                reference.source,
                f"a payload of type {payload.media_type} can only be passed on whole, as the only input",
            )
        self.allowance.spend_size(payload.size)
        try:
            return payload.raw()
        except ValueError as error:
            raise ExpressionError(reference.source, str(error)) from error

    def at(self, reference: Reference) -> object:
        """What the path leads to. Raises ExpressionError."""
        value = self._whole(reference)
        for key in reference.keys:
            if not isinstance(value, dict) or key not in value:
                raise ExpressionError(reference.source, f"there is no {key!r} in it{_known_keys(value)}")
            value = value[key]
        return value

    def put(self, value: _Value) -> _Value:
        """It goes into what the evaluation gives. Raises PayloadTooLarge."""
        if isinstance(value, str):
            self.allowance.spend_size(len(value))
        elif isinstance(value, list | dict):
            self.allowance.spend_size(len(msgspec.json.encode(value)))
        return value

    def bindings(self, references: Iterable[Reference]) -> dict[str, object]:
        """
        Of each variable as much as the paths (none below another) lead to, and nothing of what is absent.

        Expressions hold the interpreter while they run, so what they look into is bounded. Raises ExpressionError.
        """
        bound: dict[str, object] = {}
        for reference in references:
            value = self._whole(reference)
            if self._read(reference.variable).size > MAX_LOOKED_INTO:
                _refuse_large(reference, value)
            part = bound.setdefault(reference.variable, {} if reference.keys else value)
            if reference.keys and isinstance(value, dict) and isinstance(part, dict):
                _copy(value, part, reference.keys)
            else:
                bound[reference.variable] = value
        return bound

    def _whole(self, reference: Reference) -> object:
        value = self._decoded.get(reference.variable, _ABSENT)
        if value is _ABSENT:
            try:
                value = self._decoded[reference.variable] = self._read(reference.variable).value()
            except ValueError as error:
                raise ExpressionError(reference.source, str(error)) from error
        return value


def _copy(source: Mapping[str, object], target: dict[str, object], keys: tuple[str, ...]) -> None:
    """Bring what `keys` lead to from `source` into `target`, with the objects on the way."""
    value = source.get(keys[0], _ABSENT)
    if value is _ABSENT:
        return
    if len(keys) == 1 or not isinstance(value, dict):
        target[keys[0]] = value
        return
    inner = target.setdefault(keys[0], {})
    if isinstance(inner, dict):
        _copy(value, inner, keys[1:])


def _refuse_large(reference: Reference, value: object) -> None:
    for key in reference.keys:
        if not isinstance(value, dict) or key not in value:
            return
        value = value[key]
    size = len(msgspec.json.encode(value))
    if size > MAX_LOOKED_INTO:
        raise ExpressionError(
            reference.source,
            f"it has {size} bytes and expressions look into at most {MAX_LOOKED_INTO}; pass it on whole as a plain"
            " path, or let the plugin return the fact you need",
        )


def _known_keys(value: object) -> str:
    if not isinstance(value, Mapping):
        return ""
    return f"; it has {', '.join(map(str, list(value)[:8]))}" if value else "; it is empty"
