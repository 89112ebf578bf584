import os
import signal
from pathlib import Path

import pytest

from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.api.plugin.v1 import invocation_pb2
from forgemesh.plugin_host.running_calls import DIGEST, RunningCalls, digest_of, left_running

A, B, C = (bytes([letter]) * DIGEST for letter in b"abc")


def invocation(key: str = "e/s", data: bytes = b"{}", operation: str = "work", attempt: int = 1) -> bytes:
    given = payload_pb2.Payload(data=data)
    return digest_of(invocation_pb2.Invocation(operation=operation, idempotency_key=key, input=given, attempt=attempt))


def test_what_runs_is_there_to_read_and_what_has_ended_is_not(tmp_path: Path) -> None:
    calls = RunningCalls(str(tmp_path / "a.calls"), 4)
    calls.begin(1, A)
    calls.begin(2, B)
    calls.end(1)
    calls.end(1)
    calls.begin(3, C)

    assert left_running(tmp_path / "a.calls") == {B, C}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_it_outlives_the_process_however_that_ends(tmp_path: Path, how: signal.Signals) -> None:
    child = os.fork()
    if child == 0:
        signal.signal(how, signal.SIG_DFL) if how is not signal.SIGKILL else None
        RunningCalls(str(tmp_path / "a.calls"), 4).begin(1, A)
        os.kill(os.getpid(), how)
    os.waitpid(child, 0)

    assert left_running(tmp_path / "a.calls") == {A}


def test_a_process_begins_with_nothing_whatever_its_predecessor_left(tmp_path: Path) -> None:
    RunningCalls(str(tmp_path / "a.calls"), 4).begin(1, A)
    RunningCalls(str(tmp_path / "a.calls"), 2)

    assert left_running(tmp_path / "a.calls") == set()


def test_more_calls_than_there_is_room_for_do_no_harm(tmp_path: Path) -> None:
    calls = RunningCalls(str(tmp_path / "a.calls"), 1)
    calls.begin(1, A)
    calls.begin(2, B)
    calls.end(2)

    assert left_running(tmp_path / "a.calls") == {A}


def test_where_no_file_is_nothing_ran(tmp_path: Path) -> None:
    assert left_running(tmp_path / "nowhere") == set()


def test_all_attempts_at_a_call_are_the_same_and_no_other_call_is() -> None:
    assert invocation(attempt=1) == invocation(attempt=2)
    others = {invocation(), invocation(key="e/t"), invocation(data=b"[]"), invocation(operation="other")}
    assert len(others | {invocation(key="", operation="worke/s")}) == 5
