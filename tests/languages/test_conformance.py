"""Each client calls each plugin, and sees the same."""

from __future__ import annotations

import json
import os
import secrets
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.languages.conformance_mesh import ConformanceMesh, source, until

pytestmark = pytest.mark.mesh

LARGEST = {
    "signed": 2**63 - 1,
    "unsigned": 2**64 - 1,
    "fraction": 0.1,
    "text": "gr\u00fc\u00df \U0001f30d \u0000",
    "flag": True,
}
SMALLEST = {"signed": -(2**63), "unsigned": 0, "fraction": -1e308, "text": "", "flag": False}


@pytest.mark.parametrize("given", [LARGEST, SMALLEST], ids=["largest", "smallest"])
def test_numbers_and_texts_pass_exactly(mesh: ConformanceMesh, client: str, plugin: str, given: dict[str, Any]) -> None:
    assert mesh.call(client, plugin, "numbers", given)["output"] == given


@pytest.mark.parametrize(
    "given",
    [{}, [], 0, "", 2**200, {"deep": [[[{"null": None}]]]}, "x" * (1 << 20)],
    ids=lambda value: repr(value)[:20],
)
def test_any_json_comes_back_as_it_went(mesh: ConformanceMesh, client: str, plugin: str, given: object) -> None:
    assert mesh.call(client, plugin, "echo", given)["output"] == given


def test_a_declared_failure_arrives_with_all_that_it_says(mesh: ConformanceMesh, client: str, plugin: str) -> None:
    said = {"code": 9, "reason": "SOLD_OUT", "message": "none is left", "retryable": False, "metadata": {"left": "0"}}

    answer = mesh.call(client, plugin, "fail", said)

    assert {key: answer[key] for key in ("code", "reason", "message", "metadata")} == {
        key: said[key] for key in ("code", "reason", "message", "metadata")
    }
    assert answer["status"] == "EXECUTION_STATUS_FAILED"


@pytest.mark.parametrize(
    ("operation", "given", "code", "reason"),
    [
        ("broken", {}, 2, "PLUGIN_EXCEPTION"),
        ("numbers", {"signed": "seven"}, 3, "INPUT_INVALID"),
        ("fill", {"bytes": 5 << 20}, 8, "PAYLOAD_TOO_LARGE"),
    ],
)
def test_what_goes_wrong_has_the_same_name_everywhere(
    mesh: ConformanceMesh, client: str, plugin: str, operation: str, given: object, code: int, reason: str
) -> None:
    answer = mesh.call(client, plugin, operation, given)

    assert (answer["code"], answer["reason"]) == (code, reason)
    assert answer["metadata"]
    assert answer["message"]


def test_an_operation_knows_whose_call_it_answers(mesh: ConformanceMesh, client: str, plugin: str) -> None:
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)

    answer = mesh.call(client, plugin, "context", {}, traceparent=f"00-{trace_id}-{caller}-01")

    seen = answer["output"]
    assert answer["trace_id"] == trace_id
    assert (seen["namespace"], seen["execution_id"], seen["step_path"]) == ("default", answer["execution_id"], "a")
    assert seen["attempt"] == 1
    assert seen["idempotency_key"].startswith(f"default/{answer['execution_id']}@")
    assert seen["idempotency_key"].endswith("/a")
    assert (seen["has_deadline"], seen["greeting"]) == (True, "hello")
    assert seen["traceparent"].split("-")[1] == trace_id


def test_one_trace_holds_the_steps_span_the_plugins_and_the_authors(
    mesh: ConformanceMesh, client: str, plugin: str
) -> None:
    answer = mesh.call(client, plugin, "context", {})

    def spans() -> dict[str, dict[str, Any]] | None:
        shown = json.loads(mesh.cli("trace", "show", answer["execution_id"], "-o", "json"))
        found = {span["name"]: span for span in shown["spans"]}
        return found if {"own", f"execute conformance.{plugin}/context"} <= set(found) else None

    found = until(spans)
    execute = found[f"execute conformance.{plugin}/context"]
    assert found["own"]["parent_span_id"] == execute["span_id"]
    assert execute["parent_span_id"] == found["a"]["span_id"]
    assert execute["span_id"] == answer["output"]["traceparent"].split("-")[2]


def test_a_cancellation_reaches_the_operation(mesh: ConformanceMesh, client: str, plugin: str, ledger: Path) -> None:
    started = begun(mesh, client, plugin, "wait", ledger)

    mesh.client(client).ask("cancel", execution_id=started)
    answer = mesh.client(client).ask("result", execution_id=started)

    assert answer["status"] == "EXECUTION_STATUS_CANCELLED"
    until(lambda: ledger.read_text().split() == ["begun", "cancelled"])


def test_what_one_attempt_said_the_next_one_hears(mesh: ConformanceMesh, client: str, plugin: str) -> None:
    assert mesh.call(client, plugin, "resume", {})["output"] == {"at": 2**53 + 1}


def test_a_call_whose_process_ends_is_made_again_by_the_next_one(
    mesh: ConformanceMesh, client: str, plugin: str
) -> None:
    assert mesh.call(client, plugin, "exit", {})["output"] == 2


def test_a_killed_host_is_started_again_and_what_it_had_runs_there(
    mesh: ConformanceMesh, client: str, plugin: str, ledger: Path
) -> None:
    started = begun(mesh, client, plugin, "slow", ledger)
    before = until(lambda: mesh.host(f"{plugin}-1"))

    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: ledger.read_text().split() == ["begun", "begun"])
    Path(f"{ledger}.go").touch()

    assert mesh.client(client).ask("result", execution_id=started)["output"] == "done"
    assert mesh.host(f"{plugin}-1")["pid"] != before["pid"]


def test_a_host_that_is_reloaded_finishes_what_it_has(
    mesh: ConformanceMesh, client: str, plugin: str, ledger: Path
) -> None:
    started = begun(mesh, client, plugin, "slow", ledger)

    Path(f"{ledger}.go").touch()
    mesh.cli("plugin", "reload", plugin)

    assert mesh.client(client).ask("result", execution_id=started)["output"] == "done"
    assert ledger.read_text().split() == ["begun"]


def test_a_watch_brings_every_event_once_and_in_order(mesh: ConformanceMesh, client: str, plugin: str) -> None:
    mesh.call(client, plugin, "echo", 1)

    answer = mesh.client(client).ask("watch", workflow=f"{plugin}-echo", input=2)

    assert answer["sequences"] == list(range(1, len(answer["sequences"]) + 1))
    assert answer["output"] == 2


def test_the_same_request_gets_the_same_execution(mesh: ConformanceMesh, client: str, plugin: str) -> None:
    mesh.call(client, plugin, "echo", 1)
    request = {"workflow": f"{plugin}-echo", "input": 3, "request_id": secrets.token_hex(8)}

    first, second = (mesh.client(client).ask("start", **request) for _ in range(2))

    assert first["execution_id"] == second["execution_id"]


def test_a_refusal_has_its_reason_and_its_facts(mesh: ConformanceMesh, client: str) -> None:
    answer = mesh.client(client).ask("run", workflow="nobody-registered-this", input={})

    assert (answer["code"], answer["reason"], answer["metadata"]["name"]) == (
        5,
        "DEFINITION_NOT_FOUND",
        "nobody-registered-this",
    )


def test_a_signal_and_its_payload_arrive(mesh: ConformanceMesh, client: str) -> None:
    mesh.client(client).ask(
        "register",
        source='name: waiting\nversion: 1.0.0\nsteps: [{id: a, wait: {signal: go}}]\noutput: "${steps.a.output}"\n',
    )
    started = mesh.client(client).ask("start", workflow="waiting", input={})["execution_id"]

    mesh.client(client).ask("signal", execution_id=started, signal="go", input={"n": 2**60}, request_id="once")
    mesh.client(client).ask("signal", execution_id=started, signal="go", input={"n": 2**60}, request_id="once")

    assert mesh.client(client).ask("result", execution_id=started)["output"] == {"n": 2**60}


def test_a_callers_deadline_ends_its_waiting_and_nothing_else(mesh: ConformanceMesh, client: str) -> None:
    mesh.client(client).ask("register", source="name: patient\nversion: 1.0.0\nsteps: [{id: a, wait: {signal: go}}]\n")
    started = mesh.client(client).ask("start", workflow="patient", input={})["execution_id"]

    assert mesh.client(client).ask("result", execution_id=started, seconds=0.2)["deadline"] is True
    mesh.client(client).ask("signal", execution_id=started, signal="go", input=None, request_id="x")

    assert "status" not in mesh.client(client).ask("result", execution_id=started)


def begun(mesh: ConformanceMesh, client: str, plugin: str, operation: str, ledger: Path) -> str:
    """The id of an execution whose call runs."""
    mesh.client(client).ask("register", source=source(f"{plugin}-{operation}", plugin, operation))
    answer = mesh.client(client).ask("start", workflow=f"{plugin}-{operation}", input={"ledger": str(ledger)})
    until(lambda: ledger.exists() and "begun" in ledger.read_text())
    started: str = answer["execution_id"]
    return started
