import json

from hypothesis import given, strategies as st

from forgemesh.cli.log_line import readable, record_of


def test_plain_output_stays_as_it_is_but_for_what_moves_the_cursor() -> None:
    assert readable("hello {world}") == ["hello {world}"]
    assert readable('{"no": "record"}') == ['{"no": "record"}']
    assert readable("\x1b[2Jx") == [" [2Jx"]


def test_a_record_shows_its_time_level_message_extras_and_call() -> None:
    record = {
        "at": "2026-11-25T10:00:01.123Z",
        "level": "ERROR",
        "service": "shop.stock",
        "logger": "plugin",
        "message": "no ink",
        "trace_id": "ab",
        "execution_id": "x1",
        "step_path": "reserve",
        "shelf": 3,
        "exception": "Traceback ...\nKeyError: 'ink'",
    }

    assert readable(json.dumps(record)) == [
        "10:00:01 ERROR no ink shelf=3 (x1 reserve)",
        "Traceback ...",
        "KeyError: 'ink'",
    ]


@given(st.text(max_size=40))
def test_no_line_breaks_the_terminal(text: str) -> None:
    lines = readable(text) + readable("{" + text) + readable(json.dumps({"message": text}))

    assert all(one.isprintable() for one in lines)
    record_of(text)


def test_a_line_that_is_nested_without_end_is_plain_output() -> None:
    line = '{"message":' * 100_000

    assert record_of(line) is None
