"""A log says everything once, counts what repeats itself, and does not fill a disk."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from forgemesh.chassis.log_output import ALIKE, LARGEST_FILE, LOG_FILE, SAME, WINDOW, LogOutput
from forgemesh.chassis.logs import JsonFormatter, about


class Written:
    """What goes through a log output whose clock a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self._stream = io.StringIO()
        self._output = LogOutput(self._stream, lambda: self.now)
        self._output.setFormatter(JsonFormatter("forgemesh-mill"))

    def log(self, message: str, *arguments: object, logger: str = "forgemesh.mill", level: int = logging.INFO) -> None:
        self._output.handle(logging.LogRecord(logger, level, __file__, 1, message, arguments, None))

    def after(self, seconds: float) -> None:
        self.now += seconds
        self._output.look_after()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    @property
    def messages(self) -> list[str]:
        return [record["message"] for record in self.records]


@pytest.fixture
def written() -> Written:
    return Written()


def test_what_is_said_again_and_again_is_counted(written: Written) -> None:
    for _ in range(SAME + 7):
        written.log("the mill stands", level=logging.WARNING)
    written.after(WINDOW)

    assert written.messages == ["the mill stands"] * SAME + ["7 more like this were left out in 10 s: the mill stands"]
    assert (written.records[-1]["left_out"], written.records[-1]["level"]) == (7, "WARNING")


def test_what_is_left_out_is_told_by_the_next_record_as_well(written: Written) -> None:
    for _ in range(SAME + 1):
        written.log("the mill stands")
    written.now += WINDOW
    written.log("it turns again")

    assert written.messages[-2:] == ["1 more like this were left out in 10 s: the mill stands", "it turns again"]


def test_after_that_it_is_said_again(written: Written) -> None:
    for _ in range(SAME + 1):
        written.log("the mill stands")
    written.after(WINDOW)
    written.log("the mill stands")

    assert written.messages[-1] == "the mill stands"


def test_the_same_words_about_other_work_are_not_the_same(written: Written) -> None:
    for number in range(3 * SAME):
        with about(execution_id=f"e-{number}"):
            written.log("the mill stands")

    assert len(written.messages) == 3 * SAME


def test_of_thousands_that_differ_in_a_name_so_many_are_written_and_the_rest_is_counted(written: Written) -> None:
    for number in range(5 * ALIKE):
        written.log("instance %s is registered", f"i-{number}")
    written.after(WINDOW)

    assert len(written.messages) == ALIKE + 1
    assert written.records[-1]["left_out"] == 4 * ALIKE


def test_what_an_author_says_of_many_things_is_all_written(written: Written) -> None:
    for number in range(2 * ALIKE):
        written.log("row %d", number, logger="weather.stats")

    assert len(written.messages) == 2 * ALIKE


def test_never_are_more_kinds_remembered_than_fit(written: Written) -> None:
    for number in range(5000):
        written.log(f"row {number}", logger="weather.stats")

    assert len(written._output._same._kinds) <= 1001


PROGRAM = """
import logging, sys
from forgemesh.chassis.log_output import LARGEST_FILE
from forgemesh.chassis.logs import configure_logs
output = configure_logs("forgemesh-mill")
for _ in range(3):
    sys.stderr.write("x" * (LARGEST_FILE // 2 + 1) + "\\n")
    sys.stderr.write("y" * (LARGEST_FILE // 2) + "\\n")
    sys.stderr.flush()
    output.look_after()
    logging.info("this comes after")
    print("and so does this", flush=True)
"""


def test_a_file_that_is_large_becomes_the_one_before_and_whatever_is_written_goes_on_in_a_new_one(
    tmp_path: Path,
) -> None:
    log = tmp_path / "mill.log"
    with log.open("ab") as output:
        log.chmod(0o600)
        environment = {LOG_FILE: str(log), "PYTHONPATH": ":".join(sys.path)}
        subprocess.run([sys.executable, "-c", PROGRAM], stdout=output, stderr=output, env=environment, check=True)

    lines = log.read_text().splitlines()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mill.log", "mill.log.1"]
    assert [json.loads(line)["message"] for line in lines if line.startswith("{")] == ["this comes after"]
    assert lines[-1] == "and so does this"
    assert (tmp_path / "mill.log.1").stat().st_size < 2 * LARGEST_FILE
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_file_that_nobody_asked_to_keep_is_left_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "mill.log"
    with log.open("ab") as output:
        environment = {"PYTHONPATH": ":".join(sys.path)}
        subprocess.run([sys.executable, "-c", PROGRAM], stdout=output, stderr=output, env=environment, check=True)

    assert [path.name for path in tmp_path.iterdir()] == ["mill.log"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_removed_or_replaced_is_written_on_under_its_name(tmp_path: Path, replaced: bool) -> None:
    log = tmp_path / "service.log"
    program = (
        "import logging, os, pathlib, sys\n"
        "from forgemesh.chassis.logs import configure_logs\n"
        "output = configure_logs('mill')\n"
        "log = pathlib.Path(sys.argv[1])\n"
        "log.unlink()\n"
        "if sys.argv[2] == 'True':\n"
        "    log.write_text('another\\n')\n"
        "output.look_after()\n"
        "logging.error('said afterwards')\n"
        "os.write(1, b'printed afterwards\\n')\n"
    )
    with log.open("ab") as written:
        subprocess.run(
            [sys.executable, "-c", program, str(log), str(replaced)],
            env=os.environ | {"FORGEMESH_LOG_FILE": str(log)},
            stdout=written,
            stderr=written,
            check=True,
        )

    text = log.read_text()
    assert text.startswith("another\n") is replaced
    assert "said afterwards" in text
    assert "printed afterwards" in text
    assert log.stat().st_mode & 0o777 == 0o600
