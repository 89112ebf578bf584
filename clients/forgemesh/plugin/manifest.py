"""A plugin's manifest, derived from its definition."""

from __future__ import annotations

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.plugin.definition import OperationDefinition, PluginDefinition
from forgemesh.plugin.dependency import OnLoss, Requires
from forgemesh.plugin.limits import Limits

_IDEMPOTENCY = {
    None: manifest_pb2.IDEMPOTENCY_UNSPECIFIED,
    True: manifest_pb2.IDEMPOTENCY_IDEMPOTENT,
    False: manifest_pb2.IDEMPOTENCY_NOT_IDEMPOTENT,
}
_ON_LOSS: dict[OnLoss, manifest_pb2.OnLoss.ValueType] = {
    "ignore": manifest_pb2.ON_LOSS_IGNORE,
    "degrade": manifest_pb2.ON_LOSS_DEGRADE,
    "stop": manifest_pb2.ON_LOSS_STOP,
}


def manifest_of(definition: PluginDefinition) -> manifest_pb2.Manifest:
    """The manifest; the same definition always gives the same one."""
    return manifest_pb2.Manifest(
        plugin_id=definition.plugin_id,
        version=definition.version,
        description=definition.description,
        provides=[manifest_pb2.Interface(name=name, version=at) for name, at in definition.provides],
        dependencies=[dependency_of(one) for one in definition.requires],
        operations=[_operation(operation) for operation in definition.operations.values()],
        priority=definition.priority,
        weight=definition.weight,
        max_concurrency=definition.max_concurrency,
        metadata=definition.metadata,
        limits=limits_of(definition.limits),
        config_schema=definition.configuration.schema if definition.configuration else "",
    )


def idempotency_of(idempotent: bool | None) -> manifest_pb2.Idempotency.ValueType:
    """What a repetition does, as a message says it; None is unknown."""
    return _IDEMPOTENCY[idempotent]


def dependency_of(required: Requires) -> manifest_pb2.Dependency:
    """One thing that a plugin needs, as a message."""
    message = manifest_pb2.Dependency(
        version_range=required.range, optional=required.optional, on_loss=_ON_LOSS[required.on_loss]
    )
    if required.plugin:
        message.plugin_id = required.plugin
    else:
        message.interface_name = required.interface
    return message


def limits_of(limits: Limits) -> manifest_pb2.ResourceLimits | None:
    """What one instance may use, as a message; None if there are no bounds."""
    if limits == Limits():
        return None
    return manifest_pb2.ResourceLimits(
        memory_bytes=limits.memory_bytes, cpu_millis=round(limits.cpu * 1000), open_files=limits.open_files
    )


def _operation(operation: OperationDefinition) -> manifest_pb2.Operation:
    message = manifest_pb2.Operation(
        name=operation.name,
        description=operation.description,
        idempotency=idempotency_of(operation.idempotent),
        cacheable=operation.cacheable,
        input_schema=operation.input.schema,
        output_schema=operation.output_schema,
    )
    if operation.timeout is not None:
        message.timeout.FromMilliseconds(round(operation.timeout * 1000))
    return message
