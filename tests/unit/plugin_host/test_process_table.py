import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgemesh.plugin_host.supervisor.processes.linux.orphan_reaper_program import guard
from forgemesh.plugin_host.supervisor.processes.linux.process_table import (
    Kin,
    Process,
    belonging,
    end_kin,
    mark_of,
    marking,
    new_mark,
    start_time_of,
)

MARK, OTHER = new_mark(), new_mark()
PATIENCE = 180.0


def sleeping() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"], start_new_session=True)


@pytest.fixture
def marked() -> Iterator[subprocess.Popen[bytes]]:
    with marking(MARK):
        process = sleeping()
    with process:
        yield process
        process.kill()


@pytest.fixture
def unmarked() -> Iterator[subprocess.Popen[bytes]]:
    with sleeping() as process:
        yield process
        process.kill()


def one(pid: int, *, parent: int = 1, session: int = 1, mark: int = 0) -> Process:
    return Process(pid, parent, session, "1", mark)


def test_what_is_started_carries_the_mark_and_nothing_else_does(
    marked: subprocess.Popen[bytes], unmarked: subprocess.Popen[bytes]
) -> None:
    assert mark_of(marked.pid) == MARK
    assert mark_of(unmarked.pid) == 0
    assert resource.getrlimit(resource.RLIMIT_RTTIME)[0] == resource.RLIM_INFINITY


def test_where_the_limit_is_bounded_nothing_is_marked() -> None:
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_RTTIME, (1000, 1000));"
        "from forgemesh.plugin_host.supervisor.processes.linux.process_table import new_mark; print(new_mark())"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert said.stdout == "0\n"


def test_what_belongs_to_it_is_gone_and_nothing_else_is(
    marked: subprocess.Popen[bytes], unmarked: subprocess.Popen[bytes]
) -> None:
    assert end_kin([Kin(MARK), Kin(OTHER)]) == []
    assert marked.wait(PATIENCE) == -9
    assert unmarked.poll() is None


def test_what_descends_from_a_marked_process_belongs_to_it_though_it_has_shed_the_mark() -> None:
    table = {p.pid: p for p in (one(2, mark=MARK), one(3, parent=2), one(4, parent=3, mark=OTHER), one(5))}

    assert set(belonging(table, Kin(MARK))) == {2, 3, 4}


def test_what_a_cgroup_lists_belongs_to_it_with_what_descends_from_that(tmp_path: Path) -> None:
    listed = tmp_path / "cgroup.procs"
    listed.write_text("3\n9\n")
    table = {p.pid: p for p in (one(2, mark=MARK), one(3), one(4, parent=3), one(5))}

    assert set(belonging(table, Kin(MARK, listed=listed))) == {2, 3, 4}
    assert set(belonging(table, Kin(MARK, listed=tmp_path / "gone"))) == {2}


def test_of_a_session_belongs_what_carries_the_mark() -> None:
    table = {p.pid: p for p in (one(2, session=2, mark=MARK), one(3, session=3, mark=MARK), one(4, session=2))}

    assert set(belonging(table, Kin(MARK, session=2))) == {2}


def test_without_a_mark_nothing_belongs_to_it() -> None:
    assert belonging({2: one(2)}, Kin(0)) == {}


def test_the_orphan_reaper_ends_what_is_marked_after_its_leader_has_ended(marked: subprocess.Popen[bytes]) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as leader:
        line = f"~ {leader.pid} {start_time_of(leader.pid)} {MARK}\n"
        leader.kill()
    guard([line])

    assert marked.wait(PATIENCE) == -9
