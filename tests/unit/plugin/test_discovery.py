import sys
from pathlib import Path

import pytest

from forgemesh.plugin import DiscoveredPlugin, PluginImportError, discovered, load_definition

SOURCE = """
from forgemesh.plugin import operation, plugin

{extra}
announced = plugin("test.{name}", version="1.0.0")

@announced.operation
def run() -> None: ...
"""


def install(root: Path, distribution: str, points: str, **modules: str) -> None:
    """As pip would leave it."""
    folder = root / f"{distribution}-1.5.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5.0\n")
    (folder / "entry_points.txt").write_text(f"[forgemesh.plugins]\n{points}\n")
    for name, source in modules.items():
        (root / f"{name}.py").write_text(source)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    install(
        tmp_path,
        "good-plugins",
        "well = well_announced:announced\nodd = well_announced",
        well_announced=SOURCE.format(name="well", extra=""),
    )
    install(
        tmp_path,
        "bad-plugins",
        "bad = badly_announced:announced",
        badly_announced=SOURCE.format(name="bad", extra="raise RuntimeError('nobody asked for me')"),
    )
    return tmp_path


@pytest.mark.usefixtures("installed")
def test_plugins_are_found_without_being_imported() -> None:
    found = [plugin for plugin in discovered() if plugin.distribution.endswith("-plugins")]

    assert found == [
        DiscoveredPlugin("bad", "badly_announced:announced", "bad-plugins", "1.5.0"),
        DiscoveredPlugin("odd", "well_announced", "good-plugins", "1.5.0"),
        DiscoveredPlugin("well", "well_announced:announced", "good-plugins", "1.5.0"),
    ]
    assert found[2].load == "entry:well"
    assert not {"well_announced", "badly_announced"} & set(sys.modules)


@pytest.mark.usefixtures("installed")
def test_one_is_loaded_and_a_broken_neighbour_disturbs_nobody() -> None:
    assert load_definition("entry:well").plugin_id == "test.well"
    assert "badly_announced" not in sys.modules
    with pytest.raises(PluginImportError, match="RuntimeError: nobody asked for me"):
        load_definition("entry:bad")


@pytest.mark.usefixtures("installed")
def test_what_nobody_announces_is_said_with_what_there_is() -> None:
    with pytest.raises(PluginImportError, match=r"no entry point 'none' in the group forgemesh.plugins; .*odd, well"):
        load_definition("entry:none")
    with pytest.raises(PluginImportError, match="names a module and no plugin in it"):
        load_definition("entry:odd")


def test_a_name_that_two_distributions_announce_is_refused(installed: Path) -> None:
    install(installed, "other-plugins", "well = elsewhere:announced")

    with pytest.raises(PluginImportError, match=r"several .* announce 'well' .* good-plugins 1.5.0, other-plugins"):
        load_definition("entry:well")
