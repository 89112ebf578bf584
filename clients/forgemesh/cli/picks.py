"""`forgemesh pick`: whom the balancer would have called, and why not the others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from forgemesh.api.balancer.v1.policy_pb2 import Policy
from forgemesh.cli.balancer import balancer_of
from forgemesh.cli.command_line import CommandLine, Given, switch
from forgemesh.cli.plugin_call import blocker
from forgemesh.cli.problem import usage
from forgemesh.cli.service_discovery import snapshots
from forgemesh.cli.session_trouble import is_in_trouble
from forgemesh.cli.table import Table, word
from forgemesh.cli.terminal import as_value
from forgemesh.faults import Code, Fault

if TYPE_CHECKING:
    from forgemesh.api.balancer.v1.balancer_service_pb2 import PickResponse
    from forgemesh.api.balancer.v1.snapshot_pb2 import Endpoint

MOST = 100_000


async def pick(
    target: str,
    /,
    *,
    times: Annotated[int, Parameter(name="-n")] = 1,
    explain: Annotated[bool, switch()] = False,
    operation: str = "",
    affinity: str = "",
    exclude: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = (),
    line: Given,
) -> None:
    """
    Ask the balancer for an instance, several times if you like, call nobody, and show who was picked.

    Circuits learn nothing from it. Exits with 3 if there is no instance, with 4 if none can be called now.

    Examples:

        forgemesh pick weather.stats -n 20 --explain

        forgemesh pick weather.stats@^1.2 --operation temperature --affinity seattle

    Parameters
    ----------
    target
        A plugin's id, with a range of versions behind @ if not every one will do.
    times
        How often.
    explain
        Also show how every instance was judged the last time.
    operation
        What would be called: its policy may differ.
    affinity
        Equal keys go to the same instance.
    exclude
        An instance that was tried already. May be repeated.
    """
    if not 1 <= times <= MOST:
        raise usage(f"-n {times} is no number of picks", hint=f"take one from 1 to {MOST}")
    plugin_id, _, version_range = target.partition("@")
    picks: Counter[str] = Counter()
    answer: PickResponse | None = None
    async with balancer_of(line) as balancer:
        try:
            for _ in range(times):
                answer = await balancer.pick(
                    plugin_id,
                    version_range=version_range,
                    operation=operation,
                    affinity=affinity,
                    exclude=exclude,
                    explain=explain,
                )
                picks[answer.endpoint.instance_id] += 1
                await balancer.settle(answer.pick_id, Code.CANCELLED)
        except Fault:
            if answer is None and explain and not line.terminal.json:
                await _show_nobody(line, balancer.address, plugin_id)
            raise
        finally:
            if answer is not None:
                _show(line, picks, answer)
        if explain and not line.terminal.json:
            broken = [one for one in await balancer.circuits(plugin_id) if is_in_trouble(one)]
            line.terminal.talk(*(f"workflows do not reach it: {one.last_failure.message}" for one in broken))


async def _show_nobody(line: CommandLine, balancer: str, plugin_id: str) -> None:
    """What stands against each instance when none of them can be called."""
    table = Table(("INSTANCE", "VERSION", "IN FLIGHT", "PASSED OVER BECAUSE"))
    for state in await snapshots(balancer, plugin_id):
        for one in state.endpoints:
            table.add(one.instance_id, one.plugin_version, one.in_flight, blocker(one) or _full(one))
    if table.rows:
        line.terminal.table(table)


def _full(endpoint: Endpoint) -> str:
    most = endpoint.max_in_flight
    return f"full: {endpoint.in_flight} of {most} calls" if 0 < most <= endpoint.in_flight else ""


def _show(line: CommandLine, picks: Counter[str], answer: PickResponse) -> None:
    if line.terminal.json:
        counted = [{"instance_id": one, "picks": count} for one, count in sorted(picks.items())]
        judged = [as_value(one) for one in answer.judgements]
        line.terminal.value({"policy": Policy.Name(answer.policy), "picks": counted, "judgements": judged})
        return
    total = picks.total()
    if not answer.judgements:
        table = Table(("INSTANCE", "PICKS", "SHARE"))
        for instance_id, count in sorted(picks.items()):
            table.add(instance_id, count, f"{count / total:.0%}")
    else:
        table = Table(("INSTANCE", "PICKS", "SHARE", "IN FLIGHT", "WEIGHT", "PASSED OVER BECAUSE"))
        for one in answer.judgements:
            count = picks[one.instance_id]
            table.add(one.instance_id, count, f"{count / total:.0%}", one.in_flight, f"{one.weight:g}", one.exclusion)
    line.terminal.table(table)
    line.terminal.talk(f"policy: {word(Policy.Name(answer.policy), 'POLICY_')}")
