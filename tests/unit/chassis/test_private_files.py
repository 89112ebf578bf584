import os
import stat
from pathlib import Path

from forgemesh.chassis.private_files import keep_private, make_private_folder, open_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_that_is_there_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)

    make_private_folder(tmp_path / "data")

    assert mode(tmp_path / "data") == 0o700


def test_a_folder_that_is_shared_by_all_stays_shared(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)

    make_private_folder(shared)

    assert mode(shared) == 0o1777


def test_a_file_from_before_is_closed_to_others_and_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("from before\n")
    path.chmod(0o644)

    os.close(open_private(path, os.O_WRONLY | os.O_APPEND))

    assert (mode(path), path.read_text()) == (0o600, "from before\n")


def test_a_device_stays_as_it_is() -> None:
    before = os.stat("/dev/null").st_mode  # noqa: PTH116

    keep_private(Path("/dev/null"))

    assert os.stat("/dev/null").st_mode == before  # noqa: PTH116
