"""Loads that wait for a plugin which does not come, however many they are."""

import asyncio

import pytest

from forgemesh.faults.supervisor import LoadsFull, PluginNotConfigured
from forgemesh.plugin_host.supervisor.fleet.fleet import Fleet
from forgemesh.plugin_host.supervisor.fleet.loader import MOST_LOADS, Loader
from forgemesh.plugin_host.supervisor.hosts.context import SupervisorContext
from forgemesh.plugin_host.supervisor.plan.plan import PluginPlan
from forgemesh.plugin_host.supervisor.registry.registry_link import NoRegistry


async def test_so_many_loads_wait_at_a_time_and_the_next_one_is_refused_before_it_does_anything(
    context: SupervisorContext,
) -> None:
    """The plugin is in the midst of a change that does not end."""
    async with asyncio.TaskGroup() as tasks:
        fleet = Fleet([PluginPlan(name="stuck", load="m:P", instances=0)], context, NoRegistry(), tasks, list)
        loader = Loader(fleet)
        async with fleet.groups["stuck"].changing:
            waiting = [tasks.create_task(loader.load(["stuck"])) for _ in range(MOST_LOADS)]
            await asyncio.sleep(0)
            with pytest.raises(LoadsFull) as refused:
                await loader.load(["stuck"])
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
        with pytest.raises(PluginNotConfigured):  # there is room again
            await loader.load(["unheard"])

    assert "forgemesh plugin unload" in refused.value.message
