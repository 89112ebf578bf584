"""A plugin's manifest, derived from its definition."""

from __future__ import annotations

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.plugin.definition import OperationDefinition, PluginDefinition

_IDEMPOTENCY = {
    None: manifest_pb2.IDEMPOTENCY_UNSPECIFIED,
    True: manifest_pb2.IDEMPOTENCY_IDEMPOTENT,
    False: manifest_pb2.IDEMPOTENCY_NOT_IDEMPOTENT,
}


def manifest_of(definition: PluginDefinition) -> manifest_pb2.Manifest:
    """The manifest; the same definition always gives the same one."""
    return manifest_pb2.Manifest(
        plugin_id=definition.plugin_id,
        version=definition.version,
        description=definition.description,
        provides=[manifest_pb2.Interface(name=name, version=at) for name, at in definition.provides],
        operations=[_operation(operation) for operation in definition.operations.values()],
        priority=definition.priority,
        weight=definition.weight,
        max_concurrency=definition.max_concurrency,
        metadata=definition.metadata,
    )


def _operation(operation: OperationDefinition) -> manifest_pb2.Operation:
    message = manifest_pb2.Operation(
        name=operation.name,
        description=operation.description,
        idempotency=_IDEMPOTENCY[operation.idempotent],
        cacheable=operation.cacheable,
        input_schema=operation.input.schema,
        output_schema=operation.output_schema,
    )
    if operation.timeout is not None:
        message.timeout.FromMilliseconds(round(operation.timeout * 1000))
    return message
