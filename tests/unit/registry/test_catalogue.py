import pytest

from forgemesh.faults.registry import ManifestConflict
from forgemesh.registry.domain.catalogue import Catalogue
from forgemesh.registry.domain.manifest import Manifest


def catalogue(*versions: str, plugin_id: str = "weather.stats") -> Catalogue:
    published = Catalogue()
    for version in versions:
        published = published.after(Manifest(plugin_id, version, b"content"))
    return published


def test_the_same_manifest_again_is_nothing_new() -> None:
    assert Catalogue().publish(Manifest("weather.stats", "1.0.0", b"content"))
    assert not catalogue("1.0.0").publish(Manifest("weather.stats", "1.0.0", b"content"))


def test_a_version_never_changes_its_manifest() -> None:
    with pytest.raises(ManifestConflict):
        catalogue("1.0.0").publish(Manifest("weather.stats", "1.0.0", b"other"))


def test_versions_are_ordered_by_precedence_not_by_text() -> None:
    page, more = catalogue("1.10.0", "1.9.0", "1.10.0-rc.1", "1.10.0-rc.10", "1.10.0-rc.2").page("", None, 10)

    assert [manifest.version for manifest in page] == ["1.9.0", "1.10.0-rc.1", "1.10.0-rc.2", "1.10.0-rc.10", "1.10.0"]
    assert not more


def test_pages_hold_each_manifest_once_also_when_versions_differ_in_build_alone() -> None:
    published = catalogue("1.0.0+b", "1.0.0", "1.0.0+a", "0.1.0")
    seen: list[str] = []
    more, after = True, None
    while more:
        page, more = published.page("weather.stats", after, 1)
        after = page[-1].key
        seen.append(page[-1].version)

    assert seen == ["0.1.0", "1.0.0", "1.0.0+a", "1.0.0+b"]
