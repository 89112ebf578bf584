"""CEL (Google's C++ evaluator) behind the domain's Compiler and Program."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

import msgspec
from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

from forgemesh.faults.workflow import ExpressionError
from forgemesh.language.nesting import MAX_DEPTH
from forgemesh.orchestrator.workflow.expressions.cel_cost import MAX_MADE, cost_at, cost_of
from forgemesh.orchestrator.workflow.expressions.cel_syntax import tree_of
from forgemesh.orchestrator.workflow.expressions.expression import MAX_COST, Allowance, ExpressionMistake
from forgemesh.orchestrator.workflow.expressions.reading import MAX_LOOKED_INTO
from forgemesh.orchestrator.workflow.expressions.template import without_strings

MAX_SOURCE = 4096
MAX_ITEMS = 500
"""Items that `map` and `filter` may run over: their cost is quadratic."""
MAX_SPLIT = 4 * MAX_ITEMS
"""Characters of a text that may be split for them."""
MAX_GROWING = 3
"""Calls in one expression that may multiply the size of a value."""
MAX_GROWING_SOURCE = 512
"""Bytes of an expression with more than one of them: each names its value as often as there is room."""
LISTED = 16

TRIVIAL = 1_000.0
"""Microseconds that are not worth counting."""
_SIZES = [MAX_LOOKED_INTO >> bits for bits in range(10, -1, -2)]
"""Bytes of what is read, for each of which it is worked out beforehand what an expression costs, whatever it reads."""

_POSITION = re.compile(r"<input>:(\d+):(\d+): (.*)")
_NOISE = re.compile(r"^(?:INVALID_ARGUMENT: ERROR: |<input>:-1:-1: |[A-Z_]+: )+| \(in container ''\)| \[[A-Z_]+\]$")
_EXPECTING = re.compile(r" expecting \{.*\}")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_QUADRATIC = re.compile(r"\.\s*(?:map|filter|transformList|transformMap)\s*\(")
_GROWING = re.compile(r"(?:\.\s*(?:map|transformList|transformMap|transformMapEntry)|\bcel\s*\.\s*bind)\s*\(")
_REPLACE = re.compile(r"\.\s*replace\s*\(")
_SHRINKING = re.compile(
    r"""\.\s*replace\s*\(\s*(?:'(?P<a>[^'\\]+)'|"(?P<b>[^"\\]+)")\s*,\s*(?:'(?P<c>[^'\\]*)'|"(?P<d>[^"\\]*)")\s*[,)]"""
)
"""A replacement of one plain text by another."""
_SPLIT = re.compile(r"\.\s*split\s*\(")
_VARIABLE = re.compile(r"(?<![\w.])vars\b(?:\s*\.\s*(\w+))?")
_EVERYWHERE = ("input", "execution", "steps", "vars")
_SOMETIMES = frozenset({"item", "index", "error"})
"""Names that are seen only in some places."""
_ROOTS = (*_EVERYWHERE, *_SOMETIMES)
_WHERE = {
    "item": "`item` is the item of a map, and can be used in the steps of one",
    "index": "`index` is the index in a map, and can be used in the steps of one",
    "error": "`error` is why a step is undone, and can be used in `compensate`; of a step, read steps.ID.error",
}
_STEP = re.compile(r"(?<![\w.])steps\b(?:\s*\.\s*(\w+)(?:\s*\.\s*(\w+))?)?")


class CelProgram:
    """A checked CEL expression."""

    def __init__(self, source: str, expression: Any) -> None:
        self._source = source
        self._expression = expression
        self._quadratic = bool(_QUADRATIC.search(source))
        self._multiplies = _replaces_by_more(source) > 0
        self._longest_text = MAX_SPLIT if self._multiplies or _SPLIT.search(source) else math.inf
        self.tree = tree_of(expression.serialize())
        self._bounds = [(size, cost.time) for size in _SIZES if (cost := cost_at(self.tree, _ROOTS, size)).fits]
        self._trivial = bool(self._bounds) and self._bounds[-1][0] == _SIZES[-1] and self._bounds[-1][1] <= TRIVIAL

    @property
    def source(self) -> str:
        return self._source

    def evaluate(self, bindings: Mapping[str, object], allowance: Allowance | None = None) -> object:
        """See Program; an evaluation error comes back from CEL as a value and is raised here."""
        try:
            if self._quadratic and any(_is_long(value, self._longest_text) for value in bindings.values()):
                raise ExpressionError(
                    self._source,
                    f"`map` and `filter` run over at most {MAX_ITEMS} items; let a plugin work on lists of this size",
                )
            if self._multiplies and any(_is_long(value, MAX_SPLIT) for value in bindings.values()):
                raise ExpressionError(
                    self._source,
                    f"a `replace` that may lengthen its text works on texts of at most {MAX_SPLIT} characters",
                )
            nested = _nested(bindings)
            if not self._trivial:
                self._spend(nested, allowance or Allowance())
            value = self._expression.eval(data=nested)
            if value.type() == cel.Type.ERROR:
                raise ExpressionError(self._source, _clean(str(value.value())))
            return _json(value.plain_value(), MAX_DEPTH)
        except MemoryError as error:
            raise ExpressionError(self._source, "its value does not fit into memory") from error
        except (RuntimeError, ValueError, TypeError, OverflowError) as error:
            raise ExpressionError(self._source, _clean(str(error))) from error

    def _spend(self, bindings: Mapping[str, object], allowance: Allowance) -> None:
        size = len(msgspec.json.encode(bindings))
        bound = next((time for most, time in self._bounds if size <= most), math.inf)
        if bound > min(MAX_COST, allowance.time):
            cost = cost_of(self.tree, bindings)
            bound = cost.time
            if cost.most > MAX_MADE:
                cause = f"it may make a value of {cost.most:.0f} bytes, at most {MAX_MADE} are allowed"
                raise ExpressionError(self._source, f"{cause}; let a plugin do this")
        allowance.spend_time(self._source, bound)


class CelCompiler:
    """Compiles against declared variables, so that a wrong name is refused before anything runs."""

    def compile(self, source: str, variables: Collection[str], *, boolean: bool = False) -> CelProgram:
        """See Compiler."""
        if len(source.encode()) > MAX_SOURCE:
            raise ExpressionMistake(
                f"the expression has {len(source.encode())} bytes, at most {MAX_SOURCE} are allowed"
            )
        if not source.strip():
            raise ExpressionMistake("the expression is empty")
        try:
            expression = _environment(frozenset(name for name in _SOMETIMES if name in variables)).compile(source)
        except RuntimeError as error:
            raise _mistake(str(error), source, variables) from error
        _check_growth(source)
        _check_steps(source, variables)
        _check_variables(source, variables)
        if boolean and expression.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
            raise ExpressionMistake(f"a condition must be true or false, this gives {expression.return_type().name()}")
        return CelProgram(source, expression)


def _check_growth(source: str) -> None:
    """
    Raises ExpressionMistake for what may give a value of any size: CEL bounds how often something is done, and not how
    large it gets.
    """
    bare = without_strings(source)
    replaces = _replaces_by_more(source)
    growing = len(_GROWING.findall(bare)) + replaces
    if growing > MAX_GROWING:
        message = (
            f"`map`, `cel.bind` and a `replace` by more than was there may come {MAX_GROWING} times, not {growing}"
        )
        raise ExpressionMistake(f"{message}; let a plugin do this")
    if growing > 1 and replaces:
        raise ExpressionMistake("a `replace` by more than was there goes with no other one, no `map` and no `cel.bind`")
    if growing > 1 and len(source.encode()) > MAX_GROWING_SOURCE:
        message = f"an expression with several of `map` and `cel.bind` has at most {MAX_GROWING_SOURCE} bytes"
        raise ExpressionMistake(f"{message}, not {len(source.encode())}")


def _replaces_by_more(source: str) -> int:
    """How many replacements may lengthen their text: all but those of a plain text by one that is no longer."""
    bare = without_strings(source)
    harmless = sum(
        len(found["a"] or found["b"]) >= len(found["c"] or found["d"] or "")
        for found in _SHRINKING.finditer(source)
        if bare[found.start()] == "."
    )
    return len(_REPLACE.findall(bare)) - harmless


@lru_cache(maxsize=8)
def _environment(names: frozenset[str]) -> Any:
    """
    The same for all expressions that see `names` of those that are not seen everywhere, since one costs milliseconds;
    which steps and variables may be named is checked apart.
    """
    extensions = [
        ext_strings.ExtStrings(),
        ext_math.ExtMath(),
        ext_optional.ExtOptional(),
        ext_bindings.ExtBindings(),
        ext_encoders.ExtEncoders(),
    ]
    variables = dict.fromkeys((*_EVERYWHERE, *names), cel.Type.DYN)
    return cel.NewEnv(variables=variables, extensions=extensions)


def _check_variables(source: str, variables: Collection[str]) -> None:
    """Raises ExpressionMistake for a variable that is not declared, and for any other use of `vars`."""
    for found in _VARIABLE.finditer(without_strings(source)):
        if f"vars.{found[1]}" in variables:
            continue
        before = source[: found.start()]
        line, column = before.count("\n") + 1, found.start() - before.rfind("\n")
        declared = sorted(name.removeprefix("vars.") for name in variables if name.startswith("vars."))
        listed = f"; declared before this place: {', '.join(declared[:LISTED])}" if declared else ""
        hint = f"undeclared reference to '{''.join(found[0].split()):.100}'{listed or '; `vars` declares none here'}"
        raise ExpressionMistake(hint, line, column)


def _check_steps(source: str, variables: Collection[str]) -> None:
    """Raises ExpressionMistake for a step that cannot be read here, and for any other use of `steps`."""
    for found in _STEP.finditer(without_strings(source)):
        step_id, fact = found[1], found[2]
        if f"steps.{step_id}.{fact}" in variables:
            continue
        before = source[: found.start()]
        line, column = before.count("\n") + 1, found.start() - before.rfind("\n")
        if step_id is not None and f"steps.{step_id}.output" in variables:
            message = f"of a step, read steps.{step_id}.output, steps.{step_id}.status or steps.{step_id}.error"
        else:
            message = f"undeclared reference to '{''.join(found[0].split()):.100}'{_known_steps(variables)}"
        raise ExpressionMistake(message, line, column)


def _known_steps(variables: Collection[str]) -> str:
    ended = (variable.split(".")[1] for variable in variables if variable.endswith(".output"))
    listed = ", ".join(islice(ended, LISTED))
    more = ", ..." if next(ended, None) is not None else ""
    return f"; steps that have ended here: {listed}{more}" if listed else "; no step has ended here yet"


def _nested(bindings: Mapping[str, object]) -> dict[str, object]:
    """`steps.<id>.<fact>` and `vars.<name>` as objects in one another."""
    steps: dict[str, dict[str, object]] = {}
    variables: dict[str, object] = {}
    nested: dict[str, object] = {"steps": steps, "vars": variables}
    for variable, value in bindings.items():
        head, *path = variable.split(".")
        if head == "steps":
            steps.setdefault(path[0], {})[path[1]] = value
        elif head == "vars":
            variables[path[0]] = value
        else:
            nested[variable] = value
    return nested


def _mistake(text: str, source: str, variables: Collection[str]) -> ExpressionMistake:
    match = _POSITION.search(text)
    if match is None:
        return ExpressionMistake(_clean(text))
    line, column, message = int(match[1]), int(match[2]), _EXPECTING.sub("", _clean(match[3]))
    undeclared = _UNDECLARED.match(message)
    if undeclared is None:
        return ExpressionMistake(message, line, column)
    name = undeclared[1]
    known = ", ".join(sorted({"steps", *(variable.split(".")[0] for variable in variables)}))
    message = f"undeclared reference to '{name:.100}'; {_WHERE.get(name.partition('.')[0], f'known: {known}')}"
    return ExpressionMistake(message, line, _start_of(name, source.split("\n")[line - 1], column))


def _start_of(name: str, line: str, column: int) -> int:
    """CEL points at a name or, if it is a function's, behind it."""
    return column - len(name) if line[: column - 1].endswith(name) else column


def _clean(text: str) -> str:
    if text.startswith("Unable to convert"):
        return "it gives a value that JSON cannot say; end an optional one with `.orValue(...)`"
    return _NOISE.sub("", text.split("\n", 1)[0]).strip()


def _is_long(value: object, longest_text: float) -> bool:
    if isinstance(value, str):
        return len(value) > longest_text
    if isinstance(value, list):
        return len(value) > MAX_ITEMS or any(_is_long(item, longest_text) for item in value)
    return isinstance(value, dict) and any(_is_long(item, longest_text) for item in value.values())


def _json(value: object, levels: int) -> object:
    """A CEL value as JSON: keys in order, since CEL's own order changes from process to process."""
    if isinstance(value, dict | list) and not levels:
        raise ValueError(f"it gives a value that is nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        return {key: _json(value[key], levels - 1) for key in sorted(value, key=str)}
    if isinstance(value, list):
        return [_json(item, levels - 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"it gives {value}, which JSON cannot say")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"it gives a {type(value).__name__}, which JSON cannot say; convert it to a text or a number")
