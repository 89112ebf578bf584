"""What an operator types about circuits, picks and policies, against a real balancer."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forgemesh.api.balancer.v1.snapshot_pb2 import CIRCUIT_STATE_FORCED_OPEN
from forgemesh.balancer.domain.decisions import Forced
from forgemesh.balancer.domain.events import Author
from forgemesh.cli import circuit_history, circuits, picks, policies, status
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.policy_options import PolicyOptions
from forgemesh.cli.problem import Problem, problem_of
from forgemesh.client.control import caller
from forgemesh.faults import Fault
from forgemesh.faults.routing import CircuitOpen, NotRegistered
from forgemesh.routing.endpoint import CircuitState
from forgemesh.routing.policy import DEFAULT, OperationPolicy, Policy
from tests.component.balancer.meshes import (
    DEADLINE,
    PLUGIN,
    ServedBalancer,
    balancer_of,
    healthy_instance,
    register,
    registry_at,
    registry_stub,
    subscribed,
)
from tests.component.cli.typed import Typed, typing
from tests.component.client.script import Script


@dataclass(frozen=True)
class OperatedBalancer:
    """An operator's command line, and the balancer that it leads to; instances a and b serve."""

    typed: Typed
    balancer: ServedBalancer

    def state(self, instance_id: str) -> CircuitState:
        return next(one.circuit.state for one in self.balancer.balancer.circuits if one.instance_key[0] == instance_id)


@pytest.fixture
async def operated(tmp_path: Path) -> AsyncIterator[OperatedBalancer]:
    async with (
        registry_at(tmp_path / "registry.db") as registry,
        registry_stub(registry.address) as stub,
        healthy_instance() as (_, address),
    ):
        for instance_id in ("a", "b"):
            await register(stub, instance_id, address)
        async with (
            balancer_of(registry.address) as balancer,
            typing(Script(services={"balancer": balancer.server.address})) as typed,
        ):
            await balancer.warm()
            yield OperatedBalancer(typed, balancer)


async def problem(command: Any) -> Problem:
    with pytest.raises((Problem, Fault)) as ended:
        await command
    assert isinstance(ended.value, Problem | Fault)
    return problem_of(ended.value) if isinstance(ended.value, Fault) else ended.value


async def test_circuits_are_listed_with_where_each_stands(operated: OperatedBalancer) -> None:
    await circuits.list_(line=operated.typed.line())

    assert operated.typed.out.getvalue().splitlines() == [
        "PLUGIN         INSTANCE  STATE   FAILED  SINCE  NEXT TRIAL  IN FLIGHT  CAUSE",
        "weather.stats  a         closed  0/0     -      -           -          -",
        "weather.stats  b         closed  0/0     -      -           -          -",
    ]


async def test_a_list_without_rows_says_so(operated: OperatedBalancer) -> None:
    await circuits.list_(tripped=True, line=operated.typed.line())
    await circuits.list_("unheard.of", line=operated.typed.line())

    assert operated.typed.talk == [
        "every circuit is closed",
        "no instance of unheard.of is registered; see forgemesh status",
    ]
    assert operated.typed.out.getvalue() == ""


async def test_a_circuit_is_forced_by_its_instance_and_the_way_back_is_named(operated: OperatedBalancer) -> None:
    await circuits.open_("a", reason="disk full", actor="alice", line=operated.typed.line())

    assert (operated.state("a"), operated.state("b")) == (CircuitState.FORCED_OPEN, CircuitState.CLOSED)
    assert operated.typed.out.getvalue().splitlines()[1].endswith("forced open by alice: disk full")
    assert operated.typed.talk == ["let it be called again with: forgemesh circuit reset a"]


async def test_circuits_of_a_plugin_are_forced_and_reset_together(operated: OperatedBalancer) -> None:
    await circuits.observe(PLUGIN, line=operated.typed.line())
    observed = operated.state("a"), operated.state("b")
    await circuits.close("b", line=operated.typed.line())
    closed = operated.state("b")
    await circuits.reset(PLUGIN, line=operated.typed.line())

    assert observed == (CircuitState.METRICS_ONLY, CircuitState.METRICS_ONLY)
    assert closed is CircuitState.FORCED_CLOSED
    assert (operated.state("a"), operated.state("b")) == (CircuitState.CLOSED, CircuitState.CLOSED)


async def test_who_forces_a_circuit_is_the_one_who_types_unless_another_is_named(operated: OperatedBalancer) -> None:
    await circuits.open_("a", line=operated.typed.line(json=True))

    assert operated.typed.value["circuits"][0]["circuit"]["cause"] == f"forced open by {caller()}"


async def test_one_circuit_shows_everything_about_it(operated: OperatedBalancer) -> None:
    await circuits.open_("a", actor="alice", line=operated.typed.line(json=True))
    operated.typed.out.truncate(0)
    operated.typed.out.seek(0)
    await circuits.show("a", line=operated.typed.line())

    shown = {line[:14].strip(): line[14:] for line in operated.typed.out.getvalue().splitlines()}
    assert shown["instance"].startswith("a of weather.stats, registration ")
    assert shown["circuit"].startswith("forced open · since ")
    assert shown["circuit"].endswith(" · generation 1")
    assert shown["cause"] == "forced open by alice"
    assert shown["calls"] == "0 of late: 0 failed, 0 in a row; 0 slow"
    assert "last failure" not in shown


@pytest.mark.parametrize("command", [circuits.show, circuits.open_, circuits.reset, circuit_history.history])
async def test_an_instance_that_nobody_knows_is_refused_with_what_might_be_meant(
    operated: OperatedBalancer, command: Callable[..., Any]
) -> None:
    ended = await problem(command("weather.stat", line=operated.typed.line()))

    assert ended.exit_code is ExitCode.NOT_FOUND
    assert ended.reason == "INSTANCE_NOT_FOUND"
    assert ended.hint == "did you mean weather.stats?"


async def test_an_instance_that_is_not_there_can_be_named_with_its_plugin(operated: OperatedBalancer) -> None:
    ended = await problem(circuits.reset("weather.stats/gone", line=operated.typed.line()))

    assert ended.exit_code is ExitCode.NOT_FOUND
    assert "gone" in ended.message
    assert "forgemesh circuit list" in ended.hint


async def test_the_status_says_which_instances_are_not_called_and_why(operated: OperatedBalancer) -> None:
    await circuits.open_("a", actor="alice", line=operated.typed.line(json=True))
    async with subscribed(operated.balancer) as feed:
        await feed.until_circuit(CIRCUIT_STATE_FORCED_OPEN, "a")
    operated.typed.out.truncate(0)
    operated.typed.out.seek(0)
    await status.status(line=operated.typed.line())

    first, second = operated.typed.out.getvalue().splitlines()[-2:]
    assert first.endswith("its circuit is forced open by alice")
    assert second.split()[-1] == "-"


async def test_history_tells_what_happened_and_who_did_it(operated: OperatedBalancer) -> None:
    await circuits.open_("a", reason="disk full", actor="alice", line=operated.typed.line(json=True))
    await policies.set_(PLUGIN, options=PolicyOptions(permits=2), actor="bob", reason="try", line=operated.typed.line())
    operated.typed.out.truncate(0)
    operated.typed.out.seek(0)
    await circuit_history.history("a", line=operated.typed.line())

    lines = [line.split("  ", 1)[1].split() for line in operated.typed.out.getvalue().splitlines()[1:]]
    told = [" ".join(words) for words in lines]
    assert told[-2] == "weather.stats a circuit closed -> forced open forced open by alice: disk full"
    assert told[-1] == "weather.stats - policy version 1 by bob: try"
    assert told[0] == "weather.stats a health not checked yet -> serving -"
    assert not any(" b " in line for line in told)


async def test_history_is_followed_while_it_happens(operated: OperatedBalancer) -> None:
    following = asyncio.ensure_future(circuit_history.history(PLUGIN, follow=True, line=operated.typed.line(json=True)))
    try:
        async with asyncio.timeout(DEADLINE):
            while operated.typed.out.getvalue().count("\n") < 2:
                await asyncio.sleep(0.01)
            request = operated.balancer.balancer.circuits
            (first, *_) = request
            request.force(first, Forced(PLUGIN, first.instance_key[0], CircuitState.FORCED_OPEN, Author("alice")))
            while "FORCED_OPEN" not in operated.typed.out.getvalue():
                await asyncio.sleep(0.01)
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following

    last = json.loads(operated.typed.out.getvalue().splitlines()[-1])
    assert last["author"]["actor"] == "alice"
    assert last["circuit"]["after"]["state"] == "CIRCUIT_STATE_FORCED_OPEN"


async def test_picks_show_how_calls_would_be_spread_and_leave_nothing_behind(operated: OperatedBalancer) -> None:
    await picks.pick(PLUGIN, times=20, line=operated.typed.line())

    assert operated.typed.rows == [["INSTANCE", "PICKS", "SHARE"], ["a", "10", "50%"], ["b", "10", "50%"]]
    assert operated.typed.talk == ["policy: round robin"]
    assert all(
        operated.balancer.balancer.callers.in_flight(one.instance_key) == 0
        for one in operated.balancer.balancer.circuits
    )


async def test_explained_picks_say_why_an_instance_was_passed_over(operated: OperatedBalancer) -> None:
    await circuits.open_("a", line=operated.typed.line(json=True))
    operated.typed.out.truncate(0)
    operated.typed.out.seek(0)
    await picks.pick(f"{PLUGIN}@^1", times=3, explain=True, line=operated.typed.line())

    assert operated.typed.out.getvalue().splitlines() == [
        "INSTANCE  PICKS  SHARE  IN FLIGHT  WEIGHT  PASSED OVER BECAUSE",
        "a         0      0%     0          1       circuit forced open",
        "b         3      100%   0          1       -",
    ]


async def test_an_explained_pick_that_finds_nobody_says_what_stands_against_each(operated: OperatedBalancer) -> None:
    await circuits.open_(PLUGIN, actor="alice", line=operated.typed.line(json=True))
    async with subscribed(operated.balancer) as feed:
        for instance_id in ("a", "b"):
            await feed.until_circuit(CIRCUIT_STATE_FORCED_OPEN, instance_id)
    operated.typed.out.truncate(0)
    operated.typed.out.seek(0)
    await problem(picks.pick(PLUGIN, explain=True, line=operated.typed.line()))

    assert operated.typed.out.getvalue().splitlines() == [
        "INSTANCE  VERSION  IN FLIGHT  PASSED OVER BECAUSE",
        "a         1.0.0    0          its circuit is forced open by alice",
        "b         1.0.0    0          its circuit is forced open by alice",
    ]


async def test_picks_as_json(operated: OperatedBalancer) -> None:
    await picks.pick(PLUGIN, times=2, explain=True, line=operated.typed.line(json=True))

    assert operated.typed.value["policy"] == "POLICY_ROUND_ROBIN"
    assert operated.typed.value["picks"] == [{"instance_id": "a", "picks": 1}, {"instance_id": "b", "picks": 1}]
    assert [one["instance_id"] for one in operated.typed.value["judgements"]] == ["a", "b"]


async def test_a_pick_that_finds_nobody_says_why(operated: OperatedBalancer) -> None:
    nobody = await problem(picks.pick("unheard.of", line=operated.typed.line()))
    await circuits.open_(PLUGIN, line=operated.typed.line())
    behind = await problem(picks.pick(PLUGIN, line=operated.typed.line()))

    assert (nobody.reason, nobody.exit_code) == (NotRegistered.reason, ExitCode.NOT_FOUND)
    assert (behind.reason, behind.exit_code) == (CircuitOpen.reason, ExitCode.REFUSED)


@pytest.mark.parametrize("times", [0, 1_000_000])
async def test_a_number_of_picks_that_makes_no_sense_is_refused(operated: OperatedBalancer, times: int) -> None:
    assert (await problem(picks.pick(PLUGIN, times=times, line=operated.typed.line()))).exit_code is ExitCode.USAGE


async def test_a_policy_is_changed_in_what_was_said_and_stays_in_the_rest(operated: OperatedBalancer) -> None:
    first = PolicyOptions(
        pick="least-connections", open="10s", permits=2, slow_start="1m", eject="on", load_memory="1s"
    )
    await policies.set_(PLUGIN, options=first, line=operated.typed.line())
    await policies.set_(PLUGIN, options=PolicyOptions(failure_rate=0.25, eject="off"), line=operated.typed.line())

    policy = operated.balancer.balancer.fleet.policy(PLUGIN)
    assert policy.pick is Policy.LEAST_CONNECTIONS
    assert (policy.circuit.open, policy.circuit.permits, policy.circuit.failure_rate) == (10.0, 2, 0.25)
    assert (policy.slow_start.window, policy.load_memory, policy.outliers) == (60.0, 1.0, None)
    assert operated.typed.talk[-1] == (
        "the policy of weather.stats is at version 2; see it with: forgemesh policy show weather.stats"
    )


async def test_a_policy_of_a_plugin_that_nobody_serves_is_set_and_that_is_said(operated: OperatedBalancer) -> None:
    await policies.set_("weather.stast", options=PolicyOptions(permits=2), line=operated.typed.line())

    assert operated.balancer.balancer.fleet.policy("weather.stast").circuit.permits == 2
    assert operated.typed.talk[0] == "no instance of weather.stast is registered; this counts once one is"


async def test_what_differs_for_an_operation_is_set_and_taken_back(operated: OperatedBalancer) -> None:
    options = PolicyOptions(pick="consistent-hash", slow="5s", hedge_after="0s")
    await policies.set_(PLUGIN, options=options, operation="render", line=operated.typed.line())
    own = operated.balancer.balancer.fleet.policy(PLUGIN).operations
    await policies.set_(PLUGIN, operation="render", reset=True, line=operated.typed.line())

    assert own == {"render": OperationPolicy(pick=Policy.CONSISTENT_HASH, slow_call=5.0, hedge_after=0.0)}
    assert operated.balancer.balancer.fleet.policy(PLUGIN) == DEFAULT


async def test_a_reset_brings_the_default_back(operated: OperatedBalancer) -> None:
    await policies.set_(PLUGIN, options=PolicyOptions(permits=2, eject="on"), line=operated.typed.line())
    await policies.set_(PLUGIN, reset=True, line=operated.typed.line())
    await policies.set_(PLUGIN, reset=True, line=operated.typed.line())

    assert operated.balancer.balancer.fleet.policy(PLUGIN) == DEFAULT
    assert "was so already" in operated.typed.talk[-1]


async def test_a_policy_is_shown_number_by_number(operated: OperatedBalancer) -> None:
    await policies.set_(
        PLUGIN,
        options=PolicyOptions(open="90s", max_open="2m"),
        actor="alice",
        reason="slow disk",
        line=operated.typed.line(),
    )
    await policies.show(PLUGIN, line=operated.typed.line())
    shown = {row[0]: " ".join(row[1:]) for row in operated.typed.rows}

    assert shown["pick"] == "round robin"
    assert (shown["circuit.open"], shown["circuit.max_open"], shown["circuit.failure_rate"]) == ("90s", "120s", "0.5")
    assert operated.typed.talk[-1].startswith("version 1, by alice: slow disk; change it with: ")


async def test_policies_that_differ_are_listed(operated: OperatedBalancer) -> None:
    await policies.show(line=operated.typed.line())
    await policies.set_(PLUGIN, options=PolicyOptions(permits=2), actor="alice", line=operated.typed.line())
    await policies.show(line=operated.typed.line())

    assert operated.typed.talk[0].startswith("every plugin has the default policy")
    assert operated.typed.rows[1] == ["weather.stats", "1", "round", "robin", "alice", "-"]


@pytest.mark.parametrize(
    ("options", "operation", "said"),
    [
        (PolicyOptions(), "", "nothing to change"),
        (PolicyOptions(open="soon"), "", "--open 'soon' is not a duration"),
        (PolicyOptions(hedge_after="1s"), "", "--hedge-after is for one operation"),
        (PolicyOptions(open="10s", permits=2), "render", "--open, --permits cannot differ by operation"),
        (PolicyOptions(permits=-1), "", "--permits -1 is out of range"),
    ],
)
async def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
    operated: OperatedBalancer, options: PolicyOptions, operation: str, said: str
) -> None:
    ended = await problem(policies.set_(PLUGIN, options=options, operation=operation, line=operated.typed.line()))

    assert ended.exit_code is ExitCode.USAGE
    assert ended.message == said


async def test_numbers_that_make_no_sense_are_refused_by_the_balancer_all_at_once(operated: OperatedBalancer) -> None:
    options = PolicyOptions(failure_rate=float("nan"), permits=0, open="90s")
    ended = await problem(policies.set_(PLUGIN, options=options, line=operated.typed.line()))

    assert ended.exit_code is ExitCode.USAGE
    assert [line.partition(":")[0] for line in ended.details] == [
        "--failure-rate",
        "--permits",
        "--max-open",
    ]


async def test_a_mesh_without_a_balancer_says_so() -> None:
    async with typing(Script(services={})) as typed:
        ended = await problem(circuits.list_(line=typed.line()))

    assert ended.exit_code is ExitCode.UNREACHABLE
    assert "no balancer" in ended.message
