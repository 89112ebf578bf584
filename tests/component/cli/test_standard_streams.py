"""A hyphen in the place of a file."""

from __future__ import annotations

import io
import sys

import pytest

from forgemesh.cli.exits import ExitCode
from forgemesh.cli.main import main

NOWHERE = ["--address", "127.0.0.1:1"]


@pytest.mark.parametrize("typed", [["execution", "import", "-"], ["execution", "export", "x1", "-"]])
def test_a_hyphen_is_a_stream_and_no_option(
    typed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x")))

    assert main([*typed, *NOWHERE]) == ExitCode.UNREACHABLE
    assert "Unknown option" not in capsys.readouterr().err


@pytest.mark.parametrize("typed", [["execution", "import", "--nope"], ["xds", "bootstrap", "--nope"]])
def test_what_is_no_option_is_no_file_either(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*typed, *NOWHERE]) == ExitCode.USAGE
    assert "Unknown option: --nope" in capsys.readouterr().err
