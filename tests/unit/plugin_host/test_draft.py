from hypothesis import given, strategies as st
from semantic_version import Version

from forgemesh.plugin_host.host.plugin.draft import draft_version

CONTENTS = st.lists(st.binary(max_size=2), min_size=1, max_size=12)


def test_a_version_that_is_free_or_the_same_stays() -> None:
    assert draft_version("1.0.0", b"a", {}) == "1.0.0"
    assert draft_version("1.0.0", b"a", {"1.0.0": b"a", "2.0.0": b"b"}) == "1.0.0"


def test_another_content_gets_the_next_build_number() -> None:
    assert draft_version("1.0.0", b"b", {"1.0.0": b"a"}) == "1.0.0+dev.001"
    assert draft_version("1.0.0", b"c", {"1.0.0": b"a", "1.0.0+dev.001": b"b"}) == "1.0.0+dev.002"


def test_a_content_that_was_there_before_gets_its_number_again() -> None:
    published = {"1.0.0": b"a", "1.0.0+dev.001": b"b", "1.0.0+dev.002": b"c"}

    assert draft_version("1.0.0", b"b", published) == "1.0.0+dev.001"


def test_a_build_of_the_authors_own_stays_in_front() -> None:
    assert draft_version("1.0.0+lab", b"b", {"1.0.0+lab": b"a"}) == "1.0.0+lab.dev.001"


@given(CONTENTS)
def test_nothing_that_is_published_ever_changes(contents: list[bytes]) -> None:
    published: dict[str, bytes] = {}
    for content in contents:
        version = draft_version("1.2.3-rc.1", content, published)
        assert published.setdefault(version, content) == content
        assert Version(version).truncate("prerelease") == Version("1.2.3-rc.1")

    assert len(published) == len(set(contents))
