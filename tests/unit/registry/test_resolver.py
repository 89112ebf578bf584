import pytest

from forgemesh.faults.registry import DependencyCycle, DependencyMissing, VersionConflict
from forgemesh.registry.domain.resolution import Dropped
from forgemesh.registry.domain.rules import Rules
from tests.unit.registry.catalogues import catalogue, manifest, plan, resolved


def test_the_highest_version_that_everyone_accepts_is_taken() -> None:
    published = catalogue("a 1.0.0: c >=1", "b 1.0.0: c <1.5", "c 1.0.0", "c 1.4.2", "c 1.5.0", "c 2.0.0")

    assert plan(published, "a", "b") == ["c 1.4.2", "a 1.0.0", "b 1.0.0"]
    assert plan(published, "a") == ["c 2.0.0", "a 1.0.0"]


def test_prereleases_are_taken_only_if_they_are_named() -> None:
    published = catalogue("a 1.0.0", "a 2.0.0-rc.2", "a 2.0.0-rc.10")

    assert plan(published, "a") == ["a 1.0.0"]
    assert plan(published, "a >=2.0.0-rc.1") == ["a 2.0.0-rc.10"]


def test_a_conflict_names_every_requirer_with_its_range_and_what_is_published() -> None:
    published = catalogue("a 1.0.0: c ^1", "b 1.3.0: c ^2", "c 1.0.0", "c 2.0.0")

    with pytest.raises(VersionConflict) as refused:
        plan(published, "a", "b", "c !=3")

    assert refused.value.metadata == {
        "target": "c",
        "wishes": "the request wants !=3, a 1.0.0 wants ^1, b 1.3.0 wants ^2",
        "published": "c 2.0.0, c 1.0.0",
    }


def test_no_requirer_is_taken_in_a_lower_version_but_the_conflict_says_which_would_fit() -> None:
    published = catalogue("a 1.0.0: c ^1", "a 2.0.0: c ^2", "b 1.0.0: c ^1", "c 1.0.0", "c 2.0.0")

    with pytest.raises(VersionConflict, match=r"ask for a =1.0.0 too") as refused:
        plan(published, "a", "b")

    assert refused.value.metadata["way_out"].startswith("with a 1.0.0 instead of 2.0.0 all would fit")
    assert plan(published, "a", "b", "a =1.0.0") == ["c 1.0.0", "a 1.0.0", "b 1.0.0"]


def test_what_was_never_published_is_named_with_the_way_to_it() -> None:
    published = catalogue("a 1.0.0: b", "b 2.0.0: nothing ^1; <speech> ^1")

    with pytest.raises(DependencyMissing, match=r"a 1.0.0 -> b 2.0.0 -> nothing"):
        plan(published, "a")
    with pytest.raises(DependencyMissing, match=r"elsewhere is needed and was never published: elsewhere;"):
        plan(published, "elsewhere")


def test_an_interface_without_provider_is_named_with_the_way_to_it() -> None:
    with pytest.raises(DependencyMissing, match=r"a 1.0.0 -> a provider of speech"):
        plan(catalogue("a 1.0.0: <speech> ^1"), "a")


def test_a_provider_only_in_another_version_is_a_conflict() -> None:
    published = catalogue("a 1.0.0: <speech> ^2", manifest("b 3.0.0", provides=["speech@1.4.0"]))

    with pytest.raises(VersionConflict, match=r"a 1.0.0 wants speech \^2; published: b 3.0.0, speech@1.4.0"):
        plan(published, "a")


def test_a_circle_is_told_whole() -> None:
    with pytest.raises(DependencyCycle, match=r"b 1.0.0 -> c 1.0.0 -> a 1.0.0 -> b 1.0.0|a 1.0.0 -> b 1.0.0 -> c"):
        plan(catalogue("z 1.0.0: a", "a 1.0.0: b", "b 1.0.0: c", "c 1.0.0: a"), "z")
    with pytest.raises(DependencyCycle, match=r"a 1.0.0 -> a 1.0.0"):
        plan(catalogue("a 1.0.0: a"), "a")


def test_a_circle_that_only_versions_nobody_takes_would_make_is_none() -> None:
    assert plan(catalogue("a 1.0.0: b", "a 2.0.0", "b 1.0.0: a"), "b") == ["a 2.0.0", "b 1.0.0"]
    assert plan(catalogue("a 1.0.0: b", "a 2.0.0", "b 1.0.0: a"), "a", "b") == ["a 2.0.0", "b 1.0.0"]


def test_a_circle_of_optional_wishes_is_broken_and_the_way_back_is_told() -> None:
    found = resolved(catalogue("a 1.0.0: b?", "b 1.0.0: c", "c 1.0.0: a"), "a", "c")

    assert [str(one.manifest) for one in found.plugins] == ["a 1.0.0", "c 1.0.0"]
    assert found.dropped == [Dropped("a", "b", "it needs a itself: b -> c -> a")]


def test_an_optional_wish_of_oneself_is_dropped() -> None:
    found = resolved(catalogue("a 1.0.0: a?"), "a")

    assert [str(one.manifest) for one in found.plugins] == ["a 1.0.0"]
    assert [(one.plugin_id, one.target) for one in found.dropped] == [("a", "a")]


def test_what_is_optional_is_taken_in_if_it_is_there_and_comes_first() -> None:
    found = resolved(catalogue("a 1.0.0: b ^1?", "b 1.0.0: c", "b 2.0.0", "c 1.0.0"), "a")

    assert [(str(one.manifest), one.level) for one in found.plugins] == [("c 1.0.0", 0), ("b 1.0.0", 1), ("a 1.0.0", 2)]
    assert [str(wish) for wish in found.plugins[1].wishes] == ["a 1.0.0 wants ^1"]
    assert found.plugins[1].wishes[0].optional


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ((), "it was never published"),
        (("b 2.0.0",), r"no version that can be taken fits ^1; published: b 2.0.0"),
        (("b 1.0.0: nothing",), "b itself needs nothing, which was never published"),
        (("b 1.0.0: c", "c 1.0.0: b"), "b needs plugins that need one another in a circle: b -> c -> b"),
        (("b 1.0.0: c ^2", "c 1.0.0"), "b itself needs c, of which no version fits"),
    ],
)
def test_what_is_optional_and_cannot_be_is_left_out_with_the_reason(others: tuple[str, ...], reason: str) -> None:
    found = resolved(catalogue("a 1.0.0: b ^1?", *others), "a")

    assert [str(one.manifest) for one in found.plugins] == ["a 1.0.0"]
    assert found.dropped == [Dropped("a", "b", reason)]


def test_optional_wishes_never_change_what_is_needed() -> None:
    found = resolved(catalogue("a 1.0.0: c", "b 1.0.0: c ^1?", "c 1.0.0", "c 2.0.0"), "a", "b")

    assert [str(one.manifest) for one in found.plugins] == ["b 1.0.0", "c 2.0.0", "a 1.0.0"]
    assert found.dropped == [
        Dropped(
            "b", "c", "no version that can be taken fits ^1; published: c 2.0.0, c 1.0.0 (2.0.0 is needed elsewhere)"
        )
    ]


def test_optional_wishes_for_one_plugin_are_fulfilled_together() -> None:
    found = resolved(catalogue("a 1.0.0: c?", "b 1.0.0: c ^1?", "c 1.0.0", "c 2.0.0"), "a", "b")

    assert [str(one.manifest) for one in found.plugins] == ["c 1.0.0", "a 1.0.0", "b 1.0.0"]
    assert not found.dropped


def test_any_provider_of_an_interface_will_do_and_the_preferred_one_is_taken() -> None:
    published = catalogue(
        "a 1.0.0: <speech> ^1.2",
        manifest("festival 1.0.0", provides=["speech@1.2.0"]),
        manifest("espeak 3.0.0", provides=["speech@1.9.1"], priority=5),
        manifest("espeak 4.0.0", provides=["speech@2.0.0"], priority=5),
    )

    assert plan(published, "a") == ["espeak 3.0.0", "a 1.0.0"]


def test_a_provider_that_is_needed_anyway_is_taken_before_a_preferred_one() -> None:
    published = catalogue(
        "a 1.0.0: <speech> ^1",
        "b 1.0.0: festival",
        manifest("festival 1.0.0", provides=["speech@1.2.0"]),
        manifest("espeak 3.0.0", provides=["speech@1.9.1"], priority=5),
    )

    assert plan(published, "a", "b") == ["festival 1.0.0", "a 1.0.0", "b 1.0.0"]


def test_requirers_of_one_interface_may_get_different_providers() -> None:
    published = catalogue(
        "a 1.0.0: <speech> ^1",
        "b 1.0.0: <speech> ^2",
        manifest("festival 1.0.0", provides=["speech@1.2.0"]),
        manifest("espeak 3.0.0", provides=["speech@2.0.0"]),
    )
    found = resolved(published, "a", "b")

    assert {str(one.manifest): list(one.needs) for one in found.plugins} == {
        "festival 1.0.0": [],
        "espeak 3.0.0": [],
        "a 1.0.0": ["festival"],
        "b 1.0.0": ["espeak"],
    }


def test_who_decorates_an_interface_gets_another_provider_of_it_than_himself() -> None:
    published = catalogue(
        manifest("cache 1.0.0: <speech> ^1", provides=["speech@1.0.0"], priority=9),
        manifest("log 1.0.0: <speech> ^1", provides=["speech@1.0.0"], priority=8),
        manifest("espeak 1.0.0", provides=["speech@1.0.0"]),
    )

    assert plan(published, "<speech>") == ["espeak 1.0.0", "log 1.0.0", "cache 1.0.0"]


def test_levels_hold_what_can_start_together_and_ties_go_by_priority_then_by_request() -> None:
    published = catalogue(
        "a 1.0.0: c",
        "b 1.0.0: c; d",
        "c 1.0.0",
        "d 1.0.0: e",
        "e 1.0.0",
        manifest("f 1.0.0: e", priority=3),
    )
    found = resolved(published, "b", "a", "f")

    assert [(one.manifest.plugin_id, one.level) for one in found.plugins] == [
        ("c", 0),
        ("e", 0),
        ("f", 1),
        ("a", 1),
        ("d", 1),
        ("b", 2),
    ]
    assert list(found.plugins[-1].needs) == ["c", "d"]


def test_the_same_catalogue_gives_the_same_answer_in_whatever_order_it_was_published() -> None:
    texts = ["a 1.0.0: b; <x>?", "b 1.0.0", "b 1.1.0", "c 1.0.0: b <1.1"]
    x = [manifest(f"x{number} 1.0.0", provides=["x@1.0.0"]) for number in range(3)]

    assert resolved(catalogue(*texts, *x), "a", "c") == resolved(catalogue(*x[::-1], *texts[::-1]), "a", "c")


def test_what_is_in_quarantine_is_not_taken() -> None:
    rules = Rules(quarantined={("b", "2.0.0"): "it lies"})

    assert plan(catalogue("a 1.0.0: b", "b 1.0.0", "b 2.0.0"), "a", rules=rules) == ["b 1.0.0", "a 1.0.0"]


def test_if_only_the_quarantine_stands_against_it_the_conflict_says_so() -> None:
    rules = Rules(quarantined={("b", "2.0.0"): "it lies"})

    with pytest.raises(
        VersionConflict, match=r"b 2.0.0 \(in quarantine\), b 1.0.0; .*forgemesh plugin release b 2.0.0"
    ):
        plan(catalogue("a 1.0.0: b ^2", "b 1.0.0", "b 2.0.0"), "a", rules=rules)


def test_a_pin_holds_a_plugin_and_a_conflict_with_it_names_it() -> None:
    published = catalogue("a 1.0.0: b", "b 1.0.0", "b 2.0.0")
    rules = Rules(pins={"b": "^1"})

    assert plan(published, "a", rules=rules) == ["b 1.0.0", "a 1.0.0"]
    with pytest.raises(VersionConflict, match=r"b 2.0.0 \(held to \^1 by a pin\), b 1.0.0; .*forgemesh plugin unpin b"):
        plan(published, "a", "b ^2", rules=rules)


def test_a_range_that_an_older_release_let_in_accepts_nothing_and_is_named() -> None:
    with pytest.raises(VersionConflict, match=r"a 1.0.0 wants latest"):
        plan(catalogue("a 1.0.0: b latest", "b 1.0.0"), "a")


def test_a_chain_of_ten_thousand_is_resolved_and_a_hole_in_it_is_found() -> None:
    chain = [f"p{number} 1.0.0: p{number + 1} ^1" for number in range(10_000)]

    found = resolved(catalogue(*chain, "p10000 1.0.0"), "p0")
    assert [one.level for one in found.plugins] == list(range(10_001))
    with pytest.raises(DependencyMissing, match=r"p0 1.0.0 -> .*\(\d+ more\) .*p9999 1.0.0 -> p10000;"):
        plan(catalogue(*chain), "p0")
    with pytest.raises(DependencyCycle):
        plan(catalogue(*chain, "p10000 1.0.0: p0"), "p0")


def test_who_needs_another_version_of_its_own_requirer_is_a_conflict_that_names_both() -> None:
    with pytest.raises(VersionConflict, match=r"the request wants =1.0.0, a 1.0.0 wants =2.0.0"):
        plan(catalogue("b 1.0.0: a", "a 1.0.0: b =2.0.0", "b 2.0.0: nothing"), "b =1.0.0")
