"""Small catalogues of any shape, resolved by trying every set of versions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from hypothesis import event, given, settings, strategies as st

from forgemesh.faults import Fault
from forgemesh.registry.domain.catalogue import Catalogue
from forgemesh.registry.domain.manifest import Dependency, Manifest, Requirement
from forgemesh.registry.domain.resolution import Resolution
from forgemesh.registry.domain.resolver import resolve
from forgemesh.registry.domain.rules import Rules

PLUGINS = "abcd"
VERSIONS = ("1.0.0", "2.0.0", "3.0.0")

ranges = st.sets(st.sampled_from(VERSIONS), min_size=1).map(
    lambda found: " || ".join(f"={one}" for one in sorted(found))
)
dependencies = st.builds(
    lambda plugin_id, wanted, optional: Dependency(Requirement(plugin_id, "", wanted), optional),
    st.sampled_from(PLUGINS),
    ranges,
    st.sampled_from([False, False, True]),
)


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    manifests = []
    for plugin_id in PLUGINS:
        for version in draw(st.sets(st.sampled_from(VERSIONS))):
            found = draw(st.lists(dependencies, max_size=2, unique_by=lambda one: one.requirement.plugin_id))
            manifests.append(Manifest(plugin_id, version, dependencies=tuple(found)))
    return Catalogue.of(manifests)


requests = st.lists(
    st.builds(lambda plugin_id, wanted: Requirement(plugin_id, "", wanted), st.sampled_from(PLUGINS), ranges),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one.plugin_id,
)

Plan = Mapping[str, Manifest]


def accepts(requirement: Requirement, version: str) -> bool:
    return f"={version}" in requirement.version_range.split(" || ")


def needed(plan: Plan, request: Sequence[Requirement]) -> Iterator[Requirement]:
    """What the request and everything in the plan need."""
    yield from request
    for manifest in plan.values():
        yield from (one.requirement for one in manifest.dependencies if not one.optional)


def has_circle(needs: Mapping[str, set[str]]) -> bool:
    left = dict(needs)
    while True:
        free = [one for one, others in left.items() if not others & left.keys()]
        if not free:
            return bool(left)
        for one in free:
            del left[one]


def is_valid(plan: Plan, request: Sequence[Requirement]) -> bool:
    """Whether everything that is needed is there in a fitting version, nothing else is, and there is no circle."""
    wanted = list(needed(plan, request))
    if not all(one.plugin_id in plan and accepts(one, plan[one.plugin_id].version) for one in wanted):
        return False
    reached: set[str] = set()
    waiting = [one.plugin_id for one in request]
    while waiting:
        one = waiting.pop()
        if one not in reached:
            reached.add(one)
            waiting += [other.plugin_id for other in needed({one: plan[one]}, ())]
    return reached == plan.keys() and not has_circle(needs_of(plan))


def needs_of(plan: Plan) -> dict[str, set[str]]:
    return {one: {other.plugin_id for other in needed({one: plan[one]}, ())} for one in plan}


def is_highest(plan: Plan, request: Sequence[Requirement], published: Catalogue) -> bool:
    """Whether no plugin has a higher version that everyone accepts who needs it."""
    wanted = list(needed(plan, request))
    return all(
        max(
            release.manifest.version
            for release in published.releases[plugin_id]
            if all(accepts(one, release.manifest.version) for one in wanted if one.plugin_id == plugin_id)
        )
        == manifest.version
        for plugin_id, manifest in plan.items()
    )


def every_plan(published: Catalogue, request: Sequence[Requirement]) -> list[Plan]:
    """All sets of versions that fulfil the request."""
    choices = [[None, *(release.manifest for release in published.releases.get(one, ()))] for one in PLUGINS]
    plans = ({one.plugin_id: one for one in taken if one is not None} for taken in itertools.product(*choices))
    return [plan for plan in plans if is_valid(plan, request)]


def could_be_circular(published: Catalogue) -> bool:
    return has_circle(
        {
            plugin_id: {
                one.requirement.plugin_id
                for release in releases
                for one in release.manifest.dependencies
                if not one.optional
            }
            for plugin_id, releases in published.releases.items()
        }
    )


def without_optional(published: Catalogue) -> Catalogue:
    return Catalogue.of(
        Manifest(one.plugin_id, one.version, dependencies=tuple(two for two in one.dependencies if not two.optional))
        for one in published.manifests.values()
    )


@settings(max_examples=400)
@given(catalogues(), requests)
def test_the_resolver_finds_the_plan_of_highest_versions_exactly_if_there_is_one(
    published: Catalogue, request: list[Requirement]
) -> None:
    possible = every_plan(published, request)
    highest = [plan for plan in possible if is_highest(plan, request, published)]
    try:
        found = resolve(without_optional(published), Rules(), request)
    except Fault as fault:
        event(fault.reason)
        assert not highest or could_be_circular(published)
        return
    plan = {one.manifest.plugin_id: published.manifests[one.manifest.key] for one in found.plugins}
    event(f"{len(plan)} plugins")

    assert plan in possible
    if not could_be_circular(published):
        assert highest == [plan]


@settings(max_examples=400)
@given(catalogues(), requests)
def test_optional_wishes_change_nothing_of_what_is_needed_and_each_is_kept_or_dropped_with_a_reason(
    published: Catalogue, request: list[Requirement]
) -> None:
    try:
        bare = resolve(without_optional(published), Rules(), request)
    except Fault as fault:
        refused = type(fault)
        try:
            resolve(published, Rules(), request)
        except refused:
            return
        raise AssertionError(f"without optional wishes it is refused: {fault}") from fault
    full = resolve(published, Rules(), request)
    taken = {one.manifest.plugin_id: one.manifest.version for one in full.plugins}

    assert {one.manifest.plugin_id: one.manifest.version for one in bare.plugins}.items() <= taken.items()
    check_order(full)
    dropped = {(one.plugin_id, one.target) for one in full.dropped}
    assert all(one.reason for one in full.dropped)
    for one in full.plugins:
        for dependency in one.manifest.dependencies:
            target = dependency.requirement.plugin_id
            kept = target in one.needs and accepts(dependency.requirement, taken[target])
            assert kept != ((one.manifest.plugin_id, target) in dropped)
            assert kept or dependency.optional
    if len(taken) > len(bare.plugins):
        event("something optional was taken in")


def check_order(found: Resolution) -> None:
    """Each on the lowest level that it can have, after everything that it needs."""
    level: dict[str, int] = {}
    for one in found.plugins:
        assert one.level == max((level[needed] + 1 for needed in one.needs), default=0)
        level[one.manifest.plugin_id] = one.level
    assert [one.level for one in found.plugins] == sorted(level.values())
