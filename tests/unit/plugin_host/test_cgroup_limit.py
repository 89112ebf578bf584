from pathlib import Path

import pytest

from forgemesh.plugin_host.host.process.cgroup_limit import memory_limit

MEBIBYTE = 1 << 20
NONE_IN_VERSION_1 = "9223372036854771712"
UNIFIED = "30 24 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
MEMORY = "35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
CPU = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct"


def process(tmp_path: Path, groups: str, *mounts: str, root: str = "/") -> Path:
    """What /proc says of a process in these groups."""
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "cgroup").write_text(groups + "\n")
    (folder / "mountinfo").write_text("".join(mount.format(root=root) + "\n" for mount in mounts))
    return folder


def limited(tmp_path: Path, group: str, **files: str) -> None:
    """The group's folder, with what its files say."""
    folder = tmp_path / "sys/fs/cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(text + "\n")


def test_the_limit_of_a_container_that_sees_its_own_group_alone_in_version_2(tmp_path: Path) -> None:
    limited(tmp_path, "", max=str(256 * MEBIBYTE))

    assert memory_limit(process(tmp_path, "0::/", UNIFIED), tmp_path) == 256 * MEBIBYTE


@pytest.mark.parametrize(("outer", "inner"), [("128", "256"), ("256", "128"), ("128", "max"), ("max", "128")])
def test_of_groups_in_one_another_the_smallest_limit_counts(tmp_path: Path, outer: str, inner: str) -> None:
    def size(mebibytes: str) -> str:
        return mebibytes if mebibytes == "max" else str(int(mebibytes) * MEBIBYTE)

    limited(tmp_path, "", max="max")
    limited(tmp_path, "mesh.slice", max=size(outer))
    limited(tmp_path, "mesh.slice/pod", max="max")
    limited(tmp_path, "mesh.slice/pod/host", max=size(inner))

    assert memory_limit(process(tmp_path, "0::/mesh.slice/pod/host", UNIFIED), tmp_path) == 128 * MEBIBYTE


@pytest.mark.parametrize("root", ["/kubepods/pod1/box", "/"])
def test_the_limit_in_version_1_whether_the_container_sees_the_whole_tree_or_not(tmp_path: Path, root: str) -> None:
    seen = "memory" if root != "/" else "memory/kubepods/pod1/box"
    limited(tmp_path, seen, limit_in_bytes=str(200 * MEBIBYTE))
    groups = "9:cpu,cpuacct:/kubepods/pod1/box\n4:memory:/kubepods/pod1/box\n0::/"

    assert memory_limit(process(tmp_path, groups, CPU, MEMORY, root=root), tmp_path) == 200 * MEBIBYTE


def test_version_1_tells_also_of_limits_that_stand_where_the_container_cannot_see(tmp_path: Path) -> None:
    stat = f"cache 1\nhierarchical_memory_limit {100 * MEBIBYTE}\nhierarchical_memsw_limit {NONE_IN_VERSION_1}"
    limited(tmp_path, "memory", limit_in_bytes=NONE_IN_VERSION_1, stat=stat)

    assert memory_limit(process(tmp_path, "4:memory:/pod/box", MEMORY, root="/pod/box"), tmp_path) == 100 * MEBIBYTE


def test_both_versions_at_once_as_where_the_unified_tree_counts_no_memory(tmp_path: Path) -> None:
    limited(tmp_path, "memory/box", limit_in_bytes=str(300 * MEBIBYTE))
    unified = UNIFIED.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")

    assert memory_limit(process(tmp_path, "4:memory:/box\n0::/box", unified, MEMORY), tmp_path) == 300 * MEBIBYTE


def test_a_group_outside_of_what_is_mounted_is_taken_for_the_one_that_is(tmp_path: Path) -> None:
    limited(tmp_path, "", max=str(64 * MEBIBYTE))

    assert memory_limit(process(tmp_path, "0::/../other", UNIFIED), tmp_path) == 64 * MEBIBYTE


@pytest.mark.parametrize("said", ["max", "", "many", NONE_IN_VERSION_1])
def test_what_says_no_number_is_no_limit(tmp_path: Path, said: str) -> None:
    limited(tmp_path, "", max=said)

    assert memory_limit(process(tmp_path, "0::/", UNIFIED), tmp_path) == 0


@pytest.mark.parametrize("groups", ["", "nonsense", "0::/"])
def test_a_system_that_says_nothing_sets_no_limit(tmp_path: Path, groups: str) -> None:
    assert memory_limit(process(tmp_path, groups), tmp_path) == 0
    assert memory_limit(tmp_path / "nowhere", tmp_path) == 0
