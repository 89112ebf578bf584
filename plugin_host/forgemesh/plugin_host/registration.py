"""Keeps this instance registered, whatever becomes of the registry."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

import grpc

from forgemesh.api.plugin.v1 import load_pb2, manifest_pb2
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.backoff import longest_pause
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Fault, reason_of
from forgemesh.faults.registry import LeaseNotFound, ManifestConflict, PluginOwnedByOther, StaleIncarnation
from forgemesh.plugin_host.identity import Identity

_log = logging.getLogger(__name__)

CALL_DEADLINE = 5.0
FAREWELL_DEADLINE = 1.0
FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 2.0


class Registration:
    """
    Registers, renews every third of the lease and registers anew when the lease is lost.

    A registry that is away or refuses is asked again with back-off and jitter; the host serves meanwhile. `first` is
    set by the first registration, `hopeless` if the registry has another manifest of this plugin version, or an owner
    of this plugin whose `owner_key` is another one; `refusal` is what it last said. `renewals` counts how often a lease
    was extended; each says what `load` reports.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        manifest: manifest_pb2.Manifest,
        instance: instance_pb2.Instance,
        identity: Identity,
        *,
        owner_token: str,
        ttl: float,
        load: Callable[[], load_pb2.LoadReport] | None = None,
        owner_key: str = "",
    ) -> None:
        self._registry = RegistryServiceStub(channel)
        self._manifest = manifest
        self._instance = instance
        self._identity = identity
        self._owner_token = owner_token
        self._owner_key = owner_key
        self._ttl = ttl
        self._load = load
        self._registered = False
        self._leaving = False
        self.renewals = 0
        self.first = asyncio.Event()
        self.hopeless = asyncio.Event()
        self.refusal = ""

    async def run(self) -> None:
        """Until cancelled, or until the lease is lost while the instance drains."""
        failures = 0
        while self._registered or not self._leaving:
            try:
                if self._registered:
                    await self._renew()
                else:
                    await self._register()
                failures = 0
            except Fault as fault:
                failures += 1
                self._note(fault, failures)
            await asyncio.sleep(self._pause(failures))

    async def announce_drain(self) -> None:
        """Ask that no new calls be routed here, and register no more; what the registry says to it changes nothing."""
        self._leaving = True
        await self._leave(drain=True)

    async def end(self) -> None:
        """Deregister; if the registry is away, the lease runs out by itself."""
        await self._leave(drain=False)

    async def _register(self) -> None:
        try:
            await self._registry.PublishManifest(
                pb.PublishManifestRequest(manifest=self._manifest, owner_key=self._owner_key), timeout=CALL_DEADLINE
            )
            request = pb.RegisterInstanceRequest(
                instance=self._instance, owner_token=self._owner_token, owner_key=self._owner_key
            )
            request.ttl.FromMilliseconds(round(self._ttl * 1000))
            response = await self._registry.RegisterInstance(request, timeout=CALL_DEADLINE)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        self._identity.registered(response.instance.incarnation)
        self._registered = True
        self.first.set()
        _log.info("registered as incarnation %d", response.instance.incarnation)

    async def _renew(self) -> None:
        request = pb.RenewLeaseRequest(
            instance_id=self._identity.instance_id,
            incarnation=self._identity.incarnation,
            owner_token=self._owner_token,
            load=self._load() if self._load else None,
        )
        try:
            await self._registry.RenewLease(request, timeout=min(CALL_DEADLINE, self._ttl / 3))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        self.renewals += 1

    async def _leave(self, *, drain: bool) -> None:
        if not self._registered:
            return
        request = pb.DeregisterInstanceRequest(
            instance_id=self._identity.instance_id,
            incarnation=self._identity.incarnation,
            owner_token=self._owner_token,
            drain=drain,
        )
        try:
            await self._registry.DeregisterInstance(request, timeout=FAREWELL_DEADLINE)
        except grpc.aio.AioRpcError as error:
            _log.warning("the registry did not hear the farewell: %s", from_rpc_error(error).message)

    def _note(self, fault: Fault, failures: int) -> None:
        if isinstance(fault, (LeaseNotFound, ManifestConflict, StaleIncarnation)):
            self._registered = False
        self.refusal = fault.message
        if isinstance(fault, (ManifestConflict, PluginOwnedByOther)):
            self.hopeless.set()
        doing = "renew the lease" if self._registered else "register"
        level = logging.WARNING if failures == 1 else logging.DEBUG
        _log.log(level, "cannot %s (%s), trying again: %s", doing, reason_of(fault), fault.message)

    def _pause(self, failures: int) -> float:
        if not failures:
            return self._ttl / 3 * random.uniform(0.9, 1.1)
        if failures == 1 and not self._registered:
            return random.uniform(0, FIRST_BACKOFF)
        return random.uniform(0, longest_pause(failures, first=FIRST_BACKOFF, most=LONGEST_BACKOFF))
