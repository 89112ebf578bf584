"""The balancer of a mesh, as an operator asks it."""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from forgemesh.cli.command_line import CommandLine
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem
from forgemesh.cli.service_address import service_address
from forgemesh.client import Balancer, Client

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.balancer_service_pb2 import InstanceCircuit


class Target(NamedTuple):
    """An instance of a plugin, or if that is empty all of them; both empty: everything."""

    plugin_id: str = ""
    instance_id: str = ""


@asynccontextmanager
async def balancer_of(line: CommandLine) -> AsyncIterator[Balancer]:
    """The balancer of the mesh that the command line leads to."""
    async with Client.connect(line.address) as mesh:
        address = await service_address(mesh, "balancer")
    async with Balancer.connect(address) as balancer:
        yield balancer


async def target_of(balancer: Balancer, asked: str) -> Target:
    """
    What is meant by an instance's id, by a plugin's, or by PLUGIN/INSTANCE; raises Problem for anything else.

    The last form is taken as it is: what is decided about an instance may outlive it.
    """
    plugin_id, slash, instance_id = asked.partition("/")
    if slash and plugin_id and instance_id:
        return Target(plugin_id, instance_id)
    circuits = await balancer.circuits()
    for one in circuits:
        if one.instance_id == asked:
            return Target(one.plugin_id, asked)
    if any(one.plugin_id == asked for one in circuits):
        return Target(asked)
    raise _unknown(asked, circuits)


def _unknown(asked: str, circuits: Sequence[InstanceCircuit]) -> Problem:
    names = {one.instance_id for one in circuits} | {one.plugin_id for one in circuits}
    close = difflib.get_close_matches(asked, names, n=1)
    return Problem(
        ExitCode.NOT_FOUND,
        f"{asked!r} is no instance that the balancer knows, and no plugin that has one",
        reason="INSTANCE_NOT_FOUND",
        code="NOT_FOUND",
        hint=f"did you mean {close[0]}?" if close else "see forgemesh circuit list",
    )
