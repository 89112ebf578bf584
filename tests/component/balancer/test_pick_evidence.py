"""What picked calls may hold against an instance, and how long their trials hold it up."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from forgemesh.api.balancer.v1 import report_pb2
from forgemesh.routing.circuit_rule import CircuitRule
from forgemesh.routing.endpoint import CircuitState
from forgemesh.routing.policy import PluginPolicy
from tests.component.balancer.picking import (
    BRIEF,
    LONG,
    UNKNOWN,
    circuit,
    fail,
    half_open,
    mesh,
    picked,
    settled,
)


@pytest.mark.parametrize(("counted", "state"), [(False, CircuitState.CLOSED), (True, CircuitState.OPEN)])
async def test_exceptions_of_one_callers_input_open_a_circuit_only_if_the_policy_counts_them(
    tmp_path: Path, counted: bool, state: CircuitState
) -> None:
    policy = PluginPolicy(circuit=CircuitRule(open=60.0, count_exceptions=counted))
    raised = report_pb2.CallFailure(reason="PLUGIN_EXCEPTION", message="KeyError")
    async with mesh(tmp_path, "a", policy=policy) as (balancer, _):
        for pick in [await picked(balancer) for _ in range(20)]:
            await settled(balancer, pick, UNKNOWN, failure=raised)
        found = circuit(balancer)

    assert found.state is state


async def test_exceptions_between_failures_do_not_hide_them(tmp_path: Path) -> None:
    raised = report_pb2.CallFailure(reason="PLUGIN_EXCEPTION", message="KeyError")
    async with mesh(tmp_path, "a", policy=PluginPolicy(circuit=LONG)) as (balancer, _):
        for _ in range(5):
            await settled(balancer, await picked(balancer), UNKNOWN, failure=raised)
            await fail(balancer, 1)
        found = circuit(balancer)

    assert found.state is CircuitState.OPEN


async def test_a_silent_trial_keeps_its_permit_as_long_as_the_policy_says_whatever_lease_it_asked_for(
    tmp_path: Path,
) -> None:
    async with mesh(tmp_path, "a", policy=PluginPolicy(circuit=BRIEF)) as (balancer, _):
        await half_open(balancer)
        silent = await picked(balancer, trial=True, lease_millis=600_000)
        (held,) = circuit(balancer).trials.out

    assert held.permit_id == silent.permit_id
    assert held.until <= time.monotonic() + BRIEF.permit_lease
