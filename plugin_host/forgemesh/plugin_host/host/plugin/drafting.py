"""Gives a plugin that is still being written a version of its own whenever it offers something else."""

from __future__ import annotations

import dataclasses
import logging

import grpc

from forgemesh.api.plugin.v1.manifest_pb2 import Manifest
from forgemesh.api.registry.v1 import registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.channel import connect
from forgemesh.plugin import PluginDefinition, manifest_of
from forgemesh.plugin_host.host.plugin.draft import draft_version
from forgemesh.plugin_host.settings import HostSettings

_log = logging.getLogger(__name__)

_DEADLINE = 5.0
_PAGE = 500


async def drafted(definition: PluginDefinition, settings: HostSettings) -> PluginDefinition:
    """
    The plugin under a version that can be published, if the settings allow drafts; else as it is.

    A registry that does not answer is asked again at the registration, which then says what is wrong.
    """
    if not settings.drafts or not settings.registry:
        return definition
    try:
        published = await _published(settings.registry, definition.plugin_id)
    except grpc.aio.AioRpcError as error:
        _log.warning("cannot ask the registry which versions there are: %s", error.details())
        return definition
    version = draft_version(definition.version, _content(manifest_of(definition)), published)
    if version != definition.version:
        _log.info(
            "%s %s is published with another content, serving as %s", definition.plugin_id, definition.version, version
        )
    return dataclasses.replace(definition, version=version)


async def _published(registry: str, plugin_id: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    request = pb.ListPluginsRequest(plugin_id=plugin_id, page_size=_PAGE)
    async with connect(registry) as channel:
        stub = RegistryServiceStub(channel)
        while True:
            page = await stub.ListPlugins(request, timeout=_DEADLINE)
            found |= {one.version: _content(one) for one in page.manifests}
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


def _content(manifest: Manifest) -> bytes:
    copied = Manifest()
    copied.CopyFrom(manifest)
    copied.version = ""
    return copied.SerializeToString(deterministic=True)
