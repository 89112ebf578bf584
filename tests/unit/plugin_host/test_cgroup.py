import os
from pathlib import Path

from forgemesh.plugin_host.supervisor.plan.plan import Limits
from forgemesh.plugin_host.supervisor.processes.linux.cgroup import Cgroups, delegated

LIMITS = Limits(memory=256 << 20, cpu=0.5)


def mounted(tmp_path: Path, controllers: str = "cpuset cpu io memory pids") -> Path:
    """Plain files where the kernel has its own: what is written can be read."""
    group = tmp_path / "system.slice" / "mesh.service"
    group.mkdir(parents=True)
    (group / "cgroup.controllers").write_text(controllers)
    return group


def test_a_supervisor_makes_room_for_groups_below_the_one_that_is_its_own(tmp_path: Path) -> None:
    group = mounted(tmp_path)
    (group / "supervisor").mkdir()

    assert delegated(tmp_path, "/system.slice/mesh.service").there
    assert (group / "supervisor" / "cgroup.procs").read_text() == str(os.getpid())
    assert (group / "cgroup.subtree_control").read_text() == "+memory +cpu"


def test_no_group_is_taken_that_is_not_delegated(tmp_path: Path) -> None:
    mounted(tmp_path, controllers="cpuset pids")

    assert not delegated(tmp_path, "/system.slice/mesh.service").there
    assert not delegated(tmp_path, "/elsewhere").there
    assert not delegated(tmp_path, "/").there
    assert not delegated(tmp_path, "").there


def test_the_group_of_an_instance_bounds_memory_and_processor(tmp_path: Path) -> None:
    group = Cgroups(tmp_path).made("stats-1", LIMITS)

    assert group is not None
    assert (group.path / "memory.max").read_text() == str(256 << 20)
    assert (group.path / "cpu.max").read_text() == "50000 100000"
    group.take_in(42)
    assert (group.path / "cgroup.procs").read_text() == "42"


def test_who_has_no_limits_gets_no_group(tmp_path: Path) -> None:
    assert Cgroups(tmp_path).made("stats-1", Limits(open_files=64)) is None
    assert Cgroups(None).made("stats-1", LIMITS) is None


def test_the_kernel_says_how_many_processes_it_has_killed_for_want_of_memory(tmp_path: Path) -> None:
    group = Cgroups(tmp_path).made("stats-1", LIMITS)
    assert group is not None

    assert group.memory_kills == 0
    (group.path / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 0\n")
    assert group.memory_kills == 2


def test_a_limit_that_cannot_be_set_costs_the_group_and_not_the_host(tmp_path: Path) -> None:
    assert Cgroups(tmp_path / "nowhere" / "at" / "all").made("stats-1", LIMITS) is None
