import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from forgemesh.plugin_host.supervisor.processes import output
from forgemesh.plugin_host.supervisor.processes.log_excerpt import excerpt
from forgemesh.plugin_host.supervisor.processes.output import CONTINUED, LONGEST_LINE, Follower, LogLine, OutputLog


def logged(path: Path, *chunks: bytes) -> OutputLog:
    log = OutputLog(path)
    for chunk in chunks:
        log.add(chunk)
    log.end()
    log.close()
    return log


def test_lines_are_kept_however_they_arrive(tmp_path: Path) -> None:
    path = tmp_path / "stats-1.log"
    log = logged(path, b"first\nsec", b"ond\n\nthird")

    assert path.read_bytes() == b"first\nsecond\n\nthird\n"
    assert log.last_words == "third"


def test_a_line_without_end_is_split_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "stats-1.log"
    logged(path, *[b"x" * 65_536] * 16)

    lines = path.read_bytes().splitlines(keepends=True)
    assert all(line.endswith(CONTINUED) for line in lines[:-1])
    assert max(map(len, lines)) <= LONGEST_LINE + len(CONTINUED)
    assert path.read_bytes().count(b"x") == 1_048_576


def test_the_last_words_of_a_log_record_are_what_it_says(tmp_path: Path) -> None:
    log = logged(tmp_path / "stats-1.log", b'{"level": "ERROR", "message": "no such file"}\n\n')

    assert log.last_words == "no such file"


def test_the_last_lines_are_remembered_and_long_ones_cut(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "stats-1.log", source="stats-1", clock=lambda: 7.0)
    log.add(b"first\n" + b"x" * 5_000 + b"\nlast\n")

    first, cut, last = log.tail(10)
    assert (first, last) == (LogLine("stats-1", 7.0, "first"), LogLine("stats-1", 7.0, "last"))
    assert cut.text == "x" * output.LONGEST_REMEMBERED + "…"
    assert [line.text for line in log.tail(1)] == ["last"]
    assert log.tail(0) == []
    log.close()


def test_the_memory_of_lines_has_a_bound(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "stats-1.log")
    log.add(b"".join(b"%d\n" % number for number in range(3 * output.REMEMBERED)))
    log.close()

    assert len(log.tail(10 * output.REMEMBERED)) == output.REMEMBERED


async def test_who_follows_gets_each_line_and_is_told_how_many_were_dropped(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "stats-1.log")
    follower = Follower()
    log.follow(follower)
    lines = follower.lines()
    log.add(b"first\n")
    first = await anext(lines)
    log.add(b"".join(b"%d\n" % number for number in range(output.FOLLOWED + 5)))
    second = await anext(lines)
    third = await anext(lines)
    log.unfollow(follower)
    log.add(b"unheard\n")
    log.close()
    follower.end()
    rest = [line.text async for line in lines]

    assert (first.text, first.dropped) == ("first", 0)
    assert (second.text, second.dropped) == ("5", 5)
    assert (third.text, third.dropped) == ("6", 0)
    assert (rest[-1], len(rest)) == (str(output.FOLLOWED + 4), output.FOLLOWED - 2)


def test_a_new_process_has_no_last_words_yet(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "stats-1.log")
    log.add(b"of the old one\n")
    log.forget()
    log.note("process 7 started")
    log.close()

    assert log.last_words == ""


def test_a_log_goes_on_over_restarts_of_the_supervisor(tmp_path: Path) -> None:
    path = tmp_path / "stats-1.log"
    logged(path, b"first\n")
    logged(path, b"second\n")

    assert path.read_bytes() == b"first\nsecond\n"


def test_a_log_never_takes_more_than_two_files(tmp_path: Path) -> None:
    path = tmp_path / "stats-1.log"
    line = b"x" * 9_999 + b"\n"
    logged(path, *[line * 100] * (3 * output.LARGEST_FILE // (len(line) * 100)))

    assert sorted(found.name for found in tmp_path.iterdir()) == ["stats-1.log", "stats-1.log.1"]
    assert all(found.stat().st_size <= output.LARGEST_FILE + 2_000_000 for found in tmp_path.iterdir())


def test_a_disk_that_takes_nothing_does_not_stop_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "stats-1.log"
    log = OutputLog(path)
    log.close()
    log.add(b"lost\n")
    log.end()

    assert log.last_words == "lost"


@given(st.lists(st.binary(max_size=50)))
def test_how_output_is_cut_into_chunks_makes_no_difference(chunks: list[bytes]) -> None:
    import tempfile  # noqa: PLC0415 - tmp_path is one for all examples

    with tempfile.TemporaryDirectory() as folder:
        logged(Path(folder) / "a", *chunks)
        logged(Path(folder) / "b", b"".join(chunks))

        assert (Path(folder) / "a").read_bytes() == (Path(folder) / "b").read_bytes()


@pytest.mark.parametrize("size", [1_100, 20_000, 100_000])
def test_of_a_long_record_a_record_is_remembered_with_the_line_that_matters(tmp_path: Path, size: int) -> None:
    exception = "Traceback ...\n" + "  frame\n" * (size // 8) + "ValueError: the last word"
    record = {"level": "ERROR", "message": "it broke " * 200, "size": 7, "big": "b" * 500, "exception": exception}
    line = json.dumps(record).encode() + b"\n"
    log = logged(tmp_path / "stats-1.log", *(line[begin : begin + 65_536] for begin in range(0, len(line), 65_536)))

    (kept,) = log.tail(10)
    told = json.loads(kept.text)
    assert told["level"] == "ERROR"
    assert told["size"] == 7
    assert told["message"].startswith("it broke it broke")
    assert told["message"].endswith("…")
    assert told["exception"].endswith("\nValueError: the last word")
    assert (tmp_path / "stats-1.log").read_bytes().replace(CONTINUED, b"") == line


@given(st.dictionaries(st.text(max_size=200), st.text() | st.integers() | st.lists(st.text())), st.text())
def test_an_excerpt_is_small_and_printable_as_json(values: dict[str, object], message: str) -> None:
    line = json.dumps(values | {"message": message * 500, "more": [0] * 2_000}).encode()

    text = excerpt(line)

    assert text is not None
    assert len(text) < 4_096
    assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize("line", [b"{" + b"x" * 5_000, b'{"message": 7}', b"[" * 5_000, b"plain", b'{"a": ' * 3_000])
def test_what_is_no_record_has_no_excerpt(line: bytes) -> None:
    assert excerpt(line) is None


@pytest.mark.parametrize("replaced", [False, True])
def test_a_log_that_is_removed_or_replaced_is_written_on_under_its_name(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "logs" / "stats-1.log"
    log = OutputLog(path)
    log.add(b"before\n")
    shutil.rmtree(path.parent)
    if replaced:
        path.parent.mkdir()
        path.write_text("another\n")
    log.add(b"after\n")
    log.close()

    assert path.read_text() == ("another\nafter\n" if replaced else "after\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_lines_that_come_at_once_are_looked_at_no_further_than_they_are_remembered(tmp_path: Path) -> None:
    moments = iter(range(10))
    path, follower = tmp_path / "stats-1.log", Follower()
    log = OutputLog(path, clock=lambda: float(next(moments)))
    log.follow(follower)
    for _ in range(8):
        log.add(b"\n" * 65_536)  # one moment each, however many lines

    assert path.read_bytes() == b"\n" * 8 * 65_536
    assert len(log.tail(10**6)) == output.REMEMBERED
    assert follower._dropped == 8 * 65_536 - output.FOLLOWED
    log.close()
