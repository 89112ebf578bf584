"""CEL (Google's C++ evaluator) behind the domain's Compiler and Program."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

from forgemesh.faults.workflow import ExpressionError
from forgemesh.orchestrator.domain.expression import ExpressionMistake

MAX_SOURCE = 4096
MAX_ITEMS = 500
"""Items that `map` and `filter` may run over: their cost is quadratic."""

_POSITION = re.compile(r"<input>:(\d+):(\d+): (.*)")
_QUADRATIC = re.compile(r"\.\s*(?:map|filter|transformList|transformMap)\s*\(")


class CelProgram:
    """A checked CEL expression."""

    def __init__(self, source: str, expression: Any) -> None:
        self._source = source
        self._expression = expression
        self._quadratic = bool(_QUADRATIC.search(source))

    @property
    def source(self) -> str:
        return self._source

    def evaluate(self, bindings: Mapping[str, object]) -> object:
        """See Program; an evaluation error comes back from CEL as a value and is raised here."""
        if self._quadratic and any(_has_long_list(value) for value in bindings.values()):
            raise ExpressionError(
                self._source,
                f"`map` and `filter` run over at most {MAX_ITEMS} items; let a plugin work on lists of this size",
            )
        try:
            value = self._expression.eval(data=dict(bindings))
            if value.type() == cel.Type.ERROR:
                raise ExpressionError(self._source, _clean(str(value.value())))
            return _json(value.plain_value())
        except (RuntimeError, ValueError, TypeError, OverflowError) as error:
            raise ExpressionError(self._source, _clean(str(error))) from error


class CelCompiler:
    """Compiles against declared variables, so that a wrong name is refused before anything runs."""

    def compile(self, source: str, variables: Sequence[str], *, boolean: bool = False) -> CelProgram:
        """See Compiler."""
        if len(source.encode()) > MAX_SOURCE:
            raise ExpressionMistake(
                f"the expression has {len(source.encode())} bytes, at most {MAX_SOURCE} are allowed"
            )
        try:
            expression = _environment(frozenset(variables)).compile(source)
        except RuntimeError as error:
            raise _mistake(str(error), variables) from error
        if boolean and expression.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
            raise ExpressionMistake(f"a condition must be true or false, this gives {expression.return_type().name()}")
        return CelProgram(source, expression)


@lru_cache(maxsize=256)
def _environment(variables: frozenset[str]) -> Any:
    extensions = [
        ext_strings.ExtStrings(),
        ext_math.ExtMath(),
        ext_optional.ExtOptional(),
        ext_bindings.ExtBindings(),
        ext_encoders.ExtEncoders(),
    ]
    types = {name: cel.Type.STRING if name.endswith(".status") else cel.Type.DYN for name in variables}
    return cel.NewEnv(variables=types, extensions=extensions)


def _mistake(text: str, variables: Sequence[str]) -> ExpressionMistake:
    match = _POSITION.search(text)
    if match is None:
        return ExpressionMistake(_clean(text))
    message = match[3].removesuffix(" (in container '')")
    if message.startswith("undeclared reference"):
        steps = sorted({name.split(".")[1] for name in variables if name.startswith("steps.")})
        known = f"; steps that have ended here: {', '.join(steps)}" if steps else "; no step has ended here yet"
        message += known if "'steps" in message else f"; known: {', '.join(sorted({'input', 'execution', 'steps'}))}"
    return ExpressionMistake(message, int(match[1]), int(match[2]))


def _clean(text: str) -> str:
    return text.split("\n", 1)[0].removeprefix("INVALID_ARGUMENT: ERROR: ").strip()


def _has_long_list(value: object) -> bool:
    if isinstance(value, list):
        return len(value) > MAX_ITEMS or any(_has_long_list(item) for item in value)
    return isinstance(value, dict) and any(_has_long_list(item) for item in value.values())


def _json(value: object) -> object:
    """A CEL value as JSON: keys in order, since CEL's own order changes from process to process."""
    if isinstance(value, dict):
        return {key: _json(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list):
        return [_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"it gives a {type(value).__name__}, which JSON cannot say; convert it to a text or a number")
