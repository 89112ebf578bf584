"""RegistryService over gRPC: check and translate, call, translate back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from forgemesh.api.registry.v1 import registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceServicer
from forgemesh.chassis.callers import host_of
from forgemesh.chassis.pages import fitting, size_of, token_after
from forgemesh.registry.application.availability import Verdict
from forgemesh.registry.application.event_publisher import EventPublisher
from forgemesh.registry.application.refusals import Refusals
from forgemesh.registry.application.registry import Registry
from forgemesh.registry.codec import events, instances, manifests, providers, refusals, requests, resolutions

_log = logging.getLogger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["RegistryService"].full_name
APART = (f"/{SERVICE}/RenewLease",)
"""However many register or ask, nobody loses a lease by it."""


class RegistryServicer(RegistryServiceServicer):
    """`default_ttl` (seconds) is the lease of an instance that asks for none."""

    def __init__(self, registry: Registry, events: EventPublisher, refused: Refusals, *, default_ttl: float) -> None:
        self._registry = registry
        self._events = events
        self._refused = refused
        self._default_ttl = default_ttl

    async def PublishManifest(self, request: pb.PublishManifestRequest, context: Any) -> pb.PublishManifestResponse:
        with self._refused.noting(refusals.publisher(request, host_of(context.peer()))):
            manifest = requests.manifest(request.manifest)
            if not self._registry.has(manifest):
                await asyncio.to_thread(requests.check_schemas, request.manifest)  # a thousand patterns take a while
            created = await self._registry.publish(manifest, requests.owner_key(request.owner_key))
        if created:
            _log.info("plugin %s %s is published", manifest.plugin_id, manifest.version)
        return pb.PublishManifestResponse(created=created)

    async def ListPlugins(self, request: pb.ListPluginsRequest, context: Any) -> pb.ListPluginsResponse:
        after = requests.page_of_plugins(request.page_token)
        page, more = self._registry.plugins(request.plugin_id, after, size_of(request.page_size))
        messages = fitting(manifests.to_message(manifest) for manifest in page)
        shown = page[: len(messages)]
        return pb.ListPluginsResponse(
            rules=resolutions.rules_to_messages(self._registry.rules, [manifest.plugin_id for manifest in shown]),
            manifests=messages,
            next_page_token=token_after(*shown[-1].key) if more or len(shown) < len(page) else "",
        )

    async def RegisterInstance(self, request: pb.RegisterInstanceRequest, context: Any) -> pb.RegisterInstanceResponse:
        peer = host_of(context.peer())
        with self._refused.noting(refusals.registrant(request, peer)):
            instance, owner, ttl = requests.registration(request, default_ttl=self._default_ttl)
            key = requests.owner_key(request.owner_key)
            registration, revision = await self._registry.register(instance, owner, ttl, peer, key)
        self._refused.forget(instance.instance_id)
        _log.info("instance %s of %s is registered at %s", instance.instance_id, instance.plugin_id, instance.address)
        response = pb.RegisterInstanceResponse(
            instance=instances.to_message(registration), revision=instances.to_revision(revision)
        )
        response.ttl.FromMicroseconds(round(registration.ttl * 1e6))
        return response

    async def RenewLease(self, request: pb.RenewLeaseRequest, context: Any) -> pb.RenewLeaseResponse:
        response = pb.RenewLeaseResponse()
        response.ttl.FromMicroseconds(round(self._renewed(request, host_of(context.peer())) * 1e6))
        return response

    async def DeregisterInstance(
        self, request: pb.DeregisterInstanceRequest, context: Any
    ) -> pb.DeregisterInstanceResponse:
        changed = await self._registry.deregister(requests.claim(request), drain=request.drain)
        if changed:
            _log.info("instance %s %s", request.instance_id, "drains" if request.drain else "said goodbye")
        return pb.DeregisterInstanceResponse(changed=changed)

    async def ListInstances(self, request: pb.ListInstancesRequest, context: Any) -> pb.ListInstancesResponse:
        after = requests.page_of_instances(request.page_token)
        page, more, revision = self._registry.instances(request.plugin_id, after, size_of(request.page_size))
        messages = fitting(instances.to_message(registration) for registration in page)
        more = more or len(messages) < len(page)
        return pb.ListInstancesResponse(
            instances=messages,
            revision=instances.to_revision(revision),
            next_page_token=token_after(messages[-1].instance_id) if more else "",
            refusals=() if request.page_token else refusals.to_messages(self._refused.lately(request.plugin_id)),
        )

    async def WatchInstances(
        self, request: pb.WatchInstancesRequest, context: Any
    ) -> AsyncIterator[pb.WatchInstancesResponse]:
        resume = instances.from_revision(request.resume_after) if request.HasField("resume_after") else None
        async with contextlib.aclosing(self._registry.watch(resume)) as steps:
            async for step in steps:
                yield instances.step_to_message(step, self._registry.epoch)

    async def ResolvePlugins(self, request: pb.ResolvePluginsRequest, context: Any) -> pb.ResolvePluginsResponse:
        return resolutions.to_response(await self._registry.resolve(requests.requirements(request)))

    async def AcquireBalancerEpoch(
        self, request: pb.AcquireBalancerEpochRequest, context: Any
    ) -> pb.AcquireBalancerEpochResponse:
        epoch = await self._registry.next_balancer_epoch()
        _log.info("balancer %s takes epoch %d", request.balancer_id, epoch)
        return pb.AcquireBalancerEpochResponse(epoch=epoch)

    async def FindProviders(self, request: pb.FindProvidersRequest, context: Any) -> pb.FindProvidersResponse:
        requests.search(request)
        found, revision = self._registry.providers(providers.to_search(request))
        return pb.FindProvidersResponse(
            providers=[providers.to_provider(one) for one in found], revision=instances.to_revision(revision)
        )

    async def SetQuarantine(self, request: pb.SetQuarantineRequest, context: Any) -> pb.SetQuarantineResponse:
        changed = await self._registry.set_quarantine(*requests.quarantine(request))
        if changed:
            how = f"is in quarantine: {request.reason}" if request.quarantined else "may be used again"
            _log.info("plugin %s %s %s", request.plugin_id, request.version, how)
        return pb.SetQuarantineResponse(changed=changed)

    async def PinVersion(self, request: pb.PinVersionRequest, context: Any) -> pb.PinVersionResponse:
        changed = await self._registry.pin(*requests.pin(request))
        if changed:
            _log.info("plugin %s is held to %s", request.plugin_id, request.version_range or "no range any more")
        return pb.PinVersionResponse(changed=changed)

    async def ReportAvailability(
        self, request: pb.ReportAvailabilityRequest, context: Any
    ) -> pb.ReportAvailabilityResponse:
        changes = [Verdict(one.instance_id, one.incarnation, one.available, one.reason) for one in request.changes]
        self._registry.report_availability(request.balancer_epoch, changes)
        return pb.ReportAvailabilityResponse()

    async def RequestPlugin(self, request: pb.RequestPluginRequest, context: Any) -> pb.RequestPluginResponse:
        plugin_id, interface_name = requests.wish(request)
        self._events.wanted(plugin_id, interface_name)
        return pb.RequestPluginResponse()

    async def ReportEvents(self, request: pb.ReportEventsRequest, context: Any) -> pb.ReportEventsResponse:
        self._events.report(request.reporter_id, request.first, events.reported(request))
        return pb.ReportEventsResponse()

    async def WatchEvents(self, request: pb.WatchEventsRequest, context: Any) -> AsyncIterator[pb.WatchEventsResponse]:
        resume = instances.from_revision(request.resume_after) if request.HasField("resume_after") else None
        async with contextlib.aclosing(self._events.watch(resume, request.plugin_id)) as steps:
            async for told in steps:
                yield events.told_to_message(told)

    def _renewed(self, request: pb.RenewLeaseRequest, peer: str) -> float:
        load = providers.to_load(request.load) if request.HasField("load") else None
        return self._registry.renew(requests.claim(request), load, peer)
