"""A supervisor's looks at its plugins, one of which cannot be looked at."""

import asyncio

import pytest

from forgemesh.plugin_host.supervisor.fleet.fleet import Fleet
from forgemesh.plugin_host.supervisor.fleet.scaler import Scaler
from forgemesh.plugin_host.supervisor.hosts.context import SupervisorContext
from forgemesh.plugin_host.supervisor.plan.plan import PluginPlan
from forgemesh.plugin_host.supervisor.registry.registry_link import NoRegistry
from forgemesh.routing.scaling import Scale, ScaleRule


def plan(name: str) -> PluginPlan:
    return PluginPlan(name=name, load="m:P", instances=0, scale=ScaleRule(least=0, most=3))


async def test_a_plugin_that_cannot_be_scaled_keeps_no_other_from_it(
    context: SupervisorContext, caplog: pytest.LogCaptureFixture
) -> None:
    """What is remembered of its number has no time."""
    async with asyncio.TaskGroup() as tasks:
        fleet = Fleet([plan("broken"), plan("sound")], context, NoRegistry(), tasks, list)
        for group in fleet.groups.values():
            group.on = True
        fleet.groups["broken"].scale = Scale((("never", 1),))  # type: ignore[arg-type]
        scaler = Scaler(fleet, silence=0)
        scaler.look()
        scaler.look()

    assert fleet.groups["sound"].scale.wishes
    assert caplog.text.count("the number of instances of broken is passed over") == 1


async def test_what_somebody_says_counts_until_the_load_has_been_looked_at_for_long_since(
    context: SupervisorContext,
) -> None:
    async with asyncio.TaskGroup() as tasks:
        fleet = Fleet([plan("sound")], context, NoRegistry(), tasks, list)
        group = fleet.groups["sound"]
        group.scale = Scale(((0.0, 0),), since=0.0)
        await Scaler(fleet, silence=0).scale("sound", 0)

    assert group.scale == Scale()


async def test_a_plugin_that_takes_long_to_start_is_not_idle_before_it_serves(context: SupervisorContext) -> None:
    async with asyncio.TaskGroup() as tasks:
        lazy = PluginPlan(name="lazy", load="m:P", instances=0, lazy=True, idle_stop=1.0)
        fleet = Fleet([lazy], context, NoRegistry(), tasks, list)
        group = fleet.groups["lazy"]
        group.on = True
        before = asyncio.get_running_loop().time()
        Scaler(fleet, silence=0).look()

    assert group.busy_at >= before
