import json

import pytest

from forgemesh.plugin_host.supervisor.processes.last_words import LONGEST, last_words

SEGFAULT = """\
loading the model
Fatal Python error: Segmentation fault

Thread 0x00007f612623d6c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait
  File "/plugins/stats.py", line 4 in idle

Current thread 0x00007f6128e12b80 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/plugins/stats.py", line 12 in temperature
  File "/usr/lib/python3.11/threading.py", line 982 in run

Extension modules: grpc._cython.cygrpc, msgspec._core (total: 2)"""


def test_of_a_crash_in_a_library_they_are_the_fault_and_whose_code_had_called_it() -> None:
    said = last_words(SEGFAULT.splitlines())

    assert said == (
        "Fatal Python error: Segmentation fault, at __init__.py:519 in string_at,"
        " called from stats.py:12 in temperature"
    )


def test_a_crash_in_the_authors_own_code_is_named_once() -> None:
    dump = 'Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n  File "/p/a.py", line 1 in f'

    assert last_words(dump.splitlines()) == "Fatal Python error: Aborted, at a.py:1 in f"


def test_a_crash_that_no_python_code_stood_in_is_named_all_the_same() -> None:
    dump = "Fatal Python error: Bus error\n\nCurrent thread 0x1 (most recent call first):\n  <no Python frame>"

    assert last_words(dump.splitlines()) == "Fatal Python error: Bus error"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            ["Traceback (most recent call last):", '  File "a.py", line 1, in <module>', "ValueError: no"],
            "ValueError: no",
        ),
        (["ValueError: no", "", "Extension modules: numpy (total: 1)"], "ValueError: no"),
        (
            ["out of disk", "Thread 0x1 (most recent call first):", '  File "/a.py", line 1 in f', "  ..."],
            "out of disk",
        ),
        (["first", "last", "", "  "], "last"),
        ([], ""),
        (["", "Extension modules: numpy (total: 1)"], ""),
    ],
)
def test_otherwise_they_are_the_last_line_that_is_no_part_of_a_dump(lines: list[str], words: str) -> None:
    assert last_words(lines) == words


def test_of_a_log_record_they_are_its_message_and_what_was_raised() -> None:
    record = {"message": "it broke", "exception": "Traceback ...\n  frame\nKeyError: 'day'\n"}

    assert last_words([json.dumps(record)]) == "it broke: KeyError: 'day'"
    assert last_words([json.dumps({"message": "no such file"})]) == "no such file"


@pytest.mark.parametrize("line", ["[" * 5_000, '{"message": 1', "x" * 5_000])
def test_a_line_that_is_no_record_is_shown_as_it_is_and_cut(line: str) -> None:
    said = last_words([line])

    assert said.rstrip("…") == line[:LONGEST]
