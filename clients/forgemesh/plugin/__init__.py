"""The plugin author's kit: decorate a class or functions, and a plugin host serves them."""

from forgemesh.faults import Code
from forgemesh.plugin.configuration import Configuration, ConfigurationError
from forgemesh.plugin.context import Context
from forgemesh.plugin.declaration import DeclaredPlugin, operation, plugin
from forgemesh.plugin.definition import OperationDefinition, PluginDefinition, define
from forgemesh.plugin.dependency import Requires
from forgemesh.plugin.discovery import DiscoveredPlugin, discovered
from forgemesh.plugin.failure import OperationCancelled, OperationError, PluginDefinitionError
from forgemesh.plugin.limits import Limits
from forgemesh.plugin.loading import PluginImportError, load_definition
from forgemesh.plugin.manifest import manifest_of
from forgemesh.plugin.manifest_file import manifest_from_toml
from forgemesh.plugin.payload import Payload
from forgemesh.plugin.secret import Secret

__all__ = [
    "Code",
    "Configuration",
    "ConfigurationError",
    "Context",
    "DeclaredPlugin",
    "DiscoveredPlugin",
    "Limits",
    "OperationCancelled",
    "OperationDefinition",
    "OperationError",
    "Payload",
    "PluginDefinition",
    "PluginDefinitionError",
    "PluginImportError",
    "Requires",
    "Secret",
    "define",
    "discovered",
    "load_definition",
    "manifest_from_toml",
    "manifest_of",
    "operation",
    "plugin",
]
