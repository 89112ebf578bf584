import json

from forgemesh.chassis.next_command import unreachable
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem, problem_of, usage
from forgemesh.faults import Violation
from forgemesh.faults.workflow import DefinitionInvalid


def test_an_error_is_a_sentence_with_its_next_command_indented() -> None:
    problem = problem_of(unreachable("orchestrator", "127.0.0.1:7401", "connection refused", {}))

    assert problem.as_text() == (
        "error: cannot reach the orchestrator at 127.0.0.1:7401: connection refused\n"
        "  start a mesh with `forgemesh up`, or name another one with --address or FORGEMESH_ADDRESS\n"
    )


def test_every_violation_gets_a_line_of_its_own() -> None:
    fault = DefinitionInvalid(
        "etl", [Violation("steps[0].cal", "unknown key; did you mean call?"), Violation("steps[1].id", "used twice")]
    )

    assert problem_of(fault).as_text() == (
        "error: the definition 'etl' is not valid\n"
        "  steps[0].cal: unknown key; did you mean call?\n"
        "  steps[1].id: used twice\n"
    )


def test_a_program_gets_code_reason_message_and_hint_on_one_line() -> None:
    text = problem_of(unreachable("registry", "127.0.0.1:1", "refused", {})).as_json()

    assert text.count("\n") == 1
    assert json.loads(text) == {
        "error": {
            "code": "UNAVAILABLE",
            "reason": "SERVICE_UNREACHABLE",
            "message": "cannot reach the registry at 127.0.0.1:1: refused",
            "hint": "the mesh runs without it: see what answers with `forgemesh status`, and in its log why it ended,"
            " or name another one with FORGEMESH_REGISTRY",
        }
    }


def test_a_message_from_elsewhere_cannot_move_the_cursor() -> None:
    problem = Problem(ExitCode.FAILED, "it said \x1b[2J", reason="X", details=["one\ntwo\r"])

    assert problem.as_text() == "error: it said  [2J\n  one\n  two\n"


def test_wrong_usage_exits_with_2() -> None:
    assert usage("no").exit_code == 2
