"""Every command of `forgemesh` against one real mesh, and the exit code in which each outcome ends."""

import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgemesh.cli.main import main
from tests.mesh.up_process import FORGEMESH, Up, Workplace, going_up

pytestmark = pytest.mark.mesh


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with going_up(Workplace(tmp_path_factory.mktemp("mesh"))) as running:
        yield running


@pytest.fixture(autouse=True)
def here(mesh: Up, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command is typed in the mesh's folder."""
    monkeypatch.chdir(mesh.place.folder)
    monkeypatch.delenv("FORGEMESH_ADDRESS", raising=False)
    return mesh.place.folder


class Typed:
    """What a command said, and its exit code."""

    def __init__(self, capture: pytest.CaptureFixture[str], *arguments: str) -> None:
        self.code = main(list(arguments))
        self.out, self.err = capture.readouterr()


def write(folder: Path, text: str) -> str:
    (folder / "other.yaml").write_text(text)
    return "other.yaml"


def test_run_prints_the_result_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Typed(capsys, "run", "hello.yaml", "-i", "name=Ada", "--execution-id", "ada")

    assert ran.code == 0
    assert ran.out == '{"text":"Hello, Ada!"}\n'
    lines = ran.err.splitlines()
    assert re.fullmatch(r"▶ hello ada  trace [0-9a-f]{32}", lines[0])
    assert re.fullmatch(r"  ✓ greet +[\d.]+ m?s   greeter-1", lines[1])
    assert re.fullmatch(r"✓ succeeded in [\d.]+ m?s · 1 step · forgemesh trace show ada", lines[2])


def test_run_takes_its_input_from_a_file_and_a_workflow_by_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Typed(capsys, "run", "hello.yaml", "-i", "name=Ada")
    (here / "input.json").write_text('{"name": "Grace"}')

    assert Typed(capsys, "run", "hello", "--input", "input.json").out == '{"text":"Hello, Grace!"}\n'


def test_a_program_gets_nothing_but_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Typed(capsys, "run", "hello.yaml", "-i", "name=Ada", "-o", "json")

    assert (json.loads(ran.out), ran.err) == ({"text": "Hello, Ada!"}, "")


def test_a_request_that_is_repeated_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("run", "hello.yaml", "-i", "name=Ada", "--request-id", "r1", "--detach")
    first, second = Typed(capsys, *asked), Typed(capsys, *asked)

    assert first.out == second.out
    assert (first.code, second.code) == (0, 0)


def test_a_workflow_that_fails_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Typed(capsys, "run", "hello.yaml", "-i", "name=", "--execution-id", "nobody")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith(
        "error: execution nobody failed at greet\n"
        "  NO_NAME: there is nobody to greet; give a name\n"
        "  forgemesh trace show nobody\n"
    )


def test_a_failure_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Typed(capsys, "run", "hello.yaml", "-i", "name=", "-o", "json")

    assert (ran.code, ran.out) == (1, "")
    assert json.loads(ran.err)["error"]["reason"] == "NO_NAME"


def test_a_broken_definition_exits_with_2_and_every_mistake(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = write(here, "name: hello\nstpes: []\nsteps:\n  - id: a\n    cal: {plugin: nowhere, operation: x}\n")
    ran = Typed(capsys, "run", broken)

    assert ran.code == 2
    assert ran.err.startswith("error: the definition 'hello' is not valid\n")
    assert "line 2" in ran.err
    assert "line 5" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("rnu",), 2, 'Did you mean "run"?'),
        (("run",), 2, "TARGET requires an argument"),
        (("run", "missing.yaml"), 2, "cannot read missing.yaml"),
        (("run", "hello.yaml", "-i", "name"), 2, "is not key=value"),
        (("run", "hello.yaml", "-i", "name=Ada", "--timeout", "soon"), 2, "is not a duration"),
        (("run", "hello.yaml", "-i", "name=7"), 2, "does not fit workflow 'hello'"),
        (("execution", "list", "--status", "lost"), 2, "running"),
        (("run", "nowhere"), 3, "no workflow 'nowhere' is registered"),
        (("execution", "show", "nowhere"), 3, "no execution 'nowhere'"),
        (("execution", "watch", "nowhere"), 3, "no execution 'nowhere'"),
        (("trace", "show", "nowhere"), 3, "no execution 'nowhere'"),
        (("down", "--data-dir", "nowhere"), 3, "no mesh runs in nowhere"),
        (("status", "--address", "127.0.0.1:1"), 5, "cannot reach the orchestrator at 127.0.0.1:1: connection refused"),
        (("run", "hello", "--address", "127.0.0.1:1"), 5, "forgemesh up"),
    ],
)
def test_what_cannot_be_done_ends_in_its_exit_code_and_one_error(
    arguments: tuple[str, ...], code: int, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Typed(capsys, "run", "hello.yaml", "-i", "name=Ada")
    typed, as_json = Typed(capsys, *arguments), Typed(capsys, *arguments, "-o", "json")

    assert (typed.code, as_json.code) == (code, code)
    assert (typed.out, as_json.out) == ("", "")
    assert typed.err.count("error: ") == 1
    assert complaint in typed.err
    assert "Traceback" not in typed.err
    assert set(json.loads(as_json.err)["error"]) == {"code", "reason", "message", "hint"}


def test_another_content_under_the_same_version_exits_with_4(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Typed(capsys, "run", "hello.yaml", "-i", "name=Ada")
    ran = Typed(capsys, "run", write(here, (here / "hello.yaml").read_text() + "timeout: 1m\n"))

    assert ran.code == 4
    assert "version: 1.1.0" in ran.err


def test_an_id_that_is_taken_exits_with_4(capsys: pytest.CaptureFixture[str]) -> None:
    Typed(capsys, "run", "hello.yaml", "-i", "name=Ada", "--execution-id", "taken")
    ran = Typed(capsys, "run", "hello.yaml", "-i", "name=Bob", "--execution-id", "taken")

    assert ran.code == 4
    assert "execution 'taken' exists already" in ran.err


def test_a_timeout_exits_with_6_and_the_execution_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("-i", "seconds=1.5", "--execution-id", "slow", "--timeout", "500ms")
    ran = Typed(capsys, "run", "linger.yaml", *asked)
    watched = Typed(capsys, "execution", "watch", "slow")

    assert ran.code == 6
    assert "execution slow still runs after 0.5 s; it goes on\n  forgemesh execution watch slow" in ran.err
    assert (watched.code, watched.out) == (0, '{"seconds":1.5}\n')


def test_ctrl_c_exits_with_130_and_the_execution_goes_on(mesh: Up, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*FORGEMESH, "run", "linger.yaml", "-i", "seconds=2", "--execution-id", "left"]
    with subprocess.Popen(
        command, cwd=mesh.place.folder, env=mesh.place.environment, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        while "greeter-1" not in (line := running.stderr.readline()):
            assert line, "it ended before the first step"
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()

    watched = Typed(capsys, "execution", "watch", "left")
    assert running.returncode == 130
    assert "detached: execution left goes on; forgemesh execution watch left" in rest
    assert "Traceback" not in rest
    assert (watched.code, watched.out) == (0, '{"seconds":2.0}\n')


def test_executions_are_listed_newest_first(capsys: pytest.CaptureFixture[str]) -> None:
    Typed(capsys, "run", "hello.yaml", "-i", "name=Ada", "--execution-id", "list-1")
    Typed(capsys, "run", "hello.yaml", "-i", "name=", "--execution-id", "list-2")
    table = Typed(capsys, "execution", "list", "--limit", "2").out.splitlines()
    value = json.loads(Typed(capsys, "execution", "list", "--limit", "1", "--status", "failed", "-o", "json").out)

    assert [line.split()[0] for line in table] == ["EXECUTION", "list-2", "list-1"]
    assert table[1].split()[1:4] == ["hello", "1.0.0", "failed"]
    assert value["executions"][0]["execution_id"] == "list-2"
    assert value["executions"][0]["status"] == "EXECUTION_STATUS_FAILED"


def test_an_execution_is_found_by_the_beginning_of_its_id_or_as_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("prefix-a1", "prefix-b1"):
        Typed(capsys, "run", "hello.yaml", "-i", "name=Ada", "--execution-id", name)
    whole, last = Typed(capsys, "execution", "show", "prefix-a"), Typed(capsys, "execution", "show", "@last")
    several = Typed(capsys, "execution", "show", "prefix-")

    assert whole.out.splitlines()[0] == "execution  prefix-a1"
    assert last.out.splitlines()[0] == "execution  prefix-b1"
    assert several.code == 2
    assert "prefix-a1\n  prefix-b1" in several.err or "prefix-b1\n  prefix-a1" in several.err


def test_show_tells_the_steps_and_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    Typed(capsys, "run", "hello.yaml", "-i", "name=Ada", "--execution-id", "shown")
    shown = Typed(capsys, "execution", "show", "shown")
    value = json.loads(Typed(capsys, "execution", "show", "shown", "-o", "json").out)

    assert re.search(r"greet +call +succeeded +1 +greeter-1 +[\d.]+ m?s", shown.out)
    assert shown.out.endswith('{"text":"Hello, Ada!"}\n')
    assert value["steps"][0]["step_path"] == "greet"


def test_watch_gives_programs_every_event(capsys: pytest.CaptureFixture[str]) -> None:
    Typed(capsys, "run", "hello.yaml", "-i", "name=Ada", "--execution-id", "events")
    watched = Typed(capsys, "execution", "watch", "events", "-o", "json")
    events = [json.loads(line) for line in watched.out.splitlines()]

    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
    assert "execution_started" in events[0]
    assert "execution_succeeded" in events[-1]


def test_plugins_are_listed_with_their_instances(capsys: pytest.CaptureFixture[str]) -> None:
    table = Typed(capsys, "plugin", "list").out.splitlines()
    [plugin] = json.loads(Typed(capsys, "plugin", "list", "-o", "json").out)["plugins"]

    assert re.fullmatch(r"greeter +1\.0\.0 +1 of 1 +ok +greet, linger +- +Greets\.", table[1])
    assert [instance["instance_id"] for instance in plugin["instances"]] == ["greeter-1"]
    assert plugin["instances"][0]["health"] == "SERVING"


def test_status_shows_every_service_and_instance(mesh: Up, capsys: pytest.CaptureFixture[str]) -> None:
    table = Typed(capsys, "status")
    value = json.loads(Typed(capsys, "status", "-o", "json").out)

    assert table.code == 0
    assert re.search(rf"orchestrator +{mesh.address} +serving +\d+", table.out)
    assert re.search(r"greeter +greeter-1 +127\.0\.0\.1:\d+ +serving +ready +\d+ +0", table.out)
    assert {row["health"] for row in (*value["services"], *value["instances"])} == {"SERVING"}


def test_the_mesh_is_found_from_a_folder_below(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")

    assert main(["status"]) == 0


def test_the_trace_of_a_run_begins_with_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    Typed(capsys, "run", "hello.yaml", "-i", "name=Ada", "--execution-id", "traced")
    trace = json.loads(Typed(capsys, "trace", "show", "traced", "-o", "json").out)
    tree = Typed(capsys, "trace", "show", "traced")

    known = {span["span_id"] for span in trace["spans"]}
    [root] = [span for span in trace["spans"] if not span.get("parent_span_id")]
    assert (root["name"], root["service"]) == ("run hello", "forgemesh-client")
    assert {span["service"] for span in trace["spans"]} == {"forgemesh-client", "forgemesh-orchestrator", "greeter"}
    assert [span["name"] for span in trace["spans"] if span.get("parent_span_id", root["span_id"]) not in known] == []
    assert tree.code == 0
    assert "run hello" in tree.out.splitlines()[0]
    assert "not complete" not in tree.err


def test_version_is_quick_to_say(mesh: Up) -> None:
    program = "import sys, forgemesh.cli.main as m; code = m.main(['version']); sys.exit('grpc' in sys.modules or code)"
    said = subprocess.run([FORGEMESH[0], "-c", program], capture_output=True, text=True, check=True, timeout=30)

    assert said.stdout.startswith("forgemesh ")


def test_help_explains_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    helped = Typed(capsys, "--help")

    assert helped.code == 0
    assert "130: interrupted" in helped.out


@pytest.mark.parametrize(("colour", "expected"), [("", True), ("1", False)])
def test_on_a_terminal_there_is_colour_unless_it_is_unwanted(mesh: Up, colour: str, expected: bool) -> None:
    environment = mesh.place.environment | {"TERM": "xterm-256color", "COLUMNS": "120"}
    environment |= {"NO_COLOR": colour} if colour else {}
    shown = on_a_terminal(mesh.place.folder, environment, "run", "hello.yaml", "-i", "name=Ada")

    assert "Hello, Ada!" in shown
    assert "✓" in shown
    assert ("\x1b[32m" in shown) is expected


def on_a_terminal(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    """What a command writes to a terminal that is its stdin, stdout and stderr."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*FORGEMESH, *arguments], cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            shown += piece
    os.close(ours)
    assert process.returncode == 0
    return shown.decode()
