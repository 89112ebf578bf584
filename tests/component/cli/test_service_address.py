"""A mesh whose services have names that mean nothing here, as one behind a forwarded port has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from forgemesh.cli import (
    circuits,
    plugin_call,
    plugin_control,
    plugin_hosts,
    plugin_logs,
    plugin_page,
    plugins,
    run,
    status,
    traces,
    version_rules,
)
from forgemesh.cli.command_line import CommandLine
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem
from forgemesh.cli.service_address import OVERRIDES, Unreachable, addresses_of, said_here, why_closed
from forgemesh.client import Client
from tests.component.cli.typed import Typed, typing
from tests.component.client.script import SUCCEEDED, Script

INSIDE = {
    "balancer": "balancer.invalid:7403",
    "orchestrator": "orchestrator.invalid:7401",
    "registry": "registry.invalid:7402",
    "traces": "traces.invalid:7405",
}
POD = "192.0.2.7:7410"
"""An address that nobody has."""


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in OVERRIDES.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
async def outside() -> AsyncIterator[Typed]:
    async with typing(Script(services=dict(INSIDE), status=SUCCEEDED)) as typed:
        yield typed


Command = Callable[[CommandLine], Awaitable[Any]]
ASKING: dict[str, tuple[Command, set[str]]] = {
    "plugin list": (lambda line: plugins.list_(line=line), {"registry", "balancer"}),
    "plugin describe": (lambda line: plugin_page.describe("shop.stock", line=line), {"registry", "balancer"}),
    "plugin call": (lambda line: plugin_call.call("shop.stock/count", line=line), {"registry", "balancer"}),
    "plugin providers": (lambda line: version_rules.providers("shop.stock", line=line), {"registry"}),
    "circuit list": (lambda line: circuits.list_(line=line), {"balancer"}),
    "trace show": (lambda line: traces.show("ab" * 16, line=line), {"traces"}),
}


@pytest.mark.parametrize("command", ASKING)
async def test_each_service_that_a_command_needs_is_named_at_once_with_what_to_type(
    command: str, outside: Typed
) -> None:
    ask, needed = ASKING[command]

    with pytest.raises(Problem) as raised:
        await ask(outside.line())

    said = raised.value
    assert said.exit_code is ExitCode.UNREACHABLE
    told = "\n".join((said.message, *said.details))
    assert {name for name, address in INSIDE.items() if f"{address} does not resolve from here" in told} == needed
    assert {name for name in OVERRIDES if f"kubectl port-forward svc/{name} 740" in said.hint} == needed
    assert {name for name, variable in OVERRIDES.items() if f"export {variable}=127.0.0.1:" in said.hint} == needed


async def test_status_shows_what_it_knows_and_says_what_is_out_of_reach(outside: Typed) -> None:
    code = await status.status(line=outside.line())

    rows = {row[0]: row[1:3] for row in outside.rows if len(row) > 2}
    assert code == ExitCode.FAILED
    assert rows["orchestrator"][0] == outside.address
    assert rows["registry"] == ["registry.invalid:7402", "unreachable"]
    assert "registry: registry.invalid:7402 does not resolve from here" in outside.out.getvalue()
    assert "plugin instances are not shown: the balancer knows them, and cannot be asked from here" in outside.talk
    assert "and say where it is: export FORGEMESH_BALANCER=127.0.0.1:7403" in outside.talk
    assert "this mesh has no supervisor: something else runs its plugins, such as Kubernetes" in outside.talk


async def test_programs_read_in_status_why_a_service_is_out_of_reach(outside: Typed) -> None:
    await status.status(line=outside.line(json=True))

    reasons = {row["service"]: row["reason"] for row in json.loads(outside.out.getvalue())["services"]}
    assert reasons["traces"] == "traces.invalid:7405 does not resolve from here"


async def test_a_run_does_not_wait_for_traces_that_are_out_of_reach(outside: Typed) -> None:
    await run.run("shop", line=outside.line())

    assert outside.value == {"rows": 3}


async def test_the_environment_says_where_services_are_and_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGEMESH_REGISTRY", "127.0.0.1:1")
    async with typing(Script(services=dict(INSIDE))) as typed, Client.connect(typed.address) as mesh:
        known = await addresses_of(mesh, "registry")

        assert (known["registry"], "traces" in known) == ("127.0.0.1:1", False)
        assert await addresses_of(mesh) == INSIDE | {"registry": "127.0.0.1:1"}


async def test_what_the_environment_names_is_found_without_an_orchestrator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGEMESH_REGISTRY", "127.0.0.1:1")
    async with Client.connect("nobody.invalid:7401") as mesh:
        assert await addresses_of(mesh, "registry") == {"registry": "127.0.0.1:1"}


@pytest.mark.parametrize(
    "written", ["registry", "7402", "http://registry:7402", "registry:port", "registry:70000", " "]
)
def test_what_is_no_address_is_refused_by_the_name_of_its_variable(written: str) -> None:
    with pytest.raises(Problem, match="FORGEMESH_REGISTRY") as raised:
        said_here({"FORGEMESH_REGISTRY": written})

    assert raised.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1"])
async def test_what_is_on_this_machine_is_left_to_the_call_itself(address: str) -> None:
    assert await why_closed(address) == ""


async def test_an_address_at_which_nobody_answers_is_named() -> None:
    assert (await why_closed(POD)).startswith(f"nobody answers at {POD} from here")


def test_every_service_that_may_be_out_of_reach_has_a_way_to_reach_it() -> None:
    for service, variable in OVERRIDES.items():
        assert variable in "\n".join(Unreachable(service, "").forward)


async def test_without_a_supervisor_there_are_no_plugin_processes_to_list(outside: Typed) -> None:
    await plugin_hosts.hosts(line=outside.line())

    assert "this mesh has no supervisor: something else runs its plugins, such as Kubernetes" in outside.talk


async def test_programs_get_an_empty_list_of_plugin_processes(outside: Typed) -> None:
    await plugin_hosts.hosts(line=outside.line(json=True))

    assert (outside.value, outside.talk) == ({"hosts": []}, [])


ORDERS: dict[str, Command] = {
    "hosts": lambda line: plugin_hosts.hosts("stock", line=line),
    "logs": lambda line: plugin_logs.logs(line=line),
    "load": lambda line: plugin_control.load(line=line),
    "unload": lambda line: plugin_control.unload("stock", line=line),
    "reload": lambda line: plugin_control.reload("stock", line=line),
    "scale": lambda line: plugin_control.scale("stock", 3, line=line),
    "reset": lambda line: plugin_control.reset("stock", line=line),
    "configure": lambda line: plugin_control.configure("stock", "a=1", line=line),
}


@pytest.mark.parametrize("order", ORDERS)
async def test_an_order_for_a_supervisor_that_is_not_there_is_refused_with_who_else_obeys(
    order: str, outside: Typed
) -> None:
    with pytest.raises(Problem) as raised:
        await ORDERS[order](outside.line())

    assert (raised.value.exit_code, raised.value.reason) == (ExitCode.REFUSED, "NO_SUPERVISOR")
    assert "kubectl get deployments,pods" in raised.value.hint


async def test_a_supervisor_that_is_out_of_reach_costs_plugin_list_a_warning_alone() -> None:
    async with typing(Script()) as typed:
        found = await plugins._hosts("supervisor.invalid:7404", typed.line())

        assert found == []
        assert typed.talk[0] == "warning: cannot ask the supervisor: supervisor.invalid:7404 does not resolve from here"
