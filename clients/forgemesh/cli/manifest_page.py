"""A manifest as people read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from forgemesh.api.plugin.v1.manifest_pb2 import Idempotency, OnLoss
from forgemesh.cli.schema_words import ANYTHING, named_types, parameters, read_schema, type_words
from forgemesh.cli.table import joined

if TYPE_CHECKING:
    from forgemesh.api.plugin.v1.manifest_pb2 import Dependency, Manifest, Operation, ResourceLimits

_IDEMPOTENCY = {
    Idempotency.IDEMPOTENCY_IDEMPOTENT: "may be repeated",
    Idempotency.IDEMPOTENCY_NOT_IDEMPOTENT: "must not be repeated",
}
_ON_LOSS = {OnLoss.ON_LOSS_IGNORE: "its loss changes nothing", OnLoss.ON_LOSS_STOP: "stops without it"}
_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def manifest_page(manifest: Manifest) -> list[str]:
    """What the plugin is and needs, then its operations, then the types that these name."""
    head = f"{manifest.plugin_id} {manifest.version}"
    lines = [f"{head}   {manifest.description}" if manifest.description else head]
    lines += [f"  {word:<11}{text}" for word, text in _facts(manifest) if text]
    types: dict[str, str] = {}
    for operation in manifest.operations:
        lines += ["", *_operation(operation)]
        types |= _types(operation)
    if types:
        width = max(map(len, types))
        lines += ["", *(f"  {name:<{width}}   {content}" for name, content in sorted(types.items()))]
    return lines


def signature(operation: Operation) -> str:
    """`reserve(article: string, number: integer = 1) -> Reservation`."""
    taken, given = read_schema(operation.input_schema), read_schema(operation.output_schema)
    found = parameters(taken)
    listed = type_words(taken, taken) if found is None else ", ".join(map(str, found))
    return f"{operation.name}({listed}) -> {type_words(given, given)}"


def dependency_words(one: Dependency) -> str:
    """`shop.prices ^1.2 (optional)`."""
    target = one.plugin_id or f"interface {one.interface_name}"
    notes = [text for text in ("optional" if one.optional else "", _ON_LOSS.get(one.on_loss, "")) if text]
    said = f" ({', '.join(notes)})" if notes else ""
    return f"{target}{f' {one.version_range}' if one.version_range else ''}{said}"


def idempotency_words(operation: Operation) -> str:
    """What a repeated call does; empty if the author did not say."""
    return _IDEMPOTENCY.get(operation.idempotency, "")


def limit_words(limits: ResourceLimits) -> str:
    """`256 MiB, 0.5 cores, 64 files`; empty without limits."""
    return ", ".join(
        filter(
            None,
            (
                _bytes(limits.memory_bytes) if limits.memory_bytes else "",
                f"{limits.cpu_millis / 1000:g} cores" if limits.cpu_millis else "",
                f"{limits.open_files} files" if limits.open_files else "",
            ),
        )
    )


def config_words(schema: str) -> str:
    """The keys of a configuration with their types and defaults."""
    found = read_schema(schema)
    keys = parameters(found)
    return ", ".join(map(str, keys)) if keys else type_words(found, found) if schema else ""


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "provides", ", ".join(f"{one.name}@{one.version}" for one in manifest.provides)
    yield "needs", ", ".join(map(dependency_words, manifest.dependencies))
    at_a_time = manifest.max_concurrency
    yield "runs", f"{at_a_time} {'call' if at_a_time == 1 else 'calls'} at a time" if at_a_time else ""
    yield "limits", limit_words(manifest.limits)
    yield "priority", str(manifest.priority or "")
    yield "weight", str(manifest.weight) if manifest.weight > 1 else ""
    yield "metadata", ", ".join(f"{key}={value}" for key, value in sorted(manifest.metadata.items()))
    yield "config", config_words(manifest.config_schema)


def _operation(operation: Operation) -> Iterator[str]:
    timeout = operation.timeout.ToNanoseconds() / 1e9
    notes = joined(
        (
            idempotency_words(operation),
            "its result may be kept" if operation.cacheable else "",
            f"at most {timeout:g} s" if timeout else "",
        )
    )
    yield f"  {signature(operation)}"
    if operation.description:
        yield f"      {operation.description}"
    if notes:
        yield f"      {notes}"


def _types(operation: Operation) -> dict[str, str]:
    taken, given = read_schema(operation.input_schema), read_schema(operation.output_schema)
    inputs = named_types(taken)
    inputs.pop(str(taken.get("$ref", "")).rpartition("/")[2], None)
    return {name: content for name, content in (inputs | named_types(given)).items() if content != ANYTHING}


def _bytes(number: int) -> str:
    for unit, size in _UNITS:
        if number >= size:
            return f"{number / size:.4g} {unit}"
    return f"{number} B"
