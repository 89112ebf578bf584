from pathlib import Path

import msgspec
import pytest

from forgemesh.client.client import DEFAULT_ADDRESS, find_address
from forgemesh.client.mesh_file import DATA_DIRECTORY, FILE_NAME, MeshFacts, ServiceFacts, nearest_mesh, read_mesh


def facts(address: str) -> MeshFacts:
    orchestrator = ServiceFacts(address=address, health_address="", pid=7)
    return MeshFacts(
        version="1", pid=6, started_at="2026-01-01T00:00:00+00:00", services={"orchestrator": orchestrator}
    )


def write(folder: Path, address: str) -> None:
    directory = folder / DATA_DIRECTORY
    directory.mkdir(parents=True)
    (directory / FILE_NAME).write_bytes(msgspec.json.encode(facts(address)))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    monkeypatch.delenv("FORGEMESH_ADDRESS", raising=False)
    return tmp_path


def test_the_environment_names_the_orchestrator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGEMESH_ADDRESS", "mesh.example:7401")

    assert find_address() == "mesh.example:7401"


def test_a_mesh_is_found_in_a_folder_above(elsewhere: Path) -> None:
    write(elsewhere, "127.0.0.1:1")

    assert find_address() == "127.0.0.1:1"


def test_the_nearest_mesh_wins(elsewhere: Path) -> None:
    write(elsewhere, "127.0.0.1:1")
    write(elsewhere / "a", "127.0.0.1:2")

    assert find_address() == "127.0.0.1:2"


def test_without_any_of_that_it_is_the_default_port() -> None:
    assert find_address() == DEFAULT_ADDRESS


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff"])
def test_a_broken_file_is_no_mesh(elsewhere: Path, content: bytes) -> None:
    directory = elsewhere / DATA_DIRECTORY
    directory.mkdir()
    (directory / FILE_NAME).write_bytes(content)

    assert read_mesh(directory) is None
    assert nearest_mesh(elsewhere) is None


def test_a_mesh_file_may_say_more_than_this_release_knows(elsewhere: Path) -> None:
    directory = elsewhere / DATA_DIRECTORY
    directory.mkdir()
    known = msgspec.to_builtins(facts("h:1"))
    (directory / FILE_NAME).write_bytes(msgspec.json.encode({**known, "colour": "green"}))

    assert read_mesh(directory) == facts("h:1")
