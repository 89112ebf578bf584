import multiprocessing
import os
from pathlib import Path

import pytest

from forgemesh.cli.mesh.directory import holding, is_held
from forgemesh.cli.problem import Problem
from forgemesh.client.mesh_file import FILE_NAME, MeshFacts, ServiceFacts, read_mesh

FACTS = MeshFacts(
    version="1",
    pid=4242,
    started_at="2026-01-01T00:00:00+00:00",
    services={"orchestrator": ServiceFacts(address="127.0.0.1:7401", health_address="", pid=1)},
)


def test_it_is_made_with_a_place_for_logs_and_holds_nothing_else(tmp_path: Path) -> None:
    with holding(tmp_path / "new" / "data") as directory:
        assert [path.name for path in directory.path.iterdir()] == ["logs"]
        assert directory.log("registry") == directory.path / "logs" / "registry.log"


def test_what_is_published_can_be_read_until_the_mesh_ends(tmp_path: Path) -> None:
    with holding(tmp_path) as directory:
        directory.publish(FACTS)
        while_running = read_mesh(tmp_path)

    assert while_running == FACTS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs"]


def test_a_second_mesh_is_refused_and_told_about_the_first(tmp_path: Path) -> None:
    with holding(tmp_path) as directory:
        directory.publish(FACTS)
        with (
            pytest.raises(Problem, match=r"runs in .* already \(pid 4242, orchestrator at 127.0.0.1:7401\)") as refused,
            holding(tmp_path),
        ):
            pass
        still_there = read_mesh(tmp_path)

    assert refused.value.exit_code == 4
    assert still_there == FACTS


def test_a_mesh_that_is_still_starting_refuses_a_second_one_too(tmp_path: Path) -> None:
    with holding(tmp_path), pytest.raises(Problem, match="starting or stopping"), holding(tmp_path):
        pass


def test_it_is_held_while_the_block_runs_and_not_after(tmp_path: Path) -> None:
    with holding(tmp_path):
        during = is_held(tmp_path)

    assert (during, is_held(tmp_path)) == (True, False)


def test_asking_whether_it_is_held_holds_nothing(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    assert not is_held(tmp_path / "nowhere")

    with holding(tmp_path):
        pass


def _hold_and_die(path: Path) -> None:
    with holding(path) as directory:
        directory.publish(FACTS)
        os.kill(os.getpid(), 9)


def test_a_mesh_that_was_killed_leaves_the_way_free(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert read_mesh(tmp_path) == FACTS

    with holding(tmp_path):
        assert read_mesh(tmp_path) is None


def test_a_place_that_is_no_folder_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("")

    message = f"the data directory {file} cannot be used: File exists"
    with pytest.raises(Problem, match=message) as refused, holding(file):
        pass

    assert refused.value.exit_code == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(Problem, match="Permission denied"), holding(tmp_path):
        pass


def test_a_folder_above_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(Problem, match="Not a directory"), holding(tmp_path / "file" / "data"):
        pass


def test_what_in_the_folder_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()

    with pytest.raises(Problem, match=f"{tmp_path} cannot be used: {tmp_path / FILE_NAME}: "), holding(tmp_path):
        pass


def test_a_mesh_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    with holding(tmp_path) as directory:
        directory.publish(FACTS)
        first = (tmp_path / FILE_NAME).stat().st_ino
        directory.publish(FACTS)

        assert (tmp_path / FILE_NAME).stat().st_ino != first
        assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", FILE_NAME]
