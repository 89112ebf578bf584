"""What every stock client has to see, in whatever language; each runs against a mesh and starts clients of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import grpc

from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.endpoint import CircuitState
from forgemesh.routing.policy import PluginPolicy
from tests.component.balancer.picking import circuit
from tests.mesh.processes import Service, start_service
from tests.mesh.test_registry_process import BALANCER, balancer_environment
from tests.stock_mesh import StockClient, StockMesh

LONG = PluginPolicy(circuit=CircuitRule(open=600.0, max_open=600.0))


def both(answers: dict[str, int]) -> bool:
    """The two instances answer, and nobody else."""
    return set(answers) == {"a", "b"}


async def meets_all(mesh: StockMesh, client: StockClient) -> None:
    """Calls are spread evenly."""
    await client.until(both)
    answers = await client.ask(100)

    assert sum(answers.values()) == 100
    assert min(answers.values()) >= 45, answers


def only_the_first(answers: dict[str, int]) -> bool:
    """Nobody else answers."""
    return set(answers) == {"a"}


async def leaves_who_does_not_serve(mesh: StockMesh, client: StockClient) -> None:
    """No call once the change has been acknowledged and taken on, which are two steps in grpc-java."""
    await client.until(both)
    async with mesh.acknowledged(client):
        await mesh.instances["b"].health.not_ready()
    await client.until(only_the_first)
    calls = mesh.instances["b"].calls

    assert await client.ask(100) == {"a": 100}
    assert mesh.instances["b"].calls == calls


async def opens_the_circuit_of_who_fails(mesh: StockMesh, client: StockClient) -> None:
    """What the client counts opens it, and then there is no call more."""
    await client.until(both)
    mesh.instances["b"].fails = grpc.StatusCode.INTERNAL
    async with mesh.acknowledged(client):
        await client.until(lambda answers: circuit(mesh.balancer, "b").state is CircuitState.OPEN)
    await client.until(only_the_first)
    calls = mesh.instances["b"].calls

    assert await client.ask(100) == {"a": 100}
    assert mesh.instances["b"].calls == calls


async def comes_back_after_nobody_was_there(mesh: StockMesh, client: StockClient) -> None:
    """Without instances it fails at once, and recovers by itself."""
    await client.until(both)
    async with mesh.acknowledged(client):
        await mesh.end("a")
    async with mesh.acknowledged(client):
        await mesh.end("b")
    await client.until(lambda answers: set(answers) == {"UNAVAILABLE"})
    without = await client.ask(3)
    await mesh.start("c")
    await client.until(lambda answers: set(answers) == {"c"})

    assert without == {"UNAVAILABLE": 3}, without


async def leads_an_execution_to_one_instance(mesh: StockMesh, client: StockClient) -> None:
    """By the header; the plugin's policy is a consistent hash."""
    await client.until(both, headers={"x-execution-id": "%i"})

    same = await client.ask(60, headers={"x-execution-id": "one"})
    different = await client.ask(200, headers={"x-execution-id": "%i"})

    assert list(same.values()) == [60]
    assert both(different)


async def heeds_weights(mesh: StockMesh, client: StockClient) -> None:
    """The first instance has three times the weight of the second."""
    await client.until(both)
    answers = await client.ask(800)

    assert sum(answers.values()) == 800
    assert 520 < answers["a"] < 680, answers


@contextlib.asynccontextmanager
async def balancer_process(mesh: StockMesh, listen: str = "127.0.0.1:0") -> AsyncIterator[Service]:
    """Another balancer of the same mesh, in a process that can be killed."""
    environment = balancer_environment(mesh.registry_address)
    environment |= {"FORGEMESH_BALANCER_LISTEN": listen, "FORGEMESH_BALANCER_ADOPTION": "0"}
    async with start_service(BALANCER, environment, mesh.folder) as service:
        yield service


async def outlives_the_balancer(
    mesh: StockMesh, client_of: Callable[[str], contextlib.AbstractAsyncContextManager[StockClient]]
) -> None:
    """Killed: every call is served by the last known set. Started anew: the new set is taken."""
    async with balancer_process(mesh) as service:
        address = service.address
        async with client_of(address) as client:
            await client.until(both)
            under_way = asyncio.create_task(client.ask(2000, concurrent=4))
            await service.kill()
            during = await under_way
            dead = await client.ask(200)
            await mesh.start("c")
            await mesh.end("a")
            async with balancer_process(mesh, listen=address):
                after = await client.until(lambda answers: set(answers) == {"b", "c"})

    assert sum(during.values()) == 2000
    assert both(during), during
    assert sum(dead.values()) == 200
    assert both(dead), dead
    assert set(after) == {"b", "c"}
