import json

import pytest

from forgemesh.cli.main import main

COMMANDS = ["up", "down", "status", "run", "execution list", "execution show", "execution watch", "plugin list"]
COMMANDS += ["trace show", "version"]


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
    code = main(["execution", "list", "--nowhere"])

    assert code == 2
    assert capsys.readouterr().err == "error: Unknown option: --nowhere.\n  forgemesh execution list --help\n"
