"""What differs between two manifests of one plugin, and which version the newer one deserves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import semantic_version

from forgemesh.cli.manifest_page import config_words, dependency_words, idempotency_words, limit_words
from forgemesh.cli.schema_words import Parameter, named_types, parameters, read_schema, type_words

if TYPE_CHECKING:
    from forgemesh.api.plugin.v1.manifest_pb2 import Manifest, Operation


@dataclass(frozen=True, slots=True)
class Difference:
    """One change; it is `breaking` if a caller of the older manifest may fail, an `addition` if there is more now."""

    what: str
    breaking: bool = False
    addition: bool = False

    def __str__(self) -> str:
        return self.what


def differences(before: Manifest, after: Manifest) -> list[Difference]:
    """What a person would have to know, the version left out; empty if the two say the same."""
    found = [*_operations(before, after), *_provided(before, after), *_plain(before, after)]
    if not found and _comparable(before) != _comparable(after):
        found.append(Difference("its operations are in another order, or a schema is written differently"))
    return found


def deserved_version(version: str, found: Sequence[Difference]) -> str:
    """The next version by SemVer: the major one for what breaks callers, the minor one for more, else the patch."""
    try:
        current = semantic_version.Version(version)
    except ValueError:
        return version
    breaking, addition = any(one.breaking for one in found), any(one.addition for one in found)
    if current.major == 0:  # before 1.0 a minor version may break
        following = current.next_minor() if breaking or addition else current.next_patch()
    elif breaking:
        following = current.next_major()
    else:
        following = current.next_minor() if addition else current.next_patch()
    return str(following)


def _comparable(manifest: Manifest) -> bytes:
    copied = type(manifest)()
    copied.CopyFrom(manifest)
    copied.version = ""
    return copied.SerializeToString(deterministic=True)


def _operations(before: Manifest, after: Manifest) -> Iterator[Difference]:
    old, new = _by_name(before), _by_name(after)
    for name in (name for name in old if name not in new):
        yield Difference(f"operation {name} is gone", breaking=True)
    for name in (name for name in new if name not in old):
        yield Difference(f"operation {name} is new", addition=True)
    for name in (name for name in new if name in old):
        for one in _operation(old[name], new[name]):
            yield Difference(f"operation {name}: {one.what}", one.breaking, one.addition)


def _by_name(manifest: Manifest) -> dict[str, Operation]:
    return {operation.name: operation for operation in manifest.operations}


def _operation(old: Operation, new: Operation) -> Iterator[Difference]:
    yield from _input(old.input_schema, new.input_schema)
    yield from _output(old.output_schema, new.output_schema)
    if old.description != new.description:
        yield Difference("its description is another one")
    if old.idempotency != new.idempotency:
        words = [idempotency_words(one) or "says nothing about repetitions" for one in (old, new)]
        yield Difference(f"it {words[1]}, before it {words[0]}")
    if old.cacheable != new.cacheable:
        yield Difference("its result may be kept" if new.cacheable else "its result may not be kept any more")
    if old.timeout != new.timeout:
        seconds = [
            f"{one.timeout.ToNanoseconds() / 1e9:g} s" if one.HasField("timeout") else "none" for one in (old, new)
        ]
        yield Difference(f"its timeout is {seconds[1]}, before {seconds[0]}")


def _input(old_text: str, new_text: str) -> Iterator[Difference]:
    old_schema, new_schema = read_schema(old_text), read_schema(new_text)
    old, new = parameters(old_schema), parameters(new_schema)
    if old is None or new is None:
        words = type_words(old_schema, old_schema), type_words(new_schema, new_schema)
        if words[0] != words[1]:
            yield Difference(f"its input is {words[1]}, before {words[0]}", breaking=True)
        return
    found = list(_parameters({one.name: one for one in old}, {one.name: one for one in new}))
    yield from found
    yield from _types(named_types(old_schema), named_types(new_schema), skip=_top(old_schema) | _top(new_schema))


def _parameters(old: Mapping[str, Parameter], new: Mapping[str, Parameter]) -> Iterator[Difference]:
    for name, one in old.items():
        if name not in new:
            yield Difference(f"parameter {name} is gone", breaking=True)
        elif one != new[name]:
            yield Difference(
                f"parameter {new[name]} was {one}",
                breaking=one.type != new[name].type or (new[name].required and not one.required),
            )
    for name, one in new.items():
        if name not in old:
            yield Difference(f"parameter {one} is new", breaking=one.required, addition=True)


def _output(old_text: str, new_text: str) -> Iterator[Difference]:
    old, new = read_schema(old_text), read_schema(new_text)
    words = type_words(old, old), type_words(new, new)
    if words[0] != words[1]:
        yield Difference(f"it returns {words[1]}, before {words[0]}", breaking=True)
    yield from _types(named_types(old), named_types(new))


def _types(old: Mapping[str, str], new: Mapping[str, str], skip: frozenset[str] = frozenset()) -> Iterator[Difference]:
    for name in (name for name in old if name in new and name not in skip and old[name] != new[name]):
        yield Difference(f"{name} is {new[name]}, before {old[name]}", breaking=True)


def _top(schema: Mapping[str, object]) -> frozenset[str]:
    return frozenset((str(schema.get("$ref", "")).rpartition("/")[2],))


def _provided(before: Manifest, after: Manifest) -> Iterator[Difference]:
    old = [f"{one.name}@{one.version}" for one in before.provides]
    new = [f"{one.name}@{one.version}" for one in after.provides]
    for text in (text for text in old if text not in new):
        yield Difference(f"it no longer provides {text}", breaking=True)
    for text in (text for text in new if text not in old):
        yield Difference(f"it provides {text} as well", addition=True)
    needed_old, needed_new = (list(map(dependency_words, one.dependencies)) for one in (before, after))
    for text in (text for text in needed_old if text not in needed_new):
        yield Difference(f"it no longer needs {text}")
    for text in (text for text in needed_new if text not in needed_old):
        yield Difference(f"it needs {text}", addition=True)


def _plain(before: Manifest, after: Manifest) -> Iterator[Difference]:
    if before.description != after.description:
        yield Difference("its description is another one")
    for word, old, new in (
        ("priority", before.priority, after.priority),
        ("weight", before.weight, after.weight),
        ("max_concurrency", before.max_concurrency, after.max_concurrency),
        ("metadata", _pairs(before), _pairs(after)),
        ("limits", limit_words(before.limits) or "none", limit_words(after.limits) or "none"),
        ("configuration", config_words(before.config_schema) or "none", config_words(after.config_schema) or "none"),
    ):
        if old != new:
            yield Difference(f"{word}: {new}, before {old}")


def _pairs(manifest: Manifest) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(manifest.metadata.items())) or "none"
