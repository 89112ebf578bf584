"""Keeps this instance registered, whatever becomes of the registry."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

import grpc

from forgemesh.api.plugin.v1 import load_pb2, manifest_pb2
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.api.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from forgemesh.chassis.backoff import drawn_pause
from forgemesh.chassis.status import from_rpc_error
from forgemesh.faults import Code, Fault, code_of, reason_of
from forgemesh.faults.registry import InstanceOwnedByOther, LeaseNotFound, ManifestConflict, StaleIncarnation
from forgemesh.plugin_host.registration.identity import Identity
from forgemesh.plugin_host.registration.reminder import Reminder
from forgemesh.plugin_host.registration.tenancy import Tenancy

_log = logging.getLogger(__name__)

CALL_DEADLINE = 5.0
FAREWELL_DEADLINE = 1.0
FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 2.0
REMINDER = 30.0
"""Seconds after which it is said again what keeps this instance from being registered."""
_FOR_GOOD = frozenset((Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED, Code.UNAUTHENTICATED))
"""Refusals that the same request meets again, however often it is repeated."""


class Registration:
    """
    Registers, renews every third of the lease and registers anew when the lease is lost.

    A registry that is away or refuses is asked again with back-off and jitter, and what it says goes to the log when it
    changes and every REMINDER. `first` is set by the first registration, which `on_first` is told of; `hopeless` by a
    refusal that repeating does not mend: another manifest under this version, another owner of the plugin, a live
    process of the same instance id, a request that is not valid. `refusal` is what the registry last said. `renewals`
    counts how often a lease was extended; each says what `load` reports.
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
        on_first: Callable[[], None] | None = None,
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
        self._on_first = on_first
        self._reminder = Reminder(REMINDER)
        self._tenancy = Tenancy()
        self.renewals = 0
        self.first = asyncio.Event()
        self.hopeless = asyncio.Event()
        self.refusal = ""

    @property
    def instance_id(self) -> str:
        """Whom it registers."""
        return self._identity.instance_id

    async def run(self) -> None:
        """Until cancelled, or until the lease is lost while the instance drains."""
        failures = 0
        while self._registered or not self._leaving:
            try:
                if self._registered:
                    await self._renew()
                else:
                    await self._register()
                    if self._leaving:  # it was on its way when the host began to drain
                        await self._leave(drain=True)
                failures = 0
                self._reminder.over()
            except Fault as fault:
                failures += 1
                self._note(fault)
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
                pb.PublishManifestRequest(
                    manifest=self._manifest, owner_key=self._owner_key, instance_id=self.instance_id
                ),
                timeout=CALL_DEADLINE,
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
        if self._on_first is not None and not self.first.is_set():
            self._on_first()
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

    def _note(self, fault: Fault) -> None:
        if isinstance(fault, (InstanceOwnedByOther, LeaseNotFound, StaleIncarnation)):
            self._registered = False
        self.refusal = fault.message
        if not self._registered and self._is_for_good(fault):
            self.hopeless.set()
        doing = "renew the lease" if self._registered else "register"
        due = self._reminder.due(reason_of(fault), time.monotonic())
        level = logging.WARNING if due else logging.DEBUG
        _log.log(level, "cannot %s (%s), trying again: %s", doing, reason_of(fault), fault.message)

    def _is_for_good(self, fault: Fault) -> bool:
        if isinstance(fault, InstanceOwnedByOther):
            return self._tenancy.is_alive(fault.metadata)
        return isinstance(fault, ManifestConflict) or code_of(fault) in _FOR_GOOD

    def _pause(self, failures: int) -> float:
        if not failures:
            return self._ttl / 3 * random.uniform(0.9, 1.1)
        if failures == 1 and not self._registered:
            return random.uniform(0, FIRST_BACKOFF)
        return drawn_pause(failures, first=FIRST_BACKOFF, most=LONGEST_BACKOFF)
