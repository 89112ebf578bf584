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


@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_ids_stay_whole_on_a_narrow_screen(colourful: pytest.MonkeyPatch, columns: str) -> None:
    colourful.setenv("COLUMNS", columns)
    colourful.setenv("NO_COLOR", "1")
    ids = (
        "01J9ZC5Y8QK3M5N7P9R1T3V5X7",
        "weather-stats-7f3a2b",
        "weather.stats",
        "1.0.0+dev.001",
        "2026-11-30 01:20:57",
    )
    told = "it waits for a person; forgemesh execution resolve 01J9ZC5Y8QK3M5N7P9R1T3V5X7 charge decides about it"
    stream, table = Screen(), Table(("EXECUTION", "INSTANCE", "PLUGIN", "VERSION", "STARTED", "NOTE"))
    table.add(*ids, told)

    write_table(table, stream)

    lines = stream.getvalue().splitlines()
    assert [one for one in ids if not any(one in line for line in lines)] == []
    words = {word for line in lines for word in line.split()}
    assert set(told.split()) <= words


def test_where_ids_do_not_fit_each_row_is_one_line(colourful: pytest.MonkeyPatch) -> None:
    colourful.setenv("COLUMNS", "40")
    stream, table = Screen(), Table(("EXECUTION", "STATE", "NOTE"))
    table.add("01J9ZC5Y8QK3M5N7P9R1T3V5X7", "ready", "a sentence that is longer than what is left of the screen")
    table.add("x", "", "short")

    write_table(table, stream)

    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert "\x1b[32mready" in lines[1]
    assert lines[2].endswith("-      short")


def test_sentences_are_fitted_to_the_screen(colourful: pytest.MonkeyPatch) -> None:
    colourful.setenv("COLUMNS", "40")
    stream, table = Screen(), Table(("ID", "NOTE"))
    table.add("x1", "a sentence of words that is longer than forty columns")

    write_table(table, stream)

    assert all(len(line.rstrip()) <= 40 for line in stream.getvalue().splitlines()[1:])
    assert len(stream.getvalue().splitlines()) > 2


def test_an_enums_name_becomes_words() -> None:
    assert word("HEALTH_NOT_SERVING", "HEALTH_") == "not serving"


def test_only_what_says_something_is_joined() -> None:
    assert joined(("a", "", "b")) == "a · b"
