"""Asks who answers at the addresses of a member, and compares that with who it is."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from forgemesh.api.plugin.v1 import plugin_service_pb2 as pb
from forgemesh.api.plugin.v1.plugin_service_pb2_grpc import PluginServiceStub
from forgemesh.balancer.domain.claims import Claims
from forgemesh.balancer.domain.fleet import Member
from forgemesh.chassis.channel import connect
from forgemesh.chassis.health_facts import INSTANCE, PLUGIN, told_in

PAUSES = (0.02, 0.05, 0.1, 0.2)
"""
Seconds after which somebody is asked again who seems to be of an older incarnation: the registry may have told of the
new one here before it has told there.
"""
TRIES = 3
"""How often somebody is asked who does not answer."""
NAMELESS = "somebody who does not say who they are answers at its address, where it did say so"


class ProofOfIdentity:
    """
    Of one member: where it is called, `Describe` says who answers, and where its health is asked for, each answer does.

    A server that says nothing has nothing held against it, unless answers have named the member before: then whoever
    gives none is another one. `deadline` (seconds) is for one answer.
    """

    def __init__(self, member: Member, deadline: float) -> None:
        self._member = member
        self._deadline = deadline
        self._tries = TRIES
        self._has_named_itself = False

    @property
    def is_known(self) -> bool:
        """Whether it is clear, since `doubt`, that calls reach the member, as far as that can be made out."""
        return self._tries == 0

    def doubt(self) -> None:
        """Another process may be there now."""
        self._tries = TRIES

    async def against(self) -> str:
        """What speaks against that calls reach the member; empty if nothing does."""
        if self.is_known:
            return ""
        claims = await self._describe()
        for pause in PAUSES:
            if claims is None or not claims.is_behind(self._member):
                break
            await asyncio.sleep(pause)
            claims = await self._describe()
        if claims is None:
            self._tries -= 1
            return ""
        against = claims.contradict(self._member)
        if not against:
            self._tries = 0
        return against

    async def against_answer(self, call: Any) -> str:
        """The same, of an answer of its health service."""
        told = told_in(await call.initial_metadata())
        claims = Claims(told.get(INSTANCE, ""), told.get(PLUGIN, ""))
        if not claims.instance_id and self._has_named_itself:
            return NAMELESS
        against = claims.contradict(self._member)
        self._has_named_itself |= bool(claims.instance_id) and not against
        return against

    async def _describe(self) -> Claims | None:
        """What somebody says who does; nothing if nobody answers."""
        async with connect(self._member.address, keepalive=False) as channel:
            try:
                describe = PluginServiceStub(channel).Describe
                said: object = await describe(pb.DescribeRequest(), timeout=self._deadline)
            except grpc.aio.AioRpcError as error:
                silent = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                return None if silent else Claims()
        if not isinstance(said, pb.DescribeResponse):
            return Claims()
        return Claims(said.instance_id, said.manifest.plugin_id, said.incarnation)
