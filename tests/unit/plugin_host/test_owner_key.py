"""The secret that outlives a supervisor, so that its successor's hosts take over at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgemesh.chassis.process import CannotStart
from forgemesh.plugin_host.supervisor.state.owner_key import owner_token, read_or_make


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "supervisor.key"

    made, read = read_or_make(path), read_or_make(path)

    assert made == read
    assert path.stat().st_mode & 0o777 == 0o600


def test_every_instance_has_a_token_of_its_own_that_stays(tmp_path: Path) -> None:
    key = read_or_make(tmp_path / "key")

    first, second, again = (owner_token(key, name) for name in ("stats-1", "stats-2", "stats-1"))

    assert first == again
    assert first != second


def test_a_key_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("no key")

    with pytest.raises(CannotStart, match="delete it, and a new one is made"):
        read_or_make(path)


def test_an_empty_key_is_none(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch()

    with pytest.raises(CannotStart, match="it is empty"):
        read_or_make(path)
