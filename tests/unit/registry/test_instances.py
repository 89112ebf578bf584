import pytest
from hypothesis import given, strategies as st

from forgemesh.faults.registry import InstanceOwnedByOther, LeaseNotFound, StaleIncarnation
from forgemesh.registry.domain.changes import Change, Changed, Gone, GoneReason
from forgemesh.registry.domain.instance import Claim, Revision, State
from forgemesh.registry.domain.instances import Instances
from tests.unit.registry.registrations import MINE, THEIRS, claim, instance, registered


def test_an_instance_that_registers_n_times_is_listed_once_at_its_last_incarnation() -> None:
    instances = registered("stats-1", "stats-1", "stats-1")

    assert list(instances.registrations) == ["stats-1"]
    assert instances.registrations["stats-1"].incarnation == 3


def test_incarnations_grow_across_a_deregistration() -> None:
    instances = registered("stats-1")
    first = claim(instances)
    ended = instances.end(first)
    assert ended is not None
    again = registered("stats-1", before=instances.after([ended]))

    assert again.registrations["stats-1"].incarnation > first.incarnation


def test_a_live_instance_keeps_its_id_against_another_owner() -> None:
    with pytest.raises(InstanceOwnedByOther):
        registered("stats-1").register(instance(), THEIRS, 15.0, alive=True, at=0.0)


def test_an_instance_whose_lease_expired_loses_its_id_to_the_next_owner() -> None:
    change = registered("stats-1").register(instance(), THEIRS, 15.0, alive=False, at=0.0)

    assert change.registration.owner == THEIRS


def test_the_same_owner_registers_anew_while_alive() -> None:
    change = registered("stats-1").register(instance(address="127.0.0.1:7009"), MINE, 15.0, alive=True, at=0.0)

    assert change.registration.incarnation == 2
    assert change.registration.instance.address == "127.0.0.1:7009"


def test_a_lease_is_renewable_by_its_owner_at_its_incarnation_only() -> None:
    instances = registered("stats-1", "stats-1")
    mine = claim(instances)

    assert instances.renewable(mine, alive=True).incarnation == 2
    with pytest.raises(StaleIncarnation):
        instances.renewable(Claim("stats-1", 1, MINE), alive=True)
    with pytest.raises(InstanceOwnedByOther):
        instances.renewable(claim(instances, owner=THEIRS), alive=True)
    with pytest.raises(LeaseNotFound):
        instances.renewable(mine, alive=False)
    with pytest.raises(LeaseNotFound):
        instances.renewable(Claim("stats-2", 1, MINE), alive=True)


def test_late_messages_of_an_older_incarnation_end_nothing() -> None:
    instances = registered("stats-1", "stats-1")

    with pytest.raises(StaleIncarnation):
        instances.end(Claim("stats-1", 1, MINE))
    with pytest.raises(StaleIncarnation):
        instances.drain(Claim("stats-1", 1, MINE))


def test_nobody_ends_the_registration_of_another() -> None:
    instances = registered("stats-1")

    with pytest.raises(InstanceOwnedByOther):
        instances.end(claim(instances, owner=THEIRS))


def test_ending_twice_changes_nothing_the_second_time() -> None:
    instances = registered("stats-1")
    mine = claim(instances)
    ended = instances.end(mine)
    assert ended == Gone(2, "stats-1", 1, GoneReason.DEREGISTERED)

    assert instances.after([ended]).end(mine) is None


def test_a_draining_instance_stays_listed_at_its_incarnation() -> None:
    instances = registered("stats-1")
    mine = claim(instances)
    change = instances.drain(mine)
    assert change is not None
    draining = instances.after([change])

    assert draining.registrations["stats-1"].instance.state is State.DRAINING
    assert draining.registrations["stats-1"].incarnation == mine.incarnation
    assert draining.drain(mine) is None


def test_each_expired_registration_takes_a_revision_of_its_own() -> None:
    instances = registered("a", "b", "c")
    changes = instances.expire(["c", "a"])

    assert [(change.revision, change.instance_id, change.reason) for change in changes] == [
        (4, "c", GoneReason.EXPIRED),
        (5, "a", GoneReason.EXPIRED),
    ]
    assert list(instances.after(changes).registrations) == ["b"]
    assert instances.after(changes).position == Revision(7, 5)


def test_pages_go_by_instance_id_and_skip_nothing() -> None:
    instances = registered("c", "a", "d", "b")

    first, more = instances.page("", "", 3)
    rest, end = instances.page("", first[-1].instance.instance_id, 3)

    assert [registration.instance.instance_id for registration in (*first, *rest)] == ["a", "b", "c", "d"]
    assert (more, end) == (True, False)
    assert instances.page("weather.report", "", 3) == ([], False)


requests = st.lists(
    st.tuples(st.sampled_from(["register", "end", "drain", "expire"]), st.sampled_from("abc")), max_size=40
)


def made(instances: Instances, request: str, instance_id: str) -> Change | None:
    """The change that a well-behaved owner's request makes."""
    if request == "register":
        return instances.register(instance(instance_id), MINE, 15.0, alive=True, at=0.0)
    if instance_id not in instances.registrations:
        return None
    match request:
        case "end":
            return instances.end(claim(instances, instance_id))
        case "drain":
            return instances.drain(claim(instances, instance_id))
        case _:
            return instances.expire([instance_id])[0]


@given(requests)
def test_whatever_happens_revisions_have_no_gap_and_incarnations_never_fall(history: list[tuple[str, str]]) -> None:
    instances = Instances(epoch=7)
    seen: dict[str, int] = {}
    for count, (request, instance_id) in enumerate(history):
        change = made(instances, request, instance_id)
        if change is None:
            continue
        assert change.revision == instances.revision + 1
        instances = instances.after([change])
        if request == "register":
            assert isinstance(change, Changed)
            assert change.registration.incarnation > seen.get(instance_id, 0), f"at {count}"
            seen[instance_id] = change.registration.incarnation
        for present in instances.registrations.values():
            assert present.incarnation == seen[present.instance.instance_id]
