import json
from pathlib import Path

from forgemesh.cli.mesh.log import last_lines


def test_the_newest_lines_are_told_and_of_a_record_its_message(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("first\n\n" + json.dumps({"message": "it broke", "exception": "Traceback ..."}) + "\n[1, 2]\nlast\n")

    assert last_lines(log, 3) == ["it broke", "[1, 2]", "last"]


def test_a_long_log_is_read_at_its_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("x" * 100_000 + "\nlast\n")

    assert last_lines(log, 1) == ["last"]


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"\xff\n")

    assert last_lines(log, 1) == ["\ufffd"]


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "nowhere.log", 1) == []
