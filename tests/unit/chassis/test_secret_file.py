from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from forgemesh.chassis.secret_file import NoSecret, read_or_make_secret


def test_the_secret_is_made_once_and_for_its_owner_alone_whatever_the_umask_says(tmp_path: Path) -> None:
    path = tmp_path / "token"
    before = os.umask(0)
    try:
        made, read = read_or_make_secret(path), read_or_make_secret(path)
    finally:
        os.umask(before)

    assert made == read
    assert path.stat().st_mode & 0o777 == 0o600


def test_all_who_come_at_the_same_time_get_the_same_secret_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with ThreadPoolExecutor(16) as threads:
        found = set(threads.map(lambda _: read_or_make_secret(path), range(64)))

    assert len(found) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["token"]


def test_a_process_that_ends_while_it_writes_leaves_no_half_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token"

    def ends(file: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", ends)
        with pytest.raises(KeyboardInterrupt):
            read_or_make_secret(path)

    assert not path.exists()
    assert len(read_or_make_secret(path)) > 16


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoSecret, match="cannot be made: No such file or directory"):
        read_or_make_secret(tmp_path / "nowhere" / "token")


def test_a_file_that_holds_no_secret_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch()

    with pytest.raises(NoSecret, match="holds no key"):
        read_or_make_secret(path)
