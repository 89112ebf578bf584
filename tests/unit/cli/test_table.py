import io

import pytest

from forgemesh.cli.table import Table, joined, word, write_table


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_are_aligned_and_nothing_trails() -> None:
    table = Table(("PLUGIN", "STATE"))
    table.add("weather.stats", "ready")
    table.add("x", None)

    assert table.lines() == ["PLUGIN         STATE", "weather.stats  ready", "x              -"]


def test_cells_cannot_move_the_cursor() -> None:
    table = Table(("A",))
    table.add("\x1b[2Jx")

    assert table.lines()[1] == " [2Jx"


def test_off_a_terminal_there_is_no_colour() -> None:
    stream, table = io.StringIO(), Table(("STATE",))
    table.add("ready")

    write_table(table, stream)

    assert stream.getvalue() == "STATE\nready\n"


@pytest.fixture
def colourful(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.usefixtures("colourful")
def test_on_a_terminal_states_have_colours() -> None:
    stream, table = Screen(), Table(("STATE",))
    table.add("ready")

    write_table(table, stream)

    assert "\x1b[32mready" in stream.getvalue()


def test_no_color_is_obeyed(colourful: pytest.MonkeyPatch) -> None:
    colourful.setenv("NO_COLOR", "1")
    stream, table = Screen(), Table(("STATE",))
    table.add("ready")

    write_table(table, stream)

    assert "\x1b[3" not in stream.getvalue()


def test_an_enums_name_becomes_words() -> None:
    assert word("HEALTH_NOT_SERVING", "HEALTH_") == "not serving"


def test_only_what_says_something_is_joined() -> None:
    assert joined(("a", "", "b")) == "a · b"
