"""A bug of the host's own in one call is answered to that call's caller, and ends nothing else."""

from typing import Any

import pytest

from forgemesh.faults import Code
from forgemesh.plugin_host.host.calls.call_runner import CallRunner
from forgemesh.plugin_host.host.calls.operation_run import OperationRun
from tests.component.plugin_host.hosts import host_at, invoke


@pytest.mark.parametrize(("method", "operation"), [("run", "echo"), ("run_in_thread", "spins")])
async def test_a_bug_in_carrying_a_call_out_is_its_answer_and_the_next_call_has_its_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str, operation: str
) -> None:
    def planted(*given: Any) -> Any:
        raise LookupError("planted")

    arguments: dict[str, Any] = {"seconds": 0} if operation == "spins" else {"value": 7}
    async with host_at() as served:
        with monkeypatch.context() as patch:
            patch.setattr(OperationRun, method, planted)
            failures = [(await invoke(served, operation, **arguments)).failure for _ in range(100)]
        result = await invoke(served, operation, **arguments)

    assert {(failure.code, failure.reason) for failure in failures} == {(Code.INTERNAL, "INTERNAL")}
    assert all("incident" in failure.message for failure in failures)
    assert result.output.data
    assert "LookupError: planted" in caplog.text


async def test_a_bug_in_an_answer_ends_that_call_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = CallRunner._answer
    struck: list[Any] = []

    def planted(runner: CallRunner, call: Any, outcome: Any) -> None:
        if not struck:
            struck.append(call)
            raise LookupError("planted")
        real(runner, call, outcome)

    monkeypatch.setattr(CallRunner, "_answer", planted)
    async with host_at() as served:
        late = await invoke(served, "echo", value=7, remaining_millis=500)
        result = await invoke(served, "echo", value=7)

    assert late.failure.code == Code.DEADLINE_EXCEEDED
    assert result.output.data == b"7"
    assert "the answer to a call of echo is passed over" in caplog.text
