from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.api.orchestrator.v1.event_pb2 import Origin
from forgemesh.api.orchestrator.v1.execution_pb2 import Execution, ExecutionStatus, Step, StepStatus
from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.cli.execution_page import facts, next_commands, steps, why

NOW = 1_700_000_000


def at(seconds: int) -> Timestamp:
    return Timestamp(seconds=NOW + seconds)


def execution(status: str = "RUNNING", **fields: Any) -> Execution:
    number = ExecutionStatus.Value(f"EXECUTION_STATUS_{status}")
    return Execution(execution_id="x1", workflow="etl", workflow_version="1.0.0", status=number, **fields)


def step(status: str, **fields: Any) -> Step:
    return Step(step_path="charge", kind="call", status=StepStatus.Value(f"STEP_STATUS_{status}"), **fields)


def said(one: Execution, encoding: str = "utf-8") -> dict[str, str]:
    return dict(facts(one, NOW * 10**9, encoding))


def test_an_open_execution_shows_how_far_it_is_and_when_it_will_end() -> None:
    open_ = execution(progress=0.6, expected_end=at(12), deadline=at(300))

    assert said(open_)["progress"] == "████████████┄┄┄┄┄┄┄┄ 60% · ends in 12 s, if it goes on so"
    assert said(open_)["deadline"].endswith("(in 5 m)")


def test_a_terminal_that_has_no_blocks_gets_a_bar_of_ascii() -> None:
    assert said(execution(progress=0.25), "ascii")["progress"] == "#####--------------- 25%"


def test_an_execution_that_has_ended_shows_how_long_it_took() -> None:
    ended = said(execution("SUCCEEDED", started_at=at(0), ended_at=at(3)))

    assert ended["took"] == "3.0 s"
    assert "progress" not in ended


def test_the_status_says_who_stopped_it_and_why() -> None:
    paused = execution("PAUSED", stopped_by="ana", stopped_reason="bank down")

    assert said(paused)["status"] == "paused · by ana: bank down"


def test_an_execution_that_does_not_run_at_all_says_so() -> None:
    suspended = execution(suspended_reason="store unavailable")

    assert said(suspended)["status"] == "running · suspended: store unavailable"


def test_where_it_comes_from_is_only_said_if_it_comes_from_somewhere() -> None:
    child = execution(origin=Origin(parent_execution_id="p1", parent_step_path="ship"), priority=5, concurrency_key="k")
    fork = execution(origin=Origin(forked_from="x0", forked_sequence=17, schedule_id="nightly"))

    assert {name: said(child)[name] for name in ("parent", "priority", "key")} == {
        "parent": "p1, its step ship",
        "priority": "5",
        "key": "k",
    }
    assert (said(fork)["fork of"], said(fork)["schedule"]) == ("x0, its first 17 events", "nightly")
    assert set(said(execution())) == {"execution", "workflow", "status", "started", "progress", "trace"}


def test_variables_are_values_on_one_line() -> None:
    found = execution(variables={"total": Payload(data=b'{"sum":  3}')})
    image = execution(variables={"chart": Payload(media_type="image/png", data=b"1234")})

    assert said(found)["variable"] == 'total = {"sum":3}'
    assert said(image)["variable"] == "chart = image/png, 4 bytes"


def test_what_was_not_undone_is_listed() -> None:
    failed = execution(
        "COMPENSATION_FAILED",
        failure=Failure(reason="NO_STOCK", message="none is left", step_path="ship"),
        left_to_do=["charge", "reserve"],
    )

    assert said(failed)["failure"] == "NO_STOCK: none is left (at ship)"
    assert said(failed)["not undone"] == "charge, reserve"


def test_each_step_says_what_matters_about_it() -> None:
    now = NOW * 10**9

    assert why(step("RUNNING", branches=20, branches_succeeded=17, branches_failed=1), now) == (
        "17 of 20 done · 1 failed"
    )
    assert why(step("RUNNING", progress=0.5, progress_note="trend"), now) == "50% trend"
    assert why(step("RUNNING", child_execution_id="c1"), now) == "execution c1"
    assert why(step("SKIPPED", skipped_reason="CONDITION_FALSE"), now) == "skipped: CONDITION_FALSE"
    assert why(step("SUCCEEDED", taken=True), now) == "taken over"
    lent = step("SUCCEEDED", taken=True, effect_owner="e-7@r")
    assert why(lent, now) == "taken over · its effect is that of e-7@r"
    skipped = step("FAILED", branches=3, branches_succeeded=1, branches_skipped=2)
    assert why(skipped, now) == "1 of 3 done · 2 skipped"
    assert why(step("BLOCKED", blocked_reason="NONE_HEALTHY", blocked_message="1 of 1 is out"), now) == (
        "NONE_HEALTHY: 1 of 1 is out"
    )
    assert why(step("WAITING", next_attempt_at=at(4), failure=Failure(reason="E", message="no")), now) == (
        "next attempt in 4 s · E, no"
    )
    assert why(step("WAITING", waits_for_signal="approved"), now) == "for signal approved"
    assert why(step("WAITING", waits_until=at(90)), now).endswith("(in 90 s)")
    assert why(step("SUCCEEDED", waits_for_signal="approved", waits_until=at(90)), now) == ""


def test_a_step_is_a_row() -> None:
    table = steps(execution(steps=[step("SUCCEEDED", attempts=2, instance_id="i-1", ended_at=at(0))]), NOW * 10**9)

    assert table.rows[0][:5] == ("charge", "call", "succeeded", "2", "i-1")


def test_an_incident_is_followed_by_the_command_that_decides_it() -> None:
    [line] = next_commands(execution(steps=[step("INCIDENT")]))

    assert line == (
        "step charge waits for a person; decide with:"
        " forgemesh execution resolve x1 charge --action retry|complete|fail"
    )


def test_every_state_has_its_next_command() -> None:
    waiting = execution(steps=[step("WAITING", waits_for_signal="approved")])

    assert next_commands(waiting)[0].endswith("forgemesh execution signal x1 approved")
    assert next_commands(execution()) == ["see what it waits for: forgemesh execution explain x1"]
    assert next_commands(execution("PAUSED")) == ["let it go on with: forgemesh execution resume x1"]
    assert next_commands(execution("TIMED_OUT")) == ["see where it came from: forgemesh trace show x1"]
    assert next_commands(execution("SUCCEEDED")) == []
