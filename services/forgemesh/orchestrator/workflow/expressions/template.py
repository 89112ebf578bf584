"""Templates: JSON trees whose string leaves `${...}` are expressions over the execution's values."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from forgemesh.faults.workflow import ExpressionError
from forgemesh.language.json_value import shown
from forgemesh.orchestrator.values.payload import Payload, json_payload
from forgemesh.orchestrator.workflow.expressions.expression import Compiler, ExpressionMistake, Program
from forgemesh.orchestrator.workflow.expressions.reading import Read, Reference, Values, outermost

_REFERENCE = re.compile(
    r"(?<![\w.])(input|execution|item|index|error|vars\s*\.\s*[a-z_]\w*"
    r"|steps\s*\.\s*[a-z_]\w*\s*\.\s*(?:output|status|error))\b((?:\s*\.\s*[A-Za-z_]\w*)*)"
)
_STEP = re.compile(r"(?<![\w.])steps\s*\.\s*([a-z_]\w*)")
_STRING = re.compile(
    r"""
    (?<!\w)(?:[rR][bB]?|[bB][rR])
        (?:\"{3}.*?(?:\"{3}|\Z)|'{3}.*?(?:'{3}|\Z)|"[^"\n]*(?:"|$)|'[^'\n]*(?:'|$))
    | \"{3}(?:\\.|[^\\])*?(?:\"{3}|\\?\Z) | '{3}(?:\\.|[^\\])*?(?:'{3}|\\?\Z)
    | "(?:\\.|[^"\\\n])*+(?:"|\\?$) | '(?:\\.|[^'\\\n])*+(?:'|\\?$)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_BRACE = re.compile(rf"{_STRING.pattern}|[{{}}]", _STRING.flags)
_OPENING = re.compile(r"\$\$\{|\$\{")


@dataclass(frozen=True, slots=True)
class Computed:
    """An expression and the plain paths that its variables are read by, none of which lies below another."""

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
    """Where in the tree (keys and indexes), how far into the text there, and what is wrong."""

    path: tuple[str | int, ...]
    offset: int
    message: str


def without_strings(source: str) -> str:
    """An expression with blanks in place of its string literals."""
    return _STRING.sub(lambda found: " " * len(found[0]), source)


def steps_named_in(source: str) -> Iterator[str]:
    """The ids of the steps that an expression names, string literals aside."""
    yield from _STEP.findall(without_strings(source))


def expressions_in(tree: object) -> Iterator[str]:
    """The sources of all expressions in a template's tree; those that are not closed are left to the compiler."""
    if isinstance(tree, str):
        with contextlib.suppress(ExpressionMistake):
            yield from [part for part, start in _split(tree) if start]
    elif isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from expressions_in(value)


@dataclass(slots=True)
class TemplateCompiler:
    """Compiles the templates of one place; what is wrong with them is added to `mistakes`, everything at once."""

    compiler: Compiler
    variables: Collection[str]
    mistakes: list[TemplateMistake] = field(default_factory=list)

    def compile(self, tree: object, path: tuple[str | int, ...] = ()) -> Template:
        """The template of a JSON tree."""
        if isinstance(tree, str):
            return self._leaf(tree, path)
        if isinstance(tree, dict):
            fields = tuple((key, self.compile(value, (*path, key))) for key, value in tree.items())
            literals = {key: value.value for key, value in fields if isinstance(value, Literal)}
            return Literal(literals) if len(literals) == len(fields) else Fields(fields)
        if isinstance(tree, list):
            items = tuple(self.compile(value, (*path, index)) for index, value in enumerate(tree))
            values = [item.value for item in items if isinstance(item, Literal)]
            return Literal(values) if len(values) == len(items) else Items(items)
        return Literal(tree)

    def _leaf(self, text: str, path: tuple[str | int, ...]) -> Template:
        parts: list[str | Reference | Computed] = []
        try:
            for part, start in _split(text):
                try:
                    parts.append(_compile_part(part, self.compiler, self.variables) if start else part)
                except ExpressionMistake as mistake:
                    self.mistakes.append(TemplateMistake(path, start + mistake.offset_in(part), mistake.message))
        except ExpressionMistake as mistake:
            self.mistakes.append(TemplateMistake(path, mistake.offset_in(text), mistake.message))
        if any(not isinstance(part, str) for part in parts):
            return Text(tuple(parts)) if len(parts) > 1 or isinstance(parts[0], str) else parts[0]
        return Literal("".join(str(part) for part in parts))


def compile_expression(source: str, compiler: Compiler, variables: Collection[str], *, boolean: bool) -> Computed:
    """Raises ExpressionMistake."""
    program = compiler.compile(source, variables, boolean=boolean)
    bare = without_strings(source)
    reads = {_read(bare, match) for match in _REFERENCE.finditer(bare)}
    return Computed(program, outermost(read for read in reads if read.variable in variables))


def evaluate(template: Template, read: Read) -> Payload:
    """
    The template's value; a bare reference to a whole payload passes it on untouched. Raises ExpressionError and
    PayloadTooLarge.
    """
    try:
        if isinstance(template, Reference) and not template.keys:
            return read(template.variable)
        return json_payload(_value(template, Values(read)))
    except (TypeError, ValueError) as error:
        raise ExpressionError("template", str(error)) from error


def evaluate_condition(condition: Computed, read: Read) -> bool:
    """Raises ExpressionError, also for a value that is neither true nor false."""
    value = _compute(condition, Values(read))
    if not isinstance(value, bool):
        raise ExpressionError(condition.program.source, f"it gives {shown(value)}, not true or false")
    return value


def _read(source: str, match: re.Match[str]) -> Reference:
    variable, *keys = _words(match)
    is_call = source[match.end() :].lstrip().startswith("(")  # the last word is a function, not a key
    return Reference(variable, tuple(keys[:-1] if is_call else keys))


def _words(match: re.Match[str]) -> list[str]:
    """The variable, and the keys below it, without the blanks that may stand around a point."""
    return ["".join(match[1].split()), *(key.strip() for key in match[2].split(".")[1:])]


def _compile_part(source: str, compiler: Compiler, variables: Collection[str]) -> Reference | Computed:
    whole = _REFERENCE.fullmatch(source.strip())
    if whole:
        variable, *keys = _words(whole)
        if variable in variables:
            return Reference(variable, tuple(keys))
    return compile_expression(source, compiler, variables, boolean=False)


def _split(text: str) -> Iterator[tuple[str, int]]:
    """The text's parts, and where each that is an expression starts (0: it is none); `$${` is a literal `${`."""
    plain: list[str] = []
    position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        plain.append(text[position : opening.start()])
        if opening[0] == "$${":
            plain.append("${")
            position = opening.end()
            continue
        end = _closing_brace(text, opening.end())
        if any(plain):
            yield "".join(plain), 0
        yield text[opening.end() : end], opening.end()
        plain, position = [], end + 1
    plain.append(text[position:])
    if any(plain) or not text:
        yield "".join(plain), 0


def _closing_brace(text: str, start: int) -> int:
    depth = 0
    for found in _BRACE.finditer(text, start):
        if found[0] == "{":
            depth += 1
        elif found[0] == "}":
            if depth == 0:
                return found.start()
            depth -= 1
    raise ExpressionMistake("the expression is not closed: a `}` is missing", 1, start - 1)


def _value(template: Template, values: Values) -> object:
    match template:
        case Literal(value):
            return value
        case Reference():
            return values.passed_on(template)
        case Computed():
            return values.put(_compute(template, values))
        case Fields(fields):
            return {key: _value(value, values) for key, value in fields}
        case Items(items):
            return [_value(item, values) for item in items]
        case Text(parts):
            return "".join([values.put(_text(part, values)) for part in parts])


def _text(part: str | Reference | Computed, values: Values) -> str:
    if isinstance(part, str):
        return part
    value = _compute(part, values) if isinstance(part, Computed) else values.at(part)
    if isinstance(value, bool) or value is None:
        return "true" if value else "false" if value is False else "null"
    if isinstance(value, str | int | float):
        return str(value)
    source = part.source if isinstance(part, Reference) else part.program.source
    raise ExpressionError(source, "a list or an object cannot stand inside a text")


def _compute(computed: Computed, values: Values) -> object:
    bindings: Mapping[str, object] = values.bindings(computed.reads)
    return computed.program.evaluate(bindings, values.allowance)
