"""
How long an expression may take, and how large what it makes may get, before it is evaluated.

CEL bounds how often a loop turns, and nothing else: `x in list`, `contains` and `+` cost what their operands are long.
So the cost is worked out from the expression and the sizes of what it reads, as a bound for the worst case in the
manner of the cost estimate of cel-go, in microseconds of a slow machine: an evaluation holds the interpreter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from forgemesh.orchestrator.workflow.expressions.cel_extent import (
    SMALL,
    Extent,
    below,
    element,
    largest,
    length,
    together,
)
from forgemesh.orchestrator.workflow.expressions.expression import MAX_COST

MAX_MADE = 16 * 1024 * 1024
"""Bytes of any value on the way to the result."""
MAX_TURNS = 10_000
"""CEL lets the loops of one evaluation turn so often, and then fails."""

STEP = 0.4
"""Anything, once."""
TURN = 3.0
"""One turn of a loop."""
TOUCH = 1.2
"""A part of a value, the first time: it becomes one of CEL's."""
SEEK = 0.25
"""A part of a list that something is looked for in."""
EQUAL = 1.0
"""A part of a value that is compared with another one."""
APPEND = 0.1
"""A part of a list that another one is added to."""
BYTE = 0.001
"""A byte that is compared."""
COPY = 0.01
"""A byte that is copied or read as text."""
SCAN = 0.025
"""A byte of a text that another one is looked for in, or of a pattern's text for each byte of the pattern."""
RESCAN = 0.0001
"""The same, for each byte of what is looked for."""

_REPEATED = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_MAX_REPEATED = 1000
"""RE2 refuses patterns that repeat something more often."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one evaluation; `most` are the bytes of the largest value on the way."""

    time: float
    most: float

    @property
    def fits(self) -> bool:
        """Whether it may be paid."""
        return self.time <= MAX_COST and self.most <= MAX_MADE


def cost_of(tree: Any, bindings: Mapping[str, object]) -> Cost:
    """A bound for the evaluation over `bindings`, JSON-like values by variable: as near as it has to be to fit."""
    cost = _cost(tree, {name: Extent.of(value) for name, value in bindings.items()}, exact=False)
    if cost.fits:
        return cost
    return _cost(tree, {name: Extent.of(value) for name, value in bindings.items()}, exact=True)


def cost_at(tree: Any, variables: Iterable[str], size: int) -> Cost:
    """The same whatever the variables hold, if that is at most `size` bytes each."""
    return _cost(tree, dict.fromkeys(variables, Extent(size / 2, size)), exact=False)


def _cost(tree: Any, scope: Mapping[str, Extent], *, exact: bool) -> Cost:
    reader = _Reader(exact=exact)
    reader.visit(tree, scope)
    return Cost(reader.time, reader.most)


@dataclass(slots=True)
class _Reader:
    exact: bool
    """Whether elements of a list are measured one by one; else the whole list stands for each."""
    time: float = 0.0
    most: float = 0.0
    often: float = 1.0
    """How often what is visited is evaluated: the product of the turns of the loops around it."""
    trial: bool = False
    """Only what a turn makes is asked for: loops inside are visited once, and not twice for each loop around them."""
    touched: set[int] = field(default_factory=set)

    def spend(self, time: float) -> None:
        self.time += time * self.often

    def made(self, extent: Extent) -> Extent:
        self.most = max(self.most, extent.bytes)
        return extent

    def touch(self, extent: Extent) -> None:
        """It is read in all its parts."""
        if not extent.known:
            self.spend(TOUCH * extent.parts)
        elif id(extent.value) not in self.touched:
            self.touched.add(id(extent.value))
            self.time += TOUCH * extent.parts

    def visit(self, node: Any, scope: Mapping[str, Extent]) -> Extent:
        self.spend(STEP)
        match _kind(node):
            case "constant":
                return Extent.of(node.constant.text) if node.constant.text else Extent(1, len(node.constant.data) + 32)
            case "ident":
                return scope.get(node.ident.name, SMALL)
            case "select":
                return below(self.visit(node.select.operand, scope), node.select.field)
            case "call":
                return self.made(self._call(node.call, scope))
            case "list":
                inside = [self.visit(element, scope) for element in node.list.elements]
                whole = together(inside)
                return self.made(Extent(whole.parts, whole.bytes, made=(len(inside), largest(inside))))
            case "struct":
                inside = [self.visit(part, scope) for entry in node.struct.entries for part in (entry.key, entry.value)]
                return self.made(together(inside))
            case "comprehension":
                return self.made(self._loop(node.comprehension, scope))
        return SMALL

    def _call(self, call: Any, scope: Mapping[str, Extent]) -> Extent:
        operands = [self.visit(call.target, scope)] if call.HasField("target") else []
        operands += [self.visit(arg, scope) for arg in call.args]
        count = _FUNCTIONS.get(call.function)
        if count is not None and operands:
            return count(self, operands)
        if call.function in _SCALAR:
            return SMALL
        whole = together(operands)  # passes on or puts together what it gets; a text may be written with escapes
        self.spend(COPY * whole.bytes)
        return Extent(whole.parts, 2 * whole.bytes)

    def _loop(self, loop: Any, scope: Mapping[str, Extent]) -> Extent:
        """The macros of CEL: what a turn adds to the result does not depend on how much is there already."""
        over = self.visit(loop.iter_range, scope)
        first = self.visit(loop.accu_init, scope)
        turns = min(length(over), MAX_TURNS)
        if not turns:
            return self.visit(loop.result, {**scope, loop.accu_var: first})
        self.touch(over)
        each = element(over) if self.exact or over.made is not None else Extent(over.parts, over.bytes)
        inside = {**scope, loop.iter_var: each, loop.accu_var: first}
        if loop.iter_var2:
            inside[loop.iter_var2] = each
        once = _Reader(self.exact, often=0.0, trial=True).visit(loop.loop_step, inside)
        grown = Extent(
            first.parts + turns * max(0.0, once.parts - first.parts),
            first.bytes + turns * max(0.0, once.bytes - first.bytes),
            made=(turns * length(once), once.made[1]) if once.made is not None else None,
        )
        if not self.trial:
            self._turn(loop, {**inside, loop.accu_var: grown}, turns)
        return self.visit(loop.result, {**scope, loop.accu_var: self.made(grown)})

    def _turn(self, loop: Any, inside: Mapping[str, Extent], turns: float) -> None:
        around, self.often = self.often, self.often * turns
        self.spend(TURN)
        self.visit(loop.loop_condition, inside)
        self.visit(loop.loop_step, inside)
        self.often = around


def _kind(node: Any) -> str:
    for name in ("call", "select", "ident", "constant", "comprehension", "list", "struct"):
        if node.HasField(name):
            return name
    return ""


def _add(reader: _Reader, operands: list[Extent]) -> Extent:
    left, right = operands
    reader.spend(APPEND * length(left) if left.parts > 1 else COPY * (left.bytes + right.bytes))
    scalars = left.parts <= 1 and right.parts <= 1
    if scalars and max(left.bytes, right.bytes) <= SMALL.bytes:
        return SMALL
    made = None
    if left.made is not None and right.made is not None:
        made = (left.made[0] + right.made[0], largest([left.made[1], right.made[1]]))
    return Extent(1 if scalars else left.parts + right.parts, left.bytes + right.bytes, made=made)


def _compare(reader: _Reader, operands: list[Extent]) -> Extent:
    left, right = operands
    for one in (left, right):
        if min(left.parts, right.parts) > 1:
            reader.touch(one)
    reader.spend(EQUAL * (min(left.parts, right.parts) - 1) + BYTE * min(left.bytes, right.bytes))
    return SMALL


def _contained(reader: _Reader, operands: list[Extent]) -> Extent:
    wanted, within = operands
    if within.known and isinstance(within.value, dict):
        return SMALL
    reader.touch(within)
    in_each = SEEK if wanted.parts <= 1 else EQUAL
    reader.spend(in_each * within.parts + BYTE * min(within.parts * wanted.bytes, within.bytes))
    return SMALL


def _search(reader: _Reader, operands: list[Extent]) -> Extent:
    text, wanted = operands[0], operands[1]
    reader.spend(text.bytes * (SCAN + RESCAN * wanted.bytes))
    return SMALL


def _match(reader: _Reader, operands: list[Extent]) -> Extent:
    text, pattern = operands[0], operands[1]
    repeated = _MAX_REPEATED if pattern.text is None else 1
    for found in _REPEATED.finditer(pattern.text or ""):
        repeated *= max(1, int(found[2] or found[1]))
    size = max(1.0, pattern.bytes - 32) * min(repeated, _MAX_REPEATED)
    reader.spend(size * (1 + SCAN * text.bytes))
    return SMALL


def _extreme(reader: _Reader, operands: list[Extent]) -> Extent:
    """Of several numbers, or of a list of them."""
    for one in operands:
        if one.parts > 1:
            reader.touch(one)
            reader.spend(SEEK * one.parts)
    return SMALL


def _moment(reader: _Reader, operands: list[Extent]) -> Extent:
    reader.spend(BYTE * operands[0].bytes)
    return SMALL


def _size(reader: _Reader, operands: list[Extent]) -> Extent:
    reader.spend(COPY * operands[0].bytes)
    return SMALL


def _split(reader: _Reader, operands: list[Extent]) -> Extent:
    text = operands[0]
    reader.spend(text.bytes)
    return Extent(text.bytes + 1, 4 * text.bytes + 32, made=(text.bytes + 1, Extent(1, text.bytes)))


def _replace(reader: _Reader, operands: list[Extent]) -> Extent:
    text, old, new = operands[:3]
    _search(reader, operands)
    least = max(1, len(old.text)) if old.text is not None else 1
    longest = text.bytes + (text.bytes / least + 1) * max(0.0, new.bytes - 32)
    reader.spend(text.bytes + COPY * longest)
    return Extent(1, longest)


def _join(reader: _Reader, operands: list[Extent]) -> Extent:
    parts = operands[0]
    between = operands[1].bytes if len(operands) > 1 else 0
    reader.touch(parts)
    whole = parts.bytes + parts.parts * between
    reader.spend(EQUAL * parts.parts + COPY * whole)
    return Extent(1, whole)


def _format(reader: _Reader, operands: list[Extent]) -> Extent:
    whole = together(operands)
    reader.touch(operands[-1])
    reader.spend(EQUAL * whole.parts + COPY * whole.bytes)
    longest = 1100 * max(1.0, operands[0].bytes / 2)  # a number may be written with a thousand digits
    return Extent(1, longest + operands[0].bytes * max(1.0, whole.bytes))


def _pick(reader: _Reader, operands: list[Extent]) -> Extent:
    """One part of a value by its key or index."""
    return Extent(operands[0].parts, operands[0].bytes)


def _choose(reader: _Reader, operands: list[Extent]) -> Extent:
    return largest(operands[1:])


def _either(reader: _Reader, operands: list[Extent]) -> Extent:
    return largest(operands)


_FUNCTIONS: Mapping[str, Callable[[_Reader, list[Extent]], Extent]] = {
    "_+_": _add,
    "_==_": _compare,
    "_!=_": _compare,
    "_<_": _compare,
    "_<=_": _compare,
    "_>_": _compare,
    "_>=_": _compare,
    "@in": _contained,
    "contains": _search,
    "indexOf": _search,
    "lastIndexOf": _search,
    "startsWith": _compare,
    "endsWith": _compare,
    "matches": _match,
    "size": _size,
    "math.@max": _extreme,
    "math.@min": _extreme,
    "timestamp": _moment,
    "split": _split,
    "replace": _replace,
    "join": _join,
    "format": _format,
    "_[_]": _pick,
    "_[?_]": _pick,
    "_?._": _pick,
    "_?_:_": _choose,
    "or": _either,
    "orValue": _either,
}
_SCALAR = frozenset(
    {"!_", "-_", "_&&_", "_||_", "_-_", "_*_", "_/_", "_%_", "@not_strictly_false", "hasValue", "optional.none", "int"}
    | {"uint", "double", "bool", "type", "duration"}
)
"""They give a scalar, and cost nothing to speak of."""
