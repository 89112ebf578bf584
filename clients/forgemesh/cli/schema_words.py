"""JSON Schema in people's words: `list of string`, `Reservation`, `"red" | "blue"`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from forgemesh.language.nesting import MAX_CHECKED, check_depth

Schema: TypeAlias = Mapping[str, Any]

ANYTHING = "anything"
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key of an object; `default` is JSON text, None if there is none."""

    name: str
    type: str
    required: bool
    default: str | None

    def __str__(self) -> str:
        if self.default is not None:
            return f"{self.name}: {self.type} = {self.default}"
        return f"{self.name}{'' if self.required else '?'}: {self.type}"


def read_schema(text: str) -> Schema:
    """The schema in a manifest; no text, or what is no schema, allows anything."""
    try:
        check_depth(text, MAX_CHECKED)
        schema = json.loads(text) if text else {}
    except ValueError:
        schema = {}
    return schema if isinstance(schema, dict) else {}


def parameters(schema: Schema) -> list[Parameter] | None:
    """The keys of an object in the order of the schema; None if it is no object with named keys."""
    found = _resolved(schema, schema)
    properties = found.get("properties")
    if not isinstance(properties, dict):
        return None
    required = _listed(found, "required")
    return [
        Parameter(name, type_words(one, schema), name in required, _default(one)) for name, one in properties.items()
    ]


def type_words(schema: object, root: Schema, depth: int = 0) -> str:
    """The type in one phrase; `root` is the schema in which references are looked up."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return ANYTHING
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if _listed(schema, "enum"):
        return " | ".join(json.dumps(one, ensure_ascii=False) for one in _listed(schema, "enum"))
    union = _listed(schema, "anyOf") or _listed(schema, "oneOf")
    if union:
        return _union(type_words(one, root, depth + 1) for one in union)
    kind = schema.get("type")
    if isinstance(kind, list):
        return _union(type_words({**schema, "type": one}, root, depth + 1) for one in kind)
    return _plain(kind, schema, root, depth)


def named_types(schema: Schema) -> dict[str, str]:
    """The types that references name, each with its content."""
    return {name: _content(one, schema) for name, one in _definitions(schema).items()}


def _content(schema: object, root: Schema) -> str:
    found = parameters({**schema, "$defs": _definitions(root)}) if isinstance(schema, dict) else None
    return type_words(schema, root) if found is None else f"{{{', '.join(map(str, found))}}}"


def _plain(kind: object, schema: Schema, root: Schema, depth: int) -> str:
    if kind == "array":
        inner_types = _listed(schema, "prefixItems")
        if inner_types:
            return f"[{', '.join(type_words(one, root, depth + 1) for one in inner_types)}]"
        items = type_words(schema.get("items"), root, depth + 1)
        return "list" if items == ANYTHING else f"list of {items}"
    if kind == "object":
        inner = parameters({**schema, "$defs": _definitions(root)}) if depth < _DEEPEST else None
        if inner:
            return f"{{{', '.join(map(str, inner))}}}"
        values = type_words(schema.get("additionalProperties"), root, depth + 1)
        return "object" if values == ANYTHING else f"map of {values}"
    return str(schema.get("format") or kind or ANYTHING)


def _definitions(schema: Schema) -> Mapping[str, Any]:
    found = schema.get("$defs")
    return found if isinstance(found, dict) else {}


def _listed(schema: Schema, key: str) -> Sequence[Any]:
    """What a schema lists under a key; nothing if it is no list."""
    found = schema.get(key)
    return found if isinstance(found, list) else ()


def _union(words: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(words))


def _resolved(schema: Schema, root: Schema) -> Schema:
    seen: set[str] = set()
    while "$ref" in schema:
        reference = str(schema["$ref"])
        name = reference.rpartition("/")[2]
        target = _definitions(root).get(name)
        if reference in seen or not isinstance(target, dict):
            return {}
        seen.add(reference)
        schema = target
    return schema


def _default(schema: object) -> str | None:
    if not isinstance(schema, dict) or "default" not in schema:
        return None
    return json.dumps(schema["default"], ensure_ascii=False)
