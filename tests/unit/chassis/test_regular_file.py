"""A pipe or a folder under the name of a file is refused, and nobody waits for what nobody writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from forgemesh.chassis.private_files import open_private
from forgemesh.chassis.process import CannotStart
from forgemesh.chassis.regular_file import read_file
from forgemesh.chassis.sqlite.commit_head import head_path, noted, open_head
from forgemesh.client.mesh_file import FILE_NAME, read_mesh
from forgemesh.plugin_host.supervisor.state.journal import Journal
from forgemesh.plugin_host.supervisor.state.owner_key import read_or_make
from forgemesh.plugin_host.supervisor.state.reattach_store import ReattachStore

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=[os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def put(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    """Puts something that is no file at a path."""
    make: Callable[[Path], None] = request.param
    return make


def test_what_a_file_holds_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")

    assert read_file(tmp_path / "file") == b"content"


def test_only_a_file_is_read(tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / "it")

    with pytest.raises(OSError, match=r"no regular file|Is a directory"):
        read_file(tmp_path / "it")


@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_WRONLY | os.O_APPEND])
def test_only_a_file_is_opened_to_be_written(flags: int, tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / "it")

    with pytest.raises(OSError, match=r"no regular file|Is a directory|No such device"):
        open_private(tmp_path / "it", flags)


def test_a_supervisor_goes_on_without_what_an_earlier_one_was_changing(
    tmp_path: Path, put: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "supervisor.changes")

    assert Journal(tmp_path / "supervisor.changes").change("p") is None
    assert "supervisor.changes" in caplog.text


def test_a_supervisor_goes_on_without_the_processes_of_an_earlier_one(
    tmp_path: Path, put: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "supervisor.json")

    assert ReattachStore(tmp_path / "supervisor.json", tmp_path / "address").left() == []
    assert "supervisor.json" in caplog.text


def test_an_owner_key_that_is_no_file_is_named(tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / "owner.key")

    with pytest.raises(CannotStart, match=r"owner\.key cannot be used: .*; delete it"):
        read_or_make(tmp_path / "owner.key")


def test_the_note_of_the_newest_commit_is_none_and_is_refused_when_it_is_to_be_written(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    put(head_path(tmp_path / "mill.db"))

    assert noted(tmp_path / "mill.db") == 0
    with pytest.raises(OSError, match=r"mill\.db\.head"):
        open_head(tmp_path / "mill.db", 1)


def test_a_folder_whose_mesh_file_is_none_has_no_mesh(tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / FILE_NAME)

    assert read_mesh(tmp_path) is None
