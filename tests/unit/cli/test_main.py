import json

import pytest

from forgemesh.cli.main import main

COMMANDS = ["up", "down", "status", "run", "execution list", "execution show", "execution watch", "plugin list"]
COMMANDS += [f"execution {verb}" for verb in ("explain", "checkpoints", "fork", "export", "import", "replay")]
COMMANDS += [f"execution {verb}" for verb in ("pause", "resume", "cancel", "terminate", "signal", "resolve", "delete")]
COMMANDS += [f"workflow {verb}" for verb in ("register", "validate", "list", "show")]
COMMANDS += ["init", "trace show", "version"]
COMMANDS += [f"plugin {verb}" for verb in ("check", "describe", "call", "serve", "new", "hosts", "logs")]
COMMANDS += [f"plugin {verb}" for verb in ("load", "unload", "reload", "scale", "reset", "configure")]
COMMANDS += [
    f"schedule {verb}"
    for verb in ("create", "list", "show", "pause", "resume", "trigger", "backfill", "delete", "preview")
]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_explains_itself(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*words.split(), "--help"])
    helped = capsys.readouterr().out

    assert code == 0
    assert f"Usage: forgemesh {words}" in helped
    assert "Global options" in helped


def test_the_first_page_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    helped = capsys.readouterr().out

    assert all(words.split()[0] in helped for words in COMMANDS)


def test_without_a_command_it_shows_its_first_page(capsys: pytest.CaptureFixture[str]) -> None:
    code = main([])

    assert code == 0
    assert "Usage: forgemesh COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("said", [["-o", "json"], ["--output", "json"], ["--output=json"]])
def test_programs_may_ask_for_json_in_every_spelling(said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*said, "version"])

    assert code == 0
    assert set(json.loads(capsys.readouterr().out)) == {"forgemesh", "python"}


@pytest.mark.parametrize("typed", [["version", "-o", "json"], ["-o", "json", "version"]])
def test_a_global_option_may_stand_before_and_after_the_command(
    typed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed) == 0
    assert json.loads(capsys.readouterr().out)


def test_an_unknown_option_names_the_page_to_read(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["execution", "list", "--xyz"])

    assert code == 2
    assert capsys.readouterr().err == "error: Unknown option: --xyz.\n  forgemesh execution list --help\n"


NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["pause"], "no execution is named\n  forgemesh execution pause ID, or forgemesh execution pause --all"),
        (["cancel", "x1", "--all"], "executions are named and --all is said"),
        (["cancel", "x1", "--workflow", "etl"], "filters are for --all"),
        (["delete", "--all", "--before", "long"], "--before 'long' is not a duration"),
        (["signal", "x1"], "signal takes an execution and a NAME\n  forgemesh execution signal ID NAME, or"),
        (["resolve", "--all", "x1", "charge", "--action", "retry"], "resolve takes an execution and a STEP"),
        (["resolve", "x1", "charge", "--action", "skip"], "retry"),
        (["list", "--status", "lost"], "timed-out"),
        (["list", "--since", "soon"], "--since 'soon' is not a duration"),
    ],
)
def test_a_selection_that_means_nothing_is_refused_before_anything_is_asked(
    typed: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--address", NOBODY, "execution", *typed])

    assert code == 2
    assert said in capsys.readouterr().err


def test_a_decision_that_is_missing_is_asked_for_with_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["execution", "resolve", "x1", "charge"])

    assert code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: what shall become of step 'charge'?",
        "  forgemesh execution resolve x1 charge --action retry     it is tried again",
        "  forgemesh execution resolve x1 charge --action complete  it is counted as succeeded",
        "  forgemesh execution resolve x1 charge --action fail      it is counted as failed",
    ]


@pytest.mark.parametrize("status", ["timed-out", "timed_out"])
def test_a_status_of_two_words_may_be_written_both_ways(status: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--address", NOBODY, "execution", "list", "--status", status, "--status", "failed", "--open"])

    assert code == 5
    assert f"cannot reach the orchestrator at {NOBODY}" in capsys.readouterr().err
