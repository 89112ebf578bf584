from typing import Any

import pytest

from forgemesh.orchestrator.workflow.definition import Target
from forgemesh.orchestrator.workflow.provider import OperationFacts, Provider, careful, eligible, fits, ranked


def provider(plugin_id: str, plugin_version: str = "1.0.0", **facts: Any) -> Provider:
    known: dict[str, Any] = {"interface_version": "1.0.0", "operations": {"o": OperationFacts()}}
    return Provider(plugin_id=plugin_id, plugin_version=plugin_version, **(known | facts))


def target(**facts: Any) -> Target:
    return Target(**({"interface": "shape", "operation": "o"} | facts))


def tiers(*providers: Provider, **facts: Any) -> list[list[tuple[str, list[str]]]]:
    found = ranked(providers, target(**facts))
    return [[(choice.plugin_id, sorted(choice.versions)) for choice in tier] for tier in found]


def test_a_provider_must_fulfil_the_interface_in_a_version_in_range_whatever_its_own_is() -> None:
    old, new = provider("old", "9.0.0", interface_version="1.2.0"), provider("new", "0.1.0", interface_version="2.0.0")

    assert eligible([old, new], target(version_range="^1.1")) == [old]
    assert eligible([old, new], target(version_range="1.1.0")) == [old]
    assert eligible([old, new], target(version_range="=1.1.0")) == []
    assert eligible([old, new], target()) == [old, new]


def test_a_provider_must_have_the_operation_and_every_fact_that_is_demanded() -> None:
    right = provider("right", metadata={"zone": "eu", "gpu": "yes"})
    half, other = provider("half", metadata={"zone": "eu"}), provider("other", operations={"x": OperationFacts()})

    assert eligible([right, half, other], target(must={"zone": "eu", "gpu": "yes"})) == [right]


def test_facts_that_are_preferred_count_before_the_manifests_priority() -> None:
    plain, urgent = provider("plain"), provider("urgent", priority=7)
    liked = provider("liked", priority=-3, metadata={"gpu": "yes"})

    assert tiers(plain, urgent, liked, prefer={"gpu": "yes"}) == [
        [("liked", ["1.0.0"])],
        [("urgent", ["1.0.0"])],
        [("plain", ["1.0.0"])],
    ]


def test_equals_stand_together_and_versions_of_one_plugin_where_each_of_them_belongs() -> None:
    providers = [provider("b"), provider("a"), provider("a", "1.1.0"), provider("a", "2.0.0", priority=1)]

    assert tiers(*providers) == [[("a", ["2.0.0"])], [("a", ["1.0.0", "1.1.0"]), ("b", ["1.0.0"])]]


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ([], None),
        ([None], None),
        ([True], True),
        ([True, None], None),
        ([True, True], True),
        ([True, None, False], False),
    ],
)
def test_the_most_careful_version_counts(said: list[bool | None], counts: bool | None) -> None:
    assert careful([OperationFacts(one) for one in said]).idempotent is counts


def test_every_version_fits_no_range() -> None:
    assert fits("1.0.0-beta.1", "")
    assert fits("1.4.0", "^1.2")
    assert not fits("2.0.0", "^1.2")
