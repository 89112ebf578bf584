import io
import json
import logging
from collections.abc import AsyncIterator

import pytest

from forgemesh.cli.terminal import LogHandler, Terminal
from tests.component.cli.typed import Keyboard, Screen

EVIL = "x\x1b[31m\x9b2J\u202e\nforged"
SHOWN = "x [31m 2J  forged"


@pytest.fixture(autouse=True)
def _colourful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def test_a_line_of_data_and_of_talk_stays_one_line_and_is_not_obeyed() -> None:
    terminal = Terminal(io.StringIO(), io.StringIO())
    terminal.data(EVIL, "next")
    terminal.talk(EVIL)

    assert _text(terminal.out) == f"{SHOWN}\nnext\n"
    assert _text(terminal.err) == f"{SHOWN}\n"


def test_a_value_is_printable_and_means_the_same() -> None:
    terminal = Terminal(io.StringIO(), io.StringIO(), json=True)
    terminal.value({"text": EVIL + "\x7f\udc9b"})

    assert _text(terminal.out).rstrip("\n").isprintable()
    assert json.loads(_text(terminal.out)) == {"text": EVIL + "\x7f\udc9b"}


def test_what_is_drawn_has_our_colours_and_no_others() -> None:
    terminal = Terminal(Screen(), Screen())
    terminal.drawn([terminal.dress(EVIL, "error") + "\x1b[2J" + terminal.dress("plain", "name")])

    assert _text(terminal.out) == f"\x1b[31m{SHOWN}\x1b[0m [2Jplain\n"


def test_a_question_cannot_be_forged() -> None:
    err = Screen()
    terminal = Terminal(io.StringIO(), err, keyboard=Keyboard("y\n"))

    assert terminal.ask(EVIL)
    assert err.getvalue() == f"{SHOWN} "


def test_a_log_record_is_not_obeyed_and_one_that_cannot_be_shown_is_named() -> None:
    terminal = Terminal(io.StringIO(), io.StringIO())
    log = LogHandler(terminal)
    log.handle(_record("it said %s", "\x1b]0;x\x07\u202e"))
    log.handle(_record("%d", EVIL))

    assert _text(terminal.err).splitlines() == [
        "WARNING:forgemesh.test:it said  ]0;x  ",
        "a log record of forgemesh.test cannot be shown",
    ]


def test_a_traceback_is_not_obeyed() -> None:
    terminal = Terminal(io.StringIO(), io.StringIO())
    terminal.traceback(ValueError("\x1b[2J\x9b"))

    assert _text(terminal.err) == "ValueError:  [2J \n"


async def test_bytes_reach_another_program_as_they_are() -> None:
    kept = io.BytesIO()
    terminal = Terminal(io.TextIOWrapper(kept, write_through=True), io.StringIO())

    async def pieces() -> AsyncIterator[bytes]:
        yield b"\x1b["
        yield b"\x00\xff"

    await terminal.raw(pieces())

    assert kept.getvalue() == b"\x1b[\x00\xff"


def _record(text: str, said: str) -> logging.LogRecord:
    return logging.LogRecord("forgemesh.test", logging.WARNING, "", 0, text, (said,), None)


def _text(stream: object) -> str:
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()
