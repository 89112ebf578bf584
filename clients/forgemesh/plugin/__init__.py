"""The plugin author's kit: decorate a class, and a plugin host serves it."""

from forgemesh.faults import Code
from forgemesh.plugin.context import Context
from forgemesh.plugin.declaration import operation, plugin
from forgemesh.plugin.definition import OperationDefinition, PluginDefinition, define
from forgemesh.plugin.failure import OperationCancelled, OperationError, PluginDefinitionError
from forgemesh.plugin.manifest import manifest_of
from forgemesh.plugin.payload import Payload

__all__ = [
    "Code",
    "Context",
    "OperationCancelled",
    "OperationDefinition",
    "OperationError",
    "Payload",
    "PluginDefinition",
    "PluginDefinitionError",
    "define",
    "manifest_of",
    "operation",
    "plugin",
]
