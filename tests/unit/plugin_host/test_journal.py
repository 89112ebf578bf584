from pathlib import Path

from forgemesh.plugin_host.supervisor.state.change import Configuration
from forgemesh.plugin_host.supervisor.state.journal import Journal


def test_what_was_noted_is_written_again_when_its_file_has_gone(tmp_path: Path) -> None:
    path, configuration = tmp_path / "journal", Configuration(text="1", revision=1)
    journal = Journal(path)
    journal.settle("stock", configuration)
    path.unlink()

    journal.restore()

    assert Journal(path).configuration("stock") == configuration
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_journal_in_which_nothing_was_noted_makes_no_file(tmp_path: Path) -> None:
    Journal(tmp_path / "journal").restore()

    assert list(tmp_path.iterdir()) == []
