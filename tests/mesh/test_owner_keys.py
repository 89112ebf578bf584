"""A plugin that belongs to the owner of a key, in a mesh of real processes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.processes import eventually
from tests.mesh.up_process import CONFIG, Workplace, going_up

pytestmark = pytest.mark.mesh

OWNED = CONFIG + 'owner_key_file = "greeter.key"\n'
LOAD = "greeter_plugin:Greeter"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    assert workplace.left_behind() == []


async def test_a_plugin_is_claimed_and_then_served_by_who_has_the_key_alone(place: Workplace) -> None:
    (place.folder / "forgemesh.toml").write_text("")
    with going_up(place):
        claimed = place.forgemesh("plugin", "publish", LOAD, "--owner-key-file", "greeter.key")
        again = place.forgemesh("plugin", "publish", LOAD, "--owner-key-file", "greeter.key", "-o", "json")
        refused = place.forgemesh("plugin", "publish", LOAD)
        (place.folder / "other.key").write_text("the key of somebody else\n")
        other = place.forgemesh("plugin", "publish", LOAD, "--owner-key-file", "other.key")
    (place.folder / "forgemesh.toml").write_text(OWNED)
    with going_up(place) as mesh:
        called = place.forgemesh("plugin", "call", "greeter/greet", "name=Ada")
        assert mesh.stop() == 0
    (place.folder / "greeter.key").write_text("the key of somebody else\n")
    with going_up(place):

        async def told() -> str:
            rows = json.loads(place.forgemesh("status", "-o", "json").stdout)["instances"]
            reason = str(rows[0]["reason"]) if rows else ""
            return reason if "has an owner" in reason else ""

        said = await eventually(told)

    assert (claimed.returncode, "made greeter.key" in claimed.stderr) == (0, True)
    assert "belongs to the owner of the key" in claimed.stdout
    assert json.loads(again.stdout)["plugins"] == [{"plugin_id": "greeter", "version": "1.0.0", "created": False}]
    assert [(one.returncode, "has an owner" in one.stderr) for one in (refused, other)] == [(4, True)] * 2
    assert "Hello, Ada!" in called.stdout
    assert "another one" in said


@pytest.mark.parametrize(
    ("content", "complaint"), [(None, "cannot be read"), ("short", "16 to 256 characters"), ("ü" * 20, "no ASCII")]
)
def test_a_key_file_that_holds_no_key_is_one_sentence(place: Workplace, content: str | None, complaint: str) -> None:
    file = place.folder / "greeter.key"
    if content is None:
        file.mkdir()
    else:
        file.write_text(content)
    (place.folder / "forgemesh.toml").write_text("")
    with going_up(place):
        refused = place.forgemesh("plugin", "publish", LOAD, "--owner-key-file", "greeter.key")

    assert refused.returncode == 2
    assert "greeter.key" in refused.stderr
    assert complaint in refused.stderr
    assert "Traceback" not in refused.stderr
