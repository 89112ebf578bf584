"""
JSON Schema 2020-12 that others wrote: as jsonschema checks it, but for how patterns are searched, and within bounds.

A few lines of schema can ask for more work than a year has time for: references that double, lists whose members are
compared each with each, a thousand rules that all repeat a large value in their complaint. So every piece of work is
counted while it is done, and a check that goes beyond its allowance ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from jsonschema_specifications import REGISTRY as SPECIFICATIONS
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from forgemesh.language.allowance import Allowance, SchemaTooCostly, SchemaUnusable
from forgemesh.language.schema_patterns import DATA, NAMED, finds, patterns_in

A_RULE, A_REFERENCE, A_PATTERN = 4, 20, 40
"""What one application of a rule costs, beside the values that it looks at; the unit is about a microsecond."""
_AT_ONCE = 16
"""Members that are passed over for one unit."""
_TOLD = 20
"""Characters of a complaint for one unit."""


_ALLOWANCE: ContextVar[Allowance] = ContextVar("allowance")


def errors_of(validator: Validator, value: Any, allowance: Allowance, most: int | None = None) -> list[ValidationError]:
    """
    In what the value does not fit, at most so many; `validator` is one of `validator_of`.

    Raises SchemaTooCostly, and SchemaUnusable.
    """
    before = _ALLOWANCE.set(allowance)
    try:
        found: list[ValidationError] = []
        for error in validator.iter_errors(value):
            if most is not None and len(found) >= most:
                break
            found.append(error)
    except RecursionError as error:
        raise SchemaUnusable("it refers to itself without end") from error
    except Unresolvable as error:
        raise SchemaUnusable(f"it refers to {error.ref!r:.100}, which is not in it") from error
    except SchemaTooCostly:
        raise
    except Exception as error:
        raise SchemaUnusable(f"it cannot be applied: {type(error).__name__}: {error!s:.100}") from error
    finally:
        _ALLOWANCE.reset(before)
    return found


def is_schema(tree: object, allowance: Allowance) -> bool:
    """Whether it keeps to the rules of JSON Schema 2020-12; raises SchemaTooCostly."""
    return not errors_of(_META, tree, allowance, most=1)


def _pattern(validator: Any, pattern: object, instance: object, schema: object) -> Iterator[ValidationError]:
    if isinstance(instance, str) and isinstance(pattern, str) and not _finds(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, object], instance: object, schema: object
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, below in patterns.items():
        for key, value in instance.items():
            if _finds(pattern, key):
                yield from validator.descend(value, below, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, below: object, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    others = [key for key in instance if key not in known and not any(_finds(pattern, key) for pattern in patterns)]
    if isinstance(below, dict):
        for key in others:
            yield from validator.descend(instance[key], below, path=key)
    elif below is False and others:
        listed = ", ".join(repr(key) for key in others)
        verb = "was" if len(others) == 1 else "were"
        yield ValidationError(f"Additional properties are not allowed ({listed} {verb} unexpected)")


def _whatever(validator: Any, below: object, instance: object, schema: object) -> Iterator[ValidationError]:
    yield from ()


def _finds(pattern: str, text: str) -> bool:
    _ALLOWANCE.get().spend(A_PATTERN + len(text) // _AT_ONCE)
    return finds(pattern, text)


def _unique_items(validator: Any, wanted: object, instance: object, schema: object) -> Iterator[ValidationError]:
    """In one pass, where jsonschema compares each with each."""
    if wanted is True and isinstance(instance, list):
        seen = set()
        for member in instance:
            frozen = _frozen(member)
            if frozen in seen:
                yield ValidationError(f"{instance!r} has non-unique elements")
                return
            seen.add(frozen)


def _enum(validator: Any, members: object, instance: object, schema: object) -> Iterator[ValidationError]:
    if isinstance(members, list):
        frozen = _frozen(instance)
        if not any(frozen == _frozen(member) for member in members):
            yield ValidationError(f"{instance!r} is not one of {members!r}")


def _const(validator: Any, member: object, instance: object, schema: object) -> Iterator[ValidationError]:
    if _frozen(member) != _frozen(instance):
        yield ValidationError(f"{member!r} was expected")


def _frozen(value: object) -> object:
    """What is equal, and has one hash, where JSON Schema finds two values equal: 1 is 1.0, and true is not 1."""
    _ALLOWANCE.get().spend(1)
    if isinstance(value, list):
        return ("list", *map(_frozen, value))
    if isinstance(value, dict):
        return frozenset((key, _frozen(inner)) for key, inner in value.items())
    return ("bool", value) if isinstance(value, bool) else value


def _unevaluated(rule: Any) -> Any:
    """jsonschema looks each member up in a list of all that were evaluated."""

    def unevaluated(validator: Any, below: object, instance: object, schema: object) -> Iterator[ValidationError]:
        _ALLOWANCE.get().spend(_width(instance) ** 2 // _AT_ONCE**2)
        yield from rule(validator, below, instance, schema) or ()

    return unevaluated


def _counted(keyword: str, rule: Any) -> Any:
    price = A_REFERENCE if keyword in ("$ref", "$dynamicRef") else A_RULE

    def counted(validator: Any, value: object, instance: object, schema: object) -> Iterator[ValidationError]:
        allowance = _ALLOWANCE.get()
        allowance.spend(price + _width(value) // _AT_ONCE)
        for error in rule(validator, value, instance, schema) or ():
            allowance.spend(1 + len(error.message) // _TOLD)
            yield error

    return counted


def _width(value: object) -> int:
    """What is passed over, one level deep; of a rule's own lists of names the second one too."""
    if isinstance(value, dict):
        return len(value) + sum(len(inner) for inner in value.values() if isinstance(inner, list))
    return len(value) if isinstance(value, list) else 0


def _counted_type(name: str) -> Callable[[Any, object], bool]:
    """Every step of jsonschema asks for a type before it looks at a value."""

    def counted(checker: Any, value: object) -> bool:
        _ALLOWANCE.get().spend(1 + (len(value) // _AT_ONCE if isinstance(value, list | dict) else 0))
        return bool(_TYPES.is_type(value, name))

    return counted


_TYPES = Draft202012Validator.TYPE_CHECKER
_OWN = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
    "enum": _enum,
    "const": _const,
    "unevaluatedItems": _unevaluated(Draft202012Validator.VALIDATORS["unevaluatedItems"]),
    "unevaluatedProperties": _unevaluated(Draft202012Validator.VALIDATORS["unevaluatedProperties"]),
}
_RULES = {name: _counted(name, rule) for name, rule in {**Draft202012Validator.VALIDATORS, **_OWN}.items()}
_NAMES = ("array", "boolean", "integer", "null", "number", "object", "string")
_Validator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, _RULES, type_checker=_TYPES.redefine_many({name: _counted_type(name) for name in _NAMES})
)
_Forgiving: Any = extend(_Validator, {"unevaluatedProperties": _whatever})  # type: ignore[no-untyped-call]
"""jsonschema finds out by Python's patterns which properties are not evaluated."""


def _plain(schema: Any) -> Any:
    """Without what says which rules it is meant for: jsonschema would leave ours for those."""
    if isinstance(schema, list):
        return [_plain(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _plain_under(key, inner) for key, inner in schema.items() if key != "$schema"}


def _plain_under(key: str, inner: Any) -> Any:
    if key in DATA:
        return inner
    if key in NAMED and isinstance(inner, dict):
        return {name: _plain(below) for name, below in inner.items()}
    return _plain(inner)


def _built(kind: Any, schema: Any, registry: Registry[Any]) -> Validator:
    """All that can be referred to is looked for once, and not again for every value."""
    resource = DRAFT202012.create_resource(schema)
    try:
        validator: Validator = kind(schema, registry=registry.with_resource("", resource).crawl())
    except Exception as error:
        raise SchemaUnusable(f"it cannot be applied: {type(error).__name__}: {error!s:.100}") from error
    return validator


def _meta() -> Validator:
    known = [uri for uri in SPECIFICATIONS if "/2020-12/" in uri]
    resources = ((uri, DRAFT202012.create_resource(_plain(SPECIFICATIONS.contents(uri)))) for uri in known)
    return _built(_Validator, _plain(Draft202012Validator.META_SCHEMA), Registry[Any]().with_resources(resources))


def validator_of(schema: Any) -> Validator:
    """
    As jsonschema's Draft202012Validator, but for how patterns are searched; one that cannot be read forbids nothing,
    and beside `patternProperties` `unevaluatedProperties` does not either.

    Ask it by `errors_of`. Raises SchemaUnusable.
    """
    forgiving = any("patternProperties" in place for place, _ in patterns_in(schema))
    return _built(_Forgiving if forgiving else _Validator, _plain(schema), Registry())


_META = _meta()
