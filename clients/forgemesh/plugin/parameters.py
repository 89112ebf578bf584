"""The parameters of an operation: derived from its signature, read from a payload in one go."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import msgspec

from forgemesh.language.nesting import check_depth
from forgemesh.plugin.context import Context
from forgemesh.plugin.payload import JSON, Payload
from forgemesh.plugin.violation import Misfit, violation_of

_PLAIN = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Carried(Protocol):
    """A payload as it arrives."""

    @property
    def media_type(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class JsonInput:
    """A JSON object with a key for each parameter. Keys without a parameter are ignored or refused, missing refused."""

    decoder: msgspec.json.Decoder[Any]
    schema: str

    def read(self, carried: Carried) -> dict[str, Any]:
        """Arguments by name; raises ValueError. No bytes at all are an empty object."""
        media_type = carried.media_type
        if media_type and media_type != JSON and not _is_json(media_type):
            raise ValueError(f"it is {media_type}, the operation takes {JSON}")
        check_depth(carried.data)
        try:
            return msgspec.structs.asdict(self.decoder.decode(carried.data or b"{}"))
        except msgspec.MsgspecError as error:
            raise Misfit(violation_of(error)) from error


@dataclass(frozen=True, slots=True)
class OpaqueInput:
    """The payload as it is, for the one parameter that wants it."""

    parameter: str
    schema: str = ""

    def read(self, carried: Carried) -> dict[str, Any]:
        """The payload under the parameter's name."""
        payload = Payload(carried.data, carried.media_type or JSON, dict(carried.metadata))
        return {self.parameter: payload}


Input: TypeAlias = JsonInput | OpaqueInput


@dataclass(frozen=True, slots=True)
class Signature:
    """
    How to call an operation: how its input is read, which parameters take context and configuration, what comes back.

    `output` reads a finished output again to see whether it is what was declared; None if nothing was.
    """

    input: Input
    context: str | None
    config: str | None
    output: msgspec.json.Decoder[Any] | None
    output_schema: str


def signature_of(
    function: Callable[..., Any],
    note: Callable[[str], None],
    *,
    method: bool = True,
    strict: bool = False,
    config: object = None,
) -> Signature:
    """
    The signature of a method, `self` left out, or of a function; everything wrong with it is told to `note`.

    The parameter of the type `config`, if that is given, takes the configuration. With `strict` an input must not have
    keys without a parameter.
    """
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        note(f"its annotations cannot be read: {error}")
        return Signature(OpaqueInput(""), None, None, None, "")
    parameters = list(inspect.signature(function).parameters.values())[int(method) :]
    configs = [p.name for p in parameters if config is not None and hints.get(p.name) is config]
    contexts = [parameter.name for parameter in parameters if hints.get(parameter.name) is Context]
    if len(contexts) > 1:
        note(f"parameters {' and '.join(contexts)} are both a Context")
    values = [parameter for parameter in parameters if parameter.name not in (*contexts, *configs)]
    opaque = [parameter for parameter in values if hints.get(parameter.name) is Payload]
    if opaque and len(values) > 1:
        note("a parameter of type Payload takes the whole input, so it must be the only one beside the Context")
    read: Input = OpaqueInput(opaque[0].name) if opaque else _json_input(function, values, hints, note, strict=strict)
    schema = _output_schema(hints, note)
    return Signature(
        input=read,
        context=contexts[0] if contexts else None,
        config=configs[0] if configs else None,
        output=msgspec.json.Decoder(hints["return"]) if schema else None,
        output_schema=schema,
    )


def _json_input(
    function: Callable[..., Any],
    values: list[inspect.Parameter],
    hints: Mapping[str, Any],
    note: Callable[[str], None],
    *,
    strict: bool,
) -> JsonInput:
    fields = list(_fields(values, hints, note))
    try:
        struct = msgspec.defstruct(function.__name__, fields, kw_only=True, forbid_unknown_fields=strict)
    except (TypeError, ValueError) as error:
        note(f"its parameters cannot be read from JSON: {_first_line(error)}")
        struct = msgspec.defstruct(function.__name__, [])
    return JsonInput(msgspec.json.Decoder(struct), _schema(struct, "its parameters", note))


def _fields(
    values: list[inspect.Parameter], hints: Mapping[str, Any], note: Callable[[str], None]
) -> Iterator[tuple[str, Any] | tuple[str, Any, Any]]:
    for parameter in values:
        if parameter.kind not in _PLAIN:
            note(f"parameter {parameter} cannot be filled from a JSON object; give every parameter a name")
        elif parameter.name not in hints:
            note(f"parameter {parameter.name} has no annotation; say its type, or Any")
        elif parameter.default is inspect.Parameter.empty:
            yield parameter.name, hints[parameter.name]
        else:
            yield parameter.name, hints[parameter.name], _default(parameter.default)


def _default(value: Any) -> Any:
    """A list or the like is made anew for each call, as an author would expect of a literal."""
    if isinstance(value, (list, dict, set, bytearray)):
        return msgspec.field(default_factory=partial(copy, value))
    return value


def _output_schema(hints: Mapping[str, Any], note: Callable[[str], None]) -> str:
    output = hints.get("return", Any)
    return "" if output is Payload else _schema(output, "what it returns", note)


def _schema(wanted: Any, what: str, note: Callable[[str], None]) -> str:
    if wanted is Any:
        return ""
    try:
        schema = msgspec.json.schema(wanted)
    except (TypeError, ValueError) as error:
        note(f"{what}: {_first_line(error)}; use builtins, dataclasses, msgspec.Struct, TypedDict or Any")
        return ""
    return json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _is_json(media_type: str) -> bool:
    essence = media_type.partition(";")[0].strip().lower()
    return essence == JSON or essence.endswith("+json")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    named = next((line for line in lines if line.startswith("type ")), lines[0] if lines else type(error).__name__)
    return named.rstrip(".")
