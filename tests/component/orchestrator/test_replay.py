import json
from pathlib import Path

import pytest

from forgemesh.cli.main import main as forgemesh
from forgemesh.orchestrator.api.replay import Moment, Tape, main
from forgemesh.orchestrator.store.archives import ArchivePacking
from tests.component.orchestrator.hosts import ScriptedHosts, endpoint
from tests.component.orchestrator.orchestrators import Orchestrator

TWO = """
name: two
steps:
  - {id: x, call: {plugin: p, operation: o}}
  - id: both
    parallel:
      branches:
        a: [{id: y, call: {plugin: p, operation: o}}]
        b: [{id: z, call: {plugin: p, operation: o}}]
output: "${steps.both.output}"
"""


@pytest.fixture
async def file(orchestrator: Orchestrator, hosts: ScriptedHosts, tmp_path: Path) -> Path:
    """An execution that has ended, exported."""
    hosts.show("p", endpoint("p-1"))
    await orchestrator.start(TWO)
    for step in ("x", "both/a/y", "both/b/z"):
        await hosts.answer(step, step)
    await orchestrator.ended()
    path = tmp_path / "e.execution"
    path.write_bytes(b"".join([piece async for piece in orchestrator.offered.archives.export("default", "e")]))
    return path


async def test_every_event_is_told_with_the_state_after_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file)]) == 0

    said = capsys.readouterr().out
    assert "x: attempt 1 succeeded at p-1" in said
    assert "both: group started: a, b" in said
    assert "= RUNNING; both RUNNING, both/a/y RUNNING, both/b/z RUNNING; 1 SUCCEEDED" in said
    assert said.splitlines()[-1].endswith("events; folded twice, they give the same state")


async def test_programs_get_one_object_a_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file), "--json"]) == 0

    moments = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [moment["sequence"] for moment in moments] == list(range(1, len(moments) + 1))
    assert moments[0] | {"what": ""} == {
        "sequence": 1,
        "offset": 0.0,
        "step_path": "",
        "kind": "execution_started",
        "what": "",
        "status": "RUNNING",
        "open": {},
        "ended": {},
    }
    assert (moments[-1]["status"], moments[-1]["open"], moments[-1]["ended"]) == ("SUCCEEDED", {}, {"SUCCEEDED": 4})


async def test_a_replay_stops_where_it_is_told_to(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file), "--to", "2", "--json"]) == 0

    moments = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert moments[-1]["sequence"] == 2
    assert moments[-1]["open"] == {"x": "RUNNING"}


async def test_the_command_line_plays_an_execution_back_without_a_mesh(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forgemesh(["execution", "replay", str(file), "--to", "3"]) == 0
    assert "3 of " in capsys.readouterr().out.splitlines()[-1]

    assert forgemesh(["execution", "replay", str(file), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["status"] == "SUCCEEDED"


def test_a_file_that_is_no_execution_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("notes", encoding="utf-8")

    assert forgemesh(["execution", "replay", str(file)]) == 2

    said = capsys.readouterr().err
    assert said.startswith(f"error: {file}: ")
    assert "forgemesh execution export" in said


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'absent'}: No such file or directory\n"


async def test_events_that_cannot_follow_one_another_are_refused(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packing = ArchivePacking()
    archive = packing.unpack(file.read_bytes())
    del archive.events[3]
    file.write_bytes(packing.pack(archive))

    assert main([str(file)]) == 2
    assert "event 5 cannot follow 3" in capsys.readouterr().err


async def test_a_step_that_has_ended_is_not_open_any_more(file: Path) -> None:
    tape = Tape(file.read_bytes())

    assert [len(moment.open) for moment in tape.moments(3)] == [0, 1, 0]


def test_what_others_wrote_makes_neither_lines_nor_sequences_of_its_own() -> None:
    evil = "x\x1b[2J\x9b\u202e\nforged"
    moment = Moment(
        sequence=1, offset=0.5, step_path=evil, kind=evil, what=evil, status=evil, open={evil: evil}, ended={evil: 1}
    )

    assert len(moment.as_text().split("\n")) == 2
    assert moment.as_text().replace("\n", "").isprintable()
    assert moment.as_json().isprintable()
    assert json.loads(moment.as_json())["open"] == {evil: evil}
