from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.orchestrator.v1.control_pb2 import ExplainExecutionResponse, Hindrance
from forgemesh.cli.explanation import blockers

NOW = 1_700_000_000


def row(**fields: Any) -> tuple[str, ...]:
    answer = ExplainExecutionResponse(hindrances=[Hindrance(since=Timestamp(seconds=NOW - 12), **fields)])
    return blockers(answer, "x1", NOW * 10**9).rows[0]


def test_a_step_behind_an_open_circuit_says_when_it_goes_on() -> None:
    assert row(
        step_path="resize",
        reason="CIRCUIT_OPEN",
        message="the circuits of all 2 instances are open",
        until=Timestamp(seconds=NOW + 12),
    ) == (
        "resize",
        "BLOCKED: circuit open: the circuits of all 2 instances are open",
        "12 s ago",
        "in 12 s",
        "forgemesh circuit list",
    )


def test_the_advice_of_the_mesh_is_the_command_and_not_the_cause() -> None:
    told = row(
        step_path="approve",
        reason="SIGNAL",
        message="send it with `forgemesh execution signal x1 approved`",
    )

    assert told == (
        "approve",
        "waits for a signal",
        "12 s ago",
        "when it comes",
        "forgemesh execution signal x1 approved",
    )


def test_that_something_goes_on_by_itself_is_said_once() -> None:
    told = row(reason="SUSPENDED", message="the disk is full; free space on its disk; it goes on by itself")

    assert told[1] == "suspended: the disk is full; free space on its disk"
    assert told[3] == "by itself"


def test_what_is_set_aside_goes_on_only_when_somebody_says_so() -> None:
    told = row(reason="SUSPENDED", message="it has kept o-1 from serving; end it by `forgemesh execution terminate x1`")

    assert told[1] == "suspended: it has kept o-1 from serving"
    assert told[3:] == ("when you say so", "forgemesh execution terminate x1")


def test_a_pause_says_who_asked_for_it() -> None:
    told = row(reason="PAUSED", message="paused by ana: bank down; let it go on with `forgemesh execution resume x1`")

    assert told == (
        "-",
        "paused by ana: bank down",
        "12 s ago",
        "when you say so",
        "forgemesh execution resume x1",
    )


def test_an_incident_names_the_step_to_decide_about() -> None:
    told = row(step_path="charge", reason="IN_DOUBT", message="the host was lost; decide with `forgemesh execution x`")

    assert told[1] == "may have taken effect, waits for a person: the host was lost"
    assert told[3:] == ("when you say so", "forgemesh execution resolve x1 charge --action retry|complete|fail")


def test_what_runs_says_where() -> None:
    told = row(step_path="resize", reason="RUNNING", message="1 s so far", instance_id="resize-1")

    assert told[1:] == ("runs on resize-1: 1 s so far", "12 s ago", "by itself", "nothing")


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("NOT_REGISTERED", "forgemesh plugin list"),
        ("NONE_HEALTHY", "forgemesh status"),
        ("ALL_FULL", "start more instances"),
        ("QUEUED", "forgemesh execution list --open"),
        ("STOPPING", "forgemesh execution terminate x1, if it must end now"),
        ("BACKOFF", "nothing"),
        ("FROM_TOMORROW", "nothing"),
    ],
)
def test_every_reason_has_something_to_do_about_it(reason: str, remedy: str) -> None:
    assert row(reason=reason)[4] == remedy


def test_what_is_due_already_goes_on_now() -> None:
    assert row(reason="BACKOFF", until=Timestamp(seconds=NOW - 1))[3] == "now"


def test_a_signal_that_is_not_waited_for_for_ever_says_until_when() -> None:
    assert row(reason="SIGNAL", until=Timestamp(seconds=NOW + 60))[3] == "when it comes, or in 60 s"


def test_a_step_behind_a_circuit_of_which_no_moment_is_known_is_not_said_to_go_on_by_itself() -> None:
    message = "every healthy instance of 'p' has a circuit that was forced open; see it with `forgemesh circuit list`"

    told = row(step_path="resize", reason="CIRCUIT_OPEN", message=message)

    assert told[3:] == ("once a circuit lets it", "forgemesh circuit list")
