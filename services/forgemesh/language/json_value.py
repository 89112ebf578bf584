"""The JSON that values travel as: what every reader reads alike, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from forgemesh.language.nesting import MAX_DEPTH, is_too_deep

JSON = "application/json"

MAX_QUOTED = 80
"""Characters of a text that is quoted."""

Place: TypeAlias = tuple[str | int, ...]

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class NotJson(ValueError):
    """
    Bytes or a value that JSON cannot say; `place` is where in it, as keys and indexes.

    Bytes are `malformed` if they break the grammar; others keep to it, and not every reader reads them.
    """

    def __init__(self, cause: str, place: Place = (), *, malformed: bool = False) -> None:
        super().__init__(f"{path_of(place)}: {cause}" if place else cause)
        self.cause = cause
        self.place = place
        self.malformed = malformed

    def path(self, root: str) -> str:
        """Its place, where `root` is the name of the whole: "input.rows[3]"."""
        return path_of(self.place, root)


def path_of(place: Place, root: str = "$") -> str:
    """Keys and indexes as people read them: "$.rows[3].value"."""
    return root + "".join(f"[{part}]" if isinstance(part, int) else f".{part:.100}" for part in place)


@lru_cache(maxsize=256)
def is_json(media_type: str) -> bool:
    """
    Whether what is of this type is JSON: application/json or a type that ends in +json, in any case, with any
    parameters. Nothing said means JSON.
    """
    essence = media_type.partition(";")[0].strip().lower()
    return essence in ("", JSON) or essence.endswith("+json")


def read_json(data: bytes, depth: int = MAX_DEPTH) -> Any:
    """
    The value; integers stay exact, and of a key that stands twice the last one counts.

    Raises NotJson for all that is not JSON by RFC 8259 (NaN, infinities, bytes that are not UTF-8, halves of surrogate
    pairs), and for what not every reader reads: numbers beyond a double's range, nesting deeper than `depth`.
    """
    if is_too_deep(data, depth):
        raise NotJson(f"it is nested deeper than {depth}")
    try:
        return _decode(data)
    except msgspec.DecodeError as error:
        raise NotJson(_said(error), malformed=not isinstance(error, msgspec.ValidationError)) from error


def read_document(data: bytes, depth: int = MAX_DEPTH) -> Any:
    """The value of what a person wrote: as `read_json`, and a key that stands twice in an object is a mistake."""
    value = read_json(data, depth)

    def once(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise NotJson(f"the key {quoted(key)} stands there twice in one object")
            seen.add(key)

    json.loads(data, object_pairs_hook=once)
    return value


def quoted(text: str) -> str:
    """A text as JSON writes it, cut to a line's length: for people who are shown where something is wrong."""
    return json.dumps(text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}...", ensure_ascii=False)


def shown(value: object, most: int = MAX_QUOTED) -> str:
    """A value as people are shown it: a text in single quotes, anything else as JSON writes it; cut to that length."""
    if isinstance(value, str):
        return repr(value)[:most]
    try:
        return _encode(value).decode()[:most]
    except (TypeError, ValueError, RuntimeError):
        return f"a {type(value).__name__}"


def misfit(error: Any) -> str:
    """What a jsonschema.ValidationError says of a value, with values as JSON writes them."""
    text = str(error.message)
    for value in (error.instance, error.validator_value):
        if not isinstance(value, str):
            text = text.replace(repr(value), shown(value, len(text)))
    return text


def write_json(value: object, read: Callable[[bytes], object] = read_json) -> bytes:
    """
    The value as JSON; `read` is how the other side will read it.

    Raises NotJson, which says where, if that would not give the value back: for NaN and infinities, for keys that
    become the same text, for what is nested deeper than MAX_DEPTH. Raises what `read` raises, and TypeError for what
    msgspec cannot encode.
    """
    try:
        data = _encode(value)
    except RuntimeError as error:  # one that contains itself has no end at whatever depth
        raise NotJson(f"it is nested deeper than {MAX_DEPTH}, or contains itself") from error
    except UnicodeEncodeError as error:
        half = f"U+{ord(error.object[error.start]):04X}"
        raise NotJson(f"a text holds {half}, half of a character", _surrogate(value)) from error
    if is_too_deep(data):
        raise NotJson(f"it is nested deeper than {MAX_DEPTH}")
    try:
        back = read(data)
    except ValueError:
        _check_value(value, ())
        raise
    if not _is_same(back, value):
        _check_value(value, ())
    return data


def _is_same(back: object, value: object) -> bool:
    """False if it is not known: an author's class compares as it likes."""
    try:
        return bool(back == value)
    except Exception:  # noqa: BLE001 - it is the author's code
        return False


def _said(error: msgspec.DecodeError) -> str:
    text = str(error).removeprefix("JSON is malformed: ").replace("`", "")
    return text[:1].lower() + text[1:]


def _check_value(value: object, place: Place) -> None:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float) and not math.isfinite(value):
        raise NotJson(f"{_number(value)} is no number of JSON", place)
    if isinstance(value, Mapping):
        _check_keys(value, place)
    for part, inner in _parts(value):
        _check_value(inner, (*place, part))


def _parts(value: object) -> Iterator[tuple[str | int, object]]:
    """What stands in a value, as msgspec writes it."""
    if isinstance(value, Mapping):
        yield from ((_key(key), inner) for key, inner in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from enumerate(value)
    elif isinstance(value, msgspec.Struct):
        yield from ((name, getattr(value, name)) for name in value.__struct_fields__)
    elif dataclasses.is_dataclass(value) or hasattr(type(value), "__attrs_attrs__"):
        fields = getattr(value, "__dataclass_fields__", None) or [one.name for one in type(value).__attrs_attrs__]  # type: ignore[attr-defined]
        yield from ((name, getattr(value, name)) for name in fields if hasattr(value, name))


def _check_keys(value: Mapping[object, object], place: Place) -> None:
    seen: set[str] = set()
    for key in value:
        name = _key(key)
        if isinstance(key, float) and not math.isfinite(key):
            raise NotJson(f"{_number(key)} is no key of JSON", place)
        if name in seen:
            raise NotJson(f"two keys of different types are both {quoted(name)} in JSON", place)
        seen.add(name)


def _key(key: object) -> str:
    if type(key) is str:
        return key
    return str(next(iter(_decode(_encode({key: None})))))


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _surrogate(value: object, place: Place = ()) -> Place:
    """Where the text stands that UTF-8 cannot say; the value as a whole if it cannot be found."""
    for part, inner in _parts(value):
        if isinstance(inner, str) and not _is_text(inner):
            return (*place, part)
        found = _surrogate(inner, (*place, part)) if not isinstance(inner, str) else ()
        if found:
            return found
    return ()


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
