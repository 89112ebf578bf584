"""One fault of every class, made from the parameters that the class asks for."""

import inspect
from collections.abc import Sequence
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from forgemesh.faults import Fault, Violation


def every_class() -> list[type[Fault]]:
    return [Fault.by_reason[reason] for reason in sorted(Fault.by_reason)]


def sample(cls: type[Fault], text: str = "a word") -> Fault:
    """A fault of this class; every text that it takes is `text`."""
    hints = get_type_hints(cls.__init__)
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    named = {one.name: _value(hints[one.name], text) for one in parameters if one.kind is one.KEYWORD_ONLY}
    placed = [_value(hints[one.name], text) for one in parameters if one.kind is not one.KEYWORD_ONLY]
    make: Any = cls
    made: Fault = make(*placed, **named)
    return made


def _value(hint: Any, text: str) -> object:
    if hint is Violation:
        return Violation(f"steps[0].{text}", text)
    if get_origin(hint) is Sequence:
        return [_value(get_args(hint)[0], text) for _ in range(3)]
    if get_origin(hint) is UnionType:
        return _value(get_args(hint)[0], text)
    if get_origin(hint) is tuple:
        return tuple(_value(part, text) for part in get_args(hint))
    plain: dict[Any, object] = {str: text, int: 7, float: 1.5, bool: True}
    return plain[hint]
