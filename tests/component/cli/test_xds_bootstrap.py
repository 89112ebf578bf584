"""The file by which stock clients find the balancer, as somebody asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forgemesh.cli.exits import ExitCode
from forgemesh.cli.main import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("FORGEMESH_ADDRESS", "FORGEMESH_BALANCER", "FORGEMESH_BALANCER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_file_names_the_balancer_and_the_client_and_how_to_use_it_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["xds", "bootstrap", "--server", "balancer.mesh:7403", "--node-id", "billing"]) == ExitCode.OK

    written = json.loads((folder / "xds-bootstrap.json").read_text(encoding="utf-8"))
    said = capsys.readouterr()
    (server,) = written["xds_servers"]
    assert server["server_uri"] == "balancer.mesh:7403"
    assert server["server_features"] == ["xds_v3"]
    assert written["node"] == {"id": "billing", "locality": {}}
    assert said.out == "xds-bootstrap.json\n"
    assert f"export GRPC_XDS_BOOTSTRAP={folder}/xds-bootstrap.json" in said.err


def test_it_goes_to_stdout_for_other_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xds", "bootstrap", "-", "--server", "127.0.0.1:7403"]) == ExitCode.OK

    assert json.loads(capsys.readouterr().out)["node"]["id"]
    assert list(folder.iterdir()) == []


def test_a_file_that_is_there_stays_unless_force_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "x.json").write_text("mine", encoding="utf-8")

    assert main(["xds", "bootstrap", "x.json", "--server", "127.0.0.1:7403"]) == ExitCode.USAGE
    assert "--force" in capsys.readouterr().err
    assert (folder / "x.json").read_text(encoding="utf-8") == "mine"
    assert main(["xds", "bootstrap", "x.json", "--server", "127.0.0.1:7403", "--force"]) == ExitCode.OK
    assert "xds_servers" in (folder / "x.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (["--server", "nowhere"], "--server"),
        (["--server", "127.0.0.1:99999"], "--server"),
        (["--server", "127.0.0.1:7403", "--node-id", ""], "--node-id"),
        (["--server", "127.0.0.1:7403", "--node-id", "x" * 257], "--node-id"),
        (["--server", "127.0.0.1:7403", "--node-id", "a\nb"], "--node-id"),
        (["missing/folder.json", "--server", "127.0.0.1:7403"], "cannot write"),
    ],
)
def test_what_makes_no_file_is_refused_by_its_name(
    given: list[str], word: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["xds", "bootstrap", *given]) == ExitCode.USAGE

    assert word in capsys.readouterr().err
    assert list(folder.iterdir()) == []
