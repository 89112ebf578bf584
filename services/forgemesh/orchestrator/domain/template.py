"""Templates: JSON trees whose string leaves `${...}` are expressions over the execution's values."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from forgemesh.faults.workflow import ExpressionError
from forgemesh.orchestrator.domain.expression import Compiler, ExpressionMistake, Program
from forgemesh.orchestrator.domain.payload import Payload

_REFERENCE = re.compile(r"(?<![\w.])(input|execution|steps\.[a-z_]\w*\.(?:output|status))((?:\.[A-Za-z_]\w*)*)")
_STEP = re.compile(r"(?<![\w.])steps\s*\.\s*([a-z_]\w*)")
_QUOTED = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")

MAX_LOOKED_INTO = 256 * 1024
"""Bytes of a value that an expression may look into."""

Read: TypeAlias = Callable[[str], Payload]
"""The payload bound to a variable, e.g. "input" or "steps.validate.output"."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A plain path: a variable and the keys below it. Resolved without the expression language."""

    variable: str
    keys: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return ".".join((self.variable, *self.keys))


@dataclass(frozen=True, slots=True)
class Computed:
    """An expression and the plain paths that its variables are read by."""

    program: Program
    reads: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A string with values in it."""

    parts: tuple[str | Reference | Computed, ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """A JSON value without expressions."""

    value: object


@dataclass(frozen=True, slots=True)
class Items:
    """A list of templates."""

    items: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of templates."""

    fields: tuple[tuple[str, Template], ...]


Template: TypeAlias = Reference | Computed | Text | Literal | Items | Fields

EMPTY = Literal({})


@dataclass(frozen=True, slots=True)
class TemplateMistake:
    """Where in the tree (keys and indexes) and what is wrong there."""

    path: tuple[str | int, ...]
    mistake: ExpressionMistake


def steps_named_in(source: str) -> Iterator[str]:
    """The ids of the steps that an expression names, string literals aside."""
    yield from _STEP.findall(_QUOTED.sub('""', source))


def expressions_in(tree: object) -> Iterator[str]:
    """The sources of all expressions in a step's tree; those that are not closed are left to the compiler."""
    if isinstance(tree, str):
        with contextlib.suppress(ExpressionMistake):
            yield from [part for part, start in _split(tree) if start]
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from (value,) if key == "when" and isinstance(value, str) else expressions_in(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from expressions_in(value)


def compile_template(
    tree: object, compiler: Compiler, variables: Sequence[str], mistakes: list[TemplateMistake]
) -> Template:
    """The template of a JSON tree; what is wrong with it is added to `mistakes`, everything at once."""
    return _compile(tree, compiler, variables, mistakes, ())


def compile_expression(source: str, compiler: Compiler, variables: Sequence[str], *, boolean: bool) -> Computed:
    """Raises ExpressionMistake."""
    program = compiler.compile(source, variables, boolean=boolean)
    bare = _QUOTED.sub('""', source)
    reads = {_read(bare, match) for match in _REFERENCE.finditer(bare) if match[1] in variables}
    return Computed(program, tuple(sorted(reads, key=lambda read: read.source)))


def evaluate(template: Template, read: Read) -> Payload:
    """The template's value; a bare reference to a whole payload passes it on untouched. Raises ExpressionError."""
    try:
        if isinstance(template, Reference) and not template.keys:
            return read(template.variable)
        return Payload(msgspec.json.encode(_value(template, read)))
    except (TypeError, ValueError) as error:
        raise ExpressionError("template", str(error)) from error


def evaluate_condition(condition: Computed, read: Read) -> bool:
    """Raises ExpressionError, also for a value that is neither true nor false."""
    value = _compute(condition, read)
    if not isinstance(value, bool):
        raise ExpressionError(condition.program.source, f"it gives {value!r:.80}, not true or false")
    return value


def _read(source: str, match: re.Match[str]) -> Reference:
    keys = tuple(match[2].split(".")[1:])
    is_call = source[match.end() :].lstrip().startswith("(")  # the last word is a function, not a key
    return Reference(match[1], keys[:-1] if is_call else keys)


def _compile(
    tree: object,
    compiler: Compiler,
    variables: Sequence[str],
    mistakes: list[TemplateMistake],
    path: tuple[str | int, ...],
) -> Template:
    if isinstance(tree, str):
        try:
            return _compile_text(tree, compiler, variables)
        except ExpressionMistake as mistake:
            mistakes.append(TemplateMistake(path, mistake))
            return Literal(tree)
    if isinstance(tree, dict):
        fields = tuple(
            (key, _compile(value, compiler, variables, mistakes, (*path, key))) for key, value in tree.items()
        )
        if all(isinstance(value, Literal) for _, value in fields):
            return Literal(tree)
        return Fields(fields)
    if isinstance(tree, list):
        items = tuple(
            _compile(value, compiler, variables, mistakes, (*path, index)) for index, value in enumerate(tree)
        )
        return Literal(tree) if all(isinstance(item, Literal) for item in items) else Items(items)
    return Literal(tree)


def _compile_text(text: str, compiler: Compiler, variables: Sequence[str]) -> Template:
    parts: list[str | Reference | Computed] = []
    for part, start in _split(text):
        parts.append(_compile_part(part, start, compiler, variables) if start else part)
    if len(parts) == 1:
        return Literal(parts[0]) if isinstance(parts[0], str) else parts[0]
    if all(isinstance(part, str) for part in parts):
        return Literal("".join(str(part) for part in parts))
    return Text(tuple(parts))


def _compile_part(source: str, start: int, compiler: Compiler, variables: Sequence[str]) -> Reference | Computed:
    whole = _REFERENCE.fullmatch(source.strip())
    if whole and whole[1] in variables:
        return Reference(whole[1], tuple(whole[2].split(".")[1:]))
    try:
        return compile_expression(source, compiler, variables, boolean=False)
    except ExpressionMistake as mistake:
        mistake.column += start if mistake.line == 1 else 0
        raise


def _split(text: str) -> Iterator[tuple[str, int]]:
    """The text's parts, and where each that is an expression starts (0: it is none); `$${` is a literal `${`."""
    plain, position = "", 0
    while position < len(text):
        if text.startswith("$${", position):
            plain, position = plain + "${", position + 3
        elif text.startswith("${", position):
            end = _closing_brace(text, position + 2)
            if plain:
                yield plain, 0
            yield text[position + 2 : end], position + 2
            plain, position = "", end + 1
        else:
            plain, position = plain + text[position], position + 1
    if plain or not text:
        yield plain, 0


def _closing_brace(text: str, start: int) -> int:
    depth, quote, position = 0, "", start
    while position < len(text):
        character = text[position]
        if quote:
            position += character == "\\"
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "{":
            depth += 1
        elif character == "}":
            if depth == 0:
                return position
            depth -= 1
        position += 1
    raise ExpressionMistake("the expression is not closed: a `}` is missing", 1, start + 1)


def _value(template: Template, read: Read) -> object:
    match template:
        case Literal(value):
            return value
        case Reference():
            return _resolve(template, read)
        case Computed():
            return _compute(template, read)
        case Fields(fields):
            return {key: _value(value, read) for key, value in fields}
        case Items(items):
            return [_value(item, read) for item in items]
        case Text(parts):
            return "".join(_text(part, read) for part in parts)


def _text(part: str | Reference | Computed, read: Read) -> str:
    if isinstance(part, str):
        return part
    value = _compute(part, read) if isinstance(part, Computed) else _resolve_plain(part, read)
    if isinstance(value, bool) or value is None:
        return "true" if value else "false" if value is False else "null"
    if isinstance(value, str | int | float):
        return str(value)
    source = part.source if isinstance(part, Reference) else part.program.source
    raise ExpressionError(source, "a list or an object cannot stand inside a text")


def _resolve(reference: Reference, read: Read) -> object:
    """The value of a plain path; a whole JSON payload is passed on as its bytes."""
    if not reference.keys:
        payload = read(reference.variable)
        if payload.is_json:
            return msgspec.Raw(payload.data or b"null")
        raise ExpressionError(
            reference.source, f"a payload of type {payload.media_type} can only be passed on whole, as the only input"
        )
    return _resolve_plain(reference, read)


def _resolve_plain(reference: Reference, read: Read) -> object:
    try:
        value = read(reference.variable).value()
    except ValueError as error:
        raise ExpressionError(reference.source, str(error)) from error
    for key in reference.keys:
        if not isinstance(value, dict) or key not in value:
            raise ExpressionError(reference.source, f"there is no {key!r} in it{_known_keys(value)}")
        value = value[key]
    return value


def _known_keys(value: object) -> str:
    return f"; it has {', '.join(map(str, list(value)[:8]))}" if isinstance(value, Mapping) else ""


def _compute(computed: Computed, read: Read) -> object:
    bindings: dict[str, object] = {}
    for reference in computed.reads:
        if reference.variable not in bindings:
            bindings[reference.variable] = _resolve_plain(Reference(reference.variable), read)
        if len(read(reference.variable).data) > MAX_LOOKED_INTO:
            _refuse_large(reference, read)
    return computed.program.evaluate(bindings)


def _refuse_large(reference: Reference, read: Read) -> None:
    """Expressions hold the interpreter while they run, so what they look into is bounded; plain paths are not."""
    size = len(msgspec.json.encode(_resolve_plain(reference, read)))
    if size > MAX_LOOKED_INTO:
        raise ExpressionError(
            reference.source,
            f"it has {size} bytes and expressions look into at most {MAX_LOOKED_INTO}; pass it on whole as a plain"
            " path, or let the plugin return the fact you need",
        )
