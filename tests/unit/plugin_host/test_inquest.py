"""What an earlier process has left never speaks of a later one."""

from __future__ import annotations

from pathlib import Path

from forgemesh.plugin_host.running_calls import DIGEST
from forgemesh.plugin_host.supervisor.hosts.blame import Blame
from forgemesh.plugin_host.supervisor.hosts.inquest import Inquest

CALL = b"c" * DIGEST


def test_a_file_that_cannot_be_removed_keeps_no_plugin_from_starting(tmp_path: Path) -> None:
    inquest = Inquest(Blame(poison_after=3, within=600.0), tmp_path / "stats-1.calls")
    inquest.file.mkdir()

    inquest.close()

    assert [inquest.crashed("it fell", at) for at in (1.0, 2.0)] == [True, True]


def test_calls_that_an_earlier_process_has_left_in_it_are_not_blamed(tmp_path: Path) -> None:
    inquest = Inquest(Blame(poison_after=3, within=600.0), tmp_path / "stats-1.calls")
    inquest.file.mkdir()
    inquest.close()
    inquest.file.rmdir()
    inquest.file.write_bytes(CALL)

    assert [inquest.crashed("it fell", at) for at in (1.0, 2.0)] == [True, True]


def test_calls_are_blamed_again_once_the_file_was_removed(tmp_path: Path) -> None:
    inquest = Inquest(Blame(poison_after=3, within=600.0), tmp_path / "stats-1.calls")
    inquest.file.mkdir()
    inquest.close()
    inquest.file.rmdir()
    inquest.close()
    inquest.file.write_bytes(CALL)

    assert [inquest.crashed("it fell", at) for at in (1.0, 2.0)] == [True, False]
